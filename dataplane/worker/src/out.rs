//! The way out of a worker: a short buffer before each transmit queue it owns, `lanes` to the other workers.
//!
//! What a device does not take stays owned, waits in the buffer and is offered again next turn; when the
//! buffer is full the newest packet is dropped as `tx_full`, and so is all of it when a VM has taken nothing for a second. Nothing spins.

mod expected;
mod hand_offs;
mod left_to_device;

use crate::device::Tx;
use crate::lanes::Lanes;
use crate::moves::Expected;
use crate::packet::Packet;
use crate::slot::{Slot, account};
use crate::tap::Watch;
use rte::Pool;
use std::sync::Arc;
use weir_switch::Batch;
use weir_switch::door::Door;
use weir_switch::frame::Frame;
use weir_switch::held::Held;
use weir_switch::leave::{self, Shaper, Wait};
use weir_switch::ledger::Ledger;
use weir_switch::outlet::{Event, Outlet, Receiver};
use weir_switch::shape::LinkState;
use weir_switch::watch::Point;
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, UplinkId, VnicId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::view::View;

/// A worker's way out.
pub struct Out {
    pub(crate) view: Arc<View>,
    ledger: Ledger,
    pool: Pool,
    slots: Vec<Option<Slot>>,
    /// Ports with something waiting, each once.
    busy: Vec<PortId>,
    lanes: Lanes,
    events: rtrb::Producer<Event>,
    held: Held<Packet>,
    /// vNICs that are on their way to this worker.
    expected: Option<Box<Expected>>,
    shaper: Shaper<Packet>,
    /// Uplinks of which the shaper knows something.
    links: usize,
}

/// Ports a worker can know: what fits in DPDK's 32 and as many vhost-user sockets as anyone has.
const PORTS: usize = 4096;

impl Out {
    /// A way out with no queue yet.
    pub(crate) fn new(
        view: Arc<View>,
        ledger: Ledger,
        pool: Pool,
        lanes: Lanes,
        events: rtrb::Producer<Event>,
        held: Held<Packet>,
        mut shaper: Shaper<Packet>,
    ) -> Self {
        leave::adopt(&mut shaper, None, &view, ledger.now());
        Out {
            view,
            ledger,
            pool,
            slots: (0..PORTS).map(|_| None).collect(),
            busy: Vec::with_capacity(PORTS),
            lanes,
            events,
            held,
            expected: None,
            shaper,
            links: 0,
        }
    }

    /// Gives an uplink's state in the shaper; the one before comes back.
    pub(crate) fn set_link(
        &mut self,
        uplink: UplinkId,
        link: Option<Box<LinkState>>,
    ) -> Option<Box<LinkState>> {
        let comes = usize::from(link.is_some());
        let old = self.shaper.set_link(uplink, link, self.ledger.now());
        self.links = (self.links + comes).saturating_sub(usize::from(old.is_some()));
        old
    }

    /// From now on what this says.
    pub(crate) fn adopt(&mut self, view: &Arc<View>) {
        let now = self.ledger.now();
        leave::adopt(&mut self.shaper, Some(&self.view), view, now);
        self.view = view.clone();
    }

    /// Whose way out it is.
    #[inline(always)]
    pub(crate) fn worker(&self) -> WorkerId {
        self.ledger.worker()
    }

    /// Takes a transmit queue; gives it back if the port's index is out of range.
    pub(crate) fn add(&mut self, port: PortId, tx: Tx) -> Result<(), Tx> {
        match self.slots.get_mut(port.index()) {
            Some(slot @ None) => {
                *slot = Some(Slot::new(tx));
                Ok(())
            }
            _ => Err(tx),
        }
    }

    /// Gives a port's transmit queue back. What waits is offered once more, then dropped as `port_closed`.
    pub(crate) fn remove(&mut self, port: PortId, watch: &Watch) -> Option<Tx> {
        let mut slot = self.slots.get_mut(port.index())?.take()?;
        slot.flush(&self.view, &self.ledger);
        slot.drop_all(Reason::PortClosed, &self.view, &self.ledger, watch);
        self.busy.retain(|&busy| busy != port);
        self.note_queued();
        Some(slot.tx)
    }

    /// Drops what waits for a vNIC, as `port_closed`; the rest waits on in its order.
    pub(crate) fn forget(&mut self, vnic: VnicId, watch: &Watch) {
        for port in &self.busy {
            let Some(Some(slot)) = self.slots.get_mut(port.index()) else {
                continue;
            };
            for (receiver, packet) in slot.take() {
                if receiver == Receiver::Vnic(vnic) {
                    watch.refused(receiver, Reason::PortClosed, &packet);
                    self.ledger.dropped(None, Reason::PortClosed, packet);
                } else {
                    slot.push(receiver, packet);
                }
            }
        }
        self.busy.retain(|port| {
            let slot = self.slots.get_mut(port.index()).and_then(Option::as_mut);
            slot.is_some_and(|slot| {
                slot.listed = !slot.is_empty();
                slot.listed
            })
        });
        self.note_queued();
    }

    /// Ports that this worker has a transmit queue for.
    pub(crate) fn ports(&self) -> Vec<PortId> {
        (0..PORTS)
            .filter(|&i| self.slots.get(i).is_some_and(Option::is_some))
            .map(|i| PortId(i as u16))
            .collect()
    }

    /// Offers everything that waits to its device; how many packets left.
    #[inline]
    pub(crate) fn flush(&mut self, watch: &Watch) -> usize {
        self.lanes.write();
        let mut left = 0;
        let mut i = 0;
        while let Some(&port) = self.busy.get(i) {
            let Some(Some(slot)) = self.slots.get_mut(port.index()) else {
                self.busy.swap_remove(i);
                continue;
            };
            left += slot.flush(&self.view, &self.ledger);
            if slot.is_left(&self.ledger) {
                slot.drop_all(Reason::TxFull, &self.view, &self.ledger, watch);
            }
            if slot.is_empty() {
                slot.listed = false;
                self.busy.swap_remove(i);
            } else {
                i += 1;
            }
        }
        self.note_queued();
        left
    }

    /// When something of its own is to be looked at, in TSC cycles: who waits for the store.
    pub(crate) fn due(&self) -> u64 {
        self.held.due()
    }

    /// Whether nothing waits.
    pub(crate) fn is_drained(&self) -> bool {
        self.busy.is_empty() && self.shaper.queued() == 0
    }

    /// Whether nothing waits for bandwidth.
    pub(crate) fn has_nothing_queued(&self) -> bool {
        self.shaper.queued() == 0
    }

    fn note_queued(&self) {
        let queued = self
            .busy
            .iter()
            .filter_map(|port| self.slots.get(port.index())?.as_ref())
            .map(|slot| slot.len() as u64)
            .sum::<u64>();
        let expected = self.expected.as_deref().map_or(0, Expected::decided);
        self.ledger.cells().queued.set(queued + expected as u64);
    }

    /// A packet of the switch's own making.
    pub(crate) fn generate(
        &mut self,
        port: PortId,
        receiver: Receiver,
        bytes: &[u8],
        watch: &Watch,
    ) {
        self.ledger.cells().generated.add(1);
        let packet = self.pool.alloc().and_then(|mut mbuf| {
            mbuf.append(bytes.len())?.copy_from_slice(bytes);
            Some(Packet(mbuf))
        });
        match packet {
            Some(mut packet) => {
                let door = Door::new(port, receiver);
                let door = leave::bear_own(&self.view, door, &mut packet);
                watch.alone(Point::UplinkTx, receiver.into(), None, &packet);
                self.give(door.port(), receiver, packet, watch);
            }
            None => {
                let account = account(&self.view, receiver);
                self.ledger
                    .lost(account, Reason::PoolEmpty, bytes.len() as u64);
            }
        }
    }

    /// A packet that is in no batch, for a port.
    fn give(&mut self, port: PortId, receiver: Receiver, packet: Packet, watch: &Watch) {
        if let Err((reason, packet)) = self.offer(port, receiver, packet) {
            watch.refused(receiver, reason, &packet);
            self.refuse(receiver, reason, packet);
        }
    }

    /// Frames of one receiver for a port before which so many wait that there is no room for all, or which is another worker's.
    #[inline(never)]
    fn push_behind(&mut self, from: Option<VnicId>, door: Door, packets: &mut Batch<Packet>) {
        for packet in packets.drain(..) {
            self.push(from, door, packet);
        }
    }
}

impl Outlet for Out {
    type Frame = Packet;
    type Plain = Packet;

    #[inline(always)]
    fn offer(
        &mut self,
        port: PortId,
        receiver: Receiver,
        packet: Packet,
    ) -> Result<(), (Reason, Packet)> {
        let Some(Some(slot)) = self.slots.get_mut(port.index()) else {
            return self.hand_off(port, receiver, packet);
        };
        if packet.is_unfinished() {
            return self.offer_unfinished(port, receiver, packet);
        }
        if !slot.has_room(&self.view, &self.ledger) {
            return Err((Reason::TxFull, packet));
        }
        slot.list(port, &mut self.busy);
        slot.push(receiver, packet);
        Ok(())
    }

    #[inline(always)]
    fn push_all(
        &mut self,
        from: Option<VnicId>,
        door: Door,
        bytes: usize,
        packets: &mut Batch<Packet>,
    ) {
        let (port, receiver) = (door.port(), door.receiver());
        if let Some(Some(slot)) = self.slots.get_mut(port.index())
            && slot.has_room_for(packets.len(), &self.view, &self.ledger)
        {
            slot.list(port, &mut self.busy);
            return slot.push_all(receiver, bytes, packets);
        }
        self.push_behind(from, door, packets);
    }

    #[cold]
    fn refuse(&mut self, receiver: Receiver, reason: Reason, packet: Packet) {
        self.ledger
            .dropped(account(&self.view, receiver), reason, packet);
    }

    fn copy(&mut self, packet: &Packet) -> Option<Packet> {
        packet.0.copy(&self.pool).map(Packet)
    }

    fn part(
        &mut self,
        packet: &Packet,
        front: &[u8],
        start: usize,
        length: usize,
    ) -> Option<Packet> {
        let part = packet.0.copy_part(&self.pool, front, start, length);
        part.map(Packet)
    }

    fn tell(&mut self, event: Event) {
        // A full ring loses the news; whoever answers ARP is asked again, and so is the store.
        let _ = self.events.push(event);
    }

    #[inline(always)]
    fn held(&mut self) -> &mut Held<Packet> {
        &mut self.held
    }

    fn hold(&mut self, to: Destination, from: VnicId, frame: Packet) -> Result<(), Packet> {
        self.held.add(to, from, frame)
    }

    #[inline(always)]
    fn is_shaping(&self) -> bool {
        self.links != 0 || !self.shaper.is_off()
    }

    #[inline(always)]
    fn is_here(&self, port: PortId) -> bool {
        matches!(self.slots.get(port.index()), Some(Some(_)))
    }

    #[inline(always)]
    fn room(&mut self, port: PortId, wanted: usize) -> usize {
        match self.slots.get_mut(port.index()) {
            Some(Some(slot)) => {
                slot.has_room_for(wanted, &self.view, &self.ledger);
                slot.room()
            }
            _ => {
                let owner = self.view.port(port).map(|port| port.owner);
                owner.map_or(0, |owner| self.lanes.room(owner))
            }
        }
    }

    #[inline(always)]
    fn shaper(&mut self) -> &mut Shaper<Packet> {
        &mut self.shaper
    }

    // Inlined, so that what it is told stays in registers: an exit that is written in parts and read as a whole waits until all that
    // was written before is in the cache, cold lines of queues among it.
    #[inline(always)]
    fn wait(&mut self, wait: Wait, packet: Packet) -> Result<(), (Reason, Packet)> {
        // Places in queues are counted by frames. Chains hold more than one mbuf each: they wait as long as half of the pool is free.
        if packet.0.segments() > 1 && self.pool.in_use() > self.pool.size() / 2 {
            return Err((Reason::QueueFull, packet));
        }
        wait.begin(&mut self.shaper, packet)
    }
}
