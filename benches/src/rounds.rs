//! Who is measured when: A B A B, one window of each subject and setting a round, and what is thrown away.

use crate::halt::{Halt, Stop};
use crate::machine::{self, Machine};
use crate::report::{Ratio, Report, Run};
use crate::scenario::{Scenario, Workload};
use crate::spread::Spread;
use crate::subject::{self, Ask, Bench, Running, Subject, weir::Weir};
use crate::window::{Sample, measure};
use crate::{pcap, process};
use std::path::PathBuf;
use std::time::Duration;

/// How long a subject runs before its window: caches fill, the clock of the core settles.
const WARM_UP: Duration = Duration::from_secs(1);
/// How often a window is tried in a round before the round is given up.
const TRIES: usize = 4;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenarios, one after the other.
    pub scenarios: Vec<Scenario>,
    /// What is sent.
    pub load: Workload,
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
}

/// Who is told how it goes.
pub trait Watcher {
    /// A step begins.
    fn doing(&mut self, step: &str);
    /// Something worth keeping.
    fn note(&mut self, line: &str);
}

/// What is known of one subject in one setting.
struct Line {
    subject: &'static str,
    /// One a round that counts, in step with every other line.
    samples: Vec<Sample>,
    thrown_away: u32,
}

/// Measures everything in the plan. Whatever was started is stopped, the scratch folder removed, however it ends.
pub fn run(
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Report, Halt> {
    if !rustix::process::geteuid().is_root() {
        let mend = "run it as root, such as with sudo: it takes hugepages and a network namespace";
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
    let mut report = Report {
        machine: Machine::look(core),
        ..Report::default()
    };
    report.machine.ovs = subjects.iter().find_map(|subject| subject.version());
    if helper == core {
        watcher.note("there is one core only: everything else runs on the measured one, too");
    }
    let scratch = tempfile::Builder::new().prefix("weir-bench-").tempdir();
    let scratch = scratch.map_err(|error| Halt::io("the scratch folder", &error))?;
    let frames = scratch.path().join("frames.pcap");
    let mut file = Vec::new();
    let written = pcap::write(&mut file, plan.load.frames().iter().map(Vec::as_slice));
    written.map_err(|error| Halt::io(frames.display(), &error))?;
    process::write(&frames, file)?;

    for scenario in &plan.scenarios {
        let mut bench = Bench {
            scenario: *scenario,
            load: plan.load,
            core,
            helper,
            huge: machine::huge(),
            folder: scratch.path(),
            pcap: &frames,
            stop,
            ask,
        };
        let lines = rounds(plan, &subjects, &mut bench, watcher)?;
        report.runs.extend(
            lines
                .iter()
                .filter_map(|line| line.run(plan, *scenario, report.machine.tsc_hz)),
        );
        report.ratios.extend(ratios(*scenario, &lines));
    }
    Ok(report)
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

/// Rounds until enough count.
fn rounds(
    plan: &Plan,
    subjects: &[Box<dyn Subject>],
    bench: &mut Bench,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Line>, Halt> {
    let names = subjects.iter().flat_map(|subject| subject.settings());
    let line = |subject: &&'static str| Line {
        subject,
        samples: Vec::new(),
        thrown_away: 0,
    };
    let mut lines: Vec<Line> = names.map(line).collect();
    let (scratch, most) = (bench.folder, 2 * plan.rounds);
    let mut counted = 0;
    for attempt in 1..=most {
        let title = format!(
            "{} round {}/{}",
            bench.scenario.name(),
            counted + 1,
            plan.rounds
        );
        let mut taken: Vec<Sample> = Vec::new();
        for subject in subjects {
            let folder = tempfile::tempdir_in(scratch)
                .map_err(|error| Halt::io(scratch.display(), &error))?;
            let alone = Bench {
                folder: folder.path(),
                ..*bench
            };
            let from = taken.len();
            let done = one(
                plan,
                subject.as_ref(),
                &alone,
                &mut lines[from..],
                &title,
                watcher,
            )?;
            taken.extend(done);
            if taken.len() < from + subject.settings().len() {
                break;
            }
        }
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
        settings.first().unwrap_or(&"")
    ));
    let mut running = subject.start(bench)?;
    for (setting, line) in settings.iter().zip(lines) {
        watcher.doing(&format!("{title}: measuring {setting}"));
        running.set(setting)?;
        bench.stop.sleep(WARM_UP)?;
        let Some(sample) = clean(plan, running.as_mut(), bench, line, title, watcher)? else {
            break;
        };
        samples.push(sample);
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
        let sample = measure(running, bench.core, plan.window, bench.stop)?;
        running.judge(&sample)?;
        let said = format!("{title}: {} {:.2} Mpps", line.subject, sample.pps / 1e6);
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
    fn rates(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.pps).collect()
    }

    fn run(&self, plan: &Plan, scenario: Scenario, tsc_hz: u64) -> Option<Run> {
        let own: Vec<f64> = self
            .samples
            .iter()
            .filter_map(|sample| sample.own_cycles)
            .collect();
        Some(Run {
            scenario: scenario.name().to_string(),
            subject: self.subject.to_string(),
            mappings: plan.load.mappings,
            frame: plan.load.frame,
            mpps: Spread::of(self.rates().iter().map(|pps| pps / 1e6), 3)?,
            cycles: Spread::of(self.rates().iter().map(|pps| tsc_hz as f64 / pps), 1)?,
            own_cycles: Spread::of(own, 1),
            rounds: self.samples.len(),
            thrown_away: self.thrown_away,
        })
    }

    /// Its median rate.
    fn rate(&self) -> f64 {
        Spread::of(self.rates(), 0).map_or(0.0, |spread| spread.median)
    }
}

/// Weir's rate against each other one's. Of a peer with settings, the best one counts.
fn ratios(scenario: Scenario, lines: &[Line]) -> Vec<Ratio> {
    let Some((weir, others)) = lines.split_first() else {
        return Vec::new();
    };
    let of_ovs = |line: &&Line| line.subject.starts_with("ovs");
    let best = others
        .iter()
        .filter(of_ovs)
        .max_by(|a, b| a.rate().total_cmp(&b.rate()));
    let plain = others
        .iter()
        .filter(|line| !of_ovs(line))
        .map(|line| (line.subject, line));
    let ratio = |(name, line): (&str, &Line)| {
        let spread = Spread::of_ratios(&weir.rates(), &line.rates())?;
        Some(Ratio {
            name: format!("{} weir/{name}", scenario.name()),
            value: spread.median,
            min: spread.min,
            max: spread.max,
            against: line.subject.to_string(),
        })
    };
    plain
        .chain(best.map(|line| ("ovs", line)))
        .filter_map(ratio)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(subject: &'static str, rates: &[f64]) -> Line {
        let sample = |pps: &f64| Sample {
            pps: *pps,
            own_cycles: None,
            lost: None,
            bytes: None,
            others: 0.0,
        };
        Line {
            subject,
            samples: rates.iter().map(sample).collect(),
            thrown_away: 0,
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
        let ratios = ratios(Scenario::NvgreEncap, &lines);
        let names: Vec<(&str, &str, f64)> = ratios
            .iter()
            .map(|ratio| (&*ratio.name, &*ratio.against, ratio.value))
            .collect();
        assert_eq!(
            names,
            [
                ("nvgre-encap weir/testpmd-mac", "testpmd-mac", 0.5),
                ("nvgre-encap weir/ovs", "ovs-emc", 5.0)
            ]
        );
    }

    #[test]
    fn a_core_that_is_not_there_is_refused_with_those_that_are() {
        let halt = cores(Some(4095)).unwrap_err().to_string();
        assert!(halt.contains("4095") && halt.contains("[0"), "{halt}");
    }
}
