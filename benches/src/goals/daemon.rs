//! Goals of a whole daemon: how long it takes to load a large policy, and what memory that takes.

use crate::halt::{Halt, Stop};
use crate::machine;
use crate::pcap;
use crate::process;
use crate::rounds::{Plan, Rig, Watcher};
use crate::scenario::Scenario;
use crate::subject::weir::Weir;
use crate::subject::{Ask, Bench, Ends, Subject};
use crate::workload::{Hits, Workload};
use std::fs;

/// Mappings of a large policy, and of a small one: both have a source of as many frames, so that memory for those is the same.
const MANY: u32 = 1_000_000;
const FEW: u32 = 25_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Seconds from start until a million vNICs of policy.toml are applied.
    Load,
    /// Bytes of the process, hugepages included, a mapping.
    Memory,
}

/// Rounds of it.
pub fn measure(
    what: What,
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Vec<f64>, Halt> {
    let plan = Plan {
        peers: Vec::new(),
        ..plan.clone()
    };
    let rig = Rig::set_up(&plan, ask, stop, watcher)?;
    let one = |_| {
        let (seconds, large) = started(&rig, &plan, MANY, ask, stop)?;
        if what == What::Load {
            return Ok(seconds);
        }
        let (_, small) = started(&rig, &plan, FEW, ask, stop)?;
        Ok((large - small) / f64::from(MANY - FEW))
    };
    (0..plan.rounds).map(one).collect()
}

/// Starts a daemon with so many mappings and stops it: seconds until it was ready, bytes that it then had.
fn started(
    rig: &Rig,
    plan: &Plan,
    mappings: u32,
    ask: &dyn Ask,
    stop: &Stop,
) -> Result<(f64, f64), Halt> {
    let load = Workload {
        mappings,
        hits: Hits::Zipf,
        ..Workload::default()
    };
    let folder = tempfile::tempdir().map_err(|error| Halt::io("the scratch folder", &error))?;
    let frames = folder.path().join("frames.pcap");
    let mut file = Vec::new();
    let scenario = Scenario::NvgreEncap;
    pcap::write(&mut file, load.frames(scenario).iter().map(Vec::as_slice))
        .map_err(|error| Halt::io(frames.display(), &error))?;
    process::write(&frames, file)?;
    let (core, helper) = rig.cores();
    let bench = Bench {
        scenario,
        load,
        core,
        helper,
        huge: machine::huge(),
        folder: folder.path(),
        ends: Ends::Alone { pcap: &frames },
        stop,
        ask,
    };
    let running = Weir::new(plan.program.clone()).start(&bench)?;
    let seconds = age(running.process())?;
    let status = fs::read_to_string(format!("/proc/{}/status", running.process()));
    let status = status.map_err(|error| Halt::io("/proc/PID/status", &error))?;
    running.stop()?;
    Ok((seconds, kilobytes(&status) * 1024.0))
}

/// Seconds since a process was started: the files that it reads were written before that.
fn age(process: u32) -> Result<f64, Halt> {
    let read = |file: String| fs::read_to_string(&file).map_err(|error| Halt::io(&file, &error));
    let (uptime, stat) = (
        read("/proc/uptime".into())?,
        read(format!("/proc/{process}/stat"))?,
    );
    let now = uptime
        .split(' ')
        .next()
        .and_then(|it| it.parse::<f64>().ok());
    // The 22nd field; the second is in brackets and may have spaces in it.
    let started = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(19));
    let started = started.and_then(|ticks| ticks.parse::<f64>().ok());
    match (now, started) {
        (Some(now), Some(ticks)) => Ok(now - ticks / machine::USER_HZ),
        _ => Err(Halt::failed(
            "/proc",
            "does not say when a process was started",
            "",
        )),
    }
}

/// Resident and hugepages, by proc(5).
fn kilobytes(status: &str) -> f64 {
    let of = |head| {
        let line = status.lines().find_map(|line| line.strip_prefix(head));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
    };
    of("VmRSS:").unwrap_or(0.0) + of("HugetlbPages:").unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_resident_and_hugepages() {
        let status = "VmHWM:\t 9 kB\nVmRSS:\t    1000 kB\nHugetlbPages:\t   2048 kB\n";
        assert_eq!(kilobytes(status), 3048.0);
        let age = age(std::process::id()).unwrap();
        assert!((0.0..3600.0).contains(&age), "{age}");
    }
}
