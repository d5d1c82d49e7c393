//! A packed policy as bytes: little-endian, lists and texts with their length before them. vNICs lie as they do in memory, a row
//! of 32 bytes each, so that millions are read in a second.

mod classes;

use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use weir_wire::{Mac, Vsid};

use super::Refused;
use crate::config::fields::{self, Name};
use crate::config::spans::Line;
use crate::policy::vnic_set::{MOST, More, Row, Vnics};
use crate::policy::{
    Host, Iov, Isolation, Network, Policy, Route, SegmentKey, Subnet, ToMany, Translation,
};

/// Bytes of a vNIC's row.
const ROW: usize = 32;
/// Bytes that are read at once.
const CHUNK: usize = ROW << 15;

/// Where bytes go, summed up.
pub struct Output<W> {
    to: W,
    sum: crc32fast::Hasher,
    length: u64,
}

impl<W: Write> Output<W> {
    /// To `to`, which nothing has been written to that counts.
    pub fn to(to: W) -> Output<W> {
        Output {
            to,
            sum: crc32fast::Hasher::new(),
            length: 0,
        }
    }

    /// How many bytes were written, and their sum.
    pub fn written(self) -> (u64, u32) {
        (self.length, self.sum.finalize())
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.sum.update(bytes);
        self.length += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn u8(&mut self, value: u8) -> std::io::Result<()> {
        self.bytes(&[value])
    }

    /// A number.
    pub fn u32(&mut self, value: u32) -> std::io::Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    /// A number.
    pub fn u64(&mut self, value: u64) -> std::io::Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    fn text(&mut self, text: &str) -> std::io::Result<()> {
        self.u64(text.len() as u64)?;
        self.bytes(text.as_bytes())
    }

    fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.u64(items.len() as u64)?;
        for item in items {
            each(self, item)?;
        }
        Ok(())
    }

    fn optional<T>(
        &mut self,
        item: Option<T>,
        each: impl FnOnce(&mut Self, T) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        self.u8(u8::from(item.is_some()))?;
        item.map_or(Ok(()), |item| each(self, item))
    }

    fn address(&mut self, address: IpAddr) -> std::io::Result<()> {
        match address {
            IpAddr::V4(address) => {
                self.u8(4)?;
                self.bytes(&address.octets())
            }
            IpAddr::V6(address) => {
                self.u8(6)?;
                self.bytes(&address.octets())
            }
        }
    }

    fn addresses(&mut self, addresses: &[IpAddr]) -> std::io::Result<()> {
        self.list(addresses.iter(), |to, address| to.address(*address))
    }

    fn net(&mut self, net: &IpNet) -> std::io::Result<()> {
        self.address(net.addr())?;
        self.u8(net.prefix_len())
    }
}

/// Where bytes come from, summed up. However long a list says it is, no more is taken into memory than there is.
pub struct Input<R> {
    from: R,
    sum: crc32fast::Hasher,
    left: u64,
}

impl<'b> Input<&'b [u8]> {
    /// From bytes.
    pub fn of(bytes: &'b [u8]) -> Input<&'b [u8]> {
        Input {
            from: bytes,
            sum: crc32fast::Hasher::new(),
            left: bytes.len() as u64,
        }
    }
}

impl Input<std::io::BufReader<std::fs::File>> {
    /// The next `left` bytes of a file.
    pub fn within(file: std::fs::File, left: u64) -> Self {
        Input {
            from: std::io::BufReader::with_capacity(CHUNK, file),
            sum: crc32fast::Hasher::new(),
            left,
        }
    }
}

impl<R: Read> Input<R> {
    /// How many bytes are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The sum of those that were read.
    pub fn sum(self) -> u32 {
        self.sum.finalize()
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), Refused> {
        let short = Refused::Damaged("a length is beyond its end");
        self.left = self.left.checked_sub(into.len() as u64).ok_or(short)?;
        self.from.read_exact(into)?;
        self.sum.update(into);
        Ok(())
    }

    /// So many bytes.
    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, Refused> {
        self.bytes().map(|[byte]| byte)
    }

    /// A number.
    pub fn u32(&mut self) -> Result<u32, Refused> {
        self.bytes().map(u32::from_le_bytes)
    }

    /// A number.
    pub fn u64(&mut self) -> Result<u64, Refused> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Result<bool, Refused> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Refused::Damaged("neither true nor false")),
        }
    }

    /// The length of a list of things that take `each` bytes at least.
    fn length(&mut self, each: usize) -> Result<usize, Refused> {
        let length = self.u64()?;
        let bytes = length.checked_mul(each as u64);
        match bytes.filter(|bytes| *bytes <= self.left) {
            Some(_) => Ok(length as usize),
            None => Err(Refused::Damaged("a length is beyond its end")),
        }
    }

    fn text(&mut self) -> Result<String, Refused> {
        let mut bytes = vec![0; self.length(1)?];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| Refused::Damaged("a text is not UTF-8"))
    }

    fn name(&mut self) -> Result<Name, Refused> {
        let text = self.text()?;
        fields::name(&text).map_err(|_| Refused::Damaged("a name is none"))?;
        Ok(text.into())
    }

    fn line(&mut self) -> Result<Line, Refused> {
        self.u32().map(Line)
    }

    fn list<T>(
        &mut self,
        each_bytes: usize,
        mut each: impl FnMut(&mut Self) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        (0..self.length(each_bytes)?).map(|_| each(self)).collect()
    }

    fn optional<T>(
        &mut self,
        each: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<Option<T>, Refused> {
        self.bool()?.then(|| each(self)).transpose()
    }

    fn address(&mut self) -> Result<IpAddr, Refused> {
        match self.u8()? {
            4 => self.bytes::<4>().map(IpAddr::from),
            6 => self.bytes::<16>().map(IpAddr::from),
            _ => Err(Refused::Damaged("an address of no family")),
        }
    }

    fn addresses(&mut self) -> Result<Vec<IpAddr>, Refused> {
        self.list(5, Self::address)
    }

    fn net(&mut self) -> Result<IpNet, Refused> {
        let (address, length) = (self.address()?, self.u8()?);
        IpNet::new(address, length).map_err(|_| Refused::Damaged("a prefix is too long"))
    }

    fn mac(&mut self) -> Result<Mac, Refused> {
        self.bytes().map(Mac::new)
    }
}

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
    vnics(&policy.vnics, to)
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

fn vnics<W: Write>(vnics: &Vnics, to: &mut Output<W>) -> std::io::Result<()> {
    to.list(vnics.hosts.iter(), |to, host| to.text(host))?;
    to.list(vnics.subnets.iter(), |to, (subnet, network)| {
        to.text(subnet)?;
        to.text(network)
    })?;
    to.list(vnics.more.iter(), |to, more| {
        to.addresses(&more.addresses)?;
        let attach = more.attach.as_ref().map(ToString::to_string);
        to.optional(attach, |to, attach| to.text(&attach))?;
        to.addresses(&more.provider_addresses)?;
        to.optional(more.mtu, |to, mtu| to.u32(mtu.into()))?;
        to.list(more.allowed_sources.iter(), Output::net)?;
        to.list(more.allowed_macs.iter(), |to, mac| to.bytes(&mac.octets()))?;
        to.u8(u8::from(more.management))?;
        iov(to, &more.iov)?;
        classes::bandwidth(to, more.bandwidth)?;
        to.u32(more.attach_line.0)
    })?;
    to.list(vnics.profiles.iter(), |to, own| {
        classes::bandwidth(to, *own)
    })?;
    to.text(&vnics.names)?;
    to.list(vnics.rows.iter(), |to, row| {
        let mut bytes = [0; ROW];
        let numbers = [row.name, row.host, row.subnet, row.line, row.more, row.v4];
        let (words, rest) = bytes.split_at_mut(24);
        for (word, number) in words.chunks_exact_mut(4).zip(numbers) {
            word.copy_from_slice(&number.to_le_bytes());
        }
        let (mac, profile) = rest.split_at_mut(6);
        mac.copy_from_slice(&row.mac);
        profile.copy_from_slice(&row.profile.to_le_bytes());
        to.bytes(&bytes)
    })
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
    policy.vnics = read_vnics(from)?;
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

fn iov<W: Write>(to: &mut Output<W>, iov: &Iov) -> std::io::Result<()> {
    match iov {
        Iov::Software => to.u8(0),
        Iov::Weight(weight) => {
            to.u8(1)?;
            to.u8(*weight)
        }
        Iov::Pinned(pin) => {
            to.u8(2)?;
            to.text(&pin.to_string())
        }
    }
}

fn read_iov<R: Read>(from: &mut Input<R>) -> Result<Iov, Refused> {
    match from.u8()? {
        0 => Ok(Iov::Software),
        1 => match from.u8()? {
            weight @ 1..=100 => Ok(Iov::Weight(weight)),
            _ => Err(Refused::Damaged("a weight is none")),
        },
        2 => {
            let odd = |_| Refused::Damaged("a VF is none");
            from.text()?.parse().map(Iov::Pinned).map_err(odd)
        }
        _ => Err(Refused::Damaged("nothing that is asked of SR-IOV")),
    }
}

fn read_vnics<R: Read>(from: &mut Input<R>) -> Result<Vnics, Refused> {
    let hosts = from.list(8, Input::name)?;
    let subnets = from.list(16, |from| Ok((from.name()?, from.name()?)))?;
    let more = from.list(8, |from| {
        Ok(More {
            addresses: from.addresses()?.into(),
            attach: from.optional(|from| {
                let text = from.text()?;
                let odd = |_| Refused::Damaged("an attach is none");
                text.parse().map_err(odd)
            })?,
            provider_addresses: from.addresses()?.into(),
            mtu: from.optional(|from| {
                let odd = |_| Refused::Damaged("an MTU is too large");
                from.u32()?.try_into().map_err(odd)
            })?,
            allowed_sources: from.list(6, Input::net)?.into(),
            allowed_macs: from.list(6, Input::mac)?.into(),
            management: from.bool()?,
            iov: read_iov(from)?,
            bandwidth: classes::read_bandwidth(from)?,
            attach_line: from.line()?,
        })
    })?;
    let profiles = from.list(4, classes::read_bandwidth)?;
    let names = from.text()?;
    let count = from.length(ROW)?;
    if count > MOST {
        return Err(Refused::Damaged("too many vNICs"));
    }
    let mut rows = Vec::with_capacity(count);
    let mut chunk = vec![0; CHUNK];
    while rows.len() < count {
        let bytes = (count - rows.len()).saturating_mul(ROW).min(CHUNK);
        let chunk = &mut chunk[..bytes];
        from.fill(chunk)?;
        let (each, _) = chunk.as_chunks::<ROW>();
        rows.extend(each.iter().map(row));
    }
    Ok(Vnics {
        rows,
        names,
        hosts,
        subnets,
        more,
        profiles,
    })
}

fn row(bytes: &[u8; ROW]) -> Row {
    let &[
        a0,
        a1,
        a2,
        a3,
        b0,
        b1,
        b2,
        b3,
        c0,
        c1,
        c2,
        c3,
        d0,
        d1,
        d2,
        d3,
        e0,
        e1,
        e2,
        e3,
        f0,
        f1,
        f2,
        f3,
        m0,
        m1,
        m2,
        m3,
        m4,
        m5,
        p0,
        p1,
    ] = bytes;
    Row {
        name: u32::from_le_bytes([a0, a1, a2, a3]),
        host: u32::from_le_bytes([b0, b1, b2, b3]),
        subnet: u32::from_le_bytes([c0, c1, c2, c3]),
        line: u32::from_le_bytes([d0, d1, d2, d3]),
        more: u32::from_le_bytes([e0, e1, e2, e3]),
        v4: u32::from_le_bytes([f0, f1, f2, f3]),
        mac: [m0, m1, m2, m3, m4, m5],
        profile: u16::from_le_bytes([p0, p1]),
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
