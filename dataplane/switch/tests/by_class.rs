//! What a vNIC sends is counted by traffic class: each frame that asks to leave has left, waits or was dropped, whichever way it goes and
//! whatever becomes of it, with its sender's own bytes.

mod shaping_host;

use shaping_host::{A, B, C, CA_A, CA_B, CA_C, Host, max, mbit};
use std::net::{IpAddr, Ipv4Addr};
use weir_switch::frame::L4Checksum;
use weir_switch::leave::{self, Shaper};
use weir_switch::shape::{Parcel, Settings};
use weir_switch::testing::frames::{Field, ether, ipv4 as ipv4_packet, l4, tenant};
use weir_switch::testing::world::UPLINK_PORT;
use weir_switch::testing::{HZ, Kept};
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Promise};
use weir_tables::by_class::ClassCount;
use weir_tables::filters::{Filters, Rule};
use weir_tables::ids::WorkerId;
use weir_tables::offloads::Offloads;
use weir_tables::reason::Reason;
use weir_wire::{Mac, ipv4};

/// Bytes of each frame, without its outer headers.
const LENGTH: u64 = 1042;

/// What has the DSCP of 1 or of 7 is of that class, of which the first has 1 Mbit/s.
fn host() -> Host {
    let mut host = shaping_host::host();
    let class = |max| Class {
        name: "c".into(),
        share: 10,
        max,
        tc: 0,
        dscp: None,
        pcp: None,
    };
    let mut link = Link::plain(Pace::UNLIMITED);
    link.classes = (1..8)
        .map(|class_id| match class_id {
            1 => class(mbit(1)),
            _ => class(Pace::UNLIMITED),
        })
        .collect();
    host.world.link(Some(link));
    let rules = [1, 7].map(|class| Rule {
        class: ClassId(class),
        dscp: Some(class),
        ..Rule::default()
    });
    host.world.classify(Filters::of(&rules, ClassId::NONE));
    host
}

fn frame(dst: Mac, ca: Ipv4Addr, class: u8) -> Vec<u8> {
    let mut frame = tenant(dst, A, CA_A, ca, &[0; 1000]);
    ipv4::set_tos(frame[14..].first_chunk_mut().unwrap(), class << 2);
    assert_eq!(frame.len() as u64, LENGTH);
    frame
}

impl Host {
    /// From A, at once.
    fn send(&mut self, frames: &[Vec<u8>]) {
        let port = self.world.port_of(self.a).unwrap();
        for frames in frames.chunks(32) {
            let frames = frames.iter().map(|frame| self.world.herd.frame(frame));
            let frames: Vec<_> = frames.collect();
            self.world.receive(port, frames);
        }
        self.world.assert_conserved();
    }

    /// Packets sent, waiting and dropped of A in a class, each of [`LENGTH`].
    fn count(&self, class: u8) -> (u64, u64, u64) {
        self.count_at(0, class)
    }

    /// The same of what a worker has counted.
    fn count_at(&self, worker: usize, class: u8) -> (u64, u64, u64) {
        let cells = &self.world.view.vnic(self.a).unwrap().cells[worker];
        let count = cells.classes.of(ClassId(class)).expect("room").count();
        let bytes = |packets| packets * LENGTH;
        let packets = (
            count.sent_packets,
            count.queued_packets,
            count.dropped_packets,
        );
        let (sent_bytes, queued_bytes, dropped_bytes) =
            (bytes(packets.0), bytes(packets.1), bytes(packets.2));
        let wanted = ClassCount {
            sent_bytes,
            queued_bytes,
            dropped_bytes,
            ..count
        };
        assert_eq!(count, wanted, "class {class}");
        packets
    }
}

#[test]
fn what_leaves_at_once_and_what_waited_is_sent_in_its_class() {
    let mut host = host();
    // In one batch, by turns: runs of one frame each.
    let mixed: Vec<_> = (0..30)
        .map(|at| frame(C, CA_C, [0, 1, 7][at % 3]))
        .collect();
    host.send(&mixed);
    assert_eq!((host.count(0), host.count(7)), ((10, 0, 0), (10, 0, 0)));
    assert_eq!(host.count(1), (1, 9, 0));
    host.pass(500);
    assert_eq!(host.count(1), (10, 0, 0));
    // All of a batch: one run.
    let alike: Vec<_> = (0..20).map(|_| frame(C, CA_C, 7)).collect();
    host.send(&alike);
    assert_eq!(host.count(7), (30, 0, 0));
    // To a vNIC here, and for the sender's own maximum, too.
    host.world.promise(host.a, Some(max(1)));
    let here: Vec<_> = (0..5).map(|_| frame(B, CA_B, 7)).collect();
    host.send(&here);
    let (sent, waits, dropped) = host.count(7);
    assert_eq!((sent + waits, dropped), (35, 0));
    assert!(waits > 0, "{waits}");
    host.pass(500);
    assert_eq!(host.count(7), (35, 0, 0));
}

/// As a frame does whose checksum is left to the uplink's device: it is in no run.
#[test]
fn what_leaves_alone_is_counted_too() {
    let mut host = host();
    host.world.change_port(UPLINK_PORT, |port| {
        port.offloads = Offloads::TUNNEL_CHECKSUM;
    });
    // Of 7 it leaves at once; of 1 what is more than its maximum allows waits.
    for (class, wanted) in [(7, (1, 0, 0)), (1, (1, 0, 0)), (1, (1, 1, 0))] {
        let addresses = (IpAddr::V4(CA_A), IpAddr::V4(CA_C));
        let segment = l4(6, addresses, (4000, 80), &[7; 988], Field::Pseudo);
        let mut bytes = ether(C, A, 0x0800, &ipv4_packet(CA_A, CA_C, 6, &segment));
        ipv4::set_tos(bytes[14..].first_chunk_mut().unwrap(), class << 2);
        assert_eq!(bytes.len() as u64, LENGTH);
        let mut frame = host.world.herd.frame(&bytes);
        frame.checksum = L4Checksum::Partial;
        host.world.send_frame(host.a, frame);
        host.world.assert_conserved();
        assert_eq!(host.count(class), wanted);
    }
}

/// What waits for what its receiver may get has been sent by its sender, in its class; it is nothing of the receiver's.
#[test]
fn what_waits_for_its_receiver_was_sent() {
    let mut host = host();
    let promise = Promise {
        max_rx: mbit(1),
        ..Promise::default()
    };
    host.world.promise(host.b, Some(promise));
    let here: Vec<_> = (0..5).map(|_| frame(B, CA_B, 7)).collect();
    host.send(&here);
    assert!(host.world.kept.shaper.queued() > 0);
    assert_eq!(host.count(7), (5, 0, 0));
    // What may not even wait for it was refused to the receiver, and is of no class.
    let many: Vec<_> = (0..100).map(|_| frame(B, CA_B, 7)).collect();
    host.send(&many);
    assert_eq!(host.count(7), (105, 0, 0));
    let receiver = &host.world.view.vnic(host.b).unwrap().cells[0].classes;
    assert!(
        receiver
            .iter()
            .all(|(_, cells)| cells.count() == ClassCount::default())
    );
    let drops = host.world.drops();
    let [(Reason::QueueFull, full)] = drops[..] else {
        panic!("{drops:?}");
    };
    assert_eq!(receiver.unclassed.get(), full);
}

#[test]
fn what_may_not_wait_is_dropped_in_its_class() {
    let mut host = host();
    let many: Vec<_> = (0..200).map(|_| frame(C, CA_C, 1)).collect();
    host.send(&many);
    let (sent, waits, dropped) = host.count(1);
    assert_eq!(sent + waits + dropped, 200);
    assert!(dropped > 0);
    let drops = host.world.drops();
    let full = drops.iter().find(|drop| drop.0 == Reason::QueueFull);
    assert_eq!(full.map(|drop| drop.1), Some(dropped));
    assert_eq!((host.count(0), host.count(7)), ((0, 0, 0), (0, 0, 0)));
    // And what waits when its port is closed.
    host.world.close(UPLINK_PORT);
    host.world.assert_conserved();
    assert_eq!(host.count(1), (sent, 0, dropped + waits));
}

#[test]
fn what_goes_to_another_worker_and_finds_no_room_there_is_dropped_in_its_class() {
    let mut host = host();
    let many: Vec<_> = (0..10).map(|_| frame(C, CA_C, 1)).collect();
    host.send(&many);
    assert_eq!(host.count(1), (1, 9, 0));
    let mut parcel = Parcel::with_room(9);
    let world = &mut host.world;
    let ledger = world.kept.ledger.clone();
    let shaper = &mut world.kept.shaper;
    let packed = leave::pack(&world.view, &ledger, host.a, shaper, &mut parcel);
    ledger.cells().handoff_out.add(packed as u64);
    // Room for four.
    let mut other = Kept::of(WorkerId(1));
    other.shaper = Shaper::new(Settings::new(HZ, 4, 8, 1));
    let ledger = other.ledger.clone();
    ledger.cells().handoff_in.add(packed as u64);
    leave::unpack(&world.view, &ledger, &mut other.shaper, &mut parcel);
    assert_eq!(packed, 9);
    assert_eq!(ledger.cells().came(), ledger.cells().went());
    assert_eq!(
        (host.count_at(0, 1), host.count_at(1, 1)),
        ((1, 0, 0), (0, 4, 5))
    );
}
