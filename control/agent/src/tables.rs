//! Control's own hand on what workers read: the writers of the big tables, the master copy of the view, and
//! which index is whose. An index is given out again only after every worker has passed without it.
//!
//! Changes of the big tables end in lots: what a lot replaced may be used again as soon as every worker has passed its epoch,
//! also in the middle of a large transaction.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use weir_tables::addresses::{Addresses, Short};
use weir_tables::bandwidth::ClassId;
use weir_tables::endpoints::{
    Customer, Record, Tag, Target, peer_key, peer6_key, record_key, record6_key, rewritten_key,
    rewritten6_key,
};
use weir_tables::exact::{Exact, Full, Key, Writer};
use weir_tables::ids::{DomainId, PeerId, PortId, SegmentId, VnicId};
use weir_tables::steering::Steering;
use weir_tables::view::{View, VsidIndex};

use crate::config::fields::Name;
use crate::crew::Crew;
use crate::plan::Counts;
use crate::policy::SegmentKey;
use crate::settling::Settling;

/// Entries that a table has room for before it grows the first time: [roomy](Writer::roomy) for a thousand.
const FIRST: usize = 1536;

/// Indexes given out by name.
#[derive(Debug)]
pub struct Ids<K> {
    by_key: HashMap<K, u32>,
    free: Vec<u32>,
    next: u32,
    /// One more than the highest index.
    limit: u32,
}

impl<K: Hash + Eq> Ids<K> {
    /// None given out; at most `limit` at once.
    pub fn new(limit: u32) -> Self {
        Ids {
            by_key: HashMap::new(),
            free: Vec::new(),
            next: 0,
            limit,
        }
    }

    /// The index of `key`, if it has one.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.by_key.get(key).copied()
    }

    /// The index of `key`, a new one if it has none; `None` if there is none left.
    pub fn give(&mut self, key: K) -> Option<u32> {
        if let Some(&id) = self.by_key.get(&key) {
            return Some(id);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.next < self.limit => {
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        self.by_key.insert(key, id);
        Some(id)
    }

    /// Whose an index is; walks all of them.
    pub fn key_of(&self, id: u32) -> Option<&K> {
        let mut all = self.by_key.iter();
        all.find(|(_, known)| **known == id).map(|(key, _)| key)
    }

    /// How many more can be given out.
    pub fn left(&self) -> usize {
        self.free.len() + (self.limit - self.next) as usize
    }

    /// Takes an index back. Only after a quiescent round without it.
    pub fn take_back<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(id) = self.by_key.remove(key) {
            self.free.push(id);
        }
    }
}

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
            // ClassId is a byte, and 0 is none.
            classes: Ids::new(255),
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

    /// Makes tables for as many entries as there are to be, where those that are read have not half the room, or are empty and would be
    /// crowded. Whether it has:
    /// then nobody sees what is put from then on until the tables are [shown](Self::show) and published, and nobody
    /// is waited for.
    pub fn make_room(&mut self, counts: &Counts) -> bool {
        let endpoints = make_room(&mut self.endpoints, counts.endpoints);
        let records = make_room(&mut self.records, counts.records);
        let records6 = make_room(&mut self.records6, counts.records6);
        self.hidden = endpoints | records | records6;
        self.hidden
    }

    /// Has the next view show the tables that [`Self::make_room`] made.
    pub fn show(&mut self) {
        self.hidden = false;
        self.view.endpoints = self.endpoints.table();
        self.view.records = self.records.table();
        self.view.records6 = self.records6.table();
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

    /// Waits until no worker can hold anything that was removed, and lets the slots be used again.
    pub fn settle(&mut self, crew: &mut Crew) {
        let epoch = self.end_lot(crew);
        crew.wait_for(epoch);
        self.look(crew);
    }

    /// Waits until every worker has seen every change made up to now, and nothing waits to be freed. Where no change was made
    /// since the last time no epoch begins, which costs each worker two cache misses.
    pub fn rest(&mut self, crew: &mut Crew) {
        if self.settling.is_open() {
            self.end_lot(crew);
        }
        if let Some(epoch) = self.settling.last() {
            crew.wait_for(epoch);
            self.look(crew);
        }
    }

    /// Ends the lot of changes that were made up to now: begins an epoch, and returns it.
    pub fn end_lot(&mut self, crew: &Crew) -> u64 {
        let epoch = crew.advance();
        let held = self.endpoints.retire(epoch)
            + self.records.retire(epoch)
            + self.records6.retire(epoch)
            + self.accepted.retire(epoch)
            + self.accepted6.retire(epoch)
            + self.rewritten.retire(epoch)
            + self.rewritten6.retire(epoch)
            + self.trunked.retire(epoch);
        self.settling.end(epoch, held);
        epoch
    }

    /// Looks how far the workers have come, and frees what none of them can hold any more. Does not wait.
    pub fn look(&mut self, crew: &Crew) {
        if self.settling.last().is_none() {
            return;
        }
        let passed = crew.passed();
        let lots = self.settling.seen(passed);
        if lots == 0 {
            return;
        }
        self.endpoints.reclaim(passed);
        self.records.reclaim(passed);
        self.records6.reclaim(passed);
        self.accepted.reclaim(passed);
        self.accepted6.reclaim(passed);
        self.rewritten.reclaim(passed);
        self.rewritten6.reclaim(passed);
        self.trunked.reclaim(passed);
        self.settling.freed(lots);
    }

    /// One change has been made.
    fn changed(&mut self, crew: &Crew) {
        if !self.hidden && self.settling.add() {
            self.end_lot(crew);
            self.look(crew);
        }
    }

    /// Inserts or changes, making room first where there is none: by a quiescent round, or by a table twice the size.
    fn put<const S: usize, const W: usize, const K: usize>(
        &mut self,
        crew: &mut Crew,
        of: Of<S, W, K>,
        key: impl Key<K>,
        value: [u32; W],
    ) {
        while !self.try_put(crew, of, key, value) {
            self.settle(crew);
        }
    }

    /// The same, but where a slot is needed that workers may still read the change is not made: `false`. It is to be tried again
    /// when a lot that ends now has been seen.
    fn try_put<const S: usize, const W: usize, const K: usize>(
        &mut self,
        crew: &mut Crew,
        of: Of<S, W, K>,
        key: impl Key<K>,
        value: [u32; W],
    ) -> bool {
        loop {
            let (writer, place) = of(self);
            match writer.insert(key, value) {
                Ok(_) => break,
                Err(Full {
                    pending_reclaim: true,
                }) => {
                    self.settling.waited();
                    return false;
                }
                Err(Full {
                    pending_reclaim: false,
                }) => {
                    // The old table is freed when the last worker has given its view back, which `publish` waits for.
                    *place = writer.grow();
                    rte::ask_for_hugepages(place.memory());
                    crew.publish(&self.view);
                }
            }
        }
        self.changed(crew);
        true
    }
}

fn make_room<const S: usize, const W: usize, const K: usize>(
    writer: &mut Writer<S, W, K>,
    entries: usize,
) -> bool {
    let (has, best) = (writer.capacity(), Writer::<S, W, K>::roomy(entries));
    let makes = has < entries.div_ceil(2) || writer.is_empty() && has < best;
    if makes {
        let table = writer.grow_to(best);
        // Nobody reads it yet. Read at random, a table in pages of 4 KiB costs a page walk less a miss.
        rte::ask_for_hugepages(table.memory());
    }
    makes
}

/// A big table: its writer, and its place in the view.
type Of<const S: usize, const W: usize, const K: usize> =
    fn(&mut Tables) -> (&mut Writer<S, W, K>, &mut Arc<Exact<S, W, K>>);

const ENDPOINTS: Of<5, 1, 1> = |t| (&mut t.endpoints, &mut t.view.endpoints);
const RECORDS: Of<3, 3, 1> = |t| (&mut t.records, &mut t.view.records);
const RECORDS6: Of<2, 3, 2> = |t| (&mut t.records6, &mut t.view.records6);
const ACCEPTED: Of<5, 1, 1> = |t| (&mut t.accepted, &mut t.view.peer_addresses);
const ACCEPTED6: Of<3, 1, 2> = |t| (&mut t.accepted6, &mut t.view.peer_addresses6);
const REWRITTEN: Of<3, 3, 1> = |t| (&mut t.rewritten, &mut t.view.rewritten);
const REWRITTEN6: Of<2, 3, 2> = |t| (&mut t.rewritten6, &mut t.view.rewritten6);
const TRUNKED: Of<5, 1, 1> = |t| (&mut t.trunked, &mut t.view.trunk_members);

/// Sets one place of a vector that is as long as it needs to be.
pub fn set<T>(places: &mut Vec<Option<T>>, index: usize, value: Option<T>) {
    if places.len() <= index {
        places.resize_with(index + 1, || None);
    }
    if let Some(place) = places.get_mut(index) {
        *place = value;
    }
}
