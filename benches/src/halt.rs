//! Why a measurement does not go on: a signal, or a fault with its mend. What was started is always stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fmt, io, thread};
use tokio::signal::unix::{SignalKind, signal};

/// What is wrong, with what, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is about.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// How to mend it; may be empty.
    pub mend: String,
}

/// Why the rig does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// This signal arrived.
    Signal(&'static str),
    /// A step could not be done.
    Failed(Fault),
}

impl Halt {
    /// A step that could not be done.
    pub fn failed(
        object: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> Halt {
        Halt::Failed(Fault {
            object: object.into(),
            problem: problem.into(),
            mend: mend.into(),
        })
    }

    /// A file or a socket that the kernel did not give.
    pub fn io(object: impl fmt::Display, error: &io::Error) -> Halt {
        Halt::failed(object.to_string(), error.to_string(), "")
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halt::Signal(name) => write!(f, "ended by {name}"),
            Halt::Failed(fault) if fault.mend.is_empty() => {
                write!(f, "{}: {}", fault.object, fault.problem)
            }
            Halt::Failed(fault) => write!(f, "{}: {}; {}", fault.object, fault.problem, fault.mend),
        }
    }
}

const SIGNALS: [&str; 3] = ["SIGINT", "SIGTERM", "SIGHUP"];
/// How long a signal waits to be seen, at most.
const LOOK: Duration = Duration::from_millis(10);

/// Whether a signal has arrived. Later ones change nothing: the rig is already stopping.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on. Returns when they are caught.
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
                    let _ = self
                        .0
                        .compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
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

    /// Sleeps; fails as soon as a signal arrives.
    pub fn sleep(&self, time: Duration) -> Result<(), Halt> {
        self.wait_for(time, || Ok(None::<()>)).map(|_| ())
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
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            thread::sleep(left.min(LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_a_sleep() {
        let stop = Stop::default();
        assert_eq!(stop.sleep(Duration::from_millis(20)), Ok(()));
        stop.0.store(1, Ordering::SeqCst);
        assert_eq!(
            stop.sleep(Duration::from_secs(3600)),
            Err(Halt::Signal("SIGINT"))
        );
    }
}
