//! A long TOML file in pieces: each `[[KIND]]` by itself, and all the rest as one document.
//!
//! A document with the place of everything in it takes some kilobytes an object, a million objects gigabytes. What is
//! written below a `[[KIND]]` header up to the next header that is not of its own sub-tables has nothing to do with what is
//! below any other, so that each may be read and forgotten by itself. That is so unless the root has the key `KIND`
//! by another spelling, which whoever reads the rest sees there, or what looks like a header stands inside a string of several
//! lines or an array: a text that has such a string, or a line within an array that begins like a header, is not cut. A piece that is no TOML makes the whole text none; what is wrong with it is to be found out from
//! the whole.

use super::spans::Lines;

/// A text, cut.
pub struct Pieces<'t> {
    /// Everything else, as one document.
    pub rest: String,
    /// The lines of it in the whole.
    pub rest_lines: Lines,
    /// Each `[[KIND]]` with what is below it, and its line in the whole.
    pub each: Vec<(u32, &'t str)>,
}

/// What a line says to one who cuts.
enum Header {
    /// `[[KIND]]`: a piece begins.
    Begins,
    /// `[KIND.…]`, or no header: the same goes on.
    GoesOn,
    /// Another header.
    Other,
}

/// Cuts `text` at its headers `[[kind]]`; `None` if that cannot be done without reading it all.
pub fn cut<'t>(text: &'t str, kind: &str) -> Option<Pieces<'t>> {
    if text.contains("\"\"\"") || text.contains("'''") {
        return None;
    }
    let mut pieces = Pieces {
        rest: String::new(),
        rest_lines: Lines::default(),
        each: Vec::new(),
    };
    // Where the present part begins, its line, and whether it is a piece.
    let (mut begin, mut begin_line, mut inside) = (0, 1, false);
    let (mut at, mut line) = (0, 0);
    let mut open = 0;
    let mut end = |from: usize, to: usize, line: u32, inside: bool| {
        let part = &text[from..to];
        if inside {
            pieces.each.push((line, part));
        } else {
            pieces.rest_lines.add(part, line);
            pieces.rest.push_str(part);
        }
    };
    for full in text.split_inclusive('\n') {
        line += 1;
        match full.trim_start_matches([' ', '\t']).starts_with('[') {
            true if open > 0 => return None,
            true => {}
            false => open = still_open(full, open),
        }
        let begins = match header(full, kind) {
            Header::GoesOn => None,
            Header::Begins => Some(true),
            // A part that is no piece goes on through other headers.
            Header::Other => inside.then_some(false),
        };
        if let Some(piece) = begins {
            end(begin, at, begin_line, inside);
            (begin, begin_line, inside) = (at, line, piece);
        }
        at += full.len();
    }
    end(begin, at, begin_line, inside);
    Some(pieces)
}

fn header(line: &str, kind: &str) -> Header {
    let line = line.trim_start_matches([' ', '\t']);
    let Some(rest) = line.strip_prefix('[') else {
        return Header::GoesOn;
    };
    if let Some(rest) = rest.strip_prefix('[')
        && let Some(rest) = rest.strip_prefix(kind)
        && rest.starts_with("]]")
    {
        return Header::Begins;
    }
    match rest
        .strip_prefix('[')
        .unwrap_or(rest)
        .strip_prefix(kind)
        .is_some_and(|rest| rest.starts_with('.'))
    {
        true => Header::GoesOn,
        false => Header::Other,
    }
}

/// How many arrays are open behind a line, of which so many were before it.
fn still_open(line: &str, mut open: usize) -> usize {
    if open == 0 && !line.contains('[') {
        return 0;
    }
    let mut string = None;
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match (string, byte) {
            (Some(b'"'), b'\\') => drop(bytes.next()),
            (Some(quote), _) if byte == quote => string = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => string = Some(byte),
            (None, b'#') => break,
            (None, b'[') => open += 1,
            (None, b']') => open = open.saturating_sub(1),
            (None, _) => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[[vnic]] # one\nname = \"a\"\n[vnic.bandwidth]\nmax = 1\n[[host]]\nname = \"h\"\n[b]\n  [[vnic]]\nname = \"b\"\n[vnics]\nx = 1";

    #[test]
    fn a_text_is_cut_at_its_headers_and_keeps_its_lines() {
        let pieces = cut(TEXT, "vnic").unwrap();
        let first = "[[vnic]] # one\nname = \"a\"\n[vnic.bandwidth]\nmax = 1\n";
        let second = "  [[vnic]]\nname = \"b\"\n";
        assert_eq!(pieces.each, [(2, first), (9, second)]);
        let rest = "a = 1\n[[host]]\nname = \"h\"\n[b]\n[vnics]\nx = 1";
        assert_eq!(pieces.rest, rest);
        for (offset, line) in [
            ("a =", 1),
            ("[[host", 6),
            ("name", 7),
            ("[b]", 8),
            ("x", 12),
        ] {
            let at = rest.find(offset).unwrap();
            assert_eq!(pieces.rest_lines.at(at).0, line, "{offset}");
        }
    }

    #[test]
    fn what_may_hide_a_header_is_not_cut() {
        assert!(cut("a = \"\"\"\n[[vnic]]\n\"\"\"", "vnic").is_none());
        assert!(cut("a = '''\n[[vnic]]\n'''", "vnic").is_none());
        for array in ["[", "[ [1], # ]", "['[', \"]\\\"]\", "] {
            let text = format!("a = {array}\n  [[vnic]]\n]");
            assert!(cut(&text, "vnic").is_none(), "{text}");
        }
    }

    #[test]
    fn an_array_that_is_closed_hides_nothing() {
        for array in ["[1]", "[\n1, # [\n]", "['[', \"\\\"[\"]", "1 # ["] {
            let text = format!("a = {array}\n[[vnic]]\n");
            let pieces = cut(&text, "vnic").expect(&text);
            assert_eq!(pieces.each.len(), 1, "{text}");
        }
    }

    #[test]
    fn nothing_of_a_text_is_lost() {
        for text in [
            "",
            "\n",
            "[[vnic]]",
            "[[vnic]]\n[[vnic]]\n",
            "x",
            "[ [vnic]]\n[[vnic ]]",
        ] {
            let pieces = cut(text, "vnic").unwrap();
            let parts = pieces.each.iter().map(|(_, part)| part.len());
            assert_eq!(parts.sum::<usize>() + pieces.rest.len(), text.len());
        }
    }
}
