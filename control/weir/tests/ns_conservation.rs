//! Every packet ends in exactly one place (design.md): what comes in is what goes out, for each worker, also when
//! frames are too large, when two workers share the work, and when a port is flooded or closed.

mod world;

use rustix::process::Signal;
use std::time::Duration;
use world::frames::{self, BROADCAST, IPV4};
use world::traffic::{self, Load};
use world::{Daemon, HostToml, Policy, Vm, World};

/// A host with VMs `a` and `b` of one tenant, and a far one with `c`.
fn three(world: &mut World, cores: &[u32]) -> (Daemon, Daemon, [Vm; 3], Policy) {
    let (h1, h2) = world.two_hosts();
    let mac = |last| [2, 0, 0, 0, 1, last];
    let a = world.vm(&h1, "a", mac(1), "10.1.0.11/24");
    let b = world.vm(&h1, "b", mac(2), "10.1.0.12/24");
    let c = world.vm(&h2, "c", mac(3), "10.1.0.13/24");
    let policy = Policy::two_hosts().tenant("blue", 5001, "10.1.0.0/24");
    let policy = policy
        .vm(&a, "h1", "blue", 1)
        .vm(&b, "h1", "blue", 2)
        .vm(&c, "h2", "blue", 1);
    let mut first = HostToml::new("h1", "192.168.50.1/24", 0);
    first.workers = cores.to_vec();
    let one = world.daemon(&h1, &first, &policy);
    let two = world.daemon(&h2, &HostToml::new("h2", "192.168.50.2/24", 1), &policy);
    one.wait_resolved();
    two.wait_resolved();
    (one, two, [a, b, c], policy)
}

#[test]
fn a_frame_of_4000_bytes_is_never_lost_in_count() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, b, c], _) = three(&mut world, &[0]);
    traffic::reaches(&a.ns, &c.ca);
    traffic::reaches(&a.ns, &b.ca);
    let before = one.assert_conserved()[0].clone();

    // The VM's interface takes jumbo frames, the socket's ring frames hold 2,048 bytes: the kernel cuts.
    for (ns, interface) in [(&a.ns, "eth0"), (&one.ns, "a")] {
        ns.ip(&format!("link set dev {interface} mtu 9000"));
    }
    let raw = a.raw();
    let (at_b, at_c) = (b.raw(), c.raw());
    let source = "10.1.0.11".parse().unwrap();
    for (to, address) in [
        (b.mac, "10.1.0.12"),
        (c.mac, "10.1.0.13"),
        (BROADCAST, "10.1.0.255"),
    ] {
        let packet = frames::udp(
            (source, 1),
            (address.parse().unwrap(), 9),
            &[b'o'; 4000 - 42],
        );
        raw.send(&frames::ethernet(to, a.mac, IPV4, &packet));
    }
    world::wait_until("the three frames are counted", || {
        one.assert_conserved()[0].rx_packets >= before.rx_packets + 3
    });
    let after = one.assert_conserved()[0].clone();
    assert_eq!(after.rx_packets - before.rx_packets, 3);
    let arrived = [&at_b, &at_c].map(|at| {
        at.heard()
            .iter()
            .filter(|frame| frame.len() >= 4000)
            .count()
    });
    assert_eq!(
        arrived,
        [0, 0],
        "a ring frame of 2,048 bytes cannot have carried them"
    );
    assert_eq!(one.dropped("truncated"), 3, "{:?}", one.drops());
    assert_eq!(one.vnic("a").dropped, 3);
    // The path is alive, and nothing cut was handed on.
    traffic::reaches(&a.ns, &c.ca);
    world.finish([one, two]);
}

/// A daemon that stands still takes nothing; what its socket's ring does not hold the kernel drops, and says so.
#[test]
fn what_a_full_ring_loses_is_counted_to_the_packet() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, b, c], _) = three(&mut world, &[0]);
    traffic::reaches(&a.ns, &b.ca);
    // What the kernel has for the socket, and what the switch knows of it: received by the vNIC, or missed.
    let offered = || -> u64 {
        let text = one.ns.must("cat /sys/class/net/a/statistics/rx_packets");
        text.trim().parse().expect("a number")
    };
    let known = || one.vnic("a").rx_packets + one.dropped("port_missed");
    let settled = |what: &str, before: (u64, u64)| {
        world::wait_until(what, || offered() - before.0 == known() - before.1);
    };
    assert_eq!(one.dropped("port_missed"), 0);
    let before = (offered(), known());
    one.signal(Signal::STOP);
    let raw = a.raw();
    let frame = frames::marked(b.mac, a.mac, "flood");
    for _ in 0..10_000 {
        raw.send(&frame);
    }
    one.signal(Signal::CONT);
    settled("every frame is counted", before);
    // 4,096 frames fit the ring, give or take one.
    let missed = one.dropped("port_missed");
    assert!((5_900..=5_910).contains(&missed), "{:?}", one.drops());
    // Counted once.
    settled("and stays so", before);
    assert_eq!(one.dropped("port_missed"), missed);
    one.assert_conserved();
    traffic::reaches(&a.ns, &c.ca);
    world.finish([one, two]);
}

#[test]
fn a_port_with_large_frames_carries_4000_bytes() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    for host in [&h1, &h2] {
        host.ip("link set up0 mtu 9000");
    }
    let a = world.vm(&h1, "a", [2, 0, 0, 0, 1, 1], "10.1.0.11/24");
    let c = world.vm(&h2, "c", [2, 0, 0, 0, 1, 3], "10.1.0.13/24");
    for (ns, interface) in [(&a.ns, "eth0"), (&h1, "a"), (&c.ns, "eth0"), (&h2, "c")] {
        ns.ip(&format!("link set dev {interface} mtu 4500"));
    }
    let large = "blocksz=16384,framesz=8192,framecnt=256";
    let vnic = |vm: &Vm| format!("net_af_packet1,iface={},{large}", vm.tap);
    let policy = Policy::two_hosts().tenant("blue", 5001, "10.1.0.0/24");
    let policy = policy
        .vnic("a", "h1", "blue", &a.mac(), &a.ca, &vnic(&a))
        .vnic("c", "h2", "blue", &c.mac(), &c.ca, &vnic(&c));
    let host = |name: &str, pa: &str, core| {
        let mut host = HostToml::new(name, pa, core);
        host.uplink = format!(
            "device = \"net_af_packet0,iface=up0,{large}\"\nprovider_addresses = [\"{pa}\"]\nmtu = 5000\n"
        );
        host
    };
    let one = world.daemon(&h1, &host("h1", "192.168.50.1/24", 0), &policy);
    let two = world.daemon(&h2, &host("h2", "192.168.50.2/24", 1), &policy);
    one.wait_resolved();
    two.wait_resolved();
    traffic::all_answered(&a.ns, 10, &format!("-M do -s 3958 {}", c.ca));
    traffic::tcp(&a.ns, &c.ns, &c.ca, 1, 1 << 20);
    world.finish([one, two]);
}

#[test]
fn two_workers_hand_over_and_lose_nothing() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return world::skipped("needs two cores");
    }
    let (one, two, [a, b, c], _) = three(&mut world, &[0, 1]);
    let owner = |kind: &str, name: &str| {
        one.json(&["get", kind, name])[0]["status"]["worker"]
            .as_u64()
            .unwrap()
    };
    let owners = [
        owner("uplink", "up0"),
        owner("vnic", "a"),
        owner("vnic", "b"),
    ];
    assert!(
        owners.contains(&0) && owners.contains(&1),
        "both workers own ports: {owners:?}"
    );
    for (from, to) in [(&a, &b), (&a, &c), (&b, &c), (&c, &a), (&c, &b), (&b, &a)] {
        traffic::reaches(&from.ns, &to.ca);
    }
    for (from, to, tag) in [(&a, &c, 1), (&c, &a, 2), (&a, &b, 3), (&b, &c, 4)] {
        traffic::tcp(&from.ns, &to.ns, &to.ca, tag, 2 << 20);
    }
    // A broadcast's copies cross the ring too, each once.
    let (at_b, at_c) = (b.raw(), c.raw());
    a.raw()
        .send(&frames::marked(BROADCAST, a.mac, "to everyone"));
    for at in [at_b, at_c] {
        at.wait("the broadcast", |frame| frames::says(frame, "to everyone"));
        assert!(
            at.heard()
                .iter()
                .all(|frame| !frames::says(frame, "to everyone")),
            "twice"
        );
    }
    let workers = one.assert_conserved();
    for worker in &workers {
        assert!(
            worker.handoff_in > 0 && worker.handoff_out > 0,
            "no hand-off was tested: {workers:?}"
        );
    }
    world.finish([one, two]);
}

#[test]
fn a_flood_is_conserved_and_what_is_sent_arrives_or_is_counted() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, b, c], _) = three(&mut world, &[0]);
    // As fast as the kernels can: some is lost, and it is said where.
    let loads = [
        Load::start(&a.ns, &c.ns, &c.ca, "a", Duration::ZERO),
        Load::start(&b.ns, &a.ns, &a.ca, "b", Duration::ZERO),
    ];
    world::wait_until("the flood is under way", || {
        one.vnic("a").rx_packets > 20_000 && one.vnic("b").rx_packets > 20_000
    });
    let done = loads.map(Load::end);
    for load in done {
        assert!(load.received > 1_000 && load.strange == 0, "{load:?}");
    }
    let workers = one.assert_conserved();
    two.assert_conserved();
    assert!(workers[0].rx_packets > 40_000);
    // The host's own account: what a's device handed in and what left for c, less what was dropped by name.
    let (rx, tx, dropped) = (
        one.vnic("a").rx_packets,
        one.stats().uplinks[0].tx_packets,
        one.vnic("a").dropped,
    );
    eprintln!(
        "a sent {} and the switch saw {rx}; {tx} left by the uplink, {dropped} dropped by name; {done:?}",
        done[0].sent
    );
    world.finish([one, two]);
}

#[test]
fn a_port_that_closes_under_load_leaves_no_packet_without_an_end() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, _, c], policy) = three(&mut world, &[0]);
    let load = Load::start(&a.ns, &c.ns, &c.ca, "closing", Duration::from_micros(200));
    for _ in 0..5 {
        assert!(one.weir(&["delete", "vnic", "a"]).status.success());
        let so_far = load.arrived.load(std::sync::atomic::Ordering::Relaxed);
        one.apply(&policy);
        world::wait_until("traffic flows again", || {
            load.arrived.load(std::sync::atomic::Ordering::Relaxed) > so_far + 50
        });
    }
    load.end();
    world.finish([one, two]);
}
