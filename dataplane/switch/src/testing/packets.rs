//! Arbitrary packets of tenants, of the wire and of its routers: honest, cunning, mutated. Zeroes from the dice make
//! the plainest.

use crate::frame::L4Checksum;
use crate::testing::dice::Dice;
use crate::testing::frames::{self, Field};
use crate::testing::packets6::packet6;
use crate::testing::world::{OWN_PA, OWN_PA6, PEER_MAC, UPLINK_MAC, v6_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_tables::domain::GATEWAY_MAC;
use weir_wire::ipv4::{self, Fragmentation};
use weir_wire::{Mac, checksum, icmp, icmp6, nd};

/// VSIDs of the tenants, the first and the last that may be used among them (RFC 7637 §3.4).
pub(super) const VSIDS: [u32; 4] = [5001, 6001, 4096, 16_777_214];
/// The gateways of a tenant's two subnets.
pub(super) const GATEWAYS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1)];
/// Addresses that every tenant uses again.
pub(super) const POOL: usize = 6;

/// MAC, CA and PA by number; tenants use the same.
pub(super) fn mac(i: usize) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i as u8])
}

pub(super) fn ca(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, 11 + i as u8)
}

/// The same in the second subnet.
pub(super) fn ca2(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 0, 11 + i as u8)
}

pub(super) fn pa(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 50, 2 + i as u8)
}

/// The provider addresses of tenants' vNICs where their packets are rewritten: tenant, subnet (0 or 1), number.
pub(super) fn vnic_pa(tenant: usize, subnet: usize, i: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 50, (100 + tenant * 12 + subnet * POOL + i) as u8)
}

/// The tenant of such an address.
pub(super) fn tenant_of_pa(address: &[u8]) -> Option<usize> {
    match address {
        [192, 168, 50, last @ 100..148] => Some(usize::from(*last - 100) / 12),
        _ => None,
    }
}

/// The tenant of such an address, or of the IPv6 one beside it.
pub(super) fn tenant_of_pa6(address: &[u8]) -> Option<usize> {
    match address.split_at_checked(12)? {
        ([0xfd, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0, 0], v4) => tenant_of_pa(v4),
        _ => None,
    }
}

/// A tenant's IPv6 frame as it may come from the wire, with the IPv6 addresses beside these; any other stays as it is.
pub(super) fn readdress6(frame: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr) {
    if frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.len() >= 54 {
        frame[..6].copy_from_slice(&UPLINK_MAC.octets());
        frame[6..12].copy_from_slice(&PEER_MAC.octets());
        frame[22..38].copy_from_slice(&v6_of(source).octets());
        frame[38..54].copy_from_slice(&v6_of(destination).octets());
    }
}

/// A tenant's IPv4 frame as it may come from the wire, with these addresses and a right header; any other stays as it is.
pub(super) fn readdress(frame: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr) {
    if frame.get(12..15) == Some(&[8, 0, 0x45]) {
        frame[..6].copy_from_slice(&UPLINK_MAC.octets());
        frame[6..12].copy_from_slice(&PEER_MAC.octets());
        if let Some(header) = frame.get_mut(14..).and_then(<[u8]>::first_chunk_mut) {
            ipv4::set_source(header, source);
            ipv4::set_destination(header, destination);
        }
    }
}

/// An ICMP error to this host about an IPv4 packet, of which it quotes more or less.
pub(super) fn icmp_error(about: &[u8], to: Ipv4Addr, dice: &mut impl Dice) -> Vec<u8> {
    let about = icmp::quote(about);
    let quoted = match dice.below(3) {
        0 => about,
        _ => &about[..dice.below(about.len() + 1)],
    };
    let header = dice.one_of(&[
        icmp::Header::fragmentation_needed(1400),
        icmp::Header::fragmentation_needed(0),
        icmp::Header::time_exceeded(),
    ]);
    let message = [&header.octets(quoted)[..], quoted].concat();
    let packet = frames::ipv4(pa(9), to, 1, &message);
    frames::ether(UPLINK_MAC, PEER_MAC, 0x0800, &packet)
}

/// Neighbour discovery from a peer about this host's address, about its own or about another: honest or nearly so.
pub(super) fn neighbour_discovery(peer: Ipv6Addr, dice: &mut impl Dice) -> Vec<u8> {
    let target = dice.one_of(&[
        OWN_PA6,
        UPLINK_MAC.link_local(),
        peer,
        v6_of(pa(7)),
        v6_of(vnic_pa(0, 0, 1)),
    ]);
    let group = nd::solicited_node(target);
    let to = dice.one_of(&[group, OWN_PA6, nd::ALL_NODES]);
    let from = dice.one_of(&[peer, peer, Ipv6Addr::UNSPECIFIED]);
    let mac = match to.is_multicast() {
        true => nd::group_mac(to),
        false => UPLINK_MAC,
    };
    let asks = nd::Solicitation {
        target,
        mac: PEER_MAC,
    };
    let says = nd::Advertisement {
        flags: nd::Flags(dice.one_of(&[0x60, 0x20, 0x40, 0])),
        target,
        mac: PEER_MAC,
    };
    let message = match dice.below(2) {
        0 => asks.octets(from, to),
        _ => says.octets(from, to),
    };
    // Without its option too, as duplicate address detection asks.
    let message = &message[..dice.one_of(&[32, 24])];
    let hops = dice.one_of(&[255, 255, 255, 64]);
    let source = dice.one_of(&[PEER_MAC, PEER_MAC, UPLINK_MAC]);
    frames::ether(mac, source, 0x86dd, &frames::icmp6(from, to, hops, message))
}

/// An NVGRE packet over IPv6, sometimes with a change in its outer header, sometimes a router's word about one like it.
pub(super) fn over6(
    macs: (Mac, Mac),
    pas: (Ipv6Addr, Ipv6Addr),
    vsid: u32,
    flow: u8,
    inner: &[u8],
    dice: &mut impl Dice,
) -> Vec<u8> {
    let mut bytes = frames::nvgre6(macs, pas, vsid, flow, inner);
    if dice.rarely(8) {
        bytes[15] |= (dice.below(4) as u8) << 4;
    }
    if dice.rarely(8) {
        let (at, to) = dice.one_of(&[(14, 0x50), (20, 44), (20, 0), (20, 58), (54, 0xa0), (19, 3)]);
        bytes[at] = to;
    }
    if !dice.rarely(16) {
        return bytes;
    }
    if dice.rarely(2) {
        bytes[22..38].copy_from_slice(&OWN_PA6.octets());
        bytes[38..54].copy_from_slice(&pas.0.octets());
    }
    icmp6_error(&bytes[14..], OWN_PA6, dice)
}

/// "Packet too big" to this host about an IPv6 packet, of which it quotes more or less.
pub(super) fn icmp6_error(about: &[u8], to: Ipv6Addr, dice: &mut impl Dice) -> Vec<u8> {
    let quoted = icmp6::quote(about);
    let quoted = &quoted[..quoted.len() - dice.below(quoted.len() + 1)];
    let mtu = dice.one_of(&[1400, 0, u32::MAX]);
    let header = icmp6::Header::packet_too_big(mtu).octets(v6_of(pa(9)), to, quoted);
    let message = [&header[..], quoted].concat();
    let packet = frames::icmp6(v6_of(pa(9)), to, 64, &message);
    frames::ether(UPLINK_MAC, PEER_MAC, 0x86dd, &packet)
}

/// A change in an outer IPv4 header, whose checksum is right nevertheless.
pub(super) fn forge(bytes: &mut [u8], dice: &mut impl Dice) {
    let (at, to) = dice.one_of(&[(16, 0), (20, 0x20), (21, 1), (23, 17), (14, 0x46), (17, 22)]);
    bytes[at] = to;
    if dice.rarely(2) {
        bytes[17] = dice.below(40) as u8;
    }
    bytes[24..26].copy_from_slice(&[0, 0]);
    let end = 14 + usize::from(bytes[14] & 0x0f) * 4;
    if let Some(header) = bytes.get(14..end) {
        let sum = checksum::checksum(header);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    }
}

/// A few changes: mostly where the headers are, sometimes of the length.
pub(super) fn mutate(bytes: &mut Vec<u8>, dice: &mut impl Dice) {
    for _ in 0..=dice.below(4) {
        let reach = if dice.rarely(4) {
            bytes.len()
        } else {
            bytes.len().min(90)
        };
        if reach != 0 {
            let at = dice.below(reach);
            bytes[at] = match dice.below(3) {
                0 => bytes[at] ^ 1 << dice.below(8),
                1 => dice.one_of(&[0, 0xff, 1, 0x80]),
                _ => dice.below(256) as u8,
            };
        }
    }
    match dice.below(6) {
        4 => bytes.truncate(dice.below(bytes.len() + 1)),
        5 => bytes.resize(bytes.len() + dice.below(64), 0),
        _ => {}
    }
}

/// A tenant's packet of one of many kinds, to one of the tenants' addresses.
pub(super) fn packet(
    src: Mac,
    ip: Ipv4Addr,
    dice: &mut impl Dice,
    sum: &mut L4Checksum,
) -> Vec<u8> {
    let to = dice.below(POOL);
    let dst = match dice.below(10) {
        8 | 9 => GATEWAY_MAC,
        5 => Mac::BROADCAST,
        6 => Mac::new([0x33, 0x33, 0, 0, 0, 1]),
        7 => dice.one_of(&[Mac::new([1, 0x80, 0xc2, 0, 0, 0]), Mac::ZERO, UPLINK_MAC]),
        _ => mac(to),
    };
    let length = match dice.below(32) {
        28 | 29 => dice.below(1500),
        30 => 4000 - 42,
        31 => dice.one_of(&[9000 - 42, 1530, 1531, 20_000]),
        _ => dice.below(100),
    };
    let payload = dice.bytes(length);
    let there = match dice.below(8) {
        5 => ca2(to),
        6 => dice.one_of(&GATEWAYS),
        7 => dice.one_of(&[
            Ipv4Addr::new(8, 8, 8, 8),
            Ipv4Addr::new(224, 0, 0, 5),
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::new(10, 2, 0, 250),
        ]),
        _ => ca(to),
    };
    let v4 = (IpAddr::V4(ip), IpAddr::V4(there));
    let ports = (4000 + dice.below(4) as u16, 5000);
    let protocol = dice.one_of(&[17, 6]);
    let field = match dice.below(4) {
        2 => {
            *sum = L4Checksum::Partial;
            Field::Pseudo
        }
        3 => Field::Pseudo,
        _ => Field::Right,
    };
    match dice.below(16) {
        8 | 9 | 12 => {
            let l4 = |from, to| {
                let between = (IpAddr::V6(from), IpAddr::V6(to));
                (
                    protocol,
                    frames::l4(protocol, between, ports, &payload, field),
                )
            };
            packet6((dst, src), ip, l4, dice)
        }
        10 => {
            let target = dice.one_of(&[ca(to), ca(POOL), GATEWAYS[0], GATEWAYS[1], ca2(to)]);
            let mut ask = frames::arp_request(src, ip, target);
            if dst == GATEWAY_MAC {
                ask[..6].copy_from_slice(&dst.octets());
            }
            ask
        }
        6 | 7 => {
            // An echo, or an error about one.
            let mut message = vec![dice.one_of(&[8, 3, 11, 0]), 0, 0, 0, 0, 7, 0, 1];
            message.extend_from_slice(&payload);
            let sum = checksum::checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            frames::ether(dst, src, 0x0800, &frames::ipv4(ip, there, 1, &message))
        }
        11 => frames::ether(
            dst,
            src,
            dice.one_of(&[0x88b5, 0x0806, 0x8100, 0x86dd]),
            &payload,
        ),
        13 => {
            // A fragment.
            let l4 = frames::l4(protocol, v4, ports, &payload, field);
            let mut packet = frames::ipv4(ip, there, protocol, &l4);
            packet[6] = dice.one_of(&[0x20, 0x00]);
            packet[7] = dice.one_of(&[0x10, 0x00]);
            frames::ether(dst, src, 0x0800, &packet)
        }
        14 => {
            // A whole NVGRE packet inside, to this very host.
            let inner = frames::tenant(mac(to), src, ip, ca(to), b"nested");
            let vsid = dice.one_of(&VSIDS);
            frames::nvgre(
                (dst, src),
                (dice.one_of(&[ip, pa(0)]), OWN_PA),
                vsid,
                1,
                &inner,
            )
        }
        15 => {
            let l4 = frames::l4(17, v4, (68, 67), &payload, field);
            let any = Ipv4Addr::UNSPECIFIED;
            frames::ether(
                dst,
                src,
                0x0800,
                &frames::ipv4(any, Ipv4Addr::BROADCAST, 17, &l4),
            )
        }
        _ => {
            let l4 = frames::l4(protocol, v4, ports, &payload, field);
            let mut packet = frames::ipv4(ip, there, protocol, &l4);
            if dice.rarely(4)
                && let Some(header) = packet.first_chunk_mut()
            {
                ipv4::set_fragmentation(header, Fragmentation::NONE);
            }
            if dice.rarely(6) {
                let ttl = dice.one_of(&[1, 2, 0]);
                if let Some(header) = packet.first_chunk_mut() {
                    ipv4::set_ttl(header, ttl);
                }
            }
            frames::ether(dst, src, 0x0800, &packet)
        }
    }
}
