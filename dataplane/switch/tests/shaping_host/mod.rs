//! A host on which bandwidths are kept to: A and B here, C behind a peer, D behind it in another subnet of the same VM network.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::Ipv4Addr;
use weir_switch::testing::HZ;
use weir_switch::testing::world::{PEER_MAC, World};
use weir_tables::bandwidth::{Pace, Promise};
use weir_tables::ids::{DomainId, PeerId, SegmentId, VnicId};
use weir_wire::Mac;

pub const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
pub const B: Mac = Mac::new([2, 0, 0, 0, 1, 2]);
pub const C: Mac = Mac::new([2, 0, 0, 0, 1, 3]);
pub const D: Mac = Mac::new([2, 0, 0, 0, 1, 4]);
pub const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
pub const CA_B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);
pub const CA_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
pub const CA_D: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 14);
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub const GATEWAY_2: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
pub const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

pub fn mbit(rate: u64) -> Pace {
    Pace::of(rate * 1_000_000, HZ)
}

/// A maximum of what it sends, in Mbit/s.
pub fn max(rate: u64) -> Promise {
    Promise {
        max: mbit(rate),
        ..Promise::default()
    }
}

pub struct Host {
    pub world: World,
    pub domain: DomainId,
    pub segment: SegmentId,
    pub peer: PeerId,
    pub a: VnicId,
    pub b: VnicId,
}

pub fn host() -> Host {
    let mut world = World::new(256, None);
    let domain = world.domain();
    let segment = world.subnet(domain, 5001, GATEWAY);
    let second = world.subnet(domain, 5002, GATEWAY_2);
    let a = world.vnic(segment, A, CA_A);
    let b = world.vnic(segment, B, CA_B);
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(segment, C, CA_C, peer);
    world.remote(second, D, CA_D, peer);
    Host {
        world,
        domain,
        segment,
        peer,
        a,
        b,
    }
}

impl Host {
    /// Time passes, turn by turn.
    pub fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds * 2 {
            self.world.wait(HZ / 2000);
        }
        self.world.assert_conserved();
    }
}
