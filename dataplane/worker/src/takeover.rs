//! What comes from another worker: a batch out of its ring, in runs of one kind.

use crate::lanes::Handoff;
use crate::packet::Packet;
use weir_switch::outlet::Receiver;
use weir_switch::{BATCH, Batch};
use weir_tables::ids::PortId;

/// The ring from one other worker.
pub(crate) struct Takeover {
    ring: rtrb::Consumer<Handoff>,
    /// How many of those in front have had their lines asked for.
    asked: usize,
}

/// Frames that follow each other and go the same way.
pub(crate) struct Run {
    /// As in [`Handoff`].
    pub(crate) port: PortId,
    /// As in [`Handoff`].
    pub(crate) receiver: Option<Receiver>,
    pub(crate) packets: Batch<Packet>,
}

impl Takeover {
    /// Of this ring.
    pub(crate) fn new(ring: rtrb::Consumer<Handoff>) -> Takeover {
        Takeover { ring, asked: 0 }
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// How many frames are in it.
    pub(crate) fn len(&self) -> usize {
        self.ring.slots()
    }

    /// How many frames there are to take now, a batch at most. Their lines are in another core's caches: those of this batch and of the one
    /// behind it are asked for, each once, before any is waited for.
    #[inline]
    pub(crate) fn look(&mut self) -> usize {
        // The writer's end is a line of the writer's: it is asked for when what is known does not do.
        let mut known = self.ring.cached_slots();
        if known < 2 * BATCH {
            known = self.ring.slots();
        }
        let near = known.min(2 * BATCH);
        if self.asked < near
            && let Ok(chunk) = self.ring.read_chunk(near)
        {
            let (front, back) = chunk.as_slices();
            for handoff in front.iter().chain(back).skip(self.asked) {
                rte::prefetch_received(&handoff.packet.0);
            }
            self.asked = near;
        }
        known.min(BATCH)
    }

    /// Takes the next run, of so many frames at most.
    #[inline]
    pub(crate) fn run(&mut self, most: usize) -> Option<Run> {
        let chunk = self.ring.read_chunk(most).ok()?;
        let (front, back) = chunk.as_slices();
        let &Handoff { port, receiver, .. } = front.first()?;
        let all = front.iter().chain(back);
        let same = all.take_while(|next| next.port == port && next.receiver == receiver);
        let same = same.count();
        let packets = chunk.into_iter().take(same).map(|next| next.packet);
        let packets: Batch<Packet> = packets.collect();
        self.asked = self.asked.saturating_sub(same);
        Some(Run {
            port,
            receiver,
            packets,
        })
    }
}
