//! What the plain scenarios cost, beside what every switch costs at the least and beside Open vSwitch.

use super::How::{self, VsOvs};
use crate::halt::{Halt, Stop};
use crate::rounds::{FLOOR, Line, Plan, Rig, Watcher, best_of_ovs, paired};
use crate::scenario::Scenario;
use crate::subject::Ask;
use crate::workload::Workload;

/// Cycles a packet of what was measured in the same rounds.
pub(super) struct Lines {
    pub(super) weir: Vec<f64>,
    pub(super) floor: Vec<f64>,
    pub(super) ovs: Vec<f64>,
}

impl Lines {
    /// The figure that `how` asks for, one a round.
    pub(super) fn of(&self, how: How) -> Vec<f64> {
        let beyond = |own: &[f64]| paired(own, &self.floor, |own, floor| own - floor);
        match how {
            VsOvs(_) => paired(&beyond(&self.ovs), &beyond(&self.weir), |ovs, own| {
                ovs / own
            }),
            _ => paired(&beyond(&self.weir), &self.floor, |own, floor| own / floor),
        }
    }
}

/// Measures one of the plain scenarios beside its floor, and beside Open vSwitch if `ovs`.
pub(super) fn rounds_of(
    plan: &Plan,
    scenario: Scenario,
    ovs: bool,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Lines, Halt> {
    let plan = plan.beside(if ovs {
        &["testpmd", "ovs"]
    } else {
        &["testpmd"]
    });
    let rig = Rig::set_up(&plan, ask, stop, watcher)?;
    let hz = rig.machine.tsc_hz as f64;
    let lines = rig.rounds(scenario, &[Workload::default()], watcher)?;
    let all: Vec<&Line> = lines.iter().collect();
    let of = |name: &str| all.iter().find(|line| line.subject == name);
    let cycles = |line: Option<&&Line>| line.map_or(Vec::new(), |line| line.cycles(hz));
    Ok(Lines {
        weir: cycles(of("weir")),
        floor: cycles(of(FLOOR)),
        ovs: cycles(best_of_ovs(&all).as_ref()),
    })
}
