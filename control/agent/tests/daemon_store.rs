//! The daemon itself, with its control thread, its EAL and its policy file. A process starts EAL once, so this is
//! one test in a process of its own.

mod daemon_common;

use std::path::Path;
use std::time::{Duration, Instant};

use daemon_common::cores;
use weir_agent::config::host::HostConfig;
use weir_agent::daemon::Daemon;
use weir_agent::handle::{Answer, Handle, Question};
use weir_agent::stats::Status;

const POLICY: &str = r#"
[[host]]
name = "h1"
provider_addresses = ["192.168.50.1"]
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "blue1"
vsid = 5001
prefixes = ["10.1.0.0/24"]
[[vnic]]
name = "b1"
host = "h1"
subnet = "blue1"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11"]
attach = "net_ring1"
"#;

const MORE: &str = r#"
[[vnic]]
name = "b2"
host = "h1"
subnet = "blue1"
mac = "02:00:00:00:01:02"
addresses = ["10.1.0.12"]
attach = "net_ring2"
[[vnic]]
name = "b9"
host = "h2"
subnet = "blue1"
mac = "02:00:00:00:01:09"
addresses = ["10.1.0.19"]
"#;

fn status(handle: &Handle) -> Status {
    match handle.ask(Question::Status) {
        Ok(Answer::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

/// Waits until the daemon's status is so; how long it took.
#[track_caller]
fn until(handle: &Handle, what: &str, so: impl Fn(&Status) -> bool) -> Duration {
    let start = Instant::now();
    loop {
        let now = status(handle);
        if so(&now) {
            return start.elapsed();
        }
        assert!(start.elapsed().as_secs() < 10, "{what}: {now:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn apply(handle: &Handle, text: &str) -> Answer {
    let question = Question::Apply {
        text: text.into(),
        origin: "by hand".into(),
        dry_run: false,
    };
    handle.ask(question).expect("an answer")
}

#[test]
fn the_policy_file_is_the_truth_and_is_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.toml");
    let text = format!(
        r#"
name = "h1"
[dataplane]
workers = {}
hugepages = "none"
idle = "adaptive"
mbufs = 4095
[[uplink]]
name = "up0"
device = "net_null0,no-rx=1"
provider_addresses = ["192.168.50.1/24"]
[[trunk]]
name = "vms"
device = "net_ring9"
mtu = 9000
[store]
kind = "file"
path = "policy.toml"
"#,
        cores(2)
    );
    let config = HostConfig::parse(&text, "host.toml", folder.path(), &rte::available_cores());
    let before = threads();
    let then = Instant::now();
    let daemon = Daemon::start(config.expect("a host")).expect("a daemon");
    let began = then.elapsed();
    let handle = daemon.handle();
    // Without a file the policy is empty, and status says so.
    let now = status(&handle);
    assert_eq!((now.local_vnics, now.errors.len()), (0, 1), "{now:?}");
    assert_eq!(now.mbufs_total, 4095);

    // A file that comes, changes, is replaced by a rename.
    std::fs::write(&file, POLICY).expect("a file");
    let seen = until(&handle, "a file that came", |s| s.local_vnics == 1);
    write_and_rename(&file, &format!("{POLICY}{MORE}"));
    until(&handle, "a file that was replaced", |s| {
        s.local_vnics == 2 && s.remote_vnics == 1
    });
    // The peer is asked for by ARP on the uplink, which nobody answers.
    assert_eq!(
        (status(&handle).peers, status(&handle).peers_resolved),
        (1, 0)
    );

    // One that is refused: what is applied stays, and status says why, with the line.
    let revision = status(&handle).revision;
    std::fs::write(&file, format!("{POLICY}colour = 1\n")).expect("a file");
    until(&handle, "a refusal", |s| !s.errors.is_empty());
    let now = status(&handle);
    assert_eq!((now.local_vnics, now.revision), (2, revision));
    assert!(
        now.errors[0].line.is_some() && now.errors[0].problem.contains("colour"),
        "{now:?}"
    );
    // One that is gone takes no network down.
    std::fs::remove_file(&file).expect("removed");
    until(&handle, "an error about the file", |s| {
        s.errors.iter().any(|e| !e.problem.contains("colour"))
    });
    assert_eq!(status(&handle).local_vnics, 2);
    std::fs::write(&file, POLICY).expect("a file");
    until(&handle, "recovery", |s| {
        s.local_vnics == 1 && s.errors.is_empty()
    });

    // By the door: applied, and the file holds it; refused, and the file is as it was.
    match apply(&handle, &format!("{POLICY}{MORE}")) {
        Answer::Applied(report) => assert_eq!(report.added, ["vnic b2", "vnic b9"]),
        other => panic!("{other:?}"),
    }
    let stored = || std::fs::read_to_string(&file).expect("a file");
    assert_eq!(stored(), format!("{POLICY}{MORE}"));
    assert!(matches!(apply(&handle, "nonsense"), Answer::Refused(_)));
    assert_eq!(stored(), format!("{POLICY}{MORE}"));
    let revision = status(&handle).revision;
    match handle.ask(Question::Delete {
        kind: "vnic".into(),
        name: "b2".into(),
    }) {
        Ok(Answer::Applied(report)) => assert_eq!(report.removed, ["vnic b2"]),
        other => panic!("{other:?}"),
    }
    assert!(!stored().contains("b2") && stored().contains("b9"));
    // Its own change does not come back to it as another's.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(status(&handle).revision, revision + 1);
    match handle.ask(Question::Get {
        kind: "vnic".into(),
        name: None,
    }) {
        Ok(Answer::Objects(all)) => assert_eq!(all.len(), 2),
        other => panic!("{other:?}"),
    }
    for (kind, name) in [("nonsense", None), ("vnic", Some("b7".to_owned()))] {
        match handle.ask(Question::Get {
            kind: kind.into(),
            name,
        }) {
            Ok(Answer::Refused(errors)) => assert_eq!(errors.len(), 1),
            other => panic!("{other:?}"),
        }
    }
    // Many saves in a row end with the last.
    for n in 0..50 {
        let more = if n % 2 == 0 { MORE } else { "" };
        std::fs::write(&file, format!("{POLICY}{more}")).expect("a file");
    }
    until(&handle, "the last of many", |s| {
        s.local_vnics == 1 && s.errors.is_empty()
    });
    // Traffic: ARP requests were made, counted, and sent.
    std::fs::write(&file, format!("{POLICY}{MORE}")).expect("a file");
    until(&handle, "both", |s| s.local_vnics == 2);
    let made = || match handle.ask(Question::Stats) {
        Ok(Answer::Stats(stats)) => {
            for w in &stats.workers {
                assert_eq!(
                    w.rx_packets + w.handoff_in + w.generated + w.copies,
                    w.tx_packets + w.delivered + w.handoff_out + w.consumed + w.dropped + w.queued
                );
            }
            let generated: u64 = stats.workers.iter().map(|w| w.generated).sum();
            (generated, stats.uplinks[0].tx_packets)
        }
        other => panic!("{other:?}"),
    };
    let start = Instant::now();
    while made().0 < 2 {
        assert!(start.elapsed().as_secs() < 10, "{:?}", made());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(made().0, made().1);

    // The end: everything closed, every thread of its own gone; the door says so.
    let other = daemon.handle();
    let then = Instant::now();
    assert!(matches!(handle.ask(Question::Stop), Ok(Answer::Stopping)));
    daemon.join().expect("a good end");
    let ended = then.elapsed();
    assert!(other.ask(Question::Status).is_err());
    let start = Instant::now();
    while threads()
        .iter()
        .any(|name| name.starts_with("weir-") && !before.contains(name))
    {
        assert!(start.elapsed().as_secs() < 5, "{:?}", threads());
        std::thread::sleep(Duration::from_millis(5));
    }
    eprintln!("start {began:?}, a saved file applied after {seen:?}, stop {ended:?}");
}

fn write_and_rename(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(&new, file).expect("renamed");
}

/// Names of this process's threads.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    let names = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}
