//! The slow lane: ARP of tenants, of their gateways and of the provider network (ND has a file of its own), broadcast and
//! multicast. Bounded: a frame becomes at most one copy a member here and one a peer with members, and of all those no more
//! than the segment's limit.

use crate::door::Door;
use crate::family::{Family, V4, V6};
use crate::ledger::Ledger;
use crate::outlet::{Event, Outlet, Receiver};
use crate::parse::{self, Parsed};
use crate::watch::Step;
use crate::{Frame, bridge, dispatch, encap, miss, nd, rewrite};
use std::net::Ipv4Addr;
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::endpoints::Target;
use weir_tables::ids::{PeerId, SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::{Carriage, Segment, Uplink, View, Vnic};
use weir_wire::arp::{self, Arp, Operation};
use weir_wire::{EtherType, Mac};

/// A vNIC's frame to many: ARP or ND that a record answers, else a copy to every other member.
pub fn group<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    parsed: &Parsed,
    mut frame: O::Frame,
    out: &mut O,
) {
    let bridged = from.carriage == Carriage::Bridged;
    let wanted = match parsed.ethertype {
        // Others than vNICs are on a bridged network, and its gateway is not the switch.
        _ if bridged => None,
        EtherType::ARP if answer(view, from, &mut frame) => {
            return dispatch::to_vnic(view, ledger, None, from.id, frame, out);
        }
        EtherType::IPV6 if nd::answer(view, from, &mut frame) => {
            return dispatch::to_vnic(view, ledger, None, from.id, frame, out);
        }
        EtherType::ARP => question(from, &frame)
            .and_then(|ask| miss::by_question::<V4>(view, from, ask.target_ip)),
        EtherType::IPV6 => {
            nd::wanted(from, &frame).and_then(|target| miss::by_question::<V6>(view, from, target))
        }
        _ => None,
    };
    if let Some(to) = wanted {
        match miss::ask(view, ledger, from, to, frame, out) {
            Some(back) => frame = back,
            None => return,
        }
    }
    if bridged && bridge::is_reserved(parsed.dst) {
        return ledger.dropped(Some(&from.cells), Reason::ReservedMulticast, frame);
    }
    match view.segment(from.segment) {
        Some(segment) => {
            let sender = Sender {
                vnic: from,
                flow: parsed.flow,
            };
            flood(view, ledger, segment, Some(sender), frame, out);
        }
        None => ledger.dropped(Some(&from.cells), Reason::NoMembers, frame),
    }
}

/// A frame to many from the wire: to members here, never back to the wire.
pub fn group_from_wire<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    segment: SegmentId,
    frame: O::Frame,
    out: &mut O,
) {
    match view.segment(segment) {
        Some(segment) => flood(view, ledger, segment, None, frame, out),
        None => ledger.dropped(Some(&uplink.cells), Reason::UnknownVsid, frame),
    }
}

/// The vNIC that a flooded frame is from.
#[derive(Clone, Copy)]
struct Sender<'v> {
    vnic: &'v Vnic,
    flow: u8,
}

/// Where one copy goes.
#[derive(Clone, Copy)]
enum To {
    Vnic(VnicId),
    Peer(PeerId),
    /// The uplink's own network.
    Wire,
}

/// RFC 7637 §4.2: a copy to every member here but the sender, and one to every peer that has members of this subnet (N-way
/// unicast) or to their group, as far as the limit goes; the last one gets the frame itself.
fn flood<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    segment: &Segment,
    from: Option<Sender>,
    frame: O::Frame,
    out: &mut O,
) {
    let sender = from.map(|s| s.vnic.id);
    frame.note(|| Step::Flooded {
        segment: segment.id,
        here: segment.local.len() as u32,
        peers: segment.peers.len() as u32,
    });
    let here = segment
        .local
        .iter()
        .copied()
        .filter(|&id| Some(id) != sender);
    let leaves = from.is_some() && segment.carriage != Carriage::Rewrite;
    let there = segment.peers.iter().copied().filter(|_| leaves);
    // Rewrite carries unicast IP alone: what members on other hosts do not get of it is one drop.
    if from.is_some() && segment.carriage == Carriage::Rewrite && !segment.peers.is_empty() {
        let account = from.map(|s| &s.vnic.cells);
        if here.clone().next().is_none() {
            return ledger.dropped(account, Reason::NotRewritable, frame);
        }
        ledger.cells().copies.add(1);
        frame.ended(Reason::NotRewritable);
        ledger.lost(account, Reason::NotRewritable, frame.len() as u64);
    }
    let wire = segment.wire.filter(|_| from.is_some()).map(|_| To::Wire);
    let mut to = here
        .map(To::Vnic)
        .chain(there.map(To::Peer))
        .chain(wire)
        .peekable();
    if to.peek().is_none() {
        return ledger.dropped(from.map(|s| &s.vnic.cells), Reason::NoMembers, frame);
    }
    let mut left = segment.copies;
    while let Some(next) = to.next() {
        left = left.saturating_sub(1);
        let more = to.peek().is_some();
        if more && left == 0 {
            // However many do not get it, it is one drop: that it is not for all.
            let account = from.map(|s| &s.vnic.cells);
            ledger.cells().copies.add(1);
            frame.ended(Reason::CopiesLimit);
            ledger.lost(account, Reason::CopiesLimit, frame.len() as u64);
        }
        if !more || left == 0 {
            return give(view, ledger, segment, from, next, frame, out);
        }
        ledger.cells().copies.add(1);
        match out.copy(&frame) {
            Some(copy) => give(view, ledger, segment, from, next, copy, out),
            None => {
                let account = from.map(|s| &s.vnic.cells);
                ledger.lost(account, Reason::PoolEmpty, frame.len() as u64);
            }
        }
    }
}

fn give<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    segment: &Segment,
    from: Option<Sender>,
    to: To,
    frame: O::Frame,
    out: &mut O,
) {
    match (to, from) {
        (To::Vnic(id), _) => {
            dispatch::to_vnic(view, ledger, from.map(|s| s.vnic), id, frame, out);
        }
        (To::Peer(peer), Some(s)) => {
            let key = encap::key(s.vnic.vsid, s.flow);
            encap::to_peer(view, ledger, s.vnic, key, peer, frame, out);
        }
        (To::Wire, Some(s)) => bridge::to_wire(view, ledger, s.vnic, segment, frame, out),
        (To::Peer(_) | To::Wire, None) => ledger.dropped(None, Reason::NoMembers, frame),
    }
}

/// Turns an ARP request into its answer, in place, if a record knows it. Never for the asker's own address
/// (RFC 5227 §2.1.1: it would see a conflict).
fn answer<F: Frame>(view: &View, from: &Vnic, frame: &mut F) -> bool {
    let Some(ask) = question(from, frame) else {
        return false;
    };
    match mac_of::<V4>(view, from, ask.target_ip) {
        Some(mac) => reply(frame, 14, mac, &ask),
        None => false,
    }
}

/// An ARP request that a record may answer.
fn question<F: Frame>(from: &Vnic, frame: &F) -> Option<Arp> {
    let ask = Arp::parse(frame.head().get(14..)?).ok()?;
    let is_open = ask.operation == Operation::REQUEST
        && ask.target_ip != ask.sender_ip
        && !from.identity.v4.contains(&ask.target_ip);
    is_open.then_some(ask)
}

/// The MAC of an address in the vNIC's own subnet: a vNIC's, or the gateway's.
pub fn mac_of<F: Family>(view: &View, from: &Vnic, address: F::Address) -> Option<Mac> {
    if let Some(record) = F::record(view, view.domain(from.domain)?, address) {
        // Of a rewritten one no MAC is known here, and none is needed.
        let mac = match record.target {
            Target::Rewritten(_) => GATEWAY_MAC,
            _ => record.mac,
        };
        return (record.segment == from.segment).then_some(mac);
    }
    let segment = view.segment(from.segment)?;
    F::is_gateway(segment, address).then_some(GATEWAY_MAC)
}

/// A vNIC's frame to the MAC of its gateway that is no IP: a VM asks again, by unicast, whether the gateway is still
/// there (RFC 1122 §2.3.2.1).
pub fn to_gateway<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    ethertype: EtherType,
    frame: O::Frame,
    out: &mut O,
) {
    if ethertype == EtherType::ARP {
        return answer_or_drop(view, ledger, from, Reason::ForGateway, frame, out);
    }
    ledger.dropped(Some(&from.cells), Reason::ForGateway, frame);
}

/// A vNIC's ARP to one MAC behind which nobody is: what a record knows is answered, the rest dropped for `reason`.
pub fn answer_or_drop<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    reason: Reason,
    mut frame: O::Frame,
    out: &mut O,
) {
    if answer(view, from, &mut frame) {
        return dispatch::to_vnic(view, ledger, None, from.id, frame, out);
    }
    ledger.dropped(Some(&from.cells), reason, frame);
}

/// Writes the answer to `ask`, which starts `at` bytes into the frame: RFC 826, packet reception.
fn reply<F: Frame>(frame: &mut F, at: usize, mac: Mac, ask: &Arp) -> bool {
    let answer = Arp {
        operation: Operation::REPLY,
        sender_mac: mac,
        sender_ip: ask.target_ip,
        target_mac: ask.sender_mac,
        target_ip: ask.sender_ip,
    };
    let head = frame.head_mut();
    let Some(body) = head
        .get_mut(at..)
        .and_then(|b| b.first_chunk_mut::<{ arp::LEN }>())
    else {
        return false;
    };
    answer.write(body);
    if let Some([dst @ .., s0, s1, s2, s3, s4, s5]) = head.first_chunk_mut::<12>() {
        *dst = ask.sender_mac.octets();
        [*s0, *s1, *s2, *s3, *s4, *s5] = mac.octets();
    }
    frame.note(|| Step::Answered {
        address: ask.target_ip.into(),
        mac,
    });
    true
}

/// Whether this host answers for an address on the provider network: its own, or a vNIC's.
fn is_ours(view: &View, uplink: &Uplink, address: Ipv4Addr) -> bool {
    uplink.has(address) || rewrite::answers::<V4>(view, uplink, address)
}

/// ARP on the provider network: who asks for this host's address is answered, who says where it is is
/// remembered by control.
pub fn provider_arp<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    at: usize,
    mut frame: O::Frame,
    out: &mut O,
) {
    let packet = frame.head().get(at..).unwrap_or_default();
    let Ok(arp) = Arp::parse(packet) else {
        return ledger.dropped(Some(&uplink.cells), Reason::UnderlayArp, frame);
    };
    hear(uplink, &arp, out);
    let ours = is_ours(view, uplink, arp.target_ip);
    if ours && arp.operation == Operation::REQUEST && reply(&mut frame, at, uplink.mac, &arp) {
        // The answer needs the tag that the device took off the question.
        let stripped = frame.stripped_vlan().is_some();
        if let Some(vlan) = uplink.vlan.filter(|_| stripped)
            && !parse::tag(&mut frame, vlan)
        {
            return ledger.dropped(Some(&uplink.cells), Reason::NoHeadroom, frame);
        }
        frame.clear_vlan();
        let door = Door::new(uplink.port, Receiver::Uplink(uplink.id));
        return out.push(None, door, frame);
    }
    if ours {
        frame.note(|| Step::Consumed);
        ledger.cells().consumed.add(1);
    } else {
        ledger.dropped(Some(&uplink.cells), Reason::UnderlayArp, frame);
    }
}

/// Tells control where the sender is. RFC 5227 §1.1: a probe says nothing about its sender. A group MAC is no station's.
fn hear<O: Outlet>(uplink: &Uplink, arp: &Arp, out: &mut O) {
    if !arp.sender_ip.is_unspecified() && !arp.sender_mac.is_multicast() {
        out.tell(Event::Neighbor {
            uplink: uplink.id,
            address: arp.sender_ip.into(),
            mac: arp.sender_mac,
            overrides: true,
        });
    }
}

/// ARP to everybody on a network that the provider shares with a bridged VM network: its members hear it, and the
/// provider's side too if it is about this host.
pub fn shared_arp<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    segment: SegmentId,
    at: usize,
    frame: O::Frame,
    out: &mut O,
) {
    let arp = Arp::parse(frame.head().get(at..).unwrap_or_default());
    if !arp.is_ok_and(|arp| is_ours(view, uplink, arp.target_ip)) {
        if let Ok(arp) = arp {
            hear(uplink, &arp, out);
        }
        return bridged_from_wire(view, ledger, uplink, segment, frame, out);
    }
    ledger.cells().copies.add(1);
    match out.copy(&frame) {
        Some(copy) => bridged_from_wire(view, ledger, uplink, segment, copy, out),
        None => {
            let bytes = frame.len() as u64;
            ledger.lost(Some(&uplink.cells), Reason::PoolEmpty, bytes);
        }
    }
    provider_arp(view, ledger, uplink, at, frame, out);
}

/// Without the tag of priority that the provider's side has passed over.
pub fn bridged_from_wire<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    segment: SegmentId,
    mut frame: O::Frame,
    out: &mut O,
) {
    frame.clear_vlan();
    match parse::ethernet(&mut frame) {
        Ok(parsed) if parse::is_tag(parsed.ethertype) && parse::untag(&mut frame).is_err() => {
            ledger.dropped(Some(&uplink.cells), Reason::OuterVlan, frame);
        }
        _ => group_from_wire(view, ledger, uplink, segment, frame, out),
    }
}
