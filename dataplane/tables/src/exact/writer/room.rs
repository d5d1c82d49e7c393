//! Where a key goes, and what is displaced for it.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

use super::slots::Slot;
use super::{FULL, Full, PENDING, Writer};
use crate::exact::Place;

/// Buckets that the search for a displacement looks at before it gives up. At 90% a handful do; the
/// rest is for tables driven past their capacity. Bounds an insert to some tens of microseconds
/// when all of it misses cache.
const SEARCH: usize = 512;

/// Displacements of one insert while nobody reads: the longest chain that a search of [`SEARCH`]
/// buckets can find is shorter.
const CHAIN: usize = 64;

/// What one bucket has to offer to a key. A slot claimed for another key is nothing to it.
enum Room {
    Free(Slot),
    Held,
    None,
}

impl<const SLOTS: usize, const WORDS: usize, const KEY: usize> Writer<SLOTS, WORDS, KEY> {
    /// A free slot for `key`, or what to do to get one: a displacement if need be, of which a table
    /// that is read allows one step.
    pub(super) fn make_room(&mut self, key: [u64; KEY]) -> Result<Slot, Full> {
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
}
