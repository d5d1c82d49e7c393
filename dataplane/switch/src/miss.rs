//! Pull on miss: a frame to somebody who has no record here waits while the policy store is asked, where its VM network
//! gets its records so ([`Domain::on_miss`](weir_tables::domain::Domain::on_miss)).
//!
//! The order of one destination's frames is kept: as long as some are held, whoever comes later waits behind them, even if
//! its record is there by then (`wait_in_turn` in `from_vnic`). A held frame has passed the guard; when the answer is there it
//! goes the whole way from there again, with what is true then.

use crate::family::Family;
use crate::held::Known;
use crate::ledger::Ledger;
use crate::outlet::{Event, Outlet};
use crate::watch::Step;
use crate::{Frame, from_vnic};
use weir_tables::domain::Hop;
use weir_tables::endpoints::Destination;
use weir_tables::ids::VnicId;
use weir_tables::reason::Reason;
use weir_tables::view::{View, Vnic};
use weir_wire::Mac;

/// Takes a frame whose destination has no record here. Gives it back if nobody has it; else it is held or dropped.
#[cold]
pub fn ask<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    to: Destination,
    frame: O::Frame,
    out: &mut O,
) -> Option<O::Frame> {
    if !view
        .domain(from.domain)
        .is_some_and(|domain| domain.on_miss)
    {
        return Some(frame);
    }
    let (now, account) = (ledger.now(), Some(&from.cells));
    match out.held().look(to, now) {
        Known::Absent => return Some(frame),
        Known::Asked => {}
        Known::Nothing => {
            if !ledger.may_ask(&from.cells) {
                ledger.dropped(account, Reason::MissLimited, frame);
                return None;
            }
            if !out.held().begin(to, from.id, now) {
                ledger.dropped(account, Reason::MissOverflow, frame);
                return None;
            }
            ledger.cells().misses.add(1);
            out.tell(Event::Miss { vnic: from.id, to });
        }
    }
    frame.note(|| Step::Held(to));
    if let Err(frame) = out.hold(to, from.id, frame) {
        ledger.dropped(account, Reason::MissOverflow, frame);
    }
    count(ledger, out);
    None
}

fn count<O: Outlet>(ledger: &Ledger, out: &mut O) {
    ledger.cells().held.set(out.held().frames() as u64);
}

/// Whom a frame is for by its MAC, in the vNIC's own subnet.
pub fn by_mac(from: &Vnic, head: &[u8]) -> Destination {
    let mac = head.first_chunk::<6>().copied().unwrap_or_default();
    Destination::Mac(from.segment, Mac::new(mac))
}

/// Whom an ARP request or a neighbour solicitation without an answer is for, where that is to be asked for: an address in a subnet of the VM network.
pub fn by_question<F: Family>(view: &View, from: &Vnic, target: F::Address) -> Option<Destination> {
    let domain = view.domain(from.domain).filter(|domain| domain.on_miss)?;
    let route = F::reach(domain).route(target)?;
    matches!(route.hop, Hop::Connected).then(|| F::wanted(from.domain, target))
}

/// The record is there: whoever waits goes on, in order. `seen` makes a frame that was stored one that somebody looks at, if
/// somebody does; it came from this vNIC.
#[cold]
pub fn found<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    to: Destination,
    out: &mut O,
    seen: impl Fn(VnicId, O::Plain) -> O::Frame,
) {
    let Some(frames) = out.held().take(to) else {
        return;
    };
    ledger.cells().misses_found.add(1);
    for (from, frame) in frames {
        from_vnic::again(view, ledger, from, seen(from, frame), out);
    }
    count(ledger, out);
}

/// Nobody has the destination: whoever waits is told what a frame without a record is told.
#[cold]
pub fn absent<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    to: Destination,
    out: &mut O,
    seen: impl Fn(VnicId, O::Plain) -> O::Frame,
) {
    let Some(frames) = out.held().settle(to, ledger.now()) else {
        return;
    };
    ledger.cells().misses_absent.add(1);
    for (from, frame) in frames {
        from_vnic::again(view, ledger, from, seen(from, frame), out);
    }
    out.held().over();
    count(ledger, out);
}

/// Drops what waits of a vNIC that has left every view.
#[cold]
pub fn forget<O: Outlet>(
    ledger: &Ledger,
    vnic: VnicId,
    out: &mut O,
    seen: impl Fn(VnicId, O::Plain) -> O::Frame,
) {
    while let Some(frame) = out.held().forget(vnic) {
        ledger.dropped(None, Reason::PortClosed, seen(vnic, frame));
    }
    count(ledger, out);
}

/// Takes what waits from a vNIC that moves to another worker.
#[cold]
pub fn take_along<O: Outlet>(
    ledger: &Ledger,
    vnic: VnicId,
    out: &mut O,
    mut sink: impl FnMut(O::Plain),
) {
    while let Some(frame) = out.held().forget(vnic) {
        sink(frame);
    }
    count(ledger, out);
}

/// A frame of a vNIC that waited at another worker, once more from the guard on.
#[cold]
pub fn anew<O: Outlet>(view: &View, ledger: &Ledger, from: VnicId, frame: O::Frame, out: &mut O) {
    from_vnic::again(view, ledger, from, frame, out);
}

/// Drops who has waited for a second, and asks again for who still waits. Called when the time has come
/// ([`Held::is_due`](crate::held::Held::is_due)).
#[cold]
pub fn tend<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    out: &mut O,
    seen: impl Fn(VnicId, O::Plain) -> O::Frame,
) {
    let now = ledger.now();
    while let Some(to) = out.held().expired(now) {
        drop_all(view, ledger, to, Reason::MissTimeout, out, &seen);
    }
    let mut asked = arrayvec::ArrayVec::<Event, 32>::new();
    out.held().again(now, |vnic, to| {
        asked.try_push(Event::Miss { vnic, to }).is_ok()
    });
    for event in asked {
        out.tell(event);
    }
    count(ledger, out);
}

/// Drops everything that waits: the worker ends.
#[cold]
pub fn end<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    out: &mut O,
    seen: impl Fn(VnicId, O::Plain) -> O::Frame,
) {
    // Everything has waited for long enough by then.
    while let Some(to) = out.held().expired(u64::MAX) {
        drop_all(view, ledger, to, Reason::PortClosed, out, &seen);
    }
    count(ledger, out);
}

fn drop_all<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    to: Destination,
    why: Reason,
    out: &mut O,
    seen: &impl Fn(VnicId, O::Plain) -> O::Frame,
) {
    for (from, frame) in out.held().take(to).into_iter().flatten() {
        let account = view.vnic(from).map(|vnic| &vnic.cells);
        ledger.dropped(account, why, seen(from, frame));
    }
}
