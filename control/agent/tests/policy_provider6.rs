//! Provider addresses of both families: which of a host's is used, from which of this one's, and by which next hop.

use std::net::IpAddr;
use std::path::Path;

use weir_agent::config::host::HostConfig;
use weir_agent::plan::{PeerPlan, Plan};
use weir_agent::policy::Policy;

const POLICY: &str = r#"
[[host]]
name = "h1"
[[host]]
name = "h2"
provider_addresses = ["fd00:50::2", "192.168.50.2"]
[[host]]
name = "h3"
provider_addresses = ["192.168.60.3", "fd00:60::3"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "web"
vsid = 5001
prefixes = ["10.1.0.0/24"]
[[vnic]]
name = "blue1"
host = "h1"
subnet = "web"
mac = "02:00:00:00:01:01"
attach = "tap:blue1"
[[vnic]]
name = "blue2"
host = "h2"
subnet = "web"
mac = "02:00:00:00:01:02"
[[vnic]]
name = "blue3"
host = "h3"
subnet = "web"
mac = "02:00:00:00:01:03"
"#;

fn host(uplinks: &str) -> HostConfig {
    let text = format!("name = \"h1\"\n{uplinks}");
    HostConfig::parse(&text, "host.toml", Path::new(""), &[0]).unwrap()
}

fn uplink(number: usize, addresses: &str, gateway: &str) -> String {
    let gateway = match gateway {
        "" => String::new(),
        gateway => format!("gateway = {gateway}\n"),
    };
    format!(
        "[[uplink]]\nname = \"up{number}\"\ndevice = \"net_null{number}\"\nprovider_addresses = [{addresses}]\n{gateway}"
    )
}

fn plan(policy: &str, host: &HostConfig) -> Plan {
    // What this host is called with is in host.toml alone.
    let policy = policy.replace("[[host]]\nname = \"h1\"\n", "");
    let policy = Policy::parse_for_host(&policy, "policy.toml", host).unwrap();
    Plan::of(&policy, host).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The peers of a plan: (address, uplink, source, next hop).
#[track_caller]
fn peers(plan: &Plan, wanted: &[(&str, usize, &str, &str)]) {
    let found: Vec<(IpAddr, PeerPlan)> = plan.peers.iter().map(|(&pa, &peer)| (pa, peer)).collect();
    let mut wanted: Vec<(IpAddr, PeerPlan)> = wanted
        .iter()
        .map(|&(pa, uplink, source, next_hop)| {
            let (source, next_hop) = (ip(source), ip(next_hop));
            let peer = PeerPlan {
                uplink,
                source,
                next_hop,
                ecn: true,
            };
            (ip(pa), peer)
        })
        .collect();
    wanted.sort_by_key(|peer| peer.0);
    assert_eq!(found, wanted);
}

/// RFC 6040 §4.3: compatibility mode is of one other host.
#[test]
fn who_does_not_know_congestion_marks_is_sent_none() {
    let policy = POLICY.replace(
        "[[host]]\nname = \"h2\"\n",
        "[[host]]\nname = \"h2\"\necn = false\n",
    );
    assert_ne!(policy, POLICY);
    let here = host(&uplink(0, "\"192.168.50.1/24\"", "\"192.168.50.254\""));
    let plan = plan(&policy, &here);
    let knows: Vec<bool> = plan.peers.values().map(|peer| peer.ecn).collect();
    assert_eq!(knows, [false, true]);
}

#[test]
fn the_first_address_of_a_host_is_used_that_this_host_reaches() {
    let both = "\"192.168.50.1/24\", \"fd00:50::1/64\"";
    let gateways = "[\"192.168.50.254\", \"fd00:50::fe\"]";
    let here = host(&uplink(0, both, gateways));
    peers(
        &plan(POLICY, &here),
        &[
            ("fd00:50::2", 0, "fd00:50::1", "fd00:50::2"),
            ("192.168.60.3", 0, "192.168.50.1", "192.168.50.254"),
        ],
    );
    // With an uplink of one family, the other host's second address will do.
    let here = host(&uplink(0, "\"192.168.50.1/24\"", "\"192.168.50.254\""));
    peers(
        &plan(POLICY, &here),
        &[
            ("192.168.50.2", 0, "192.168.50.1", "192.168.50.2"),
            ("192.168.60.3", 0, "192.168.50.1", "192.168.50.254"),
        ],
    );
    let here = host(&uplink(0, "\"fd00:50::1/64\"", "\"fd00:50::fe\""));
    let v6 = plan(POLICY, &here);
    peers(
        &v6,
        &[
            ("fd00:50::2", 0, "fd00:50::1", "fd00:50::2"),
            ("fd00:60::3", 0, "fd00:50::1", "fd00:50::fe"),
        ],
    );
    // Whatever they send from is accepted.
    let all = ["192.168.50.2", "192.168.60.3", "fd00:50::2", "fd00:60::3"];
    assert!(v6.accepted.iter().copied().eq(all.map(ip)));
}

#[test]
fn a_router_may_be_known_by_its_link_local_address() {
    let addresses = "\"192.168.50.1/24\", \"fd00:50::1/128\", \"fd00:51::1/64\"";
    let here = host(&uplink(0, addresses, "[\"fe80::1\", \"192.168.50.254\"]"));
    peers(
        &plan(POLICY, &here),
        &[
            ("fd00:50::2", 0, "fd00:50::1", "fe80::1"),
            ("192.168.60.3", 0, "192.168.50.1", "192.168.50.254"),
        ],
    );
}

#[test]
fn each_family_may_have_an_uplink_of_its_own() {
    let here = host(&format!(
        "{}{}",
        uplink(0, "\"fd00:50::1/64\"", ""),
        uplink(1, "\"192.168.60.1/24\"", "")
    ));
    peers(
        &plan(POLICY, &here),
        &[
            ("fd00:50::2", 0, "fd00:50::1", "fd00:50::2"),
            ("192.168.60.3", 1, "192.168.60.1", "192.168.60.3"),
        ],
    );
}

#[test]
fn a_vnic_may_name_the_address_of_its_host() {
    let here = host(&uplink(
        0,
        "\"192.168.50.1/24\", \"fd00:50::1/64\"",
        "\"192.168.50.254\"",
    ));
    let own = POLICY.replace(
        "mac = \"02:00:00:00:01:02\"",
        "mac = \"02:00:00:00:01:02\"\nprovider_addresses = [\"192.168.50.2\"]",
    );
    peers(
        &plan(&own, &here),
        &[
            ("192.168.50.2", 0, "192.168.50.1", "192.168.50.2"),
            ("192.168.60.3", 0, "192.168.50.1", "192.168.50.254"),
        ],
    );
}

#[test]
fn a_host_of_which_no_address_is_reached_is_refused() {
    let here = host(&uplink(0, "\"fd00:50::1/64\"", ""));
    let policy = POLICY.replace("[[host]]\nname = \"h1\"\n", "");
    let policy = Policy::parse_for_host(&policy, "policy.toml", &here).unwrap();
    let refusals = Plan::of(&policy, &here).unwrap_err();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].object, "host h3");
    assert!(
        refusals[0].problem.contains("192.168.60.3"),
        "{}",
        refusals[0]
    );
    assert!(refusals[0].mend.contains("gateway"));
}

#[test]
fn the_same_address_is_nobody_elses_however_it_is_written() {
    let here = host(&uplink(0, "\"fd00:50::1/64\"", ""));
    let twice = POLICY
        .replace("[[host]]\nname = \"h1\"\n", "")
        .replace("\"fd00:60::3\"", "\"fd00:50:0:0::2\"");
    let refusals = Policy::parse_for_host(&twice, "policy.toml", &here).unwrap_err();
    assert_eq!(refusals[0].object, "host h3");
    assert!(
        refusals[0]
            .problem
            .contains("fd00:50::2 is already that of")
    );
}
