//! What people call the things that the path knows by index. An index is resolved while it is still its owner's: control reads
//! every ring before it gives an index to somebody else.

use std::net::IpAddr;

use weir_switch::watch::Who;
use weir_tables::ids::{DomainId, PeerId, SegmentId, UplinkId, VnicId};

use crate::policy::SegmentKey;
use crate::state::State;

impl State {
    /// A local vNIC's name, also of one that has just left.
    pub fn vnic_name(&self, id: VnicId) -> String {
        match self.tables.view.vnic(id) {
            Some(vnic) => vnic.name.to_string(),
            None => match self.tables.vnics.key_of(id.0) {
                Some((name, _)) => name.to_string(),
                None => format!("vnic #{}", id.0),
            },
        }
    }

    /// An uplink's name.
    pub fn uplink_name(&self, id: UplinkId) -> String {
        let uplink = self.tables.view.uplink(id);
        uplink.map_or_else(|| format!("uplink #{}", id.0), |up| up.name.to_string())
    }

    /// Whose a packet is at a point.
    pub fn who_name(&self, who: Who) -> Option<String> {
        match who {
            Who::Nobody => None,
            Who::Vnic(id) => Some(self.vnic_name(id)),
            Who::Uplink(id) => Some(self.uplink_name(id)),
        }
    }

    /// A VM network's name.
    pub fn network_name(&self, id: DomainId) -> String {
        match self.tables.domains.key_of(u32::from(id.0)) {
            Some(name) => name.to_string(),
            None => format!("VM network #{}", id.0),
        }
    }

    /// What a segment is, and its VSID if it is a virtual subnet.
    pub fn segment_name(&self, id: SegmentId) -> (String, Option<u32>) {
        let Some(&key) = self.tables.segments.key_of(u32::from(id.0)) else {
            return (format!("segment #{}", id.0), None);
        };
        let vsid = key.vsid().map(|vsid| vsid.get());
        let mut subnets = self.policy.subnets.values();
        let name = subnets.find(|subnet| subnet.segment == key);
        let name = name.map(|subnet| subnet.name.to_string());
        let text = match (name, key) {
            (Some(name), SegmentKey::Virtual(vsid)) => {
                format!("subnet {name} (VSID {})", vsid.get())
            }
            (None, SegmentKey::Virtual(vsid)) => format!("VSID {}", vsid.get()),
            (_, SegmentKey::Flat) => "the untagged segment of the uplink".into(),
            (_, SegmentKey::Vlan(vlan)) => format!("VLAN {vlan} of the uplink"),
        };
        (text, vsid)
    }

    /// The subnet's name of a VSID.
    pub fn vsid_name(&self, vsid: u32) -> String {
        let mut subnets = self.policy.subnets.values();
        let found = subnets.find(|subnet| subnet.segment.vsid().is_some_and(|v| v.get() == vsid));
        match found {
            Some(subnet) => format!("subnet {} (VSID {vsid})", subnet.name),
            None => format!("VSID {vsid}"),
        }
    }

    /// Another host's provider address, and whose it is.
    pub fn peer_name(&self, id: PeerId) -> (String, Option<IpAddr>) {
        match self.tables.peers.key_of(id.0) {
            Some(&pa) => (self.provider_name(pa), Some(pa)),
            None => (format!("peer #{}", id.0), None),
        }
    }

    /// Whose a provider address is.
    pub fn provider_name(&self, pa: IpAddr) -> String {
        let mut hosts = self.policy.hosts.values();
        match hosts.find(|host| host.provider_addresses.contains(&pa)) {
            Some(host) => format!("host {} at {pa}", host.name),
            None => pa.to_string(),
        }
    }
}
