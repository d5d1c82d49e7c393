//! Frames on their way out that follow each other to one receiver, so that the outlet is asked once for all of them.

use crate::Batch;
use crate::frame::Frame;
use crate::held::Held;
use crate::lap::Stage;
use crate::outlet::{Event, Outlet, Receiver};
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, UplinkId, VnicId};
use weir_tables::reason::Reason;

/// An outlet before another one, for the time of a batch: finished frames go on by runs. All frames of the batch go by it, so that their
/// order stays as it is.
pub struct Gather<'o, O: Outlet> {
    out: &'o mut O,
    port: PortId,
    receiver: Receiver,
    /// Both in one word, to be compared.
    way: u64,
    run: Batch<O::Frame>,
}

impl<'o, O: Outlet> Gather<'o, O> {
    /// Nothing gathered yet.
    #[inline(always)]
    pub fn new(out: &'o mut O) -> Self {
        Gather {
            out,
            port: PortId(0),
            receiver: Receiver::Uplink(UplinkId(0)),
            way: way(PortId(0), Receiver::Uplink(UplinkId(0))),
            run: Batch::new(),
        }
    }

    /// What was gathered goes on. To be called at the end: what is left then would be dropped and not be counted.
    #[inline(always)]
    pub fn leave(&mut self) {
        if !self.run.is_empty() {
            self.out.push_all(self.port, self.receiver, &mut self.run);
        }
    }
}

/// A port and a receiver in one word.
#[inline(always)]
fn way(port: PortId, receiver: Receiver) -> u64 {
    let receiver = match receiver {
        Receiver::Vnic(id) => 1 << 32 | u64::from(id.0),
        Receiver::Uplink(id) => u64::from(id.0),
    };
    u64::from(port.0) << 48 | receiver
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

    fn refuse(&mut self, receiver: Receiver, reason: Reason, frame: O::Frame) {
        self.out.refuse(receiver, reason, frame);
    }

    #[inline(always)]
    fn push(&mut self, port: PortId, receiver: Receiver, frame: O::Frame) {
        if frame.is_unfinished() {
            self.leave();
            self.out.push(port, receiver, frame);
        } else {
            self.push_finished(port, receiver, frame);
        }
    }

    #[inline(always)]
    fn push_finished(&mut self, port: PortId, receiver: Receiver, frame: O::Frame) {
        if O::Frame::WATCHED {
            // Who looks sees each frame leave before the next one is decided on.
            return self.out.push(port, receiver, frame);
        }
        let way = way(port, receiver);
        if self.way != way {
            self.leave();
            (self.port, self.receiver, self.way) = (port, receiver, way);
        }
        if let Err(full) = self.run.try_push(frame) {
            self.leave();
            self.out.push(port, receiver, full.element());
        }
    }

    #[inline(always)]
    fn push_all(&mut self, port: PortId, receiver: Receiver, frames: &mut Batch<O::Frame>) {
        self.leave();
        self.out.push_all(port, receiver, frames);
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
