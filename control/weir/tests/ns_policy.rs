//! What a daemon refuses and how it says so; saved files that are seen; a change of a thousand others that costs no
//! packet; the second daemon; the end.

mod world;

use rustix::process::Signal;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;
use world::traffic::{self, Load};
use world::{Daemon, HostToml, Policy, Vm, World, text, wait_until};

/// Two hosts, one tenant, a VM on each.
fn two(world: &mut World) -> (Daemon, Daemon, [Vm; 2], Policy) {
    let (h1, h2) = world.two_hosts();
    let a = world.vm(&h1, "a", [2, 0, 0, 0, 1, 1], "10.1.0.11/16");
    let c = world.vm(&h2, "c", [2, 0, 0, 0, 1, 2], "10.1.0.12/16");
    let policy = Policy::two_hosts()
        .tenant("blue", 5001, "10.1.0.0/16")
        .vm(&a, "h1", "blue", 1)
        .vm(&c, "h2", "blue", 1);
    let mut first = HostToml::new("h1", "192.168.50.1/24", 0);
    first.more = "[[trunk]]\nname = \"vms\"\ndevice = \"net_null7,no-rx=1\"\n[[trunk]]\nname = \"tagged\"\ndevice = \"net_ring7\"\nby = \"vlan\"\n".into();
    let one = world.daemon(&h1, &first, &policy);
    let two = world.daemon(&h2, &HostToml::new("h2", "192.168.50.2/24", 1), &policy);
    one.wait_resolved();
    two.wait_resolved();
    traffic::reaches(&a.ns, &c.ca);
    (one, two, [a, c], policy)
}

/// The line, from 1, of the first one that contains `word`.
fn line_of(text: &str, word: &str) -> u64 {
    1 + text
        .lines()
        .position(|line| line.contains(word))
        .unwrap_or_else(|| panic!("no {word:?} in {text}")) as u64
}

/// What identifies the running state.
fn state(daemon: &Daemon) -> (Vec<Value>, u64, u64) {
    let kinds = [
        "host",
        "vm_network",
        "subnet",
        "vnic",
        "uplink",
        "peer",
        "trunk",
    ];
    let status = daemon.status();
    (
        kinds
            .iter()
            .map(|kind| daemon.json(&["get", kind]))
            .collect(),
        status.revision,
        status.local_vnics,
    )
}

#[test]
fn a_bad_policy_is_refused_with_file_line_object_and_mend_and_changes_nothing() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, c], good) = two(&mut world);
    let blue2 = |mac: &str, address: &str, attach: &str| {
        good.clone()
            .vnic("extra", "h1", "blue", mac, address, attach)
            .text()
    };
    let fine = |address: &str| blue2("02:00:00:00:05:05", address, "net_null3");
    let replace = |from: &str, to: &str| {
        let text = good.text();
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    // What is wrong; the policy; the word in the line that is named; the object; a word of the problem; one of the mend.
    let cases: Vec<(&str, String, &str, &str, &str, &str)> = vec![
        (
            "an unknown field",
            good.clone().with("colour = \"blue\"").text(),
            "colour",
            "vnic c",
            "colour",
            "",
        ),
        (
            "a duplicate MAC",
            blue2("02:00:00:00:01:01", "10.1.0.13", "net_null3"),
            "PLACE:name = \"extra\"",
            "vnic extra",
            "02:00:00:00:01:01",
            "",
        ),
        (
            "a duplicate CA",
            fine("10.1.0.11"),
            "PLACE:name = \"extra\"",
            "vnic extra",
            "10.1.0.11",
            "",
        ),
        (
            "a reserved VSID",
            replace("vsid = 5001", "vsid = 4095"),
            "vsid = 4095",
            "subnet blue-web",
            "4095",
            "4096",
        ),
        (
            "a VSID above the last",
            replace("vsid = 5001", "vsid = 16777215"),
            "vsid = 16777215",
            "subnet blue-web",
            "16777215",
            "16777214",
        ),
        (
            "a VSID that is taken",
            good.clone().tenant("red", 5001, "10.1.0.0/24").text(),
            "PLACE:name = \"red-web\"",
            "subnet red-web",
            "5001",
            "",
        ),
        (
            "a CA outside its prefix",
            fine("10.2.0.13"),
            "10.2.0.13",
            "vnic extra",
            "10.2.0.13",
            "",
        ),
        (
            "a PA that is missing",
            replace("provider_addresses = [\"192.168.50.2\"]\n", ""),
            "PLACE:name = \"h2\"",
            "host h2",
            "PA missing",
            "provider_addresses",
        ),
        (
            "a PA that host.toml writes otherwise",
            replace("192.168.50.1", "192.168.50.9"),
            "192.168.50.9",
            "host h1",
            "192.168.50",
            "",
        ),
        (
            "a host that is not there",
            replace("host = \"h2\"", "host = \"h3\""),
            "PLACE:name = \"c\"",
            "vnic c",
            "h3",
            "",
        ),
        (
            "an interface that is not there",
            blue2(
                "02:00:00:00:05:05",
                "10.1.0.13",
                "net_af_packet5,iface=nowhere",
            ),
            "iface=nowhere",
            "vnic extra",
            "nowhere",
            "",
        ),
        (
            "a trunk that is not there",
            blue2("02:00:00:00:05:05", "10.1.0.13", "trunk:nothing"),
            "trunk:nothing",
            "vnic extra",
            "nothing",
            "trunk",
        ),
        (
            "a device that is taken",
            blue2("02:00:00:00:05:05", "10.1.0.13", "net_af_packet5,iface=a"),
            "net_af_packet5",
            "vnic extra",
            "a",
            "",
        ),
        (
            "no TOML",
            replace("vsid = 5001", "vsid = = 5001"),
            "vsid = = 5001",
            "the file",
            "TOML",
            "",
        ),
    ];
    let before = state(&one);
    let load = Load::start(&a.ns, &c.ns, &c.ca, "in flight", Duration::from_millis(1));
    let file = one.folder.join("new.toml").display().to_string();
    for (what, policy, place, object, problem, mend) in &cases {
        let json = one.try_apply(policy, &["-o", "json"]);
        assert_eq!(
            json.status.code(),
            Some(1),
            "{what}: {}{}",
            text(&json.stdout),
            text(&json.stderr)
        );
        let errors: Value = serde_json::from_slice(&json.stdout).expect("JSON");
        let errors = errors["errors"].as_array().expect("errors").clone();
        let named = errors
            .iter()
            .find(|error| error["object"] == *object)
            .unwrap_or_else(|| panic!("{what}: no {object} in {errors:?}"));
        assert_eq!(named["file"], *file, "{what}");
        let line = named["line"]
            .as_u64()
            .unwrap_or_else(|| panic!("{what}: no line"));
        // An object's own lines are from its name to the next header.
        let first = line_of(policy, place.trim_start_matches("PLACE:"));
        let rest = policy
            .lines()
            .skip(first as usize)
            .take_while(|line| !line.starts_with("[["))
            .count() as u64;
        let exact = if place.starts_with("PLACE:") {
            first - 1..=first + rest
        } else {
            first..=first
        };
        assert!(
            exact.contains(&line),
            "{what}: line {line} is not in {exact:?}: {named}"
        );
        assert!(
            named["problem"].as_str().unwrap().contains(problem),
            "{what}: {named}"
        );
        let says = named["mend"].as_str().unwrap();
        assert!(!says.is_empty() && says.contains(mend), "{what}: {named}");
        // The same in words, to a person.
        let said = one.try_apply(policy, &[]);
        assert_eq!(said.status.code(), Some(1), "{what}");
        let sentence = format!("{file}:{line}: {object}: ");
        assert!(
            text(&said.stderr).contains(&sentence) && text(&said.stderr).contains(says),
            "{what}: {}",
            text(&said.stderr)
        );
        // And a dry run says it too.
        assert_eq!(
            one.try_apply(policy, &["--dry-run"]).status.code(),
            Some(1),
            "{what}"
        );
        assert_eq!(state(&one), before, "{what}: the running state has changed");
        assert_eq!(
            std::fs::read_to_string(one.policy_file()).unwrap(),
            good.text(),
            "{what}: the store has changed"
        );
    }
    // Every error of a file is named, not the first alone.
    let both = good.text().replacen("vsid = 5001", "vsid = 1", 1) + "colour = 1\n";
    let errors: Value =
        serde_json::from_slice(&one.try_apply(&both, &["-o", "json"]).stdout).unwrap();
    assert!(errors["errors"].as_array().unwrap().len() >= 2, "{errors}");
    let done = load.end();
    assert_eq!((done.received, done.strange), (done.sent, 0), "{done:?}");
    assert!(done.sent > 100);
    world.finish([one, two]);
}

#[test]
fn a_saved_file_is_seen_and_an_invalid_one_changes_nothing() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, c], good) = two(&mut world);
    let file = one.policy_file();
    let more = good
        .clone()
        .vnic("extra", "h2", "blue", "02:00:00:00:05:05", "10.1.0.55", "");
    let has_extra = |daemon: &Daemon| daemon.weir(&["get", "vnic", "extra"]).status.success();
    // As editors do: in place, and by renaming a new file over it.
    std::fs::write(&file, more.text()).unwrap();
    wait_until("a file saved in place is applied", || has_extra(&one));
    let revision = one.status().revision;
    let beside = one.folder.join(".policy.toml.swp");
    std::fs::write(&beside, good.text()).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    wait_until("a file renamed over it is applied", || !has_extra(&one));
    assert_eq!(one.status().revision, revision + 1);
    // After a rename the new file is watched, not the old inode.
    std::fs::write(&file, more.text()).unwrap();
    wait_until("the new file is watched", || has_extra(&one));

    let before = state(&one);
    let bad = more.text().replacen("vsid = 5001", "vsid = 17", 1);
    std::fs::write(&file, &bad).unwrap();
    wait_until("the invalid file shows in status", || {
        !one.status().errors.is_empty()
    });
    let errors = one.status().errors;
    assert_eq!(
        (errors[0].object.as_str(), errors[0].line),
        ("subnet blue-web", Some(line_of(&bad, "vsid = 17") as u32)),
        "{errors:?}"
    );
    assert!(errors[0].file.ends_with("policy.toml") && !errors[0].mend.is_empty());
    assert!(
        text(&one.weir(&["status"]).stdout).contains("17"),
        "{}",
        text(&one.weir(&["status"]).stdout)
    );
    assert_eq!(state(&one), before);
    traffic::reaches(&a.ns, &c.ca);
    // A file that is gone is no empty policy.
    std::fs::remove_file(&file).unwrap();
    wait_until("the missing file shows in status", || {
        one.status()
            .errors
            .iter()
            .any(|error| error.problem != errors[0].problem)
    });
    assert_eq!(state(&one), before);
    traffic::reaches(&a.ns, &c.ca);
    std::fs::write(&file, good.text()).unwrap();
    wait_until("a mended file is applied", || {
        one.status().errors.is_empty() && !has_extra(&one)
    });
    traffic::reaches(&a.ns, &c.ca);
    world.finish([one, two]);
}

#[test]
fn delete_keeps_comments_and_apply_replaces_whole() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, c], good) = two(&mut world);
    let written = format!(
        "# Ask Ada first.\n\n{}\n# Bob's.\n[[vnic]] # to go\nname = \"bob\"\nhost = \"h2\"\nsubnet = \"blue-web\"\nmac = \"02:00:00:00:05:05\"\naddresses = [\"10.1.0.55\"]\n\n# Carol's, who stays.\n[[vnic]]\nname = \"carol\" # since May\nhost = \"h2\"\nsubnet = \"blue-web\"\nmac = \"02:00:00:00:05:06\"\naddresses = [\"10.1.0.56\"]\n",
        good.text()
    );
    assert!(one.try_apply(&written, &[]).status.success());
    assert_eq!(
        std::fs::read_to_string(one.policy_file()).unwrap(),
        written,
        "apply keeps every byte"
    );
    let report = one.json(&["delete", "vnic", "bob"]);
    assert_eq!(report["removed"], serde_json::json!(["vnic bob"]));
    let left = std::fs::read_to_string(one.policy_file()).unwrap();
    for kept in ["# Ask Ada first.", "# Carol's, who stays.", "# since May"] {
        assert!(left.contains(kept), "{kept} is gone from\n{left}");
    }
    assert!(!left.contains("bob") && !left.contains("# to go"), "{left}");
    assert_eq!(
        one.weir(&["delete", "vnic", "bob"]).status.code(),
        Some(1),
        "there is no bob any more"
    );
    // What others need is not deleted from under them.
    assert_eq!(
        one.weir(&["delete", "subnet", "blue-web"]).status.code(),
        Some(1)
    );
    assert_eq!(std::fs::read_to_string(one.policy_file()).unwrap(), left);
    // A dry run reports and does nothing.
    let dry = one.try_apply(&good.text(), &["--dry-run", "-o", "json"]);
    let dry: Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!(
        (&dry["dry_run"], &dry["removed"]),
        (&true.into(), &serde_json::json!(["vnic carol"]))
    );
    assert_eq!(std::fs::read_to_string(one.policy_file()).unwrap(), left);
    traffic::reaches(&a.ns, &c.ca);
    world.finish([one, two]);
}

/// The policy with a thousand others, whose addresses depend on `round`: most on the far host, some here on trunks.
fn with_a_thousand(good: &Policy, round: u32) -> Policy {
    let mut policy = good.clone().tenant("red", 6001, "10.1.0.0/16");
    for i in 0..1000_u32 {
        let (host, attach) = match i % 10 {
            0 => ("h1", "trunk:vms".to_owned()),
            1 => ("h1", format!("trunk:tagged/{}", 1 + i)),
            _ => ("h2", "net_null9".to_owned()),
        };
        let tenant = if i % 2 == 0 { "blue" } else { "red" };
        let attach = if host == "h2" { "" } else { &attach };
        let mac = format!("02:00:00:{:02x}:{:02x}:{:02x}", 5 + round, i >> 8, i & 0xff);
        policy = policy.vnic(
            &format!("other{i}"),
            host,
            tenant,
            &mac,
            &format!("10.1.{}.{}", 4 * (1 + round) + (i >> 8), i & 0xff),
            attach,
        );
    }
    policy
}

#[test]
fn a_change_of_a_thousand_others_loses_no_packet() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let (one, two, [a, c], good) = two(&mut world);
    let before = (one.vnic("a"), two.vnic("c"));
    let load = Load::start(&a.ns, &c.ns, &c.ca, "steady", Duration::from_millis(1));
    let back = Load::start(&c.ns, &a.ns, &a.ca, "steady", Duration::from_millis(1));
    let mut ping =
        a.ns.command("ping")
            .args(["-n", "-q", "-i", "0.002", "-W", "2", &c.ca])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    for round in 0..6 {
        let policy = if round == 5 {
            good.clone()
        } else {
            with_a_thousand(&good, round)
        };
        let report = one.apply(&policy);
        let counts = (
            report.added.len(),
            report.changed.len(),
            report.removed.len(),
        );
        match round {
            0 => assert_eq!(
                counts,
                (1002, 0, 0),
                "1,000 vNICs, a VM network and its subnet"
            ),
            5 => assert_eq!(counts, (0, 0, 1002)),
            _ => assert_eq!(counts, (0, 1000, 0)),
        }
        // Traffic flows between the changes too, not only after them.
        let so_far = load.arrived.load(Ordering::Relaxed);
        wait_until("traffic flows on", || {
            load.arrived.load(Ordering::Relaxed) > so_far + 50
        });
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&ping), Signal::INT).unwrap();
    let printed = text(&{
        let mut out = Vec::new();
        std::io::Read::read_to_end(&mut ping.stdout.take().unwrap(), &mut out).unwrap();
        out
    });
    ping.wait().unwrap();
    let (done, returned) = (load.end(), back.end());
    eprintln!(
        "{done:?} {returned:?} {}",
        printed
            .lines()
            .find(|line| line.contains("transmitted"))
            .unwrap_or_default()
    );
    for load in [done, returned] {
        assert!(load.sent > 200, "{load:?}");
        assert_eq!((load.received, load.strange), (load.sent, 0));
    }
    let line = printed
        .lines()
        .find(|line| line.contains("transmitted"))
        .expect("a summary");
    let sent: Option<u64> = line
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    assert!(sent > Some(100), "{line}");
    // The switches' own counters, exactly: what a's device handed in is what c's device was given, and no drop.
    one.assert_conserved();
    two.assert_conserved();
    let after = (one.vnic("a"), two.vnic("c"));
    assert_eq!(
        after.0.rx_packets - before.0.rx_packets,
        after.1.tx_packets - before.1.tx_packets,
        "{after:?}"
    );
    assert_eq!(
        after.1.rx_packets - before.1.rx_packets,
        after.0.tx_packets - before.0.tx_packets,
        "{after:?}"
    );
    assert_eq!(
        (after.0.dropped, after.1.dropped),
        (before.0.dropped, before.1.dropped),
        "{:?}",
        one.drops()
    );
    world.finish([one, two]);
}

#[test]
fn a_second_daemon_is_refused_and_the_first_leaves_nothing() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let runtime = || {
        std::fs::read_dir("/run/dpdk")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name())
            .collect::<Vec<_>>()
    };
    let before = world::free_hugepages();
    let (one, two, [a, c], _) = two(&mut world);
    let refused = one
        .ns
        .command(world::daemon::WEIR)
        .args(["run", "--host"])
        .arg(one.folder.join("host.toml"))
        .env("STATE_DIRECTORY", &one.folder)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(
        said.contains("weir.sock") && said.contains(&one.status().pid.to_string()),
        "{said}"
    );
    traffic::reaches(&a.ns, &c.ca);
    let pids = [one.status().pid, two.status().pid];
    let folder = one.folder.clone();
    world.finish_first([one, two]);
    let mine = |name: &std::ffi::OsString| {
        pids.iter()
            .any(|pid| name.to_string_lossy().contains(&pid.to_string()))
    };
    let left: Vec<_> = runtime().into_iter().filter(mine).collect();
    assert!(left.is_empty(), "/run/dpdk has {left:?}");
    let sockets = || {
        std::fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains("sock"))
            .count()
    };
    assert_eq!(sockets(), 0);
    // Other programs of this machine may come and go meanwhile; ours give back what they took.
    wait_until(&format!("{before} hugepages are free as before"), || {
        world::free_hugepages() >= before
    });
    assert!(
        !Command::new(world::daemon::WEIR)
            .args(["status", "--socket"])
            .arg(folder.join("weir.sock"))
            .output()
            .unwrap()
            .status
            .success()
    );
    drop(world);
}
