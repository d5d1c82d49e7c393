//! What the rig is doing, for who waits for it.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use weir_bench::Watcher;

/// What the rig is doing, on standard error: a moving line on a terminal, each window's rate as a line of its own.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            // Ten redraws a second of one line: nothing that a measured core notices.
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Progress { bar }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watcher for Progress {
    fn doing(&mut self, step: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(step.to_string());
        }
    }

    fn note(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // Where standard error is gone there is nobody left to tell.
            None => drop(writeln!(io::stderr().lock(), "{line}")),
        }
    }
}
