//! The verbs that look at packets: capture, trace.

use crate::cli::watch::{CaptureArgs, SelectionArgs, TraceArgs};
use crate::client::{Client, Stream, parse};
use crate::failure::Failure;
use crate::locate;
use crate::output::Out;
use crate::table::Table;
use crate::trace_view;
use hyper::Method;
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};
use std::path::Path;
use weir_agent::observe::ask::{
    CaptureWish, Described, ImagineWish, Kind, PacketTrace, Selection, Summary, points,
};

fn selection(args: &SelectionArgs, count: Option<u64>) -> Selection {
    Selection {
        vnic: args.vnic.clone(),
        uplink: args.uplink.clone(),
        filter: args.filter.clone().unwrap_or_default(),
        count,
        seconds: args.seconds,
    }
}

fn body(value: &impl Serialize) -> Result<Bytes, Failure> {
    let bytes = serde_json::to_vec(value).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(bytes.into())
}

/// `weir capture`.
pub fn capture(args: CaptureArgs) -> Result<(), Failure> {
    let Some(file) = args.write.as_deref().filter(|_| !args.list) else {
        return list(args.form.json());
    };
    let client = locate::client(args.daemon.socket.as_deref(), args.daemon.host.as_deref())?;
    let wish = CaptureWish {
        points: args.points,
        snap: args.snap,
        of: selection(&args.of, args.count),
    };
    let to_stdout = file.as_os_str() == "-";
    let mut to = None;
    let summary = follow(&client, "captures", body(&wish)?, |piece| {
        // Opened once the capture runs: a refused one leaves no file.
        let to = match &mut to {
            Some(to) => to,
            None => to.insert(open(file)?),
        };
        let written = to.write_all(piece).and_then(|()| to.flush());
        written.map_err(|error| match to_stdout {
            true => Failure::Output(error),
            false => unwritten(file, &error),
        })
    })?;
    if args.form.json() && !to_stdout {
        Out::stdout(true).json(&summary)?;
    } else {
        let _ = writeln!(
            io::stderr().lock(),
            "{} packets captured, {} lost for want of room",
            summary.packets,
            summary.lost
        );
    }
    Ok(())
}

fn open(file: &Path) -> Result<Box<dyn Write>, Failure> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdout().lock()));
    }
    match std::fs::File::create(file) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(unwritten(file, &error)),
    }
}

fn unwritten(file: &Path, error: &io::Error) -> Failure {
    let problem = format!("cannot be written: {error}");
    Failure::one(
        file.display().to_string(),
        problem,
        "write to another file with -w",
    )
}

fn list(json: bool) -> Result<(), Failure> {
    let mut out = Out::stdout(json);
    if json {
        out.json(&points())?;
    } else {
        let mut table = Table::new(["point", "what is seen there"]);
        for row in points() {
            table.row([row.point, row.help]);
        }
        let text = table.render(out.is_terminal());
        out.text(&text)?;
    }
    Ok(())
}

/// `weir trace`.
pub fn trace(args: TraceArgs) -> Result<(), Failure> {
    let client = locate::client(args.daemon.socket.as_deref(), args.daemon.host.as_deref())?;
    let mut out = Out::stdout(args.form.json());
    if args.packet.is_some() || args.to.is_some() {
        let answer = client.request(
            Method::POST,
            "traces/imagined",
            body(&imagined(&args))?,
            crate::client::PATIENCE,
        )?;
        if out.is_json() {
            out.json(&parse::<Value>(&answer)?)?;
        } else {
            let text = trace_view::text(&parse::<PacketTrace>(&answer)?, args.full);
            out.text(&text)?;
        }
        return Ok(());
    }
    let of = selection(&args.of, Some(args.count.unwrap_or(1)));
    let mut rest = Vec::new();
    let mut shown = 0_u64;
    let summary = follow(&client, "traces", body(&of)?, |piece| {
        rest.extend_from_slice(piece);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            shown += 1;
            if out.is_json() {
                out.json_line(&parse::<Value>(&line)?)?;
            } else {
                let text = trace_view::text(&parse::<PacketTrace>(&line)?, args.full);
                out.text(&text)?;
                out.text("\n")?;
            }
        }
        Ok(())
    })?;
    if summary.lost > 0 || shown == 0 {
        let _ = writeln!(
            io::stderr().lock(),
            "{shown} packets traced, {} lines lost for want of room",
            summary.lost
        );
    }
    Ok(())
}

fn imagined(args: &TraceArgs) -> ImagineWish {
    let kind = match (args.tcp, args.udp, args.arp) {
        (Some(port), _, _) => Kind::Tcp(port),
        (_, Some(port), _) => Kind::Udp(port),
        (_, _, true) => Kind::Arp,
        _ => Kind::Icmp,
    };
    ImagineWish {
        vnic: args.of.vnic.clone(),
        uplink: args.of.uplink.clone(),
        packet: args.packet.clone(),
        described: args.to.map(|to| Described {
            to,
            kind,
            src: args.src,
            mac: args.mac.clone(),
            size: args.size,
            ttl: args.ttl,
            dont_fragment: args.df,
        }),
    }
}

/// Starts an observer and hands on what it sees until it ends; the first SIGINT or SIGTERM ends it, a second this program.
fn follow(
    client: &Client,
    path: &str,
    body: Bytes,
    mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Summary, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::one("", format!("no runtime: {error}"), ""))?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let caught = |kind| {
            signal(kind).map_err(|error| Failure::one("", format!("no signals: {error}"), ""))
        };
        let mut interrupt = caught(SignalKind::interrupt())?;
        let mut terminate = caught(SignalKind::terminate())?;
        let mut stream: Stream = client.stream(path, body).await?;
        let mut ending = false;
        loop {
            tokio::select! {
                piece = stream.next() => match piece? {
                    Some(piece) => each(&piece)?,
                    None => break,
                },
                _ = interrupt.recv() => end(client, &stream, &mut ending).await?,
                _ = terminate.recv() => end(client, &stream, &mut ending).await?,
            }
        }
        let path = format!("watches/{}", stream.number);
        let answer = client
            .request_async(Method::DELETE, &path, Bytes::new())
            .await?;
        parse(&answer)
    })
}

async fn end(client: &Client, stream: &Stream, ending: &mut bool) -> Result<(), Failure> {
    if std::mem::replace(ending, true) {
        return Err(Failure::Reported);
    }
    let path = format!("watches/{}", stream.number);
    client
        .request_async(Method::DELETE, &path, Bytes::new())
        .await?;
    Ok(())
}
