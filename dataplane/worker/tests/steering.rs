//! Two workers and devices that their vNICs share: who polls the device hands frames to their owners, before any stage.

mod common;

use std::net::Ipv4Addr;

use common::{Options, Rig};
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::steering::{Bucket, Steering};
use weir_tables::view::Party;
use weir_wire::Mac;

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const VSID: u32 = 5001;

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

fn options(handoff: usize) -> Options {
    Options {
        workers: 2,
        handoff,
        ..Options::default()
    }
}

/// Every second of these vNICs is the second worker's.
fn dealt(vnics: u8) -> Steering {
    let mut steering = Steering::spread(2);
    for i in 0..vnics {
        steering.give(Bucket::of(mac(i)), WorkerId(i % 2));
    }
    steering
}

fn inner(to: u8, from: u8, number: u32) -> Vec<u8> {
    frames::tenant(mac(to), mac(from), ca(from), ca(to), &number.to_be_bytes())
}

fn outer(to: u8, number: u32) -> Vec<u8> {
    let inner = inner(to, 9, number);
    frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), VSID, 1, &inner)
}

/// Four vNICs with ports of their own, each its owner's; the uplink is worker 0's.
fn own_ports() -> (World, Vec<PortId>) {
    let mut world = World::new(64, None);
    let blue = world.segment(VSID);
    world.view.steering = dealt(4);
    let mut ports = Vec::new();
    for i in 0..4 {
        let vnic = world.vnic(blue, mac(i), ca(i));
        let port = world.port_of(vnic).expect("a port");
        world.change_port(port, |port| port.owner = WorkerId(i % 2));
        ports.push(port);
    }
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(blue, mac(9), ca(9), peer);
    (world, ports)
}

#[test]
fn from_the_wire_the_owner_does_the_stages_and_order_is_kept() {
    let (world, ports) = own_ports();
    let mut rig = Rig::with(world, options(1024));
    let mut next = 0;
    for round in 0..100_u32 {
        let count = 1 + round % 40;
        let sent: Vec<(u8, u32)> = (next..next + count)
            .map(|n| ((n.wrapping_mul(7) % 4) as u8, n))
            .collect();
        next += count;
        let frames: Vec<_> = sent.iter().map(|&(to, n)| outer(to, n)).collect();
        rig.inject(UPLINK_PORT, frames.iter().map(Vec::as_slice));
        rig.settle();
        rig.assert_conserved();
        for (i, &port) in (0..).zip(&ports) {
            let wanted: Vec<_> = sent
                .iter()
                .filter(|(to, _)| *to == i)
                .map(|&(to, n)| inner(to, 9, n))
                .collect();
            assert_eq!(rig.take(port), wanted, "vNIC {i}");
        }
    }
    let (zero, one) = (&rig.seats[0].cells, &rig.seats[1].cells);
    assert_eq!(zero.received.get() + one.received.get(), u64::from(next));
    assert_eq!(one.received.get(), zero.steered_out.get());
    assert_eq!(one.received.get(), one.steered_in.get());
    assert_eq!(
        one.received.get(),
        one.delivered.get(),
        "no second hand-off"
    );
    assert!(one.received.get() > u64::from(next) / 3);
    assert_eq!((zero.handoff_out.get(), one.handoff_out.get()), (0, 0));
    assert!(rig.drops().is_empty(), "{:?}", rig.drops());
    rig.close();
}

#[test]
fn full_bursts_of_which_half_is_others_make_one_batch() {
    let (world, ports) = own_ports();
    let mut rig = Rig::with(world, options(1024));
    // By turns: two bursts are one batch, and what is behind them waits for the next turn.
    let sent: Vec<_> = (0..100).map(|n| outer((n % 2) as u8, n)).collect();
    rig.inject(UPLINK_PORT, sent.iter().map(Vec::as_slice));
    rig.seats[0].worker.turn();
    assert_eq!(rig.seats[0].cells.received.get(), 32);
    assert_eq!(rig.seats[0].cells.steered_out.get(), 32);
    rig.settle();
    for i in 0..2 {
        let wanted: Vec<_> = (0..50).map(|n| inner(i, 9, 2 * n + u32::from(i))).collect();
        assert_eq!(rig.take(ports[usize::from(i)]), wanted, "vNIC {i}");
    }
    // Of others alone: so many bursts and no more, for there are other queues.
    let sent: Vec<_> = (0..200).map(|n| outer(1, n)).collect();
    rig.inject(UPLINK_PORT, sent.iter().map(Vec::as_slice));
    rig.seats[0].worker.turn();
    assert_eq!(rig.seats[0].cells.steered_out.get(), 50 + 128);
    rig.settle();
    assert_eq!(rig.take(ports[1]).len(), 200);
    // What is left of two bursts may be more than a batch: the first one's goes first.
    let to = |n: u32| u8::from(n.is_multiple_of(2) && n < 32);
    let sent: Vec<_> = (0..64).map(|n| outer(to(n), n)).collect();
    rig.inject(UPLINK_PORT, sent.iter().map(Vec::as_slice));
    rig.seats[0].worker.turn();
    let wanted: Vec<_> = (0..64)
        .filter(|&n| to(n) == 0)
        .map(|n| inner(0, 9, n))
        .collect();
    assert_eq!(rig.take(ports[0]), wanted);
    // What is a worker's own for the most part is one burst a turn.
    let before = rig.seats[0].cells.received.get();
    let sent: Vec<_> = (0..64).map(|n| outer(u8::from(n % 3 == 2), n)).collect();
    rig.inject(UPLINK_PORT, sent.iter().map(Vec::as_slice));
    rig.seats[0].worker.turn();
    assert_eq!(rig.seats[0].cells.received.get() - before, 22);
    rig.settle();
    rig.assert_conserved();
    assert!(rig.drops().is_empty(), "{:?}", rig.drops());
    rig.close();
}

#[test]
fn what_is_nobodys_or_forged_ends_as_it_does_on_one_worker() {
    let (world, ports) = own_ports();
    let mut rig = Rig::with(world, options(1024));
    let good = outer(1, 1);
    // Not from a peer, and a VSID that is not here: to vNIC 1, which is worker 1's.
    let mut stranger = frames::nvgre(
        (UPLINK_MAC, PEER_MAC),
        (Ipv4Addr::new(192, 168, 50, 77), OWN_PA),
        VSID,
        1,
        &inner(1, 9, 2),
    );
    let foreign = frames::nvgre(
        (UPLINK_MAC, PEER_MAC),
        (PA, OWN_PA),
        6001,
        1,
        &inner(1, 9, 3),
    );
    rig.inject(UPLINK_PORT, [&good[..], &stranger[..], &foreign[..]]);
    stranger.truncate(45);
    rig.inject(UPLINK_PORT, [&stranger[..]]);
    rig.settle();
    rig.assert_conserved();
    assert_eq!(rig.take(ports[1]), [inner(1, 9, 1)]);
    assert_eq!(rig.dropped(Reason::UnknownPa), 1, "{:?}", rig.drops());
    assert_eq!(rig.dropped(Reason::UnknownVsid), 1, "{:?}", rig.drops());
    assert_eq!(rig.seats[1].cells.dropped.get(), 2, "by the owner");
    assert_eq!(rig.drops().values().sum::<u64>(), 3);
    rig.close();
}

#[test]
fn a_full_ring_is_a_reason_and_the_others_go_on() {
    let (world, ports) = own_ports();
    let mut rig = Rig::with(world, options(40));
    let sent: Vec<_> = (0..100).map(|n| outer((n % 2) as u8, n)).collect();
    rig.inject(UPLINK_PORT, sent.iter().map(Vec::as_slice));
    for _ in 0..8 {
        rig.seats[0].worker.turn();
    }
    rig.seats[0].assert_conserved();
    assert_eq!(rig.dropped(Reason::HandoffFull), 10);
    assert_eq!(rig.take(ports[0]).len(), 50);
    rig.settle();
    let got = rig.take(ports[1]);
    assert_eq!(got.len(), 40);
    assert_eq!(got[39], inner(1, 9, 79), "the oldest are kept");
    rig.assert_conserved();
    rig.close();
}

#[test]
fn a_trunk_is_polled_by_one_and_switched_by_each_owner() {
    for by_vlan in [false, true] {
        let mut world = World::new(64, None);
        let blue = world.segment(VSID);
        world.view.steering = dealt(4);
        let party = if by_vlan {
            Party::TrunkByVlan
        } else {
            Party::TrunkByMac
        };
        let trunk = world.trunk(party);
        for i in 0..4 {
            let vlan = by_vlan.then_some(100 + u16::from(i));
            world.vnic_on(blue, mac(i), ca(i), trunk, vlan);
        }
        let peer = world.peer(PA, Some(PEER_MAC));
        world.remote(blue, mac(9), ca(9), peer);
        let mut rig = Rig::with(world, options(1024));
        let tagged = |from: u8, mut frame: Vec<u8>| {
            if by_vlan {
                let tag = [0x81, 0x00, 0, 100 + from];
                frame.splice(12..12, tag);
            }
            frame
        };
        let sent: Vec<(u8, u32)> = (0..64).map(|n| ((n % 4) as u8, n)).collect();
        let frames: Vec<_> = sent
            .iter()
            .map(|&(from, n)| tagged(from, inner(9, from, n)))
            .collect();
        rig.inject(trunk, frames.iter().map(Vec::as_slice));
        // And to each other: what worker 1 decides goes back by the trunk's owner.
        let local: Vec<_> = (0..4)
            .map(|from| tagged(from, inner(from ^ 1, from, 99)))
            .collect();
        rig.inject(trunk, local.iter().map(Vec::as_slice));
        rig.settle();
        rig.assert_conserved();
        let out = rig.take(UPLINK_PORT);
        for i in 0..4 {
            let of = |frame: &&Vec<u8>| frame[42 + 6..42 + 12] == mac(i).octets();
            let got: Vec<_> = out.iter().filter(of).map(|frame| &frame[42..]).collect();
            let wanted: Vec<_> = sent
                .iter()
                .filter(|(from, _)| *from == i)
                .map(|&(from, n)| inner(9, from, n))
                .collect();
            assert!(
                got.iter().copied().eq(wanted.iter().map(Vec::as_slice)),
                "vNIC {i}"
            );
        }
        let mut back = rig.take(trunk);
        back.sort();
        let mut wanted: Vec<_> = (0..4)
            .map(|from| tagged(from ^ 1, inner(from ^ 1, from, 99)))
            .collect();
        wanted.sort();
        assert_eq!(back, wanted);
        let one = &rig.seats[1].cells;
        assert_eq!((one.received.get(), one.steered_in.get()), (34, 34));
        assert!(rig.drops().is_empty(), "{:?}", rig.drops());
        rig.close();
    }
}

/// A router's MAC that two tenants' routers share (VRRP: RFC 5798 §7.3), and one that is another vNIC's own.
#[test]
fn a_mac_of_several_vnics_does_not_tell_whose_worker() {
    let mut world = World::new(64, None);
    let blue = world.segment(VSID);
    let red = world.segment(VSID + 1);
    world.view.steering = dealt(4);
    let trunks = [0, 1].map(|_| world.trunk(Party::TrunkByMac));
    let shared = Mac::new([0, 0, 0x5e, 0, 1, 7]);
    // vNIC 0 is worker 0's, 1 worker 1's; each may use the other's MAC, which is so on another trunk.
    for (i, segment) in [blue, red].into_iter().enumerate() {
        let vnic = world.vnic_on(segment, mac(i as u8), ca(i as u8), trunks[i], None);
        world.allow_mac(vnic, shared);
        world.allow_mac(vnic, mac(1 - i as u8));
    }
    world.view.steering.set_ambiguous([shared, mac(0), mac(1)]);
    let mut rig = Rig::with(world, options(1024));
    let hello = |from: Mac, i: u8| frames::tenant(mac(9), from, ca(i), ca(9), b"x");
    for (i, trunk) in (0..).zip(trunks) {
        let sent: Vec<_> = [mac(0), mac(1), shared]
            .into_iter()
            .cycle()
            .take(30)
            .map(|from| hello(from, i))
            .collect();
        rig.inject(trunk, sent.iter().map(Vec::as_slice));
    }
    // Of nobody on that trunk: who polls it ends it.
    rig.inject(trunks[0], [&hello(mac(3), 3)[..]]);
    rig.settle();
    rig.assert_conserved();
    assert_eq!(rig.dropped(Reason::TrunkUnknown), 1);
    for (id, vnic) in rig.world.view.vnics.iter().flatten().enumerate() {
        let by_worker: Vec<u64> = vnic.cells.iter().map(|c| c.rx.packets.get()).collect();
        assert_eq!(by_worker[id], 30, "vNIC {id}: {by_worker:?}");
    }
    rig.close();
}

#[test]
fn frames_of_two_ports_side_by_side_in_a_ring_are_each_taken_from_its_own() {
    let mut world = World::new(64, None);
    let blue = world.segment(VSID);
    world.view.steering = dealt(4);
    let trunk = world.trunk(Party::TrunkByMac);
    world.vnic_on(blue, mac(1), ca(1), trunk, None);
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(blue, mac(9), ca(9), peer);
    let mut rig = Rig::with(world, options(1024));
    rig.inject(UPLINK_PORT, [&outer(1, 1)[..], &outer(1, 2)]);
    rig.inject(trunk, [&inner(9, 1, 3)[..], &inner(9, 1, 4)]);
    rig.seats[0].worker.turn();
    assert_eq!(rig.seats[0].cells.steered_out.get(), 4);
    rig.settle();
    rig.assert_conserved();
    assert!(rig.drops().is_empty(), "{:?}", rig.drops());
    assert_eq!(rig.take(trunk), [inner(1, 9, 1), inner(1, 9, 2)]);
    let out = rig.take(UPLINK_PORT);
    let out: Vec<_> = out.iter().map(|frame| &frame[42..]).collect();
    assert_eq!(out, [inner(9, 1, 3), inner(9, 1, 4)]);
    rig.close();
}

#[test]
fn frames_of_two_receivers_side_by_side_in_a_ring_are_each_on_its_own_account() {
    let mut world = World::new(64, None);
    let blue = world.segment(VSID);
    let sender = world.vnic(blue, mac(0), ca(0));
    let port = world.port_of(sender).expect("a port");
    let trunk = world.trunk(Party::TrunkByMac);
    world.change_port(trunk, |port| port.owner = WorkerId(1));
    let receivers = [1, 3].map(|i| world.vnic_on(blue, mac(i), ca(i), trunk, None));
    let mut rig = Rig::with(world, options(1024));
    let sent: Vec<_> = [1, 1, 3, 1, 3].map(|to| inner(to, 0, 7)).into();
    rig.inject(port, sent.iter().map(Vec::as_slice));
    rig.settle();
    rig.assert_conserved();
    assert_eq!(rig.take(trunk), sent);
    let got = receivers.map(|id| {
        let vnic = rig.world.view.vnic(id).expect("a vNIC");
        vnic.cells[1].tx.packets.get()
    });
    assert_eq!(got, [3, 2]);
    rig.close();
}
