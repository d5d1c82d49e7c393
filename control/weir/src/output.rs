//! The way to standard output: one locked, buffered writer that knows whether a person looks at it.

use crate::failure::colour;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Standard output.
pub struct Out {
    writer: BufWriter<StdoutLock<'static>>,
    json: bool,
    terminal: bool,
    colour: bool,
}

impl Out {
    /// Locks standard output; `json` says which of the two forms the verb prints.
    pub fn stdout(json: bool) -> Out {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let colour = colour(&stdout);
        Out {
            writer: BufWriter::new(stdout.lock()),
            json,
            terminal,
            colour,
        }
    }

    /// Whether JSON is asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at it.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether it may be coloured.
    pub fn is_coloured(&self) -> bool {
        self.colour
    }

    /// Writes text as it stands, and a newline if it does not end in one.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())?;
        if !text.is_empty() && !text.ends_with('\n') {
            self.writer.write_all(b"\n")?;
        }
        self.writer.flush()
    }

    /// Writes a value as indented JSON.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.writer, value)?;
        self.writer.write_all(b"\n")?;
        self.writer.flush()
    }

    /// Writes a value as one line of JSON.
    pub fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.writer, value)?;
        self.writer.write_all(b"\n")?;
        self.writer.flush()
    }

    /// Clears a terminal's screen, so that what follows stands where the last answer stood.
    pub fn clear(&mut self) -> io::Result<()> {
        if self.terminal {
            self.writer.write_all(b"\x1b[H\x1b[2J")
        } else {
            Ok(())
        }
    }
}
