//! Why a device chooses for one worker alone (docs/decisions/0050): what two workers' shares become where the device of an uplink takes turns
//! by their queues, which is all that a NIC knows of vNICs.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::collections::VecDeque;

use weir_switch::shape::{Exit, LinkState, Scheduler, Settings, Size, leases::Leases};
use weir_tables::bandwidth::{ClassId, Link, Pace, Promise};
use weir_tables::ids::{UplinkId, VnicId};

const HZ: u64 = 2_600_000_000;
const US: u64 = HZ / 1_000_000;
const UP: UplinkId = UplinkId(0);
const LINE: u64 = 10_000_000_000;
const SIZE: Size = Size {
    bytes: 1_472,
    wire: 1_538,
};
/// What each worker's queue of the device holds.
const RING: usize = 1024;

/// A NIC with a queue for each of two workers, which takes a frame of one, then of the other.
#[derive(Default)]
struct Device {
    queues: [VecDeque<u64>; 2],
    sent: [u64; 2],
    turn: usize,
    free: u64,
    /// The longest that a frame was in it, in TSC cycles.
    longest: u64,
}

impl Device {
    fn run(&mut self, now: u64, counts: bool) {
        let takes = u64::from(SIZE.wire) * 8 * HZ / LINE;
        while self.free <= now {
            let other = 1 - self.turn;
            if self.queues[self.turn].is_empty() {
                self.turn = other;
            }
            let Some(came) = self.queues[self.turn].pop_front() else {
                self.free = now + 1;
                return;
            };
            if counts {
                self.sent[self.turn] += 1;
                self.longest = self.longest.max(now - came);
            }
            self.turn = 1 - self.turn;
            self.free += takes;
        }
    }
}

/// Two workers with a vNIC each, promised 90 and 10 % of 10 Gbit/s, both of which always have more: of a hundred frames so many of the
/// first, and the longest that a frame was in the device, in µs.
fn shared(capacity: Pace) -> (u64, u64) {
    let settings = Settings::new(HZ, 4096, 2, 1);
    let link = Link::plain(capacity);
    let leases = Leases::new(2);
    let mut workers = [0, 1].map(|me| {
        let mut scheduler = Scheduler::new(settings);
        let state = LinkState::new(&link, leases.clone(), me, &settings);
        scheduler.set_link(UP, Some(state), 0);
        for (vnic, share) in [(0, 90_000), (1, 10_000)] {
            let promise = Promise {
                share,
                ..Promise::default()
            };
            scheduler.promise(VnicId(vnic), Some(&promise), 0);
        }
        scheduler
    });
    let mut device = Device {
        free: HZ,
        ..Device::default()
    };
    let (start, end) = (HZ + 20_000 * US, HZ + 100_000 * US);
    for now in (HZ..end).step_by(2 * US as usize) {
        for (me, worker) in workers.iter_mut().enumerate() {
            let vnic = VnicId(me as u32);
            while worker.waiting(vnic).items < 64 {
                let exit = Exit::Uplink(UP);
                let taken = worker.enqueue(vnic, exit, ClassId::NONE, SIZE, now, ());
                taken.expect("room");
            }
            worker.tick(now);
            let queue = &mut device.queues[me];
            let room = (RING - queue.len()).min(32);
            worker.release(UP, now, room, |_| queue.push_back(now));
        }
        device.run(now, now >= start);
    }
    let [first, second] = device.sent;
    (
        (first * 100 + (first + second) / 2) / (first + second),
        device.longest / US,
    )
}

#[test]
fn shares_hold_across_workers_where_software_chooses_and_not_where_a_device_does() {
    let (first, in_software) = shared(Pace::of(LINE, HZ));
    assert_eq!(first, 90);
    // Of no known capacity the device's room is all that holds back: what a device that chooses needs.
    let (first, in_device) = shared(Pace::UNLIMITED);
    assert_eq!(first, 50);
    println!("in the device at most: {in_software} and {in_device} us");
}
