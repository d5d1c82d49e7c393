//! What control changes while packets flow: views, ports, and a control that does not read its replies.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Line, Options, Rig, view_of};
use weir_switch::testing::frames;
use weir_switch::testing::world::World;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::Mac;
use weir_worker::command::{Command, Reply};

use std::net::Ipv4Addr;

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

fn frame(to: u8, from: u8) -> Vec<u8> {
    frames::tenant(mac(to), mac(from), ca(from), ca(to), b"hello")
}

fn three() -> (World, [PortId; 3]) {
    let mut world = World::new(64, None);
    let segment = world.segment(5001);
    let ports = [0, 1, 2].map(|i| {
        let vnic = world.vnic(segment, mac(i), ca(i));
        world.port_of(vnic).expect("a port")
    });
    (world, ports)
}

#[test]
fn views_and_ports_change_under_traffic_and_none_of_it_is_lost() {
    const CHANGES: usize = 3000;
    const ENOUGH: u64 = 10_000;
    let (world, [a, b, c]) = three();
    let mut rig = Rig::with(
        world,
        Options {
            replies: 8,
            ..Options::default()
        },
    );
    rig.settle();
    let base = rig.world.view.clone();
    let before = Arc::strong_count(&base.endpoints);
    let stop = AtomicBool::new(false);
    let delivered = AtomicU64::new(0);
    // Two views that differ in what has nothing to do with this traffic.
    let (mut line_a, mut line_b) = (
        rig.lines.remove(&a).expect("a line"),
        rig.lines.remove(&b).expect("a line"),
    );
    let mut line_c = rig.lines.remove(&c).expect("a line");
    let (feed, base, epochs) = (rig.feed, &base, &rig.epochs);
    let seat = &mut rig.seats[0];
    let (worker, commands, replies) = (&mut seat.worker, &mut seat.commands, &mut seat.replies);
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let control = scope.spawn(|| {
            let mut views = 0_usize;
            let tell = |commands: &mut rtrb::Producer<Command>, mut command: Command| {
                while let Err(rtrb::PushError::Full(back)) = commands.push(command) {
                    command = back;
                    std::thread::yield_now();
                }
            };
            // At least so many, and until enough has been sent meanwhile.
            for change in 0.. {
                if change >= CHANGES && sent.load(Ordering::Relaxed) > ENOUGH {
                    break;
                }
                let mut view = base.clone();
                if change % 2 == 1 {
                    view.vnics.push(None);
                    view.peers = Arc::new([weir_tables::peer::Peer::NONE; 3]);
                }
                let view = Arc::new(view);
                let weak = Arc::downgrade(&view);
                tell(commands, Command::View(view));
                let epoch = epochs.advance();
                if change % 10 == 0 {
                    // c's port goes and comes back.
                    tell(commands, Command::RemovePort(c));
                }
                // The old view comes back; the new one is in use from then on.
                let mut queues = None;
                let mut old = None;
                while old.is_none() || (change % 10 == 0 && queues.is_none()) {
                    match replies.pop() {
                        Ok(Reply::View(view)) => old = Some(view),
                        Ok(Reply::Port(port, rx, tx)) => queues = Some((port, rx, tx)),
                        Ok(_) | Err(_) => std::thread::yield_now(),
                    }
                }
                views += 1;
                assert_eq!(
                    weak.strong_count(),
                    2,
                    "the worker has it twice: to read and to count"
                );
                let old = Arc::into_inner(old.expect("a view"));
                assert!(
                    old.is_some() || change == 0,
                    "nobody has the old one any more"
                );
                while epochs.passed() < epoch {
                    std::thread::yield_now();
                }
                if let Some((port, rx, tx)) = queues {
                    assert_eq!((port, rx.len(), tx.len()), (c, 1, 1));
                    for tx in tx {
                        tell(commands, Command::AddTx(c, tx));
                    }
                    for rx in rx {
                        tell(commands, Command::AddRx(c, rx));
                    }
                }
            }
            stop.store(true, Ordering::Release);
            views
        });
        // The VMs: as much as b's device takes, exactly counted.
        let vms = scope.spawn(|| {
            while !(stop.load(Ordering::Acquire)
                && delivered.load(Ordering::Acquire) == sent.load(Ordering::Relaxed))
            {
                let under_way = sent.load(Ordering::Relaxed) - delivered.load(Ordering::Relaxed);
                if !stop.load(Ordering::Acquire) && under_way < 512 {
                    let mbufs = (0..16).map(|_| {
                        let mut mbuf = feed.alloc().expect("an mbuf");
                        let bytes = frame(1, 0);
                        mbuf.append(bytes.len())
                            .expect("room")
                            .copy_from_slice(&bytes);
                        mbuf
                    });
                    line_a.inject(mbufs);
                    sent.fetch_add(16, Ordering::Relaxed);
                }
                delivered.fetch_add(line_b.discard() as u64, Ordering::AcqRel);
                line_c.discard();
                std::thread::yield_now();
            }
        });
        while !control.is_finished() {
            worker.turn();
        }
        let done = control.join().expect("control");
        assert!(done >= CHANGES);
        while !vms.is_finished() {
            worker.turn();
        }
    });
    for (port, line) in [(a, line_a), (b, line_b), (c, line_c)] {
        rig.lines.insert(port, line);
    }
    rig.settle();
    rig.assert_conserved();
    let sent = sent.into_inner();
    assert_eq!(delivered.load(Ordering::Relaxed), sent);
    assert_eq!(rig.seats[0].cells.delivered.get(), sent);
    assert_eq!(rig.drops().len(), 0, "{:?}", rig.drops());
    // One view is alive: the last, whose tables are the world's.
    assert_eq!(Arc::strong_count(&base.endpoints), before);
    rig.close();
}

#[test]
fn a_control_that_reads_no_replies_loses_nothing() {
    let (world, [a, b, c]) = three();
    let mut rig = Rig::with(
        world,
        Options {
            replies: 4,
            ..Options::default()
        },
    );
    rig.settle();
    let views: Vec<_> = (0..10).map(|_| Arc::new(rig.world.view.clone())).collect();
    for view in &views {
        rig.seats[0].tell(Command::View(view.clone()));
    }
    rig.seats[0].tell(Command::RemovePort(c));
    // Packets go on while commands wait.
    for _ in 0..20 {
        rig.inject(a, [&frame(1, 0)[..], &frame(2, 0)]);
        rig.settle();
    }
    assert_eq!(rig.take(b).len(), 20);
    assert_eq!(rig.take(c).len(), 20, "its port is still there");
    rig.assert_conserved();
    assert_eq!(rig.seats[0].replies.slots(), 4);
    let mut back = Vec::new();
    // One is read: one more is carried out. None is carried out twice.
    for n in 0..10 {
        back.push(view_of(rig.seats[0].replies.pop().expect("a view")));
        rig.settle();
        let waiting = rig.seats[0].replies.slots();
        // Ten views and a port.
        assert_eq!(waiting, 4.min(10 - n));
    }
    for (n, view) in back.iter().enumerate().skip(1) {
        assert!(Arc::ptr_eq(view, &views[n - 1]), "in order");
    }
    match rig.seats[0].replies.pop() {
        Ok(Reply::Port(port, rx, tx)) => {
            assert_eq!((port, rx.len(), tx.len()), (c, 1, 1));
            rig.lines.remove(&c).expect("a line").close(rx, tx);
        }
        _ => panic!("no port"),
    }
    rig.inject(a, [&frame(2, 0)[..]]);
    rig.settle();
    assert_eq!(rig.dropped(Reason::PortClosed), 1);
    drop(back);
    // What came back is nobody's else; the last is the worker's.
    let counts: Vec<_> = views.iter().map(Arc::strong_count).collect();
    assert_eq!(counts, [1, 1, 1, 1, 1, 1, 1, 1, 1, 3]);
    rig.close();
}

#[test]
fn what_cannot_be_taken_is_given_back() {
    let (world, [a, b, _]) = three();
    let mut rig = Rig::new(world);
    rig.settle();
    // A port that it has, and one whose number nobody can have.
    for port in [a, PortId(4096), PortId(u16::MAX)] {
        let (line, rx, tx) = Line::open(rig.feed);
        rig.seats[0].tell(Command::AddTx(port, tx));
        rig.seats[0].worker.turn();
        match rig.seats[0].replies.pop() {
            Ok(Reply::Port(given, none, tx)) => {
                assert_eq!((given, none.len(), tx.len()), (port, 0, 1));
                line.close(vec![rx], tx);
            }
            _ => panic!("no reply"),
        }
    }
    // The first is not hurt, and a port that nobody knows is given back as nothing.
    rig.inject(b, [&frame(0, 1)[..]]);
    rig.settle();
    assert_eq!(rig.take(a).len(), 1);
    let (rx, tx) = rig.take_back(PortId(77));
    assert_eq!((rx.len(), tx.len()), (0, 0));
    rig.close();
}

#[test]
fn a_vnic_that_comes_is_served_from_the_next_turn_on() {
    let (world, [a, _, _]) = three();
    let mut rig = Rig::new(world);
    rig.inject(a, [&frame(9, 0)[..]]);
    rig.settle();
    assert_eq!(rig.dropped(Reason::NoRecord), 1);
    let segment = weir_tables::ids::SegmentId(0);
    let vnic = rig.world.vnic(segment, mac(9), ca(9));
    let port = rig.world.port_of(vnic).expect("a port");
    assert_eq!(vnic, VnicId(3));
    // In the table, not yet in the view: refused by name, not delivered by chance.
    rig.inject(a, [&frame(9, 0)[..]]);
    rig.settle();
    assert_eq!(rig.dropped(Reason::VnicGone), 1);
    rig.publish();
    rig.open(port);
    rig.inject(a, [&frame(9, 0)[..]]);
    rig.settle();
    assert_eq!(rig.take(port), [frame(9, 0)]);
    rig.close();
}
