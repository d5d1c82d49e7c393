//! What changes cost while it forwards.

use super::{figure, grouped, table};
use crate::chart::{Curve, curves};
use crate::report::{Report, Run};

/// The rate against mappings that move a second, where a scenario was measured with several.
pub(super) fn against(runs: &[&Run], to: &mut String) {
    let Some(first) = runs.first() else { return };
    let same = |run: &&&Run| {
        (&run.subject, run.mappings, run.frame) == (&first.subject, first.mappings, first.frame)
    };
    let here: Vec<&&Run> = runs.iter().filter(same).collect();
    let mut points: Vec<(f64, f64)> = here
        .iter()
        .map(|run| (f64::from(run.updates), run.mpps.median))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|a, b| a.0 == b.0);
    if points.len() < 2 {
        return;
    }
    let ticks: Vec<(f64, String)> = here
        .iter()
        .map(|run| (f64::from(run.updates), super::short(run.updates)))
        .collect();
    let curve = Curve {
        name: first.subject.clone(),
        points,
    };
    let title = "Mpps against mappings that move a second";
    figure(title, &curves(&[curve], &ticks, false), to);
}

/// How soon changes were seen, and what they replaced was free.
pub(super) fn times(report: &Report, to: &mut String) {
    let with = report
        .runs
        .iter()
        .filter_map(|run| Some((run, run.updated?)));
    let rows: Vec<Vec<String>> = with
        .map(|(run, updated)| {
            vec![
                run.scenario.clone(),
                grouped(run.mappings),
                grouped(run.updates),
                format!("{:.0}", updated.per_second.median),
                format!("{:.2}", run.mpps.median),
                format!("{:.1}", updated.visible_p99_us.median),
                format!("{:.1}", updated.reclaimed_p99_us.median),
            ]
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    to.push_str("<section><h2>While mappings move</h2><p class=\"dim\">Mappings move to another host and back, by the code that policy changes use, while workers forward. Times are p99, from a change until every worker has seen it, and until the place of what it replaced is free again.</p>");
    let heads = [
        "scenario",
        "mappings",
        "updates/s asked for",
        "updates/s made",
        "Mpps",
        "seen, us",
        "free again, us",
    ];
    table(&heads, rows.into_iter(), to);
    to.push_str("</section>");
}
