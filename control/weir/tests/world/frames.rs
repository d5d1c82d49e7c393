//! Frames byte by byte, independent of the parsers under test.

use std::net::Ipv4Addr;

/// To everyone.
pub const BROADCAST: [u8; 6] = [0xff; 6];
/// IEEE 802's EtherType for local experiments: no kernel answers it.
pub const EXPERIMENT: u16 = 0x88b5;
/// ARP.
pub const ARP: u16 = 0x0806;
/// IPv4.
pub const IPV4: u16 = 0x0800;

/// An Ethernet frame, padded to the least.
pub fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from[..], &ethertype.to_be_bytes()[..], payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A frame of an experiment that says `word`.
pub fn marked(to: [u8; 6], from: [u8; 6], word: &str) -> Vec<u8> {
    ethernet(to, from, EXPERIMENT, word.as_bytes())
}

/// Whether a frame carries `word`.
pub fn says(frame: &[u8], word: &str) -> bool {
    frame
        .windows(word.len())
        .any(|window| window == word.as_bytes())
}

/// An ARP packet: 1 asks, 2 answers.
pub fn arp(operation: u16, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        packet.extend(mac);
        packet.extend(address.octets());
    }
    packet
}

/// A UDP datagram in IPv4.
pub fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let length = 20 + 8 + payload.len();
    let mut packet = vec![0x45, 0];
    packet.extend((length as u16).to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    // No checksum: RFC 768 allows it over IPv4.
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The EtherType of a frame.
pub fn ethertype(frame: &[u8]) -> u16 {
    frame
        .get(12..14)
        .map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// Whether a frame is an ARP request.
pub fn is_arp_request(frame: &[u8]) -> bool {
    ethertype(frame) == ARP && frame.get(20..22) == Some(&[0, 1])
}
