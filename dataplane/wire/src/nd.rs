//! Neighbour discovery (RFC 4861): the four messages of hosts and routers, and their options.
//!
//! What stands outside the message is the caller's to check (RFC 4861 §6.1, §7.1): the hop limit is
//! [`HOP_LIMIT`], and the checksum is right.

mod advertise;

pub use advertise::Router;

use crate::icmp6::{self, Icmp6};
use crate::{Mac, Malformed};
use std::net::Ipv6Addr;

/// The hop limit of every message: what a router let through has less.
pub const HOP_LIMIT: u8 = 255;

/// Options that a message may have: more than any honest one has, and a bound on work.
pub const MAX_OPTIONS: usize = 32;

/// Bytes of a solicitation or advertisement of a neighbour with one link-layer address.
pub const NEIGHBOR_LEN: usize = 32;

/// Source link-layer address (RFC 4861 §4.6.1).
const SOURCE_LINK_LAYER: u8 = 1;
/// Target link-layer address (RFC 4861 §4.6.1).
const TARGET_LINK_LAYER: u8 = 2;
/// Prefix information (RFC 4861 §4.6.2).
const PREFIX_INFORMATION: u8 = 3;
/// MTU (RFC 4861 §4.6.4).
const MTU: u8 = 5;

/// What a neighbour advertisement says of itself (RFC 4861 §4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender is a router.
    pub const ROUTER: Self = Flags(0x80);
    /// It answers a solicitation.
    pub const SOLICITED: Self = Flags(0x40);
    /// It overrides what a cache has.
    pub const OVERRIDE: Self = Flags(0x20);

    /// Both of two.
    pub const fn with(self, other: Self) -> Self {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a router says of itself and its link (RFC 4861 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Hop limit for hosts to use; 0 says nothing.
    pub hop_limit: u8,
    /// Addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Other things are to be had by DHCPv6.
    pub other: bool,
    /// For how many seconds it is a default router; 0: it is none.
    pub lifetime: u16,
    /// For how many milliseconds a neighbour is believed reachable; 0 says nothing.
    pub reachable: u32,
    /// Milliseconds between solicitations; 0 says nothing.
    pub retransmit: u32,
}

/// A prefix of the link (RFC 4861 §4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix; its bits from `length` on are to be ignored.
    pub prefix: Ipv6Addr,
    /// Bits of it that count, as it stands there: more than 128 makes no sense.
    pub length: u8,
    /// Addresses with it are on the link.
    pub on_link: bool,
    /// Hosts may make addresses of it (RFC 4862).
    pub autonomous: bool,
    /// For how many seconds it is on the link; all ones: for ever.
    pub valid: u32,
    /// For how many seconds addresses made of it are preferred; all ones: for ever.
    pub preferred: u32,
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdOption<'a> {
    /// The sender's Ethernet address.
    SourceLinkLayer(Mac),
    /// The target's Ethernet address.
    TargetLinkLayer(Mac),
    /// A prefix of the link.
    Prefix(Prefix),
    /// The link's MTU in bytes.
    Mtu(u32),
    /// Another, or one of a length that is not its own, which is to be ignored (RFC 4861 §4.6).
    Other {
        /// Its type.
        kind: u8,
        /// What lies behind type and length.
        body: &'a [u8],
    },
}

/// A message's options, known to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

/// The first option's type and body, and what follows it.
#[inline]
fn first_option(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Malformed> {
    let [kind, units] = *bytes.first_chunk().ok_or(Malformed::Truncated)?;
    // RFC 4861 §4.6: in 8-octet units, type and length counted; a packet with a 0 is discarded.
    let length = usize::from(units) * 8;
    let (option, rest) = bytes.split_at_checked(length).ok_or(Malformed::Truncated)?;
    let body = option.get(2..).ok_or(Malformed::HeaderLength)?;
    Ok((kind, body, rest))
}

impl<'a> Options<'a> {
    /// Reads what lies behind a message's fixed part, all of it.
    ///
    /// [`Malformed::Truncated`] if the last one is not whole, [`Malformed::HeaderLength`] if one's length is
    /// 0 (RFC 4861 §4.6) or there are more than [`MAX_OPTIONS`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        for _ in 0..MAX_OPTIONS {
            if rest.is_empty() {
                return Ok(Options(bytes));
            }
            (_, _, rest) = first_option(rest)?;
        }
        match rest {
            [] => Ok(Options(bytes)),
            _ => Err(Malformed::HeaderLength),
        }
    }

    /// One after another: at most [`MAX_OPTIONS`].
    pub fn iter(&self) -> impl Iterator<Item = NdOption<'a>> + Clone + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (kind, body, after) = first_option(rest).ok()?;
            rest = after;
            Some(read_option(kind, body))
        })
    }

    /// The sender's Ethernet address, if it is said.
    pub fn source_mac(&self) -> Option<Mac> {
        self.iter().find_map(|option| match option {
            NdOption::SourceLinkLayer(mac) => Some(mac),
            _ => None,
        })
    }

    /// The target's Ethernet address, if it is said.
    pub fn target_mac(&self) -> Option<Mac> {
        self.iter().find_map(|option| match option {
            NdOption::TargetLinkLayer(mac) => Some(mac),
            _ => None,
        })
    }
}

#[inline]
fn read_option(kind: u8, body: &[u8]) -> NdOption<'_> {
    match (kind, body) {
        // RFC 2464 §6: an Ethernet address fills one unit.
        (SOURCE_LINK_LAYER, &[a, b, c, d, e, f]) => {
            NdOption::SourceLinkLayer(Mac::new([a, b, c, d, e, f]))
        }
        (TARGET_LINK_LAYER, &[a, b, c, d, e, f]) => {
            NdOption::TargetLinkLayer(Mac::new([a, b, c, d, e, f]))
        }
        (MTU, &[_, _, a, b, c, d]) => NdOption::Mtu(u32::from_be_bytes([a, b, c, d])),
        (PREFIX_INFORMATION, body) => match read_prefix(body) {
            Some(prefix) => NdOption::Prefix(prefix),
            None => NdOption::Other { kind, body },
        },
        _ => NdOption::Other { kind, body },
    }
}

/// `None` if it is not 4 units long (RFC 4861 §4.6.2).
fn read_prefix(body: &[u8]) -> Option<Prefix> {
    let body: &[u8; 30] = body.try_into().ok()?;
    let [
        length,
        flags,
        v0,
        v1,
        v2,
        v3,
        p0,
        p1,
        p2,
        p3,
        _,
        _,
        _,
        _,
        prefix @ ..,
    ] = *body;
    Some(Prefix {
        prefix: Ipv6Addr::from_octets(prefix),
        length,
        on_link: flags & 0x80 != 0,
        autonomous: flags & 0x40 != 0,
        valid: u32::from_be_bytes([v0, v1, v2, v3]),
        preferred: u32::from_be_bytes([p0, p1, p2, p3]),
    })
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A host asks for routers (RFC 4861 §4.1).
    RouterSolicitation {
        /// Perhaps its own address.
        options: Options<'a>,
    },
    /// A router says that it is there.
    RouterAdvertisement {
        /// What it says.
        router: RouterAdvertisement,
        /// Perhaps its own address, the MTU, prefixes.
        options: Options<'a>,
    },
    /// Who has an address, or is it still there (RFC 4861 §4.3)?
    NeighborSolicitation {
        /// The address.
        target: Ipv6Addr,
        /// Perhaps the asker's own address.
        options: Options<'a>,
    },
    /// Who has it (RFC 4861 §4.4).
    NeighborAdvertisement {
        /// What the answer is worth.
        flags: Flags,
        /// The address.
        target: Ipv6Addr,
        /// Perhaps its Ethernet address.
        options: Options<'a>,
    },
}

impl<'a> Message<'a> {
    /// Reads an ICMPv6 message.
    ///
    /// [`Malformed::Unsupported`] of another type, a code other than 0, a multicast target (RFC 4861 §6.1,
    /// §7.1); [`Malformed::Truncated`] below the fixed part's length; as [`Options::parse`] of its options.
    pub fn parse(message: &Icmp6<'a>) -> Result<Self, Malformed> {
        if message.code() != 0 {
            return Err(Malformed::Unsupported);
        }
        let body = message.body();
        match message.kind() {
            icmp6::ROUTER_SOLICITATION => {
                let (_, options) = fixed::<4>(body)?;
                Ok(Message::RouterSolicitation { options })
            }
            icmp6::ROUTER_ADVERTISEMENT => {
                let (fields, options) = fixed::<12>(body)?;
                let [hop_limit, flags, l0, l1, r0, r1, r2, r3, t0, t1, t2, t3] = *fields;
                let router = RouterAdvertisement {
                    hop_limit,
                    managed: flags & 0x80 != 0,
                    other: flags & 0x40 != 0,
                    lifetime: u16::from_be_bytes([l0, l1]),
                    reachable: u32::from_be_bytes([r0, r1, r2, r3]),
                    retransmit: u32::from_be_bytes([t0, t1, t2, t3]),
                };
                Ok(Message::RouterAdvertisement { router, options })
            }
            icmp6::NEIGHBOR_SOLICITATION => {
                let (_, target, options) = neighbor(body)?;
                Ok(Message::NeighborSolicitation { target, options })
            }
            icmp6::NEIGHBOR_ADVERTISEMENT => {
                let (flags, target, options) = neighbor(body)?;
                Ok(Message::NeighborAdvertisement {
                    flags,
                    target,
                    options,
                })
            }
            _ => Err(Malformed::Unsupported),
        }
    }
}

/// The fixed part behind the ICMPv6 header, and the options.
#[inline]
fn fixed<const N: usize>(body: &[u8]) -> Result<(&[u8; N], Options<'_>), Malformed> {
    let (fields, options) = body.split_first_chunk().ok_or(Malformed::Truncated)?;
    Ok((fields, Options::parse(options)?))
}

/// Solicitation and advertisement of a neighbour differ in their flags only.
#[inline]
fn neighbor(body: &[u8]) -> Result<(Flags, Ipv6Addr, Options<'_>), Malformed> {
    let (fields, options) = fixed::<20>(body)?;
    let [flags, _, _, _, target @ ..] = *fields;
    let target = Ipv6Addr::from_octets(target);
    if target.is_multicast() {
        return Err(Malformed::Unsupported);
    }
    // Bits that are no flags are to be ignored (RFC 4861 §4.4).
    Ok((Flags(flags & 0xe0), target, options))
}

/// The multicast group that listens for solicitations of an address (RFC 4291 §2.7.1).
pub const fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// All nodes of a link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The Ethernet address of a multicast group (RFC 2464 §7).
pub const fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac::new([0x33, 0x33, a, b, c, d])
}

/// A neighbour solicitation with the asker's Ethernet address, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Whose Ethernet address is asked for.
    pub target: Ipv6Addr,
    /// The asker's.
    pub mac: Mac,
}

impl Solicitation {
    /// Its bytes, from the ICMPv6 header on, with the checksum between these addresses.
    pub fn octets(&self, source: Ipv6Addr, destination: Ipv6Addr) -> [u8; NEIGHBOR_LEN] {
        let mut octets = [0; NEIGHBOR_LEN];
        let [
            kind,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            target @ ..,
            o0,
            o1,
            a,
            b,
            c,
            d,
            e,
            f,
        ] = &mut octets;
        *kind = icmp6::NEIGHBOR_SOLICITATION;
        *target = self.target.octets();
        [*o0, *o1] = [SOURCE_LINK_LAYER, 1];
        [*a, *b, *c, *d, *e, *f] = self.mac.octets();
        with_checksum(octets, source, destination)
    }
}

/// A neighbour advertisement with the target's Ethernet address, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// What the answer is worth.
    pub flags: Flags,
    /// Whose Ethernet address is said.
    pub target: Ipv6Addr,
    /// That address.
    pub mac: Mac,
}

impl Advertisement {
    /// Its bytes, from the ICMPv6 header on, with the checksum between these addresses.
    pub fn octets(&self, source: Ipv6Addr, destination: Ipv6Addr) -> [u8; NEIGHBOR_LEN] {
        let mut octets = [0; NEIGHBOR_LEN];
        let [
            kind,
            _,
            _,
            _,
            flags,
            _,
            _,
            _,
            target @ ..,
            o0,
            o1,
            a,
            b,
            c,
            d,
            e,
            f,
        ] = &mut octets;
        *kind = icmp6::NEIGHBOR_ADVERTISEMENT;
        *flags = self.flags.0;
        *target = self.target.octets();
        [*o0, *o1] = [TARGET_LINK_LAYER, 1];
        [*a, *b, *c, *d, *e, *f] = self.mac.octets();
        with_checksum(octets, source, destination)
    }
}

/// Fills in the checksum of a message whose checksum field is 0.
fn with_checksum(
    mut octets: [u8; NEIGHBOR_LEN],
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> [u8; NEIGHBOR_LEN] {
    let mut sum = icmp6::pseudo(source, destination, NEIGHBOR_LEN);
    sum.add(&octets);
    let [_, _, c0, c1, ..] = &mut octets;
    [*c0, *c1] = sum.finish().to_be_bytes();
    octets
}

#[cfg(test)]
mod tests;
