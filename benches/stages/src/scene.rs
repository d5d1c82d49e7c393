//! A host, its mappings and the frames that it gets: one scene for each scenario of the rig that needs no device.

use std::net::Ipv4Addr;
use weir_switch::parse::Parsed;
use weir_switch::testing::HZ;
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Promise};
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::endpoints::{Record, Target, endpoint_key, record_key};
use weir_tables::filters::{Filters, Rule};
use weir_tables::ids::{PeerId, PortId, VnicId};
use weir_wire::{EtherType, Mac};

/// Mappings of a scene.
pub const MAPPINGS: u32 = 1000;
/// Other hosts.
const HOSTS: usize = 10;
const VSIDS: [u32; 2] = [5001, 5002];
/// UDP payload of a frame of 64 bytes with its FCS.
const PAYLOAD: [u8; 18] = [0; 18];

/// What a scene's maker knows of one frame, so that a stage can be run without those before it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its Ethernet header and flow.
    pub parsed: Parsed,
    /// Key of its destination among the endpoints.
    pub endpoint: u64,
    /// Key of its destination among the records.
    pub address: u64,
    /// Its destination's record.
    pub record: [u32; 3],
    /// The host it goes to.
    pub peer: PeerId,
    /// The vNIC it goes to, if that is here.
    pub to: VnicId,
}

/// A host and what comes to one of its ports.
pub struct Scene {
    /// The scenario's name.
    pub name: &'static str,
    /// The host.
    pub world: World,
    /// Where the frames come from.
    pub port: PortId,
    /// The vNIC that sends them, where one does.
    pub sender: VnicId,
    /// The frames, and what is known of each.
    pub frames: Vec<(Vec<u8>, Known)>,
    /// Packets of a round that go out; the others are dropped.
    pub sent: u64,
}

/// The names of all scenes.
pub const SCENES: [&str; 10] = [
    "nvgre-encap",
    // The same of a vNIC with a maximum, on an uplink that is shared and has room.
    "promised-encap",
    // The same where there are traffic classes, of which its frames are one.
    "classed-encap",
    "nvgre-decap",
    "rewrite",
    "rewrite-in",
    "routed",
    "local",
    "l2",
    "drop",
];

/// A traffic class, of what has the DSCP 0, as all frames of a scene have.
fn classify(world: &mut World, link: &mut Link) {
    link.classes = [Class {
        name: "c".into(),
        share: 10,
        max: Pace::UNLIMITED,
        tc: 0,
        dscp: None,
        pcp: None,
    }]
    .into();
    let rule = Rule {
        class: ClassId(1),
        dscp: Some(0),
        ..Rule::default()
    };
    world.classify(Filters::of(&[rule], ClassId::NONE));
}

struct Vm {
    mac: Mac,
    ca: Ipv4Addr,
}

/// The vNIC with this number in this subnet, on another host.
fn remote(subnet: u8, number: u32) -> Vm {
    let [a, b, c, d] = number.to_be_bytes();
    Vm {
        mac: Mac::new([2, 1 + subnet, a, b, c, d]),
        ca: Ipv4Addr::new(10, 1 + subnet, c, d),
    }
}

/// The provider address of the vNIC with this number in the subnet that is rewritten.
fn pa_of(number: u32) -> Ipv4Addr {
    let [_, _, c, d] = number.to_be_bytes();
    Ipv4Addr::new(172, 16, c, d)
}

/// The provider addresses of the vNICs here, where they have any.
const OWN_PAS: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 20, 0, 1), Ipv4Addr::new(172, 20, 0, 2)];

/// The provider address of another host.
fn pa(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 50, 2 + host as u8)
}

impl Scene {
    /// The scene of that name with so many frames; none if there is none.
    pub fn named(name: &str, packets: usize) -> Option<Scene> {
        let name = SCENES.into_iter().find(|scene| *scene == name)?;
        let is_rewritten = matches!(name, "rewrite" | "rewrite-in");
        let mut world = World::new(8 * MAPPINGS as usize, None);
        let domain = world.domain();
        let subnets = match name {
            "l2" => [world.bridged(None); 2],
            _ => VSIDS.map(|vsid| {
                let third = (vsid - VSIDS[0]) as u8;
                world.subnet(domain, vsid, Ipv4Addr::new(10, third, 0, 1))
            }),
        };
        if is_rewritten {
            world.rewritten(subnets[0]);
        }
        let (own, near) = (
            Vm {
                mac: Mac::new([2, 0, 0, 0, 0, 1]),
                ca: Ipv4Addr::new(10, 0, 0, 2),
            },
            Vm {
                mac: Mac::new([2, 0, 0, 0, 0, 2]),
                ca: Ipv4Addr::new(10, 0, 0, 3),
            },
        );
        let sender = world.vnic(subnets[0], own.mac, own.ca);
        let receiver = world.vnic(subnets[0], near.mac, near.ca);
        if is_rewritten {
            world.give_pa(sender, OWN_PAS[0]);
            world.give_pa(receiver, OWN_PAS[1]);
        }
        let peers: Vec<PeerId> = (0..HOSTS)
            .map(|host| world.peer(pa(host), Some(PEER_MAC)))
            .collect();
        for subnet in [0, 1] {
            for number in 0..MAPPINGS {
                let (vm, at) = (remote(subnet, number), peers[number as usize % HOSTS]);
                match name {
                    // What is behind the wire has no mapping.
                    "l2" => {}
                    _ if is_rewritten && subnet == 0 => {
                        world.remote_pa(subnets[0], vm.ca, at, pa_of(number));
                    }
                    _ => world.remote(subnets[usize::from(subnet)], vm.mac, vm.ca, at),
                }
            }
        }
        let port = match name {
            "nvgre-decap" | "rewrite-in" => UPLINK_PORT,
            _ => world.port_of(sender)?,
        };
        let frame = |place: usize| {
            // Coprime to the number of mappings, so that tables filled in order are not read in order.
            let number = (place as u32).wrapping_mul(7919) % MAPPINGS;
            let host = number as usize % HOSTS;
            let (there, beyond) = (remote(0, number), remote(1, number));
            let (dst, to, ca) = match name {
                "routed" => (GATEWAY_MAC, beyond.mac, beyond.ca),
                "rewrite" => (GATEWAY_MAC, there.mac, there.ca),
                "rewrite-in" => (UPLINK_MAC, near.mac, OWN_PAS[1]),
                "local" | "nvgre-decap" => (near.mac, near.mac, near.ca),
                _ => (there.mac, there.mac, there.ca),
            };
            let (src, from) = match name {
                "nvgre-decap" => (there.mac, there.ca),
                "rewrite-in" => (PEER_MAC, pa_of(number)),
                // An address that is not the sender's.
                "drop" => (own.mac, near.ca),
                _ => (own.mac, own.ca),
            };
            let inner = frames::tenant(dst, src, from, ca, &PAYLOAD);
            let bytes = match name {
                "nvgre-decap" => {
                    let macs = (UPLINK_MAC, PEER_MAC);
                    frames::nvgre(macs, (pa(host), OWN_PA), VSIDS[0], 0x5a, &inner)
                }
                _ => inner,
            };
            let segment = subnets[usize::from(name == "routed")];
            let record = match name {
                "rewrite" => Record::rewritten(peers[host], segment, pa_of(number).into()),
                _ => Record {
                    target: match name {
                        "nvgre-decap" | "rewrite-in" | "local" => Target::Local(receiver),
                        _ => Target::Remote(peers[host]),
                    },
                    segment,
                    mac: to,
                },
            };
            let known = Known {
                parsed: Parsed {
                    dst,
                    src,
                    ethertype: EtherType::IPV4,
                    flow: 0x5a,
                },
                endpoint: endpoint_key(subnets[0], dst),
                address: record_key(domain, ca),
                record: record.pack(),
                peer: peers[host],
                to: receiver,
            };
            (bytes, known)
        };
        let frames: Vec<_> = (0..packets).map(frame).collect();
        if name == "promised-encap" || name == "classed-encap" {
            let fast = Pace::of(100_000_000_000, HZ);
            let promise = Promise {
                share: 50,
                max: fast,
                ..Promise::default()
            };
            world.promise(sender, Some(promise));
            let mut link = Link::plain(fast);
            if name == "classed-encap" {
                classify(&mut world, &mut link);
            }
            world.link(Some(link));
        }
        Some(Scene {
            name,
            world,
            port,
            sender,
            sent: if name == "drop" { 0 } else { packets as u64 },
            frames,
        })
    }
}
