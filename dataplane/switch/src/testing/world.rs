//! A host made by hand: the tables that control would write, for tests, fuzzing and benches.

mod act;
mod rewrite;
mod six;

use crate::from_vnic;
use crate::lap::Stage;
use crate::ledger::Ledger;
use crate::miss;
use crate::receive::{receive, receive_two};
use crate::recorder::{Note, Recorder};
use crate::testing::{Herd, Kept, VecFrame};
use crate::watch::{Seen, Watched, Who};
use crate::{BATCH, Batch};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use weir_tables::addresses::{Addresses, Short};
use weir_tables::bridged::{Bridged, Wire};
use weir_tables::counters::{Cells, cells};
use weir_tables::domain::{Address, Domain, Hop, Reach, Route};
use weir_tables::endpoints::{
    Customer, Destination, Record, Tag, Target, endpoint_key, peer_key, peer6_key, record_key,
    record6_key, rewritten_key, rewritten6_key,
};
use weir_tables::epoch::{Epochs, Passer, Retired};
use weir_tables::exact::Writer;
use weir_tables::ids::{DomainId, PeerId, PortId, SegmentId, UplinkId, VnicId, WorkerId};
use weir_tables::offloads::Offloads;
use weir_tables::peer::{Peer, PeerRoute};
use weir_tables::reason::Reason;
use weir_tables::steering::Steering;
use weir_tables::view::{
    COPIES, Carriage, Gateway6, Identity, Party, Port, Segment, Uplink, View, Vnic, VsidIndex,
};
use weir_wire::{Mac, Vsid, ipv4};

/// The /64 of the uplink's link.
const LINK6: u128 = u128::MAX << 64;

/// Workers that its parties have cells for.
pub const WORKERS: usize = 4;
/// The one uplink of a [`World`].
pub const UPLINK: UplinkId = UplinkId(0);
/// Its port.
pub const UPLINK_PORT: PortId = PortId(0);
/// Its MAC.
pub const UPLINK_MAC: Mac = Mac::new([2, 0xaa, 0, 0, 0, 1]);
/// This host's provider address.
pub const OWN_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
/// Its IPv6 provider address: [`v6_of`] the other.
pub const OWN_PA6: Ipv6Addr = v6_of(OWN_PA);
/// The MAC that every peer answers with.
pub const PEER_MAC: Mac = Mac::new([2, 0xbb, 0, 0, 0, 2]);
/// Largest frame of the uplink: MTU 1,600.
pub const UPLINK_FRAME: u16 = 1614;

/// A host: one worker, one uplink, and what is added.
pub struct World {
    /// What the worker reads.
    pub view: View,
    /// What came out.
    pub kept: Kept,
    /// Counts the frames alive.
    pub herd: Herd,
    /// The worker's duty to say when it holds nothing; a test with a thread of its own takes it along.
    pub worker: Option<Passer>,
    endpoints: Writer<5, 1>,
    records: Writer<3, 3>,
    records6: Writer<2, 3, 2>,
    peers: Writer<5, 1>,
    rewritten: Writer<3, 3>,
    rewritten6: Writer<2, 3, 2>,
    short: HashMap<Ipv6Addr, Short>,
    peers6: Writer<3, 1, 2>,
    trunk: Writer<5, 1>,
    watcher: Option<Recorder<VecFrame>>,
    timer: Option<act::Laps>,
    epochs: Arc<Epochs>,
    fresh: Vec<(VnicId, Option<PortId>)>,
    retired: Retired<(VnicId, Option<PortId>)>,
    free_vnics: Vec<VnicId>,
    free_ports: Vec<PortId>,
    gone: Vec<Cells>,
}

impl Default for World {
    fn default() -> Self {
        World::new(4096, None)
    }
}

/// The IPv6 provider address of a host with this IPv4 one.
pub const fn v6_of(pa: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = pa.octets();
    Ipv6Addr::from_octets([0xfd, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
}

impl World {
    /// A host with room for so many mappings, its uplink in this VLAN.
    pub fn new(mappings: usize, vlan: Option<u16>) -> Self {
        World::host(mappings, vlan, UPLINK_MAC, OWN_PA)
    }

    /// The same with another MAC and provider address.
    pub fn host(mappings: usize, vlan: Option<u16>, mac: Mac, pa: Ipv4Addr) -> Self {
        let (endpoints, records) = (Writer::new(mappings, 1), Writer::new(mappings, 2));
        let few = mappings.min(4096);
        let records6 = Writer::new(few, 5);
        let (peers, trunk) = (Writer::new(few, 3), Writer::new(few, 4));
        let rewritten = Writer::new(few, 5);
        let rewritten6 = Writer::new(few, 7);
        let peers6 = Writer::new(few, 6);
        let epochs = Epochs::new(1);
        let uplink = Uplink {
            id: UPLINK,
            name: "up0".into(),
            port: UPLINK_PORT,
            mac,
            v4: [pa].into(),
            v6: [v6_of(pa)].into(),
            v6_links: [(v6_of(pa).to_bits() & LINK6, LINK6)].into(),
            v4_links: [(pa.to_bits() & 0xffff_ff00, 0xffff_ff00)].into(),
            vlan,
            bridged: None,
            groups: [].into(),
            link: None,
            cells: cells(WORKERS),
        };
        let view = View {
            endpoints: endpoints.table(),
            records: records.table(),
            rewritten: rewritten.table(),
            rewritten6: rewritten6.table(),
            addresses: Addresses::default(),
            records6: records6.table(),
            peer_addresses: peers.table(),
            peer_addresses6: peers6.table(),
            trunk_members: trunk.table(),
            peers: Arc::new([]),
            segments: Vec::new(),
            vsids: VsidIndex::default(),
            domains: Vec::new(),
            vnics: Vec::new(),
            ports: vec![Some(port(Party::Uplink(UPLINK), u32::from(UPLINK_FRAME)))],
            uplinks: vec![Some(Arc::new(uplink))],
            filters: None,
            steering: Steering::default(),
            reads_ahead: false,
        };
        World {
            view,
            kept: Kept::default(),
            herd: Herd::default(),
            worker: epochs.join(0),
            endpoints,
            records,
            records6,
            peers,
            rewritten,
            rewritten6,
            short: HashMap::new(),
            peers6,
            trunk,
            watcher: None,
            timer: None,
            epochs,
            fresh: Vec::new(),
            retired: Retired::new(),
            free_vnics: Vec::new(),
            free_ports: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// A VM network without subnets.
    pub fn domain(&mut self) -> DomainId {
        let id = DomainId(self.view.domains.len() as u16);
        let domain = Domain {
            id,
            tag: Tag::new(u128::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834)),
            on_miss: false,
            v4: Reach::default(),
            v6: Reach::default(),
        };
        self.view.domains.push(Some(Arc::new(domain)));
        id
    }

    /// Adds to a VM network's gateways and routes.
    pub fn route(&mut self, id: DomainId, gateways: &[Ipv4Addr], route: Route) {
        self.change_domain(id, |domain| domain.v4 = more(&domain.v4, gateways, route));
    }

    /// The same of IPv6.
    pub fn route6(&mut self, id: DomainId, gateways: &[Ipv6Addr], route: Route<Ipv6Addr>) {
        self.change_domain(id, |domain| domain.v6 = more(&domain.v6, gateways, route));
    }

    fn change_domain(&mut self, id: DomainId, change: impl FnOnce(&mut Domain)) {
        if let Some(Some(domain)) = self.view.domains.get_mut(id.index()) {
            change(Arc::make_mut(domain));
        }
    }

    /// A virtual subnet of a VM network, without members, whose prefix is the gateway's /24.
    pub fn subnet(&mut self, domain: DomainId, vsid: u32, gateway: Ipv4Addr) -> SegmentId {
        let id = self.segment_of(domain, vsid);
        self.change_segment(id, |segment| segment.gateways = [gateway].into());
        let [a, b, c, _] = gateway.octets();
        let route = Route {
            network: Ipv4Addr::new(a, b, c, 0),
            length: 24,
            metric: 0,
            hop: Hop::Connected,
        };
        self.route(domain, &[gateway], route);
        id
    }

    /// A virtual subnet without members or gateway, in a VM network of its own.
    pub fn segment(&mut self, vsid: u32) -> SegmentId {
        let domain = self.domain();
        self.segment_of(domain, vsid)
    }

    /// A bridged VM network without members: untagged on the uplink, or in a VLAN.
    pub fn bridged(&mut self, vlan: Option<u16>) -> SegmentId {
        let domain = self.domain();
        let id = self.add_segment(domain, Vsid::NONE, Carriage::Bridged);
        let uplink = UPLINK;
        self.change_segment(id, |segment| segment.wire = Some(Wire { uplink, vlan }));
        let segments = self.view.segments.iter().flatten();
        let all = segments.filter_map(|s| Some((s.wire?.vlan, s.id)));
        let bridged = Bridged::of(all);
        if let Some(Some(uplink)) = self.view.uplinks.get_mut(UPLINK.index()) {
            Arc::make_mut(uplink).bridged = bridged;
        }
        id
    }

    /// Has a virtual subnet's frames to many travel by a provider multicast group. Its other hosts come before.
    pub fn group(&mut self, segment: SegmentId, group: Ipv4Addr) -> PeerId {
        let peer = self.way_to(group.into(), Some(ipv4::group_mac(group)), true);
        self.change_segment(segment, |segment| {
            segment.group = Some(group);
            segment.peers = [peer].into();
        });
        if let Some(Some(uplink)) = self.view.uplinks.get_mut(UPLINK.index()) {
            let groups = uplink.groups.iter().copied();
            let groups = groups
                .filter(|&known| known != group)
                .chain([group])
                .collect();
            Arc::make_mut(uplink).groups = groups;
        }
        peer
    }

    /// How many a frame to many of the segment may reach.
    pub fn limit_copies(&mut self, segment: SegmentId, copies: u32) {
        self.change_segment(segment, |segment| segment.copies = copies);
    }

    fn segment_of(&mut self, domain: DomainId, vsid: u32) -> SegmentId {
        let vsid = Vsid::from_wire(vsid);
        let id = self.add_segment(domain, vsid, Carriage::Nvgre);
        self.view.vsids.set(vsid, Some((id, true)));
        id
    }

    fn add_segment(&mut self, domain: DomainId, vsid: Vsid, carriage: Carriage) -> SegmentId {
        let id = SegmentId(self.view.segments.len() as u16);
        self.view.segments.push(Some(Arc::new(Segment {
            id,
            vsid,
            carriage,
            domain,
            gateways: [].into(),
            gateways6: [].into(),
            local: [].into(),
            peers: [].into(),
            wire: None,
            group: None,
            copies: COPIES,
        })));
        id
    }

    fn change_segment(&mut self, id: SegmentId, change: impl FnOnce(&mut Segment)) {
        if let Some(Some(segment)) = self.view.segments.get_mut(id.index()) {
            change(Arc::make_mut(segment));
        }
    }

    /// A local vNIC on a port of its own.
    pub fn vnic(&mut self, segment: SegmentId, mac: Mac, ca: Ipv4Addr) -> VnicId {
        let id = self.free_vnic();
        let own = self.free_ports.pop().unwrap_or_else(|| {
            self.view.ports.push(None);
            PortId(self.view.ports.len() as u16 - 1)
        });
        if let Some(place) = self.view.ports.get_mut(own.index()) {
            *place = Some(port(Party::Vnic(id), 9014));
        }
        self.free_vnics.push(id);
        self.vnic_on(segment, mac, ca, own, None)
    }

    /// A trunk told apart by MAC or by VLAN.
    pub fn trunk(&mut self, party: Party) -> PortId {
        let id = PortId(self.view.ports.len() as u16);
        self.view.ports.push(Some(port(party, 9014)));
        id
    }

    /// The port that is one more transmit queue of the uplink's device.
    pub fn queue(&mut self) -> PortId {
        let id = PortId(self.view.ports.len() as u16);
        let uplink = self.view.port(UPLINK_PORT).copied();
        self.view.ports.push(uplink);
        id
    }

    /// A local vNIC on a given port.
    pub fn vnic_on(
        &mut self,
        segment: SegmentId,
        mac: Mac,
        ca: Ipv4Addr,
        on: PortId,
        vlan: Option<u16>,
    ) -> VnicId {
        let id = self.free_vnic();
        let of = self.view.segment(segment);
        let (vsid, carriage, domain) = of.map_or((Vsid::NONE, Carriage::Nvgre, DomainId(0)), |s| {
            (s.vsid, s.carriage, s.domain)
        });
        let mark = vlan.map_or(mac.to_u64(), u64::from);
        let target = [Target::Local(id).pack()];
        let trunk = self.trunk.insert(from_vnic::trunk_key(on, mark), target);
        let endpoint = self.endpoints.insert(endpoint_key(segment, mac), target);
        let record = Record {
            target: Target::Local(id),
            segment,
            mac,
        };
        assert!(trunk.is_ok() && endpoint.is_ok());
        // Where the switch is no router it has no records.
        if carriage != Carriage::Bridged {
            let record = self.records.insert(record_key(domain, ca), record.pack());
            assert!(record.is_ok());
        }
        let vnic = Arc::new(Vnic {
            id,
            name: format!("v{}", id.0).into(),
            segment,
            vsid,
            carriage,
            domain,
            port: on,
            mss_clamp: false,
            vlan,
            identity: Identity {
                mac,
                v4: [ca].into(),
                v6: [mac.link_local()].into(),
                ..Identity::default()
            },
            promise: None,
            cells: cells(WORKERS),
        });
        if let Some(place) = self.view.vnics.get_mut(id.index()) {
            *place = Some(vnic);
        }
        self.change_segment(segment, |s| {
            s.local = s.local.iter().copied().chain([id]).collect();
        });
        id
    }

    fn free_vnic(&mut self) -> VnicId {
        self.free_vnics.pop().unwrap_or_else(|| {
            self.view.vnics.push(None);
            VnicId(self.view.vnics.len() as u32 - 1)
        })
    }

    /// A vNIC on a trunk by MAC sends from this one, too.
    pub fn allow_mac(&mut self, id: VnicId, mac: Mac) {
        let port = self.port_of(id).expect("a vNIC");
        let key = from_vnic::trunk_key(port, mac.to_u64());
        let inserted = self.trunk.insert(key, [Target::Local(id).pack()]);
        assert!(inserted.is_ok());
        self.change_identity(id, |identity| {
            identity.macs = identity.macs.iter().copied().chain([mac]).collect();
        });
    }

    /// Takes a local vNIC away, and its own port with it. What named it is free after the worker has passed
    /// ([`settle`](World::settle)), not before.
    pub fn remove(&mut self, id: VnicId) {
        let Some(vnic) = self.view.vnics.get_mut(id.index()).and_then(Option::take) else {
            return;
        };
        let mark = vnic.vlan.map_or(vnic.identity.mac.to_u64(), u64::from);
        let macs = vnic.identity.macs.iter().map(|mac| mac.to_u64());
        for mark in macs.chain([mark]) {
            self.trunk.remove(from_vnic::trunk_key(vnic.port, mark));
        }
        for &(_, pa) in &vnic.identity.v4_pas {
            self.rewritten.remove(rewritten_key(pa));
        }
        for &(_, pa) in &vnic.identity.v6_pas {
            self.rewritten6.remove(rewritten6_key(pa));
        }
        self.endpoints
            .remove(endpoint_key(vnic.segment, vnic.identity.mac));
        for &ca in &vnic.identity.v4 {
            self.records.remove(record_key(vnic.domain, ca));
        }
        for &ca in &vnic.identity.v6 {
            if let Some(key) = self.key6(vnic.segment, ca) {
                self.records6.remove(key);
            }
        }
        self.change_segment(vnic.segment, |s| {
            s.local = s.local.iter().copied().filter(|&l| l != id).collect();
        });
        let place = self.view.ports.get_mut(vnic.port.index());
        let own = place.and_then(|p| p.take_if(|p| p.party == Party::Vnic(id)));
        self.gone.push(vnic.cells.clone());
        self.fresh.push((id, own.map(|_| vnic.port)));
    }

    /// What was taken away is retired; a view that a worker may have is published before. The worker passes,
    /// if it is here, and control takes back what every worker has let go. Says how many vNICs still wait.
    pub fn settle(&mut self) -> usize {
        if !self.fresh.is_empty() {
            let epoch = self.epochs.advance();
            self.endpoints.retire(epoch);
            self.records.retire(epoch);
            self.records6.retire(epoch);
            self.trunk.retire(epoch);
            self.rewritten.retire(epoch);
            self.rewritten6.retire(epoch);
            for gone in self.fresh.drain(..) {
                self.retired.push(epoch, gone);
            }
        }
        if let Some(worker) = &mut self.worker {
            worker.pass();
        }
        let passed = self.epochs.passed();
        self.endpoints.reclaim(passed);
        self.records.reclaim(passed);
        self.records6.reclaim(passed);
        self.trunk.reclaim(passed);
        self.rewritten.reclaim(passed);
        self.rewritten6.reclaim(passed);
        for (vnic, port) in self.retired.drain(passed) {
            self.free_vnics.push(vnic);
            self.free_ports.extend(port);
        }
        self.retired.len()
    }

    /// Another host; with `next_hop` `None` it does not answer ARP.
    pub fn peer(&mut self, pa: impl Into<IpAddr>, next_hop: Option<Mac>) -> PeerId {
        self.peer_of(pa.into(), next_hop, true)
    }

    /// Another host whose decapsulator knows no congestion marks.
    pub fn legacy_peer(&mut self, pa: impl Into<IpAddr>, next_hop: Mac) -> PeerId {
        self.peer_of(pa.into(), Some(next_hop), false)
    }

    fn peer_of(&mut self, pa: IpAddr, next_hop: Option<Mac>, ecn: bool) -> PeerId {
        let id = self.way_to(pa, next_hop, ecn);
        let value = [Target::Remote(id).pack()];
        let _ = match pa {
            IpAddr::V4(pa) => self.peers.insert(peer_key(pa), value),
            IpAddr::V6(pa) => self.peers6.insert(peer6_key(pa), value),
        };
        id
    }

    /// A header to an address, which is accepted from nobody yet.
    fn way_to(&mut self, pa: IpAddr, next_hop: Option<Mac>, ecn: bool) -> PeerId {
        let id = PeerId(self.view.peers.len() as u32);
        let own = self.view.uplink(UPLINK);
        let address = own.and_then(|u| match pa {
            IpAddr::V4(_) => u.v4.first().copied().map(IpAddr::V4),
            IpAddr::V6(_) => u.v6.first().copied().map(IpAddr::V6),
        });
        let peer = Peer::nvgre(&PeerRoute {
            uplink: UPLINK,
            port: UPLINK_PORT,
            source_mac: own.map_or(UPLINK_MAC, |u| u.mac),
            source: address.unwrap_or(OWN_PA.into()),
            destination: pa,
            next_hop,
            vlan: own.and_then(|u| u.vlan),
            max_frame: UPLINK_FRAME,
            ecn,
        });
        self.view.peers = self.view.peers.iter().copied().chain([peer]).collect();
        id
    }

    /// A vNIC on another host.
    pub fn remote(&mut self, segment: SegmentId, mac: Mac, ca: Ipv4Addr, at: PeerId) {
        self.record(segment, mac, ca, at);
        self.member(segment, at);
    }

    /// Another host with members of a virtual subnet.
    pub fn member(&mut self, segment: SegmentId, at: PeerId) {
        self.change_segment(segment, |s| {
            if !s.peers.contains(&at) {
                s.peers = s.peers.iter().copied().chain([at]).collect();
            }
        });
    }

    /// What the large tables have of a vNIC on another host.
    pub fn record(&mut self, segment: SegmentId, mac: Mac, ca: Ipv4Addr, at: PeerId) {
        let target = Target::Remote(at);
        let _ = self
            .endpoints
            .insert(endpoint_key(segment, mac), [target.pack()]);
        if let Some(domain) = self.view.segment(segment).map(|s| s.domain) {
            let record = Record {
                target,
                segment,
                mac,
            };
            let _ = self.records.insert(record_key(domain, ca), record.pack());
        }
    }

    /// Changes a port.
    pub fn change_port(&mut self, id: PortId, change: impl FnOnce(&mut Port)) {
        if let Some(Some(port)) = self.view.ports.get_mut(id.index()) {
            change(port);
        }
    }

    /// Changes what a vNIC may send as.
    pub fn change_identity(&mut self, id: VnicId, change: impl FnOnce(&mut Identity)) {
        if let Some(Some(vnic)) = self.view.vnics.get_mut(id.index())
            && let Some(vnic) = Arc::get_mut(vnic)
        {
            change(&mut vnic.identity);
        }
    }

    /// Has a vNIC's TCP handshakes clamped.
    pub fn clamp(&mut self, id: VnicId) {
        if let Some(Some(vnic)) = self.view.vnics.get_mut(id.index())
            && let Some(vnic) = Arc::get_mut(vnic)
        {
            vnic.mss_clamp = true;
        }
    }
}

fn more<A: Address>(reach: &Reach<A>, gateways: &[A], route: Route<A>) -> Reach<A> {
    let gateways = [reach.gateways(), gateways].concat();
    let routes = reach.routes().iter().copied().chain([route]).collect();
    Reach::new(&gateways, routes)
}

fn port(party: Party, max_frame: u32) -> Port {
    Port {
        party,
        max_frame,
        owner: WorkerId(0),
        suspect_checksums: false,
        offloads: Offloads::NONE,
        pushes_back: false,
        patience_us: 1000,
        pools: false,
    }
}

/// A worker's book for tests that need one of their own.
pub fn ledger() -> Ledger {
    Ledger::new(WorkerId(0), Arc::default())
}
