//! tshark judges what leaves an uplink of IPv6: NVGRE (RFC 7637 §3.2), neighbour discovery and multicast listener reports,
//! field by field, nothing malformed, every checksum right.

mod world;

use std::collections::BTreeSet;
use world::frames::{self, BROADCAST};
use world::peers::{tshark, wait_captured, wrongs};
use world::{HostToml, Policy, World, traffic};

#[test]
fn what_leaves_an_uplink_of_ipv6_is_right_to_the_letter() {
    let Some(mut world) = World::new(&["tcpdump", "tshark"]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let mut policy = Policy::default()
        .host("h1", "fd00:50::1")
        .host("h2", "fd00:50::2")
        .tenant("blue", 0x00ab_cdef, "10.1.0.0/24,fd01::/64");
    let mut vms = Vec::new();
    for (host, number) in [(&h1, 1), (&h2, 2)] {
        let mac = [2, 0, 0, 0, 1, number];
        let mut vm = world.vm(
            host,
            &format!("vm{number}"),
            mac,
            &format!("10.1.0.1{number}/24"),
        );
        vm.ns.sysctl("net.ipv6.conf.eth0.router_solicitations=0 net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0");
        vm.ns
            .ip(&format!("addr add fd01::1{number}/64 dev eth0 nodad"));
        let v4 = vm.ca.clone();
        vm.ca += &format!(",fd01::1{number}");
        policy = policy.vm(&vm, &format!("h{number}"), "blue", 1);
        vm.ca = v4;
        vms.push(vm);
    }
    // What each host sends is captured where it arrives: the driver sends past the taps of its own interface.
    let files = [world.path("from-h1.pcap"), world.path("from-h2.pcap")];
    let mut taps = [
        world.tcpdump(&h2, "up0", &files[0]),
        world.tcpdump(&h1, "up0", &files[1]),
    ];
    let one = world.daemon(&h1, &HostToml::new("h1", "fd00:50::1/64", 0), &policy);
    let two = world.daemon(&h2, &HostToml::new("h2", "fd00:50::2/64", 1), &policy);
    one.wait_resolved();
    two.wait_resolved();
    let [from, to] = &vms[..] else { unreachable!() };
    traffic::reaches(&from.ns, &to.ca);
    traffic::all_answered(&from.ns, 5, "-6 fd01::12");
    traffic::tcp(&from.ns, &to.ns, &to.ca, 1, 300_000);
    let speaker = traffic::Says::start(&to.ns, &to.ca, 7001, "answer", "question");
    for port in 20_000..20_016 {
        let socket = traffic::udp_socket(&from.ns, &from.ca, port);
        traffic::udp_ask(&socket, &to.ca, 7001, "question");
    }
    drop(speaker);
    from.raw()
        .send(&frames::marked(BROADCAST, from.mac, "to everyone"));
    wait_captured(&files[0], "gre && eth.type == 0x88b5", 1);
    taps.iter_mut().for_each(|tap| tap.end());

    // Who hears the other's question need not ask: one of the two has asked, and one has answered.
    let (mut asked, mut answered) = (false, false);
    for (file, own, far) in [
        (&files[0], "fd00:50::1", "fd00:50::2"),
        (&files[1], "fd00:50::2", "fd00:50::1"),
    ] {
        // NVGRE, or what a neighbour says: solicitations, advertisements, reports of groups.
        let other = "!gre && !(icmpv6.type == 135 || icmpv6.type == 136 || icmpv6.type == 143)";
        assert_eq!(
            tshark(file, &["-Y", other]),
            "",
            "something else left the uplink"
        );
        for wrong in [
            "_ws.malformed",
            "_ws.expert.group == 0x07000000",    // malformed
            "_ws.expert.group == 0x01000000",    // checksum
            "_ws.expert.severity == 0x00800000", // error
            "tcp.checksum.status == \"Bad\" || udp.checksum.status == \"Bad\" || icmp.checksum.status == \"Bad\" || icmpv6.checksum.status == \"Bad\"",
            "gre && vlan",
            "ipv6.fraghdr",
        ] {
            assert_eq!(wrongs(file, wrong), "", "{wrong}");
        }
        // The judge does check: what it looked at is there.
        for right in [
            "!gre && icmpv6.type == 135 && icmpv6.checksum.status == \"Good\"",
            "!gre && icmpv6.type == 143 && icmpv6.checksum.status == \"Good\"",
            "gre && tcp.checksum.status == \"Good\"",
        ] {
            assert_ne!(tshark(file, &["-Y", right]), "", "{right}");
        }
        let rows = |filter: &str, fields: &[&str]| -> BTreeSet<String> {
            let mut args = vec!["-Y", filter, "-T", "fields", "-E", "occurrence=f"];
            fields.iter().for_each(|field| args.extend(["-e", field]));
            tshark(file, &args).lines().map(str::to_owned).collect()
        };
        let outer = [
            "ipv6.src",
            "ipv6.dst",
            "ipv6.nxt",
            "ipv6.hlim",
            "gre.flags_and_version",
            "gre.proto",
        ];
        let wanted = format!("{own}\t{far}\t47\t64\t0x2000\t0x6558");
        assert_eq!(rows("gre", &outer), BTreeSet::from([wanted]));
        // The flow label is there, and stays with its flow.
        assert!(!rows("gre", &["ipv6.flow"]).contains("0x00000000"));
        let flows = rows(
            "gre && udp",
            &["udp.srcport", "udp.dstport", "ipv6.flow", "gre.key"],
        );
        let labels: BTreeSet<&str> = flows
            .iter()
            .map(|row| row.split('\t').nth(2).unwrap())
            .collect();
        assert_eq!((flows.len(), labels.len()), (16, 16), "{flows:?}");
        assert!(
            flows
                .iter()
                .all(|row| row.split('\t').nth(3).unwrap().starts_with("0xabcdef"))
        );
        // RFC 4861 §7.2.2, RFC 4862 §5.4.2: from its own address with its MAC, and once from nobody without.
        let asks = rows(
            "!gre && icmpv6.type == 135",
            &[
                "ipv6.src",
                "ipv6.dst",
                "ipv6.hlim",
                "icmpv6.nd.ns.target_address",
                "icmpv6.opt.type",
            ],
        );
        let group = |address: &str| format!("ff02::1:ff00:{}", address.rsplit(':').next().unwrap());
        assert!(
            asks.contains(&format!("::\t{}\t255\t{own}\t", group(own))),
            "{asks:?}"
        );
        asked |= asks.contains(&format!("{own}\t{}\t255\t{far}\t1", group(far)));
        // §7.2.4: solicited, overriding, no router, with the MAC.
        let says = rows(
            "!gre && icmpv6.type == 136",
            &[
                "ipv6.src",
                "ipv6.hlim",
                "icmpv6.nd.na.target_address",
                "icmpv6.nd.na.flag",
                "icmpv6.opt.type",
            ],
        );
        let wanted = format!("{own}\t255\t{own}\t0x60000000\t2");
        assert!(says.iter().all(|row| *row == wanted), "{says:?}");
        answered |= !says.is_empty();
        // RFC 3810 §5.2: from the link-local address, with a router alert, hop limit 1.
        let reports = rows(
            "!gre && icmpv6.type == 143",
            &[
                "ipv6.dst",
                "ipv6.hlim",
                "ipv6.opt.router_alert",
                "icmpv6.mldr.mar.multicast_address",
            ],
        );
        assert!(
            reports.contains(&format!("ff02::16\t1\t0\t{}", group(own))),
            "{reports:?}"
        );
    }
    assert!(asked && answered);
    world.finish([one, two]);
}
