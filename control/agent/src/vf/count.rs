//! Making and removing VFs.

use super::discover::{self, Pf, folder};
use super::error::{Error, Name};
use super::host::Host;
use super::users::{self, Claims};
use rustix::io::Errno;
use std::io;

/// Gives a PF so many VFs; 0 removes them. Does nothing if it has as many.
///
/// Fails, having changed nothing, with [`Name::TooManyVfs`], [`Name::VfsThere`] (from some to others the kernel goes by way of none,
/// and all settings with them), [`Name::InUse`], [`Name::DriverMissing`], [`Name::NoRoom`] or [`Name::NoPrivilege`].
pub fn set(host: &impl Host, claims: &Claims, pf: &Pf, count: u16) -> Result<Pf, Error> {
    let has = pf.vfs.len();
    if usize::from(count) == has {
        return Ok(pf.clone());
    }
    if count > pf.total_vfs {
        return Err(Error::new(
            Name::TooManyVfs,
            &pf.pf,
            format!("it can have {} VFs, not {count}", pf.total_vfs),
            format!(
                "weir vf create {} {}; some NICs' firmware can be set to more",
                pf.pf, pf.total_vfs
            ),
        ));
    }
    let Some(driver) = pf.driver.as_deref() else {
        return Err(Error::new(
            Name::DriverMissing,
            &pf.pf,
            "nobody drives it, and VFs are made by the PF's driver",
            format!(
                "load its driver, or: echo {} > /sys/bus/pci/drivers_probe",
                pf.pf
            ),
        ));
    };
    if count > 0 && has > 0 {
        return Err(Error::new(
            Name::VfsThere,
            &pf.pf,
            format!(
                "it has {has} VFs; their number can only be changed by removing all, and what they are set to with them"
            ),
            format!("weir vf create {} 0, then again", pf.pf),
        ));
    }
    let what = match count {
        0 => "removing its VFs",
        _ => "making VFs",
    };
    users::refuse(host, claims, pf, &pf.vfs, what)?;
    let file = format!("{}/sriov_numvfs", folder(&pf.pf));
    host.write(&file, &count.to_string())
        .map_err(|error| explain(pf, driver, count, &error))?;
    let now = discover::find(host, &pf.pf)?;
    if now.vfs.len() != usize::from(count) {
        return Err(Error::new(
            Name::NotKept,
            &pf.pf,
            format!(
                "driver {driver} accepted {count} VFs and made {}",
                now.vfs.len()
            ),
            "dmesg tells why; weir vf create PF 0 removes those there are",
        ));
    }
    Ok(now)
}

/// drivers/pci/iov.c: `sriov_numvfs_store` and `sriov_enable`.
fn explain(pf: &Pf, driver: &str, count: u16, error: &io::Error) -> Error {
    let made = match count {
        0 => "its VFs cannot be removed".to_string(),
        _ => format!("{count} VFs cannot be made"),
    };
    let problem = format!("{made} ({error})");
    let (name, mend) = match Errno::from_io_error(error).unwrap_or(Errno::INVAL) {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            return Error::privilege(&pf.pf, "make or remove VFs");
        }
        Errno::NOENT | Errno::OPNOTSUPP => (
            Name::DriverMissing,
            match driver {
                "vfio-pci" => "vfio-pci makes VFs if it is loaded so: modprobe vfio-pci enable_sriov=1 (and users then share a vf-token)".to_string(),
                _ => format!("driver {driver} makes no VFs: load one that does"),
            },
        ),
        Errno::NOMEM | Errno::NOSPC => (
            Name::NoRoom,
            "switch on SR-IOV and \"above 4G decoding\" in the BIOS; if it has no such thing, boot with pci=realloc".to_string(),
        ),
        Errno::BUSY => (
            Name::InUse,
            "the driver says that VFs are in use (a VM has one): stop it first".to_string(),
        ),
        _ => (Name::Failed, "dmesg tells why".to_string()),
    };
    Error::new(name, &pf.pf, problem, mend)
}
