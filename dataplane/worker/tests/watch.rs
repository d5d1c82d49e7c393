//! Looking at packets while a worker moves them: what a tap sees is what is there, what it has no room for is its own loss, and
//! the packets do not notice.

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;

use common::{Options, Rig, eal};
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK, UPLINK_MAC, UPLINK_PORT, World};
use weir_switch::testing::{HZ, frames};
use weir_switch::watch::{Point, Step, Who};
use weir_tables::counters::Counter;
use weir_tables::endpoints::Target;
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::reason::Reason;
use weir_wire::Mac;
use weir_worker::command::{Command, Reply};
use weir_worker::tap::{CHUNK, Entry, Head, Tap, Wish};

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

/// Two vNICs here, 0 and 1, and one behind a peer, 3.
fn host() -> (World, [PortId; 2]) {
    let mut world = World::new(256, None);
    let peer = world.peer(PA, Some(PEER_MAC));
    let segment = world.segment(5001);
    let ports = [0, 1].map(|i| {
        let vnic = world.vnic(segment, mac(i), ca(i));
        world.port_of(vnic).expect("a port")
    });
    world.remote(segment, mac(3), ca(3), peer);
    (world, ports)
}

fn from(src: u8, to: u8, length: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
    frames::tenant(mac(to), mac(src), ca(src), ca(to), &payload)
}

fn all() -> Wish {
    Wish {
        points: u16::MAX,
        who: None,
        filter: None,
        snap: 65_535,
        follow: None,
    }
}

fn filter(text: &str) -> Option<Arc<rte::Filter>> {
    Some(Arc::new(
        rte::Filter::compile(eal(), text).expect("a filter"),
    ))
}

/// An observer's other ends.
struct Observer {
    ring: rtrb::Consumer<Entry>,
    lost: Arc<Counter>,
}

fn watch(rig: &mut Rig, seat: usize, wish: Wish, entries: usize) -> Observer {
    let (producer, ring) = rtrb::RingBuffer::new(entries);
    let lost = Arc::new(Counter::default());
    let tap = Tap::new(7, wish, producer, lost.clone());
    rig.seats[seat].tell(Command::Watch(Box::new(tap)));
    rig.settle();
    Observer { ring, lost }
}

impl Observer {
    /// What was seen: packets with their bytes; the rest as it is.
    fn seen(&mut self) -> (Vec<(Head, Vec<u8>)>, Vec<Entry>) {
        let (mut packets, mut rest) = (Vec::new(), Vec::new());
        while let Ok(entry) = self.ring.pop() {
            let Entry::Frame(head) = entry else {
                rest.push(entry);
                continue;
            };
            let mut bytes = Vec::new();
            for _ in 0..head.chunks() {
                match self.ring.pop() {
                    Ok(Entry::Bytes(chunk)) => bytes.extend(chunk),
                    other => panic!("half a packet: {other:?}"),
                }
            }
            bytes.truncate(head.kept as usize);
            packets.push((head, bytes));
        }
        (packets, rest)
    }
}

#[test]
fn each_point_shows_the_bytes_that_are_there() {
    let (world, ports) = host();
    let mut rig = Rig::new(world);
    let mut observer = watch(&mut rig, 0, all(), 1024);
    let out = from(0, 3, 100);
    rig.inject(ports[0], [&out[..]]);
    rig.settle();
    let sent = rig.take(UPLINK_PORT).remove(0);
    let blue = Who::Vnic(VnicId(0));
    let places = |observer: &mut Observer| -> Vec<(Point, Who, Vec<u8>)> {
        let (packets, _) = observer.seen();
        packets
            .into_iter()
            .map(|(h, b)| (h.point, h.who, b))
            .collect()
    };
    assert_eq!(
        places(&mut observer),
        [
            (Point::VnicRx, blue, out.clone()),
            (Point::Encap, blue, out),
            (Point::UplinkTx, Who::Uplink(UPLINK), sent)
        ]
    );
    // A chain, from the wire: whole, over several entries.
    let inner = from(3, 1, 1400);
    let outer = frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 3, &inner);
    let chain = rig.chain(&[&outer[..7], &outer[7..300], &outer[300..]]);
    rig.line(UPLINK_PORT).inject([chain]);
    rig.settle();
    let up = Who::Uplink(UPLINK);
    assert_eq!(
        places(&mut observer),
        [
            (Point::UplinkRx, up, outer),
            (Point::Decap, up, inner.clone()),
            (Point::VnicTx, Who::Vnic(VnicId(1)), inner)
        ]
    );
    // A drop has its reason, and is by whom it came from.
    let forged = from(1, 3, 10);
    rig.inject(ports[0], [&forged[..]]);
    rig.settle();
    let (packets, _) = observer.seen();
    let (head, bytes) = packets.last().expect("a drop");
    assert_eq!(
        (head.point, head.who, head.reason),
        (Point::Drop, blue, Some(Reason::SpoofedMac))
    );
    assert_eq!(bytes, &forged);
    assert_eq!(observer.lost.get(), 0);
    rig.close();
}

#[test]
fn a_tap_gets_what_it_wishes_for_and_no_more() {
    let (world, ports) = host();
    let mut rig = Rig::new(world);
    let wish = Wish {
        points: 1 << Point::UplinkTx as u8,
        who: Some(Who::Vnic(VnicId(1))),
        filter: filter("ip proto gre and greater 150"),
        snap: 50,
        ..all()
    };
    let mut observer = watch(&mut rig, 0, wish, 1024);
    for src in [0, 1] {
        let frames = [from(src, 3, 20), from(src, 3, 200), from(src, 1 - src, 200)];
        rig.inject(ports[usize::from(src)], frames.iter().map(|f| &f[..]));
    }
    rig.settle();
    let (packets, _) = observer.seen();
    let [(head, bytes)] = &packets[..] else {
        panic!("{packets:?}");
    };
    assert_eq!(
        (head.length, head.kept, bytes.len()),
        (42 + 42 + 200, 50, 50)
    );
    rig.line(UPLINK_PORT).discard();
    rig.close();
}

/// The rule of point 10: what overflows is a capture loss, never a packet's.
#[test]
fn what_overflows_is_the_taps_loss_and_no_packets() {
    let (world, ports) = host();
    let mut rig = Rig::new(world);
    // Room for ten packets of two chunks.
    let wish = Wish {
        points: 1 << Point::VnicRx as u8,
        ..all()
    };
    let mut observer = watch(&mut rig, 0, wish, 32);
    let frame = from(0, 1, 2 * CHUNK - 42);
    for _ in 0..10 {
        rig.inject(ports[0], (0..32).map(|_| &frame[..]));
        rig.settle();
    }
    assert_eq!(
        rig.take(ports[1]),
        vec![frame.clone(); 320],
        "every packet, as it was"
    );
    let (packets, _) = observer.seen();
    assert_eq!(packets.len(), 10);
    assert!(
        packets.iter().all(|(_, bytes)| *bytes == frame),
        "no torn packet"
    );
    assert_eq!(observer.lost.get(), 310);
    assert!(rig.drops().is_empty());
    // There is room again.
    rig.inject(ports[0], [&frame[..]]);
    rig.settle();
    assert_eq!((observer.seen().0.len(), observer.lost.get()), (1, 310));
    // The tap comes back to be freed; then nobody looks.
    rig.seats[0].tell(Command::Unwatch(7));
    rig.settle();
    assert!(matches!(rig.seats[0].replies.pop(), Ok(Reply::Tap(tap)) if tap.id == 7));
    rig.inject(ports[0], [&frame[..]]);
    rig.settle();
    assert!(observer.seen().0.is_empty());
    rig.close();
}

#[test]
fn a_followed_packet_tells_every_step() {
    let (world, ports) = host();
    let mut rig = Rig::new(world);
    let wish = Wish {
        filter: filter("host 10.1.0.3 and greater 100"),
        follow: Some(2),
        ..all()
    };
    let mut observer = watch(&mut rig, 0, wish, 1024);
    // Of a batch only one is wanted: from a vNIC, and from the wire by what is inside.
    let wanted = from(0, 3, 100);
    rig.inject(ports[0], [&from(0, 1, 100)[..], &wanted, &from(0, 3, 0)]);
    rig.settle();
    let (packets, rest) = observer.seen();
    let points: Vec<Point> = packets.iter().map(|(head, _)| head.point).collect();
    assert_eq!(points, [Point::VnicRx, Point::Encap, Point::UplinkTx]);
    let number = packets[0].0.packet;
    let [
        Entry::Step(_, Step::Parsed { .. }),
        Entry::Step(_, Step::Allowed(_)),
        Entry::Step(
            _,
            Step::Endpoint {
                found: Some(Target::Remote(_)),
                ..
            },
        ),
        Entry::Step(_, Step::Encapsulated { .. }),
        Entry::Step(_, Step::Out { .. }),
        Entry::End(end),
    ] = rest[..]
    else {
        panic!("{rest:?}");
    };
    assert_eq!(end, number);

    let inner = from(3, 1, 100);
    let wire = |inner: &[u8]| frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 3, inner);
    rig.inject(UPLINK_PORT, [&wire(&from(3, 1, 0))[..], &wire(&inner)]);
    rig.settle();
    let (packets, rest) = observer.seen();
    let points: Vec<Point> = packets.iter().map(|(head, _)| head.point).collect();
    assert_eq!(points, [Point::UplinkRx, Point::Decap, Point::VnicTx]);
    assert_eq!(
        packets[0].1,
        wire(&inner),
        "what it was before its outer headers came off"
    );
    assert!(
        matches!(
            rest[..],
            [
                Entry::Step(_, Step::Accepted { .. }),
                Entry::Step(
                    _,
                    Step::Endpoint {
                        found: Some(Target::Local(VnicId(1))),
                        ..
                    }
                ),
                Entry::Step(_, Step::Out { .. }),
                Entry::End(_),
            ]
        ),
        "{rest:?}"
    );
    // Two were asked for.
    rig.inject(ports[0], [&wanted[..]]);
    rig.settle();
    let (packets, rest) = observer.seen();
    assert!(packets.is_empty() && rest.is_empty(), "{rest:?}");
    rig.line(UPLINK_PORT).discard();
    rig.close();
}

/// What is lost behind the stages: a device that does not take it, a port that closes, another worker's ring.
#[test]
fn what_the_way_out_loses_is_seen_with_its_reason() {
    let (mut world, ports) = host();
    world.change_port(ports[1], |port| port.owner = WorkerId(1));
    let options = Options {
        workers: 2,
        handoff: 32,
        ..Options::default()
    };
    let mut rig = Rig::with(world, options);
    let wish = || Wish {
        points: 1 << Point::Drop as u8,
        ..all()
    };
    let mut here = watch(&mut rig, 0, wish(), 1 << 16);
    let mut there = watch(&mut rig, 1, wish(), 1 << 16);
    let local = from(0, 1, 10);
    // The other worker does not turn: its ring fills.
    rig.inject(ports[0], (0..64).map(|_| &local[..]));
    while rig.seats[0].worker.turn() > 0 {}
    let (packets, _) = here.seen();
    assert_eq!(packets.len() as u64, rig.dropped(Reason::HandoffFull));
    assert!(
        packets
            .iter()
            .all(|(h, b)| h.reason == Some(Reason::HandoffFull) && *b == local)
    );
    assert!(!packets.is_empty());
    // It turns, but its device is full.
    let fill = |rig: &mut Rig| {
        for _ in 0..200 {
            rig.inject(ports[0], (0..16).map(|_| &local[..]));
            rig.settle();
        }
    };
    fill(&mut rig);
    let (packets, _) = there.seen();
    assert_eq!(packets.len() as u64, rig.dropped(Reason::TxFull));
    assert!(
        packets
            .iter()
            .all(|(h, _)| h.reason == Some(Reason::TxFull))
    );
    assert!(!packets.is_empty());
    // It has taken nothing for a second: what waits ends.
    rig.seats[1].cells.now.add(HZ);
    rig.settle();
    let (packets, _) = there.seen();
    assert!(
        packets
            .iter()
            .all(|(h, b)| h.reason == Some(Reason::TxFull) && *b == local)
    );
    assert_eq!(packets.len(), 32);
    // What still waits is lost with the port.
    rig.line(ports[1]).discard();
    fill(&mut rig);
    there.seen();
    rig.close_port_keeping(ports[1], |line| drop(line.take()));
    let (packets, _) = there.seen();
    assert_eq!(packets.len() as u64, rig.dropped(Reason::PortClosed));
    assert!(!packets.is_empty());
    rig.close();
}
