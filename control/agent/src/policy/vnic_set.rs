//! All vNICs of a policy, packed: what nearly every one has is a row of 32 bytes and a name in one long text, what few have
//! is beside it. A host of ten million holds 400 MB of them, and reads them from disk as they lie here.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use weir_wire::Mac;

use super::attach::Attach;
use super::bandwidth::Bandwidth;
use super::model::{Iov, Vnic};
use crate::config::fields::Name;
use crate::config::spans::Line;

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

/// A vNIC in its [`Vnics`].
#[derive(Clone, Copy)]
pub struct VnicRef<'a> {
    set: &'a Vnics,
    row: &'a Row,
    place: usize,
}

impl<'a> VnicRef<'a> {
    fn more(self) -> Option<&'a More> {
        self.set.more.get(self.row.more as usize)
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        self.set.name(self.place)
    }

    /// The host it is on.
    pub fn host(self) -> &'a str {
        self.set.hosts.get(self.host_index()).map_or("", |it| it)
    }

    /// Which of [`Vnics::hosts`] it is on.
    pub fn host_index(self) -> usize {
        self.row.host as usize
    }

    /// The subnet it is in.
    pub fn subnet(self) -> &'a str {
        self.set
            .subnets
            .get(self.subnet_index())
            .map_or("", |(subnet, _)| subnet)
    }

    /// Which of [`Vnics::subnets`] it is in.
    pub fn subnet_index(self) -> usize {
        self.row.subnet as usize
    }

    /// The VM network that its subnet is of.
    pub fn network(self) -> &'a str {
        self.set
            .subnets
            .get(self.subnet_index())
            .map_or("", |(_, network)| network)
    }

    /// Its MAC address.
    pub fn mac(self) -> Mac {
        Mac::new(self.row.mac)
    }

    /// Its one customer address, if it is an IPv4 one and nothing is written of the vNIC that may be left out but its bandwidth: as it
    /// is with nearly all that are elsewhere.
    pub fn plain(self) -> Option<Ipv4Addr> {
        (self.row.more == PLAIN).then(|| self.row.v4.into())
    }

    /// Its customer addresses.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> + Clone + 'a {
        let more = self
            .more()
            .into_iter()
            .flat_map(|more| more.addresses.iter().copied());
        self.plain().map(IpAddr::from).into_iter().chain(more)
    }

    /// How the VM is connected.
    pub fn attach(self) -> Option<&'a Attach> {
        self.more()?.attach.as_ref()
    }

    /// See [`Vnic::provider_addresses`].
    pub fn provider_addresses(self) -> &'a [IpAddr] {
        self.more().map_or(&[], |more| &more.provider_addresses)
    }

    /// The VM's MTU in bytes, if it is written.
    pub fn mtu(self) -> Option<u16> {
        self.more()?.mtu
    }

    /// Source prefixes it may send from besides its own addresses.
    pub fn allowed_sources(self) -> &'a [IpNet] {
        self.more().map_or(&[], |more| &more.allowed_sources)
    }

    /// MAC addresses it may send from besides its own.
    pub fn allowed_macs(self) -> &'a [Mac] {
        self.more().map_or(&[], |more| &more.allowed_macs)
    }

    /// What it is promised and held to.
    pub fn bandwidth(self) -> Bandwidth {
        match self.row.profile {
            0 => Bandwidth::default(),
            OWN => self.more().map(|more| more.bandwidth).unwrap_or_default(),
            place => {
                let profile = self.set.profiles.get(usize::from(place) - 1);
                profile.copied().unwrap_or_default()
            }
        }
    }

    /// Whether it is the host's own.
    pub fn is_management(self) -> bool {
        self.more().is_some_and(|more| more.management)
    }

    /// What it asks of SR-IOV.
    pub fn iov(self) -> &'a Iov {
        self.more().map_or(&Iov::Software, |more| &more.iov)
    }

    /// Where it is written.
    pub fn line(self) -> Line {
        Line(self.row.line)
    }

    /// Where its attach is written, or else the vNIC.
    pub fn attach_line(self) -> Line {
        self.more().map_or(self.line(), |more| more.attach_line)
    }

    /// All of it.
    pub fn to_vnic(self) -> Vnic {
        Vnic {
            name: self.name().into(),
            host: self.host().into(),
            subnet: self.subnet().into(),
            network: self.network().into(),
            mac: self.mac(),
            addresses: self.addresses().collect(),
            attach: self.attach().cloned(),
            provider_addresses: self.provider_addresses().into(),
            mtu: self.mtu(),
            allowed_sources: self.allowed_sources().into(),
            allowed_macs: self.allowed_macs().into(),
            bandwidth: self.bandwidth(),
            management: self.is_management(),
            iov: self.iov().clone(),
            line: self.line(),
            attach_line: self.attach_line(),
        }
    }
}

/// By what they are, not by where they are written.
impl PartialEq for VnicRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.row.profile == OWN || other.row.profile == OWN {
            // What is beside the row depends on who came before.
            return self.to_vnic() == other.to_vnic();
        }
        (self.row.mac, self.plain()) == (other.row.mac, other.plain())
            && self.name() == other.name()
            && self.host() == other.host()
            && (self.subnet(), self.network()) == (other.subnet(), other.network())
            && self.more() == other.more()
            && self.bandwidth() == other.bandwidth()
    }
}

impl std::fmt::Debug for VnicRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_vnic().fmt(f)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn vnic(name: &str, host: &str) -> Vnic {
        Vnic {
            name: name.into(),
            host: host.into(),
            subnet: "s".into(),
            network: "n".into(),
            mac: Mac::new([2, 0, 0, 0, 0, name.len() as u8]),
            addresses: vec![IpAddr::from([10, 0, 0, name.len() as u8])],
            attach: None,
            provider_addresses: Vec::new(),
            mtu: None,
            allowed_sources: Vec::new(),
            allowed_macs: Vec::new(),
            bandwidth: Bandwidth::default(),
            management: false,
            iov: Iov::Software,
            line: Line(7),
            attach_line: Line(7),
        }
    }

    #[test]
    fn what_was_put_in_comes_out_in_the_order_of_names() {
        let mut odd = vnic("bb", "h2");
        odd.addresses.push("fd00::1".parse().unwrap());
        odd.mtu = Some(1400);
        odd.attach = Some("tap:x".parse().unwrap());
        odd.allowed_sources.push("10.9.0.0/16".parse().unwrap());
        let mut bare = vnic("a", "h1");
        bare.addresses.clear();
        let all = [vnic("ccc", "h2"), odd.clone(), bare.clone()];
        let set: Vnics = all.clone().into_iter().collect();
        let [ccc, ..] = all;
        let out: Vec<Vnic> = set.iter().map(VnicRef::to_vnic).collect();
        assert_eq!(out, [bare, odd, ccc]);
        for name in ["a", "bb", "ccc"] {
            assert_eq!(set.get(name).map(VnicRef::name), Some(name));
        }
        for name in ["", "b", "bbb", "d"] {
            assert_eq!(set.get(name), None, "{name}");
        }
        assert_eq!(set.hosts().len(), 2);
    }

    #[test]
    fn sets_compare_by_what_vnics_are() {
        let set = |all: &[Vnic]| all.iter().cloned().collect::<Vnics>();
        let (a, b) = (vnic("a", "h1"), vnic("bb", "h2"));
        let first = set(&[a.clone(), b.clone()]);
        assert_eq!(
            first,
            set(&[b.clone(), a.clone()]),
            "hosts have other places"
        );
        let mut moved = a.clone();
        moved.line = Line(99);
        assert_eq!(first, set(&[moved, b.clone()]));
        let mut other = b.clone();
        other.host = "h1".into();
        assert_ne!(first, set(&[a.clone(), other]));
        let mut other = b.clone();
        other.mtu = Some(9000);
        assert_ne!(first, set(&[a.clone(), other]));
        let mut other = b.clone();
        other.bandwidth.police = true;
        assert_ne!(first, set(&[a.clone(), other]));
        let mut other = b.clone();
        other.management = true;
        assert_ne!(first, set(&[a.clone(), other]));
        let mut other = b.clone();
        other.iov = Iov::Weight(1);
        assert_ne!(first, set(&[a.clone(), other]));
        let mut other = b;
        other.addresses = vec![IpAddr::from([10, 0, 0, 99])];
        assert_ne!(first, set(&[a, other]));
    }

    #[test]
    fn bandwidths_are_kept_once_and_beside_where_there_are_too_many() {
        let max = |n: u64| Bandwidth {
            max: crate::config::units::BitRate::new(n + 1),
            ..Bandwidth::default()
        };
        let all: Vec<Vnic> = (0..PROFILES as u64 + 3)
            .map(|n| {
                let mut vnic = vnic("x", "h1");
                vnic.name = format!("v{n:06}").into();
                vnic.bandwidth = max(n);
                vnic
            })
            .collect();
        let set: Vnics = all.iter().cloned().collect();
        assert_eq!((set.profiles.len(), set.more.len()), (PROFILES, 3));
        for (n, vnic) in set.iter().enumerate() {
            assert_eq!(vnic.bandwidth(), max(n as u64), "{n}");
        }
        // In another order other ones are beside.
        let turned: Vnics = all.into_iter().rev().collect();
        assert_eq!(set, turned);
        let same = (0..1000).map(|n| {
            let mut vnic = vnic("x", "h1");
            vnic.name = format!("v{n:05}").into();
            vnic.bandwidth = max(n % 2);
            vnic
        });
        let set: Vnics = same.collect();
        let profiles = 2 * size_of::<Bandwidth>();
        assert_eq!(set.memory_bytes(), 1000 * (32 + 6) + profiles);
        assert!(set.iter().all(|vnic| vnic.plain().is_some()));
    }

    #[test]
    fn a_vnic_elsewhere_is_a_row_and_a_name() {
        let all = (0..1000).map(|n| {
            let mut vnic = vnic("x", "h1");
            vnic.name = format!("v{n:05}").into();
            vnic
        });
        let set: Vnics = all.collect();
        assert_eq!(set.memory_bytes(), 1000 * (32 + 6));
    }
}
