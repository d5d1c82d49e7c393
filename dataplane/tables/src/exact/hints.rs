//! Two questions that most packets ask and that need no bucket: is this value *not* marked, is this key there?
//!
//! Both are answered for sure or not at all, from two small arrays beside the buckets, which the writer keeps right while it
//! changes the table. Who gets no answer looks the key up.
//!
//! *Marked.* A value is marked by the highest bit of its first word. One bit a hash says whether any key of that hash has a
//! marked value: where few keys of many have one, such as the vNICs of this host among all endpoints, nearly every other key is told from
//! them by one load, and the line of its bucket is never asked for. The writer sets the bit before it writes a marked value and clears it
//! after the last value of that hash is gone (Release), so a reader (Acquire) that finds it clear had a time within its call
//! at which the key's value was not marked; and one that saw the marked value finds the bit set as long as it is there.
//!
//! *Known.* Some of the keys, each in the one place that its hash gives it. It is written after its entry and zeroed before its entry
//! is, so whoever finds it there may say that the key was in the table. Two keys of one place: the first stays, the other
//! is looked up each time.

use crate::sync::{AtomicU64, Ordering};

/// Bits of hash that choose a mark: 2 KiB of them. With 1,000 marked keys 6% of the others are not told from them.
const MARK_BITS: u32 = if cfg!(loom) { 6 } else { 14 };
/// Bits of hash that choose the place of a known key: 8 KiB.
const KNOWN_BITS: u32 = if cfg!(loom) { 1 } else { 10 };

/// How many hashes a mark may have.
pub(super) const MARKS: usize = 1 << MARK_BITS;
const KNOWN: usize = 1 << KNOWN_BITS;

/// Beside the buckets of a table whose keys have one word.
pub(super) struct Hints {
    marked: [AtomicU64; MARKS / 64],
    known: [AtomicU64; KNOWN],
}

/// Which mark a hash has.
#[inline(always)]
pub(super) fn mark_of(hash: u64) -> usize {
    (hash >> (64 - MARK_BITS)) as usize
}

impl Hints {
    pub(super) fn new() -> Self {
        Hints {
            marked: std::array::from_fn(|_| AtomicU64::new(0)),
            known: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    #[inline(always)]
    pub(super) fn may_be_marked(&self, hash: u64) -> bool {
        let bit = mark_of(hash);
        let word = self.marked.get(bit / 64);
        word.is_some_and(|word| word.load(Ordering::Acquire) >> (bit % 64) & 1 != 0)
    }

    #[inline(always)]
    pub(super) fn knows(&self, hash: u64, key: u64) -> bool {
        self.place(hash)
            .is_some_and(|known| known.load(Ordering::Acquire) == key)
    }

    #[inline(always)]
    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        self.known.get((hash >> (64 - KNOWN_BITS)) as usize)
    }

    /// The writer's: sets or clears a mark.
    pub(super) fn set_mark(&self, mark: usize, set: bool) {
        let (Some(word), bit) = (self.marked.get(mark / 64), 1 << (mark % 64)) else {
            return;
        };
        let others = word.load(Ordering::Relaxed) & !bit;
        let own = if set { bit } else { 0 };
        word.store(others | own, Ordering::Release);
    }

    /// The writer's: the entry of `key` is written.
    pub(super) fn learn(&self, hash: u64, key: u64) {
        if let Some(known) = self.place(hash)
            && known.load(Ordering::Relaxed) == 0
        {
            known.store(key, Ordering::Release);
        }
    }

    /// The writer's: the entry of `key` is about to be cleared.
    pub(super) fn forget(&self, hash: u64, key: u64) {
        if let Some(known) = self.place(hash)
            && known.load(Ordering::Relaxed) == key
        {
            known.store(0, Ordering::Release);
        }
    }
}
