//! What one host sends, another delivers unchanged; a flow keeps its FlowID; an unfinished checksum becomes
//! the one that a full recomputation gives.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_switch::frame::L4Checksum;
use weir_switch::testing::VecFrame;
use weir_switch::testing::frames::{Field, ether, ipv4, ipv6, l4, tag};
use weir_switch::testing::world::{OWN_PA, UPLINK_FRAME, UPLINK_MAC, UPLINK_PORT, World, v6_of};
use weir_tables::ids::VnicId;
use weir_wire::Mac;

const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const B: Mac = Mac::new([2, 0, 0, 0, 1, 2]);
const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const CA_B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);
const OTHER_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const OTHER_MAC: Mac = Mac::new([2, 0xbb, 0, 0, 0, 2]);
const VSID: u32 = 5001;
/// Largest inner frame over either family.
const INNER: usize = UPLINK_FRAME as usize - 62;

/// Two hosts with a vNIC of one tenant each: A here, B there.
struct Pair {
    here: World,
    a: VnicId,
    there: World,
    b: VnicId,
    vlan: Option<u16>,
    pas: [IpAddr; 2],
}

impl Pair {
    fn new(vlan: Option<u16>) -> Self {
        Pair::between(vlan, [OWN_PA, OTHER_PA], false)
    }

    /// Hosts with these addresses, which reach one another by them or by IPv6.
    fn between(vlan: Option<u16>, pas: [Ipv4Addr; 2], v6: bool) -> Self {
        let mut here = World::host(64, vlan, UPLINK_MAC, pas[0]);
        let mut there = World::host(64, vlan, OTHER_MAC, pas[1]);
        let pas = pas.map(|pa| match v6 {
            true => v6_of(pa).into(),
            false => IpAddr::V4(pa),
        });
        let segment = here.segment(VSID);
        let a = here.vnic(segment, A, CA_A);
        let peer = here.peer(pas[1], Some(OTHER_MAC));
        here.remote(segment, B, CA_B, peer);
        let segment = there.segment(VSID);
        let b = there.vnic(segment, B, CA_B);
        let peer = there.peer(pas[0], Some(UPLINK_MAC));
        there.remote(segment, A, CA_A, peer);
        Pair {
            here,
            a,
            there,
            b,
            vlan,
            pas,
        }
    }

    /// What A's frame is on the wire, its outer headers judged in full.
    fn on_the_wire(&mut self, frame: VecFrame) -> Vec<u8> {
        self.here.send_frame(self.a, frame);
        let mut out = self.here.take();
        self.here.assert_conserved();
        assert_eq!(self.here.drops(), []);
        assert_eq!(out.len(), 1);
        let (port, bytes) = out.pop().unwrap();
        assert_eq!(port, UPLINK_PORT);
        let at = self.at();
        assert_eq!(bytes[..6], OTHER_MAC.octets());
        assert_eq!(bytes[6..12], UPLINK_MAC.octets());
        if let Some(vlan) = self.vlan {
            let [hi, lo] = vlan.to_be_bytes();
            assert_eq!(bytes[12..16], [0x81, 0, hi, lo]);
        }
        let gre = self.gre();
        // RFC 7637 §3.2 and §4.4, RFC 6040 §4.1.
        let inner = &bytes[gre + 8..];
        let tos = match u16::from_be_bytes([inner[12], inner[13]]) {
            0x0800 => inner[15],
            0x86dd => (u16::from_be_bytes([inner[14], inner[15]]) >> 4) as u8,
            _ => 0,
        };
        let ip = &bytes[at..gre];
        match self.pas {
            [IpAddr::V6(from), IpAddr::V6(to)] => {
                assert_eq!(bytes[at - 2..at], [0x86, 0xdd]);
                assert_eq!((ip[0], ip[1] & 0xf0), (0x60 | tos >> 4, tos << 4));
                let [l0, l1] = ((bytes.len() - gre) as u16).to_be_bytes();
                assert_eq!(ip[4..8], [l0, l1, 47, 64]);
                assert_eq!(ip[8..], [from.octets(), to.octets()].concat());
            }
            [IpAddr::V4(from), IpAddr::V4(to)] => {
                let [l0, l1] = ((bytes.len() - at) as u16).to_be_bytes();
                let wanted = [0x45, tos, l0, l1, 0, 0, 0x40, 0, 64, 47];
                assert_eq!((&bytes[at - 2..at], &ip[..10]), (&[8, 0][..], &wanted[..]));
                assert_eq!(slow_sum(&[ip]), 0xffff, "the outer checksum");
                assert_eq!(ip[12..], [from.octets(), to.octets()].concat());
            }
            _ => unreachable!(),
        }
        assert_eq!(bytes[gre..gre + 7], [0x20, 0, 0x65, 0x58, 0, 0x13, 0x89]);
        bytes
    }

    /// What B gets.
    fn at_b(&mut self, frame: VecFrame) -> Vec<u8> {
        self.there.receive(UPLINK_PORT, [frame]);
        let mut out = self.there.take();
        self.there.assert_conserved();
        assert_eq!(self.there.drops(), []);
        assert_eq!(out.len(), 1);
        let (port, bytes) = out.pop().unwrap();
        assert_eq!(Some(port), self.there.port_of(self.b));
        bytes
    }

    fn flow_id(&mut self, bytes: &[u8], cuts: &[Index]) -> u8 {
        let frame = cut(&self.here, bytes, cuts);
        self.on_the_wire(frame)[self.gre() + 7]
    }

    /// Where the GRE header starts.
    fn gre(&self) -> usize {
        self.at() + if self.pas[0].is_ipv6() { 40 } else { 20 }
    }

    /// Where the outer IP header starts.
    fn at(&self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }
}

/// The end-around carry of the outer sum, at every length around it.
#[test]
fn the_outer_checksum_is_right_at_every_length() {
    for last in 0..=255 {
        // The prepared sum without the length is 0xfc00 and more, so that the length carries.
        let pas = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(47, 207, last, 0)];
        let mut pair = Pair::between(None, pas, false);
        for length in (14..INNER).step_by(97) {
            let bytes = ether(B, A, 0x88b5, &vec![1; length - 14]);
            pair.flow_id(&bytes, &[]);
        }
    }
}

/// A frame in as many segments as there are cuts, and one more.
fn cut(world: &World, bytes: &[u8], cuts: &[Index]) -> VecFrame {
    let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
    at.push(bytes.len());
    at.sort();
    let mut from = 0;
    let segments = at.into_iter().map(|to| {
        let segment = &bytes[from..to];
        from = to;
        segment
    });
    world.herd.chain(&segments.collect::<Vec<_>>())
}

/// RFC 1071 with nothing clever.
fn slow_sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0_u32;
    for pair in parts.concat().chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// An IPv4 packet with so many words of options.
fn with_options(mut packet: Vec<u8>, words: usize) -> Vec<u8> {
    packet.splice(20..20, vec![1; words * 4]);
    packet[0] = 0x45 + words as u8;
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[10..12].copy_from_slice(&[0, 0]);
    let sum = !slow_sum(&[&packet[..20 + words * 4]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// An extension header of 8 bytes and a payload length that counts it.
fn with_extension(mut packet: Vec<u8>, kind: u8, body: [u8; 6]) -> Vec<u8> {
    let next = packet[6];
    packet.splice(40..40, [&[next, 0][..], &body].concat());
    packet[6] = kind;
    let length = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet
}

/// A packet from A to B in its frame, and what is in it.
#[derive(Clone, Debug)]
struct Packet {
    v6: bool,
    protocol: u8,
    ports: (u16, u16),
    /// Words of IPv4 options, or IPv6 extension headers.
    extra: usize,
    payload: Vec<u8>,
    padding: usize,
}

impl Packet {
    fn addresses(&self) -> (IpAddr, IpAddr) {
        if self.v6 {
            (A.link_local().into(), B.link_local().into())
        } else {
            (CA_A.into(), CA_B.into())
        }
    }

    fn l4(&self, field: Field) -> Vec<u8> {
        l4(
            self.protocol,
            self.addresses(),
            self.ports,
            &self.payload,
            field,
        )
    }

    fn frame(&self, field: Field) -> Vec<u8> {
        let l4 = self.l4(field);
        let mut frame = if self.v6 {
            let mut packet = ipv6(A.link_local(), B.link_local(), self.protocol, &l4);
            for i in 0..self.extra {
                // Destination options innermost, hop-by-hop outermost (RFC 8200 §4.1); padding inside.
                let kind = if i > 0 && i + 1 == self.extra { 0 } else { 60 };
                packet = with_extension(packet, kind, [1, 4, 0, 0, 0, 0]);
            }
            ether(B, A, 0x86dd, &packet)
        } else {
            let packet = ipv4(CA_A, CA_B, self.protocol, &l4);
            ether(B, A, 0x0800, &with_options(packet, self.extra))
        };
        frame.extend(vec![0x5a; self.padding]);
        frame
    }

    /// Where the L4 header starts in the frame.
    fn l4_at(&self) -> usize {
        if self.v6 {
            54 + self.extra * 8
        } else {
            34 + self.extra * 4
        }
    }

    /// The checksum field.
    fn field_at(&self) -> usize {
        self.l4_at() + if self.protocol == 6 { 16 } else { 6 }
    }
}

fn packet(longest: usize) -> impl Strategy<Value = Packet> {
    (
        any::<bool>(),
        prop_oneof![Just(6_u8), Just(17)],
        any::<(u16, u16)>(),
        0..=4_usize,
        vec(any::<u8>(), 0..longest),
        prop_oneof![Just(0_usize), 0..20_usize],
    )
        .prop_map(|(v6, protocol, ports, extra, payload, padding)| Packet {
            v6,
            protocol,
            ports,
            extra,
            payload,
            padding,
        })
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..5)
}

fn vlan() -> impl Strategy<Value = Option<u16>> {
    prop::option::of(Just(300_u16))
}

/// Any frame that A may send to B.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        packet(1400).prop_map(|p| p.frame(Field::Right)),
        (vec(any::<u8>(), 0..INNER - 14), 0x88b5_u16..0xffff).prop_map(|(b, t)| ether(B, A, t, &b)),
        (Just(()), vec(any::<u8>(), INNER - 14)).prop_map(|(_, b)| ether(B, A, 0x88b5, &b)),
    ]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn what_one_host_sends_another_delivers(
        vlan in vlan(),
        v6 in any::<bool>(),
        pas in any::<[[u8; 4]; 2]>().prop_filter("two", |pas| pas[0] != pas[1]),
        frames in vec((frame(), cuts(), cuts(), prop::option::of(any::<u16>()), 0..30_usize), 1..4),
    ) {
        let mut pair = Pair::between(vlan, pas.map(Ipv4Addr::from), v6);
        for (bytes, cuts, cuts_there, tci, padding) in frames {
            let mut sent = bytes.clone();
            if let Some(tci) = tci {
                tag(&mut sent, tci);
            }
            let frame = cut(&pair.here, &sent, &cuts);
            let mut outer = pair.on_the_wire(frame);
            prop_assert_eq!(&outer[pair.gre() + 8..], &bytes[..]);
            // The wire may pad, and the other device cut elsewhere.
            outer.extend(vec![0; padding]);
            let frame = cut(&pair.there, &outer, &cuts_there);
            prop_assert_eq!(pair.at_b(frame), bytes);
        }
    }

    #[test]
    fn a_flow_keeps_its_flow_id(
        first in packet(200),
        others in vec((vec(any::<u8>(), 0..600), any::<[u8; 4]>(), cuts(), any::<bool>()), 1..8),
        vlan in vlan(),
    ) {
        let mut pair = Pair::new(vlan);
        let wanted = pair.flow_id(&first.frame(Field::Right), &[]);
        for (payload, noise, cuts, tagged) in others {
            let mut bytes = Packet { payload, ..first.clone() }.frame(Field::Right);
            // What differs among the packets of a flow: DSCP and ECN, flow label or identification, TTL.
            if first.v6 {
                bytes[14] = 0x60 | noise[0] >> 4;
                bytes[15..18].copy_from_slice(&noise[..3]);
                bytes[21] = noise[3];
            } else {
                bytes[15] = noise[0];
                bytes[18..20].copy_from_slice(&noise[1..3]);
                bytes[20] = noise[1] & 0x40;
                bytes[22] = noise[3];
            }
            if tagged {
                tag(&mut bytes, 5);
            }
            prop_assert_eq!(pair.flow_id(&bytes, &cuts), wanted);
        }
    }

    #[test]
    fn the_fragments_of_a_packet_keep_one_flow_id(
        whole in packet(1400),
        id in any::<[u8; 4]>(),
        size in 1..40_usize,
        cuts in cuts(),
    ) {
        let extra = if whole.v6 { 0 } else { whole.extra };
        let ids = fragments_flow_ids(&Packet { extra, ..whole }, id, size, &cuts);
        prop_assert!(ids.iter().all(|&id| id == ids[0]), "{:?}", ids);
    }

    #[test]
    fn the_fragments_of_extension_headers_keep_one_flow_id(
        whole in packet(1400),
        id in any::<[u8; 4]>(),
        size in 1..40_usize,
        cuts in cuts(),
    ) {
        let ids = fragments_flow_ids(&Packet { v6: true, extra: 1, ..whole }, id, size, &cuts);
        prop_assert!(ids.iter().all(|&id| id == ids[0]), "{:?}", ids);
    }

    #[test]
    fn an_unfinished_checksum_becomes_the_right_one(
        packet in packet(1400),
        cuts in cuts(),
        local in any::<bool>(),
        says_so in any::<bool>(),
        zero in any::<bool>(),
        tagged in any::<bool>(),
    ) {
        let mut packet = packet;
        if zero {
            sum_up_to_zero(&mut packet);
        }
        let mut pair = Pair::new(None);
        let port = pair.here.port_of(pair.a).unwrap();
        pair.here.change_port(port, |port| port.suspect_checksums = !says_so);
        let (at, field) = (packet.l4_at(), packet.field_at());
        let mut partial = packet.frame(Field::Pseudo);
        if tagged {
            tag(&mut partial, 9);
        }
        let mut frame = cut(&pair.here, &partial, &cuts);
        if says_so {
            frame.checksum = L4Checksum::Partial;
        }
        let got = if local {
            // To a neighbour whose device does not take it unfinished.
            let segment = pair.here.view.vnic(pair.a).unwrap().segment;
            pair.here.vnic(segment, B, CA_B);
            pair.here.send_frame(pair.a, frame);
            let mut out = pair.here.take();
            prop_assert_eq!(out.len(), 1);
            out.pop().unwrap().1
        } else {
            pair.on_the_wire(frame)[42..].to_vec()
        };
        pair.here.assert_conserved();
        // By another way than the switch's: the whole L4 and its pseudo-header sum to all ones.
        let l4 = &got[at..got.len() - packet.padding];
        let pseudo = match packet.addresses() {
            (IpAddr::V4(a), IpAddr::V4(b)) => [a.octets(), b.octets()].concat(),
            (IpAddr::V6(a), IpAddr::V6(b)) => [Ipv6Addr::octets(&a), b.octets()].concat(),
            _ => unreachable!(),
        };
        let rest = [0, packet.protocol, (l4.len() >> 8) as u8, l4.len() as u8];
        prop_assert_eq!(slow_sum(&[&pseudo, &rest, l4]), 0xffff);
        // RFC 768: all ones instead of a computed zero; TCP's may be zero.
        if packet.protocol == 17 {
            prop_assert_ne!(&got[field..field + 2], &[0, 0]);
        }
        let mut whole = packet.frame(Field::Right);
        // All ones is zero too (RFC 1624 §3): a frame that was right by chance, before anyone finished it, is left alone.
        if packet.protocol == 6 && !says_so && got[field..field + 2] == [0xff; 2] {
            prop_assert_eq!(&whole[field..field + 2], &[0, 0]);
            whole[field..field + 2].copy_from_slice(&[0xff; 2]);
        }
        prop_assert_eq!(got, whole);
    }
}

/// Cuts a packet into fragments of so many times 8 bytes, and gives each one's FlowID. What an IPv6 packet
/// has of extension headers is in the fragmentable part (RFC 8200 §4.5).
fn fragments_flow_ids(whole: &Packet, id: [u8; 4], size: usize, cuts: &[Index]) -> Vec<u8> {
    let mut pair = Pair::new(None);
    let whole = Packet {
        padding: 0,
        ..whole.clone()
    };
    let bytes = whole.frame(Field::Right);
    let start = if whole.v6 { 54 } else { whole.l4_at() };
    let chunks: Vec<&[u8]> = bytes[start..].chunks(size * 8).collect();
    let each = chunks.iter().enumerate().map(|(i, chunk)| {
        let more = u16::from(i + 1 < chunks.len());
        let offset = (i * size) as u16;
        let fragment = if whole.v6 {
            // The last bit says more only if there are: one fragment alone is an atomic one (RFC 6946).
            let [o0, o1] = (offset << 3 | more).to_be_bytes();
            let packet = ipv6(A.link_local(), B.link_local(), bytes[20], chunk);
            let body = [o0, o1, id[0], id[1], id[2], id[3]];
            ether(B, A, 0x86dd, &with_extension(packet, 44, body))
        } else {
            let packet = ipv4(CA_A, CA_B, whole.protocol, chunk);
            let mut packet = with_options(packet, whole.extra);
            packet[4..6].copy_from_slice(&id[..2]);
            packet[6..8].copy_from_slice(&(offset | more << 13).to_be_bytes());
            ether(B, A, 0x0800, &packet)
        };
        pair.flow_id(&fragment, cuts)
    });
    each.collect()
}

/// Changes the ports so that the checksum comes out as zero.
fn sum_up_to_zero(packet: &mut Packet) {
    packet.ports.0 = 0;
    let at = packet.field_at();
    let bytes = packet.frame(Field::Right);
    let without = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    // The sum is the complement; what is missing to all ones is the checksum itself.
    packet.ports.0 = without;
    let bytes = packet.frame(Field::Right);
    let now = [bytes[at], bytes[at + 1]];
    assert!(now == [0, 0] || now == [0xff, 0xff], "{now:?}");
}
