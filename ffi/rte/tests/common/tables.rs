//! A port's driver with another traffic manager: DPDK's private structs as 22.11 has them (`rte_eth_dev` and `eth_dev_ops` in
//! lib/ethdev/ethdev_driver.h, `rte_tm_ops` in rte_tm_driver.h), and nowhere else is it tried.
#![allow(dead_code, unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use dpdk_sys as sys;

pub type Any = Option<unsafe extern "C" fn()>;

/// A function, in a table in which its place says what it is.
pub fn any(function: *const ()) -> Any {
    // SAFETY: callers give functions alone, and both are pointers to such; DPDK calls each as what it is.
    unsafe { std::mem::transmute::<*const (), Any>(function) }
}

/// The beginning of `rte_eth_dev`.
#[repr(C)]
pub struct Device {
    /// `rx_pkt_burst` ([`RX_BURST`]), `tx_pkt_burst` and what is asked of queues.
    pub functions: [Any; 6],
    data: *mut c_void,
    process_private: *mut c_void,
    pub functions_of_driver: *const DriverOps,
    pub device: *mut c_void,
}

/// The place of `rx_pkt_burst` in it.
pub const RX_BURST: usize = 0;

/// `eth_dev_ops`: functions, all of it.
pub type DriverOps = [Any; 113];
/// The place of `dev_configure` in it.
pub const CONFIGURE: usize = 0;
/// The place of `tm_ops_get` in it.
pub const TM_OPS_GET: usize = 82;

/// `rte_tm_ops`: functions, all of it.
pub type ManagerOps = [Any; 29];
pub const CAPABILITIES: usize = 1;
pub const LEVEL_CAPABILITIES: usize = 2;
pub const NODE_ADD: usize = 12;
pub const NODE_DELETE: usize = 13;
pub const HIERARCHY_COMMIT: usize = 16;

/// What a port's driver is given for its own functions: the same, a traffic manager behind them, and what that remembers.
#[repr(C)]
pub struct Tables<T> {
    pub driver: DriverOps,
    pub manager: ManagerOps,
    pub state: T,
}

unsafe extern "C" {
    fn rte_eth_dev_allocated(name: *const c_char) -> *mut Device;
}

/// Whether the structs are those that are known here.
pub fn known() -> bool {
    let known = (sys::RTE_VER_YEAR, sys::RTE_VER_MONTH) == (22, 11);
    if !known {
        eprintln!("skipped: another DPDK than 22.11, whose private structs are not known");
    }
    known
}

/// DPDK's own of this port, held against what DPDK itself tells of it.
///
/// # Safety
/// The structs are [`known`], the port is there and no other thread uses it.
pub unsafe fn device(name: &CStr, id: u16) -> *mut Device {
    // SAFETY: by the contract; the string ends in NUL, and numbers and pointers may be zero.
    unsafe {
        let device = rte_eth_dev_allocated(name.as_ptr());
        assert!(!device.is_null());
        let mut info: sys::rte_eth_dev_info = std::mem::zeroed();
        assert_eq!(sys::rte_eth_dev_info_get(id, &mut info), 0);
        assert!(ptr::eq((*device).device, info.device.cast()));
        device
    }
}

/// The driver's functions with this traffic manager.
///
/// # Safety
/// As [`device`], of whose the functions are its driver's own.
pub unsafe fn tables<T>(device: *const Device, manager: ManagerOps, state: T) -> Tables<T> {
    // SAFETY: by the contract.
    let mut driver = unsafe { *(*device).functions_of_driver };
    assert!(driver[TM_OPS_GET].is_none(), "it has none by itself");
    driver[TM_OPS_GET] = any(get as *const ());
    Tables {
        driver,
        manager,
        state,
    }
}

/// `tm_ops_get`.
unsafe extern "C" fn get(device: *mut Device, to: *mut *const ManagerOps) -> c_int {
    // SAFETY: whoever has [`tables`] made puts them where the device's functions were, and what they remember is behind the rest; DPDK has
    // room for a pointer.
    unsafe {
        let tables: *const Tables<()> = (*device).functions_of_driver.cast();
        *to = &raw const (*tables).manager;
    }
    0
}
