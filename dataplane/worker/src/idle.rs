//! What a worker does while nothing comes, and for how long: polls on, pauses, or sleeps. Time is an argument.
//!
//! It polls and pauses for `PATIENCE` after the last packet, then sleeps: first briefly, then twice as long each time, never
//! beyond what its rings hold at the rate of their devices (where all of them call it, for as long as nothing comes), and never past the time at which something of its own is due.
//! A packet that comes alone, out of a silence, says little about the next one: behind it half of that patience is enough, and sleeps
//! begin at a quarter of what they were before, so that at a thousand packets a second there are some 10 µs of polling and, where no ring
//! forbids it, four sleeps for each packet.

use std::time::Duration;

/// What a worker does when nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls on: the least latency, a whole core.
    Poll,
    /// Pauses, then sleeps for short times: for machines with few cores.
    Adaptive,
}

/// How long nothing must have come before it pauses, and before it sleeps.
const PAUSE_AFTER: Duration = Duration::from_micros(2);
const PATIENCE: Duration = Duration::from_micros(20);
/// A pause.
const PAUSE: Duration = Duration::from_nanos(500);
/// The first sleep, which is also the shortest that is worth a system call.
const FIRST: Duration = Duration::from_micros(10);
/// The longest, whatever its rings hold.
pub(crate) const LONGEST: Duration = Duration::from_micros(500);
/// The longest where whatever comes ends it.
const LONGEST_CALLED: Duration = Duration::from_millis(100);
/// Behind a packet that came alone, the first sleep is the last one's so manieth part, and patience this one.
const PART: u32 = 4;
const PATIENCE_ALONE: Duration = Duration::from_micros(10);

/// What it does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Looks again at once.
    Poll,
    /// Pauses for so many TSC cycles.
    Pause(u64),
    /// Sleeps.
    Sleep(Duration),
}

/// How long nothing has come, and how long it may sleep.
#[derive(Debug)]
pub(crate) struct Quiet {
    hz: u64,
    /// TSC cycles.
    pause_after: u64,
    patience: u64,
    patience_alone: u64,
    pause: u64,
    /// What came last came alone; never where sleeps begin with the shortest, unless it was called.
    alone: bool,
    /// The last sleep was one that whatever comes ends.
    called: bool,
    /// When something last came.
    since: u64,
    /// The next sleep.
    sleep: Duration,
}

impl Quiet {
    /// From now on, with a TSC of `hz`.
    pub(crate) fn new(hz: u64, now: u64) -> Quiet {
        let cycles = |time: Duration| (time.as_nanos() as u64).saturating_mul(hz) / 1_000_000_000;
        Quiet {
            hz: hz.max(1),
            pause_after: cycles(PAUSE_AFTER),
            patience: cycles(PATIENCE),
            patience_alone: cycles(PATIENCE_ALONE),
            alone: false,
            called: false,
            pause: cycles(PAUSE),
            since: now,
            sleep: FIRST,
        }
    }

    /// Something has come.
    #[inline(always)]
    pub(crate) fn moved(&mut self, now: u64) {
        if self.sleep != FIRST || self.alone {
            self.woken(now);
        }
        self.since = now;
    }

    /// The first thing that comes after sleeps, and what comes soon behind it.
    #[cold]
    fn woken(&mut self, now: u64) {
        let came_alone = now.saturating_sub(self.since) >= self.patience;
        self.sleep = match came_alone {
            true => (self.sleep / PART).max(FIRST),
            false => FIRST,
        };
        self.alone = came_alone && (self.called || self.sleep != FIRST);
    }

    /// Whether it would sleep now, if it may: what bounds a sleep is worked out for none else.
    pub(crate) fn is_tired(&self, now: u64) -> bool {
        let patience = match self.alone {
            true => self.patience_alone,
            false => self.patience,
        };
        now.saturating_sub(self.since) >= patience
    }

    /// What to do in a turn in which nothing came. `until`: the time by which it must look again, in TSC cycles. `called`: whether whatever
    /// comes ends its sleep.
    pub(crate) fn next(&mut self, now: u64, until: u64, called: bool) -> Next {
        if now.saturating_sub(self.since) < self.pause_after {
            return Next::Poll;
        }
        let left = until.saturating_sub(now);
        let bound = u128::from(left) * 1_000_000_000 / u128::from(self.hz);
        let bound = Duration::from_nanos(u64::try_from(bound).unwrap_or(u64::MAX));
        if !self.is_tired(now) || bound < FIRST {
            return Next::Pause(self.pause.min(left));
        }
        let sleep = match called {
            true => LONGEST_CALLED,
            false => self.sleep,
        };
        let sleep = sleep.min(bound);
        self.called = called;
        self.sleep = (self.sleep * 2).min(LONGEST);
        Next::Sleep(sleep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TSC of a gigahertz: its cycles are nanoseconds.
    const HZ: u64 = 1_000_000_000;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn it_polls_pauses_and_sleeps_longer_and_longer() {
        let mut quiet = Quiet::new(HZ, 0);
        quiet.moved(1000);
        assert_eq!(quiet.next(2_999, u64::MAX, false), Next::Poll);
        assert_eq!(quiet.next(3_000, u64::MAX, false), Next::Pause(500));
        assert_eq!(quiet.next(20_999, u64::MAX, false), Next::Pause(500));
        for sleep in [10, 20, 40, 80, 160, 320, 500, 500] {
            assert_eq!(quiet.next(21_000, u64::MAX, false), Next::Sleep(us(sleep)));
        }
        // Much came: all over again.
        quiet.moved(30_000);
        quiet.moved(31_000);
        assert_eq!(quiet.next(31_000, u64::MAX, false), Next::Poll);
        assert_eq!(quiet.next(60_000, u64::MAX, false), Next::Sleep(us(10)));
    }

    #[test]
    fn behind_a_packet_that_came_alone_it_sleeps_a_quarter_as_long_and_behind_two_briefly() {
        let mut quiet = Quiet::new(HZ, 0);
        for _ in 0..8 {
            quiet.next(1_000_000, u64::MAX, false);
        }
        // A thousand a second: it never begins anew.
        for packet in 2..10 {
            let now = packet * 1_000_000;
            quiet.moved(now);
            assert_eq!(quiet.next(now + 1, u64::MAX, false), Next::Poll);
            assert_eq!(quiet.next(now + 9_999, u64::MAX, false), Next::Pause(500));
            for sleep in [125, 250, 500] {
                assert_eq!(
                    quiet.next(now + 10_000, u64::MAX, false),
                    Next::Sleep(us(sleep))
                );
            }
        }
        quiet.moved(20_000_000);
        quiet.moved(20_019_999);
        assert_eq!(quiet.next(20_039_998, u64::MAX, false), Next::Pause(500));
        assert_eq!(quiet.next(20_050_000, u64::MAX, false), Next::Sleep(us(10)));
        // A quarter of the shortest is the shortest.
        for now in [20_100_000, 20_200_000] {
            quiet.moved(now);
            assert_eq!(quiet.next(now + 19_999, u64::MAX, false), Next::Pause(500));
            assert_eq!(
                quiet.next(now + 50_000, u64::MAX, false),
                Next::Sleep(us(10))
            );
        }
    }

    #[test]
    fn whoever_is_called_sleeps_on_until_it_is_or_something_is_due() {
        let mut quiet = Quiet::new(HZ, 0);
        assert_eq!(quiet.next(19_999, u64::MAX, true), Next::Pause(500));
        for _ in 0..3 {
            let long = quiet.next(20_000, u64::MAX, true);
            assert_eq!(long, Next::Sleep(us(100_000)));
        }
        let due = quiet.next(20_000, 20_000 + 700_000, true);
        assert_eq!(due, Next::Sleep(us(700)));
    }

    #[test]
    fn whoever_is_called_for_one_packet_sleeps_again_sooner_and_for_two_does_not() {
        let mut quiet = Quiet::new(HZ, 0);
        quiet.next(20_000, u64::MAX, true);
        quiet.moved(1_000_000);
        assert_eq!(quiet.next(1_009_999, u64::MAX, true), Next::Pause(500));
        let again = quiet.next(1_010_000, u64::MAX, true);
        assert_eq!(again, Next::Sleep(us(100_000)));
        // Two, and more: it keeps looking between them.
        for packet in 0..4 {
            quiet.moved(2_000_000 + packet * 15_000);
        }
        let last = 2_045_000;
        assert_eq!(quiet.next(last + 19_999, u64::MAX, true), Next::Pause(500));
        assert_eq!(
            quiet.next(last + 20_000, u64::MAX, true),
            Next::Sleep(us(100_000))
        );
    }

    #[test]
    fn it_never_sleeps_past_what_is_due() {
        let mut quiet = Quiet::new(HZ, 0);
        let now = 1_000_000;
        for bound in [0, 1, 499, 500, 9_999, 10_000, 33_000, 70_000, 400_000] {
            for _ in 0..8 {
                match quiet.next(now, now + bound, false) {
                    Next::Poll => panic!("it is quiet"),
                    Next::Pause(cycles) => assert!(cycles <= bound && bound < 10_000),
                    Next::Sleep(time) => {
                        assert!(time.as_nanos() as u64 <= bound && time >= us(10), "{bound}");
                    }
                }
            }
        }
        // What was due already is looked at, not slept through.
        assert_eq!(quiet.next(now, now - 5, false), Next::Pause(0));
    }
}
