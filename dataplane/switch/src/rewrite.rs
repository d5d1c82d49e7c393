//! IP rewrite, the other way of carrying a virtual subnet: between hosts a packet has provider addresses in the place of
//! its two customer addresses, and nothing is added to it.
//!
//! The subnet is layer 3 only: what a vNIC sends to one host is looked up by customer address whatever its MAC says, so
//! that it makes no difference whether the other one is here or elsewhere, or has moved.

use crate::door::Door;
use crate::frame::{Frame, L4Checksum};
use crate::ledger::Ledger;
use crate::outlet::{Outlet, Receiver};
use crate::parse::Parsed;
use crate::too_big::{self, Way};
use crate::watch::{Point, Step, Who};
use crate::{dispatch, encap, icmp_error, mss, route, segment, slow};
pub use arrival::{Plain, Plains, by_address, from_wire};
pub use rewritable::{Rewritable, answers};
use std::net::{IpAddr, Ipv4Addr};
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::endpoints::{Record, Target, rewritten_peer};
use weir_tables::ids::{PeerId, VnicId};
use weir_tables::peer::Peer;
use weir_tables::reason::Reason;
use weir_tables::view::{Carriage, View, Vnic};
use weir_wire::rewrite::{self as translation, Change, ORDINARY, Refusal};
use weir_wire::{EtherType, Mac, ipv4};

mod arrival;
mod rewritable;

/// Rewrites an [ordinary](crate::ordinary) packet in a straight line, if it is TCP or UDP to a vNIC of its own subnet on another
/// host and takes nothing but that and ready MACs: its door. None, and it is as it was, if it takes more. [`from_vnic`] does the same
/// to it, and says what is wrong with others.
#[inline(always)]
pub fn ordinary<F: Frame>(
    view: &View,
    from: &Vnic,
    record: &[u32; 3],
    frame: &mut F,
) -> Option<Door> {
    let peer = change(view, from, record, frame.head_mut())?;
    // One that is ready has no tag.
    Some(Door::new(peer.port, Receiver::Uplink(peer.uplink)))
}

/// Puts provider addresses into an ordinary packet, all of whose bytes these are. The host that it is for; `None`, and nothing
/// changed, if it is another.
#[inline(always)]
fn change<'v>(
    view: &'v View,
    from: &Vnic,
    record: &[u32; 3],
    frame: &mut [u8],
) -> Option<&'v Peer> {
    let [target, ..] = *record;
    let peer = view.peer(rewritten_peer(target))?;
    let (segment, pa) = Record::unpack_pa(*record);
    if frame.len() > usize::from(peer.ready_plain) || segment != from.segment {
        return None;
    }
    let head = frame.first_chunk_mut::<{ 14 + ORDINARY }>()?;
    let (macs, rest) = head.split_first_chunk_mut::<12>()?;
    let packet = rest.last_chunk_mut::<ORDINARY>()?;
    let header = packet.first_chunk::<{ ipv4::HEADER }>()?;
    let [.., s0, s1, s2, s3, _, _, _, _] = *header;
    let own = from.identity.pa_v4(Ipv4Addr::new(s0, s1, s2, s3))?;
    if !ipv4::is_plain(header) {
        return None;
    }
    translation::ordinary(packet, own, Ipv4Addr::from_bits(pa.0))?;
    *macs = *peer.header.first_chunk()?;
    Some(peer)
}

/// An IP packet of a vNIC of a rewrite subnet, to one host. `record`: what the table has for its destination.
#[inline(never)]
pub fn from_vnic<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    flow: u8,
    record: [u32; 3],
    mut frame: O::Frame,
    out: &mut O,
) {
    let to = match Record::unpack(record) {
        // In its own subnet there is no hop, and no TTL falls.
        Some(to) if to.segment == from.segment => to,
        _ => return route::forward::<F, O>(view, ledger, from, flow, record, frame, out),
    };
    if !F::is_sound(frame.head()) {
        return ledger.dropped(Some(&from.cells), Reason::Malformed, frame);
    }
    frame.note(|| Step::Record {
        domain: from.domain,
        address: F::destination(frame.head()).into(),
        found: Some(to),
    });
    match to.target {
        Target::Local(id) if id == from.id => {
            ledger.dropped(Some(&from.cells), Reason::SamePort, frame);
        }
        Target::Local(id) => {
            set_destination(frame.head_mut(), to.mac);
            dispatch::to_vnic(view, ledger, Some(from), id, frame, out);
        }
        Target::Rewritten(_) if F::is_of_link(frame.head()) => {
            of_link::<F, O>(view, ledger, from, frame, out);
        }
        Target::Rewritten(peer) => {
            leave::<F, O>(view, ledger, from, flow, to, peer, frame, out);
        }
        Target::Remote(_) => ledger.dropped(Some(&from.cells), Reason::NoRecord, frame),
    }
}

/// What is of the link alone does not leave the host: a VM asks by unicast too whether somebody is still there.
#[cold]
fn of_link<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    mut frame: O::Frame,
    out: &mut O,
) {
    if F::answer(view, from, &mut frame) {
        return dispatch::to_vnic(view, ledger, None, from.id, frame, out);
    }
    ledger.dropped(Some(&from.cells), Reason::NotRewritable, frame);
}

/// What a vNIC of a rewrite subnet sends to one MAC that is not looked up by address: it reaches members here, and does not leave the host.
/// `target`: what the table has for the MAC.
#[cold]
pub fn unlike<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    parsed: &Parsed,
    target: u32,
    frame: O::Frame,
    out: &mut O,
) {
    if parsed.dst == GATEWAY_MAC {
        return slow::to_gateway(view, ledger, from, parsed.ethertype, frame, out);
    }
    match Target::unpack(target) {
        Some(Target::Local(id)) if id == from.id => {
            ledger.dropped(Some(&from.cells), Reason::SamePort, frame);
        }
        Some(Target::Local(id)) => {
            dispatch::to_vnic(view, ledger, Some(from), id, frame, out);
        }
        // Whose MAC it was may have moved: a VM asks it by unicast whether it is still there (RFC 1122 §2.3.2.1).
        _ if parsed.ethertype == EtherType::ARP => {
            slow::answer_or_drop(view, ledger, from, Reason::NotRewritable, frame, out);
        }
        _ => ledger.dropped(Some(&from.cells), Reason::NotRewritable, frame),
    }
}

fn set_destination(head: &mut [u8], mac: Mac) {
    if let Some(start) = head.first_chunk_mut::<6>() {
        *start = mac.octets();
    }
}

/// Sends a packet, whose header is right, to the customer address of `to`, on the host of `peer`: rewritten; from a sender
/// who has no provider address of its own by NVGRE.
#[inline(never)]
#[expect(
    clippy::too_many_arguments,
    reason = "what the stages before have found out"
)]
pub fn leave<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    flow: u8,
    to: Record,
    peer_id: PeerId,
    mut frame: O::Frame,
    out: &mut O,
) {
    let peer = view.peer(peer_id).unwrap_or(&Peer::NONE);
    let way = if from.carriage == Carriage::Rewrite {
        let (source, ca) = (F::source(frame.head()), F::destination(frame.head()));
        let pas = (F::pa(&from.identity, source), F::long(view, to.pa()));
        // Another's address, which it may send from, stands for nobody on the provider network.
        match pas {
            (Some(own), Some(pa)) => Way::Rewrite(Change {
                source: (source, own),
                destination: (ca, pa),
            }),
            _ => return ledger.dropped(Some(&from.cells), Reason::NotRewritable, frame),
        }
    } else if let Some(segment) = view.segment(to.segment) {
        Way::Nvgre(encap::key(segment.vsid, flow))
    } else {
        return ledger.dropped(Some(&from.cells), Reason::NoRecord, frame);
    };
    if to.segment != from.segment {
        // Before it is changed: the VM is told about the packet that it sent.
        let most = usize::from(way.most(peer));
        if peer.resolved && segment::longest(&frame) > most && too_big::must_be_whole(frame.head())
        {
            return too_big::refuse(view, ledger, from, way.most(peer), frame, out);
        }
        if let Err((problem, reason)) = F::hop(frame.head_mut(), GATEWAY_MAC) {
            return icmp_error::refuse::<F, O>(view, ledger, from, problem, reason, frame, out);
        }
        frame.note(|| Step::Hop {
            ttl: F::ttl(frame.head()),
            mac: GATEWAY_MAC,
            segment: to.segment,
        });
    }
    match way {
        Way::Nvgre(key) => {
            // Its host knows the MAC: see `by_address`.
            ethernet(frame.head_mut(), GATEWAY_MAC, GATEWAY_MAC);
            encap::to_peer(view, ledger, from, key, peer_id, frame, out);
        }
        Way::Rewrite(change) => {
            to_peer::<F, O>(view, ledger, from, change, peer_id, frame, out);
        }
    }
}

fn ethernet(head: &mut [u8], destination: Mac, source: Mac) {
    if let Some([d @ .., s0, s1, s2, s3, s4, s5]) = head.first_chunk_mut::<12>() {
        *d = destination.octets();
        [*s0, *s1, *s2, *s3, *s4, *s5] = source.octets();
    }
}

/// Sends a packet to a peer's host by provider addresses.
#[inline(always)]
fn to_peer<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    change: Change<F::Address>,
    to: PeerId,
    frame: O::Frame,
    out: &mut O,
) {
    if frame.is_unfinished() || from.mss_clamp {
        return special::<F, O>(view, ledger, from, change, to, frame, out);
    }
    finished::<F, O>(view, ledger, from, change, to, frame, out);
}

/// A frame with nothing left to do but to change its addresses.
#[inline(always)]
fn finished<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    change: Change<F::Address>,
    to: PeerId,
    mut frame: O::Frame,
    out: &mut O,
) {
    frame.show(Point::Encap, Who::Vnic(from.id));
    let peer = view.peer(to).unwrap_or(&Peer::NONE);
    match push::<F, _>(peer, &change, &mut frame) {
        Ok(()) => sent(from.id, peer, to, &change, frame, out),
        Err(Reason::TooBig) => {
            let way = Way::Rewrite(change);
            too_big::from_vnic::<F, O>(view, ledger, from, way, peer, frame, out);
        }
        Err(reason) => ledger.dropped(Some(&from.cells), reason, frame),
    }
}

/// The door of what is rewritten for a peer: its tag is all that it gets.
#[inline(always)]
pub fn door(peer: &Peer) -> Door {
    let tag = if is_tagged(peer) { 4 } else { 0 };
    Door::new(peer.port, Receiver::Uplink(peer.uplink)).behind(tag)
}

/// Whether the uplink to a peer is in a VLAN.
#[inline(always)]
fn is_tagged(peer: &Peer) -> bool {
    matches!(peer.len, 46 | 66)
}

fn sent<A: Into<IpAddr> + Copy, O: Outlet>(
    from: VnicId,
    peer: &Peer,
    id: PeerId,
    change: &Change<A>,
    frame: O::Frame,
    out: &mut O,
) {
    frame.note(|| Step::Rewritten {
        peer: id,
        source: change.source.1.into(),
        destination: change.destination.1.into(),
    });
    out.push(Some(from), door(peer), frame);
}

/// A frame of a network whose handshakes are clamped, or one whose checksum or whose segments were left to a device: to the
/// uplink's, which has nothing else to do with it than with any other packet, else in software.
#[inline(never)]
fn special<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    change: Change<F::Address>,
    to: PeerId,
    mut frame: O::Frame,
    out: &mut O,
) {
    let peer = view.peer(to).unwrap_or(&Peer::NONE);
    if !peer.resolved {
        return ledger.dropped(Some(&from.cells), Reason::PaUnresolved, frame);
    }
    if from.mss_clamp {
        mss::clamp(ledger, from, peer.max_plain, &mut frame);
    }
    if !frame.is_unfinished() {
        return finished::<F, O>(view, ledger, from, change, to, frame, out);
    }
    let too_big = segment::longest(&frame) > usize::from(peer.max_plain);
    // One answer about all segments.
    if too_big && !too_big::may_be_fragmented(frame.head()) {
        frame.show(Point::Encap, Who::Vnic(from.id));
        let way = Way::Rewrite(change);
        return too_big::from_vnic::<F, O>(view, ledger, from, way, peer, frame, out);
    }
    let offloads = view.port(peer.port).map(|port| port.offloads);
    let fits = segment::fits_burst(from.max(), ledger.hz(), &frame);
    if !too_big && fits && segment::is_taken(offloads.unwrap_or_default(), &frame) {
        frame.show(Point::Encap, Who::Vnic(from.id));
        return match address::<F, _>(peer, &change, &mut frame) {
            Ok(()) => sent(from.id, peer, to, &change, frame, out),
            Err(reason) => ledger.dropped(Some(&from.cells), reason, frame),
        };
    }
    segment::finished(ledger, &from.cells, frame, out, |out, frame| {
        finished::<F, O>(view, ledger, from, change, to, frame, out);
    });
}

/// Makes a finished frame one of the provider network's. Refused as `TooBig` it is as it was.
#[inline(always)]
pub fn push<F: Rewritable, B: Frame>(
    peer: &Peer,
    change: &Change<F::Address>,
    frame: &mut B,
) -> Result<(), Reason> {
    if !peer.resolved {
        return Err(Reason::PaUnresolved);
    }
    if frame.len() > usize::from(peer.max_plain) {
        return Err(Reason::TooBig);
    }
    address::<F, B>(peer, change, frame)
}

#[inline(always)]
fn address<F: Rewritable, B: Frame>(
    peer: &Peer,
    change: &Change<F::Address>,
    frame: &mut B,
) -> Result<(), Reason> {
    translate::<F, B>(frame, change)?;
    let tagged = is_tagged(peer);
    if tagged {
        // The type, which stays, and the MACs, which do not, are four bytes further on.
        *frame.prepend::<4>().ok_or(Reason::NoHeadroom)? = [0; 4];
    }
    let replaced = if tagged { 16 } else { 12 };
    let ready = peer.header.get(..replaced);
    let place = frame.head_mut().get_mut(..replaced);
    let (Some(place), Some(ready)) = (place, ready) else {
        return Err(Reason::Malformed);
    };
    place.copy_from_slice(ready);
    Ok(())
}

/// Puts other addresses into the IP packet of a frame whose Ethernet header is 14 bytes.
#[inline(always)]
fn translate<F: Rewritable, B: Frame>(
    frame: &mut B,
    change: &Change<F::Address>,
) -> Result<(), Reason> {
    let reach = 14 + F::REACH;
    if frame.head().len() < reach {
        let wanted = frame.len().min(reach);
        frame.pull_up(wanted);
    }
    let unfinished = frame.l4_checksum() == L4Checksum::Partial;
    let packet = frame.head_mut().get_mut(14..).unwrap_or_default();
    F::rewrite(packet, change, unfinished).map_err(|refusal| match refusal {
        Refusal::Malformed => Reason::Malformed,
        Refusal::OutOfReach => Reason::NotRewritable,
    })
}
