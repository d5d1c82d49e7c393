use super::*;
use crate::policy::model::Vnic;

fn vnic(name: &str, host: &str) -> Vnic {
    Vnic {
        name: name.into(),
        host: host.into(),
        subnet: "s".into(),
        network: "n".into(),
        mac: Mac::new([2, 0, 0, 0, 0, name.len() as u8]),
        addresses: vec![IpAddr::from([10, 0, 0, name.len() as u8])],
        attach: None,
        provider_addresses: Vec::new(),
        mtu: None,
        allowed_sources: Vec::new(),
        allowed_macs: Vec::new(),
        bandwidth: Bandwidth::default(),
        management: false,
        iov: Iov::Software,
        line: Line(7),
        attach_line: Line(7),
    }
}

#[test]
fn what_was_put_in_comes_out_in_the_order_of_names() {
    let mut odd = vnic("bb", "h2");
    odd.addresses.push("fd00::1".parse().unwrap());
    odd.mtu = Some(1400);
    odd.attach = Some("tap:x".parse().unwrap());
    odd.allowed_sources.push("10.9.0.0/16".parse().unwrap());
    let mut bare = vnic("a", "h1");
    bare.addresses.clear();
    let all = [vnic("ccc", "h2"), odd.clone(), bare.clone()];
    let set: Vnics = all.clone().into_iter().collect();
    let [ccc, ..] = all;
    let out: Vec<Vnic> = set.iter().map(VnicRef::to_vnic).collect();
    assert_eq!(out, [bare, odd, ccc]);
    for name in ["a", "bb", "ccc"] {
        assert_eq!(set.get(name).map(VnicRef::name), Some(name));
    }
    for name in ["", "b", "bbb", "d"] {
        assert_eq!(set.get(name), None, "{name}");
    }
    assert_eq!(set.hosts().len(), 2);
}

#[test]
fn sets_compare_by_what_vnics_are() {
    let set = |all: &[Vnic]| all.iter().cloned().collect::<Vnics>();
    let (a, b) = (vnic("a", "h1"), vnic("bb", "h2"));
    let first = set(&[a.clone(), b.clone()]);
    assert_eq!(
        first,
        set(&[b.clone(), a.clone()]),
        "hosts have other places"
    );
    let mut moved = a.clone();
    moved.line = Line(99);
    assert_eq!(first, set(&[moved, b.clone()]));
    let mut other = b.clone();
    other.host = "h1".into();
    assert_ne!(first, set(&[a.clone(), other]));
    let mut other = b.clone();
    other.mtu = Some(9000);
    assert_ne!(first, set(&[a.clone(), other]));
    let mut other = b.clone();
    other.bandwidth.police = true;
    assert_ne!(first, set(&[a.clone(), other]));
    let mut other = b.clone();
    other.management = true;
    assert_ne!(first, set(&[a.clone(), other]));
    let mut other = b.clone();
    other.iov = Iov::Weight(1);
    assert_ne!(first, set(&[a.clone(), other]));
    let mut other = b;
    other.addresses = vec![IpAddr::from([10, 0, 0, 99])];
    assert_ne!(first, set(&[a, other]));
}

#[test]
fn bandwidths_are_kept_once_and_beside_where_there_are_too_many() {
    let max = |n: u64| Bandwidth {
        max: crate::config::units::BitRate::new(n + 1),
        ..Bandwidth::default()
    };
    let all: Vec<Vnic> = (0..PROFILES as u64 + 3)
        .map(|n| {
            let mut vnic = vnic("x", "h1");
            vnic.name = format!("v{n:06}").into();
            vnic.bandwidth = max(n);
            vnic
        })
        .collect();
    let set: Vnics = all.iter().cloned().collect();
    assert_eq!((set.profiles.len(), set.more.len()), (PROFILES, 3));
    for (n, vnic) in set.iter().enumerate() {
        assert_eq!(vnic.bandwidth(), max(n as u64), "{n}");
    }
    // In another order other ones are beside.
    let turned: Vnics = all.into_iter().rev().collect();
    assert_eq!(set, turned);
    let same = (0..1000).map(|n| {
        let mut vnic = vnic("x", "h1");
        vnic.name = format!("v{n:05}").into();
        vnic.bandwidth = max(n % 2);
        vnic
    });
    let set: Vnics = same.collect();
    let profiles = 2 * size_of::<Bandwidth>();
    assert_eq!(set.memory_bytes(), 1000 * (32 + 6) + profiles);
    assert!(set.iter().all(|vnic| vnic.plain().is_some()));
}

#[test]
fn a_vnic_elsewhere_is_a_row_and_a_name() {
    let all = (0..1000).map(|n| {
        let mut vnic = vnic("x", "h1");
        vnic.name = format!("v{n:05}").into();
        vnic
    });
    let set: Vnics = all.collect();
    assert_eq!(set.memory_bytes(), 1000 * (32 + 6));
}
