//! tshark judges what leaves the uplink: NVGRE as RFC 7637 has it, field by field, nothing malformed, every
//! checksum right, DF set, and a FlowID that tells flows apart and stays with its flow.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use world::frames::{self, BROADCAST};
use world::peers::{tshark, wait_captured, wrongs};
use world::{HostToml, Policy, World, traffic};

#[test]
fn what_leaves_the_uplink_is_nvgre_to_the_letter() {
    let Some(mut world) = World::new(&["tcpdump", "tshark"]) else {
        return;
    };
    let (h1, h2) = world.two_hosts();
    let macs = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
    let mut policy = Policy::two_hosts();
    let mut vms = Vec::new();
    for (number, (tenant, vsid)) in [("blue", 5001), ("red", 0x00ab_cdef)]
        .into_iter()
        .enumerate()
    {
        policy = policy.tenant(tenant, vsid, "10.1.0.0/24,fd00::/64");
        for (i, host) in [&h1, &h2].into_iter().enumerate() {
            let mut vm = world.vm(
                host,
                &format!("{tenant}{}", i + 1),
                macs[i],
                &format!("10.1.0.1{}/24", i + 1),
            );
            vm.ns.sysctl("net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.eth0.accept_dad=0");
            vm.ns
                .ip(&format!("addr add fd00::1{}/64 dev eth0 nodad", i + 1));
            vm.ca += &format!(",fd00::1{}", i + 1);
            policy = policy.vm(&vm, &format!("h{}", i + 1), tenant, 1 + number as u32);
            vm.ca = vm.ca.split(',').next().unwrap().into();
            vms.push(vm);
        }
    }
    // What each host sends is captured where it arrives: the driver sends past the taps of its own interface.
    let files = [world.path("from-h1.pcap"), world.path("from-h2.pcap")];
    let mut taps = [
        world.tcpdump(&h2, "up0", &files[0]),
        world.tcpdump(&h1, "up0", &files[1]),
    ];
    let one = world.daemon(&h1, &HostToml::new("h1", "192.168.50.1/24", 0), &policy);
    let two = world.daemon(&h2, &HostToml::new("h2", "192.168.50.2/24", 1), &policy);
    one.wait_resolved();
    two.wait_resolved();

    for pair in vms.chunks(2) {
        let [from, to] = pair else { unreachable!() };
        traffic::reaches(&from.ns, &to.ca);
        traffic::all_answered(&from.ns, 5, "-6 fd00::12");
        traffic::tcp(&from.ns, &to.ns, &to.ca, 1, 300_000);
        // Unfinished checksums of the VM are finished before they leave: veth offers the offload.
        let speaker = traffic::Says::start(&to.ns, &to.ca, 7001, "answer", "question");
        for port in 20_000..20_016 {
            let socket = traffic::udp_socket(&from.ns, &from.ca, port);
            for _ in 0..4 {
                traffic::udp_ask(&socket, &to.ca, 7001, "question");
            }
        }
        drop(speaker);
        from.raw()
            .send(&frames::marked(BROADCAST, from.mac, "to everyone"));
    }
    wait_captured(&files[0], "gre && eth.type == 0x88b5", 2);
    one.assert_conserved();
    two.assert_conserved();
    taps.iter_mut().for_each(|tap| tap.end());

    for (file, own, far) in [
        (&files[0], "192.168.50.1", "192.168.50.2"),
        (&files[1], "192.168.50.2", "192.168.50.1"),
    ] {
        // Everything is ARP of the provider network or NVGRE, and the dissector finds nothing wrong in any layer.
        let arp_only = tshark(file, &["-Y", "!gre && !(arp && eth.type == 0x0806)"]);
        assert_eq!(arp_only, "", "something else left the uplink");
        for wrong in [
            "_ws.malformed",
            "_ws.expert.group == 0x07000000",    // malformed
            "_ws.expert.group == 0x01000000",    // checksum
            "_ws.expert.severity == 0x00800000", // error
            "ip.checksum.status == \"Bad\"",
            "tcp.checksum.status == \"Bad\" || udp.checksum.status == \"Bad\" || icmp.checksum.status == \"Bad\" || icmpv6.checksum.status == \"Bad\"",
            "gre && vlan",
        ] {
            assert_eq!(wrongs(file, wrong), "", "{wrong}");
        }
        // The judge does check: what it looked at is there.
        for right in [
            "ip.checksum.status == \"Good\"",
            "tcp.checksum.status == \"Good\"",
            "udp.checksum.status == \"Good\"",
            "icmpv6.checksum.status == \"Good\"",
        ] {
            assert_ne!(tshark(file, &["-Y", right, "-c", "3000"]), "", "{right}");
        }
        // Outer and GRE header, field by field; -E occurrence=f is the outer one.
        let fields = [
            "ip.src",
            "ip.dst",
            "ip.proto",
            "ip.flags.df",
            "ip.flags.mf",
            "ip.frag_offset",
            "ip.hdr_len",
            "gre.flags_and_version",
            "gre.proto",
            "gre.key",
        ];
        let mut args = vec!["-Y", "gre", "-T", "fields", "-E", "occurrence=f"];
        fields.iter().for_each(|field| args.extend(["-e", field]));
        let rows = tshark(file, &args);
        assert!(rows.lines().count() > 100);
        let mut vsids = BTreeSet::new();
        for row in rows.lines() {
            let row: Vec<&str> = row.split('\t').collect();
            assert_eq!(
                row[..9],
                [own, far, "47", "1", "0", "0", "20", "0x2000", "0x6558"],
                "{row:?}"
            );
            vsids.insert(u32::from_str_radix(row[9].trim_start_matches("0x"), 16).unwrap() >> 8);
        }
        assert_eq!(vsids, BTreeSet::from([5001, 0x00ab_cdef]));
        // The inner frame is the VM's, untouched: MACs, and -E occurrence=l is the inner one.
        let inner = tshark(
            file,
            &[
                "-Y",
                "gre && udp",
                "-T",
                "fields",
                "-E",
                "occurrence=l",
                "-e",
                "eth.src",
                "-e",
                "eth.dst",
                "-e",
                "ip.src",
                "-e",
                "ip.dst",
                "-e",
                "ip.ttl",
            ],
        );
        let (from, to) = if own.ends_with('1') { (1, 2) } else { (2, 1) };
        let wanted = format!(
            "02:00:00:00:01:0{from}\t02:00:00:00:01:0{to}\t10.1.0.1{from}\t10.1.0.1{to}\t64"
        );
        assert!(
            inner.lines().all(|line| line == wanted) && !inner.is_empty(),
            "{wanted}\n{inner}"
        );
        // FlowID: one for each flow, the same for all its packets, spread over flows.
        let flows = tshark(
            file,
            &[
                "-Y",
                "gre && udp",
                "-T",
                "fields",
                "-e",
                "gre.key",
                "-e",
                "udp.srcport",
                "-e",
                "udp.dstport",
            ],
        );
        let mut ids: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for row in flows.lines() {
            let (key, ports) = row.split_once('\t').unwrap();
            let key = u32::from_str_radix(key.trim_start_matches("0x"), 16).unwrap();
            ids.entry(format!("{} {ports}", key >> 8))
                .or_default()
                .insert(key & 0xff);
        }
        assert_eq!(ids.len(), 32, "16 flows of each tenant: {ids:?}");
        assert!(
            ids.values().all(|ids| ids.len() == 1),
            "a flow changed its FlowID: {ids:?}"
        );
        let distinct: BTreeSet<u32> = ids.values().flatten().copied().collect();
        assert!(distinct.len() > 8, "flows share FlowIDs: {ids:?}");
        let zero = ids.values().flatten().filter(|id| **id == 0).count();
        assert!(zero <= 2, "FlowID 0 means that there is none: {ids:?}");
    }
    world.finish([one, two]);
}
