//! How control waits for workers.

use std::time::{Duration, Instant};

/// How long control looks at its workers without a pause: some turns of theirs, of a few microseconds each. A sleep, however
/// short it is to be, takes longer than that.
const GLANCE: Duration = Duration::from_micros(50);
/// How long it sleeps between two looks after that.
const LOOK: Duration = Duration::from_micros(20);
/// After this time of waiting control says that a worker is stuck, and waits on.
const PATIENCE: Duration = Duration::from_secs(5);
/// Waiting that says so when it is long.
pub(super) struct Wait {
    what: &'static str,
    since: Instant,
    said: bool,
}

impl Wait {
    /// For a worker to do `what`.
    pub(super) fn new(what: &'static str) -> Wait {
        Wait {
            what,
            since: Instant::now(),
            said: false,
        }
    }

    /// A moment, for the worker on `core`.
    pub(super) fn a_little(&mut self, core: u32) {
        if self.since.elapsed() < GLANCE {
            std::hint::spin_loop();
            return;
        }
        if !self.said && self.since.elapsed() > PATIENCE {
            self.said = true;
            tracing::error!(core, "a worker does not {}; control waits on", self.what);
        }
        std::thread::sleep(LOOK);
    }
}
