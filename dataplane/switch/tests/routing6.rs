//! The router of a VM network for IPv6: between its subnets, by customer routes, and what it says when it cannot go on.

use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_switch::outlet::Event;
use weir_switch::testing::frames::{self, Field};
use weir_switch::testing::world::{PEER_MAC, UPLINK_PORT, World};
use weir_tables::domain::{GATEWAY_LINK_LOCAL, GATEWAY_MAC, Hop, Route};
use weir_tables::endpoints::{Destination, Record, Target, record6_key};
use weir_tables::ids::{DomainId, PeerId, PortId, SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::icmp6::{self, Icmp6};
use weir_wire::ipv6::Ipv6;
use weir_wire::{IpProtocol, Mac, nd};

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const WEB: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
const DB: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1);
const AWAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 8);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn web(i: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, i.into())
}

fn db(i: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, i.into())
}

/// Blue has two subnets, red has the same addresses. Of each: 11 in web and 21 in db are here, 12 and 22 behind a peer,
/// and web's 14, here, is the way out for what has no other.
struct Networks {
    world: World,
    blue: DomainId,
    /// Blue's 11, 21 and 14.
    vnics: [VnicId; 3],
    /// Red's 11.
    red: VnicId,
}

fn networks() -> Networks {
    let mut world = World::new(256, None);
    let peer = world.peer(PA, Some(PEER_MAC));
    let four = |subnet, last| Ipv4Addr::new(10, subnet, 0, last);
    let mut made = Vec::new();
    for vsids in [[5001, 5002], [6001, 6002]] {
        let domain = world.domain();
        let first = world.subnet(domain, vsids[0], four(1, 1));
        let second = world.subnet(domain, vsids[1], four(2, 1));
        world.subnet6(first, WEB, 64);
        world.subnet6(second, DB, 64);
        let a = world.vnic(first, mac(11), four(1, 11));
        let b = world.vnic(second, mac(21), four(2, 21));
        let out = world.vnic(first, mac(14), four(1, 14));
        for (vnic, ca) in [(a, web(11)), (b, db(21)), (out, web(14))] {
            world.address6(vnic, ca);
        }
        world.remote6(first, mac(12), web(12), peer);
        world.remote6(second, mac(22), db(22), peer);
        made.push((domain, [a, b, out]));
    }
    Networks {
        world,
        blue: made[0].0,
        vnics: made[0].1,
        red: made[1].1[0],
    }
}

impl Networks {
    fn send(&mut self, bytes: &[u8]) -> Vec<(PortId, Vec<u8>)> {
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

    fn port(&self, vnic: VnicId) -> PortId {
        self.world.port_of(vnic).unwrap()
    }

    fn route(&mut self, network: Ipv6Addr, length: u8, via: Ipv6Addr) {
        let route = Route {
            network,
            length,
            metric: 10,
            hop: Hop::Via(via),
        };
        self.world.route6(self.blue, &[], route);
    }
}

/// UDP of so many bytes to the gateway's MAC.
fn udp(from: Ipv6Addr, to: Ipv6Addr, length: usize) -> Vec<u8> {
    let both = (IpAddr::V6(from), IpAddr::V6(to));
    let l4 = frames::l4(17, both, (4000, 5000), &vec![7; length], Field::Right);
    frames::ether(
        GATEWAY_MAC,
        mac(11),
        0x86dd,
        &frames::ipv6(from, to, 17, &l4),
    )
}

fn udp_to(to: Ipv6Addr) -> Vec<u8> {
    udp(web(11), to, 20)
}

fn with_hops(mut frame: Vec<u8>, hops: u8) -> Vec<u8> {
    frame[21] = hops;
    frame
}

/// The frame as it is one hop on. IPv6 has no checksum of its header to mend.
fn hopped(frame: &[u8], to: Mac) -> Vec<u8> {
    let mut frame = with_hops(frame.to_vec(), frame[21] - 1);
    frame[..6].copy_from_slice(&to.octets());
    frame[6..12].copy_from_slice(&GATEWAY_MAC.octets());
    frame
}

/// An ICMPv6 error from blue's gateway in web about `sent`: its type, code and the word behind. Everything else in it is
/// checked.
fn error(got: &[u8], sent: &[u8]) -> (u8, u8, u32) {
    assert_eq!(got[..6], mac(11).octets());
    assert_eq!(got[6..12], GATEWAY_MAC.octets());
    let ip = Ipv6::parse(&got[14..]).unwrap();
    let to = Ipv6::parse_quote(&sent[14..]).unwrap().source();
    let from = match to.is_unicast_link_local() {
        true => GATEWAY_LINK_LOCAL,
        false => WEB,
    };
    assert_eq!((ip.source(), ip.destination()), (from, to));
    assert_eq!((ip.hop_limit(), ip.next_header()), (64, IpProtocol::ICMPV6));
    // RFC 4443 §2.4 (c).
    let whole = got.len() - 14;
    assert_eq!(whole, 40 + usize::from(ip.payload_len()));
    assert!(whole <= 1280);
    let message = Icmp6::parse(ip.payload()).unwrap();
    assert!(message.checksum_is_right(ip.source(), ip.destination()));
    assert_eq!(&message.body()[4..], icmp6::quote(&sent[14..]));
    let word = *message.body().first_chunk::<4>().unwrap();
    (message.kind(), message.code(), u32::from_be_bytes(word))
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
    // RFC 7637 §3.2: the VSID is that of the destination's subnet. §4.5: any customer family in any provider's.
    assert_eq!(out[0].1[38..41], [0, 0x13, 0x8a]);
    assert_eq!(out[0].1[42..], hopped(&there, mac(22)));
    // Through the gateway to one's own subnet, and to oneself.
    let own = udp_to(web(12));
    assert_eq!(net.send(&own)[0].1[42..], hopped(&own, mac(12)));
    assert_eq!(net.send(&udp_to(web(11))), []);
    assert_eq!(net.dropped(Reason::SamePort), 1);
}

/// RFC 8200 §3.
#[test]
fn a_hop_limit_that_does_not_last_and_a_port_of_the_gateway_end_a_traceroute() {
    let mut net = networks();
    for hops in [0, 1] {
        for to in [db(21), db(22)] {
            let sent = with_hops(udp_to(to), hops);
            assert_eq!(error(&net.send(&sent)[0].1, &sent), (3, 0, 0));
        }
    }
    assert_eq!(net.dropped(Reason::TtlExpired), 4);
    let last = with_hops(udp_to(db(21)), 2);
    assert_eq!(net.send(&last)[0].1[21], 1);
    let sent = with_hops(udp_to(WEB), 1);
    assert_eq!(error(&net.send(&sent)[0].1, &sent), (1, 4, 0));
    // A long one is quoted in part, also when it comes in pieces.
    let long = udp(web(11), web(77), 1400);
    let herd = &net.world.herd;
    let frame = herd.chain(&[&long[..20], &long[20..700], &long[700..]]);
    let from = net.vnics[0];
    net.world.send_frame(from, frame);
    let out = net.world.take();
    assert_eq!(error(&out[0].1, &long), (1, 3, 0));
    assert_eq!(out[0].1.len(), 14 + 1280);
}

#[test]
fn a_customer_route_leads_to_a_vnic() {
    let mut net = networks();
    let away = udp_to(AWAY);
    assert_eq!(error(&net.send(&away)[0].1, &away), (1, 0, 0));
    assert_eq!(net.dropped(Reason::NoRoute), 1);
    net.route(Ipv6Addr::UNSPECIFIED, 0, web(14));
    net.route(Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 0), 32, db(22));
    net.route(Ipv6Addr::new(0x2001, 0xdb9, 9, 0, 0, 0, 0, 0), 48, web(99));
    assert_eq!(
        net.send(&away),
        [(net.port(net.vnics[2]), hopped(&away, mac(14)))]
    );
    let far = udp_to(Ipv6Addr::new(0x2001, 0xdb9, 1, 0, 0, 0, 0, 1));
    assert_eq!(net.send(&far)[0].1[42..], hopped(&far, mac(22)));
    // A next hop that nobody has.
    let lost = udp_to(Ipv6Addr::new(0x2001, 0xdb9, 9, 0, 0, 0, 0, 1));
    assert_eq!(error(&net.send(&lost)[0].1, &lost), (1, 3, 0));
    assert_eq!(net.dropped(Reason::HostUnknown), 1);
    // A connected subnet is not left by a default route.
    let absent = udp_to(db(77));
    assert_eq!(error(&net.send(&absent)[0].1, &absent), (1, 3, 0));
    // Red has no such route.
    let red = net.red;
    net.world.send(red, &away);
    let out = net.world.take();
    assert_eq!(error(&out[0].1, &away), (1, 0, 0));
}

#[test]
fn the_gateway_answers_ping_by_each_of_its_names() {
    let mut net = networks();
    let port = net.port(net.vnics[0]);
    for (from, to) in [
        (web(11), WEB),
        (web(11), DB),
        (mac(11).link_local(), GATEWAY_LINK_LOCAL),
        (mac(11).link_local(), WEB),
    ] {
        let asked = [128, 0, 0, 0, 0, 7, 0, 1, b'p', b'i', b'n'];
        let packet = frames::icmp6(from, to, 7, &asked);
        let out = net.send(&frames::ether(GATEWAY_MAC, mac(11), 0x86dd, &packet));
        assert_eq!((out.len(), out[0].0), (1, port));
        let got = &out[0].1;
        assert_eq!(got[..6], mac(11).octets());
        assert_eq!(got[6..12], GATEWAY_MAC.octets());
        let ip = Ipv6::parse(&got[14..]).unwrap();
        assert_eq!(
            (ip.source(), ip.destination(), ip.hop_limit()),
            (to, from, 64)
        );
        let answer = Icmp6::parse(ip.payload()).unwrap();
        assert!(answer.checksum_is_right(to, from));
        assert_eq!((answer.kind(), &answer.body()[4..]), (129, &b"pin"[..]));
    }
    let cells = net.world.kept.ledger.cells();
    assert_eq!((cells.generated.get(), cells.consumed.get()), (4, 4));
    // Anything else that is for it and no question.
    let packet = frames::icmp6(web(11), WEB, 64, &[129, 0, 0, 0, 0, 7, 0, 1]);
    assert_eq!(
        net.send(&frames::ether(GATEWAY_MAC, mac(11), 0x86dd, &packet)),
        []
    );
    assert_eq!(net.dropped(Reason::ForGateway), 1);
}

/// RFC 4291 §2.5.6: not from, not to. RFC 4443 §3.1: code 2.
#[test]
fn nothing_link_local_is_routed() {
    let mut net = networks();
    net.route(Ipv6Addr::UNSPECIFIED, 0, web(14));
    for to in [db(21), db(22), web(12), AWAY] {
        let sent = udp(mac(11).link_local(), to, 20);
        assert_eq!(error(&net.send(&sent)[0].1, &sent), (1, 2, 0), "{to}");
    }
    assert_eq!(net.dropped(Reason::LinkLocal), 4);
    for to in [mac(12).link_local(), mac(21).link_local()] {
        assert_eq!(net.send(&udp_to(to)), [], "{to}");
    }
    for to in ["ff0e::1", "ff02::1", "::1", "::"] {
        assert_eq!(net.send(&udp_to(to.parse().unwrap())), [], "{to}");
    }
    assert_eq!(net.dropped(Reason::NoRoute), 2 + 4);
}

/// RFC 4443 §2.4 (e).
#[test]
fn no_error_is_sent_about_an_error_a_redirect_or_what_is_from_no_one_host() {
    let mut net = networks();
    let icmp6 = |kind: u8| {
        let packet = frames::icmp6(web(11), AWAY, 64, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        frames::ether(GATEWAY_MAC, mac(11), 0x86dd, &packet)
    };
    for kind in [1, 2, 3, 4, 100, 127, 137] {
        assert_eq!(net.send(&icmp6(kind)), [], "about type {kind}");
    }
    let echo = icmp6(128);
    assert_eq!(error(&net.send(&echo)[0].1, &echo), (1, 0, 0));
    // A later fragment of an ICMPv6 message may be an error's.
    let fragment = |next: u8, offset: u8| {
        let inner = [&[next, 0, 0, offset, 0, 0, 0, 7][..], &[0x85; 16]].concat();
        let packet = frames::ipv6(web(11), AWAY, 44, &inner);
        frames::ether(GATEWAY_MAC, mac(11), 0x86dd, &packet)
    };
    assert_eq!(net.send(&fragment(58, 8)), []);
    let other = fragment(17, 8);
    assert_eq!(error(&net.send(&other)[0].1, &other), (1, 0, 0));
    assert_eq!(net.dropped(Reason::NoRoute), 7 + 1 + 2);
}

#[test]
fn errors_of_both_families_to_one_vnic_share_a_limit() {
    let mut net = networks();
    let away = udp_to(AWAY);
    let four = frames::tenant(
        GATEWAY_MAC,
        mac(11),
        Ipv4Addr::new(10, 1, 0, 11),
        Ipv4Addr::new(8, 8, 8, 8),
        b"x",
    );
    let told: usize = (0..200)
        .map(|i| net.send(if i % 2 == 0 { &away } else { &four }).len())
        .sum();
    assert_eq!((told, net.dropped(Reason::NoRoute)), (50, 200));
}

/// RFC 8200 §5, RFC 4443 §3.2.
#[test]
fn what_does_not_fit_is_answered_with_the_mtu_that_does() {
    let mut net = networks();
    // 1,600 less 28 outer bytes and an inner Ethernet header.
    let fits = 1600 - 28 - 14;
    for (to, hop) in [(db(22), 1), (web(12), 0)] {
        let of_length = |length: usize| {
            let mut frame = udp(web(11), to, length - 48);
            if hop == 0 {
                frame[..6].copy_from_slice(&mac(12).octets());
            }
            frame
        };
        if hop == 0 {
            let (segment, peer) = (SegmentId(0), PeerId(0));
            net.world
                .remote(segment, mac(12), Ipv4Addr::new(10, 1, 0, 12), peer);
        }
        assert_eq!(net.send(&of_length(fits))[0].0, UPLINK_PORT);
        let more = of_length(fits + 1);
        let got = net.send(&more);
        assert_eq!(error(&got[0].1, &more), (2, 0, fits as u32));
    }
    assert_eq!(net.dropped(Reason::TooBig), 2);
}

#[test]
fn a_way_that_carries_less_than_1280_bytes_says_nothing_that_no_host_believes() {
    let mut net = networks();
    let peers = net.world.view.peers.iter().map(|peer| {
        let mut peer = *peer;
        peer.max_inner = 14 + 1279;
        peer
    });
    net.world.view.peers = peers.collect();
    assert_eq!(net.send(&udp(web(11), db(22), 1280 - 48)), []);
    assert_eq!(net.dropped(Reason::TooBig), 1);
    let fits = udp(web(11), db(22), 1279 - 48);
    assert_eq!(net.send(&fits)[0].0, UPLINK_PORT);
}

/// Pull on miss, as with IPv4: routed, by a neighbour's question, and in vain.
#[test]
fn who_has_no_record_yet_is_asked_for() {
    let mut net = networks();
    net.world.on_miss(net.blue, true);
    let [first, second] = [udp(web(11), db(55), 20), udp(web(11), db(55), 21)];
    assert_eq!((net.send(&first), net.send(&second)), (vec![], vec![]));
    let asked = nd::Solicitation {
        target: web(56),
        mac: mac(11),
    };
    let to = nd::solicited_node(web(56));
    let packet = frames::icmp6(web(11), to, 255, &asked.octets(web(11), to));
    let question = frames::ether(
        Mac::new([0x33, 0x33, 0xff, 0, 0, 56]),
        mac(11),
        0x86dd,
        &packet,
    );
    assert_eq!(net.send(&question), []);
    let vnic = net.vnics[0];
    let [routed, neighbor] = [db(55), web(56)].map(|ca| Destination::V6(net.blue, ca));
    let miss = |to| Event::Miss { vnic, to };
    assert_eq!(net.world.kept.events, [miss(routed), miss(neighbor)]);
    for (segment, ca, i) in [(SegmentId(1), db(55), 55), (SegmentId(0), web(56), 56)] {
        net.world.remote6(segment, mac(i), ca, PeerId(0));
    }
    net.world.answer(routed, true);
    let inner: Vec<_> = net
        .world
        .take()
        .into_iter()
        .map(|o| o.1[42..].to_vec())
        .collect();
    assert_eq!(inner, [hopped(&first, mac(55)), hopped(&second, mac(55))]);
    net.world.answer(neighbor, true);
    let out = net.world.take();
    assert_eq!(out[0].0, net.port(vnic));
    assert_eq!(out[0].1[6..12], mac(56).octets());
    let lost = udp_to(db(57));
    assert_eq!(net.send(&lost), []);
    net.world.answer(Destination::V6(net.blue, db(57)), false);
    assert_eq!(error(&net.world.take()[0].1, &lost), (1, 3, 0));
    net.world.assert_conserved();
}

/// The tag that covers addresses may be anything: what a record says of another VM network is not followed.
#[test]
fn a_record_of_another_network_under_the_same_key_leads_nowhere() {
    let mut net = networks();
    let sent = udp_to(db(55));
    assert_eq!(error(&net.send(&sent)[0].1, &sent), (1, 3, 0));
    // As if red's tag had covered an address of its own with the very bits of blue's key.
    let tag = net.world.view.domain(net.blue).unwrap().tag;
    let red = net.world.view.vnic(net.red).unwrap();
    let record = Record {
        target: Target::Local(net.red),
        segment: red.segment,
        mac: red.identity.mac,
    };
    net.world.put_record6_at(record6_key(tag, db(55)), record);
    assert_eq!(net.send(&sent), []);
    assert_eq!(net.dropped(Reason::NoRecord), 1);
    // Nor by a route to it, nor is a neighbour found by it.
    net.route(AWAY, 128, db(55));
    assert_eq!(net.send(&udp_to(AWAY)), []);
    assert_eq!(net.dropped(Reason::NoRecord), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Against a slow oracle: all prefixes and records, bit by bit, the longest first, from the definitions.
    #[test]
    fn a_packet_goes_where_the_longest_prefix_and_its_record_say(
        routes in prop::collection::vec((any::<u128>(), 0..=128_u8, 0..3_u32, 0..6_u8), 0..12),
        to in prop_oneof![
            any::<u128>().prop_map(|bits| bits >> 3 | 1 << 125),
            (0..32_u8).prop_map(|i| u128::from(db(i))),
        ],
        near in any::<bool>(),
    ) {
        let mut net = networks();
        let vias = [web(11), web(12), web(14), db(21), db(22), web(99)];
        let prefix = |address: Ipv6Addr| u128::from(address) >> 64 << 64;
        let mut oracle = vec![(prefix(WEB), 64, 0, None), (prefix(DB), 64, 0, None)];
        for (network, length, metric, via) in routes {
            // Prefixes that the destination is in are met often.
            let network = if near { to } else { network };
            let network = (0..128 - u32::from(length)).fold(network, |bits, bit| bits & !(1 << bit));
            let via = vias[usize::from(via)];
            let route = Route {
                network: network.into(),
                length,
                metric,
                hop: Hop::Via(via),
            };
            net.world.route6(net.blue, &[], route);
            oracle.push((network, length, metric + 1, Some(via)));
        }
        let records = [(web(11), 11), (web(12), 12), (web(14), 14), (db(21), 21), (db(22), 22)];
        let record = |address| records.iter().find(|r| r.0 == address).map(|r| mac(r.1));
        let address = Ipv6Addr::from(to);
        let covers = |network: u128, length: u8| {
            (0..length).all(|bit| (network ^ to) >> (127 - bit) & 1 == 0)
        };
        let covering: Vec<_> = oracle.iter().filter(|r| covers(r.0, r.1)).collect();
        let best = covering.iter().map(|r| (r.1, std::cmp::Reverse(r.2))).max();
        let chosen = covering.iter().filter(|r| Some((r.1, std::cmp::Reverse(r.2))) == best);
        let may_be: Vec<Option<Mac>> = match record(address) {
            Some(mac) => vec![Some(mac)],
            None if best.is_none() => vec![None],
            None => chosen.map(|r| r.3.and_then(record)).collect(),
        };
        let own = [WEB, DB].contains(&address);
        let sent = udp_to(address);
        let out = net.send(&sent);
        let wanted = |to: Option<Mac>| match to {
            // To itself, or nowhere, or to the gateway: an error or nothing.
            None => out.iter().all(|o| o.0 == net.port(net.vnics[0])),
            Some(to) if to == mac(11) => out.is_empty(),
            Some(to) => out.len() == 1 && out[0].1.ends_with(&hopped(&sent, to)),
        };
        prop_assert!(own || may_be.iter().any(|&mac| wanted(mac)), "{address}: {may_be:?}, {out:02x?}");
    }
}
