//! The report as one HTML file: nothing is fetched, no script runs, charts are drawn by [`chart`](crate::chart).

mod tables;
mod updates;

use crate::chart::{Bar, Curve, bars, curves, escape};
use crate::report::{Latency, Report, Run, StageCost};
use crate::stages::CLOCK;
use crate::workload::Frame;
use std::fmt::Write;

/// The file's text.
pub fn page(report: &Report) -> String {
    let mut body = String::new();
    let scenarios = once_each(report.runs.iter().map(|run| run.scenario.clone()));
    headline(report, &mut body);
    for scenario in &scenarios {
        let runs: Vec<&Run> = report
            .runs
            .iter()
            .filter(|it| it.scenario == *scenario)
            .collect();
        let _ = write!(body, "<section><h2>{}</h2>", escape(scenario));
        if let Some(about) = crate::Scenario::named(scenario) {
            let _ = write!(body, "<p class=\"dim\">{}</p>", escape(about.about()));
        }
        body.push_str("<div class=\"grid\">");
        // Bars and curves are of what was measured under the same updates, the first of them.
        let updates = runs.first().map_or(0, |run| run.updates);
        let same = |run: &&Run| run.updates == updates;
        let still: Vec<&Run> = runs.iter().copied().filter(same).collect();
        by_subject(&still, &mut body);
        by_mappings(&still, &mut body);
        by_frame(&still, &mut body);
        by_latency(&still, &mut body);
        updates::against(&runs, &mut body);
        by_stage(report, scenario, &mut body);
        body.push_str("</div></section>");
    }
    tables::ratios(report, &mut body);
    updates::times(report, &mut body);
    tables::runs_table(report, &mut body);
    tables::machine(report, &mut body);
    framed(&scenarios.join(", "), &body)
}

/// A whole file.
pub(crate) fn framed(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Weir: {}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n",
        escape(title)
    )
}

/// Each of these once, in order.
fn once_each<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for it in all {
        if !seen.contains(&it) {
            seen.push(it);
        }
    }
    seen
}

/// A chart with what it shows.
pub(crate) fn figure(title: &str, svg: &str, to: &mut String) {
    let _ = write!(
        to,
        "<figure><figcaption>{}</figcaption>{svg}</figure>",
        escape(title)
    );
}

/// What a reader wants first: rates of Weir, and the ratio to what it was measured beside.
fn headline(report: &Report, to: &mut String) {
    let machine = &report.machine;
    let _ = write!(
        to,
        "<header><p class=\"dim\">weir bench</p><h1>How fast is the switch?</h1>\
         <p class=\"dim\">{}, one core, TSC {:.2} GHz, DPDK {}{}</p><div class=\"cards\">",
        escape(&machine.cpu),
        machine.tsc_hz as f64 / 1e9,
        escape(machine.dpdk.as_deref().unwrap_or("unknown")),
        machine
            .ovs
            .as_ref()
            .map(|it| format!(", Open vSwitch {}", escape(it)))
            .unwrap_or_default(),
    );
    for run in report
        .runs
        .iter()
        .filter(|run| run.subject == "weir" && run.updates == 0)
    {
        let of = |ratio: &&crate::report::Ratio| {
            ratio.name == format!("{} weir/ovs", run.scenario)
                && (ratio.mappings, ratio.frame) == (run.mappings, run.frame)
        };
        let beside = report.ratios.iter().find(of);
        let beside = beside.map_or(String::new(), |ratio| {
            format!("<p><b>{:.1}×</b> Open vSwitch at its best</p>", ratio.value)
        });
        let _ = write!(
            to,
            "<div class=\"card\"><p class=\"dim\">{}<br>{} mappings, {}</p>\
             <p class=\"big\">{:.1} <small>Mpps</small></p><p>{:.0} cycles a packet</p>{beside}</div>",
            escape(&run.scenario),
            grouped(run.mappings),
            bytes(run.frame),
            run.mpps.median,
            run.cycles.median,
        );
    }
    to.push_str("</div></header>");
}

fn bytes(frame: Frame) -> String {
    match frame {
        Frame::Bytes(bytes) => format!("{bytes} bytes"),
        Frame::Imix => "IMIX".into(),
    }
}

/// 1,000,000.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bars for the first setting: more of them are curves.
fn by_subject(runs: &[&Run], to: &mut String) {
    let Some(first) = runs.first() else { return };
    let same = |run: &&&Run| (run.mappings, run.frame) == (first.mappings, first.frame);
    let here: Vec<&&Run> = runs.iter().filter(same).collect();
    let title = format!(
        "Millions of packets a second, {} mappings, {}",
        grouped(first.mappings),
        bytes(first.frame)
    );
    let rates: Vec<Bar> = here
        .iter()
        .map(|run| Bar {
            name: run.subject.clone(),
            value: run.mpps.median,
            range: Some((run.mpps.min, run.mpps.max)),
        })
        .collect();
    figure(&title, &bars(&rates, "Mpps"), to);
    let cycles: Vec<Bar> = here
        .iter()
        .map(|run| Bar {
            name: run.subject.clone(),
            value: run.cycles.median,
            range: Some((run.cycles.min, run.cycles.max)),
        })
        .collect();
    figure(
        "Cycles a packet, source and sink included",
        &bars(&cycles, "cycles"),
        to,
    );
}

/// One curve a subject.
fn by(
    runs: &[&Run],
    x: impl Fn(&Run) -> f64,
    label: impl Fn(&Run) -> String,
    title: &str,
    log: bool,
    to: &mut String,
) {
    let ticks = once_each(runs.iter().map(|run| (x(run), label(run))));
    if ticks.len() < 2 {
        return;
    }
    let subjects = once_each(runs.iter().map(|run| run.subject.clone()));
    let curve = |subject: String| {
        let points = runs.iter().filter(|run| run.subject == subject);
        let mut points: Vec<(f64, f64)> = points.map(|run| (x(run), run.mpps.median)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Curve {
            name: subject,
            points,
        }
    };
    let all: Vec<Curve> = subjects.into_iter().map(curve).collect();
    figure(title, &curves(&all, &ticks, log), to);
}

fn by_mappings(runs: &[&Run], to: &mut String) {
    let Some(frame) = runs.first().map(|run| run.frame) else {
        return;
    };
    let here: Vec<&Run> = runs
        .iter()
        .copied()
        .filter(|it| it.frame == frame)
        .collect();
    let title = format!("Mpps against mappings, {}", bytes(frame));
    let (x, label) = (
        |run: &Run| f64::from(run.mappings),
        |run: &Run| short(run.mappings),
    );
    by(&here, x, label, &title, true, to);
}

/// 10 M, 100 k.
fn short(number: u32) -> String {
    match number {
        n if n >= 1_000_000 && n % 100_000 == 0 => format!("{} M", f64::from(n) / 1e6),
        n if n >= 1000 && n % 100 == 0 => format!("{} k", f64::from(n) / 1e3),
        n => n.to_string(),
    }
}

fn by_frame(runs: &[&Run], to: &mut String) {
    let Some(mappings) = runs.first().map(|run| run.mappings) else {
        return;
    };
    let here = |run: &&Run| run.mappings == mappings && matches!(run.frame, Frame::Bytes(_));
    let here: Vec<&Run> = runs.iter().copied().filter(here).collect();
    let x = |run: &Run| match run.frame {
        Frame::Bytes(bytes) => f64::from(bytes),
        Frame::Imix => 0.0,
    };
    let title = format!(
        "Mpps against bytes of a frame, {} mappings",
        grouped(mappings)
    );
    by(&here, x, |run| run.frame.to_string(), &title, true, to);
}

/// Bars of percentiles, and a curve over all of them where there is one: how long packets were on their way.
fn by_latency(runs: &[&Run], to: &mut String) {
    let timed: Vec<(&Run, &Latency)> = runs
        .iter()
        .filter_map(|run| Some((*run, run.latency_us.as_ref()?)))
        .collect();
    type Percentile = (&'static str, fn(&Latency) -> f64);
    let of: [Percentile; 4] = [
        ("p50", |it| it.p50),
        ("p99", |it| it.p99),
        ("p99.9", |it| it.p99_9),
        ("p99.99", |it| it.p99_99),
    ];
    let bar = |(run, latency): &(&Run, &Latency), (name, value): &Percentile| Bar {
        name: format!("{} {name}", run.subject),
        value: value(latency),
        range: None,
    };
    let each = of
        .iter()
        .flat_map(|of| timed.iter().map(move |it| bar(it, of)));
    let each: Vec<Bar> = each.collect();
    if each.is_empty() {
        return;
    }
    let load = timed.iter().find_map(|(run, _)| run.search.as_ref());
    let load = load.map_or(String::new(), |search| format!(" at {}", search.latency_at));
    figure(
        &format!("Microseconds on the way{load}, by percentile"),
        &bars(&each, "µs"),
        to,
    );
    // The farther right, the rarer: one of ten, of a hundred, of a thousand.
    let rarity = |percentile: f64| 100.0 / (100.0 - percentile.min(99.9999));
    let curve = |(run, _): &(&Run, &Latency)| {
        let search = run.search.as_ref()?;
        let points = search.latency_curve.iter();
        Some(Curve {
            name: run.subject.clone(),
            points: points.map(|(at, us)| (rarity(*at), *us)).collect(),
        })
    };
    let all: Vec<Curve> = timed
        .iter()
        .filter_map(curve)
        .filter(|it| it.points.len() > 1)
        .collect();
    if all.is_empty() {
        return;
    }
    let ticks = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999].map(|at| (rarity(at), format!("{at}%")));
    figure(
        &format!("Microseconds on the way{load}, percentile by percentile"),
        &curves(&all, &ticks, true),
        to,
    );
}

/// Bars of what each stage costs, for each load that was measured.
fn by_stage(report: &Report, scenario: &str, to: &mut String) {
    let costs: Vec<&StageCost> = report
        .stages
        .iter()
        .filter(|it| it.scenario == scenario)
        .collect();
    for (mappings, frame) in once_each(costs.iter().map(|it| (it.mappings, it.frame))) {
        let here = costs
            .iter()
            .filter(|it| (it.mappings, it.frame) == (mappings, frame));
        let stages: Vec<Bar> = here
            .map(|cost| Bar {
                name: match &*cost.stage {
                    CLOCK => "(clock)".to_string(),
                    stage => stage.to_string(),
                },
                value: cost.cycles,
                range: (cost.max > cost.min).then_some((cost.min, cost.max)),
            })
            .collect();
        let title = format!(
            "Cycles a packet of each stage of Weir, {} mappings, {}; the clock's were taken off",
            grouped(mappings),
            bytes(frame)
        );
        figure(&title, &bars(&stages, "cycles"), to);
    }
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>, to: &mut String) {
    to.push_str("<div class=\"scroll\"><table><thead><tr>");
    for head in heads {
        let _ = write!(to, "<th>{}</th>", escape(head));
    }
    to.push_str("</tr></thead><tbody>");
    for row in rows {
        to.push_str("<tr>");
        for cell in row {
            let _ = write!(to, "<td>{}</td>", escape(&cell));
        }
        to.push_str("</tr>");
    }
    to.push_str("</tbody></table></div>");
}

const STYLE: &str = ":root{--ink:#1b2733;--dim:#5d6b78;--line:#d8dee4;--paper:#fff;--card:#f5f8fa;--weir:#0b7285;--other:#9aa7b3}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#98a6b3;--line:#32404c;--paper:#11181f;--card:#19232c;--weir:#3bc9db;--other:#6b7a87}}\
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}main{max-width:1060px;margin:0 auto;padding:2rem 1.2rem 4rem}\
h1{font-size:2rem;margin:.2rem 0}h2{margin:2.6rem 0 .2rem;font-size:1.3rem}p{margin:.3rem 0}.dim{color:var(--dim)}\
.cards{display:flex;flex-wrap:wrap;gap:.9rem;margin-top:1.2rem}.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.9rem 1.2rem;min-width:150px}\
.big{font-size:2.1rem;font-weight:650;color:var(--weir);line-height:1.2}.big small{font-size:1rem;font-weight:400;color:var(--dim)}\
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(430px,1fr));gap:1.4rem;align-items:start}@media(max-width:520px){.grid{grid-template-columns:1fr}}\
figure{margin:.8rem 0 0}figcaption{font-weight:600;margin-bottom:.4rem}svg{width:100%;height:auto;display:block}\
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .dim{fill:var(--dim)}svg .axis{stroke:var(--line)}svg .whisker{stroke:var(--ink);stroke-width:1.4;opacity:.75}\
.scroll{overflow-x:auto}table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums;font-size:.88rem}th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--dim);font-weight:500}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::report::{Ratio, Search};
    use crate::spread::Spread;
    use std::collections::BTreeMap;

    fn run(subject: &str, mappings: u32, mpps: f64) -> Run {
        let spread = |median| Spread {
            median,
            min: 0.9 * median,
            max: 1.1 * median,
        };
        Run {
            scenario: "nvgre-encap".into(),
            subject: subject.into(),
            mappings,
            mpps: spread(mpps),
            cycles: spread(2600.0 / mpps),
            ..Run::default()
        }
    }

    #[test]
    fn the_page_stands_alone_and_names_everything() {
        let stage = |name: &str| StageCost {
            scenario: "nvgre-encap".into(),
            stage: name.into(),
            mappings: 1000,
            cycles: 9.5,
            min: 9.0,
            max: 10.0,
            ..StageCost::default()
        };
        let mut report = Report {
            runs: vec![
                run("weir", 1000, 30.0),
                run("<ovs>", 1000, 12.0),
                run("weir", 1_000_000, 25.0),
            ],
            ratios: vec![Ratio {
                name: "nvgre-encap weir/ovs".into(),
                mappings: 1000,
                value: 2.5,
                ..Ratio::default()
            }],
            stages: ["receive", "lookup", CLOCK].map(stage).to_vec(),
            machine: Machine {
                peers: BTreeMap::from([("my-switch".into(), "7".into())]),
                ..Machine::default()
            },
        };
        report.runs[0].table_bytes = Some(24.5);
        report.runs[0].latency_us = Some(Latency {
            p50: 4.0,
            p99: 9.0,
            p99_9: 30.0,
            p99_99: 41.0,
            max: 99.0,
        });
        report.runs[0].search = Some(Search {
            latency_at: "0.5 of pdr".into(),
            latency_curve: vec![(50.0, 4.0), (99.0, 9.0), (100.0, 99.0)],
            ..Search::default()
        });
        let page = page(&report);
        for wanted in [
            "30.0 <small>Mpps",
            "2.5×",
            "1 M",
            "lookup",
            "&lt;ovs&gt;",
            "too few rounds",
            "receive",
            "(clock)",
            "p99.9",
            "0.5 of pdr",
            "99.99%",
            "24.5",
            "my-switch",
            "<path",
        ] {
            assert!(page.contains(wanted), "{wanted}");
        }
        for foreign in [
            "http", "<script", "src=", "url(", "@import", "<ovs>", "NaN", "\"inf",
        ] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<svg").count(), 6);
    }

    #[test]
    fn what_updates_cost_is_a_curve_and_a_table_of_its_own() {
        use crate::report::Updated;
        let mut moving = run("weir", 1000, 28.5);
        let p99 = |median| Spread {
            median,
            ..Spread::default()
        };
        moving.updates = 1_000_000;
        moving.updated = Some(Updated {
            per_second: p99(999_999.0),
            visible_p99_us: p99(12.3),
            reclaimed_p99_us: p99(45.6),
        });
        let mut report = Report {
            runs: vec![run("weir", 1000, 30.0)],
            ..Report::default()
        };
        assert!(!page(&report).contains("While mappings move"));
        report.runs.push(moving);
        let page = page(&report);
        for wanted in [
            "While mappings move",
            "999999",
            "12.3",
            "45.6",
            "1,000,000",
            "against mappings that move",
        ] {
            assert!(page.contains(wanted), "{wanted}");
        }
        // One card: with updates it is no headline.
        assert_eq!(page.matches("<div class=\"card\">").count(), 1);
    }

    #[test]
    fn numbers_as_people_write_them() {
        assert_eq!(
            (grouped(1_000_000), grouped(999)),
            ("1,000,000".into(), "999".into())
        );
        assert_eq!(
            (short(10_000_000), short(1000), short(50)),
            ("10 M".into(), "1 k".into(), "50".into())
        );
    }
}
