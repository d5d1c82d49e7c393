//! Bridged VM networks: their frames travel on an uplink's own network as they are, untagged or in a VLAN.

use crate::ids::{SegmentId, UplinkId};

/// Where the frames of a bridged segment come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The uplink.
    pub uplink: UplinkId,
    /// The VLAN, 1 to 4094; `None` is untagged.
    pub vlan: Option<u16>,
}

/// Which VLANs of an uplink are bridged VM networks with members here. 8 KiB an uplink that has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridged {
    /// Segment plus one, by VLAN; 0 is none. Place 0 is what is untagged.
    segments: Box<[u16]>,
}

/// VLANs that there are (IEEE 802.1Q §9.6), with 0, which is none.
const VLANS: usize = 4096;

impl Bridged {
    /// Of these VLANs; `None` if there is none. VLANs above 4095 are left out.
    pub fn of(vlans: impl IntoIterator<Item = (Option<u16>, SegmentId)>) -> Option<Bridged> {
        let mut segments = vec![0; VLANS];
        for (vlan, segment) in vlans {
            if let Some(place) = segments.get_mut(usize::from(vlan.unwrap_or(0))) {
                *place = segment.0.saturating_add(1);
            }
        }
        let any = segments.iter().any(|&segment| segment != 0);
        any.then(|| Bridged {
            segments: segments.into(),
        })
    }

    /// The segment of a VLAN, or with `None` of what is untagged.
    #[inline(always)]
    pub fn get(&self, vlan: Option<u16>) -> Option<SegmentId> {
        let found = self.segments.get(usize::from(vlan.unwrap_or(0)))?;
        found.checked_sub(1).map(SegmentId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vlan_is_one_segment_and_none_is_untagged() {
        assert_eq!(Bridged::of([]), None);
        let all = [(None, SegmentId(0)), (Some(4094), SegmentId(65_534))];
        let bridged = Bridged::of(all).unwrap();
        for (vlan, segment) in all {
            assert_eq!(bridged.get(vlan), Some(segment));
        }
        for vlan in [1, 4093, 4095, u16::MAX] {
            assert_eq!(bridged.get(Some(vlan)), None);
        }
    }
}
