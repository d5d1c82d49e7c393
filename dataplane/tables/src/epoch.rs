//! When may what was taken from the readers be used again? When every worker has since passed a
//! quiescent point.
//!
//! Quiescent-state reclamation, as in `rte_rcu_qsbr`: a worker passes once per turn of its loop, at
//! a moment when it holds nothing that it read from the tables. Control takes something away (an
//! entry, a slot, a snapshot), advances the epoch, and keeps what it took in a [`Retired`] queue;
//! when [`Epochs::passed`] has reached that epoch no worker can hold it any more. Nobody waits for
//! anybody: control looks from time to time, a worker's price is one load a turn and one store when
//! the epoch moved.
//!
//! ```
//! use weir_tables::epoch::{Epochs, Retired};
//! let epochs = Epochs::new(1);
//! let mut worker = epochs.join(0).expect("nobody else is worker 0");
//! let mut retired = Retired::new();
//!
//! retired.push(epochs.advance(), "what was unpublished just before");
//! assert_eq!(retired.drain(epochs.passed()).count(), 0);
//! worker.pass();
//! assert_eq!(retired.drain(epochs.passed()).count(), 1);
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

use crate::sync::{AtomicU64, Ordering, fence};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A cell's value while nobody has joined as this worker. Larger than any epoch, so it holds
/// nothing back.
const VACANT: u64 = u64::MAX;
/// A cell's value while its worker is joined but reads nothing. Larger than any epoch, so it holds
/// nothing back.
const OFFLINE: u64 = u64::MAX - 1;

/// One worker's word, alone in its pair of lines: the neighbours' stores (and Intel's pairwise
/// prefetch) never touch it.
#[repr(align(128))]
struct Word(AtomicU64);

/// The epoch, and how far each worker has come. Shared by all; see the [module](self).
pub struct Epochs {
    current: Word,
    workers: Box<[Word]>,
}

impl Epochs {
    /// Epoch 1, and room for `workers` workers, none of whom has joined.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            current: Word(AtomicU64::new(1)),
            workers: (0..workers).map(|_| Word(AtomicU64::new(VACANT))).collect(),
        })
    }

    /// How many workers there is room for.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Begins a new epoch and returns it: what the caller has unpublished before this call may be
    /// reused once [`passed`](Self::passed) has reached the number returned. For control alone.
    pub fn advance(&self) -> u64 {
        // Release: a worker that loads this number (or a later one) with Acquire sees everything
        // unpublished before it, so it cannot pick up again what it is about to vouch for. Acquire
        // is for nothing but a second control thread after the first.
        self.current
            .0
            .fetch_add(1, Ordering::AcqRel)
            .saturating_add(1)
    }

    /// The highest epoch that every online worker has passed; the current one if none is online.
    pub fn passed(&self) -> u64 {
        // Acquire: should another thread than the one that advanced ask, what was unpublished
        // before is before the fence below.
        let mut lowest = self.current.0.load(Ordering::Acquire);
        // SeqCst, the partner of the fence in `Passer::online`: unpublish, fence, look at the
        // worker here; show up, fence, read there. One of the two fences is first. If ours is, the
        // worker's reads see what we unpublished; if the worker's is, we see it online. Without
        // them, each could miss the other's store, and we would free what a worker that just woke
        // is about to read.
        fence(Ordering::SeqCst);
        for worker in &self.workers {
            // Acquire: pairs with the Release in `pass` and `offline`. The worker's reads of what
            // was retired are over before we reuse it.
            lowest = lowest.min(worker.0.load(Ordering::Acquire));
        }
        lowest
    }

    /// Becomes worker `worker`, online at once. `None` if there is no such worker, or someone is it
    /// already.
    pub fn join(self: &Arc<Self>, worker: usize) -> Option<Passer> {
        let word = &self.workers.get(worker)?.0;
        // Acquire: pairs with the Release of the predecessor's drop, whose reads are over. No
        // Release: nothing is handed over, and the word still holds nothing back; `online` does the
        // rest.
        word.compare_exchange(VACANT, OFFLINE, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let mut passer = Passer {
            epochs: Arc::clone(self),
            worker,
            seen: OFFLINE,
            one_thread: PhantomData,
        };
        passer.online();
        Some(passer)
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

/// One worker's right to read the tables, and its duty to say when it holds nothing. It may move to
/// another thread and cannot be shared or copied; dropping it takes the worker offline and leaves
/// the place to a successor.
///
/// ```compile_fail
/// fn share<T: Sync>() {}
/// share::<weir_tables::epoch::Passer>();
/// ```
/// ```compile_fail
/// fn copy<T: Clone>() {}
/// copy::<weir_tables::epoch::Passer>();
/// ```
pub struct Passer {
    epochs: Arc<Epochs>,
    worker: usize,
    /// What our word says, so that an unmoved epoch costs no store.
    seen: u64,
    one_thread: PhantomData<Cell<()>>,
}

impl Passer {
    /// A quiescent point: the caller holds nothing that it read from the tables before. Once per
    /// turn of the loop.
    ///
    /// One load, and one store when the epoch has moved. Does nothing while offline.
    #[inline]
    pub fn pass(&mut self) {
        // Acquire: what we read from here on is at least as new as what was unpublished before this
        // epoch began.
        let now = self.epochs.current.0.load(Ordering::Acquire);
        if now != self.seen {
            self.report(now);
        }
    }

    #[cold]
    fn report(&mut self, now: u64) {
        if self.seen == OFFLINE {
            return;
        }
        // Release: everything that we read before is over before control can see that we passed.
        // Our later reads may overtake this store, and harmlessly so: they come after the Acquire
        // above, and control merely learns later.
        self.store(now);
    }

    /// Reads nothing until [`online`](Self::online): a worker that sleeps holds nobody up.
    pub fn offline(&mut self) {
        // Release, as in `report`: our reads are over before control can see us gone.
        self.store(OFFLINE);
    }

    /// Reads again. Costs a full fence, so for waking up, not for every turn. Does nothing while
    /// online.
    pub fn online(&mut self) {
        if self.seen != OFFLINE {
            return;
        }
        // Whatever epoch we claim here was current before our store, so control, if it sees us,
        // waits for a `pass` of anything newer.
        let now = self.epochs.current.0.load(Ordering::Acquire);
        self.store(now);
        // SeqCst: our store is out before our first read; argued at its partner in
        // `Epochs::passed`.
        fence(Ordering::SeqCst);
    }

    /// Whether this worker is offline.
    pub fn is_offline(&self) -> bool {
        self.seen == OFFLINE
    }

    fn store(&mut self, word: u64) {
        if let Some(own) = self.epochs.workers.get(self.worker) {
            own.0.store(word, Ordering::Release);
        }
        self.seen = word;
    }
}

impl Drop for Passer {
    fn drop(&mut self) {
        self.store(VACANT);
    }
}

impl fmt::Debug for Passer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passer")
            .field("worker", &self.worker)
            .field("offline", &self.is_offline())
            .finish_non_exhaustive()
    }
}

/// What was taken from the readers and waits for them to pass, oldest first. Control's own, so
/// nothing is ever freed on a worker.
#[derive(Debug)]
pub struct Retired<T> {
    waiting: VecDeque<(u64, T)>,
}

impl<T> Retired<T> {
    /// Nothing waits.
    pub const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }

    /// Keeps `item`, which was unpublished before [`Epochs::advance`] returned `epoch`.
    ///
    /// Epochs are expected in the order they were returned; one that comes late is kept longer than
    /// it needs, never shorter.
    pub fn push(&mut self, epoch: u64, item: T) {
        self.waiting.push_back((epoch, item));
    }

    /// Gives back everything up to epoch `passed` (see [`Epochs::passed`]). What the iterator is
    /// dropped before stays for the next call.
    pub fn drain(&mut self, passed: u64) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(move || match self.waiting.front() {
            Some((epoch, _)) if *epoch <= passed => self.waiting.pop_front().map(|(_, item)| item),
            _ => None,
        })
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn passed_is_the_slowest_online_worker() {
        let epochs = Epochs::new(3);
        let mut a = epochs.join(0).unwrap();
        let mut b = epochs.join(1).unwrap();
        let first = epochs.advance();
        let second = epochs.advance();
        assert!(second > first && epochs.passed() < first);
        a.pass();
        assert!(epochs.passed() < first);
        b.offline();
        assert_eq!(epochs.passed(), second);
        let third = epochs.advance();
        b.online();
        assert_eq!(epochs.passed(), second);
        a.pass();
        assert_eq!(epochs.passed(), third);
    }

    #[test]
    fn nobody_online_means_the_current_epoch_and_not_the_future() {
        let epochs = Epochs::new(2);
        let now = epochs.advance();
        assert_eq!(epochs.passed(), now);
        assert!(epochs.passed() < epochs.advance());
        assert_eq!(Epochs::new(0).passed(), 1);
    }

    #[test]
    fn a_worker_is_joined_once_at_a_time() {
        let epochs = Epochs::new(1);
        assert_eq!(epochs.workers(), 1);
        assert!(epochs.join(1).is_none());
        let first = epochs.join(0).unwrap();
        assert!(epochs.join(0).is_none());
        let epoch = epochs.advance();
        assert!(epochs.passed() < epoch);
        drop(first);
        assert_eq!(epochs.passed(), epoch);
        assert!(epochs.join(0).is_some());
    }

    #[test]
    fn a_pass_while_offline_does_not_bring_the_worker_back() {
        let epochs = Epochs::new(1);
        let mut worker = epochs.join(0).unwrap();
        worker.offline();
        let epoch = epochs.advance();
        worker.pass();
        assert!(worker.is_offline());
        assert_eq!(epochs.passed(), epoch);
        worker.online();
        assert!(!worker.is_offline());
        worker.online();
        assert!(epochs.passed() < epochs.advance());
    }

    #[test]
    fn retired_items_come_back_in_order_and_only_when_passed() {
        let mut retired = Retired::default();
        for epoch in 2..6 {
            retired.push(epoch, epoch * 10);
        }
        assert_eq!(retired.drain(1).count(), 0);
        assert_eq!(retired.drain(4).take(1).collect::<Vec<_>>(), [20]);
        assert_eq!(retired.drain(4).collect::<Vec<_>>(), [30, 40]);
        assert_eq!(retired.len(), 1);
        assert_eq!(retired.drain(u64::MAX).collect::<Vec<_>>(), [50]);
        assert!(retired.is_empty());
    }
}
