//! VLAN tags (IEEE 802.1Q-2018 §9.6): two bytes of control information and the EtherType of what follows.

use crate::{EtherType, Malformed};
use std::fmt;

/// Bytes that a tag adds to a frame.
pub const TAG: usize = 4;

/// A VLAN's number: 1 to 4094. 0 says "priority only" and 4095 is reserved (IEEE 802.1Q §9.6, table 9-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VlanId(u16);

impl VlanId {
    /// Least.
    pub const MIN: u16 = 1;
    /// Greatest.
    pub const MAX: u16 = 4094;

    /// A number that a VLAN may have; `None` outside [`MIN`](Self::MIN)…[`MAX`](Self::MAX).
    pub const fn new(id: u16) -> Option<Self> {
        if id < Self::MIN || id > Self::MAX {
            None
        } else {
            Some(VlanId(id))
        }
    }

    /// The number.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tag control information, as on the wire: priority, drop eligibility, VLAN identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tci(pub u16);

impl Tci {
    /// Of a VLAN's traffic. `pcp` is 0 to 7; higher bits are ignored.
    #[inline]
    pub const fn new(pcp: u8, dei: bool, vlan: VlanId) -> Self {
        Tci((pcp as u16 & 7) << 13 | (dei as u16) << 12 | vlan.0)
    }

    /// Priority code point: 0 to 7.
    #[inline]
    pub const fn pcp(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// Drop eligible indicator.
    #[inline]
    pub const fn dei(self) -> bool {
        self.0 & 0x1000 != 0
    }

    /// The 12 bits of the identifier, whatever they say.
    #[inline]
    pub const fn vid(self) -> u16 {
        self.0 & 0x0fff
    }

    /// The VLAN; `None` of a tag that gives a priority only (0) and of the reserved 4095.
    #[inline]
    pub const fn vlan(self) -> Option<VlanId> {
        VlanId::new(self.vid())
    }
}

/// What stands behind an Ethernet header whose type is [`EtherType::VLAN`] or [`EtherType::QINQ`].
#[derive(Clone, Copy, Debug)]
pub struct Vlan<'a> {
    header: &'a [u8; TAG],
    payload: &'a [u8],
}

impl<'a> Vlan<'a> {
    /// Reads the payload of a tagged frame; [`Malformed::Truncated`] below 4 bytes.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Vlan { header, payload })
    }

    /// Tag control information.
    #[inline]
    pub fn tci(&self) -> Tci {
        let [t0, t1, _, _] = *self.header;
        Tci(u16::from_be_bytes([t0, t1]))
    }

    /// What follows the tag: perhaps another one.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        let [_, _, e0, e1] = *self.header;
        EtherType(u16::from_be_bytes([e0, e1]))
    }

    /// The tag as a value.
    #[inline]
    pub fn tag(&self) -> Tag {
        Tag {
            tci: self.tci(),
            ethertype: self.ethertype(),
        }
    }

    /// What the frame carries.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A tag to be written behind the EtherType that announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Tag control information.
    pub tci: Tci,
    /// What follows the tag.
    pub ethertype: EtherType,
}

impl Tag {
    /// Its bytes.
    #[inline]
    pub fn octets(&self) -> [u8; TAG] {
        let [t0, t1] = self.tci.0.to_be_bytes();
        let [e0, e1] = self.ethertype.0.to_be_bytes();
        [t0, t1, e0, e1]
    }

    /// Writes it.
    #[inline]
    pub fn write(&self, to: &mut [u8; TAG]) {
        *to = self.octets();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IEEE 802.1Q §9.6, figure 9-1: 3 bits PCP, 1 bit DEI, 12 bits VID; here 5, 1, 0x064, then IPv4.
    const GOLDEN: [u8; 5] = [0xb0, 0x64, 0x08, 0x00, 0x45];

    #[test]
    fn golden_bytes_both_ways() {
        let tag = Tag {
            tci: Tci::new(5, true, VlanId::new(100).unwrap()),
            ethertype: EtherType::IPV4,
        };
        let vlan = Vlan::parse(&GOLDEN).unwrap();
        assert_eq!(vlan.tag(), tag);
        assert_eq!(
            (vlan.tci().pcp(), vlan.tci().dei(), vlan.tci().vid()),
            (5, true, 100)
        );
        assert_eq!(vlan.payload(), [0x45]);
        assert_eq!(tag.octets(), GOLDEN[..4]);
        for len in 0..4 {
            assert_eq!(
                Vlan::parse(&GOLDEN[..len]).err(),
                Some(Malformed::Truncated)
            );
        }
    }

    #[test]
    fn a_vlan_is_1_to_4094() {
        assert_eq!(VlanId::new(0), None);
        assert_eq!(VlanId::new(1).map(VlanId::get), Some(1));
        assert_eq!(VlanId::new(4094).map(VlanId::get), Some(4094));
        assert_eq!(VlanId::new(4095), None);
        assert_eq!(VlanId::new(4097), None);
        assert_eq!(Tci(0xe000).vlan(), None, "priority only");
        assert_eq!(Tci(0xffff).vlan(), None, "reserved");
        assert_eq!(Tci::new(0xff, false, VlanId::new(1).unwrap()), Tci(0xe001));
    }
}
