//! The exact-match questions of the path and how their keys and values are packed.
//!
//! | table | key | value | asked by |
//! |---|---|---|---|
//! | [`Endpoints`] | segment ‖ MAC | where it lives: a vNIC here or a peer | every packet |
//! | [`Records`] | routing domain ‖ IPv4 | its [`Record`]: segment, MAC, where it lives | routed packets, ARP |
//! | [`Records6`] | IPv6 under the tag of the routing domain | the same | the same |
//! | [`Rewritten`] | IPv4 provider address of a vNIC | its [`Customer`]: where it lives, routing domain, customer address | rewritten packets from the wire |
//! | [`Rewritten6`] | IPv6 provider address of a vNIC | the same | the same |
//! | [`PeerAddresses`] | IPv4 provider address | its peer | every packet from the wire |
//! | [`PeerAddresses6`] | IPv6 provider address | its peer | the same |
//!
//! No key is 0: a MAC of a vNIC is never zero, the others carry a mark, and see [`Tag`] and [`peer6_key`].

use crate::addresses::Short;
use crate::exact::{self, Exact};
use crate::ids::{DomainId, PeerId, SegmentId, VnicId};
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_wire::Mac;

/// (segment, MAC) → [`Target`], five a cache line.
pub type Endpoints = Exact<5, 1>;
/// (routing domain, IPv4 CA) → [`Record`], three a cache line.
pub type Records = Exact<3, 3>;
/// (routing domain, IPv6 CA) → [`Record`], two a cache line.
pub type Records6 = Exact<2, 3, 2>;
/// IPv4 PA → [`PeerId`], five a cache line.
pub type PeerAddresses = Exact<5, 1>;
/// IPv6 PA → [`PeerId`], three a cache line.
pub type PeerAddresses6 = Exact<3, 1, 2>;

/// Where an endpoint lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// On this host.
    Local(VnicId),
    /// Behind another host's provider address.
    Remote(PeerId),
    /// By a provider address of its own, on this peer's host.
    Rewritten(PeerId),
}

/// What is here is marked in [`Endpoints`]: most senders on the wire are told from it without a lookup.
const LOCAL: u32 = exact::MARK;
const REWRITTEN: u32 = 1 << 30;

impl Target {
    /// The 4-byte value: bit 31 says local, bit 30 of another host's rewritten, the rest is the index plus one, so that 0 is
    /// no value.
    #[inline(always)]
    pub fn pack(self) -> u32 {
        match self {
            Target::Local(VnicId(i)) => LOCAL | (i + 1),
            Target::Remote(PeerId(i)) => i + 1,
            Target::Rewritten(PeerId(i)) => REWRITTEN | (i + 1),
        }
    }

    /// The target of a packed value; `None` for 0.
    #[inline(always)]
    pub fn unpack(value: u32) -> Option<Target> {
        if value & LOCAL != 0 {
            return Some(Target::Local(VnicId((value & !LOCAL).checked_sub(1)?)));
        }
        let index = PeerId((value & !REWRITTEN).checked_sub(1)?);
        Some(if value & REWRITTEN != 0 {
            Target::Rewritten(index)
        } else {
            Target::Remote(index)
        })
    }
}

/// The peer of a packed [`Target::Remote`]; of another value one that there is not, as peers are fewer than 2^30.
#[inline(always)]
pub fn remote_peer(value: u32) -> PeerId {
    PeerId(value.wrapping_sub(1))
}

/// The peer of a packed [`Target::Rewritten`]; of another value one that there is not.
#[inline(always)]
pub fn rewritten_peer(value: u32) -> PeerId {
    PeerId(value.wrapping_sub(REWRITTEN + 1))
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

/// What a routing domain's IPv6 addresses are covered with to become keys of [`Records6`]: 16 bits of domain beside 128 of
/// address would be a third word.
///
/// A tag is random and secret, so that tenants who use the same addresses, or choose them, do not meet at one key. What
/// happens if two do all the same is that one of them is without a record: a reader asks of what it finds whether it is of its
/// own domain ([`Record::segment`]'s), so that isolation does not rest on tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u128);

impl Tag {
    /// Of a random number. The first eight bits are set: those of an address that is one host's never are (RFC 4291 §2.4: it
    /// would be multicast), so that the first word of its key is not 0.
    pub const fn new(random: u128) -> Tag {
        Tag(random | 0xff << 120)
    }
}

/// Key of [`Records6`]. Of a multicast address it may be one that is never found.
#[inline(always)]
pub fn record6_key(tag: Tag, ca: Ipv6Addr) -> [u64; 2] {
    let covered = u128::from(ca) ^ tag.0;
    [(covered >> 64) as u64, covered as u64]
}

/// What is known of a customer address: all that a router needs to send a packet there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where its vNIC lives.
    pub target: Target,
    /// Its virtual subnet.
    pub segment: SegmentId,
    /// Its MAC; of a [`Target::Rewritten`], whose MAC no other host needs, [`Record::pa`] is in its place.
    pub mac: Mac,
}

impl Record {
    /// The record of a vNIC on another host that has a provider address of its own.
    pub fn rewritten(host: PeerId, segment: SegmentId, pa: Short) -> Record {
        Record {
            target: Target::Rewritten(host),
            segment,
            mac: Mac::from_u64(u64::from(pa.0)),
        }
    }

    /// The provider address of a [`Target::Rewritten`], of the family of its customer address; of another target it means
    /// nothing.
    #[inline(always)]
    pub fn pa(self) -> Short {
        Short(self.mac.to_u64() as u32)
    }

    /// The 12-byte value: target, segment ‖ upper 16 bits of the MAC, lower 32.
    #[inline(always)]
    pub fn pack(self) -> [u32; 3] {
        let mac = self.mac.to_u64();
        let upper = u32::from(self.segment.0) << 16 | (mac >> 32) as u32;
        [self.target.pack(), upper, mac as u32]
    }

    /// The record of a packed value; `None` for zeroes.
    #[inline(always)]
    pub fn unpack(packed: [u32; 3]) -> Option<Record> {
        let [target, ..] = packed;
        let (segment, mac) = Record::unpack_rest(packed);
        Some(Record {
            target: Target::unpack(target)?,
            segment,
            mac,
        })
    }

    /// Segment and MAC of a packed value whose target is known to be one.
    #[inline(always)]
    pub fn unpack_rest([_, upper, lower]: [u32; 3]) -> (SegmentId, Mac) {
        let mac = u64::from(upper & 0xffff) << 32 | u64::from(lower);
        (SegmentId((upper >> 16) as u16), Mac::from_u64(mac))
    }

    /// Segment and [`Record::pa`] of a packed [`Target::Rewritten`].
    #[inline(always)]
    pub fn unpack_pa([_, upper, lower]: [u32; 3]) -> (SegmentId, Short) {
        (SegmentId((upper >> 16) as u16), Short(lower))
    }
}

/// Whom a frame is for, where it has no record here: what is asked of the policy store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// A MAC of a virtual subnet.
    Mac(SegmentId, Mac),
    /// An IPv4 customer address of a VM network.
    V4(DomainId, Ipv4Addr),
    /// An IPv6 customer address of a VM network.
    V6(DomainId, Ipv6Addr),
}

impl Destination {
    /// The same in three words, no two destinations alike.
    pub fn words(self) -> [u64; 3] {
        match self {
            Destination::Mac(segment, mac) => [u64::from(segment.0), mac.to_u64(), 0],
            Destination::V4(domain, ca) => {
                [1 << 32 | u64::from(domain.0), u64::from(ca.to_bits()), 0]
            }
            Destination::V6(domain, ca) => {
                let bits = ca.to_bits();
                [
                    2 << 32 | u64::from(domain.0),
                    (bits >> 64) as u64,
                    bits as u64,
                ]
            }
        }
    }
}

/// IPv4 PA of a vNIC → [`Customer`], three a cache line.
pub type Rewritten = Exact<3, 3>;

/// IPv6 PA of a vNIC → [`Customer`], two a cache line.
pub type Rewritten6 = Exact<2, 3, 2>;

/// Key of [`Rewritten6`]: the address itself, as of [`peer6_key`].
#[inline(always)]
pub fn rewritten6_key(pa: Ipv6Addr) -> [u64; 2] {
    peer6_key(pa)
}

/// Key of [`Rewritten`]: a mark, 32 bits of address. A provider address is one vNIC's in all VM networks.
#[inline(always)]
pub fn rewritten_key(pa: Ipv4Addr) -> u64 {
    1 << 32 | u64::from(u32::from(pa))
}

/// Whose a provider address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Customer {
    /// Where the vNIC lives: here, or rewritten on another host.
    pub target: Target,
    /// Its VM network.
    pub domain: DomainId,
    /// The customer address of the same family that this provider address stands for.
    pub ca: Short,
}

impl Customer {
    /// The 12-byte value: target, domain, address.
    #[inline(always)]
    pub fn pack(self) -> [u32; 3] {
        [self.target.pack(), u32::from(self.domain.0), self.ca.0]
    }

    /// The customer of a packed value; `None` for zeroes.
    #[inline(always)]
    pub fn unpack([target, domain, ca]: [u32; 3]) -> Option<Customer> {
        Some(Customer {
            target: Target::unpack(target)?,
            domain: DomainId(domain as u16),
            ca: Short(ca),
        })
    }
}

/// Key of [`PeerAddresses`].
#[inline(always)]
pub fn peer_key(pa: Ipv4Addr) -> u64 {
    1 << 32 | u64::from(u32::from(pa))
}

/// Key of [`PeerAddresses6`]: the address itself. One that starts with eight bytes of 0 is never found; policies are refused
/// such provider addresses (RFC 4291 §2.4: ::/8 is reserved).
#[inline(always)]
pub fn peer6_key(pa: Ipv6Addr) -> [u64; 2] {
    let address = u128::from(pa);
    [(address >> 64) as u64, address as u64]
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
            Target::Rewritten(PeerId(0)),
            Target::Rewritten(PeerId((1 << 30) - 2)),
        ] {
            assert_eq!(Target::unpack(target.pack()), Some(target));
        }
        for value in [
            0,
            LOCAL,
            LOCAL | 1,
            REWRITTEN,
            REWRITTEN | 1,
            LOCAL | REWRITTEN | 1,
        ] {
            assert!(remote_peer(value).0 >= REWRITTEN - 1, "{value:x}");
        }
        for value in [
            0,
            1,
            REWRITTEN - 1,
            LOCAL,
            LOCAL | 1,
            REWRITTEN,
            LOCAL | REWRITTEN | 1,
        ] {
            assert!(rewritten_peer(value).0 >= REWRITTEN - 1, "{value:x}");
        }
        let packed = [Target::Remote(PeerId(7)), Target::Rewritten(PeerId(7))].map(Target::pack);
        assert_eq!(remote_peer(packed[0]), PeerId(7));
        assert_eq!(rewritten_peer(packed[1]), PeerId(7));
        assert_eq!(Target::unpack(0), None);
        assert_eq!(Target::unpack(LOCAL), None);
        assert_eq!(Target::unpack(REWRITTEN), None);
    }

    #[test]
    fn no_key_of_one_hosts_address_starts_with_zero() {
        for high in 0..=0xfe_u128 {
            let address = Ipv6Addr::from(high << 120 | 7);
            for random in [0, high << 120, u128::MAX, u128::from(address)] {
                let [first, _] = record6_key(Tag::new(random), address);
                assert_ne!(first, 0, "{address} {random:x}");
            }
        }
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
        let pa = Short::from(Ipv4Addr::new(192, 168, 60, 255));
        let record = Record::rewritten(PeerId(3), SegmentId(9), pa);
        assert_eq!(Record::unpack(record.pack()).map(Record::pa), Some(pa));
        assert_eq!(Record::unpack_pa(record.pack()), (SegmentId(9), pa));
    }

    #[test]
    fn customers_survive_packing_and_zeroes_are_none() {
        for target in [Target::Local(VnicId(7)), Target::Rewritten(PeerId(0))] {
            let customer = Customer {
                target,
                domain: DomainId(0xfffe),
                ca: Ipv4Addr::new(10, 1, 0, 255).into(),
            };
            assert_eq!(Customer::unpack(customer.pack()), Some(customer));
        }
        assert_eq!(Customer::unpack([0; 3]), None);
    }
}
