//! The router between the subnets of a VM network, on every host: what a VM sends to its gateway's MAC goes to the
//! record of its destination, or to where a customer route says (RFC 1812 §5).

use crate::frame::Frame;
use crate::icmp_error::{self, TTL};
use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::watch::Step;
use crate::{dispatch, encap, miss, rewrite, segment, too_big};
use std::net::Ipv4Addr;
use weir_tables::domain::{GATEWAY_MAC, Hop};
use weir_tables::endpoints::{Destination, Record, Target, record_key};
use weir_tables::ids::DomainId;
use weir_tables::reason::Reason;
use weir_tables::view::{View, Vnic};
use weir_wire::icmp::{self, Header};
use weir_wire::{IpProtocol, checksum, ipv4};

/// Code of "destination unreachable": network.
const NETWORK: u8 = 0;

/// Key of the record of an IPv4 frame's destination. The guard has seen that there is a header.
#[inline(always)]
pub fn key(domain: DomainId, head: &[u8]) -> u64 {
    record_key(domain, destination(head))
}

/// Where an IPv4 frame goes.
#[inline(always)]
pub(crate) fn destination(head: &[u8]) -> Ipv4Addr {
    let address = head.get(30..).and_then(|rest| rest.first_chunk::<4>());
    address.copied().unwrap_or_default().into()
}

/// The source of an IPv4 frame.
fn source(head: &[u8]) -> Ipv4Addr {
    let address = head.get(26..).and_then(|rest| rest.first_chunk::<4>());
    address.copied().unwrap_or_default().into()
}

/// Takes a frame to the gateway's MAC on. `record`: what the table has for its destination.
#[inline(always)]
pub fn forward<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    flow: u8,
    record: [u32; 3],
    frame: O::Frame,
    out: &mut O,
) {
    // RFC 1812 §5.2.2: a router verifies the header's checksum.
    let l3 = frame.head().get(14..).unwrap_or_default();
    let header_len = l3.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if checksum::sum(l3.get(..header_len).unwrap_or_default()) != 0xffff {
        return ledger.dropped(Some(&from.cells), Reason::Malformed, frame);
    }
    let record = Record::unpack(record);
    frame.note(|| Step::Record {
        domain: from.domain,
        address: destination(frame.head()).into(),
        found: record,
    });
    match record {
        Some(record) => send(view, ledger, from, flow, record, frame, out),
        None => elsewhere(view, ledger, from, flow, frame, out),
    }
}

/// A hop on: a TTL less, the next MAC, the next VSID.
#[inline(always)]
fn send<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    flow: u8,
    to: Record,
    mut frame: O::Frame,
    out: &mut O,
) {
    if to.target == Target::Local(from.id) {
        return ledger.dropped(Some(&from.cells), Reason::SamePort, frame);
    }
    if let Target::Rewritten(peer) = to.target {
        return rewrite::leave(view, ledger, from, flow, to, peer, frame, out);
    }
    let Some(segment) = view.segment(to.segment) else {
        return ledger.dropped(Some(&from.cells), Reason::NoRecord, frame);
    };
    // Before it is changed: the VM is told about the packet that it sent.
    if let Target::Remote(peer) = to.target
        && let Some(peer) = view.peer(peer)
        && peer.resolved
        && frame.len() > usize::from(peer.max_inner)
        && segment::longest(&frame) > usize::from(peer.max_inner)
        && too_big::must_be_whole(frame.head())
    {
        return too_big::refuse(view, ledger, from, peer.max_inner, frame, out);
    }
    if !hop(frame.head_mut(), to) {
        let error = Header::time_exceeded();
        return icmp_error::refuse(view, ledger, from, error, Reason::TtlExpired, frame, out);
    }
    frame.note(|| Step::Hop {
        ttl: frame.head().get(22).copied().unwrap_or_default(),
        mac: to.mac,
        segment: to.segment,
    });
    match to.target {
        Target::Remote(peer) => {
            let key = encap::key(segment.vsid, flow);
            encap::to_peer(view, ledger, from, key, peer, frame, out);
        }
        Target::Local(id) => dispatch::to_vnic(view, ledger, Some(&from.cells), id, frame, out),
        Target::Rewritten(_) => ledger.dropped(Some(&from.cells), Reason::NoRecord, frame),
    }
}

/// `false`, and nothing changed, if the TTL does not last.
#[inline(always)]
fn hop(head: &mut [u8], to: Record) -> bool {
    let Some((ethernet, l3)) = head.split_first_chunk_mut::<14>() else {
        return false;
    };
    let ip = l3.first_chunk_mut::<{ ipv4::HEADER }>();
    if ip.and_then(ipv4::decrement_ttl).is_none() {
        return false;
    }
    let [d0, d1, d2, d3, d4, d5] = to.mac.octets();
    let [s0, s1, s2, s3, s4, s5] = GATEWAY_MAC.octets();
    *ethernet = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, 8, 0];
    true
}

/// Nobody has the destination: the gateway itself, a customer route, or an answer that says so.
#[cold]
fn elsewhere<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    flow: u8,
    frame: O::Frame,
    out: &mut O,
) {
    let to = destination(frame.head());
    let Some(domain) = view.domain(from.domain) else {
        return ledger.dropped(Some(&from.cells), Reason::NoRoute, frame);
    };
    if domain.gateways.contains(&to) {
        return gateway(view, ledger, from, frame, out);
    }
    if icmp_error::is_martian(to) {
        return ledger.dropped(Some(&from.cells), Reason::NoRoute, frame);
    }
    let route = domain.route(to);
    frame.note(|| Step::Route {
        domain: from.domain,
        to: to.into(),
        found: route,
    });
    let next = match route.map(|route| route.hop) {
        Some(Hop::Via(next)) => {
            let wanted = Destination::V4(from.domain, next);
            let found = view.records.get(record_key(from.domain, next));
            let found = found.and_then(Record::unpack);
            frame.note(|| Step::Record {
                domain: from.domain,
                address: next.into(),
                found,
            });
            // A packet for somebody behind it would need his provider address: control refuses such a route.
            if found.is_some_and(|found| matches!(found.target, Target::Rewritten(_))) {
                let error = Header::unreachable(icmp::HOST);
                let reason = Reason::HostUnknown;
                return icmp_error::refuse(view, ledger, from, error, reason, frame, out);
            }
            if let Some(record) = found
                && !out.held().is_waiting(wanted)
            {
                return send(view, ledger, from, flow, record, frame, out);
            }
            wanted
        }
        Some(Hop::Connected) => Destination::V4(from.domain, to),
        None => {
            let error = Header::unreachable(NETWORK);
            return icmp_error::refuse(view, ledger, from, error, Reason::NoRoute, frame, out);
        }
    };
    if let Some(frame) = miss::ask(view, ledger, from, next, frame, out) {
        let error = Header::unreachable(icmp::HOST);
        icmp_error::refuse(view, ledger, from, error, Reason::HostUnknown, frame, out);
    }
}

/// What is for the gateway itself: an echo is answered; to a port of it, that there is none (which ends a traceroute).
fn gateway<O: Outlet>(view: &View, ledger: &Ledger, from: &Vnic, mut frame: O::Frame, out: &mut O) {
    if reply(frame.head_mut()).is_some() {
        frame.note(|| Step::Answered {
            address: source(frame.head()).into(),
            mac: GATEWAY_MAC,
        });
        ledger.cells().consumed.add(1);
        ledger.cells().generated.add(1);
        return dispatch::to_vnic(view, ledger, None, from.id, frame, out);
    }
    match IpProtocol(frame.head().get(23).copied().unwrap_or_default()) {
        IpProtocol::UDP | IpProtocol::TCP => {
            let error = Header::unreachable(icmp::PORT);
            icmp_error::refuse(view, ledger, from, error, Reason::ForGateway, frame, out);
        }
        _ => ledger.dropped(Some(&from.cells), Reason::ForGateway, frame),
    }
}

/// Makes an echo to the gateway its reply (RFC 792). `None`, and nothing changed, if it is none, or a fragment.
fn reply(head: &mut [u8]) -> Option<()> {
    let (ethernet, l3) = head.split_first_chunk_mut::<14>()?;
    let ip = *l3.first_chunk::<{ ipv4::HEADER }>()?;
    let header_len = usize::from(ip[0] & 0x0f) * 4;
    if ip[9] != IpProtocol::ICMP.0 || u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 {
        return None;
    }
    let message = l3.get_mut(header_len..)?.first_chunk_mut()?;
    if !icmp::make_echo_reply(message) {
        return None;
    }
    let header = l3.first_chunk_mut::<{ ipv4::HEADER }>()?;
    ipv4::swap_addresses(header);
    ipv4::set_ttl(header, TTL);
    let [d @ .., s0, s1, s2, s3, s4, s5, _, _] = ethernet;
    let asker = [*s0, *s1, *s2, *s3, *s4, *s5];
    [*s0, *s1, *s2, *s3, *s4, *s5] = GATEWAY_MAC.octets();
    *d = asker;
    Some(())
}
