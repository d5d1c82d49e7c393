//! What comes out. Field names are stable; units are in the names or said here.

use crate::machine::Machine;
use crate::spread::Spread;
use crate::workload::{Frame, Hits};
use serde::{Deserialize, Serialize};

/// Everything that `weir bench -o json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One for each scenario and subject.
    pub runs: Vec<Run>,
    /// Rates against rates, costs against costs.
    pub ratios: Vec<Ratio>,
    /// What each stage of Weir's path costs; empty unless it was asked for (`--stages`).
    #[serde(default)]
    pub stages: Vec<StageCost>,
    /// What it was measured on.
    pub machine: Machine,
}

/// What one subject showed in one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The scenario's name.
    pub scenario: String,
    /// The subject's name, with its setting: `weir`, `testpmd-mac`, `ovs-emc`.
    pub subject: String,
    /// Mappings in the subject's tables.
    pub mappings: u32,
    /// UDP flows to each of them.
    pub flows: u32,
    /// Which of them are met.
    pub hits: Hits,
    /// Where frames come from, such as `net_pcap, 1000 frames`.
    pub source: String,
    /// Bytes of a frame, with FCS; or `"imix"`.
    pub frame: Frame,
    /// Millions of packets a second that the sink took.
    pub mpps: Spread,
    /// Cycles of the TSC a packet: those of a second ÷ packets sent in it. The source never runs dry, so all of them were spent.
    pub cycles: Spread,
    /// Cycles a packet by the subject's own account: Weir's busy cycles, OVS's processing cycles. Null where it has none.
    pub own_cycles: Option<Spread>,
    /// How long packets were on their way; null where they do not come back to the rig.
    pub latency_us: Option<Latency>,
    /// The rate of each window that counts, in millions a second, in the order in which they were measured.
    pub rates: Vec<f64>,
    /// Windows that count.
    pub rounds: usize,
    /// Windows thrown away because others had the core.
    pub thrown_away: u32,
    /// Packets that the source gave and the sink did not get, in all of the subject's lives from when it was ready to the end, counted
    /// when everything stood still; null where the subject cannot tell, or drops what it is meant to drop.
    #[serde(default)]
    pub lost_packets: Option<u64>,
    /// Bytes a mapping of the tables that a packet is looked up in. Null where the subject does not tell.
    #[serde(default)]
    pub table_bytes: Option<f64>,
    /// Calls of the allocator by the subject's workers in all windows that count. Null where it does not tell.
    #[serde(default)]
    pub allocations: Option<u64>,
    /// Mappings that were to move to another host or back, a second, while it ran.
    #[serde(default)]
    pub updates: u32,
    /// What became of that; null where none were.
    #[serde(default)]
    pub updated: Option<Updated>,
    /// How the rate was searched for, where it was (`weir bench search`): then `mpps` is the NDR, in `rates` that of each round.
    #[serde(default)]
    pub search: Option<Search>,
}

/// Mappings that moved while a subject ran: medians of the windows that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Updated {
    /// Mappings that moved, a second.
    pub per_second: Spread,
    /// Until every worker had seen a change, in microseconds: 99 of 100 took no longer.
    pub visible_p99_us: Spread,
    /// Until the place of what it replaced was free again, likewise.
    pub reclaimed_p99_us: Spread,
}

/// How long packets were on their way, in microseconds: from the moment at which each should have been sent until the rig had it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1,000.
    pub p99_9: f64,
    /// 9,999 of 10,000.
    pub p99_99: f64,
    /// None took longer.
    pub max: f64,
}

/// A throughput search by MLRsearch (RFC 9971).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// What is between the rig and the subject: `memif`, `vhost`, or the two devices that were named.
    pub over: String,
    /// What was found, for `ndr` (no loss) and for `pdr` (0.5%).
    pub goals: Vec<Found>,
    /// The most that was offered, in millions a second: the line's rate, or what the rig itself can do.
    pub max_mpps: f64,
    /// Trials of all rounds.
    pub trials: u32,
    /// Trials that do not count, because the rig could not keep its rate or others had a core; each was repeated, or its rate lowered.
    pub thrown_away: u32,
    /// Trials that count although others had a core, since each time that they were repeated others had it, too: too much may be lost in them.
    #[serde(default)]
    pub disturbed: u32,
    /// What was at its end before the switch was, where a goal has no upper bound: `rig` (what it can offer), `line` or `max` (`--max`).
    #[serde(default)]
    pub limited_by: Option<String>,
    /// Seconds of traffic in all of them.
    pub seconds: f64,
    /// Millions of packets a second at which `latency_us` was taken, and whose share of which goal that is: `0.5 of pdr`.
    pub latency_mpps: Option<f64>,
    /// See `latency_mpps`.
    pub latency_at: String,
    /// Packets whose latency was taken.
    pub latency_packets: u64,
    /// For a curve: percentile (0 to 100) and microseconds.
    pub latency_curve: Vec<(f64, f64)>,
    /// Loss at given loads (RFC 2544 §26.3), from the highest on.
    pub loss: Vec<LossAt>,
}

/// What was found for one goal of a search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// `ndr` or `pdr`.
    pub goal: String,
    /// Share of the packets that may be lost.
    pub loss_ratio: f64,
    /// Share of the trials' time in which more may be lost.
    pub exceed_ratio: f64,
    /// How far the bounds may be apart, as a share of the upper one.
    pub width: f64,
    /// Seconds of the shortest trials.
    pub initial_seconds: f64,
    /// Seconds of the trials that decide.
    pub final_seconds: f64,
    /// Seconds of trials that decide about one load.
    pub sum_seconds: f64,
    /// Conditional throughput in millions a second, over the rounds; null if no load was low enough.
    pub mpps: Option<Spread>,
    /// The relevant lower bound: the highest load that keeps the goal.
    pub lower_mpps: Option<Spread>,
    /// The relevant upper bound: the least load that does not; null if not even the most that could be offered.
    pub upper_mpps: Option<Spread>,
    /// Rounds with both bounds, no further apart than `width` (a regular result, RFC 9971).
    pub regular: usize,
}

/// Loss at one load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LossAt {
    /// Millions a second that were offered.
    pub mpps: f64,
    /// Percent of them that did not arrive.
    pub percent: f64,
}

/// A rate against a rate, or a cost against a cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Which: `nvgre-encap weir/ovs`, where `ovs` is the best of its settings, is of rates; `nvgre-encap ovs/weir beyond
    /// testpmd-mac` of cycles a packet, those of testpmd taken off both.
    pub name: String,
    /// Mappings of both.
    pub mappings: u32,
    /// Frames of both.
    pub frame: Frame,
    /// The median of the ratios of each round.
    pub value: f64,
    /// The least of them.
    pub min: f64,
    /// The most of them.
    pub max: f64,
    /// The 95% interval of the median, if there are rounds enough.
    pub interval: Option<(f64, f64)>,
    /// The subject that it is against, with its setting.
    pub against: String,
}

/// What one stage of Weir costs, from a daemon whose clock was read between stages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageCost {
    /// The scenario.
    pub scenario: String,
    /// Mappings in its tables.
    #[serde(default)]
    pub mappings: u32,
    /// Bytes of a frame.
    #[serde(default)]
    pub frame: Frame,
    /// The stage: `receive`, `classify`, `lookup`, `apply`, `transmit`; `whole` is their sum; `clock` is what reading the clock took,
    /// which was taken off the others.
    pub stage: String,
    /// Cycles of the TSC a packet, the median of the windows.
    pub cycles: f64,
    /// The least.
    #[serde(default)]
    pub min: f64,
    /// The most.
    #[serde(default)]
    pub max: f64,
    /// Each window, in the order in which they were measured.
    #[serde(default)]
    pub windows: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_readers_know() {
        let report = Report {
            runs: vec![Run {
                latency_us: Some(Latency::default()),
                search: Some(Search {
                    goals: vec![Found::default()],
                    loss: vec![LossAt::default()],
                    ..Search::default()
                }),
                ..Run::default()
            }],
            ratios: vec![Ratio::default()],
            stages: vec![StageCost::default()],
            ..Report::default()
        };
        let json = serde_json::to_value(&report).unwrap();
        let keys = |value: &serde_json::Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(keys(&json), "runs ratios stages machine");
        assert_eq!(
            keys(&json["runs"][0]),
            "scenario subject mappings flows hits source frame mpps cycles own_cycles latency_us rates rounds thrown_away lost_packets table_bytes allocations updates updated search"
        );
        assert_eq!(keys(&json["runs"][0]["mpps"]), "median min max");
        assert_eq!(
            keys(&json["runs"][0]["latency_us"]),
            "p50 p99 p99_9 p99_99 max"
        );
        let search = &json["runs"][0]["search"];
        assert_eq!(
            keys(search),
            "over goals max_mpps trials thrown_away disturbed limited_by seconds latency_mpps latency_at latency_packets latency_curve loss"
        );
        assert_eq!(
            keys(&search["goals"][0]),
            "goal loss_ratio exceed_ratio width initial_seconds final_seconds sum_seconds mpps lower_mpps upper_mpps regular"
        );
        assert_eq!(keys(&search["loss"][0]), "mpps percent");
        assert_eq!(
            keys(&json["ratios"][0]),
            "name mappings frame value min max interval against"
        );
        assert_eq!(
            keys(&json["stages"][0]),
            "scenario mappings frame stage cycles min max windows"
        );
        assert_eq!(
            keys(&json["machine"]),
            "cpu cores core tsc_hz kernel dpdk ovs peers weir hugepages"
        );
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
