//! SIGINT, SIGTERM and SIGHUP as a word that every step looks for: what was set up is always taken down again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Why the demo does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// This signal arrived.
    Signal(&'static str),
    /// A step could not be done: what is wrong, and the mend where there is one.
    Failed(String),
}

impl Halt {
    /// A step that failed for this reason.
    pub fn failed(why: impl Into<String>) -> Halt {
        Halt::Failed(why.into())
    }
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Halt::Signal(name) => write!(f, "ended by {name}"),
            Halt::Failed(why) => f.write_str(why),
        }
    }
}

const SIGNALS: [&str; 3] = ["SIGINT", "SIGTERM", "SIGHUP"];

/// Whether a signal has arrived. Later ones change nothing: the demo is already cleaning up.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// Catches the signals from now on. Returns when they are caught.
    pub fn on_signals() -> io::Result<Stop> {
        let stop = Stop::default();
        let (ready, caught) = mpsc::channel();
        let word = stop.clone();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || word.watch(&ready))?;
        caught
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread for signals has ended")))?;
        Ok(stop)
    }

    fn watch(&self, ready: &mpsc::Sender<io::Result<()>>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let result = runtime.and_then(|runtime| {
            runtime.block_on(async {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                let mut hangup = signal(SignalKind::hangup())?;
                let _ = ready.send(Ok(()));
                loop {
                    let number = tokio::select! {
                        _ = interrupt.recv() => 1,
                        _ = terminate.recv() => 2,
                        _ = hangup.recv() => 3,
                    };
                    let first = Ordering::SeqCst;
                    let _ = self.0.compare_exchange(0, number, first, first);
                }
            })
        });
        let _ = ready.send(result);
    }

    /// Fails if a signal has arrived.
    pub fn check(&self) -> Result<(), Halt> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(()),
            number => Err(Halt::Signal(
                SIGNALS.get(number - 1).copied().unwrap_or("a signal"),
            )),
        }
    }

    /// Asks `ready` again and again until it gives something. `None` after `patience`; fails if a signal arrives.
    pub fn wait_for<T>(
        &self,
        patience: Duration,
        mut ready: impl FnMut() -> Result<Option<T>, Halt>,
    ) -> Result<Option<T>, Halt> {
        let deadline = Instant::now() + patience;
        loop {
            self.check()?;
            if let Some(value) = ready()? {
                return Ok(Some(value));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_counts_and_ends_a_wait() {
        let stop = Stop::default();
        let short = Duration::from_millis(30);
        assert_eq!(stop.wait_for(short, || Ok(Some(1))), Ok(Some(1)));
        assert_eq!(stop.wait_for(short, || Ok(None::<u8>)), Ok(None));
        stop.0.store(2, Ordering::SeqCst);
        let long = Duration::from_secs(3600);
        assert_eq!(
            stop.wait_for(long, || Ok(None::<u8>)),
            Err(Halt::Signal("SIGTERM"))
        );
    }
}
