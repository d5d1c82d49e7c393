//! IPv6 in a host's subnets: prefixes, addresses, records.

use super::*;

impl World {
    /// Gives a virtual subnet an IPv6 prefix of so many bits, whose gateway this is.
    pub fn subnet6(&mut self, id: SegmentId, address: Ipv6Addr, length: u8) {
        let gateway = Gateway6 { address, length };
        self.change_segment(id, |segment| {
            segment.gateways6 = segment.gateways6.iter().copied().chain([gateway]).collect();
        });
        let route = Route {
            network: gateway.network(),
            length,
            metric: 0,
            hop: Hop::Connected,
        };
        if let Some(domain) = self.view.segment(id).map(|s| s.domain) {
            self.route6(domain, &[address], route);
        }
    }

    /// Gives a local vNIC an IPv6 address.
    pub fn address6(&mut self, id: VnicId, ca: Ipv6Addr) {
        if let Some((segment, mac)) = self.view.vnic(id).map(|v| (v.segment, v.identity.mac)) {
            let target = Target::Local(id);
            let record = Record {
                target,
                segment,
                mac,
            };
            self.put_record6(ca, record);
        }
        self.change_identity(id, |who| {
            who.v6 = who.v6.iter().copied().chain([ca]).collect()
        });
    }

    /// Gives a vNIC on another host one.
    pub fn remote6(&mut self, segment: SegmentId, mac: Mac, ca: Ipv6Addr, at: PeerId) {
        let target = Target::Remote(at);
        let record = Record {
            target,
            segment,
            mac,
        };
        self.put_record6(ca, record);
    }

    pub(super) fn put_record6(&mut self, ca: Ipv6Addr, record: Record) {
        if let Some(key) = self.key6(record.segment, ca) {
            self.put_record6_at(key, record);
        }
    }

    /// What the table of IPv6 records has under a key, be it right or not.
    pub fn put_record6_at(&mut self, key: [u64; 2], record: Record) {
        let _ = self.records6.insert(key, record.pack());
    }

    pub(super) fn key6(&self, segment: SegmentId, ca: Ipv6Addr) -> Option<[u64; 2]> {
        let domain = self.view.domain(self.view.segment(segment)?.domain)?;
        Some(record6_key(domain.tag, ca))
    }
}
