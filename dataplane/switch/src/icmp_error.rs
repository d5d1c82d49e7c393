//! ICMP and ICMPv6 errors from a subnet's gateway to the vNIC that sent what cannot go on.

use crate::dispatch;
use crate::family::Family;
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::watch::Step;
use std::net::Ipv4Addr;
use weir_tables::reason::Reason;
use weir_tables::view::{View, Vnic};

pub mod v4;
pub mod v6;

/// Time to live, or hop limit, of what the gateway sends.
pub const TTL: u8 = 64;

/// Why a packet cannot go on, as its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Its time to live did not last.
    HopLimit,
    /// Nobody knows where its destination is.
    NoRoute,
    /// Nobody is there.
    Host,
    /// The gateway listens on no port.
    Port,
    /// Its source is of one link, its destination elsewhere: a matter of IPv6.
    Scope,
    /// With its header and all it is larger than so many bytes.
    TooBig(u16),
}

/// Drops a vNIC's frame for `reason`, and tells the VM why where that is allowed: the frame itself becomes the error,
/// which is a packet of the switch's own.
#[cold]
pub fn refuse<F: Family, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    from: &Vnic,
    problem: Problem,
    reason: Reason,
    mut frame: O::Frame,
    out: &mut O,
) {
    frame.ended(reason);
    ledger.lost(Some(&from.cells), reason, frame.len() as u64);
    if F::deserves(&frame, problem)
        && ledger.may_complain(&from.cells)
        && let Some((kind, code)) = F::complain(view, from, problem, &mut frame)
    {
        frame.note(|| Step::Told { kind, code });
        ledger.cells().generated.add(1);
        dispatch::to_vnic(view, ledger, None, from.id, frame, out);
    }
}

/// An address that is no one host's, or no other's (RFC 1812 §5.3.7).
pub fn is_martian(address: Ipv4Addr) -> bool {
    address.is_multicast()
        || address.is_loopback()
        || address.octets()[0] == 0
        || address.octets()[0] >= 240
}
