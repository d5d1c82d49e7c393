//! What is not ordinary, a frame at a time.

use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::rewrite::Rewritable;
use crate::watch::Step;
use crate::{Frame, bridge, dispatch, encap, miss, parse, rewrite, route};
use weir_tables::endpoints::Target;
use weir_tables::ids::SegmentId;
use weir_tables::reason::Reason;
use weir_tables::view::{Carriage, View, Vnic};

/// What was looked up by its MAC.
#[inline(never)]
pub(super) fn by_mac<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    flow: u8,
    target: u32,
    frame: O::Frame,
    out: &mut O,
) {
    match looked_up(from.segment, target, &frame) {
        Some(Target::Remote(peer)) => {
            let key = encap::key(from.vsid, flow);
            encap::to_peer(view, ledger, from, key, peer, frame, out);
        }
        Some(Target::Local(to)) if to == from.id => {
            ledger.dropped(Some(&from.cells), Reason::SamePort, frame);
        }
        Some(Target::Local(to)) => {
            dispatch::to_vnic(view, ledger, Some(from), to, frame, out);
        }
        None if from.carriage == Carriage::Bridged => {
            bridge::unknown(view, ledger, from, frame, out);
        }
        Some(Target::Rewritten(_)) | None => nobody(view, ledger, from, frame, out),
    }
}

/// A packet that was looked up by address.
#[inline(never)]
pub(super) fn by_address<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    flow: u8,
    record: [u32; 3],
    frame: O::Frame,
    out: &mut O,
) {
    match from.carriage {
        Carriage::Rewrite => {
            rewrite::from_vnic::<F, O>(view, ledger, from, flow, record, frame, out);
        }
        _ => route::forward::<F, O>(view, ledger, from, flow, record, frame, out),
    }
}

/// Where the frame's destination MAC is.
#[inline(always)]
pub(crate) fn looked_up<F: Frame>(segment: SegmentId, target: u32, frame: &F) -> Option<Target> {
    let found = Target::unpack(target);
    frame.note(|| Step::Endpoint {
        segment,
        mac: parse::destination(frame.head()),
        found,
    });
    found
}

/// No vNIC of the subnet has the MAC, as far as is known here.
#[cold]
fn nobody<O: Outlet>(view: &View, ledger: &Ledger, from: &Vnic, frame: O::Frame, out: &mut O) {
    let to = miss::by_mac(from, frame.head());
    if let Some(frame) = miss::ask(view, ledger, from, to, frame, out) {
        ledger.dropped(Some(&from.cells), Reason::NoRecord, frame);
    }
}
