//! What is scarce: a device that takes nothing, a pool that has nothing. Everything is counted, everything
//! comes back.

mod common;

use std::net::Ipv4Addr;

use common::{Options, Rig};
use rte::Mbuf;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK, UPLINK_MAC, UPLINK_PORT, World};
use weir_switch::testing::{HZ, frames};
use weir_tables::ids::PortId;
use weir_tables::reason::Reason;
use weir_wire::Mac;
use weir_worker::command::Command;

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

/// This many vNICs of one tenant, and a peer with one more.
fn members(count: u8) -> (World, Vec<PortId>) {
    let mut world = World::new(256, None);
    let segment = world.segment(5001);
    let ports = (0..count)
        .map(|i| {
            let vnic = world.vnic(segment, mac(i), ca(i));
            world.port_of(vnic).expect("a port")
        })
        .collect();
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(segment, mac(99), ca(99), peer);
    (world, ports)
}

fn hello(to: u8, from: u8) -> Vec<u8> {
    frames::tenant(mac(to), mac(from), ca(from), ca(to), b"hello")
}

#[test]
fn a_device_that_takes_nothing_keeps_a_burst_waiting_and_the_rest_is_counted() {
    let (world, ports) = members(3);
    let mut rig = Rig::new(world);
    let (a, stuck, c) = (ports[0], ports[1], ports[2]);
    let to_stuck: Vec<_> = (0..32).map(|_| hello(1, 0)).collect();
    let mut sent = 0;
    while rig.dropped(Reason::TxFull) < 100 {
        rig.inject(a, to_stuck.iter().map(Vec::as_slice));
        rig.settle();
        sent += 32;
        rig.assert_conserved();
        assert!(rig.seats[0].cells.queued.get() <= 32);
        assert!(sent < 5000, "a ring has an end");
    }
    let cells = rig.seats[0].cells.clone();
    assert_eq!(cells.queued.get(), 32);
    // The others go on.
    rig.inject(a, [&hello(2, 0)[..]]);
    rig.settle();
    assert_eq!(rig.take(c), [hello(2, 0)]);
    // The device takes again: what waited leaves, nothing more is dropped.
    let dropped = rig.dropped(Reason::TxFull);
    let delivered = rig.line(stuck).discard() as u64;
    rig.settle();
    assert_eq!(cells.queued.get(), 0);
    assert_eq!(rig.line(stuck).discard(), 32);
    assert_eq!(delivered + 32 + dropped, sent);
    rig.assert_conserved();
    // Stuck again, and closed so: what it would not take is dropped under its own name.
    while rig.seats[0].cells.queued.get() < 32 {
        rig.inject(a, to_stuck.iter().map(Vec::as_slice));
        rig.settle();
    }
    rig.close_port(stuck);
    assert_eq!(cells.queued.get(), 0);
    assert_eq!(rig.dropped(Reason::PortClosed), 32);
    rig.assert_conserved();
    assert_eq!((rig.pool.in_use(), rig.feed.in_use()), (0, 0));
    rig.close();
}

/// A VM that is off, or hangs.
#[test]
fn a_vm_that_takes_nothing_for_a_second_is_kept_nothing() {
    let (world, ports) = members(2);
    let mut rig = Rig::new(world);
    let (a, off) = (ports[0], ports[1]);
    let cells = rig.seats[0].cells.clone();
    let send = |rig: &mut Rig, frames: usize| {
        let batch: Vec<_> = (0..frames).map(|_| hello(1, 0)).collect();
        rig.inject(a, batch.iter().map(Vec::as_slice));
        rig.settle();
    };
    let passes = |rig: &mut Rig, time: u64| {
        cells.now.add(time);
        rig.settle();
        rig.assert_conserved();
    };
    let fill = |rig: &mut Rig| {
        while cells.queued.get() < 7 {
            send(rig, 1);
        }
    };
    fill(&mut rig);
    let before = rig.dropped(Reason::TxFull);
    passes(&mut rig, HZ - 1);
    assert_eq!(
        (cells.queued.get(), rig.dropped(Reason::TxFull)),
        (7, before)
    );
    passes(&mut rig, 1);
    assert_eq!(
        (cells.queued.get(), rig.dropped(Reason::TxFull)),
        (0, before + 7)
    );
    // It goes on taking nothing, and nothing waits again.
    send(&mut rig, 3);
    passes(&mut rig, 0);
    assert_eq!(
        (cells.queued.get(), rig.dropped(Reason::TxFull)),
        (0, before + 10)
    );
    // It is there, and has its second again from the first frame that it does not take.
    rig.line(off).discard();
    fill(&mut rig);
    passes(&mut rig, HZ - 1);
    rig.line(off).discard();
    passes(&mut rig, 0);
    assert_eq!(cells.queued.get(), 0);
    fill(&mut rig);
    passes(&mut rig, HZ - 1);
    assert_eq!(
        (cells.queued.get(), rig.dropped(Reason::TxFull)),
        (7, before + 10)
    );
    rig.line(off).discard();
    rig.settle();
    rig.line(off).discard();
    assert_eq!((rig.pool.in_use(), rig.feed.in_use()), (0, 0));
    rig.close();
}

#[test]
fn an_uplink_that_takes_nothing_is_waited_for() {
    let (world, ports) = members(1);
    let mut rig = Rig::new(world);
    let cells = rig.seats[0].cells.clone();
    while cells.queued.get() < 7 {
        rig.inject(ports[0], [&hello(99, 0)[..]]);
        rig.settle();
    }
    cells.now.add(HZ * 60);
    rig.settle();
    assert_eq!((cells.queued.get(), rig.dropped(Reason::TxFull)), (7, 0));
    assert!(rig.line(UPLINK_PORT).discard() > 7);
    rig.settle();
    assert_eq!(rig.line(UPLINK_PORT).discard(), 7);
    rig.close();
}

#[test]
fn accounts_hold_when_one_device_is_stuck_with_packets_of_many() {
    // Two vNICs behind one trunk: the account is the vNIC's, not the port's.
    let mut world = World::new(64, None);
    let segment = world.segment(5001);
    let a = world.vnic(segment, mac(0), ca(0));
    let trunk = world.trunk(weir_tables::view::Party::TrunkByMac);
    let one = world.vnic_on(segment, mac(1), ca(1), trunk, None);
    let two = world.vnic_on(segment, mac(2), ca(2), trunk, None);
    let a = world.port_of(a).expect("a port");
    let mut rig = Rig::new(world);
    let mut sent = [0_u64; 2];
    for round in 0..200 {
        let batch: Vec<_> = (0..30)
            .map(|i| hello(1 + ((i * round) % 3 % 2) as u8, 0))
            .collect();
        for bytes in &batch {
            sent[usize::from(bytes[5]) - 1] += 1;
        }
        rig.inject(a, batch.iter().map(Vec::as_slice));
        rig.settle();
        if round % 50 == 49 {
            rig.line(trunk).discard();
        }
        rig.assert_conserved();
    }
    rig.line(trunk).discard();
    rig.settle();
    for (vnic, sent) in [(one, sent[0]), (two, sent[1])] {
        let cells = &rig.world.view.vnic(vnic).expect("a vNIC").cells[0];
        let (packets, drops) = (cells.tx.packets.get(), cells.drops.packets());
        assert_eq!(packets + drops, sent);
        assert_eq!(cells.tx.bytes.get(), packets * hello(1, 0).len() as u64);
        assert!(drops > 0);
    }
    rig.close();
}

#[test]
fn what_waits_on_a_trunk_for_a_vnic_that_left_is_dropped_and_the_rest_is_not() {
    let mut world = World::new(64, None);
    let segment = world.segment(5001);
    let a = world.vnic(segment, mac(0), ca(0));
    let trunk = world.trunk(weir_tables::view::Party::TrunkByMac);
    let one = world.vnic_on(segment, mac(1), ca(1), trunk, None);
    world.vnic_on(segment, mac(2), ca(2), trunk, None);
    let a = world.port_of(a).expect("a port");
    let mut rig = Rig::new(world);
    // Until the device is full and one packet waits.
    let (to_one, to_two) = (hello(1, 0), hello(2, 0));
    let mut for_two = 0;
    while rig.seats[0].cells.queued.get() == 0 {
        rig.inject(a, [&to_two[..]]);
        rig.settle();
        for_two += 1;
    }
    for _ in 0..10 {
        rig.inject(a, [&to_one[..], &to_two[..]]);
    }
    rig.settle();
    for_two += 10;
    assert_eq!(rig.seats[0].cells.queued.get(), 21);
    rig.seats[0].tell(Command::Forget(one));
    rig.settle();
    assert_eq!(rig.seats[0].cells.queued.get(), 11);
    assert_eq!(rig.dropped(Reason::PortClosed), 10);
    rig.assert_conserved();
    let mut arrived = Vec::new();
    loop {
        let some = rig.take(trunk);
        rig.settle();
        if some.is_empty() {
            break;
        }
        arrived.extend(some);
    }
    assert_eq!(arrived.len(), for_two);
    assert!(arrived.iter().all(|bytes| *bytes == to_two));
    rig.close();
}

#[test]
fn without_a_free_mbuf_copies_and_packets_of_the_switch_s_own_fail_and_everything_comes_back() {
    let (world, ports) = members(5);
    let mut rig = Rig::with(
        world,
        Options {
            mbufs: 127,
            ..Options::default()
        },
    );
    let all = frames::tenant(Mac::BROADCAST, mac(0), ca(0), ca(1), b"all");
    let ask = frames::arp_request(UPLINK_MAC, OWN_PA, PA);
    // First that copies are made when there is memory: four here, one to the wire.
    rig.inject(ports[0], [&all[..]]);
    rig.settle();
    assert_eq!(rig.seats[0].cells.copies.get(), 4);
    for &port in &ports[1..] {
        assert_eq!(rig.take(port), std::slice::from_ref(&all));
    }
    assert_eq!(rig.take(UPLINK_PORT).len(), 1);

    let mut held: Vec<Mbuf> = std::iter::from_fn(|| rig.pool.alloc()).collect();
    assert_eq!(held.len(), 127);
    rig.inject(ports[0], [&all[..], &hello(1, 0), &hello(99, 0)]);
    rig.seats[0].tell(Command::Generate(
        UPLINK,
        UPLINK_PORT,
        ask.into_iter().collect(),
    ));
    rig.settle();
    rig.assert_conserved();
    // The packet itself went to the last; what needs no copy is not hurt.
    assert_eq!(rig.dropped(Reason::PoolEmpty), 5);
    assert_eq!(rig.take(UPLINK_PORT).len(), 2);
    assert_eq!(rig.take(ports[1]), [hello(1, 0)]);
    assert_eq!(rig.pool.in_use(), 127);

    // Two are free again: two copies are made.
    held.truncate(125);
    rig.inject(ports[0], [&all[..]]);
    rig.settle();
    assert_eq!(rig.dropped(Reason::PoolEmpty), 7);
    assert_eq!((rig.take(ports[1]).len(), rig.take(ports[2]).len()), (1, 1));
    rig.assert_conserved();
    // A chain needs as many as it has segments, or none.
    let long = frames::tenant(Mac::BROADCAST, mac(0), ca(0), ca(1), &[3; 9000 - 42]);
    let cells = &rig.seats[0].cells;
    let before = (cells.copies.get(), rig.dropped(Reason::PoolEmpty));
    rig.inject(ports[0], [&long[..]]);
    rig.settle();
    let after = (
        rig.seats[0].cells.copies.get(),
        rig.dropped(Reason::PoolEmpty),
    );
    assert_eq!((after.0 - before.0, after.1 - before.1), (4, 4));
    assert_eq!(
        rig.dropped(Reason::TooBig),
        1,
        "the frame itself, to the peer"
    );
    assert_eq!(rig.pool.in_use(), 125);
    drop(held);
    for &port in &ports {
        rig.take(port);
    }
    rig.take(UPLINK_PORT);
    assert_eq!((rig.pool.in_use(), rig.feed.in_use()), (0, 0));
    rig.close();
}

#[test]
fn a_pool_that_its_own_receivers_hold_empties_and_fills_again() {
    // Everything is broadcast to devices that take nothing: the copies end in their rings and before them.
    let (world, ports) = members(3);
    let mut rig = Rig::with(
        world,
        Options {
            mbufs: 511,
            feed: 2047,
            ..Options::default()
        },
    );
    let all = frames::tenant(Mac::BROADCAST, mac(0), ca(0), ca(1), b"all");
    for _ in 0..600 {
        rig.inject(ports[0], [&all[..]]);
        rig.settle();
        rig.assert_conserved();
    }
    // 255 times two copies, then one and one that failed, and so on.
    assert_eq!(rig.pool.in_use(), 511);
    let copies = rig.seats[0].cells.copies.get();
    assert_eq!((copies, rig.dropped(Reason::PoolEmpty)), (1200, 1200 - 511));
    for &port in &ports {
        rig.line(port).discard();
    }
    rig.line(UPLINK_PORT).discard();
    assert_eq!((rig.pool.in_use(), rig.feed.in_use()), (0, 0));
    rig.inject(ports[0], [&all[..]]);
    rig.settle();
    assert_eq!(rig.take(ports[2]), [all]);
    rig.close();
}
