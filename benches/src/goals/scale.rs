//! How the rate holds up when the mappings no longer fit the caches: NVGRE encapsulation to many against the same to few, from a source
//! that writes its frames, whose own cost is measured beside and taken out.

use super::rest;
use crate::beside::Held;
use crate::halt::{Halt, Stop};
use crate::rounds::{Plan, Rig, Watcher};
use crate::scenario::Scenario;
use crate::subject::source::Alone;
use crate::subject::weir::Weir;
use crate::subject::{Ask, Ends};
use crate::workload::Workload;

/// Mappings that fit the nearest caches.
const FEW: u32 = 1000;

/// Rate with so many mappings ÷ rate with [`FEW`], the source's cost taken out of both, round by round.
pub fn measure(
    many: u32,
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Vec<f64>, Halt> {
    let plan = plan.beside(&[]);
    let rig = Rig::set_up(&plan, ask, stop, watcher)?;
    let hz = rig.machine.tsc_hz as f64;
    let folder = || tempfile::tempdir().map_err(|error| Halt::io("the scratch folder", &error));
    let (few, most) = (folder()?, folder()?);
    let benches = [(FEW, &few), (many, &most)].map(|(mappings, folder)| {
        let load = Workload {
            mappings,
            ..Workload::default()
        };
        rig.bench(Scenario::NvgreEncap, load, folder.path(), Ends::Stamped)
    });
    let mut held = Vec::new();
    for bench in &benches {
        let mappings = bench.load.mappings;
        watcher.doing(&format!("loading {mappings} mappings"));
        // Both from a last good state: of ten million in policy.toml a daemon would read for minutes.
        let weir = Weir::new(plan.program.clone());
        weir.keep(bench)?;
        let weir = weir.start_kept(bench)?;
        held.push((Held::new(format!("weir to {mappings}"), weir)?, bench));
        let source = Box::new(Alone::start(bench)?);
        held.push((Held::new(format!("source to {mappings}"), source)?, bench));
    }
    let mut ratios = Vec::new();
    for _ in 0..2 * plan.rounds {
        let mut cycles = Vec::new();
        for (subject, bench) in &mut held {
            let sample = subject.window("", &plan, bench, watcher)?;
            cycles.extend(sample.map(|sample| hz / sample.pps));
        }
        if let [few, few_source, many, many_source] = cycles[..] {
            let ratio = (few - few_source) / (many - many_source);
            watcher.note(&format!(
                "few {few:.1} - {few_source:.1}, many {many:.1} - {many_source:.1} cycles a packet: {ratio:.3}"
            ));
            ratios.push(ratio);
        }
        if ratios.len() == plan.rounds {
            break;
        }
    }
    for (subject, _) in held {
        subject.stop()?;
    }
    rest(ratios, &plan)
}
