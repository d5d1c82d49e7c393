//! A packed policy as bytes: little-endian, lists and texts with their length before them. vNICs lie as they do in memory, a row
//! of 32 bytes each, so that millions are read in a second.

mod bytes;
mod classes;
mod vnics;

pub use bytes::{Input, Output};

use std::io::{Read, Write};
use std::sync::Arc;

use weir_wire::Vsid;

use super::Refused;
use crate::policy::vnic_set::Row;
use crate::policy::{
    Host, Isolation, Network, Policy, Route, SegmentKey, Subnet, ToMany, Translation,
};

/// Bytes of a vNIC's row.
const ROW: usize = 32;
/// Bytes that are read at once.
const CHUNK: usize = ROW << 15;

/// Writes a policy.
pub fn write<W: Write>(policy: &Policy, to: &mut Output<W>) -> std::io::Result<()> {
    to.text(&policy.origin)?;
    to.list(policy.hosts.values(), |to, host| {
        to.text(&host.name)?;
        to.addresses(&host.provider_addresses)?;
        to.u8(u8::from(host.ecn))?;
        to.u32(host.line.0)?;
        to.u32(host.addresses_line.0)
    })?;
    to.list(policy.switches.values(), classes::switch)?;
    to.list(policy.networks.values(), |to, network| {
        to.text(&network.name)?;
        to.u8(match network.isolation {
            Isolation::None => 0,
            Isolation::Vlan => 1,
            Isolation::Nv => 2,
            Isolation::External => 3,
        })?;
        to.optional(network.bridged, segment)?;
        to.u8(u8::from(network.mss_clamp))?;
        to.u32(network.line.0)
    })?;
    to.list(policy.subnets.values(), |to, subnet| {
        to.text(&subnet.name)?;
        to.text(&subnet.network)?;
        segment(to, subnet.segment)?;
        to.list(subnet.prefixes.iter(), Output::net)?;
        to.u8(u8::from(subnet.translation == Translation::Rewrite))?;
        to.optional(subnet.to_many.copies, Output::u32)?;
        to.optional(subnet.to_many.group, |to, group| to.bytes(&group.octets()))?;
        to.u32(subnet.line.0)
    })?;
    to.list(policy.routes.iter(), |to, route| {
        to.text(&route.network)?;
        to.net(&route.prefix)?;
        to.address(route.via)?;
        to.u32(route.metric)?;
        to.u32(route.line.0)
    })?;
    to.list(policy.traffic_classes.iter(), classes::class)?;
    vnics::vnics(&policy.vnics, to)
}

fn segment<W: Write>(to: &mut Output<W>, key: SegmentKey) -> std::io::Result<()> {
    let (kind, value) = match key {
        SegmentKey::Virtual(vsid) => (0, vsid.get()),
        SegmentKey::Flat => (1, 0),
        SegmentKey::Vlan(vlan) => (2, u32::from(vlan)),
    };
    to.u8(kind)?;
    to.u32(value)
}

/// Reads a policy. What it returns is to be [checked](check) when its sum is known to be right.
pub fn read<R: Read>(from: &mut Input<R>) -> Result<Policy, Refused> {
    let mut policy = Policy {
        origin: from.text()?,
        ..Policy::default()
    };
    for host in from.list(8, |from| {
        Ok(Host {
            name: from.name()?,
            provider_addresses: from.addresses()?,
            ecn: from.bool()?,
            line: from.line()?,
            addresses_line: from.line()?,
        })
    })? {
        policy.hosts.insert(host.name.clone(), host);
    }
    for switch in from.list(8, classes::read_switch)? {
        policy.switches.insert(switch.name.clone(), switch);
    }
    for network in from.list(8, |from| {
        Ok(Network {
            name: from.name()?,
            isolation: match from.u8()? {
                0 => Isolation::None,
                1 => Isolation::Vlan,
                2 => Isolation::Nv,
                3 => Isolation::External,
                _ => return Err(Refused::Damaged("no isolation that there is")),
            },
            bridged: from.optional(read_segment)?,
            mss_clamp: from.bool()?,
            line: from.line()?,
        })
    })? {
        policy.networks.insert(network.name.clone(), network);
    }
    for subnet in from.list(8, |from| {
        Ok(Subnet {
            name: from.name()?,
            network: from.name()?,
            segment: read_segment(from)?,
            prefixes: from.list(6, Input::net)?,
            translation: match from.bool()? {
                true => Translation::Rewrite,
                false => Translation::Nvgre,
            },
            to_many: ToMany {
                copies: from.optional(Input::u32)?,
                group: from.optional(|from| from.bytes::<4>().map(Into::into))?,
            },
            line: from.line()?,
        })
    })? {
        policy.subnets.insert(subnet.name.clone(), subnet);
    }
    policy.routes = from.list(8, |from| {
        Ok(Route {
            network: from.name()?,
            prefix: from.net()?,
            via: from.address()?,
            metric: from.u32()?,
            line: from.line()?,
        })
    })?;
    policy.traffic_classes = from.list(8, classes::read_class)?;
    policy.vnics = vnics::read_vnics(from)?;
    Ok(policy)
}

fn read_segment<R: Read>(from: &mut Input<R>) -> Result<SegmentKey, Refused> {
    let odd = Refused::Damaged("no segment that there is");
    match (from.u8()?, from.u32()?) {
        (0, vsid) => Vsid::new(vsid).map(SegmentKey::Virtual).ok_or(odd),
        (1, _) => Ok(SegmentKey::Flat),
        (2, vlan) => u16::try_from(vlan).map(SegmentKey::Vlan).map_err(|_| odd),
        _ => Err(odd),
    }
}

/// What a sum cannot say: that it is a policy at all, whoever wrote it.
pub fn check(policy: &Policy) -> Result<(), Refused> {
    let vnics = &policy.vnics;
    let is_there = |row: &Row| {
        (row.host as usize) < vnics.hosts.len()
            && (row.subnet as usize) < vnics.subnets.len()
            && row.has_more_of(vnics.more.len())
            && row.has_profile_of(vnics.profiles.len())
    };
    if !vnics.rows.iter().all(is_there) {
        return Err(Refused::Damaged("a vNIC names what is not there"));
    }
    if !vnics.iter().is_sorted_by(|a, b| a.name() < b.name())
        || vnics
            .iter()
            .next()
            .is_some_and(|first| first.name().is_empty())
    {
        return Err(Refused::Damaged(
            "vNICs are not in the order of their names",
        ));
    }
    let known = |(subnet, network): &(Arc<str>, Arc<str>)| {
        let subnet = policy.subnets.get(subnet);
        subnet.is_some_and(|subnet| subnet.network == *network)
            && policy.networks.contains_key(network)
    };
    match vnics.subnets.iter().all(known) {
        true => Ok(()),
        false => Err(Refused::Damaged("a subnet is not there")),
    }
}
