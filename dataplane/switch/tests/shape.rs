//! The scheduler alone, in simulated time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use weir_switch::shape::{Exit, LinkState, Scheduler, Settings, Size, leases::Leases};
use weir_tables::bandwidth::{ClassId, Link, Pace, Promise};
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
