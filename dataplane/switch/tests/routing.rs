//! The router of a VM network: between its subnets, by customer routes, and what it says when it cannot go on.

use proptest::prelude::*;
use std::net::Ipv4Addr;
use weir_switch::family::V4;
use weir_switch::route;
use weir_switch::testing::VecFrame;
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::domain::{GATEWAY_MAC, Hop, Route};
use weir_tables::endpoints::{Record, Target};
use weir_tables::ids::{DomainId, SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::Vnic;
use weir_wire::icmp::{self, Icmp};
use weir_wire::ipv4::{self, Ipv4};
use weir_wire::{Mac, checksum};

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const WEB: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const DB: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn web(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

fn db(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 0, i)
}

/// Blue has two subnets, red has the same addresses. Of each: 11 in web and 21 in db are here, 12 and 22 behind a peer,
/// and web's 14, here, is the way out for what has no other.
struct Networks {
    world: World,
    blue: DomainId,
    web: SegmentId,
    /// Blue's 11, 21 and 14.
    vnics: [VnicId; 3],
    /// Red's 11.
    red: VnicId,
}

fn networks() -> Networks {
    let mut world = World::new(256, None);
    let peer = world.peer(PA, Some(PEER_MAC));
    let mut made = Vec::new();
    for vsids in [[5001, 5002], [6001, 6002]] {
        let domain = world.domain();
        let first = world.subnet(domain, vsids[0], WEB);
        let second = world.subnet(domain, vsids[1], DB);
        let a = world.vnic(first, mac(11), web(11));
        let b = world.vnic(second, mac(21), db(21));
        let out = world.vnic(first, mac(14), web(14));
        world.remote(first, mac(12), web(12), peer);
        world.remote(second, mac(22), db(22), peer);
        made.push((domain, first, [a, b, out]));
    }
    let (blue, web, vnics) = made[0];
    Networks {
        world,
        blue,
        web,
        vnics,
        red: made[1].2[0],
    }
}

impl Networks {
    fn send(&mut self, bytes: &[u8]) -> Vec<(weir_tables::ids::PortId, Vec<u8>)> {
        let from = self.vnics[0];
        self.world.send(from, bytes);
        let out = self.world.take();
        self.world.assert_conserved();
        out
    }

    fn dropped(&self, reason: Reason) -> u64 {
        let drops = self.world.drops();
        drops.iter().find(|d| d.0 == reason).map_or(0, |d| d.1)
    }

    fn port(&self, vnic: VnicId) -> weir_tables::ids::PortId {
        self.world.port_of(vnic).unwrap()
    }
}

/// UDP from blue's 11 to its gateway's MAC.
fn udp_to(to: Ipv4Addr) -> Vec<u8> {
    frames::tenant(GATEWAY_MAC, mac(11), web(11), to, b"hello over there")
}

fn with_ttl(mut frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    ipv4::set_ttl(frame[14..].first_chunk_mut().unwrap(), ttl);
    frame
}

/// The frame as it is one hop on.
fn hopped(frame: &[u8], to: Mac) -> Vec<u8> {
    let mut frame = with_ttl(frame.to_vec(), frame[22] - 1);
    frame[..6].copy_from_slice(&to.octets());
    frame[6..12].copy_from_slice(&GATEWAY_MAC.octets());
    frame
}

/// An ICMP error from blue's gateway in web about `sent`: its type and code. Everything else in it is checked.
fn error(got: &[u8], sent: &[u8]) -> (u8, u8) {
    assert_eq!(got[..6], mac(11).octets());
    assert_eq!(got[6..12], GATEWAY_MAC.octets());
    let ip = Ipv4::parse(&got[14..]).unwrap();
    assert!(ip.checksum_is_right());
    assert_eq!((ip.source(), ip.destination()), (WEB, web(11)));
    assert_eq!(
        (ip.ttl(), ip.tos(), got.len()),
        (64, 0xc0, 14 + usize::from(ip.total_len()))
    );
    assert!(ip.total_len() <= 576);
    let message = Icmp::parse(ip.payload()).unwrap();
    assert!(message.checksum_is_right());
    let quote = message.quote().unwrap();
    assert_eq!(quote, icmp::quote(&sent[14..]));
    (message.kind(), message.code())
}

#[test]
fn a_packet_reaches_the_other_subnet_here_and_elsewhere() {
    let mut net = networks();
    let here = udp_to(db(21));
    assert_eq!(
        net.send(&here),
        [(net.port(net.vnics[1]), hopped(&here, mac(21)))]
    );
    let there = udp_to(db(22));
    let out = net.send(&there);
    assert_eq!((out.len(), out[0].0), (1, UPLINK_PORT));
    let outer = &out[0].1;
    // RFC 7637 §3.2: the VSID is that of the destination's subnet.
    assert_eq!(outer[38..41], [0, 0x13, 0x8a]);
    assert_eq!(outer[42..], hopped(&there, mac(22)));
    assert_eq!(checksum::sum(&outer[14..34]), 0xffff);
    // Through the gateway to one's own subnet.
    let own = udp_to(web(12));
    assert_eq!(net.send(&own)[0].1[42..], hopped(&own, mac(12)));
    let itself = udp_to(web(11));
    assert_eq!(net.send(&itself), []);
    assert_eq!(net.dropped(Reason::SamePort), 1);
}

/// No key leads to a record of another network; if one ever did, the packet would not follow it, in a straight line or not.
#[test]
fn a_record_of_another_network_leads_nowhere() {
    let mut net = networks();
    let (sent, ledger) = (udp_to(db(22)), net.world.kept.ledger.clone());
    let view = &net.world.view;
    let (blue, red) = (view.vnic(net.vnics[0]), view.vnic(net.red));
    let (blue, red) = (blue.unwrap(), red.unwrap());
    let out = &mut net.world.kept;
    let record = |of: &Vnic| {
        let target = Target::Remote(weir_tables::ids::PeerId(0));
        let (segment, mac) = (of.segment, mac(22));
        let record = Record {
            target,
            segment,
            mac,
        };
        record.pack()
    };
    let mut frame = net.world.herd.frame(&sent);
    let door = route::ordinary(view, blue, 0, &record(red), &mut frame);
    assert_eq!((door, frame.bytes()), (None, sent.clone()));
    route::forward::<V4, _>(view, &ledger, blue, 0, record(red), frame, out);
    assert_eq!(out.out.len(), 0);
    let mut frame = net.world.herd.frame(&sent);
    let door = route::ordinary(view, blue, 0, &record(blue), &mut frame);
    assert!(door.is_some() && frame.bytes().len() == sent.len() + 42);
    assert_eq!(net.dropped(Reason::NoRecord), 1);
}

#[test]
fn the_other_host_takes_a_routed_packet_to_its_receiver() {
    let mut net = networks();
    // As the other host sends it: from the gateway's MAC, in the destination's subnet.
    let sent = frames::tenant(GATEWAY_MAC, mac(22), db(22), web(11), b"back");
    let inner = hopped(&sent, mac(11));
    let outer = frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 0, &inner);
    net.world.wire(&outer);
    let port = net.port(net.vnics[0]);
    assert_eq!(net.world.take(), [(port, inner)]);
}

#[test]
fn a_subnet_without_a_member_here_is_reached_but_not_accepted() {
    let mut net = networks();
    let peer = weir_tables::ids::PeerId(0);
    let far = net.world.subnet(net.blue, 5003, Ipv4Addr::new(10, 3, 0, 1));
    net.world
        .remote(far, mac(31), Ipv4Addr::new(10, 3, 0, 31), peer);
    net.world
        .view
        .vsids
        .set(weir_wire::Vsid::from_wire(5003), Some((far, false)));
    let sent = udp_to(Ipv4Addr::new(10, 3, 0, 31));
    assert_eq!(net.send(&sent)[0].1[38..41], [0, 0x13, 0x8b]);
    let outer = frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5003, 0, &sent);
    net.world.wire(&outer);
    assert_eq!(net.dropped(Reason::UnknownVsid), 1);
}

#[test]
fn the_gateway_answers_arp_and_ping_in_every_subnet_of_its_network() {
    let mut net = networks();
    let port = net.port(net.vnics[0]);
    let ask = frames::arp_request(mac(11), web(11), WEB);
    for to in [Mac::BROADCAST, GATEWAY_MAC] {
        let mut ask = ask.clone();
        ask[..6].copy_from_slice(&to.octets());
        let out = net.send(&ask);
        assert_eq!((out.len(), out[0].0), (1, port));
        assert_eq!(
            out[0].1[..12],
            [mac(11).octets(), GATEWAY_MAC.octets()].concat()
        );
        assert_eq!(
            out[0].1[22..32],
            [&GATEWAY_MAC.octets()[..], &WEB.octets()].concat()
        );
    }
    // Another subnet's addresses are not on this link.
    for other in [DB, db(21), db(22)] {
        let out = net.send(&frames::arp_request(mac(11), web(11), other));
        assert!(out.iter().all(|out| out.0 != port), "{other}");
    }
    // One that may send from every address has not every address: it asks like the others.
    let from = net.vnics[0];
    net.world
        .change_identity(from, |who| who.v4_nets = [(0, 0)].into());
    assert_eq!(net.send(&ask).len(), 1);
    for (to, options) in [(WEB, 0), (DB, 0), (WEB, 1)] {
        let mut message = vec![8, 0, 0, 0, 0, 7, 0, 1, b'p', b'i', b'n'];
        let sum = checksum::checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = frames::ipv4(web(11), to, 1, &message);
        if options == 1 {
            packet.splice(20..20, [1, 1, 1, 1]);
            packet[0] = 0x46;
            ipv4::set_total_length(packet.first_chunk_mut().unwrap(), 35);
            packet[10..12].fill(0);
            let sum = checksum::checksum(&packet[..24]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let ask = with_ttl(frames::ether(GATEWAY_MAC, mac(11), 0x0800, &packet), 7);
        let out = net.send(&ask);
        assert_eq!((out.len(), out[0].0), (1, port));
        let ip = Ipv4::parse(&out[0].1[14..]).unwrap();
        assert!(ip.checksum_is_right());
        assert_eq!((ip.source(), ip.destination(), ip.ttl()), (to, web(11), 64));
        let answer = Icmp::parse(ip.payload()).unwrap();
        assert!(answer.checksum_is_right());
        assert_eq!((answer.kind(), answer.payload()), (0, &b"pin"[..]));
    }
    let cells = net.world.kept.ledger.cells();
    assert_eq!((cells.generated.get(), cells.consumed.get()), (3, 3));
}

#[test]
fn a_customer_route_leads_to_a_vnic() {
    let mut net = networks();
    let away = udp_to(Ipv4Addr::new(8, 8, 8, 8));
    let out = net.send(&away);
    assert_eq!(error(&out[0].1, &away), (3, 0));
    assert_eq!(net.dropped(Reason::NoRoute), 1);
    let route = |network: [u8; 4], length, via| Route {
        network: network.into(),
        length,
        metric: 10,
        hop: Hop::Via(via),
    };
    net.world
        .route(net.blue, &[], route([0, 0, 0, 0], 0, web(14)));
    net.world
        .route(net.blue, &[], route([9, 0, 0, 0], 8, db(22)));
    net.world
        .route(net.blue, &[], route([9, 9, 0, 0], 16, web(99)));
    assert_eq!(
        net.send(&away),
        [(net.port(net.vnics[2]), hopped(&away, mac(14)))]
    );
    let far = udp_to(Ipv4Addr::new(9, 1, 2, 3));
    assert_eq!(net.send(&far)[0].1[42..], hopped(&far, mac(22)));
    // A next hop that nobody has.
    let lost = udp_to(Ipv4Addr::new(9, 9, 2, 3));
    assert_eq!(error(&net.send(&lost)[0].1, &lost), (3, 1));
    assert_eq!(net.dropped(Reason::HostUnknown), 1);
    // A connected subnet is not left by a default route.
    let absent = udp_to(db(77));
    assert_eq!(error(&net.send(&absent)[0].1, &absent), (3, 1));
    // Red has no such route.
    let red = net.red;
    net.world.send(red, &away);
    let out = net.world.take();
    assert_eq!(error(&out[0].1, &away), (3, 0));
}

#[test]
fn a_packet_whose_time_is_over_and_a_port_of_the_gateway_end_a_traceroute() {
    let mut net = networks();
    for ttl in [0, 1] {
        for to in [db(21), db(22)] {
            let sent = with_ttl(udp_to(to), ttl);
            assert_eq!(error(&net.send(&sent)[0].1, &sent), (11, 0));
        }
    }
    assert_eq!(net.dropped(Reason::TtlExpired), 4);
    let last = with_ttl(udp_to(db(21)), 2);
    assert_eq!(net.send(&last)[0].1[22], 1);
    let sent = with_ttl(udp_to(WEB), 1);
    assert_eq!(error(&net.send(&sent)[0].1, &sent), (3, 3));
    // A long one is quoted in part, also when it comes in pieces.
    let long = frames::tenant(GATEWAY_MAC, mac(11), web(11), web(77), &[7; 1400]);
    let frame: VecFrame = net
        .world
        .herd
        .chain(&[&long[..20], &long[20..700], &long[700..]]);
    let from = net.vnics[0];
    net.world.send_frame(from, frame);
    let out = net.world.take();
    assert_eq!(error(&out[0].1, &long), (3, 1));
    assert_eq!(out[0].1.len(), 14 + 576);
}

/// RFC 1122 §3.2.2, RFC 1812 §4.3.2.7.
#[test]
fn no_error_is_sent_about_an_error_a_later_fragment_or_a_packet_to_many() {
    let mut net = networks();
    let away = Ipv4Addr::new(8, 8, 8, 8);
    let icmp = |kind: u8| {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        let sum = checksum::checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        frames::ether(
            GATEWAY_MAC,
            mac(11),
            0x0800,
            &frames::ipv4(web(11), away, 1, &message),
        )
    };
    for kind in [3, 4, 5, 11, 12] {
        assert_eq!(
            net.send(&icmp(kind)),
            [],
            "about an ICMP error of type {kind}"
        );
    }
    let echo = icmp(8);
    assert_eq!(error(&net.send(&echo)[0].1, &echo), (3, 0));
    let mut later = udp_to(away);
    later[21] = 8;
    later[24..26].fill(0);
    let sum = checksum::checksum(&later[14..34]);
    later[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(net.send(&later), []);
    for to in [
        [224, 0, 0, 9],
        [255, 255, 255, 255],
        [127, 0, 0, 1],
        [0, 1, 2, 3],
    ] {
        assert_eq!(net.send(&udp_to(to.into())), [], "{to:?}");
    }
    assert_eq!(net.dropped(Reason::NoRoute), 5 + 1 + 1 + 4);
    // RFC 1812 §5.2.2: a header whose checksum is wrong is dropped in silence.
    let mut wrong = udp_to(db(21));
    wrong[24] ^= 1;
    assert_eq!(net.send(&wrong), []);
    assert_eq!(net.dropped(Reason::Malformed), 1);
}

#[test]
fn errors_to_one_vnic_are_limited_and_the_drops_counted() {
    let mut net = networks();
    let away = udp_to(Ipv4Addr::new(8, 8, 8, 8));
    let mut told = 0;
    for _ in 0..1000 {
        told += net.send(&away).len();
    }
    assert_eq!((told, net.dropped(Reason::NoRoute)), (50, 1000));
    // A second later there are a hundred more at that pace, 50 of them at once.
    net.world.kept.ledger.cells().now.set(2_600_000_000);
    let told: usize = (0..1000).map(|_| net.send(&away).len()).sum();
    assert_eq!(told, 50);
    // Another vNIC has its own.
    let red = net.red;
    net.world.send(red, &away);
    assert_eq!(net.world.take().len(), 1);
}

#[test]
fn what_is_no_ipv4_and_no_question_ends_at_the_gateway() {
    let mut net = networks();
    let strange = frames::ether(GATEWAY_MAC, mac(11), 0x88b5, b"to the gateway");
    assert_eq!(net.send(&strange), []);
    assert_eq!(net.dropped(Reason::ForGateway), 1);
    assert!(net.world.view.segment(net.web).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Against a slow oracle: all prefixes and records, the longest first, from the definitions.
    #[test]
    fn a_packet_goes_where_the_longest_prefix_and_its_record_say(
        routes in prop::collection::vec((any::<u32>(), 0..=32_u8, 0..3_u32, 0..6_u8), 0..12),
        to in prop_oneof![0x0100_0000..0x7f00_0000_u32, (0..32_u32).prop_map(|i| u32::from(db(i as u8)))],
        near in any::<bool>(),
    ) {
        let mut net = networks();
        let vias = [web(11), web(12), web(14), db(21), db(22), web(99)];
        let mut oracle = vec![(u32::from(web(0)), 24, 0, None), (u32::from(db(0)), 24, 0, None)];
        for (network, length, metric, via) in routes {
            // Prefixes that the destination is in are met often.
            let network = if near { to } else { network };
            let mask = (u64::from(u32::MAX) << (32 - u32::from(length))) as u32;
            let via = vias[usize::from(via)];
            net.world.route(net.blue, &[], Route {
                network: (network & mask).into(),
                length,
                metric,
                hop: Hop::Via(via),
            });
            oracle.push((network & mask, length, metric + 1, Some(via)));
        }
        let to = Ipv4Addr::from(to);
        let records = [(web(11), 11), (web(12), 12), (web(14), 14), (db(21), 21), (db(22), 22)];
        let record = |address| records.iter().find(|r| r.0 == address).map(|r| mac(r.1));
        let covers = |network: u32, length: u8| {
            (0..u32::from(length)).all(|bit| (network ^ u32::from(to)) >> (31 - bit) & 1 == 0)
        };
        let best = oracle.iter().filter(|r| covers(r.0, r.1)).map(|r| (r.1, std::cmp::Reverse(r.2))).max();
        let may_be: Vec<Option<Mac>> = match (record(to), best) {
            (Some(mac), _) => vec![Some(mac)],
            (None, Some((length, std::cmp::Reverse(metric)))) => {
                let best = oracle.iter().filter(|r| covers(r.0, r.1) && r.1 == length && r.2 == metric);
                best.map(|r| r.3.and_then(record)).collect()
            }
            (None, None) => vec![None],
        };
        let own = [WEB, DB].contains(&to);
        let sent = udp_to(to);
        let out = net.send(&sent);
        let wanted = |mac: Option<Mac>| match mac {
            // To itself, or nowhere, or to the gateway: an error or nothing.
            None => out.iter().all(|o| o.0 == net.port(net.vnics[0])),
            Some(to) if to == mac_of_sender() => out.is_empty(),
            Some(to) => out.len() == 1 && out[0].1.ends_with(&hopped(&sent, to)),
        };
        prop_assert!(own || may_be.iter().any(|&mac| wanted(mac)), "{to}: {may_be:?}, {out:02x?}");
    }
}

fn mac_of_sender() -> Mac {
    mac(11)
}
