//! The router between the subnets of a VM network, on every host: what a VM sends to its gateway's MAC goes to the
//! record of its destination, or to where a customer route says (RFC 1812 §5; RFC 8200 §3 for IPv6).

use crate::door::Door;
use crate::family::{Family, V4, V6};
use crate::frame::Frame;
use crate::icmp_error::{self, Problem};
use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::rewrite::Rewritable;
use crate::watch::Step;
use crate::{BATCH, dispatch, encap, miss, nd, rewrite, segment, too_big};
use arrayvec::ArrayVec;
use weir_tables::domain::{GATEWAY_MAC, Hop, Route};
use weir_tables::endpoints::{Record, Target, record_key, record6_key, remote_peer};
use weir_tables::peer::{HEADER_MAX_V4, Peer};
use weir_tables::reason::Reason;
use weir_tables::view::{View, Vnic};
use weir_wire::{IpProtocol, Mac, Vsid, ipv4};

/// Key of the record of an IPv4 frame's destination. The guard has seen that there is a header.
#[inline(always)]
pub fn key(from: &Vnic, head: &[u8]) -> u64 {
    record_key(from.domain, V4::destination(head))
}

/// Key of the record of an IPv6 frame's destination; one that is never found if the domain is gone.
#[inline(always)]
pub fn key6(view: &View, from: &Vnic, head: &[u8]) -> [u64; 2] {
    let domain = view.domain(from.domain);
    domain.map_or([0; 2], |domain| {
        record6_key(domain.tag, V6::destination(head))
    })
}

/// The records of IPv4 addresses.
#[inline(never)]
pub fn records(view: &View, keys: &[u64], records: &mut ArrayVec<[u32; 3], BATCH>) {
    let mut found = [[0; 3]; BATCH];
    view.records.get_batch(keys, &mut found);
    records.extend(found.into_iter().take(keys.len()));
}

/// The records of a batch's IPv6 destinations.
#[inline(never)]
pub fn records6(view: &View, keys: &[[u64; 2]], records: &mut ArrayVec<[u32; 3], BATCH>) {
    let mut found = [[0; 3]; BATCH];
    view.records6.get_batch(keys, &mut found);
    records.extend(found.into_iter().take(keys.len()));
}

/// Takes an [ordinary](crate::ordinary) packet to the gateway's MAC on in a straight line, if it has a record of a vNIC on another
/// host and takes nothing but a hop and a ready header: its door. None, and it is as it was, if it takes more. [`forward`] does the
/// same to it, and says what is wrong with others.
#[inline(always)]
pub fn ordinary<F: Frame>(
    view: &View,
    from: &Vnic,
    flow: u8,
    record: &[u32; 3],
    frame: &mut F,
) -> Option<Door> {
    let (peer, vsid, mac) = way(view, from, record, frame.len())?;
    // Asked first, because a hop is not taken back.
    if !frame.has_headroom(HEADER_MAX_V4) {
        return None;
    }
    let tos = hop(frame.head_mut(), mac)?;
    encap::wrap_ready(peer, tos, encap::key(vsid, flow), frame)
}

/// Where a frame of `length` bytes goes that has this record, if all is ready: the peer, the VSID and the MAC.
#[inline(always)]
fn way<'v>(
    view: &'v View,
    from: &Vnic,
    record: &[u32; 3],
    length: usize,
) -> Option<(&'v Peer, Vsid, Mac)> {
    let [target, ..] = *record;
    let peer = view.peer(remote_peer(target))?;
    let (segment, mac) = Record::unpack_rest(*record);
    let subnet = view.segment(segment)?;
    let is_ready = length <= usize::from(peer.ready_inner) && subnet.domain == from.domain;
    is_ready.then_some((peer, subnet.vsid, mac))
}

/// Takes an ordinary frame a hop on, and gives its type of service; `None`, and nothing changed, if it must not go on.
#[inline(always)]
fn hop(head: &mut [u8], to: Mac) -> Option<u8> {
    let head = head.first_chunk_mut::<{ 14 + ipv4::HEADER }>()?;
    let (macs, rest) = head.split_first_chunk_mut::<12>()?;
    let header = rest.last_chunk_mut::<{ ipv4::HEADER }>()?;
    ipv4::hop(header)?;
    *macs = from_gateway(to);
    Some(header[1])
}

/// The two MACs of a frame from the gateway.
#[inline(always)]
fn from_gateway(to: Mac) -> [u8; 12] {
    let both = u128::from(to.to_u64()) << 80 | u128::from(GATEWAY_MAC.to_u64()) << 32;
    let [macs @ .., _, _, _, _] = both.to_be_bytes();
    macs
}

/// Takes a frame to the gateway's MAC on. `record`: what the table has for its destination.
#[inline(never)]
pub fn forward<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    flow: u8,
    record: [u32; 3],
    frame: O::Frame,
    out: &mut O,
) {
    if !F::is_sound(frame.head()) {
        return ledger.dropped(Some(&from.cells), Reason::Malformed, frame);
    }
    let record = Record::unpack(record);
    frame.note(|| Step::Record {
        domain: from.domain,
        address: F::destination(frame.head()).into(),
        found: record,
    });
    match record {
        Some(record) => send::<F, O>(view, ledger, from, flow, record, frame, out),
        None => elsewhere::<F, O>(view, ledger, from, flow, frame, out),
    }
}

/// A hop on: a TTL less, the next MAC, the next VSID.
#[inline(always)]
fn send<F: Rewritable, O: Outlet>(
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
    let Some(subnet) = view.segment(to.segment) else {
        return ledger.dropped(Some(&from.cells), Reason::NoRecord, frame);
    };
    // Isolation: what covers IPv6 addresses may be anything, and none of them leads to another VM network.
    if subnet.domain != from.domain {
        return ledger.dropped(Some(&from.cells), Reason::NoRecord, frame);
    }
    if let Target::Rewritten(peer) = to.target {
        return rewrite::leave::<F, O>(view, ledger, from, flow, to, peer, frame, out);
    }
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
    if let Err((problem, reason)) = F::hop(frame.head_mut(), to.mac) {
        return icmp_error::refuse::<F, O>(view, ledger, from, problem, reason, frame, out);
    }
    frame.note(|| Step::Hop {
        ttl: F::ttl(frame.head()),
        mac: to.mac,
        segment: to.segment,
    });
    match to.target {
        Target::Remote(peer) => {
            let key = encap::key(subnet.vsid, flow);
            encap::to_peer(view, ledger, from, key, peer, frame, out);
        }
        Target::Local(id) => dispatch::to_vnic(view, ledger, Some(from), id, frame, out),
        Target::Rewritten(_) => ledger.dropped(Some(&from.cells), Reason::NoRecord, frame),
    }
}

/// Nobody has the destination: the gateway itself, a customer route, or an answer that says so.
#[cold]
fn elsewhere<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    flow: u8,
    frame: O::Frame,
    out: &mut O,
) {
    let to = F::destination(frame.head());
    let Some(domain) = view.domain(from.domain) else {
        return ledger.dropped(Some(&from.cells), Reason::NoRoute, frame);
    };
    let reach = F::reach(domain);
    if reach.is_gateway(to) || F::is_everywhere(to) {
        return gateway::<F, O>(view, ledger, from, frame, out);
    }
    if !F::is_routable(to) {
        return ledger.dropped(Some(&from.cells), Reason::NoRoute, frame);
    }
    let route = reach.route(to);
    frame.note(|| Step::Route {
        domain: from.domain,
        to: to.into(),
        found: route.map(Route::of_any),
    });
    let next = match route.map(|route| route.hop) {
        Some(Hop::Via(next)) => {
            let wanted = F::wanted(from.domain, next);
            let found = F::record(view, domain, next);
            frame.note(|| Step::Record {
                domain: from.domain,
                address: next.into(),
                found,
            });
            // A packet for somebody behind it would need his provider address: control refuses such a route.
            if found.is_some_and(|found| matches!(found.target, Target::Rewritten(_))) {
                let (problem, reason) = (Problem::Host, Reason::HostUnknown);
                return icmp_error::refuse::<F, O>(view, ledger, from, problem, reason, frame, out);
            }
            if let Some(record) = found
                && !out.held().is_waiting(wanted)
            {
                return send::<F, O>(view, ledger, from, flow, record, frame, out);
            }
            wanted
        }
        Some(Hop::Connected) => F::wanted(from.domain, to),
        None => {
            let (problem, reason) = (Problem::NoRoute, Reason::NoRoute);
            return icmp_error::refuse::<F, O>(view, ledger, from, problem, reason, frame, out);
        }
    };
    if let Some(frame) = miss::ask(view, ledger, from, next, frame, out) {
        let (problem, reason) = (Problem::Host, Reason::HostUnknown);
        icmp_error::refuse::<F, O>(view, ledger, from, problem, reason, frame, out);
    }
}

/// What is for the gateway itself: an echo is answered, and a neighbour's question; to a port of it, that there is none
/// (which ends a traceroute).
fn gateway<F: Family, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    mut frame: O::Frame,
    out: &mut O,
) {
    if F::echo_reply(frame.head_mut()).is_some() {
        frame.note(|| Step::Answered {
            address: F::source(frame.head()).into(),
            mac: GATEWAY_MAC,
        });
        ledger.cells().consumed.add(1);
        ledger.cells().generated.add(1);
        return dispatch::to_vnic(view, ledger, None, from.id, frame, out);
    }
    match F::upper(frame.head()) {
        Some(IpProtocol::UDP | IpProtocol::TCP) => {
            let reason = Reason::ForGateway;
            icmp_error::refuse::<F, O>(view, ledger, from, Problem::Port, reason, frame, out);
        }
        Some(IpProtocol::ICMPV6) if nd::answer(view, from, &mut frame) => {
            dispatch::to_vnic(view, ledger, None, from.id, frame, out);
        }
        _ => ledger.dropped(Some(&from.cells), Reason::ForGateway, frame),
    }
}
