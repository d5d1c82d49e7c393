//! What a driver says of its traffic manager (rte_tm), level by level.
//!
//! No device that runs without hardware has one in DPDK 22.11: net_softnic's was taken out with that release (the first test). So a ring
//! gets one here that answers and does nothing else: DPDK's own functions ask it as they ask a NIC's driver. It hangs in DPDK's private
//! structs as 22.11 has them (`rte_eth_dev` and `eth_dev_ops` in lib/ethdev/ethdev_driver.h), and nowhere else is it tried.
#![allow(unsafe_code)]

mod common;

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use common::{eal, unique};
use dpdk_sys as sys;
use rte::{Chooser, ClassHardware, Manager, Port, TrafficManager};

type Any = Option<unsafe extern "C" fn()>;

/// A function, in a table in which its place says what it is.
fn any(function: *const ()) -> Any {
    // SAFETY: callers give functions alone, and both are pointers to such; DPDK calls each as what it is.
    unsafe { std::mem::transmute::<*const (), Any>(function) }
}

/// The beginning of `rte_eth_dev`.
#[repr(C)]
struct Device {
    functions: [Any; 6],
    data: *mut c_void,
    process_private: *mut c_void,
    functions_of_driver: *const DriverOps,
    device: *mut c_void,
}

/// `eth_dev_ops`: functions, all of it.
type DriverOps = [Any; 113];
/// The place of `tm_ops_get` in it.
const TM_OPS_GET: usize = 82;

/// `rte_tm_ops` (rte_tm_driver.h): functions, all of it.
type ManagerOps = [Any; 29];
const CAPABILITIES: usize = 1;
const LEVEL_CAPABILITIES: usize = 2;

/// What a port's driver is given for its own functions: the same, and a traffic manager behind them.
#[repr(C)]
struct Tables {
    driver: DriverOps,
    manager: ManagerOps,
}

unsafe extern "C" {
    fn rte_eth_dev_allocated(name: *const c_char) -> *mut Device;
}

/// Whether the structs are those that are known here.
fn known() -> bool {
    let known = (sys::RTE_VER_YEAR, sys::RTE_VER_MONTH) == (22, 11);
    if !known {
        eprintln!("skipped: another DPDK than 22.11, whose private structs are not known");
    }
    known
}

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

/// A port that has classes strict and by weights, classes whose queues share evenly, a level that it does not tell of, and queues, whose side of
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
        1 => {
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

/// `tm_ops_get`.
unsafe extern "C" fn get(device: *mut Device, to: *mut *const ManagerOps) -> c_int {
    // SAFETY: `with` has put the device's functions into such tables, and DPDK has room for a pointer.
    unsafe {
        let tables: *const Tables = (*device).functions_of_driver.cast();
        *to = &raw const (*tables).manager;
    }
    0
}

/// Asks a ring whose driver has this traffic manager.
fn with(manager: ManagerOps) -> ClassHardware {
    let name = unique("net_ring");
    let port = Port::attach(eal(), &name).expect("a ring");
    let c_name = CString::new(name).expect("no NUL");
    // SAFETY: the port is attached and this test's alone; the structs are those of this DPDK (`known`), which the check of `device` against
    // what DPDK itself tells of the port confirms. The tables outlive the call that asks, and the driver's own is put back.
    unsafe {
        let device = rte_eth_dev_allocated(c_name.as_ptr());
        assert!(!device.is_null());
        let mut info: sys::rte_eth_dev_info = std::mem::zeroed();
        assert_eq!(sys::rte_eth_dev_info_get(port.id(), &mut info), 0);
        assert!(ptr::eq((*device).device, info.device.cast()));
        let own = (*device).functions_of_driver;
        let driver = *own;
        let mut tables = Box::new(Tables { driver, manager });
        assert!(
            tables.driver[TM_OPS_GET].is_none(),
            "a ring has none by itself"
        );
        tables.driver[TM_OPS_GET] = any(get as *const ());
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
        nodes: 1,
        children: 8,
        priorities: 5,
        groups: 2,
        weight: 200,
    };
    let classes = Chooser {
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
