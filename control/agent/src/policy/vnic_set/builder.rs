//! How a packed policy is put together.

use super::{MOST, More, OWN, PLAIN, PROFILES, Row, Vnics};
use crate::config::fields::Name;
use crate::policy::bandwidth::Bandwidth;
use crate::policy::model::{Iov, Vnic};
use std::collections::HashMap;
use std::net::IpAddr;

/// Puts vNICs together, in any order.
#[derive(Debug, Default)]
pub struct Builder {
    set: Vnics,
    hosts: HashMap<Name, u32>,
    subnets: HashMap<Name, u32>,
    profiles: HashMap<Bandwidth, u16>,
}

impl Builder {
    /// Makes room for so many.
    pub fn reserve(&mut self, vnics: usize) {
        self.set.rows.reserve(vnics);
        self.set.names.reserve(vnics.saturating_mul(8));
    }

    /// Adds one whose name no other has; `false` if there are [`MOST`] already, and it is left out.
    pub fn push(&mut self, vnic: Vnic) -> bool {
        if self.set.rows.len() >= MOST {
            return false;
        }
        let host = index(&mut self.hosts, &vnic.host, || {
            self.set.hosts.push(vnic.host.clone());
        });
        let subnet = index(&mut self.subnets, &vnic.subnet, || {
            let subnet = (vnic.subnet.clone(), vnic.network.clone());
            self.set.subnets.push(subnet);
        });
        let profile = self.profile(vnic.bandwidth);
        let (v4, more) = match *vnic.addresses {
            [IpAddr::V4(v4)] if is_plain(&vnic) && profile != OWN => (v4.to_bits(), PLAIN),
            _ => (0, self.set.more.len() as u32),
        };
        self.set.rows.push(Row {
            name: self.set.names.len() as u32,
            host,
            subnet,
            line: vnic.line.0,
            more,
            v4,
            mac: vnic.mac.octets(),
            profile,
        });
        self.set.names.push_str(&vnic.name);
        if more != PLAIN {
            self.set.more.push(More {
                addresses: vnic.addresses.into(),
                attach: vnic.attach,
                provider_addresses: vnic.provider_addresses.into(),
                mtu: vnic.mtu,
                allowed_sources: vnic.allowed_sources.into(),
                allowed_macs: vnic.allowed_macs.into(),
                management: vnic.management,
                iov: vnic.iov,
                bandwidth: match profile {
                    OWN => vnic.bandwidth,
                    _ => Bandwidth::default(),
                },
                attach_line: vnic.attach_line,
            });
        }
        true
    }

    /// What a row says of this bandwidth.
    fn profile(&mut self, bandwidth: Bandwidth) -> u16 {
        if bandwidth == Bandwidth::default() {
            return 0;
        }
        if let Some(&known) = self.profiles.get(&bandwidth) {
            return known;
        }
        if self.set.profiles.len() >= PROFILES {
            return OWN;
        }
        self.set.profiles.push(bandwidth);
        let place = self.set.profiles.len() as u16;
        self.profiles.insert(bandwidth, place);
        place
    }

    /// All of them.
    pub fn finish(self) -> Vnics {
        let mut set = self.set;
        let name = |place: u32| set.name(place as usize);
        let mut order: Vec<u32> = (0..set.rows.len() as u32).collect();
        if !order.is_sorted_by(|&a, &b| name(a) < name(b)) {
            order.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
            let mut names = String::with_capacity(set.names.len());
            let mut rows = Vec::with_capacity(set.rows.len());
            for place in order {
                if let Some(row) = set.rows.get(place as usize) {
                    let name_at = names.len() as u32;
                    names.push_str(set.name(place as usize));
                    rows.push(Row {
                        name: name_at,
                        ..*row
                    });
                }
            }
            (set.rows, set.names) = (rows, names);
        }
        set.rows.shrink_to_fit();
        set.names.shrink_to_fit();
        set.more.shrink_to_fit();
        set.profiles.shrink_to_fit();
        set
    }
}

/// The index of `name`, a new one if it has none: then `add` puts it there.
fn index(known: &mut HashMap<Name, u32>, name: &Name, add: impl FnOnce()) -> u32 {
    if let Some(&index) = known.get(name) {
        return index;
    }
    let index = known.len() as u32;
    known.insert(name.clone(), index);
    add();
    index
}

/// Whether nothing is written of it that may be left out, but perhaps its bandwidth.
fn is_plain(vnic: &Vnic) -> bool {
    vnic.attach.is_none()
        && !vnic.management
        && vnic.iov == Iov::Software
        && vnic.mtu.is_none()
        && vnic.provider_addresses.is_empty()
        && vnic.allowed_sources.is_empty()
        && vnic.allowed_macs.is_empty()
}

impl FromIterator<Vnic> for Vnics {
    /// Of vNICs with names of their own, [`MOST`] at most.
    fn from_iter<I: IntoIterator<Item = Vnic>>(vnics: I) -> Vnics {
        let mut builder = Builder::default();
        for vnic in vnics {
            builder.push(vnic);
        }
        builder.finish()
    }
}
