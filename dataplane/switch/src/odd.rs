//! What a VM's frame is that is not [`ordinary`](crate::ordinary): parse, guard, and which table has the answer.

use crate::family::{Family, V6, is_link_local};
use crate::parse::{self, Parsed};
use crate::watch::Step;
use crate::{BATCH, Frame, bridge, finish, guard, route};
use arrayvec::ArrayVec;
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::endpoints::endpoint_key;
use weir_tables::reason::Reason;
use weir_tables::view::{Carriage, Port, View, Vnic};
use weir_wire::EtherType;

/// What classification makes of a frame that is not ordinary.
#[derive(Clone, Copy)]
pub(crate) enum Class {
    /// To one MAC.
    Unicast(u8),
    /// IPv4 to the gateway's MAC, or of a vNIC whose packets are rewritten: the next of the records has the answer.
    Routed(u8),
    /// IPv6 to the gateway's MAC, or of a vNIC whose packets are rewritten: the next of `records6` has the answer.
    Routed6(u8),
    /// Something else of such a vNIC to one MAC.
    Unlike(Parsed),
    /// Something else to the gateway's MAC.
    Gateway(EtherType),
    /// Broadcast or multicast.
    Group(Parsed),
    Refused(Reason),
}

/// What is known of a batch's frames that are not ordinary, in their order.
pub(crate) struct Odd {
    /// What each is.
    pub(crate) classes: ArrayVec<Class, BATCH>,
    /// Keys of those that are looked up by IPv4 address.
    pub(crate) routed: ArrayVec<u64, BATCH>,
    /// The same of IPv6.
    pub(crate) routed6: ArrayVec<[u64; 2], BATCH>,
}

impl Odd {
    /// None yet.
    #[inline(always)]
    pub(crate) fn new() -> Odd {
        Odd {
            classes: ArrayVec::new(),
            routed: ArrayVec::new(),
            routed6: ArrayVec::new(),
        }
    }

    /// Classifies one more, and gives its key among the endpoints, or 0.
    #[inline(always)]
    pub(crate) fn add<F: Frame>(
        &mut self,
        view: &View,
        port: &Port,
        vnic: &Vnic,
        frame: &mut F,
    ) -> u64 {
        let class = classify(vnic, port, frame);
        self.classes.push(class);
        match class {
            Class::Routed(_) => self.routed.push(route::key(vnic, frame.head())),
            Class::Routed6(_) => self.routed6.push(route::key6(view, vnic, frame.head())),
            Class::Unicast(_) | Class::Unlike(_) => {
                return endpoint_key(vnic.segment, parse::destination(frame.head()));
            }
            Class::Gateway(_) | Class::Group(_) | Class::Refused(_) => {}
        }
        0
    }
}

/// What a frame is.
#[inline(never)]
fn classify<F: Frame>(vnic: &Vnic, port: &Port, frame: &mut F) -> Class {
    match admit(vnic, port, frame) {
        Ok(parsed) if parsed.dst.is_multicast() => Class::Group(parsed),
        Ok(parsed) if vnic.carriage == Carriage::Rewrite => to_one(parsed, frame.head()),
        Ok(parsed) if parsed.dst == GATEWAY_MAC => to_gateway(vnic, &parsed),
        Ok(parsed) => Class::Unicast(parsed.flow),
        Err(reason) => Class::Refused(reason),
    }
}

/// What a vNIC of a rewrite subnet sends to one MAC.
#[inline]
fn to_one(parsed: Parsed, head: &[u8]) -> Class {
    match parsed.ethertype {
        EtherType::IPV4 => Class::Routed(parsed.flow),
        EtherType::IPV6 if !goes_by_mac(&parsed, head) => Class::Routed6(parsed.flow),
        _ => Class::Unlike(parsed),
    }
}

/// Whether IPv6 is to an address of the link, whose members here have MACs of their own.
#[inline(never)]
fn goes_by_mac(parsed: &Parsed, head: &[u8]) -> bool {
    parsed.dst != GATEWAY_MAC && is_link_local(V6::destination(head))
}

#[inline]
fn to_gateway(vnic: &Vnic, parsed: &Parsed) -> Class {
    match parsed.ethertype {
        // No gateway of the switch's there: an address like others.
        _ if vnic.carriage == Carriage::Bridged => Class::Unicast(parsed.flow),
        EtherType::IPV4 => Class::Routed(parsed.flow),
        EtherType::IPV6 => Class::Routed6(parsed.flow),
        other => Class::Gateway(other),
    }
}

#[inline(always)]
fn admit<F: Frame>(vnic: &Vnic, port: &Port, frame: &mut F) -> Result<Parsed, Reason> {
    let mut parsed = parse::ethernet(frame)?;
    if parse::is_tag(parsed.ethertype) || vnic.carriage == Carriage::Bridged {
        parsed = bridge::untag(vnic, parsed, frame)?;
    }
    frame.note(|| Step::Parsed {
        dst: parsed.dst,
        src: parsed.src,
        ethertype: parsed.ethertype,
    });
    parsed.flow = guard::admit(&vnic.identity, &parsed, frame.head(), frame.len())?;
    frame.note(|| Step::Allowed(guard::rule(&vnic.identity, &parsed, frame.head())));
    if port.suspect_checksums {
        finish::suspect(frame);
    }
    Ok(parsed)
}
