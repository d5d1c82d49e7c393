//! Whose a frame is that came by a device of many vNICs, from as few of its bytes as tell: a MAC at a fixed place.
//!
//! Nothing is judged here. The frame is handed to that worker as it came, as if its own queue had received it, and every check is made there.
//! So all frames that one vNIC sends on a trunk, and all that come from the wire for one MAC, are one worker's, and stay in order. What
//! says nothing about a vNIC (the provider's own packets, broadcasts, rewritten packets) stays with who received it.

use crate::frame::Frame;
use crate::from_vnic::trunk_key;
use arrayvec::ArrayVec;
use weir_tables::endpoints::Target;
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::view::{Party, Uplink, View};
use weir_wire::gre::NVGRE_HEADER;
use weir_wire::{EtherType, Mac};

/// Bytes of an Ethernet header, of a tag, of an IPv4 header without options, of an IPv6 header.
const ETHERNET: usize = 14;
const TAG: usize = 4;
const IPV4: usize = 20;
const IPV6: usize = 40;
/// Where the inner frame begins behind IPv4 without a tag.
const PLAIN: usize = ETHERNET + IPV4 + NVGRE_HEADER;
/// Bytes of which the last that is read is one: the inner destination behind IPv6 with a tag.
const TELLS: usize = ETHERNET + TAG + IPV6 + NVGRE_HEADER + 6;
/// IP protocol GRE.
const GRE: u8 = 47;

/// The MAC of the vNIC which a frame from `port` is of or for, whose owner [`weir_tables::steering`] knows; `None` if that is nobody's in
/// particular.
#[inline]
pub fn mac<F: Frame>(view: &View, port: PortId, party: Party, frame: &F) -> Option<Mac> {
    let mac = match party {
        // Who polls it owns it.
        Party::Vnic(_) => None,
        Party::TrunkByMac => sender(view, port, frame),
        Party::TrunkByVlan => tagged(view, port, frame),
        Party::Uplink(id) => view.uplink(id).and_then(|uplink| arrival(uplink, frame)),
    };
    mac.filter(|mac| !mac.is_multicast())
}

/// Writes who owns each of some frames from `port`, where that is somebody in particular, over who polls it; whether all are still whose
/// they were. What kind of device it is is asked once, not of each frame.
#[inline]
pub fn owners<F: Frame>(
    view: &View,
    port: PortId,
    party: Party,
    frames: &[F],
    owners: &mut [WorkerId],
) -> bool {
    match party {
        Party::Vnic(_) => true,
        Party::TrunkByMac => each(view, frames, owners, |frame| sender(view, port, frame)),
        Party::TrunkByVlan => each(view, frames, owners, |frame| tagged(view, port, frame)),
        Party::Uplink(id) => match view.uplink(id) {
            Some(uplink) => each(view, frames, owners, |frame| arrival(uplink, frame)),
            None => true,
        },
    }
}

#[inline(always)]
fn each<F: Frame>(
    view: &View,
    frames: &[F],
    owners: &mut [WorkerId],
    mac: impl Fn(&F) -> Option<Mac>,
) -> bool {
    let mut same = true;
    for (frame, owner) in frames.iter().zip(owners) {
        if let Some(mac) = mac(frame)
            && !mac.is_multicast()
        {
            let before = std::mem::replace(owner, view.steering.worker(mac));
            same &= *owner == before;
        }
    }
    same
}

/// What is read of a frame, from its first [`TELLS`] bytes, or all of them. A VM may cut its frames as it likes: of one whose head is in
/// pieces these are put together, or it would be another worker's, and held by no maximum.
#[inline(always)]
fn read<F: Frame, T>(frame: &F, of: impl Fn(&[u8]) -> T) -> T {
    let head = frame.head();
    match head.len() < TELLS && head.len() < frame.len() {
        false => of(head),
        true => of(&together(frame)),
    }
}

#[cold]
#[inline(never)]
fn together<F: Frame>(frame: &F) -> ArrayVec<u8, TELLS> {
    let mut start = ArrayVec::new();
    frame.for_each_segment(|segment| {
        let missing = start.remaining_capacity().min(segment.len());
        start.extend(segment.iter().copied().take(missing));
    });
    start
}

/// Of what comes on a trunk by MAC.
#[inline(always)]
fn sender<F: Frame>(view: &View, port: PortId, frame: &F) -> Option<Mac> {
    let mac = read(frame, |head| mac_at(head, 6))?;
    match view.steering.is_ambiguous(mac) {
        false => Some(mac),
        true => member(view, port, mac.to_u64()),
    }
}

/// Of what arrives at an uplink.
#[inline(always)]
fn arrival<F: Frame>(uplink: &Uplink, frame: &F) -> Option<Mac> {
    read(frame, |head| inside(head).or_else(|| bridged(uplink, head)))
}

#[inline(always)]
fn mac_at(head: &[u8], at: usize) -> Option<Mac> {
    Some(Mac::new(*head.get(at..)?.first_chunk()?))
}

#[inline(always)]
fn ethertype_at(head: &[u8], at: usize) -> Option<EtherType> {
    let bytes = head.get(at..)?.first_chunk()?;
    Some(EtherType(u16::from_be_bytes(*bytes)))
}

/// The destination inside what looks like NVGRE.
#[inline(always)]
fn inside(head: &[u8]) -> Option<Mac> {
    // What nearly all are, at places that are known: untagged IPv4.
    if let Some(start) = head.first_chunk::<{ PLAIN + 6 }>()
        && [start[ETHERNET - 2], start[ETHERNET - 1]] == EtherType::IPV4.0.to_be_bytes()
    {
        let [.., a, b, c, d, e, f] = *start;
        return (start[ETHERNET + 9] == GRE).then(|| Mac::new([a, b, c, d, e, f]));
    }
    let mut ip = ETHERNET;
    let mut ethertype = ethertype_at(head, ip - 2)?;
    if ethertype == EtherType::VLAN {
        ip += TAG;
        ethertype = ethertype_at(head, ip - 2)?;
    }
    let (protocol, length) = match ethertype {
        EtherType::IPV4 => (ip + 9, IPV4),
        EtherType::IPV6 => (ip + 6, IPV6),
        _ => return None,
    };
    if *head.get(protocol)? != GRE {
        return None;
    }
    mac_at(head, ip + length + NVGRE_HEADER)
}

/// Of an uplink that bridged VM networks share, the destination.
fn bridged(uplink: &Uplink, head: &[u8]) -> Option<Mac> {
    uplink.bridged.as_ref()?;
    mac_at(head, 0).filter(|&mac| mac != uplink.mac)
}

fn tag(head: &[u8]) -> Option<u16> {
    let is_tagged = ethertype_at(head, ETHERNET - 2)? == EtherType::VLAN;
    let tci = head.get(ETHERNET..)?.first_chunk()?;
    is_tagged.then(|| u16::from_be_bytes(*tci))
}

/// Of what comes on a trunk by VLAN.
fn tagged<F: Frame>(view: &View, port: PortId, frame: &F) -> Option<Mac> {
    let tci = match frame.stripped_vlan() {
        Some(tci) => tci,
        None => read(frame, tag)?,
    };
    member(view, port, u64::from(tci & 0x0fff))
}

/// The own MAC of the vNIC that this marks on a trunk.
fn member(view: &View, port: PortId, mark: u64) -> Option<Mac> {
    let found = view.trunk_members.get(trunk_key(port, mark))?;
    match Target::unpack(found[0])? {
        Target::Local(vnic) => Some(view.vnic(vnic)?.identity.mac),
        Target::Remote(_) | Target::Rewritten(_) => None,
    }
}
