//! VMDq: a device that parts what it receives among pools by destination MAC address, here each with one receive queue.
//!
//! Pool 0 is the default: what matches no pool's address comes there. Which addresses are a pool's, [`Port::add_mac`] says. Drivers have one
//! rule for all pools about groups, so that each pool gets each broadcast and multicast: who polls the others has copies.

use dpdk_sys as sys;

use crate::port::Port;
use crate::port_types::PortError;

// RTE_ETH_VMDQ_ACCEPT_* of rte_ethdev.h, which are RTE_BIT32() and not among the bindings.
/// Frames without a tag, besides those of a VLAN that is mapped.
const UNTAGGED: u32 = 1 << 0;
/// Multicast whose hash is set ([`Port::set_groups`]).
const GROUPS: u32 = 1 << 1;
/// Broadcast.
const BROADCAST: u32 = 1 << 3;
/// All multicast.
const MULTICAST: u32 = 1 << 4;

/// Has a port receive into pools.
pub(crate) fn configure(conf: &mut sys::rte_eth_conf) {
    conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_VMDQ_ONLY;
    let pools = &mut conf.rx_adv_conf.vmdq_rx_conf;
    pools.nb_queue_pools = sys::RTE_ETH_8_POOLS;
    pools.enable_default_pool = 1;
    pools.default_pool = 0;
    pools.rx_mode = UNTAGGED | GROUPS | BROADCAST | MULTICAST;
}

impl Port {
    /// Has pools take the frames of every VLAN: a driver starts them with a filter of none. ENOTSUP (95) from one that has no filter.
    pub(crate) fn pools_take_every_vlan(&mut self) -> Result<(), PortError> {
        // SAFETY: the port is attached; reads its settings, or says that it cannot.
        let now = unsafe { sys::rte_eth_dev_get_vlan_offload(self.id()) };
        let mark = crate::log::mark();
        self.result("rte_eth_dev_get_vlan_offload", now, mark)?;
        let filter = sys::RTE_ETH_VLAN_FILTER_OFFLOAD as i32;
        // DPDK tells the driver of changes only, and thinks that it is off.
        for wanted in [now | filter, now & !filter] {
            let mark = crate::log::mark();
            // SAFETY: the port is attached.
            let result = unsafe { sys::rte_eth_dev_set_vlan_offload(self.id(), wanted) };
            self.result("rte_eth_dev_set_vlan_offload", result, mark)?;
        }
        Ok(())
    }
}
