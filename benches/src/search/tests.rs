//! The search against devices whose throughput is known.

use super::*;
use proptest::prelude::*;

const MIN: f64 = 1e3;
const MAX: f64 = 20e6;

fn goal(loss_ratio: f64, width: f64) -> Goal {
    Goal {
        loss_ratio,
        exceed_ratio: 0.5,
        width,
        initial_seconds: 0.1,
        final_seconds: 1.0,
        sum_seconds: 3.0,
    }
}

fn ndr_and_pdr() -> Inquiry {
    Inquiry {
        goals: vec![goal(0.0, 0.01), goal(0.005, 0.01)],
        min: MIN,
        max: MAX,
        most_trials: 10_000,
    }
}

/// A device that loses what a function says, and every trial that it saw.
struct Simulated<F> {
    lost: F,
    seen: Vec<(f64, Trial)>,
}

impl<F: FnMut(f64, f64) -> Outcome> Device for Simulated<F> {
    fn trial(&mut self, load: f64, seconds: f64) -> Result<Outcome, Halt> {
        let outcome = (self.lost)(load, seconds);
        if let Outcome::Lost(loss) = outcome {
            self.seen.push((load, Trial { seconds, loss }));
        }
        Ok(outcome)
    }
}

fn run(inquiry: &Inquiry, lost: impl FnMut(f64, f64) -> Outcome) -> (Found, Vec<(f64, Trial)>) {
    let mut device = Simulated {
        lost,
        seen: Vec::new(),
    };
    let found = search(&mut device, inquiry).unwrap();
    assert_eq!(found.trials as usize, device.seen.len());
    for (load, trial) in &device.seen {
        assert!((MIN..=MAX).contains(load), "{load}");
        assert!((0.1..=1.0).contains(&trial.seconds), "{}", trial.seconds);
    }
    (found, device.seen)
}

/// Loses what is beyond its capacity.
fn beyond(capacity: f64) -> impl Fn(f64, f64) -> Outcome {
    move |load, _| Outcome::Lost((1.0 - capacity / load).max(0.0))
}

/// What the specification says of these trials, looked up without the search's own state.
fn oracle(goal: &Goal, seen: &[(f64, Trial)]) -> (Option<f64>, Option<f64>) {
    let mut loads: Vec<f64> = seen.iter().map(|it| it.0).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    let is = |load: f64, bound| {
        let trials: Vec<Trial> = seen
            .iter()
            .filter(|it| it.0 == load)
            .map(|it| it.1)
            .collect();
        goal.classify(&trials) == bound
    };
    let upper = loads.iter().copied().find(|load| is(*load, Bound::Upper));
    let lower = loads
        .iter()
        .copied()
        .rfind(|load| upper.is_none_or(|upper| *load < upper) && is(*load, Bound::Lower));
    (lower, upper)
}

#[test]
fn a_hard_capacity_is_found_in_few_trials() {
    let (found, seen) = run(&ndr_and_pdr(), beyond(7.3e6));
    let [ndr, pdr] = found.answers[..] else {
        panic!("two answers")
    };
    assert!(ndr.regular && pdr.regular);
    assert!(ndr.lower.unwrap() <= 7.3e6 && ndr.upper.unwrap() > 7.3e6);
    assert_eq!(ndr.throughput, ndr.lower);
    // PDR lets through 0.5% beyond the capacity, of which the throughput knows nothing.
    let edge = 7.3e6 / 0.995;
    assert!(pdr.lower.unwrap() <= edge && pdr.upper.unwrap() > edge);
    assert!(pdr.throughput.unwrap() <= 7.3e6 * 1.000_001);
    assert!(seen.len() < 40, "{} trials", seen.len());
    let seconds: f64 = seen.iter().map(|it| it.1.seconds).sum();
    assert!(seconds < 20.0, "{seconds} s");
}

#[test]
fn a_device_without_any_capacity_has_none() {
    for lost in [1.0, 0.3] {
        let (found, seen) = run(&ndr_and_pdr(), |_, _| Outcome::Lost(lost));
        for answer in &found.answers {
            assert_eq!((answer.lower, answer.throughput), (None, None));
            assert!((answer.upper.unwrap() - MIN).abs() < 1.0 && !answer.regular);
        }
        assert!(seen.len() < 80, "{} trials", seen.len());
    }
}

#[test]
fn a_device_that_always_loses_a_little_has_a_pdr_and_no_ndr() {
    let lossy = |load: f64, _: f64| Outcome::Lost((1.0 - 5e6 / load).max(0.001));
    let (found, _) = run(&ndr_and_pdr(), lossy);
    assert_eq!(found.answers[0].lower, None);
    let pdr = found.answers[1];
    assert!(pdr.regular && (pdr.lower.unwrap() / 5e6 - 1.0).abs() < 0.02);
    assert!(pdr.throughput.unwrap() <= pdr.lower.unwrap() * 0.999 * 1.000_001);
}

#[test]
fn a_device_that_never_loses_is_said_to_bear_the_highest_load_and_to_be_irregular() {
    let (found, seen) = run(&ndr_and_pdr(), |_, _| Outcome::Lost(0.0));
    for answer in &found.answers {
        assert_eq!((answer.lower, answer.upper), (Some(MAX), None));
        assert_eq!((answer.throughput, answer.regular), (Some(MAX), false));
    }
    assert!(seen.len() <= 6, "{} trials", seen.len());
}

#[test]
fn what_the_rig_cannot_offer_is_tried_no_more_and_counts_for_nothing() {
    let mut refused = 0;
    let (found, seen) = run(&ndr_and_pdr(), |load, _| {
        if load > 4e6 {
            refused += 1;
            // A stalled rig says something too low, a lucky one nothing lower at all.
            return Outcome::Short(if refused == 1 { 4.9e6 } else { load });
        }
        Outcome::Lost(0.0)
    });
    assert!(seen.iter().all(|it| it.0 <= 4e6));
    for answer in &found.answers {
        assert!(answer.lower.unwrap() > 3.9e6 && answer.upper.is_none() && !answer.regular);
    }
    assert_eq!(found.answers[0].lower, Some(found.max));
    let (found, _) = run(&ndr_and_pdr(), |_, _| Outcome::Short(0.0));
    assert_eq!(found.answers[0], Answer::default());
}

#[test]
fn a_search_that_takes_too_long_says_what_it_has() {
    let few = Inquiry {
        most_trials: 5,
        ..ndr_and_pdr()
    };
    let (found, seen) = run(&few, beyond(7.3e6));
    assert_eq!(seen.len(), 5);
    assert!(!found.answers[0].regular);
}

#[test]
fn one_good_trial_in_three_is_not_enough_two_are() {
    for (bad_of_three, holds) in [(1, true), (2, false)] {
        let mut turn = 0;
        let (found, _) = run(&ndr_and_pdr(), |load, seconds| {
            if load > 5e6 {
                return Outcome::Lost(0.5);
            }
            turn += usize::from(seconds == 1.0);
            Outcome::Lost(if seconds == 1.0 && turn % 3 < bad_of_three {
                0.1
            } else {
                0.0
            })
        });
        assert_eq!(found.answers[0].lower.is_some(), holds, "{bad_of_three}");
    }
}

proptest! {
    /// Of any capacity, width and goal: the bounds are on both sides of it and close.
    #[test]
    fn a_capacity_lies_between_the_bounds(
        log in MIN.ln() + 0.1..MAX.ln() - 0.1,
        ratio in prop_oneof![Just(0.0), 0.0..0.05],
        width in 0.002..0.05,
        exceed in prop_oneof![Just(0.0), 0.0..0.9],
        other in 0.002..0.05,
    ) {
        let capacity = log.exp();
        let first = Goal { exceed_ratio: exceed, ..goal(ratio, width) };
        let inquiry = Inquiry { goals: vec![first, goal(0.01, other)], ..ndr_and_pdr() };
        let (found, seen) = run(&inquiry, beyond(capacity));
        let answer = found.answers[0];
        let (lower, upper) = (answer.lower.unwrap(), answer.upper.unwrap());
        let edge = capacity / (1.0 - ratio);
        prop_assert!(lower <= edge * 1.000_001 && upper > edge * 0.999_999, "{lower} {edge} {upper}");
        prop_assert!((upper - lower) / upper <= width + 1e-6 && answer.regular);
        prop_assert!(answer.throughput.unwrap() <= capacity * 1.000_001);
        prop_assert!(seen.len() < 120, "{} trials", seen.len());
    }

    /// Whatever a device answers: the search ends, and says what the specification says of the trials that were.
    #[test]
    fn any_noise_is_reported_as_the_specification_says(
        capacity in 1e4..15e6f64,
        seed in any::<u64>(),
        noise in 0.0..1.0f64,
        stalls in 0.0..0.3,
    ) {
        let mut state = seed | 1;
        let mut share = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let inquiry = ndr_and_pdr();
        let (found, seen) = run(&inquiry, |load, _| {
            if load > 1e6 && share() < stalls {
                return Outcome::Short(load * share());
            }
            let now = capacity * (1.0 - noise * share());
            Outcome::Lost((1.0 - now / load).max(0.0))
        });
        for (goal, answer) in inquiry.goals.iter().zip(&found.answers) {
            prop_assert_eq!((answer.lower, answer.upper), oracle(goal, &seen));
            if let (Some(lower), Some(upper)) = (answer.lower, answer.upper) {
                prop_assert!(lower < upper);
                prop_assert!(answer.throughput.unwrap() <= lower);
                prop_assert!(answer.throughput.unwrap() >= lower * (1.0 - goal.loss_ratio) * 0.999_999);
            }
        }
        prop_assert!(seen.len() < 3000, "{} trials", seen.len());
    }
}
