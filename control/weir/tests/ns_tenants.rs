//! Two hosts and tenants that bring the same MACs and addresses: everyone reaches their own and nobody else's, an
//! honest VM gets through spoof protection, a lying one does not. Every "does not arrive" is preceded by the same
//! frame arriving when policy allows it, so that it cannot pass on a dead path.

mod world;

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;
use world::frames::{self, ARP, BROADCAST, IPV4};
use world::peers::Peer;
use world::traffic::{self, Load, Says};
use world::{Daemon, HostToml, Ns, Policy, Vm, World};

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
const SUBNET: &str = "10.1.0.0/24";

/// Two hosts; of each tenant one VM on each, with the same MACs and addresses as every other tenant's.
struct Pair {
    hosts: [Ns; 2],
    tenants: Vec<(String, [Vm; 2])>,
    policy: Policy,
}

impl Pair {
    fn new(world: &mut World, tenants: &[&str]) -> Pair {
        let (h1, h2) = world.two_hosts();
        let hosts = [h1, h2];
        let mut policy = Policy::two_hosts();
        for (place, tenant) in tenants.iter().enumerate() {
            policy = policy.tenant(tenant, 5001 + 1000 * place as u32, SUBNET);
        }
        let mut pair = Pair {
            hosts,
            tenants: Vec::new(),
            policy,
        };
        for tenant in tenants {
            let vms = [0, 1]
                .map(|host| pair.vm(world, host, &format!("{tenant}{}", host + 1), MACS[host]));
            for (host, vm) in vms.iter().enumerate() {
                pair.admit(vm, host, tenant);
            }
            pair.tenants.push(((*tenant).into(), vms));
        }
        pair
    }

    fn vm(&self, world: &mut World, host: usize, name: &str, mac: [u8; 6]) -> Vm {
        world.vm(
            &self.hosts[host],
            name,
            mac,
            &format!("10.1.0.{}/24", 10 + mac[5]),
        )
    }

    /// Writes a VM into the policy.
    fn admit(&mut self, vm: &Vm, host: usize, tenant: &str) {
        self.policy = admitted(&self.policy, vm, host, tenant);
    }

    fn daemons(&self, world: &World) -> [Daemon; 2] {
        let daemons = [0, 1].map(|i| {
            let host = HostToml::new(
                &format!("h{}", i + 1),
                &format!("192.168.50.{}/24", i + 1),
                i,
            );
            world.daemon(&self.hosts[i as usize], &host, &self.policy)
        });
        daemons.iter().for_each(Daemon::wait_resolved);
        daemons
    }

    fn of(&self, tenant: &str) -> &[Vm; 2] {
        &self
            .tenants
            .iter()
            .find(|(name, _)| name == tenant)
            .expect("a tenant")
            .1
    }
}

/// The policy with one VM more. The vdev's number comes from the name, so that it is the same each time.
fn admitted(policy: &Policy, vm: &Vm, host: usize, tenant: &str) -> Policy {
    let number = vm
        .tap
        .bytes()
        .fold(0_u32, |sum, byte| sum * 31 % 9973 + u32::from(byte));
    policy
        .clone()
        .vm(vm, &format!("h{}", host + 1), tenant, number)
}

#[test]
fn ping_tcp_and_udp_between_tenants_with_the_same_addresses() {
    let Some(mut world) = World::new(&["iperf3"]) else {
        return;
    };
    let pair = Pair::new(&mut world, &["blue", "red"]);
    let daemons = pair.daemons(&world);
    for (tag, (_, [one, two])) in pair.tenants.iter().enumerate() {
        traffic::reaches(&one.ns, &two.ca);
        traffic::reaches(&two.ns, &one.ca);
        traffic::tcp(&one.ns, &two.ns, &two.ca, tag as u8, 8 << 20);
        traffic::tcp(&two.ns, &one.ns, &one.ca, tag as u8, 8 << 20);
        // The MTU of 1,500 is whole.
        traffic::all_answered(&one.ns, 5, &format!("-M do -s 1472 {}", two.ca));
    }
    // Both at once, each to an address that the other has too: who answers says who they are.
    let speakers: Vec<Says> = pair
        .tenants
        .iter()
        .map(|(name, [_, two])| Says::start(&two.ns, &two.ca, 7001, name, name))
        .collect();
    for (name, [one, two]) in &pair.tenants {
        let socket = traffic::udp_socket(&one.ns, &one.ca, 0);
        for _ in 0..20 {
            assert_eq!(&traffic::udp_ask(&socket, &two.ca, 7001, name), name);
        }
    }
    assert!(
        speakers
            .iter()
            .all(|speaker| speaker.strange.load(Ordering::Relaxed) == 0)
    );
    drop(speakers);
    // A measured stream of a real tool, in both tenants at the same time.
    let servers: Vec<Peer> = pair
        .tenants
        .iter()
        .map(|(name, [_, two])| {
            let log = world.path(&format!("iperf3-{name}.log"));
            let mut server = Peer::start(
                "iperf3 -s",
                &log,
                two.ns.command("iperf3").args(["-s", "-1", "--forceflush"]),
            );
            server.wait_log("listening");
            server
        })
        .collect();
    std::thread::scope(|scope| {
        for (name, [one, two]) in &pair.tenants {
            scope.spawn(move || {
                let answer = one
                    .ns
                    .must(&format!("iperf3 -c {} -t 2 -C cubic -J", two.ca));
                let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
                let rate = answer["end"]["sum_received"]["bits_per_second"]
                    .as_f64()
                    .expect("a rate");
                eprintln!("{name}: {:.0} Mbit/s", rate / 1e6);
                assert!(rate > 1e6, "{name} starves: {rate} bit/s");
            });
        }
    });
    drop(servers);
    for name in ["blue1", "red1"] {
        let vnic = daemons[0].vnic(name);
        assert!(
            vnic.rx_packets > 1000
                && vnic.tx_packets > 1000
                && vnic.tenant == name[..name.len() - 1],
            "{vnic:?}"
        );
    }
    world.finish(daemons);
}

#[test]
fn arp_is_answered_from_records_and_never_leaves_the_host() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let pair = Pair::new(&mut world, &["blue", "red"]);
    let daemons = pair.daemons(&world);
    let [one, two] = pair.of("blue");
    let at_two = two.raw();
    // The path is alive for ARP: whom no record knows is asked for on the far host too.
    let unknown = Ipv4Addr::new(10, 1, 0, 99);
    let own: Ipv4Addr = one.ca.parse().unwrap();
    let question = |target| {
        frames::ethernet(
            BROADCAST,
            one.mac,
            ARP,
            &frames::arp(1, (one.mac, own), ([0; 6], target)),
        )
    };
    one.raw().send(&question(unknown));
    at_two.wait("the question about nobody", frames::is_arp_request);
    // Whom a record knows is not: the kernel asks, learns the MAC, pings; the far kernel hears pings only.
    one.ns.ip("neigh flush dev eth0");
    two.ns.ip(&format!(
        "neigh replace {} lladdr {} dev eth0",
        one.ca,
        one.mac()
    ));
    let before = daemons[0].stats().uplinks[0].tx_packets;
    traffic::reaches(&one.ns, &two.ca);
    assert!(
        one.ns
            .must(&format!("ip neigh show {}", two.ca))
            .contains(&two.mac())
    );
    assert!(daemons[0].stats().uplinks[0].tx_packets >= before + 10);
    let asked: Vec<_> = at_two
        .heard()
        .into_iter()
        .filter(|frame| frames::is_arp_request(frame))
        .collect();
    assert!(
        asked.is_empty(),
        "the far kernel saw the question: {asked:?}"
    );
    // The same address in the other tenant is another machine's; the answer is that tenant's record.
    let [red1, red2] = pair.of("red");
    traffic::reaches(&red1.ns, &red2.ca);
    world.finish(daemons);
}

#[test]
fn a_broadcast_reaches_members_once_and_nobody_else() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let mut pair = Pair::new(&mut world, &["blue", "red"]);
    let third = pair.vm(&mut world, 0, "blue3", [2, 0, 0, 0, 1, 3]);
    let fourth = pair.vm(&mut world, 1, "blue4", [2, 0, 0, 0, 1, 4]);
    pair.admit(&third, 0, "blue");
    pair.admit(&fourth, 1, "blue");
    let daemons = pair.daemons(&world);
    let [blue1, blue2] = pair.of("blue");
    let [red1, red2] = pair.of("red");
    let members = [blue2.raw(), third.raw(), fourth.raw()];
    let strangers = [red1.raw(), red2.raw()];
    let multicast = [0x01, 0, 0x5e, 1, 2, 3];
    let sender = blue1.raw();
    for (to, word) in [
        (BROADCAST, "broadcast of blue1"),
        (multicast, "multicast of blue1"),
    ] {
        sender.send(&frames::marked(to, blue1.mac, word));
        for at in &members {
            at.wait(word, |frame| frames::says(frame, word));
        }
        // A second one, so that a second copy of the first would have come before it.
        sender.send(&frames::marked(to, blue1.mac, "the end"));
        for at in &members {
            let heard = at.wait("the end", |frame| frames::says(frame, "the end"));
            assert!(
                heard.iter().all(|frame| !frames::says(frame, word)),
                "{word} came twice"
            );
        }
    }
    // red hears its own, so its ears work; and nothing of blue's came before.
    red1.raw()
        .send(&frames::marked(BROADCAST, red1.mac, "broadcast of red1"));
    let heard = strangers[1].wait("red's own", |frame| {
        frames::says(frame, "broadcast of red1")
    });
    let heard = heard
        .into_iter()
        .chain(strangers[0].heard())
        .filter(|frame| frames::says(frame, "blue") || frames::says(frame, "the end"));
    assert_eq!(heard.count(), 0, "a tenant heard another's broadcast");
    assert_eq!(sender.heard().len(), 0, "a sender hears no echo");
    world.finish(daemons);
}

#[test]
fn twelve_tenants_with_the_same_addresses() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let names: Vec<String> = (0..12)
        .map(|i| format!("t{}x", (b'a' + i) as char))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let pair = Pair::new(&mut world, &names);
    let daemons = pair.daemons(&world);
    let speakers: Vec<Says> = pair
        .tenants
        .iter()
        .map(|(name, [_, two])| Says::start(&two.ns, &two.ca, 7001, name, name))
        .collect();
    std::thread::scope(|scope| {
        for (name, [one, two]) in &pair.tenants {
            scope.spawn(move || {
                let socket = traffic::udp_socket(&one.ns, &one.ca, 0);
                for _ in 0..50 {
                    assert_eq!(&traffic::udp_ask(&socket, &two.ca, 7001, name), name);
                }
            });
        }
    });
    for ((name, _), speaker) in pair.tenants.iter().zip(&speakers) {
        assert!(speaker.heard.load(Ordering::Relaxed) >= 50, "{name}");
        assert_eq!(
            speaker.strange.load(Ordering::Relaxed),
            0,
            "{name} heard another tenant"
        );
    }
    drop(speakers);
    world.finish(daemons);
}

#[test]
fn isolation_both_ways_under_load_while_vnics_come_and_go() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let mut pair = Pair::new(&mut world, &["blue", "red"]);
    pair.policy = pair.policy.clone().tenant("green", 9001, SUBNET);
    // Green's VMs have blue's and red's MACs and addresses; mallory has her own, and is moved between tenants.
    let green =
        [0, 1].map(|host| pair.vm(&mut world, host, &format!("green{}", host + 1), MACS[host]));
    let mallory = pair.vm(&mut world, 0, "mallory", [2, 0, 0, 0, 1, 99]);
    let daemons = pair.daemons(&world);
    let apply = |policy: &Policy| daemons.iter().for_each(|daemon| drop(daemon.apply(policy)));
    let with_green = |policy: &Policy| {
        let policy = admitted(policy, &green[0], 0, "green");
        admitted(&policy, &green[1], 1, "green")
    };
    let [blue1, blue2] = pair.of("blue");
    let [red1, red2] = pair.of("red");
    let pause = Duration::from_millis(1);
    let loads = [
        Load::start(&blue1.ns, &blue2.ns, &blue2.ca, "blue", pause),
        Load::start(&red1.ns, &red2.ns, &red2.ca, "red", pause),
        Load::start(&red2.ns, &red1.ns, &red1.ca, "red", pause),
        Load::start(&blue2.ns, &blue1.ns, &blue1.ca, "blue", pause),
    ];
    let evil = mallory.raw();
    for round in 0..6 {
        // Allowed: as a member of blue, mallory's frames reach blue here and there, and blue's reach her.
        apply(&with_green(&admitted(&pair.policy, &mallory, 0, "blue")));
        let ears = [blue1.raw(), blue2.raw(), red1.raw(), red2.raw()];
        let word = format!("mallory {round}");
        let attack = |word: &str| {
            [BROADCAST, blue1.mac, blue2.mac].map(|to| frames::marked(to, mallory.mac, word))
        };
        attack(&word).iter().for_each(|frame| evil.send(frame));
        for (at, vm) in ears.iter().zip([blue1, blue2]) {
            at.wait("mallory's frame to one MAC", |frame| {
                frames::says(frame, &word) && frame[..6] == vm.mac
            });
        }
        blue2
            .raw()
            .send(&frames::marked(mallory.mac, blue2.mac, "blue to mallory"));
        evil.wait("blue's frame", |frame| {
            frames::says(frame, "blue to mallory")
        });
        assert!(
            ears[2..].iter().all(|at| at
                .heard()
                .iter()
                .all(|frame| !frames::says(frame, "mallory"))),
            "red heard blue's"
        );

        // Forbidden: the very same frames, as a member of green. Green's pings work, so its path is alive.
        apply(&with_green(&admitted(&pair.policy, &mallory, 0, "green")));
        traffic::reaches(&green[0].ns, &green[1].ca);
        ears.iter().for_each(|at| drop(at.heard()));
        evil.heard();
        let word = format!("forbidden {round}");
        attack(&word).iter().for_each(|frame| evil.send(frame));
        blue2
            .raw()
            .send(&frames::marked(mallory.mac, blue2.mac, "blue to nobody"));
        let at_green = green[1].raw();
        // Green hears mallory now: what she sent before has been through the switch when this arrives.
        world::wait_until("green hears mallory", || {
            evil.send(&frames::marked(BROADCAST, mallory.mac, "fence"));
            at_green
                .heard()
                .iter()
                .any(|frame| frames::says(frame, "fence"))
        });
        for at in &ears {
            assert!(at.heard().iter().all(|frame| !frames::says(frame, "forbidden") && !frames::says(frame, "fence")), "round {round}");
        }
        assert!(
            evil.heard()
                .iter()
                .all(|frame| !frames::says(frame, "blue")),
            "mallory heard blue in round {round}"
        );
        // Gone: neither green nor mallory; by delete, one by one, while the others talk on.
        for daemon in &daemons {
            for vnic in ["mallory", "green1", "green2"] {
                assert!(daemon.weir(&["delete", "vnic", vnic]).status.success());
            }
        }
        assert_eq!(
            traffic::pinged(&green[0].ns, &format!("-c 2 -i 0.05 -W 1 {}", green[1].ca)),
            0
        );
    }
    let loads = loads.map(Load::end);
    assert!(loads.iter().all(|load| load.strange == 0), "{loads:?}");
    // A machine that leaves a worker without a core overfills a ring; the kernel says how often.
    let missed: u64 = daemons.iter().map(|d| d.dropped("port_missed")).sum();
    let lost: u64 = loads.iter().map(|load| load.sent - load.received).sum();
    assert!(
        lost <= missed,
        "vNICs of others came and went, and it cost packets: {missed} missed, {loads:?}"
    );
    // blue2's frame to mallory in each round, and nothing else, went to nobody.
    assert_eq!(
        daemons[1].vnic("blue2").dropped,
        6,
        "{:?}",
        daemons[1].drops()
    );
    for daemon in &daemons {
        let strays = daemon.dropped("spoofed_mac") + daemon.dropped("unknown_vsid");
        assert_eq!(
            strays,
            0,
            "a port that opened heard other tenants: {:?}",
            daemon.drops()
        );
    }
    world.finish(daemons);
}

/// A packet socket hears every interface of its namespace until it is bound to one, and net_af_packet binds late: what
/// it heard before must not be switched as the new vNIC's. With the same MACs and addresses no guard would see it.
#[test]
fn a_port_that_opens_under_load_brings_no_other_tenants_frames() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let mut pair = Pair::new(&mut world, &["blue"]);
    pair.policy = pair.policy.clone().tenant("green", 9001, SUBNET);
    let green = [0, 1].map(|i| pair.vm(&mut world, i, &format!("green{}", i + 1), MACS[i]));
    let daemons = pair.daemons(&world);
    // green2 stays; green1, which looks just like blue1, comes and goes under blue1's load.
    let stays = admitted(&pair.policy, &green[1], 1, "green");
    let comes = admitted(&stays, &green[0], 0, "green");
    daemons.iter().for_each(|daemon| drop(daemon.apply(&comes)));
    traffic::reaches(&green[0].ns, &green[1].ca);
    let ear = green[1].raw();
    let [blue1, blue2] = pair.of("blue");
    let load = Load::start(
        &blue1.ns,
        &blue2.ns,
        &blue2.ca,
        "blue",
        Duration::from_micros(20),
    );
    for _ in 0..10 {
        daemons[0].apply(&stays);
        let so_far = load.arrived.load(Ordering::Relaxed);
        world::wait_until("blue's load flows", || {
            load.arrived.load(Ordering::Relaxed) > so_far + 500
        });
        daemons[0].apply(&comes);
    }
    assert_eq!(load.end().strange, 0);
    traffic::reaches(&green[0].ns, &green[1].ca);
    let strange = ear
        .heard()
        .into_iter()
        .filter(|frame| frames::says(frame, "blue"))
        .count();
    assert_eq!(strange, 0, "green2 heard blue's frames");
    world.finish(daemons);
}

#[test]
fn an_honest_vm_gets_through_spoof_protection() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let pair = Pair::new(&mut world, &["blue"]);
    let daemons = pair.daemons(&world);
    let [one, two] = pair.of("blue");
    let (mouth, ear) = (one.raw(), two.raw());
    // DHCP discover, before it has an address (RFC 2131 §4.1).
    let anybody = Ipv4Addr::UNSPECIFIED;
    let discover = frames::udp((anybody, 68), (Ipv4Addr::BROADCAST, 67), b"DHCPDISCOVER");
    mouth.send(&frames::ethernet(BROADCAST, one.mac, IPV4, &discover));
    ear.wait("DHCP", |frame| frames::says(frame, "DHCPDISCOVER"));
    // ARP probe for its own address (RFC 5227 §2.1.1): heard by others, answered by nobody; and the announcement.
    let own: Ipv4Addr = one.ca.parse().unwrap();
    for sender in [anybody, own] {
        let probe = frames::arp(1, (one.mac, sender), ([0; 6], own));
        mouth.send(&frames::ethernet(BROADCAST, one.mac, ARP, &probe));
        ear.wait("the probe", |frame| {
            frames::is_arp_request(frame) && frame[28..32] == sender.octets()
        });
    }
    traffic::reaches(&one.ns, &two.ca);
    let replies = mouth
        .heard()
        .into_iter()
        .filter(|frame| frames::ethertype(frame) == ARP && frame[28..32] == own.octets());
    assert_eq!(replies.count(), 0, "someone claims the VM's own address");
    // IPv6: duplicate address detection and link-local traffic of two kernels.
    for vm in [one, two] {
        vm.ns.sysctl("net.ipv6.conf.eth0.addr_gen_mode=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0");
    }
    ear.wait("the solicitation of DAD", |frame| {
        frame[12..14] == [0x86, 0xdd] && frame[22..38] == [0; 16] && frame.get(54) == Some(&135)
    });
    for vm in [one, two] {
        world::wait_until("DAD ends well", || {
            let shown = vm.ns.must("ip -6 addr show dev eth0 scope link");
            assert!(!shown.contains("dadfailed"), "{shown}");
            shown.contains("fe80::") && !shown.contains("tentative")
        });
    }
    traffic::all_answered(&one.ns, 5, "-6 fe80::ff:fe00:102%eth0");
    for daemon in &daemons {
        let lies = daemon
            .drops()
            .into_iter()
            .filter(|row| row.reason.starts_with("spoofed"))
            .collect::<Vec<_>>();
        assert!(lies.is_empty(), "{lies:?}");
        assert_eq!(daemon.dropped("malformed"), 0);
    }
    world.finish(daemons);
}

#[test]
fn a_lying_vm_is_dropped_and_the_reason_is_counted() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let pair = Pair::new(&mut world, &["blue"]);
    let daemons = pair.daemons(&world);
    let [one, two] = pair.of("blue");
    let (mouth, ear) = (one.raw(), two.raw());
    let (own, other): (Ipv4Addr, Ipv4Addr) = (one.ca.parse().unwrap(), Ipv4Addr::new(10, 1, 0, 77));
    let far: Ipv4Addr = two.ca.parse().unwrap();
    let strange = [2, 0, 0, 0, 9, 9];
    let ip = |mac, source, word: &str| {
        frames::ethernet(
            two.mac,
            mac,
            IPV4,
            &frames::udp((source, 1), (far, 9), word.as_bytes()),
        )
    };
    let say = |mac, sender, word: &str| {
        let packet = [
            frames::arp(2, (mac, sender), (two.mac, far)),
            word.as_bytes().to_vec(),
        ]
        .concat();
        frames::ethernet(two.mac, one.mac, ARP, &packet)
    };
    let v6 = |source: [u8; 16], word: &str| {
        let mut packet = vec![0x60, 0, 0, 0, 0, word.len() as u8, 59, 64];
        packet.extend(source);
        packet.extend(
            "fe80::ff:fe00:102"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets(),
        );
        packet.extend(word.as_bytes());
        frames::ethernet(two.mac, one.mac, 0x86dd, &packet)
    };
    let local =
        |last: u16| std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, last).octets();
    // The truth arrives, each kind.
    for frame in [
        ip(one.mac, own, "the truth"),
        say(one.mac, own, "the truth"),
        v6(local(0x101), "the truth"),
    ] {
        mouth.send(&frame);
        ear.wait("the truth", |frame| frames::says(frame, "the truth"));
    }
    // The same with one lie does not, and each lie has its name.
    let lies = [
        ("spoofed_mac", ip(strange, own, "a lie")),
        ("spoofed_mac", frames::marked(BROADCAST, strange, "a lie")),
        ("spoofed_ip", ip(one.mac, other, "a lie")),
        ("spoofed_ip", ip(one.mac, far, "a lie")),
        ("spoofed_ip", v6(local(0x999), "a lie")),
        ("spoofed_ip", ip(one.mac, Ipv4Addr::UNSPECIFIED, "a lie")),
        ("spoofed_arp", say(one.mac, other, "a lie")),
        ("spoofed_arp", say(strange, own, "a lie")),
    ];
    for (at, (reason, frame)) in lies.iter().enumerate() {
        let before = (daemons[0].dropped(reason), daemons[0].vnic("blue1").dropped);
        mouth.send(frame);
        world::wait_until(&format!("lie {at} is counted as {reason}"), || {
            daemons[0].dropped(reason) == before.0 + 1
        });
        assert_eq!(daemons[0].vnic("blue1").dropped, before.1 + 1);
    }
    mouth.send(&ip(one.mac, own, "the last word"));
    let heard = ear.wait("the last word", |frame| {
        frames::says(frame, "the last word")
    });
    assert!(
        heard.iter().all(|frame| !frames::says(frame, "a lie")),
        "a lie arrived"
    );
    let rows = daemons[0].drops();
    let row = rows
        .iter()
        .find(|row| row.reason == "spoofed_mac")
        .expect("a row");
    assert_eq!(
        (
            row.vnic.as_deref(),
            row.tenant.as_deref(),
            row.packets,
            row.worker
        ),
        (Some("blue1"), Some("blue"), 2, Some(0))
    );
    assert!(
        row.bytes > 0 && row.help.contains("allowed_macs"),
        "{row:?}"
    );
    world.finish(daemons);
}

#[test]
fn a_killed_daemon_leaves_nothing_that_the_next_one_stumbles_over() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let pair = Pair::new(&mut world, &["blue"]);
    let [mut one, two] = pair.daemons(&world);
    let [blue1, blue2] = pair.of("blue");
    traffic::reaches(&blue1.ns, &blue2.ca);
    let (ns, folder) = (one.ns.clone(), one.folder.clone());
    one.signal(rustix::process::Signal::KILL);
    one.wait();
    assert!(
        Command::new(world::daemon::WEIR)
            .args(["status", "--socket"])
            .arg(one.socket())
            .output()
            .unwrap()
            .status
            .code()
            == Some(1)
    );
    let one = Daemon::start(&ns, &folder);
    one.wait_resolved();
    traffic::reaches(&blue1.ns, &blue2.ca);
    world.finish([one, two]);
}
