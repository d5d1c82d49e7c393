//! A signal to a daemon that still reads a large policy ends it before it has carried that out.

mod common;

use std::fmt::Write;
use std::time::{Duration, Instant};

use common::run_in;
use rustix::process::{Pid, Signal, kill_process};

const HOST: &str = r#"
name = "h1"
socket = "weir.sock"
state_dir = "state"
[dataplane]
hugepages = "none"
idle = "adaptive"
mbufs = 4095
[[uplink]]
name = "up0"
device = "net_null1,no-rx=1"
provider_addresses = ["192.168.50.1/24"]
[store]
kind = "file"
path = "policy.toml"
"#;

/// So many vNICs of another host that reading them takes seconds.
const MANY: u32 = 200_000;

fn policy(socket: &str) -> String {
    let mut text = format!(
        r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "web"
vsid = 5001
prefixes = ["10.0.0.0/8"]
[[vnic]]
name = "here"
host = "h1"
subnet = "web"
mac = "02:00:00:00:00:01"
addresses = ["10.255.0.2"]
attach = "vhost-user-server:{socket}"
"#
    );
    for i in 0..MANY {
        let [_, a, b, c] = i.to_be_bytes();
        let (d, e) = (i / 250, i % 250 + 2);
        writeln!(
            text,
            "[[vnic]]\nname = \"far{i}\"\nhost = \"h2\"\nsubnet = \"web\"\nmac = \"02:01:00:{a:02x}:{b:02x}:{c:02x}\"\naddresses = [\"10.{}.{}.{e}\"]",
            d / 256,
            d % 256
        )
        .unwrap();
    }
    text
}

#[test]
fn a_start_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("host.toml"), HOST).unwrap();
    let vm = path("vm.sock");
    std::fs::write(path("policy.toml"), policy(vm.to_str().unwrap())).unwrap();
    // At once, for a signal counts from the moment that there is something to leave behind, and while it starts DPDK or reads.
    for later in [0, 20, 60] {
        let mut daemon = run_in(folder.path());
        let begun = Instant::now();
        while !path("weir.sock").exists() {
            assert!(begun.elapsed() < Duration::from_secs(10), "no socket");
        }
        std::thread::sleep(Duration::from_millis(later));
        kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
        let status = daemon.wait().unwrap();
        let log = std::fs::read_to_string(path("log")).unwrap();
        assert!(status.success(), "{later} ms: {status}: {log}");
        assert!(log.contains("asked by a signal to stop"), "{log}");
        assert!(!log.contains("applied") && !log.contains("ready"), "{log}");
        // What it opened is closed, and what it did not carry out is not kept.
        for name in ["weir.sock", "vm.sock", "state/h1.state"] {
            assert!(!path(name).exists(), "{name}");
        }
    }
}
