//! Packets between provider addresses of vNICs, from the wire.

use super::rewritable::Rewritable;
use super::{set_destination, translate};
use crate::family::{self, Family, V4, V6};
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::too_big;
use crate::watch::{Point, Step, Who};
use crate::{BATCH, dispatch};
use arrayvec::ArrayVec;
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::endpoints::{Customer, Target};
use weir_tables::ids::{SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::{Carriage, Uplink, View};
use weir_wire::rewrite::Change;
use weir_wire::{EtherType, IpProtocol, Mac};

/// An IP packet from the wire to an address that is none of the uplink's; its header is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Bytes before it.
    pub at: usize,
    /// Its bytes.
    pub total: usize,
    /// What it carries, by its first header.
    pub protocol: IpProtocol,
    /// Whether it is IPv6.
    pub is_v6: bool,
}

/// Packets from the wire that may be for provider addresses of vNICs here.
pub type Plains<F> = ArrayVec<(Plain, F), BATCH>;

/// Takes them to where they go.
#[inline(never)]
pub fn from_wire<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    batch: Plains<O::Frame>,
    out: &mut O,
) {
    if batch.iter().all(|(plain, _)| !plain.is_v6) {
        return of_family::<V4, O>(view, ledger, uplink, batch, out);
    }
    let (mut v4, mut v6) = (Plains::new(), Plains::new());
    for (plain, frame) in batch {
        let family = if plain.is_v6 { &mut v6 } else { &mut v4 };
        family.push((plain, frame));
    }
    if !v4.is_empty() {
        of_family::<V4, O>(view, ledger, uplink, v4, out);
    }
    of_family::<V6, O>(view, ledger, uplink, v6, out);
}

#[inline(never)]
fn of_family<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    batch: Plains<O::Frame>,
    out: &mut O,
) {
    let mut sources = ArrayVec::<F::Address, BATCH>::new();
    let mut destinations = ArrayVec::<F::Address, BATCH>::new();
    for (plain, frame) in &batch {
        let (source, destination) = addresses::<F>(plain, frame.head());
        sources.push(source);
        destinations.push(destination);
    }
    let mut receivers = [[0; 3]; BATCH];
    let mut senders = [[0; 3]; BATCH];
    F::customers(view, &destinations, &mut receivers);
    F::customers(view, &sources, &mut senders);
    for (((plain, mut frame), to), from) in batch.into_iter().zip(receivers).zip(senders) {
        let (to, from) = (Customer::unpack(to), Customer::unpack(from));
        match arrive::<F, _>(view, plain, to, from, &mut frame) {
            Ok(Arrival::For(vnic)) => {
                frame.show(Point::Decap, Who::Uplink(uplink.id));
                deliver(view, ledger, vnic, frame, out);
            }
            Ok(Arrival::FromRouter(to)) => {
                F::hear(view, ledger, uplink, to, plain.at, frame, out);
            }
            Err(reason) => ledger.dropped(Some(&uplink.cells), reason, frame),
        }
    }
}

/// Source and destination.
#[inline(always)]
fn addresses<F: Family>(plain: &Plain, head: &[u8]) -> (F::Address, F::Address) {
    let frame = head.get(plain.at.saturating_sub(14)..).unwrap_or_default();
    (F::source(frame), F::destination(frame))
}

/// Whether the vNIC of a provider address is on this host.
pub fn is_here(owner: Customer) -> bool {
    matches!(owner.target, Target::Local(_))
}

#[inline(always)]
fn deliver<O: Outlet>(view: &View, ledger: &Ledger, to: VnicId, frame: O::Frame, out: &mut O) {
    if !frame.is_plain() {
        return deliver_any(view, ledger, to, frame, out);
    }
    if let Err(frame) = dispatch::ordinary(view, to, frame, out) {
        deliver_any(view, ledger, to, frame, out);
    }
}

#[inline(never)]
fn deliver_any<O: Outlet>(view: &View, ledger: &Ledger, to: VnicId, frame: O::Frame, out: &mut O) {
    if let Some(vnic) = view.vnic(to)
        && let Some(port) = view.port(vnic.port)
        && frame.len() > port.max_frame as usize
    {
        return too_big::to_vnic(view, ledger, vnic, port.max_frame, frame, out);
    }
    dispatch::to_vnic(view, ledger, None, to, frame, out);
}

/// What came.
enum Arrival {
    /// A packet of another vNIC of its VM network, by customer addresses again.
    For(VnicId),
    /// ICMP of the provider network to this vNIC's address.
    FromRouter(Customer),
}

#[inline(always)]
fn arrive<F: Rewritable, B: Frame>(
    view: &View,
    plain: Plain,
    to: Option<Customer>,
    from: Option<Customer>,
    frame: &mut B,
) -> Result<Arrival, Reason> {
    let (to, id) = match to {
        Some(to) => match to.target {
            Target::Local(id) => (to, id),
            _ => return Err(Reason::OuterNotOurs),
        },
        None => return Err(Reason::OuterNotOurs),
    };
    let vnic = view.vnic(id).ok_or(Reason::VnicGone)?;
    let from = match from {
        Some(from) => from,
        None if plain.protocol == F::ICMP => return Ok(Arrival::FromRouter(to)),
        None => return Err(Reason::UnknownPa),
    };
    if is_here(from) {
        return Err(Reason::InnerSourceLocal);
    }
    // Isolation: an address is one VM network's, and both must be of the receiver's.
    if from.domain != vnic.domain || to.domain != vnic.domain {
        return Err(Reason::OtherNetwork);
    }
    if !frame.trim_front(plain.at.saturating_sub(14)) {
        return Err(Reason::OuterMalformed);
    }
    frame.clear_vlan();
    if frame.len() > 14 + plain.total {
        frame.truncate(14 + plain.total);
    }
    // No host sends such a packet by rewriting.
    if F::is_of_link(frame.head()) {
        return Err(Reason::NotRewritable);
    }
    let (source, destination) = (F::source(frame.head()), F::destination(frame.head()));
    let change = Change {
        source: (source, F::long(view, from.ca).ok_or(Reason::UnknownPa)?),
        destination: (destination, F::long(view, to.ca).ok_or(Reason::VnicGone)?),
    };
    translate::<F, B>(frame, &change)?;
    frame.note(|| Step::Restored {
        source: change.source.1.into(),
        destination: change.destination.1.into(),
    });
    if let Some(header) = frame.head_mut().first_chunk_mut::<14>() {
        *header = family::ethernet(vnic.identity.mac.octets(), F::ETHERTYPE);
    }
    Ok(Arrival::For(id))
}

/// The vNIC here that is meant by a decapsulated frame to the gateway's MAC in a rewrite subnet: a sender without a provider
/// address has its packet carried by NVGRE, and knows an address alone. Its MAC is put in.
#[cold]
pub fn by_address<F: Frame>(view: &View, segment: SegmentId, frame: &mut F) -> Option<VnicId> {
    let own = view.segment(segment)?;
    let header = frame.head().first_chunk::<14>()?;
    let [d0, d1, d2, d3, d4, d5, .., t0, t1] = *header;
    if own.carriage != Carriage::Rewrite || Mac::new([d0, d1, d2, d3, d4, d5]) != GATEWAY_MAC {
        return None;
    }
    let domain = view.domain(own.domain)?;
    let found = match EtherType(u16::from_be_bytes([t0, t1])) {
        EtherType::IPV4 => V4::record(view, domain, V4::destination(frame.head())),
        EtherType::IPV6 => V6::record(view, domain, V6::destination(frame.head())),
        _ => None,
    };
    let record = found.filter(|record| record.segment == segment)?;
    let Target::Local(id) = record.target else {
        return None;
    };
    set_destination(frame.head_mut(), record.mac);
    Some(id)
}
