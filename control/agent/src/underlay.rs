//! What this host says on the provider network by itself, byte by byte: who has an address (ARP, neighbour discovery), and
//! which groups it listens to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_tables::view::Uplink;
use weir_wire::arp::{Arp, Operation};
use weir_wire::ipv6::{self, Header};
use weir_wire::nd::{self, Advertisement, Flags, Solicitation};
use weir_wire::{EtherType, IpProtocol, Mac, checksum};
use weir_worker::command::Generated;

/// Bytes that a frame has at least on Ethernet, without FCS.
const LEAST: usize = 60;
/// All routers that know MLD version 2 (RFC 3810 §5.2.14).
const MLD_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// A report of MLD version 2 (RFC 3810 §5.2).
const MLD_REPORT_V2: u8 = 143;

/// Where is `target`? Asked from `source`, an address of this host of the same family; `None` for another.
pub fn question(uplink: &Uplink, source: IpAddr, target: IpAddr) -> Option<Generated> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Some(arp(uplink, source, target)),
        (IpAddr::V6(source), IpAddr::V6(target)) => Some(solicitation(uplink, source, target)),
        _ => None,
    }
}

/// `pa` is here: what tells routers that heard otherwise, and a switch that snoops.
pub fn announcement(uplink: &Uplink, pa: IpAddr) -> Vec<Generated> {
    match pa {
        // Asked by its own holder, the question is the announcement (RFC 5227 §3).
        IpAddr::V4(pa) => vec![arp(uplink, pa, pa)],
        IpAddr::V6(pa) => vec![report(uplink, pa), advertisement(uplink, pa)],
    }
}

/// Unsolicited, to all nodes (RFC 4861 §7.2.6).
fn advertisement(uplink: &Uplink, own: Ipv6Addr) -> Generated {
    let says = Advertisement {
        flags: Flags::OVERRIDE,
        target: own,
        mac: uplink.mac,
    };
    let message = says.octets(own, nd::ALL_NODES);
    let (next, hops) = (IpProtocol::ICMPV6, nd::HOP_LIMIT);
    packet(uplink, own, nd::ALL_NODES, next, hops, &message)
}

fn arp(uplink: &Uplink, source: Ipv4Addr, target: Ipv4Addr) -> Generated {
    let arp = Arp {
        operation: Operation::REQUEST,
        sender_mac: uplink.mac,
        sender_ip: source,
        target_mac: Mac::ZERO,
        target_ip: target,
    };
    frame(uplink, Mac::BROADCAST, EtherType::ARP, &arp.octets())
}

/// To the group of the address (RFC 4861 §7.2.2). About a link-local address a link-local one asks.
fn solicitation(uplink: &Uplink, source: Ipv6Addr, target: Ipv6Addr) -> Generated {
    let group = nd::solicited_node(target);
    let source = if target.is_unicast_link_local() {
        uplink.mac.link_local()
    } else {
        source
    };
    let asks = Solicitation {
        target,
        mac: uplink.mac,
    };
    let message = asks.octets(source, group);
    packet(
        uplink,
        source,
        group,
        IpProtocol::ICMPV6,
        nd::HOP_LIMIT,
        &message,
    )
}

/// Has anybody else this address? A probe of duplicate address detection (RFC 4862 §5.4.2).
pub fn probe(uplink: &Uplink, own: Ipv6Addr) -> Generated {
    let group = nd::solicited_node(own);
    let mut message = vec![weir_wire::icmp6::NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(own.octets());
    fill_checksum(&mut message, Ipv6Addr::UNSPECIFIED, group);
    packet(
        uplink,
        Ipv6Addr::UNSPECIFIED,
        group,
        IpProtocol::ICMPV6,
        nd::HOP_LIMIT,
        &message,
    )
}

/// This host listens to the group in which `own` is asked for: a report of MLD version 2 (RFC 3810 §5.2), without which a
/// switch that snoops keeps solicitations from it (RFC 4541 §3).
pub fn report(uplink: &Uplink, own: Ipv6Addr) -> Generated {
    let source = uplink.mac.link_local();
    // One record: MODE_IS_EXCLUDE of no source, which is every source.
    let mut message = vec![MLD_REPORT_V2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0];
    message.extend(nd::solicited_node(own).octets());
    fill_checksum(&mut message, source, MLD_ROUTERS);
    // RFC 3810 §5: hop limit 1, a router alert (RFC 2711) in a hop-by-hop header, padded.
    let mut payload = vec![IpProtocol::ICMPV6.0, 0, 5, 2, 0, 0, 1, 0];
    payload.extend(message);
    packet(
        uplink,
        source,
        MLD_ROUTERS,
        IpProtocol::HOP_BY_HOP,
        1,
        &payload,
    )
}

/// Of an ICMPv6 message whose checksum field is 0.
fn fill_checksum(message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    let (source, destination) = (source.octets(), destination.octets());
    let next = IpProtocol::ICMPV6.0;
    let mut sum = checksum::pseudo_v6(source, destination, next, message.len() as u32);
    sum.add(message);
    if let Some([_, _, c0, c1]) = message.first_chunk_mut() {
        [*c0, *c1] = sum.finish().to_be_bytes();
    }
}

/// An IPv6 packet to a group.
fn packet(
    uplink: &Uplink,
    source: Ipv6Addr,
    group: Ipv6Addr,
    next_header: IpProtocol,
    hop_limit: u8,
    payload: &[u8],
) -> Generated {
    let header = Header {
        traffic_class: 0,
        flow_label: 0,
        payload_length: payload.len() as u16,
        next_header,
        hop_limit,
        source,
        destination: group,
    };
    let mut packet = Vec::with_capacity(ipv6::HEADER + payload.len());
    packet.extend(header.octets());
    packet.extend(payload);
    frame(uplink, nd::group_mac(group), EtherType::IPV6, &packet)
}

/// In the uplink's VLAN, padded to the least of Ethernet.
pub fn frame(uplink: &Uplink, to: Mac, ethertype: EtherType, payload: &[u8]) -> Generated {
    let mut frame = Vec::with_capacity(Generated::new().capacity());
    frame.extend(to.octets());
    frame.extend(uplink.mac.octets());
    if let Some(vlan) = uplink.vlan {
        frame.extend(EtherType::VLAN.0.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(ethertype.0.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(LEAST), 0);
    frame.into_iter().collect()
}
