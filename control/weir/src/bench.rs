//! `weir bench`: the measuring rig of `weir_bench`, with this program's client, progress and tables.

mod api;
mod differences;
mod progress;
mod search;
mod tables;
mod verdicts;

use crate::cli::{BandwidthArgs, BenchArgs, BenchVerb, CompareArgs, GoalsArgs, HowArgs};
use crate::failure::Failure;
use crate::output::Out;
use crate::table::Table;
use api::Api;
use differences::differences;
use progress::Progress;
use std::path::Path;
use std::time::Duration;
use tables::text;
use verdicts::verdicts;
use weir_bench::bandwidth::plot;
use weir_bench::compare::compare;
use weir_bench::workload::Workload;
use weir_bench::{Halt, Plan, Report, Scenario, Stop, html};

/// Runs the scenarios named, or lists them.
pub fn run(args: BenchArgs) -> Result<(), Failure> {
    match args.verb {
        Some(BenchVerb::Compare(args)) => return comparison(&args),
        Some(BenchVerb::Goals(args)) => return goals(&args),
        Some(BenchVerb::Bandwidth(args)) => return bandwidth(&args),
        Some(BenchVerb::Search(args)) => return search::run(&args, search::Kind::Search),
        Some(BenchVerb::Rfc2544(args)) => return search::run(&args, search::Kind::Rfc2544),
        None => {}
    }
    let mut out = Out::stdout(args.form.json());
    if args.list {
        return list(&mut out);
    }
    let plan = plan(&args)?;
    let stop = Stop::on_signals()
        .map_err(|error| Failure::one("bench", format!("cannot watch signals: {error}"), ""))?;
    let mut progress = Progress::new();
    let result = weir_bench::run(&plan, &Api, &stop, &mut progress);
    progress.finish();
    let report = result.map_err(failure)?;
    page(&report, args.html.as_deref())?;
    if out.is_json() {
        out.json(&report)?;
    } else {
        let text = text(&report, out.is_terminal());
        out.text(&text)?;
    }
    Ok(())
}

/// The report as a page, if somebody wants it.
fn page(report: &Report, file: Option<&Path>) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    written(file, &html::page(report))
}

fn written(file: &Path, page: &str) -> Result<(), Failure> {
    std::fs::write(file, page).map_err(|error| {
        let mend = "name a file that can be written";
        Failure::one(file.display().to_string(), error.to_string(), mend)
    })
}

fn list(out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        let rows =
            Scenario::ALL.map(|it| serde_json::json!({"scenario": it.name(), "about": it.about()}));
        return Ok(out.json(&rows)?);
    }
    let mut table = Table::new(["scenario", "about"]);
    for it in Scenario::ALL {
        table.row([it.name().to_string(), it.about().to_string()]);
    }
    let text = table.render(out.is_terminal());
    Ok(out.text(&text)?)
}

/// What was typed, as a plan.
fn plan(args: &BenchArgs) -> Result<Plan, Failure> {
    let mut loads = Vec::new();
    for &mappings in &args.mappings {
        for &frame in &args.frame {
            loads.extend(args.updates.iter().map(|&updates| Workload {
                mappings,
                frame,
                flows: args.flows,
                hits: args.hits,
                updates,
            }));
        }
    }
    let plan = measured(
        &args.how,
        scenarios(&args.scenarios)?,
        loads,
        once_each(&args.vs),
    )?;
    Ok(Plan {
        stages: args.stages,
        ..plan
    })
}

fn scenarios(names: &[String]) -> Result<Vec<Scenario>, Failure> {
    let known = |name: &String| {
        let mend = format!("there is no scenario {name:?}; weir bench --list names them");
        Scenario::named(name).ok_or(Failure::Usage(mend))
    };
    names.iter().map(known).collect()
}

fn once_each(names: &[String]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let new = |name: &&String| seen.insert((*name).clone());
    names.iter().filter(new).cloned().collect()
}

/// A plan that measures in this way.
fn measured(
    how: &HowArgs,
    scenarios: Vec<Scenario>,
    loads: Vec<Workload>,
    peers: Vec<String>,
) -> Result<Plan, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::one("bench", format!("this program's own file: {error}"), ""))?;
    Ok(Plan {
        scenarios,
        loads,
        rounds: how.rounds as usize,
        window: Duration::from_secs_f64(how.seconds),
        peers,
        core: how.core,
        bound: how.disturbed,
        program,
        stages: false,
    })
}

/// `weir bench goals`.
fn goals(args: &GoalsArgs) -> Result<(), Failure> {
    let mut out = Out::stdout(args.form.json());
    let plan = measured(&args.how, Vec::new(), Vec::new(), Vec::new())?;
    let stop = Stop::on_signals()
        .map_err(|error| Failure::one("bench", format!("cannot watch signals: {error}"), ""))?;
    let mut progress = Progress::new();
    let checks = weir_bench::goals::goals(&plan, args.only.as_deref(), &Api, &stop, &mut progress);
    progress.finish();
    let checks = checks.map_err(failure)?;
    if out.is_json() {
        return Ok(out.json(&checks)?);
    }
    let text = verdicts(&checks, out.is_terminal());
    Ok(out.text(&text)?)
}

/// `weir bench bandwidth`.
fn bandwidth(args: &BandwidthArgs) -> Result<(), Failure> {
    let mut out = Out::stdout(args.form.json());
    let how = HowArgs {
        rounds: 1,
        seconds: 1.0,
        core: args.core,
        disturbed: 100.0,
    };
    let plan = measured(&how, Vec::new(), Vec::new(), Vec::new())?;
    let stop = Stop::on_signals()
        .map_err(|error| Failure::one("bench", format!("cannot watch signals: {error}"), ""))?;
    let mut progress = Progress::new();
    let shares = plot::run(&plan, &Api, &stop, &mut progress);
    progress.finish();
    let shares = shares.map_err(failure)?;
    if let Some(file) = &args.html {
        written(file, &plot::page(&shares))?;
    }
    if out.is_json() {
        return Ok(out.json(&shares)?);
    }
    let heads = ["from", "#Mbit/s, each half second", "#of an ideal link"];
    let mut table = Table::new(heads);
    let second = (1.0 / shares.step_seconds).round() as usize;
    let means = |points: &[f64]| {
        let mean = |points: &[f64]| points.iter().sum::<f64>() / points.len() as f64;
        let means = points
            .chunks(second / 2)
            .map(|half| format!("{:.0}", mean(half)));
        means.collect::<Vec<_>>().join(" ")
    };
    for part in &shares.parts {
        table.row([
            part.name.clone(),
            means(&part.mbit),
            means(&part.ideal_mbit),
        ]);
    }
    let text = table.render(out.is_terminal());
    Ok(out.text(&text)?)
}

/// `weir bench compare`.
fn comparison(args: &CompareArgs) -> Result<(), Failure> {
    let read = |file: &Path| -> Result<Report, Failure> {
        let refuse = |problem: String| {
            let mend = "name a file that weir bench SCENARIO -o json has written";
            Failure::one(file.display().to_string(), problem, mend)
        };
        let text = std::fs::read(file).map_err(|error| refuse(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))
    };
    let comparison = compare(&read(&args.before)?, &read(&args.after)?);
    let mut out = Out::stdout(args.form.json());
    if out.is_json() {
        return Ok(out.json(&comparison)?);
    }
    let text = differences(&comparison, out.is_terminal());
    Ok(out.text(&text)?)
}

fn failure(halt: Halt) -> Failure {
    match halt {
        Halt::Failed(fault) => Failure::one(fault.object, fault.problem, fault.mend),
        Halt::Signal(name) => Failure::one("bench", format!("ended by {name}"), ""),
    }
}
