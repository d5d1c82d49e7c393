//! ARP for IPv4 over Ethernet (RFC 826).

use crate::{Mac, Malformed};
use std::net::Ipv4Addr;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4.
const KIND: [u8; 6] = [0, 1, 0x08, 0, 6, 4];

/// What an ARP packet asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(pub u16);

impl Operation {
    /// Who has?
    pub const REQUEST: Self = Operation(1);
    /// Is at.
    pub const REPLY: Self = Operation(2);
}

/// An ARP packet. It is so short that the view is a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Who sends.
    pub sender_mac: Mac,
    /// Its address; 0.0.0.0 in a probe (RFC 5227 §1.1).
    pub sender_ip: Ipv4Addr,
    /// Who is meant; ignored in a request.
    pub target_mac: Mac,
    /// Its address.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads what follows the Ethernet header. Padding after it is ignored.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Arp, Malformed> {
        let bytes = bytes.first_chunk::<LEN>().ok_or(Malformed::Truncated)?;
        let (kind, rest) = bytes.split_first_chunk::<6>().ok_or(Malformed::Truncated)?;
        if *kind != KIND {
            return Err(Malformed::Unsupported);
        }
        let (operation, rest) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        let (sender_mac, rest) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        let (sender_ip, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Truncated)?;
        let (target_mac, rest) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        let target_ip = rest.first_chunk::<4>().ok_or(Malformed::Truncated)?;
        Ok(Arp {
            operation: Operation(u16::from_be_bytes(*operation)),
            sender_mac: Mac::new(*sender_mac),
            sender_ip: Ipv4Addr::from(*sender_ip),
            target_mac: Mac::new(*target_mac),
            target_ip: Ipv4Addr::from(*target_ip),
        })
    }

    /// Its bytes.
    pub fn octets(&self) -> [u8; LEN] {
        let [k0, k1, k2, k3, k4, k5] = KIND;
        let [o0, o1] = self.operation.0.to_be_bytes();
        let [s0, s1, s2, s3, s4, s5] = self.sender_mac.octets();
        let [i0, i1, i2, i3] = self.sender_ip.octets();
        let [t0, t1, t2, t3, t4, t5] = self.target_mac.octets();
        let [j0, j1, j2, j3] = self.target_ip.octets();
        [
            k0, k1, k2, k3, k4, k5, o0, o1, s0, s1, s2, s3, s4, s5, i0, i1, i2, i3, t0, t1, t2, t3,
            t4, t5, j0, j1, j2, j3,
        ]
    }

    /// Writes it.
    #[inline]
    pub fn write(&self, to: &mut [u8; LEN]) {
        *to = self.octets();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 826, "Packet format": hardware 1, protocol 0x0800, lengths 6 and 4, a request.
    const GOLDEN: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2,
    ];

    #[test]
    fn golden_bytes_both_ways() {
        let arp = Arp {
            operation: Operation::REQUEST,
            sender_mac: Mac::new([2, 0, 0, 0, 0, 1]),
            sender_ip: Ipv4Addr::new(192, 0, 2, 1),
            target_mac: Mac::ZERO,
            target_ip: Ipv4Addr::new(192, 0, 2, 2),
        };
        assert_eq!(Arp::parse(&GOLDEN), Ok(arp));
        assert_eq!(arp.octets(), GOLDEN);
        let mut bytes = [0xff; LEN];
        arp.write(&mut bytes);
        assert_eq!(bytes, GOLDEN);
        // An Ethernet frame's payload has 46 bytes at least (IEEE 802.3 §3.2.8).
        let padded = [&GOLDEN[..], &[0; 18]].concat();
        assert_eq!(Arp::parse(&padded), Ok(arp));
    }

    #[test]
    fn other_hardware_and_protocols_are_refused() {
        // IANA "ARP Parameters": experimental Ethernet, IEEE 802, InfiniBand; then IPv6, other lengths.
        for (at, byte) in [(1, 2), (1, 6), (1, 32), (0, 1), (2, 0x86), (4, 8), (5, 16)] {
            let mut bytes = GOLDEN;
            bytes[at] = byte;
            assert_eq!(
                Arp::parse(&bytes),
                Err(Malformed::Unsupported),
                "{byte} at {at}"
            );
        }
        for len in 0..28 {
            assert_eq!(
                Arp::parse(&GOLDEN[..len]),
                Err(Malformed::Truncated),
                "{len} bytes"
            );
        }
    }
}
