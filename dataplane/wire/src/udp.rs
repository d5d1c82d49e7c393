//! UDP (RFC 768).

use crate::checksum::{self, Sum};
use crate::{IpProtocol, Malformed};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a header.
pub const HEADER: usize = 8;

/// A datagram.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    header: &'a [u8; HEADER],
    payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Reads an IP packet's payload; what lies behind the datagram's length is left out.
    ///
    /// [`Malformed::Truncated`] if there are fewer bytes than a header has or the length says,
    /// [`Malformed::TotalLength`] if that is below 8. The checksum is not looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(Malformed::Truncated)?;
        let [_, _, _, _, l0, l1, _, _] = *header;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let length = length.checked_sub(HEADER).ok_or(Malformed::TotalLength)?;
        let payload = rest.get(..length).ok_or(Malformed::Truncated)?;
        Ok(Udp { header, payload })
    }

    /// From which port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        let [p0, p1, ..] = *self.header;
        u16::from_be_bytes([p0, p1])
    }

    /// To which port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        let [_, _, p0, p1, ..] = *self.header;
        u16::from_be_bytes([p0, p1])
    }

    /// Header and payload, in bytes.
    #[inline]
    pub fn length(&self) -> u16 {
        let [_, _, _, _, l0, l1, _, _] = *self.header;
        u16::from_be_bytes([l0, l1])
    }

    /// The checksum as it stands there; `None` if it is 0: the sender made none (RFC 768), which over IPv6
    /// it must (RFC 8200 §8.1), but for the tunnels of RFC 6935.
    #[inline]
    pub fn checksum(&self) -> Option<u16> {
        let [.., c0, c1] = *self.header;
        Some(u16::from_be_bytes([c0, c1])).filter(|checksum| *checksum != 0)
    }

    /// Whether there is a checksum and it is the datagram's between these addresses.
    #[inline]
    pub fn checksum_is_right_v4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        self.sums_up(pseudo_v4(source, destination, self.length()))
    }

    /// Whether there is a checksum and it is the datagram's between these addresses.
    #[inline]
    pub fn checksum_is_right_v6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        self.sums_up(pseudo_v6(source, destination, self.length()))
    }

    #[inline]
    fn sums_up(&self, mut sum: Sum) -> bool {
        sum.add(self.header);
        sum.add(self.payload);
        self.checksum().is_some() && sum.fold() == 0xffff
    }

    /// What it carries, no further than its length.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The header as a value, but for the checksum.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            source_port: self.source_port(),
            destination_port: self.destination_port(),
            length: self.length(),
        }
    }
}

#[inline]
fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, length: u16) -> Sum {
    let (source, destination) = (source.octets(), destination.octets());
    checksum::pseudo_v4(source, destination, IpProtocol::UDP.0, length)
}

#[inline]
fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, length: u16) -> Sum {
    let (source, destination) = (source.octets(), destination.octets());
    checksum::pseudo_v6(source, destination, IpProtocol::UDP.0, u32::from(length))
}

/// A header, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// From which port.
    pub source_port: u16,
    /// To which port.
    pub destination_port: u16,
    /// Header and payload, in bytes: 8 at least.
    pub length: u16,
}

impl Header {
    /// Its bytes without a checksum: 0.
    #[inline]
    pub fn octets(&self) -> [u8; HEADER] {
        self.with(0)
    }

    /// Its bytes with the checksum of it and `payload` between these addresses.
    #[inline]
    pub fn octets_v4(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        payload: &[u8],
    ) -> [u8; HEADER] {
        self.summed(pseudo_v4(source, destination, self.length), payload)
    }

    /// Its bytes with the checksum of it and `payload` between these addresses.
    #[inline]
    pub fn octets_v6(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        payload: &[u8],
    ) -> [u8; HEADER] {
        self.summed(pseudo_v6(source, destination, self.length), payload)
    }

    #[inline]
    fn summed(&self, mut sum: Sum, payload: &[u8]) -> [u8; HEADER] {
        sum.add(&self.octets());
        sum.add(payload);
        self.with(checksum::udp(sum.finish()))
    }

    #[inline]
    fn with(&self, checksum: u16) -> [u8; HEADER] {
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = self.destination_port.to_be_bytes();
        let [l0, l1] = self.length.to_be_bytes();
        let [c0, c1] = checksum.to_be_bytes();
        [s0, s1, d0, d1, l0, l1, c0, c1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
    const A6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    /// RFC 768, "Format": ports 12345 and 53, length 11, checksum between A and B; 3 bytes of data and 1 of
    /// padding.
    const GOLDEN: [u8; 12] = [0x30, 0x39, 0, 53, 0, 11, 0x1e, 0xd0, b'a', b'b', b'c', 0xff];
    /// The same between A6 and B6 (RFC 8200 §8.1).
    const CHECKSUM_V6: [u8; 2] = [0xaf, 0x92];

    const HEADER: Header = Header {
        source_port: 12_345,
        destination_port: 53,
        length: 11,
    };

    #[test]
    fn golden_bytes_both_ways() {
        let datagram = Udp::parse(&GOLDEN).unwrap();
        assert_eq!(datagram.header(), HEADER);
        assert_eq!(datagram.payload(), b"abc");
        assert!(datagram.checksum_is_right_v4(A, B) && !datagram.checksum_is_right_v4(A, A));
        assert_eq!(HEADER.octets_v4(A, B, b"abc"), GOLDEN[..8]);
        let v6 = HEADER.octets_v6(A6, B6, b"abc");
        assert_eq!(v6[6..], CHECKSUM_V6);
        let bytes = [&v6[..], b"abc"].concat();
        assert!(Udp::parse(&bytes).unwrap().checksum_is_right_v6(A6, B6));
    }

    #[test]
    fn no_checksum_is_not_a_checksum_of_0() {
        let bytes = [&HEADER.octets()[..], b"abc"].concat();
        let datagram = Udp::parse(&bytes).unwrap();
        assert_eq!(datagram.checksum(), None);
        assert!(!datagram.checksum_is_right_v4(A, B));
        // RFC 768: a computed 0 is sent as all ones. With it as payload, any datagram sums up to 0.
        let header = Header {
            length: 10,
            ..HEADER
        };
        let [.., c0, c1] = header.octets_v4(A, B, &[0, 0]);
        let octets = header.octets_v4(A, B, &[c0, c1]);
        assert_eq!(octets[6..], [0xff, 0xff]);
        let bytes = [&octets[..], &[c0, c1]].concat();
        assert!(Udp::parse(&bytes).unwrap().checksum_is_right_v4(A, B));
    }

    #[test]
    fn each_refusal_has_its_reason() {
        for len in 0..11 {
            assert_eq!(
                Udp::parse(&GOLDEN[..len]).err(),
                Some(Malformed::Truncated),
                "{len} bytes"
            );
        }
        for length in [0, 7] {
            let mut bytes = GOLDEN;
            bytes[5] = length;
            assert_eq!(Udp::parse(&bytes).err(), Some(Malformed::TotalLength));
        }
        let mut bytes = GOLDEN;
        bytes[5] = 8;
        assert!(Udp::parse(&bytes).unwrap().payload().is_empty());
    }
}
