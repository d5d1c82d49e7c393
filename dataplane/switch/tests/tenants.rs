//! What one host does with packets, golden bytes and refusals: RFC 7637, and protocols' acceptance rules.

use std::net::Ipv4Addr;
use weir_switch::Frame;
use weir_switch::frame::L4Checksum;
use weir_switch::outlet::Event;
use weir_switch::testing::frames;
use weir_switch::testing::frames::{arp_request, ether, ipv4, nvgre, tenant};
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::ids::{PeerId, SegmentId, VnicId};
use weir_tables::offloads::Offloads;
use weir_tables::reason::Reason;
use weir_tables::view::Party;
use weir_wire::arp::{Arp, Operation};
use weir_wire::{Mac, checksum};

const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const B: Mac = Mac::new([2, 0, 0, 0, 1, 2]);
const C: Mac = Mac::new([2, 0, 0, 0, 1, 3]);
const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const CA_B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);
const CA_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
const PEER_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

/// Blue: A and B here, C on another host.
struct Blue {
    world: World,
    segment: SegmentId,
    a: VnicId,
    b: VnicId,
    peer: PeerId,
}

fn blue_on(vlan: Option<u16>) -> Blue {
    let mut world = World::new(4096, vlan);
    let segment = world.segment(5001);
    let a = world.vnic(segment, A, CA_A);
    let b = world.vnic(segment, B, CA_B);
    let peer = world.peer(PEER_PA, Some(PEER_MAC));
    world.remote(segment, C, CA_C, peer);
    Blue {
        world,
        segment,
        a,
        b,
        peer,
    }
}

fn blue() -> Blue {
    blue_on(None)
}

impl Blue {
    /// Sends from A, which must be dropped for this reason alone.
    fn refused(&mut self, bytes: &[u8], reason: Reason) {
        self.world.send(self.a, bytes);
        self.only(reason);
    }

    /// Comes from the wire, and must be dropped for this reason alone.
    fn refused_from_wire(&mut self, bytes: &[u8], reason: Reason) {
        self.world.wire(bytes);
        self.only(reason);
    }

    fn only(&mut self, reason: Reason) {
        assert_eq!(self.world.take(), [], "{reason:?}");
        assert_eq!(self.world.drops(), [(reason, 1)]);
        self.world.assert_conserved();
    }

    /// What one frame from A becomes.
    fn becomes(&mut self, bytes: &[u8]) -> Vec<(weir_tables::ids::PortId, Vec<u8>)> {
        self.world.send(self.a, bytes);
        let out = self.world.take();
        self.world.assert_conserved();
        out
    }

    fn sent_by_c(&self, inner: &[u8]) -> Vec<u8> {
        nvgre((UPLINK_MAC, PEER_MAC), (PEER_PA, OWN_PA), 5001, 7, inner)
    }

    fn port_b(&self) -> weir_tables::ids::PortId {
        self.world.port_of(self.b).unwrap()
    }
}

#[test]
fn encapsulation_is_rfc_7637_byte_for_byte() {
    let mut blue = blue();
    let inner = tenant(C, A, CA_A, CA_C, b"hello");
    let out = blue.becomes(&inner);
    let [(UPLINK_PORT, bytes)] = &out[..] else {
        panic!("{out:?}");
    };
    let flow = bytes[41];
    // §3.2: Ethernet, IPv4 with protocol 0x2F, GRE 0x20006558, VSID and FlowID. §4.4: DF.
    let mut wanted = vec![2, 0xbb, 0, 0, 0, 2, 2, 0xaa, 0, 0, 0, 1, 8, 0];
    let length = (28 + inner.len()) as u16;
    let mut ip = vec![
        0x45,
        0,
        (length >> 8) as u8,
        length as u8,
        0,
        0,
        0x40,
        0,
        64,
        47,
        0,
        0,
    ];
    ip.extend([192, 168, 50, 1, 192, 168, 50, 2]);
    let sum = checksum::checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    wanted.extend(ip);
    wanted.extend([0x20, 0x00, 0x65, 0x58, 0x00, 0x13, 0x89, flow]);
    wanted.extend(&inner);
    assert_eq!(*bytes, wanted);
}

#[test]
fn a_vlan_on_the_uplink_tags_the_outer_header_and_is_asked_on_arrival() {
    let mut blue = blue_on(Some(300));
    let inner = tenant(C, A, CA_A, CA_C, b"hello");
    let out = blue.becomes(&inner);
    assert_eq!(out[0].1[12..18], [0x81, 0, 1, 44, 8, 0]);
    assert_eq!(out[0].1.len(), inner.len() + 46);
    assert_eq!(checksum::sum(&out[0].1[18..38]), 0xffff);
    let back = tenant(B, C, CA_C, CA_B, b"answer");
    let mut arrived = blue.sent_by_c(&back);
    blue.world.wire(&arrived);
    assert_eq!(blue.world.drops(), [(Reason::OuterVlan, 1)]);
    arrived.splice(12..12, [0x81, 0, 1, 44]);
    blue.world.wire(&arrived);
    assert_eq!(blue.world.take(), [(blue.port_b(), back)]);
    blue.world.assert_conserved();
}

#[test]
fn decapsulation_gives_the_inner_frame_to_the_member_alone() {
    let mut blue = blue();
    let inner = tenant(B, C, CA_C, CA_B, b"answer");
    let bytes = blue.sent_by_c(&inner);
    blue.world.wire(&bytes);
    assert_eq!(blue.world.take(), [(blue.port_b(), inner)]);
    blue.world.assert_conserved();
}

#[test]
fn what_comes_after_the_outer_packet_is_padding() {
    let mut blue = blue();
    let inner = tenant(B, C, CA_C, CA_B, b"");
    let mut bytes = blue.sent_by_c(&inner);
    bytes.extend([0; 9]);
    blue.world.wire(&bytes);
    assert_eq!(blue.world.take(), [(blue.port_b(), inner)]);
}

#[test]
fn acceptance_from_the_wire_names_each_refusal() {
    let good = |blue: &Blue| blue.sent_by_c(&tenant(B, C, CA_C, CA_B, b"x"));
    let patched = |at: usize, to: &[u8], reason: Reason| {
        let mut blue = blue();
        let mut bytes = good(&blue);
        blue.world.wire(&bytes);
        assert_eq!(
            blue.world.take().len(),
            1,
            "the frame arrives before it is spoilt"
        );
        bytes[at..at + to.len()].copy_from_slice(to);
        // A change in the IPv4 header gets a right checksum, so that it is refused for its own sake.
        if (14..34).contains(&at) && at != 24 {
            bytes[24..26].copy_from_slice(&[0, 0]);
            let sum = checksum::checksum(&bytes[14..34]);
            bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        blue.refused_from_wire(&bytes, reason);
    };
    patched(0, &[2, 0xaa, 0, 0, 0, 9], Reason::OuterNotOurs);
    patched(12, &[0x88, 0xb5], Reason::OuterType);
    patched(12, &[0x81, 0x00], Reason::OuterVlan);
    patched(14, &[0x44], Reason::OuterMalformed);
    patched(14, &[0x65], Reason::OuterMalformed);
    patched(16, &[0xff], Reason::OuterMalformed);
    patched(24, &[0x12, 0x34], Reason::OuterMalformed);
    patched(20, &[0x20, 0x00], Reason::OuterFragment);
    patched(20, &[0x00, 0x10], Reason::OuterFragment);
    patched(23, &[17], Reason::OuterProtocol);
    patched(26, &[192, 168, 50, 99], Reason::UnknownPa);
    patched(30, &[192, 168, 50, 99], Reason::OuterNotOurs);
    patched(34, &[0xa0], Reason::GreChecksum);
    patched(34, &[0x00], Reason::GreNoKey);
    patched(34, &[0x30], Reason::GreSequence);
    patched(34, &[0x60], Reason::GreReserved);
    patched(34, &[0x20, 0x01], Reason::GreVersion);
    patched(36, &[0x08, 0x00], Reason::GreProtocol);
    patched(38, &[0x00, 0x13, 0x88], Reason::UnknownVsid);
    patched(42, &[2, 0, 0, 0, 1, 3], Reason::NotHere);
    patched(42, &[2, 0, 0, 0, 1, 9], Reason::NotHere);
    patched(48, &[2, 0, 0, 0, 1, 1], Reason::InnerSourceLocal);
    patched(48, &[3, 0, 0, 0, 1, 1], Reason::InnerMalformed);
    patched(54, &[0x81, 0x00], Reason::InnerTagged);
    patched(54, &[0x88, 0xa8], Reason::InnerTagged);
}

#[test]
fn bits_6_to_12_of_gre_are_ignored() {
    // RFC 2784 §2.3.
    let mut blue = blue();
    let inner = tenant(B, C, CA_C, CA_B, b"x");
    let mut bytes = blue.sent_by_c(&inner);
    bytes[34..36].copy_from_slice(&[0x23, 0xf8]);
    blue.world.wire(&bytes);
    assert_eq!(blue.world.take(), [(blue.port_b(), inner)]);
}

#[test]
fn an_inner_runt_is_refused() {
    let mut blue = blue();
    let bytes = blue.sent_by_c(&[0; 13]);
    blue.refused_from_wire(&bytes, Reason::InnerMalformed);
}

#[test]
fn neighbours_on_one_host_reach_each_other_unchanged() {
    let mut blue = blue();
    let frame = tenant(B, A, CA_A, CA_B, b"hello");
    let port = blue.port_b();
    assert_eq!(blue.becomes(&frame), [(port, frame)]);
}

#[test]
fn spoofing_is_refused_and_the_same_frame_honestly_sent_is_not() {
    let mut blue = blue();
    let honest = tenant(B, A, CA_A, CA_B, b"x");
    assert_eq!(blue.becomes(&honest).len(), 1);
    blue.refused(&tenant(B, C, CA_A, CA_B, b"x"), Reason::SpoofedMac);
    let mut blue = self::blue();
    blue.refused(&tenant(B, A, CA_C, CA_B, b"x"), Reason::SpoofedIp);
    let mut blue = self::blue();
    blue.refused(&arp_request(A, CA_C, CA_B), Reason::SpoofedArp);
    let mut blue = self::blue();
    let mut forged = arp_request(A, CA_A, CA_B);
    forged[22..28].copy_from_slice(&C.octets());
    blue.refused(&forged, Reason::SpoofedArp);
}

#[test]
fn allowed_macs_and_sources_let_a_gateway_forward() {
    let mut blue = blue();
    let a = blue.a;
    blue.world.change_identity(a, |who| {
        who.macs = [C].into();
        who.v4_nets = [(0x0a09_0000, 0xffff_0000)].into();
    });
    let forwarded = tenant(B, A, Ipv4Addr::new(10, 9, 3, 4), CA_B, b"x");
    assert_eq!(blue.becomes(&forwarded).len(), 1);
    assert_eq!(blue.becomes(&tenant(B, C, CA_A, CA_B, b"x")).len(), 1);
    blue.refused(
        &tenant(B, A, Ipv4Addr::new(10, 8, 3, 4), CA_B, b"x"),
        Reason::SpoofedIp,
    );
}

#[test]
fn what_an_honest_machine_sends_without_an_address_passes() {
    let any = Ipv4Addr::UNSPECIFIED;
    let all = Ipv4Addr::BROADCAST;
    let udp = |ports: [u8; 4]| [&ports[..], &[0, 8, 0, 0]].concat();
    // RFC 2131 §4.1: DHCP from port 68 to 67; from 0.0.0.0 nothing else.
    let dhcp = ether(
        Mac::BROADCAST,
        A,
        0x0800,
        &ipv4(any, all, 17, &udp([0, 68, 0, 67])),
    );
    assert_eq!(blue().becomes(&dhcp).len(), 2, "to B and to the peer");
    let other = ether(
        Mac::BROADCAST,
        A,
        0x0800,
        &ipv4(any, all, 17, &udp([0, 69, 0, 67])),
    );
    blue().refused(&other, Reason::SpoofedIp);
    // RFC 5227 §2.1.1: a probe for its own address is flooded, never answered.
    let out = blue().becomes(&arp_request(A, any, CA_A));
    assert_eq!(out.len(), 2);
    // An announcement likewise (RFC 5227 §2.3).
    assert_eq!(blue().becomes(&arp_request(A, CA_A, CA_A)).len(), 2);
    // RFC 4862 §5.4.2, RFC 4861 §4.1, RFC 3810 §5.2.13: from ::.
    let icmp6 = |kind: u8, source: [u8; 16]| {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        if let 135 | 136 = kind {
            message.extend(A.link_local().octets());
        }
        let all = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let packet = frames::icmp6(source.into(), all.into(), 255, &message);
        ether(Mac::new([0x33, 0x33, 0, 0, 0, 1]), A, 0x86dd, &packet)
    };
    for kind in [133, 135, 143] {
        assert_eq!(
            blue().becomes(&icmp6(kind, [0; 16])).len(),
            2,
            "type {kind}"
        );
    }
    blue().refused(&icmp6(128, [0; 16]), Reason::SpoofedIp);
    // Its link-local address, and nobody else's.
    assert_eq!(
        blue().becomes(&icmp6(136, A.link_local().octets())).len(),
        2
    );
    blue().refused(&icmp6(136, C.link_local().octets()), Reason::SpoofedIp);
}

#[test]
fn arp_is_answered_from_records_on_the_spot() {
    let mut blue = blue();
    let own = blue.world.port_of(blue.a).unwrap();
    for (target, mac) in [(CA_B, B), (CA_C, C)] {
        let out = blue.becomes(&arp_request(A, CA_A, target));
        let [(port, bytes)] = &out[..] else {
            panic!("{out:?}");
        };
        assert_eq!(*port, own);
        assert_eq!(
            (&bytes[..6], &bytes[6..12]),
            (&A.octets()[..], &mac.octets()[..])
        );
        let reply = Arp::parse(&bytes[14..]).unwrap();
        assert_eq!(reply.operation, Operation::REPLY);
        assert_eq!((reply.sender_mac, reply.sender_ip), (mac, target));
        assert_eq!((reply.target_mac, reply.target_ip), (A, CA_A));
    }
    // Nobody's address: to the members, as any broadcast.
    let out = blue.becomes(&arp_request(A, CA_A, Ipv4Addr::new(10, 1, 0, 99)));
    assert_eq!(out.len(), 2);
}

#[test]
fn broadcast_goes_to_members_and_to_peers_that_have_some() {
    let mut blue = blue();
    let red = blue.world.segment(6001);
    let stranger = blue.world.vnic(red, A, CA_A);
    let idle = blue
        .world
        .peer(Ipv4Addr::new(192, 168, 50, 3), Some(PEER_MAC));
    blue.world.remote(red, C, CA_C, idle);
    let frame = ether(Mac::BROADCAST, A, 0x88b5, &[1; 50]);
    let out = blue.becomes(&frame);
    assert_eq!(out[0], (blue.port_b(), frame.clone()));
    assert_eq!(out[1].0, UPLINK_PORT);
    assert_eq!(out[1].1[30..34], [192, 168, 50, 2]);
    assert_eq!(out.len(), 2);
    // The other tenant's own broadcast goes its own way.
    blue.world.send(stranger, &frame);
    let out = blue.world.take();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].1[30..34], [192, 168, 50, 3]);
    // From the wire: to members here, never back.
    let frame = ether(Mac::BROADCAST, C, 0x88b5, &[2; 50]);
    let bytes = blue.sent_by_c(&frame);
    blue.world.wire(&bytes);
    let ports: Vec<_> = blue.world.take().into_iter().map(|o| o.0).collect();
    assert_eq!(ports, [blue.world.port_of(blue.a).unwrap(), blue.port_b()]);
    assert_eq!(blue.world.drops(), []);
    blue.world.assert_conserved();
}

#[test]
fn what_has_no_flow_has_flow_id_zero() {
    // RFC 7637 §3.2: "if a FlowID is not generated, it MUST be set to all zeros". ARP for an address that no record has.
    let mut blue = blue();
    let nobody = Ipv4Addr::new(10, 1, 0, 99);
    let frame = arp_request(A, CA_A, nobody);
    let out = blue.becomes(&frame);
    assert_eq!(out[1].0, UPLINK_PORT);
    assert_eq!(out[1].1[38..42], [0x00, 0x13, 0x89, 0]);
}

#[test]
fn link_local_control_traffic_stays_on_its_link() {
    // IEEE 802.1Q table 8-1.
    let stp = Mac::new([0x01, 0x80, 0xc2, 0, 0, 0]);
    blue().refused(&ether(stp, A, 0x88cc, &[0; 50]), Reason::ReservedMulticast);
}

#[test]
fn the_rest_of_the_refusals_of_a_vnic() {
    let frame = tenant(B, A, CA_A, CA_B, b"x");
    blue().refused(&frame[..13], Reason::Runt);
    blue().refused(&frame[..40], Reason::Truncated);
    blue().refused(
        &tenant(Mac::new([2, 9, 9, 9, 9, 9]), A, CA_A, CA_B, b"x"),
        Reason::NoRecord,
    );
    blue().refused(&tenant(A, A, CA_A, CA_A, b"x"), Reason::SamePort);
    blue().refused(&tenant(C, A, CA_A, CA_C, &[0; 1600]), Reason::TooBig);
    blue().refused(&tenant(B, A, CA_A, CA_B, &[0; 9100]), Reason::Oversize);
    let mut bad = frame.clone();
    bad[14] = 0x55;
    blue().refused(&bad, Reason::Malformed);
    let mut double = frame.clone();
    double.splice(12..12, [0x81, 0, 0, 5, 0x81, 0, 0, 6]);
    blue().refused(&double, Reason::InnerTagged);
    // A peer that does not answer ARP.
    let mut blue = blue();
    let mute = blue.world.peer(Ipv4Addr::new(192, 168, 50, 9), None);
    let d = Mac::new([2, 0, 0, 0, 1, 4]);
    blue.world
        .remote(blue.segment, d, Ipv4Addr::new(10, 1, 0, 14), mute);
    blue.refused(&tenant(d, A, CA_A, CA_C, b"x"), Reason::PaUnresolved);
}

#[test]
fn a_tenants_tag_comes_off_before_the_wire() {
    // RFC 7637 §3.3.
    let mut blue = blue();
    let plain = tenant(C, A, CA_A, CA_C, b"hello");
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0x20, 5]);
    let out = blue.becomes(&tagged);
    assert_eq!(out[0].1[42..], plain[..]);
}

#[test]
fn tenants_with_the_same_addresses_never_meet() {
    let mut blue = blue();
    let red = blue.world.segment(6001);
    let red_a = blue.world.vnic(red, A, CA_A);
    let red_b = blue.world.vnic(red, B, CA_B);
    let frame = tenant(B, A, CA_A, CA_B, b"mine");
    let (to_blue, to_red) = (blue.port_b(), blue.world.port_of(red_b).unwrap());
    assert_eq!(blue.becomes(&frame), [(to_blue, frame.clone())]);
    blue.world.send(red_a, &frame);
    assert_eq!(blue.world.take(), [(to_red, frame.clone())]);
    // The same inner frame from the wire, told apart by the VSID alone.
    let inner = tenant(B, C, CA_C, CA_B, b"x");
    for (vsid, to) in [(5001, to_blue), (6001, to_red)] {
        blue.world.wire(&nvgre(
            (UPLINK_MAC, PEER_MAC),
            (PEER_PA, OWN_PA),
            vsid,
            0,
            &inner,
        ));
        assert_eq!(blue.world.take(), [(to, inner.clone())]);
    }
}

#[test]
fn trunks_tell_their_vnics_apart_by_mac_or_by_vlan() {
    let mut world = World::default();
    let segment = world.segment(5001);
    let target = world.vnic(segment, C, CA_C);
    let by_mac = world.trunk(Party::TrunkByMac);
    let by_vlan = world.trunk(Party::TrunkByVlan);
    world.vnic_on(segment, A, CA_A, by_mac, None);
    world.vnic_on(segment, B, CA_B, by_vlan, Some(7));
    let to = world.port_of(target).unwrap();
    let good = tenant(C, A, CA_A, CA_C, b"x");
    let stranger = tenant(C, Mac::new([2, 9, 9, 9, 9, 9]), CA_A, CA_C, b"x");
    let frames = [world.herd.frame(&good), world.herd.frame(&stranger)];
    world.receive(by_mac, frames);
    assert_eq!(world.take(), [(to, good)]);
    let plain = tenant(C, B, CA_B, CA_C, b"y");
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    let mut other = plain.clone();
    other.splice(12..12, [0x81, 0, 0, 8]);
    let frames = [&tagged, &other, &plain].map(|f| world.herd.frame(f));
    world.receive(by_vlan, frames);
    assert_eq!(world.take(), [(to, plain)]);
    assert_eq!(world.drops(), [(Reason::TrunkUnknown, 3)]);
    // And back, with its tag.
    let back = tenant(B, C, CA_C, CA_B, b"z");
    world.send(target, &back);
    let mut wanted = back;
    wanted.splice(12..12, [0x81, 0, 0, 7]);
    assert_eq!(world.take(), [(by_vlan, wanted)]);
    world.assert_conserved();
}

#[test]
fn an_unfinished_checksum_survives_local_delivery_and_is_finished_for_the_wire() {
    let mut blue = blue();
    let whole = tenant(B, A, CA_A, CA_B, b"partial");
    let mut partial = whole.clone();
    let pseudo = checksum::pseudo_v4(CA_A.octets(), CA_B.octets(), 17, 15).fold();
    partial[40..42].copy_from_slice(&pseudo.to_be_bytes());
    // To a port that takes it so: untouched, still marked.
    let to_b = blue.port_b();
    blue.world
        .change_port(to_b, |port| port.offloads = Offloads::CHECKSUM);
    let mut frame = blue.world.herd.frame(&partial);
    frame.checksum = L4Checksum::Partial;
    blue.world.send_frame(blue.a, frame);
    let (_, _, frame) = blue.world.kept.out.pop().unwrap();
    assert_eq!(
        (frame.bytes(), frame.checksum),
        (partial.clone(), L4Checksum::Partial)
    );
    drop(frame);
    // To one that does not: finished.
    blue.world
        .change_port(to_b, |port| port.offloads = Offloads::NONE);
    let mut frame = blue.world.herd.frame(&partial);
    frame.checksum = L4Checksum::Partial;
    blue.world.send_frame(blue.a, frame);
    assert_eq!(blue.world.take(), [(to_b, whole.clone())]);
    // From a device that does not say so: found out, and finished; a chain too.
    let from = blue.world.port_of(blue.a).unwrap();
    blue.world
        .change_port(from, |port| port.suspect_checksums = true);
    let chain = blue
        .world
        .herd
        .chain(&[&partial[..20], &partial[20..45], &partial[45..]]);
    blue.world.send_frame(blue.a, chain);
    assert_eq!(blue.world.take(), [(to_b, whole.clone())]);
    assert_eq!(blue.becomes(&whole), [(to_b, whole)]);
    let cells = &blue.world.view.vnic(blue.a).unwrap().cells[0];
    assert_eq!(cells.checksums_finished.get(), 2);
}

#[test]
fn copies_without_memory_are_counted() {
    let mut blue = blue();
    blue.world.kept.copies_left = 0;
    let out = blue.becomes(&ether(Mac::BROADCAST, A, 0x88b5, &[1; 50]));
    assert_eq!(out.len(), 1, "the frame itself goes to the last");
    assert_eq!(blue.world.drops(), [(Reason::PoolEmpty, 1)]);
}

#[test]
fn arp_of_the_provider_network_is_answered_and_heard() {
    let mut blue = blue();
    let asks = arp_request(PEER_MAC, PEER_PA, OWN_PA);
    blue.world.wire(&asks);
    let out = blue.world.take();
    let reply = Arp::parse(&out[0].1[14..]).unwrap();
    assert_eq!(out[0].0, UPLINK_PORT);
    assert_eq!((reply.sender_mac, reply.sender_ip), (UPLINK_MAC, OWN_PA));
    assert_eq!((reply.target_mac, reply.target_ip), (PEER_MAC, PEER_PA));
    assert_eq!(
        blue.world.kept.events,
        [Event::Neighbor {
            uplink: UPLINK,
            address: PEER_PA.into(),
            mac: PEER_MAC,
            overrides: true,
        }]
    );
    // A reply to this host ends here; a question about someone else is no business of ours.
    let mut says = asks.clone();
    says[21] = 2;
    blue.world.wire(&says);
    assert_eq!(blue.world.kept.ledger.cells().consumed.get(), 1);
    let other = arp_request(PEER_MAC, PEER_PA, Ipv4Addr::new(192, 168, 50, 77));
    blue.refused_from_wire(&other, Reason::UnderlayArp);
}

#[test]
fn chains_cross_like_single_segments() {
    let inner = tenant(C, A, CA_A, CA_C, &[7; 1000]);
    let whole = blue().becomes(&inner);
    for cut in [1, 13, 14, 15, 33, 34, 42, 60, 500] {
        let mut blue = blue();
        let frame = blue.world.herd.chain(&[&inner[..cut], &inner[cut..]]);
        assert_eq!(frame.len(), inner.len());
        blue.world.send_frame(blue.a, frame);
        assert_eq!(blue.world.take(), whole, "cut at {cut}");
        // And from the wire.
        let back = tenant(B, C, CA_C, CA_B, &[8; 1000]);
        let outer = blue.sent_by_c(&back);
        let frame = blue.world.herd.chain(&[&outer[..cut], &outer[cut..]]);
        blue.world.receive(UPLINK_PORT, [frame]);
        assert_eq!(blue.world.take(), [(blue.port_b(), back)], "cut at {cut}");
        blue.world.assert_conserved();
    }
    let _ = (blue().peer, UPLINK);
}
