//! The last step to a local vNIC: may its port take the frame, and as what.

use crate::Batch;
use crate::door::Door;
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::{Outlet, Receiver};
use crate::{parse, segment};
use weir_tables::bandwidth::Pace;
use weir_tables::counters::Cells;
use weir_tables::ids::VnicId;
use weir_tables::offloads::Offloads;
use weir_tables::reason::Reason;
use weir_tables::view::{Port, View, Vnic};

/// Delivers to a local vNIC. `from` is the vNIC that sends; what is finished here is on its account, on the receiver's if it is
/// nobody here.
#[inline(always)]
pub fn to_vnic<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: Option<&Vnic>,
    to: VnicId,
    frame: O::Frame,
    out: &mut O,
) {
    let Some(vnic) = view.vnic(to) else {
        return ledger.dropped(from.map(|from| &from.cells), Reason::VnicGone, frame);
    };
    let Some(port) = view.port(vnic.port) else {
        return ledger.dropped(Some(&vnic.cells), Reason::VnicGone, frame);
    };
    let ordinary =
        frame.len() <= port.max_frame as usize && vnic.vlan.is_none() && !frame.is_unfinished();
    if !ordinary {
        let tag = if vnic.vlan.is_some() { 4 } else { 0 };
        let exit = Exit {
            from: from.map(|from| from.id),
            door: way_in(vnic).behind(tag),
            port,
            vlan: vnic.vlan,
            account: &vnic.cells,
            // The slower of the two.
            pace: vnic.max_rx().max(from.map_or(Pace::UNLIMITED, Vnic::max)),
        };
        let sender = from.map_or(&vnic.cells, |from| &from.cells);
        return fit(ledger, sender, &exit, frame, out);
    }
    out.push(from.map(|from| from.id), way_in(vnic), frame);
}

/// The door of a local vNIC.
#[inline(always)]
fn way_in(vnic: &Vnic) -> Door {
    Door::new(vnic.port, Receiver::Vnic(vnic.id))
}

/// Delivers a plain frame from the wire to a local vNIC whose port takes it as it is; else gives it back.
#[inline(always)]
pub fn ordinary<O: Outlet>(
    view: &View,
    to: VnicId,
    frame: O::Frame,
    out: &mut O,
) -> Result<(), O::Frame> {
    let place = view
        .vnic(to)
        .and_then(|vnic| Some((vnic, view.port(vnic.port)?)));
    match place {
        Some((vnic, port)) if frame.len() <= port.max_frame as usize && vnic.vlan.is_none() => {
            out.push_finished(None, way_in(vnic), frame);
            Ok(())
        }
        _ => Err(frame),
    }
}

/// The door of a plain frame to a local vNIC whose port takes it as it is.
#[inline(always)]
pub fn door<F: Frame>(view: &View, to: VnicId, frame: &F) -> Option<Door> {
    let vnic = view.vnic(to)?;
    let port = view.port(vnic.port)?;
    let fits = frame.len() <= port.max_frame as usize && vnic.vlan.is_none();
    fits.then(|| way_in(vnic))
}

/// Delivers plain frames from the wire, of this length or less each and so many bytes together, to a local vNIC whose port takes them as they are; else leaves them all, and says so.
#[inline(always)]
pub fn ordinary_all<O: Outlet>(
    view: &View,
    to: VnicId,
    (longest, bytes): (usize, usize),
    frames: &mut Batch<O::Frame>,
    out: &mut O,
) -> bool {
    let Some(vnic) = view.vnic(to) else {
        return false;
    };
    let takes = view
        .port(vnic.port)
        .is_some_and(|port| longest <= port.max_frame as usize && vnic.vlan.is_none());
    if takes {
        out.push_all(None, way_in(vnic), bytes, frames);
    }
    takes
}

/// A way out of the switch.
pub struct Exit<'v> {
    /// The vNIC that sends.
    pub from: Option<VnicId>,
    /// Its door.
    pub door: Door,
    /// The port.
    pub port: &'v Port,
    /// The tag that its frames bear.
    pub vlan: Option<u16>,
    /// On whose account is what it does not take.
    pub account: &'v Cells,
    /// What its frames may have.
    pub pace: Pace,
}

/// What few frames need: finishing (on the sender's account), a tag, or a refusal.
#[inline(never)]
pub fn fit<O: Outlet>(
    ledger: &Ledger,
    sender: &Cells,
    exit: &Exit<'_>,
    frame: O::Frame,
    out: &mut O,
) {
    if segment::longest(&frame) > exit.port.max_frame as usize {
        return ledger.dropped(Some(exit.account), Reason::Oversize, frame);
    }
    // A device is told where headers are; that there may be a tag is not worth its telling.
    let takes = match exit.vlan {
        Some(_) => Offloads::NONE,
        None => exit.port.offloads,
    };
    let fits = || segment::fits_burst(exit.pace, ledger.hz(), &frame);
    if !frame.is_unfinished() || segment::is_taken(takes, &frame) && fits() {
        return give(ledger, exit, frame, out);
    }
    segment::finished(ledger, sender, frame, out, |out, frame| {
        give(ledger, exit, frame, out);
    });
}

fn give<O: Outlet>(ledger: &Ledger, exit: &Exit<'_>, mut frame: O::Frame, out: &mut O) {
    match exit.vlan {
        Some(vlan) if !parse::tag(&mut frame, vlan) => {
            ledger.dropped(Some(exit.account), Reason::NoHeadroom, frame);
        }
        _ => out.push(exit.from, exit.door, frame),
    }
}
