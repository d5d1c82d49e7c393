//! A daemon of the binary under test, in a namespace.

use super::{HostToml, Ns, PATIENCE, Policy, World, text, wait_for, wait_within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use weir_agent::stats::{ApplyReport, DropRow, Stats, Status, VnicStats, WorkerStats};

/// The binary.
pub const WEIR: &str = env!("CARGO_BIN_EXE_weir");

/// A running daemon; ended when dropped.
pub struct Daemon {
    /// Where it runs.
    pub ns: Ns,
    /// Its own folder, with host.toml, policy.toml, weir.sock and log.
    pub folder: PathBuf,
    child: Child,
}

impl World {
    /// Starts a daemon and waits until it answers.
    pub fn daemon(&self, ns: &Ns, host: &HostToml, policy: &Policy) -> Daemon {
        self.daemon_of(ns, host, &policy.text())
    }

    /// As [`World::daemon`], of a policy.toml that is written out.
    pub fn daemon_of(&self, ns: &Ns, host: &HostToml, policy: &str) -> Daemon {
        let folder = self.path(&host.name);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("host.toml"), host.text(&folder)).expect("host.toml");
        std::fs::write(folder.join("policy.toml"), policy).expect("policy.toml");
        let daemon = Daemon::start(ns, &folder);
        let errors = daemon.status().errors;
        assert!(errors.is_empty(), "the policy is not applied: {errors:?}");
        daemon
    }
}

impl Daemon {
    /// Starts the daemon of a folder's host.toml.
    pub fn start(ns: &Ns, folder: &Path) -> Daemon {
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let mut command = ns.command(WEIR);
        command
            .args(["run", "--host"])
            .arg(folder.join("host.toml"))
            .env("STATE_DIRECTORY", folder);
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("dup"))
            .stderr(log)
            .spawn()
            .expect("weir run");
        let mut daemon = Daemon {
            ns: ns.clone(),
            folder: folder.to_owned(),
            child,
        };
        wait_within(3 * PATIENCE, "the daemon answers", || {
            if let Some(status) = daemon.child.try_wait().expect("wait") {
                panic!("the daemon ended: {status}\n{}", daemon.log());
            }
            daemon.weir(&["status"]).status.success().then_some(())
        });
        daemon
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("weir.sock")
    }

    /// Its policy file.
    pub fn policy_file(&self) -> PathBuf {
        self.folder.join("policy.toml")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Runs a verb against it.
    pub fn weir(&self, args: &[&str]) -> Output {
        let (verb, rest) = args.split_first().expect("a verb");
        let mut command = Command::new(WEIR);
        command
            .arg(verb)
            .arg("--socket")
            .arg(self.socket())
            .args(rest);
        command.env_remove("WEIR_SOCKET").output().expect("weir")
    }

    /// What a verb answers, as JSON; it must succeed.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.weir(&[args, &["-o", "json"]].concat());
        assert!(
            output.status.success(),
            "{args:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, args: &[&str]) -> T {
        serde_json::from_value(self.json(args)).expect("the answer's type")
    }

    /// `weir stats`.
    pub fn stats(&self) -> Stats {
        self.ask(&["stats"])
    }

    /// `weir drops`.
    pub fn drops(&self) -> Vec<DropRow> {
        self.ask(&["drops"])
    }

    /// Packets dropped for a reason, over all workers and accounts.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.drops()
            .iter()
            .filter(|row| row.reason == reason)
            .map(|row| row.packets)
            .sum()
    }

    /// `weir status`.
    pub fn status(&self) -> Status {
        self.ask(&["status"])
    }

    /// The counters of one vNIC.
    pub fn vnic(&self, name: &str) -> VnicStats {
        let stats = self.stats();
        stats
            .vnics
            .into_iter()
            .find(|vnic| vnic.vnic == name)
            .unwrap_or_else(|| panic!("no vNIC {name}"))
    }

    /// `weir apply` of a policy; gives the process's answer.
    pub fn try_apply(&self, policy: &str, args: &[&str]) -> Output {
        let file = self.folder.join("new.toml");
        std::fs::write(&file, policy).expect("new.toml");
        let file = file.display().to_string();
        self.weir(&[&["apply", "-f", &file], args].concat())
    }

    /// `weir apply` of a policy, which must be accepted.
    pub fn apply(&self, policy: &Policy) -> ApplyReport {
        let output = self.try_apply(&policy.text(), &["-o", "json"]);
        assert!(
            output.status.success(),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("a report")
    }

    /// Waits until every peer's MAC is known.
    pub fn wait_resolved(&self) {
        wait_for("all peers answer ARP", || {
            let status = self.status();
            (status.peers_resolved == status.peers).then_some(())
        });
    }

    /// Waits until no counter of its workers moves any more, and gives them.
    pub fn standstill(&self) -> Vec<WorkerStats> {
        let quiet = Duration::from_millis(150);
        let (mut last, mut since) = (self.still_counters(), Instant::now());
        wait_for("traffic stands still", || {
            let now = self.still_counters();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            (since.elapsed() > quiet && last.iter().all(|w| w.queued == 0)).then_some(())
        });
        last
    }

    fn still_counters(&self) -> Vec<WorkerStats> {
        let workers = self.stats().workers.into_iter();
        workers
            .map(|worker| WorkerStats {
                busy_cycles: 0,
                idle_cycles: 0,
                turns: 0,
                ..worker
            })
            .collect()
    }

    /// design.md: for each worker, when traffic stands still, what came in is what went out.
    pub fn assert_conserved(&self) -> Vec<WorkerStats> {
        let workers = self.standstill();
        for w in &workers {
            assert_eq!(
                w.rx_packets + w.handoff_in + w.generated + w.copies,
                w.tx_packets + w.delivered + w.handoff_out + w.consumed + w.dropped + w.queued,
                "a packet of core {} has no end, or two: {w:?}",
                w.core
            );
        }
        let sum = |field: fn(&WorkerStats) -> u64| workers.iter().map(field).sum::<u64>();
        assert_eq!(
            sum(|w| w.handoff_in),
            sum(|w| w.handoff_out),
            "hand-off: {workers:?}"
        );
        let rows: u64 = self
            .drops()
            .iter()
            .filter(|row| row.worker.is_some())
            .map(|row| row.packets)
            .sum();
        assert_eq!(
            rows,
            sum(|w| w.dropped),
            "every dropped packet has a reason: {:?}",
            self.drops()
        );
        workers
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("kill");
    }

    /// Waits for the process's end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the daemon ends", || self.child.try_wait().expect("wait"))
    }

    /// SIGTERM; asserts that it ends with 0 and leaves no socket.
    pub fn end(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "SIGTERM: {status}\n{}", self.log());
        assert!(!self.socket().exists(), "its socket is still there");
        let log = self.log();
        for bad in ["panicked", "did not close", "a worker does not"] {
            assert!(!log.contains(bad), "{log}");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.folder.display(), self.log());
            for verb in ["stats", "drops"] {
                eprintln!("{}", text(&self.weir(&[verb]).stdout));
            }
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
