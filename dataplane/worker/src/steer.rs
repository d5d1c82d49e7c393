//! Who polls a device of many vNICs does the least for what is others': it reads whose a frame is, and hands it over.

use crate::out::Out;
use crate::packet::Packet;
use crate::tap::Watch;
use crate::worker::{Worker, batch};
use weir_switch::frame::Frame;
use weir_switch::{BATCH, Batch, steer};
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::view::{Party, View};

/// Hands frames that were received from `port` to the workers that own who they are of or for; those of this worker stay, in order.
#[inline(never)]
pub(crate) fn steer(
    view: &View,
    port: PortId,
    batch: &mut Batch<Packet>,
    out: &mut Out,
    watch: &Watch,
) {
    let Some((party, owner, pools)) = view.port(port).map(|p| (p.party, p.owner, p.pools)) else {
        return;
    };
    if matches!(party, Party::Vnic(_)) {
        return;
    }
    let own = out.worker();
    if pools && own != owner {
        end_copies(port, batch, out, watch);
    }
    if out.is_expecting() {
        hold_back(view, port, batch, out, watch);
    }
    let mut owners = [own; BATCH];
    if !steer::owners(view, port, party, batch, &mut owners) {
        part(&owners, own, port, batch, out, watch);
    }
}

/// Bursts that a worker receives from one device in a turn, at most: its other queues wait meanwhile.
const BURSTS: usize = 4;

impl Worker {
    /// What is left of a full burst when others have theirs is a small batch, and each batch has its price: in the stages, and before
    /// every port. While there is no more than half of one, and bursts are full, those behind are received, too. `own` is what is left of the
    /// first; it ends with what is still to go through the stages. How many were received.
    #[inline(never)]
    pub(crate) fn gather(&mut self, input: usize, port: PortId, own: &mut Batch<Packet>) -> usize {
        let mut behind = 0;
        for _ in 1..BURSTS {
            let input = self.inputs.get_mut(input);
            let received = input.map_or(0, |input| input.rx.rx(&mut self.burst));
            behind += received;
            let mut next = batch(&mut self.burst);
            steer(&self.view, port, &mut next, &mut self.out, &self.watch);
            if own.len() + next.len() > BATCH {
                self.through(port, own);
            }
            own.extend(next);
            if received < BATCH || own.len() > BATCH / 2 {
                break;
            }
        }
        behind
    }
}

/// Ends copies of what the device gave to every pool: the owner of the port has it, too.
#[cold]
#[inline(never)]
fn end_copies(port: PortId, batch: &mut Batch<Packet>, out: &mut Out, watch: &Watch) {
    for packet in std::mem::take(batch) {
        match packet.head().first() {
            Some(first) if first & 1 != 0 => {
                out.end_received(port, Reason::PoolCopy, packet, watch);
            }
            _ => batch.push(packet),
        }
    }
}

/// Parts a batch among its owners.
#[inline(never)]
fn part(
    owners: &[WorkerId; BATCH],
    own: WorkerId,
    port: PortId,
    batch: &mut Batch<Packet>,
    out: &mut Out,
    watch: &Watch,
) {
    let mut steered = 0;
    for (packet, &owner) in std::mem::take(batch).into_iter().zip(owners) {
        if owner == own {
            batch.push(packet);
        } else {
            steered += u64::from(out.steer(owner, port, packet, watch));
        }
    }
    out.steered(steered);
}

/// Has frames wait that were received from `port` and are of or for vNICs that are on their way to this worker; the others stay, in order.
#[cold]
#[inline(never)]
pub(crate) fn hold_back(
    view: &View,
    port: PortId,
    batch: &mut Batch<Packet>,
    out: &mut Out,
    watch: &Watch,
) {
    let Some(party) = view.port(port).map(|port| port.party) else {
        return;
    };
    for packet in std::mem::take(batch) {
        match steer::mac(view, port, party, &packet) {
            Some(mac) if out.expects(mac) => out.have_wait(port, packet, watch),
            _ => batch.push(packet),
        }
    }
}
