//! Many VMs behind one trunk, each of which offers what it is told: all it can, or so many packets a second, evenly or in
//! bursts, always or by turns. For measurements of who gets how much.
//!
//! Sender n has the first one's MAC plus n and its address plus n; all send UDP over IPv4 to one VM, and each numbers its frames. What is offered
//! is said in [`Offer`]s, each of some senders that follow each other, and can be replaced at any time. Nothing is offered before.
//! Offers with a rate go first; those that send all they can share what room a burst has left.

use std::fmt;
use std::sync::Arc;

use arrayvec::ArrayVec;
use rte::{Burst, Pool, clock};
use weir_wire::ether;

use super::stalls::{Calls, Gap, Gaps};
use super::{FCS, FRAME_BYTES, LINE, Vm, headers};

/// Senders at most.
pub const SENDERS_MOST: u32 = 16_000;
/// Offers at most.
pub const OFFERS_MOST: usize = 64;
/// Where a frame's number is: the first four bytes of its UDP payload.
pub const NUMBER_AT: usize = 42;
/// Lines of the longest frame.
const LINES: usize = (*FRAME_BYTES.end() as usize).div_ceil(LINE);
/// What was missed while nobody polled is made up for, if it is not longer ago than so many parts of a second.
const BEHIND: u64 = 500;

/// Many VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Senders {
    /// How many, 1 to [`SENDERS_MOST`].
    pub senders: u32,
    /// The first; the nth has MAC and address plus n.
    pub from: Vm,
    /// To whom they send.
    pub to: Vm,
    /// All of them send all they can from the beginning, in frames of so many bytes with their FCS, in [`FRAME_BYTES`].
    pub flood: Option<u16>,
}

/// As it is written in a file.
impl fmt::Display for Senders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Senders {
            senders,
            from,
            to,
            flood,
        } = self;
        let (mac, ca) = (from.mac, from.ca);
        write!(
            f,
            "senders={senders},from={mac}/{ca},to={}/{}",
            to.mac, to.ca
        )?;
        match flood {
            Some(frame) => write!(f, ",flood={frame}"),
            None => Ok(()),
        }
    }
}

/// What some senders offer. Times are in cycles of the TSC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The number of the first of them.
    pub first: u32,
    /// How many, at least 1.
    pub senders: u32,
    /// Bytes of a frame with its FCS, in [`FRAME_BYTES`].
    pub frame: u16,
    /// Frames of one sender before the next has its turn, at least 1.
    pub burst: u32,
    /// From a frame of any of them to the next of any, in 1/256 of a cycle; 0: all they can.
    pub interval: u64,
    /// They send for so long,
    pub on: u64,
    /// then are silent for so long; 0: never.
    pub off: u64,
    /// They begin so long after the offer was taken up.
    pub after: u64,
}

/// What is offered from now on, by everyone.
pub type Offers = ArrayVec<Offer, OFFERS_MOST>;

/// Control's end of a source.
#[derive(Debug)]
pub struct Control {
    offers: rtrb::Producer<(Offers, u64)>,
    gaps: Arc<Gaps>,
}

impl Control {
    /// Has the source offer this from a time of the TSC on. `false` if it has not taken up what it was told before.
    pub fn offer(&mut self, offers: Offers, from: u64) -> bool {
        self.offers.push((offers, from)).is_ok()
    }

    /// When nobody polled it, as far as that ended after this time of the TSC.
    pub fn gaps(&self, since: u64) -> Vec<Gap> {
        self.gaps.since(since)
    }
}

/// An offer that is taken up.
#[derive(Debug)]
struct Stand {
    offer: Offer,
    /// Whose turn it is, counted from the first, and how many frames of that turn are left.
    turn: u32,
    left: u32,
    /// When the next frame is due; in 1/256 of a cycle since the offers were taken up.
    due: u64,
    /// Whether they send now, and when that changes, in cycles since then.
    is_on: bool,
    changes: u64,
    /// The frame, in whole lines, and the ones' complement sum of its IPv4 header without the source.
    lines: [[u8; LINE]; LINES],
    sum: u32,
}

impl Stand {
    /// Whether they send at this time.
    #[inline(always)]
    fn sends(&mut self, now: u64) -> bool {
        while now >= self.changes {
            self.change();
        }
        self.is_on
    }

    #[cold]
    fn change(&mut self) {
        self.is_on = !self.is_on;
        // Nothing is made up for that was due while they were silent.
        self.due = self.due.max(self.changes << 8);
        self.changes = match (self.is_on, self.offer.off) {
            (true, 0) => u64::MAX,
            (true, _) => self.changes.saturating_add(self.offer.on.max(1)),
            (false, off) => self.changes.saturating_add(off),
        };
    }

    /// Who sends the next frame.
    #[inline(always)]
    fn next(&mut self) -> u32 {
        if self.left == 0 {
            self.left = self.offer.burst.max(1);
            self.turn += 1;
            if self.turn >= self.offer.senders {
                self.turn = 0;
            }
        }
        self.left -= 1;
        self.offer.first + self.turn
    }

    /// Whether a round of all senders has just ended.
    #[inline(always)]
    fn is_round(&self) -> bool {
        self.left == 0 && self.turn + 1 >= self.offer.senders
    }
}

/// The source, as a queue to receive from.
#[derive(Debug)]
pub struct Source {
    pool: Pool,
    of: Senders,
    hz: u64,
    offers: rtrb::Consumer<(Offers, u64)>,
    stands: Vec<Stand>,
    /// When they were taken up.
    epoch: u64,
    /// Whose turn it is among those that send all they can.
    flood: usize,
    /// The number of each sender's next frame.
    numbers: Vec<u32>,
    /// When it was polled.
    calls: Calls,
}

impl Source {
    /// A source of these senders, in mbufs of `pool`, on a machine whose TSC makes `hz` cycles a second; and control's end of
    /// it.
    pub fn new(of: Senders, pool: Pool, hz: u64) -> (Source, Control) {
        let (mut told, offers) = rtrb::RingBuffer::new(4);
        if let Some(frame) = of.flood {
            let all = Offer {
                senders: of.senders,
                frame,
                burst: 1,
                on: u64::MAX,
                ..Offer::default()
            };
            // It is empty.
            let _ = told.push((Offers::from_iter([all]), 0));
        }
        let calls = Calls::new(hz);
        let control = Control {
            offers: told,
            gaps: calls.gaps(),
        };
        let source = Source {
            pool,
            of,
            hz,
            offers,
            stands: Vec::with_capacity(OFFERS_MOST),
            epoch: 0,
            flood: 0,
            numbers: vec![0; of.senders as usize],
            calls,
        };
        (source, control)
    }

    /// Puts what is due into an empty burst; how many frames. None while the pool has not as many mbufs, or they are too small.
    #[inline]
    pub fn rx(&mut self, burst: &mut Burst) -> usize {
        self.rx_at(burst, clock::tsc())
    }

    /// The same at a time of the TSC.
    pub fn rx_at(&mut self, burst: &mut Burst, now: u64) -> usize {
        if !self.offers.is_empty() {
            self.obey();
        }
        self.calls.call(now);
        let Some(now) = now.checked_sub(self.epoch) else {
            return 0;
        };
        let mut picked: ArrayVec<(usize, u32), { Burst::CAPACITY }> = ArrayVec::new();
        let behind = self.hz / BEHIND;
        for (place, stand) in self.stands.iter_mut().enumerate() {
            if stand.offer.interval == 0 || !stand.sends(now) {
                continue;
            }
            let time = now << 8;
            stand.due = stand.due.max(time.saturating_sub(behind << 8));
            while stand.due <= time && picked.len() < Burst::CAPACITY {
                stand.due += stand.offer.interval;
                picked.push((place, stand.next()));
            }
        }
        self.flood(now, &mut picked);
        self.written(burst, &picked)
    }

    /// Fills up with frames of those that send all they can: each of them once, or a burst, before any comes again.
    #[inline]
    fn flood(&mut self, now: u64, picked: &mut ArrayVec<(usize, u32), { Burst::CAPACITY }>) {
        let mut passed = 0;
        while picked.len() < Burst::CAPACITY && passed < self.stands.len() {
            let Some(stand) = self.stands.get_mut(self.flood) else {
                self.flood = 0;
                continue;
            };
            if stand.offer.interval != 0 || !stand.sends(now) {
                passed += 1;
                self.flood += 1;
                continue;
            }
            passed = 0;
            while picked.len() < Burst::CAPACITY {
                picked.push((self.flood, stand.next()));
                if stand.is_round() {
                    self.flood += 1;
                    break;
                }
            }
        }
    }

    fn written(&mut self, burst: &mut Burst, picked: &[(usize, u32)]) -> usize {
        if picked.is_empty() || !self.pool.alloc_bulk(burst, picked.len()) {
            return 0;
        }
        // A NIC writes past the caches of cores; what is written here may have waited for long, far from this one.
        for mbuf in burst.as_slice() {
            rte::prefetch_packet_for_write(mbuf, LINE);
        }
        let macs = self.of.from.mac.to_u64();
        let ca = u32::from(self.of.from.ca);
        for (mbuf, (stand, number)) in burst.as_mut_slice().iter_mut().zip(picked) {
            let stand = self.stands.get(*stand);
            let counted = self.numbers.get_mut(*number as usize);
            let (Some(stand), Some(counted)) = (stand, counted) else {
                continue;
            };
            let bytes = stand.offer.frame - FCS;
            let lines = usize::from(bytes).div_ceil(LINE);
            let filled = stand.lines.get(..lines);
            let Some(frame) = filled.and_then(|lines| mbuf.fill(lines, bytes)) else {
                burst.clear();
                return 0;
            };
            stamp(
                frame,
                macs + u64::from(*number),
                ca + number,
                stand.sum,
                *counted,
            );
            *counted = counted.wrapping_add(1);
        }
        picked.len()
    }

    /// Takes up what it was told.
    #[cold]
    fn obey(&mut self) {
        while let Ok((offers, at)) = self.offers.pop() {
            self.stands.clear();
            self.flood = 0;
            self.epoch = at;
            for offer in offers {
                let fits = offer.first.checked_add(offer.senders);
                let fits = fits.is_some_and(|end| offer.senders > 0 && end <= self.of.senders);
                if !fits || !FRAME_BYTES.contains(&offer.frame) {
                    continue;
                }
                let (lines, sum) = self.of.template(offer.frame - FCS);
                // There are no more of them than there is room for.
                self.stands.push(Stand {
                    offer,
                    turn: offer.senders - 1,
                    left: 0,
                    due: offer.after << 8,
                    is_on: false,
                    changes: offer.after,
                    lines,
                    sum,
                });
            }
        }
    }
}

impl Senders {
    /// A frame of so many bytes without FCS, from nobody yet, and the sum of its IPv4 header.
    fn template(&self, bytes: u16) -> ([[u8; LINE]; LINES], u32) {
        let (ether, ip, udp) = headers(self.from, self.to, self.to.ca, bytes);
        let (ether, mut ip, udp) = (ether.octets(), ip.octets(), udp.octets());
        let [.., c0, c1, s0, s1, s2, s3, _, _, _, _] = ip;
        let without = u32::from(!u16::from_be_bytes([c0, c1]))
            + u32::from(!u16::from_be_bytes([s0, s1]))
            + u32::from(!u16::from_be_bytes([s2, s3]));
        if let Some(checksum) = ip.get_mut(10..12) {
            checksum.fill(0);
        }
        let mut lines = [[0; LINE]; LINES];
        let template = ether.iter().chain(&ip).chain(&udp);
        for (to, from) in lines.as_flattened_mut().iter_mut().zip(template) {
            *to = *from;
        }
        (lines, (without & 0xffff) + (without >> 16))
    }
}

/// Writes the sender into a frame, its MAC and its address, the header's checksum with it, and the frame's number.
#[inline(always)]
fn stamp(frame: &mut [u8], mac: u64, ca: u32, sum: u32, number: u32) {
    const SOURCE: usize = ether::HEADER + 12;
    let Some(frame) = frame.first_chunk_mut::<{ NUMBER_AT + 4 }>() else {
        return;
    };
    let sum = sum + (ca >> 16) + (ca & 0xffff);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    if let (Some(to), [_, _, mac @ ..]) = (frame.get_mut(6..12), mac.to_be_bytes()) {
        to.copy_from_slice(&mac);
    }
    if let Some(to) = frame.get_mut(24..26) {
        to.copy_from_slice(&sum.to_be_bytes());
    }
    if let Some(to) = frame.get_mut(SOURCE..SOURCE + 4) {
        to.copy_from_slice(&ca.to_be_bytes());
    }
    if let Some(to) = frame.last_chunk_mut::<4>() {
        *to = number.to_be_bytes();
    }
}
