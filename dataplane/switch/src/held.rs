//! Who waits for the store's answer, and who is known not to be there. Time is an argument, in TSC cycles.
//!
//! *Which question:* a frame's destination has no record here; may the frame wait, is it the one that must be asked about,
//! or is there nobody? *Which place:* a worker's way out owns one; [`miss`](crate::miss) is its only user.
//! *Trade-offs:* everything is of fixed size: so many destinations a worker, [`FRAMES`] and [`BYTES`] each, so many misses
//! remembered. What is full drops what is new, by name; nobody's frames or misses are pushed out by another vNIC.

use crate::frame::Frame;
use crate::shares::Shares;
use arrayvec::ArrayVec;
use weir_tables::endpoints::Destination;
use weir_tables::ids::VnicId;

/// Frames that one destination may have waiting.
pub const FRAMES: usize = 8;
/// Bytes that they may have together: what bounds the mbufs of long chains.
pub const BYTES: usize = 16 * 1024;
/// Misses that a worker of a daemon remembers.
pub const REMEMBERED: u16 = 512;
/// Seconds that a miss is remembered.
pub const MEMORY: u64 = 5;
/// Questions a second about a destination that the store does not answer: what tells control of it may be lost.
const AGAIN: u64 = 5;
/// Looks a second at who has waited for long enough.
const LOOKS: u64 = 50;

/// The frames of one destination, in order, each with the vNIC that sent it.
pub type Waiters<F> = ArrayVec<(VnicId, F), FRAMES>;

struct Waiting<F> {
    since: u64,
    asked: u64,
    bytes: usize,
    frames: Waiters<F>,
}

/// What is known of a destination without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: nobody has asked.
    Nothing,
    /// It is asked for, and frames wait.
    Asked,
    /// Nobody has it.
    Absent,
}

/// Frames that wait, by destination, and misses that are remembered.
pub struct Held<F> {
    waiting: Shares<Waiting<F>>,
    absent: Shares<u64>,
    /// Whose frames are being told that nobody is there.
    settled: Option<Destination>,
    frames: usize,
    next_look: u64,
    hz: u64,
}

impl<F: Frame> Held<F> {
    /// Room for frames to so many destinations and for so many misses, on a machine of `hz`. `seed` is random.
    pub fn new(destinations: u16, remembered: u16, seed: u64, hz: u64) -> Self {
        Held {
            waiting: Shares::new(destinations, seed),
            absent: Shares::new(remembered, seed.rotate_left(32)),
            settled: None,
            frames: 0,
            next_look: 0,
            hz,
        }
    }

    /// How many destinations a worker may wait for if all their frames are a sixteenth of the pool at most, each worker's
    /// share of it.
    pub fn destinations(mbufs: u32, workers: usize) -> u16 {
        let each = mbufs as usize / (16 * FRAMES * workers.max(1));
        each.clamp(4, 128) as u16
    }

    /// Whether frames wait for anybody.
    #[inline(always)]
    pub fn is_holding(&self) -> bool {
        self.frames > 0
    }

    /// Frames that wait.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Destinations that they wait for.
    pub fn asked(&self) -> usize {
        self.waiting.len()
    }

    /// Misses that are remembered, those too old included.
    pub fn remembered(&self) -> usize {
        self.absent.len()
    }

    /// Whether frames wait for this destination: whoever comes later waits behind them.
    pub fn is_waiting(&self, to: Destination) -> bool {
        self.waiting.contains(to)
    }

    /// What is known of a destination without a record.
    pub fn look(&mut self, to: Destination, now: u64) -> Known {
        if self.waiting.contains(to) {
            return Known::Asked;
        }
        let remembered = self.absent.get_mut(to).is_some_and(|until| now < *until);
        if remembered || self.settled == Some(to) {
            Known::Absent
        } else {
            Known::Nothing
        }
    }

    /// Begins to wait for a destination; `false` beyond the vNIC's share.
    pub fn begin(&mut self, to: Destination, from: VnicId, now: u64) -> bool {
        self.absent.remove(to);
        if self.waiting.is_empty() {
            self.next_look = now + self.hz / LOOKS;
        }
        let waiting = Waiting {
            since: now,
            asked: now,
            bytes: 0,
            frames: ArrayVec::new(),
        };
        self.waiting.add(to, from, waiting)
    }

    /// A frame behind the others to its destination; given back if nobody waits for that or they are too many.
    pub fn add(&mut self, to: Destination, from: VnicId, frame: F) -> Result<(), F> {
        let Some(waiting) = self.waiting.get_mut(to) else {
            return Err(frame);
        };
        let bytes = waiting.bytes + frame.len();
        if bytes > BYTES {
            return Err(frame);
        }
        match waiting.frames.try_push((from, frame)) {
            Ok(()) => {
                waiting.bytes = bytes;
                self.frames += 1;
                Ok(())
            }
            Err(full) => Err(full.element().1),
        }
    }

    /// The frames to a destination, which nobody waits for any more. `None` if nobody did.
    pub fn take(&mut self, to: Destination) -> Option<Waiters<F>> {
        let (_, waiting) = self.waiting.remove(to)?;
        self.frames -= waiting.frames.len();
        Some(waiting.frames)
    }

    /// The same, and that nobody is there is remembered: on the share of the vNIC that asked first, in place of what it has had
    /// remembered for longest where there is no more room for it. Until [`over`](Self::over) it counts in any case.
    pub fn settle(&mut self, to: Destination, now: u64) -> Option<Waiters<F>> {
        let (owner, waiting) = self.waiting.remove(to)?;
        self.frames -= waiting.frames.len();
        self.settled = Some(to);
        let until = now + MEMORY * self.hz;
        if !self.absent.add(to, owner, until) {
            self.absent.retain(|_, _, &until| now < until);
            if !self.absent.has_room(owner) {
                let own = self.absent.each().filter(|(_, by, _)| **by == owner);
                let oldest = own.min_by_key(|(_, _, until)| **until).map(|own| own.0);
                if let Some(oldest) = oldest {
                    self.absent.remove(oldest);
                }
            }
            self.absent.add(to, owner, until);
        }
        Some(waiting.frames)
    }

    /// The frames that [`settle`](Self::settle) gave are through.
    pub fn over(&mut self) {
        self.settled = None;
    }

    /// Forgets who is not there: the policy has changed.
    pub fn forget_misses(&mut self) {
        self.absent.retain(|_, _, _| false);
    }

    /// One frame after another of a vNIC that has left, oldest first to each destination, then `None`; nothing is left then
    /// that names it.
    pub fn forget(&mut self, vnic: VnicId) -> Option<F> {
        let mut found = None;
        for (_, _, waiting) in self.waiting.each() {
            if let Some(at) = waiting.frames.iter().position(|(by, _)| *by == vnic) {
                found = waiting.frames.pop_at(at).map(|(_, frame)| frame);
                waiting.bytes -= found.as_ref().map_or(0, F::len);
                self.frames -= 1;
                break;
            }
        }
        if found.is_none() {
            // Others wait on; one of them is the owner now.
            for (_, owner, waiting) in self.waiting.each() {
                if *owner == vnic
                    && let Some((next, _)) = waiting.frames.first()
                {
                    *owner = *next;
                }
            }
            self.waiting.retain(|_, owner, _| owner != vnic);
            self.absent.retain(|_, owner, _| owner != vnic);
        }
        found
    }

    /// When that is; never if nothing waits.
    pub fn due(&self) -> u64 {
        if self.waiting.is_empty() {
            return u64::MAX;
        }
        self.next_look
    }

    /// Whether it is time to look who has waited for long enough.
    #[inline(always)]
    pub fn is_due(&self, now: u64) -> bool {
        !self.waiting.is_empty() && now >= self.next_look
    }

    /// A destination that the store has not said anything about for a second, or `None`: then it is not due for some time.
    pub fn expired(&mut self, now: u64) -> Option<Destination> {
        self.next_look = now.saturating_add(self.hz / LOOKS);
        let hz = self.hz;
        let mut waiting = self.waiting.each();
        waiting
            .find(|(_, _, waiting)| now.saturating_sub(waiting.since) >= hz)
            .map(|(to, _, _)| to)
    }

    /// Each destination that is to be asked about again, with a vNIC that waits for it, until `ask` has no more room.
    pub fn again(&mut self, now: u64, mut ask: impl FnMut(VnicId, Destination) -> bool) {
        for (to, owner, waiting) in self.waiting.each() {
            if now.saturating_sub(waiting.asked) >= self.hz / AGAIN {
                if !ask(*owner, to) {
                    break;
                }
                waiting.asked = now;
            }
        }
    }
}
