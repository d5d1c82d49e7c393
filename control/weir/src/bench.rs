//! `weir bench`: the measuring rig of `weir_bench`, with this program's client, progress and tables.

mod search;

use crate::cli::{BandwidthArgs, BenchArgs, BenchVerb, CompareArgs, GoalsArgs, HowArgs};
use crate::client::{Client, PATIENCE, parse};
use crate::failure::{Failure, sentence};
use crate::output::Out;
use crate::table::Table;
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;
use weir_agent::measure::{MeasureWish, Measured};
use weir_agent::stats::{ChurnReport, ChurnWish, DropRow, Stats, Status};
use weir_agent::traffic::{TrafficReport, TrafficWish};
use weir_bench::bandwidth::plot;
use weir_bench::compare::{Comparison, CostDifference, Verdict, compare};
use weir_bench::goals::{Check, Verdict as GoalVerdict};
use weir_bench::report::StageCost;
use weir_bench::spread::Spread;
use weir_bench::stages::{CLOCK, WHOLE};
use weir_bench::workload::Workload;
use weir_bench::{Ask, Halt, Plan, Report, Scenario, Stop, Watcher, html};

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

/// The goals for a person.
fn verdicts(checks: &[Check], terminal: bool) -> String {
    let mut table = Table::new([
        "goal",
        "#",
        "#measured",
        "95% interval",
        "unit",
        "#rounds",
        "verdict",
        "why",
    ]);
    for check in checks {
        let sign = if check.at_most { "<=" } else { ">=" };
        let number = |value: f64| match value {
            value if value >= 1000.0 => format!("{value:.0}"),
            value => format!("{value:.2}"),
        };
        table.row([
            check.name.clone(),
            format!("{sign} {}", check.goal),
            check.measured.map_or(String::new(), number),
            check.interval.map_or(String::new(), |(low, high)| {
                format!("{} - {}", number(low), number(high))
            }),
            check.unit.clone(),
            check.rounds.to_string(),
            match check.verdict {
                GoalVerdict::Pass => "pass",
                GoalVerdict::Short => "short",
                GoalVerdict::Undecided => "undecided",
            }
            .to_string(),
            check.reason.clone().unwrap_or_default(),
        ]);
    }
    table.render(terminal)
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

/// The comparison for a person.
fn differences(comparison: &Comparison, terminal: bool) -> String {
    let mut table = Table::new([
        "scenario",
        "subject",
        "#mappings",
        "#frame",
        "#before",
        "95%",
        "#after",
        "95%",
        "#ratio",
        "verdict",
    ]);
    for it in &comparison.differences {
        let range = |low: f64, high: f64| format!("{low:.2} - {high:.2}");
        table.row([
            it.scenario.clone(),
            it.subject.clone(),
            it.mappings.to_string(),
            it.frame.to_string(),
            format!("{:.2}", it.before.median),
            range(it.before.min, it.before.max),
            format!("{:.2}", it.after.median),
            range(it.after.min, it.after.max),
            format!("{:.3}", it.ratio),
            match it.verdict {
                Verdict::Faster => "faster",
                Verdict::Slower => "slower",
                Verdict::Noise => "noise: the intervals overlap",
                Verdict::Undecided => "undecided: fewer than six rounds",
            }
            .to_string(),
        ]);
    }
    let mut text = table.render(terminal);
    if !comparison.costs.is_empty() {
        text.push('\n');
        text.push_str(&cost_differences(&comparison.costs).render(terminal));
    }
    for line in comparison.unpaired.iter().chain(&comparison.warnings) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Stages and latencies before and after, for a person.
fn cost_differences(costs: &[CostDifference]) -> Table {
    let mut table = Table::new([
        "scenario",
        "cost",
        "#mappings",
        "#frame",
        "unit",
        "#before",
        "95%",
        "#after",
        "95%",
        "#ratio",
        "verdict",
    ]);
    for it in costs {
        let range = |of: &Spread| match of.min == of.max {
            true => String::new(),
            false => format!("{:.1} - {:.1}", of.min, of.max),
        };
        table.row([
            it.scenario.clone(),
            it.what.clone(),
            it.mappings.to_string(),
            it.frame.to_string(),
            it.unit.clone(),
            format!("{:.1}", it.before.median),
            range(&it.before),
            format!("{:.1}", it.after.median),
            range(&it.after),
            format!("{:.3}", it.ratio),
            match it.verdict {
                Verdict::Faster => "cheaper",
                Verdict::Slower => "dearer",
                Verdict::Noise => "noise: the intervals overlap",
                Verdict::Undecided => "undecided: no interval",
            }
            .to_string(),
        ]);
    }
    table
}

fn failure(halt: Halt) -> Failure {
    match halt {
        Halt::Failed(fault) => Failure::one(fault.object, fault.problem, fault.mend),
        Halt::Signal(name) => Failure::one("bench", format!("ended by {name}"), ""),
    }
}

/// Questions over a daemon's socket.
struct Api;

impl Api {
    fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, String> {
        Api::ask(socket, Method::GET, path, Vec::new())
    }

    fn ask<T: DeserializeOwned>(
        socket: &Path,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, String> {
        let client = Client::new(socket);
        let answer = client.request(method, path, body.into(), PATIENCE);
        answer.and_then(|body| parse(&body)).map_err(told)
    }
}

/// A daemon's refusal in a sentence.
fn told(failure: Failure) -> String {
    match failure {
        Failure::Refused(errors) => errors.iter().map(sentence).collect::<Vec<_>>().join("; "),
        other => format!("{other:?}"),
    }
}

impl Ask for Api {
    fn measure(&self, socket: &Path, wish: MeasureWish) -> Result<Measured, String> {
        let body = serde_json::to_vec(&wish).map_err(|error| error.to_string())?;
        Api::ask(socket, Method::POST, "measure", body)
    }

    fn status(&self, socket: &Path) -> Result<Status, String> {
        Api::get(socket, "status")
    }

    fn stats(&self, socket: &Path) -> Result<Stats, String> {
        Api::get(socket, "stats")
    }

    fn drops(&self, socket: &Path) -> Result<Vec<DropRow>, String> {
        Api::get(socket, "drops")
    }

    fn begin_churn(&self, socket: &Path, wish: ChurnWish) -> Result<ChurnReport, String> {
        let wish = serde_json::to_vec(&wish).map_err(|error| error.to_string())?;
        Api::ask(socket, Method::POST, "rig/churn", wish)
    }

    fn end_churn(&self, socket: &Path) -> Result<ChurnReport, String> {
        Api::ask(socket, Method::DELETE, "rig/churn", Vec::new())
    }

    fn traffic(&self, socket: &Path, wish: &TrafficWish) -> Result<TrafficReport, String> {
        let wish = serde_json::to_vec(wish).map_err(|error| error.to_string())?;
        Api::ask(socket, Method::POST, "rig/traffic", wish)
    }

    fn traffic_log(&self, socket: &Path) -> Result<Vec<u8>, String> {
        let log = Client::new(socket).get("rig/log");
        log.map(|log| log.to_vec()).map_err(told)
    }
}

/// What the rig is doing, on standard error: a moving line on a terminal, each window's rate as a line of its own.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new() -> Progress {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            // Ten redraws a second of one line: nothing that a measured core notices.
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Progress { bar }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watcher for Progress {
    fn doing(&mut self, step: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(step.to_string());
        }
    }

    fn note(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // Where standard error is gone there is nobody left to tell.
            None => drop(writeln!(io::stderr().lock(), "{line}")),
        }
    }
}

/// The report for a person: runs, ratios, the machine.
fn text(report: &Report, terminal: bool) -> String {
    let mut runs = Table::new([
        "scenario",
        "subject",
        "#mappings",
        "#frame",
        "#updates/s",
        "#Mpps",
        "#min",
        "#max",
        "#cycles/packet",
        "#own cycles",
        "#to ovs",
        "#lost",
        "#bytes/mapping",
        "#allocations",
        "#rounds",
        "#thrown away",
    ]);
    for run in &report.runs {
        let ovs = format!("{} weir/ovs", run.scenario);
        let ratio = report.ratios.iter().find(|ratio| {
            ratio.name == ovs && (ratio.mappings, ratio.frame) == (run.mappings, run.frame)
        });
        let to_ovs = match ratio {
            Some(ratio) if run.subject == "weir" => format!("{:.2}", ratio.value),
            Some(ratio) if run.subject == ratio.against => "1.00".into(),
            _ => String::new(),
        };
        runs.row([
            run.scenario.clone(),
            run.subject.clone(),
            run.mappings.to_string(),
            run.frame.to_string(),
            run.updates.to_string(),
            format!("{:.2}", run.mpps.median),
            format!("{:.2}", run.mpps.min),
            format!("{:.2}", run.mpps.max),
            format!("{:.1}", run.cycles.median),
            run.own_cycles
                .map_or(String::new(), |own| format!("{:.1}", own.median)),
            to_ovs,
            run.lost_packets
                .map_or(String::new(), |lost| lost.to_string()),
            run.table_bytes
                .map_or(String::new(), |bytes| format!("{bytes:.1}")),
            run.allocations
                .map_or(String::new(), |calls| calls.to_string()),
            run.rounds.to_string(),
            run.thrown_away.to_string(),
        ]);
    }
    let mut text = runs.render(terminal);
    if let Some(updates) = updates(report) {
        text.push('\n');
        text.push_str(&updates.render(terminal));
    }
    text.push_str(&ratios(report, terminal));
    if !report.stages.is_empty() {
        text.push('\n');
        text.push_str(&stage_table(&report.stages).render(terminal));
    }
    text.push_str(&machine(report));
    text
}

/// What was held against what; nothing if nothing was.
fn ratios(report: &Report, terminal: bool) -> String {
    if report.ratios.is_empty() {
        return String::new();
    }
    let mut ratios = Table::new([
        "ratio",
        "#mappings",
        "#frame",
        "#median",
        "#min",
        "#max",
        "95% interval",
        "against",
    ]);
    for ratio in &report.ratios {
        let numbers = [ratio.value, ratio.min, ratio.max].map(|number| format!("{number:.2}"));
        let [median, min, max] = numbers;
        ratios.row([
            ratio.name.clone(),
            ratio.mappings.to_string(),
            ratio.frame.to_string(),
            median,
            min,
            max,
            ratio
                .interval
                .map_or("too few rounds".into(), |(low, high)| {
                    format!("{low:.2} - {high:.2}")
                }),
            ratio.against.clone(),
        ]);
    }
    format!("\n{}", ratios.render(terminal))
}

/// What it was measured on.
fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let version = |name: &str, version: &Option<String>| {
        version
            .as_ref()
            .map(|it| format!(", {name} {it}"))
            .unwrap_or_default()
    };
    format!(
        "\n{}, {} cores, measured on core {}, TSC {:.3} GHz, Linux {}, hugepages {}, Weir {}{}{}\n",
        machine.cpu,
        machine.cores,
        machine.core,
        machine.tsc_hz as f64 / 1e9,
        machine.kernel,
        machine.hugepages,
        machine.weir,
        version("DPDK", &machine.dpdk),
        version("Open vSwitch", &machine.ovs),
    )
}

/// What became of mappings that moved; none where none did.
fn updates(report: &Report) -> Option<Table> {
    let mut table = Table::new([
        "while mappings move",
        "#mappings",
        "#frame",
        "#updates/s",
        "#made",
        "#seen p99 us",
        "#free p99 us",
    ]);
    let mut with = report
        .runs
        .iter()
        .filter_map(|run| Some((run, run.updated?)))
        .peekable();
    with.peek()?;
    for (run, updated) in with {
        table.row([
            run.scenario.clone(),
            run.mappings.to_string(),
            run.frame.to_string(),
            run.updates.to_string(),
            format!("{:.0}", updated.per_second.median),
            format!("{:.1}", updated.visible_p99_us.median),
            format!("{:.1}", updated.reclaimed_p99_us.median),
        ]);
    }
    Some(table)
}

/// What each stage costs, for a person.
fn stage_table(stages: &[StageCost]) -> Table {
    let mut table = Table::new([
        "scenario",
        "#mappings",
        "#frame",
        "stage",
        "#cycles/packet",
        "#min",
        "#max",
        "",
    ]);
    for cost in stages {
        let about = match &*cost.stage {
            CLOCK => "what reading the clock took: taken off the others",
            WHOLE => "their sum",
            _ => "",
        };
        table.row([
            cost.scenario.clone(),
            cost.mappings.to_string(),
            cost.frame.to_string(),
            cost.stage.clone(),
            format!("{:.1}", cost.cycles),
            format!("{:.1}", cost.min),
            format!("{:.1}", cost.max),
            about.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_bench::report::{Ratio, Run};

    #[test]
    fn the_table_shows_each_subject_and_the_ratio_to_the_best_of_ovs() {
        let run = |subject: &str, mpps| Run {
            scenario: "nvgre-encap".into(),
            subject: subject.into(),
            mpps: Spread {
                median: mpps,
                min: 1.0,
                max: 99.0,
            },
            rounds: 10,
            lost_packets: (subject == "weir").then_some(7),
            table_bytes: (subject == "weir").then_some(13.5),
            allocations: (subject == "weir").then_some(0),
            ..Run::default()
        };
        let ratio = Ratio {
            name: "nvgre-encap weir/ovs".into(),
            value: 4.2,
            against: "ovs-emc".into(),
            ..Ratio::default()
        };
        let report = Report {
            runs: vec![run("weir", 21.0), run("ovs-emc", 5.0), run("ovs-smc", 3.0)],
            ratios: vec![ratio],
            ..Report::default()
        };
        let text = text(&report, false);
        let words = |subject: &str| {
            let line = text.lines().find(|line| line.contains(subject)).unwrap();
            line.split_whitespace()
                .map(str::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words("weir ")[4..],
            [
                "0", "21.00", "1.00", "99.00", "0.0", "-", "4.20", "7", "13.5", "0", "10", "0"
            ]
        );
        assert_eq!(
            (&*words("ovs-emc")[10], &*words("ovs-smc")[10]),
            ("1.00", "-")
        );
    }
}
