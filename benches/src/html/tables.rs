//! The report's tables: ratios, every run, the machine.

use super::{grouped, table};
use crate::report::Report;

/// Ratios of subjects.
pub(super) fn ratios(report: &Report, to: &mut String) {
    if report.ratios.is_empty() {
        return;
    }
    to.push_str("<section><h2>Side by side</h2><p class=\"dim\">Medians of the ratios of each round. Beyond testpmd: cycles a packet less those of testpmd mac on the same devices.</p>");
    let heads = [
        "ratio",
        "mappings",
        "frame",
        "median",
        "least",
        "most",
        "95% interval",
        "against",
    ];
    let rows = report.ratios.iter().map(|it| {
        vec![
            it.name.clone(),
            grouped(it.mappings),
            it.frame.to_string(),
            format!("{:.2}", it.value),
            format!("{:.2}", it.min),
            format!("{:.2}", it.max),
            it.interval.map_or("too few rounds".into(), |(low, high)| {
                format!("{low:.2} – {high:.2}")
            }),
            it.against.clone(),
        ]
    });
    table(&heads, rows, to);
    to.push_str("</section>");
}

fn number(count: Option<u64>) -> String {
    count.map_or(String::new(), |count| count.to_string())
}

/// Every run.
pub(super) fn runs_table(report: &Report, to: &mut String) {
    to.push_str("<section><h2>Every run</h2>");
    let heads = [
        "scenario",
        "subject",
        "mappings",
        "flows",
        "hits",
        "frame",
        "updates/s",
        "Mpps",
        "least",
        "most",
        "cycles",
        "own cycles",
        "lost",
        "bytes a mapping",
        "allocations",
        "p50 / p99 µs",
        "rounds",
        "thrown away",
        "source",
    ];
    let rows = report.runs.iter().map(|run| {
        vec![
            run.scenario.clone(),
            run.subject.clone(),
            grouped(run.mappings),
            run.flows.to_string(),
            format!("{:?}", run.hits).to_lowercase(),
            run.frame.to_string(),
            grouped(run.updates),
            format!("{:.2}", run.mpps.median),
            format!("{:.2}", run.mpps.min),
            format!("{:.2}", run.mpps.max),
            format!("{:.1}", run.cycles.median),
            run.own_cycles
                .map_or(String::new(), |own| format!("{:.1}", own.median)),
            number(run.lost_packets),
            run.table_bytes
                .map_or(String::new(), |each| format!("{each:.1}")),
            number(run.allocations),
            run.latency_us
                .map_or(String::new(), |it| format!("{:.1} / {:.1}", it.p50, it.p99)),
            run.rounds.to_string(),
            run.thrown_away.to_string(),
            run.source.clone(),
        ]
    });
    table(&heads, rows, to);
    to.push_str("</section>");
}

/// Where it was measured.
pub(super) fn machine(report: &Report, to: &mut String) {
    let machine = &report.machine;
    let version = |it: &Option<String>| it.clone().unwrap_or_else(|| "not used".into());
    to.push_str("<section><h2>The machine, and how it was measured</h2>");
    let rows = [
        ("Processor", machine.cpu.clone()),
        (
            "Cores",
            format!("{}, measured on core {}", machine.cores, machine.core),
        ),
        ("TSC", format!("{:.3} GHz", machine.tsc_hz as f64 / 1e9)),
        ("Linux", machine.kernel.clone()),
        ("Hugepages", machine.hugepages.clone()),
        ("Weir", machine.weir.clone()),
        ("DPDK", version(&machine.dpdk)),
        ("Open vSwitch", version(&machine.ovs)),
    ];
    let rows = rows
        .into_iter()
        .map(|(name, value)| (name.to_string(), value));
    let peers = machine
        .peers
        .iter()
        .map(|(name, version)| (name.clone(), version.clone()));
    let rows = rows.chain(peers).map(|(name, value)| vec![name, value]);
    table(&["", ""], rows, to);
    to.push_str(
        "<p class=\"dim\">Every subject gets the same frames from the same source, the same mappings, the same sink and the same core, alone. \
         A round holds one window of each; a window in which others had the core for longer than a bound declared before is thrown away, \
         counted and repeated. Bars are medians, whiskers reach from the least to the most. At the end of each of Weir&#39;s lives, when everything \
         stands still, its counters must be those of the devices, packet for packet, or the run fails: lost is what the source gave and the sink \
         did not get. Allocations are calls of the allocator by Weir&#39;s workers while they were measured. Stages are measured in a run of their own, \
         by the TSC between stages. Figures of different machines or hours are not to be \
         held against each other.</p></section>",
    );
}
