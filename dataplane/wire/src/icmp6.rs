//! ICMPv6 (RFC 4443). Neighbour discovery is in [`crate::nd`].

use crate::{IpProtocol, Malformed, checksum};
use std::net::Ipv6Addr;

/// Bytes of every message's header: type, code, checksum (RFC 4443 §2.1).
pub const HEADER: usize = 4;

/// Most bytes of the refused packet that an error quotes: the whole then has 1280 (RFC 4443 §2.4 (c)).
pub const MAX_QUOTE: usize = 1280 - 40 - 8;

/// Destination unreachable: an error (RFC 4443 §3.1).
pub const UNREACHABLE: u8 = 1;
/// Packet too big: an error (RFC 4443 §3.2).
pub const PACKET_TOO_BIG: u8 = 2;
/// Time exceeded: an error (RFC 4443 §3.3).
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter problem: an error (RFC 4443 §3.4).
pub const PARAMETER_PROBLEM: u8 = 4;
/// Echo request (RFC 4443 §4.1).
pub const ECHO_REQUEST: u8 = 128;
/// Echo reply (RFC 4443 §4.2).
pub const ECHO_REPLY: u8 = 129;
/// Multicast listener query (RFC 2710 §3; RFC 3810 §5.1).
pub const MLD_QUERY: u8 = 130;
/// Multicast listener report, version 1 (RFC 2710 §3).
pub const MLD_REPORT: u8 = 131;
/// Multicast listener done (RFC 2710 §3).
pub const MLD_DONE: u8 = 132;
/// Router solicitation (RFC 4861 §4.1).
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement (RFC 4861 §4.2).
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation (RFC 4861 §4.3).
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Neighbour advertisement (RFC 4861 §4.4).
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Redirect (RFC 4861 §4.5): no error, for all its quoting.
pub const REDIRECT: u8 = 137;
/// Multicast listener report, version 2 (RFC 3810 §5.2).
pub const MLD2_REPORT: u8 = 143;

/// Code of [`UNREACHABLE`]: no route to the destination.
pub const NO_ROUTE: u8 = 0;
/// Code of [`UNREACHABLE`]: beyond the scope of the source address.
pub const BEYOND_SCOPE: u8 = 2;
/// Code of [`UNREACHABLE`]: the address.
pub const ADDRESS: u8 = 3;
/// Code of [`UNREACHABLE`]: the port.
pub const PORT: u8 = 4;

/// Whether a type is an error's (RFC 4443 §2.1: the high bit is not set). No error is sent about an error
/// (§2.4 (e.1)).
#[inline]
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

/// What an echo request and its reply have in common.
pub use crate::icmp::Echo;

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Icmp6<'a> {
    message: &'a [u8],
    header: &'a [u8; HEADER],
    body: &'a [u8],
}

impl<'a> Icmp6<'a> {
    /// Reads the payload of an IPv6 packet; [`Malformed::Truncated`] below 4 bytes. The checksum is not
    /// looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Icmp6 {
            message: bytes,
            header,
            body,
        })
    }

    /// The type: one of the constants above, or another.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.header[0]
    }

    /// The code, whose meaning is the type's.
    #[inline]
    pub fn code(&self) -> u8 {
        self.header[1]
    }

    /// The checksum as it stands there.
    #[inline]
    pub fn checksum(&self) -> u16 {
        let [_, _, c0, c1] = *self.header;
        u16::from_be_bytes([c0, c1])
    }

    /// Whether the checksum is that of the message between these addresses (RFC 4443 §2.3).
    #[inline]
    pub fn checksum_is_right(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        let mut sum = pseudo(source, destination, self.message.len());
        sum.add(self.message);
        sum.fold() == 0xffff
    }

    /// What lies behind the first four bytes.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Of an echo request or its reply: what they have in common, and the data.
    #[inline]
    pub fn echo(&self) -> Option<(Echo, &'a [u8])> {
        if !matches!(*self.header, [ECHO_REQUEST | ECHO_REPLY, 0, ..]) {
            return None;
        }
        let ([i0, i1, s0, s1], data) = self.body.split_first_chunk()?;
        let echo = Echo {
            identifier: u16::from_be_bytes([*i0, *i1]),
            sequence: u16::from_be_bytes([*s0, *s1]),
        };
        Some((echo, data))
    }

    /// Of "packet too big": the next hop's MTU in bytes, IPv6 header included, as it stands there: below
    /// 1280 it is none that a link may have (RFC 8200 §5; RFC 8201 §4 has it ignored).
    #[inline]
    pub fn mtu(&self) -> Option<u32> {
        if self.kind() != PACKET_TOO_BIG {
            return None;
        }
        self.body.first_chunk().map(|mtu| u32::from_be_bytes(*mtu))
    }

    /// Of an error: the start of the packet it is about, for [`crate::ipv6::Ipv6::parse_quote`]. It ends
    /// where extensions begin if the message says where (RFC 4884 §4.4, §4.5: in 8-byte units), and at the
    /// message's end if it says nothing, or more than there is.
    #[inline]
    pub fn quote(&self) -> Option<&'a [u8]> {
        let kind = self.kind();
        if !(UNREACHABLE..=PARAMETER_PROBLEM).contains(&kind) {
            return None;
        }
        let ([length, _, _, _], quote) = self.body.split_first_chunk()?;
        let length = usize::from(*length) * 8;
        if matches!(kind, UNREACHABLE | TIME_EXCEEDED) && length != 0 {
            return Some(quote.get(..length).unwrap_or(quote));
        }
        Some(quote)
    }
}

/// The pseudo-header's sum (RFC 4443 §2.3). No packet is longer than 32 bits can say.
#[inline]
pub(crate) fn pseudo(source: Ipv6Addr, destination: Ipv6Addr, length: usize) -> checksum::Sum {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let next = IpProtocol::ICMPV6.0;
    checksum::pseudo_v6(source.octets(), destination.octets(), next, length)
}

/// Makes an echo request its reply. `false`, and nothing changed, if it is none. The addresses are the IP
/// header's affair: [`crate::ipv6::swap_addresses`], which the checksum does not see.
#[inline]
#[must_use]
pub fn make_echo_reply(header: &mut [u8; HEADER]) -> bool {
    let [kind @ ECHO_REQUEST, 0, c0, c1] = header else {
        return false;
    };
    *kind = ECHO_REPLY;
    let checksum = u16::from_be_bytes([*c0, *c1]);
    let old = u16::from_be_bytes([ECHO_REQUEST, 0]);
    let new = u16::from_be_bytes([ECHO_REPLY, 0]);
    [*c0, *c1] = checksum::update16(checksum, old, new).to_be_bytes();
    true
}

/// The header of an echo or an error with the four bytes that follow it, to be written before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The four bytes whose meaning is the type's.
    pub rest: [u8; 4],
}

impl Header {
    /// Bytes that are written.
    pub const LEN: usize = 8;

    /// Of an echo request; of its reply with [`ECHO_REPLY`] as `kind`.
    pub const fn echo(kind: u8, echo: Echo) -> Self {
        let [i0, i1] = echo.identifier.to_be_bytes();
        let [s0, s1] = echo.sequence.to_be_bytes();
        Header {
            kind,
            code: 0,
            rest: [i0, i1, s0, s1],
        }
    }

    /// Of "packet too big": `mtu` of the next hop in bytes, IPv6 header included (RFC 4443 §3.2).
    pub const fn packet_too_big(mtu: u32) -> Self {
        Header {
            kind: PACKET_TOO_BIG,
            code: 0,
            rest: mtu.to_be_bytes(),
        }
    }

    /// Of "destination unreachable" with a code of RFC 4443 §3.1.
    pub const fn unreachable(code: u8) -> Self {
        Header {
            kind: UNREACHABLE,
            code,
            rest: [0; 4],
        }
    }

    /// Of "hop limit exceeded in transit" (RFC 4443 §3.3).
    pub const fn time_exceeded() -> Self {
        Header {
            kind: TIME_EXCEEDED,
            code: 0,
            rest: [0; 4],
        }
    }

    /// Its bytes, with the checksum of it and `payload` (of an error, the [`quote`] of a packet) between
    /// these addresses.
    #[inline]
    pub fn octets(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        payload: &[u8],
    ) -> [u8; Self::LEN] {
        let [r0, r1, r2, r3] = self.rest;
        let mut sum = pseudo(source, destination, Self::LEN.saturating_add(payload.len()));
        sum.add(&[self.kind, self.code, 0, 0, r0, r1, r2, r3]);
        sum.add(payload);
        let [c0, c1] = sum.finish().to_be_bytes();
        [self.kind, self.code, c0, c1, r0, r1, r2, r3]
    }
}

/// As much of an IPv6 packet, from its header on, as an error about it carries.
#[inline]
pub fn quote(packet: &[u8]) -> &[u8] {
    packet.get(..MAX_QUOTE).unwrap_or(packet)
}

#[cfg(test)]
mod tests;
