//! What an uplink's device counts by itself.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an uplink's device counts by itself, as its DPDK driver tells: a NIC, a VF that Weir drives, a virtual device.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct DeviceStats {
    /// DPDK's driver of it.
    pub driver: String,
    /// Which VF it is, as `PF/INDEX`; null if it is none, or one whose PF is not on this machine.
    pub vf: Option<String>,
    /// Its counters since it was opened, by the names that DPDK and the driver give them (`rte_eth_xstats_get`).
    pub xstats: BTreeMap<String, u64>,
    /// Why there are none.
    pub note: Option<String>,
}
