//! A provider network of IPv6, as real kernels see it: provider addresses by neighbour discovery both ways, a router, a link
//! that is too small, both families at once.

mod world;

use world::traffic;
use world::{Daemon, HostToml, Ns, Policy, Vm, World, wait_until};

const MAC1: [u8; 6] = [2, 0, 0, 0, 1, 1];
const MAC2: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// A VM of each family's addresses on each of two hosts and the policy that says so, with these PAs, each a list.
fn vms(world: &mut World, hosts: [&Ns; 2], pas: [&str; 2]) -> ([Vm; 2], Policy) {
    let mut a = world.vm(hosts[0], "a", MAC1, "10.1.0.11/24");
    let mut c = world.vm(hosts[1], "c", MAC2, "10.1.0.12/24");
    let mut policy = Policy::default()
        .host("h1", pas[0])
        .host("h2", pas[1])
        .tenant("blue", 5001, "10.1.0.0/24,fd01::/64");
    for (vm, host, last) in [(&mut a, "h1", 1), (&mut c, "h2", 2)] {
        speaks_ipv6(&vm.ns, "eth0");
        vm.ns
            .ip(&format!("addr add fd01::1{last}/64 dev eth0 nodad"));
        let v4 = vm.ca.clone();
        vm.ca += &format!(",fd01::1{last}");
        policy = policy.vm(vm, host, "blue", 1);
        vm.ca = v4;
    }
    ([a, c], policy)
}

/// Lets a kernel speak IPv6 on an interface.
fn speaks_ipv6(ns: &Ns, interface: &str) {
    ns.sysctl(&format!(
        "net.ipv6.conf.{interface}.router_solicitations=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.{interface}.disable_ipv6=0"
    ));
}

fn with(name: &str, pa: &str, core: u32, lines: &str) -> HostToml {
    let mut host = HostToml::new(name, pa, core);
    host.uplink += lines;
    host
}

fn uplink_mac(daemon: &Daemon) -> String {
    let uplink = daemon.json(&["get", "uplink", "up0"]);
    uplink[0]["status"]["mac"].as_str().unwrap().to_owned()
}

/// Both families inside, both ways.
fn both_families(a: &Vm, c: &Vm) {
    traffic::reaches(&a.ns, &c.ca);
    traffic::reaches(&c.ns, &a.ca);
    traffic::all_answered(&a.ns, 5, "-6 fd01::12");
    traffic::all_answered(&c.ns, 5, "-6 fd01::11");
    traffic::tcp(&a.ns, &c.ns, &c.ca, 1, 2 << 20);
}

#[test]
fn provider_addresses_are_asked_for_and_answered_by_neighbour_discovery() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    // The far end is a kernel, which is a stranger to both.
    let (h1, kernel) = (world.ns("h1"), world.ns("kernel"));
    world.veth((&h1, "up0"), (&kernel, "up0"), 1600);
    kernel.ip("link set dev up0 address 02:bb:00:00:00:02");
    speaks_ipv6(&kernel, "up0");
    kernel.ip("addr add fd00:50::2/64 dev up0 nodad");
    // The kernel of Weir's own host speaks IPv6 on the uplink too, and makes the same link-local address of its MAC.
    speaks_ipv6(&h1, "up0");
    let other = world.ns("other");
    world.veth((&other, "up0"), (&other, "up1"), 1600);
    let ([_, _], policy) = vms(&mut world, [&h1, &other], ["fd00:50::1", "fd00:50::2"]);
    let one = world.daemon(&h1, &with("h1", "fd00:50::1/64", 0, ""), &policy);
    // We ask, the kernel answers.
    one.wait_resolved();
    let peer = one.json(&["get", "peer", "fd00:50::2"]);
    assert_eq!(peer[0]["status"]["mac"], "02:bb:00:00:00:02");
    // The kernel asks, we answer: the provider address, and the link-local one. A PA answers no ping, and that is counted.
    let before = one.dropped("outer_protocol");
    kernel.try_run("ping -n -c 2 -i 0.1 -W 0.2 fd00:50::1");
    let mac = uplink_mac(&one);
    let shown = kernel.must("ip -6 neigh show fd00:50::1");
    assert!(shown.contains(&mac), "{shown} but {mac}");
    wait_until("the pings are counted", || {
        one.dropped("outer_protocol") >= before + 2
    });
    // Duplicate address detection: whoever takes this host's address is told that it is taken.
    kernel.ip("addr add fd00:50::1/64 dev up0");
    wait_until("the kernel's own address is a duplicate", || {
        let addresses = kernel.must("ip -6 addr show dev up0");
        addresses.contains("fd00:50::1/64 scope global tentative dadfailed")
            || addresses.contains("fd00:50::1/64 scope global dadfailed tentative")
    });
    // Of the host's own kernel, which has the same MAC, it says no such thing.
    h1.ip("link set up0 addrgenmode none");
    h1.ip("link set up0 addrgenmode eui64");
    wait_until("the host's kernel has its link-local address", || {
        let shown = h1.must("ip -6 addr show dev up0 scope link");
        assert!(!shown.contains("dadfailed"), "{shown}");
        shown.contains("fe80::") && !shown.contains("tentative")
    });
    assert_eq!(
        one.json(&["get", "uplink", "up0"])[0]["status"]["conflicts"],
        serde_json::json!({})
    );
    // Kernels say this and that by themselves; at the end everything stands still.
    for ns in [&kernel, &h1] {
        ns.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    }
    world.finish([one]);
}

#[test]
fn another_machine_with_this_host_s_address_is_told_of() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, kernel) = (world.ns("h1"), world.ns("kernel"));
    world.veth((&h1, "up0"), (&kernel, "up0"), 1600);
    kernel.ip("link set dev up0 address 02:bb:00:00:00:02");
    speaks_ipv6(&kernel, "up0");
    kernel.ip("addr add fd00:50::1/64 dev up0 nodad");
    let other = world.ns("other");
    world.veth((&other, "up0"), (&other, "up1"), 1600);
    let (_, policy) = vms(&mut world, [&h1, &other], ["fd00:50::1", "fd00:50::2"]);
    let one = world.daemon(&h1, &with("h1", "fd00:50::1/64", 0, ""), &policy);
    wait_until("the conflict is shown", || {
        let uplink = one.json(&["get", "uplink", "up0"]);
        uplink[0]["status"]["conflicts"]["fd00:50::1"] == "02:bb:00:00:00:02"
    });
    assert!(
        one.log()
            .contains("another machine has this host's provider address")
    );
    kernel.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    world.finish([one]);
}

#[test]
fn two_hosts_over_ipv6_carry_both_families() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let ([a, c], policy) = vms(&mut world, [&h1, &h2], ["fd00:50::1", "fd00:50::2"]);
    // In a VLAN, so that questions and answers have a tag as well.
    let one = world.daemon(&h1, &with("h1", "fd00:50::1/64", 0, "vlan = 77\n"), &policy);
    let two = world.daemon(&h2, &with("h2", "fd00:50::2/64", 1, "vlan = 77\n"), &policy);
    one.wait_resolved();
    two.wait_resolved();
    both_families(&a, &c);
    for daemon in [&one, &two] {
        assert_eq!(daemon.dropped("underlay_nd"), 0, "{:?}", daemon.drops());
        assert_eq!(daemon.dropped("outer_malformed"), 0, "{:?}", daemon.drops());
    }
    world.finish([one, two]);
}

#[test]
fn hosts_of_both_families_and_of_one_reach_one_another() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let both = "fd00:50::1\", \"192.168.50.1";
    let ([a, c], policy) = vms(&mut world, [&h1, &h2], [both, "192.168.50.2"]);
    let host = with("h1", "fd00:50::1/64\", \"192.168.50.1/24", 0, "");
    let one = world.daemon(&h1, &host, &policy);
    let two = world.daemon(&h2, &with("h2", "192.168.50.2/24", 1, ""), &policy);
    one.wait_resolved();
    two.wait_resolved();
    both_families(&a, &c);
    let peer = two.json(&["get", "peer"]);
    assert_eq!(
        (peer.as_array().unwrap().len(), &peer[0]["name"]),
        (1, &"192.168.50.1".into())
    );
    world.finish([one, two]);
}

/// The first host's uplink carries 1600, the second one's 1450, and the router between them says so. The one host knows the
/// router by a global address, the other by its link-local one.
#[test]
fn peers_behind_a_router_with_a_smaller_link_are_reached() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2, router) = world.routed_hosts();
    for (interface, net) in [("left", 51), ("right", 52)] {
        speaks_ipv6(&router, interface);
        router.ip(&format!("addr add fd00:{net}::fe/64 dev {interface} nodad"));
        router.ip(&format!("addr add fe80::1/64 dev {interface} nodad"));
    }
    router.sysctl("net.ipv6.conf.all.forwarding=1");
    router.ip("link set right mtu 1450");
    let ([a, c], policy) = vms(&mut world, [&h1, &h2], ["fd00:51::1", "fd00:52::1"]);
    let mut host = with("h2", "fd00:52::1/64", 1, "gateway = \"fe80::1\"\n");
    host.uplink = host.uplink.replace("mtu = 1600", "mtu = 1450");
    let one = world.daemon(
        &h1,
        &with("h1", "fd00:51::1/64", 0, "gateway = \"fd00:51::fe\"\n"),
        &policy,
    );
    let two = world.daemon(&h2, &host, &policy);
    one.wait_resolved();
    two.wait_resolved();
    assert_eq!(
        one.json(&["get", "peer", "fd00:52::1"])[0]["next_hop"],
        "fd00:51::fe"
    );
    assert_eq!(
        two.json(&["get", "peer", "fd00:51::1"])[0]["next_hop"],
        "fe80::1"
    );
    traffic::reaches(&a.ns, &c.ca);
    // 1450 less 62. The first that does not fit is lost to the router; from then on the VM is told.
    let fits = 1388 - 28;
    let probe = |size: u32| {
        let args = format!("ping -n -c 1 -W 1 -M do -s {size} {}", c.ca);
        world::text(&a.ns.try_run(&args).stdout)
    };
    probe(fits + 1);
    wait_until("the VM is told", || {
        probe(fits + 1).contains("Frag needed and DF set (mtu = 1388)")
    });
    traffic::all_answered(&a.ns, 3, &format!("-M do -s {fits} {}", c.ca));
    assert!(one.log().contains("no larger packets fit"), "{}", one.log());
    both_families(&a, &c);
    world.finish([one, two]);
}
