//! What answers look like to a person.

use crate::failure::sentence;
use crate::table::Table;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use weir_agent::stats::{
    ApplyReport, ChangeStats, ClassStats, DropRow, PullStats, Stats, Status, VnicStats,
};

/// How many names a report lists before it says how many more there are.
const NAMES: usize = 40;

/// Counters; with an earlier answer and the time since, rates too.
pub fn stats(stats: &Stats, since: Option<(&Stats, Duration)>, terminal: bool) -> String {
    let mut text = workers(stats, since, terminal);
    text.push('\n');
    text.push_str(&vnics(stats, since, terminal));
    if stats.vnics.iter().any(|vnic| !vnic.classes.is_empty()) {
        text.push('\n');
        text.push_str(&classes(stats, since, terminal));
    }
    if stats.vnics.iter().any(|vnic| vnic.vf.is_some()) {
        text.push('\n');
        text.push_str(&vfs(stats, terminal));
    }
    text.push('\n');
    text.push_str(&uplinks(stats, since, terminal));
    if let Some(pull) = &stats.pull {
        text.push('\n');
        text.push_str(&questions(pull, since, terminal));
    }
    text.push('\n');
    text.push_str(&changes(&stats.changes, terminal));
    text
}

/// How long changes of the tables have taken.
fn changes(changes: &ChangeStats, terminal: bool) -> String {
    let mut table = Table::new([
        "changes of the tables",
        "#count",
        "#p50 us",
        "#p99 us",
        "#max us",
    ]);
    let rows = [
        ("seen by every worker", changes.visible),
        ("replaced, and free again", changes.reclaimed),
    ];
    for (what, times) in rows {
        let [p50, p99, max] =
            [times.p50_us, times.p99_us, times.max_us].map(|us| format!("{us:.1}"));
        table.row([what.to_string(), times.count.to_string(), p50, p99, max]);
    }
    table.render(terminal)
}

/// What the store was asked.
fn questions(pull: &PullStats, since: Option<(&Stats, Duration)>, terminal: bool) -> String {
    let heads = [
        "#questions",
        "#found",
        "#absent",
        "#stale",
        "#in flight",
        "#entries here",
    ];
    let mut table = with_rates(&heads, &["#questions/s"], since.is_some());
    let mut row: Vec<String> = [
        pull.questions,
        pull.found,
        pull.absent,
        pull.stale,
        pull.in_flight,
        pull.entries,
    ]
    .iter()
    .map(u64::to_string)
    .collect();
    if let Some((old, time)) = since {
        let before = old.pull.as_ref().map_or(0, |old| old.questions);
        row.push(rate(pull.questions, before, time));
    }
    table.row(row);
    table.render(terminal)
}

/// A table with columns for rates behind it where there are rates.
fn with_rates<'a>(heads: &[&'a str], rates: &[&'a str], watching: bool) -> Table {
    let rates = if watching { rates } else { &[] };
    Table::new(heads.iter().chain(rates).copied())
}

fn workers(stats: &Stats, since: Option<(&Stats, Duration)>, terminal: bool) -> String {
    let heads = [
        "#core",
        "#rx",
        "#tx",
        "#delivered",
        "#dropped",
        "#queued",
        "#held",
        "#misses",
        "#handoff in",
        "#handoff out",
        "#generated",
        "#copies",
        "#consumed",
        "#busy %",
    ];
    let mut table = with_rates(&heads, &["#rx packets/s"], since.is_some());
    for w in &stats.workers {
        let old = since.and_then(|(s, t)| Some((s.workers.iter().find(|o| o.core == w.core)?, t)));
        // Busy since the last answer where there is one, since the start otherwise.
        let (busy_before, idle_before) =
            old.map_or((0, 0), |(o, _)| (o.busy_cycles, o.idle_cycles));
        let busy = w.busy_cycles.saturating_sub(busy_before);
        let idle = w.idle_cycles.saturating_sub(idle_before);
        let mut row: Vec<String> = [
            u64::from(w.core),
            w.rx_packets,
            w.tx_packets,
            w.delivered,
            w.dropped,
            w.queued,
            w.held,
            w.misses,
            w.handoff_in,
            w.handoff_out,
            w.generated,
            w.copies,
            w.consumed,
        ]
        .iter()
        .map(u64::to_string)
        .collect();
        row.push(percent(busy, busy.saturating_add(idle)));
        if since.is_some() {
            row.push(old.map_or_else(|| "-".into(), |(o, t)| rate(w.rx_packets, o.rx_packets, t)));
        }
        table.row(row);
    }
    table.render(terminal)
}

fn vnics(stats: &Stats, since: Option<(&Stats, Duration)>, terminal: bool) -> String {
    let heads = [
        "vnic",
        "tenant",
        "#worker",
        "#rx packets",
        "#rx bytes",
        "#tx packets",
        "#tx bytes",
        "#dropped",
        "#checksums finished",
        "#gso cut",
        "#gso whole",
    ];
    let rates = ["#rx packets/s", "#rx Mbit/s", "#tx packets/s", "#tx Mbit/s"];
    let mut table = with_rates(&heads, &rates, since.is_some());
    let known = since.map(|(s, _)| &s.vnics).into_iter().flatten();
    let known: HashMap<&str, &VnicStats> = known.map(|old| (&*old.vnic, old)).collect();
    for v in &stats.vnics {
        let old = since.and_then(|(_, t)| Some((*known.get(&*v.vnic)?, t)));
        let mut row = vec![v.vnic.clone(), v.tenant.clone(), v.worker.to_string()];
        let counters = [
            v.rx_packets,
            v.rx_bytes,
            v.tx_packets,
            v.tx_bytes,
            v.dropped,
            v.checksums_finished,
            v.gso_segmented,
            v.gso_passed,
        ];
        row.extend(counters.iter().map(u64::to_string));
        if let Some((o, t)) = old {
            row.extend([
                rate(v.rx_packets, o.rx_packets, t),
                mbit(v.rx_bytes, o.rx_bytes, t),
                rate(v.tx_packets, o.tx_packets, t),
                mbit(v.tx_bytes, o.tx_bytes, t),
            ]);
        }
        table.row(row);
    }
    table.render(terminal)
}

/// What vNICs send, by traffic class.
fn classes(stats: &Stats, since: Option<(&Stats, Duration)>, terminal: bool) -> String {
    let heads = [
        "what vNICs send",
        "class",
        "#sent packets",
        "#sent bytes",
        "#queued",
        "#queue bytes",
        "#dropped",
    ];
    let rates = ["#sent packets/s", "#sent Mbit/s"];
    let mut table = with_rates(&heads, &rates, since.is_some());
    let known = since.map(|(s, _)| &s.vnics).into_iter().flatten();
    let known = known.flat_map(|v| v.classes.iter().map(|c| ((&*v.vnic, &*c.class), c)));
    let known: HashMap<(&str, &str), &ClassStats> = known.collect();
    for v in &stats.vnics {
        for c in &v.classes {
            let name = if c.class.is_empty() { "-" } else { &c.class };
            let mut row = vec![v.vnic.clone(), name.to_string()];
            let counters = [
                c.sent_packets,
                c.sent_bytes,
                c.queued,
                c.queue_bytes,
                c.dropped,
            ];
            row.extend(counters.iter().map(u64::to_string));
            if let Some((_, t)) = since {
                let none = ClassStats::default();
                let old = known.get(&(&*v.vnic, &*c.class)).copied();
                let old = old.unwrap_or(&none);
                row.extend([
                    rate(c.sent_packets, old.sent_packets, t),
                    mbit(c.sent_bytes, old.sent_bytes, t),
                ]);
            }
            table.row(row);
        }
    }
    table.render(terminal)
}

/// What went past the switch, by the VFs of its vNICs.
fn vfs(stats: &Stats, terminal: bool) -> String {
    let mut table = Table::new([
        "past the switch",
        "vf",
        "#rx packets",
        "#rx bytes",
        "#tx packets",
        "#tx bytes",
        "#dropped",
        "note",
    ]);
    for (vnic, vf) in stats
        .vnics
        .iter()
        .filter_map(|v| Some((&v.vnic, v.vf.as_ref()?)))
    {
        let count = |count: Option<u64>| count.map_or_else(|| "-".into(), |n| n.to_string());
        let mut row = vec![vnic.clone(), vf.vf.clone().unwrap_or_default()];
        let counters = [
            vf.rx_packets,
            vf.rx_bytes,
            vf.tx_packets,
            vf.tx_bytes,
            vf.dropped,
        ];
        row.extend(counters.map(count));
        row.push(vf.note.clone().unwrap_or_default());
        table.row(row);
    }
    table.render(terminal)
}

fn uplinks(stats: &Stats, since: Option<(&Stats, Duration)>, terminal: bool) -> String {
    let heads = [
        "uplink",
        "link",
        "#Mbit/s",
        "#rx packets",
        "#rx bytes",
        "#tx packets",
        "#tx bytes",
        "#dropped",
    ];
    let rates = ["#rx packets/s", "#rx Mbit/s", "#tx packets/s", "#tx Mbit/s"];
    let mut table = with_rates(&heads, &rates, since.is_some());
    for u in &stats.uplinks {
        let old =
            since.and_then(|(s, t)| Some((s.uplinks.iter().find(|o| o.uplink == u.uplink)?, t)));
        let link = if u.link_up { "up" } else { "down" };
        let speed = if u.link_mbit == 0 {
            "-".to_string()
        } else {
            u.link_mbit.to_string()
        };
        let mut row = vec![u.uplink.clone(), link.to_string(), speed];
        let counters = [
            u.rx_packets,
            u.rx_bytes,
            u.tx_packets,
            u.tx_bytes,
            u.dropped,
        ];
        row.extend(counters.iter().map(u64::to_string));
        if let Some((o, t)) = old {
            row.extend([
                rate(u.rx_packets, o.rx_packets, t),
                mbit(u.rx_bytes, o.rx_bytes, t),
                rate(u.tx_packets, o.tx_packets, t),
                mbit(u.tx_bytes, o.tx_bytes, t),
            ]);
        }
        table.row(row);
    }
    table.render(terminal)
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        "-".into()
    } else {
        format!("{:.1}", part as f64 * 100.0 / whole as f64)
    }
}

fn per_second(now: u64, before: u64, time: Duration) -> f64 {
    // A counter that went back is of a daemon that was started anew.
    now.saturating_sub(before) as f64 / time.as_secs_f64().max(1e-3)
}

fn rate(now: u64, before: u64, time: Duration) -> String {
    format!("{:.0}", per_second(now, before, time))
}

fn mbit(now: u64, before: u64, time: Duration) -> String {
    format!("{:.1}", per_second(now, before, time) * 8.0 / 1e6)
}

/// Drops, the most packets first.
pub fn drops(rows: &[DropRow], terminal: bool) -> String {
    if rows.is_empty() && terminal {
        return "no packet was dropped\n".into();
    }
    let mut rows: Vec<&DropRow> = rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
    let mut table = Table::new([
        "reason", "vnic", "uplink", "tenant", "#worker", "#packets", "#bytes", "help",
    ]);
    for row in rows {
        table.row([
            row.reason.clone(),
            row.vnic.clone().unwrap_or_default(),
            row.uplink.clone().unwrap_or_default(),
            row.tenant.clone().unwrap_or_default(),
            row.worker.map(|w| w.to_string()).unwrap_or_default(),
            row.packets.to_string(),
            row.bytes.to_string(),
            row.help.clone(),
        ]);
    }
    table.render(terminal)
}

/// A daemon's state, one line each, and why the newest policy is not applied, if it is not.
pub fn status(status: &Status, _terminal: bool) -> String {
    let lines = [
        ("host", status.host.clone()),
        ("version", status.version.clone()),
        ("pid", status.pid.to_string()),
        ("uptime", span(status.uptime_seconds)),
        ("store", status.store.clone()),
        ("revision", status.revision.to_string()),
        ("state", last_good(status)),
        (
            "vnics",
            format!(
                "{} here, {} elsewhere",
                status.local_vnics, status.remote_vnics
            ),
        ),
        (
            "peers",
            format!(
                "{}, {} of them resolved",
                status.peers, status.peers_resolved
            ),
        ),
        (
            "mbufs",
            format!("{} free of {}", status.mbufs_free, status.mbufs_total),
        ),
    ];
    let mut text = pairs(lines.iter().map(|(key, value)| (*key, value.as_str())));
    if let Some(last) = &status.last_good {
        if last.in_use {
            text.push_str(&format!(
                "\nWhat is applied is the last good state of this host, from {}: the store has not confirmed it.\n",
                last.path
            ));
        }
        if let Some(problem) = &last.problem {
            text.push_str(&format!("\n{}: {problem}\n", last.path));
        }
    }
    if !status.warnings.is_empty() {
        text.push_str("\nWhat is applied is more than the links carry now:\n");
        for warning in &status.warnings {
            text.push_str(&format!("  {}\n", sentence(warning)));
        }
    }
    if !status.errors.is_empty() {
        text.push_str(
            "\nThe store's newest content is not applied; the daemon goes on with what it had:\n",
        );
        for error in &status.errors {
            text.push_str(&format!("  {}\n", sentence(error)));
        }
    }
    text
}

fn last_good(status: &Status) -> String {
    match &status.last_good {
        None => "not kept".into(),
        Some(last) => match last.saved_seconds {
            Some(seconds) => format!("{}, written {} ago", last.path, span(seconds)),
            None => format!("{}, not written yet", last.path),
        },
    }
}

fn pairs<'a>(lines: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> String {
    let width = lines
        .clone()
        .map(|(key, _)| key.chars().count())
        .max()
        .unwrap_or(0);
    lines
        .map(|(key, value)| format!("{key:<width$}  {value}\n"))
        .collect()
}

fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// What a transaction changed.
pub fn report(report: &ApplyReport, _terminal: bool) -> String {
    let mut text = String::new();
    for (sign, names) in [
        ('+', &report.added),
        ('~', &report.changed),
        ('-', &report.removed),
    ] {
        for name in names.iter().take(NAMES) {
            text.push_str(&format!("{sign} {name}\n"));
        }
        if names.len() > NAMES {
            text.push_str(&format!(
                "{sign} … and {} more (-o json names all)\n",
                names.len() - NAMES
            ));
        }
    }
    let (added, changed, removed) = (
        report.added.len(),
        report.changed.len(),
        report.removed.len(),
    );
    let (prefix, revision) = match report.dry_run {
        true => ("dry run, nothing is changed: would be ", String::new()),
        false => ("", format!("; revision {}", report.revision)),
    };
    let unchanged = report.unchanged;
    text.push_str(&format!("{prefix}{added} added, {changed} changed, {removed} removed, {unchanged} unchanged{revision}\n"));
    text
}

/// Objects of one kind: a table with a column for each field that any of them has; one alone as a list of its fields.
pub fn objects(objects: &[Value], one: bool, terminal: bool) -> String {
    if let ([Value::Object(object)], true) = (objects, one) {
        let lines: Vec<(String, String)> = fields(object);
        return pairs(
            lines
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
    }
    if objects.is_empty() && terminal {
        return "there is none\n".into();
    }
    let rows: Vec<Vec<(String, String)>> = objects
        .iter()
        .filter_map(Value::as_object)
        .map(fields)
        .collect();
    let mut heads: Vec<String> = Vec::new();
    for (key, _) in rows.iter().flatten() {
        if !heads.contains(key) {
            heads.push(key.clone());
        }
    }
    let mut table = Table::new(heads.iter().map(String::as_str));
    for row in &rows {
        table.row(heads.iter().map(|head| {
            row.iter()
                .find(|(key, _)| key == head)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        }));
    }
    table.render(terminal)
}

/// Fields in order; those of tables within it by their path, such as `bandwidth.max`.
fn fields(object: &serde_json::Map<String, Value>) -> Vec<(String, String)> {
    let mut fields_ = Vec::new();
    for (key, value) in object {
        match value {
            Value::Object(inner) => {
                fields_.extend(
                    fields(inner)
                        .into_iter()
                        .map(|(inner_key, v)| (format!("{key}.{inner_key}"), v)),
                );
            }
            other => fields_.push((key.clone(), scalar(other))),
        }
    }
    fields_
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(scalar).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
