//! The last step to a local vNIC: may its port take the frame, and as what.

use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::{Outlet, Receiver};
use crate::{parse, segment};
use weir_tables::counters::Cells;
use weir_tables::ids::VnicId;
use weir_tables::offloads::Offloads;
use weir_tables::reason::Reason;
use weir_tables::view::{Port, View, Vnic};

/// Delivers to a local vNIC. `sender` is on whose account what is finished here for it is; the receiver's if it is nobody here.
#[inline(always)]
pub fn to_vnic<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    sender: Option<&Cells>,
    to: VnicId,
    frame: O::Frame,
    out: &mut O,
) {
    let Some(vnic) = view.vnic(to) else {
        return ledger.dropped(sender, Reason::VnicGone, frame);
    };
    let Some(port) = view.port(vnic.port) else {
        return ledger.dropped(Some(&vnic.cells), Reason::VnicGone, frame);
    };
    let ordinary =
        frame.len() <= port.max_frame as usize && vnic.vlan.is_none() && !frame.is_unfinished();
    if !ordinary {
        return fit(ledger, sender, vnic, port, frame, out);
    }
    out.push(vnic.port, Receiver::Vnic(to), frame);
}

/// What few frames need: finishing, a tag, or a refusal.
#[inline(never)]
fn fit<O: Outlet>(
    ledger: &Ledger,
    sender: Option<&Cells>,
    vnic: &Vnic,
    port: &Port,
    frame: O::Frame,
    out: &mut O,
) {
    if segment::longest(&frame) > port.max_frame as usize {
        return ledger.dropped(Some(&vnic.cells), Reason::Oversize, frame);
    }
    // A device is told where headers are; that there may be a tag is not worth its telling.
    let takes = match vnic.vlan {
        Some(_) => Offloads::NONE,
        None => port.offloads,
    };
    if !frame.is_unfinished() || segment::is_taken(takes, &frame) {
        return give(ledger, vnic, frame, out);
    }
    let account = sender.unwrap_or(&vnic.cells);
    segment::finished(ledger, account, frame, out, |out, frame| {
        give(ledger, vnic, frame, out);
    });
}

fn give<O: Outlet>(ledger: &Ledger, vnic: &Vnic, mut frame: O::Frame, out: &mut O) {
    match vnic.vlan {
        Some(vlan) if !parse::tag(&mut frame, vlan) => {
            ledger.dropped(Some(&vnic.cells), Reason::NoHeadroom, frame);
        }
        _ => out.push(vnic.port, Receiver::Vnic(vnic.id), frame),
    }
}
