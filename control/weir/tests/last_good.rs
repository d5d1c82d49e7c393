//! A daemon that starts while its store is away, broken or changed: it forwards by its last good state, says so, and goes on
//! with the store when that is there again.

mod common;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use common::{run_in, weir};
use rustix::process::{Pid, Signal, kill_process};
use weir_agent::stats::{Stats, Status};

const HOST: &str = r#"
name = "h1"
socket = "weir.sock"
state_dir = "state"
[dataplane]
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "net_null1,no-rx=1"
provider_addresses = ["192.168.50.1/24"]
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02" }
[store]
kind = "file"
path = "policy.toml"
"#;

/// One here that sends to one elsewhere for ever.
const POLICY: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "web"
vsid = 5001
prefixes = ["10.0.0.0/8"]
[[vnic]]
name = "source"
host = "h1"
subnet = "web"
mac = "02:00:00:00:00:01"
addresses = ["10.0.0.2"]
attach = "rig:mappings=1,frame=64,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0"
[[vnic]]
name = "far"
host = "h2"
subnet = "web"
mac = "02:01:00:00:00:00"
addresses = ["10.1.0.0"]
"#;

struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    fn start(folder: &Path) -> Daemon {
        let daemon = Daemon {
            child: run_in(folder),
            folder: folder.to_owned(),
        };
        daemon.until("it answers", |daemon| daemon.ask("status").is_some());
        daemon
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn until(&self, what: &str, so: impl Fn(&Daemon) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed().as_secs() < 30, "{what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&self, verb: &str) -> Option<Vec<u8>> {
        let socket = self.folder.join("weir.sock");
        let output = weir(&[verb, "-o", "json", "--socket", socket.to_str().unwrap()]);
        output.status.success().then_some(output.stdout)
    }

    fn status(&self) -> Status {
        serde_json::from_slice(&self.ask("status").unwrap()).unwrap()
    }

    fn sent(&self) -> u64 {
        let stats: Stats = serde_json::from_slice(&self.ask("stats").unwrap()).unwrap();
        stats.uplinks[0].tx_packets
    }

    fn end(mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("host.toml"), HOST).unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    folder
}

/// Runs it once, until its policy is kept, and ends it without a word.
fn after_a_kill(folder: &Path) {
    let daemon = Daemon::start(folder);
    daemon.until("it sends", |daemon| daemon.sent() > 0);
    let state = folder.join("state/h1.state");
    daemon.until("it is kept", |_| state.exists());
    let last = daemon.status().last_good.unwrap();
    assert!(!last.in_use && last.problem.is_none(), "{last:?}");
    daemon.end(Signal::KILL);
}

#[test]
fn with_the_store_away_a_host_forwards_as_before_and_goes_on_with_the_store_later() {
    let folder = folder();
    let (at, policy) = (folder.path(), folder.path().join("policy.toml"));
    after_a_kill(at);
    std::fs::remove_file(&policy).unwrap();
    let daemon = Daemon::start(at);
    daemon.until("it sends", |daemon| daemon.sent() > 0);
    let status = daemon.status();
    assert!(status.last_good.unwrap().in_use);
    assert_eq!(status.remote_vnics, 1);
    assert!(
        status.errors[0].problem.contains("the file is gone"),
        "{:?}",
        status.errors
    );
    assert!(daemon.log().contains("applied the last good state"));
    // The store is back, and holds something else.
    let other = POLICY.replace("name = \"far\"", "name = \"farther\"");
    std::fs::write(&policy, &other).unwrap();
    daemon.until("the store's content", |daemon| {
        let status = daemon.status();
        status.errors.is_empty() && !status.last_good.unwrap().in_use
    });
    assert_eq!(daemon.status().revision, 2);
    daemon.end(Signal::TERM);

    // Broken: the same, and the line is told.
    std::fs::write(&policy, format!("{other}\nthis is not TOML\n")).unwrap();
    let daemon = Daemon::start(at);
    daemon.until("it sends", |daemon| daemon.sent() > 0);
    let status = daemon.status();
    assert!(status.last_good.unwrap().in_use);
    let line = other.lines().count() as u32 + 2;
    assert_eq!(status.errors[0].line, Some(line), "{:?}", status.errors);
    daemon.end(Signal::TERM);
}

#[test]
fn with_a_changed_store_a_start_ends_as_the_store_says() {
    let folder = folder();
    after_a_kill(folder.path());
    let none = POLICY.split("[[vnic]]").next().unwrap();
    std::fs::write(folder.path().join("policy.toml"), none).unwrap();
    let daemon = Daemon::start(folder.path());
    let status = daemon.status();
    assert_eq!((status.local_vnics, status.remote_vnics), (0, 0));
    assert_eq!(status.revision, 1, "nothing else was applied before");
    assert!(!status.last_good.unwrap().in_use && status.errors.is_empty());
    daemon.end(Signal::TERM);
}

#[test]
fn an_unchanged_store_is_not_read_again_before_workers_forward() {
    let folder = folder();
    // Old enough that its times tell it apart.
    std::thread::sleep(Duration::from_millis(2100));
    after_a_kill(folder.path());
    let daemon = Daemon::start(folder.path());
    daemon.until("it is confirmed", |daemon| {
        !daemon.status().last_good.unwrap().in_use
    });
    assert!(daemon.log().contains("applied the last good state"));
    assert!(
        !daemon.log().contains("policy.toml revision"),
        "{}",
        daemon.log()
    );
    let status = daemon.status();
    assert_eq!((status.revision, status.errors.len()), (1, 0));
    daemon.end(Signal::TERM);
}

#[test]
fn a_damaged_state_is_refused_and_the_policy_read_or_nothing_is_forwarded() {
    let folder = folder();
    after_a_kill(folder.path());
    let state = folder.path().join("state/h1.state");
    let mut bytes = std::fs::read(&state).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    std::fs::write(&state, &bytes).unwrap();
    std::fs::rename(
        folder.path().join("policy.toml"),
        folder.path().join("away.toml"),
    )
    .unwrap();
    let daemon = Daemon::start(folder.path());
    let status = daemon.status();
    assert_eq!((status.revision, status.remote_vnics), (0, 0));
    let problem = status.last_good.unwrap().problem.unwrap();
    assert!(problem.contains("it is damaged"), "{problem}");
    std::fs::rename(
        folder.path().join("away.toml"),
        folder.path().join("policy.toml"),
    )
    .unwrap();
    daemon.until("it sends", |daemon| daemon.sent() > 0);
    daemon.until("it is kept anew", |_| {
        std::fs::read(&state).unwrap() != bytes
    });
    assert_eq!(daemon.status().last_good.unwrap().problem, None);
    daemon.end(Signal::TERM);
}
