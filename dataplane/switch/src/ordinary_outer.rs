//! An ordinary packet from the wire, accepted in a few wide compares.
//!
//! Nearly all that comes is NVGRE over IPv4 without options, of a peer, to one MAC. Whether a frame is such a one takes ten loads; what
//! is not is judged by [`outer`](crate::outer), [`parse`](crate::parse) and [`ecn`](crate::ecn), which know a reason for each refusal.
//! *Trade-off:* the rules stand twice, so a property test holds the two against each other: what is accepted here is accepted there,
//! of the same virtual subnet, from the same byte on.

use crate::frame::Frame;
use weir_tables::endpoints::{endpoint_key, peer_key};
use weir_tables::view::{Uplink, View};
use weir_wire::gre::NVGRE_HEADER;
use weir_wire::{EtherType, Mac, Vsid};

/// Bytes that are looked at, and a frame's least length on Ethernet without FCS.
const HEADERS: usize = 60;
/// Bytes of an IPv4 header without options.
const IPV4: usize = 20;

// As they lie in a frame, the first byte lowest:
/// EtherType IPv4, version 4 with a header of five words, and of the type of service the bit that both marks of congestion
/// have which [`ecn::incoming`](crate::ecn::incoming) brings inside (CE and, RFC 6040 §4.2, ECT(1)).
const KIND: u32 = u32::from_le_bytes([0x08, 0x00, 0x45, 0]);
const KIND_MASK: u32 = u32::from_le_bytes([0xff, 0xff, 0xff, 0x01]);
/// The tag before them, and of its control information the VLAN.
const TAG: u32 = u32::from_le_bytes([0x81, 0x00, 0, 0]);
const TAG_MASK: u32 = u32::from_le_bytes([0xff, 0xff, 0x0f, 0xff]);
/// More fragments, and a fragment's offset.
const FRAGMENT: u16 = u16::from_le_bytes([0x3f, 0xff]);
/// Protocol GRE in the IPv4 header's second eight bytes.
const GRE: u64 = u64::from_le_bytes([0, 47, 0, 0, 0, 0, 0, 0]);
const GRE_MASK: u64 = u64::from_le_bytes([0, 0xff, 0, 0, 0, 0, 0, 0]);
/// RFC 7637 §3.2: K alone, version 0, Transparent Ethernet Bridging.
const NVGRE: u32 = u32::from_le_bytes([0x20, 0x00, 0x65, 0x58]);
/// The group bit of a MAC, in the eight bytes that begin with it.
const GROUP: u64 = 1;
/// EtherTypes of tags (RFC 7637 §3.3: none is inside).
const TAGS: [u16; 2] = [
    EtherType::VLAN.0.to_be().to_le(),
    EtherType::QINQ.0.to_be().to_le(),
];

/// An uplink with what an ordinary packet from it has. Its IPv4 starts at `AT`: at 14, or at 18 behind a tag.
pub struct Arrivals<'v, const AT: usize> {
    view: &'v View,
    uplink: &'v Uplink,
    /// Its MAC, the first byte lowest.
    mac: u64,
    /// Its first provider address, the first byte lowest.
    pa: u32,
    /// Its VLAN in the place of [`TAG`], where it has one.
    tag: u32,
}

/// Where IPv4 starts without a tag.
pub const UNTAGGED: usize = 14;
/// Where it starts behind one.
pub const TAGGED: usize = 18;

/// What is inside an ordinary packet: keys of two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Whom it is for.
    pub to: u64,
    /// Who sent it.
    pub from: u64,
}

impl<'v, const AT: usize> Arrivals<'v, AT> {
    /// Outer bytes of an ordinary packet.
    pub const HEADER: usize = AT + IPV4 + NVGRE_HEADER;

    /// At this uplink, whose VLAN decides which `AT` there is.
    #[inline(always)]
    pub fn at(view: &'v View, uplink: &'v Uplink) -> Self {
        let [a, b, c, d, e, f] = uplink.mac.octets();
        let pa = uplink.v4.first().map(|pa| pa.octets());
        let [high, low] = uplink.vlan.unwrap_or_default().to_be_bytes();
        Arrivals {
            view,
            uplink,
            mac: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            pa: u32::from_le_bytes(pa.unwrap_or_default()),
            tag: TAG | u32::from_le_bytes([0, 0, high, low]),
        }
    }

    /// Takes the outer headers off an ordinary packet and says what is inside. None says nothing about a frame, which is as it was,
    /// but that it must be looked at closer.
    #[inline(always)]
    pub fn accept<F: Frame>(&self, frame: &mut F) -> Option<Inside> {
        // Who looks is told what each stage found: they are asked one by one.
        if F::WATCHED || !frame.is_plain() {
            return None;
        }
        // All bytes of a plain frame.
        let length = frame.head().len();
        let header = frame.head().first_chunk::<HEADERS>()?;
        let ip = [word(header, AT), word(header, AT + 8)];
        let destination = half(header, AT + 16);
        let gre = word(header, AT + IPV4);
        let (dst, src) = (word(header, Self::HEADER), word(header, Self::HEADER + 6));
        let mut strange = (word(header, 0) ^ self.mac) << 16
            | u64::from((half(header, AT - 2) ^ KIND) & KIND_MASK)
            | u64::from(half(header, AT + 6) as u16 & FRAGMENT)
            | (ip[1] ^ GRE) & GRE_MASK
            | u64::from(gre as u32 ^ NVGRE)
            | (dst | src) & GROUP;
        if AT == TAGGED {
            strange |= u64::from((half(header, AT - 6) ^ self.tag) & TAG_MASK);
        }
        if strange != 0 || !is_sum_right(ip, destination) {
            return None;
        }
        // At least the bytes of all headers, as that is how long the frame is.
        let total = ((ip[0] >> 16) as u16).swap_bytes();
        if AT + usize::from(total) != length {
            return None;
        }
        if destination != self.pa && !self.is_ours(destination) {
            return None;
        }
        let source = ((ip[1] >> 32) as u32).swap_bytes();
        if !self.view.peer_addresses.contains(peer_key(source.into())) {
            return None;
        }
        let key = ((gre >> 32) as u32).swap_bytes();
        let segment = self.view.vsids.get(Vsid::from_wire(key >> 8))?;
        if TAGS.contains(&((src >> 48) as u16)) || !frame.trim_front(Self::HEADER) {
            return None;
        }
        let segment = endpoint_key(segment, Mac::ZERO);
        Some(Inside {
            to: segment | dst.swap_bytes() >> 16,
            from: segment | src.swap_bytes() >> 16,
        })
    }

    /// Whether it is another provider address of the uplink's.
    #[inline(never)]
    fn is_ours(&self, destination: u32) -> bool {
        self.uplink.has(destination.to_le_bytes().into())
    }
}

/// Whether the checksum of an IPv4 header of five words is right: its ones-complement sum is -0 (RFC 1071), so that the sum of its bytes in
/// larger words, with the carry brought round, is a multiple of 0xffff, in either order of bytes (§2 B and C). It is not +0, as the
/// version is not 0.
#[inline(always)]
fn is_sum_right([first, second]: [u64; 2], third: u32) -> bool {
    let add = |a: u64, b: u64| {
        let (sum, carry) = a.overflowing_add(b);
        sum.wrapping_add(u64::from(carry))
    };
    add(add(first, second), u64::from(third)) % 0xffff == 0
}

/// Eight bytes of a header from `at` on, the first of them lowest; `at` is a constant within it.
#[inline(always)]
fn word(header: &[u8; HEADERS], at: usize) -> u64 {
    let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Four bytes likewise.
#[inline(always)]
fn half(header: &[u8; HEADERS], at: usize) -> u32 {
    let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
