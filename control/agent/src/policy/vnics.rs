//! vNICs: the bulk of a policy.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;
use weir_tables::domain::GATEWAY_MAC;
use weir_wire::Mac;

use super::attach::Attach;
use super::bandwidth::{self, Bandwidth, Mode};
use super::model::{Host, Iov, Translation, VfPin, Vnic, gateway_of};
use super::networks::{SubnetCheck, SubnetChecks};
use super::rewrite::ProviderAddresses;
use super::validate::Names;
use super::vnic_set::{Builder, MOST, Vnics};
use crate::config::document::{At, Table, label};
use crate::config::fields::{self, MTU, Name};
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;

const FIELDS: &[&str] = &[
    "name",
    "host",
    "subnet",
    "mac",
    "addresses",
    "attach",
    "provider_addresses",
    "mtu",
    "iov_weight",
    "vf",
    "allowed_sources",
    "allowed_macs",
    "bandwidth",
    "management",
];

/// Who has what, where only one vNIC may have it.
struct Owners<K>(HashMap<K, (Name, Line)>);

impl<K: Hash + Eq> Owners<K> {
    /// Makes `object` the owner of `key`, called `shown`; refused if another vNIC is.
    fn claim(
        &mut self,
        key: K,
        shown: impl Display,
        line: Line,
        (name, object): (&Name, &Object<'_>),
        mend: &str,
        refusals: &mut Refusals,
    ) {
        if let Some((other, at)) = self.0.get(&key) {
            let problem = format!("{shown} is already that of vnic {other} in line {}", at.0);
            refusals.refuse(line, object.label(), problem, mend);
        } else {
            self.0.insert(key, (name.clone(), line));
        }
    }
}

/// What the vNICs read so far have. A subnet stands as its number.
struct Seen {
    names: Names,
    macs: Owners<(u32, Mac)>,
    addresses: Addresses,
    ports: Owners<(Name, String)>,
    without_address: HashSet<Name>,
    provider_addresses: ProviderAddresses,
}

/// Which vNIC addresses there are, as far as they were read.
pub struct Addresses {
    owners: Owners<(u32, IpAddr)>,
    /// Subnets of which an address of a vNIC was refused; `None` for vNICs whose subnet is not known.
    unread: HashSet<Option<u32>>,
}

impl Addresses {
    /// Whether a vNIC of the subnet has this address, or might, had all been read.
    pub fn may_be_held(&self, subnet: u32, address: IpAddr) -> bool {
        self.owners.0.contains_key(&(subnet, address))
            || self.unread.contains(&Some(subnet))
            || self.unread.contains(&None)
    }
}

/// What was read before.
pub struct Around<'a> {
    /// The subnets.
    pub subnets: &'a SubnetChecks,
    /// Hosts of which an address was refused.
    pub unclear: &'a HashSet<Name>,
    /// The hosts that this file describes.
    pub hosts: &'a BTreeMap<Name, Host>,
    /// How the switch shares.
    pub mode: Mode,
    /// Whether the switch is made for SR-IOV; `None` if that was refused.
    pub iov: Option<bool>,
}

/// The vNICs of a policy, while they are read.
pub struct Reader<'a> {
    around: Around<'a>,
    seen: Seen,
    built: Builder,
}

impl<'a> Reader<'a> {
    /// None yet.
    pub fn new(around: Around<'a>) -> Reader<'a> {
        let seen = Seen {
            names: Names::default(),
            macs: Owners(HashMap::new()),
            addresses: Addresses {
                owners: Owners(HashMap::new()),
                unread: HashSet::new(),
            },
            ports: Owners(HashMap::new()),
            without_address: HashSet::new(),
            provider_addresses: ProviderAddresses::of_hosts(around.hosts),
        };
        let built = Builder::default();
        Reader {
            around,
            seen,
            built,
        }
    }

    /// There are some that are no tables: what they would have is not known.
    pub fn not_all(&mut self) {
        self.seen.addresses.unread.insert(None);
        self.seen.names.not_all();
    }

    /// Reads one.
    pub fn one<'d>(&mut self, table: At<&'d Table<'d>>, refusals: &mut Refusals) {
        let Some(vnic) = vnic(table, &self.around, &mut self.seen, refusals) else {
            return;
        };
        let (line, name) = (vnic.line, vnic.name.clone());
        if !self.built.push(vnic) {
            let object = format!("vnic {name}");
            let problem = format!("there are more than {MOST} vNICs");
            let mend = "leave out those that no host of this policy reaches";
            refusals.refuse(line, object, problem, mend);
        }
    }

    /// All of them, and the addresses and the names that they have.
    pub fn finish(self) -> (Vnics, Addresses, Names) {
        (self.built.finish(), self.seen.addresses, self.seen.names)
    }
}

fn vnic<'d>(
    table: At<&'d Table<'d>>,
    around: &Around<'_>,
    seen: &mut Seen,
    refusals: &mut Refusals,
) -> Option<Vnic> {
    let object = Object::new(table, label("vnic", &table), FIELDS, refusals);
    let name = seen.names.read(&object, "\"blue1\"", refusals);
    let host = object.required("host", fields::name, "\"h1\"", refusals);
    let subnet = object.required("subnet", fields::name, "\"blue-web\"", refusals);
    let mac = object.required(
        "mac",
        fields::station_mac,
        "\"02:00:00:00:01:01\"",
        refusals,
    );
    let addresses = object.set("addresses", fields::unicast, refusals);
    let attach = object.parsed("attach", str::parse::<Attach>, refusals);
    let provider_addresses = object.set("provider_addresses", fields::provider_address, refusals);
    let mtu = object
        .integer("mtu", MTU, refusals)
        .and_then(|mtu| u16::try_from(mtu.value).ok());
    let allowed_sources = object.set("allowed_sources", fields::prefix, refusals);
    let allowed_macs = object.set("allowed_macs", fields::station_mac, refusals);
    let bandwidth = match object.table("bandwidth", refusals) {
        Some(table) => bandwidth::of_vnic(table, object.label(), around.mode, refusals),
        None => Bandwidth::default(),
    };
    let management = object.boolean("management", refusals);
    let iov = iov(&object, around.iov, refusals);

    let known = subnet
        .as_ref()
        .and_then(|subnet| around.subnets.get(&subnet.value));
    if let (Some(subnet), None) = (&subnet, known) {
        let problem = format!("subnet: there is no subnet \"{}\"", subnet.value);
        let mend = "name a [[vm_network.subnet]] of this file, or add it";
        refusals.refuse(subnet.line, object.label(), problem, mend);
    }
    if known.is_none() || !object.all_read("addresses", addresses.len()) {
        let number = known.map(|known| known.number);
        seen.addresses.unread.insert(number);
    }
    let called = name.clone().unwrap_or_else(|| object.label().into());
    let who = (&called, &object);
    if let Some(known) = known {
        for address in &addresses {
            if address_fits(address, known, &object, refusals) {
                let (key, shown) = (
                    (known.number, address.value),
                    format!("addresses: {}", address.value),
                );
                let mend = "give each vNIC of a subnet addresses of its own";
                seen.addresses
                    .owners
                    .claim(key, shown, address.line, who, mend, refusals);
            }
        }
    }
    let own = mac.iter().map(|mac| ("mac", mac));
    for (field, mac) in own.chain(allowed_macs.iter().map(|mac| ("allowed_macs", mac))) {
        if mac_fits(field, mac, &object, refusals)
            && let Some(known) = known
        {
            let (key, shown) = (
                (known.stations, mac.value),
                format!("{field}: {}", mac.value),
            );
            let mend = "give each vNIC of a subnet MAC addresses of its own, each written once";
            seen.macs.claim(key, shown, mac.line, who, mend, refusals);
        }
    }
    if let (Some(attach), Some(host)) = (&attach, &host) {
        let macs = mac.iter().chain(&allowed_macs).map(|mac| mac.value);
        for taken in takes(&attach.value, macs) {
            let (key, shown) = (
                (host.value.clone(), taken.clone()),
                format!("attach: {taken} of host {}", host.value),
            );
            let mend = "attach each vNIC of a host to a port, or a place on a trunk, of its own";
            seen.ports
                .claim(key, shown, attach.line, who, mend, refusals);
        }
    }
    if let (
        Some(At {
            value: Iov::Pinned(pin),
            line,
        }),
        Some(host),
    ) = (&iov, &host)
    {
        let (key, shown) = (
            (host.value.clone(), format!("VF {pin}")),
            format!("vf: {pin} of host {}", host.value),
        );
        let mend =
            "pin each vNIC of a host to a VF of its own, or give it iov_weight in place of vf";
        seen.ports.claim(key, shown, *line, who, mend, refusals);
    }
    let rewritten = known.is_some_and(|known| known.translation == Translation::Rewrite);
    if rewritten {
        let claims = &mut seen.provider_addresses;
        claims.claim(&provider_addresses, &addresses, &called, &object, refusals);
    }
    if known.is_some_and(|known| known.bridged) {
        if let Some(address) = provider_addresses.first() {
            let problem = "provider_addresses: a bridged vNIC is reached by its own addresses";
            let mend = "take provider_addresses out";
            refusals.refuse(address.line, object.label(), problem, mend);
        }
    } else if let Some(host) = &host
        && !around.unclear.contains(&host.value)
    {
        // Of a rewritten vNIC they are not its host's.
        let of_host = if rewritten {
            &[][..]
        } else {
            &provider_addresses
        };
        host_carries(host, of_host, seen, around.hosts, &object, refusals);
    }
    if object.has("attach") && attach.is_none() {
        // Refused; without it the vNIC would be refused again, for having none.
        return None;
    }
    let attach_line = attach.as_ref().map_or(object.line(), |attach| attach.line);
    Some(Vnic {
        name: name?,
        host: host?.value,
        subnet: subnet.map_or_else(Name::default, |subnet| subnet.value),
        network: known.map_or_else(Name::default, |known| known.network.clone()),
        mac: mac.map_or(Mac::ZERO, |mac| mac.value),
        addresses: addresses.into_iter().map(|address| address.value).collect(),
        attach: attach.map(|attach| attach.value),
        provider_addresses: provider_addresses
            .into_iter()
            .map(|address| address.value)
            .collect(),
        mtu,
        allowed_sources: allowed_sources
            .into_iter()
            .map(|source| source.value)
            .collect(),
        allowed_macs: allowed_macs.into_iter().map(|mac| mac.value).collect(),
        bandwidth,
        management: management.is_some_and(|own| own.value),
        iov: iov.map_or(Iov::Software, |iov| iov.value),
        line: object.line(),
        attach_line,
    })
}

/// Whether the customer address can be a vNIC's in this subnet.
fn address_fits(
    address: &At<IpAddr>,
    subnet: &SubnetCheck,
    object: &Object<'_>,
    refusals: &mut Refusals,
) -> bool {
    let shown = address.value;
    let Some(prefix) = subnet.prefixes.containing(&shown) else {
        if subnet.prefixes_known {
            let problem = format!("addresses: {shown} is in no prefix of its subnet");
            let mend =
                "use an address inside the subnet's prefixes, or add the prefix to the subnet";
            refusals.refuse(address.line, object.label(), problem, mend);
        }
        return !subnet.prefixes_known;
    };
    let (what, mend) = match prefix {
        _ if shown == gateway_of(prefix) && !subnet.bridged => (
            "the gateway's address, which is the switch's own",
            "use another address: the first of each prefix is answered by the switch on every host",
        ),
        IpNet::V4(_) if shown == prefix.network() => {
            ("the network's address", "use an address between the ends")
        }
        IpNet::V4(_) if shown == prefix.broadcast() => {
            ("the broadcast address", "use an address between the ends")
        }
        IpNet::V6(_) if shown == prefix.network() => (
            "the subnet-router anycast address (RFC 4291 §2.6.1)",
            "use another address",
        ),
        _ => return true,
    };
    refusals.refuse(
        address.line,
        object.label(),
        format!("addresses: {shown} is {what} of {prefix}"),
        mend,
    );
    false
}

/// Whether the MAC address can be a vNIC's.
fn mac_fits(field: &str, mac: &At<Mac>, object: &Object<'_>, refusals: &mut Refusals) -> bool {
    if mac.value != GATEWAY_MAC {
        return true;
    }
    let problem = format!(
        "{field}: {} is the gateway's MAC address, which is the switch's own",
        mac.value
    );
    let mend = "use another address: this one is the gateway's in every subnet";
    refusals.refuse(mac.line, object.label(), problem, mend);
    false
}

/// What of its host an attachment takes for itself alone; `macs` are those the vNIC may send from.
fn takes(attach: &Attach, macs: impl Iterator<Item = Mac>) -> Vec<String> {
    match attach {
        Attach::Port(device) => device.claims(),
        Attach::Trunk {
            port,
            vlan: Some(vlan),
        } => vec![format!("VLAN {vlan} on trunk {port}")],
        Attach::Trunk { port, vlan: None } => macs
            .map(|mac| format!("MAC address {mac} on trunk {port}"))
            .collect(),
    }
}

/// That the vNIC's host, if this file describes it, has a provider address, and the one that the vNIC names.
fn host_carries(
    at: &At<Name>,
    own: &[At<std::net::IpAddr>],
    seen: &mut Seen,
    hosts: &BTreeMap<Name, Host>,
    object: &Object<'_>,
    refusals: &mut Refusals,
) {
    if let Some(second) = own.get(1) {
        let problem =
            "provider_addresses: a vNIC of an NVGRE subnet is reached by one provider address";
        refusals.refuse(
            second.line,
            object.label(),
            problem,
            "list one, or none for its host's first",
        );
    }
    let Some(host) = hosts.get(&at.value) else {
        return;
    };
    if host.provider_addresses.is_empty() {
        // Once a host: its other vNICs want the same mend.
        if seen.without_address.insert(at.value.clone()) {
            let problem = format!(
                "PA missing: {} is on this host, which has no provider address",
                object.label()
            );
            let mend = "add provider_addresses = [\"192.168.50.2\"] with the host's own address";
            refusals.refuse(host.line, format!("host {}", at.value), problem, mend);
        }
        return;
    }
    for address in own
        .iter()
        .filter(|address| !host.provider_addresses.contains(&address.value))
    {
        let problem = format!(
            "provider_addresses: {} is not one of host {}",
            address.value, at.value
        );
        let mend = "use one of the host's provider addresses, or leave it out for the first";
        refusals.refuse(address.line, object.label(), problem, mend);
    }
}

/// Reads what a vNIC asks of SR-IOV; refused where the switch is not made for it.
fn iov(object: &Object<'_>, made: Option<bool>, refusals: &mut Refusals) -> Option<At<Iov>> {
    let weight = object.integer("iov_weight", 0..=100, refusals);
    let pin = object.parsed("vf", str::parse::<VfPin>, refusals);
    for (field, line) in [
        ("iov_weight", weight.as_ref().map(|it| it.line)),
        ("vf", pin.as_ref().map(|it| it.line)),
    ] {
        if let Some(line) = line
            && made == Some(false)
        {
            let problem = format!("{field}: the switch is not made for SR-IOV");
            let mend = format!(
                "write iov = true at [[switch]] name = \"default\" before its daemons start, or take {field} out"
            );
            refusals.refuse(line, object.label(), problem, mend);
        }
    }
    match (weight, pin) {
        (Some(_), Some(pin)) => {
            let problem = "vf: the vNIC has iov_weight, too, which is for a VF that Weir chooses";
            refusals.refuse(pin.line, object.label(), problem, "leave one of the two");
            None
        }
        (None, Some(At { value, line })) => Some(At {
            value: Iov::Pinned(value),
            line,
        }),
        (Some(At { value, line }), None) => {
            let value = match u8::try_from(value) {
                Ok(0) | Err(_) => Iov::Software,
                Ok(weight) => Iov::Weight(weight),
            };
            Some(At { value, line })
        }
        (None, None) => None,
    }
}
