//! Frames on their way to other workers: a ring to each, written a batch at a time.
//!
//! A ring's two ends are one cache line that both cores want; written once a batch it changes hands once a batch. What is for a ring waits
//! here until there are 32 or the turn ends. A ring that is full is the reason `handoff_full`, never a wait.

use crate::packet::Packet;
use crate::sleeper::Sleeper;
use arrayvec::ArrayVec;
use std::sync::Arc;
use weir_switch::BATCH;
use weir_switch::outlet::Receiver;
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::reason::Reason;

/// A frame on its way to another worker.
pub struct Handoff {
    /// The frame.
    pub packet: Packet,
    /// Where it is to go, or, as long as no stage has seen it, where it came from.
    pub port: PortId,
    /// On whose account it leaves by that port; `None`: it was received there, and its owner takes it through the stages.
    pub receiver: Option<Receiver>,
}

/// The way to one other worker.
struct Lane {
    /// Whom what is written may have to wake.
    reader: Arc<Sleeper>,
    ring: rtrb::Producer<Handoff>,
    waiting: ArrayVec<Handoff, BATCH>,
    /// How many more may wait: as many as the ring had room for when it was last looked at, less those that have come since.
    room: usize,
}

/// The ways to all other workers.
pub(crate) struct Lanes {
    /// By worker; `None` for itself.
    lanes: Vec<Option<Lane>>,
    /// Those in which something waits.
    busy: Vec<WorkerId>,
}

impl Lanes {
    /// By such rings, by worker; `None` for itself. `readers`: all workers.
    pub(crate) fn new(
        rings: Vec<Option<rtrb::Producer<Handoff>>>,
        readers: Vec<Arc<Sleeper>>,
    ) -> Lanes {
        let lane = |ring, reader| Lane {
            reader,
            ring,
            waiting: ArrayVec::new(),
            room: 0,
        };
        let ends = rings.into_iter().zip(readers);
        let lanes = ends.map(|(ring, reader)| ring.map(|ring| lane(ring, reader)));
        let lanes: Vec<Option<Lane>> = lanes.collect();
        Lanes {
            busy: Vec::with_capacity(lanes.len()),
            lanes,
        }
    }

    /// Puts a frame on its way; gives it back with the reason if the ring is full, or there is none.
    #[inline]
    pub(crate) fn add(&mut self, to: WorkerId, handoff: Handoff) -> Result<(), (Reason, Handoff)> {
        let Some(Some(lane)) = self.lanes.get_mut(to.index()) else {
            return Err((Reason::PortClosed, handoff));
        };
        if lane.room == 0 {
            lane.room = lane.ring.slots().saturating_sub(lane.waiting.len());
        }
        if lane.room == 0 {
            return Err((Reason::HandoffFull, handoff));
        }
        if lane.waiting.is_full() {
            lane.write();
        } else if lane.waiting.is_empty() {
            self.busy.push(to);
        }
        lane.room -= 1;
        lane.waiting.push(handoff);
        Ok(())
    }

    /// How many frames would be taken now.
    pub(crate) fn room(&mut self, to: WorkerId) -> usize {
        let Some(Some(lane)) = self.lanes.get_mut(to.index()) else {
            return 0;
        };
        lane.room = lane.ring.slots().saturating_sub(lane.waiting.len());
        lane.room
    }

    /// Writes everything that waits into the rings.
    #[inline]
    pub(crate) fn write(&mut self) {
        for to in self.busy.drain(..) {
            if let Some(Some(lane)) = self.lanes.get_mut(to.index()) {
                lane.write();
            }
        }
    }
}

impl Lane {
    fn write(&mut self) {
        // Nobody else writes into it, so there is the room that was asked for.
        if let Ok(chunk) = self.ring.write_chunk_uninit(self.waiting.len()) {
            chunk.fill_from_iter(self.waiting.drain(..));
        }
        self.reader.wake();
    }
}
