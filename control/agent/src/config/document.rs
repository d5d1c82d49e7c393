//! A TOML document with the place of everything in it.

use toml::de::DeTable;

use super::refusals::Refusals;
use super::spans::Line;

/// A table of a TOML document, with spans.
pub type Table<'d> = DeTable<'d>;

/// Parses `text` as TOML. `None` when it is not TOML, with every syntax error among the refusals.
pub fn parse<'d>(text: &'d str, refusals: &mut Refusals) -> Option<Table<'d>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = refusals.line(error.span().unwrap_or(0..0));
        let problem = format!("not TOML: {}", error.message());
        refusals.refuse(
            line,
            "the file",
            problem,
            "write this line as TOML 1.0 (https://toml.io) has it",
        );
    }
    errors.is_empty().then(|| document.into_inner())
}

/// A value and the line on which it is written.
#[derive(Clone, Copy, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its line.
    pub line: Line,
}

/// What an object of this `kind` is called in refusals: by its name, or its line if it has none.
pub fn label(kind: &str, table: &At<&Table<'_>>) -> String {
    match called(table.value, "name") {
        Some(name) => format!("{kind} {}", name.escape_debug()),
        None => format!("{kind} in line {}", table.line.0),
    }
}

/// The `name` that a table has, if it is a string: what an object is called before it is read.
pub fn called<'d>(table: &'d Table<'d>, field: &str) -> Option<&'d str> {
    table.get(field).and_then(|value| value.get_ref().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_syntax_error_is_named_with_its_line() {
        let text = "a = \nb = 1\nc d\n";
        let mut refusals = Refusals::new("f.toml", text);
        assert!(parse(text, &mut refusals).is_none());
        let lines: Vec<_> = refusals
            .into_sorted()
            .iter()
            .map(|refusal| refusal.line)
            .collect();
        assert_eq!(lines, [Some(1), Some(3)]);
    }
}
