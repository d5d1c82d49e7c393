//! What a worker hands to others, and takes from them.

use super::Out;
use crate::lanes::Handoff;
use crate::packet::Packet;
use crate::tap::Watch;
use weir_switch::door::Door;
use weir_switch::frame::{Frame, total};
use weir_switch::ledger::Ledger;
use weir_switch::outlet::{Outlet, Receiver};
use weir_switch::watch::{Point, Seen, Watched, Who};
use weir_switch::{Batch, leave};
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::view::{Party, View};

/// Bytes of a VLAN tag.
const TAG: u8 = 4;

impl Out {
    /// Frames that another worker decided on. Who sends was heard there; what the receiver may get is asked here.
    #[inline]
    pub(crate) fn accept(
        &mut self,
        view: &View,
        ledger: &Ledger,
        port: PortId,
        receiver: Receiver,
        packets: &mut Batch<Packet>,
        watch: &Watch,
    ) {
        self.ledger.cells().handoff_in.add(packets.len() as u64);
        let is_here = matches!(self.slots.get(port.index()), Some(Some(_)));
        if is_here && self.is_shaping() {
            let door = Door::new(port, receiver);
            return self.deliver(view, ledger, door, packets, watch);
        }
        if is_here && !watch.is_on() && !packets.iter().any(Frame::is_unfinished) {
            let bytes = total(packets);
            return self.push_all(None, Door::new(port, receiver), bytes, packets);
        }
        for packet in packets.drain(..) {
            let taken = match is_here {
                true => self.offer(port, receiver, packet),
                false => self.early(port, receiver, packet, Reason::PortClosed),
            };
            if let Err((reason, packet)) = taken {
                watch.refused(receiver, reason, &packet);
                self.refuse(receiver, reason, packet);
            }
        }
    }

    /// The same of frames that may have to wait for what their receiver may get.
    #[inline(never)]
    pub(super) fn deliver(
        &mut self,
        view: &View,
        ledger: &Ledger,
        door: Door,
        packets: &mut Batch<Packet>,
        watch: &Watch,
    ) {
        // What a vNIC receives is counted without the tag that it bears on a trunk.
        let door = match door.receiver() {
            Receiver::Vnic(id) if view.vnic(id).is_some_and(|vnic| vnic.vlan.is_some()) => {
                door.behind(TAG)
            }
            _ => door,
        };
        if !watch.is_on() {
            for packet in packets.drain(..) {
                leave::deliver(view, ledger, door, packet, self);
            }
            return;
        }
        watch.begin(rte::clock::tsc());
        for (place, packet) in (0..).zip(packets.drain(..)) {
            let mut out = Watched::new(self, watch);
            let seen = Seen::new(packet, watch, place);
            leave::deliver(view, ledger, door, seen, &mut out);
        }
        watch.end();
    }

    /// A frame for a port that is another worker's.
    #[inline(never)]
    pub(super) fn hand_off(
        &mut self,
        port: PortId,
        receiver: Receiver,
        packet: Packet,
    ) -> Result<(), (Reason, Packet)> {
        let Some(owner) = self.view.port(port).map(|port| port.owner) else {
            return Err((Reason::PortClosed, packet));
        };
        match self.lanes.to(owner) {
            Ok(lane) => {
                lane.add(Handoff {
                    packet,
                    port,
                    receiver: Some(receiver),
                });
                self.ledger.cells().handoff_out.add(1);
                Ok(())
            }
            Err(reason) => self.early(port, receiver, packet, reason),
        }
    }

    /// Hands a frame that was received from a port, and that no stage has seen, to the worker that will take it through them. Whether it is
    /// on its way, which [`Out::steered`] counts.
    #[inline]
    pub(crate) fn steer(
        &mut self,
        to: WorkerId,
        port: PortId,
        packet: Packet,
        watch: &Watch,
    ) -> bool {
        match self.lanes.to(to) {
            Ok(lane) => {
                lane.add(Handoff {
                    packet,
                    port,
                    receiver: None,
                });
                true
            }
            Err(reason) => {
                self.end_received(port, reason, packet, watch);
                false
            }
        }
    }

    /// Counts frames that are on their way to other workers, which no stage has seen.
    #[inline(always)]
    pub(crate) fn steered(&self, packets: u64) {
        self.ledger.cells().steered_out.add(packets);
    }

    /// A frame that was received and ends at once.
    #[cold]
    #[inline(never)]
    pub(crate) fn end_received(
        &mut self,
        port: PortId,
        reason: Reason,
        packet: Packet,
        watch: &Watch,
    ) {
        let uplink = match self.view.port(port).map(|port| port.party) {
            Some(Party::Uplink(id)) => self.view.uplink(id),
            _ => None,
        };
        let who = uplink.map_or(Who::Nobody, |uplink| Who::Uplink(uplink.id));
        watch.alone(Point::Drop, who, Some(reason), &packet);
        let cells = uplink.map(|uplink| &uplink.cells);
        match cells {
            Some(cells) => self.ledger.received(cells, 1, packet.len() as u64),
            None => self.ledger.cells().received.add(1),
        }
        self.ledger.dropped(cells, reason, packet);
    }
}
