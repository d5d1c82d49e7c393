//! How the big tables change: entry by entry, in lots, each of which is free of what it replaced when every worker has passed its
//! epoch; or in larger tables that nobody sees before they are full.

use std::sync::Arc;

use weir_tables::exact::{Exact, Full, Key, Writer};

use super::Tables;
use crate::crew::Crew;
use crate::plan::Counts;

impl Tables {
    /// Makes tables for as many entries as there are to be, where those that are read have not half the room, or are empty and would be
    /// crowded. Whether it has:
    /// then nobody sees what is put from then on until the tables are [shown](Self::show) and published, and nobody
    /// is waited for.
    pub fn make_room(&mut self, counts: &Counts) -> bool {
        let endpoints = make_room(&mut self.endpoints, counts.endpoints);
        let records = make_room(&mut self.records, counts.records);
        let records6 = make_room(&mut self.records6, counts.records6);
        self.hidden = endpoints | records | records6;
        self.hidden
    }

    /// Has the next view show the tables that [`Self::make_room`] made.
    pub fn show(&mut self) {
        self.hidden = false;
        self.view.endpoints = self.endpoints.table();
        self.view.records = self.records.table();
        self.view.records6 = self.records6.table();
    }

    /// Waits until no worker can hold anything that was removed, and lets the slots be used again.
    pub fn settle(&mut self, crew: &mut Crew) {
        let epoch = self.end_lot(crew);
        crew.wait_for(epoch);
        self.look(crew);
    }

    /// Waits until every worker has seen every change made up to now, and nothing waits to be freed. Where no change was made
    /// since the last time no epoch begins, which costs each worker two cache misses.
    pub fn rest(&mut self, crew: &mut Crew) {
        if self.settling.is_open() {
            self.end_lot(crew);
        }
        if let Some(epoch) = self.settling.last() {
            crew.wait_for(epoch);
            self.look(crew);
        }
    }

    /// Ends the lot of changes that were made up to now: begins an epoch, and returns it.
    pub fn end_lot(&mut self, crew: &Crew) -> u64 {
        let epoch = crew.advance();
        let held = self.endpoints.retire(epoch)
            + self.records.retire(epoch)
            + self.records6.retire(epoch)
            + self.accepted.retire(epoch)
            + self.accepted6.retire(epoch)
            + self.rewritten.retire(epoch)
            + self.rewritten6.retire(epoch)
            + self.trunked.retire(epoch);
        self.settling.end(epoch, held);
        epoch
    }

    /// Looks how far the workers have come, and frees what none of them can hold any more. Does not wait.
    pub fn look(&mut self, crew: &Crew) {
        if self.settling.last().is_none() {
            return;
        }
        let passed = crew.passed();
        let lots = self.settling.seen(passed);
        if lots == 0 {
            return;
        }
        self.endpoints.reclaim(passed);
        self.records.reclaim(passed);
        self.records6.reclaim(passed);
        self.accepted.reclaim(passed);
        self.accepted6.reclaim(passed);
        self.rewritten.reclaim(passed);
        self.rewritten6.reclaim(passed);
        self.trunked.reclaim(passed);
        self.settling.freed(lots);
    }

    /// One change has been made.
    pub(super) fn changed(&mut self, crew: &Crew) {
        if !self.hidden && self.settling.add() {
            self.end_lot(crew);
            self.look(crew);
        }
    }

    /// Inserts or changes, making room first where there is none: by a quiescent round, or by a table twice the size.
    pub(super) fn put<const S: usize, const W: usize, const K: usize>(
        &mut self,
        crew: &mut Crew,
        of: Of<S, W, K>,
        key: impl Key<K>,
        value: [u32; W],
    ) {
        while !self.try_put(crew, of, key, value) {
            self.settle(crew);
        }
    }

    /// The same, but where a slot is needed that workers may still read the change is not made: `false`. It is to be tried again
    /// when a lot that ends now has been seen.
    pub(super) fn try_put<const S: usize, const W: usize, const K: usize>(
        &mut self,
        crew: &mut Crew,
        of: Of<S, W, K>,
        key: impl Key<K>,
        value: [u32; W],
    ) -> bool {
        loop {
            let (writer, place) = of(self);
            match writer.insert(key, value) {
                Ok(_) => break,
                Err(Full {
                    pending_reclaim: true,
                }) => {
                    self.settling.waited();
                    return false;
                }
                Err(Full {
                    pending_reclaim: false,
                }) => {
                    // The old table is freed when the last worker has given its view back, which `publish` waits for.
                    *place = writer.grow();
                    rte::ask_for_hugepages(place.memory());
                    crew.publish(&self.view);
                }
            }
        }
        self.changed(crew);
        true
    }
}

fn make_room<const S: usize, const W: usize, const K: usize>(
    writer: &mut Writer<S, W, K>,
    entries: usize,
) -> bool {
    let (has, best) = (writer.capacity(), Writer::<S, W, K>::roomy(entries));
    let makes = has < entries.div_ceil(2) || writer.is_empty() && has < best;
    if makes {
        let table = writer.grow_to(best);
        // Nobody reads it yet. Read at random, a table in pages of 4 KiB costs a page walk less a miss.
        rte::ask_for_hugepages(table.memory());
    }
    makes
}

/// A big table: its writer, and its place in the view.
pub(super) type Of<const S: usize, const W: usize, const K: usize> =
    fn(&mut Tables) -> (&mut Writer<S, W, K>, &mut Arc<Exact<S, W, K>>);

pub(super) const ENDPOINTS: Of<5, 1, 1> = |t| (&mut t.endpoints, &mut t.view.endpoints);
pub(super) const RECORDS: Of<3, 3, 1> = |t| (&mut t.records, &mut t.view.records);
pub(super) const RECORDS6: Of<2, 3, 2> = |t| (&mut t.records6, &mut t.view.records6);
pub(super) const ACCEPTED: Of<5, 1, 1> = |t| (&mut t.accepted, &mut t.view.peer_addresses);
pub(super) const ACCEPTED6: Of<3, 1, 2> = |t| (&mut t.accepted6, &mut t.view.peer_addresses6);
pub(super) const REWRITTEN: Of<3, 3, 1> = |t| (&mut t.rewritten, &mut t.view.rewritten);
pub(super) const REWRITTEN6: Of<2, 3, 2> = |t| (&mut t.rewritten6, &mut t.view.rewritten6);
pub(super) const TRUNKED: Of<5, 1, 1> = |t| (&mut t.trunked, &mut t.view.trunk_members);
