//! What a port's hardware has for traffic classes, as far as its driver says it: DCB, a traffic manager, flow control by priority.

use std::ptr;

use dpdk_sys as sys;

use crate::port::Port;

/// Levels of a traffic manager that are asked for and used: no driver of DPDK 22.11 has more than six (cnxk).
pub(crate) const LEVELS: u32 = 16;

/// What a port's hardware has for traffic classes. None of it from a driver that does not know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassHardware {
    /// DCB traffic classes (802.1Qaz) that it is set to (`rte_eth_dev_get_dcb_info`): 1 where it could have more and has not.
    pub dcb_tcs: Option<u8>,
    /// Its traffic manager.
    pub manager: Manager,
    /// Its flow control by priority (802.1Qbb, `rte_eth_dev_priority_flow_ctrl_queue_info_get`).
    pub pfc: Option<Pfc>,
}

/// Whether there is a traffic manager (`rte_tm`), and what it says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Manager {
    /// The driver has none.
    #[default]
    None,
    /// The driver has one that does not say what it can: it has the calls by which nodes are made, and no `capabilities_get`.
    Silent,
    /// What it can.
    Says(TrafficManager),
}

/// What a traffic manager can (`rte_tm_capabilities_get`, `rte_tm_level_capabilities_get`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrafficManager {
    /// Nodes of its tree, at most.
    pub nodes: u32,
    /// Levels of its tree, at most.
    pub levels: u32,
    /// Shapers of nodes of their own.
    pub shapers: u32,
    /// How the levels that have nodes with children choose among these, from the root on. Leaves, which are transmit queues, choose nothing.
    /// One that the driver does not tell of is left out: [`Chooser::level`] says which each is.
    pub choosers: Vec<Chooser>,
}

/// How the nodes of a level choose among their children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chooser {
    /// Its number: 0 is the root's.
    pub level: u32,
    /// Nodes of the level, at most.
    pub nodes: u32,
    /// Children of a node, at most.
    pub children: u32,
    /// Strict priorities among children: 1 is none.
    pub priorities: u32,
    /// Priorities whose children share by weights; 0: they share evenly.
    pub groups: u32,
    /// The largest weight of a child; 1: all weigh the same.
    pub weight: u32,
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
        // SAFETY: both are numbers, for which all zeroes is a value.
        let (mut dcb, mut pfc): (sys::rte_eth_dcb_info, sys::rte_eth_pfc_queue_info) =
            unsafe { std::mem::zeroed() };
        // SAFETY: the port is attached; what is pointed to is written during the calls, or stays zero.
        let (has_dcb, has_pfc) = unsafe {
            (
                sys::rte_eth_dev_get_dcb_info(id, &mut dcb) == 0,
                sys::rte_eth_dev_priority_flow_ctrl_queue_info_get(id, &mut pfc) == 0,
            )
        };
        let mode = pfc.mode_capa;
        let full = mode == sys::RTE_ETH_FC_FULL;
        ClassHardware {
            dcb_tcs: has_dcb.then_some(dcb.nb_tcs),
            manager: manager(id),
            pfc: has_pfc.then_some(Pfc {
                tcs: pfc.tc_max,
                obeys: full || mode == sys::RTE_ETH_FC_RX_PAUSE,
                asks: full || mode == sys::RTE_ETH_FC_TX_PAUSE,
            }),
        }
    }
}

fn manager(id: u16) -> Manager {
    // SAFETY: numbers, for which all zeroes is a value.
    let mut says: sys::rte_tm_capabilities = unsafe { std::mem::zeroed() };
    // SAFETY: a pointer and numbers, for which all zeroes is a value.
    let mut error: sys::rte_tm_error = unsafe { std::mem::zeroed() };
    let mut leaves = 0;
    // SAFETY: the port is attached; what is pointed to is written during the calls, or stays zero. DPDK itself answers the first, for every
    // driver that has a traffic manager.
    let (has, answer) = unsafe {
        (
            sys::rte_tm_get_number_of_leaf_nodes(id, &mut leaves, &mut error) == 0,
            sys::rte_tm_capabilities_get(id, &mut says, &mut error),
        )
    };
    match (has, answer) {
        (false, _) => Manager::None,
        (true, 0) => Manager::Says(TrafficManager {
            nodes: says.n_nodes_max,
            levels: says.n_levels_max,
            shapers: says.shaper_private_n_max,
            choosers: (0..says.n_levels_max.min(LEVELS))
                .filter_map(|level| chooser(id, level))
                .collect(),
        }),
        (true, _) => Manager::Silent,
    }
}

/// How a level chooses; `None` of one of leaves, and of one that the driver does not tell of.
fn chooser(id: u16, level: u32) -> Option<Chooser> {
    // SAFETY: numbers, for which all zeroes is a value.
    let mut says: sys::rte_tm_level_capabilities = unsafe { std::mem::zeroed() };
    let mut error = sys::rte_tm_error {
        type_: 0,
        cause: ptr::null(),
        message: ptr::null(),
    };
    // SAFETY: the port is attached; both are written during the call, or stay as they are.
    let answer = unsafe { sys::rte_tm_level_capabilities_get(id, level, &mut says, &mut error) };
    if answer != 0 || says.n_nodes_nonleaf_max == 0 {
        return None;
    }
    // SAFETY: both sides of the union are numbers, and all of it was zero before the call; it has nodes with children, for which this side
    // is meant.
    let nodes = unsafe { says.__bindgen_anon_1.nonleaf };
    Some(Chooser {
        level,
        nodes: says.n_nodes_nonleaf_max,
        children: nodes.sched_n_children_max,
        priorities: nodes.sched_sp_n_priorities_max,
        groups: nodes.sched_wfq_n_groups_max,
        weight: nodes.sched_wfq_weight_max,
    })
}
