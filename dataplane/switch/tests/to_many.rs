//! Broadcast and multicast of virtual subnets (RFC 7637 §4.2): the limit on copies, and provider multicast groups, byte for
//! byte both ways.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use weir_switch::outlet::Event;
use weir_switch::testing::frames::{ether, ipv4, ipv6, nvgre, tag, tenant};
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::ids::{PortId, SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::checksum;
use weir_wire::igmp::{self, ALL_HOSTS, Query};
use weir_wire::ipv4::group_mac;
use weir_wire::{Mac, ipv4 as ip};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 129, 1, 1);
/// RFC 1112 §6.4: the lower 23 bits.
const GROUP_MAC: Mac = Mac::new([1, 0, 0x5e, 1, 1, 1]);
const OTHER: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 2);
const PEER_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const PEER2_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 3);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, 10 + i)
}

/// Blue: 1, 2 and 3 here, 8 and 9 on two other hosts. Red: 1 here. Green has another group.
struct House {
    world: World,
    blue: SegmentId,
    vnics: [VnicId; 3],
    red: VnicId,
}

fn house(group: Option<Ipv4Addr>) -> House {
    let mut world = World::default();
    let peers = [PEER_PA, PEER2_PA].map(|pa| world.peer(pa, Some(PEER_MAC)));
    let [blue, red, green] = [5001, 6001, 7001].map(|vsid| world.segment(vsid));
    let vnics = [1, 2, 3].map(|i| world.vnic(blue, mac(i), ca(i)));
    for (i, peer) in [8, 9].into_iter().zip(peers) {
        world.remote(blue, mac(i), ca(i), peer);
        world.remote(red, mac(i), ca(i), peer);
    }
    let red = world.vnic(red, mac(1), ca(1));
    world.vnic(green, mac(1), ca(1));
    if let Some(group) = group {
        world.group(blue, group);
        world.group(green, OTHER);
    }
    House {
        world,
        blue,
        vnics,
        red,
    }
}

fn to_all(from: u8) -> Vec<u8> {
    tenant(
        Mac::BROADCAST,
        mac(from),
        ca(from),
        ca(2),
        b"to all of blue",
    )
}

fn to_group(to: Ipv4Addr, from: Ipv4Addr, vsid: u32, inner: &[u8]) -> Vec<u8> {
    nvgre((group_mac(to), PEER_MAC), (from, to), vsid, 7, inner)
}

fn query(to: Ipv4Addr, ttl: u8, asks: Query) -> Vec<u8> {
    let mut packet = ipv4(PEER2_PA, to, 2, &asks.octets());
    ip::set_ttl(packet.first_chunk_mut().unwrap(), ttl);
    ether(group_mac(to), PEER_MAC, 0x0800, &packet)
}

const ASKS: Query = Query {
    group: None,
    within: Duration::from_secs(10),
    is_v3: true,
};

impl House {
    fn ports(&self, vnics: &[VnicId]) -> Vec<PortId> {
        vnics
            .iter()
            .map(|&id| self.world.port_of(id).unwrap())
            .collect()
    }

    fn went(&mut self) -> Vec<PortId> {
        self.world.assert_conserved();
        self.world.take().iter().map(|(port, _)| *port).collect()
    }
}

#[test]
fn no_more_copies_than_the_limit_and_one_drop_says_so() {
    // Four others: 2, 3 and two hosts.
    for (limit, drops) in [(1, 1), (2, 1), (3, 1), (4, 0), (5, 0)] {
        let mut house = house(None);
        house.world.limit_copies(house.blue, limit);
        house.world.send(house.vnics[0], &to_all(1));
        let mut all = house.ports(&house.vnics[1..]);
        all.extend([UPLINK_PORT; 2]);
        assert_eq!(house.went(), all[..all.len().min(limit as usize)]);
        let dropped = house.world.drops();
        assert_eq!(dropped.len(), drops, "{limit}");
        assert!(dropped.iter().all(|d| *d == (Reason::CopiesLimit, 1)));
    }
    // From the wire: 1, 2 and 3.
    let mut house = house(None);
    house.world.limit_copies(house.blue, 2);
    let inner = to_all(8);
    house.world.wire(&nvgre(
        (UPLINK_MAC, PEER_MAC),
        (PEER_PA, OWN_PA),
        5001,
        0,
        &inner,
    ));
    assert_eq!(house.went(), house.ports(&house.vnics[..2]));
    assert_eq!(house.world.drops(), [(Reason::CopiesLimit, 1)]);
}

#[test]
fn one_packet_to_the_group_instead_of_one_a_host() {
    let mut house = house(Some(GROUP));
    house.world.send(house.vnics[0], &to_all(1));
    let out = house.world.take();
    let ports: Vec<PortId> = out.iter().map(|o| o.0).collect();
    let mut all = house.ports(&house.vnics[1..]);
    all.push(UPLINK_PORT);
    assert_eq!(ports, all);
    let sent = &out[2].1;
    assert_eq!(group_mac(GROUP), GROUP_MAC);
    assert_eq!(sent[..14], ether(GROUP_MAC, UPLINK_MAC, 0x0800, b"")[..]);
    let header = &sent[14..34];
    assert_eq!(header[6..10], [0x40, 0, 64, 47], "DF, TTL, GRE");
    assert_eq!(header[12..16], OWN_PA.octets());
    assert_eq!(header[16..20], GROUP.octets());
    assert_eq!(checksum::sum(header), 0xffff);
    assert_eq!(sent[34..38], [0x20, 0, 0x65, 0x58]);
    assert_eq!(sent[38..41], 5001_u32.to_be_bytes()[1..]);
    assert_eq!(sent[42..], to_all(1));
    // What is for one goes to its host, and red has no group.
    house.world.send(
        house.vnics[0],
        &tenant(mac(9), mac(1), ca(1), ca(9), b"one"),
    );
    assert_eq!(house.world.take()[0].1[30..34], PEER2_PA.octets());
    house.world.send(house.red, &to_all(1));
    let to: Vec<_> = house
        .world
        .take()
        .iter()
        .map(|o| o.1[30..34].to_vec())
        .collect();
    assert_eq!(to, [PEER_PA.octets(), PEER2_PA.octets()]);
    house.world.assert_conserved();
    assert_eq!(house.world.drops(), []);
}

#[test]
fn what_comes_to_the_group_is_heard_by_the_members() {
    let mut house = house(Some(GROUP));
    let inner = to_all(8);
    house.world.wire(&to_group(GROUP, PEER_PA, 5001, &inner));
    let out = house.world.take();
    assert_eq!(out.len(), 3);
    assert!(out.iter().all(|(_, bytes)| *bytes == inner));
    // A host that sends a copy to each is heard as well.
    house.world.wire(&nvgre(
        (UPLINK_MAC, PEER_MAC),
        (PEER_PA, OWN_PA),
        5001,
        0,
        &inner,
    ));
    assert_eq!(house.went(), house.ports(&house.vnics));
    assert_eq!(house.world.drops(), []);
}

#[test]
fn what_must_not_come_to_the_group_is_refused() {
    let inner = to_all(8);
    let spoiled = |at: usize, to: u8| {
        let mut bytes = to_group(GROUP, PEER_PA, 5001, &inner);
        bytes[at] = to;
        bytes[24..26].copy_from_slice(&[0, 0]);
        let sum = checksum::checksum(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let mut bad_sum = to_group(GROUP, PEER_PA, 5001, &inner);
    bad_sum[25] ^= 1;
    let mut other_mac = to_group(GROUP, PEER_PA, 5001, &inner);
    other_mac[5] = 9;
    let stranger = Ipv4Addr::new(192, 168, 50, 77);
    let cases = [
        (to_group(GROUP, stranger, 5001, &inner), Reason::UnknownPa),
        (to_group(GROUP, OWN_PA, 5001, &inner), Reason::UnknownPa),
        (to_group(GROUP, PEER_PA, 9999, &inner), Reason::UnknownVsid),
        // Red has no group, green another.
        (to_group(GROUP, PEER_PA, 6001, &inner), Reason::WrongGroup),
        (to_group(GROUP, PEER_PA, 7001, &inner), Reason::WrongGroup),
        (to_group(OTHER, PEER_PA, 5001, &inner), Reason::WrongGroup),
        (
            to_group(
                GROUP,
                PEER_PA,
                5001,
                &tenant(mac(1), mac(8), ca(8), ca(1), b"x"),
            ),
            Reason::WrongGroup,
        ),
        (
            to_group(GROUP, PEER_PA, 5001, &to_all(2)),
            Reason::InnerSourceLocal,
        ),
        (
            to_group(Ipv4Addr::new(239, 1, 1, 1), PEER_PA, 5001, &inner),
            Reason::OuterNotOurs,
        ),
        (other_mac, Reason::OuterNotOurs),
        (bad_sum, Reason::OuterMalformed),
        (spoiled(20, 0x20), Reason::OuterFragment),
        (spoiled(23, 17), Reason::OuterProtocol),
        (spoiled(17, 200), Reason::OuterMalformed),
    ];
    for (bytes, reason) in cases {
        let mut house = house(Some(GROUP));
        house.world.wire(&bytes);
        assert_eq!(house.went(), []);
        assert_eq!(house.world.drops(), [(reason, 1)]);
    }
    // Without a group nothing is for one.
    let mut house = house(None);
    house.world.wire(&to_group(GROUP, PEER_PA, 5001, &inner));
    assert_eq!(house.world.drops(), [(Reason::OuterNotOurs, 1)]);
}

#[test]
fn a_routers_question_reaches_control() {
    let mut house = house(Some(GROUP));
    let about = Query {
        group: Some(GROUP),
        is_v3: false,
        ..ASKS
    };
    for (to, asks) in [(ALL_HOSTS, ASKS), (GROUP, about)] {
        house.world.wire(&query(to, 1, asks));
        assert_eq!(house.went(), []);
        let told = Event::Groups {
            uplink: UPLINK,
            query: asks,
        };
        assert_eq!(std::mem::take(&mut house.world.kept.events), [told]);
    }
    assert_eq!(house.world.drops(), []);
    // Over a router, about a group of others, no question at all.
    let report = ipv4(PEER_PA, GROUP, 2, &igmp::report_v2(false, GROUP));
    house.world.wire(&query(ALL_HOSTS, 2, ASKS));
    house
        .world
        .wire(&query(Ipv4Addr::new(239, 9, 9, 9), 1, about));
    house
        .world
        .wire(&ether(GROUP_MAC, PEER_MAC, 0x0800, &report));
    assert_eq!(house.world.kept.events, []);
    assert_eq!(
        house.world.drops(),
        [(Reason::OuterNotOurs, 1), (Reason::OuterProtocol, 2)]
    );
}

#[test]
fn igmp_and_mld_of_tenants_reach_the_other_members() {
    for group in [None, Some(GROUP)] {
        let mut house = house(group);
        let theirs = Ipv4Addr::new(239, 7, 7, 7);
        let report = ipv4(ca(1), theirs, 2, &igmp::report_v2(false, theirs));
        let igmp = ether(group_mac(theirs), mac(1), 0x0800, &report);
        // MLDv2 report from the link-local address, behind a router alert (RFC 3810 §5.2).
        let mut listener = vec![0x3a, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 1];
        listener.extend([4, 0, 0, 0]);
        listener.extend(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 7).octets());
        let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
        let packet = ipv6(mac(1).link_local(), to, 0, &listener);
        let mld = ether(
            Mac::new([0x33, 0x33, 0, 0, 0, 0x16]),
            mac(1),
            0x86dd,
            &packet,
        );
        for frame in [igmp, mld] {
            house.world.send(house.vnics[0], &frame);
            let out = house.world.take();
            let copies = if group.is_some() { 1 } else { 2 };
            let mut all = house.ports(&house.vnics[1..]);
            all.extend(vec![UPLINK_PORT; copies]);
            let ports: Vec<PortId> = out.iter().map(|o| o.0).collect();
            assert_eq!(ports, all);
            for (port, bytes) in out {
                let inner = if port == UPLINK_PORT {
                    &bytes[42..]
                } else {
                    &bytes[..]
                };
                assert_eq!(inner, frame);
            }
        }
        assert_eq!(house.world.drops(), []);
        house.world.assert_conserved();
    }
}

#[test]
fn a_network_shared_with_bridged_vms_keeps_both_sides_right() {
    let mut house = house(Some(GROUP));
    let flat = house.world.bridged(None);
    let vm = house.world.vnic(flat, mac(5), ca(5));
    let port = house.ports(&[vm]);
    // The question is everybody's.
    house.world.wire(&query(ALL_HOSTS, 1, ASKS));
    assert_eq!(house.went(), port);
    assert_eq!(house.world.kept.events.len(), 1);
    let mut tagged = query(GROUP, 1, ASKS);
    tag(&mut tagged, 0);
    house.world.wire(&tagged);
    assert_eq!(house.world.take()[0].1, query(GROUP, 1, ASKS));
    // What is the group's is the provider's, also if it is refused; other multicast is the VMs'.
    house
        .world
        .wire(&to_group(GROUP, PEER_PA, 9999, &to_all(8)));
    assert_eq!(house.went(), []);
    house.world.wire(&to_group(
        Ipv4Addr::new(239, 9, 9, 9),
        PEER_PA,
        5001,
        &to_all(8),
    ));
    assert_eq!(house.went(), port);
    // A loop.
    let mut own = query(ALL_HOSTS, 1, ASKS);
    own[6..12].copy_from_slice(&mac(5).octets());
    house.world.wire(&own);
    assert_eq!(house.went(), []);
    assert_eq!(
        house.world.drops(),
        [(Reason::UnknownVsid, 1), (Reason::InnerSourceLocal, 1)]
    );
}
