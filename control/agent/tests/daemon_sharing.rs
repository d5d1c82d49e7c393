//! What is promised comes to workers as it is written, object by object; what an uplink cannot carry, or what the switch was not
//! made for, is refused and changes nothing.

mod daemon_common;

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;

use daemon_common::{Host, ca, mac, until};
use weir_agent::stats::PolicyError;
use weir_switch::testing::frames;
use weir_tables::bandwidth::{ClassId, Link, Pace, Promise, Tc};
use weir_tables::view::{Uplink, Vnic};
use weir_wire::Mac;

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "net_null70"
provider_addresses = ["192.168.50.1/24"]
capacity = "10Gbit"
[[trunk]]
name = "vms"
device = "net_null71,no-rx=1"
by = "mac"
"#;

fn unknown() -> String {
    HOST.replace("capacity = \"10Gbit\"\n", "")
}

fn network(mode: &str, more: &str) -> String {
    format!(
        "[[switch]]\nname = \"default\"\nbandwidth_mode = \"{mode}\"\n{more}\n[[vm_network]]\nname = \"blue\"\nisolation = \"nv\"\n\
         [[vm_network.subnet]]\nname = \"web\"\nvsid = 5001\nprefixes = [\"10.0.0.0/8\"]\n"
    )
}

fn vnic(n: u32, bandwidth: &str) -> String {
    let [_, a, b, c] = n.to_be_bytes();
    let mut text = format!(
        "[[vnic]]\nname = \"v{n}\"\nhost = \"h1\"\nsubnet = \"web\"\nmac = \"02:00:00:{a:02x}:{b:02x}:{c:02x}\"\n\
         addresses = [\"10.1.{b}.{c}\"]\nattach = \"trunk:vms\"\n"
    );
    if !bandwidth.is_empty() {
        writeln!(text, "bandwidth = {{ {bandwidth} }}").unwrap();
    }
    text
}

fn seen(host: &mut Host, n: u32) -> Arc<Vnic> {
    let name = format!("v{n}");
    let all = &host.state().tables.view.vnics;
    let mut own = all.iter().flatten().filter(|vnic| *vnic.name == *name);
    own.next().expect("it is there").clone()
}

fn promise(host: &mut Host, n: u32) -> Option<Promise> {
    seen(host, n).promise.as_deref().copied()
}

fn uplink(host: &mut Host) -> Arc<Uplink> {
    host.state().tables.view.uplinks[0].clone().unwrap()
}

fn link(host: &mut Host) -> Link {
    let uplink = uplink(host);
    uplink.link.as_deref().expect("a link").clone()
}

fn pace(bits_per_second: u64) -> Pace {
    Pace::of(bits_per_second, rte::clock::hz())
}

fn only(refused: Result<impl std::fmt::Debug, Vec<PolicyError>>) -> PolicyError {
    let mut refused = refused.expect_err("refused");
    assert_eq!(refused.len(), 1, "{refused:#?}");
    refused.remove(0)
}

#[test]
fn promises_links_and_classes_are_what_is_written() {
    let mut host = Host::start(HOST);
    let dcb = "[[switch.dcb]]\ntc = 1\nshare = 40\npriorities = [3]\n[[switch.dcb]]\ntc = 7\nstrict = true\npriorities = [6]\n\
               [[traffic_class]]\nname = \"storage\"\nfilters = [\"smb\"]\nmin = \"1Gbit\"\nmax = \"4Gbit\"\npriority = 3\ndscp = 26\n\
               [[traffic_class]]\nname = \"voice\"\npcp = 6\n[[traffic_class.filter]]\nvnics = [\"v3\"]\n";
    let mut text = network("absolute", dcb);
    text += &vnic(
        1,
        "min = \"200Mbit\", max = \"1Gbit\", max_rx = \"2Gbit\", police = true",
    );
    text += &vnic(2, "max = \"500Mbit\"");
    text += &vnic(3, "");
    host.apply(&text).expect("a policy");
    let first = Promise {
        share: 200_000,
        max: pace(1_000_000_000),
        max_rx: pace(2_000_000_000),
        police: true,
    };
    assert_eq!(promise(&mut host, 1), Some(first));
    let second = Promise {
        max: pace(500_000_000),
        ..Promise::default()
    };
    assert_eq!(promise(&mut host, 2), Some(second));
    assert_eq!(promise(&mut host, 3), None);
    let link = link(&mut host);
    assert_eq!(link.capacity, pace(10_000_000_000));
    assert_eq!((link.default_share, link.default_tc), (1_000_000, 0));
    assert_eq!((link.tcs[0], link.tcs[1]), (Tc::ets(60), Tc::ets(40)));
    assert!(link.tcs[7].strict);
    let storage = link.class(ClassId(1)).unwrap();
    assert_eq!(
        (&*storage.name, storage.share, storage.tc),
        ("storage", 1_000_000, 1)
    );
    assert_eq!(
        (storage.max, storage.dscp, storage.pcp),
        (pace(4_000_000_000), Some(26), None)
    );
    let voice = link.class(ClassId(2)).unwrap();
    assert_eq!(
        (&*voice.name, voice.share, voice.tc, voice.pcp),
        ("voice", 0, 7, Some(6))
    );
    let filters = host.state().tables.view.filters.clone().expect("filters");
    let (v1, v3) = (seen(&mut host, 1).id, seen(&mut host, 3).id);
    assert_eq!((filters.of_vnic(v1), filters.of_vnic(v3)), (0b01, 0b11));
    // A class that leaves takes nobody's number along.
    let without = text.replace("name = \"storage\"\nfilters = [\"smb\"]\nmin = \"1Gbit\"\nmax = \"4Gbit\"\npriority = 3\ndscp = 26\n[[traffic_class]]\n", "");
    assert_ne!(without, text);
    host.apply(&without).expect("a policy");
    let link = self::link(&mut host);
    assert_eq!(
        link.class(ClassId(2)).map(|class| &*class.name),
        Some("voice")
    );
    host.stop();
}

/// As many classes as there may be, with a maximum each and this before their names.
fn classes(names: &str) -> String {
    let class = |n| {
        format!(
            "[[traffic_class]]\nname = \"{names}{n}\"\nmax = \"1Gbit\"\n[[traffic_class.filter]]\ndscp = {n}\n"
        )
    };
    (1..=63).map(class).collect()
}

/// An uplink has no more nodes than there may be classes, also while all of them are replaced by others.
#[test]
fn as_many_classes_as_there_may_be_can_all_be_replaced_at_once() {
    let mut host = Host::start(HOST);
    let text = |names: &str| network("none", &classes(names)) + &vnic(1, "max = \"1Gbit\"");
    for names in ["a", "b"] {
        host.apply(&text(names)).expect("a policy");
        let link = link(&mut host);
        let mut seen: Vec<String> = (1..64)
            .map(|id| link.class(ClassId(id)).expect("a class").name.to_string())
            .collect();
        let mut wanted: Vec<String> = (1..=63).map(|n| format!("{names}{n}")).collect();
        seen.sort();
        wanted.sort();
        assert_eq!((seen, link.classes.len()), (wanted, 63));
    }
    host.stop();
}

#[test]
fn what_is_sent_is_told_by_class_and_not_to_the_next_class_of_its_number() {
    let mut host = Host::start(HOST);
    let class = |name: &str| {
        let more = format!("[[traffic_class]]\nname = \"{name}\"\nfilters = [\"smb\"]\n");
        network("none", &more) + &vnic(1, "")
    };
    let told = |host: &mut Host| {
        let stats = host.stats().vnics.remove(0);
        let classes = stats.classes.into_iter().map(|own| {
            let counted = [
                own.sent_packets,
                own.sent_bytes,
                own.queued,
                own.queue_bytes,
            ];
            (own.class, counted, own.dropped, own.dropped_bytes)
        });
        let refused = stats
            .refused
            .into_iter()
            .map(|own| (own.class, own.packets));
        (classes.collect::<Vec<_>>(), refused.collect::<Vec<_>>())
    };
    // Nothing is counted by class where there is none.
    host.apply(&(network("none", "") + &vnic(1, "max = \"1Gbit\"")))
        .expect("a policy");
    let cells = seen(&mut host, 1).cells.clone();
    assert!(cells[0].classes.of(ClassId::NONE).is_none());
    cells[0].classes.unclassed.add(2);
    assert_eq!(told(&mut host), (vec![], vec![(String::new(), 2)]));
    // A vNIC that was there before its class counts in it; so does one that comes later.
    host.apply(&class("old")).expect("a policy");
    let text = class("old") + &vnic(2, "");
    host.apply(&text).expect("a policy");
    assert!(seen(&mut host, 2).cells[0].classes.of(ClassId(1)).is_some());
    // As its worker counts, to whom nothing comes here.
    let own = cells[0].classes.of(ClassId(1)).expect("room");
    own.sent.add(3, 300);
    own.dropped.add(1, 60);
    let none = cells[0].classes.of(ClassId::NONE).expect("room");
    none.sent.add(5, 500);
    let old = || "old".to_string();
    let (classes, refused) = told(&mut host);
    let wanted = [
        (String::new(), [5, 500, 0, 0], 0, 0),
        (old(), [3, 300, 0, 0], 1, 60),
    ];
    assert_eq!(classes, wanted);
    assert_eq!(refused, [(String::new(), 2), (old(), 1)]);
    // Its number passes to another class, which has sent nothing.
    host.apply(&class("new")).expect("a policy");
    host.apply(&class("newer")).expect("a policy");
    let id = host.state().tables.class(&"newer".into());
    assert_eq!(id, Some(ClassId(1)));
    let (classes, refused) = told(&mut host);
    assert_eq!(classes, [(String::new(), [5, 500, 0, 0], 0, 0)]);
    assert_eq!(refused, [(String::new(), 2)]);
    host.stop();
}

#[test]
fn a_change_of_one_promise_touches_nothing_else() {
    let mut host = Host::start(HOST);
    let text = |min: u32| {
        let mut text = network(
            "absolute",
            "[[traffic_class]]\nname = \"c\"\nfilters = [\"smb\"]\n",
        );
        for n in 1..5 {
            let min = if n == 2 { min } else { 100 };
            text += &vnic(n, &format!("min = \"{min}Mbit\""));
        }
        text
    };
    host.apply(&text(100)).expect("a policy");
    let before: Vec<Arc<Vnic>> = (1..5).map(|n| seen(&mut host, n)).collect();
    let (link, filters) = (uplink(&mut host), host.state().tables.view.filters.clone());
    let report = host.apply(&text(300)).expect("a policy");
    assert_eq!(report.changed, ["vnic v2"]);
    for (n, old) in (1..5).zip(&before) {
        let now = seen(&mut host, n);
        assert_eq!(Arc::ptr_eq(old, &now), n != 2, "v{n}");
        // Its counters go on.
        assert!(Arc::ptr_eq(&old.cells, &now.cells));
    }
    assert_eq!(promise(&mut host, 2).map(|own| own.share), Some(300_000));
    assert!(Arc::ptr_eq(&link, &uplink(&mut host)));
    let now = host.state().tables.view.filters.clone();
    assert!(Arc::ptr_eq(&filters.unwrap(), &now.unwrap()));
    host.stop();
}

#[test]
fn minima_that_an_uplink_does_not_carry_are_refused_with_the_sum_and_the_members() {
    let mut host = Host::start(HOST);
    // 9 Gbit/s beside the default class is all that there is.
    let fits = network("absolute", "") + &vnic(1, "min = \"6Gbit\"") + &vnic(2, "min = \"3Gbit\"");
    host.apply(&fits).expect("a policy");
    let beyond = fits.replace("\"3Gbit\"", "\"3000001Kbit\"");
    let refused = only(host.apply(&beyond));
    assert_eq!(refused.object, "uplink up0");
    assert_eq!(refused.line, Some(12));
    assert!(
        refused.problem.contains("10000001Kbit together, and it carries 10Gbit: vnic v1 6Gbit, vnic v2 3000001Kbit, the default class 1Gbit"),
        "{refused}"
    );
    assert!(refused.mend.contains("host.toml"), "{refused}");
    assert_eq!(
        promise(&mut host, 2).map(|own| own.share),
        Some(3_000_000),
        "nothing has changed"
    );
    // A class counts as a vNIC does.
    let class = "[[traffic_class]]\nname = \"c\"\nfilters = [\"smb\"]\nmin = \"1Kbit\"\n";
    let refused = only(host.apply(&(fits.clone() + class)));
    assert!(
        refused.problem.contains("traffic_class c 1Kbit"),
        "{refused}"
    );
    // One by itself is named.
    let alone = fits.replace("\"6Gbit\"", "\"20Gbit\"");
    let refused = only(host.apply(&alone));
    assert_eq!(refused.object, "vnic v1");
    assert!(
        refused
            .problem
            .contains("20Gbit is more than uplink up0 carries, 10Gbit"),
        "{refused}"
    );
    host.stop();
}

/// A second uplink, of 1 Gbit/s, and two VM networks of which each has something behind one of them.
fn two_uplinks() -> (String, impl Fn(&str, &str, &str) -> String) {
    let second = "[[uplink]]\nname = \"up1\"\ndevice = \"net_null72\"\nprovider_addresses = [\"192.168.60.1/24\"]\ncapacity = \"1Gbit\"\n[[trunk]]";
    let host = HOST.replace("[[trunk]]", second);
    let policy = |blue: &str, red: &str, more: &str| {
        let hosts: String = [("h2", blue), ("h3", red)]
            .map(|(name, pa)| {
                format!("[[host]]\nname = \"{name}\"\nprovider_addresses = [\"{pa}\"]\n")
            })
            .concat();
        let red = "[[vm_network]]\nname = \"red\"\nisolation = \"nv\"\n[[vm_network.subnet]]\nname = \"db\"\nvsid = 5002\nprefixes = [\"10.0.0.0/8\"]\n";
        let away = |n, host: &str| {
            vnic(n, "")
                .replace("h1", host)
                .replace("attach = \"trunk:vms\"\n", "")
        };
        let elsewhere = away(8, "h2") + &red_one(away(9, "h3"));
        network("absolute", &hosts) + red + &elsewhere + more
    };
    (host, policy)
}

fn red_one(vnic: String) -> String {
    vnic.replace("\"web\"", "\"db\"")
}

#[test]
fn a_minimum_is_admitted_against_the_uplinks_that_its_vnic_may_leave_by() {
    let (host, policy) = two_uplinks();
    let mut host = Host::start(&host);
    let (blue, red) = ("192.168.50.2", "192.168.60.3");
    let own = vnic(1, "min = \"5Gbit\"") + &red_one(vnic(2, "min = \"800Mbit\""));
    host.apply(&policy(blue, red, &own))
        .expect("each fits its own");
    let of = |host: &mut Host, name: &str| {
        let mut all = host.state().objects("uplink", Some(name)).expect("a kind");
        all.remove(0)["status"]["bandwidth"].take()
    };
    let (first, second) = (of(&mut host, "up0"), of(&mut host, "up1"));
    assert_eq!(
        (&first["promises"], &second["promises"]),
        (&1.into(), &1.into())
    );
    assert_eq!(first["minima_bits_per_second"], 5_000_000_000_u64);
    assert_eq!(second["minima_bits_per_second"], 800_000_000_u64);
    // Beyond the one that it leaves by: with the members that leave by it.
    let more = own.clone() + &red_one(vnic(3, "min = \"101Mbit\""));
    let refused = only(host.apply(&policy(blue, red, &more)));
    assert_eq!(refused.object, "uplink up1");
    assert!(
        refused.problem.contains("1001Mbit together, and it carries 1Gbit: vnic v2 800Mbit, vnic v3 101Mbit, the default class 100Mbit"),
        "{refused}"
    );
    // What moves a VM network to an uplink that does not carry it is refused too.
    let refused = only(host.apply(&policy("192.168.60.2", red, &own)));
    assert_eq!(refused.object, "vnic v1");
    assert!(
        refused
            .problem
            .contains("5Gbit is more than uplink up1 carries, 1Gbit"),
        "{refused}"
    );
    // A class is of whoever: by each that vNICs leave by.
    let class = "[[traffic_class]]\nname = \"c\"\nfilters = [\"smb\"]\nmin = \"200Mbit\"\n";
    let refused = only(host.apply(&policy(blue, red, &(own.clone() + class))));
    assert_eq!(refused.object, "uplink up1");
    assert!(
        refused.problem.contains("traffic_class c 200Mbit"),
        "{refused}"
    );
    // What the switch itself sends may leave by any, whatever vNICs do.
    let blue_one = vnic(1, "min = \"5Gbit\"");
    let class = |filter: &str| {
        let min = "min = \"950Mbit\"";
        let class = format!("[[traffic_class]]\nname = \"c\"\nfilters = [\"{filter}\"]\n{min}\n");
        policy(blue, red, &(blue_one.clone() + &class))
    };
    let refused = only(host.apply(&class("management")));
    assert_eq!(refused.object, "uplink up1");
    host.apply_or_not(&class("smb"), true)
        .expect("no vNIC leaves by the other");
    // A VM network that has nothing elsewhere yet may have it behind any.
    let alone = "[[vm_network]]\nname = \"lone\"\nisolation = \"nv\"\n[[vm_network.subnet]]\nname = \"lone\"\nvsid = 5003\nprefixes = [\"10.0.0.0/8\"]\n".to_string()
        + &vnic(4, "min = \"101Mbit\"").replace("\"web\"", "\"lone\"");
    let refused = only(host.apply(&policy(blue, red, &(own.clone() + &alone))));
    assert_eq!(refused.object, "uplink up1");
    assert!(refused.problem.contains("vnic v4 101Mbit"), "{refused}");
    // Nothing of what was refused is there.
    assert_eq!(host.state().revision, 1);
    assert_eq!(promise(&mut host, 1).map(|own| own.share), Some(5_000_000));
    let names: Vec<String> = host.stats().vnics.into_iter().map(|own| own.vnic).collect();
    assert_eq!(names, ["v1", "v2"]);
    host.stop();
}

/// A bridged VM network leaves by the first uplink and by no other.
#[test]
fn a_minimum_of_a_bridged_network_is_admitted_against_the_first_uplink() {
    let (host, policy) = two_uplinks();
    let mut host = Host::start(&host);
    let plain = |min: &str| {
        let network = "[[vm_network]]\nname = \"plain\"\nisolation = \"vlan\"\nvlan = 100\n[[vm_network.subnet]]\nname = \"plain\"\nprefixes = [\"10.0.0.0/8\"]\n";
        let own = vnic(1, &format!("min = \"{min}\"")).replace("\"web\"", "\"plain\"");
        policy(
            "192.168.50.2",
            "192.168.60.3",
            &(network.to_string() + &own),
        )
    };
    host.apply(&plain("9Gbit")).expect("the first carries it");
    let refused = only(host.apply(&plain("9001Mbit")));
    assert_eq!(refused.object, "uplink up0");
    host.stop();
}

#[test]
fn a_link_that_becomes_slower_than_what_is_promised_is_a_warning_and_changes_nothing() {
    let mut host = Host::start(&unknown());
    assert!(host.state().speeds.heard(0, 10_000_000_000));
    let text = network("absolute", "") + &vnic(1, "min = \"6Gbit\"") + &vnic(2, "min = \"3Gbit\"");
    host.apply(&text).expect("the link carries it");
    let warnings = |host: &mut Host| {
        let mut all = host.state().objects("uplink", None).expect("a kind");
        let shown = all.remove(0)["status"]["bandwidth"].take();
        (host.state().status("a store").warnings, shown)
    };
    let (none, shown) = warnings(&mut host);
    assert!(
        none.is_empty() && shown["oversubscribed"].is_null(),
        "{none:#?}"
    );
    assert_eq!(shown["is_oversubscribed"], false);
    assert!(host.state().speeds.heard(0, 8_000_000_000));
    assert!(!host.state().speeds.heard(0, 8_000_000_000));
    let (told, shown) = warnings(&mut host);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].object, "uplink up0");
    let sum = "9800Mbit together, and it carries 8Gbit: vnic v1 6Gbit, vnic v2 3Gbit, the default class 800Mbit";
    assert!(told[0].problem.contains(sum), "{told:#?}");
    assert_eq!(shown["is_oversubscribed"], true);
    assert_eq!(shown["oversubscribed"], told[0].problem);
    // It goes on with what was promised; a policy is held against what there is now.
    assert_eq!(promise(&mut host, 1).map(|own| own.share), Some(6_000_000));
    let refused = only(host.apply(&(text.clone() + &vnic(3, ""))));
    assert!(refused.problem.contains(sum), "{refused}");
    assert_eq!((host.state().revision, host.stats().vnics.len()), (1, 2));
    let less = text.replace("\"3Gbit\"", "\"1Gbit\"");
    host.apply(&less).expect("what there is carries it");
    assert!(warnings(&mut host).0.is_empty());
    host.stop();
}

#[test]
fn thousands_of_members_are_told_by_their_number() {
    let mut host = Host::start(HOST);
    let mut text = network("absolute", "");
    for n in 1..=2000 {
        let min = if n == 7 { 8 } else { 5 };
        text += &vnic(n, &format!("min = \"{min}Mbit\""));
    }
    let refused = only(host.apply(&text));
    assert!(refused.problem.contains("11003Mbit together"), "{refused}");
    assert!(refused.problem.contains(": vnic v7 8Mbit, "), "{refused}");
    assert!(
        refused.problem.contains("1992 more with 9960Mbit"),
        "{refused}"
    );
    assert!(refused.problem.len() < 400, "{refused}");
    host.stop();
}

#[test]
fn minima_of_a_dcb_class_have_to_fit_its_share() {
    let mut host = Host::start(HOST);
    let dcb = |share| {
        let more = format!(
            "[[switch.dcb]]\ntc = 1\nshare = {share}\npriorities = [3]\n\
             [[traffic_class]]\nname = \"c\"\nfilters = [\"smb\"]\nmin = \"3Gbit\"\npriority = 3\n"
        );
        network("absolute", &more) + &vnic(1, "min = \"5Gbit\"")
    };
    host.apply(&dcb(30)).expect("a policy");
    let refused = only(host.apply(&dcb(29)));
    assert_eq!(refused.object, "DCB traffic class 1 on uplink up0 (29 %)");
    let refused = only(host.apply(&dcb(41)));
    assert_eq!(refused.object, "DCB traffic class 0 on uplink up0 (59 %)");
    // What goes before all others has no share that it would have to fit.
    let strict = dcb(30).replace("share = 30", "strict = true");
    host.apply(&strict).expect("a policy");
    host.stop();
}

#[test]
fn a_capacity_that_nobody_knows_is_refused_where_it_is_needed() {
    let mut host = Host::start(&unknown());
    let plain = network("absolute", "") + &vnic(1, "max = \"1Gbit\"");
    host.apply(&plain).expect("a policy");
    assert_eq!(uplink(&mut host).link, None, "nothing to share by");
    let refused = only(host.apply(&(plain + &vnic(2, "min = \"1Mbit\""))));
    assert_eq!(
        (&*refused.file, &*refused.object),
        ("host.toml", "uplink up0")
    );
    assert_eq!(refused.line, Some(7));
    assert!(
        refused.problem.contains("1 minima") && refused.mend.contains("capacity = \"10Gbit\""),
        "{refused}"
    );
    host.stop();
    // Marks and DCB classes need none, and are there all the same.
    for (written, dcb) in [
        (
            "[[traffic_class]]\nname = \"c\"\nfilters = [\"smb\"]\ndscp = 10\n",
            false,
        ),
        (
            "[[switch.dcb]]\ntc = 1\nshare = 40\npriorities = [3]\n",
            true,
        ),
    ] {
        let mut host = Host::start(&unknown());
        host.apply(&(network("none", written) + &vnic(1, "")))
            .expect("a policy");
        let link = link(&mut host);
        let dscp = link.class(ClassId(1)).and_then(|class| class.dscp);
        assert_eq!(
            (dscp, link.tcs[1] == Tc::ets(40)),
            ((!dcb).then_some(10), dcb)
        );
        host.stop();
    }
    // Weights need none.
    let mut host = Host::start(&unknown());
    host.apply(&(network("weight", "") + &vnic(1, "weight = 30")))
        .expect("a policy");
    assert_eq!(link(&mut host), Link::plain(Pace::UNLIMITED));
    assert_eq!(promise(&mut host, 1).map(|own| own.share), Some(30));
    host.stop();
}

#[test]
fn a_switch_keeps_its_mode_as_long_as_it_runs() {
    let mut host = Host::start(HOST);
    host.apply(&network("absolute", ""))
        .expect("the switch is made");
    host.apply(&(network("absolute", "") + &vnic(1, "")))
        .expect("a policy");
    let refused = only(host.apply(&(network("weight", "") + &vnic(1, ""))));
    assert_eq!(
        (&*refused.object, refused.line),
        ("switch default", Some(1))
    );
    assert!(
        refused
            .problem
            .contains("\"weight\" here, and the switch was made with \"absolute\""),
        "{refused}"
    );
    assert!(
        refused.mend.contains("write \"absolute\"") && refused.mend.contains("stop the daemon"),
        "{refused}"
    );
    // Not written is "none".
    let bare = network("none", "").replace(
        "[[switch]]\nname = \"default\"\nbandwidth_mode = \"none\"\n",
        "",
    );
    only(host.apply(&bare));
    host.stop();
    // A switch that nobody has written and nobody is on is not made yet.
    let mut host = Host::start(HOST);
    host.apply(&bare).expect("a policy");
    host.apply(&(network("weight", "") + &vnic(1, "weight = 5")))
        .expect("a policy");
    host.stop();
}

#[test]
fn ten_thousand_vnics_have_ten_thousand_promises() {
    let mut host = Host::start(HOST);
    let text = |round: u32| {
        let mut text = network("absolute", "");
        for n in 1..=10_000 {
            let (min, max) = (100 + n % 1000, 1_000 + n + round);
            text += &vnic(n, &format!("min = \"{min}Kbit\", max = \"{max}Kbit\""));
        }
        text
    };
    host.apply(&text(0)).expect("a policy");
    let policy = host.read(&text(1)).expect("a policy");
    let report = host.state().apply(policy, false).expect("a policy");
    assert_eq!(report.changed.len(), 10_000);
    for n in [1, 5_000, 10_000] {
        let own = promise(&mut host, n).unwrap();
        assert_eq!(own.max, pace(u64::from(1_001 + n) * 1_000), "v{n}");
        assert_eq!(own.share, 100 + n % 1000);
    }
    host.stop();
}

#[test]
fn what_is_promised_and_what_there_is_to_keep_it_shows() {
    let mut host = Host::start(HOST);
    let more = "[[traffic_class]]\nname = \"c\"\nfilters = [\"smb\"]\nmin = \"2Gbit\"\n";
    let text =
        network("absolute", more) + &vnic(1, "min = \"3Gbit\", max = \"4Gbit\"") + &vnic(2, "");
    host.apply(&text).expect("a policy");
    let mut status = |kind: &str, name: &str| {
        let mut all = host.state().objects(kind, Some(name)).expect("a kind");
        assert_eq!(all.len(), 1, "{kind}");
        all.remove(0)["status"].take()
    };
    let vnic = &status("vnic", "v1")["bandwidth"];
    assert_eq!(vnic["min_bits_per_second"], 3_000_000_000_u64);
    assert_eq!(vnic["max_bits_per_second"], 4_000_000_000_u64);
    assert_eq!(vnic["default_class"], false);
    assert_eq!(status("vnic", "v2")["bandwidth"]["default_class"], true);
    let uplink = &status("uplink", "up0")["bandwidth"];
    assert_eq!(uplink["capacity_bits_per_second"], 10_000_000_000_u64);
    assert_eq!(uplink["capacity_from"], "host.toml");
    assert_eq!(uplink["promises"], 2);
    assert_eq!(uplink["minima_bits_per_second"], 5_000_000_000_u64);
    assert_eq!(uplink["admitted_bits_per_second"], 6_000_000_000_u64);
    assert_eq!(uplink["is_oversubscribed"], false);
    let top = host.state().top(None);
    assert_eq!(top.vnics[0].min_bits_per_second, Some(3_000_000_000));
    assert_eq!(top.vnics[0].max_bits_per_second, Some(4_000_000_000));
    assert_eq!(
        (top.vnics[1].min_bits_per_second, top.vnics[1].min_weight),
        (None, None)
    );
    let mut status = |kind: &str, name: &str| {
        let mut all = host.state().objects(kind, Some(name)).expect("a kind");
        all.remove(0)["status"].take()
    };
    let dcb = &status("uplink", "up0")["dcb"];
    assert_eq!(dcb["by"], "software");
    assert!(dcb["could_be_nic"].is_null(), "there is one class");
    let device = &dcb["device"];
    assert!(device["dcb_tcs"].is_null() && device["traffic_manager"].is_null());
    assert!(device["pfc"].is_null() && device["pfc_counters"].is_null());
    assert_eq!(status("traffic_class", "c")["class"], 1);
    assert_eq!(status("switch", "default")["promised_vnics"], 1);
    let more = "[[switch.dcb]]\ntc = 1\nstrict = true\npriorities = [3]\n";
    host.apply(&network("absolute", more)).expect("a policy");
    let uplink = host.state().objects("uplink", Some("up0"));
    let dcb = uplink.expect("a kind").remove(0)["status"]["dcb"].take();
    assert_eq!(
        (&dcb["by"], &dcb["could_be_nic"]),
        (&"software".into(), &false.into())
    );
    assert_eq!(
        dcb["why"],
        "the device has neither DCB nor a traffic manager"
    );
    host.stop();
}

#[test]
fn only_vnics_of_the_host_itself_are_management() {
    let mut host = Host::start(HOST);
    let class = "[[traffic_class]]\nname = \"c\"\nfilters = [\"management\"]\nmax = \"1Gbit\"\n";
    let text = network("none", class) + &vnic(1, "") + "management = true\n" + &vnic(2, "");
    host.apply(&text).expect("a policy");
    let filters = host.state().tables.view.filters.clone().expect("filters");
    let of = |host: &mut Host, n| filters.of_vnic(seen(host, n).id);
    assert_eq!((of(&mut host, 1), of(&mut host, 2)), (1, 0));
    host.stop();
}

#[test]
fn a_link_that_becomes_slower_is_no_longer_sent_more() {
    let mut host = Host::start(daemon_common::HOST);
    let text = daemon_common::THERE.to_owned()
        + "[[vnic]]\nname = \"v1\"\nhost = \"h1\"\nsubnet = \"s0\"\nmac = \"02:00:00:00:01:01\"\naddresses = [\"10.1.0.11\"]\nattach = \"memif:DIR/v1\"\n";
    host.apply(&text).expect("a policy");
    let (mut v1, mut wire) = (host.vm("v1"), host.vm("up0"));
    let there = Mac::new([2, 1, 0, 0, 0, 0]);
    let frame = frames::tenant(there, mac(1), ca(1), Ipv4Addr::new(10, 1, 0, 0), &[0; 1000]);
    v1.send([&frame[..]; 20]);
    wire.receive(20);
    // A frame takes more than a minute of it.
    assert!(host.state().speeds.heard(0, 100));
    host.state().follow_links();
    v1.send([&frame[..]; 5]);
    until("what waits", || host.vnic("v1").queued == 4);
    wire.receive(1);
    wire.receives_nothing();
    host.stop();
}
