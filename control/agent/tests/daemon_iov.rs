//! A vNIC's path changes between a VF and software on a real host, with frames on the wire; the NIC is a recorded one.

mod daemon_common;
mod iov_common;

use std::cell::RefCell;
use std::time::Duration;

use daemon_common::{Host, Vm, tagged};
use iov_common::recorded::{ICE, IGB, Recorded};
use iov_common::{Acts, HOST, NETWORK, ca, frame, mac, mac_of, machine, status, turn, vnic, why};
use weir_agent::observe::ask::{CaptureWish, Selection};
use weir_agent::vf::change::{self, Change};
use weir_agent::vf::discover::Pf;
use weir_switch::testing::frames;

/// Brings one frame for v1, from the wire, to whom the NIC's filters say, as long as the path changes; how many the switch was
/// given, how many of these its port got.
fn while_it_changes(
    host: &mut Host,
    nic: &Recorded,
    pf: &Pf,
    wire: &mut Vm,
    v1: &mut Vm,
) -> (u32, u32) {
    let (mut given, mut got) = (0, 0);
    let acts = Acts {
        nic,
        act: RefCell::new(Box::new(|nic: &Recorded| {
            // Promiscuous: what no VF has comes to the PF.
            let of_vf = (0..2).any(|vf| mac_of(nic, pf, vf) == mac(1));
            if !of_vf {
                wire.send([&tagged(&frame(1, 9))[..]]);
                given += 1;
                got += v1.receive(1).len() as u32;
            }
        })),
    };
    turn(host, &acts);
    drop(acts);
    (given, got)
}

#[test]
fn what_the_nic_hands_over_has_a_place_at_every_step() {
    let mut host = Host::start(HOST);
    let (nic, pf) = machine(IGB);
    let policy = format!("{NETWORK}{}{}", vnic(1, "iov_weight = 10"), vnic(2, ""));
    host.apply(&policy).expect("a policy");
    let (mut v1, mut v2) = (host.vm("v1"), host.vm("v2"));
    let mut wire = host.vm("up0");
    assert_eq!(status(&mut host, "v1")["path"], "software");

    let (given, got) = while_it_changes(&mut host, &nic, &pf, &mut wire, &mut v1);
    assert!(given > 0 && given == got, "{given} {got}");
    assert_eq!(why(&mut host, "v1"), "vf 0");
    assert_eq!(why(&mut host, "v2"), "not_asked");
    assert_eq!(mac_of(&nic, &pf, 0), mac(1));
    // VFs reach v2 by the NIC's own switch, and v1 is no longer the PF's.
    assert_eq!(*nic.heard.borrow(), [mac(2).octets().to_vec()]);
    // The wire finds v1: neither what is for it nor what is for all goes to its port.
    v2.send([&frame(1, 2)[..]]);
    assert_eq!(wire.receive(1), [tagged(&frame(1, 2))]);
    let ask = frames::arp_request(mac(2), ca(2), ca(9));
    v2.send([&ask[..]]);
    assert_eq!(wire.receive(1), [tagged(&ask)]);
    wire.send([&tagged(&frame(2, 1))[..]]);
    assert_eq!(v2.receive(1), [frame(2, 1)]);
    v1.receives_nothing();
    // What its VM still sends by software goes on.
    v1.send([&frame(2, 1)[..]]);
    assert_eq!(v2.receive(1), [frame(2, 1)]);

    // Policy asks for what the NIC would bypass.
    let limited = policy.replace(
        "iov_weight = 10",
        "iov_weight = 10\nbandwidth = { max_rx = \"1Gbit\" }",
    );
    host.apply(&limited).expect("a policy");
    let (given, got) = while_it_changes(&mut host, &nic, &pf, &mut wire, &mut v1);
    assert!(given > 0 && given == got, "{given} {got}");
    assert_eq!(why(&mut host, "v1"), "bandwidth");
    assert_eq!(nic.heard.borrow().len(), 2);
    v2.send([&frame(1, 2)[..], &ask]);
    assert_eq!(v1.receive(2), [frame(1, 2), ask.clone()]);
    assert_eq!(wire.receive(1), [tagged(&ask)]);
    host.apply(&policy).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "vf 0");

    host.assert_conserved();
    let uplink = host.stats().uplinks[0].clone();
    let device = uplink.device.expect("a port of DPDK");
    let counts = |name: &str| device.xstats[name];
    assert_eq!((&*device.driver, &device.vf), ("net_memif", &None));
    assert_eq!(counts("rx_good_packets"), uplink.rx_packets);
    assert_eq!(counts("tx_good_packets"), uplink.tx_packets);
    let told = host.folder.path().join("told");
    daemon_common::until("the VM is told", || {
        host.state().iov.hooks.tend(Duration::ZERO);
        host.state().iov.hooks.is_idle()
    });
    let line = |what: &str| format!("{what} v1 02:00:00:00:01:01 0 {}\n", pf.vfs[0].address);
    let lines = ["up", "down", "up"].map(line).concat();
    assert_eq!(std::fs::read_to_string(told).expect("told"), lines);
    for vm in [v1, v2, wire] {
        vm.unplug();
    }
    host.stop();
}

#[test]
fn a_capture_takes_it_for_as_long_as_it_runs() {
    let mut host = Host::start(HOST);
    let (nic, pf) = machine(IGB);
    let policy = format!(
        "{NETWORK}{}{}",
        vnic(1, "vf = \"up0/1\""),
        vnic(2, "iov_weight = 1")
    );
    host.apply(&policy).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(
        (why(&mut host, "v1"), why(&mut host, "v2")),
        ("vf 1".into(), "vf 0".into())
    );
    let of = |vnic: &str| Selection {
        vnic: Some(vnic.into()),
        ..Selection::default()
    };
    let wish = CaptureWish {
        points: vec!["drop".into()],
        of: of("v1"),
        ..CaptureWish::default()
    };
    let capture = host.state().capture(&wish).expect("a capture");
    turn(&mut host, &nic);
    assert_eq!(
        (why(&mut host, "v1"), why(&mut host, "v2")),
        ("capture".into(), "vf 0".into())
    );
    assert_ne!(mac_of(&nic, &pf, 1), mac(1));
    let trace = host.state().trace(&of("v2")).expect("a trace");
    host.state().end_observer(capture.id);
    turn(&mut host, &nic);
    assert_eq!(
        (why(&mut host, "v1"), why(&mut host, "v2")),
        ("vf 1".into(), "capture".into())
    );
    host.state().end_observer(trace.id);
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v2"), "vf 0");
    // What is watched as a whole is no vNIC's.
    let all = CaptureWish {
        points: vec!["drop".into()],
        ..CaptureWish::default()
    };
    host.state().capture(&all).expect("a capture");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v2"), "vf 0");
    host.stop();
}

#[test]
fn vfs_that_fail_go_and_come_back() {
    let mut host = Host::start(HOST);
    let (nic, pf) = machine(IGB);
    let three = [3, 2, 1].map(|i| vnic(i, &format!("iov_weight = {i}0")));
    host.apply(&format!("{NETWORK}{}", three.concat()))
        .expect("a policy");
    turn(&mut host, &nic);
    let all = |host: &mut Host| ["v1", "v2", "v3"].map(|name| why(host, name));
    assert_eq!(all(&mut host), ["none_free", "vf 1", "vf 0"]);
    // Unbound: the greatest weight left has what is left.
    let driver = format!("/sys/bus/pci/devices/{}/driver", pf.vfs[0].address);
    nic.remove(&driver);
    turn(&mut host, &nic);
    assert_eq!(all(&mut host), ["none_free", "none_free", "vf 1"]);
    assert_eq!(mac_of(&nic, &pf, 1), mac(3));
    nic.point(&driver, "x/igbvf");
    turn(&mut host, &nic);
    assert_eq!(all(&mut host), ["none_free", "vf 0", "vf 1"]);
    // The PF's link.
    nic.put("/sys/class/net/eth0/operstate", "down\n");
    turn(&mut host, &nic);
    assert_eq!(all(&mut host), ["no_link"; 3]);
    assert_eq!(nic.heard.borrow().len(), 3);
    nic.put("/sys/class/net/eth0/operstate", "up\n");
    turn(&mut host, &nic);
    assert_eq!(all(&mut host), ["none_free", "vf 1", "vf 0"]);
    // Somebody sets a VF otherwise.
    let other = Change {
        vlan: Some(0),
        spoof_check: Some(false),
        ..Change::default()
    };
    change::change(&nic, &pf, 0, &other).expect("set");
    turn(&mut host, &nic);
    let now = change::read(&nic, &pf, 0).expect("settings");
    assert_eq!((now.vlan, now.spoof_check), (100, Some(true)));
    assert_eq!(all(&mut host), ["none_free", "vf 1", "vf 0"]);
    // All VFs go.
    nic.put(
        &format!("/sys/bus/pci/devices/{}/sriov_numvfs", pf.pf),
        "0\n",
    );
    turn(&mut host, &nic);
    assert_eq!(all(&mut host), ["no_vfs"; 3]);
    let switch = host.state().objects("switch", None).expect("a kind");
    let iov = &switch[0]["status"]["iov"];
    assert_eq!((&iov["vfs"], &iov["given_vfs"]), (&0.into(), &0.into()));
    assert_eq!(iov["pf"], "0000:01:00.0");
    host.stop();
}

#[test]
fn who_leaves_or_changes_has_no_vf_and_who_comes_may_have_it() {
    let mut host = Host::start(HOST);
    let (nic, pf) = machine(IGB);
    let policy = |vnics: &[String]| format!("{NETWORK}{}", vnics.concat());
    host.apply(&policy(&[vnic(1, "vf = \"up0/0\"")]))
        .expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "vf 0");
    // Migrated: its VF has its MAC no longer.
    let there = vnic(1, "vf = \"up0/0\"").replace("\"h1\"", "\"h2\"");
    let hosts = "[[host]]\nname = \"h2\"\nprovider_addresses = [\"192.168.50.2\"]\n";
    let both = policy(&[hosts.into(), there, vnic(2, "vf = \"up0/1\"")]);
    host.apply(&both).expect("a policy");
    turn(&mut host, &nic);
    assert!((0..2).all(|vf| mac_of(&nic, &pf, vf) != mac(1)));
    assert_eq!(why(&mut host, "v2"), "vf 1");
    // Who moves to another VLAN has its VF set for that.
    let moved = both.replace("vlan = 100", "vlan = 101");
    host.apply(&moved).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v2"), "vf 1");
    assert_eq!(change::read(&nic, &pf, 1).expect("settings").vlan, 101);
    host.stop();
}

#[test]
fn the_daemon_starts_anew_and_finds_who_has_what() {
    let (nic, pf) = machine(ICE);
    let nobody = HOST.split("[iov]").next().expect("a host").to_owned();
    let policy = format!(
        "{NETWORK}{}{}",
        vnic(1, "iov_weight = 1"),
        vnic(2, "iov_weight = 1")
    );
    let wanted = Change {
        mac: Some(mac(2)),
        vlan: Some(100),
        ..Change::default()
    };
    change::change(&nic, &pf, 0, &wanted).expect("set");
    nic.done.borrow_mut().clear();
    let mut host = Host::start(&nobody);
    host.apply(&policy).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v2"), "vf 0");
    let done = nic.done.borrow().clone();
    assert!(done.iter().all(|it| !it.starts_with("set 0")), "{done:?}");
    // What is counted is what was carried since it was given: the recorded VF has sent 8 packets before.
    let found = host.state().vf_counters(&nic);
    assert_eq!(found[0].counters.tx_packets, 8);
    let stats = host.state().vf_stats(&"v2".into(), &found).expect("a VF");
    assert_eq!(stats.vf.as_deref(), Some("0000:b1:00.0/0"));
    assert_eq!(
        (stats.rx_packets, stats.dropped, stats.note),
        (Some(0), Some(0), None)
    );
    host.stop();
    // What somebody else uses is not chosen, and what a pin names is.
    for vf in &pf.vfs {
        let interface = vf.interface.as_ref().expect("an interface");
        let flags = format!("/sys/bus/pci/devices/{}/net/{interface}/flags", vf.address);
        nic.put(&flags, "0x1003\n");
    }
    let mut host = Host::start(&nobody);
    let other = vnic(7, "iov_weight = 1");
    host.apply(&format!("{NETWORK}{other}")).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v7"), "in_use");
    assert_eq!(host.vnic("v7").vf, None);
    let pinned = vnic(7, "vf = \"b1:00.0/1\"");
    host.apply(&format!("{NETWORK}{pinned}")).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v7"), "vf 1");
    host.stop();
}

#[test]
fn a_driver_that_will_not_and_one_that_counts_nothing_are_named() {
    let mut host = Host::start(HOST);
    let (nic, _) = machine(IGB);
    nic.ignores_mac.set(true);
    host.apply(&format!("{NETWORK}{}", vnic(1, "iov_weight = 1")))
        .expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "refused");
    let detail = status(&mut host, "v1")["path_detail"].to_string();
    assert!(detail.contains("accepted MAC"), "{detail}");
    nic.ignores_mac.set(false);
    // For a while it is not asked again, unless policy changes.
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "refused");
    let again = format!("{NETWORK}{}", vnic(1, "iov_weight = 2"));
    host.apply(&again).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "vf 0");
    let stats = host.vnic("v1").vf.expect("a VF");
    assert_eq!((stats.rx_packets, stats.tx_packets), (None, None));
    assert!(
        stats
            .note
            .expect("a note")
            .contains("driver igb counts nothing")
    );
    host.stop();
}

#[test]
fn a_switch_is_made_for_it_or_not() {
    let mut host = Host::start(HOST);
    let without = NETWORK.replace("iov = true", "iov = false");
    host.apply(&format!("{without}{}", vnic(1, "")))
        .expect("a policy");
    let refusals = host
        .apply(&format!("{NETWORK}{}", vnic(1, "")))
        .expect_err("a conversion");
    assert!(refusals.len() == 1, "{refusals:?}");
    assert!(
        refusals[0]
            .problem
            .contains("iov: true here, and the switch was made with false")
    );
    assert!(refusals[0].mend.contains("write iov = false"));
    assert_eq!(refusals[0].object, "switch default");
    host.stop();
    let mut host = Host::start(HOST);
    host.apply(&format!("{NETWORK}{}", vnic(1, "iov_weight = 1")))
        .expect("a policy");
    let refusals = host
        .apply(&format!("{without}{}", vnic(1, "")))
        .expect_err("a conversion");
    assert!(
        refusals[0].problem.contains("iov: false here"),
        "{refusals:?}"
    );
    host.stop();
}

#[test]
fn a_vm_that_gives_its_vf_back_first_still_has_its_mac_while_it_does() {
    let slow = HOST.replace(
        "vf_down = \"",
        "unplug_first = true\nvf_down = \"while [ -d DIR ] && [ ! -e DIR/gone ]; do sleep 0.01; done; ",
    );
    let mut host = Host::start(&slow);
    let (nic, pf) = machine(IGB);
    let policy = format!(
        "{NETWORK}{}{}",
        vnic(1, "vf = \"up0/0\""),
        vnic(2, "iov_weight = 1")
    );
    host.apply(&policy).expect("a policy");
    turn(&mut host, &nic);
    let both = |host: &mut Host| (why(host, "v1"), why(host, "v2"));
    assert_eq!(both(&mut host), ("vf 0".into(), "vf 1".into()));
    let told = |host: &mut Host| {
        daemon_common::until("the VM is told", || {
            host.state().iov.hooks.tend(Duration::ZERO);
            host.state().iov.hooks.is_idle()
        });
    };
    told(&mut host);

    // While its command runs the NIC knows the VF as v1's, and it is nobody else's; the switch has its software path.
    let (mut v1, mut v2) = (host.vm("v1"), host.vm("v2"));
    let limited = policy.replace("vf = ", "bandwidth = { max_rx = \"1Gbit\" }\nvf = ");
    host.apply(&limited.replace("iov_weight = 1", "vf = \"up0/1\""))
        .expect("a policy");
    for _ in 0..3 {
        turn(&mut host, &nic);
        assert_eq!(both(&mut host), ("bandwidth".into(), "vf 1".into()));
        assert_eq!(mac_of(&nic, &pf, 0), mac(1));
        assert!(!nic.heard.borrow().contains(&mac(1).octets().to_vec()));
    }
    // It was asked for once, though the NIC still shows it as v1's.
    assert_eq!(host.state().iov.changes, (2, 1));
    v2.send([&frame(1, 2)[..]]);
    assert_eq!(v1.receive(1), [frame(1, 2)]);
    host.apply(&policy).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "in_use");

    // Then the NIC has its turn, and the VF is free.
    host.apply(&limited).expect("a policy");
    turn(&mut host, &nic);
    std::fs::write(host.folder.path().join("gone"), "").expect("a file");
    told(&mut host);
    turn(&mut host, &nic);
    assert_ne!(mac_of(&nic, &pf, 0), mac(1));
    assert!(nic.heard.borrow().contains(&mac(1).octets().to_vec()));
    host.apply(&policy).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(both(&mut host), ("vf 0".into(), "vf 1".into()));

    // Who does not give it back is not waited for longer than two seconds.
    told(&mut host);
    std::fs::remove_file(host.folder.path().join("gone")).expect("a file");
    host.apply(&limited).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(mac_of(&nic, &pf, 0), mac(1));
    daemon_common::until("the NIC takes it", || {
        turn(&mut host, &nic);
        mac_of(&nic, &pf, 0) != mac(1)
    });
    for vm in [v1, v2] {
        vm.unplug();
    }
    host.stop();
}
