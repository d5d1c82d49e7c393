//! IPv4 (RFC 791), and changes to its header that keep the checksum right (RFC 1624).

use crate::Mac;
use crate::{IpProtocol, Malformed, checksum};
use std::net::Ipv4Addr;

/// Bytes of a header without options: what the setters below change.
pub const HEADER: usize = 20;

/// The MAC of a group (RFC 1112 §6.4: its lower 23 bits).
pub const fn group_mac(group: Ipv4Addr) -> Mac {
    let [_, b, c, d] = group.octets();
    Mac::new([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}

/// The 16 bits about fragments: flags, then the offset (RFC 791 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fragmentation(pub u16);

impl Fragmentation {
    /// Neither a fragment nor forbidden to become one.
    pub const NONE: Self = Fragmentation(0);
    /// Do not fragment.
    pub const DONT: Self = Fragmentation(0x4000);
    /// More fragments follow.
    pub const MORE: Self = Fragmentation(0x2000);

    /// Whether it must not be fragmented.
    #[inline]
    pub const fn dont_fragment(self) -> bool {
        self.0 & Self::DONT.0 != 0
    }

    /// Whether more fragments follow.
    #[inline]
    pub const fn more_fragments(self) -> bool {
        self.0 & Self::MORE.0 != 0
    }

    /// Where the payload belongs in the whole packet's, in bytes: a multiple of 8.
    #[inline]
    pub const fn offset(self) -> usize {
        (self.0 & 0x1fff) as usize * 8
    }

    /// Whether the packet is part of a larger one.
    #[inline]
    pub const fn is_fragment(self) -> bool {
        self.0 & 0x3fff != 0
    }
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    header: &'a [u8; HEADER],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// Reads a packet; what lies behind its total length (an Ethernet frame's padding) is left out.
    ///
    /// [`Malformed::Truncated`] if there are fewer bytes than a header has or the total length says,
    /// [`Malformed::Version`] if it is not 4, [`Malformed::HeaderLength`] below 20 or beyond the bytes,
    /// [`Malformed::TotalLength`] below the header's. The checksum is not looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let packet = Self::parse_quote(bytes)?;
        if packet.header_len() + packet.payload.len() < usize::from(packet.total_len()) {
            return Err(Malformed::Truncated);
        }
        Ok(packet)
    }

    /// Reads a packet that may have been cut short behind its header, as an ICMP error quotes it
    /// (RFC 792; RFC 1812 §4.3.2.3). Otherwise as [`parse`](Self::parse).
    #[inline]
    pub fn parse_quote(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(Malformed::Truncated)?;
        let [first, _, l0, l1, ..] = *header;
        if first >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let options = usize::from(first & 0x0f) * 4;
        let options = options.checked_sub(HEADER).ok_or(Malformed::HeaderLength)?;
        let (options, payload) = rest
            .split_at_checked(options)
            .ok_or(Malformed::HeaderLength)?;
        let total = usize::from(u16::from_be_bytes([l0, l1]));
        let length = total
            .checked_sub(HEADER + options.len())
            .ok_or(Malformed::TotalLength)?;
        Ok(Ipv4 {
            header,
            options,
            payload: payload.get(..length).unwrap_or(payload),
        })
    }

    /// Header and options, in bytes: 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        HEADER + self.options.len()
    }

    /// Header, options and payload as the header says, in bytes.
    #[inline]
    pub fn total_len(&self) -> u16 {
        let [_, _, l0, l1, ..] = *self.header;
        u16::from_be_bytes([l0, l1])
    }

    /// Type of service: DSCP (RFC 2474 §3) in the upper six bits, ECN (RFC 3168 §5) in the lower two.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.header[1]
    }

    /// What fragments of one packet have in common.
    #[inline]
    pub fn identification(&self) -> u16 {
        let [_, _, _, _, i0, i1, ..] = *self.header;
        u16::from_be_bytes([i0, i1])
    }

    /// Flags and fragment offset.
    #[inline]
    pub fn fragmentation(&self) -> Fragmentation {
        let [_, _, _, _, _, _, f0, f1, ..] = *self.header;
        Fragmentation(u16::from_be_bytes([f0, f1]))
    }

    /// Time to live, in hops.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.header[8]
    }

    /// What it carries.
    #[inline]
    pub fn protocol(&self) -> IpProtocol {
        IpProtocol(self.header[9])
    }

    /// The header's checksum as it stands there.
    #[inline]
    pub fn checksum(&self) -> u16 {
        let [_, _, _, _, _, _, _, _, _, _, c0, c1, ..] = *self.header;
        u16::from_be_bytes([c0, c1])
    }

    /// Whether the checksum is that of header and options.
    #[inline]
    pub fn checksum_is_right(&self) -> bool {
        let mut sum = checksum::Sum::new();
        sum.add(self.header);
        sum.add(self.options);
        sum.fold() == 0xffff
    }

    /// Who sends.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        let [.., s0, s1, s2, s3, _, _, _, _] = *self.header;
        Ipv4Addr::new(s0, s1, s2, s3)
    }

    /// Who is meant.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        let [.., d0, d1, d2, d3] = *self.header;
        Ipv4Addr::new(d0, d1, d2, d3)
    }

    /// The options, unread: 0 to 40 bytes.
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        self.options
    }

    /// What it carries, no further than the total length.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The header as a value, but for options, whose bytes its total length still counts.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            tos: self.tos(),
            total_length: self.total_len(),
            identification: self.identification(),
            fragmentation: self.fragmentation(),
            ttl: self.ttl(),
            protocol: self.protocol(),
            source: self.source(),
            destination: self.destination(),
        }
    }
}

/// A header without options, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of service; see [`Ipv4::tos`].
    pub tos: u8,
    /// Header and payload, in bytes: 20 at least.
    pub total_length: u16,
    /// What fragments of one packet have in common.
    pub identification: u16,
    /// Flags and fragment offset.
    pub fragmentation: Fragmentation,
    /// Time to live, in hops.
    pub ttl: u8,
    /// What it carries.
    pub protocol: IpProtocol,
    /// Who sends.
    pub source: Ipv4Addr,
    /// Who is meant.
    pub destination: Ipv4Addr,
}

impl Header {
    /// Its bytes, with the checksum.
    #[inline]
    pub fn octets(&self) -> [u8; HEADER] {
        let [l0, l1] = self.total_length.to_be_bytes();
        let [i0, i1] = self.identification.to_be_bytes();
        let [f0, f1] = self.fragmentation.0.to_be_bytes();
        let [s0, s1, s2, s3] = self.source.octets();
        let [d0, d1, d2, d3] = self.destination.octets();
        let (tos, ttl, protocol) = (self.tos, self.ttl, self.protocol.0);
        let mut octets = [
            0x45, tos, l0, l1, i0, i1, f0, f1, ttl, protocol, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3,
        ];
        let checksum = checksum::checksum(&octets);
        put_checksum(&mut octets, checksum);
        octets
    }

    /// Writes it.
    #[inline]
    pub fn write(&self, to: &mut [u8; HEADER]) {
        *to = self.octets();
    }
}

#[inline]
fn put_checksum(header: &mut [u8; HEADER], checksum: u16) {
    let [_, _, _, _, _, _, _, _, _, _, c0, c1, ..] = header;
    [*c0, *c1] = checksum.to_be_bytes();
}

#[inline]
fn get_checksum(header: &[u8; HEADER]) -> u16 {
    let [_, _, _, _, _, _, _, _, _, _, c0, c1, ..] = *header;
    u16::from_be_bytes([c0, c1])
}

/// Puts a total length (header, options and payload, in bytes) and keeps the checksum as right as it was,
/// in a header with or without options. So do those below.
#[inline]
pub fn set_total_length(header: &mut [u8; HEADER], length: u16) {
    let [_, _, l0, l1, ..] = header;
    let old = u16::from_be_bytes([*l0, *l1]);
    [*l0, *l1] = length.to_be_bytes();
    put_checksum(
        header,
        checksum::update16(get_checksum(header), old, length),
    );
}

/// Puts flags and fragment offset.
#[inline]
pub fn set_fragmentation(header: &mut [u8; HEADER], fragmentation: Fragmentation) {
    let [_, _, _, _, _, _, f0, f1, ..] = header;
    let old = u16::from_be_bytes([*f0, *f1]);
    [*f0, *f1] = fragmentation.0.to_be_bytes();
    let checksum = checksum::update16(get_checksum(header), old, fragmentation.0);
    put_checksum(header, checksum);
}

/// First byte of a header without options: version 4, five words.
pub const PLAIN: u8 = 0x45;

/// Whether it is the header that nearly every packet has, without options, and its checksum is right.
#[inline(always)]
pub fn is_plain(header: &[u8; HEADER]) -> bool {
    header[0] == PLAIN && checksum::sum(header) == 0xffff
}

/// Takes a hop from the time to live and returns what is left. `None`, and nothing changed, if that would
/// be 0: the packet is to be dropped, and its sender told (RFC 1812 §5.3.1).
#[inline]
#[must_use]
pub fn decrement_ttl(header: &mut [u8; HEADER]) -> Option<u8> {
    let [_, _, _, _, _, _, _, _, ttl, protocol, ..] = header;
    let left = ttl.checked_sub(1).filter(|left| *left > 0)?;
    let old = u16::from_be_bytes([*ttl, *protocol]);
    let new = u16::from_be_bytes([left, *protocol]);
    *ttl = left;
    put_checksum(header, checksum::update16(get_checksum(header), old, new));
    Some(left)
}

/// The same of a header that [`is_plain`]; also `None` of others, of which a router must not pass those on whose checksum
/// is wrong (RFC 1812 §5.2.2).
#[inline(always)]
#[must_use]
pub fn hop(header: &mut [u8; HEADER]) -> Option<()> {
    if !is_plain(header) {
        return None;
    }
    let [_, _, _, _, _, _, _, _, t, p, c0, c1, ..] = header;
    let was = u32::from_be_bytes([*t, *p, *c0, *c1]);
    if was >> 24 < 2 {
        return None;
    }
    // RFC 1624 §3, equation 3: one less in the upper byte is 0x0100 more in the checksum, of which 0xffff is 0.
    let checksum = (was & 0xffff) + 0x0100;
    let checksum = (checksum + u32::from(checksum >= 0xffff)) & 0xffff;
    let is = (was - (1 << 24)) & 0xffff_0000 | checksum;
    [*t, *p, *c0, *c1] = is.to_be_bytes();
    Some(())
}

/// Puts a type of service.
#[inline]
pub fn set_tos(header: &mut [u8; HEADER], tos: u8) {
    let [version, own, ..] = header;
    let old = u16::from_be_bytes([*version, *own]);
    let new = u16::from_be_bytes([*version, tos]);
    *own = tos;
    put_checksum(header, checksum::update16(get_checksum(header), old, new));
}

/// Puts a time to live.
#[inline]
pub fn set_ttl(header: &mut [u8; HEADER], ttl: u8) {
    let [_, _, _, _, _, _, _, _, own, protocol, ..] = header;
    let old = u16::from_be_bytes([*own, *protocol]);
    let new = u16::from_be_bytes([ttl, *protocol]);
    *own = ttl;
    put_checksum(header, checksum::update16(get_checksum(header), old, new));
}

/// Puts a source.
#[inline]
pub fn set_source(header: &mut [u8; HEADER], source: Ipv4Addr) {
    let [.., s0, s1, s2, s3, _, _, _, _] = header;
    let old = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
    [*s0, *s1, *s2, *s3] = source.octets();
    put_checksum(
        header,
        checksum::update32(get_checksum(header), old, source.to_bits()),
    );
}

/// Puts a destination.
#[inline]
pub fn set_destination(header: &mut [u8; HEADER], destination: Ipv4Addr) {
    let [.., d0, d1, d2, d3] = header;
    let old = u32::from_be_bytes([*d0, *d1, *d2, *d3]);
    [*d0, *d1, *d2, *d3] = destination.octets();
    put_checksum(
        header,
        checksum::update32(get_checksum(header), old, destination.to_bits()),
    );
}

/// Sends a packet back: source and destination change places, which no checksum sees.
#[inline]
pub fn swap_addresses(header: &mut [u8; HEADER]) {
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
    std::mem::swap(s0, d0);
    std::mem::swap(s1, d1);
    std::mem::swap(s2, d2);
    std::mem::swap(s3, d3);
}

#[cfg(test)]
mod tests;
