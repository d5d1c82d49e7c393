//! Who counts: one worker's cells, and the rule that a dropped packet has one reason and one account.

use crate::frame::Frame;
use std::sync::Arc;
use weir_tables::by_class::ByClass;
use weir_tables::counters::{Cells, WorkerCells};
use weir_tables::ids::WorkerId;
use weir_tables::prefetch;
use weir_tables::reason::Reason;

/// So many at once and so many a second, on a machine of `hz`.
fn bucket((burst, rate): (u64, u64), hz: u64) -> Bucket {
    Bucket {
        burst,
        pace: (hz / rate).max(1),
    }
}

/// One worker's book. It is the only writer of the cells it names.
#[derive(Clone)]
pub struct Ledger {
    worker: WorkerId,
    cells: Arc<WorkerCells>,
    /// TSC cycles between two ICMP errors to one vNIC, in the long run.
    icmp_pace: u64,
    /// TSC cycles a second.
    hz: u64,
    /// Of no worker: it counts on nobody's account, and nobody's share of anything is used up.
    imagined: bool,
    /// What a vNIC, and all of this worker's together, may ask of the store.
    vnic_asks: Bucket,
    worker_asks: Bucket,
}

/// What a bucket by due times (GCRA) allows.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// At once.
    burst: u64,
    /// TSC cycles between two, in the long run.
    pace: u64,
}

impl Bucket {
    /// One more, if `due` and `now` allow it within the burst: the new due time.
    fn take(self, due: u64, now: u64, burst: u64) -> Option<u64> {
        let ahead = due.saturating_sub(now);
        (ahead < burst * self.pace).then_some(now + ahead + self.pace)
    }
}

/// ICMP errors that a vNIC may get at once.
const ICMP_BURST: u64 = 50;
/// TSC cycles a second unless it is told another number.
const HZ: u64 = 2_600_000_000;
/// ICMP errors a second to one vNIC.
const ICMP_RATE: u64 = 100;
/// Questions to the store about destinations of one vNIC: at once, and a second.
const VNIC_ASKS: (u64, u64) = (64, 128);
/// The same about those of all vNICs of one worker.
const WORKER_ASKS: (u64, u64) = (512, 1024);

impl Ledger {
    /// The book of `worker`.
    pub fn new(worker: WorkerId, cells: Arc<WorkerCells>) -> Self {
        Ledger {
            worker,
            cells,
            icmp_pace: HZ / ICMP_RATE,
            hz: HZ,
            imagined: false,
            vnic_asks: bucket(VNIC_ASKS, HZ),
            worker_asks: bucket(WORKER_ASKS, HZ),
        }
    }

    /// The same on a machine with `hz` TSC cycles a second.
    pub fn with_clock(self, hz: u64) -> Self {
        Ledger {
            icmp_pace: hz / ICMP_RATE,
            hz,
            vnic_asks: bucket(VNIC_ASKS, hz),
            worker_asks: bucket(WORKER_ASKS, hz),
            ..self
        }
    }

    /// A book for packets that are only imagined at this time: nobody else reads it.
    pub fn imagined(now: u64, hz: u64) -> Self {
        let cells = WorkerCells::default();
        cells.now.set(now);
        Ledger {
            imagined: true,
            // Workers are 255 at most: nobody's cells have this place.
            ..Ledger::new(WorkerId(u8::MAX), Arc::new(cells)).with_clock(hz)
        }
    }

    /// The same for tests, where a vNIC may ask the store so many questions at once.
    #[cfg(any(test, feature = "testing"))]
    pub fn with_questions(self, at_once: u64) -> Self {
        Ledger {
            vnic_asks: Bucket {
                burst: at_once,
                ..self.vnic_asks
            },
            ..self
        }
    }

    /// TSC cycles a second.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// The time of this turn in TSC cycles.
    pub fn now(&self) -> u64 {
        self.cells.now.get()
    }

    /// Whether the store may be asked about one more destination of a vNIC's, which counts as asked. The last half of what
    /// all vNICs of a worker have together is for those that have asked little: who scans addresses cannot use it up.
    pub fn may_ask(&self, party: &Cells) -> bool {
        let Some(cell) = party.get(self.worker.index()) else {
            return self.imagined;
        };
        let (now, own, all) = (self.now(), self.vnic_asks, self.worker_asks);
        let due = cell.ask_due.get();
        let asked_little = due.saturating_sub(now) < own.burst * own.pace / 2;
        let share = if asked_little {
            all.burst
        } else {
            all.burst / 2
        };
        let Some(due) = own.take(due, now, own.burst) else {
            return false;
        };
        // Also if the worker's bucket says no: who is refused has not asked little.
        cell.ask_due.set(due);
        let Some(due) = all.take(self.cells.ask_due.get(), now, share) else {
            return false;
        };
        self.cells.ask_due.set(due);
        true
    }

    /// Whether a vNIC may be sent an ICMP error now (RFC 1812 §4.3.2.8), which counts as one. A bucket by due times (GCRA).
    pub fn may_complain(&self, party: &Cells) -> bool {
        let Some(cell) = party.get(self.worker.index()) else {
            return self.imagined;
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

    /// The same cells for who keeps them by himself.
    pub fn shared_cells(&self) -> Arc<WorkerCells> {
        self.cells.clone()
    }

    /// Asks the processor for what is counted of a party.
    #[inline(always)]
    pub fn fetch(&self, party: &Cells) {
        if let Some(cell) = party.get(self.worker.index()) {
            prefetch::read(cell);
        }
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

    /// Counts frames of a vNIC, of together so many bytes, that begin to wait in queues of its own.
    #[inline]
    pub fn waits(&self, party: Option<&Cells>, packets: u64, bytes: u64) {
        self.cells.waiting.add(packets);
        if let Some(cell) = party.and_then(|cells| cells.get(self.worker.index())) {
            cell.waiting.add(packets, bytes);
        }
    }

    /// What a vNIC sends by traffic class, as this worker counts it.
    #[inline]
    pub fn classes<'c>(&self, party: Option<&'c Cells>) -> Option<&'c ByClass> {
        let cell = party?.get(self.worker.index())?;
        Some(&cell.classes)
    }

    /// Counts such as wait no more.
    #[inline]
    pub fn waited(&self, party: Option<&Cells>, packets: u64, bytes: u64) {
        self.cells.waiting.subtract(packets);
        if let Some(cell) = party.and_then(|cells| cells.get(self.worker.index())) {
            cell.waiting.subtract(packets, bytes);
        }
    }

    /// Counts a frame of a vNIC that bears the mark of congestion from here on.
    #[inline]
    pub fn marked(&self, party: &Cells) {
        if let Some(cell) = party.get(self.worker.index()) {
            cell.marked.add(1);
        }
    }

    /// Counts a frame that was cut into segments for a party.
    #[inline]
    pub fn segmented(&self, party: &Cells) {
        if let Some(cell) = party.get(self.worker.index()) {
            cell.segmented.add(1);
        }
    }

    /// Counts a frame to be cut that a party's device took whole.
    #[inline]
    pub fn passed_whole(&self, party: &Cells) {
        if let Some(cell) = party.get(self.worker.index()) {
            cell.passed_whole.add(1);
        }
    }

    /// Counts a TCP handshake of a party whose MSS was lowered.
    #[inline]
    pub fn mss_clamped(&self, party: &Cells) {
        if let Some(cell) = party.get(self.worker.index()) {
            cell.mss_clamped.add(1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use weir_tables::counters::cells;

    #[test]
    fn many_that_scan_leave_questions_to_who_asks_little() {
        let book = Ledger::new(WorkerId(0), Arc::default()).with_clock(1_000_000);
        let scanners: Vec<Cells> = (0..30).map(|_| cells(1)).collect();
        let (mut asked, seconds) = (0, 5);
        for ms in 0..seconds * 1000 {
            book.cells().now.set(ms * 1000);
            for scanner in &scanners {
                asked += u64::from(book.may_ask(scanner)) + u64::from(book.may_ask(scanner));
            }
            if ms % 1000 == 999 {
                let quiet = cells(1);
                let heard = (0..32).filter(|_| book.may_ask(&quiet)).count();
                assert_eq!(heard, 32, "after {ms} ms");
            }
        }
        let (burst, rate) = WORKER_ASKS;
        assert!(asked <= burst + rate * seconds, "{asked}");
        assert!(asked > rate * seconds / 2, "{asked}");
    }

    #[test]
    fn one_that_scans_is_heard_so_often_a_second() {
        let book = Ledger::new(WorkerId(0), Arc::default()).with_clock(1_000_000);
        let scanner = cells(1);
        let heard = (0..10_000).filter(|ms| {
            book.cells().now.set(ms * 1000);
            book.may_ask(&scanner)
        });
        let heard = heard.count() as u64;
        let (burst, rate) = VNIC_ASKS;
        assert!((rate * 10..=burst + rate * 10).contains(&heard), "{heard}");
    }
}
