//! How whoever writes into a sleeper's ring and the sleeper find each other, though writers are not slowed by a fence.
//!
//! A writer writes, and looks whether the reader sleeps; the reader says that it sleeps, and looks whether something was written. A
//! processor may look before others see what it wrote, so that each may overlook the other. The reader alone has a fence put into every
//! thread, its own and theirs, between its two steps (membarrier(2)): a writer that looked before it has written before it, and is seen; one
//! that has not sees that the reader sleeps. Which writer meets it before, between and behind its own two steps, loom runs through
//! (`tests/loom_asleep.rs`).

use crate::sync::{AtomicBool, Ordering};

/// Whether a reader sleeps: written by it and by whoever wakes it.
#[derive(Debug)]
pub struct Asleep(AtomicBool);

impl Default for Asleep {
    fn default() -> Self {
        Asleep(AtomicBool::new(false))
    }
}

impl Asleep {
    /// The reader is about to sleep. `fence` puts a fence into every thread, or does nothing where it matters little that a writer is
    /// overlooked. Afterwards it looks into its rings, and sleeps if they are empty.
    #[inline]
    pub fn begin(&self, fence: impl FnOnce()) {
        self.0.store(true, Ordering::SeqCst);
        fence();
    }

    /// The reader is awake.
    #[inline]
    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether it sleeps, as a writer asks behind what it has written.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        // The processor may look before others see what was written; the compiler must not.
        #[cfg(not(loom))]
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the caller is the one of several writers that wakes it.
    #[inline]
    pub fn is_mine_to_wake(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}
