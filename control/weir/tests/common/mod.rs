//! A daemon without DPDK: a thread that answers the control thread's questions, behind the real server and socket.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use weir::failure::Failure;
use weir::run::supervise;
use weir_agent::halt::Halt;
use weir_agent::handle::{Answer, Handle, Question, Questions};
use weir_agent::measure::Measured;
use weir_agent::observe::Watching;
use weir_agent::observe::ask::{CaptureWish, Line, PacketTrace, Summary};
use weir_agent::stats::*;
use weir_agent::top::{Reading, Top, TopVnic};
use weir_agent::traffic::{TrafficReport, TrafficWish};

/// The questions that arrived, as text.
pub type Log = Arc<Mutex<Vec<String>>>;

/// What a start gives: the door, and the wait for the end.
pub type Started = (Handle, fn() -> anyhow::Result<()>);

/// A daemon's life on a thread, around a fake control thread.
pub struct Fake {
    pub socket: PathBuf,
    pub log: Log,
    life: JoinHandle<Result<(), Failure>>,
}

impl Fake {
    /// Starts it and waits until it answers.
    pub fn start(socket: &Path) -> Fake {
        let log = Log::default();
        let (path, seen) = (socket.to_path_buf(), log.clone());
        let life = std::thread::spawn(move || {
            supervise(&path, Halt::default(), move || Ok(control(seen)))
        });
        let fake = Fake {
            socket: socket.to_path_buf(),
            log,
            life,
        };
        wait_for("the daemon answers", || {
            weir(&["status", "--socket", fake.path()]).status.success()
        });
        fake
    }

    pub fn path(&self) -> &str {
        self.socket.to_str().unwrap()
    }

    /// Ends it over the API, as any client can.
    pub fn stop(self) -> Result<(), Failure> {
        let client = weir::client::Client::new(&self.socket);
        client
            .request(
                hyper::Method::POST,
                "stop",
                hyper::body::Bytes::new(),
                Duration::from_secs(5),
            )
            .unwrap();
        self.join()
    }

    pub fn join(self) -> Result<(), Failure> {
        self.life.join().unwrap()
    }
}

/// A control thread's handle, and the wait for its end.
pub fn control(log: Log) -> (Handle, impl FnOnce() -> anyhow::Result<()>) {
    let (handle, questions) = Handle::new();
    let thread = std::thread::spawn(move || answer_all(questions, &log));
    (handle, move || {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the control thread has panicked"))
    })
}

fn answer_all(questions: Questions, log: &Log) {
    for (question, reply) in questions {
        let stop = matches!(question, Question::Stop);
        let mut text = format!("{question:?}");
        text.truncate(200);
        log.lock().unwrap().push(text);
        let _ = reply.send(answer(question));
        if stop {
            return;
        }
    }
}

fn answer(question: Question) -> Answer {
    match question {
        Question::Stats => Answer::Stats(stats()),
        Question::Drops => Answer::Drops(drops()),
        Question::Top(since) => Answer::Top(top(since)),
        Question::Status => Answer::Status(status()),
        Question::Stop => Answer::Stopping,
        Question::Measure(_) => Answer::Measured(Measured::default()),
        Question::Capture(wish) if wish.of.filter.is_empty() => watching(b"pcapng"),
        Question::Trace(of) if of.filter.is_empty() => {
            let mut line = serde_json::to_vec(&trace()).unwrap();
            line.push(b'\n');
            watching(&line)
        }
        Question::Capture(CaptureWish { of, .. }) | Question::Trace(of) => {
            Answer::Refused(vec![refusal(&format!("filter \"{}\"", of.filter))])
        }
        Question::Imagine(_) => Answer::Imagined(Box::new(trace())),
        Question::BeginChurn(ChurnWish { rate: 0, .. }) => Answer::Refused(vec![refusal("churn")]),
        Question::BeginChurn(wish) => Answer::Churn(ChurnReport {
            running: true,
            rate: wish.rate,
            ..Default::default()
        }),
        Question::Churn | Question::EndChurn => Answer::Churn(ChurnReport {
            ended: Some("it was to end".into()),
            updates: 5,
            ..Default::default()
        }),
        Question::Traffic(TrafficWish {
            offers: Some(offers),
            ..
        }) if offers.is_empty() => Answer::Refused(vec![refusal("traffic")]),
        Question::Traffic(_) => Answer::Traffic(TrafficReport {
            tsc_hz: 7,
            ..Default::default()
        }),
        Question::TrafficLog => Answer::TrafficLog(vec![0xfe; 16]),
        Question::Unwatch(id) => Answer::Unwatched((id == NUMBER).then_some(Summary {
            packets: 1,
            lost: 2,
        })),
        Question::Get { kind, name }
            if kind == "vnic" && name.as_deref().is_none_or(|n| n == "blue1") =>
        {
            Answer::Objects(vec![vnic()])
        }
        Question::Get { name: None, .. } => Answer::Objects(Vec::new()),
        Question::Get {
            kind,
            name: Some(name),
        }
        | Question::Delete { kind, name }
            if name != "blue1" =>
        {
            Answer::Refused(vec![refusal(&format!("{kind} {name}"))])
        }
        Question::Get { .. } => Answer::Objects(Vec::new()),
        Question::Delete { .. } => Answer::Applied(ApplyReport {
            revision: 9,
            removed: vec!["vnic blue1".into()],
            unchanged: 3,
            ..Default::default()
        }),
        Question::Apply {
            text,
            origin,
            dry_run,
        } if text.contains("good") => Answer::Applied(ApplyReport {
            revision: 8,
            dry_run,
            added: vec![format!("vnic {origin}")],
            unchanged: text.len() as u64,
            ..Default::default()
        }),
        Question::Apply { origin, .. } => {
            let mut error = refusal("vnic blue1");
            error.file = origin;
            error.line = Some(4);
            Answer::Refused(vec![error, refusal("vnic blue2")])
        }
    }
}

/// The number of what the fake control watches.
pub const NUMBER: u32 = 77;

/// Two pieces and the end.
fn watching(bytes: &[u8]) -> Answer {
    let (sender, pieces) = tokio::sync::mpsc::channel(2);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    sender.try_send(first.to_vec()).unwrap();
    sender.try_send(second.to_vec()).unwrap();
    Answer::Watching(Watching { id: NUMBER, pieces })
}

pub fn trace() -> PacketTrace {
    PacketTrace {
        verdict: "dropped".into(),
        reason: Some("no_record".into()),
        lines: vec![Line::At {
            point: "vnic-rx".into(),
            party: Some("blue1".into()),
            length: 2,
            bytes: "4142".into(),
        }],
        ..PacketTrace::default()
    }
}

fn refusal(object: &str) -> PolicyError {
    PolicyError {
        file: "policy.toml".into(),
        line: None,
        object: object.into(),
        problem: "is not right".into(),
        mend: "put it right".into(),
    }
}

pub fn status() -> Status {
    Status {
        host: "h1".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        store: "file policy.toml".into(),
        revision: 7,
        ..Default::default()
    }
}

pub fn stats() -> Stats {
    Stats {
        // No worker's core: the test keeps its own affinity.
        workers: Vec::new(),
        vnics: vec![VnicStats {
            vnic: "blue1".into(),
            tenant: "blue".into(),
            rx_packets: u64::MAX,
            checksums_finished: 5,
            classes: vec![ClassStats {
                class: "storage".into(),
                sent_packets: 41,
                queued: 7,
                dropped: 3,
                ..Default::default()
            }],
            ..Default::default()
        }],
        uplinks: vec![UplinkStats {
            uplink: "up0".into(),
            link_up: true,
            ..Default::default()
        }],
        pull: None,
        changes: ChangeStats {
            visible: Percentiles {
                count: 7,
                p50_us: 2.5,
                p99_us: 18.25,
                max_us: 31.0,
            },
            ..Default::default()
        },
        moves: Default::default(),
    }
}

/// Two seconds after the answer before it, in which one vNIC has sent a megabyte.
pub fn top(since: Option<u64>) -> Top {
    let mark = since.unwrap_or(0) + 1;
    let vnic = |vnic: &str, tenant: &str| TopVnic {
        vnic: vnic.into(),
        tenant: tenant.into(),
        max_bits_per_second: Some(1_000_000_000),
        ..Default::default()
    };
    Top {
        host: "h1".into(),
        mark,
        nanoseconds: mark * 2_000_000_000,
        whole: since.is_none(),
        vnics: match since {
            None => vec![vnic("blue1", "blue"), vnic("red1", "red")],
            Some(_) => Vec::new(),
        },
        readings: vec![Reading {
            row: 1,
            worker: 3,
            sent_packets: mark * 1000,
            sent_bytes: mark * 1_000_000,
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn drops() -> Vec<DropRow> {
    let few = DropRow {
        reason: "no_route".into(),
        packets: 1,
        ..Default::default()
    };
    let many = DropRow {
        vnic: Some("blue1".into()),
        reason: "truncated".into(),
        packets: 70,
        bytes: 99,
        ..Default::default()
    };
    vec![few, many]
}

pub fn vnic() -> serde_json::Value {
    serde_json::json!({
        "name": "blue1",
        "addresses": ["10.1.0.11", "10.1.0.12"],
        "attach": "net_af_packet1,iface=blue1",
        "bandwidth": {"max": "1Gbit"},
        "status": {"worker": 1},
    })
}

/// Runs the binary, without this process's own choice of a daemon.
pub fn weir(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(args)
        .env_remove("WEIR_SOCKET")
        .output()
        .unwrap()
}

/// Starts `weir run` by `host.toml` in this folder, in which `log` gets all that it says.
pub fn run_in(folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--host"])
        .arg(folder.join("host.toml"))
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Standard output as JSON.
pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Waits until something is so, up to ten seconds.
pub fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
