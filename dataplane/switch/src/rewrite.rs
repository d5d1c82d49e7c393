//! IP rewrite, the other way of carrying a virtual subnet: between hosts a packet has provider addresses in the place of
//! its two customer addresses, and nothing is added to it.
//!
//! The subnet is layer 3 only: what a vNIC sends to one host is looked up by customer address whatever its MAC says, so
//! that it makes no difference whether the other one is here or elsewhere, or has moved.

use crate::family::V4;
use crate::frame::{Frame, L4Checksum};
use crate::icmp_error::Problem;
use crate::ledger::Ledger;
use crate::outlet::{Outlet, Receiver};
use crate::parse::Parsed;
use crate::too_big::{self, Way};
use crate::watch::{Point, Step, Who};
use crate::{BATCH, dispatch, encap, icmp_error, mss, path_mtu, route, segment, slow};
use arrayvec::ArrayVec;
use std::net::Ipv4Addr;
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::endpoints::{Customer, Record, Target, record_key, rewritten_key};
use weir_tables::ids::{PeerId, SegmentId, VnicId};
use weir_tables::peer::Peer;
use weir_tables::reason::Reason;
use weir_tables::view::{Carriage, Uplink, View, Vnic};
use weir_wire::rewrite::{self, Change, REACH_V4, Refusal};
use weir_wire::{EtherType, IpProtocol, Mac, checksum, ipv4};

/// An IPv4 packet of a vNIC of a rewrite subnet, to one host. `record`: what the table has for its destination.
#[inline(never)]
pub fn from_vnic<O: Outlet>(
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
        _ => return route::forward::<V4, O>(view, ledger, from, flow, record, frame, out),
    };
    if !has_right_header(frame.head()) {
        return ledger.dropped(Some(&from.cells), Reason::Malformed, frame);
    }
    frame.note(|| Step::Record {
        domain: from.domain,
        address: addresses(frame.head())
            .map_or(Ipv4Addr::UNSPECIFIED, |both| both.1)
            .into(),
        found: Some(to),
    });
    match to.target {
        Target::Local(id) if id == from.id => {
            ledger.dropped(Some(&from.cells), Reason::SamePort, frame);
        }
        Target::Local(id) => {
            set_destination(frame.head_mut(), to.mac);
            dispatch::to_vnic(view, ledger, Some(&from.cells), id, frame, out);
        }
        Target::Rewritten(peer) => {
            leave(view, ledger, from, flow, to, peer, frame, out);
        }
        Target::Remote(_) => ledger.dropped(Some(&from.cells), Reason::NoRecord, frame),
    }
}

/// What a vNIC of a rewrite subnet sends to one MAC that is no IPv4: it reaches members here, and does not leave the host.
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
            dispatch::to_vnic(view, ledger, Some(&from.cells), id, frame, out);
        }
        // Whose MAC it was may have moved: a VM asks it by unicast whether it is still there (RFC 1122 §2.3.2.1).
        _ if parsed.ethertype == EtherType::ARP => {
            slow::answer_or_drop(view, ledger, from, Reason::NotRewritable, frame, out);
        }
        _ => ledger.dropped(Some(&from.cells), Reason::NotRewritable, frame),
    }
}

/// RFC 1812 §5.2.2: of a packet that is to be changed the header's checksum is verified.
#[inline(always)]
fn has_right_header(head: &[u8]) -> bool {
    let l3 = head.get(14..).unwrap_or_default();
    let header_len = l3.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    checksum::sum(l3.get(..header_len).unwrap_or_default()) == 0xffff
}

fn set_destination(head: &mut [u8], mac: Mac) {
    if let Some(start) = head.first_chunk_mut::<6>() {
        *start = mac.octets();
    }
}

/// Source and destination of an IPv4 frame.
fn addresses(head: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *head.first_chunk::<34>()?;
    let source = Ipv4Addr::new(s0, s1, s2, s3);
    Some((source, Ipv4Addr::new(d0, d1, d2, d3)))
}

/// Sends a packet, whose header is right, to the customer address of `to`, on the host of `peer`: rewritten; from a sender
/// who has no provider address of its own by NVGRE.
#[inline(never)]
#[expect(
    clippy::too_many_arguments,
    reason = "what the stages before have found out"
)]
pub fn leave<O: Outlet>(
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
    let addresses = addresses(frame.head());
    let way = if from.carriage == Carriage::Rewrite {
        let pair = addresses.and_then(|(source, ca)| {
            let change = Change {
                source: (source, from.identity.pa_v4(source)?),
                destination: (ca, to.pa()),
            };
            Some(Way::Rewrite(change))
        });
        // Another's address, which it may send from, stands for nobody on the provider network.
        match pair {
            Some(way) => way,
            None => return ledger.dropped(Some(&from.cells), Reason::NotRewritable, frame),
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
        let header = frame.head_mut().get_mut(14..);
        let header = header.and_then(<[u8]>::first_chunk_mut::<{ ipv4::HEADER }>);
        if header.and_then(ipv4::decrement_ttl).is_none() {
            let (problem, reason) = (Problem::HopLimit, Reason::TtlExpired);
            return icmp_error::refuse::<V4, O>(view, ledger, from, problem, reason, frame, out);
        }
        frame.note(|| Step::Hop {
            ttl: frame.head().get(22).copied().unwrap_or_default(),
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
        Way::Rewrite(change) => to_peer(view, ledger, from, change, peer_id, frame, out),
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
fn to_peer<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    change: Change<Ipv4Addr>,
    to: PeerId,
    frame: O::Frame,
    out: &mut O,
) {
    if frame.is_unfinished() || from.mss_clamp {
        return special(view, ledger, from, change, to, frame, out);
    }
    finished(view, ledger, from, change, to, frame, out);
}

/// A frame with nothing left to do but to change its addresses.
#[inline(always)]
fn finished<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    change: Change<Ipv4Addr>,
    to: PeerId,
    mut frame: O::Frame,
    out: &mut O,
) {
    frame.show(Point::Encap, Who::Vnic(from.id));
    let peer = view.peer(to).unwrap_or(&Peer::NONE);
    match push(peer, &change, &mut frame) {
        Ok(()) => sent(peer, to, &change, frame, out),
        Err(Reason::TooBig) => {
            let way = Way::Rewrite(change);
            too_big::from_vnic(view, ledger, from, way, peer, frame, out);
        }
        Err(reason) => ledger.dropped(Some(&from.cells), reason, frame),
    }
}

fn sent<O: Outlet>(
    peer: &Peer,
    id: PeerId,
    change: &Change<Ipv4Addr>,
    frame: O::Frame,
    out: &mut O,
) {
    frame.note(|| Step::Rewritten {
        peer: id,
        source: change.source.1.into(),
        destination: change.destination.1.into(),
    });
    out.push(peer.port, Receiver::Uplink(peer.uplink), frame);
}

/// A frame of a network whose handshakes are clamped, or one whose checksum or whose segments were left to a device: to the
/// uplink's, which has nothing else to do with it than with any other packet, else in software.
#[inline(never)]
fn special<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    change: Change<Ipv4Addr>,
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
        return finished(view, ledger, from, change, to, frame, out);
    }
    let too_big = segment::longest(&frame) > usize::from(peer.max_plain);
    // One answer about all segments.
    if too_big && !too_big::may_be_fragmented(frame.head()) {
        frame.show(Point::Encap, Who::Vnic(from.id));
        let way = Way::Rewrite(change);
        return too_big::from_vnic(view, ledger, from, way, peer, frame, out);
    }
    let offloads = view.port(peer.port).map(|port| port.offloads);
    if !too_big && segment::is_taken(offloads.unwrap_or_default(), &frame) {
        frame.show(Point::Encap, Who::Vnic(from.id));
        return match address(peer, &change, &mut frame) {
            Ok(()) => sent(peer, to, &change, frame, out),
            Err(reason) => ledger.dropped(Some(&from.cells), reason, frame),
        };
    }
    segment::finished(ledger, &from.cells, frame, out, |out, frame| {
        finished(view, ledger, from, change, to, frame, out);
    });
}

/// Makes a finished frame one of the provider network's. Refused as `TooBig` it is as it was.
#[inline(always)]
pub fn push<F: Frame>(peer: &Peer, change: &Change<Ipv4Addr>, frame: &mut F) -> Result<(), Reason> {
    if !peer.resolved {
        return Err(Reason::PaUnresolved);
    }
    if frame.len() > usize::from(peer.max_plain) {
        return Err(Reason::TooBig);
    }
    address(peer, change, frame)
}

#[inline(always)]
fn address<F: Frame>(peer: &Peer, change: &Change<Ipv4Addr>, frame: &mut F) -> Result<(), Reason> {
    translate(frame, change)?;
    let tagged = matches!(peer.len, 46 | 66);
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

/// Puts other addresses into the IPv4 packet of a frame whose Ethernet header is 14 bytes.
#[inline(always)]
fn translate<F: Frame>(frame: &mut F, change: &Change<Ipv4Addr>) -> Result<(), Reason> {
    if frame.head().len() < 14 + REACH_V4 {
        let wanted = frame.len().min(14 + REACH_V4);
        frame.pull_up(wanted);
    }
    let unfinished = frame.l4_checksum() == L4Checksum::Partial;
    let packet = frame.head_mut().get_mut(14..).unwrap_or_default();
    rewrite::ipv4(packet, change, unfinished).map_err(|refusal| match refusal {
        Refusal::Malformed => Reason::Malformed,
        Refusal::OutOfReach => Reason::NotRewritable,
    })
}

/// An IPv4 packet from the wire to an address that is none of the uplink's; its header is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Bytes before it.
    pub at: usize,
    /// Its bytes.
    pub total: usize,
    /// What it carries.
    pub protocol: IpProtocol,
    /// Who sends.
    pub source: Ipv4Addr,
    /// Who is meant.
    pub destination: Ipv4Addr,
}

/// Packets from the wire that may be for provider addresses of vNICs here.
pub type Plains<F> = ArrayVec<(Plain, F), BATCH>;

/// Takes them to where they go.
#[inline(never)]
pub fn from_wire<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    batch: Plains<O::Frame>,
    out: &mut O,
) {
    let mut to = ArrayVec::<u64, BATCH>::new();
    let mut from = ArrayVec::<u64, BATCH>::new();
    for (plain, _) in &batch {
        to.push(rewritten_key(plain.destination));
        from.push(rewritten_key(plain.source));
    }
    let mut receivers = [[0; 3]; BATCH];
    let mut senders = [[0; 3]; BATCH];
    view.rewritten.get_batch(&to, &mut receivers);
    view.rewritten.get_batch(&from, &mut senders);
    for (((plain, mut frame), to), from) in batch.into_iter().zip(receivers).zip(senders) {
        let (to, from) = (Customer::unpack(to), Customer::unpack(from));
        match arrive(view, plain, to, from, &mut frame) {
            Ok(Arrival::For(vnic)) => {
                frame.show(Point::Decap, Who::Uplink(uplink.id));
                deliver(view, ledger, vnic, frame, out);
            }
            Ok(Arrival::FromRouter(to)) => {
                path_mtu::hear_rewritten(view, ledger, uplink, to, plain.at, frame, out);
            }
            Err(reason) => ledger.dropped(Some(&uplink.cells), reason, frame),
        }
    }
}

fn deliver<O: Outlet>(view: &View, ledger: &Ledger, to: VnicId, frame: O::Frame, out: &mut O) {
    if let Some(vnic) = view.vnic(to)
        && let Some(port) = view.port(vnic.port)
        && frame.len() > port.max_frame as usize
    {
        return too_big::to_vnic(view, ledger, vnic, port.max_frame, frame, out);
    }
    dispatch::to_vnic(view, ledger, None, to, frame, out);
}

/// What came.
enum Arrival {
    /// A packet of another vNIC of its VM network, by customer addresses again.
    For(VnicId),
    /// ICMP of the provider network to this vNIC's address.
    FromRouter(Customer),
}

#[inline(always)]
fn arrive<F: Frame>(
    view: &View,
    plain: Plain,
    to: Option<Customer>,
    from: Option<Customer>,
    frame: &mut F,
) -> Result<Arrival, Reason> {
    let (to, id) = match to {
        Some(to) => match to.target {
            Target::Local(id) => (to, id),
            _ => return Err(Reason::OuterNotOurs),
        },
        None => return Err(Reason::OuterNotOurs),
    };
    let vnic = view.vnic(id).ok_or(Reason::VnicGone)?;
    let from = match from {
        Some(from) => from,
        None if plain.protocol == IpProtocol::ICMP => return Ok(Arrival::FromRouter(to)),
        None => return Err(Reason::UnknownPa),
    };
    if matches!(from.target, Target::Local(_)) {
        return Err(Reason::InnerSourceLocal);
    }
    // Isolation: an address is one VM network's, and both must be of the receiver's.
    if from.domain != vnic.domain || to.domain != vnic.domain {
        return Err(Reason::OtherNetwork);
    }
    if !frame.trim_front(plain.at.saturating_sub(14)) {
        return Err(Reason::OuterMalformed);
    }
    frame.clear_vlan();
    if frame.len() > 14 + plain.total {
        frame.truncate(14 + plain.total);
    }
    let change = Change {
        source: (plain.source, from.ca),
        destination: (plain.destination, to.ca),
    };
    translate(frame, &change)?;
    frame.note(|| Step::Restored {
        source: from.ca.into(),
        destination: to.ca.into(),
    });
    if let Some(header) = frame.head_mut().first_chunk_mut::<14>() {
        let [d0, d1, d2, d3, d4, d5] = vnic.identity.mac.octets();
        let [s0, s1, s2, s3, s4, s5] = GATEWAY_MAC.octets();
        *header = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, 8, 0];
    }
    Ok(Arrival::For(id))
}

/// The vNIC here that is meant by a decapsulated frame to the gateway's MAC in a rewrite subnet: a sender without a provider
/// address has its packet carried by NVGRE, and knows an address alone. Its MAC is put in.
#[cold]
pub fn by_address<F: Frame>(view: &View, segment: SegmentId, frame: &mut F) -> Option<VnicId> {
    let own = view.segment(segment)?;
    let header = frame.head().first_chunk::<14>()?;
    let [d0, d1, d2, d3, d4, d5, .., t0, t1] = *header;
    if own.carriage != Carriage::Rewrite
        || Mac::new([d0, d1, d2, d3, d4, d5]) != GATEWAY_MAC
        || EtherType(u16::from_be_bytes([t0, t1])) != EtherType::IPV4
    {
        return None;
    }
    let (_, destination) = addresses(frame.head())?;
    let found = view.records.get(record_key(own.domain, destination))?;
    let record = Record::unpack(found).filter(|record| record.segment == segment)?;
    let Target::Local(id) = record.target else {
        return None;
    };
    set_destination(frame.head_mut(), record.mac);
    Some(id)
}

/// Whether this host answers ARP for `pa` on this uplink: of a vNIC here, and of the uplink's link.
#[cold]
pub fn answers(view: &View, uplink: &Uplink, pa: Ipv4Addr) -> bool {
    let found = view.rewritten.get(rewritten_key(pa));
    let owner = found.and_then(Customer::unpack);
    uplink.is_on_link(pa.into())
        && owner.is_some_and(|owner| matches!(owner.target, Target::Local(_)))
}
