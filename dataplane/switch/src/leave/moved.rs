//! Frames that wait for bandwidth on their way to another worker, with what their vNIC has used of its own.

use super::{Shaper, Waiting, account, counts, size};
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::shape::{Exit, Parcel};
use weir_tables::by_class::ClassCells;
use weir_tables::counters::Cells;
use weir_tables::ids::VnicId;
use weir_tables::reason::Reason;
use weir_tables::view::{Party, View};

/// Packs everything of a vNIC that goes with it; how many frames that are. What it is to receive waits where its port is: on a trunk that
/// stays with its owner, who goes on counting what the vNIC receives.
pub fn pack<F: Frame>(
    view: &View,
    ledger: &Ledger,
    vnic: VnicId,
    shaper: &mut Shaper<F>,
    parcel: &mut Parcel<Waiting<F>>,
) -> usize {
    let port = view.vnic(vnic).and_then(|vnic| view.port(vnic.port));
    let with_port = port.is_some_and(|port| port.party == Party::Vnic(vnic));
    let before = shaper.waiting(vnic);
    let party = account(view, vnic);
    shaper.take_out(vnic, with_port, parcel);
    let after = shaper.waiting(vnic);
    ledger.waited(
        party,
        before.items - after.items,
        before.bytes - after.bytes,
    );
    for (cells, bytes) in by_class(ledger, party, parcel) {
        cells.queued.subtract(1, bytes);
    }
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
    for (cells, bytes) in by_class(ledger, party, parcel) {
        cells.queued.add(1, bytes);
    }
    shaper.put_in(parcel, ledger.now(), |exit, _, _, waiting| {
        if let Some((cells, bytes)) = class_of(ledger, party, exit, &waiting) {
            cells.queued.subtract(1, bytes);
            cells.dropped.add(1, bytes);
        }
        ledger.dropped(party, Reason::QueueFull, waiting.frame);
    });
    let waiting = shaper.waiting(vnic);
    let (items, bytes) = (waiting.items - before.items, waiting.bytes - before.bytes);
    ledger.waits(party, items, bytes);
}

/// What counts each item of a parcel by its class, where there are classes, and its bytes.
fn by_class<'c, F: Frame>(
    ledger: &Ledger,
    party: Option<&'c Cells>,
    parcel: &Parcel<Waiting<F>>,
) -> impl Iterator<Item = (&'c ClassCells, u64)> {
    let items = parcel.iter();
    items.filter_map(move |(exit, waiting)| class_of(ledger, party, exit, waiting))
}

fn class_of<'c, F: Frame>(
    ledger: &Ledger,
    party: Option<&'c Cells>,
    exit: Exit,
    waiting: &Waiting<F>,
) -> Option<(&'c ClassCells, u64)> {
    let door = waiting.door;
    let cells = counts(ledger, party, exit, door.class())?;
    Some((cells, u64::from(size(door, &waiting.frame).bytes)))
}
