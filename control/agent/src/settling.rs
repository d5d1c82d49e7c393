//! How long does a change of the big tables take: until every worker has seen it, and until what it replaced is free to be
//! used again? And which changes may some worker not have seen yet?
//!
//! A change is in the table as soon as it is written; a worker has seen it at the latest when it has passed a quiescent point
//! since. Asking that of each change alone would cost every worker a cache miss a change, so changes end in *lots*: an epoch
//! begins after at most [`LOT`] of them, and each is held to have been made when the first of its lot was. What is told here
//! is therefore never less than what it took.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::stats::{ChangeStats, Percentiles};

/// Changes in a lot, at most: a few microseconds of writing.
pub const LOT: u64 = 32;
/// The longest time that is told apart from longer ones: a worker that stood still for a minute.
const LONGEST: Duration = Duration::from_secs(60);
/// Digits that a time is told by: within 0.1%.
const DIGITS: u8 = 3;

/// Changes that ended together.
#[derive(Debug)]
struct Lot {
    epoch: u64,
    since: Instant,
    changes: u64,
    held: u64,
}

/// Times of one kind, in nanoseconds.
#[derive(Clone, Debug)]
struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Times {
        let Ok(none) = Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, DIGITS) else {
            unreachable!("bounds in order, and at most five digits");
        };
        Times(none)
    }
}

impl Times {
    fn add(&mut self, took: Duration, count: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record_n(nanos, count);
    }

    fn told(&self) -> Percentiles {
        // What is left of a histogram after subtraction still has its longest time.
        if self.0.is_empty() {
            return Percentiles::default();
        }
        let micros = |nanos: u64| nanos as f64 / 1e3;
        Percentiles {
            count: self.0.len(),
            p50_us: micros(self.0.value_at_quantile(0.5)),
            p99_us: micros(self.0.value_at_quantile(0.99)),
            max_us: micros(self.0.max()),
        }
    }
}

/// How long changes have taken.
#[derive(Clone, Debug, Default)]
pub struct Took {
    visible: Times,
    reclaimed: Times,
    waits: u64,
}

impl Took {
    /// In numbers.
    pub fn told(&self) -> ChangeStats {
        ChangeStats {
            visible: self.visible.told(),
            reclaimed: self.reclaimed.told(),
            waits: self.waits,
        }
    }

    /// What came after `before`, an earlier state of the same.
    pub fn since(&self, before: &Took) -> Took {
        let mut own = self.clone();
        // Refused where it was not an earlier state: then all of it is told.
        let _ = own.visible.0.subtract(&before.visible.0);
        let _ = own.reclaimed.0.subtract(&before.reclaimed.0);
        own.waits = self.waits.saturating_sub(before.waits);
        own
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Settling {
    /// Of the lot that has not ended: when its first change was made, and how many there are.
    first: Option<Instant>,
    changes: u64,
    /// Lots that have ended, oldest first, and that some worker may not have seen.
    ended: VecDeque<Lot>,
    took: Took,
}

impl Settling {
    /// A change is made. Whether its lot is to end.
    #[inline]
    pub fn add(&mut self) -> bool {
        self.first.get_or_insert_with(Instant::now);
        self.changes += 1;
        self.changes >= LOT
    }

    /// The changes of the lot that begins were asked for at this time, and had to wait.
    pub fn asked(&mut self, since: Instant) {
        self.first = Some(self.first.map_or(since, |first| first.min(since)));
    }

    /// The lot has ended in `epoch`, with so many places that may not be used again before every worker has passed it. There
    /// may be such places without a change: what was moved out of the way of one that still waits.
    pub fn end(&mut self, epoch: u64, held: usize) {
        let since = self.first.take();
        if since.is_none() && held == 0 {
            return;
        }
        self.ended.push_back(Lot {
            epoch,
            since: since.unwrap_or_else(Instant::now),
            changes: std::mem::take(&mut self.changes),
            held: held as u64,
        });
    }

    /// Every worker has passed `epoch`: how many lots they have seen by that. [`Settling::freed`] is to follow.
    pub fn seen(&mut self, epoch: u64) -> usize {
        let lots = self.ended.partition_point(|lot| lot.epoch <= epoch);
        if lots > 0 {
            let now = Instant::now();
            for lot in self.ended.range(..lots) {
                self.took.visible.add(now - lot.since, lot.changes);
            }
        }
        lots
    }

    /// What the first `lots` lots replaced may be used again from here on.
    pub fn freed(&mut self, lots: usize) {
        let now = Instant::now();
        for lot in self.ended.drain(..lots.min(self.ended.len())) {
            self.took.reclaimed.add(now - lot.since, lot.held);
        }
    }

    /// A change has to wait until every worker has passed.
    pub fn waited(&mut self) {
        self.took.waits += 1;
    }

    /// Whether a lot has begun and not ended.
    pub fn is_open(&self) -> bool {
        self.first.is_some()
    }

    /// The epoch of the last lot that some worker may not have seen.
    pub fn last(&self) -> Option<u64> {
        self.ended.back().map(|lot| lot.epoch)
    }

    /// How long changes have taken so far.
    pub fn took(&self) -> &Took {
        &self.took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lot(settling: &mut Settling, epoch: u64, changes: u64, held: usize) {
        for _ in 0..changes {
            settling.add();
        }
        settling.end(epoch, held);
    }

    #[test]
    fn a_lot_is_seen_when_its_epoch_is_passed_and_not_before() {
        let mut settling = Settling::default();
        lot(&mut settling, 2, 3, 1);
        lot(&mut settling, 3, 5, 0);
        assert_eq!(settling.seen(1), 0);
        assert_eq!(settling.took().told(), ChangeStats::default());
        assert_eq!(settling.seen(2), 1);
        settling.freed(1);
        let told = settling.took().told();
        assert_eq!((told.visible.count, told.reclaimed.count), (3, 1));
        assert_eq!(settling.last(), Some(3));
        assert_eq!(settling.seen(9), 1);
        settling.freed(1);
        assert_eq!(settling.last(), None);
        assert_eq!(settling.took().told().visible.count, 8);
    }

    #[test]
    fn a_lot_ends_after_so_many_changes_and_one_without_changes_is_none() {
        let mut settling = Settling::default();
        for _ in 1..LOT {
            assert!(!settling.add());
        }
        assert!(settling.add());
        settling.end(2, 0);
        settling.end(3, 0);
        assert_eq!(settling.seen(3), 1);
    }

    #[test]
    fn what_had_to_wait_counts_from_when_it_was_asked_for() {
        let mut settling = Settling::default();
        let asked = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        settling.asked(asked);
        settling.add();
        settling.end(2, 0);
        settling.seen(2);
        assert!(settling.took().told().visible.p50_us >= 2000.0);
    }

    #[test]
    fn what_is_held_for_a_change_that_waits_is_a_lot_of_its_own() {
        let mut settling = Settling::default();
        settling.end(2, 1);
        assert_eq!(settling.seen(2), 1);
        settling.freed(1);
        let told = settling.took().told();
        assert_eq!((told.visible.count, told.reclaimed.count), (0, 1));
    }

    #[test]
    fn times_are_those_since_the_first_of_a_lot() {
        let mut settling = Settling::default();
        settling.add();
        std::thread::sleep(Duration::from_millis(2));
        settling.add();
        settling.end(2, 2);
        settling.seen(2);
        std::thread::sleep(Duration::from_millis(2));
        settling.freed(1);
        let told = settling.took().told();
        let (seen, freed) = (told.visible, told.reclaimed);
        assert!(seen.count == 2 && freed.count == 2, "{told:?}");
        assert!(
            seen.p50_us >= 2000.0 && seen.max_us >= seen.p99_us,
            "{told:?}"
        );
        assert!(freed.p50_us >= 4000.0, "{told:?}");
    }

    #[test]
    fn what_came_since_is_told_apart() {
        let mut settling = Settling::default();
        settling.waited();
        lot(&mut settling, 2, 1, 1);
        settling.seen(2);
        settling.freed(1);
        let before = settling.took().clone();
        assert_eq!(before.since(&before).told(), ChangeStats::default());
        let mut long = Took::default();
        long.visible.add(Duration::from_micros(98), 1);
        assert_eq!(long.since(&long).told(), ChangeStats::default());
        settling.waited();
        lot(&mut settling, 3, 4, 2);
        settling.seen(3);
        settling.freed(1);
        let own = settling.took().since(&before).told();
        assert_eq!(
            (own.visible.count, own.reclaimed.count, own.waits),
            (4, 2, 1)
        );
    }
}
