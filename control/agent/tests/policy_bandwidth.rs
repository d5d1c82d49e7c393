//! Bandwidth in policy.toml: what is read, what is refused, what shows.

mod policy_cases;

use policy_cases::{GOOD, case, check, check_in};
use weir_agent::policy::{BandwidthMode, Policy, as_json};

fn absolute() -> String {
    GOOD.replace("bandwidth_mode = \"none\"", "bandwidth_mode = \"absolute\"")
}

fn weight() -> String {
    GOOD.replace("bandwidth_mode = \"none\"", "bandwidth_mode = \"weight\"")
}

const CLASSES: &str = r#"
[[traffic_class]]
name = "storage"
filters = ["smb", "iscsi"]
min = "2Gbit"
max = "5Gbit"
priority = 3
[[traffic_class.filter]]
protocol = "tcp"
port = 9000
source = "10.1.0.0/24"
vnics = ["blue1"]
[[traffic_class]]
name = "voice"
dscp = 46
pcp = 5
[[traffic_class.filter]]
dscp = 34
pcp = 4
[[traffic_class]]
name = "host"
filters = ["management", "live-migration", "smb-direct", "nfs", "fcoe"]
[[traffic_class.filter]]
ethertype = 0x88F7
"#;

const DCB: &str = r#"
[[switch.dcb]]
tc = 1
share = 40
priorities = [3]
[[switch.dcb]]
tc = 7
strict = true
priorities = [5, 6]
"#;

fn full() -> String {
    let mut text = absolute().replace(
        "\n[[vm_network]]\nname = \"blue\"",
        &format!("{DCB}\n[[vm_network]]\nname = \"blue\""),
    );
    text += "[vnic.bandwidth]\nmin = \"200Mbit\"\nmax = \"1Gbit\"\nmax_rx = \"2.5Gbit\"\npolice = true\n";
    text + CLASSES
}

fn one(policy: &Policy, kind: &str, name: &str) -> String {
    let objects = as_json::objects(policy, kind).unwrap();
    let mut objects = objects.into_iter().filter(|(own, _)| own == name);
    objects.next().unwrap().1.to_string()
}

#[test]
fn what_is_written_shows_under_the_names_of_policy_toml() {
    let policy = Policy::parse(&full(), "policy.toml").unwrap();
    assert_eq!(policy.bandwidth_mode(), BandwidthMode::Absolute);
    let vnic = one(&policy, "vnic", "blue2");
    assert!(
        vnic.contains(
            r#""bandwidth":{"min":"200Mbit","max":"1Gbit","max_rx":"2500Mbit","police":true}"#
        ),
        "{vnic}"
    );
    assert!(!one(&policy, "vnic", "blue1").contains("bandwidth"));
    assert_eq!(
        one(&policy, "switch", "default"),
        r#"{"name":"default","bandwidth_mode":"absolute","iov":false,"dcb":[{"tc":1,"share":40,"priorities":[3]},{"tc":7,"strict":true,"priorities":[5,6]}]}"#
    );
    assert_eq!(
        one(&policy, "traffic_class", "storage"),
        r#"{"name":"storage","filters":["smb","iscsi"],"filter":[{"vnics":["blue1"],"protocol":"6","port":9000,"source":"10.1.0.0/24"}],"min":"2Gbit","max":"5Gbit","priority":3}"#
    );
    assert_eq!(
        one(&policy, "traffic_class", "voice"),
        r#"{"name":"voice","filter":[{"pcp":4,"dscp":34}],"dscp":46,"pcp":5}"#
    );
    assert_eq!(
        one(&policy, "traffic_class", "host"),
        r#"{"name":"host","filters":["management","live-migration","smb-direct","nfs","fcoe"],"filter":[{"ethertype":35063}]}"#
    );
}

#[test]
fn a_change_of_bandwidth_is_a_change() {
    let policy = |text: &str| Policy::parse(text, "policy.toml").unwrap();
    let first = policy(&full());
    assert_eq!(first, policy(&full()));
    for (from, to) in [
        ("min = \"200Mbit\"", "min = \"201Mbit\""),
        ("max_rx = \"2.5Gbit\"", "max_rx = \"3Gbit\""),
        ("police = true\n", ""),
        ("share = 40", "share = 41"),
        ("port = 9000", "port = 9001"),
        ("filters = [\"smb\", ", "filters = ["),
        ("\ndscp = 46", "\ndscp = 45"),
    ] {
        assert_ne!(first, policy(&full().replace(from, to)), "{from}");
    }
    let bare = GOOD.replace("blue2\"\n", "blue2\"\nmanagement = true\n");
    assert_ne!(policy(GOOD), policy(&bare));
}

#[test]
fn a_maximum_alone_is_fine_in_every_mode_and_a_weight_where_weights_are() {
    for text in [GOOD.to_owned(), absolute(), weight()] {
        let text = text + "[vnic.bandwidth]\nmax = \"1Gbit\"\nmax_rx = \"1Kbit\"\n";
        Policy::parse(&text, "policy.toml").unwrap();
    }
    for weight_of in [1, 100] {
        let text = weight() + &format!("[vnic.bandwidth]\nweight = {weight_of}\n");
        Policy::parse(&text, "policy.toml").unwrap();
    }
}

#[test]
fn a_minimum_has_to_be_of_the_mode() {
    check_in(
        &weight(),
        vec![
            case(
                "",
                "[vnic.bandwidth]\nmin = \"200Mbit\" # HERE",
                "vnic blue2",
                "bandwidth.min: the switch shares by weight (bandwidth_mode = \"weight\" in line ",
                "weight = 30",
            ),
            case(
                "",
                "[[traffic_class]]\nname = \"c\"\nfilters = [\"smb\"]\nmin = \"1Gbit\" # HERE",
                "traffic_class c",
                "min: the switch shares by weight",
                "weight = 30",
            ),
        ],
    );
    check_in(
        &absolute(),
        vec![
            case(
                "",
                "[vnic.bandwidth]\nweight = 30 # HERE",
                "vnic blue2",
                "bandwidth.weight: the switch shares by rates (bandwidth_mode = \"absolute\" in line ",
                "min = \"200Mbit\"",
            ),
            case(
                "",
                "[vnic.bandwidth]\nmin = \"2Gbit\" # HERE\nmax = \"1Gbit\"",
                "vnic blue2",
                "bandwidth.min: 2Gbit is more than max, 1Gbit",
                "raise max",
            ),
            case(
                "",
                "[vnic.bandwidth]\nmin = \"0Mbit\" # HERE",
                "vnic blue2",
                "it is zero",
                "200Mbit",
            ),
            case(
                "",
                "[vnic.bandwidth]\nmin = \"999bit\" # HERE",
                "vnic blue2",
                "less than can be carried out",
                "1Kbit",
            ),
            case(
                "",
                "[vnic.bandwidth]\nmin = \"5Tbit\" # HERE",
                "vnic blue2",
                "more than can be carried out",
                "4Tbit",
            ),
            case(
                "",
                "[vnic.bandwidth]\nmax_rx = \"999bit\" # HERE",
                "vnic blue2",
                "less than can be carried out",
                "1Kbit",
            ),
            case(
                "",
                "[vnic.bandwidth]\npolice = true # HERE",
                "vnic blue2",
                "there is no max",
                "add max",
            ),
            case(
                "",
                "[vnic.bandwidth]\nmaxrx = \"1Gbit\" # HERE",
                "vnic blue2",
                "unknown field \"maxrx\"",
                "write \"max",
            ),
        ],
    );
    // Not written at all.
    let bare = GOOD.replace("bandwidth_mode = \"none\"\n", "");
    let case = case(
        "",
        "[vnic.bandwidth]\nmin = \"200Mbit\" # HERE",
        "vnic blue2",
        "bandwidth_mode is \"none\" unless it is written",
        "\"absolute\"",
    );
    check_in(&bare, vec![case]);
}

#[test]
fn traffic_classes_that_cannot_be() {
    let class = |text: &'static str, object: &'static str, problem, mend| {
        let text: &'static str = format!("[[traffic_class]]\nname = \"c\"\n{text}").leak();
        case("", text, object, problem, mend)
    };
    check(vec![
        case(
            "",
            "[[traffic_class]] # HERE\nname = \"c\"",
            "traffic_class c",
            "filters is missing",
            "[\"smb\"]",
        ),
        case(
            "",
            "[[traffic_class]] # HERE\nfilters = [\"smb\"]",
            "traffic_class in line 40",
            "name is missing",
            "\"storage\"",
        ),
        class(
            "filters = [\"smb\"]\n[[traffic_class]]\nname = \"c\" # HERE\nfilters = [\"nfs\"]",
            "traffic_class c",
            "the name is taken",
            "its own",
        ),
        class(
            "filters = [\"samba\"] # HERE",
            "traffic_class c",
            "there is no filter \"samba\"",
            "live-migration",
        ),
        class(
            "filters = [\"smb\"]\nswitch = \"other\" # HERE",
            "traffic_class c",
            "there is no switch \"other\"",
            "\"default\"",
        ),
        class(
            "filters = [\"smb\"]\ndscp = 64 # HERE",
            "traffic_class c",
            "out of range",
            "0 to 63",
        ),
        class(
            "filters = [\"smb\"]\npcp = 8 # HERE",
            "traffic_class c",
            "out of range",
            "0 to 7",
        ),
        class(
            "filters = [\"smb\"]\nmin = \"1Gbit\" # HERE",
            "traffic_class c",
            "min: the switch promises nothing",
            "absolute",
        ),
    ]);
    let filter = |text: &'static str, problem, mend| {
        let text: &'static str =
            format!("[[traffic_class]]\nname = \"c\"\n[[traffic_class.filter]] # HERE\n{text}")
                .leak();
        case(
            "",
            text,
            "traffic_class c, filter in line 42",
            problem,
            mend,
        )
    };
    check(vec![
        filter("", "would take every frame", "port = 9000"),
        filter("vnics = []", "names none", "take vnics out"),
        filter("protocol = \"icmp\"\nport = 1", "has no ports", "\"tcp\""),
        filter(
            "source = \"10.0.0.0/8\"\ndestination = \"fd00::/8\"",
            "two families",
            "second filter",
        ),
        filter(
            "ethertype = 0x8906\nport = 1",
            "no such frame",
            "take ethertype out",
        ),
        filter(
            "ethertype = 0x86DD\nsource = \"10.0.0.0/8\"",
            "no such frame",
            "take ethertype out",
        ),
    ]);
    let term = |text: &'static str, problem, mend| {
        let text: &'static str =
            format!("[[traffic_class]]\nname = \"c\"\n[[traffic_class.filter]]\n{text} # HERE")
                .leak();
        case(
            "",
            text,
            "traffic_class c, filter in line 42",
            problem,
            mend,
        )
    };
    check(vec![
        term(
            "vnics = [\"blue9\"]",
            "there is no vnic \"blue9\"",
            "[[vnic]]",
        ),
        term("ethertype = 0x100", "out of range", "1536"),
        term("port = 0", "out of range", "1 to 65535"),
        term("protocol = \"smtp\"", "no IP protocol", "\"udp\""),
        term("source = \"10.0.0.1/8\"", "bits set behind", "10.0.0.0/8"),
        term("sourceport = 5", "unknown field", "source_port"),
    ]);
}

#[test]
fn there_are_64_filters() {
    let classes = |count| many_classes(count, "[\"smb\", \"nfs\"]");
    assert!(Policy::parse(&classes(32), "policy.toml").is_ok());
    let refused = Policy::parse(&classes(35), "policy.toml").unwrap_err();
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert_eq!(refused[0].object, "traffic_class c32");
    assert!(refused[0].problem.contains("more than 64"));
}

/// What an uplink has nodes for: one more would be held by no maximum.
#[test]
fn there_are_63_classes() {
    let classes = |count| many_classes(count, "[\"smb\"]");
    assert!(Policy::parse(&classes(63), "policy.toml").is_ok());
    let refused = Policy::parse(&classes(64), "policy.toml").unwrap_err();
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert_eq!(refused[0].object, "traffic_class c63");
    assert!(refused[0].problem.contains("more than 63 traffic classes"));
}

fn many_classes(count: usize, filters: &str) -> String {
    let class = |n| format!("[[traffic_class]]\nname = \"c{n}\"\nfilters = {filters}\n");
    GOOD.to_owned() + &(0..count).map(class).collect::<String>()
}

#[test]
fn dcb_that_cannot_be() {
    let text = |own: &str| {
        GOOD.replace(
            "\n[[vm_network]]\nname = \"blue\"",
            &format!("{own}\n[[vm_network]]\nname = \"blue\""),
        )
    };
    for (own, problem, mend) in [
        ("[[switch.dcb]]\nshare = 10", "tc is missing", "add tc"),
        (
            "[[switch.dcb]]\ntc = 8\nshare = 10",
            "out of range",
            "0 to 7",
        ),
        (
            "[[switch.dcb]]\ntc = 1",
            "share is missing",
            "strict = true",
        ),
        (
            "[[switch.dcb]]\ntc = 1\nshare = 10\nstrict = true",
            "takes what it needs",
            "take share out",
        ),
        (
            "[[switch.dcb]]\ntc = 1\nshare = 60\n[[switch.dcb]]\ntc = 2\nshare = 50",
            "110 % together",
            "100 %",
        ),
        (
            "[[switch.dcb]]\ntc = 1\nshare = 100",
            "nothing is left for class 0",
            "tc = 0",
        ),
        (
            "[[switch.dcb]]\ntc = 1\nshare = 10\n[[switch.dcb]]\ntc = 1\nshare = 10",
            "already the class in line 13",
            "its own",
        ),
        (
            "[[switch.dcb]]\ntc = 1\nshare = 10\npriorities = [3]\n[[switch.dcb]]\ntc = 2\nshare = 10\npriorities = [3]",
            "3 is already that of a class in line ",
            "one DCB traffic class",
        ),
    ] {
        let refused = Policy::parse(&text(own), "policy.toml").unwrap_err();
        assert_eq!(refused.len(), 1, "{own}: {refused:#?}");
        assert!(
            refused[0].object.starts_with("switch default"),
            "{own}: {}",
            refused[0]
        );
        assert!(
            refused[0].problem.contains(problem),
            "{own}: {}",
            refused[0]
        );
        assert!(refused[0].mend.contains(mend), "{own}: {}", refused[0]);
    }
    let whole = "[[switch.dcb]]\ntc = 0\nshare = 50\n[[switch.dcb]]\ntc = 1\nshare = 50";
    assert!(Policy::parse(&text(whole), "policy.toml").is_ok());
}
