//! What may be typed, what help says, and with which status the program ends.

mod common;

use clap::{CommandFactory, Parser};
use common::{json, stderr, stdout, weir};
use weir::cli::{Cli, Kind, Verb};

const VERBS: [&str; 13] = [
    "run", "apply", "get", "delete", "stats", "top", "drops", "status", "trace", "capture",
    "doctor", "demo", "bench",
];

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_names_every_verb_and_each_verb_gives_examples() {
    let help = weir(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = stdout(&help);
    for verb in VERBS {
        assert!(
            text.contains(&format!("\n  {verb} ")),
            "{verb} is missing in:\n{text}"
        );
        let output = weir(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            stdout(&output).contains("Examples:\n  weir ")
                || stdout(&output).contains("Examples:\n  "),
            "{verb}"
        );
    }
    assert!(text.contains("Exit status: 0 done, 1 refused or failed, 2 usage."));
}

#[test]
fn every_verb_that_prints_takes_json_both_ways() {
    for verb in VERBS.into_iter().filter(|verb| *verb != "run") {
        let operands: &[&str] = match verb {
            "apply" => &["-f", "p"],
            "get" => &["vnic"],
            "delete" => &["vnic", "a"],
            "bench" => &["a"],
            "capture" => &["drop", "-w", "f"],
            _ => &[],
        };
        for form in [&["-o", "json"][..], &["--json"], &["--output=json"]] {
            let line = [&["weir", verb], operands, form].concat();
            let cli = Cli::try_parse_from(line)
                .unwrap_or_else(|error| panic!("{verb} {form:?}: {error}"));
            assert!(cli.json(), "{verb} {form:?}");
        }
        let line = [&["weir", verb], operands].concat();
        assert!(!Cli::try_parse_from(line).unwrap().json(), "{verb}");
    }
}

#[test]
fn a_search_that_cannot_be_is_refused_with_the_mend() {
    let wrong: [(&[&str], i32, &str); 7] = [
        (&["--over", "wire"], 2, "--ports"),
        (&["--ports", "net_null0"], 2, "memif:PATH"),
        (&["--vs", "nobody"], 2, "testpmd"),
        (
            &["--ports", "memif:/a,memif:/b", "--name", "weir"],
            2,
            "another name",
        ),
        (&["--initial", "2"], 2, "at most --seconds"),
        (&["--width", "0"], 2, "more than 0"),
        (&["drop"], 1, "--hits uniform"),
    ];
    for verb in ["search", "rfc2544"] {
        for (args, status, mend) in wrong {
            let output = weir(&[&["bench", verb][..], args].concat());
            assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(mend), "{args:?}: {said}");
        }
    }
}

#[test]
fn usage_errors_end_with_2_and_say_so_on_stderr() {
    let wrong: [&[&str]; 22] = [
        &[],
        &["fly"],
        &["run"],
        &["apply"],
        &["get"],
        &["get", "cat"],
        &["delete", "vnic"],
        &["stats", "--watch", "0"],
        &["stats", "--watch", "soon"],
        &["stats", "--socket", "a", "--host", "b"],
        &["stats", "--json", "-o", "text"],
        &["demo", "--seconds", "0"],
        &["bench"],
        &["capture", "drop"],
        &["capture", "-w", "f"],
        &["capture", "nowhere", "-w", "f"],
        &["capture", "drop", "-w", "f", "-s", "0"],
        &["capture", "drop", "-w", "f", "--vnic", "a", "--uplink", "b"],
        &["trace", "--to", "10.1.0.1"],
        &["trace", "--vnic", "a", "--tcp", "80"],
        &[
            "trace", "--vnic", "a", "--to", "10.1.0.1", "--tcp", "80", "--icmp",
        ],
        &["trace", "--vnic", "a", "--to", "10.1.0.1", "--packet", "00"],
    ];
    for args in wrong {
        let output = weir(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    let output = weir(&["run", "--host", "/nonexistent", "--log", "weir=loud"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn kinds_are_known_by_their_plural_and_listed_when_unknown() {
    for (typed, kind) in [
        ("vnic", Kind::Vnic),
        ("vnics", Kind::Vnic),
        ("vm-network", Kind::VmNetwork),
        ("vm_network", Kind::VmNetwork),
    ] {
        match Cli::try_parse_from(["weir", "get", typed]).unwrap().verb {
            Verb::Get(args) => assert_eq!(args.kind, kind),
            other => panic!("{other:?}"),
        }
    }
    let text = stderr(&weir(&["get", "cat"]));
    for kind in [
        "host",
        "switch",
        "vm_network",
        "subnet",
        "route",
        "vnic",
        "uplink",
        "trunk",
        "peer",
    ] {
        assert!(text.contains(kind), "{kind} is missing in:\n{text}");
        assert_eq!(Kind::named(kind).map(Kind::as_str), Some(kind));
    }
}

#[test]
fn watch_is_a_second_unless_said_otherwise() {
    for (line, seconds) in [
        (&["weir", "stats", "--watch"][..], 1.0),
        (&["weir", "stats", "--watch", "0.5", "--json"], 0.5),
    ] {
        match Cli::try_parse_from(line).unwrap().verb {
            Verb::Stats(args) => assert_eq!(args.watch, Some(seconds)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn failures_end_with_1_and_name_the_mend() {
    let output = weir(&["stats", "--socket", "/nonexistent/weir.sock"]);
    assert_eq!(output.status.code(), Some(1));
    let expected =
        "error: no daemon at /nonexistent/weir.sock; start one with `weir run --host host.toml`\n";
    assert_eq!(stderr(&output), expected);

    let output = weir(&["stats", "--json", "--socket", "/nonexistent/weir.sock"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        json(&output)["errors"][0]["problem"],
        "no daemon at /nonexistent/weir.sock"
    );

    let output = weir(&[
        "apply",
        "-f",
        "/nonexistent/policy.toml",
        "--socket",
        "/nonexistent/weir.sock",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("/nonexistent/policy.toml: cannot be read"),
        "{output:?}"
    );

    let output = weir(&["run", "--host", "/nonexistent/host.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("/nonexistent/host.toml"),
        "{output:?}"
    );
}
