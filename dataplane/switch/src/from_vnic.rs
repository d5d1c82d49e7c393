//! From a VM: parse → guard → lookup (→ route) → encap or dispatch, a batch at a time.

mod ahead;
mod in_turn;
mod known;
mod one_by_one;
mod ready;
mod trunk;

pub use ahead::run_two;
pub(crate) use one_by_one::looked_up;
pub use trunk::trunk_key;

use crate::door::{Common, Door};
use crate::family::{V4, V6};
use crate::gather::Gather;
use crate::lap::Stage;
use crate::ledger::Ledger;
use crate::odd::Class;
use crate::ordinary::Sender;
use crate::outlet::Outlet;
use crate::watch::{Point, Who};
use crate::{BATCH, Batch, Frame, rewrite, route, slow};
use arrayvec::ArrayVec;
use in_turn::{Found, wait_in_turn};
use known::{BY_ADDRESS, Known, LATE, ODD, one_kind, room};
use one_by_one::{by_address, by_mac};
use ready::{all_by_address, by_mac_ready, one_by_address};
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::{Party, Port, View};

/// Takes every frame of `batch`, all received from `port`, to where it goes.
#[inline]
pub fn run<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    id: PortId,
    port: &Port,
    batch: &mut Batch<O::Frame>,
    out: &mut O,
) {
    match port.party {
        Party::Vnic(vnic) => match view.vnic(vnic) {
            Some(vnic) => {
                let sender = Sender::of(vnic, port);
                let senders = std::iter::repeat(&sender);
                show(senders.clone(), batch);
                let packets = batch.len() as u64;
                let count = |bytes| ledger.received(&vnic.cells, packets, bytes);
                let one = Some(vnic.id);
                switch(view, ledger, port, one, senders, count, batch, out);
            }
            None => refuse_all(ledger, batch),
        },
        Party::TrunkByMac | Party::TrunkByVlan => trunk::run(view, ledger, id, port, batch, out),
        Party::Uplink(_) => refuse_all(ledger, batch),
    }
}

/// Counts and drops what was received from a port whose vNIC is being removed.
#[cold]
pub fn refuse_all<F: Frame>(ledger: &Ledger, batch: &mut Batch<F>) {
    for frame in batch.drain(..) {
        ledger.cells().received.add(1);
        ledger.dropped(None, Reason::VnicGone, frame);
    }
}

/// Shows frames as they came to who looks, if somebody does.
#[inline(always)]
fn show<'s, F: Frame>(senders: impl Iterator<Item = &'s Sender<'s>>, batch: &Batch<F>) {
    if F::WATCHED {
        for (frame, sender) in batch.iter().zip(senders) {
            frame.show(Point::VnicRx, Who::Vnic(sender.vnic.id));
        }
    }
}

/// What the records have of nobody.
const NO_RECORD: [u32; 3] = [0; 3];

/// The stages. `senders` has one vNIC a frame, `one` the one that sends all if that is known; `count` hears how many bytes they are,
/// before any of them leaves.
#[expect(clippy::too_many_arguments, reason = "inlined: what its callers know")]
#[inline(always)]
fn switch<'s, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    port: &Port,
    one: Option<VnicId>,
    senders: impl Iterator<Item = &'s Sender<'s>> + Clone,
    count: impl FnOnce(u64),
    batch: &mut Batch<O::Frame>,
    out: &mut O,
) {
    let (mut marks, mut keys, mut routed, mut odd) = room();
    let mut known = Known::new(&mut marks, &mut keys, &mut routed, &mut odd);
    known.classify(view, port, senders.clone(), batch, out);
    count(known.bytes);
    out.lap(Stage::Classify);
    let (mut targets, mut room) = ([[0]; BATCH], None);
    if let Some(keys) = known.keys(batch.len()) {
        view.endpoints.get_batch(keys, &mut targets);
    }
    // Mostly nobody wants one: then they are not even set to zero.
    let records: &mut [[u32; 3]] = if known.routed.is_empty() {
        &mut []
    } else {
        let records = room.insert([[0; 3]; BATCH]);
        view.records.get_batch(known.routed, records);
        records
    };
    let found = (&mut targets, records);
    apply(view, ledger, one, senders, known, found, 0, batch, out);
}

/// The stages from the tables' answers on. Who is `late`, a bit each, is not in his first bucket and is looked for when the others are done.
#[expect(clippy::too_many_arguments, reason = "inlined: what its callers know")]
#[inline(always)]
fn apply<'s, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    one: Option<VnicId>,
    senders: impl Iterator<Item = &'s Sender<'s>> + Clone,
    known: Known<'_>,
    (targets, records): (&mut [[u32; 1]; BATCH], &mut [[u32; 3]]),
    late: u32,
    batch: &mut Batch<O::Frame>,
    out: &mut O,
) {
    let Known {
        bytes,
        marks,
        keys,
        kinds,
        routed,
        odd,
        ..
    } = known;
    if late != 0 {
        ahead::mark(marks, late, LATE);
    }
    let mut records4 = ArrayVec::<[u32; 3], BATCH>::new();
    if !odd.routed.is_empty() {
        route::records(view, &odd.routed, &mut records4);
    }
    let mut records6 = ArrayVec::<[u32; 3], BATCH>::new();
    if !odd.routed6.is_empty() {
        route::records6(view, &odd.routed6, &mut records6);
    }
    if out.held().is_holding() {
        let found = Found {
            targets: &mut *targets,
            records: &mut *records,
            records4: &mut records4,
            records6: &mut records6,
        };
        wait_in_turn(senders.clone(), batch, marks, &odd.classes, found, out);
    }
    out.lap(Stage::Lookup);

    // Apply all: first what is ordinary, in its place.
    let mut doors = [Door::NONE; BATCH];
    if odd.classes.len() < batch.len() {
        // What one vNIC sends at a time mostly goes one way: a loop of its own for those that all go by address.
        let mut common = if routed.len() == batch.len() {
            all_by_address(view, senders.clone(), marks, records, batch, &mut doors)
        } else {
            let (mut common, mut records) = (Common::new(), records.iter());
            let places = marks.iter().zip(&*targets).zip(&mut doors);
            for ((frame, ((&mark, &[target]), door)), sender) in
                batch.iter_mut().zip(places).zip(senders.clone())
            {
                let ready = if mark & (ODD | BY_ADDRESS) == 0 {
                    by_mac_ready(view, sender, mark, target, frame)
                } else if mark & ODD == 0 {
                    let record = records.next().unwrap_or(&NO_RECORD);
                    one_by_address(view, sender.vnic, mark as u8, record, frame)
                } else {
                    None
                };
                *door = ready.unwrap_or_default();
                common.add(*door);
            }
            common
        };
        if late != 0 {
            ahead::mark(marks, late, LATE);
            view.endpoints.answer_late(keys, late, targets);
            common = ahead::late_by_mac(
                view,
                senders.clone(),
                marks,
                targets,
                late,
                batch,
                &mut doors,
            );
        }
        if let Some(door) = common.door()
            && (one.is_some() || !out.is_shaping())
            && let Some(kind) = one_kind(kinds.as_ref())
        {
            out.of_class(kind);
            let bytes = bytes as usize + batch.len() * door.headers();
            return out.push_all(one, door, bytes, batch);
        }
    }

    // Then each by its door, in order; what has none goes the way of all packets.
    let mut kinds = kinds.iter().flatten();
    let mut classes = odd.classes.iter();
    let mut records = records.iter();
    let (mut records4, mut records6) = (records4.iter(), records6.iter());
    let places = marks.iter().zip(&*targets).zip(&doors);
    for ((frame, ((&mark, &[target]), door)), sender) in batch.drain(..).zip(places).zip(senders) {
        let (vnic, flow) = (sender.vnic, mark as u8);
        if let Some(&kind) = kinds.next() {
            out.of_class(kind);
        }
        if mark != ODD {
            let record = match mark & BY_ADDRESS {
                0 => None,
                _ => records.next(),
            };
            match (door.known(), record) {
                (Some(door), _) => out.push_finished(Some(vnic.id), door, frame),
                (None, Some(record)) => {
                    by_address::<V4, O>(view, ledger, vnic, flow, *record, frame, out);
                }
                (None, None) => by_mac(view, ledger, vnic, flow, target, frame, out),
            }
            continue;
        }
        let Some(&class) = classes.next() else {
            continue;
        };
        match class {
            Class::Unicast(flow) => by_mac(view, ledger, vnic, flow, target, frame, out),
            Class::Routed(flow) => {
                let record = *records4.next().unwrap_or(&NO_RECORD);
                by_address::<V4, O>(view, ledger, vnic, flow, record, frame, out);
            }
            Class::Routed6(flow) => {
                let record = *records6.next().unwrap_or(&NO_RECORD);
                by_address::<V6, O>(view, ledger, vnic, flow, record, frame, out);
            }
            Class::Unlike(parsed) => {
                rewrite::unlike(view, ledger, vnic, &parsed, target, frame, out);
            }
            Class::Gateway(ethertype) => {
                slow::to_gateway(view, ledger, vnic, ethertype, frame, out);
            }
            Class::Group(parsed) => slow::group(view, ledger, vnic, &parsed, frame, out),
            Class::Refused(reason) => ledger.dropped(Some(&vnic.cells), reason, frame),
        }
    }
}

/// A frame that was held, once more from the guard on.
pub(crate) fn again<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: VnicId,
    frame: O::Frame,
    out: &mut O,
) {
    let vnic = view.vnic(from);
    match vnic.and_then(|vnic| Some((vnic, view.port(vnic.port)?))) {
        Some((vnic, port)) => {
            let mut batch = Batch::new();
            batch.push(frame);
            let sender = Sender::of(vnic, port);
            let senders = std::iter::once(&sender);
            let (one, mut out) = (Some(from), Gather::new(view, ledger, out));
            switch(
                view,
                ledger,
                port,
                one,
                senders,
                |_| {},
                &mut batch,
                &mut out,
            );
            out.leave();
        }
        None => ledger.dropped(vnic.map(|vnic| &vnic.cells), Reason::PortClosed, frame),
    }
}
