//! What may be typed to look at packets.

use super::{DaemonArgs, FormArgs, seconds};
use clap::{ArgGroup, Args};
use std::net::IpAddr;
use std::path::PathBuf;
use weir_agent::observe::ask::point_names;

/// Which packets, and how many.
#[derive(Clone, Debug, Default, Args)]
pub struct SelectionArgs {
    /// Only packets that this expression takes, as tcpdump's: pcap-filter(7)
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,
    /// Only packets of this vNIC, or that came from it
    #[arg(long, value_name = "NAME", conflicts_with = "uplink")]
    pub vnic: Option<String>,
    /// Only packets of this uplink, or that came from it
    #[arg(long, value_name = "NAME")]
    pub uplink: Option<String>,
    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub seconds: Option<f64>,
}

/// `weir capture`.
#[derive(Debug, Args)]
#[command(
    after_help = "Points: vnic-rx, vnic-tx, uplink-rx, uplink-tx, encap, decap, drop (weir capture --list says what each is).\n\n\
    Examples:\n  \
    weir capture vnic-rx,vnic-tx --vnic blue1 -w blue1.pcapng      until Ctrl-C\n  \
    weir capture uplink-tx --filter 'ip proto gre' -c 100 -w tunnel.pcapng\n  \
    weir capture drop -w - | tshark -r - -T fields -e frame.interface_name -e frame.comment\n  \
    weir capture encap,uplink-tx --vnic blue1 -w both.pcapng       inside and outside of the same packets\n\n\
    The file is pcapng with nanoseconds and one interface for each point and vNIC or uplink; it can be read while it is written.\n\
    The filter sees a packet as it is at the point: at uplink-tx the outer headers, at encap the VM's own.\n\
    What a reader is too slow for is lost to the capture (it is said at the end), never to the packets' receivers."
)]
pub struct CaptureArgs {
    /// Where to look; several with commas
    #[arg(value_name = "POINT", required_unless_present = "list", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(point_names()))]
    pub points: Vec<String>,
    /// Name the points there are
    #[arg(long, conflicts_with_all = ["points", "write"])]
    pub list: bool,
    /// Write to this file; - is standard output
    #[arg(
        short = 'w',
        long = "write",
        value_name = "FILE",
        required_unless_present = "list"
    )]
    pub write: Option<PathBuf>,
    /// Which packets.
    #[command(flatten)]
    pub of: SelectionArgs,
    /// End after so many packets
    #[arg(short = 'c', long = "count", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Keep so many bytes of each packet [default: all]
    #[arg(short = 's', long = "snap", value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub snap: Option<u32>,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `weir trace`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("kind").args(["tcp", "udp", "icmp", "arp"]),
    group = ArgGroup::new("imagined").args(["packet", "to"]),
    after_help = "Examples:\n  \
    weir trace --filter 'icmp and host 10.1.0.12'       waits for a real packet that matches\n  \
    weir trace --vnic blue1 -c 5                        the next five that blue1 sends\n  \
    weir trace --vnic blue1 --to 10.2.0.13 --tcp 80     what would become of a SYN, without sending one\n  \
    weir trace --vnic blue1 --to 10.2.0.13 --udp 53 --size 1500 --df\n  \
    weir trace --vnic blue1 --packet 'ffffffffffff 020000000101 0806 ...'\n  \
    weir trace --uplink up0 --packet \"$(xxd -p frame.bin)\"  the way in\n\n\
    A real packet is met where it comes in; one from another host matches by its outer headers, or by what is inside.\n\
    With --packet or --to nothing is sent and nothing is counted: control takes the packet through the stages that workers run."
)]
pub struct TraceArgs {
    /// Which packets; with --packet or --to, where it comes from.
    #[command(flatten)]
    pub of: SelectionArgs,
    /// End after so many packets [default: 1]
    #[arg(short = 'c', long = "count", value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "imagined")]
    pub count: Option<u64>,
    /// The bytes of a packet to imagine, in hexadecimal, from its destination MAC on
    #[arg(long, value_name = "HEX", conflicts_with_all = ["to", "filter", "seconds"])]
    pub packet: Option<String>,
    /// Imagine a packet from --vnic to this address
    #[arg(long, value_name = "ADDRESS", requires = "vnic", conflicts_with_all = ["filter", "seconds"])]
    pub to: Option<IpAddr>,
    /// It is a TCP SYN to this port
    #[arg(long, value_name = "PORT", requires = "to")]
    pub tcp: Option<u16>,
    /// It is a UDP datagram to this port
    #[arg(long, value_name = "PORT", requires = "to")]
    pub udp: Option<u16>,
    /// It is an echo request (the default)
    #[arg(long, requires = "to")]
    pub icmp: bool,
    /// It is an ARP request for the address
    #[arg(long, requires = "to")]
    pub arp: bool,
    /// It is from this address [default: the vNIC's own]
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    pub src: Option<IpAddr>,
    /// It is for this MAC [default: what a VM would find]
    #[arg(long, value_name = "MAC", requires = "to")]
    pub mac: Option<String>,
    /// Bytes of the IP packet [default: as few as it can have]
    #[arg(long, value_name = "BYTES", requires = "to")]
    pub size: Option<u16>,
    /// Its TTL or hop limit [default: 64]
    #[arg(long, value_name = "N", requires = "to")]
    pub ttl: Option<u8>,
    /// It must not be fragmented (IPv4's DF)
    #[arg(long, requires = "to")]
    pub df: bool,
    /// Show all bytes, not the first 96 alone
    #[arg(long)]
    pub full: bool,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}
