//! What is promised to a vNIC or a traffic class, and what it is held to.
//!
//! *Choice*: a minimum is of the wire (outer headers and 24 bytes a frame count, protocols.md), so that minima add up against a
//! capacity as they are written; a maximum is of the sender's own layer 2 bytes and may be more than the link: it holds for what stays
//! on the host too.

use super::model::BandwidthMode;
use crate::config::document::{At, Table};
use crate::config::fields::Fault;
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;
use crate::config::units::BitRate;

/// What a node gets at least where its uplink is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Minimum {
    /// Bits of the wire.
    Rate(BitRate),
    /// Its weight among others, 1 to 100.
    Weight(u8),
}

/// The least rate that is carried out: one bit of a scheduler's weight.
const LEAST: u64 = 1_000;
/// The largest minimum: 32 bits of kbit/s.
const MOST: u64 = u32::MAX as u64 * 1_000;

impl Minimum {
    /// Its weight among the nodes of an uplink, never 0.
    pub fn share(self) -> u32 {
        match self {
            Minimum::Rate(rate) => share_of(rate.bits_per_second()),
            Minimum::Weight(weight) => u32::from(weight),
        }
    }

    /// What it takes of a capacity, in bit/s; 0 of a weight.
    pub fn bits_per_second(self) -> u64 {
        match self {
            Minimum::Rate(rate) => rate.bits_per_second(),
            Minimum::Weight(_) => 0,
        }
    }
}

/// The weight of a minimum: kbit/s, rounded up.
pub fn share_of(bits_per_second: u64) -> u32 {
    let share = bits_per_second.div_ceil(LEAST);
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

/// Of a vNIC, as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bandwidth {
    /// What it gets at least; without one it is of the default class.
    pub minimum: Option<Minimum>,
    /// What it may send.
    pub max: Option<BitRate>,
    /// What it may receive.
    pub max_rx: Option<BitRate>,
    /// Whether what is over `max` is dropped instead of queued.
    pub police: bool,
}

/// How the switch shares.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// How; `None` if that was refused.
    pub mode: Option<BandwidthMode>,
    /// Where it is written.
    pub line: Line,
}

impl Mode {
    /// What is said of it in a refusal.
    fn told(self) -> String {
        let word = self.mode.map_or("", BandwidthMode::word);
        match self.line.0 {
            0 => format!("bandwidth_mode is \"{word}\" unless it is written"),
            line => format!("bandwidth_mode = \"{word}\" in line {line}"),
        }
    }
}

/// Fields of a maximum and a minimum.
struct Reader<'a, 'd> {
    object: &'a Object<'d>,
    /// What stands before a field's name in a refusal.
    path: &'a str,
}

/// The fields that say a minimum, for whoever reads the object.
pub const MIN: &str = "min";
/// See [`MIN`].
pub const WEIGHT: &str = "weight";
/// The field of a maximum.
pub const MAX: &str = "max";

/// Reads the minimum and the maximum of `object`, whose fields are called after `path` in refusals.
pub fn limits(
    object: &Object<'_>,
    path: &str,
    mode: Mode,
    refusals: &mut Refusals,
) -> (Option<Minimum>, Option<BitRate>) {
    let reader = Reader { object, path };
    let min = reader.rate(MIN, LEAST..=MOST, refusals);
    let weight = object.integer(WEIGHT, 1..=100, refusals);
    let max = reader.rate(MAX, LEAST..=u64::MAX, refusals);
    let mut minimum = None;
    if let Some(min) = min {
        let ok = match mode.mode {
            Some(BandwidthMode::Weight) => {
                let mend = "write weight = 30 in its place, or bandwidth_mode = \"absolute\" at the switch";
                reader.not_in(MIN, min.line, mode, mend, refusals)
            }
            Some(BandwidthMode::None) => {
                let mend = "write bandwidth_mode = \"absolute\" at the switch, or take min out";
                reader.not_in(MIN, min.line, mode, mend, refusals)
            }
            Some(BandwidthMode::Absolute) | None => true,
        };
        if ok {
            minimum = Some(Minimum::Rate(min.value));
        }
        if let Some(max) = max
            && ok
            && max.value < min.value
        {
            let problem = format!("{path}min: {} is more than max, {}", min.value, max.value);
            let mend = "lower min, or raise max";
            refusals.refuse(min.line, object.label(), problem, mend);
        }
    }
    if let Some(weight) = weight {
        let ok = match mode.mode {
            Some(BandwidthMode::Absolute) => {
                let mend = "write min = \"200Mbit\" in its place, or bandwidth_mode = \"weight\" at the switch";
                reader.not_in(WEIGHT, weight.line, mode, mend, refusals)
            }
            Some(BandwidthMode::None) => {
                let mend = "write bandwidth_mode = \"weight\" at the switch, or take weight out";
                reader.not_in(WEIGHT, weight.line, mode, mend, refusals)
            }
            Some(BandwidthMode::Weight) | None => true,
        };
        if ok && minimum.is_none() {
            minimum = u8::try_from(weight.value).ok().map(Minimum::Weight);
        }
    }
    (minimum, max.map(|max| max.value))
}

impl Reader<'_, '_> {
    fn rate(
        &self,
        field: &str,
        range: std::ops::RangeInclusive<u64>,
        refusals: &mut Refusals,
    ) -> Option<At<BitRate>> {
        let within = |text: &str| {
            let rate: BitRate = text.parse()?;
            if range.contains(&rate.bits_per_second()) {
                return Ok(rate);
            }
            let (what, bound) = match rate.bits_per_second() < LEAST {
                true => ("less", "at least 1Kbit"),
                false => ("more", "at most 4Tbit"),
            };
            let problem = format!("{rate} is {what} than can be carried out");
            Err(Fault::new(problem, format!("write {bound}")))
        };
        self.object.parsed(field, within, refusals)
    }

    /// Refuses a field that the mode has no use for.
    fn not_in(
        &self,
        field: &str,
        line: Line,
        mode: Mode,
        mend: &str,
        refusals: &mut Refusals,
    ) -> bool {
        let why = match mode.mode {
            Some(BandwidthMode::Weight) => "the switch shares by weight",
            Some(BandwidthMode::Absolute) => "the switch shares by rates",
            _ => "the switch promises nothing",
        };
        let problem = format!("{}{field}: {why} ({})", self.path, mode.told());
        refusals.refuse(line, self.object.label(), problem, mend);
        false
    }
}

/// Reads the `bandwidth` of a vNIC.
pub fn of_vnic<'d>(
    table: At<&'d Table<'d>>,
    label: &str,
    mode: Mode,
    refusals: &mut Refusals,
) -> Bandwidth {
    let fields = &[MIN, WEIGHT, MAX, "max_rx", "police"];
    let object = Object::new(table, label.to_owned(), fields, refusals);
    let (minimum, max) = limits(&object, "bandwidth.", mode, refusals);
    let reader = Reader {
        object: &object,
        path: "bandwidth.",
    };
    let max_rx = reader.rate("max_rx", LEAST..=u64::MAX, refusals);
    let police = object.boolean("police", refusals);
    if let Some(At { value: true, line }) = police
        && !object.has(MAX)
    {
        let problem = "bandwidth.police: there is no max that it could hold the vNIC to";
        let mend = "add max = \"1Gbit\", or take police out";
        refusals.refuse(line, label, problem, mend);
    }
    Bandwidth {
        minimum,
        max,
        max_rx: max_rx.map(|rate| rate.value),
        police: police.is_some_and(|police| police.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_less_than_the_minimum_and_never_nothing() {
        for (rate, share) in [(1, 1), (1_000, 1), (1_001, 2), (MOST, u32::MAX)] {
            assert_eq!(share_of(rate), share, "{rate}");
        }
        assert_eq!(share_of(u64::MAX), u32::MAX);
        assert_eq!(Minimum::Weight(7).share(), 7);
        assert_eq!(Minimum::Weight(7).bits_per_second(), 0);
    }
}
