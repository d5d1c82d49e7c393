//! How a VM network is kept apart from others: by network virtualization, or, bridged, by the uplink's own VLANs.

use std::collections::HashMap;

use super::model::{Isolation, SegmentKey};
use crate::config::fields::VLAN;
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;

/// What a VM network writes of it.
#[derive(Clone, Copy)]
pub struct Written {
    /// The isolation.
    pub isolation: Isolation,
    /// The one segment of a bridged VM network; a VLAN that was refused or is missing stands as 0.
    pub bridged: Option<SegmentKey>,
}

impl Written {
    /// As it is written, for refusals.
    pub fn word(self) -> &'static str {
        match self.isolation {
            Isolation::None => "none",
            Isolation::Vlan => "vlan",
            Isolation::Nv => "nv",
            Isolation::External => "external",
        }
    }
}

/// Which bridged segments are whose.
#[derive(Default)]
pub struct Bridged(HashMap<SegmentKey, (String, Line)>);

/// Reads `isolation` and `vlan`; refuses what this version does not carry and what another VM network has.
pub fn read(object: &Object<'_>, seen: &mut Bridged, refusals: &mut Refusals) -> Written {
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
    let line = written.map_or(object.line(), |written| written.line);
    if isolation == Isolation::External {
        let problem =
            "isolation: there is no forwarding extension that could take \"external\" over";
        let mend = "write isolation = \"nv\"";
        refusals.refuse(line, object.label(), problem, mend);
    }
    if isolation == Isolation::Vlan {
        if !object.has("vlan") {
            object.missing("vlan", "100", refusals);
        }
    } else if let Some(vlan) = vlan {
        let problem = "vlan: only a VM network of isolation \"vlan\" has one";
        refusals.refuse(vlan.line, object.label(), problem, "take vlan out");
    }
    let number = vlan.and_then(|vlan| u16::try_from(vlan.value).ok());
    let bridged = match isolation {
        Isolation::None => Some(SegmentKey::Flat),
        Isolation::Vlan => Some(SegmentKey::Vlan(number.unwrap_or(0))),
        Isolation::Nv | Isolation::External => None,
    };
    match bridged {
        None | Some(SegmentKey::Vlan(0)) => {}
        Some(key) => {
            let line = vlan.map_or(line, |vlan| vlan.line);
            claim(key, line, object, seen, refusals);
        }
    }
    Written { isolation, bridged }
}

/// One VM network each: two in one VLAN, or untagged on one uplink, would hear each other.
fn claim(
    key: SegmentKey,
    line: Line,
    object: &Object<'_>,
    seen: &mut Bridged,
    refusals: &mut Refusals,
) {
    let Some((other, at)) = seen.0.get(&key) else {
        seen.0.insert(key, (object.label().to_owned(), line));
        return;
    };
    let (problem, mend) = match key {
        SegmentKey::Vlan(vlan) => (
            format!("vlan: {vlan} is already that of {other} in line {}", at.0),
            "give each VM network a VLAN of its own",
        ),
        _ => (
            format!(
                "isolation: {other} in line {} is untagged on the uplink already, and nothing would keep the two apart",
                at.0
            ),
            "put the subnets into one VM network, or give one of them a VLAN",
        ),
    };
    refusals.refuse(line, object.label(), problem, mend);
}
