//! NVGRE on the way out (RFC 7637 §3.2): a ready header is copied before the frame and a few fields are
//! patched: over IPv4 type of service, outer length, checksum, and key; over IPv6 traffic class, flow label, outer length,
//! and key.

use crate::door::Door;
use crate::family::V4;
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::{Outlet, Receiver};
use crate::too_big::{self, Way};
use crate::watch::{Point, Step, Who};
use crate::{ecn, mss, segment};
use weir_tables::ids::PeerId;
use weir_tables::peer::{HEADER_MAX, HEADER_MAX_V4, Peer};
use weir_tables::reason::Reason;
use weir_tables::view::{View, Vnic};
use weir_wire::{EtherType, Mac, Vsid, flow};

/// The key (RFC 7637 §3.2): VSID and FlowID.
#[inline(always)]
pub fn key(vsid: Vsid, flow: u8) -> u32 {
    vsid.get() << 8 | u32::from(flow)
}

/// Sends a vNIC's frame to a peer with this [`key`], whose virtual subnet is the vNIC's own or the one it was routed to.
#[inline(always)]
pub fn to_peer<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    key: u32,
    to: PeerId,
    frame: O::Frame,
    out: &mut O,
) {
    if frame.is_unfinished() || from.mss_clamp {
        return special(view, ledger, from, key, to, frame, out);
    }
    plain(view, ledger, from, key, to, frame, out);
}

/// Encapsulates a plain IPv4 frame with the type of service `tos` for a peer, if that takes nothing but to copy a ready IPv4 header
/// before it; none, and the frame is as it was, if it takes more.
#[inline(always)]
pub fn ordinary<F: Frame>(peer: &Peer, key: u32, tos: u8, frame: &mut F) -> Option<Door> {
    if frame.len() > usize::from(peer.ready_inner) {
        return None;
    }
    wrap_ready(peer, tos, key, frame)
}

/// The door of what is encapsulated for a peer.
#[inline(always)]
pub fn door(peer: &Peer) -> Door {
    Door::new(peer.port, Receiver::Uplink(peer.uplink)).behind(peer.len)
}

/// Encapsulates a frame that is no longer than [`Peer::ready_inner`], with the type of service `tos`, and gives its door. None without
/// headroom.
#[inline(always)]
pub(crate) fn wrap_ready<F: Frame>(peer: &Peer, tos: u8, key: u32, frame: &mut F) -> Option<Door> {
    let inner = frame.len();
    let door = Door::new(peer.port, Receiver::Uplink(peer.uplink));
    match peer.len {
        42 => header::<_, 42, 14>(peer, inner, tos, key, frame).map(|()| door.behind(42)),
        _ => header::<_, 46, 18>(peer, inner, tos, key, frame).map(|()| door.behind(46)),
    }
}

/// A frame with nothing left to do but encapsulation.
#[inline(always)]
fn plain<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    key: u32,
    to: PeerId,
    mut frame: O::Frame,
    out: &mut O,
) {
    frame.show(Point::Encap, Who::Vnic(from.id));
    let peer = view.peer(to).unwrap_or(&Peer::NONE);
    match push(peer, key, &mut frame) {
        Ok(()) => {
            frame.note(|| Step::Encapsulated { peer: to, key });
            out.push(Some(from.id), door(peer), frame);
        }
        Err(Reason::TooBig) => {
            let way = Way::Nvgre(key);
            too_big::from_vnic::<V4, O>(view, ledger, from, way, peer, frame, out);
        }
        Err(reason) => ledger.dropped(Some(&from.cells), reason, frame),
    }
}

/// A frame of a network whose handshakes are clamped, or one whose checksum or whose segments were left to a device: to the
/// uplink's, if it does that inside NVGRE, else in software.
#[inline(never)]
fn special<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    key: u32,
    to: PeerId,
    mut frame: O::Frame,
    out: &mut O,
) {
    let peer = view.peer(to).unwrap_or(&Peer::NONE);
    if !peer.resolved {
        return ledger.dropped(Some(&from.cells), Reason::PaUnresolved, frame);
    }
    if from.mss_clamp {
        mss::clamp(ledger, from, peer.max_inner, &mut frame);
    }
    if !frame.is_unfinished() {
        return plain(view, ledger, from, key, to, frame, out);
    }
    let too_big = segment::longest(&frame) > usize::from(peer.max_inner);
    // One answer about all segments.
    if too_big && !too_big::may_be_fragmented(frame.head()) {
        frame.show(Point::Encap, Who::Vnic(from.id));
        let way = Way::Nvgre(key);
        return too_big::from_vnic::<V4, O>(view, ledger, from, way, peer, frame, out);
    }
    let offloads = view.port(peer.port).map(|port| port.offloads);
    let offloads = offloads.unwrap_or_default();
    // The outer length is 16 bits wide, and of a frame that is to be cut it is the device's to change.
    let whole = !too_big
        && frame.len() <= usize::from(u16::MAX) - HEADER_MAX
        && segment::fits_burst(from.max(), ledger.hz(), &frame)
        && segment::is_taken_tunneled(offloads, &frame);
    if whole {
        frame.show(Point::Encap, Who::Vnic(from.id));
        return match wrap(peer, key, &mut frame) {
            Some(()) => {
                frame.note(|| Step::Encapsulated { peer: to, key });
                out.push(Some(from.id), door(peer), frame);
            }
            None => ledger.dropped(Some(&from.cells), Reason::NoHeadroom, frame),
        };
    }
    segment::finished(ledger, &from.cells, frame, out, |out, frame| {
        plain(view, ledger, from, key, to, frame, out);
    });
}

/// Encapsulates a frame that is finished; refused, it is as it was.
#[inline(always)]
pub fn push<F: Frame>(peer: &Peer, key: u32, frame: &mut F) -> Result<(), Reason> {
    if !peer.resolved {
        return Err(Reason::PaUnresolved);
    }
    if frame.len() > usize::from(peer.max_inner) {
        return Err(Reason::TooBig);
    }
    wrap(peer, key, frame).ok_or(Reason::NoHeadroom)
}

#[inline(always)]
fn wrap<F: Frame>(peer: &Peer, key: u32, frame: &mut F) -> Option<()> {
    let inner = frame.len();
    let tos = ecn::outgoing(frame.head());
    match peer.len {
        42 => header::<F, 42, 14>(peer, inner, tos, key, frame),
        46 => header::<F, 46, 18>(peer, inner, tos, key, frame),
        62 => header6::<F, 62, 14>(peer, inner, key, frame),
        66 => header6::<F, 66, 18>(peer, inner, key, frame),
        _ => None,
    }
}

/// Copies the first `LEN` bytes of the prepared header, whose IPv4 header starts at `IP`, for a frame of `inner` bytes with the type of
/// service `tos`.
#[inline(always)]
fn header<F: Frame, const LEN: usize, const IP: usize>(
    peer: &Peer,
    inner: usize,
    tos: u8,
    key: u32,
    frame: &mut F,
) -> Option<()> {
    const { assert!(IP + 28 == LEN && LEN <= HEADER_MAX_V4) }
    let tos = tos & peer.tos_mask;
    let header = frame.prepend::<LEN>()?;
    header.copy_from_slice(peer.header.get(..LEN)?);
    let length = (inner + 28) as u16;
    // RFC 1071: the prepared sum lacks these two alone; their end-around carry is added once more.
    let sum = u32::from(peer.ip_sum) + u32::from(length) + u32::from(tos);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    *header.get_mut(IP + 1)? = tos;
    header
        .get_mut(IP + 2..)?
        .first_chunk_mut()
        .map(|field| *field = length.to_be_bytes())?;
    header
        .get_mut(IP + 10..)?
        .first_chunk_mut()
        .map(|field| *field = checksum.to_be_bytes())?;
    header
        .get_mut(IP + 24..)?
        .first_chunk_mut()
        .map(|field| *field = key.to_be_bytes())
}

/// Copies the first `LEN` bytes of the prepared header, whose IPv6 header starts at `IP`.
#[inline(never)]
fn header6<F: Frame, const LEN: usize, const IP: usize>(
    peer: &Peer,
    inner: usize,
    key: u32,
    frame: &mut F,
) -> Option<()> {
    const { assert!(IP + 48 == LEN && LEN <= HEADER_MAX) }
    let class = u32::from(ecn::outgoing(frame.head()) & peer.tos_mask);
    let first = 6 << 28 | class << 20 | label(frame.head(), key);
    let header = frame.prepend::<LEN>()?;
    header.copy_from_slice(peer.header.get(..LEN)?);
    header
        .get_mut(IP..)?
        .first_chunk_mut()
        .map(|field| *field = first.to_be_bytes())?;
    header
        .get_mut(IP + 4..)?
        .first_chunk_mut()
        .map(|field| *field = ((inner + 8) as u16).to_be_bytes())?;
    header
        .get_mut(IP + 44..)?
        .first_chunk_mut()
        .map(|field| *field = key.to_be_bytes())
}

/// The outer flow label: of the inner flow and its virtual subnet, so that routers spread tenants' flows over equal paths
/// and keep each of them in order (RFC 6438 §3). The same for every fragment of a packet, as the FlowID is. Never 0, which
/// says that there is none (RFC 6437 §2).
fn label(frame: &[u8], key: u32) -> u32 {
    let hash = inner_flow(frame).unwrap_or_default();
    let mixed = flow::mix(u64::from(hash), u64::from(key >> 8)) as u32 & 0x000f_ffff;
    mixed.max(1)
}

/// The hash of which the FlowID is eight bits.
fn inner_flow(frame: &[u8]) -> Option<u32> {
    let (ethernet, l3) = frame.split_first_chunk::<14>()?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *ethernet;
    let ethertype = EtherType(u16::from_be_bytes([t0, t1]));
    let of_ip = match ethertype {
        EtherType::IPV4 => l3.first_chunk().map(|header| flow::ipv4(header, l3)),
        EtherType::IPV6 => l3.first_chunk().map(|header| flow::ipv6(header, l3)),
        _ => None,
    };
    let dst = Mac::new([d0, d1, d2, d3, d4, d5]);
    let src = Mac::new([s0, s1, s2, s3, s4, s5]);
    of_ip.or_else(|| Some(flow::ethernet(dst, src, ethertype)))
}
