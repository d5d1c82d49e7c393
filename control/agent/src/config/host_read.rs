//! host.toml from its text.

use std::path::Path;
use std::time::Duration;

use super::device::socket_fits;
use super::document::{At, Table, parse};
use super::fields::{self, Fault};
use super::host::{
    Dataplane, HostConfig, Hugepages, Idle, Pulling, Rig, StoreConfig, Trunk, Uplink,
};
use super::host_iov::hooks;
use super::host_pins::pins as pins_of;
use super::host_ports::{Seen, trunk, uplink};
use super::reader::Object;
use super::refusals::Refusals;
use super::spans::Line;
use super::units;
use crate::stats::PolicyError;

/// *Choice*: fewer mbufs cannot fill one device's rings; more would be 64 GB.
const MBUFS: std::ops::RangeInclusive<i64> = 1024..=16_777_215;

/// Reads host.toml; see [`HostConfig::parse`].
pub fn read(
    text: &str,
    origin: &str,
    folder: &Path,
    cores: &[u32],
) -> Result<HostConfig, Vec<PolicyError>> {
    let mut refusals = Refusals::new(origin, text);
    let config = parse(text, &mut refusals)
        .and_then(|root| file(&root, origin, folder, cores, &mut refusals));
    let refusals = refusals.into_sorted();
    match config {
        Some(config) if refusals.is_empty() => Ok(config),
        _ => Err(refusals),
    }
}

fn file<'d>(
    root: &'d Table<'d>,
    origin: &str,
    folder: &Path,
    cores: &[u32],
    refusals: &mut Refusals,
) -> Option<HostConfig> {
    let root = At {
        value: root,
        line: Line(1),
    };
    let fields = &[
        "name",
        "socket",
        "state_dir",
        "dataplane",
        "uplink",
        "trunk",
        "pin",
        "store",
        "iov",
        "rig",
    ];
    let object = Object::new(root, "the host".into(), fields, refusals);
    let name = object.required("name", fields::name, "\"h1\"", refusals);
    let socket = object.parsed("socket", |text| socket_path(folder, text), refusals);
    let state_dir = object.parsed("state_dir", |text| state_dir(folder, text), refusals);
    let dataplane = dataplane(&object, cores, refusals);
    let mut seen = Seen::default();
    let uplinks: Vec<Option<Uplink>> = object
        .tables("uplink", "uplink", refusals)
        .into_iter()
        .map(|table| uplink(table, &mut seen, refusals))
        .collect();
    let trunks: Vec<Option<Trunk>> = object
        .tables("trunk", "trunk", refusals)
        .into_iter()
        .map(|table| trunk(table, &mut seen, refusals))
        .collect();
    let pins = object.tables("pin", "pin", refusals);
    let pins = pins_of(pins, &dataplane.workers, refusals);
    let (store, pulling) = store(&object, folder, refusals);
    let iov = object.table("iov", refusals);
    let iov = iov.map(|table| hooks(table, refusals)).unwrap_or_default();
    let rig = rig(&object, refusals);
    let name = name?.value;
    let socket = match socket {
        Some(socket) => socket.value,
        None => {
            let socket = Path::new("/run/weir").join(format!("{name}.sock"));
            if let Err(fault) = socket_fits(&socket) {
                refusals.fault(object.line(), object.label(), fault);
            }
            socket
        }
    };
    Some(HostConfig {
        origin: origin.to_owned(),
        name,
        socket,
        state_dir: state_dir.map(|it| it.value),
        dataplane,
        uplinks: uplinks.into_iter().flatten().collect(),
        trunks: trunks.into_iter().flatten().collect(),
        pins,
        store: store?,
        pulling,
        iov,
        rig,
    })
}

fn state_dir(folder: &Path, text: &str) -> Result<std::path::PathBuf, Fault> {
    match text {
        "" => Err(Fault::new(
            "the path is empty",
            "write one such as \"/var/lib/weir\", or leave it out",
        )),
        _ => Ok(folder.join(text)),
    }
}

fn socket_path(folder: &Path, text: &str) -> Result<std::path::PathBuf, Fault> {
    if text.is_empty() {
        return Err(Fault::new(
            "the path is empty",
            "write one such as \"/run/weir/h1.sock\", or leave it out",
        ));
    }
    let path = folder.join(text);
    socket_fits(&path)?;
    Ok(path)
}

fn dataplane(host: &Object<'_>, cores: &[u32], refusals: &mut Refusals) -> Dataplane {
    let default_workers = if cores.len() > 1 {
        cores[1..].to_vec()
    } else {
        cores.to_vec()
    };
    let mut dataplane = Dataplane {
        workers: default_workers,
        hugepages: Hugepages::Auto,
        idle: Idle::Poll,
        balance: true,
        mbufs: None,
        vf_token: None,
    };
    let Some(table) = host.table("dataplane", refusals) else {
        return dataplane;
    };
    let fields = &[
        "workers",
        "hugepages",
        "idle",
        "balance",
        "mbufs",
        "vf_token",
    ];
    let object = Object::new(table, "dataplane".into(), fields, refusals);
    if object.has("workers") {
        dataplane.workers = workers(&object, cores, refusals);
    }
    let pages = [
        ("auto", Hugepages::Auto),
        ("2M", Hugepages::TwoMegabytes),
        ("1G", Hugepages::OneGigabyte),
        ("none", Hugepages::None),
    ];
    if let Some(pages) = object.one_of("hugepages", &pages, refusals) {
        dataplane.hugepages = pages.value;
    }
    if let Some(idle) = object.one_of(
        "idle",
        &[("poll", Idle::Poll), ("adaptive", Idle::Adaptive)],
        refusals,
    ) {
        dataplane.idle = idle.value;
    }
    if let Some(balance) = object.boolean("balance", refusals) {
        dataplane.balance = balance.value;
    }
    let mbufs = object.integer("mbufs", MBUFS, refusals);
    dataplane.mbufs = mbufs.and_then(|mbufs| u32::try_from(mbufs.value).ok());
    let token = object.parsed("vf_token", str::parse, refusals);
    dataplane.vf_token = token.map(|token| token.value);
    dataplane
}

fn rig(host: &Object<'_>, refusals: &mut Refusals) -> Rig {
    let Some(table) = host.table("rig", refusals) else {
        return Rig::default();
    };
    let object = Object::new(table, "rig".into(), &["churn", "traffic"], refusals);
    let churn = object.boolean("churn", refusals);
    let traffic = object.boolean("traffic", refusals);
    Rig {
        churn: churn.is_some_and(|churn| churn.value),
        traffic: traffic.is_some_and(|traffic| traffic.value),
    }
}

fn workers(object: &Object<'_>, cores: &[u32], refusals: &mut Refusals) -> Vec<u32> {
    let mut workers = Vec::new();
    let written = object.integers("workers", 0..=i64::from(u32::MAX), refusals);
    for At { value, line } in &written {
        let Ok(core) = u32::try_from(*value) else {
            continue;
        };
        if workers.contains(&core) {
            refusals.refuse(
                *line,
                object.label(),
                format!("workers: core {core} is listed twice"),
                "list it once",
            );
        } else if !cores.contains(&core) {
            let usable: Vec<String> = cores.iter().map(u32::to_string).collect();
            let problem =
                format!("workers: core {core} is not there, or not for this process to use");
            refusals.refuse(
                *line,
                object.label(),
                problem,
                format!("use one of {}", usable.join(", ")),
            );
        } else {
            workers.push(core);
        }
    }
    if object.items("workers") == Some(0) {
        let mend = "list one core or more, or leave workers out for all but the first";
        refusals.refuse(object.line(), object.label(), "workers lists no core", mend);
    }
    workers
}

fn store(
    host: &Object<'_>,
    folder: &Path,
    refusals: &mut Refusals,
) -> (Option<StoreConfig>, Pulling) {
    let default = StoreConfig::File {
        path: folder.join("policy.toml"),
    };
    if !host.has("store") {
        return (Some(default), Pulling::default());
    }
    let Some(table) = host.table("store", refusals) else {
        return (None, Pulling::default());
    };
    let fields = &["kind", "path", "endpoints", "records", "answer_delay"];
    let object = Object::new(table, "store".into(), fields, refusals);
    let pulling = pulling(&object, refusals);
    (file_store(&object, default, folder, refusals), pulling)
}

fn file_store(
    object: &Object<'_>,
    default: StoreConfig,
    folder: &Path,
    refusals: &mut Refusals,
) -> Option<StoreConfig> {
    let etcd = object.one_of("kind", &[("file", false), ("etcd", true)], refusals);
    if let Some(At { value: true, line }) = etcd {
        let mend = "write kind = \"file\" and path = \"policy.toml\"";
        refusals.refuse(
            line,
            object.label(),
            "kind: the store \"etcd\" is not built yet in this version",
            mend,
        );
        return None;
    }
    if let Some(endpoint) = object.list("endpoints", |_| Ok(()), refusals).first() {
        let problem = "endpoints belong to the store \"etcd\", and this one is a file";
        refusals.refuse(endpoint.line, object.label(), problem, "take endpoints out");
    }
    let path = object.parsed(
        "path",
        |text| match text {
            "" => Err(Fault::new(
                "the path is empty",
                "write one such as \"policy.toml\"",
            )),
            _ => Ok(folder.join(text)),
        },
        refusals,
    );
    Some(path.map_or(default, |path| StoreConfig::File { path: path.value }))
}

fn pulling(object: &Object<'_>, refusals: &mut Refusals) -> Pulling {
    let words = [("all", false), ("on_miss", true)];
    let on_miss = object.one_of("records", &words, refusals);
    let delay = object.parsed("answer_delay", units::duration, refusals);
    let on_miss = on_miss.is_some_and(|on_miss| on_miss.value);
    if let Some(delay) = &delay
        && !on_miss
    {
        let problem = "answer_delay is about answers to misses, and records is not \"on_miss\"";
        refusals.refuse(delay.line, object.label(), problem, "take it out");
    }
    Pulling {
        on_miss,
        answer_delay: delay.map_or(Duration::ZERO, |delay| delay.value),
    }
}
