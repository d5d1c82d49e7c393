//! What rounds have taken of one subject, and how one compares with the others.

use crate::report::{Ratio, Run, Updated};
use crate::scenario::Scenario;
use crate::spread::{Spread, interval};
use crate::subject::Settled;
use crate::window::Sample;
use crate::workload::{FRAMES_MOST, Hits, Workload};

/// What is known of one subject in one setting under one load.
pub struct Line {
    /// The subject, with its setting.
    pub subject: String,
    /// What was sent.
    pub load: Workload,
    /// One a round that counts, in step with every other line.
    pub(super) samples: Vec<Sample>,
    pub(super) thrown_away: u32,
    /// Packets lost in all of the subject's lives, and its tables at the end of the last.
    pub(super) settled: Settled,
}

impl Line {
    /// Packets a second, one a round.
    pub fn rates(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.pps).collect()
    }

    /// Cycles a packet, one a round.
    pub fn cycles(&self, hz: f64) -> Vec<f64> {
        self.samples.iter().map(|sample| hz / sample.pps).collect()
    }

    /// What a report has of it.
    pub(super) fn run(&self, scenario: Scenario, hz: f64) -> Option<Run> {
        let own = self.samples.iter().filter_map(|sample| sample.own_cycles);
        let mpps: Vec<f64> = self.rates().iter().map(|pps| pps / 1e6).collect();
        Some(Run {
            scenario: scenario.name().to_string(),
            subject: self.subject.clone(),
            mappings: self.load.mappings,
            flows: self.load.flows,
            hits: self.load.hits,
            source: source(&self.load),
            frame: self.load.frame,
            mpps: Spread::of(mpps.iter().copied(), 3)?,
            cycles: Spread::of(self.cycles(hz), 1)?,
            own_cycles: Spread::of(own, 1),
            latency_us: None,
            search: None,
            rates: mpps.iter().map(|mpps| (mpps * 1e3).round() / 1e3).collect(),
            rounds: self.samples.len(),
            thrown_away: self.thrown_away,
            lost_packets: self.settled.lost,
            table_bytes: self.settled.table_bytes.map(|bytes| {
                let each = bytes as f64 / f64::from(self.load.mappings.max(1));
                (each * 10.0).round() / 10.0
            }),
            allocations: self.samples.iter().map(|sample| sample.allocations).sum(),
            updates: self.load.updates,
            updated: self.updated(),
        })
    }

    fn updated(&self) -> Option<Updated> {
        let updates = || self.samples.iter().filter_map(|sample| sample.updates);
        Some(Updated {
            per_second: Spread::of(updates().map(|it| it.per_second), 0)?,
            visible_p99_us: Spread::of(updates().map(|it| it.changes.visible.p99_us), 1)?,
            reclaimed_p99_us: Spread::of(updates().map(|it| it.changes.reclaimed.p99_us), 1)?,
        })
    }

    /// Its median rate.
    fn rate(&self) -> f64 {
        Spread::of(self.rates(), 0).map_or(0.0, |spread| spread.median)
    }
}

/// What a reader must know of the source: one that holds fewer frames than there are mappings meets a sample of them only, whose
/// entries stay in the caches.
fn source(load: &Workload) -> String {
    let all = u64::from(load.mappings) * u64::from(load.flows);
    let sample = match load.hits {
        Hits::Zipf => " drawn",
        _ if all > FRAMES_MOST => " (a sample)",
        _ => "",
    };
    format!("net_pcap, {} frames{sample}", load.count())
}

/// Weir's rate against each other one's, and what both cost beyond testpmd. Of a peer with settings, the best one counts.
pub(super) fn ratios(scenario: Scenario, load: &Workload, lines: &[&Line], hz: f64) -> Vec<Ratio> {
    let Some((weir, others)) = lines.split_first() else {
        return Vec::new();
    };
    let ratio = |name: String, against: &str, values: Vec<f64>| {
        let spread = Spread::of(values.iter().copied(), 3)?;
        Some(Ratio {
            name: format!("{} {name}", scenario.name()),
            mappings: load.mappings,
            frame: load.frame,
            value: spread.median,
            min: spread.min,
            max: spread.max,
            interval: interval(&values),
            against: against.to_string(),
        })
    };
    let best = best_of_ovs(others);
    let plain = others.iter().filter(|line| !is_ovs(line));
    let against = plain
        .map(|line| (&*line.subject, *line))
        .chain(best.map(|line| ("ovs", line)));
    let mut all: Vec<Ratio> = against
        .filter_map(|(name, line)| {
            let values = paired(&weir.rates(), &line.rates(), |a, b| a / b);
            ratio(format!("weir/{name}"), &line.subject, values)
        })
        .collect();
    if let Some(floor) = others.iter().find(|line| line.subject == FLOOR) {
        let floor = floor.cycles(hz);
        let beyond = |line: &Line| paired(&line.cycles(hz), &floor, |own, floor| own - floor);
        let own = paired(&beyond(weir), &floor, |own, floor| own / floor);
        all.extend(ratio(format!("weir beyond {FLOOR}, of it"), FLOOR, own));
        if let Some(best) = best {
            let values = paired(&beyond(best), &beyond(weir), |ovs, weir| ovs / weir);
            all.extend(ratio(
                format!("ovs/weir beyond {FLOOR}"),
                &best.subject,
                values,
            ));
        }
    }
    all
}

/// The rate while mappings move against the rate while none does, where both were measured.
pub(super) fn slowed(scenario: Scenario, load: &Workload, lines: &[Line]) -> Option<Ratio> {
    let still = Workload {
        updates: 0,
        ..*load
    };
    let moving = lines.iter().find(|line| line.load == *load);
    let moving = moving.filter(|_| load.updates > 0)?;
    let same = |line: &&Line| (&line.subject, line.load) == (&moving.subject, still);
    let still = lines.iter().find(same)?;
    let values = paired(&moving.rates(), &still.rates(), |a, b| a / b);
    let spread = Spread::of(values.iter().copied(), 3)?;
    Some(Ratio {
        name: format!(
            "{} weir, {} updates/s against none",
            scenario.name(),
            load.updates
        ),
        mappings: load.mappings,
        frame: load.frame,
        value: spread.median,
        min: spread.min,
        max: spread.max,
        interval: interval(&values),
        against: still.subject.clone(),
    })
}

/// What every switch costs at the least.
pub const FLOOR: &str = "testpmd-mac";

/// Round by round.
pub fn paired(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| of(*a, *b)).collect()
}

fn is_ovs(line: &Line) -> bool {
    line.subject.starts_with("ovs")
}

/// Open vSwitch at its best.
pub fn best_of_ovs<'a>(lines: &[&'a Line]) -> Option<&'a Line> {
    let ovs = lines.iter().copied().filter(|line| is_ovs(line));
    ovs.max_by(|a, b| a.rate().total_cmp(&b.rate()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(subject: &str, rates: &[f64]) -> Line {
        let sample = |pps: &f64| Sample {
            pps: *pps,
            own_cycles: None,
            lost: None,
            bytes: None,
            others: 0.0,
            allocations: None,
            updates: None,
        };
        Line {
            subject: subject.to_string(),
            load: Workload::default(),
            samples: rates.iter().map(sample).collect(),
            thrown_away: 0,
            settled: Settled::default(),
        }
    }

    #[test]
    fn ovs_counts_by_the_best_of_its_settings() {
        let lines = [
            line("weir", &[20e6, 10e6, 30e6]),
            line("testpmd-mac", &[40e6, 20e6, 60e6]),
            line("ovs-emc", &[4e6, 2e6, 6e6]),
            line("ovs-smc", &[5e6, 1e6, 3e6]),
        ];
        let lines: Vec<&Line> = lines.iter().collect();
        let load = Workload::default();
        let ratios = ratios(Scenario::NvgreEncap, &load, &lines, 2e9);
        let names: Vec<(&str, &str, f64)> = ratios
            .iter()
            .map(|ratio| (&*ratio.name, &*ratio.against, ratio.value))
            .collect();
        // Cycles of the rounds: weir 100, 200, 66.7; floor 50, 100, 33.3; ovs-emc 500, 1000, 333.3.
        assert_eq!(
            names,
            [
                ("nvgre-encap weir/testpmd-mac", "testpmd-mac", 0.5),
                ("nvgre-encap weir/ovs", "ovs-emc", 5.0),
                (
                    "nvgre-encap weir beyond testpmd-mac, of it",
                    "testpmd-mac",
                    1.0
                ),
                ("nvgre-encap ovs/weir beyond testpmd-mac", "ovs-emc", 9.0),
            ]
        );
        assert_eq!(ratios[0].interval, None, "three rounds are too few");
    }

    #[test]
    fn what_updates_cost_is_of_weir_with_and_without_them() {
        let still = line("weir", &[20e6, 10e6, 30e6]);
        let mut moving = line("weir", &[19e6, 9.7e6, 27e6]);
        moving.load.updates = 1000;
        let load = moving.load;
        let peer = line("testpmd-mac", &[1.0; 3]);
        let lines = [still, peer, moving];
        assert_eq!(slowed(Scenario::NvgreEncap, &load, &lines[1..]), None);
        let ratio = slowed(Scenario::NvgreEncap, &load, &lines).unwrap();
        assert_eq!((ratio.value, ratio.min, ratio.max), (0.95, 0.9, 0.97));
        assert_eq!(
            slowed(Scenario::NvgreEncap, &Workload::default(), &lines),
            None
        );
    }
}
