//! What `weir stats`, `weir drops` and `weir status` answer: plain values, serialized as they stand.
//!
//! Field names are stable; every counter is a whole number; units are in the names.

mod device;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use device::DeviceStats;

/// Everything `weir stats -o json` prints.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Stats {
    /// One row a worker, by core.
    pub workers: Vec<WorkerStats>,
    /// One row a local vNIC, summed over workers.
    pub vnics: Vec<VnicStats>,
    /// One row an uplink.
    pub uplinks: Vec<UplinkStats>,
    /// Records that come when they are asked for; null where all are here (`[store] records` in host.toml).
    #[serde(default)]
    pub pull: Option<PullStats>,
    /// Changes of the big tables, since the daemon started.
    #[serde(default)]
    pub changes: ChangeStats,
    /// vNICs that went from worker to worker, since the daemon started.
    #[serde(default)]
    pub moves: MoveStats,
}

/// vNICs that went from worker to worker.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct MoveStats {
    /// Moves, each of one bucket of MACs or more from one worker to another.
    pub moves: u64,
    /// Buckets that moved.
    pub buckets: u64,
    /// vNICs that moved.
    pub vnics: u64,
    /// How long the longest move took.
    pub longest_us: u64,
    /// How long all of them took together.
    pub total_us: u64,
}

/// How long changes of the big tables (endpoints, records, accepted and rewritten provider addresses, trunks) have taken.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ChangeStats {
    /// From a change until every worker has seen it. A worker that sleeps sees it when it wakes, and is not waited for.
    pub visible: Percentiles,
    /// From a change until the places that it emptied may be filled again, one a place.
    pub reclaimed: Percentiles,
    /// Changes that had to wait until every worker had passed, because no place was free before.
    pub waits: u64,
}

/// What the rig asks for: mappings of other hosts that move to another peer and back.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ChurnWish {
    /// Mappings that move, a second.
    pub rate: u64,
    /// For how many seconds.
    pub seconds: f64,
}

/// What became of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ChurnReport {
    /// Whether it is under way.
    pub running: bool,
    /// Why it is not; then every mapping is where the policy says.
    pub ended: Option<String>,
    /// Mappings that were to move, a second.
    pub rate: u64,
    /// Mappings that moved, there or back.
    pub updates: u64,
    /// Since it began, to its end.
    pub seconds: f64,
    /// The changes of its time: of each mapping its record, and its endpoint or provider address unless that had moved already.
    pub changes: ChangeStats,
}

/// Times, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Percentiles {
    /// How many.
    pub count: u64,
    /// Half of them took no longer; 0 if there is none, as of the others.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// Questions to the store about destinations that had no record here.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct PullStats {
    /// Questions asked.
    pub questions: u64,
    /// Answered: there is a record, and it is here now.
    pub found: u64,
    /// Answered: nobody has that address.
    pub absent: u64,
    /// Answers that came too late or about a policy that had been replaced.
    pub stale: u64,
    /// Questions without an answer now.
    pub in_flight: u64,
    /// Records and endpoints of other hosts that are here now because they were asked for.
    pub entries: u64,
}

/// The counters of one worker. Whenever traffic stands still,
/// `rx_packets + handoff_in + generated + copies ==
///  tx_packets + delivered + handoff_out + consumed + dropped + queued`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct WorkerStats {
    /// The core it is pinned to.
    pub core: u32,
    /// Packets taken from vNICs and uplinks.
    pub rx_packets: u64,
    /// Packets taken over from other workers.
    pub handoff_in: u64,
    /// Packets made by the switch itself (ARP requests).
    pub generated: u64,
    /// Copies made of a broadcast or multicast packet.
    pub copies: u64,
    /// Packets an uplink's device accepted.
    pub tx_packets: u64,
    /// Packets a vNIC's device accepted.
    pub delivered: u64,
    /// Packets given to other workers.
    pub handoff_out: u64,
    /// Packets that ended in the switch itself (ARP to a provider address).
    pub consumed: u64,
    /// Packets dropped, for all reasons.
    pub dropped: u64,
    /// Packets waiting, for a device or for the store's answer.
    pub queued: u64,
    /// Of those, packets waiting for the store's answer.
    #[serde(default)]
    pub held: u64,
    /// Destinations without a record that control was told of.
    #[serde(default)]
    pub misses: u64,
    /// Of those, destinations whose record has come.
    #[serde(default)]
    pub misses_found: u64,
    /// Of those, destinations that nobody has.
    #[serde(default)]
    pub misses_absent: u64,
    /// TSC cycles of turns that moved at least one packet.
    pub busy_cycles: u64,
    /// TSC cycles of turns that moved none.
    pub idle_cycles: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Packets that other workers received for this one; they are in `rx_packets`.
    #[serde(default)]
    pub steered_in: u64,
    /// Packets received for other workers; they are in no other count of this one.
    #[serde(default)]
    pub steered_out: u64,
}

/// The counters of one vNIC, as the switch sees them: `rx` is what the vNIC sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct VnicStats {
    /// Its name in the policy.
    pub vnic: String,
    /// The VM network it belongs to.
    pub tenant: String,
    /// The core of the worker that owns it.
    pub worker: u32,
    /// Packets received from it.
    pub rx_packets: u64,
    /// Bytes received from it, without FCS.
    pub rx_bytes: u64,
    /// Packets delivered to it.
    pub tx_packets: u64,
    /// Bytes delivered to it, without FCS.
    pub tx_bytes: u64,
    /// Packets dropped on its account, from it and to it.
    pub dropped: u64,
    /// Packets whose unfinished L4 checksum the switch finished in software.
    pub checksums_finished: u64,
    /// Packets of it that stand for many TCP segments (GSO) and that the switch cut in software.
    pub gso_segmented: u64,
    /// Such packets that were delivered to it whole.
    pub gso_passed: u64,
    /// TCP handshakes of it whose MSS was lowered (`mss_clamp`).
    pub mss_clamped: u64,
    /// Packets that wait now for its maximum or for its share of an uplink, or for what it may receive.
    pub queued: u64,
    /// Their bytes, without FCS.
    pub queue_bytes: u64,
    /// Packets of it that were marked as having met congestion, because they waited for long.
    pub marked: u64,
    /// What its VFs have carried, past the switch and in none of the counts above; null for a vNIC that has and had none.
    #[serde(default)]
    pub vf: Option<VfStats>,
    /// Of those dropped, the ones of which too many waited or which were over a policer, by traffic class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<ClassRefused>,
    /// What it sends, by traffic class, where there are classes: those of which there is something to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassStats>,
}

/// What a vNIC sends in one traffic class, be it to another host or to a vNIC here. Bytes are the vNIC's own, of layer 2 and without FCS.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ClassStats {
    /// The traffic class; empty: none.
    pub class: String,
    /// Packets that might leave, at once or after they had waited.
    pub sent_packets: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Packets that wait now.
    pub queued: u64,
    /// Bytes of them.
    pub queue_bytes: u64,
    /// Packets dropped because too much waited, by a policer, or because their port was closed while they waited.
    pub dropped: u64,
    /// Bytes of them.
    pub dropped_bytes: u64,
}

/// What the VFs of a vNIC have carried since it was given them, as the NIC's driver counts: `rx` is what its VM sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct VfStats {
    /// The VF that it has now, as `PF/INDEX`; null if it is on its software path.
    pub vf: Option<String>,
    /// Packets that its VM sent; null, as the others, where the driver counts none.
    pub rx_packets: Option<u64>,
    /// Bytes of them.
    pub rx_bytes: Option<u64>,
    /// Packets that its VM got.
    pub tx_packets: Option<u64>,
    /// Bytes of them.
    pub tx_bytes: Option<u64>,
    /// Packets of it and for it that the NIC dropped.
    pub dropped: Option<u64>,
    /// Why there are no counts, or not now.
    pub note: Option<String>,
}

/// Packets of one vNIC in one traffic class that were not even queued.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ClassRefused {
    /// The traffic class; empty: none.
    pub class: String,
    /// How many.
    pub packets: u64,
}

/// The counters of one uplink.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct UplinkStats {
    /// Its name in host.toml.
    pub uplink: String,
    /// Whether its link is up.
    pub link_up: bool,
    /// Link speed in Mbit/s; 0 where the device does not know.
    pub link_mbit: u32,
    /// Packets the workers took from it.
    pub rx_packets: u64,
    /// Bytes of them, without FCS.
    pub rx_bytes: u64,
    /// Packets it accepted.
    pub tx_packets: u64,
    /// Bytes of them, without FCS.
    pub tx_bytes: u64,
    /// Packets dropped on its account.
    pub dropped: u64,
    /// Packets that stand for many TCP segments (GSO) and that it took whole, to cut them itself.
    pub gso_passed: u64,
    /// What its device counts by itself; left out where it is no port of DPDK, and in `weir top`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceStats>,
}

/// One row of `weir drops`: non-zero counts only.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct DropRow {
    /// The worker's core; null for what a device lost before or after the workers.
    pub worker: Option<u32>,
    /// The vNIC, or the uplink for what came from the wire and reached no vNIC.
    pub vnic: Option<String>,
    /// The uplink, where there is no vNIC.
    pub uplink: Option<String>,
    /// The vNIC's VM network.
    pub tenant: Option<String>,
    /// The reason's stable name, e.g. `spoofed_mac`.
    pub reason: String,
    /// Packets.
    pub packets: u64,
    /// Bytes, without FCS; 0 where a device counts none.
    pub bytes: u64,
    /// What the reason means and how to mend it, one sentence.
    pub help: String,
}

/// What `weir status` answers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// The host's name.
    pub host: String,
    /// The daemon's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Where the policy comes from, e.g. `file policy.toml`.
    pub store: String,
    /// Number of the policy transaction that is applied; 0 before the first.
    pub revision: u64,
    /// Why the store's newest content is not applied; empty when it is.
    pub errors: Vec<PolicyError>,
    /// What is applied and cannot be kept now: minima that a link carries no longer, as it has become slower; pins of one MAC to two cores.
    #[serde(default)]
    pub warnings: Vec<PolicyError>,
    /// The last good state on disk; null where none is kept.
    #[serde(default)]
    pub last_good: Option<LastGood>,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Objects applied: vNICs here, vNICs elsewhere, provider addresses, of those resolved.
    pub local_vnics: u64,
    /// vNICs on other hosts that this host can reach.
    pub remote_vnics: u64,
    /// Other hosts' provider addresses in use.
    pub peers: u64,
    /// Those whose MAC address is known.
    pub peers_resolved: u64,
    /// Mbufs of the pool that are free, and all of them.
    pub mbufs_free: u64,
    /// All mbufs of the pool.
    pub mbufs_total: u64,
    /// The PCI devices that it has, by address, and as what: `uplink up0`.
    #[serde(default)]
    pub devices: BTreeMap<String, String>,
}

/// The policy that was applied last, as it is kept on disk for a start without the store.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct LastGood {
    /// The file.
    pub path: String,
    /// Whether what is applied came from it, and the store has not been seen to hold the same since.
    pub in_use: bool,
    /// Seconds since it was written; null if there is none.
    pub saved_seconds: Option<u64>,
    /// Why the policy that is applied is not in it, or why it was not used.
    pub problem: Option<String>,
}

/// One reason why a configuration or a policy is refused.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct PolicyError {
    /// The file's name as the user gave it.
    pub file: String,
    /// Line, from 1; null where there is none.
    pub line: Option<u32>,
    /// The object, e.g. `vnic blue1`.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub mend: String,
}

impl std::fmt::Display for PolicyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}; {}", self.object, self.problem, self.mend)
    }
}

/// What an accepted transaction changed (or, in a dry run, would change).
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ApplyReport {
    /// The transaction's number; unchanged in a dry run.
    pub revision: u64,
    /// Whether nothing was carried out.
    pub dry_run: bool,
    /// Objects added, as `vnic blue1`.
    pub added: Vec<String>,
    /// Objects changed.
    pub changed: Vec<String>,
    /// Objects removed.
    pub removed: Vec<String>,
    /// Objects left as they were.
    pub unchanged: u64,
}
