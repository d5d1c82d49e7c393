//! What is too large for the uplink: RFC 7637 §4.4 with RFC 791 and RFC 1191.

use proptest::prelude::*;
use std::net::Ipv4Addr;
use weir_switch::frame::L4Checksum;
use weir_switch::testing::frames::{self, Field};
use weir_switch::testing::world::{PEER_MAC, UPLINK_FRAME, UPLINK_PORT, World};
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::ids::VnicId;
use weir_tables::reason::Reason;
use weir_wire::Mac;
use weir_wire::icmp::{self, Icmp};
use weir_wire::ipv4::{self, Fragmentation, Ipv4};

const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const C: Mac = Mac::new([2, 0, 0, 0, 1, 3]);
const D: Mac = Mac::new([2, 0, 0, 0, 1, 4]);
const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const CA_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
const CA_D: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 14);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The largest IPv4 packet that fits: the uplink's frame less its Ethernet header, 28 outer bytes and an inner one.
const MTU: usize = UPLINK_FRAME as usize - 14 - 28 - 14;

/// Blue with A here, and on another host C in A's subnet, D in the other.
fn blue(vlan: Option<u16>) -> (World, VnicId) {
    let mut world = World::new(64, vlan);
    let domain = world.domain();
    let web = world.subnet(domain, 5001, GATEWAY);
    let db = world.subnet(domain, 5002, Ipv4Addr::new(10, 2, 0, 1));
    let a = world.vnic(web, A, CA_A);
    let peer = world.peer(Ipv4Addr::new(192, 168, 50, 2), Some(PEER_MAC));
    world.remote(web, C, CA_C, peer);
    world.remote(db, D, CA_D, peer);
    (world, a)
}

/// An IPv4 packet of so many bytes from A.
fn packet(dst: Mac, to: Ipv4Addr, length: usize, fragmentation: Fragmentation) -> Vec<u8> {
    let payload: Vec<u8> = (0..length - 28).map(|i| (i / 7) as u8).collect();
    let mut packet = frames::udp((CA_A, 4000), (to, 5000), &payload);
    assert_eq!(packet.len(), length);
    ipv4::set_fragmentation(packet.first_chunk_mut().unwrap(), fragmentation);
    frames::ether(dst, A, 0x0800, &packet)
}

#[test]
fn what_must_be_whole_is_refused_and_the_vm_told_what_fits() {
    for vlan in [None, Some(300)] {
        for (dst, to) in [(C, CA_C), (GATEWAY_MAC, CA_D)] {
            let (mut world, a) = blue(vlan);
            let fits = packet(dst, to, MTU, Fragmentation::DONT);
            world.send(a, &fits);
            assert_eq!(world.take()[0].0, UPLINK_PORT, "to the byte");
            let sent = packet(dst, to, MTU + 1, Fragmentation::DONT);
            world.send(a, &sent);
            let out = world.take();
            world.assert_conserved();
            assert_eq!((out.len(), Some(out[0].0)), (1, world.port_of(a)));
            let got = &out[0].1;
            assert_eq!(got[..12], [A.octets(), GATEWAY_MAC.octets()].concat());
            let ip = Ipv4::parse(&got[14..]).unwrap();
            assert_eq!((ip.source(), ip.destination()), (GATEWAY, CA_A));
            let message = Icmp::parse(ip.payload()).unwrap();
            assert!(ip.checksum_is_right() && message.checksum_is_right());
            // RFC 1191 §4.
            assert_eq!((message.kind(), message.code()), (3, 4));
            assert_eq!(message.next_hop_mtu(), Some(MTU as u16));
            assert_eq!(message.quote().unwrap(), icmp::quote(&sent[14..]));
            assert_eq!(world.drops(), [(Reason::TooBig, 1)]);
        }
    }
}

#[test]
fn what_is_no_ip_is_dropped() {
    let (mut world, a) = blue(None);
    world.send(a, &frames::ether(C, A, 0x88b5, &[0; 1600]));
    assert_eq!(world.take(), []);
    assert_eq!(world.drops(), [(Reason::TooBig, 1)]);
    // Pieces of it would lie behind the end of the largest packet.
    let (mut world, a) = blue(None);
    world.send(a, &packet(C, CA_C, 1700, Fragmentation(0x1fff)));
    assert_eq!(world.take(), []);
    assert_eq!(world.drops(), [(Reason::Malformed, 1)]);
    world.assert_conserved();
}

/// RFC 1812 §4.3.2.7.
#[test]
fn no_error_is_sent_about_a_packet_to_many_or_from_no_one_host() {
    let (mut world, a) = blue(None);
    let many = Mac::new([1, 0, 0x5e, 0, 0, 9]);
    world.send(
        a,
        &packet(
            many,
            Ipv4Addr::new(224, 0, 0, 9),
            MTU + 1,
            Fragmentation::DONT,
        ),
    );
    world.send(
        a,
        &packet(Mac::BROADCAST, CA_C, MTU + 1, Fragmentation::DONT),
    );
    world.change_identity(a, |who| who.v4_nets = [(0, 0)].into());
    for source in [
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(240, 0, 0, 1),
    ] {
        let mut sent = packet(C, CA_C, MTU + 1, Fragmentation::DONT);
        ipv4::set_source(sent[14..].first_chunk_mut().unwrap(), source);
        world.send(a, &sent);
    }
    assert_eq!(world.take(), []);
    assert_eq!(world.drops(), [(Reason::TooBig, 5)]);
    // From a host of its own it is.
    world.send(a, &packet(C, CA_C, MTU + 1, Fragmentation::DONT));
    assert_eq!(world.take().len(), 1);
}

#[test]
fn pieces_without_memory_are_counted() {
    let (mut world, a) = blue(None);
    world.kept.copies_left = 1;
    world.send(a, &packet(C, CA_C, 4000, Fragmentation::NONE));
    assert_eq!(world.take().len(), 1);
    assert_eq!(world.drops(), [(Reason::PoolEmpty, 2)]);
    world.assert_conserved();
}

/// RFC 791 §3.1, §3.2: the first piece has all options, the others those whose copied flag is set.
#[test]
fn options_go_with_the_pieces_that_are_to_have_them() {
    // Record route (not copied), no operation, stream identifier (copied), router alert (copied), end of the list.
    let record_route = [7, 7, 4, 0, 0, 0, 0];
    let copied = [136, 4, 0x12, 0x34, 148, 4, 0, 0];
    let options = [&record_route[..], &[1], &copied, &[0; 4]].concat();
    for routed in [false, true] {
        let (mut world, a) = blue(None);
        let (dst, to) = if routed {
            (GATEWAY_MAC, CA_D)
        } else {
            (C, CA_C)
        };
        let mut sent = packet(dst, to, 4000, Fragmentation::NONE);
        let whole = sent[34..].to_vec();
        sent.splice(34..34, options.iter().copied());
        sent[14] = 0x4a;
        sent[16..18].copy_from_slice(&4020_u16.to_be_bytes());
        sent[24..26].fill(0);
        let sum = weir_wire::checksum::checksum(&sent[14..54]);
        sent[24..26].copy_from_slice(&sum.to_be_bytes());
        world.send(a, &sent);
        let out = world.take();
        world.assert_conserved();
        let mut payload = vec![0; whole.len()];
        for (i, (port, bytes)) in out.iter().enumerate() {
            assert_eq!(*port, UPLINK_PORT);
            assert!(bytes.len() <= usize::from(UPLINK_FRAME));
            let ip = Ipv4::parse(&bytes[42 + 14..]).unwrap();
            assert!(ip.checksum_is_right());
            let wanted = if i == 0 { &options[..] } else { &copied };
            assert_eq!(ip.options(), wanted);
            let at = ip.fragmentation().offset();
            payload[at..at + ip.payload().len()].copy_from_slice(ip.payload());
        }
        assert_eq!((out.len(), payload), (3, whole));
    }
}

proptest! {
    /// Put together again by their offsets, the pieces are the packet.
    #[test]
    fn the_pieces_are_the_packet(
        length in MTU + 1..9000,
        routed in any::<bool>(),
        vlan in prop_oneof![Just(None), Just(Some(300))],
        piece in (0..500_u16, any::<bool>()),
        partial in any::<bool>(),
    ) {
        let (mut world, a) = blue(vlan);
        let (dst, to, mac) = if routed { (GATEWAY_MAC, CA_D, D) } else { (C, CA_C, C) };
        // Sometimes a fragment itself.
        let (offset, more) = if partial { (0, false) } else { piece };
        let own = Fragmentation(offset | if more { Fragmentation::MORE.0 } else { 0 });
        let whole = packet(dst, to, length, own);
        let mut sent = whole.clone();
        let checksum = if partial {
            // Left to the device by the VM.
            let l4 = frames::l4(17, (CA_A.into(), to.into()), (4000, 5000), &whole[42..], Field::Pseudo);
            sent[34..].copy_from_slice(&l4);
            L4Checksum::Partial
        } else {
            L4Checksum::Unknown
        };
        let mut frame = world.herd.chain(&[&sent[..700], &sent[700..]]);
        frame.checksum = checksum;
        world.send_frame(a, frame);
        let out = world.take();
        world.assert_conserved();
        prop_assert_eq!(world.drops(), []);
        let before = if vlan.is_some() { 46 } else { 42 };
        let mut payload = vec![0; length - 20];
        let (mut seen, mut flows) = (0, Vec::new());
        for (port, bytes) in &out {
            prop_assert_eq!(*port, UPLINK_PORT);
            prop_assert!(bytes.len() <= usize::from(UPLINK_FRAME) + before - 42);
            flows.push(bytes[before - 1]);
            let inner = &bytes[before..];
            prop_assert_eq!(&inner[..6], &mac.octets());
            let ip = Ipv4::parse(&inner[14..]).unwrap();
            prop_assert!(ip.checksum_is_right());
            prop_assert_eq!((ip.source(), ip.destination()), (CA_A, to));
            prop_assert_eq!(ip.ttl(), if routed { 63 } else { 64 });
            let at = ip.fragmentation().offset() - usize::from(offset) * 8;
            let piece = ip.payload();
            payload[at..at + piece.len()].copy_from_slice(piece);
            seen += piece.len();
            let last = at + piece.len() == payload.len();
            prop_assert_eq!(ip.fragmentation().more_fragments(), !last || more);
            prop_assert!(last || piece.len() % 8 == 0);
        }
        prop_assert_eq!(seen, payload.len());
        prop_assert_eq!(&payload[..], &whole[34..]);
        prop_assert!(flows.iter().all(|&flow| flow == flows[0]));
        prop_assert_eq!(out.len(), payload.len().div_ceil((MTU - 20) & !7));
    }
}
