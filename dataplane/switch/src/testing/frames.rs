//! Frames by hand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_wire::arp::{Arp, Operation};
use weir_wire::{Mac, checksum};

/// Ethernet II.
pub fn ether(dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(dst.octets());
    frame.extend(src.octets());
    frame.extend(ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// IPv4 without options.
pub fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(src.octets());
    packet.extend(dst.octets());
    let total = (packet.len() + payload.len()) as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// UDP with its checksum over IPv4.
pub fn udp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = Vec::new();
    datagram.extend(src.1.to_be_bytes());
    datagram.extend(dst.1.to_be_bytes());
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend_from_slice(payload);
    let mut sum = checksum::pseudo_v4(src.0.octets(), dst.0.octets(), 17, length);
    sum.add(&datagram);
    datagram[6..8].copy_from_slice(&checksum::udp(sum.finish()).to_be_bytes());
    ipv4(src.0, dst.0, 17, &datagram)
}

/// A UDP packet between two tenants' machines in an Ethernet frame.
pub fn tenant(dst: Mac, src: Mac, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    ether(dst, src, 0x0800, &udp((from, 4000), (to, 5000), payload))
}

/// An ARP request, broadcast and padded as a device would.
pub fn arp_request(mac: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let arp = Arp {
        operation: Operation::REQUEST,
        sender_mac: mac,
        sender_ip: ip,
        target_mac: Mac::ZERO,
        target_ip: target,
    };
    let mut frame = ether(Mac::BROADCAST, mac, 0x0806, &arp.octets());
    frame.resize(60, 0);
    frame
}

/// An NVGRE packet as another host would send it.
pub fn nvgre(
    macs: (Mac, Mac),
    pas: (Ipv4Addr, Ipv4Addr),
    vsid: u32,
    flow: u8,
    inner: &[u8],
) -> Vec<u8> {
    let mut gre = vec![0x20, 0, 0x65, 0x58];
    gre.extend((vsid << 8 | u32::from(flow)).to_be_bytes());
    gre.extend_from_slice(inner);
    ether(macs.0, macs.1, 0x0800, &ipv4(pas.0, pas.1, 47, &gre))
}

/// The same over IPv6.
pub fn nvgre6(
    macs: (Mac, Mac),
    pas: (Ipv6Addr, Ipv6Addr),
    vsid: u32,
    flow: u8,
    inner: &[u8],
) -> Vec<u8> {
    let mut gre = vec![0x20, 0, 0x65, 0x58];
    gre.extend((vsid << 8 | u32::from(flow)).to_be_bytes());
    gre.extend_from_slice(inner);
    ether(macs.0, macs.1, 0x86dd, &ipv6(pas.0, pas.1, 47, &gre))
}

/// IPv6 without extension headers.
pub fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend_from_slice(payload);
    packet
}

/// ICMPv6 in IPv6, with its checksum.
pub fn icmp6(src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Vec<u8> {
    let mut packet = ipv6(src, dst, 58, message);
    packet[7] = hop_limit;
    packet[42..44].fill(0);
    let mut sum = checksum::pseudo_v6(src.octets(), dst.octets(), 58, message.len() as u32);
    sum.add(&packet[40..]);
    packet[42..44].copy_from_slice(&sum.finish().to_be_bytes());
    packet
}

/// What a TCP or UDP checksum field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The checksum.
    Right,
    /// The pseudo-header's sum alone: an unfinished checksum.
    Pseudo,
}

/// TCP (6) or UDP (17) between two addresses of one family: header and payload.
pub fn l4(
    protocol: u8,
    addresses: (IpAddr, IpAddr),
    ports: (u16, u16),
    payload: &[u8],
    field: Field,
) -> Vec<u8> {
    let mut packet = Vec::with_capacity(20 + payload.len());
    packet.extend(ports.0.to_be_bytes());
    packet.extend(ports.1.to_be_bytes());
    let at = if protocol == 6 {
        packet.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        16
    } else {
        packet.extend((8 + payload.len() as u16).to_be_bytes());
        packet.extend([0, 0]);
        6
    };
    packet.extend_from_slice(payload);
    let length = packet.len();
    let mut sum = match addresses {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            checksum::pseudo_v6(src.octets(), dst.octets(), protocol, length as u32)
        }
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            checksum::pseudo_v4(src.octets(), dst.octets(), protocol, length as u16)
        }
        _ => checksum::Sum::new(),
    };
    let value = match field {
        Field::Pseudo => sum.fold(),
        Field::Right => {
            sum.add(&packet);
            let right = sum.finish();
            if protocol == 17 {
                checksum::udp(right)
            } else {
                right
            }
        }
    };
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
    packet
}

/// An 802.1Q tag after the MACs.
pub fn tag(frame: &mut Vec<u8>, tci: u16) {
    let at = frame.len().min(12);
    let [hi, lo] = tci.to_be_bytes();
    frame.splice(at..at, [0x81, 0, hi, lo]);
}
