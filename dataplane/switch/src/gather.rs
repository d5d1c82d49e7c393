//! Frames on their way out that follow each other from one sender by one door, so that they pass the last stage, and are offered to the
//! outlet, once for all of them.

use crate::Batch;
use crate::door::Door;
use crate::frame::{Frame, total};
use crate::held::Held;
use crate::lap::Stage;
use crate::leave::{self, By, Shaper, Wait};
use crate::ledger::Ledger;
use crate::outlet::{Event, Outlet, Receiver};
use weir_tables::bandwidth::ClassId;
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::View;

/// An outlet before another one, for the time of a batch: finished frames go on by runs. All frames of the batch go by it, so that their
/// order stays as it is; and where bandwidth matters, nothing gets to the outlet but through [`leave`].
pub struct Gather<'o, O: Outlet> {
    out: &'o mut O,
    view: &'o View,
    ledger: &'o Ledger,
    /// Whether bandwidth matters.
    shapes: bool,
    /// Of what is pushed from here on.
    class: ClassId,
    /// The run's sender, its door, and its frames.
    from: Option<VnicId>,
    door: Door,
    run: Batch<O::Frame>,
}

impl<'o, O: Outlet> Gather<'o, O> {
    /// Nothing gathered yet.
    #[inline(always)]
    pub fn new(view: &'o View, ledger: &'o Ledger, out: &'o mut O) -> Self {
        Gather {
            shapes: out.is_shaping(),
            out,
            view,
            ledger,
            class: ClassId::NONE,
            from: None,
            door: Door::NONE,
            run: Batch::new(),
        }
    }

    /// What was gathered goes on. To be called at the end: what is left then would be dropped and not be counted.
    #[inline(always)]
    pub fn leave(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let bytes = total(&self.run);
        if self.shapes {
            let by = By::new(self.from, self.class);
            leave::all(
                self.view,
                self.ledger,
                by,
                self.door,
                bytes,
                &mut self.run,
                self.out,
            );
        } else {
            self.out.push_all(None, self.door, bytes, &mut self.run);
        }
    }

    /// One that is in no run.
    #[inline(always)]
    fn alone(&mut self, from: Option<VnicId>, door: Door, frame: O::Frame) {
        if self.shapes {
            let by = By::new(from, self.class);
            leave::one(self.view, self.ledger, by, door, frame, self.out);
        } else {
            self.out.push(None, door, frame);
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

    #[inline(always)]
    fn of_class(&mut self, class: ClassId) {
        if self.class != class {
            self.leave();
            self.class = class;
        }
    }

    fn refuse(&mut self, receiver: Receiver, reason: Reason, frame: O::Frame) {
        self.out.refuse(receiver, reason, frame);
    }

    #[inline(always)]
    fn push(&mut self, from: Option<VnicId>, door: Door, frame: O::Frame) {
        if frame.is_unfinished() {
            self.leave();
            self.alone(from, door, frame);
        } else {
            self.push_finished(from, door, frame);
        }
    }

    #[inline(always)]
    fn push_finished(&mut self, from: Option<VnicId>, door: Door, frame: O::Frame) {
        if O::Frame::WATCHED && !self.shapes {
            // Who looks sees each frame leave before the next one is decided on; but what may leave at once is asked of a run.
            return self.alone(from, door, frame);
        }
        let from = from.filter(|_| self.shapes);
        if self.door != door || self.from != from {
            self.leave();
            (self.from, self.door) = (from, door);
        }
        if let Err(full) = self.run.try_push(frame) {
            self.leave();
            self.alone(from, door, full.element());
        }
    }

    #[inline(always)]
    fn push_all(
        &mut self,
        from: Option<VnicId>,
        door: Door,
        bytes: usize,
        frames: &mut Batch<O::Frame>,
    ) {
        self.leave();
        if self.shapes {
            let by = By::new(from, self.class);
            leave::all(self.view, self.ledger, by, door, bytes, frames, self.out);
        } else {
            self.out.push_all(None, door, bytes, frames);
        }
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

    fn room(&mut self, port: PortId, wanted: usize) -> usize {
        self.leave();
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
