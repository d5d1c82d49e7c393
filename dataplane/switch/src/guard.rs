//! What a vNIC may send: its own MACs and addresses, and the few packets that an honest machine sends
//! before it has an address. Everything else is dropped before any table is asked.

use crate::bridge;
use crate::nd;
use crate::parse::Parsed;
use crate::watch::Rule;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_tables::reason::Reason;
use weir_tables::view::Identity;
use weir_wire::arp::Arp;
use weir_wire::{EtherType, IpProtocol, flow, icmp6, ipv6};

/// Checks a frame of `length` bytes (head and tail) whose head is `head`, and gives the flow's entropy.
#[inline(always)]
pub fn admit(who: &Identity, parsed: &Parsed, head: &[u8], length: usize) -> Result<u8, Reason> {
    if !who.has_mac(parsed.src) {
        return Err(Reason::SpoofedMac);
    }
    let l3 = head.get(14..).unwrap_or_default();
    match parsed.ethertype {
        EtherType::IPV4 => ipv4(who, l3, length - 14),
        EtherType::IPV6 => ipv6(who, l3, length - 14),
        EtherType::ARP => arp(who, l3),
        _ => reserved(parsed),
    }
}

/// Which rule let in what [`admit`] has let in; for a trace.
#[cold]
pub fn rule(who: &Identity, parsed: &Parsed, head: &[u8]) -> Rule {
    let source = |at: usize| head.get(at..).unwrap_or_default();
    let (address, own, allowed) = match parsed.ethertype {
        EtherType::IPV4 | EtherType::ARP => {
            let at = if parsed.ethertype == EtherType::ARP {
                28
            } else {
                26
            };
            let bytes = source(at).first_chunk::<4>().copied().unwrap_or_default();
            let ip = Ipv4Addr::from(bytes);
            (IpAddr::V4(ip), who.v4.contains(&ip), who.has_v4(ip))
        }
        EtherType::IPV6 => {
            let bytes = source(22).first_chunk::<16>().copied().unwrap_or_default();
            let ip = Ipv6Addr::from(bytes);
            (IpAddr::V6(ip), who.v6.contains(&ip), who.has_v6(ip))
        }
        _ => return Rule::Mac(parsed.src),
    };
    match (own, allowed) {
        (true, _) => Rule::Address(address),
        (false, true) => Rule::AllowedSource(address),
        (false, false) => Rule::Unaddressed,
    }
}

/// `length` is that of the whole packet, tail segments and padding included.
#[inline(always)]
fn ipv4(who: &Identity, l3: &[u8], length: usize) -> Result<u8, Reason> {
    let header = l3.first_chunk::<20>().ok_or(Reason::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < 20 || total < header_len {
        return Err(Reason::Malformed);
    }
    if total > length || header_len > l3.len() {
        return Err(Reason::Truncated);
    }
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    if who.has_v4(source) || (source.is_unspecified() && is_dhcp_request(header, l3)) {
        Ok(flow::ipv4(header, l3) as u8)
    } else {
        Err(Reason::SpoofedIp)
    }
}

/// DHCP client to server (RFC 2131 §4.1): UDP, not a fragment, port 68 to 67.
#[inline]
fn is_dhcp_request(header: &[u8; 20], l3: &[u8]) -> bool {
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let ports = l3.get(header_len..).and_then(|l4| l4.first_chunk::<4>());
    header[9] == IpProtocol::UDP.0 && fragment == 0 && ports == Some(&[0, 68, 0, 67])
}

#[inline]
fn ipv6(who: &Identity, l3: &[u8], length: usize) -> Result<u8, Reason> {
    let header = l3.first_chunk::<40>().ok_or(Reason::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    if 40 + usize::from(u16::from_be_bytes([header[4], header[5]])) > length {
        return Err(Reason::Truncated);
    }
    let [
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        source @ ..,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
    ] = *header;
    let source: [u8; 16] = source;
    let source = Ipv6Addr::from(source);
    if !(who.has_v6(source) || (source.is_unspecified() && may_be_unspecified(l3))) {
        return Err(Reason::SpoofedIp);
    }
    if !matches!(IpProtocol(header[6]), IpProtocol::TCP | IpProtocol::UDP) {
        nd::admit(who, l3)?;
    }
    Ok(flow::ipv6(header, l3) as u8)
}

/// What may come from `::`: a neighbour solicitation of duplicate address detection (RFC 4862 §5.4.2), a
/// router solicitation (RFC 4861 §4.1), a multicast listener report (RFC 3810 §5.2.13, RFC 2710 §3).
fn may_be_unspecified(l3: &[u8]) -> bool {
    match ipv6::upper_layer(l3) {
        Some((IpProtocol::ICMPV6, l4)) => matches!(
            l4.first(),
            Some(
                &(icmp6::NEIGHBOR_SOLICITATION
                    | icmp6::ROUTER_SOLICITATION
                    | icmp6::MLD_REPORT
                    | icmp6::MLD_DONE
                    | icmp6::MLD2_REPORT)
            )
        ),
        _ => false,
    }
}

/// The sender of an ARP packet is the vNIC: its MAC, and its CA or, in a probe, 0.0.0.0 (RFC 5227 §1.1).
fn arp(who: &Identity, l3: &[u8]) -> Result<u8, Reason> {
    let arp = Arp::parse(l3).map_err(|_| Reason::Malformed)?;
    let address = arp.sender_ip.is_unspecified() || who.has_v4(arp.sender_ip);
    if who.has_mac(arp.sender_mac) && address {
        Ok(0)
    } else {
        Err(Reason::SpoofedArp)
    }
}

/// Other protocols are bridged, but for link-local control traffic (IEEE 802.1Q table 8-1).
#[inline]
fn reserved(parsed: &Parsed) -> Result<u8, Reason> {
    if bridge::is_reserved(parsed.dst) {
        return Err(Reason::ReservedMulticast);
    }
    Ok(flow::ethernet(parsed.dst, parsed.src, parsed.ethertype) as u8)
}
