//! Many vNICs: a policy that changes 1,000 of them under traffic of others, tables that grow, 50,000 elsewhere.

mod daemon_common;

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use daemon_common::{Host, pcap, until};
use weir_switch::testing::frames;
use weir_tables::counters::Cells;
use weir_wire::Mac;

const PEER: Mac = Mac::new([2, 0xbb, 0, 0, 0, 2]);
const OWN_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
const PEER_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

/// The wire sends without end what DIR/wire.pcap holds, and takes everything.
const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "UPLINK"
provider_addresses = ["192.168.50.1/24"]
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02" }
[[trunk]]
name = "vms"
device = "net_null90,no-rx=1"
by = "mac"
"#;

const TENANTS: &str = r#"
[[host]]
name = "h1"
provider_addresses = ["192.168.50.1"]
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "blue1"
vsid = 5001
prefixes = ["10.1.0.0/16"]
[[vm_network]]
name = "red"
isolation = "nv"
[[vm_network.subnet]]
name = "red1"
vsid = 6001
prefixes = ["10.1.0.0/16"]
[[vm_network.subnet]]
name = "red2"
vsid = 6002
prefixes = ["10.2.0.0/16"]
"#;

fn mac(n: u32) -> Mac {
    let [_, a, b, c] = n.to_be_bytes();
    Mac::new([2, 0, 0, a, b, c])
}

fn ca(second: u8, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, second, 0, 0)) + n)
}

fn vnic(
    text: &mut String,
    name: &str,
    host: &str,
    subnet: &str,
    mac: Mac,
    ca: Ipv4Addr,
    attach: &str,
) {
    let _ = write!(
        text,
        "[[vnic]]\nname = \"{name}\"\nhost = \"{host}\"\nsubnet = \"{subnet}\"\nmac = \"{mac}\"\naddresses = [\"{ca}\"]\n"
    );
    if !attach.is_empty() {
        let _ = writeln!(text, "attach = \"{attach}\"");
    }
}

/// Blue: who is sent to from here, from the wire, and over the wire.
fn traffic(text: &mut String) {
    vnic(
        text,
        "sink",
        "h1",
        "blue1",
        mac(2),
        ca(1, 2),
        "net_null91,no-rx=1",
    );
    vnic(
        text,
        "near",
        "h1",
        "blue1",
        mac(4),
        ca(1, 4),
        "net_null95,no-rx=1",
    );
    vnic(text, "far", "h2", "blue1", mac(9), ca(1, 9), "");
}

fn source(text: &mut String) {
    vnic(
        text,
        "source",
        "h1",
        "blue1",
        mac(3),
        ca(1, 3),
        "net_pcap92,rx_pcap=DIR/source.pcap,infinite_rx=1",
    );
}

fn resident_kilobytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * 4
}

fn packets(cells: &Cells, of: fn(&weir_tables::counters::PartyCells) -> u64) -> u64 {
    cells.iter().map(of).sum()
}

#[test]
fn a_thousand_vnics_change_twenty_times_and_traffic_of_others_loses_nothing() {
    let files = tempfile::tempdir().expect("a folder");
    let hello = |to| frames::tenant(mac(to), mac(3), ca(1, 3), ca(1, to), b"hello");
    let from_far = frames::tenant(mac(4), mac(9), ca(1, 9), ca(1, 4), b"hello");
    let file = |name: &str| files.path().join(name).display().to_string();
    std::fs::write(file("source.pcap"), pcap(&[hello(2), hello(9), hello(2)])).expect("a file");
    // The driver numbers its MACs: the uplink's is the next after this one's.
    std::fs::write(file("wire.pcap"), pcap(&[])).expect("a file");
    let devargs = format!("net_pcap94,rx_pcap={}", file("wire.pcap"));
    let probe = rte::Port::attach(&daemon_common::eal(), &devargs).expect("a port");
    let mut own = probe.mac();
    own[5] += 1;
    probe.close(Vec::new(), Vec::new()).expect("closed");
    let wire = frames::nvgre((Mac::new(own), PEER), (PEER_PA, OWN_PA), 5001, 1, &from_far);
    std::fs::write(file("wire.pcap"), pcap(&[wire])).expect("a file");
    let uplink = format!("net_pcap93,rx_pcap={},infinite_rx=1", file("wire.pcap"));
    let mut host = Host::start(&HOST.replace("UPLINK", &uplink));
    let source_at = |text: &str| text.replace("DIR/source.pcap", &file("source.pcap"));

    let mut base = TENANTS.to_owned();
    traffic(&mut base);
    host.apply(&base).expect("the sinks");
    source(&mut base);
    host.apply(&source_at(&base)).expect("the source");
    // 1,000 of red: none, in one subnet, with other addresses, half of them in the other subnet.
    let red = |addresses: u32, half: bool| {
        let mut text = base.clone();
        for n in 0..1000 {
            let moved = half && n % 2 == 1;
            let (subnet, second) = if moved { ("red2", 2) } else { ("red1", 1) };
            let ca = ca(second, 1000 + addresses + n);
            vnic(
                &mut text,
                &format!("r{n}"),
                "h1",
                subnet,
                mac(1000 + n),
                ca,
                "trunk:vms",
            );
        }
        source_at(&text)
    };
    let none = source_at(&base);
    let policies = [
        red(0, false),
        red(5000, false),
        red(5000, true),
        none.clone(),
    ];

    let start = Instant::now();
    until("traffic", || host.vnic("sink").tx_packets > 1000);
    // Before there was a policy the wire had nobody to send to.
    let at_first = host.drops();
    assert!(
        at_first
            .keys()
            .all(|reason| reason == "unknown_pa" || reason == "not_here"),
        "{at_first:?}"
    );
    let (mut longest, mut memory, mut indexes) = (Duration::ZERO, Vec::new(), Vec::new());
    let mut moved_least = u64::MAX;
    for _ in 0..20 {
        for text in &policies {
            let before = host.vnic("sink").tx_packets;
            let then = Instant::now();
            host.apply(text).expect("a policy");
            longest = longest.max(then.elapsed());
            until("more traffic", || host.vnic("sink").tx_packets > before);
            moved_least = moved_least.min(host.vnic("sink").tx_packets - before);
        }
        let state = host.state();
        let tables = &state.tables;
        let view = &tables.view;
        memory.push(resident_kilobytes());
        indexes.push((
            (
                tables.segments.left(),
                tables.vnics.left(),
                tables.peers.left(),
                tables.ports.left(),
            ),
            (
                view.vnics.len(),
                view.segments.len(),
                view.ports.len(),
                view.peers.len(),
            ),
            (
                tables.endpoints.len(),
                tables.records.len(),
                tables.trunked.len(),
                tables.accepted.len(),
            ),
            (
                tables.endpoints.held(),
                tables.records.held(),
                tables.trunked.held(),
            ),
            (
                view.endpoints.memory_bytes(),
                view.records.memory_bytes(),
                view.trunk_members.memory_bytes(),
            ),
        ));
        assert_eq!(host.drops(), at_first);
    }
    let seconds = start.elapsed();
    assert!(
        indexes.iter().skip(1).all(|now| *now == indexes[1]),
        "{indexes:?}"
    );
    let (early, late) = (memory[2], memory[19]);
    assert!(
        late < early + 4096,
        "{early} kB after three rounds, {late} kB after twenty"
    );

    // The sender stops; then what it sent has all arrived.
    let state = host.state();
    let cells = |state: &weir_agent::state::State, name: &str| {
        let vnics = state.tables.view.vnics.iter().flatten();
        vnics
            .filter(|v| &*v.name == name)
            .map(|v| v.cells.clone())
            .next()
            .expect("a vNIC")
    };
    let [source, sink, near] = ["source", "sink", "near"].map(|name| cells(state, name));
    let mut without = TENANTS.to_owned();
    traffic(&mut without);
    host.apply(&without).expect("without a source");
    let sent = packets(&source, |c| c.rx.packets.get());
    assert_eq!(packets(&source, |c| c.drops.packets()), 0);
    let uplink = host.state().tables.view.uplinks[0]
        .clone()
        .expect("an uplink");
    // Two of three to the sink, one of three to the wire; the wire sends on.
    let out = packets(&uplink.cells, |c| c.tx.packets.get());
    assert!(out.abs_diff(sent / 3) <= 1, "{out} of {sent}");
    // What it sent in the moment in which it was taken away is nobody's.
    let mut drops = host.drops();
    drops.remove("vnic_gone");
    assert_eq!(drops, at_first);
    assert_eq!(packets(&sink, |c| c.tx.packets.get()), sent - out);
    // The wire's receiver leaves too: what came from it is all there but for what it was too late for.
    let mut nobody = TENANTS.to_owned();
    vnic(
        &mut nobody,
        "other",
        "h1",
        "blue1",
        mac(6),
        ca(1, 6),
        "trunk:vms",
    );
    host.apply(&nobody).expect("nobody");
    let from_wire = packets(&near, |c| c.tx.packets.get());
    let wire_in = packets(&uplink.cells, |c| c.rx.packets.get());
    assert!(sent > 100_000 && from_wire > 100_000 && from_wire <= wire_in);
    assert_eq!(packets(&near, |c| c.drops.packets()), 0);
    eprintln!(
        "80 transactions of 1,000 vNICs: longest {longest:?}, in {seconds:?}; {sent} sent here, {from_wire} from the wire, none lost; least in one transaction {moved_least}; {early} kB, {late} kB"
    );
    host.stop();
}

#[test]
fn tables_grow_past_their_first_size_and_to_fifty_thousand() {
    let mut host = Host::start(&HOST.replace("UPLINK", "net_null93,no-rx=1"));
    let policy = |remote: u32, second: u8| {
        let mut text = TENANTS.to_owned();
        vnic(
            &mut text,
            "own",
            "h1",
            "blue1",
            mac(5),
            ca(1, 5),
            "trunk:vms",
        );
        vnic(
            &mut text,
            "source",
            "h1",
            "blue1",
            mac(3),
            ca(1, 3),
            "memif:DIR/source",
        );
        for n in 0..remote {
            let n = 1000 + n;
            vnic(
                &mut text,
                &format!("b{n}"),
                "h2",
                "blue1",
                mac(n + (u32::from(second) << 20)),
                ca(1, n),
                "",
            );
        }
        text
    };
    let sizes = |host: &mut Host| {
        let view = &host.state().tables.view;
        (view.endpoints.memory_bytes(), view.records.memory_bytes())
    };
    host.apply(&policy(0, 0)).expect("a policy");
    let first = sizes(&mut host);
    let mut vm = host.vm("source");
    let mut told = String::new();
    for remote in [1000, 2000, 10_000, 50_000] {
        let text = policy(remote, 0);
        let then = Instant::now();
        host.apply(&text).expect("a policy");
        let _ = write!(told, " {remote}: {:?}", then.elapsed());
        assert_eq!(host.state().tables.endpoints.len(), remote as usize + 2);
        // The first, the last and one in the middle are there, and what was there before.
        let before = host.stats().uplinks[0].tx_packets;
        let frames = [1000, 1000 + remote / 2, 999 + remote]
            .map(|n| frames::tenant(mac(n), mac(3), ca(1, 3), ca(1, n), b"hello"));
        vm.send(frames.iter().map(Vec::as_slice));
        let own = frames::tenant(mac(5), mac(3), ca(1, 3), ca(1, 5), b"hello");
        vm.send([&own[..]]);
        host.assert_conserved();
        assert_eq!(host.stats().uplinks[0].tx_packets - before, 3);
        // Each record answers.
        vm.send([&frames::arp_request(mac(3), ca(1, 3), ca(1, 999 + remote))[..]]);
        assert_eq!(vm.receive(1)[0][6..12], mac(999 + remote).octets());
    }
    assert_eq!(host.vnic("own").tx_packets, 4);
    assert!(sizes(&mut host) > first);
    assert_eq!(host.drops().values().sum::<u64>(), 0, "{:?}", host.drops());
    // One more, one changed, nothing changed: what a change costs among 50,000.
    let one_more = policy(50_001, 0);
    let then = Instant::now();
    let report = host.apply(&one_more).expect("one more");
    let _ = write!(told, " one more: {:?}", then.elapsed());
    assert_eq!((report.added.len(), report.unchanged >= 50_000), (1, true));
    let then = Instant::now();
    let read = host.read(&one_more);
    let _ = write!(told, " read: {:?}", then.elapsed());
    let then = Instant::now();
    host.state()
        .apply(read.expect("a policy"), false)
        .expect("the same");
    let _ = write!(told, " the same, without reading: {:?}", then.elapsed());
    // All get another MAC: everything is added before anything is removed.
    let all = policy(50_000, 1);
    let then = Instant::now();
    host.apply(&all).expect("all changed");
    let _ = write!(told, " all changed: {:?}", then.elapsed());
    let largest = sizes(&mut host);
    assert_eq!(host.state().tables.endpoints.len(), 50_002);
    // Again and again: it grows no more.
    for second in [2, 3] {
        host.apply(&policy(50_000, second)).expect("all changed");
    }
    assert_eq!(sizes(&mut host), largest);
    let then = Instant::now();
    host.apply(TENANTS).expect("nobody");
    let _ = write!(told, " none: {:?}", then.elapsed());
    let tables = &host.state().tables;
    assert_eq!(
        (
            tables.endpoints.len(),
            tables.records.len(),
            tables.endpoints.held()
        ),
        (0, 0, 0)
    );
    eprintln!("remote vNICs:{told}; tables of {largest:?} bytes");
    vm.unplug();
    host.assert_conserved();
    host.stop();
}
