//! vNICs that come from another worker, and those that leave for one.

use super::Out;
use crate::lanes::Handoff;
use crate::moves::Expected;
use crate::packet::Packet;
use crate::slot::Slot;
use crate::tap::Watch;
use weir_switch::Batch;
use weir_switch::door::Door;
use weir_switch::outlet::{Outlet, Receiver};
use weir_tables::ids::PortId;
use weir_tables::reason::Reason;
use weir_wire::Mac;

impl Out {
    /// Whether vNICs are on their way to this worker.
    #[inline(always)]
    pub(crate) fn is_expecting(&self) -> bool {
        self.expected.is_some()
    }

    /// Whether they are, and what other workers hand over for them is to wait.
    #[inline(always)]
    pub(crate) fn is_expecting_by_rings(&self) -> bool {
        let expected = self.expected.as_deref();
        expected.is_some_and(Expected::is_by_rings)
    }

    /// Whether a vNIC with this MAC is.
    pub(crate) fn expects(&self, mac: Mac) -> bool {
        let expected = self.expected.as_deref();
        expected.is_some_and(|expected| expected.has_mac(mac))
    }

    /// Has what comes for these wait from here on.
    pub(crate) fn expect(&mut self, expected: Box<Expected>) {
        self.expected = Some(expected);
    }

    /// Has a frame wait that no stage has seen.
    pub(crate) fn have_wait(&mut self, port: PortId, packet: Packet, watch: &Watch) {
        let handoff = Handoff {
            packet,
            port,
            receiver: None,
        };
        let back = match self.expected.as_deref_mut() {
            Some(expected) => expected.add(handoff).err(),
            None => Some(handoff),
        };
        if let Some(handoff) = back {
            self.end_received(port, Reason::HandoffFull, handoff.packet, watch);
        }
    }

    /// A frame for a port that has no slot here: it waits if the port is on its way, else it is given back for this reason.
    #[cold]
    pub(super) fn early(
        &mut self,
        port: PortId,
        receiver: Receiver,
        packet: Packet,
        reason: Reason,
    ) -> Result<(), (Reason, Packet)> {
        let handoff = Handoff {
            packet,
            port,
            receiver: Some(receiver),
        };
        match self.expected.as_deref_mut() {
            Some(expected) if expected.has_port(port) => {
                let added = expected.add(handoff);
                added.map_err(|back| (Reason::HandoffFull, back.packet))
            }
            _ => Err((reason, handoff.packet)),
        }
    }

    /// The next frame that waits for vNICs on their way.
    pub(crate) fn next_expected(&mut self) -> Option<Handoff> {
        self.expected.as_deref_mut()?.next()
    }

    /// Whether another one does.
    pub(crate) fn waits_for_expected(&self) -> bool {
        let expected = self.expected.as_deref();
        expected.is_some_and(|expected| !expected.is_empty())
    }

    /// They are at home: what they were expected in.
    pub(crate) fn arrived(&mut self) -> Option<Box<Expected>> {
        self.expected.take()
    }

    /// A decided frame that waited, for its port: behind what its receiver brought along and may not get yet.
    pub(crate) fn late(&mut self, port: PortId, receiver: Receiver, packet: Packet, watch: &Watch) {
        if !self.is_here(port) || !self.is_shaping() {
            return self.give(port, receiver, packet, watch);
        }
        let (view, ledger) = (self.view.clone(), self.ledger.clone());
        let mut packets = Batch::new();
        packets.push(packet);
        let door = Door::new(port, receiver);
        self.deliver(&view, &ledger, door, &mut packets, watch);
    }

    /// Takes a port's slot with what waits in it.
    pub(crate) fn take_slot(&mut self, port: PortId) -> Option<Slot> {
        self.busy.retain(|&busy| busy != port);
        let mut slot = self.slots.get_mut(port.index())?.take()?;
        slot.listed = false;
        Some(slot)
    }

    /// Puts it back, or into another worker's.
    pub(crate) fn put_slot(&mut self, port: PortId, mut slot: Slot) {
        if !slot.is_empty() {
            slot.list(port, &mut self.busy);
        }
        if let Some(place) = self.slots.get_mut(port.index()) {
            *place = Some(slot);
        }
    }

    /// From here on it is asked whether what was given to uplinks up to now has left.
    pub(crate) fn mark_uplinks(&mut self) {
        let view = self.view.clone();
        for uplink in view.uplinks.iter().flatten() {
            if let Some(Some(slot)) = self.slots.get_mut(uplink.port.index()) {
                slot.mark();
            }
        }
    }

    /// Whether it has, so many TSC cycles later.
    pub(crate) fn have_uplinks_sent(&mut self, waited: u64) -> bool {
        let (view, hz) = (self.view.clone(), self.ledger.hz());
        let mut sent = true;
        for uplink in view.uplinks.iter().flatten() {
            if let Some(Some(slot)) = self.slots.get_mut(uplink.port.index()) {
                sent &= slot.has_left(waited, hz);
            }
        }
        sent
    }

    /// Writes what waits for other workers into their rings.
    pub(crate) fn write_lanes(&mut self) {
        self.lanes.write();
    }
}
