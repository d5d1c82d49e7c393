//! A rate by due times (GCRA, ITU-T I.371; Carousel, SIGCOMM 2017): when the next byte would be in time if they were evenly
//! spaced. One multiplication a batch, no tokens, no division.
//!
//! What is due may leave up to a tolerance before its time. That is all the burst there is: the rate times the tolerance, whatever the
//! rate, and the frame that leaves last. It is also how late a loop may come without losing anything.

use super::FULL_FRAME;
use weir_tables::bandwidth::Pace;

/// When the next byte is in time, in TSC cycles with their fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    at: u64,
    fraction: u32,
}

impl Due {
    /// Whether something may leave at `now`, so much before its time.
    #[inline(always)]
    pub(crate) fn is_open(self, now: u64, tolerance: u64) -> bool {
        self.at <= now.wrapping_add(tolerance)
    }

    /// When something may leave.
    #[inline(always)]
    pub(crate) fn opens(self, tolerance: u64) -> u64 {
        self.at.saturating_sub(tolerance)
    }

    /// When it is due after so many bytes that leave at `now`.
    #[inline(always)]
    pub(crate) fn after(self, pace: Pace, bytes: u32, now: u64) -> Due {
        // 64 and 32 bits: whole cycles fit 64.
        let time = pace.time(u64::from(bytes));
        let (at, fraction) = match self.at < now {
            true => (now, 0),
            false => (self.at, self.fraction),
        };
        let (fraction, carry) = fraction.overflowing_add(time as u32);
        let whole = (time >> 32) as u64;
        let at = at.wrapping_add(whole).wrapping_add(u64::from(carry));
        Due { at, fraction }
    }

    /// The same of bytes that have waited for others so many cycles: that counts, up to the time of a full frame. So whoever waits for its turn on a
    /// link does not fall below its rate, and nobody saves up more than a frame.
    #[inline(always)]
    pub(crate) fn after_waiting(self, pace: Pace, bytes: u32, waited: u64, now: u64) -> Due {
        if self.at >= now {
            return self.after(pace, bytes, now);
        }
        let time = (pace.time(u64::from(bytes).max(FULL_FRAME)) >> 32) as u64;
        self.after(pace, bytes, now.saturating_sub(waited.min(time)))
    }

    /// How long it is until it is due.
    pub(crate) fn ahead(self, now: u64) -> u64 {
        self.at.saturating_sub(now)
    }

    /// The same, but no longer than what may leave early at the new pace takes, and two full frames: what left early at a fast pace is
    /// not paid off at a slow one, which might take for ever.
    pub(crate) fn changed(self, from: Pace, to: Pace, now: u64, early: u64) -> Due {
        let due = self.carried_over(from, to, now);
        let frames = (to.time(2 * FULL_FRAME) >> 32) as u64;
        let most = early.saturating_add(frames);
        match due.ahead(now) > most {
            true => Due::in_cycles(now, most),
            false => due,
        }
    }

    /// Due so many cycles later.
    pub(crate) fn later(self, cycles: u64) -> Due {
        Due {
            at: self.at.saturating_add(cycles),
            ..self
        }
    }

    /// Due in so many cycles.
    pub(crate) fn in_cycles(now: u64, cycles: u64) -> Due {
        Due {
            at: now.saturating_add(cycles),
            fraction: 0,
        }
    }

    /// The same bytes owed at another pace: a rate that changes neither forgives nor punishes.
    pub(crate) fn carried_over(self, from: Pace, to: Pace, now: u64) -> Due {
        let owed = u128::from(self.ahead(now));
        if from == to {
            return self;
        }
        // 64 and 64 bits do not overflow 128. Of no limit nothing is owed, before or after.
        match (owed * u128::from(to.0)).checked_div(u128::from(from.0)) {
            Some(owed) => Due::in_cycles(now, u64::try_from(owed).unwrap_or(u64::MAX)),
            None => Due::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fraction_of_a_cycle_is_carried() {
        // A third of a cycle a byte: 3 million bytes one by one take a million cycles.
        let pace = Pace((1 << 32) / 3 + 1);
        let mut due = Due::default();
        for _ in 0..3_000_000 {
            due = due.after(pace, 1, 0);
        }
        assert!(due.at.abs_diff(1_000_000) <= 1, "{due:?}");
    }

    #[test]
    fn a_new_pace_owes_the_same_bytes() {
        let (slow, fast) = (Pace(400 << 32), Pace(100 << 32));
        let due = Due::default().after(slow, 1000, 50);
        assert_eq!(due.ahead(50), 400_000);
        assert_eq!(due.carried_over(slow, fast, 50).ahead(50), 100_000);
        assert_eq!(due.carried_over(slow, Pace::UNLIMITED, 50).ahead(50), 0);
        let free = Due::default();
        assert_eq!(free.carried_over(Pace::UNLIMITED, slow, 50).ahead(50), 0);
    }

    #[test]
    fn what_was_kept_waiting_by_others_is_not_punished() {
        let pace = Pace(10 << 32);
        let due = Due::in_cycles(0, 1000);
        // A full frame takes 15,380 cycles: up to that it may be late, but no more than it has waited.
        assert_eq!(due.after_waiting(pace, 100, 15_000, 15_000).at, 2000);
        assert_eq!(due.after_waiting(pace, 100, 20_000, 20_000).at, 5620);
        assert_eq!(due.after_waiting(pace, 100, 100, 9000).at, 9900);
        assert_eq!(due.after_waiting(pace, 100, 900, 900).at, 2000);
        assert_eq!(due.after_waiting(pace, 100, 0, 9000).at, 10_000);
    }

    #[test]
    fn what_is_extreme_does_not_overflow() {
        let due = Due::default().after(Pace(u64::MAX), 1 << 20, 7);
        assert_eq!(due.at, 7 + (1 << 52) - 1);
        assert!(due.is_open(1 << 53, 0) && !due.is_open(5, 3));
        let _ = due.carried_over(Pace(1), Pace(u64::MAX), 0);
    }
}
