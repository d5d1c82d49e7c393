//! The three exact-match questions of the path and how their keys and values are packed.
//!
//! | table | key | value | asked by |
//! |---|---|---|---|
//! | [`Endpoints`] | segment ‖ MAC | where it lives: a vNIC here or a peer | every packet |
//! | [`Records`] | routing domain ‖ IPv4 | its [`Record`]: segment, MAC, where it lives | routed packets, ARP |
//! | [`PeerAddresses`] | IPv4 provider address | its peer | every packet from the wire |
//!
//! No key is 0: a MAC of a vNIC is never zero, and the other two carry a mark.

use crate::exact::Exact;
use crate::ids::{DomainId, PeerId, SegmentId, VnicId};
use std::net::Ipv4Addr;
use weir_wire::Mac;

/// (segment, MAC) → [`Target`], five a cache line.
pub type Endpoints = Exact<5, 1>;
/// (routing domain, IPv4 CA) → [`Record`], three a cache line.
pub type Records = Exact<3, 3>;
/// IPv4 PA → [`PeerId`], five a cache line.
pub type PeerAddresses = Exact<5, 1>;

/// Where an endpoint lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// On this host.
    Local(VnicId),
    /// Behind another host's provider address.
    Remote(PeerId),
}

const LOCAL: u32 = 1 << 31;

impl Target {
    /// The 4-byte value: bit 31 says local, the rest is the index plus one, so that 0 is no value.
    #[inline(always)]
    pub fn pack(self) -> u32 {
        match self {
            Target::Local(VnicId(i)) => LOCAL | (i + 1),
            Target::Remote(PeerId(i)) => i + 1,
        }
    }

    /// The target of a packed value; `None` for 0.
    #[inline(always)]
    pub fn unpack(value: u32) -> Option<Target> {
        let index = (value & !LOCAL).checked_sub(1)?;
        Some(if value & LOCAL != 0 {
            Target::Local(VnicId(index))
        } else {
            Target::Remote(PeerId(index))
        })
    }
}

/// Key of [`Endpoints`]: 16 bits of segment, 48 of MAC.
#[inline(always)]
pub fn endpoint_key(segment: SegmentId, mac: Mac) -> u64 {
    u64::from(segment.0) << 48 | mac.to_u64()
}

/// Key of [`Records`]: 16 bits of routing domain, a mark, 32 of address. The subnets of a domain do not overlap, so
/// that an address is one vNIC's in all of it.
#[inline(always)]
pub fn record_key(domain: DomainId, ca: Ipv4Addr) -> u64 {
    u64::from(domain.0) << 48 | 1 << 32 | u64::from(u32::from(ca))
}

/// What is known of a customer address: all that a router needs to send a packet there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where its vNIC lives.
    pub target: Target,
    /// Its virtual subnet.
    pub segment: SegmentId,
    /// Its MAC.
    pub mac: Mac,
}

impl Record {
    /// The 12-byte value: target, segment ‖ upper 16 bits of the MAC, lower 32.
    #[inline(always)]
    pub fn pack(self) -> [u32; 3] {
        let mac = self.mac.to_u64();
        let upper = u32::from(self.segment.0) << 16 | (mac >> 32) as u32;
        [self.target.pack(), upper, mac as u32]
    }

    /// The record of a packed value; `None` for zeroes.
    #[inline(always)]
    pub fn unpack([target, upper, lower]: [u32; 3]) -> Option<Record> {
        Some(Record {
            target: Target::unpack(target)?,
            segment: SegmentId((upper >> 16) as u16),
            mac: Mac::from_u64(u64::from(upper & 0xffff) << 32 | u64::from(lower)),
        })
    }
}

/// Key of [`PeerAddresses`].
#[inline(always)]
pub fn peer_key(pa: Ipv4Addr) -> u64 {
    1 << 32 | u64::from(u32::from(pa))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_survive_packing_and_zero_is_none() {
        for target in [
            Target::Local(VnicId(0)),
            Target::Local(VnicId(1_000_000)),
            Target::Remote(PeerId(0)),
            Target::Remote(PeerId(77)),
        ] {
            assert_eq!(Target::unpack(target.pack()), Some(target));
        }
        assert_eq!(Target::unpack(0), None);
        assert_eq!(Target::unpack(LOCAL), None);
    }

    #[test]
    fn records_survive_packing_and_zeroes_are_none() {
        for target in [Target::Local(VnicId(7)), Target::Remote(PeerId(0))] {
            let record = Record {
                target,
                segment: SegmentId(0xfffe),
                mac: Mac::from_u64(0xfedc_dead_beef),
            };
            assert_eq!(Record::unpack(record.pack()), Some(record));
        }
        assert_eq!(Record::unpack([0; 3]), None);
    }
}
