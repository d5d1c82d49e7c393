//! The last step to a local vNIC: may its port take the frame, and as what.

use crate::finish;
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::{Outlet, Receiver};
use crate::parse;
use crate::watch::Step;
use weir_tables::counters::Cells;
use weir_tables::ids::VnicId;
use weir_tables::reason::Reason;
use weir_tables::view::{Port, View, Vnic};

/// Delivers to a local vNIC. `sender` is on whose account an unfinished checksum is, if it is finished here.
#[inline(always)]
pub fn to_vnic<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    sender: Option<&Cells>,
    to: VnicId,
    mut frame: O::Frame,
    out: &mut O,
) {
    let Some(vnic) = view.vnic(to) else {
        return ledger.dropped(sender, Reason::VnicGone, frame);
    };
    let Some(port) = view.port(vnic.port) else {
        return ledger.dropped(Some(&vnic.cells), Reason::VnicGone, frame);
    };
    let ordinary = frame.len() <= port.max_frame as usize
        && vnic.vlan.is_none()
        && (port.takes_unfinished || !frame.is_unfinished());
    if !ordinary && let Err(reason) = fit(ledger, sender, vnic, port, &mut frame) {
        return ledger.dropped(Some(&vnic.cells), reason, frame);
    }
    out.push(vnic.port, Receiver::Vnic(to), frame);
}

/// What few ports need: finishing, a tag, or a refusal.
#[inline(never)]
fn fit<F: Frame>(
    ledger: &Ledger,
    sender: Option<&Cells>,
    vnic: &Vnic,
    port: &Port,
    frame: &mut F,
) -> Result<(), Reason> {
    if frame.len() > port.max_frame as usize && frame.gso().is_none() {
        return Err(Reason::Oversize);
    }
    if frame.is_unfinished() && !port.takes_unfinished {
        finish::finish(frame)?;
        frame.note(|| Step::Finished);
        if let Some(sender) = sender {
            ledger.checksum_finished(sender);
        }
    }
    match vnic.vlan {
        Some(vlan) if !parse::tag(frame, vlan) => Err(Reason::NoHeadroom),
        _ => Ok(()),
    }
}
