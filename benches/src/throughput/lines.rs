//! What rounds of searches come to: runs and ratios of the report.

use super::Wish;
use super::searched::Round;
use crate::report::{self, Latency, Ratio, Run};
use crate::rounds::paired;
use crate::scenario::Scenario;
use crate::search;
use crate::spread::{Spread, interval};
use crate::traffic::Account;
use crate::workload::Workload;

/// Percentiles of the latency curve.
const CURVE: [f64; 13] = [
    0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 99.999, 100.0,
];
/// One subject under one load.
pub(super) struct Line {
    pub(super) subject: String,
    pub(super) load: Workload,
    pub(super) rounds: Vec<Round>,
}

/// The percentiles of a trial.
pub fn latency(account: &Account) -> Option<Latency> {
    let histogram = account.latency.as_ref().filter(|it| !it.is_empty())?;
    let at = |quantile| rounded(account.micros(histogram.value_at_quantile(quantile)), 3);
    Some(Latency {
        p50: at(0.5),
        p99: at(0.99),
        p99_9: at(0.999),
        p99_99: at(0.9999),
        max: at(1.0),
    })
}

pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// One round, for who watches.
pub(super) fn said(title: &str, subject: &str, round: &Round) -> String {
    let mpps = |answer: &search::Answer| match answer.throughput {
        Some(throughput) if answer.upper.is_none() => format!("at least {:.3}", throughput / 1e6),
        Some(throughput) => format!("{:.3}", throughput / 1e6),
        None => "none".into(),
    };
    let goals: Vec<String> = round.found.answers.iter().map(mpps).collect();
    format!(
        "{title}: {subject}: NDR, PDR {} Mpps in {} trials, {} thrown away",
        goals.join(", "),
        round.found.trials,
        round.thrown_away
    )
}

impl Line {
    /// One goal's figure in each round, in millions a second; 0 where there is none.
    fn each(&self, goal: usize, of: impl Fn(&search::Answer) -> Option<f64>) -> Vec<f64> {
        let answers = self
            .rounds
            .iter()
            .map(|round| round.found.answers.get(goal));
        answers
            .map(|answer| rounded(answer.and_then(&of).unwrap_or(0.0) / 1e6, 4))
            .collect()
    }

    pub(super) fn run(&self, scenario: Scenario, wish: &Wish, hz: f64) -> Run {
        let rates = self.each(0, |it| it.throughput);
        let rounds = self.rounds.len();
        // Of the latencies those of the round in the middle: percentiles of several cannot be added up.
        let mut taken: Vec<(f64, Latency, &Account)> = self
            .rounds
            .iter()
            .filter_map(|round| round.latency.as_ref())
            .filter_map(|(rate, account)| Some((*rate, latency(account)?, account)))
            .collect();
        taken.sort_by(|a, b| a.1.p50.total_cmp(&b.1.p50));
        let middle = taken.get(taken.len() / 2);
        let spread = |values: Vec<f64>| {
            let known = values.into_iter().filter(|value| *value > 0.0);
            Spread::of(known, 4)
        };
        let goals = ["ndr", "pdr"].iter().zip(&wish.goals).enumerate();
        let found = goals.map(|(number, (name, goal))| report::Found {
            goal: name.to_string(),
            loss_ratio: goal.loss_ratio,
            exceed_ratio: goal.exceed_ratio,
            width: goal.width,
            initial_seconds: goal.initial_seconds,
            final_seconds: goal.final_seconds,
            sum_seconds: goal.sum_seconds,
            mpps: spread(self.each(number, |it| it.throughput)),
            lower_mpps: spread(self.each(number, |it| it.lower)),
            upper_mpps: spread(self.each(number, |it| it.upper)),
            regular: self
                .rounds
                .iter()
                .filter(|round| round.found.answers.get(number).is_some_and(|it| it.regular))
                .count(),
        });
        let over = match &wish.ports {
            Some((ports, _)) => ports.join(" "),
            None => wish.over.name().to_string(),
        };
        let most = self
            .rounds
            .iter()
            .map(|round| round.found.max)
            .fold(0.0, f64::max);
        let search = report::Search {
            over: over.clone(),
            goals: found.collect(),
            max_mpps: rounded(most / 1e6, 4),
            trials: self.rounds.iter().map(|round| round.found.trials).sum(),
            thrown_away: self.rounds.iter().map(|round| round.thrown_away).sum(),
            disturbed: self.rounds.iter().map(|round| round.disturbed).sum(),
            limited_by: self
                .rounds
                .iter()
                .filter_map(|round| round.limit)
                .next_back()
                .map(|it| it.name().to_string()),
            seconds: rounded(self.rounds.iter().map(|round| round.seconds).sum(), 2),
            latency_mpps: middle.map(|it| rounded(it.0 / 1e6, 4)),
            latency_at: format!("{} of pdr", wish.latency_at),
            latency_packets: middle
                .and_then(|it| it.2.latency.as_ref())
                .map_or(0, |it| it.len()),
            latency_curve: middle.map_or(Vec::new(), |it| curve(it.2)),
            loss: self
                .rounds
                .last()
                .map_or(Vec::new(), |round| round.loss.clone()),
        };
        let cycles = rates
            .iter()
            .filter(|rate| **rate > 0.0)
            .map(|rate| hz / (rate * 1e6));
        Run {
            scenario: scenario.name().to_string(),
            subject: self.subject.clone(),
            mappings: self.load.mappings,
            flows: self.load.flows,
            hits: self.load.hits,
            source: format!("the rig's own, over {over}"),
            frame: self.load.frame,
            mpps: Spread::of(rates.iter().copied(), 4).unwrap_or_default(),
            cycles: Spread::of(cycles, 1).unwrap_or_default(),
            latency_us: middle.map(|it| it.1),
            rates,
            rounds,
            thrown_away: search.thrown_away,
            search: Some(search),
            ..Run::default()
        }
    }
}

fn curve(account: &Account) -> Vec<(f64, f64)> {
    let Some(histogram) = &account.latency else {
        return Vec::new();
    };
    let at = |percentile| rounded(account.micros(histogram.value_at_percentile(percentile)), 3);
    CURVE
        .iter()
        .map(|percentile| (*percentile, at(*percentile)))
        .collect()
}

/// The first subject's throughput against each other one's.
pub(super) fn ratios(scenario: Scenario, load: &Workload, lines: &[&Line]) -> Vec<Ratio> {
    let Some((first, others)) = lines.split_first() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (number, goal) in ["ndr", "pdr"].iter().enumerate() {
        for other in others {
            let own = first.each(number, |it| it.throughput);
            let theirs = other.each(number, |it| it.throughput);
            let values = paired(&own, &theirs, |a, b| a / b);
            let values: Vec<f64> = values.into_iter().filter(|it| it.is_finite()).collect();
            let Some(spread) = Spread::of(values.iter().copied(), 3) else {
                continue;
            };
            all.push(Ratio {
                name: format!(
                    "{} {goal} {}/{}",
                    scenario.name(),
                    first.subject,
                    other.subject
                ),
                mappings: load.mappings,
                frame: load.frame,
                value: spread.median,
                min: spread.min,
                max: spread.max,
                interval: interval(&values),
                against: other.subject.clone(),
            });
        }
    }
    all
}
