//! What a load is for a goal, by the trials at that load: RFC 9971, appendices "Load Classification Code" and
//! "Conditional Throughput Code", word for word in their meaning.

/// One trial's outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Its intended length, in seconds.
    pub seconds: f64,
    /// Share of its packets that did not arrive, 0 to 1.
    pub loss: f64,
}

/// A search goal (RFC 9971, "Search Goal").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Share of a trial's packets that may be lost: 0 or more, less than 1.
    pub loss_ratio: f64,
    /// Share of the trials' time in which more may be lost: 0 or more, less than 1.
    pub exceed_ratio: f64,
    /// How far the bounds may be apart, as a share of the upper one: more than 0, less than 1.
    pub width: f64,
    /// Seconds of the shortest trials: more than 0.
    pub initial_seconds: f64,
    /// Seconds of the trials that decide: no less than those.
    pub final_seconds: f64,
    /// Seconds of trials that decide about one load: no less than those.
    pub sum_seconds: f64,
}

/// What a load is for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It keeps the goal, whatever more trials would show.
    Lower,
    /// It does not.
    Upper,
    /// Too little is known.
    Undecided,
}

impl Goal {
    /// What a load with these trials is.
    pub fn classify(&self, trials: &[Trial]) -> Bound {
        let sum = |full: bool, low: bool| -> f64 {
            let meant = |trial: &&Trial| {
                (trial.seconds >= self.final_seconds) == full
                    && (trial.loss <= self.loss_ratio) == low
            };
            trials
                .iter()
                .filter(meant)
                .map(|trial| trial.seconds)
                .sum::<f64>()
        };
        let (full_low, full_high) = (sum(true, true), sum(true, false));
        let (short_low, short_high) = (sum(false, true), sum(false, false));
        // Short trials only ever count against a load, and only those that good ones do not balance.
        let balancing = short_low * self.exceed_ratio / (1.0 - self.exceed_ratio);
        let high = full_high + (short_high - balancing).max(0.0);
        let whole = (full_low + high).max(self.sum_seconds);
        let allowed = whole * self.exceed_ratio;
        // If all that is missing were good, and if it were bad.
        let (optimistic, pessimistic) = (high <= allowed, whole - full_low <= allowed);
        match (optimistic, pessimistic) {
            (true, true) => Bound::Lower,
            (false, false) => Bound::Upper,
            _ => Bound::Undecided,
        }
    }

    /// Share of the packets that arrive at a load with these trials: that of the trial at the goal's quantile, what is
    /// missing counted as lost.
    pub fn forwarded(&self, trials: &[Trial]) -> f64 {
        let mut full: Vec<&Trial> = trials
            .iter()
            .filter(|trial| trial.seconds >= self.final_seconds)
            .collect();
        full.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        let measured: f64 = full.iter().map(|trial| trial.seconds).sum();
        let mut remaining = measured.max(self.sum_seconds) * (1.0 - self.exceed_ratio);
        let mut quantile = None;
        for trial in full {
            if quantile.is_some() && remaining <= 0.0 {
                break;
            }
            quantile = Some(trial.loss);
            remaining -= trial.seconds;
        }
        if remaining > 0.0 {
            quantile = None;
        }
        1.0 - quantile.unwrap_or(1.0)
    }

    /// The same goal, coarser and sooner: `step` halvings of the way from the initial to the final length, as many
    /// doublings of the width. 0 is the goal itself; one trial decides in all others.
    pub(super) fn coarser(&self, step: u32) -> Goal {
        if step == 0 {
            return *self;
        }
        let share = f64::from(super::COARSE - step) / f64::from(super::COARSE);
        let seconds =
            self.initial_seconds * (self.final_seconds / self.initial_seconds).powf(share);
        Goal {
            width: (self.width * f64::from(1 << step)).min(0.5),
            final_seconds: seconds,
            sum_seconds: seconds,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOAL: Goal = Goal {
        loss_ratio: 0.005,
        exceed_ratio: 0.5,
        width: 0.01,
        initial_seconds: 0.5,
        final_seconds: 1.0,
        sum_seconds: 3.0,
    };

    fn trials(all: &[(f64, f64)]) -> Vec<Trial> {
        let trial = |&(seconds, loss)| Trial { seconds, loss };
        all.iter().map(trial).collect()
    }

    #[track_caller]
    fn is(goal: Goal, all: &[(f64, f64)], bound: Bound) {
        assert_eq!(goal.classify(&trials(all)), bound, "{all:?}");
    }

    #[test]
    fn a_load_is_decided_when_what_is_missing_changes_nothing() {
        is(GOAL, &[], Bound::Undecided);
        is(GOAL, &[(1.0, 0.0)], Bound::Undecided);
        is(GOAL, &[(1.0, 0.0), (1.0, 0.005)], Bound::Lower);
        is(GOAL, &[(1.0, 0.0), (1.0, 0.006)], Bound::Undecided);
        is(GOAL, &[(1.0, 0.0), (1.0, 0.006), (1.0, 0.1)], Bound::Upper);
        is(GOAL, &[(1.0, 0.006), (1.0, 0.1)], Bound::Upper);
        // RFC 2544: one trial without loss is enough, one with loss too.
        let strict = Goal {
            loss_ratio: 0.0,
            exceed_ratio: 0.0,
            sum_seconds: 1.0,
            ..GOAL
        };
        is(strict, &[(1.0, 0.0)], Bound::Lower);
        is(strict, &[(1.0, 1e-9)], Bound::Upper);
        is(strict, &[(1.0, 0.0), (1.0, 1e-9)], Bound::Upper);
    }

    #[test]
    fn short_trials_only_count_against_a_load_and_good_ones_balance_bad_ones() {
        let short = |bad: usize, good: usize| {
            let mut all = vec![(0.5, 1.0); bad];
            all.extend(vec![(0.5, 0.0); good]);
            all
        };
        is(GOAL, &short(0, 100), Bound::Undecided);
        is(GOAL, &short(3, 0), Bound::Undecided);
        is(GOAL, &short(4, 0), Bound::Upper);
        is(GOAL, &short(4, 4), Bound::Undecided);
        let mut all = short(4, 1);
        all.extend([(1.0, 0.0), (1.0, 0.0)]);
        is(GOAL, &all, Bound::Lower);
    }

    #[test]
    fn conditional_throughput_is_of_the_trial_at_the_quantile() {
        let forwarded = |all: &[(f64, f64)]| GOAL.forwarded(&trials(all));
        assert_eq!(forwarded(&[(1.0, 0.0), (1.0, 0.004)]), 1.0 - 0.004);
        assert_eq!(
            forwarded(&[(1.0, 0.3), (1.0, 0.0), (1.0, 0.004)]),
            1.0 - 0.004
        );
        // Half of the time is enough; what is not measured counts as lost.
        assert_eq!(forwarded(&[(1.0, 0.0)]), 0.0);
        assert_eq!(forwarded(&[(0.5, 0.0), (0.5, 0.0)]), 0.0);
        assert_eq!(forwarded(&[]), 0.0);
    }

    #[test]
    fn coarser_goals_lead_to_the_goal() {
        let two = GOAL.coarser(2);
        assert_eq!(
            (two.width, two.final_seconds, two.sum_seconds),
            (0.04, 0.5, 0.5)
        );
        let one = GOAL.coarser(1);
        assert!(one.final_seconds > 0.5 && one.final_seconds < 1.0 && one.width == 0.02);
        assert_eq!(GOAL.coarser(0), GOAL);
    }
}
