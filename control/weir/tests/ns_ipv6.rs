//! IPv6 between VMs as real kernels see it: the router that advertises itself, neighbours from records, duplicate
//! addresses, what the router says when it cannot go on, and the path's MTU.

mod world;

use world::traffic;
use world::{Daemon, HostToml, Policy, Vm, World};

/// The gateway's link-local address in every subnet.
const ROUTER: &str = "fe80::57:45ff:fe49:5201";

/// Blue has two subnets: `a` in web and `b` in db on one host, `c` in db and `g` in web on the other, which forwards to
/// where 2001:db8::8 is. Red has `r` and `s` in web, with the addresses of `a` and `g`.
struct Networks {
    one: Daemon,
    two: Daemon,
    vms: [Vm; 4],
    red: [Vm; 2],
}

fn policy(vms: &[Vm; 4], red: &[Vm; 2], route: bool) -> Policy {
    let [a, b, c, g] = vms;
    let mut policy = Policy::two_hosts()
        .tenant("blue", 5001, "fd00:1::/64")
        .subnet("blue2", 5002, "fd00:2::/64");
    if route {
        policy = policy.route("::/0", "fd00:1::254");
    }
    policy
        .tenant("red", 6001, "fd00:1::/64")
        .vm(a, "h1", "blue", 1)
        .vm(b, "h1", "blue2", 2)
        .vm(c, "h2", "blue2", 1)
        .vm(g, "h2", "blue", 2)
        .with("allowed_sources = [\"2001:db8::/32\"]")
        .vm(&red[0], "h1", "red", 3)
        .vm(&red[1], "h2", "red", 3)
}

fn networks(world: &mut World, uplink_mtu: u32) -> Networks {
    let (h1, h2) = world.two_hosts();
    let mac = |last| [2, 0, 0, 0, 1, last];
    let vms = [
        world.vm6(&h1, "a", mac(1), "fd00:1::11"),
        world.vm6(&h1, "b", mac(2), "fd00:2::12"),
        world.vm6(&h2, "c", mac(3), "fd00:2::13"),
        world.vm6(&h2, "g", mac(4), "fd00:1::254"),
    ];
    let red = [
        world.vm6(&h1, "r", mac(1), "fd00:1::11"),
        world.vm6(&h2, "s", mac(4), "fd00:1::254"),
    ];
    let host = |name, pa, core| {
        let mut host = HostToml::new(name, pa, core);
        let mtu = format!("mtu = {uplink_mtu}");
        host.uplink = host.uplink.replace("mtu = 1600", &mtu);
        host
    };
    let text = policy(&vms, &red, false);
    let one = world.daemon(&h1, &host("h1", "192.168.50.1/24", 0), &text);
    let two = world.daemon(&h2, &host("h2", "192.168.50.2/24", 1), &text);
    one.wait_resolved();
    two.wait_resolved();
    for vm in vms.iter().chain(&red) {
        vm.wake6();
    }
    Networks { one, two, vms, red }
}

/// What ping(8) says.
fn said(from: &Vm, args: &str) -> String {
    let output = from.ns.try_run(&format!("ping -6 -n -c 1 -W 2 {args}"));
    world::text(&output.stdout)
}

#[test]
fn vms_find_their_router_and_one_another_here_and_across() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let net = networks(&mut world, 1600);
    let [a, b, c, g] = &net.vms;
    for (from, to) in [(a, b), (b, a), (a, c), (c, a), (b, g), (g, c), (a, g)] {
        traffic::all_answered(&from.ns, 3, &to.ca);
    }
    // A hop less between subnets, none within one.
    assert!(said(a, &b.ca).contains("ttl=63"), "{}", said(a, &b.ca));
    assert!(said(a, &c.ca).contains("ttl=63"), "{}", said(a, &c.ca));
    assert!(said(a, &g.ca).contains("ttl=64"), "{}", said(a, &g.ca));
    traffic::tcp(&a.ns, &c.ns, &c.ca, 1, 4 << 20);
    traffic::tcp(&c.ns, &a.ns, &a.ca, 2, 4 << 20);
    traffic::tcp(&a.ns, &b.ns, &b.ca, 3, 4 << 20);
    traffic::tcp(&a.ns, &g.ns, &g.ca, 4, 4 << 20);
    for vm in [a, b, c, g] {
        // The gateway answers to every subnet's name of it, and to its own in this one.
        for gateway in ["fd00:1::1", "fd00:2::1", &format!("{ROUTER}%eth0")] {
            traffic::all_answered(&vm.ns, 3, gateway);
        }
        // It is a router, and one for ever, since it does not advertise itself unasked.
        let route = vm.ns.must("ip -6 route show default");
        assert!(
            route.contains(&format!("via {ROUTER} dev eth0 proto ra")),
            "{route}"
        );
        assert!(!route.contains("expires"), "{route}");
        let known = vm.ns.must("ip -6 neigh show nud all");
        let router = known.lines().find(|line| line.starts_with(ROUTER));
        let router = router.unwrap_or_else(|| panic!("{known}"));
        assert!(
            router.contains("02:57:45:49:52:01") && router.contains("router"),
            "{known}"
        );
        // No address is made up.
        let addresses = vm.ns.must("ip -6 addr show dev eth0 scope global");
        assert_eq!(addresses.matches("inet6").count(), 1, "{addresses}");
    }
    // Red has the same addresses, and nothing of blue's.
    traffic::all_answered(&net.red[0].ns, 3, &net.red[1].ca);
    let other = said(&net.red[0], &c.ca);
    assert!(other.contains("No route"), "{other}");
    world.finish([net.one, net.two]);
}

#[test]
fn the_gateway_says_why_it_cannot_go_on() {
    let Some(mut world) = World::new(&["traceroute"]) else {
        return;
    };
    let net = networks(&mut world, 1600);
    let [a, _, c, _] = &net.vms;
    let first = said(a, &format!("-t 1 {}", c.ca));
    assert!(
        first.contains("From fd00:1::1 ") && first.contains("Time exceeded: Hop limit"),
        "{first}"
    );
    let absent = said(a, "fd00:2::99");
    assert!(
        absent.contains("From fd00:1::1 ") && absent.contains("Address unreachable"),
        "{absent}"
    );
    let away = said(a, "2001:db8::8");
    assert!(
        away.contains("From fd00:1::1 ") && away.contains("No route"),
        "{away}"
    );
    // From its link-local address a VM gets nowhere but to its own link.
    let beyond = said(a, &format!("-I fe80::ff:fe00:101%eth0 {}", c.ca));
    assert!(beyond.contains("0 received"), "{beyond}");
    assert_eq!(net.one.dropped("ttl_expired"), 1);
    assert_eq!(net.one.dropped("host_unknown"), 1);
    assert_eq!(net.one.dropped("no_route"), 1);
    assert!(net.one.dropped("link_local") > 0);
    let route =
        a.ns.must(&format!("traceroute -6 -n -q 1 -N 1 -w 2 {}", c.ca));
    let hops: Vec<&str> = route
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(hops, ["fd00:1::1", "fd00:2::13"], "{route}");
    world.finish([net.one, net.two]);
}

#[test]
fn a_vm_learns_what_fits() {
    let Some(mut world) = World::new(&["tracepath"]) else {
        return;
    };
    // 1500 less 28 outer bytes and an inner Ethernet header.
    let net = networks(&mut world, 1500);
    let [a, _, c, g] = &net.vms;
    for to in [c, g] {
        traffic::all_answered(&a.ns, 3, &format!("-M do -s {} {}", 1458 - 48, to.ca));
        let more = said(a, &format!("-M do -s {} {}", 1458 - 47, to.ca));
        assert!(
            more.contains("From fd00:1::1 ") && more.contains("Packet too big: mtu=1458"),
            "{more}"
        );
        let learned = a.ns.must(&format!("ip -6 route get {}", to.ca));
        assert!(learned.contains("mtu 1458"), "{learned}");
    }
    // Nobody has told c.
    let path = c.ns.must(&format!("tracepath -6 -n {}", a.ca));
    assert!(path.contains("pmtu 1458"), "{path}");
    traffic::tcp(&g.ns, &a.ns, &a.ca, 1, 4 << 20);
    traffic::tcp(&a.ns, &c.ns, &c.ca, 2, 4 << 20);
    assert!(net.one.dropped("too_big") >= 2 && net.two.dropped("too_big") >= 1);
    world.finish([net.one, net.two]);
}

#[test]
fn a_duplicate_address_is_found_and_not_used() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let net = networks(&mut world, 1600);
    let [a, b, _, g] = &net.vms;
    // The other's, which is here or on the other host, and the gateway's.
    for (vm, taken) in [(g, "fd00:1::11"), (a, "fd00:1::254"), (a, "fd00:1::1")] {
        vm.ns.ip(&format!("addr add {taken}/64 dev eth0"));
        world::wait_until("the duplicate is found", || {
            let shown = vm.ns.must("ip -6 addr show dev eth0");
            let mut lines = shown.lines();
            lines.any(|line| line.contains(&format!("{taken}/64")) && line.contains("dadfailed"))
        });
        vm.ns.ip(&format!("addr del {taken}/64 dev eth0"));
    }
    // In another subnet it is no duplicate: it is spoofed.
    b.ns.ip("addr add fd00:2::11/64 dev eth0");
    world::wait_until("no duplicate", || {
        let shown = b.ns.must("ip -6 addr show dev eth0");
        !shown.contains("tentative") && !shown.contains("dadfailed")
    });
    assert!(said(b, &format!("-I fd00:2::11 {}", a.ca)).contains("0 received"));
    assert!(net.one.dropped("spoofed_ip") + net.one.dropped("spoofed_arp") > 0);
    traffic::all_answered(&a.ns, 3, &g.ca);
    world.finish([net.one, net.two]);
}

#[test]
fn a_customer_route_leads_out_by_a_gateway_vnic() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let net = networks(&mut world, 1600);
    let [a, b, c, g] = &net.vms;
    g.ns.ip("addr add 2001:db8::8/128 dev lo");
    let apply = |route| {
        let policy = policy(&net.vms, &net.red, route);
        for daemon in [&net.one, &net.two] {
            daemon.apply(&policy);
        }
    };
    apply(true);
    for vm in [a, b, c] {
        traffic::all_answered(&vm.ns, 3, "2001:db8::8");
    }
    let red = said(&net.red[0], "2001:db8::8");
    assert!(red.contains("No route"), "{red}");
    let shown = net.one.json(&["get", "route", "blue/::/0"]);
    assert_eq!(shown[0]["via"], "fd00:1::254", "{shown}");
    apply(false);
    assert!(said(b, "2001:db8::8").contains("No route"));
    world.finish([net.one, net.two]);
}
