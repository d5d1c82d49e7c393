//! Verbs, client and server against a fake control thread.

mod common;

use common::{Fake, drops, json, stats, status, stderr, stdout, vnic, weir};
use hyper::Method;
use hyper::body::Bytes;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;
use weir::client::{Client, encode};
use weir::failure::Failure;

/// One request by hand; the status and the body.
fn raw(socket: &str, head: &str) -> (u16, serde_json::Value) {
    raw_with(socket, head, "")
}

/// The same with a body.
fn raw_with(socket: &str, head: &str, body: &str) -> (u16, serde_json::Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}")),
    )
}

#[test]
fn json_is_the_contracts_own_serialization() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let ask = |verb: &[&str]| {
        let mut args = verb.to_vec();
        args.extend(["--socket", fake.path(), "-o", "json"]);
        let output = weir(&args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        json(&output)
    };
    assert_eq!(ask(&["stats"]), serde_json::to_value(stats()).unwrap());
    assert_eq!(ask(&["stats"])["vnics"][0]["rx_packets"], u64::MAX);
    assert_eq!(ask(&["drops"]), serde_json::to_value(drops()).unwrap());
    assert_eq!(ask(&["status"]), serde_json::to_value(status()).unwrap());
    assert_eq!(ask(&["get", "vnic"]), serde_json::json!([vnic()]));
    assert_eq!(ask(&["get", "vnic", "blue1"]), serde_json::json!([vnic()]));
    assert_eq!(ask(&["get", "peers"]), serde_json::json!([]));
    assert_eq!(
        ask(&["delete", "vnic", "blue1"])["removed"][0],
        "vnic blue1"
    );
    fake.stop().unwrap();
}

#[test]
fn text_is_aligned_columns_when_nobody_looks() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let text = stdout(&weir(&["drops", "--socket", fake.path()]));
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        [
            "REASON", "VNIC", "UPLINK", "TENANT", "WORKER", "PACKETS", "BYTES", "HELP"
        ]
    );
    assert_eq!(
        lines[1],
        ["truncated", "blue1", "-", "-", "-", "70", "99", "-"]
    );
    assert_eq!(lines[2][0], "no_route");
    assert!(!text.contains('\x1b') && !text.contains('│'), "{text}");
    let text = stdout(&weir(&["get", "vnic", "--socket", fake.path()]));
    assert_eq!(
        text.lines()
            .next()
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>(),
        [
            "NAME",
            "ADDRESSES",
            "ATTACH",
            "BANDWIDTH.MAX",
            "STATUS.WORKER"
        ]
    );
    let text = stdout(&weir(&["stats", "--socket", fake.path()]));
    assert!(text.contains("18446744073709551615"), "{text}");
    let seen = text.lines().find(|line| line.contains("seen by every"));
    let seen: Vec<&str> = seen.unwrap().split_whitespace().rev().take(4).collect();
    assert_eq!(seen, ["31.0", "18.2", "2.5", "7"], "{text}");
    let class = text.lines().find(|line| line.contains("storage"));
    let class: Vec<&str> = class.unwrap().split_whitespace().collect();
    assert_eq!(class, ["blue1", "storage", "41", "0", "7", "0", "3"]);
    let text = stdout(&weir(&["status", "--socket", fake.path()]));
    assert!(text.contains("revision  7\n"), "{text}");
    fake.stop().unwrap();
}

#[test]
fn a_policy_travels_whole_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let file = folder.path().join("a b&c.toml");
    std::fs::write(&file, "good = \"ä\"\n").unwrap();
    let name = file.to_str().unwrap();
    let output = weir(&[
        "apply",
        "-f",
        name,
        "--dry-run",
        "--json",
        "--socket",
        fake.path(),
    ]);
    let report = json(&output);
    assert_eq!(report["dry_run"], true);
    assert_eq!(report["added"][0], format!("vnic {name}"));
    assert_eq!(report["unchanged"], 12);
    let output = weir(&["apply", "-f", name, "--socket", fake.path()]);
    assert_eq!(
        stdout(&output),
        format!("+ vnic {name}\n1 added, 0 changed, 0 removed, 12 unchanged; revision 8\n")
    );
    assert!(stderr(&output).is_empty(), "{output:?}");

    // A policy of 100 MB is no trouble; one above the limit is refused before it is sent.
    std::fs::write(&file, "good\n".repeat(20 << 20)).unwrap();
    let report = json(&weir(&[
        "apply",
        "-f",
        name,
        "--json",
        "--socket",
        fake.path(),
    ]));
    assert_eq!(report["unchanged"], 100u64 << 20);
    std::fs::File::create(&file)
        .unwrap()
        .set_len(129 << 20)
        .unwrap();
    let output = weir(&["apply", "-f", name, "--socket", fake.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is larger than"), "{output:?}");
    fake.stop().unwrap();
}

#[test]
fn a_refused_policy_names_every_reason() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let file = folder.path().join("p.toml");
    std::fs::write(&file, "bad\n").unwrap();
    let name = file.to_str().unwrap();
    let output = weir(&["apply", "-f", name, "--socket", fake.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let expected = format!(
        "error: {name}:4: vnic blue1: is not right; put it right\nerror: policy.toml: vnic blue2: is not right; put it right\n"
    );
    assert_eq!(stderr(&output), expected);
    let output = weir(&["apply", "-f", name, "--json", "--socket", fake.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json(&output)["errors"].as_array().unwrap().len(), 2);
    assert_eq!(json(&output)["errors"][0]["line"], 4);

    std::fs::write(&file, b"name = 1\nx = \"\xff\"\n").unwrap();
    let output = weir(&["apply", "-f", name, "--socket", fake.path()]);
    assert!(
        stderr(&output).contains("line 2 is not UTF-8"),
        "{output:?}"
    );
    let output = weir(&["delete", "vnic", "green/7", "--socket", fake.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("vnic green/7"), "{output:?}");
    fake.stop().unwrap();
}

#[test]
fn errors_of_the_api_are_json_with_a_fitting_status() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let cases = [
        ("GET /v1/objects/cat", 400, "there is no such kind"),
        ("GET /v1/objects/vnic/nobody", 404, "is not right"),
        ("GET /v1/nothing", 404, "no such route"),
        ("POST /v1/stats", 405, "not with this method"),
        (
            "GET /v1/top?since=yesterday",
            400,
            "Failed to deserialize query string: since: invalid digit found in string",
        ),
        ("POST /v1/apply", 422, "is not right"),
        (
            "POST /v1/apply?dry_run=perhaps",
            400,
            "dry_run=perhaps is neither true nor false",
        ),
        ("DELETE /v1/objects/vnic/nobody", 422, "is not right"),
    ];
    for (request, status, problem) in cases {
        let (code, body) = raw(fake.path(), request);
        assert_eq!(
            (code, body["errors"][0]["problem"].as_str()),
            (status, Some(problem)),
            "{request}"
        );
    }
    let (code, _) = raw(fake.path(), "GET /v1/objects/vnic/%FF");
    assert_eq!(code, 400);
    let client = Client::new(&fake.socket);
    match client.request(
        Method::POST,
        "apply",
        Bytes::from_static(b"\xff"),
        Duration::from_secs(5),
    ) {
        Err(Failure::Refused(errors)) => assert!(
            errors[0].problem.starts_with("it is not UTF-8"),
            "{errors:?}"
        ),
        other => panic!("{other:?}"),
    }
    fake.stop().unwrap();
}

#[test]
fn names_may_hold_anything() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let name = "blue 0.0.0.0/0?&#%ä";
    weir(&["get", "route", name, "--socket", fake.path()]);
    assert!(
        fake.log.lock().unwrap().iter().any(|q| q.contains(name)),
        "{:?}",
        fake.log.lock().unwrap()
    );
    assert_eq!(encode("a/b c"), "a%2Fb%20c");
    fake.stop().unwrap();
}

#[test]
fn a_reader_that_leaves_ends_watch_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args([
            "stats",
            "--watch",
            "0.02",
            "--json",
            "--socket",
            fake.path(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut start = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    assert_eq!(&start, b"{\"workers\"");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), "")
    );
    fake.stop().unwrap();
}

#[test]
fn a_sample_of_top_is_one_interval_once() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let ask = |more: &[&str]| {
        let args = [&["top", "-d", "0.05", "--socket", fake.path()], more].concat();
        let output = weir(&args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        output
    };
    let sample = json(&ask(&["-o", "json"]));
    assert_eq!(
        (&sample["host"], &sample["seconds"]),
        (&"h1".into(), &2.0.into())
    );
    let red = &sample["vnics"][0];
    assert_eq!(
        (
            &red["vnic"],
            &red["worker"],
            &red["sent_bits_per_second"],
            &red["sent_packets_per_second"]
        ),
        (&"red1".into(), &3.into(), &4_000_000.into(), &500.into())
    );
    assert_eq!(red["max_bits_per_second"], 1_000_000_000);
    assert!(red["min_bits_per_second"].is_null() && red["queued_packets"].is_null());
    assert_eq!(sample["vnics"][1]["sent_bits_per_second"], 0);
    // The second answer is of what has changed since the first.
    let log = fake.log.lock().unwrap().join("\n");
    assert!(log.contains("Top(None)\nTop(Some(1))"), "{log}");
    let text = stdout(&ask(&["--filter", "BLUE"]));
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[2][..5],
        ["VNIC", "TENANT", "CORE", "MIN", "MAX"],
        "{text}"
    );
    assert_eq!(
        lines[3][..6],
        ["blue1", "blue", "0", "-", "1.00G", "0"],
        "{text}"
    );
    assert_eq!(lines.len(), 4, "{text}");
    fake.stop().unwrap();
}

#[test]
fn the_environment_names_the_daemon_too() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("status")
        .env("WEIR_SOCKET", &fake.socket)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    fake.stop().unwrap();
}

#[test]
fn a_capture_and_a_trace_are_read_to_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let ask = |args: &[&str]| {
        let (verb, rest) = args.split_first().unwrap();
        weir(&[&[verb, "--socket", fake.path()], rest].concat())
    };
    let file = folder.path().join("f.pcapng");
    let name = file.display().to_string();
    let output = ask(&["capture", "vnic-rx,drop", "-w", &name, "-c", "5"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"pcapng");
    assert_eq!(
        stderr(&output),
        "1 packets captured, 2 lost for want of room\n"
    );
    let asked = fake.log.lock().unwrap().join("\n");
    for part in ["\"vnic-rx\", \"drop\"", "count: Some(5)", "Unwatch(77)"] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    // To a pipe, with the summary beside it.
    let output = ask(&["capture", "drop", "-w", "-"]);
    assert_eq!(output.stdout, b"pcapng");
    let output = ask(&["trace"]);
    assert!(output.status.success(), "{output:?}");
    assert!(stdout(&output).contains("verdict: dropped, no_record"));
    let output = ask(&["trace", "-o", "json"]);
    assert_eq!(json(&output)["lines"][0]["bytes"], "4142");
    let output = ask(&["trace", "--vnic", "a", "--to", "10.1.0.1", "-o", "json"]);
    assert_eq!(json(&output)["verdict"], "dropped");
    // A refusal is said, and leaves no file.
    let other = folder.path().join("g.pcapng");
    let name = other.display().to_string();
    let output = ask(&["capture", "drop", "--filter", "nonsense", "-w", &name]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("filter \"nonsense\": is not right"));
    assert!(!other.exists());
    let output = ask(&["trace", "--filter", "nonsense"]);
    assert_eq!(output.status.code(), Some(1));
    // A file that cannot be is said.
    let output = ask(&["capture", "drop", "-w", "/no/such/folder/f"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot be written"));
    fake.stop().unwrap();
}

#[test]
fn the_points_are_listed_without_a_daemon() {
    let output = weir(&["capture", "--list"]);
    assert!(output.status.success());
    let text = stdout(&output);
    for point in [
        "vnic-rx",
        "vnic-tx",
        "uplink-rx",
        "uplink-tx",
        "encap",
        "decap",
        "drop",
    ] {
        assert!(text.contains(&format!("\n{point} ")), "{point}: {text}");
    }
    let output = weir(&["capture", "--list", "-o", "json"]);
    assert_eq!(json(&output)[6]["point"], "drop");
}

#[test]
fn the_rigs_churn_is_begun_asked_for_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let ask =
        |method: &str, body: &str| raw_with(fake.path(), &format!("{method} /v1/rig/churn"), body);
    let (status, begun) = ask("POST", r#"{"rate": 1000, "seconds": 0.5}"#);
    assert_eq!(
        (status, &begun["running"], &begun["rate"]),
        (200, &true.into(), &1000.into())
    );
    for method in ["GET", "DELETE"] {
        let (status, report) = ask(method, "");
        assert_eq!((status, &report["updates"]), (200, &5.into()));
        assert!(report["changes"]["visible"]["p99_us"].is_number());
    }
    let (status, refused) = ask("POST", r#"{"rate": 0, "seconds": 1}"#);
    assert_eq!(
        (status, &refused["errors"][0]["object"]),
        (409, &"churn".into())
    );
    for wrong in [
        "",
        "{}",
        r#"{"rate": -1, "seconds": 1}"#,
        r#"{"rate": 1, "seconds": 1, "x": 1}"#,
    ] {
        assert_eq!(ask("POST", wrong).0, 400, "{wrong}");
    }
    fake.stop().unwrap();
}

#[test]
fn the_rigs_traffic_is_told_what_to_offer_and_its_log_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(&folder.path().join("w.sock"));
    let ask = |body: &str| raw_with(fake.path(), "POST /v1/rig/traffic", body);
    let (status, report) =
        ask(r#"{"offers": [{"senders": 5, "packets_per_second": 10}], "log": true}"#);
    assert_eq!(
        (status, &report["tsc_hz"], &report["log"]["missed"]),
        (200, &7.into(), &0.into())
    );
    let (status, refused) = ask(r#"{"offers": []}"#);
    assert_eq!(
        (status, &refused["errors"][0]["object"]),
        (409, &"traffic".into())
    );
    assert_eq!(ask(r#"{"offers": [{"rate": 5}]}"#).0, 400);
    let log = weir::client::Client::new(fake.path())
        .get("rig/log")
        .unwrap();
    assert_eq!(log[..], [0xfe; 16]);
    fake.stop().unwrap();
}
