//! `cargo bench`: how long each stage takes, in plain memory. The least and the median of many rounds; a name after `--` chooses.

use std::io::{self, Write};
use std::time::{Duration, Instant};
use weir_stages::load::LOAD_PACKETS;
use weir_stages::scene::SCENES;
use weir_stages::{LOADS, Load, PACKETS, Round, STAGES, Scene, Stage};

/// How long a stage is looked at.
const LOOK: Duration = Duration::from_millis(150);

fn main() -> io::Result<()> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut out = io::stdout().lock();
    writeln!(out, "{:<24} {:>8} {:>8}", "ns a packet", "least", "median")?;
    for scene in SCENES.iter().filter_map(|name| Scene::named(name, PACKETS)) {
        for stage in STAGES.iter().filter(|it| it.scenes.contains(&scene.name)) {
            let name = format!("{}/{}", scene.name, stage.name);
            if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part)) {
                continue;
            }
            let (least, median) = look(&scene, stage).map_err(io::Error::other)?;
            writeln!(out, "{name:<24} {least:>8.2} {median:>8.2}")?;
        }
    }
    for name in LOADS {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part)) {
            let mut load = Load::named(name).ok_or_else(|| io::Error::other(name))?;
            let each = || {
                load.run()
                    .map(|took| took / (LOAD_PACKETS / PACKETS) as u32)
            };
            let (least, median) = look_at(each).map_err(io::Error::other)?;
            writeln!(out, "{name:<24} {least:>8.2} {median:>8.2}")?;
        }
    }
    Ok(())
}

fn look(scene: &Scene, stage: &Stage) -> Result<(f64, f64), String> {
    let mut round = Round::default();
    look_at(|| round.run(scene, stage))
}

fn look_at(mut run: impl FnMut() -> Result<Duration, String>) -> Result<(f64, f64), String> {
    let mut took = Vec::new();
    let began = Instant::now();
    while took.len() < 10 || began.elapsed() < LOOK {
        took.push(run()?);
    }
    took.sort();
    let each = |time: Duration| time.as_nanos() as f64 / PACKETS as f64;
    Ok((each(took[0]), each(took[took.len() / 2])))
}
