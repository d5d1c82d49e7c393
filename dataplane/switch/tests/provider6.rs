//! A provider network of IPv6: NVGRE over it byte by byte (RFC 7637 §3.2, §4.5), what is accepted, neighbour discovery
//! (RFC 4861) and "packet too big" (RFC 8201).

use std::net::{Ipv4Addr, Ipv6Addr};
use weir_switch::outlet::Event;
use weir_switch::testing::frames::{ether, icmp6, ipv6, nvgre6, tag, tenant};
use weir_switch::testing::world::{
    OWN_PA6, PEER_MAC, UPLINK, UPLINK_FRAME, UPLINK_MAC, UPLINK_PORT, World,
};
use weir_tables::ids::VnicId;
use weir_tables::reason::Reason;
use weir_wire::icmp::Icmp;
use weir_wire::icmp6::{self, Header, Icmp6};
use weir_wire::ipv4::Ipv4;
use weir_wire::ipv6::Ipv6;
use weir_wire::nd::{self, Advertisement, Flags, Message, Solicitation};
use weir_wire::{Mac, Vsid, ipv4};

const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const C: Mac = Mac::new([2, 0, 0, 0, 1, 3]);
const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const CA_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
const PA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x50, 0, 0, 0, 0, 0, 2);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const MACS: (Mac, Mac) = (UPLINK_MAC, PEER_MAC);

fn blue_on(vlan: Option<u16>) -> (World, VnicId) {
    let mut world = World::new(64, vlan);
    let segment = world.segment(5001);
    let a = world.vnic(segment, A, CA_A);
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(segment, C, CA_C, peer);
    (world, a)
}

fn blue() -> (World, VnicId) {
    blue_on(None)
}

/// What A's frame is on the wire.
fn sent(vlan: Option<u16>, frame: &[u8]) -> Vec<u8> {
    let (mut world, a) = blue_on(vlan);
    world.send(a, frame);
    let mut out = world.take();
    world.assert_conserved();
    assert_eq!((out.len(), world.drops()), (1, vec![]));
    assert_eq!(out[0].0, UPLINK_PORT);
    out.remove(0).1
}

/// C's frame as its host sends it.
fn by_c(inner: &[u8]) -> Vec<u8> {
    nvgre6(MACS, (PA, OWN_PA6), 5001, 7, inner)
}

#[track_caller]
fn refused(bytes: &[u8], reason: Reason) {
    let (mut world, _) = blue();
    world.wire(bytes);
    world.assert_conserved();
    assert_eq!(world.take(), []);
    assert_eq!(world.kept.events, []);
    assert_eq!(world.drops(), [(reason, 1)]);
}

#[test]
fn encapsulation_over_ipv6_is_rfc_7637_byte_for_byte() {
    for vlan in [None, Some(300)] {
        let inner = tenant(C, A, CA_A, CA_C, b"hello");
        let bytes = sent(vlan, &inner);
        let at = if vlan.is_some() { 18 } else { 14 };
        let (label, flow) = (&bytes[at + 1..at + 4], bytes[at + 47]);
        let mut wanted = vec![2, 0xbb, 0, 0, 0, 2, 2, 0xaa, 0, 0, 0, 1];
        if vlan.is_some() {
            wanted.extend([0x81, 0, 1, 44]);
        }
        wanted.extend([0x86, 0xdd, 0x60, label[0] & 0x0f, label[1], label[2]]);
        wanted.extend((8 + inner.len() as u16).to_be_bytes());
        wanted.extend([47, 64]);
        wanted.extend(OWN_PA6.octets());
        wanted.extend(PA.octets());
        wanted.extend([0x20, 0x00, 0x65, 0x58, 0x00, 0x13, 0x89, flow]);
        wanted.extend(&inner);
        assert_eq!(bytes, wanted);
        assert_ne!(label, [0, 0, 0], "RFC 6437 §2: a label that says nothing");
    }
}

/// RFC 6040 §4.1, and DSCP beside it.
#[test]
fn the_traffic_class_is_the_inner_packet_s() {
    for tos in 0..=255 {
        let mut inner = tenant(C, A, CA_A, CA_C, b"marked");
        ipv4::set_tos(inner[14..].first_chunk_mut().unwrap(), tos);
        let bytes = sent(None, &inner);
        let ip = Ipv6::parse(&bytes[14..]).unwrap();
        assert_eq!(
            (ip.traffic_class(), ip.payload_len()),
            (tos, 8 + inner.len() as u16)
        );
    }
}

/// RFC 6040 §4.2, figure 4, where it is not "as it was".
#[test]
fn congestion_marks_of_the_outer_header_come_to_the_inner() {
    for (outer, inner, wanted) in [
        (3, 2, Some(3)),
        (3, 1, Some(3)),
        (3, 0, None),
        (1, 2, Some(1)),
    ] {
        let (mut world, a) = blue();
        let mut frame = tenant(A, C, CA_C, CA_A, b"marked");
        ipv4::set_tos(frame[14..].first_chunk_mut().unwrap(), inner);
        let mut arrived = by_c(&frame);
        arrived[15] |= outer << 4;
        world.wire(&arrived);
        world.assert_conserved();
        let Some(wanted) = wanted else {
            assert_eq!(world.drops(), [(Reason::EcnNotCapable, 1)]);
            continue;
        };
        ipv4::set_tos(frame[14..].first_chunk_mut().unwrap(), wanted);
        assert_eq!(world.take(), [(world.port_of(a).unwrap(), frame)]);
    }
}

/// RFC 6438 §3: entropy of the inner flow, the same for every packet of it, fragments among them.
#[test]
fn the_flow_label_is_the_inner_flow_s() {
    let label = |frame: &[u8]| {
        let bytes = sent(None, frame);
        Ipv6::parse(&bytes[14..]).unwrap().flow_label()
    };
    let udp = |port: u16, payload: &[u8]| {
        let datagram = weir_switch::testing::frames::udp((CA_A, port), (CA_C, 5000), payload);
        ether(C, A, 0x0800, &datagram)
    };
    assert_eq!(label(&udp(1, b"one")), label(&udp(1, b"two")));
    let labels: std::collections::HashSet<u32> =
        (0..200).map(|port| label(&udp(port, b""))).collect();
    assert!(labels.len() > 195, "{} of 200", labels.len());
    assert!(labels.iter().any(|label| label > &0xffff), "all 20 bits");
    let fragment = |flags: u8, payload: &[u8]| {
        let mut frame = udp(1, payload);
        frame[20] = flags;
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = weir_wire::checksum::checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    assert_eq!(
        label(&fragment(0x20, b"12345678")),
        label(&fragment(0x01, b"ports?"))
    );
}

#[test]
fn what_is_too_large_is_told_what_fits_over_ipv6() {
    let inner = usize::from(UPLINK_FRAME) - 62;
    let (mut world, a) = blue();
    let payload = |frame: usize| vec![1; frame - 14 - 28];
    world.send(a, &tenant(C, A, CA_A, CA_C, &payload(inner)));
    assert_eq!(world.take()[0].1.len(), usize::from(UPLINK_FRAME));
    world.send(a, &tenant(C, A, CA_A, CA_C, &payload(inner + 1)));
    let out = world.take();
    world.assert_conserved();
    assert_eq!(world.drops(), [(Reason::TooBig, 1)]);
    // No gateway, no answer; with one it says the inner MTU.
    assert_eq!(out, []);
    let mut world = World::new(64, None);
    let domain = world.domain();
    let segment = world.subnet(domain, 5001, Ipv4Addr::new(10, 1, 0, 1));
    let a = world.vnic(segment, A, CA_A);
    let peer = world.peer(PA, Some(PEER_MAC));
    world.remote(segment, C, CA_C, peer);
    world.send(a, &tenant(C, A, CA_A, CA_C, &payload(inner + 1)));
    let out = world.take();
    let answer = Ipv4::parse(&out[0].1[14..]).unwrap();
    let answer = Icmp::parse(answer.payload()).unwrap();
    assert_eq!(answer.next_hop_mtu(), Some((inner - 14) as u16));
}

#[test]
fn what_another_host_sends_over_ipv6_arrives_in_both_families() {
    let v4 = tenant(A, C, CA_C, CA_A, b"answer");
    let (from, to) = (C.link_local(), A.link_local());
    let v6 = ether(A, C, 0x86dd, &ipv6(from, to, 17, &[0, 1, 0, 2, 0, 8, 0, 0]));
    for inner in [v4, v6] {
        for vlan in [None, Some(300)] {
            let (mut world, a) = blue_on(vlan);
            let mut arrived = by_c(&inner);
            if let Some(vlan) = vlan {
                tag(&mut arrived, vlan);
            }
            // Padding behind the outer packet is not the tenant's.
            arrived.extend([0; 4]);
            world.wire(&arrived);
            world.assert_conserved();
            assert_eq!(world.take(), [(world.port_of(a).unwrap(), inner.clone())]);
        }
        // In pieces, as a device may hand it over.
        let (mut world, a) = blue();
        let arrived = by_c(&inner);
        let frame = world
            .herd
            .chain(&[&arrived[..20], &arrived[20..60], &arrived[60..]]);
        world.receive(UPLINK_PORT, [frame]);
        assert_eq!(world.take(), [(world.port_of(a).unwrap(), inner)]);
    }
}

#[test]
fn what_is_not_accepted_over_ipv6_is_named() {
    let good = by_c(&tenant(A, C, CA_C, CA_A, b"x"));
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    // The outer header.
    refused(&changed(14, &[0x50]), Reason::OuterMalformed);
    refused(&changed(18, &[0xff]), Reason::OuterMalformed);
    refused(&good[..50], Reason::OuterMalformed);
    refused(&changed(5, &[9]), Reason::OuterNotOurs);
    refused(&changed(53, &[9]), Reason::OuterNotOurs);
    refused(&changed(37, &[9]), Reason::UnknownPa);
    refused(&changed(22, &[0; 16]), Reason::UnknownPa);
    refused(&changed(20, &[17]), Reason::OuterProtocol);
    // No NVGRE to a link-local address: it is no provider address.
    let to = UPLINK_MAC.link_local().octets();
    refused(&changed(38, &to), Reason::OuterProtocol);
    // To the group of this host's own address, and no neighbour discovery.
    let group = nd::solicited_node(OWN_PA6);
    let mut grouped = changed(38, &group.octets());
    grouped[..6].copy_from_slice(&nd::group_mac(group).octets());
    refused(&grouped, Reason::OuterNotOurs);
    // GRE.
    refused(&changed(54, &[0xa0]), Reason::GreChecksum);
    refused(&changed(54, &[0x00]), Reason::GreNoKey);
    refused(&changed(54, &[0x30]), Reason::GreSequence);
    refused(&changed(56, &[0x08]), Reason::GreProtocol);
    refused(&changed(58, &[0x27, 0x0f, 0]), Reason::UnknownVsid);
    refused(&changed(18, &[0, 7]), Reason::GreTruncated);
    // Inside.
    refused(&changed(18, &[0, 20]), Reason::InnerMalformed);
}

/// RFC 7637 §4.4 for fragments. *Choice*: no extension header before GRE.
#[test]
fn extension_headers_before_gre_are_refused() {
    let good = by_c(&tenant(A, C, CA_C, CA_A, b"x"));
    for (kind, reason) in [
        (0, Reason::OuterExtension),
        (43, Reason::OuterExtension),
        (60, Reason::OuterExtension),
        (44, Reason::OuterFragment),
    ] {
        let mut bytes = good.clone();
        bytes.splice(54..54, [47, 0, 0, 0, 0, 0, 0, 0]);
        bytes[20] = kind;
        bytes[19] += 8;
        refused(&bytes, reason);
    }
}

#[test]
fn an_uplink_without_ipv6_hears_none_of_it() {
    let (mut world, _) = blue();
    let uplink = world.view.uplinks[UPLINK.index()].take().unwrap();
    let uplink = std::sync::Arc::into_inner(uplink).unwrap();
    world.view.uplinks[UPLINK.index()] = Some(std::sync::Arc::new(weir_tables::view::Uplink {
        v6: [].into(),
        ..uplink
    }));
    world.wire(&by_c(&tenant(A, C, CA_C, CA_A, b"x")));
    world.wire(&ask(UPLINK_MAC.link_local(), None));
    world.wire(&advertisement(PA, nd::ALL_NODES, Flags::OVERRIDE, PEER_MAC));
    assert_eq!(world.drops(), [(Reason::OuterNotOurs, 3)]);
}

/// A neighbour solicitation of `target`, to its group or to this host alone.
fn ask(target: Ipv6Addr, to: Option<Mac>) -> Vec<u8> {
    let group = nd::solicited_node(target);
    let (mac, destination) = match to {
        Some(mac) => (mac, target),
        None => (nd::group_mac(group), group),
    };
    let asks = Solicitation {
        target,
        mac: PEER_MAC,
    };
    let message = asks.octets(PA, destination);
    let packet = icmp6(PA, destination, 255, &message);
    ether(mac, PEER_MAC, 0x86dd, &packet)
}

fn advertisement(target: Ipv6Addr, to: Ipv6Addr, flags: Flags, mac: Mac) -> Vec<u8> {
    let says = Advertisement { flags, target, mac };
    let packet = icmp6(target, to, 255, &says.octets(target, to));
    let dst = if to.is_multicast() {
        nd::group_mac(to)
    } else {
        UPLINK_MAC
    };
    ether(dst, PEER_MAC, 0x86dd, &packet)
}

/// What a solicitation is answered with: (frame's destination, IP source, IP destination, flags, target, MAC).
fn answer(bytes: &[u8]) -> (Mac, Ipv6Addr, Ipv6Addr, Flags, Ipv6Addr, Option<Mac>) {
    assert_eq!(bytes.len(), 86);
    assert_eq!(bytes[6..14], [2, 0xaa, 0, 0, 0, 1, 0x86, 0xdd]);
    let to = Mac::new(bytes[..6].try_into().unwrap());
    let ip = Ipv6::parse(&bytes[14..]).unwrap();
    assert_eq!((ip.hop_limit(), ip.next_header().0), (255, 58));
    let message = Icmp6::parse(ip.payload()).unwrap();
    assert!(message.checksum_is_right(ip.source(), ip.destination()));
    match Message::parse(&message).unwrap() {
        Message::NeighborAdvertisement {
            flags,
            target,
            options,
        } => (
            to,
            ip.source(),
            ip.destination(),
            flags,
            target,
            options.target_mac(),
        ),
        other => panic!("{other:?}"),
    }
}

const ANSWERS: Flags = Flags::SOLICITED.with(Flags::OVERRIDE);

/// RFC 4861 §7.2.4.
#[test]
fn who_asks_for_an_address_of_this_host_is_answered() {
    let own = UPLINK_MAC.link_local();
    for (target, to) in [
        (OWN_PA6, None),
        (OWN_PA6, Some(UPLINK_MAC)),
        (own, None),
        (own, Some(UPLINK_MAC)),
    ] {
        let (mut world, _) = blue();
        world.wire(&ask(target, to));
        world.assert_conserved();
        let out = world.take();
        assert_eq!((out.len(), out[0].0), (1, UPLINK_PORT));
        let wanted = (PEER_MAC, target, PA, ANSWERS, target, Some(UPLINK_MAC));
        assert_eq!(answer(&out[0].1), wanted);
        // Whoever asks says where it is.
        let told = Event::Neighbor {
            uplink: UPLINK,
            address: PA.into(),
            mac: PEER_MAC,
            overrides: true,
        };
        assert_eq!(world.kept.events, [told]);
    }
}

#[test]
fn the_answer_goes_back_in_the_uplink_s_vlan() {
    for stripped in [false, true] {
        let (mut world, _) = blue_on(Some(300));
        let mut bytes = ask(OWN_PA6, None);
        let mut frame = world.herd.frame(&bytes);
        if stripped {
            frame.vlan = Some(300);
        } else {
            tag(&mut bytes, 0xe000 | 300);
            frame = world.herd.frame(&bytes);
        }
        world.receive(UPLINK_PORT, [frame]);
        let mut out = world.take().remove(0).1;
        assert_eq!(out[12..16], [0x81, 0, 1, 44]);
        out.drain(12..16);
        assert_eq!(answer(&out).4, OWN_PA6);
    }
}

/// RFC 4861 §7.1.1, RFC 4862 §5.4: who has not got the address yet asks as nobody, and is answered before all.
fn probe(target: Ipv6Addr, to: Ipv6Addr, option: bool) -> Vec<u8> {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    if option {
        message.extend([1, 1, 2, 9, 9, 9, 9, 9]);
    }
    let mac = if to.is_multicast() {
        nd::group_mac(to)
    } else {
        UPLINK_MAC
    };
    ether(
        mac,
        PEER_MAC,
        0x86dd,
        &icmp6(Ipv6Addr::UNSPECIFIED, to, 255, &message),
    )
}

#[test]
fn duplicate_address_detection_of_another_is_told_that_the_address_is_taken() {
    let (mut world, _) = blue();
    world.wire(&probe(OWN_PA6, nd::solicited_node(OWN_PA6), false));
    world.assert_conserved();
    let out = world.take();
    let all = (nd::group_mac(nd::ALL_NODES), OWN_PA6, nd::ALL_NODES);
    let (to, source, destination, flags, target, mac) = answer(&out[0].1);
    assert_eq!((to, source, destination), all);
    assert_eq!(
        (flags, target, mac),
        (Flags::OVERRIDE, OWN_PA6, Some(UPLINK_MAC))
    );
    assert_eq!(world.kept.events, [], "a probe says nothing of its sender");
    refused(&probe(OWN_PA6, OWN_PA6, false), Reason::UnderlayNd);
    refused(
        &probe(OWN_PA6, nd::solicited_node(OWN_PA6), true),
        Reason::UnderlayNd,
    );
}

/// On a packet socket the kernel of this host, which has the same MAC, probes its own link-local address.
#[test]
fn what_this_host_s_own_mac_asks_is_not_answered() {
    let (mut world, _) = blue();
    let own = UPLINK_MAC.link_local();
    let mut bytes = probe(own, nd::solicited_node(own), false);
    bytes[6..12].copy_from_slice(&UPLINK_MAC.octets());
    world.wire(&bytes);
    world.assert_conserved();
    assert_eq!((world.take(), world.drops()), (vec![], vec![]));
}

#[test]
fn who_says_where_it_is_is_heard() {
    for (to, flags) in [
        (OWN_PA6, ANSWERS),
        (OWN_PA6, Flags::SOLICITED),
        (UPLINK_MAC.link_local(), Flags::ROUTER.with(ANSWERS)),
        (nd::ALL_NODES, Flags::OVERRIDE),
    ] {
        let (mut world, _) = blue();
        world.wire(&advertisement(ROUTER, to, flags, PEER_MAC));
        world.assert_conserved();
        let told = Event::Neighbor {
            uplink: UPLINK,
            address: ROUTER.into(),
            mac: PEER_MAC,
            overrides: flags.has(Flags::OVERRIDE),
        };
        assert_eq!(world.kept.events, [told]);
        assert_eq!(world.kept.ledger.cells().consumed.get(), 1);
    }
}

/// RFC 4861 §7.1.1 and §7.1.2, rule by rule.
#[test]
fn neighbour_discovery_that_breaks_a_rule_is_refused() {
    let remade = |packet: Vec<u8>| {
        let to = Ipv6::parse(&packet).unwrap().destination();
        let mac = if to.is_multicast() {
            nd::group_mac(to)
        } else {
            UPLINK_MAC
        };
        ether(mac, PEER_MAC, 0x86dd, &packet)
    };
    let asks = Solicitation {
        target: OWN_PA6,
        mac: PEER_MAC,
    };
    let says = Advertisement {
        flags: ANSWERS,
        target: PA,
        mac: PEER_MAC,
    };
    for message in [asks.octets(PA, OWN_PA6), says.octets(PA, OWN_PA6)] {
        let (mut world, _) = blue();
        world.wire(&remade(icmp6(PA, OWN_PA6, 255, &message)));
        assert_eq!((world.kept.events.len(), world.drops()), (1, vec![]));
        let mut broken: Vec<Vec<u8>> = vec![
            // From beyond a router.
            icmp6(PA, OWN_PA6, 254, &message),
            icmp6(PA, OWN_PA6, 255, &message[..20]),
        ];
        let mut wrong = icmp6(PA, OWN_PA6, 255, &message);
        wrong[43] ^= 1;
        broken.push(wrong);
        for (at, to) in [(1, 1), (8, 0xff), (25, 0), (25, 2)] {
            let mut message = message;
            message[at] = to;
            broken.push(icmp6(PA, OWN_PA6, 255, &message));
        }
        // A MAC that is a group's.
        let mut group = message;
        group[26] |= 1;
        broken.push(icmp6(PA, OWN_PA6, 255, &group));
        for packet in broken {
            refused(&remade(packet), Reason::UnderlayNd);
        }
    }
    // Of a group nobody is asked, and no group asks.
    let group = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2);
    refused(
        &remade(icmp6(group, OWN_PA6, 255, &asks.octets(group, OWN_PA6))),
        Reason::UnderlayNd,
    );
    // What is to many answers nobody.
    refused(
        &advertisement(PA, nd::ALL_NODES, ANSWERS, PEER_MAC),
        Reason::UnderlayNd,
    );
    // Without a MAC it says nothing.
    let mute = &says.octets(PA, OWN_PA6)[..24];
    refused(&remade(icmp6(PA, OWN_PA6, 255, mute)), Reason::UnderlayNd);
    // Another's address, in this host's group.
    let mut near = OWN_PA6.octets();
    near[1] = 7;
    refused(&ask(near.into(), None), Reason::UnderlayNd);
    refused(&ask(PA, None), Reason::OuterNotOurs);
    // A group whose MAC is another's.
    let mut odd = ask(OWN_PA6, None);
    odd[5] ^= 1;
    refused(&odd, Reason::OuterNotOurs);
    // Router advertisements: host.toml says who the gateway is.
    let router = icmp6(
        ROUTER,
        nd::ALL_NODES,
        255,
        &[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    refused(&remade(router), Reason::OuterProtocol);
    let echo = icmp6(PA, OWN_PA6, 64, &[128, 0, 0, 0, 0, 7, 0, 1]);
    refused(&remade(echo), Reason::OuterProtocol);
}

/// "Packet too big" about the IPv6 packet `quoted`, from a router.
fn too_big(mtu: u32, quoted: &[u8]) -> Vec<u8> {
    let quote = icmp6::quote(quoted);
    let header = Header::packet_too_big(mtu).octets(ROUTER, OWN_PA6, quote);
    let message = [&header[..], quote].concat();
    ether(
        UPLINK_MAC,
        PEER_MAC,
        0x86dd,
        &icmp6(ROUTER, OWN_PA6, 64, &message),
    )
}

#[test]
fn control_is_told_what_fits_on_the_way_to_a_peer() {
    let outer = sent(None, &tenant(C, A, CA_A, CA_C, &[1; 1400]));
    let told = Event::PathMtu {
        peer: PA.into(),
        mtu: 1400,
    };
    // As much as a router quotes, and no more than is read.
    for quoted in [&outer[14..], &outer[14..14 + 48]] {
        let (mut world, _) = blue();
        let message = too_big(1400, quoted);
        world.wire(&message);
        world.assert_conserved();
        assert_eq!(world.kept.events, [told]);
        assert_eq!(world.kept.ledger.cells().consumed.get(), 1);
        let frame = world
            .herd
            .chain(&[&message[..40], &message[40..100], &message[100..]]);
        world.receive(UPLINK_PORT, [frame]);
        assert_eq!(world.kept.events, [told, told]);
    }
}

#[test]
fn what_this_host_cannot_have_sent_does_not_count() {
    let outer = sent(None, &tenant(C, A, CA_A, CA_C, &[1; 1400]));
    let changed = |at: usize, to: &[u8]| {
        let mut quoted = outer[14..].to_vec();
        quoted[at..at + to.len()].copy_from_slice(to);
        too_big(1400, &quoted)
    };
    let ignored = |message: &[u8]| refused(message, Reason::OuterProtocol);
    let (mut world, _) = blue();
    world.wire(&changed(0, &[0x60]));
    assert_eq!(world.kept.events.len(), 1, "the same unchanged does");
    ignored(&changed(23, &[9])); // from another
    ignored(&changed(39, &[9])); // to no peer
    ignored(&changed(6, &[6])); // no GRE
    ignored(&changed(40, &[0])); // no key
    ignored(&changed(44, &[0x27, 0x0f, 0])); // a VSID that is not here
    ignored(&changed(0, &[0x45])); // no IPv6
    for short in [0, 10, 39, 47] {
        ignored(&too_big(1400, &outer[14..14 + short]));
    }
    // RFC 8201 §4: less than every link has.
    ignored(&too_big(1279, &outer[14..]));
    let mut wrong = too_big(1400, &outer[14..]);
    wrong[57] ^= 1;
    ignored(&wrong);
    let exceeded = Header::time_exceeded().octets(ROUTER, OWN_PA6, &outer[14..100]);
    let message = [&exceeded[..], &outer[14..100]].concat();
    ignored(&ether(
        UPLINK_MAC,
        PEER_MAC,
        0x86dd,
        &icmp6(ROUTER, OWN_PA6, 64, &message),
    ));
}

#[test]
fn a_subnet_that_is_only_routed_to_counts_too() {
    let outer = sent(None, &tenant(C, A, CA_A, CA_C, &[1; 1400]));
    let (mut world, _) = blue();
    let vsid = Vsid::from_wire(5001);
    let segment = world.view.vsids.get(vsid).unwrap();
    world.view.vsids.set(vsid, Some((segment, false)));
    world.wire(&too_big(1400, &outer[14..]));
    assert_eq!(world.kept.events.len(), 1);
}
