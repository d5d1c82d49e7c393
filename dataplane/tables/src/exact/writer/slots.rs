//! What a table's slots hold, who may fill them, and for whom one is kept.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

use super::Writer;
use crate::exact::{Bucket, Exact, is_empty};
use crate::sync::Ordering;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub bucket: u32,
    pub index: u32,
}

impl<const SLOTS: usize, const WORDS: usize, const KEY: usize> Writer<SLOTS, WORDS, KEY> {
    /// The entry in `slot`, if there is one.
    pub(super) fn entry(&self, slot: Slot) -> Option<([u64; KEY], [u32; WORDS])> {
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

    /// An entry into an empty slot that no reader can still have matched.
    pub(super) fn fill(&self, slot: Slot, key: [u64; KEY], value: [u32; WORDS]) {
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

    pub(super) fn write(&self, slot: Slot, value: [u32; WORDS]) {
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
    pub(super) fn moved(&mut self, from: Slot, to: Slot) {
        self.clear(from);
        self.hold(to);
    }

    pub(super) fn clear(&mut self, slot: Slot) {
        let own = bucket_of(&self.table, slot).and_then(|b| b.keys.get(slot.index as usize));
        if let Some(own) = own.and_then(|words| words.first()) {
            // Release: who sees the slot empty after a move sees the copy at its second look.
            own.store(0, Ordering::Release);
        }
        self.hold(slot);
    }

    pub(super) fn hold(&mut self, slot: Slot) {
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

    pub(super) fn is_held(&self, slot: Slot) -> bool {
        bucket_of(&self.table, slot).is_some_and(|bucket| {
            (bucket.held.load(Ordering::Relaxed) >> (2 * slot.index)) & 3 != 0
        })
    }

    pub(super) fn is_claimed(&self, slot: Slot) -> bool {
        bucket_of(&self.table, slot).is_some_and(|bucket| {
            bucket.held.load(Ordering::Relaxed) & claim_bit::<SLOTS>(slot) != 0
        })
    }

    pub(super) fn mark_claimed(&self, slot: Slot, claimed: bool) {
        if let Some(bucket) = bucket_of(&self.table, slot) {
            let held = bucket.held.load(Ordering::Relaxed) & !claim_bit::<SLOTS>(slot);
            let bit = if claimed { claim_bit::<SLOTS>(slot) } else { 0 };
            bucket.held.store(held | bit, Ordering::Relaxed);
        }
    }

    pub(super) fn drop_claim(&mut self, key: [u64; KEY]) {
        if let Some(slot) = self.claims.remove(&key) {
            self.mark_claimed(slot, false);
        }
    }

    /// Lets anybody have what was cleared for those who wait. Says whether that was anything.
    pub(super) fn forget_claims(&mut self) -> bool {
        let claims = std::mem::take(&mut self.claims);
        for &slot in claims.values() {
            self.mark_claimed(slot, false);
        }
        !claims.is_empty()
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

pub(super) fn release<const SLOTS: usize, const WORDS: usize, const KEY: usize>(
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
