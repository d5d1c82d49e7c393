//! `weir bench search` and `weir bench rfc2544`.

use super::bench::{peer, percent};
use super::{FormArgs, seconds};
use clap::Args;
use std::path::PathBuf;
use weir_bench::throughput::Over;
use weir_bench::traffic::gate::two_devices;
use weir_bench::workload::{Frame, Hits};

/// `weir bench search` and `weir bench rfc2544`: the same, with other defaults.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// The scenarios, one after the other
    #[arg(value_name = "SCENARIO", default_value = "l2")]
    pub scenarios: Vec<String>,
    /// What is between the rig and the switches that it starts: memif, or vhost (a guest's virtio device)
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "memif",
        conflicts_with = "ports"
    )]
    pub over: Over,
    /// Start nothing: out of this device and back by the other one, with your own switch between them. Each is a PCI address,
    /// memif:PATH (the switch is the server), memif-server:PATH, vhost-user:PATH (the switch listens), vhost-user-server:PATH,
    /// or a DPDK vdev
    #[arg(long, value_name = "OUT,BACK", value_parser = devices)]
    pub ports: Option<(String, String)>,
    /// What your own switch is called in the report
    #[arg(long, value_name = "NAME", default_value = "device", requires = "ports", value_parser = name)]
    pub name: String,
    /// Measure these beside Weir, between the same devices and on the same core: testpmd, ovs, or the file of a
    /// peer of your own
    #[arg(long, value_name = "PEERS", value_delimiter = ',', conflicts_with = "ports", value_parser = peer)]
    pub vs: Vec<String>,
    /// vNICs on other hosts
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub mappings: u32,
    /// Bytes of a frame with FCS, 64 to 1518, or imix [default: 64; of rfc2544: 64,128,256,512,1024,1280,1518]
    #[arg(long, value_name = "BYTES", value_delimiter = ',')]
    pub frame: Vec<Frame>,
    /// UDP flows to each mapping
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub flows: u32,
    /// Which mappings are met: uniform or zipf
    #[arg(long, value_name = "PATTERN", default_value = "uniform")]
    pub hits: Hits,
    /// Searches of each subject, interleaved
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Seconds of the trials that decide; RFC 2544 wants 60
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = seconds)]
    pub seconds: f64,
    /// Seconds of the shortest trials [default: a tenth of --seconds]
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub initial: Option<f64>,
    /// Seconds of trials that decide about one load [default: three times --seconds; of rfc2544: once]
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub sum: Option<f64>,
    /// Share of these in which more may be lost, in percent [default: 50; of rfc2544: 0]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub exceed: Option<f64>,
    /// How close the bounds must be, in percent of the upper one
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub width: f64,
    /// What PDR may lose, in percent; NDR loses nothing
    #[arg(long, value_name = "PERCENT", default_value_t = 0.5, value_parser = percent)]
    pub pdr: f64,
    /// At which share of PDR latency is taken, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50.0, value_parser = percent)]
    pub latency_at: f64,
    /// Offer no more than so many millions of packets a second [default: what the rig can, or the line]
    #[arg(long, value_name = "MPPS")]
    pub max: Option<f64>,
    /// The core of the switch; the rig takes another one [default: the last that may be used]
    #[arg(long, value_name = "CORE")]
    pub core: Option<u32>,
    /// Throw a trial away and repeat it if others had the switch's core for more than this share of it, or the rig was held up
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub disturbed: f64,
    /// Write the report as one HTML file besides
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

fn devices(text: &str) -> Result<(String, String), String> {
    two_devices(text)
}

fn name(text: &str) -> Result<String, String> {
    match weir_bench::throughput::is_taken(text) {
        true => Err("that is a subject of the rig's own; choose another name".into()),
        false => Ok(text.to_string()),
    }
}
