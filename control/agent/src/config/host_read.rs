//! host.toml from its text.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::Path;

use weir_wire::Mac;

use super::device::{Device, socket_fits};
use super::fields::{self, Fault, Name};
use super::host::{Dataplane, HostConfig, Hugepages, Idle, StoreConfig, Trunk, TrunkBy, Uplink};
use super::reader::{At, Object, Refusals, Table, called, parse};
use super::spans::Line;
use crate::stats::PolicyError;

/// The least MTU that IPv4 hosts must take (RFC 791 §3.1), and what its length field can say.
const MTU: std::ops::RangeInclusive<i64> = 576..=65_535;
/// VLANs that are not reserved (IEEE 802.1Q §9.6).
const VLAN: std::ops::RangeInclusive<i64> = 1..=4094;
/// *Choice*: fewer mbufs cannot fill one device's rings; more would be 64 GB.
const MBUFS: std::ops::RangeInclusive<i64> = 1024..=16_777_215;

/// Reads host.toml; see [`HostConfig::parse`].
pub fn read(text: &str, origin: &str, folder: &Path, cores: &[u32]) -> Result<HostConfig, Vec<PolicyError>> {
    let mut refusals = Refusals::new(origin, text);
    let config = parse(text, &mut refusals).and_then(|root| file(&root, origin, folder, cores, &mut refusals));
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
    let root = At { value: root, line: Line(1) };
    let fields = &["name", "socket", "dataplane", "uplink", "trunk", "store"];
    let object = Object::new(root, "the host".into(), fields, refusals);
    let name = object.required("name", fields::name, "\"h1\"", refusals);
    let socket = object.parsed("socket", |text| socket_path(folder, text), refusals);
    let dataplane = dataplane(&object, cores, refusals);
    let mut seen = Seen::default();
    let uplinks: Vec<Option<Uplink>> = object
        .tables("uplink", "uplink", refusals)
        .into_iter()
        .map(|table| uplink(table, &mut seen, refusals))
        .collect();
    let trunks: Vec<Option<Trunk>> =
        object.tables("trunk", "trunk", refusals).into_iter().map(|table| trunk(table, &mut seen, refusals)).collect();
    let store = store(&object, folder, refusals);
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
        dataplane,
        uplinks: uplinks.into_iter().flatten().collect(),
        trunks: trunks.into_iter().flatten().collect(),
        store: store?,
    })
}

fn socket_path(folder: &Path, text: &str) -> Result<std::path::PathBuf, Fault> {
    if text.is_empty() {
        return Err(Fault::new("the path is empty", "write one such as \"/run/weir/h1.sock\", or leave it out"));
    }
    let path = folder.join(text);
    socket_fits(&path)?;
    Ok(path)
}

fn dataplane(host: &Object<'_>, cores: &[u32], refusals: &mut Refusals) -> Dataplane {
    let default_workers = if cores.len() > 1 { cores[1..].to_vec() } else { cores.to_vec() };
    let mut dataplane =
        Dataplane { workers: default_workers, hugepages: Hugepages::Auto, idle: Idle::Poll, mbufs: None };
    let Some(table) = host.table("dataplane", refusals) else { return dataplane };
    let fields = &["workers", "hugepages", "idle", "mbufs"];
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
    if let Some(idle) = object.one_of("idle", &[("poll", Idle::Poll), ("adaptive", Idle::Adaptive)], refusals) {
        dataplane.idle = idle.value;
    }
    let mbufs = object.integer("mbufs", MBUFS, refusals);
    dataplane.mbufs = mbufs.and_then(|mbufs| u32::try_from(mbufs.value).ok());
    dataplane
}

fn workers(object: &Object<'_>, cores: &[u32], refusals: &mut Refusals) -> Vec<u32> {
    let mut workers = Vec::new();
    let written = object.integers("workers", 0..=i64::from(u32::MAX), refusals);
    for At { value, line } in &written {
        let Ok(core) = u32::try_from(*value) else { continue };
        if workers.contains(&core) {
            refusals.refuse(*line, object.label(), format!("workers: core {core} is listed twice"), "list it once");
        } else if !cores.contains(&core) {
            let usable: Vec<String> = cores.iter().map(u32::to_string).collect();
            let problem = format!("workers: core {core} is not there, or not for this process to use");
            refusals.refuse(*line, object.label(), problem, format!("use one of {}", usable.join(", ")));
        } else {
            workers.push(core);
        }
    }
    if object.is_empty_list("workers") {
        let mend = "list one core or more, or leave workers out for all but the first";
        refusals.refuse(object.line(), object.label(), "workers lists no core", mend);
    }
    workers
}

/// What one uplink or trunk may not share with another.
#[derive(Default)]
struct Seen {
    names: HashMap<String, Line>,
    claims: HashMap<String, (String, Line)>,
    addresses: HashMap<Ipv4Addr, (String, Line)>,
}

impl Seen {
    fn name(&mut self, name: &Option<At<Name>>, object: &Object<'_>, refusals: &mut Refusals) {
        let Some(name) = name else { return };
        if let Some(first) = self.names.insert(object.label().to_owned(), name.line) {
            let problem = format!("the name is taken by the one in line {}", first.0);
            refusals.refuse(name.line, object.label(), problem, "give each a name of its own");
        }
    }

    fn device(&mut self, device: &Option<At<Device>>, object: &Object<'_>, refusals: &mut Refusals) {
        let Some(device) = device else { return };
        for claim in device.value.claims() {
            if let Some((other, line)) = self.claims.get(&claim) {
                let problem = format!("{claim} is already that of {other} in line {}", line.0);
                refusals.refuse(device.line, object.label(), problem, "give each port a device of its own");
            } else {
                self.claims.insert(claim, (object.label().to_owned(), device.line));
            }
        }
    }
}

/// What an object of this `kind` is called in refusals.
fn label(kind: &str, table: &At<&Table<'_>>) -> String {
    match called(table.value, "name") {
        Some(name) => format!("{kind} {}", name.escape_debug()),
        None => format!("{kind} in line {}", table.line.0),
    }
}

fn uplink<'d>(table: At<&'d Table<'d>>, seen: &mut Seen, refusals: &mut Refusals) -> Option<Uplink> {
    let fields = &[
        "name", "device", "provider_addresses", "mac", "mtu", "vlan", "capacity", "gateway", "neighbors", "switch",
    ];
    let object = Object::new(table, label("uplink", &table), fields, refusals);
    let name = object.required("name", fields::name, "\"up0\"", refusals);
    seen.name(&name, &object, refusals);
    let device = object.required("device", str::parse::<Device>, "\"0000:03:00.0\"", refusals);
    seen.device(&device, &object, refusals);
    let addresses = object.set("provider_addresses", fields::provider_interface, refusals);
    if !object.has("provider_addresses") {
        object.missing("provider_addresses", "[\"192.168.50.1/24\"]: an uplink without one carries nothing", refusals);
    } else if object.is_empty_list("provider_addresses") {
        let mend = "list this host's addresses in the provider's network, such as \"192.168.50.1/24\"";
        refusals.refuse(object.line(), object.label(), "provider_addresses is empty", mend);
    }
    for address in &addresses {
        let own = address.value.addr();
        if let Some((other, line)) = seen.addresses.get(&own) {
            let problem = format!("provider_addresses: {own} is already that of {other} in line {}", line.0);
            refusals.refuse(address.line, object.label(), problem, "give each uplink addresses of its own");
        } else {
            seen.addresses.insert(own, (object.label().to_owned(), address.line));
        }
    }
    let gateway = object.parsed("gateway", fields::provider_address, refusals);
    if let Some(gateway) = &gateway
        && !addresses.is_empty()
    {
        if !addresses.iter().any(|address| address.value.contains(&gateway.value)) {
            let problem = format!("gateway: {} is in no prefix of provider_addresses", gateway.value);
            refusals.refuse(gateway.line, object.label(), problem, "name a router that this uplink reaches directly");
        } else if addresses.iter().any(|address| address.value.addr() == gateway.value) {
            let problem = format!("gateway: {} is this host itself", gateway.value);
            refusals.refuse(gateway.line, object.label(), problem, "name a router, or leave gateway out");
        }
    }
    let mac = object.parsed("mac", fields::station_mac, refusals).map(|mac| mac.value);
    let mtu = object.integer("mtu", MTU, refusals).and_then(|mtu| u16::try_from(mtu.value).ok());
    let vlan = object.integer("vlan", VLAN, refusals).and_then(|vlan| u16::try_from(vlan.value).ok());
    let capacity = object.parsed("capacity", str::parse, refusals).map(|capacity| capacity.value);
    let neighbors = neighbors(&object, refusals);
    let switch = object.parsed("switch", one_switch, refusals);
    Some(Uplink {
        name: name?.value,
        device: device?.value,
        provider_addresses: addresses.into_iter().map(|address| address.value).collect(),
        mac,
        mtu,
        vlan,
        capacity,
        gateway: gateway.map(|gateway| gateway.value),
        neighbors,
        switch: switch.map_or_else(|| "default".into(), |switch| switch.value),
        line: object.line(),
    })
}

fn one_switch(text: &str) -> Result<Name, Fault> {
    let name = fields::name(text)?;
    if &*name != "default" {
        return Err(Fault::new(
            format!("the switch \"{name}\" would be a second one, and this version runs one a host"),
            "write \"default\", or leave switch out",
        ));
    }
    Ok(name)
}

fn neighbors(uplink: &Object<'_>, refusals: &mut Refusals) -> BTreeMap<Ipv4Addr, Mac> {
    let Some(table) = uplink.table("neighbors", refusals) else { return BTreeMap::new() };
    let mut neighbors = BTreeMap::new();
    for (key, value) in table.value {
        let line = refusals.line(key.span());
        let address = fields::provider_address(key.get_ref());
        let mac = match value.get_ref().as_str() {
            Some(text) => fields::station_mac(text),
            None => Err(Fault::new("a neighbour's MAC address must be a string", "put it in quotation marks")),
        };
        match (address, mac) {
            (Ok(address), Ok(mac)) => {
                neighbors.insert(address, mac);
            }
            (address, mac) => {
                for fault in [address.err(), mac.err()].into_iter().flatten() {
                    refusals.refuse(line, uplink.label(), format!("neighbors: {}", fault.problem), fault.mend);
                }
            }
        }
    }
    neighbors
}

fn trunk<'d>(table: At<&'d Table<'d>>, seen: &mut Seen, refusals: &mut Refusals) -> Option<Trunk> {
    let object = Object::new(table, label("trunk", &table), &["name", "device", "mtu", "by"], refusals);
    let name = object.required("name", fields::name, "\"vms\"", refusals);
    seen.name(&name, &object, refusals);
    let device = object.required("device", str::parse::<Device>, "\"net_af_packet1,iface=vms\"", refusals);
    seen.device(&device, &object, refusals);
    let mtu = object.integer("mtu", MTU, refusals).and_then(|mtu| u16::try_from(mtu.value).ok());
    let by = object.one_of("by", &[("mac", TrunkBy::Mac), ("vlan", TrunkBy::Vlan)], refusals);
    let by = by.map_or(TrunkBy::Mac, |by| by.value);
    Some(Trunk { name: name?.value, device: device?.value, mtu, by, line: object.line() })
}

fn store(host: &Object<'_>, folder: &Path, refusals: &mut Refusals) -> Option<StoreConfig> {
    let default = StoreConfig::File { path: folder.join("policy.toml") };
    if !host.has("store") {
        return Some(default);
    }
    let table = host.table("store", refusals)?;
    let object = Object::new(table, "store".into(), &["kind", "path", "endpoints"], refusals);
    let etcd = object.one_of("kind", &[("file", false), ("etcd", true)], refusals);
    if let Some(At { value: true, line }) = etcd {
        let mend = "write kind = \"file\" and path = \"policy.toml\"";
        refusals.refuse(line, object.label(), "kind: the store \"etcd\" is not built yet in this version", mend);
        return None;
    }
    if let Some(endpoint) = object.list("endpoints", |_| Ok(()), refusals).first() {
        let problem = "endpoints belong to the store \"etcd\", and this one is a file";
        refusals.refuse(endpoint.line, object.label(), problem, "take endpoints out");
    }
    let path = object.parsed(
        "path",
        |text| match text {
            "" => Err(Fault::new("the path is empty", "write one such as \"policy.toml\"")),
            _ => Ok(folder.join(text)),
        },
        refusals,
    );
    Some(path.map_or(default, |path| StoreConfig::File { path: path.value }))
}
