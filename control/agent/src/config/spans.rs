//! Where in a file something is written.

/// A line of a file, from 1.
///
/// It says where an object is written and nothing about what the object is, so that every `Line` equals every other:
/// an object that only moved in its file has not changed.
#[derive(Clone, Copy, Debug)]
pub struct Line(pub u32);

impl PartialEq for Line {
    fn eq(&self, _: &Line) -> bool {
        true
    }
}

impl Eq for Line {}

/// The starts of a text's lines, found once, so that a line is a binary search. The text may be parts of another,
/// whose lines are told.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Where lines begin.
    starts: Vec<usize>,
    /// From which of them on what is to be added to a line's place.
    parts: Vec<(usize, u32)>,
    length: usize,
}

impl Lines {
    /// Finds the lines of `text`.
    pub fn of(text: &str) -> Lines {
        let mut lines = Lines::default();
        lines.add(text, 1);
        lines
    }

    /// Instead of what was there: the lines of `text`, which in another text begins at `line`. Allocates nothing if there were
    /// as many lines before.
    pub fn renew(&mut self, text: &str, line: u32) {
        self.starts.clear();
        self.parts.clear();
        self.length = 0;
        self.add(text, line);
    }

    /// What follows: `part`, which in another text begins at `line`, and what was there before with a newline.
    pub fn add(&mut self, part: &str, line: u32) {
        // Of a part that ends with a newline the next one's first line is not this one's last.
        if self.starts.last() == Some(&self.length) {
            self.starts.pop();
        }
        let before = self.starts.len();
        self.parts
            .push((before, line.saturating_sub(before as u32)));
        let base = self.length;
        let bytes = part.bytes().enumerate();
        let after_newline = bytes.filter(|(_, byte)| *byte == b'\n');
        self.starts.push(base);
        self.starts
            .extend(after_newline.map(|(at, _)| base + at + 1));
        self.length = base + part.len();
    }

    /// The line that holds the byte at `offset`; the last line for an offset past the end.
    pub fn at(&self, offset: usize) -> Line {
        let place = self.starts.partition_point(|start| *start <= offset);
        let place = place.saturating_sub(1);
        let part = self.parts.partition_point(|(from, _)| *from <= place);
        let (_, add) = part
            .checked_sub(1)
            .and_then(|part| self.parts.get(part))
            .copied()
            .unwrap_or((0, 1));
        Line(u32::try_from(place).unwrap_or(u32::MAX).saturating_add(add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_on_the_line_whose_newline_comes_after_it() {
        let lines = Lines::of("ab\n\ncd");
        let at: Vec<u32> = (0..8).map(|offset| lines.at(offset).0).collect();
        assert_eq!(at, [1, 1, 1, 2, 3, 3, 3, 3]);
        assert_eq!(Lines::of("").at(0).0, 1);
    }

    #[test]
    fn a_line_says_nothing_about_what_is_written_there() {
        assert_eq!(Line(1), Line(2));
    }
}
