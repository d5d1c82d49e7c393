//! What comes out. Field names are stable; units are in the names or said here.

use crate::machine::Machine;
use crate::spread::Spread;
use serde::{Deserialize, Serialize};

/// Everything that `weir bench -o json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One for each scenario and subject.
    pub runs: Vec<Run>,
    /// Rates against rates.
    pub ratios: Vec<Ratio>,
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
    /// Mappings in the subject's tables, each met by one frame in turn.
    pub mappings: u32,
    /// Bytes of a frame, with FCS.
    pub frame: u16,
    /// Millions of packets a second that the sink took.
    pub mpps: Spread,
    /// Cycles of the TSC a packet: those of a second ÷ packets sent in it. The source never runs dry, so all of them were spent.
    pub cycles: Spread,
    /// Cycles a packet by the subject's own account: Weir's busy cycles, OVS's processing cycles. Null where it has none.
    pub own_cycles: Option<Spread>,
    /// Windows that count.
    pub rounds: usize,
    /// Windows thrown away because others had the core.
    pub thrown_away: u32,
}

/// A rate against a rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Which: `nvgre-encap weir/ovs`, where `ovs` is the best of its settings.
    pub name: String,
    /// The median of the ratios of each round.
    pub value: f64,
    /// The least of them.
    pub min: f64,
    /// The most of them.
    pub max: f64,
    /// The subject that it is against, with its setting.
    pub against: String,
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
        assert_eq!(keys(&json), "runs ratios machine");
        assert_eq!(
            keys(&json["runs"][0]),
            "scenario subject mappings frame mpps cycles own_cycles rounds thrown_away"
        );
        assert_eq!(keys(&json["runs"][0]["mpps"]), "median min max");
        assert_eq!(keys(&json["ratios"][0]), "name value min max against");
        assert_eq!(
            keys(&json["machine"]),
            "cpu cores core tsc_hz kernel dpdk ovs weir hugepages"
        );
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
