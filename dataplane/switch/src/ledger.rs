//! Who counts: one worker's cells, and the rule that a dropped packet has one reason and one account.

use crate::frame::Frame;
use std::sync::Arc;
use weir_tables::counters::{Cells, WorkerCells};
use weir_tables::ids::WorkerId;
use weir_tables::reason::Reason;

/// One worker's book. It is the only writer of the cells it names.
#[derive(Clone)]
pub struct Ledger {
    worker: WorkerId,
    cells: Arc<WorkerCells>,
    /// TSC cycles between two ICMP errors to one vNIC, in the long run.
    icmp_pace: u64,
}

/// ICMP errors that a vNIC may get at once.
const ICMP_BURST: u64 = 50;
/// [`Ledger::icmp_pace`] unless it is told another: 100 a second at 2.6 GHz.
const ICMP_PACE: u64 = 26_000_000;

impl Ledger {
    /// The book of `worker`.
    pub fn new(worker: WorkerId, cells: Arc<WorkerCells>) -> Self {
        Ledger {
            worker,
            cells,
            icmp_pace: ICMP_PACE,
        }
    }

    /// The same on a machine with `hz` TSC cycles a second: 100 ICMP errors a second to each vNIC.
    pub fn with_clock(self, hz: u64) -> Self {
        Ledger {
            icmp_pace: hz / 100,
            ..self
        }
    }

    /// Whether a vNIC may be sent an ICMP error now (RFC 1812 §4.3.2.8), which counts as one. A bucket by due times (GCRA).
    pub fn may_complain(&self, party: &Cells) -> bool {
        let Some(cell) = party.get(self.worker.index()) else {
            return false;
        };
        let (now, due) = (self.cells.now.get(), cell.icmp_due.get());
        let ahead = due.saturating_sub(now);
        let allowed = ahead < ICMP_BURST * self.icmp_pace;
        if allowed {
            cell.icmp_due.set(now + ahead + self.icmp_pace);
        }
        allowed
    }

    /// The worker whose book it is.
    #[inline(always)]
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// The worker's own cells.
    #[inline(always)]
    pub fn cells(&self) -> &WorkerCells {
        &self.cells
    }

    /// Counts packets received from a party.
    #[inline(always)]
    pub fn received(&self, party: &Cells, packets: u64, bytes: u64) {
        self.cells.received.add(packets);
        if let Some(cell) = party.get(self.worker.index()) {
            cell.rx.add(packets, bytes);
        }
    }

    /// Ends a frame, on the account of a party.
    #[inline]
    pub fn dropped<F: Frame>(&self, party: Option<&Cells>, reason: Reason, frame: F) {
        frame.ended(reason);
        self.lost(party, reason, frame.len() as u64);
    }

    /// Counts a packet that ended without a frame in hand, such as a copy that could not be made.
    #[inline]
    pub fn lost(&self, party: Option<&Cells>, reason: Reason, bytes: u64) {
        self.cells.dropped.add(1);
        let cell = match party {
            Some(cells) => cells.get(self.worker.index()).map(|cell| &cell.drops),
            None => Some(&self.cells.unaccounted),
        };
        if let Some(drops) = cell {
            drops.add(reason, bytes);
        }
    }

    /// Counts a frame that was cut into segments for a party.
    #[inline]
    pub fn segmented(&self, party: &Cells) {
        if let Some(cell) = party.get(self.worker.index()) {
            cell.segmented.add(1);
        }
    }

    /// Counts an L4 checksum that was finished for a party.
    #[inline]
    pub fn checksum_finished(&self, party: &Cells) {
        if let Some(cell) = party.get(self.worker.index()) {
            cell.checksums_finished.add(1);
        }
    }
}
