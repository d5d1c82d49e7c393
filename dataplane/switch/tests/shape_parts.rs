//! What each of several workers has of one link, rule by rule: whose class goes first on whichever worker, what of the capacity is left to
//! others, what a part that changes does to what was owed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod shape_common;

use shape_common::*;
use weir_switch::shape::{LinkState, Scheduler, Settings, leases::Leases};
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Tc};
use weir_tables::ids::VnicId;

const FIRST: ClassId = ClassId(1);
const SECOND: ClassId = ClassId(2);
/// As much as a worker's device takes in a turn, and more.
const ALL: usize = 64;

fn class(tc: u8, max: Pace) -> Class {
    Class {
        name: "c".into(),
        share: 1,
        max,
        tc,
        dscp: None,
        pcp: None,
    }
}

/// Workers that share a link, in turns of 10 µs.
struct Team {
    workers: Vec<Scheduler<()>>,
    now: u64,
}

impl Team {
    fn new(workers: usize, link: &Link) -> Team {
        let settings = Settings::new(HZ, 2000, 400, 1);
        let leases = Leases::new(workers);
        let workers = (0..workers).map(|me| {
            let mut worker = Scheduler::new(settings);
            let state = LinkState::new(link, leases.clone(), me, &settings);
            drop(worker.set_link(UP, Some(state), 0));
            worker
        });
        Team {
            workers: workers.collect(),
            now: HZ,
        }
    }

    /// Time passes, and `turn` is each worker's; full frames that it says each let leave.
    fn run(
        &mut self,
        time: u64,
        mut turn: impl FnMut(usize, &mut Scheduler<()>, u64) -> usize,
    ) -> Vec<usize> {
        let mut left = vec![0; self.workers.len()];
        let until = self.now + time;
        while self.now < until {
            self.now += MS / 100;
            for (me, worker) in self.workers.iter_mut().enumerate() {
                left[me] += turn(me, worker, self.now);
            }
        }
        left
    }

    /// What each worker's part of the capacity is now, in Mbit/s.
    fn parts(mut self) -> Vec<f64> {
        let workers = self.workers.iter_mut();
        let parts = workers.map(|worker| {
            let state = worker.set_link(UP, None, self.now).unwrap();
            state.part().bits_per_second(HZ).unwrap() as f64 / 1e6
        });
        parts.collect()
    }
}

/// A vNIC that sends all it can, on a device that takes so many a turn.
fn floods(worker: &mut Scheduler<()>, class: ClassId, room: usize, now: u64) -> usize {
    while worker.waiting(A).items < 32 && worker.enqueue(A, EXIT, class, FULL, now, ()).is_ok() {}
    only_releases(worker, room, now)
}

fn only_releases(worker: &mut Scheduler<()>, room: usize, now: u64) -> usize {
    worker.tick(now);
    worker.release(UP, now, room, |_| ())
}

/// Mbit/s of so many full frames.
fn mbit(frames: usize, time: u64) -> f64 {
    (frames * 1538 * 8) as f64 * (HZ / time) as f64 / 1e6
}

/// Mbit/s of three workers on each of which one vNIC sends all it can in one of these classes.
fn each_in_one(link: &Link, classes: [ClassId; 3]) -> Vec<f64> {
    let mut team = Team::new(3, link);
    let mut run = |time| {
        team.run(time, |me, worker, now| {
            floods(worker, classes[me], ALL, now)
        })
    };
    run(50 * MS);
    let left = run(100 * MS);
    left.into_iter()
        .map(|frames| mbit(frames, 100 * MS))
        .collect()
}

#[test]
fn the_highest_strict_class_is_first_whichever_worker_has_it() {
    let mut link = Link::plain(Pace::of(10 * GBIT, HZ));
    link.classes = [class(2, Pace::UNLIMITED), class(5, Pace::UNLIMITED)].into();
    for tc in [2, 5] {
        link.tcs[tc].strict = true;
    }
    for (classes, first) in [([NONE, SECOND, FIRST], 1), ([FIRST, NONE, FIRST], 3)] {
        let got = each_in_one(&link, classes);
        for (me, (got, class)) in got.iter().zip(classes).enumerate() {
            let wanted = match (first, class) {
                (3, FIRST) => 4_900.0..5_100.0,
                _ if me == first => 9_800.0..10_100.0,
                _ => 0.0..50.0,
            };
            assert!(wanted.contains(got), "{classes:?}: {me} has {got} Mbit/s");
        }
    }
}

#[test]
fn classes_have_their_shares_whichever_worker_has_them() {
    let mut link = Link::plain(Pace::of(10 * GBIT, HZ));
    link.classes = [class(3, Pace::UNLIMITED), class(4, Pace::UNLIMITED)].into();
    (link.tcs[0], link.tcs[3], link.tcs[4]) = (Tc::ets(20), Tc::ets(20), Tc::ets(60));
    let got = each_in_one(&link, [NONE, FIRST, SECOND]);
    for (got, wanted) in got.iter().zip([2_000.0, 2_000.0, 6_000.0]) {
        assert!((got - wanted).abs() < 0.02 * wanted, "{got} of {wanted}");
    }
}

#[test]
fn who_is_held_up_by_its_device_leaves_the_link_to_others() {
    let mut team = Team::new(2, &Link::plain(Pace::of(10 * GBIT, HZ)));
    // One's takes a frame a turn: 1.23 Gbit/s.
    let room = [1, ALL];
    let mut run = |time| team.run(time, |me, worker, now| floods(worker, NONE, room[me], now));
    run(50 * MS);
    let other = mbit(run(100 * MS)[1], 100 * MS);
    assert!((8_600.0..8_900.0).contains(&other), "{other} Mbit/s");
}

#[test]
fn what_a_worker_said_that_sleeps_is_forgotten() {
    let mut team = Team::new(2, &Link::plain(Pace::of(10 * GBIT, HZ)));
    team.run(20 * MS, |_, worker, now| floods(worker, NONE, ALL, now));
    let mut alone = |time| {
        let left = team.run(time, |me, worker, now| match me {
            0 => floods(worker, NONE, ALL, now),
            _ => 0,
        });
        mbit(left[0], time)
    };
    alone(50 * MS);
    let got = alone(100 * MS);
    assert!(got > 9_900.0, "{got} Mbit/s");
}

/// A frame that is in time, if no more is sent than this worker's part.
fn sends_one(worker: &mut Scheduler<()>, waited: &mut usize, now: u64) -> usize {
    let passes = worker.pass(A, EXIT, NONE, FULL, now);
    if !passes {
        *waited += 1;
        worker.enqueue(A, EXIT, NONE, FULL, now, ()).unwrap();
    }
    only_releases(worker, ALL, now) + usize::from(passes)
}

#[test]
fn who_comes_back_does_not_use_what_it_used_before() {
    let mut team = Team::new(2, &Link::plain(Pace::of(10 * GBIT, HZ)));
    for worker in &mut team.workers {
        worker.promise(A, Some(&share(10)), 0);
    }
    let mut waited = 0;
    let mut turns = |time, sleeps: bool| {
        team.run(time, |me, worker, now| match me {
            0 => floods(worker, NONE, ALL, now),
            _ if sleeps => 0,
            _ => (0..3).map(|_| sends_one(worker, &mut waited, now)).sum(),
        })
    };
    let light = mbit(turns(50 * MS, false)[1], 50 * MS);
    assert!((3_600.0..3_700.0).contains(&light), "{light} Mbit/s");
    turns(100 * MS, true);
    // It has nothing to send. What it says of itself is missing to the other.
    team.run(MS / 2, |me, worker, now| match me {
        0 => floods(worker, NONE, ALL, now),
        _ => only_releases(worker, ALL, now),
    });
    let parts = team.parts();
    assert!(parts[0] > 9_900.0, "{parts:?}");
}

#[test]
fn who_sends_less_than_its_share_never_waits_and_all_parts_are_no_more_than_the_link() {
    let mut team = Team::new(2, &Link::plain(Pace::of(10 * GBIT, HZ)));
    let mut waited = 0;
    let mut run = |time| {
        let left = team.run(time, |me, worker, now| match me {
            0 => sends_one(worker, &mut waited, now),
            _ => floods(worker, NONE, ALL, now),
        });
        (left, std::mem::take(&mut waited))
    };
    run(20 * MS);
    let (left, waited) = run(100 * MS);
    assert_eq!((left[0], waited), (10_000, 0));
    let sum = mbit(left[0] + left[1], 100 * MS);
    assert!((9_930.0..10_010.0).contains(&sum), "{sum} Mbit/s");
    let parts = team.parts();
    let all: f64 = parts.iter().sum();
    assert!(all < 10_001.0, "{parts:?}");
}

#[test]
fn a_class_has_its_maximum_where_none_of_it_waits() {
    let mut link = Link::plain(Pace::of(100 * GBIT, HZ));
    link.classes = [class(0, Pace::of(GBIT, HZ))].into();
    // Nothing of it waits anywhere: all of the maximum, of which 0.2 ms are 25,000 bytes. It waits on another worker: half.
    for (waits, wanted) in [(false, 16), (true, 8)] {
        let mut team = Team::new(2, &link);
        team.run(20 * MS, |me, worker, now| match me {
            0 if waits => floods(worker, FIRST, ALL, now),
            _ => only_releases(worker, ALL, now),
        });
        let now = team.now;
        let other = &mut team.workers[1];
        let passes = (0..1000).take_while(|_| other.pass(A, EXIT, FIRST, FULL, now));
        assert_eq!(passes.count(), wanted);
    }
}

#[test]
fn what_was_owed_at_a_small_part_is_little_at_a_large_one() {
    // Beside one who sends all it can a worker's part is a 512th: a frame takes 0.63 s.
    let mut team = Team::new(2, &Link::plain(Pace::of(10_000_000, HZ)));
    team.run(2000 * MS, |me, worker, now| match me {
        0 => only_releases(worker, ALL, now),
        _ => floods(worker, NONE, ALL, now),
    });
    let now = team.now;
    let own = &mut team.workers[0];
    for _ in 0..3 {
        own.enqueue(A, EXIT, NONE, FULL, now, ()).unwrap();
    }
    assert_eq!(only_releases(own, ALL, now), 1);
    // It says that it needs more, and has half of the link: 2.5 ms a frame.
    let left = team.run(150 * MS, |me, worker, now| match me {
        0 => only_releases(worker, ALL, now),
        _ => floods(worker, NONE, ALL, now),
    });
    assert_eq!(left[0], 2);
}

#[test]
fn what_left_early_at_a_large_part_is_not_paid_off_at_a_small_one() {
    let mut team = Team::new(2, &Link::plain(Pace::of(10 * GBIT, HZ)));
    for (worker, weight) in team.workers.iter_mut().zip([1, 999]) {
        worker.promise(A, Some(&share(weight)), 0);
    }
    team.run(50 * MS, |me, worker, now| match me {
        0 => floods(worker, NONE, ALL, now),
        _ => only_releases(worker, ALL, now),
    });
    // From now on it has 10 Mbit/s. 0.2 ms of the whole link would be 200 ms of that.
    team.run(5 * MS, |_, worker, now| floods(worker, NONE, ALL, now));
    let left = team.run(50 * MS, |_, worker, now| floods(worker, NONE, ALL, now));
    assert!((35..=45).contains(&left[0]), "{left:?}");
}

/// Whoever has two frames waiting can use more, also before its first turn: else a worker with many newcomers would get no more than one.
#[test]
fn newcomers_count_before_their_first_turn() {
    let mut team = Team::new(2, &Link::plain(Pace::of(GBIT / 10, HZ)));
    for worker in &mut team.workers {
        for vnic in 0..400 {
            worker.promise(VnicId(vnic), Some(&share(1)), 0);
        }
    }
    team.run(50 * MS, |me, worker, now| match me {
        0 => floods(worker, NONE, ALL, now),
        _ => only_releases(worker, ALL, now),
    });
    let now = team.now;
    for vnic in 0..300 {
        for _ in 0..2 {
            let put = team.workers[1].enqueue(VnicId(vnic), EXIT, NONE, FULL, now, ());
            put.unwrap();
        }
    }
    // A round of all takes 37 ms.
    let left = team.run(30 * MS, |me, worker, now| match me {
        0 => floods(worker, NONE, ALL, now),
        _ => only_releases(worker, ALL, now),
    });
    assert!(left[1] > 200, "{left:?}");
    assert!(left[0] < 30, "{left:?}");
}

#[test]
fn what_was_owed_at_a_small_part_of_a_class_is_little_at_a_large_one() {
    let mut link = Link::plain(Pace::of(10 * GBIT, HZ));
    link.classes = [class(0, Pace::of(10_000_000, HZ))].into();
    let mut team = Team::new(2, &link);
    // Of a hundred who can use more all but one are elsewhere: a frame takes 121 ms here, and 1.2 ms when they have nothing more.
    for vnic in 0..99 {
        for _ in 0..8 {
            let put = team.workers[1].enqueue(VnicId(vnic), EXIT, FIRST, FULL, HZ, ());
            put.unwrap();
        }
    }
    team.run(20 * MS, |_, worker, now| only_releases(worker, ALL, now));
    let now = team.now;
    for _ in 0..3 {
        let put = team.workers[0].enqueue(A, EXIT, FIRST, FULL, now, ());
        put.unwrap();
    }
    let left = team.run(20 * MS, |_, worker, now| only_releases(worker, ALL, now));
    assert_eq!(left[0], 1);
    team.workers[1].drain(|_, _, _, ()| ());
    let left = team.run(20 * MS, |_, worker, now| only_releases(worker, ALL, now));
    assert_eq!(left[0], 2);
}

/// A frame of each of twenty that have none waiting, and what leaves then; four times.
fn runs_dry(worker: &mut Scheduler<()>, now: u64) -> usize {
    let mut left = 0;
    for _ in 0..4 {
        for vnic in DRY.map(VnicId) {
            if worker.waiting(vnic).items == 0 {
                let put = worker.enqueue(vnic, EXIT, NONE, FULL, now, ());
                put.unwrap();
            }
        }
        left += only_releases(worker, ALL, now);
    }
    left
}

const DRY: std::ops::Range<u32> = 100..120;

/// Mbit/s of two workers, on the first of which twenty of weight 1 run dry, on the other one of weight 20 sends all it can; `before`: what else the
/// first one had.
fn dry_beside_flood(before: impl FnOnce(&mut Team)) -> [f64; 2] {
    let mut team = Team::new(2, &Link::plain(Pace::of(10 * GBIT, HZ)));
    for worker in &mut team.workers {
        worker.promise(A, Some(&share(20)), 0);
        for vnic in DRY {
            worker.promise(VnicId(vnic), Some(&share(1)), 0);
        }
    }
    before(&mut team);
    team.run(20 * MS, |me, worker, now| match me {
        0 => runs_dry(worker, now),
        _ => only_releases(worker, ALL, now),
    });
    let mut run = |time| {
        team.run(time, |me, worker, now| match me {
            0 => runs_dry(worker, now),
            _ => floods(worker, NONE, ALL, now),
        })
    };
    run(2 * MS);
    let left = run(50 * MS);
    [0, 1].map(|me| mbit(left[me], 50 * MS))
}

/// They leave nothing of themselves behind, and use all that they get all the same: another worker's vNIC has its share beside them, whatever they
/// were given before it came.
#[test]
fn who_runs_dry_at_each_turn_has_no_more_than_its_share() {
    for got in dry_beside_flood(|_| ()) {
        assert!((4_800.0..5_200.0).contains(&got), "{got} Mbit/s");
    }
}

#[test]
fn what_counts_of_a_worker_are_the_weights_that_it_has_now() {
    let first = |team: &mut Team| {
        team.workers[0].promise(A, Some(&share(60)), 0);
        team.run(5 * MS, |me, worker, now| match me {
            0 => floods(worker, NONE, ALL, now),
            _ => 0,
        });
        while team.workers[0].waiting(A).items > 0 {
            team.run(MS, |_, worker, now| only_releases(worker, ALL, now));
        }
    };
    let lighter = dry_beside_flood(|team| {
        first(team);
        team.workers[0].promise(A, Some(&share(1)), team.now);
    });
    // It has gone to another worker, and is promised the same on all.
    let moved = dry_beside_flood(|team| {
        first(team);
        team.workers[0].promise(A, None, team.now);
        team.workers[0].promise(A, Some(&share(60)), team.now);
    });
    for got in lighter.into_iter().chain(moved) {
        assert!((4_700.0..5_300.0).contains(&got), "{lighter:?} {moved:?}");
    }
}

/// What a worker lets through is bounded by weights only as far as others use theirs.
#[test]
fn what_one_worker_does_not_use_is_no_bound_to_another() {
    let mut team = Team::new(3, &Link::plain(Pace::of(10 * GBIT, HZ)));
    for (worker, weight) in team.workers.iter_mut().zip([60, 20, 20]) {
        worker.promise(A, Some(&share(weight)), 0);
    }
    team.run(20 * MS, |_, worker, now| floods(worker, NONE, ALL, now));
    // The first sends a sixth of its 6 Gbit/s, so that the second may have 4.5, and sends 4.
    let from = team.now;
    let (mut sent, mut waited) = ([0; 2], 0);
    let left = team.run(200 * MS, |me, worker, now| {
        let Some(sent) = sent.get_mut(me) else {
            return floods(worker, NONE, ALL, now);
        };
        let rate = [1e9, 4e9][me];
        let due = ((now - from) as f64 / HZ as f64 * rate / (1538.0 * 8.0)) as u32;
        let mut left = 0;
        while *sent < due {
            *sent += 1;
            if worker.pass(A, EXIT, NONE, FULL, now) {
                left += 1;
            } else {
                waited += usize::from(now - from > 20 * MS);
                worker.enqueue(A, EXIT, NONE, FULL, now, ()).unwrap();
            }
        }
        left + only_releases(worker, ALL, now)
    });
    let got = mbit(left[1], 200 * MS);
    assert!((3_980.0..4_020.0).contains(&got), "{got} Mbit/s");
    assert_eq!(waited, 0);
}

/// What needs no more than its share has it, and waits for nobody: also beside a worker that takes all it can get.
#[test]
fn who_needs_less_than_its_share_has_it_without_waiting() {
    let mut team = Team::new(2, &Link::plain(Pace::of(10 * GBIT, HZ)));
    for worker in &mut team.workers {
        worker.promise(A, Some(&share(2)), 0);
        for vnic in 100..190 {
            worker.promise(VnicId(vnic), Some(&share(1)), 0);
        }
    }
    // Each of 90 sends a frame of its 100 Mbit/s every 125 us or so, one after the other.
    let mut next = 0;
    let mut waited = 0;
    let from = team.now;
    let left = team.run(200 * MS, |me, worker, now| {
        if me != 0 {
            return floods(worker, NONE, ALL, now);
        }
        let due = ((now - from) as f64 / HZ as f64 * 9e9 / (1538.0 * 8.0)) as u32;
        let mut out = 0;
        while next < due {
            let vnic = VnicId(100 + next % 90);
            next += 1;
            if worker.pass(vnic, EXIT, NONE, FULL, now) {
                out += 1;
            } else {
                worker.enqueue(vnic, EXIT, NONE, FULL, now, ()).unwrap();
            }
        }
        worker.tick(now);
        let late = now - from > 20 * MS;
        out + worker.release(UP, now, ALL, |_| waited += usize::from(late))
    });
    let got = mbit(left[0], 200 * MS);
    assert!(got > 8_980.0, "{got} Mbit/s");
    assert_eq!(waited, 0, "once it was seen who sends here");
}
