//! VMs with an MTU of 1500 over a provider network of 1500: what no longer fits is cut, or its sender is told what does.

mod world;

use world::traffic;
use world::{Daemon, HostToml, Policy, Vm, World};

/// What fits: 1500 less 28 outer bytes and an inner Ethernet header.
const MTU: u32 = 1458;

/// `a` here, and on the other host `b` in the same subnet and `c` in another.
fn three(world: &mut World) -> (Daemon, Daemon, [Vm; 3]) {
    let (h1, h2) = world.two_hosts();
    let mac = |last| [2, 0, 0, 0, 1, last];
    let vms = [
        world.vm(&h1, "a", mac(1), "10.1.0.11/24"),
        world.vm(&h2, "b", mac(2), "10.1.0.12/24"),
        world.vm(&h2, "c", mac(3), "10.2.0.13/24"),
    ];
    for (vm, gateway) in vms.iter().zip(["10.1.0.1", "10.1.0.1", "10.2.0.1"]) {
        vm.ns.ip(&format!("route add default via {gateway}"));
    }
    let policy = Policy::two_hosts()
        .tenant("blue", 5001, "10.1.0.0/24")
        .subnet("blue2", 5002, "10.2.0.0/24")
        .vm(&vms[0], "h1", "blue", 1)
        .vm(&vms[1], "h2", "blue", 1)
        .vm(&vms[2], "h2", "blue2", 2);
    let host = |name, pa, core| {
        let mut host = HostToml::new(name, pa, core);
        host.uplink = host.uplink.replace("mtu = 1600", "mtu = 1500");
        host
    };
    let one = world.daemon(&h1, &host("h1", "192.168.50.1/24", 0), &policy);
    let two = world.daemon(&h2, &host("h2", "192.168.50.2/24", 1), &policy);
    one.wait_resolved();
    two.wait_resolved();
    (one, two, vms)
}

#[test]
fn a_vm_learns_what_fits_and_what_may_be_cut_is_cut() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, b, c]) = three(&mut world);
    for to in [&b, &c] {
        // May be cut, and was by the VM's own kernel; net_af_packet asks for whole packets (PACKET_FANOUT_FLAG_DEFRAG),
        // as far as its ring frame holds them. The switch cuts, the receiver's kernel puts together.
        traffic::all_answered(&a.ns, 3, &format!("-M dont -s 1900 {}", to.ca));
        // Must not: as much as fits, and a byte more.
        let fits = MTU - 28;
        traffic::all_answered(&a.ns, 3, &format!("-M do -s {fits} {}", to.ca));
        let output = a.ns.try_run(&format!(
            "ping -n -c 1 -W 2 -M do -s {} {}",
            fits + 1,
            to.ca
        ));
        let said = world::text(&output.stdout);
        assert!(
            said.contains("From 10.1.0.1")
                && said.contains(&format!("Frag needed and DF set (mtu = {MTU})")),
            "{said}"
        );
        let learned = a.ns.must(&format!("ip route get {}", to.ca));
        assert!(learned.contains(&format!("mtu {MTU}")), "{learned}");
    }
    assert_eq!(one.dropped("too_big"), 2);
    world.finish([one, two]);
}

#[test]
fn tcp_finds_its_segment_size_by_itself() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, b, c]) = three(&mut world);
    for (tag, to) in [(1, &b), (2, &c)] {
        traffic::tcp(&a.ns, &to.ns, &to.ca, tag, 4 << 20);
        traffic::tcp(&to.ns, &a.ns, &a.ca, tag + 2, 4 << 20);
    }
    assert!(one.dropped("too_big") > 0 && two.dropped("too_big") > 0);
    world.finish([one, two]);
}

/// The first host's uplink carries 1600, the second one's 1450, and the router between them says so.
#[test]
fn a_smaller_link_of_the_provider_network_is_found() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2, router) = world.routed_hosts();
    router.ip("link set right mtu 1450");
    let mac = |last| [2, 0, 0, 0, 1, last];
    let a = world.vm(&h1, "a", mac(1), "10.1.0.11/24");
    let b = world.vm(&h2, "b", mac(2), "10.1.0.12/24");
    let policy = Policy::default()
        .host("h1", "192.168.51.1")
        .host("h2", "192.168.52.1")
        .tenant("blue", 5001, "10.1.0.0/24")
        .vm(&a, "h1", "blue", 1)
        .vm(&b, "h2", "blue", 1);
    let host = |name, net: u8, core, mtu| {
        let mut host = HostToml::new(name, &format!("192.168.{net}.1/24"), core);
        host.uplink = host.uplink.replace("mtu = 1600", mtu);
        host.uplink += &format!("gateway = \"192.168.{net}.254\"\n");
        host
    };
    let one = world.daemon(&h1, &host("h1", 51, 0, "mtu = 1600"), &policy);
    let two = world.daemon(&h2, &host("h2", 52, 1, "mtu = 1450"), &policy);
    one.wait_resolved();
    two.wait_resolved();
    // 1450 less 42. The first that does not fit is lost to the router; from then on the VM is told.
    let fits = 1408 - 28;
    let probe = |size: u32| {
        let args = format!("ping -n -c 1 -W 1 -M do -s {size} {}", b.ca);
        world::text(&a.ns.try_run(&args).stdout)
    };
    probe(fits + 1);
    world::wait_until("the VM is told", || {
        probe(fits + 1).contains("Frag needed and DF set (mtu = 1408)")
    });
    traffic::all_answered(&a.ns, 3, &format!("-M do -s {fits} {}", b.ca));
    assert!(one.log().contains("no larger packets fit"), "{}", one.log());
    traffic::tcp(&a.ns, &b.ns, &b.ca, 1, 2 << 20);
    world.finish([one, two]);
}
