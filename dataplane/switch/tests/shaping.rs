//! Where frames meet bandwidths: whatever a vNIC makes the switch send waits when it must, by whichever way it goes, and leaves in its
//! order when it may; what a device pushes back waits too; nothing of a vNIC that has left leaves later.

mod shaping_host;

use shaping_host::{A, B, C, CA_A, CA_B, CA_C, CA_D, Host, PA, host, max, mbit};
use std::net::{IpAddr, Ipv4Addr};
use weir_switch::Frame;
use weir_switch::frame::{Gso, GsoKind, L4Checksum};
use weir_switch::leave;
use weir_switch::recorder::Note;
use weir_switch::shape::Parcel;
use weir_switch::testing::frames::{self, Field, ether, ipv4, l4, nvgre, tenant};
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_switch::testing::{HZ, Kept};
use weir_switch::watch::Step;
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Promise};
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::endpoints::Destination;
use weir_tables::filters::{Filters, Rule};
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::offloads::Offloads;
use weir_tables::reason::Reason;
use weir_tables::view::Party;
use weir_wire::{Mac, ipv4};

const NOBODY: Mac = Mac::new([2, 0, 0, 0, 1, 9]);
/// Outer headers of NVGRE over IPv4.
const OUTER: usize = 42;

/// UDP from A of so many payload bytes, of which the first are its number.
fn to(dst: Mac, ca: Ipv4Addr, number: u32, payload: usize) -> Vec<u8> {
    let mut data = vec![0; payload.max(4)];
    data[..4].copy_from_slice(&number.to_be_bytes());
    tenant(dst, A, CA_A, ca, &data)
}

/// Its number, behind so many bytes.
fn number(frame: &[u8]) -> u32 {
    let at = frame.len() - payload_of(frame);
    u32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
}

fn payload_of(frame: &[u8]) -> usize {
    let inner = if frame[23] == 47 {
        &frame[OUTER..]
    } else {
        frame
    };
    inner.len() - 42
}

impl Host {
    fn waiting(&self) -> u64 {
        let waiting = self.world.kept.shaper.queued();
        let cells = self.world.kept.ledger.cells();
        assert_eq!(cells.waiting.get(), waiting);
        waiting
    }

    fn waiting_of(&self, id: VnicId) -> (u64, u64) {
        let cells = &self.world.view.vnic(id).unwrap().cells[0];
        let waiting = &cells.waiting;
        (waiting.packets.get(), waiting.bytes.get())
    }

    fn take(&mut self) -> Vec<(PortId, Vec<u8>)> {
        self.world.assert_conserved();
        self.world.take()
    }

    fn dropped(&self, reason: Reason) -> u64 {
        let drops = self.world.drops();
        drops.iter().find(|d| d.0 == reason).map_or(0, |d| d.1)
    }

    /// A promise that A has used up for a long time.
    fn exhaust(&mut self) {
        self.world.promise(self.a, Some(max(1)));
        let long = to(B, CA_B, 0, 1400);
        let frames: Vec<_> = (0..3).map(|_| self.world.herd.frame(&long)).collect();
        self.world
            .receive(self.world.port_of(self.a).unwrap(), frames);
        // The one that is in time leaves, the others wait.
        assert_eq!(self.take().len(), 1);
        assert_eq!(self.waiting(), 2);
    }
}

#[test]
fn what_is_over_the_maximum_waits_and_leaves_at_its_rate_in_its_order() {
    let mut host = host();
    host.world.promise(host.a, Some(max(10)));
    let mut sent = 0_u32;
    let (mut came, mut bytes) = (Vec::new(), 0);
    // A second in steps of 1 ms, in each twice as much as it may send.
    for _ in 0..1000 {
        for _ in 0..2 {
            host.world.send(host.a, &to(C, CA_C, sent, 1250 - 42));
            sent += 1;
        }
        host.world.wait(HZ / 1000);
        for (port, frame) in host.take() {
            assert_eq!(port, UPLINK_PORT);
            bytes += frame.len() - OUTER;
            came.push(number(&frame));
        }
    }
    let most = 1_250_000 + 10 * 1250;
    assert!((1_240_000..=most).contains(&bytes), "{bytes}");
    assert!(came.is_sorted_by(|a, b| a < b), "its order is kept");
    // At most 50 ms of it wait, and the rest is dropped and counted.
    let (packets, waits) = host.waiting_of(host.a);
    assert_eq!(packets, host.waiting());
    assert!((60_000..=64_000).contains(&waits), "{waits}");
    assert!(host.dropped(Reason::QueueFull) > 800);
    assert_eq!(
        came.len() as u64 + packets + host.dropped(Reason::QueueFull),
        u64::from(sent)
    );
    // When it sends no more, all of it leaves, and then it is as if nothing had been.
    host.pass(500);
    assert_eq!(host.take().len() as u64, packets);
    assert_eq!((host.waiting(), host.waiting_of(host.a)), (0, (0, 0)));
    host.world.send(host.a, &to(C, CA_C, 0, 100));
    assert_eq!(host.take().len(), 1);
}

/// What counts are the vNIC's own bytes, however many headers they get.
#[test]
fn what_is_within_the_maximum_never_waits() {
    let mut host = host();
    host.world.promise(host.a, Some(max(10)));
    let port = host.world.port_of(host.a).unwrap();
    for _ in 0..1000 {
        // 20 frames of 60 bytes in a millisecond: 9.6 Mbit/s; 16.3 with their outer headers.
        for quarter in 0..4 {
            let frames: Vec<_> = (0..5)
                .map(|at| host.world.herd.frame(&to(C, CA_C, at, 60 - 42)))
                .collect();
            host.world.receive(port, frames);
            assert_eq!(host.waiting(), 0, "{quarter}");
            host.world.wait(HZ / 4000);
        }
        assert_eq!(host.take().len(), 20);
    }
}

/// A way for a frame of A's, and how many frames it becomes.
type Way = (&'static str, fn(&mut Host) -> u64);

fn send(host: &mut Host, bytes: &[u8]) -> u64 {
    host.world.send(host.a, bytes);
    1
}

const WAYS: [Way; 14] = [
    ("to another host", |host| send(host, &to(C, CA_C, 0, 100))),
    ("to a vNIC here", |host| send(host, &to(B, CA_B, 0, 100))),
    ("by its gateway", |host| {
        send(host, &to(GATEWAY_MAC, CA_D, 0, 100))
    }),
    ("a batch by several doors", |host| {
        let frames = [to(C, CA_C, 0, 100), to(B, CA_B, 1, 100)];
        let frames = frames.map(|bytes| host.world.herd.frame(&bytes));
        host.world
            .receive(host.world.port_of(host.a).unwrap(), frames);
        2
    }),
    ("to all", |host| {
        // One copy to B, one to the other host.
        let frame = tenant(Mac::BROADCAST, A, CA_A, Ipv4Addr::BROADCAST, b"all");
        send(host, &frame) + 1
    }),
    ("ARP to one", |host| {
        send(
            host,
            &ether(C, A, 0x0806, &frames::arp_request(A, CA_A, CA_C)[14..]),
        )
    }),
    ("in a tag of its own", |host| {
        let mut frame = to(C, CA_C, 0, 100);
        frames::tag(&mut frame, 0);
        send(host, &frame)
    }),
    ("fragments", |host| {
        // The uplink takes 1,572 bytes inside; without DF it is cut in two.
        let mut packet = frames::udp((CA_A, 1), (CA_C, 2), &[7; 2000]);
        packet[6] = 0;
        ipv4::set_tos(packet.first_chunk_mut().unwrap(), 0);
        let sum = weir_wire::checksum::checksum(&{
            let mut header: [u8; 20] = packet[..20].try_into().unwrap();
            (header[10], header[11]) = (0, 0);
            header
        });
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        send(host, &ether(C, A, 0x0800, &packet)) + 1
    }),
    ("segments", |host| {
        let mut frame = gso(host, 3000);
        frame.checksum = L4Checksum::Partial;
        host.world.send_frame(host.a, frame);
        3
    }),
    ("an unfinished checksum", |host| {
        let mut frame = gso(host, 500);
        frame.gso = None;
        host.world.send_frame(host.a, frame);
        1
    }),
    ("a checksum left to the uplink's device", |host| {
        host.world.change_port(UPLINK_PORT, |port| {
            port.offloads = Offloads::TUNNEL_CHECKSUM
        });
        let mut frame = gso(host, 500);
        frame.gso = None;
        host.world.send_frame(host.a, frame);
        1
    }),
    ("what was held", |host| {
        host.world.on_miss(host.domain, true);
        host.world
            .send(host.a, &to(NOBODY, Ipv4Addr::new(10, 1, 0, 99), 0, 100));
        assert_eq!(host.world.kept.held.frames(), 1);
        let ca = Ipv4Addr::new(10, 1, 0, 99);
        host.world.remote(host.segment, NOBODY, ca, host.peer);
        host.world
            .answer(Destination::Mac(host.segment, NOBODY), true);
        1
    }),
    ("while somebody looks", |host| {
        host.world.watch();
        let count = send(host, &to(C, CA_C, 0, 100));
        let seen = host.world.seen();
        let waits = host.waiting() > 0;
        let is_queued = |note: &Note| *note == Note::Step(Step::Queued);
        let is_out = |note: &Note| matches!(note, Note::Step(Step::Out { .. }));
        assert_eq!(seen.iter().any(|note| is_queued(&note.1)), waits);
        assert_eq!(seen.iter().any(|note| is_out(&note.1)), !waits);
        count
    }),
    ("while stages are timed", |host| {
        host.world.time();
        send(host, &to(C, CA_C, 0, 100))
    }),
];

/// TCP of A to C that stands for segments of 1,000 bytes.
fn gso(host: &Host, payload: usize) -> weir_switch::testing::VecFrame {
    let addresses = (IpAddr::V4(CA_A), IpAddr::V4(CA_C));
    let segment = l4(6, addresses, (4000, 80), &vec![7; payload], Field::Pseudo);
    let mut frame = host
        .world
        .herd
        .frame(&ether(C, A, 0x0800, &ipv4_packet(&segment)));
    frame.checksum = L4Checksum::Partial;
    frame.gso = Some(Gso {
        segment_size: 1000,
        kind: GsoKind::Tcp4,
    });
    frame
}

fn ipv4_packet(segment: &[u8]) -> Vec<u8> {
    ipv4(CA_A, CA_C, 6, segment)
}

#[test]
fn by_whichever_way_it_goes_it_waits() {
    for (name, way) in WAYS {
        let mut host = host();
        // Without a promise it leaves.
        let count = way(&mut host);
        assert_eq!(host.take().len() as u64, count, "{name}");
        let mut host = self::host();
        host.exhaust();
        let count = way(&mut host);
        assert_eq!(host.take().len(), 0, "{name}: something has left");
        assert_eq!(host.waiting(), 2 + count, "{name}");
        host.pass(500);
        assert_eq!(host.take().len() as u64, 2 + count, "{name}");
        assert_eq!(host.waiting(), 0, "{name}");
    }
}

#[test]
fn on_a_trunk_each_keeps_to_its_own_maximum() {
    for party in [Party::TrunkByMac, Party::TrunkByVlan] {
        let mut host = host();
        let trunk = host.world.trunk(party);
        let vlan = |vlan| (party == Party::TrunkByVlan).then_some(vlan);
        let macs = [1, 2].map(|i| Mac::new([2, 0, 0, 0, 2, i]));
        let cas = [1, 2].map(|i| Ipv4Addr::new(10, 1, 0, 100 + i));
        let ids = [0, 1].map(|i| {
            let vlan = vlan(100 + i as u16);
            host.world
                .vnic_on(host.segment, macs[i], cas[i], trunk, vlan)
        });
        host.world.promise(ids[0], Some(max(1)));
        let frame = |host: &Host, i: usize| {
            let mut bytes = tenant(C, macs[i], cas[i], CA_C, &[0; 1200]);
            if let Some(vlan) = vlan(100 + i as u16) {
                frames::tag(&mut bytes, vlan);
            }
            host.world.herd.frame(&bytes)
        };
        let batch: Vec<_> = (0..32).map(|i| frame(&host, i % 2)).collect();
        host.world.receive(trunk, batch);
        let out = host.take();
        let from = |mac: Mac| {
            let of = |frame: &&(PortId, Vec<u8>)| frame.1[OUTER + 6..OUTER + 12] == mac.octets();
            out.iter().filter(of).count()
        };
        assert_eq!((from(macs[0]), from(macs[1])), (1, 16), "{party:?}");
        let (packets, _) = host.waiting_of(ids[0]);
        assert_eq!(packets + host.dropped(Reason::QueueFull), 15);
    }
}

#[test]
fn what_a_vnic_receives_has_a_maximum_whoever_sends_it() {
    let receive = Promise {
        max_rx: mbit(1),
        ..Promise::default()
    };
    let from_wire = || {
        let inner = tenant(B, C, CA_C, CA_B, &[0; 1000]);
        nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 0, &inner)
    };
    let mut host = host();
    host.world.promise(host.b, Some(receive));
    // A batch from the wire, one that is not ordinary, and one from here.
    let batch: Vec<_> = (0..4)
        .map(|_| host.world.herd.frame(&from_wire()))
        .collect();
    host.world.receive(UPLINK_PORT, batch);
    assert_eq!(host.take().len(), 1);
    host.world.send(host.a, &to(B, CA_B, 0, 1000));
    let mut odd = host.world.herd.frame(&from_wire());
    odd.checksum = L4Checksum::Good;
    host.world.receive(UPLINK_PORT, [odd]);
    assert_eq!((host.take().len(), host.waiting()), (0, 5));
    assert_eq!(host.waiting_of(host.b).0, 5);
    assert_eq!(host.waiting_of(host.a).0, 0);
    host.pass(500);
    assert_eq!((host.take().len(), host.waiting()), (5, 0));
    // What B sends is another matter.
    for _ in 0..50 {
        host.world
            .send(host.b, &tenant(C, B, CA_B, CA_C, &[0; 1000]));
    }
    assert_eq!(host.take().len(), 50);
}

/// Both wait for a turn among what is for vNICs here: who is let send is behind whoever has waited for the receiver, also of the same turn.
#[test]
fn what_waited_for_its_receiver_is_before_what_is_sent_to_it_now() {
    for milliseconds in [1, 2, 5, 20] {
        let mut host = host();
        host.world.promise(host.a, Some(max(20)));
        let receives = Promise {
            max_rx: mbit(10),
            ..Promise::default()
        };
        host.world.promise(host.b, Some(receives));
        let mut came = Vec::new();
        for number in 0..200 {
            host.world.send(host.a, &to(B, CA_B, number, 300));
            if number % 20 == 19 {
                // In one leap: both may go on in one turn.
                host.world.wait(HZ / 1000 * milliseconds);
            }
            came.extend(host.take().iter().map(|(_, frame)| number_of(frame)));
        }
        host.pass(500);
        came.extend(host.take().iter().map(|(_, frame)| number_of(frame)));
        assert!(came.len() > 100, "{}", came.len());
        assert!(came.is_sorted(), "{milliseconds} ms: {came:?}");
    }
}

fn number_of(frame: &[u8]) -> u32 {
    u32::from_be_bytes(*frame[42..].first_chunk().unwrap())
}

/// On a trunk the port stays where it is: what its vNIC receives waits and counts there, whoever owns the vNIC.
#[test]
fn what_a_vnic_on_a_trunk_is_to_receive_stays_with_the_trunk_when_the_vnic_moves() {
    let mut host = host();
    let trunk = host.world.trunk(Party::TrunkByMac);
    let member = Mac::new([2, 0, 0, 0, 1, 8]);
    let ca = Ipv4Addr::new(10, 1, 0, 18);
    let id = host.world.vnic_on(host.segment, member, ca, trunk, None);
    let both = Promise {
        max_rx: mbit(1),
        ..max(1)
    };
    host.world.promise(id, Some(both));
    for number in 0..6 {
        host.world.send(host.a, &to(member, ca, number, 1000));
        let bytes = tenant(C, member, ca, CA_C, &[0; 1000]);
        host.world.send(id, &bytes);
    }
    let out = host.take();
    assert_eq!(out.iter().filter(|out| out.0 == trunk).count(), 1);
    assert_eq!((out.len(), host.waiting()), (2, 10));
    let mut parcel = Parcel::with_room(16);
    let (view, ledger) = (&host.world.view, host.world.kept.ledger.clone());
    let packed = leave::pack(view, &ledger, id, &mut host.world.kept.shaper, &mut parcel);
    ledger.cells().handoff_out.add(packed as u64);
    assert_eq!((packed, host.waiting()), (5, 5), "what it sends goes along");
    let mut other = Kept::of(WorkerId(1));
    leave::adopt(&mut other.shaper, None, view, ledger.now());
    other.ledger.cells().handoff_in.add(packed as u64);
    let ledger = other.ledger.clone();
    leave::unpack(view, &ledger, &mut other.shaper, &mut parcel);
    assert_eq!(other.shaper.queued(), 5);
    drop(other);
    // A frame of 1 KB takes 8 ms: others behind those that wait, as slowly as before.
    host.world.send(host.a, &to(member, ca, 6, 1000));
    assert_eq!(host.waiting(), 6);
    host.pass(25);
    let numbers = |host: &mut Host| -> Vec<u32> {
        let out = host.take();
        out.iter().map(|(_, frame)| number_of(frame)).collect()
    };
    let mut came = numbers(&mut host);
    assert!((2..=4).contains(&came.len()), "{came:?}");
    host.pass(500);
    came.extend(numbers(&mut host));
    assert_eq!(came, Vec::from_iter(1..7));
    // And who is on the way may not be sent to any faster either.
    for number in 0..3 {
        host.world.send(host.a, &to(member, ca, number, 1000));
    }
    assert_eq!((host.take().len(), host.waiting()), (1, 2));
}

#[test]
fn a_policer_drops_what_is_over_and_queues_nothing() {
    let mut host = host();
    let police = Promise {
        police: true,
        ..max(8)
    };
    host.world.promise(host.a, Some(police));
    let mut out = 0;
    for _ in 0..1000 {
        host.world.send(host.a, &to(C, CA_C, 0, 1000 - 42));
        host.world.send(host.a, &to(C, CA_C, 0, 1000 - 42));
        out += host.take().len();
        assert_eq!(host.waiting(), 0);
        host.world.wait(HZ / 1000);
    }
    assert!((1000..1010).contains(&out), "{out}");
    assert_eq!(host.dropped(Reason::Policed), 2000 - out as u64);
}

#[test]
fn who_understands_congestion_is_told_of_it_in_the_outermost_header() {
    for (tos, marked) in [(0, 0), (1, 3), (2, 3), (3, 3)] {
        let mut host = host();
        host.exhaust();
        let mut frame = to(C, CA_C, 0, 100);
        ipv4::set_tos(frame[14..].first_chunk_mut().unwrap(), tos);
        host.world.send(host.a, &frame);
        host.pass(500);
        let out = host.take();
        let (_, out) = out.iter().find(|out| out.0 == UPLINK_PORT).unwrap();
        assert_eq!(out[15], marked, "the outer one");
        assert_eq!(weir_wire::checksum::sum(&out[14..34]), 0xffff);
        assert_eq!(
            out[OUTER + 15],
            tos,
            "the inner one is the far end's to mark"
        );
        let cells = &host.world.view.vnic(host.a).unwrap().cells[0];
        assert_eq!(cells.marked.get(), u64::from(matches!(tos, 1 | 2)));
    }
    // What has not waited for long is not marked.
    let mut host = host();
    host.world.promise(host.a, Some(max(10)));
    let mut frame = to(C, CA_C, 0, 1000);
    ipv4::set_tos(frame[14..].first_chunk_mut().unwrap(), 2);
    for _ in 0..3 {
        host.world.send(host.a, &frame);
    }
    assert_eq!(host.waiting(), 2);
    host.world.wait(HZ / 1000);
    host.world.wait(HZ / 1000);
    let out = host.take();
    assert_eq!(out.len(), 3);
    assert!(out.iter().all(|(_, frame)| frame[15] == 2));
}

#[test]
fn what_is_longer_than_a_burst_is_cut_before_it_waits() {
    // A maximum's burst is 0.4 ms of it: 20,000 bytes at 400 Mbit/s, 500 at 10.
    for (rate, frames) in [(400, 1), (10, 3)] {
        let mut host = host();
        host.world.change_port(UPLINK_PORT, |port| {
            port.offloads = Offloads::TUNNEL_CHECKSUM.union(Offloads::TUNNEL_SEGMENTS);
        });
        host.world.promise(host.a, Some(max(rate)));
        let frame = gso(&host, 3000);
        host.world.send_frame(host.a, frame);
        host.pass(500);
        host.world.assert_conserved();
        let out = host.world.kept.out.drain(..);
        let gso: Vec<bool> = out.map(|(_, _, frame)| frame.gso().is_some()).collect();
        assert_eq!(gso, vec![frames == 1; frames], "{rate}");
    }
}

#[test]
fn what_a_device_pushes_back_waits_in_its_order_and_is_not_dropped() {
    let mut host = host();
    host.world.link(Some(Link::plain(Pace::UNLIMITED)));
    host.world.kept.room = 10;
    for at in 0..100 {
        host.world.send(host.a, &to(C, CA_C, at, 100));
    }
    assert_eq!((host.take().len(), host.waiting()), (10, 90));
    // What stays here is not held up.
    host.world.send(host.a, &to(B, CA_B, 0, 100));
    assert_eq!(host.take().len(), 1);
    let mut came = Vec::new();
    while host.waiting() > 0 {
        host.world.kept.room = 7;
        host.world.wait(1000);
        let out = host.take();
        assert!(!out.is_empty());
        came.extend(out.iter().map(|(_, frame)| number(frame)));
    }
    assert_eq!(came, Vec::from_iter(10..100));
    assert_eq!(host.dropped(Reason::TxFull), 0);
    // An uplink of which nothing is known is as it always was.
    let mut host = self::host();
    host.world.kept.room = 10;
    for at in 0..100 {
        host.world.send(host.a, &to(C, CA_C, at, 100));
    }
    assert_eq!((host.take().len(), host.waiting()), (10, 0));
    assert_eq!(host.dropped(Reason::TxFull), 90);
}

/// As one does whose checksum is left to the uplink's device: it is in no run, neither before it waits nor after.
#[test]
fn what_leaves_alone_waits_for_its_device_too() {
    let mut host = host();
    host.world.link(Some(Link::plain(Pace::UNLIMITED)));
    host.world.change_port(UPLINK_PORT, |port| {
        port.offloads = Offloads::TUNNEL_CHECKSUM;
    });
    host.world.kept.room = 0;
    for _ in 0..3 {
        let mut frame = gso(&host, 500);
        frame.gso = None;
        host.world.send_frame(host.a, frame);
        host.world.send(host.a, &to(C, CA_C, 0, 100));
    }
    assert_eq!((host.take().len(), host.waiting()), (0, 6));
    host.world.kept.room = 6;
    host.world.wait(1000);
    assert_eq!((host.take().len(), host.dropped(Reason::TxFull)), (6, 0));
}

/// That a device keeps what its vNIC sends says nothing of what others send to it, nor of a trunk, which is nobody's own.
#[test]
fn only_whose_own_ring_keeps_the_rest_may_wait_beyond_its_time() {
    // 50 ms of 1 Mbit/s is less than eight full frames: as many always may.
    let within = 8..13;
    let mut host = host();
    let receive = Promise {
        max_rx: mbit(1),
        ..Promise::default()
    };
    host.world.promise(host.b, Some(receive));
    let port = host.world.port_of(host.b).unwrap();
    host.world.change_port(port, |port| port.pushes_back = true);
    for at in 0..100 {
        host.world.send(host.a, &to(B, CA_B, at, 1000));
    }
    let waiting = host.waiting();
    assert!(within.contains(&waiting), "to B: {waiting}");

    let mut host = self::host();
    let trunk = host.world.trunk(Party::TrunkByMac);
    host.world
        .change_port(trunk, |port| port.pushes_back = true);
    let (mac, ca) = (Mac::new([2, 0, 0, 0, 2, 1]), Ipv4Addr::new(10, 1, 0, 101));
    let id = host.world.vnic_on(host.segment, mac, ca, trunk, None);
    host.world.promise(id, Some(max(1)));
    let frame = tenant(C, mac, ca, CA_C, &[0; 1000]);
    for _ in 0..100 {
        let frame = host.world.herd.frame(&frame);
        host.world.receive(trunk, [frame]);
    }
    let waiting = host.waiting();
    assert!(within.contains(&waiting), "on a trunk: {waiting}");
}

#[test]
fn an_uplink_is_shared_by_weight_and_never_faster_than_it_is() {
    let mut host = host();
    host.world.link(Some(Link::plain(mbit(100))));
    for (id, share) in [(host.a, 30), (host.b, 10)] {
        let promise = Promise {
            share,
            ..Promise::default()
        };
        host.world.promise(id, Some(promise));
    }
    let (mut bytes, mut wire) = ([0, 0], 0);
    for _ in 0..10_000 {
        host.world.send(host.a, &to(C, CA_C, 0, 1000));
        host.world
            .send(host.b, &tenant(C, B, CA_B, CA_C, &[0; 1000]));
        host.world.wait(HZ / 10_000);
        for (_, frame) in host.take() {
            bytes[usize::from(frame[OUTER + 11] == B.octets()[5])] += frame.len();
            wire += frame.len() + 24;
        }
    }
    let sent = wire as f64 * 8.0 / 1e6;
    assert!((99.0..=100.3).contains(&sent), "{sent} Mbit");
    let ratio = bytes[0] as f64 / bytes[1] as f64;
    assert!((2.9..=3.1).contains(&ratio), "{ratio}");
}

#[test]
fn nothing_of_a_vnic_that_left_leaves_and_nothing_for_it() {
    let mut host = host();
    host.world.promise(host.a, Some(max(1)));
    host.world.promise(
        host.b,
        Some(Promise {
            max_rx: mbit(1),
            ..Promise::default()
        }),
    );
    // A's for B and for C, and what waits for what B may receive.
    for _ in 0..3 {
        host.world.send(host.a, &to(B, CA_B, 0, 1400));
        host.world.send(host.a, &to(C, CA_C, 0, 1400));
    }
    let inner = tenant(B, C, CA_C, CA_B, &[0; 1400]);
    let outer = nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 0, &inner);
    host.world.wire(&outer);
    host.world.wire(&outer);
    host.take();
    assert_eq!(host.waiting(), 7);
    host.world.remove(host.b);
    host.world.forget(host.b);
    assert_eq!(host.waiting(), 3, "A's to C");
    assert_eq!(host.dropped(Reason::PortClosed), 4);
    host.world.remove(host.a);
    host.world.forget(host.a);
    assert_eq!(host.waiting(), 0);
    host.pass(500);
    assert_eq!(host.take().len(), 0);
    // Its index is another's, and without a promise.
    host.world.settle();
    let next = host.world.vnic(host.segment, A, CA_A);
    assert!(next == host.a || next == host.b);
    for _ in 0..40 {
        host.world.send(next, &to(C, CA_C, 0, 1000));
    }
    assert_eq!(host.take().len(), 40);
}

#[test]
fn a_port_that_is_closed_takes_along_what_waits_for_it() {
    let mut host = host();
    host.exhaust();
    host.world.send(host.a, &to(C, CA_C, 0, 100));
    let port = host.world.port_of(host.b).unwrap();
    host.world.close(port);
    assert_eq!(host.waiting(), 1);
    host.world.close(UPLINK_PORT);
    assert_eq!(host.waiting(), 0);
    assert_eq!(host.dropped(Reason::PortClosed), 3);
    host.world.link(Some(Link::plain(Pace::UNLIMITED)));
    host.world.send(host.a, &to(C, CA_C, 0, 100));
    assert_eq!(host.waiting(), 1);
    host.world.close(UPLINK_PORT);
    assert_eq!(host.waiting(), 0);
    host.take();
}

#[test]
fn whose_ring_keeps_the_rest_is_not_received_from_and_loses_nothing() {
    let mut host = host();
    host.world.promise(host.a, Some(max(10)));
    let port = host.world.port_of(host.a).unwrap();
    let holds_back =
        |host: &mut Host| leave::holds_back(&host.world.view, port, &host.world.kept.shaper);
    let fill = |host: &mut Host| {
        let mut batches = 0;
        while !holds_back(host) && batches < 50 {
            let frames: Vec<_> = (0..32)
                .map(|_| host.world.herd.frame(&to(C, CA_C, 0, 1400)))
                .collect();
            host.world.receive(port, frames);
            batches += 1;
        }
        batches
    };
    // A packet socket's kernel would drop what is not taken: its queue here drops.
    assert_eq!(fill(&mut host), 50);
    assert!(host.dropped(Reason::QueueFull) > 1000);
    let mut host = self::host();
    host.world.promise(host.a, Some(max(10)));
    host.world.change_port(port, |port| port.pushes_back = true);
    // 50 ms of 10 Mbit/s are 43 such frames.
    assert_eq!(fill(&mut host), 2);
    assert_eq!(host.dropped(Reason::QueueFull), 0);
    // Others are received from.
    let other = host.world.port_of(host.b).unwrap();
    host.world
        .change_port(other, |port| port.pushes_back = true);
    assert!(!leave::holds_back(
        &host.world.view,
        other,
        &host.world.kept.shaper
    ));
    assert!(!leave::holds_back(
        &host.world.view,
        UPLINK_PORT,
        &host.world.kept.shaper
    ));
    // And it again, when enough of it has left.
    let (before, _) = host.waiting_of(host.a);
    while holds_back(&mut host) {
        host.world.wait(HZ / 1000);
    }
    let (after, _) = host.waiting_of(host.a);
    assert!(after > 35 && after < before, "{after}");
}

/// Of a batch as of a frame: 0.4 ms of 40 Mbit/s are 33 frames of 60 bytes, and 19 with their outer headers.
#[test]
fn a_batch_counts_its_sender_s_own_bytes() {
    let mut host = host();
    host.world.promise(host.a, Some(max(40)));
    let port = host.world.port_of(host.a).unwrap();
    for count in [16, 17] {
        let frames = (0..count).map(|at| host.world.herd.frame(&to(C, CA_C, at, 60 - 42)));
        let frames: Vec<_> = frames.collect();
        host.world.receive(port, frames);
        assert_eq!(host.take().len(), count as usize);
    }
    assert_eq!(host.waiting(), 0);
}

#[test]
fn a_class_is_marked_as_it_leaves_and_waits_by_itself() {
    let mut host = host();
    let class = |name: &str, dscp, pcp, max| Class {
        name: name.into(),
        share: 10,
        max,
        tc: 0,
        dscp,
        pcp,
    };
    let mut link = Link::plain(Pace::UNLIMITED);
    link.classes = [
        class("slow", Some(10), Some(3), mbit(1)),
        class("own", Some(46), None, Pace::UNLIMITED),
    ]
    .into();
    host.world.link(Some(link));
    let slow = Rule {
        class: ClassId(1),
        dscp: Some(8),
        ..Rule::default()
    };
    host.world.classify(Filters::of(&[slow], ClassId(2)));
    let classed = |number| {
        let mut frame = to(C, CA_C, number, 1000);
        ipv4::set_tos(frame[14..].first_chunk_mut().unwrap(), 8 << 2);
        frame
    };
    // In a batch of both, those of the class wait for its maximum, the others do not.
    let batch: Vec<_> = (0..20)
        .map(|at| match at % 2 {
            0 => host.world.herd.frame(&classed(at)),
            _ => host.world.herd.frame(&to(C, CA_C, at, 1000)),
        })
        .collect();
    host.world
        .receive(host.world.port_of(host.a).unwrap(), batch);
    let out = host.take();
    let of = |tos: u8| out.iter().filter(|(_, frame)| frame[15] == tos).count();
    assert_eq!((of(0), of(10 << 2)), (10, 1));
    assert_eq!(host.waiting(), 9);
    host.pass(500);
    let out = host.take();
    assert_eq!(out.len(), 9);
    assert!(out.iter().all(|(_, frame)| frame[15] == 10 << 2));
    assert!(out.iter().all(|(_, frame)| frame[OUTER + 15] == 8 << 2));
    // So is a copy.
    let mut to_all = to(Mac::BROADCAST, Ipv4Addr::BROADCAST, 0, 100);
    ipv4::set_tos(to_all[14..].first_chunk_mut().unwrap(), 8 << 2);
    host.world.send(host.a, &to_all);
    host.pass(100);
    let out = host.take();
    let copies: Vec<_> = out.iter().filter(|it| it.0 == UPLINK_PORT).collect();
    assert!(!copies.is_empty() && copies.iter().all(|it| it.1[15] == 10 << 2));
    // To a vNIC here it does not leave the host: it bears what its sender wrote.
    let mut here = to(B, CA_B, 0, 100);
    ipv4::set_tos(here[14..].first_chunk_mut().unwrap(), 8 << 2);
    host.world.send(host.a, &here);
    assert_eq!(host.take()[0].1, here);
}

/// As one does whose checksum is left to the uplink's device.
#[test]
fn what_leaves_alone_is_marked_too() {
    let mut host = host();
    let mut link = Link::plain(Pace::UNLIMITED);
    link.classes = [Class {
        name: "c".into(),
        share: 10,
        max: Pace::UNLIMITED,
        tc: 0,
        dscp: Some(10),
        pcp: None,
    }]
    .into();
    host.world.link(Some(link));
    let everything = Rule {
        class: ClassId(1),
        ..Rule::default()
    };
    host.world
        .classify(Filters::of(&[everything], ClassId::NONE));
    host.world.change_port(UPLINK_PORT, |port| {
        port.offloads = Offloads::TUNNEL_CHECKSUM
    });
    let mut frame = gso(&host, 500);
    frame.gso = None;
    host.world.send_frame(host.a, frame);
    let out = host.take();
    assert_eq!((out.len(), out[0].1[15]), (1, 10 << 2));
}

#[test]
fn what_the_switch_answers_itself_is_of_the_class_of_its_own() {
    let mut world = World::new(256, Some(100));
    let mut link = Link::plain(Pace::UNLIMITED);
    link.classes = [Class {
        name: "host".into(),
        share: 10,
        max: mbit(1),
        tc: 0,
        dscp: None,
        pcp: Some(5),
    }]
    .into();
    world.link(Some(link));
    world.classify(Filters::of(&[], ClassId(1)));
    let mut ask = frames::arp_request(PEER_MAC, PA, OWN_PA);
    frames::tag(&mut ask, 100);
    // It waits for nobody's maximum.
    for _ in 0..100 {
        world.wire(&ask);
    }
    world.assert_conserved();
    let out = world.take();
    assert_eq!(out.len(), 100);
    assert!(out.iter().all(|(_, frame)| frame[14..16] == [5 << 5, 100]));
}
