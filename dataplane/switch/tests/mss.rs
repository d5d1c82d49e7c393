//! MSS clamping (RFC 6691 §2, RFC 9293 §3.7.1): off unless a network asks for it, lowered and never raised, every checksum right.

use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_switch::frame::L4Checksum;
use weir_switch::testing::frames::{Field, ether, ipv4, ipv6, l4};
use weir_switch::testing::world::{PEER_MAC, UPLINK_FRAME, World};
use weir_tables::ids::VnicId;
use weir_wire::Mac;
use weir_wire::ipv4::Ipv4;
use weir_wire::ipv6::Ipv6;
use weir_wire::tcp::{Flags, Tcp};

const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const B: Mac = Mac::new([2, 0, 0, 0, 1, 2]);
const C: Mac = Mac::new([2, 0, 0, 0, 1, 3]);
const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const CA_B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);
const CA_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
/// Outer headers of NVGRE over IPv4.
const OUTER: usize = 42;
/// What fits an inner IP packet of the largest frame that fits the uplink.
const FITS: u16 = UPLINK_FRAME - 42 - 14;

/// A and B here, C behind a peer; A's network clamps.
fn blue() -> (World, VnicId) {
    let mut world = World::default();
    let segment = world.segment(5001);
    let a = world.vnic(segment, A, CA_A);
    world.vnic(segment, B, CA_B);
    let peer = world.peer(Ipv4Addr::new(192, 168, 50, 2), Some(PEER_MAC));
    world.remote(segment, C, CA_C, peer);
    (world, a)
}

/// TCP with these flags and options, its checksum right.
fn tcp(is_v6: bool, to: Mac, flags: u8, options: &[u8], field: Field) -> Vec<u8> {
    let (from6, to6) = (A.link_local(), to.link_local());
    let to4 = if to == C { CA_C } else { CA_B };
    let addresses: (IpAddr, IpAddr) = match is_v6 {
        true => (from6.into(), to6.into()),
        false => (CA_A.into(), to4.into()),
    };
    // Its header without options has them as payload: what differs is in the offset and the flags.
    let mut segment = l4(6, addresses, (4000, 80), options, field);
    let offset = ((20 + options.len()) as u8 / 4) << 4;
    if field == Field::Right {
        let old = u16::from_be_bytes([segment[12], segment[13]]);
        let new = u16::from_be_bytes([offset, flags]);
        let sum = u16::from_be_bytes([segment[16], segment[17]]);
        let sum = weir_wire::checksum::update16(sum, old, new);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
    }
    (segment[12], segment[13]) = (offset, flags);
    match is_v6 {
        true => ether(to, A, 0x86dd, &ipv6(from6, to6, 6, &segment)),
        false => ether(to, A, 0x0800, &ipv4(CA_A, to4, 6, &segment)),
    }
}

fn sent(world: &mut World, a: VnicId, frame: &[u8]) -> Vec<u8> {
    world.send(a, frame);
    let [(_, out)] = &world.take()[..] else {
        panic!("one frame")
    };
    out.clone()
}

/// The MSS that an Ethernet frame's TCP says, its checksum checked in full.
fn mss(frame: &[u8]) -> Option<u16> {
    let l3 = &frame[14..];
    if frame[12..14] == [8, 0] {
        let ip = Ipv4::parse(l3).unwrap();
        let tcp = Tcp::parse(ip.payload()).unwrap();
        assert!(tcp.checksum_is_right_v4(ip.source(), ip.destination()));
        return tcp.mss();
    }
    let ip = Ipv6::parse(l3).unwrap();
    let tcp = Tcp::parse(ip.upper().unwrap().payload).unwrap();
    assert!(tcp.checksum_is_right_v6(ip.source(), ip.destination()));
    tcp.mss()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Options before it move the value to odd places too; all but the value and the checksum stays.
    #[test]
    fn it_is_lowered_and_never_raised(
        is_v6: bool,
        said: u16,
        before in prop::sample::select(vec![vec![], vec![1], vec![1, 1], vec![3, 3, 7], vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1]]),
        flags in prop::sample::select(vec![Flags::SYN.0, Flags::SYN.0 | Flags::ACK.0, Flags::SYN.0 | 0xc0]),
    ) {
        let mut options = before;
        let at = options.len() + 2;
        options.extend([2, 4]);
        options.extend(said.to_be_bytes());
        options.resize(options.len().next_multiple_of(4), 1);
        let frame = tcp(is_v6, C, flags, &options, Field::Right);
        prop_assert_eq!(mss(&frame), Some(said));
        let (mut world, a) = blue();
        world.clamp(a);
        let out = sent(&mut world, a, &frame);
        let fits = FITS - if is_v6 { 60 } else { 40 };
        prop_assert_eq!(mss(&out[OUTER..]), Some(said.min(fits)));
        let tcp = if is_v6 { 54 } else { 34 };
        let mut back = out[OUTER..].to_vec();
        for at in [tcp + 16, tcp + 20 + at] {
            back[at..at + 2].copy_from_slice(&frame[at..at + 2]);
        }
        prop_assert_eq!(back, frame);
        let cells = &world.view.vnic(a).unwrap().cells[0];
        prop_assert_eq!(cells.mss_clamped.get(), u64::from(said > fits));
        world.assert_conserved();
    }
}

/// A packet that is rewritten has no outer header to leave room for.
#[test]
fn a_rewritten_handshake_says_what_fits_the_uplink_whole() {
    let mut world = World::default();
    let segment = world.segment(5001);
    world.rewritten(segment);
    let a = world.vnic(segment, A, CA_A);
    world.give_pa(a, Ipv4Addr::new(192, 168, 50, 101));
    let host = Ipv4Addr::new(192, 168, 50, 2);
    let peer = world.peer(host, Some(PEER_MAC));
    let pa = Ipv4Addr::new(192, 168, 50, 102);
    world.remote_pa(segment, CA_C, peer, pa);
    let frame = tcp(false, C, Flags::SYN.0, &[2, 4, 0x23, 0x00], Field::Right);
    let out = sent(&mut world, a, &frame);
    assert_eq!(mss(&out), Some(8960), "not unless the network asks for it");
    world.clamp(a);
    let out = sent(&mut world, a, &frame);
    assert_eq!(mss(&out), Some(UPLINK_FRAME - 14 - 40));
    assert_eq!(Ipv4::parse(&out[14..]).unwrap().destination(), pa);
    world.assert_conserved();
}

/// By hand: a jumbo frame's 8960 becomes what 1600 bytes of the provider network carry.
#[test]
fn golden_bytes() {
    let (mut world, a) = blue();
    world.clamp(a);
    let frame = tcp(false, C, Flags::SYN.0, &[2, 4, 0x23, 0x00], Field::Right);
    let out = sent(&mut world, a, &frame);
    assert_eq!(UPLINK_FRAME, 1614, "an MTU of 1600 on the uplink");
    // 1600 less 20 + 8 of NVGRE, 14 of the inner Ethernet header, 20 of IPv4 and 20 of TCP.
    assert_eq!(out[OUTER + 54..], [2, 4, 0x05, 0xee]);
    assert_eq!(mss(&out[OUTER..]), Some(1518));
}

/// Off; not a SYN; to a neighbour on this host; no option, a malformed one, one cut short: as they were.
#[test]
fn all_else_is_left_alone() {
    let syn = Flags::SYN.0;
    let cases: [(bool, Mac, u8, &[u8]); 8] = [
        (false, C, syn, &[2, 4, 0xff, 0xff]),
        (true, C, Flags::ACK.0, &[2, 4, 0xff, 0xff]),
        (true, B, syn, &[2, 4, 0xff, 0xff]),
        (true, C, syn, &[]),
        (true, C, syn, &[1, 1, 1, 0, 2, 4, 0xff, 0xff]),
        (true, C, syn, &[2, 5, 0xff, 0xff, 0xff, 1, 1, 1]),
        (true, C, syn, &[3, 1, 2, 4, 0xff, 0xff, 0xff, 0xff]),
        (true, C, syn, &[1, 1, 2, 4]),
    ];
    for (number, (on, to, flags, options)) in cases.into_iter().enumerate() {
        for is_v6 in [false, true] {
            let (mut world, a) = blue();
            if on {
                world.clamp(a);
            }
            let frame = tcp(is_v6, to, flags, options, Field::Right);
            let out = sent(&mut world, a, &frame);
            let skip = if to == C { OUTER } else { 0 };
            assert_eq!(out[skip..], frame, "case {number}");
        }
    }
    let _: Ipv6Addr = A.link_local();
}

/// A handshake whose checksum is still unfinished is finished after it was lowered.
#[test]
fn an_unfinished_checksum_is_right_in_the_end() {
    for is_v6 in [false, true] {
        let (mut world, a) = blue();
        world.clamp(a);
        let bytes = tcp(
            is_v6,
            C,
            Flags::SYN.0,
            &[1, 2, 4, 0xff, 0xff, 1, 1, 1],
            Field::Pseudo,
        );
        let mut frame = world.herd.frame(&bytes);
        frame.checksum = L4Checksum::Partial;
        world.send_frame(a, frame);
        let out = world.take().remove(0).1;
        let fits = FITS - if is_v6 { 60 } else { 40 };
        assert_eq!(mss(&out[OUTER..]), Some(fits));
    }
}
