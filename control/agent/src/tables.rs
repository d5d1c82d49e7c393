//! Control's own hand on what workers read: the writers of the big tables, the master copy of the view, and
//! which index is whose. An index is given out again only after every worker has passed without it.
//!
//! Changes of the big tables end in lots: what a lot replaced may be used again as soon as every worker has passed its epoch,
//! also in the middle of a large transaction.

mod ids;
mod lots;

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use weir_tables::addresses::{Addresses, Short};
use weir_tables::bandwidth::ClassId;
use weir_tables::by_class::CLASSES;
use weir_tables::endpoints::{
    Customer, Record, Tag, Target, peer_key, peer6_key, record_key, record6_key, rewritten_key,
    rewritten6_key,
};
use weir_tables::exact::Writer;
use weir_tables::ids::{DomainId, PeerId, PortId, SegmentId, VnicId};
use weir_tables::steering::Steering;
use weir_tables::view::{View, VsidIndex};

use crate::config::fields::Name;
use crate::crew::Crew;
use crate::policy::SegmentKey;
use crate::settling::Settling;
use lots::{ACCEPTED, ACCEPTED6, ENDPOINTS, RECORDS, RECORDS6, REWRITTEN, REWRITTEN6, TRUNKED};

pub use ids::Ids;

/// Entries that a table has room for before it grows the first time: [roomy](Writer::roomy) for a thousand.
const FIRST: usize = 1536;

/// A random number that nobody outside can guess.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// A local vNIC in a segment.
pub type VnicKey = (Name, SegmentKey);

/// The writers and the master copy.
pub struct Tables {
    /// What is published next.
    pub view: View,
    /// (segment, MAC) → where it lives.
    pub endpoints: Writer<5, 1>,
    /// (routing domain, IPv4) → segment, MAC and place.
    pub records: Writer<3, 3>,
    /// (routing domain, IPv6) → the same.
    pub records6: Writer<2, 3, 2>,
    /// IPv4 provider addresses that are accepted.
    pub accepted: Writer<5, 1>,
    /// IPv6 provider addresses that are accepted.
    pub accepted6: Writer<3, 1, 2>,
    /// IPv4 provider address of a vNIC → whose it is.
    pub rewritten: Writer<3, 3>,
    /// The same of IPv6.
    pub rewritten6: Writer<2, 3, 2>,
    /// Which place of the snapshot an IPv6 address has, of those that its tables name by a number.
    pub addresses: Ids<Ipv6Addr>,
    /// Whether what is put is seen by nobody until the tables are shown.
    hidden: bool,
    /// Makes the tags that cover IPv6 addresses.
    tags: RandomState,
    /// (trunk, mark) → vNIC.
    pub trunked: Writer<5, 1>,
    /// Routing domains, by VM network.
    pub domains: Ids<Name>,
    /// Virtual subnets and bridged VM networks.
    pub segments: Ids<SegmentKey>,
    /// Local vNICs, each in its segment: one that moves to another is another.
    pub vnics: Ids<VnicKey>,
    /// Peers.
    pub peers: Ids<IpAddr>,
    /// Ports, by device as it is written.
    pub ports: Ids<String>,
    /// Traffic classes, one less than their numbers.
    pub classes: Ids<Name>,
    /// Changes of the big tables that some worker may not have seen, and how long the others took.
    pub settling: Settling,
}

impl Tables {
    /// Nothing yet. `seed` is random: tenants choose addresses, and must not choose who shares a bucket.
    pub fn new(seed: u64) -> Tables {
        let endpoints = Writer::new(FIRST, seed);
        let records = Writer::new(FIRST, seed.rotate_left(16));
        let records6 = Writer::new(FIRST, seed.rotate_left(24));
        let accepted = Writer::new(FIRST, seed.rotate_left(32));
        let accepted6 = Writer::new(FIRST, seed.rotate_left(24));
        let trunked = Writer::new(FIRST, seed.rotate_left(48));
        let rewritten = Writer::new(FIRST, seed.rotate_left(8));
        let rewritten6 = Writer::new(FIRST, seed.rotate_left(40));
        let view = View {
            endpoints: endpoints.table(),
            records: records.table(),
            rewritten: rewritten.table(),
            rewritten6: rewritten6.table(),
            addresses: Addresses::default(),
            records6: records6.table(),
            peer_addresses: accepted.table(),
            peer_addresses6: accepted6.table(),
            trunk_members: trunked.table(),
            peers: Arc::new([]),
            segments: Vec::new(),
            vsids: VsidIndex::default(),
            domains: Vec::new(),
            vnics: Vec::new(),
            ports: Vec::new(),
            uplinks: Vec::new(),
            filters: None,
            steering: Steering::default(),
            reads_ahead: false,
        };
        Tables {
            view,
            endpoints,
            records,
            records6,
            tags: RandomState::new(),
            hidden: false,
            accepted,
            rewritten,
            rewritten6,
            addresses: Ids::new(u32::MAX),
            accepted6,
            trunked,
            domains: Ids::new(u32::from(u16::MAX)),
            segments: Ids::new(u32::from(u16::MAX)),
            vnics: Ids::new(1 << 30),
            // Two bits of a target say what it is.
            peers: Ids::new((1 << 30) - 1),
            ports: Ids::new(4096),
            // A number of each is that of none.
            classes: Ids::new(CLASSES as u32 - 1),
            settling: Settling::default(),
        }
    }

    /// The index of a VM network's routing domain.
    pub fn domain(&self, network: &Name) -> Option<DomainId> {
        self.domains.get(network).map(|id| DomainId(id as u16))
    }

    /// The index of a segment.
    pub fn segment(&self, key: SegmentKey) -> Option<SegmentId> {
        self.segments.get(&key).map(|id| SegmentId(id as u16))
    }

    /// The index of a local vNIC.
    pub fn vnic(&self, name: &Name, segment: SegmentKey) -> Option<VnicId> {
        self.vnics.get(&(name.clone(), segment)).map(VnicId)
    }

    /// The index of a peer.
    pub fn peer(&self, pa: IpAddr) -> Option<PeerId> {
        self.peers.get(&pa).map(PeerId)
    }

    /// The number of a traffic class.
    pub fn class(&self, name: &Name) -> Option<ClassId> {
        self.classes.get(name).map(|id| ClassId(id as u8 + 1))
    }

    /// The index of a port.
    pub fn port(&self, device: &str) -> Option<PortId> {
        self.ports.get(device).map(|id| PortId(id as u16))
    }

    /// Sets an endpoint.
    pub fn put_endpoint(&mut self, crew: &mut Crew, key: u64, value: u32) {
        self.put(crew, ENDPOINTS, key, [value]);
    }

    /// An endpoint, if it is there.
    pub fn endpoint(&self, key: u64) -> Option<Target> {
        let [target] = self.endpoints.get(key)?;
        Target::unpack(target)
    }

    /// Takes it out.
    pub fn remove_endpoint(&mut self, crew: &Crew, key: u64) {
        self.endpoints.remove(key);
        self.changed(crew);
    }

    /// What covers the IPv6 addresses of a routing domain: the same as long as this process runs, and of two domains
    /// never the same but by a chance of 1 in 2^120.
    pub fn tag(&self, domain: DomainId) -> Tag {
        let half = |which: u8| u128::from(self.tags.hash_one((domain.0, which)));
        Tag::new(half(0) << 64 | half(1))
    }

    /// Sets the record of a customer address.
    pub fn put_record(&mut self, crew: &mut Crew, domain: DomainId, ca: IpAddr, record: Record) {
        let value = record.pack();
        match ca {
            IpAddr::V4(ca) => self.put_packed_record(crew, record_key(domain, ca), value),
            IpAddr::V6(ca) => {
                let key = record6_key(self.tag(domain), ca);
                self.put(crew, RECORDS6, key, value);
            }
        }
    }

    /// Sets it if there is room at once; if not, try again after a lot.
    pub fn try_put_record(
        &mut self,
        crew: &mut Crew,
        domain: DomainId,
        ca: IpAddr,
        record: Record,
    ) -> bool {
        let value = record.pack();
        match ca {
            IpAddr::V4(ca) => self.try_put(crew, RECORDS, record_key(domain, ca), value),
            IpAddr::V6(ca) => {
                let key = record6_key(self.tag(domain), ca);
                self.try_put(crew, RECORDS6, key, value)
            }
        }
    }

    /// The record of a customer address, if it is there.
    pub fn record(&self, domain: DomainId, ca: IpAddr) -> Option<Record> {
        Record::unpack(match ca {
            IpAddr::V4(ca) => self.records.get(record_key(domain, ca))?,
            IpAddr::V6(ca) => self.records6.get(record6_key(self.tag(domain), ca))?,
        })
    }

    /// Asks for the lines of an endpoint and of a record that will be changed soon.
    pub fn prefetch(&self, endpoint: u64, domain: DomainId, ca: IpAddr) {
        self.endpoints.prefetch(endpoint);
        match ca {
            IpAddr::V4(ca) => self.records.prefetch(record_key(domain, ca)),
            IpAddr::V6(ca) => self.records6.prefetch(record6_key(self.tag(domain), ca)),
        }
    }

    /// The same of an IPv4 address, ready for the table.
    pub fn put_packed_record(&mut self, crew: &mut Crew, key: u64, value: [u32; 3]) {
        self.put(crew, RECORDS, key, value);
    }

    /// Takes it out.
    pub fn remove_record(&mut self, crew: &Crew, domain: DomainId, ca: IpAddr) {
        match ca {
            IpAddr::V4(ca) => self.records.remove(record_key(domain, ca)),
            IpAddr::V6(ca) => self.records6.remove(record6_key(self.tag(domain), ca)),
        };
        self.changed(crew);
    }

    /// Accepts a provider address.
    pub fn put_accepted(&mut self, crew: &mut Crew, pa: IpAddr) {
        match pa {
            IpAddr::V4(pa) => self.put(crew, ACCEPTED, peer_key(pa), [1]),
            IpAddr::V6(pa) => self.put(crew, ACCEPTED6, peer6_key(pa), [1]),
        }
    }

    /// Accepts a provider address no longer.
    pub fn remove_accepted(&mut self, crew: &Crew, pa: IpAddr) {
        match pa {
            IpAddr::V4(pa) => self.accepted.remove(peer_key(pa)),
            IpAddr::V6(pa) => self.accepted6.remove(peer6_key(pa)),
        };
        self.changed(crew);
    }

    /// Sets whose a provider address is.
    pub fn put_rewritten(&mut self, crew: &mut Crew, pa: IpAddr, customer: Customer) {
        let value = customer.pack();
        match pa {
            IpAddr::V4(pa) => self.put(crew, REWRITTEN, rewritten_key(pa), value),
            IpAddr::V6(pa) => self.put(crew, REWRITTEN6, rewritten6_key(pa), value),
        }
    }

    /// Sets it if there is room at once; if not, try again after a lot.
    pub fn try_put_rewritten(&mut self, crew: &mut Crew, pa: IpAddr, customer: Customer) -> bool {
        let value = customer.pack();
        match pa {
            IpAddr::V4(pa) => self.try_put(crew, REWRITTEN, rewritten_key(pa), value),
            IpAddr::V6(pa) => self.try_put(crew, REWRITTEN6, rewritten6_key(pa), value),
        }
    }

    /// Whose a provider address is, if that is there.
    pub fn customer(&self, pa: IpAddr) -> Option<Customer> {
        Customer::unpack(match pa {
            IpAddr::V4(pa) => self.rewritten.get(rewritten_key(pa))?,
            IpAddr::V6(pa) => self.rewritten6.get(rewritten6_key(pa))?,
        })
    }

    /// Takes it out.
    pub fn remove_rewritten(&mut self, crew: &Crew, pa: IpAddr) {
        match pa {
            IpAddr::V4(pa) => self.rewritten.remove(rewritten_key(pa)),
            IpAddr::V6(pa) => self.rewritten6.remove(rewritten6_key(pa)),
        };
        self.changed(crew);
    }

    /// Gives an IPv6 address a place in the snapshot, if it has none; before the snapshot is published that a table's value
    /// rests on.
    pub fn place(&mut self, address: IpAddr) {
        let IpAddr::V6(address) = address else {
            return;
        };
        if self.addresses.get(&address).is_none()
            && let Some(place) = self.addresses.give(address)
        {
            self.view.addresses.set(Short(place), address);
        }
    }

    /// An address in the 32 bits that a table's value has for it.
    pub fn short(&self, address: IpAddr) -> Option<Short> {
        match address {
            IpAddr::V4(address) => Some(address.into()),
            IpAddr::V6(address) => self.addresses.get(&address).map(Short),
        }
    }

    /// Sets whose a mark on a trunk is.
    pub fn put_trunked(&mut self, crew: &mut Crew, key: u64, value: u32) {
        self.put(crew, TRUNKED, key, [value]);
    }

    /// Takes it out.
    pub fn remove_trunked(&mut self, crew: &Crew, key: u64) {
        self.trunked.remove(key);
        self.changed(crew);
    }
}

/// Sets one place of a vector that is as long as it needs to be.
pub fn set<T>(places: &mut Vec<Option<T>>, index: usize, value: Option<T>) {
    if places.len() <= index {
        places.resize_with(index + 1, || None);
    }
    if let Some(place) = places.get_mut(index) {
        *place = value;
    }
}
