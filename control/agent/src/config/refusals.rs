//! What is wrong with a file, collected.

use std::fmt::Display;
use std::ops::Range;

use super::fields::Fault;
use super::spans::{Line, Lines};
use crate::stats::PolicyError;

/// The refusals found so far in one file.
#[derive(Debug)]
pub struct Refusals {
    file: String,
    lines: Lines,
    found: Vec<PolicyError>,
}

impl Refusals {
    /// None yet, in the `text` of the file called `file`.
    pub fn new(file: &str, text: &str) -> Refusals {
        Refusals {
            file: file.to_owned(),
            lines: Lines::of(text),
            found: Vec::new(),
        }
    }

    /// Adds one.
    pub fn refuse(
        &mut self,
        line: Line,
        object: impl Display,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.found.push(PolicyError {
            file: self.file.clone(),
            line: Some(line.0),
            object: object.to_string(),
            problem: problem.into(),
            mend: mend.into(),
        });
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.found.len()
    }

    /// Adds what one value's reading said.
    pub fn fault(&mut self, line: Line, object: impl Display, fault: Fault) {
        self.refuse(line, object, fault.problem, fault.mend);
    }

    /// All of them, in the order of their lines; of one line, in the order in which they were found.
    pub fn into_sorted(mut self) -> Vec<PolicyError> {
        self.found.sort_by_key(|refusal| refusal.line);
        self.found
    }

    /// What is read from here on is `text`, which begins at `line` of the file.
    pub fn within(&mut self, text: &str, line: u32) {
        self.lines.renew(text, line);
    }

    /// What is read from here on has these lines.
    pub fn within_lines(&mut self, lines: Lines) {
        self.lines = lines;
    }

    /// The line of a span.
    pub fn line(&self, span: Range<usize>) -> Line {
        self.lines.at(span.start)
    }
}
