//! When nobody called a device of the rig's: perhaps somebody else had the core, and a rate is then not what the switch made of it.
//!
//! A worker at work, however long its turn is, calls one device or another again and again: the source for each burst, the sink for each that
//! leaves. In a stall nobody calls any. So each device notes when it was not called for [`shortest`], and what all of them noted
//! ([`common`]) is either a stall or one piece of work of the switch's own that took so long. Which of them, the kernel knows if another thread or
//! another machine had the core: each gap says how much of it, at most, the thread was without one. Of interrupts and of what a hypervisor does
//! not tell it knows nothing.

use rte::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// How many are kept: the last ones.
const KEPT: usize = 1 << 16;
/// What is shorter than so many parts of a second is work: 20 µs.
const SHORTEST: u64 = 50_000;

/// From how many cycles on, of so many a second, it is noted that a device was not called: 20 µs.
pub fn shortest(hz: u64) -> u64 {
    hz / SHORTEST
}

/// A time in which no device was called, in cycles of the TSC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// From one call
    pub from: u64,
    /// to the next.
    pub to: u64,
    /// For how much of it, at most, the kernel knows the thread to have been without a core.
    pub away: u64,
}

/// What a device writes and control reads.
#[derive(Debug)]
pub struct Gaps {
    spans: Box<[[AtomicU64; 3]]>,
    count: AtomicU64,
}

impl Default for Gaps {
    fn default() -> Self {
        let span = |_| [const { AtomicU64::new(0) }; 3];
        Gaps {
            spans: (0..KEPT).map(span).collect(),
            count: AtomicU64::new(0),
        }
    }
}

impl Gaps {
    /// Notes one. Who writes is one thread.
    fn note(&self, gap: Gap) {
        let count = self.count.load(Relaxed);
        if let Some([from, to, away]) = self.spans.get(count as usize % KEPT) {
            from.store(gap.from, Relaxed);
            to.store(gap.to, Relaxed);
            away.store(gap.away, Relaxed);
        }
        self.count.store(count + 1, Release);
    }

    /// Those that are kept and ended after this time, in order.
    pub fn since(&self, time: u64) -> Vec<Gap> {
        let count = self.count.load(Acquire);
        let kept = count.saturating_sub(KEPT as u64)..count;
        let gap = |number: u64| {
            let [from, to, away] = self.spans.get(number as usize % KEPT)?;
            Some(Gap {
                from: from.load(Relaxed),
                to: to.load(Relaxed),
                away: away.load(Relaxed),
            })
        };
        kept.filter_map(gap).filter(|gap| gap.to > time).collect()
    }
}

/// A device's calls.
#[derive(Debug)]
pub struct Calls {
    hz: u64,
    shortest: u64,
    /// The last; none yet: the end of time.
    last: u64,
    /// What both clocks said when the kernel was asked last: the TSC, and the thread's time in nanoseconds.
    asked: Option<(u64, u64)>,
    gaps: Arc<Gaps>,
}

impl Calls {
    /// None yet, on a machine whose TSC makes `hz` cycles a second.
    pub fn new(hz: u64) -> Calls {
        Calls {
            hz,
            shortest: shortest(hz),
            last: u64::MAX,
            asked: None,
            gaps: Arc::default(),
        }
    }

    /// What it writes.
    pub fn gaps(&self) -> Arc<Gaps> {
        self.gaps.clone()
    }

    /// It is called at this time of the TSC.
    #[inline(always)]
    pub fn call(&mut self, now: u64) {
        self.call_of(now, clock::thread);
    }

    /// The same by a thread that has had a core for so many nanoseconds.
    #[inline(always)]
    pub fn call_of(&mut self, now: u64, thread: impl FnOnce() -> u64) {
        if now.saturating_sub(self.last) > self.shortest {
            self.ends(now, thread());
        }
        self.last = now;
    }

    /// A time in which it was not called ends.
    #[cold]
    #[inline(never)]
    fn ends(&mut self, now: u64, ran: u64) {
        let away = self.asked.map_or(0, |(at, before)| {
            let since = now.saturating_sub(at);
            // Another thread's clock may be behind: then nothing is known.
            let ran = ran.checked_sub(before).map(u128::from);
            let ran = ran.map(|ran| ran * u128::from(self.hz) / 1_000_000_000);
            since.saturating_sub(ran.map_or(since, |ran| ran as u64))
        });
        self.asked = Some((now, ran));
        let gap = Gap {
            from: self.last,
            to: now,
            away: away.min(now - self.last),
        };
        self.gaps.note(gap);
    }
}

/// Times longer than this in which none of two devices was called, in order.
pub fn common(some: &[Gap], others: &[Gap], shortest: u64) -> Vec<Gap> {
    let mut both = Vec::new();
    let mut rest = others;
    for gap in some {
        while let [first, after @ ..] = rest
            && first.to <= gap.from
        {
            rest = after;
        }
        for other in rest.iter().take_while(|other| other.from < gap.to) {
            let (from, to) = (gap.from.max(other.from), gap.to.min(other.to));
            if to - from > shortest {
                let away = gap.away.min(other.away).min(to - from);
                both.push(Gap { from, to, away });
            }
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of 1 GHz: a cycle is a nanosecond.
    const HZ: u64 = 1_000_000_000;
    const US: u64 = 1_000;
    const SHORT: u64 = 20 * US;

    /// What a device notes that is called at these times, by a thread that has had a core for so long then.
    fn noted(calls: impl IntoIterator<Item = (u64, u64)>) -> Vec<Gap> {
        let mut device = Calls::new(HZ);
        for (now, ran) in calls {
            device.call_of(now, || ran);
        }
        device.gaps().since(0)
    }

    /// The same calls, by a thread that always ran.
    fn at_work(times: impl IntoIterator<Item = u64>) -> Vec<Gap> {
        noted(times.into_iter().map(|time| (time, time)))
    }

    fn gap(from: u64, to: u64, away: u64) -> Gap {
        Gap { from, to, away }
    }

    #[test]
    fn the_kernel_tells_who_is_slow_by_himself_from_who_had_no_core() {
        // A turn of 300 µs of the switch's own, then one of 10 µs in the midst of which somebody else had the core for 290.
        let calls = [(0, 0), (30, 30), (330, 330), (340, 340), (640, 350)];
        let gaps = noted(calls.map(|(now, ran)| (now * US, ran * US)));
        let [first, own, stall] = gaps[..] else {
            panic!("{gaps:?}");
        };
        assert_eq!(first, gap(0, 30 * US, 0));
        assert_eq!(own, gap(30 * US, 330 * US, 0));
        assert_eq!(stall, gap(340 * US, 640 * US, 290 * US));
    }

    #[test]
    fn who_calls_any_device_is_at_work() {
        // The source is polled once in a millisecond in which a burst leaves every 15 µs.
        let source = at_work([0, 1000 * US]);
        assert_eq!(source.len(), 1);
        let sink = |every: u64| {
            at_work(
                (0..)
                    .map(|n| n * every * US)
                    .take_while(|at| *at <= 1000 * US),
            )
        };
        assert_eq!(common(&source, &sink(15), SHORT), []);
        // Every 50 µs: that is all that can have been stalls.
        let stalls = common(&source, &sink(50), SHORT);
        assert_eq!((stalls.len(), stalls[1]), (20, gap(50 * US, 100 * US, 0)));
    }

    #[test]
    fn a_gap_is_what_both_noted_of_it() {
        let some = [gap(100, 900, 800), gap(1000, 1100, 100)];
        let others = [gap(0, 300, 250), gap(500, 1050, 500), gap(1080, 2000, 0)];
        let both = [gap(100, 300, 200), gap(500, 900, 400), gap(1000, 1050, 50)];
        assert_eq!(common(&some, &others, 30), both);
        assert_eq!(common(&others, &some, 30), both);
        assert_eq!(common(&some, &[], 30), []);
    }

    #[test]
    fn what_is_short_is_work_and_what_is_not_known_is_not_said() {
        assert_eq!(at_work([0, SHORT, 2 * SHORT]), []);
        // What the thread did before the kernel was asked for the first time,
        assert_eq!(noted([(0, 0), (SHORT + 1, 0)]), [gap(0, SHORT + 1, 0)]);
        // and anything if it is another thread since.
        let moved = [(0, 0), (SHORT + 1, 9 * US), (3 * SHORT, 8 * US)];
        assert_eq!(noted(moved)[1].away, 0);
    }

    #[test]
    fn the_last_are_kept() {
        let gaps = Gaps::default();
        let kept = KEPT as u64;
        (0..kept + 10).for_each(|n| gaps.note(gap(n, n + 1, 0)));
        let all = gaps.since(0);
        assert_eq!((all.len() as u64, all[0].from), (kept, 10));
        assert_eq!(gaps.since(kept + 9), [gap(kept + 9, kept + 10, 0)]);
    }
}
