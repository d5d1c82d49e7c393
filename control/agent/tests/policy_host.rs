//! host.toml: what is read and what is refused.

mod policy_machine;

use std::path::Path;

use policy_machine::{HOST, host};
use weir_agent::config::device::Device;
use weir_agent::config::host::{HostConfig, Hugepages, Idle, Pulling, StoreConfig, TrunkBy};
use weir_agent::config::vf_token::VfToken;

#[test]
fn the_design_s_example_is_read() {
    let host = host(HOST).unwrap();
    assert_eq!(&*host.name, "h1");
    assert_eq!(host.socket, Path::new("/run/weir/h1.sock"));
    assert_eq!(host.dataplane.workers, [1]);
    assert_eq!(
        (host.dataplane.hugepages, host.dataplane.idle),
        (Hugepages::Auto, Idle::Poll)
    );
    let uplink = &host.uplinks[0];
    assert_eq!(uplink.device, Device::Pci("0000:03:00.0".into()));
    assert_eq!(uplink.provider_addresses[0].to_string(), "192.168.50.1/24");
    assert_eq!(&*uplink.switch, "default");
    assert_eq!(host.trunk("vms").unwrap().by, TrunkBy::Mac);
    assert_eq!(host.trunk("tags").unwrap().by, TrunkBy::Vlan);
    assert_eq!(
        host.store,
        StoreConfig::File {
            path: "etc/policy.toml".into()
        }
    );
}

#[test]
fn every_option_is_read() {
    let options = r#"
mac = "02:bb:00:00:00:01"
mtu = 9000
vlan = 50
capacity = "10Gbit"
gateway = "192.168.50.254"
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02" }
offloads = false
switch = "default"
[[trunk]]
name = "vms"
"#;
    let text = HOST
        .replace("\n[[trunk]]\nname = \"vms\"\n", options)
        .replace("idle = \"poll\"", "idle = \"adaptive\"\nmbufs = 65536\nvf_token = \"14D63f20-8445-11ea-8900-1f9ce7d5650d\"");
    let text = format!("socket = \"weir.sock\"{text}");
    let host = host(&text).unwrap();
    assert_eq!(host.socket, Path::new("etc/weir.sock"));
    assert_eq!(
        (host.dataplane.idle, host.dataplane.mbufs),
        (Idle::Adaptive, Some(65_536))
    );
    let token = host.dataplane.vf_token.as_ref().map(VfToken::secret);
    assert_eq!(token, Some("14d63f20-8445-11ea-8900-1f9ce7d5650d"));
    assert!(!format!("{host:?}").contains("14d63f20"), "it is a secret");
    let uplink = &host.uplinks[0];
    assert_eq!((uplink.mtu, uplink.vlan), (Some(9000), Some(50)));
    assert!(!uplink.offloads);
    assert_eq!(uplink.capacity.unwrap().bits_per_second(), 10_000_000_000);
    let gateway = |to: &str| uplink.gateway(to.parse().unwrap());
    assert_eq!(gateway("10.0.0.1").unwrap().to_string(), "192.168.50.254");
    assert_eq!(gateway("fd00::1"), None, "of the other family");
    assert_eq!(
        uplink.neighbors[&"192.168.50.2".parse().unwrap()].to_string(),
        "02:bb:00:00:00:02"
    );
}

#[test]
fn defaults_hold_where_nothing_is_written() {
    let small = HostConfig::parse("name = \"h9\"", "host.toml", Path::new(""), &[3, 4, 5]).unwrap();
    assert_eq!(small.dataplane.workers, [4, 5]);
    assert_eq!(
        small.store,
        StoreConfig::File {
            path: "policy.toml".into()
        }
    );
    let one_core = HostConfig::parse("name = \"h9\"", "host.toml", Path::new(""), &[0]).unwrap();
    assert_eq!(one_core.dataplane.workers, [0]);
}

#[test]
fn the_rig_may_send_mappings_about_only_where_it_is_written() {
    assert!(!host(HOST).unwrap().rig.churn);
    let with = |lines: &str| host(&format!("{HOST}\n[rig]\n{lines}\n"));
    assert!(with("churn = true").unwrap().rig.churn);
    assert!(!with("churn = false").unwrap().rig.churn && !with("").unwrap().rig.churn);
    for (wrong, of) in [("churn = 1", "churn"), ("chrun = true", "chrun")] {
        let refusals = with(wrong).unwrap_err();
        assert!(
            refusals.len() == 1 && refusals[0].problem.contains(of),
            "{refusals:#?}"
        );
    }
}

#[test]
fn records_come_all_or_when_they_are_asked_for() {
    assert_eq!(host(HOST).unwrap().pulling, Pulling::default());
    let with = |lines: &str| {
        host(&HOST.replace("kind = \"file\"", lines))
            .unwrap()
            .pulling
    };
    assert!(!with("records = \"all\"").on_miss);
    let pulling = with("records = \"on_miss\"");
    assert!(pulling.on_miss && pulling.answer_delay.is_zero());
    let slow = with("records = \"on_miss\"\nanswer_delay = \"50ms\"");
    assert_eq!(slow.answer_delay.as_millis(), 50);
    let slower = with("records = \"on_miss\"\nanswer_delay = \"10s\"");
    assert_eq!(slower.answer_delay.as_secs(), 10);
}

#[test]
fn what_is_wrong_in_host_toml_is_refused_with_its_line() {
    for (from, to, object, problem, mend) in [
        (
            "name = \"h1\"",
            "nam = \"h1\" # HERE\nname = \"h1\"",
            "the host",
            "unknown field",
            "\"name\"",
        ),
        (
            "workers = [1]",
            "workers = [1]\nvf_token = \"14d63f20-8445-11ea-8900\" # HERE",
            "dataplane",
            "vf_token: it is no UUID",
            "uuidgen",
        ),
        (
            "workers = [1]",
            "workers = [9] # HERE",
            "dataplane",
            "core 9 is not there",
            "0, 1, 2",
        ),
        (
            "workers = [1]",
            "workers = [1, 1] # HERE",
            "dataplane",
            "listed twice",
            "once",
        ),
        (
            "[dataplane]\nworkers = [1]",
            "[dataplane] # HERE\nworkers = []",
            "dataplane",
            "no core",
            "leave workers out",
        ),
        (
            "\"auto\"",
            "\"4K\" # HERE",
            "dataplane",
            "not known",
            "\"2M\"",
        ),
        (
            "\"poll\"",
            "\"sleep\" # HERE",
            "dataplane",
            "not known",
            "\"adaptive\"",
        ),
        (
            "idle = \"poll\"",
            "mbufs = 3 # HERE",
            "dataplane",
            "out of range",
            "1024",
        ),
        (
            "\"0000:03:00.0\"",
            "\"eth0\" # HERE",
            "uplink up0",
            "not a device",
            "PCI address",
        ),
        (
            "\"0000:03:00.0\"",
            "\"net_null0\" # HERE\nmtu2 = 1",
            "uplink up0",
            "",
            "",
        ),
        (
            "\"192.168.50.1/24\"",
            "\"192.168.50.1\"] # HERE\n#",
            "uplink up0",
            "no prefix length",
            "/24",
        ),
        (
            "\"192.168.50.1/24\"",
            "\"fd00::1\"] # HERE\n#",
            "uplink up0",
            "no prefix length",
            "\"fd00::1/64\"",
        ),
        (
            "\"192.168.50.1/24\"",
            "\"fe80::1/64\"] # HERE\n#",
            "uplink up0",
            "link-local",
            "routed in the provider's network",
        ),
        (
            "\"192.168.50.1/24\"",
            "\"::ffff:192.168.50.1/120\"] # HERE\n#",
            "uplink up0",
            "::/8, which is reserved",
            "routed in the provider's network",
        ),
        (
            "\"192.168.50.1/24\"",
            "\"fd00::/64\"] # HERE\n#",
            "uplink up0",
            "network address",
            "inside that prefix",
        ),
        (
            "provider_addresses = [\"192.168.50.1/24\"]",
            "mtu = 1279 # HERE\nprovider_addresses = [\"fd00::1/64\"]",
            "uplink up0",
            "1279 is less than IPv6 needs",
            "1280",
        ),
        (
            "\"192.168.50.1/24\"",
            "\"192.168.50.0/24\"] # HERE\n#",
            "uplink up0",
            "network address",
            "inside",
        ),
        (
            "[[uplink]]\nname = \"up0\"\ndevice = \"0000:03:00.0\"\nprovider_addresses = [\"192.168.50.1/24\"]",
            "[[uplink]] # HERE\nname = \"up0\"\ndevice = \"0000:03:00.0\"\nprovider_addresses = []",
            "uplink up0",
            "is empty",
            "192.168.50.1/24",
        ),
        (
            "[[uplink]]\nname = \"up0\"\ndevice = \"0000:03:00.0\"\nprovider_addresses = [\"192.168.50.1/24\"]",
            "[[uplink]] # HERE\nname = \"up0\"\ndevice = \"0000:03:00.0\"",
            "uplink up0",
            "provider_addresses is missing",
            "192.168.50.1/24",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\nmac = \"ff:ff:ff:ff:ff:ff\" # HERE",
            "uplink up0",
            "multicast",
            "clear",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\nmtu = 100 # HERE",
            "uplink up0",
            "out of range",
            "576",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\nvlan = 4095 # HERE",
            "uplink up0",
            "out of range",
            "4094",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\ncapacity = \"10G\" # HERE",
            "uplink up0",
            "not a bit rate",
            "Gbit",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\ngateway = \"10.0.0.1\" # HERE",
            "uplink up0",
            "no prefix",
            "directly",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\ngateway = \"192.168.50.1\" # HERE",
            "uplink up0",
            "itself",
            "router",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\ngateway = [\"192.168.50.254\", \"192.168.50.253\"] # HERE",
            "uplink up0",
            "a second one beside 192.168.50.254",
            "one router of each family",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\ngateway = \"fe80::1\" # HERE",
            "uplink up0",
            "of a family of which provider_addresses has none",
            "add a provider address",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\nneighbors = { x = \"02:00:00:00:00:01\" } # HERE",
            "uplink up0",
            "not an IP",
            "10.1",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\nneighbors = { \"1.1.1.1\" = 2 } # HERE",
            "uplink up0",
            "string",
            "quotation",
        ),
        (
            "name = \"up0\"",
            "name = \"up0\"\nswitch = \"other\" # HERE",
            "uplink up0",
            "one a host",
            "\"default\"",
        ),
        (
            "by = \"vlan\"",
            "by = \"port\" # HERE",
            "trunk tags",
            "not known",
            "\"mac\"",
        ),
        (
            "name = \"tags\"",
            "name = \"vms\" # HERE",
            "trunk vms",
            "taken by the one in line 12",
            "own",
        ),
        (
            "\"net_af_packet8,iface=tags\"",
            "\"net_af_packet8,iface=vms\" # HERE",
            "trunk tags",
            "interface vms is already that of trunk vms",
            "own",
        ),
        (
            "kind = \"file\"",
            "kind = \"etcd\" # HERE",
            "store",
            "not built yet",
            "kind = \"file\"",
        ),
        (
            "kind = \"file\"",
            "endpoints = [\"http://a\"] # HERE",
            "store",
            "belong to the store \"etcd\"",
            "out",
        ),
        (
            "path = \"policy.toml\"",
            "path = \"\" # HERE",
            "store",
            "empty",
            "policy.toml",
        ),
        (
            "kind = \"file\"",
            "records = \"some\" # HERE",
            "store",
            "\"some\" is not known",
            "\"on_miss\"",
        ),
        (
            "kind = \"file\"",
            "answer_delay = \"50ms\" # HERE",
            "store",
            "records is not \"on_miss\"",
            "out",
        ),
        (
            "kind = \"file\"",
            "records = \"on_miss\"\nanswer_delay = \"11s\" # HERE",
            "store",
            "at most ten seconds",
            "50ms",
        ),
    ] {
        assert_eq!(HOST.matches(from).count(), 1, "{from:?} must be there once");
        let text = HOST.replace(from, to);
        let line = text.lines().position(|line| line.contains("HERE")).unwrap() as u32 + 1;
        let refusals = host(&text).unwrap_err();
        assert_eq!(refusals.len(), 1, "{to}: {refusals:#?}");
        let refusal = &refusals[0];
        if problem.is_empty() {
            assert_eq!(refusal.line, Some(line + 1), "{refusal}");
            continue;
        }
        assert_eq!(
            (refusal.file.as_str(), refusal.line),
            ("etc/host.toml", Some(line)),
            "{to}: {refusal}"
        );
        assert_eq!(refusal.object, object, "{to}: {refusal}");
        assert!(
            refusal.problem.contains(problem) && refusal.mend.contains(mend),
            "{to}: {refusal}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_refused_by_its_name() {
    let refusals = HostConfig::load(Path::new("/nonexistent/host.toml")).unwrap_err();
    assert_eq!(
        (refusals[0].file.as_str(), refusals[0].line),
        ("/nonexistent/host.toml", None)
    );
    assert!(refusals[0].mend.contains("--host"));
}

#[test]
fn a_file_is_read_with_paths_relative_to_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.toml");
    std::fs::write(&path, HOST.replace("workers = [1]\n", "")).unwrap();
    let host = HostConfig::load(&path).unwrap();
    assert_eq!(
        host.store,
        StoreConfig::File {
            path: folder.path().join("policy.toml")
        }
    );
    assert!(!host.dataplane.workers.is_empty());
}
