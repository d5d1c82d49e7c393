//! `weir doctor` on a machine made of files, and on this one.

mod common;

use common::{Fake, json, stdout, weir};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use weir::doctor::{Check, Health, Root, examine};

/// A machine with all that Weir wants.
fn machine(root: &Path) {
    let library = "usr/lib/x86_64-linux-gnu";
    let node = "sys/devices/system/node/node0/hugepages";
    let files = [
        (format!("{library}/librte_eal.so.23"), ""),
        (
            format!("{library}/pkgconfig/libdpdk.pc"),
            "Name: DPDK\nVersion: 22.11.11\n",
        ),
        (
            format!("{library}/dpdk/pmds-23.0/librte_net_af_packet.so"),
            "",
        ),
        (format!("{library}/dpdk/pmds-23.0/librte_net_tap.so"), ""),
        (
            format!("{library}/dpdk/pmds-23.0/librte_mempool_ring.so"),
            "",
        ),
        (format!("{node}/hugepages-2048kB/nr_hugepages"), "512\n"),
        (format!("{node}/hugepages-2048kB/free_hugepages"), "500\n"),
        (
            "proc/mounts".into(),
            "hugetlbfs /dev/hugepages hugetlbfs rw 0 0\n",
        ),
        (
            "proc/self/status".into(),
            "Name:\tweir\nCapEff:\t000001ffffffffff\n",
        ),
        (
            "proc/self/limits".into(),
            "Max locked memory         8388608              8388608              bytes     \n",
        ),
        ("dev/net/tun".into(), ""),
        ("sys/class/iommu/dmar0/x".into(), ""),
        ("sys/module/vfio_pci/x".into(), ""),
        ("sys/devices/system/cpu/online".into(), "0-1\n"),
        ("sys/devices/system/cpu/isolated".into(), "1\n"),
        (
            "sys/bus/pci/devices/0000:03:00.0/class".into(),
            "0x020000\n",
        ),
        ("usr/sbin/ip".into(), ""),
        ("usr/sbin/ethtool".into(), ""),
        ("usr/sbin/iperf3".into(), ""),
        ("usr/sbin/tshark".into(), ""),
    ];
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::os::unix::fs::symlink(
        "../drivers/vfio-pci",
        root.join("sys/bus/pci/devices/0000:03:00.0/driver"),
    )
    .unwrap();
}

fn check(root: &Path, name: &str) -> Check {
    let checks = examine(&Root::new(root), None);
    checks
        .iter()
        .find(|check| check.name == name)
        .unwrap_or_else(|| panic!("{name}: {checks:?}"))
        .clone()
}

#[test]
fn a_good_machine_has_nothing_broken() {
    let folder = tempfile::tempdir().unwrap();
    machine(folder.path());
    for check in examine(&Root::new(folder.path()), None) {
        // This process's own affinity is not made of files.
        assert!(
            check.ok == Health::Good || check.name == "cores",
            "{check:?}"
        );
        assert_ne!(check.ok, Health::Broken);
    }
    assert!(check(folder.path(), "dpdk").detail.contains("22.11.11"));
    assert!(
        check(folder.path(), "nics")
            .detail
            .contains("0000:03:00.0 vfio-pci")
    );
    assert!(
        check(folder.path(), "hugepages")
            .detail
            .contains("node0 512 of 2M (500 free)")
    );
}

#[test]
fn each_thing_that_is_missing_is_named_with_its_mend() {
    let cases = [
        (
            "usr/lib/x86_64-linux-gnu/librte_eal.so.23",
            "dpdk",
            Health::Broken,
            "apt-get install --yes dpdk",
        ),
        (
            "usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_af_packet.so",
            "dpdk",
            Health::Broken,
            "--reinstall dpdk",
        ),
        (
            "sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages",
            "hugepages",
            Health::Warn,
            "hugepages = \"none\"",
        ),
        (
            "proc/mounts",
            "hugetlbfs",
            Health::Warn,
            "mount -t hugetlbfs",
        ),
        ("dev/net/tun", "tun", Health::Warn, "modprobe tun"),
        ("sys/class/iommu/dmar0/x", "iommu", Health::Good, ""),
        ("sys/module/vfio_pci/x", "iommu", Health::Good, ""),
        ("sys/devices/system/cpu/isolated", "cores", Health::Warn, ""),
        (
            "usr/sbin/ethtool",
            "tools",
            Health::Warn,
            "apt-get install --yes ethtool",
        ),
    ];
    for (file, name, health, mend) in cases {
        let folder = tempfile::tempdir().unwrap();
        machine(folder.path());
        std::fs::remove_file(folder.path().join(file)).unwrap();
        if name == "tools" && Path::new("/usr/sbin/ethtool").exists() {
            assert!(!folder.path().join("usr/sbin/ethtool").exists());
        }
        let check = check(folder.path(), name);
        assert_eq!(check.ok, health, "{file}: {check:?}");
        assert!(check.mend.contains(mend), "{file}: {check:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    machine(folder.path());
    std::fs::remove_dir_all(folder.path().join("sys/class/iommu/dmar0")).unwrap();
    std::fs::remove_dir_all(folder.path().join("sys/module/vfio_pci")).unwrap();
    assert!(
        check(folder.path(), "iommu")
            .mend
            .contains("modprobe vfio-pci")
    );
    std::fs::write(
        folder
            .path()
            .join("sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"),
        "0",
    )
    .unwrap();
    let none = check(folder.path(), "hugepages");
    assert_eq!(
        none.mend,
        "echo 512 > /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
    );
    std::fs::write(
        folder.path().join("proc/self/status"),
        "CapEff:\t0000000000001000\n",
    )
    .unwrap();
    let rights = check(folder.path(), "capabilities");
    assert_eq!(
        (rights.ok, rights.detail.as_str()),
        (Health::Broken, "this user lacks CAP_NET_RAW, CAP_IPC_LOCK")
    );
    assert!(
        check(folder.path(), "memlock")
            .mend
            .contains("ulimit -l unlimited")
    );
}

#[test]
fn on_this_machine_it_prints_checks_and_its_status_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().join("none.sock");
    let output = weir(&["doctor", "-o", "json", "--socket", nobody.to_str().unwrap()]);
    let diagnosis = json(&output);
    assert_eq!(
        output.status.code(),
        Some(if diagnosis["ok"] == true { 0 } else { 1 })
    );
    let checks = diagnosis["checks"].as_array().unwrap();
    for name in [
        "dpdk",
        "hugepages",
        "capabilities",
        "memlock",
        "tun",
        "iommu",
        "cores",
        "nics",
        "tools",
        "daemon",
    ] {
        let check = checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {diagnosis}"));
        assert!(check["ok"].is_boolean() || check["ok"] == "warn");
        assert!(check["detail"].is_string() && check["mend"].is_string());
        assert_eq!(check["ok"] == true, check["mend"] == "", "{check}");
    }
    let text = stdout(&weir(&["doctor", "--socket", nobody.to_str().unwrap()]));
    assert!(text.contains("weir run --host host.toml"), "{text}");
}

#[test]
fn a_daemons_troubles_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let diagnosis = json(&weir(&["doctor", "--json", "--socket", fake.path()]));
    let checks = diagnosis["checks"].as_array().unwrap();
    let offloads = checks
        .iter()
        .find(|check| check["name"] == "offloads")
        .unwrap_or_else(|| panic!("{diagnosis}"));
    assert_eq!(offloads["ok"], "warn");
    let mend = offloads["mend"].as_str().unwrap();
    assert!(
        mend.starts_with("ethtool -K DEV tx off tso off gso off gro off"),
        "{mend}"
    );
    assert!(
        mend.contains("vNIC blue1") && mend.contains("the other end of blue1"),
        "{mend}"
    );
    fake.stop().unwrap();
}

#[test]
fn what_keeps_a_nic_from_giving_away_vfs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    machine(folder.path());
    assert_eq!(check(folder.path(), "sriov").ok, Health::Good);
    let nic = folder.path().join("sys/bus/pci/devices/0000:03:00.0");
    let put = |file: &str, text: &str| {
        let path = nic.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("sriov_totalvfs", "63\n");
    put("sriov_numvfs", "0\n");
    let found = check(folder.path(), "sriov");
    assert_eq!(found.ok, Health::Warn);
    assert!(found.detail.contains("0000:03:00.0 vfio-pci 0 of 63 VFs"));
    for mend in [
        "it is bound to vfio-pci",
        "without an IOMMU",
        "modprobe vfio-pci",
    ] {
        assert!(found.mend.contains(mend), "{found:?}");
    }
    std::fs::remove_file(nic.join("driver")).unwrap();
    std::os::unix::fs::symlink("../drivers/ice", nic.join("driver")).unwrap();
    std::os::unix::fs::symlink("../../../kernel/iommu_groups/7", nic.join("iommu_group")).unwrap();
    put("net/eth0/flags", "0x1003\n");
    let drivers = folder.path().join("sys/bus/pci/drivers/vfio-pci");
    std::fs::create_dir_all(drivers).unwrap();
    assert_eq!(check(folder.path(), "sriov").ok, Health::Good);
    put("sriov_totalvfs", "0\n");
    assert!(
        check(folder.path(), "sriov")
            .mend
            .contains("switch SR-IOV on")
    );
}

/// What a person sees of `weir doctor` with these words on a console, where both outputs are one.
fn on_a_console(words: &[&str]) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let mut both = std::fs::File::options();
    both.read(true).write(true);
    let slave = both.open(name.to_str().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("doctor")
        .args(words)
        .args(["--socket", "none.sock"])
        .current_dir(folder.path())
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave)
        .spawn()
        .unwrap();
    let mut reader = std::fs::File::from(master);
    let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
    // EIO when nobody has the other end any more.
    while let Ok(count @ 1..) = reader.read(&mut bytes) {
        seen.extend_from_slice(&bytes[..count]);
    }
    child.wait().unwrap();
    String::from_utf8(seen).unwrap()
}

#[test]
fn json_on_a_console_is_json_and_nothing_else() {
    let seen = on_a_console(&["-o", "json"]);
    let diagnosis: serde_json::Value =
        serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error}: {seen:?}"));
    assert!(diagnosis["checks"].is_array(), "{diagnosis}");
    assert!(on_a_console(&[]).contains("looking at this machine"));
}
