//! What was left to a device: checksums and segments.

use super::Out;
use crate::packet::Packet;
use crate::slot::account;
use crate::unfinished;
use weir_switch::door::Door;
use weir_switch::frame::Frame;
use weir_switch::outlet::{Outlet, Receiver};
use weir_switch::segment;
use weir_tables::ids::PortId;
use weir_tables::reason::Reason;

impl Out {
    /// A packet whose checksum or whose segments the switch left to the port's device: it is told, or, if it is a guest that takes
    /// less than it was offered, the packet is finished after all.
    #[inline(never)]
    pub(super) fn offer_unfinished(
        &mut self,
        port: PortId,
        receiver: Receiver,
        mut packet: Packet,
    ) -> Result<(), (Reason, Packet)> {
        let offloads = self.view.port(port).map(|port| port.offloads);
        let Some(Some(slot)) = self.slots.get_mut(port.index()) else {
            return Err((Reason::PortClosed, packet));
        };
        let takes = slot.tx.offloads(offloads.unwrap_or_default());
        // What leaves by an uplink was held against its offloads before it got its outer headers.
        let taken = match receiver {
            Receiver::Vnic(_) => segment::is_taken(takes, &packet),
            Receiver::Uplink(_) => true,
        };
        if !taken {
            let (view, ledger) = (self.view.clone(), self.ledger.clone());
            let Some(cells) = account(&view, receiver) else {
                return Err((Reason::PortClosed, packet));
            };
            segment::finished(&ledger, cells, packet, self, |out, packet| {
                out.push(None, Door::new(port, receiver), packet);
            });
            return Ok(());
        }
        if !slot.has_room(&self.view, &self.ledger) {
            return Err((Reason::TxFull, packet));
        }
        slot.list(port, &mut self.busy);
        let is_whole = packet.gso().is_some();
        if let Some(request) = unfinished::request(&packet, takes) {
            packet.0.request_tx(request);
            slot.asks = true;
        }
        slot.push(receiver, packet);
        if is_whole && let Some(cells) = account(&self.view, receiver) {
            self.ledger.passed_whole(cells);
        }
        Ok(())
    }
}
