//! What the demo needs of the machine: root, a few programs, cores.

use std::path::Path;
use weir_agent::config::host::usable_cores;

/// What is missing.
#[derive(Debug)]
pub struct Missing {
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

/// Programs and the Debian packages that they are in.
const PROGRAMS: [(&str, &str); 4] = [
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("iperf3", "iperf3"),
    ("ethtool", "ethtool"),
];

/// Fails with what is missing.
pub fn check() -> Result<(), Missing> {
    if !rustix::process::geteuid().is_root() {
        return Err(Missing {
            what: "needs root, to make network namespaces and to read packets in them".into(),
            mend: "run it as `sudo weir demo`; scripts/demo does, and installs what is missing"
                .into(),
        });
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let (names, packages): (Vec<&str>, Vec<&str>) = PROGRAMS
        .into_iter()
        .filter(|(program, _)| !found(program))
        .unzip();
    if !names.is_empty() {
        return Err(Missing {
            what: format!("not found: {}", names.join(", ")),
            mend: format!("apt-get install {}", packages.join(" ")),
        });
    }
    if !Path::new("/proc/self/ns/net").exists() {
        return Err(Missing {
            what: "this kernel has no network namespaces".into(),
            mend: "use one with CONFIG_NET_NS".into(),
        });
    }
    Ok(())
}

/// The core of each host's worker: the last two of those that may be used, or one for both.
pub fn cores() -> [u32; 2] {
    match usable_cores().as_slice() {
        [.., first, second] => [*first, *second],
        [only] => [*only, *only],
        [] => [0, 0],
    }
}
