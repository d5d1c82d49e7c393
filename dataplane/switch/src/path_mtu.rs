//! What routers of the provider network say about outer packets that do not fit (RFC 1191, RFC 8201). Anyone there can send such
//! a message, so that it counts only if it quotes a packet that this host may have sent.

use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::{Event, Outlet};
use crate::rewrite::Rewritable;
use crate::watch::Step;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_tables::endpoints::{Customer, Target, peer_key};
use weir_tables::reason::Reason;
use weir_tables::view::{Uplink, View};
use weir_wire::IpProtocol;
use weir_wire::gre::Nvgre;
use weir_wire::icmp::Icmp;
use weir_wire::icmp6::Icmp6;
use weir_wire::ipv4::Ipv4;
use weir_wire::ipv6::Ipv6;

/// Bytes that such a message has at most: an Ethernet header, a tag, and 576 (RFC 1812 §4.3.2.3); longer ones are cut.
const LONGEST: usize = 14 + 4 + 576;
/// The same of ICMPv6: the least MTU (RFC 4443 §2.4 (c)).
const LONGEST6: usize = 14 + 4 + 1280;

/// Takes an ICMP packet to this host, whose IPv4 header starts at `at`: control is told what is news to it, the rest is
/// dropped.
#[cold]
pub fn hear<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    at: usize,
    mut frame: O::Frame,
    out: &mut O,
) {
    let wanted = frame.len().min(LONGEST);
    frame.pull_up(wanted);
    match read(view, uplink, frame.head().get(at..).unwrap_or_default()) {
        Some((peer, mtu)) => {
            out.tell(Event::PathMtu { peer, mtu });
            frame.note(|| Step::Consumed);
            ledger.cells().consumed.add(1);
        }
        None => ledger.dropped(Some(&uplink.cells), Reason::OuterProtocol, frame),
    }
}

/// The same to the provider address of a vNIC here: a router's word about one of its rewritten packets. Whatever else the
/// provider network says of them it says to nobody: a tenant does not see its addresses.
#[cold]
pub fn hear_rewritten<F: Rewritable, O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    to: Customer,
    at: usize,
    mut frame: O::Frame,
    out: &mut O,
) {
    let wanted = frame.len().min(LONGEST6);
    frame.pull_up(wanted);
    match read_rewritten::<F>(view, to, frame.head().get(at..).unwrap_or_default()) {
        Some((peer, mtu)) => {
            out.tell(Event::PathMtu { peer, mtu });
            frame.note(|| Step::Consumed);
            ledger.cells().consumed.add(1);
        }
        None => ledger.dropped(Some(&uplink.cells), Reason::ProviderIcmp, frame),
    }
}

/// A router's word that a packet did not fit.
pub struct TooLong<A> {
    /// Whom it tells.
    pub to: A,
    /// Who sent the packet, as it quotes it.
    pub source: A,
    /// To whom.
    pub destination: A,
    /// What would fit the next link, in bytes.
    pub mtu: u16,
}

/// "Fragmentation needed", whole and right.
pub fn too_long4(packet: &[u8]) -> Option<TooLong<Ipv4Addr>> {
    let packet = Ipv4::parse(packet).ok()?;
    let message = Icmp::parse(packet.payload()).ok()?;
    let mtu = message
        .next_hop_mtu()
        .filter(|_| message.checksum_is_right())?;
    let quote = Ipv4::parse_quote(message.quote()?).ok()?;
    (!packet.fragmentation().is_fragment()).then_some(TooLong {
        to: packet.destination(),
        source: quote.source(),
        destination: quote.destination(),
        mtu,
    })
}

/// "Packet too big", whole and right.
pub fn too_long6(packet: &[u8]) -> Option<TooLong<Ipv6Addr>> {
    let packet = Ipv6::parse(packet).ok()?;
    let message = Icmp6::parse(packet.payload()).ok()?;
    let mtu = mtu6(&packet, &message)?;
    let quote = Ipv6::parse_quote(message.quote()?).ok()?;
    Some(TooLong {
        to: packet.destination(),
        source: quote.source(),
        destination: quote.destination(),
        mtu,
    })
}

/// The MTU that a right message says.
fn mtu6(packet: &Ipv6, message: &Icmp6) -> Option<u16> {
    let is_right =
        message.code() == 0 && message.checksum_is_right(packet.source(), packet.destination());
    // RFC 8201 §4: no link has less, so that who says so lies.
    let mtu = message.mtu().filter(|&mtu| is_right && mtu >= 1280)?;
    Some(mtu.min(u32::from(u16::MAX)) as u16)
}

/// Such a word about a packet from this vNIC's provider address to one of its VM network on another host.
fn read_rewritten<F: Rewritable>(
    view: &View,
    to: Customer,
    packet: &[u8],
) -> Option<(IpAddr, u16)> {
    let said = F::too_long(packet).filter(|said| said.source == said.to)?;
    let other = F::customer(view, said.destination).filter(|other| other.domain == to.domain)?;
    match other.target {
        Target::Rewritten(peer) => Some((view.peer(peer)?.destination()?, said.mtu)),
        _ => None,
    }
}

/// The peer and the MTU of a message that counts: "fragmentation needed" about a packet from here to a peer, in a virtual
/// subnet that vNICs here may reach.
fn read(view: &View, uplink: &Uplink, packet: &[u8]) -> Option<(IpAddr, u16)> {
    let packet = Ipv4::parse(packet).ok()?;
    let message = Icmp::parse(packet.payload()).ok()?;
    let mtu = message
        .next_hop_mtu()
        .filter(|_| message.checksum_is_right())?;
    let quote = Ipv4::parse_quote(message.quote()?).ok()?;
    let peer = quote.destination();
    let nvgre = Nvgre::parse(quote.payload()).ok()?;
    let ours = uplink.has(quote.source())
        && quote.protocol() == IpProtocol::GRE
        && view.peer_addresses.get(peer_key(peer)).is_some()
        && view.vsids.is_reached(nvgre.vsid);
    ours.then_some((peer.into(), mtu))
}

/// The same of an ICMPv6 message to this host: "packet too big".
pub fn read6(view: &View, uplink: &Uplink, packet: &Ipv6, message: &Icmp6) -> Option<Event> {
    let mtu = mtu6(packet, message)?;
    let quote = Ipv6::parse_quote(message.quote()?).ok()?;
    let peer = quote.destination().into();
    let nvgre = Nvgre::parse(quote.payload()).ok()?;
    let ours = uplink.has_v6(quote.source())
        && quote.next_header() == IpProtocol::GRE
        && view.is_peer(peer)
        && view.vsids.is_reached(nvgre.vsid);
    ours.then_some(Event::PathMtu { peer, mtu })
}
