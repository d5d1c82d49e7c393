//! A round: every frame of a scene once through one stage, a batch at a time.

use crate::plain::{Memory, Plain, Sink};
use crate::scene::{Known, Scene};
use crate::stage::Stage;
use std::time::{Duration, Instant};
use weir_switch::{BATCH, Batch};

/// Packets of a round: frames and tables stay in the nearest caches.
pub const PACKETS: usize = 8 * BATCH;

/// The memory of a round's frames.
pub struct Round {
    rooms: Vec<Memory>,
}

impl Default for Round {
    fn default() -> Self {
        Round {
            rooms: (0..PACKETS).map(|_| Memory::default()).collect(),
        }
    }
}

impl Round {
    /// Runs a stage once over the frames of a scene; how long it took. Fails if what went out is not what must.
    pub fn run(&mut self, scene: &Scene, stage: &Stage) -> Result<Duration, String> {
        let known: Vec<Known> = scene.frames.iter().map(|frame| frame.1).collect();
        let mut sink = Sink::default();
        sink.share(&scene.world.view);
        let frames = self.rooms.iter_mut().zip(&scene.frames);
        let mut frames = frames.map(|(room, (bytes, _))| Plain::new(room, bytes));
        let mut batches = Vec::new();
        loop {
            let batch: Batch<Plain> = frames.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            batches.push(batch);
        }
        let began = Instant::now();
        measured(scene, &known, stage, &mut batches, &mut sink);
        let took = began.elapsed();
        if stage.sends && sink.taken != scene.sent {
            return Err(format!(
                "{}/{}: {} packets went out, not {}",
                scene.name, stage.name, sink.taken, scene.sent
            ));
        }
        Ok(took)
    }
}

/// What is measured: callgrind counts what happens between its call and its return, by its name.
#[inline(never)]
fn measured<'a>(
    scene: &Scene,
    known: &[Known],
    stage: &Stage,
    batches: &mut [Batch<Plain<'a>>],
    sink: &mut Sink<'a>,
) {
    for (batch, known) in batches.iter_mut().zip(known.chunks(BATCH)) {
        (stage.run)(scene, known, batch, sink);
    }
}

/// The same of the scheduler alone.
#[inline(never)]
pub(crate) fn load_measured(load: &mut crate::Load) {
    load.round();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::SCENES;
    use crate::stage::STAGES;

    #[test]
    fn every_stage_of_every_scene_runs_and_sends_what_it_must() {
        let mut round = Round::default();
        for name in SCENES {
            let scene = Scene::named(name, PACKETS).unwrap();
            let mut ran = 0;
            for stage in STAGES.iter().filter(|stage| stage.scenes.contains(&name)) {
                // Twice: the second finds the memory as the first left it.
                for _ in 0..2 {
                    round.run(&scene, stage).unwrap();
                }
                ran += 1;
            }
            // What is promised is counted as a whole alone.
            let least = match name {
                "promised-encap" | "classed-encap" => 1,
                _ => 2,
            };
            assert!(ran >= least, "{name}");
            let drops: u64 = scene.world.drops().iter().map(|drop| drop.1).sum();
            let wanted = if name == "drop" {
                2 * PACKETS as u64
            } else {
                0
            };
            assert_eq!(drops, wanted, "{name}: {:?}", scene.world.drops());
        }
    }
}
