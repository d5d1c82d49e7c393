//! Customer routes: what is read, and every way in which one is refused.

mod policy_cases;

use policy_cases::{Case, GOOD, case, check};
use weir_agent::policy::Policy;

/// Where the good policy takes a route: behind the subnets of its VM network.
const PLACE: &str = "\n[[vnic]]\nname = \"blue1\"";

/// The refusal that the good policy with this route must bring.
fn route(
    fields: &'static str,
    object: &'static str,
    problem: &'static str,
    mend: &'static str,
) -> Case {
    let to = format!("[[vm_network.route]]\n{fields}\n{PLACE}");
    case(PLACE, to.leak(), object, problem, mend)
}

/// The good policy with this in the place of its routes.
fn with(routes: &str) -> String {
    assert_eq!(GOOD.matches(PLACE).count(), 1);
    GOOD.replace(PLACE, &format!("{routes}\n{PLACE}"))
}

/// What is refused in `text`, in words.
fn refusals(text: &str) -> Vec<String> {
    let refusals = Policy::parse(text, "policy.toml").unwrap_err();
    refusals.iter().map(ToString::to_string).collect()
}

#[test]
fn routes_are_read_in_the_files_order() {
    let text = with(
        r#"
[[vm_network.route]]
prefix = "0.0.0.0/0"
via = "10.1.0.11"
metric = 20
[[vm_network.route]]
prefix = "0.0.0.0/0"
via = "10.1.0.12"
metric = 4294967295
[[vm_network.route]]
prefix = "10.9.0.0/16"
via = "10.1.0.12"
"#,
    );
    let policy = Policy::parse(&text, "policy.toml").unwrap();
    let shown: Vec<(String, String, u32)> = policy
        .routes
        .iter()
        .map(|route| (route.name(), route.via.to_string(), route.metric))
        .collect();
    let expected = [
        ("blue/0.0.0.0/0", "10.1.0.11", 20),
        ("blue/0.0.0.0/0", "10.1.0.12", u32::MAX),
        ("blue/10.9.0.0/16", "10.1.0.12", 0),
    ];
    let expected = expected.map(|(name, via, metric)| (name.to_owned(), via.to_owned(), metric));
    assert_eq!(shown, expected);
    let line = text
        .lines()
        .position(|line| line == "[[vm_network.route]]")
        .unwrap();
    assert_eq!(policy.routes[0].line.0 as usize, line + 1);
    assert_eq!(&*policy.routes[0].network, "blue");
}

#[test]
fn networks_have_the_same_route_each() {
    let red = r#"
[[vm_network]]
name = "red"
isolation = "nv"
route = [{ prefix = "0.0.0.0/0", via = "10.1.0.12" }]
[[vm_network.subnet]]
name = "red-web"
vsid = 6001
prefixes = ["10.1.0.0/24"]
[[vnic]]
name = "red1"
host = "h1"
subnet = "red-web"
mac = "02:00:00:00:01:01"
addresses = ["ADDRESS"]
"#;
    let blue =
        with("[[vm_network.route]]\nprefix = \"0.0.0.0/0\"\nvia = \"10.1.0.12\"\nmetric = 0");
    let text = format!("{blue}{}", red.replace("ADDRESS", "10.1.0.12"));
    let policy = Policy::parse(&text, "policy.toml").unwrap();
    let names: Vec<String> = policy.routes.iter().map(|route| route.name()).collect();
    assert_eq!(names, ["blue/0.0.0.0/0", "red/0.0.0.0/0"]);
    // The vNIC of the other VM network that has the address does not help.
    let text = format!("{blue}{}", red.replace("ADDRESS", "10.1.0.13"));
    let refusals = refusals(&text);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(
        refusals[0].contains("no vNIC of VM network red has 10.1.0.12"),
        "{refusals:?}"
    );
}

#[test]
fn routes_compare_by_what_they_say_and_by_their_order() {
    let one = "[[vm_network.route]]\nprefix = \"0.0.0.0/0\"\nvia = \"10.1.0.11\"\n";
    let two = "[[vm_network.route]]\nprefix = \"10.9.0.0/16\"\nvia = \"10.1.0.12\"\n";
    let read = |text: &str| Policy::parse(&with(text), "policy.toml").unwrap();
    let policy = read(&format!("{one}{two}"));
    assert_eq!(policy, read(&format!("# moved\n\n{one}metric = 0\n{two}")));
    assert_ne!(policy, read(&format!("{two}{one}")));
    assert_ne!(policy, read(&format!("{one}metric = 1\n{two}")));
    assert_ne!(policy, read(one));
}

#[test]
fn values_that_cannot_be() {
    let default = "route blue/0.0.0.0/0";
    check(vec![
        route(
            "prefix = \"10.9.1.0/16\" # HERE\nvia = \"10.1.0.11\"",
            "route blue/10.9.1.0/16",
            "bits set",
            "\"10.9.0.0/16\"",
        ),
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.1.0.0/24\" # HERE",
            default,
            "via: \"10.1.0.0/24\" is a prefix",
            "without",
        ),
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.1.0.11\"\nmetric = 4294967296 # HERE",
            default,
            "metric: 4294967296 is out of range",
            "0 to 4294967295",
        ),
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.1.0.11\"\nmetric = -1 # HERE",
            default,
            "metric: -1 is out of range",
            "0 to",
        ),
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.1.0.11\"\ndev = \"eth0\" # HERE",
            default,
            "unknown field \"dev\"",
            "prefix, via, metric",
        ),
        case(
            PLACE,
            "[[vm_network.route]] # HERE\nprefix = \"0.0.0.0/0\"\n[[vnic]]\nname = \"blue1\"",
            default,
            "via is missing",
            "via = ",
        ),
        case(
            PLACE,
            "[[vm_network.route]] # HERE\nvia = \"10.1.0.11\"\n[[vnic]]\nname = \"blue1\"",
            "route in line 24",
            "prefix is missing",
            "prefix = ",
        ),
    ]);
}

#[test]
fn next_hops_that_cannot_be() {
    let default = "route blue/0.0.0.0/0";
    check(vec![
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.3.0.11\" # HERE",
            default,
            "via: 10.3.0.11 is in no prefix of a subnet of VM network blue",
            "address of a vNIC of this VM network",
        ),
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.1.0.1\" # HERE",
            default,
            "via: 10.1.0.1 is the gateway's address of 10.1.0.0/24",
            "the vNIC that forwards",
        ),
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.2.0.1\" # HERE",
            default,
            "the gateway's address of 10.2.0.0/24",
            "no route is needed",
        ),
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.1.0.254\" # HERE",
            default,
            "via: no vNIC of VM network blue has 10.1.0.254",
            "allowed_sources",
        ),
        // What a vNIC may send from is not what it has.
        case(
            PLACE,
            "[[vm_network.route]]\nprefix = \"0.0.0.0/0\"\nvia = \"10.1.0.254\" # HERE\n[[vnic]]\nallowed_sources = [\"10.1.0.254/32\"]\nname = \"blue1\"",
            default,
            "no vNIC of VM network blue has 10.1.0.254",
            "give the vNIC that forwards this address",
        ),
        // The subnet of another prefix has no vNIC.
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.2.0.11\" # HERE",
            default,
            "no vNIC of VM network blue has 10.2.0.11",
            "allowed_sources",
        ),
    ]);
}

#[test]
fn a_route_and_its_next_hop_are_of_one_family() {
    let text = with("[[vm_network.route]]\nprefix = \"::/0\"\nvia = \"fd01::11\"");
    let policy = Policy::parse(&text, "policy.toml").unwrap();
    assert_eq!(policy.routes[0].name(), "blue/::/0");
    check(vec![
        route(
            "prefix = \"fd09::/64\"\nvia = \"10.1.0.11\" # HERE",
            "route blue/fd09::/64",
            "via: 10.1.0.11 is of IPv4, and fd09::/64 of IPv6",
            "the IPv6 address",
        ),
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"fd01::11\" # HERE",
            "route blue/0.0.0.0/0",
            "via: fd01::11 is of IPv6, and 0.0.0.0/0 of IPv4",
            "the IPv4 address",
        ),
        route(
            "prefix = \"::/0\"\nvia = \"fd01::1\" # HERE",
            "route blue/::/0",
            "the gateway's address of fd01::/64",
            "the vNIC that forwards",
        ),
        route(
            "prefix = \"::/0\"\nvia = \"fd01::99\" # HERE",
            "route blue/::/0",
            "no vNIC of VM network blue has fd01::99",
            "allowed_sources",
        ),
    ]);
}

#[test]
fn a_prefix_has_one_route_of_a_metric() {
    check(vec![
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.1.0.11\"\n[[vm_network.route]]\nprefix = \"0.0.0.0/0\" # HERE\nvia = \"10.1.0.12\"",
            "route blue/0.0.0.0/0",
            "prefix: 0.0.0.0/0 with metric 0 is already that of the route in line 24",
            "another metric: the lowest wins",
        ),
        route(
            "prefix = \"0.0.0.0/0\"\nvia = \"10.1.0.11\"\nmetric = 0\n[[vm_network.route]]\nprefix = \"0.0.0.0/0\" # HERE\nvia = \"10.1.0.11\"",
            "route blue/0.0.0.0/0",
            "with metric 0 is already that",
            "take one of them out",
        ),
    ]);
}

/// A route is not refused on account of what was refused before it.
#[test]
fn one_mistake_is_one_refusal() {
    let good = with("[[vm_network.route]]\nprefix = \"0.0.0.0/0\"\nvia = \"10.1.0.12\"");
    for (from, to) in [
        // The prefix, or the subnet, that the next hop is in.
        ("\"10.1.0.0/24\", ", "\"10.1.0.0/99\", "),
        ("[\"10.2.0.0/24\"]", "[\"10.1.0.0/25\"]"),
        ("name = \"blue-db\"", "name = \"a b\""),
        ("vsid = 5001", "vsid = 1"),
        ("name = \"blue\"", "name = \"b b\""),
        // The vNIC that has it.
        (
            "addresses = [\"10.1.0.12\"]",
            "addresses = [\"10.1.0.300\"]",
        ),
        ("addresses = [\"10.1.0.12\"]", "addresses = \"10.1.0.12\""),
        ("addresses = [\"10.1.0.12\"]", "addresses = [12]"),
        (
            "host = \"h2\"\nsubnet = \"blue-web\"",
            "host = \"h2\"\nsubnet = \"green\"",
        ),
        ("\"trunk:vms/7\"", "\"eth0\""),
        ("name = \"blue2\"", "name = \"b 2\""),
    ] {
        assert_eq!(good.matches(from).count(), 1, "{from:?} must be there once");
        let refusals = refusals(&good.replace(from, to));
        assert_eq!(refusals.len(), 1, "{to}: {refusals:#?}");
        assert!(!refusals[0].contains("route"), "{to}: {refusals:?}");
    }
    for text in [
        "vnic = 3\n[[vm_network]]\nname = \"n\"\nisolation = \"nv\"\nsubnet = [{ name = \"s\", vsid = 5001, prefixes = [\"10.1.0.0/24\"] }]\nroute = [{ prefix = \"0.0.0.0/0\", via = \"10.1.0.2\" }]\n",
        "[[vm_network]]\nname = \"n\"\nisolation = \"nv\"\nsubnet = 3\nroute = [{ prefix = \"0.0.0.0/0\", via = \"10.1.0.2\" }]\n",
    ] {
        let refusals = refusals(text);
        assert_eq!(refusals.len(), 1, "{text}: {refusals:#?}");
    }
}

/// A mistake elsewhere does not hide a wrong next hop.
#[test]
fn all_mistakes_are_refused_at_once() {
    let text = with("[[vm_network.route]]\nprefix = \"0.0.0.0/0\"\nvia = \"10.2.0.254\"");
    let text = text.replace("[\"10.1.0.12\"]", "[\"10.1.0.300\"]");
    let refusals = refusals(&text);
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
    assert!(refusals[0].contains("no vNIC of VM network blue has 10.2.0.254"));
}
