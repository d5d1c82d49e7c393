//! A worker's sleep, and how whoever has something for it ends that.
//!
//! Whoever writes into a worker's ring looks afterwards whether it sleeps: one load of a line that is seldom written. Only then is
//! there a system call, once a sleep. A short sleep that begins just as somebody writes may be overlooked; the next batch sees it, and it is
//! no longer than half a millisecond. Before a longer one the worker has the kernel make all threads' writes seen by all
//! (membarrier(2)): either it sees what was written, or who wrote it sees that it sleeps.

use crate::idle::LONGEST;
use rte::{Bell, Called, Woken, seen_by_all};
use std::sync::OnceLock;
use std::time::Duration;
use weir_tables::asleep::Asleep;

/// One worker's, shared with those who write into its rings.
#[derive(Debug, Default)]
pub struct Sleeper {
    asleep: Asleep,
    /// None where the kernel has none for it: nobody ends its sleeps then.
    bell: OnceLock<Option<Bell>>,
}

impl Sleeper {
    /// Says that there is a thread that sleeps.
    pub(crate) fn begin(&self) {
        let _ = self.bell.set(Bell::new());
    }

    /// Whether nothing ends its sleeps but their time.
    pub(crate) fn is_deaf(&self) -> bool {
        self.bell().is_none()
    }

    fn bell(&self) -> Option<&Bell> {
        self.bell.get().and_then(Option::as_ref)
    }

    /// Sleeps, unless there is something to do already, until the time is over, somebody wakes it, or one of these queues does by its
    /// interrupt.
    pub(crate) fn sleep(
        &self,
        time: Duration,
        queues: impl Iterator<Item = Called>,
        has_work: impl FnOnce() -> bool,
    ) -> Woken {
        self.asleep.begin(|| {
            if time > LONGEST {
                seen_by_all();
            }
        });
        let woken = match self.bell() {
            _ if has_work() => Woken::default(),
            Some(bell) => bell.sleep(queues, time),
            None => {
                std::thread::sleep(time);
                Woken::default()
            }
        };
        self.asleep.end();
        woken
    }

    /// Wakes it if it sleeps; called after what it is to find has been written.
    #[inline(always)]
    pub fn wake(&self) {
        if self.asleep.is_set() {
            self.rouse();
        }
    }

    #[cold]
    #[inline(never)]
    fn rouse(&self) {
        // Of several one calls the kernel.
        if self.asleep.is_mine_to_wake()
            && let Some(bell) = self.bell()
        {
            bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Longer than any test may last.
    const FOR_EVER: Duration = Duration::from_secs(3600);

    #[test]
    fn whoever_has_something_ends_its_sleep() {
        let sleeper = Arc::new(Sleeper::default());
        let own = sleeper.clone();
        let (said, heard) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            own.begin();
            for _ in 0..100 {
                said.send(()).unwrap();
                own.sleep(FOR_EVER, [].into_iter(), || false);
            }
        });
        for _ in 0..100 {
            heard.recv().unwrap();
            // It is overlooked until it sleeps, as by a worker that writes its next batch.
            while !sleeper.asleep.is_set() {
                std::thread::yield_now();
            }
            sleeper.wake();
        }
        thread.join().unwrap();
        // Nobody sleeps: there is nobody to wake, and no sleep that ends at once for it.
        sleeper.wake();
        assert!(!sleeper.asleep.is_set());
    }

    #[test]
    fn it_does_not_sleep_while_there_is_something_to_do() {
        let sleeper = Sleeper::default();
        sleeper.begin();
        sleeper.sleep(FOR_EVER, [].into_iter(), || true);
        assert!(!sleeper.asleep.is_set());
    }
}
