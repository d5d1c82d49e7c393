//! Subnets whose packets are rewritten: what they need, every way in which one is refused, and what a host holds of them.

use std::net::IpAddr;
use std::path::Path;

use weir_agent::config::host::HostConfig;
use weir_agent::plan::{Known, Place, Plan};
use weir_agent::policy::{Policy, Translation};
use weir_tables::view::Carriage;

const GOOD: &str = r#"
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
name = "blue-web"
vsid = 5001
prefixes = ["10.1.0.0/24"]
translation = "rewrite"
[[vm_network.subnet]]
name = "blue-db"
vsid = 5002
prefixes = ["10.2.0.0/24"]
# ROUTES

[[vnic]]
name = "a"
host = "h1"
subnet = "blue-web"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11", "10.1.0.21"]
attach = "net_null0"
provider_addresses = ["192.168.60.11", "192.168.60.21"]
[[vnic]]
name = "b"
host = "h2"
subnet = "blue-web"
mac = "02:00:00:00:01:02"
addresses = ["10.1.0.12"]
provider_addresses = ["192.168.60.12"]
[[vnic]]
name = "c"
host = "h2"
subnet = "blue-db"
mac = "02:00:00:00:01:03"
addresses = ["10.2.0.13"]
"#;

const HOST: &str = r#"
name = "h1"
[[uplink]]
name = "up0"
device = "net_null9"
provider_addresses = ["192.168.50.1/24"]
gateway = "192.168.50.254"
neighbors = { "192.168.50.77" = "02:bb:00:00:00:77" }
[store]
kind = "file"
path = "policy.toml"
"#;

fn host() -> HostConfig {
    HostConfig::parse(HOST, "host.toml", Path::new("/"), &[0, 1]).unwrap()
}

/// The good policy with `from` replaced brings one refusal, at the line marked HERE.
fn refused(from: &str, to: &str, object: &str, problem: &str) {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} must be there once");
    let text = GOOD.replace(from, to);
    let refusals = Policy::parse_for_host(&text, "policy.toml", &host()).expect_err(to);
    assert_eq!(refusals.len(), 1, "{to}: {refusals:#?}");
    let refusal = &refusals[0];
    let line = text.lines().position(|line| line.contains("HERE"));
    assert_eq!(refusal.line, line.map(|line| line as u32 + 1), "{refusal}");
    assert_eq!(refusal.object, object, "{refusal}");
    assert!(refusal.problem.contains(problem), "{refusal}");
    assert!(refusal.mend.len() > 5, "{refusal}");
}

#[test]
fn each_customer_address_has_a_provider_address_of_its_own() {
    let policy = Policy::parse_for_host(GOOD, "policy.toml", &host()).unwrap();
    assert_eq!(policy.subnets["blue-web"].translation, Translation::Rewrite);
    let pairs: Vec<(IpAddr, IpAddr)> = policy.vnics.get("a").unwrap().pairs().collect();
    let wanted = [
        ("10.1.0.11", "192.168.60.11"),
        ("10.1.0.21", "192.168.60.21"),
    ];
    assert_eq!(
        pairs,
        wanted.map(|(ca, pa)| (ca.parse().unwrap(), pa.parse().unwrap()))
    );
    // Packets go to its host, whose own address they do not bear.
    let host = host();
    let tunnel = policy.tunnel_addresses(policy.vnics.get("b").unwrap(), &host);
    assert_eq!(tunnel, ["192.168.50.2".parse::<IpAddr>().unwrap()]);
}

#[test]
fn what_a_host_holds_of_rewritten_vnics() {
    let policy = Policy::parse_for_host(GOOD, "policy.toml", &host()).unwrap();
    let plan = Plan::of(&policy, &host()).unwrap();
    let pa = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(plan.rewritten.len(), 3);
    let a = &plan.rewritten[&pa("192.168.60.21")];
    assert_eq!(
        (a.ca, &a.place),
        (pa("10.1.0.21"), &Place::Local("a".into()))
    );
    let b = &plan.rewritten[&pa("192.168.60.12")];
    assert_eq!(
        (b.ca, &b.place),
        (pa("10.1.0.12"), &Place::Remote(pa("192.168.50.2")))
    );
    let known = Known::of(&plan, &policy);
    let record = |ca: [u8; 4]| &known.records[&("blue".into(), ca.into())];
    assert_eq!(record([10, 1, 0, 12]).pa, Some(pa("192.168.60.12")));
    assert_eq!(record([10, 2, 0, 13]).pa, None);
    // A MAC of another host's is nobody's business.
    let b_mac = policy.vnics.get("b").unwrap().mac();
    assert!(known.endpoints.keys().all(|(_, mac)| *mac != b_mac));
    // NVGRE is accepted from hosts, not from vNICs.
    assert_eq!(
        plan.accepted.iter().collect::<Vec<_>>(),
        [&pa("192.168.50.2")]
    );
    assert_eq!(plan.vnics["a"].carriage, Carriage::Rewrite);
    assert_eq!(plan.vnics["a"].identity.v4_pas.len(), 2);
}

#[test]
fn provider_addresses_that_are_missing_or_too_many() {
    let three = "provider_addresses = [\"192.168.60.11\", \"192.168.60.21\"]";
    refused(
        three,
        "provider_addresses = [\"192.168.60.11\"] # HERE",
        "vnic a",
        "1 of IPv4 for 2",
    );
    refused(
        three,
        "provider_addresses = [\"192.168.60.11\", \"192.168.60.21\", \"192.168.60.31\"] # HERE",
        "vnic a",
        "3 of IPv4 for 2",
    );
    refused(
        "[[vnic]]\nname = \"b\"\nhost = \"h2\"\nsubnet = \"blue-web\"\nmac = \"02:00:00:00:01:02\"\naddresses = [\"10.1.0.12\"]\nprovider_addresses = [\"192.168.60.12\"]",
        "[[vnic]] # HERE\nname = \"b\"\nhost = \"h2\"\nsubnet = \"blue-web\"\nmac = \"02:00:00:00:01:02\"\naddresses = [\"10.1.0.12\"]",
        "vnic b",
        "0 of IPv4 for 1",
    );
}

#[test]
fn provider_addresses_that_somebody_has() {
    let own = "provider_addresses = [\"192.168.60.12\"]";
    for (pa, whose) in [
        ("192.168.60.11", "already that of vnic a"),
        ("192.168.50.2", "already that of host h2"),
    ] {
        let to = format!("provider_addresses = [\"{pa}\"] # HERE");
        refused(own, &to, "vnic b", whose);
    }
    // What only this machine's host.toml knows; the vNIC's line is named.
    for (pa, whose) in [
        ("192.168.50.254", "is the gateway of uplink up0"),
        ("192.168.50.77", "is a neighbour of uplink up0"),
    ] {
        let text = GOOD.replace("192.168.60.12", pa);
        let refusals = Policy::parse_for_host(&text, "policy.toml", &host()).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:#?}");
        assert!(refusals[0].problem.contains(whose), "{}", refusals[0]);
    }
    let alone = GOOD
        .replacen(
            "[[host]]\nname = \"h1\"\nprovider_addresses = [\"192.168.50.1\"]\n",
            "",
            1,
        )
        .replace("192.168.60.12", "192.168.50.1");
    let refusals = Policy::parse_for_host(&alone, "policy.toml", &host()).unwrap_err();
    assert!(
        refusals[0].problem.contains("an address of uplink up0"),
        "{refusals:#?}"
    );
}

/// The good policy with IPv6 beside IPv4, on hosts that have both.
fn dual() -> String {
    let both = [
        ("\"192.168.50.1\"]", "\"192.168.50.1\", \"fd50::1\"]"),
        ("\"192.168.50.2\"]", "\"192.168.50.2\", \"fd50::2\"]"),
        ("[\"10.1.0.0/24\"]", "[\"10.1.0.0/24\", \"fd01::/64\"]"),
        (
            "[\"10.1.0.11\", \"10.1.0.21\"]",
            "[\"fd01::b\", \"10.1.0.11\", \"fd01::15\", \"10.1.0.21\"]",
        ),
        (
            "[\"192.168.60.11\", \"192.168.60.21\"]",
            "[\"192.168.60.11\", \"192.168.60.21\", \"fd60::b\", \"fd60::15\"]",
        ),
        ("[\"10.1.0.12\"]", "[\"10.1.0.12\", \"fd01::c\"]"),
        ("[\"192.168.60.12\"]", "[\"192.168.60.12\", \"fd60::c\"]"),
    ];
    let mut text = GOOD.to_owned();
    for (from, to) in both {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    text
}

fn dual_host() -> HostConfig {
    let text = HOST.replace("50.1/24\"]", "50.1/24\", \"fd50::1/64\"]");
    HostConfig::parse(&text, "host.toml", Path::new("/"), &[0, 1]).unwrap()
}

#[test]
fn each_family_is_paired_in_its_own_order_and_travels_by_the_hosts_address_of_that_family() {
    let policy = Policy::parse_for_host(&dual(), "policy.toml", &dual_host()).unwrap();
    let pairs: Vec<(IpAddr, IpAddr)> = policy.vnics.get("a").unwrap().pairs().collect();
    let wanted = [
        ("10.1.0.11", "192.168.60.11"),
        ("10.1.0.21", "192.168.60.21"),
        ("fd01::b", "fd60::b"),
        ("fd01::15", "fd60::15"),
    ];
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(pairs, wanted.map(|(ca, pa)| (ip(ca), ip(pa))));
    let plan = Plan::of(&policy, &dual_host()).unwrap();
    assert_eq!(plan.rewritten.len(), 6);
    assert_eq!(plan.vnics["a"].identity.v6_pas.len(), 2);
    for (pa, ca, host) in [
        ("192.168.60.12", "10.1.0.12", "192.168.50.2"),
        ("fd60::c", "fd01::c", "fd50::2"),
    ] {
        let place = Place::Remote(ip(host));
        let b = &plan.rewritten[&ip(pa)];
        assert_eq!((b.ca, &b.place), (ip(ca), &place));
        let record = &Known::of(&plan, &policy).records[&("blue".into(), ip(ca))];
        assert_eq!((record.pa, &record.place), (Some(ip(pa)), &place));
        assert!(plan.peers.contains_key(&ip(host)));
    }
    // A host that has no uplink of IPv6 sends it by the way to the host's other address.
    let text = dual().replace(", \"fd50::1\"]", "]");
    let policy = Policy::parse_for_host(&text, "policy.toml", &host()).unwrap();
    let plan = Plan::of(&policy, &host()).unwrap();
    let place = &plan.rewritten[&ip("fd60::c")].place;
    assert_eq!(place, &Place::Remote(ip("192.168.50.2")));
}

#[test]
fn ipv6_needs_provider_addresses_of_ipv6() {
    let text = dual().replace("\"192.168.60.12\", \"fd60::c\"]", "\"192.168.60.12\"]");
    let refusals = Policy::parse_for_host(&text, "policy.toml", &dual_host()).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert!(
        refusals[0].problem.contains("0 of IPv6 for 1"),
        "{}",
        refusals[0]
    );
    let text = dual().replace("\"fd60::c\"]", "\"fd60::b\"]");
    let refusals = Policy::parse_for_host(&text, "policy.toml", &dual_host()).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    let problem = &refusals[0].problem;
    assert!(problem.contains("already that of vnic a"), "{problem}");
}

#[test]
fn what_rewriting_does_not_carry() {
    refused(
        "# ROUTES",
        "[[vm_network.route]]\nprefix = \"0.0.0.0/0\"\nvia = \"10.1.0.12\" # HERE",
        "route blue/0.0.0.0/0",
        "has no provider address",
    );
}
