//! A report for a person.

use crate::table::Table;
use weir_bench::Report;
use weir_bench::report::StageCost;
use weir_bench::stages::{CLOCK, WHOLE};

/// The report for a person: runs, ratios, the machine.
pub(super) fn text(report: &Report, terminal: bool) -> String {
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
pub(super) fn ratios(report: &Report, terminal: bool) -> String {
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
pub(super) fn machine(report: &Report) -> String {
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
    use weir_bench::spread::Spread;

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
