//! `weir doctor`: what is missing on this machine, and the mend.
//!
//! Runs with or without a daemon and with or without a host.toml; what is not known is not checked. A check is broken
//! (`false`) if Weir, or what the host.toml asks for, cannot work; it warns if something works less well or a feature
//! is out of reach.

mod daemon;
mod dpdk;
mod machine;
mod nics;
mod sriov;
mod vf_uplinks;

use crate::cli::DoctorArgs;
use crate::failure::Failure;
use crate::locate;
use crate::output::Out;
use crate::verbs::waiting;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::{Path, PathBuf};
use weir_agent::config::host::HostConfig;
use weir_agent::vf::host::ThisMachine;
use weir_agent::vf::link;

/// How a check came out; `true`, `"warn"` or `false` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing to mend.
    Good,
    /// Works, less well, or something is out of reach.
    Warn,
    /// Does not work.
    Broken,
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Health::Good => serializer.serialize_bool(true),
            Health::Warn => serializer.serialize_str("warn"),
            Health::Broken => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Health {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Health, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Bool(true) => Ok(Health::Good),
            serde_json::Value::Bool(false) => Ok(Health::Broken),
            serde_json::Value::String(text) if text == "warn" => Ok(Health::Warn),
            other => Err(serde::de::Error::custom(format!(
                "{other} is neither true, false nor \"warn\""
            ))),
        }
    }
}

/// One check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Its stable name.
    pub name: String,
    /// How it came out.
    pub ok: Health,
    /// What was seen.
    pub detail: String,
    /// What to do; empty where there is nothing to do.
    pub mend: String,
}

impl Check {
    fn new(name: &str, ok: Health, detail: impl Into<String>, mend: impl Into<String>) -> Check {
        Check {
            name: name.into(),
            ok,
            detail: detail.into(),
            mend: mend.into(),
        }
    }

    fn good(name: &str, detail: impl Into<String>) -> Check {
        Check::new(name, Health::Good, detail, "")
    }

    fn warn(name: &str, detail: impl Into<String>, mend: impl Into<String>) -> Check {
        Check::new(name, Health::Warn, detail, mend)
    }

    fn broken(name: &str, detail: impl Into<String>, mend: impl Into<String>) -> Check {
        Check::new(name, Health::Broken, detail, mend)
    }
}

/// What `weir doctor -o json` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Whether nothing is broken; warnings do not count.
    pub ok: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

/// The machine as files: `/`, or in tests a folder that plays it.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The machine whose `/` is that folder.
    pub fn new(folder: impl Into<PathBuf>) -> Root {
        Root(folder.into())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// A file's text without the space around it; none if it cannot be read.
    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.path(path))
            .ok()
            .map(|text| text.trim().to_string())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The names in a folder, sorted; none if there is no such folder.
    fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// The last part of what a symbolic link points to.
    fn link(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }
}

/// Everything that can be seen without a daemon.
pub fn examine(root: &Root, host: Option<&HostConfig>) -> Vec<Check> {
    let mut checks = vec![dpdk::libraries(root)];
    checks.extend(machine::hugepages(root, host));
    checks.push(machine::capabilities(root));
    checks.push(machine::memlock(root));
    checks.push(machine::tun(root));
    checks.push(machine::iommu(root));
    checks.extend(machine::cores(root, host));
    checks.push(nics::nics(root));
    checks.push(sriov::sriov(root));
    checks.extend(nics::devices(root, host));
    checks.extend(vf_uplinks::vf_uplinks(root, host, |pf| {
        // A folder that plays the machine has no kernel to ask.
        let is_this = root.path("/") == Path::new("/");
        is_this.then(|| link::all(&ThisMachine, pf).ok()).flatten()
    }));
    checks.push(machine::tools(root, std::env::var_os("PATH")));
    checks
}

/// Runs every check and prints what it found. Fails, having said so, if anything is broken.
pub fn run(args: DoctorArgs) -> Result<(), Failure> {
    let diagnosis = waiting("looking at this machine", args.form.json(), || {
        diagnose(args.socket.as_deref(), args.host.as_deref())
    });
    let mut out = Out::stdout(args.form.json());
    if out.is_json() {
        out.json(&diagnosis)?;
    } else {
        let text = text(&diagnosis, out.is_coloured());
        out.text(&text)?;
    }
    if diagnosis.ok {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}

fn diagnose(socket: Option<&Path>, host: Option<&Path>) -> Diagnosis {
    let mut checks = Vec::new();
    let config = host.and_then(|path| match HostConfig::load(path) {
        Ok(config) => {
            checks.push(Check::good(
                "host_file",
                format!("{} is valid", path.display()),
            ));
            Some(config)
        }
        Err(errors) => {
            checks.extend(errors.iter().map(|e| {
                let line = e.line.map(|l| format!(":{l}")).unwrap_or_default();
                Check::broken(
                    "host_file",
                    format!("{}{line}: {}: {}", e.file, e.object, e.problem),
                    &e.mend,
                )
            }));
            None
        }
    });
    checks.extend(examine(&Root::new("/"), config.as_ref()));
    // --socket is the more exact word; without it a valid host.toml names the socket.
    let socket = socket.or(config.as_ref().map(|c| c.socket.as_path()));
    checks.extend(daemon::checks(locate::client(socket, None)));
    let ok = checks.iter().all(|check| check.ok != Health::Broken);
    Diagnosis { ok, checks }
}

fn text(diagnosis: &Diagnosis, colour: bool) -> String {
    let width = diagnosis
        .checks
        .iter()
        .map(|c| c.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for check in &diagnosis.checks {
        let (word, code) = match check.ok {
            Health::Good => ("ok    ", "32"),
            Health::Warn => ("warn  ", "33"),
            Health::Broken => ("broken", "1;31"),
        };
        let word = if colour {
            format!("\x1b[{code}m{word}\x1b[0m")
        } else {
            word.to_string()
        };
        text.push_str(&format!(
            "{word}  {:<width$}  {}\n",
            check.name, check.detail
        ));
        for line in check.mend.lines() {
            text.push_str(&format!("{:8}{:width$}  → {line}\n", "", ""));
        }
    }
    let count = |health| {
        diagnosis
            .checks
            .iter()
            .filter(|check| check.ok == health)
            .count()
    };
    let (broken, warnings) = (count(Health::Broken), count(Health::Warn));
    text.push_str(&match (broken, warnings) {
        (0, 0) => "nothing is missing\n".to_string(),
        (0, warnings) => format!("nothing is broken; warnings: {warnings}\n"),
        (broken, warnings) => format!("broken: {broken}; warnings: {warnings}\n"),
    });
    text
}
