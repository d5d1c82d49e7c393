//! IPv6 and its extension headers (RFC 8200).

use crate::{IpProtocol, Malformed};
use std::net::Ipv6Addr;

/// Bytes of the fixed header.
pub const HEADER: usize = 40;

/// Extension headers that are walked before giving up: more than any honest packet has, and a bound on work.
pub const MAX_EXTENSIONS: usize = 8;

/// What lies behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper<'a> {
    /// The upper layer's protocol.
    pub protocol: IpProtocol,
    /// Its bytes, as far as they are there; of a later fragment, not its header.
    pub payload: &'a [u8],
    /// Whether a fragment header was passed, be it an atomic one (RFC 6946) or not.
    pub is_fragment: bool,
    /// Whether the upper layer's header is elsewhere: a fragment offset other than 0.
    pub is_later_fragment: bool,
    /// Whether a routing header was passed that has segments left: the upper layer's checksum is then that of another
    /// destination (RFC 8200 §8.1).
    pub is_routed: bool,
}

/// Walks from the fixed header of `packet`, whose version and length it does not look at, to the upper
/// layer.
///
/// [`Malformed::Truncated`] if a header is not whole, [`Malformed::HeaderLength`] if there are more than
/// [`MAX_EXTENSIONS`].
#[inline]
pub fn walk(packet: &[u8]) -> Result<Upper<'_>, Malformed> {
    let (header, mut rest) = packet
        .split_first_chunk::<40>()
        .ok_or(Malformed::Truncated)?;
    let mut next = IpProtocol(header[6]);
    let (mut is_fragment, mut is_routed) = (false, false);
    for walked in 0..=MAX_EXTENSIONS {
        let (len, later) = match next {
            IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::DESTINATION => {
                // RFC 8200 §4.3: in 8-octet units, not counting the first.
                let [_, len] = *rest.first_chunk::<2>().ok_or(Malformed::Truncated)?;
                // §4.4: the fourth byte is how many segments are left.
                is_routed |=
                    next == IpProtocol::ROUTING && rest.get(3).is_none_or(|left| *left != 0);
                (8 + usize::from(len) * 8, false)
            }
            IpProtocol::AUTHENTICATION => {
                // RFC 4302 §2.2: in 4-octet units, minus 2.
                let [_, len] = *rest.first_chunk::<2>().ok_or(Malformed::Truncated)?;
                ((usize::from(len) + 2) * 4, false)
            }
            IpProtocol::FRAGMENT => {
                let [_, _, o0, o1] = *rest.first_chunk::<4>().ok_or(Malformed::Truncated)?;
                is_fragment = true;
                (8, u16::from_be_bytes([o0, o1]) & 0xfff8 != 0)
            }
            protocol => {
                return Ok(Upper {
                    protocol,
                    payload: rest,
                    is_fragment,
                    is_later_fragment: false,
                    is_routed,
                });
            }
        };
        if walked == MAX_EXTENSIONS {
            break;
        }
        next = IpProtocol(*rest.first().ok_or(Malformed::Truncated)?);
        rest = rest.get(len..).ok_or(Malformed::Truncated)?;
        if later {
            return Ok(Upper {
                protocol: next,
                payload: rest,
                is_fragment,
                is_later_fragment: true,
                is_routed,
            });
        }
    }
    Err(Malformed::HeaderLength)
}

/// The upper layer's protocol and bytes; `None` for a packet that is cut short or is a fragment.
#[inline]
pub fn upper_layer(packet: &[u8]) -> Option<(IpProtocol, &[u8])> {
    let upper = walk(packet).ok()?;
    (!upper.is_fragment).then_some((upper.protocol, upper.payload))
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    /// Header and payload.
    packet: &'a [u8],
    header: &'a [u8; HEADER],
    payload: &'a [u8],
}

impl<'a> Ipv6<'a> {
    /// Reads a packet; what lies behind its payload length (an Ethernet frame's padding) is left out. A
    /// jumbogram's length is 0 here (RFC 2675 §3), and so is its payload's.
    ///
    /// [`Malformed::Truncated`] if there are fewer bytes than the fixed header has or the payload length
    /// says, [`Malformed::Version`] if it is not 6.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let packet = Self::parse_quote(bytes)?;
        if packet.payload.len() < usize::from(packet.payload_len()) {
            return Err(Malformed::Truncated);
        }
        Ok(packet)
    }

    /// Reads a packet that may have been cut short behind its fixed header, as an ICMPv6 error quotes it
    /// (RFC 4443 §2.4 (c)). Otherwise as [`parse`](Self::parse).
    #[inline]
    pub fn parse_quote(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(Malformed::Truncated)?;
        let [first, _, _, _, l0, l1, ..] = *header;
        if first >> 4 != 6 {
            return Err(Malformed::Version);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        Ok(Ipv6 {
            packet: bytes.get(..HEADER + length).unwrap_or(bytes),
            header,
            payload: rest.get(..length).unwrap_or(rest),
        })
    }

    /// DSCP (RFC 2474 §3) in the upper six bits, ECN (RFC 3168 §5) in the lower two.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        let [first, second, ..] = *self.header;
        (u16::from_be_bytes([first, second]) >> 4) as u8
    }

    /// The flow label, below 2^20 (RFC 6437 §2).
    #[inline]
    pub fn flow_label(&self) -> u32 {
        let [_, b1, b2, b3, ..] = *self.header;
        u32::from_be_bytes([0, b1 & 0x0f, b2, b3])
    }

    /// What follows the fixed header, extension headers included, as it says, in bytes.
    #[inline]
    pub fn payload_len(&self) -> u16 {
        let [_, _, _, _, l0, l1, ..] = *self.header;
        u16::from_be_bytes([l0, l1])
    }

    /// What follows the fixed header: an extension header or the upper layer; see [`upper`](Self::upper).
    #[inline]
    pub fn next_header(&self) -> IpProtocol {
        IpProtocol(self.header[6])
    }

    /// Hops left.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.header[7]
    }

    /// Who sends.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        let [_, _, _, _, _, _, _, _, addresses @ ..] = *self.header;
        let (source, _) = halves(addresses);
        Ipv6Addr::from_octets(source)
    }

    /// Who is meant.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        let [_, _, _, _, _, _, _, _, addresses @ ..] = *self.header;
        let (_, destination) = halves(addresses);
        Ipv6Addr::from_octets(destination)
    }

    /// What follows the fixed header, no further than the payload length.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// What lies behind the extension headers: [`walk`], no further than the payload length.
    #[inline]
    pub fn upper(&self) -> Result<Upper<'a>, Malformed> {
        walk(self.packet)
    }

    /// The fixed header as a value.
    #[inline]
    pub fn header(&self) -> Header {
        Header {
            traffic_class: self.traffic_class(),
            flow_label: self.flow_label(),
            payload_length: self.payload_len(),
            next_header: self.next_header(),
            hop_limit: self.hop_limit(),
            source: self.source(),
            destination: self.destination(),
        }
    }
}

/// Source and destination.
#[inline(always)]
fn halves(addresses: [u8; 32]) -> ([u8; 16], [u8; 16]) {
    match addresses.as_chunks::<16>().0 {
        [source, destination] => (*source, *destination),
        _ => ([0; 16], [0; 16]),
    }
}

/// A fixed header, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// See [`Ipv6::traffic_class`].
    pub traffic_class: u8,
    /// The flow label; bits from 20 on are not written.
    pub flow_label: u32,
    /// What follows, extension headers included, in bytes.
    pub payload_length: u16,
    /// What follows.
    pub next_header: IpProtocol,
    /// Hops left.
    pub hop_limit: u8,
    /// Who sends.
    pub source: Ipv6Addr,
    /// Who is meant.
    pub destination: Ipv6Addr,
}

impl Header {
    /// Its bytes.
    #[inline]
    pub fn octets(&self) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        self.write(&mut octets);
        octets
    }

    /// Writes it.
    #[inline]
    pub fn write(&self, to: &mut [u8; HEADER]) {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0x000f_ffff;
        let [f0, f1, f2, f3, l0, l1, next, hops, addresses @ ..] = to;
        [*f0, *f1, *f2, *f3] = first.to_be_bytes();
        [*l0, *l1] = self.payload_length.to_be_bytes();
        *next = self.next_header.0;
        *hops = self.hop_limit;
        if let ([source, destination], _) = addresses.as_chunks_mut::<16>() {
            *source = self.source.octets();
            *destination = self.destination.octets();
        }
    }
}

/// Sends a packet back: source and destination change places, which no checksum sees.
#[inline]
pub fn swap_addresses(header: &mut [u8; HEADER]) {
    let [_, _, _, _, _, _, _, _, addresses @ ..] = header;
    if let ([source, destination], _) = addresses.as_chunks_mut::<16>() {
        std::mem::swap(source, destination);
    }
}

#[cfg(test)]
mod tests;
