//! Who is measured when: A B A B, one window of each subject and setting a round, and what is thrown away.

mod line;

use crate::halt::{Halt, Stop};
use crate::machine::{self, Machine};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::subject::{self, Ask, Bench, Ends, Running, Settled, Subject, weir::Weir};
use crate::window::{Sample, measure_with};
use crate::workload::Workload;
use crate::{pcap, stages};
pub use line::{FLOOR, Line, best_of_ovs, paired};
use line::{ratios, slowed};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How long a subject runs before its window, at most: caches fill, the clock of the core settles. A short window has a short one.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);
/// How often a window is tried in a round before the round is given up.
pub(crate) const TRIES: usize = 4;

/// What is to be measured.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The scenarios, one after the other.
    pub scenarios: Vec<Scenario>,
    /// What is sent: each of these in every round.
    pub loads: Vec<Workload>,
    /// Rounds that must count.
    pub rounds: usize,
    /// The length of a window.
    pub window: Duration,
    /// Peers by name, from [`subject::PEERS`].
    pub peers: Vec<String>,
    /// The core that is measured on; the last that this process may use, if it is not named.
    pub core: Option<u32>,
    /// Percent of a window that others may have the core; a window with more is thrown away.
    pub bound: f64,
    /// The file of `weir`.
    pub program: PathBuf,
    /// Whether the cost of each stage is measured besides.
    pub stages: bool,
}

impl Plan {
    /// The same beside these peers and no others.
    pub(crate) fn beside(&self, peers: &[&str]) -> Plan {
        Plan {
            peers: peers.iter().map(ToString::to_string).collect(),
            ..self.clone()
        }
    }
}

/// Who is told how it goes.
pub trait Watcher {
    /// A step begins.
    fn doing(&mut self, step: &str);
    /// Something worth keeping.
    fn note(&mut self, line: &str);
}

/// Measures everything in the plan. Whatever was started is stopped, the scratch folder removed, however it ends.
pub fn run(
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Report, Halt> {
    let rig = Rig::set_up(plan, ask, stop, watcher)?;
    let mut report = Report {
        machine: rig.machine.clone(),
        ..Report::default()
    };
    let hz = rig.machine.tsc_hz as f64;
    for scenario in &plan.scenarios {
        let lines = rig.rounds(*scenario, &plan.loads, watcher)?;
        let runs = lines.iter().filter_map(|line| line.run(*scenario, hz));
        report.runs.extend(runs);
        for load in &plan.loads {
            let of: Vec<&Line> = lines.iter().filter(|line| line.load == *load).collect();
            report.ratios.extend(ratios(*scenario, load, &of, hz));
            report.ratios.extend(slowed(*scenario, load, &lines));
        }
        if plan.stages {
            for case in rig.cases(*scenario, &plan.loads)? {
                let folder = rig.folder()?;
                let ends = Ends::Alone { pcap: &case.pcap };
                let bench = rig.bench(*scenario, case.load, folder.path(), ends);
                let costs = stages::measure(plan, &bench, watcher)?;
                report.stages.extend(costs);
            }
        }
    }
    Ok(report)
}

/// What rounds need: the cores, the subjects, the machine, a place for files that is removed at the end.
pub struct Rig<'a> {
    plan: &'a Plan,
    ask: &'a dyn Ask,
    stop: &'a Stop,
    subjects: Vec<Box<dyn Subject>>,
    core: u32,
    helper: u32,
    scratch: TempDir,
    /// The machine.
    pub machine: Machine,
}

/// A load with its source's file.
struct Case {
    load: Workload,
    pcap: PathBuf,
}

impl<'a> Rig<'a> {
    /// Looks for everything that is needed.
    pub fn set_up(
        plan: &'a Plan,
        ask: &'a dyn Ask,
        stop: &'a Stop,
        watcher: &mut dyn Watcher,
    ) -> Result<Rig<'a>, Halt> {
        if !rustix::process::geteuid().is_root() {
            let mend =
                "run it as root, such as with sudo: it takes hugepages and a network namespace";
            return Err(Halt::failed("bench", "needs root", mend));
        }
        let (core, helper) = cores(plan.core)?;
        let mut subjects: Vec<Box<dyn Subject>> = vec![Box::new(Weir::new(plan.program.clone()))];
        for name in &plan.peers {
            let found = subject::peer(name);
            subjects.extend(
                found.ok_or_else(|| Halt::failed("bench", format!("knows no peer {name}"), ""))?,
            );
        }
        for subject in &mut subjects {
            subject.find()?;
        }
        watcher.doing("looking at the machine");
        let mut machine = Machine::look(core);
        machine.ovs = subjects.iter().find_map(|subject| subject.version());
        machine.peers = subjects.iter().filter_map(|it| it.peer_version()).collect();
        if helper == core {
            watcher.note("there is one core only: everything else runs on the measured one, too");
        }
        let scratch = tempfile::Builder::new().prefix("weir-bench-").tempdir();
        Ok(Rig {
            plan,
            ask,
            stop,
            subjects,
            core,
            helper,
            scratch: scratch.map_err(|error| Halt::io("the scratch folder", &error))?,
            machine,
        })
    }

    /// The core that is measured on, and the one for everything else.
    pub fn cores(&self) -> (u32, u32) {
        (self.core, self.helper)
    }

    /// What is measured: Weir first.
    pub(crate) fn subjects(&self) -> &[Box<dyn Subject>] {
        &self.subjects
    }

    /// The files of the sources.
    fn cases(&self, scenario: Scenario, loads: &[Workload]) -> Result<Vec<Case>, Halt> {
        let case = |(number, load): (usize, &Workload)| {
            let path = self.scratch.path().join(format!("frames{number}.pcap"));
            pcap::write_file(&path, &load.frames(scenario))?;
            Ok(Case {
                load: *load,
                pcap: path,
            })
        };
        loads.iter().enumerate().map(case).collect()
    }

    /// Who is measured under a load: mappings move in Weir alone, which is the first.
    fn under(&self, load: &Workload) -> &[Box<dyn Subject>] {
        match load.updates {
            0 => &self.subjects,
            _ => self.subjects.get(..1).unwrap_or_default(),
        }
    }

    /// An empty folder for one life of a subject.
    pub(crate) fn folder(&self) -> Result<TempDir, Halt> {
        tempfile::tempdir_in(self.scratch.path())
            .map_err(|error| Halt::io(self.scratch.path().display(), &error))
    }

    /// What a subject is started with.
    pub(crate) fn bench<'b>(
        &'b self,
        scenario: Scenario,
        load: Workload,
        folder: &'b Path,
        ends: Ends<'b>,
    ) -> Bench<'b> {
        Bench {
            scenario,
            load,
            core: self.core,
            helper: self.helper,
            huge: machine::huge(),
            folder,
            ends,
            stop: self.stop,
            ask: self.ask,
        }
    }

    /// Rounds until enough count. Every round holds a window of each load, subject and setting.
    pub fn rounds(
        &self,
        scenario: Scenario,
        loads: &[Workload],
        watcher: &mut dyn Watcher,
    ) -> Result<Vec<Line>, Halt> {
        let plan = self.plan;
        let cases = self.cases(scenario, loads)?;
        let mut lines = Vec::new();
        for case in &cases {
            let names = self
                .under(&case.load)
                .iter()
                .flat_map(|subject| subject.settings());
            lines.extend(names.map(|subject| Line {
                subject,
                load: case.load,
                samples: Vec::new(),
                thrown_away: 0,
                settled: Settled::default(),
            }));
        }
        let most = 2 * plan.rounds;
        let mut counted = 0;
        for attempt in 1..=most {
            let title = format!("{} round {}/{}", scenario.name(), counted + 1, plan.rounds);
            let taken = self.round(scenario, &cases, &mut lines, &title, watcher)?;
            if taken.len() < lines.len() {
                watcher.note(&format!(
                    "{title}: given up, others had the core too often (attempt {attempt} of {most})"
                ));
                continue;
            }
            for (line, sample) in lines.iter_mut().zip(taken) {
                line.samples.push(sample);
            }
            counted += 1;
            if counted == plan.rounds {
                return Ok(lines);
            }
        }
        let thrown: u32 = lines.iter().map(|line| line.thrown_away).sum();
        if counted == 0 {
            return Err(Halt::failed(
                "bench",
                format!(
                    "no round counts: in {thrown} windows others had the core for more than {} % of the time",
                    plan.bound
                ),
                "measure when the machine is quiet, or allow more with --disturbed",
            ));
        }
        watcher.note(&format!(
            "only {counted} of {} rounds count: {thrown} windows were thrown away",
            plan.rounds
        ));
        Ok(lines)
    }

    /// One round; fewer samples than lines if it is given up.
    fn round(
        &self,
        scenario: Scenario,
        cases: &[Case],
        lines: &mut [Line],
        title: &str,
        watcher: &mut dyn Watcher,
    ) -> Result<Vec<Sample>, Halt> {
        let mut taken: Vec<Sample> = Vec::new();
        for case in cases {
            for subject in self.under(&case.load) {
                let folder = self.folder()?;
                let ends = Ends::Alone { pcap: &case.pcap };
                let bench = self.bench(scenario, case.load, folder.path(), ends);
                let from = taken.len();
                let own = &mut lines[from..];
                let done = one(self.plan, subject.as_ref(), &bench, own, title, watcher)?;
                taken.extend(done);
                if taken.len() < from + subject.settings().len() {
                    return Ok(taken);
                }
            }
        }
        Ok(taken)
    }
}

/// The core that is measured on, and one for everything else: another one, if there is one.
fn cores(wanted: Option<u32>) -> Result<(u32, u32), Halt> {
    let usable = weir_agent::config::host::usable_cores();
    let core = wanted.or_else(|| usable.last().copied()).unwrap_or(0);
    if !usable.contains(&core) {
        let mend = format!("this process may use {usable:?}");
        return Err(Halt::failed(
            "--core",
            format!("there is no core {core} to use"),
            mend,
        ));
    }
    let helper = usable.iter().copied().find(|other| *other != core);
    Ok((core, helper.unwrap_or(core)))
}

/// One subject's part of a round: started, measured in each of its settings, stopped. Fewer samples than settings:
/// others had the core each time.
fn one(
    plan: &Plan,
    subject: &dyn Subject,
    bench: &Bench,
    lines: &mut [Line],
    title: &str,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Sample>, Halt> {
    let mut samples = Vec::new();
    let settings = subject.settings();
    watcher.doing(&format!(
        "{title}: starting {}",
        settings.first().map_or("", |name| name)
    ));
    let mut running = subject.start(bench)?;
    for (setting, line) in settings.iter().zip(&mut *lines) {
        watcher.doing(&format!("{title}: measuring {setting}"));
        running.set(setting)?;
        bench.stop.sleep(WARM_UP.min(plan.window))?;
        let Some(sample) = clean(plan, running.as_mut(), bench, line, title, watcher)? else {
            break;
        };
        samples.push(sample);
    }
    let settled = running.settle()?;
    for line in lines.iter_mut().take(settings.len()) {
        line.settled.add(&settled);
    }
    running.stop()?;
    Ok(samples)
}

/// A window in which others did not have the core for longer than allowed; none after some tries.
fn clean(
    plan: &Plan,
    running: &mut dyn Running,
    bench: &Bench,
    line: &mut Line,
    title: &str,
    watcher: &mut dyn Watcher,
) -> Result<Option<Sample>, Halt> {
    for _ in 0..TRIES {
        let updates = bench.load.updates;
        let sample = measure_with(updates, running, bench.core, plan.window, bench.stop)?;
        running.judge(&sample)?;
        let (subject, load, mpps) = (&line.subject, line.load, sample.pps / 1e6);
        let said = format!(
            "{title}: {subject}, {} mappings, {} bytes{}: {mpps:.2} Mpps",
            load.mappings,
            load.frame,
            match updates {
                0 => String::new(),
                _ => format!(", {updates} updates/s"),
            }
        );
        let others = 100.0 * sample.others;
        if others <= plan.bound {
            watcher.note(&said);
            return Ok(Some(sample));
        }
        line.thrown_away += 1;
        watcher.note(&format!(
            "{said}, thrown away: others had the core {others:.1} % of the time"
        ));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_is_not_there_is_refused_with_those_that_are() {
        let halt = cores(Some(4095)).unwrap_err().to_string();
        assert!(halt.contains("4095") && halt.contains("[0"), "{halt}");
    }
}
