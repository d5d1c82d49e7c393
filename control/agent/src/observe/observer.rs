//! One observer: what its rings hold becomes pcapng or lines of JSON, and goes to its client in pieces.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use weir_switch::recorder::Note;
use weir_switch::watch::Who;
use weir_tables::counters::Counter;
use weir_tables::ids::WorkerId;
use weir_worker::tap::{CHUNK, Entry, Head};

use super::WAITING;
use super::ask::{PacketTrace, Summary};
use super::capture::Capture;
use super::steps::Item;
use crate::state::State;

/// One worker's end of an observer.
pub(super) struct End {
    pub(super) worker: WorkerId,
    pub(super) ring: rtrb::Consumer<Entry>,
    pub(super) lost: Arc<Counter>,
}

/// What an observer makes of what it sees.
pub(super) enum Use {
    Capture(Box<Capture>),
    /// Packets being followed, by worker and number, with when they came.
    Trace(HashMap<(WorkerId, u32), (u64, Vec<Item>)>),
}

pub(super) struct Observer {
    pub(super) id: u32,
    pub(super) ends: Vec<End>,
    pub(super) pieces: mpsc::Sender<Vec<u8>>,
    pub(super) waiting: Vec<u8>,
    pub(super) until: Option<Instant>,
    pub(super) left: u64,
    pub(super) who: Option<Who>,
    pub(super) use_: Use,
    pub(super) summary: Summary,
    /// No tap any more: only what waits is still to be given.
    pub(super) ended: bool,
}

/// What is read from a ring at once.
pub(super) enum Read {
    Packet(Head, Vec<u8>),
    Other(Entry),
}

/// The next packet with its bytes, or the next entry of another kind; `None` if the worker has not written it whole.
pub(super) fn read(ring: &mut rtrb::Consumer<Entry>) -> Option<Read> {
    let chunks = match ring.peek() {
        Ok(Entry::Frame(head)) => head.chunks(),
        Ok(_) => return ring.pop().ok().map(Read::Other),
        Err(_) => return None,
    };
    if ring.slots() <= chunks {
        return None;
    }
    let Ok(Entry::Frame(head)) = ring.pop() else {
        return None;
    };
    let mut bytes = Vec::with_capacity(chunks * CHUNK);
    for _ in 0..chunks {
        if let Ok(Entry::Bytes(chunk)) = ring.pop() {
            bytes.extend(chunk);
        }
    }
    bytes.truncate(head.kept as usize);
    Some(Read::Packet(head, bytes))
}

impl Observer {
    pub(super) fn lost(&self) -> u64 {
        self.ends.iter().map(|end| end.lost.get()).sum()
    }

    pub(super) fn take(&mut self, state: &State, worker: WorkerId, read: Read, clock: &Clock) {
        // Asked for no more than this.
        if self.left == 0 {
            return;
        }
        let lost = self.lost() + self.summary.lost;
        match (&mut self.use_, read) {
            (Use::Capture(capture), Read::Packet(head, bytes)) => {
                if self.waiting.len() >= WAITING {
                    self.summary.lost += 1;
                    return;
                }
                let name = state.who_name(head.who);
                match capture.packet(&head, name, clock.wall(head.tsc), &bytes) {
                    Ok(()) => {
                        self.summary.packets += 1;
                        self.left -= 1;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a packet cannot be captured");
                        self.summary.lost += 1;
                    }
                }
                self.waiting.append(&mut capture.take());
            }
            (Use::Trace(open), Read::Packet(head, bytes)) => {
                let note = Note::Seen {
                    point: head.point,
                    who: head.who,
                    reason: head.reason,
                    bytes,
                };
                let packet = open.entry((worker, head.packet)).or_default();
                packet.0 = head.tsc;
                packet.1.push((note, u64::from(head.length)));
            }
            (Use::Trace(open), Read::Other(Entry::Step(number, step))) => {
                let packet = open.entry((worker, number)).or_default();
                packet.1.push((Note::Step(step), 0));
            }
            (Use::Trace(open), Read::Other(Entry::End(number))) => {
                let Some((tsc, items)) = open.remove(&(worker, number)) else {
                    return;
                };
                let trace = PacketTrace {
                    core: Some(state.crew.core(worker)),
                    time_ns: u64::try_from(clock.wall(tsc).as_nanos()).ok(),
                    lost,
                    ..state.packet_trace(&items)
                };
                self.line(&trace);
            }
            _ => {}
        }
    }

    /// A trace as a line of JSON.
    fn line(&mut self, trace: &PacketTrace) {
        if self.waiting.len() >= WAITING {
            self.summary.lost += 1;
            return;
        }
        match serde_json::to_writer(&mut self.waiting, trace) {
            Ok(()) => {
                self.waiting.push(b'\n');
                self.summary.packets += 1;
                self.left -= 1;
            }
            Err(error) => tracing::warn!(%error, "a trace cannot be written"),
        }
    }

    /// Gives the client what waits, if it has room.
    pub(super) fn flush(&mut self) {
        if let Use::Capture(capture) = &mut self.use_ {
            self.waiting.append(&mut capture.take());
        }
        if self.waiting.is_empty() {
            return;
        }
        match self.pieces.try_send(std::mem::take(&mut self.waiting)) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(piece)) => self.waiting = piece,
        }
    }

    /// Whether the client is there and has not got everything.
    pub(super) fn still_gives(&self) -> bool {
        !self.waiting.is_empty() && !self.pieces.is_closed()
    }
}

pub(super) fn since_epoch() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}

/// What time it is by both clocks: that of the workers and that of the wall.
pub(super) struct Clock {
    tsc: u64,
    wall: Duration,
    hz: u64,
}

impl Clock {
    pub(super) fn now() -> Clock {
        Clock {
            tsc: rte::clock::tsc(),
            wall: since_epoch(),
            hz: rte::clock::hz().max(1),
        }
    }

    /// The time of day of a moment not long ago, since 1970.
    fn wall(&self, tsc: u64) -> Duration {
        let ago = u128::from(self.tsc.saturating_sub(tsc)) * 1_000_000_000 / u128::from(self.hz);
        let ago = Duration::from_nanos(u64::try_from(ago).unwrap_or(u64::MAX));
        self.wall.saturating_sub(ago)
    }
}
