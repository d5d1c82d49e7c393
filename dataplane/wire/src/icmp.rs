//! ICMP (RFC 792), with the next hop's MTU (RFC 1191 §4) and the length of the quote (RFC 4884 §4).

use crate::{Malformed, checksum};

/// Bytes of every message's header.
pub const HEADER: usize = 8;

/// Most bytes of the refused packet that an error quotes: the whole then has 576 (RFC 1812 §4.3.2.3).
pub const MAX_QUOTE: usize = 576 - 20 - HEADER;

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable: an error.
pub const UNREACHABLE: u8 = 3;
/// Source quench: an error (deprecated by RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Redirect: an error.
pub const REDIRECT: u8 = 5;
/// Echo.
pub const ECHO: u8 = 8;
/// Time exceeded: an error.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem: an error.
pub const PARAMETER_PROBLEM: u8 = 12;

/// Code of [`UNREACHABLE`]: network.
pub const NETWORK: u8 = 0;
/// Code of [`UNREACHABLE`]: host.
pub const HOST: u8 = 1;
/// Code of [`UNREACHABLE`]: port.
pub const PORT: u8 = 3;
/// Code of [`UNREACHABLE`]: fragmentation needed and forbidden.
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Code of [`UNREACHABLE`]: administratively prohibited (RFC 1812 §5.2.7.1).
pub const PROHIBITED: u8 = 13;

/// Whether a type is an error's. No error is sent about an error (RFC 1122 §3.2.2).
#[inline]
pub const fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
    )
}

/// What an echo and its reply have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Who asks.
    pub identifier: u16,
    /// Which of its questions.
    pub sequence: u16,
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a> {
    header: &'a [u8; HEADER],
    payload: &'a [u8],
}

impl<'a> Icmp<'a> {
    /// Reads the payload of an IPv4 packet; [`Malformed::Truncated`] below 8 bytes. The checksum is not
    /// looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Icmp { header, payload })
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
        let [_, _, c0, c1, ..] = *self.header;
        u16::from_be_bytes([c0, c1])
    }

    /// Whether the checksum is that of the message. ICMP has no pseudo-header.
    #[inline]
    pub fn checksum_is_right(&self) -> bool {
        let mut sum = checksum::Sum::new();
        sum.add(self.header);
        sum.add(self.payload);
        sum.fold() == 0xffff
    }

    /// What lies behind the header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Of an echo or its reply.
    #[inline]
    pub fn echo(&self) -> Option<Echo> {
        let [kind, 0, _, _, i0, i1, s0, s1] = *self.header else {
            return None;
        };
        matches!(kind, ECHO | ECHO_REPLY).then_some(Echo {
            identifier: u16::from_be_bytes([i0, i1]),
            sequence: u16::from_be_bytes([s0, s1]),
        })
    }

    /// Of "fragmentation needed": the next hop's MTU in bytes, IP header included. `None` of another
    /// message and of a router older than RFC 1191, which says 0 (§4).
    #[inline]
    pub fn next_hop_mtu(&self) -> Option<u16> {
        match *self.header {
            [UNREACHABLE, FRAGMENTATION_NEEDED, _, _, _, _, m0, m1] => {
                Some(u16::from_be_bytes([m0, m1])).filter(|mtu| *mtu != 0)
            }
            _ => None,
        }
    }

    /// Of an error: the start of the packet it is about, for [`crate::ipv4::Ipv4::parse_quote`]. It ends
    /// where extensions begin if the message says where (RFC 4884 §4.1 to §4.3: in 4-byte units), and at
    /// the message's end if it says nothing, or more than there is.
    #[inline]
    pub fn quote(&self) -> Option<&'a [u8]> {
        let [kind, _, _, _, _, length, _, _] = *self.header;
        if !is_error(kind) {
            return None;
        }
        let has_length = matches!(kind, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM);
        let length = usize::from(length) * 4;
        if has_length && length != 0 {
            return Some(self.payload.get(..length).unwrap_or(self.payload));
        }
        Some(self.payload)
    }
}

/// Makes an echo its reply (RFC 792: "the type code changed to 0, and the checksum recomputed"). `false`,
/// and nothing changed, if it is no echo. The addresses are the IP header's affair:
/// [`crate::ipv4::swap_addresses`].
#[inline]
#[must_use]
pub fn make_echo_reply(header: &mut [u8; HEADER]) -> bool {
    let [kind @ ECHO, 0, c0, c1, ..] = header else {
        return false;
    };
    *kind = ECHO_REPLY;
    let checksum = u16::from_be_bytes([*c0, *c1]);
    let old = u16::from_be_bytes([ECHO, 0]);
    let new = u16::from_be_bytes([ECHO_REPLY, 0]);
    // A reply of zeros alone sums to +0 and needs 0xffff, which RFC 1624 §3 cannot tell from 0; in any other
    // message the two are the same number.
    let checksum = match checksum::update16(checksum, old, new) {
        0 => 0xffff,
        other => other,
    };
    [*c0, *c1] = checksum.to_be_bytes();
    true
}

/// A message's header, to be written before its payload.
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
    /// Of an echo; of its reply with [`ECHO_REPLY`] as `kind`.
    pub const fn echo(kind: u8, echo: Echo) -> Self {
        let [i0, i1] = echo.identifier.to_be_bytes();
        let [s0, s1] = echo.sequence.to_be_bytes();
        Header {
            kind,
            code: 0,
            rest: [i0, i1, s0, s1],
        }
    }

    /// Of "fragmentation needed": `mtu` of the next hop in bytes, IP header included (RFC 1191 §4).
    pub const fn fragmentation_needed(mtu: u16) -> Self {
        let [m0, m1] = mtu.to_be_bytes();
        Header {
            kind: UNREACHABLE,
            code: FRAGMENTATION_NEEDED,
            rest: [0, 0, m0, m1],
        }
    }

    /// Of "destination unreachable" with another code, such as [`HOST`] or [`PROHIBITED`].
    pub const fn unreachable(code: u8) -> Self {
        Header {
            kind: UNREACHABLE,
            code,
            rest: [0; 4],
        }
    }

    /// Of "time to live exceeded in transit".
    pub const fn time_exceeded() -> Self {
        Header {
            kind: TIME_EXCEEDED,
            code: 0,
            rest: [0; 4],
        }
    }

    /// Its bytes, with the checksum of it and `payload`: of an error, the [`quote`] of a packet.
    #[inline]
    pub fn octets(&self, payload: &[u8]) -> [u8; HEADER] {
        let [r0, r1, r2, r3] = self.rest;
        let mut sum = checksum::Sum::new();
        sum.add(&[self.kind, self.code, 0, 0, r0, r1, r2, r3]);
        sum.add(payload);
        let [c0, c1] = sum.finish().to_be_bytes();
        [self.kind, self.code, c0, c1, r0, r1, r2, r3]
    }

    /// Writes it.
    #[inline]
    pub fn write(&self, payload: &[u8], to: &mut [u8; HEADER]) {
        *to = self.octets(payload);
    }
}

/// As much of an IPv4 packet, from its header on, as an error about it carries.
#[inline]
pub fn quote(packet: &[u8]) -> &[u8] {
    packet.get(..MAX_QUOTE).unwrap_or(packet)
}

#[cfg(test)]
mod tests;
