//! Policies carried out on a real host: what VMs then send and receive, and what a refusal leaves.

mod daemon_common;

use std::net::Ipv4Addr;

use daemon_common::Host;
use weir_switch::testing::frames;
use weir_wire::Mac;

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "memif:DIR/up0"
provider_addresses = ["192.168.50.1/24"]
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02" }
"#;

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, 10 + i)
}

fn frame(to: u8, from: u8, text: &[u8]) -> Vec<u8> {
    frames::tenant(mac(to), mac(from), ca(from), ca(to), text)
}

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
        if subnet == "blue2" { Ipv4Addr::new(10, 2, 0, 10 + i) } else { ca(i) }
    )
}

#[test]
fn vms_speak_as_the_policy_says() {
    let mut host = Host::start(HOST);
    let report = host
        .apply(&format!(
            "{TENANTS}{}{}{}{}",
            vnic("b1", "h1", "blue1", 1, "memif:DIR/b1"),
            vnic("b2", "h1", "blue1", 2, "memif:DIR/b2"),
            vnic("b9", "h2", "blue1", 9, ""),
            vnic("r1", "h1", "red1", 1, "memif:DIR/r1"),
        ))
        .expect("a policy");
    assert_eq!(report.revision, 1);
    let (mut b1, mut b2, mut r1) = (host.vm("b1"), host.vm("b2"), host.vm("r1"));
    b1.send([&frame(2, 1, b"hello")[..]]);
    assert_eq!(b2.receive(1), [frame(2, 1, b"hello")]);
    r1.send([&frame(2, 1, b"hello")[..]]);
    b2.receives_nothing();
    host.assert_conserved();
    for vm in [b1, b2, r1] {
        vm.close();
    }
    host.stop();
}
