//! SR-IOV in policy.toml and host.toml: what is read, what is refused, what of policy a VF would bypass.

mod policy_cases;

use std::path::Path;

use policy_cases::{GOOD, case, check_in};
use weir_agent::config::host::{HostConfig, IovHooks};
use weir_agent::last_good::format::{Input, Output, read, write};
use weir_agent::plan::Plan;
use weir_agent::policy::{Iov, Policy, as_json};

fn made() -> String {
    GOOD.replace("name = \"default\"", "name = \"default\"\niov = true")
}

#[test]
fn weights_and_pins_are_read_kept_and_shown() {
    let text = made()
        .replace("\"10.1.0.12\"]", "\"10.1.0.12\"]\nvf = \"0000:03:00.0/3\"")
        .replace("\"fd01::11\"]", "\"fd01::11\"]\niov_weight = 50");
    let policy = Policy::parse(&text, "policy.toml").unwrap();
    assert!(policy.iov());
    let iov = |name: &str| policy.vnics.get(name).unwrap().iov().clone();
    assert_eq!(iov("blue1"), Iov::Weight(50));
    let Iov::Pinned(pin) = iov("blue2") else {
        panic!("{:?}", iov("blue2"));
    };
    assert_eq!((&*pin.pf, pin.index), ("0000:03:00.0", 3));
    let shown = as_json::objects(&policy, "vnic").unwrap();
    assert_eq!(shown[0].1["iov_weight"], 50);
    assert_eq!(shown[1].1["vf"], "0000:03:00.0/3");
    let shown = as_json::objects(&policy, "switch").unwrap();
    assert_eq!(shown[0].1["iov"], true);
    // On disk, too.
    let mut bytes = Vec::new();
    write(&policy, &mut Output::to(&mut bytes)).unwrap();
    assert_eq!(read(&mut Input::of(&bytes)).unwrap(), policy);
    // Weight 0 asks for nothing; neither does one without.
    let none = Policy::parse(
        &text.replace("iov_weight = 50", "iov_weight = 0"),
        "policy.toml",
    )
    .unwrap();
    assert_eq!(*none.vnics.get("blue1").unwrap().iov(), Iov::Software);
    assert_ne!(none, policy);
}

#[test]
fn what_cannot_be_is_refused_with_its_line() {
    let good = made();
    let good = good.leak();
    check_in(
        good,
        vec![
            case(
                "",
                "iov_weight = 101 # HERE",
                "vnic blue2",
                "out of range",
                "0 to 100",
            ),
            case(
                "",
                "iov_weight = 5\nvf = \"up0/1\" # HERE",
                "vnic blue2",
                "vf: the vNIC has iov_weight, too",
                "one of the two",
            ),
            case(
                "",
                "vf = \"up0\" # HERE",
                "vnic blue2",
                "not PF/INDEX",
                "\"up0/3\"",
            ),
            case(
                "",
                "vf = \"/3\" # HERE",
                "vnic blue2",
                "not PF/INDEX",
                "\"up0/3\"",
            ),
            case(
                "",
                "vf = \"up0/+3\" # HERE",
                "vnic blue2",
                "not PF/INDEX",
                "\"up0/3\"",
            ),
            case(
                "",
                "vf = \"../../x/3\" # HERE",
                "vnic blue2",
                "not PF/INDEX",
                "\"up0/3\"",
            ),
            case(
                "",
                "vf = \"up0/65536\" # HERE",
                "vnic blue2",
                "not PF/INDEX",
                "\"up0/3\"",
            ),
            case(
                "provider_addresses = [\"192.168.50.3\"]",
                "provider_addresses = [\"192.168.50.3\"]\nvf = \"up0/1\"\n[[vnic]]\nname = \"blue3\"\nhost = \"h2\"\nsubnet = \"blue-web\"\nmac = \"02:00:00:00:01:03\"\naddresses = [\"10.1.0.13\"]\nattach = \"tap:b3\"\nvf = \"up0/1\" # HERE",
                "vnic blue3",
                "vf: up0/1 of host h2 is already that of vnic blue2",
                "iov_weight in place of vf",
            ),
        ],
    );
}

#[test]
fn the_same_vf_of_another_host_is_another_vf() {
    let text = made()
        .replace("\"10.1.0.12\"]", "\"10.1.0.12\"]\nvf = \"up0/3\"")
        .replace("\"fd01::11\"]", "\"fd01::11\"]\nvf = \"up0/3\"");
    Policy::parse(&text, "policy.toml").unwrap();
}

const HOST: &str = "name = \"h1\"\n[[uplink]]\nname = \"up0\"\ndevice = \"net_null0\"\nprovider_addresses = [\"192.168.50.1/24\"]\n[store]\nkind = \"file\"\npath = \"p\"\n";

fn host(text: &str) -> HostConfig {
    HostConfig::parse(text, "host.toml", Path::new("/"), &[0, 1]).unwrap()
}

const OFFICE: &str = r#"
[[switch]]
name = "default"
iov = true
bandwidth_mode = "absolute"
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "web"
vsid = 5001
prefixes = ["10.1.0.0/24"]
[[vm_network]]
name = "office"
isolation = "vlan"
vlan = 100
[[vm_network.subnet]]
name = "desks"
prefixes = ["10.1.0.0/24"]
[[vnic]]
name = "v"
host = "h1"
subnet = "desks"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11"]
attach = "tap:v"
iov_weight = 1
allowed_sources = ["0.0.0.0/0", "::/0"]
"#;

/// What keeps the vNIC from a VF, with this change.
fn barred(from: &str, to: &str) -> Option<&'static str> {
    assert!(OFFICE.contains(from), "{from}");
    barred_in(&OFFICE.replace(from, to), HOST)
}

fn barred_in(text: &str, host_toml: &str) -> Option<&'static str> {
    let host = host(host_toml);
    let policy = Policy::parse_for_host(text, "policy.toml", &host).unwrap();
    let plan = Plan::of(&policy, &host).unwrap();
    plan.vnics["v"].barred.as_ref().map(|why| why.name())
}

#[test]
fn what_a_vf_would_bypass_keeps_a_vnic_from_it() {
    let asks = "iov_weight = 1";
    let with = |more: &str| format!("{asks}\n{more}");
    assert_eq!(barred(asks, asks), None);
    assert_eq!(
        barred("subnet = \"desks\"", "subnet = \"web\""),
        Some("nv_network")
    );
    let sources = "allowed_sources = [\"0.0.0.0/0\", \"::/0\"]";
    for fewer in [
        "",
        "allowed_sources = [\"0.0.0.0/0\"]",
        "allowed_sources = [\"::/0\"]",
        "allowed_sources = [\"0.0.0.0/1\", \"128.0.0.0/1\", \"::/0\"]",
    ] {
        assert_eq!(barred(sources, fewer), Some("source_guard"), "{fewer}");
    }
    let macs = with("allowed_macs = [\"02:00:00:00:09:09\"]");
    assert_eq!(barred(asks, &macs), Some("more_macs"));
    let software = format!("{HOST}[iov]\nbandwidth = \"software\"\n");
    let kept = format!("{HOST}[iov]\nbandwidth = \"vf\"\n");
    for (bandwidth, why) in [
        // What a VF may be able to keep.
        ("min = \"1Gbit\"", None),
        ("max = \"1Gbit\"", None),
        ("min = \"1Mbit\"\nmax = \"1.5Gbit\"", None),
        ("max = \"1Gbit\"\nmax_rx = \"1Gbit\"", Some("bandwidth")),
        ("max_rx = \"1Gbit\"", Some("bandwidth")),
        ("max = \"1Gbit\"\npolice = true", Some("bandwidth")),
        ("max = \"1500Kbit\"", Some("bandwidth")),
        ("min = \"1500Kbit\"", Some("bandwidth")),
    ] {
        let table = format!("{sources}\n[vnic.bandwidth]\n{bandwidth}");
        assert_eq!(barred(sources, &table), why, "{bandwidth}");
        let text = OFFICE.replace(sources, &table);
        assert_eq!(barred_in(&text, &kept), why, "{bandwidth}");
        // The host may leave all of it to software.
        assert_eq!(barred_in(&text, &software), Some("bandwidth"));
    }
    assert_eq!(barred_in(OFFICE, &software), None);
    let weight = format!("{sources}\n[vnic.bandwidth]\nweight = 30");
    let by_weight = OFFICE
        .replace("\"absolute\"", "\"weight\"")
        .replace(sources, &weight);
    assert_eq!(barred_in(&by_weight, HOST), Some("bandwidth"));
    let class = |filter: &str| {
        let class = format!("{sources}\n[[traffic_class]]\nname = \"c\"\ndscp = 8\n{filter}\n");
        barred(sources, &class)
    };
    assert_eq!(class("filters = [\"smb\"]"), Some("traffic_class"));
    assert_eq!(class("filters = [\"management\"]"), None);
    assert_eq!(
        class("[[traffic_class.filter]]\nprotocol = \"tcp\""),
        Some("traffic_class")
    );
    assert_eq!(
        class("[[traffic_class.filter]]\nprotocol = \"tcp\"\nvnics = [\"v\"]"),
        Some("traffic_class")
    );
    let other = "[[vnic]]\nname = \"w\"\nhost = \"h1\"\nsubnet = \"desks\"\nmac = \"02:00:00:00:01:02\"\naddresses = []\nattach = \"tap:w\"\n";
    let others = format!("[[traffic_class.filter]]\nprotocol = \"tcp\"\nvnics = [\"w\"]\n{other}");
    assert_eq!(class(&others), None);
    // On the provider's own network it could speak as a host; whatever else it may not.
    let flat = OFFICE
        .replace("isolation = \"vlan\"\nvlan = 100", "isolation = \"none\"")
        .replace(sources, "");
    assert_eq!(barred_in(&flat, HOST), Some("provider_network"));
    let tagged = HOST.replace("device =", "vlan = 10\ndevice =");
    assert_eq!(barred_in(&flat, &tagged), Some("source_guard"));
}

#[test]
fn commands_of_host_toml_are_read_and_half_of_them_refused() {
    assert_eq!(host(HOST).iov, IovHooks::default());
    let read = host(&format!(
        "{HOST}[iov]\nvf_down = \" a b \"\nvf_up = \"c\"\nunplug_first = true\n"
    ));
    let hooks = IovHooks {
        up: Some("c".into()),
        down: Some("a b".into()),
        is_bandwidth_software: false,
        is_unplugged_first: true,
    };
    assert_eq!(read.iov, hooks);
    assert_eq!(
        host(&format!("{HOST}[iov]\nvf_down = \"a\"\n")).iov.up,
        None
    );
    for (text, problem) in [
        ("[iov]\nvf_up = \"c\"\n", "vf_down"),
        ("[iov]\nvf_down = \" \"\n", "the command is empty"),
        ("[iov]\nvf_down = 1\n", "of type integer"),
        ("[iov]\nhook = \"x\"\n", "unknown field"),
        (
            "[iov]\nbandwidth = \"hardware\"\n",
            "there is no \"hardware\"",
        ),
        ("[iov]\nunplug_first = true\n", "vf_down"),
    ] {
        let text = format!("{HOST}{text}");
        let refusals = HostConfig::parse(&text, "host.toml", Path::new("/"), &[0, 1]).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        let shown = refusals[0].to_string();
        assert!(shown.contains(problem), "{shown}");
        assert!(shown.contains("iov"), "{shown}");
    }
}
