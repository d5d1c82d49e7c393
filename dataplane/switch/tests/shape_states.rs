//! What a scheduler keeps in mind of who waits, and what becomes of that when a promise changes, a link is replaced, or nobody waits any
//! more: by what everybody gets, and how much may wait.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod shape_common;

use shape_common::*;
use weir_switch::shape::{Exit, LinkState, Parcel, Scheduler, Settings, Size, leases::Leases};
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Promise};
use weir_tables::ids::VnicId;

const CLASS: ClassId = ClassId(1);
const MBIT: u64 = 1_000_000;

/// A link of which the default class has a share of 1.
fn link(bits: u64) -> Link {
    let mut link = Link::plain(Pace::of(bits, HZ));
    link.default_share = 1;
    link
}

fn class(share: u32, max: Pace, tc: u8) -> Class {
    Class {
        name: "c".into(),
        share,
        max,
        tc,
        dscp: None,
        pcp: None,
    }
}

/// One worker, in turns of 0.1 ms.
struct One {
    scheduler: Scheduler<VnicId>,
    now: u64,
    /// Frames of A, and of B, that have left.
    left: [usize; 2],
}

impl One {
    fn new(link: &Link) -> One {
        let mut one = One {
            scheduler: Scheduler::new(Settings::new(HZ, 4000, 300, 1)),
            now: HZ,
            left: [0; 2],
        };
        one.link(link);
        one
    }

    fn link(&mut self, link: &Link) {
        let settings = *self.scheduler.settings();
        let state = LinkState::new(link, Leases::new(1), 0, &settings);
        drop(self.scheduler.set_link(UP, Some(state), self.now));
    }

    fn promise(&mut self, vnic: VnicId, promise: &Promise) {
        self.scheduler.promise(vnic, Some(promise), self.now);
    }

    fn put(&mut self, vnic: VnicId, exit: Exit, class: ClassId) -> bool {
        let put = self
            .scheduler
            .enqueue(vnic, exit, class, FULL, self.now, vnic);
        put.is_ok()
    }

    /// As much as may wait, up to this many frames.
    fn fill(&mut self, vnic: VnicId, class: ClassId, most: u64) {
        while self.scheduler.waiting(vnic).items < most && self.put(vnic, EXIT, class) {}
    }

    fn turn(&mut self) {
        self.now += MS / 10;
        self.scheduler.tick(self.now);
        let left = &mut self.left;
        self.scheduler
            .release(UP, self.now, 1000, |leaving| match leaving.item {
                A => left[0] += 1,
                B => left[1] += 1,
                _ => (),
            });
    }

    /// For so many milliseconds `offers` is asked before each turn; what left of A and B.
    fn run(&mut self, milliseconds: u64, mut offers: impl FnMut(&mut One)) -> [usize; 2] {
        self.left = [0; 2];
        for _ in 0..10 * milliseconds {
            offers(self);
            self.turn();
        }
        self.left
    }

    /// A sends all it can in a class for a second, and then again; wire bytes that wait of it at the end.
    fn waits_of_a(&mut self, class: ClassId) -> u64 {
        // Nothing is known of the rate until some frames have left.
        self.run(1000, |one| one.fill(A, class, 60));
        self.run(1000, |one| one.fill(A, class, 1000));
        self.scheduler.waiting(A).items * 1538
    }
}

/// Bytes that may wait at 10 Mbit/s: 50 ms, and the frame that is over.
const USUAL: std::ops::Range<u64> = 58_000..66_000;

#[test]
fn nothing_passes_what_waits_of_the_same_whatever_else_waits() {
    let mut one = One::new(&link(10_000 * MBIT));
    assert!(one.put(A, Exit::Here, NONE));
    assert!(one.put(A, EXIT, NONE));
    for exit in [Exit::Here, EXIT] {
        assert!(!one.scheduler.pass(A, exit, NONE, FULL, one.now));
    }
}

#[test]
fn whose_share_changes_while_it_waits_has_the_new_one() {
    let mut one = One::new(&link(100 * MBIT));
    let both = |one: &mut One| {
        one.fill(A, NONE, 16);
        one.fill(B, NONE, 16);
    };
    one.promise(B, &share(30));
    // A of the default class: 1 to 30. Then as much as B, then a third.
    for (of_a, each) in [(0, 31.0), (30, 2.0), (10, 4.0), (0, 31.0)] {
        one.promise(A, &share(of_a));
        one.run(20, both);
        let [a, b] = one.run(500, both);
        let wanted = (a + b) as f64 / each;
        assert!((a as f64 - wanted).abs() < 3.0, "{of_a}: {a} beside {b}");
    }
}

#[test]
fn as_much_waits_as_ever_after_a_share_has_changed_or_the_link_was_replaced() {
    let slow = link(10 * MBIT);
    let mut one = One::new(&slow);
    let waits = one.waits_of_a(NONE);
    assert!(USUAL.contains(&waits), "{waits}");
    // While it can use more than it gets.
    one.promise(A, &share(10));
    let waits = one.waits_of_a(NONE);
    assert!(USUAL.contains(&waits), "with a share: {waits}");
    one.link(&slow);
    let waits = one.waits_of_a(NONE);
    assert!(USUAL.contains(&waits), "on another link: {waits}");
}

#[test]
fn as_much_waits_as_the_maximum_of_a_class_takes_50_ms_for() {
    let mut fast = link(10_000 * MBIT);
    fast.classes = [class(1, Pace::of(10 * MBIT, HZ), 0)].into();
    let mut one = One::new(&fast);
    let waits = one.waits_of_a(CLASS);
    assert!(USUAL.contains(&waits), "{waits}");
    // Half each, if two send in it.
    one.run(1000, |one| {
        one.fill(A, CLASS, 1000);
        one.fill(B, CLASS, 1000);
    });
    let each = [A, B].map(|vnic| one.scheduler.waiting(vnic).items * 1538);
    assert!(
        each.iter().all(|it| (29_000..35_000).contains(it)),
        "{each:?}"
    );
}

#[test]
fn as_much_waits_as_leaves_beside_those_who_need_no_more() {
    let mut one = One::new(&link(10 * MBIT));
    one.promise(B, &share(100));
    // Half of the link, a frame at a time.
    let light = |one: &mut One| {
        let is_time = (one.now / (MS / 10)).is_multiple_of(25);
        if is_time && one.scheduler.waiting(B).items == 0 {
            one.put(B, EXIT, NONE);
        }
    };
    for most in [60, 1000] {
        one.run(1000, |one| {
            light(one);
            one.fill(A, NONE, most);
        });
    }
    let waits = one.scheduler.waiting(A).items * 1538;
    assert!((29_000..35_000).contains(&waits), "{waits}");
}

#[test]
fn what_was_measured_is_forgotten_when_nobody_waits() {
    let mut one = One::new(&link(10 * MBIT));
    one.promise(A, &share(10));
    one.promise(B, &share(10));
    for most in [60, 1000] {
        one.run(1000, |one| {
            one.fill(A, NONE, most);
            one.fill(B, NONE, most);
        });
    }
    let each = one.scheduler.waiting(A).items;
    assert!(each < 25, "half each: {each}");
    // All of it leaves, and for a second nobody has anything. Alone A has the whole link.
    one.run(1200, |_| ());
    assert_eq!(one.scheduler.queued(), 0);
    one.fill(A, NONE, 38);
    assert_eq!(one.scheduler.waiting(A).items, 38);
    one.run(70, |one| {
        one.fill(A, NONE, 38);
        assert_eq!(one.scheduler.waiting(A).items, 38);
    });
}

#[test]
fn a_class_without_a_share_keeps_its_maximum_and_its_turn() {
    let both = |one: &mut One| {
        one.fill(A, CLASS, 300);
        one.fill(B, NONE, 300);
    };
    let run = |class: Class| {
        let mut link = link(1_000 * MBIT);
        link.classes = [class].into();
        link.tcs[5].strict = true;
        let mut one = One::new(&link);
        for vnic in [A, B] {
            one.promise(vnic, &share(10));
        }
        one.run(20, both);
        one.run(100, both)
    };
    // In 100 ms, of 8,127 frames. A class that says nothing but a mark is of its vNIC's share.
    let [a, b] = run(class(0, Pace::UNLIMITED, 0));
    assert!(a.abs_diff(b) < 10, "{a} and {b}");
    let [a, b] = run(class(0, Pace::of(10 * MBIT, HZ), 0));
    assert!((80..86).contains(&a) && b > 8_000, "{a} and {b}");
    let [a, b] = run(class(0, Pace::UNLIMITED, 5));
    assert!(a > 8_000 && b == 0, "{a} and {b}");
}

/// A vNIC of 1 Mbit/s, of which a frame of 1,500 bytes takes 12 ms, with as many waiting; what leaves at these milliseconds, where the
/// device has so much room.
fn leaves_at<const TURNS: usize>(
    scheduler: &mut Scheduler<VnicId>,
    turns: [(u64, usize); TURNS],
) -> [usize; TURNS] {
    scheduler.promise(A, Some(&max(MBIT)), 0);
    let size = Size {
        bytes: 1500,
        wire: 1524,
    };
    for _ in 0..6 {
        let put = scheduler.enqueue(A, EXIT, NONE, size, HZ, A);
        put.unwrap();
    }
    turns.map(|(at, room)| {
        let now = HZ + at * MS;
        scheduler.tick(now);
        let left = scheduler.release(UP, now, room, |_| ());
        // The turn at 1 ms takes five more.
        if at == 1 {
            scheduler.left_by(now + 5 * MS);
        }
        left
    })
}

#[test]
fn what_was_waited_for_the_worker_is_not_made_up_for() {
    let mut one = One::new(&link(10_000 * MBIT));
    // It comes 8 ms late for the second one.
    let left = leaves_at(&mut one.scheduler, [0, 20, 31, 33].map(|at| (at, 64)));
    assert_eq!(left, [1, 1, 0, 1]);
}

#[test]
fn nor_is_what_was_waited_for_the_worker_while_others_were_first() {
    let mut one = One::new(&link(10_000 * MBIT));
    // It might send at 12 ms, when the device has no room. Then the worker is away for 8 ms.
    let turns = [(0, 64), (12, 0), (20, 64), (24, 64), (31, 64), (33, 64)];
    assert_eq!(leaves_at(&mut one.scheduler, turns), [1, 0, 1, 0, 0, 1]);
}

#[test]
fn what_was_waited_for_others_is_made_up_for() {
    let mut one = One::new(&link(10_000 * MBIT));
    leaves_at(&mut one.scheduler, [(0, 64)]);
    // From 12 ms on it might send, and the device has no room for 8 ms, while the worker looks each 0.1 ms.
    let mut left = Vec::new();
    for tenth in 120..250 {
        let (now, room) = (HZ + tenth * MS / 10, if tenth < 200 { 0 } else { 64 });
        one.scheduler.tick(now);
        let count = one.scheduler.release(UP, now, room, |_| ());
        left.extend(std::iter::repeat_n(tenth, count));
    }
    // 12 ms each, 0.4 early, and the look behind that.
    assert_eq!(left, [200, 237]);
}

#[test]
fn a_late_turn_is_charged_to_what_left_in_it_and_to_nothing_before() {
    let mut one = One::new(&link(10_000 * MBIT));
    let left = leaves_at(&mut one.scheduler, [0, 1, 11, 12].map(|at| (at, 64)));
    assert_eq!(left, [1, 0, 0, 1]);
}

#[test]
fn what_is_policed_is_charged_once_wherever_it_waits() {
    let polices = Promise {
        police: true,
        ..max(10 * MBIT)
    };
    let mut from = One::new(&link(10 * MBIT));
    from.promise(A, &polices);
    assert!(from.put(A, EXIT, NONE) && !from.put(A, EXIT, NONE));
    let mut to = One::new(&link(10 * MBIT));
    let mut parcel = Parcel::with_room(1);
    from.scheduler.take_out(A, true, &mut parcel);
    let now = from.now;
    to.scheduler
        .put_in(&mut parcel, now, |_, _, _, _| panic!("there was room"));
    // 1.2 ms a frame, 0.4 early.
    to.now += MS;
    assert!(to.put(A, EXIT, NONE));
}

#[test]
fn who_has_sent_alone_for_long_has_no_debt_to_who_joins() {
    let mut fast = link(100 * MBIT);
    fast.classes = [class(0, Pace::UNLIMITED, 0)].into();
    let mut one = One::new(&fast);
    // One vNIC's node, of which two leaves take turns.
    one.promise(A, &share(10));
    one.run(500, |one| one.fill(A, NONE, 16));
    let mut left = [0_usize; 2];
    for _ in 0..500 {
        for class in [NONE, CLASS, NONE, CLASS] {
            one.put(A, EXIT, class);
        }
        one.now += MS / 10;
        one.scheduler.tick(one.now);
        one.scheduler.release(UP, one.now, 1000, |leaving| {
            left[usize::from(leaving.class == CLASS)] += 1;
        });
    }
    assert!(left[0] > 190 && left[0].abs_diff(left[1]) < 4, "{left:?}");
}

#[test]
fn what_is_said_to_be_larger_than_any_frame_counts_as_a_megabyte() {
    let mut one = One::new(&link(10_000 * MBIT));
    one.promise(A, &max(8 * MBIT));
    let size = Size {
        bytes: u32::MAX,
        wire: u32::MAX,
    };
    let put = |one: &mut One| {
        let put = one.scheduler.enqueue(A, EXIT, NONE, size, one.now, A);
        put.unwrap();
    };
    put(&mut one);
    assert_eq!(one.run(10, |_| ()), [1, 0]);
    put(&mut one);
    assert_eq!(one.run(1000, |_| ()), [0, 0]);
    assert_eq!(one.run(50, |_| ()), [1, 0]);
}
