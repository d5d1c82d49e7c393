//! TCP (RFC 9293).

use crate::checksum::{self, Sum};
use crate::{IpProtocol, Malformed};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a header without options.
pub const HEADER: usize = 20;

/// Most bytes of options: the data offset has four bits.
pub const MAX_OPTIONS: usize = 40;

/// Control bits (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Flags(0x02);
    /// Reset the connection.
    pub const RST: Self = Flags(0x04);
    /// Push.
    pub const PSH: Self = Flags(0x08);
    /// The acknowledgment counts.
    pub const ACK: Self = Flags(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Flags(0x20);
    /// ECN echo (RFC 3168 §6.1).
    pub const ECE: Self = Flags(0x40);
    /// Congestion window reduced (RFC 3168 §6.1).
    pub const CWR: Self = Flags(0x80);

    /// Both of two.
    pub const fn with(self, other: Self) -> Self {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// An option (RFC 9293 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Maximum segment size, in bytes: kind 2 (RFC 9293 §3.7.1).
    Mss(u16),
    /// Bits to shift the window by: kind 3 (RFC 7323 §2.2).
    WindowScale(u8),
    /// Selective acknowledgment permitted: kind 4 (RFC 2018 §2).
    SackPermitted,
    /// Kind 8 (RFC 7323 §3.2).
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The receiver's clock, as last seen by the sender.
        echo: u32,
    },
    /// Another, or one of a length that is not its own.
    Other {
        /// Its kind.
        kind: u8,
        /// What lies behind kind and length.
        body: &'a [u8],
    },
}

/// A segment's options, one after another; no-operations are passed over. It ends at the end of the list,
/// and after an error.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    /// [`Malformed::HeaderLength`] of a length below 2, [`Malformed::Truncated`] beyond the options.
    type Item = Result<TcpOption<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        // An option takes a byte at least, so this ends.
        while let Some((&kind, rest)) = self.rest.split_first() {
            match kind {
                0 => break,
                1 => self.rest = rest,
                kind => return Some(self.long(kind, rest)),
            }
        }
        self.rest = &[];
        None
    }
}

impl<'a> Options<'a> {
    /// An option with a length, which counts kind and length too (RFC 9293 §3.2).
    fn long(&mut self, kind: u8, rest: &'a [u8]) -> Result<TcpOption<'a>, Malformed> {
        self.rest = &[];
        let (&length, rest) = rest.split_first().ok_or(Malformed::Truncated)?;
        let length = usize::from(length)
            .checked_sub(2)
            .ok_or(Malformed::HeaderLength)?;
        let (body, rest) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(match (kind, body) {
            (2, &[a, b]) => TcpOption::Mss(u16::from_be_bytes([a, b])),
            (3, &[shift]) => TcpOption::WindowScale(shift),
            (4, []) => TcpOption::SackPermitted,
            (8, &[a, b, c, d, e, f, g, h]) => TcpOption::Timestamps {
                value: u32::from_be_bytes([a, b, c, d]),
                echo: u32::from_be_bytes([e, f, g, h]),
            },
            _ => TcpOption::Other { kind, body },
        })
    }
}

/// A segment.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    segment: &'a [u8],
    header: &'a [u8; HEADER],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// Reads an IP packet's payload, all of it.
    ///
    /// [`Malformed::Truncated`] if there are fewer bytes than a header has, [`Malformed::HeaderLength`] if
    /// the data offset is below 20 bytes or beyond the segment. The checksum is not looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(Malformed::Truncated)?;
        let options = usize::from(header[12] >> 4) * 4;
        let options = options.checked_sub(HEADER).ok_or(Malformed::HeaderLength)?;
        let (options, payload) = rest
            .split_at_checked(options)
            .ok_or(Malformed::HeaderLength)?;
        Ok(Tcp {
            segment: bytes,
            header,
            options,
            payload,
        })
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

    /// The sequence number of the first byte of data, or of SYN.
    #[inline]
    pub fn sequence(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The sequence number that the sender expects next, if [`Flags::ACK`] is set.
    #[inline]
    pub fn acknowledgment(&self) -> u32 {
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Header and options, in bytes: 20 to 60.
    #[inline]
    pub fn data_offset(&self) -> usize {
        HEADER + self.options.len()
    }

    /// Control bits.
    #[inline]
    pub fn flags(&self) -> Flags {
        Flags(self.header[13])
    }

    /// Bytes that the sender will take, not yet scaled (RFC 7323 §2.2).
    #[inline]
    pub fn window(&self) -> u16 {
        let [.., w0, w1, _, _, _, _] = *self.header;
        u16::from_be_bytes([w0, w1])
    }

    /// The checksum as it stands there.
    #[inline]
    pub fn checksum(&self) -> u16 {
        let [.., c0, c1, _, _] = *self.header;
        u16::from_be_bytes([c0, c1])
    }

    /// Where urgent data ends, as an offset from the sequence number, if [`Flags::URG`] is set.
    #[inline]
    pub fn urgent(&self) -> u16 {
        let [.., u0, u1] = *self.header;
        u16::from_be_bytes([u0, u1])
    }

    /// Whether the checksum is the segment's between these addresses; not of a segment beyond 65,535 bytes,
    /// which IPv4 does not carry.
    #[inline]
    pub fn checksum_is_right_v4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        match u16::try_from(self.segment.len()) {
            Ok(length) => self.sums_up(pseudo_v4(source, destination, length)),
            Err(_) => false,
        }
    }

    /// Whether the checksum is the segment's between these addresses.
    #[inline]
    pub fn checksum_is_right_v6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        self.sums_up(pseudo_v6(source, destination, self.segment.len()))
    }

    #[inline]
    fn sums_up(&self, mut sum: Sum) -> bool {
        sum.add(self.segment);
        sum.fold() == 0xffff
    }

    /// The options.
    #[inline]
    pub fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// The maximum segment size, if it is said before anything malformed; it counts with [`Flags::SYN`] only
    /// (RFC 9293 §3.7.1).
    #[inline]
    pub fn mss(&self) -> Option<u16> {
        self.options().find_map(|option| match option {
            Ok(TcpOption::Mss(mss)) => Some(mss),
            _ => None,
        })
    }

    /// What it carries.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The header as a value, but for options and checksum.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            source_port: self.source_port(),
            destination_port: self.destination_port(),
            sequence: self.sequence(),
            acknowledgment: self.acknowledgment(),
            flags: self.flags(),
            window: self.window(),
            urgent: self.urgent(),
        }
    }
}

#[inline]
fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, length: u16) -> Sum {
    let (source, destination) = (source.octets(), destination.octets());
    checksum::pseudo_v4(source, destination, IpProtocol::TCP.0, length)
}

#[inline]
fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, length: usize) -> Sum {
    let (source, destination) = (source.octets(), destination.octets());
    // No packet is longer than 32 bits can say.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    checksum::pseudo_v6(source, destination, IpProtocol::TCP.0, length)
}

/// A header, to be written before options and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// From which port.
    pub source_port: u16,
    /// To which port.
    pub destination_port: u16,
    /// The sequence number of the first byte of data, or of SYN.
    pub sequence: u32,
    /// The sequence number that is expected next.
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: Flags,
    /// Bytes that the sender will take, not yet scaled.
    pub window: u16,
    /// Where urgent data ends.
    pub urgent: u16,
}

impl Header {
    /// Its bytes, with the checksum of it, `options` and `payload` between these addresses.
    ///
    /// `None` if the options are more than [`MAX_OPTIONS`] or no multiple of 4 bytes, or the segment is
    /// beyond 65,535 bytes.
    pub fn octets_v4(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        options: &[u8],
        payload: &[u8],
    ) -> Option<[u8; HEADER]> {
        let length = segment_len(options, payload)?;
        let sum = pseudo_v4(source, destination, u16::try_from(length).ok()?);
        self.summed(sum, options, payload)
    }

    /// Its bytes, with the checksum of it, `options` and `payload` between these addresses.
    ///
    /// `None` if the options are more than [`MAX_OPTIONS`] or no multiple of 4 bytes.
    pub fn octets_v6(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        options: &[u8],
        payload: &[u8],
    ) -> Option<[u8; HEADER]> {
        let length = segment_len(options, payload)?;
        self.summed(pseudo_v6(source, destination, length), options, payload)
    }

    fn summed(&self, mut sum: Sum, options: &[u8], payload: &[u8]) -> Option<[u8; HEADER]> {
        let (words, rest) = options.as_chunks::<4>();
        if options.len() > MAX_OPTIONS || !rest.is_empty() {
            return None;
        }
        let offset = u8::try_from(HEADER / 4 + words.len()).ok()? << 4;
        sum.add(&self.with(offset, 0));
        sum.add(options);
        sum.add(payload);
        Some(self.with(offset, sum.finish()))
    }

    fn with(&self, offset: u8, checksum: u16) -> [u8; HEADER] {
        let [s0, s1] = self.source_port.to_be_bytes();
        let [d0, d1] = self.destination_port.to_be_bytes();
        let [q0, q1, q2, q3] = self.sequence.to_be_bytes();
        let [a0, a1, a2, a3] = self.acknowledgment.to_be_bytes();
        let [w0, w1] = self.window.to_be_bytes();
        let [c0, c1] = checksum.to_be_bytes();
        let [u0, u1] = self.urgent.to_be_bytes();
        let flags = self.flags.0;
        [
            s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, c0, c1, u0, u1,
        ]
    }
}

/// `None` if it cannot be counted.
fn segment_len(options: &[u8], payload: &[u8]) -> Option<usize> {
    HEADER
        .checked_add(options.len())?
        .checked_add(payload.len())
}

#[cfg(test)]
mod tests;
