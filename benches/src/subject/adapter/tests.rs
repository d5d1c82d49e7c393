//! Peers in shell: that describe themselves, hang, die, talk nonsense.

use super::super::weir::tests::Nobody;
use super::super::{Ends, testpmd};
use super::*;
use crate::scenario::Scenario;
use crate::workload::Workload;
use std::time::Instant;
use tempfile::TempDir;

const QUICK: Patience = Patience {
    describe: Duration::from_millis(500),
    ready: Duration::from_millis(500),
    set: Duration::from_millis(500),
    read: Duration::from_millis(500),
    end: Duration::from_millis(500),
};
const ABOUT: &str = r#"{"protocol":1,"settings":["a","b"],"version":"7"}"#;

/// A peer in shell: what it does after it was told to run.
fn peer(folder: &TempDir, patience: Patience, run: &str) -> Adapter {
    let file = folder.path().join("my-switch.sh");
    let text = format!("#!/bin/sh\ncase $1 in describe) echo '{ABOUT}' ;; *)\n{run}\n;; esac\n");
    process::write_program(&file, &text).unwrap();
    Adapter::of_file(file.to_str().unwrap()).with_patience(patience)
}

fn with_bench<T>(folder: &Path, scenario: Scenario, then: impl FnOnce(&Bench) -> T) -> T {
    let stop = Stop::default();
    let load = Workload {
        mappings: 3,
        ..Workload::default()
    };
    then(&Bench {
        scenario,
        load,
        core: 1,
        helper: 0,
        huge: true,
        folder,
        ends: Ends::Alone {
            pcap: Path::new("/nowhere/frames.pcap"),
        },
        stop: &stop,
        ask: &Nobody,
    })
}

/// Started and then talked with; what came of it.
fn life<T>(
    run: &str,
    patience: Patience,
    then: impl FnOnce(&mut dyn Running) -> Result<T, Halt>,
) -> Result<T, String> {
    let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut peer = peer(&folder, patience, run);
    peer.find().unwrap();
    with_bench(own.path(), Scenario::NvgreEncap, |bench| {
        let mut running = peer.start(bench)?;
        let done = then(running.as_mut())?;
        running.stop()?;
        Ok(done)
    })
    .map_err(|halt: Halt| halt.to_string())
}

/// A process that a script has named in a file is not there any more.
fn gone(file: &Path) -> bool {
    let id = std::fs::read_to_string(file).unwrap();
    let there = || {
        Path::new("/proc")
            .join(id.trim())
            .join("exe")
            .read_link()
            .is_ok()
    };
    let left = Stop::default().wait_for(Duration::from_secs(10), || Ok((!there()).then_some(())));
    left.unwrap().is_some()
}

#[test]
fn a_peer_describes_itself_and_takes_its_settings() {
    let answers = r#"echo '{"ready":true,"process":'$$'}'
        n=0
        while read -r verb rest; do case $verb in
            read) n=$((n + 100)); echo '{"sent":'$n',"received":'$((n + 1))',"packets":10,"cycles":500}' ;;
            set) echo "$rest" >set; echo '{}' ;;
            settle) echo '{"received":1000,"sent":993}' ;;
            stop) touch stopped; exit 0 ;;
        esac done"#;
    let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut peer = peer(&folder, Patience::default(), answers);
    peer.find().unwrap();
    assert_eq!(peer.settings(), ["my-switch-a", "my-switch-b"]);
    assert_eq!(peer.peer_version(), Some(("my-switch".into(), "7".into())));
    with_bench(own.path(), Scenario::NvgreEncap, |bench| {
        let mut running = peer.start(bench).unwrap();
        // It was started in its first one.
        running.set("my-switch-a").unwrap();
        assert!(!own.path().join("set").exists());
        running.set("my-switch-b").unwrap();
        let set = std::fs::read_to_string(own.path().join("set")).unwrap();
        assert_eq!(set, "b\n");
        let (first, second) = (running.read().unwrap(), running.read().unwrap());
        assert_eq!((first.sent, second.sent), (100, 200));
        assert_eq!((first.received, first.own), (Some(101), Some((10, 500))));
        assert_eq!(running.settle().unwrap().lost, Some(7));
        running.stop().unwrap();
        assert!(own.path().join("stopped").exists());
    });
    // What it was told: the task and its mappings.
    let task = std::fs::read(own.path().join("task.json")).unwrap();
    let task: serde_json::Value = serde_json::from_slice(&task).unwrap();
    assert_eq!(task["scenario"], "nvgre-encap");
    assert_eq!((&task["core"], &task["setting"]), (&1.into(), &"a".into()));
    assert_eq!(task["sink"]["device"], "net_null1,no-rx=1");
    let source = task["source"]["device"].as_str().unwrap();
    assert!(source.contains("rx_pcap=/nowhere/frames.pcap"), "{source}");
    let mappings = std::fs::read_to_string(task["mappings"]["file"].as_str().unwrap()).unwrap();
    assert_eq!(
        mappings.lines().collect::<Vec<_>>(),
        [
            "02:01:00:00:00:00 10.1.0.0 5001 02:bb:00:00:00:02 192.168.50.2 -",
            "02:01:00:00:00:01 10.1.0.1 5001 02:bb:00:00:00:03 192.168.50.3 -",
            "02:01:00:00:00:02 10.1.0.2 5001 02:bb:00:00:00:04 192.168.50.4 -",
        ]
    );
}

#[test]
fn a_peer_that_hangs_is_ended_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let child = folder.path().join("child");
    let hangs = format!(
        "sleep 3600 & echo $! >{}; echo '{{\"ready\":true}}'; sleep 3600",
        child.display()
    );
    let began = Instant::now();
    let why = life(&hangs, QUICK, |running| running.read()).unwrap_err();
    assert!(
        why.contains("my-switch") && why.contains("has not answered read"),
        "{why}"
    );
    assert!(gone(&child));
    assert!(began.elapsed() < Duration::from_secs(60));
    // Nor may it hang before it is ready, or when it is to stop.
    let why = life("sleep 3600", QUICK, |running| running.read()).unwrap_err();
    assert!(why.contains("has not answered its start"), "{why}");
    let ignores = "echo '{\"ready\":true}'; while true; do sleep 1; done";
    let why = life(ignores, QUICK, |_| Ok(())).unwrap_err();
    assert!(why.contains("has not ended after stop"), "{why}");
}

#[test]
fn a_peer_that_dies_is_told_with_how_and_with_its_log() {
    let dies = "echo '{\"ready\":true}'; read -r verb; echo 'out of luck' >&2; exit 7";
    let why = life(dies, Patience::default(), |running| running.read()).unwrap_err();
    for part in ["my-switch", "exit status: 7", "read", "out of luck"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let why = life("kill -9 $$", Patience::default(), |_| Ok(())).unwrap_err();
    assert!(why.contains("signal: 9"), "{why}");
    let badly = "echo '{\"ready\":true}'; read -r verb; exit 5";
    let why = life(badly, Patience::default(), |_| Ok(())).unwrap_err();
    assert!(why.contains("exit status: 5 after stop"), "{why}");
}

#[test]
fn a_peer_that_says_nonsense_or_refuses_is_quoted() {
    let nonsense = "echo '{\"ready\":true}'; read -r verb; echo 'sent 5 packets'; read -r verb";
    let why = life(nonsense, Patience::default(), |running| running.read()).unwrap_err();
    assert!(
        why.contains("no answer") && why.contains("sent 5 packets"),
        "{why}"
    );
    let endless = "head -c 300000 /dev/zero | tr '\\0' x; sleep 1";
    let why = life(endless, Patience::default(), |_| Ok(())).unwrap_err();
    assert!(
        why.contains("no answer") && why.len() < 1000,
        "{}",
        why.len()
    );
    let refuses = r#"echo '{"error":"no licence","mend":"buy one"}'; read -r verb"#;
    let why = life(refuses, Patience::default(), |_| Ok(())).unwrap_err();
    assert_eq!(why, "my-switch: no licence; buy one");
    let backwards = r#"echo '{"ready":false}'; read -r verb"#;
    let why = life(backwards, Patience::default(), |_| Ok(())).unwrap_err();
    assert!(why.contains("not ready"), "{why}");
}

#[test]
fn what_is_not_installed_or_another_protocol_or_no_program_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let find = |text: &str| {
        let file = folder.path().join("it");
        process::write_program(&file, text).unwrap();
        let mut peer = Adapter::of_file(file.to_str().unwrap()).with_patience(QUICK);
        peer.find().map_err(|halt| halt.to_string())
    };
    assert_eq!(
        find("#!/bin/sh\necho looking >&2\necho apt-get install it >&2\nexit 3\n"),
        Err("it: is not installed here; apt-get install it".into())
    );
    let why = find("#!/bin/sh\necho '{\"protocol\":2}'\n").unwrap_err();
    assert!(why.contains("protocol 2"), "{why}");
    let why = find("#!/bin/sh\nexit 4\n").unwrap_err();
    assert!(why.contains("exit status: 4"), "{why}");
    let mut peer = Adapter::of_file("./not/there").with_patience(QUICK);
    let why = peer.find().unwrap_err().to_string();
    assert!(
        why.contains("there") && why.contains("No such file"),
        "{why}"
    );
}

#[test]
fn a_peer_says_which_scenarios_it_does_and_whether_it_wants_mappings() {
    let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("few");
    let about = r#"{"protocol":1,"scenarios":["l2"],"mappings":false}"#;
    let run = "echo '{\"ready\":true}'; read -r verb";
    let text = format!("#!/bin/sh\ncase $1 in describe) echo '{about}' ;; *) {run} ;; esac\n");
    process::write_program(&file, &text).unwrap();
    let mut peer = Adapter::of_file(file.to_str().unwrap());
    peer.find().unwrap();
    assert_eq!(peer.settings(), ["few"]);
    with_bench(own.path(), Scenario::NvgreDecap, |bench| {
        let halt = peer.start(bench).err().unwrap().to_string();
        assert!(halt.contains("does no nvgre-decap"), "{halt}");
    });
    with_bench(own.path(), Scenario::L2, |bench| {
        peer.start(bench).unwrap().stop().unwrap();
    });
    assert!(!own.path().join("mappings").exists());
}

/// The script that ships, as far as it goes without root: it describes itself, or names the package.
#[test]
fn testpmd_is_such_a_peer() {
    let mut testpmd = testpmd::both();
    match testpmd.find() {
        Ok(()) => assert_eq!(testpmd.settings(), ["testpmd-io", "testpmd-mac"]),
        Err(halt) => assert!(
            halt.to_string().contains("apt-get install dpdk-dev"),
            "{halt}"
        ),
    }
    assert_eq!(testpmd::one(testpmd::Mode::Mac).settings(), ["testpmd-mac"]);
}
