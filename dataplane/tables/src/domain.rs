//! A VM network as a router sees it, in either family: which addresses are the switch's own, which prefixes are the
//! network's, and where the rest goes.

use crate::endpoints::Tag;
use crate::ids::DomainId;
use std::cmp::Reverse;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_wire::Mac;

/// The MAC of the gateway of every virtual subnet on every host, so that a VM that moves keeps its ARP entry. Locally
/// administered; no vNIC may have it.
pub const GATEWAY_MAC: Mac = Mac::new([0x02, b'W', b'E', b'I', b'R', 0x01]);

/// The gateway's link-local address in every virtual subnet: what a router advertises itself by (RFC 4861 §6.1.2).
pub const GATEWAY_LINK_LOCAL: Ipv6Addr = GATEWAY_MAC.link_local();

/// A routing domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its index.
    pub id: DomainId,
    /// What covers its IPv6 addresses in the table of records.
    pub tag: Tag,
    /// Whether records and endpoints on other hosts come here only when somebody sends to them: a miss is a question then.
    pub on_miss: bool,
    /// Its IPv4.
    pub v4: Reach<Ipv4Addr>,
    /// Its IPv6.
    pub v6: Reach<Ipv6Addr>,
}

/// An address of either family, by its bits.
pub trait Address: Copy + Ord + Debug + Into<IpAddr> {
    /// How many bits it has.
    const BITS: u8;
    /// Its bits, the first of them in the highest place of 128.
    fn bits(self) -> u128;
}

impl Address for Ipv4Addr {
    const BITS: u8 = 32;
    fn bits(self) -> u128 {
        u128::from(u32::from(self)) << 96
    }
}

impl Address for Ipv6Addr {
    const BITS: u8 = 128;
    fn bits(self) -> u128 {
        u128::from(self)
    }
}

/// A prefix of a routing domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<A = Ipv4Addr> {
    /// The prefix's network address.
    pub network: A,
    /// Bits of it that count, 0 to 32 or 128.
    pub length: u8,
    /// Lowest wins among routes of one prefix (protocols: customer route).
    pub metric: u32,
    /// What to do with a packet for it.
    pub hop: Hop<A>,
}

/// Where a prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop<A = Ipv4Addr> {
    /// One of the domain's own subnets: an address there has a record, or nobody has it.
    Connected,
    /// Behind a vNIC with this customer address.
    Via(A),
}

impl<A: Address> Route<A> {
    /// The same of no family in particular, to be shown.
    pub fn of_any(self) -> Route<IpAddr> {
        Route {
            network: self.network.into(),
            length: self.length,
            metric: self.metric,
            hop: match self.hop {
                Hop::Connected => Hop::Connected,
                Hop::Via(next) => Hop::Via(next.into()),
            },
        }
    }

    fn prefix(&self) -> u128 {
        self.network.bits() & mask(self.length)
    }
}

/// The first `length` of 128 bits.
fn mask(length: u8) -> u128 {
    let behind = 128_u32.saturating_sub(u32::from(length));
    u128::MAX.checked_shl(behind).unwrap_or(0)
}

/// What a routing domain has of one family: its gateways and its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach<A> {
    /// In order.
    gateways: Box<[A]>,
    /// The longest prefix first, those of a length in the order of their bits.
    routes: Box<[Route<A>]>,
    /// Each length that a route has, the longest first, and how many routes are of it.
    lengths: Box<[(u8, usize)]>,
}

impl<A> Default for Reach<A> {
    fn default() -> Self {
        Reach {
            gateways: [].into(),
            routes: [].into(),
            lengths: [].into(),
        }
    }
}

impl<A: Address> Reach<A> {
    /// These gateways and routes. Of one prefix a connected subnet wins, then the lowest metric.
    pub fn new(gateways: &[A], mut routes: Vec<Route<A>>) -> Self {
        let mut gateways = gateways.to_vec();
        gateways.sort_unstable();
        routes.sort_by_key(|route| {
            let learned = !matches!(route.hop, Hop::Connected);
            (Reverse(route.length), route.prefix(), learned, route.metric)
        });
        routes.dedup_by_key(|route| (route.length, route.prefix()));
        let lengths = routes.chunk_by(|a, b| a.length == b.length);
        let lengths = lengths.filter_map(|some| Some((some.first()?.length, some.len())));
        Reach {
            gateways: gateways.into(),
            lengths: lengths.collect(),
            routes: routes.into(),
        }
    }

    /// The switch's own addresses: the gateways of all subnets, in order.
    pub fn gateways(&self) -> &[A] {
        &self.gateways
    }

    /// Whether an address is the switch's own.
    pub fn is_gateway(&self, address: A) -> bool {
        self.gateways.binary_search(&address).is_ok()
    }

    /// All routes, the longest prefix first.
    pub fn routes(&self) -> &[Route<A>] {
        &self.routes
    }

    /// Where an address without a record is: the longest prefix wins. A binary search a length that some route has:
    /// a few in an honest network, 33 or 129 in any.
    pub fn route(&self, to: A) -> Option<Route<A>> {
        let mut rest = &*self.routes;
        for &(length, count) in &self.lengths {
            let (of_length, shorter) = rest.split_at_checked(count)?;
            rest = shorter;
            let wanted = to.bits() & mask(length);
            if let Ok(at) = of_length.binary_search_by_key(&wanted, Route::prefix) {
                return of_length.get(at).copied();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(network: [u8; 4], length: u8, metric: u32, hop: Hop) -> Route {
        Route {
            network: network.into(),
            length,
            metric,
            hop,
        }
    }

    #[test]
    fn the_longest_prefix_wins_then_connected_then_the_lowest_metric() {
        let via = |last| Hop::Via(Ipv4Addr::new(10, 1, 0, last));
        let reach = Reach::new(
            &[[10, 1, 0, 1].into(), [10, 0, 0, 1].into()],
            vec![
                route([0, 0, 0, 0], 0, 10, via(254)),
                route([0, 0, 0, 0], 0, 5, via(253)),
                route([10, 1, 0, 0], 24, 9, Hop::Connected),
                route([10, 1, 0, 0], 24, 1, via(1)),
                route([10, 9, 0, 0], 16, 7, via(2)),
                route([10, 9, 9, 9], 32, 7, via(3)),
            ],
        );
        let to = |address: [u8; 4]| reach.route(address.into()).map(|route| route.hop);
        assert_eq!(to([8, 8, 8, 8]), Some(via(253)));
        assert_eq!(to([10, 1, 0, 77]), Some(Hop::Connected));
        assert_eq!(to([10, 9, 1, 1]), Some(via(2)));
        assert_eq!(to([10, 9, 9, 9]), Some(via(3)));
        assert_eq!(
            Reach::<Ipv4Addr>::default().route([8, 8, 8, 8].into()),
            None
        );
        assert!(reach.is_gateway([10, 0, 0, 1].into()) && reach.is_gateway([10, 1, 0, 1].into()));
        assert!(!reach.is_gateway([10, 1, 0, 2].into()));
    }

    /// Of all routes that cover an address, bit by bit: the longest, then connected, then the lowest metric.
    fn oracle<A: Address>(routes: &[Route<A>], to: A) -> Option<(u8, bool, u32)> {
        let covers = |route: &&Route<A>| {
            (0..route.length).all(|bit| {
                let bit = |address: A| address.bits() >> (127 - bit) & 1;
                bit(route.network) == bit(to)
            })
        };
        let rank = |route: &Route<A>| {
            let learned = !matches!(route.hop, Hop::Connected);
            (Reverse(route.length), learned, route.metric)
        };
        let best = routes.iter().filter(covers).map(rank).min();
        best.map(|(Reverse(length), learned, metric)| (length, learned, metric))
    }

    fn agrees<A: Address>(
        near: u8,
        drawn: Vec<(u128, u8, u32, bool)>,
        to: u128,
        of: fn(u128) -> A,
    ) {
        // Many share their first bits, so that prefixes nest.
        let bits = |word: u128| word & (mask(A::BITS) >> (near % A::BITS));
        let to = of(bits(to));
        let routes = drawn
            .into_iter()
            .map(|(network, length, metric, connected)| {
                let length = length % (A::BITS + 1);
                let hop = match connected {
                    true => Hop::Connected,
                    // Tells which route it is.
                    false => Hop::Via(of(u128::from(length) << 96 | u128::from(metric) << 100)),
                };
                // Host bits are not looked at.
                let network = of(bits(network));
                Route {
                    network,
                    length,
                    metric,
                    hop,
                }
            });
        let routes: Vec<_> = routes.collect();
        let wanted = oracle(&routes, to);
        let hop = Reach::new(&[], routes).route(to).map(|route| route.hop);
        let wanted = wanted.map(|(length, learned, metric)| match learned {
            false => Hop::Connected,
            true => Hop::Via(of(u128::from(length) << 96 | u128::from(metric) << 100)),
        });
        assert_eq!(hop, wanted);
    }

    proptest! {
        #[test]
        fn a_route_is_the_slow_oracles(
            drawn in prop::collection::vec((any::<u128>(), any::<u8>(), 0..3_u32, any::<bool>()), 0..40),
            to in any::<u128>(),
            near in any::<u8>(),
        ) {
            agrees(near, drawn.clone(), to, |bits| Ipv4Addr::from((bits >> 96) as u32));
            agrees(near, drawn, to, Ipv6Addr::from);
        }
    }
}
