//! What comes from another worker: a batch out of its ring, in runs of one kind.

use crate::lanes::Handoff;
use crate::packet::Packet;
use std::iter::Peekable;
use weir_switch::outlet::Receiver;
use weir_switch::{BATCH, Batch};
use weir_tables::ids::PortId;

/// Frames that follow each other and go the same way.
pub(crate) struct Run {
    /// As in [`Handoff`].
    pub(crate) port: PortId,
    /// As in [`Handoff`].
    pub(crate) receiver: Option<Receiver>,
    pub(crate) packets: Batch<Packet>,
}

/// Takes a batch out of a ring, or what is there.
#[inline]
pub(crate) fn take(ring: &mut rtrb::Consumer<Handoff>, taken: &mut Batch<Handoff>) {
    let waiting = ring.slots().min(BATCH);
    if waiting == 0 {
        return;
    }
    let Ok(chunk) = ring.read_chunk(waiting) else {
        return;
    };
    taken.extend(chunk);
    // Another core had these lines: all of them are asked for before the first is waited for. A descriptor is
    // written here, and its second line is looked at when it is freed.
    for handoff in taken.iter() {
        rte::prefetch_mbuf_for_write(&handoff.packet.0);
    }
    for handoff in taken.iter() {
        rte::prefetch_head(&handoff.packet.0);
    }
}

/// The next run.
#[inline]
pub(crate) fn run(taken: &mut Peekable<impl Iterator<Item = Handoff>>) -> Option<Run> {
    let first = taken.next()?;
    let (port, receiver) = (first.port, first.receiver);
    let mut packets = Batch::new();
    packets.push(first.packet);
    let is_next = |next: &Handoff| next.port == port && next.receiver == receiver;
    while let Some(next) = taken.next_if(is_next) {
        packets.push(next.packet);
    }
    Some(Run {
        port,
        receiver,
        packets,
    })
}
