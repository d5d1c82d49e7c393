//! IP rewrite of IPv6 as real kernels see it: two hosts on one link no larger than the VMs' MTU, then a provider router that
//! asks for their provider addresses and says what does not fit.

mod world;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;
use world::peers::{tshark, wait_captured, wrongs};
use world::{Daemon, HostToml, Ns, Policy, Vm, World, text, traffic, wait_until};

/// Lets a kernel speak IPv6 on an interface, and say nothing by itself.
fn speaks_ipv6(ns: &Ns, interface: &str) {
    ns.sysctl(&format!(
        "net.ipv6.conf.{interface}.router_solicitations=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.{interface}.disable_ipv6=0"
    ));
}

/// VM `last` of subnet `net`, with addresses of both families.
fn vm(world: &mut World, host: &Ns, (name, net, last): (&str, u32, u8)) -> Vm {
    let mac = [2, 0, 0, 0, 1, last];
    let mut vm = world.vm(host, name, mac, &format!("10.{net}.0.{last}/24"));
    speaks_ipv6(&vm.ns, "eth0");
    vm.ca = format!("fd0{net}::{last}");
    vm.ns.ip(&format!("addr add {}/64 dev eth0 nodad", vm.ca));
    vm.ns.ip(&format!("-6 route add default via fd0{net}::1"));
    vm
}

fn vnic(policy: Policy, vm: &Vm, (host, subnet, number): (&str, &str, u32), pa: &str) -> Policy {
    let attach = format!("net_af_packet{number},iface={}", vm.tap);
    let policy = policy.vnic(&vm.tap, host, subnet, &vm.mac(), &vm.ca, &attach);
    policy.with(&format!("provider_addresses = [\"{pa}\"]"))
}

fn host(name: &str, pa: &str, core: u32, lines: &str) -> HostToml {
    let mut host = HostToml::new(name, pa, core);
    host.uplink = host.uplink.replace("mtu = 1600", "mtu = 1500");
    host.uplink += lines;
    host
}

fn said(from: &Vm, args: &str) -> String {
    let output = from.ns.try_run(&format!("ping -6 -n -c 1 -W 2 {args}"));
    text(&output.stdout)
}

fn refused(from: &Vm, to: &Vm) {
    let refused = from.ns.inside(|| {
        let socket = UdpSocket::bind((from.ca.as_str(), 0)).expect("bind");
        socket.connect((to.ca.as_str(), 9)).expect("connect");
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a timeout");
        socket.send(b"anybody there?").expect("send");
        socket.recv(&mut [0; 64]).map_err(|error| error.kind())
    });
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
}

fn silent(vms: &[&Ns]) {
    for ns in vms {
        ns.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    }
}

#[test]
fn rewritten_vms_reach_one_another_at_the_underlays_own_size() {
    let Some(mut world) = World::new(&["tcpdump", "tshark"]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let a = vm(&mut world, &h1, ("a", 1, 11));
    let b = vm(&mut world, &h2, ("b", 1, 12));
    let c = vm(&mut world, &h2, ("c", 2, 13));
    let policy = Policy::default()
        .host("h1", "fd50::1")
        .host("h2", "fd50::2")
        .tenant("blue", 5001, "fd01::/64")
        .rewritten()
        .subnet("blue2", 5002, "fd02::/64")
        .rewritten();
    let policy = vnic(policy, &a, ("h1", "blue", 1), "fd50::101");
    let policy = vnic(policy, &b, ("h2", "blue", 1), "fd50::102");
    let policy = vnic(policy, &c, ("h2", "blue2", 2), "fd50::103");
    let one = world.daemon(&h1, &host("h1", "fd50::1/64", 0, ""), &policy);
    let two = world.daemon(&h2, &host("h2", "fd50::2/64", 1, ""), &policy);
    one.wait_resolved();
    two.wait_resolved();
    let files = [world.path("from-h1.pcap"), world.path("from-h2.pcap")];
    let mut taps = [
        world.tcpdump(&h2, "up0", &files[0]),
        world.tcpdump(&h1, "up0", &files[1]),
    ];
    for (from, to) in [(&a, &b), (&b, &a), (&a, &c), (&c, &a)] {
        traffic::all_answered(&from.ns, 5, &format!("-6 {}", to.ca));
        // As large as the wire, and as large as the VM's own kernel cuts it.
        traffic::all_answered(&from.ns, 3, &format!("-6 -M do -s 1452 {}", to.ca));
        traffic::all_answered(&from.ns, 3, &format!("-6 -M dont -s 4000 {}", to.ca));
    }
    // Within a subnet there is no hop, between two there is one, which the gateway speaks of.
    assert!(said(&a, &b.ca).contains("ttl=64"), "{}", said(&a, &b.ca));
    assert!(said(&a, &c.ca).contains("ttl=63"), "{}", said(&a, &c.ca));
    let first = said(&a, &format!("-t 1 {}", c.ca));
    assert!(
        first.contains("From fd01::1") && first.contains("Time exceeded"),
        "{first}"
    );
    for (tag, from, to) in [(1, &a, &b), (2, &b, &a), (3, &a, &c), (4, &c, &a)] {
        traffic::tcp(&from.ns, &to.ns, &to.ca, tag, 2 << 20);
    }
    // The error that comes back quotes what this kernel sent: it finds the socket.
    refused(&a, &b);
    refused(&a, &c);
    for daemon in [&one, &two] {
        assert_eq!(daemon.dropped("too_big"), 0);
    }
    silent(&[&a.ns, &b.ns, &c.ns]);
    wait_captured(&files[0], "udp.dstport == 9", 2);
    taps.iter_mut().for_each(|tap| tap.end());
    for (file, own) in [(&files[0], "fd50::101"), (&files[1], "fd50::102")] {
        judge(file, own);
    }
    world.finish([one, two]);
}

/// Everything is between provider addresses, or a host's own neighbour discovery or group report; none is longer than a VM's,
/// no tenant's address is seen, and no checksum is wrong, of those in quoted packets neither.
fn judge(file: &Path, own: &str) {
    for wrong in [
        "frame.len > 1514",
        "ipv6.addr == fd01::/16 || ipv6.addr == fd02::/16", // quoted ones too
        "gre",
        "_ws.malformed",
        "_ws.expert.group == 0x01000000",
        "tcp.checksum.status == \"Bad\" || udp.checksum.status == \"Bad\" || icmpv6.checksum.status == \"Bad\"",
        // Neighbour discovery of VMs: hosts ask by their own addresses, and their kernels have none.
        "icmpv6.type == 133 || icmpv6.nd.ns.target_address == fd01::/16 || icmpv6.nd.na.target_address == fd01::/16",
    ] {
        assert_eq!(wrongs(file, wrong), "", "{wrong}");
    }
    for right in [
        &format!("ipv6.src == {own}"),
        "frame.len == 1514",
        "ipv6.fraghdr.more == 1",
        "tcp.checksum.status == \"Good\"",
        "icmpv6.type == 128 && icmpv6.checksum.status == \"Good\"",
    ] {
        assert_ne!(tshark(file, &["-Y", right, "-c", "6000"]), "", "{right}");
    }
}

#[test]
fn a_provider_router_finds_the_vnics_and_is_heard_about_what_does_not_fit() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2, router) = world.routed_hosts();
    for (interface, net) in [("left", 51), ("right", 52)] {
        speaks_ipv6(&router, interface);
        router.ip(&format!("addr add fd{net}::fe/64 dev {interface} nodad"));
    }
    router.sysctl("net.ipv6.conf.all.forwarding=1");
    router.ip("link set right mtu 1400");
    let a = vm(&mut world, &h1, ("a", 1, 11));
    let b = vm(&mut world, &h2, ("b", 1, 12));
    let policy = Policy::default()
        .host("h1", "fd51::1")
        .host("h2", "fd52::1")
        .tenant("blue", 5001, "fd01::/64")
        .rewritten();
    let policy = vnic(policy, &a, ("h1", "blue", 1), "fd51::101");
    let policy = vnic(policy, &b, ("h2", "blue", 1), "fd52::102");
    let left = host("h1", "fd51::1/64", 0, "gateway = \"fd51::fe\"\n");
    let mut right = host("h2", "fd52::1/64", 1, "gateway = \"fd52::fe\"\n");
    right.uplink = right.uplink.replace("mtu = 1500", "mtu = 1400");
    let one = world.daemon(&h1, &left, &policy);
    let two = world.daemon(&h2, &right, &policy);
    one.wait_resolved();
    two.wait_resolved();
    traffic::all_answered(&a.ns, 5, &format!("-6 {}", b.ca));
    traffic::all_answered(&b.ns, 5, &format!("-6 {}", a.ca));
    // The router has asked for both, and has the uplinks' MACs.
    for (pa, daemon) in [("fd51::101", &one), ("fd52::102", &two)] {
        let mac = uplink_mac(daemon);
        let shown = router.must(&format!("ip -6 neigh show {pa}"));
        assert!(shown.contains(&mac), "{shown} but {mac}");
    }
    // The provider's hop is one.
    assert!(said(&a, &b.ca).contains("ttl=63"), "{}", said(&a, &b.ca));
    // What the router says reaches Weir, not the VM; its gateway tells the VM the next time.
    let large = format!("-M do -s {} {}", 1400 - 48 + 1, b.ca);
    said(&a, &large);
    wait_until("the VM is told", || {
        let told = said(&a, &large);
        assert!(!told.contains("fd5"), "{told}");
        told.contains("From fd01::1") && told.contains("mtu=1400")
    });
    traffic::all_answered(&a.ns, 3, &format!("-6 -M do -s {} {}", 1400 - 48, b.ca));
    traffic::tcp(&a.ns, &b.ns, &b.ca, 1, 1 << 20);
    // A hop that ends in the provider network tells the VM nothing.
    let last = said(&a, &format!("-t 1 {}", b.ca));
    assert!(!last.contains("From"), "{last}");
    assert!(one.dropped("provider_icmp") > 0);
    silent(&[&a.ns, &b.ns, &router]);
    world.finish([one, two]);
}

fn uplink_mac(daemon: &Daemon) -> String {
    let uplink = daemon.json(&["get", "uplink", "up0"]);
    uplink[0]["status"]["mac"]
        .as_str()
        .expect("a MAC")
        .to_owned()
}
