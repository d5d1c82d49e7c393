//! Policies carried out on a real host: what VMs then send and receive, and what a refusal leaves.

mod daemon_common;

use std::net::Ipv4Addr;

use daemon_common::{HOST, Host, ca, frame, mac};
use weir_switch::testing::frames;
use weir_wire::Mac;

/// Tenants blue and red with the same prefix; blue has two subnets.
const TENANTS: &str = r#"
[[host]]
name = "h1"
provider_addresses = ["192.168.50.1"]
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "blue1"
vsid = 5001
prefixes = ["10.1.0.0/24"]
[[vm_network.subnet]]
name = "blue2"
vsid = 5002
prefixes = ["10.2.0.0/24"]
[[vm_network]]
name = "red"
isolation = "nv"
[[vm_network.subnet]]
name = "red1"
vsid = 6001
prefixes = ["10.1.0.0/24"]
"#;

fn vnic(name: &str, host: &str, subnet: &str, i: u8, attach: &str) -> String {
    let attach = match attach {
        "" => String::new(),
        attach => format!("attach = \"{attach}\"\n"),
    };
    format!(
        "[[vnic]]\nname = \"{name}\"\nhost = \"{host}\"\nsubnet = \"{subnet}\"\nmac = \"{}\"\naddresses = [\"{}\"]\n{attach}",
        mac(i),
        if subnet == "blue2" {
            Ipv4Addr::new(10, 2, 0, 10 + i)
        } else {
            ca(i)
        }
    )
}

/// Blue's b1 and b2 here and b9 on the other host, red's r1 here with the addresses of b1.
fn four() -> String {
    format!(
        "{TENANTS}{}{}{}{}",
        vnic("b1", "h1", "blue1", 1, "memif:DIR/b1"),
        vnic("b2", "h1", "blue1", 2, "memif:DIR/b2"),
        vnic("b9", "h2", "blue1", 9, ""),
        vnic("r1", "h1", "red1", 1, "memif:DIR/r1"),
    )
}

const PEER: Mac = Mac::new([2, 0xbb, 0, 0, 0, 2]);
const OWN_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
const PEER_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

#[test]
fn vms_speak_as_the_policy_says_and_control_counts_it() {
    let mut host = Host::start(HOST);
    let report = host.apply(&four()).expect("a policy");
    assert_eq!((report.revision, report.dry_run), (1, false));
    assert!(report.added.contains(&"vnic b1".into()), "{report:?}");
    let (mut b1, mut b2, mut r1) = (host.vm("b1"), host.vm("b2"), host.vm("r1"));
    let mut wire = host.vm("up0");
    let uplink = host.state().tables.view.uplinks[0]
        .clone()
        .expect("an uplink");

    // On this host, each in its own tenant.
    let hello = frame(2, 1, b"hello");
    b1.send([&hello[..]]);
    assert_eq!(b2.receive(1), std::slice::from_ref(&hello));
    r1.send([&hello[..]]);
    b2.receives_nothing();
    assert_eq!(host.dropped("no_record"), 1);
    // To the other host, and back.
    b1.send([&frame(9, 1, b"far")[..]]);
    let out = wire.receive(1);
    assert_eq!(
        (&out[0][..6], &out[0][6..12]),
        (&PEER.octets()[..], &uplink.mac.octets()[..])
    );
    assert_eq!(out[0][26..34], [192, 168, 50, 1, 192, 168, 50, 2]);
    assert_eq!(out[0][38..41], 5001_u32.to_be_bytes()[1..]);
    assert_eq!(out[0][42..], frame(9, 1, b"far"));
    let nvgre =
        |vsid, inner: &[u8]| frames::nvgre((uplink.mac, PEER), (PEER_PA, OWN_PA), vsid, 1, inner);
    wire.send([
        &nvgre(5001, &frame(1, 9, b"back"))[..],
        &nvgre(6001, &frame(1, 9, b"red")),
    ]);
    assert_eq!(b1.receive(1), [frame(1, 9, b"back")]);
    assert_eq!(r1.receive(1), [frame(1, 9, b"red")]);
    // ARP is answered from the records; a broadcast reaches the members, here and there.
    b1.send([&frames::arp_request(mac(1), ca(1), ca(9))[..]]);
    assert_eq!(b1.receive(1)[0][6..12], mac(9).octets());
    let all = frames::tenant(Mac::BROADCAST, mac(2), ca(2), ca(1), b"all");
    b2.send([&all[..]]);
    assert_eq!(b1.receive(1), std::slice::from_ref(&all));
    assert_eq!(wire.receive(1)[0][42..], all);
    // The provider's ARP is the uplink's.
    wire.send([&frames::arp_request(PEER, PEER_PA, OWN_PA)[..]]);
    assert_eq!(wire.receive(1)[0][6..12], uplink.mac.octets());
    b1.send([&frame(2, 3, b"spoofed")[..]]);
    host.assert_conserved();

    let b1_stats = host.vnic("b1");
    assert_eq!(
        (b1_stats.rx_packets, b1_stats.tx_packets, b1_stats.dropped),
        (4, 3, 1)
    );
    assert_eq!((&*b1_stats.vnic, &*b1_stats.tenant), ("b1", "blue"));
    let bytes = hello.len() + frame(9, 1, b"far").len() + 60 + frame(2, 3, b"spoofed").len();
    assert_eq!(b1_stats.rx_bytes, bytes as u64);
    let up = host.stats().uplinks.remove(0);
    assert_eq!(
        (&*up.uplink, up.rx_packets, up.tx_packets, up.dropped),
        ("up0", 3, 3, 0)
    );
    let rows = host.state().drops();
    let spoofed = rows
        .iter()
        .find(|row| row.reason == "spoofed_mac")
        .expect("a row");
    assert_eq!(
        (
            spoofed.vnic.as_deref(),
            spoofed.tenant.as_deref(),
            spoofed.packets
        ),
        (Some("b1"), Some("blue"), 1)
    );
    assert!(spoofed.worker.is_some() && !spoofed.help.is_empty());

    let one = |host: &mut Host, kind: &str, name: &str| {
        let mut all = host.state().objects(kind, Some(name)).expect("a kind");
        assert_eq!(all.len(), 1, "{kind} {name}");
        all.remove(0)
    };
    let b1_object = one(&mut host, "vnic", "b1");
    assert_eq!(b1_object["status"]["place"], "here");
    assert_eq!(b1_object["status"]["applied"], true);
    let b9 = one(&mut host, "vnic", "b9");
    assert_eq!(b9["status"]["place"], "remote");
    assert_eq!(b9["status"]["resolved"], true);
    assert_eq!(
        one(&mut host, "peer", "192.168.50.2")["status"]["resolved"],
        true
    );
    assert_eq!(one(&mut host, "uplink", "up0")["name"], "up0");
    assert!(host.state().objects("nonsense", None).is_none());
    let status = host.state().status("a test");
    assert_eq!(
        (
            status.local_vnics,
            status.remote_vnics,
            status.peers,
            status.peers_resolved
        ),
        (3, 1, 1, 1)
    );

    for vm in [b1, b2, r1, wire] {
        vm.unplug();
    }
    host.stop();
}

/// What a refusal must leave as it was.
fn fingerprint(host: &mut Host) -> String {
    let state = host.state();
    let tables = &state.tables;
    let mut ports: Vec<_> = state
        .ports
        .iter()
        .map(|(d, p)| (d.to_string(), p.id))
        .collect();
    ports.sort();
    let vnics: Vec<_> = tables
        .view
        .vnics
        .iter()
        .flatten()
        .map(|v| (v.id, v.name.clone(), v.port, v.vsid))
        .collect();
    format!(
        "{ports:?} {vnics:?} {:?} {:?} {:?} {} {} {} {} {} {} {} {} {}",
        tables.view.ports,
        tables.view.segments,
        tables.view.peers,
        tables.endpoints.len(),
        tables.records.len(),
        tables.accepted.len(),
        tables.trunked.len(),
        tables.segments.left(),
        tables.vnics.left(),
        tables.peers.left(),
        tables.ports.left(),
        state.revision,
    )
}

#[test]
fn a_refused_policy_leaves_everything_as_it_was() {
    let mut host = Host::start(HOST);
    host.apply(&four()).expect("a policy");
    let (mut b1, mut b2) = (host.vm("b1"), host.vm("b2"));
    let before = fingerprint(&mut host);
    let with = |more: &str| format!("{}{more}", four());
    let good = vnic("b3", "h1", "blue1", 3, "memif:DIR/b3");
    let missing = "net_pcap9,rx_pcap=/nonexistent/file,tx_pcap=/nonexistent/out";
    let refused = [
        // What is wrong is found by reading, by planning, by this machine's limits, by opening.
        with("colour = \"blue\"\n"),
        with(&vnic("b3", "h1", "blue1", 1, "memif:DIR/b3")),
        with(&vnic("b3", "h1", "nowhere", 3, "memif:DIR/b3")),
        with(&format!("{good}mtu = 9000\n")),
        with(&format!("{good}{}", vnic("b4", "h1", "blue1", 4, missing))),
        with(&format!(
            "{good}{}",
            vnic("b4", "h1", "blue1", 4, "memif:DIR/nofolder/b4")
        )),
        with(&format!(
            "{good}{}",
            vnic("b4", "h1", "blue1", 4, "memif:DIR/b1")
        )),
        four().replace("192.168.50.2", "10.99.0.2"),
    ];
    for (n, text) in refused.iter().enumerate() {
        let errors = host.apply(text).expect_err("a refusal");
        for error in &errors {
            assert!(
                error.line.is_some() && !error.mend.is_empty(),
                "{n}: {error:?}"
            );
        }
        assert_eq!(fingerprint(&mut host), before, "policy {n}: {errors:?}");
        let hello = frame(2, 1, &[n as u8]);
        b1.send([&hello[..]]);
        assert_eq!(b2.receive(1), [hello]);
    }
    // A dry run changes nothing either, and says what it would do.
    let report = host.apply_or_not(&with(&good), true).expect("a report");
    assert_eq!(
        (report.dry_run, report.revision, report.added),
        (true, 1, vec!["vnic b3".to_owned()])
    );
    assert_eq!(fingerprint(&mut host), before);
    // What a refusal had opened is closed: it can be opened.
    host.apply(&with(&good)).expect("a policy");
    let mut b3 = host.vm("b3");
    b1.send([&frame(3, 1, b"hello")[..]]);
    assert_eq!(b3.receive(1), [frame(3, 1, b"hello")]);
    // And back: the very same as before but for the number.
    b3.unplug();
    host.apply(&four()).expect("a policy");
    host.state().revision = 1;
    host.state().tables.view.ports.truncate(4);
    host.state().tables.view.vnics.truncate(3);
    assert_eq!(fingerprint(&mut host), before);
    host.assert_conserved();
    b1.unplug();
    b2.unplug();
    host.stop();
}

#[test]
fn a_vnic_that_moves_to_another_subnet_leaves_the_first() {
    let mut host = Host::start(HOST);
    let policy = |subnet: &str| {
        format!(
            "{TENANTS}{}{}{}",
            vnic("b1", "h1", "blue1", 1, "memif:DIR/b1"),
            vnic("b2", "h1", subnet, 2, "memif:DIR/b2"),
            vnic("b3", "h1", "blue2", 3, "memif:DIR/b3"),
        )
    };
    host.apply(&policy("blue1")).expect("a policy");
    let (mut b1, mut b2, mut b3) = (host.vm("b1"), host.vm("b2"), host.vm("b3"));
    b1.send([&frame(2, 1, b"hello")[..]]);
    b2.receive(1);
    b2.send([&frame(7, 2, b"nobody")[..]]);
    host.assert_conserved();
    let dropped = host.drops();
    let report = host.apply(&policy("blue2")).expect("a policy");
    assert_eq!(report.changed, ["vnic b2"]);
    // Not a count is lost with what it was.
    assert_eq!(host.drops(), dropped);
    assert_eq!(host.vnic("b2").rx_packets, 0, "another vNIC, another count");
    b1.send([&frame(2, 1, b"hello")[..]]);
    // With its old address it is a forger, in its new subnet it is at home.
    b2.send([&frame(1, 2, b"old")[..]]);
    let own = |to: u8, from: u8| {
        let (a, b) = (
            Ipv4Addr::new(10, 2, 0, 10 + from),
            Ipv4Addr::new(10, 2, 0, 10 + to),
        );
        frames::tenant(mac(to), mac(from), a, b, b"new")
    };
    b2.send([&own(3, 2)[..]]);
    assert_eq!(b3.receive(1), [own(3, 2)]);
    b3.send([&own(2, 3)[..]]);
    assert_eq!(b2.receive(1), [own(2, 3)]);
    b1.receives_nothing();
    host.assert_conserved();
    assert_eq!(
        (host.dropped("no_record"), host.dropped("spoofed_ip")),
        (2, 1)
    );
    // And there and back again, twenty times, with packets both ways.
    for n in 0..20 {
        host.apply(&policy(if n % 2 == 0 { "blue1" } else { "blue2" }))
            .expect("a policy");
        b1.send([&frame(2, 1, &[n])[..]]);
        b3.send([&own(2, 3)[..]]);
        let got = b2.receive(1).remove(0);
        assert_eq!(
            got,
            if n % 2 == 0 {
                frame(2, 1, &[n])
            } else {
                own(2, 3)
            }
        );
        host.assert_conserved();
    }
    assert!(
        host.state().tables.view.vnics.len() <= 4,
        "indexes are used again"
    );
    for vm in [b1, b2, b3] {
        vm.unplug();
    }
    host.stop();
}

fn queued(host: &mut Host) -> u64 {
    host.stats().workers.iter().map(|w| w.queued).sum()
}

/// A memif without a VM takes nothing: what is sent to it waits in the worker, for a second.
fn fill(host: &mut Host, from: &mut daemon_common::Vm, to: u8) {
    let frames: Vec<_> = (0..40).map(|n| frame(to, 1, &[n])).collect();
    from.send(frames.iter().map(Vec::as_slice));
    // The last of them are refused by then: nothing is under way.
    daemon_common::until("packets that wait", || {
        host.dropped("tx_full") >= 8 && queued(host) + host.dropped("tx_full") == 40
    });
}

#[test]
fn what_waits_for_a_vm_that_is_off_ends() {
    let mut host = Host::start(HOST);
    let vm = |n: u8| {
        let name = format!("b{n}");
        vnic(&name, "h1", "blue1", n, &format!("memif:DIR/{name}"))
    };
    host.apply(&format!("{TENANTS}{}{}", vm(1), vm(2)))
        .expect("a policy");
    let mut b1 = host.vm("b1");
    fill(&mut host, &mut b1, 2);
    daemon_common::until("nothing waits", || queued(&mut host) == 0);
    assert_eq!(host.dropped("tx_full"), 40, "{:?}", host.drops());
    host.assert_conserved();
    // It starts, and hears nothing of the time before.
    let mut b2 = host.vm("b2");
    host.sees("b2", true);
    b1.send([&frame(2, 1, b"late")[..]]);
    assert_eq!(b2.receive(1), [frame(2, 1, b"late")]);
    b2.receives_nothing();
    host.assert_conserved();
    for vm in [b1, b2] {
        vm.unplug();
    }
    host.stop();
}

#[test]
fn a_device_that_passes_to_another_tenant_brings_nothing_of_the_first() {
    let base = format!("{TENANTS}{}", vnic("b1", "h1", "blue1", 1, "memif:DIR/b1"));
    let b2 = vnic("b2", "h1", "blue1", 2, "memif:DIR/dev");
    let b2_moved = vnic("b2", "h1", "blue1", 2, "memif:DIR/other");
    let red = vnic("r2", "h1", "red1", 2, "memif:DIR/dev");
    let red_before = vnic("r2", "h1", "red1", 2, "memif:DIR/other");
    let r1 = vnic("r1", "h1", "red1", 1, "memif:DIR/r1");
    let ways = [
        (
            "the first leaves",
            format!("{base}{r1}{b2}"),
            format!("{base}{r1}{red}"),
        ),
        (
            "the first takes another device",
            format!("{base}{r1}{b2}"),
            format!("{base}{r1}{red}{b2_moved}"),
        ),
        (
            "they swap",
            format!("{base}{r1}{b2}{red_before}"),
            format!("{base}{r1}{red}{b2_moved}"),
        ),
        (
            "it becomes another tenant's by its name alone",
            format!("{base}{r1}{b2}"),
            format!("{base}{r1}{}", b2.replace("blue1", "red1")),
        ),
    ];
    for (way, before, after) in ways {
        let mut host = Host::start(HOST);
        host.apply(&before).expect(way);
        let mut b1 = host.vm("b1");
        // First that the path is alive and what it brings.
        let mut vm = host.vm("dev");
        b1.send([&frame(2, 1, b"hello")[..]]);
        assert_eq!(vm.receive(1), [frame(2, 1, b"hello")], "{way}");
        vm.unplug();
        host.sees_unplugged("dev");
        fill(&mut host, &mut b1, 2);
        host.apply(&after).expect(way);
        host.assert_conserved();
        assert_eq!(
            queued(&mut host),
            0,
            "{way}: something waits for the new owner"
        );
        let refused = host.dropped("port_closed") + host.dropped("tx_full");
        assert_eq!(refused, 40, "{way}: {:?}", host.drops());
        let mut vm = host.vm("dev");
        b1.send([&frame(2, 1, b"late")[..]]);
        vm.receives_nothing();
        // Its new owner is served.
        let mut r1 = host.vm("r1");
        r1.send([&frame(2, 1, b"red")[..]]);
        assert_eq!(vm.receive(1), [frame(2, 1, b"red")], "{way}");
        vm.send([&frame(1, 2, b"back")[..]]);
        assert_eq!(r1.receive(1), [frame(1, 2, b"back")], "{way}");
        b1.receives_nothing();
        host.assert_conserved();
        for vm in [b1, vm, r1] {
            vm.unplug();
        }
        host.stop();
    }
}

#[test]
fn an_mtu_that_is_no_longer_written_is_no_longer_asked() {
    let mut host = Host::start(HOST);
    let policy = |more: &str| {
        format!(
            "{TENANTS}{}{}{more}",
            vnic("b1", "h1", "blue1", 1, "memif:DIR/b1"),
            vnic("b2", "h1", "blue1", 2, "net_null5,no-rx=1"),
        )
    };
    let delivered = |host: &mut Host, vm: &mut daemon_common::Vm| {
        let before = host.vnic("b2").tx_packets;
        vm.send([&frame(2, 1, &[0; 1000])[..]]);
        host.assert_conserved();
        host.vnic("b2").tx_packets - before
    };
    host.apply(&policy("")).expect("a policy");
    let mut b1 = host.vm("b1");
    assert_eq!(delivered(&mut host, &mut b1), 1);
    host.apply(&policy("mtu = 600\n")).expect("a policy");
    assert_eq!(delivered(&mut host, &mut b1), 0);
    assert_eq!(host.dropped("oversize"), 1);
    host.apply(&policy("")).expect("a policy");
    assert_eq!(delivered(&mut host, &mut b1), 1);
    b1.unplug();
    host.stop();
}

#[test]
fn one_port_too_many_is_named_and_undoes_everything() {
    let mut host = Host::start(&HOST.replace("memif:DIR/up0", "net_null70,no-rx=1"));
    let policy = |first: u8, count: u8| {
        let vnics = (first..first + count).map(|i| {
            vnic(
                &format!("b{i}"),
                "h1",
                "blue1",
                i,
                &format!("net_null{i},no-rx=1"),
            )
        });
        format!("{TENANTS}{}", vnics.collect::<String>())
    };
    host.apply(&policy(1, 3)).expect("a policy");
    let before = fingerprint(&mut host);
    // With the uplink these are 33.
    for _ in 0..3 {
        let errors = host.apply(&policy(1, 32)).expect_err("a refusal");
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].problem.contains("32"), "{errors:?}");
        assert!(errors[0].mend.contains("trunk"), "{errors:?}");
        assert_eq!(fingerprint(&mut host), before);
    }
    for _ in 0..3 {
        host.apply(&policy(1, 31)).expect("32 ports");
        host.apply(&policy(1, 3)).expect("fewer");
        assert_eq!(host.state().ports.len(), 4);
    }
    host.apply(&policy(100, 28))
        .expect("others, as far as there is room for both");
    host.apply(TENANTS).expect("none");
    assert_eq!(host.state().ports.len(), 1);
    let left = host.state().tables.ports.left();
    assert_eq!(left, 4096 - 1);
    // A device that is opened again is a new one: not "already attached".
    for _ in 0..30 {
        host.apply(&policy(1, 1)).expect("opened");
        host.apply(TENANTS).expect("closed");
    }
    host.assert_conserved();
    host.stop();
}

#[test]
fn vnics_of_a_trunk_come_and_go_and_its_vlans_change_hands() {
    let text = format!(
        "{HOST}[[trunk]]\nname = \"vms\"\ndevice = \"memif:DIR/vms\"\nby = \"mac\"\n[[trunk]]\nname = \"tags\"\ndevice = \"memif:DIR/tags\"\nby = \"vlan\"\n"
    );
    let mut host = Host::start(&text);
    let (mut vms, mut tags) = (host.vm("vms"), host.vm("tags"));
    let policy = |blue: &str, red: &str| {
        format!(
            "{TENANTS}{}{}{}{}",
            vnic("b1", "h1", "blue1", 1, "trunk:vms"),
            vnic("b2", "h1", "blue1", 2, &format!("trunk:tags/{blue}")),
            vnic("r2", "h1", "red1", 2, &format!("trunk:tags/{red}")),
            vnic("r3", "h1", "red1", 3, "trunk:vms"),
        )
    };
    let tagged = |mut bytes: Vec<u8>, vlan: u16| {
        frames::tag(&mut bytes, vlan);
        bytes
    };
    for (blue, red) in [(10, 20), (20, 10), (10, 30), (30, 10), (10, 20)] {
        host.apply(&policy(&blue.to_string(), &red.to_string()))
            .expect("a policy");
        vms.send([&frame(2, 1, b"blue")[..], &frame(2, 3, b"red")]);
        let mut got = tags.receive(2);
        got.sort();
        let mut expected = [
            tagged(frame(2, 1, b"blue"), blue),
            tagged(frame(2, 3, b"red"), red),
        ];
        expected.sort();
        assert_eq!(got, expected);
        tags.send([
            &tagged(frame(1, 2, b"back"), blue)[..],
            &tagged(frame(3, 2, b"back"), red),
        ]);
        let mut got = vms.receive(2);
        got.sort();
        assert_eq!(got, [frame(1, 2, b"back"), frame(3, 2, b"back")]);
        // Each other's VLAN is no way over.
        tags.send([
            &tagged(frame(1, 2, b"over"), red)[..],
            &tagged(frame(3, 2, b"over"), blue),
        ]);
        tags.send([
            &tagged(frame(1, 2, b"none"), 99)[..],
            &frame(1, 2, b"untagged"),
        ]);
        vms.receives_nothing();
        host.assert_conserved();
    }
    assert_eq!(
        (host.dropped("no_record"), host.dropped("trunk_unknown")),
        (10, 10)
    );
    host.apply(TENANTS).expect("none");
    vms.send([&frame(2, 1, b"blue")[..]]);
    host.assert_conserved();
    assert_eq!(host.dropped("trunk_unknown"), 11);
    assert_eq!(host.state().tables.trunked.len(), 0);
    vms.unplug();
    tags.unplug();
    host.stop();
}

#[test]
fn two_workers_share_the_ports_and_hand_packets_over() {
    if rte::available_cores().len() < 2 {
        return;
    }
    let mut host = Host::start(&HOST.replace("CORE1", "CORE2"));
    let names = ["b1", "b2", "b3", "b4"];
    let vnics = names
        .iter()
        .zip(1..)
        .map(|(name, i)| vnic(name, "h1", "blue1", i, &format!("memif:DIR/{name}")));
    host.apply(&format!("{TENANTS}{}", vnics.collect::<String>()))
        .expect("a policy");
    let owners: Vec<_> = host
        .state()
        .tables
        .view
        .ports
        .iter()
        .flatten()
        .map(|port| port.owner)
        .collect();
    let zero = owners.iter().filter(|owner| owner.index() == 0).count();
    assert!(
        (2..=3).contains(&zero),
        "five ports, two workers: {owners:?}"
    );
    let mut vms: Vec<_> = names.iter().map(|name| host.vm(name)).collect();
    for round in 0..50_u8 {
        for from in 0..4_u8 {
            let out: Vec<_> = (0..4)
                .filter(|&to| to != from)
                .map(|to| frame(to + 1, from + 1, &[round]))
                .collect();
            vms[usize::from(from)].send(out.iter().map(Vec::as_slice));
        }
        for vm in &mut vms {
            vm.receive(3);
        }
    }
    host.assert_conserved();
    let moved: u64 = host.stats().workers.iter().map(|w| w.handoff_in).sum();
    assert!(moved > 0);
    assert_eq!(host.drops().values().sum::<u64>(), 0, "{:?}", host.drops());
    for vm in vms {
        vm.unplug();
    }
    host.stop();
}

/// Two tenants' routers with one virtual MAC (RFC 5798 §7.3), and with each other's own, on trunks: a maximum is one worker's to keep.
#[test]
fn a_vnic_is_one_workers_whatever_macs_it_shares_with_others() {
    if rte::available_cores().len() < 2 {
        return;
    }
    let trunks = ["t1", "t2"].map(|name| {
        format!("[[trunk]]\nname = \"{name}\"\ndevice = \"memif:DIR/{name}\"\nby = \"mac\"\n")
    });
    let mut host = Host::start(&format!(
        "{}{}",
        HOST.replace("CORE1", "CORE2"),
        trunks.concat()
    ));
    let shared = Mac::new([0, 0, 0x5e, 0, 1, 7]);
    let router = |name, subnet, own: u8, other: u8, trunk| {
        let allowed = format!("allowed_macs = [\"{shared}\", \"{}\"]\n", mac(other));
        vnic(name, "h1", subnet, own, trunk) + &allowed
    };
    host.apply(&format!(
        "{TENANTS}{}{}",
        router("b1", "blue1", 1, 2, "trunk:t1"),
        router("r2", "red1", 2, 1, "trunk:t2"),
    ))
    .expect("a policy");
    for (number, trunk) in (1..).zip(["t1", "t2"]) {
        let mut vms = host.vm(trunk);
        let sent = [mac(1), mac(2), shared].map(|from| {
            let mut frame = frame(9, number, b"x");
            frame[6..12].copy_from_slice(&from.octets());
            frame
        });
        for _ in 0..10 {
            vms.send(sent.iter().map(Vec::as_slice));
        }
        daemon_common::until("all are received", || {
            let vnics = &host.state().tables.view.vnics;
            let vnic = vnics
                .iter()
                .flatten()
                .find(|vnic| vnic.identity.mac == mac(number));
            let by_worker = vnic
                .expect("a vNIC")
                .cells
                .iter()
                .map(|c| c.rx.packets.get());
            let mut by_worker: Vec<u64> = by_worker.collect();
            by_worker.sort();
            assert_eq!(by_worker[0], 0, "{trunk}: {by_worker:?}");
            by_worker[1] == 30
        });
        vms.unplug();
    }
    host.assert_conserved();
    host.stop();
}

#[test]
fn pins_of_one_mac_to_two_cores_are_told() {
    let cores = rte::available_cores();
    let [first, second, ..] = cores[..] else {
        return;
    };
    let host = |other: u32| {
        format!(
            "{}[[pin]]\nvnic = \"b1\"\ncore = {first}\n[[pin]]\nvnic = \"r1\"\ncore = {other}\n",
            HOST.replace("CORE1", "CORE2")
        )
    };
    let policy = format!(
        "{TENANTS}{}{}",
        vnic("b1", "h1", "blue1", 1, "memif:DIR/b1"),
        vnic("r1", "h1", "red1", 1, "memif:DIR/r1"),
    );
    for (other, warnings) in [(first, 0), (second, 1)] {
        let mut host = Host::start(&host(other));
        host.apply(&policy).expect("a policy");
        let told = host.state().status("a store").warnings;
        assert_eq!(told.len(), warnings, "{told:?}");
        for told in told {
            assert!(
                told.object == "pin r1" && told.problem.contains("b1"),
                "{told}"
            );
        }
        host.stop();
    }
}
