//! VM networks and their subnets.

use std::collections::HashMap;

use ipnet::IpNet;
use weir_wire::Vsid;

use super::model::{Isolation, Network, Policy, SegmentKey, Subnet, Translation};
use super::prefixes::{Overlap, Prefixes};
use super::routes::{self, Ground, NextHop};
use super::validate::Names;
use crate::config::document::{At, Table, called, label};
use crate::config::fields::{self, Fault, Name, VLAN};
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;

/// What vNICs need to know of a subnet besides what it is.
pub struct SubnetCheck {
    /// Its number, in the file's order.
    pub number: u32,
    /// The VM network that it is of.
    pub network: Name,
    /// Its prefixes.
    pub prefixes: Prefixes,
    /// Whether all of its prefixes were read: if not, an address outside them may be right.
    pub prefixes_known: bool,
}

/// Subnets by name; those that were refused too, so that their vNICs are not refused on their account.
pub type SubnetChecks = HashMap<Name, SubnetCheck>;

#[derive(Default)]
struct Seen {
    names: Names,
    vsids: HashMap<i64, (String, Line)>,
    checks: SubnetChecks,
}

/// A prefix and who has it.
struct Claim {
    prefix: At<IpNet>,
    label: String,
    /// The subnet's number.
    subnet: u32,
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
        let fields = &["name", "isolation", "vlan", "subnet", "route"];
        let object = Object::new(table, label("vm_network", &table), fields, refusals);
        let isolation = isolation(&object, refusals);
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
        for table in subnets {
            if let Some(subnet) =
                subnet(table, &network, isolation, &mut seen, &mut claims, refusals)
            {
                policy.subnets.insert(subnet.name.clone(), subnet);
            }
        }
        let ground = ground(&claims, refusals);
        routes::read(&object, &network, &ground, policy, &mut next_hops, refusals);
        let Some(name) = name else { continue };
        policy.networks.insert(
            name.clone(),
            Network {
                name,
                isolation: Isolation::Nv,
                line: object.line(),
            },
        );
    }
    Around {
        subnets: seen.checks,
        next_hops,
    }
}

/// The isolation that is written; refused unless this version carries it.
fn isolation(object: &Object<'_>, refusals: &mut Refusals) -> Isolation {
    let words = [
        ("none", Isolation::None),
        ("vlan", Isolation::Vlan),
        ("nv", Isolation::Nv),
        ("external", Isolation::External),
    ];
    if !object.has("isolation") {
        object.missing("isolation", "\"nv\"", refusals);
    }
    let written = object.one_of("isolation", &words, refusals);
    let isolation = written.map_or(Isolation::Nv, |isolation| isolation.value);
    let vlan = object.integer("vlan", VLAN, refusals);
    if let Some(written) = written {
        let problem = match written.value {
            Isolation::Nv => None,
            Isolation::None => Some(
                "isolation: a VM network bridged untagged to its uplink is not built in this version",
            ),
            Isolation::Vlan => {
                Some("isolation: a VM network in a VLAN is not built in this version")
            }
            Isolation::External => Some(
                "isolation: there is no forwarding extension that could take \"external\" over",
            ),
        };
        if let Some(problem) = problem {
            refusals.refuse(
                written.line,
                object.label(),
                problem,
                "write isolation = \"nv\"",
            );
        }
    }
    if let Some(vlan) = vlan
        && isolation != Isolation::Vlan
    {
        let problem = "vlan: only a VM network of isolation \"vlan\" has one";
        refusals.refuse(vlan.line, object.label(), problem, "take vlan out");
    }
    isolation
}

fn subnet<'d>(
    table: At<&'d Table<'d>>,
    network: &Name,
    isolation: Isolation,
    seen: &mut Seen,
    claims: &mut Claims,
    refusals: &mut Refusals,
) -> Option<Subnet> {
    let fields = &["name", "vsid", "prefixes", "translation"];
    let object = Object::new(table, label("subnet", &table), fields, refusals);
    let vsid = vsid(&object, isolation, seen, refusals);
    let prefixes = object.list("prefixes", subnet_prefix, refusals);
    let written = object.items("prefixes");
    if !object.has("prefixes") || written == Some(0) {
        object.missing("prefixes", "[\"10.1.0.0/24\"]", refusals);
    }
    let words = [
        ("nvgre", Translation::Nvgre),
        ("rewrite", Translation::Rewrite),
    ];
    if let Some(At {
        value: Translation::Rewrite,
        line,
    }) = object.one_of("translation", &words, refusals)
    {
        let problem = "translation: IP rewrite is not built in this version";
        refusals.refuse(
            line,
            object.label(),
            problem,
            "write translation = \"nvgre\", or leave it out",
        );
    }
    let name = seen.names.read(&object, "\"blue-web\"", refusals);
    let number = u32::try_from(seen.checks.len()).unwrap_or(u32::MAX);
    let prefixes_known = !prefixes.is_empty() && written == Some(prefixes.len());
    claims.known &= prefixes_known && name.is_some();
    claims.list.extend(prefixes.iter().map(|prefix| Claim {
        prefix: *prefix,
        label: object.label().to_owned(),
        subnet: number,
    }));
    let name = name?;
    let prefixes: Vec<IpNet> = prefixes.into_iter().map(|prefix| prefix.value).collect();
    let check = SubnetCheck {
        number,
        network: network.clone(),
        prefixes: Prefixes::of(&prefixes).0,
        prefixes_known,
    };
    seen.checks.insert(name.clone(), check);
    let (network, line) = (network.clone(), object.line());
    Some(Subnet {
        name,
        network,
        segment: SegmentKey::Virtual(vsid?),
        prefixes,
        translation: Translation::Nvgre,
        line,
    })
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
    Ground {
        prefixes: set,
        subnets: subnets.collect(),
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
