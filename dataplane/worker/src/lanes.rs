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
pub(crate) struct Lane<T = Handoff> {
    /// Whom what is written may have to wake.
    reader: Arc<Sleeper>,
    ring: rtrb::Producer<T>,
    waiting: ArrayVec<T, BATCH>,
    /// How many more may wait: as many as the ring had room for when it was last looked at, less those that have come since.
    room: usize,
    /// The turn in which that was, and how many were refused since.
    looked: u32,
    refused: usize,
}

/// The ways to all other workers.
pub(crate) struct Lanes<T = Handoff> {
    /// By worker; `None` for itself.
    lanes: Vec<Option<Lane<T>>>,
    /// Those in which something waits.
    busy: Vec<WorkerId>,
    /// Counts what is written at once.
    turn: u32,
}

impl<T> Lanes<T> {
    /// By such rings, by worker; `None` for itself. `readers`: all workers.
    pub(crate) fn new(
        rings: Vec<Option<rtrb::Producer<T>>>,
        readers: Vec<Arc<Sleeper>>,
    ) -> Lanes<T> {
        let lane = |ring, reader| Lane {
            reader,
            ring,
            waiting: ArrayVec::new(),
            room: 0,
            looked: u32::MAX,
            refused: 0,
        };
        let ends = rings.into_iter().zip(readers);
        let lanes = ends.map(|(ring, reader)| ring.map(|ring| lane(ring, reader)));
        let lanes: Vec<Option<Lane<T>>> = lanes.collect();
        Lanes {
            busy: Vec::with_capacity(lanes.len()),
            lanes,
            turn: 0,
        }
    }

    /// The way to a worker, on which there is room for one frame more; else why there is none.
    #[inline]
    pub(crate) fn to(&mut self, to: WorkerId) -> Result<&mut Lane<T>, Reason> {
        let Some(Some(lane)) = self.lanes.get_mut(to.index()) else {
            return Err(Reason::PortClosed);
        };
        if lane.room == 0 && !lane.look_again(self.turn) {
            return Err(Reason::HandoffFull);
        }
        if lane.waiting.is_empty() {
            self.busy.push(to);
        }
        Ok(lane)
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
        self.turn = self.turn.wrapping_add(1);
        for to in self.busy.drain(..) {
            if let Some(Some(lane)) = self.lanes.get_mut(to.index()) {
                lane.write();
            }
        }
    }
}

impl<T> Lane<T> {
    /// Puts a frame on its way. [`Lanes::to`] said that there is room.
    #[inline(always)]
    pub(crate) fn add(&mut self, frame: T) {
        if self.waiting.is_full() {
            self.write();
        }
        self.room = self.room.saturating_sub(1);
        self.waiting.push(frame);
    }

    /// Looks how much room the ring has; whether there is any. The reader's end is a line of the reader's, and to ask for it once a frame
    /// would slow down both when they have least time: once a turn it is asked, and again behind a batch of refusals.
    #[cold]
    #[inline(never)]
    fn look_again(&mut self, turn: u32) -> bool {
        if self.looked == turn && self.refused < BATCH {
            self.refused += 1;
            return false;
        }
        (self.looked, self.refused) = (turn, 0);
        self.room = self.ring.slots().saturating_sub(self.waiting.len());
        self.room > 0
    }

    fn write(&mut self) {
        // Nobody else writes into it, so there is the room that was asked for.
        if let Ok(chunk) = self.ring.write_chunk_uninit(self.waiting.len()) {
            chunk.fill_from_iter(self.waiting.drain(..));
        }
        self.reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: WorkerId = WorkerId(1);

    /// Lanes of a worker with one other, and the other's end of a ring of so many.
    fn lanes(capacity: usize) -> (Lanes<usize>, rtrb::Consumer<usize>) {
        let (producer, consumer) = rtrb::RingBuffer::new(capacity);
        let sleepers = vec![Arc::default(), Arc::default()];
        (Lanes::new(vec![None, Some(producer)], sleepers), consumer)
    }

    /// Puts so many on their way, one after the other; how many were taken.
    fn put(lanes: &mut Lanes<usize>, count: usize) -> usize {
        let take = |n: &usize| lanes.to(OTHER).map(|lane| lane.add(*n)).is_ok();
        (0..count).filter(take).count()
    }

    #[test]
    fn a_ring_has_as_many_as_it_holds_and_the_order_is_kept() {
        let (mut lanes, mut other) = lanes(100);
        assert_eq!(put(&mut lanes, 150), 100);
        lanes.write();
        let got: Vec<usize> = std::iter::from_fn(|| other.pop().ok()).collect();
        assert_eq!(got, (0..100).collect::<Vec<_>>());
        assert_eq!(lanes.to(WorkerId(0)).err(), Some(Reason::PortClosed));
        assert_eq!(lanes.to(WorkerId(2)).err(), Some(Reason::PortClosed));
    }

    #[test]
    fn a_ring_that_was_full_is_looked_at_again_in_the_next_turn_or_behind_a_batch_of_refusals() {
        let (mut lanes, mut other) = lanes(64);
        assert_eq!(put(&mut lanes, 65), 64);
        lanes.write();
        // Full still: this turn's look says so.
        assert_eq!(lanes.to(OTHER).err(), Some(Reason::HandoffFull));
        other.pop().expect("the first");
        assert_eq!(put(&mut lanes, 1), 0, "not asked for each");
        lanes.write();
        assert_eq!(put(&mut lanes, 1), 1, "the next turn's look");
        lanes.write();
        // In a turn that lasts.
        assert_eq!(put(&mut lanes, 1), 0);
        while other.pop().is_ok() {}
        assert_eq!(put(&mut lanes, BATCH), 0);
        assert_eq!(put(&mut lanes, 1), 1);
        lanes.write();
        assert_eq!(other.slots(), 1);
    }
}
