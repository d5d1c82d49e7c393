//! From a worker's miss to the store, and from its answer to the workers' tables.

use std::net::IpAddr;

use weir_tables::endpoints::{Destination, endpoint_key};
use weir_tables::ids::VnicId;
use weir_worker::Command;

use crate::plan::{Place, Plan};
use crate::pull::{Found, Wanted};
use crate::state::State;
use crate::store::Store;

impl State {
    /// A worker has told of a miss. What it names may have left since; then nobody waits for an answer.
    pub(crate) fn hear_miss(&mut self, vnic: VnicId, to: Destination) {
        let Some(vnic) = self.tables.view.vnic(vnic) else {
            return;
        };
        let Some(planned) = self.plan.vnics.get(&vnic.name) else {
            return;
        };
        let network = || planned.network.clone();
        let wanted = match to {
            Destination::Mac(segment, mac) if segment == vnic.segment => {
                Wanted::Mac(planned.segment, mac)
            }
            Destination::V4(domain, ca) if domain == vnic.domain => {
                Wanted::Address(network(), ca.into())
            }
            Destination::V6(domain, ca) if domain == vnic.domain => {
                Wanted::Address(network(), ca.into())
            }
            _ => return,
        };
        self.pull.miss(wanted);
    }

    /// Asks the store what is to be asked, and passes its answers on. Called every few milliseconds.
    pub fn tend_misses(&mut self, store: &mut dyn Store) {
        if !self.pull.on_miss {
            return;
        }
        let now = self.now();
        for (ticket, wanted) in self.pull.questions(now) {
            store.lookup(ticket, wanted, &self.plan, now);
        }
        let mut evicted = false;
        for (ticket, found) in store.answers(now) {
            if let Some(wanted) = self.pull.answered(ticket) {
                evicted |= self.learn(&wanted, found);
            }
        }
        if evicted {
            self.tables.settle(&mut self.crew);
        }
    }

    /// An answer: its entries are there before the workers hear of it. Whether others left the tables for them.
    fn learn(&mut self, wanted: &Wanted, found: Option<Found>) -> bool {
        let Some(to) = self.destination(wanted) else {
            return false;
        };
        let mut evicted = false;
        let is_there = match (wanted, found) {
            (Wanted::Address(network, address), Some(Found::Record(record))) => {
                // The packets that follow an answered ARP are for the MAC.
                let by_mac = (record.segment, record.mac);
                let known = self.plan.known.as_ref();
                let place = known.and_then(|known| known.endpoints.get(&by_mac).cloned());
                if let Some(place) = place {
                    self.put_endpoint_at(by_mac, &place);
                    evicted |= self.keep(Wanted::Mac(record.segment, record.mac), &place);
                }
                let put = self.put_record_of(network, *address, &record);
                evicted |= put && self.keep(wanted.clone(), &record.place);
                put
            }
            (&Wanted::Mac(segment, mac), Some(Found::Endpoint(place))) => {
                let put = self.put_endpoint_at((segment, mac), &place);
                evicted |= put && self.keep(wanted.clone(), &place);
                put
            }
            _ => false,
        };
        if is_there {
            self.pull.counts.found += 1;
            self.crew.tell_all(|| Command::Found(to));
        } else {
            self.pull.counts.absent += 1;
            self.crew.tell_all(|| Command::Absent(to));
        }
        evicted
    }

    /// Notes that an entry is in the tables because it was asked for; whether others left them for it.
    fn keep(&mut self, wanted: Wanted, place: &Place) -> bool {
        if matches!(place, Place::Local(_)) {
            return false;
        }
        self.pull.keep(wanted);
        let mut evicted = false;
        while let Some(oldest) = self.pull.overdue() {
            evicted = true;
            match self.destination(&oldest) {
                Some(Destination::Mac(segment, mac)) => {
                    self.tables
                        .remove_endpoint(&self.crew, endpoint_key(segment, mac));
                }
                Some(Destination::V4(domain, ca)) => {
                    self.tables.remove_record(&self.crew, domain, ca.into());
                }
                Some(Destination::V6(domain, ca)) => {
                    self.tables.remove_record(&self.crew, domain, ca.into());
                }
                None => {}
            }
        }
        evicted
    }

    /// As workers name it, if they still know what it is in.
    fn destination(&self, wanted: &Wanted) -> Option<Destination> {
        Some(match wanted {
            &Wanted::Mac(segment, mac) => Destination::Mac(self.tables.segment(segment)?, mac),
            Wanted::Address(network, IpAddr::V4(ca)) => {
                Destination::V4(self.tables.domain(network)?, *ca)
            }
            Wanted::Address(network, IpAddr::V6(ca)) => {
                Destination::V6(self.tables.domain(network)?, *ca)
            }
        })
    }

    /// After a policy was carried out: who was not there may be there now, and answers that are under way are old.
    pub(crate) fn ask_anew(&mut self) {
        if self.pull.on_miss {
            self.pull.policy_changed();
            self.crew.tell_all(|| Command::ForgetMisses);
        }
    }
}

/// What a store that holds the whole policy knows.
pub(crate) fn in_plan(wanted: &Wanted, plan: &Plan) -> Option<Found> {
    let known = plan.known.as_ref()?;
    match wanted {
        &Wanted::Mac(segment, mac) => {
            let place = known.endpoints.get(&(segment, mac))?;
            Some(Found::Endpoint(place.clone()))
        }
        Wanted::Address(network, ca) => {
            let record = known.records.get(&(network.clone(), *ca))?;
            Some(Found::Record(record.clone()))
        }
    }
}
