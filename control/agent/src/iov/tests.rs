//! The NIC's part against recordings of each driver.

use std::collections::BTreeSet;

use super::place::VfId;
use super::program::{self, Wanted};
use super::rate::{self, Rates};
use super::survey::{self, Survey};
use super::why::Why;
use crate::config::host::{HostConfig, Uplink};
use crate::policy::VfPin;
use crate::vf::change::{self, Change};
use crate::vf::discover::{self, Pf};
use crate::vf::error::Name;
use crate::vf::recorded::{EPERM, I40E, ICE, IGB, IXGBE, MLX5, NETDEVSIM, Recorded};
use crate::vf::settings::LinkState;
use crate::vf::{heard, link};
use weir_wire::Mac;

const ALL: [&str; 5] = [IGB, IXGBE, I40E, ICE, MLX5];
const WANTED: Wanted = Wanted {
    mac: Mac::new([2, 0, 0, 0, 1, 1]),
    vlan: 100,
};

fn machine(recording: &str) -> (Recorded, Pf) {
    let host = Recorded::new(recording);
    let pf = discover::all(&host)[0].clone();
    let interface = pf.interface.clone().unwrap();
    host.put(&format!("/sys/class/net/{interface}/ifindex"), "7\n");
    (host, pf)
}

fn uplink(device: &str) -> Uplink {
    let text = format!(
        "name = \"h1\"\n[[uplink]]\nname = \"up0\"\ndevice = \"{device}\"\nprovider_addresses = [\"192.168.50.1/24\"]\n[store]\nkind = \"file\"\npath = \"p\"\n"
    );
    let host = HostConfig::parse(&text, "host.toml", "/".as_ref(), &[0, 1]).unwrap();
    host.uplinks[0].clone()
}

fn at(pf: &Pf) -> Uplink {
    uplink(&format!(
        "net_af_packet0,iface={}",
        pf.interface.as_ref().unwrap()
    ))
}

fn look(host: &Recorded, pf: &Pf, told: bool) -> Survey {
    survey::look(host, &at(pf), &BTreeSet::new(), told)
}

/// Why each VF cannot be used.
fn barred(survey: &Survey) -> Vec<&'static str> {
    let offers = survey.offers.iter();
    offers
        .map(|offer| offer.barred.as_ref().map_or("", Why::name))
        .collect()
}

#[test]
fn a_vf_is_set_with_its_mac_last_and_taken_away_with_the_pf_hearing_it() {
    for recording in ALL {
        let (host, pf) = machine(recording);
        let driver = pf.driver.clone().unwrap();
        heard::set(&host, &pf, WANTED.mac, true).unwrap();
        host.done.borrow_mut().clear();
        program::give(&host, &pf, 1, WANTED).unwrap();
        let now = change::read(&host, &pf, 1).unwrap();
        assert!(WANTED.is(&now), "{driver}: {now:?}");
        assert!(host.heard.borrow().is_empty(), "{driver}: the PF is deaf");
        let done = host.done.borrow().clone();
        let last = ["deaf 02:00:00:00:01:01", "set 1 1"];
        assert!(
            done.ends_with(&last.map(String::from)),
            "{driver}: {done:?}"
        );
        // A VF that is so already is not touched.
        host.done.borrow_mut().clear();
        program::give(&host, &pf, 1, WANTED).unwrap();
        assert_eq!(*host.done.borrow(), [""; 0], "{driver}");

        program::take(&host, &pf, 1, WANTED.mac).unwrap();
        let done = host.done.borrow().clone();
        assert_eq!(done, ["set 1 1", "hear 02:00:00:00:01:01"], "{driver}");
        let left = change::read(&host, &pf, 1).unwrap();
        // Its VM may still have it: it stays where it can do no harm.
        assert_eq!((left.vlan, left.spoof_check), (100, Some(true)), "{driver}");
        assert_eq!(left.mac, program::nobody(&pf, 1), "{driver}");
        assert_ne!(left.mac, program::nobody(&pf, 0));
        assert!(!left.mac.is_multicast());
    }
}

#[test]
fn its_link_is_down_while_it_is_set_where_the_driver_has_that() {
    for recording in ALL {
        let (host, pf) = machine(recording);
        let has = program::give(&host, &pf, 0, WANTED).unwrap();
        let state = change::read(&host, &pf, 0).unwrap().link_state;
        program::link(&host, &pf, 0, LinkState::Auto).unwrap();
        // Found set so already, it is known without asking.
        assert_eq!(program::give(&host, &pf, 0, WANTED).unwrap(), has);
        match pf.driver.as_deref().unwrap() {
            "igb" => assert!(!has, "igb has no link state"),
            // ixgbe does it and never shows it.
            "ixgbe" => assert!(has),
            driver => assert!(has && state == LinkState::Down, "{driver}"),
        }
    }
}

#[test]
fn what_the_nic_refuses_or_does_not_keep_leaves_the_vf_without_the_mac() {
    let (host, pf) = machine(I40E);
    host.ignores_mac.set(true);
    let error = program::give(&host, &pf, 0, WANTED).unwrap_err();
    assert_eq!(error.name, Name::NotKept, "{error}");
    host.ignores_mac.set(false);
    host.refuse.set(Some(EPERM));
    let error = program::give(&host, &pf, 0, WANTED).unwrap_err();
    assert_eq!(error.name, Name::NoPrivilege, "{error}");
    host.refuse.set(None);
    let error = program::give(&host, &pf, 9, WANTED).unwrap_err();
    assert_eq!(error.name, Name::NoSuchVf, "{error}");
    assert_ne!(change::read(&host, &pf, 0).unwrap().mac, WANTED.mac);
}

#[test]
fn what_somebody_trusted_limited_or_marked_is_so_no_more() {
    let (host, pf) = machine(ICE);
    let before = Change {
        trust: Some(true),
        min_mbit: Some(500),
        max_mbit: Some(900),
        vlan: Some(7),
        qos: Some(3),
        spoof_check: Some(false),
        ..Change::default()
    };
    change::change(&host, &pf, 0, &before).unwrap();
    assert!(program::keep(&host, &pf, 0, Rates::NONE).unwrap());
    program::give(&host, &pf, 0, WANTED).unwrap();
    let now = change::read(&host, &pf, 0).unwrap();
    assert!(WANTED.is(&now), "{now:?}");
    assert_eq!((now.trust, now.min_mbit, now.max_mbit), (Some(false), 0, 0));
    // Each alone is enough to be set again.
    for change in [
        Change {
            trust: Some(true),
            ..Change::default()
        },
        Change {
            vlan: Some(7),
            ..Change::default()
        },
        Change {
            qos: Some(3),
            ..Change::default()
        },
        Change {
            spoof_check: Some(false),
            ..Change::default()
        },
        Change {
            mac: Some(Mac::new([2; 6])),
            ..Change::default()
        },
    ] {
        change::change(&host, &pf, 0, &change).unwrap();
        assert!(
            !WANTED.is(&change::read(&host, &pf, 0).unwrap()),
            "{change:?}"
        );
        program::give(&host, &pf, 0, WANTED).unwrap();
        assert!(
            WANTED.is(&change::read(&host, &pf, 0).unwrap()),
            "{change:?}"
        );
    }
}

#[test]
fn rates_are_kept_as_each_driver_has_them_or_refused_with_nothing_changed() {
    let rates = |min_mbit, max_mbit| Rates { min_mbit, max_mbit };
    for recording in ALL {
        let (host, pf) = machine(recording);
        let driver = pf.driver.clone().unwrap();
        let kept = |wanted: Rates| {
            let done = program::keep(&host, &pf, 0, wanted);
            let now = change::read(&host, &pf, 0).unwrap();
            assert!(done.is_err() || wanted.are(&now), "{driver} {wanted:?}");
            (
                done.map_err(|error| (error.name, rate::is_final(&error))),
                now,
            )
        };
        assert_eq!(kept(rates(0, 100)).0, Ok(true), "{driver}");
        host.done.borrow_mut().clear();
        assert_eq!(kept(rates(0, 100)).0, Ok(false), "{driver}");
        assert_eq!(*host.done.borrow(), [""; 0], "{driver}");
        let (done, now) = kept(rates(50, 200));
        match driver.as_str() {
            "ice" | "mlx5_core" => assert_eq!(done, Ok(true), "{driver}"),
            _ => {
                assert_eq!(done, Err((Name::ValueRefused, true)), "{driver}");
                assert!(rates(0, 100).are(&now), "{driver}: put back");
            }
        }
        assert_eq!(kept(Rates::NONE).0, Ok(true), "{driver}");
        // Who may not ask, and a driver that is busy, say nothing of the rate.
        host.refuse.set(Some(EPERM));
        let (done, _) = kept(rates(0, 300));
        assert_eq!(done, Err((Name::NoPrivilege, false)), "{driver}");
    }
    // Where no limit shows as the link's speed.
    let (host, pf) = machine(&ICE.replace("/drivers/ice", "/drivers/qede"));
    assert_eq!(pf.driver.as_deref(), Some("qede"));
    for (wanted, changes) in [
        (rates(0, 100), true),
        (Rates::NONE, true),
        (Rates::NONE, false),
    ] {
        assert_eq!(
            program::keep(&host, &pf, 0, wanted),
            Ok(changes),
            "{wanted:?}"
        );
        assert!(
            wanted.are(&change::read(&host, &pf, 0).unwrap()),
            "{wanted:?}"
        );
    }
    // Rates on devlink, in bytes a second.
    let (host, pf) = machine(NETDEVSIM);
    assert!(program::keep(&host, &pf, 0, rates(50, 70_000)).unwrap());
    assert_eq!(*host.done.borrow(), ["set 128 167", "set 128 166"]);
    assert!(rates(50, 70_000).are(&change::read(&host, &pf, 0).unwrap()));
}

#[test]
fn a_vf_that_is_gone_or_anothers_is_left_alone() {
    let (host, pf) = machine(IGB);
    // Given to somebody else meanwhile.
    program::take(&host, &pf, 0, WANTED.mac).unwrap();
    assert_eq!(*host.done.borrow(), ["hear 02:00:00:00:01:01"]);
    // Gone.
    program::take(&host, &pf, 5, Mac::new([2, 0, 0, 0, 1, 2])).unwrap();
    assert_eq!(host.heard.borrow().len(), 2);
}

#[test]
fn a_pf_hears_what_it_is_told_and_says_when_it_is_full() {
    let (host, pf) = machine(IGB);
    host.room.set(1);
    let mac = |last| Mac::new([2, 0, 0, 0, 2, last]);
    heard::set(&host, &pf, mac(1), true).unwrap();
    heard::set(&host, &pf, mac(1), true).unwrap();
    let error = heard::set(&host, &pf, mac(2), true).unwrap_err();
    assert_eq!(error.name, Name::ValueRefused, "{error}");
    assert!(error.problem.contains("no room"), "{error}");
    heard::set(&host, &pf, mac(2), false).unwrap();
    heard::set(&host, &pf, mac(1), false).unwrap();
    heard::set(&host, &pf, mac(2), true).unwrap();
    host.remove("/sys/class/net/eth0/ifindex");
    let error = heard::set(&host, &pf, mac(3), true).unwrap_err();
    assert_eq!(error.name, Name::NoInterface, "{error}");
}

#[test]
fn each_thing_that_bars_a_vf_has_its_name() {
    let (host, pf) = machine(IGB);
    assert_eq!(barred(&look(&host, &pf, true)), ["", ""]);
    assert_eq!(barred(&look(&host, &pf, false)), ["no_way_back"; 2]);
    let (with_link, ixgbe) = machine(IXGBE);
    assert_eq!(barred(&look(&with_link, &ixgbe, false)), ["", ""]);
    let own = [pf.vfs[0].address.clone()].into();
    let survey = survey::look(&host, &at(&pf), &own, true);
    assert_eq!(barred(&survey), ["in_use", ""]);
    let second = format!("/sys/bus/pci/devices/{}", pf.vfs[1].address);
    host.remove(&format!("{second}/driver"));
    assert_eq!(barred(&look(&host, &pf, true)), ["", "driver"]);
    host.remove(&format!("{second}/iommu_group"));
    assert_eq!(barred(&look(&host, &pf, true)), ["", "no_iommu"]);
    host.point(&format!("{second}/driver"), "x/vfio-pci");
    assert_eq!(barred(&look(&host, &pf, true)), ["", "no_iommu"]);
    // A kernel's interface, for a container, needs none.
    host.point(&format!("{second}/driver"), "x/igbvf");
    assert_eq!(barred(&look(&host, &pf, true)), ["", ""]);
    host.put("/sys/class/net/eth0/operstate", "down\n");
    assert_eq!(barred(&look(&host, &pf, true)), ["no_link"; 2]);
    host.put("/sys/class/net/eth0/operstate", "unknown\n");
    assert_eq!(barred(&look(&host, &pf, true)), ["", ""]);
    // A PF that DPDK drives.
    host.point(
        &format!("/sys/bus/pci/devices/{}/driver", pf.pf),
        "x/vfio-pci",
    );
    host.remove(&format!("/sys/bus/pci/devices/{}/net", pf.pf));
    let survey = survey::look(&host, &uplink(&pf.pf), &BTreeSet::new(), true);
    assert_eq!(barred(&survey), ["driver"; 2]);
}

#[test]
fn an_uplink_without_vfs_says_why() {
    let (host, pf) = machine(IGB);
    host.put(
        &format!("/sys/bus/pci/devices/{}/sriov_numvfs", pf.pf),
        "0\n",
    );
    let survey = look(&host, &pf, true);
    assert_eq!((survey.offers.len(), survey.none.name()), (0, "no_vfs"));
    for device in ["net_af_packet0,iface=veth7", "tap:x", "net_null0"] {
        let survey = survey::look(&host, &uplink(device), &BTreeSet::new(), true);
        assert_eq!(survey.none.name(), "no_sriov", "{device}");
        assert!(survey.offers.is_empty() && survey.pf.is_none());
    }
    // The appliance's uplink that is a VF itself.
    let survey = survey::look(&host, &uplink(&pf.vfs[0].address), &BTreeSet::new(), true);
    assert!(
        survey.none.told().contains("is a VF itself"),
        "{:?}",
        survey.none
    );
}

#[test]
fn a_pin_names_the_pf_by_its_uplink_its_interface_or_its_address() {
    let (host, pf) = machine(IGB);
    let survey = look(&host, &pf, true);
    let pinned = |pf: &str, index| {
        let pin = VfPin {
            pf: pf.into(),
            index,
        };
        survey::pinned(&survey, &"up0".into(), &pin)
    };
    let one = VfId {
        pf: pf.pf.as_str().into(),
        index: 1,
    };
    for name in ["up0", "eth0", "0000:01:00.0", "01:00.0"] {
        assert_eq!(pinned(name, 1), Ok(one.clone()), "{name}");
    }
    let why = |pf, index| pinned(pf, index).map_err(|why| why.name());
    assert_eq!(why("up1", 1), Err("other_pf"));
    assert_eq!(why("up0", 2), Err("no_such_vf"));
    let nothing = survey::look(&host, &uplink("tap:x"), &BTreeSet::new(), true);
    let pin = VfPin {
        pf: "up0".into(),
        index: 0,
    };
    let none = survey::pinned(&nothing, &"up0".into(), &pin);
    assert_eq!(none.map_err(|why| why.name()), Err("no_sriov"));
}

#[test]
fn a_team_is_known_by_what_is_below_it() {
    let (host, _) = machine(IGB);
    let team = |device: &str| survey::team(&host, &uplink(device));
    let port = "net_af_packet0,iface=bond0";
    assert_eq!(team(port), None, "it is not there");
    host.put("/sys/class/net/bond0/lower_eth0/x", "");
    assert_eq!(team(port), None, "a VLAN of eth0");
    host.put("/sys/class/net/bond0/lower_eth1/x", "");
    assert_eq!(team(port).as_deref(), Some("bond0 of eth0 and eth1"));
    host.put("/sys/class/net/bond1/bonding/mode", "active-backup 1\n");
    assert_eq!(team("net_af_packet0,iface=bond1").as_deref(), Some("bond1"));
    assert_eq!(team("net_af_packet0,iface=eth0"), None);
    assert!(team("net_bonding0,mode=1").is_some());
}

#[test]
fn settings_alone_are_what_all_tells_of_them() {
    let (host, pf) = machine(ICE);
    let (all, settings) = (
        link::all(&host, &pf).unwrap(),
        link::settings(&host, &pf).unwrap(),
    );
    assert_eq!(all.len(), settings.len());
    assert_eq!(all[0].settings, settings[0].settings);
}
