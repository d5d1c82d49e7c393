//! The exact-match table: which value belongs to this key? One cache line a bucket, changed under
//! its readers.
//!
//! A bucket is one line: `SLOTS` keys of `KEY` 64-bit words and `SLOTS` values of `WORDS` 32-bit
//! words, so `Exact<5, 1>` or `Exact<3, 3>`, whose keys have one word, or `Exact<2, 3, 2>`. A key lives in one of two buckets, the first if there is room.
//! Readers ([`Exact`], `&self`, any number) are wait-free: atomic loads, no loop that depends on
//! anybody. Control changes it through the one [`Writer`], an entry at a time, at a cost that does
//! not depend on the table's size.
//!
//! # What a reader may rely on
//! Readers are workers in the sense of [`epoch`](crate::epoch): between two quiescent points of its
//! own, a reader gets
//! - never a value that was not its key's, not even while entries are displaced and slots reused;
//! - never a torn value: what it gets was the key's value as a whole at some time since its last
//!   quiescent point;
//! - always *some* value of a key that is in the table throughout the call, however much it is
//!   moved about.
//!
//! Both first promises are isolation between tenants, and here is why they hold.
//!
//! *A slot holds one key between two quiescent points.* An insert fills a slot that is empty: value
//! first, then the key (Release); a reader that matches the key (Acquire) sees the value. A delete
//! zeroes the key and leaves the value. Of a key of several words it is the first that says whether
//! there is one, so the first word of a key is never 0: it is written last (Release), it is what a
//! delete zeroes, and the rest stays. A reader that matches the first word (Acquire) sees the rest of
//! that key, as it sees the value, and no other key's, because no other comes before the reader
//! has passed; two keys with the same first word are told apart by the rest like any. A slot once emptied, by a delete or by a move, is *held*:
//! [`Writer::retire`] stamps it with an epoch, and it is filled again only after
//! [`Writer::reclaim`] with an epoch that every reader has passed. So a reader that matched the old
//! key reads the old value, however late.
//!
//! *A live value of several words never changes.* With one word, a change is one store. With more,
//! a change is a move: the key with its new value goes into another slot, then the old one is
//! cleared.
//!
//! *A key moves at most once between two quiescent points,* because where it went is held too: not
//! to be emptied by another move until reclaimed. A move writes the copy before it clears the
//! original (Release), so a reader that finds the original cleared (Acquire) and had looked at the
//! copy's place too early finds the copy at a second look, and it cannot have moved on. Hence two
//! looks at two buckets decide: four lines at most, and those of the second look are in the nearest
//! cache. No change counter to read, none to bounce between cores, no retry without a bound.
//!
//! What is *not* promised: while a value of several words is being changed, for the few nanoseconds
//! between two stores, a reader may get the new value and at its next call the old one again.
//!
//! # Trade-offs
//! Readers pay nothing for being undisturbed; control pays with slack. A displacement (both buckets
//! full: 7% of the inserts on the way to 90% with five slots, 10% with three) needs a quiescent
//! round for the slot that it clears, so [`Writer::insert`] answers [`Full`] with
//! `pending_reclaim`, having done its part; after a round it succeeds. One round serves everything
//! that waits (a million inserts at once took nine), and a slot cleared for a key that waits is
//! kept for it. While nobody else holds the table there are no readers and nothing waits: filling a
//! table before it is published takes no rounds.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod batch;
mod hints;
mod simd;
mod writer;

pub use batch::{Asked, ones};
pub use writer::{Full, Inserted, Writer};

use hints::Hints;
use simd::Lanes;

use crate::prefetch;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::fmt;
use std::hint::select_unpredictable;

/// The bit of a value's first word that marks it: see [`Exact::may_be_marked`].
pub const MARK: u32 = 1 << 31;

/// How many keys [`Exact::get_batch`] looks up at once.
pub const BATCH: usize = 32;

/// Bytes that a core's own caches have left for a table, or fewer: the second level has 1 or 2 MiB on most servers.
const OWN_CACHES: usize = 1 << 20;

/// Multiplier of the hash's second half: odd, and as many ones as zeroes (from wyhash).
const SECOND: u64 = 0xa076_1d64_78bd_642f;

/// A key of `N` words, the first of them not 0. A `u64` is a key of one.
pub trait Key<const N: usize>: Copy {
    /// Its words.
    fn words(self) -> [u64; N];
}

impl Key<1> for u64 {
    #[inline(always)]
    fn words(self) -> [u64; 1] {
        [self]
    }
}

impl<const N: usize> Key<N> for [u64; N] {
    #[inline(always)]
    fn words(self) -> [u64; N] {
        self
    }
}

/// Whether no slot can hold these words: their first is what an empty one has.
#[inline(always)]
fn is_empty<const KEY: usize>(key: [u64; KEY]) -> bool {
    key.first().is_none_or(|&first| first == 0)
}

/// `SLOTS` entries in one cache line. A first word of 0 is an empty slot.
#[repr(C, align(64))]
struct Bucket<const SLOTS: usize, const WORDS: usize, const KEY: usize> {
    keys: [[AtomicU64; KEY]; SLOTS],
    values: [[AtomicU32; WORDS]; SLOTS],
    /// The writer's own notes in the line's last four bytes, which readers never load. Two bits a
    /// slot count how many reclaims it still waits for: an empty held slot must not be filled, a
    /// live held one must not be moved. Above them one bit a slot: it is claimed.
    held: AtomicU32,
}

impl<const SLOTS: usize, const WORDS: usize, const KEY: usize> Bucket<SLOTS, WORDS, KEY> {
    fn empty() -> Self {
        const {
            assert!(
                cfg!(loom) || size_of::<Self>() == 64,
                "a bucket is one cache line"
            );
            assert!(SLOTS > 0 && WORDS > 0 && KEY > 0 && 3 * SLOTS <= 32);
        }
        Self {
            keys: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            values: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0))),
            held: AtomicU32::new(0),
        }
    }

    /// The slot that holds `key`, or `SLOTS` or more if none does. No branch on which slot it is:
    /// that would be a misprediction a packet.
    #[inline(always)]
    fn slot_of(&self, key: [u64; KEY]) -> usize {
        let mut found = SLOTS;
        for (slot, own) in self.keys.iter().enumerate().rev() {
            found = select_unpredictable(is_key(own, key), slot, found);
        }
        found
    }

    #[inline(always)]
    fn get(&self, key: [u64; KEY]) -> Option<[u32; WORDS]> {
        Some(load(self.values.get(self.slot_of(key))?))
    }

    /// Whether `key` is here, and its value; if not, some other value, which is nobody's business. No branch on whether it is
    /// here either: at 90% one key in five lives in its second bucket. `key` is not [empty](is_empty).
    #[inline(always)]
    fn probe(&self, key: [u64; KEY]) -> (bool, [u32; WORDS]) {
        let mut slot = 0;
        for (other, own) in self.keys.iter().enumerate().skip(1).rev() {
            slot = select_unpredictable(is_key(own, key), other, slot);
        }
        // Where it was seen, or else the first: one more comparison says which. A key that is cleared between the two has
        // moved or left, and is looked for as one that was not seen at all.
        let hit = self.keys.get(slot).is_some_and(|own| is_key(own, key));
        (hit, self.values.get(slot).map_or([0; WORDS], load))
    }
}

/// Whether a slot holds `key`, which it does not if it is empty. The first word first.
#[inline(always)]
fn is_key<const KEY: usize>(own: &[AtomicU64; KEY], key: [u64; KEY]) -> bool {
    let mut same = true;
    for (word, (own, wanted)) in own.iter().zip(key).enumerate() {
        // Acquire: a key seen brings its other words, its value, and whatever the value names, with
        // it; a zero seen brings the copy that was made before it. A plain load on x86.
        let order = if word == 0 {
            Ordering::Acquire
        } else {
            Ordering::Relaxed
        };
        same &= own.load(order) == wanted;
    }
    same
}

#[inline(always)]
fn load<const WORDS: usize>(value: &[AtomicU32; WORDS]) -> [u32; WORDS] {
    // Acquire: a value changed in place (one word) brings what it names with it. A plain load on
    // x86.
    value.each_ref().map(|word| word.load(Ordering::Acquire))
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Bucket<5, 1, 1>>() == 64 && align_of::<Bucket<5, 1, 1>>() == 64);
    assert!(size_of::<Bucket<3, 3, 1>>() == 64 && align_of::<Bucket<3, 3, 1>>() == 64);
    assert!(size_of::<Bucket<3, 1, 2>>() == 64 && align_of::<Bucket<3, 1, 2>>() == 64);
    assert!(size_of::<Bucket<2, 3, 2>>() == 64 && align_of::<Bucket<2, 3, 2>>() == 64);
};

/// The two buckets of a key in one table, always two different ones. It means nothing in another
/// table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    first: u32,
    second: u32,
}

/// The readers' side of a table from keys of `KEY` 64-bit words to values of `WORDS` 32-bit words.
/// See the [module](self).
///
/// In lines of its own: the writer looks at its `Arc`'s counts at every change of several words, which
/// would take the readers' copy of a line away if one of these fields were in it.
// What every lookup reads is in the first of them.
#[repr(C, align(128))]
pub struct Exact<const SLOTS: usize, const WORDS: usize, const KEY: usize = 1> {
    buckets: Box<[Bucket<SLOTS, WORDS, KEY>]>,
    /// How many buckets there are, at least two.
    count: u32,
    seed: u64,
    /// Odd, from the seed.
    multiplier: u64,
    lanes: Lanes,
    hints: Hints,
}

impl<const SLOTS: usize, const WORDS: usize, const KEY: usize> Exact<SLOTS, WORDS, KEY> {
    fn with_buckets(count: u32, seed: u64) -> Self {
        let count = count.max(2);
        Self {
            buckets: (0..count).map(|_| Bucket::empty()).collect(),
            count,
            seed: mix(seed),
            multiplier: mix(!seed) | 1,
            lanes: Lanes::of::<SLOTS, KEY>(),
            hints: Hints::new(),
        }
    }

    /// The value of `key`, or `None` if it is not in the table. A key whose first word is 0 never is.
    #[inline]
    pub fn get(&self, key: impl Key<KEY>) -> Option<[u32; WORDS]> {
        self.get_at(self.buckets_of(key), key)
    }

    /// Where `key` is if it is anywhere. Pure arithmetic: no memory is touched but the table's
    /// head.
    #[inline(always)]
    pub fn buckets_of(&self, key: impl Key<KEY>) -> Place {
        let hash = self.hash(key.words());
        let first = self.first(hash);
        // The second is one of the others: `count - 1` of them, counted on from the first, around
        // the end.
        let ahead = scale((hash >> 32) as u32, self.count - 1) + 1;
        let room = self.count - first;
        let second = if ahead < room {
            first + ahead
        } else {
            ahead - room
        };
        Place { first, second }
    }

    #[inline(always)]
    fn hash(&self, key: [u64; KEY]) -> u64 {
        // Twice: after once, keys that differ in a few bits (a row of segments, say) lie on a
        // lattice of places, and small tables of them were full at 70%.
        let mixed = key
            .into_iter()
            .fold(self.seed, |hash, word| fold(word ^ hash, self.multiplier));
        fold(mixed, SECOND)
    }

    /// The hash of the hints, of whose bits the highest are the best (Dietzfelbinger et al., 1997).
    #[inline(always)]
    fn hint(&self, word: u64) -> u64 {
        word.wrapping_mul(self.multiplier)
    }

    /// The first bucket of a key with this hash.
    #[inline(always)]
    fn first(&self, hash: u64) -> u32 {
        scale(hash as u32, self.count)
    }

    /// Asks for the first bucket of `place`, where four keys in five are (two in three with three
    /// slots a bucket, both at 90%), so that a [`get_at`](Self::get_at) some tens of nanoseconds
    /// later finds it in the cache.
    #[inline(always)]
    pub fn prefetch(&self, place: Place) {
        self.prefetch_bucket(place.first);
    }

    /// The value of `key`, whose place in this table is `place`.
    #[inline]
    pub fn get_at(&self, place: Place, key: impl Key<KEY>) -> Option<[u32; WORDS]> {
        let key = key.words();
        if is_empty(key) {
            return None;
        }
        // The second look is for a key that moved from where we had not looked to where we had, see
        // "What a reader may rely on".
        self.look(place, key).or_else(|| self.look(place, key))
    }

    /// How much memory the table takes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val::<[_]>(&self.buckets)
    }

    /// Where the buckets are, for who asks the kernel for larger pages there.
    pub fn memory(&self) -> std::ops::Range<*const u8> {
        let std::ops::Range { start, end } = self.buckets.as_ptr_range();
        start.cast()..end.cast()
    }

    /// Whether it is larger than the caches that a core has for itself, so that a lookup waits for memory.
    pub fn is_large(&self) -> bool {
        self.memory_bytes() > OWN_CACHES
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    #[inline(always)]
    fn look(&self, place: Place, key: [u64; KEY]) -> Option<[u32; WORDS]> {
        self.in_bucket(place.first, key)
            .or_else(|| self.in_bucket(place.second, key))
    }

    #[inline(always)]
    fn in_bucket(&self, bucket: u32, key: [u64; KEY]) -> Option<[u32; WORDS]> {
        self.buckets.get(bucket as usize)?.get(key)
    }

    #[inline(always)]
    fn prefetch_bucket(&self, bucket: u32) {
        if let Some(bucket) = self.buckets.get(bucket as usize) {
            prefetch::read(bucket);
        }
    }
}

impl<const SLOTS: usize, const WORDS: usize> Exact<SLOTS, WORDS> {
    /// False if `key` has no value with [`MARK`]. True says nothing but that it must be looked up: some hashes of keys
    /// with a marked value are those of others.
    #[inline(always)]
    pub fn may_be_marked(&self, key: u64) -> bool {
        self.hints.may_be_marked(self.hint(key))
    }

    /// Whether `key` is in the table. Of a thousand entries or fewer nearly all are found by one load.
    #[inline(always)]
    pub fn contains(&self, key: u64) -> bool {
        // No slot holds 0, and it is what an empty place of the hints has.
        let known = self.hints.knows(self.hint(key), key) && key != 0;
        known || self.is_there(key)
    }

    #[cold]
    #[inline(never)]
    fn is_there(&self, key: u64) -> bool {
        self.get(key).is_some()
    }
}

impl<const SLOTS: usize, const WORDS: usize, const KEY: usize> fmt::Debug
    for Exact<SLOTS, WORDS, KEY>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exact")
            .field("buckets", &self.count)
            .finish_non_exhaustive()
    }
}

/// Half a hash scaled to a range by multiplication: no division, and any number of buckets.
#[inline(always)]
fn scale(half: u32, range: u32) -> u32 {
    ((u64::from(half) * u64::from(range)) >> 32) as u32
}

/// Folded multiplication, as in wyhash: both halves of the product, so that every bit of `word` has
/// its say in every part.
#[inline(always)]
fn fold(word: u64, multiplier: u64) -> u64 {
    let product = u128::from(word) * u128::from(multiplier);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A bijection that leaves no trace of the order of its arguments (the finalizer of splitmix64,
/// Steele et al., OOPSLA 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(all(test, not(loom)))]
mod tests;
