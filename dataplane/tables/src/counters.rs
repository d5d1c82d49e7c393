//! Single-writer cells: a worker adds, control reads at any time; neither waits, and no instruction is
//! locked (a relaxed load and store of a word are plain moves on x86-64 and aarch64).

use crate::by_class::ByClass;
use crate::reason::Reason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Adds `n`. Only the cell's one writer may call this.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` away. Only the cell's one writer may call this.
    #[inline(always)]
    pub fn subtract(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Replaces the value. Only the cell's one writer may call this.
    #[inline(always)]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The value now.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Packets and bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: Counter,
    /// Bytes without FCS.
    pub bytes: Counter,
}

impl Traffic {
    /// Counts `packets` of together `bytes`.
    #[inline(always)]
    pub fn add(&self, packets: u64, bytes: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
    }

    /// Takes so many away. Only the cell's one writer may call this.
    pub fn subtract(&self, packets: u64, bytes: u64) {
        self.packets.subtract(packets);
        self.bytes.subtract(bytes);
    }
}

/// Drops by reason.
#[derive(Debug)]
pub struct Drops([Traffic; Reason::COUNT]);

impl Default for Drops {
    fn default() -> Self {
        Drops(std::array::from_fn(|_| Traffic::default()))
    }
}

impl Drops {
    /// Counts one packet of `bytes`.
    #[inline(always)]
    pub fn add(&self, reason: Reason, bytes: u64) {
        if let Some(cell) = self.0.get(reason as usize) {
            cell.add(1, bytes);
        }
    }

    /// Every reason that has a count: (reason, packets, bytes).
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64, u64)> + '_ {
        Reason::ALL
            .iter()
            .zip(&self.0)
            .map(|(&reason, cell)| (reason, cell.packets.get(), cell.bytes.get()))
            .filter(|&(_, packets, _)| packets != 0)
    }

    /// All packets dropped.
    pub fn packets(&self) -> u64 {
        self.0.iter().map(|cell| cell.packets.get()).sum()
    }
}

/// What one worker counts for one vNIC or one uplink. What a packet that waits touches is in the line of what every packet does.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct PartyCells {
    /// Received from it.
    pub rx: Traffic,
    /// Accepted by its device.
    pub tx: Traffic,
    /// Of a vNIC: what it sends that waits for its maximum or for its share of an uplink, and what is for it and waits for its maximum
    /// to receive; now.
    pub waiting: Traffic,
    /// What a vNIC sends, by traffic class: whether there are any is in this line, too.
    pub classes: ByClass,
    /// Unfinished L4 checksums that the switch finished.
    pub checksums_finished: Counter,
    /// Frames to be cut into TCP segments that the switch cut.
    pub segmented: Counter,
    /// TCP handshakes of it whose MSS was lowered.
    pub mss_clamped: Counter,
    /// Frames to be cut into TCP segments that its device took whole.
    pub passed_whole: Counter,
    /// Dropped on its account.
    pub drops: Drops,
    /// Frames of a vNIC that bear the mark of congestion because they waited for too long (RFC 3168).
    pub marked: Counter,
    /// When an ICMP error about it would be in time if they were evenly spaced, in TSC cycles: the state of its bucket.
    pub icmp_due: Counter,
    /// The same for questions to the store about destinations that it sends to.
    pub ask_due: Counter,
}

/// One cell block a worker, by [`WorkerId`](crate::ids::WorkerId).
pub type Cells = std::sync::Arc<[PartyCells]>;

/// Cells for `workers` workers.
pub fn cells(workers: usize) -> Cells {
    (0..workers).map(|_| PartyCells::default()).collect()
}

/// Stages of a worker's turn that are measured apart.
pub const STAGES: usize = 5;

/// What the stages of a worker cost, from when it began to be measured.
#[derive(Debug, Default)]
pub struct StageCells {
    /// TSC cycles, by stage, what reading the clock took among them.
    pub cycles: [Counter; STAGES],
    /// How often the clock was read, by stage.
    pub laps: [Counter; STAGES],
    /// Packets that went through.
    pub packets: Counter,
    /// TSC cycles of one reading of the clock with its account, in thousandths.
    pub lap_millicycles: Counter,
}

/// What one worker counts of itself. See design: every packet ends in exactly one place.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerCells {
    /// Taken from vNICs and uplinks.
    pub received: Counter,
    /// Taken over from other workers.
    pub handoff_in: Counter,
    /// Received by other workers for this one, which takes them through the stages: they count as received when it takes them.
    pub steered_in: Counter,
    /// Received for other workers: until one of them takes them they are as if in a queue of the device, and not in the equation.
    pub steered_out: Counter,
    /// Made by the switch itself.
    pub generated: Counter,
    /// Copies made of a broadcast or multicast packet.
    pub copies: Counter,
    /// Accepted by an uplink's device.
    pub sent: Counter,
    /// Accepted by a vNIC's device.
    pub delivered: Counter,
    /// Given to other workers.
    pub handoff_out: Counter,
    /// Ended in the switch itself.
    pub consumed: Counter,
    /// Dropped, for all reasons.
    pub dropped: Counter,
    /// Drops that are on no vNIC's and no uplink's account.
    pub unaccounted: Drops,
    /// Waiting for a device.
    pub queued: Counter,
    /// Waiting for a maximum or for a share of an uplink.
    pub waiting: Counter,
    /// Held until the store has said where their destination is.
    pub held: Counter,
    /// Destinations without a record here that control was told of.
    pub misses: Counter,
    /// Of those, the ones that the store has found since.
    pub misses_found: Counter,
    /// And those that nobody has.
    pub misses_absent: Counter,
    /// When a question to the store would be in time if they were evenly spaced, in TSC cycles: the state of a bucket.
    pub ask_due: Counter,
    /// TSC cycles of turns that moved packets.
    pub busy_cycles: Counter,
    /// TSC cycles of turns that moved none.
    pub idle_cycles: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// The time of this turn in TSC cycles, as the worker's loop said.
    pub now: Counter,
    /// What its stages cost, while that is measured.
    pub stages: StageCells,
    /// Calls of the allocator by its thread, as of the last command that it carried out.
    pub allocator_calls: Counter,
    /// 1 while control has it receive nothing.
    pub rests: Counter,
}

impl WorkerCells {
    /// What came in, by the equation.
    pub fn came(&self) -> u64 {
        self.received.get() + self.handoff_in.get() + self.generated.get() + self.copies.get()
    }

    /// What it became, by the equation. Equal to [`came`](Self::came) whenever traffic stands still.
    pub fn went(&self) -> u64 {
        self.sent.get()
            + self.delivered.get()
            + self.handoff_out.get()
            + self.consumed.get()
            + self.dropped.get()
            + self.queued.get()
            + self.waiting.get()
            + self.held.get()
    }
}
