//! vNICs as bytes: what many share, then a row of 32 bytes each, as they lie in memory.

use std::io::{Read, Write};

use super::{CHUNK, Input, Output, ROW, classes};
use crate::last_good::Refused;
use crate::policy::Iov;
use crate::policy::vnic_set::{MOST, More, Row, Vnics};

/// Writes vNICs.
pub(super) fn vnics<W: Write>(vnics: &Vnics, to: &mut Output<W>) -> std::io::Result<()> {
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

/// Reads them.
pub(super) fn read_vnics<R: Read>(from: &mut Input<R>) -> Result<Vnics, Refused> {
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
