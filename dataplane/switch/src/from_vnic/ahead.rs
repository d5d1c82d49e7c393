//! Two bursts of one vNIC together: the tables are asked about one while the other is worked at. Worth it where answers come from memory.

use super::known::{Known, room};
use super::{apply, by_mac_ready, show};
use crate::door::{Common, Door};
use crate::ledger::Ledger;
use crate::ordinary::Sender;
use crate::outlet::Outlet;
use crate::{BATCH, Batch, Frame};
use weir_tables::exact::{Asked, ones};
use weir_tables::view::{Port, View, Vnic};

/// Takes every frame of two batches from one vNIC's port, one behind the other, to where it goes: while the tables are asked about one the other is worked at. It
/// is worth it where the answers come from memory.
#[inline(never)]
pub fn run_two<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    port: &Port,
    vnic: &Vnic,
    [first, second]: [&mut Batch<O::Frame>; 2],
    out: &mut O,
) {
    let sender = Sender::of(vnic, port);
    let senders = std::iter::repeat(&sender);
    let (mut marks, mut keys, mut routed, mut odd) = room();
    let mut known = Known::new(&mut marks, &mut keys, &mut routed, &mut odd);
    let (mut marks, mut keys, mut routed, mut odd) = room();
    let mut next = Known::new(&mut marks, &mut keys, &mut routed, &mut odd);
    let mut asked = [[Asked::NONE; 2]; 2];
    let [at, next_at] = &mut asked;
    for (known, batch, at) in [
        (&mut known, &mut *first, at),
        (&mut next, &mut *second, next_at),
    ] {
        show(senders.clone(), batch);
        known.classify(view, port, senders.clone(), batch, out);
        ledger.received(&vnic.cells, batch.len() as u64, known.bytes);
        let [endpoints, records] = at;
        if let Some(keys) = known.keys(batch.len()) {
            view.endpoints.ask(keys, endpoints);
        }
        view.records.ask(known.routed, records);
    }
    let one = Some(vnic.id);
    let [at, next_at] = asked;
    for (known, batch, at) in [(known, first, at), (next, second, next_at)] {
        let [endpoints, records_at] = &at;
        let (mut targets, mut room, mut late) = ([[0]; BATCH], None, 0);
        let all_by_mac = known.odd.classes.is_empty() && known.routed.is_empty();
        if let Some(keys) = known.keys(batch.len()) {
            if all_by_mac && !out.held().is_holding() {
                late = view.endpoints.answer_early(keys, endpoints, &mut targets);
            } else {
                view.endpoints.answer(keys, endpoints, &mut targets);
            }
        }
        let records: &mut [[u32; 3]] = if known.routed.is_empty() {
            &mut []
        } else {
            let records = room.insert([[0; 3]; BATCH]);
            view.records.answer(known.routed, records_at, records);
            records
        };
        let found = (&mut targets, records);
        apply(
            view,
            ledger,
            one,
            senders.clone(),
            known,
            found,
            late,
            batch,
            out,
        );
    }
}

/// Changes a mark of these places.
#[inline(always)]
pub(super) fn mark(marks: &mut [u32; BATCH], places: u32, bit: u32) {
    for place in ones(places) {
        if let Some(mark) = marks.get_mut(place) {
            *mark ^= bit;
        }
    }
}

/// Makes ready those of a batch that goes by MAC of which the target was not known before; what all have in common then.
#[inline(never)]
pub(super) fn late_by_mac<'s, F: Frame>(
    view: &View,
    senders: impl Iterator<Item = &'s Sender<'s>> + Clone,
    marks: &[u32; BATCH],
    targets: &[[u32; 1]; BATCH],
    late: u32,
    batch: &mut Batch<F>,
    doors: &mut [Door; BATCH],
) -> Common {
    for place in ones(late) {
        if let (Some(&mark), Some(&[target]), Some(frame), Some(door), Some(sender)) = (
            marks.get(place),
            targets.get(place),
            batch.get_mut(place),
            doors.get_mut(place),
            senders.clone().nth(place),
        ) {
            *door = by_mac_ready(view, sender, mark, target, frame).unwrap_or_default();
        }
    }
    let mut common = Common::new();
    doors
        .iter()
        .take(batch.len())
        .for_each(|door| common.add(*door));
    common
}
