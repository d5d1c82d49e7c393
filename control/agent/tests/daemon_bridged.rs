//! Bridged VM networks carried out on a real host, beside a virtual one.

mod daemon_common;

use std::net::Ipv4Addr;

use daemon_common::{HOST, Host, ca, frame, mac, tagged};
use weir_switch::testing::frames;
use weir_tables::bridged::Bridged;

const NETWORKS: &str = r#"
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
[[vm_network]]
name = "lab"
isolation = "none"
[[vm_network.subnet]]
name = "lab1"
prefixes = ["10.1.0.0/24"]
[[vm_network]]
name = "office"
isolation = "vlan"
vlan = 100
[[vm_network.subnet]]
name = "desks"
prefixes = ["10.1.0.0/24"]
"#;

fn vnic(name: &str, host: &str, subnet: &str, i: u8) -> String {
    let attach = match host {
        "h1" => format!("attach = \"memif:DIR/{name}\"\n"),
        _ => String::new(),
    };
    format!(
        "[[vnic]]\nname = \"{name}\"\nhost = \"{host}\"\nsubnet = \"{subnet}\"\nmac = \"{}\"\naddresses = [\"{}\"]\n{attach}",
        mac(i),
        ca(i)
    )
}

fn bridged(host: &mut Host) -> Option<Bridged> {
    let uplinks = &host.state().tables.view.uplinks;
    uplinks[0].as_ref().expect("an uplink").bridged.clone()
}

#[test]
fn each_in_its_own_network_and_gone_when_it_goes() {
    let mut host = Host::start(HOST);
    let blue = vnic("b1", "h1", "blue1", 1);
    host.apply(&format!("{NETWORKS}{blue}")).expect("a policy");
    assert_eq!(bridged(&mut host), None);
    assert!(host.state().hears_all.is_empty());
    let all = format!(
        "{NETWORKS}{blue}{}{}{}",
        vnic("l1", "h1", "lab1", 1),
        vnic("d1", "h1", "desks", 1),
        vnic("d9", "h2", "desks", 9),
    );
    host.apply(&all).expect("a policy");
    assert!(!host.state().hears_all.is_empty());
    let (mut b1, mut l1, mut d1) = (host.vm("b1"), host.vm("l1"), host.vm("d1"));
    let mut wire = host.vm("up0");

    let far = frame(9, 1, b"far");
    l1.send([&far[..]]);
    assert_eq!(wire.receive(1), std::slice::from_ref(&far));
    d1.send([&far[..]]);
    assert_eq!(wire.receive(1), [tagged(&far)]);
    b1.send([&far[..]]);
    wire.receives_nothing();
    assert_eq!(host.dropped("no_record"), 1);
    let near = frame(1, 9, b"near");
    wire.send([&near[..], &tagged(&near)]);
    assert_eq!(l1.receive(1), std::slice::from_ref(&near));
    assert_eq!(d1.receive(1), std::slice::from_ref(&near));
    b1.receives_nothing();
    // Nobody answers for others: neither for a vNIC that the policy knows, nor for the first address.
    for target in [ca(9), Ipv4Addr::new(10, 1, 0, 1)] {
        let ask = frames::arp_request(mac(1), ca(1), target);
        d1.send([&ask[..]]);
        assert_eq!(wire.receive(1), [tagged(&ask)]);
    }
    d1.receives_nothing();
    let d9 = host.state().objects("vnic", Some("d9")).expect("a kind");
    assert_eq!(d9[0]["status"]["place"], "remote");
    assert_eq!(host.state().tables.records.len(), 1, "of blue alone");
    host.assert_conserved();

    // To another VLAN is to another segment; what was there is nobody's.
    host.apply(&all.replace("vlan = 100", "vlan = 101"))
        .expect("a policy");
    wire.send([&tagged(&near)[..]]);
    d1.receives_nothing();
    assert_eq!(host.dropped("outer_vlan"), 1);
    d1.send([&far[..]]);
    let out = wire.receive(1);
    assert_eq!(out[0][12..16], [0x81, 0, 0, 101]);

    host.apply(&format!("{NETWORKS}{blue}")).expect("a policy");
    assert_eq!(bridged(&mut host), None);
    assert!(host.state().hears_all.is_empty());
    for vm in [b1, l1, d1, wire] {
        vm.unplug();
    }
    host.stop();
}

#[test]
fn who_has_the_uplinks_own_mac_is_refused() {
    let mut host = Host::start(HOST);
    let uplink = host.state().tables.view.uplinks[0].clone();
    let theirs = uplink.expect("an uplink").mac.to_string();
    let own = vnic("l1", "h1", "lab1", 1).replace(&mac(1).to_string(), &theirs);
    let refusals = host
        .apply(&format!("{NETWORKS}{own}"))
        .expect_err("its MAC");
    assert!(
        refusals.len() == 1 && refusals[0].problem.contains("that of the uplink"),
        "{refusals:?}"
    );
    host.stop();
}
