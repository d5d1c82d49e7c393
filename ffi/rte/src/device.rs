//! How DPDK finds a device, and which ports are taken.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dpdk_sys as sys;

use crate::another_pid::under_another_pid;
use crate::error::Cause;
use crate::log;
use crate::port_types::PortError;

/// Ports that DPDK was built for: 32 on Debian.
pub const MAX_PORTS: usize = sys::RTE_MAX_ETHPORTS as usize;

/// Which ports are a [`Port`](crate::Port). Held while devices come and go: DPDK's lists of devices are not locked by themselves.
static CLAIMED: Mutex<[bool; MAX_PORTS]> = Mutex::new([false; MAX_PORTS]);

/// Other groups that are tried for net_af_packet's sockets. Process numbers follow each other, so that one that is free is near.
const GROUPS: usize = 16;

/// Waits for other threads' attaching and closing to end.
pub(crate) fn claimed() -> MutexGuard<'static, [bool; MAX_PORTS]> {
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True if a port that somebody has, and may be polling, is on the device: a NIC may have several on one.
pub(crate) fn has_claimed_port(
    device: *const sys::rte_device,
    claimed: &[bool; MAX_PORTS],
) -> bool {
    (0..MAX_PORTS as u16).any(|id| {
        let mut info = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
        claimed[usize::from(id)]
            // SAFETY: the port is attached, being claimed; `info` is written during the call, over zeroes, which are a value of it.
            && unsafe {
                sys::rte_eth_dev_info_get(id, info.as_mut_ptr()) == 0
                    && ptr::eq(info.assume_init().device, device)
            }
    })
}

/// Makes DPDK find the device; the caller holds the lock.
pub(crate) fn probe(devargs: &str, name: &str, c_devargs: &CStr) -> Result<u16, PortError> {
    let mut mark = log::mark();
    // SAFETY: EAL runs, as the caller has it; the string ends in NUL and is copied by the call; no other thread adds or removes devices
    // while the lock is held.
    let mut result = unsafe { sys::rte_dev_probe(c_devargs.as_ptr()) };
    let mut cause = Cause::new("rte_dev_probe", result, mark);
    for _ in 0..GROUPS {
        if !cause.log.iter().any(|line| line.contains("PACKET_FANOUT")) {
            break;
        }
        mark = log::mark();
        // SAFETY: as above; the driver of a packet socket makes no threads.
        let again = unsafe {
            under_another_pid(c_devargs, |devargs: &&CStr| {
                sys::rte_dev_probe(devargs.as_ptr())
            })
        };
        result = again.unwrap_or(result);
        cause = Cause::new("rte_dev_probe", result, mark);
    }
    match -result {
        libc::EEXIST => Err(PortError::AlreadyAttached(name.to_owned())),
        // EFAULT: no bus knows how to read the name.
        libc::ENODEV | libc::ENOENT | libc::EFAULT => Err(PortError::NoSuchDevice {
            device: devargs.to_owned(),
            reason: match cause.log.is_empty() {
                true => format!("no driver or bus knows it ({})", cause.text),
                false => cause.log.join(" / "),
            },
        }),
        errno if errno > 0 => Err(PortError::Dpdk {
            port: devargs.to_owned(),
            cause,
        }),
        _ => port_named(name)
            .or_else(|| first_port_of(c_devargs))
            .ok_or_else(|| PortError::NoSuchDevice {
                device: devargs.to_owned(),
                reason: "the device is there, but has no network port".into(),
            }),
    }
}

/// Says what drivers that open a kernel's interface say with "Operation not permitted".
pub(crate) fn check_interface(devargs: &str) -> Result<(), PortError> {
    if !["net_af_packet", "net_af_xdp", "eth_af_packet"]
        .iter()
        .any(|driver| devargs.starts_with(driver))
    {
        return Ok(());
    }
    let missing = |reason: String| PortError::NoSuchDevice {
        device: devargs.to_owned(),
        reason,
    };
    let Some(interface) = devargs
        .split(',')
        .find_map(|argument| argument.strip_prefix("iface="))
    else {
        return Err(missing("the argument iface=NAME is missing".into()));
    };
    let c_interface = CString::new(interface).map_err(|error| missing(error.to_string()))?;
    // SAFETY: the string ends in NUL and is read during the call.
    if unsafe { libc::if_nametoindex(c_interface.as_ptr()) } == 0 {
        return Err(missing(format!(
            "there is no interface {interface:?} in this network namespace"
        )));
    }
    Ok(())
}

pub(crate) fn port_named(name: &str) -> Option<u16> {
    let name = CString::new(name).ok()?;
    let mut id = 0;
    // SAFETY: the string ends in NUL; `id` is written on success, which is 0.
    (unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) } == 0).then_some(id)
}

pub(crate) fn name_of(id: u16) -> Option<String> {
    let mut name = [0 as libc::c_char; sys::RTE_ETH_NAME_MAX_LEN as usize];
    // SAFETY: the call writes a string that ends in NUL, of at most RTE_ETH_NAME_MAX_LEN bytes, as its documentation demands.
    unsafe {
        if sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) != 0 {
            return None;
        }
        Some(CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned())
    }
}

/// For devices whose port has another name than they have themselves.
fn first_port_of(devargs: &CStr) -> Option<u16> {
    // SAFETY: the iterator is pointers and strings, for which all zeroes is a value; the calls set it up, use it and free what it holds,
    // in the order that RTE_ETH_FOREACH_MATCHING_DEV has.
    unsafe {
        let mut iterator: sys::rte_dev_iterator = std::mem::zeroed();
        if sys::rte_eth_iterator_init(&mut iterator, devargs.as_ptr()) != 0 {
            return None;
        }
        let id = sys::rte_eth_iterator_next(&mut iterator);
        if usize::from(id) >= MAX_PORTS {
            return None;
        }
        sys::rte_eth_iterator_cleanup(&mut iterator);
        Some(id)
    }
}
