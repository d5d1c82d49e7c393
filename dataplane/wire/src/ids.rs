//! The names of things on the wire: each a newtype, so that a VSID is not a VLAN and a MAC not six bytes.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// All zero: no address.
    pub const ZERO: Mac = Mac([0; 6]);
    /// All ones.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// [`Mac::BROADCAST`] as a number.
    pub const BROADCAST_U64: u64 = 0xffff_ffff_ffff;

    /// From its six octets in the order of the wire.
    #[inline(always)]
    pub const fn new(octets: [u8; 6]) -> Self {
        Mac(octets)
    }

    /// Its six octets in the order of the wire.
    #[inline(always)]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// As a number of 48 bits, first octet highest.
    #[inline(always)]
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// From the low 48 bits of a number.
    #[inline(always)]
    pub const fn from_u64(number: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
        Mac([a, b, c, d, e, f])
    }

    /// Whether the group bit is set (IEEE 802 §8.2): multicast or broadcast.
    #[inline(always)]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is all ones.
    #[inline(always)]
    pub const fn is_broadcast(self) -> bool {
        self.to_u64() == Self::BROADCAST_U64
    }

    /// Whether it is all zero.
    #[inline(always)]
    pub const fn is_zero(self) -> bool {
        self.to_u64() == 0
    }

    /// The link-local IPv6 address made from it (RFC 4291 appendix A: modified EUI-64).
    pub const fn link_local(self) -> std::net::Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        std::net::Ipv6Addr::from_octets([
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            a ^ 2,
            b,
            c,
            0xff,
            0xfe,
            d,
            e,
            f,
        ])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAMac;

impl fmt::Display for NotAMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address of the form 02:00:00:00:00:01")
    }
}

impl std::error::Error for NotAMac {}

impl FromStr for Mac {
    type Err = NotAMac;

    /// Six pairs of hexadecimal digits with colons or dashes between them.
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().ok_or(NotAMac)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(NotAMac);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        match parts.next() {
            None => Ok(Mac(octets)),
            Some(_) => Err(NotAMac),
        }
    }
}

/// A virtual subnet's identifier: 24 bits on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vsid(u32);

impl Vsid {
    /// No virtual subnet's: what has none, such as a bridged VM network, holds it. Reserved (RFC 7637 §3.4), and accepted
    /// from nobody.
    pub const NONE: Vsid = Vsid(0);
    /// Least that may be given to a subnet: 0 to 0xFFF are reserved (RFC 7637 §3.4).
    pub const MIN: u32 = 0x1000;
    /// Greatest: 0xFFFFFF is for vendors (RFC 7637 §3.4).
    pub const MAX: u32 = 0xff_fffe;

    /// A VSID that a subnet may have; `None` outside [`MIN`](Self::MIN)…[`MAX`](Self::MAX).
    pub const fn new(id: u32) -> Option<Self> {
        if id < Self::MIN || id > Self::MAX {
            None
        } else {
            Some(Vsid(id))
        }
    }

    /// Whatever 24 bits the wire says; higher bits are ignored.
    #[inline(always)]
    pub const fn from_wire(id: u32) -> Self {
        Vsid(id & 0xff_ffff)
    }

    /// The number, below 2^24.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an Ethernet frame carries (IANA "IEEE 802 Numbers").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = EtherType(0x0800);
    /// ARP.
    pub const ARP: Self = EtherType(0x0806);
    /// 802.1Q tag.
    pub const VLAN: Self = EtherType(0x8100);
    /// 802.1ad service tag.
    pub const QINQ: Self = EtherType(0x88a8);
    /// IPv6.
    pub const IPV6: Self = EtherType(0x86dd);
    /// Transparent Ethernet bridging: what GRE says of an Ethernet payload (RFC 7637 §3.2).
    pub const TEB: Self = EtherType(0x6558);
}

/// What an IP packet carries (IANA "Protocol Numbers").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: Self = IpProtocol(0);
    /// ICMP.
    pub const ICMP: Self = IpProtocol(1);
    /// IGMP.
    pub const IGMP: Self = IpProtocol(2);
    /// TCP.
    pub const TCP: Self = IpProtocol(6);
    /// UDP.
    pub const UDP: Self = IpProtocol(17);
    /// Datagram congestion control.
    pub const DCCP: Self = IpProtocol(33);
    /// IPv6 routing header.
    pub const ROUTING: Self = IpProtocol(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Self = IpProtocol(44);
    /// GRE.
    pub const GRE: Self = IpProtocol(47);
    /// Encapsulating security payload.
    pub const ESP: Self = IpProtocol(50);
    /// Authentication header.
    pub const AUTHENTICATION: Self = IpProtocol(51);
    /// ICMPv6.
    pub const ICMPV6: Self = IpProtocol(58);
    /// Nothing follows (IPv6).
    pub const NONE: Self = IpProtocol(59);
    /// IPv6 destination options.
    pub const DESTINATION: Self = IpProtocol(60);
    /// SCTP.
    pub const SCTP: Self = IpProtocol(132);
    /// UDP-Lite.
    pub const UDP_LITE: Self = IpProtocol(136);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_reads_prints_and_counts() {
        let mac: Mac = "02:00:de:AD:be:ef".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:de:ad:be:ef");
        assert_eq!(Mac::from_u64(mac.to_u64()), mac);
        assert_eq!(mac.to_u64(), 0x0200_dead_beef);
        assert!(
            !mac.is_multicast() && Mac::BROADCAST.is_broadcast() && Mac::BROADCAST.is_multicast()
        );
        for bad in [
            "",
            "02:00",
            "02:00:00:00:00:0",
            "02:00:00:00:00:00:00",
            "+2:00:00:00:00:00",
            "gg:00:00:00:00:00",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(NotAMac), "{bad}");
        }
    }

    #[test]
    fn link_local_is_modified_eui_64() {
        // RFC 4291 appendix A: the universal bit is inverted, FF FE goes between.
        let mac = Mac::new([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
        assert_eq!(mac.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
    }

    #[test]
    fn vsids_keep_to_rfc_7637_3_4() {
        assert_eq!(Vsid::new(0xfff), None);
        assert_eq!(Vsid::new(0x1000).map(Vsid::get), Some(4096));
        assert_eq!(Vsid::new(16_777_214).map(Vsid::get), Some(0xff_fffe));
        assert_eq!(Vsid::new(0xff_ffff), None);
        assert_eq!(Vsid::from_wire(0xffff_ffff).get(), 0xff_ffff);
    }
}
