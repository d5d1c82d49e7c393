//! What the path is to show, each goal by its name: measured in paired rounds, and held only if the 95% interval holds.

mod alone;
mod bandwidth;
mod check;
mod churn;
mod flows;
mod idle;
mod latency;
mod lookup;
mod path;
mod queues;
mod scale;
mod state;

use crate::halt::{Halt, Stop};
use crate::rounds::{Plan, Watcher};
use crate::scenario::Scenario;
use crate::subject::Ask;
use check::said;
pub use check::{Check, Verdict};
use path::{Lines, rounds_of};

/// Whether a goal is a floor or a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// As much or more.
    AtLeast,
    /// As much or less.
    AtMost,
}

/// A goal.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Its name.
    pub name: &'static str,
    /// Which side of it is good.
    pub sense: Sense,
    /// The figure.
    pub goal: f64,
    /// Its unit.
    pub unit: &'static str,
    /// How it is measured.
    how: How,
}

/// How a goal is measured.
#[derive(Clone, Copy, Debug)]
enum How {
    /// (OVS − floor) ÷ (Weir − floor), in cycles.
    VsOvs(Scenario),
    /// (Weir − floor) ÷ floor, in cycles.
    Own(Scenario),
    /// In this process, without DPDK.
    Alone(fn(usize) -> Result<Vec<f64>, Halt>),
    /// By starting `weir run`.
    Daemon(state::What),
    /// Weir with so many mappings against Weir with few.
    Scale(u32),
    /// The endpoint table with so many mappings against rte_hash.
    Lookup(u32),
    /// Weir's rate against Open vSwitch's to very many flows.
    Flows(flows::What),
    /// By moving mappings while it forwards.
    Churn(churn::What),
    /// Between the rig's own ports, beside testpmd.
    Loop(latency::What),
    /// What vNICs send beside each other, as the rig's sink has it.
    Bandwidth(bandwidth::What),
    /// Two workers of a host in this process.
    Queues(queues::What),
    /// Weir with a worker that has nearly nothing to do.
    Idling(idle::What),
}

use How::{
    Alone, Bandwidth, Churn, Daemon, Flows, Idling, Lookup, Loop, Own, Queues, Scale, VsOvs,
};
use Sense::{AtLeast, AtMost};

const fn goal(name: &'static str, sense: Sense, goal: f64, unit: &'static str, how: How) -> Goal {
    Goal {
        name,
        sense,
        goal,
        unit,
        how,
    }
}

/// All of them.
pub const GOALS: &[Goal] = &[
    goal(
        "path/encap-vs-ovs",
        AtLeast,
        8.0,
        "x",
        VsOvs(Scenario::NvgreEncap),
    ),
    goal(
        "path/decap-vs-ovs",
        AtLeast,
        8.0,
        "x",
        VsOvs(Scenario::NvgreDecap),
    ),
    goal(
        "path/encap-own",
        AtMost,
        1.3,
        "floors",
        Own(Scenario::NvgreEncap),
    ),
    goal(
        "path/decap-own",
        AtMost,
        1.1,
        "floors",
        Own(Scenario::NvgreDecap),
    ),
    goal(
        "path/rewrite-own",
        AtMost,
        1.2,
        "floors",
        Own(Scenario::Rewrite),
    ),
    goal(
        "path/routed-own",
        AtMost,
        1.6,
        "floors",
        Own(Scenario::Routed),
    ),
    goal("path/scale-1m", AtLeast, 0.85, "x", Scale(1_000_000)),
    goal("path/scale-10m", AtLeast, 0.70, "x", Scale(10_000_000)),
    goal(
        "path/ovs-100k-warm",
        AtLeast,
        5.0,
        "x",
        Flows(flows::What::Warm),
    ),
    goal(
        "path/ovs-100k-cold",
        AtLeast,
        40.0,
        "x",
        Flows(flows::What::Cold),
    ),
    goal("path/lookup-1m", AtLeast, 1.5, "x", Lookup(1_000_000)),
    goal("path/lookup-10m", AtLeast, 1.5, "x", Lookup(10_000_000)),
    goal(
        "path/memory-entry",
        AtMost,
        24.0,
        "bytes",
        Alone(alone::memory_entry),
    ),
    goal(
        "path/memory-entry-routed",
        AtMost,
        40.0,
        "bytes",
        Alone(alone::memory_record),
    ),
    goal(
        "path/memory-process",
        AtMost,
        256.0,
        "bytes",
        Daemon(state::What::Memory),
    ),
    goal(
        "path/updates",
        AtLeast,
        1e6,
        "updates/s",
        Alone(alone::updates),
    ),
    goal(
        "path/updates-100k",
        AtMost,
        1.0,
        "%",
        Churn(churn::What::Slower(100_000)),
    ),
    goal(
        "path/updates-100k-lost",
        AtMost,
        0.0,
        "packets",
        Churn(churn::What::Lost(100_000)),
    ),
    goal(
        "path/updates-1m",
        AtMost,
        5.0,
        "%",
        Churn(churn::What::Slower(1_000_000)),
    ),
    goal(
        "path/updates-1m-lost",
        AtMost,
        0.0,
        "packets",
        Churn(churn::What::Lost(1_000_000)),
    ),
    goal(
        "path/visible",
        AtMost,
        20.0,
        "us",
        Churn(churn::What::Visible),
    ),
    goal(
        "path/reclaim",
        AtMost,
        100.0,
        "us",
        Churn(churn::What::Reclaim),
    ),
    goal(
        "path/first-packet",
        AtMost,
        1.2,
        "x",
        Alone(alone::first_packet),
    ),
    goal(
        "path/latency-p50",
        AtMost,
        0.3,
        "us",
        Loop(latency::What::P50),
    ),
    goal(
        "path/latency-p99",
        AtMost,
        1.0,
        "us",
        Loop(latency::What::P99),
    ),
    goal("path/load-1m", AtMost, 10.0, "s", Daemon(state::What::Load)),
    goal(
        "path/load-10m",
        AtMost,
        10.0,
        "s",
        Daemon(state::What::LoadKept),
    ),
    goal(
        "bandwidth/max-1s",
        AtMost,
        0.1,
        "%",
        Bandwidth(bandwidth::What::Max1s),
    ),
    goal(
        "bandwidth/max-100ms",
        AtMost,
        0.5,
        "%",
        Bandwidth(bandwidth::What::Max100ms),
    ),
    goal(
        "bandwidth/min",
        AtMost,
        1.0,
        "%",
        Bandwidth(bandwidth::What::Min),
    ),
    goal(
        "bandwidth/busy",
        AtLeast,
        99.0,
        "%",
        Bandwidth(bandwidth::What::Busy),
    ),
    goal(
        "bandwidth/converge",
        AtMost,
        1.0,
        "x",
        Bandwidth(bandwidth::What::Converge),
    ),
    goal(
        "bandwidth/share",
        AtMost,
        2.0,
        "%",
        Bandwidth(bandwidth::What::Share),
    ),
    goal(
        "bandwidth/cost",
        AtMost,
        0.45,
        "floors",
        Bandwidth(bandwidth::What::Cost),
    ),
    goal(
        "bandwidth/cost-backlogged",
        AtMost,
        2.0,
        "floors",
        Bandwidth(bandwidth::What::CostBacklogged),
    ),
    goal(
        "bandwidth/tcp",
        AtLeast,
        0.94,
        "x",
        Bandwidth(bandwidth::What::Tcp),
    ),
    goal(
        "bandwidth/ecn",
        AtMost,
        2.0,
        "thresholds",
        Bandwidth(bandwidth::What::Ecn),
    ),
    goal(
        "bandwidth/pool",
        AtLeast,
        25.0,
        "%",
        Bandwidth(bandwidth::What::Pool),
    ),
    goal(
        "bandwidth/pool-lost",
        AtMost,
        0.0,
        "packets",
        Bandwidth(bandwidth::What::PoolLost),
    ),
    goal(
        "queues/scale",
        AtLeast,
        1.8,
        "x",
        Queues(queues::What::Scale),
    ),
    goal(
        "queues/handoff",
        AtLeast,
        1.2,
        "x",
        Queues(queues::What::Handoff),
    ),
    goal(
        "queues/balance",
        AtMost,
        100.0,
        "ms",
        Queues(queues::What::Balance),
    ),
    goal(
        "queues/balance-lost",
        AtMost,
        0.0,
        "packets",
        Queues(queues::What::BalanceLost),
    ),
    goal(
        "queues/moves",
        AtMost,
        0.0,
        "packets",
        Queues(queues::What::Moves),
    ),
    goal("queues/idle", AtMost, 0.1, "x", Idling(idle::What::Time)),
    goal(
        "queues/idle-lost",
        AtMost,
        0.0,
        "packets",
        Idling(idle::What::Lost),
    ),
];

/// Measures the goals whose names start with `only`. A goal that cannot be measured says why; the others go on.
pub fn goals(
    plan: &Plan,
    only: Option<&str>,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Check>, Halt> {
    let meant: Vec<&Goal> = GOALS.iter().filter(|goal| goal.is_meant(only)).collect();
    if meant.is_empty() {
        let mend = "weir bench goals names all of them";
        return Err(Halt::failed("--only", "no goal starts so", mend));
    }
    let mut measured: Vec<(Scenario, bool, Result<Lines, String>)> = Vec::new();
    // One measurement has all percentiles.
    let mut latencies: Option<Result<latency::Pairs, Halt>> = None;
    let mut idled: Option<Result<Vec<idle::Round>, Halt>> = None;
    let mut checks = Vec::new();
    let mut churned = churn::Known::default();
    let mut shared = bandwidth::Known::default();
    for goal in &meant {
        stop.check()?;
        watcher.doing(goal.name);
        let check = match goal.how {
            Alone(measure) => done(goal, measure(plan.rounds))?,
            Scale(many) => done(goal, scale::measure(many, plan, ask, stop, watcher))?,
            Lookup(many) => done(goal, lookup::measure(many, plan, ask, stop, watcher))?,
            Flows(what) => done(goal, flows::measure(what, plan, ask, stop, watcher))?,
            Daemon(what) => done(goal, state::measure(what, plan, ask, stop, watcher))?,
            Churn(what) => done(goal, churned.measure(what, plan, ask, stop, watcher))?,
            Bandwidth(what) => done(goal, shared.measure(what, plan, ask, stop, watcher))?,
            Queues(what) => done(goal, queues::measure(what, plan, stop, watcher))?,
            Loop(what) => {
                let taken = latencies
                    .get_or_insert_with(|| latency::measure(plan, ask, stop, watcher))
                    .as_ref();
                let added = taken.map(|pairs| pairs.added(what));
                done(goal, added.map_err(Clone::clone))?
            }
            Idling(what) => {
                let taken = idled
                    .get_or_insert_with(|| idle::measure(plan, ask, stop, watcher))
                    .as_ref();
                let rounds = taken.map(|rounds| idle::of(rounds, what));
                done(goal, rounds.map_err(Clone::clone))?
            }
            VsOvs(scenario) | Own(scenario) => {
                let wants = |goal: &&&Goal| matches!(goal.how, VsOvs(its) if its == scenario);
                let ovs = meant.iter().any(|goal| wants(&goal));
                let known = measured.iter().any(|it| (it.0, it.1) == (scenario, ovs));
                if !known {
                    let lines = rounds_of(plan, scenario, ovs, ask, stop, watcher);
                    let lines = match lines {
                        Err(Halt::Failed(fault)) => Err(Halt::Failed(fault).to_string()),
                        other => Ok(other?),
                    };
                    measured.push((scenario, ovs, lines));
                }
                let lines = measured.iter().find(|it| (it.0, it.1) == (scenario, ovs));
                match lines.map(|it| &it.2) {
                    Some(Ok(lines)) => goal.check(&lines.of(goal.how)),
                    Some(Err(why)) => goal.unmeasured(why),
                    None => goal.unmeasured("not measured"),
                }
            }
        };
        watcher.note(&said(&check));
        checks.push(check);
    }
    Ok(checks)
}

/// Rounds that count; a fault if none does.
fn rest(rounds: Vec<f64>, plan: &Plan) -> Result<Vec<f64>, Halt> {
    if rounds.is_empty() {
        let why = format!(
            "no round counts: others had the core for more than {} % of the time",
            plan.bound
        );
        let mend = "measure when the machine is quiet, or allow more with --disturbed";
        return Err(Halt::failed("bench", why, mend));
    }
    Ok(rounds)
}

/// A signal ends everything, a fault this goal.
fn done(goal: &Goal, rounds: Result<Vec<f64>, Halt>) -> Result<Check, Halt> {
    match rounds {
        Ok(rounds) => Ok(goal.check(&rounds)),
        Err(Halt::Failed(fault)) => Ok(goal.unmeasured(Halt::Failed(fault).to_string())),
        Err(signal) => Err(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Goal {
        *GOALS.iter().find(|goal| goal.name == name).unwrap()
    }

    #[test]
    fn a_goal_holds_only_if_its_interval_does() {
        let ten = |from: f64| {
            (0..10)
                .map(|n| from + f64::from(n) / 10.0)
                .collect::<Vec<_>>()
        };
        let least = of("path/encap-vs-ovs");
        let verdicts = [7.0, 7.5, 8.0].map(|from| least.check(&ten(from)).verdict);
        assert_eq!(
            verdicts,
            [Verdict::Short, Verdict::Undecided, Verdict::Pass]
        );
        let most = of("path/encap-own");
        let verdicts = [1.3, 0.9, 0.4].map(|from| most.check(&ten(from)).verdict);
        assert_eq!(
            verdicts,
            [Verdict::Short, Verdict::Undecided, Verdict::Pass]
        );
        let few = least.check(&[100.0; 5]);
        assert_eq!((few.ok, few.verdict), (false, Verdict::Undecided));
    }

    #[test]
    fn the_ratios_are_of_what_is_beyond_the_floor() {
        let lines = Lines {
            weir: vec![100.0, 50.0],
            floor: vec![40.0, 20.0],
            ovs: vec![520.0, 260.0],
        };
        assert_eq!(lines.of(VsOvs(Scenario::NvgreEncap)), [8.0, 8.0]);
        assert_eq!(lines.of(Own(Scenario::NvgreEncap)), [1.5, 1.5]);
    }

    #[test]
    fn names_are_those_that_readers_know_and_once_each() {
        let mut names: Vec<&str> = GOALS.iter().map(|goal| goal.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), GOALS.len());
        let json = serde_json::to_value(of("path/visible").unmeasured("why")).unwrap();
        for field in [
            "name", "goal", "measured", "unit", "ok", "verdict", "rounds",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert_eq!(
            (&json["ok"], &json["measured"]),
            (&false.into(), &serde_json::Value::Null)
        );
    }
}
