//! Where the uplink's device chooses among DCB traffic classes each class has a transmit queue of its own: what is of it leaves by that
//! queue, whichever way it goes, and a queue that is full holds up its own class alone.

mod shaping_host;

use shaping_host::{A, C, CA_A, CA_C, Host, max};
use std::net::IpAddr;
use weir_switch::door::Door;
use weir_switch::frame::L4Checksum;
use weir_switch::leave;
use weir_switch::outlet::Receiver;
use weir_switch::shape::leases::Leases;
use weir_switch::shape::{Exit, LinkState, Scheduler, Settings, Size};
use weir_switch::testing::HZ;
use weir_switch::testing::frames::{Field, ether, ipv4 as ipv4_packet, l4, tenant};
use weir_switch::testing::world::{UPLINK, UPLINK_PORT};
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Promise, TCS};
use weir_tables::filters::{Filters, Rule};
use weir_tables::ids::{PortId, VnicId};
use weir_tables::offloads::Offloads;
use weir_wire::ipv4;

/// By DSCP: storage is of DCB traffic class 1, voice of 6, which is strict; the rest of 0.
const REST: u8 = 0;
const STORAGE: u8 = 1;
const VOICE: u8 = 2;

fn link() -> Link {
    let class = |name: &str, tc| Class {
        name: name.into(),
        share: 10,
        max: Pace::UNLIMITED,
        tc,
        dscp: None,
        pcp: None,
    };
    let mut link = Link::plain(Pace::UNLIMITED);
    link.classes = [class("storage", 1), class("voice", 6)].into();
    link.tcs[6].strict = true;
    link
}

/// The host, and the queues of storage and of voice.
fn host() -> (Host, [PortId; 2]) {
    let mut host = shaping_host::host();
    let rules = [STORAGE, VOICE].map(|class| Rule {
        class: ClassId(class),
        dscp: Some(class),
        ..Rule::default()
    });
    host.world.classify(Filters::of(&rules, ClassId(VOICE)));
    let own = [host.world.queue(), host.world.queue()];
    let mut link = link();
    let mut queues = [UPLINK_PORT; TCS];
    (queues[1], queues[6]) = (own[0], own[1]);
    link.queues = Some(queues);
    host.world.link(Some(link));
    (host, own)
}

fn frame(class: u8, number: u32) -> Vec<u8> {
    let mut frame = tenant(C, A, CA_A, CA_C, &number.to_be_bytes());
    ipv4::set_tos(frame[14..].first_chunk_mut().unwrap(), class << 2);
    frame
}

/// Which they are: by port, class and number.
fn sent(host: &mut Host) -> Vec<(PortId, u8, u32)> {
    host.world.assert_conserved();
    let out = host.world.take().into_iter();
    let told = out.map(|(port, frame)| {
        let (class, number) = (frame[42 + 15] >> 2, frame.last_chunk::<4>().unwrap());
        (port, class, u32::from_be_bytes(*number))
    });
    told.collect()
}

fn send(host: &mut Host, classes: &[u8], first: u32) {
    let port = host.world.port_of(host.a).unwrap();
    let numbered = classes.iter().zip(first..);
    let frames = numbered.map(|(&class, number)| host.world.herd.frame(&frame(class, number)));
    let frames: Vec<_> = frames.collect();
    host.world.receive(port, frames);
}

/// Of storage, with its checksum left to the device.
fn send_unfinished(host: &mut Host) {
    let addresses = (IpAddr::V4(CA_A), IpAddr::V4(CA_C));
    let segment = l4(6, addresses, (4000, 80), &[7; 100], Field::Pseudo);
    let mut bytes = ether(C, A, 0x0800, &ipv4_packet(CA_A, CA_C, 6, &segment));
    ipv4::set_tos(bytes[14..].first_chunk_mut().unwrap(), STORAGE << 2);
    let mut frame = host.world.herd.frame(&bytes);
    frame.checksum = L4Checksum::Partial;
    host.world.send_frame(host.a, frame);
}

#[test]
fn each_class_leaves_by_its_own_queue() {
    let (mut host, [storage, voice]) = host();
    send(&mut host, &[REST, STORAGE, STORAGE, VOICE, REST], 0);
    let mut wanted = vec![
        (UPLINK_PORT, REST, 0),
        (storage, STORAGE, 1),
        (storage, STORAGE, 2),
        (voice, VOICE, 3),
        (UPLINK_PORT, REST, 4),
    ];
    assert_eq!(sent(&mut host), wanted);
    // And what waited for its sender's maximum.
    host.world.promise(host.a, Some(max(1)));
    send(&mut host, &[STORAGE, VOICE, REST].repeat(20), 0);
    wanted = sent(&mut host);
    assert!((1..40).contains(&wanted.len()), "{}", wanted.len());
    host.pass(500);
    wanted.extend(sent(&mut host));
    assert_eq!(wanted.len(), 60);
    for (port, class, _) in wanted {
        let queue = [UPLINK_PORT, storage, voice][usize::from(class)];
        assert_eq!(port, queue);
    }
    // What the switch itself sends is of a class, too.
    let door = Door::new(UPLINK_PORT, Receiver::Uplink(UPLINK));
    let mut own = host.world.herd.frame(&frame(REST, 0));
    let door = leave::bear_own(&host.world.view, door, &mut own);
    assert_eq!(door.port(), voice);
}

#[test]
fn what_is_left_to_the_device_leaves_by_its_class_at_once_and_after_waiting() {
    let (mut host, [storage, _]) = host();
    for port in [UPLINK_PORT, storage] {
        host.world
            .change_port(port, |port| port.offloads = Offloads::TUNNEL_CHECKSUM);
    }
    for full in [vec![], vec![storage]] {
        host.world.kept.full = full;
        send_unfinished(&mut host);
        let waits = !host.world.kept.full.is_empty();
        assert_eq!(host.world.kept.shaper.queued(), u64::from(waits));
        host.world.kept.full.clear();
        host.pass(1);
        let ports: Vec<PortId> = sent(&mut host).iter().map(|sent| sent.0).collect();
        assert_eq!(ports, [storage]);
    }
}

#[test]
fn a_full_queue_holds_up_its_own_class_alone() {
    let (mut host, [storage, voice]) = host();
    host.world.kept.full = vec![storage];
    send(&mut host, &[STORAGE; 5], 0);
    assert_eq!(host.world.kept.shaper.queued(), 5);
    // Of the same vNIC and of another, at once; of its class behind it.
    send(&mut host, &[REST, VOICE, STORAGE], 5);
    assert_eq!(sent(&mut host), [(UPLINK_PORT, REST, 5), (voice, VOICE, 6)]);
    // A strict class whose queue is full holds up nobody either.
    host.world.kept.full = vec![voice];
    send(&mut host, &[VOICE, VOICE], 8);
    let first: Vec<_> = sent(&mut host);
    assert_eq!(first.len(), 6, "{first:?}");
    assert!(
        first
            .iter()
            .zip([0, 1, 2, 3, 4, 7])
            .all(|(sent, number)| { *sent == (storage, STORAGE, number) })
    );
    assert_eq!(host.world.kept.shaper.queued(), 2);
    host.world.kept.full.clear();
    host.pass(1);
    assert_eq!(sent(&mut host), [(voice, VOICE, 8), (voice, VOICE, 9)]);
}

/// The policy changes to classes that the device was not set to, or back.
#[test]
fn what_waits_when_somebody_else_chooses_from_now_on_leaves_as_he_chooses() {
    let (mut host, [storage, voice]) = host();
    let by_device = host.world.view.uplinks[0].clone().unwrap();
    let by_device = by_device.link.as_deref().cloned();
    for port in [UPLINK_PORT, storage] {
        host.world
            .change_port(port, |port| port.offloads = Offloads::TUNNEL_CHECKSUM);
    }
    host.world.kept.full = vec![UPLINK_PORT, storage, voice];
    send_unfinished(&mut host);
    send(&mut host, &[STORAGE, REST, VOICE, STORAGE], 0);
    assert_eq!(host.world.kept.shaper.queued(), 5);
    host.world.link(Some(link()));
    host.world.kept.full.clear();
    host.pass(1);
    let all = sent(&mut host);
    assert!(all.iter().all(|sent| sent.0 == UPLINK_PORT), "{all:?}");
    assert_eq!(all[0], (UPLINK_PORT, VOICE, 2), "the strict one first");
    let storages = all.iter().filter(|sent| sent.1 == STORAGE);
    assert!(storages.skip(1).map(|sent| sent.2).eq([0, 3]));
    host.world.kept.full = vec![UPLINK_PORT];
    send(&mut host, &[STORAGE, REST], 4);
    host.world.link(by_device);
    host.world.kept.full.clear();
    host.pass(1);
    let mut all = sent(&mut host);
    all.sort_by_key(|sent| sent.2);
    assert_eq!(all, [(storage, STORAGE, 4), (UPLINK_PORT, REST, 5)]);
}

/// With room for a thousand frames of some vNICs, on a link by whose device classes are chosen, or not.
fn scheduler(by_device: bool) -> Scheduler<u32> {
    let settings = Settings::new(HZ, 1000, 4, 1);
    let mut scheduler: Scheduler<u32> = Scheduler::new(settings);
    let mut link = link();
    link.queues = by_device.then_some([UPLINK_PORT; TCS]);
    let state = LinkState::new(&link, Leases::new(1), 0, &settings);
    scheduler.set_link(UPLINK, Some(state), 0);
    scheduler
}

const SIZE: Size = Size {
    bytes: 1000,
    wire: 1024,
};

/// Whoever waits goes before all others where software chooses, and before those of its class where the device does.
#[test]
fn nobody_passes_before_who_waits_of_his_class() {
    for by_device in [false, true] {
        for waits in [REST, STORAGE, VOICE] {
            let mut scheduler = scheduler(by_device);
            let exit = Exit::Uplink(UPLINK);
            let put = scheduler.enqueue(VnicId(0), exit, ClassId(waits), SIZE, HZ, 0);
            assert!(put.is_ok());
            for class in [REST, STORAGE, VOICE] {
                let passes = scheduler.pass(VnicId(1), exit, ClassId(class), SIZE, HZ);
                assert_eq!(passes, by_device && class != waits, "{class} {waits}");
            }
        }
    }
}

#[test]
fn vnics_share_a_class_by_weight_in_its_own_queue() {
    let mut scheduler = scheduler(true);
    let (a, b, exit) = (VnicId(0), VnicId(1), Exit::Uplink(UPLINK));
    for (vnic, share) in [(a, 1), (b, 3)] {
        let promise = Promise {
            share,
            ..Promise::default()
        };
        scheduler.promise(vnic, Some(&promise), 0);
    }
    for _ in 0..100 {
        for (vnic, class) in [(a, 0), (b, 0), (a, STORAGE), (b, VOICE)] {
            let item = vnic.0 << 8 | u32::from(class);
            let put = scheduler.enqueue(vnic, exit, ClassId(class), SIZE, HZ, item);
            assert!(put.is_ok());
        }
    }
    scheduler.tick(HZ);
    let mut of = |tc: u8, room| {
        let mut items = Vec::new();
        scheduler.release_of(UPLINK, 1 << tc, HZ, room, |leaving| {
            items.push(leaving.item)
        });
        items
    };
    let rest = of(0, 80);
    let of_a = rest.iter().filter(|item| **item == 0).count();
    assert_eq!((rest.len(), of_a), (80, 20), "1 to 3");
    assert_eq!(of(1, 7), [u32::from(STORAGE); 7]);
    assert_eq!(of(6, 200), [1 << 8 | u32::from(VOICE); 100]);
    assert_eq!(of(5, 7), []);
}
