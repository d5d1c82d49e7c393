//! Every way in which a policy is refused: with the file, the exact line, the object, what is wrong and the mend.

mod policy_cases;

use policy_cases::{GOOD, case, check};
use weir_agent::policy::Policy;

#[test]
fn the_policy_that_the_cases_change_is_good() {
    Policy::parse(GOOD, "policy.toml").unwrap();
}

#[test]
fn what_is_not_the_schema() {
    check(vec![
        case("", "colour = [ # HERE", "the file", "not TOML", "as TOML"),
        case(
            "",
            "[vnic.bandwith] # HERE",
            "vnic blue2",
            "unknown field \"bandwith\"",
            "\"bandwidth\"",
        ),
        case(
            "",
            "[[vmnetwork]] # HERE",
            "the policy",
            "unknown field \"vmnetwork\"",
            "\"vm_network\"",
        ),
        case(
            "",
            "colour = 1 # HERE",
            "vnic blue2",
            "unknown field \"colour\"",
            "the fields here are name, host",
        ),
        case(
            "vsid = 5001",
            "vsid = 5001\nvlan = 3 # HERE",
            "subnet blue-web",
            "unknown field",
            "the fields here",
        ),
        case(
            "name = \"h1\"",
            "name = \"h1\"\nid = 1 # HERE",
            "host h1",
            "unknown field",
            "the fields here",
        ),
        case(
            "name = \"default\"",
            "name = \"default\"\niow = true # HERE",
            "switch default",
            "unknown field",
            "iov",
        ),
        case(
            "",
            "[vnic.bandwidth]\nmaximum = 1 # HERE",
            "vnic blue2",
            "unknown field",
            "min, weight, max, max_rx, police",
        ),
        case(
            "vsid = 5001",
            "vsid = \"5001\" # HERE",
            "subnet blue-web",
            "vsid is of type string",
            "whole number",
        ),
        case(
            "isolation = \"nv\"",
            "isolation = 1 # HERE",
            "vm_network blue",
            "isolation is of type integer",
            "quotation marks",
        ),
        case(
            "addresses = [\"10.1.0.12\"]",
            "addresses = \"10.1.0.12\" # HERE",
            "vnic blue2",
            "addresses is of type string",
            "square brackets",
        ),
        case(
            "addresses = [\"10.1.0.12\"]",
            "addresses = [\"10.1.0.12\",\n 7] # HERE",
            "vnic blue2",
            "an item of addresses is of type integer",
            "quotation marks",
        ),
        case(
            "[[switch]]\n",
            "[switch] # HERE\n",
            "the policy",
            "switch is of type table",
            "[[switch]]",
        ),
        case(
            "",
            "bandwidth = 3 # HERE",
            "vnic blue2",
            "bandwidth is of type integer",
            "a table",
        ),
    ]);
}

#[test]
fn what_is_missing() {
    check(vec![
        case(
            "[[vnic]]\nname = \"blue1\"",
            "[[vnic]] # HERE",
            "vnic in line 25",
            "name is missing",
            "\"blue1\"",
        ),
        case(
            "[[host]]\nname = \"h1\"",
            "[[host]] # HERE",
            "host in line 2",
            "name is missing",
            "\"h1\"",
        ),
        case(
            "[[vm_network]]\nname = \"blue\"",
            "[[vm_network]] # HERE",
            "vm_network in line 13",
            "name is missing",
            "\"blue\"",
        ),
        case(
            "[[switch]]\nname = \"default\"",
            "[[switch]] # HERE",
            "switch in line 9",
            "name is missing",
            "default",
        ),
        case(
            "[[vnic]]\nname = \"blue1\"\nhost = \"h1\"",
            "[[vnic]] # HERE\nname = \"blue1\"",
            "vnic blue1",
            "host is missing",
            "host = ",
        ),
        case(
            "[[vnic]]\nname = \"blue1\"\nhost = \"h1\"\nsubnet = \"blue-web\"",
            "[[vnic]] # HERE\nname = \"blue1\"\nhost = \"h1\"",
            "vnic blue1",
            "subnet is missing",
            "subnet = ",
        ),
        case(
            "[[vnic]]\nname = \"blue1\"\nhost = \"h1\"\nsubnet = \"blue-web\"\nmac = \"02:00:00:00:01:01\"",
            "[[vnic]] # HERE\nname = \"blue1\"\nhost = \"h1\"\nsubnet = \"blue-web\"",
            "vnic blue1",
            "mac is missing",
            "mac = ",
        ),
        case(
            "[[vm_network]]\nname = \"blue\"\nisolation = \"nv\"",
            "[[vm_network]] # HERE\nname = \"blue\"",
            "vm_network blue",
            "isolation is missing",
            "\"nv\"",
        ),
        case(
            "[[vm_network.subnet]]\nname = \"blue-db\"\nvsid = 5002",
            "[[vm_network.subnet]] # HERE\nname = \"blue-db\"",
            "subnet blue-db",
            "vsid is missing",
            "vsid = ",
        ),
        case(
            "[[vm_network.subnet]]\nname = \"blue-db\"\nvsid = 5002\nprefixes = [\"10.2.0.0/24\"]",
            "[[vm_network.subnet]] # HERE\nname = \"blue-db\"\nvsid = 5002",
            "subnet blue-db",
            "prefixes is missing",
            "prefixes = ",
        ),
        // PA missing: the host's line, since that is where the mend goes.
        case(
            "[[host]]\nname = \"h1\"\nprovider_addresses = [\"192.168.50.1\"]",
            "[[host]] # HERE\nname = \"h1\"",
            "host h1",
            "PA missing: vnic blue1",
            "provider_addresses",
        ),
    ]);
}

#[test]
fn names_and_duplicates() {
    check(vec![
        case(
            "name = \"blue1\"",
            "name = \"blue 1\" # HERE",
            "vnic blue 1",
            "contains ' '",
            "letters",
        ),
        case(
            "",
            "[[host]]\nname = \"h1\" # HERE",
            "host h1",
            "taken by the one in line 2",
            "name of its own",
        ),
        case(
            "",
            "[[switch]]\nname = \"default\" # HERE",
            "switch default",
            "taken by the one in line 9",
            "own",
        ),
        case(
            "",
            "[[vm_network]]\nname = \"blue\" # HERE\nisolation = \"nv\"",
            "vm_network blue",
            "taken by the one in line 13",
            "own",
        ),
        // Of another VM network: vNICs name subnets alone.
        case(
            "",
            "[[vm_network]]\nname = \"red\"\nisolation = \"nv\"\n[[vm_network.subnet]]\nname = \"blue-web\" # HERE\nvsid = 6001\nprefixes = [\"10.1.0.0/24\"]",
            "subnet blue-web",
            "taken by the one in line 16",
            "own",
        ),
        case(
            "name = \"blue2\"",
            "name = \"blue1\" # HERE",
            "vnic blue1",
            "taken by the one in line 25",
            "own",
        ),
        case(
            "mac = \"02:00:00:00:01:02\"",
            "mac = \"02:00:00:00:01:01\" # HERE",
            "vnic blue2",
            "mac: 02:00:00:00:01:01 is already that of vnic blue1 in line 29",
            "own",
        ),
        case(
            "",
            "allowed_macs = [\"02:00:00:00:01:01\"] # HERE",
            "vnic blue2",
            "allowed_macs: 02:00:00:00:01:01 is already that of vnic blue1",
            "own",
        ),
        case(
            "",
            "allowed_macs = [\"02:00:00:00:01:02\"] # HERE",
            "vnic blue2",
            "already that of vnic blue2",
            "once",
        ),
        case(
            "addresses = [\"10.1.0.12\"]",
            "addresses = [\"10.1.0.11\"] # HERE",
            "vnic blue2",
            "addresses: 10.1.0.11 is already that of vnic blue1 in line 30",
            "own",
        ),
        case(
            "addresses = [\"10.1.0.12\"]",
            "addresses = [\"10.1.0.12\", \"10.1.0.12\"] # HERE",
            "vnic blue2",
            "listed twice",
            "once",
        ),
        case(
            "vsid = 5002",
            "vsid = 5001 # HERE",
            "subnet blue-db",
            "vsid: 5001 is already that of subnet blue-web in line 18",
            "own",
        ),
        case(
            "\"192.168.50.2\", \"192.168.50.3\"",
            "\"192.168.50.3\",\n\"192.168.50.1\" # HERE\n",
            "host h2",
            "192.168.50.1 is already that of host h1 in line 4",
            "own",
        ),
        case(
            "attach = \"trunk:vms/7\"",
            "attach = \"trunk:vms/7\"\n[[vnic]]\nname = \"blue3\"\nhost = \"h2\"\nsubnet = \"blue-db\"\nmac = \"02:00:00:00:01:03\"\nattach = \"trunk:vms/7\" # HERE",
            "vnic blue3",
            "VLAN 7 on trunk vms of host h2 is already that of vnic blue2",
            "own",
        ),
        case(
            "",
            "[[vnic]]\nname = \"blue3\"\nhost = \"h1\"\nsubnet = \"blue-db\"\nmac = \"02:00:00:00:01:03\"\nattach = \"tap:blue1\" # HERE",
            "vnic blue3",
            "interface blue1 of host h1 is already that of vnic blue1",
            "own",
        ),
        case(
            "",
            "[[vnic]]\nname = \"a\"\nhost = \"h2\"\nsubnet = \"blue-web\"\nmac = \"02:00:00:00:01:03\"\nattach = \"trunk:macs\"\n[[vnic]]\nname = \"b\"\nhost = \"h2\"\nsubnet = \"blue-db\"\nmac = \"02:00:00:00:01:03\"\nattach = \"trunk:macs\" # HERE",
            "vnic b",
            "MAC address 02:00:00:00:01:03 on trunk macs of host h2 is already that of vnic a",
            "own",
        ),
        case(
            "",
            "[[vnic]]\nname = \"a\"\nhost = \"h2\"\nsubnet = \"blue-web\"\nmac = \"02:00:00:00:01:03\"\nattach = \"trunk:macs\"\n[[vnic]]\nname = \"b\"\nhost = \"h2\"\nsubnet = \"blue-db\"\nmac = \"02:00:00:00:01:04\"\nallowed_macs = [\"02:00:00:00:01:03\"]\nattach = \"trunk:macs\" # HERE",
            "vnic b",
            "MAC address 02:00:00:00:01:03 on trunk macs of host h2 is already that of vnic a",
            "own",
        ),
    ]);
}

#[test]
fn all_is_refused_at_once_in_the_order_of_lines() {
    let text = GOOD
        .replace("vsid = 5001", "vsid = 7")
        .replace("02:00:00:00:01:01", "zz")
        .replace("\"10.1.0.12\"", "\"10.9.0.12\"")
        .replace("name = \"h2\"", "name = \"h2\"\ncolour = 1");
    let refusals = Policy::parse(&text, "policy.toml").unwrap_err();
    let lines: Vec<u32> = refusals.iter().filter_map(|refusal| refusal.line).collect();
    assert_eq!(lines, [7, 19, 30, 38], "{refusals:#?}");
}

#[test]
fn one_mistake_brings_no_second_refusal() {
    // Each would leave others without what they refer to.
    for (from, to) in [
        ("\"192.168.50.1\"", "\"192.168.50.999\""),
        ("vsid = 5001", "vsid = 1"),
        ("\"10.1.0.0/24\"", "\"10.1.0.0/240\""),
        (
            "[[host]]\nname = \"h1\"\n",
            "[[host]]\nname = \"h1\"\nrack = 1\n",
        ),
    ] {
        let refusals = Policy::parse(&GOOD.replace(from, to), "policy.toml").unwrap_err();
        assert_eq!(refusals.len(), 1, "{to}: {refusals:#?}");
    }
}
