//! A peer that is a program of its own: any executable file that knows three verbs. docs/peers.md is its contract, in full.
//!
//! ```text
//! PEER describe     one line of JSON: what it is
//! PEER run FILE     starts the switch of FILE (JSON: devices, mappings, cores), says {"ready":true}, then answers questions,
//!                   one line of JSON each: `set SETTING`, `read`, `settle`; ends after `stop`, or when its input ends
//! ```
//! What hangs is ended after its time, with everything that it started in its process group; what dies, or says what is no
//! answer, ends the run with the end of its log.

use super::{Bench, Running, Settled, Subject};
use crate::halt::{Halt, Stop};
use crate::process::{self, Process, tied};
use crate::scenario::{End, Scenario};
use crate::window::Reading;
use crate::workload::{PREFIXES, PROVIDER, PROVIDER_MAC, VSIDS, mac_text};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The contract's number: a peer that says another one is not asked on.
const PROTOCOL: u32 = 1;
/// The exit status of a peer whose switch is not installed here.
const MISSING: i32 = 3;

/// How long a peer may take for each of its verbs.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To say what it is.
    pub describe: Duration,
    /// Until its switch sends packets.
    pub ready: Duration,
    /// To take on a setting.
    pub set: Duration,
    /// To answer `read`.
    pub read: Duration,
    /// To answer `settle`, and to end after `stop`.
    pub end: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            describe: Duration::from_secs(10),
            ready: Duration::from_secs(120),
            set: Duration::from_secs(60),
            read: Duration::from_secs(5),
            end: Duration::from_secs(10),
        }
    }
}

/// Where a peer's program is.
#[derive(Clone, Debug)]
pub enum Program {
    /// A file.
    File(PathBuf),
    /// This text, which is written to a file first.
    Text(&'static str),
}

/// What a peer says of itself.
#[derive(Clone, Debug, Deserialize)]
struct About {
    protocol: u32,
    #[serde(default)]
    settings: Vec<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default = "yes")]
    mappings: bool,
    #[serde(default)]
    scenarios: Option<Vec<String>>,
}

fn yes() -> bool {
    true
}

/// A peer.
pub struct Adapter {
    name: String,
    program: Program,
    /// The one setting that is wanted, if not all are.
    only: Option<&'static str>,
    patience: Patience,
    about: Option<About>,
}

impl Adapter {
    /// The peer of this name; not looked for yet.
    pub fn new(name: impl Into<String>, program: Program) -> Adapter {
        Adapter {
            name: name.into(),
            program,
            only: None,
            patience: Patience::default(),
            about: None,
        }
    }

    /// The peer in this file, named as it is without its ending.
    pub fn of_file(file: &str) -> Adapter {
        let name = Path::new(file).file_stem().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        Adapter::new(name, Program::File(PathBuf::from(file)))
    }

    /// The same in one setting alone.
    pub fn only(self, setting: &'static str) -> Adapter {
        Adapter {
            only: Some(setting),
            ..self
        }
    }

    /// The same with other times.
    pub fn with_patience(self, patience: Patience) -> Adapter {
        Adapter { patience, ..self }
    }

    /// Its file, which is made in `folder` if it is a text. Absolute: a name without a slash would be looked for in `$PATH`.
    fn file(&self, folder: &Path) -> Result<PathBuf, Halt> {
        match &self.program {
            Program::File(file) => {
                std::path::absolute(file).map_err(|error| Halt::io(file.display(), &error))
            }
            Program::Text(text) => {
                let file = folder.join(format!("{}.peer", self.name));
                process::write_program(&file, text)?;
                Ok(file)
            }
        }
    }

    /// The names of its settings in the contract.
    fn inner_settings(&self) -> Vec<String> {
        let all = self.about.as_ref().map(|about| about.settings.clone());
        match self.only {
            Some(only) => vec![only.to_string()],
            None => all.unwrap_or_default(),
        }
    }
}

impl Subject for Adapter {
    fn settings(&self) -> Vec<String> {
        let settings = self.inner_settings();
        if settings.is_empty() {
            return vec![self.name.clone()];
        }
        let named = settings.iter().map(|it| format!("{}-{it}", self.name));
        named.collect()
    }

    fn find(&mut self) -> Result<(), Halt> {
        let folder = tempfile::tempdir().map_err(|error| Halt::io("a scratch folder", &error))?;
        let mut command = tied(self.file(folder.path())?, ["describe"]);
        let mut peer = Peer::start(&self.name, &mut command, folder.path(), self.patience)?;
        let stop = Stop::default();
        let said = match peer.line(&stop, self.patience.describe, "describe") {
            Ok(said) => said,
            Err(halt) => {
                let missing = peer.process.end().and_then(|status| status.code()) == Some(MISSING);
                return Err(if missing { peer.missing() } else { halt });
            }
        };
        let about: About = serde_json::from_str(&said).map_err(|error| {
            let problem = format!("does not describe itself ({error}): {}", short(&said));
            peer.process.trouble(&problem)
        })?;
        if about.protocol != PROTOCOL {
            let problem = format!("speaks protocol {}, the rig {PROTOCOL}", about.protocol);
            return Err(peer.process.trouble(&problem));
        }
        self.about = Some(about);
        Ok(())
    }

    fn peer_version(&self) -> Option<(String, String)> {
        let version = self.about.as_ref()?.version.clone()?;
        Some((self.name.clone(), version))
    }

    fn start<'a>(&self, bench: &Bench<'a>) -> Result<Box<dyn Running + 'a>, Halt> {
        let about = self.about.clone();
        let able = about.as_ref().and_then(|about| about.scenarios.as_ref());
        let name = bench.scenario.name();
        if able.is_some_and(|able| !able.iter().any(|it| it == name)) {
            let mend = "leave it out of --vs";
            return Err(Halt::failed(&self.name, format!("does no {name}"), mend));
        }
        let mappings = about.is_none_or(|about| about.mappings);
        let settings = self.inner_settings();
        let task = task(bench, settings.first(), mappings)?;
        let file = bench.folder.join("task.json");
        let text = serde_json::to_vec_pretty(&task)
            .map_err(|error| Halt::failed("task.json", error.to_string(), ""))?;
        process::write(&file, text)?;
        let mut command = tied(self.file(bench.folder)?, ["run"]);
        command.arg(&file).current_dir(bench.folder);
        let mut peer = Peer::start(&self.name, &mut command, bench.folder, self.patience)?;
        let ready: Ready = peer.answer(bench.stop, self.patience.ready, "its start")?;
        if !ready.ready {
            return Err(peer.process.trouble("says that it is not ready"));
        }
        let process = ready.process.unwrap_or(peer.process.id());
        Ok(Box::new(Session {
            name: self.name.clone(),
            peer,
            process,
            setting: settings.first().cloned(),
            stop: bench.stop.clone(),
            dropped: bench.scenario.end(&bench.load) == End::Dropped,
        }))
    }
}

/// What a peer is to do: the file that `run` is given.
#[derive(Clone, Debug, Serialize)]
struct Task {
    protocol: u32,
    scenario: &'static str,
    setting: Option<String>,
    core: u32,
    helper: u32,
    folder: String,
    source: Source,
    sink: Sink,
    memory: Memory,
    network: Network,
    mappings: Option<Mappings>,
}

#[derive(Clone, Debug, Serialize)]
struct Source {
    device: String,
    frame: String,
    /// Frames that it holds and repeats; null where they come from the rig's own port.
    frames: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct Sink {
    device: String,
    mtu: u16,
}

#[derive(Clone, Debug, Serialize)]
struct Memory {
    hugepages: bool,
    mbufs: u32,
    megabytes: u32,
}

/// Who is who: addresses in every scenario's network.
#[derive(Clone, Debug, Serialize)]
struct Network {
    vsid: u32,
    prefix: &'static str,
    vm_mac: String,
    vm_address: String,
    near_mac: String,
    near_address: String,
    gateway_mac: String,
    provider_address: String,
    provider_length: u8,
    provider_mac: String,
    /// What becomes of the packets: `uplink`, `vnic` or `dropped`.
    end: &'static str,
}

/// A line a mapping: MAC, customer address, VSID, MAC and provider address of its host, provider address of its own where it is
/// rewritten.
#[derive(Clone, Debug, Serialize)]
struct Mappings {
    count: u32,
    file: String,
    columns: [&'static str; 6],
}

fn task(bench: &Bench, setting: Option<&String>, mappings: bool) -> Result<Task, Halt> {
    let (load, scenario) = (&bench.load, bench.scenario);
    let (vm, near) = (load.source(), load.near());
    let mappings = match mappings {
        true => Some(write_mappings(bench)?),
        false => None,
    };
    Ok(Task {
        protocol: PROTOCOL,
        scenario: scenario.name(),
        setting: setting.cloned(),
        core: bench.core,
        helper: bench.helper,
        folder: bench.folder.display().to_string(),
        source: Source {
            device: bench.source(),
            frame: load.frame.to_string(),
            frames: bench.is_alone().then(|| load.count()),
        },
        sink: Sink {
            device: bench.sink(),
            mtu: bench.sink_mtu().unwrap_or(1500),
        },
        memory: Memory {
            hugepages: bench.huge,
            mbufs: bench.mbufs(),
            megabytes: bench.megabytes(),
        },
        network: Network {
            vsid: VSIDS[0],
            prefix: PREFIXES[0],
            vm_mac: mac_text(vm.mac),
            vm_address: vm.ca.to_string(),
            near_mac: mac_text(near.mac),
            near_address: near.ca.to_string(),
            gateway_mac: mac_text(weir_tables::domain::GATEWAY_MAC.octets()),
            provider_address: PROVIDER.0.to_string(),
            provider_length: PROVIDER.1,
            provider_mac: mac_text(PROVIDER_MAC),
            end: match scenario.end(load) {
                End::Uplink => "uplink",
                End::Vnic => "vnic",
                End::Dropped => "dropped",
            },
        },
        mappings,
    })
}

fn write_mappings(bench: &Bench) -> Result<Mappings, Halt> {
    let (load, scenario) = (&bench.load, bench.scenario);
    let hosts: Vec<_> = load.hosts().collect();
    let mut text = String::new();
    for number in 0..load.mappings {
        let vm = load.remote(scenario, number);
        let Some(host) = hosts.get(load.host_of(number) as usize) else {
            continue;
        };
        let vsid = VSIDS[scenario.subnets() - 1];
        let (mac, host_mac) = (mac_text(vm.mac), mac_text(host.mac));
        let own = match scenario {
            Scenario::Rewrite => load.rewritten(vm.ca).to_string(),
            _ => "-".to_string(),
        };
        let _ = writeln!(text, "{mac} {} {vsid} {host_mac} {} {own}", vm.ca, host.pa);
    }
    let file = bench.folder.join("mappings");
    process::write(&file, text)?;
    Ok(Mappings {
        count: load.mappings,
        file: file.display().to_string(),
        columns: [
            "mac",
            "address",
            "vsid",
            "host_mac",
            "host_address",
            "rewritten",
        ],
    })
}

/// Its first line.
#[derive(Deserialize)]
struct Ready {
    ready: bool,
    process: Option<u32>,
}

/// To `read`.
#[derive(Deserialize)]
struct Counts {
    sent: u64,
    received: Option<u64>,
    bytes: Option<u64>,
    /// By its own account: packets, and the TSC cycles they took.
    packets: Option<u64>,
    cycles: Option<u64>,
}

/// To `settle`: nothing, or both.
#[derive(Deserialize)]
struct Final {
    sent: Option<u64>,
    received: Option<u64>,
}

/// To `set`.
#[derive(Deserialize)]
struct Done {}

/// Instead of any answer.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    mend: String,
}

/// A peer's program that runs, and the talk with it.
struct Peer {
    name: String,
    process: Process,
    lines: process::Lines,
    patience: Patience,
}

impl Peer {
    fn start(
        name: &str,
        command: &mut Command,
        folder: &Path,
        patience: Patience,
    ) -> Result<Peer, Halt> {
        let (process, lines) = Process::start_talking(name, command, folder)?;
        Ok(Peer {
            name: name.to_string(),
            process,
            lines,
            patience,
        })
    }

    /// The next line that it says.
    fn line(&mut self, stop: &Stop, patience: Duration, to: &str) -> Result<String, Halt> {
        let lines = &self.lines;
        let said = stop.wait_for(patience, || Ok(lines.next()))?;
        match said {
            Some(Ok(line)) => Ok(line),
            Some(Err(process::Ended)) => {
                // It may have closed its output only.
                let how =
                    stop.wait_for(Duration::from_secs(1), || Ok(self.process.check().err()))?;
                let how = how.map_or("has closed its output".to_string(), |halt| match halt {
                    Halt::Failed(fault) => fault.problem,
                    other => other.to_string(),
                });
                Err(self
                    .process
                    .trouble(&format!("{how} before it answered {to}")))
            }
            None => {
                let seconds = patience.as_secs_f64();
                let problem = format!("has not answered {to} within {seconds} s");
                Err(self.process.trouble(&problem))
            }
        }
    }

    fn answer<T: serde::de::DeserializeOwned>(
        &mut self,
        stop: &Stop,
        patience: Duration,
        to: &str,
    ) -> Result<T, Halt> {
        let line = self.line(stop, patience, to)?;
        if let Ok(refusal) = serde_json::from_str::<Refusal>(&line) {
            return Err(Halt::failed(&self.name, refusal.error, refusal.mend));
        }
        serde_json::from_str(&line).map_err(|error| {
            let problem = format!(
                "has answered {to} with what is no answer ({error}): {}",
                short(&line)
            );
            self.process.trouble(&problem)
        })
    }

    fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        stop: &Stop,
        patience: Duration,
        question: &str,
    ) -> Result<T, Halt> {
        if self.process.say(question).is_err() {
            // Why is in what it says last, or in how it ended.
            return self.answer(stop, patience, question);
        }
        self.answer(stop, patience, question)
    }

    /// What is not installed: what it said last on standard error.
    fn missing(&self) -> Halt {
        let said = self.process.last_words();
        Halt::failed(&self.name, "is not installed here", said)
    }
}

/// As much of a line as a person wants to see.
fn short(line: &str) -> String {
    let mut text: String = line.chars().take(120).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text
}

/// A peer whose switch runs.
struct Session {
    name: String,
    peer: Peer,
    process: u32,
    setting: Option<String>,
    stop: Stop,
    /// Whether its packets end dropped, so that what comes is what is counted.
    dropped: bool,
}

impl Running for Session {
    fn set(&mut self, setting: &str) -> Result<(), Halt> {
        let inner = setting
            .strip_prefix(&*self.name)
            .and_then(|it| it.strip_prefix('-'));
        // It was started in its first one.
        let (Some(inner), false) = (inner, inner == self.setting.as_deref()) else {
            return Ok(());
        };
        let patience = self.peer.patience.set;
        let Done {} = self
            .peer
            .ask(&self.stop, patience, &format!("set {inner}"))?;
        self.setting = Some(inner.to_string());
        Ok(())
    }

    fn process(&self) -> u32 {
        self.process
    }

    fn read(&mut self) -> Result<Reading, Halt> {
        let asked = Instant::now();
        let counts: Counts = self.peer.ask(&self.stop, self.peer.patience.read, "read")?;
        let at = asked + asked.elapsed() / 2;
        // What is dropped is what comes.
        let sent = match (self.dropped, counts.received) {
            (true, Some(received)) => received,
            _ => counts.sent,
        };
        Ok(Reading {
            at,
            sent,
            received: counts.received,
            bytes: counts.bytes,
            own: counts.packets.zip(counts.cycles),
        })
    }

    fn settle(&mut self) -> Result<Settled, Halt> {
        let last: Final = self
            .peer
            .ask(&self.stop, self.peer.patience.end, "settle")?;
        let lost = match (last.received, last.sent) {
            (Some(received), Some(sent)) if !self.dropped => Some(received.saturating_sub(sent)),
            _ => None,
        };
        Ok(Settled {
            lost,
            ..Settled::default()
        })
    }

    fn trouble(&self, problem: &str) -> Halt {
        self.peer.process.trouble(problem)
    }

    fn stop(mut self: Box<Self>) -> Result<(), Halt> {
        let _ = self.peer.process.say("stop");
        let patience = self.peer.patience.end;
        let process = &mut self.peer.process;
        match process.leave(patience) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(process.trouble(&format!("ended with {status} after stop"))),
            None => Err(process.trouble("has not ended after stop")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::weir::tests::Nobody;
    use super::super::{Ends, testpmd};
    use super::*;
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
        let text =
            format!("#!/bin/sh\ncase $1 in describe) echo '{ABOUT}' ;; *)\n{run}\n;; esac\n");
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
        let left =
            Stop::default().wait_for(Duration::from_secs(10), || Ok((!there()).then_some(())));
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
}
