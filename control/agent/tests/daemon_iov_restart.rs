//! A daemon that starts anew after policy has changed: VFs that were given before, and that their vNICs may not have any more.

mod daemon_common;
mod iov_common;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon_common::Host;
use iov_common::recorded::{ICE, IGB, Recorded};
use iov_common::{Acts, HOST, NETWORK, mac, mac_of, machine, turn, vnic, why};
use weir_agent::iov::program;
use weir_agent::vf::change::{self, Change};
use weir_agent::vf::discover::Pf;
use weir_agent::vf::settings::{LinkState, Settings};
use weir_wire::Mac;

/// A host that keeps its state in `state`, and that writes there what its VMs are told.
fn host(state: &Path) -> Host {
    let folder = state.display();
    let text = HOST.replace("DIR/told", &format!("{folder}/told")).replace(
        "name = \"h1\"",
        &format!("name = \"h1\"\nstate_dir = \"{folder}\""),
    );
    Host::start(&text)
}

fn book(state: &Path) -> PathBuf {
    state.join("h1.vfs")
}

/// What VMs were told so far.
fn told(host: &mut Host, state: &Path) -> String {
    daemon_common::until("the VMs are told", || {
        host.state().iov.hooks.tend(Duration::ZERO);
        host.state().iov.hooks.is_idle()
    });
    std::fs::read_to_string(state.join("told")).unwrap_or_default()
}

fn settings(nic: &Recorded, pf: &Pf, vf: u16) -> Settings {
    change::read(nic, pf, vf).expect("settings")
}

/// Two vNICs of one network have the two VFs, then the daemon ends; the state that it leaves.
fn before(nic: &Recorded) -> tempfile::TempDir {
    let state = tempfile::tempdir().expect("a folder");
    let mut host = host(state.path());
    let both = [
        vnic(1, "vf = \"up0/0\"\nbandwidth = { max = \"200Mbit\" }"),
        vnic(2, "vf = \"up0/1\""),
    ];
    host.apply(&format!("{}{}", network(), both.concat()))
        .expect("a policy");
    turn(&mut host, nic);
    assert_eq!(
        (why(&mut host, "v1"), why(&mut host, "v2")),
        ("vf 0".into(), "vf 1".into())
    );
    told(&mut host, state.path());
    host.stop();
    std::fs::remove_file(state.path().join("told")).expect("told");
    state
}

fn network() -> String {
    NETWORK.replace("bandwidth_mode = \"none\"", "bandwidth_mode = \"absolute\"")
}

/// Policies under which v1 may not have its VF any more, and v2 may.
fn without_v1() -> [(&'static str, String); 4] {
    let two = vnic(2, "vf = \"up0/1\"");
    let there = "[[host]]\nname = \"h2\"\nprovider_addresses = [\"192.168.50.2\"]\n";
    let moved = vnic(1, "iov_weight = 1").replace("\"h1\"", "\"h2\"");
    let other = "[[vm_network]]\nname = \"lab\"\nisolation = \"vlan\"\nvlan = 7\n[[vm_network.subnet]]\nname = \"benches\"\nprefixes = [\"10.1.0.0/24\"]\n";
    let elsewhere = vnic(1, "").replace("\"desks\"", "\"benches\"");
    [
        ("it asks for none", format!("{}{two}", vnic(1, ""))),
        ("it has gone", two.clone()),
        ("it is on another host", format!("{there}{moved}{two}")),
        ("it is another", format!("{other}{elsewhere}{two}")),
    ]
}

#[test]
fn a_vf_whose_vnic_may_not_have_it_any_more_is_taken_away() {
    for recording in [IGB, ICE] {
        for (what, vnics) in without_v1() {
            let (nic, pf) = machine(recording);
            let state = before(&nic);
            nic.done.borrow_mut().clear();
            let mut host = host(state.path());
            host.apply(&format!("{}{vnics}", network()))
                .expect("a policy");
            turn(&mut host, &nic);
            let parked = settings(&nic, &pf, 0);
            assert_eq!(parked.mac, program::nobody(&pf, 0), "{what}");
            assert_eq!((parked.vlan, parked.spoof_check), (100, Some(true)));
            assert_eq!((parked.min_mbit, parked.max_mbit), (0, 1), "{what}");
            if recording == ICE {
                assert_eq!(parked.link_state, LinkState::Down, "{what}");
            }
            assert_eq!(why(&mut host, "v2"), "vf 1", "{what}");
            assert_eq!(mac_of(&nic, &pf, 1), mac(2), "{what}");
            let line = format!("down v1 {} 0 {}\n", mac(1), pf.vfs[0].address);
            let own = told(&mut host, state.path());
            let own: String = own
                .split_inclusive('\n')
                .filter(|it| it.contains("v1"))
                .collect();
            assert_eq!(own, line, "{what}");
            // All is done, and written: neither this daemon nor the next has more to do.
            nic.done.borrow_mut().clear();
            turn(&mut host, &nic);
            assert_eq!(*nic.done.borrow(), [""; 0], "{what}");
            let kept = std::fs::read_to_string(book(state.path())).expect("a book");
            assert!(
                kept.contains("v2") && !kept.contains("v1"),
                "{what}: {kept}"
            );
            host.stop();
        }
    }
}

#[test]
fn a_switch_that_is_not_for_sriov_any_more_has_no_vf_either() {
    let (nic, pf) = machine(IGB);
    let state = before(&nic);
    let mut host = host(state.path());
    let without = network().replace("iov = true", "iov = false");
    let policy = format!("{without}{}{}", vnic(1, ""), vnic(2, ""));
    // Before there is a policy nothing is known of who may have what.
    host.state().take_left(&nic);
    assert_eq!(mac_of(&nic, &pf, 0), mac(1));
    host.apply(&policy).expect("a policy");
    host.state().take_left(&nic);
    for vf in 0..2 {
        assert_eq!(mac_of(&nic, &pf, vf), program::nobody(&pf, vf));
    }
    host.stop();
}

#[test]
fn what_is_somebody_elses_by_now_is_left_alone() {
    let (nic, pf) = machine(IGB);
    let state = before(&nic);
    let other = Mac::new([2, 0, 0, 0, 9, 9]);
    let change = Change {
        mac: Some(other),
        ..Change::default()
    };
    change::change(&nic, &pf, 0, &change).expect("set");
    let mut host = host(state.path());
    host.apply(&format!("{}{}", network(), vnic(2, "vf = \"up0/1\"")))
        .expect("a policy");
    turn(&mut host, &nic);
    let now = settings(&nic, &pf, 0);
    assert_eq!((now.mac, now.max_mbit), (other, 200));
    assert!(!told(&mut host, state.path()).contains("v1"));
    host.stop();
    // Nor is anything taken for what a file says that is none of Weir's.
    std::fs::write(book(state.path()), "[{\"vnic\": 1}]").expect("a file");
    let mut host = self::host(state.path());
    host.apply(&network()).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(mac_of(&nic, &pf, 1), mac(2));
    host.stop();
}

#[test]
fn a_vf_is_written_down_before_the_nic_is_told() {
    let (nic, pf) = machine(IGB);
    let state = tempfile::tempdir().expect("a folder");
    let mut host = host(state.path());
    host.apply(&format!("{}{}", network(), vnic(1, "iov_weight = 1")))
        .expect("a policy");
    let mut seen = 0;
    let acts = Acts {
        nic: &nic,
        act: RefCell::new(Box::new(|nic: &Recorded| {
            if mac_of(nic, &pf, 0) == mac(1) {
                let kept = std::fs::read_to_string(book(state.path())).expect("a book");
                assert!(kept.contains(&mac(1).to_string()), "{kept}");
                seen += 1;
            }
        })),
    };
    turn(&mut host, &acts);
    drop(acts);
    assert!(seen > 0);
    assert_eq!(why(&mut host, "v1"), "vf 0");
    host.stop();
}

#[test]
fn a_vf_of_nobody_is_slow_and_stays_so() {
    let (nic, pf) = machine(IGB);
    let mut host = Host::start(HOST);
    let policy = |more: &str| format!("{}{}", network(), vnic(1, more));
    host.apply(&policy("iov_weight = 1")).expect("a policy");
    turn(&mut host, &nic);
    let rates = |vf| {
        let now = settings(&nic, &pf, vf);
        (now.min_mbit, now.max_mbit)
    };
    assert_eq!(rates(0), (0, 0));
    host.apply(&policy("")).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(mac_of(&nic, &pf, 0), program::nobody(&pf, 0));
    assert_eq!(rates(0), (0, 1), "its VM may have it still");
    // One that nobody was given is nobody's business.
    assert_eq!(rates(1), (0, 0));
    // The driver forgets it with its link (igb_check_vf_rate_limit).
    let none = Change {
        max_mbit: Some(0),
        ..Change::default()
    };
    change::change(&nic, &pf, 0, &none).expect("set");
    turn(&mut host, &nic);
    assert_eq!(rates(0), (0, 1));
    // A driver that will not is not asked again and again, and is when the NIC has changed.
    let speed = |mbit: &str| nic.put("/sys/class/net/eth0/speed", mbit);
    change::change(&nic, &pf, 0, &none).expect("set");
    speed("0\n");
    nic.done.borrow_mut().clear();
    for _ in 0..2 {
        turn(&mut host, &nic);
        assert_eq!(rates(0), (0, 0));
    }
    assert_eq!(*nic.done.borrow(), ["set 0 6"]);
    speed("1000\n");
    turn(&mut host, &nic);
    assert_eq!(rates(0), (0, 1));
    // Who has it next has what is his.
    host.apply(&policy("iov_weight = 1\nbandwidth = { max = \"300Mbit\" }"))
        .expect("a policy");
    turn(&mut host, &nic);
    assert_eq!((why(&mut host, "v1"), rates(0)), ("vf 0".into(), (0, 300)));
    host.stop();
}
