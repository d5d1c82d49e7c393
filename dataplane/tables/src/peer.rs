//! Another host's provider address, and the outer header that takes a packet there: control prepares the
//! bytes, the path copies and patches a few fields (over IPv4 type of service, length, checksum and key; over IPv6
//! traffic class, flow label, length and key). Two cache lines a peer, of which IPv4 touches the first alone.

use crate::ids::{PortId, UplinkId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_wire::Mac;

/// Longest prepared header: Ethernet 14, 802.1Q 4, IPv6 40, GRE with key 8.
pub const HEADER_MAX: usize = 66;
/// Longest prepared header over IPv4, which is in the peer's first cache line.
pub const HEADER_MAX_V4: usize = 46;
/// TTL or hop limit of outer packets: the default of RFC 1700, as of the IANA registry.
const TTL: u8 = 64;
/// The ECN field of a type of service or traffic class (RFC 3168 §5).
const ECN: u8 = 0b11;
/// Bytes of an Ethernet header.
const ETHERNET: u16 = 14;

/// A peer as the path sees it. Never patched live: a changed peer is a new snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Peer {
    /// Over IPv4, the ones-complement sum of the IP header in `header`, folded to 16 bits, to which the path adds type of
    /// service and length. IPv6 has no such field: 0.
    pub ip_sum: u16,
    /// Largest inner frame, in bytes, that fits the uplink once encapsulated.
    pub max_inner: u16,
    /// Largest frame, in bytes, that fits the way to this peer as it is, without any added header.
    pub max_plain: u16,
    /// The same two where a packet to it takes nothing but to copy what is ready here, else 0: the next hop is known, and it is
    /// reached by IPv4; the second also if the uplink has no tag. What every packet asks, in one compare.
    pub ready_inner: u16,
    /// See `ready_inner`.
    pub ready_plain: u16,
    /// The uplink's port.
    pub port: PortId,
    /// The uplink.
    pub uplink: UplinkId,
    /// Bytes used of `header`: 42 over IPv4 and 62 over IPv6, 4 more with a VLAN tag.
    pub len: u8,
    /// Whether the next hop's MAC is known; without it nothing may be sent.
    pub resolved: bool,
    /// Which bits of a tenant's type of service or traffic class the outer header bears: all (RFC 6040 §4.1, normal mode), or
    /// all but ECN (compatibility mode).
    pub tos_mask: u8,
    /// The outer header with everything that differs from packet to packet 0.
    pub header: [u8; HEADER_MAX],
}

const _: () = assert!(size_of::<Peer>() == 128);
const _: () = assert!(std::mem::offset_of!(Peer, header) + HEADER_MAX_V4 <= 64);

/// What a peer's header is made of.
#[derive(Clone, Copy, Debug)]
pub struct PeerRoute {
    /// The uplink and its port.
    pub uplink: UplinkId,
    /// The uplink's port.
    pub port: PortId,
    /// The uplink's MAC.
    pub source_mac: Mac,
    /// This host's provider address on that uplink, of the family of `destination`: of another, nothing is ever sent.
    pub source: IpAddr,
    /// The other host's provider address.
    pub destination: IpAddr,
    /// The next hop's MAC, if it answered.
    pub next_hop: Option<Mac>,
    /// The uplink's VLAN.
    pub vlan: Option<u16>,
    /// Largest frame that fits the way there, in bytes without FCS, the uplink's VLAN tag not counted.
    pub max_frame: u16,
    /// Whether the other end brings congestion marks of the outer header to the inner one (RFC 6040 §4.2).
    pub ecn: bool,
}

impl Peer {
    /// An index that is free.
    pub const NONE: Peer = Peer {
        ip_sum: 0,
        max_inner: 0,
        max_plain: 0,
        ready_inner: 0,
        ready_plain: 0,
        port: PortId(0),
        uplink: UplinkId(0),
        len: 0,
        resolved: false,
        tos_mask: 0,
        header: [0; HEADER_MAX],
    };

    /// The other host's provider address.
    pub fn destination(&self) -> Option<IpAddr> {
        let end = usize::from(self.len).checked_sub(8)?;
        let header = self.header.get(..end)?;
        match self.len {
            42 | 46 => header.last_chunk::<4>().map(|octets| IpAddr::from(*octets)),
            _ => header
                .last_chunk::<16>()
                .map(|octets| IpAddr::from(*octets)),
        }
    }

    /// Prepares the outer header of RFC 7637 §3.2.
    pub fn nvgre(route: &PeerRoute) -> Peer {
        let mut bytes = Vec::with_capacity(HEADER_MAX);
        bytes.extend(route.next_hop.unwrap_or(Mac::ZERO).octets());
        bytes.extend(route.source_mac.octets());
        if let Some(vlan) = route.vlan {
            bytes.extend([0x81, 0x00]);
            bytes.extend(vlan.to_be_bytes());
        }
        let before = bytes.len();
        let ip_sum = match (route.source, route.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4(&mut bytes, source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6(&mut bytes, source, destination),
            _ => return Peer::NONE,
        };
        // RFC 7637 §3.2: C = 0, K = 1, S = 0, version 0, protocol type 0x6558.
        bytes.extend([0x20, 0x00, 0x65, 0x58, 0, 0, 0, 0]);
        let len = bytes.len();
        // What the frame has anyway is its own Ethernet header, which is now inside; the type was not yet in `before`.
        let added = (len - before - 2) as u16;
        bytes.resize(HEADER_MAX, 0);
        let max_inner = route.max_frame.saturating_sub(ETHERNET + added);
        let is_ready = route.next_hop.is_some() && route.destination.is_ipv4();
        Peer {
            ip_sum,
            max_inner,
            max_plain: route.max_frame,
            ready_inner: if is_ready { max_inner } else { 0 },
            ready_plain: match route.vlan {
                None if is_ready => route.max_frame,
                _ => 0,
            },
            port: route.port,
            uplink: route.uplink,
            len: len as u8,
            resolved: route.next_hop.is_some(),
            tos_mask: if route.ecn { 0xff } else { !ECN },
            header: bytes.try_into().unwrap_or([0; HEADER_MAX]),
        }
    }
}

/// DF always set (RFC 7637 §4.4), identification 0 as RFC 6864 §4.1 allows. Returns the header's sum.
fn ipv4(bytes: &mut Vec<u8>, source: Ipv4Addr, destination: Ipv4Addr) -> u16 {
    bytes.extend([0x08, 0x00]);
    let ip = bytes.len();
    bytes.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, TTL, 47, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    weir_wire::checksum::sum(bytes.get(ip..).unwrap_or_default())
}

/// RFC 8200 §3. No router fragments IPv6, and Weir never sends a fragment header: RFC 7637 §4.4.
fn ipv6(bytes: &mut Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr) -> u16 {
    bytes.extend([0x86, 0xdd]);
    bytes.extend([0x60, 0, 0, 0, 0, 0, 47, TTL]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    0
}
