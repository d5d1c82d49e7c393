//! What a router of the provider network says about an outer packet that did not fit, and what of it counts
//! (protocols: "an ICMP error about an outer packet").

use std::net::Ipv4Addr;
use weir_switch::outlet::Event;
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, World};
use weir_tables::ids::VnicId;
use weir_tables::reason::Reason;
use weir_wire::icmp::{self, Header};
use weir_wire::{Mac, Vsid, checksum};

const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const C: Mac = Mac::new([2, 0, 0, 0, 1, 3]);
const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const CA_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 254);

fn blue() -> (World, VnicId) {
    let mut world = World::new(64, None);
    let segment = world.segment(5001);
    let a = world.vnic(segment, A, CA_A);
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(segment, C, CA_C, peer);
    (world, a)
}

/// What A's packet is on the wire.
fn sent() -> Vec<u8> {
    let (mut world, a) = blue();
    world.send(a, &frames::tenant(C, A, CA_A, CA_C, &[1; 1400]));
    world.take().remove(0).1
}

/// An error about the IPv4 packet `quoted`, from a router.
fn error(header: Header, quoted: &[u8]) -> Vec<u8> {
    let quote = icmp::quote(quoted);
    let message = [&header.octets(quote)[..], quote].concat();
    let packet = frames::ipv4(ROUTER, OWN_PA, 1, &message);
    frames::ether(UPLINK_MAC, PEER_MAC, 0x0800, &packet)
}

#[track_caller]
fn ignored(message: &[u8]) {
    let (mut world, _) = blue();
    world.wire(message);
    world.assert_conserved();
    assert_eq!(world.kept.events, []);
    assert_eq!(world.drops(), [(Reason::OuterProtocol, 1)]);
}

#[test]
fn control_is_told_what_fits_on_the_way_to_a_peer() {
    let (mut world, _) = blue();
    let outer = sent();
    // As much as RFC 1812 has a router quote, and as little as RFC 792.
    for quoted in [&outer[14..], &outer[14..14 + 28]] {
        world.wire(&error(Header::fragmentation_needed(1400), quoted));
    }
    world.assert_conserved();
    let told = Event::PathMtu {
        peer: PA.into(),
        mtu: 1400,
    };
    assert_eq!(world.kept.events, [told, told]);
    assert_eq!(world.kept.ledger.cells().consumed.get(), 2);
    assert_eq!(world.take(), []);
    // In pieces, as a device may hand it over.
    let bytes = error(Header::fragmentation_needed(1400), &outer[14..]);
    let frame = world
        .herd
        .chain(&[&bytes[..40], &bytes[40..300], &bytes[300..]]);
    world.receive(weir_switch::testing::world::UPLINK_PORT, [frame]);
    assert_eq!(world.kept.events.len(), 3);
}

#[test]
fn a_subnet_that_is_only_routed_to_counts_too() {
    let (mut world, _) = blue();
    let vsid = Vsid::from_wire(5001);
    let segment = world.view.vsids.get(vsid).unwrap();
    world.view.vsids.set(vsid, Some((segment, false)));
    world.wire(&error(Header::fragmentation_needed(1400), &sent()[14..]));
    assert_eq!(world.kept.events.len(), 1);
}

#[test]
fn what_this_host_cannot_have_sent_does_not_count() {
    let outer = sent();
    let changed = |at: usize, to: &[u8]| {
        let mut quoted = outer[14..].to_vec();
        quoted[at..at + to.len()].copy_from_slice(to);
        error(Header::fragmentation_needed(1400), &quoted)
    };
    // The same unchanged does.
    let (mut world, _) = blue();
    world.wire(&changed(0, &[0x45]));
    assert_eq!(world.kept.events.len(), 1);
    ignored(&changed(12, &[192, 168, 50, 77])); // from another
    ignored(&changed(16, &[192, 168, 50, 77])); // to no peer
    ignored(&changed(9, &[6])); // no GRE
    ignored(&changed(20, &[0])); // no key
    ignored(&changed(24, &[0x27, 0x0f, 0])); // a VSID that is not here
    ignored(&changed(0, &[0x65])); // no IPv4
    for short in [0, 10, 20, 27] {
        let short = &outer[14..14 + short];
        ignored(&error(Header::fragmentation_needed(1400), short));
    }
}

#[test]
fn other_messages_and_broken_ones_do_not_count() {
    let quoted = &sent()[14..];
    for header in [
        Header::unreachable(icmp::HOST),
        Header::time_exceeded(),
        // A router older than RFC 1191 says no MTU.
        Header::fragmentation_needed(0),
    ] {
        ignored(&error(header, quoted));
    }
    let good = error(Header::fragmentation_needed(1400), quoted);
    let mut wrong = good.clone();
    wrong[41] ^= 1;
    ignored(&wrong);
    let mut echo = vec![8, 0, 0, 0, 0, 7, 0, 1];
    let sum = checksum::checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    ignored(&frames::ether(
        UPLINK_MAC,
        PEER_MAC,
        0x0800,
        &frames::ipv4(ROUTER, OWN_PA, 1, &echo),
    ));
}
