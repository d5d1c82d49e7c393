//! The uplinks and trunks of host.toml from its text.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use weir_wire::Mac;

use super::device::Device;
use super::document::{At, Table, label};
use super::fields::{self, Fault, MTU, Name, VLAN};
use super::host::{ChooseBy, SteerBy, Trunk, TrunkBy, Uplink};
use super::reader::Object;
use super::refusals::Refusals;
use super::spans::Line;

/// What one uplink or trunk may not share with another.
#[derive(Default)]
pub struct Seen {
    names: HashMap<String, Line>,
    claims: HashMap<String, (String, Line)>,
    addresses: HashMap<IpAddr, (String, Line)>,
}

impl Seen {
    fn name(&mut self, name: &Option<At<Name>>, object: &Object<'_>, refusals: &mut Refusals) {
        let Some(name) = name else { return };
        if let Some(first) = self.names.insert(object.label().to_owned(), name.line) {
            let problem = format!("the name is taken by the one in line {}", first.0);
            refusals.refuse(
                name.line,
                object.label(),
                problem,
                "give each a name of its own",
            );
        }
    }

    fn device(
        &mut self,
        device: &Option<At<Device>>,
        object: &Object<'_>,
        refusals: &mut Refusals,
    ) {
        let Some(device) = device else { return };
        for claim in device.value.claims() {
            if let Some((other, line)) = self.claims.get(&claim) {
                let problem = format!("{claim} is already that of {other} in line {}", line.0);
                refusals.refuse(
                    device.line,
                    object.label(),
                    problem,
                    "give each port a device of its own",
                );
            } else {
                self.claims
                    .insert(claim, (object.label().to_owned(), device.line));
            }
        }
    }
}

/// What may be written for `steering`.
const STEERING: [(&str, SteerBy); 4] = [
    ("auto", SteerBy::Auto),
    ("vmdq", SteerBy::Vmdq),
    ("flow", SteerBy::Flow),
    ("software", SteerBy::Software),
];

/// What may be written for `dcb`.
const DCB: [(&str, ChooseBy); 2] = [("auto", ChooseBy::Auto), ("software", ChooseBy::Software)];

/// Reads one `[[uplink]]`.
pub fn uplink<'d>(
    table: At<&'d Table<'d>>,
    seen: &mut Seen,
    refusals: &mut Refusals,
) -> Option<Uplink> {
    let fields = &[
        "name",
        "device",
        "provider_addresses",
        "mac",
        "mtu",
        "vlan",
        "capacity",
        "gateway",
        "neighbors",
        "offloads",
        "steering",
        "dcb",
        "switch",
    ];
    let object = Object::new(table, label("uplink", &table), fields, refusals);
    let name = object.required("name", fields::name, "\"up0\"", refusals);
    seen.name(&name, &object, refusals);
    let device = object.required("device", str::parse::<Device>, "\"0000:03:00.0\"", refusals);
    seen.device(&device, &object, refusals);
    let addresses = addresses(&object, seen, refusals);
    let gateways = gateways(&object, &addresses, refusals);
    let mac = object
        .parsed("mac", fields::station_mac, refusals)
        .map(|mac| mac.value);
    let mtu = object.integer("mtu", MTU, refusals);
    least_mtu(&object, &addresses, &mtu, refusals);
    let mtu = mtu.and_then(|mtu| u16::try_from(mtu.value).ok());
    let vlan = object
        .integer("vlan", VLAN, refusals)
        .and_then(|vlan| u16::try_from(vlan.value).ok());
    let capacity = object
        .parsed("capacity", str::parse, refusals)
        .map(|capacity| capacity.value);
    let neighbors = neighbors(&object, refusals);
    let offloads = object.boolean("offloads", refusals);
    let steering = object.one_of("steering", &STEERING, refusals);
    let dcb = object.one_of("dcb", &DCB, refusals);
    let switch = object.parsed("switch", one_switch, refusals);
    Some(Uplink {
        name: name?.value,
        device: device?.value,
        provider_addresses: addresses.into_iter().map(|address| address.value).collect(),
        mac,
        mtu,
        vlan,
        capacity,
        gateways,
        neighbors,
        offloads: offloads.is_none_or(|offloads| offloads.value),
        steering: steering.map_or(SteerBy::Auto, |steering| steering.value),
        dcb: dcb.map_or(ChooseBy::Auto, |dcb| dcb.value),
        switch: switch.map_or_else(|| "default".into(), |switch| switch.value),
        line: object.line(),
    })
}

/// The uplink's provider addresses, none of which another has.
fn addresses(object: &Object<'_>, seen: &mut Seen, refusals: &mut Refusals) -> Vec<At<IpNet>> {
    let addresses = object.set("provider_addresses", fields::provider_interface, refusals);
    if !object.has("provider_addresses") {
        object.missing(
            "provider_addresses",
            "[\"192.168.50.1/24\"]: an uplink without one carries nothing",
            refusals,
        );
    } else if object.items("provider_addresses") == Some(0) {
        let mend =
            "list this host's addresses in the provider's network, such as \"192.168.50.1/24\"";
        refusals.refuse(
            object.line(),
            object.label(),
            "provider_addresses is empty",
            mend,
        );
    }
    for address in &addresses {
        let own = address.value.addr();
        if let Some((other, line)) = seen.addresses.get(&own) {
            let problem = format!(
                "provider_addresses: {own} is already that of {other} in line {}",
                line.0
            );
            refusals.refuse(
                address.line,
                object.label(),
                problem,
                "give each uplink addresses of its own",
            );
        } else {
            seen.addresses
                .insert(own, (object.label().to_owned(), address.line));
        }
    }
    addresses
}

/// RFC 8200 §5: a link of IPv6 carries 1280 bytes.
fn least_mtu(
    object: &Object<'_>,
    addresses: &[At<IpNet>],
    mtu: &Option<At<i64>>,
    refusals: &mut Refusals,
) {
    let v6 = addresses.iter().any(|net| net.value.addr().is_ipv6());
    if let Some(At { value, line }) = mtu
        && v6
        && *value < 1280
    {
        let problem = format!("mtu: {value} is less than IPv6 needs on every link");
        let mend = "write 1280 or more, or take the IPv6 provider addresses out";
        refusals.refuse(*line, object.label(), problem, mend);
    }
}

/// The uplink's gateways, one or a list of one for each family: neighbours, and not this host.
fn gateways(object: &Object<'_>, addresses: &[At<IpNet>], refusals: &mut Refusals) -> Vec<IpAddr> {
    let written = if object.items("gateway").is_some() {
        object.set("gateway", fields::provider_gateway, refusals)
    } else {
        let one = object.parsed("gateway", fields::provider_gateway, refusals);
        one.into_iter().collect()
    };
    let mut gateways: Vec<IpAddr> = Vec::new();
    for At { value, line } in written {
        let of_family = |other: &IpAddr| other.is_ipv4() == value.is_ipv4();
        let own = addresses.iter().map(|address| address.value.addr());
        let (problem, mend) = if let Some(other) = gateways.iter().copied().find(of_family) {
            (
                format!("gateway: {value} is a second one beside {other}"),
                "name one router of each family",
            )
        } else if addresses.is_empty() {
            continue;
        } else if own.clone().all(|own| !of_family(&own)) {
            (
                format!("gateway: {value} is of a family of which provider_addresses has none"),
                "add a provider address of that family, or leave the gateway out",
            )
        } else if own.clone().any(|own| own == value) {
            (
                format!("gateway: {value} is this host itself"),
                "name a router, or leave gateway out",
            )
        } else if !fields::is_link_local(value)
            && !addresses.iter().any(|net| net.value.contains(&value))
        {
            (
                format!("gateway: {value} is in no prefix of provider_addresses"),
                "name a router that this uplink reaches directly",
            )
        } else {
            gateways.push(value);
            continue;
        };
        refusals.refuse(line, object.label(), problem, mend);
    }
    gateways
}

fn one_switch(text: &str) -> Result<Name, Fault> {
    let name = fields::name(text)?;
    if &*name != "default" {
        return Err(Fault::new(
            format!(
                "the switch \"{name}\" would be a second one, and this version runs one a host"
            ),
            "write \"default\", or leave switch out",
        ));
    }
    Ok(name)
}

fn neighbors(uplink: &Object<'_>, refusals: &mut Refusals) -> BTreeMap<IpAddr, Mac> {
    let Some(table) = uplink.table("neighbors", refusals) else {
        return BTreeMap::new();
    };
    let mut neighbors = BTreeMap::new();
    for (key, value) in table.value {
        let line = refusals.line(key.span());
        let address = fields::provider_address(key.get_ref());
        let mac = match value.get_ref().as_str() {
            Some(text) => fields::station_mac(text),
            None => Err(Fault::new(
                "a neighbour's MAC address must be a string",
                "put it in quotation marks",
            )),
        };
        match (address, mac) {
            (Ok(address), Ok(mac)) => {
                neighbors.insert(address, mac);
            }
            (address, mac) => {
                for fault in [address.err(), mac.err()].into_iter().flatten() {
                    refusals.refuse(
                        line,
                        uplink.label(),
                        format!("neighbors: {}", fault.problem),
                        fault.mend,
                    );
                }
            }
        }
    }
    neighbors
}

/// Reads one `[[trunk]]`.
pub fn trunk<'d>(
    table: At<&'d Table<'d>>,
    seen: &mut Seen,
    refusals: &mut Refusals,
) -> Option<Trunk> {
    let object = Object::new(
        table,
        label("trunk", &table),
        &["name", "device", "mtu", "by"],
        refusals,
    );
    let name = object.required("name", fields::name, "\"vms\"", refusals);
    seen.name(&name, &object, refusals);
    let device = object.required(
        "device",
        str::parse::<Device>,
        "\"net_af_packet1,iface=vms\"",
        refusals,
    );
    seen.device(&device, &object, refusals);
    let mtu = object
        .integer("mtu", MTU, refusals)
        .and_then(|mtu| u16::try_from(mtu.value).ok());
    let by = object.one_of(
        "by",
        &[("mac", TrunkBy::Mac), ("vlan", TrunkBy::Vlan)],
        refusals,
    );
    let by = by.map_or(TrunkBy::Mac, |by| by.value);
    Some(Trunk {
        name: name?.value,
        device: device?.value,
        mtu,
        by,
        line: object.line(),
    })
}
