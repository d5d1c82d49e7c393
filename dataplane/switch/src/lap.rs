//! What each stage costs, on the path that ships: a batch tells its way out when a stage is done with it, and the way out of a
//! worker that is measured ([`Timed`]) reads a clock then. For every other way out that is an empty function, so that the
//! compiler makes two copies of the path and the plain one has no trace of this. A worker chooses between them once a turn.

use crate::Batch;
use crate::door::Door;
use crate::held::Held;
use crate::leave::{Shaper, Wait};
use crate::outlet::{Event, Outlet, Receiver};
use weir_tables::counters::STAGES;
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;

/// A part of a worker's turn, as a whole batch goes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The turn itself, and a burst from the device.
    Receive,
    /// From a VM: headers read, its sender checked. From the wire: the outer packet accepted and taken off.
    Classify,
    /// Where everybody is.
    Lookup,
    /// Outer headers, hops, rewriting; into the transmit buffer or to its end.
    Apply,
    /// A burst to the device, and the account of what it took.
    Transmit,
}

impl Stage {
    /// All of them, in the order in which a packet meets them.
    pub const ALL: [Stage; STAGES] = [
        Stage::Receive,
        Stage::Classify,
        Stage::Lookup,
        Stage::Apply,
        Stage::Transmit,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Classify => "classify",
            Stage::Lookup => "lookup",
            Stage::Apply => "apply",
            Stage::Transmit => "transmit",
        }
    }
}

/// Who reads a clock.
pub trait Stopwatch {
    /// A stage has ended; the next one begins.
    fn lap(&self, stage: Stage);
}

/// The way out of a worker that is measured: the plain one's, and a stopwatch beside it.
pub struct Timed<'o, 'w, W, O> {
    out: &'o mut O,
    by: &'w W,
}

impl<'o, 'w, W, O> Timed<'o, 'w, W, O> {
    /// The same way out, measured.
    pub fn new(out: &'o mut O, by: &'w W) -> Self {
        Timed { out, by }
    }
}

impl<W: Stopwatch, O: Outlet> Outlet for Timed<'_, '_, W, O> {
    type Frame = O::Frame;
    type Plain = O::Plain;

    #[inline(always)]
    fn offer(
        &mut self,
        port: PortId,
        receiver: Receiver,
        frame: O::Frame,
    ) -> Result<(), (Reason, O::Frame)> {
        self.out.offer(port, receiver, frame)
    }

    #[inline(always)]
    fn is_shaping(&self) -> bool {
        self.out.is_shaping()
    }

    #[inline(always)]
    fn push_finished(&mut self, from: Option<VnicId>, door: Door, frame: O::Frame) {
        self.out.push_finished(from, door, frame);
    }

    #[inline(always)]
    fn push_all(
        &mut self,
        from: Option<VnicId>,
        door: Door,
        bytes: usize,
        frames: &mut Batch<O::Frame>,
    ) {
        self.out.push_all(from, door, bytes, frames);
    }

    fn refuse(&mut self, receiver: Receiver, reason: Reason, frame: O::Frame) {
        self.out.refuse(receiver, reason, frame);
    }

    fn copy(&mut self, frame: &O::Frame) -> Option<O::Frame> {
        self.out.copy(frame)
    }

    fn part(
        &mut self,
        frame: &O::Frame,
        front: &[u8],
        start: usize,
        length: usize,
    ) -> Option<O::Frame> {
        self.out.part(frame, front, start, length)
    }

    #[inline(always)]
    fn lap(&mut self, stage: Stage) {
        self.by.lap(stage);
    }

    fn tell(&mut self, event: Event) {
        self.out.tell(event);
    }

    #[inline(always)]
    fn held(&mut self) -> &mut Held<O::Plain> {
        self.out.held()
    }

    fn hold(&mut self, to: Destination, from: VnicId, frame: O::Frame) -> Result<(), O::Frame> {
        self.out.hold(to, from, frame)
    }

    fn room(&mut self, port: PortId, wanted: usize) -> usize {
        self.out.room(port, wanted)
    }

    #[inline(always)]
    fn is_here(&self, port: PortId) -> bool {
        self.out.is_here(port)
    }

    #[inline(always)]
    fn shaper(&mut self) -> &mut Shaper<O::Plain> {
        self.out.shaper()
    }

    fn wait(&mut self, wait: Wait, frame: O::Frame) -> Result<(), (Reason, O::Frame)> {
        self.out.wait(wait, frame)
    }
}
