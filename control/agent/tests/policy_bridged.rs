//! VM networks on the uplink's own network: isolation none and vlan.

mod policy_cases;
mod policy_machine;

use policy_cases::{GOOD, case, check};
use policy_machine::{HOST, host};
use weir_agent::policy::{Isolation, Policy, SegmentKey, as_json};

const BRIDGED: &str = r#"
[[vm_network]]
name = "lab"
isolation = "none"
[[vm_network.subnet]]
name = "lab-a"
prefixes = ["172.16.0.0/24", "fd0a::/64"]
[[vm_network.subnet]]
name = "lab-b"
prefixes = ["172.17.0.0/24"]
[[vm_network]]
name = "office"
isolation = "vlan"
vlan = 100
[[vm_network.subnet]]
name = "desks"
prefixes = ["10.1.0.0/24"]
[[vnic]]
name = "lab1"
host = "h1"
subnet = "lab-a"
mac = "02:00:00:00:01:01"
addresses = ["172.16.0.1", "fd0a::1"]
attach = "tap:lab1"
[[vnic]]
name = "desk1"
host = "h1"
subnet = "desks"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11"]
attach = "tap:desk1"
"#;

#[test]
fn they_stand_beside_virtual_ones() {
    let text = format!("{GOOD}{BRIDGED}");
    let policy = Policy::parse(&text, "p").unwrap();
    let networks = ["lab", "office", "blue"].map(|name| {
        let network = &policy.networks[name];
        (network.isolation, network.bridged)
    });
    assert_eq!(
        networks,
        [
            (Isolation::None, Some(SegmentKey::Flat)),
            (Isolation::Vlan, Some(SegmentKey::Vlan(100))),
            (Isolation::Nv, None),
        ]
    );
    // One segment however many subnets, and no address of it is the switch's.
    let lab = ["lab-a", "lab-b"].map(|name| &policy.subnets[name]);
    assert!(lab.iter().all(|subnet| subnet.segment == SegmentKey::Flat));
    assert_eq!(lab[0].gateways().count(), 0);
    let shown = |kind: &str, name: &str| {
        let objects = as_json::objects(&policy, kind).unwrap();
        let found = objects.into_iter().find(|(own, _)| own == name).unwrap();
        found.1.to_string()
    };
    assert_eq!(
        shown("vm_network", "office"),
        r#"{"name":"office","isolation":"vlan","vlan":100}"#
    );
    assert_eq!(
        shown("subnet", "desks"),
        r#"{"vm_network":"office","name":"desks","prefixes":["10.1.0.0/24"]}"#
    );
}

#[test]
fn what_only_a_tunnel_or_a_router_could_do_is_refused() {
    let lab = "[[vm_network]]\nname = \"lab\"\nisolation = \"none\"\n";
    let subnet = "[[vm_network.subnet]]\nname = \"lab-a\"\nprefixes = [\"172.16.0.0/24\"]\n";
    let texts = [
        format!("{lab}{subnet}vsid = 7001 # HERE"),
        format!("{lab}{subnet}translation = \"nvgre\" # HERE"),
        format!("{lab}[[vm_network.subnet]] # HERE\nname = \"lab-a\"\nprefixes = [\"172.16.0.0/24\"]\nmulticast_group = \"239.1.1.1\""),
        format!(
            "{lab}{subnet}[[vm_network.route]] # HERE\nprefix = \"0.0.0.0/0\"\nvia = \"172.16.0.9\""
        ),
        format!("{lab}vlan = 7 # HERE\n{subnet}"),
        format!("{lab}mss_clamp = true # HERE\n{subnet}"),
        format!("{lab}[[vm_network]]\nname = \"lab2\"\nisolation = \"none\" # HERE\n"),
        "[[vm_network]] # HERE\nname = \"office\"\nisolation = \"vlan\"\n".into(),
        "[[vm_network]]\nname = \"office\"\nisolation = \"vlan\"\nvlan = 4095 # HERE\n".into(),
        "[[vm_network]]\nname = \"a\"\nisolation = \"vlan\"\nvlan = 7\n[[vm_network]]\nname = \"b\"\nisolation = \"vlan\"\nvlan = 7 # HERE\n".into(),
    ];
    let said = [
        ("subnet lab-a", "bear no VSID", "take vsid out"),
        ("subnet lab-a", "travel as they are", "take translation out"),
        (
            "subnet lab-a",
            "once to the wire",
            "take multicast_group out",
        ),
        ("vm_network lab", "not the switch", "router"),
        (
            "vm_network lab",
            "only a VM network of isolation \"vlan\"",
            "take vlan out",
        ),
        (
            "vm_network lab",
            "no outer headers to make room for",
            "take mss_clamp out",
        ),
        (
            "vm_network lab2",
            "untagged on the uplink already",
            "one VM network",
        ),
        ("vm_network office", "vlan is missing", "vlan = 100"),
        ("vm_network office", "vlan: 4095", "4094"),
        ("vm_network b", "7 is already that of vm_network a", "own"),
    ];
    for (text, (object, problem, mend)) in texts.into_iter().zip(said) {
        check(vec![case("", text.leak(), object, problem, mend)]);
    }
}

#[test]
fn vnics_of_one_network_have_macs_of_their_own_and_no_provider_address() {
    let second = "[[vm_network]]\nname = \"lab\"\nisolation = \"none\"\nsubnet = [{ name = \"a\", prefixes = [\"172.16.0.0/24\"] }, { name = \"b\", prefixes = [\"172.17.0.0/24\"] }]\n[[vnic]]\nname = \"a1\"\nhost = \"h1\"\nsubnet = \"a\"\nmac = \"02:00:00:00:01:09\"\n[[vnic]]\nname = \"b1\"\nhost = \"h1\"\nsubnet = \"b\"\nmac = \"02:00:00:00:01:09\" # HERE\n";
    let own = "[[vm_network]]\nname = \"lab\"\nisolation = \"none\"\nsubnet = [{ name = \"a\", prefixes = [\"172.16.0.0/24\"] }]\n[[vnic]]\nname = \"a1\"\nhost = \"h1\"\nsubnet = \"a\"\nmac = \"02:00:00:00:01:09\"\nprovider_addresses = [\"192.168.50.1\"] # HERE\n";
    check(vec![
        case(
            "",
            second,
            "vnic b1",
            "02:00:00:00:01:09 is already that of vnic a1",
            "own",
        ),
        case(
            "",
            own,
            "vnic a1",
            "reached by its own addresses",
            "take provider_addresses out",
        ),
    ]);
}

/// What the policy with this change means for the machine with that one.
fn refusals(policy: (&str, &str), machine: (&str, &str)) -> Vec<(String, String)> {
    let text = BRIDGED.replacen(policy.0, policy.1, 1);
    assert!(policy.0.is_empty() || BRIDGED.contains(policy.0));
    assert!(HOST.contains(machine.0));
    let host = host(&HOST.replacen(machine.0, machine.1, 1)).unwrap();
    let text = format!("[[host]]\nname = \"h2\"\nprovider_addresses = [\"192.168.50.2\"]\n{text}");
    match Policy::parse_for_host(&text, "policy.toml", &host) {
        Ok(_) => Vec::new(),
        Err(refusals) => refusals
            .into_iter()
            .map(|r| (r.object, r.problem))
            .collect(),
    }
}

#[test]
fn the_providers_own_network_is_kept_apart() {
    let own_vlan = ("\n[[trunk]]", "\nvlan = 100\n[[trunk]]");
    let other_vlan = ("\n[[trunk]]", "\nvlan = 101\n[[trunk]]");
    let as_is = ("", "");
    assert_eq!(refusals(as_is, as_is), []);
    assert_eq!(refusals(as_is, other_vlan), []);
    let found = refusals(as_is, own_vlan);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "vm_network office");
    assert!(found[0].1.contains("100 is the provider network's own"));
    // A VM that is untagged with the hosts may not speak as one of them, here or elsewhere.
    let prefix = ("172.16.0.0/24", "192.168.50.0/24");
    for (address, host) in [
        ("192.168.50.1", "192.168.50.1"),
        ("192.168.50.2", "192.168.50.2"),
    ] {
        let text = BRIDGED.replacen(prefix.0, prefix.1, 1);
        let text = text.replacen("172.16.0.1", address, 1);
        let found = refusals((BRIDGED, &text), as_is);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0]
                .1
                .contains(&format!("holds the provider address {host}"))
        );
        // In different VLANs they never meet.
        assert_eq!(refusals((BRIDGED, &text), other_vlan), []);
    }
    let any = (
        "attach = \"tap:lab1\"",
        "attach = \"tap:lab1\"\nallowed_sources = [\"0.0.0.0/0\"]",
    );
    let found = refusals(any, as_is);
    assert!(found.len() == 1 && found[0].1.contains("allowed_sources: 0.0.0.0/0"));
    let any = (
        "attach = \"tap:desk1\"",
        "attach = \"tap:desk1\"\nallowed_sources = [\"0.0.0.0/0\"]",
    );
    assert_eq!(refusals(any, as_is), []);
}
