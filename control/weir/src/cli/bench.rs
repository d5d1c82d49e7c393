//! `weir bench`: what is measured, and how.

use super::{FormArgs, SearchArgs, seconds};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `weir bench`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  weir bench --list\n  weir bench nvgre-encap\n  weir bench nvgre-encap --vs testpmd,ovs -o json > before.json\n  \
    weir bench nvgre-encap nvgre-decap --mappings 1000,10000,100000 --vs testpmd --html report.html\n  \
    weir bench routed --frame 64,128,256,512,1024,1280,1518,imix\n  weir bench nvgre-encap --stages\n  weir bench nvgre-encap --updates 0,100000,1000000\n  \
    weir bench nvgre-encap --vs testpmd,./my-switch\n  weir bench compare before.json after.json\n  weir bench goals --only path/encap\n  \
    weir bench search --vs testpmd\n\n\
    Needs root. One subject at a time polls the core; a round holds one window of each. At the end of each of Weir's lives its counters\n\
    must be those of its devices, packet for packet. Leaves nothing behind, also on Ctrl-C."
)]
pub struct BenchArgs {
    /// Something else than to measure scenarios.
    #[command(subcommand)]
    pub verb: Option<BenchVerb>,
    /// The scenarios to run, one after the other
    #[arg(value_name = "SCENARIO", required_unless_present = "list")]
    pub scenarios: Vec<String>,
    /// Name the scenarios there are
    #[arg(long)]
    pub list: bool,
    /// vNICs on other hosts; a list is measured side by side
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub mappings: Vec<u32>,
    /// Bytes of a frame with FCS, 64 to 1518, or imix (64, 594, 1518 as 7:4:1); a list is measured side by side
    #[arg(
        long,
        value_name = "BYTES",
        value_delimiter = ',',
        default_value = "64"
    )]
    pub frame: Vec<weir_bench::workload::Frame>,
    /// UDP flows to each mapping
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub flows: u32,
    /// Which mappings are met: uniform, zipf or miss (none: every destination is unknown)
    #[arg(long, value_name = "PATTERN", default_value = "uniform")]
    pub hits: weir_bench::workload::Hits,
    /// Measure besides what each stage of Weir's path costs, in a run of its own
    #[arg(long)]
    pub stages: bool,
    /// Mappings that move to another host and back, a second, while Weir forwards (of peers nobody asks that); a list is measured side by side
    #[arg(long, value_name = "RATE", value_delimiter = ',', default_value = "0", value_parser = clap::value_parser!(u32).range(0..=100_000_000))]
    pub updates: Vec<u32>,
    /// Write the report as one HTML file besides
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Measure these beside Weir, on the same devices, frames and core: testpmd, ovs, or the file of a peer of your own, with a slash
    /// in its name: ./my-switch (docs/peers.md says what it must do)
    #[arg(long, value_name = "PEERS", value_delimiter = ',', value_parser = peer)]
    pub vs: Vec<String>,
    /// How it is measured.
    #[command(flatten)]
    pub how: HowArgs,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// How the rig measures.
#[derive(Debug, Args)]
pub struct HowArgs {
    /// Rounds that must count; medians are of ten or more
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// How long each window is, in seconds
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// The core that is measured on [default: the last that may be used]
    #[arg(long, value_name = "CORE")]
    pub core: Option<u32>,
    /// Throw a window away and repeat it if others (the hypervisor, other programs) had the core for more than this share of it
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub disturbed: f64,
}

/// `weir bench VERB`.
#[derive(Debug, Subcommand)]
pub enum BenchVerb {
    /// Search for the highest rate without loss (NDR) and with little (PDR) by MLRsearch, with the rig's own generator; latency at
    /// a share of it
    #[command(
        after_help = "Examples:\n  weir bench search --vs testpmd\n  weir bench search nvgre-encap --frame 64,imix --rounds 3\n  \
        weir bench search --ports 0000:03:00.0,0000:03:00.1 --name my-switch\n  \
        weir bench search --ports memif:/run/a.sock,memif:/run/b.sock --name vpp\n\n\
        Needs root and a core beside the switch's."
    )]
    Search(SearchArgs),
    /// The same for each frame length of RFC 2544: throughput, latency at a share of it, loss at ten loads
    #[command(
        after_help = "Examples:\n  weir bench rfc2544 --vs testpmd\n  weir bench rfc2544 --seconds 60 -o json\n\n\
        Throughput is the NDR of one trial a load. With --seconds 60 that is unconditionally as RFC 2544 §24 wants it."
    )]
    Rfc2544(SearchArgs),
    /// Hold two reports (-o json) against each other: what is faster, what is slower, what is noise
    Compare(CompareArgs),
    /// Measure what the path is to show, each goal by its name; status 1 unless all that are meant hold
    Goals(GoalsArgs),
    /// Rates of vNICs over time while their neighbours start and stop, beside those of an ideal link
    #[command(
        after_help = "Examples:\n  weir bench bandwidth --html who-gets-how-much.html\n  weir bench bandwidth -o json\n\nNeeds root."
    )]
    Bandwidth(BandwidthArgs),
}

/// `weir bench bandwidth`.
#[derive(Debug, Args)]
pub struct BandwidthArgs {
    /// Write the curves as one HTML file, too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// The core that is polled [default: the last that may be used]
    #[arg(long, value_name = "CORE")]
    pub core: Option<u32>,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// `weir bench goals`.
#[derive(Debug, Args)]
pub struct GoalsArgs {
    /// Only goals whose names start so, such as path/encap
    #[arg(long, value_name = "PREFIX")]
    pub only: Option<String>,
    /// How it is measured.
    #[command(flatten)]
    pub how: HowArgs,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// `weir bench compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The report before
    #[arg(value_name = "BEFORE.json")]
    pub before: PathBuf,
    /// The report after
    #[arg(value_name = "AFTER.json")]
    pub after: PathBuf,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// A peer that there is, or the file of one.
pub(super) fn peer(text: &str) -> Result<String, String> {
    if weir_bench::PEERS.contains(&text) || text.contains('/') {
        return Ok(text.to_string());
    }
    let known = weir_bench::PEERS.join(", ");
    Err(format!(
        "write {known}, or the file of a peer with a slash in its name, such as ./{text}"
    ))
}

/// A share of a time, in percent.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("write percent between 0 and 100, such as 1 or 0.5".into()),
    }
}
