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

/// The starts of a text's lines, found once, so that a line is a binary search.
#[derive(Clone, Debug)]
pub struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    /// Finds the lines of `text`.
    pub fn of(text: &str) -> Lines {
        let after_newline = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Lines {
            starts: std::iter::once(0).chain(after_newline).collect(),
        }
    }

    /// The line that holds the byte at `offset`; the last line for an offset past the end.
    pub fn at(&self, offset: usize) -> Line {
        let line = self.starts.partition_point(|start| *start <= offset);
        Line(u32::try_from(line).unwrap_or(u32::MAX))
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
