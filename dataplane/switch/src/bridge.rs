//! Bridged VM networks: frames that travel on the uplink's own network as they are, untagged or in the VM network's
//! VLAN. Which network a frame is of comes from its vNIC, or from the VLAN that it arrived on, and from nothing in it.

use crate::dispatch::{self, Exit};
use crate::door::Door;
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::{Outlet, Receiver};
use crate::parse::{self, Parsed};
use crate::provider_group;
use weir_tables::bridged::Bridged;
use weir_tables::ids::SegmentId;
use weir_tables::reason::Reason;
use weir_tables::view::{Carriage, Segment, Uplink, View, Vnic};
use weir_wire::{EtherType, Mac};

/// Bytes of a tag.
const TAG: u8 = 4;

/// Takes a tenant's 802.1Q tag off. In a bridged VM network a tag of priority alone (VLAN 0, IEEE 802.1Q §6.9.1) comes off
/// as well; any other would choose a VLAN, which is not the VM's to choose.
#[inline(never)]
pub fn untag<F: Frame>(vnic: &Vnic, parsed: Parsed, frame: &mut F) -> Result<Parsed, Reason> {
    let bridged = vnic.carriage == Carriage::Bridged;
    let stripped = frame.stripped_vlan().unwrap_or(0) & 0x0fff;
    if bridged && stripped != 0 {
        return Err(Reason::TenantTagged);
    }
    if !parse::is_tag(parsed.ethertype) {
        return Ok(parsed);
    }
    let (parsed, vlan) = parse::untag(frame)?;
    if bridged && vlan != 0 {
        return Err(Reason::TenantTagged);
    }
    Ok(parsed)
}

/// Whether no bridge forwards what is for this address (IEEE 802.1Q §8.6.3).
#[inline]
pub fn is_reserved(dst: Mac) -> bool {
    dst.to_u64() & !0xf == 0x0180_c200_0000
}

/// A vNIC's frame to one MAC that is no vNIC's here: in a bridged VM network the wire may know it.
#[inline(never)]
pub fn unknown<O: Outlet>(view: &View, ledger: &Ledger, from: &Vnic, frame: O::Frame, out: &mut O) {
    match view.segment(from.segment) {
        Some(segment) => to_wire(view, ledger, from, segment, frame, out),
        None => ledger.dropped(Some(&from.cells), Reason::NoRecord, frame),
    }
}

/// The door of a plain frame that [`unknown`] would send to the wire, with the VLAN's tag on it if it has one; none, and the frame is
/// as it was, if that takes more.
#[inline(always)]
pub fn ordinary<F: Frame>(view: &View, from: &Vnic, frame: &mut F) -> Option<Door> {
    let wire = view.segment(from.segment)?.wire?;
    let uplink = view.uplink(wire.uplink)?;
    let port = view.port(uplink.port)?;
    if frame.len() > port.max_frame as usize {
        return None;
    }
    let door = Door::new(uplink.port, Receiver::Uplink(uplink.id));
    match wire.vlan {
        None => Some(door),
        Some(vlan) => parse::tag(frame, vlan).then(|| door.behind(TAG)),
    }
}

/// The door of what leaves with the tag of this VLAN, if it has one.
#[inline(always)]
fn door(uplink: &Uplink, vlan: Option<u16>) -> Door {
    let tag = if vlan.is_some() { TAG } else { 0 };
    Door::new(uplink.port, Receiver::Uplink(uplink.id)).behind(tag)
}

/// Sends a vNIC's frame out of the uplink of its segment, with the VLAN's tag if it has one. It has no other header to
/// fit in, so the uplink's MTU is the VM's.
pub fn to_wire<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    segment: &Segment,
    frame: O::Frame,
    out: &mut O,
) {
    let place = segment.wire.and_then(|wire| {
        let uplink = view.uplink(wire.uplink)?;
        Some((wire, uplink, view.port(uplink.port)?))
    });
    let Some((wire, uplink, port)) = place else {
        return ledger.dropped(Some(&from.cells), Reason::NoRecord, frame);
    };
    let exit = Exit {
        from: Some(from.id),
        door: door(uplink, wire.vlan),
        port,
        vlan: wire.vlan,
        account: &from.cells,
        pace: from.max(),
    };
    dispatch::fit(ledger, &from.cells, &exit, frame, out);
}

/// What a frame from the wire is that is not the provider's (`refused` says why): one of a bridged VM network with members
/// here, without its tag; or what it was refused for.
#[inline(never)]
pub fn from_wire<F: Frame>(
    uplink: &Uplink,
    bridged: &Bridged,
    refused: Reason,
    frame: &mut F,
) -> Result<(SegmentId, Parsed), Reason> {
    let parsed = parse::ethernet(frame)?;
    if parsed.dst == uplink.mac {
        return Err(refused);
    }
    let stripped = frame.stripped_vlan();
    let (parsed, vlan) = match (parsed.ethertype, stripped) {
        (EtherType::VLAN, None) => match tci(frame.head()) {
            // Looked up before the tag comes off: what is refused stays as it was.
            Some(vlan) if bridged.get(vlan_of(vlan)).is_some() => {
                (parse::untag(frame)?.0, vlan_of(vlan))
            }
            _ => return Err(refused),
        },
        // A second tag, or a service tag: no VLAN of the uplink's.
        (EtherType::VLAN | EtherType::QINQ, _) => return Err(Reason::OuterVlan),
        (_, tci) => (parsed, tci.and_then(vlan_of)),
    };
    let segment = bridged.get(vlan).ok_or(refused)?;
    frame.clear_vlan();
    if vlan == uplink.vlan && provider_group::is_ours(uplink, frame.head()) {
        return Err(refused);
    }
    if parsed.src.is_multicast() {
        return Err(Reason::Malformed);
    }
    if is_reserved(parsed.dst) {
        return Err(Reason::ReservedMulticast);
    }
    Ok((segment, parsed))
}

/// The bridged VM network that shares the provider's own on this uplink.
pub fn shared(uplink: &Uplink) -> Option<SegmentId> {
    uplink.bridged.as_ref()?.get(uplink.vlan)
}

/// The VLAN of a tag; 0 carries a priority only (IEEE 802.1Q §6.9.1).
#[inline]
fn vlan_of(tci: u16) -> Option<u16> {
    Some(tci & 0x0fff).filter(|&vlan| vlan != 0)
}

#[inline]
fn tci(head: &[u8]) -> Option<u16> {
    let bytes = head.get(14..16)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}
