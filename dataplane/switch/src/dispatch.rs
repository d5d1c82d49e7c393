//! The last step to a local vNIC: may its port take the frame, and as what.

use crate::Batch;
use crate::frame::Frame;
use crate::gather::Door;
use crate::ledger::Ledger;
use crate::outlet::{Outlet, Receiver};
use crate::{parse, segment};
use weir_tables::counters::Cells;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::offloads::Offloads;
use weir_tables::reason::Reason;
use weir_tables::view::{Port, View};

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
        let exit = Exit {
            id: vnic.port,
            port,
            receiver: Receiver::Vnic(to),
            vlan: vnic.vlan,
            account: &vnic.cells,
        };
        return fit(ledger, sender.unwrap_or(&vnic.cells), &exit, frame, out);
    }
    out.push(vnic.port, Receiver::Vnic(to), frame);
}

/// Delivers a plain frame to a local vNIC whose port takes it as it is; else gives it back.
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
            out.push_finished(vnic.port, Receiver::Vnic(to), frame);
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
    fits.then(|| Door::new(vnic.port, Receiver::Vnic(to)))
}

/// Delivers plain frames of this length or less to a local vNIC whose port takes them as they are; else leaves them all, and says so.
#[inline(always)]
pub fn ordinary_all<O: Outlet>(
    view: &View,
    to: VnicId,
    longest: usize,
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
        out.push_all(vnic.port, Receiver::Vnic(to), frames);
    }
    takes
}

/// A way out of the switch.
pub struct Exit<'v> {
    /// The port's index.
    pub id: PortId,
    /// The port.
    pub port: &'v Port,
    /// Who is behind it.
    pub receiver: Receiver,
    /// The tag that its frames bear.
    pub vlan: Option<u16>,
    /// On whose account is what it does not take.
    pub account: &'v Cells,
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
    if !frame.is_unfinished() || segment::is_taken(takes, &frame) {
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
        _ => out.push(exit.id, exit.receiver, frame),
    }
}
