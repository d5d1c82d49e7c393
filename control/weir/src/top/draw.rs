//! The screen's picture: a line about the host, workers, vNICs, and what keys do. Nothing but plain and reversed text, so that
//! it is the same on every terminal; of a small one the less important is left out.

use super::board::Board;
use super::column::{Column, WORKER_HEADS, maybe, short, worker_cells};
use super::screen::Screen;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// The widest that a name is drawn.
const WIDEST: u16 = 40;
/// Lines that a terminal must have for workers to be shown.
const LOW: u16 = 10;

/// Draws it, and tells the screen what there was room for.
pub fn draw(screen: &mut Screen, board: &Board, area: Rect, buffer: &mut Buffer) {
    let mut page = Page {
        buffer,
        area,
        line: 0,
    };
    if area.height > 2 {
        page.text(&headline(screen, board), Style::new());
    }
    if screen.workers && area.height >= LOW {
        draw_workers(board, &mut page);
    }
    let columns = columns(area.width);
    // Below the rows stands the last line.
    let rows = area.height.saturating_sub(page.line).saturating_sub(2);
    let rows = rows.max(u16::from(area.height > 0));
    screen.fits(usize::from(rows), columns.iter().map(|own| own.0).collect());
    if area.height > 1 {
        let heads = columns.iter().map(|&(column, width)| {
            let mark = match (column == screen.sort, screen.ascending) {
                (true, true) => "^",
                (true, false) => "v",
                (false, _) => "",
            };
            (format!("{}{mark}", column.head()), width, column.is_text())
        });
        page.cells(heads, reversed());
    }
    let shown = screen.rows(board).skip(screen.first);
    for line in shown.take(usize::from(rows)) {
        let cells = columns.iter();
        let cells = cells.map(|&(column, width)| (column.cell(line), width, column.is_text()));
        page.cells(cells, Style::new());
    }
    if area.height > 2 {
        page.line = area.height - 1;
        page.text(&last_line(screen, board), reversed());
    }
}

fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

/// The host, how much there is, and its uplinks.
fn headline(screen: &Screen, board: &Board) -> String {
    let shown = match screen.filter.is_empty() {
        true => short(board.vnics.len() as u64),
        false => format!("{} of {}", screen.len(), short(board.vnics.len() as u64)),
    };
    let mut text = format!("weir {}  {shown} vNICs", board.host);
    for uplink in &board.uplinks {
        let speed = match (uplink.link_up, uplink.link_mbit) {
            (false, _) => "down".into(),
            (true, 0) => "up".into(),
            (true, mbit) => short(u64::from(mbit) * 1_000_000),
        };
        let sent = maybe(uplink.sent_bits_per_second);
        let received = maybe(uplink.received_bits_per_second);
        text.push_str(&format!(
            "  {} {speed} out {sent} in {received}",
            uplink.uplink
        ));
    }
    text
}

fn draw_workers(board: &Board, page: &mut Page<'_>) {
    let heads = WORKER_HEADS.iter();
    page.cells(
        heads.map(|&(head, width)| (head.to_string(), width, false)),
        reversed(),
    );
    // They take a third of what is left at most.
    let room = usize::from(page.area.height.saturating_sub(4) / 3).max(1);
    let all = board.workers.len();
    let shown = if all > room { room - 1 } else { all };
    for worker in board.workers.iter().take(shown) {
        let cells = worker_cells(worker).into_iter();
        let cells = cells.zip(WORKER_HEADS);
        page.cells(
            cells.map(|(cell, (_, width))| (cell, width, false)),
            Style::new(),
        );
    }
    if all > shown {
        page.text(&format!("and {} workers more", all - shown), Style::new());
    }
}

/// What keys do, or the filter that is typed.
fn last_line(screen: &Screen, board: &Board) -> String {
    if screen.editing {
        return format!("filter: {}_  (Enter: keep, Esc: none)", screen.filter);
    }
    let mut text = String::new();
    if screen.paused {
        text.push_str("PAUSED  ");
    } else if board.seconds == 0.0 {
        text.push_str("measuring  ");
    }
    if !screen.filter.is_empty() {
        text.push_str(&format!("filter: {}  ", screen.filter));
    }
    let first = screen.len().min(screen.first + 1);
    text.push_str(&format!(
        "{first}/{}  q quit  / filter  < > sort  r reverse  w workers  p pause",
        screen.len()
    ));
    text
}

/// The columns that fit, each with its width; what is left over is the name's.
fn columns(width: u16) -> Vec<(Column, u16)> {
    let mut left = width;
    let mut kept = Vec::new();
    for column in Column::BY_WORTH {
        let needs = column.width() + u16::from(!kept.is_empty());
        if needs > left {
            break;
        }
        left -= needs;
        kept.push(column);
    }
    if kept.is_empty() {
        return vec![(Column::Vnic, width)];
    }
    let all = Column::ALL.into_iter().filter(|own| kept.contains(own));
    let wide = |column: Column| match column {
        Column::Vnic => (column.width() + left).min(WIDEST),
        _ => column.width(),
    };
    all.map(|column| (column, wide(column))).collect()
}

/// Where the next line goes.
struct Page<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    line: u16,
}

impl Page<'_> {
    /// A line of text, in its style from edge to edge.
    fn text(&mut self, text: &str, style: Style) {
        self.cells([(text.to_string(), self.area.width, true)], style);
    }

    /// A line of cells, a column between each two: text, width, whether it is set to the left. Cut where the line ends.
    fn cells(&mut self, cells: impl IntoIterator<Item = (String, u16, bool)>, style: Style) {
        if self.line >= self.area.height {
            return;
        }
        let y = self.area.y + self.line;
        self.line += 1;
        let whole = Rect::new(self.area.x, y, self.area.width, 1);
        self.buffer.set_style(whole, style);
        let mut x = self.area.x;
        for (text, width, left) in cells {
            let width = width.min(self.area.right().saturating_sub(x));
            let lead = match left {
                true => 0,
                false => width.saturating_sub(text.len() as u16),
            };
            let room = usize::from(width - lead);
            self.buffer.set_stringn(x + lead, y, text, room, style);
            x = x.saturating_add(width + 1).min(self.area.right());
            if x >= self.area.right() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests;
