//! A policy held against one machine.

mod policy_machine;

use policy_machine::{HOST, host};
use weir_agent::policy::Policy;

const POLICY: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
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
"#;

#[test]
fn a_host_need_not_be_described_twice() {
    let host = host(HOST).unwrap();
    let policy = Policy::parse_for_host(POLICY, "policy.toml", &host).unwrap();
    assert_eq!(policy.check_host(&host), []);
    let tunnel =
        |name: &str| policy.tunnel_addresses(policy.vnics.get(name).unwrap(), &host)[0].to_string();
    assert_eq!(
        (tunnel("blue1"), tunnel("blue2")),
        ("192.168.50.1".into(), "192.168.50.2".into())
    );
    let same = POLICY.replacen(
        "[[host]]",
        "[[host]]\nname = \"h1\"\nprovider_addresses = [\"192.168.50.1\"]\n[[host]]",
        1,
    );
    assert!(Policy::parse_for_host(&same, "policy.toml", &host).is_ok());
}

#[test]
fn what_does_not_fit_the_machine_is_refused_with_its_line() {
    let described = "[[host]]\nname = \"h1\"\nprovider_addresses = [\"192.168.50.9\"] # HERE\n[[host]]\nname = \"h2\"";
    let silent = "[[host]] # HERE\nname = \"h1\"\n[[host]]\nname = \"h2\"";
    let host = host(HOST).unwrap();
    for (from, to, object, problem, mend) in [
        (
            "[[host]]\nname = \"h2\"",
            described,
            "host h1",
            "192.168.50.9 here, 192.168.50.1 in etc/host.toml",
            "the same",
        ),
        (
            "\"192.168.50.2\"",
            "\"192.168.50.1\"] # HERE\n#",
            "host h2",
            "192.168.50.1 is already that of host h1",
            "own",
        ),
        (
            "[[vnic]]\nname = \"blue2\"\nhost = \"h2\"",
            "[[vnic]] # HERE\nname = \"blue2\"\nhost = \"h3\"",
            "vnic blue2",
            "no host \"h3\"",
            "[[host]]",
        ),
        (
            "[[vnic]]\nname = \"blue2\"\nhost = \"h2\"",
            "[[vnic]] # HERE\nname = \"blue2\"\nhost = \"h1\"",
            "vnic blue2",
            "attach is missing",
            "add attach",
        ),
        (
            "\"tap:blue1\"",
            "\"tap:vms\" # HERE",
            "vnic blue1",
            "interface vms is that of trunk vms",
            "own",
        ),
        (
            "\"tap:blue1\"",
            "\"03:00.0\" # HERE",
            "vnic blue1",
            "device 0000:03:00.0 is that of uplink up0",
            "own",
        ),
        (
            "\"tap:blue1\"",
            "\"trunk:other\" # HERE",
            "vnic blue1",
            "no trunk \"other\"",
            "[[trunk]]",
        ),
        (
            "\"tap:blue1\"",
            "\"trunk:vms/7\" # HERE",
            "vnic blue1",
            "by MAC address, not by VLAN",
            "by = \"vlan\"",
        ),
        (
            "\"tap:blue1\"",
            "\"trunk:tags\" # HERE",
            "vnic blue1",
            "by VLAN, and none is given",
            "trunk:tags/VLAN",
        ),
        (
            "[[vnic]]\nname = \"blue1\"",
            "[[vnic]] # HERE\nprovider_addresses = [\"192.168.50.9\"]\nname = \"blue1\"",
            "vnic blue1",
            "no provider address in etc/host.toml",
            "uplinks' addresses",
        ),
    ] {
        assert_eq!(
            POLICY.matches(from).count(),
            1,
            "{from:?} must be there once"
        );
        let text = POLICY.replace(from, to);
        let line = text.lines().position(|line| line.contains("HERE")).unwrap() as u32 + 1;
        let policy = Policy::parse(&text, "policy.toml")
            .unwrap_or_else(|refusals| panic!("{to}: {refusals:?}"));
        let refusals = policy.check_host(&host);
        assert_eq!(refusals.len(), 1, "{to}: {refusals:#?}");
        let refusal = &refusals[0];
        assert_eq!(
            (refusal.file.as_str(), refusal.line),
            ("policy.toml", Some(line)),
            "{to}: {refusal}"
        );
        assert_eq!(refusal.object, object, "{to}: {refusal}");
        assert!(
            refusal.problem.contains(problem) && refusal.mend.contains(mend),
            "{to}: {refusal}"
        );
        assert_eq!(
            Policy::parse_for_host(&text, "policy.toml", &host).unwrap_err(),
            refusals
        );
    }
    // Described without addresses: wrong by itself and by host.toml.
    let refusals = Policy::parse_for_host(
        &POLICY.replace("[[host]]\nname = \"h2\"", silent),
        "policy.toml",
        &host,
    );
    let problems: Vec<String> = refusals
        .unwrap_err()
        .into_iter()
        .map(|refusal| refusal.problem)
        .collect();
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("PA missing")),
        "{problems:?}"
    );
}

#[test]
fn the_file_s_own_refusals_and_the_machine_s_come_together() {
    let host = host(HOST).unwrap();
    let text = POLICY
        .replace("\"tap:blue1\"", "\"trunk:other\"")
        .replace("vsid = 5001", "vsid = 1");
    let refusals = Policy::parse_for_host(&text, "policy.toml", &host).unwrap_err();
    let lines: Vec<u32> = refusals.iter().filter_map(|refusal| refusal.line).collect();
    assert_eq!(lines, [10, 17], "{refusals:#?}");
    // Of one and the same vNIC too.
    let text = POLICY
        .replace("tap:blue1", "trunk:other")
        .replace("02:00:00:00:01:01", "zz");
    let refusals = Policy::parse_for_host(&text, "policy.toml", &host).unwrap_err();
    let lines: Vec<u32> = refusals.iter().filter_map(|refusal| refusal.line).collect();
    assert_eq!(lines, [16, 17], "{refusals:#?}");
}

#[test]
fn one_mistake_brings_no_second_refusal_from_the_machine() {
    let host = host(HOST).unwrap();
    for (from, to) in [
        ("tap:blue1", "eth0"),
        ("\"192.168.50.2\"", "\"192.168.50.999\""),
        ("vsid = 5001", "vsid = 1"),
        (
            "subnet = \"web\"\nmac = \"02:00:00:00:01:01\"",
            "subnet = \"wep\"\nmac = \"02:00:00:00:01:01\"",
        ),
    ] {
        let refusals =
            Policy::parse_for_host(&POLICY.replace(from, to), "policy.toml", &host).unwrap_err();
        assert_eq!(refusals.len(), 1, "{to}: {refusals:#?}");
    }
}

#[test]
fn a_host_without_uplinks_has_no_provider_address() {
    let host = host("name = \"h1\"").unwrap();
    let refusals = Policy::parse_for_host(POLICY, "policy.toml", &host).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(
        (refusals[0].object.as_str(), refusals[0].line),
        ("vnic blue1", Some(12))
    );
    assert!(refusals[0].problem.contains("PA missing") && refusals[0].mend.contains("[[uplink]]"));
}

#[test]
fn a_port_that_is_not_on_this_machine_is_refused_with_its_line() {
    let text = POLICY.replace("tap:blue1", "net_af_packet1,iface=weir-none");
    let host = host(
        &HOST
            .replace("0000:03:00.0", "net_null0")
            .replace("iface=tags", "iface=lo"),
    )
    .unwrap();
    let policy = Policy::parse_for_host(&text, "policy.toml", &host).unwrap();
    let refusal = policy
        .check_port(policy.vnics.get("blue1").unwrap())
        .unwrap();
    assert_eq!(
        (refusal.file.as_str(), refusal.line),
        ("policy.toml", Some(17))
    );
    assert!(
        refusal.problem.contains("no interface \"weir-none\"") && refusal.mend.contains("ip link"),
        "{refusal}"
    );
    assert_eq!(policy.check_port(policy.vnics.get("blue2").unwrap()), None);
    let refusals = host.check_ports();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(
        (refusals[0].object.as_str(), refusals[0].line),
        ("trunk vms", Some(11))
    );
}
