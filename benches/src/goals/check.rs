//! A goal held against rounds: what became of it.

use super::Goal;
use super::Sense::{AtLeast, AtMost};
use crate::spread::{Spread, interval};
use serde::{Deserialize, Serialize};

/// What became of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval is on the good side.
    Pass,
    /// The whole interval is on the other side.
    Short,
    /// The goal lies within, or there are too few rounds for an interval, or it was not measured.
    Undecided,
}

/// One goal, held against what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The goal's name.
    pub name: String,
    /// Its figure.
    pub goal: f64,
    /// The median of the rounds; null where it was not measured.
    pub measured: Option<f64>,
    /// The unit of both.
    pub unit: String,
    /// Whether it holds.
    pub ok: bool,
    /// What became of it.
    pub verdict: Verdict,
    /// Rounds that count.
    pub rounds: usize,
    /// Whether the goal is the most that is good; else the least.
    pub at_most: bool,
    /// The 95% interval of the median.
    pub interval: Option<(f64, f64)>,
    /// Why it was not measured.
    pub reason: Option<String>,
}

impl Goal {
    /// Whether `--only` means it.
    pub(super) fn is_meant(&self, only: Option<&str>) -> bool {
        only.is_none_or(|prefix| self.name.starts_with(prefix))
    }

    /// It was not measured.
    pub(super) fn unmeasured(&self, why: impl Into<String>) -> Check {
        Check {
            name: self.name.to_string(),
            goal: self.goal,
            measured: None,
            unit: self.unit.to_string(),
            ok: false,
            verdict: Verdict::Undecided,
            rounds: 0,
            at_most: self.sense == AtMost,
            interval: None,
            reason: Some(why.into()),
        }
    }

    /// Holds the goal against rounds.
    pub(super) fn check(&self, rounds: &[f64]) -> Check {
        let Some(spread) = Spread::of(rounds.iter().copied(), 3) else {
            return self.unmeasured("no round counts");
        };
        let sure = interval(rounds);
        let good = |value: f64| match self.sense {
            AtLeast => value >= self.goal,
            AtMost => value <= self.goal,
        };
        let verdict = match sure {
            Some((low, high)) if good(low) && good(high) => Verdict::Pass,
            Some((low, high)) if !good(low) && !good(high) => Verdict::Short,
            _ => Verdict::Undecided,
        };
        Check {
            measured: Some(spread.median),
            ok: verdict == Verdict::Pass,
            verdict,
            rounds: rounds.len(),
            interval: sure,
            reason: None,
            ..self.unmeasured("")
        }
    }
}

/// The same as a line to read.
pub(super) fn said(check: &Check) -> String {
    let (name, sign) = (&check.name, if check.at_most { "<=" } else { ">=" });
    match (check.measured, &check.reason) {
        (Some(measured), _) => format!(
            "{name}: {measured} {sign} {} {}: {:?}",
            check.goal, check.unit, check.verdict
        ),
        (None, reason) => format!("{name}: {}", reason.as_deref().unwrap_or("not measured")),
    }
}
