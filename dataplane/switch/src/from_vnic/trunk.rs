//! Which vNIC each frame of a trunk is of.

use super::{show, switch};
use crate::leave::Shaper;
use crate::ledger::Ledger;
use crate::ordinary::Sender;
use crate::outlet::Outlet;
use crate::{BATCH, Batch, Frame, parse};
use arrayvec::ArrayVec;
use weir_tables::endpoints::Target;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::prefetch;
use weir_tables::reason::Reason;
use weir_tables::view::{Party, Port, View, Vnic};

/// Tells the vNICs of a trunk apart; frames of none of them end here.
pub(super) fn run<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    id: PortId,
    port: &Port,
    batch: &mut Batch<O::Frame>,
    out: &mut O,
) {
    let mut known = Batch::<O::Frame>::new();
    let mut found = ArrayVec::<(VnicId, &Vnic), BATCH>::new();
    for mut frame in batch.drain(..) {
        match member(view, id, port.party, &mut frame) {
            Some(vnic) => {
                found.push(vnic);
                known.push(frame);
            }
            None => {
                ledger.cells().received.add(1);
                ledger.dropped(None, Reason::TrunkUnknown, frame);
            }
        }
    }
    if out.shaper().queued() > 0 {
        fetch(ledger, &found, out.shaper());
    }
    let mut senders = ArrayVec::<Sender<'_>, BATCH>::new();
    for ((_, vnic), frame) in found.iter().zip(&known) {
        ledger.received(&vnic.cells, 1, frame.len() as u64);
        senders.push(Sender::of(vnic, port));
    }
    show(senders.iter(), &known);
    let known = &mut known;
    switch(view, ledger, port, None, senders.iter(), |_| {}, known, out);
}

/// Asks the processor for what is known of vNICs of which frames wait: of many vNICs it is far away by the time that their turn comes again.
/// All of them at once, step by step as one thing leads to the next.
#[inline(never)]
fn fetch<F>(ledger: &Ledger, found: &[(VnicId, &Vnic)], shaper: &Shaper<F>) {
    for (id, vnic) in found {
        prefetch::whole(*vnic);
        shaper.fetch_gate(*id);
    }
    for (id, vnic) in found {
        ledger.fetch(&vnic.cells);
        if let Some(ip) = vnic.identity.v4.first() {
            prefetch::read(ip);
        }
        shaper.fetch_leaf(*id);
    }
    for (id, _) in found {
        shaper.fetch_last(*id);
    }
}

#[inline]
fn member<'v, F: Frame>(
    view: &'v View,
    id: PortId,
    party: Party,
    frame: &mut F,
) -> Option<(VnicId, &'v Vnic)> {
    let parsed = parse::ethernet(frame).ok()?;
    let mark = match party {
        Party::TrunkByVlan => {
            let vlan = match frame.stripped_vlan() {
                Some(tci) => tci & 0x0fff,
                None if parse::is_tag(parsed.ethertype) => parse::untag(frame).ok()?.1,
                None => return None,
            };
            frame.clear_vlan();
            u64::from(vlan)
        }
        _ => parsed.src.to_u64(),
    };
    let found = view.trunk_members.get(trunk_key(id, mark))?;
    match Target::unpack(found[0])? {
        Target::Local(id) => Some((id, view.vnic(id)?)),
        Target::Remote(_) | Target::Rewritten(_) => None,
    }
}

/// Key of [`View::trunk_members`]: the port, and the MAC or VLAN that tells its vNICs apart.
#[inline(always)]
pub fn trunk_key(port: PortId, mark: u64) -> u64 {
    u64::from(port.0) << 48 | mark
}
