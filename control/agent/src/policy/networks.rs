//! VM networks and their subnets.

use std::collections::HashMap;

use ipnet::IpNet;
use weir_wire::Vsid;

use super::isolation::{self, Bridged, Written};
use super::model::{Isolation, Network, Policy, SegmentKey, Subnet, Translation};
use super::prefixes::{Overlap, Prefixes};
use super::routes::{self, Ground, NextHop};
use super::to_many;
use super::validate::Names;
use crate::config::document::{At, Table, called, label};
use crate::config::fields::{self, Fault, Name};
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;

/// What vNICs need to know of a subnet besides what it is.
pub struct SubnetCheck {
    /// Its number, in the file's order.
    pub number: u32,
    /// The VM network that it is of.
    pub network: Name,
    /// Whether it is on the uplink's own network: the switch has no address in it.
    pub bridged: bool,
    /// The number under which its MAC addresses are told apart: its own, or in a bridged VM network that of the first subnet.
    pub stations: u32,
    /// Its prefixes.
    pub prefixes: Prefixes,
    /// How its packets travel between hosts.
    pub translation: Translation,
    /// Whether all of its prefixes were read: if not, an address outside them may be right.
    pub prefixes_known: bool,
}

/// Subnets by name; those that were refused too, so that their vNICs are not refused on their account.
pub type SubnetChecks = HashMap<Name, SubnetCheck>;

#[derive(Default)]
struct Seen {
    names: Names,
    vsids: HashMap<i64, (String, Line)>,
    bridged: Bridged,
    checks: SubnetChecks,
}

impl Seen {
    /// The number of the next subnet.
    fn number(&self) -> u32 {
        u32::try_from(self.checks.len()).unwrap_or(u32::MAX)
    }
}

/// A prefix and who has it.
struct Claim {
    prefix: At<IpNet>,
    label: String,
    /// The subnet's number.
    subnet: u32,
    /// How its packets travel between hosts.
    translation: Translation,
}

/// The prefixes of one VM network.
struct Claims {
    list: Vec<Claim>,
    /// Whether they are all that is written, each of a subnet that has a usable name.
    known: bool,
}

/// What the rest of the file is held against.
pub struct Around {
    /// The subnets.
    pub subnets: SubnetChecks,
    /// The next hops of which a vNIC is to be found.
    pub next_hops: Vec<NextHop>,
}

/// Reads every VM network into `policy`.
pub fn read(file: &Object<'_>, policy: &mut Policy, refusals: &mut Refusals) -> Around {
    let (mut names, mut seen) = (Names::default(), Seen::default());
    let mut next_hops = Vec::new();
    for table in file.tables("vm_network", "vm_network", refusals) {
        let fields = &["name", "isolation", "vlan", "mss_clamp", "subnet", "route"];
        let object = Object::new(table, label("vm_network", &table), fields, refusals);
        let written = isolation::read(&object, &mut seen.bridged, refusals);
        let mss_clamp = object.boolean("mss_clamp", refusals);
        if let Some(clamp) = &mss_clamp
            && clamp.value
            && written.isolation != Isolation::Nv
        {
            let problem = "mss_clamp: a bridged VM network has no outer headers to make room for";
            refusals.refuse(clamp.line, object.label(), problem, "take mss_clamp out");
        }
        // Subnets of a network that has no usable name are read all the same, for what is wrong in them.
        let name = names.read(&object, "\"blue\"", refusals);
        let network: Name = name
            .clone()
            .unwrap_or_else(|| called(table.value, "name").unwrap_or_default().into());
        let subnets = object.tables("subnet", "vm_network.subnet", refusals);
        let mut claims = Claims {
            list: Vec::new(),
            known: object.all_read("subnet", subnets.len()),
        };
        let within = Within {
            network: &network,
            written,
            first: seen.number(),
        };
        for table in subnets {
            if let Some(subnet) = subnet(table, &within, &mut seen, &mut claims, refusals) {
                policy.subnets.insert(subnet.name.clone(), subnet);
            }
        }
        let ground = ground(&claims, refusals);
        match written.bridged {
            Some(_) => refuse_virtual(&object, written, refusals),
            None => routes::read(&object, &network, &ground, policy, &mut next_hops, refusals),
        }
        let Some(name) = name else { continue };
        policy.networks.insert(
            name.clone(),
            Network {
                name,
                isolation: written.isolation,
                bridged: written.bridged,
                mss_clamp: mss_clamp.is_some_and(|clamp| clamp.value),
                line: object.line(),
            },
        );
    }
    Around {
        subnets: seen.checks,
        next_hops,
    }
}

/// A VM network, while its subnets are read.
struct Within<'a> {
    network: &'a Name,
    written: Written,
    /// The number of its first subnet, which stands for all of them where they are one segment.
    first: u32,
}

/// That a bridged VM network asks for nothing that only a router of the switch's own, or NVGRE, could do.
fn refuse_virtual(object: &Object<'_>, written: Written, refusals: &mut Refusals) {
    let word = written.word();
    for table in object.tables("route", "vm_network.route", refusals) {
        let problem = format!(
            "route: in a VM network of isolation \"{word}\" the uplink's own network routes, not the switch"
        );
        let mend = "take the route out, and write it in the VMs or in that network's router";
        refusals.refuse(table.line, object.label(), problem, mend);
    }
}

fn subnet<'d>(
    table: At<&'d Table<'d>>,
    within: &Within<'_>,
    seen: &mut Seen,
    claims: &mut Claims,
    refusals: &mut Refusals,
) -> Option<Subnet> {
    let fields = &[
        "name",
        "vsid",
        "prefixes",
        "translation",
        to_many::COPIES,
        to_many::GROUP,
    ];
    let object = Object::new(table, label("subnet", &table), fields, refusals);
    let segment = match within.written.bridged {
        Some(key) => {
            refuse_tunnel(&object, within.written, refusals);
            Some(key)
        }
        None => vsid(&object, within.written.isolation, seen, refusals).map(SegmentKey::Virtual),
    };
    let to_many = to_many::read(&object, refusals);
    let prefixes = object.list("prefixes", subnet_prefix, refusals);
    let written = object.items("prefixes");
    if !object.has("prefixes") || written == Some(0) {
        object.missing("prefixes", "[\"10.1.0.0/24\"]", refusals);
    }
    let words = [
        ("nvgre", Translation::Nvgre),
        ("rewrite", Translation::Rewrite),
    ];
    let translation = object.one_of("translation", &words, refusals);
    let translation = translation.map_or(Translation::Nvgre, |written| written.value);
    if to_many.group.is_some() && translation == Translation::Rewrite {
        let problem = "multicast_group: a subnet that is rewritten carries unicast alone";
        let mend = "take multicast_group out, or write translation = \"nvgre\"";
        refusals.refuse(object.line(), object.label(), problem, mend);
    }
    let name = seen.names.read(&object, "\"blue-web\"", refusals);
    let number = seen.number();
    let prefixes_known = !prefixes.is_empty() && written == Some(prefixes.len());
    claims.known &= prefixes_known && name.is_some();
    claims.list.extend(prefixes.iter().map(|prefix| Claim {
        prefix: *prefix,
        label: object.label().to_owned(),
        subnet: number,
        translation,
    }));
    let name = name?;
    let prefixes: Vec<IpNet> = prefixes.into_iter().map(|prefix| prefix.value).collect();
    let check = SubnetCheck {
        number,
        network: within.network.clone(),
        bridged: within.written.bridged.is_some(),
        stations: match within.written.bridged {
            Some(_) => within.first,
            None => number,
        },
        prefixes: Prefixes::of(&prefixes).0,
        prefixes_known,
        translation,
    };
    seen.checks.insert(name.clone(), check);
    let (network, line) = (within.network.clone(), object.line());
    Some(Subnet {
        name,
        network,
        segment: segment?,
        prefixes,
        translation,
        to_many,
        line,
    })
}

/// That a subnet of a bridged VM network asks for nothing of a tunnel.
fn refuse_tunnel(object: &Object<'_>, written: Written, refusals: &mut Refusals) {
    let word = written.word();
    let vsid = object.integer("vsid", i64::MIN..=i64::MAX, refusals);
    if let Some(vsid) = vsid {
        let problem = format!(
            "vsid: frames of a VM network of isolation \"{word}\" travel as they are and bear no VSID"
        );
        let mend = "take vsid out, or write isolation = \"nv\"";
        refusals.refuse(vsid.line, object.label(), problem, mend);
    }
    for field in [to_many::COPIES, to_many::GROUP] {
        if object.has(field) {
            let problem = format!(
                "{field}: frames of a VM network of isolation \"{word}\" go to the members here and once to the wire"
            );
            let mend = format!("take {field} out, or write isolation = \"nv\"");
            refusals.refuse(object.line(), object.label(), problem, mend);
        }
    }
    if let Some(translation) = object.parsed("translation", |_| Ok(()), refusals) {
        let problem = format!(
            "translation: frames of a VM network of isolation \"{word}\" travel as they are"
        );
        let mend = "take translation out, or write isolation = \"nv\"";
        refusals.refuse(translation.line, object.label(), problem, mend);
    }
}

/// RFC 7637 §3.4: 0 to 0xFFF are reserved, 0xFFFFFF is for vendors.
fn vsid(
    object: &Object<'_>,
    isolation: Isolation,
    seen: &mut Seen,
    refusals: &mut Refusals,
) -> Option<Vsid> {
    if !object.has("vsid") && isolation == Isolation::Nv {
        object.missing("vsid", "5001", refusals);
    }
    let vsid = object.integer("vsid", i64::MIN..=i64::MAX, refusals)?;
    let usable = u32::try_from(vsid.value).ok().and_then(Vsid::new);
    if usable.is_none() {
        let why = match vsid.value {
            0..=0xFFF => "reserved",
            0xFF_FFFF => "for vendors",
            _ => "not of 24 bits",
        };
        let problem = format!("vsid: {} is {why} (RFC 7637 §3.4)", vsid.value);
        refusals.refuse(
            vsid.line,
            object.label(),
            problem,
            "use one of 4096 to 16777214",
        );
    } else if let Some((other, line)) = seen.vsids.get(&vsid.value) {
        let problem = format!(
            "vsid: {} is already that of {other} in line {}",
            vsid.value, line.0
        );
        refusals.refuse(
            vsid.line,
            object.label(),
            problem,
            "give each subnet a VSID of its own",
        );
    } else {
        seen.vsids
            .insert(vsid.value, (object.label().to_owned(), vsid.line));
    }
    usable
}

/// A prefix with room for the gateway's address and a VM's.
fn subnet_prefix(text: &str) -> Result<IpNet, Fault> {
    let prefix = fields::prefix(text)?;
    let longest = prefix.max_prefix_len() - 2;
    if prefix.prefix_len() > longest {
        return Err(Fault::new(
            format!("{prefix} has no room for the gateway's address and a VM's"),
            format!("use a prefix of /{longest} or shorter"),
        ));
    }
    if prefix.network().is_multicast() || prefix.network().is_loopback() {
        let problem = format!("{prefix} holds addresses that no machine can have");
        return Err(Fault::new(problem, "use a prefix of unicast addresses"));
    }
    Ok(prefix)
}

/// What the VM network's routes are held against.
fn ground(claims: &Claims, refusals: &mut Refusals) -> Ground {
    let list = &claims.list;
    let prefixes: Vec<IpNet> = list.iter().map(|claim| claim.prefix.value).collect();
    let (set, overlaps) = Prefixes::of(&prefixes);
    refuse_overlaps(list, &overlaps, refusals);
    let subnets = list.iter().map(|claim| (claim.prefix.value, claim.subnet));
    let rewritten = list.iter();
    let rewritten = rewritten.filter(|claim| claim.translation == Translation::Rewrite);
    let rewritten = rewritten.map(|claim| claim.prefix.value);
    Ground {
        prefixes: set,
        subnets: subnets.collect(),
        rewritten: rewritten.collect(),
        known: claims.known && overlaps.is_empty(),
    }
}

fn refuse_overlaps(claims: &[Claim], overlaps: &[Overlap], refusals: &mut Refusals) {
    for overlap in overlaps {
        let (first, second) = (
            overlap.outer.min(overlap.inner),
            overlap.outer.max(overlap.inner),
        );
        let (first, second) = (&claims[first], &claims[second]);
        let problem = format!(
            "prefixes: {} overlaps {} of {} in line {}",
            second.prefix.value, first.prefix.value, first.label, first.prefix.line.0
        );
        let mend = "give the subnets of a VM network prefixes that are apart";
        refusals.refuse(second.prefix.line, &second.label, problem, mend);
    }
}
