//! ICMPv6 errors (RFC 4443).

use super::{Problem, TTL};
use crate::family::{Family, V6, ethernet};
use crate::frame::{Frame, L4Checksum};
use weir_tables::view::{View, Vnic};
use weir_wire::icmp6::{self, Header};
use weir_wire::ipv6::{self, Ipv6};
use weir_wire::{EtherType, IpProtocol};

/// Before the quoted packet: Ethernet, IPv6 and ICMPv6 headers.
const BEFORE: usize = 14 + ipv6::HEADER + Header::LEN;

impl Problem {
    /// As ICMPv6 says it (RFC 4443 §3).
    fn icmp6(self) -> Header {
        match self {
            Problem::HopLimit => Header::time_exceeded(),
            Problem::NoRoute => Header::unreachable(icmp6::NO_ROUTE),
            Problem::Scope => Header::unreachable(icmp6::BEYOND_SCOPE),
            Problem::Host => Header::unreachable(icmp6::ADDRESS),
            Problem::Port => Header::unreachable(icmp6::PORT),
            Problem::TooBig(mtu) => Header::packet_too_big(mtu.into()),
        }
    }
}

/// RFC 4443 §2.4 (e): no error about an error, a redirect, what was sent to many by its address or by its MAC (unless it
/// was too big), or what is from no one host. Nor about what does not show whether it is an error.
pub fn deserves<F: Frame>(frame: &F, problem: Problem) -> bool {
    let head = frame.head();
    let l3 = head.get(14..).unwrap_or_default();
    let (Ok(ip), Ok(upper)) = (Ipv6::parse_quote(l3), ipv6::walk(l3)) else {
        return false;
    };
    let about_error = upper.protocol == IpProtocol::ICMPV6
        && (upper.is_later_fragment
            || upper
                .payload
                .first()
                .is_none_or(|&kind| icmp6::is_error(kind) || kind == icmp6::REDIRECT));
    let to_many =
        ip.destination().is_multicast() || head.first().is_none_or(|first| first & 1 != 0);
    let source = ip.source();
    !about_error
        && (!to_many || matches!(problem, Problem::TooBig(_)))
        && !source.is_unspecified()
        && !source.is_multicast()
        && !source.is_loopback()
}

/// Makes the frame the error about it, and says of which type and code that is; `None` where there is no room for it.
pub fn write<F: Frame>(
    view: &View,
    from: &Vnic,
    problem: Problem,
    frame: &mut F,
) -> Option<(u8, u8)> {
    let head = frame.head();
    let asker = *head.get(6..)?.first_chunk::<6>()?;
    let ip = Ipv6::parse_quote(head.get(14..)?).ok()?;
    let destination = ip.source();
    let source = V6::gateway(view.segment(from.segment)?, destination)?;

    // RFC 4443 §2.4 (c): as much of it as there is, and no more than makes 1280 bytes.
    let quoted = (ipv6::HEADER + usize::from(ip.payload_len())).min(icmp6::MAX_QUOTE);
    frame.truncate(14 + quoted);
    let quoted = frame.len().checked_sub(14)?;
    if !frame.pull_up(14 + quoted) || !frame.trim_front(14) {
        return None;
    }
    let quote = frame.head().get(..quoted)?;
    let error = problem.icmp6();
    let message = error.octets(source, destination, quote);
    let ip = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_length: (Header::LEN + quoted) as u16,
        next_header: IpProtocol::ICMPV6,
        hop_limit: TTL,
        source,
        destination,
    };
    let before = frame.prepend::<BEFORE>()?;
    let (to, rest) = before.split_first_chunk_mut::<14>()?;
    let (ip_header, icmp_header) = rest.split_first_chunk_mut::<{ ipv6::HEADER }>()?;
    *to = ethernet(asker, EtherType::IPV6);
    ip.write(ip_header);
    icmp_header.copy_from_slice(&message);
    // What was to be finished was the packet's, not the error's.
    frame.clear_gso();
    frame.set_l4_checksum(L4Checksum::Unknown);
    Some((error.kind, error.code))
}
