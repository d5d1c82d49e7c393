//! IP rewrite as real kernels see it: two hosts, an underlay no larger than the VMs' MTU, an NVGRE tenant with the same
//! addresses beside it, and a provider router that knows of neither.

mod world;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;
use world::peers::{tshark, wait_captured, wrongs};
use world::{Daemon, HostToml, Ns, Policy, Vm, World, text, traffic};

/// A ring whose frames hold datagrams of 4,000 bytes: packet sockets put fragments together.
const RING: &str = "blocksz=16384,framesz=8192,framecnt=256";

fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, last]
}

/// A vNIC for a VM, with a provider address if it is rewritten.
fn vnic(policy: Policy, vm: &Vm, host: &str, subnet: &str, number: u32, pa: &str) -> Policy {
    let attach = format!("net_af_packet{number},iface={},{RING}", vm.tap);
    let policy = policy.vnic(&vm.tap, host, subnet, &vm.mac(), &vm.ca, &attach);
    match pa {
        "" => policy,
        pa => policy.with(&format!("provider_addresses = [\"{pa}\"]")),
    }
}

/// A host whose uplink carries 1,500 bytes: what a VM's packet has, and nothing around it.
fn host(name: &str, pa: &str, core: u32) -> HostToml {
    let mut host = HostToml::new(name, pa, core);
    host.uplink = host
        .uplink
        .replace("framecnt=4096", RING)
        .replace("mtu = 1600", "mtu = 1500");
    host
}

fn said(from: &Vm, args: &str) -> String {
    let output = from.ns.try_run(&format!("ping -n -c 1 -W 2 {args}"));
    text(&output.stdout)
}

/// Blue is rewritten: `a` here, on the other host `b` in a's subnet and `c` in another. Red is NVGRE, with the same addresses.
struct Tenants {
    daemons: [Daemon; 2],
    hosts: [Ns; 2],
    blue: [Vm; 3],
    red: [Vm; 2],
}

fn tenants(world: &mut World) -> Tenants {
    let (h1, h2) = world.two_hosts();
    let blue = [
        world.vm(&h1, "a", mac(1), "10.1.0.11/24"),
        world.vm(&h2, "b", mac(2), "10.1.0.12/24"),
        world.vm(&h2, "c", mac(3), "10.2.0.13/24"),
    ];
    let red = [
        world.vm(&h1, "r", mac(1), "10.1.0.11/24"),
        world.vm(&h2, "s", mac(2), "10.1.0.12/24"),
    ];
    for vm in blue.iter().chain(&red) {
        let gateway = match vm.ca.starts_with("10.1.") {
            true => "10.1.0.1",
            false => "10.2.0.1",
        };
        vm.ns.ip(&format!("route add default via {gateway}"));
    }
    let policy = Policy::two_hosts()
        .tenant("blue", 5001, "10.1.0.0/24")
        .rewritten()
        .subnet("blue2", 5002, "10.2.0.0/24")
        .rewritten()
        .tenant("red", 6001, "10.1.0.0/24");
    let policy = vnic(policy, &blue[0], "h1", "blue", 1, "192.168.50.101");
    let policy = vnic(policy, &blue[1], "h2", "blue", 1, "192.168.50.102");
    let policy = vnic(policy, &blue[2], "h2", "blue2", 2, "192.168.50.103");
    let policy = vnic(policy, &red[0], "h1", "red", 2, "");
    let policy = vnic(policy, &red[1], "h2", "red", 3, "");
    let one = world.daemon(&h1, &host("h1", "192.168.50.1/24", 0), &policy);
    let two = world.daemon(&h2, &host("h2", "192.168.50.2/24", 1), &policy);
    one.wait_resolved();
    two.wait_resolved();
    Tenants {
        daemons: [one, two],
        hosts: [h1, h2],
        blue,
        red,
    }
}

#[test]
fn rewritten_vms_reach_one_another_at_the_underlays_own_size() {
    let Some(mut world) = World::new(&["tcpdump", "tshark"]) else {
        return;
    };
    let tenants = tenants(&mut world);
    let [a, b, c] = &tenants.blue;
    let files = [world.path("from-h1.pcap"), world.path("from-h2.pcap")];
    let mut taps = [
        world.tcpdump(&tenants.hosts[1], "up0", &files[0]),
        world.tcpdump(&tenants.hosts[0], "up0", &files[1]),
    ];
    for (from, to) in [(a, b), (b, a), (a, c), (c, a)] {
        traffic::reaches(&from.ns, &to.ca);
        // As large as the wire, and as large as needs three of them.
        traffic::all_answered(&from.ns, 3, &format!("-M do -s 1472 {}", to.ca));
        traffic::all_answered(&from.ns, 3, &format!("-M dont -s 4000 {}", to.ca));
    }
    // Within a subnet there is no hop, between two there is one.
    assert!(said(a, &b.ca).contains("ttl=64"), "{}", said(a, &b.ca));
    assert!(said(a, &c.ca).contains("ttl=63"), "{}", said(a, &c.ca));
    let first = said(a, &format!("-t 1 {}", c.ca));
    assert!(
        first.contains("From 10.1.0.1") && first.contains("Time to live exceeded"),
        "{first}"
    );
    for (tag, from, to) in [(1, a, b), (2, b, a), (3, a, c), (4, c, a)] {
        traffic::tcp(&from.ns, &to.ns, &to.ca, tag, 2 << 20);
    }
    let speaker = traffic::Says::start(&b.ns, &b.ca, 7001, "answer", "question");
    let socket = traffic::udp_socket(&a.ns, &a.ca, 20_000);
    assert_eq!(traffic::udp_ask(&socket, &b.ca, 7001, "question"), "answer");
    drop(speaker);
    // The error that comes back quotes what this kernel sent: it finds the socket.
    for to in [b, c] {
        let refused = a.ns.inside(|| {
            let socket = UdpSocket::bind((a.ca.as_str(), 0)).expect("bind");
            socket.connect((to.ca.as_str(), 9)).expect("connect");
            socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .expect("a timeout");
            socket.send(b"anybody there?").expect("send");
            socket.recv(&mut [0; 64]).map_err(|error| error.kind())
        });
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
    }
    for daemon in &tenants.daemons {
        assert_eq!(daemon.dropped("too_big"), 0);
        daemon.assert_conserved();
    }
    wait_captured(&files[0], "udp.dstport == 9", 2);
    taps.iter_mut().for_each(|tap| tap.end());
    for (file, own) in [(&files[0], "192.168.50.101"), (&files[1], "192.168.50.102")] {
        judge(file, own);
    }
    world.finish(tenants.daemons);
}

/// Everything is the provider's ARP or a packet between provider addresses, none longer than a VM's, and no checksum is
/// wrong, of those in quoted packets neither.
fn judge(file: &std::path::Path, own: &str) {
    let other = tshark(
        file,
        &[
            "-Y",
            "!arp && !(ip.src >= 192.168.50.101 && ip.src <= 192.168.50.103)",
        ],
    );
    assert_eq!(other, "", "something else left the uplink");
    for wrong in [
        "frame.len > 1514",
        "ip.addr == 10.0.0.0/8", // quoted ones too
        "gre",
        "_ws.malformed",
        "_ws.expert.group == 0x01000000",
        "ip.checksum.status == \"Bad\"",
        "tcp.checksum.status == \"Bad\" || udp.checksum.status == \"Bad\" || icmp.checksum.status == \"Bad\"",
    ] {
        assert_eq!(wrongs(file, wrong), "", "{wrong}");
    }
    for right in [
        &format!("ip.src == {own}"),
        "frame.len == 1514 && ip.flags.df == 1",
        "ip.flags.mf == 1",
        "ip.checksum.status == \"Good\"",
        "tcp.checksum.status == \"Good\"",
        "icmp.checksum.status == \"Good\"",
    ] {
        assert_ne!(tshark(file, &["-Y", right, "-c", "6000"]), "", "{right}");
    }
}

#[test]
fn an_nvgre_tenant_with_the_same_addresses_shares_the_hosts_and_the_uplink() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let tenants = tenants(&mut world);
    let ([a, b, c], [r, s]) = (&tenants.blue, &tenants.red);
    let answers = [("blue", b), ("red", s)]
        .map(|(word, vm)| traffic::Says::start(&vm.ns, &vm.ca, 7001, word, &format!("{word}?")));
    for (word, vm) in [("blue", a), ("red", r)] {
        let socket = traffic::udp_socket(&vm.ns, &vm.ca, 20_001);
        for _ in 0..5 {
            assert_eq!(
                traffic::udp_ask(&socket, "10.1.0.12", 7001, &format!("{word}?")),
                word
            );
        }
    }
    drop(answers);
    // What red's NVGRE takes more than the wire carries, blue's rewriting does not.
    assert!(said(r, "-M do -s 1472 10.1.0.12").contains("mtu = 1458"));
    traffic::all_answered(&a.ns, 2, "-M do -s 1472 10.1.0.12");
    traffic::tcp(&a.ns, &b.ns, &b.ca, 1, 1 << 20);
    traffic::tcp(&r.ns, &s.ns, &s.ca, 2, 1 << 20);
    // Red has no other subnet.
    assert_eq!(traffic::ping(&r.ns, &c.ca, 1), 0);
    traffic::reaches(&a.ns, &c.ca);
    // Broadcast does not leave its host.
    let before = tenants.daemons[0].dropped("not_rewritable");
    a.ns.try_run("ping -n -b -c 1 -W 1 10.1.0.255");
    assert!(tenants.daemons[0].dropped("not_rewritable") > before);
    world.finish(tenants.daemons);
}

/// The router forwards provider addresses like any others: it asks for them by ARP, and where its link is smaller it says so.
#[test]
fn a_router_of_the_provider_network_needs_to_know_nothing() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2, router) = world.routed_hosts();
    router.ip("link set right mtu 1400");
    let a = world.vm(&h1, "a", mac(1), "10.1.0.11/24");
    let b = world.vm(&h2, "b", mac(2), "10.1.0.12/24");
    let policy = Policy::default()
        .host("h1", "192.168.51.1")
        .host("h2", "192.168.52.1")
        .tenant("blue", 5001, "10.1.0.0/24")
        .rewritten();
    let policy = vnic(policy, &a, "h1", "blue", 1, "192.168.51.101");
    let policy = vnic(policy, &b, "h2", "blue", 1, "192.168.52.102");
    let routed = |name, net: u8, core, mtu| {
        let mut host = host(name, &format!("192.168.{net}.1/24"), core);
        host.uplink = host.uplink.replace("mtu = 1500", mtu);
        host.uplink += &format!("gateway = \"192.168.{net}.254\"\n");
        host
    };
    let one = world.daemon(&h1, &routed("h1", 51, 0, "mtu = 1500"), &policy);
    let two = world.daemon(&h2, &routed("h2", 52, 1, "mtu = 1400"), &policy);
    one.wait_resolved();
    two.wait_resolved();
    traffic::reaches(&a.ns, &b.ca);
    traffic::reaches(&b.ns, &a.ca);
    // The provider's hop is one.
    assert!(said(&a, &b.ca).contains("ttl=63"), "{}", said(&a, &b.ca));
    // What the router says reaches Weir, not the VM; its gateway tells the VM the next time.
    let large = format!("-M do -s {} {}", 1400 - 28 + 1, b.ca);
    said(&a, &large);
    world::wait_until("the VM is told", || {
        let told = said(&a, &large);
        assert!(!told.contains("192.168."), "{told}");
        told.contains("From 10.1.0.1") && told.contains("mtu = 1400")
    });
    traffic::all_answered(&a.ns, 3, &format!("-M do -s {} {}", 1400 - 28, b.ca));
    traffic::tcp(&a.ns, &b.ns, &b.ca, 1, 1 << 20);
    // A hop that ends in the provider network tells the VM nothing.
    let last = said(&a, &format!("-t 1 {}", b.ca));
    assert!(!last.contains("From"), "{last}");
    assert!(one.dropped("provider_icmp") > 0);
    world.finish([one, two]);
}
