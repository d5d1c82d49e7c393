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
