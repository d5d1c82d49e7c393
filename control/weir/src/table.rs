//! Tables: boxed on a terminal, aligned columns that awk and cut can read elsewhere.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, presets};

/// A column's head and side.
#[derive(Clone, Debug)]
struct Column {
    head: String,
    right: bool,
}

/// A table under construction. A cell is never empty: `-` stands for nothing, so that columns can be counted.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table; heads that begin with `#` are of columns of numbers, set to the right.
    pub fn new<'a>(heads: impl IntoIterator<Item = &'a str>) -> Table {
        let columns = heads
            .into_iter()
            .map(|head| match head.strip_prefix('#') {
                Some(head) => Column {
                    head: head.to_string(),
                    right: true,
                },
                None => Column {
                    head: head.to_string(),
                    right: false,
                },
            })
            .collect();
        Table {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row; cells beyond the columns are left out, missing ones are `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells
            .into_iter()
            .take(self.columns.len())
            .map(|c| printable(&c))
            .collect();
        row.resize(self.columns.len(), "-".into());
        self.rows.push(row);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text; `terminal`: as a box, no wider than the terminal.
    pub fn render(&self, terminal: bool) -> String {
        if terminal { self.boxed() } else { self.plain() }
    }

    fn boxed(&self) -> String {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(
            self.columns
                .iter()
                .map(|c| Cell::new(&c.head).add_attribute(Attribute::Bold)),
        );
        for row in &self.rows {
            table.add_row(row.iter().zip(&self.columns).map(|(cell, column)| {
                let text = if column.right {
                    grouped(cell)
                } else {
                    cell.clone()
                };
                let side = if column.right {
                    CellAlignment::Right
                } else {
                    CellAlignment::Left
                };
                Cell::new(text).set_alignment(side)
            }));
        }
        format!("{table}\n")
    }

    fn plain(&self) -> String {
        let heads: Vec<String> = self
            .columns
            .iter()
            .map(|c| c.head.to_uppercase().replace(' ', "_"))
            .collect();
        let mut widths: Vec<usize> = heads.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, column), &width) in row.iter().zip(&self.columns).zip(&widths) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                if column.right {
                    line.push_str(&format!("{cell:>width$}"));
                } else {
                    line.push_str(&format!("{cell:<width$}"));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell without control characters, which could move a terminal's cursor; `-` for nothing.
fn printable(cell: &str) -> String {
    if cell.is_empty() {
        return "-".into();
    }
    cell.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// `1234567` as `1,234,567`; what is not all digits stays as it is.
fn grouped(number: &str) -> String {
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return number.to_string();
    }
    let mut text = String::with_capacity(number.len() + number.len() / 3);
    for (index, digit) in number.chars().enumerate() {
        if index > 0 && (number.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_columns_are_aligned_and_never_empty() {
        let mut table = Table::new(["vnic", "#rx packets"]);
        table.row(["blue1".into(), "1234567".into()]);
        table.row(["".into(), "8".into()]);
        assert_eq!(
            table.render(false),
            "VNIC   RX_PACKETS\nblue1     1234567\n-               8\n"
        );
    }

    #[test]
    fn a_box_groups_digits_and_keeps_escape_sequences_out() {
        let mut table = Table::new(["vnic", "#rx"]);
        table.row(["a\x1b[2Jb".into(), "1234567".into()]);
        let text = table.render(true);
        assert!(
            text.contains("1,234,567") && text.contains("a [2Jb"),
            "{text}"
        );
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [
            ("1", "1"),
            ("123", "123"),
            ("1234", "1,234"),
            ("123456", "123,456"),
            ("-", "-"),
            ("12%", "12%"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
