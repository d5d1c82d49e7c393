//! Latency that Weir adds to testpmd's, on the same loop between two memifs and at the same rate.
//!
//! The rate is half of the lower one of both PDRs: at rates of their own, each switch's latency would be of other batches,
//! and the difference would be no longer of the switch.

use crate::halt::{Halt, Stop};
use crate::report::Latency;
use crate::rounds::{FLOOR, Plan, Rig, Watcher};
use crate::scenario::Scenario;
use crate::search::Goal;
use crate::subject::{Ask, Subject};
use crate::throughput::between::{Between, Devices, Over, bench};
use crate::throughput::{Wish, latency, order, tester, throughput, warm_up};
use crate::traffic::{Pace, Tester};
use crate::workload::Workload;

/// What both forward: frames of a vNIC without virtualization to the wire.
const SCENARIO: Scenario = Scenario::L2;
/// Whose latency is held against it.
const WEIR: &str = "weir";
/// Share of PDR.
const SHARE: f64 = 0.5;
/// Trials of a round until one counts.
const TRIES: usize = 5;
/// PDR: a rate to start from, so trials are short.
const PDR: Goal = Goal {
    loss_ratio: 0.005,
    exceed_ratio: 0.5,
    width: 0.02,
    initial_seconds: 0.05,
    final_seconds: 0.25,
    sum_seconds: 0.75,
};

/// Which of its percentiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The median.
    P50,
    /// 99 of 100.
    P99,
}

/// Microseconds of both in each round: Weir's, testpmd's.
pub struct Pairs(Vec<[Latency; 2]>);

impl Pairs {
    /// What Weir adds in each round.
    pub fn added(&self, what: What) -> Vec<f64> {
        let of = |latency: &Latency| match what {
            What::P50 => latency.p50,
            What::P99 => latency.p99,
        };
        self.0
            .iter()
            .map(|[weir, floor]| of(weir) - of(floor))
            .collect()
    }
}

/// Rounds of it, one window of each a round.
pub fn measure(
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Pairs, Halt> {
    let plan = plan.beside(&["testpmd"]);
    let rig = Rig::set_up(&plan, ask, stop, watcher)?;
    let tester = tester(&rig, &Wish::default())?;
    let one = Loop {
        plan: &plan,
        rig: &rig,
        tester: &tester,
        ask,
        stop,
        load: Workload::default(),
        frames: Workload::default().frames(SCENARIO),
    };
    let mut lowest = f64::INFINITY;
    for name in [WEIR, FLOOR] {
        let title = format!("latency: PDR of {name}");
        watcher.doing(&title);
        let pdr = one.with(name, |between| {
            throughput(between, PDR, &one.frames, one.load, &title, watcher)
        })?;
        let pdr = pdr.ok_or_else(|| Halt::failed(name, "forwards nothing", ""))?;
        watcher.note(&format!("{title}: {:.3} Mpps", pdr / 1e6));
        lowest = lowest.min(pdr);
    }
    let rate = SHARE * lowest;
    let mut pairs = Vec::new();
    for round in 1..=plan.rounds {
        let mut taken = [Latency::default(); 2];
        for (slot, name) in taken.iter_mut().zip([WEIR, FLOOR]) {
            watcher.doing(&format!("latency round {round}/{}: {name}", plan.rounds));
            *slot = one.with(name, |between| one.latency(between, rate, &mut *watcher))?;
            watcher.note(&format!(
                "latency round {round}/{}: {name} at {:.3} Mpps: p50 {:.2}, p99 {:.2} us",
                plan.rounds,
                rate / 1e6,
                slot.p50,
                slot.p99
            ));
        }
        pairs.push(taken);
    }
    Ok(Pairs(pairs))
}

struct Loop<'a> {
    plan: &'a Plan,
    rig: &'a Rig<'a>,
    tester: &'a Tester,
    ask: &'a dyn Ask,
    stop: &'a Stop,
    load: Workload,
    frames: Vec<Vec<u8>>,
}

impl Loop<'_> {
    fn subject(&self, name: &str) -> Result<&dyn Subject, Halt> {
        let mut subjects = self.rig.subjects().iter().map(AsRef::as_ref);
        let found = subjects.find(|subject| subject.settings().iter().any(|it| it == name));
        found.ok_or_else(|| Halt::failed("latency", format!("there is no {name}"), ""))
    }

    /// Starts the subject, does `work`, stops it, also if that fails.
    fn with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Between) -> Result<T, Halt>,
    ) -> Result<T, Halt> {
        let folder = self.rig.folder()?;
        let devices = Devices::of(Over::Memif, SCENARIO, name == WEIR, folder.path())?;
        let cores = self.rig.cores();
        let bench = bench(
            &devices,
            SCENARIO,
            self.load,
            cores,
            folder.path(),
            self.stop,
            self.ask,
        );
        let subject = self.subject(name)?;
        let mut between =
            Between::start(self.tester, subject, &bench, &devices.rig, self.plan.bound)?;
        let done = work(&mut between);
        between.stop().and(done)
    }

    /// Of one trial at that rate. One that loses more than PDR allows, or that the rig could not keep up with, is no trial at half of
    /// PDR: somebody else had a core. It is thrown away and repeated.
    fn latency(
        &self,
        between: &mut Between,
        rate: f64,
        watcher: &mut dyn Watcher,
    ) -> Result<Latency, Halt> {
        warm_up(between, &self.frames, self.load)?;
        let seconds = self.plan.window.as_secs_f64();
        for _ in 0..TRIES {
            let account = between.trial(&order(&self.frames, rate, seconds, true))?;
            let loss = account.loss();
            if account.pace() == Pace::Kept && loss <= PDR.loss_ratio {
                return latency(&account)
                    .ok_or_else(|| Halt::failed("latency", "nothing came", ""));
            }
            watcher.note(&format!(
                "a trial thrown away: {:.2} % lost at half of PDR, or the rig was late",
                100.0 * loss
            ));
        }
        let problem = format!("{TRIES} trials in turn lost packets at half of PDR");
        let mend = "measure when the machine is quiet";
        Err(Halt::failed("latency", problem, mend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_of_one_round_each() {
        let at = |p50, p99| Latency {
            p50,
            p99,
            ..Latency::default()
        };
        let pairs = Pairs(vec![
            [at(2.0, 9.0), at(1.5, 8.5)],
            // The machine was slower for both.
            [at(4.0, 20.0), at(3.5, 18.0)],
        ]);
        assert_eq!(pairs.added(What::P50), [0.5, 0.5]);
        assert_eq!(pairs.added(What::P99), [0.5, 2.0]);
    }
}
