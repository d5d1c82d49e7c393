//! IP rewrite of IPv6: customer addresses here, provider addresses on the wire, neighbour discovery on neither. What shall be
//! on the wire is made here from its parts, every checksum anew.

use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_switch::frame::L4Checksum;
use weir_switch::outlet::Event;
use weir_switch::testing::frames::{self, Field, ether};
use weir_switch::testing::world::{
    OWN_PA, OWN_PA6, UPLINK_FRAME, UPLINK_MAC, UPLINK_PORT, World, v6_of,
};
use weir_tables::domain::{GATEWAY_LINK_LOCAL, GATEWAY_MAC, Hop, Route};
use weir_tables::ids::{DomainId, SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::icmp6::{self, Header, Icmp6};
use weir_wire::ipv6::Ipv6;
use weir_wire::nd::{self, Advertisement, Flags, Message, NdOption, Solicitation};
use weir_wire::{IpProtocol, Mac};

const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const OTHER_MAC: Mac = Mac::new([2, 0xbb, 0, 0, 0, 2]);
const WEB: u32 = 5001;
const DB: u32 = 5002;
const PLAIN: u32 = 5003;
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

/// Customer and provider address of vNIC `i` of subnet `net`, and the gateway.
fn ca(net: u16, i: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, 0x10 + i)
}

fn pa(net: u8, i: u8) -> Ipv6Addr {
    v6_of(Ipv4Addr::new(192, 168, 50, 100 + 10 * net + i))
}

fn gateway(net: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, 1)
}

/// One host of two, which hold the same.
struct Host {
    world: World,
    web: SegmentId,
    /// Of subnet web (1): vNIC 1 and 2. Of db (2): 3. Of an NVGRE subnet (3): 4.
    vnics: [Option<VnicId>; 4],
    domain: DomainId,
}

fn subnet(world: &mut World, domain: DomainId, vsid: u32, net: u8) -> SegmentId {
    let segment = world.subnet(domain, vsid, Ipv4Addr::new(10, net, 0, 1));
    world.subnet6(segment, gateway(net.into()), 64);
    segment
}

/// On the first host are 1 in web and 4 in the NVGRE subnet, on the second 2 in web, 3 in db; blue.
fn host(first: bool, vlan: Option<u16>) -> Host {
    let mut world = if first {
        World::host(64, vlan, UPLINK_MAC, OWN_PA)
    } else {
        World::host(64, vlan, OTHER_MAC, OTHER_HOST)
    };
    let domain = world.domain();
    let web = subnet(&mut world, domain, WEB, 1);
    let db = subnet(&mut world, domain, DB, 2);
    let plain = subnet(&mut world, domain, PLAIN, 3);
    world.rewritten(web);
    world.rewritten(db);
    let other = if first {
        world.peer(v6_of(OTHER_HOST), Some(OTHER_MAC))
    } else {
        world.peer(OWN_PA6, Some(UPLINK_MAC))
    };
    let members = [
        (web, 1, 1, true),
        (web, 1, 2, false),
        (db, 2, 3, false),
        (plain, 3, 4, true),
    ];
    let vnics = members.map(|(segment, net, i, on_first)| {
        let (ca, pa) = (ca(net.into(), i.into()), pa(net, i));
        if on_first == first {
            let id = world.vnic(segment, mac(i), Ipv4Addr::new(10, net, 0, 10 + i));
            match net {
                3 => world.address6(id, ca),
                _ => world.give_pa6(id, ca, pa),
            }
            return Some(id);
        }
        match net {
            3 => world.remote6(segment, mac(i), ca, other),
            _ => world.remote_pa6(segment, ca, other, pa),
        }
        None
    });
    Host {
        world,
        web,
        vnics,
        domain,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Vnic(usize),
    Wire,
}

impl Host {
    fn id(&self, i: usize) -> VnicId {
        self.vnics[i - 1].unwrap()
    }

    /// What comes out when vNIC `i` sends this.
    fn send(&mut self, i: usize, bytes: &[u8]) -> Vec<(Where, Vec<u8>)> {
        self.world.send(self.id(i), bytes);
        self.out()
    }

    fn wire(&mut self, bytes: &[u8]) -> Vec<(Where, Vec<u8>)> {
        self.world.wire(bytes);
        self.out()
    }

    fn out(&mut self) -> Vec<(Where, Vec<u8>)> {
        let out = self.world.take();
        self.world.assert_conserved();
        let of = |i: usize| self.vnics[i - 1].and_then(|id| self.world.port_of(id));
        out.into_iter()
            .map(
                |(port, bytes)| match (1..=4).find(|&i| of(i) == Some(port)) {
                    Some(i) => (Where::Vnic(i), bytes),
                    None => {
                        assert_eq!(port, UPLINK_PORT);
                        (Where::Wire, bytes)
                    }
                },
            )
            .collect()
    }

    fn dropped(&self, reason: Reason) -> u64 {
        let drops = self.world.drops();
        let of = drops.iter().find(|drop| drop.0 == reason);
        of.map_or(0, |drop| drop.1)
    }
}

fn udp(from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let between = (IpAddr::V6(from), IpAddr::V6(to));
    let l4 = frames::l4(17, between, (4000, 5000), payload, Field::Right);
    frames::ipv6(from, to, 17, &l4)
}

fn six(dst: Mac, src: Mac, packet: &[u8]) -> Vec<u8> {
    ether(dst, src, 0x86dd, packet)
}

/// A datagram from vNIC 1 by customer addresses, and the same on the wire.
fn from_a(dst: Mac, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    six(dst, mac(1), &udp(ca(1, 1), to, payload))
}

fn on_the_wire(to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    six(OTHER_MAC, UPLINK_MAC, &udp(pa(1, 1), to, payload))
}

/// With other MACs.
fn between(mut frame: Vec<u8>, dst: Mac, src: Mac) -> Vec<u8> {
    frame[..6].copy_from_slice(&dst.octets());
    frame[6..12].copy_from_slice(&src.octets());
    frame
}

fn with_hops(mut frame: Vec<u8>, hops: u8) -> Vec<u8> {
    frame[21] = hops;
    frame
}

/// Type and code of an ICMPv6 error at a vNIC.
fn error(out: &[(Where, Vec<u8>)]) -> (Where, u8, u8) {
    (out[0].0, out[0].1[54], out[0].1[55])
}

#[test]
fn a_packet_travels_by_provider_addresses_and_arrives_as_it_was() {
    for vlan in [None, Some(300)] {
        let (mut here, mut there) = (host(true, vlan), host(false, vlan));
        for dst in [GATEWAY_MAC, mac(2), mac(77)] {
            let sent = from_a(dst, ca(1, 2), b"hello");
            let mut wanted = on_the_wire(pa(1, 2), b"hello");
            assert_eq!(wanted.len(), sent.len(), "nothing is longer");
            if let Some(vlan) = vlan {
                frames::tag(&mut wanted, vlan);
            }
            assert_eq!(here.send(1, &sent), [(Where::Wire, wanted.clone())]);
            wanted.resize(wanted.len() + 18, 0);
            let received = between(sent, mac(2), GATEWAY_MAC);
            assert_eq!(there.wire(&wanted), [(Where::Vnic(2), received)]);
        }
    }
}

#[test]
fn both_families_in_one_batch_arrive() {
    let mut there = host(false, None);
    let (id, web) = (there.id(2), there.web);
    let other = there.world.peer(OWN_PA, Some(UPLINK_MAC));
    let pa4 = |i: u8| Ipv4Addr::new(192, 168, 50, 100 + i);
    there.world.give_pa(id, pa4(2));
    let ca4 = |i: u8| Ipv4Addr::new(10, 1, 0, 10 + i);
    there.world.remote_pa(web, ca4(1), other, pa4(1));
    let v4 = |from, to| {
        let packet = frames::udp((from, 4000), (to, 5000), b"four");
        ether(OTHER_MAC, UPLINK_MAC, 0x0800, &packet)
    };
    let batch = [
        on_the_wire(pa(1, 2), b"one"),
        v4(pa4(1), pa4(2)),
        on_the_wire(pa(1, 2), b"two"),
    ];
    let frames = batch.map(|bytes| there.world.herd.frame(&bytes));
    there.world.receive(UPLINK_PORT, frames);
    let at_2 = |bytes| (Where::Vnic(2), between(bytes, mac(2), GATEWAY_MAC));
    let wanted = [
        at_2(v4(ca4(1), ca4(2))),
        at_2(from_a(mac(2), ca(1, 2), b"one")),
        at_2(from_a(mac(2), ca(1, 2), b"two")),
    ];
    assert_eq!(there.out(), wanted);
}

#[test]
fn to_another_subnet_it_is_a_hop_and_within_one_it_is_not() {
    let (mut here, mut there) = (host(true, None), host(false, None));
    let sent = from_a(GATEWAY_MAC, ca(2, 3), b"hop");
    let wire = with_hops(on_the_wire(pa(2, 3), b"hop"), 63);
    assert_eq!(here.send(1, &sent), [(Where::Wire, wire.clone())]);
    let wanted = between(with_hops(sent, 63), mac(3), GATEWAY_MAC);
    assert_eq!(there.wire(&wire), [(Where::Vnic(3), wanted)]);
    let out = here.send(1, &with_hops(from_a(GATEWAY_MAC, ca(2, 3), b"hop"), 1));
    assert_eq!(error(&out), (Where::Vnic(1), icmp6::TIME_EXCEEDED, 0));
    let last = with_hops(from_a(GATEWAY_MAC, ca(1, 2), b"last"), 1);
    let wanted = with_hops(on_the_wire(pa(1, 2), b"last"), 1);
    assert_eq!(here.send(1, &last), [(Where::Wire, wanted)]);
    assert_eq!(here.dropped(Reason::TtlExpired), 1);
}

#[test]
fn on_one_host_the_address_decides_and_of_the_link_the_mac() {
    let mut here = host(true, None);
    let near = here.world.vnic(here.web, mac(9), [10, 1, 0, 19].into());
    here.world.give_pa6(near, ca(1, 9), pa(1, 9));
    here.vnics[1] = Some(near);
    for dst in [GATEWAY_MAC, mac(9), mac(77)] {
        let sent = from_a(dst, ca(1, 9), b"near");
        let wanted = between(sent.clone(), mac(9), mac(1));
        assert_eq!(here.send(1, &sent), [(Where::Vnic(2), wanted)]);
    }
    // To the NVGRE subnet here: a hop. To itself, to nobody, to the gateway.
    let sent = from_a(GATEWAY_MAC, ca(3, 4), b"plain");
    let wanted = between(with_hops(sent.clone(), 63), mac(4), GATEWAY_MAC);
    assert_eq!(here.send(1, &sent), [(Where::Vnic(4), wanted)]);
    assert_eq!(here.send(1, &from_a(mac(9), ca(1, 1), b"self")), []);
    assert_eq!(here.dropped(Reason::SamePort), 1);
    let out = here.send(1, &from_a(mac(9), ca(1, 50), b"nobody"));
    assert_eq!(error(&out), (Where::Vnic(1), icmp6::UNREACHABLE, 3));
    for own in [gateway(1), GATEWAY_LINK_LOCAL] {
        let out = here.send(1, &from_a(GATEWAY_MAC, own, b"gateway"));
        assert_eq!(error(&out), (Where::Vnic(1), icmp6::UNREACHABLE, 4));
    }
    // A link-local address is on no list: its MAC says who has it, and elsewhere is nobody.
    let of_link = |to: Mac| six(to, mac(1), &udp(ca(1, 1), to.link_local(), b"link"));
    assert_eq!(
        here.send(1, &of_link(mac(9))),
        [(Where::Vnic(2), of_link(mac(9)))]
    );
    assert_eq!(here.send(1, &of_link(mac(2))), []);
    assert_eq!(here.dropped(Reason::NotRewritable), 1);
}

fn solicitation(dst: Mac, to: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let asks = Solicitation {
        target,
        mac: mac(1),
    };
    let message = asks.octets(ca(1, 1), to);
    six(dst, mac(1), &frames::icmp6(ca(1, 1), to, 255, &message))
}

/// Flags and MAC of the advertisement that a vNIC or the wire got.
fn advertised(out: &[(Where, Vec<u8>)], at: Where, about: Ipv6Addr) -> (Flags, Mac) {
    assert_eq!((out.len(), out[0].0), (1, at));
    let ip = Ipv6::parse(&out[0].1[14..]).unwrap();
    let message = Icmp6::parse(ip.payload()).unwrap();
    assert!(message.checksum_is_right(ip.source(), ip.destination()));
    match Message::parse(&message) {
        Ok(Message::NeighborAdvertisement {
            flags,
            target,
            options,
        }) => {
            assert_eq!(target, about);
            let mac = options.iter().find_map(|option| match option {
                NdOption::TargetLinkLayer(mac) => Some(mac),
                _ => None,
            });
            (flags, mac.unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn neighbour_discovery_is_answered_and_never_leaves() {
    let mut here = host(true, None);
    let near = here.world.vnic(here.web, mac(9), [10, 1, 0, 19].into());
    here.world.give_pa6(near, ca(1, 9), pa(1, 9));
    let plain = Flags::SOLICITED.with(Flags::OVERRIDE);
    let cases = [
        (ca(1, 2), plain, GATEWAY_MAC),
        (ca(1, 9), plain, mac(9)),
        (gateway(1), plain.with(Flags::ROUTER), GATEWAY_MAC),
    ];
    for (target, flags, mac) in cases {
        let group = nd::solicited_node(target);
        let out = here.send(1, &solicitation(nd::group_mac(group), group, target));
        assert_eq!(advertised(&out, Where::Vnic(1), target), (flags, mac));
    }
    // Again by unicast, to the MAC that was said and to one that has moved away.
    for dst in [GATEWAY_MAC, mac(2)] {
        let out = here.send(1, &solicitation(dst, ca(1, 2), ca(1, 2)));
        let wanted = (plain, GATEWAY_MAC);
        assert_eq!(advertised(&out, Where::Vnic(1), ca(1, 2)), wanted);
    }
    // What is no question stays here too, hidden or not.
    let says = Advertisement {
        flags: plain,
        target: ca(1, 1),
        mac: mac(1),
    };
    let message = says.octets(ca(1, 1), ca(1, 2));
    let open = frames::icmp6(ca(1, 1), ca(1, 2), 255, &message);
    let hidden = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &message].concat();
    let hidden = frames::ipv6(ca(1, 1), ca(1, 2), 60, &hidden);
    for packet in [open, hidden] {
        assert_eq!(here.send(1, &six(mac(2), mac(1), &packet)), []);
    }
    assert_eq!(here.world.drops(), [(Reason::NotRewritable, 2)]);
    // An echo is not of the link.
    let echo = frames::icmp6(ca(1, 1), ca(1, 2), 255, &[128, 0, 0, 0, 0, 7, 0, 1]);
    assert_eq!(here.send(1, &six(mac(2), mac(1), &echo))[0].0, Where::Wire);
}

#[test]
fn a_source_without_a_provider_address_does_not_leave() {
    let mut here = host(true, None);
    let id = here.id(1);
    here.world
        .change_identity(id, |who| who.v6_nets = [(0, 0)].into());
    let other = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    for source in [other, mac(1).link_local()] {
        let sent = six(GATEWAY_MAC, mac(1), &udp(source, ca(1, 2), b"other"));
        assert_eq!(here.send(1, &sent), []);
    }
    assert_eq!(here.world.drops(), [(Reason::NotRewritable, 2)]);
    let route = Route {
        network: Ipv6Addr::UNSPECIFIED,
        length: 0,
        metric: 0,
        hop: Hop::Via(ca(1, 2)),
    };
    here.world.route6(here.domain, &[], route);
    let out = here.send(1, &from_a(GATEWAY_MAC, other, b"away"));
    assert!(out.iter().all(|(place, _)| *place == Where::Vnic(1)));
    assert_eq!(here.dropped(Reason::HostUnknown), 1);
}

/// Two networks with the same customer addresses on both hosts.
#[test]
fn each_refusal_from_the_wire_has_its_reason() {
    let mut there = host(false, None);
    let red = there.world.domain();
    let red_web = subnet(&mut there.world, red, 6001, 1);
    there.world.rewritten(red_web);
    let r = there.world.vnic(red_web, mac(2), [10, 1, 0, 12].into());
    there.world.give_pa6(r, ca(1, 2), pa(1, 7));
    let third = v6_of([192, 168, 50, 3].into());
    let peer = there.world.peer(third, Some(OTHER_MAC));
    there.world.remote_pa6(red_web, ca(1, 1), peer, pa(1, 8));
    let packet = |from, to| six(OTHER_MAC, UPLINK_MAC, &udp(from, to, b"x"));
    let routed = [&[17, 2, 0, 1, 0, 0, 0, 0][..], &[0; 16], &[0; 8]].concat();
    let routed = frames::ipv6(pa(1, 1), pa(1, 2), 43, &routed);
    let asks = Solicitation {
        target: ca(1, 2),
        mac: mac(1),
    };
    let asks = asks.octets(pa(1, 1), pa(1, 2));
    let asks = frames::icmp6(pa(1, 1), pa(1, 2), 255, &asks);
    let mut long = packet(pa(1, 1), pa(1, 2));
    long[19] += 1;
    let cases = [
        (packet(pa(1, 1), pa(1, 7)), Reason::OtherNetwork),
        (packet(pa(1, 8), pa(1, 2)), Reason::OtherNetwork),
        (packet(pa(1, 9), pa(1, 2)), Reason::UnknownPa),
        (packet(OWN_PA6, pa(1, 2)), Reason::UnknownPa),
        (packet(pa(2, 3), pa(1, 2)), Reason::InnerSourceLocal),
        (packet(pa(1, 1), pa(1, 1)), Reason::OuterNotOurs),
        (
            packet(pa(1, 1), v6_of([1, 2, 3, 4].into())),
            Reason::OuterNotOurs,
        ),
        (six(OTHER_MAC, UPLINK_MAC, &routed), Reason::NotRewritable),
        (six(OTHER_MAC, UPLINK_MAC, &asks), Reason::NotRewritable),
        (long, Reason::OuterMalformed),
    ];
    for (bytes, reason) in cases {
        let before = there.dropped(reason);
        assert_eq!(there.wire(&bytes), [], "{reason:?}");
        assert_eq!(there.dropped(reason), before + 1, "{reason:?}");
    }
    // The hosts' own addresses keep their meaning.
    assert_eq!(there.wire(&packet(pa(1, 1), v6_of(OTHER_HOST))), []);
    assert_eq!(there.dropped(Reason::OuterProtocol), 1);
    // And red hears red.
    there.world.wire(&packet(pa(1, 8), pa(1, 7)));
    assert_eq!(there.world.take()[0].0, there.world.port_of(r).unwrap());
    // A vNIC that has gone has no address any more.
    there.world.remove(there.id(2));
    there.world.wire(&packet(pa(1, 1), pa(1, 2)));
    assert_eq!(there.world.take(), []);
    assert_eq!(there.dropped(Reason::OuterNotOurs), 3);
}

/// The destination's record decides; who has no provider address is carried by NVGRE.
#[test]
fn nvgre_and_rewrite_meet_in_one_network() {
    let (mut here, mut there) = (host(true, None), host(false, None));
    let sent = six(GATEWAY_MAC, mac(4), &udp(ca(3, 4), ca(2, 3), b"mixed"));
    let out = here.send(4, &sent);
    let hopped = between(with_hops(sent, 63), GATEWAY_MAC, GATEWAY_MAC);
    let (place, wire) = &out[0];
    assert_eq!(*place, Where::Wire);
    let [_, v0, v1, v2] = DB.to_be_bytes();
    assert_eq!(wire[54..61], [0x20, 0, 0x65, 0x58, v0, v1, v2]);
    assert_eq!(wire[62..], hopped);
    let wanted = between(hopped, mac(3), GATEWAY_MAC);
    assert_eq!(there.wire(wire), [(Where::Vnic(3), wanted)]);
    // An address that is not of that subnet, or of nobody, is not looked for.
    for to in [ca(1, 2), ca(2, 77)] {
        let inner = six(GATEWAY_MAC, GATEWAY_MAC, &udp(ca(3, 4), to, b"x"));
        let pas = (OWN_PA6, v6_of(OTHER_HOST));
        let bytes = frames::nvgre6((OTHER_MAC, UPLINK_MAC), pas, DB, 0, &inner);
        assert_eq!(there.wire(&bytes), []);
    }
    assert_eq!(there.dropped(Reason::NotHere), 2);
}

#[test]
fn what_fits_the_uplink_fits_and_more_is_refused() {
    let most = usize::from(UPLINK_FRAME);
    for vlan in [None, Some(300)] {
        for to in [ca(1, 2), ca(2, 3)] {
            let mut here = host(true, vlan);
            let frame = |length: usize| from_a(GATEWAY_MAC, to, &vec![0x5a; length - 62]);
            let out = here.send(1, &frame(most));
            let tag = if vlan.is_some() { 4 } else { 0 };
            assert_eq!((out[0].0, out[0].1.len()), (Where::Wire, most + tag));
            let out = here.send(1, &frame(most + 1));
            assert_eq!(error(&out), (Where::Vnic(1), icmp6::PACKET_TOO_BIG, 0));
            assert_eq!(out[0].1[58..62], ((most - 14) as u32).to_be_bytes());
            assert_eq!(here.dropped(Reason::TooBig), 1);
        }
    }
}

#[test]
fn an_unfinished_checksum_is_finished_for_the_wire() {
    let mut here = host(true, None);
    for protocol in [17, 6] {
        let packet = |from: Ipv6Addr, to: Ipv6Addr, field| {
            let l4 = frames::l4(
                protocol,
                (from.into(), to.into()),
                (4000, 5000),
                b"odd",
                field,
            );
            frames::ipv6(from, to, protocol, &l4)
        };
        let sent = six(
            GATEWAY_MAC,
            mac(1),
            &packet(ca(1, 1), ca(1, 2), Field::Pseudo),
        );
        let mut frame = here.world.herd.frame(&sent);
        frame.checksum = L4Checksum::Partial;
        here.world.send_frame(here.id(1), frame);
        let wanted = packet(pa(1, 1), pa(1, 2), Field::Right);
        let wanted = six(OTHER_MAC, UPLINK_MAC, &wanted);
        assert_eq!(here.out(), [(Where::Wire, wanted)], "{protocol}");
    }
}

#[test]
fn a_provider_address_is_answered_for_where_its_vnic_is() {
    let mut here = host(true, None);
    let ask = |dst: Mac, to: Ipv6Addr, target| {
        let asks = Solicitation {
            target,
            mac: OTHER_MAC,
        };
        let message = asks.octets(ROUTER, to);
        six(dst, OTHER_MAC, &frames::icmp6(ROUTER, to, 255, &message))
    };
    let by_group = |target| {
        let group = nd::solicited_node(target);
        ask(nd::group_mac(group), group, target)
    };
    let flags = Flags::SOLICITED.with(Flags::OVERRIDE);
    for own in [OWN_PA6, pa(1, 1)] {
        for bytes in [by_group(own), ask(UPLINK_MAC, own, own)] {
            let out = here.wire(&bytes);
            assert_eq!(advertised(&out, Where::Wire, own), (flags, UPLINK_MAC));
            assert_eq!(out[0].1[..6], OTHER_MAC.octets());
        }
    }
    // Of another host, of nobody; of a vNIC here on another link, in a group not its own, or on the group's wrong MAC.
    for other in [pa(1, 2), pa(1, 7)] {
        assert_eq!(here.wire(&by_group(other)), []);
    }
    let far: Ipv6Addr = "fd77::77:7777".parse().unwrap();
    here.world.give_pa6(here.id(4), ca(3, 4), far);
    let group = nd::solicited_node(pa(1, 2));
    let refused = [
        by_group(far),
        ask(nd::group_mac(group), group, pa(1, 1)),
        ask(mac(3), nd::solicited_node(pa(1, 1)), pa(1, 1)),
    ];
    for bytes in refused {
        assert_eq!(here.wire(&bytes), []);
    }
    assert_eq!(here.dropped(Reason::OuterNotOurs), 5);
}

#[test]
fn a_router_s_word_counts_for_the_path_and_reaches_no_tenant() {
    let says = |header: Header, to, quote: &[u8]| {
        let message = [&header.octets(ROUTER, to, quote)[..], quote].concat();
        let packet = frames::icmp6(ROUTER, to, 64, &message);
        six(UPLINK_MAC, OTHER_MAC, &packet)
    };
    let about = udp(pa(1, 1), pa(1, 2), b"too big");
    let too_big = Header::packet_too_big;
    let mut here = host(true, None);
    assert_eq!(here.wire(&says(too_big(1400), pa(1, 1), &about)), []);
    let peer = IpAddr::V6(v6_of(OTHER_HOST));
    assert_eq!(here.world.kept.events, [Event::PathMtu { peer, mtu: 1400 }]);
    // Of another vNIC's packet, about nobody, about itself; what lies; anything else.
    let foreign = udp(pa(2, 3), pa(1, 2), b"x");
    let nobody = udp(pa(1, 1), pa(1, 9), b"x");
    let itself = udp(pa(1, 1), pa(1, 1), b"x");
    let mut wrong = says(too_big(1400), pa(1, 1), &about);
    wrong[60] ^= 1;
    let refused = [
        says(too_big(1400), pa(1, 1), &foreign),
        says(too_big(1400), pa(1, 1), &nobody),
        says(too_big(1400), pa(1, 1), &itself),
        says(too_big(1279), pa(1, 1), &about),
        says(Header::unreachable(1), pa(1, 1), &about),
        says(Header::time_exceeded(), pa(1, 1), &about),
        wrong,
    ];
    let count = refused.len() as u64;
    for bytes in refused {
        assert_eq!(here.wire(&bytes), []);
    }
    assert_eq!(here.world.kept.events.len(), 1);
    assert_eq!(here.world.drops(), [(Reason::ProviderIcmp, count)]);
}

/// Another tenant's address behind the same host is no destination that a router may speak about.
#[test]
fn a_router_s_word_about_another_network_is_none() {
    let mut here = host(true, None);
    let red = here.world.domain();
    let red_web = subnet(&mut here.world, red, 6001, 1);
    here.world.rewritten(red_web);
    let peer = here.world.peer(v6_of(OTHER_HOST), Some(OTHER_MAC));
    here.world.remote_pa6(red_web, ca(1, 2), peer, pa(1, 7));
    let about = udp(pa(1, 1), pa(1, 7), b"x");
    let header = Header::packet_too_big(1400).octets(ROUTER, pa(1, 1), &about);
    let packet = frames::icmp6(ROUTER, pa(1, 1), 64, &[&header[..], &about].concat());
    assert_eq!(here.wire(&six(UPLINK_MAC, OTHER_MAC, &packet)), []);
    assert_eq!(here.world.drops(), [(Reason::ProviderIcmp, 1)]);
}

#[test]
fn an_error_of_a_vm_quotes_what_the_other_one_sent() {
    let (mut here, mut there) = (host(true, None), host(false, None));
    let error = |from, to, quote: &[u8]| {
        let header = Header::unreachable(icmp6::PORT).octets(from, to, quote);
        frames::icmp6(from, to, 64, &[&header[..], quote].concat())
    };
    let refused = udp(ca(1, 1), ca(1, 2), b"refused");
    let sent = six(GATEWAY_MAC, mac(2), &error(ca(1, 2), ca(1, 1), &refused));
    let quoted = udp(pa(1, 1), pa(1, 2), b"refused");
    let wire = six(UPLINK_MAC, OTHER_MAC, &error(pa(1, 2), pa(1, 1), &quoted));
    assert_eq!(there.send(2, &sent), [(Where::Wire, wire.clone())]);
    let wanted = between(sent, mac(1), GATEWAY_MAC);
    assert_eq!(here.wire(&wire), [(Where::Vnic(1), wanted)]);
}

proptest! {
    /// Whatever a VM sends to another host's arrives as it was sent, and on the wire nothing is longer, however it is cut
    /// into segments.
    #[test]
    fn whatever_arrives_is_what_was_sent(
        next in prop_oneof![Just(6_u8), Just(17), Just(58), Just(59), Just(44), Just(0), any::<u8>()],
        payload in vec(any::<u8>(), 0..400), cuts in vec(any::<prop::sample::Index>(), 0..4), vlan in any::<bool>(),
        options in any::<bool>(),
    ) {
        let vlan = vlan.then_some(300);
        let (mut here, mut there) = (host(true, vlan), host(false, vlan));
        let mut packet = frames::ipv6(ca(1, 1), ca(1, 2), next, &payload);
        if options {
            let behind = [&[next, 0, 1, 4, 0, 0, 0, 0][..], &payload].concat();
            packet = frames::ipv6(ca(1, 1), ca(1, 2), 60, &behind);
        }
        let sent = six(mac(2), mac(1), &packet);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(sent.len())).collect();
        places.sort_unstable();
        let mut segments = Vec::new();
        let mut from = 0;
        for place in places.into_iter().chain([sent.len()]) {
            segments.push(&sent[from..place]);
            from = place;
        }
        let frame = here.world.herd.chain(&segments);
        here.world.send_frame(here.id(1), frame);
        let out = here.out();
        if out.is_empty() {
            let drops = here.world.drops();
            prop_assert_eq!(drops.len(), 1);
            prop_assert!(matches!(drops[0].0, Reason::NotRewritable | Reason::Malformed | Reason::SpoofedArp), "{:?}", drops);
            // What has its transport header in full, behind no header that says otherwise, travels.
            let plain = matches!(IpProtocol(next), IpProtocol::TCP | IpProtocol::UDP) || next == 59;
            prop_assert!(!(plain && payload.len() >= 18), "{:?}", drops);
            return Ok(());
        }
        prop_assert_eq!(out.len(), 1);
        let tag = if vlan.is_some() { 4 } else { 0 };
        prop_assert_eq!(out[0].1.len(), sent.len() + tag);
        // A checksum of all ones is the other zero, and comes back as that.
        let at = 54 + if options { 8 } else { 0 };
        let odd = |field: usize| sent.get(at + field..at + field + 2) == Some(&[0xff, 0xff]);
        prop_assume!(![2, 6, 14, 16].into_iter().any(odd));
        let arrived = there.wire(&out[0].1);
        prop_assert_eq!(arrived.len(), 1);
        let wanted = between(sent, mac(2), GATEWAY_MAC);
        prop_assert_eq!(&arrived[0].1, &wanted);
    }
}
