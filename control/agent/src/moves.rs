//! Moving vNICs from one worker to another while traffic goes on: control's part of [`weir_worker::moves`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::steering::{Bucket, Steering};
use weir_tables::view::Party;
use weir_wire::Mac;
use weir_worker::command::{Command, Expected, Luggage};

use crate::plan::Plan;
use crate::state::State;

/// Frames that may wait for vNICs on their way, as a part of the pool.
const WAITING: usize = 8;
/// Frames that wait for the store and may move along.
const HELD: usize = 1024;

/// Moves since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoveCounts {
    /// Moves, each of a bucket or more from one worker to another.
    pub moves: u64,
    /// Buckets that were moved.
    pub buckets: u64,
    /// vNICs that were moved.
    pub vnics: u64,
    /// How long the longest of them took.
    pub longest: Duration,
    /// How long all of them together took.
    pub total: Duration,
    /// By worker: vNICs that came to it, and that went from it.
    by_worker: Vec<(u64, u64)>,
}

impl MoveCounts {
    /// vNICs that came to a worker, and that went from it.
    pub fn of(&self, worker: usize) -> (u64, u64) {
        self.by_worker.get(worker).copied().unwrap_or_default()
    }

    fn went(&mut self, vnics: u64, from: WorkerId, to: WorkerId) {
        let known = self.by_worker.len().max(from.index().max(to.index()) + 1);
        self.by_worker.resize(known, (0, 0));
        if let Some((_, went)) = self.by_worker.get_mut(from.index()) {
            *went += vnics;
        }
        if let Some((came, _)) = self.by_worker.get_mut(to.index()) {
            *came += vnics;
        }
    }
}

impl State {
    /// Gives buckets to a worker, with the vNICs that are in them. Returns how many vNICs moved.
    pub fn move_buckets(&mut self, buckets: &[Bucket], to: WorkerId) -> usize {
        let mut steering = self.tables.view.steering.clone();
        let mut moved = 0;
        for from in (0..self.crew.len()).map(|from| WorkerId(from as u8)) {
            let theirs = |bucket: &Bucket| steering.owner(*bucket) == from;
            let theirs: Vec<Bucket> = buckets.iter().copied().filter(theirs).collect();
            if from == to || theirs.is_empty() {
                continue;
            }
            for &bucket in &theirs {
                steering.give(bucket, to);
            }
            self.moves.buckets += theirs.len() as u64;
            let plan = self.plan.clone();
            self.set_apart(&plan, &mut steering);
            moved += self.move_owners(&plan, steering.clone(), from, to);
        }
        self.aim();
        moved
    }

    /// Brings every vNIC to the worker that the view says: one whose MAC the policy changed may be elsewhere.
    pub(crate) fn bring_home(&mut self) {
        if !self.tables.view.steering.is_shared() {
            return;
        }
        let plan = self.plan.clone();
        let steering = self.tables.view.steering.clone();
        let workers = (0..self.crew.len()).map(|worker| WorkerId(worker as u8));
        let strays: BTreeSet<(WorkerId, WorkerId)> = self
            .own_ports(&plan)
            .into_iter()
            .map(|(_, mac, port)| (self.port_owner(port), steering.worker(mac)))
            .filter(|(is, should)| is != should && workers.clone().any(|known| known == *is))
            .collect();
        for (from, to) in strays {
            self.move_owners(&plan, steering.clone(), from, to);
        }
    }

    fn port_owner(&self, port: PortId) -> WorkerId {
        let entry = self.tables.view.port(port);
        entry.map_or(WorkerId(0), |entry| entry.owner)
    }

    /// vNICs with a port of their own: (vNIC, MAC, port).
    fn own_ports(&self, plan: &Plan) -> Vec<(VnicId, Mac, PortId)> {
        let mut all = Vec::new();
        for (name, vnic) in &plan.vnics {
            let Some(id) = self.tables.vnic(name, vnic.segment) else {
                continue;
            };
            let Some(port) = self.tables.view.vnic(id).map(|vnic| vnic.port) else {
                continue;
            };
            let party = self.tables.view.port(port).map(|port| port.party);
            if party == Some(Party::Vnic(id)) {
                all.push((id, vnic.identity.mac, port));
            }
        }
        all
    }

    /// Makes `steering` true for what it takes from one worker and gives to another.
    fn move_owners(
        &mut self,
        plan: &Plan,
        steering: Steering,
        from: WorkerId,
        to: WorkerId,
    ) -> usize {
        let began = Instant::now();
        let before = &self.tables.view.steering;
        let (mut vnics, mut macs) = (Vec::new(), Vec::new());
        for (name, vnic) in &plan.vnics {
            let Some(id) = self.tables.vnic(name, vnic.segment) else {
                continue;
            };
            let own = std::iter::once(&vnic.identity.mac).chain(&vnic.identity.macs);
            let mut moves = false;
            for &mac in own {
                if steering.worker(mac) == to && before.worker(mac) == from {
                    macs.push(mac);
                    moves |= mac == vnic.identity.mac;
                }
            }
            if moves {
                vnics.push(id);
            }
        }
        let mut ports = Vec::new();
        for (id, mac, port) in self.own_ports(plan) {
            if self.port_owner(port) == from && steering.worker(mac) == to {
                ports.push(port);
                if !vnics.contains(&id) {
                    vnics.push(id);
                }
            }
        }
        let count = vnics.len();
        if vnics.is_empty() && macs.is_empty() {
            // Nobody is in these buckets: that they are another's is all that there is to say.
            self.tables.view.steering = steering;
            self.crew.publish(&self.tables.view);
            return 0;
        }
        let room = self.pool.size() as usize / WAITING;
        let expected = Box::new(Expected::new(macs, ports.clone(), room));
        let luggage = Box::new(Luggage::new(vnics, ports.clone(), HELD));
        self.crew.send(to, Command::Expect(expected));
        // Nobody may send there before it expects anything.
        self.crew.round();
        self.tables.view.steering = steering;
        for &port in &ports {
            if let Some(Some(entry)) = self.tables.view.ports.get_mut(port.index()) {
                entry.owner = to;
            }
        }
        self.crew.publish(&self.tables.view);
        self.crew.drain(None);
        if let Some(luggage) = self.crew.part(from, luggage) {
            self.crew.drain(Some(from));
            self.crew.arrive(to, luggage);
        }
        let took = began.elapsed();
        let counts = &mut self.moves;
        counts.moves += 1;
        counts.vnics += count as u64;
        counts.went(count as u64, from, to);
        counts.total += took;
        counts.longest = counts.longest.max(took);
        tracing::debug!(?from, ?to, vnics = count, ?took, "vNICs moved");
        count
    }
}
