//! What each stage costs on the path that ships: a daemon of its own is measured stage by stage, by the TSC between stages. In a run
//! of its own, since reading the clock costs, too: what that took is known and taken off, and shown beside the rest.

use crate::halt::Halt;
use crate::machine::Others;
use crate::report::StageCost;
use crate::rounds::{Plan, Watcher};
use crate::spread::Spread;
use crate::subject::{Bench, Running, weir::Weir};
use std::time::Duration;
use weir_agent::measure::WorkerMeasured;

/// How long a daemon runs before its first window, at most.
const WARM_UP: Duration = Duration::from_secs(1);
/// The row that is the sum of all stages.
pub const WHOLE: &str = "whole";
/// The row of what reading the clock took, which is in no other.
pub const CLOCK: &str = "clock";

/// The costs of every stage under one load: as many windows as the plan has rounds, in one life of a daemon.
pub fn measure(
    plan: &Plan,
    bench: &Bench,
    watcher: &mut dyn Watcher,
) -> Result<Vec<StageCost>, Halt> {
    let title = format!("{}: stages", bench.scenario.name());
    watcher.doing(&format!("{title}: starting weir"));
    let mut daemon = Weir::new(plan.program.clone()).launch(bench)?;
    bench.stop.sleep(WARM_UP.min(plan.window))?;
    let mut windows: Vec<Vec<(String, f64)>> = Vec::new();
    let most = 2 * plan.rounds;
    for attempt in 1..=most {
        watcher.doing(&format!(
            "{title}: window {}/{}",
            windows.len() + 1,
            plan.rounds
        ));
        let others = Others::look(bench.core, daemon.process())?;
        daemon.measure_stages(true)?;
        bench.stop.sleep(plan.window)?;
        let measured = daemon.measure_stages(false)?;
        let others = Others::look(bench.core, daemon.process())?.since(&others);
        let share = 100.0 * others / plan.window.as_secs_f64();
        let costs = measured.iter().find_map(costs);
        let Some(costs) = costs else {
            return Err(daemon.trouble("has measured no packet"));
        };
        if share > plan.bound {
            watcher.note(&format!(
                "{title}: window thrown away, others had the core {share:.1} % of the time (attempt {attempt} of {most})"
            ));
            continue;
        }
        let said: Vec<String> = costs
            .iter()
            .map(|(name, cycles)| format!("{name} {cycles:.1}"))
            .collect();
        watcher.note(&format!(
            "{title}, {} mappings: {} cycles",
            bench.load.mappings,
            said.join(", ")
        ));
        windows.push(costs);
        if windows.len() == plan.rounds {
            break;
        }
    }
    daemon.settle()?;
    Box::new(daemon).stop()?;
    Ok(table(bench, &windows))
}

/// Cycles a packet of each stage in one window, without those of the clock; their sum; those of the clock.
fn costs(worker: &WorkerMeasured) -> Option<Vec<(String, f64)>> {
    let packets = (worker.packets > 0).then_some(worker.packets as f64)?;
    let lap = worker.lap_millicycles as f64 / 1000.0;
    let each = worker.stages.iter().map(|stage| {
        let clock = lap * stage.laps as f64;
        (
            stage.stage.clone(),
            (stage.cycles as f64 - clock).max(0.0) / packets,
        )
    });
    let mut all: Vec<(String, f64)> = each.collect();
    let whole = all.iter().map(|(_, cycles)| cycles).sum();
    let laps: u64 = worker.stages.iter().map(|stage| stage.laps).sum();
    all.push((WHOLE.to_string(), whole));
    all.push((CLOCK.to_string(), lap * laps as f64 / packets));
    Some(all)
}

fn table(bench: &Bench, windows: &[Vec<(String, f64)>]) -> Vec<StageCost> {
    let names = windows
        .first()
        .map(|window| window.iter().map(|it| it.0.clone()));
    let row = |(place, stage): (usize, String)| {
        let each: Vec<f64> = windows
            .iter()
            .filter_map(|window| Some(window.get(place)?.1))
            .collect();
        let spread = Spread::of(each.iter().copied(), 1)?;
        Some(StageCost {
            scenario: bench.scenario.name().to_string(),
            mappings: bench.load.mappings,
            frame: bench.load.frame,
            stage,
            cycles: spread.median,
            min: spread.min,
            max: spread.max,
            windows: each
                .iter()
                .map(|cycles| (cycles * 10.0).round() / 10.0)
                .collect(),
        })
    };
    names
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(row)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_agent::measure::StageMeasured;

    #[test]
    fn what_the_clock_took_is_taken_off_and_shown() {
        let stage = |stage: &str, cycles, laps| StageMeasured {
            stage: stage.into(),
            cycles,
            laps,
        };
        let worker = WorkerMeasured {
            packets: 320,
            lap_millicycles: 32_000,
            stages: vec![stage("receive", 3520, 10), stage("lookup", 6720, 10)],
            ..WorkerMeasured::default()
        };
        let costs = costs(&worker).unwrap();
        let costs: Vec<(&str, f64)> = costs
            .iter()
            .map(|(name, cycles)| (&**name, *cycles))
            .collect();
        // Ten laps of 32 cycles over 320 packets are one a packet and stage.
        assert_eq!(
            costs,
            [
                ("receive", 10.0),
                ("lookup", 20.0),
                ("whole", 30.0),
                ("clock", 2.0)
            ]
        );
        assert_eq!(super::costs(&WorkerMeasured::default()), None, "no packet");
    }
}
