//! Which frame is due when: evenly spaced, whatever has been sent so far.

/// Bits of a cycle's fraction. A trial of an hour at 4 GHz has 44 bits of cycles, so this much is left; it makes an error of
/// less than 100 cycles over a billion frames.
const FRACTION: u32 = 20;

/// The frames of one trial.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The TSC at which the first frame is due.
    start: u64,
    /// Cycles between two frames, and until the next one's due time: with a fraction.
    interval: u64,
    next: u64,
    /// Frames that were given out, and all of them.
    given: u32,
    total: u32,
}

impl Schedule {
    /// So many frames a second for so many seconds, from `start` on, where the TSC has `hz` cycles a second. One frame at the least.
    pub fn new(rate: f64, seconds: f64, start: u64, hz: u64) -> Schedule {
        Schedule {
            start,
            interval: (hz as f64 / rate * f64::from(1u32 << FRACTION)).round() as u64,
            next: 0,
            given: 0,
            total: ((rate * seconds).round() as u32).max(1),
        }
    }

    /// Frames of the whole trial.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// The next frame that is due at `now`: its number, and the TSC at which it was due.
    #[inline]
    pub fn due(&mut self, now: u64) -> Option<(u32, u64)> {
        let due = self.start + (self.next >> FRACTION);
        if due > now || self.given == self.total {
            return None;
        }
        let number = self.given;
        self.given += 1;
        self.next += self.interval;
        Some((number, due))
    }

    /// Whether all were given out.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.given == self.total
    }

    /// How many were given out.
    pub fn given(&self) -> u32 {
        self.given
    }

    /// Cycles of the whole trial.
    pub fn cycles(&self) -> u64 {
        ((u128::from(self.interval) * u128::from(self.total)) >> FRACTION) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_evenly_and_to_the_end_of_a_long_trial() {
        let (hz, rate) = (2_596_000_000, 14_880_952.38);
        let mut schedule = Schedule::new(rate, 2.0, 1000, hz);
        assert_eq!(schedule.total(), 29_761_905);
        assert_eq!(schedule.due(999), None);
        assert_eq!(schedule.due(1000), Some((0, 1000)));
        assert_eq!(schedule.due(1173), None);
        assert_eq!(schedule.due(1174), Some((1, 1174)));
        let mut last = (1, 1174);
        while let Some(frame) = schedule.due(u64::MAX) {
            assert_eq!(frame.0, last.0 + 1);
            last = frame;
        }
        assert!(schedule.is_done());
        let ideal = 1000.0 + f64::from(last.0) * hz as f64 / rate;
        assert!((last.1 as f64 - ideal).abs() < 100.0, "{last:?} {ideal}");
    }

    #[test]
    fn who_comes_late_is_owed_all_and_each_with_its_own_time() {
        let mut schedule = Schedule::new(10.0, 1.0, 0, 1000);
        let mut owed = Vec::new();
        while let Some((_, due)) = schedule.due(450) {
            owed.push(due);
        }
        assert_eq!(owed, [0, 100, 200, 300, 400]);
        assert_eq!(Schedule::new(0.1, 1.0, 0, 1000).total(), 1);
    }
}
