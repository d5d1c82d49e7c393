//! The scheduler's rules one by one, each in a state where it alone decides: what passes without waiting, what may wait, what a changed link,
//! more room and a vNIC that left leave behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod shape_common;

use shape_common::*;
use weir_switch::shape::{
    Exit, LinkState, Refusal, Room, Scheduler, Settings, Size, leases::Leases,
};
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Promise};
use weir_tables::ids::{UplinkId, VnicId};

const SECOND: UplinkId = UplinkId(1);
const CLASS: ClassId = ClassId(1);

const SHORT: Size = Size {
    bytes: 60,
    wire: 84,
};

fn rate(bits: u64) -> Pace {
    Pace::of(bits, HZ)
}

fn polices(bits: u64) -> Promise {
    Promise {
        police: true,
        ..max(bits)
    }
}

/// With a class of this maximum.
fn link(capacity: Pace, class: Pace) -> Link {
    let mut link = Link::plain(capacity);
    link.classes = [Class {
        name: "c".into(),
        share: 1,
        max: class,
        tc: 0,
        dscp: None,
        pcp: None,
    }]
    .into();
    link
}

fn set(scheduler: &mut Scheduler<u32>, uplink: UplinkId, link: &Link, now: u64) {
    let settings = *scheduler.settings();
    let state = LinkState::new(link, Leases::new(1), 0, &settings);
    drop(scheduler.set_link(uplink, Some(state), now));
}

/// Room for so many items, four vNICs and two uplinks, the first of which is this.
fn scheduler(items: u32, link: &Link) -> Scheduler<u32> {
    let mut scheduler = Scheduler::new(Settings::new(HZ, items, 4, 2));
    set(&mut scheduler, UP, link, 0);
    scheduler
}

fn open() -> Link {
    Link::plain(rate(100 * GBIT))
}

fn put(scheduler: &mut Scheduler<u32>, vnic: VnicId, size: Size) -> Result<(), Refusal> {
    let put = scheduler.enqueue(vnic, EXIT, NONE, size, HZ, 0);
    put.map_err(|(refusal, _)| refusal)
}

/// How many full frames pass one after the other at the same time, a thousand at most.
fn passes(scheduler: &mut Scheduler<u32>, exit: Exit, class: ClassId, now: u64) -> usize {
    (0..1000)
        .take_while(|_| scheduler.pass(A, exit, class, FULL, now))
        .count()
}

#[test]
fn what_passes_is_charged_whatever_else_waits() {
    let mut scheduler = scheduler(100, &open());
    scheduler.promise(A, Some(&max(GBIT)), 0);
    // 0.4 ms of 1 Gbit/s are 50,000 bytes.
    assert_eq!(passes(&mut scheduler, EXIT, NONE, HZ), 33);
    assert_eq!(passes(&mut scheduler, EXIT, NONE, 2 * HZ), 33);
    // While something of it waits for another exit, too.
    put(&mut scheduler, A, SHORT).unwrap();
    assert_eq!(passes(&mut scheduler, EXIT, NONE, 3 * HZ), 0);
    assert_eq!(passes(&mut scheduler, Exit::Here, NONE, 3 * HZ), 33);
    assert_eq!(passes(&mut scheduler, Exit::Here, NONE, 4 * HZ), 33);
    // And the link's capacity holds: 0.2 ms early.
    set(&mut scheduler, SECOND, &Link::plain(rate(GBIT)), 0);
    scheduler.promise(A, None, 4 * HZ);
    let second = Exit::Uplink(SECOND);
    assert_eq!(passes(&mut scheduler, second, NONE, 5 * HZ), 16);
}

#[test]
fn what_passes_is_charged_to_its_class_and_not_before_who_waits_in_it() {
    let mut scheduler = scheduler(100, &link(Pace::UNLIMITED, rate(GBIT)));
    assert!(!scheduler.is_off(), "a class has a maximum");
    assert_eq!(passes(&mut scheduler, EXIT, CLASS, HZ), 16);
    for item in 0..40 {
        let put = scheduler.enqueue(B, EXIT, CLASS, FULL, 2 * HZ, item);
        put.unwrap();
    }
    scheduler.tick(2 * HZ);
    assert!((10..30).contains(&scheduler.release(UP, 2 * HZ, 64, |_| ())));
    // Its maximum would allow it by now, the others were first.
    assert!(!scheduler.pass(A, EXIT, CLASS, FULL, 3 * HZ));
}

#[test]
fn who_is_policed_has_no_more_waiting_than_its_burst() {
    for last in [false, true] {
        let mut scheduler = scheduler(10_000, &open());
        scheduler.promise(A, Some(&polices(GBIT)), 0);
        let taken = (0..1000).take_while(|_| match last {
            true => scheduler.enqueue_last(A, EXIT, NONE, FULL, HZ, 0).is_ok(),
            false => put(&mut scheduler, A, FULL).is_ok(),
        });
        assert_eq!(taken.count(), 34);
    }
}

#[test]
fn nobody_takes_more_than_what_is_left_free() {
    for last in [false, true] {
        let mut scheduler = scheduler(20, &open());
        let refused = (0..20).find_map(|_| match last {
            true => {
                let put = scheduler.enqueue_last(A, EXIT, NONE, SHORT, HZ, 0);
                put.err().map(|(refusal, _)| refusal)
            }
            false => put(&mut scheduler, A, SHORT).err(),
        });
        assert_eq!(refused, Some(Refusal::NoRoom));
        assert_eq!(scheduler.queued(), 10);
    }
    // Nor is it received from by then.
    let mut scheduler = scheduler(20, &open());
    for queued in 0..8 {
        assert_eq!(scheduler.is_full(A), queued == 7, "{queued} wait");
        put(&mut scheduler, A, SHORT).unwrap();
    }
}

#[test]
fn who_has_little_waiting_finds_room_whoever_has_taken_the_rest() {
    for last in [false, true] {
        let mut scheduler = Scheduler::new(Settings::new(HZ, 1600, 256, 2));
        set(&mut scheduler, UP, &open(), 0);
        let mut put = |vnic: u32| match last {
            true => scheduler.enqueue_last(VnicId(vnic), EXIT, NONE, SHORT, HZ, 0),
            false => scheduler.enqueue(VnicId(vnic), EXIT, NONE, SHORT, HZ, 0),
        };
        // All that so many may have, some ten each: but for those that are kept, ten would be free.
        for vnic in (0..150).cycle().take(150 * 20) {
            let _ = put(vnic);
        }
        for vnic in 150..160 {
            let taken = (0..20).take_while(|_| put(vnic).is_ok());
            assert_eq!(taken.count(), 8, "vNIC {vnic}");
        }
    }
}

/// Bytes that wait of each of some vNICs in the default class of a link of 10 Mbit/s that send all they can.
fn waits_of_each(vnics: &[VnicId]) -> Vec<u64> {
    let mut scheduler = scheduler(10_000, &Link::plain(rate(10_000_000)));
    for step in 1..10_000 {
        let now = HZ + step * MS / 10;
        for &vnic in vnics {
            // Nothing is known of the rate until some frames have left.
            let enough = if step < 1000 { 60 } else { 1000 };
            while scheduler.waiting(vnic).items < enough
                && scheduler.enqueue(vnic, EXIT, NONE, FULL, now, 0).is_ok()
            {}
        }
        scheduler.tick(now);
        scheduler.release(UP, now, 64, |_| ());
    }
    let bytes = vnics.iter().map(|&vnic| scheduler.waiting(vnic).bytes);
    bytes.collect()
}

#[test]
fn a_queue_is_as_long_as_its_part_of_the_link_takes_50_ms_for() {
    // 62,500 wire bytes, and the frame that is over.
    let alone = waits_of_each(&[A]);
    assert!((56_000..66_000).contains(&alone[0]), "{alone:?}");
    let each = waits_of_each(&[A, B]);
    assert!(
        each.iter().all(|it| (27_000..35_000).contains(it)),
        "{each:?}"
    );
}

#[test]
fn a_link_that_is_replaced_forgives_nothing_and_keeps_the_weights() {
    for (capacity, class) in [
        (rate(10_000_000), Pace::UNLIMITED),
        (rate(GBIT), rate(1_000_000)),
    ] {
        let link = link(capacity, class);
        let mut scheduler = scheduler(100, &link);
        for item in 0..5 {
            let put = scheduler.enqueue(A, EXIT, CLASS, FULL, HZ, item);
            put.unwrap();
        }
        assert_eq!(scheduler.release(UP, HZ, 64, |_| ()), 1);
        set(&mut scheduler, UP, &link, HZ);
        assert_eq!(scheduler.release(UP, HZ + 1, 64, |_| ()), 0);
    }
    let mut scheduler = scheduler(1000, &open());
    for (vnic, share) in [(A, 10), (B, 30)] {
        let promise = Promise {
            share,
            ..Promise::default()
        };
        scheduler.promise(vnic, Some(&promise), 0);
    }
    set(&mut scheduler, UP, &Link::plain(rate(GBIT)), 0);
    let mut sent = [0_u64; 2];
    for step in 1..2000 {
        let now = HZ + step * MS / 100;
        for vnic in [A, B] {
            while scheduler.waiting(vnic).items < 20 {
                scheduler
                    .enqueue(vnic, EXIT, NONE, FULL, now, vnic.0 - 1)
                    .unwrap();
            }
        }
        scheduler.tick(now);
        scheduler.release(UP, now, 64, |leaving| sent[leaving.item as usize] += 1);
    }
    assert!(sent[1].abs_diff(3 * sent[0]) < 10, "{sent:?}");
}

#[test]
fn whoever_comes_by_more_room_has_a_place_on_each_link() {
    let mut links = [open(), open()];
    links[1].default_tc = 3;
    for link in links {
        let mut scheduler = scheduler(100, &link);
        let late = VnicId(6);
        let more = Settings {
            vnics: 8,
            ..*scheduler.settings()
        };
        drop(scheduler.grow(Room::new(&more, 8)));
        let promise = Promise {
            share: 1,
            ..Promise::default()
        };
        scheduler.promise(late, Some(&promise), 0);
        put(&mut scheduler, late, FULL).unwrap();
        assert_eq!(scheduler.release(UP, HZ, 64, |_| ()), 1);
    }
}

#[test]
fn whose_place_passes_on_owes_and_promises_nothing() {
    let mut scheduler: Scheduler<u32> = Scheduler::new(Settings::new(HZ, 100, 4, 1));
    scheduler.promise(A, Some(&polices(1_000_000)), 0);
    assert!(!scheduler.is_off());
    scheduler.forget(A, |_, _, _| ());
    assert!(scheduler.is_off());
    assert_eq!(passes(&mut scheduler, Exit::Here, NONE, HZ), 1000);
}

#[test]
fn what_is_extracted_leaves_room_and_nothing_behind() {
    let mut scheduler = scheduler(20, &open());
    for _ in 0..2 {
        for item in 0..9 {
            let put = scheduler.enqueue(A, Exit::Here, NONE, SHORT, HZ, item);
            put.unwrap();
        }
        scheduler.extract(|_| true, |_, _, _| ());
        assert!(!scheduler.waits_here());
        assert!(scheduler.pass(A, Exit::Here, NONE, SHORT, HZ));
    }
}

#[test]
fn whoever_was_stopped_for_a_minute_owes_ten_milliseconds() {
    let mut scheduler = scheduler(100, &open());
    scheduler.promise(A, Some(&max(10_000_000)), 0);
    for _ in 0..3 {
        put(&mut scheduler, A, FULL).unwrap();
    }
    scheduler.tick(HZ);
    assert_eq!(scheduler.release(UP, HZ, 64, |_| ()), 1);
    scheduler.left_by(HZ + 60 * HZ);
    let left = [5, 20].map(|at| {
        let now = HZ + at * MS;
        scheduler.tick(now);
        scheduler.release(UP, now, 1, |_| ())
    });
    assert_eq!(left, [0, 1]);
}

#[test]
fn of_two_strict_classes_the_higher_is_first() {
    let mut link = Link::plain(rate(GBIT));
    let class = |tc| Class {
        name: "c".into(),
        share: 1,
        max: Pace::UNLIMITED,
        tc,
        dscp: None,
        pcp: None,
    };
    link.classes = [class(2), class(5)].into();
    for tc in [2, 5] {
        link.tcs[tc].strict = true;
    }
    let mut scheduler = scheduler(100, &link);
    for _ in 0..3 {
        for class in [NONE, CLASS, ClassId(2)] {
            let put = scheduler.enqueue(A, EXIT, class, SHORT, HZ, u32::from(class.0));
            put.unwrap();
        }
    }
    let mut left = Vec::new();
    scheduler.release(UP, HZ, 64, |leaving| left.push(leaving.item));
    assert_eq!(left, [2, 2, 2, 1, 1, 1, 0, 0, 0]);
}

#[test]
fn a_class_has_one_maximum_on_all_workers_together() {
    let link = link(rate(10 * GBIT), rate(GBIT / 10));
    let leases = Leases::new(2);
    let settings = Settings::new(HZ, 1000, 4, 1);
    let mut workers = [0, 1].map(|me| {
        let mut worker: Scheduler<u32> = Scheduler::new(settings);
        let state = LinkState::new(&link, leases.clone(), me, &settings);
        drop(worker.set_link(UP, Some(state), 0));
        worker
    });
    let mut bytes = 0;
    for step in 1..40_000 {
        let now = HZ + step * MS / 100;
        for (vnic, worker) in [A, B].into_iter().zip(&mut workers) {
            while worker.waiting(vnic).items < 16
                && worker.enqueue(vnic, EXIT, CLASS, FULL, now, 0).is_ok()
            {}
            worker.tick(now);
            let left = worker.release(UP, now, 64, |_| ());
            // The first fifth is for the parts to be found.
            bytes += if step < 8000 { 0 } else { left * 1514 };
        }
    }
    let mbit = bytes as f64 * 8.0 / 0.32 / 1e6;
    assert!((98.0..102.0).contains(&mbit), "{mbit} Mbit/s");
}
