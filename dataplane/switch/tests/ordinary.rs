//! The guard of ordinary packets against the guard of all: what the one lets in, the other does, and as the same flow; and what is
//! ordinary is not sent round the long way.

use proptest::collection::vec;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use weir_switch::family::{Family, V4};
use weir_switch::frame::L4Checksum;
use weir_switch::ordinary::{Ordinary, Sender};
use weir_switch::testing::world::World;
use weir_switch::testing::{Herd, VecFrame};
use weir_switch::{Frame, ecn, guard, parse};
use weir_tables::ids::VnicId;
use weir_tables::reason::Reason;
use weir_wire::{EtherType, Mac};

const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const ALLOWED_MAC: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
const CA: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 12);
const IN_NET: Ipv4Addr = Ipv4Addr::new(10, 9, 3, 4);

/// What differs between the vNICs and ports that send.
#[derive(Clone, Copy, Debug)]
struct Setting {
    addresses: usize,
    nets: bool,
    macs: bool,
    clamps: bool,
    suspects: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    let rare = || prop::bool::weighted(0.1);
    (0..3_usize, any::<bool>(), any::<bool>(), rare(), rare()).prop_map(
        |(addresses, nets, macs, clamps, suspects)| Setting {
            addresses,
            nets,
            macs,
            clamps,
            suspects,
        },
    )
}

fn world(setting: Setting) -> (World, VnicId) {
    let mut world = World::new(16, None);
    let segment = world.segment(5001);
    let id = world.vnic(segment, MAC, CA);
    world.change_identity(id, |identity| {
        identity.v4 = [CA, SECOND].into_iter().take(setting.addresses).collect();
        if setting.nets {
            identity.v4_nets = [(0x0a09_0000, 0xffff_0000)].into();
        }
        if setting.macs {
            identity.macs = [ALLOWED_MAC].into();
        }
    });
    if setting.clamps {
        world.clamp(id);
    }
    let port = world.port_of(id).unwrap();
    world.change_port(port, |port| port.suspect_checksums = setting.suspects);
    (world, id)
}

/// A frame that is nearly what an honest vNIC sends.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let mac = prop_oneof![8 => Just(MAC), 2 => Just(ALLOWED_MAC), 1 => any::<[u8; 6]>().prop_map(Mac::new)];
    let dst =
        prop_oneof![6 => Just([2, 1, 0, 0, 0, 9]), 1 => Just([0xff; 6]), 2 => any::<[u8; 6]>()];
    let ethertype = prop_oneof![12 => Just(0x0800_u16), 1 => Just(0x0806), 1 => Just(0x86dd), 1 => any::<u16>()];
    let version =
        prop_oneof![10 => Just(0x45_u8), 1 => Just(0x46), 1 => Just(0x55), 1 => any::<u8>()];
    let source = prop_oneof![
        6 => Just(CA), 2 => Just(SECOND), 2 => Just(IN_NET),
        1 => Just(Ipv4Addr::UNSPECIFIED), 1 => Just(Ipv4Addr::BROADCAST), 1 => any::<[u8; 4]>().prop_map(Ipv4Addr::from),
    ];
    let fragment = prop_oneof![4 => Just(0x4000_u16), 2 => Just(0), 1 => Just(0x2000), 1 => Just(0x00b9), 1 => any::<u16>()];
    let protocol =
        prop_oneof![3 => Just(17_u8), 2 => Just(6), 1 => Just(132), 1 => Just(1), 1 => any::<u8>()];
    let rest = prop_oneof![4 => vec(any::<u8>(), 20..80), 1 => vec(any::<u8>(), 0..20)];
    let total = prop_oneof![6 => -3_i32..=0, 1 => 1_i32..4, 1 => -60_i32..0, 1 => any::<i32>()];
    let ports = prop_oneof![2 => any::<[u8; 4]>(), 1 => Just([0, 68, 0, 67])];
    let headers = (dst, mac, ethertype, version, source);
    (headers, fragment, protocol, total, ports, rest, any::<u8>()).prop_map(
        |((dst, mac, ethertype, version, source), fragment, protocol, total, ports, rest, tos)| {
            let mut bytes = dst.to_vec();
            bytes.extend(mac.octets());
            bytes.extend(ethertype.to_be_bytes());
            bytes.extend([version, tos, 0, 0, 0, 0]);
            bytes.extend(fragment.to_be_bytes());
            bytes.extend([64, protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend([10, 0, 0, 99]);
            bytes.extend(ports);
            bytes.extend(rest);
            let total = (bytes.len() as i32 - 14).wrapping_add(total) as u16;
            bytes[16..18].copy_from_slice(&total.to_be_bytes());
            bytes
        },
    )
}

/// What the stages that take all frames say.
fn general(
    world: &World,
    id: VnicId,
    frame: &mut VecFrame,
) -> Result<(EtherType, Ordinary), Reason> {
    let vnic = world.view.vnic(id).unwrap();
    let parsed = parse::ethernet(frame)?;
    let flow = guard::admit(&vnic.identity, &parsed, frame.head(), frame.len())?;
    let (dst, tos) = (parsed.dst.to_u64(), ecn::outgoing(frame.head()));
    let to = V4::destination(frame.head()).to_bits();
    Ok((parsed.ethertype, Ordinary { dst, to, tos, flow }))
}

fn fast(world: &World, id: VnicId, frame: &VecFrame) -> Option<Ordinary> {
    let vnic = world.view.vnic(id).unwrap();
    Sender::of(vnic, world.view.port(vnic.port).unwrap()).admit(frame)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_guards_agree(setting in setting(), mut bytes in frame(), cut in prop_oneof![4 => Just(0_usize), 1 => 0_usize..100]) {
        bytes.truncate(bytes.len().saturating_sub(cut));
        let (world, id) = world(setting);
        let herd = Herd::default();
        let mut frame = herd.frame(&bytes);
        let fast = fast(&world, id, &frame);
        let general = general(&world, id, &mut frame);
        if let Some(fast) = fast {
            prop_assert_eq!(general, Ok((EtherType::IPV4, fast)));
            prop_assert!(fast.dst & 1 << 40 == 0 && !setting.clamps && !setting.suspects);
        } else if let Ok((EtherType::IPV4, it)) = general {
            let unspecified = bytes[26..30] == [0; 4];
            let is_odd = bytes[14] != 0x45 || bytes.len() < 38 || it.dst & 1 << 40 != 0 || unspecified;
            let wants_more = setting.clamps || setting.suspects || setting.addresses == 0;
            prop_assert!(is_odd || wants_more, "an ordinary packet goes the long way");
        }
    }
}

/// One that is ordinary in all, for what the frame has besides its bytes.
fn usual(herd: &Herd) -> VecFrame {
    let mut bytes = vec![2, 1, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0];
    bytes.extend([
        0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 11, 10, 0, 0, 99,
    ]);
    bytes.extend([0; 26]);
    herd.frame(&bytes)
}

#[test]
fn a_frame_that_is_more_than_its_bytes_is_not_ordinary() {
    let setting = Setting {
        addresses: 1,
        nets: false,
        macs: false,
        clamps: false,
        suspects: false,
    };
    let (world, id) = world(setting);
    let herd = Herd::default();
    assert!(fast(&world, id, &usual(&herd)).is_some());
    let mut partial = usual(&herd);
    partial.checksum = L4Checksum::Partial;
    assert_eq!(fast(&world, id, &partial), None);
    let mut tagged = usual(&herd);
    tagged.vlan = Some(7);
    assert_eq!(fast(&world, id, &tagged), None);
    let bytes = usual(&herd).bytes();
    let chain = herd.chain(&[&bytes[..50], &bytes[50..]]);
    assert_eq!(fast(&world, id, &chain), None);
}
