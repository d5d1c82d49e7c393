//! What control does to a team: vNICs go from worker to worker, leave and come, and get other weights.

use super::Team;
use crate::leave::{self, Waiting};
use crate::miss;
use crate::outlet::Receiver;
use crate::shape::{LinkState, Parcel};
use crate::testing::chaos::{News, know};
use crate::testing::dice::Dice;
use crate::testing::world::UPLINK;
use crate::testing::{HZ, SHAPED};
use std::net::Ipv4Addr;
use weir_tables::bandwidth::{Pace, Promise};
use weir_tables::ids::{PortId, SegmentId, VnicId, WorkerId};
use weir_tables::steering::Bucket;
use weir_tables::view::{Party, View};
use weir_wire::Mac;

/// Who left: where it was.
pub(super) type Former = (SegmentId, Mac, Ipv4Addr);

impl Team {
    fn one(&self, dice: &mut impl Dice) -> Option<VnicId> {
        let vnics = self.chaos.world.view.vnics.iter().flatten();
        let all: Vec<VnicId> = vnics.map(|vnic| vnic.id).collect();
        (!all.is_empty()).then(|| dice.one_of(&all))
    }

    /// Every worker has another view now.
    fn adopt(&mut self, before: &View) {
        self.part_ports();
        for kept in &mut self.kept {
            let now = kept.ledger.now();
            leave::adopt(&mut kept.shaper, Some(before), &self.chaos.world.view, now);
        }
    }

    /// A vNIC has another weight. Its maxima stay, as what it sends is held against those.
    pub(super) fn reweigh(&mut self, dice: &mut impl Dice) {
        let Some(one) = self.one(dice) else {
            return;
        };
        let before = self.chaos.world.view.clone();
        let promise = before.vnic(one).and_then(|vnic| vnic.promise.as_deref());
        let promise = Promise {
            share: dice.one_of(&[0, 1, 7, 50]),
            ..promise.copied().unwrap_or_default()
        };
        self.chaos.world.promise(one, Some(promise));
        self.adopt(&before);
    }

    /// The uplink is shared otherwise: another capacity, or all anew.
    pub(super) fn relink(&mut self, dice: &mut impl Dice) {
        let uplink = self.chaos.world.view.uplink(UPLINK);
        let Some(mut link) = uplink.and_then(|uplink| uplink.link.as_deref().cloned()) else {
            return;
        };
        // Where the device chooses it has none.
        if link.queues.is_none() {
            let rates = [10, 1000].map(|mbit| Pace::of(mbit * 1_000_000, HZ));
            link.capacity = dice.one_of(&[Pace::UNLIMITED, rates[0], rates[1]]);
        }
        for (me, kept) in self.kept.iter_mut().enumerate() {
            let settings = kept.shaper.settings();
            let state = LinkState::new(&link, self.leases.clone(), me, settings);
            let now = kept.ledger.now();
            kept.shaper.set_link(UPLINK, Some(state), now);
        }
        self.chaos.world.link(Some(link));
    }

    /// A vNIC leaves, or one that left is somewhere again, with an index that was another's.
    pub(super) fn come_or_go(&mut self, dice: &mut impl Dice) {
        let before = self.chaos.world.view.clone();
        if !self.gone.is_empty() && dice.rarely(2) {
            let place = dice.below(self.gone.len());
            let (segment, mac, ca) = self.gone.swap_remove(place);
            let world = &mut self.chaos.world;
            let id = world.vnic(segment, mac, ca);
            let owner = world.view.steering.worker(mac);
            let port = world.port_of(id).expect("a port");
            world.change_port(port, |port| port.owner = owner);
            self.devices
                .resize_with(world.view.ports.len(), Default::default);
            return self.adopt(&before);
        }
        let Some(one) = self.one(dice) else {
            return;
        };
        let vnic = before.vnic(one).expect("a vNIC that is there");
        let party = before.port(vnic.port).map(|port| port.party);
        // Others have addresses of the provider's, or others on their port.
        if party != Some(Party::Vnic(one)) || !vnic.identity.v4_pas.is_empty() {
            return;
        }
        self.drain();
        self.devices[vnic.port.index()].clear();
        self.chaos.world.remove(one);
        self.adopt(&before);
        for w in 0..self.kept.len() {
            self.with(w, |world| world.forget(one));
            let names_it = |(vnic, _, waiting): (VnicId, _, &Waiting<_>)| {
                vnic == one || waiting.door.receiver() == Receiver::Vnic(one)
            };
            assert!(!self.kept[w].shaper.each().any(names_it), "waits on");
        }
        self.meters.forget(one);
        self.chaos.world.settle();
        let ca = vnic.identity.v4.first();
        self.gone
            .extend(ca.map(|&ca| (vnic.segment, vnic.identity.mac, ca)));
    }

    /// A bucket with a vNIC in it goes to another worker.
    pub(super) fn transfer(&mut self, dice: &mut impl Dice) {
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
    pub(super) fn hear(&mut self, news: &[News]) {
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
}
