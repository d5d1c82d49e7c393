//! SIGINT, SIGTERM and SIGHUP as a word that every step looks for: what was set up is always taken down again.

use std::io;
use std::time::Duration;

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

impl From<weir_bench::Halt> for Halt {
    fn from(halt: weir_bench::Halt) -> Halt {
        match halt {
            weir_bench::Halt::Signal(name) => Halt::Signal(name),
            failed => Halt::failed(failed.to_string()),
        }
    }
}

/// Whether a signal has arrived, as the rig looks for it. Later ones change nothing: the demo is already cleaning up.
#[derive(Clone, Debug, Default)]
pub struct Stop(weir_bench::Stop);

impl Stop {
    /// Catches the signals from now on. Returns when they are caught.
    pub fn on_signals() -> io::Result<Stop> {
        weir_bench::Stop::on_signals().map(Stop)
    }

    /// Fails if a signal has arrived.
    pub fn check(&self) -> Result<(), Halt> {
        Ok(self.0.check()?)
    }

    /// Asks `ready` again and again until it gives something. `None` after `patience`; fails if a signal arrives.
    pub fn wait_for<T>(
        &self,
        patience: Duration,
        mut ready: impl FnMut() -> Result<Option<T>, Halt>,
    ) -> Result<Option<T>, Halt> {
        let given = self.0.wait_for(patience, || Ok(ready().transpose()))?;
        given.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_what_it_waits_for_with_its_patience_or_with_a_fault() {
        let stop = Stop::default();
        let short = Duration::from_millis(30);
        assert_eq!(stop.wait_for(short, || Ok(Some(1))), Ok(Some(1)));
        assert_eq!(stop.wait_for(short, || Ok(None::<u8>)), Ok(None));
        let long = Duration::from_secs(3600);
        let fault = stop.wait_for(long, || Err::<Option<u8>, _>(Halt::failed("broken")));
        assert_eq!(fault, Err(Halt::failed("broken")));
        let signal = weir_bench::Halt::Signal("SIGTERM");
        assert_eq!(Halt::from(signal), Halt::Signal("SIGTERM"));
    }
}
