//! What a running daemon knows about its own troubles.

use super::Check;
use crate::client::{Client, Probe, parse};
use crate::failure::{Failure, sentence};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use weir_agent::stats::{DropRow, Stats, Status};

/// How long a daemon may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Free mbufs below which a burst may find none, as a share of all: one in so many.
const FEW_MBUFS: u64 = 20;

/// The checks of the daemon that was found, or one that says that none was.
pub fn checks(client: Result<Client, Failure>) -> Vec<Check> {
    let name = "daemon";
    let start = "weir run --host host.toml";
    let client = match client {
        Ok(client) => client,
        Err(Failure::Refused(errors)) => {
            return errors
                .iter()
                .map(|e| Check::warn(name, &e.problem, &e.mend))
                .collect();
        }
        Err(_) => return vec![Check::warn(name, "no daemon found", start)],
    };
    let path = client.socket().display().to_string();
    let status = match client.probe(PATIENCE) {
        Probe::Daemon(status) => status,
        Probe::Nobody => return vec![Check::warn(name, format!("no daemon at {path}"), start)],
        Probe::Other(what) => {
            return vec![Check::broken(
                name,
                format!("{path}: {what}"),
                "look at the daemon's log",
            )];
        }
    };
    let detail = format!(
        "{} at {path}, pid {}, {}",
        status.host,
        status.pid,
        version(&status.version)
    );
    let mut checks = vec![match status.version == env!("CARGO_PKG_VERSION") {
        true => Check::good(name, detail),
        false => Check::warn(
            name,
            detail,
            format!(
                "this is weir {}: restart the daemon",
                env!("CARGO_PKG_VERSION")
            ),
        ),
    }];
    checks.extend(health(&status));
    let stats: Option<Stats> = ask(&client, "stats");
    let drops: Option<Vec<DropRow>> = ask(&client, "drops");
    let vnics: Option<Vec<Value>> = ask(&client, "objects/vnic");
    match (stats, drops) {
        (Some(stats), Some(drops)) => {
            checks.extend(links(&stats));
            checks.extend(offloads(&stats, &drops, &vnics.unwrap_or_default()));
        }
        _ => checks.push(Check::warn(
            name,
            "it answers no question about counters",
            "look at the daemon's log",
        )),
    }
    checks
}

fn version(version: &str) -> String {
    if version.is_empty() {
        "no version".into()
    } else {
        format!("version {version}")
    }
}

fn ask<T: DeserializeOwned>(client: &Client, path: &str) -> Option<T> {
    client.get(path).and_then(|body| parse(&body)).ok()
}

/// What `weir status` shows.
fn health(status: &Status) -> Vec<Check> {
    let mut checks: Vec<Check> = status
        .errors
        .iter()
        .map(|error| {
            let mend = error.mend.clone();
            let detail = sentence(&weir_agent::stats::PolicyError {
                mend: String::new(),
                ..error.clone()
            });
            Check::broken(
                "policy",
                format!("the store's newest content is not applied: {detail}"),
                mend,
            )
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::good(
            "policy",
            format!("{}, revision {} is applied", status.store, status.revision),
        ));
    }
    if let Some(last) = &status.last_good {
        let name = "last good state";
        match (&last.problem, last.in_use) {
            (Some(problem), _) => checks.push(Check::warn(
                name,
                format!("{}: {problem}", last.path),
                "the daemon writes it when a policy is applied: make room, or let the daemon's user write there",
            )),
            (None, true) => checks.push(Check::warn(
                name,
                "it is what is applied, and the store has not confirmed it",
                "bring the store back: the daemon goes on with it by itself",
            )),
            (None, false) => checks.push(Check::good(name, last.path.clone())),
        }
    }
    if status.peers_resolved < status.peers {
        let detail = format!(
            "{} of {} peers do not answer ARP",
            status.peers - status.peers_resolved,
            status.peers
        );
        let mend = "see `weir get peer`; check the uplink's cable, its VLAN and gateway, or write neighbors in host.toml";
        checks.push(Check::warn("peers", detail, mend));
    }
    if status.mbufs_total > 0 && status.mbufs_free < status.mbufs_total / FEW_MBUFS {
        let detail = format!(
            "{} of {} mbufs are free",
            status.mbufs_free, status.mbufs_total
        );
        checks.push(Check::warn(
            "mbufs",
            detail,
            "write a larger mbufs in [dataplane] of host.toml",
        ));
    }
    checks
}

fn links(stats: &Stats) -> Vec<Check> {
    let down = stats.uplinks.iter().filter(|uplink| !uplink.link_up);
    down.map(|uplink| {
        let mend =
            "check the cable, or for an interface of the kernel: ip link set DEV up, on both ends";
        Check::warn(
            "link",
            format!("uplink {} has no link", uplink.uplink),
            mend,
        )
    })
    .collect()
}

/// vNICs whose senders leave checksums or segmentation to a device that is not there.
fn offloads(stats: &Stats, drops: &[DropRow], vnics: &[Value]) -> Vec<Check> {
    let finished: BTreeSet<&str> = stats
        .vnics
        .iter()
        .filter(|v| v.checksums_finished > 0 && !is_virtio(vnics, &v.vnic))
        .map(|v| v.vnic.as_str())
        .collect();
    let truncated: BTreeSet<&str> = drops
        .iter()
        .filter(|d| d.reason == "truncated" && d.packets > 0)
        .filter_map(|d| d.vnic.as_deref())
        .collect();
    let mut checks = Vec::new();
    for &vnic in finished.union(&truncated) {
        let mut what = Vec::new();
        if truncated.contains(vnic) {
            what.push("sends frames longer than its port takes (dropped: truncated)");
        }
        if finished.contains(vnic) {
            what.push("leaves its checksums to Weir");
        }
        let interface = interface(vnics, vnic);
        let place = match interface {
            Some(interface) => {
                format!("DEV is vNIC {vnic}'s device in its VM, the other end of {interface}")
            }
            None => format!("DEV is vNIC {vnic}'s device in its VM"),
        };
        let mend = format!("ethtool -K DEV tx off tso off gso off gro off   # {place}");
        checks.push(Check::warn(
            "offloads",
            format!("vNIC {vnic} {}", what.join(" and ")),
            mend,
        ));
    }
    checks
}

/// Whether a vNIC's device was offered that its checksums may be left to Weir.
fn is_virtio(vnics: &[Value], vnic: &str) -> bool {
    attach(vnics, vnic).is_some_and(|attach| attach.starts_with("vhost-user"))
}

/// The kernel interface that a vNIC is attached to, where it is one.
fn interface<'a>(vnics: &'a [Value], vnic: &str) -> Option<&'a str> {
    let attach = attach(vnics, vnic)?;
    attach
        .strip_prefix("tap:")
        .or_else(|| attach.split(',').find_map(|arg| arg.strip_prefix("iface=")))
}

fn attach<'a>(vnics: &'a [Value], vnic: &str) -> Option<&'a str> {
    let mut objects = vnics.iter();
    let object = objects.find(|object| object.get("name").and_then(Value::as_str) == Some(vnic))?;
    object.get("attach")?.as_str()
}
