//! Two workers: what one decides for a port of the other goes over in order, is counted on both sides, and
//! never reaches a port that got the number of one that was taken away.

mod common;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Line, Options, Rig, Seat};
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::ids::{PortId, VnicId, WorkerId};
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

fn frame(to: u8, from: u8, number: u32) -> Vec<u8> {
    frames::tenant(mac(to), mac(from), ca(from), ca(to), &number.to_be_bytes())
}

/// The number in a frame, behind Ethernet, IPv4 and UDP.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[42..46].try_into().expect("four bytes"))
}

fn options(handoff: usize) -> Options {
    Options {
        workers: 2,
        handoff,
        ..Options::default()
    }
}

/// A vNIC on worker 0, one on worker 1, both blue; the uplink on worker 0.
fn two() -> (World, PortId, PortId) {
    let mut world = World::new(64, None);
    let blue = world.segment(5001);
    let a = world.vnic(blue, mac(0), ca(0));
    let b = world.vnic(blue, mac(1), ca(1));
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(blue, mac(3), ca(3), peer);
    let (a, b) = (world.port_of(a), world.port_of(b));
    let (a, b) = (a.expect("a port"), b.expect("a port"));
    world.change_port(b, |port| port.owner = WorkerId(1));
    (world, a, b)
}

#[test]
fn what_another_worker_owns_is_handed_over_in_order() {
    let (world, a, b) = two();
    let mut rig = Rig::with(world, options(1024));
    let mut next = 0;
    for round in 0..200 {
        let count = 1 + round % 32;
        let over: Vec<_> = (next..next + count).map(|n| frame(1, 0, n)).collect();
        let back: Vec<_> = (next..next + count).map(|n| frame(0, 1, n)).collect();
        let wire: Vec<_> = (next..next + count).map(|n| frame(3, 1, n)).collect();
        next += count;
        rig.inject(a, over.iter().map(Vec::as_slice));
        rig.inject(b, back.iter().chain(&wire).map(Vec::as_slice));
        // A turn of each, in turn: nothing is under way after it.
        rig.settle();
        rig.assert_conserved();
        assert_eq!(rig.take(b), over);
        assert_eq!(rig.take(a), back);
        let out = rig.take(UPLINK_PORT);
        assert!(
            out.iter()
                .map(|out| &out[42..])
                .eq(wire.iter().map(Vec::as_slice))
        );
    }
    let (zero, one) = (&rig.seats[0].cells, &rig.seats[1].cells);
    let next = u64::from(next);
    assert_eq!((zero.handoff_out.get(), one.handoff_in.get()), (next, next));
    assert_eq!(
        (one.handoff_out.get(), zero.handoff_in.get()),
        (2 * next, 2 * next)
    );
    assert_eq!(
        (zero.delivered.get(), one.delivered.get(), zero.sent.get()),
        (next, next, next)
    );
    assert_eq!(rig.drops().len(), 0, "{:?}", rig.drops());
    rig.close();
}

#[test]
fn broadcast_and_the_wire_reach_the_ports_of_both() {
    let (world, a, b) = two();
    let mut rig = Rig::with(world, options(1024));
    let inner = frames::tenant(Mac::BROADCAST, mac(3), ca(3), ca(0), b"all");
    let outer = frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 1, &inner);
    rig.inject(UPLINK_PORT, [&outer[..]]);
    rig.settle();
    assert_eq!(
        (rig.take(a), rig.take(b)),
        (vec![inner.clone()], vec![inner])
    );
    let all = frames::tenant(Mac::BROADCAST, mac(1), ca(1), ca(0), b"all");
    rig.inject(b, [&all[..]]);
    rig.settle();
    assert_eq!(rig.take(a), std::slice::from_ref(&all));
    assert_eq!(rig.take(UPLINK_PORT)[0][42..], all);
    // The answer to ARP is the asker's own worker's.
    let ask = frames::arp_request(mac(1), ca(1), ca(0));
    rig.inject(b, [&ask[..]]);
    rig.settle();
    assert_eq!(rig.take(b).len(), 1);
    rig.assert_conserved();
    assert_eq!(rig.drops().len(), 0);
    rig.close();
}

#[test]
fn a_full_ring_is_a_reason_and_never_a_wait() {
    let (world, a, b) = two();
    let mut rig = Rig::with(world, options(40));
    let sent: Vec<_> = (0..100).map(|n| frame(1, 0, n)).collect();
    rig.inject(a, sent.iter().map(Vec::as_slice));
    for _ in 0..8 {
        rig.seats[0].worker.turn();
    }
    let cells = &rig.seats[0].cells;
    assert_eq!((cells.handoff_out.get(), cells.dropped.get()), (40, 60));
    rig.seats[0].assert_conserved();
    assert_eq!(rig.dropped(Reason::HandoffFull), 60);
    // The oldest are kept, the newest dropped; at most a batch a turn is taken over.
    assert_eq!(rig.seats[1].worker.turn(), 64);
    assert_eq!(rig.seats[1].cells.handoff_in.get(), 32);
    rig.settle();
    assert_eq!(rig.take(b), sent[..40]);
    rig.assert_conserved();
    rig.close();
}

#[test]
fn on_two_threads_everything_arrives_in_order() {
    const COUNT: u32 = 100_000;
    const WINDOW: u32 = 512;
    let (world, a, b) = two();
    let mut rig = Rig::with(world, options(4096));
    rig.settle();
    let stop = AtomicBool::new(false);
    let (feed, lines, seats) = (rig.feed, &mut rig.lines, &mut rig.seats);
    std::thread::scope(|scope| {
        for seat in seats.iter_mut() {
            let stop = &stop;
            scope.spawn(move || turn_until(seat, stop));
        }
        // Both ways at once, no more under way than every ring on the way holds.
        let (mut sent, mut got) = ([0_u32; 2], [0_u32; 2]);
        let ways = [(a, b, 1, 0), (b, a, 0, 1)];
        let start = std::time::Instant::now();
        while got != [COUNT; 2] {
            assert!(start.elapsed().as_secs() < 120, "{sent:?} {got:?}");
            for (way, &(from, to, dst, src)) in ways.iter().enumerate() {
                let room = (WINDOW - (sent[way] - got[way]))
                    .min(32)
                    .min(COUNT - sent[way]);
                let mbufs: Vec<_> = (sent[way]..sent[way] + room)
                    .map(|n| {
                        let bytes = frame(dst, src, n);
                        let mut mbuf = feed.alloc().expect("an mbuf");
                        mbuf.append(bytes.len())
                            .expect("room")
                            .copy_from_slice(&bytes);
                        mbuf
                    })
                    .collect();
                sent[way] += room;
                line(lines, from).inject(mbufs);
                for bytes in line(lines, to).take_bursts(4) {
                    assert_eq!(number(&bytes), got[way], "in order");
                    assert_eq!((bytes[5], bytes[11]), (dst, src));
                    got[way] += 1;
                }
            }
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Release);
    });
    rig.assert_conserved();
    assert_eq!(rig.drops().len(), 0, "{:?}", rig.drops());
    let moved = |i: usize| rig.seats[i].cells.handoff_in.get();
    assert_eq!((moved(0), moved(1)), (u64::from(COUNT), u64::from(COUNT)));
    rig.close();
}

fn line(lines: &mut std::collections::BTreeMap<PortId, Line>, port: PortId) -> &mut Line {
    lines.get_mut(&port).expect("a line")
}

fn turn_until(seat: &mut Seat, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        if seat.worker.turn() == 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn on_two_threads_under_overload_nothing_is_lost_uncounted() {
    let (world, a, b) = two();
    let mut rig = Rig::with(world, options(64));
    rig.settle();
    let stop = AtomicBool::new(false);
    let (feed, lines, seats) = (rig.feed, &mut rig.lines, &mut rig.seats);
    let mut sent = 0;
    let mut got = 0;
    std::thread::scope(|scope| {
        for seat in seats.iter_mut() {
            let stop = &stop;
            scope.spawn(move || turn_until(seat, stop));
        }
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 1500 {
            for (from, dst, src) in [(a, 1, 0), (b, 0, 1)] {
                // As many as the pool gives; what the port does not take is not sent.
                let line = line(lines, from);
                let mut mbufs = Vec::new();
                while mbufs.len() < 32
                    && let Some(mut mbuf) = feed.alloc()
                {
                    let bytes = frame(dst, src, sent);
                    mbuf.append(bytes.len())
                        .expect("room")
                        .copy_from_slice(&bytes);
                    mbufs.push(mbuf);
                    sent += 1;
                }
                sent -= line.offer(mbufs) as u32;
                got += line.discard();
            }
        }
        stop.store(true, Ordering::Release);
    });
    rig.settle();
    got += [a, b]
        .map(|port| rig.line(port).discard())
        .iter()
        .sum::<usize>();
    rig.settle();
    got += [a, b]
        .map(|port| rig.line(port).discard())
        .iter()
        .sum::<usize>();
    rig.settle();
    rig.assert_conserved();
    let sum = |cell: fn(&weir_tables::counters::WorkerCells) -> u64| {
        cell(&rig.seats[0].cells) + cell(&rig.seats[1].cells)
    };
    assert_eq!(sum(|c| c.received.get()), u64::from(sent));
    assert_eq!(sum(|c| c.delivered.get()), got as u64);
    assert_eq!(u64::from(sent), got as u64 + sum(|c| c.dropped.get()));
    for reason in rig.drops().keys() {
        assert!(
            matches!(reason, Reason::HandoffFull | Reason::TxFull),
            "{reason:?}"
        );
    }
    rig.close();
}

/// Blue's vNIC on worker 1 leaves while packets for it are under way, and red's gets its number.
#[test]
fn a_new_port_with_an_old_number_gets_nothing_of_the_old_one_s() {
    for full in [false, true] {
        let (world, a, b) = two();
        let mut rig = Rig::with(world, options(1024));
        // First that the way is open.
        rig.inject(a, [&frame(1, 0, 7)[..]]);
        rig.settle();
        assert_eq!(rig.take(b), [frame(1, 0, 7)]);
        if full {
            // Its device takes no more, 32 wait before it.
            loop {
                let more: Vec<_> = (0..32).map(|n| frame(1, 0, n)).collect();
                rig.inject(a, more.iter().map(Vec::as_slice));
                rig.settle();
                if rig.seats[1].cells.queued.get() == 32 {
                    break;
                }
            }
        }
        let before = rig.seats[1].cells.delivered.get();
        // 100 more are decided and lie in the ring.
        let more: Vec<_> = (0..100).map(|n| frame(1, 0, n)).collect();
        rig.inject(a, more.iter().map(Vec::as_slice));
        for _ in 0..4 {
            rig.seats[0].worker.turn();
        }
        let waiting = rig.seats[0].cells.handoff_out.get() - rig.seats[1].cells.handoff_in.get();
        assert_eq!(waiting, 100);

        // As control does it: unpublish, wait for every worker's old view, take back, close, give the number on.
        rig.gone.push(
            rig.world.view.vnics[1]
                .as_ref()
                .expect("a vNIC")
                .cells
                .clone(),
        );
        rig.world.remove(VnicId(1));
        let view = std::sync::Arc::new(rig.world.view.clone());
        rig.seats[0].tell(Command::View(view.clone()));
        rig.seats[0].worker.turn();
        // Worker 1 hears of both at once, so that it has not turned in between.
        rig.seats[1].tell(Command::View(view));
        rig.close_port_keeping(b, |old| {
            let got = old.take();
            let own = got.iter().all(|bytes| (bytes[5], bytes[11]) == (1, 0));
            assert!(own, "what reached the old device was the old owner's");
        });
        rig.assert_conserved();
        let delivered = rig.seats[1].cells.delivered.get() - before;
        let dropped = rig.dropped(Reason::PortClosed) + rig.dropped(Reason::TxFull);
        if full {
            assert_eq!(delivered, 0);
            assert_eq!(rig.dropped(Reason::PortClosed), 32);
        } else {
            assert_eq!((delivered, dropped), (100, 0));
        }

        let red = rig.world.segment(6001);
        while rig.world.settle() > 0 {}
        let c = rig.world.vnic(red, mac(1), ca(1));
        assert_eq!(rig.world.port_of(c), Some(b), "the number is given again");
        rig.world.change_port(b, |port| port.owner = WorkerId(1));
        rig.publish();
        rig.open(b);
        rig.settle();
        rig.inject(a, more.iter().map(Vec::as_slice));
        rig.settle();
        assert_eq!(rig.take(b), Vec::<Vec<u8>>::new(), "blue's packet at red");
        assert_eq!(rig.dropped(Reason::NoRecord), 100);
        rig.assert_conserved();
        rig.close();
    }
}

#[test]
fn what_is_handed_over_after_the_port_was_given_back_is_counted() {
    let (world, a, b) = two();
    let mut rig = Rig::with(world, options(1024));
    rig.settle();
    rig.inject(a, [&frame(1, 0, 1)[..], &frame(1, 0, 2)[..]]);
    // Worker 1 first: then worker 0 hands over by a view that still has the vNIC.
    rig.seats[1].tell(Command::RemovePort(b));
    rig.seats[1].worker.turn();
    rig.seats[0].worker.turn();
    rig.seats[1].worker.turn();
    rig.assert_conserved();
    assert_eq!(rig.dropped(Reason::PortClosed), 2);
    let reply = rig.seats[1].replies.pop();
    let Ok(weir_worker::Reply::Port(_, rx, tx)) = reply else {
        panic!("no queues");
    };
    rig.lines.remove(&b).expect("a line").close(rx, tx);
    rig.close();
}

#[test]
fn who_has_no_queue_of_a_port_that_is_its_own_drops() {
    let (mut world, a, b) = two();
    // Nobody has opened it yet.
    world.change_port(b, |port| port.owner = WorkerId(0));
    let mut rig = Rig::bare(world, options(16));
    rig.open(a);
    rig.settle();
    rig.inject(a, [&frame(1, 0, 1)[..]]);
    rig.settle();
    rig.assert_conserved();
    assert_eq!(rig.dropped(Reason::PortClosed), 1);
    // A worker that is not there.
    rig.world.change_port(b, |port| port.owner = WorkerId(9));
    rig.publish();
    rig.inject(a, [&frame(1, 0, 1)[..]]);
    rig.settle();
    rig.assert_conserved();
    assert_eq!(rig.dropped(Reason::PortClosed), 2);
    rig.close();
}
