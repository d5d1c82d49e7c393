//! What waits for the store's answer, against a slow and obvious copy of it: bounds hold, order is kept, nothing is lost.

use proptest::prelude::*;
use std::net::Ipv4Addr;
use weir_switch::Frame;
use weir_switch::held::{BYTES, FRAMES, Held, Known, MEMORY};
use weir_switch::testing::{Herd, VecFrame};
use weir_tables::endpoints::Destination;
use weir_tables::ids::{DomainId, SegmentId, VnicId};
use weir_wire::Mac;

const HZ: u64 = 1000;
const DESTINATIONS: usize = 6;
const REMEMBERED: usize = 5;

struct Waiting {
    to: Destination,
    owner: VnicId,
    since: u64,
    /// Who sent it, its number, its length.
    frames: Vec<(VnicId, u32, usize)>,
}

/// The copy: lists, walked from end to end.
#[derive(Default)]
struct Oracle {
    waiting: Vec<Waiting>,
    absent: Vec<(Destination, VnicId, u64)>,
}

impl Oracle {
    fn look(&self, to: Destination, now: u64) -> Known {
        if self.waiting.iter().any(|w| w.to == to) {
            Known::Asked
        } else if self.absent.iter().any(|a| a.0 == to && now < a.2) {
            Known::Absent
        } else {
            Known::Nothing
        }
    }

    fn begin(&mut self, to: Destination, owner: VnicId, since: u64) -> bool {
        self.absent.retain(|a| a.0 != to);
        let own = self.waiting.iter().filter(|w| w.owner == owner).count();
        let may = own < DESTINATIONS - self.waiting.len();
        if may {
            let frames = Vec::new();
            self.waiting.push(Waiting {
                to,
                owner,
                since,
                frames,
            });
        }
        may
    }

    fn add(&mut self, to: Destination, from: VnicId, number: u32, length: usize) -> bool {
        let Some(waiting) = self.waiting.iter_mut().find(|w| w.to == to) else {
            return false;
        };
        let bytes: usize = waiting.frames.iter().map(|f| f.2).sum();
        let fits = waiting.frames.len() < FRAMES && bytes + length <= BYTES;
        if fits {
            waiting.frames.push((from, number, length));
        }
        fits
    }

    fn take(&mut self, to: Destination) -> Option<Waiting> {
        let at = self.waiting.iter().position(|w| w.to == to)?;
        Some(self.waiting.swap_remove(at))
    }

    fn remember(&mut self, to: Destination, owner: VnicId, now: u64) {
        let own = |absent: &[(Destination, VnicId, u64)]| {
            absent.iter().filter(|a| a.1 == owner).count() < REMEMBERED - absent.len()
        };
        if !own(&self.absent) {
            self.absent.retain(|a| now < a.2);
        }
        if !own(&self.absent) {
            let oldest = self
                .absent
                .iter()
                .filter(|a| a.1 == owner)
                .map(|a| a.2)
                .min();
            let at = self
                .absent
                .iter()
                .position(|a| a.1 == owner && Some(a.2) == oldest);
            at.map(|at| self.absent.remove(at));
        }
        if own(&self.absent) {
            self.absent.push((to, owner, now + MEMORY * HZ));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send { from: u32, to: usize, length: usize },
    Found(usize),
    Absent(usize),
    Forget(u32),
    PolicyChanges,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![8 => 60..1500_usize, 1 => 9000..20_000_usize];
    prop_oneof![
        16 => (0..4_u32, 0..24_usize, length).prop_map(|(from, to, length)| Step::Send { from, to, length }),
        2 => (0..24_usize).prop_map(Step::Found),
        6 => (0..24_usize).prop_map(Step::Absent),
        1 => (0..4_u32).prop_map(Step::Forget),
        1 => Just(Step::PolicyChanges),
        // No two at one time: which of two as old is forgotten first is nobody's business.
        8 => (1..1500_u64).prop_map(Step::Wait),
    ]
}

fn destination(n: usize) -> Destination {
    match n % 3 {
        0 => Destination::Mac(SegmentId(1), Mac::new([2, 0, 0, 0, 0, n as u8])),
        1 => Destination::V4(DomainId(1), Ipv4Addr::new(10, 0, 0, n as u8)),
        _ => Destination::V6(DomainId(1), std::net::Ipv6Addr::from(n as u128)),
    }
}

/// A frame that bears its number.
fn frame(herd: &Herd, number: u32, length: usize) -> VecFrame {
    let mut frame = herd.frame(&vec![0; length]);
    frame.mark = number;
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_lists_would_do(steps in prop::collection::vec(step(), 0..300)) {
        let herd = Herd::default();
        let mut held = Held::<VecFrame>::new(DESTINATIONS as u16, REMEMBERED as u16, 7, HZ);
        let mut oracle = Oracle::default();
        let mut now = 0;
        for (number, step) in steps.into_iter().enumerate() {
            now += 1;
            match step {
                Step::Send { from, to, length } => {
                    let (from, to, number) = (VnicId(from), destination(to), number as u32);
                    let known = held.look(to, now);
                    prop_assert_eq!(known, oracle.look(to, now));
                    let waits = match known {
                        Known::Absent => false,
                        Known::Asked => true,
                        Known::Nothing => {
                            let may = held.begin(to, from, now);
                            prop_assert_eq!(may, oracle.begin(to, from, now));
                            may
                        }
                    };
                    let added = waits && held.add(to, from, frame(&herd, number, length)).is_ok();
                    prop_assert_eq!(added, waits && oracle.add(to, from, number, length));
                }
                Step::Found(to) => {
                    let got = held.take(destination(to));
                    let wanted = oracle.take(destination(to)).map(|w| w.frames);
                    prop_assert_eq!(numbers(got), wanted.map(names));
                }
                Step::Absent(to) => {
                    let to = destination(to);
                    let got = held.settle(to, now);
                    let wanted = oracle.take(to);
                    if let Some(waiting) = &wanted {
                        oracle.remember(to, waiting.owner, now);
                        prop_assert_eq!(held.look(to, now), Known::Absent, "while they are told");
                        held.over();
                    }
                    prop_assert_eq!(numbers(got), wanted.map(|w| names(w.frames)));
                }
                Step::Forget(vnic) => {
                    let vnic = VnicId(vnic);
                    let mut gone = Vec::new();
                    while let Some(frame) = held.forget(vnic) {
                        gone.push(frame.mark);
                    }
                    let mut wanted = Vec::new();
                    for waiting in &mut oracle.waiting {
                        wanted.extend(waiting.frames.iter().filter(|f| f.0 == vnic).map(|f| f.1));
                        waiting.frames.retain(|f| f.0 != vnic);
                        if waiting.owner == vnic
                            && let Some(next) = waiting.frames.first()
                        {
                            waiting.owner = next.0;
                        }
                    }
                    oracle.waiting.retain(|w| w.owner != vnic);
                    oracle.absent.retain(|a| a.1 != vnic);
                    gone.sort();
                    wanted.sort();
                    prop_assert_eq!(gone, wanted);
                }
                Step::PolicyChanges => {
                    held.forget_misses();
                    oracle.absent.clear();
                }
                Step::Wait(cycles) => {
                    now += cycles;
                    // It looks fifty times a second.
                    let late = |w: &Waiting| now - w.since >= HZ + HZ / 50;
                    let is_due = held.is_due(now);
                    prop_assert!(is_due || !oracle.waiting.iter().any(late));
                    while is_due && let Some(to) = held.expired(now) {
                        let wanted = oracle.take(to).expect("it waits");
                        prop_assert!(now - wanted.since >= HZ);
                        prop_assert_eq!(numbers(held.take(to)), Some(names(wanted.frames)));
                    }
                    prop_assert!(!is_due || oracle.waiting.iter().all(|w| now - w.since < HZ));
                }
            }
            let frames: usize = oracle.waiting.iter().map(|w| w.frames.len()).sum();
            prop_assert_eq!((held.frames(), held.asked()), (frames, oracle.waiting.len()));
            prop_assert_eq!(herd.alive(), frames as isize, "a frame leaked");
            prop_assert!(held.asked() <= DESTINATIONS && held.remembered() <= REMEMBERED);
            for to in (0..24).map(destination) {
                prop_assert_eq!(held.look(to, now), oracle.look(to, now));
                prop_assert_eq!(held.is_waiting(to), oracle.look(to, now) == Known::Asked);
            }
        }
    }
}

fn numbers(
    frames: Option<impl IntoIterator<Item = (VnicId, VecFrame)>>,
) -> Option<Vec<(VnicId, u32)>> {
    let frames = frames?.into_iter();
    Some(frames.map(|(from, frame)| (from, frame.mark)).collect())
}

fn names(frames: Vec<(VnicId, u32, usize)>) -> Vec<(VnicId, u32)> {
    frames
        .into_iter()
        .map(|(from, number, _)| (from, number))
        .collect()
}

/// Who asks about everything gets half, and another vNIC finds room for its own and keeps it.
#[test]
fn one_vnic_leaves_room_for_others() {
    let herd = Herd::default();
    let mut held = Held::<VecFrame>::new(16, 32, 7, HZ);
    let to = |n: u32| Destination::V4(DomainId(0), Ipv4Addr::from(n));
    let (quiet, scanner) = (VnicId(1), VnicId(2));
    for n in 0..4 {
        assert!(held.begin(to(n), quiet, 0) && held.settle(to(n), 1).is_some());
        held.over();
    }
    for n in 10..13 {
        assert!(held.begin(to(n), quiet, 2));
        assert!(held.add(to(n), quiet, frame(&herd, n, 60)).is_ok());
    }
    let mut began = 0;
    for n in 1000..5000 {
        if held.begin(to(n), scanner, 3) {
            began += 1;
            assert!(held.add(to(n), scanner, frame(&herd, n, 60)).is_ok());
        }
    }
    assert_eq!(began, 7, "as much as it leaves free");
    for n in 1000..5000 {
        if held.is_waiting(to(n)) || held.begin(to(n), scanner, 4) {
            assert!(held.settle(to(n), 5).is_some());
            held.over();
        }
    }
    assert!(held.remembered() <= 4 + 14);
    let known: Vec<Known> = (0..4).map(|n| held.look(to(n), 6)).collect();
    assert_eq!(
        known,
        [Known::Absent; 4],
        "others' misses are not pushed out"
    );
    assert_eq!(
        held.look(to(4999), 6),
        Known::Absent,
        "its own newest is remembered"
    );
    assert!(
        held.begin(to(50), quiet, 6),
        "there is room for who has little"
    );
    for n in 10..13 {
        let frames = held.take(to(n)).expect("still held");
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].1.len(), 60);
    }
}

#[test]
fn a_small_pool_holds_less() {
    assert_eq!(Held::<VecFrame>::destinations(16_383, 1), 127);
    assert_eq!(Held::<VecFrame>::destinations(16_383, 4), 31);
    assert_eq!(Held::<VecFrame>::destinations(1024, 1), 8);
    assert_eq!(Held::<VecFrame>::destinations(1024, 64), 4);
    assert_eq!(Held::<VecFrame>::destinations(u32::MAX, 1), 128);
}

#[test]
fn a_miss_that_nobody_has_room_for_counts_while_its_frames_are_told() {
    let mut held = Held::<VecFrame>::new(8, 1, 7, HZ);
    let to = |n: u32| Destination::V4(DomainId(0), Ipv4Addr::from(n));
    for n in 1..3 {
        assert!(held.begin(to(n), VnicId(n), 0));
        assert!(held.settle(to(n), 0).is_some());
        assert_eq!(held.look(to(n), 0), Known::Absent);
        held.over();
    }
    assert_eq!(held.look(to(1), 0), Known::Absent, "remembered");
    assert_eq!(held.look(to(2), 0), Known::Nothing, "no room");
}
