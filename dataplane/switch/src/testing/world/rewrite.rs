//! Subnets that are rewritten: who has which provider address.

use super::*;

impl World {
    /// Makes a virtual subnet one whose packets are rewritten, before it has members.
    pub fn rewritten(&mut self, segment: SegmentId) {
        self.change_segment(segment, |s| s.carriage = Carriage::Rewrite);
    }

    /// Gives a local vNIC of such a subnet a provider address for its first customer address.
    pub fn give_pa(&mut self, id: VnicId, pa: Ipv4Addr) {
        let vnic = self.view.vnic(id);
        let Some((domain, Some(ca))) = vnic.map(|v| (v.domain, v.identity.v4.first().copied()))
        else {
            return;
        };
        let target = Target::Local(id);
        let customer = Customer {
            target,
            domain,
            ca: ca.into(),
        };
        let _ = self.rewritten.insert(rewritten_key(pa), customer.pack());
        self.change_identity(id, |who| who.v4_pas = [(ca, pa)].into());
    }

    /// A vNIC of such a subnet on another host, by its provider address.
    pub fn remote_pa(&mut self, segment: SegmentId, ca: Ipv4Addr, at: PeerId, pa: Ipv4Addr) {
        if let Some(domain) = self.view.segment(segment).map(|s| s.domain) {
            let record = Record::rewritten(at, segment, pa.into());
            let _ = self.records.insert(record_key(domain, ca), record.pack());
            let customer = Customer {
                target: record.target,
                domain,
                ca: ca.into(),
            };
            let _ = self.rewritten.insert(rewritten_key(pa), customer.pack());
        }
        self.change_segment(segment, |s| {
            if !s.peers.contains(&at) {
                s.peers = s.peers.iter().copied().chain([at]).collect();
            }
        });
    }

    /// The place of an IPv6 address in the snapshot.
    fn short(&mut self, address: Ipv6Addr) -> Short {
        let next = Short(self.short.len() as u32);
        let place = *self.short.entry(address).or_insert(next);
        self.view.addresses.set(place, address);
        place
    }

    /// Gives a local vNIC an IPv6 address and a provider address for it.
    pub fn give_pa6(&mut self, id: VnicId, ca: Ipv6Addr, pa: Ipv6Addr) {
        let Some(domain) = self.view.vnic(id).map(|vnic| vnic.domain) else {
            return;
        };
        self.address6(id, ca);
        let customer = Customer {
            target: Target::Local(id),
            domain,
            ca: self.short(ca),
        };
        let _ = self.rewritten6.insert(rewritten6_key(pa), customer.pack());
        self.change_identity(id, |who| who.v6_pas = [(ca, pa)].into());
    }

    /// A vNIC on another host, by its IPv6 address and the provider address for it.
    pub fn remote_pa6(&mut self, segment: SegmentId, ca: Ipv6Addr, at: PeerId, pa: Ipv6Addr) {
        let Some(domain) = self.view.segment(segment).map(|s| s.domain) else {
            return;
        };
        let record = Record::rewritten(at, segment, self.short(pa));
        self.put_record6(ca, record);
        let customer = Customer {
            target: record.target,
            domain,
            ca: self.short(ca),
        };
        let _ = self.rewritten6.insert(rewritten6_key(pa), customer.pack());
        self.change_segment(segment, |s| {
            if !s.peers.contains(&at) {
                s.peers = s.peers.iter().copied().chain([at]).collect();
            }
        });
    }
}
