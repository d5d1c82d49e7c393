//! A worker's sleep, and how whoever has something for it ends that.
//!
//! Whoever writes into a worker's ring looks afterwards whether it sleeps: one load of a line that is seldom written. Only then is
//! there a system call, once a sleep. A sleep that begins just as somebody writes may be overlooked; the next batch sees it,
//! and no sleep is longer than half a millisecond.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

/// One worker's, shared with those who write into its rings.
#[derive(Debug, Default)]
pub struct Sleeper {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Sleeper {
    /// Says that the calling thread is the one that sleeps.
    pub(crate) fn is_this_thread(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    /// Sleeps, unless there is something to do already, until the time is over or somebody wakes it.
    pub(crate) fn sleep(&self, time: Duration, has_work: impl FnOnce() -> bool) {
        self.asleep.store(true, Ordering::SeqCst);
        if !has_work() {
            std::thread::park_timeout(time);
        }
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes it if it sleeps; called after what it is to find has been written.
    #[inline(always)]
    pub fn wake(&self) {
        if self.asleep.load(Ordering::Relaxed) {
            self.rouse();
        }
    }

    #[cold]
    #[inline(never)]
    fn rouse(&self) {
        // Of several one calls the kernel.
        if self.asleep.swap(false, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
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
            own.is_this_thread();
            for _ in 0..100 {
                said.send(()).unwrap();
                own.sleep(FOR_EVER, || false);
            }
        });
        for _ in 0..100 {
            heard.recv().unwrap();
            // It is overlooked until it sleeps, as by a worker that writes its next batch.
            while !sleeper.asleep.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            sleeper.wake();
        }
        thread.join().unwrap();
        // Nobody sleeps: there is nobody to wake, and no sleep that ends at once for it.
        sleeper.wake();
        assert!(!sleeper.asleep.load(Ordering::Relaxed));
    }

    #[test]
    fn it_does_not_sleep_while_there_is_something_to_do() {
        let sleeper = Sleeper::default();
        sleeper.is_this_thread();
        sleeper.sleep(FOR_EVER, || true);
        assert!(!sleeper.asleep.load(Ordering::Relaxed));
    }
}
