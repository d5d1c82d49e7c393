//! All vNICs of a policy, packed: what nearly every one has is a row of 32 bytes and a name in one long text, what few have
//! is beside it. A host of ten million holds 400 MB of them, and reads them from disk as they lie here.

mod builder;
#[cfg(test)]
mod tests;
mod vnic_ref;

use std::net::IpAddr;

use ipnet::IpNet;
use weir_wire::Mac;

use super::attach::Attach;
use super::bandwidth::Bandwidth;
use super::model::Iov;
use crate::config::fields::Name;
use crate::config::spans::Line;

pub use builder::Builder;
pub use vnic_ref::VnicRef;

/// vNICs that a policy may have: their names, of 128 bytes at most, begin at places of 32 bits.
pub const MOST: usize = 1 << 25;

/// In the place of an index: there is nothing beside the row, and its one customer address is the IPv4 one in it.
const PLAIN: u32 = u32::MAX;

/// In the place of a profile: its bandwidth is beside the row, as there are more kinds of it than a row can name.
const OWN: u16 = u16::MAX;

/// Different bandwidths that rows can name.
pub const PROFILES: usize = OWN as usize - 1;

/// What nearly every vNIC has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Where its name begins; it ends where the next one's begins.
    pub name: u32,
    /// Its host, as an index.
    pub host: u32,
    /// Its subnet, as an index.
    pub subnet: u32,
    /// Where it is written.
    pub line: u32,
    /// What it has besides, as an index, or [`PLAIN`].
    pub more: u32,
    /// Its customer address, if it is plain.
    pub v4: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its bandwidth: 0 for none, or one more than its place among the profiles, or [`OWN`].
    pub profile: u16,
}

impl Row {
    /// Whether its bandwidth is one of so many profiles, or beside it.
    pub fn has_profile_of(&self, profiles: usize) -> bool {
        usize::from(self.profile) <= profiles || self.profile == OWN && self.more != PLAIN
    }

    /// Whether it has nothing beside it, or one of so many.
    pub fn has_more_of(&self, more: usize) -> bool {
        self.more == PLAIN || (self.more as usize) < more
    }
}

/// What few have: other than one IPv4 address, or any of the fields that may be left out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct More {
    pub addresses: Box<[IpAddr]>,
    pub attach: Option<Attach>,
    pub provider_addresses: Box<[IpAddr]>,
    pub mtu: Option<u16>,
    pub allowed_sources: Box<[IpNet]>,
    pub allowed_macs: Box<[Mac]>,
    pub management: bool,
    pub iov: Iov,
    /// If the row does not say it.
    pub bandwidth: Bandwidth,
    pub attach_line: Line,
}

/// The vNICs of a policy, in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Vnics {
    pub(crate) rows: Vec<Row>,
    /// Their names, one after another.
    pub(crate) names: String,
    /// The hosts that they name.
    pub(crate) hosts: Vec<Name>,
    /// The subnets that they name, each with its VM network.
    pub(crate) subnets: Vec<(Name, Name)>,
    pub(crate) more: Vec<More>,
    /// Bandwidths, each once.
    pub(crate) profiles: Vec<Bandwidth>,
}

impl PartialEq for Vnics {
    fn eq(&self, other: &Vnics) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(a, b)| a == b)
    }
}

impl Vnics {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<VnicRef<'_>> {
        let places = 0..self.rows.len();
        let (mut low, mut high) = (places.start, places.end);
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return self.at(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Each of them, in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = VnicRef<'_>> + Clone {
        self.rows.iter().enumerate().map(|(place, row)| VnicRef {
            set: self,
            row,
            place,
        })
    }

    /// The hosts that vNICs name, each once; [`VnicRef::host_index`] is a place here.
    pub fn hosts(&self) -> &[Name] {
        &self.hosts
    }

    /// The subnets that they name, each once and with its VM network; [`VnicRef::subnet_index`] is a place here.
    pub fn subnets(&self) -> &[(Name, Name)] {
        &self.subnets
    }

    /// Bytes that they take.
    pub fn memory_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.names.capacity()
            + self.more.capacity() * size_of::<More>()
            + self.profiles.capacity() * size_of::<Bandwidth>()
    }

    fn at(&self, place: usize) -> Option<VnicRef<'_>> {
        let row = self.rows.get(place)?;
        Some(VnicRef {
            set: self,
            row,
            place,
        })
    }

    fn name(&self, place: usize) -> &str {
        let start = |place: usize| self.rows.get(place).map(|row| row.name as usize);
        let end = start(place + 1).unwrap_or(self.names.len());
        start(place)
            .and_then(|start| self.names.get(start..end))
            .unwrap_or_default()
    }
}

/// Those of an old policy and of a new one side by side, by their names and in the order of these.
pub fn pairs<'a>(
    old: &'a Vnics,
    new: &'a Vnics,
) -> impl Iterator<Item = (Option<VnicRef<'a>>, Option<VnicRef<'a>>)> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    std::iter::from_fn(move || {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = match (old.peek(), new.peek()) {
            (None, None) => return None,
            (Some(old), Some(new)) => old.name().cmp(new.name()),
            (Some(_), None) => Less,
            (None, Some(_)) => Greater,
        };
        Some(match order {
            Less => (old.next(), None),
            Equal => (old.next(), new.next()),
            Greater => (None, new.next()),
        })
    })
}
