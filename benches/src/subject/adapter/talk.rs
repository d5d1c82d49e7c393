//! The talk with a peer's program: a line each way, within its time.

use super::Patience;
use crate::halt::{Halt, Stop};
use crate::process::{self, Process};
use serde::Deserialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Instead of any answer.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    mend: String,
}

/// A peer's program that runs, and the talk with it.
pub(super) struct Peer {
    name: String,
    pub(super) process: Process,
    lines: process::Lines,
    pub(super) patience: Patience,
}

impl Peer {
    pub(super) fn start(
        name: &str,
        command: &mut Command,
        folder: &Path,
        patience: Patience,
    ) -> Result<Peer, Halt> {
        let (process, lines) = Process::start_talking(name, command, folder)?;
        Ok(Peer {
            name: name.to_string(),
            process,
            lines,
            patience,
        })
    }

    /// The next line that it says.
    pub(super) fn line(
        &mut self,
        stop: &Stop,
        patience: Duration,
        to: &str,
    ) -> Result<String, Halt> {
        let lines = &self.lines;
        let said = stop.wait_for(patience, || Ok(lines.next()))?;
        match said {
            Some(Ok(line)) => Ok(line),
            Some(Err(process::Ended)) => {
                // It may have closed its output only.
                let how =
                    stop.wait_for(Duration::from_secs(1), || Ok(self.process.check().err()))?;
                let how = how.map_or("has closed its output".to_string(), |halt| match halt {
                    Halt::Failed(fault) => fault.problem,
                    other => other.to_string(),
                });
                Err(self
                    .process
                    .trouble(&format!("{how} before it answered {to}")))
            }
            None => {
                let seconds = patience.as_secs_f64();
                let problem = format!("has not answered {to} within {seconds} s");
                Err(self.process.trouble(&problem))
            }
        }
    }

    pub(super) fn answer<T: serde::de::DeserializeOwned>(
        &mut self,
        stop: &Stop,
        patience: Duration,
        to: &str,
    ) -> Result<T, Halt> {
        let line = self.line(stop, patience, to)?;
        if let Ok(refusal) = serde_json::from_str::<Refusal>(&line) {
            return Err(Halt::failed(&self.name, refusal.error, refusal.mend));
        }
        serde_json::from_str(&line).map_err(|error| {
            let problem = format!(
                "has answered {to} with what is no answer ({error}): {}",
                short(&line)
            );
            self.process.trouble(&problem)
        })
    }

    pub(super) fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        stop: &Stop,
        patience: Duration,
        question: &str,
    ) -> Result<T, Halt> {
        if self.process.say(question).is_err() {
            // Why is in what it says last, or in how it ended.
            return self.answer(stop, patience, question);
        }
        self.answer(stop, patience, question)
    }

    /// What is not installed: what it said last on standard error.
    pub(super) fn missing(&self) -> Halt {
        let said = self.process.last_words();
        Halt::failed(&self.name, "is not installed here", said)
    }
}

/// As much of a line as a person wants to see.
pub(super) fn short(line: &str) -> String {
    let mut text: String = line.chars().take(120).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text
}
