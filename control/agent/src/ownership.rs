//! Which worker is to own which vNIC: what the steering map of the next view says.
//!
//! A vNIC's bucket follows from its MAC. A bucket that had no vNIC goes to the worker with the fewest when its first one comes, so that few
//! vNICs are spread as evenly as many. Set apart from their buckets are pinned vNICs, and MACs that a vNIC may use besides its own.

use std::collections::{BTreeSet, HashSet};

use weir_tables::ids::WorkerId;
use weir_tables::steering::{Bucket, Steering};
use weir_wire::Mac;

use crate::config::fields::Name;
use crate::plan::Plan;
use crate::state::State;
use crate::stats::PolicyError;

impl State {
    /// Has the next view say who owns the plan's vNICs. Those that were there before stay where they are.
    pub(crate) fn prepare_steering(&mut self, plan: &Plan) {
        if !self.tables.view.steering.is_shared() {
            return;
        }
        let used: HashSet<Bucket> = self
            .plan
            .vnics
            .values()
            .map(|vnic| bucket(&vnic.identity))
            .collect();
        let fresh: BTreeSet<Bucket> = plan
            .vnics
            .values()
            .map(|vnic| bucket(&vnic.identity))
            .collect();
        let fresh = fresh.into_iter().filter(|bucket| !used.contains(bucket));
        let mut owned = vec![0_usize; self.crew.len()];
        let mut steering = self.tables.view.steering.clone();
        for vnic in self.plan.vnics.values() {
            if let Some(owned) = owned.get_mut(steering.worker(vnic.identity.mac).index()) {
                *owned += 1;
            }
        }
        for bucket in fresh {
            let least = owned.iter().enumerate().min_by_key(|(_, owned)| **owned);
            let worker = least.map_or(0, |(worker, _)| worker);
            if let Some(owned) = owned.get_mut(worker) {
                *owned += 1;
            }
            steering.give(bucket, WorkerId(worker as u8));
        }
        self.set_apart(plan, &mut steering);
        self.tables.view.steering = steering;
    }

    /// Sets apart whose worker is not their bucket's, and says which MACs do not tell whose a frame is.
    pub(crate) fn set_apart(&self, plan: &Plan, steering: &mut Steering) {
        steering.set_apart([]);
        let mut own = HashSet::new();
        let (mut further, mut ambiguous) = (HashSet::new(), Vec::new());
        let mut pinned = Vec::new();
        for (name, vnic) in &plan.vnics {
            own.insert(vnic.identity.mac);
            let macs = vnic.identity.macs.iter().copied();
            ambiguous.extend(macs.filter(|&mac| !further.insert(mac)));
            if let Some(worker) = self.pin(name) {
                pinned.push((vnic.identity.mac, worker));
            }
        }
        ambiguous.extend(further.intersection(&own));
        steering.set_ambiguous(ambiguous);
        steering.set_apart(pinned.iter().copied());
        let mut apart = pinned;
        for vnic in plan.vnics.values() {
            let owner = steering.worker(vnic.identity.mac);
            for &mac in &vnic.identity.macs {
                if !own.contains(&mac) && steering.owner(Bucket::of(mac)) != owner {
                    apart.push((mac, owner));
                }
            }
        }
        steering.set_apart(apart);
    }

    /// Pins of host.toml that are not kept: a MAC has one worker, and two vNICs that have it are pinned to two.
    pub(crate) fn unkept_pins(&self) -> Vec<PolicyError> {
        let steering = &self.tables.view.steering;
        let pinned = self.plan.vnics.iter().filter_map(|(name, vnic)| {
            let worker = self.pin(name)?;
            Some((name, vnic.identity.mac, worker))
        });
        let pinned: Vec<_> = pinned.collect();
        let mut unkept = Vec::new();
        for &(name, mac, worker) in &pinned {
            let owner = steering.worker(mac);
            let who = |&&(_, theirs, at): &&(&Name, Mac, WorkerId)| theirs == mac && at == owner;
            if owner != worker
                && let Some((other, ..)) = pinned.iter().find(who)
            {
                unkept.push(PolicyError {
                    file: self.host.origin.clone(),
                    line: None,
                    object: format!("pin {name}"),
                    problem: format!(
                        "{other} has the same MAC {mac} and is pinned to another core, where both are"
                    ),
                    mend: "pin both to one core, or give one another MAC".to_owned(),
                });
            }
        }
        unkept
    }

    /// The worker that a vNIC is pinned to.
    pub(crate) fn pin(&self, name: &str) -> Option<WorkerId> {
        let core = *self.host.pins.get(name)?;
        let at = self.crew.books().position(|(of, _)| of == core)?;
        Some(WorkerId(at as u8))
    }
}

fn bucket(identity: &weir_tables::view::Identity) -> Bucket {
    Bucket::of(identity.mac)
}
