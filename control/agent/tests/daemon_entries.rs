//! The large tables hold what the policy says of each vNIC, and nothing else: filled at once or changed step by step.

mod daemon_common;

use std::collections::BTreeSet;
use std::net::IpAddr;

use daemon_common::Host;
use weir_agent::plan::{Known, Place};
use weir_tables::endpoints::{Record, Target, endpoint_key};

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "net_null60"
provider_addresses = ["192.168.50.1/24"]
[[trunk]]
name = "vms"
device = "net_null61,no-rx=1"
by = "mac"
"#;

/// Blue has a member here, in one of its subnets; red has none.
const NETWORKS: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[host]]
name = "h3"
provider_addresses = ["192.168.50.3", "192.168.50.4"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "near"
vsid = 5001
prefixes = ["10.1.0.0/16", "fd01::/64"]
[[vm_network.subnet]]
name = "routed"
vsid = 5002
prefixes = ["10.2.0.0/16"]
[[vm_network]]
name = "red"
isolation = "nv"
[[vm_network.subnet]]
name = "other"
vsid = 6001
prefixes = ["10.1.0.0/16"]
"#;

fn vnic(name: &str, host: &str, subnet: &str, mac: u32, addresses: &str, more: &str) -> String {
    let [_, a, b, c] = mac.to_be_bytes();
    format!(
        "[[vnic]]\nname = \"{name}\"\nhost = \"{host}\"\nsubnet = \"{subnet}\"\nmac = \"02:00:00:{a:02x}:{b:02x}:{c:02x}\"\naddresses = [{addresses}]\n{more}\n"
    )
}

fn many(count: u32) -> String {
    let mut text = NETWORKS.to_owned();
    text += &vnic(
        "here",
        "h1",
        "near",
        1,
        "\"10.1.0.9\"",
        "attach = \"trunk:vms\"",
    );
    for n in 0..count {
        let (host, subnet, second) = match n % 5 {
            0 => ("h2", "near", 1),
            1 => ("h3", "near", 1),
            2 => ("h2", "routed", 2),
            3 => ("h3", "other", 1),
            _ => ("h1", "near", 1),
        };
        let more = match n % 15 {
            1 => "provider_addresses = [\"192.168.50.4\"]",
            4 | 9 | 14 => "attach = \"trunk:vms\"",
            _ => "",
        };
        let mut addresses = format!("\"10.{second}.{}.{}\"", 1 + n / 200, 10 + n % 200);
        if n % 35 == 0 {
            addresses += &format!(", \"fd01::1:{n:x}\"");
        }
        text += &vnic(&format!("v{n}"), host, subnet, 1000 + n, &addresses, more);
    }
    text
}

/// That the tables hold the plan's entries, each with what it names, and no more.
#[track_caller]
fn assert_as_planned(host: &mut Host) {
    let state = host.state();
    let known = Known::of(&state.plan, &state.policy);
    let place = |target: Target| match target {
        Target::Local(id) => Place::Local(state.tables.view.vnic(id).expect("a vNIC").name.clone()),
        Target::Remote(id) => {
            let pa: BTreeSet<&IpAddr> = state.plan.peers.keys().collect();
            let pa = pa
                .into_iter()
                .find(|pa| state.tables.peer(**pa) == Some(id));
            Place::Remote(*pa.expect("a peer"))
        }
        other => panic!("{other:?}"),
    };
    for (&(segment, mac), wanted) in &known.endpoints {
        let key = endpoint_key(state.tables.segment(segment).expect("a segment"), mac);
        let [value] = state.tables.view.endpoints.get(key).expect("an endpoint");
        assert_eq!(place(Target::unpack(value).expect("a target")), *wanted);
    }
    for ((network, ca), wanted) in &known.records {
        let domain = state.tables.domain(network).expect("a domain");
        let Record {
            target,
            segment,
            mac,
        } = state.tables.record(domain, *ca).expect("a record");
        assert_eq!((place(target), mac), (wanted.place.clone(), wanted.mac));
        assert_eq!(Some(segment), state.tables.segment(wanted.segment));
    }
    let tables = &state.tables;
    assert_eq!(tables.endpoints.len(), known.endpoints.len());
    assert_eq!(
        tables.records.len() + tables.records6.len(),
        known.records.len()
    );
    let counts = state.plan.counts;
    assert_eq!(counts.endpoints, known.endpoints.len());
    assert_eq!(counts.records + counts.records6, known.records.len());
}

#[test]
fn tables_filled_at_once_and_step_by_step_hold_what_is_planned() {
    for steps in [&[4000_u32][..], &[1, 3, 4000, 500, 0]] {
        let mut host = Host::start(HOST);
        for &count in steps {
            host.apply(&many(count)).expect("applied");
            assert_as_planned(&mut host);
        }
    }
}

#[test]
fn what_vnics_exchange_they_both_have() {
    let mut host = Host::start(HOST);
    let two = |a: (u32, &str), b: (u32, &str)| {
        let mut text = many(0);
        text += &vnic("a", "h2", "near", a.0, a.1, "");
        text + &vnic("b", "h3", "near", b.0, b.1, "")
    };
    let (x, y) = ((7, "\"10.1.0.70\""), (8, "\"10.1.0.80\""));
    for text in [two(x, y), two(y, x), two((7, y.1), (9, x.1)), two(x, y)] {
        host.apply(&text).expect("applied");
        assert_as_planned(&mut host);
    }
}
