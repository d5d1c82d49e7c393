//! What a daemon's state looks like.

use super::pairs;
use crate::failure::sentence;
use weir_agent::stats::Status;

/// A daemon's state, one line each, and why the newest policy is not applied, if it is not.
pub fn status(status: &Status, _terminal: bool) -> String {
    let lines = [
        ("host", status.host.clone()),
        ("version", status.version.clone()),
        ("pid", status.pid.to_string()),
        ("uptime", span(status.uptime_seconds)),
        ("store", status.store.clone()),
        ("revision", status.revision.to_string()),
        ("state", last_good(status)),
        (
            "vnics",
            format!(
                "{} here, {} elsewhere",
                status.local_vnics, status.remote_vnics
            ),
        ),
        (
            "peers",
            format!(
                "{}, {} of them resolved",
                status.peers, status.peers_resolved
            ),
        ),
        (
            "mbufs",
            format!("{} free of {}", status.mbufs_free, status.mbufs_total),
        ),
    ];
    let mut text = pairs(lines.iter().map(|(key, value)| (*key, value.as_str())));
    if let Some(last) = &status.last_good {
        if last.in_use {
            text.push_str(&format!(
                "\nWhat is applied is the last good state of this host, from {}: the store has not confirmed it.\n",
                last.path
            ));
        }
        if let Some(problem) = &last.problem {
            text.push_str(&format!("\n{}: {problem}\n", last.path));
        }
    }
    if !status.warnings.is_empty() {
        text.push_str("\nWhat is applied and cannot be kept now:\n");
        for warning in &status.warnings {
            text.push_str(&format!("  {}\n", sentence(warning)));
        }
    }
    if !status.errors.is_empty() {
        text.push_str(
            "\nThe store's newest content is not applied; the daemon goes on with what it had:\n",
        );
        for error in &status.errors {
            text.push_str(&format!("  {}\n", sentence(error)));
        }
    }
    text
}

fn last_good(status: &Status) -> String {
    match &status.last_good {
        None => "not kept".into(),
        Some(last) => match last.saved_seconds {
            Some(seconds) => format!("{}, written {} ago", last.path, span(seconds)),
            None => format!("{}, not written yet", last.path),
        },
    }
}

fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
