//! Ethernet II frames (IEEE 802.3 §3; RFC 894), without preamble and check sequence.

use crate::{EtherType, Mac, Malformed};

/// Bytes of an Ethernet header.
pub const HEADER: usize = 14;

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// For whom.
    pub dst: Mac,
    /// From whom.
    pub src: Mac,
    /// What follows. Below 0x0600 it is a length, and an LLC header follows (IEEE 802.3 §3.2.6).
    pub ethertype: EtherType,
}

impl Header {
    /// Its bytes.
    #[inline]
    pub fn octets(&self) -> [u8; HEADER] {
        let [d0, d1, d2, d3, d4, d5] = self.dst.octets();
        let [s0, s1, s2, s3, s4, s5] = self.src.octets();
        let [e0, e1] = self.ethertype.0.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, e0, e1]
    }

    /// Writes it.
    #[inline]
    pub fn write(&self, to: &mut [u8; HEADER]) {
        *to = self.octets();
    }
}

/// A frame.
#[derive(Clone, Copy, Debug)]
pub struct Ether<'a> {
    header: &'a [u8; HEADER],
    payload: &'a [u8],
}

impl<'a> Ether<'a> {
    /// Reads a frame; [`Malformed::Truncated`] below 14 bytes.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Ether { header, payload })
    }

    /// For whom.
    #[inline]
    pub fn dst(&self) -> Mac {
        let [dst @ .., _, _, _, _, _, _, _, _] = *self.header;
        Mac::new(dst)
    }

    /// From whom.
    #[inline]
    pub fn src(&self) -> Mac {
        let [_, _, _, _, _, _, src @ .., _, _] = *self.header;
        Mac::new(src)
    }

    /// What follows; see [`Header::ethertype`].
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        let [.., e0, e1] = *self.header;
        EtherType(u16::from_be_bytes([e0, e1]))
    }

    /// The header as a value.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            dst: self.dst(),
            src: self.src(),
            ethertype: self.ethertype(),
        }
    }

    /// What the frame carries, padding to 60 bytes included: only the payload's own length tells it apart.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broadcast with ARP (RFC 826, "Packet format": ether_type ADDRESS_RESOLUTION is 0x0806).
    const GOLDEN: [u8; 16] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1,
    ];

    #[test]
    fn golden_bytes_both_ways() {
        let header = Header {
            dst: Mac::BROADCAST,
            src: Mac::new([2, 0, 0, 0, 0, 1]),
            ethertype: EtherType::ARP,
        };
        let frame = Ether::parse(&GOLDEN).unwrap();
        assert_eq!(frame.header(), header);
        assert_eq!(frame.payload(), [0, 1]);
        assert_eq!(header.octets(), GOLDEN[..14]);
        let mut bytes = [0; 14];
        header.write(&mut bytes);
        assert_eq!(bytes, GOLDEN[..14]);
    }

    #[test]
    fn a_frame_may_be_empty_but_not_shorter_than_its_header() {
        assert!(Ether::parse(&GOLDEN[..14]).unwrap().payload().is_empty());
        for len in 0..14 {
            assert_eq!(
                Ether::parse(&GOLDEN[..len]).err(),
                Some(Malformed::Truncated)
            );
        }
    }
}
