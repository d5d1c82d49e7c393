//! Bridged VM networks beside NVGRE on one uplink, byte for byte: untagged as they are, or in a VLAN of their own
//! (IEEE 802.1Q); what is the provider's, what is the VMs', what is both's.

use std::net::Ipv4Addr;
use weir_switch::frame::L4Checksum;
use weir_switch::outlet::Event;
use weir_switch::testing::frames::{self, Field, arp_request, ether, nvgre, tag, tenant};
use weir_switch::testing::world::{
    OWN_PA, PEER_MAC, UPLINK, UPLINK_FRAME, UPLINK_MAC, UPLINK_PORT, World,
};
use weir_tables::bandwidth::{Class, ClassId, Link, Pace};
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::filters::{Filters, Rule};
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::Mac;

const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const B: Mac = Mac::new([2, 0, 0, 0, 1, 2]);
/// A machine on the uplink's own network.
const C: Mac = Mac::new([2, 0xcc, 0, 0, 0, 3]);
const CA_A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
const CA_B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 12);
const CA_C: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 13);
const PEER_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const VLAN: u16 = 100;

/// The same MACs and addresses three times: untagged, in a VLAN, in a virtual subnet.
struct House {
    world: World,
    flat: [VnicId; 2],
    vlan: [VnicId; 2],
    blue: [VnicId; 2],
}

fn house_on(uplink_vlan: Option<u16>) -> House {
    let mut world = World::new(4096, uplink_vlan);
    let peer = world.peer(PEER_PA, Some(PEER_MAC));
    let segments = [
        world.bridged(None),
        world.bridged(Some(VLAN)),
        world.segment(5001),
    ];
    let [flat, vlan, blue] = segments
        .map(|segment| [(A, CA_A), (B, CA_B)].map(|(mac, ca)| world.vnic(segment, mac, ca)));
    world.remote(segments[2], C, CA_C, peer);
    House {
        world,
        flat,
        vlan,
        blue,
    }
}

fn house() -> House {
    house_on(None)
}

fn tagged(bytes: &[u8], tci: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    tag(&mut bytes, tci);
    bytes
}

fn from_peer(inner: &[u8]) -> Vec<u8> {
    nvgre((UPLINK_MAC, PEER_MAC), (PEER_PA, OWN_PA), 5001, 7, inner)
}

impl House {
    fn port(&self, vnic: VnicId) -> PortId {
        self.world.port_of(vnic).unwrap()
    }

    /// From the wire, the tag taken off by the device.
    fn wire_stripped(&mut self, bytes: &[u8], tci: u16) {
        let mut frame = self.world.herd.frame(bytes);
        frame.vlan = Some(tci);
        self.world.receive(UPLINK_PORT, [frame]);
    }

    fn took(&mut self, wanted: &[(PortId, Vec<u8>)]) {
        assert_eq!(self.world.take(), wanted);
        assert_eq!(self.world.drops(), []);
        self.world.assert_conserved();
    }

    /// Everything so far was dropped, all for this one reason.
    fn only(&mut self, reason: Reason, times: u64) {
        assert_eq!(self.world.take(), []);
        assert_eq!(self.world.drops(), [(reason, times)]);
        self.world.assert_conserved();
    }
}

#[test]
fn what_is_nobodys_here_leaves_as_it_is_or_with_the_networks_tag() {
    let mut house = house();
    let frame = tenant(C, A, CA_A, CA_C, b"to the wire");
    house.world.send(house.flat[0], &frame);
    house.took(&[(UPLINK_PORT, frame.clone())]);
    house.world.send(house.vlan[0], &frame);
    house.took(&[(UPLINK_PORT, tagged(&frame, VLAN))]);
    // The virtual subnet knows C behind the peer.
    house.world.send(house.blue[0], &frame);
    let out = house.world.take();
    assert_eq!(out[0].1[34..38], [0x20, 0, 0x65, 0x58]);
}

#[test]
fn a_class_has_its_priority_in_the_networks_tag() {
    let mut house = house();
    let mut link = Link::plain(Pace::UNLIMITED);
    link.classes = [Class {
        name: "c".into(),
        share: 10,
        max: Pace::UNLIMITED,
        tc: 0,
        dscp: None,
        pcp: Some(5),
    }]
    .into();
    house.world.link(Some(link));
    let everything = Rule {
        class: ClassId(1),
        ..Rule::default()
    };
    house
        .world
        .classify(Filters::of(&[everything], ClassId::NONE));
    let frame = tenant(C, A, CA_A, CA_C, b"to the wire");
    house.world.send(house.flat[0], &frame);
    house.took(&[(UPLINK_PORT, frame.clone())]);
    house.world.send(house.vlan[0], &frame);
    house.took(&[(UPLINK_PORT, tagged(&frame, 5 << 13 | VLAN))]);
}

#[test]
fn what_is_somebodys_here_stays_here_and_in_its_network() {
    let mut house = house();
    let frame = tenant(B, A, CA_A, CA_B, b"here");
    for [a, b] in [house.flat, house.vlan, house.blue] {
        house.world.send(a, &frame);
        let port = house.port(b);
        house.took(&[(port, frame.clone())]);
    }
}

#[test]
fn there_is_no_gateway_and_nobody_answers_arp_for_others() {
    let mut house = house();
    let frame = tenant(GATEWAY_MAC, A, CA_A, Ipv4Addr::new(8, 8, 8, 8), b"x");
    house.world.send(house.flat[0], &frame);
    house.took(&[(UPLINK_PORT, frame.clone())]);
    house.world.send(house.vlan[0], &frame);
    house.took(&[(UPLINK_PORT, tagged(&frame, VLAN))]);
    // Asked for a vNIC here, and for the first address of the prefix: heard by the members and the wire.
    for target in [CA_B, Ipv4Addr::new(10, 1, 0, 1), OWN_PA] {
        let ask = arp_request(A, CA_A, target);
        house.world.send(house.flat[0], &ask);
        let b = house.port(house.flat[1]);
        house.took(&[(b, ask.clone()), (UPLINK_PORT, ask.clone())]);
        house.world.send(house.vlan[0], &ask);
        let b = house.port(house.vlan[1]);
        house.took(&[(b, ask.clone()), (UPLINK_PORT, tagged(&ask, VLAN))]);
    }
}

#[test]
fn what_comes_in_a_vlan_is_that_networks() {
    let mut house = house();
    let frame = tenant(A, C, CA_C, CA_A, b"from the wire");
    let [flat, vlan] = [house.flat[0], house.vlan[0]].map(|id| house.port(id));
    house.world.wire(&frame);
    house.took(&[(flat, frame.clone())]);
    // A tag of priority alone is no VLAN (IEEE 802.1Q §6.9.1).
    house.world.wire(&tagged(&frame, 0xe000));
    house.took(&[(flat, frame.clone())]);
    house.world.wire(&tagged(&frame, VLAN | 0x6000));
    house.took(&[(vlan, frame.clone())]);
    house.wire_stripped(&frame, VLAN);
    house.took(&[(vlan, frame.clone())]);
    house.wire_stripped(&frame, 0);
    house.took(&[(flat, frame.clone())]);
    // And what is inside NVGRE is the virtual subnet's, be it refused there.
    house.world.wire(&from_peer(&frame));
    let blue = house.port(house.blue[0]);
    house.took(&[(blue, frame.clone())]);
    house.world.wire(&from_peer(&tagged(&frame, VLAN)));
    house.only(Reason::InnerTagged, 1);
}

#[test]
fn what_is_to_many_is_heard_by_the_members_of_its_vlan() {
    let mut house = house();
    let frame = ether(Mac::new([0x33, 0x33, 0, 0, 0, 1]), C, 0x88b5, b"all of you");
    let both = |house: &House, ids: [VnicId; 2]| ids.map(|id| (house.port(id), frame.clone()));
    house.world.wire(&frame);
    let flat = both(&house, house.flat);
    house.took(&flat);
    house.world.wire(&tagged(&frame, VLAN));
    let vlan = both(&house, house.vlan);
    house.took(&vlan);
}

#[test]
fn other_vlans_second_tags_strangers_and_loops_are_refused() {
    let frame = tenant(A, C, CA_C, CA_A, b"x");
    let cases = [
        (tagged(&frame, 101), Reason::OuterVlan),
        (tagged(&tagged(&frame, VLAN), VLAN), Reason::InnerTagged),
        (tagged(&tagged(&frame, VLAN), 0), Reason::InnerTagged),
        (tenant(C, PEER_MAC, CA_C, CA_A, b"x"), Reason::NotHere),
        (tenant(B, A, CA_A, CA_B, b"x"), Reason::InnerSourceLocal),
        (
            tagged(&arp_request(B, CA_B, CA_A), VLAN),
            Reason::InnerSourceLocal,
        ),
        (arp_request(B, CA_B, OWN_PA), Reason::InnerSourceLocal),
        (
            ether(Mac::new([1, 0x80, 0xc2, 0, 0, 0xe]), C, 0x88cc, b"lldp"),
            Reason::ReservedMulticast,
        ),
        (
            ether(A, Mac::new([3, 0, 0, 0, 0, 1]), 0x88b5, b"x"),
            Reason::Malformed,
        ),
        // To the host itself, which has nothing but NVGRE.
        (ether(UPLINK_MAC, C, 0x88b5, b"x"), Reason::OuterType),
    ];
    for (bytes, reason) in cases {
        let mut house = house();
        house.world.wire(&bytes);
        house.only(reason, 1);
    }
    let mut house = house();
    house.wire_stripped(&tagged(&frame, VLAN), VLAN);
    house.only(Reason::OuterVlan, 1);
}

#[test]
fn a_vm_cannot_choose_a_vlan() {
    let frame = tenant(C, A, CA_A, CA_C, b"x");
    let mut house = house();
    for (vnic, wanted) in [
        (house.flat[0], frame.clone()),
        (house.vlan[0], tagged(&frame, VLAN)),
    ] {
        house.world.send(vnic, &tagged(&frame, 0xa000));
        house.took(&[(UPLINK_PORT, wanted)]);
    }
    let mut dropped = 0;
    for id in [house.flat[0], house.vlan[0]] {
        for tci in [VLAN, 101, 0x0fff] {
            house.world.send(id, &tagged(&frame, tci));
            let mut stripped = house.world.herd.frame(&frame);
            stripped.vlan = Some(tci);
            house.world.send_frame(id, stripped);
            dropped += 2;
            house.only(Reason::TenantTagged, dropped);
        }
    }
    house
        .world
        .send(house.flat[0], &tagged(&tagged(&frame, VLAN), 0));
    assert_eq!(house.world.take(), []);
    assert!(house.world.drops().contains(&(Reason::InnerTagged, 1)));
}

#[test]
fn the_provider_keeps_what_is_its_own() {
    let mut house = house();
    let peer = Event::Neighbor {
        uplink: UPLINK,
        address: PEER_PA.into(),
        mac: PEER_MAC,
        overrides: true,
    };
    // Asked for this host's address by everybody's: the host answers, and the VMs heard it.
    let ask = arp_request(PEER_MAC, PEER_PA, OWN_PA);
    house.world.wire(&ask);
    let out = house.world.take();
    let ports: Vec<PortId> = out.iter().map(|o| o.0).collect();
    let flat = house.flat.map(|id| house.port(id));
    assert_eq!(ports, [flat[0], flat[1], UPLINK_PORT]);
    assert_eq!((&out[0].1, &out[1].1), (&ask, &ask));
    assert_eq!(out[2].1[..14], ether(PEER_MAC, UPLINK_MAC, 0x0806, b"")[..]);
    assert_eq!(std::mem::take(&mut house.world.kept.events), [peer]);
    // About others: the VMs' alone, but who asks is remembered.
    let ask = arp_request(PEER_MAC, PEER_PA, CA_A);
    house.world.wire(&ask);
    house.took(&[(flat[0], ask.clone()), (flat[1], ask.clone())]);
    assert_eq!(std::mem::take(&mut house.world.kept.events), [peer]);
    // An answer to the host is the host's, an answer to a VM the VM's.
    let mut answer = arp_request(PEER_MAC, PEER_PA, OWN_PA);
    answer[21] = 2;
    answer[..6].copy_from_slice(&UPLINK_MAC.octets());
    house.world.wire(&answer);
    house.took(&[]);
    assert_eq!(std::mem::take(&mut house.world.kept.events), [peer]);
    answer[..6].copy_from_slice(&A.octets());
    house.world.wire(&answer);
    house.took(&[(flat[0], answer)]);
    assert_eq!(house.world.kept.events, []);
}

#[test]
fn a_provider_in_a_vlan_shares_nothing_with_what_is_untagged() {
    let mut house = house_on(Some(300));
    let ask = arp_request(PEER_MAC, PEER_PA, OWN_PA);
    house.world.wire(&tagged(&ask, 300));
    let out = house.world.take();
    assert_eq!((out.len(), out[0].0), (1, UPLINK_PORT));
    // Untagged it is the VMs' alone, also if it asks for this host.
    house.world.kept.events.clear();
    house.world.wire(&ask);
    let flat = house.flat.map(|id| (house.port(id), ask.clone()));
    house.took(&flat);
    assert_eq!(house.world.kept.events, []);
    let frame = tenant(A, C, CA_C, CA_A, b"x");
    house.world.wire(&tagged(&frame, 300));
    house.only(Reason::OuterNotOurs, 1);
}

#[test]
fn nothing_from_a_bridged_vm_is_taken_for_the_providers() {
    let mut house = house();
    // NVGRE to this very host: on the wire like everything else, which does not bring it back.
    let inner = tenant(A, C, CA_C, CA_A, b"x");
    let nested = nvgre((UPLINK_MAC, A), (CA_A, OWN_PA), 5001, 0, &inner);
    house.world.send(house.flat[0], &nested);
    house.took(&[(UPLINK_PORT, nested)]);
    // As the peer it may not speak.
    let forged = nvgre((UPLINK_MAC, A), (PEER_PA, OWN_PA), 5001, 0, &inner);
    house.world.send(house.flat[0], &forged);
    house.only(Reason::SpoofedIp, 1);
}

#[test]
fn only_as_itself_here_too() {
    let mut house = house();
    for id in [house.flat[0], house.vlan[0]] {
        house.world.send(id, &tenant(C, B, CA_A, CA_C, b"x"));
        house.world.send(id, &tenant(C, A, CA_B, CA_C, b"x"));
        house.world.send(id, &arp_request(A, CA_B, CA_C));
        let lldp = ether(Mac::new([1, 0x80, 0xc2, 0, 0, 0]), A, 0x0800, &[0; 46]);
        house.world.send(id, &lldp);
    }
    assert_eq!(house.world.take(), []);
    let reasons: Vec<Reason> = house.world.drops().iter().map(|d| d.0).collect();
    assert!(reasons.contains(&Reason::SpoofedMac) && reasons.contains(&Reason::SpoofedArp));
    house.world.assert_conserved();
}

#[test]
fn a_frame_of_any_kind_to_a_reserved_address_stays_on_its_link() {
    let mut house = house();
    let stp = Mac::new([1, 0x80, 0xc2, 0, 0, 0]);
    for id in [house.flat[0], house.vlan[0]] {
        house.world.send(id, &tenant(stp, A, CA_A, CA_C, b"x"));
    }
    house.only(Reason::ReservedMulticast, 2);
}

#[test]
fn the_uplinks_mtu_is_the_vms_and_the_tag_does_not_count() {
    let mut house = house();
    let fits = ether(C, A, 0x88b5, &vec![7; usize::from(UPLINK_FRAME) - 14]);
    house.world.send(house.flat[0], &fits);
    house.took(&[(UPLINK_PORT, fits.clone())]);
    house.world.send(house.vlan[0], &fits);
    house.took(&[(UPLINK_PORT, tagged(&fits, VLAN))]);
    let larger = [&fits[..], b"x"].concat();
    house.world.send(house.flat[0], &larger);
    house.world.send(house.vlan[0], &larger);
    house.only(Reason::Oversize, 2);
}

#[test]
fn a_checksum_left_to_the_device_is_finished_before_the_wire() {
    let mut house = house();
    let addresses = (CA_A.into(), CA_C.into());
    let packet = |field| {
        let l4 = frames::l4(17, addresses, (4000, 5000), b"half done", field);
        ether(C, A, 0x0800, &frames::ipv4(CA_A, CA_C, 17, &l4))
    };
    let mut frame = house.world.herd.frame(&packet(Field::Pseudo));
    frame.checksum = L4Checksum::Partial;
    house.world.send_frame(house.vlan[0], frame);
    house.took(&[(UPLINK_PORT, tagged(&packet(Field::Right), VLAN))]);
}

#[test]
fn without_room_for_the_tag_it_is_dropped() {
    let mut house = house();
    let frame = tenant(C, A, CA_A, CA_C, b"x");
    let tight = house.world.herd.chain_behind(0, &[&frame]);
    house.world.send_frame(house.vlan[0], tight);
    house.only(Reason::NoHeadroom, 1);
}
