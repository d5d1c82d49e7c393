//! What a live screen is answered: everything once, and then what has changed.

mod daemon_common;

use daemon_common::{Host, until};
use weir_agent::top::{Reading, Top};

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE2
[[uplink]]
name = "up0"
device = "net_null1,no-rx=1"
provider_addresses = ["192.168.50.1/24"]
[store]
kind = "file"
path = "policy.toml"
"#;

const POLICY: &str = r#"
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "web"
vsid = 5001
prefixes = ["10.1.0.0/24"]
"#;

fn vnic(n: u8) -> String {
    format!(
        "[[vnic]]\nname = \"v{n}\"\nhost = \"h1\"\nsubnet = \"web\"\nmac = \"02:00:00:00:00:0{n}\"\naddresses = [\"10.1.0.1{n}\"]\nattach = \"memif:DIR/v{n}\"\n"
    )
}

/// A frame of v1 to somebody, with a forged source if it is to be dropped.
fn frame(forged: bool) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, if forged { 9 } else { 1 }];
    frame.extend([0x88, 0xb5]);
    frame.resize(100, 0);
    frame
}

fn rows(top: &Top) -> Vec<u32> {
    top.readings.iter().map(|reading| reading.row).collect()
}

#[test]
fn only_what_has_changed_is_answered_again() {
    let mut host = Host::start(HOST);
    let policy = [POLICY, &vnic(1), &vnic(2)].concat();
    host.apply(&policy).unwrap();
    let first = host.state().top(None);
    assert!(first.whole);
    assert_eq!(first.host, "h1");
    let names: Vec<&str> = first.vnics.iter().map(|v| &*v.vnic).collect();
    assert_eq!(names, ["v1", "v2"]);
    assert_eq!(first.vnics[0].tenant, "blue");
    assert_eq!(first.uplinks[0].uplink, "up0");
    // Each vNIC has a queue with one of them, and so has this uplink.
    let queues: Vec<u64> = first.workers.iter().map(|w| w.queues).collect();
    assert_eq!(queues.iter().sum::<u64>(), 3, "{queues:?}");

    // Nothing moves: nothing is told. Rows that never moved and are of another core than 0 were told at first.
    let still = host.state().top(Some(first.mark));
    assert!(!still.whole && still.vnics.is_empty());
    assert_eq!(rows(&still), [0_u32; 0]);
    assert!(still.nanoseconds > first.nanoseconds);

    let mut vm = host.vm("v1");
    let mut other = host.vm("v2");
    let (good, forged) = (frame(false), frame(true));
    vm.send([&*good, &good, &forged]);
    let mut after = host.state().top(Some(still.mark));
    until("two frames and a drop", || {
        other.poll();
        after = host.state().top(Some(still.mark));
        let sent = after.readings.iter().find(|reading| reading.row == 0);
        let got = after.readings.iter().find(|reading| reading.row == 1);
        sent.is_some_and(|r| r.sent_packets == 3 && r.dropped == 1)
            && got.is_some_and(|r| r.received_packets == 2 && r.received_bytes == 200)
    });
    // Whoever has heard of it is not told again; whoever has not, is, though somebody else was.
    let known = host.state().top(Some(after.mark));
    assert_eq!(rows(&known), [0_u32; 0]);
    assert_eq!(rows(&host.state().top(Some(still.mark))), [0, 1]);

    // Another policy: what was said counts no more, and counters go on.
    host.apply(&[&*policy, &vnic(3)].concat()).unwrap();
    let new = host.state().top(Some(known.mark));
    assert!(new.whole);
    assert_eq!(new.vnics.len(), 3);
    let sent = new.readings.iter().find(|reading| reading.row == 0);
    assert_eq!(sent.map(|r| r.sent_packets), Some(3));
    // So does a mark of another daemon, of before or of a time to come.
    for mark in [0, first.mark, u64::MAX] {
        assert!(host.state().top(Some(mark)).whole, "{mark}");
    }
    let mark = host.state().top(None).mark;
    assert!(!host.state().top(Some(mark)).whole);
    host.stop();
}

/// A screen has ten thousand vNICs from these bytes, and the daemon writes them once a second.
#[test]
fn a_reading_is_an_array() {
    let reading = Reading {
        row: 7,
        worker: 2,
        sent_packets: 1,
        sent_bytes: 60,
        received_packets: 3,
        received_bytes: 180,
        dropped: 4,
        queued: None,
    };
    let text = serde_json::to_string(&reading).unwrap();
    assert_eq!(text, "[7,2,1,60,3,180,4,null]");
    assert_eq!(serde_json::from_str::<Reading>(&text).unwrap(), reading);
}
