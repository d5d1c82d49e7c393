//! Virtual functions: which NICs offer them, and what is missing until a VM can have one.

use super::{Check, Root};
use std::io;
use std::path::Path;
use std::time::Duration;
use weir_agent::vf::discover::{self, Pf};
use weir_agent::vf::host::Host;
use weir_agent::vf::link;

/// A machine that is only looked at.
pub(super) struct Looked<'a>(pub(super) &'a Root);

impl Host for Looked<'_> {
    fn root(&self) -> &Path {
        &self.0.0
    }

    fn write(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn ask(&self, _: &[u8]) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn pause(&self, _: Duration) {}
}

/// The PFs, and what they lack.
pub fn sriov(root: &Root) -> Check {
    let name = "sriov";
    let pfs = discover::all(&Looked(root));
    if pfs.is_empty() {
        return Check::good(name, "no NIC here offers VFs; the software path needs none");
    }
    let seen: Vec<String> = pfs.iter().map(describe).collect();
    let mut mends: Vec<String> = pfs.iter().filter_map(missing).collect();
    if pfs.iter().any(|pf| pf.iommu_group.is_none()) {
        mends.push("without an IOMMU no VF can be given away: see iommu".into());
    }
    if !root.exists("/sys/bus/pci/drivers/vfio-pci") {
        mends.push("modprobe vfio-pci".into());
    }
    match mends.is_empty() {
        true => Check::good(name, seen.join(", ")),
        false => Check::warn(name, seen.join(", "), mends.join("\n")),
    }
}

fn describe(pf: &Pf) -> String {
    let driver = pf.driver.as_deref().unwrap_or("no driver");
    format!(
        "{} {driver} {} of {} VFs",
        pf.pf,
        pf.vfs.len(),
        pf.total_vfs
    )
}

/// What keeps a PF from having VFs, or its VFs from being set.
fn missing(pf: &Pf) -> Option<String> {
    if pf.total_vfs == 0 {
        return Some(format!(
            "{}: its firmware offers none: switch SR-IOV on there (mlxconfig, the BIOS) and boot again",
            pf.pf
        ));
    }
    let error = link::interface(pf).err()?;
    Some(format!("{}: {}: {}", pf.pf, error.problem, error.mend))
}
