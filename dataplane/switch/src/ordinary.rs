//! The guard of an ordinary packet, in a few wide compares.
//!
//! Nearly all that a VM sends is untagged IPv4 without options, from its MAC and its address. Whether a frame is such a one takes four
//! loads; what is not is asked about by [`parse`](crate::parse) and [`guard`](crate::guard), at leisure. *Trade-off:* the rules stand
//! twice, so a property test holds the two against each other: whatever is let in here is let in there, with the same flow.

use crate::encap;
use crate::frame::Frame;
use std::net::Ipv4Addr;
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::endpoints::{endpoint_key, record_key};
use weir_tables::view::{Carriage, Identity, Port, Vnic};
use weir_wire::{Mac, flow};

/// Bytes of Ethernet, of IPv4 without options, and of the ports behind it.
const HEADERS: usize = 14 + 20 + 4;
/// An EtherType of IPv4, and version 4 with a header of five words, as they lie in a frame.
const IPV4: [u8; 2] = [0x08, 0x00];
const VERSION: u8 = 0x45;
/// More fragments, and a fragment's offset, as they lie in the IPv4 header.
const FRAGMENT: u16 = u16::from_le_bytes([0x3f, 0xff]);
/// Where they are.
const FRAGMENT_AT: usize = 14 + 6;
/// The group bit of a destination MAC, in the first eight bytes of a frame.
const GROUP: u64 = 1;
/// What is the same in the first eight bytes of all ordinary packets of a vNIC, when they are turned left by [`TURN`]: its MAC's first
/// two, and the group bit. So they are a constant of 32 bits, which needs no register.
const FIRST: u32 = 0x0001_ffff;
const TURN: u32 = 16;
/// How far the next eight bytes, of which all are the same but the last, the type of service, are shifted to be rid of it.
const SECOND: u32 = 8;

/// No MAC as a number, and no address: more bytes than either has.
const NEVER: u64 = u64::MAX;

/// A vNIC with what an ordinary packet of it has.
#[derive(Clone, Copy)]
pub struct Sender<'v> {
    /// The vNIC.
    pub vnic: &'v Vnic,
    /// The first sixteen bytes of its packets, as far as they are all the same: its MAC, the EtherType, version and header length.
    first: u64,
    second: u64,
    /// Its first address; [`NEVER`] if it has none, or if its packets want more than to be sent on.
    source: u64,
    /// Whether it may send from others, too.
    more: bool,
    /// Its VSID in the place that it has in NVGRE's key.
    vsid: u32,
    /// Its virtual subnet in the place that it has in a key of the endpoints.
    segment: u64,
    /// Its VM network in the place that it has in a key of the records.
    domain: u64,
    /// Which destination MACs, masked, are looked up by address.
    gateway: u64,
    mask: u64,
}

/// What the later stages need to know of an ordinary packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordinary {
    /// The destination MAC, as a number.
    pub dst: u64,
    /// The destination address, as a number.
    pub to: u32,
    /// DSCP and ECN.
    pub tos: u8,
    /// Eight bits of the flow's entropy, as [`guard::admit`](crate::guard::admit) gives.
    pub flow: u8,
}

impl<'v> Sender<'v> {
    /// Of a vNIC that sends by this port.
    #[inline]
    pub fn of(vnic: &'v Vnic, port: &Port) -> Self {
        let [a, b, c, d, e, f] = vnic.identity.mac.octets();
        let [t0, t1] = IPV4;
        let source = match vnic.identity.v4.first() {
            Some(ip) if !vnic.mss_clamp && !port.suspect_checksums => {
                u32::from_le_bytes(ip.octets()).into()
            }
            _ => NEVER,
        };
        let (gateway, mask) = match vnic.carriage {
            Carriage::Nvgre => (GATEWAY_MAC.to_u64(), NEVER),
            Carriage::Bridged => (NEVER, NEVER),
            Carriage::Rewrite => (0, 0),
        };
        Sender {
            vnic,
            first: u64::from_le_bytes([0, 0, 0, 0, 0, 0, a, b]),
            second: u64::from_le_bytes([c, d, e, f, t0, t1, VERSION, 0]),
            source,
            more: source != NEVER && has_more(&vnic.identity),
            vsid: encap::key(vnic.vsid, 0),
            segment: endpoint_key(vnic.segment, Mac::ZERO),
            domain: record_key(vnic.domain, Ipv4Addr::UNSPECIFIED),
            gateway,
            mask,
        }
    }

    /// What an ordinary packet of this vNIC to one host is, that the vNIC may send and of which nothing is left to do but to send it
    /// on. None says nothing about a frame but that it must be looked at closer.
    #[inline(always)]
    pub fn admit<F: Frame>(&self, frame: &F) -> Option<Ordinary> {
        // Who looks is told what each stage found: they are asked one by one.
        if F::WATCHED || !frame.is_plain() {
            return None;
        }
        // All bytes of a plain frame.
        let head = frame.head();
        let header = head.first_chunk::<HEADERS>()?;
        let (first, second) = (word(header, 0), word(header, 8));
        let (start, addresses) = (word(header, 14), word(header, 26));
        let strange = u64::from((first ^ self.first).rotate_left(TURN) as u32 & FIRST)
            | (second ^ self.second) << SECOND
            | (u64::from(addresses as u32) ^ self.source);
        if strange != 0 && !(self.more && self.also(header)) {
            return None;
        }
        // At least the header's 20 bytes, and no more than there are behind the Ethernet header.
        let total = (start >> 16) as u16;
        let behind = usize::from(total.swap_bytes()).wrapping_sub(20);
        if behind > head.len() - 34 {
            return None;
        }
        let [.., p0, p1, p2, p3] = *header;
        let ports = u32::from_ne_bytes([p0, p1, p2, p3]);
        let l4 = if fragment(header) & FRAGMENT == 0 {
            ports
        } else {
            0
        };
        let addresses = u64::from_ne_bytes(addresses.to_le_bytes());
        let [protocol, ..] = word(header, 23).to_le_bytes();
        Some(Ordinary {
            dst: first.swap_bytes() >> 16,
            to: u32::from_be((addresses >> 32) as u32),
            tos: (start >> 8) as u8,
            flow: flow::ipv4_whole(addresses, protocol, l4) as u8,
        })
    }

    /// The same about IPv4 to one host from another MAC or address of the vNIC's.
    #[inline(never)]
    fn also(&self, header: &[u8; HEADERS]) -> bool {
        let [a, b, c, d, e, f, t0, t1] = word(header, 6).to_le_bytes();
        let [version, ..] = word(header, 14).to_le_bytes();
        let [s0, s1, s2, s3, ..] = word(header, 26).to_le_bytes();
        let who: &Identity = &self.vnic.identity;
        [t0, t1] == IPV4
            && version == VERSION
            && word(header, 0) & GROUP == 0
            && who.has_mac(Mac::new([a, b, c, d, e, f]))
            && who.has_v4([s0, s1, s2, s3].into())
    }

    /// Whether a packet to that MAC is looked up by its address.
    #[inline(always)]
    pub fn is_by_address(&self, dst: u64) -> bool {
        (dst ^ self.gateway) & self.mask == 0
    }

    /// NVGRE's key of a flow.
    #[inline(always)]
    pub fn nvgre(&self, flow: u8) -> u32 {
        self.vsid | u32::from(flow)
    }

    /// Key of a MAC among the endpoints.
    #[inline(always)]
    pub fn key(&self, dst: u64) -> u64 {
        self.segment | dst
    }

    /// Key of an address among the records.
    #[inline(always)]
    pub fn address_key(&self, to: u32) -> u64 {
        self.domain | u64::from(to)
    }
}

/// Whether there is more than the MAC and the first address.
fn has_more(who: &Identity) -> bool {
    !who.macs.is_empty() || who.v4.len() > 1 || !who.v4_nets.is_empty()
}

/// What an IPv4 header says of fragments.
#[inline(always)]
fn fragment(header: &[u8; HEADERS]) -> u16 {
    let bytes = header
        .get(FRAGMENT_AT..)
        .and_then(|bytes| bytes.first_chunk());
    bytes.map_or(!0, |bytes| u16::from_le_bytes(*bytes))
}

/// Eight bytes of a header from `at` on, the first of them lowest; `at` is a constant within it.
#[inline(always)]
fn word(header: &[u8; HEADERS], at: usize) -> u64 {
    let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
