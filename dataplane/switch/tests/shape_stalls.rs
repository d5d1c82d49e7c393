//! One worker as it really is: its turns take time, sometimes the processor is somebody else's for up to a millisecond, in the middle of a turn too,
//! a device takes less than it is given, frames come by batches, and room is scarce. Maxima, minima and shares within the bounds of the
//! goals all the same, in windows at any offset.
//!
//! *How time is counted:* as `weir bench goals` does. What is missing is held against the time in which the worker ran (a stall is none, but for
//! its first 20 µs), what is too much against the clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use weir_switch::shape::{Exit, LinkState, Scheduler, Settings, Size, leases::Leases};
use weir_switch::testing::dice::Splitmix;
use weir_tables::bandwidth::{ClassId, Link, Pace, Promise};
use weir_tables::ids::{UplinkId, VnicId};

const HZ: u64 = 2_600_000_000;
/// Microseconds.
const US: u64 = HZ / 1_000_000;
const UP: UplinkId = UplinkId(0);
const EXIT: Exit = Exit::Uplink(UP);
const BATCH: usize = 32;
/// So much of a stall might be a piece of work: as the rig counts it.
const PIECE: u64 = 20 * US;

/// vNICs that are alike.
#[derive(Clone, Copy)]
struct Group {
    vnics: u32,
    share: u32,
    /// bit/s of its own bytes; 0: none.
    max: u64,
    /// Layer 2 bytes of a frame.
    bytes: u32,
    /// Wire bytes a second that each offers; none: all it can.
    offers: Option<f64>,
    /// In bursts, 7 ms of 11, all of them together.
    bursts: bool,
}

impl Group {
    fn size(&self) -> Size {
        Size {
            bytes: self.bytes,
            wire: self.bytes + 66,
        }
    }
}

/// What comes of a group, as the rig's source makes it: evenly, each of its vNICs in turn.
struct Stand {
    first: u32,
    group: Group,
    next: u32,
    left: u32,
    due: f64,
    every: f64,
}

impl Stand {
    fn new(first: u32, group: Group, now: u64) -> Stand {
        let every = group.offers.map_or(0.0, |rate| {
            f64::from(group.size().wire) * HZ as f64 / rate / f64::from(group.vnics)
        });
        Stand {
            first,
            group,
            next: 0,
            left: 1,
            due: now as f64,
            every,
        }
    }

    fn sends(&self, now: u64) -> bool {
        !self.group.bursts || now % (11_000 * US) < 7_000 * US
    }

    fn next(&mut self) -> (u32, Size) {
        let vnic = self.first + self.next;
        self.left -= 1;
        if self.left == 0 {
            self.left = if self.group.bursts { 32 } else { 1 };
            self.next = (self.next + 1) % self.group.vnics;
        }
        (vnic, self.group.size())
    }
}

/// What left: when, whose, and how much.
struct Record {
    /// By vNIC: when, its own bytes and wire bytes until then.
    left: Vec<Vec<(u64, u64, u64)>>,
    /// When the worker did not run.
    stalls: Vec<(u64, u64)>,
    from: u64,
    to: u64,
}

/// How rough a processor is.
#[derive(Clone, Copy)]
struct Rough {
    /// A stall each so many µs, about; 0: none.
    every: u64,
    /// Up to so many µs.
    most: u64,
    /// The device takes so many of a turn at most.
    takes: usize,
    /// Which of all such processors.
    seed: u64,
}

struct Sim {
    scheduler: Scheduler<(u32, Size)>,
    stands: Vec<Stand>,
    flood: usize,
    random: Splitmix,
    now: u64,
    rough: Rough,
    next_stall: u64,
    record: Record,
    refused: u64,
}

impl Sim {
    fn new(groups: &[Group], capacity: Pace, default_share: u32, items: u32, rough: Rough) -> Sim {
        let vnics: u32 = groups.iter().map(|group| group.vnics).sum();
        let settings = Settings::new(HZ, items, vnics, 1);
        let mut scheduler = Scheduler::new(settings);
        let mut link = Link::plain(capacity);
        link.default_share = default_share;
        let state = LinkState::new(&link, Leases::new(1), 0, &settings);
        scheduler.set_link(UP, Some(state), 0);
        let mut stands = Vec::new();
        let mut first = 0;
        for group in groups {
            for vnic in first..first + group.vnics {
                let promise = Promise {
                    share: group.share,
                    max: match group.max {
                        0 => Pace::UNLIMITED,
                        max => Pace::of(max, HZ),
                    },
                    ..Promise::default()
                };
                scheduler.promise(VnicId(vnic), Some(&promise), 0);
            }
            stands.push(Stand::new(first, *group, HZ));
            first += group.vnics;
        }
        Sim {
            scheduler,
            stands,
            flood: 0,
            random: Splitmix(rough.seed),
            now: HZ,
            rough,
            next_stall: HZ,
            record: Record {
                left: vec![Vec::new(); first as usize],
                stalls: Vec::new(),
                from: 0,
                to: 0,
            },
            refused: 0,
        }
    }

    /// A batch from the source, as the rig makes it: those with a rate first, then all they can.
    fn comes(&mut self) -> Vec<(u32, Size)> {
        let mut batch = Vec::with_capacity(BATCH);
        for stand in &mut self.stands {
            if stand.every == 0.0 {
                continue;
            }
            if !stand.sends(self.now) {
                stand.due = stand.due.max(self.now as f64);
                continue;
            }
            // What is longer ago than 2 ms is not made up for.
            stand.due = stand.due.max(self.now as f64 - 2000.0 * US as f64);
            while stand.due <= self.now as f64 && batch.len() < BATCH {
                stand.due += stand.every;
                batch.push(stand.next());
            }
        }
        let mut passed = 0;
        while batch.len() < BATCH && passed < self.stands.len() {
            let stand = &mut self.stands[self.flood];
            if stand.every != 0.0 {
                passed += 1;
                self.flood = (self.flood + 1) % self.stands.len();
                continue;
            }
            passed = 0;
            while batch.len() < BATCH {
                batch.push(stand.next());
                if stand.next == 0 && stand.left == 1 {
                    self.flood = (self.flood + 1) % self.stands.len();
                    break;
                }
            }
        }
        batch
    }

    /// Time passes, and sometimes much more than that.
    fn takes(&mut self, cycles: u64) {
        self.now += cycles;
        if self.rough.every > 0 && self.now >= self.next_stall {
            if self.next_stall > HZ {
                let part = self.random.below(1_000_000);
                let from = self.now + PIECE;
                self.now += US + self.rough.most * US * part / 1_000_000;
                if from < self.now {
                    self.record.stalls.push((from, self.now));
                }
            }
            self.next_stall = self.now + self.random.below(2 * self.rough.every * US);
        }
    }

    fn leaves(&mut self, vnic: u32, size: Size) {
        let left = &mut self.record.left[vnic as usize];
        let (own, wire) = left.last().map_or((0, 0), |last| (last.1, last.2));
        left.push((
            self.now,
            own + u64::from(size.bytes),
            wire + u64::from(size.wire),
        ));
    }

    fn turn(&mut self) {
        let polled = self.now;
        let now = self.now;
        let came = self.comes();
        self.takes(200 + 100 * came.len() as u64);
        let mut passed = Vec::new();
        for (vnic, size) in came {
            if self
                .scheduler
                .pass(VnicId(vnic), EXIT, ClassId::NONE, size, now)
            {
                passed.push((vnic, size));
            } else if self
                .scheduler
                .enqueue(VnicId(vnic), EXIT, ClassId::NONE, size, now, (vnic, size))
                .is_err()
            {
                self.refused += 1;
            }
        }
        self.takes(100 * passed.len() as u64);
        for (vnic, size) in passed {
            self.leaves(vnic, size);
        }
        // As a worker: what was released before has left by the end of that turn, and the clock is read again.
        self.scheduler.left_by(polled);
        let now = self.now;
        let mut room = self.rough.takes;
        self.scheduler.tick(now);
        for _ in 0..8 {
            let mut left = Vec::with_capacity(BATCH);
            let most = room.min(BATCH);
            let count = self
                .scheduler
                .release(UP, now, most, |leaving| left.push(leaving.item));
            room -= count;
            if count == 0 {
                break;
            }
            self.takes(300 * count as u64);
            for (vnic, size) in left {
                self.leaves(vnic, size);
            }
        }
        self.takes(100);
    }

    /// What leaves in so long, after some time.
    fn run(&mut self, warm_up: u64, time: u64) -> Record {
        let from = self.now + warm_up;
        while self.now < from {
            self.turn();
        }
        let vnics = self.record.left.len();
        self.record = Record {
            left: vec![Vec::new(); vnics],
            stalls: Vec::new(),
            from: self.now,
            to: 0,
        };
        let until = self.now + time;
        while self.now < until {
            self.turn();
        }
        self.record.to = self.now;
        std::mem::replace(
            &mut self.record,
            Record {
                left: vec![Vec::new(); vnics],
                stalls: Vec::new(),
                from: 0,
                to: 0,
            },
        )
    }

    /// From now on the same vNICs offer this.
    fn offer(&mut self, groups: &[Group]) {
        let mut first = 0;
        self.stands.clear();
        self.flood = 0;
        for group in groups {
            self.stands.push(Stand::new(first, *group, self.now));
            first += group.vnics;
        }
    }
}

impl Record {
    /// The time of that in which the worker ran.
    fn running(&self) -> impl Fn(u64) -> u64 {
        let mut before = Vec::new();
        let mut sum = 0;
        for (from, to) in &self.stalls {
            before.push((*from, *to, sum));
            sum += to - from;
        }
        move |time| {
            let place = before.partition_point(|(from, ..)| *from <= time);
            match place.checked_sub(1) {
                None => time,
                Some(place) => {
                    let (from, to, before) = before[place];
                    time - before - (time.min(to) - from)
                }
            }
        }
    }

    /// In percent and beyond one frame: what is missing in the emptiest window by the running clock, what is too much in the fullest by the
    /// other.
    fn off(&self, vnic: u32, rate: f64, frame: f64, window: u64, wire: bool) -> (f64, f64) {
        let running = self.running();
        let left = &self.left[vnic as usize];
        let sum = |it: &(u64, u64, u64)| if wire { it.2 } else { it.1 } as f64;
        let wanted = rate * window as f64 / HZ as f64;
        // Emptiest: between two frames that are so far apart, ends not among it.
        let mut points: Vec<(u64, f64)> = vec![(running(self.from), 0.0)];
        points.extend(left.iter().map(|it| (running(it.0), sum(it))));
        let end = running(self.to);
        let mut least = f64::INFINITY;
        let mut to = 0;
        for (at, (from, had)) in points.iter().enumerate() {
            if from + window > end {
                break;
            }
            to = to.max(at);
            while to + 1 < points.len() && points[to + 1].0 < from + window {
                to += 1;
            }
            least = least.min(points[to].1 - had);
        }
        let under = (wanted - least - frame) / wanted;
        // Fullest: from a frame on, ends among it.
        let mut most: f64 = 0.0;
        let mut to = 0;
        for (at, it) in left.iter().enumerate() {
            if it.0 + window > self.to {
                break;
            }
            while to + 1 < left.len() && left[to + 1].0 <= it.0 + window {
                to += 1;
            }
            let before = at.checked_sub(1).map_or(0.0, |at| sum(&left[at]));
            most = most.max(sum(&left[to]) - before);
        }
        let over = (most - wanted - frame) / wanted;
        (100.0 * under.max(0.0), 100.0 * over.max(0.0))
    }
}

const SMOOTH: Rough = Rough {
    every: 0,
    most: 0,
    takes: 256,
    seed: 7,
};
const ROUGH: Rough = Rough {
    every: 60_000,
    most: 2_500,
    takes: 40,
    seed: 7,
};
/// Stalls that are as short as an interrupt's and longer.
const UNEVEN: Rough = Rough {
    every: 10_000,
    most: 180,
    takes: 40,
    seed: 7,
};

#[test]
fn maxima_are_kept_whatever_the_processor_does() {
    let group = |vnics, max: u64, bytes: u32| Group {
        vnics,
        share: 0,
        max,
        bytes,
        offers: Some(1.3 * max as f64 / 8.0 * f64::from(bytes + 66) / f64::from(bytes)),
        bursts: false,
    };
    let scenes: [&[Group]; 4] = [
        &[group(1, 1_000_000_000, 1514)],
        &[group(1, 100_000_000, 60)],
        &[
            group(400, 500_000, 60),
            group(400, 2_000_000, 1514),
            group(200, 10_000_000, 1514),
        ],
        &[
            group(5_000, 50_000, 60),
            group(4_000, 200_000, 1514),
            group(1_000, 1_000_000, 1514),
        ],
    ];
    // What one seed's stalls meet another's do not: of seven four had what is over by 1.8%.
    let seeds = (1..7).map(|seed| Rough { seed, ..ROUGH });
    let others = seeds.map(|rough| ("rough", rough, &scenes[2..3]));
    let first = [
        ("smooth", SMOOTH, &scenes[..]),
        ("rough", ROUGH, &scenes[..]),
    ];
    for (name, rough, scenes) in first.into_iter().chain(others) {
        for &groups in scenes {
            let vnics: u32 = groups.iter().map(|group| group.vnics).sum();
            let mut sim = Sim::new(groups, Pace::UNLIMITED, 1, 24_000 + 8 * vnics, rough);
            let record = sim.run(300_000 * US, 1_500_000 * US);
            let mut first = 0;
            for group in groups {
                let mut worst = [(0.0_f64, 0.0_f64); 2];
                for vnic in first..first + group.vnics {
                    for (worst, ms) in worst.iter_mut().zip([1000, 100]) {
                        let (under, over) = record.off(
                            vnic,
                            group.max as f64 / 8.0,
                            f64::from(group.bytes),
                            ms * 1000 * US,
                            false,
                        );
                        *worst = (worst.0.max(under), worst.1.max(over));
                    }
                }
                first += group.vnics;
                let [(under, over), (under_tenth, over_tenth)] = worst;
                let said = format!(
                    "{name} ({}), {} of {} bit/s, {} bytes: in a second {under:.3} % short, {over:.3} % over; in 100 ms {under_tenth:.3}, \
                     {over_tenth:.3}",
                    rough.seed, group.vnics, group.max, group.bytes
                );
                eprintln!("{said}");
                assert!(under.max(over) <= 0.1, "{said}");
                assert!(under_tenth.max(over_tenth) <= 0.5, "{said}");
            }
        }
    }
}

fn minima_of(own: u32, theirs: u32, bursts: bool) -> Vec<Group> {
    let min = |vnics, kbit: u32, bytes: u32, bursts| Group {
        vnics,
        share: kbit,
        max: 0,
        bytes,
        offers: Some(1.3 * 125.0 * f64::from(kbit)),
        bursts,
    };
    let rest = Group {
        vnics: 956,
        share: 0,
        max: 0,
        bytes: theirs,
        offers: None,
        bursts: false,
    };
    vec![
        min(4, 1_000, own, false),
        min(4, 5_000, own, false),
        min(4, 10_000, own, false),
        min(4, 20_000, own, false),
        min(4, 89_000, own, false),
        min(40, 10_000, theirs, bursts),
        rest,
    ]
}

#[test]
fn minima_are_kept_whatever_the_processor_does() {
    for (name, rough) in [("smooth", SMOOTH), ("rough", ROUGH), ("uneven", UNEVEN)] {
        let first = minima_of(60, 60, false);
        let capacity = Pace::of(1_000_000_000, HZ);
        let mut sim = Sim::new(&first, capacity, 100_000, 24_500, rough);
        for (own, theirs, bursts) in [
            (60, 60, false),
            (60, 1514, true),
            (1514, 60, true),
            (1514, 1514, false),
        ] {
            let groups = minima_of(own, theirs, bursts);
            sim.offer(&groups);
            let record = sim.run(300_000 * US, 600_000 * US);
            let round = 20.0 * f64::from(own + 66) + 996.0 * f64::from(theirs + 66);
            let window = (2.0 * round / 125e6).max(0.01) * HZ as f64;
            let judged = groups[..5]
                .iter()
                .flat_map(|group| std::iter::repeat_n(group, group.vnics as usize));
            let mut worst: f64 = 0.0;
            for (vnic, group) in (0..).zip(judged) {
                let rate = 125.0 * f64::from(group.share);
                let frame = f64::from(group.bytes + 66);
                let (under, _) = record.off(vnic, rate, frame, window as u64, true);
                worst = worst.max(under);
            }
            let said = format!("{name}, {own} bytes beside {theirs}: {worst:.3} % short");
            eprintln!("{said}");
            // So much of a stall that nobody sees may be missing at a window's end, whoever schedules; but no more: it is made up for.
            let unseen = match rough.every {
                0 => 0.0,
                _ => 100.0 * PIECE as f64 / window,
            };
            assert!(worst <= unseen + 0.5, "{said}");
        }
    }
}

/// Two rounds of long frames are 2.03 of a vNIC with 1 Mbit/s: where two distances in a row are a thirtieth longer than they should be, one of two is
/// missing.
#[test]
fn frames_of_slow_vnics_come_at_even_distances() {
    let capacity = Pace::of(1_000_000_000, HZ);
    for (bytes, (name, rough)) in [60, 1514]
        .into_iter()
        .flat_map(|bytes| [("smooth", SMOOTH), ("uneven", UNEVEN)].map(|it| (bytes, it)))
    {
        // All begin at once, and at other times.
        for later in [0, 1234] {
            let mut sim = Sim::new(
                &minima_of(bytes, 60, true),
                capacity,
                100_000,
                24_500,
                rough,
            );
            sim.run((100_000 + later) * US, 0);
            let groups = minima_of(bytes, bytes, false);
            sim.offer(&groups);
            let record = sim.run(200_000 * US, 400_000 * US);
            let (running, frame) = (record.running(), f64::from(bytes + 66));
            let window = (2.0 * 1016.0 * frame / 125e6).max(0.01) * HZ as f64;
            let (mut worst, mut longest) = (0.0_f64, 0.0_f64);
            for vnic in 0..20 {
                let rate = 125.0 * f64::from(groups[vnic as usize / 4].share);
                let (under, _) = record.off(vnic, rate, frame, window as u64, true);
                worst = worst.max(under);
                let left = record.left[vnic as usize].windows(3);
                let two = left.map(|it| running(it[2].0) - running(it[0].0)).max();
                if vnic < 4 {
                    longest = longest.max(two.unwrap() as f64 * rate / HZ as f64 / frame);
                }
            }
            let said = format!(
                "{bytes} bytes, {name}, {later} us later: {worst:.2} % short, two distances of {longest:.3} frames' time"
            );
            eprintln!("{said}");
            assert!(worst <= 1.0 && longest <= 2.1, "{said}");
        }
    }
}

#[test]
fn who_begins_is_not_behind_those_to_whom_its_share_was_lent() {
    // 300 Mbit/s for 7 ms of 11; a thousand others have all of that meanwhile, and are served at once.
    let group = |vnics, share, offers, bursts| Group {
        vnics,
        share,
        max: 0,
        bytes: 60,
        offers,
        bursts,
    };
    let (rate, begins) = (125.0 * 300e3, 11_000 * US);
    let groups = [
        group(1, 300_000, Some(1.1 * rate), true),
        group(1000, 600, None, false),
        group(50, 0, None, false),
    ];
    let capacity = Pace::of(1_000_000_000, HZ);
    let mut sim = Sim::new(&groups, capacity, 100_000, 32_500, SMOOTH);
    let record = sim.run(100_000 * US, 300_000 * US);
    let left = &record.left[0];
    let mut latest: f64 = 0.0;
    for begin in (record.from.div_ceil(begins)..record.to / begins).map(|n| n * begins) {
        let first = left.partition_point(|it| it.0 < begin);
        let before = left[first - 1].2;
        let mut had = 126.0;
        for (at, _, sum) in &left[first..] {
            if *at > begin + 7_000 * US {
                break;
            }
            let late = (at - begin) as f64 - had / rate * HZ as f64;
            latest = latest.max(late / US as f64);
            had = (sum - before) as f64 + 126.0;
        }
    }
    // One frame of each would be a millisecond.
    assert!((1.0..100.0).contains(&latest), "{latest:.1} us late");
}
