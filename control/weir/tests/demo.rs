//! `weir demo` as a user sees it: all is well, standard output is one object, nothing is left; also after Ctrl-C.
//! Needs root and iproute2, iputils-ping, iperf3, ethtool.

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What each namespace, folder and process of a demo has in its name or command line.
const MARK: &str = "weir-demo-";

/// One demo at a time: each looks at what is on the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

/// Whether it can run here. Says why not; fails where skipping is not allowed.
fn can_run() -> bool {
    if geteuid().is_root() {
        return true;
    }
    let strict = ["WEIR_TEST_STRICT", "CI"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    assert!(!strict, "must not be skipped here: needs root");
    eprintln!("SKIPPED: needs root, for network namespaces");
    false
}

fn demo(more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("demo").arg("--json").args(more);
    command
}

/// What a demo could leave, and nothing of what other programs do meanwhile: namespaces, folders, sockets, processes,
/// interfaces outside the namespaces.
fn traces() -> BTreeSet<String> {
    let temp = std::env::temp_dir();
    let mut traces = BTreeSet::new();
    let places: [(&Path, &[&str]); 6] = [
        (Path::new("/run/netns"), &[MARK]),
        (&temp, &[MARK]),
        (Path::new("/run/weir"), &[""]),
        (Path::new("/run/dpdk"), &["weir-h1-", "weir-h2-"]),
        (Path::new("/dev/hugepages"), &["weir-h1-", "weir-h2-"]),
        (Path::new("/sys/class/net"), &["up0", "blue", "red"]),
    ];
    for (folder, names) in places {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if names.iter().any(|start| name.starts_with(start)) {
                traces.insert(format!("{}/{name}", folder.display()));
            }
        }
    }
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(MARK) {
            traces.insert(format!("process {line}"));
        }
    }
    traces
}

/// The kernel takes a namespace's interfaces down on its own time.
fn assert_traces(before: &BTreeSet<String>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while traces() != *before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = traces();
    let new: Vec<_> = after.difference(before).collect();
    let gone: Vec<_> = before.difference(&after).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "left: {new:#?}, gone: {gone:#?}"
    );
}

#[test]
fn everything_is_as_it_should_be_and_nothing_is_left() {
    if !can_run() {
        return;
    }
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let before = traces();
    let output = demo(&["--seconds", "2"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else");
    let checks = report["checks"].as_array().unwrap();
    let bad: Vec<_> = checks.iter().filter(|check| check["ok"] != true).collect();
    assert!(bad.is_empty(), "{bad:#?}\n{stderr}");
    assert_eq!(report["ok"], true);
    assert_eq!(output.status.code(), Some(0));
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ok", "checks", "hosts"]);
    for host in ["h1", "h2"] {
        let stats = &report["hosts"][host]["stats"];
        assert_eq!(stats["vnics"].as_array().unwrap().len(), 2);
        assert!(stats["uplinks"][0]["tx_packets"].as_u64().unwrap() > 1000);
        assert!(report["hosts"][host]["drops"].is_array());
    }
    let names: Vec<&str> = checks
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    for part in [
        "ping: ",
        "marked: ",
        "underlay: ",
        "spoof: ",
        "iperf3 TCP",
        "iperf3 UDP",
        "conservation: h2",
        "end: h1",
    ] {
        assert!(
            names.iter().any(|name| name.starts_with(part)),
            "no check {part} in {names:?}"
        );
    }
    assert_traces(&before);
}

/// Ends a demo by `signal` after `delay`; it must leave nothing and say that not all is well.
fn ended_early(signal: Signal, delay: Duration) {
    let before = traces();
    let mut child: Child = demo(&["--seconds", "30"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    assert!(
        child.try_wait().unwrap().is_none(),
        "it has ended on its own"
    );
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{:?}",
        output.status
    );
    let report: Value =
        serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else");
    assert_eq!(report["ok"], false);
    assert_traces(&before);
}

#[test]
fn a_signal_at_any_moment_leaves_nothing() {
    if !can_run() {
        return;
    }
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    // While it builds, while the daemons start, during pings, during iperf3.
    for (signal, milliseconds) in [
        (Signal::INT, 150),
        (Signal::TERM, 600),
        (Signal::INT, 3000),
        (Signal::TERM, 16_000),
    ] {
        ended_early(signal, Duration::from_millis(milliseconds));
    }
}

#[test]
fn without_its_programs_it_says_which_packages_to_install() {
    if !can_run() {
        return;
    }
    let output = demo(&[]).env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let detail = report["checks"][0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("apt-get install iproute2 iputils-ping iperf3 ethtool"),
        "{detail}"
    );
}
