//! Neighbour discovery of tenants (RFC 4861), as ARP is: questions are answered from the records, and a question for
//! routers by the subnet's gateway. What is answered here goes no further.

use crate::family::{Family, V6};
use crate::frame::{Frame, L4Checksum};
use crate::slow::mac_of;
use crate::watch::Step;
use arrayvec::ArrayVec;
use std::net::Ipv6Addr;
use weir_tables::domain::{GATEWAY_LINK_LOCAL, GATEWAY_MAC};
use weir_tables::reason::Reason;
use weir_tables::view::{Identity, View, Vnic};
use weir_wire::icmp6::{self, Icmp6};
use weir_wire::ipv6::{self, Ipv6};
use weir_wire::nd::{
    Advertisement, Flags, HOP_LIMIT, Message, NEIGHBOR_LEN, NdOption, Options, Prefix, Router,
    RouterAdvertisement,
};
use weir_wire::{EtherType, IpProtocol, Mac};

/// All nodes of the link (RFC 4291 §2.7.1), and the MAC that they listen to (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac::new([0x33, 0x33, 0, 0, 0, 1]);

/// Before the ICMPv6 message.
const BEFORE: usize = 14 + ipv6::HEADER;

/// Prefixes that a router advertisement has room for before the question that it is written over. What is not said to be
/// on the link is reached by way of the gateway.
const PREFIXES: usize = 2;

/// Whether the sender of a neighbour discovery message is the vNIC: each Ethernet address in it, and the address that an
/// advertisement is about. RFC 7113: behind extension headers too; RFC 6980: never in fragments. `l3` is an IPv6 packet
/// that the guard has let pass so far.
#[inline(never)]
pub fn admit(who: &Identity, l3: &[u8]) -> Result<(), Reason> {
    let upper = ipv6::walk(l3).map_err(|_| Reason::Malformed)?;
    if upper.protocol != IpProtocol::ICMPV6 || upper.is_later_fragment {
        return Ok(());
    }
    let kind = *upper.payload.first().ok_or(Reason::Malformed)?;
    if !(icmp6::ROUTER_SOLICITATION..=icmp6::NEIGHBOR_ADVERTISEMENT).contains(&kind) {
        return Ok(());
    }
    if upper.is_fragment {
        return Err(Reason::Malformed);
    }
    let own = |options: Options| {
        options.iter().all(|option| match option {
            NdOption::SourceLinkLayer(mac) | NdOption::TargetLinkLayer(mac) => who.has_mac(mac),
            _ => true,
        })
    };
    let honest = match message(l3).ok_or(Reason::Malformed)?.1 {
        Message::NeighborAdvertisement {
            target, options, ..
        } => own(options) && who.has_v6(target),
        Message::NeighborSolicitation { options, .. }
        | Message::RouterSolicitation { options }
        | Message::RouterAdvertisement { options, .. } => own(options),
    };
    if honest {
        Ok(())
    } else {
        Err(Reason::SpoofedArp)
    }
}

/// A neighbour discovery message and what is around it.
fn message(l3: &[u8]) -> Option<(Ipv6<'_>, Message<'_>)> {
    let ip = Ipv6::parse(l3).ok()?;
    let upper = ip.upper().ok()?;
    if upper.protocol != IpProtocol::ICMPV6 || upper.is_fragment {
        return None;
    }
    let message = Icmp6::parse(upper.payload).ok()?;
    Some((ip, Message::parse(&message).ok()?))
}

/// The same, if it is a question that a node must look at (RFC 4861 §6.1.1, §7.1.1).
fn question(l3: &[u8]) -> Option<(Ipv6<'_>, Message<'_>)> {
    let (ip, asked) = message(l3)?;
    let icmp = Icmp6::parse(ip.upper().ok()?.payload).ok()?;
    let valid =
        ip.hop_limit() == HOP_LIMIT && icmp.checksum_is_right(ip.source(), ip.destination());
    valid.then_some((ip, asked))
}

/// Turns a neighbour's or router's solicitation into its answer, in place, if there is one. Never for the asker's own
/// address: duplicate address detection (RFC 4862 §5.4) would find the asker.
pub fn answer<F: Frame>(view: &View, from: &Vnic, frame: &mut F) -> bool {
    let head = frame.head();
    let Some(&asker) = head.get(6..).and_then(|rest| rest.first_chunk::<6>()) else {
        return false;
    };
    let asker = Mac::new(asker);
    let Some((ip, asked)) = question(head.get(14..).unwrap_or_default()) else {
        return false;
    };
    let source = ip.source();
    match asked {
        Message::NeighborSolicitation { target, .. } => {
            neighbor(view, from, asker, source, target, frame).is_some()
        }
        Message::RouterSolicitation { .. } => router(view, from, asker, source, frame).is_some(),
        _ => false,
    }
}

/// The address that a neighbour solicitation asks for, if that is another's.
pub fn wanted<F: Frame>(from: &Vnic, frame: &F) -> Option<Ipv6Addr> {
    let (ip, asked) = question(frame.head().get(14..)?)?;
    match asked {
        Message::NeighborSolicitation { target, .. } if is_open(from, ip.source(), target) => {
            Some(target)
        }
        _ => None,
    }
}

fn is_open(from: &Vnic, source: Ipv6Addr, target: Ipv6Addr) -> bool {
    target != source && !from.identity.v6.contains(&target)
}

/// Where the answer to a question goes. Who has no address yet hears it as one of all nodes (RFC 4861 §6.2.6, §7.2.4).
fn asker_of(asker: Mac, source: Ipv6Addr) -> (Mac, Ipv6Addr) {
    if source.is_unspecified() {
        (ALL_NODES_MAC, ALL_NODES)
    } else {
        (asker, source)
    }
}

/// RFC 4861 §7.2.4.
fn neighbor<F: Frame>(
    view: &View,
    from: &Vnic,
    asker: Mac,
    source: Ipv6Addr,
    target: Ipv6Addr,
    frame: &mut F,
) -> Option<()> {
    if !is_open(from, source, target) {
        return None;
    }
    let mac = mac_of::<V6>(view, from, target)?;
    let mut flags = Flags::OVERRIDE;
    if !source.is_unspecified() {
        flags = flags.with(Flags::SOLICITED);
    }
    // A rewritten one elsewhere is reached by the gateway's MAC, and is none.
    let is_router = |segment| V6::is_gateway(segment, target);
    if view.segment(from.segment).is_some_and(is_router) {
        flags = flags.with(Flags::ROUTER);
    }
    let answer = Advertisement { flags, target, mac };
    let (to, destination) = asker_of(asker, source);
    let octets = answer.octets(target, destination);
    let body = write(frame, (to, mac), (destination, target), NEIGHBOR_LEN)?;
    body.copy_from_slice(&octets);
    answered(frame, target, mac);
    Some(())
}

/// RFC 4861 §6.2.6, in answer only. The lifetimes are for ever, since nothing renews them: the gateway is there as long as
/// the subnet.
fn router<F: Frame>(
    view: &View,
    from: &Vnic,
    asker: Mac,
    source: Ipv6Addr,
    frame: &mut F,
) -> Option<()> {
    let segment = view.segment(from.segment)?;
    let mut prefixes = ArrayVec::<Prefix, PREFIXES>::new();
    for own in segment.gateways6.iter().take(PREFIXES) {
        prefixes.push(Prefix {
            prefix: own.network(),
            length: own.length,
            on_link: true,
            // A vNIC's addresses are those of the policy, not made up.
            autonomous: false,
            valid: u32::MAX,
            preferred: u32::MAX,
        });
    }
    if prefixes.is_empty() {
        return None;
    }
    let answer = Router {
        router: RouterAdvertisement {
            hop_limit: crate::icmp_error::TTL,
            managed: false,
            other: false,
            lifetime: u16::MAX,
            reachable: 0,
            retransmit: 0,
        },
        mac: GATEWAY_MAC,
        for_ever: true,
        prefixes: &prefixes,
    };
    let (to, destination) = asker_of(asker, source);
    let addresses = (destination, GATEWAY_LINK_LOCAL);
    let body = write(frame, (to, GATEWAY_MAC), addresses, answer.len())?;
    answer.write(GATEWAY_LINK_LOCAL, destination, body)?;
    answered(frame, GATEWAY_LINK_LOCAL, GATEWAY_MAC);
    Some(())
}

fn answered<F: Frame>(frame: &F, address: Ipv6Addr, mac: Mac) {
    frame.note(|| Step::Answered {
        address: address.into(),
        mac,
    });
}

/// Writes the headers of an ICMPv6 message of `length` bytes over the frame; what is left to write is the message.
/// (destination, source) of either layer. `None`, and nothing changed, without room.
fn write<F: Frame>(
    frame: &mut F,
    (to, from): (Mac, Mac),
    (destination, source): (Ipv6Addr, Ipv6Addr),
    length: usize,
) -> Option<&mut [u8]> {
    if !resize(frame, BEFORE + length) {
        return None;
    }
    frame.set_l4_checksum(L4Checksum::Unknown);
    let (ethernet, rest) = frame.head_mut().split_first_chunk_mut::<14>()?;
    let (ip, rest) = rest.split_first_chunk_mut::<{ ipv6::HEADER }>()?;
    let [d0, d1, d2, d3, d4, d5] = to.octets();
    let [s0, s1, s2, s3, s4, s5] = from.octets();
    let [t0, t1] = EtherType::IPV6.0.to_be_bytes();
    *ethernet = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1];
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_length: length as u16,
        next_header: IpProtocol::ICMPV6,
        hop_limit: HOP_LIMIT,
        source,
        destination,
    };
    header.write(ip);
    rest.get_mut(..length)
}

/// Makes a frame one segment of so many bytes, whatever they are. `false`, and nothing changed, without room before it.
fn resize<F: Frame>(frame: &mut F, length: usize) -> bool {
    let before = frame.head().len();
    while frame.head().len() < length {
        if frame.prepend::<32>().is_none() {
            let grown = frame.head().len() - before;
            frame.trim_front(grown);
            return false;
        }
    }
    frame.truncate(length);
    true
}
