//! The measuring rig from the outside. What it measures is not judged here: a test machine is never quiet.

mod common;

use common::{json, stderr, stdout, weir};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Whether the rig can run here. Says what is missing; where nothing may be skipped, that is a failure.
fn can_measure(missing: &[&str]) -> bool {
    let mut missing: Vec<&str> = missing.to_vec();
    if !rustix::process::geteuid().is_root() {
        missing.push("root");
    }
    if missing.is_empty() {
        return true;
    }
    let strict = ["WEIR_TEST_STRICT", "CI"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    assert!(!strict, "missing here: {}", missing.join(", "));
    eprintln!("SKIPPED: weir bench needs {}", missing.join(", "));
    false
}

/// Runs the rig with its scratch folders in `folder`: what others measure meanwhile leaves its own elsewhere.
fn rig(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .env_remove("WEIR_SOCKET")
        .env("TMPDIR", folder)
        .output()
        .unwrap()
}

/// One after the other: both want the same core and the same hugepages.
#[test]
fn a_smoke_run_prints_what_readers_know_and_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let scratch = scratch.path();
    if can_measure(&[]) {
        let smoke = [
            "bench",
            "nvgre-encap",
            "--rounds",
            "1",
            "--seconds",
            "0.2",
            "--disturbed",
            "100",
        ];
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("report.html");
        let html = ["--stages", "-o", "json", "--html", page.to_str().unwrap()];
        let output = rig(scratch, &[&smoke[..], &html].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let report = json(&output);
        let run = &report["runs"][0];
        assert_eq!(
            (&run["scenario"], &run["subject"]),
            (&"nvgre-encap".into(), &"weir".into())
        );
        assert_eq!(
            (&run["mappings"], &run["frame"], &run["rounds"]),
            (&1000.into(), &64.into(), &1.into())
        );
        assert!(
            run["mpps"]["median"].as_f64().unwrap() > 0.0
                && run["cycles"]["median"].as_f64().unwrap() > 0.0
        );
        assert!(report["machine"]["tsc_hz"].as_u64().unwrap() > 0);
        assert!(stderr(&output).contains("Mpps"), "progress is on stderr");
        assert!(run["latency_us"].is_null() && run["rates"][0].as_f64().unwrap() > 0.0);
        assert_eq!(
            (&run["lost_packets"], &run["allocations"]),
            (&0.into(), &0.into())
        );
        assert!(run["table_bytes"].as_f64().unwrap() > 0.0);
        let stages = report["stages"].as_array().unwrap();
        let names: Vec<&str> = stages
            .iter()
            .map(|it| it["stage"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "receive", "classify", "lookup", "apply", "transmit", "whole", "clock"
            ]
        );
        assert!(
            stages.iter().all(|it| it["cycles"].as_f64().unwrap() > 0.0),
            "{stages:?}"
        );
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.starts_with("<!doctype html>") && page.contains("</html>"));
        every_scenario_without_peers(scratch);
        mappings_move_while_it_forwards(scratch);
        a_link_is_shared(scratch);
    }
    let peers = [
        ("dpdk-testpmd", "/usr/bin/dpdk-testpmd"),
        (
            "openvswitch-switch-dpdk",
            "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk",
        ),
    ];
    let missing: Vec<&str> = peers
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(name, _)| *name)
        .collect();
    if can_measure(&missing) {
        let arguments = "bench nvgre-encap --rounds 1 --seconds 0.2 --disturbed 100 --mappings 50 --vs testpmd,ovs";
        let output = rig(scratch, &arguments.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = stdout(&output);
        for subject in [
            "weir",
            "testpmd-io",
            "testpmd-mac",
            "ovs-emc",
            "ovs-emc-smc",
            "ovs-smc",
            "weir/ovs",
        ] {
            assert!(text.contains(subject), "{subject}: {text}");
        }
    }
    if can_measure(&missing[..missing.len().min(1)]) {
        searched(scratch);
        // The same peer as a file of one's own.
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/peers/testpmd");
        let mine = scratch.join("my-loop");
        std::os::unix::fs::symlink(Path::new(file).canonicalize().unwrap(), &mine).unwrap();
        let arguments =
            "bench l2 --rounds 1 --seconds 0.1 --disturbed 100 --mappings 50 -o json --vs";
        let mut arguments: Vec<&str> = arguments.split(' ').collect();
        arguments.push(mine.to_str().unwrap());
        let output = rig(scratch, &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        let runs = json(&output)["runs"].as_array().unwrap().clone();
        let subjects: Vec<&str> = runs
            .iter()
            .map(|it| it["subject"].as_str().unwrap())
            .collect();
        assert_eq!(subjects, ["weir", "my-loop-io", "my-loop-mac"]);
        assert!(runs.iter().all(|it| it["lost_packets"] == 0), "{runs:?}");
        std::fs::remove_file(mine).unwrap();
    }
    interrupted();
    let left = std::fs::read_dir(scratch).unwrap().count();
    assert_eq!(left, 0, "scratch folders are removed");
}

/// What each scenario promises of its packets is judged while it runs: all must end where they must.
fn every_scenario_without_peers(scratch: &Path) {
    let arguments = "bench nvgre-decap rewrite routed local drop l2 --rounds 1 --seconds 0.1 --disturbed 100 --mappings 50 --frame 64,imix --flows 2 -o json";
    let output = rig(scratch, &arguments.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{}", stderr(&output));
    let runs = json(&output)["runs"].as_array().unwrap().clone();
    assert_eq!(runs.len(), 12);
    assert_eq!(
        (&runs[1]["frame"], &runs[1]["flows"]),
        (&"imix".into(), &2.into())
    );
    let missed =
        "bench nvgre-encap --hits miss --rounds 1 --seconds 0.1 --disturbed 100 --mappings 50";
    let output = rig(scratch, &missed.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Between the rig's own ports: headers put on and taken off, and a peer.
fn searched(scratch: &Path) {
    let arguments = "bench search l2 nvgre-encap nvgre-decap --vs testpmd --seconds 0.1 --initial 0.05 --sum 0.1 --exceed 0 --width 50 --disturbed 100 --mappings 50 -o json";
    let output = rig(scratch, &arguments.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&output);
    let runs = report["runs"].as_array().unwrap();
    let subjects: Vec<&str> = runs
        .iter()
        .map(|it| it["subject"].as_str().unwrap())
        .collect();
    assert_eq!(subjects, ["weir", "testpmd-mac"].repeat(3));
    for run in runs {
        let search = &run["search"];
        assert_eq!(search["over"], "memif");
        let goals: Vec<&str> = search["goals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["goal"].as_str().unwrap())
            .collect();
        assert_eq!(goals, ["ndr", "pdr"]);
        assert!(run["mpps"]["median"].as_f64().unwrap() > 0.0, "{run}");
        let at = |name: &str| run["latency_us"][name].as_f64().unwrap();
        assert!(at("p50") > 0.0 && at("p50") <= at("p99") && at("p99_99") <= at("max"));
        assert!(search["latency_packets"].as_u64().unwrap() > 0, "{run}");
    }
    let ratio = &report["ratios"][0];
    assert_eq!(ratio["name"], "l2 ndr weir/testpmd-mac");
}

/// Packets of each scenario end where they must also then; peers have no such lines.
fn mappings_move_while_it_forwards(scratch: &Path) {
    let arguments = "bench nvgre-encap rewrite routed --updates 0,20000 --rounds 1 --seconds 0.2 --disturbed 100 --mappings 50 -o json";
    let output = rig(scratch, &arguments.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&output);
    for (place, run) in report["runs"].as_array().unwrap().iter().enumerate() {
        let updates = [0, 20_000][place % 2];
        assert_eq!(run["updates"], updates, "{run}");
        assert_eq!(run["updated"].is_null(), updates == 0, "{run}");
        if updates > 0 {
            let of = |field: &str| run["updated"][field]["median"].as_f64().unwrap();
            assert!(of("per_second") > 0.0 && of("per_second") < 30_000.0);
            assert!(of("visible_p99_us") > 0.0 && of("reclaimed_p99_us") > 0.0);
        }
    }
    assert_eq!(report["runs"].as_array().unwrap().len(), 6);
    let ratio = &report["ratios"][0];
    assert_eq!(
        ratio["name"],
        "nvgre-encap weir, 20000 updates/s against none"
    );
    let goals =
        "bench goals --only path/updates-100k --rounds 1 --seconds 0.4 --disturbed 100 -o json";
    let output = rig(scratch, &goals.split(' ').collect::<Vec<_>>());
    let checks = json(&output);
    for (place, unit) in ["%", "packets"].into_iter().enumerate() {
        let check = &checks[place];
        assert_eq!(
            (&check["unit"], &check["verdict"]),
            (&unit.into(), &"undecided".into())
        );
    }
    // One round is too few for a verdict; a machine that did not make the updates says so in its place.
    if checks[0]["reason"].is_null() {
        assert_eq!(checks[1]["measured"], 0.0, "{checks}");
    }
}

/// However slow the machine is: nobody has more than its maximum, all together no more than the link carries, and a goal is judged.
fn a_link_is_shared(scratch: &Path) {
    let page = scratch.join("shares.html");
    let arguments = ["bench", "bandwidth", "-o", "json", "--html"];
    let output = rig(
        scratch,
        &[&arguments[..], &[page.to_str().unwrap()]].concat(),
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let shares = json(&output);
    let parts = shares["parts"].as_array().unwrap();
    let mean = |part: &serde_json::Value, of: &str| {
        let points: Vec<f64> = part[of]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it.as_f64().unwrap())
            .collect();
        points.iter().sum::<f64>() / points.len() as f64
    };
    let sent: Vec<f64> = parts.iter().map(|part| mean(part, "mbit")).collect();
    assert!(
        sent.len() == 4 && sent.iter().all(|sent| *sent > 1.0),
        "{sent:?}"
    );
    // A maximum of 400 Mbit/s of its own bytes, in frames of 1,514 that are 1,580 on the wire.
    assert!(sent[0] < 1.01 * 400.0 * 1580.0 / 1514.0, "{sent:?}");
    assert!(sent.iter().sum::<f64>() < 1.01 * 1000.0, "{sent:?}");
    assert!(mean(&parts[1], "ideal_mbit") > 250.0, "{shares}");
    let drawn = std::fs::read_to_string(&page).unwrap();
    assert!(drawn.contains("gold, at least 500 Mbit/s") && drawn.contains("</html>"));
    std::fs::remove_file(page).unwrap();

    let goal = "bench goals --only bandwidth/share --rounds 1 --disturbed 100 -o json";
    let output = rig(scratch, &goal.split(' ').collect::<Vec<_>>());
    let check = &json(&output)[0];
    assert!(check["measured"].is_number(), "{check}");
    assert_eq!(check["verdict"], "undecided", "one round is too few");
}

/// SIGINT in the middle: status 1, and nothing of it runs on.
fn interrupted() {
    if !can_measure(&[]) {
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    let folder = tempfile::tempdir().unwrap();
    command
        .args(["bench", "nvgre-encap", "--seconds", "60", "-o", "json"])
        .env("TMPDIR", folder.path());
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let started = || {
        let mut found = std::fs::read_dir(folder.path()).unwrap().flatten();
        found.any(|scratch| {
            let mut starts = std::fs::read_dir(scratch.path())
                .into_iter()
                .flatten()
                .flatten();
            starts.any(|start| start.path().join("weir.sock").exists())
        })
    };
    // On a busy machine it takes its time to look around before it starts anything.
    let begun = Instant::now();
    while !started() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no daemon");
        std::thread::sleep(Duration::from_millis(10));
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        json(&output)["errors"][0]["problem"]
            .as_str()
            .unwrap()
            .contains("SIGINT")
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "the scratch folder is removed"
    );
}

#[test]
fn scenarios_are_listed_and_unknown_ones_refused_as_usage() {
    let output = weir(&["bench", "--list"]);
    assert!(
        output.status.success() && stdout(&output).contains("nvgre-encap"),
        "{output:?}"
    );
    assert_eq!(
        json(&weir(&["bench", "--list", "-o", "json"]))[0]["scenario"],
        "nvgre-encap"
    );
    for arguments in [
        &["bench", "no-such"][..],
        &["bench"],
        &["bench", "nvgre-encap", "--vs", "vpp"],
        &["bench", "nvgre-encap", "--frame", "63"],
        &["bench", "nvgre-encap", "--mappings", "0"],
        &["bench", "nvgre-encap", "--hits", "all"],
        &["bench", "nvgre-encap", "--updates", "-1"],
        &["bench", "compare", "one.json"],
        &["bench", "nvgre-encap", "--disturbed", "101"],
    ] {
        let output = weir(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
}

#[test]
fn two_reports_are_compared_and_a_file_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let report = |name: &str, from: f64| {
        let rates: Vec<f64> = (0..10).map(|n| from + f64::from(n) / 10.0).collect();
        let spread = serde_json::json!({"median": from + 0.45, "min": from, "max": from + 0.9});
        let run = serde_json::json!({"scenario": "nvgre-encap", "subject": "weir", "mappings": 1000, "flows": 1,
            "hits": "uniform", "source": "net_pcap, 1000 frames", "frame": 64, "mpps": spread, "cycles": spread,
            "own_cycles": null, "latency_us": null, "rates": rates, "rounds": 10, "thrown_away": 0});
        let machine = serde_json::json!({"cpu": "x", "cores": 2, "core": 1, "tsc_hz": 2_600_000_000_u64, "kernel": "6",
            "dpdk": null, "ovs": null, "weir": "0", "hugepages": "none used"});
        let path = folder.path().join(name);
        let report = serde_json::json!({"runs": [run], "ratios": [], "machine": machine});
        std::fs::write(&path, report.to_string()).unwrap();
        path.to_str().unwrap().to_string()
    };
    let (slow, fast) = (report("slow.json", 10.0), report("fast.json", 20.0));
    for (before, after, verdict) in [
        (&slow, &fast, "faster"),
        (&fast, &slow, "slower"),
        (&slow, &slow, "noise"),
    ] {
        let output = weir(&["bench", "compare", before, after, "-o", "json"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(json(&output)["differences"][0]["verdict"], verdict);
    }
    let output = weir(&["bench", "compare", &slow, "/dev/null"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("/dev/null"), "{output:?}");
}

#[test]
fn goals_are_named_with_a_verdict() {
    let output = weir(&[
        "bench",
        "goals",
        "--only",
        "path/memory-entry",
        "--rounds",
        "6",
        "-o",
        "json",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let checks = json(&output);
    let names: Vec<&str> = checks
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["path/memory-entry", "path/memory-entry-routed"]);
    assert_eq!(
        (&checks[0]["goal"], &checks[0]["unit"]),
        (&24.0.into(), &"bytes".into())
    );
    assert_eq!(
        (
            &checks[0]["verdict"],
            &checks[0]["ok"],
            &checks[0]["rounds"]
        ),
        (&"pass".into(), &true.into(), &6.into())
    );
    let output = weir(&["bench", "goals", "--only", "path/none"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
