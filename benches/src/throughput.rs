//! Throughput and latency of a switch between two ports of the rig's own: `weir bench search` and `weir bench rfc2544`.
//!
//! A round starts each subject in turn, searches it for NDR and PDR ([`search`](crate::search)), takes latencies at a share
//! of what was found, and stops it: A B A B, as with everything here. RFC 9971 wants deviations from RFC 2544 said: there is
//! no wait of seconds around a trial, trials are as long as the plan says, traffic is in one direction, and the switch's
//! tables are filled (and what it learns, learnt) by a warm-up before the search.

pub mod between;
mod lines;
mod searched;

use crate::halt::{Halt, Stop};
use crate::report::Report;
use crate::rounds::{Plan, Rig, Watcher};
use crate::scenario::Scenario;
use crate::search::Goal;
use crate::subject::Ask;
use crate::traffic::Tester;
use crate::workload::Workload;
pub use between::Over;
use between::{Between, Devices, bench, check};
pub use lines::latency;
use lines::{Line, ratios, said};
use searched::{Round, searched};
pub use searched::{order, throughput, warm_up};

/// The frame lengths of RFC 2544 §9.1 for Ethernet.
pub const RFC2544_FRAMES: [u16; 7] = [64, 128, 256, 512, 1024, 1280, 1518];

/// How throughput is searched for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Between the rig and what it starts.
    pub over: Over,
    /// Instead: the rig's ports, on both sides of a switch that the user has started, and what he calls it.
    pub ports: Option<([String; 2], String)>,
    /// The goals: NDR, then PDR.
    pub goals: [Goal; 2],
    /// Share of PDR at which latency is taken.
    pub latency_at: f64,
    /// Seconds for which it is taken.
    pub latency_seconds: f64,
    /// No more packets a second than that.
    pub max: Option<f64>,
    /// Whether loss is measured at ten loads, too (RFC 2544 §26.3).
    pub loss: bool,
}

impl Default for Wish {
    /// As MLRsearch recommends, with trials of a second: half of a load's trials may exceed NDR (no loss), or PDR (0.5%).
    fn default() -> Wish {
        let ndr = Goal {
            loss_ratio: 0.0,
            exceed_ratio: 0.5,
            width: 0.01,
            initial_seconds: 0.1,
            final_seconds: 1.0,
            sum_seconds: 3.0,
        };
        let pdr = Goal {
            loss_ratio: 0.005,
            ..ndr
        };
        Wish {
            over: Over::Memif,
            ports: None,
            goals: [ndr, pdr],
            latency_at: 0.5,
            latency_seconds: 1.0,
            max: None,
            loss: false,
        }
    }
}

/// Searches everything in the plan. Whatever was started is stopped, however it ends.
pub fn run(
    plan: &Plan,
    wish: &Wish,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Report, Halt> {
    for (scenario, load) in plan
        .scenarios
        .iter()
        .flat_map(|it| plan.loads.iter().map(move |load| (it, load)))
    {
        check(*scenario, load, wish.over, &plan.peers)?;
    }
    let rig = Rig::set_up(plan, ask, stop, watcher)?;
    let tester = tester(&rig, wish)?;
    let mut report = Report {
        machine: rig.machine.clone(),
        ..Report::default()
    };
    let hz = rig.machine.tsc_hz as f64;
    for scenario in &plan.scenarios {
        let mut lines: Vec<Line> = Vec::new();
        for load in &plan.loads {
            for round in 1..=plan.rounds {
                let title = format!(
                    "{} {} bytes, round {round}/{}",
                    scenario.name(),
                    load.frame,
                    plan.rounds
                );
                let one = Subjects {
                    plan,
                    wish,
                    rig: &rig,
                    tester: &tester,
                    ask,
                    stop,
                };
                one.round(*scenario, *load, &title, &mut lines, watcher)?;
            }
        }
        report
            .runs
            .extend(lines.iter().map(|line| line.run(*scenario, wish, hz)));
        for load in &plan.loads {
            let of: Vec<&Line> = lines.iter().filter(|line| line.load == *load).collect();
            report.ratios.extend(ratios(*scenario, load, &of));
        }
    }
    Ok(report)
}

/// DPDK in this process, on the core that the subjects do not have.
pub fn tester(rig: &Rig, wish: &Wish) -> Result<Tester, Halt> {
    let huge = crate::machine::huge();
    if wish.over == Over::Vhost && wish.ports.is_none() && !huge {
        let mend = "reserve some (weir doctor says how), or measure over memif";
        return Err(Halt::failed("--over vhost", "needs free hugepages", mend));
    }
    let devices: Vec<&str> = wish
        .ports
        .iter()
        .flat_map(|(devices, _)| devices.iter().map(String::as_str))
        .collect();
    Tester::start(rig.cores().1, huge, &devices)
}

/// Who is searched, and by whom.
struct Subjects<'a> {
    plan: &'a Plan,
    wish: &'a Wish,
    rig: &'a Rig<'a>,
    tester: &'a Tester,
    ask: &'a dyn Ask,
    stop: &'a Stop,
}

impl Subjects<'_> {
    fn round(
        &self,
        scenario: Scenario,
        load: Workload,
        title: &str,
        lines: &mut Vec<Line>,
        watcher: &mut dyn Watcher,
    ) -> Result<(), Halt> {
        let mut done = |subject: &str, round: Round, watcher: &mut dyn Watcher| {
            watcher.note(&said(title, subject, &round));
            let known = lines
                .iter_mut()
                .find(|line| line.subject == subject && line.load == load);
            match known {
                Some(line) => line.rounds.push(round),
                None => lines.push(Line {
                    subject: subject.to_string(),
                    load,
                    rounds: vec![round],
                }),
            }
        };
        let frames = load.frames(scenario);
        let bound = self.plan.bound;
        let (core, _) = self.rig.cores();
        if let Some((ports, name)) = &self.wish.ports {
            let mtu = (load.longest() > 1472).then_some(1600);
            let between = Between::open(self.tester, ports, 1, mtu, core, self.stop, bound)?;
            let round =
                self.search(between, &frames, load, &format!("{title}: {name}"), watcher)?;
            done(name, round, watcher);
            return Ok(());
        }
        for subject in self.rig.subjects() {
            let name = between::setting(subject.as_ref());
            let (folder, stop) = (self.rig.folder()?, self.stop);
            let devices = Devices::of(self.wish.over, scenario, name == "weir", folder.path())?;
            let bench = bench(
                &devices,
                scenario,
                load,
                self.rig.cores(),
                folder.path(),
                stop,
                self.ask,
            );
            let title = format!("{title}: {name}");
            watcher.doing(&format!("{title}, starting"));
            let between =
                Between::start(self.tester, subject.as_ref(), &bench, &devices.rig, bound)?;
            let round = self.search(between, &frames, load, &title, watcher)?;
            done(&name, round, watcher);
        }
        Ok(())
    }

    /// Searches it, takes its latency, and stops it, also if that fails.
    fn search(
        &self,
        mut between: Between,
        frames: &[Vec<u8>],
        load: Workload,
        title: &str,
        watcher: &mut dyn Watcher,
    ) -> Result<Round, Halt> {
        let searched = searched(&mut between, self.wish, frames, load, title, watcher);
        between.stop().and(searched)
    }
}

/// Names that `--name` may not take: somebody else's.
pub fn is_taken(name: &str) -> bool {
    ["weir", "testpmd", "ovs"]
        .iter()
        .any(|own| name.starts_with(own))
}
