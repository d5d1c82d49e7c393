//! ICMP errors from a subnet's gateway to the vNIC that sent what cannot go on (RFC 792, RFC 1812 §4.3.2).

use crate::dispatch;
use crate::frame::{Frame, L4Checksum};
use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::watch::Step;
use std::net::Ipv4Addr;
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::reason::Reason;
use weir_tables::view::{View, Vnic};
use weir_wire::IpProtocol;
use weir_wire::icmp::{self, Header};
use weir_wire::ipv4::{self, Fragmentation};

/// Before the quoted packet: Ethernet, IPv4 and ICMP headers.
const BEFORE: usize = 14 + ipv4::HEADER + icmp::HEADER;
/// Type of service of an error: precedence "internetwork control" (RFC 1812 §4.3.2.5).
const TOS: u8 = 0xc0;
/// Time to live of what the gateway sends.
pub const TTL: u8 = 64;

/// Drops a vNIC's IPv4 frame for `reason`, and tells the VM why where that is allowed: the frame itself becomes the
/// error, which is a packet of the switch's own.
#[cold]
pub fn refuse<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    error: Header,
    reason: Reason,
    mut frame: O::Frame,
    out: &mut O,
) {
    frame.ended(reason);
    ledger.lost(Some(&from.cells), reason, frame.len() as u64);
    if deserves(&frame)
        && ledger.may_complain(&from.cells)
        && write(view, from, error, &mut frame).is_some()
    {
        frame.note(|| Step::Told {
            kind: error.kind,
            code: error.code,
        });
        ledger.cells().generated.add(1);
        dispatch::to_vnic(view, ledger, None, from.id, frame, out);
    }
}

/// RFC 1122 §3.2.2, RFC 1812 §4.3.2.7: no error about an error, a later fragment, a packet to many, be it by its address or
/// by its MAC, or from no one host.
fn deserves<F: Frame>(frame: &F) -> bool {
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

/// An address that is no one host's, or no other's (RFC 1812 §5.3.7).
pub fn is_martian(address: Ipv4Addr) -> bool {
    address.is_multicast()
        || address.is_loopback()
        || address.octets()[0] == 0
        || address.octets()[0] >= 240
}

/// Makes the frame the error about it; `None` where there is no room for that.
fn write<F: Frame>(view: &View, from: &Vnic, error: Header, frame: &mut F) -> Option<()> {
    let head = frame.head();
    let asker = *head.get(6..)?.first_chunk::<6>()?;
    let header = head.get(14..)?.first_chunk::<{ ipv4::HEADER }>()?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let destination = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let source = gateway(view, from, destination)?;

    let quoted = total.min(icmp::MAX_QUOTE);
    frame.truncate(14 + quoted);
    if !frame.pull_up(14 + quoted) || !frame.trim_front(14) {
        return None;
    }
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
    let (ethernet, rest) = before.split_first_chunk_mut::<14>()?;
    let (ip_header, icmp_header) = rest.split_first_chunk_mut::<{ ipv4::HEADER }>()?;
    let [d0, d1, d2, d3, d4, d5] = asker;
    let [s0, s1, s2, s3, s4, s5] = GATEWAY_MAC.octets();
    *ethernet = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, 8, 0];
    *ip_header = ip.octets();
    icmp_header.copy_from_slice(&message);
    // What was to be finished was the packet's, not the error's.
    frame.set_l4_checksum(L4Checksum::Unknown);
    frame.clear_gso();
    Some(())
}

/// The gateway's address by which a VM with this address knows it: of several, the one nearest to it.
fn gateway(view: &View, from: &Vnic, to: Ipv4Addr) -> Option<Ipv4Addr> {
    let apart = |gateway: &Ipv4Addr| u32::from(*gateway) ^ u32::from(to);
    let gateways = view.segment(from.segment)?.gateways.iter();
    gateways.copied().min_by_key(apart)
}
