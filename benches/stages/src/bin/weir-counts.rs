//! `scripts/counts` in two steps: what callgrind looks at, and what is made of its dumps.
//!
//! ```text
//! weir-counts run                    each stage of each scene once, then each load; callgrind dumps at each `stage_ends`
//! weir-counts report BASE FILE       the dumps BASE.1… against what FILE keeps; 1 if a stage became dearer
//! weir-counts keep BASE FILE         writes them to FILE
//! ```
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use weir_stages::counts::{Counts, Verdict, compare, holds, read, table};
use weir_stages::scene::{MAPPINGS, SCENES};
use weir_stages::{LOADS, Load, PACKETS, Round, STAGES, Scene, Stage};

/// Every stage of every scene, in the order in which they are run.
fn all() -> impl Iterator<Item = (&'static str, &'static Stage)> {
    SCENES.into_iter().flat_map(|scene| {
        let stages = STAGES.iter().filter(move |it| it.scenes.contains(&scene));
        stages.map(move |stage| (scene, stage))
    })
}

fn names() -> Vec<String> {
    all()
        .map(|(scene, stage)| format!("{scene}/{}", stage.name))
        .chain(LOADS.map(str::to_string))
        .collect()
}

/// Callgrind dumps and starts anew when this returns.
#[inline(never)]
fn stage_ends(number: usize) -> usize {
    std::hint::black_box(number)
}

fn run() -> io::Result<()> {
    let mut round = Round::default();
    let mut scene: Option<Scene> = None;
    for (number, (name, stage)) in all().enumerate() {
        if scene.as_ref().is_none_or(|scene| scene.name != name) {
            scene = Scene::named(name, PACKETS);
        }
        let scene = scene.as_ref().ok_or_else(|| io::Error::other(name))?;
        round.run(scene, stage).map_err(io::Error::other)?;
        stage_ends(number);
    }
    for (number, name) in LOADS.into_iter().enumerate() {
        let mut load = Load::named(name).ok_or_else(|| io::Error::other(name))?;
        load.run().map_err(io::Error::other)?;
        stage_ends(number);
    }
    Ok(())
}

fn counted(base: &str) -> io::Result<Counts> {
    let from = |name: &str| std::env::var(name).unwrap_or_else(|_| "unknown".into());
    Ok(Counts {
        rustc: from("COUNTS_RUSTC"),
        target_cpu: from("COUNTS_TARGET_CPU"),
        mappings: MAPPINGS,
        instructions: read(Path::new(base), &names(), PACKETS)?,
    })
}

fn keep(base: &str, file: &str) -> io::Result<()> {
    let text = serde_json::to_string_pretty(&counted(base)?).map_err(io::Error::other)?;
    std::fs::write(file, text + "\n")
}

/// Whether what is kept holds.
fn report(base: &str, file: &str) -> io::Result<bool> {
    let now = counted(base)?;
    let kept = std::fs::read(file).map_err(|error| io::Error::other(format!("{file}: {error}")))?;
    let kept: Counts = serde_json::from_slice(&kept).map_err(io::Error::other)?;
    let changes = compare(&kept, &now);
    let mut out = io::stdout().lock();
    out.write_all(table(&changes).as_bytes())?;
    if (&kept.rustc, &kept.target_cpu) != (&now.rustc, &now.target_cpu) {
        writeln!(
            out,
            "note: kept with rustc {} for {}, counted with {} for {}",
            kept.rustc, kept.target_cpu, now.rustc, now.target_cpu
        )?;
    }
    let holds = holds(&changes);
    let cheaper = changes.iter().any(|it| it.verdict == Verdict::Cheaper);
    match (holds, cheaper) {
        (false, _) => writeln!(
            out,
            "dearer than {file} allows (or not kept there); if it is meant: scripts/counts --keep"
        )?,
        (true, true) => writeln!(
            out,
            "cheaper than {file} says; scripts/counts --keep notes it"
        )?,
        _ => {}
    }
    Ok(holds)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["run"] => run().map(|()| true),
        ["report", base, file] => report(base, file),
        ["keep", base, file] => keep(base, file).map(|()| true),
        _ => Err(io::Error::other(
            "usage: run | report BASE FILE | keep BASE FILE",
        )),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "weir-counts: {error}");
            ExitCode::from(2)
        }
    }
}
