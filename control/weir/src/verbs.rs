//! The verbs that ask a daemon: apply, get, delete, stats, drops, status.

use crate::cli::{ApplyArgs, DaemonArgs, DeleteArgs, GetArgs, QueryArgs, StatsArgs};
use crate::client::{Client, LONG_PATIENCE, encode, parse};
use crate::failure::Failure;
use crate::locate;
use crate::output::Out;
use crate::rates;
use crate::routes::MAX_POLICY;
use crate::views;
use hyper::Method;
use hyper::body::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};
use weir_agent::stats::{ApplyReport, DropRow, Stats, Status};

fn client(args: &DaemonArgs) -> Result<Client, Failure> {
    locate::client(args.socket.as_deref(), args.host.as_deref())
}

/// Prints an answer: as JSON what the daemon said, else what `view` makes of it.
fn print<T: serde::de::DeserializeOwned>(
    json: bool,
    body: &[u8],
    view: impl FnOnce(&T, bool) -> String,
) -> Result<(), Failure> {
    let mut out = Out::stdout(json);
    if json {
        out.json(&parse::<Value>(body)?)?;
    } else {
        let text = view(&parse::<T>(body)?, out.is_terminal());
        out.text(&text)?;
    }
    Ok(())
}

/// `weir apply`: sends the file as the whole policy.
pub fn apply(args: ApplyArgs) -> Result<(), Failure> {
    let text = read_policy(&args.file)?;
    let client = client(&args.daemon)?;
    let origin = encode(&args.file.display().to_string());
    let path = format!("apply?dry_run={}&origin={origin}", args.dry_run);
    let body = waiting("applying the policy", args.form.json(), || {
        client.request(Method::POST, &path, text, LONG_PATIENCE)
    })?;
    print::<ApplyReport>(args.form.json(), &body, views::report)
}

/// The policy's bytes. Fails here, by name, on what the daemon would not take.
fn read_policy(file: &Path) -> Result<Bytes, Failure> {
    let name = file.display().to_string();
    let limit = MAX_POLICY as u64;
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(limit + 1)
            .read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
    };
    if let Err(error) = read {
        return Err(Failure::one(
            name,
            format!("cannot be read: {error}"),
            "name the policy's file with -f",
        ));
    }
    if bytes.len() > MAX_POLICY {
        return Err(Failure::one(
            name,
            format!("is larger than {MAX_POLICY} bytes"),
            "is it a policy at all?",
        ));
    }
    if let Err(error) = std::str::from_utf8(&bytes) {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        return Err(Failure::one(
            name,
            format!("line {line} is not UTF-8"),
            "save it as UTF-8",
        ));
    }
    Ok(bytes.into())
}

/// `weir get`.
pub fn get(args: GetArgs) -> Result<(), Failure> {
    let mut path = format!("objects/{}", args.kind.as_str());
    if let Some(name) = &args.name {
        path.push('/');
        path.push_str(&encode(name));
    }
    let body = client(&args.daemon)?.get(&path)?;
    let one = args.name.is_some();
    print::<Vec<Value>>(args.form.json(), &body, |objects, terminal| {
        views::objects(objects, one, terminal)
    })
}

/// `weir delete`.
pub fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let path = format!("objects/{}/{}", args.kind.as_str(), encode(&args.name));
    let body = client(&args.daemon)?.request(Method::DELETE, &path, Bytes::new(), LONG_PATIENCE)?;
    print::<ApplyReport>(args.form.json(), &body, views::report)
}

/// `weir drops`.
pub fn drops(args: QueryArgs) -> Result<(), Failure> {
    let body = client(&args.daemon)?.get("drops")?;
    print::<Vec<DropRow>>(args.form.json(), &body, |rows, terminal| {
        views::drops(rows, terminal)
    })
}

/// `weir status`.
pub fn status(args: QueryArgs) -> Result<(), Failure> {
    let body = client(&args.daemon)?.get("status")?;
    print::<Status>(args.form.json(), &body, views::status)
}

/// `weir stats`, once or until the reader leaves.
pub fn stats(args: StatsArgs) -> Result<(), Failure> {
    let client = client(&args.daemon)?;
    let Some(seconds) = args.watch else {
        let body = client.get("stats")?;
        return print::<Stats>(args.form.json(), &body, |stats, terminal| {
            views::stats(stats, None, terminal)
        });
    };
    let period = Duration::from_secs_f64(seconds);
    let mut out = Out::stdout(args.form.json());
    let mut before: Option<(Stats, Instant)> = None;
    let mut line_before: Option<(Value, Instant)> = None;
    let mut next = Instant::now();
    loop {
        let body = client.get("stats")?;
        let now = Instant::now();
        if out.is_json() {
            let line = parse::<Value>(&body)?;
            let since = line_before.as_ref();
            let since = since.map(|(line, at)| (line, now.duration_since(*at)));
            out.json_line(&rates::beside(&line, since))?;
            line_before = Some((line, now));
        } else {
            let stats: Stats = parse(&body)?;
            let since = before
                .as_ref()
                .map(|(stats, at)| (stats, now.duration_since(*at)));
            let text = views::stats(&stats, since, out.is_terminal());
            out.clear()?;
            out.text(&text)?;
            if !out.is_terminal() {
                out.text("\n")?;
            }
            before = Some((stats, now));
        }
        // Steps of the period, not of period plus answer; steps that were missed are not made up for.
        next = (next + period).max(now);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Does something that may be long; while it lasts a spinner on stderr says so, if that is a terminal and a person is to read the answer:
/// with `json` nothing but that is on a console.
pub fn waiting<T>(what: &'static str, json: bool, work: impl FnOnce() -> T) -> T {
    if json {
        return work();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    let result = work();
    bar.finish_and_clear();
    result
}
