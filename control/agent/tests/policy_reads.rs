//! Policies that are good: what is read, how it compares, how it shows, and that no text panics.

use proptest::prelude::*;
use weir_agent::config::device::Device;
use weir_agent::policy::{Attach, Isolation, Policy, Translation, as_json};

const DESIGN: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "blue-web"
vsid = 5001
prefixes = ["10.1.0.0/24", "fd01::/64"]
translation = "nvgre"
[[vm_network.route]]
prefix = "10.9.0.0/16"
via = "10.1.0.11"
metric = 10
[[vm_network]]
name = "red"
isolation = "nv"
subnet = [{ name = "red-web", vsid = 6001, prefixes = ["10.1.0.0/24"] }]
route = [{ prefix = "0.0.0.0/0", via = "10.1.0.11" }]
[[vnic]]
name = "blue1"
host = "h1"
subnet = "blue-web"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11", "fd01::11"]
attach = "net_af_packet1,iface=blue1"
mtu = 1400
allowed_sources = ["10.9.0.0/16"]
allowed_macs = ["02:00:00:00:01:99"]
[[vnic]]
name = "red1"
host = "h2"
subnet = "red-web"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11"]
"#;

#[test]
fn everything_written_is_read_and_resolved() {
    let policy = Policy::parse(DESIGN, "policy.toml").unwrap();
    assert_eq!(policy.origin, "policy.toml");
    assert_eq!(
        policy.hosts["h2"].provider_addresses,
        ["192.168.50.2".parse::<std::net::Ipv4Addr>().unwrap()]
    );
    assert_eq!(policy.networks["blue"].isolation, Isolation::Nv);
    assert!(!policy.networks["blue"].mss_clamp, "unless it is asked for");
    assert!(policy.switches.contains_key("default"));
    let subnet = &policy.subnets["blue-web"];
    assert_eq!(
        (
            &*subnet.network,
            subnet.segment.vsid().unwrap().get(),
            subnet.translation
        ),
        ("blue", 5001, Translation::Nvgre)
    );
    let gateways: Vec<String> = subnet
        .gateways()
        .map(|gateway| gateway.to_string())
        .collect();
    assert_eq!(gateways, ["10.1.0.1", "fd01::1"]);
    let vnic = policy.vnics.get("blue1").unwrap().to_vnic();
    assert_eq!(
        (&*vnic.host, &*vnic.subnet, &*vnic.network),
        ("h1", "blue-web", "blue")
    );
    assert_eq!(
        vnic.attach,
        Some(Attach::Port(Device::Vdev(
            "net_af_packet1,iface=blue1".into()
        )))
    );
    assert_eq!(
        (
            vnic.mtu,
            vnic.allowed_macs.len(),
            vnic.allowed_sources.len()
        ),
        (Some(1400), 1, 1)
    );
    assert_eq!((vnic.line.0, vnic.attach_line.0), (22, 28));
    assert_eq!(policy.vnics.get("red1").unwrap().attach(), None);
}

#[test]
fn an_empty_file_is_a_policy_with_the_default_switch() {
    let policy = Policy::parse("", "policy.toml").unwrap();
    assert_eq!(policy.switches.len(), 1);
    assert_eq!(
        policy,
        Policy::parse("# nothing yet\n", "other.toml").unwrap()
    );
}

#[test]
fn where_something_is_written_makes_no_difference() {
    let policy = Policy::parse(DESIGN, "a.toml").unwrap();
    let moved = Policy::parse(&format!("# moved\n\n{DESIGN}"), "b.toml").unwrap();
    assert_eq!(policy, moved);
    let other = Policy::parse(&DESIGN.replace("mtu = 1400", "mtu = 1401"), "a.toml").unwrap();
    assert_ne!(policy, other);
    assert_ne!(policy.vnics.get("blue1"), other.vnics.get("blue1"));
    assert_eq!(policy.vnics.get("red1"), other.vnics.get("red1"));
}

#[test]
fn objects_show_as_in_policy_toml() {
    let policy = Policy::parse(DESIGN, "policy.toml").unwrap();
    let one = |kind: &str, name: &str| {
        let objects = as_json::objects(&policy, kind).unwrap();
        objects
            .into_iter()
            .find(|(it, _)| it == name)
            .map(|(_, value)| value.to_string())
    };
    assert_eq!(
        one("host", "h2").unwrap(),
        r#"{"name":"h2","provider_addresses":["192.168.50.2"],"ecn":true}"#
    );
    assert_eq!(
        one("switch", "default").unwrap(),
        r#"{"name":"default","bandwidth_mode":"none","iov":false}"#
    );
    assert_eq!(
        one("vm_network", "blue").unwrap(),
        r#"{"name":"blue","isolation":"nv","mss_clamp":false}"#
    );
    assert_eq!(
        one("subnet", "red-web").unwrap(),
        r#"{"vm_network":"red","name":"red-web","vsid":6001,"prefixes":["10.1.0.0/24"],"translation":"nvgre"}"#
    );
    assert_eq!(
        one("vnic", "blue1").unwrap(),
        concat!(
            r#"{"name":"blue1","host":"h1","subnet":"blue-web","mac":"02:00:00:00:01:01","#,
            r#""addresses":["10.1.0.11","fd01::11"],"attach":"net_af_packet1,iface=blue1","mtu":1400,"#,
            r#""allowed_sources":["10.9.0.0/16"],"allowed_macs":["02:00:00:00:01:99"]}"#
        )
    );
    assert_eq!(one("vnic", "blue9"), None);
    assert_eq!(
        one("route", "blue/10.9.0.0/16").unwrap(),
        r#"{"vm_network":"blue","prefix":"10.9.0.0/16","via":"10.1.0.11","metric":10}"#
    );
    assert_eq!(
        one("route", "red/0.0.0.0/0").unwrap(),
        r#"{"vm_network":"red","prefix":"0.0.0.0/0","via":"10.1.0.11","metric":0}"#
    );
    assert_eq!(as_json::objects(&policy, "uplink"), None);
    for kind in as_json::KINDS {
        assert!(as_json::objects(&policy, kind).is_some(), "{kind}");
    }
}

#[test]
fn what_shows_reads_back_as_the_same() {
    let policy = Policy::parse(DESIGN, "policy.toml").unwrap();
    let mut document = serde_json::Map::new();
    for kind in ["host", "switch", "vnic"] {
        let objects = as_json::objects(&policy, kind)
            .unwrap()
            .into_iter()
            .map(|(_, value)| value);
        document.insert(kind.into(), objects.collect());
    }
    let mut networks = Vec::new();
    for (name, mut network) in as_json::objects(&policy, "vm_network").unwrap() {
        for kind in ["subnet", "route"] {
            let mut inner = as_json::objects(&policy, kind).unwrap();
            inner.retain(|(_, object)| object["vm_network"] == name.as_str());
            for (_, object) in &mut inner {
                object.as_object_mut().unwrap().remove("vm_network");
            }
            network[kind] = inner.into_iter().map(|(_, object)| object).collect();
        }
        networks.push(network);
    }
    document.insert("vm_network".into(), networks.into());
    let text = toml::to_string(&document).unwrap();
    assert_eq!(Policy::parse(&text, "shown.toml").unwrap(), policy);
}

/// A good policy of so many hosts, networks and vNICs a network.
fn valid(hosts: u32, networks: u32, vnics: u32) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for host in 0..hosts {
        let (high, low) = (host / 256, host % 256);
        let _ = write!(
            text,
            "[[host]]\nname = \"h{host}\"\nprovider_addresses = [\"172.16.{high}.{low}\"]\n"
        );
    }
    for network in 0..networks {
        let _ = write!(
            text,
            "[[vm_network]]\nname = \"n{network}\"\nisolation = \"nv\"\n[[vm_network.subnet]]\nname = \"s{network}\"\nvsid = {}\nprefixes = [\"10.0.0.0/8\"]\n",
            4096 + network
        );
        for vnic in 0..vnics {
            let address = std::net::Ipv4Addr::from_bits(0x0a00_0002 + vnic);
            let [.., a, b, c] = vnic.to_be_bytes();
            let _ = write!(
                text,
                "[[vnic]]\nname = \"v{network}.{vnic}\"\nhost = \"h{}\"\nsubnet = \"s{network}\"\nmac = \"02:00:00:{a:02x}:{b:02x}:{c:02x}\"\naddresses = [\"{address}\"]\nattach = \"tap:t{network}.{vnic}\"\n",
                vnic % hosts
            );
        }
    }
    text
}

proptest! {
    #[test]
    fn good_policies_are_read(hosts in 1u32..5, networks in 0u32..5, vnics in 0u32..40) {
        let policy = Policy::parse(&valid(hosts, networks, vnics), "policy.toml").unwrap();
        prop_assert_eq!(policy.hosts.len() as u32, hosts);
        prop_assert_eq!(policy.networks.len() as u32, networks);
        prop_assert_eq!(policy.vnics.len() as u32, networks * vnics);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Policy::parse(&text, "policy.toml");
    }

    #[test]
    fn no_change_to_a_good_policy_panics(
        at in 0..DESIGN.len(),
        len in 0..40usize,
        new in "[\\[\\]{}\"=.,:/#\\n a-z0-9-]{0,8}|[\u{0}-\u{10ffff}]{0,3}",
    ) {
        let end = (at + len).min(DESIGN.len());
        let text = format!("{}{new}{}", &DESIGN[..at], &DESIGN[end..]);
        if let Err(refusals) = Policy::parse(&text, "policy.toml") {
            let lines = text.lines().count() as u32 + 1;
            prop_assert!(!refusals.is_empty());
            for refusal in refusals {
                prop_assert!(refusal.line.is_some_and(|line| (1..=lines).contains(&line)), "{}", refusal);
                prop_assert!(!refusal.object.is_empty() && !refusal.problem.is_empty() && !refusal.mend.is_empty());
            }
        }
    }
}

/// Linear: ten times the vNICs take about ten times as long. Prints the times; asserts only what a stray quadratic
/// would break by far, so that a busy machine does not fail it.
#[test]
fn a_hundred_thousand_vnics_are_read_in_linear_time() {
    let timed = |vnics: u32| {
        let text = valid(1000, 10, vnics);
        let start = std::time::Instant::now();
        let policy = Policy::parse(&text, "policy.toml").unwrap();
        assert_eq!(policy.vnics.len() as u32, 10 * vnics);
        (start.elapsed(), text.len())
    };
    let (small, _) = timed(1_000);
    let (large, bytes) = timed(10_000);
    eprintln!("10,000 vNICs: {small:?}; 100,000 vNICs, {bytes} bytes: {large:?}");
    assert!(large < 50 * small, "{small:?}, then {large:?}");
}

/// What a long policy is cut at may stand anywhere.
fn any_policy_text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[[vnic]]"),
        Just("  [[vnic]] # one"),
        Just("[[ vnic ]]"),
        Just("[vnic.bandwidth]"),
        Just("[[\"vnic\"]]"),
        Just("[vnic]"),
        Just("[[host]]"),
        Just("[[vm_network]]"),
        Just("[[vm_network.subnet]]"),
        Just("name = \"a\""),
        Just("name = \"b\""),
        Just("host = \"h1\""),
        Just("subnet = \"a\""),
        Just("isolation = \"nv\""),
        Just("vsid = 5001"),
        Just("prefixes = [\n  \"10.1.0.0/24\",\n]"),
        Just("mac = \"02:00:00:00:00:01\""),
        Just("addresses = [\"10.1.0.9\"]"),
        Just("addresses = ["),
        Just("[[\"10.1.0.9\"]]"),
        Just("]"),
        Just("max = \"1Gbit\""),
        Just("text = \"\"\"\n[[vnic]]\n\"\"\""),
        Just("vnic = [{ name = \"c\" }]"),
        Just("# [[vnic]]"),
        Just("= what"),
        Just(""),
    ];
    proptest::collection::vec(line, 0..24).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A string of several lines keeps a text from being cut, and says nothing in a comment.
    #[test]
    fn a_text_in_pieces_says_what_it_says_as_a_whole(text in any_policy_text()) {
        let whole = format!("{text}\n# ''' #");
        let (pieces, whole) = (Policy::parse(&text, "p"), Policy::parse(&whole, "p"));
        prop_assert_eq!(pieces, whole);
    }
}

/// What begins like a header in an array that is not closed is none.
#[test]
fn an_array_that_is_open_is_not_cut() {
    for text in [
        "addresses = [\n[[vnic]]\n[[\"10.1.0.9\"]]\n]",
        "addresses = [\n  [vnic.bandwidth]\n[[vnic]]\n[host]\n",
    ] {
        let whole = format!("{text}\n# ''' #");
        assert_eq!(Policy::parse(text, "p"), Policy::parse(&whole, "p"));
    }
}
