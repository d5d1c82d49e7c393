//! The one hand that changes a table: where an entry goes ([`room`]), what its slots hold ([`slots`]), and when a
//! slot may be filled again.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod room;
mod slots;

use super::hints::{MARKS, mark_of};
use super::{Exact, Key, MARK, Place, is_empty, mix};
use crate::epoch::Retired;
use crate::sync::Ordering;
use slots::{Slot, release};
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// What an insert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The key was not there.
    Added,
    /// The key was there; its value is now the one given.
    Changed,
}

/// There is no slot for this entry now; the table is as the readers knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Slots that would serve wait to be reclaimed: [`retire`](Writer::retire), let the workers
    /// pass, [`reclaim`](Writer::reclaim), and try again. If not: [`grow`](Writer::grow).
    pub pending_reclaim: bool,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.pending_reclaim {
            true => "no slot until every worker has passed a quiescent point",
            false => "the table is full",
        })
    }
}

impl std::error::Error for Full {}

/// Free slots are there, but held.
const PENDING: Full = Full {
    pending_reclaim: true,
};
/// Nothing to wait for.
const FULL: Full = Full {
    pending_reclaim: false,
};

/// The one hand that changes a table. It may move to another thread and cannot be shared or copied.
///
/// In the order of a transaction: [`insert`](Self::insert), [`change`](Self::change) and
/// [`remove`](Self::remove) as needed, then [`Epochs::advance`](crate::epoch::Epochs::advance) and
/// [`retire`](Self::retire) with the epoch it returned, and from time to time
/// [`reclaim`](Self::reclaim) with [`Epochs::passed`](crate::epoch::Epochs::passed). What a value
/// names (an index into another table, say) may be reused after the same epoch.
///
/// ```compile_fail
/// fn share<T: Sync>() {}
/// share::<weir_tables::exact::Writer<5, 1>>();
/// ```
/// ```compile_fail
/// fn copy<T: Clone>() {}
/// copy::<weir_tables::exact::Writer<5, 1>>();
/// ```
pub struct Writer<const SLOTS: usize, const WORDS: usize, const KEY: usize = 1> {
    table: Arc<Exact<SLOTS, WORDS, KEY>>,
    seed: u64,
    len: usize,
    capacity: usize,
    /// Held since the last `retire`, so without an epoch yet.
    fresh: Vec<Slot>,
    retired: Retired<Slot>,
    /// The slot that was cleared for a key which then had to wait: nobody else gets it. Without
    /// this, keys that wait together take each other's slots, and a caller that tries them in turn,
    /// a thousand a round, was seen to go in circles at 87% full.
    claims: HashMap<[u64; KEY], Slot>,
    /// The buckets a search has yet to look at; kept for its allocation.
    queue: Vec<u32>,
    /// By mark, how many marked values have it; nothing before the first.
    marks: Vec<u32>,
    one_thread: PhantomData<Cell<()>>,
}

impl<const SLOTS: usize, const WORDS: usize, const KEY: usize> Writer<SLOTS, WORDS, KEY> {
    /// An empty table for `capacity` entries, which fill 90% of its slots: 14.2 bytes an entry for
    /// `Writer<5, 1>`, 23.7 for `Writer<3, 3>`, measured at a million (where a table is truly full
    /// at 98.4% and 94.8%). The remaining tenth is what displacements and slots that wait to be
    /// reclaimed live on. With two slots a bucket, which are truly full at 87%, they fill 75%: 42.7
    /// bytes an entry for `Writer<2, 3, 2>`.
    ///
    /// `seed` decides which keys share buckets. Tenants choose addresses, so in production it is
    /// random and secret.
    pub fn new(capacity: usize, seed: u64) -> Self {
        let slots = match SLOTS {
            0..=2 => capacity.saturating_mul(4).div_ceil(3),
            _ => capacity.saturating_mul(10).div_ceil(9),
        };
        // One more, for the scatter of small tables.
        let buckets = slots.div_ceil(SLOTS).saturating_add(1);
        Self {
            capacity,
            ..Self::with_buckets(buckets, seed)
        }
    }

    /// The capacity with which a table of so many entries is best made. Three slots in five are taken then (of two a bucket: half), so that
    /// 19 keys in 20 are in their first bucket (of three slots nine in ten), where in a full table it is four in five
    /// (two in three): each other one costs whoever looks it up a second wait for memory. 21.3, 35.6 and 64 bytes an entry.
    pub const fn roomy(entries: usize) -> usize {
        entries.saturating_add(entries / 2)
    }

    /// An empty table of so many buckets (at least 2), which may be filled to the last slot: for
    /// tests, models and measurements.
    pub fn with_buckets(buckets: usize, seed: u64) -> Self {
        let table = Arc::new(Exact::with_buckets(
            u32::try_from(buckets).unwrap_or(u32::MAX),
            seed,
        ));
        Self {
            seed,
            len: 0,
            capacity: table.buckets().saturating_mul(SLOTS),
            table,
            fresh: Vec::new(),
            retired: Retired::new(),
            claims: HashMap::new(),
            queue: Vec::new(),
            marks: Vec::new(),
            one_thread: PhantomData,
        }
    }

    /// The readers' side, to be published. While anyone else holds it, or a `Weak` of it, the table
    /// counts as being read.
    pub fn table(&self) -> Arc<Exact<SLOTS, WORDS, KEY>> {
        Arc::clone(&self.table)
    }

    /// The value of `key`.
    pub fn get(&self, key: impl Key<KEY>) -> Option<[u32; WORDS]> {
        self.table.get(key)
    }

    /// Asks for both buckets of `key`, so that a change of it some hundred nanoseconds later finds
    /// them in the cache.
    pub fn prefetch(&self, key: impl Key<KEY>) {
        let Place { first, second } = self.table.buckets_of(key);
        self.table.prefetch_bucket(first);
        self.table.prefetch_bucket(second);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries the table is meant for; one more is [`Full`].
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many slots wait for a quiescent round, be they free or not.
    pub fn held(&self) -> usize {
        self.fresh.len() + self.retired.len()
    }

    /// Every entry, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = ([u64; KEY], [u32; WORDS])> + '_ {
        self.table.buckets.iter().flat_map(|bucket| {
            let entries = bucket.keys.iter().zip(&bucket.values);
            entries.filter_map(|(key, value)| {
                let key = key.each_ref().map(|word| word.load(Ordering::Relaxed));
                let value = value.each_ref().map(|word| word.load(Ordering::Relaxed));
                (!is_empty(key)).then_some((key, value))
            })
        })
    }

    /// Sets the value of `key`, which is there or not. Readers see it whole or not at all, and in
    /// the second case [as before](Self::change).
    ///
    /// [`Full`] leaves the entries as they were. With `pending_reclaim` it may have moved another
    /// entry out of the way, so that the same call after a round comes closer; it takes as many
    /// rounds as the displacement has steps, nearly always one. A first word of 0 means an empty slot, so
    /// such a key cannot be inserted: it is refused as [`Full`] without `pending_reclaim`, and is not to be
    /// tried.
    pub fn insert(&mut self, key: impl Key<KEY>, value: [u32; WORDS]) -> Result<Inserted, Full> {
        let key = key.words();
        debug_assert!(!is_empty(key), "a first word of 0 means an empty slot");
        if is_empty(key) {
            return Err(FULL);
        }
        if self.change(key, value)? {
            return Ok(Inserted::Changed);
        }
        if self.len >= self.capacity {
            return Err(FULL);
        }
        let slot = self.make_room(key)?;
        self.mark(key, value);
        self.fill(slot, key, value);
        self.len += 1;
        if let [word] = *key.as_slice() {
            self.table.hints.learn(self.table.hint(word), word);
        }
        Ok(Inserted::Added)
    }

    /// Sets the value of `key` if it is there, and says whether it was.
    ///
    /// With `WORDS == 1` it is one store and never [`Full`]. With more, the key moves to another
    /// slot with its new value, which needs one, and needs the key not to have moved since the last
    /// [`reclaim`](Self::reclaim): a second change within a round is `pending_reclaim`.
    pub fn change(&mut self, key: impl Key<KEY>, value: [u32; WORDS]) -> Result<bool, Full> {
        let key = key.words();
        let Some(from) = self.find(key) else {
            return Ok(false);
        };
        let Some(before) = self.table.get(key).filter(|&before| before != value) else {
            return Ok(true);
        };
        if WORDS == 1 || self.reclaim_if_alone() {
            self.mark(key, value);
            self.write(from, value);
            self.unmark(key, before);
            return Ok(true);
        }
        if self.is_held(from) {
            return Err(PENDING);
        }
        let to = self.make_room(key)?;
        self.mark(key, value);
        self.fill(to, key, value);
        self.moved(from, to);
        self.unmark(key, before);
        Ok(true)
    }

    /// Takes `key` out, and says whether it was there. Its slot waits to be reclaimed. An insert
    /// that was [`Full`] and is not to be tried again is given up the same way: then what was
    /// cleared for it is anybody's.
    pub fn remove(&mut self, key: impl Key<KEY>) -> bool {
        let key = key.words();
        self.drop_claim(key);
        let Some(slot) = self.find(key) else {
            return false;
        };
        if let [word] = *key.as_slice() {
            self.table.hints.forget(self.table.hint(word), word);
        }
        let before = self.entry(slot);
        self.clear(slot);
        if let Some((_, value)) = before {
            self.unmark(key, value);
        }
        self.len -= 1;
        true
    }

    /// Before a value of `key` is written.
    fn mark(&mut self, key: [u64; KEY], value: [u32; WORDS]) {
        let Some((mark, count)) = self.count_of(key, value) else {
            return;
        };
        *count += 1;
        if *count == 1 {
            self.table.hints.set_mark(mark, true);
        }
    }

    /// After a value of `key` is gone.
    fn unmark(&mut self, key: [u64; KEY], value: [u32; WORDS]) {
        let Some((mark, count)) = self.count_of(key, value) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.table.hints.set_mark(mark, false);
        }
    }

    /// The mark of `key` and how many values have it, if this one has.
    fn count_of(&mut self, key: [u64; KEY], value: [u32; WORDS]) -> Option<(usize, &mut u32)> {
        let [word] = *key.as_slice() else { return None };
        value.first().filter(|&&first| first & MARK != 0)?;
        if self.marks.is_empty() {
            self.marks.resize(MARKS, 0);
        }
        let mark = mark_of(self.table.hint(word));
        Some((mark, self.marks.get_mut(mark)?))
    }

    /// Stamps with `epoch` every slot that came to be held since the last call, and returns how many.
    /// `epoch` is what [`Epochs::advance`](crate::epoch::Epochs::advance) returned after those changes.
    pub fn retire(&mut self, epoch: u64) -> usize {
        let held = self.fresh.len();
        for slot in self.fresh.drain(..) {
            self.retired.push(epoch, slot);
        }
        held
    }

    /// Lets the slots be filled again that were retired with an epoch of `passed` or before.
    /// Isolation between tenants rests on `passed` being what
    /// [`Epochs::passed`](crate::epoch::Epochs::passed) returned.
    pub fn reclaim(&mut self, passed: u64) {
        for slot in self.retired.drain(passed) {
            release(&self.table, slot);
        }
    }

    /// Moves all entries to a new table of twice the capacity, and works on that from now on; what
    /// was held is free there. Takes time in proportion to the entries (the readers read on), and
    /// memory for both tables.
    ///
    /// The caller publishes the table returned *before it changes anything else or advances the
    /// epoch*, because nobody changes the old one any more; then it retires its `Arc` of the old
    /// one like everything that was unpublished.
    pub fn grow(&mut self) -> Arc<Exact<SLOTS, WORDS, KEY>> {
        self.grow_to(self.capacity.saturating_mul(2))
    }

    /// As [`grow`](Self::grow), to room for `capacity` entries, or for what is there if that is more. Until the caller publishes
    /// the new table nobody reads it: any number of entries may be put first, which readers see at once, later
    /// than they could, and nothing of which waits for them.
    pub fn grow_to(&mut self, capacity: usize) -> Arc<Exact<SLOTS, WORDS, KEY>> {
        let mut capacity = capacity.max(self.len).max(SLOTS);
        let mut seed = self.seed;
        loop {
            // Another seed: what crowded together in the old table does not do so in the new one.
            seed = mix(seed);
            let mut new = Self::new(capacity, seed);
            // A table half full refuses nothing, short of a miracle that the next seed will not
            // repeat.
            if self
                .iter()
                .all(|(key, value)| new.insert(key, value).is_ok())
            {
                *self = new;
                return self.table();
            }
            capacity = capacity.saturating_mul(2);
        }
    }

    fn find(&self, key: [u64; KEY]) -> Option<Slot> {
        let Place { first, second } = self.table.buckets_of(key);
        [first, second]
            .into_iter()
            .filter(|_| !is_empty(key))
            .find_map(|bucket| {
                let index = self.table.buckets.get(bucket as usize)?.slot_of(key);
                (index < SLOTS).then_some(Slot {
                    bucket,
                    index: index as u32,
                })
            })
    }

    /// Nobody else holds the table, so nobody reads it and nothing needs to wait. Says whether that
    /// is so.
    fn reclaim_if_alone(&mut self) -> bool {
        // `get_mut` and not `strong_count`: it synchronizes with the last reader's drop, and no
        // `Weak` escapes it.
        if Arc::get_mut(&mut self.table).is_none() {
            return false;
        }
        self.retire(0);
        self.reclaim(u64::MAX);
        true
    }
}

impl<const SLOTS: usize, const WORDS: usize, const KEY: usize> fmt::Debug
    for Writer<SLOTS, WORDS, KEY>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}
