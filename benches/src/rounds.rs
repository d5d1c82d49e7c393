//! Who is measured when: A B A B, one window of each subject and setting a round, and what is thrown away.

use crate::halt::{Halt, Stop};
use crate::machine::{self, Machine};
use crate::report::{Ratio, Report, Run, Updated};
use crate::scenario::Scenario;
use crate::spread::{Spread, interval};
use crate::subject::{self, Ask, Bench, Ends, Running, Settled, Subject, weir::Weir};
use crate::window::{Sample, measure_with};
use crate::workload::{FRAMES_MOST, Hits, Workload};
use crate::{pcap, process, stages};
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

/// Who is told how it goes.
pub trait Watcher {
    /// A step begins.
    fn doing(&mut self, step: &str);
    /// Something worth keeping.
    fn note(&mut self, line: &str);
}

/// What is known of one subject in one setting under one load.
pub struct Line {
    /// The subject, with its setting.
    pub subject: String,
    /// What was sent.
    pub load: Workload,
    /// One a round that counts, in step with every other line.
    samples: Vec<Sample>,
    thrown_away: u32,
    /// Packets lost in all of the subject's lives, and its tables at the end of the last.
    settled: Settled,
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
                let bench = rig.bench(*scenario, &case, folder.path());
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
            let mut file = Vec::new();
            let frames = load.frames(scenario);
            pcap::write(&mut file, frames.iter().map(Vec::as_slice))
                .map_err(|error| Halt::io(path.display(), &error))?;
            process::write(&path, file)?;
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
    fn bench<'b>(&'b self, scenario: Scenario, case: &'b Case, folder: &'b Path) -> Bench<'b> {
        Bench {
            scenario,
            load: case.load,
            core: self.core,
            helper: self.helper,
            huge: machine::huge(),
            folder,
            ends: Ends::Alone { pcap: &case.pcap },
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
                let bench = self.bench(scenario, case, folder.path());
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

impl Line {
    /// Packets a second, one a round.
    pub fn rates(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.pps).collect()
    }

    /// Cycles a packet, one a round.
    pub fn cycles(&self, hz: f64) -> Vec<f64> {
        self.samples.iter().map(|sample| hz / sample.pps).collect()
    }

    fn run(&self, scenario: Scenario, hz: f64) -> Option<Run> {
        let own = self.samples.iter().filter_map(|sample| sample.own_cycles);
        let mpps: Vec<f64> = self.rates().iter().map(|pps| pps / 1e6).collect();
        Some(Run {
            scenario: scenario.name().to_string(),
            subject: self.subject.clone(),
            mappings: self.load.mappings,
            flows: self.load.flows,
            hits: self.load.hits,
            source: source(&self.load),
            frame: self.load.frame,
            mpps: Spread::of(mpps.iter().copied(), 3)?,
            cycles: Spread::of(self.cycles(hz), 1)?,
            own_cycles: Spread::of(own, 1),
            latency_us: None,
            search: None,
            rates: mpps.iter().map(|mpps| (mpps * 1e3).round() / 1e3).collect(),
            rounds: self.samples.len(),
            thrown_away: self.thrown_away,
            lost_packets: self.settled.lost,
            table_bytes: self.settled.table_bytes.map(|bytes| {
                let each = bytes as f64 / f64::from(self.load.mappings.max(1));
                (each * 10.0).round() / 10.0
            }),
            allocations: self.samples.iter().map(|sample| sample.allocations).sum(),
            updates: self.load.updates,
            updated: self.updated(),
        })
    }

    fn updated(&self) -> Option<Updated> {
        let updates = || self.samples.iter().filter_map(|sample| sample.updates);
        Some(Updated {
            per_second: Spread::of(updates().map(|it| it.per_second), 0)?,
            visible_p99_us: Spread::of(updates().map(|it| it.changes.visible.p99_us), 1)?,
            reclaimed_p99_us: Spread::of(updates().map(|it| it.changes.reclaimed.p99_us), 1)?,
        })
    }

    /// Its median rate.
    fn rate(&self) -> f64 {
        Spread::of(self.rates(), 0).map_or(0.0, |spread| spread.median)
    }
}

/// What a reader must know of the source: one that holds fewer frames than there are mappings meets a sample of them only, whose
/// entries stay in the caches.
fn source(load: &Workload) -> String {
    let all = u64::from(load.mappings) * u64::from(load.flows);
    let sample = match load.hits {
        Hits::Zipf => " drawn",
        _ if all > FRAMES_MOST => " (a sample)",
        _ => "",
    };
    format!("net_pcap, {} frames{sample}", load.count())
}

/// Weir's rate against each other one's, and what both cost beyond testpmd. Of a peer with settings, the best one counts.
fn ratios(scenario: Scenario, load: &Workload, lines: &[&Line], hz: f64) -> Vec<Ratio> {
    let Some((weir, others)) = lines.split_first() else {
        return Vec::new();
    };
    let ratio = |name: String, against: &str, values: Vec<f64>| {
        let spread = Spread::of(values.iter().copied(), 3)?;
        Some(Ratio {
            name: format!("{} {name}", scenario.name()),
            mappings: load.mappings,
            frame: load.frame,
            value: spread.median,
            min: spread.min,
            max: spread.max,
            interval: interval(&values),
            against: against.to_string(),
        })
    };
    let best = best_of_ovs(others);
    let plain = others.iter().filter(|line| !is_ovs(line));
    let against = plain
        .map(|line| (&*line.subject, *line))
        .chain(best.map(|line| ("ovs", line)));
    let mut all: Vec<Ratio> = against
        .filter_map(|(name, line)| {
            let values = paired(&weir.rates(), &line.rates(), |a, b| a / b);
            ratio(format!("weir/{name}"), &line.subject, values)
        })
        .collect();
    if let Some(floor) = others.iter().find(|line| line.subject == FLOOR) {
        let floor = floor.cycles(hz);
        let beyond = |line: &Line| paired(&line.cycles(hz), &floor, |own, floor| own - floor);
        let own = paired(&beyond(weir), &floor, |own, floor| own / floor);
        all.extend(ratio(format!("weir beyond {FLOOR}, of it"), FLOOR, own));
        if let Some(best) = best {
            let values = paired(&beyond(best), &beyond(weir), |ovs, weir| ovs / weir);
            all.extend(ratio(
                format!("ovs/weir beyond {FLOOR}"),
                &best.subject,
                values,
            ));
        }
    }
    all
}

/// The rate while mappings move against the rate while none does, where both were measured.
fn slowed(scenario: Scenario, load: &Workload, lines: &[Line]) -> Option<Ratio> {
    let still = Workload {
        updates: 0,
        ..*load
    };
    let moving = lines.iter().find(|line| line.load == *load);
    let moving = moving.filter(|_| load.updates > 0)?;
    let same = |line: &&Line| (&line.subject, line.load) == (&moving.subject, still);
    let still = lines.iter().find(same)?;
    let values = paired(&moving.rates(), &still.rates(), |a, b| a / b);
    let spread = Spread::of(values.iter().copied(), 3)?;
    Some(Ratio {
        name: format!(
            "{} weir, {} updates/s against none",
            scenario.name(),
            load.updates
        ),
        mappings: load.mappings,
        frame: load.frame,
        value: spread.median,
        min: spread.min,
        max: spread.max,
        interval: interval(&values),
        against: still.subject.clone(),
    })
}

/// What every switch costs at the least.
pub const FLOOR: &str = "testpmd-mac";

/// Round by round.
pub fn paired(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| of(*a, *b)).collect()
}

fn is_ovs(line: &Line) -> bool {
    line.subject.starts_with("ovs")
}

/// Open vSwitch at its best.
pub fn best_of_ovs<'a>(lines: &[&'a Line]) -> Option<&'a Line> {
    let ovs = lines.iter().copied().filter(|line| is_ovs(line));
    ovs.max_by(|a, b| a.rate().total_cmp(&b.rate()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(subject: &str, rates: &[f64]) -> Line {
        let sample = |pps: &f64| Sample {
            pps: *pps,
            own_cycles: None,
            lost: None,
            bytes: None,
            others: 0.0,
            allocations: None,
            updates: None,
        };
        Line {
            subject: subject.to_string(),
            load: Workload::default(),
            samples: rates.iter().map(sample).collect(),
            thrown_away: 0,
            settled: Settled::default(),
        }
    }

    #[test]
    fn ovs_counts_by_the_best_of_its_settings() {
        let lines = [
            line("weir", &[20e6, 10e6, 30e6]),
            line("testpmd-mac", &[40e6, 20e6, 60e6]),
            line("ovs-emc", &[4e6, 2e6, 6e6]),
            line("ovs-smc", &[5e6, 1e6, 3e6]),
        ];
        let lines: Vec<&Line> = lines.iter().collect();
        let load = Workload::default();
        let ratios = ratios(Scenario::NvgreEncap, &load, &lines, 2e9);
        let names: Vec<(&str, &str, f64)> = ratios
            .iter()
            .map(|ratio| (&*ratio.name, &*ratio.against, ratio.value))
            .collect();
        // Cycles of the rounds: weir 100, 200, 66.7; floor 50, 100, 33.3; ovs-emc 500, 1000, 333.3.
        assert_eq!(
            names,
            [
                ("nvgre-encap weir/testpmd-mac", "testpmd-mac", 0.5),
                ("nvgre-encap weir/ovs", "ovs-emc", 5.0),
                (
                    "nvgre-encap weir beyond testpmd-mac, of it",
                    "testpmd-mac",
                    1.0
                ),
                ("nvgre-encap ovs/weir beyond testpmd-mac", "ovs-emc", 9.0),
            ]
        );
        assert_eq!(ratios[0].interval, None, "three rounds are too few");
    }

    #[test]
    fn what_updates_cost_is_of_weir_with_and_without_them() {
        let still = line("weir", &[20e6, 10e6, 30e6]);
        let mut moving = line("weir", &[19e6, 9.7e6, 27e6]);
        moving.load.updates = 1000;
        let load = moving.load;
        let peer = line("testpmd-mac", &[1.0; 3]);
        let lines = [still, peer, moving];
        assert_eq!(slowed(Scenario::NvgreEncap, &load, &lines[1..]), None);
        let ratio = slowed(Scenario::NvgreEncap, &load, &lines).unwrap();
        assert_eq!((ratio.value, ratio.min, ratio.max), (0.95, 0.9, 0.97));
        assert_eq!(
            slowed(Scenario::NvgreEncap, &Workload::default(), &lines),
            None
        );
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_with_those_that_are() {
        let halt = cores(Some(4095)).unwrap_err().to_string();
        assert!(halt.contains("4095") && halt.contains("[0"), "{halt}");
    }
}
