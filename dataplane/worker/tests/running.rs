//! The thread of a worker: pinned, known to DPDK, idle as it is told, and an end that leaves nothing behind.

mod common;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Options, Rig, Seat, eal};
use rte::{LcoreError, clock};
use weir_switch::testing::frames;
use weir_switch::testing::world::World;
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::reason::Reason;
use weir_wire::Mac;
use weir_worker::command::Command;
use weir_worker::run::{Idle, Remains, run};

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

fn frame(to: u8, from: u8, number: u32) -> Vec<u8> {
    frames::tenant(mac(to), mac(from), ca(from), ca(to), &number.to_be_bytes())
}

fn two(options: Options) -> (Rig, PortId, PortId) {
    let mut world = World::new(64, None);
    let segment = world.segment(5001);
    let ports = [0, 1].map(|i| {
        let vnic = world.vnic(segment, mac(i), ca(i));
        world.port_of(vnic).expect("a port")
    });
    if options.workers > 1 {
        world.change_port(ports[1], |port| port.owner = WorkerId(1));
    }
    (Rig::with(world, options), ports[0], ports[1])
}

/// The lines' queues from what the workers left.
fn put_back(rig: &mut Rig, remains: Remains) {
    let mut by_port = std::collections::BTreeMap::<_, (Vec<_>, Vec<_>)>::new();
    for (port, rx, tx) in remains {
        let entry = by_port.entry(port).or_default();
        entry.0.extend(rx);
        entry.1.extend(tx);
    }
    for (port, (rx, tx)) in by_port {
        assert_eq!((rx.len(), tx.len()), (1, 1), "{port:?}");
        rig.lines.remove(&port).expect("a line").close(rx, tx);
    }
    assert!(rig.lines.is_empty(), "a port did not come back");
    assert_eq!((rig.pool.in_use(), rig.feed.in_use()), (0, 0));
}

/// What is left of a seat whose worker runs.
struct Away {
    cells: std::sync::Arc<weir_tables::counters::WorkerCells>,
    commands: rtrb::Producer<Command>,
    thread: std::thread::JoinHandle<Remains>,
    /// Its folder in /proc.
    proc: PathBuf,
}

fn start(seat: Seat, core: u32, idle: Idle) -> Away {
    let Seat {
        worker,
        cells,
        commands,
        replies,
        events,
    } = seat;
    let (said, heard) = mpsc::channel();
    let (place, its_place) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let own = std::fs::read_link("/proc/thread-self").expect("a thread has one");
        place.send(own).expect("a listener");
        // Control's ends live as long as the worker.
        let _ends = (replies, events);
        run(worker, eal(), core, idle, |ok| {
            said.send(ok).expect("a listener")
        })
    });
    assert_eq!(heard.recv().expect("a word"), Ok(()));
    Away {
        cells,
        commands,
        thread,
        proc: Path::new("/proc").join(its_place.recv().expect("a word")),
    }
}

impl Away {
    /// How often the kernel took its core away because it wanted to wait (proc(5): voluntary_ctxt_switches), however busy the machine is.
    fn sleeps(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc.join("status")).expect("its status");
        let mut lines = status.lines();
        let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count = count.expect("a count").trim();
        count.parse().expect("a number")
    }
}

fn core() -> u32 {
    *rte::available_cores().last().expect("a core")
}

fn traffic(idle: Idle) {
    let (mut rig, a, b) = two(Options {
        cache: 64,
        ..Options::default()
    });
    let mut away = start(rig.seats.remove(0), core(), idle);
    let (mut sent, mut got) = (0_u32, 0);
    let begun = Instant::now();
    while got < 20_000 {
        assert!(begun.elapsed().as_secs() < 60, "{got} of {sent}");
        // Now and then nothing for a while, so that it rests and wakes up.
        if sent == got as u32 && sent % 5000 == 0 && sent > 0 {
            std::thread::sleep(Duration::from_millis(30));
        }
        if sent - (got as u32) < 200 && sent < 20_000 {
            let batch: Vec<_> = (sent..sent + 20).map(|n| frame(1, 0, n)).collect();
            rig.inject(a, batch.iter().map(Vec::as_slice));
            sent += 20;
        }
        for bytes in rig.take(b) {
            assert_eq!(bytes, frame(1, 0, got as u32));
            got += 1;
        }
    }
    std::thread::sleep(Duration::from_millis(50));
    let cells = away.cells.clone();
    assert_eq!(cells.came(), cells.went());
    assert_eq!(cells.delivered.get(), 20_000);
    assert!(cells.turns.get() > 0 && cells.busy_cycles.get() > 0 && cells.idle_cycles.get() > 0);
    let (turns, sleeps) = (cells.turns.get(), away.sleeps());
    let then = Instant::now();
    while cells.turns.get() < turns + 100 {
        assert!(then.elapsed().as_secs() < 60, "turns at rest");
        std::thread::sleep(Duration::from_millis(10));
    }
    let slept = away.sleeps() - sleeps;
    match idle {
        // Nearly each turn; not those for which it looks once more.
        Idle::Adaptive => assert!(slept > 20, "{slept} sleeps"),
        Idle::Poll => assert_eq!(slept, 0, "sleeps"),
    }
    // While it sleeps control does not wait for it long.
    let epoch = rig.epochs.advance();
    let then = Instant::now();
    while rig.epochs.passed() < epoch {
        assert!(then.elapsed().as_secs() < 10, "a quiescent point");
        std::thread::yield_now();
    }
    away.commands.push(Command::Stop).expect("room");
    let remains = away.thread.join().expect("a thread");
    put_back(&mut rig, remains);
}

#[test]
fn an_adaptive_worker_rests_and_loses_nothing() {
    traffic(Idle::Adaptive);
}

#[test]
fn a_polling_worker_never_rests() {
    traffic(Idle::Poll);
}

#[test]
fn a_stop_lets_out_what_waits_and_drops_what_nobody_takes() {
    for reader in [true, false] {
        let (mut rig, a, b) = two(Options::default());
        rig.settle();
        // b's device is full and 32 wait before it; it has not taken nothing for a second before this is over.
        let late = clock::tsc() + 60 * clock::hz();
        rig.seats[0].cells.now.set(late);
        let mut sent = 0;
        while rig.seats[0].cells.queued.get() < 32 {
            let batch: Vec<_> = (0..32).map(|_| frame(1, 0, 0)).collect();
            rig.inject(a, batch.iter().map(Vec::as_slice));
            rig.settle();
            sent += 32;
        }
        let dropped = rig.dropped(Reason::TxFull);
        let got = if reader {
            rig.line(b).discard() as u64
        } else {
            0
        };
        let seat = rig.seats.remove(0);
        let cells = seat.cells.clone();
        let mut away = start(seat, core(), Idle::Poll);
        away.commands.push(Command::Stop).expect("room");
        let remains = away.thread.join().expect("a thread");
        let got = got + rig.line(b).discard() as u64;
        assert_eq!(cells.came(), cells.went(), "{cells:?}");
        assert_eq!(cells.queued.get(), 0);
        assert_eq!(got, cells.delivered.get());
        assert_eq!(rig.dropped(Reason::PortClosed), if reader { 0 } else { 32 });
        assert_eq!(sent, got + dropped + rig.dropped(Reason::PortClosed));
        put_back(&mut rig, remains);
    }
}

#[test]
fn a_stop_takes_over_what_was_handed_over() {
    let (mut rig, a, b) = two(Options {
        workers: 2,
        ..Options::default()
    });
    rig.settle();
    let batch: Vec<_> = (0..200).map(|n| frame(1, 0, n)).collect();
    for part in batch.chunks(50) {
        rig.inject(a, part.iter().map(Vec::as_slice));
        rig.seats[0].worker.turn();
        rig.seats[0].worker.turn();
    }
    assert_eq!(rig.seats[0].cells.handoff_out.get(), 200);
    let one = rig.seats.remove(1);
    let zero = rig.seats.remove(0);
    let cells = [zero.cells.clone(), one.cells.clone()];
    let mut remains = Remains::new();
    for seat in [zero, one] {
        let mut away = start(seat, core(), Idle::Adaptive);
        away.commands.push(Command::Stop).expect("room");
        remains.extend(away.thread.join().expect("a thread"));
    }
    for cells in &cells {
        assert_eq!(cells.came(), cells.went(), "{cells:?}");
    }
    assert_eq!(cells[1].delivered.get(), 200);
    assert_eq!(rig.take(b), batch);
    put_back(&mut rig, remains);
}

#[test]
fn a_core_that_is_not_there_gives_every_queue_back() {
    for core in [5000, 900] {
        let (mut rig, _, _) = two(Options::default());
        rig.settle();
        let seat = rig.seats.remove(0);
        let mut heard = None;
        let worker = seat.worker;
        let remains = std::thread::scope(|scope| {
            let thread =
                scope.spawn(|| run(worker, eal(), core, Idle::Poll, |ok| heard = Some(ok)));
            thread.join().expect("a thread")
        });
        assert!(matches!(heard, Some(Err(LcoreError::Core { core: c, .. })) if c == core));
        // Its place among the readers is free again: nobody waits for it.
        let epoch = rig.epochs.advance();
        assert!(rig.epochs.passed() >= epoch);
        put_back(&mut rig, remains);
    }
}
