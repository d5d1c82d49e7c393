//! The large tables in a transaction, entry by entry: what a new entry names is there before it, what an old one
//! named goes after it.
//!
//! Which entries there are follows from each vNIC of the policy, so that what changes follows from the vNICs that do: those of
//! the old policy and of the new are walked side by side, in the order of names.

use std::collections::HashSet;
use std::net::IpAddr;

use weir_switch::from_vnic::trunk_key;
use weir_tables::endpoints::{Customer, Record, Target, endpoint_key};
use weir_tables::ids::VnicId;

use crate::config::fields::Name;
use crate::plan::{CustomerPlan, Entry, Place, Plan, RecordPlan};
use crate::policy::vnic_set::{VnicRef, pairs};
use crate::policy::{Policy, SegmentKey};
use crate::pull::Wanted;
use crate::state::State;
use weir_wire::Mac;

impl State {
    /// Puts what is new or has changed; returns the keys that nobody has any more.
    pub(super) fn put_entries(&mut self, plan: &Plan, policy: &Policy) -> HashSet<Wanted> {
        let old = self.plan.clone();
        for pa in plan.accepted.difference(&old.accepted) {
            self.tables.put_accepted(&mut self.crew, *pa);
        }
        for ((trunk, mark), name) in &plan.trunked {
            let (Some(port), Some(vnic)) = (self.trunk_port(trunk), self.local(plan, name)) else {
                continue;
            };
            let value = Target::Local(vnic).pack();
            self.tables
                .put_trunked(&mut self.crew, trunk_key(port, *mark), value);
        }
        for (pa, wanted) in &plan.rewritten {
            if old.rewritten.get(pa) != Some(wanted) {
                self.put_rewritten_of(*pa, wanted);
            }
        }
        // Nobody reads a table that was made for this, until it is shown with all that is in it.
        let made = !self.pull.on_miss && self.tables.make_room(&plan.counts);
        let gone = if self.policy.vnics.is_empty() && !self.pull.on_miss {
            self.fill(plan, policy);
            HashSet::new()
        } else {
            self.put_changes(&old, plan, policy)
        };
        if made {
            self.tables.show();
            self.crew.publish(&self.tables.view);
        }
        gone
    }

    fn put_changes(&mut self, old: &Plan, plan: &Plan, policy: &Policy) -> HashSet<Wanted> {
        let old_policy = self.policy.clone();
        let changes = Changes::of(old, &old_policy, plan, policy);
        let mut gone = HashSet::new();
        changes.each(|before, after| {
            for entry in after.iter().filter(|entry| !before.contains(entry)) {
                self.put_entry(old, entry);
            }
            let kept = |key: &Wanted| after.iter().any(|entry| key_of(entry) == *key);
            gone.extend(before.iter().map(key_of).filter(|key| !kept(key)));
        });
        if !gone.is_empty() {
            // What one vNIC had another may have now: then it has changed as well.
            changes.each(|_, after| {
                for entry in after {
                    gone.remove(&key_of(entry));
                }
            });
        }
        gone
    }

    /// Puts one entry, unless nobody here has asked for it where that is needed.
    pub(super) fn put_entry(&mut self, old: &Plan, entry: &Entry<'_>) {
        match entry {
            Entry::Record(network, address, wanted) => {
                let before = || {
                    let key = ((*network).clone(), *address);
                    old.known.as_ref()?.records.get(&key).map(|it| &it.place)
                };
                if self.is_put(key_of(entry), wanted.segment, &wanted.place, before) {
                    self.put_record_of(network, *address, wanted);
                }
            }
            // The wire finds it.
            Entry::Endpoint(_, _, Place::Local(name)) if self.has_vf(name) => {}
            Entry::Endpoint(segment, mac, place) => {
                let before = || old.known.as_ref()?.endpoints.get(&(*segment, *mac));
                if self.is_put(key_of(entry), *segment, place, before) {
                    self.put_endpoint_at((*segment, *mac), place);
                }
            }
        }
    }

    fn is_put<'p>(
        &mut self,
        key: Wanted,
        segment: SegmentKey,
        place: &Place,
        before: impl FnOnce() -> Option<&'p Place>,
    ) -> bool {
        !self.pull.on_miss || !is_pulled(segment) || !self.pull.leaves_out(key, place, before())
    }

    /// Puts the record of a customer address into the workers' table; `false` if it names what is not there.
    pub(crate) fn put_record_of(
        &mut self,
        network: &Name,
        address: IpAddr,
        wanted: &RecordPlan,
    ) -> bool {
        let (Some(domain), Some(segment), Some(target)) = (
            self.tables.domain(network),
            self.tables.segment(wanted.segment),
            self.target(&wanted.place, wanted.segment),
        ) else {
            return false;
        };
        let pa = wanted.pa.and_then(|pa| self.tables.short(pa));
        let record = match (target, pa) {
            (Target::Remote(host), Some(pa)) => Record::rewritten(host, segment, pa),
            _ => Record {
                target,
                segment,
                mac: wanted.mac,
            },
        };
        self.tables
            .put_record(&mut self.crew, domain, address, record);
        true
    }

    /// Puts whose a provider address is into the workers' table.
    fn put_rewritten_of(&mut self, pa: IpAddr, wanted: &CustomerPlan) {
        let domain = self.tables.domain(&wanted.network);
        let target = self.target(&wanted.place, wanted.segment);
        let ca = self.tables.short(wanted.ca);
        let (Some(domain), Some(target), Some(ca)) = (domain, target, ca) else {
            return;
        };
        let target = match target {
            Target::Remote(host) => Target::Rewritten(host),
            other => other,
        };
        let customer = Customer { target, domain, ca };
        self.tables.put_rewritten(&mut self.crew, pa, customer);
    }

    /// The same of a MAC's endpoint.
    pub(crate) fn put_endpoint_at(&mut self, (key, mac): (SegmentKey, Mac), place: &Place) -> bool {
        let target = self.target(place, key);
        let (Some(segment), Some(target)) = (self.tables.segment(key), target) else {
            return false;
        };
        self.tables
            .put_endpoint(&mut self.crew, endpoint_key(segment, mac), target.pack());
        true
    }

    /// Takes out what nobody has any more: `gone`, and what else is in the plan that is replaced alone.
    pub(super) fn remove_entries(&mut self, plan: &Plan, gone: &HashSet<Wanted>) {
        for key in gone {
            self.pull.forget(key);
            match key {
                Wanted::Mac(segment, mac) => {
                    if let Some(segment) = self.tables.segment(*segment) {
                        self.tables
                            .remove_endpoint(&self.crew, endpoint_key(segment, *mac));
                    }
                }
                Wanted::Address(network, address) => {
                    if let Some(domain) = self.tables.domain(network) {
                        self.tables.remove_record(&self.crew, domain, *address);
                    }
                }
            }
        }
        let left = self.plan.rewritten.keys();
        for pa in left.filter(|pa| !plan.rewritten.contains_key(pa)) {
            self.tables.remove_rewritten(&self.crew, *pa);
        }
        for (trunk, mark) in self
            .plan
            .trunked
            .keys()
            .filter(|key| !plan.trunked.contains_key(key))
        {
            if let Some(port) = self.trunk_port(trunk) {
                self.tables
                    .remove_trunked(&self.crew, trunk_key(port, *mark));
            }
        }
        for pa in self.plan.accepted.difference(&plan.accepted) {
            self.tables.remove_accepted(&self.crew, *pa);
        }
    }

    /// Where an endpoint of a segment is, as workers know it.
    fn target(&self, place: &Place, segment: SegmentKey) -> Option<Target> {
        match place {
            Place::Local(name) => self.tables.vnic(name, segment).map(Target::Local),
            Place::Remote(pa) => self.tables.peer(*pa).map(Target::Remote),
        }
    }

    fn local(&self, plan: &Plan, name: &Name) -> Option<VnicId> {
        self.tables.vnic(name, plan.vnics.get(name)?.segment)
    }
}

/// What an entry is found by.
fn key_of(entry: &Entry<'_>) -> Wanted {
    match entry {
        Entry::Endpoint(segment, mac, _) => Wanted::Mac(*segment, *mac),
        Entry::Record(network, address, _) => Wanted::Address((*network).clone(), *address),
    }
}

/// The vNICs of which an entry is not what it was.
struct Changes<'a> {
    old: (&'a Plan, &'a Policy),
    new: (&'a Plan, &'a Policy),
    /// What the places of hosts in the old policy are in the new, of those that are reached as they were.
    hosts: Vec<Option<usize>>,
    /// The same of subnets.
    subnets: Vec<Option<usize>>,
}

impl<'a> Changes<'a> {
    fn of(old: &'a Plan, old_policy: &'a Policy, plan: &'a Plan, policy: &'a Policy) -> Self {
        let place = |name: &Name, way: &crate::plan::HostWay| {
            let place = policy.vnics.hosts().iter().position(|it| it == name)?;
            (plan.ways.hosts.get(place)? == way).then_some(place)
        };
        let hosts = old_policy.vnics.hosts().iter().zip(&old.ways.hosts);
        let hosts = hosts.map(|(name, way)| place(name, way)).collect();
        let place = |name: &Name, way: &Option<crate::plan::SubnetWay>| {
            let mut subnets = policy.vnics.subnets().iter();
            let place = subnets.position(|(it, _)| it == name)?;
            (plan.ways.subnets.get(place)? == way).then_some(place)
        };
        let subnets = old_policy.vnics.subnets().iter().zip(&old.ways.subnets);
        let subnets = subnets.map(|((name, _), way)| place(name, way)).collect();
        Changes {
            old: (old, old_policy),
            new: (plan, policy),
            hosts,
            subnets,
        }
    }

    /// Gives the entries before and after of each vNIC that has others than before.
    fn each(&self, mut changed: impl FnMut(&[Entry<'a>], &[Entry<'a>])) {
        let ((old_plan, old), (new_plan, new)) = (self.old, self.new);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (old, new) in pairs(&old.vnics, &new.vnics) {
            if let (Some(old), Some(new)) = (old, new)
                && self.is_same(old, new)
            {
                continue;
            }
            before.clear();
            after.clear();
            if let Some(old) = old {
                old_plan.entries(old, |entry| before.push(entry));
            }
            if let Some(new) = new {
                new_plan.entries(new, |entry| after.push(entry));
            }
            if before != after {
                changed(&before, &after);
            }
        }
    }

    /// Whether a vNIC has what it had and is reached as it was, seen without working out its entries; `false` if that
    /// takes more than a look.
    fn is_same(&self, old: VnicRef<'_>, new: VnicRef<'_>) -> bool {
        let is_at = |known: &[Option<usize>], old: usize, new: usize| {
            known.get(old).copied().flatten() == Some(new)
        };
        old.plain().is_some()
            && (old.plain(), old.mac()) == (new.plain(), new.mac())
            && is_at(&self.hosts, old.host_index(), new.host_index())
            && is_at(&self.subnets, old.subnet_index(), new.subnet_index())
    }
}

/// Whether what is in a segment may be asked for: a bridged network's unknown MACs are its uplink's business.
pub(super) fn is_pulled(segment: SegmentKey) -> bool {
    matches!(segment, SegmentKey::Virtual(_))
}
