//! Frames that stand for many TCP segments, and checksums that were left to a device (virtio 1.1 §5.1.6.2): cut and finished where no
//! device does it, told the MTU as an ordinary packet would be.

use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_switch::Frame;
use weir_switch::frame::{Gso, GsoKind, L4Checksum};
use weir_switch::segment;
use weir_switch::testing::frames::{Field, ether, ipv4, ipv6, l4};
use weir_switch::testing::world::{PEER_MAC, UPLINK_FRAME, UPLINK_PORT, World, ledger};
use weir_switch::testing::{Kept, VecFrame};
use weir_tables::counters::cells;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::offloads::Offloads;
use weir_tables::reason::Reason;
use weir_wire::icmp::Icmp;
use weir_wire::ipv4::Ipv4;
use weir_wire::ipv6::Ipv6;
use weir_wire::tcp::{Flags, Tcp};
use weir_wire::{Mac, checksum};

const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const B: Mac = Mac::new([2, 0, 0, 0, 1, 2]);
const C: Mac = Mac::new([2, 0, 0, 0, 1, 3]);
const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const CA_B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);
const CA_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
/// Outer headers of NVGRE over IPv4.
const OUTER: usize = 42;

/// TCP as a VM leaves it to its device: the pseudo-header's sum in the checksum's place.
fn tcp4(to: (Mac, Ipv4Addr), payload: &[u8]) -> Vec<u8> {
    let addresses = (IpAddr::V4(CA_A), IpAddr::V4(to.1));
    let segment = l4(6, addresses, (4000, 80), payload, Field::Pseudo);
    ether(to.0, A, 0x0800, &ipv4(CA_A, to.1, 6, &segment))
}

fn tcp6(to: Mac, payload: &[u8]) -> Vec<u8> {
    let (from, there) = (A.link_local(), to.link_local());
    let addresses = (IpAddr::V6(from), IpAddr::V6(there));
    let segment = l4(6, addresses, (4000, 80), payload, Field::Pseudo);
    ether(to, A, 0x86dd, &ipv6(from, there, 6, &segment))
}

fn gso(segment_size: u16, kind: GsoKind) -> Option<Gso> {
    Some(Gso { segment_size, kind })
}

/// A and B here, C behind a peer.
struct Blue {
    world: World,
    a: VnicId,
    b: VnicId,
}

fn blue() -> Blue {
    let mut world = World::default();
    let domain = world.domain();
    let segment = world.subnet(domain, 5001, Ipv4Addr::new(10, 1, 0, 1));
    let a = world.vnic(segment, A, CA_A);
    let b = world.vnic(segment, B, CA_B);
    let peer = world.peer(Ipv4Addr::new(192, 168, 50, 2), Some(PEER_MAC));
    world.remote(segment, C, CA_C, peer);
    Blue { world, a, b }
}

impl Blue {
    fn port(&self, vnic: VnicId) -> PortId {
        self.world.port_of(vnic).unwrap()
    }

    fn allow(&mut self, port: PortId, offloads: Offloads, max_frame: u32) {
        self.world.change_port(port, |port| {
            port.offloads = offloads;
            port.max_frame = max_frame;
        });
    }

    /// What becomes of a frame of A's, in two mbufs.
    fn send(&mut self, bytes: &[u8], gso: Option<Gso>) -> Vec<(PortId, VecFrame)> {
        let (front, back) = bytes.split_at(bytes.len().min(900));
        let mut frame = self.world.herd.chain(&[front, back]);
        frame.gso = gso;
        frame.checksum = L4Checksum::Partial;
        self.world.send_frame(self.a, frame);
        let out = self.world.kept.out.drain(..);
        let out: Vec<_> = out.map(|(port, _, frame)| (port, frame)).collect();
        let came = self.world.kept.ledger.cells().came();
        assert_eq!(came, self.world.kept.ledger.cells().went());
        out
    }
}

/// The IP packet of a frame, checked in full: lengths and every checksum. Gives (IPv4's identification, TCP).
fn checked(frame: &[u8]) -> (Option<u16>, Tcp<'_>) {
    let l3 = &frame[14..];
    match frame[12..14] {
        [8, 0] => {
            let ip = Ipv4::parse(l3).unwrap();
            assert!(ip.checksum_is_right());
            assert_eq!(usize::from(ip.total_len()), l3.len());
            let tcp = Tcp::parse(ip.payload()).unwrap();
            assert!(tcp.checksum_is_right_v4(ip.source(), ip.destination()));
            (Some(ip.identification()), tcp)
        }
        _ => {
            let ip = Ipv6::parse(l3).unwrap();
            assert_eq!(40 + usize::from(ip.payload_len()), l3.len());
            let tcp = Tcp::parse(ip.upper().unwrap().payload).unwrap();
            assert!(tcp.checksum_is_right_v6(ip.source(), ip.destination()));
            (None, tcp)
        }
    }
}

/// Bytes of a TCP packet with these options and flags, and where its payload starts.
fn with_options(is_v6: bool, options: &[u8], flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = match is_v6 {
        false => tcp4((B, CA_B), &[options, payload].concat()),
        true => tcp6(B, &[options, payload].concat()),
    };
    let tcp = if is_v6 { 54 } else { 34 };
    frame[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
    frame[tcp + 12] = ((20 + options.len()) as u8 / 4) << 4;
    frame[tcp + 13] = flags;
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// RFC 9293 §3.1: put together again the segments are what was sent, and each is right by itself.
    #[test]
    fn segments_put_together_are_the_stream(
        is_v6: bool,
        payload in vec(any::<u8>(), 0..5000),
        segment_size in 60_u16..3000,
        sequence: u32,
        id: u16,
        flags in (0_u8..0x40).prop_map(|f| (f << 2) & !Flags::SYN.0 | f & 1),
        options in (0_usize..=10).prop_map(|words| vec![1; words * 4]),
        cuts in vec(0_usize..6000, 0..4),
        padding in 0_usize..10,
    ) {
        let mut bytes = with_options(is_v6, &options, flags, sequence, &payload);
        if !is_v6 {
            bytes[18..20].copy_from_slice(&id.to_be_bytes());
        }
        let headers = bytes.len() - payload.len();
        let original = bytes.clone();
        bytes.extend(vec![0xaa; padding]);
        let mut kept = Kept::default();
        let herd = weir_switch::testing::Herd::default();
        // Mbufs of any length, headers contiguous.
        let mut at: Vec<usize> = cuts.into_iter().filter(|&c| c >= headers && c < bytes.len()).collect();
        at.sort_unstable();
        let mut parts = Vec::new();
        let mut from = 0;
        for cut in at.into_iter().chain([bytes.len()]) {
            parts.push(&bytes[from..cut]);
            from = cut;
        }
        let mut frame = herd.chain(&parts);
        frame.gso = gso(segment_size, if is_v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 });
        frame.checksum = L4Checksum::Partial;
        let most = segment::longest(&frame);
        let mut pieces = Vec::new();
        segment::finished(&ledger(), &cells(1), frame, &mut kept, |_, piece| pieces.push(piece));

        let count = payload.len().div_ceil(usize::from(segment_size)).max(1);
        prop_assert_eq!(pieces.len(), count);
        let mut stream = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let bytes = piece.bytes();
            prop_assert!(bytes.len() <= most);
            prop_assert!(!piece.is_unfinished());
            let (own_id, tcp) = checked(&bytes);
            prop_assert_eq!(own_id, (!is_v6).then(|| id.wrapping_add(number as u16)));
            prop_assert_eq!(tcp.sequence(), sequence.wrapping_add(stream.len() as u32));
            stream.extend_from_slice(tcp.payload());
            let mut expected = flags;
            if number + 1 != count {
                expected &= !(Flags::FIN.0 | Flags::PSH.0);
            }
            if number != 0 {
                expected &= !Flags::CWR.0;
            }
            prop_assert_eq!(tcp.flags().0, expected);
            // All else is as it was.
            let l4 = if is_v6 { 54 } else { 34 };
            prop_assert_eq!(&bytes[..if is_v6 { 18 } else { 16 }], &original[..if is_v6 { 18 } else { 16 }]);
            prop_assert_eq!(&bytes[l4 - 8..l4 + 4], &original[l4 - 8..l4 + 4]);
            prop_assert_eq!(&bytes[l4 + 8..l4 + 13], &original[l4 + 8..l4 + 13]);
            prop_assert_eq!(&bytes[l4 + 18..headers], &original[l4 + 18..headers]);
        }
        prop_assert_eq!(stream, payload);
        drop(pieces);
        prop_assert_eq!(herd.alive(), 0);
    }
}

/// By hand: two segments of 4 and 3 bytes, the first without PSH.
#[test]
fn golden_bytes() {
    let frame = with_options(false, &[], 0x98, 0xffff_fffe, b"abcdefg");
    let mut blue = blue();
    let out = blue.send(&frame, gso(4, GsoKind::Tcp4));
    let bytes: Vec<_> = out.iter().map(|(_, frame)| frame.bytes()).collect();
    #[rustfmt::skip]
    let first = [
        2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1, 8, 0,
        0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0x26, 0xb4, 10, 1, 0, 11, 10, 1, 0, 12,
        0x0f, 0xa0, 0, 80, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 2, 0x50, 0x90, 0xff, 0xff, 0xc6, 0x80, 0, 0,
        b'a', b'b', b'c', b'd',
    ];
    #[rustfmt::skip]
    let second = [
        2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1, 8, 0,
        0x45, 0, 0, 43, 0, 1, 0x40, 0, 64, 6, 0x26, 0xb4, 10, 1, 0, 11, 10, 1, 0, 12,
        0x0f, 0xa0, 0, 80, 0, 0, 0, 2, 0, 0, 0, 2, 0x50, 0x18, 0xff, 0xff, 0xbf, 0x56, 0, 0,
        b'e', b'f', b'g',
    ];
    assert_eq!(bytes, [first.to_vec(), second.to_vec()]);
}

#[test]
fn what_the_receiver_takes_it_gets_whole() {
    let bytes = tcp4((B, CA_B), &[7; 20_000]);
    for (offloads, pieces) in [
        (Offloads::CHECKSUM.union(Offloads::SEGMENTS), 1),
        (Offloads::CHECKSUM, 14),
        (Offloads::NONE, 14),
    ] {
        let mut blue = blue();
        let to = blue.port(blue.b);
        blue.allow(to, offloads, 1514);
        let out = blue.send(&bytes, gso(1448, GsoKind::Tcp4));
        assert_eq!(out.len(), pieces);
        assert!(out.iter().all(|(port, _)| *port == to));
        match pieces {
            1 => {
                assert_eq!(out[0].1.bytes(), bytes, "untouched");
                assert_eq!(out[0].1.gso, gso(1448, GsoKind::Tcp4));
                assert_eq!(out[0].1.checksum, L4Checksum::Partial);
            }
            _ => out.iter().for_each(|(_, frame)| {
                checked(&frame.bytes());
            }),
        }
        let cells = &blue.world.view.vnic(blue.a).unwrap().cells[0];
        assert_eq!(cells.segmented.get(), u64::from(pieces != 1));
        assert!(blue.world.drops().is_empty());
    }
}

/// A receiver with a smaller MTU than the segments gets none of it, as it would get no such packet.
#[test]
fn segments_are_what_the_receivers_mtu_is_held_against() {
    let mut blue = blue();
    let to = blue.port(blue.b);
    let both = Offloads::CHECKSUM.union(Offloads::SEGMENTS);
    let bytes = tcp4((B, CA_B), &[7; 3000]);
    blue.allow(to, both, 1454);
    assert_eq!(blue.send(&bytes, gso(1400, GsoKind::Tcp4)).len(), 1);
    blue.allow(to, both, 1453);
    assert!(blue.send(&bytes, gso(1400, GsoKind::Tcp4)).is_empty());
    assert_eq!(blue.world.drops(), [(Reason::Oversize, 1)]);
}

#[test]
fn to_another_host_it_is_cut_before_it_is_encapsulated() {
    for is_v6 in [false, true] {
        let mut blue = blue();
        let bytes = match is_v6 {
            true => tcp6(C, &[9; 10_000]),
            false => tcp4((C, CA_C), &[9; 10_000]),
        };
        let kind = if is_v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 };
        let out = blue.send(&bytes, gso(1000, kind));
        assert_eq!(out.len(), 10);
        let keys: Vec<_> = out.iter().map(|(_, f)| f.head()[38..42].to_vec()).collect();
        assert!(
            keys.iter().all(|key| *key == keys[0]),
            "one flow, one FlowID"
        );
        for (port, frame) in out {
            assert_eq!(port, UPLINK_PORT);
            let bytes = frame.bytes();
            let outer = Ipv4::parse(&bytes[14..]).unwrap();
            assert!(outer.checksum_is_right());
            assert_eq!(usize::from(outer.total_len()), bytes.len() - 14);
            assert_eq!(checked(&bytes[OUTER..]).1.payload().len(), 1000);
        }
    }
}

/// An uplink that cuts inside NVGRE gets the frame whole behind its outer header, and its checksum unfinished; one that finishes
/// checksums alone gets those.
#[test]
fn an_uplink_that_can_gets_it_whole() {
    let bytes = tcp4((C, CA_C), &[9; 10_000]);
    let small = tcp4((C, CA_C), &[9; 100]);
    let checksum = Offloads::TUNNEL_CHECKSUM;
    let all = checksum.union(Offloads::TUNNEL_SEGMENTS);
    for (offloads, pieces, unfinished) in [
        (all, 1, true),
        (checksum, 10, true),
        (Offloads::NONE, 10, false),
    ] {
        let mut blue = blue();
        blue.allow(UPLINK_PORT, offloads, UPLINK_FRAME.into());
        let out = blue.send(&bytes, gso(1000, GsoKind::Tcp4));
        assert_eq!(out.len(), pieces);
        if pieces == 1 {
            assert_eq!(out[0].1.bytes()[OUTER..], bytes);
            assert_eq!(out[0].1.gso, gso(1000, GsoKind::Tcp4));
        }
        let out = blue.send(&small, None);
        assert_eq!(out[0].1.is_unfinished(), unfinished);
        assert_eq!(out[0].1.bytes()[OUTER..] == small, unfinished);
    }
}

/// RFC 1191, as for an ordinary packet: the VM is told once what fits, and the frame that becomes the error is an ordinary one.
#[test]
fn segments_that_do_not_fit_are_told_what_does() {
    let mut blue = blue();
    let fits = UPLINK_FRAME - 42 - 54;
    let bytes = tcp4((C, CA_C), &[9; 10_000]);
    assert_eq!(blue.send(&bytes, gso(fits, GsoKind::Tcp4)).len(), 7);
    let out = blue.send(&bytes, gso(fits + 1, GsoKind::Tcp4));
    assert_eq!(blue.world.drops(), [(Reason::TooBig, 1)]);
    let [(port, error)] = &out[..] else {
        panic!("one answer, not {}", out.len());
    };
    assert_eq!(*port, blue.port(blue.a));
    assert!(!error.is_unfinished());
    let error = error.bytes();
    let ip = Ipv4::parse(&error[14..]).unwrap();
    let icmp = Icmp::parse(ip.payload()).unwrap();
    assert!(icmp.checksum_is_right());
    assert_eq!(icmp.next_hop_mtu(), Some(UPLINK_FRAME - 42 - 14));
}

/// RFC 8201 §4: the same over IPv6.
#[test]
fn segments_over_ipv6_that_do_not_fit_are_told_what_does() {
    let mut blue = blue();
    let fits = UPLINK_FRAME - 42 - 74;
    let bytes = tcp6(C, &[9; 10_000]);
    assert_eq!(blue.send(&bytes, gso(fits, GsoKind::Tcp6)).len(), 7);
    let out = blue.send(&bytes, gso(fits + 1, GsoKind::Tcp6));
    assert_eq!(blue.world.drops(), [(Reason::TooBig, 1)]);
    let [(port, error)] = &out[..] else {
        panic!("one answer, not {}", out.len());
    };
    assert_eq!(*port, blue.port(blue.a));
    assert!(!error.is_unfinished());
    let error = error.bytes();
    assert_eq!(error[54..56], [2, 0], "packet too big");
    let mtu = u32::from(UPLINK_FRAME - 42 - 14);
    assert_eq!(error[58..62], mtu.to_be_bytes());
}

/// Without DF each segment goes the way of an ordinary packet of its length: in fragments.
#[test]
fn segments_that_may_be_fragmented_are() {
    let mut blue = blue();
    let mut bytes = tcp4((C, CA_C), &[9; 4000]);
    bytes[20] = 0;
    bytes[24..26].copy_from_slice(&[0, 0]);
    let sum = checksum::checksum(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    let out = blue.send(&bytes, gso(2000, GsoKind::Tcp4));
    assert_eq!(out.len(), 4);
    assert!(
        out.iter()
            .all(|(_, f)| f.len() <= usize::from(UPLINK_FRAME))
    );
    assert!(blue.world.drops().is_empty());
}

/// What cannot be cut right is not cut: another protocol than it says, SYN, a fragment, a routing header, too many, none.
#[test]
fn what_cannot_be_cut_is_named() {
    let plain = tcp4((B, CA_B), &[1; 5000]);
    let syn = with_options(false, &[], Flags::SYN.0, 1, &[1; 5000]);
    let mut fragment = plain.clone();
    fragment[20] |= 0x20;
    let (from, to) = (A.link_local(), B.link_local());
    let routed = |header: u8| {
        let ends = (IpAddr::V6(from), IpAddr::V6(to));
        let segment = l4(6, ends, (1, 2), &[1; 3000], Field::Pseudo);
        let packet = [&[6, 0, 0, 0, 0, 0, 0, 0][..], &segment].concat();
        ether(B, A, 0x86dd, &ipv6(from, to, header, &packet))
    };
    let cases = [
        (&plain, gso(1000, GsoKind::Tcp6)),
        (&plain, gso(1000, GsoKind::Udp)),
        (&plain, gso(0, GsoKind::Tcp4)),
        (&plain, gso(19, GsoKind::Tcp4)),
        (&syn, gso(1000, GsoKind::Tcp4)),
        (&fragment, gso(1000, GsoKind::Tcp4)),
        (&routed(43), gso(1000, GsoKind::Tcp6)),
    ];
    for (number, (bytes, gso)) in cases.into_iter().enumerate() {
        let mut blue = blue();
        assert!(blue.send(bytes, gso).is_empty(), "case {number}");
        assert_eq!(blue.world.drops(), [(Reason::GsoUnsupported, 1)]);
    }
    // Behind a destination option it is as anywhere.
    assert_eq!(blue().send(&routed(60), gso(1000, GsoKind::Tcp6)).len(), 3);
    // 5,000 bytes at 20 are 250 segments.
    assert_eq!(blue().send(&plain, gso(20, GsoKind::Tcp4)).len(), 250);
}

#[test]
fn segments_without_memory_are_counted() {
    let mut blue = blue();
    blue.world.kept.copies_left = 2;
    let out = blue.send(&tcp4((B, CA_B), &[1; 5000]), gso(1000, GsoKind::Tcp4));
    assert_eq!(out.len(), 2);
    assert_eq!(blue.world.drops(), [(Reason::PoolEmpty, 3)]);
}

/// A switch judges no L4 checksum: what a device found wrong goes on as it is, and is not made right.
#[test]
fn a_checksum_that_is_wrong_stays_wrong() {
    for to in [B, C] {
        let mut blue = blue();
        let ends = (IpAddr::V6(A.link_local()), IpAddr::V6(to.link_local()));
        let mut segment = l4(17, ends, (1, 2), b"bad", Field::Right);
        segment[6] ^= 0x55;
        let (IpAddr::V6(from), IpAddr::V6(there)) = ends else {
            unreachable!()
        };
        let bytes = ether(to, A, 0x86dd, &ipv6(from, there, 17, &segment));
        let mut frame = blue.world.herd.frame(&bytes);
        frame.checksum = L4Checksum::Bad;
        blue.world.send_frame(blue.a, frame);
        let (_, _, out) = blue.world.kept.out.pop().unwrap();
        let skip = if to == C { OUTER } else { 0 };
        assert_eq!(out.bytes()[skip..], bytes);
        assert_eq!(out.checksum, L4Checksum::Bad);
    }
    let _: Ipv6Addr = A.link_local();
}
