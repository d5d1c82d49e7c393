//! The straight lane from the wire: what it accepts, the general one accepts alike. A watched host has the general lane alone.

use proptest::collection::vec;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use weir_switch::Frame;
use weir_switch::ordinary_outer::{Arrivals, Inside, TAGGED, UNTAGGED};
use weir_switch::outer::{self, Outer};
use weir_switch::testing::VecFrame;
use weir_switch::testing::frames::{nvgre, tag, tenant};
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::endpoints::endpoint_key;
use weir_tables::ids::{SegmentId, VnicId};
use weir_tables::view::Party;
use weir_wire::{Mac, ipv4};

const NEAR: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const OTHER: Mac = Mac::new([2, 0, 0, 0, 1, 2]);
const FAR: Mac = Mac::new([2, 0, 0, 0, 2, 1]);
const CAS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 1, 0, 11),
    Ipv4Addr::new(10, 1, 0, 12),
    Ipv4Addr::new(10, 1, 0, 13),
];
const PEER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const VSID: u32 = 5001;

fn host(vlan: Option<u16>) -> (World, SegmentId) {
    let mut world = World::new(64, vlan);
    let segment = world.segment(VSID);
    world.vnic(segment, NEAR, CAS[0]);
    world.vnic(segment, OTHER, CAS[1]);
    let peer = world.peer(PEER, Some(PEER_MAC));
    world.remote(segment, FAR, CAS[2], peer);
    (world, segment)
}

fn packet(dst: Mac, src: Mac, vlan: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let inner = tenant(dst, src, CAS[2], CAS[0], payload);
    let mut packet = nvgre((UPLINK_MAC, PEER_MAC), (PEER, OWN_PA), VSID, 0x5a, &inner);
    if let Some(vlan) = vlan {
        // A priority besides.
        tag(&mut packet, 0xa000 | vlan);
    }
    packet
}

/// Makes the outer IPv4 header's checksum right again.
fn mend(packet: &mut [u8], at: usize) {
    if let Some(header) = packet
        .get_mut(at..)
        .and_then(|l3| l3.first_chunk_mut::<20>())
    {
        header[10..12].copy_from_slice(&[0, 0]);
        let sum = weir_wire::checksum::checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Hosts of both lanes, with the same on them.
struct Both {
    plain: World,
    watched: World,
    at: usize,
}

impl Both {
    fn new(vlan: Option<u16>) -> Both {
        let (plain, mut watched) = (host(vlan).0, host(vlan).0);
        watched.watch();
        let at = if vlan.is_some() { 18 } else { 14 };
        Both { plain, watched, at }
    }

    /// What the straight lane alone says.
    fn accepted(&self, frame: &mut VecFrame) -> Option<Inside> {
        let view = &self.plain.view;
        let uplink = view.uplink(UPLINK).unwrap();
        match uplink.vlan {
            None => Arrivals::<UNTAGGED>::at(view, uplink).accept(frame),
            Some(_) => Arrivals::<TAGGED>::at(view, uplink).accept(frame),
        }
    }

    /// Holds what becomes of a packet by the two lanes against each other; whether the straight one accepted it.
    fn compare(&mut self, packet: &[u8]) -> bool {
        let mut frame = self.plain.herd.frame(packet);
        let inside = self.accepted(&mut frame);
        if let Some(inside) = inside {
            let view = &self.plain.view;
            let mut whole = self.plain.herd.frame(packet);
            let outer = outer::accept(view, view.uplink(UPLINK).unwrap(), &mut whole);
            let Ok(Outer::Nvgre {
                segment,
                header,
                inner,
                ..
            }) = outer
            else {
                panic!("{outer:?} for {packet:x?}");
            };
            let bytes = frame.bytes();
            assert_eq!(bytes, packet[header..header + inner]);
            let mac = |at: usize| Mac::new(*bytes[at..].first_chunk().unwrap());
            let (to, from) = (endpoint_key(segment, mac(0)), endpoint_key(segment, mac(6)));
            assert_eq!(inside, Inside { to, from });
        } else {
            assert_eq!(frame.bytes(), packet, "left alone");
        }
        drop(frame);
        for world in [&mut self.plain, &mut self.watched] {
            let frame = world.herd.frame(packet);
            world.receive(UPLINK_PORT, [frame]);
            world.assert_conserved();
        }
        assert_eq!(self.plain.take(), self.watched.take(), "{packet:x?}");
        assert_eq!(self.plain.drops(), self.watched.drops(), "{packet:x?}");
        inside.is_some()
    }
}

#[test]
fn ordinary_packets_are_accepted_and_taken_out() {
    for vlan in [None, Some(7)] {
        let mut both = Both::new(vlan);
        for payload in [1, 18, 19, 400, 1400] {
            for dst in [NEAR, OTHER, FAR, Mac::new([2, 9, 9, 9, 9, 9])] {
                assert!(both.compare(&packet(dst, FAR, vlan, &vec![7; payload])));
            }
            // Its sender claims to be one of ours: found out later.
            assert!(both.compare(&packet(NEAR, OTHER, vlan, &vec![7; payload])));
        }
    }
}

#[test]
fn every_flipped_bit_is_judged_alike() {
    for vlan in [None, Some(7)] {
        let mut both = Both::new(vlan);
        let (sound, mut strange) = (packet(NEAR, FAR, vlan, &[0; 18]), 0);
        for bit in 0..8 * sound.len() {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            strange += usize::from(!both.compare(&flipped));
            // The checksum no longer hides what is wrong with the header's other fields.
            mend(&mut flipped, both.at);
            strange += usize::from(!both.compare(&flipped));
        }
        assert!(strange > 300, "{strange}");
        for length in 0..sound.len() {
            assert!(!both.compare(&sound[..length]));
        }
        for more in 1..20 {
            let padded = [&sound[..], &vec![0; more]].concat();
            assert!(!both.compare(&padded));
        }
    }
}

#[test]
fn tags_inside_and_marks_of_congestion_outside_are_odd() {
    let mut both = Both::new(None);
    for tag in [[0x81, 0x00], [0x88, 0xa8]] {
        let mut tagged = packet(NEAR, FAR, None, &[0; 18]);
        tagged[54..56].copy_from_slice(&tag);
        assert!(!both.compare(&tagged));
    }
    for tos in 0..=255_u8 {
        let mut marked = packet(NEAR, FAR, None, &[0; 18]);
        marked[15] = tos;
        mend(&mut marked, 14);
        // ECT(1) and CE are brought inside, or end the packet.
        assert_eq!(both.compare(&marked), tos & 1 == 0, "{tos:x}");
    }
}

#[test]
fn what_is_known_of_a_frame_besides_its_bytes_makes_it_odd() {
    let both = Both::new(None);
    let sound = packet(NEAR, FAR, None, &[0; 18]);
    let herd = &both.plain.herd;
    assert!(both.accepted(&mut herd.frame(&sound)).is_some());
    let (front, back) = sound.split_at(70);
    assert_eq!(both.accepted(&mut herd.chain(&[front, back])), None);
    let mut tagged = herd.frame(&sound);
    tagged.vlan = Some(7);
    assert_eq!(both.accepted(&mut tagged), None);
    let mut unfinished = herd.frame(&sound);
    unfinished.set_l4_checksum(weir_switch::frame::L4Checksum::Partial);
    assert_eq!(both.accepted(&mut unfinished), None);
}

#[test]
fn every_provider_address_of_the_uplink_is_its_own() {
    let mut both = Both::new(None);
    let second = Ipv4Addr::new(192, 168, 50, 77);
    for world in [&mut both.plain, &mut both.watched] {
        let uplink = world.view.uplinks[UPLINK.index()].as_mut().unwrap();
        std::sync::Arc::make_mut(uplink).v4 = [OWN_PA, second].into();
    }
    let mut to_second = packet(NEAR, FAR, None, &[0; 18]);
    let header = to_second[14..].first_chunk_mut().unwrap();
    ipv4::set_destination(header, second);
    assert!(both.compare(&to_second));
    assert!(both.compare(&packet(NEAR, FAR, None, &[0; 18])));
    let mut to_third = packet(NEAR, FAR, None, &[0; 18]);
    let header = to_third[14..].first_chunk_mut().unwrap();
    ipv4::set_destination(header, Ipv4Addr::new(192, 168, 50, 78));
    assert!(!both.compare(&to_third));
}

/// The order of a flow stays, of whatever packets it is made: marked ones and padded ones are odd.
#[test]
fn odd_and_ordinary_packets_of_a_batch_stay_in_order() {
    let (mut world, _) = host(None);
    let packets: Vec<Vec<u8>> = (0..32_u8)
        .map(|place| {
            let mut packet = packet(NEAR, FAR, None, &[place; 18]);
            match place % 4 {
                1 => packet.extend([0; 3]),
                2 => {
                    // Congestion experienced; inside, a sender that understands it.
                    packet[15] |= 3;
                    packet[42 + 15] |= 2;
                    mend(&mut packet, 14);
                    mend(&mut packet, 42 + 14);
                }
                _ => {}
            }
            packet
        })
        .collect();
    let frames: Vec<_> = packets
        .iter()
        .map(|packet| world.herd.frame(packet))
        .collect();
    world.receive(UPLINK_PORT, frames);
    let out: Vec<u8> = world
        .take()
        .iter()
        .map(|out| *out.1.last().unwrap())
        .collect();
    assert_eq!(out, (0..32).collect::<Vec<u8>>());
}

/// Batches for one vNIC and for several, of which one has a port that takes short frames only and one is behind a tag.
#[derive(Clone, Debug)]
struct Sent {
    to: usize,
    from_own: bool,
    payload: usize,
    padding: usize,
}

fn sent(receivers: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Sent>> {
    let one = (receivers, 0..20, 1..500_usize, 0..20_usize);
    let one = one.prop_map(|(to, own, payload, padding)| Sent {
        to,
        from_own: own == 0,
        payload,
        padding: if padding == 1 { 5 } else { 0 },
    });
    vec(one, 1..33)
}

fn crowd() -> World {
    let (mut world, segment) = host(None);
    let port = world.port_of(VnicId(0)).unwrap();
    world.change_port(port, |port| port.max_frame = 300);
    let trunk = world.trunk(Party::TrunkByVlan);
    world.vnic_on(segment, FAR_BUT_HERE, CAS[2], trunk, Some(9));
    world
}

const FAR_BUT_HERE: Mac = Mac::new([2, 0, 0, 0, 1, 3]);

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_are_delivered_alike(
        batch in prop_oneof![sent(0..1), sent(1..2), sent(2..3), sent(0..5)],
    ) {
        let (mut plain, mut watched) = (crowd(), crowd());
        watched.watch();
        let receivers = [NEAR, OTHER, FAR_BUT_HERE, FAR, Mac::new([2, 9, 9, 9, 9, 9])];
        let frame = |sent: &Sent| {
            let src = if sent.from_own { OTHER } else { FAR };
            let mut bytes = packet(receivers[sent.to], src, None, &vec![1; sent.payload]);
            bytes.resize(bytes.len() + sent.padding, 0);
            bytes
        };
        for world in [&mut plain, &mut watched] {
            let frames: Vec<_> = batch.iter().map(|sent| world.herd.frame(&frame(sent))).collect();
            world.receive(UPLINK_PORT, frames);
            world.assert_conserved();
        }
        prop_assert_eq!(plain.take(), watched.take());
        prop_assert_eq!(plain.drops(), watched.drops());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_changes_are_judged_alike(
        changes in vec((0..70_usize, any::<u8>()), 0..5),
        mended in any::<bool>(),
        vlan in prop_oneof![Just(None), Just(Some(7))],
        payload in 0..80_usize,
        dst in prop_oneof![Just(NEAR), Just(OTHER), Just(FAR)],
        src in prop_oneof![Just(NEAR), Just(FAR), Just(PEER_MAC)],
    ) {
        let mut both = Both::new(vlan);
        let mut packet = packet(dst, src, vlan, &vec![1; payload]);
        for (at, byte) in changes {
            if let Some(place) = packet.get_mut(at) {
                *place = byte;
            }
        }
        if mended {
            mend(&mut packet, both.at);
        }
        both.compare(&packet);
    }
}
