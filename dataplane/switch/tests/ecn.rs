//! RFC 6040: tunnelling of explicit congestion notification, and DSCP beside it.

use std::net::{IpAddr, Ipv4Addr};
use weir_switch::testing::frames::{self, Field};
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, World};
use weir_tables::ids::VnicId;
use weir_tables::reason::Reason;
use weir_wire::ipv4::{self, Ipv4};
use weir_wire::{Mac, checksum};

const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const C: Mac = Mac::new([2, 0, 0, 0, 1, 3]);
const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const CA_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const NOT_ECT: u8 = 0;
const ECT1: u8 = 1;
const ECT0: u8 = 2;
const CE: u8 = 3;
const ALL: [u8; 4] = [NOT_ECT, ECT1, ECT0, CE];

fn blue(vlan: Option<u16>) -> (World, VnicId) {
    let mut world = World::new(64, vlan);
    let segment = world.segment(5001);
    let a = world.vnic(segment, A, CA_A);
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(segment, C, CA_C, peer);
    (world, a)
}

/// UDP over IPv4 or IPv6 with this type of service or traffic class.
fn packet(v6: bool, dst: Mac, src: Mac, tos: u8) -> Vec<u8> {
    if !v6 {
        let mut packet = frames::udp((CA_A, 4000), (CA_C, 5000), b"marked");
        ipv4::set_tos(packet.first_chunk_mut().unwrap(), tos);
        return frames::ether(dst, src, 0x0800, &packet);
    }
    let (from, to) = (src.link_local(), dst.link_local());
    let ends = (IpAddr::V6(from), IpAddr::V6(to));
    let l4 = frames::l4(17, ends, (4000, 5000), b"marked", Field::Right);
    let mut packet = frames::ipv6(from, to, 17, &l4);
    packet[0] = 0x60 | tos >> 4;
    packet[1] = packet[1] & 0x0f | tos << 4;
    frames::ether(dst, src, 0x86dd, &packet)
}

/// §4.1: the encapsulator copies the ECN field out, whatever it is; DSCP goes with it.
#[test]
fn what_a_tenant_s_packet_bears_the_outer_header_bears() {
    for vlan in [None, Some(300)] {
        let ip = if vlan.is_some() { 18 } else { 14 };
        for v6 in [false, true] {
            for tos in 0..=255 {
                let (mut world, a) = blue(vlan);
                let sent = packet(v6, C, A, tos);
                world.send(a, &sent);
                let out = world.take().remove(0).1;
                assert_eq!(out[ip + 1], tos);
                assert_eq!(checksum::sum(&out[ip..ip + 20]), 0xffff, "{tos}");
                assert_eq!(out[ip + 28..], sent);
            }
        }
        // What is no IP has neither.
        let (mut world, a) = blue(vlan);
        world.send(a, &frames::ether(C, A, 0x88b5, &[0xff; 46]));
        assert_eq!(world.take()[0].1[ip + 1], 0);
    }
}

/// §4.1 and §4.3: towards what knows no congestion marks the ECN field is zero, whatever it is inside; DSCP goes out all the
/// same. Over both families.
#[test]
fn to_who_does_not_know_marks_the_outer_header_bears_none() {
    for pa in [IpAddr::V4(PA), "fd50::2".parse().unwrap()] {
        for tos in 0..=255 {
            let mut world = World::new(64, None);
            let segment = world.segment(5001);
            let a = world.vnic(segment, A, CA_A);
            let peer = world.legacy_peer(pa, PEER_MAC);
            world.remote(segment, C, CA_C, peer);
            let sent = packet(false, C, A, tos);
            world.send(a, &sent);
            let out = world.take().remove(0).1;
            let outer = match pa {
                IpAddr::V4(_) => out[15],
                IpAddr::V6(_) => out[14] << 4 | out[15] >> 4,
            };
            assert_eq!(outer, tos & 0xfc, "{pa}");
            assert!(out.ends_with(&sent));
        }
    }
}

/// §4.2, figure 4: each of the sixteen, for both families.
#[test]
fn what_the_outer_header_bears_comes_to_the_tenant_s_packet_as_figure_4_says() {
    for (outer, inner, wanted) in ALL.into_iter().flat_map(|outer| {
        ALL.map(|inner| {
            let wanted = match (outer, inner) {
                (CE, NOT_ECT) => None,
                (CE, _) => Some(CE),
                (ECT1, ECT0) => Some(ECT1),
                (_, inner) => Some(inner),
            };
            (outer, inner, wanted)
        })
    }) {
        for v6 in [false, true] {
            let (mut world, _) = blue(None);
            // DSCP of the outer header is the provider network's affair.
            let sent = packet(v6, A, C, 0xb8 | inner);
            let mut tunnelled = frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 7, &sent);
            ipv4::set_tos(tunnelled[14..].first_chunk_mut().unwrap(), 0x28 | outer);
            world.wire(&tunnelled);
            let got = world.take();
            world.assert_conserved();
            let Some(wanted) = wanted else {
                assert_eq!(got, []);
                assert_eq!(world.drops(), [(Reason::EcnNotCapable, 1)]);
                continue;
            };
            assert_eq!(got.len(), 1, "outer {outer}, inner {inner}");
            assert_eq!(got[0].1, packet(v6, A, C, 0xb8 | wanted));
            if !v6 {
                assert!(Ipv4::parse(&got[0].1[14..]).unwrap().checksum_is_right());
            }
        }
    }
}

#[test]
fn a_mark_on_what_is_no_ip_changes_nothing() {
    let (mut world, _) = blue(None);
    let sent = frames::ether(A, C, 0x88b5, &[0; 46]);
    let mut tunnelled = frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 7, &sent);
    ipv4::set_tos(tunnelled[14..].first_chunk_mut().unwrap(), CE);
    world.wire(&tunnelled);
    assert_eq!(world.take()[0].1, sent);
}
