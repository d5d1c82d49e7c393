//! Memory, rights, cores and tools.

use super::{Check, Health, Root};
use rustix::thread::sched_getaffinity;
use std::ffi::OsString;
use weir_agent::config::host::{HostConfig, Hugepages};

/// Linux's capability numbers (capabilities(7), linux/capability.h) of what Weir does: veth and tap, raw sockets of
/// af_packet, locked memory for DMA.
const CAPABILITIES: [(&str, u32); 3] = [
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_IPC_LOCK", 14),
];

/// Locked memory that a pool of the usual size needs, in bytes.
const MEMLOCK: u64 = 1 << 30;

/// One size of hugepages: the name, the kernel's folder, bytes, and how many make a good reserve.
const SIZES: [(&str, &str, u64, u64); 2] = [
    ("2M", "hugepages-2048kB", 2 << 20, 512),
    ("1G", "hugepages-1048576kB", 1 << 30, 1),
];

/// Hugepages reserved, by NUMA node, and whether a hugetlbfs is mounted.
pub fn hugepages(root: &Root, host: Option<&HostConfig>) -> Vec<Check> {
    let name = "hugepages";
    let wanted = host.map(|host| host.dataplane.hugepages);
    let nodes: Vec<String> = root
        .names("/sys/devices/system/node")
        .into_iter()
        .filter(|n| {
            n.strip_prefix("node")
                .is_some_and(|n| n.parse::<u32>().is_ok())
        })
        .collect();
    let mut seen = Vec::new();
    let mut reserved = [0u64; 2];
    for node in &nodes {
        for (index, (size, folder, _, _)) in SIZES.iter().enumerate() {
            let path = format!("/sys/devices/system/node/{node}/hugepages/{folder}");
            let Some(total) = root.number(&format!("{path}/nr_hugepages")) else {
                continue;
            };
            let free = root.number(&format!("{path}/free_hugepages")).unwrap_or(0);
            reserved[index] += total;
            seen.push(format!("{node} {total} of {size} ({free} free)"));
        }
    }
    if seen.is_empty() {
        let detail = "this kernel offers no hugepages";
        let mend = "write hugepages = \"none\" in [dataplane] of host.toml; physical NICs need a kernel with CONFIG_HUGETLBFS";
        let broken = matches!(
            wanted,
            Some(Hugepages::TwoMegabytes | Hugepages::OneGigabyte)
        );
        return vec![Check::new(
            name,
            if broken { Health::Broken } else { Health::Warn },
            detail,
            mend,
        )];
    }
    let detail = seen.join(", ");
    let reserve = |index: usize| {
        let (_, folder, _, pages) = SIZES[index];
        let lines: Vec<String> = nodes
            .iter()
            .map(|node| {
                format!(
                    "echo {pages} > /sys/devices/system/node/{node}/hugepages/{folder}/nr_hugepages"
                )
            })
            .collect();
        lines.join("\n")
    };
    let check = match wanted {
        Some(Hugepages::None) => Check::good(name, format!("{detail}; host.toml asks for none")),
        Some(Hugepages::TwoMegabytes) if reserved[0] == 0 => {
            Check::broken(name, format!("{detail}; host.toml asks for 2M"), reserve(0))
        }
        Some(Hugepages::OneGigabyte) if reserved[1] == 0 => {
            Check::broken(name, format!("{detail}; host.toml asks for 1G"), reserve(1))
        }
        _ if reserved == [0, 0] => {
            let mend = reserve(0);
            Check::warn(
                name,
                format!(
                    "none reserved ({detail}); Weir works without, more slowly, and without physical NICs"
                ),
                mend,
            )
        }
        _ => Check::good(name, detail),
    };
    let mounted = root.read("/proc/mounts").is_some_and(|text| {
        text.lines()
            .any(|line| line.split_whitespace().nth(2) == Some("hugetlbfs"))
    });
    let mut checks = vec![check];
    if reserved != [0, 0] && !mounted && wanted != Some(Hugepages::None) {
        let mend = "mkdir -p /dev/hugepages && mount -t hugetlbfs hugetlbfs /dev/hugepages";
        checks.push(Check::warn(
            "hugetlbfs",
            "hugepages are reserved, but no hugetlbfs is mounted",
            mend,
        ));
    }
    checks
}

fn effective(root: &Root) -> Option<u64> {
    let status = root.read("/proc/self/status")?;
    let hex = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?
        .trim()
        .to_string();
    u64::from_str_radix(&hex, 16).ok()
}

/// Whether this process may do what the daemon must.
pub fn capabilities(root: &Root) -> Check {
    let name = "capabilities";
    let Some(effective) = effective(root) else {
        return Check::warn(
            name,
            "/proc/self/status does not tell",
            "mount -t proc proc /proc",
        );
    };
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(_, bit)| effective >> bit & 1 == 0)
        .map(|(capability, _)| *capability)
        .collect();
    if missing.is_empty() {
        return Check::good(name, "CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK");
    }
    let mend = "run the daemon as root, or: setcap cap_net_admin,cap_net_raw,cap_ipc_lock+ep \"$(command -v weir)\"";
    Check::broken(
        name,
        format!("this user lacks {}", missing.join(", ")),
        mend,
    )
}

/// Whether enough memory may be locked for DMA. CAP_IPC_LOCK lifts the limit (getrlimit(2)).
pub fn memlock(root: &Root) -> Check {
    let name = "memlock";
    let limits = root.read("/proc/self/limits").unwrap_or_default();
    let Some(line) = limits
        .lines()
        .find(|line| line.starts_with("Max locked memory"))
    else {
        return Check::warn(
            name,
            "/proc/self/limits does not tell",
            "mount -t proc proc /proc",
        );
    };
    // `Max locked memory  SOFT  HARD  bytes`
    let soft = line.split_whitespace().nth(3).unwrap_or("");
    let lifted = effective(root).is_some_and(|caps| caps >> 14 & 1 == 1);
    match soft.parse::<u64>() {
        _ if soft == "unlimited" => Check::good(name, "unlimited"),
        _ if lifted => Check::good(
            name,
            format!("limit {soft} bytes, which CAP_IPC_LOCK lifts"),
        ),
        Ok(bytes) if bytes >= MEMLOCK => Check::good(name, format!("limit {bytes} bytes")),
        _ => {
            let mend = "ulimit -l unlimited; for a service of systemd: LimitMEMLOCK=infinity";
            Check::warn(
                name,
                format!("limit {soft} bytes; physical NICs need {MEMLOCK}"),
                mend,
            )
        }
    }
}

/// Whether `attach = "tap:NAME"` can work.
pub fn tun(root: &Root) -> Check {
    if root.exists("/dev/net/tun") {
        Check::good("tun", "/dev/net/tun is there")
    } else {
        Check::warn(
            "tun",
            "/dev/net/tun is not there; vNICs on tap: will not work",
            "modprobe tun",
        )
    }
}

/// Whether physical NICs and VFs can be used, and safely so.
pub fn iommu(root: &Root) -> Check {
    let name = "iommu";
    let iommu = !root.names("/sys/class/iommu").is_empty();
    let vfio = root.exists("/sys/module/vfio_pci") || root.exists("/sys/bus/pci/drivers/vfio-pci");
    let vfio_detail = if vfio {
        "vfio-pci is loaded"
    } else {
        "vfio-pci is not loaded"
    };
    let boot = "boot with intel_iommu=on iommu=pt (Intel) or iommu=pt (AMD), in GRUB_CMDLINE_LINUX of /etc/default/grub";
    let load = "modprobe vfio-pci";
    match (iommu, vfio) {
        (true, true) => Check::good(name, "an IOMMU is in use and vfio-pci is loaded"),
        (true, false) => Check::warn(
            name,
            "an IOMMU is in use, but vfio-pci is not loaded; physical NICs and VFs need it",
            load,
        ),
        (false, _) => {
            let detail = format!(
                "no IOMMU is in use, {vfio_detail}; physical NICs and VFs are out of reach"
            );
            let mend = if vfio {
                boot.to_string()
            } else {
                format!("{boot}\n{load}")
            };
            Check::warn(name, detail, mend)
        }
    }
}

/// Cores: how many, which are isolated, and whether those that host.toml asks for are there.
pub fn cores(root: &Root, host: Option<&HostConfig>) -> Vec<Check> {
    let name = "cores";
    let online = cpu_list(
        &root
            .read("/sys/devices/system/cpu/online")
            .unwrap_or_default(),
    );
    let isolated = cpu_list(
        &root
            .read("/sys/devices/system/cpu/isolated")
            .unwrap_or_default(),
    );
    if online.is_empty() {
        return vec![Check::warn(
            name,
            "/sys/devices/system/cpu/online does not tell",
            "mount -t sysfs sysfs /sys",
        )];
    }
    let mut detail = format!("{} online, {} isolated", online.len(), isolated.len());
    let workers: Vec<u32> = match host {
        Some(host) => host.dataplane.workers.clone(),
        None => online.iter().skip(1).copied().collect(),
    };
    if host.is_some() {
        detail.push_str(&format!(", workers on {workers:?}"));
    }
    let absent: Vec<u32> = workers
        .iter()
        .filter(|core| !online.contains(core))
        .copied()
        .collect();
    if !absent.is_empty() {
        let mend = format!("choose workers among {online:?} in [dataplane] of host.toml");
        return vec![Check::broken(
            name,
            format!("{detail}; of them {absent:?} are not online"),
            mend,
        )];
    }
    if online.len() < 2 || workers.len() >= online.len() {
        let mend = "give the machine another core, or write fewer workers and idle = \"adaptive\" in [dataplane] of host.toml";
        return vec![Check::warn(
            name,
            format!("{detail}; a worker shares its core with everything else"),
            mend,
        )];
    }
    if let Ok(allowed) = sched_getaffinity(None)
        && let outside = workers
            .iter()
            .filter(|&&core| !allowed.is_set(core as usize))
            .collect::<Vec<_>>()
        && !outside.is_empty()
    {
        let mend =
            "start the daemon with another cpuset or taskset, or choose other workers in host.toml";
        return vec![Check::warn(
            name,
            format!("{detail}; this process may not use {outside:?}"),
            mend,
        )];
    }
    if workers.iter().any(|core| !isolated.contains(core)) {
        let list: Vec<String> = workers.iter().map(u32::to_string).collect();
        let list = list.join(",");
        let mend = format!(
            "for steady latency boot with isolcpus={list} nohz_full={list} rcu_nocbs={list}"
        );
        return vec![Check::warn(
            name,
            format!("{detail}; the kernel runs other things on the workers' cores"),
            mend,
        )];
    }
    vec![Check::good(name, detail)]
}

/// `0-3,8` as numbers; what is malformed is left out.
fn cpu_list(text: &str) -> Vec<u32> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            // Linux knows at most 8,192 CPUs.
            cores.extend(first..=last.min(first.saturating_add(8191)));
        }
    }
    cores
}

/// The tools that the demo, the tests and the mends call.
pub fn tools(root: &Root, path: Option<OsString>) -> Check {
    let name = "tools";
    // (program, Debian's package)
    let wanted = [
        ("ip", "iproute2"),
        ("ethtool", "ethtool"),
        ("iperf3", "iperf3"),
        ("tshark", "tshark"),
    ];
    let mut folders: Vec<String> = path
        .iter()
        .flat_map(std::env::split_paths)
        .map(|p| p.to_string_lossy().into_owned())
        .collect();
    // A user's PATH often lacks these, where Debian has ip and ethtool.
    folders.extend(["/usr/sbin".to_string(), "/sbin".to_string()]);
    let missing: Vec<(&str, &str)> = wanted
        .into_iter()
        .filter(|(tool, _)| {
            !folders
                .iter()
                .any(|folder| root.exists(&format!("{folder}/{tool}")))
        })
        .collect();
    if missing.is_empty() {
        return Check::good(name, "ip, ethtool, iperf3, tshark");
    }
    let tools: Vec<&str> = missing.iter().map(|(tool, _)| *tool).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    Check::warn(
        name,
        format!(
            "{} not found; the demo and the tests need them",
            tools.join(", ")
        ),
        format!("apt-get install --yes {}", packages.join(" ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(cpu_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(cpu_list(""), Vec::<u32>::new());
        assert_eq!(cpu_list("5"), [5]);
        assert_eq!(cpu_list("x,3-1"), Vec::<u32>::new());
    }
}
