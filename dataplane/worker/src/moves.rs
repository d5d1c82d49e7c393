//! vNICs that move from one worker to another, with everything that is theirs: queues, frames that wait, state.
//!
//! Control leads, and each step is over when the workers have said so; what a worker owns it gives away in a reply and gets in a
//! command, so that at any time one worker has it, or control. From A to B, while traffic goes on:
//!
//! 1. *Expect.* B hears which MACs and ports will be its own. What it has for them from then on waits there, in order.
//! 2. *View.* By the new view everybody sends to B what is for them. A goes on polling what is theirs.
//! 3. *Drain.* Everybody takes what is in its rings, so that all that was sent to A by the old view is with A.
//! 4. *Part.* A gives away their queues with the frames that wait before them, and their state. Nobody polls them now.
//! 5. *Drain* again, and A waits until its uplinks' devices have sent what it gave them: what A decided for others and what it sent
//!    is ahead of all that B will do.
//! 6. *Arrive.* B has the queues: first what waited at A, then what waited at B, a burst a turn, then it goes on as if it had always
//!    been so, and says so.
//!
//! Where the device itself has a table of queues by MAC, it goes on giving A what is for them, and A hands it over. Then the device is told,
//! too, in the same way (*aiming*): all but A expect what comes *directly* from the device's queues and have it wait, while what is handed over
//! passes; the device is told, and may for a moment give it to neither; everybody *settles*, which is to have received what was in the
//! device's queues before; rings are drained; it arrives, without luggage, with B last.
//!
//! So each frame that a vNIC sends goes out behind those before it, whoever receives it, and each that it gets comes behind those before it,
//! whoever sends. Nothing is dropped that would not be dropped at rest, unless more comes for it meanwhile than may wait.

use crate::device::Rx;
use crate::lanes::Handoff;
use crate::packet::Packet;
use crate::slot::Slot;
use std::collections::VecDeque;
use weir_switch::leave::Waiting;
use weir_switch::shape::Parcel;
use weir_tables::ids::{PortId, VnicId};
use weir_wire::Mac;

/// A receive queue and the port it belongs to.
pub(crate) struct Input {
    pub(crate) port: PortId,
    pub(crate) rx: Rx,
}

/// What a worker will own, and what has come for it already.
pub struct Expected {
    /// MACs, in order.
    macs: Box<[Mac]>,
    /// Ports, in order.
    ports: Box<[PortId]>,
    /// Whether what other workers hand over waits as well.
    by_rings: bool,
    waiting: VecDeque<Handoff>,
    /// Of those that wait, the frames that a stage has seen.
    decided: usize,
}

impl Expected {
    /// These MACs and ports are to come; at most `room` frames wait for them.
    pub fn new(mut macs: Vec<Mac>, mut ports: Vec<PortId>, room: usize) -> Expected {
        macs.sort();
        ports.sort();
        Expected {
            macs: macs.into(),
            ports: ports.into(),
            by_rings: true,
            waiting: VecDeque::with_capacity(room),
            decided: 0,
        }
    }

    /// What is for these MACs of this worker will come from its own queues, and comes by rings so far: at most `room` frames wait.
    pub fn directly(macs: Vec<Mac>, room: usize) -> Expected {
        Expected {
            by_rings: false,
            ..Expected::new(macs, Vec::new(), room)
        }
    }

    /// Whether what other workers hand over waits as well.
    pub(crate) fn is_by_rings(&self) -> bool {
        self.by_rings
    }

    /// Whether a vNIC with this MAC is to come.
    pub(crate) fn has_mac(&self, mac: Mac) -> bool {
        self.macs.binary_search(&mac).is_ok()
    }

    /// Whether this port is to come.
    pub(crate) fn has_port(&self, port: PortId) -> bool {
        self.ports.binary_search(&port).is_ok()
    }

    /// Has a frame wait; gives it back if too many do.
    pub(crate) fn add(&mut self, handoff: Handoff) -> Result<(), Handoff> {
        if self.waiting.len() == self.waiting.capacity() {
            return Err(handoff);
        }
        self.decided += usize::from(handoff.receiver.is_some());
        self.waiting.push_back(handoff);
        Ok(())
    }

    /// The next of those that wait.
    pub(crate) fn next(&mut self) -> Option<Handoff> {
        let next = self.waiting.pop_front()?;
        self.decided -= usize::from(next.receiver.is_some());
        Some(next)
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Frames that wait and that a stage has seen: the others are not received yet.
    pub(crate) fn decided(&self) -> usize {
        self.decided
    }
}

/// What moves.
pub struct Luggage {
    /// The vNICs.
    pub(crate) vnics: Box<[VnicId]>,
    /// Their ports.
    pub(crate) ports: Box<[PortId]>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) slots: Vec<(PortId, Slot)>,
    /// Frames of theirs that wait for the store's answer.
    pub(crate) held: VecDeque<(VnicId, Packet)>,
    /// What they were promised and have used of it, and their frames that wait for it, by vNIC.
    pub(crate) parcels: Vec<Parcel<Waiting<Packet>>>,
}

/// Frames that may wait for the bandwidth of one that moves without memory being asked for: of few vNICs, and of each of many.
const SHAPED: [usize; 2] = [256, 8];
/// How many vNICs are few.
const FEW: usize = 16;

impl Luggage {
    /// For these vNICs and their own ports. At most `held` frames that wait for the store move along.
    pub fn new(vnics: Vec<VnicId>, ports: Vec<PortId>, held: usize) -> Luggage {
        let [of_few, of_many] = SHAPED;
        let room = if vnics.len() > FEW { of_many } else { of_few };
        Luggage {
            parcels: vnics.iter().map(|_| Parcel::with_room(room)).collect(),
            inputs: Vec::with_capacity(ports.len()),
            slots: Vec::with_capacity(ports.len()),
            held: VecDeque::with_capacity(held),
            vnics: vnics.into(),
            ports: ports.into(),
        }
    }

    /// The port of each receive queue that is in it.
    pub fn polled(&self) -> impl Iterator<Item = PortId> {
        self.inputs.iter().map(|input| input.port)
    }
}

/// What was in devices' queues when control asked, and may not have been received.
pub(crate) struct Settling {
    /// What it answers with.
    pub(crate) number: u64,
    /// After how many turns.
    pub(crate) turns: u32,
}

/// What a worker has given to its uplinks' devices and that has not left yet.
pub(crate) struct Leaving {
    /// What it answers with.
    pub(crate) number: u64,
    /// How long it has waited, in TSC cycles.
    waited: u64,
    /// When it looked last, by the TSC.
    looked: u64,
}

impl Leaving {
    /// From now on.
    pub(crate) fn new(number: u64, now: u64) -> Leaving {
        Leaving {
            number,
            waited: 0,
            looked: now,
        }
    }

    /// How long it has waited by now. What the worker was away for counts as one long turn: where its core was somebody else's, the device
    /// of a virtual machine may have had no time either, and nobody had a look.
    pub(crate) fn waits(&mut self, now: u64, hz: u64) -> u64 {
        let since = now.saturating_sub(self.looked);
        self.waited += since.min(hz / TURN);
        self.looked = now;
        self.waited
    }
}

/// A turn takes no longer, as a part of a second.
const TURN: u64 = 1_000;

/// How long a worker waits for a device at most, as a part of a second: one whose link is down sends nothing.
pub(crate) const PATIENCE: u64 = 50;
/// A driver may have its hardware report so many descriptors late...
pub(crate) const LATE: u64 = 64;
/// ...and then so much time, as a part of a second, is left to the device instead.
pub(crate) const GRACE: u64 = 10_000;

/// A slot's mark: how many frames it will have given to its device when all that wait before it now have gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(pub(crate) u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_away_has_not_waited_for_the_device() {
        const HZ: u64 = 2_000_000_000;
        let mut leaving = Leaving::new(1, HZ);
        assert_eq!(leaving.waits(HZ + 1000, HZ), 1000);
        // A second away: it is not out of patience, and looks again.
        let back = 2 * HZ;
        assert_eq!(leaving.waits(back, HZ), 1000 + HZ / 1000);
        // 19 ms are left.
        assert!(leaving.waits(back + HZ / 1000, HZ) < HZ / PATIENCE);
        let patient =
            (2..).take_while(|ms| leaving.waits(back + ms * HZ / 1000, HZ) < HZ / PATIENCE);
        assert_eq!(patient.count(), 17);
    }
}
