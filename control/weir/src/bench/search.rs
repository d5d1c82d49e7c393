//! `weir bench search` and `weir bench rfc2544`.

use super::tables::{machine, ratios};
use super::{Api, Progress, failure, once_each, page, scenarios};
use crate::cli::SearchArgs;
use crate::failure::Failure;
use crate::output::Out;
use crate::table::Table;
use std::fmt::Write as _;
use std::time::Duration;
use weir_bench::report::{Found, Run, Search};
use weir_bench::search::Goal;
use weir_bench::throughput::{self, RFC2544_FRAMES, Wish};
use weir_bench::workload::{Frame, Workload};
use weir_bench::{Plan, Report, Stop};

/// Which of the two verbs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As MLRsearch recommends: half of the trials at a load may go wrong.
    Search,
    /// As RFC 2544 wants it: one trial a load, every frame length, loss at ten loads.
    Rfc2544,
}

/// Searches.
pub fn run(args: &SearchArgs, kind: Kind) -> Result<(), Failure> {
    let mut out = Out::stdout(args.form.json());
    let (plan, wish) = (plan(args, kind)?, wish(args, kind)?);
    let stop = Stop::on_signals()
        .map_err(|error| Failure::one("bench", format!("cannot watch signals: {error}"), ""))?;
    let mut progress = Progress::new();
    let result = throughput::run(&plan, &wish, &Api, &stop, &mut progress);
    progress.finish();
    let report = result.map_err(failure)?;
    page(&report, args.html.as_deref())?;
    if out.is_json() {
        return Ok(out.json(&report)?);
    }
    let text = text(&report, out.is_terminal());
    Ok(out.text(&text)?)
}

fn plan(args: &SearchArgs, kind: Kind) -> Result<Plan, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::one("bench", format!("this program's own file: {error}"), ""))?;
    let frames = match (args.frame.is_empty(), kind) {
        (false, _) => args.frame.clone(),
        (true, Kind::Search) => vec![Frame::default()],
        (true, Kind::Rfc2544) => RFC2544_FRAMES.map(Frame::Bytes).to_vec(),
    };
    let load = |frame: Frame| Workload {
        mappings: args.mappings,
        frame,
        flows: args.flows,
        hits: args.hits,
        updates: 0,
    };
    Ok(Plan {
        scenarios: scenarios(&args.scenarios)?,
        loads: frames.into_iter().map(load).collect(),
        rounds: args.rounds as usize,
        window: Duration::from_secs_f64(args.seconds),
        peers: once_each(&args.vs),
        core: args.core,
        bound: args.disturbed,
        program,
        ..Plan::default()
    })
}

fn wish(args: &SearchArgs, kind: Kind) -> Result<Wish, Failure> {
    let usage = |problem: &str| Err(Failure::Usage(problem.into()));
    let (exceed, times) = match kind {
        Kind::Search => (50.0, 3.0),
        Kind::Rfc2544 => (0.0, 1.0),
    };
    let goal = Goal {
        loss_ratio: 0.0,
        exceed_ratio: args.exceed.unwrap_or(exceed) / 100.0,
        width: args.width / 100.0,
        initial_seconds: args.initial.unwrap_or(args.seconds / 10.0),
        final_seconds: args.seconds,
        // To the microsecond, so that it reads as it was meant.
        sum_seconds: args
            .sum
            .unwrap_or((args.seconds * times * 1e6).round() / 1e6),
    };
    if goal.initial_seconds > goal.final_seconds || goal.final_seconds > goal.sum_seconds {
        return usage("--initial is at most --seconds, and that at most --sum");
    }
    if goal.exceed_ratio >= 1.0 || args.pdr >= 100.0 {
        return usage("--exceed and --pdr are less than 100");
    }
    if goal.width <= 0.0 || args.latency_at <= 0.0 {
        return usage("--width and --latency-at are more than 0");
    }
    if args.max.is_some_and(|max| !(0.002..=1000.0).contains(&max)) {
        return usage("--max is between 0.002 and 1000, in millions a second");
    }
    let pdr = Goal {
        loss_ratio: args.pdr / 100.0,
        ..goal
    };
    let (out, back) = args.ports.clone().unzip();
    Ok(Wish {
        over: args.over,
        ports: out
            .zip(back)
            .map(|(out, back)| ([out, back], args.name.clone())),
        goals: [goal, pdr],
        latency_at: args.latency_at / 100.0,
        latency_seconds: args.seconds,
        max: args.max.map(|mpps| mpps * 1e6),
        loss: kind == Kind::Rfc2544,
    })
}

/// The report for a person.
fn text(report: &Report, terminal: bool) -> String {
    let mut table = Table::new([
        "scenario",
        "subject",
        "#frame",
        "#NDR Mpps",
        "#PDR Mpps",
        "#at Mpps",
        "#p50 us",
        "#p99",
        "#p99.9",
        "#p99.99",
        "#max",
        "#trials",
        "#thrown away",
    ]);
    let searched: Vec<(&Run, &Search)> = report
        .runs
        .iter()
        .filter_map(|run| Some((run, run.search.as_ref()?)))
        .collect();
    for (run, search) in &searched {
        let goal = |name: &str| {
            let found = search.goals.iter().find(|it| it.goal == name);
            let limit = search.limited_by.as_deref();
            found.map_or(String::new(), |found| rate(found, run.rounds, limit))
        };
        let mut row = vec![
            run.scenario.clone(),
            run.subject.clone(),
            run.frame.to_string(),
            goal("ndr"),
            goal("pdr"),
            search
                .latency_mpps
                .map_or(String::new(), |mpps| format!("{mpps:.3}")),
        ];
        let micros = run
            .latency_us
            .map(|it| [it.p50, it.p99, it.p99_9, it.p99_99, it.max]);
        match micros {
            Some(micros) => row.extend(micros.map(|it| format!("{it:.2}"))),
            None => row.extend([const { String::new() }; 5]),
        }
        row.extend([search.trials.to_string(), search.thrown_away.to_string()]);
        table.row(row);
    }
    let mut text = table.render(terminal);
    if searched
        .iter()
        .any(|(run, search)| search.goals.iter().any(|it| it.regular < run.rounds))
    {
        text.push_str(
            "Irregular (RFC 9971): >= is the most that could be offered, limited by the rig (what it can send and take), the line, or --max (max); none: even the least load lost too much.\n",
        );
    }
    let disturbed: u32 = searched.iter().map(|(_, it)| it.disturbed).sum();
    if disturbed > 0 {
        let _ = writeln!(
            text,
            "{disturbed} trials count although others had a core, as they had each time that these were repeated: more may have been lost than the switch's fault is."
        );
    }
    text.push_str(&loss(&searched, terminal));
    text.push_str(&ratios(report, terminal));
    if let Some((run, search)) = searched.first() {
        text.push_str(&conditions(run, search));
    }
    text.push_str(&machine(report));
    text
}

/// One goal's conditional throughput; what is irregular is marked so.
fn rate(found: &Found, rounds: usize, limit: Option<&str>) -> String {
    match (&found.mpps, &found.upper_mpps) {
        (None, _) => "none".into(),
        (Some(mpps), None) => match limit {
            Some(limit) => format!(">= {:.3} ({limit})", mpps.median),
            None => format!(">= {:.3}", mpps.median),
        },
        (Some(mpps), Some(_)) if found.regular == rounds => format!("{:.3}", mpps.median),
        (Some(mpps), Some(_)) => {
            format!("{:.3} ({} of {rounds} regular)", mpps.median, found.regular)
        }
    }
}

/// Loss at given loads, where it was measured.
fn loss(searched: &[(&Run, &Search)], terminal: bool) -> String {
    let mut table = Table::new(["scenario", "subject", "#frame", "#offered Mpps", "#lost %"]);
    let mut some = false;
    for (run, search) in searched {
        for at in &search.loss {
            some = true;
            table.row([
                run.scenario.clone(),
                run.subject.clone(),
                run.frame.to_string(),
                format!("{:.3}", at.mpps),
                format!("{:.4}", at.percent),
            ]);
        }
    }
    match some {
        true => format!("\n{}", table.render(terminal)),
        false => String::new(),
    }
}

/// What RFC 9971 wants said with every result.
fn conditions(run: &Run, search: &Search) -> String {
    let goals: Vec<String> = search
        .goals
        .iter()
        .map(|it| format!("{} {} %", it.goal.to_uppercase(), 100.0 * it.loss_ratio))
        .collect();
    let goal = search.goals.first().cloned().unwrap_or_default();
    format!(
        "\nGoals (RFC 9971): {}; exceed ratio {}, width {} of the upper bound, trials of {} to {} s, {} s a load; one direction over {}, {} round(s).\n\
         Latency at {}, from when each frame was due. Throughput is conditional throughput.\n",
        goals.join(", "),
        goal.exceed_ratio,
        goal.width,
        goal.initial_seconds,
        goal.final_seconds,
        goal.sum_seconds,
        search.over,
        run.rounds,
        search.latency_at,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_bench::report::{Latency, LossAt};
    use weir_bench::spread::Spread;

    #[test]
    fn what_is_irregular_is_marked_and_the_conditions_are_said() {
        let some = |mpps| {
            Some(Spread {
                median: mpps,
                min: mpps,
                max: mpps,
            })
        };
        let goal = |goal: &str, mpps, upper, regular| Found {
            goal: goal.into(),
            loss_ratio: 0.005,
            width: 0.01,
            mpps,
            upper_mpps: upper,
            regular,
            ..Found::default()
        };
        let run = |subject: &str, goals| Run {
            scenario: "l2".into(),
            subject: subject.into(),
            rounds: 1,
            latency_us: Some(Latency {
                p50: 1.25,
                max: 99.5,
                ..Latency::default()
            }),
            search: Some(Search {
                over: "memif".into(),
                limited_by: Some("rig".into()),
                disturbed: 3,
                goals,
                loss: vec![LossAt {
                    mpps: 7.5,
                    percent: 0.0123,
                }],
                ..Search::default()
            }),
            ..Run::default()
        };
        let report = Report {
            runs: vec![
                run(
                    "weir",
                    vec![
                        goal("ndr", some(7.0), some(7.1), 1),
                        goal("pdr", some(8.0), None, 0),
                    ],
                ),
                run("other", vec![goal("ndr", None, some(0.001), 0)]),
            ],
            ..Report::default()
        };
        let text = text(&report, false);
        let line = |subject: &str| text.lines().find(|line| line.contains(subject)).unwrap();
        let weir = line(" weir ");
        assert!(
            weir.contains(" 7.000 ") && weir.contains(">= 8.000 (rig)"),
            "{weir}"
        );
        assert!(weir.contains("1.25") && weir.contains("99.50"), "{weir}");
        assert!(line(" other ").contains("none"), "{text}");
        assert!(
            text.contains("Irregular (RFC 9971)") && text.contains("0.0123"),
            "{text}"
        );
        assert!(text.contains("6 trials count although"), "{text}");
        assert!(
            text.contains("PDR 0.5 %") && text.contains("over memif"),
            "{text}"
        );
    }
}
