//! A policy from its text: the file, its hosts and its switches.
//!
//! What is wrong is refused and reading goes on, with a harmless value in the wrong one's place, so that one mistake
//! does not bring a second refusal along. The draft that comes of it is used only if nothing was refused.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::bandwidth::Mode;
use super::model::{BandwidthMode, Host, Policy, Switch};
use super::{dcb, networks, routes, traffic_class, vnics};
use crate::config::document::{At, Table, label, parse};
use crate::config::fields::{self, Name};
use crate::config::pieces::{self, Pieces};
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;
use crate::halt::Halt;
use crate::stats::PolicyError;

/// Reads `text`; `check` says what else is wrong with the draft.
///
/// vNICs, the bulk, are read one after another, each from its own piece of the text; where that cannot be, or a piece is no TOML,
/// the whole is read as one document.
pub fn read(
    text: &str,
    origin: &str,
    halt: &Halt,
    check: impl Fn(&Policy) -> Vec<PolicyError>,
) -> Result<Policy, Vec<PolicyError>> {
    if let Some(pieces) = pieces::cut(text, VNIC)
        && let Some(read) = in_pieces(pieces, origin, halt, &check)
    {
        halt.check(origin)?;
        return read;
    }
    let mut refusals = Refusals::new(origin, text);
    let Some(root) = parse(text, &mut refusals) else {
        return Err(refusals.into_sorted());
    };
    document(&root, origin, refusals, check, |file, reader, refusals| {
        let tables = file.tables(VNIC, VNIC, refusals);
        if !file.all_read(VNIC, tables.len()) {
            reader.not_all();
        }
        for table in tables {
            reader.one(table, refusals);
        }
        Some(())
    })
    .unwrap_or_else(|| Err(Vec::new()))
}

/// Reads a text that was cut; `None` if it must be read as a whole.
fn in_pieces(
    pieces: Pieces<'_>,
    origin: &str,
    halt: &Halt,
    check: impl Fn(&Policy) -> Vec<PolicyError>,
) -> Option<Result<Policy, Vec<PolicyError>>> {
    let mut refusals = Refusals::new(origin, "");
    refusals.within_lines(pieces.rest_lines);
    let root = parse(&pieces.rest, &mut refusals)?;
    if root.contains_key(VNIC) {
        return None;
    }
    document(&root, origin, refusals, check, |_, reader, refusals| {
        for (line, piece) in pieces.each {
            if halt.asked() {
                break;
            }
            refusals.within(piece, line);
            let root = parse(piece, refusals)?;
            let vnics = root.get(VNIC)?;
            let mut vnics = vnics.get_ref().as_array()?.iter();
            let (Some(vnic), None) = (vnics.next(), vnics.next()) else {
                return None;
            };
            let line = refusals.line(vnic.span());
            let value = vnic.get_ref().as_table()?;
            reader.one(At { value, line }, refusals);
        }
        Some(())
    })
}

/// Reads a document, with `vnics` for its vNICs; `None` if that says so.
fn document<'d>(
    root: &'d Table<'d>,
    origin: &str,
    mut refusals: Refusals,
    check: impl Fn(&Policy) -> Vec<PolicyError>,
    vnics: impl FnOnce(&Object<'d>, &mut vnics::Reader<'_>, &mut Refusals) -> Option<()>,
) -> Option<Result<Policy, Vec<PolicyError>>> {
    let mut policy = Policy {
        origin: origin.to_owned(),
        ..Policy::default()
    };
    let root = At {
        value: root,
        line: Line(1),
    };
    let fields = &["host", "switch", "vm_network", "traffic_class", "vnic"];
    let file = Object::new(root, "the policy".into(), fields, &mut refusals);
    let unclear = hosts(&file, &mut policy, &mut refusals);
    let (mode, iov) = switches(&file, &mut policy, &mut refusals);
    let networks = networks::read(&file, &mut policy, &mut refusals);
    let named = traffic_class::read(&file, mode, &mut policy, &mut refusals);
    let around = vnics::Around {
        subnets: &networks.subnets,
        unclear: &unclear,
        hosts: &policy.hosts,
        mode,
        iov,
    };
    let mut reader = vnics::Reader::new(around);
    vnics(&file, &mut reader, &mut refusals)?;
    let (set, addresses, vnics) = reader.finish();
    policy.vnics = set;
    traffic_class::check(named, |name| vnics.may_have(name), &mut refusals);
    routes::check(&networks.next_hops, &addresses, &mut refusals);
    let also = check(&policy).into_iter().filter(|refusal| {
        let host = refusal.object.strip_prefix("host ");
        !host.is_some_and(|host| unclear.contains(host))
    });
    let mut found = refusals.into_sorted();
    found.extend(also);
    if found.is_empty() {
        return Some(Ok(policy));
    }
    found.sort_by_key(|refusal| refusal.line);
    Some(Err(found))
}

/// The kind that a long policy is full of.
const VNIC: &str = "vnic";

/// What the objects of one kind that have been read are called, and where they are.
#[derive(Default)]
pub struct Names {
    lines: HashMap<Name, Line>,
    /// Whether there are objects whose names are not known.
    unread: bool,
}

impl Names {
    /// There are some whose names are not known.
    pub fn not_all(&mut self) {
        self.unread = true;
    }

    /// Whether there is one of this name, or might be, had all been read.
    pub fn may_have(&self, name: &str) -> bool {
        self.unread || self.lines.contains_key(name)
    }

    /// The name of `object`, unless it has none or another object of the kind has it already.
    pub fn read(
        &mut self,
        object: &Object<'_>,
        example: &str,
        refusals: &mut Refusals,
    ) -> Option<Name> {
        let Some(name) = object.required("name", fields::name, example, refusals) else {
            self.unread = true;
            return None;
        };
        if let Some(first) = self.lines.get(&name.value) {
            let problem = format!("the name is taken by the one in line {}", first.0);
            refusals.refuse(
                name.line,
                object.label(),
                problem,
                "give each a name of its own",
            );
            return None;
        }
        self.lines.insert(name.value.clone(), object.line());
        Some(name.value)
    }
}

/// Reads hosts, and returns those of which an address was refused: what they have is not known.
fn hosts(file: &Object<'_>, policy: &mut Policy, refusals: &mut Refusals) -> HashSet<Name> {
    let mut unclear = HashSet::new();
    let mut names = Names::default();
    let mut owners: HashMap<IpAddr, (String, Line)> = HashMap::new();
    for table in file.tables("host", "host", refusals) {
        let object = Object::new(
            table,
            label("host", &table),
            &["name", "provider_addresses", "ecn"],
            refusals,
        );
        let addresses = object.set("provider_addresses", fields::provider_address, refusals);
        for address in &addresses {
            if let Some((other, line)) = owners.get(&address.value) {
                let problem = format!(
                    "provider_addresses: {} is already that of {other} in line {}",
                    address.value, line.0
                );
                refusals.refuse(
                    address.line,
                    object.label(),
                    problem,
                    "give each host addresses of its own",
                );
            } else {
                owners.insert(address.value, (object.label().to_owned(), address.line));
            }
        }
        let ecn = object.boolean("ecn", refusals);
        let Some(name) = names.read(&object, "\"h1\"", refusals) else {
            continue;
        };
        if object.has("provider_addresses")
            && object.items("provider_addresses") != Some(addresses.len())
        {
            unclear.insert(name.clone());
        }
        let host = Host {
            name: name.clone(),
            ecn: ecn.is_none_or(|written| written.value),
            line: object.line(),
            addresses_line: addresses
                .first()
                .map_or(object.line(), |address| address.line),
            provider_addresses: addresses.into_iter().map(|address| address.value).collect(),
        };
        policy.hosts.insert(name, host);
    }
    unclear
}

/// Reads switches, and returns how the one that there is shares, and whether it is made for SR-IOV, if that was not refused.
fn switches(
    file: &Object<'_>,
    policy: &mut Policy,
    refusals: &mut Refusals,
) -> (Mode, Option<bool>) {
    let mut names = Names::default();
    let mut how = Mode {
        mode: Some(BandwidthMode::None),
        line: Line(0),
    };
    let mut made = Some(false);
    for table in file.tables("switch", "switch", refusals) {
        let fields = &["name", "bandwidth_mode", "iov", "dcb"];
        let object = Object::new(table, label("switch", &table), fields, refusals);
        let modes = [
            BandwidthMode::Weight,
            BandwidthMode::Absolute,
            BandwidthMode::None,
        ]
        .map(|mode| (mode.word(), mode));
        let mode = object.one_of("bandwidth_mode", &modes, refusals);
        if object.has("bandwidth_mode") {
            how = Mode {
                mode: mode.map(|mode| mode.value),
                line: mode.map_or(object.line(), |mode| mode.line),
            };
        }
        let dcb = dcb::read(&object, refusals);
        let iov = object.boolean("iov", refusals).map(|iov| iov.value);
        if object.has("iov") {
            made = iov;
        }
        let Some(name) = names.read(&object, "\"default\"", refusals) else {
            continue;
        };
        if &*name != "default" {
            let problem = "this version runs one switch a host, the one named \"default\"";
            refusals.refuse(
                object.line(),
                object.label(),
                problem,
                "name it \"default\", or take it out",
            );
        }
        let line = object.line();
        policy.switches.insert(
            name.clone(),
            Switch {
                name,
                bandwidth_mode: mode.map_or(BandwidthMode::None, |mode| mode.value),
                dcb,
                iov: iov.unwrap_or_default(),
                line,
            },
        );
    }
    policy
        .switches
        .entry("default".into())
        .or_insert_with(|| Switch {
            name: "default".into(),
            bandwidth_mode: BandwidthMode::None,
            dcb: Vec::new(),
            iov: false,
            line: Line(0),
        });
    (how, made)
}
