//! ICMPv6 of the provider network: who asks by neighbour discovery (RFC 4861) for an address of this host is answered, who
//! says where it is is remembered by control, and what routers say of packets that do not fit goes to [`path_mtu`].

use crate::door::Door;
use crate::family::V6;
use crate::frame::{Frame, L4Checksum};
use crate::ledger::Ledger;
use crate::outlet::{Event, Outlet, Receiver};
use crate::watch::Step;
use crate::{parse, path_mtu, rewrite, slow};
use std::net::Ipv6Addr;
use weir_tables::ids::SegmentId;
use weir_tables::reason::Reason;
use weir_tables::view::{Uplink, View};
use weir_wire::icmp6::{self, Icmp6};
use weir_wire::ipv6::{self, Ipv6};
use weir_wire::nd::{self, Advertisement, Flags, Message};
use weir_wire::{IpProtocol, Mac};

/// Bytes that are looked at: an Ethernet header, a tag, and the least MTU of IPv6, within which errors are kept
/// (RFC 4443 §2.4 (c)) and above which no honest neighbour discovery is.
const LONGEST: usize = 14 + 4 + 1280;

/// Takes an ICMPv6 packet to this host or to a group that it listens to, whose IPv6 header starts at `at`.
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
    let end = match read(view, uplink, at, frame.head()) {
        Ok(Heard::Tell(event)) => {
            out.tell(event);
            Ok(())
        }
        Ok(Heard::Asked { asker, answer }) => {
            if let Some(event) = asker {
                out.tell(event);
            }
            return match write(uplink, at, &answer, &mut frame) {
                Some(()) => {
                    let door = Door::new(uplink.port, Receiver::Uplink(uplink.id));
                    out.push(None, door, frame);
                }
                None => ledger.dropped(Some(&uplink.cells), Reason::NoHeadroom, frame),
            };
        }
        Ok(Heard::Nothing) => Ok(()),
        Err(reason) => Err(reason),
    };
    match end {
        Ok(()) => {
            frame.note(|| Step::Consumed);
            ledger.cells().consumed.add(1);
        }
        Err(reason) => ledger.dropped(Some(&uplink.cells), reason, frame),
    }
}

/// The same on a network that the provider shares with a bridged VM network, sent to many: its members hear it, and the
/// provider's side too if it is its affair.
#[cold]
pub fn shared<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    segment: SegmentId,
    at: usize,
    mut frame: O::Frame,
    out: &mut O,
) {
    let wanted = frame.len().min(LONGEST);
    frame.pull_up(wanted);
    if read(view, uplink, at, frame.head()).is_err() {
        return slow::bridged_from_wire(view, ledger, uplink, segment, frame, out);
    }
    ledger.cells().copies.add(1);
    match out.copy(&frame) {
        Some(copy) => slow::bridged_from_wire(view, ledger, uplink, segment, copy, out),
        None => {
            let bytes = frame.len() as u64;
            ledger.lost(Some(&uplink.cells), Reason::PoolEmpty, bytes);
        }
    }
    hear(view, ledger, uplink, at, frame, out);
}

/// What a message comes to.
enum Heard {
    /// News for control.
    Tell(Event),
    /// A question about an address of this host, and where the asker is if it says so.
    Asked {
        asker: Option<Event>,
        answer: Answer,
    },
    /// Nothing to do: this host's own, come back.
    Nothing,
}

/// An advertisement to send.
struct Answer {
    to_mac: Mac,
    to: Ipv6Addr,
    source: Ipv6Addr,
    says: Advertisement,
}

fn read(view: &View, uplink: &Uplink, at: usize, head: &[u8]) -> Result<Heard, Reason> {
    // However it is cut, the same of it is looked at.
    let l3 = head.get(at..head.len().min(LONGEST)).unwrap_or_default();
    // Others than these, router advertisements too, are nobody's: host.toml says who the gateway is.
    let kind = l3.get(ipv6::HEADER).copied().unwrap_or_default();
    let reason = match kind {
        icmp6::NEIGHBOR_SOLICITATION | icmp6::NEIGHBOR_ADVERTISEMENT => Reason::UnderlayNd,
        _ => Reason::OuterProtocol,
    };
    let ip = Ipv6::parse(l3).map_err(|_| reason)?;
    let message = Icmp6::parse(ip.payload()).map_err(|_| reason)?;
    if reason == Reason::OuterProtocol {
        let event = path_mtu::read6(view, uplink, &ip, &message);
        return event.map(Heard::Tell).ok_or(reason);
    }
    // RFC 4861 §7.1.1, §7.1.2; `Message::parse` checks code, length, target and options.
    if ip.hop_limit() != nd::HOP_LIMIT || !message.checksum_is_right(ip.source(), ip.destination())
    {
        return Err(Reason::UnderlayNd);
    }
    match Message::parse(&message).map_err(|_| Reason::UnderlayNd)? {
        Message::NeighborSolicitation { target, options } => {
            let [_, _, _, _, _, _, s0, s1, s2, s3, s4, s5] =
                *head.first_chunk::<12>().ok_or(Reason::Runt)?;
            let said = options.source_mac();
            solicited(
                view,
                uplink,
                &ip,
                Mac::new([s0, s1, s2, s3, s4, s5]),
                target,
                said,
            )
        }
        Message::NeighborAdvertisement {
            flags,
            target,
            options,
        } => advertised(uplink, &ip, flags, target, options.target_mac()),
        _ => Err(Reason::UnderlayNd),
    }
}

/// Who has an address, this host's or the provider address of a vNIC here?
fn solicited(
    view: &View,
    uplink: &Uplink,
    ip: &Ipv6,
    sender: Mac,
    target: Ipv6Addr,
    said: Option<Mac>,
) -> Result<Heard, Reason> {
    let (source, destination) = (ip.source(), ip.destination());
    let probe = source.is_unspecified();
    // RFC 4861 §7.1.1: duplicate address detection asks the group, and does not say who asks. A group is no one host's.
    if probe && (destination != nd::solicited_node(target) || said.is_some())
        || source.is_multicast()
        || said.is_some_and(Mac::is_multicast)
        || sender.is_multicast()
    {
        return Err(Reason::UnderlayNd);
    }
    let ours = uplink.has_v6(target)
        || uplink.is_link_local(target)
        || rewrite::answers::<V6>(view, uplink, target);
    if !ours {
        return Err(Reason::UnderlayNd);
    }
    // The kernel's, if it has this MAC too, about an address that it makes of it: no answer to that.
    if sender == uplink.mac {
        return Ok(Heard::Nothing);
    }
    let asker = said.filter(|_| !probe).map(|mac| Event::Neighbor {
        uplink: uplink.id,
        address: source.into(),
        mac,
        overrides: true,
    });
    // RFC 4861 §7.2.4: to all nodes where nobody says who asks, so that a second owner of the address hears it.
    let (to_mac, to, flags) = if probe {
        (nd::group_mac(nd::ALL_NODES), nd::ALL_NODES, Flags::OVERRIDE)
    } else {
        let flags = Flags::SOLICITED.with(Flags::OVERRIDE);
        (said.unwrap_or(sender), source, flags)
    };
    let says = Advertisement {
        flags,
        target,
        mac: uplink.mac,
    };
    let answer = Answer {
        to_mac,
        to,
        source: target,
        says,
    };
    Ok(Heard::Asked { asker, answer })
}

/// Somebody says where it is.
fn advertised(
    uplink: &Uplink,
    ip: &Ipv6,
    flags: Flags,
    target: Ipv6Addr,
    said: Option<Mac>,
) -> Result<Heard, Reason> {
    // RFC 4861 §7.1.2: what is to many answers nobody. §7.2.5: without a MAC it is no use to who does not know one.
    let broken = ip.destination().is_multicast() && flags.has(Flags::SOLICITED);
    match said {
        Some(mac) if !broken && !mac.is_multicast() => Ok(Heard::Tell(Event::Neighbor {
            uplink: uplink.id,
            address: target.into(),
            mac,
            overrides: flags.has(Flags::OVERRIDE),
        })),
        _ => Err(Reason::UnderlayNd),
    }
}

/// Makes the frame the answer to what it asked; `None` where there is no room for that.
fn write<F: Frame>(uplink: &Uplink, at: usize, answer: &Answer, frame: &mut F) -> Option<()> {
    let message = answer.says.octets(answer.source, answer.to);
    let ip = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_length: message.len() as u16,
        next_header: IpProtocol::ICMPV6,
        hop_limit: nd::HOP_LIMIT,
        source: answer.source,
        destination: answer.to,
    };
    // A question is at least 24 bytes behind its IPv6 header; the 8 that an answer is longer by are headroom's.
    frame.truncate(at);
    if !frame.trim_front(at) {
        return None;
    }
    let body = frame.prepend::<{ ipv6::HEADER + nd::NEIGHBOR_LEN }>()?;
    let (header, rest) = body.split_first_chunk_mut::<{ ipv6::HEADER }>()?;
    ip.write(header);
    rest.copy_from_slice(&message);
    let ethernet = frame.prepend::<14>()?;
    let [d0, d1, d2, d3, d4, d5] = answer.to_mac.octets();
    let [s0, s1, s2, s3, s4, s5] = uplink.mac.octets();
    *ethernet = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, 0x86, 0xdd];
    frame.clear_vlan();
    if let Some(vlan) = uplink.vlan
        && !parse::tag(frame, vlan)
    {
        return None;
    }
    frame.set_l4_checksum(L4Checksum::Unknown);
    frame.note(|| Step::Answered {
        address: answer.says.target.into(),
        mac: answer.says.mac,
    });
    Some(())
}
