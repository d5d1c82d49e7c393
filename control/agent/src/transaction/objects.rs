//! The small things of a transaction, which workers see as a snapshot: peers, routing domains, vNICs, virtual subnets.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use weir_tables::bridged::Wire;
use weir_tables::counters::cells;
use weir_tables::domain::{Domain, Reach};
use weir_tables::ids::{DomainId, UplinkId, VnicId};
use weir_tables::peer::{Peer, PeerRoute};
use weir_tables::view::{COPIES, Segment, Vnic};
use weir_wire::Vsid;

use super::entries::is_pulled;
use crate::config::fields::Name;
use crate::plan::{PeerPlan, Plan, VnicPlan};
use crate::policy::Attach;
use crate::sharing::promise;
use crate::state::State;
use crate::tables::set;
use crate::transaction::bridged::BRIDGED;

impl State {
    pub(super) fn prepare_peers(&mut self, plan: &Plan) {
        for &pa in plan.peers.keys() {
            self.tables.peers.give(pa);
        }
        self.want_neighbors(&plan.peers);
    }

    /// Places in the snapshot for the IPv6 addresses that tables name by a number.
    pub(super) fn prepare_addresses(&mut self, plan: &Plan) {
        for (pa, customer) in &plan.rewritten {
            self.tables.place(*pa);
            self.tables.place(customer.ca);
        }
    }

    /// Routing domains, before anything is in them.
    pub(super) fn prepare_domains(&mut self, plan: &Plan) {
        for (network, wanted) in &plan.domains {
            let Some(id) = self.tables.domains.give(network.clone()) else {
                continue;
            };
            if self.plan.domains.get(network) == Some(wanted) {
                continue;
            }
            let id = DomainId(id as u16);
            let mut segments = plan.segments.iter();
            let on_miss = self.pull.on_miss
                && segments.any(|(key, own)| own.network == *network && is_pulled(*key));
            let domain = Domain {
                id,
                tag: self.tables.tag(id),
                on_miss,
                v4: Reach::new(&wanted.v4.gateways, wanted.v4.routes.clone()),
                v6: Reach::new(&wanted.v6.gateways, wanted.v6.routes.clone()),
            };
            set(
                &mut self.tables.view.domains,
                id.index(),
                Some(Arc::new(domain)),
            );
        }
    }

    pub(super) fn prepare_vnics(&mut self, plan: &Plan) {
        for &key in plan.segments.keys() {
            self.tables.segments.give(key);
        }
        for (name, wanted) in &plan.vnics {
            if self.plan.vnics.get(name) != Some(wanted) {
                self.prepare_vnic(name, wanted);
            }
        }
    }

    fn prepare_vnic(&mut self, name: &Name, wanted: &VnicPlan) {
        let (Some(id), Some(segment), Some(domain)) = (
            self.tables.vnics.give((name.clone(), wanted.segment)),
            self.tables.segment(wanted.segment),
            self.tables.domain(&wanted.network),
        ) else {
            return;
        };
        let (port, vlan) = match &wanted.attach {
            Attach::Port(device) => (self.tables.port(&device.to_string()), None),
            Attach::Trunk { port, vlan } => (self.trunk_port(port), *vlan),
        };
        let Some(port) = port else { return };
        let parked = self.parked.remove(&(name.clone(), wanted.segment));
        let before = self.tables.view.vnic(VnicId(id));
        let old = before.map(|old| old.cells.clone());
        let promise = promise(wanted.bandwidth, rte::clock::hz());
        let cells = parked.or(old).unwrap_or_else(|| cells(self.crew.len()));
        let vnic = Vnic {
            id: VnicId(id),
            name: name.clone(),
            segment,
            vsid: wanted.segment.vsid().unwrap_or(Vsid::NONE),
            carriage: wanted.carriage,
            domain,
            port,
            mss_clamp: wanted.mss_clamp,
            vlan,
            identity: wanted.identity.clone(),
            promise: promise.map(Arc::new),
            cells,
        };
        set(
            &mut self.tables.view.vnics,
            id as usize,
            Some(Arc::new(vnic)),
        );
    }

    pub(super) fn prepare_segments(&mut self, plan: &Plan) {
        for (&key, wanted) in &plan.segments {
            if self.plan.segments.get(&key) == Some(wanted) {
                continue;
            }
            let (Some(id), Some(domain)) = (
                self.tables.segment(key),
                self.tables.domain(&wanted.network),
            ) else {
                continue;
            };
            let segment = Segment {
                id,
                vsid: key.vsid().unwrap_or(Vsid::NONE),
                carriage: wanted.carriage,
                domain,
                gateways: wanted.gateways.as_slice().into(),
                gateways6: wanted.gateways6.as_slice().into(),
                local: self.members(key, &wanted.local),
                peers: wanted
                    .peers
                    .iter()
                    .filter_map(|&pa| self.tables.peer(pa))
                    .collect(),
                wire: key.bridged().map(|vlan| Wire {
                    uplink: BRIDGED,
                    vlan,
                }),
                group: wanted.to_many.group,
                copies: wanted.to_many.copies.unwrap_or(COPIES),
            };
            set(
                &mut self.tables.view.segments,
                id.index(),
                Some(Arc::new(segment)),
            );
            // Accepted from the wire only with a member here (RFC 7637 §4.2).
            let here = !wanted.local.is_empty();
            if let Some(vsid) = key.vsid() {
                self.tables.view.vsids.set(vsid, Some((id, here)));
            }
        }
        self.prepare_bridged();
    }

    /// The ready headers of all peers, by index, with what is known of their next hops now.
    pub fn peer_headers(&self, peers: &BTreeMap<IpAddr, PeerPlan>) -> Arc<[Peer]> {
        let mut headers = self.tables.view.peers.to_vec();
        for (&destination, peer) in peers {
            let (Some(id), Some(config)) = (
                self.tables.peer(destination),
                self.host.uplinks.get(peer.uplink),
            ) else {
                continue;
            };
            let Some(uplink) = self.tables.view.uplink(UplinkId(peer.uplink as u16)) else {
                continue;
            };
            let max_frame = self
                .tables
                .view
                .port(uplink.port)
                .map_or(0, |port| port.max_frame);
            let path = self
                .path_mtus
                .to(destination)
                .map_or(u32::MAX, |mtu| u32::from(mtu) + 14);
            let header = Peer::nvgre(&PeerRoute {
                uplink: uplink.id,
                port: uplink.port,
                source_mac: uplink.mac,
                source: peer.source,
                destination,
                next_hop: self.neighbors.mac((peer.uplink, peer.next_hop)),
                vlan: config.vlan,
                max_frame: max_frame.min(path).min(u32::from(u16::MAX)) as u16,
                ecn: peer.ecn,
            });
            if headers.len() <= id.index() {
                headers.resize(id.index() + 1, Peer::NONE);
            }
            if let Some(slot) = headers.get_mut(id.index()) {
                *slot = header;
            }
        }
        headers.into()
    }

    pub(super) fn remove_domains(&mut self, old: &Plan) {
        for network in old.domains.keys() {
            if !self.plan.domains.contains_key(network)
                && let Some(id) = self.tables.domain(network)
            {
                set(&mut self.tables.view.domains, id.index(), None);
            }
        }
    }

    pub(super) fn remove_segments(&mut self, old: &Plan) {
        for &key in old
            .segments
            .keys()
            .filter(|key| !self.plan.segments.contains_key(key))
        {
            if let Some(id) = self.tables.segment(key) {
                if let Some(vsid) = key.vsid() {
                    self.tables.view.vsids.set(vsid, None);
                }
                set(&mut self.tables.view.segments, id.index(), None);
            }
        }
        self.prepare_bridged();
    }

    /// After the last round: whoever is given these indexes now shares them with nobody.
    pub(super) fn give_back_ids(&mut self, old: &Plan) {
        let gone = old.vnics.iter().filter(|(name, vnic)| {
            let now = self.plan.vnics.get(*name);
            now.is_none_or(|now| now.segment != vnic.segment)
        });
        let gone: Vec<VnicId> = gone
            .filter_map(|(name, vnic)| self.tables.vnic(name, vnic.segment))
            .collect();
        self.settle_observers(&gone);
        for (name, vnic) in &old.vnics {
            if self
                .plan
                .vnics
                .get(name)
                .is_none_or(|now| now.segment != vnic.segment)
            {
                self.tables.vnics.take_back(&(name.clone(), vnic.segment));
            }
        }
        for key in old
            .segments
            .keys()
            .filter(|key| !self.plan.segments.contains_key(key))
        {
            self.tables.segments.take_back(key);
        }
        for network in old
            .domains
            .keys()
            .filter(|network| !self.plan.domains.contains_key(*network))
        {
            self.tables.domains.take_back(network);
        }
        for pa in old
            .peers
            .keys()
            .filter(|pa| !self.plan.peers.contains_key(pa))
        {
            self.tables.peers.take_back(pa);
        }
        let places = |plan: &Plan| -> HashSet<IpAddr> {
            let all = plan.rewritten.iter();
            all.flat_map(|(pa, customer)| [*pa, customer.ca]).collect()
        };
        let kept = places(&self.plan);
        for gone in places(old).difference(&kept) {
            if let IpAddr::V6(gone) = gone {
                self.tables.addresses.take_back(gone);
            }
        }
        self.give_back_classes(old);
        for device in std::mem::take(&mut self.closed) {
            self.tables.ports.take_back(&device);
        }
    }
}
