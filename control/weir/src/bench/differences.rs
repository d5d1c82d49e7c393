//! `weir bench compare` for a person.

use crate::table::Table;
use weir_bench::compare::{Comparison, CostDifference, Verdict};
use weir_bench::spread::Spread;

/// The comparison for a person.
pub(super) fn differences(comparison: &Comparison, terminal: bool) -> String {
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
