//! Hosts, frames and an outlet that keeps what it gets.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod chaos;
pub mod dice;
pub mod frames;
mod packets;
pub mod world;

use crate::ledger::Ledger;
pub use crate::memory::{HEADROOM, Herd, VecFrame};
use crate::outlet::{Event, Outlet, Receiver};
use std::sync::Arc;
use weir_tables::counters::WorkerCells;
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::reason::Reason;

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
}

impl Default for Kept {
    fn default() -> Self {
        Kept {
            out: Vec::new(),
            events: Vec::new(),
            copies_left: usize::MAX,
            ledger: Ledger::new(WorkerId(0), Arc::new(WorkerCells::default())),
        }
    }
}

impl Outlet for Kept {
    type Frame = VecFrame;

    fn offer(
        &mut self,
        port: PortId,
        receiver: Receiver,
        frame: VecFrame,
    ) -> Result<(), (Reason, VecFrame)> {
        match receiver {
            Receiver::Vnic(_) => self.ledger.cells().delivered.add(1),
            Receiver::Uplink(_) => self.ledger.cells().sent.add(1),
        }
        self.out.push((port, receiver, frame));
        Ok(())
    }

    fn refuse(&mut self, _: Receiver, _: Reason, _: VecFrame) {
        unreachable!("everything is taken");
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
}
