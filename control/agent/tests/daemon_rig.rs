//! The daemon's own thread while mappings move for the rig: it answers, and it stops. EAL starts once, so this is one test.

mod daemon_common;

use std::time::Instant;

use daemon_common::cores;
use weir_agent::config::host::HostConfig;
use weir_agent::daemon::Daemon;
use weir_agent::handle::{Answer, Handle, Question};
use weir_agent::stats::{ChurnReport, ChurnWish};

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORES
hugepages = "none"
idle = "adaptive"
mbufs = 4095
[[uplink]]
name = "up0"
device = "net_null0,no-rx=1"
provider_addresses = ["192.168.50.1/24"]
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02", "192.168.50.3" = "02:bb:00:00:00:03" }
[rig]
churn = true
"#;

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
prefixes = ["10.1.0.0/24"]
[[vnic]]
name = "here"
host = "h1"
subnet = "blue1"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11"]
attach = "net_ring1"
[[vnic]]
name = "there"
host = "h2"
subnet = "blue1"
mac = "02:00:00:00:01:02"
addresses = ["10.1.0.12"]
[[vnic]]
name = "elsewhere"
host = "h3"
subnet = "blue1"
mac = "02:00:00:00:01:03"
addresses = ["10.1.0.13"]
"#;

fn churn(handle: &Handle, question: Question) -> ChurnReport {
    match handle.ask(question) {
        Ok(Answer::Churn(report)) => report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn control_answers_and_stops_while_mappings_move() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("policy.toml"), POLICY).expect("a file");
    let text = HOST.replace("CORES", &cores(1));
    let config = HostConfig::parse(&text, "host.toml", folder.path(), &rte::available_cores());
    let daemon = Daemon::start(config.expect("a host")).expect("a daemon");
    let handle = daemon.handle();
    // As fast as it can, without end.
    let wish = ChurnWish {
        rate: 100_000_000,
        seconds: 3600.0,
    };
    assert!(churn(&handle, Question::BeginChurn(wish)).running);
    let start = Instant::now();
    let mut before = 0;
    for _ in 0..5 {
        loop {
            let now = churn(&handle, Question::Churn).updates;
            if now > std::mem::replace(&mut before, now) {
                break;
            }
            assert!(start.elapsed().as_secs() < 20, "nothing moves");
        }
        let Ok(Answer::Stats(stats)) = handle.ask(Question::Stats) else {
            panic!("no stats");
        };
        assert!(stats.changes.visible.count > 0);
        assert!(matches!(
            handle.ask(Question::Status),
            Ok(Answer::Status(_))
        ));
    }
    let report = churn(&handle, Question::EndChurn);
    assert!(!report.running && report.updates > 0, "{report:?}");
    assert_eq!(report.ended.as_deref(), Some("it was to end"));

    assert!(churn(&handle, Question::BeginChurn(wish)).running);
    assert!(matches!(handle.ask(Question::Stop), Ok(Answer::Stopping)));
    daemon.join().expect("an end");
}
