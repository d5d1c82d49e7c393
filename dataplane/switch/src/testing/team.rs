//! An arbitrary host with several workers: who polls a device hands frames to whom they are of or for, who switches one hands it on to whose
//! queue it leaves by, and vNICs go from worker to worker while frames come.
//!
//! A worker here is its outlet and its book; rings are queues between each two. What a worker's edge does is done in its simplest form,
//! moves among it: no frame is under way while one moves. In which order that is safe while frames are is another model's subject, in
//! `weir-worker/tests/move_steps.rs`. Here it is that nothing of a frame or a vNIC stays behind, and who sees what.

use crate::door::Door;
use crate::leave;
use crate::miss;
use crate::outlet::{Outlet, Receiver};
use crate::shape::leases::Leases;
use crate::shape::{LinkState, Parcel};
use crate::steer;
use crate::testing::chaos::{Chaos, News, know};
use crate::testing::dice::Dice;
use crate::testing::world::{UPLINK, WORKERS, World};
use crate::testing::{Kept, SHAPED, VecFrame};
use crate::{BATCH, Batch};
use std::collections::{HashMap, VecDeque};
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::steering::{Bucket, Steering};
use weir_tables::view::Party;

/// Frames whose order is followed: so many of each host's, sent again and again.
const FLOWS: usize = 4;

/// A frame between two workers; with its receiver if stages have seen it.
struct Handoff {
    port: PortId,
    receiver: Option<Receiver>,
    frame: VecFrame,
}

/// A host with its workers.
pub struct Team {
    /// The host, and who looks at what comes out of it. Its own outlet is nobody's.
    pub chaos: Chaos,
    /// By worker.
    pub kept: Vec<Kept>,
    /// By who takes, by who gives.
    rings: Vec<Vec<VecDeque<Handoff>>>,
    /// By port: what nobody has polled.
    devices: Vec<VecDeque<VecFrame>>,
    /// Frames that are sent again and again, each by its port.
    flows: Vec<(PortId, VecFrame)>,
    /// The next one's number, and by flow and receiver the last one's that came.
    next: u32,
    came: HashMap<(usize, PortId, Option<VnicId>), u32>,
    /// By number: its flow.
    flow_of: HashMap<u32, usize>,
    /// Frames that were steered, handed on, and vNICs that moved.
    pub steered: u64,
    /// See `steered`.
    pub handed: u64,
    /// See `steered`.
    pub moved: u64,
}

impl Team {
    /// An arbitrary host of two workers or more.
    pub fn new(dice: &mut impl Dice) -> Team {
        let mut chaos = Chaos::new(dice);
        let workers = 2 + dice.below(WORKERS - 1);
        let world = &mut chaos.world;
        world.view.steering = Steering::spread(workers);
        for i in 0..world.view.ports.len() {
            let port = PortId(i as u16);
            let any = WorkerId(dice.below(workers) as u8);
            let vnic = match world.view.port(port).map(|port| port.party) {
                Some(Party::Vnic(id)) => world.view.vnic(id),
                _ => None,
            };
            let owner = vnic.map_or(any, |vnic| world.view.steering.worker(vnic.identity.mac));
            world.change_port(port, |port| port.owner = owner);
        }
        let devices = world.view.ports.iter().map(|_| VecDeque::new()).collect();
        let kept = (0..workers).map(|w| starts(world, WorkerId(w as u8)));
        let kept = kept.collect();
        let ring = |_| (0..workers).map(|_| VecDeque::new()).collect();
        let mut team = Team {
            chaos,
            kept,
            rings: (0..workers).map(ring).collect(),
            devices,
            flows: Vec::new(),
            next: 0,
            came: HashMap::new(),
            flow_of: HashMap::new(),
            steered: 0,
            handed: 0,
            moved: 0,
        };
        team.part_ports();
        for _ in 0..FLOWS {
            let (port, frames) = team.chaos.frames(dice);
            team.flows
                .extend(frames.into_iter().next().map(|frame| (port, frame)));
        }
        team
    }

    /// Each worker knows which ports are another's. An uplink has a queue of each.
    fn part_ports(&mut self) {
        let ports = &self.chaos.world.view.ports;
        for (w, kept) in (0..).map(WorkerId).zip(&mut self.kept) {
            let theirs = ports.iter().map(|port| {
                let port = port.as_ref();
                port.is_some_and(|port| port.owner != w && !matches!(port.party, Party::Uplink(_)))
            });
            kept.elsewhere = theirs.collect();
        }
    }

    /// Something is done as a worker; what it has for others is put on its way, and what came out is looked at.
    fn with<T>(&mut self, w: usize, work: impl FnOnce(&mut World) -> T) -> T {
        std::mem::swap(&mut self.chaos.world.kept, &mut self.kept[w]);
        let done = work(&mut self.chaos.world);
        let world = &mut self.chaos.world;
        for (port, receiver, frame) in world.kept.handed.drain(..) {
            let owner = world.view.port(port).expect("a port that is there").owner;
            self.handed += 1;
            self.rings[owner.index()][w].push_back(Handoff {
                port,
                receiver: Some(receiver),
                frame,
            });
        }
        for (port, receiver, frame) in &world.kept.out {
            let reached = match receiver {
                Receiver::Vnic(id) => Some(*id),
                Receiver::Uplink(_) => None,
            };
            if let Some(&flow) = self.flow_of.get(&frame.number) {
                let last = self.came.entry((flow, *port, reached)).or_default();
                assert!(*last <= frame.number, "overtaken");
                *last = frame.number;
            }
        }
        self.chaos.judge();
        std::mem::swap(&mut self.chaos.world.kept, &mut self.kept[w]);
        done
    }

    /// Something happens.
    pub fn happen(&mut self, dice: &mut impl Dice) {
        match dice.below(12) {
            0..4 => self.come(dice),
            4..10 => self.turn(dice.below(self.kept.len()), dice),
            10 => self.transfer(dice),
            _ => {
                let news = self.chaos.news(dice);
                self.hear(&news);
            }
        }
    }

    /// Frames come to a device: arbitrary ones, or one of those that come again and again.
    fn come(&mut self, dice: &mut impl Dice) {
        let (port, mut frames) = self.chaos.frames(dice);
        self.devices[port.index()].extend(frames.drain(..));
        if self.flows.is_empty() {
            return;
        }
        let flow = dice.below(self.flows.len());
        let (port, frame) = &self.flows[flow];
        for _ in 0..1 + dice.below(4) {
            self.next += 1;
            let mut frame = frame.duplicate();
            frame.number = self.next;
            self.flow_of.insert(self.next, flow);
            self.devices[port.index()].push_back(frame);
        }
    }

    /// A worker polls one of its devices, and takes from each of its rings.
    fn turn(&mut self, w: usize, dice: &mut impl Dice) {
        let port = dice.below(self.devices.len());
        let view = &self.chaos.world.view;
        if view
            .port(PortId(port as u16))
            .is_some_and(|port| port.owner.index() == w)
        {
            self.poll(w, PortId(port as u16));
        }
        for from in 0..self.kept.len() {
            self.take(w, from);
        }
    }

    fn poll(&mut self, w: usize, port: PortId) {
        let view = &self.chaos.world.view;
        let party = view.port(port).expect("a port that is there").party;
        let device = &mut self.devices[port.index()];
        let count = device.len().min(BATCH);
        let frames: Vec<VecFrame> = device.drain(..count).collect();
        let own = WorkerId(w as u8);
        let mut owners = [own; BATCH];
        let all = steer::owners(view, port, party, &frames, &mut owners);
        assert_eq!(all, owners == [own; BATCH]);
        let mut own = Vec::new();
        for (frame, owner) in frames.into_iter().zip(owners) {
            // As one frame by itself is judged, which is what a move asks.
            let mac = steer::mac(view, port, party, &frame);
            let alone = mac.map_or(w, |mac| view.steering.worker(mac).index());
            let owner = owner.index();
            assert_eq!(owner, alone);
            if owner == w {
                own.push(frame);
                continue;
            }
            self.steered += 1;
            self.rings[owner][w].push_back(Handoff {
                port,
                receiver: None,
                frame,
            });
        }
        self.with(w, |world| world.receive(port, own));
    }

    /// At most a batch out of a ring, in runs that came by one port.
    fn take(&mut self, w: usize, from: usize) {
        for _ in 0..BATCH {
            let ring = &mut self.rings[w][from];
            let Some(first) = ring.pop_front() else {
                return;
            };
            let Some(receiver) = first.receiver else {
                let mut run: Batch<VecFrame> = Batch::new();
                run.push(first.frame);
                while let Some(next) = ring.front()
                    && (next.port, next.receiver) == (first.port, None)
                    && !run.is_full()
                {
                    run.extend(ring.pop_front().map(|next| next.frame));
                }
                self.with(w, |world| world.receive(first.port, run));
                continue;
            };
            self.with(w, |world| {
                let (ledger, door) = (world.kept.ledger.clone(), Door::new(first.port, receiver));
                ledger.cells().handoff_in.add(1);
                match world.kept.is_shaping() {
                    true => {
                        leave::deliver(&world.view, &ledger, door, first.frame, &mut world.kept)
                    }
                    false => world.kept.push(None, door, first.frame),
                }
            });
        }
    }

    /// Nothing is under way.
    fn drain(&mut self) {
        while self.rings.iter().flatten().any(|ring| !ring.is_empty()) {
            for w in 0..self.kept.len() {
                for from in 0..self.kept.len() {
                    self.take(w, from);
                }
            }
        }
    }

    /// A bucket with a vNIC in it goes to another worker.
    fn transfer(&mut self, dice: &mut impl Dice) {
        let view = &self.chaos.world.view;
        let all: Vec<VnicId> = view.vnics.iter().flatten().map(|vnic| vnic.id).collect();
        if all.is_empty() {
            return;
        }
        let one = view.vnic(dice.one_of(&all)).expect("a vNIC that is there");
        let bucket = Bucket::of(one.identity.mac);
        let from = view.steering.owner(bucket).index();
        let to = (from + 1 + dice.below(self.kept.len() - 1)) % self.kept.len();
        self.drain();
        let view = &self.chaos.world.view;
        let in_it = view.vnics.iter().flatten();
        let in_it = in_it.filter(|vnic| Bucket::of(vnic.identity.mac) == bucket);
        let in_it: Vec<(VnicId, PortId)> = in_it.map(|vnic| (vnic.id, vnic.port)).collect();
        self.chaos
            .world
            .view
            .steering
            .give(bucket, WorkerId(to as u8));
        for &(id, port) in &in_it {
            self.chaos.world.change_port(port, |port| {
                if port.party == Party::Vnic(id) {
                    port.owner = WorkerId(to as u8);
                }
            });
        }
        self.part_ports();
        for (id, _) in in_it {
            self.go(id, from, to);
            self.moved += 1;
        }
    }

    /// What a worker has of a vNIC goes to another one, as `weir-worker` has it go.
    fn go(&mut self, id: VnicId, from: usize, to: usize) {
        let mut parcel = Parcel::with_room(SHAPED as usize);
        let mut held = Vec::new();
        self.with(from, |world| {
            let ledger = world.kept.ledger.clone();
            miss::take_along(&ledger, id, &mut world.kept, |frame| held.push(frame));
            let shaped = leave::pack(
                &world.view,
                &ledger,
                id,
                &mut world.kept.shaper,
                &mut parcel,
            );
            let along = held.len() + shaped;
            ledger.cells().handoff_out.add(along as u64);
        });
        self.with(to, |world| {
            let ledger = world.kept.ledger.clone();
            let along = held.len() + parcel.len();
            ledger.cells().handoff_in.add(along as u64);
            leave::unpack(&world.view, &ledger, &mut world.kept.shaper, &mut parcel);
            for frame in held {
                miss::anew(&world.view, &ledger, id, frame, &mut world.kept);
            }
        });
    }

    /// Every worker hears it.
    fn hear(&mut self, news: &[News]) {
        for news in news {
            if let News::Found(_, remotes) = news {
                remotes
                    .iter()
                    .for_each(|&remote| know(&mut self.chaos.world, remote));
            }
            for w in 0..self.kept.len() {
                self.with(w, |world| match news {
                    News::Found(to, _) => world.answer(*to, true),
                    News::Absent(to) => world.answer(*to, false),
                    News::Wait(cycles) => world.wait(*cycles),
                });
            }
        }
    }

    /// The design's equation holds for each worker, each drop has one account, and no frame is lost.
    pub fn check(&self) {
        let (mut dropped, mut unaccounted, mut alive) = (0, 0, self.flows.len());
        for kept in &self.kept {
            let cells = kept.ledger.cells();
            assert_eq!(cells.came(), cells.went(), "{cells:?}");
            dropped += cells.dropped.get();
            unaccounted += cells.unaccounted.packets();
            alive += kept.held.frames() + kept.shaper.queued() as usize;
            self.chaos.world.assert_classes(kept);
        }
        let told: u64 = self.chaos.world.drops().iter().map(|drop| drop.1).sum();
        assert_eq!(dropped, told + unaccounted, "each drop has one reason");
        alive += self.devices.iter().map(VecDeque::len).sum::<usize>();
        alive += self
            .rings
            .iter()
            .flatten()
            .map(VecDeque::len)
            .sum::<usize>();
        assert_eq!(
            self.chaos.world.herd.alive(),
            alive as isize,
            "a frame leaked"
        );
    }

    /// Everything that has come to devices is switched.
    pub fn settle(&mut self) {
        for port in (0..self.devices.len()).map(|port| PortId(port as u16)) {
            while !self.devices[port.index()].is_empty() {
                let owner = self.chaos.world.view.port(port).expect("a port").owner;
                self.poll(owner.index(), port);
            }
        }
        self.drain();
    }
}

/// A worker's outlet, as it begins in this host.
fn starts(world: &World, worker: WorkerId) -> Kept {
    let mut kept = Kept::of(worker);
    leave::adopt(&mut kept.shaper, None, &world.view, kept.ledger.now());
    if let Some(link) = world
        .view
        .uplink(UPLINK)
        .and_then(|uplink| uplink.link.as_ref())
    {
        let state = LinkState::new(link, Leases::new(1), 0, kept.shaper.settings());
        kept.shaper.set_link(UPLINK, Some(state), kept.ledger.now());
        kept.shapes = true;
    }
    kept
}
