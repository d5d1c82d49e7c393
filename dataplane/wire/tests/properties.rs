//! What holds for all bytes: what is written is read back, nothing panics, a changed header's checksum is
//! the recomputed one.

use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_wire::arp::{Arp, Operation};
use weir_wire::ether::{self, Ether};
use weir_wire::gre::Nvgre;
use weir_wire::icmp::{self, Icmp};
use weir_wire::icmp6::{self, Icmp6};
use weir_wire::ipv4::{self, Fragmentation, Ipv4};
use weir_wire::ipv6::{self, Ipv6};
use weir_wire::nd;
use weir_wire::tcp::{self, Tcp};
use weir_wire::udp::{self, Udp};
use weir_wire::vlan::{Tag, Tci, Vlan, VlanId};
use weir_wire::{EtherType, IpProtocol, Mac, Vsid, checksum, flow};

mod walk;

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac::new)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..100)
}

prop_compose! {
    fn ipv4_header()(
        tos in any::<u8>(),
        total_length in 20..=u16::MAX,
        identification in any::<u16>(),
        fragmentation in any::<u16>().prop_map(Fragmentation),
        ttl in any::<u8>(),
        protocol in any::<u8>().prop_map(IpProtocol),
        source in any::<Ipv4Addr>(),
        destination in any::<Ipv4Addr>(),
    ) -> ipv4::Header {
        ipv4::Header {
            tos, total_length, identification, fragmentation, ttl, protocol, source, destination,
        }
    }
}

prop_compose! {
    fn ipv6_header()(
        traffic_class in any::<u8>(),
        flow_label in 0_u32..1 << 20,
        payload_length in any::<u16>(),
        next_header in any::<u8>().prop_map(IpProtocol),
        hop_limit in any::<u8>(),
        source in any::<Ipv6Addr>(),
        destination in any::<Ipv6Addr>(),
    ) -> ipv6::Header {
        ipv6::Header {
            traffic_class, flow_label, payload_length, next_header, hop_limit, source, destination,
        }
    }
}

prop_compose! {
    fn tcp_header()(
        source_port in any::<u16>(),
        destination_port in any::<u16>(),
        sequence in any::<u32>(),
        acknowledgment in any::<u32>(),
        flags in any::<u8>().prop_map(tcp::Flags),
        window in any::<u16>(),
        urgent in any::<u16>(),
    ) -> tcp::Header {
        tcp::Header {
            source_port, destination_port, sequence, acknowledgment, flags, window, urgent,
        }
    }
}

/// The checksum of the first 20 bytes, done anew.
fn recomputed(header: &[u8; 20]) -> [u8; 20] {
    let mut header = *header;
    header[10..12].fill(0);
    let sum = checksum::checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

// What is written is read back.
proptest! {
    #[test]
    fn ethernet(dst in mac(), src in mac(), ethertype in any::<u16>(), payload in payload()) {
        let header = ether::Header { dst, src, ethertype: EtherType(ethertype) };
        let bytes = [&header.octets()[..], &payload].concat();
        let frame = Ether::parse(&bytes).unwrap();
        prop_assert_eq!(frame.header(), header);
        prop_assert_eq!(frame.payload(), payload);
    }

    #[test]
    fn vlan(pcp in 0_u8..8, dei: bool, vid in VlanId::MIN..=VlanId::MAX, ethertype in any::<u16>()) {
        let vlan = VlanId::new(vid).unwrap();
        let tag = Tag { tci: Tci::new(pcp, dei, vlan), ethertype: EtherType(ethertype) };
        let bytes = tag.octets();
        let read = Vlan::parse(&bytes).unwrap();
        prop_assert_eq!(read.tag(), tag);
        let tci = read.tci();
        prop_assert_eq!((tci.pcp(), tci.dei(), tci.vlan()), (pcp, dei, Some(vlan)));
    }

    #[test]
    fn arp(
        operation in any::<u16>(), sender_mac in mac(), sender_ip: Ipv4Addr,
        target_mac in mac(), target_ip: Ipv4Addr,
    ) {
        let operation = Operation(operation);
        let arp = Arp { operation, sender_mac, sender_ip, target_mac, target_ip };
        prop_assert_eq!(Arp::parse(&arp.octets()), Ok(arp));
    }

    #[test]
    fn nvgre(vsid in Vsid::MIN..=Vsid::MAX, flow_id: u8) {
        let nvgre = Nvgre { vsid: Vsid::new(vsid).unwrap(), flow_id };
        prop_assert_eq!(Nvgre::parse(&nvgre.octets()), Ok(nvgre));
    }

    #[test]
    fn ipv4(header in ipv4_header(), payload in payload()) {
        let header = ipv4::Header { total_length: 20 + payload.len() as u16, ..header };
        let bytes = [&header.octets()[..], &payload, &[0; 4]].concat();
        let packet = Ipv4::parse(&bytes).unwrap();
        prop_assert_eq!(packet.header(), header);
        prop_assert_eq!(packet.payload(), payload);
        prop_assert!(packet.checksum_is_right());
    }

    #[test]
    fn ipv6(header in ipv6_header(), payload in payload()) {
        let header = ipv6::Header { payload_length: payload.len() as u16, ..header };
        let bytes = [&header.octets()[..], &payload, &[0; 4]].concat();
        let packet = Ipv6::parse(&bytes).unwrap();
        prop_assert_eq!(packet.header(), header);
        prop_assert_eq!(packet.payload(), payload);
    }

    #[test]
    fn udp(source_port: u16, destination_port: u16, a: Ipv4Addr, b: Ipv4Addr, payload in payload()) {
        let length = 8 + payload.len() as u16;
        let header = udp::Header { source_port, destination_port, length };
        let bytes = [&header.octets_v4(a, b, &payload)[..], &payload, &[0; 4]].concat();
        let datagram = Udp::parse(&bytes).unwrap();
        prop_assert_eq!(datagram.header(), header);
        prop_assert_eq!(datagram.payload(), &payload);
        prop_assert!(datagram.checksum_is_right_v4(a, b));
        let (a, b) = (a.to_ipv6_mapped(), b.to_ipv6_mapped());
        let bytes = [&header.octets_v6(a, b, &payload)[..], &payload].concat();
        prop_assert!(Udp::parse(&bytes).unwrap().checksum_is_right_v6(a, b));
    }

    #[test]
    fn tcp(
        header in tcp_header(), a: Ipv4Addr, b: Ipv4Addr, mss: u16,
        nops in 0_usize..=9, payload in payload(),
    ) {
        let [m0, m1] = mss.to_be_bytes();
        let options = [&vec![1; nops * 4][..], &[2, 4, m0, m1]].concat();
        let octets = header.octets_v4(a, b, &options, &payload).unwrap();
        let bytes = [&octets[..], &options, &payload].concat();
        let segment = Tcp::parse(&bytes).unwrap();
        prop_assert_eq!(segment.header(), header);
        prop_assert_eq!(segment.mss(), Some(mss));
        prop_assert_eq!(segment.payload(), &payload);
        prop_assert!(segment.checksum_is_right_v4(a, b));
        let (a, b) = (a.to_ipv6_mapped(), b.to_ipv6_mapped());
        let octets = header.octets_v6(a, b, &options, &payload).unwrap();
        let bytes = [&octets[..], &options, &payload].concat();
        prop_assert!(Tcp::parse(&bytes).unwrap().checksum_is_right_v6(a, b));
    }

    #[test]
    fn icmp(kind: u8, code: u8, rest: [u8; 4], payload in payload()) {
        let header = icmp::Header { kind, code, rest };
        let bytes = [&header.octets(&payload)[..], &payload].concat();
        let message = Icmp::parse(&bytes).unwrap();
        prop_assert_eq!((message.kind(), message.code()), (kind, code));
        prop_assert_eq!(message.payload(), payload);
        // Zeros alone sum to +0, whose checksum is 0xffff: right, too.
        prop_assert!(message.checksum_is_right());
    }

    #[test]
    fn icmp6(kind: u8, code: u8, rest: [u8; 4], a: Ipv6Addr, b: Ipv6Addr, payload in payload()) {
        let header = icmp6::Header { kind, code, rest };
        let bytes = [&header.octets(a, b, &payload)[..], &payload].concat();
        let message = Icmp6::parse(&bytes).unwrap();
        prop_assert_eq!((message.kind(), message.code()), (kind, code));
        prop_assert_eq!(message.body(), &bytes[4..]);
        prop_assert!(message.checksum_is_right(a, b));
    }

    #[test]
    fn neighbours(flags: u8, target: Ipv6Addr, mac in mac(), a: Ipv6Addr, b: Ipv6Addr) {
        prop_assume!(!target.is_multicast());
        let flags = nd::Flags(flags & 0xe0);
        let bytes = nd::Advertisement { flags, target, mac }.octets(a, b);
        let message = Icmp6::parse(&bytes).unwrap();
        prop_assert!(message.checksum_is_right(a, b));
        let read = nd::Message::parse(&message).unwrap();
        let options = nd::Options::parse(&bytes[24..]).unwrap();
        prop_assert_eq!(options.target_mac(), Some(mac));
        prop_assert_eq!(read, nd::Message::NeighborAdvertisement { flags, target, options });
        let bytes = nd::Solicitation { target, mac }.octets(a, b);
        let message = Icmp6::parse(&bytes).unwrap();
        prop_assert!(message.checksum_is_right(a, b));
        let read = nd::Message::parse(&message).unwrap();
        let options = nd::Options::parse(&bytes[24..]).unwrap();
        prop_assert_eq!(options.source_mac(), Some(mac));
        prop_assert_eq!(read, nd::Message::NeighborSolicitation { target, options });
    }
}

// What is changed in place is what would have been written.
proptest! {
    #[test]
    fn ipv4_setters(
        header in ipv4_header(), length in 20..=u16::MAX, source: Ipv4Addr, destination: Ipv4Addr,
    ) {
        let mut bytes = header.octets();
        ipv4::set_total_length(&mut bytes, length);
        prop_assert_eq!(bytes, recomputed(&bytes));
        ipv4::set_source(&mut bytes, source);
        prop_assert_eq!(bytes, recomputed(&bytes));
        ipv4::set_destination(&mut bytes, destination);
        prop_assert_eq!(bytes, recomputed(&bytes));
        let mut changed = ipv4::Header { total_length: length, source, destination, ..header };
        prop_assert_eq!(bytes, changed.octets());
        let left = ipv4::decrement_ttl(&mut bytes);
        prop_assert_eq!(left, if header.ttl > 1 { Some(header.ttl - 1) } else { None });
        changed.ttl = left.unwrap_or(header.ttl);
        prop_assert_eq!(bytes, changed.octets());
        ipv4::swap_addresses(&mut bytes);
        let back = ipv4::Header { source: destination, destination: source, ..changed };
        prop_assert_eq!(bytes, back.octets());
    }

    #[test]
    fn ipv6_addresses(header in ipv6_header()) {
        let mut bytes = header.octets();
        ipv6::swap_addresses(&mut bytes);
        let (source, destination) = (header.destination, header.source);
        prop_assert_eq!(bytes, ipv6::Header { source, destination, ..header }.octets());
    }

    #[test]
    fn echo_replies(identifier: u16, sequence: u16, a: Ipv6Addr, b: Ipv6Addr, data in payload()) {
        let echo = icmp::Echo { identifier, sequence };
        let mut octets = icmp::Header::echo(icmp::ECHO, echo).octets(&data);
        prop_assert!(icmp::make_echo_reply(&mut octets));
        let bytes = [&octets[..], &data].concat();
        let reply = Icmp::parse(&bytes).unwrap();
        prop_assert!(reply.checksum_is_right());
        prop_assert_eq!((reply.kind(), reply.echo()), (icmp::ECHO_REPLY, Some(echo)));

        let octets = icmp6::Header::echo(icmp6::ECHO_REQUEST, echo).octets(a, b, &data);
        let mut bytes = [&octets[..], &data].concat();
        prop_assert!(icmp6::make_echo_reply(bytes.first_chunk_mut().unwrap()));
        let reply = icmp6::Header::echo(icmp6::ECHO_REPLY, echo).octets(b, a, &data);
        prop_assert_eq!(&bytes[..8], reply);
    }
}

/// Reads whatever there is to read.
fn read_all(bytes: &[u8]) {
    let _ = Ether::parse(bytes).map(|frame| (frame.header(), frame.payload().len()));
    let _ = Vlan::parse(bytes).map(|vlan| (vlan.tag(), vlan.tci().vlan(), vlan.payload().len()));
    let _ = Arp::parse(bytes).map(|arp| arp.octets());
    let _ = Nvgre::parse(bytes).map(|nvgre| nvgre.octets());
    for packet in [Ipv4::parse(bytes), Ipv4::parse_quote(bytes)]
        .into_iter()
        .flatten()
    {
        assert!(packet.header_len() + packet.payload().len() <= usize::from(packet.total_len()));
        assert_eq!(packet.options().len() + 20, packet.header_len());
        let _ = (
            packet.header(),
            packet.checksum(),
            packet.checksum_is_right(),
        );
        let _ = packet.fragmentation().offset();
    }
    for packet in [Ipv6::parse(bytes), Ipv6::parse_quote(bytes)]
        .into_iter()
        .flatten()
    {
        assert!(packet.payload().len() <= usize::from(packet.payload_len()));
        let _ = (packet.header(), packet.upper());
    }
    if let Ok(message) = Icmp::parse(bytes) {
        let _ = (
            message.checksum_is_right(),
            message.checksum(),
            message.echo(),
        );
        let _ = (message.next_hop_mtu(), message.payload().len());
        let _ = message.quote().map(Ipv4::parse_quote);
    }
    if let Ok(message) = Icmp6::parse(bytes) {
        let _ = message.checksum_is_right(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let _ = (message.checksum(), message.echo(), message.mtu());
        let _ = message.quote().map(Ipv6::parse_quote);
        let _ = nd::Message::parse(&message);
    }
    if let Ok(options) = nd::Options::parse(bytes) {
        assert!(options.iter().count() <= nd::MAX_OPTIONS);
        let _ = (options.source_mac(), options.target_mac());
    }
    if let Ok(segment) = Tcp::parse(bytes) {
        assert!(segment.options().count() <= tcp::MAX_OPTIONS);
        assert_eq!(segment.data_offset() + segment.payload().len(), bytes.len());
        let _ = (segment.header(), segment.mss(), segment.checksum());
        let _ = segment.checksum_is_right_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        let _ = segment.checksum_is_right_v6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    }
    if let Ok(datagram) = Udp::parse(bytes) {
        assert_eq!(8 + datagram.payload().len(), usize::from(datagram.length()));
        let _ = (datagram.header(), datagram.checksum());
        let _ = datagram.checksum_is_right_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        let _ = datagram.checksum_is_right_v6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    }
    let _ = (ipv6::walk(bytes), ipv6::upper_layer(bytes));
    let _ = bytes.first_chunk().map(|header| flow::ipv4(header, bytes));
    let _ = bytes.first_chunk().map(|header| flow::ipv6(header, bytes));
}

/// Changes whatever can be changed in place.
fn change_all(bytes: &mut [u8]) {
    if let Some(header) = bytes.first_chunk_mut() {
        ipv4::set_total_length(header, 1500);
        let _ = ipv4::decrement_ttl(header);
        ipv4::set_source(header, Ipv4Addr::LOCALHOST);
        ipv4::set_destination(header, Ipv4Addr::BROADCAST);
        ipv4::swap_addresses(header);
    }
    let _ = bytes.first_chunk_mut().map(ipv6::swap_addresses);
    let _ = bytes.first_chunk_mut().map(icmp::make_echo_reply);
    let _ = bytes.first_chunk_mut().map(icmp6::make_echo_reply);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Arbitrary bytes, and such as begin like something.
    #[test]
    fn nothing_panics(
        start in prop::sample::select(vec![
            vec![], vec![0x45], vec![0x46, 0, 0, 30], vec![0x60, 0, 0, 0, 0, 9, 0], vec![3, 4],
            vec![134, 0], vec![135, 0], vec![136, 0], vec![2, 0], vec![0, 1, 8, 0, 6, 4],
            vec![0x20, 0, 0x65, 0x58],
        ]),
        rest in vec(prop_oneof![any::<u8>(), 0_u8..9], 0..160),
    ) {
        let mut bytes = [start, rest].concat();
        read_all(&bytes);
        change_all(&mut bytes);
        read_all(&bytes);
    }
}
