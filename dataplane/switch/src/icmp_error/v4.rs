//! ICMP errors (RFC 792; RFC 1812 §4.3.2).

use super::{Problem, TTL, is_martian};
use crate::family::{Family, V4, ethernet};
use crate::frame::{Frame, L4Checksum};
use std::net::Ipv4Addr;
use weir_tables::view::{View, Vnic};
use weir_wire::icmp::{self, Header};
use weir_wire::ipv4::{self, Fragmentation};
use weir_wire::{EtherType, IpProtocol};

/// Before the quoted packet: Ethernet, IPv4 and ICMP headers.
const BEFORE: usize = 14 + ipv4::HEADER + icmp::HEADER;
/// Type of service of an error: precedence "internetwork control" (RFC 1812 §4.3.2.5).
const TOS: u8 = 0xc0;

impl Problem {
    /// As ICMP says it (RFC 1812 §5.2.7.1).
    fn icmp(self) -> Header {
        match self {
            Problem::HopLimit => Header::time_exceeded(),
            Problem::NoRoute | Problem::Scope => Header::unreachable(icmp::NETWORK),
            Problem::Host => Header::unreachable(icmp::HOST),
            Problem::Port => Header::unreachable(icmp::PORT),
            Problem::TooBig(mtu) => Header::fragmentation_needed(mtu),
        }
    }
}

/// RFC 1122 §3.2.2, RFC 1812 §4.3.2.7: no error about an error, a later fragment, a packet to many, be it by its address or
/// by its MAC, or from no one host.
pub fn deserves<F: Frame>(frame: &F, _: Problem) -> bool {
    let l3 = frame.head().get(14..).unwrap_or_default();
    let Some(header) = l3.first_chunk::<{ ipv4::HEADER }>() else {
        return false;
    };
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let source = Ipv4Addr::new(s0, s1, s2, s3);
    let destination = Ipv4Addr::new(d0, d1, d2, d3);
    let about_error = header[9] == IpProtocol::ICMP.0 && {
        let l4 = l3.get(usize::from(header[0] & 0x0f) * 4..);
        l4.and_then(<[u8]>::first)
            .is_none_or(|&kind| icmp::is_error(kind))
    };
    let to_many = frame.head().first().is_none_or(|first| first & 1 != 0);
    u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0
        && !to_many
        && !is_martian(source)
        && !destination.is_multicast()
        && !destination.is_broadcast()
        && !about_error
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
    let header = head.get(14..)?.first_chunk::<{ ipv4::HEADER }>()?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let destination = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let source = V4::gateway(view.segment(from.segment)?, destination)?;

    let quoted = total.min(icmp::MAX_QUOTE);
    frame.truncate(14 + quoted);
    if !frame.pull_up(14 + quoted) || !frame.trim_front(14) {
        return None;
    }
    let error = problem.icmp();
    let message = error.octets(frame.head().get(..quoted)?);
    let ip = ipv4::Header {
        tos: TOS,
        total_length: (BEFORE - 14 + quoted) as u16,
        identification: 0,
        fragmentation: Fragmentation::DONT,
        ttl: TTL,
        protocol: IpProtocol::ICMP,
        source,
        destination,
    };
    let before = frame.prepend::<BEFORE>()?;
    let (to, rest) = before.split_first_chunk_mut::<14>()?;
    let (ip_header, icmp_header) = rest.split_first_chunk_mut::<{ ipv4::HEADER }>()?;
    *to = ethernet(asker, EtherType::IPV4);
    *ip_header = ip.octets();
    icmp_header.copy_from_slice(&message);
    // What was to be finished was the packet's, not the error's.
    frame.clear_gso();
    frame.set_l4_checksum(L4Checksum::Unknown);
    Some((error.kind, error.code))
}
