//! Before and after: two reports, run by run, and which differences are noise.

use crate::report::{Report, Run, StageCost};
use crate::spread::{Spread, interval};
use crate::workload::Frame;
use serde::{Deserialize, Serialize};

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The 95% intervals are apart, and it is faster.
    Faster,
    /// They are apart, and it is slower.
    Slower,
    /// They overlap: nothing is shown.
    Noise,
    /// Fewer than six rounds on one side: there is no interval.
    Undecided,
}

/// One run in both reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The scenario.
    pub scenario: String,
    /// The subject.
    pub subject: String,
    /// Mappings.
    pub mappings: u32,
    /// Bytes of a frame.
    pub frame: Frame,
    /// Millions of packets a second, before: the median, and its 95% interval as min and max.
    pub before: Spread,
    /// After.
    pub after: Spread,
    /// After ÷ before, of the medians.
    pub ratio: f64,
    /// What became of it.
    pub verdict: Verdict,
}

/// A cost in both reports: of a stage in cycles a packet, or of a percentile of the latency in microseconds. Less is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostDifference {
    /// The scenario.
    pub scenario: String,
    /// What it is of: `stage lookup`, `weir latency p99`.
    pub what: String,
    /// Mappings.
    pub mappings: u32,
    /// Bytes of a frame.
    pub frame: Frame,
    /// Its unit: `cycles` or `us`.
    pub unit: String,
    /// Before: the median, and its 95% interval as min and max, if there is one.
    pub before: Spread,
    /// After.
    pub after: Spread,
    /// After ÷ before, of the medians.
    pub ratio: f64,
    /// What became of it. A latency is of all rounds together: what is noise in it is not known, so that it is undecided.
    pub verdict: Verdict,
}

/// Everything that `weir bench compare -o json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Runs that are in both.
    pub differences: Vec<Difference>,
    /// Stages and latencies that are in both.
    #[serde(default)]
    pub costs: Vec<CostDifference>,
    /// Runs that are in one of them only.
    pub unpaired: Vec<String>,
    /// What makes figures of both not worth comparing: another machine, core or clock.
    pub warnings: Vec<String>,
}

fn name(run: &Run) -> String {
    let updates = match run.updates {
        0 => String::new(),
        updates => format!(", {updates} updates/s"),
    };
    format!(
        "{} {}, {} mappings x {} flows {:?}, {} bytes, {}{updates}",
        run.scenario, run.subject, run.mappings, run.flows, run.hits, run.frame, run.source
    )
}

/// Holds two reports against each other.
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let find = |runs: &[Run], wanted: &Run| {
        let same = |run: &&Run| name(run) == name(wanted);
        runs.iter().find(same).cloned()
    };
    let mut comparison = Comparison::default();
    for old in &before.runs {
        match find(&after.runs, old) {
            Some(new) => {
                comparison.differences.push(difference(old, &new));
                comparison.costs.extend(latencies(old, &new));
            }
            None => comparison
                .unpaired
                .push(format!("before only: {}", name(old))),
        }
    }
    let fresh = after
        .runs
        .iter()
        .filter(|run| find(&before.runs, run).is_none());
    let fresh = fresh.map(|run| format!("after only: {}", name(run)));
    comparison.unpaired.extend(fresh);
    for old in &before.stages {
        let same = |new: &&StageCost| stage_of(new) == stage_of(old);
        let new = after.stages.iter().find(same);
        comparison.costs.extend(new.map(|new| stage(old, new)));
    }
    let (a, b) = (&before.machine, &after.machine);
    let mut warn = |what: &str, a: &str, b: &str| {
        if a != b {
            let warning = format!("not the same {what}: {a} before, {b} after");
            comparison.warnings.push(warning);
        }
    };
    warn("processor", &a.cpu, &b.cpu);
    warn("core", &a.core.to_string(), &b.core.to_string());
    warn("hugepages", &a.hugepages, &b.hugepages);
    let clock = |hz: u64| format!("{:.2} GHz", hz as f64 / 1e9);
    warn("clock", &clock(a.tsc_hz), &clock(b.tsc_hz));
    comparison
}

fn difference(old: &Run, new: &Run) -> Difference {
    let sure = |run: &Run| {
        interval(&run.rates).map(|(min, max)| Spread {
            median: run.mpps.median,
            min,
            max,
        })
    };
    let (before, after) = (sure(old), sure(new));
    let verdict = match (&before, &after) {
        (Some(before), Some(after)) if after.min > before.max => Verdict::Faster,
        (Some(before), Some(after)) if after.max < before.min => Verdict::Slower,
        (Some(_), Some(_)) => Verdict::Noise,
        _ => Verdict::Undecided,
    };
    Difference {
        scenario: new.scenario.clone(),
        subject: new.subject.clone(),
        mappings: new.mappings,
        frame: new.frame,
        before: before.unwrap_or(old.mpps),
        after: after.unwrap_or(new.mpps),
        ratio: (new.mpps.median / old.mpps.median * 1e3).round() / 1e3,
        verdict,
    }
}

/// Which stage it is, under which load.
fn stage_of(cost: &StageCost) -> (&str, u32, Frame, &str) {
    (&cost.scenario, cost.mappings, cost.frame, &cost.stage)
}

fn ratio(before: f64, after: f64) -> f64 {
    (after / before * 1e3).round() / 1e3
}

fn stage(old: &StageCost, new: &StageCost) -> CostDifference {
    let sure = |cost: &StageCost| interval(&cost.windows);
    // Of costs the lower one is the better.
    let verdict = match (sure(old), sure(new)) {
        (Some(before), Some(after)) if after.1 < before.0 => Verdict::Faster,
        (Some(before), Some(after)) if after.0 > before.1 => Verdict::Slower,
        (Some(_), Some(_)) => Verdict::Noise,
        _ => Verdict::Undecided,
    };
    let spread = |cost: &StageCost| {
        let (min, max) = sure(cost).unwrap_or((cost.min, cost.max));
        Spread {
            median: cost.cycles,
            min,
            max,
        }
    };
    CostDifference {
        scenario: new.scenario.clone(),
        what: format!("stage {}", new.stage),
        mappings: new.mappings,
        frame: new.frame,
        unit: "cycles".into(),
        before: spread(old),
        after: spread(new),
        ratio: ratio(old.cycles, new.cycles),
        verdict,
    }
}

/// The percentiles that are in both.
fn latencies(old: &Run, new: &Run) -> Vec<CostDifference> {
    let Some((before, after)) = old.latency_us.zip(new.latency_us) else {
        return Vec::new();
    };
    let one = |name: &str, before: f64, after: f64| {
        let spread = |value| Spread {
            median: value,
            min: value,
            max: value,
        };
        CostDifference {
            scenario: new.scenario.clone(),
            what: format!("{} latency {name}", new.subject),
            mappings: new.mappings,
            frame: new.frame,
            unit: "us".into(),
            before: spread(before),
            after: spread(after),
            ratio: ratio(before, after),
            verdict: Verdict::Undecided,
        }
    };
    vec![
        one("p50", before.p50, after.p50),
        one("p99", before.p99, after.p99),
        one("p99.9", before.p99_9, after.p99_9),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(subject: &str, rates: &[f64]) -> Report {
        Report {
            runs: vec![Run {
                subject: subject.into(),
                mpps: Spread::of(rates.iter().copied(), 3).unwrap(),
                rates: rates.to_vec(),
                ..Run::default()
            }],
            ..Report::default()
        }
    }

    #[test]
    fn what_overlaps_is_noise() {
        let verdict = |a: &[f64], b: &[f64]| {
            compare(&report("weir", a), &report("weir", b)).differences[0].verdict
        };
        let ten = |from: f64| (0..10).map(|n| from + f64::from(n)).collect::<Vec<_>>();
        assert_eq!(verdict(&ten(10.0), &ten(20.0)), Verdict::Faster);
        assert_eq!(verdict(&ten(20.0), &ten(10.0)), Verdict::Slower);
        assert_eq!(verdict(&ten(10.0), &ten(15.0)), Verdict::Noise);
        assert_eq!(verdict(&ten(10.0)[..5], &ten(90.0)), Verdict::Undecided);
    }

    #[test]
    fn a_stage_is_better_when_it_costs_less_and_a_latency_stays_undecided() {
        let of = |from: f64, p99: f64| {
            let windows: Vec<f64> = (0..10).map(|n| from + f64::from(n)).collect();
            let mut report = report("weir", &[1.0]);
            report.runs[0].latency_us = Some(crate::report::Latency {
                p50: 1.0,
                p99,
                ..Default::default()
            });
            report.stages = vec![StageCost {
                stage: "lookup".into(),
                cycles: from + 4.5,
                windows,
                ..StageCost::default()
            }];
            report
        };
        let costs = |a: f64, b: f64| compare(&of(a, 2.0), &of(b, 3.0)).costs;
        let stage = |a, b| costs(a, b).pop().unwrap().verdict;
        assert_eq!(stage(20.0, 10.0), Verdict::Faster);
        assert_eq!(stage(10.0, 20.0), Verdict::Slower);
        assert_eq!(stage(10.0, 15.0), Verdict::Noise);
        let all = costs(10.0, 20.0);
        assert_eq!((&*all[1].what, all[1].ratio), ("weir latency p99", 1.5));
        assert_eq!(all[1].verdict, Verdict::Undecided);
        assert_eq!((&*all[3].what, &*all[3].unit), ("stage lookup", "cycles"));
        // What is in one report only is nobody's difference.
        let mut without = of(1.0, 1.0);
        without.stages.clear();
        without.runs[0].latency_us = None;
        assert!(compare(&without, &of(1.0, 1.0)).costs.is_empty());
    }

    #[test]
    fn runs_of_one_report_and_another_machine_are_named() {
        let mut other = report("ovs-emc", &[1.0]);
        other.machine.core = 3;
        let comparison = compare(&report("weir", &[1.0]), &other);
        assert!(comparison.differences.is_empty());
        assert_eq!(comparison.unpaired.len(), 2);
        assert_eq!(
            comparison.warnings,
            ["not the same core: 0 before, 3 after"]
        );
    }
}
