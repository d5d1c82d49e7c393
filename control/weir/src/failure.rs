//! Why a verb did not do what was asked, and how that reaches the user.

use crate::output::Out;
use serde::{Deserialize, Serialize};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use weir_agent::stats::PolicyError;

/// The body of every HTTP error, and what a verb with `-o json` prints when it fails.
#[derive(Debug, Serialize, Deserialize)]
pub struct Errors {
    /// Every reason, none left out.
    pub errors: Vec<PolicyError>,
}

/// As [`Errors`], with a name.
#[derive(Serialize)]
struct NamedErrors {
    errors: [Named; 1],
}

/// A reason that has a name.
#[derive(Debug, Serialize)]
pub struct Named {
    /// The name, e.g. `no-such-pf`.
    pub name: String,
    /// The reason.
    #[serde(flatten)]
    pub error: PolicyError,
}

/// Why a verb failed.
#[derive(Debug)]
pub enum Failure {
    /// Refused or failed, with every reason. Exit status 1.
    Refused(Vec<PolicyError>),
    /// Refused, by a name that is stable in JSON besides. Exit status 1.
    Named(Box<Named>),
    /// What was printed already says that not all is well. Exit status 1.
    Reported,
    /// Standard output could not be written. A reader that left (EPIPE) ends the program quietly with 0, anything else with 1.
    Output(io::Error),
    /// The command line asks for something that cannot be meant. Exit status 2.
    Usage(String),
}

impl Failure {
    /// One reason that belongs to no file: what it is about, what is wrong, how to mend it (may be empty).
    pub fn one(
        object: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> Failure {
        Failure::Refused(vec![reason(object, problem, mend)])
    }

    /// Says on stderr, or with `json` as an object on stdout, what is wrong, and gives the exit status.
    pub fn report(self, json: bool) -> ExitCode {
        let colour = colour(&io::stderr());
        // Where stderr is gone there is nobody left to tell.
        let mut stderr = io::stderr().lock();
        match self {
            Failure::Reported => {}
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Failure::Output(error) => {
                let _ = writeln!(stderr, "weir: standard output cannot be written: {error}");
            }
            Failure::Usage(problem) => {
                let _ = writeln!(stderr, "{} {problem}", label("error:", colour));
                return ExitCode::from(2);
            }
            Failure::Refused(errors) if json => {
                let _ = Out::stdout(true).json(&Errors { errors });
            }
            Failure::Named(named) if json => {
                let _ = Out::stdout(true).json(&NamedErrors { errors: [*named] });
            }
            Failure::Named(named) => {
                let sentence = sentence(&named.error);
                let _ = writeln!(stderr, "{} {sentence}", label("error:", colour));
            }
            Failure::Refused(errors) => {
                for error in &errors {
                    let _ = writeln!(stderr, "{} {}", label("error:", colour), sentence(error));
                }
            }
        }
        ExitCode::from(1)
    }
}

impl From<io::Error> for Failure {
    /// Only writes to standard output are converted by `?`; every other io::Error is named where it happens.
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::one("", format!("{error:#}"), "")
    }
}

/// A reason that belongs to no file.
pub fn reason(
    object: impl Into<String>,
    problem: impl Into<String>,
    mend: impl Into<String>,
) -> PolicyError {
    PolicyError {
        object: object.into(),
        problem: problem.into(),
        mend: mend.into(),
        ..PolicyError::default()
    }
}

/// `file:line: object: problem; mend`, without the parts that are empty.
pub fn sentence(error: &PolicyError) -> String {
    let mut text = String::new();
    if !error.file.is_empty() {
        text.push_str(&error.file);
        if let Some(line) = error.line {
            text.push_str(&format!(":{line}"));
        }
        text.push_str(": ");
    }
    if !error.object.is_empty() {
        text.push_str(&error.object);
        text.push_str(": ");
    }
    text.push_str(&error.problem);
    if !error.mend.is_empty() {
        text.push_str("; ");
        text.push_str(&error.mend);
    }
    text
}

/// Whether what is written there may be coloured: a terminal, and nobody objects (<https://no-color.org>).
pub fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

fn label(text: &str, colour: bool) -> String {
    if colour {
        format!("\x1b[1;31m{text}\x1b[0m")
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_leaves_out_what_is_empty() {
        let mut error = reason("vnic blue1", "has no address", "write addresses = [...]");
        assert_eq!(
            sentence(&error),
            "vnic blue1: has no address; write addresses = [...]"
        );
        error.file = "p.toml".into();
        error.line = Some(7);
        assert_eq!(
            sentence(&error),
            "p.toml:7: vnic blue1: has no address; write addresses = [...]"
        );
        assert_eq!(sentence(&reason("", "wrong", "")), "wrong");
    }
}
