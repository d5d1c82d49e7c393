//! Packets of a batch to somebody for whom others are held: they wait, too, so that order stays.

use super::known::{BY_ADDRESS, ODD};
use crate::family::{Family, V4, V6};
use crate::odd::Class;
use crate::ordinary::Sender;
use crate::outlet::Outlet;
use crate::{Batch, Frame, miss};

/// What was found for a batch: targets for each place, records in the order of who asked, those of ordinary packets apart.
pub(super) struct Found<'a> {
    pub(super) targets: &'a mut [[u32; 1]],
    pub(super) records: &'a mut [[u32; 3]],
    pub(super) records4: &'a mut [[u32; 3]],
    pub(super) records6: &'a mut [[u32; 3]],
}

/// Who comes while others to the same destination are held has no record before they have gone.
#[cold]
pub(super) fn wait_in_turn<'s, O: Outlet>(
    senders: impl Iterator<Item = &'s Sender<'s>>,
    batch: &Batch<O::Frame>,
    marks: &[u32],
    classes: &[Class],
    found: Found<'_>,
    out: &mut O,
) {
    let (mut classes, mut records) = (classes.iter(), found.records.iter_mut());
    let (mut records4, mut records6) = (found.records4.iter_mut(), found.records6.iter_mut());
    let places = marks.iter().zip(found.targets);
    for ((frame, (mark, target)), sender) in batch.iter().zip(places).zip(senders) {
        let (vnic, head) = (sender.vnic, frame.head());
        let class = if *mark == ODD { classes.next() } else { None };
        let by_address = mark & BY_ADDRESS != 0;
        match class {
            None | Some(Class::Unicast(_)) if !by_address => {
                if out.held().is_waiting(miss::by_mac(vnic, head)) {
                    *target = [0];
                }
            }
            None | Some(Class::Routed(_) | Class::Unicast(_)) => {
                let to = V4::wanted(vnic.domain, V4::destination(head));
                let record = if by_address {
                    records.next()
                } else {
                    records4.next()
                };
                if let Some(record) = record
                    && out.held().is_waiting(to)
                {
                    *record = [0; 3];
                }
            }
            Some(Class::Routed6(_)) => {
                let to = V6::wanted(vnic.domain, V6::destination(head));
                if let Some(record) = records6.next()
                    && out.held().is_waiting(to)
                {
                    *record = [0; 3];
                }
            }
            Some(Class::Unlike(_) | Class::Gateway(_) | Class::Group(_) | Class::Refused(_)) => {}
        }
    }
}
