//! What answers look like to a person.

mod devices;
mod objects;
mod status;

use crate::table::Table;
pub use objects::{objects, report};
pub use status::status;
use std::collections::HashMap;
use std::time::Duration;
use weir_agent::stats::{ChangeStats, ClassStats, DropRow, PullStats, Stats, VnicStats};

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
    let own = devices::own_counts(stats, terminal);
    if !own.is_empty() {
        text.push('\n');
        text.push_str(&own);
    }
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

/// A line each, the values under each other.
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
