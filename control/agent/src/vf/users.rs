//! Who uses a VF: a process that has it open, a kernel interface that is up, a daemon of Weir.

use super::discover::{Pf, Vf, folder};
use super::error::{Error, Name};
use super::host::Host;
use std::collections::BTreeMap;

/// PCI addresses that daemons of Weir have open, and by what, e.g. `uplink up0 of daemon h1`.
pub type Claims = BTreeMap<String, String>;

/// IFF_UP (linux/if.h).
const UP: u32 = 1;

/// Everybody who uses a VF, as a person would say it; empty if nobody does.
pub fn of(host: &impl Host, claims: &Claims, vf: &Vf) -> Vec<String> {
    let mut users: Vec<String> = claims.get(&vf.address).cloned().into_iter().collect();
    users.extend(openers(host, vf));
    users.extend(interfaces(host, vf));
    users
}

/// Refuses with everybody who uses any of these VFs, or the PF from user space.
pub fn refuse<'a>(
    host: &impl Host,
    claims: &Claims,
    pf: &Pf,
    vfs: impl IntoIterator<Item = &'a Vf>,
    what: &str,
) -> Result<(), Error> {
    let mut users: Vec<String> = vfs
        .into_iter()
        .flat_map(|vf| {
            let of = of(host, claims, vf).into_iter();
            of.map(|user| format!("VF {} ({}) by {user}", vf.vf, vf.address))
        })
        .collect();
    users.extend(claims.get(&pf.pf).map(|user| format!("the PF by {user}")));
    if users.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Name::InUse,
        &pf.pf,
        format!(
            "{what} would take away what is in use: {}",
            users.join("; ")
        ),
        "end who uses it first: stop the VM, take it out of host.toml or policy.toml, or ip link set INTERFACE down",
    ))
}

/// Processes that have the VF open through VFIO: its group's file, or its own (Documentation/driver-api/vfio.rst).
fn openers(host: &impl Host, vf: &Vf) -> Vec<String> {
    let mut files: Vec<String> = vf
        .iommu_group
        .map(|group| format!("/dev/vfio/{group}"))
        .into_iter()
        .collect();
    let own = host.names(&format!("{}/vfio-dev", folder(&vf.address)));
    files.extend(
        own.into_iter()
            .map(|name| format!("/dev/vfio/devices/{name}")),
    );
    if files.is_empty() {
        return Vec::new();
    }
    let processes = host
        .names("/proc")
        .into_iter()
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    processes
        .filter(|pid| {
            let folder = format!("/proc/{pid}/fd");
            host.names(&folder).iter().any(|fd| {
                let target = std::fs::read_link(host.at(&format!("{folder}/{fd}")));
                target.is_ok_and(|target| {
                    files.iter().any(|file| target.as_os_str() == file.as_str())
                })
            })
        })
        .map(|pid| {
            let name = host.read(&format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({name})")
        })
        .collect()
}

/// The kernel's interface of a VF, where it is up or has gone to a namespace (a container's).
fn interfaces(host: &impl Host, vf: &Vf) -> Vec<String> {
    let net = format!("{}/net", folder(&vf.address));
    let names = host.names(&net);
    if names.is_empty() && host.exists(&net) {
        let driver = vf.driver.as_deref().unwrap_or("its driver");
        return vec![format!(
            "another network namespace, which has {driver}'s interface"
        )];
    }
    let up = |name: &String| {
        let flags = host
            .read(&format!("{net}/{name}/flags"))
            .unwrap_or_default();
        u32::from_str_radix(flags.trim_start_matches("0x"), 16).is_ok_and(|flags| flags & UP != 0)
    };
    names
        .into_iter()
        .filter(up)
        .map(|name| format!("interface {name}, which is up"))
        .collect()
}
