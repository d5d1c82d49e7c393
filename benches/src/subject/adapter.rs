//! A peer that is a program of its own: any executable file that knows three verbs. docs/peers.md is its contract, in full.
//!
//! ```text
//! PEER describe     one line of JSON: what it is
//! PEER run FILE     starts the switch of FILE (JSON: devices, mappings, cores), says {"ready":true}, then answers questions,
//!                   one line of JSON each: `set SETTING`, `read`, `settle`; ends after `stop`, or when its input ends
//! ```
//! What hangs is ended after its time, with everything that it started in its process group; what dies, or says what is no
//! answer, ends the run with the end of its log.

mod talk;
mod task;

use super::{Bench, Running, Settled, Subject};
use crate::halt::{Halt, Stop};
use crate::process::{self, tied};
use crate::scenario::End;
use crate::window::Reading;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use talk::{Peer, short};
use task::task;

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
mod tests;
