//! Frames on their way out that follow each other to one receiver, so that the outlet is asked once for all of them.

use crate::Batch;
use crate::frame::Frame;
use crate::held::Held;
use crate::lap::Stage;
use crate::outlet::{Event, Outlet, Receiver};
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, UplinkId, VnicId};
use weir_tables::reason::Reason;

/// A port and a receiver in one word, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Door(u64);

/// To a vNIC; to an uplink. One of them is set if there is a door.
const VNIC: u64 = 1 << 32;
const UPLINK: u64 = 1 << 16;

impl Door {
    /// None.
    pub const NONE: Door = Door(0);

    /// To a receiver by a port.
    #[inline(always)]
    pub fn new(port: PortId, receiver: Receiver) -> Door {
        let receiver = match receiver {
            Receiver::Vnic(id) => VNIC | u64::from(id.0),
            Receiver::Uplink(id) => UPLINK | u64::from(id.0),
        };
        Door(u64::from(port.0) << 48 | receiver)
    }

    /// What it was made of.
    #[inline(always)]
    pub fn ends(self) -> Option<(PortId, Receiver)> {
        let receiver = match self.0 & VNIC {
            0 => Receiver::Uplink(UplinkId(self.0 as u16)),
            _ => Receiver::Vnic(VnicId(self.0 as u32)),
        };
        (self != Door::NONE).then_some((PortId((self.0 >> 48) as u16), receiver))
    }
}

/// The one door of all frames of a batch, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    every: u64,
    any: u64,
}

impl Common {
    /// Of no frame yet.
    #[inline(always)]
    pub fn new() -> Common {
        Common { every: !0, any: 0 }
    }

    /// One more.
    #[inline(always)]
    pub fn add(&mut self, door: Door) {
        self.every &= door.0;
        self.any |= door.0;
    }

    /// The door, if all had the same.
    #[inline(always)]
    pub fn ends(self) -> Option<(PortId, Receiver)> {
        Door(if self.every == self.any { self.any } else { 0 }).ends()
    }
}

impl Default for Common {
    fn default() -> Self {
        Common::new()
    }
}

/// An outlet before another one, for the time of a batch: finished frames go on by runs. All frames of the batch go by it, so that their
/// order stays as it is.
pub struct Gather<'o, O: Outlet> {
    out: &'o mut O,
    door: Door,
    run: Batch<O::Frame>,
}

impl<'o, O: Outlet> Gather<'o, O> {
    /// Nothing gathered yet.
    #[inline(always)]
    pub fn new(out: &'o mut O) -> Self {
        Gather {
            out,
            door: Door::NONE,
            run: Batch::new(),
        }
    }

    /// What was gathered goes on. To be called at the end: what is left then would be dropped and not be counted.
    #[inline(always)]
    pub fn leave(&mut self) {
        if let Some((port, receiver)) = self.door.ends()
            && !self.run.is_empty()
        {
            self.out.push_all(port, receiver, &mut self.run);
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
        let door = Door::new(port, receiver);
        if self.door != door {
            self.leave();
            self.door = door;
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
