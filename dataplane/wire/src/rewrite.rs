//! An IP packet whose two addresses become others, with every checksum that covers them (RFC 1624): the header's, that
//! of TCP, UDP, UDP-Lite, DCCP and ICMPv6 by their pseudo-header, and that of an ICMP error, whose quoted packet has the
//! two addresses as well, the other way around (as RFC 5508 §4.2 and RFC 7915 §4.2 have it).
//!
//! What was right stays right and what was wrong stays wrong. Nothing but addresses and checksums changes, and
//! [`Change::back`] takes each byte back.

use crate::checksum::{self, fold, sum};
use crate::ipv4::{self, Fragmentation};
use crate::{IpProtocol, icmp, icmp6, ipv6};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of an L4 header up to and with its checksum, at most: TCP's.
pub const REACH: usize = 18;
/// Bytes from the IPv4 header on that [`ipv4()`] may want to see: an error of longest headers about a packet of such.
pub const REACH_V4: usize = 60 + icmp::HEADER + 60 + REACH;
/// The same for [`ipv6()`], with extension headers of some 100 bytes in the packet and in the quoted one.
pub const REACH_V6: usize = 2 * (ipv6::HEADER + 100) + 8 + REACH;

/// What becomes of the two addresses of a packet: (as it is, as it shall be).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<A> {
    /// Of the source.
    pub source: (A, A),
    /// Of the destination.
    pub destination: (A, A),
}

impl<A: Copy> Change<A> {
    /// The change that undoes this one.
    pub fn back(self) -> Self {
        Change {
            source: (self.source.1, self.source.0),
            destination: (self.destination.1, self.destination.0),
        }
    }
}

/// Why a packet cannot have other addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A header contradicts itself or the bytes.
    Malformed,
    /// A checksum that covers them is not in this packet: it lies in a later fragment (RFC 1858 §3), or covers another
    /// destination behind a routing header (RFC 8200 §8.1).
    OutOfReach,
}

/// What became more in a ones-complement sum.
#[derive(Clone, Copy, Default)]
struct Delta(u64);

impl Delta {
    /// RFC 1624 §3: the complement of what was, and what is. Both of one even length.
    #[inline(always)]
    fn of(was: &[u8], is: &[u8]) -> Delta {
        Delta(u64::from(!sum(was)) + u64::from(sum(is)))
    }

    #[inline(always)]
    fn and(self, other: Delta) -> Delta {
        Delta(self.0 + other.0)
    }

    /// Equation 3.
    #[inline(always)]
    fn on(self, checksum: u16) -> u16 {
        !fold(u64::from(!checksum) + self.0)
    }

    /// On a sum that is not complemented.
    #[inline(always)]
    fn on_sum(self, sum: u16) -> u16 {
        fold(u64::from(sum) + self.0)
    }
}

/// Puts the addresses into the IPv4 packet that starts here; behind its headers it may be cut short.
///
/// `unfinished`: the L4 checksum is the pseudo-header's sum alone so far ([virtio 1.1 §5.1.6.2](crate::checksum)).
/// Refused, the packet is as it was.
#[inline]
pub fn ipv4(packet: &mut [u8], change: &Change<Ipv4Addr>, unfinished: bool) -> Result<(), Refusal> {
    if !unfinished
        && let Some(start) = packet.first_chunk_mut()
        && ordinary(start, change.source.1, change.destination.1).is_some()
    {
        return Ok(());
    }
    whatever(packet, change, unfinished)
}

/// Bytes of an IPv4 header without options and of TCP's up to and with its checksum.
pub const ORDINARY: usize = ipv4::HEADER + REACH;

/// [`ipv4()`] for the packet that nearly every one is, in a straight line: no options, no fragment, TCP or UDP whose checksum
/// is finished and among these bytes. `None`, and nothing changed, if it is another. The addresses are not both 0.0.0.0.
#[inline(always)]
#[must_use]
pub fn ordinary(
    packet: &mut [u8; ORDINARY],
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> Option<()> {
    let (header, l4) = packet.split_first_chunk_mut::<{ ipv4::HEADER }>()?;
    let [
        b0,
        b1,
        b2,
        b3,
        b4,
        b5,
        b6,
        b7,
        _,
        protocol,
        c0,
        c1,
        addresses @ ..,
    ] = header;
    // Version and length, more fragments and offset.
    const MASK: u64 = u64::from_ne_bytes([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
    const WANTED: u64 = u64::from_ne_bytes([ipv4::PLAIN, 0, 0, 0, 0, 0, 0, 0]);
    let first = u64::from_ne_bytes([*b0, *b1, *b2, *b3, *b4, *b5, *b6, *b7]);
    let total = usize::from(u16::from_be_bytes([*b2, *b3]));
    if first & MASK != WANTED || total < ORDINARY {
        return None;
    }
    let is_udp = *protocol == IpProtocol::UDP.0;
    let field: &mut [u8; 2] = match IpProtocol(*protocol) {
        IpProtocol::UDP => l4.get_mut(6..)?.first_chunk_mut()?,
        IpProtocol::TCP => l4.get_mut(16..)?.first_chunk_mut()?,
        _ => return None,
    };
    // In the machine's order: RFC 1071 §2(B).
    let is = v4(source, destination);
    let (was, new) = (!u64::from_ne_bytes(*addresses), u64::from_ne_bytes(is));
    let low = |word: u64| word & 0xffff_ffff;
    let delta = u32::from(fold(low(was) + (was >> 32) + low(new) + (new >> 32)));
    let on = |checksum: [u8; 2]| {
        let sum = u32::from(!u16::from_ne_bytes(checksum)) + delta;
        !((sum + (sum >> 16)) as u16)
    };
    *addresses = is;
    [*c0, *c1] = on([*c0, *c1]).to_ne_bytes();
    // RFC 768: zero says that there is none, and one that comes out as zero is sent as all ones.
    if !(is_udp && *field == [0, 0]) {
        let updated = on(*field);
        let sent = if is_udp {
            checksum::udp(updated)
        } else {
            updated
        };
        *field = sent.to_ne_bytes();
    }
    Some(())
}

/// Any packet.
#[inline(never)]
fn whatever(packet: &mut [u8], change: &Change<Ipv4Addr>, unfinished: bool) -> Result<(), Refusal> {
    let header = packet.first_chunk::<{ ipv4::HEADER }>();
    let [
        first,
        _,
        l0,
        l1,
        _,
        _,
        f0,
        f1,
        _,
        protocol,
        c0,
        c1,
        was @ ..,
    ] = *header.ok_or(Refusal::Malformed)?;
    let header_len = usize::from(first & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    let fragmentation = Fragmentation(u16::from_be_bytes([f0, f1]));
    if first >> 4 != 4 || header_len < ipv4::HEADER || total < header_len {
        return Err(Refusal::Malformed);
    }
    let was: [u8; 8] = was;
    let is = v4(change.source.1, change.destination.1);
    let delta = Delta::of(&was, &is);
    if fragmentation.offset() == 0 {
        let end = total.min(packet.len());
        let l4 = packet.get_mut(header_len..end).ok_or(Refusal::Malformed)?;
        if IpProtocol(protocol) == IpProtocol::ICMP {
            icmp(l4, change);
        } else {
            let there = total - header_len;
            let more = fragmentation.more_fragments();
            transport(l4, there, more, IpProtocol(protocol), delta, unfinished)?;
        }
    }
    if let Some([_, _, _, _, _, _, _, _, _, _, h0, h1, addresses @ ..]) =
        packet.first_chunk_mut::<{ ipv4::HEADER }>()
    {
        *addresses = is;
        [*h0, *h1] = delta.on(u16::from_be_bytes([c0, c1])).to_be_bytes();
    }
    Ok(())
}

/// The same for IPv6.
#[inline]
pub fn ipv6(packet: &mut [u8], change: &Change<Ipv6Addr>, unfinished: bool) -> Result<(), Refusal> {
    let header = packet.first_chunk::<{ ipv6::HEADER }>();
    let [first, _, _, _, l0, l1, _, _, was @ ..] = *header.ok_or(Refusal::Malformed)?;
    if first >> 4 != 6 {
        return Err(Refusal::Malformed);
    }
    let was: [u8; 32] = was;
    let is = v6(change.source.1, change.destination.1);
    let delta = Delta::of(&was, &is);
    let total = ipv6::HEADER + usize::from(u16::from_be_bytes([l0, l1]));
    let end = total.min(packet.len());
    let whole = packet.get(..end).unwrap_or_default();
    let upper = ipv6::walk(whole).map_err(|_| Refusal::Malformed)?;
    if upper.is_routed {
        return Err(Refusal::OutOfReach);
    }
    if !upper.is_later_fragment {
        let at = end - upper.payload.len();
        let (protocol, more) = (upper.protocol, upper.is_fragment);
        let l4 = packet.get_mut(at..end).ok_or(Refusal::Malformed)?;
        transport(l4, total - at, more, protocol, delta, unfinished)?;
        if protocol == IpProtocol::ICMPV6 {
            icmp6(l4, change);
        }
    }
    if let Some([_, _, _, _, _, _, _, _, addresses @ ..]) =
        packet.first_chunk_mut::<{ ipv6::HEADER }>()
    {
        *addresses = is;
    }
    Ok(())
}

#[inline(always)]
fn v4(source: Ipv4Addr, destination: Ipv4Addr) -> [u8; 8] {
    let [s0, s1, s2, s3] = source.octets();
    let [d0, d1, d2, d3] = destination.octets();
    [s0, s1, s2, s3, d0, d1, d2, d3]
}

#[inline(always)]
fn v6(source: Ipv6Addr, destination: Ipv6Addr) -> [u8; 32] {
    let mut both = [0; 32];
    if let ([to_source, to_destination], _) = both.as_chunks_mut::<16>() {
        *to_source = source.octets();
        *to_destination = destination.octets();
    }
    both
}

/// Where a checksum that covers a pseudo-header is in the header of its protocol, in bytes.
#[inline(always)]
const fn field(protocol: IpProtocol) -> Option<usize> {
    match protocol {
        IpProtocol::TCP => Some(16),
        IpProtocol::UDP | IpProtocol::UDP_LITE | IpProtocol::DCCP => Some(6),
        IpProtocol::ICMPV6 => Some(2),
        _ => None,
    }
}

/// Keeps the checksum of a transport protocol as right as it was. `there`: bytes of it in the whole packet, of which `l4`
/// has the first; `more`: fragments follow.
#[inline(always)]
fn transport(
    l4: &mut [u8],
    there: usize,
    more: bool,
    protocol: IpProtocol,
    delta: Delta,
    unfinished: bool,
) -> Result<(), Refusal> {
    let Some(at) = field(protocol) else {
        return Ok(());
    };
    match l4.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        Some(bytes) if unfinished => {
            *bytes = delta.on_sum(u16::from_be_bytes(*bytes)).to_be_bytes();
        }
        Some(bytes) => drop(update(bytes, protocol, delta)),
        None if there >= at + 2 => return Err(Refusal::Malformed),
        None if more => return Err(Refusal::OutOfReach),
        // A header cut short has no checksum.
        None => {}
    }
    Ok(())
}

/// Updates a transport protocol's checksum, and says by how much that changes the bytes' sum.
#[inline(always)]
fn update(bytes: &mut [u8; 2], protocol: IpProtocol, delta: Delta) -> Delta {
    let was = *bytes;
    // RFC 768: zero says that there is none. RFC 3828 §3.1: UDP-Lite always has one.
    if protocol == IpProtocol::UDP && was == [0, 0] {
        return Delta::default();
    }
    let updated = delta.on(u16::from_be_bytes(was));
    let sent = match protocol {
        IpProtocol::UDP | IpProtocol::UDP_LITE => checksum::udp(updated),
        _ => updated,
    };
    *bytes = sent.to_be_bytes();
    Delta::of(&was, bytes)
}

/// An address that a quoted packet has is exchanged with its other: what says the one says the other then, and the
/// exchange is its own way back whatever an address is.
#[inline]
fn exchange<A: PartialEq + Copy>(address: A, (one, other): (A, A)) -> A {
    if address == one {
        other
    } else if address == other {
        one
    } else {
        address
    }
}

/// An ICMP error: its checksum follows what changes in its quote. ICMP has no pseudo-header.
#[inline(never)]
fn icmp(message: &mut [u8], change: &Change<Ipv4Addr>) {
    let Some((header, rest)) = message.split_first_chunk_mut::<{ icmp::HEADER }>() else {
        return;
    };
    let [kind, _, c0, c1, _, length, _, _] = header;
    if !icmp::is_error(*kind) {
        return;
    }
    // RFC 4884 §4: in 4-byte units, where extensions begin. A quench or redirect has none.
    let length = usize::from(*length) * 4;
    let has_length = !matches!(*kind, icmp::SOURCE_QUENCH | icmp::REDIRECT) && length != 0;
    let end = if has_length { length } else { rest.len() };
    let quote = rest.split_at_mut(end.min(rest.len())).0;
    let checksum = u16::from_be_bytes([*c0, *c1]);
    let delta = quote_v4(quote, change).unwrap_or_default();
    [*c0, *c1] = delta.on(checksum).to_be_bytes();
}

/// The packet that an error quotes went the other way. By how much the sum of its bytes changes; `None`, and nothing is
/// changed, if it is none.
fn quote_v4(quote: &mut [u8], change: &Change<Ipv4Addr>) -> Option<Delta> {
    let (header, rest) = quote.split_first_chunk_mut::<{ ipv4::HEADER }>()?;
    let [first, _, _, _, _, _, f0, f1, _, protocol, c0, c1, was @ ..] = *header;
    let options = usize::from(first & 0x0f).checked_sub(5)? * 4;
    let was: [u8; 8] = was;
    let [s0, s1, s2, s3, d0, d1, d2, d3] = was;
    if first >> 4 != 4 {
        return None;
    }
    let source = exchange(Ipv4Addr::new(s0, s1, s2, s3), change.destination);
    let destination = exchange(Ipv4Addr::new(d0, d1, d2, d3), change.source);
    let is = v4(source, destination);
    if was == is {
        return None;
    }
    let addresses = Delta::of(&was, &is);
    let checksum = addresses.on(u16::from_be_bytes([c0, c1])).to_be_bytes();
    let [_, _, _, _, _, _, _, _, _, _, h0, h1, to @ ..] = header;
    (*h0, *h1, *to) = (checksum[0], checksum[1], is);
    let mut delta = addresses.and(Delta::of(&[c0, c1], &checksum));
    let fragmentation = Fragmentation(u16::from_be_bytes([f0, f1]));
    if fragmentation.offset() == 0
        && let Some(at) = field(IpProtocol(protocol))
        && IpProtocol(protocol) != IpProtocol::ICMPV6
        && let Some(bytes) = rest
            .get_mut(options + at..)
            .and_then(<[u8]>::first_chunk_mut)
    {
        delta = delta.and(update(bytes, IpProtocol(protocol), addresses));
    }
    Some(delta)
}

/// The same in ICMPv6, whose checksum for its own addresses is right already.
#[inline(never)]
fn icmp6(message: &mut [u8], change: &Change<Ipv6Addr>) {
    let Some((header, rest)) = message.split_first_chunk_mut::<8>() else {
        return;
    };
    let [kind, _, c0, c1, length, _, _, _] = header;
    if !icmp6::is_error(*kind) {
        return;
    }
    // RFC 4884 §4.4 and §4.5: in 8-byte units; of the other errors that field is their own.
    let length = usize::from(*length) * 8;
    let has_length = matches!(*kind, icmp6::UNREACHABLE | icmp6::TIME_EXCEEDED) && length != 0;
    let end = if has_length { length } else { rest.len() };
    let quote = rest.split_at_mut(end.min(rest.len())).0;
    let checksum = u16::from_be_bytes([*c0, *c1]);
    let delta = quote_v6(quote, change).unwrap_or_default();
    [*c0, *c1] = delta.on(checksum).to_be_bytes();
}

fn quote_v6(quote: &mut [u8], change: &Change<Ipv6Addr>) -> Option<Delta> {
    let length = quote.len();
    let first = *quote.first()?;
    let upper = ipv6::walk(quote)
        .ok()
        .filter(|upper| !upper.is_later_fragment && !upper.is_routed);
    let found = upper.map(|upper| (length - upper.payload.len(), upper.protocol));
    let header = quote.first_chunk_mut::<{ ipv6::HEADER }>()?;
    let [_, _, _, _, _, _, _, _, addresses @ ..] = header;
    let was: [u8; 32] = *addresses;
    let (&[source, destination], _) = was.as_chunks::<16>() else {
        return None;
    };
    if first >> 4 != 6 {
        return None;
    }
    let source = exchange(Ipv6Addr::from_octets(source), change.destination);
    let destination = exchange(Ipv6Addr::from_octets(destination), change.source);
    let is = v6(source, destination);
    if was == is {
        return None;
    }
    *addresses = is;
    let mut delta = Delta::of(&was, &is);
    if let Some((at, protocol)) = found
        && let Some(field) = field(protocol)
        && let Some(bytes) = quote
            .get_mut(at + field..)
            .and_then(<[u8]>::first_chunk_mut)
    {
        delta = delta.and(update(bytes, protocol, delta));
    }
    Some(delta)
}

#[cfg(test)]
mod tests;
