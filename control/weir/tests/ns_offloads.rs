//! VMs whose kernels leave checksums and segments to their device, over vhost-user: their TCP runs at GSO sizes, whole to a VM that
//! takes it so, cut before it is encapsulated, and MTUs are found as ever. And MSS clamping, seen where the handshake arrives.

mod world;

use std::sync::atomic::Ordering::Relaxed;
use world::guest::Guest;
use world::{Daemon, HostToml, Policy, Vm, World, traffic, wait_until};

const SIZE: usize = 8 << 20;

fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, last]
}

fn host(name: &str, pa: &str, core: u32, mtu: u32) -> HostToml {
    let mut host = HostToml::new(name, pa, core);
    host.uplink = host.uplink.replace("mtu = 1600", &format!("mtu = {mtu}"));
    host.dataplane = String::new();
    host
}

fn with_guest(policy: Policy, guest: &Guest, host: &str, addresses: &str) -> Policy {
    let vm = &guest.vm;
    policy.vnic(&vm.tap, host, "blue", &vm.mac(), addresses, &guest.attach())
}

fn plug(daemon: &Daemon, guest: &mut Guest) {
    guest.connect();
    let status = || daemon.json(&["get", "vnic", &guest.vm.tap])[0]["status"].clone();
    wait_until("the guest is there", || status()["link_up"] == true);
    assert_eq!(
        status()["offloads"],
        serde_json::json!(["checksum", "segments"])
    );
}

/// Nothing is dropped for what it is: only for what found no room.
fn assert_carried(daemon: &Daemon) {
    for reason in ["gso_unsupported", "truncated", "malformed", "oversize"] {
        assert_eq!(daemon.dropped(reason), 0, "{reason}");
    }
}

#[test]
fn on_one_host_it_passes_whole() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let h1 = world.ns("h1");
    let mut a = Guest::new(&mut world, "a", mac(1), "10.1.0.11/24");
    let mut b = Guest::new(&mut world, "b", mac(2), "10.1.0.12/24");
    let c = world.vm(&h1, "c", mac(3), "10.1.0.13/24");
    for (guest, address) in [(&a, "fd00::11/64"), (&b, "fd00::12/64")] {
        guest
            .ns()
            .sysctl("net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0");
        guest.ns().ip(&format!("addr add {address} dev eth0 nodad"));
    }
    let policy =
        Policy::default()
            .host("h1", "192.168.50.1")
            .tenant("blue", 5001, "10.1.0.0/24,fd00::/64");
    let policy = with_guest(policy, &a, "h1", "10.1.0.11,fd00::11");
    let policy = with_guest(policy, &b, "h1", "10.1.0.12,fd00::12").vm(&c, "h1", "blue", 1);
    let mut host = host("h1", "192.168.50.1/24", 0, 1600);
    host.uplink = "device = \"net_null0,no-rx=1\"\nprovider_addresses = [\"192.168.50.1/24\"]\nmac = \"02:bb:00:00:00:01\"\n".into();
    let daemon = world.daemon(&h1, &host, &policy);
    plug(&daemon, &mut a);
    plug(&daemon, &mut b);
    traffic::reaches(a.ns(), &b.vm.ca);
    for (tag, address) in [(1, "10.1.0.12"), (2, "fd00::12")] {
        let (passed, sent) = (daemon.vnic("b").gso_passed, a.sent_whole.load(Relaxed));
        traffic::tcp(a.ns(), b.ns(), address, tag, SIZE);
        let (b_got, a_got) = (daemon.vnic("b").gso_passed, daemon.vnic("a").gso_passed);
        assert!(b_got > passed && a_got > 0, "{b_got} {a_got}");
        assert!(a.sent_whole.load(Relaxed) > sent);
        assert!(b.got_whole.load(Relaxed) >= b_got);
    }
    assert_eq!(daemon.vnic("a").gso_segmented, 0);
    // To a veth's kernel behind af_packet it is cut, and checksums are finished.
    traffic::tcp(a.ns(), &c.ns, &c.ca, 3, SIZE);
    let stats = daemon.vnic("a");
    assert!(stats.gso_segmented > 0, "{stats:?}");
    assert_carried(&daemon);
    // What is on its way to a guest that has gone waits a second for another, and ends.
    drop(b);
    assert_eq!(traffic::pinged(a.ns(), "-c 3 -i 0.1 -W 1 10.1.0.12"), 0);
    daemon.standstill();
    assert!(daemon.dropped("tx_full") > 0);
    drop(a);
    world.finish([daemon]);
}

/// To a guest on another host in its subnet, by IPv6 too, and in another subnet, over uplinks of this MTU.
fn across(mtu: u32) {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let mut a = Guest::new(&mut world, "a", mac(1), "10.1.0.11/24");
    let mut b = Guest::new(&mut world, "b", mac(2), "10.1.0.12/24");
    let mut c = Guest::new(&mut world, "c", mac(3), "10.2.0.13/24");
    for (guest, address) in [(&a, "fd00::11/64"), (&b, "fd00::12/64")] {
        guest
            .ns()
            .sysctl("net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0");
        guest.ns().ip(&format!("addr add {address} dev eth0 nodad"));
    }
    for (guest, gateway) in [(&a, "10.1.0.1"), (&b, "10.1.0.1"), (&c, "10.2.0.1")] {
        guest.ns().ip(&format!("route add default via {gateway}"));
    }
    let policy = Policy::two_hosts()
        .tenant("blue", 5001, "10.1.0.0/24,fd00::/64")
        .subnet("blue2", 5002, "10.2.0.0/24");
    let policy = with_guest(policy, &a, "h1", "10.1.0.11,fd00::11");
    let policy = with_guest(policy, &b, "h2", "10.1.0.12,fd00::12");
    let policy = policy.vnic("c", "h2", "blue2", &c.vm.mac(), "10.2.0.13", &c.attach());
    let one = world.daemon(&h1, &host("h1", "192.168.50.1/24", 0, mtu), &policy);
    let two = world.daemon(&h2, &host("h2", "192.168.50.2/24", 1, mtu), &policy);
    one.wait_resolved();
    two.wait_resolved();
    plug(&one, &mut a);
    plug(&two, &mut b);
    plug(&two, &mut c);
    for (tag, guest, address) in [
        (1, &b, "10.1.0.12"),
        (2, &c, "10.2.0.13"),
        (3, &b, "fd00::12"),
    ] {
        let before = (one.vnic("a").gso_segmented, a.sent_whole.load(Relaxed));
        traffic::tcp(a.ns(), guest.ns(), address, tag, SIZE);
        let after = (one.vnic("a").gso_segmented, a.sent_whole.load(Relaxed));
        assert!(
            after.0 > before.0 && after.1 > before.1,
            "{before:?} {after:?}"
        );
    }
    assert!(two.vnic("b").gso_segmented > 0 && two.vnic("c").gso_segmented > 0);
    let told = one.dropped("too_big");
    assert_eq!(told > 0, mtu < 1542, "{told}");
    assert_carried(&one);
    assert_carried(&two);
    drop((a, b, c));
    world.finish([one, two]);
}

#[test]
fn across_hosts_it_is_cut_before_it_is_encapsulated() {
    across(1600);
}

/// The guest's kernel is told by ICMP, about a frame of many segments, what one of them may be.
#[test]
fn a_guest_learns_what_fits_all_the_same() {
    across(1500);
}

/// A device that computes checksums and knows no tunnels (net_tap) is asked for the inner one: a real kernel at the other end
/// takes the packets, and the switch has finished none.
#[test]
fn an_uplink_s_device_finishes_checksums_inside_nvgre() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2) = (world.ns("h1"), world.ns("h2"));
    world.veth((&h1, "right"), (&h2, "up0"), 1600);
    h1.ip("addr add 192.168.52.254/24 dev right");
    h1.sysctl("net.ipv4.ip_forward=1");
    let mut a = Guest::new(&mut world, "a", mac(1), "10.1.0.11/24");
    let b = world.vm(&h2, "b", mac(2), "10.1.0.12/24");
    let policy = Policy::default()
        .host("h1", "192.168.51.1")
        .host("h2", "192.168.52.1")
        .tenant("blue", 5001, "10.1.0.0/24");
    let policy = with_guest(policy, &a, "h1", "10.1.0.11").vm(&b, "h2", "blue", 1);
    // The driver takes no more.
    let mut first = host("h1", "192.168.51.1/24", 0, 1500);
    first.uplink = first
        .uplink
        .replace("net_af_packet0,iface=up0,framecnt=4096", "tap:weirup");
    first.uplink += "gateway = \"192.168.51.254\"\n";
    let mut second = host("h2", "192.168.52.1/24", 1, 1600);
    second.uplink += "gateway = \"192.168.52.254\"\n";
    let one = world.daemon(&h1, &first, &policy);
    h1.ip("link set weirup address 02:cc:00:00:00:01 up");
    h1.ip("addr add 192.168.51.254/24 dev weirup");
    let two = world.daemon(&h2, &second, &policy);
    one.wait_resolved();
    two.wait_resolved();
    plug(&one, &mut a);
    let uplink = one.json(&["get", "uplink"]);
    let offloads = &uplink[0]["status"]["offloads"];
    assert_eq!(
        *offloads,
        serde_json::json!(["checksum", "tunnel_checksum", "ipv4_checksum"])
    );
    traffic::tcp(a.ns(), &b.ns, &b.ca, 1, SIZE);
    let socket = traffic::udp_socket(&b.ns, &b.ca, 7300);
    let says = traffic::Says::start(a.ns(), &a.vm.ca, 7300, "from a", "from b");
    assert_eq!(
        traffic::udp_ask(&socket, &a.vm.ca, 7300, "from b"),
        "from a"
    );
    drop(says);
    assert_eq!(one.vnic("a").checksums_finished, 0);
    assert_carried(&one);
    drop(a);
    world.finish([one, two]);
}

/// The MSS that the first SYN says which arrives at `to` from `from`.
fn arriving_mss(from: &Vm, to: &Vm) -> u16 {
    let raw = to.raw();
    traffic::tcp(&from.ns, &to.ns, &to.ca, 1, 1 << 20);
    let mss = raw.heard().into_iter().find_map(|frame| {
        let is_tcp = frame[12..14] == [8, 0] && frame[23] == 6;
        let tcp = frame.get(14 + usize::from(frame[14] & 0x0f) * 4..)?;
        if !is_tcp || tcp[13] & 2 == 0 {
            return None;
        }
        let mut options = &tcp[20..usize::from(tcp[12] >> 4) * 4];
        while let [kind, length, rest @ ..] = options {
            match (kind, rest) {
                (1, _) => options = &options[1..],
                (2, [a, b, ..]) => return Some(u16::from_be_bytes([*a, *b])),
                _ => options = &options[usize::from(*length)..],
            }
        }
        None
    });
    mss.expect("a SYN with an MSS")
}

/// RFC 6691: 1500 less 28 outer bytes, an inner Ethernet header, IPv4's 20 and TCP's 20. Both handshakes say it, so that nothing
/// is ever too big; and where nobody asks for it all is as it was.
#[test]
fn an_mss_is_clamped_where_a_network_asks_for_it() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let a = world.vm(&h1, "a", mac(1), "10.1.0.11/24");
    let b = world.vm(&h2, "b", mac(2), "10.1.0.12/24");
    let policy = |network: &str| {
        let blue = Policy::two_hosts().tenant("blue", 5001, "10.1.0.0/24");
        let blue = blue.vm(&a, "h1", "blue", 1).vm(&b, "h2", "blue", 1);
        blue.network_lines("blue", network)
    };
    let clamped = policy("mss_clamp = true");
    let one = world.daemon(&h1, &host("h1", "192.168.50.1/24", 0, 1500), &clamped);
    let two = world.daemon(&h2, &host("h2", "192.168.50.2/24", 1, 1500), &clamped);
    one.wait_resolved();
    two.wait_resolved();
    assert_eq!(arriving_mss(&a, &b), 1418);
    assert_eq!((one.dropped("too_big"), two.dropped("too_big")), (0, 0));
    assert_eq!(one.vnic("a").mss_clamped, 1);
    assert_eq!(two.vnic("b").mss_clamped, 1, "its SYN-ACK");
    for daemon in [&one, &two] {
        let report = daemon.apply(&policy(""));
        assert_eq!(report.changed, ["vm_network blue"]);
    }
    assert_eq!(arriving_mss(&a, &b), 1460);
    assert!(one.dropped("too_big") > 0);
    assert_eq!(one.vnic("a").mss_clamped, 1, "and its counters went on");
    world.finish([one, two]);
}
