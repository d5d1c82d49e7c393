//! A VM network as a router sees it: which prefixes are its own, and where the rest goes.

use crate::ids::DomainId;
use std::net::Ipv4Addr;
use weir_wire::Mac;

/// The MAC of the gateway of every virtual subnet on every host, so that a VM that moves keeps its ARP entry. Locally
/// administered; no vNIC may have it.
pub const GATEWAY_MAC: Mac = Mac::new([0x02, b'W', b'E', b'I', b'R', 0x01]);

/// A routing domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its index.
    pub id: DomainId,
    /// The switch's own addresses: the gateways of all its subnets.
    pub gateways: Box<[Ipv4Addr]>,
    /// Whether records and endpoints on other hosts come here only when somebody sends to them: a miss is a question then.
    pub on_miss: bool,
    routes: Box<[Route]>,
}

/// A prefix of a routing domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix's network address.
    pub network: Ipv4Addr,
    /// Bits of it that count, 0 to 32.
    pub length: u8,
    /// Lowest wins among routes of one prefix (protocols: customer route).
    pub metric: u32,
    /// What to do with a packet for it.
    pub hop: Hop,
}

/// Where a prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// One of the domain's own subnets: an address there has a record, or nobody has it.
    Connected,
    /// Behind a vNIC with this customer address.
    Via(Ipv4Addr),
}

impl Route {
    fn mask(&self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.length))
            .unwrap_or(0)
    }
}

impl Domain {
    /// A domain with these gateways and routes. Of one prefix a connected subnet wins, then the lowest metric.
    pub fn new(id: DomainId, gateways: &[Ipv4Addr], mut routes: Vec<Route>) -> Domain {
        routes.sort_by_key(|route| {
            let learned = route.hop != Hop::Connected;
            (
                std::cmp::Reverse(route.length),
                route.network,
                learned,
                route.metric,
            )
        });
        routes.dedup_by_key(|route| (route.length, route.network));
        Domain {
            id,
            gateways: gateways.into(),
            on_miss: false,
            routes: routes.into(),
        }
    }

    /// All routes, the longest prefix first.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Where an address without a record is: the longest prefix wins. Asked by the slow lane alone; walks all routes.
    pub fn route(&self, to: Ipv4Addr) -> Option<Route> {
        let covers =
            |route: &&Route| (u32::from(route.network) ^ u32::from(to)) & route.mask() == 0;
        self.routes.iter().find(covers).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let domain = Domain::new(
            DomainId(0),
            &[],
            vec![
                route([0, 0, 0, 0], 0, 10, via(254)),
                route([0, 0, 0, 0], 0, 5, via(253)),
                route([10, 1, 0, 0], 24, 9, Hop::Connected),
                route([10, 1, 0, 0], 24, 1, via(1)),
                route([10, 9, 0, 0], 16, 7, via(2)),
                route([10, 9, 9, 9], 32, 7, via(3)),
            ],
        );
        let to = |address: [u8; 4]| domain.route(address.into()).map(|route| route.hop);
        assert_eq!(to([8, 8, 8, 8]), Some(via(253)));
        assert_eq!(to([10, 1, 0, 77]), Some(Hop::Connected));
        assert_eq!(to([10, 9, 1, 1]), Some(via(2)));
        assert_eq!(to([10, 9, 9, 9]), Some(via(3)));
        assert_eq!(
            Domain::new(DomainId(0), &[], vec![]).route([8, 8, 8, 8].into()),
            None
        );
    }
}
