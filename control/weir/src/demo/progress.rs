//! What the demo is doing, on standard error: a moving line on a terminal, plain lines elsewhere.

use crate::failure::colour;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The steps as they go.
pub struct Progress {
    bar: Option<ProgressBar>,
    colour: bool,
    step: String,
    started: Instant,
}

impl Progress {
    /// On standard error.
    pub fn new() -> Progress {
        let stderr = io::stderr();
        let bar = stderr.is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar
        });
        Progress {
            bar,
            colour: colour(&stderr),
            step: String::new(),
            started: Instant::now(),
        }
    }

    /// A step begins.
    pub fn begin(&mut self, step: &str) {
        self.step = step.to_string();
        self.started = Instant::now();
        match &self.bar {
            Some(bar) => {
                bar.reset_elapsed();
                bar.set_message(self.step.clone());
                bar.enable_steady_tick(Duration::from_millis(100));
            }
            None => say(&format!("... {step}")),
        }
    }

    /// The step has ended, well or not.
    pub fn end(&mut self, well: bool, detail: &str) {
        let took = self.started.elapsed().as_secs_f64();
        let mark = match (well, self.colour) {
            (true, true) => "\x1b[32m ok\x1b[0m",
            (true, false) => " ok",
            (false, true) => "\x1b[1;31mBAD\x1b[0m",
            (false, false) => "BAD",
        };
        let detail = if detail.is_empty() {
            String::new()
        } else {
            format!(": {detail}")
        };
        if let Some(bar) = &self.bar {
            bar.disable_steady_tick();
            bar.set_message("");
        }
        self.note(&format!("{mark} {} ({took:.1} s){detail}", self.step));
    }

    /// A line of its own.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => say(line),
        }
    }

    /// Takes the moving line away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Where standard error is gone there is nobody left to tell.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
