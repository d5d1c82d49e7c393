use super::*;
use crate::ipv4::Header as Header4;
use crate::ipv6::Header as Header6;
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::IpAddr;

/// CAs and PAs of two machines.
fn change4() -> Change<Ipv4Addr> {
    Change {
        source: ([10, 1, 0, 11].into(), [192, 168, 60, 7].into()),
        destination: ([10, 1, 0, 12].into(), [192, 168, 61, 9].into()),
    }
}

fn change6() -> Change<Ipv6Addr> {
    let [a, b, c, d] =
        ["fd01::11", "2001:db8::7", "fd01::12", "2001:db8:1::9"].map(|text| text.parse().unwrap());
    Change {
        source: (a, b),
        destination: (c, d),
    }
}

/// What becomes of the packets that come back.
fn other_way<A: Copy>(change: Change<A>) -> Change<A> {
    Change {
        source: change.destination,
        destination: change.source,
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// UDP without a checksum.
const UDP_NONE: u8 = 0;
const UDP_LITE: u8 = 136;
const DCCP: u8 = 33;

/// Header and payload of a transport protocol, its checksum by the book.
fn transport_of(kind: u8, between: (IpAddr, IpAddr), payload: &[u8]) -> (u8, Vec<u8>) {
    let protocol = if kind == UDP_NONE { UDP } else { kind };
    let (length, at) = match kind {
        TCP => (20, 16),
        DCCP => (16, 6),
        _ => (8, 6),
    };
    let mut bytes: Vec<u8> = (0..length).map(|byte| byte * 3 + 1).collect();
    bytes.extend(payload);
    bytes[at..at + 2].fill(0);
    if kind != UDP_NONE {
        let sum = pseudo(between, protocol, &bytes).finish();
        let sum = if kind == UDP || kind == UDP_LITE {
            checksum::udp(sum)
        } else {
            sum
        };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    (protocol, bytes)
}

fn pseudo(between: (IpAddr, IpAddr), protocol: u8, bytes: &[u8]) -> checksum::Sum {
    let mut sum = match between {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            checksum::pseudo_v4(s.octets(), d.octets(), protocol, bytes.len() as u16)
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            checksum::pseudo_v6(s.octets(), d.octets(), protocol, bytes.len() as u32)
        }
        _ => unreachable!(),
    };
    sum.add(bytes);
    sum
}

fn ip4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    options: &[u8],
    l4: &[u8],
) -> Vec<u8> {
    let header = Header4 {
        tos: 3,
        total_length: (20 + options.len() + l4.len()) as u16,
        identification: 77,
        fragmentation: Fragmentation::NONE,
        ttl: 64,
        protocol: IpProtocol(protocol),
        source,
        destination,
    };
    let mut bytes = [&header.octets()[..], options].concat();
    bytes[0] = 0x45 + (options.len() / 4) as u8;
    bytes[10..12].fill(0);
    let sum = checksum::checksum(&bytes);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(l4);
    bytes
}

fn ip6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, l4: &[u8]) -> Vec<u8> {
    let header = Header6 {
        traffic_class: 3,
        flow_label: 5,
        payload_length: l4.len() as u16,
        next_header: IpProtocol(next),
        hop_limit: 64,
        source,
        destination,
    };
    [&header.octets()[..], l4].concat()
}

/// Every checksum of a whole packet that is not an error.
fn is_right(packet: &[u8]) -> bool {
    let (between, protocol, l4): ((IpAddr, IpAddr), u8, &[u8]) = if packet[0] >> 4 == 4 {
        let ip = ipv4::Ipv4::parse(packet).unwrap();
        if !ip.checksum_is_right() {
            return false;
        }
        let start = ip.header_len();
        (
            (ip.source().into(), ip.destination().into()),
            ip.protocol().0,
            &packet[start..],
        )
    } else {
        let ip = ipv6::Ipv6::parse(packet).unwrap();
        let upper = ip.upper().unwrap();
        (
            (ip.source().into(), ip.destination().into()),
            upper.protocol.0,
            upper.payload,
        )
    };
    match protocol {
        UDP if l4[6..8] == [0, 0] => true,
        1 => sum(l4) == 0xffff,
        TCP | UDP | UDP_LITE | DCCP | 58 => pseudo(between, protocol, l4).fold() == 0xffff,
        _ => true,
    }
}

fn kind() -> impl Strategy<Value = u8> {
    proptest::sample::select(vec![TCP, UDP, UDP_NONE, UDP_LITE, DCCP, 1, 47, 132])
}

/// A packet of one machine to the other, by CAs.
fn packet4(kind: u8, options: usize, payload: &[u8], change: &Change<Ipv4Addr>) -> Vec<u8> {
    let (source, destination) = (change.source.0, change.destination.0);
    let (protocol, l4) = match kind {
        1 => (
            1,
            [
                &icmp::Header {
                    kind: 8,
                    code: 0,
                    rest: [0, 7, 0, 1],
                }
                .octets(payload)[..],
                payload,
            ]
            .concat(),
        ),
        47 | 132 => (kind, payload.to_vec()),
        _ => transport_of(kind, (source.into(), destination.into()), payload),
    };
    ip4(source, destination, protocol, &vec![1; options * 4], &l4)
}

/// With extension headers where `extensions`.
fn packet6(kind: u8, extensions: bool, payload: &[u8], change: &Change<Ipv6Addr>) -> Vec<u8> {
    let (source, destination) = (change.source.0, change.destination.0);
    let between = (source.into(), destination.into());
    let (protocol, l4) = match kind {
        1 => (58, message6([128, 0, 0, 7, 0, 1], payload, between)),
        47 | 132 => (kind, payload.to_vec()),
        _ => transport_of(kind, between, payload),
    };
    if !extensions {
        return ip6(source, destination, protocol, &l4);
    }
    // Hop-by-hop, destination options, a routing header with nothing left.
    let before = [
        60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, protocol, 0, 4, 0, 0, 0, 0, 0,
    ];
    ip6(source, destination, 0, &[&before[..], &l4].concat())
}

fn message6(
    [kind, code, rest @ ..]: [u8; 6],
    payload: &[u8],
    between: (IpAddr, IpAddr),
) -> Vec<u8> {
    let mut bytes = [&[kind, code, 0, 0][..], &rest, payload].concat();
    let sum = pseudo(between, 58, &bytes).finish();
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn done4(packet: &[u8], change: &Change<Ipv4Addr>) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    ipv4(&mut bytes, change, false).unwrap();
    bytes
}

fn done6(packet: &[u8], change: &Change<Ipv6Addr>) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    ipv6(&mut bytes, change, false).unwrap();
    bytes
}

/// What differs but addresses and checksums, which are neighbours of nothing else that could.
fn differing(one: &[u8], other: &[u8]) -> usize {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).filter(|(a, b)| a != b).count()
}

#[test]
fn the_bytes_of_a_udp_datagram() {
    // By hand: 10.1.0.11 → 192.168.60.7, 10.1.0.12 → 192.168.61.9, port 4000 to 5000, "hi".
    let mut packet = [
        0x45, 0, 0, 30, 0, 0, 0x40, 0, 64, 17, 0x26, 0xb7, 10, 1, 0, 11, 10, 1, 0, 12, //
        0x0f, 0xa0, 0x13, 0x88, 0, 10, 0x60, 0x30, b'h', b'i',
    ];
    assert!(is_right(&packet));
    ipv4(&mut packet, &change4(), false).unwrap();
    let wanted = [
        0x45, 0, 0, 30, 0, 0, 0x40, 0, 64, 17, 0x40, 0x6e, 192, 168, 60, 7, 192, 168, 61,
        9, //
        0x0f, 0xa0, 0x13, 0x88, 0, 10, 0x79, 0xe7, b'h', b'i',
    ];
    assert_eq!(packet, wanted);
    assert!(is_right(&packet));
}

/// RFC 768: a checksum that comes out as zero is sent as all ones, for zero says that there is none.
#[test]
fn a_udp_checksum_that_becomes_zero_is_all_ones() {
    let at = 26..28;
    // What was the checksum is the payload that makes it zero.
    let first = done4(&packet4(UDP, 0, &[0, 0], &change4()), &change4());
    let packet = packet4(UDP, 0, &first[at.clone()], &change4());
    let there = done4(&packet, &change4());
    assert_eq!(there[at], [0xff, 0xff]);
    assert!(is_right(&there));
    assert_eq!(done4(&there, &change4().back()), packet);
}

#[test]
fn what_cannot_be_kept_right_is_refused_and_left_alone() {
    let tcp = packet4(TCP, 0, &[7; 40], &change4());
    let refused = |bytes: &[u8], why| {
        let mut changed = bytes.to_vec();
        assert_eq!(ipv4(&mut changed, &change4(), false), Err(why));
        assert_eq!(changed, bytes);
    };
    // A first fragment of eight bytes: TCP's checksum is in the second (RFC 1858 §3).
    let mut tiny = tcp[..28].to_vec();
    tiny[3] = 28;
    tiny[6] = 0x20;
    refused(&tiny, Refusal::OutOfReach);
    // Alone it is a header cut short, which has none.
    tiny[6] = 0;
    assert_eq!(ipv4(&mut tiny, &change4(), false), Ok(()));
    // Bytes that the header promises are not at hand.
    refused(&tcp[..30], Refusal::Malformed);
    refused(&tcp[..19], Refusal::Malformed);
    for (at, to) in [(0, 0x65), (0, 0x44), (3, 10)] {
        let mut bad = tcp.clone();
        bad[at] = to;
        refused(&bad, Refusal::Malformed);
    }
    // A routing header that has a segment left: the checksum is of its last address.
    let mut routed = packet6(UDP, true, &[1; 9], &change6());
    routed[40 + 16 + 3] = 1;
    let before = routed.clone();
    assert_eq!(
        ipv6(&mut routed, &change6(), false),
        Err(Refusal::OutOfReach)
    );
    assert_eq!(routed, before);
}

/// What [`whatever`] makes of it, which is the rule.
fn slow4(packet: &[u8], change: &Change<Ipv4Addr>) -> Result<Vec<u8>, Refusal> {
    let mut bytes = packet.to_vec();
    whatever(&mut bytes, change, false).map(|()| bytes)
}

/// The straight line, if it takes the packet.
fn fast4(packet: &[u8], change: &Change<Ipv4Addr>) -> Option<Vec<u8>> {
    let mut bytes = packet.to_vec();
    let start = bytes.first_chunk_mut()?;
    let done = ordinary(start, change.source.1, change.destination.1);
    match done {
        Some(()) => Some(bytes),
        None => {
            assert_eq!(bytes, packet, "what is left to others is left alone");
            None
        }
    }
}

#[test]
fn what_nearly_every_packet_is_goes_in_a_straight_line() {
    for kind in [TCP, UDP, UDP_NONE] {
        let packet = packet4(kind, 0, &[7; 18], &change4());
        let there = fast4(&packet, &change4());
        assert_eq!(there, slow4(&packet, &change4()).ok(), "{kind}");
        assert!(is_right(&there.unwrap()), "{kind}");
        // Options, another version, too short, fragments, another protocol.
        for (at, to) in [
            (0, 0x46),
            (0, 0x65),
            (3, 37),
            (6, 0x20),
            (6, 0x01),
            (7, 1),
            (9, 1),
        ] {
            let mut other = packet.clone();
            other[at] = to;
            assert_eq!(fast4(&other, &change4()), None, "{kind} {at} {to}");
        }
        // DF alone is no fragment.
        let mut whole = packet.clone();
        whole[6] = 0x40;
        assert_eq!(fast4(&whole, &change4()), slow4(&whole, &change4()).ok());
    }
}

/// Every checksum that there is, right or wrong, and 0 among them.
#[test]
fn in_a_straight_line_every_checksum_becomes_what_it_must() {
    for checksum in 0..=u16::MAX {
        for (kind, at) in [(TCP, 36), (UDP, 26)] {
            let mut packet = packet4(kind, 0, &[7; 18], &change4());
            packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(fast4(&packet, &change4()), slow4(&packet, &change4()).ok());
        }
    }
}

proptest! {
    #[test]
    fn the_straight_line_and_the_rule_make_the_same_of_any_bytes(
        start in vec(any::<u8>(), 12..=12), ends in any::<[[u8; 4]; 4]>(), rest in vec(any::<u8>(), 0..60),
        is_plain: bool, protocol in proptest::sample::select(vec![TCP, UDP, 1]),
    ) {
        let [source, destination, to_source, to_destination] = ends;
        let mut bytes = [&start[..], &source, &destination, &rest].concat();
        if is_plain {
            let total = (bytes.len() as u16).to_be_bytes();
            (bytes[0], bytes[6], bytes[7], bytes[9]) = (0x45, bytes[6] & 0x40, 0, protocol);
            bytes[2..4].copy_from_slice(&total);
        }
        let change = Change {
            source: (source.into(), to_source.into()),
            destination: (destination.into(), to_destination.into()),
        };
        let slow = slow4(&bytes, &change);
        if let Some(fast) = fast4(&bytes, &change) {
            prop_assert_eq!(Ok(fast), slow);
        } else {
            prop_assert!(!is_plain || protocol == 1 || rest.len() < REACH);
        }
        let mut whole = bytes.clone();
        let done = ipv4(&mut whole, &change, false);
        prop_assert_eq!(done.map(|()| whole), slow4(&bytes, &change));
    }

    #[test]
    fn rewritten_back_it_is_as_it_was_and_right_in_between(
        kind in kind(), options in 0_usize..=10, payload in vec(any::<u8>(), 0..120),
    ) {
        let packet = packet4(kind, options, &payload, &change4());
        prop_assert!(is_right(&packet));
        let there = done4(&packet, &change4());
        prop_assert!(is_right(&there), "{there:02x?}");
        prop_assert_eq!(&there[12..20], &[192, 168, 60, 7, 192, 168, 61, 9]);
        prop_assert!(differing(&packet, &there) <= 12);
        prop_assert_eq!(done4(&there, &change4().back()), packet);

        let packet = packet6(kind, options > 5, &payload, &change6());
        prop_assert!(is_right(&packet));
        let there = done6(&packet, &change6());
        prop_assert!(is_right(&there), "{there:02x?}");
        prop_assert!(differing(&packet, &there) <= 34);
        prop_assert_eq!(done6(&there, &change6().back()), packet);
    }

    /// What comes of a fragment is a fragment of what comes of the packet.
    #[test]
    fn fragments_are_those_of_the_rewritten_packet(
        kind in kind(), options in 0_usize..=10, payload in vec(any::<u8>(), 40..200), cut in 3_usize..6,
    ) {
        let cut = cut * 8;
        let fragments4 = |packet: &[u8]| {
            let header_len = usize::from(packet[0] & 15) * 4;
            let l4 = &packet[header_len..];
            [(&l4[..cut], 0x2000), (&l4[cut..], (cut / 8) as u16)].map(|(part, fragmentation)| {
                let mut bytes = [&packet[..header_len], part].concat();
                let header = bytes.first_chunk_mut().unwrap();
                ipv4::set_fragmentation(header, Fragmentation(fragmentation));
                ipv4::set_total_length(header, (header_len + part.len()) as u16);
                bytes
            })
        };
        let packet = packet4(kind, options, &payload, &change4());
        let rewritten = fragments4(&packet).map(|part| done4(&part, &change4()));
        prop_assert_eq!(rewritten, fragments4(&done4(&packet, &change4())));

        let fragments6 = |packet: &[u8]| {
            let next = packet[6];
            let l4 = &packet[40..];
            [(&l4[..cut], 1), (&l4[cut..], cut as u16)].map(|(part, offset)| {
                let [o0, o1] = offset.to_be_bytes();
                let mut bytes = [&packet[..40], &[next, 0, o0, o1, 0, 0, 0, 9], part].concat();
                bytes[6] = 44;
                bytes[4..6].copy_from_slice(&(8 + part.len() as u16).to_be_bytes());
                bytes
            })
        };
        let packet = packet6(kind, false, &payload, &change6());
        let rewritten = fragments6(&packet).map(|part| done6(&part, &change6()));
        prop_assert_eq!(rewritten, fragments6(&done6(&packet, &change6())));
    }

    /// An error about a packet quotes on the wire the packet that was on the wire.
    #[test]
    fn an_error_quotes_what_was_on_the_wire(
        kind in kind(), options in 0_usize..=10, payload in vec(any::<u8>(), 0..120),
        shown in any::<prop::sample::Index>(), about in 0_usize..5, extended in any::<bool>(),
    ) {
        let refused = packet4(kind, options, &payload, &other_way(change4()));
        let on_the_wire = done4(&refused, &other_way(change4()));
        // Half a checksum in the quote stays: the other half is not there.
        let shown4 = shown.index(refused.len() + 1) & !1;
        let error = [
            icmp::Header::unreachable(3), icmp::Header::time_exceeded(), icmp::Header::fragmentation_needed(1400),
            icmp::Header { kind: 12, code: 0, rest: [9, 0, 0, 0] }, icmp::Header { kind: 5, code: 1, rest: [10, 1, 0, 1] },
        ][about];
        let make4 = |change: (Ipv4Addr, Ipv4Addr), quoted: &[u8]| {
            let message = [&error.octets(quoted)[..], quoted].concat();
            ip4(change.0, change.1, 1, &[], &message)
        };
        let ca = (change4().source.0, change4().destination.0);
        let pa = (change4().source.1, change4().destination.1);
        let packet = make4(ca, &refused[..shown4]);
        // A quote without both addresses is none, and stays.
        let quoted = if shown4 < 20 { &refused[..shown4] } else { &on_the_wire[..shown4] };
        let there = done4(&packet, &change4());
        prop_assert_eq!(&there, &make4(pa, quoted));
        prop_assert!(is_right(&there));
        prop_assert_eq!(done4(&there, &change4().back()), packet);

        let refused = packet6(kind, extended, &payload, &other_way(change6()));
        let on_the_wire = done6(&refused, &other_way(change6()));
        let shown6 = shown.index(refused.len() + 1) & !1;
        let head = [[1, 4, 0, 0, 0, 0], [2, 0, 0, 0, 5, 0], [3, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 6], [1, 0, 0, 0, 0, 0]][about];
        let make6 = |between: (Ipv6Addr, Ipv6Addr), quoted: &[u8]| {
            let message = message6(head, quoted, (between.0.into(), between.1.into()));
            ip6(between.0, between.1, 58, &message)
        };
        let packet = make6((change6().source.0, change6().destination.0), &refused[..shown6]);
        let quoted = if shown6 < 40 { &refused[..shown6] } else { &on_the_wire[..shown6] };
        let there = done6(&packet, &change6());
        prop_assert_eq!(&there, &make6((change6().source.1, change6().destination.1), quoted));
        prop_assert!(is_right(&there));
        prop_assert_eq!(done6(&there, &change6().back()), packet);
    }

    /// An unfinished checksum, finished on the other side of the change, is right.
    #[test]
    fn an_unfinished_checksum_can_still_be_finished(tcp in any::<bool>(), payload in vec(any::<u8>(), 0..120)) {
        let (kind, at) = if tcp { (TCP, 16) } else { (UDP, 6) };
        let finish = |bytes: &mut [u8], start: usize| {
            let sum = checksum::udp(checksum::checksum(&bytes[start..]));
            bytes[start + at..start + at + 2].copy_from_slice(&sum.to_be_bytes());
        };
        let mut packet = packet4(kind, 0, &payload, &change4());
        let between = (change4().source.0.into(), change4().destination.0.into());
        let length = packet.len() - 20;
        let begun = |between| {
            let mut sum = pseudo(between, kind, &[]);
            sum.add(&(length as u32).to_be_bytes());
            sum.fold()
        };
        packet[20 + at..22 + at].copy_from_slice(&begun(between).to_be_bytes());
        ipv4(&mut packet, &change4(), true).unwrap();
        finish(&mut packet, 20);
        prop_assert!(is_right(&packet));

        let mut packet = packet6(kind, false, &payload, &change6());
        let between = (change6().source.0.into(), change6().destination.0.into());
        packet[40 + at..42 + at].copy_from_slice(&begun(between).to_be_bytes());
        ipv6(&mut packet, &change6(), true).unwrap();
        finish(&mut packet, 40);
        prop_assert!(is_right(&packet));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in vec(any::<u8>(), 0..200), unfinished in any::<bool>(), version in 0_usize..3) {
        if let Some(first) = bytes.first_mut() {
            *first = [*first, 0x45, 0x60][version];
        }
        let length = bytes.len();
        let _ = ipv4(&mut bytes, &change4(), unfinished);
        let _ = ipv6(&mut bytes, &change6(), unfinished);
        prop_assert_eq!(bytes.len(), length);
    }
}
