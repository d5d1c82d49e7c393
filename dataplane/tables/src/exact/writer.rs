//! The one hand that changes a table: where an entry goes, what is displaced for it, and when a
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

use super::hints::{MARKS, mark_of};
use super::{Bucket, Exact, Key, MARK, Place, is_empty, mix};
use crate::epoch::Retired;
use crate::sync::Ordering;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Buckets that the search for a displacement looks at before it gives up. At 90% a handful do; the
/// rest is for tables driven past their capacity. Bounds an insert to some tens of microseconds
/// when all of it misses cache.
const SEARCH: usize = 512;

/// Displacements of one insert while nobody reads: the longest chain that a search of [`SEARCH`]
/// buckets can find is shorter.
const CHAIN: usize = 64;

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

#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot {
    bucket: u32,
    index: u32,
}

/// What one bucket has to offer to a key. A slot claimed for another key is nothing to it.
enum Room {
    Free(Slot),
    Held,
    None,
}

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

    /// A free slot for `key`, or what to do to get one: a displacement if need be, of which a table
    /// that is read allows one step.
    fn make_room(&mut self, key: [u64; KEY]) -> Result<Slot, Full> {
        let place = self.table.buckets_of(key);
        for _ in 0..CHAIN {
            let held = match (
                self.room_in(place.first, key),
                self.room_in(place.second, key),
            ) {
                (Room::Free(slot), _) | (_, Room::Free(slot)) => {
                    self.drop_claim(key);
                    return Ok(slot);
                }
                (Room::None, Room::None) => false,
                _ => true,
            };
            let alone = self.reclaim_if_alone();
            match (held, alone) {
                (true, true) => continue,
                (true, false) => return Err(PENDING),
                (false, _) => match self.displace(place, key) {
                    // Whoever tries again is served as before; whoever gave up does not keep a slot
                    // for ever.
                    Err(FULL) if self.forget_claims() => continue,
                    stepped => stepped?,
                },
            }
            if !alone {
                return Err(PENDING);
            }
        }
        Err(FULL)
    }

    /// Moves one entry so that the nearest free slot comes one step closer to `place`, breadth
    /// first, and claims the slot it left.
    fn displace(&mut self, place: Place, key: [u64; KEY]) -> Result<(), Full> {
        let mut queue = std::mem::take(&mut self.queue);
        let step = self.nearest_step(&mut queue, place, key);
        self.queue = queue;
        let (from, to) = step?;
        if let Some((moving, value)) = self.entry(from) {
            self.drop_claim(key);
            self.fill(to, moving, value);
            self.moved(from, to);
            self.claims.insert(key, from);
            self.mark_claimed(from, true);
        }
        Ok(())
    }

    fn nearest_step(
        &self,
        queue: &mut Vec<u32>,
        place: Place,
        key: [u64; KEY],
    ) -> Result<(Slot, Slot), Full> {
        queue.clear();
        queue.extend([place.first, place.second]);
        let mut refusal = FULL;
        let mut next = 0;
        while let Some(&bucket) = queue.get(next) {
            next += 1;
            for index in 0..SLOTS as u32 {
                let from = Slot { bucket, index };
                let Some((moving, _)) = self.entry(from) else {
                    continue;
                };
                if self.is_held(from) {
                    refusal = PENDING;
                    continue;
                }
                let Place { first, second } = self.table.buckets_of(moving);
                let other = if bucket == first { second } else { first };
                match self.room_in(other, key) {
                    Room::Free(to) => return Ok((from, to)),
                    Room::Held => refusal = PENDING,
                    Room::None => {}
                }
                if queue.len() < SEARCH {
                    queue.push(other);
                }
            }
        }
        Err(refusal)
    }

    /// The entry in `slot`, if there is one.
    fn entry(&self, slot: Slot) -> Option<([u64; KEY], [u32; WORDS])> {
        let bucket = bucket_of(&self.table, slot)?;
        let key = bucket.keys.get(slot.index as usize)?;
        let key = key.each_ref().map(|word| word.load(Ordering::Relaxed));
        let value = bucket.values.get(slot.index as usize)?;
        (!is_empty(key)).then(|| {
            (
                key,
                value.each_ref().map(|word| word.load(Ordering::Relaxed)),
            )
        })
    }

    fn room_in(&self, bucket: u32, key: [u64; KEY]) -> Room {
        let mut room = Room::None;
        for index in 0..SLOTS as u32 {
            let slot = Slot { bucket, index };
            if self.is_claimed(slot) && self.claims.get(&key) != Some(&slot) {
                continue;
            }
            match (self.entry(slot), self.is_held(slot)) {
                (None, false) => return Room::Free(slot),
                (None, true) => room = Room::Held,
                _ => {}
            }
        }
        room
    }

    /// An entry into an empty slot that no reader can still have matched.
    fn fill(&self, slot: Slot, key: [u64; KEY], value: [u32; WORDS]) {
        self.write(slot, value);
        if let Some(own) =
            bucket_of(&self.table, slot).and_then(|b| b.keys.get(slot.index as usize))
        {
            // Release: who sees the first word sees the others and the value, written before it, and whatever the
            // value names.
            for (own, word) in own.iter().zip(key).rev() {
                own.store(word, Ordering::Release);
            }
        }
    }

    fn write(&self, slot: Slot, value: [u32; WORDS]) {
        if let Some(own) =
            bucket_of(&self.table, slot).and_then(|b| b.values.get(slot.index as usize))
        {
            for (own, word) in own.iter().zip(value) {
                // Release, for a change in place: who sees the new value sees what it names.
                own.store(word, Ordering::Release);
            }
        }
    }

    /// The entry of `from` has been copied to `to`: clear the original, and keep the copy from
    /// moving on before every reader has passed.
    fn moved(&mut self, from: Slot, to: Slot) {
        self.clear(from);
        self.hold(to);
    }

    fn clear(&mut self, slot: Slot) {
        let own = bucket_of(&self.table, slot).and_then(|b| b.keys.get(slot.index as usize));
        if let Some(own) = own.and_then(|words| words.first()) {
            // Release: who sees the slot empty after a move sees the copy at its second look.
            own.store(0, Ordering::Release);
        }
        self.hold(slot);
    }

    fn hold(&mut self, slot: Slot) {
        if let Some(bucket) = bucket_of(&self.table, slot) {
            // At most 2, so two bits do: a slot that holds an entry which moved there and is then
            // removed is held for both.
            let held = bucket.held.load(Ordering::Relaxed);
            bucket
                .held
                .store(held + (1 << (2 * slot.index)), Ordering::Relaxed);
        }
        self.fresh.push(slot);
    }

    fn is_held(&self, slot: Slot) -> bool {
        bucket_of(&self.table, slot).is_some_and(|bucket| {
            (bucket.held.load(Ordering::Relaxed) >> (2 * slot.index)) & 3 != 0
        })
    }

    fn is_claimed(&self, slot: Slot) -> bool {
        bucket_of(&self.table, slot).is_some_and(|bucket| {
            bucket.held.load(Ordering::Relaxed) & claim_bit::<SLOTS>(slot) != 0
        })
    }

    fn mark_claimed(&self, slot: Slot, claimed: bool) {
        if let Some(bucket) = bucket_of(&self.table, slot) {
            let held = bucket.held.load(Ordering::Relaxed) & !claim_bit::<SLOTS>(slot);
            let bit = if claimed { claim_bit::<SLOTS>(slot) } else { 0 };
            bucket.held.store(held | bit, Ordering::Relaxed);
        }
    }

    fn drop_claim(&mut self, key: [u64; KEY]) {
        if let Some(slot) = self.claims.remove(&key) {
            self.mark_claimed(slot, false);
        }
    }

    /// Lets anybody have what was cleared for those who wait. Says whether that was anything.
    fn forget_claims(&mut self) -> bool {
        let claims = std::mem::take(&mut self.claims);
        for &slot in claims.values() {
            self.mark_claimed(slot, false);
        }
        !claims.is_empty()
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

fn bucket_of<const SLOTS: usize, const WORDS: usize, const KEY: usize>(
    table: &Exact<SLOTS, WORDS, KEY>,
    slot: Slot,
) -> Option<&Bucket<SLOTS, WORDS, KEY>> {
    table.buckets.get(slot.bucket as usize)
}

/// Above the two bits a slot that count what it is held for.
fn claim_bit<const SLOTS: usize>(slot: Slot) -> u32 {
    1 << (2 * SLOTS as u32 + slot.index)
}

fn release<const SLOTS: usize, const WORDS: usize, const KEY: usize>(
    table: &Exact<SLOTS, WORDS, KEY>,
    slot: Slot,
) {
    if let Some(bucket) = bucket_of(table, slot) {
        let held = bucket.held.load(Ordering::Relaxed);
        bucket
            .held
            .store(held.wrapping_sub(1 << (2 * slot.index)), Ordering::Relaxed);
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
