//! What the stages of the path cost alone: `weir_stages` in plain memory, by the TSC.

use crate::halt::Halt;
use crate::report::StageCost;
use crate::scenario::Scenario;
use weir_stages::{PACKETS, Round, STAGES, Scene};

/// Rounds of each stage: some milliseconds.
const ROUNDS: usize = 200;

/// The costs of a scenario's stages; none where it has no scene.
pub fn costs(scenario: Scenario, hz: f64) -> Result<Vec<StageCost>, Halt> {
    let Some(scene) = Scene::named(scenario.name(), PACKETS) else {
        return Ok(Vec::new());
    };
    let mut round = Round::default();
    let stages = STAGES.iter().filter(|it| it.scenes.contains(&scene.name));
    let cost = |stage: &weir_stages::Stage| {
        let mut took = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let time = round.run(&scene, stage);
            took.push(time.map_err(|why| Halt::failed("stages", why, ""))?);
        }
        took.sort();
        let median = took.get(ROUNDS / 2).copied().unwrap_or_default();
        let cycles = median.as_secs_f64() * hz / PACKETS as f64;
        Ok(StageCost {
            scenario: scenario.name().to_string(),
            stage: stage.name.to_string(),
            cycles: (cycles * 10.0).round() / 10.0,
        })
    };
    stages.map(cost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_with_a_scene_has_costs() {
        let costs = costs(Scenario::NvgreEncap, 2e9).unwrap();
        let names: Vec<&str> = costs.iter().map(|cost| &*cost.stage).collect();
        assert_eq!(names, ["parse", "guard", "lookup", "encap", "whole"]);
        assert!(costs.iter().all(|cost| cost.cycles > 0.0), "{costs:?}");
    }
}
