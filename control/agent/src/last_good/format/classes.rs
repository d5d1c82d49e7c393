//! What a policy says of bandwidth, as bytes: switches with their DCB traffic classes, traffic classes, bandwidths of vNICs.

use std::io::{Read, Write};

use super::{Input, Output};
use crate::config::units::BitRate;
use crate::last_good::Refused;
use crate::policy::{
    Bandwidth, BandwidthMode, BuiltIn, Custom, Dcb, Filter, Minimum, Switch, TrafficClass,
};

type Io = std::io::Result<()>;

fn rate<W: Write>(to: &mut Output<W>, rate: BitRate) -> Io {
    to.u64(rate.bits_per_second())
}

fn read_rate<R: Read>(from: &mut Input<R>) -> Result<BitRate, Refused> {
    BitRate::new(from.u64()?).ok_or(Refused::Damaged("a rate is none"))
}

fn minimum<W: Write>(to: &mut Output<W>, minimum: Minimum) -> Io {
    match minimum {
        Minimum::Rate(own) => {
            to.u8(0)?;
            rate(to, own)
        }
        Minimum::Weight(weight) => {
            to.u8(1)?;
            to.u8(weight)
        }
    }
}

fn read_minimum<R: Read>(from: &mut Input<R>) -> Result<Minimum, Refused> {
    match from.u8()? {
        0 => read_rate(from).map(Minimum::Rate),
        1 => match from.u8()? {
            weight @ 1..=100 => Ok(Minimum::Weight(weight)),
            _ => Err(Refused::Damaged("a weight is none")),
        },
        _ => Err(Refused::Damaged("no minimum that there is")),
    }
}

/// Writes a bandwidth.
pub(super) fn bandwidth<W: Write>(to: &mut Output<W>, own: Bandwidth) -> Io {
    to.optional(own.minimum, minimum)?;
    to.optional(own.max, rate)?;
    to.optional(own.max_rx, rate)?;
    to.u8(u8::from(own.police))
}

/// Reads a bandwidth.
pub(super) fn read_bandwidth<R: Read>(from: &mut Input<R>) -> Result<Bandwidth, Refused> {
    Ok(Bandwidth {
        minimum: from.optional(read_minimum)?,
        max: from.optional(read_rate)?,
        max_rx: from.optional(read_rate)?,
        police: from.bool()?,
    })
}

/// Writes a switch.
pub(super) fn switch<W: Write>(to: &mut Output<W>, switch: &Switch) -> Io {
    to.text(&switch.name)?;
    to.u8(match switch.bandwidth_mode {
        BandwidthMode::None => 0,
        BandwidthMode::Weight => 1,
        BandwidthMode::Absolute => 2,
    })?;
    to.list(switch.dcb.iter(), |to, dcb| {
        to.u8(dcb.tc)?;
        to.u8(u8::from(dcb.strict))?;
        to.optional(dcb.share, Output::u8)?;
        to.list(dcb.priorities.iter(), |to, priority| to.u8(*priority))?;
        to.u32(dcb.line.0)
    })?;
    to.u8(u8::from(switch.iov))?;
    to.u32(switch.line.0)
}

/// Reads a switch.
pub(super) fn read_switch<R: Read>(from: &mut Input<R>) -> Result<Switch, Refused> {
    Ok(Switch {
        name: from.name()?,
        bandwidth_mode: match from.u8()? {
            0 => BandwidthMode::None,
            1 => BandwidthMode::Weight,
            2 => BandwidthMode::Absolute,
            _ => return Err(Refused::Damaged("no bandwidth mode that there is")),
        },
        dcb: from.list(8, |from| {
            Ok(Dcb {
                tc: from.u8()?,
                strict: from.bool()?,
                share: from.optional(Input::u8)?,
                priorities: from.list(1, Input::u8)?,
                line: from.line()?,
            })
        })?,
        iov: from.bool()?,
        line: from.line()?,
    })
}

/// Writes a traffic class.
pub(super) fn class<W: Write>(to: &mut Output<W>, class: &TrafficClass) -> Io {
    to.text(&class.name)?;
    to.list(class.filters.iter(), |to, own| match own {
        Filter::BuiltIn(own) => {
            to.u8(0)?;
            to.text(&own.to_string())
        }
        Filter::Custom(own) => {
            to.u8(1)?;
            custom(to, own)
        }
    })?;
    to.optional(class.minimum, minimum)?;
    to.optional(class.max, rate)?;
    for mark in [class.priority, class.dscp, class.pcp] {
        to.optional(mark, Output::u8)?;
    }
    to.u32(class.line.0)
}

fn custom<W: Write>(to: &mut Output<W>, own: &Custom) -> Io {
    to.list(own.vnics.iter(), |to, name| to.text(name))?;
    for number in [
        own.ethertype,
        own.port,
        own.source_port,
        own.destination_port,
    ] {
        to.optional(number, |to, number| to.u32(number.into()))?;
    }
    for number in [own.pcp, own.dscp, own.protocol] {
        to.optional(number, Output::u8)?;
    }
    for net in [&own.source, &own.destination] {
        to.optional(net.as_ref(), Output::net)?;
    }
    Ok(())
}

/// Reads a traffic class.
pub(super) fn read_class<R: Read>(from: &mut Input<R>) -> Result<TrafficClass, Refused> {
    Ok(TrafficClass {
        name: from.name()?,
        filters: from.list(9, |from| {
            Ok(match from.u8()? {
                0 => {
                    let word = from.text()?;
                    let found = BuiltIn::ALL.iter().find(|(own, _)| *own == word);
                    let found = found.map(|(_, own)| Filter::BuiltIn(*own));
                    found.ok_or(Refused::Damaged("no filter that there is"))?
                }
                1 => Filter::Custom(Box::new(read_custom(from)?)),
                _ => return Err(Refused::Damaged("no filter that there is")),
            })
        })?,
        minimum: from.optional(read_minimum)?,
        max: from.optional(read_rate)?,
        priority: from.optional(Input::u8)?,
        dscp: from.optional(Input::u8)?,
        pcp: from.optional(Input::u8)?,
        line: from.line()?,
    })
}

fn read_custom<R: Read>(from: &mut Input<R>) -> Result<Custom, Refused> {
    let u16 = |from: &mut Input<R>| {
        from.optional(|from| {
            let odd = |_| Refused::Damaged("a number of 16 bits is larger");
            from.u32()?.try_into().map_err(odd)
        })
    };
    Ok(Custom {
        vnics: from.list(8, Input::name)?,
        ethertype: u16(from)?,
        port: u16(from)?,
        source_port: u16(from)?,
        destination_port: u16(from)?,
        pcp: from.optional(Input::u8)?,
        dscp: from.optional(Input::u8)?,
        protocol: from.optional(Input::u8)?,
        source: from.optional(Input::net)?,
        destination: from.optional(Input::net)?,
    })
}
