//! A hundred thousand flows, one a mapping: what Weir looks up in one table, and Open vSwitch in a cache of each flow that it has to learn first.
//! Both have the same source, which holds as many frames (what it costs is in both rates), and the same sink.

use super::rest;
use crate::halt::{Halt, Stop};
use crate::machine::Others;
use crate::pcap;
use crate::rounds::{Line, Plan, Rig, TRIES, Watcher, best_of_ovs, paired};
use crate::scenario::Scenario;
use crate::subject::ovs::Ovs;
use crate::subject::weir::Weir;
use crate::subject::{Ask, Bench, Ends, Running, Subject};
use crate::workload::Workload;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flows.
const FLOWS: u32 = 100_000;
/// How long the beginning is.
const FIRST: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The rate once every flow is known; not one packet of the window misses.
    Warm,
    /// Packets sent on in the first ten seconds, where nothing is known of any flow.
    Cold,
}

/// Weir ÷ Open vSwitch, round by round.
pub fn measure(
    what: What,
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Vec<f64>, Halt> {
    let load = Workload {
        mappings: FLOWS,
        ..Workload::default()
    };
    if what == What::Warm {
        return warm(plan, load, ask, stop, watcher);
    }
    let plan = plan.beside(&[]);
    let rig = Rig::set_up(&plan, ask, stop, watcher)?;
    let mut ovs = Ovs::default();
    ovs.find()?;
    let scratch = folder()?;
    let frames = scratch.path().join("frames.pcap");
    pcap::write_file(&frames, &load.frames(Scenario::NvgreEncap))?;
    let place = Place {
        rig: &rig,
        load,
        frames,
    };
    cold(&plan, &ovs, &place, watcher)
}

/// What all that is started has in common.
struct Place<'a> {
    rig: &'a Rig<'a>,
    load: Workload,
    frames: PathBuf,
}

impl Place<'_> {
    fn bench<'a>(&'a self, folder: &'a Path) -> Bench<'a> {
        let ends = Ends::Alone { pcap: &self.frames };
        let scenario = Scenario::NvgreEncap;
        self.rig.bench(scenario, self.load, folder, ends)
    }
}

fn folder() -> Result<tempfile::TempDir, Halt> {
    tempfile::tempdir().map_err(|error| Halt::io("the scratch folder", &error))
}

/// Rates of whole rounds, against the best of its settings.
fn warm(
    plan: &Plan,
    load: Workload,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Vec<f64>, Halt> {
    let plan = plan.beside(&["ovs"]);
    let rig = Rig::set_up(&plan, ask, stop, watcher)?;
    let lines = rig.rounds(Scenario::NvgreEncap, &[load], watcher)?;
    let all: Vec<&Line> = lines.iter().collect();
    let rates = |line: Option<&Line>| line.map_or(Vec::new(), Line::rates);
    let weir = rates(all.iter().copied().find(|line| line.subject == "weir"));
    let ovs = rates(best_of_ovs(&all));
    rest(paired(&weir, &ovs, |weir, ovs| weir / ovs), &plan)
}

/// What both send on from a cold start, in each round.
fn cold(
    plan: &Plan,
    ovs: &Ovs,
    place: &Place,
    watcher: &mut dyn Watcher,
) -> Result<Vec<f64>, Halt> {
    let mut ratios = Vec::new();
    for round in 0..plan.rounds {
        let title = format!("cold round {}/{}", round + 1, plan.rounds);
        let own = first(plan, &title, "weir", watcher, || {
            let folder = folder()?;
            let bench = place.bench(folder.path());
            let mut weir = Weir::new(plan.program.clone()).start(&bench)?;
            // What it sent before it was seen to be ready does not count.
            let before = weir.read()?.sent;
            let (sent, others) = beginning(weir.as_mut(), &bench)?;
            weir.stop()?;
            Ok((sent - before, others))
        })?;
        let other = first(plan, &title, "ovs", watcher, || {
            let folder = folder()?;
            let bench = place.bench(folder.path());
            // What it sent before counts.
            beginning(&mut ovs.cold(&bench)?, &bench)
        })?;
        ratios.extend(
            own.zip(other)
                .map(|(own, ovs)| own as f64 / ovs.max(1) as f64),
        );
    }
    rest(ratios, plan)
}

/// Packets sent on by the end of the beginning, and the share of it in which others had the core.
fn beginning(running: &mut dyn Running, bench: &Bench) -> Result<(u64, f64), Halt> {
    let others = Others::look(bench.core, running.process())?;
    bench.stop.sleep(FIRST)?;
    let sent = running.read()?.sent;
    let others = Others::look(bench.core, running.process())?.since(&others);
    Ok((sent, others / FIRST.as_secs_f64()))
}

/// A beginning in which others did not have the core for longer than allowed; none after some tries.
fn first(
    plan: &Plan,
    title: &str,
    name: &str,
    watcher: &mut dyn Watcher,
    mut begin: impl FnMut() -> Result<(u64, f64), Halt>,
) -> Result<Option<u64>, Halt> {
    for _ in 0..TRIES {
        watcher.doing(&format!("{title}: {name}"));
        let (sent, others) = begin()?;
        let said = format!(
            "{title}: {name} sent {sent} packets in {} s",
            FIRST.as_secs()
        );
        if 100.0 * others <= plan.bound {
            watcher.note(&said);
            return Ok(Some(sent));
        }
        watcher.note(&format!(
            "{said}, thrown away: others had the core {:.1} % of the time",
            100.0 * others
        ));
    }
    Ok(None)
}
