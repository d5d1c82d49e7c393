//! Which driver has a VF: vfio-pci (for DPDK, or a VM), or its kernel driver.

use super::discover::{self, Pf, Vf, folder, object};
use super::error::{Error, Name};
use super::host::Host;
use super::users::{self, Claims};
use rustix::io::Errno;
use std::io;

/// Who a VF is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// vfio-pci: user space, DPDK or a VM.
    Vfio,
    /// The driver that the kernel would choose.
    Kernel,
}

const VFIO: &str = "vfio-pci";
const PROBE: &str = "/sys/bus/pci/drivers_probe";

/// Kernel drivers of VFs, by the driver of their PF, for mends.
const OF_VF: [(&str, &str); 8] = [
    ("igb", "igbvf"),
    ("ixgbe", "ixgbevf"),
    ("i40e", "iavf"),
    ("ice", "iavf"),
    ("mlx5_core", "mlx5_core"),
    ("mlx4_core", "mlx4_core"),
    ("bnxt_en", "bnxt_en"),
    ("cxgb4", "cxgb4vf"),
];

/// Binds a VF; true if that changed anything.
///
/// Fails with [`Name::NotOfDriver`], [`Name::DriverMissing`], [`Name::NoIommu`], [`Name::SharedGroup`], [`Name::InUse`], [`Name::NoPrivilege`], all before
/// anything was changed, or with [`Name::NotBound`] after giving it back to the driver that had it.
pub fn bind(host: &impl Host, claims: &Claims, pf: &Pf, index: u16, to: To) -> Result<bool, Error> {
    let vf = pf.vf(index)?;
    if discover::bus(&pf.pf) != "pci" {
        return Err(Error::new(
            Name::NotOfDriver,
            object(pf, index),
            "the NIC is simulated: its VFs are no devices, and nobody can have one",
            "take a VF of a real NIC, or of scripts/lab's emulated ones",
        ));
    }
    let on_vfio = vf.driver.as_deref() == Some(VFIO);
    let bound = match to {
        To::Vfio => on_vfio,
        To::Kernel => vf.driver.is_some() && !on_vfio,
    };
    if bound {
        return Ok(false);
    }
    if to == To::Vfio {
        ready_for_vfio(host, pf, vf)?;
    }
    users::refuse(host, claims, pf, [vf], "binding it elsewhere")?;
    let before = vf.driver.clone();
    let result = rebind(host, pf, vf, to);
    if result.is_err() {
        // As it was: with the driver that had it, or with none.
        let _ = match before.as_deref() {
            Some(VFIO) => rebind(host, pf, vf, To::Vfio),
            Some(_) => rebind(host, pf, vf, To::Kernel),
            None => unbind(host, pf, vf).and_then(|()| override_driver(host, pf, vf, "")),
        };
    }
    result.map(|()| true)
}

/// What vfio-pci needs, and a group of its own.
fn ready_for_vfio(host: &impl Host, pf: &Pf, vf: &Vf) -> Result<(), Error> {
    let object = object(pf, vf.vf);
    if !host.exists(&format!("/sys/bus/pci/drivers/{VFIO}")) {
        return Err(Error::new(
            Name::DriverMissing,
            object,
            "vfio-pci is not loaded",
            "modprobe vfio-pci",
        ));
    }
    let Some(group) = vf.iommu_group else {
        return Err(Error::new(
            Name::NoIommu,
            object,
            "it has no IOMMU group: no IOMMU is in use, and without one who has the VF could write all of the host's memory",
            "switch VT-d or AMD-Vi on in the BIOS and boot with intel_iommu=on iommu=pt (Intel) or iommu=pt (AMD)",
        ));
    };
    let shared: Vec<String> = host
        .names(&format!("/sys/kernel/iommu_groups/{group}/devices"))
        .into_iter()
        .filter(|other| *other != vf.address && !harmless(host, other))
        .collect();
    if shared.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Name::SharedGroup,
        object,
        format!(
            "its IOMMU group {group} has other devices, which the kernel drives: {}",
            shared.join(", ")
        ),
        "a slot of another root port, or a board with ACS: devices of one group can only be given away together",
    ))
}

/// Whether a device does not keep others of its group from user space: nobody drives it, VFIO has it too, or it is a bridge
/// (Documentation/driver-api/vfio.rst, "viable").
fn harmless(host: &impl Host, address: &str) -> bool {
    match discover::driver(host, address).as_deref() {
        None | Some(VFIO | "pci-stub" | "pcieport") => true,
        Some(_) => false,
    }
}

fn rebind(host: &impl Host, pf: &Pf, vf: &Vf, to: To) -> Result<(), Error> {
    let (wanted, name) = match to {
        To::Vfio => (VFIO, "vfio-pci"),
        To::Kernel => ("", "a kernel driver"),
    };
    override_driver(host, pf, vf, wanted)?;
    unbind(host, pf, vf)?;
    // EINVAL and the like: no driver took it, which is read below.
    match host.write(PROBE, &vf.address) {
        Err(error) if denied(&error) => {
            return Err(Error::privilege(object(pf, vf.vf), "bind devices"));
        }
        _ => {}
    }
    let driver = discover::driver(host, &vf.address);
    let took = match to {
        To::Vfio => driver.as_deref() == Some(VFIO),
        To::Kernel => driver.as_deref().is_some_and(|driver| driver != VFIO),
    };
    if took {
        return Ok(());
    }
    let of_pf = pf.driver.as_deref().unwrap_or_default();
    let mend = match to {
        To::Vfio => "dmesg tells why vfio-pci did not take it".to_string(),
        To::Kernel => match OF_VF.iter().find(|(pf, _)| *pf == of_pf) {
            Some((_, driver)) => format!("modprobe {driver}"),
            None => "load the driver of its VFs".to_string(),
        },
    };
    let problem = format!(
        "{name} did not take it: it is with {}",
        driver.as_deref().unwrap_or("no driver")
    );
    Err(Error::new(Name::NotBound, object(pf, vf.vf), problem, mend))
}

/// Tells the kernel which driver alone may have it; empty: any that knows it (Documentation/ABI/testing/sysfs-bus-pci).
fn override_driver(host: &impl Host, pf: &Pf, vf: &Vf, driver: &str) -> Result<(), Error> {
    let file = format!("{}/driver_override", folder(&vf.address));
    host.write(&file, &format!("{driver}\n"))
        .map_err(|error| failed(pf, vf, "driver_override", &error))?;
    // An override that is not there reads "(null)".
    let found = host
        .read(&file)
        .filter(|found| found != "(null)")
        .unwrap_or_default();
    if found == driver {
        return Ok(());
    }
    Err(Error::new(
        Name::NotKept,
        object(pf, vf.vf),
        format!("driver_override {driver:?} reads back as {found:?}"),
        "is something else binding devices (driverctl, a udev rule)?",
    ))
}

fn unbind(host: &impl Host, pf: &Pf, vf: &Vf) -> Result<(), Error> {
    if discover::driver(host, &vf.address).is_none() {
        return Ok(());
    }
    let file = format!("{}/driver/unbind", folder(&vf.address));
    host.write(&file, &vf.address)
        .map_err(|error| failed(pf, vf, "unbind", &error))
}

fn denied(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS)
    )
}

fn failed(pf: &Pf, vf: &Vf, what: &str, error: &io::Error) -> Error {
    let object = object(pf, vf.vf);
    if denied(error) {
        return Error::privilege(object, "bind devices");
    }
    Error::new(
        Name::Failed,
        object,
        format!("{what} cannot be written: {error}"),
        "dmesg may tell more",
    )
}
