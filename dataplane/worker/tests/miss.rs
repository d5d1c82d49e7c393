//! What a worker holds until control says where it goes: mbufs that are counted, that come back, and that no other tenant gets.

mod common;

use std::net::Ipv4Addr;

use common::{Options, Rig};
use weir_switch::outlet::Event;
use weir_switch::testing::frames;
use weir_switch::testing::world::{PEER_MAC, UPLINK_PORT, World};
use weir_switch::testing::{HELD, HZ};
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PeerId, PortId, SegmentId, VnicId, WorkerId};
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

/// A tenant whose records come when they are asked for, with vNICs 11 and 12 here.
struct Host {
    rig: Rig,
    segment: SegmentId,
    peer: PeerId,
    vnics: [VnicId; 2],
    ports: [PortId; 2],
}

fn host(options: Options) -> Host {
    let mut world = World::new(256, None);
    let domain = world.domain();
    let segment = world.subnet(domain, 5001, Ipv4Addr::new(10, 1, 0, 1));
    world.on_miss(domain, true);
    let peer = world.peer(PA, Some(PEER_MAC));
    let vnics = [11, 12].map(|i| world.vnic(segment, mac(i), ca(i)));
    let ports = vnics.map(|vnic| world.port_of(vnic).expect("a port"));
    // The second worker, if there is one, has the second vNIC.
    if options.workers > 1 {
        world.change_port(ports[1], |port| port.owner = WorkerId(1));
    }
    Host {
        rig: Rig::with(world, options),
        segment,
        peer,
        vnics,
        ports,
    }
}

impl Host {
    /// Numbered packets of 11 or 12 to somebody's MAC.
    fn send(&mut self, from: usize, to: u8, numbers: std::ops::Range<u8>) {
        let own = [11, 12][from];
        let packet = |n| frames::tenant(mac(to), mac(own), ca(own), ca(to), &[n]);
        let all: Vec<Vec<u8>> = numbers.map(packet).collect();
        self.rig
            .inject(self.ports[from], all.iter().map(Vec::as_slice));
        self.rig.settle();
    }

    fn by_mac(&self, i: u8) -> Destination {
        Destination::Mac(self.segment, mac(i))
    }

    fn tell(&mut self, command: impl Fn() -> Command) {
        self.rig
            .seats
            .iter_mut()
            .for_each(|seat| seat.tell(command()));
        self.rig.settle();
    }

    fn remote(&mut self, i: u8) {
        self.rig
            .world
            .record(self.segment, mac(i), ca(i), self.peer);
    }

    /// The numbers of what left by the uplink.
    fn sent(&mut self) -> Vec<u8> {
        let out = self.rig.take(UPLINK_PORT);
        out.iter().map(|bytes| bytes[42 + 14 + 20 + 8]).collect()
    }

    fn questions(&mut self) -> Vec<Destination> {
        let seats = self.rig.seats.iter_mut();
        let events = seats.flat_map(|seat| std::iter::from_fn(|| seat.events.pop().ok()));
        let asked = events.map(|event| match event {
            Event::Miss { to, .. } => to,
            other => panic!("{other:?}"),
        });
        asked.collect()
    }

    fn held(&self) -> u64 {
        self.rig
            .seats
            .iter()
            .map(|seat| seat.cells.held.get())
            .sum()
    }

    fn wait(&mut self, cycles: u64) {
        for seat in &self.rig.seats {
            seat.cells.now.add(cycles);
        }
        self.rig.settle();
    }
}

#[test]
fn held_packets_leave_in_order_when_the_answer_is_there() {
    let mut host = host(Options::default());
    host.send(0, 99, 0..3);
    assert_eq!((host.questions(), host.held()), (vec![host.by_mac(99)], 3));
    assert_eq!(host.rig.feed.in_use(), 3);
    host.rig.assert_conserved();
    // The record is in the table before the worker hears of it: nobody overtakes.
    host.remote(99);
    host.send(0, 99, 3..5);
    assert_eq!((host.sent(), host.held()), (vec![], 5));
    let to = host.by_mac(99);
    host.tell(|| Command::Found(to));
    host.send(0, 99, 5..6);
    assert_eq!(host.sent(), [0, 1, 2, 3, 4, 5]);
    host.rig.assert_conserved();
    host.rig.close();
}

#[test]
fn an_absent_one_is_refused_and_forgotten_when_the_policy_changes() {
    let mut host = host(Options::default());
    host.send(0, 99, 0..2);
    let to = host.by_mac(99);
    host.tell(|| Command::Absent(to));
    host.send(0, 99, 2..3);
    assert_eq!(host.rig.dropped(Reason::NoRecord), 3);
    assert_eq!(host.questions(), [to]);
    host.tell(|| Command::ForgetMisses);
    host.send(0, 99, 3..4);
    assert_eq!((host.questions(), host.held()), (vec![to], 1));
    host.wait(HZ);
    assert_eq!(host.rig.dropped(Reason::MissTimeout), 1);
    assert_eq!(host.rig.feed.in_use(), 0);
    host.rig.assert_conserved();
    host.rig.close();
}

#[test]
fn news_that_were_lost_are_told_again() {
    let mut host = host(Options::default());
    // As if control were slow: its ring is full.
    let seat = &mut host.rig.seats[0];
    let room = seat.events.buffer().capacity();
    let ask = frames::arp_request(PEER_MAC, PA, weir_switch::testing::world::OWN_PA);
    for _ in 0..room {
        host.rig.inject(UPLINK_PORT, [&ask[..]]);
        host.rig.settle();
    }
    host.send(0, 99, 0..1);
    while host.rig.seats[0].events.pop().is_ok() {}
    host.wait(HZ / 4);
    assert_eq!(host.questions(), [host.by_mac(99)]);
    host.rig.line(UPLINK_PORT).discard();
    host.wait(HZ);
    host.rig.assert_conserved();
    host.rig.close();
}

#[test]
fn each_worker_holds_its_own_and_one_answer_serves_all() {
    let mut host = host(Options {
        workers: 2,
        ..Options::default()
    });
    host.send(0, 99, 0..2);
    host.send(1, 99, 10..12);
    assert_eq!(host.questions(), [host.by_mac(99); 2]);
    assert_eq!(host.held(), 4);
    host.remote(99);
    let to = host.by_mac(99);
    host.tell(|| Command::Found(to));
    let sent = host.sent();
    let of = |range: std::ops::Range<u8>| -> Vec<u8> {
        sent.iter().copied().filter(|n| range.contains(n)).collect()
    };
    assert_eq!((of(0..10), of(10..20)), (vec![0, 1], vec![10, 11]));
    host.rig.assert_conserved();
    host.rig.close();
}

#[test]
fn what_is_held_of_a_vnic_that_leaves_ends_before_its_index_is_anothers() {
    let mut host = host(Options::default());
    let gone = host.vnics[0];
    host.send(0, 99, 0..2);
    host.send(1, 99, 10..11);
    let cells = host
        .rig
        .world
        .view
        .vnic(gone)
        .expect("a vNIC")
        .cells
        .clone();
    host.rig.gone.push(cells);
    host.rig.world.remove(gone);
    host.rig.publish();
    host.rig.settle();
    // Control says so after every worker has the view without it.
    host.tell(|| Command::Forget(gone));
    assert_eq!((host.rig.dropped(Reason::PortClosed), host.held()), (2, 1));
    host.rig.close_port(host.ports[0]);
    // Its index and its port are another tenant's now, who is at the same addresses.
    host.rig.world.settle();
    let red = host.rig.world.segment(6001);
    let next = host.rig.world.vnic(red, mac(11), ca(11));
    assert_eq!(next, gone);
    let port = host.rig.world.port_of(next).expect("a port");
    host.rig.publish();
    host.rig.open(port);
    host.rig.settle();
    host.remote(99);
    let to = host.by_mac(99);
    host.tell(|| Command::Found(to));
    assert_eq!(host.sent(), [10]);
    assert_eq!(host.rig.take(port), Vec::<Vec<u8>>::new());
    host.rig.assert_conserved();
    host.rig.close();
}

#[test]
fn a_new_view_and_a_closed_port_leave_what_is_held_as_it_is() {
    let mut host = host(Options::default());
    host.send(0, 99, 0..2);
    host.rig.publish();
    host.rig.settle();
    // The vNIC's device changes: it comes back with another.
    let port = host.ports[0];
    host.rig.close_port(port);
    host.rig.open(port);
    host.rig.settle();
    assert_eq!(host.held(), 2);
    host.remote(99);
    let to = host.by_mac(99);
    host.tell(|| Command::Found(to));
    assert_eq!(host.sent(), [0, 1]);
    host.rig.assert_conserved();
    host.rig.close();
}

#[test]
fn a_worker_that_stops_gives_back_what_it_holds() {
    let mut host = host(Options::default());
    host.send(0, 99, 0..3);
    host.send(1, 98, 10..12);
    assert_eq!((host.held(), host.rig.feed.in_use()), (5, 5));
    let seat = host.rig.seats.remove(0);
    let mut queues = seat.worker.finish(100);
    assert_eq!(seat.cells.held.get(), 0);
    assert_eq!(host.rig.feed.in_use(), 0, "an mbuf leaked");
    assert_eq!(host.rig.dropped(Reason::PortClosed), 5);
    assert_eq!(seat.cells.came(), seat.cells.went());
    for (port, line) in std::mem::take(&mut host.rig.lines) {
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        for (_, more_rx, more_tx) in queues.iter_mut().filter(|given| given.0 == port) {
            rx.append(more_rx);
            tx.append(more_tx);
        }
        line.close(rx, tx);
    }
}

#[test]
fn a_scan_holds_a_bounded_number_of_mbufs() {
    let mut host = host(Options::default());
    let bound = usize::from(HELD) * weir_switch::held::FRAMES;
    for round in 0..200_u32 {
        let all: Vec<Vec<u8>> = (0..32)
            .map(|i| {
                let [_, hi, mid, lo] = (round * 8 + i % 8).to_be_bytes();
                let to = Mac::new([2, 9, 9, hi, mid, lo]);
                frames::tenant(to, mac(11), ca(11), ca(99), &[i as u8])
            })
            .collect();
        host.rig
            .inject(host.ports[0], all.iter().map(Vec::as_slice));
        host.rig.settle();
        assert!(host.rig.feed.in_use() as usize <= bound);
        host.rig.assert_conserved();
    }
    assert!(host.held() > 0);
    // Another's packet is heard of, and held.
    host.questions();
    host.send(1, 99, 0..1);
    assert_eq!(host.questions(), [host.by_mac(99)]);
    assert_eq!(
        host.rig.dropped(Reason::MissOverflow)
            + host.rig.dropped(Reason::MissLimited)
            + host.held(),
        200 * 32 + 1
    );
    host.wait(HZ);
    assert_eq!((host.held(), host.rig.feed.in_use()), (0, 0));
    host.rig.close();
}

#[test]
fn an_idle_worker_looks_again_before_a_ring_is_full_and_when_what_is_held_is_due() {
    const GHZ: u64 = 1_000_000_000;
    let mut host = host(Options::default());
    let ports = host.ports;
    let patience = |host: &mut Host, port: usize, us: u32| {
        host.rig
            .world
            .change_port(ports[port], |port| port.patience_us = us);
        host.rig.publish();
        host.rig.settle();
    };
    let look = |host: &Host, now: u64| host.rig.seats[0].worker.look_again(now, GHZ);
    for port in [0, 1] {
        patience(&mut host, port, u32::MAX);
    }
    host.rig
        .world
        .change_port(UPLINK_PORT, |port| port.patience_us = u32::MAX);
    host.rig.publish();
    host.rig.settle();
    // The least patient of its ports says when, in its own time.
    assert_eq!(look(&host, 7), 7 + u64::from(u32::MAX) * 1000);
    patience(&mut host, 1, 34);
    assert_eq!(look(&host, 7), 7 + 34_000);
    patience(&mut host, 1, u32::MAX);
    // What is held is due when it is, whatever time it is now.
    host.send(0, 77, 0..1);
    assert_eq!(host.held(), 1);
    let due = look(&host, 0);
    assert!(due < u64::from(u32::MAX) * 1000, "{due}");
    assert_eq!(look(&host, due / 2), due);
    // And once it has gone nothing is due.
    let asker = host.vnics[0];
    host.tell(|| Command::Forget(asker));
    assert_eq!(host.held(), 0);
    assert_eq!(look(&host, 7), 7 + u64::from(u32::MAX) * 1000);
    host.rig.close();
}
