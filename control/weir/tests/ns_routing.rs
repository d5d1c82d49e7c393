//! The router of a VM network, as real kernels see it: between subnets on one host and across two, out by a gateway
//! vNIC, and what it says when it cannot go on.

mod world;

use std::time::Duration;
use world::traffic::{self, Load};
use world::{Daemon, HostToml, Policy, Vm, World};

/// Blue has two subnets: `a` in web and `b` in db on one host, `c` in db and `g` in web on the other, which forwards to
/// where 8.8.8.8 is. Red has `r` and `s` in web, with the addresses of `a` and `g`.
struct Networks {
    one: Daemon,
    two: Daemon,
    vms: [Vm; 4],
    red: [Vm; 2],
    policy: fn(&Networks, bool) -> Policy,
}

fn policy(vms: &[Vm; 4], red: &[Vm; 2], route: bool) -> Policy {
    let [a, b, c, g] = vms;
    let mut policy = Policy::two_hosts()
        .tenant("blue", 5001, "10.1.0.0/24")
        .subnet("blue2", 5002, "10.2.0.0/24");
    if route {
        policy = policy.route("0.0.0.0/0", "10.1.0.254");
    }
    policy
        .tenant("red", 6001, "10.1.0.0/24")
        .vm(a, "h1", "blue", 1)
        .vm(b, "h1", "blue2", 2)
        .vm(c, "h2", "blue2", 1)
        .vm(g, "h2", "blue", 2)
        .with("allowed_sources = [\"0.0.0.0/0\"]")
        .vm(&red[0], "h1", "red", 3)
        .vm(&red[1], "h2", "red", 3)
}

fn networks(world: &mut World) -> Networks {
    let (h1, h2) = world.two_hosts();
    let mac = |last| [2, 0, 0, 0, 1, last];
    let vms = [
        world.vm(&h1, "a", mac(1), "10.1.0.11/24"),
        world.vm(&h1, "b", mac(2), "10.2.0.12/24"),
        world.vm(&h2, "c", mac(3), "10.2.0.13/24"),
        world.vm(&h2, "g", mac(4), "10.1.0.254/24"),
    ];
    let red = [
        world.vm(&h1, "r", mac(1), "10.1.0.11/24"),
        world.vm(&h2, "s", mac(4), "10.1.0.254/24"),
    ];
    for vm in vms.iter().chain(&red) {
        let gateway = match vm.ca.starts_with("10.1.") {
            true => "10.1.0.1",
            false => "10.2.0.1",
        };
        vm.ns.ip(&format!("route add default via {gateway}"));
    }
    vms[3].ns.ip("addr add 8.8.8.8/32 dev lo");
    vms[3].ns.ip("link set lo up");
    let text = policy(&vms, &red, false);
    let one = world.daemon(&h1, &HostToml::new("h1", "192.168.50.1/24", 0), &text);
    let two = world.daemon(&h2, &HostToml::new("h2", "192.168.50.2/24", 1), &text);
    one.wait_resolved();
    two.wait_resolved();
    Networks {
        one,
        two,
        vms,
        red,
        policy: |net, route| policy(&net.vms, &net.red, route),
    }
}

/// What ping(8) says.
fn said(from: &Vm, args: &str) -> String {
    let output = from.ns.try_run(&format!("ping -n -c 1 -W 2 {args}"));
    world::text(&output.stdout)
}

#[test]
fn subnets_reach_one_another_here_and_across() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let net = networks(&mut world);
    let [a, b, c, g] = &net.vms;
    for (from, to) in [(a, b), (b, a), (a, c), (c, a), (b, g), (g, c)] {
        traffic::reaches(&from.ns, &to.ca);
    }
    // One hop: a TTL less.
    assert!(said(a, &b.ca).contains("ttl=63"), "{}", said(a, &b.ca));
    assert!(said(a, &c.ca).contains("ttl=63"), "{}", said(a, &c.ca));
    traffic::tcp(&a.ns, &c.ns, &c.ca, 1, 4 << 20);
    traffic::tcp(&c.ns, &a.ns, &a.ca, 2, 4 << 20);
    traffic::tcp(&a.ns, &b.ns, &b.ca, 3, 4 << 20);
    // The gateway is there on every host, in every subnet, by one MAC.
    for vm in [a, b, c, g] {
        for gateway in ["10.1.0.1", "10.2.0.1"] {
            traffic::reaches(&vm.ns, gateway);
        }
        let known = vm.ns.must("ip neigh show nud all");
        assert!(known.contains("02:57:45:49:52:01"), "{known}");
    }
    world.finish([net.one, net.two]);
}

#[test]
fn the_gateway_says_why_it_cannot_go_on() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let net = networks(&mut world);
    let [a, _, c, _] = &net.vms;
    let first = said(a, &format!("-t 1 {}", c.ca));
    assert!(
        first.contains("From 10.1.0.1") && first.contains("Time to live exceeded"),
        "{first}"
    );
    let second = said(a, &format!("-t 2 {}", c.ca));
    assert!(second.contains("1 received"), "{second}");
    let absent = said(a, "10.2.0.99");
    assert!(
        absent.contains("From 10.1.0.1") && absent.contains("Destination Host Unreachable"),
        "{absent}"
    );
    let away = said(a, "8.8.8.8");
    assert!(
        away.contains("From 10.1.0.1") && away.contains("Destination Net Unreachable"),
        "{away}"
    );
    assert_eq!(net.one.dropped("ttl_expired"), 1);
    assert_eq!(net.one.dropped("host_unknown"), 1);
    assert_eq!(net.one.dropped("no_route"), 1);
    world.finish([net.one, net.two]);
}

#[test]
fn a_customer_route_leads_out_by_a_gateway_vnic_and_only_its_own_network() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let net = networks(&mut world);
    let [a, b, c, _] = &net.vms;
    let daemons = [&net.one, &net.two];
    let apply = |route| {
        let policy = (net.policy)(&net, route);
        daemons
            .iter()
            .for_each(|daemon| drop(daemon.apply(&policy)));
    };
    assert_eq!(traffic::ping(&a.ns, "8.8.8.8", 1), 0);
    // Traffic that needs no route goes on while routes come and go.
    let load = Load::start(&a.ns, &c.ns, &c.ca, "blue", Duration::from_millis(1));
    for _ in 0..3 {
        apply(true);
        for vm in [a, b, c] {
            traffic::reaches(&vm.ns, "8.8.8.8");
        }
        // Red has the same addresses, no such route, and a VM with the next hop's address.
        let red = said(&net.red[0], "8.8.8.8");
        assert!(red.contains("Destination Net Unreachable"), "{red}");
        let other = said(&net.red[0], &c.ca);
        assert!(other.contains("Destination Net Unreachable"), "{other}");
        traffic::reaches(&net.red[0].ns, &net.red[1].ca);
        apply(false);
        assert_eq!(traffic::ping(&b.ns, "8.8.8.8", 1), 0);
    }
    let load = load.end();
    let missed: u64 = daemons.iter().map(|d| d.dropped("port_missed")).sum();
    assert_eq!(load.strange, 0);
    assert!(
        load.sent - load.received <= missed,
        "{load:?}, {missed} missed"
    );
    world.finish([net.one, net.two]);
}
