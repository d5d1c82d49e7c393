//! The provider network is real: PAs by ARP both ways, a gateway, static neighbours, a VLAN, a PA that is silent.

mod world;

use world::frames::{self, ARP, BROADCAST};
use world::peers::{self, tshark};
use world::raw::Raw;
use world::traffic;
use world::{Daemon, HostToml, Ns, Policy, Vm, World, wait_until};

const MAC1: [u8; 6] = [2, 0, 0, 0, 1, 1];
const MAC2: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// A VM on each of two hosts and the policy that says so, with these PAs.
fn vms(world: &mut World, hosts: [&Ns; 2], pas: [&str; 2]) -> ([Vm; 2], Policy) {
    let a = world.vm(hosts[0], "a", MAC1, "10.1.0.11/24");
    let c = world.vm(hosts[1], "c", MAC2, "10.1.0.12/24");
    let policy = Policy::default()
        .host("h1", pas[0])
        .host("h2", pas[1])
        .tenant("blue", 5001, "10.1.0.0/24");
    let policy = policy.vm(&a, "h1", "blue", 1).vm(&c, "h2", "blue", 1);
    ([a, c], policy)
}

fn with(name: &str, pa: &str, core: u32, lines: &str) -> HostToml {
    let mut host = HostToml::new(name, pa, core);
    host.uplink += lines;
    host
}

/// The MAC that a daemon knows for a PA, if it knows one.
fn neighbour(daemon: &Daemon, pa: &str) -> Option<String> {
    daemon.json(&["get", "peer", pa])[0]["status"]["mac"]
        .as_str()
        .map(str::to_owned)
}

#[test]
fn provider_addresses_are_asked_for_and_answered() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    // The far end is a kernel, which is a stranger to both.
    let (h1, kernel) = (world.ns("h1"), world.ns("kernel"));
    world.veth((&h1, "up0"), (&kernel, "up0"), 1600);
    kernel.ip("addr add 192.168.50.2/24 dev up0");
    kernel.ip("link set dev up0 address 02:bb:00:00:00:02");
    let other = world.ns("other");
    world.veth((&other, "up0"), (&other, "up1"), 1600);
    let ([a, _], policy) = vms(&mut world, [&h1, &other], ["192.168.50.1", "192.168.50.2"]);
    let ear = Raw::open(&kernel, "up0", [2, 0xbb, 0, 0, 0, 2]);
    let one = world.daemon(&h1, &with("h1", "192.168.50.1/24", 0, ""), &policy);
    // We ask, the kernel answers.
    let heard = ear.wait("a question about the PA", frames::is_arp_request);
    let ask = heard.last().unwrap();
    assert_eq!(
        (&ask[..6], &ask[28..32], &ask[38..42]),
        (
            &BROADCAST[..],
            &[192, 168, 50, 1][..],
            &[192, 168, 50, 2][..]
        )
    );
    one.wait_resolved();
    assert_eq!(
        neighbour(&one, "192.168.50.2").as_deref(),
        Some("02:bb:00:00:00:02")
    );
    // The kernel asks, we answer. It gets no ping answer: a PA speaks NVGRE only, and that is counted.
    let before = one.dropped("outer_protocol");
    kernel.try_run("ping -n -c 2 -i 0.1 -W 0.2 192.168.50.1");
    let uplink = one.json(&["get", "uplink", "up0"])[0]["status"]["mac"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = kernel.must("ip neigh show 192.168.50.1");
    assert!(shown.contains(&uplink), "{shown} but {uplink}");
    wait_until("the pings are counted", || {
        one.dropped("outer_protocol") == before + 2
    });
    // A question about somebody else is not ours to answer.
    let stray = frames::arp(
        1,
        ([2, 0xbb, 0, 0, 0, 2], [192, 168, 50, 2].into()),
        ([0; 6], [192, 168, 50, 77].into()),
    );
    let strays = one.dropped("underlay_arp");
    Raw::open(&kernel, "up0", [2, 0xbb, 0, 0, 0, 2]).send(&frames::ethernet(
        BROADCAST,
        [2, 0xbb, 0, 0, 0, 2],
        ARP,
        &stray,
    ));
    wait_until("the stray question is counted", || {
        one.dropped("underlay_arp") == strays + 1
    });
    // A tenant's packet leaves towards the kernel's MAC, with the PAs outside.
    a.ns.ip(&format!(
        "neigh replace 10.1.0.12 lladdr {} dev eth0",
        world::mac(MAC2)
    ));
    ear.heard();
    a.ns.try_run("ping -n -c 1 -W 0.1 10.1.0.12");
    let heard = ear.wait("NVGRE", |frame| {
        frame[12..14] == [8, 0] && frame.get(23) == Some(&47)
    });
    let nvgre = heard.last().unwrap();
    assert_eq!(
        (&nvgre[..6], &nvgre[26..34]),
        (
            &[2, 0xbb, 0, 0, 0, 2][..],
            &[192, 168, 50, 1, 192, 168, 50, 2][..]
        )
    );
    world.finish([one]);
}

#[test]
fn peers_behind_a_router_are_reached_by_the_gateway() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2, router) = world.routed_hosts();
    let ([a, c], policy) = vms(&mut world, [&h1, &h2], ["192.168.51.1", "192.168.52.1"]);
    let gateway = |net: u8| format!("gateway = \"192.168.{net}.254\"\n");
    let one = world.daemon(
        &h1,
        &with("h1", "192.168.51.1/24", 0, &gateway(51)),
        &policy,
    );
    let two = world.daemon(
        &h2,
        &with("h2", "192.168.52.1/24", 1, &gateway(52)),
        &policy,
    );
    one.wait_resolved();
    two.wait_resolved();
    let peer = one.json(&["get", "peer", "192.168.52.1"]);
    assert_eq!(peer[0]["next_hop"], "192.168.51.254");
    traffic::reaches(&a.ns, &c.ca);
    traffic::reaches(&c.ns, &a.ca);
    traffic::tcp(&a.ns, &c.ns, &c.ca, 1, 2 << 20);
    let forwarded = router.must("cat /proc/net/snmp");
    let ip: Vec<Vec<&str>> = forwarded
        .lines()
        .filter(|line| line.starts_with("Ip:"))
        .map(|line| line.split(' ').collect())
        .collect();
    let at = ip[0]
        .iter()
        .position(|name| *name == "ForwDatagrams")
        .unwrap();
    assert!(
        ip[1][at].parse::<u64>().unwrap() > 40,
        "the router forwarded it: {}",
        ip[1][at]
    );
    // A peer in another prefix and no gateway: refused, with the host's name.
    let third = world.ns("h3");
    let spare = world.ns("spare");
    world.veth((&third, "up0"), (&spare, "up0"), 1600);
    let lonely = Policy::default()
        .host("h3", "192.168.53.1")
        .host("h2", "192.168.52.1")
        .tenant("blue", 5001, "10.1.0.0/24");
    let lonely = lonely.vnic(
        "x",
        "h3",
        "blue",
        "02:00:00:00:01:07",
        "10.1.0.17",
        "net_null1,no-rx=1",
    );
    let three = world.daemon(&third, &with("h3", "192.168.53.1/24", 0, ""), &lonely);
    let refused = three.try_apply(
        &lonely
            .vnic("y", "h2", "blue", "02:00:00:00:01:08", "10.1.0.18", "")
            .text(),
        &[],
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        world::text(&refused.stderr).contains("host h2")
            && world::text(&refused.stderr).contains("gateway"),
        "{}",
        world::text(&refused.stderr)
    );
    world.finish([one, two, three]);
}

#[test]
fn a_static_neighbour_is_never_asked() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let ([a, c], policy) = vms(&mut world, [&h1, &h2], ["192.168.50.1", "192.168.50.2"]);
    let fixed = [[2, 0xbb, 0, 0, 0, 1], [2, 0xbb, 0, 0, 0, 2]];
    let lines = |own: usize| {
        format!(
            "mac = \"{}\"\nneighbors = {{ \"192.168.50.{}\" = \"{}\" }}\n",
            world::mac(fixed[own]),
            2 - own,
            world::mac(fixed[1 - own])
        )
    };
    for (host, mac) in [(&h1, fixed[0]), (&h2, fixed[1])] {
        host.ip(&format!("link set dev up0 address {}", world::mac(mac)));
    }
    let ear = Raw::open(&h2, "up0", fixed[1]);
    let one = world.daemon(&h1, &with("h1", "192.168.50.1/24", 0, &lines(0)), &policy);
    let two = world.daemon(&h2, &with("h2", "192.168.50.2/24", 1, &lines(1)), &policy);
    assert_eq!(neighbour(&one, "192.168.50.2"), Some(world::mac(fixed[1])));
    traffic::reaches(&a.ns, &c.ca);
    let heard = ear.heard();
    assert!(
        heard.len() >= 10
            && heard
                .iter()
                .all(|frame| frame[..12] == [fixed[1], fixed[0]].concat())
    );
    assert!(
        heard.iter().all(|frame| frames::ethertype(frame) != ARP),
        "it asked"
    );
    world.finish([one, two]);
}

#[test]
fn a_vlan_on_the_uplink() {
    let Some(mut world) = World::new(&["tcpdump", "tshark"]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let ([a, c], policy) = vms(&mut world, [&h1, &h2], ["192.168.50.1", "192.168.50.2"]);
    let file = world.path("vlan.pcap");
    let mut tcpdump = world.tcpdump(&h2, "up0", &file);
    let one = world.daemon(
        &h1,
        &with("h1", "192.168.50.1/24", 0, "vlan = 77\n"),
        &policy,
    );
    let two = world.daemon(
        &h2,
        &with("h2", "192.168.50.2/24", 1, "vlan = 77\n"),
        &policy,
    );
    one.wait_resolved();
    two.wait_resolved();
    traffic::reaches(&a.ns, &c.ca);
    traffic::reaches(&c.ns, &a.ca);
    traffic::tcp(&a.ns, &c.ns, &c.ca, 1, 1 << 20);
    // The driver sends past the queueing discipline, where taps are: what is captured is what came from h1.
    peers::wait_captured(&file, "vlan.id == 77 && gre.key && icmp", 20);
    tcpdump.end();
    assert_eq!(
        tshark(&file, &["-Y", "!vlan || vlan.id != 77"]),
        "",
        "something left without the tag"
    );
    assert!(
        !tshark(&file, &["-Y", "vlan.id == 77 && arp.opcode == 2"]).is_empty(),
        "ARP travels in the VLAN"
    );
    // Untagged is refused and counted. A second tag inside is not the uplink's either.
    let mac = one.json(&["get", "uplink", "up0"])[0]["status"]["mac"]
        .as_str()
        .unwrap()
        .to_owned();
    let to: Vec<u8> = mac
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16).unwrap())
        .collect();
    let before = one.dropped("outer_vlan");
    let wire = Raw::open(&h2, "up0", [2, 9, 9, 9, 9, 9]);
    wire.send(&frames::ethernet(
        to.try_into().unwrap(),
        [2, 9, 9, 9, 9, 9],
        0x0800,
        &[0x45; 46],
    ));
    wait_until("an untagged frame is counted", || {
        one.dropped("outer_vlan") == before + 1
    });
    world.finish([one, two]);
}

#[test]
fn a_silent_address_is_a_named_drop_and_is_found_when_it_speaks() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let ([a, c], policy) = vms(&mut world, [&h1, &h2], ["192.168.50.1", "192.168.50.2"]);
    let one = world.daemon(&h1, &with("h1", "192.168.50.1/24", 0, ""), &policy);
    assert_eq!((one.status().peers, one.status().peers_resolved), (1, 0));
    assert_eq!(neighbour(&one, "192.168.50.2"), None);
    assert_eq!(
        traffic::pinged(&a.ns, &format!("-c 5 -i 0.05 -W 0.5 {}", c.ca)),
        0
    );
    // ARP goes on once a second; between two questions everything stands still.
    one.assert_conserved();
    assert_eq!(one.dropped("pa_unresolved"), 5, "{:?}", one.drops());
    let row = one
        .drops()
        .into_iter()
        .find(|row| row.reason == "pa_unresolved")
        .unwrap();
    assert_eq!(
        (row.vnic.as_deref(), row.tenant.as_deref()),
        (Some("a"), Some("blue"))
    );
    assert_eq!(
        one.json(&["get", "vnic", "c"])[0]["status"]["resolved"],
        false
    );
    // It comes up: found without anyone's help, and traffic flows.
    let two = world.daemon(&h2, &with("h2", "192.168.50.2/24", 1, ""), &policy);
    one.wait_resolved();
    two.wait_resolved();
    traffic::reaches(&a.ns, &c.ca);
    assert_eq!(one.dropped("pa_unresolved"), 5);
    // It goes and comes back with another MAC: found again.
    let folder = two.folder.clone();
    let old = neighbour(&one, "192.168.50.2");
    two.end();
    h2.ip("link set dev up0 address 02:bb:00:00:00:99");
    let two = Daemon::start(&h2, &folder);
    wait_until("the new MAC is known", || {
        neighbour(&one, "192.168.50.2") != old
    });
    two.wait_resolved();
    traffic::reaches(&a.ns, &c.ca);
    world.finish([one, two]);
}
