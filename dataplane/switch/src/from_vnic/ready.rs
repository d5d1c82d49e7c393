//! Ordinary frames, made ready in their place for where they go.

use crate::door::{Common, Door};
use crate::ordinary::Sender;
use crate::{BATCH, Batch, Frame, bridge, dispatch, encap, rewrite, route};
use weir_tables::endpoints::{Target, remote_peer};
use weir_tables::view::{Carriage, View, Vnic};

/// Makes an ordinary frame that goes by MAC ready for where it goes, and gives its door. None, and it is as it was, if that takes more than is done here.
#[inline(always)]
pub(super) fn by_mac_ready<F: Frame>(
    view: &View,
    sender: &Sender<'_>,
    mark: u32,
    target: u32,
    frame: &mut F,
) -> Option<Door> {
    if let Some(peer) = view.peer(remote_peer(target)) {
        return encap::ordinary(peer, sender.nvgre(mark as u8), (mark >> 8) as u8, frame);
    }
    match Target::unpack(target) {
        Some(Target::Local(to)) if to != sender.vnic.id => dispatch::door(view, to, frame),
        None if sender.vnic.carriage == Carriage::Bridged => {
            bridge::ordinary(view, sender.vnic, frame)
        }
        _ => None,
    }
}

/// The same of frames that were looked up by address: all of a batch.
#[inline(never)]
pub(super) fn all_by_address<'s, F: Frame>(
    view: &View,
    senders: impl Iterator<Item = &'s Sender<'s>>,
    marks: &[u32; BATCH],
    records: &[[u32; 3]],
    batch: &mut Batch<F>,
    doors: &mut [Door; BATCH],
) -> Common {
    let mut common = Common::new();
    let places = marks.iter().zip(records).zip(doors);
    for ((frame, ((&mark, record), door)), sender) in batch.iter_mut().zip(places).zip(senders) {
        let ready = by_address_ready(view, sender.vnic, mark as u8, record, frame);
        *door = ready.unwrap_or_default();
        common.add(*door);
    }
    common
}

/// The same of one among others.
#[inline(never)]
pub(super) fn one_by_address<F: Frame>(
    view: &View,
    from: &Vnic,
    flow: u8,
    record: &[u32; 3],
    frame: &mut F,
) -> Option<Door> {
    by_address_ready(view, from, flow, record, frame)
}

#[inline(always)]
fn by_address_ready<F: Frame>(
    view: &View,
    from: &Vnic,
    flow: u8,
    record: &[u32; 3],
    frame: &mut F,
) -> Option<Door> {
    match from.carriage {
        Carriage::Rewrite => rewrite::ordinary(view, from, record, frame),
        _ => route::ordinary(view, from, flow, record, frame),
    }
}
