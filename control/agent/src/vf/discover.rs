//! PFs and their VFs, as sysfs shows them.

use super::error::{Error, Name};
use super::host::Host;
use serde::Serialize;

/// Where sysfs has devices that may be PFs: PCI's, and the kernel's simulated NICs (drivers/net/netdevsim).
const BUSES: [&str; 2] = ["pci", "netdevsim"];
/// How many VFs a simulated NIC can have, if debugfs does not tell (NSIM_BUS_DEV_MAX_VFS).
const SIMULATED_VFS: i64 = 4;
/// PCI's class of network controllers, the first octet of three.
const NETWORK: &str = "0x02";

/// A physical function that offers VFs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pf {
    /// Its PCI address, e.g. `0000:03:00.0`.
    pub pf: String,
    /// Its interface in this network namespace, if it has one.
    pub interface: Option<String>,
    /// Its driver; none if nobody drives it.
    pub driver: Option<String>,
    /// Its NUMA node; none where the machine does not tell.
    pub numa: Option<u32>,
    /// Its IOMMU group; none without an IOMMU.
    pub iommu_group: Option<u32>,
    /// How many VFs it can have.
    pub total_vfs: u16,
    /// The VFs that it has, by index.
    pub vfs: Vec<Vf>,
}

/// A virtual function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Vf {
    /// Its index in its PF.
    pub vf: u16,
    /// Its PCI address.
    pub address: String,
    /// Its driver; none if nobody drives it.
    pub driver: Option<String>,
    /// Its interface in this network namespace, if it has one.
    pub interface: Option<String>,
    /// Its IOMMU group; none without an IOMMU.
    pub iommu_group: Option<u32>,
}

impl Pf {
    /// The VF of that index.
    ///
    /// Fails with [`Name::NoSuchVf`], and a mend that tells whether the PF could have it.
    pub fn vf(&self, index: u16) -> Result<&Vf, Error> {
        if let Some(vf) = self.vfs.iter().find(|vf| vf.vf == index) {
            return Ok(vf);
        }
        let has = match self.vfs.len() {
            0 => "it has none now".to_string(),
            1 => "it has VF 0 alone".to_string(),
            count => format!("it has VFs 0 to {}", count - 1),
        };
        let mend = match index < self.total_vfs {
            true if self.vfs.is_empty() => {
                format!("weir vf create {} {}", self.pf, u32::from(index) + 1)
            }
            true => "choose one of these, or remove them all and create more".to_string(),
            false => format!(
                "it can have {} in all: choose a lower index",
                self.total_vfs
            ),
        };
        let problem = format!("there is no VF {index}: {has}");
        Err(Error::new(Name::NoSuchVf, &self.pf, problem, mend))
    }
}

/// How a VF is called in messages.
pub fn object(pf: &Pf, index: u16) -> String {
    format!("{} VF {index}", pf.pf)
}

/// The bus of a device, by the form of its name there.
pub fn bus(address: &str) -> &'static str {
    match address.starts_with("netdevsim") {
        true => "netdevsim",
        false => "pci",
    }
}

/// The folder of a device.
pub fn folder(address: &str) -> String {
    format!("/sys/bus/{}/devices/{address}", bus(address))
}

/// All PFs of NICs, by address.
pub fn all(host: &impl Host) -> Vec<Pf> {
    let addresses = BUSES.map(|bus| host.names(&format!("/sys/bus/{bus}/devices")));
    addresses
        .into_iter()
        .flatten()
        .filter_map(|address| read(host, address))
        .collect()
}

/// The PF that is meant: a PCI address (with or without its domain), or an interface.
///
/// Fails with [`Name::NoSuchPf`] or [`Name::NoSriov`].
pub fn find(host: &impl Host, name: &str) -> Result<Pf, Error> {
    let address = address(host, name)?;
    if let Some(pf) = read(host, address.clone()) {
        return Ok(pf);
    }
    let folder = folder(&address);
    if let Some(of) = host.link(&format!("{folder}/physfn")) {
        return Err(Error::new(
            Name::NoSriov,
            name,
            format!("is a VF itself, of {of}"),
            format!("name its PF: {of}"),
        ));
    }
    let class = host.read(&format!("{folder}/class")).unwrap_or_default();
    if !class.starts_with(NETWORK) {
        return Err(Error::new(
            Name::NoSriov,
            name,
            format!("is no network device (class {class})"),
            "weir vf list names those that offer VFs",
        ));
    }
    Err(Error::new(
        Name::NoSriov,
        name,
        "offers no VFs (it has no sriov_totalvfs)",
        "switch SR-IOV on in the NIC's firmware (mlxconfig for mlx5, the BIOS's NIC page for others) and boot again, or take another NIC",
    ))
}

fn address(host: &impl Host, name: &str) -> Result<String, Error> {
    let missing = || {
        Error::new(
            Name::NoSuchPf,
            name,
            "there is no such PCI device, and no such interface in this network namespace",
            "weir vf list names those there are",
        )
    };
    // A name with a slash is no file name: nothing outside of the folders below is ever read.
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(missing());
    }
    for address in [
        name.to_ascii_lowercase(),
        format!("0000:{}", name.to_ascii_lowercase()),
    ] {
        if host.exists(&folder(&address)) {
            return Ok(address);
        }
    }
    if !host.exists(&format!("/sys/class/net/{name}")) {
        return Err(missing());
    }
    let device = format!("/sys/class/net/{name}/device");
    let subsystem = host.link(&format!("{device}/subsystem"));
    match host.link(&device) {
        Some(address)
            if subsystem.is_none_or(|s| s == bus(&address)) && host.exists(&folder(&address)) =>
        {
            Ok(address)
        }
        _ => Err(Error::new(
            Name::NoSriov,
            name,
            "is an interface without a PCI device",
            "weir vf list names those that offer VFs",
        )),
    }
}

fn read(host: &impl Host, address: String) -> Option<Pf> {
    let folder = folder(&address);
    let simulated = bus(&address) != "pci";
    let total = match simulated {
        true => host
            .number(&format!("/sys/kernel/debug/netdevsim/{address}/max_vfs"))
            .or(Some(SIMULATED_VFS).filter(|_| host.exists(&format!("{folder}/sriov_numvfs"))))?,
        false => host.number(&format!("{folder}/sriov_totalvfs"))?,
    };
    let class = host.read(&format!("{folder}/class")).unwrap_or_default();
    if !simulated && !class.starts_with(NETWORK) {
        return None;
    }
    // The kernel's files count to 65,535 (PCIe: TotalVFs has 16 bits).
    let total_vfs = u16::try_from(total).ok()?;
    let count = host.number(&format!("{folder}/sriov_numvfs")).unwrap_or(0);
    let vfs = (0..u16::try_from(count).unwrap_or(0)).filter_map(|vf| {
        // Simulated ones are no devices.
        let address = match simulated {
            true => format!("{address}/{vf}"),
            false => host.link(&format!("{folder}/virtfn{vf}"))?,
        };
        let of = self::folder(&address);
        Some(Vf {
            vf,
            driver: driver(host, &address),
            interface: interface(host, &of),
            iommu_group: group(host, &of),
            address,
        })
    });
    Some(Pf {
        interface: interface(host, &folder),
        driver: driver(host, &address),
        // -1: the machine does not tell.
        numa: host
            .number(&format!("{folder}/numa_node"))
            .and_then(|node| u32::try_from(node).ok()),
        iommu_group: group(host, &folder),
        total_vfs,
        vfs: vfs.collect(),
        pf: address,
    })
}

/// Whose VF a PCI device is: its PF's address, and its index there; none for what is no VF of a PF of this machine.
pub fn vf_at(host: &impl Host, address: &str) -> Option<(String, u16)> {
    let pf = host.link(&format!("{}/physfn", folder(address)))?;
    let of = folder(&pf);
    let count = host.number(&format!("{of}/sriov_numvfs"))?;
    let is_it = |index: &u16| host.link(&format!("{of}/virtfn{index}")).as_deref() == Some(address);
    let index = (0..u16::try_from(count).unwrap_or(0)).find(is_it)?;
    Some((pf, index))
}

/// A device's driver.
pub fn driver(host: &impl Host, address: &str) -> Option<String> {
    host.link(&format!("{}/driver", folder(address)))
}

/// The first interface that is of the device itself. Drivers in switchdev mode put the VFs' representors there too, whose
/// `phys_port_name` tells whose they are (Documentation/networking/representors.rst: `pfN`, `pfNvfM`); a port's own is `pN`.
fn interface(host: &impl Host, folder: &str) -> Option<String> {
    let names = host.names(&format!("{folder}/net")).into_iter();
    let mut own = names.filter(|name| {
        let port = host.read(&format!("{folder}/net/{name}/phys_port_name"));
        !port.is_some_and(|port| port.contains("vf") || port.contains("sf"))
    });
    own.next()
}

fn group(host: &impl Host, folder: &str) -> Option<u32> {
    host.link(&format!("{folder}/iommu_group"))?.parse().ok()
}
