//! Hosts, frames and an outlet that keeps what it gets.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

#[cfg(any(test, feature = "testing"))]
pub mod chaos;
#[cfg(any(test, feature = "testing"))]
pub mod classes;
#[cfg(any(test, feature = "testing"))]
pub mod dice;
pub mod frames;
#[cfg(any(test, feature = "testing"))]
mod packets;
#[cfg(any(test, feature = "testing"))]
mod packets6;
#[cfg(any(test, feature = "testing"))]
pub mod team;
pub mod world;

use crate::Batch;
use crate::door::Door;
use crate::frame::{Frame as _, total};
use crate::held::Held;
use crate::leave::{Shaper, Wait};
use crate::ledger::Ledger;
pub use crate::memory::{HEADROOM, Herd, VecFrame};
use crate::outlet::{Event, Outlet, Receiver};
use crate::shape::Settings;
use std::sync::Arc;
use weir_tables::counters::WorkerCells;
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::reason::Reason;

/// Destinations whose frames [`Kept`] holds.
pub const HELD: u16 = 8;
/// Misses that it remembers.
pub const HELD_MISSES: u16 = 32;
/// Questions that its vNICs may ask at once.
pub const QUESTIONS: u64 = 6;
/// Frames that may wait for bandwidth, and vNICs that may have one.
pub const SHAPED: u32 = 256;
/// See [`SHAPED`].
pub const SHAPED_VNICS: u32 = 64;
/// Its clock: TSC cycles a second.
pub const HZ: u64 = 2_600_000_000;

/// Keeps what it gets, and counts as a worker whose devices take everything.
pub struct Kept {
    /// What was pushed, in order.
    pub out: Vec<(PortId, Receiver, VecFrame)>,
    /// What control was told.
    pub events: Vec<Event>,
    /// How many more copies there is memory for.
    pub copies_left: usize,
    /// The worker's book.
    pub ledger: Ledger,
    /// What waits for the store's answer.
    pub held: Held<VecFrame>,
    /// What waits for bandwidth.
    pub shaper: Shaper<VecFrame>,
    /// How many more frames devices take.
    pub room: usize,
    /// Ports of uplinks whose devices take none.
    pub full: Vec<PortId>,
    /// Whether bandwidth matters, whatever the shaper says.
    pub shapes: bool,
    /// By port: whether it is another worker's. None is, if there are too few.
    pub elsewhere: Vec<bool>,
    /// What is on its way to another worker.
    pub handed: Vec<(PortId, Receiver, VecFrame)>,
}

impl Kept {
    /// Of a worker.
    pub fn of(worker: WorkerId) -> Kept {
        let ledger = Ledger::new(worker, Arc::new(WorkerCells::default()));
        #[cfg(any(test, feature = "testing"))]
        let ledger = ledger.with_questions(QUESTIONS);
        Kept {
            out: Vec::new(),
            events: Vec::new(),
            copies_left: usize::MAX,
            ledger,
            held: Held::new(HELD, HELD_MISSES, 1, HZ),
            shaper: Shaper::new(Settings::new(HZ, SHAPED, SHAPED_VNICS, 1)),
            room: usize::MAX,
            full: Vec::new(),
            shapes: false,
            elsewhere: Vec::new(),
            handed: Vec::new(),
        }
    }
}

impl Default for Kept {
    fn default() -> Self {
        Kept::of(WorkerId(0))
    }
}

impl Outlet for Kept {
    type Frame = VecFrame;
    type Plain = VecFrame;

    fn offer(
        &mut self,
        port: PortId,
        receiver: Receiver,
        frame: VecFrame,
    ) -> Result<(), (Reason, VecFrame)> {
        if !self.is_here(port) {
            self.ledger.cells().handoff_out.add(1);
            self.handed.push((port, receiver, frame));
            return Ok(());
        }
        if self.full.contains(&port) {
            return Err((Reason::TxFull, frame));
        }
        if matches!(receiver, Receiver::Uplink(_)) && self.room != usize::MAX {
            let Some(left) = self.room.checked_sub(1) else {
                return Err((Reason::TxFull, frame));
            };
            self.room = left;
        }
        match receiver {
            Receiver::Vnic(_) => self.ledger.cells().delivered.add(1),
            Receiver::Uplink(_) => self.ledger.cells().sent.add(1),
        }
        self.out.push((port, receiver, frame));
        Ok(())
    }

    fn push_all(
        &mut self,
        from: Option<VnicId>,
        door: Door,
        bytes: usize,
        frames: &mut Batch<VecFrame>,
    ) {
        assert_eq!(bytes, total(frames), "who sends knows their bytes");
        for frame in frames.drain(..) {
            // A worker's puts a whole run into a queue as it is.
            assert!(!frame.is_unfinished(), "in no run: it is left to a device");
            self.push(from, door, frame);
        }
    }

    fn refuse(&mut self, _: Receiver, reason: Reason, frame: VecFrame) {
        self.ledger.dropped(None, reason, frame);
    }

    fn copy(&mut self, frame: &VecFrame) -> Option<VecFrame> {
        self.copies_left = self.copies_left.checked_sub(1)?;
        Some(frame.duplicate())
    }

    fn part(
        &mut self,
        frame: &VecFrame,
        front: &[u8],
        start: usize,
        length: usize,
    ) -> Option<VecFrame> {
        self.copies_left = self.copies_left.checked_sub(1)?;
        Some(frame.part(front, start, length))
    }

    fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    fn held(&mut self) -> &mut Held<VecFrame> {
        &mut self.held
    }

    fn hold(&mut self, to: Destination, from: VnicId, frame: VecFrame) -> Result<(), VecFrame> {
        self.held.add(to, from, frame)
    }

    fn is_shaping(&self) -> bool {
        self.shapes || !self.shaper.is_off()
    }

    fn is_here(&self, port: PortId) -> bool {
        self.elsewhere.get(port.index()) != Some(&true)
    }

    fn room(&mut self, port: PortId, _: usize) -> usize {
        match self.is_here(port) {
            true if self.full.contains(&port) => 0,
            true => self.room,
            false => usize::MAX,
        }
    }

    fn shaper(&mut self) -> &mut Shaper<VecFrame> {
        &mut self.shaper
    }

    fn wait(&mut self, wait: Wait, frame: VecFrame) -> Result<(), (Reason, VecFrame)> {
        wait.begin(&mut self.shaper, frame)
    }
}
