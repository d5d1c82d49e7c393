//! An uplink with several queues and one wire, which takes from them by turns, now more and now fewer, and leaves a frame in a queue as long as a
//! NIC may: what is sent by two queues is overtaken, unless the second waits for the first. It says of each sender's frames how many never
//! came and how many came late, by their numbers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
// A device has a lock of its own inside; the switch has none.
#[allow(clippy::disallowed_types)]
use std::sync::Mutex;

use rte::{Burst, Mbuf};
use weir_wire::Mac;

use super::senders::NUMBER_AT;

/// Frames that a queue holds.
const DEPTH: usize = 512;
/// Frames that stay in the queues while others come, for each queue.
const STANDING: usize = 96;
/// Frames that are taken from a queue at once, at most: a power of two.
const TURN: usize = 32;
/// Outer Ethernet, IPv4 and GRE with key: where the inner frame begins.
const INNER: usize = 42;

/// What is sent over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wires {
    /// How many queues it has.
    pub queues: u16,
    /// How many senders there are.
    pub senders: u32,
    /// The MAC of the first.
    pub from: Mac,
}

/// As it is written in a file.
impl fmt::Display for Wires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wires {
            queues,
            senders,
            from,
        } = self;
        write!(f, "wire={queues},senders={senders},from={from}")
    }
}

/// What has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// Frames of the senders.
    pub frames: u64,
    /// Frames that a later one of the same sender came without.
    pub lost: u64,
    /// Frames that came after a later one of the same sender.
    pub reordered: u64,
    /// Frames of nobody known.
    pub strange: u64,
}

/// What the queues have in common.
#[derive(Debug)]
#[allow(clippy::disallowed_types)]
pub struct Wire {
    side: Mutex<Side>,
    /// Frames that have left, by queue.
    sent: Box<[AtomicU64]>,
}

/// The wire's side of the queues.
#[derive(Debug)]
struct Side {
    rings: Vec<rtrb::Consumer<Mbuf>>,
    random: u64,
    base: u64,
    /// The number that each sender's next frame has.
    next: Vec<u32>,
    came: Came,
}

/// A queue to send to.
#[derive(Debug)]
pub struct Queue {
    ring: rtrb::Producer<Mbuf>,
    wire: Arc<Wire>,
    index: usize,
    taken: u64,
}

/// Queues, and the wire behind them.
#[allow(clippy::disallowed_types)]
pub fn open(of: Wires) -> (Vec<Queue>, Arc<Wire>) {
    let ends = (0..of.queues).map(|_| rtrb::RingBuffer::new(DEPTH));
    let (producers, rings): (Vec<_>, Vec<_>) = ends.unzip();
    let wire = Arc::new(Wire {
        sent: rings.iter().map(|_| AtomicU64::new(0)).collect(),
        side: Mutex::new(Side {
            rings,
            random: 0x2545_f491_4f6c_dd1d,
            base: of.from.to_u64(),
            next: vec![0; of.senders as usize],
            came: Came::default(),
        }),
    });
    let queues = producers.into_iter().enumerate();
    let queues = queues.map(|(index, ring)| Queue {
        ring,
        wire: wire.clone(),
        index,
        taken: 0,
    });
    (queues.collect(), wire)
}

impl Queue {
    /// Takes what there is room for from the front of a burst; how many frames.
    pub fn tx(&mut self, burst: &mut Burst) -> usize {
        if self.ring.slots() < burst.len() {
            // A wire as fast as whoever sends: nobody loses anything because it is slow.
            self.wire.make_room();
        }
        let wanted = burst.len().min(self.ring.slots());
        let mut mbufs = burst.drain();
        for mbuf in mbufs.by_ref().take(wanted) {
            // There is room for it.
            let _ = self.ring.push(mbuf);
        }
        let rest: arrayvec::ArrayVec<Mbuf, { Burst::CAPACITY }> = mbufs.collect();
        burst.extend(&mut rest.into_iter());
        self.taken += wanted as u64;
        self.wire.step(STANDING, usize::MAX);
        wanted
    }

    /// Whether what it took before the last `since` frames has left.
    pub fn is_out(&self, since: u64) -> bool {
        self.wire.step(0, 2 * TURN);
        let sent = self.wire.sent.get(self.index);
        sent.is_some_and(|sent| sent.load(Acquire) + since >= self.taken)
    }
}

impl Wire {
    /// Sends, unless another queue's worker is at it, until the queues are down to so many frames each, at most so many.
    fn step(&self, standing: usize, most: usize) {
        if let Ok(mut side) = self.side.try_lock() {
            self.send(&mut side, standing, most);
        }
    }

    /// The same, and waits for who is at it.
    fn make_room(&self) {
        if let Ok(mut side) = self.side.lock() {
            self.send(&mut side, STANDING, usize::MAX);
        }
    }

    fn send(&self, side: &mut Side, standing: usize, most: usize) {
        let Side { rings, .. } = side;
        let waiting: usize = rings.iter().map(rtrb::Consumer::slots).sum();
        let mut left = waiting.saturating_sub(standing * rings.len()).min(most);
        while left > 0 {
            let (queue, frames) = side.turn(left);
            left -= frames.min(left);
            if let Some(sent) = self.sent.get(queue) {
                sent.store(sent.load(Relaxed) + frames as u64, Release);
            }
        }
    }

    /// Sends what is in the queues, and says what has come.
    pub fn came(&self) -> Came {
        loop {
            self.step(0, usize::MAX);
            if let Ok(side) = self.side.try_lock() {
                return side.came;
            }
            std::hint::spin_loop();
        }
    }
}

impl Side {
    /// Some frames of some queue: which, and how many.
    fn turn(&mut self, most: usize) -> (usize, usize) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let count = self.rings.len().max(1);
        let queue = (self.random >> 32) as usize % count;
        let wanted = (self.random as usize % TURN + 1).min(most);
        let mut frames = 0;
        while frames < wanted {
            let Some(mbuf) = self.rings.get_mut(queue).and_then(|ring| ring.pop().ok()) else {
                break;
            };
            self.see(mbuf.head());
            frames += 1;
        }
        (queue, frames)
    }

    /// Whose a frame is, and whether it is the one that comes next.
    fn see(&mut self, head: &[u8]) {
        let found = self.within(head, INNER).or(self.within(head, 0));
        let found = found.and_then(|(sender, number)| Some((self.next.get_mut(sender)?, number)));
        let came = &mut self.came;
        let Some((next, number)) = found else {
            came.strange += 1;
            return;
        };
        came.frames += 1;
        let ahead = number.wrapping_sub(*next) as i32;
        if ahead < 0 {
            came.reordered += 1;
            came.lost = came.lost.saturating_sub(1);
        } else {
            came.lost += ahead as u64;
            *next = number.wrapping_add(1);
        }
    }

    /// Sender and number of the frame that starts there, if it is one of theirs.
    fn within(&self, head: &[u8], start: usize) -> Option<(usize, u32)> {
        let mac = head.get(start + 4..)?.first_chunk::<8>()?;
        let sender = (u64::from_be_bytes(*mac) & 0xffff_ffff_ffff).wrapping_sub(self.base);
        let sender = usize::try_from(sender).ok()?;
        let number = head.get(start + NUMBER_AT..)?.first_chunk::<4>()?;
        (sender < self.next.len()).then_some((sender, u32::from_be_bytes(*number)))
    }
}
