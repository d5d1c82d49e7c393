//! What the scheduler alone costs: a worker whose vNICs send less than fits, and one whose vNICs all wait.

use std::time::{Duration, Instant};
use weir_switch::BATCH;
use weir_switch::shape::{Exit, LinkState, Scheduler, Settings, Size, leases::Leases};
use weir_tables::bandwidth::{ClassId, Link, Pace, Promise};
use weir_tables::ids::{UplinkId, VnicId};

/// The loads, in the order in which they are counted.
pub const LOADS: [&str; 6] = [
    // A batch of one vNIC with a maximum and a minimum, on a link that is known: one question.
    "shape/batch",
    // A packet at a time, each of another of 64 such vNICs.
    "shape/trunk",
    // In and out of the queue, each of another vNIC with a minimum, all waiting.
    "shape/waiting-1000",
    "shape/waiting-10000",
    // The same of the default class: one node.
    "shape/default-10000",
    // The same while every one is at its maximum.
    "shape/max-10000",
];

/// Packets of a round: so many that all of what waits has its turn, and what is done for many at once is spread over them.
pub const LOAD_PACKETS: usize = 64 * crate::PACKETS;

const HZ: u64 = 2_600_000_000;
const UP: UplinkId = UplinkId(0);
const EXIT: Exit = Exit::Uplink(UP);
/// A frame of 64 bytes with its FCS, in NVGRE.
const FRAME: Size = Size {
    bytes: 60,
    wire: 126,
};
/// What each packet's batch takes, in TSC cycles.
const BATCH_TIME: u64 = 32 * 200;

/// A scheduler under a load.
pub struct Load {
    name: &'static str,
    scheduler: Scheduler<[u32; 4]>,
    now: u64,
    vnics: u32,
    next: u32,
    left: u64,
}

impl Load {
    /// The load of that name, if there is one, in the state in which it goes on.
    pub fn named(name: &str) -> Option<Load> {
        let name = LOADS.into_iter().find(|load| *load == name)?;
        let (_, kind) = name.split_once('/')?;
        let vnics = match kind.split_once('-') {
            Some((_, vnics)) => vnics.parse().ok()?,
            None => 64,
        };
        let settings = Settings::new(HZ, 65_536, vnics, 1);
        let mut scheduler = Scheduler::new(settings);
        // 10 Gbit/s: twice what one of these worker's packets need, or, where all wait, what lets a batch leave each time.
        let link = Link::plain(Pace::of(100_000_000_000, HZ));
        let state = LinkState::new(&link, Leases::new(1), 0, &settings);
        scheduler.set_link(UP, Some(state), 0);
        let max = match kind.starts_with("max") {
            // So that about a batch of all vNICs together is due each time.
            true => 8 * u64::from(FRAME.bytes) * HZ * 32 / BATCH_TIME / u64::from(vnics),
            false => 10_000_000_000,
        };
        for vnic in 0..vnics {
            let promise = Promise {
                share: match kind.starts_with("default") {
                    true => 0,
                    false => 1 + vnic * 7919 % 100,
                },
                max: Pace::of(max, HZ),
                ..Promise::default()
            };
            scheduler.promise(VnicId(vnic), Some(&promise), 0);
        }
        let mut load = Load {
            name,
            scheduler,
            now: HZ,
            vnics,
            next: 0,
            left: 0,
        };
        if load.waits() {
            for _ in 0..3 {
                for vnic in 0..vnics {
                    load.enqueue(vnic);
                }
            }
            // Until everybody is where he is for good.
            for _ in 0..vnics / 4 {
                load.turn();
            }
        }
        Some(load)
    }

    fn waits(&self) -> bool {
        !matches!(self.name, "shape/batch" | "shape/trunk")
    }

    fn enqueue(&mut self, vnic: u32) {
        let item = [vnic, 0, 0, 0];
        let vnic = VnicId(vnic);
        let put = self
            .scheduler
            .enqueue(vnic, EXIT, ClassId::NONE, FRAME, self.now, item);
        debug_assert!(put.is_ok());
    }

    /// A worker's turn: a batch comes, and, where all wait, a batch leaves.
    fn turn(&mut self) {
        self.now += BATCH_TIME;
        if self.waits() {
            return self.turn_of_waiting();
        }
        if self.name == "shape/batch" {
            let all = Size {
                bytes: FRAME.bytes * BATCH as u32,
                wire: FRAME.wire * BATCH as u32,
            };
            let vnic = VnicId(self.next);
            if self
                .scheduler
                .pass(vnic, EXIT, ClassId::NONE, all, self.now)
            {
                self.left += BATCH as u64;
            }
            self.next = (self.next + 1) % self.vnics;
        } else {
            for _ in 0..BATCH {
                let vnic = VnicId(self.next);
                if self
                    .scheduler
                    .pass(vnic, EXIT, ClassId::NONE, FRAME, self.now)
                {
                    self.left += 1;
                }
                self.next = (self.next + 1) % self.vnics;
            }
        }
        self.scheduler.tick(self.now);
    }

    fn turn_of_waiting(&mut self) {
        self.scheduler.tick(self.now);
        let mut came = [0; BATCH];
        let mut places = came.iter_mut();
        let left = self.scheduler.release(UP, self.now, BATCH, |leaving| {
            if let Some(place) = places.next() {
                *place = leaving.item[0];
            }
        });
        self.left += left as u64;
        for &vnic in came.iter().take(left) {
            self.enqueue(vnic);
        }
    }

    /// Runs a round: so many turns that [`LOAD_PACKETS`] packets leave, if they leave as they must.
    pub fn run(&mut self) -> Result<Duration, String> {
        self.left = 0;
        let began = Instant::now();
        crate::measure::load_measured(self);
        let took = began.elapsed();
        let off = self.left.abs_diff(LOAD_PACKETS as u64);
        // Who is at his maximum leaves when he is due, not by batches.
        let slack = if self.name.contains("max") {
            BATCH as u64
        } else {
            0
        };
        match off <= slack {
            true => Ok(took),
            false => Err(format!("{}: {} packets left", self.name, self.left)),
        }
    }

    pub(crate) fn round(&mut self) {
        for _ in 0..LOAD_PACKETS / BATCH {
            self.turn();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_runs_and_lets_leave_what_must() {
        for name in LOADS {
            let mut load = Load::named(name).unwrap();
            for _ in 0..3 {
                load.run().unwrap();
            }
        }
    }
}
