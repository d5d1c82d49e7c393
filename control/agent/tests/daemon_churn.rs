//! Mappings that move for the rig while real workers forward: no packet is lost, every mapping is back, whatever ends it.

mod daemon_common;

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use daemon_common::{Host, pcap, until};
use weir_agent::stats::{ChurnReport, ChurnWish};
use weir_switch::testing::frames;
use weir_tables::counters::Cells;
use weir_tables::domain::GATEWAY_MAC;
use weir_wire::Mac;

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "net_null90,no-rx=1"
provider_addresses = ["192.168.50.1/24"]
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02", "192.168.50.3" = "02:bb:00:00:00:03" }
[[trunk]]
name = "vms"
device = "net_null91,no-rx=1"
by = "mac"
"#;

/// A subnet by NVGRE of both families, and one that is rewritten, which has no vNIC here.
const POLICY: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[host]]
name = "h3"
provider_addresses = ["192.168.50.3"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "blue1"
vsid = 5001
prefixes = ["10.1.0.0/16", "fd01::/64"]
[[vm_network.subnet]]
name = "blue2"
vsid = 5002
prefixes = ["10.2.0.0/16"]
translation = "rewrite"
[[vnic]]
name = "near"
host = "h1"
subnet = "blue1"
mac = "02:00:00:00:00:02"
addresses = ["10.1.0.2"]
attach = "trunk:vms"
"#;

const SOURCE: &str = r#"
[[vnic]]
name = "source"
host = "h1"
subnet = "blue1"
mac = "02:00:00:00:00:03"
addresses = ["10.1.0.3"]
attach = "net_pcap92,rx_pcap=DIR/source.pcap,infinite_rx=1"
"#;

/// vNICs on other hosts.
const FAR: u32 = 300;

fn mac(n: u32) -> Mac {
    let [_, a, b, c] = n.to_be_bytes();
    Mac::new([2, 0, 0, a, b, c])
}

fn ca(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 0)) + n)
}

/// With so many hosts besides this one.
fn policy(hosts: u32) -> String {
    let mut text = POLICY.to_owned();
    for n in 1000..1000 + FAR {
        let (host, mac, ca) = (2 + n % hosts, mac(n), ca(n));
        let _ = write!(
            text,
            "[[vnic]]\nname = \"v{n}\"\nhost = \"h{host}\"\nsubnet = \"blue1\"\nmac = \"{mac}\"\naddresses = [\"{ca}\", \"fd01::{n:x}\"]\n"
        );
    }
    for n in 1..10 {
        let (host, mac) = (2 + n % hosts, mac(5000 + n));
        let _ = write!(
            text,
            "[[vnic]]\nname = \"r{n}\"\nhost = \"h{host}\"\nsubnet = \"blue2\"\nmac = \"{mac}\"\naddresses = [\"10.2.0.{}\"]\nprovider_addresses = [\"192.168.50.{}\"]\n",
            10 + n,
            100 + n
        );
    }
    text
}

/// What the tables hold.
type Held = (
    Vec<([u64; 1], [u32; 1])>,
    Vec<([u64; 1], [u32; 3])>,
    Vec<([u64; 2], [u32; 3])>,
    Vec<([u64; 1], [u32; 3])>,
);

fn held(host: &mut Host) -> Held {
    let tables = &host.state().tables;
    let mut all: Held = (
        tables.endpoints.iter().collect(),
        tables.records.iter().collect(),
        tables.records6.iter().collect(),
        tables.rewritten.iter().collect(),
    );
    all.0.sort_unstable();
    all.1.sort_unstable();
    all.2.sort_unstable();
    all.3.sort_unstable();
    all
}

/// How many entries differ.
fn moved(now: &Held, before: &Held) -> [usize; 4] {
    fn count<T: PartialEq>(now: &[T], before: &[T]) -> usize {
        assert_eq!(now.len(), before.len());
        now.iter().zip(before).filter(|(a, b)| a != b).count()
    }
    [
        count(&now.0, &before.0),
        count(&now.1, &before.1),
        count(&now.2, &before.2),
        count(&now.3, &before.3),
    ]
}

fn wish(rate: u64, seconds: f64) -> ChurnWish {
    ChurnWish { rate, seconds }
}

/// As the control thread does, until the churn ends or `enough` says so.
fn tend(host: &mut Host, mut enough: impl FnMut(&mut Host) -> bool) {
    let start = Instant::now();
    while let Some(wait) = host.state().tend_churn() {
        host.state().tend_neighbors();
        if enough(host) {
            return;
        }
        assert!(start.elapsed().as_secs() < 20, "it does not end");
        std::thread::sleep(wait.min(Duration::from_millis(5)));
    }
}

fn allowed() -> Host {
    Host::start(&format!("{HOST}\n[rig]\nchurn = true\n"))
}

fn refusal(answer: Result<ChurnReport, Vec<weir_agent::stats::PolicyError>>) -> String {
    answer.expect_err("a refusal")[0].to_string()
}

#[test]
fn mappings_move_under_traffic_and_nothing_is_lost() {
    let mut host = allowed();
    // By the endpoint of each, and by the record of each.
    let to_all: Vec<Vec<u8>> = (1000..1000 + FAR)
        .flat_map(|n| {
            [mac(n), GATEWAY_MAC].map(|to| frames::tenant(to, mac(3), ca(3), ca(n), b"hello"))
        })
        .collect();
    std::fs::write(host.folder.path().join("source.pcap"), pcap(&to_all)).expect("a file");
    // Those who are sent to are there before the sender.
    host.apply(&policy(2)).expect("a policy");
    host.apply(&(policy(2) + SOURCE)).expect("a source");
    let (before, places) = (held(&mut host), {
        let tables = &host.state().tables;
        (tables.endpoints.held(), tables.records.held())
    });
    until("traffic", || host.vnic("source").rx_packets > 10_000);
    let at_first = host.stats().changes;

    host.state()
        .begin_churn(&wish(50_000, 0.5))
        .expect("a churn");
    let (mut most, mut sent) = ([0; 4], host.vnic("source").rx_packets);
    let mut meanwhile = 0;
    tend(&mut host, |host| {
        let away = moved(&held(host), &before);
        most = std::array::from_fn(|table| most[table].max(away[table]));
        let now = host.vnic("source").rx_packets;
        meanwhile += u64::from(now > std::mem::replace(&mut sent, now));
        false
    });
    let report = host.state().churn().expect("a report");
    assert_eq!(
        (report.running, report.ended.as_deref()),
        (false, Some("its time is over"))
    );
    assert!(most.iter().all(|&moved| moved > 0), "{most:?}");
    assert!(meanwhile > 10, "packets went on {meanwhile} times");
    assert_eq!(moved(&held(&mut host), &before), [0; 4]);

    // Of each move of an address one record, and the provider address that belongs to it or the endpoint: of both addresses of a
    // vNIC it is the same, and moves once.
    let most_due = (report.rate as f64 * report.seconds) as u64 + 16;
    assert!(
        report.updates > 1000 && report.updates <= most_due,
        "{report:?}"
    );
    let (seen, freed) = (report.changes.visible, report.changes.reclaimed);
    let once = report.updates + report.updates / 2 - 2 * 16;
    assert!(
        seen.count >= once && seen.count <= 2 * report.updates,
        "{report:?}"
    );
    // A record moves to another place: both are held.
    assert!(freed.count >= 2 * report.updates, "{report:?}");
    for times in [seen, freed] {
        let in_order = 0.0 < times.p50_us && times.p50_us <= times.p99_us;
        assert!(in_order && times.p99_us <= times.max_us, "{report:?}");
    }
    let after = host.stats().changes;
    assert_eq!(
        after.visible.count - at_first.visible.count,
        seen.count,
        "counted once"
    );
    let tables = &host.state().tables;
    assert_eq!((tables.endpoints.held(), tables.records.held()), places);

    // The sender stops; then what it sent is on the wire, each packet of it.
    let cells = |host: &mut Host| -> Cells {
        let vnics = host.state().tables.view.vnics.iter().flatten();
        let mut own = vnics.filter(|vnic| &*vnic.name == "source");
        own.next().expect("a vNIC").cells.clone()
    };
    let source = cells(&mut host);
    host.apply(&policy(2)).expect("without the source");
    let sent: u64 = source.iter().map(|cells| cells.rx.packets.get()).sum();
    assert_eq!(host.stats().uplinks[0].tx_packets, sent);
    let mut drops = host.drops();
    // What it sent in the moment in which it was taken away is nobody's.
    drops.remove("vnic_gone");
    assert!(drops.is_empty(), "{drops:?}");
    host.assert_conserved();
    host.stop();
}

#[test]
fn a_change_of_the_policy_comes_first_and_finds_every_mapping_at_home() {
    let mut host = allowed();
    host.apply(&policy(2)).expect("a policy");
    let before = held(&mut host);
    let go = |host: &mut Host| {
        host.state()
            .begin_churn(&wish(100_000, 3600.0))
            .expect("a churn");
        // Neither all away nor all at home.
        tend(host, |host| moved(&held(host), &before)[1] > 10);
    };
    go(&mut host);
    host.state().end_churn("enough");
    assert_eq!(moved(&held(&mut host), &before), [0; 4]);
    let report = host.state().churn().expect("a report");
    assert_eq!(report.ended.as_deref(), Some("enough"));
    assert!(report.updates > 10, "{report:?}");

    go(&mut host);
    let more = "[[vnic]]\nname = \"more\"\nhost = \"h2\"\nsubnet = \"blue1\"\nmac = \"02:00:00:00:aa:01\"\naddresses = [\"10.1.77.1\"]\n";
    host.apply(&(policy(2) + more)).expect("a policy");
    let report = host.state().churn().expect("a report");
    assert_eq!(report.ended.as_deref(), Some("the policy changed"));
    assert_eq!(host.state().tend_churn(), None);
    host.apply(&policy(2)).expect("the policy before");
    assert_eq!(moved(&held(&mut host), &before), [0; 4]);

    // A dry run is no change.
    go(&mut host);
    host.apply_or_not(&(policy(2) + more), true)
        .expect("a dry run");
    assert!(host.state().churn().expect("a report").running);
    host.stop();
}

#[test]
fn it_is_refused_where_it_is_not_allowed_and_where_it_means_nothing() {
    let mut host = Host::start(HOST);
    host.apply(&policy(2)).expect("a policy");
    let before = held(&mut host);
    let text = refusal(host.state().begin_churn(&wish(1000, 1.0)));
    assert!(
        text.contains("not started for the rig") && text.contains("[rig] churn = true"),
        "{text}"
    );
    assert_eq!(host.state().tend_churn(), None);
    assert_eq!(moved(&held(&mut host), &before), [0; 4]);
    host.stop();

    let mut host = allowed();
    let text = refusal(host.state().begin_churn(&wish(1000, 1.0)));
    assert!(text.contains("no mapping"), "nobody is there: {text}");
    // All are on one host.
    host.apply(&policy(1)).expect("a policy");
    let text = refusal(host.state().begin_churn(&wish(1000, 1.0)));
    assert!(text.contains("no mapping"), "{text}");
    host.apply(&policy(2)).expect("a policy");
    for (rate, seconds, of) in [
        (0, 1.0, "rate: 0"),
        (u64::MAX, 1.0, "rate: 18446744073709551615"),
        (1, 0.0, "seconds: 0"),
        (1, f64::NAN, "seconds: NaN"),
        (1, 1e9, "seconds: 1000000000"),
    ] {
        let text = refusal(host.state().begin_churn(&wish(rate, seconds)));
        assert!(text.contains(of), "{text}");
    }
    let text = refusal(host.state().churn());
    assert!(text.contains("there was none"), "{text}");
    host.state()
        .begin_churn(&wish(1000, 60.0))
        .expect("a churn");
    let text = refusal(host.state().begin_churn(&wish(1000, 1.0)));
    assert!(text.contains("under way"), "{text}");
    host.stop();
}
