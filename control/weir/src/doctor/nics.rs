//! Network devices: which there are, who drives them, and whether those that host.toml names can be opened.

use super::{Check, Root};
use weir_agent::config::device::Device;
use weir_agent::config::host::HostConfig;

/// Drivers by which DPDK reaches a PCI device that the kernel has let go.
const USERSPACE: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// Kernel drivers beside which DPDK works: the device stays with the kernel (bifurcated).
const BIFURCATED: [&str; 4] = ["mlx5_core", "mlx4_core", "mana", "gve"];

/// The PCI NICs (class 02h) and their drivers.
pub fn nics(root: &Root) -> Check {
    let mut seen = Vec::new();
    for address in root.names("/sys/bus/pci/devices") {
        let class = root
            .read(&format!("/sys/bus/pci/devices/{address}/class"))
            .unwrap_or_default();
        if class.starts_with("0x02") {
            let driver = driver(root, &address).unwrap_or_else(|| "no driver".into());
            seen.push(format!("{address} {driver}"));
        }
    }
    if seen.is_empty() {
        Check::good(
            "nics",
            "no PCI NIC here; veth, tap and vhost-user need none",
        )
    } else {
        Check::good("nics", seen.join(", "))
    }
}

fn driver(root: &Root, address: &str) -> Option<String> {
    root.link(&format!("/sys/bus/pci/devices/{address}/driver"))
}

/// The devices of the uplinks and trunks that host.toml names, one check each.
pub fn devices(root: &Root, host: Option<&HostConfig>) -> Vec<Check> {
    let Some(host) = host else { return Vec::new() };
    let uplinks = host
        .uplinks
        .iter()
        .map(|u| (format!("uplink {}", u.name), &u.device));
    let trunks = host
        .trunks
        .iter()
        .map(|t| (format!("trunk {}", t.name), &t.device));
    uplinks
        .chain(trunks)
        .filter_map(|(object, device)| examine(root, &object, device))
        .collect()
}

fn examine(root: &Root, object: &str, device: &Device) -> Option<Check> {
    match device {
        Device::Pci(device) => Some(pci(
            root,
            object,
            device.split(',').next().unwrap_or_default(),
        )),
        Device::Vdev(args) => {
            let interface = args
                .split(',')
                .skip(1)
                .find_map(|arg| arg.strip_prefix("iface="))?;
            Some(interface_there(root, object, interface))
        }
        // Their other end may come at any time, or there is none.
        Device::VhostClient(_)
        | Device::VhostServer(_)
        | Device::Tap(_)
        | Device::Memif(_)
        | Device::Rig(_)
        | Device::Senders(_)
        | Device::Sink(_)
        | Device::Wire(_)
        | Device::Arrivals(_)
        | Device::Void(_) => None,
    }
}

fn pci(root: &Root, object: &str, address: &str) -> Check {
    let name = "device";
    if !root.exists(&format!("/sys/bus/pci/devices/{address}")) {
        let detail = format!("{object}: there is no PCI device {address}");
        return Check::broken(
            name,
            detail,
            "choose one that `dpdk-devbind.py --status-dev net` lists",
        );
    }
    match driver(root, address) {
        Some(driver)
            if USERSPACE.contains(&driver.as_str()) || BIFURCATED.contains(&driver.as_str()) =>
        {
            Check::good(name, format!("{object}: {address} is driven by {driver}"))
        }
        other => {
            let other = other.unwrap_or_else(|| "no driver".into());
            let detail = format!("{object}: {address} is driven by {other}, not by vfio-pci");
            Check::broken(
                name,
                detail,
                format!("modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {address}"),
            )
        }
    }
}

fn interface_there(root: &Root, object: &str, interface: &str) -> Check {
    let name = "device";
    let folder = format!("/sys/class/net/{interface}");
    if !root.exists(&folder) {
        let detail =
            format!("{object}: there is no interface {interface} in this network namespace");
        return Check::broken(
            name,
            detail,
            format!("ip link add {interface} type veth peer name {interface}-peer"),
        );
    }
    // IFF_UP is bit 0 (linux/if.h).
    let flags = root.read(&format!("{folder}/flags")).unwrap_or_default();
    let up =
        u32::from_str_radix(flags.trim_start_matches("0x"), 16).is_ok_and(|flags| flags & 1 == 1);
    if up {
        Check::good(name, format!("{object}: interface {interface} is up"))
    } else {
        Check::warn(
            name,
            format!("{object}: interface {interface} is down"),
            format!("ip link set {interface} up"),
        )
    }
}
