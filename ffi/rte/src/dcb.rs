//! What a port's hardware has for traffic classes, as far as its driver says it: DCB, a traffic manager, flow control by priority.

use dpdk_sys as sys;

use crate::port::Port;

/// What a port's hardware has for traffic classes. None of it from a driver that does not know of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassHardware {
    /// DCB traffic classes (802.1Qaz) that it is set to (`rte_eth_dev_get_dcb_info`): 1 where it could have more and has not.
    pub dcb_tcs: Option<u8>,
    /// Its traffic manager (`rte_tm_capabilities_get`).
    pub manager: Option<TrafficManager>,
    /// Its flow control by priority (802.1Qbb, `rte_eth_dev_priority_flow_ctrl_queue_info_get`).
    pub pfc: Option<Pfc>,
}

/// What a traffic manager has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrafficManager {
    /// Nodes of its tree, at most.
    pub nodes: u32,
    /// Levels of its tree, at most.
    pub levels: u32,
    /// Shapers of nodes of their own.
    pub shapers: u32,
}

/// What flow control by priority has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pfc {
    /// Classes, at most.
    pub tcs: u8,
    /// Whether it obeys pauses.
    pub obeys: bool,
    /// Whether it asks for pauses.
    pub asks: bool,
}

impl Port {
    /// Asks its driver what there is for traffic classes. Changes nothing.
    #[must_use]
    pub fn class_hardware(&self) -> ClassHardware {
        let id = self.id();
        // SAFETY: all three are numbers, for which all zeroes is a value.
        let (mut dcb, mut manager, mut pfc): (
            sys::rte_eth_dcb_info,
            sys::rte_tm_capabilities,
            sys::rte_eth_pfc_queue_info,
        ) = unsafe { std::mem::zeroed() };
        // SAFETY: a pointer and numbers, for which all zeroes is a value.
        let mut error: sys::rte_tm_error = unsafe { std::mem::zeroed() };
        // SAFETY: the port is attached; what is pointed to is written during the calls, or stays zero.
        let (has_dcb, has_manager, has_pfc) = unsafe {
            (
                sys::rte_eth_dev_get_dcb_info(id, &mut dcb) == 0,
                sys::rte_tm_capabilities_get(id, &mut manager, &mut error) == 0,
                sys::rte_eth_dev_priority_flow_ctrl_queue_info_get(id, &mut pfc) == 0,
            )
        };
        let mode = pfc.mode_capa;
        let full = mode == sys::RTE_ETH_FC_FULL;
        ClassHardware {
            dcb_tcs: has_dcb.then_some(dcb.nb_tcs),
            manager: has_manager.then_some(TrafficManager {
                nodes: manager.n_nodes_max,
                levels: manager.n_levels_max,
                shapers: manager.shaper_private_n_max,
            }),
            pfc: has_pfc.then_some(Pfc {
                tcs: pfc.tc_max,
                obeys: full || mode == sys::RTE_ETH_FC_RX_PAUSE,
                asks: full || mode == sys::RTE_ETH_FC_TX_PAUSE,
            }),
        }
    }
}
