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
    /// What the stages of the path cost alone, in plain memory.
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
    /// Not measured yet: null.
    pub latency_us: Option<Spread>,
    /// The rate of each window that counts, in millions a second, in the order in which they were measured.
    pub rates: Vec<f64>,
    /// Windows that count.
    pub rounds: usize,
    /// Windows thrown away because others had the core.
    pub thrown_away: u32,
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

/// What one stage costs, in plain memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageCost {
    /// The scenario.
    pub scenario: String,
    /// The stage; `whole` is the way from receive to transmit queue.
    pub stage: String,
    /// Cycles of the TSC a packet, the median of many rounds.
    pub cycles: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_readers_know() {
        let report = Report {
            runs: vec![Run::default()],
            ratios: vec![Ratio::default()],
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
            "scenario subject mappings flows hits source frame mpps cycles own_cycles latency_us rates rounds thrown_away"
        );
        assert_eq!(keys(&json["runs"][0]["mpps"]), "median min max");
        assert_eq!(
            keys(&json["ratios"][0]),
            "name mappings frame value min max interval against"
        );
        assert_eq!(
            keys(&json["machine"]),
            "cpu cores core tsc_hz kernel dpdk ovs weir hugepages"
        );
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
