//! The scheduler alone, in simulated time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use weir_switch::shape::{
    Exit, LinkState, Parcel, Refusal, Scheduler, Settings, Size, leases::Leases,
};
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Promise};
use weir_tables::ids::{UplinkId, VnicId};

const HZ: u64 = 2_600_000_000;
const UP: UplinkId = UplinkId(0);
const NONE: ClassId = ClassId::NONE;

fn size(bytes: u32) -> Size {
    Size {
        bytes,
        wire: bytes + 24,
    }
}

fn scheduler<T>(vnics: u32, capacity: u64) -> Scheduler<T> {
    let settings = Settings::new(HZ, 10_000, vnics, 1);
    let mut scheduler = Scheduler::new(settings);
    let link = Link::plain(Pace::of(capacity, HZ));
    let state = LinkState::new(&link, Leases::new(1), 0, &settings);
    assert!(scheduler.set_link(UP, Some(state), 0).is_none());
    scheduler
}

#[test]
fn two_who_send_all_they_can_share_by_weight() {
    let mut scheduler = scheduler(4, 1_000_000_000);
    let vnics = [(VnicId(1), 10), (VnicId(2), 30)];
    for (vnic, share) in vnics {
        let promise = Promise {
            share,
            ..Promise::default()
        };
        scheduler.promise(vnic, Some(&promise), 1);
    }
    let mut sent = [0_u64; 4];
    // A second, in steps of 10 µs.
    for step in 1..100_000_u64 {
        let now = step * HZ / 100_000;
        for (vnic, _) in vnics {
            while scheduler.waiting(vnic).items < 20 {
                scheduler
                    .enqueue(vnic, Exit::Uplink(UP), NONE, size(1514), now, vnic)
                    .unwrap();
            }
        }
        scheduler.tick(now);
        scheduler.release(UP, now, 64, |leaving| {
            assert_eq!(leaving.vnic, leaving.item);
            sent[leaving.vnic.0 as usize] += 1538;
        });
    }
    let all = sent[1] + sent[2];
    assert!(all.abs_diff(125_000_000) < 125_000_000 / 500, "{sent:?}");
    assert!(sent[2].abs_diff(3 * sent[1]) < 10_000, "{sent:?}");
}

const VNIC: VnicId = VnicId(1);
const EXIT: Exit = Exit::Uplink(UP);

fn max(bits: u64) -> Promise {
    Promise {
        share: 1,
        max: Pace::of(bits, HZ),
        ..Promise::default()
    }
}

/// What leaves of a vNIC that always has something, in layer 2 bytes, by turns of 5 µs.
fn leaves(scheduler: &mut Scheduler<u32>, exit: Exit, from: u64, time: u64) -> Vec<(u64, u32)> {
    let mut left = Vec::new();
    let mut now = from;
    while now < from + time {
        now += HZ / 200_000;
        while scheduler.waiting(VNIC).items < 64 {
            if scheduler
                .enqueue(VNIC, exit, NONE, size(1514), now, 0)
                .is_err()
            {
                break;
            }
        }
        scheduler.tick(now);
        let mut sink = |_| left.push((now, 1514));
        scheduler.release(UP, now, 64, &mut sink);
        scheduler.release_here(now, 64, &mut sink);
    }
    left
}

fn bytes(left: &[(u64, u32)], from: u64, to: u64) -> f64 {
    let within = left.iter().filter(|(at, _)| (from..to).contains(at));
    within.map(|&(_, bytes)| f64::from(bytes)).sum()
}

#[test]
fn a_maximum_is_exact_in_every_tenth_of_a_second() {
    for bits in [1_000_000, 10_000_000, 1_000_000_000, 9_000_000_000_u64] {
        for exit in [EXIT, Exit::Here, Exit::Receive] {
            let mut scheduler = scheduler(4, 100_000_000_000);
            let promise = Promise {
                max_rx: Pace::of(bits, HZ),
                ..max(bits)
            };
            scheduler.promise(VNIC, Some(&promise), 0);
            let left = leaves(&mut scheduler, exit, HZ, HZ / 2);
            let window = bits as f64 / 80.0;
            for tenth in 0..5 {
                let from = HZ + tenth * HZ / 10;
                let got = bytes(&left, from, from + HZ / 10);
                assert!(got <= window * 1.005 + 1514.0, "{bits}: {got} of {window}");
                assert!(got >= window * 0.995 - 1514.0, "{bits}: {got} of {window}");
            }
        }
    }
}

#[test]
fn a_rate_that_changes_neither_loses_nor_bursts() {
    let mut scheduler = scheduler(4, 100_000_000_000);
    let mut now = HZ;
    for bits in [
        1_000_000_000_u64,
        1_000,
        10_000_000,
        5_000_000_000,
        100_000_000,
    ] {
        scheduler.promise(VNIC, Some(&max(bits)), now);
        let left = leaves(&mut scheduler, EXIT, now, HZ / 10);
        let got = bytes(&left, 0, u64::MAX);
        let window = bits as f64 / 80.0;
        assert!(
            (got - window).abs() <= window * 0.005 + 3.0 * 1514.0,
            "{bits}: {got} of {window}"
        );
        now += HZ / 10;
    }
}

#[test]
fn a_queue_is_bounded_in_time_and_by_what_is_free() {
    let mut slow = scheduler(4, 100_000_000_000);
    slow.promise(VNIC, Some(&max(10_000_000)), 0);
    let refused = (0..1000).find_map(|at| {
        let put = slow.enqueue(VNIC, EXIT, NONE, size(1514), HZ, at);
        put.err()
    });
    // 50 ms of 10 Mbit/s are 62,500 bytes: 41 frames and the one that is over.
    assert_eq!(refused, Some((Refusal::TooLong, 42)));
    let mut slower = scheduler(4, 100_000_000_000);
    slower.promise(VNIC, Some(&max(1_000)), 0);
    let refused =
        (0..1000).find_map(|at| slower.enqueue(VNIC, EXIT, NONE, size(1514), HZ, at).err());
    assert_eq!(
        refused,
        Some((Refusal::TooLong, 8)),
        "eight full frames always"
    );
    let mut fast = scheduler(4, 100_000_000_000);
    let refused = (0..10_000).find_map(|at| fast.enqueue(VNIC, EXIT, NONE, size(60), HZ, at).err());
    let half = "half of the slots, but for a sixteenth";
    assert_eq!(refused, Some((Refusal::NoRoom, 4_688)), "{half}");
    assert!(fast.enqueue(VnicId(2), EXIT, NONE, size(60), HZ, 1).is_ok());
}

#[test]
fn what_is_policed_is_refused_and_what_waits_for_long_is_marked() {
    let mut scheduler = scheduler(4, 1_000_000_000);
    let polices = Promise {
        police: true,
        ..max(10_000_000)
    };
    scheduler.promise(VNIC, Some(&polices), 0);
    let put = |scheduler: &mut Scheduler<u32>, vnic| {
        scheduler.enqueue(vnic, EXIT, NONE, size(1514), HZ, 0)
    };
    assert!(put(&mut scheduler, VNIC).is_ok());
    assert_eq!(put(&mut scheduler, VNIC), Err((Refusal::Policed, 0)));
    assert!(put(&mut scheduler, VnicId(2)).is_ok());
    let mut marks = Vec::new();
    scheduler.release(UP, HZ + 1, 1, |leaving| marks.push(leaving.mark));
    scheduler.release(UP, HZ + HZ / 190, 1, |leaving| marks.push(leaving.mark));
    assert_eq!(marks, [false, true]);
}

#[test]
fn of_an_unknown_capacity_only_the_room_is_a_bound() {
    let settings = Settings::new(HZ, 1000, 4, 1);
    let mut scheduler = Scheduler::new(settings);
    let link = Link::plain(Pace::UNLIMITED);
    scheduler.set_link(
        UP,
        Some(LinkState::new(&link, Leases::new(2), 0, &settings)),
        0,
    );
    assert!(scheduler.is_off());
    for at in 0..100 {
        scheduler
            .enqueue(VNIC, EXIT, NONE, size(1514), HZ, at)
            .unwrap();
    }
    assert!(
        !scheduler.pass(VNIC, EXIT, NONE, size(60), HZ),
        "behind what waits"
    );
    assert!(
        !scheduler.pass(VnicId(2), EXIT, NONE, size(60), HZ),
        "not before who waits"
    );
    assert!(
        scheduler.pass(VNIC, Exit::Here, NONE, size(60), HZ),
        "another way"
    );
    scheduler.tick(HZ);
    assert_eq!(scheduler.release(UP, HZ, 7, |_| ()), 7);
    assert_eq!(scheduler.release(UP, HZ, 1000, |_| ()), 93);
    assert!(scheduler.pass(VNIC, EXIT, NONE, size(60), HZ));
}

#[test]
fn a_vnic_takes_its_queue_and_its_debt_to_another_worker() {
    let (mut from, mut to) = (scheduler(4, 100_000_000_000), scheduler(4, 100_000_000_000));
    from.promise(VNIC, Some(&max(10_000_000)), 0);
    for at in 0..20 {
        from.enqueue(VNIC, EXIT, NONE, size(1514), HZ, at).unwrap();
    }
    from.release(UP, HZ, 100, |_| ());
    let waits = from.queued();
    let mut parcel = Parcel::with_room(64);
    from.take_out(VNIC, true, &mut parcel);
    assert_eq!((from.queued(), parcel.len() as u64), (0, waits));
    assert!(
        from.pass(VNIC, EXIT, NONE, size(9000), HZ),
        "it has left nothing"
    );
    to.put_in(&mut parcel, HZ, |_, _, _, _| panic!("there was room"));
    let mut left = Vec::new();
    to.release(UP, HZ, 100, |leaving| left.push(leaving.item));
    assert_eq!(left, [0; 0], "not before it is due there");
    for step in 1..10_000 {
        let now = HZ + step * HZ / 100_000;
        to.tick(now);
        to.release(UP, now, 100, |leaving| left.push(leaving.item));
    }
    let order: Vec<u32> = (20 - waits as u32..20).collect();
    assert_eq!(left, order);
}

/// What each of some vNICs without a share has sent in wire bytes, who all send all they can in frames of so many.
fn of_the_default_class(bytes: &[u32], seconds: f64) -> Vec<u64> {
    let vnics = bytes.len() as u32;
    let mut scheduler = scheduler(vnics, 100_000_000);
    let mut sent = vec![0_u64; bytes.len()];
    let turns = (seconds * 100_000.0) as u64;
    for turn in 1..=turns {
        let now = HZ + turn * HZ / 100_000;
        for (vnic, &bytes) in (0..).zip(bytes) {
            while scheduler.waiting(VnicId(vnic)).items < 3 {
                let put = scheduler.enqueue(VnicId(vnic), EXIT, NONE, size(bytes), now, vnic);
                // What waits for longer than it may is enough.
                if put.is_err() {
                    break;
                }
            }
        }
        scheduler.tick(now);
        scheduler.release(UP, now, 64, |leaving| {
            sent[leaving.item as usize] += u64::from(bytes[leaving.item as usize]) + 24;
        });
    }
    sent
}

#[test]
fn who_has_no_share_of_his_own_is_no_more_than_a_frame_behind_or_ahead() {
    // 25 frames each.
    let sent = of_the_default_class(&[60; 50], 25.0 * 50.0 * 84.0 * 8.0 / 1e8);
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(*most > 20 * 84 && most - least <= 84, "{least} to {most}");
    // Unlike ones, up to a jumbo frame: as exact as their own frames let them be, and a span of the index.
    let unlike: Vec<u32> = (0..60)
        .map(|vnic| [60, 500, 1514, 9014][vnic % 4])
        .collect();
    let sent = of_the_default_class(&unlike, 0.5);
    let even = sent.iter().sum::<u64>() as f64 / 60.0;
    for (bytes, sent) in unlike.iter().zip(&sent) {
        let apart = (*sent as f64 - even).abs();
        assert!(
            apart <= f64::from(*bytes + 24 + 256 + 4519),
            "{bytes}: {sent} of {even}"
        );
    }
    let small = sent.iter().step_by(4);
    let (least, most) = (small.clone().min().unwrap(), small.max().unwrap());
    assert!(most - least <= 84 + 256, "{least} to {most}");
}

/// Who leaves in which order, if two vNICs have to wait and the one that waits later may go on sooner; `again`: a second turn at the same time.
fn order_of_two(again: bool) -> Vec<u32> {
    let mut scheduler = scheduler(4, 100_000_000_000);
    scheduler.promise(VnicId(1), Some(&max(4_000_000)), 0);
    scheduler.promise(VnicId(2), Some(&max(8_000_000)), 0);
    // Nobody has waited for a second.
    scheduler.tick(HZ);
    for vnic in [1, 2] {
        for _ in 0..2 {
            let put = scheduler.enqueue(VnicId(vnic), EXIT, NONE, size(1514), HZ, vnic);
            put.unwrap();
        }
    }
    let mut left = Vec::new();
    for now in [HZ, HZ, 2 * HZ].into_iter().skip(usize::from(!again)) {
        scheduler.tick(now);
        scheduler.release(UP, now, 64, |leaving| left.push(leaving.item));
    }
    left
}

#[test]
fn a_second_turn_at_the_same_time_changes_nothing() {
    let once = order_of_two(false);
    assert_eq!(once, order_of_two(true));
    assert_eq!(once, [1, 2, 2, 1], "who may go on first does");
}

#[test]
fn what_left_later_than_was_said_is_charged_so() {
    // A frame takes 12 ms. It was charged as of HZ, and left 2 ms later: so the next one leaves later, too, but for the burst of 0.4 ms.
    let ms = HZ / 1000;
    for (end, opens) in [
        (HZ + ms / 10, HZ + 116 * ms / 10),
        (HZ + 2 * ms, HZ + 132 * ms / 10),
    ] {
        let mut scheduler = scheduler(4, 100_000_000_000);
        scheduler.promise(VNIC, Some(&max(1_000_000)), 0);
        for item in 0..3 {
            let put = scheduler.enqueue(VNIC, EXIT, NONE, size(1500), HZ - 12 * ms, item);
            put.unwrap();
        }
        let mut leaves = |now| {
            scheduler.tick(now);
            let count = scheduler.release(UP, now, 64, |_| ());
            if now == HZ {
                scheduler.left_by(end);
            }
            count
        };
        assert_eq!(leaves(HZ - 12 * ms), 1);
        assert_eq!(leaves(HZ), 1);
        assert_eq!(leaves(opens - ms / 10), 0, "{end}");
        assert_eq!(leaves(opens + ms / 10), 1, "{end}");
    }
}

#[test]
fn what_a_class_waited_for_the_worker_is_not_made_up_for() {
    let settings = Settings::new(HZ, 1000, 4, 1);
    let mut scheduler = Scheduler::new(settings);
    let mut link = Link::plain(Pace::of(100_000_000_000, HZ));
    link.classes = [Class {
        name: "c".into(),
        share: 1,
        max: Pace::of(1_000_000, HZ),
        tc: 0,
        dscp: None,
        pcp: None,
    }]
    .into();
    let state = LinkState::new(&link, Leases::new(1), 0, &settings);
    scheduler.set_link(UP, Some(state), 0);
    for item in 0..6 {
        let put = scheduler.enqueue(VNIC, EXIT, ClassId(1), size(1500), HZ, item);
        put.unwrap();
    }
    // 12 ms a frame; the worker comes 8 ms late for the second.
    let ms = HZ / 1000;
    let left = [0, 20, 31, 33].map(|at| {
        let now = HZ + at * ms;
        scheduler.tick(now);
        scheduler.release(UP, now, 64, |_| ())
    });
    assert_eq!(left, [1, 1, 0, 1]);
}
