//! The large tables in a transaction, entry by entry: what a new entry names is there before it, what an old one
//! named goes after it.

use std::net::IpAddr;

use weir_switch::from_vnic::trunk_key;
use weir_tables::endpoints::{Customer, Record, Target, endpoint_key};
use weir_tables::ids::VnicId;
use weir_wire::Mac;

use crate::config::fields::Name;
use crate::plan::{CustomerPlan, Place, Plan, RecordPlan};
use crate::policy::SegmentKey;
use crate::pull::Wanted;
use crate::state::State;

impl State {
    pub(super) fn put_entries(&mut self, plan: &Plan) {
        for pa in plan.accepted.difference(&self.plan.accepted) {
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
        for (key, wanted) in &plan.records {
            let before = self.plan.records.get(key);
            if before == Some(wanted) {
                continue;
            }
            let (network, address) = key;
            if is_pulled(wanted.segment)
                && self.pull.leaves_out(
                    Wanted::Address(network.clone(), *address),
                    &wanted.place,
                    before.map(|record| &record.place),
                )
            {
                continue;
            }
            self.put_record_of(network, *address, wanted);
        }
        for (pa, wanted) in &plan.rewritten {
            if self.plan.rewritten.get(pa) != Some(wanted) {
                self.put_rewritten_of(*pa, wanted);
            }
        }
        for (key, place) in &plan.endpoints {
            let before = self.plan.endpoints.get(key);
            if before == Some(place) {
                continue;
            }
            let &(segment, mac) = key;
            if is_pulled(segment)
                && self
                    .pull
                    .leaves_out(Wanted::Mac(segment, mac), place, before)
            {
                continue;
            }
            self.put_endpoint_at(*key, place);
        }
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

    pub(super) fn remove_entries(&mut self, plan: &Plan) {
        for (key, mac) in self
            .plan
            .endpoints
            .keys()
            .filter(|key| !plan.endpoints.contains_key(key))
        {
            self.pull.forget(&Wanted::Mac(*key, *mac));
            if let Some(segment) = self.tables.segment(*key) {
                self.tables
                    .remove_endpoint(&self.crew, endpoint_key(segment, *mac));
            }
        }
        for (network, address) in self
            .plan
            .records
            .keys()
            .filter(|key| !plan.records.contains_key(key))
        {
            let wanted = Wanted::Address(network.clone(), *address);
            self.pull.forget(&wanted);
            if let Some(domain) = self.tables.domain(network) {
                self.tables.remove_record(&self.crew, domain, *address);
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

/// Whether what is in a segment may be asked for: a bridged network's unknown MACs are its uplink's business.
pub(super) fn is_pulled(segment: SegmentKey) -> bool {
    matches!(segment, SegmentKey::Virtual(_))
}
