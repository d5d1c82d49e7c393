//! What a router says of itself, to be written (RFC 4861 §4.2).

use super::{PREFIX_INFORMATION, Prefix, RouterAdvertisement, SOURCE_LINK_LAYER};
use crate::{Mac, icmp6};
use std::net::Ipv6Addr;

/// Route information (RFC 4191 §2.3).
const ROUTE_INFORMATION: u8 = 24;

/// Before the options.
const FIXED: usize = 16;

/// Of a prefix information option.
const PREFIX: usize = 32;

/// A router advertisement with the router's Ethernet address, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router<'a> {
    /// What it says of itself.
    pub router: RouterAdvertisement,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Whether it says besides that it is a default router for ever: a route information option for `::/0` (RFC 4191), which
    /// outlives the 18 hours at most of [`RouterAdvertisement::lifetime`].
    pub for_ever: bool,
    /// Prefixes of the link.
    pub prefixes: &'a [Prefix],
}

impl Router<'_> {
    /// How many bytes it takes, from the ICMPv6 header on.
    pub const fn len(&self) -> usize {
        let route = if self.for_ever { 8 } else { 0 };
        FIXED + 8 + route + PREFIX * self.prefixes.len()
    }

    /// It always takes some.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes it to the start of `to`, with the checksum between these addresses. `None` if `to` is shorter than
    /// [`len`](Self::len).
    pub fn write(&self, source: Ipv6Addr, destination: Ipv6Addr, to: &mut [u8]) -> Option<()> {
        let octets = to.get_mut(..self.len())?;
        let (fixed, rest) = octets.split_first_chunk_mut::<FIXED>()?;
        let router = &self.router;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let [l0, l1] = router.lifetime.to_be_bytes();
        let [r0, r1, r2, r3] = router.reachable.to_be_bytes();
        let [t0, t1, t2, t3] = router.retransmit.to_be_bytes();
        let kind = icmp6::ROUTER_ADVERTISEMENT;
        let flags = flag(router.managed, 0x80) | flag(router.other, 0x40);
        *fixed = [
            kind,
            0,
            0,
            0,
            router.hop_limit,
            flags,
            l0,
            l1,
            r0,
            r1,
            r2,
            r3,
            t0,
            t1,
            t2,
            t3,
        ];
        let (mac, mut rest) = rest.split_first_chunk_mut::<8>()?;
        let [a, b, c, d, e, f] = self.mac.octets();
        *mac = [SOURCE_LINK_LAYER, 1, a, b, c, d, e, f];
        if self.for_ever {
            let route;
            (route, rest) = rest.split_first_chunk_mut::<8>()?;
            *route = [ROUTE_INFORMATION, 1, 0, 0, 0xff, 0xff, 0xff, 0xff];
        }
        for (to, prefix) in rest
            .as_chunks_mut::<PREFIX>()
            .0
            .iter_mut()
            .zip(self.prefixes)
        {
            write_prefix(to, prefix);
        }
        let mut sum = icmp6::pseudo(source, destination, octets.len());
        sum.add(octets);
        let [c0, c1] = sum.finish().to_be_bytes();
        let [_, _, s0, s1, ..] = octets.first_chunk_mut::<FIXED>()?;
        [*s0, *s1] = [c0, c1];
        Some(())
    }
}

fn write_prefix(to: &mut [u8; PREFIX], prefix: &Prefix) {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let [
        kind,
        units,
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
        reserved @ ..,
    ] = to;
    *kind = PREFIX_INFORMATION;
    *units = 4;
    *length = prefix.length;
    *flags = flag(prefix.on_link, 0x80) | flag(prefix.autonomous, 0x40);
    [*v0, *v1, *v2, *v3] = prefix.valid.to_be_bytes();
    [*p0, *p1, *p2, *p3] = prefix.preferred.to_be_bytes();
    let [_, _, _, _, address @ ..] = reserved;
    *address = prefix.prefix.octets();
    if let Some(zero) = reserved.first_chunk_mut::<4>() {
        *zero = [0; 4];
    }
}
