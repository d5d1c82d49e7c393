//! Throughput search by MLRsearch (RFC 9971): the highest loads at which no packet is lost, or no more than a given share.
//!
//! Pure: a device is whoever answers a trial of so many packets a second and so many seconds with the share that was lost.
//! What a load is for a goal, and what is reported, is the specification's ([`goal`]). Which load is tried next is free
//! there; here it is done so:
//!
//! * Loads are on a grid whose steps are the finest goal's width, so that goals share each other's trials and the search ends.
//! * Each goal is sought in `COARSE` + 1 stages: short trials and wide bounds first, the goal itself last. A stage begins
//!   where the one before it ended.
//! * Of what the goals want to try next, the lowest load is tried: what is found there decides about loads above, too.
//! * A load that the rig itself cannot offer lowers the highest load that is tried; it says nothing of the device.

pub mod goal;

use crate::halt::Halt;
pub use goal::{Bound, Goal, Trial};
use std::collections::BTreeMap;

/// Coarser stages before each goal.
const COARSE: u32 = 2;
/// Loads in a row that the rig cannot offer, each a step lower, before steps become longer.
const PATIENT: u32 = 32;

/// Who is searched.
pub trait Device {
    /// Offers so many packets a second for so many seconds.
    fn trial(&mut self, load: f64, seconds: f64) -> Result<Outcome, Halt>;
}

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// Share of the packets that did not arrive, 0 to 1.
    Lost(f64),
    /// The rig did not keep its rate: it offered no more than so many packets a second.
    Short(f64),
}

/// What is sought, and within which bounds.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// The goals.
    pub goals: Vec<Goal>,
    /// The least load, in packets a second: more than 0.
    pub min: f64,
    /// The highest: more than that.
    pub max: f64,
    /// Trials after which it is given up.
    pub most_trials: u32,
}

/// What was found for one goal. Regular (RFC 9971, "Regular Goal Result") if both bounds are there and no further apart than the goal's width.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    /// The relevant lower bound, in packets a second. Without an upper bound it is the highest load that could be offered.
    pub lower: Option<f64>,
    /// The relevant upper bound.
    pub upper: Option<f64>,
    /// The conditional throughput.
    pub throughput: Option<f64>,
    /// Whether the result is regular.
    pub regular: bool,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// One a goal, in their order.
    pub answers: Vec<Answer>,
    /// Trials that count.
    pub trials: u32,
    /// The highest load that was or could have been offered.
    pub max: f64,
}

/// Searches. Fails only if a trial does.
pub fn search(device: &mut dyn Device, inquiry: &Inquiry) -> Result<Found, Halt> {
    let grid = Grid::of(inquiry);
    let mut known = Known {
        trials: BTreeMap::new(),
        top: grid.steps,
    };
    let mut pursuits: Vec<Pursuit> = inquiry
        .goals
        .iter()
        .map(|goal| Pursuit::of(*goal))
        .collect();
    let mut trials = 0;
    let first = inquiry
        .goals
        .iter()
        .map(|goal| goal.initial_seconds)
        .fold(0.0, f64::max);
    // Where to look first: what the first trial that counts let through.
    let (mut forwarded, mut short) = (None, 0u32);
    while trials < inquiry.most_trials {
        let next = match forwarded {
            None => Some((known.top, first)),
            // The lowest load; of equal ones the longest trial.
            Some(hint) => pursuits
                .iter_mut()
                .filter_map(|it| it.wants(&known, &grid, hint))
                .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1))),
        };
        let Some((step, seconds)) = next else { break };
        let load = grid.load(step);
        match device.trial(load, seconds)? {
            Outcome::Lost(loss) => {
                let loss = loss.clamp(0.0, 1.0);
                let trial = Trial { seconds, loss };
                known.trials.entry(step).or_default().push(trial);
                forwarded.get_or_insert_with(|| grid.below(load * (1.0 - loss)));
                trials += 1;
                short = 0;
            }
            // Something lower each time, and soon much lower: there is an end to it.
            Outcome::Short(offered) => {
                if step == 0 {
                    break;
                }
                short += 1;
                let down = 1u32 << short.saturating_sub(PATIENT).min(31);
                let lower = step.saturating_sub(down);
                known.top = grid.below(offered).min(lower).min(known.top);
            }
        }
    }
    let answers = pursuits
        .iter()
        .map(|it| known.answer(&it.goal, &grid))
        .collect();
    Ok(Found {
        answers,
        trials,
        max: grid.load(known.top),
    })
}

/// Loads, evenly spaced by ratio: each is less than the next by the finest goal's width or a little less.
struct Grid {
    min: f64,
    max: f64,
    ratio: f64,
    /// The highest load's number; the least has 0.
    steps: u32,
}

impl Grid {
    fn of(inquiry: &Inquiry) -> Grid {
        let width = inquiry.goals.iter().map(|goal| goal.width);
        let width = width.fold(0.5, f64::min);
        let whole = (inquiry.max / inquiry.min).ln();
        let steps = (whole / -(1.0 - width).ln()).ceil().max(1.0);
        Grid {
            min: inquiry.min,
            ratio: (whole / steps).exp(),
            steps: steps as u32,
            max: inquiry.max,
        }
    }

    fn load(&self, step: u32) -> f64 {
        let down = self.steps.saturating_sub(step);
        (self.max / self.ratio.powi(down as i32)).max(self.min)
    }

    /// The highest that is not above this load; the least, if all are.
    fn below(&self, load: f64) -> u32 {
        // A hair less than a whole step is one: a load of the grid is its own number.
        let steps = ((load / self.min).ln() / self.ratio.ln() + 1e-6).floor();
        // NaN and what is below the least become 0.
        (steps.max(0.0) as u32).min(self.steps)
    }

    /// Steps that a width spans: at least one.
    fn span(&self, width: f64) -> u32 {
        // A hair more than whole, for the grid's own rounding.
        let steps = -(1.0 - width).ln() / self.ratio.ln() + 1e-9;
        (steps as u32).max(1)
    }
}

/// What is known so far.
struct Known {
    /// Trials by the load's number.
    trials: BTreeMap<u32, Vec<Trial>>,
    /// The highest load that can be offered.
    top: u32,
}

impl Known {
    /// The relevant bounds of RFC 9971: the least load that is an upper bound, and the highest below it that is a lower one.
    fn bounds(&self, goal: &Goal) -> (Option<u32>, Option<u32>) {
        let mut lower = None;
        for (step, trials) in &self.trials {
            match goal.classify(trials) {
                Bound::Upper => return (lower, Some(*step)),
                Bound::Lower => lower = Some(*step),
                Bound::Undecided => {}
            }
        }
        (lower, None)
    }

    fn answer(&self, goal: &Goal, grid: &Grid) -> Answer {
        let (lower, upper) = self.bounds(goal);
        let trials = lower.and_then(|step| self.trials.get(&step));
        Answer {
            lower: lower.map(|step| grid.load(step)),
            upper: upper.map(|step| grid.load(step)),
            throughput: lower
                .zip(trials)
                .map(|(step, trials)| grid.load(step) * goal.forwarded(trials)),
            regular: lower
                .zip(upper)
                .is_some_and(|(lower, upper)| upper - lower <= grid.span(goal.width)),
        }
    }
}

/// One goal on its way.
struct Pursuit {
    goal: Goal,
    /// Coarser stages still before it.
    coarse: u32,
    /// Loads to try first: the bounds of the stage before.
    hints: [Option<u32>; 2],
    /// How far the next one is, where there is no bound on that side yet.
    stride: u32,
    /// What was tried on such a side last.
    pending: Option<i64>,
    begun: bool,
}

impl Pursuit {
    fn of(goal: Goal) -> Pursuit {
        Pursuit {
            goal,
            coarse: COARSE,
            hints: [None; 2],
            stride: 0,
            pending: None,
            begun: false,
        }
    }

    /// The load to try next, and for how long; none if the goal is reached, or cannot be.
    fn wants(&mut self, known: &Known, grid: &Grid, forwarded: u32) -> Option<(u32, f64)> {
        loop {
            let stage = self.goal.coarser(self.coarse);
            let span = grid.span(stage.width);
            if !self.begun {
                self.begun = true;
                (self.stride, self.pending) = (span, None);
                if self.coarse == COARSE {
                    self.hints = [Some(forwarded), Some(forwarded + span)];
                }
            }
            let (lower, upper) = known.bounds(&stage);
            if let Some(step) = self.next(lower, upper, span, known.top) {
                return Some((step, stage.final_seconds));
            }
            self.coarse = self.coarse.checked_sub(1)?;
            self.hints = [lower, upper];
            self.begun = false;
        }
    }

    /// A load between the bounds, strictly: none there is decided, so that each trial tells something. None if they are close enough.
    fn next(&mut self, lower: Option<u32>, upper: Option<u32>, span: u32, top: u32) -> Option<u32> {
        // Exclusive; one beyond the grid's own ends, which may be tried.
        let (low, high) = (
            lower.map_or(-1, i64::from),
            upper.map_or(i64::from(top) + 1, i64::from),
        );
        let open = |step: i64| low < step && step < high && step <= i64::from(top);
        let close = lower.is_some() && upper.is_some() && high - low <= i64::from(span);
        if close || high - low <= 1 {
            return None;
        }
        let hint = self
            .hints
            .iter()
            .flatten()
            .map(|step| i64::from(*step))
            .find(|step| open(*step));
        let step = hint.unwrap_or_else(|| match (lower, upper) {
            (Some(_), Some(_)) => (low + high) / 2,
            // Further each time, not past the end.
            (Some(_), None) => self.further(|stride| (low + stride).min(high - 1), &open),
            (None, Some(_)) => self.further(|stride| (high - stride).max(low + 1), &open),
            (None, None) => high - 1,
        });
        // What lies between, but above what can be offered.
        let step = step.min(i64::from(top));
        open(step).then_some(step as u32)
    }

    /// The load that was to be tried last time, as long as nothing is decided about it; else one twice as far.
    fn further(&mut self, of: impl Fn(i64) -> i64, open: &impl Fn(i64) -> bool) -> i64 {
        if let Some(step) = self.pending.filter(|step| open(*step)) {
            return step;
        }
        let step = of(i64::from(self.stride));
        self.stride = self.stride.saturating_mul(2);
        self.pending = Some(step);
        step
    }
}

#[cfg(test)]
mod tests;
