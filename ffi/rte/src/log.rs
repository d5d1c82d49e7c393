//! DPDK's log: kept for errors to quote, forwarded to stderr, never to stdout or syslog.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// Lines kept for errors to quote. An error quotes what one call said: rarely more than ten lines.
const KEPT: usize = 64;

/// The worst levels have the smallest numbers: 4 is an error, 5 a warning (`rte_log.h`).
const WARNING: u32 = 5;

struct Log {
    /// Warnings and worse, each with its running number.
    lines: VecDeque<(u64, String)>,
    next: u64,
    /// The last line has not seen its end yet.
    open: bool,
    /// What is at this level or worse goes to stderr; 0 is nothing.
    forward: u32,
}

static LOG: Mutex<Log> = Mutex::new(Log {
    lines: VecDeque::new(),
    next: 0,
    open: false,
    forward: WARNING,
});

/// Takes DPDK's log over, from before EAL starts. False if there is no memory for a stream.
pub(crate) fn take_over(forward: u32) -> bool {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).forward = forward;
    // SAFETY: `write` matches shim_log_write and lives as long as the program; the call comes once, before EAL's threads exist, as
    // `Eal::init` runs once a process.
    unsafe { dpdk_sys::shim_log_to(Some(write)) == 0 }
}

/// Now, for [`since`].
pub(crate) fn mark() -> u64 {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).next
}

/// What was said since `mark`, at warning or worse, as far as it is kept.
pub(crate) fn since(mark: u64) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.lines
        .iter()
        .filter(|(number, _)| *number >= mark)
        .map(|(_, line)| line.clone())
        .collect()
}

unsafe extern "C" fn write(level: u32, text: *const libc::c_char, length: usize) {
    // SAFETY: the C library's stream hands over `length` bytes at `text` that it does not touch before this returns.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    if level <= log.forward {
        // Nobody to tell if stderr is gone.
        let _ = std::io::stderr().write_all(text);
    }
    if level <= WARNING {
        log.keep(&String::from_utf8_lossy(text));
    }
}

impl Log {
    fn keep(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            let line = piece.trim_end_matches('\n');
            match self.lines.back_mut() {
                Some((_, last)) if self.open => last.push_str(line),
                _ if line.is_empty() => {}
                _ => {
                    if self.lines.len() == KEPT {
                        self.lines.pop_front();
                    }
                    self.lines.push_back((self.next, line.to_owned()));
                    self.next += 1;
                }
            }
            self.open = !piece.ends_with('\n') && !self.lines.is_empty();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_bounded_and_numbered() {
        let mut log = Log {
            lines: VecDeque::new(),
            next: 0,
            open: false,
            forward: 0,
        };
        log.keep("one ");
        log.keep("line\nanother\n\n");
        assert_eq!(
            log.lines,
            [(0, "one line".to_owned()), (1, "another".to_owned())]
        );
        for n in 0..2 * KEPT {
            log.keep(&format!("{n}\n"));
        }
        assert_eq!(log.lines.len(), KEPT);
        assert_eq!(log.lines.back().map(|(n, _)| *n), Some(1 + 2 * KEPT as u64));
    }
}
