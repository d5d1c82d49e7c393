//! A worker that is measured, or that rests: what control learns, and that packets do not notice.

mod common;

use std::net::Ipv4Addr;

use common::Rig;
use weir_switch::lap::Stage;
use weir_switch::testing::frames;
use weir_switch::testing::world::{PEER_MAC, UPLINK_PORT, World};
use weir_tables::ids::PortId;
use weir_wire::Mac;
use weir_worker::command::Command;

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

/// A vNIC here, one behind a peer, and a frame from the one to the other.
fn rig() -> (Rig, PortId, Vec<u8>) {
    let mut world = World::new(256, None);
    let peer = world.peer(PA, Some(PEER_MAC));
    let segment = world.segment(5001);
    let here = world.vnic(segment, mac(0), ca(0));
    let port = world.port_of(here).expect("a port");
    world.remote(segment, mac(3), ca(3), peer);
    let frame = frames::tenant(mac(3), mac(0), ca(0), ca(3), &[0; 18]);
    (Rig::new(world), port, frame)
}

#[test]
fn each_stage_has_its_cycles_and_packets_go_on_as_before() {
    let (mut rig, port, frame) = rig();
    rig.inject(port, [&frame[..]]);
    rig.settle();
    let plain = rig.take(UPLINK_PORT);
    let stages = |rig: &Rig| {
        let cells = &rig.seats[0].cells.stages;
        Stage::ALL.map(|stage| {
            let at = stage as usize;
            (cells.cycles[at].get(), cells.laps[at].get())
        })
    };
    assert_eq!(stages(&rig), [(0, 0); 5], "nobody measures");

    rig.seats[0].tell(Command::Measure(true));
    rig.settle();
    assert!(rig.seats[0].cells.stages.lap_millicycles.get() > 0);
    assert_eq!(
        stages(&rig),
        [(0, 0); 5],
        "what the clock itself costs is no stage's"
    );
    for _ in 0..3 {
        rig.inject(port, [&frame[..], &frame[..]]);
        rig.settle();
    }
    let measured = rig.take(UPLINK_PORT);
    assert_eq!(measured.len(), 6);
    assert_eq!(measured[0], plain[0]);
    assert_eq!(rig.seats[0].cells.stages.packets.get(), 6);
    for (stage, (cycles, laps)) in Stage::ALL.iter().zip(stages(&rig)) {
        assert!(cycles > 0, "{stage:?}");
        assert_eq!(laps, 3, "{stage:?}");
    }

    rig.seats[0].tell(Command::Measure(false));
    let before = stages(&rig);
    rig.inject(port, [&frame[..]]);
    rig.settle();
    assert_eq!((stages(&rig), rig.take(UPLINK_PORT).len()), (before, 1));
    rig.close();
}

#[test]
fn a_worker_that_rests_receives_nothing_and_counts_stand_still() {
    let (mut rig, port, frame) = rig();
    rig.settle();
    rig.seats[0].tell(Command::Rest(true));
    rig.settle();
    rig.inject(port, [&frame[..]]);
    rig.settle();
    let cells = rig.seats[0].cells.clone();
    assert_eq!((cells.rests.get(), cells.came(), cells.went()), (1, 0, 0));
    // Once more says nothing new.
    rig.seats[0].tell(Command::Rest(true));
    rig.settle();
    assert_eq!(cells.came(), 0);
    rig.seats[0].tell(Command::Rest(false));
    rig.settle();
    assert_eq!(cells.rests.get(), 0);
    assert_eq!((cells.received.get(), cells.sent.get()), (1, 1));
    assert_eq!(rig.take(UPLINK_PORT).len(), 1);
    rig.close();
}

/// Also while it rests a port is given back whole, and one that comes is polled from when the rest is over.
#[test]
fn ports_come_and_go_while_it_rests() {
    let (mut rig, port, frame) = rig();
    rig.settle();
    rig.seats[0].tell(Command::Rest(true));
    rig.settle();
    let (rx, tx) = rig.take_back(port);
    assert_eq!((rx.len(), tx.len()), (1, 1));
    for tx in tx {
        rig.seats[0].tell(Command::AddTx(port, tx));
    }
    for rx in rx {
        rig.seats[0].tell(Command::AddRx(port, rx));
    }
    rig.inject(port, [&frame[..]]);
    rig.settle();
    assert_eq!(rig.seats[0].cells.received.get(), 0);
    rig.seats[0].tell(Command::Rest(false));
    rig.settle();
    assert_eq!(rig.seats[0].cells.received.get(), 1);
    rig.take(UPLINK_PORT);
    rig.seats[0].tell(Command::Rest(true));
    rig.settle();
    // Closing finds every queue, or says so.
    rig.close();
}
