//! Which traffic class a VM's frame is of, as it sent it: before its tag comes off and before there are outer headers.
//!
//! The switch's filters are asked once a batch for the vNIC ([`Filters::of_vnic`]), once a frame for the rest. What is not there
//! cannot fit: a later fragment has no ports, so that it is of no class by port (its first fragment is; a class by address or DSCP takes
//! both), and what says that it is IP and has no whole header is of its EtherType alone.

use crate::frame::Frame;
use crate::parse;
use weir_tables::bandwidth::ClassId;
use weir_tables::filters::{Addresses, Filters, Rules, WITH_PORTS};
use weir_wire::vlan::Tci;
use weir_wire::{EtherType, ipv6};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// The class of a frame whose vNIC may fit `rules`. Makes the headers of a chain contiguous.
#[inline]
pub fn of<F: Frame>(filters: &Filters, rules: Rules, frame: &mut F) -> ClassId {
    if rules == 0 {
        return ClassId::NONE;
    }
    // What is no frame at all is refused later, with its reason.
    let Ok(parsed) = parse::ethernet(frame) else {
        return ClassId::NONE;
    };
    let head = frame.head();
    let behind = head.get(ETHERNET..).unwrap_or_default();
    let stripped = frame.stripped_vlan();
    if stripped.is_none() && !parse::is_tag(parsed.ethertype) {
        let rules = rules & filters.of_pcp(None);
        return of_type(filters, rules, parsed.ethertype, behind);
    }
    tagged(filters, rules, stripped, parsed.ethertype, behind)
}

/// The same of a frame with a tag, be it in its place or stripped by the device. Of two tags the outer one counts, and what is behind
/// the inner one is not looked at.
#[inline(never)]
fn tagged(
    filters: &Filters,
    rules: Rules,
    stripped: Option<u16>,
    ethertype: EtherType,
    behind: &[u8],
) -> ClassId {
    let (tci, ethertype, behind) = match (stripped, behind.split_first_chunk()) {
        (Some(tci), _) => (tci, ethertype, behind),
        (None, Some((&[c0, c1, t0, t1], behind))) => {
            let ethertype = EtherType(u16::from_be_bytes([t0, t1]));
            (u16::from_be_bytes([c0, c1]), ethertype, behind)
        }
        (None, None) => return ClassId::NONE,
    };
    let rules = rules & filters.of_pcp(Some(Tci(tci).pcp()));
    of_type(filters, rules, ethertype, behind)
}

#[inline(always)]
fn of_type(filters: &Filters, rules: Rules, ethertype: EtherType, l3: &[u8]) -> ClassId {
    match ethertype {
        EtherType::IPV4 => {
            if let Some(class) = v4(filters, rules & filters.of_v4(), l3) {
                return class;
            }
        }
        EtherType::IPV6 => {
            if let Some(class) = v6(filters, rules & filters.of_v6(), l3) {
                return class;
            }
        }
        _ => {}
    }
    filters.first(rules & filters.of_other(ethertype.0))
}

/// `None` if it is no IPv4.
#[inline(always)]
fn v4(filters: &Filters, rules: Rules, l3: &[u8]) -> Option<ClassId> {
    let header = l3.first_chunk::<20>()?;
    let [version, tos, .., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let length = usize::from(version & 0x0f) * 4;
    if version >> 4 != 4 || length < 20 || length > l3.len() {
        return None;
    }
    let protocol = header[9];
    let rules = rules & filters.of_tos(tos) & filters.of_protocol(protocol);
    if rules == 0 {
        return Some(ClassId::NONE);
    }
    let is_later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let l4 = l3.get(length..).filter(|_| !is_later);
    let rules = by_ports(filters, rules, protocol, l4.unwrap_or_default());
    Some(by_addresses(filters, rules, || {
        let (source, destination) = ([s0, s1, s2, s3], [d0, d1, d2, d3]);
        Addresses::V4(u32::from_be_bytes(source), u32::from_be_bytes(destination))
    }))
}

/// `None` if it is no IPv6.
#[inline(always)]
fn v6(filters: &Filters, rules: Rules, l3: &[u8]) -> Option<ClassId> {
    let (header, behind) = l3.split_first_chunk::<{ ipv6::HEADER }>()?;
    let [b0, b1, _, _, _, _, next, ..] = *header;
    if b0 >> 4 != 6 {
        return None;
    }
    let rules = rules & filters.of_tos(b0 << 4 | b1 >> 4);
    let (protocol, l4) = match WITH_PORTS.contains(&next) {
        true => (next, behind),
        false => upper(l3),
    };
    let rules = rules & filters.of_protocol(protocol);
    if rules == 0 {
        return Some(ClassId::NONE);
    }
    let rules = by_ports(filters, rules, protocol, l4);
    Some(by_addresses(filters, rules, || {
        let at = |from: usize| header.get(from..).and_then(<[u8]>::first_chunk);
        let [source, destination] = [at(8), at(24)].map(|own| own.copied().unwrap_or_default());
        Addresses::V6(
            u128::from_be_bytes(source),
            u128::from_be_bytes(destination),
        )
    }))
}

/// Protocol and bytes behind extension headers; a later fragment has no bytes. What cannot be walked to its end is "no next header"
/// (59, RFC 8200 §4.7).
#[inline(never)]
fn upper(packet: &[u8]) -> (u8, &[u8]) {
    match ipv6::walk(packet) {
        Ok(upper) if upper.is_later_fragment => (upper.protocol.0, &[]),
        Ok(upper) => (upper.protocol.0, upper.payload),
        Err(_) => (59, &[]),
    }
}

#[inline(always)]
fn by_ports(filters: &Filters, rules: Rules, protocol: u8, l4: &[u8]) -> Rules {
    if !filters.look_at_ports(rules) {
        return rules;
    }
    match l4.first_chunk() {
        Some(&[s0, s1, d0, d1]) if WITH_PORTS.contains(&protocol) => {
            let (source, destination) = ([s0, s1], [d0, d1]);
            rules & filters.of_ports(u16::from_be_bytes(source), u16::from_be_bytes(destination))
        }
        _ => rules & filters.of_no_ports(),
    }
}

#[inline(always)]
fn by_addresses(filters: &Filters, rules: Rules, addresses: impl FnOnce() -> Addresses) -> ClassId {
    match filters.look_at_addresses(rules) {
        true => filters.first_with(rules, addresses()),
        false => filters.first(rules),
    }
}
