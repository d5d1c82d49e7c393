//! How several workers share one uplink: each says in cells of its own what it uses and what it could use more of; each reckons its own
//! part of the capacity from what all say. Nobody waits, nobody writes what another writes.
//!
//! The formula is the scheduler's own, by workers: what leaves without waiting is let through, the rest of the capacity is shared by the
//! weights of the nodes that can use more than they get. Where somebody can use more, a worker is let through no more than its other nodes
//! have by their weights: who has one frame waiting at any time leaves none behind, and would have all of the link. A node that several
//! workers have (the default class, a traffic class) counts in each by its leaves there. A part of the rest grows by half of what is
//! missing each time and shrinks at once, so that the parts together exceed the capacity for an interval at most, and do not swing.

use super::FULL_FRAME;
use super::link::SHARED;
use std::sync::Arc;
use weir_tables::bandwidth::{Link, Pace, TCS};
use weir_tables::counters::Counter;

/// A part of the capacity that is kept for workers that need no more than they have: so that the first frame of one leaves at once.
/// 1/256 for all together.
const KEPT: u64 = 256;
/// Intervals after which what a worker said is old: it has ended, or sleeps.
const OLD: u64 = 64;

/// What one worker says of itself on one uplink. It alone writes this.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Report {
    /// When, in TSC cycles.
    at: Counter,
    /// Wire bytes a second that leave without waiting for others.
    used: Counter,
    /// Weights of the nodes that can use more than they get, by DCB traffic class.
    hungry: [Counter; TCS],
    /// Weights of its other nodes.
    others: Counter,
    /// Its leaves that can use more, by shared node.
    members: Members,
}

#[derive(Debug)]
struct Members([Counter; SHARED as usize]);

impl Default for Members {
    fn default() -> Self {
        Members([const { Counter::new() }; SHARED as usize])
    }
}

/// What the workers that share an uplink say: one value for all of them.
#[derive(Debug)]
pub struct Leases {
    reports: Box<[Report]>,
}

impl Leases {
    /// For so many workers, by their numbers.
    pub fn new(workers: usize) -> Arc<Leases> {
        let reports = (0..workers).map(|_| Report::default()).collect();
        Arc::new(Leases { reports })
    }

    /// How many workers share it.
    pub fn workers(&self) -> usize {
        self.reports.len()
    }
}

/// What of something shared is this worker's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    mine: u64,
    all: u64,
}

impl Part {
    /// Of a weight.
    pub(crate) fn weight(self, of: u64) -> u64 {
        let part = u128::from(of) * u128::from(self.mine);
        let part = part.checked_div(u128::from(self.all)).unwrap_or_default();
        (part as u64).max(1)
    }

    /// Of a maximum.
    pub(crate) fn pace(self, of: Pace) -> Pace {
        let pace = u128::from(of.0) * u128::from(self.all);
        let pace = pace.checked_div(u128::from(self.mine)).unwrap_or_default();
        Pace(u64::try_from(pace).unwrap_or(u64::MAX))
    }
}

/// What each weight has: so many bytes a second for so much of it.
#[derive(Clone, Copy)]
struct Level {
    bytes: u64,
    weight: u64,
}

impl Level {
    /// Nobody can use more than there is.
    const UNLIMITED: Level = Level {
        bytes: 1,
        weight: 0,
    };

    /// Whether a worker uses no more without waiting than its nodes have by it, the hungry ones left out.
    fn has_enough(self, report: &Report) -> bool {
        let has = u128::from(report.others.get()) * u128::from(self.bytes);
        u128::from(report.used.get()) * u128::from(self.weight) <= has
    }

    fn is_above(self, other: Level) -> bool {
        let [own, its] =
            [(self, other), (other, self)].map(|(a, b)| u128::from(a.bytes) * u128::from(b.weight));
        own > its
    }

    /// What a worker has before the rest is shared.
    fn of(self, report: &Report) -> u64 {
        if self.has_enough(report) {
            return report.used.get();
        }
        let has = u128::from(report.others.get()) * u128::from(self.bytes);
        (has / u128::from(self.weight)) as u64
    }
}

/// One worker's part of one uplink.
pub(crate) struct Lease {
    leases: Arc<Leases>,
    me: usize,
    hz: u64,
    /// Wire bytes a second; none: nobody knows.
    capacity: Option<u64>,
    strict: u8,
    shares: [u64; TCS],
    shared: usize,
    interval: u64,
    last: u64,
    /// Wire bytes since then, of what left without waiting and of leaves of which nothing was left.
    light: u64,
    /// Of leaves that had more.
    heavy: u64,
    /// Whether something waited because this worker's part was used up.
    pub(crate) held: bool,
    /// Wire bytes a second that leave without waiting for others, smoothed.
    used: u64,
    /// Whether it could use more when it said so last.
    was_hungry: bool,
    /// Its part of what nobody uses without waiting, in wire bytes a second, damped.
    rest: u64,
    all_members: [u64; SHARED as usize],
    own_members: [u64; SHARED as usize],
}

impl Lease {
    pub(crate) fn new(
        leases: Arc<Leases>,
        me: usize,
        link: &Link,
        capacity: Option<u64>,
        hz: u64,
    ) -> Lease {
        let mut strict = 0;
        let mut shares = [0; TCS];
        for (tc, (share, says)) in shares.iter_mut().zip(&link.tcs).enumerate() {
            strict |= u8::from(says.strict) << tc;
            *share = u64::from(says.share) * 1000 + 1;
        }
        // A fifth of a millisecond, but some frames on a slow link.
        let frames = (link.capacity.time(16 * FULL_FRAME) >> 32) as u64;
        let workers = leases.workers().max(1) as u64;
        Lease {
            me,
            hz,
            capacity,
            strict,
            shares,
            shared: link.classes.len().min(SHARED as usize - 1),
            interval: (hz / 5_000).max(frames).max(1),
            last: 0,
            light: 0,
            heavy: 0,
            held: false,
            used: 0,
            was_hungry: false,
            rest: capacity.unwrap_or(0) / workers,
            all_members: [0; SHARED as usize],
            own_members: [0; SHARED as usize],
            leases,
        }
    }

    /// Whether no other worker shares the uplink.
    pub(crate) fn is_alone(&self) -> bool {
        self.leases.workers() <= 1
    }

    #[inline(always)]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now.wrapping_sub(self.last) >= self.interval
    }

    /// So many wire bytes left without waiting.
    #[inline(always)]
    pub(crate) fn passed(&mut self, wire: u32) {
        self.light += u64::from(wire);
    }

    /// So many wire bytes left that had waited; `stays`: their leaf can use more.
    #[inline(always)]
    pub(crate) fn sent(&mut self, wire: u32, stays: bool) {
        match stays {
            true => self.heavy += u64::from(wire),
            false => self.light += u64::from(wire),
        }
    }

    /// Says what this worker needs, reads what the others do, and gives the pace of its part.
    pub(crate) fn reckon(
        &mut self,
        now: u64,
        hungry: [u64; TCS],
        here: u64,
        members: impl Fn(usize) -> u64,
    ) -> Pace {
        let took = now.wrapping_sub(self.last).max(1);
        // Long ago, or never: what was then says nothing of now.
        let is_new = took > 4 * self.interval;
        self.last = now;
        let (light, heavy) = (
            std::mem::take(&mut self.light),
            std::mem::take(&mut self.heavy),
        );
        let held = std::mem::take(&mut self.held);
        if self.is_alone() {
            return self.pace_of(self.capacity);
        }
        // What is not held back by its part is not hungry, whatever waits: its processor is the bottleneck, or its device.
        let hungry = if held { hungry } else { [0; TCS] };
        let is_hungry = hungry.iter().any(|&weight| weight > 0);
        let was_hungry = std::mem::replace(&mut self.was_hungry, is_hungry);
        let used = if is_hungry { light } else { light + heavy };
        let rate = u128::from(used) * u128::from(self.hz) / u128::from(took);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        self.used = match is_new || was_hungry && !is_hungry {
            // Nothing of it was known: what it has had is what it needs.
            true => rate,
            false => self.used.midpoint(rate),
        };
        self.say(now, hungry, here, members);
        let Some(capacity) = self.capacity else {
            self.hear_members(now);
            return Pace::UNLIMITED;
        };
        let (used, rest) = self.target(now, capacity, hungry);
        self.hear_members(now);
        self.rest = match rest > self.rest {
            true => self.rest + (rest - self.rest).div_ceil(2),
            false => rest,
        };
        self.pace_of(Some(used + self.rest))
    }

    fn pace_of(&self, bytes: Option<u64>) -> Pace {
        bytes.map_or(Pace::UNLIMITED, |bytes| {
            Pace::of(bytes.saturating_mul(8).max(8), self.hz)
        })
    }

    fn say(&mut self, now: u64, hungry: [u64; TCS], here: u64, members: impl Fn(usize) -> u64) {
        let Some(report) = self.leases.reports.get(self.me) else {
            return;
        };
        for (cell, weight) in report.hungry.iter().zip(hungry) {
            cell.set(weight);
        }
        report.others.set(here.saturating_sub(hungry.iter().sum()));
        let own = self.own_members.iter_mut().zip(&report.members.0);
        for (shared, (own, cell)) in own.enumerate().take(self.shared + 1) {
            *own = members(shared);
            cell.set(*own);
        }
        report.used.set(self.used);
        report.at.set(now);
    }

    fn fresh(&self, now: u64) -> impl Iterator<Item = &Report> {
        let old = self.interval.saturating_mul(OLD);
        let reports = self.leases.reports.iter();
        // Clocks of two cores may differ a little: what is said to be of the future is fresh.
        reports.filter(move |report| now.saturating_sub(report.at.get()) <= old)
    }

    fn hear_members(&mut self, now: u64) {
        let mut all = [0; SHARED as usize];
        for report in self.fresh(now) {
            let cells = all.iter_mut().zip(&report.members.0);
            for (sum, cell) in cells.take(self.shared + 1) {
                *sum += cell.get();
            }
        }
        self.all_members = all;
    }

    /// Water-filling: what is used by who needs no more, then the rest by hunger. Of both, what is this worker's.
    fn target(&self, now: u64, capacity: u64, hungry: [u64; TCS]) -> (u64, u64) {
        let mut hungry_workers = 0;
        let mut all = [0_u64; TCS];
        for report in self.fresh(now) {
            let mut is_hungry = false;
            for (sum, cell) in all.iter_mut().zip(&report.hungry) {
                is_hungry |= cell.get() > 0;
                *sum = sum.saturating_add(cell.get());
            }
            hungry_workers += u64::from(is_hungry);
        }
        let workers = self.leases.workers().max(1) as u64;
        let each = capacity / KEPT / workers;
        let kept = each * workers.saturating_sub(hungry_workers);
        let level = self.level(now, capacity.saturating_sub(kept), all.iter().sum());
        let fresh = self.fresh(now);
        let used = fresh.fold(0_u64, |sum, report| sum.saturating_add(level.of(report)));
        let rest = capacity.saturating_sub(kept).saturating_sub(used);
        let of = |what: u64, mine: u64, all: u64| {
            let part = u128::from(what) * u128::from(mine);
            part.checked_div(u128::from(all)).unwrap_or_default() as u64
        };
        let classes = || all.iter().zip(hungry).zip(self.shares).enumerate();
        let strict = classes()
            .rev()
            .find(|&(tc, ((&all, _), _))| all > 0 && self.strict >> tc & 1 == 1);
        let mine = if let Some((_, ((&all, mine), _))) = strict {
            of(rest, mine, all)
        } else {
            let shares: u64 = classes()
                .filter(|&(_, ((&all, _), _))| all > 0)
                .map(|(_, (_, share))| share)
                .sum();
            match shares {
                // Nobody is hungry: whoever is next finds his part of what is left.
                0 => rest / workers,
                _ => classes()
                    .map(|(_, ((&all, mine), share))| of(of(rest, share, shares), mine, all))
                    .sum(),
            }
        };
        let own = self.leases.reports.get(self.me);
        let mine_used = own.map_or(0, |report| level.of(report));
        // What is used may be more than there is, for a moment.
        let own = match used > capacity {
            true => of(capacity, mine_used, used),
            false => mine_used,
        };
        let kept = match hungry {
            [0, 0, 0, 0, 0, 0, 0, 0] => each,
            _ => 0,
        };
        (kept + own, mine)
    }

    /// What a weight has where so much is shared by all of this hunger, and by who uses more than that would be for its weights. Found from
    /// below: at first all share, and each time who needs less has what it needs.
    fn level(&self, now: u64, capacity: u64, hungry: u64) -> Level {
        if hungry == 0 {
            return Level::UNLIMITED;
        }
        let mut level = Level {
            bytes: 0,
            weight: 1,
        };
        // Each time another has enough, or this is it.
        for _ in 0..=self.leases.workers() {
            let (mut bytes, mut weight) = (capacity, hungry);
            for report in self.fresh(now) {
                match level.has_enough(report) {
                    true => bytes = bytes.saturating_sub(report.used.get()),
                    false => weight = weight.saturating_add(report.others.get()),
                }
            }
            let next = Level { bytes, weight };
            if !next.is_above(level) {
                break;
            }
            level = next;
        }
        level
    }

    /// What of a shared node is this worker's: by its leaves, of which a newcomer is one.
    pub(crate) fn part(&self, shared: usize) -> Option<Part> {
        let own = *self.own_members.get(shared)?;
        let all = *self.all_members.get(shared)?;
        let mine = own.max(1);
        Some(Part {
            mine,
            all: all.saturating_sub(own) + mine,
        })
    }
}
