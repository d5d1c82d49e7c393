//! Sixteen workers, an uplink of 100 Gbit/s and 10,000 vNICs in simulated time: minima, shares, a busy link and quick
//! convergence, across leases.
//!
//! *What is simulated:* every worker's turns of 5 µs, each a little apart from the others', and every frame of 1,514 bytes, for some milliseconds of
//! every minute; in between the clock runs on with nothing to do. Each minute other vNICs send, on other workers: most all they can, some a
//! steady rate below their minimum. Halfway more of them begin. An hour is simulated, in seconds; `WEIR_HOUR=2` simulates two
//! minutes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use weir_switch::shape::{Exit, LinkState, Scheduler, Settings, Size, leases::Leases};
use weir_switch::testing::dice::Splitmix;
use weir_tables::bandwidth::{ClassId, Link, Pace, Promise};
use weir_tables::ids::{UplinkId, VnicId};

const HZ: u64 = 2_600_000_000;
const UP: UplinkId = UplinkId(0);
const WORKERS: usize = 16;
const VNICS: u32 = 10_000;
const CAPACITY: u64 = 100_000_000_000;
const FRAME: Size = Size {
    bytes: 1514,
    wire: 1604,
};
/// Microseconds.
const US: u64 = HZ / 1_000_000;
const TURN: u64 = 5 * US;
/// Frames of a vNIC that sends all it can that wait at any time: more than leave in a turn, or it would be one that needs no more.
const DEPTH: u32 = 8;

/// What a vNIC does this minute.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Nothing,
    /// All it can.
    All,
    /// All it can, from half time on.
    AllLater,
    /// A frame each so many cycles.
    Steady(u64),
}

struct Vnic {
    worker: usize,
    /// kbit/s; 0: of the default class.
    share: u32,
    does: Does,
    /// Wire bytes that a steady one gave since the last look.
    came: u64,
    /// Wire bytes that left since then.
    sent: u64,
}

struct Sim {
    workers: Vec<Scheduler<u32>>,
    vnics: Vec<Vnic>,
    now: u64,
    /// What was released, in wire bytes.
    sent: u64,
    steady: BinaryHeap<Reverse<(u64, u32)>>,
    /// What was seen worst.
    worst: Worst,
}

#[derive(Debug, Default)]
struct Worst {
    min: f64,
    share: f64,
    share_of_worker: f64,
    idle: f64,
    over: f64,
    late_min: f64,
    default: f64,
}

impl Sim {
    fn new(random: &mut Splitmix) -> Sim {
        let settings = Settings::new(HZ, 60_000, VNICS, 1);
        let leases = Leases::new(WORKERS);
        let mut link = Link::plain(Pace::of(CAPACITY, HZ));
        // 10% in absolute mode.
        link.default_share = (CAPACITY / 10_000) as u32;
        let workers = (0..WORKERS).map(|me| {
            let mut scheduler = Scheduler::new(settings);
            let state = LinkState::new(&link, leases.clone(), me, &settings);
            scheduler.set_link(UP, Some(state), 0);
            scheduler
        });
        let mut workers: Vec<_> = workers.collect();
        // Minima from 0.5 to 16 Mbit/s, 90% of the link together at most; the more workers' numbers differ, the better.
        let vnics = (0..VNICS).map(|vnic| {
            let worker = (random.below(16) * random.below(16) / 15) as usize;
            let share = match random.below(10) {
                0 => 0,
                _ => 500 + random.below(15_500) as u32,
            };
            let promise = Promise {
                share,
                ..Promise::default()
            };
            workers[worker].promise(VnicId(vnic), Some(&promise), 0);
            Vnic {
                worker,
                share,
                does: Does::Nothing,
                came: 0,
                sent: 0,
            }
        });
        let vnics = vnics.collect();
        Sim {
            workers,
            vnics,
            now: HZ,
            sent: 0,
            steady: BinaryHeap::new(),
            worst: Worst::default(),
        }
    }

    fn offer(&mut self, vnic: u32) {
        let it = &mut self.vnics[vnic as usize];
        it.came += u64::from(FRAME.wire);
        let scheduler = &mut self.workers[it.worker];
        let (id, exit) = (VnicId(vnic), Exit::Uplink(UP));
        if scheduler.pass(id, exit, ClassId::NONE, FRAME, self.now) {
            it.sent += u64::from(FRAME.wire);
            self.sent += u64::from(FRAME.wire);
        } else {
            // A steady one below its minimum is never refused: its frames would be missed in what it gets.
            let _ = scheduler.enqueue(id, exit, ClassId::NONE, FRAME, self.now, vnic);
        }
    }

    /// Until then, all workers' turns.
    fn run(&mut self, until: u64) {
        let mut left: Vec<u32> = Vec::with_capacity(256);
        while self.now < until {
            self.now += TURN / WORKERS as u64;
            while let Some(&Reverse((at, vnic))) = self.steady.peek()
                && at <= self.now
            {
                self.steady.pop();
                self.offer(vnic);
                if let Does::Steady(each) = self.vnics[vnic as usize].does {
                    self.steady.push(Reverse((at + each, vnic)));
                }
            }
            let me = (self.now * WORKERS as u64 / TURN) as usize % WORKERS;
            let scheduler = &mut self.workers[me];
            scheduler.tick(self.now);
            left.clear();
            scheduler.release(UP, self.now, 512, |leaving| left.push(leaving.item));
            for &vnic in &left {
                let it = &mut self.vnics[vnic as usize];
                it.sent += u64::from(FRAME.wire);
                self.sent += u64::from(FRAME.wire);
                if it.does == Does::All {
                    // What left makes room for the next.
                    let put = scheduler.enqueue(
                        VnicId(vnic),
                        Exit::Uplink(UP),
                        ClassId::NONE,
                        FRAME,
                        self.now,
                        vnic,
                    );
                    put.unwrap();
                }
            }
        }
    }

    fn begins(&mut self, vnic: u32) {
        self.vnics[vnic as usize].does = Does::All;
        for _ in 0..DEPTH {
            let scheduler = &mut self.workers[self.vnics[vnic as usize].worker];
            let put = scheduler.enqueue(
                VnicId(vnic),
                Exit::Uplink(UP),
                ClassId::NONE,
                FRAME,
                self.now,
                vnic,
            );
            put.unwrap();
        }
    }

    /// What each vNIC gets by the fluid model, in wire bytes a second: minima are weights, the default class is one for all of its.
    fn fluid(&self) -> Vec<f64> {
        let capacity = CAPACITY as f64 / 8.0;
        let steady = |vnic: &Vnic| match vnic.does {
            Does::Steady(each) => f64::from(FRAME.wire) * HZ as f64 / each as f64,
            _ => 0.0,
        };
        let used: f64 = self.vnics.iter().map(steady).sum();
        let hungry = |vnic: &&Vnic| vnic.does == Does::All;
        let own: f64 = self
            .vnics
            .iter()
            .filter(hungry)
            .map(|vnic| f64::from(vnic.share))
            .sum();
        let members = self
            .vnics
            .iter()
            .filter(hungry)
            .filter(|vnic| vnic.share == 0)
            .count();
        let default = if members > 0 {
            CAPACITY as f64 / 10_000.0
        } else {
            0.0
        };
        let level = (capacity - used) / (own + default).max(1.0);
        let rate = |vnic: &Vnic| match vnic.does {
            Does::All if vnic.share == 0 => level * default / members as f64,
            Does::All => level * f64::from(vnic.share),
            _ => steady(vnic),
        };
        self.vnics.iter().map(rate).collect()
    }

    /// Runs for so long and holds what everybody got against what he had to get; shares only if nobody has begun or ended just before.
    fn measured(&mut self, time: u64, settled: bool) {
        for vnic in &mut self.vnics {
            (vnic.came, vnic.sent) = (0, 0);
        }
        self.sent = 0;
        let from = self.now;
        self.run(from + time);
        let seconds = (self.now - from) as f64 / HZ as f64;
        let rates = self.fluid();
        let capacity = CAPACITY as f64 / 8.0;
        let worst = &mut self.worst;
        let busy = self.sent as f64 / (capacity * seconds);
        if self.vnics.iter().any(|vnic| vnic.does == Does::All) {
            worst.idle = worst.idle.max(1.0 - busy);
        }
        worst.over = worst.over.max(busy - 1.0);
        let mut by_worker = [(0.0, 0.0); WORKERS];
        let mut by_default = (0.0, 0.0);
        for (vnic, rate) in self.vnics.iter().zip(rates) {
            let should = rate * seconds;
            let sent = vnic.sent as f64;
            let frame = f64::from(FRAME.wire);
            by_worker[vnic.worker].0 += sent;
            by_worker[vnic.worker].1 += should;
            if vnic.share == 0 {
                by_default.0 += sent;
                by_default.1 += should;
            }
            // A minimum counts what it says, not what the fluid model gives beside.
            let min = f64::from(vnic.share) * 125.0 * seconds;
            let owed = match vnic.does {
                Does::All => min,
                // What did not come is owed by nobody.
                Does::Steady(_) => (vnic.came as f64).min(min),
                _ => 0.0,
            };
            let missing = (owed - sent - frame) / owed.max(1.0);
            worst.min = worst.min.max(missing);
            if vnic.does == Does::All && settled {
                let off = (sent - should).abs() - 2.0 * frame;
                worst.share = worst.share.max(off / should.max(1.0));
            }
        }
        if !settled {
            return;
        }
        for (sent, should) in by_worker {
            // Beyond some frames: where little is to be sent that is all there is.
            let off = (sent - should).abs() - 4.0 * f64::from(FRAME.wire);
            worst.share_of_worker = worst.share_of_worker.max(off / should.max(1.0));
        }
        if by_default.1 > 1e5 {
            let off = (by_default.0 - by_default.1).abs() / by_default.1;
            worst.default = worst.default.max(off);
        }
    }

    /// What began `ago` and has had this time: did each get its minimum in it?
    fn late(&mut self, begun: &[u32], time: u64) {
        for &vnic in begun {
            self.vnics[vnic as usize].sent = 0;
        }
        self.run(self.now + time);
        let seconds = time as f64 / HZ as f64;
        for &vnic in begun {
            let vnic = &self.vnics[vnic as usize];
            let min = f64::from(vnic.share) * 125.0 * seconds;
            let missing = (min - vnic.sent as f64 - f64::from(FRAME.wire)) / min.max(1.0);
            self.worst.late_min = self.worst.late_min.max(missing);
        }
    }

    fn minute(&mut self, random: &mut Splitmix) {
        self.now = (self.now / (60 * HZ) + 1) * 60 * HZ;
        // From a hundredth to all of them.
        let part = [1, 10, 50, 90][random.below(4) as usize];
        let worker = random.below(WORKERS as u64) as usize;
        let mut later = Vec::new();
        for id in 0..VNICS {
            let vnic = &mut self.vnics[id as usize];
            // One worker has all of its, the others a part: they need very different leases.
            let chosen = vnic.worker == worker || random.below(100) < part;
            vnic.does = match (chosen, random.below(10)) {
                (false, _) => Does::Nothing,
                (true, 0) => Does::AllLater,
                (true, 1 | 2) if vnic.share > 0 => {
                    // Between half and nine tenths of its minimum.
                    let rate = u64::from(vnic.share) * 125 * (50 + random.below(40)) / 100;
                    Does::Steady(u64::from(FRAME.wire) * HZ / rate)
                }
                _ => Does::All,
            };
            match vnic.does {
                Does::All => self.begins(id),
                Does::AllLater => later.push(id),
                Does::Steady(each) => {
                    let first = self.now + random.below(each);
                    self.steady.push(Reverse((first, id)));
                }
                Does::Nothing => {}
            }
        }
        let backlogged = self
            .vnics
            .iter()
            .filter(|vnic| vnic.does == Does::All)
            .count() as u64
            + later.len() as u64;
        let round = backlogged * u64::from(FRAME.wire) * 8 * HZ / CAPACITY;
        let converge = round.max(1000 * US);
        let window = (2 * round).max(10_000 * US);
        self.run(self.now + converge);
        self.measured(window, false);
        self.measured(window, true);
        for &vnic in &later {
            self.begins(vnic);
        }
        self.run(self.now + converge);
        self.late(&later, window);
        self.measured(window, true);
        // Everything leaves.
        self.steady.clear();
        for vnic in &mut self.vnics {
            vnic.does = Does::Nothing;
        }
        self.run(self.now + 2 * window);
        let queued: u64 = self.workers.iter().map(Scheduler::queued).sum();
        assert_eq!(queued, 0, "wait for ever");
    }
}

#[test]
fn sixteen_workers_keep_every_promise_of_ten_thousand() {
    let minutes = std::env::var("WEIR_HOUR").map_or(60, |minutes| minutes.parse().unwrap());
    let mut random = Splitmix(5);
    let mut sim = Sim::new(&mut random);
    for _ in 0..minutes {
        sim.minute(&mut random);
    }
    let worst = &sim.worst;
    eprintln!("{minutes} minutes: {worst:.4?}");
    assert!(worst.min <= 0.01, "a minimum: {worst:?}");
    assert!(worst.late_min <= 0.01, "of one that begins: {worst:?}");
    // Beyond two frames.
    assert!(worst.share <= 0.02, "a share: {worst:?}");
    assert!(worst.share_of_worker <= 0.02, "a worker's: {worst:?}");
    assert!(worst.default <= 0.02, "the default class: {worst:?}");
    assert!(worst.idle <= 0.01, "idle: {worst:?}");
    assert!(worst.over <= 0.01, "over the capacity: {worst:?}");
}
