//! What a driver says of its traffic manager (rte_tm), level by level.
//!
//! No device that runs without hardware has one in DPDK 22.11: net_softnic's was taken out with that release (the first test). So a ring
//! gets one here that answers and does nothing else (common/tables.rs): DPDK's own functions ask it as they ask a NIC's driver.
#![allow(unsafe_code)]

mod common;
#[path = "common/tables.rs"]
mod tables;

use std::ffi::{CString, c_int};
use std::ptr;

use common::{eal, unique};
use dpdk_sys as sys;
use rte::{Chooser, ClassHardware, Manager, Port, TrafficManager};
use tables::{CAPABILITIES, Device, LEVEL_CAPABILITIES, ManagerOps, any, known};

unsafe extern "C" fn whole(
    _: *mut Device,
    says: *mut sys::rte_tm_capabilities,
    _: *mut sys::rte_tm_error,
) -> c_int {
    // SAFETY: DPDK passes on what the caller has for it.
    let says = unsafe { &mut *says };
    (says.n_nodes_max, says.n_levels_max) = (73, 4);
    says.shaper_private_n_max = 9;
    // Of the whole hierarchy, and true of no level.
    (
        says.sched_sp_n_priorities_max,
        says.sched_n_children_max,
        says.sched_wfq_weight_max,
    ) = (77, 77, 77);
    0
}

/// A port that has classes strict and by weights, a level that it does not tell of, classes whose queues share evenly, and queues, whose side of
/// the union has numbers where the other's would be.
unsafe extern "C" fn level(
    _: *mut Device,
    level: u32,
    says: *mut sys::rte_tm_level_capabilities,
    error: *mut sys::rte_tm_error,
) -> c_int {
    // SAFETY: as above.
    let (says, error) = unsafe { (&mut *says, &mut *error) };
    // SAFETY: both sides of the union are numbers.
    let (nodes, leaves) = unsafe {
        let union = &raw mut says.__bindgen_anon_1;
        (&mut (*union).nonleaf, &raw mut (*union).leaf)
    };
    match level {
        0 => {
            says.n_nodes_nonleaf_max = 1;
            nodes.sched_n_children_max = 8;
            nodes.sched_sp_n_priorities_max = 5;
            nodes.sched_wfq_n_groups_max = 2;
            nodes.sched_wfq_weight_max = 200;
        }
        2 => {
            says.n_nodes_nonleaf_max = 8;
            nodes.sched_n_children_max = 64;
            nodes.sched_sp_n_priorities_max = 1;
            nodes.sched_wfq_weight_max = 1;
        }
        3 => {
            says.n_nodes_leaf_max = 64;
            // SAFETY: as above.
            unsafe { ptr::write_bytes(leaves, 7, 1) };
        }
        _ => {
            error.type_ = sys::RTE_TM_ERROR_TYPE_LEVEL_ID;
            return -libc::EINVAL;
        }
    }
    0
}

/// Asks a ring whose driver has this traffic manager.
fn with(manager: ManagerOps) -> ClassHardware {
    let name = unique("net_ring");
    let port = Port::attach(eal(), &name).expect("a ring");
    let c_name = CString::new(name).expect("no NUL");
    // SAFETY: the port is attached and this test's alone; the structs are those of this DPDK (`known`). The tables outlive the call that asks,
    // and the driver's own is put back.
    unsafe {
        let device = tables::device(&c_name, port.id());
        let own = (*device).functions_of_driver;
        let tables = Box::new(tables::tables(device, manager, ()));
        (*device).functions_of_driver = (&raw const *tables).cast();
        let has = port.class_hardware();
        (*device).functions_of_driver = own;
        port.close(vec![], vec![]).expect("closed");
        has
    }
}

#[test]
fn the_only_driver_in_software_that_had_one_has_none() {
    let port = Port::attach(eal(), &unique("net_softnic")).expect("a soft NIC");
    assert_eq!(port.driver(), "net_softnic");
    assert_eq!(port.class_hardware().manager, Manager::None);
    port.close(vec![], vec![]).expect("closed");
}

#[test]
fn a_manager_is_asked_level_by_level_and_leaves_choose_nothing() {
    if !known() {
        return;
    }
    let mut manager: ManagerOps = [None; 29];
    manager[CAPABILITIES] = any(whole as *const ());
    manager[LEVEL_CAPABILITIES] = any(level as *const ());
    let port = Chooser {
        level: 0,
        nodes: 1,
        children: 8,
        priorities: 5,
        groups: 2,
        weight: 200,
    };
    let classes = Chooser {
        level: 2,
        nodes: 8,
        children: 64,
        priorities: 1,
        groups: 0,
        weight: 1,
    };
    let says = TrafficManager {
        nodes: 73,
        levels: 4,
        shapers: 9,
        choosers: vec![port, classes],
    };
    assert_eq!(with(manager).manager, Manager::Says(says));
    // One that tells of the whole, and of no level (rte_tm_level_capabilities_get is not there).
    manager[LEVEL_CAPABILITIES] = None;
    let Manager::Says(says) = with(manager).manager else {
        panic!("it answers");
    };
    assert!(says.choosers.is_empty());
}

#[test]
fn a_manager_that_does_not_say_what_it_can_is_told_from_none() {
    if known() {
        assert_eq!(with([None; 29]).manager, Manager::Silent);
    }
}
