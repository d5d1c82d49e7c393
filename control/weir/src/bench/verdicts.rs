//! `weir bench goals` for a person.

use crate::table::Table;
use weir_bench::goals::{Check, Verdict};

/// The goals for a person.
pub(super) fn verdicts(checks: &[Check], terminal: bool) -> String {
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
                Verdict::Pass => "pass",
                Verdict::Short => "short",
                Verdict::Undecided => "undecided",
            }
            .to_string(),
            check.reason.clone().unwrap_or_default(),
        ]);
    }
    table.render(terminal)
}
