//! The scenarios there are.

use crate::workload::{Hits, NVGRE_BYTES, Workload};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A local vNIC sends to vNICs on other hosts: every packet leaves in NVGRE.
    NvgreEncap,
    /// vNICs on other hosts send to a local one: every packet comes in NVGRE.
    NvgreDecap,
    /// A local vNIC sends by its gateway to another subnet's vNICs on other hosts.
    Routed,
    /// A local vNIC sends to another one.
    Local,
    /// A local vNIC forges its source address: every packet is dropped.
    Drop,
    /// A local vNIC sends to vNICs on other hosts, whose addresses are rewritten to provider addresses of their own.
    Rewrite,
    /// A local vNIC of a network without virtualization sends to the wire.
    L2,
}

/// Where packets of a scenario end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the uplink.
    Uplink,
    /// At a local vNIC.
    Vnic,
    /// Dropped, and counted so.
    Dropped,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 7] = [
        Scenario::NvgreEncap,
        Scenario::NvgreDecap,
        Scenario::Rewrite,
        Scenario::Routed,
        Scenario::Local,
        Scenario::Drop,
        Scenario::L2,
    ];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::NvgreEncap => "nvgre-encap",
            Scenario::NvgreDecap => "nvgre-decap",
            Scenario::Rewrite => "rewrite",
            Scenario::Routed => "routed",
            Scenario::Local => "local",
            Scenario::Drop => "drop",
            Scenario::L2 => "l2",
        }
    }

    /// What it shows, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Scenario::NvgreEncap => {
                "one vNIC (net_pcap, infinite_rx) to vNICs on ten other hosts over NVGRE (net_null)"
            }
            Scenario::NvgreDecap => {
                "NVGRE from vNICs on ten other hosts (net_pcap, infinite_rx) to one vNIC (net_null)"
            }
            Scenario::Rewrite => {
                "one vNIC to vNICs on ten other hosts, addresses rewritten in the place of a tunnel"
            }
            Scenario::Routed => {
                "one vNIC by its gateway to another subnet's vNICs on ten other hosts over NVGRE"
            }
            Scenario::Local => "one vNIC to another on the same host",
            Scenario::Drop => "one vNIC with a forged source address: what a refusal costs",
            Scenario::L2 => "one vNIC without virtualization to the wire",
        }
    }

    /// The one of exactly that name.
    pub fn named(name: &str) -> Option<Scenario> {
        Scenario::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
    }

    /// Subnets of the tenant: the mappings are in the last.
    pub fn subnets(self) -> usize {
        match self {
            Scenario::Routed => 2,
            _ => 1,
        }
    }

    /// Where its packets end.
    pub fn end(self, load: &Workload) -> End {
        match self {
            _ if load.hits == Hits::Miss && self.meets_mappings() => End::Dropped,
            Scenario::NvgreEncap | Scenario::Rewrite | Scenario::Routed | Scenario::L2 => {
                End::Uplink
            }
            Scenario::NvgreDecap | Scenario::Local => End::Vnic,
            Scenario::Drop => End::Dropped,
        }
    }

    /// Whether its destinations are the mappings.
    fn meets_mappings(self) -> bool {
        matches!(
            self,
            Scenario::NvgreEncap | Scenario::Rewrite | Scenario::Routed
        )
    }

    /// Bytes of a packet in the mean where it ends, without FCS; none where it is dropped.
    pub fn bytes_out(self, load: &Workload) -> Option<f64> {
        let added = match (self, self.end(load)) {
            (_, End::Dropped) => return None,
            (Scenario::NvgreEncap | Scenario::Routed, _) => NVGRE_BYTES,
            _ => 0,
        };
        Some(load.mean_bytes() + added as f64)
    }

    /// Whether frames come from the wire.
    pub fn is_from_wire(self) -> bool {
        self == Scenario::NvgreDecap
    }
}
