//! Another host's provider address, and the outer header that takes a packet there: control prepares the
//! bytes, the path copies and patches four fields (type of service, length, checksum, key). One cache line a peer.

use crate::ids::{PortId, UplinkId};
use std::net::Ipv4Addr;
use weir_wire::Mac;

/// Longest prepared header: Ethernet 14, 802.1Q 4, IPv4 20, GRE with key 8.
pub const HEADER_MAX: usize = 48;
/// TTL of outer packets: the default of RFC 1700, as of the IANA registry.
const TTL: u8 = 64;

/// A peer as the path sees it. Never patched live: a changed peer is a new snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Peer {
    /// The outer header with type of service 0, length 0, checksum 0 and key 0.
    pub header: [u8; HEADER_MAX],
    /// The ones-complement sum of the IPv4 header in `header`, folded to 16 bits, to which the path adds type of service and length.
    pub ip_sum: u16,
    /// Largest inner frame, in bytes, that fits the uplink once encapsulated.
    pub max_inner: u16,
    /// The uplink's port.
    pub port: PortId,
    /// The uplink.
    pub uplink: UplinkId,
    /// Bytes used of `header`: 42, or 46 with a VLAN tag.
    pub len: u8,
    /// Whether the next hop's MAC is known; without it nothing may be sent.
    pub resolved: bool,
}

const _: () = assert!(size_of::<Peer>() == 64);

/// What a peer's header is made of.
#[derive(Clone, Copy, Debug)]
pub struct PeerRoute {
    /// The uplink and its port.
    pub uplink: UplinkId,
    /// The uplink's port.
    pub port: PortId,
    /// The uplink's MAC.
    pub source_mac: Mac,
    /// This host's provider address on that uplink.
    pub source: Ipv4Addr,
    /// The other host's provider address.
    pub destination: Ipv4Addr,
    /// The next hop's MAC, if it answered.
    pub next_hop: Option<Mac>,
    /// The uplink's VLAN.
    pub vlan: Option<u16>,
    /// Largest frame the uplink's port takes, in bytes without FCS, its VLAN tag not counted.
    pub max_frame: u16,
}

impl Peer {
    /// An index that is free.
    pub const NONE: Peer = Peer {
        header: [0; HEADER_MAX],
        ip_sum: 0,
        max_inner: 0,
        port: PortId(0),
        uplink: UplinkId(0),
        len: 0,
        resolved: false,
    };

    /// Prepares the outer header of RFC 7637 §3.2: DF always set (§4.4), identification 0 as RFC 6864 §4.1 allows.
    pub fn nvgre(route: &PeerRoute) -> Peer {
        let mut bytes = Vec::with_capacity(HEADER_MAX);
        bytes.extend(route.next_hop.unwrap_or(Mac::ZERO).octets());
        bytes.extend(route.source_mac.octets());
        if let Some(vlan) = route.vlan {
            bytes.extend([0x81, 0x00]);
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend([0x08, 0x00]);
        let ip = bytes.len();
        bytes.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, TTL, 47, 0, 0]);
        bytes.extend(route.source.octets());
        bytes.extend(route.destination.octets());
        let ip_sum = weir_wire::checksum::sum(bytes.get(ip..).unwrap_or_default());
        // RFC 7637 §3.2: C = 0, K = 1, S = 0, version 0, protocol type 0x6558.
        bytes.extend([0x20, 0x00, 0x65, 0x58, 0, 0, 0, 0]);
        let len = bytes.len();
        bytes.resize(HEADER_MAX, 0);
        let added = len - 14 - if route.vlan.is_some() { 4 } else { 0 };
        Peer {
            header: bytes.try_into().unwrap_or([0; HEADER_MAX]),
            ip_sum,
            max_inner: route.max_frame.saturating_sub(14 + added as u16),
            port: route.port,
            uplink: route.uplink,
            len: len as u8,
            resolved: route.next_hop.is_some(),
        }
    }
}
