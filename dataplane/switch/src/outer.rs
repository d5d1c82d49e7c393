//! What is accepted from the wire, and the reason for each thing that is not (RFC 7637 §3.2 and §4.4).

use crate::family::V6;
use crate::frame::Frame;
use crate::provider_group;
use crate::rewrite::{self, Plain};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_tables::endpoints::{peer_key, peer6_key};
use weir_tables::ids::SegmentId;
use weir_tables::reason::Reason;
use weir_tables::view::{Uplink, View};
use weir_wire::gre::{self, NvgreRefusal};
use weir_wire::ipv6::{self, Ipv6};
use weir_wire::{EtherType, IpProtocol, Mac, checksum, icmp6, nd};

/// What a frame from the uplink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// An NVGRE packet to this host; the inner frame starts after `header` bytes and is `inner` bytes long.
    Nvgre {
        /// The virtual subnet.
        segment: SegmentId,
        /// Outer bytes.
        header: usize,
        /// Inner bytes.
        inner: usize,
        /// The outer type of service, or traffic class.
        tos: u8,
    },
    /// The same to the provider multicast group of the virtual subnet: the inner frame must be to many.
    NvgreToMany {
        /// The virtual subnet.
        segment: SegmentId,
        /// Outer bytes.
        header: usize,
        /// Inner bytes.
        inner: usize,
        /// The outer type of service.
        tos: u8,
    },
    /// IGMP that may ask about groups of this host; the IPv4 packet starts at `at`.
    Igmp {
        /// Bytes before it.
        at: usize,
    },
    /// ARP about the provider network; the ARP packet starts at `at`.
    Arp {
        /// Bytes before it.
        at: usize,
    },
    /// IP to an address that is none of the uplink's: a vNIC's, if any here has it.
    Plain(Plain),
    /// ICMP to this host; the IPv4 packet starts at `at`.
    Icmp {
        /// Bytes before it.
        at: usize,
    },
    /// ICMPv6 to this host, or to a group that it listens to; the IPv6 packet starts at `at`.
    Icmp6 {
        /// Bytes before it.
        at: usize,
    },
}

/// Judges a frame from `uplink`.
#[inline(always)]
pub fn accept<F: Frame>(view: &View, uplink: &Uplink, frame: &mut F) -> Result<Outer, Reason> {
    const HEADERS: usize = 14 + 4 + 60 + 16;
    if frame.head().len() < HEADERS {
        let wanted = frame.len().min(HEADERS);
        frame.pull_up(wanted);
    }
    let stripped = frame.stripped_vlan();
    let length = frame.len();
    let head = frame.head();
    let (ethertype, at) = untagged(uplink, head, stripped)?;
    match ethertype {
        EtherType::IPV4 => ipv4(view, uplink, head, at, length),
        EtherType::ARP => Ok(Outer::Arp { at }),
        EtherType::IPV6 => ipv6(view, uplink, head, at, length),
        _ => Err(Reason::OuterType),
    }
}

/// The provider address that an accepted packet is from; for a trace.
#[cold]
pub fn source(head: &[u8]) -> Option<IpAddr> {
    let tag = if head.get(12..14)? == EtherType::VLAN.0.to_be_bytes() {
        4
    } else {
        0
    };
    let ip = head.get(14 + tag..)?;
    if let Ok(ip) = Ipv6::parse_quote(ip) {
        return Some(ip.source().into());
    }
    let address = ip.get(12..)?.first_chunk::<4>()?;
    Some(IpAddr::from(*address))
}

/// The EtherType behind the uplink's tag, and where its payload starts.
#[inline(always)]
fn untagged(
    uplink: &Uplink,
    head: &[u8],
    stripped: Option<u16>,
) -> Result<(EtherType, usize), Reason> {
    let [.., t0, t1] = *head.first_chunk::<14>().ok_or(Reason::Runt)?;
    let ethertype = EtherType(u16::from_be_bytes([t0, t1]));
    let (vlan, ethertype, at) = if ethertype == EtherType::VLAN {
        // A second tag: the first one, which the device took off, is the VLAN it came on.
        if stripped.is_some() {
            return Err(Reason::OuterVlan);
        }
        let [.., v0, v1, t0, t1] = *head.first_chunk::<18>().ok_or(Reason::Runt)?;
        let inside = EtherType(u16::from_be_bytes([t0, t1]));
        (Some(u16::from_be_bytes([v0, v1])), inside, 18)
    } else {
        (stripped, ethertype, 14)
    };
    // VLAN 0 carries a priority only and belongs to no VLAN (IEEE 802.1Q §6.9.1).
    let vlan = vlan.map(|tci| tci & 0x0fff).filter(|&id| id != 0);
    if vlan != uplink.vlan {
        return Err(Reason::OuterVlan);
    }
    Ok((ethertype, at))
}

#[inline(always)]
fn ipv4(
    view: &View,
    uplink: &Uplink,
    head: &[u8],
    at: usize,
    length: usize,
) -> Result<Outer, Reason> {
    let destination = head.first_chunk::<6>().ok_or(Reason::Runt)?;
    if Mac::new(*destination) != uplink.mac {
        return match uplink.groups.is_empty() {
            true => Err(Reason::OuterNotOurs),
            false => provider_group::accept(view, uplink, head, at, length),
        };
    }
    let l3 = head.get(at..).unwrap_or_default();
    let ip = l3.first_chunk::<20>().ok_or(Reason::OuterMalformed)?;
    let header_len = usize::from(ip[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let header = l3.get(..header_len).unwrap_or_default();
    if ip[0] >> 4 != 4
        || header.len() < 20
        || total < header_len
        || at + total > length
        || checksum::sum(header) != 0xffff
    {
        return Err(Reason::OuterMalformed);
    }
    let destination = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]);
    if !uplink.has(destination) {
        return Ok(Outer::Plain(Plain {
            at,
            total,
            protocol: IpProtocol(ip[9]),
            is_v6: false,
        }));
    }
    if u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 {
        return Err(Reason::OuterFragment);
    }
    match IpProtocol(ip[9]) {
        IpProtocol::GRE => {}
        IpProtocol::ICMP => return Ok(Outer::Icmp { at }),
        _ => return Err(Reason::OuterProtocol),
    }
    let source = Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]);
    if view.peer_addresses.get(peer_key(source)).is_none() {
        return Err(Reason::UnknownPa);
    }
    let payload = l3.get(header_len..total.min(l3.len())).unwrap_or_default();
    let nvgre = gre::Nvgre::parse(payload).map_err(refusal)?;
    let segment = view.vsids.get(nvgre.vsid).ok_or(Reason::UnknownVsid)?;
    Ok(Outer::Nvgre {
        segment,
        header: at + header_len + gre::NVGRE_HEADER,
        inner: total - header_len - gre::NVGRE_HEADER,
        tos: ip[1],
    })
}

#[inline(never)]
fn ipv6(
    view: &View,
    uplink: &Uplink,
    head: &[u8],
    at: usize,
    length: usize,
) -> Result<Outer, Reason> {
    let to = Mac::new(*head.first_chunk::<6>().ok_or(Reason::Runt)?);
    let l3 = head.get(at..).unwrap_or_default();
    let ip = Ipv6::parse_quote(l3).map_err(|_| Reason::OuterMalformed)?;
    let payload_len = usize::from(ip.payload_len());
    if at + ipv6::HEADER + payload_len > length {
        return Err(Reason::OuterMalformed);
    }
    let destination = ip.destination();
    if to != uplink.mac {
        let heard = ip.next_header() == IpProtocol::ICMPV6
            && (listens(uplink, to, destination)
                || asks(view, uplink, to, destination, ip.payload()));
        return heard
            .then_some(Outer::Icmp6 { at })
            .ok_or(Reason::OuterNotOurs);
    }
    let ours = uplink.has_v6(destination);
    if !ours && !uplink.is_link_local(destination) {
        return Ok(Outer::Plain(Plain {
            at,
            total: ipv6::HEADER + payload_len,
            protocol: ip.next_header(),
            is_v6: true,
        }));
    }
    match ip.next_header() {
        IpProtocol::GRE if ours => {}
        IpProtocol::ICMPV6 => return Ok(Outer::Icmp6 { at }),
        IpProtocol::FRAGMENT => return Err(Reason::OuterFragment),
        IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::DESTINATION => {
            return Err(Reason::OuterExtension);
        }
        _ => return Err(Reason::OuterProtocol),
    }
    if view.peer_addresses6.get(peer6_key(ip.source())).is_none() {
        return Err(Reason::UnknownPa);
    }
    let nvgre = gre::Nvgre::parse(ip.payload()).map_err(refusal)?;
    let segment = view.vsids.get(nvgre.vsid).ok_or(Reason::UnknownVsid)?;
    Ok(Outer::Nvgre {
        segment,
        header: at + ipv6::HEADER + gre::NVGRE_HEADER,
        inner: payload_len - gre::NVGRE_HEADER,
        tos: ip.traffic_class(),
    })
}

/// Whether this host listens to a group: those where its own addresses are asked for (RFC 4861 §7.2.1), and that of all
/// nodes, where neighbours say what has changed (§7.2.6). `to`: the MAC, which is made of the group (RFC 2464 §7).
#[cold]
fn listens(uplink: &Uplink, to: Mac, group: Ipv6Addr) -> bool {
    let asked = |own: Ipv6Addr| nd::solicited_node(own) == group;
    to == nd::group_mac(group)
        && !uplink.v6.is_empty()
        && (group == nd::ALL_NODES
            || uplink.v6.iter().copied().any(asked)
            || asked(uplink.mac.link_local()))
}

/// Whether a message to a group asks for the provider address of a vNIC here.
#[cold]
fn asks(view: &View, uplink: &Uplink, to: Mac, group: Ipv6Addr, message: &[u8]) -> bool {
    let target = message.get(8..).and_then(|rest| rest.first_chunk::<16>());
    let target = target.map(|octets| Ipv6Addr::from_octets(*octets));
    message.first() == Some(&icmp6::NEIGHBOR_SOLICITATION)
        && to == nd::group_mac(group)
        && target.is_some_and(|target| {
            nd::solicited_node(target) == group && rewrite::answers::<V6>(view, uplink, target)
        })
}

#[inline]
pub(crate) fn refusal(refusal: NvgreRefusal) -> Reason {
    match refusal {
        NvgreRefusal::Truncated => Reason::GreTruncated,
        NvgreRefusal::Checksum => Reason::GreChecksum,
        NvgreRefusal::NoKey => Reason::GreNoKey,
        NvgreRefusal::Sequence => Reason::GreSequence,
        NvgreRefusal::ReservedBits => Reason::GreReserved,
        NvgreRefusal::Version => Reason::GreVersion,
        NvgreRefusal::Protocol => Reason::GreProtocol,
    }
}
