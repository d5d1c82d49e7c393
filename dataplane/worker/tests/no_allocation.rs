//! A million packets of every kind through `Worker::turn`, and not one call of the allocator on its thread.
//! In a process of its own: it replaces the allocator with one that counts.

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;

use common::{Options, Rig};
use rte::allocator;
use weir_switch::testing::HZ;
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::bandwidth::{Link, Pace, Promise};
use weir_tables::counters::WorkerCells;
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::steering::{Bucket, Steering};
use weir_tables::view::Party;
use weir_wire::Mac;
use weir_worker::command::{Command, Expected, Luggage, Reply};
use weir_worker::tap::{Entry, Tap, Wish};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const SILENT: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 3);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

/// What the workers do, with every allocation counted.
fn turn(rig: &mut Rig) -> u64 {
    let before = allocator::calls();
    while rig.seats.iter_mut().map(|s| s.worker.turn()).sum::<usize>() > 0 {}
    allocator::calls() - before
}

/// Two taps at the first worker; the ring of the one that looks at everything.
fn look(rig: &mut Rig) -> rtrb::Consumer<Entry> {
    let wish = |filter, follow| Wish {
        points: u16::MAX,
        who: None,
        filter: Some(Arc::new(
            rte::Filter::compile(common::eal(), filter).expect("a filter"),
        )),
        snap: 65_535,
        follow,
    };
    let (producer, ring) = rtrb::RingBuffer::new(1 << 14);
    let (small, _) = rtrb::RingBuffer::new(64);
    let taps = [
        Tap::new(1, wish("", None), producer, Arc::default()),
        Tap::new(
            2,
            wish("udp or icmp", Some(u32::MAX)),
            small,
            Arc::default(),
        ),
    ];
    for tap in taps {
        rig.seats[0].tell(Command::Watch(Box::new(tap)));
    }
    ring
}

#[test]
fn a_million_packets_without_a_call_of_the_allocator() {
    let mut world = World::new(4096, None);
    let segment = world.segment(5001);
    let peer = world.peer(PA, Some(PEER_MAC));
    let silent = world.peer(SILENT, None);
    let own: Vec<PortId> = (0..3)
        .map(|i| {
            let vnic = world.vnic(segment, mac(i), ca(i));
            world.port_of(vnic).expect("a port")
        })
        .collect();
    let by_mac = world.trunk(Party::TrunkByMac);
    let by_vlan = world.trunk(Party::TrunkByVlan);
    world.vnic_on(segment, mac(4), ca(4), by_mac, None);
    world.vnic_on(segment, mac(5), ca(5), by_vlan, Some(77));
    world.remote(segment, mac(8), ca(8), peer);
    world.remote(segment, mac(9), ca(9), silent);
    // A second worker, so that hand-off is on the way; one vNIC whose checksums are finished for it.
    world.change_port(own[2], |port| port.owner = weir_tables::ids::WorkerId(1));
    world.change_port(own[1], |port| port.suspect_checksums = true);
    let mut rig = Rig::with(
        world,
        Options {
            workers: 2,
            cache: 64,
            ..Options::default()
        },
    );

    let from = |to: u8, src: u8, length: usize| {
        frames::tenant(mac(to), mac(src), ca(src), ca(to), &vec![1; length])
    };
    let wire = |inner: &[u8]| frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 3, inner);
    let mut tagged = from(0, 5, 40);
    frames::tag(&mut tagged, 77);
    let mut unfinished = from(8, 1, 100);
    let addresses = (ca(1).into(), ca(8).into());
    let l4 = frames::l4(17, addresses, (1, 2), &[1; 100], frames::Field::Pseudo);
    unfinished.truncate(14);
    unfinished.extend(frames::ipv4(ca(1), ca(8), 17, &l4));
    let mut to_all = from(0, 0, 60);
    to_all[..6].fill(0xff);
    let mut wire_to_all = from(0, 8, 60);
    wire_to_all[..6].fill(0xff);
    let kinds: Vec<(PortId, Vec<u8>)> = vec![
        (own[0], from(8, 0, 60)),
        (own[0], from(8, 0, 1400)),
        (own[0], from(1, 0, 60)),
        (own[0], from(2, 0, 60)),
        (own[2], from(0, 2, 60)),
        (own[0], from(4, 0, 60)),
        (own[0], from(5, 0, 60)),
        (own[0], to_all),
        (own[0], frames::arp_request(mac(0), ca(0), ca(8))),
        (own[0], frames::arp_request(mac(0), ca(0), ca(77))),
        (own[1], unfinished),
        (by_mac, from(0, 4, 60)),
        (by_vlan, tagged),
        (UPLINK_PORT, wire(&from(0, 8, 60))),
        (UPLINK_PORT, wire(&from(2, 8, 1400))),
        (UPLINK_PORT, wire(&wire_to_all)),
        (UPLINK_PORT, frames::arp_request(PEER_MAC, PA, OWN_PA)),
        (UPLINK_PORT, frames::arp_request(PEER_MAC, PA, SILENT)),
        // Chains.
        (own[0], from(1, 0, 4000 - 42)),
        (own[0], from(1, 0, 9000 - 42)),
        // What ends here: spoofed, unknown, unresolved, too large, runt, strange, of nobody, not ours.
        (own[0], from(1, 2, 60)),
        (own[0], from(55, 0, 60)),
        (own[0], from(9, 0, 60)),
        (own[0], from(8, 0, 4000)),
        (own[0], from(1, 0, 9100)),
        (own[0], vec![1, 2, 3]),
        (own[0], from(0, 0, 60)),
        (by_mac, from(0, 66, 60)),
        (UPLINK_PORT, wire(&from(77, 8, 60))),
        (UPLINK_PORT, wire(&from(0, 1, 60))),
        (UPLINK_PORT, from(0, 1, 60)),
        (UPLINK_PORT, vec![0; 30]),
    ];
    let mut inputs: Vec<PortId> = kinds.iter().map(|kind| kind.0).collect();
    inputs.sort();
    inputs.dedup();

    let round = |rig: &mut Rig| {
        for kind in &kinds {
            // Four of each: batches that are mixed, at ports that have several kinds.
            let mbufs: Vec<_> = (0..4).map(|_| rig.mbuf(&kind.1)).collect();
            rig.line(kind.0).inject(mbufs);
        }
        let calls = turn(rig);
        for line in rig.lines.values_mut() {
            line.discard();
        }
        while rig.seats[0].events.pop().is_ok() {}
        calls
    };
    // The first turn takes the queues in.
    turn(&mut rig);
    for _ in 0..10 {
        round(&mut rig);
    }
    // What each stage costs is measured.
    rig.seats[0].tell(Command::Measure(true));
    let measured: u64 = (0..20).map(|_| round(&mut rig)).sum();
    assert_eq!(measured, 0, "calls of the allocator, measured");
    assert!(rig.seats[0].cells.stages.packets.get() > 0);
    rig.seats[0].tell(Command::Measure(false));
    // From here on somebody looks: at everything, with a filter, and follows packets; one ring is emptied now and then.
    let mut ring = look(&mut rig);
    let mut watched = 0;
    for _ in 0..100 {
        watched += round(&mut rig);
        ring.read_chunk(ring.slots()).expect("entries").commit_all();
    }
    assert_eq!(watched, 0, "calls of the allocator, watched");
    for id in [1, 2] {
        rig.seats[0].tell(Command::Unwatch(id));
    }
    turn(&mut rig);
    while let Ok(reply) = rig.seats[0].replies.pop() {
        drop(reply);
    }
    let received = |rig: &Rig| {
        rig.seats
            .iter()
            .map(|s| s.cells.received.get())
            .sum::<u64>()
    };
    let (mut calls, before) = (0, received(&rig));
    while received(&rig) - before < 1_000_000 {
        calls += round(&mut rig);
    }
    assert_eq!(calls, 0, "calls of the allocator");

    // The same where nothing is taken: hand-off rings, buffers and devices are full, then the pool is empty.
    let held: Vec<_> = std::iter::from_fn(|| rig.pool.alloc()).collect();
    let mut calls = 0;
    for _ in 0..400 {
        for kind in &kinds {
            let mbuf = rig.mbuf(&kind.1);
            rig.line(kind.0).inject([mbuf]);
        }
        calls += turn(&mut rig);
        // Only what holds the feed is taken.
        for port in [own[0], own[2], by_mac, by_vlan, UPLINK_PORT] {
            rig.line(port).discard();
        }
        while rig.seats[0].events.pop().is_ok() {}
    }
    assert_eq!(calls, 0, "calls of the allocator, everything full");
    drop(held);

    for reason in [
        Reason::Runt,
        Reason::SpoofedMac,
        Reason::NoRecord,
        Reason::PaUnresolved,
        Reason::TooBig,
        Reason::Oversize,
        Reason::SamePort,
        Reason::TrunkUnknown,
        Reason::NotHere,
        Reason::InnerSourceLocal,
        Reason::OuterNotOurs,
        Reason::OuterType,
        Reason::UnderlayArp,
        Reason::PoolEmpty,
        Reason::TxFull,
    ] {
        assert!(rig.dropped(reason) > 0, "{reason:?}: {:?}", rig.drops());
    }
    let cells = &rig.seats[0].cells;
    assert!(cells.copies.get() > 0 && cells.sent.get() > 0 && cells.handoff_out.get() > 0);
    // The counter does count: a vector made here and freed.
    let before = allocator::calls();
    drop(std::hint::black_box(vec![1, 2, 3]));
    assert_eq!(allocator::calls() - before, 2);
    rig.close();
}

#[test]
fn packets_that_wait_for_the_store_call_no_allocator() {
    let mut world = World::new(256, None);
    let domain = world.domain();
    let segment = world.subnet(domain, 5001, Ipv4Addr::new(10, 1, 0, 1));
    world.on_miss(domain, true);
    let peer = world.peer(PA, Some(PEER_MAC));
    let vnic = world.vnic(segment, mac(1), ca(1));
    let port = world.port_of(vnic).expect("a port");
    world.remote(segment, mac(8), ca(8), peer);
    let mut rig = Rig::new(world);
    turn(&mut rig);
    let mut calls = 0;
    for round in 0..2000_u32 {
        let [_, _, hi, lo] = round.to_be_bytes();
        let unknown = Mac::new([2, 9, 9, 9, hi, lo]);
        let mut frame = frames::tenant(unknown, mac(1), ca(1), ca(9), &[1; 60]);
        let ask = frames::arp_request(mac(1), ca(1), Ipv4Addr::new(10, 1, 0, lo));
        rig.inject(port, [&frame[..], &frame, &ask]);
        frame[..6].copy_from_slice(&mac(8).octets());
        rig.inject(port, [&frame[..]]);
        calls += turn(&mut rig);
        while let Ok(event) = rig.seats[0].events.pop() {
            let weir_switch::outlet::Event::Miss { to, .. } = event else {
                continue;
            };
            // Found, which is not true and asks again; absent; or no answer.
            match round / 100 % 3 {
                0 => rig.seats[0].tell(Command::Found(to)),
                1 => rig.seats[0].tell(Command::Absent(to)),
                _ => {}
            }
        }
        rig.seats[0].cells.now.add(weir_switch::testing::HZ / 50);
        calls += turn(&mut rig);
        rig.lines.values_mut().for_each(|line| {
            line.discard();
        });
    }
    assert_eq!(calls, 0, "calls of the allocator");
    let cells = &rig.seats[0].cells;
    assert!(cells.misses_found.get() > 100 && cells.misses_absent.get() > 100);
    assert!(rig.dropped(Reason::MissTimeout) > 10);
    rig.seats[0].cells.now.add(weir_switch::testing::HZ);
    turn(&mut rig);
    rig.close();
}

/// Until nothing more is done, and what has come back.
fn answers(rig: &mut Rig, seat: usize, calls: &mut u64) -> Vec<Reply> {
    *calls += turn(rig);
    let replies = &mut rig.seats[seat].replies;
    std::iter::from_fn(|| replies.pop().ok()).collect()
}

/// vNICs with promises on a shared uplink, on ports of their own and on a trunk, whose frames another worker polls; one goes to and fro.
#[test]
fn who_waits_for_bandwidth_is_steered_or_moves_calls_no_allocator() {
    let mut world = World::new(256, None);
    let segment = world.segment(5001);
    let peer = world.peer(PA, Some(PEER_MAC));
    world.view.steering = Steering::spread(2);
    for i in 0..4 {
        world
            .view
            .steering
            .give(Bucket::of(mac(i)), WorkerId(i % 2));
    }
    let mut vnics: Vec<VnicId> = (0..2).map(|i| world.vnic(segment, mac(i), ca(i))).collect();
    let own = [0, 1].map(|i| world.port_of(vnics[i]).expect("a port"));
    world.change_port(own[1], |port| port.owner = WorkerId(1));
    let trunk = world.trunk(Party::TrunkByMac);
    for i in 2..4 {
        vnics.push(world.vnic_on(segment, mac(i), ca(i), trunk, None));
    }
    world.remote(segment, mac(8), ca(8), peer);
    let pace = |mbit: u64| Pace::of(mbit * 1_000_000, HZ);
    for (&vnic, mbit) in vnics.iter().zip([100, 200, 300, 400]) {
        let promise = Promise {
            share: 10,
            max: pace(mbit),
            max_rx: pace(mbit),
            police: false,
        };
        world.promise(vnic, Some(promise));
    }
    world.link(Some(Link::plain(pace(500))));
    let options = Options {
        workers: 2,
        cache: 64,
        ..Options::default()
    };
    let mut rig = Rig::with(world, options);
    let from = |to: u8, src: u8| frames::tenant(mac(to), mac(src), ca(src), ca(to), &[1; 900]);
    let wire = |to| frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 3, &from(to, 8));
    let kinds: Vec<(PortId, Vec<u8>)> = vec![
        (own[0], from(8, 0)),
        (own[0], from(1, 0)),
        (own[0], from(3, 0)),
        (own[1], from(8, 1)),
        (own[1], from(0, 1)),
        (trunk, from(8, 2)),
        (trunk, from(8, 3)),
        (trunk, from(0, 3)),
        (UPLINK_PORT, wire(0)),
        (UPLINK_PORT, wire(1)),
        (UPLINK_PORT, wire(3)),
    ];
    let round = |rig: &mut Rig| {
        for kind in &kinds {
            let mbufs: Vec<_> = (0..4).map(|_| rig.mbuf(&kind.1)).collect();
            rig.line(kind.0).inject(mbufs);
        }
        for seat in &rig.seats {
            seat.cells.now.add(HZ / 2000);
        }
        let calls = turn(rig);
        for line in rig.lines.values_mut() {
            line.discard();
        }
        calls
    };
    turn(&mut rig);
    for _ in 0..50 {
        round(&mut rig);
    }
    let mut calls: u64 = (0..2000).map(|_| round(&mut rig)).sum();
    assert_eq!(calls, 0, "calls of the allocator, rounds");
    for number in 0..50 {
        let (giver, taker) = (number % 2, 1 - number % 2);
        let ports = vec![own[0]];
        let expected = Expected::new(vec![mac(0)], ports.clone(), 64);
        let luggage = Luggage::new(vec![vnics[0]], ports, 16);
        rig.seats[taker].tell(Command::Expect(Box::new(expected)));
        calls += round(&mut rig);
        let to = WorkerId(taker as u8);
        rig.world.view.steering.give(Bucket::of(mac(0)), to);
        rig.world.change_port(own[0], |port| port.owner = to);
        rig.publish();
        calls += round(&mut rig);
        rig.seats[giver].tell(Command::Part(Box::new(luggage)));
        let parted = answers(&mut rig, giver, &mut calls);
        let luggage = parted.into_iter().find_map(|reply| match reply {
            Reply::Parted(luggage) => Some(luggage),
            _ => None,
        });
        calls += round(&mut rig);
        rig.seats[taker].tell(Command::Arrive(luggage.expect("a luggage")));
        calls += round(&mut rig);
        let arrived = answers(&mut rig, taker, &mut calls);
        assert!(
            arrived
                .iter()
                .any(|reply| matches!(reply, Reply::Arrived(..)))
        );
    }
    assert_eq!(calls, 0, "calls of the allocator, moves");
    let sum =
        |of: fn(&WorkerCells) -> u64| rig.seats.iter().map(|seat| of(&seat.cells)).sum::<u64>();
    assert!(sum(|cells| cells.steered_in.get()) > 1000);
    assert!(sum(|cells| cells.handoff_in.get()) > 1000);
    assert!(sum(|cells| cells.waiting.get()) > 10);
    assert!(rig.dropped(Reason::QueueFull) > 100, "{:?}", rig.drops());
    // What waits is due long since.
    for _ in 0..2000 {
        for seat in &rig.seats {
            seat.cells.now.add(HZ / 2000);
        }
        turn(&mut rig);
        rig.lines.values_mut().for_each(|line| {
            line.discard();
        });
    }
    rig.close();
}
