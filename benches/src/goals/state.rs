//! Goals of a whole daemon: how long it takes from its start until packets of a host with many mappings go on, and what
//! memory that takes.

use crate::halt::{Halt, Stop};
use crate::machine;
use crate::rounds::{Plan, Rig, Watcher};
use crate::scenario::Scenario;
use crate::subject::weir::Weir;
use crate::subject::{Ask, Bench, Ends, Running, Subject};
use crate::workload::Workload;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Mappings of a large policy, and of a small one to take away what a daemon takes besides.
const MANY: u32 = 1_000_000;
const FEW: u32 = 1_000;
/// Mappings that are read from the last good state.
const KEPT: u32 = 10_000_000;
/// How long it may take from the end of loading to the first packet.
const FIRST_PACKET: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Seconds from the process's start until the first packet has gone on, with a million vNICs in policy.toml.
    Load,
    /// The same with ten million in the last good state, and the store away.
    LoadKept,
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
    let plan = plan.beside(&[]);
    let rig = Rig::set_up(&plan, ask, stop, watcher)?;
    let folder = tempfile::tempdir().map_err(|error| Halt::io("the scratch folder", &error))?;
    let bench = |mappings| bench(&rig, mappings, folder.path());
    let weir = Weir::new(plan.program.clone());
    if what == What::LoadKept {
        // Once, and outside of what is measured.
        weir.keep(&bench(KEPT))?;
    }
    let one = |_| match what {
        What::Load => Ok(went(weir.start(&bench(MANY))?, stop)?.0),
        What::LoadKept => Ok(went(weir.start_kept(&bench(KEPT))?, stop)?.0),
        What::Memory => {
            let (_, large) = went(weir.start(&bench(MANY))?, stop)?;
            let (_, small) = went(weir.start(&bench(FEW))?, stop)?;
            Ok((large - small) / f64::from(MANY - FEW))
        }
    };
    (0..plan.rounds).map(one).collect()
}

/// NVGRE from one VM here to so many elsewhere, by a source that holds no frames, so that memory is the daemon's own.
fn bench<'a>(rig: &'a Rig, mappings: u32, folder: &'a Path) -> Bench<'a> {
    let load = Workload {
        mappings,
        ..Workload::default()
    };
    rig.bench(Scenario::NvgreEncap, load, folder, Ends::Stamped)
}

/// Seconds from a daemon's start until a packet has left it, and the bytes that it then has. Stops it.
fn went(mut running: Box<dyn Running + '_>, stop: &Stop) -> Result<(f64, f64), Halt> {
    let process = running.process();
    let first = stop.wait_for(
        FIRST_PACKET,
        || Ok((running.read()?.sent > 0).then_some(())),
    )?;
    if first.is_none() {
        return Err(running.trouble("sends nothing"));
    }
    let seconds = age(process)?;
    let status = fs::read_to_string(format!("/proc/{process}/status"));
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
