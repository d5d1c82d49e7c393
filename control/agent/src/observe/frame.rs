//! A packet in words made bytes: what a VM would send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::arp::{Arp, Operation};
use weir_wire::icmp::Echo;
use weir_wire::ipv4::{self, Fragmentation};
use weir_wire::{EtherType, IpProtocol, Mac, checksum, icmp, icmp6, ipv6, tcp, udp};

use super::ask::{Described, Kind};

/// From which port a described packet is.
const PORT: u16 = 40_000;
/// What an echo request says of itself.
const ECHO: Echo = Echo {
    identifier: 0x5745,
    sequence: 1,
};
/// TTL and hop limit of most systems.
const TTL: u8 = 64;

/// The frame's bytes, from `src` to `dst`; or why there is none.
pub fn build(src: Mac, dst: Mac, from: IpAddr, wish: &Described) -> Result<Vec<u8>, String> {
    let (ethertype, packet) = match (from, wish.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) if wish.kind == Kind::Arp => {
            (EtherType::ARP, arp(src, from, to))
        }
        (IpAddr::V4(from), IpAddr::V4(to)) => (EtherType::IPV4, v4(from, to, wish)?),
        (IpAddr::V6(from), IpAddr::V6(to)) => (EtherType::IPV6, v6(from, to, wish)?),
        _ => return Err(format!("{from} and {} are of two families", wish.to)),
    };
    let mut frame = Vec::with_capacity(14 + packet.len());
    frame.extend(dst.octets());
    frame.extend(src.octets());
    frame.extend(ethertype.0.to_be_bytes());
    frame.extend(packet);
    Ok(frame)
}

fn arp(src: Mac, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let ask = Arp {
        operation: Operation::REQUEST,
        sender_mac: src,
        sender_ip: from,
        target_mac: Mac::ZERO,
        target_ip: to,
    };
    ask.octets().to_vec()
}

/// Payload so that the IP packet has the size that is asked for.
fn payload(wish: &Described, headers: usize) -> Result<Vec<u8>, String> {
    let size = wish.size.map_or(headers, usize::from);
    let length = size.checked_sub(headers).ok_or_else(|| {
        format!("an IP packet of {size} bytes has no room for its headers of {headers}")
    })?;
    Ok((0..length).map(|i| i as u8).collect())
}

fn v4(from: Ipv4Addr, to: Ipv4Addr, wish: &Described) -> Result<Vec<u8>, String> {
    let long = || "it is longer than an IP packet can be".to_string();
    let (protocol, l4) = match wish.kind {
        Kind::Icmp => {
            let payload = payload(wish, ipv4::HEADER + icmp::HEADER)?;
            let header = icmp::Header::echo(icmp::ECHO, ECHO).octets(&payload);
            (IpProtocol::ICMP, [&header[..], &payload].concat())
        }
        Kind::Tcp(port) => {
            let payload = payload(wish, ipv4::HEADER + tcp::HEADER)?;
            let header = syn(port).octets_v4(from, to, &[], &payload);
            let header = header.ok_or_else(long)?;
            (IpProtocol::TCP, [&header[..], &payload].concat())
        }
        Kind::Udp(port) => {
            let payload = payload(wish, ipv4::HEADER + udp::HEADER)?;
            let header = datagram(port, payload.len()).octets_v4(from, to, &payload);
            (IpProtocol::UDP, [&header[..], &payload].concat())
        }
        Kind::Arp => return Err("ARP is of IPv4".into()),
    };
    let total = u16::try_from(ipv4::HEADER + l4.len()).map_err(|_| long())?;
    let header = ipv4::Header {
        tos: 0,
        total_length: total,
        identification: 1,
        fragmentation: if wish.dont_fragment {
            Fragmentation::DONT
        } else {
            Fragmentation::NONE
        },
        ttl: wish.ttl.unwrap_or(TTL),
        protocol,
        source: from,
        destination: to,
    };
    Ok([&header.octets()[..], &l4].concat())
}

fn v6(from: Ipv6Addr, to: Ipv6Addr, wish: &Described) -> Result<Vec<u8>, String> {
    let long = || "it is longer than an IP packet can be".to_string();
    let (protocol, l4) = match wish.kind {
        Kind::Icmp => {
            let payload = payload(wish, ipv6::HEADER + 8)?;
            let [i0, i1] = ECHO.identifier.to_be_bytes();
            let [s0, s1] = ECHO.sequence.to_be_bytes();
            let mut message = vec![icmp6::ECHO_REQUEST, 0, 0, 0, i0, i1, s0, s1];
            message.extend(payload);
            let length = u32::try_from(message.len()).map_err(|_| long())?;
            let protocol = IpProtocol::ICMPV6;
            let mut sum = checksum::pseudo_v6(from.octets(), to.octets(), protocol.0, length);
            sum.add(&message);
            let sum = (!sum.fold()).to_be_bytes();
            if let Some(field) = message.get_mut(2..4) {
                field.copy_from_slice(&sum);
            }
            (protocol, message)
        }
        Kind::Tcp(port) => {
            let payload = payload(wish, ipv6::HEADER + tcp::HEADER)?;
            let header = syn(port).octets_v6(from, to, &[], &payload);
            let header = header.ok_or_else(long)?;
            (IpProtocol::TCP, [&header[..], &payload].concat())
        }
        Kind::Udp(port) => {
            let payload = payload(wish, ipv6::HEADER + udp::HEADER)?;
            let header = datagram(port, payload.len()).octets_v6(from, to, &payload);
            (IpProtocol::UDP, [&header[..], &payload].concat())
        }
        Kind::Arp => return Err("who has an IPv6 address is asked by ND, not by ARP".into()),
    };
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_length: u16::try_from(l4.len()).map_err(|_| long())?,
        next_header: protocol,
        hop_limit: wish.ttl.unwrap_or(TTL),
        source: from,
        destination: to,
    };
    Ok([&header.octets()[..], &l4].concat())
}

fn syn(port: u16) -> tcp::Header {
    tcp::Header {
        source_port: PORT,
        destination_port: port,
        sequence: 1,
        acknowledgment: 0,
        flags: tcp::Flags::SYN,
        window: 65_535,
        urgent: 0,
    }
}

fn datagram(port: u16, payload: usize) -> udp::Header {
    udp::Header {
        source_port: PORT,
        destination_port: port,
        length: (udp::HEADER + payload) as u16,
    }
}

/// Bytes written in hexadecimal; spaces, colons and dashes between them are left out.
pub fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut digits = Vec::with_capacity(text.len());
    for c in text
        .chars()
        .filter(|c| !c.is_whitespace() && !":-".contains(*c))
    {
        let digit = c
            .to_digit(16)
            .ok_or_else(|| format!("{c:?} is no hexadecimal digit"))?;
        digits.push(digit as u8);
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("it has half a byte".into());
    }
    if pairs.is_empty() || pairs.len() > 65_550 {
        return Err(format!("{} bytes are no frame", pairs.len()));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
