//! DCB traffic classes chosen among by the uplink's device: the tree that it is told of, by which queue frames leave, in which order and parts
//! they are on the wire; and when software chooses after all. The device is a ring whose driver judges as NICs' do ([`class_nic`]).

#[path = "../../../ffi/rte/tests/common/class_nic.rs"]
mod class_nic;
mod daemon_common;

use std::collections::BTreeMap;

use class_nic::{ClassNic, Nature, Wire};
use daemon_common::{Host, Vm, ca, eal, frame, mac, unique, until};
use rte::Port;
use serde_json::Value;
use std::sync::Arc;
use weir_tables::bandwidth::{Link, Pace};
use weir_wire::ipv4;

/// The DSCP of a class is its DCB traffic class; what has another one is of none.
const REST: u8 = 0;
const STORAGE: u8 = 1;
const VOICE: u8 = 6;

fn host(device: &str, more: &str, workers: &str) -> String {
    format!(
        "name = \"h1\"\n[dataplane]\nworkers = {workers}\nhugepages = \"none\"\nidle = \"adaptive\"\n\
         [[uplink]]\nname = \"up0\"\ndevice = \"{device}\"\nprovider_addresses = [\"192.168.50.1/24\"]\n\
         neighbors = {{ \"192.168.50.2\" = \"02:bb:00:00:00:02\" }}\n{more}\n"
    )
}

/// One vNIC here, one behind a peer, and these DCB traffic classes.
fn policy(dcb: &str) -> String {
    let mut text = format!(
        "[[switch]]\nname = \"default\"\n{dcb}\n\
         [[host]]\nname = \"h2\"\nprovider_addresses = [\"192.168.50.2\"]\n\
         [[vm_network]]\nname = \"blue\"\nisolation = \"nv\"\n\
         [[vm_network.subnet]]\nname = \"web\"\nvsid = 5001\nprefixes = [\"10.1.0.0/16\"]\n"
    );
    for (i, host, attach) in [(0, "h1", "attach = \"memif:DIR/vm\""), (1, "h2", "")] {
        text += &format!(
            "[[vnic]]\nname = \"v{i}\"\nhost = \"{host}\"\nsubnet = \"web\"\nmac = \"{}\"\naddresses = [\"{}\"]\n{attach}\n",
            mac(i),
            ca(i)
        );
    }
    for (name, tc, priority) in [("storage", STORAGE, 3), ("voice", VOICE, 5)] {
        text += &format!(
            "[[traffic_class]]\nname = \"{name}\"\npriority = {priority}\n[[traffic_class.filter]]\ndscp = {tc}\n"
        );
    }
    text
}

/// Storage has 1 part of 4 of what voice leaves.
const CLASSES: &str = "[[switch.dcb]]\ntc = 1\nshare = 25\npriorities = [3]\n[[switch.dcb]]\ntc = 6\nstrict = true\npriorities = [5]";

fn dcb(host: &mut Host) -> Value {
    let all = host.state().objects("uplink", None).expect("a kind");
    all[0]["status"]["dcb"].clone()
}

/// A hundred bytes of a class with a number.
fn numbered(class: u8, number: u32) -> Vec<u8> {
    let mut data = [0; 58];
    data[..4].copy_from_slice(&number.to_be_bytes());
    let mut frame = frame(1, 0, &data);
    ipv4::set_tos(frame[14..].first_chunk_mut().unwrap(), class << 2);
    frame
}

fn send(vm: &mut Vm, class: u8, numbers: std::ops::Range<u32>) {
    let frames: Vec<_> = numbers.map(|number| numbered(class, number)).collect();
    vm.send(frames.iter().map(Vec::as_slice));
}

/// By which queue, of which class, and its number; what is not the vNIC's (neighbour discovery, ARP) is left out.
fn next(wire: &mut Wire) -> Option<(u16, u8, u32)> {
    loop {
        let (queue, bytes) = wire.next()?;
        if bytes.len() == 42 + 100 && bytes[23] == 47 {
            let number = bytes[42 + 42..].first_chunk().unwrap();
            return Some((queue, bytes[42 + 15] >> 2, u32::from_be_bytes(*number)));
        }
    }
}

fn is_sent(host: &mut Host, packets: u64) {
    until("frames at the uplink", || {
        let stats = host.stats();
        let sent: u64 = stats.workers.iter().map(|worker| worker.tx_packets).sum();
        sent >= packets
    });
}

fn waiting(host: &mut Host) -> u64 {
    host.vnic("v0").queued
}

fn empty(wire: &mut Wire) {
    while wire.next().is_some() {}
}

/// Every queue comes back to the device, which is closed: it can be attached again.
fn stop(host: Host, device: &str) {
    host.stop();
    let port = Port::attach(&eal(), device).expect("it was closed");
    port.close(vec![], vec![]).expect("closed");
}

/// Transmit queues that the uplink's device was started with, but for those of classes that it was told of.
fn queues(host: &mut Host, device: &str) -> u16 {
    let device = device.parse().expect("a device");
    host.state().ports[&device].handle.class_queues()
}

fn link(host: &mut Host) -> Arc<Link> {
    let uplink = host.state().tables.view.uplinks[0].clone();
    uplink.unwrap().link.clone().expect("a link")
}

#[test]
fn a_device_that_can_chooses_and_each_class_waits_for_its_own_queue() {
    let device = unique("net_ring88");
    let Some(nic) = ClassNic::put_in(&eal(), &device, Nature::port_group_queue(4)) else {
        return;
    };
    let mut host = Host::start(&host(&device, "", "CORE1"));
    assert_eq!(dcb(&mut host)["by"], "software");
    assert!(!nic.is_committed());
    assert!(host.state().speeds.heard(0, 1_000_000));
    host.apply(&policy(CLASSES)).expect("a policy");
    // However fast it is: what holds frames back is the room in its queues, which are as the uplink's own port.
    let by_device = link(&mut host);
    assert_eq!(by_device.capacity, Pace::UNLIMITED);
    let view = &host.state().tables.view;
    let of = |tc| *view.port(by_device.queue(tc).unwrap()).unwrap();
    assert_eq!((of(STORAGE), of(VOICE)), (of(REST), of(REST)));
    let told = dcb(&mut host);
    assert_eq!(
        (&told["by"], &told["could_be_nic"]),
        (&"nic".into(), &true.into()),
        "{told}"
    );
    assert!(nic.is_committed());
    // Voice first; storage and the rest by their parts. Queues are in the order of classes, and those that nobody has are there too.
    let leaves: BTreeMap<u32, (u32, u32)> = {
        let nodes = nic.nodes();
        let leaves = nodes.iter().filter(|node| node.priorities.is_none());
        leaves
            .map(|node| (node.id, (node.priority, node.weight)))
            .collect()
    };
    let spare = (1, 1);
    let wanted = [(1, 3), (1, 1), (0, 1), spare, spare, spare, spare, spare];
    assert_eq!(leaves, (0..).zip(wanted).collect());

    let mut vm = host.vm("vm");
    let mut wire = nic.wire();
    // All of it is in the device before any of it leaves.
    send(&mut vm, REST, 0..600);
    send(&mut vm, STORAGE, 0..600);
    send(&mut vm, VOICE, 0..600);
    is_sent(&mut host, 1800);
    assert_eq!(waiting(&mut host), 0);
    let all: Vec<_> = std::iter::from_fn(|| next(&mut wire)).collect();
    assert_eq!(all.len(), 1800);
    let of = |some: &[(u16, u8, u32)], class| some.iter().filter(|sent| sent.1 == class).count();
    assert_eq!(of(&all[..600], VOICE), 600, "strict");
    let shared = &all[600..1400];
    assert!(
        of(shared, STORAGE).abs_diff(200) <= 1,
        "{}",
        of(shared, STORAGE)
    );
    for (class, queue) in [(REST, 0), (STORAGE, 1), (VOICE, 2)] {
        let own = all.iter().filter(|sent| sent.1 == class);
        assert!(
            own.map(|sent| (sent.0, sent.2))
                .eq((0..600).map(|number| (queue, number)))
        );
    }

    // More than the device holds: what is over waits, and holds up nobody else.
    send(&mut vm, STORAGE, 0..1400);
    until("what waits", || waiting(&mut host) > 300);
    send(&mut vm, VOICE, 0..10);
    send(&mut vm, REST, 0..10);
    is_sent(&mut host, 1800 + 1023 + 20);
    let first: Vec<_> = std::iter::from_fn(|| next(&mut wire)).take(10).collect();
    assert_eq!(of(&first, VOICE), 10, "before all that came earlier");
    let mut came = Vec::new();
    until("the rest", || {
        came.extend(std::iter::from_fn(|| next(&mut wire)));
        came.len() >= 1410
    });
    let storage = came.iter().filter(|sent| sent.1 == STORAGE);
    assert!(
        storage.map(|sent| sent.2).eq(0..1400),
        "all, in their order"
    );
    assert_eq!(host.dropped("queue_full") + host.dropped("tx_full"), 0);

    // Other classes: software chooses, by the one queue, and says why. The first again: the device.
    let other = CLASSES.replace("25", "50");
    host.apply(&policy(&other)).expect("a policy");
    assert_eq!(link(&mut host).queues, None);
    assert!(!link(&mut host).capacity.is_unlimited());
    assert!(host.state().speeds.heard(0, 1_000_000_000));
    host.state().follow_links();
    let told = dcb(&mut host);
    assert_eq!(
        (&told["by"], &told["could_be_nic"]),
        (&"software".into(), &true.into())
    );
    assert!(
        told["why"].as_str().unwrap().contains("restart the daemon"),
        "{told}"
    );
    send(&mut vm, STORAGE, 0..10);
    until("frames", || {
        let sent: Vec<_> = std::iter::from_fn(|| next(&mut wire)).collect();
        assert!(sent.iter().all(|sent| sent.0 == 0), "{sent:?}");
        came.extend(sent);
        came.len() >= 1420
    });
    host.apply(&policy(CLASSES)).expect("a policy");
    assert_eq!(dcb(&mut host)["by"], "nic");
    send(&mut vm, STORAGE, 0..10);
    until("frames", || {
        let sent: Vec<_> = std::iter::from_fn(|| next(&mut wire)).collect();
        assert!(sent.iter().all(|sent| sent.0 == 1), "{sent:?}");
        came.extend(sent);
        came.len() >= 1430
    });
    host.assert_conserved();
    vm.unplug();
    empty(&mut wire);
    stop(host, &device);
}

#[test]
fn a_device_may_have_no_queue_to_spare() {
    let device = unique("net_ring88");
    let mut nature = Nature::port_group_queue(4);
    nature.levels[1].children = 3;
    let Some(nic) = ClassNic::put_in(&eal(), &device, nature) else {
        return;
    };
    let mut host = Host::start(&host(&device, "", "CORE1"));
    assert_eq!(queues(&mut host, &device), 3);
    host.apply(&policy(CLASSES)).expect("a policy");
    let told = dcb(&mut host);
    let wanted = ("nic".into(), true.into());
    assert_eq!(
        (&told["by"], &told["could_be_nic"]),
        (&wanted.0, &wanted.1),
        "{told}"
    );
    assert_eq!((nic.nodes().len(), queues(&mut host, &device)), (5, 1));
    empty(&mut nic.wire());
    stop(host, &device);
}

#[test]
fn a_device_that_refuses_leaves_it_to_software_and_is_quoted() {
    let device = unique("net_ring88");
    let nature = Nature {
        refuses: Some(c"Port is already started"),
        ..Nature::port_group_queue(4)
    };
    let Some(nic) = ClassNic::put_in(&eal(), &device, nature) else {
        return;
    };
    let mut host = Host::start(&host(&device, "", "CORE1"));
    host.apply(&policy(CLASSES)).expect("a policy");
    let told = dcb(&mut host);
    assert_eq!(told["by"], "software");
    assert!(
        told["why"]
            .as_str()
            .unwrap()
            .contains("Port is already started"),
        "{told}"
    );
    assert!(!nic.is_committed());
    assert_eq!(host.state().tables.port(&format!("{device} tc1")), None);
    assert_eq!(queues(&mut host, &device), 8);
    let mut vm = host.vm("vm");
    for class in [REST, STORAGE, VOICE] {
        send(&mut vm, class, 0..100);
    }
    is_sent(&mut host, 300);
    let mut wire = nic.wire();
    let sent: Vec<_> = std::iter::from_fn(|| next(&mut wire)).collect();
    assert_eq!(sent.len(), 300);
    assert!(sent.iter().all(|sent| sent.0 == 0), "by the one queue");
    host.assert_conserved();
    vm.unplug();
    empty(&mut wire);
    stop(host, &device);
}

/// host.toml wants it so, the link is not the device's own, two workers send by it, or the first policy had no classes: the device is told
/// nothing.
#[test]
fn a_device_is_told_nothing_where_something_is_against_it() {
    for (more, workers, first, why) in [
        (
            "dcb = \"software\"",
            "CORE1",
            CLASSES,
            "host.toml says that software does",
        ),
        (
            "capacity = \"1Gbit\"",
            "CORE1",
            CLASSES,
            "what the uplink carries is host.toml's",
        ),
        ("", "CORE2", CLASSES, "2 workers send by it"),
        ("", "CORE1", "", "restart the daemon"),
    ] {
        let device = unique("net_ring88");
        let Some(nic) = ClassNic::put_in(&eal(), &device, Nature::port_group_queue(4)) else {
            return;
        };
        let mut host = Host::start(&host(&device, more, workers));
        host.apply(&policy(first)).expect("a policy");
        host.apply(&policy(CLASSES)).expect("a policy");
        let told = dcb(&mut host);
        assert_eq!(told["by"], "software", "{told}");
        assert!(told["why"].as_str().unwrap().contains(why), "{told}");
        assert_eq!((nic.told(), nic.is_committed()), (vec![], false));
        let wanted = if first.is_empty() { 8 } else { 1 };
        assert_eq!(queues(&mut host, &device), wanted);
        empty(&mut nic.wire());
        stop(host, &device);
    }
}
