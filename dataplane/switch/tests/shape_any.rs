//! Anything that may happen to the scheduler, against queues that are only queues: nothing is lost, doubled or overtaken, and nothing
//! waits for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use weir_switch::shape::{
    Exit, Leaving, LinkState, Parcel, Room, Scheduler, Settings, Size, leases::Leases,
};
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Promise, Tc};
use weir_tables::ids::{UplinkId, VnicId};

const HZ: u64 = 2_600_000_000;
const VNICS: u32 = 6;
const UPLINKS: u16 = 2;
const CLASSES: u8 = 3;

#[derive(Clone, Debug)]
enum Op {
    Promise(u32, Option<Promise>),
    Link(u16, Option<Link>),
    Arrive(u32, u8, u8, u32, u8),
    Time(u64),
    Back(u64),
    Tick,
    Release(u16, usize),
    ReleaseHere(usize),
    Forget(u32),
    ForgetUplink(u16),
    Extract(u64),
    Move(u32, bool),
    Hold(u32, bool),
    Grow(u32),
    Drain,
}

fn pace() -> impl Strategy<Value = Pace> {
    let rates = prop::sample::select(vec![
        1_000,
        64_000,
        10_000_000,
        1_000_000_000,
        400_000_000_000_u64,
    ]);
    prop_oneof![
        2 => Just(Pace::UNLIMITED),
        3 => rates.prop_map(|rate| Pace::of(rate, HZ)),
        1 => any::<u64>().prop_map(Pace),
    ]
}

fn promise() -> impl Strategy<Value = Promise> {
    let share = prop_oneof![Just(0), 1..100_u32, Just(100_000_000), any::<u32>()];
    (share, pace(), pace(), prop::bool::weighted(0.2)).prop_map(|(share, max, max_rx, police)| {
        Promise {
            share,
            max,
            max_rx,
            police,
        }
    })
}

fn link() -> impl Strategy<Value = Link> {
    let class = (0..100_u32, pace(), 0..8_u8).prop_map(|(share, max, tc)| Class {
        name: "c".into(),
        share,
        max,
        tc,
        dscp: None,
        pcp: None,
    });
    let classes = prop::collection::vec(class, 0..=usize::from(CLASSES));
    let tcs = prop::array::uniform8(
        (any::<bool>(), 0..=100_u8).prop_map(|(strict, share)| Tc { strict, share }),
    );
    (pace(), 0..100_u32, 0..8_u8, classes, tcs).prop_map(
        |(capacity, default_share, default_tc, classes, tcs)| Link {
            capacity,
            default_share,
            default_tc,
            queues: None,
            classes: classes.into(),
            tcs,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![Just(0), Just(60), 60..1515_u32, Just(65_536), any::<u32>()];
    let step = prop_oneof![
        0..100_000_u64,
        Just(HZ / 1000),
        Just(HZ),
        Just(1 << 40),
        Just(1 << 61)
    ];
    prop_oneof![
        2 => (0..VNICS, prop::option::weighted(0.8, promise())).prop_map(|(vnic, promise)| Op::Promise(vnic, promise)),
        1 => (0..UPLINKS, prop::option::weighted(0.8, link())).prop_map(|(at, link)| Op::Link(at, link)),
        20 => (0..VNICS + 1, 0..4_u8, 0..=CLASSES + 1, bytes, 1..40_u8).prop_map(|(vnic, exit, class, bytes, count)| Op::Arrive(vnic, exit, class, bytes, count)),
        8 => step.prop_map(Op::Time),
        1 => (0..HZ).prop_map(Op::Back),
        6 => Just(Op::Tick),
        8 => (0..UPLINKS, 0..40_usize).prop_map(|(at, room)| Op::Release(at, room)),
        4 => (0..40_usize).prop_map(Op::ReleaseHere),
        1 => (0..VNICS).prop_map(Op::Forget),
        1 => (0..UPLINKS).prop_map(Op::ForgetUplink),
        1 => (1..5_u64).prop_map(Op::Extract),
        1 => (0..VNICS, any::<bool>()).prop_map(|(vnic, port)| Op::Move(vnic, port)),
        2 => (0..VNICS, any::<bool>()).prop_map(|(vnic, is_held)| Op::Hold(vnic, is_held)),
        1 => (0..10_u32).prop_map(Op::Grow),
        1 => Just(Op::Drain),
    ]
}

type Key = (u32, Exit, u8);

/// The scheduler and what it must have.
struct Held {
    scheduler: Scheduler<u64>,
    settings: Settings,
    queues: BTreeMap<Key, VecDeque<u64>>,
    next: u64,
    now: u64,
    /// Who gets nothing.
    held: BTreeSet<u32>,
    /// A vNIC with the smallest weight there is: virtual time has to start anew soon.
    leases: std::sync::Arc<Leases>,
}

fn key(vnic: VnicId, exit: Exit, class: ClassId) -> Key {
    match exit {
        Exit::Uplink(_) => (vnic.0, exit, class.0),
        _ => (vnic.0, exit, 0),
    }
}

impl Held {
    fn new() -> Held {
        let settings = Settings::new(HZ, 300, VNICS, UPLINKS);
        Held {
            scheduler: Scheduler::new(settings),
            settings,
            queues: BTreeMap::new(),
            next: 0,
            now: 1,
            held: BTreeSet::new(),
            leases: Leases::new(2),
        }
    }

    fn arrive(&mut self, vnic: u32, exit: u8, class: u8, bytes: u32, count: u8) {
        let exit = match exit {
            0 => Exit::Here,
            1 => Exit::Receive,
            at => Exit::Uplink(UplinkId(u16::from(at) - 2)),
        };
        let (vnic, class) = (VnicId(vnic), ClassId(class));
        let size = Size {
            bytes,
            wire: bytes.saturating_add(66),
        };
        let key = key(vnic, exit, class);
        if self.scheduler.pass(vnic, exit, class, size, self.now) {
            assert!(
                self.queues.get(&key).is_none_or(VecDeque::is_empty),
                "overtakes {key:?}"
            );
            return;
        }
        for _ in 0..count {
            let item = self.next;
            self.next += 1;
            match self
                .scheduler
                .enqueue(vnic, exit, class, size, self.now, item)
            {
                Ok(()) => self.queues.entry(key).or_default().push_back(item),
                Err((_, back)) => assert_eq!(back, item),
            }
        }
    }

    fn left(queues: &mut BTreeMap<Key, VecDeque<u64>>, key: Key, item: u64) {
        let queue = queues
            .get_mut(&key)
            .expect("of a leaf in which something waits");
        assert_eq!(queue.pop_front(), Some(item), "in its order");
    }

    fn release(&mut self, uplink: u16, room: usize) -> usize {
        let queues = &mut self.queues;
        let uplink = UplinkId(uplink);
        let now = self.now;
        let mut count = 0;
        let sink = |leaving: Leaving<u64>| {
            assert_eq!(leaving.exit, Exit::Uplink(uplink));
            Self::left(
                queues,
                key(leaving.vnic, leaving.exit, leaving.class),
                leaving.item,
            );
            count += 1;
        };
        let said = self.scheduler.release(uplink, now, room, sink);
        assert_eq!(said, count);
        assert!(said <= room);
        said
    }

    fn release_here(&mut self, room: usize) -> usize {
        let (queues, held) = (&mut self.queues, &self.held);
        let sink = |leaving: Leaving<u64>| {
            assert!(leaving.exit != Exit::Receive || !held.contains(&leaving.vnic.0));
            Self::left(
                queues,
                key(leaving.vnic, leaving.exit, leaving.class),
                leaving.item,
            );
        };
        self.scheduler.release_here(self.now, room, sink)
    }

    fn set_link(&mut self, at: u16, link: Option<Link>) {
        let state = link.map(|link| LinkState::new(&link, self.leases.clone(), 1, &self.settings));
        self.scheduler.set_link(UplinkId(at), state, self.now);
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Promise(vnic, promise) => {
                self.scheduler
                    .promise(VnicId(vnic), promise.as_ref(), self.now)
            }
            Op::Link(at, link) => self.set_link(at, link),
            Op::Arrive(vnic, exit, class, bytes, count) => {
                self.arrive(vnic, exit, class, bytes, count)
            }
            Op::Time(step) => self.now = self.now.saturating_add(step),
            Op::Back(step) => self.now = self.now.saturating_sub(step),
            Op::Tick => self.scheduler.tick(self.now),
            Op::Release(at, room) => {
                self.release(at, room);
            }
            Op::ReleaseHere(room) => {
                self.release_here(room);
            }
            Op::Forget(vnic) => {
                let queues = &mut self.queues;
                self.scheduler.forget(VnicId(vnic), |exit, class, item| {
                    Self::left(queues, key(VnicId(vnic), exit, class), item);
                });
                let mut queues = queues.iter();
                assert!(queues.all(|(key, queue)| key.0 != vnic || queue.is_empty()));
                self.held.remove(&vnic);
            }
            Op::ForgetUplink(at) => {
                let (queues, exit) = (&mut self.queues, Exit::Uplink(UplinkId(at)));
                self.scheduler
                    .forget_uplink(UplinkId(at), |vnic, class, item| {
                        Self::left(queues, key(vnic, exit, class), item);
                    });
                let mut queues = queues.iter();
                assert!(queues.all(|(key, queue)| key.1 != exit || queue.is_empty()));
            }
            Op::Extract(of) => {
                let queues = &mut self.queues;
                self.scheduler.extract(
                    |item| item % of == 0,
                    |vnic, exit, item| {
                        let queue = queues.get_mut(&(vnic.0, exit, 0)).unwrap();
                        let at = queue.iter().position(|&it| it == item).unwrap();
                        queue.remove(at);
                    },
                );
                let is_here = |exit| matches!(exit, Exit::Here | Exit::Receive);
                let here = self.queues.iter().filter(|(key, _)| is_here(key.1));
                assert!(here.flat_map(|(_, queue)| queue).all(|item| item % of != 0));
            }
            Op::Move(vnic, with_port) => {
                let mut parcel = Parcel::with_room(4);
                let stays = match with_port {
                    true => 0,
                    false => {
                        let queue = self.queues.get(&(vnic, Exit::Receive, 0));
                        queue.map_or(0, |queue| queue.len() as u64)
                    }
                };
                self.scheduler
                    .take_out(VnicId(vnic), with_port, &mut parcel);
                assert_eq!(self.scheduler.waiting(VnicId(vnic)).items, stays);
                if with_port {
                    self.held.remove(&vnic);
                }
                self.scheduler
                    .put_in(&mut parcel, self.now, |_, _, _, _| panic!("there was room"));
            }
            Op::Hold(vnic, is_held) => {
                self.scheduler
                    .hold_received(VnicId(vnic), is_held, self.now);
                match is_held {
                    true => self.held.insert(vnic),
                    false => self.held.remove(&vnic),
                };
            }
            Op::Grow(by) => {
                let room = Room::new(&self.settings, self.settings.vnics + by);
                self.scheduler.grow(room);
                self.settings = *self.scheduler.settings();
            }
            Op::Drain => {
                let queues = &mut self.queues;
                self.scheduler.drain(|vnic, exit, class, item| {
                    Self::left(queues, key(vnic, exit, class), item)
                });
                assert!(queues.values().all(VecDeque::is_empty));
            }
        }
        let waits: usize = self.queues.values().map(VecDeque::len).sum();
        assert_eq!(self.scheduler.queued(), waits as u64);
        assert_eq!(self.scheduler.items().count(), waits);
        let leaves: u64 = self
            .scheduler
            .leaves()
            .map(|leaf| u64::from(leaf.items))
            .sum();
        assert_eq!(leaves, waits as u64);
    }

    /// With nothing in its way everything leaves.
    fn end(mut self) {
        for at in 0..UPLINKS {
            self.set_link(at, Some(Link::plain(Pace::UNLIMITED)));
        }
        for vnic in 0..self.settings.vnics {
            self.scheduler.promise(VnicId(vnic), None, self.now);
            self.scheduler.hold_received(VnicId(vnic), false, self.now);
        }
        self.held.clear();
        for _ in 0..100 {
            self.now = self.now.saturating_add(HZ / 1000);
            self.scheduler.tick(self.now);
            while self.release(0, 32) + self.release(1, 32) + self.release_here(32) > 0 {}
        }
        let left: Vec<_> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .collect();
        assert_eq!(left, Vec::new(), "wait for ever");
        assert!(self.scheduler.is_off());
        assert!(!self.scheduler.waits(UplinkId(0)) && !self.scheduler.waits_here());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_lost_doubled_or_overtaken(ops in prop::collection::vec(op(), 1..150)) {
        let mut held = Held::new();
        for op in ops {
            held.run(op);
        }
        held.end();
    }
}
