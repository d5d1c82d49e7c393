//! VMs on the uplink's own network, as real kernels see it: untagged among plain machines, in a VLAN, and beside NVGRE on
//! the same uplink, all with the same addresses.

mod world;

use world::frames::{self, BROADCAST};
use world::peers::{tshark, wait_captured, wrongs};
use world::{Daemon, HostToml, Ns, Policy, Raw, Vm, World, traffic};

/// A machine of the uplink's own network that knows nothing of Weir.
const LAN: &str = "172.16.0.9";
const LAN_MAC: [u8; 6] = [2, 0xcc, 0, 0, 0, 9];
const VLAN: u16 = 100;
const KINDS: [&str; 3] = ["lab", "office", "blue"];

/// Two hosts and a plain machine on one wire; on each host a VM of each kind with the same MAC and address.
struct House {
    lan: Ns,
    hosts: [Ns; 2],
    daemons: [Daemon; 2],
    /// By host, then by kind.
    vms: [Vec<Vm>; 2],
    policy: Policy,
}

fn networks() -> Policy {
    Policy::two_hosts()
        .bridged("lab", None, "172.16.0.0/24")
        .bridged("office", Some(VLAN), "172.16.0.0/24")
        .tenant("blue", 5001, "172.16.0.0/24")
}

fn house(world: &mut World) -> House {
    let wire = world.ns("wire");
    wire.ip("link add br0 type bridge");
    wire.ip("link set br0 up");
    let [h1, h2, lan] = ["h1", "h2", "lan"].map(|name| {
        let ns = world.ns(name);
        let interface = if name == "lan" { "eth0" } else { "up0" };
        world.veth((&ns, interface), (&wire, name), 1600);
        wire.ip(&format!("link set {name} master br0"));
        ns
    });
    World::ready_eth0(&lan, LAN_MAC, &format!("{LAN}/24"));
    // A wire carries finished checksums; a veth does not by itself.
    lan.must("ethtool -K eth0 tx off");
    let hosts = [h1, h2];
    let mut policy = networks();
    let mut vms = [Vec::new(), Vec::new()];
    for (host, ns) in hosts.iter().enumerate() {
        for (kind, name) in KINDS.into_iter().enumerate() {
            let mac = [2, 0, 0, 0, 1, 1 + host as u8];
            let address = format!("172.16.0.1{}/24", 1 + host);
            let vm = world.vm(ns, &format!("{name}{}", 1 + host), mac, &address);
            policy = policy.vm(&vm, &format!("h{}", 1 + host), name, 1 + kind as u32);
            vms[host].push(vm);
        }
    }
    let [h1, h2] = &hosts;
    let daemons = [
        world.daemon(h1, &HostToml::new("h1", "192.168.50.1/24", 0), &policy),
        world.daemon(h2, &HostToml::new("h2", "192.168.50.2/24", 1), &policy),
    ];
    daemons.iter().for_each(Daemon::wait_resolved);
    House {
        lan,
        hosts,
        daemons,
        vms,
        policy,
    }
}

/// Whether a host's uplink takes frames for other MAC addresses than its own (IFF_PROMISC of netdevice(7)).
fn hears_all(host: &Ns) -> bool {
    let flags = host.must("cat /sys/class/net/up0/flags");
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).expect("flags");
    flags & 0x100 != 0
}

#[test]
fn bridged_and_virtual_vms_with_the_same_addresses_share_an_uplink() {
    let Some(mut world) = World::new(&["tcpdump", "tshark"]) else {
        return;
    };
    let house = house(&mut world);
    let file = world.path("lan.pcap");
    let mut tap = world.tcpdump(&house.lan, "eth0", &file);
    let [one, two] = &house.vms;
    assert!(house.hosts.iter().all(hears_all));

    // Each kind with its own across hosts, and the untagged ones with the plain machine.
    for (a, b) in one.iter().zip(two) {
        traffic::reaches(&a.ns, &b.ca);
        traffic::tcp(&a.ns, &b.ns, &b.ca, 1, 1 << 20);
    }
    for vm in [&one[0], &two[0]] {
        traffic::reaches(&vm.ns, LAN);
        traffic::reaches(&house.lan, &vm.ca);
        traffic::tcp(&vm.ns, &house.lan, LAN, 2, 1 << 20);
        traffic::tcp(&house.lan, &vm.ns, &vm.ca, 3, 1 << 20);
        let known = vm.ns.must(&format!("ip neigh show {LAN}"));
        assert!(known.contains(&world::mac(LAN_MAC)), "{known}");
    }
    for vm in [&one[1], &one[2], &two[1], &two[2]] {
        assert_eq!(traffic::ping(&vm.ns, LAN, 2), 0, "{}", vm.ns.name);
    }

    // Who hears whom: everybody says a word to everybody.
    let ears: Vec<Vec<Raw>> = house
        .vms
        .iter()
        .map(|vms| vms.iter().map(Vm::raw).collect())
        .collect();
    for (vms, host) in house.vms.iter().zip(0..) {
        for (vm, kind) in vms.iter().zip(KINDS) {
            let word = format!("{kind} from host {host}");
            vm.raw().send(&frames::marked(BROADCAST, vm.mac, &word));
        }
    }
    // And the plain machine, untagged and in the VLAN.
    let mouth = Raw::open(&house.lan, "eth0", LAN_MAC);
    mouth.send(&frames::marked(BROADCAST, LAN_MAC, "lab from the lan"));
    let mut tagged = frames::marked(BROADCAST, LAN_MAC, "office from the lan");
    tagged.splice(12..12, [0x81, 0, 0, VLAN as u8]);
    mouth.send(&tagged);
    for (host, ears) in ears.iter().enumerate() {
        for (kind, ear) in KINDS.into_iter().zip(ears) {
            let far = format!("{kind} from host {}", 1 - host);
            let mut heard = ear.wait(&far, |frame| frames::says(frame, &far));
            if kind != "blue" {
                let lan = format!("{kind} from the lan");
                if !heard.iter().any(|frame| frames::says(frame, &lan)) {
                    heard.extend(ear.wait(&lan, |frame| frames::says(frame, &lan)));
                }
            }
        }
    }
    // A VM cannot choose a VLAN.
    for vms in &house.vms {
        for vm in vms.iter().take(2) {
            let mut own = frames::marked(BROADCAST, vm.mac, "a hop into the VLAN");
            own.splice(12..12, [0x81, 0, 0, VLAN as u8]);
            vm.raw().send(&own);
        }
    }
    for daemon in &house.daemons {
        world::wait_until("the VMs' tags are refused", || {
            daemon.dropped("tenant_tagged") == 2
        });
        daemon.assert_conserved();
    }
    for ears in &ears {
        for (kind, ear) in KINDS.into_iter().zip(ears) {
            for frame in ear.heard() {
                assert!(!frames::says(&frame, "a hop into the VLAN"));
                let others = KINDS.iter().filter(|other| **other != kind);
                for other in others {
                    let word = format!("{other} from");
                    assert!(!frames::says(&frame, &word), "{kind} hears {word}");
                }
            }
        }
    }

    // What the plain machine saw on the wire: each kind in its own dress.
    let seen = |filter: &str, least: usize| wait_captured(&file, filter, least);
    seen(
        "eth.type == 0x88b5 && !vlan && !gre && frame contains \"lab from host\"",
        2,
    );
    seen(
        "vlan.id == 100 && vlan.priority == 0 && frame contains \"office from host\"",
        2,
    );
    tap.end();
    for (word, dress) in [
        ("lab from host", "!vlan && !gre"),
        ("office from host", "vlan.id == 100 && !gre"),
    ] {
        let other = format!("frame contains \"{word}\" && !({dress})");
        assert_eq!(tshark(&file, &["-Y", &other]), "", "{word}");
    }
    for wrong in [
        "_ws.malformed",
        "ip.checksum.status == \"Bad\"",
        "tcp.checksum.status == \"Bad\" || icmp.checksum.status == \"Bad\"",
    ] {
        assert_eq!(wrongs(&file, wrong), "", "{wrong}");
    }

    // With the last bridged VM goes what the uplink took for it.
    let blue = Policy::two_hosts()
        .tenant("blue", 5001, "172.16.0.0/24")
        .vm(&one[2], "h1", "blue", 3)
        .vm(&two[2], "h2", "blue", 3);
    for daemon in &house.daemons {
        daemon.apply(&blue);
    }
    assert!(!house.hosts.iter().any(hears_all));
    traffic::reaches(&one[2].ns, &two[2].ca);
    assert_eq!(traffic::ping(&one[0].ns, LAN, 2), 0);
    for daemon in &house.daemons {
        daemon.apply(&house.policy);
    }
    traffic::reaches(&one[0].ns, LAN);
    traffic::reaches(&one[1].ns, &two[1].ca);
    world.finish(house.daemons);
}

/// The wire forwards a group to whoever has reported it, and nobody else: a Linux bridge that snoops and asks.
#[test]
fn a_provider_group_carries_broadcast_to_the_hosts_that_joined_it() {
    let Some(mut world) = World::new(&["tcpdump", "tshark"]) else {
        return;
    };
    const GROUP: &str = "239.1.1.1";
    let wire = world.ns("wire");
    wire.ip("link add br0 type bridge mcast_snooping 1 mcast_query_response_interval 100");
    wire.ip("link set br0 up");
    let [h1, h2, lan] = ["h1", "h2", "lan"].map(|name| {
        let ns = world.ns(name);
        world.veth((&ns, "up0"), (&wire, name), 1600);
        wire.ip(&format!("link set {name} master br0"));
        ns
    });
    let mac = |last| [2, 0, 0, 0, 1, last];
    let vms = [
        world.vm(&h1, "blue1", mac(1), "10.1.0.11/24"),
        world.vm(&h2, "blue2", mac(2), "10.1.0.12/24"),
        world.vm(&h1, "red1", mac(1), "10.1.0.11/24"),
        world.vm(&h2, "red2", mac(2), "10.1.0.12/24"),
    ];
    let policy = |second: bool| {
        let policy = Policy::two_hosts()
            .tenant("blue", 5001, "10.1.0.0/24")
            .subnet_with(&format!("multicast_group = \"{GROUP}\""))
            .tenant("red", 6001, "10.1.0.0/24")
            .vm(&vms[0], "h1", "blue", 1)
            .vm(&vms[2], "h1", "red", 2)
            .vm(&vms[3], "h2", "red", 2);
        match second {
            true => policy.vm(&vms[1], "h2", "blue", 1),
            false => policy,
        }
    };
    let files = ["h1", "h2", "lan"].map(|port| world.path(&format!("{port}.pcap")));
    let mut taps = ["h1", "h2", "lan"]
        .iter()
        .zip(&files)
        .map(|(port, file)| world.tcpdump(&wire, port, file))
        .collect::<Vec<_>>();
    let one = world.daemon(
        &h1,
        &HostToml::new("h1", "192.168.50.1/24", 0),
        &policy(true),
    );
    let two = world.daemon(
        &h2,
        &HostToml::new("h2", "192.168.50.2/24", 1),
        &policy(true),
    );
    one.wait_resolved();
    two.wait_resolved();
    assert!(hears_all(&h1), "a packet socket cannot choose among groups");
    for (file, own) in [(&files[0], "192.168.50.1"), (&files[1], "192.168.50.2")] {
        let joins = format!(
            "igmp.type == 0x22 && igmp.record_type == 4 && igmp.maddr == {GROUP} && ip.src == {own} && ip.dst == 224.0.0.22 && ip.ttl == 1 && ip.opt.type == 148 && eth.dst == 01:00:5e:00:00:16"
        );
        wait_captured(file, &joins, 2);
    }
    // Now the bridge asks, by version 2, and forwards to who has answered.
    wire.ip("link set br0 type bridge mcast_querier 1");
    for (file, own) in [(&files[0], "192.168.50.1"), (&files[1], "192.168.50.2")] {
        wait_captured(file, "igmp.type == 0x11", 1);
        let answer = format!(
            "igmp.type == 0x16 && igmp.maddr == {GROUP} && ip.src == {own} && ip.dst == {GROUP}"
        );
        wait_captured(file, &answer, 1);
    }
    traffic::reaches(&vms[0].ns, &vms[1].ca);
    let ears = [vms[1].raw(), vms[3].raw()];
    vms[0]
        .raw()
        .send(&frames::marked(BROADCAST, mac(1), "blue to all"));
    vms[2]
        .raw()
        .send(&frames::marked(BROADCAST, mac(1), "red to all"));
    let all: Vec<Vec<u8>> = ears[0].wait("blue's", |frame| frames::says(frame, "blue to all"));
    assert!(!all.iter().any(|frame| frames::says(frame, "red")));
    let all = ears[1].wait("red's", |frame| frames::says(frame, "red to all"));
    assert!(!all.iter().any(|frame| frames::says(frame, "blue")));
    let sent = format!(
        "gre && eth.dst == 01:00:5e:01:01:01 && ip.src == 192.168.50.1 && ip.dst == {GROUP} && ip.ttl == 64 && ip.flags.df == 1 && frame contains \"blue to all\""
    );
    for file in &files[..2] {
        wait_captured(file, &sent, 1);
    }
    wait_captured(
        &files[1],
        "gre && ip.dst == 192.168.50.2 && frame contains \"red to all\"",
        1,
    );

    // The last member goes, and with it the group.
    two.apply(&policy(false));
    let leaves = format!(
        "igmp.type == 0x17 && igmp.maddr == {GROUP} && ip.src == 192.168.50.2 && ip.dst == 224.0.0.2"
    );
    wait_captured(&files[1], &leaves, 1);
    assert!(!hears_all(&h2));
    taps.iter_mut().for_each(|tap| tap.end());
    // One packet left, whatever the number of hosts, and who has not joined was spared.
    for (file, times) in [(&files[0], 1), (&files[1], 1), (&files[2], 0)] {
        let heard = tshark(file, &["-Y", "gre && frame contains \"blue to all\""]);
        assert_eq!(heard.lines().count(), times, "{heard}");
        for wrong in [
            "_ws.malformed",
            "igmp.checksum.status == \"Bad\"",
            "ip.checksum.status == \"Bad\"",
        ] {
            assert_eq!(wrongs(file, wrong), "", "{wrong}");
        }
    }
    assert_ne!(
        tshark(&files[0], &["-Y", "igmp.checksum.status == \"Good\""]),
        ""
    );
    drop(lan);
    world.finish([one, two]);
}
