//! Frames on their way out that follow each other from one sender by one door, so that the outlet is asked once for all of them.

use crate::Batch;
use crate::door::Door;
use crate::frame::Frame;
use crate::held::Held;
use crate::lap::Stage;
use crate::outlet::{Event, Outlet, Receiver};
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;

/// An outlet before another one, for the time of a batch: finished frames go on by runs. All frames of the batch go by it, so that their
/// order stays as it is.
pub struct Gather<'o, O: Outlet> {
    out: &'o mut O,
    /// Whether it matters who sends.
    shapes: bool,
    from: Option<VnicId>,
    door: Door,
    run: Batch<O::Frame>,
}

impl<'o, O: Outlet> Gather<'o, O> {
    /// Nothing gathered yet.
    #[inline(always)]
    pub fn new(out: &'o mut O) -> Self {
        Gather {
            shapes: out.is_shaping(),
            out,
            from: None,
            door: Door::NONE,
            run: Batch::new(),
        }
    }

    /// What was gathered goes on. To be called at the end: what is left then would be dropped and not be counted.
    #[inline(always)]
    pub fn leave(&mut self) {
        if !self.run.is_empty() {
            self.out.push_all(self.from, self.door, &mut self.run);
        }
    }
}

impl<O: Outlet> Outlet for Gather<'_, O> {
    type Frame = O::Frame;
    type Plain = O::Plain;

    fn offer(
        &mut self,
        port: PortId,
        receiver: Receiver,
        frame: O::Frame,
    ) -> Result<(), (Reason, O::Frame)> {
        self.leave();
        self.out.offer(port, receiver, frame)
    }

    #[inline(always)]
    fn is_shaping(&self) -> bool {
        self.shapes
    }

    fn refuse(&mut self, receiver: Receiver, reason: Reason, frame: O::Frame) {
        self.out.refuse(receiver, reason, frame);
    }

    #[inline(always)]
    fn push(&mut self, from: Option<VnicId>, door: Door, frame: O::Frame) {
        if frame.is_unfinished() {
            self.leave();
            self.out.push(from, door, frame);
        } else {
            self.push_finished(from, door, frame);
        }
    }

    #[inline(always)]
    fn push_finished(&mut self, from: Option<VnicId>, door: Door, frame: O::Frame) {
        if O::Frame::WATCHED {
            // Who looks sees each frame leave before the next one is decided on.
            return self.out.push(from, door, frame);
        }
        let from = from.filter(|_| self.shapes);
        if self.door != door || self.from != from {
            self.leave();
            (self.from, self.door) = (from, door);
        }
        if let Err(full) = self.run.try_push(frame) {
            self.leave();
            self.out.push(from, door, full.element());
        }
    }

    #[inline(always)]
    fn push_all(&mut self, from: Option<VnicId>, door: Door, frames: &mut Batch<O::Frame>) {
        self.leave();
        self.out.push_all(from, door, frames);
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
        self.out.lap(stage);
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
}
