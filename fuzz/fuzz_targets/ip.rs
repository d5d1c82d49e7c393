//! IPv4 and IPv6: views stay inside the bytes, setters keep the checksum, the walk ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_wire::ipv4::{self, Ipv4};
use weir_wire::ipv6::{self, Ipv6};
use weir_wire::{checksum, flow};

fuzz_target!(|bytes: &[u8]| {
    for packet in [Ipv4::parse(bytes), Ipv4::parse_quote(bytes)]
        .into_iter()
        .flatten()
    {
        read_v4(packet);
    }
    for packet in [Ipv6::parse(bytes), Ipv6::parse_quote(bytes)]
        .into_iter()
        .flatten()
    {
        read_v6(packet, bytes);
    }
    if let Some(header) = bytes.first_chunk() {
        flow::ipv4(header, bytes);
        change_v4(*header);
    }
    if let Some(header) = bytes.first_chunk() {
        flow::ipv6(header, bytes);
        change_v6(*header);
    }
    if let Ok(upper) = ipv6::walk(bytes) {
        assert!(upper.payload.len() + ipv6::HEADER <= bytes.len());
        assert!(upper.is_fragment || !upper.is_later_fragment);
        assert_eq!(ipv6::upper_layer(bytes).is_none(), upper.is_fragment);
    }
});

fn read_v4(packet: Ipv4<'_>) {
    assert!(packet.header_len() + packet.payload().len() <= usize::from(packet.total_len()));
    assert_eq!(packet.header_len(), ipv4::HEADER + packet.options().len());
    let written = packet.header().octets();
    let again = Ipv4::parse_quote(&written).unwrap();
    assert!(again.checksum_is_right());
    assert_eq!(again.header(), packet.header());
    if packet.options().is_empty() && packet.checksum_is_right() {
        // 0 and 0xffff are the same number; the checksum of a header that is not 0 is never written 0xffff.
        assert!(packet.checksum() == again.checksum() || packet.checksum() == 0xffff);
    }
    let fragmentation = packet.fragmentation();
    assert!(fragmentation.offset().is_multiple_of(8));
    let is_whole = fragmentation.offset() == 0 && !fragmentation.more_fragments();
    assert_eq!(fragmentation.is_fragment(), !is_whole);
    let _ = fragmentation.dont_fragment();
}

fn read_v6(packet: Ipv6<'_>, bytes: &[u8]) {
    assert!(packet.payload().len() <= usize::from(packet.payload_len()));
    assert_eq!(packet.header().octets(), bytes[..ipv6::HEADER]);
    if let Ok(upper) = packet.upper() {
        assert!(upper.payload.len() <= packet.payload().len());
    }
}

fn change_v4(mut header: [u8; ipv4::HEADER]) {
    // A header with a right checksum and a word that is not 0 keeps the one it would get anew.
    header[0] = 0x45;
    header[10..12].fill(0);
    let sum = checksum::checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let length = u16::from_be_bytes([header[4], header[5]]).max(20);
    ipv4::set_total_length(&mut header, length);
    let ttl = header[8];
    let left = ipv4::decrement_ttl(&mut header);
    assert_eq!(left.is_some(), ttl > 1);
    let [.., a, b, c, d] = header;
    ipv4::set_source(&mut header, Ipv4Addr::new(d, c, b, a));
    ipv4::set_destination(&mut header, Ipv4Addr::new(b, a, d, c));
    ipv4::swap_addresses(&mut header);
    let packet = Ipv4::parse_quote(&header).unwrap();
    assert!(packet.checksum_is_right());
    assert_eq!(packet.header().octets(), header);
    assert_eq!(
        (packet.total_len(), packet.ttl()),
        (length, left.unwrap_or(ttl))
    );
}

fn change_v6(header: [u8; ipv6::HEADER]) {
    let mut swapped = header;
    ipv6::swap_addresses(&mut swapped);
    let address = |bytes: &[u8]| Ipv6Addr::from_octets(*bytes.first_chunk().unwrap());
    assert_eq!(address(&swapped[8..]), address(&header[24..]));
    assert_eq!(address(&swapped[24..]), address(&header[8..]));
}
