//! What becomes of frames that wait for bandwidth: they leave when they may, or they are dropped with their vNIC or their port.

use super::{Waiting, account, counts, deliver, size};
use crate::Batch;
use crate::door::Door;
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::marks;
use crate::outlet::{Outlet, Receiver};
use crate::shape::{ALL_TCS, Exit, Leaving};
use crate::watch::{Step, Who};
use arrayvec::ArrayVec;
use weir_tables::counters::Cells;
use weir_tables::ids::{PortId, UplinkId, VnicId};
use weir_tables::prefetch;
use weir_tables::reason::Reason;
use weir_tables::view::View;

/// Frames that are released at a time.
const MOST: usize = crate::BATCH;

/// A turn's work for what waits: whoever may send now does, as far as devices have room. `seen` makes a frame that was stored one that
/// somebody looks at, if somebody does; it is from this party.
pub fn release<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    out: &mut O,
    seen: impl Fn(Who, O::Plain) -> O::Frame,
) {
    let now = ledger.now();
    out.shaper().tick(now);
    for uplink in view.uplinks.iter().flatten() {
        if !out.shaper().waits(uplink.id) {
            continue;
        }
        match uplink.link.as_ref().and_then(|link| link.queues) {
            None => by_uplink(view, ledger, (uplink.id, ALL_TCS, uplink.port), out, &seen),
            // Its device chooses among DCB traffic classes: each leaves as far as there is room in its own queue.
            Some(queues) => {
                for (tc, port) in queues.into_iter().enumerate() {
                    by_uplink(view, ledger, (uplink.id, 1 << tc, port), out, &seen);
                }
            }
        }
    }
    let mut received = ArrayVec::<Leaving<Waiting<O::Plain>>, MOST>::new();
    let mut sent = ArrayVec::<Leaving<Waiting<O::Plain>>, MOST>::new();
    for _ in 0..ROUNDS {
        if !out.shaper().waits_here() {
            break;
        }
        let shaper = out.shaper();
        let released = shaper.release_here(now, MOST, |one| match one.exit {
            Exit::Receive => received.push(one),
            _ => sent.push(one),
        });
        if released == 0 {
            break;
        }
        // What has waited for its receiver is no longer in its queue, and is before whatever may be sent to that one now.
        for one in received.drain(..) {
            let (door, frame) = left(view, ledger, one, &seen);
            out.push(None, door, frame);
        }
        for one in sent.drain(..) {
            let (door, frame) = left(view, ledger, one, &seen);
            deliver(view, ledger, door, frame, out);
        }
    }
}

/// Batches of a turn, for one exit.
const ROUNDS: usize = 8;

/// What may leave by an uplink, of these DCB traffic classes, by this port.
fn by_uplink<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    (uplink, tcs, port): (UplinkId, u8, PortId),
    out: &mut O,
    seen: &impl Fn(Who, O::Plain) -> O::Frame,
) {
    let now = ledger.now();
    let mut leaving = ArrayVec::<Leaving<Waiting<O::Plain>>, MOST>::new();
    for _ in 0..ROUNDS {
        let room = out.room(port, MOST).min(MOST);
        let shaper = out.shaper();
        if shaper.release_of(uplink, tcs, now, room, |one| leaving.push(one)) == 0 {
            break;
        }
        // Whoever has waited for long is far from the processor by now: all that is known of all of them is asked for at once, so that
        // they wait for memory together, step by step as one leads to the next.
        for one in &leaving {
            one.item.frame.fetch();
            if let Some(vnic) = view.vnic(one.vnic) {
                prefetch::read(&vnic.cells);
            }
        }
        for one in &leaving {
            if let Some(cells) = account(view, one.vnic) {
                ledger.fetch(cells);
            }
            if one.mark && one.item.may_be_marked {
                one.item.frame.fetch_head();
            }
        }
        // In runs, as what did not wait: all of it is for this uplink. What is left to a device to finish is in none.
        let out_by = Door::new(port, Receiver::Uplink(uplink));
        let (mut run, mut bytes) = (Batch::<O::Frame>::new(), 0);
        for one in leaving.drain(..) {
            let (door, frame) = left(view, ledger, one, seen);
            if frame.is_unfinished() {
                if !run.is_empty() {
                    out.push_all(None, out_by, std::mem::take(&mut bytes), &mut run);
                }
                out.push(None, door.by(port), frame);
                continue;
            }
            bytes += frame.len();
            // No more leave at a time than a batch takes.
            run.push(frame);
        }
        if !run.is_empty() {
            out.push_all(None, out_by, bytes, &mut run);
        }
    }
}

/// Counts what waited, and marks it if it waited for long.
fn left<F: Frame, P: Frame>(
    view: &View,
    ledger: &Ledger,
    leaving: Leaving<Waiting<P>>,
    seen: &impl Fn(Who, P) -> F,
) -> (Door, F) {
    let Leaving {
        item: Waiting {
            frame,
            door,
            may_be_marked,
        },
        vnic,
        exit,
        mark,
        ..
    } = leaving;
    let account = account(view, vnic);
    let bytes = u64::from(size(door, &frame).bytes);
    if let Some(cells) = counts(ledger, account, exit, door.class()) {
        cells.sent.add(1, bytes);
    }
    let mut frame = ended(account, ledger, vnic, exit, (door, frame), seen);
    if mark && may_be_marked && marks::congestion(frame.head_mut()) {
        frame.note(|| Step::Marked);
        if let Some(cells) = account {
            ledger.marked(cells);
        }
    }
    (door, frame)
}

/// A frame that waits no more.
fn ended<F, P: Frame>(
    account: Option<&Cells>,
    ledger: &Ledger,
    vnic: VnicId,
    exit: Exit,
    (door, frame): (Door, P),
    seen: &impl Fn(Who, P) -> F,
) -> F {
    let bytes = u64::from(size(door, &frame).bytes);
    ledger.waited(account, 1, bytes);
    if let Some(cells) = counts(ledger, account, exit, door.class()) {
        cells.queued.subtract(1, bytes);
    }
    let from = match exit {
        // Whoever sent it, it waited for its receiver.
        Exit::Receive => Who::Nobody,
        _ => Who::Vnic(vnic),
    };
    seen(from, frame)
}

/// Drops what waits of a vNIC that has left every view, and for it: its index may pass to another.
#[cold]
pub fn forget<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    vnic: VnicId,
    out: &mut O,
    seen: impl Fn(Who, O::Plain) -> O::Frame,
) {
    let shaper = out.shaper();
    shaper.forget(vnic, |exit, _, waiting| {
        drop_one(view, ledger, (vnic, exit), waiting, &seen);
    });
    let is_for = |waiting: &Waiting<_>| waiting.door.receiver() == Receiver::Vnic(vnic);
    shaper.extract(is_for, |from, exit, waiting| {
        drop_one(view, ledger, (from, exit), waiting, &seen);
    });
}

/// Drops what waits for a port whose queues are given back.
#[cold]
pub fn close<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    port: PortId,
    out: &mut O,
    seen: impl Fn(Who, O::Plain) -> O::Frame,
) {
    let shaper = out.shaper();
    for uplink in view.uplinks.iter().flatten() {
        if uplink.port == port {
            let exit = Exit::Uplink(uplink.id);
            shaper.forget_uplink(uplink.id, |vnic, _, waiting| {
                drop_one(view, ledger, (vnic, exit), waiting, &seen);
            });
        }
    }
    let is_for = |waiting: &Waiting<_>| waiting.door.port() == port;
    shaper.extract(is_for, |vnic, exit, waiting| {
        drop_one(view, ledger, (vnic, exit), waiting, &seen);
    });
}

/// Drops everything that waits: the worker ends.
#[cold]
pub fn end<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    out: &mut O,
    seen: impl Fn(Who, O::Plain) -> O::Frame,
) {
    out.shaper().drain(|vnic, exit, _, waiting| {
        drop_one(view, ledger, (vnic, exit), waiting, &seen);
    });
}

fn drop_one<F: Frame, P: Frame>(
    view: &View,
    ledger: &Ledger,
    (vnic, exit): (VnicId, Exit),
    waiting: Waiting<P>,
    seen: &impl Fn(Who, P) -> F,
) {
    let account = account(view, vnic);
    let Waiting { frame, door, .. } = waiting;
    let bytes = u64::from(size(door, &frame).bytes);
    if let Some(cells) = counts(ledger, account, exit, door.class()) {
        cells.dropped.add(1, bytes);
    }
    let frame = ended(account, ledger, vnic, exit, (door, frame), seen);
    ledger.dropped(account, Reason::PortClosed, frame);
}
