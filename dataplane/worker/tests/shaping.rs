//! Bandwidths in the worker that ships: a ring that keeps what is not taken is left alone, what a device pushes back waits, what
//! a vNIC may receive is asked where its queue is, nobody empties the pool, and everything comes back.

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;

use common::{Options, Rig};
use weir_switch::testing::HZ;
use weir_switch::testing::frames;
use weir_switch::testing::world::{PEER_MAC, UPLINK_PORT, World};
use weir_tables::bandwidth::{Link, Pace, Promise};
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::view::Party;
use weir_wire::Mac;
use weir_worker::command::{Command, Luggage, Reply};

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

fn mbit(rate: u64) -> Pace {
    Pace::of(rate * 1_000_000, HZ)
}

fn max(rate: u64) -> Promise {
    Promise {
        max: mbit(rate),
        ..Promise::default()
    }
}

/// This many vNICs of one tenant, and 99 behind a peer.
fn host(count: u8) -> (World, Vec<VnicId>) {
    let mut world = World::new(256, None);
    let segment = world.segment(5001);
    let vnics = (0..count)
        .map(|i| world.vnic(segment, mac(i), ca(i)))
        .collect();
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(segment, mac(99), ca(99), peer);
    (world, vnics)
}

/// From one to another, with a number in it.
fn frame(to: u8, from: u8, number: u32) -> Vec<u8> {
    let mut data = vec![0; 1000];
    data[..4].copy_from_slice(&number.to_be_bytes());
    frames::tenant(mac(to), mac(from), ca(from), ca(to), &data)
}

fn number(frame: &[u8]) -> u32 {
    let at = frame.len() - 1000;
    u32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
}

fn send(rig: &mut Rig, port: PortId, frames: &[Vec<u8>]) {
    for some in frames.chunks(32) {
        rig.inject(port, some.iter().map(Vec::as_slice));
        rig.settle();
    }
}

fn waiting(rig: &Rig) -> u64 {
    rig.seats.iter().map(|seat| seat.cells.waiting.get()).sum()
}

/// Time passes on every worker, in turns of half a millisecond.
fn pass(rig: &mut Rig, milliseconds: u64) {
    for _ in 0..milliseconds * 2 {
        for seat in &rig.seats {
            seat.cells.now.add(HZ / 2000);
        }
        rig.settle();
    }
}

#[test]
fn a_ring_that_keeps_the_rest_is_left_alone_and_loses_nothing_while_others_go_on() {
    let (mut world, vnics) = host(2);
    let ports = [0, 1].map(|i| world.port_of(vnics[i]).unwrap());
    world.promise(vnics[0], Some(max(10)));
    for port in ports {
        world.change_port(port, |port| port.pushes_back = true);
    }
    let mut rig = Rig::new(world);
    let all: Vec<_> = (0..400).map(|at| frame(99, 0, at)).collect();
    send(&mut rig, ports[0], &all);
    // 50 ms of 10 Mbit/s are 60 such frames: the ring has the others.
    let received = rig.seats[0].cells.received.get();
    assert!((60..=130).contains(&received), "{received}");
    send(
        &mut rig,
        ports[1],
        &(0..100).map(|at| frame(99, 1, at)).collect::<Vec<_>>(),
    );
    assert_eq!(rig.seats[0].cells.received.get(), received + 100);
    let mut came = Vec::new();
    for _ in 0..400 {
        pass(&mut rig, 1);
        let out = rig.take(UPLINK_PORT);
        let of = |frame: &&Vec<u8>| frame[42 + 11] == 0;
        came.extend(out.iter().filter(of).map(|frame| number(frame)));
        rig.assert_conserved();
    }
    assert_eq!(came, Vec::from_iter(0..400));
    assert_eq!(rig.drops().len(), 0, "{:?}", rig.drops());
    rig.close();
}

#[test]
fn one_who_fills_its_queues_leaves_a_quarter_of_the_pool_and_costs_others_nothing() {
    let (mut world, vnics) = host(3);
    // So much may wait by time that only room is a bound.
    world.promise(vnics[0], Some(max(1)));
    world.promise(vnics[1], Some(max(1000)));
    world.link(Some(Link::plain(mbit(8000))));
    let ports: Vec<_> = vnics.iter().map(|&id| world.port_of(id).unwrap()).collect();
    // A link that is busy, of which the first has all: 50 ms of it are 40,000 frames.
    world.promise(vnics[0], None);
    let options = Options {
        feed: 2047,
        waiting: 1023,
        ..Options::default()
    };
    let mut rig = Rig::with(world, options);
    let burst: Vec<_> = (0..32).map(|at| frame(99, 0, at)).collect();
    // The line takes nothing: everything of the first waits, as far as it may.
    for _ in 0..100 {
        if rig.feed.available() < 64 {
            break;
        }
        send(&mut rig, ports[0], &burst);
    }
    let used = rig.feed.in_use();
    assert!(
        rig.dropped(Reason::QueueFull) > 0,
        "it had to fill its queue"
    );
    assert!(used <= 2047 * 3 / 4, "{used} of 2,047 mbufs wait");
    // Another's: none is lost, on the same uplink and to a vNIC here.
    let before: u64 = rig.drops().values().sum();
    send(
        &mut rig,
        ports[1],
        &(0..30).map(|at| frame(2, 1, at)).collect::<Vec<_>>(),
    );
    send(
        &mut rig,
        ports[1],
        &(0..30).map(|at| frame(99, 1, at)).collect::<Vec<_>>(),
    );
    assert_eq!(rig.drops().values().sum::<u64>(), before);
    assert_eq!(rig.take(ports[2]).len(), 30);
    let mut came = 0;
    for _ in 0..100 {
        pass(&mut rig, 1);
        let out = rig.take(UPLINK_PORT);
        came += out.iter().filter(|frame| frame[42 + 11] == 1).count();
    }
    assert_eq!(came, 30);
    rig.assert_conserved();
    rig.close();
}

#[test]
fn what_a_vnic_may_receive_is_asked_where_its_queue_is() {
    let (mut world, vnics) = host(2);
    let ports = [0, 1].map(|i| world.port_of(vnics[i]).unwrap());
    let receive = Promise {
        max_rx: mbit(10),
        ..Promise::default()
    };
    world.promise(vnics[1], Some(receive));
    world.change_port(ports[1], |port| port.owner = WorkerId(1));
    let options = Options {
        workers: 2,
        ..Options::default()
    };
    let mut rig = Rig::with(world, options);
    send(
        &mut rig,
        ports[0],
        &(0..20).map(|at| frame(1, 0, at)).collect::<Vec<_>>(),
    );
    rig.settle();
    let [first, second] = [0, 1].map(|seat: usize| rig.seats[seat].cells.waiting.get());
    assert_eq!(first, 0);
    assert!(second > 10, "{second}");
    pass(&mut rig, 40);
    let came: Vec<u32> = rig
        .take(ports[1])
        .iter()
        .map(|frame| number(frame))
        .collect();
    assert_eq!(came, Vec::from_iter(0..20));
    assert_eq!(waiting(&rig), 0);
    rig.assert_conserved();
    rig.close();
}

/// What was handed over counts as what was not: without the tag of its trunk.
#[test]
fn what_a_vnic_on_a_trunk_receives_is_its_own_bytes_whoever_decided_on_it() {
    for owner in [0, 1] {
        let (mut world, vnics) = host(1);
        let trunk = world.trunk(Party::TrunkByVlan);
        let segment = world.view.vnic(vnics[0]).unwrap().segment;
        let member = world.vnic_on(segment, mac(7), ca(7), trunk, Some(100));
        let receive = Promise {
            max_rx: mbit(1),
            ..Promise::default()
        };
        world.promise(member, Some(receive));
        world.change_port(trunk, |port| port.owner = WorkerId(owner));
        let port = world.port_of(vnics[0]).unwrap();
        let options = Options {
            workers: 2,
            ..Options::default()
        };
        let mut rig = Rig::with(world, options);
        let frames: Vec<_> = (0..5).map(|at| frame(7, 0, at)).collect();
        send(&mut rig, port, &frames);
        let cells = &rig.world.view.vnic(member).unwrap().cells[usize::from(owner)];
        let waits = (cells.waiting.packets.get(), cells.waiting.bytes.get());
        assert_eq!(waits, (4, 4 * frames[0].len() as u64), "of worker {owner}");
        pass(&mut rig, 100);
        assert_eq!(rig.take(trunk).len(), 5);
        rig.assert_conserved();
        rig.close();
    }
}

#[test]
fn a_port_that_closes_a_vnic_that_leaves_and_a_worker_that_ends_give_everything_back() {
    for way in 0..3 {
        let (mut world, vnics) = host(2);
        let ports = [0, 1].map(|i| world.port_of(vnics[i]).unwrap());
        world.promise(vnics[0], Some(max(1)));
        let mut rig = Rig::new(world);
        send(
            &mut rig,
            ports[0],
            &(0..5).map(|at| frame(99, 0, at)).collect::<Vec<_>>(),
        );
        send(
            &mut rig,
            ports[0],
            &(0..2).map(|at| frame(1, 0, at)).collect::<Vec<_>>(),
        );
        assert_eq!(waiting(&rig), 6);
        match way {
            0 => {
                rig.seats[0].tell(Command::Forget(vnics[1]));
                rig.settle();
                assert_eq!(waiting(&rig), 4, "those for who is still there");
                rig.seats[0].tell(Command::Forget(vnics[0]));
                rig.settle();
                assert_eq!(waiting(&rig), 0);
                assert_eq!(rig.dropped(Reason::PortClosed), 6);
            }
            1 => {
                let view = Arc::new(rig.world.view.clone());
                rig.seats[0].tell(Command::View(view));
                rig.settle();
                pass(&mut rig, 100);
                assert_eq!(waiting(&rig), 0);
            }
            _ => {}
        }
        rig.assert_conserved();
        // What waits yet is dropped with the ports, and no mbuf is missing.
        rig.close();
    }
}

#[test]
fn what_waits_of_a_vnic_moves_with_it_and_its_due_time_too() {
    let (mut world, vnics) = host(1);
    let port = world.port_of(vnics[0]).unwrap();
    world.promise(vnics[0], Some(max(10)));
    let options = Options {
        workers: 2,
        ..Options::default()
    };
    let mut rig = Rig::with(world, options);
    send(
        &mut rig,
        port,
        &(0..20).map(|at| frame(99, 0, at)).collect::<Vec<_>>(),
    );
    let before = waiting(&rig);
    assert_eq!(rig.seats[0].cells.waiting.get(), before);
    let luggage = Box::new(Luggage::new(vec![vnics[0]], Vec::new(), 0));
    rig.seats[0].tell(Command::Part(luggage));
    rig.seats[0].worker.turn();
    let Ok(Reply::Parted(luggage)) = rig.seats[0].replies.pop() else {
        panic!("no answer");
    };
    assert_eq!(waiting(&rig), 0);
    rig.seats[1].tell(Command::Arrive(luggage));
    rig.seats[1].worker.turn();
    let after = rig.seats[1].cells.waiting.get();
    assert_eq!((rig.seats[0].cells.waiting.get(), after), (0, before));
    pass(&mut rig, 30);
    let came: Vec<u32> = rig
        .take(UPLINK_PORT)
        .iter()
        .map(|frame| number(frame))
        .collect();
    assert_eq!(came, Vec::from_iter(0..20));
    rig.assert_conserved();
    rig.close();
}

#[test]
fn what_a_device_pushes_back_waits_in_order() {
    let (mut world, vnics) = host(1);
    let port = world.port_of(vnics[0]).unwrap();
    world.link(Some(Link::plain(Pace::UNLIMITED)));
    let mut rig = Rig::new(world);
    let (mut sent, mut came) = (0, Vec::new());
    // More than the line's ring and the buffer before it have room for, less than may wait.
    while waiting(&rig) < 64 {
        let some: Vec<_> = (sent..sent + 32).map(|at| frame(99, 0, at)).collect();
        send(&mut rig, port, &some);
        sent += 32;
        assert!(sent < 5000, "a ring has an end");
    }
    for _ in 0..40 {
        came.extend(rig.take(UPLINK_PORT).iter().map(|frame| number(frame)));
        rig.settle();
    }
    assert_eq!(rig.drops().len(), 0, "{:?}", rig.drops());
    assert_eq!(came, Vec::from_iter(0..sent));
    rig.close();
}
