//! The rig's source on a real host: its packets meet every mapping and leave, and it can be taken away again.

mod daemon_common;

use std::fmt::Write;

use daemon_common::{Host, until};

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "net_null7,no-rx=1"
provider_addresses = ["192.168.50.1/24"]
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02" }
"#;

const POLICY: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "s0"
vsid = 5001
prefixes = ["10.0.0.0/8"]
"#;

/// Mappings of the source, of which so many are in the policy.
const MAPPINGS: u32 = 100;

/// The policy with the source and the first `known` vNICs that it sends to.
fn policy(known: u32) -> String {
    let mut text = POLICY.to_owned();
    let source = format!(
        "rig:mappings={MAPPINGS},from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0"
    );
    let _ = write!(
        text,
        "[[vnic]]\nname = \"source\"\nhost = \"h1\"\nsubnet = \"s0\"\nmac = \"02:00:00:00:00:01\"\naddresses = [\"10.0.0.2\"]\nattach = \"{source}\"\n"
    );
    for number in 0..known {
        let _ = write!(
            text,
            "[[vnic]]\nname = \"v{number}\"\nhost = \"h2\"\nsubnet = \"s0\"\nmac = \"02:01:00:00:00:{number:02x}\"\naddresses = [\"10.1.0.{number}\"]\n"
        );
    }
    text
}

/// Packets sent on and dropped by the worker while the source gave so many more.
fn after(host: &mut Host, more: u64) -> (u64, u64) {
    let now = |host: &mut Host| {
        let stats = host.stats();
        let worker = &stats.workers[0];
        (worker.rx_packets, worker.tx_packets, worker.dropped)
    };
    let (from, sent, dropped) = now(host);
    until("many packets", || now(host).0 > from + more);
    let (_, now_sent, now_dropped) = now(host);
    (now_sent - sent, now_dropped - dropped)
}

#[test]
fn what_it_gives_is_switched_and_it_goes_as_it_came() {
    let mut host = Host::start(HOST);
    host.apply(&policy(MAPPINGS)).expect("a policy");
    let (sent, dropped) = after(&mut host, 100_000);
    assert!(sent > 50_000 && dropped == 0, "{:?}", host.drops());
    // Not the first one either: it is polled after those it sends to are known.
    assert_eq!(host.stats().workers[0].dropped, 0, "{:?}", host.drops());
    let refused = host
        .apply(&policy(MAPPINGS).replace("to=02", "to=03"))
        .expect_err("a group");
    assert!(refused[0].problem.contains("not a VM's MAC"), "{refused:?}");
    host.apply(POLICY).expect("a policy without it");
    host.assert_conserved();

    // One in four has no record: they are told apart.
    host.apply(&policy(MAPPINGS / 4 * 3)).expect("a policy");
    let (sent, dropped) = after(&mut host, 100_000);
    let share = dropped as f64 / (sent + dropped) as f64;
    assert!((share - 0.25).abs() < 0.05, "{share}: {:?}", host.drops());
    host.apply(POLICY).expect("a policy without it");
    host.assert_conserved();
    host.stop();
}
