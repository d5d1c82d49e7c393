//! Multicast of the provider network (RFC 7637 §4.2): NVGRE to the group of a virtual subnet, and routers that ask which groups
//! this host listens to. Met only on an uplink that listens to groups, by what is not to its own MAC.

use crate::bridge;
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outer::{self, Outer};
use crate::outlet::{Event, Outlet};
use crate::slow;
use crate::watch::Step;
use std::net::Ipv4Addr;
use weir_tables::endpoints::peer_key;
use weir_tables::reason::Reason;
use weir_tables::view::{Uplink, View};
use weir_wire::gre::{self, Nvgre};
use weir_wire::igmp::{self, Query};
use weir_wire::ipv4::{self, Ipv4};
use weir_wire::{EtherType, IpProtocol, Mac};

/// Judges IPv4 that is not to the uplink's MAC; its header starts at `at` of a frame of `length` bytes.
#[cold]
#[inline(never)]
pub fn accept(
    view: &View,
    uplink: &Uplink,
    head: &[u8],
    at: usize,
    length: usize,
) -> Result<Outer, Reason> {
    let to = Mac::new(*head.first_chunk().ok_or(Reason::Runt)?);
    let ip = Ipv4::parse_quote(head.get(at..).unwrap_or_default());
    let ip = ip.map_err(|_| Reason::OuterNotOurs)?;
    let group = ip.destination();
    if to != ipv4::group_mac(group) {
        return Err(Reason::OuterNotOurs);
    }
    let ours = uplink.groups.contains(&group);
    let asked = ip.protocol() == IpProtocol::IGMP && (ours || group == igmp::ALL_HOSTS);
    if !ours && !asked {
        return Err(Reason::OuterNotOurs);
    }
    let total = usize::from(ip.total_len());
    if at + total > length || !ip.checksum_is_right() {
        return Err(Reason::OuterMalformed);
    }
    if ip.fragmentation().is_fragment() {
        return Err(Reason::OuterFragment);
    }
    if asked {
        return Ok(Outer::Igmp { at });
    }
    if ip.protocol() != IpProtocol::GRE {
        return Err(Reason::OuterProtocol);
    }
    if view.peer_addresses.get(peer_key(ip.source())).is_none() {
        return Err(Reason::UnknownPa);
    }
    let nvgre = Nvgre::parse(ip.payload()).map_err(outer::refusal)?;
    let segment = view.vsids.get(nvgre.vsid).ok_or(Reason::UnknownVsid)?;
    if view.segment(segment).and_then(|of| of.group) != Some(group) {
        return Err(Reason::WrongGroup);
    }
    Ok(Outer::NvgreToMany {
        segment,
        header: at + ip.header_len() + gre::NVGRE_HEADER,
        inner: total - ip.header_len() - gre::NVGRE_HEADER,
        tos: ip.tos(),
    })
}

/// Whether a frame of the provider network without its tag is to one of the groups, so that it is the provider's also when it is
/// refused.
#[cold]
pub fn is_ours(uplink: &Uplink, head: &[u8]) -> bool {
    let address = head.get(30..).and_then(|rest| rest.first_chunk::<4>());
    head.get(12..14) == Some(&EtherType::IPV4.0.to_be_bytes())
        && address.is_some_and(|address| uplink.groups.contains(&Ipv4Addr::from(*address)))
}

/// A router's question, whose IPv4 header starts at `at`, is told to control, which answers. On a network that the provider
/// shares with a bridged VM network, the VMs hear it too.
#[cold]
pub fn hear<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    at: usize,
    mut frame: O::Frame,
    out: &mut O,
) {
    let wanted = frame.len();
    frame.pull_up(wanted);
    let query = question(frame.head().get(at..).unwrap_or_default());
    if let Some(query) = query {
        out.tell(Event::Groups {
            uplink: uplink.id,
            query,
        });
    }
    match bridge::shared(uplink) {
        Some(segment) => slow::bridged_from_wire(view, ledger, uplink, segment, frame, out),
        None if query.is_some() => {
            frame.note(|| Step::Consumed);
            ledger.cells().consumed.add(1);
        }
        None => ledger.dropped(Some(&uplink.cells), Reason::OuterProtocol, frame),
    }
}

/// RFC 3376 §9.1: what has come over a router is forged.
fn question(packet: &[u8]) -> Option<Query> {
    let ip = Ipv4::parse(packet).ok()?;
    (ip.ttl() == 1)
        .then(|| Query::parse(ip.payload()))
        .flatten()
}
