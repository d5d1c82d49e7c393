//! Looking at packets from outside: `weir capture` and `weir trace`. Control gives a worker a [`Tap`] with one end of a bounded
//! ring; the worker copies what the tap wants into it and never waits: what finds no room is the tap's loss, never a packet's.
//!
//! While a worker has no tap it runs the plain copy of the path, in which there is nothing of this file.

use crate::packet::Packet;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use weir_switch::BATCH;
use weir_switch::frame::Frame;
use weir_switch::outlet::Receiver;
use weir_switch::watch::{Point, Step, Who, Witness};
use weir_tables::counters::Counter;
use weir_tables::reason::Reason;

/// Taps that a worker has at once, at most.
pub const TAPS: usize = 8;
/// Bytes of a packet in one entry of a ring.
pub const CHUNK: usize = 64;
/// Bytes of a packet that a trace keeps, at most, for the case that only what is inside matches.
const BEFORE: usize = 256;
/// The place of a packet that is in no batch.
const NOWHERE: u8 = u8::MAX;

/// What a worker writes into a tap's ring. A packet is a [`Frame`](Entry::Frame) and as many [`Bytes`](Entry::Bytes) as its
/// kept bytes need.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// A packet at a point.
    Frame(Head),
    /// Its next bytes; the last ones are padded.
    Bytes([u8; CHUNK]),
    /// A stage's step about a packet.
    Step(u32, Step),
    /// No more about this packet.
    End(u32),
}

/// A packet at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The same for everything about one packet, of one worker.
    pub packet: u32,
    /// Where it is.
    pub point: Point,
    /// Whose it is there.
    pub who: Who,
    /// Why it is dropped, at [`Point::Drop`].
    pub reason: Option<Reason>,
    /// When its batch was received, in TSC cycles.
    pub tsc: u64,
    /// Its bytes.
    pub length: u32,
    /// Those that follow.
    pub kept: u32,
    /// The 802.1Q tag that the device took off, which is not among the bytes.
    pub vlan: Option<u16>,
}

impl Head {
    /// Entries of its bytes.
    pub fn chunks(&self) -> usize {
        (self.kept as usize).div_ceil(CHUNK)
    }
}

/// What a tap wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Points, as bits `1 << point`.
    pub points: u16,
    /// Only what is this one's, or came from it.
    pub who: Option<Who>,
    /// Only what this takes; shared by all workers.
    pub filter: Option<Arc<rte::Filter>>,
    /// Bytes of a packet that are kept, at most.
    pub snap: u32,
    /// Follow packets from where they come in: the steps of so many, at most.
    pub follow: Option<u32>,
}

/// One observer's end at one worker.
pub struct Tap {
    /// The observer.
    pub id: u32,
    wish: Wish,
    ring: RefCell<rtrb::Producer<Entry>>,
    /// Packets and steps that found no room.
    lost: Arc<Counter>,
    /// Packets that may still be followed.
    left: Cell<u32>,
    /// Places of this batch that are followed, as bits.
    followed: Cell<u32>,
    /// What a packet from an uplink was before its outer headers came off, by place; only where packets are followed.
    before: RefCell<Vec<Before>>,
}

/// A packet as it came in, in case that what is inside is wanted.
struct Before {
    head: Option<Head>,
    bytes: [u8; BEFORE],
    step: Option<Step>,
}

impl Tap {
    /// A tap that writes into `ring` and counts in `lost`.
    pub fn new(id: u32, wish: Wish, ring: rtrb::Producer<Entry>, lost: Arc<Counter>) -> Self {
        let places = if wish.follow.is_some() { BATCH } else { 0 };
        Tap {
            id,
            ring: RefCell::new(ring),
            lost,
            left: Cell::new(wish.follow.unwrap_or(0)),
            followed: Cell::new(0),
            before: RefCell::new(
                (0..places)
                    .map(|_| Before {
                        head: None,
                        bytes: [0; BEFORE],
                        step: None,
                    })
                    .collect(),
            ),
            wish,
        }
    }

    fn is_for(&self, from: Who, who: Who) -> bool {
        self.wish.who.is_none_or(|one| one == who || one == from)
    }

    fn takes(&self, packet: &Packet) -> bool {
        let filter = self.wish.filter.as_deref();
        filter.is_none_or(|filter| filter.takes(&packet.0))
    }

    fn follows(&self, place: u8) -> bool {
        place < BATCH as u8 && self.followed.get() >> place & 1 != 0
    }

    /// A packet at a point.
    fn see(&self, from: Who, head: Head, place: u8, packet: &Packet) {
        if self.wish.follow.is_none() {
            let wanted = self.wish.points >> head.point as u8 & 1 != 0;
            if wanted && self.is_for(from, head.who) && self.takes(packet) {
                self.push(head, packet);
            }
        } else if self.follows(place) {
            self.push(head, packet);
        } else if matches!(head.point, Point::VnicRx | Point::UplinkRx | Point::Decap) {
            self.meet(from, head, place, packet);
        }
    }

    /// Follows a packet from here on if it is wanted and not too many were.
    fn meet(&self, from: Who, head: Head, place: u8, packet: &Packet) {
        if place >= BATCH as u8 || self.left.get() == 0 || !self.is_for(from, head.who) {
            return;
        }
        let mut before = self.before.borrow_mut();
        let Some(before) = before.get_mut(usize::from(place)) else {
            return;
        };
        if !self.takes(packet) {
            if head.point == Point::UplinkRx {
                before.keep(head, packet);
            }
            return;
        }
        self.left.set(self.left.get() - 1);
        self.followed.set(self.followed.get() | 1 << place);
        if head.point == Point::Decap
            && let Some(outer) = before.head.take()
        {
            let bytes = before.bytes.get(..outer.kept as usize);
            self.write(outer, |each| each(bytes.unwrap_or_default()));
            if let Some(step) = before.step.take() {
                self.step(outer.packet, step);
            }
        }
        self.push(head, packet);
    }

    /// A step about a packet, which is kept for later if it is not yet known whether the packet is wanted.
    fn note(&self, packet: u32, place: u8, step: Step) {
        if self.follows(place) {
            self.step(packet, step);
        } else if let Some(before) = self.before.borrow_mut().get_mut(usize::from(place)) {
            before.step = Some(step);
        }
    }

    fn may_follow(&self, place: u8) -> bool {
        self.follows(place) || (self.wish.follow.is_some() && self.left.get() > 0)
    }

    /// Ends what is followed of a batch.
    fn end(&self, first: u32) {
        let mut followed = self.followed.replace(0);
        while followed != 0 {
            let place = followed.trailing_zeros();
            followed &= followed - 1;
            if self
                .ring
                .borrow_mut()
                .push(Entry::End(first + place))
                .is_err()
            {
                self.lost.add(1);
            }
        }
        for before in self.before.borrow_mut().iter_mut() {
            before.head = None;
            before.step = None;
        }
    }

    fn step(&self, packet: u32, step: Step) {
        let entry = Entry::Step(packet, step);
        if self.ring.borrow_mut().push(entry).is_err() {
            self.lost.add(1);
        }
    }

    fn push(&self, mut head: Head, packet: &Packet) {
        head.kept = head.length.min(self.wish.snap);
        self.write(head, |each| packet.for_each_segment(each));
    }

    /// Writes a packet whole, or counts it as lost. `segments` calls its argument with the packet's bytes, piece by piece.
    fn write(&self, head: Head, segments: impl FnOnce(&mut dyn FnMut(&[u8]))) {
        let mut ring = self.ring.borrow_mut();
        if ring.slots() <= head.chunks() {
            return self.lost.add(1);
        }
        // There is room for all of it, so that no push fails.
        let _ = ring.push(Entry::Frame(head));
        let mut left = head.kept as usize;
        let (mut chunk, mut filled) = ([0; CHUNK], 0);
        segments(&mut |segment| {
            let mut rest = segment.get(..left.min(segment.len())).unwrap_or_default();
            left -= rest.len();
            while !rest.is_empty() {
                let room = chunk.get_mut(filled..).unwrap_or_default();
                let (part, after) = rest.split_at(room.len().min(rest.len()));
                if let Some(to) = room.get_mut(..part.len()) {
                    to.copy_from_slice(part);
                }
                filled += part.len();
                rest = after;
                if filled == CHUNK {
                    let _ = ring.push(Entry::Bytes(chunk));
                    filled = 0;
                }
            }
        });
        if filled > 0 {
            let _ = ring.push(Entry::Bytes(chunk));
        }
    }
}

impl Before {
    fn keep(&mut self, mut head: Head, packet: &Packet) {
        let mut filled = 0;
        packet.for_each_segment(|segment| {
            let room = self.bytes.get_mut(filled..).unwrap_or_default();
            let length = room.len().min(segment.len());
            if let (Some(to), Some(from)) = (room.get_mut(..length), segment.get(..length)) {
                to.copy_from_slice(from);
                filled += length;
            }
        });
        head.kept = filled as u32;
        self.head = Some(head);
        self.step = None;
    }
}

/// All taps of a worker.
pub(crate) struct Watch {
    /// Boxed as they came and as they go: nothing is allocated or freed here.
    #[allow(clippy::vec_box)]
    taps: Vec<Box<Tap>>,
    tsc: Cell<u64>,
    /// Number of the first packet of this batch.
    first: Cell<u32>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Watch {
            taps: Vec::with_capacity(TAPS),
            tsc: Cell::new(0),
            first: Cell::new(0),
        }
    }

    /// Whether anybody looks.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        !self.taps.is_empty()
    }

    /// Takes a tap; gives it back if there are too many.
    pub(crate) fn add(&mut self, tap: Box<Tap>) -> Option<Box<Tap>> {
        if self.taps.len() == TAPS {
            return Some(tap);
        }
        self.taps.push(tap);
        None
    }

    /// Gives a tap back.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Box<Tap>> {
        let at = self.taps.iter().position(|tap| tap.id == id)?;
        Some(self.taps.swap_remove(at))
    }

    /// Before a batch, received at this time.
    pub(crate) fn begin(&self, tsc: u64) {
        self.tsc.set(tsc);
    }

    /// After a batch.
    pub(crate) fn end(&self) {
        let first = self.first.get();
        for tap in &self.taps {
            tap.end(first);
        }
        self.first.set(first.wrapping_add(BATCH as u32));
    }

    /// A packet that is in no batch at a point.
    #[cold]
    pub(crate) fn alone(&self, point: Point, who: Who, reason: Option<Reason>, packet: &Packet) {
        if self.is_on() {
            self.tsc.set(rte::clock::tsc());
            self.show(NOWHERE, who, point, who, reason, packet);
        }
    }

    /// A packet that is dropped after its batch was done with.
    #[cold]
    pub(crate) fn refused(&self, receiver: Receiver, reason: Reason, packet: &Packet) {
        self.alone(Point::Drop, receiver.into(), Some(reason), packet);
    }

    fn show(
        &self,
        place: u8,
        from: Who,
        point: Point,
        who: Who,
        reason: Option<Reason>,
        packet: &Packet,
    ) {
        let head = Head {
            packet: self.number(place),
            point,
            who,
            reason,
            tsc: self.tsc.get(),
            length: packet.len() as u32,
            kept: 0,
            vlan: packet.stripped_vlan(),
        };
        for tap in &self.taps {
            tap.see(from, head, place, packet);
        }
    }

    fn number(&self, place: u8) -> u32 {
        self.first.get().wrapping_add(u32::from(place))
    }
}

impl Witness for Watch {
    type Frame = Packet;

    fn see(&self, place: u8, from: Who, point: Point, who: Who, packet: &Packet) {
        self.show(place, from, point, who, None, packet);
    }

    fn dropped(&self, place: u8, from: Who, reason: Reason, packet: &Packet) {
        self.show(place, from, Point::Drop, from, Some(reason), packet);
    }

    fn follows(&self, place: u8) -> bool {
        self.taps.iter().any(|tap| tap.may_follow(place))
    }

    fn note(&self, place: u8, step: Step) {
        for tap in &self.taps {
            tap.note(self.number(place), place, step);
        }
    }
}
