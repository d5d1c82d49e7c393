//! Frames that wait for bandwidth on their way to another worker, with what their vNIC has used of its own.

use super::{Shaper, Waiting, account};
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::shape::Parcel;
use weir_tables::ids::VnicId;
use weir_tables::reason::Reason;
use weir_tables::view::View;

/// Packs everything of a vNIC; how many frames that are.
pub fn pack<F: Frame>(
    view: &View,
    ledger: &Ledger,
    vnic: VnicId,
    shaper: &mut Shaper<F>,
    parcel: &mut Parcel<Waiting<F>>,
) -> usize {
    let waiting = shaper.waiting(vnic);
    ledger.waited(account(view, vnic), waiting.items, waiting.bytes);
    shaper.take_out(vnic, parcel);
    parcel.len()
}

/// Unpacks it. What finds no room is dropped.
pub fn unpack<F: Frame>(
    view: &View,
    ledger: &Ledger,
    shaper: &mut Shaper<F>,
    parcel: &mut Parcel<Waiting<F>>,
) {
    let Some(vnic) = parcel.vnic() else {
        return;
    };
    let party = account(view, vnic);
    // Frames for it may wait here already: on a trunk who owns the port is not who owns the vNIC.
    let before = shaper.waiting(vnic);
    shaper.put_in(parcel, ledger.now(), |_, _, _, waiting| {
        ledger.dropped(party, Reason::QueueFull, waiting.frame);
    });
    let waiting = shaper.waiting(vnic);
    let (items, bytes) = (waiting.items - before.items, waiting.bytes - before.bytes);
    ledger.waits(party, items, bytes);
}
