//! DPDK as the distribution installed it.

use super::{Check, Root};

/// Where distributions put shared libraries.
const FOLDERS: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
];

/// Drivers that the demo, vNICs on veth and most appliances need; each is a plugin of DPDK's.
const DRIVERS: [&str; 3] = ["net_af_packet", "net_tap", "mempool_ring"];

/// Whether the libraries are there, of which version, and whether EAL finds its drivers.
pub fn libraries(root: &Root) -> Check {
    let name = "dpdk";
    let found = FOLDERS.iter().find_map(|folder| {
        let names = root.names(folder);
        let abi = names
            .iter()
            .find_map(|n| {
                n.strip_prefix("librte_eal.so.")
                    .filter(|abi| !abi.is_empty())
            })?
            .to_string();
        Some((*folder, abi))
    });
    let Some((folder, abi)) = found else {
        return Check::broken(
            name,
            "librte_eal.so is not installed",
            "apt-get install --yes dpdk libdpdk-dev",
        );
    };
    let version = root
        .read(&format!("{folder}/pkgconfig/libdpdk.pc"))
        .and_then(|text| {
            text.lines().find_map(|line| {
                line.strip_prefix("Version:")
                    .map(|version| version.trim().to_string())
            })
        });
    let version = match version {
        Some(version) => format!("DPDK {version} (ABI {abi})"),
        None => format!("DPDK of ABI {abi}; without development files"),
    };
    // A distribution's build loads drivers from dpdk/pmds-ABI; one linked into the program needs no such folder.
    let Some(plugins) = root
        .names(&format!("{folder}/dpdk"))
        .into_iter()
        .find(|n| n.starts_with("pmds-"))
    else {
        return Check::warn(
            name,
            format!("{version} in {folder}, with no folder of drivers"),
            "apt-get install --yes dpdk, unless this DPDK has its drivers linked in",
        );
    };
    let files = root.names(&format!("{folder}/dpdk/{plugins}"));
    let missing: Vec<&str> = DRIVERS
        .into_iter()
        .filter(|driver| {
            !files
                .iter()
                .any(|f| f.starts_with(&format!("librte_{driver}.so")))
        })
        .collect();
    let drivers = files
        .iter()
        .filter(|f| f.starts_with("librte_net_") && f.ends_with(".so"))
        .count();
    if missing.is_empty() {
        Check::good(
            name,
            format!("{version}, {drivers} network drivers in {folder}/dpdk/{plugins}"),
        )
    } else {
        let detail = format!("{version} lacks the drivers {}", missing.join(", "));
        Check::broken(
            name,
            detail,
            "apt-get install --yes --reinstall dpdk libdpdk-dev",
        )
    }
}
