//! The other end: takes everything that an uplink sends and logs when which sender's frame left, for measurements of who got how much.
//!
//! A frame is one word of a log that is as long as was asked for when the device was opened: no allocation, no count to be
//! read at the right moment, and any window of any length can be looked at afterwards. The time is that of the call, one for
//! up to 32 frames.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use rte::{Burst, clock};
use weir_wire::Mac;

use super::senders::{NUMBER_AT, SENDERS_MOST};
use super::stalls::{Calls, Gap, Gaps};

/// Frames that a log holds at most: 512 MB.
pub const EVENTS_MOST: u32 = 1 << 26;
/// Outer Ethernet, IPv4 and GRE with key: where the inner frame begins.
const INNER: usize = 42;
/// The sender of a frame that is none of the senders'.
pub const NOBODY: u32 = (1 << 14) - 1;
const _: () = assert!(SENDERS_MOST < NOBODY);

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sinks {
    /// How many senders there are.
    pub senders: u32,
    /// The MAC of the first.
    pub from: Mac,
    /// How many frames the log holds.
    pub events: u32,
}

/// As it is written in a file.
impl fmt::Display for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sinks {
            senders,
            from,
            events,
        } = self;
        write!(f, "sink={senders},from={from},events={events}")
    }
}

/// A frame that has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in cycles of the TSC from the log's beginning, in steps of 16.
    pub at: u64,
    /// Whose it was; [`NOBODY`] if none of theirs.
    pub sender: u32,
    /// Its bytes as they were sent, outer headers and all, without FCS.
    pub bytes: u32,
}

impl Event {
    /// In one word: 36 bits of time, 14 of sender, 14 of bytes.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        (self.at >> 4) << 28
            | u64::from(self.sender & NOBODY) << 14
            | u64::from(self.bytes) & 0x3fff
    }

    /// From one.
    #[inline]
    pub fn unpack(word: u64) -> Event {
        Event {
            at: word >> 28 << 4,
            sender: (word >> 14) as u32 & NOBODY,
            bytes: word as u32 & 0x3fff,
        }
    }
}

/// What the sink writes and control reads.
#[derive(Debug)]
pub struct Log {
    events: Box<[AtomicU64]>,
    /// How many are written; by the sink while it is on, by control while it is not.
    len: AtomicUsize,
    on: AtomicBool,
    begin: AtomicU64,
    end: AtomicU64,
    /// Frames that found no room.
    missed: AtomicU64,
    /// Frames that left after a later one of the same sender, since the sink was opened.
    reordered: AtomicU64,
    /// When it was not called.
    gaps: Arc<Gaps>,
}

impl Log {
    fn new(events: u32, gaps: Arc<Gaps>) -> Log {
        Log {
            // Written once, so that its pages are there before it counts.
            events: (0..events).map(|_| AtomicU64::new(u64::MAX)).collect(),
            len: AtomicUsize::new(0),
            on: AtomicBool::new(false),
            begin: AtomicU64::new(0),
            end: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            reordered: AtomicU64::new(0),
            gaps,
        }
    }

    /// Begins from empty at this time of the TSC. It must have been ended, and the worker have made a turn since.
    pub fn begin(&self, now: u64) {
        self.len.store(0, Relaxed);
        self.missed.store(0, Relaxed);
        self.begin.store(now, Relaxed);
        self.on.store(true, Release);
    }

    /// Logs no more from the worker's next turn on. At this time of the TSC it still did.
    pub fn end(&self, now: u64) {
        if self.is_on() {
            self.end.store(now, Relaxed);
        }
        self.on.store(false, Relaxed);
    }

    /// Whether it logs.
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// When it began, of the TSC.
    pub fn began(&self) -> u64 {
        self.begin.load(Relaxed)
    }

    /// Until when every frame is in it, of the TSC, if it was ended.
    pub fn ended(&self) -> u64 {
        self.end.load(Relaxed)
    }

    /// Frames that found no room since it began.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// Frames that left after a later one of the same sender.
    pub fn reordered(&self) -> u64 {
        self.reordered.load(Relaxed)
    }

    /// When nothing was sent, as far as that ended after this time of the TSC.
    pub fn gaps(&self, since: u64) -> Vec<Gap> {
        self.gaps.since(since)
    }

    /// What is logged so far, packed.
    pub fn words(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        let len = self.len.load(Acquire);
        let logged = self.events.get(..len).unwrap_or_default();
        logged.iter().map(|event| event.load(Relaxed))
    }
}

/// A queue to send to.
#[derive(Debug)]
pub struct Sink {
    log: Arc<Log>,
    seen: Seen,
    calls: Calls,
}

/// The senders, as far as their frames have come.
#[derive(Debug)]
struct Seen {
    base: u64,
    /// The number that each one's next frame has at least.
    numbers: Vec<u32>,
}

impl Sink {
    /// A queue to send to, on a machine whose TSC makes `hz` cycles a second, and what it writes.
    pub fn new(of: Sinks, hz: u64) -> (Sink, Arc<Log>) {
        let calls = Calls::new(hz);
        let log = Arc::new(Log::new(of.events, calls.gaps()));
        let sink = Sink {
            calls,
            log: log.clone(),
            seen: Seen {
                base: of.from.to_u64(),
                numbers: vec![0; of.senders as usize],
            },
        };
        (sink, log)
    }

    /// Takes all of a burst; how many frames.
    #[inline]
    pub fn tx(&mut self, burst: &mut Burst) -> usize {
        let taken = burst.len();
        let now = clock::tsc();
        self.calls.call(now);
        if taken > 0 && self.log.on.load(Acquire) {
            self.logged(burst, now);
        }
        burst.clear();
        taken
    }

    fn logged(&mut self, burst: &Burst, now: u64) {
        let Sink { log, seen, .. } = self;
        let at = now.wrapping_sub(log.begin.load(Relaxed));
        let mut len = log.len.load(Relaxed);
        for mbuf in burst.as_slice() {
            let sender = seen.sender(mbuf.head(), &log.reordered);
            let event = Event {
                at,
                sender,
                bytes: mbuf.len() as u32,
            };
            match log.events.get(len) {
                Some(place) => {
                    place.store(event.pack(), Relaxed);
                    len += 1;
                }
                None => log.missed.store(log.missed.load(Relaxed) + 1, Relaxed),
            }
        }
        log.len.store(len, Release);
    }
}

impl Seen {
    /// Whose a frame is: by the inner source's MAC in NVGRE, by its own if it is not in NVGRE. Its number is looked at besides.
    #[inline(always)]
    fn sender(&mut self, head: &[u8], reordered: &AtomicU64) -> u32 {
        let found = self.within(head, INNER).or_else(|| self.within(head, 0));
        let Some((start, sender)) = found else {
            return NOBODY;
        };
        let at = start + NUMBER_AT;
        let number = head.get(at..at + 4).and_then(|it| it.first_chunk::<4>());
        if let (Some(number), Some(next)) = (number, self.numbers.get_mut(sender as usize)) {
            let number = u32::from_be_bytes(*number);
            if (number.wrapping_sub(*next) as i32) < 0 {
                reordered.store(reordered.load(Relaxed) + 1, Relaxed);
            }
            *next = number.wrapping_add(1);
        }
        sender
    }

    /// The sender of the frame that starts there, if it is one of them.
    #[inline(always)]
    fn within(&self, head: &[u8], start: usize) -> Option<(usize, u32)> {
        let mac = head.get(start + 4..start + 12)?.first_chunk::<8>()?;
        let mac = u64::from_be_bytes(*mac) & 0xffff_ffff_ffff;
        let number = mac.wrapping_sub(self.base);
        (number < self.numbers.len() as u64).then_some((start, number as u32))
    }
}
