//! The NIC's own switch against a recording of netdevsim in switchdev mode, and of drivers without devlink.

use super::change::{Change, change, read};
use super::devlink::{self, Mode};
use super::discover::{self, Pf};
use super::error::Name;
use super::recorded::{EOPNOTSUPP, EPERM, IXGBE, NETDEVSIM, Recorded};
use super::release;
use super::settings::Setting;
use super::users::Claims;

/// The PF of that name, on a machine that plays the recording.
fn machine(recording: &str) -> (Recorded, Pf) {
    let host = Recorded::new(recording);
    let pf = discover::all(&host).remove(0);
    (host, pf)
}

#[test]
fn a_simulated_nic_is_a_pf_and_its_representors_are_not_its_interface() {
    let (host, pf) = machine(NETDEVSIM);
    assert_eq!(
        (pf.pf.as_str(), pf.driver.as_deref()),
        ("netdevsim1", Some("netdevsim"))
    );
    assert_eq!((pf.interface.as_deref(), pf.vfs.len()), (Some("eth0"), 3));
    assert_eq!(discover::find(&host, "eth0").unwrap(), pf);
}

#[test]
fn mode_representors_and_rates_are_read() {
    let (host, pf) = machine(NETDEVSIM);
    let switch = devlink::read(&host, &pf);
    assert_eq!(switch.mode, Some(Mode::Switchdev));
    let told: Vec<_> = switch
        .ports
        .iter()
        .map(|port| (port.vf, port.representor.as_deref(), port.rates))
        .collect();
    assert_eq!(
        told,
        [
            (0, Some("eth1"), Some((0, 0))),
            (1, Some("eth2"), Some((50, 1000))),
            (2, Some("eth3"), Some((0, 0))),
        ]
    );
    // Another PF's ports are not this one's.
    let other = Pf {
        pf: "netdevsim2".into(),
        ..pf
    };
    assert_eq!(devlink::read(&host, &other).ports, []);
    let (host, pf) = machine(IXGBE);
    assert_eq!(devlink::read(&host, &pf), devlink::Switch::default());
}

#[test]
fn rates_go_to_devlink_where_a_vf_has_them_there() {
    let (host, pf) = machine(NETDEVSIM);
    let wanted = Change {
        min_mbit: Some(200),
        max_mbit: Some(300),
        ..Change::default()
    };
    let done = change(&host, &pf, 2, &wanted).unwrap();
    assert_eq!(done.changed, [Setting::MaxRate, Setting::MinRate]);
    assert_eq!((done.settings.min_mbit, done.settings.max_mbit), (200, 300));
    let port = devlink::read(&host, &pf).port(2).unwrap().clone();
    assert_eq!(port.rates, Some((200, 300)));
    // DEVLINK_ATTR_RATE_TX_MAX and _TX_SHARE of that port, and no IFLA_VF_RATE.
    let sets: Vec<String> = [167, 166]
        .map(|kind| format!("{} {kind}", port.index))
        .into();
    assert_eq!(*host.sets.borrow(), sets);
    assert_eq!(read(&host, &pf, 1).unwrap().max_mbit, 1000);
    release::release(&host, &Claims::new(), &pf, 2).unwrap();
    assert_eq!(
        devlink::read(&host, &pf).port(2).unwrap().rates,
        Some((0, 0))
    );
}

#[test]
fn the_mode_is_changed_and_read_back() {
    let (host, pf) = machine(NETDEVSIM);
    let none = Claims::new();
    assert!(devlink::set_mode(&host, &none, &pf, Mode::Legacy).unwrap());
    assert_eq!(devlink::read(&host, &pf).mode, Some(Mode::Legacy));
    assert!(!devlink::set_mode(&host, &none, &pf, Mode::Legacy).unwrap());
}

#[test]
fn a_mode_that_cannot_be_is_refused_by_name() {
    let (host, pf) = machine(NETDEVSIM);
    let name = |host: &Recorded, claims: &Claims, pf: &Pf| {
        let error = devlink::set_mode(host, claims, pf, Mode::Legacy).unwrap_err();
        assert!(!error.mend.is_empty());
        error.name
    };
    let claims = Claims::from([("netdevsim1/2".to_string(), "uplink up0".to_string())]);
    assert_eq!(name(&host, &claims, &pf), Name::InUse);
    host.refuse.set(Some(EPERM));
    assert_eq!(name(&host, &Claims::new(), &pf), Name::NoPrivilege);
    // ice_eswitch_mode_set, which has the mode and not now.
    host.refuse.set(Some(EOPNOTSUPP));
    host.says
        .set("Changing eswitch mode is allowed only if there is no VFs created");
    assert_eq!(name(&host, &Claims::new(), &pf), Name::ValueRefused);
    host.refuse.set(None);
    assert_eq!(devlink::read(&host, &pf).mode, Some(Mode::Switchdev));
    let (host, pf) = machine(IXGBE);
    assert_eq!(name(&host, &Claims::new(), &pf), Name::NotOfDriver);
}

#[test]
fn nobody_can_have_a_simulated_vf() {
    use super::bind::{To, bind};
    let (host, pf) = machine(NETDEVSIM);
    for to in [To::Vfio, To::Kernel] {
        let error = bind(&host, &Claims::new(), &pf, 0, to).unwrap_err();
        assert_eq!(error.name, Name::NotOfDriver);
    }
    assert!(host.writes.borrow().is_empty());
}
