//! Whether a device is on this machine, asked before DPDK is: its own words name neither file nor mend.

use std::path::{Path, PathBuf};

use super::device::Device;
use super::fields::Fault;
use super::vf_token::VfToken;
use crate::vf::host::ThisMachine;
use crate::vf::token;

/// Refuses a device that cannot be opened here since the interface, PCI device, file or folder it needs is not there.
/// That it is there does not say that it opens.
pub fn check(device: &Device) -> Result<(), Fault> {
    match device {
        Device::Pci(text) => pci(text.split(',').next().unwrap_or_default()),
        Device::Vdev(text) => vdev(text),
        // QEMU may come later; Weir connects when it does. The rig's devices need nothing.
        Device::VhostClient(_)
        | Device::Rig(_)
        | Device::Senders(_)
        | Device::Sink(_)
        | Device::Wire(_)
        | Device::Arrivals(_)
        | Device::Void(_) => Ok(()),
        Device::VhostServer(path) | Device::Memif(path) => folder_of(path),
        Device::Tap(_) => exists(
            Path::new("/dev/net/tun"),
            "load the kernel's module: modprobe tun",
        ),
    }
}

/// Refuses a VF that the kernel opens with a token alone, where there is none. Whether it is the right one the kernel says when it is
/// opened.
pub fn token(device: &Device, token: Option<&VfToken>) -> Result<(), Fault> {
    let Device::Pci(text) = device else {
        return Ok(());
    };
    let address = text.split(',').next().unwrap_or_default();
    if token.is_some() || token::fenced(&ThisMachine, address).is_none() {
        return Ok(());
    }
    let why = token::why_not(&ThisMachine, address);
    why.map_or(Ok(()), |(problem, mend)| Err(Fault::new(problem, mend)))
}

fn pci(address: &str) -> Result<(), Fault> {
    if Path::new("/sys/bus/pci/devices").join(address).exists() {
        return Ok(());
    }
    Err(Fault::new(
        format!("there is no PCI device {address}"),
        "`lspci -D` lists what there is",
    ))
}

fn vdev(text: &str) -> Result<(), Fault> {
    let mut arguments = text.split(',');
    let driver = arguments.next().unwrap_or_default();
    for argument in arguments {
        match argument.split_once('=') {
            // These two bind to an interface that is there; net_tap makes its own.
            Some(("iface", name))
                if driver.starts_with("net_af_packet") || driver.starts_with("net_af_xdp") =>
            {
                interface(name)?;
            }
            Some(("rx_pcap", path)) if driver.starts_with("net_pcap") => {
                exists(Path::new(path), "record one, or name another")?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn interface(name: &str) -> Result<(), Fault> {
    let asked = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .and_then(|socket| rustix::net::netdevice::name_to_index(&socket, name));
    match asked {
        Err(rustix::io::Errno::NODEV) => Err(Fault::new(
            format!(
                "there is no interface \"{}\" in the daemon's network namespace",
                name.escape_debug()
            ),
            "make it, or name another: `ip link` lists what there is",
        )),
        // What cannot be asked is DPDK's to find out.
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> Result<(), Fault> {
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    exists(&folder, "make the folder, or name another")
}

fn exists(path: &Path, mend: &str) -> Result<(), Fault> {
    if path.exists() {
        return Ok(());
    }
    Err(Fault::new(format!("{} is not there", path.display()), mend))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> Option<String> {
        let device: Device = text.parse().unwrap();
        check(&device).err().map(|fault| fault.to_string())
    }

    #[test]
    fn what_is_there_passes() {
        assert_eq!(why("net_af_packet0,iface=lo"), None);
        assert_eq!(why("net_null0"), None);
        assert_eq!(why("net_tap0,iface=weir-none"), None);
        assert_eq!(why("vhost-user:/nonexistent/vm.sock"), None);
        assert_eq!(why("memif:/tmp/weir.sock"), None);
    }

    #[test]
    fn what_is_not_there_is_named_with_its_mend() {
        for (text, problem, mend) in [
            (
                "net_af_packet0,iface=weir-none",
                "no interface \"weir-none\"",
                "ip link",
            ),
            ("ffff:ff:1f.7", "no PCI device ffff:ff:1f.7", "lspci"),
            (
                "net_pcap0,rx_pcap=/nonexistent/a.pcap",
                "/nonexistent/a.pcap is not there",
                "record",
            ),
            (
                "vhost-user-server:/nonexistent/vm.sock",
                "/nonexistent is not there",
                "make the folder",
            ),
            (
                "memif:/nonexistent/m.sock",
                "/nonexistent is not there",
                "make the folder",
            ),
        ] {
            let why = why(text).unwrap();
            assert!(why.contains(problem) && why.contains(mend), "{text}: {why}");
        }
    }
}
