//! The last good state on disk: it is what was written, or it is refused, whatever became of its bytes or of who wrote them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use weir_agent::config::host::HostConfig;
use weir_agent::last_good::keeper::{Keeper, write};
use weir_agent::last_good::{Kept, Refused, path};
use weir_agent::policy::Policy;
use weir_agent::store::{Mark, Stamp};

const HOST: &str = r#"
name = "h1"
state_dir = "state"
[[uplink]]
name = "up0"
device = "net_null0"
provider_addresses = ["192.168.50.1/24", "fd50::1/64"]
[[trunk]]
name = "vms"
device = "net_null1"
by = "mac"
[store]
kind = "file"
path = "policy.toml"
"#;

/// Of everything that a policy can say.
const POLICY: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2", "fd50::2"]
ecn = false
[[switch]]
name = "default"
bandwidth_mode = "absolute"
[[switch.dcb]]
tc = 1
share = 40
priorities = [3, 4]
[[switch.dcb]]
tc = 7
strict = true
priorities = [6]
[[traffic_class]]
name = "storage"
filters = ["smb", "management"]
min = "1Gbit"
max = "5Gbit"
priority = 3
dscp = 26
pcp = 4
[[traffic_class.filter]]
vnics = ["b1"]
ethertype = 0x0800
pcp = 2
dscp = 10
protocol = "tcp"
port = 9000
source_port = 9001
destination_port = 9002
source = "10.1.0.0/24"
destination = "10.2.0.0/24"
[[traffic_class.filter]]
source = "fd01::/64"
[[vm_network]]
name = "blue"
isolation = "nv"
mss_clamp = true
[[vm_network.subnet]]
name = "web"
vsid = 5001
prefixes = ["10.1.0.0/24", "fd01::/64"]
copies_limit = 7
multicast_group = "239.1.1.1"
[[vm_network.subnet]]
name = "db"
vsid = 5002
prefixes = ["10.2.0.0/24"]
translation = "rewrite"
[[vm_network.route]]
prefix = "0.0.0.0/0"
via = "10.1.0.12"
metric = 10
[[vm_network]]
name = "plain"
isolation = "vlan"
vlan = 100
[[vm_network.subnet]]
name = "flat"
prefixes = ["10.3.0.0/24"]
[[vnic]]
name = "b1"
host = "h1"
subnet = "web"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11", "fd01::11"]
attach = "trunk:vms"
mtu = 1400
allowed_sources = ["10.9.0.0/16", "fd09::/64"]
allowed_macs = ["02:00:00:00:01:99"]
management = true
[vnic.bandwidth]
min = "200Mbit"
max = "1Gbit"
max_rx = "2Gbit"
police = true
[[vnic]]
name = "b2"
host = "h2"
subnet = "web"
mac = "02:00:00:00:01:02"
addresses = ["10.1.0.12"]
bandwidth = { max = "1Gbit" }
[[vnic]]
name = "b3"
host = "h2"
subnet = "web"
mac = "02:00:00:00:01:03"
addresses = ["10.1.0.13"]
provider_addresses = ["192.168.50.2"]
[[vnic]]
name = "d1"
host = "h2"
subnet = "db"
mac = "02:00:00:00:02:01"
addresses = ["10.2.0.11"]
provider_addresses = ["192.168.60.1"]
[[vnic]]
name = "f1"
host = "h1"
subnet = "flat"
mac = "02:00:00:00:03:01"
addresses = []
attach = "tap:f1"
"#;

fn host(folder: &Path, text: &str) -> HostConfig {
    HostConfig::parse(text, "host.toml", folder, &[0, 1]).unwrap()
}

fn policy(host: &HostConfig) -> Policy {
    Policy::parse_for_host(POLICY, "policy.toml", host).unwrap()
}

fn mark() -> Mark {
    Mark {
        content: (0x1122_3344_5566_7788, 4711),
        stamp: Some(Stamp {
            file: (1, 2),
            length: 4711,
            times: (3, 4),
        }),
    }
}

fn read(path: &Path, host: &HostConfig) -> Result<Policy, Refused> {
    Kept::open(path, host)?
        .ok_or(Refused::Io("none".into()))?
        .policy()
}

#[test]
fn what_was_kept_is_read_with_its_lines_and_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), HOST);
    let policy = policy(&host);
    let at = path(host.state_dir.as_ref().unwrap(), &host);
    assert_eq!(at, folder.path().join("state/h1.state"));
    assert!(Kept::open(&at, &host).unwrap().is_none());
    write(&at, &host, &policy, &mark()).unwrap();
    let kept = Kept::open(&at, &host).unwrap().unwrap();
    assert_eq!(kept.mark, mark());
    let read = kept.policy().unwrap();
    assert_eq!(read, policy);
    // Lines are no part of what compares; they are of what a person is told.
    assert_eq!(format!("{read:?}"), format!("{policy:?}"));
    let left = std::fs::read_dir(at.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside it");
}

#[test]
fn a_flipped_bit_or_a_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), HOST);
    let at = folder.path().join("h1.state");
    write(&at, &host, &policy(&host), &mark()).unwrap();
    let good = std::fs::read(&at).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        std::fs::write(&at, &bad).unwrap();
        assert!(read(&at, &host).is_err(), "byte {place}");
    }
    for length in 0..good.len() {
        std::fs::write(&at, &good[..length]).unwrap();
        assert!(read(&at, &host).is_err(), "{length} bytes");
    }
    std::fs::write(&at, [good.as_slice(), b"x"].concat()).unwrap();
    assert_eq!(
        read(&at, &host),
        Err(Refused::Damaged("it has another length"))
    );
    std::fs::write(&at, &good).unwrap();
    assert!(read(&at, &host).is_ok());
}

/// Damage of which the sum is right is not damage of a disk; whatever it is, it is read to an end.
#[test]
fn bytes_that_nobody_wrote_end_no_one() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), HOST);
    let at = folder.path().join("h1.state");
    write(&at, &host, &policy(&host), &mark()).unwrap();
    let good = std::fs::read(&at).unwrap();
    const HEADER: usize = 96;
    for place in HEADER..good.len() {
        for value in [0x00, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[place] = value;
            let sum = crc32fast::hash(&bad[HEADER..]).to_le_bytes();
            bad[20..24].copy_from_slice(&sum);
            let sum = crc32fast::hash(&bad[..HEADER - 4]).to_le_bytes();
            bad[HEADER - 4..HEADER].copy_from_slice(&sum);
            std::fs::write(&at, &bad).unwrap();
            let _ = read(&at, &host);
        }
    }
}

#[test]
fn another_version_and_another_host_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let own = host(folder.path(), HOST);
    let at = folder.path().join("h1.state");
    write(&at, &own, &policy(&own), &mark()).unwrap();
    let moved = host(
        folder.path(),
        &HOST.replace("name = \"h1\"\n", "name = \"h1\"\n# moved\n\n"),
    );
    assert!(
        read(&at, &moved).is_ok(),
        "where it is written does not matter"
    );
    for other in [
        HOST.replace("fd50::1/64", "fd50::3/64"),
        HOST.replace("by = \"mac\"", "by = \"vlan\""),
        HOST.replace("policy.toml", "other.toml"),
        HOST.replace("name = \"h1\"", "name = \"h3\""),
    ] {
        let other = host(folder.path(), &other);
        assert_eq!(read(&at, &other), Err(Refused::Host));
    }
    let mut bytes = std::fs::read(&at).unwrap();
    bytes[8] = 99;
    std::fs::write(&at, &bytes).unwrap();
    let refused = read(&at, &own).unwrap_err();
    assert_eq!(refused, Refused::Version(99));
    assert!(refused.to_string().contains("another version"), "{refused}");
    std::fs::write(&at, "name = \"h1\"\n".repeat(20)).unwrap();
    assert_eq!(read(&at, &own), Err(Refused::NotOne));
}

#[test]
fn the_newest_of_many_is_kept_and_control_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), HOST);
    let at = folder.path().join("h1.state");
    let keeper = Keeper::start(at.clone(), host.clone(), None).unwrap();
    let first = std::sync::Arc::new(policy(&host));
    for number in 0..1000 {
        let content = (number, 1);
        keeper.keep(
            first.clone(),
            Mark {
                content,
                stamp: None,
            },
        );
    }
    drop(keeper);
    let kept = Kept::open(&at, &host).unwrap().unwrap();
    assert_eq!(kept.mark.content, (999, 1));
}

#[test]
fn a_disk_that_takes_nothing_is_a_problem_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), HOST);
    let at = folder.path().join("file/h1.state");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let keeper = Keeper::start(at, host.clone(), None).unwrap();
    keeper.keep(std::sync::Arc::new(policy(&host)), mark());
    keeper.wait();
    let done = keeper.done();
    assert!(done.problem.is_some() && done.saved.is_none(), "{done:?}");
}

const CHILD: &str = "WEIR_TEST_LAST_GOOD_CHILD";

/// Not a test by itself: writes two policies in turn until it is killed.
#[test]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    let folder = Path::new(&folder);
    let host = host(folder, HOST);
    let (one, other) = (policy(&host), Policy::parse("", "policy.toml").unwrap());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        for policy in [&one, &other] {
            write(&folder.join("h1.state"), &host, policy, &mark()).unwrap();
        }
    }
}

#[test]
fn whoever_is_killed_while_it_writes_leaves_one_of_the_two() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), HOST);
    let at = folder.path().join("h1.state");
    let (one, other) = (policy(&host), Policy::parse("", "policy.toml").unwrap());
    write(&at, &host, &one, &mark()).unwrap();
    for round in 0..40 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--test-threads=1"])
            .env(CHILD, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(15_000 + round * 1_371));
        child.kill().unwrap();
        child.wait().unwrap();
        let left = read(&at, &host).unwrap();
        assert!(left == one || left == other, "round {round}");
    }
}
