//! TCP, UDP, ICMP, ICMPv6 and neighbour discovery; the first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_wire::icmp::{self, Icmp};
use weir_wire::icmp6::{self, Icmp6};
use weir_wire::ipv4::Ipv4;
use weir_wire::ipv6::Ipv6;
use weir_wire::nd;
use weir_wire::tcp::{self, Tcp};
use weir_wire::udp::{self, Udp};

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const A6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    match which % 5 {
        0 => read_tcp(bytes),
        1 => read_udp(bytes),
        2 => read_icmp(bytes),
        3 => read_icmp6(bytes),
        _ => read_options(bytes),
    }
});

fn read_tcp(bytes: &[u8]) {
    let Ok(segment) = Tcp::parse(bytes) else {
        return;
    };
    assert_eq!(segment.data_offset() + segment.payload().len(), bytes.len());
    let options = &bytes[tcp::HEADER..segment.data_offset()];
    assert!(segment.options().count() <= tcp::MAX_OPTIONS);
    let errors = segment.options().filter(Result::is_err).count();
    assert!(
        errors <= 1
            && segment.options().take_while(Result::is_ok).count() + errors
                == segment.options().count()
    );
    let _ = (segment.mss(), segment.checksum());
    let _ = (
        segment.checksum_is_right_v4(A, B),
        segment.checksum_is_right_v6(A6, B6),
    );
    let header = segment.header();
    if let Some(octets) = header.octets_v4(A, B, options, segment.payload()) {
        let written = [&octets[..], &bytes[tcp::HEADER..]].concat();
        let again = Tcp::parse(&written).unwrap();
        assert!(again.checksum_is_right_v4(A, B));
        assert_eq!((again.header(), again.mss()), (header, segment.mss()));
    }
    let octets = header
        .octets_v6(A6, B6, options, segment.payload())
        .unwrap();
    let written = [&octets[..], &bytes[tcp::HEADER..]].concat();
    assert!(Tcp::parse(&written).unwrap().checksum_is_right_v6(A6, B6));
}

fn read_udp(bytes: &[u8]) {
    let Ok(datagram) = Udp::parse(bytes) else {
        return;
    };
    let (header, payload) = (datagram.header(), datagram.payload());
    assert_eq!(udp::HEADER + payload.len(), usize::from(datagram.length()));
    let _ = (
        datagram.checksum_is_right_v4(A, B),
        datagram.checksum_is_right_v6(A6, B6),
    );
    if datagram.checksum().is_none() {
        assert_eq!(header.octets(), bytes[..udp::HEADER]);
    }
    let written = [&header.octets_v4(A, B, payload)[..], payload].concat();
    assert!(Udp::parse(&written).unwrap().checksum_is_right_v4(A, B));
    let written = [&header.octets_v6(A6, B6, payload)[..], payload].concat();
    assert!(Udp::parse(&written).unwrap().checksum_is_right_v6(A6, B6));
}

fn read_icmp(bytes: &[u8]) {
    let Ok(message) = Icmp::parse(bytes) else {
        return;
    };
    let _ = message.checksum();
    assert_eq!(message.quote().is_some(), icmp::is_error(message.kind()));
    assert_eq!(message.next_hop_mtu(), mtu(bytes));
    read_quote(message);
    // The same as "fragmentation needed" about an IPv4 packet, which is seldom found by chance.
    let mut error = bytes.to_vec();
    if let [kind, code, _, _, _, _, _, _, first, ..] = &mut error[..] {
        (*kind, *code, *first) = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, 0x45);
        let message = Icmp::parse(&error).unwrap();
        assert_eq!(message.next_hop_mtu(), mtu(&error));
        read_quote(message);
    }
    let mut copy = bytes.to_vec();
    let made = icmp::make_echo_reply(copy.first_chunk_mut().unwrap());
    assert_eq!(made, message.kind() == icmp::ECHO && message.code() == 0);
    if made && message.checksum_is_right() {
        let reply = Icmp::parse(&copy).unwrap();
        assert!(reply.checksum_is_right());
        assert_eq!(reply.echo(), message.echo());
    }
}

/// The next hop's MTU, by offsets.
fn mtu(bytes: &[u8]) -> Option<u16> {
    let mtu = u16::from_be_bytes([bytes[6], bytes[7]]);
    (bytes[..2] == [3, 4] && mtu != 0).then_some(mtu)
}

fn read_quote(message: Icmp<'_>) {
    if let Some(quote) = message.quote() {
        assert!(quote.len() <= message.payload().len());
        let _ = Ipv4::parse_quote(quote).map(|packet| packet.header());
        assert!(icmp::quote(quote).len() <= icmp::MAX_QUOTE);
    }
}

fn read_icmp6(bytes: &[u8]) {
    let Ok(message) = Icmp6::parse(bytes) else {
        return;
    };
    let _ = (message.checksum(), message.mtu());
    if let Some(quote) = message.quote() {
        assert!(icmp6::is_error(message.kind()) && quote.len() <= message.body().len());
        let _ = Ipv6::parse_quote(quote).map(|packet| (packet.header(), packet.upper()));
        assert!(icmp6::quote(quote).len() <= icmp6::MAX_QUOTE);
    }
    let mut copy = bytes.to_vec();
    if icmp6::make_echo_reply(copy.first_chunk_mut().unwrap()) && message.checksum_is_right(A6, B6)
    {
        let reply = Icmp6::parse(&copy).unwrap();
        assert!(reply.checksum_is_right(B6, A6));
        assert_eq!(reply.echo(), message.echo());
    }
    match nd::Message::parse(&message) {
        Ok(nd::Message::RouterSolicitation { options }) => count(options),
        Ok(nd::Message::RouterAdvertisement { options, .. }) => count(options),
        Ok(nd::Message::NeighborSolicitation { target, options }) => {
            count(options);
            assert!(nd::solicited_node(target).is_multicast() && !target.is_multicast());
            if let Some(mac) = options.source_mac() {
                let written = nd::Solicitation { target, mac }.octets(A6, B6);
                assert!(Icmp6::parse(&written).unwrap().checksum_is_right(A6, B6));
            }
        }
        Ok(nd::Message::NeighborAdvertisement {
            flags,
            target,
            options,
        }) => {
            count(options);
            if let Some(mac) = options.target_mac() {
                let written = nd::Advertisement { flags, target, mac }.octets(A6, B6);
                let again = Icmp6::parse(&written).unwrap();
                assert!(again.checksum_is_right(A6, B6) && nd::Message::parse(&again).is_ok());
            }
        }
        Err(_) => {}
    }
}

fn read_options(bytes: &[u8]) {
    if let Ok(options) = nd::Options::parse(bytes) {
        count(options);
        let _ = (options.source_mac(), options.target_mac());
    }
}

fn count(options: nd::Options<'_>) {
    assert!(options.iter().count() <= nd::MAX_OPTIONS);
}
