//! What may be asked of `weir capture` and `weir trace`, and what is answered: plain values, as they travel over the API.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::IpAddr;
use weir_switch::watch::Point;

/// Whose packets are meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Only of or from this vNIC.
    #[serde(default)]
    pub vnic: Option<String>,
    /// Only of or from this uplink.
    #[serde(default)]
    pub uplink: Option<String>,
    /// A filter expression as tcpdump's, pcap-filter(7).
    #[serde(default)]
    pub filter: String,
    /// End after so many packets.
    #[serde(default)]
    pub count: Option<u64>,
    /// End after so many seconds.
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// A capture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureWish {
    /// Names of points.
    pub points: Vec<String>,
    /// Bytes of a packet that are kept, at most; all if it is not written.
    #[serde(default)]
    pub snap: Option<u32>,
    /// Whose packets.
    #[serde(flatten)]
    pub of: Selection,
}

/// A packet that is only imagined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagineWish {
    /// The vNIC that sends it.
    #[serde(default)]
    pub vnic: Option<String>,
    /// The uplink that it comes from.
    #[serde(default)]
    pub uplink: Option<String>,
    /// Its bytes, in hexadecimal.
    #[serde(default)]
    pub packet: Option<String>,
    /// Or what it is.
    #[serde(default)]
    pub described: Option<Described>,
}

/// A packet in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Whom it is for.
    pub to: IpAddr,
    /// What it carries.
    pub kind: Kind,
    /// Whom it is from; the vNIC's own address if it is not written.
    #[serde(default)]
    pub src: Option<IpAddr>,
    /// The destination MAC; what a VM would find by ARP or ND if it is not written.
    #[serde(default)]
    pub mac: Option<String>,
    /// Bytes of the IP packet; as short as it can be if it is not written.
    #[serde(default)]
    pub size: Option<u16>,
    /// Time to live, or hop limit.
    #[serde(default)]
    pub ttl: Option<u8>,
    /// IPv4's "don't fragment".
    #[serde(default)]
    pub dont_fragment: bool,
}

/// What a described packet carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An echo request.
    #[default]
    Icmp,
    /// A SYN to this port.
    Tcp(u16),
    /// A datagram to this port.
    Udp(u16),
    /// The question who has the address.
    Arp,
}

/// What an observer saw, once it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Packets that it was given.
    pub packets: u64,
    /// Packets (of a trace, steps too) that found no room on the way to it.
    pub lost: u64,
}

/// A point, for `weir capture --list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointRow {
    /// Its stable name.
    pub point: String,
    /// What is seen there.
    pub help: String,
}

/// All points.
pub fn points() -> Vec<PointRow> {
    let row = |point: &Point| PointRow {
        point: point.name().into(),
        help: point.help().into(),
    };
    Point::ALL.iter().map(row).collect()
}

/// Their names.
pub fn point_names() -> Vec<&'static str> {
    Point::ALL.iter().map(|point| point.name()).collect()
}

/// The way of one packet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PacketTrace {
    /// Whether it was only imagined: no worker met it, nothing was counted.
    pub imagined: bool,
    /// The core of the worker that met it.
    pub core: Option<u32>,
    /// When its batch was received, in nanoseconds since 1970.
    pub time_ns: Option<u64>,
    /// What became of it: `sent`, `delivered`, `dropped`, `answered`, `copied`, `consumed`, `held`.
    pub verdict: String,
    /// The reason's stable name, if it was dropped.
    pub reason: Option<String>,
    /// Its way, in order.
    pub lines: Vec<Line>,
    /// Entries of this trace that found no room so far: some lines may be missing.
    pub lost: u64,
}

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The packet as it is at a point.
    At {
        /// The point.
        point: String,
        /// Whose it is there: a vNIC's or an uplink's name.
        party: Option<String>,
        /// Its bytes.
        length: u64,
        /// Those that were kept, in hexadecimal.
        bytes: String,
    },
    /// What a stage found or did.
    Step {
        /// The stage.
        stage: String,
        /// What it decided, a stable name.
        verdict: String,
        /// The same in a sentence, with who or what decided.
        text: String,
        /// The values.
        detail: Map<String, Value>,
    },
}
