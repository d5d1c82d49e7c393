//! IP rewrite: customer addresses here, provider addresses on the wire, and nothing longer for it. What shall be on the wire
//! is made here from its parts, every checksum anew.

use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use weir_switch::frame::L4Checksum;
use weir_switch::outlet::Event;
use weir_switch::testing::frames::{self, Field, ether};
use weir_switch::testing::world::{OWN_PA, UPLINK_FRAME, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::domain::{GATEWAY_MAC, Hop, Route};
use weir_tables::endpoints::Destination;
use weir_tables::ids::{DomainId, SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::ipv4::{self, Fragmentation, Ipv4};
use weir_wire::{Mac, checksum, icmp};

const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const OTHER_MAC: Mac = Mac::new([2, 0xbb, 0, 0, 0, 2]);
const WEB: u32 = 5001;
const DB: u32 = 5002;
const PLAIN: u32 = 5003;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

/// Customer and provider address of vNIC `i` of subnet `net`.
fn ca(net: u8, i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, net, 0, 10 + i)
}

fn pa(net: u8, i: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 50, 100 + 10 * net + i)
}

/// One host of two, which hold the same.
struct Host {
    world: World,
    web: SegmentId,
    /// Of subnet web (1): vNIC 1 and 2. Of db (2): 3. Of an NVGRE subnet (3): 4.
    vnics: [Option<VnicId>; 4],
    domain: DomainId,
}

/// On the first host are 1 in web and 4 in the NVGRE subnet, on the second 2 in web, 3 in db; blue.
fn host(first: bool, vlan: Option<u16>) -> Host {
    let mut world = if first {
        World::host(64, vlan, UPLINK_MAC, OWN_PA)
    } else {
        World::host(64, vlan, OTHER_MAC, OTHER_HOST)
    };
    let domain = world.domain();
    let web = world.subnet(domain, WEB, GATEWAY);
    let db = world.subnet(domain, DB, Ipv4Addr::new(10, 2, 0, 1));
    let plain = world.subnet(domain, PLAIN, Ipv4Addr::new(10, 3, 0, 1));
    world.rewritten(web);
    world.rewritten(db);
    let other = if first {
        world.peer(OTHER_HOST, Some(OTHER_MAC))
    } else {
        world.peer(OWN_PA, Some(UPLINK_MAC))
    };
    let members = [
        (web, 1, 1, true),
        (web, 1, 2, false),
        (db, 2, 3, false),
        (plain, 3, 4, true),
    ];
    let vnics = members.map(|(segment, net, i, on_first)| {
        if on_first == first {
            let id = world.vnic(segment, mac(i), ca(net, i));
            if net != 3 {
                world.give_pa(id, pa(net, i));
            }
            return Some(id);
        }
        if net == 3 {
            world.remote(segment, mac(i), ca(net, i), other);
        } else {
            world.remote_pa(segment, ca(net, i), other, pa(net, i));
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
        let place = |port| match (1..=4)
            .find(|&i| self.vnics[i - 1].is_some_and(|id| self.world.port_of(id) == Some(port)))
        {
            Some(i) => Where::Vnic(i),
            None => {
                assert_eq!(port, UPLINK_PORT);
                Where::Wire
            }
        };
        out.into_iter()
            .map(|(port, bytes)| (place(port), bytes))
            .collect()
    }

    fn dropped(&self, reason: Reason) -> u64 {
        let drops = self.world.drops();
        drops
            .iter()
            .find(|drop| drop.0 == reason)
            .map_or(0, |drop| drop.1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Vnic(usize),
    Wire,
}

/// A datagram from vNIC 1 by customer addresses.
fn from_a(dst: Mac, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    ether(
        dst,
        mac(1),
        0x0800,
        &frames::udp((ca(1, 1), 4000), (to, 5000), payload),
    )
}

/// The same on the wire.
fn on_the_wire(to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    ether(
        OTHER_MAC,
        UPLINK_MAC,
        0x0800,
        &frames::udp((pa(1, 1), 4000), (to, 5000), payload),
    )
}

fn with_ttl(mut frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    ipv4::set_ttl(frame[14..].first_chunk_mut().unwrap(), ttl);
    frame
}

/// Payloads: a datagram with the one goes the general way, with the other, long enough to have all that TCP has, in a
/// straight line.
const SHORT_AND_LONG: [&[u8]; 2] = [b"short", b"long enough for the straight line"];

#[test]
fn a_packet_travels_by_provider_addresses_and_arrives_as_it_was() {
    SHORT_AND_LONG.into_iter().for_each(travels);
}

fn travels(payload: &[u8]) {
    for vlan in [None, Some(300)] {
        let (mut here, mut there) = (host(true, vlan), host(false, vlan));
        // Whatever the MAC says: the subnet is of layer 3.
        for dst in [GATEWAY_MAC, mac(2), mac(77)] {
            let sent = from_a(dst, ca(1, 2), payload);
            let mut wanted = on_the_wire(pa(1, 2), payload);
            assert_eq!(wanted.len(), sent.len(), "nothing is longer");
            if let Some(vlan) = vlan {
                frames::tag(&mut wanted, vlan);
            }
            let out = here.send(1, &sent);
            assert_eq!(out, [(Where::Wire, wanted.clone())]);
            let mut received = sent;
            received[..12].copy_from_slice(&[mac(2).octets(), GATEWAY_MAC.octets()].concat());
            // As a device pads it.
            wanted.resize(wanted.len() + 18, 0);
            assert_eq!(there.wire(&wanted), [(Where::Vnic(2), received)]);
        }
    }
}

#[test]
fn to_another_subnet_it_is_a_hop_and_within_one_it_is_not() {
    SHORT_AND_LONG.into_iter().for_each(hops);
}

fn hops(payload: &[u8]) {
    let (mut here, mut there) = (host(true, None), host(false, None));
    let sent = from_a(GATEWAY_MAC, ca(2, 3), payload);
    let wire = with_ttl(on_the_wire(pa(2, 3), payload), 63);
    assert_eq!(here.send(1, &sent), [(Where::Wire, wire.clone())]);
    let mut wanted = with_ttl(sent, 63);
    wanted[..12].copy_from_slice(&[mac(3).octets(), GATEWAY_MAC.octets()].concat());
    assert_eq!(there.wire(&wire), [(Where::Vnic(3), wanted)]);
    // Its last hop.
    let out = here.send(1, &with_ttl(from_a(GATEWAY_MAC, ca(2, 3), payload), 1));
    assert_eq!(
        (out[0].0, out[0].1[34..36].to_vec()),
        (Where::Vnic(1), vec![11, 0])
    );
    let last = with_ttl(from_a(GATEWAY_MAC, ca(1, 2), payload), 1);
    assert_eq!(
        here.send(1, &last),
        [(Where::Wire, with_ttl(on_the_wire(pa(1, 2), payload), 1))]
    );
    assert_eq!(here.dropped(Reason::TtlExpired), 1);
}

#[test]
fn on_one_host_the_address_decides_too() {
    let mut here = host(true, None);
    let near = here.world.vnic(here.web, mac(9), ca(1, 9));
    here.world.give_pa(near, pa(1, 9));
    here.vnics[1] = Some(near);
    for dst in [GATEWAY_MAC, mac(9), mac(77)] {
        let sent = from_a(dst, ca(1, 9), b"near");
        let mut wanted = sent.clone();
        wanted[..6].copy_from_slice(&mac(9).octets());
        assert_eq!(here.send(1, &sent), [(Where::Vnic(2), wanted)]);
    }
    // To the NVGRE subnet here, and back: hops.
    let sent = from_a(GATEWAY_MAC, ca(3, 4), b"plain");
    let mut wanted = with_ttl(sent.clone(), 63);
    wanted[..12].copy_from_slice(&[mac(4).octets(), GATEWAY_MAC.octets()].concat());
    assert_eq!(here.send(1, &sent), [(Where::Vnic(4), wanted)]);
    // To itself, to nobody, to the gateway.
    assert_eq!(here.send(1, &from_a(mac(9), ca(1, 1), b"self")), []);
    assert_eq!(here.dropped(Reason::SamePort), 1);
    let out = here.send(1, &from_a(mac(9), ca(1, 50), b"nobody"));
    assert_eq!(
        (out[0].0, out[0].1[34..36].to_vec()),
        (Where::Vnic(1), vec![3, 1])
    );
    let out = here.send(1, &from_a(mac(9), GATEWAY, b"gateway"));
    assert_eq!(
        (out[0].0, out[0].1[34..36].to_vec()),
        (Where::Vnic(1), vec![3, 3])
    );
}

#[test]
fn arp_is_answered_and_other_frames_stay_on_the_host() {
    let mut here = host(true, None);
    let near = here.world.vnic(here.web, mac(9), ca(1, 9));
    here.vnics[1] = Some(near);
    let answer = |out: Vec<(Where, Vec<u8>)>| {
        assert_eq!(out[0].0, Where::Vnic(1));
        out[0].1[22..28].to_vec()
    };
    let ask = |target| frames::arp_request(mac(1), ca(1, 1), target);
    assert_eq!(answer(here.send(1, &ask(ca(1, 2)))), GATEWAY_MAC.octets());
    assert_eq!(answer(here.send(1, &ask(ca(1, 9)))), mac(9).octets());
    assert_eq!(answer(here.send(1, &ask(GATEWAY))), GATEWAY_MAC.octets());
    // Again by unicast, to the gateway's MAC and to one that has moved away.
    for dst in [GATEWAY_MAC, mac(2)] {
        let mut again = ask(ca(1, 2));
        again[..6].copy_from_slice(&dst.octets());
        assert_eq!(answer(here.send(1, &again)), GATEWAY_MAC.octets());
    }
    // Members here get what is for many, the wire does not.
    let many = ether(Mac::BROADCAST, mac(1), 0x88b5, b"to all");
    assert_eq!(here.send(1, &many), [(Where::Vnic(2), many.clone())]);
    assert_eq!(here.dropped(Reason::NotRewritable), 1);
    let nobody = ask(ca(1, 77));
    assert_eq!(here.send(1, &nobody), [(Where::Vnic(2), nobody.clone())]);
    assert_eq!(here.dropped(Reason::NotRewritable), 2);
    // Other protocols to one MAC.
    let one = ether(mac(9), mac(1), 0x88b5, b"to one");
    assert_eq!(here.send(1, &one), [(Where::Vnic(2), one.clone())]);
    assert_eq!(here.send(1, &ether(mac(2), mac(1), 0x88b5, b"away")), []);
    assert_eq!(here.dropped(Reason::NotRewritable), 3);
    // Alone on its host, its broadcast is that drop and no copy.
    let mut there = host(false, None);
    let many = ether(Mac::BROADCAST, mac(2), 0x88b5, b"to all");
    assert_eq!(there.send(2, &many), []);
    assert_eq!(there.world.drops(), [(Reason::NotRewritable, 1)]);
}

#[test]
fn a_source_without_a_provider_address_does_not_leave() {
    let mut here = host(true, None);
    let id = here.id(1);
    here.world
        .change_identity(id, |who| who.v4_nets = [(0, 0)].into());
    let forwarded = frames::udp(([8, 8, 8, 8].into(), 53), (ca(1, 2), 5000), b"other");
    assert_eq!(
        here.send(1, &ether(GATEWAY_MAC, mac(1), 0x0800, &forwarded)),
        []
    );
    assert_eq!(here.world.drops(), [(Reason::NotRewritable, 1)]);
    // Nor does a packet for somebody behind a next hop: the next hop's provider address is not his.
    let route = Route {
        network: Ipv4Addr::UNSPECIFIED,
        length: 0,
        metric: 0,
        hop: Hop::Via(ca(1, 2)),
    };
    here.world.route(here.domain, &[], route);
    let out = here.send(1, &from_a(GATEWAY_MAC, [8, 8, 8, 8].into(), b"away"));
    assert!(
        out.iter().all(|(place, _)| *place == Where::Vnic(1)),
        "{out:02x?}"
    );
    assert_eq!(here.dropped(Reason::HostUnknown), 1);
}

/// Two networks with the same customer addresses on both hosts.
#[test]
fn each_refusal_from_the_wire_has_its_reason() {
    let mut there = host(false, None);
    let red = there.world.domain();
    let red_web = there.world.subnet(red, 6001, GATEWAY);
    there.world.rewritten(red_web);
    let r = there.world.vnic(red_web, mac(2), ca(1, 2));
    there.world.give_pa(r, pa(1, 7));
    let peer = there
        .world
        .peer(Ipv4Addr::new(192, 168, 50, 3), Some(OTHER_MAC));
    there.world.remote_pa(red_web, ca(1, 1), peer, pa(1, 8));
    let packet = |from, to| {
        let packet = frames::udp((from, 4000), (to, 5000), b"x");
        ether(OTHER_MAC, UPLINK_MAC, 0x0800, &packet)
    };
    let mut short = packet(pa(1, 1), pa(1, 2));
    short[14 + 3] = 26; // a UDP header cut in the middle, as a first fragment
    short[14 + 6] = 0x20;
    short[14 + 10..14 + 12].fill(0);
    let sum = checksum::checksum(&short[14..34]);
    short[24..26].copy_from_slice(&sum.to_be_bytes());
    let cases = [
        (packet(pa(1, 1), pa(1, 7)), Reason::OtherNetwork),
        (packet(pa(1, 8), pa(1, 2)), Reason::OtherNetwork),
        (packet(pa(1, 9), pa(1, 2)), Reason::UnknownPa),
        (packet(OWN_PA, pa(1, 2)), Reason::UnknownPa),
        (packet(pa(2, 3), pa(1, 2)), Reason::InnerSourceLocal),
        (packet(pa(1, 1), pa(1, 1)), Reason::OuterNotOurs),
        (
            packet(pa(1, 1), [192, 168, 50, 99].into()),
            Reason::OuterNotOurs,
        ),
        (short, Reason::NotRewritable),
    ];
    for (bytes, reason) in cases {
        let before = there.dropped(reason);
        assert_eq!(there.wire(&bytes), [], "{reason:?}");
        assert_eq!(there.dropped(reason), before + 1, "{reason:?}");
    }
    // The hosts' own addresses keep their meaning.
    assert_eq!(there.wire(&packet(pa(1, 1), OTHER_HOST)), []);
    assert_eq!(there.dropped(Reason::OuterProtocol), 1);
    // GRE to a vNIC's address is the tenant's own.
    let gre = ether(
        OTHER_MAC,
        UPLINK_MAC,
        0x0800,
        &frames::ipv4(pa(1, 1), pa(1, 2), 47, b"\x20\0\x65\x58...."),
    );
    assert_eq!(there.wire(&gre).len(), 1);
    // And red hears red.
    there.world.wire(&packet(pa(1, 8), pa(1, 7)));
    assert_eq!(there.world.take()[0].0, there.world.port_of(r).unwrap());
}

#[test]
fn a_removed_vnic_s_address_is_nobody_s() {
    let mut there = host(false, None);
    there.world.remove(there.id(2));
    let packet = frames::udp((pa(1, 1), 4000), (pa(1, 2), 5000), b"x");
    there
        .world
        .wire(&ether(OTHER_MAC, UPLINK_MAC, 0x0800, &packet));
    assert_eq!(there.world.take(), []);
    assert_eq!(there.dropped(Reason::OuterNotOurs), 1);
}

/// The destination's record decides; who has no provider address is carried by NVGRE.
#[test]
fn nvgre_and_rewrite_meet_in_one_network() {
    let (mut here, mut there) = (host(true, None), host(false, None));
    let to_db = |from, src: Mac, dst: Mac| {
        ether(
            dst,
            src,
            0x0800,
            &frames::udp((from, 4000), (ca(2, 3), 5000), b"mixed"),
        )
    };
    let sent = to_db(ca(3, 4), mac(4), GATEWAY_MAC);
    let out = here.send(4, &sent);
    let hopped = with_ttl(to_db(ca(3, 4), GATEWAY_MAC, GATEWAY_MAC), 63);
    let (place, wire) = &out[0];
    assert_eq!(*place, Where::Wire);
    let vsid = DB.to_be_bytes();
    assert_eq!(
        wire[34..41],
        [0x20, 0, 0x65, 0x58, vsid[1], vsid[2], vsid[3]]
    );
    assert_eq!(wire[42..], hopped);
    // The other host knows whose address that is.
    let mut wanted = hopped.clone();
    wanted[..6].copy_from_slice(&mac(3).octets());
    assert_eq!(there.wire(wire), [(Where::Vnic(3), wanted)]);
    // An address that is not of that subnet, or of nobody, is not looked for.
    for to in [ca(1, 2), ca(2, 77)] {
        let inner = ether(
            GATEWAY_MAC,
            GATEWAY_MAC,
            0x0800,
            &frames::udp((ca(3, 4), 1), (to, 2), b"x"),
        );
        let bytes = frames::nvgre((OTHER_MAC, UPLINK_MAC), (OWN_PA, OTHER_HOST), DB, 0, &inner);
        assert_eq!(there.wire(&bytes), []);
    }
    assert_eq!(there.dropped(Reason::NotHere), 2);
    // And back.
    let back = ether(
        GATEWAY_MAC,
        mac(3),
        0x0800,
        &frames::udp((ca(2, 3), 5000), (ca(3, 4), 4000), b"back"),
    );
    let out = there.send(3, &back);
    assert_eq!(
        (out[0].0, &out[0].1[34..38]),
        (Where::Wire, &[0x20, 0, 0x65, 0x58][..])
    );
    let mut wanted = with_ttl(back, 63);
    wanted[..12].copy_from_slice(&[mac(4).octets(), GATEWAY_MAC.octets()].concat());
    assert_eq!(here.wire(&out[0].1), [(Where::Vnic(4), wanted)]);
}

#[test]
fn what_fits_the_uplink_fits_and_more_is_cut_or_refused() {
    let most = usize::from(UPLINK_FRAME);
    for vlan in [None, Some(300)] {
        for (dst, to, ttl) in [(GATEWAY_MAC, (1, 2), 64), (GATEWAY_MAC, (2, 3), 63)] {
            let (mut here, mut there) = (host(true, vlan), host(false, vlan));
            let payload = |frame: usize| vec![0x5a; frame - 42];
            let whole = from_a(dst, ca(to.0, to.1), &payload(most));
            let out = here.send(1, &whole);
            let tag = if vlan.is_some() { 4 } else { 0 };
            assert_eq!(
                (out[0].0, out[0].1.len()),
                (Where::Wire, most + tag),
                "to the byte"
            );
            // RFC 1191: as large as the wire itself.
            let out = here.send(1, &from_a(dst, ca(to.0, to.1), &payload(most + 1)));
            assert_eq!(
                (out[0].0, out[0].1[34..36].to_vec()),
                (Where::Vnic(1), vec![3, 4])
            );
            assert_eq!(out[0].1[40..42], ((most - 14) as u16).to_be_bytes());
            // RFC 791: the pieces are the packet's, each with its own addresses.
            let mut sent = from_a(dst, ca(to.0, to.1), &payload(4000));
            let header = sent[14..].first_chunk_mut().unwrap();
            ipv4::set_fragmentation(header, Fragmentation::NONE);
            let pieces = here.send(1, &sent);
            assert_eq!(pieces.len(), 3);
            let mut together = vec![0; 4000 - 34];
            for (place, piece) in pieces {
                assert_eq!(place, Where::Wire);
                assert!(piece.len() <= most + tag);
                let arrived = there.wire(&piece);
                assert_eq!(arrived.len(), 1);
                let packet = Ipv4::parse(&arrived[0].1[14..]).unwrap();
                assert!(packet.checksum_is_right());
                assert_eq!(
                    (packet.source(), packet.destination(), packet.ttl()),
                    (ca(1, 1), ca(to.0, to.1), ttl)
                );
                let at = packet.fragmentation().offset();
                together[at..at + packet.payload().len()].copy_from_slice(packet.payload());
            }
            assert_eq!(together, sent[34..]);
        }
    }
}

#[test]
fn an_unfinished_checksum_is_finished_for_the_wire() {
    let mut here = host(true, None);
    for (protocol, at) in [(17, 6), (6, 16)] {
        let between = |addresses: (Ipv4Addr, Ipv4Addr), field| {
            let l4 = frames::l4(
                protocol,
                (addresses.0.into(), addresses.1.into()),
                (4000, 5000),
                b"odd",
                field,
            );
            frames::ipv4(addresses.0, addresses.1, protocol, &l4)
        };
        let packet = between((ca(1, 1), ca(1, 2)), Field::Pseudo);
        let mut frame = here
            .world
            .herd
            .frame(&ether(GATEWAY_MAC, mac(1), 0x0800, &packet));
        frame.checksum = L4Checksum::Partial;
        here.world.send_frame(here.id(1), frame);
        let wanted = between((pa(1, 1), pa(1, 2)), Field::Right);
        assert_eq!(
            here.out(),
            [(Where::Wire, ether(OTHER_MAC, UPLINK_MAC, 0x0800, &wanted))],
            "{at}"
        );
    }
}

/// A packet socket puts fragments together, and the VM's MTU is its own: RFC 791 lets the last hop cut again.
#[test]
fn what_is_larger_than_the_receiver_takes_is_cut_where_that_is_allowed() {
    let mut there = host(false, None);
    let port = there.world.port_of(there.id(2)).unwrap();
    there.world.change_port(port, |port| port.max_frame = 614);
    let wire = |fragmentation| {
        let mut bytes = on_the_wire(pa(1, 2), &[0xa5; 1200]);
        let header = bytes[14..].first_chunk_mut().unwrap();
        ipv4::set_fragmentation(header, fragmentation);
        bytes
    };
    let pieces = there.wire(&wire(Fragmentation::NONE));
    assert_eq!(pieces.len(), 3);
    let mut together: Vec<u8> = Vec::new();
    for (place, bytes) in pieces {
        assert_eq!(place, Where::Vnic(2));
        assert!(bytes.len() <= 614);
        let packet = Ipv4::parse(&bytes[14..]).unwrap();
        assert!(packet.checksum_is_right());
        assert_eq!(packet.fragmentation().offset(), together.len());
        together.extend(packet.payload());
    }
    assert_eq!(
        together,
        frames::udp((ca(1, 1), 4000), (ca(1, 2), 5000), &[0xa5; 1200])[20..]
    );
    assert_eq!(there.wire(&wire(Fragmentation::DONT)), []);
    assert_eq!(there.world.drops(), [(Reason::Oversize, 1)]);
}

/// ECN and DSCP are the packet's own.
#[test]
fn type_of_service_travels_as_it_is() {
    let (mut here, mut there) = (host(true, None), host(false, None));
    for tos in [0, 0xff, 0xb9] {
        let mut sent = from_a(GATEWAY_MAC, ca(1, 2), b"tos");
        ipv4::set_tos(sent[14..].first_chunk_mut().unwrap(), tos);
        let out = here.send(1, &sent);
        assert_eq!(out[0].1[15], tos);
        let arrived = there.wire(&out[0].1);
        assert_eq!(arrived[0].1[15], tos);
    }
}

#[test]
fn arp_for_a_provider_address_is_answered_where_its_vnic_is() {
    let mut here = host(true, None);
    let ask = |target| frames::arp_request(OTHER_MAC, OTHER_HOST, target);
    for own in [OWN_PA, pa(1, 1)] {
        let out = here.wire(&ask(own));
        let (place, bytes) = &out[0];
        assert_eq!(
            (*place, &bytes[20..28], &bytes[28..32]),
            (
                Where::Wire,
                &[&[0, 2][..], &UPLINK_MAC.octets()].concat()[..],
                &own.octets()[..]
            )
        );
    }
    // Of another host, of nobody, of a vNIC here on another link.
    here.world.give_pa(here.id(4), [192, 168, 77, 1].into());
    for other in [pa(1, 2), pa(1, 7), [192, 168, 77, 1].into()] {
        assert_eq!(here.wire(&ask(other)), []);
    }
    assert_eq!(here.dropped(Reason::UnderlayArp), 3);
}

#[test]
fn a_router_s_word_counts_for_the_path_and_reaches_no_tenant() {
    let router = Ipv4Addr::new(192, 168, 50, 254);
    let about = frames::udp((pa(1, 1), 4000), (pa(1, 2), 5000), b"too big");
    let says = |header: icmp::Header, to, quote: &[u8]| {
        let message = [&header.octets(quote)[..], quote].concat();
        ether(
            UPLINK_MAC,
            OTHER_MAC,
            0x0800,
            &frames::ipv4(router, to, 1, &message),
        )
    };
    let needed = icmp::Header::fragmentation_needed(1400);
    let mut here = host(true, None);
    assert_eq!(here.wire(&says(needed, pa(1, 1), &about)), []);
    let peer = IpAddr::V4(OTHER_HOST);
    assert_eq!(here.world.kept.events, [Event::PathMtu { peer, mtu: 1400 }]);
    // About a packet that this vNIC has not sent, or to nobody it may reach; anything else.
    let foreign = frames::udp((pa(2, 3), 4000), (pa(1, 2), 5000), b"x");
    let nobody = frames::udp((pa(1, 1), 4000), (pa(1, 9), 5000), b"x");
    let itself = frames::udp((pa(1, 1), 4000), (pa(1, 1), 5000), b"x");
    let mut wrong = says(needed, pa(1, 1), &about);
    wrong[36] ^= 1;
    let refused = [
        says(needed, pa(1, 1), &foreign),
        says(needed, pa(1, 1), &nobody),
        says(needed, pa(1, 1), &itself),
        says(icmp::Header::fragmentation_needed(0), pa(1, 1), &about),
        says(icmp::Header::unreachable(1), pa(1, 1), &about),
        says(icmp::Header::time_exceeded(), pa(1, 1), &about),
        says(
            icmp::Header {
                kind: 8,
                code: 0,
                rest: [0; 4],
            },
            pa(1, 1),
            b"ping",
        ),
        wrong,
    ];
    let count = refused.len() as u64;
    for bytes in refused {
        assert_eq!(here.wire(&bytes), []);
    }
    assert_eq!(here.world.kept.events.len(), 1);
    assert_eq!(here.world.drops(), [(Reason::ProviderIcmp, count)]);
}

/// A VM's own error about a packet that it got: on the wire it quotes what was on the wire, at the other VM what that sent.
#[test]
fn an_error_of_a_vm_quotes_what_the_other_one_sent() {
    let (mut here, mut there) = (host(true, None), host(false, None));
    let error = |between: (Ipv4Addr, Ipv4Addr), quote: &[u8]| {
        let message = [&icmp::Header::unreachable(3).octets(quote)[..], quote].concat();
        frames::ipv4(between.0, between.1, 1, &message)
    };
    let refused = frames::udp((ca(1, 1), 4000), (ca(1, 2), 5000), b"refused");
    let sent = ether(
        GATEWAY_MAC,
        mac(2),
        0x0800,
        &error((ca(1, 2), ca(1, 1)), &refused),
    );
    let quoted = frames::udp((pa(1, 1), 4000), (pa(1, 2), 5000), b"refused");
    let wire = ether(
        UPLINK_MAC,
        OTHER_MAC,
        0x0800,
        &error((pa(1, 2), pa(1, 1)), &quoted),
    );
    assert_eq!(there.send(2, &sent), [(Where::Wire, wire.clone())]);
    let mut wanted = sent;
    wanted[..12].copy_from_slice(&[mac(1).octets(), GATEWAY_MAC.octets()].concat());
    assert_eq!(here.wire(&wire), [(Where::Vnic(1), wanted)]);
}

proptest! {
    /// Whatever a VM sends to another host's arrives as it was sent, and on the wire nothing is longer, however it is cut
    /// into segments.
    #[test]
    fn whatever_arrives_is_what_was_sent(
        protocol in any::<u8>(), payload in vec(any::<u8>(), 0..400), cuts in vec(any::<prop::sample::Index>(), 0..4),
        vlan in any::<bool>(), fragmentation in prop_oneof![Just(0_u16), Just(0x4000), any::<u16>().prop_map(|f| f & 0x3fff)],
    ) {
        let vlan = vlan.then_some(300);
        let (mut here, mut there) = (host(true, vlan), host(false, vlan));
        let mut packet = frames::ipv4(ca(1, 1), ca(1, 2), protocol, &payload);
        ipv4::set_fragmentation(packet.first_chunk_mut().unwrap(), Fragmentation(fragmentation));
        let sent = ether(mac(2), mac(1), 0x0800, &packet);
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
            // A first fragment whose checksum is in the next one.
            prop_assert!(fragmentation & 0x3fff == 0x2000 && payload.len() < 18);
            prop_assert_eq!(here.world.drops(), [(Reason::NotRewritable, 1)]);
            return Ok(());
        }
        prop_assert_eq!(out.len(), 1);
        let tag = if vlan.is_some() { 4 } else { 0 };
        prop_assert_eq!(out[0].1.len(), sent.len() + tag);
        let arrived = there.wire(&out[0].1);
        prop_assert_eq!(arrived.len(), 1);
        let mut wanted = sent.clone();
        wanted[..12].copy_from_slice(&[mac(2).octets(), GATEWAY_MAC.octets()].concat());
        // A checksum of all ones is the other zero, and comes back as that; arbitrary bytes are the one in 65,536 times.
        prop_assume!(!matches!(wanted.get(50..52), Some([0xff, 0xff])) && !matches!(wanted.get(40..42), Some([0xff, 0xff])));
        prop_assert_eq!(&arrived[0].1, &wanted);
    }
}

/// Pull on miss: who has no record yet is asked for, and what waited leaves rewritten, in order.
#[test]
fn what_waits_for_its_record_leaves_rewritten() {
    let mut world = World::host(64, None, UPLINK_MAC, OWN_PA);
    let domain = world.domain();
    let web = world.subnet(domain, WEB, GATEWAY);
    world.rewritten(web);
    let one = world.vnic(web, mac(1), ca(1, 1));
    world.give_pa(one, pa(1, 1));
    let other = world.peer(OTHER_HOST, Some(OTHER_MAC));
    world.on_miss(domain, true);
    let frames = [b"first", b"again"].map(|said| {
        let packet = frames::udp((ca(1, 1), 4000), (ca(1, 2), 5000), said);
        ether(GATEWAY_MAC, mac(1), 0x0800, &packet)
    });
    for frame in &frames {
        world.send(one, frame);
    }
    assert_eq!(world.take(), []);
    world.assert_conserved();
    world.remote_pa(web, ca(1, 2), other, pa(1, 2));
    world.answer(Destination::V4(domain, ca(1, 2)), true);
    let wanted = [b"first", b"again"].map(|said| {
        let packet = frames::udp((pa(1, 1), 4000), (pa(1, 2), 5000), said);
        (UPLINK_PORT, ether(OTHER_MAC, UPLINK_MAC, 0x0800, &packet))
    });
    assert_eq!(world.take(), wanted);
    assert_eq!(world.drops(), []);
    world.assert_conserved();
}
