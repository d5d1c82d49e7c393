//! An arbitrary host with several workers: who polls a device hands frames to whom they are of or for, who switches one hands it on to whose
//! queue it leaves by, and vNICs go from worker to worker, leave and come while frames come and devices take what they have room for.
//!
//! A worker here is its outlet and its book; rings are queues between each two. What a worker's edge does is done in its simplest form,
//! moves among it: no frame is under way while one moves. In which order that is safe while frames are is another model's subject, in
//! `weir-worker/tests/move_steps.rs`. Here it is that nothing of a frame or a vNIC stays behind, who sees what, and that maxima hold.

mod meters;
mod policy;
mod traffic;

use crate::door::Door;
use crate::leave;
use crate::outlet::{Outlet, Receiver};
use crate::shape::LinkState;
use crate::shape::leases::Leases;
use crate::steer;
use crate::testing::chaos::Chaos;
use crate::testing::dice::Dice;
use crate::testing::world::{UPLINK, WORKERS, World};
use crate::testing::{Kept, VecFrame};
use crate::{BATCH, Batch};
use meters::Meters;
use policy::Former;
use std::collections::VecDeque;
use std::sync::Arc;
use traffic::Traffic;
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::steering::Steering;
use weir_tables::view::Party;

/// Frames whose order is followed: so many of each host's, sent again and again.
const FLOWS: usize = 6;
/// In a frame's number: its sender was let send it, as a worker before this one asked.
const ASKED: u32 = 1 << 31;

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
    traffic: Traffic,
    meters: Meters,
    /// How the workers share the uplink.
    leases: Arc<Leases>,
    /// vNICs that left.
    gone: Vec<Former>,
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
        let mut steering = Steering::spread(workers);
        let vnics = world.view.vnics.iter().flatten();
        steering.set_ambiguous(vnics.flat_map(|vnic| vnic.identity.macs.iter().copied()));
        world.view.steering = steering;
        for i in 0..world.view.ports.len() {
            let port = PortId(i as u16);
            let any = WorkerId(dice.below(workers) as u8);
            let vnic = match world.view.port(port).map(|port| port.party) {
                Some(Party::Vnic(id)) => world.view.vnic(id),
                _ => None,
            };
            let owner = vnic.map_or(any, |vnic| world.view.steering.worker(vnic.identity.mac));
            let pushes_back = vnic.is_some() && dice.rarely(2);
            world.change_port(port, |port| {
                port.owner = owner;
                port.pushes_back = pushes_back;
            });
        }
        let devices = world.view.ports.iter().map(|_| VecDeque::new()).collect();
        let leases = Leases::new(workers);
        let kept = (0..workers).map(|w| starts(world, WorkerId(w as u8), &leases));
        let kept = kept.collect();
        let ring = |_| (0..workers).map(|_| VecDeque::new()).collect();
        let mut team = Team {
            chaos,
            kept,
            rings: (0..workers).map(ring).collect(),
            devices,
            traffic: Traffic::default(),
            meters: Meters::default(),
            leases,
            gone: Vec::new(),
            steered: 0,
            handed: 0,
            moved: 0,
        };
        team.part_ports();
        for _ in 0..FLOWS {
            team.follow(dice);
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
        let now = world.kept.ledger.now();
        for (port, receiver, mut frame) in world.kept.handed.drain(..) {
            let owner = world.view.port(port).expect("a port that is there").owner;
            self.handed += 1;
            let origin = self.traffic.origin(&frame);
            if let Some(sender) = origin.and_then(|origin| origin.sender) {
                self.meters
                    .sends(&world.view, sender, receiver, true, &frame, now);
            }
            frame.number |= ASKED;
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
            if let Some(id) = reached {
                self.meters.receives(&world.view, id, frame, now);
            }
            let origin = self.traffic.origin(frame);
            let sender = origin.and_then(|origin| origin.sender);
            if let Some(sender) = sender.filter(|_| frame.number & ASKED == 0) {
                self.meters
                    .sends(&world.view, sender, *receiver, false, frame, now);
            }
            self.traffic.comes_out(*port, reached, frame);
        }
        self.chaos.judge();
        std::mem::swap(&mut self.chaos.world.kept, &mut self.kept[w]);
        done
    }

    /// Something happens.
    pub fn happen(&mut self, dice: &mut impl Dice) {
        match dice.below(14) {
            0..4 => self.come(dice),
            4..10 => self.turn(dice.below(self.kept.len()), dice),
            10 => self.transfer(dice),
            11 if dice.rarely(2) => self.relink(dice),
            11 => self.reweigh(dice),
            12 => self.come_or_go(dice),
            _ => {
                let news = self.chaos.news(dice);
                self.hear(&news);
            }
        }
    }

    /// A worker polls one of its devices, and takes from each of its rings.
    fn turn(&mut self, w: usize, dice: &mut impl Dice) {
        self.fill_devices(w, dice);
        let port = PortId(dice.below(self.devices.len()) as u16);
        let view = &self.chaos.world.view;
        let is_own = view.port(port).is_some_and(|it| it.owner.index() == w);
        if is_own && !leave::holds_back(view, port, &self.kept[w].shaper) {
            self.poll(w, port);
        }
        for from in 0..self.kept.len() {
            self.take(w, from);
        }
    }

    /// How much this worker's devices take until its next turn, and how much memory it has for copies: mostly all.
    fn fill_devices(&mut self, w: usize, dice: &mut impl Dice) {
        let ports = self.chaos.world.view.ports.iter().zip(0..);
        let uplinks = ports
            .filter(|(port, _)| port.is_some_and(|port| matches!(port.party, Party::Uplink(_))));
        let uplinks: Vec<PortId> = uplinks.map(|(_, id)| PortId(id)).collect();
        let kept = &mut self.kept[w];
        kept.room = match dice.rarely(3) {
            true => dice.below(2 * BATCH),
            false => usize::MAX,
        };
        kept.full.clear();
        if dice.rarely(6) {
            kept.full.push(dice.one_of(&uplinks));
        }
        kept.copies_left = match dice.rarely(8) {
            true => dice.below(8),
            false => usize::MAX,
        };
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
            // What one vNIC sends on a trunk is one worker's, whichever of its MACs it is from.
            let sender = self.chaos.sender(port, &frame.bytes(), frame.vlan);
            let home = sender.map(|vnic| view.steering.worker(vnic.identity.mac).index());
            let is_trunk = !matches!(party, Party::Vnic(_));
            assert!(!is_trunk || home.is_none_or(|home| home == owner));
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

    /// The design's equation holds for each worker, each drop has one account, and no frame is lost.
    pub fn check(&self) {
        let (mut dropped, mut unaccounted, mut alive) = (0, 0, self.traffic.kept());
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
fn starts(world: &World, worker: WorkerId, leases: &Arc<Leases>) -> Kept {
    let mut kept = Kept::of(worker);
    leave::adopt(&mut kept.shaper, None, &world.view, kept.ledger.now());
    if let Some(link) = world
        .view
        .uplink(UPLINK)
        .and_then(|uplink| uplink.link.as_ref())
    {
        let (me, settings) = (worker.index(), kept.shaper.settings());
        let state = LinkState::new(link, leases.clone(), me, settings);
        kept.shaper.set_link(UPLINK, Some(state), kept.ledger.now());
        kept.shapes = true;
    }
    kept
}
