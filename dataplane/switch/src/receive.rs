//! The door of the switch: a batch from a port goes the way of who is behind that port.

use crate::gather::Gather;
use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::{Batch, from_uplink, from_vnic};
use weir_tables::ids::PortId;
use weir_tables::view::{Party, View};

/// Takes every frame of two batches, received from `port` one after the other, to where it goes, in that order.
#[inline(always)]
pub fn receive_two<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    port: PortId,
    batches: [&mut Batch<O::Frame>; 2],
    out: &mut O,
) {
    if let Some(entry) = view.port(port)
        && let Party::Vnic(vnic) = entry.party
        && let Some(vnic) = view.vnic(vnic)
    {
        let mut out = Gather::new(view, ledger, out);
        from_vnic::run_two(view, ledger, entry, vnic, batches, &mut out);
        return out.leave();
    }
    for batch in batches {
        receive(view, ledger, port, batch, out);
    }
}

/// Takes every frame of `batch`, all received from `port`, to where it goes.
#[inline(always)]
pub fn receive<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    port: PortId,
    batch: &mut Batch<O::Frame>,
    out: &mut O,
) {
    let mut out = Gather::new(view, ledger, out);
    match view.port(port) {
        Some(entry) => match entry.party {
            Party::Uplink(id) if let Some(uplink) = view.uplink(id) => {
                from_uplink::run(view, ledger, uplink, batch, &mut out);
            }
            _ => from_vnic::run(view, ledger, port, entry, batch, &mut out),
        },
        // Polled before its view arrived or after it left: control never does this; count it all the same.
        None => from_vnic::refuse_all(ledger, batch),
    }
    out.leave();
}
