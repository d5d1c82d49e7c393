//! The large tables where nothing was there: every vNIC's entries at once, as a host has to do that starts.
//!
//! What entries name is looked up once a subnet and once a host. The tables are larger than any cache, so that the lines
//! of a batch are asked for before the first of them is needed.

use std::net::Ipv4Addr;

use weir_tables::endpoints::{Record, Target, endpoint_key, record_key};
use weir_tables::ids::{DomainId, PeerId, SegmentId};
use weir_tables::view::Carriage;
use weir_wire::Mac;

use crate::plan::{HostWay, Plan, SubnetWay};
use crate::policy::Policy;
use crate::state::State;

/// vNICs whose lines are asked for together.
const BATCH: usize = 32;

/// vNICs after which it is asked whether the daemon is to end: all of it, so that what is missing misses nobody.
const GLANCE: usize = 1024;

/// What the entries of a subnet's vNICs name.
#[derive(Clone, Copy)]
struct Home {
    domain: DomainId,
    segment: SegmentId,
    /// Whether their MACs are looked for.
    by_mac: bool,
}

/// The entries of one vNIC.
struct Two {
    endpoint: Option<u64>,
    record: u64,
    record_value: [u32; 3],
    target: u32,
}

impl State {
    /// Puts the entries of all vNICs into tables in which there are none.
    pub(super) fn fill(&mut self, plan: &Plan, policy: &Policy) {
        let homes = plan.ways.subnets.iter();
        let homes: Vec<Option<Home>> = homes.map(|way| self.home(way.as_ref()?)).collect();
        let hosts = plan.ways.hosts.iter();
        let hosts: Vec<Option<PeerId>> = hosts.map(|way| self.behind(way)).collect();
        let mut batch = Vec::with_capacity(BATCH);
        for (index, vnic) in policy.vnics.iter().enumerate() {
            if index.is_multiple_of(GLANCE) && self.halt.asked() {
                return;
            }
            let home = homes.get(vnic.subnet_index()).copied().flatten();
            let host = hosts.get(vnic.host_index()).copied().flatten();
            match (vnic.plain(), home, host) {
                (Some(address), Some(home), Some(host)) => {
                    batch.push(self.two(home, host, vnic.mac(), address));
                    if batch.len() == BATCH {
                        self.put_batch(&mut batch);
                    }
                }
                // What is here, or has more to it.
                _ => {
                    let mut others = Vec::new();
                    plan.entries(vnic, |entry| others.push(entry));
                    for entry in &others {
                        self.put_entry(plan, entry);
                    }
                }
            }
        }
        self.put_batch(&mut batch);
    }

    /// Of a subnet in which vNICs on other hosts have entries of the plain kind.
    fn home(&self, subnet: &SubnetWay) -> Option<Home> {
        (subnet.carriage == Carriage::Nvgre).then_some(())?;
        Some(Home {
            domain: self.tables.domain(&subnet.network)?,
            segment: self.tables.segment(subnet.segment)?,
            by_mac: subnet.has_members,
        })
    }

    fn behind(&self, host: &HostWay) -> Option<PeerId> {
        match host {
            HostWay::Here => None,
            HostWay::Elsewhere { first, .. } => self.tables.peer((*first)?),
        }
    }

    fn two(&self, home: Home, host: PeerId, mac: Mac, address: Ipv4Addr) -> Two {
        let target = Target::Remote(host);
        let record = Record {
            target,
            segment: home.segment,
            mac,
        };
        let two = Two {
            endpoint: home.by_mac.then(|| endpoint_key(home.segment, mac)),
            record: record_key(home.domain, address),
            record_value: record.pack(),
            target: target.pack(),
        };
        if let Some(key) = two.endpoint {
            self.tables.endpoints.prefetch(key);
        }
        self.tables.records.prefetch(two.record);
        two
    }

    fn put_batch(&mut self, batch: &mut Vec<Two>) {
        for two in batch.drain(..) {
            let crew = &mut self.crew;
            if let Some(key) = two.endpoint {
                self.tables.put_endpoint(crew, key, two.target);
            }
            self.tables
                .put_packed_record(crew, two.record, two.record_value);
        }
    }
}
