//! What differs between IPv4 and IPv6 for the router and for what it says: one router, two families.

use crate::frame::Frame;
use crate::icmp_error::{self, Problem, TTL};
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_tables::domain::{Address, Domain, GATEWAY_LINK_LOCAL, GATEWAY_MAC, Reach};
use weir_tables::endpoints::{Destination, Record, record_key, record6_key};
use weir_tables::ids::DomainId;
use weir_tables::reason::Reason;
use weir_tables::view::{Segment, View, Vnic};
use weir_wire::{EtherType, IpProtocol, Mac, checksum, icmp, icmp6, ipv4, ipv6};

/// A family of addresses, by the Ethernet frames that carry it.
pub trait Family {
    /// Its addresses.
    type Address: Address;

    /// What a routing domain has of it.
    fn reach(domain: &Domain) -> &Reach<Self::Address>;
    /// The gateway's address by which a machine with this address knows it, in its own subnet: of several, the nearest.
    fn gateway(segment: &Segment, near: Self::Address) -> Option<Self::Address>;
    /// Whether an address is the gateway's in this subnet.
    fn is_gateway(segment: &Segment, address: Self::Address) -> bool;
    /// Who has an address of the routing domain. Whether the record is of that domain is left to look at
    /// ([`Segment::domain`]).
    fn record(view: &View, domain: &Domain, address: Self::Address) -> Option<Record>;
    /// What is asked of the store about an address of a routing domain.
    fn wanted(domain: DomainId, address: Self::Address) -> Destination;
    /// Where a frame comes from. The guard has seen that it has a header.
    fn source(head: &[u8]) -> Self::Address;
    /// Where a frame goes.
    fn destination(head: &[u8]) -> Self::Address;
    /// Whether an address is one host's that may be elsewhere.
    fn is_routable(address: Self::Address) -> bool;
    /// Whether an address is the gateway's in every subnet.
    fn is_everywhere(address: Self::Address) -> bool;
    /// Whether a router may read on.
    fn is_sound(head: &[u8]) -> bool;
    /// The time to live, or hop limit.
    fn ttl(head: &[u8]) -> u8;
    /// Takes a frame a hop on, to `mac`; or says why it must not, and changes nothing.
    fn hop(head: &mut [u8], mac: Mac) -> Result<(), (Problem, Reason)>;
    /// Makes an echo to the gateway its reply. `None`, and nothing changed, if it is none, or a fragment.
    fn echo_reply(head: &mut [u8]) -> Option<()>;
    /// What a frame carries; `None` of a later fragment.
    fn upper(head: &[u8]) -> Option<IpProtocol>;
    /// Whether its sender may be told of a problem with it.
    fn deserves<F: Frame>(frame: &F, problem: Problem) -> bool;
    /// Makes a frame the error about it, and says of which type and code that is; `None` where there is no room for it.
    fn complain<F: Frame>(
        view: &View,
        to: &Vnic,
        problem: Problem,
        frame: &mut F,
    ) -> Option<(u8, u8)>;
}

/// IPv4.
pub enum V4 {}

/// IPv6.
pub enum V6 {}

/// The Ethernet header towards `mac`, from the gateway.
pub fn ethernet(mac: [u8; 6], ethertype: EtherType) -> [u8; 14] {
    let [d0, d1, d2, d3, d4, d5] = mac;
    let [s0, s1, s2, s3, s4, s5] = GATEWAY_MAC.octets();
    let [t0, t1] = ethertype.0.to_be_bytes();
    [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
}

/// Sends a frame back to the MAC that it came from, as from the gateway.
fn send_back(ethernet: &mut [u8; 14]) {
    let [d @ .., s0, s1, s2, s3, s4, s5, _, _] = ethernet;
    *d = [*s0, *s1, *s2, *s3, *s4, *s5];
    [*s0, *s1, *s2, *s3, *s4, *s5] = GATEWAY_MAC.octets();
}

impl Family for V4 {
    type Address = Ipv4Addr;

    fn reach(domain: &Domain) -> &Reach<Ipv4Addr> {
        &domain.v4
    }

    fn gateway(segment: &Segment, near: Ipv4Addr) -> Option<Ipv4Addr> {
        let apart = |gateway: &Ipv4Addr| u32::from(*gateway) ^ u32::from(near);
        segment.gateways.iter().copied().min_by_key(apart)
    }

    fn is_gateway(segment: &Segment, address: Ipv4Addr) -> bool {
        segment.gateways.contains(&address)
    }

    fn record(view: &View, domain: &Domain, address: Ipv4Addr) -> Option<Record> {
        let found = view.records.get(record_key(domain.id, address));
        found.and_then(Record::unpack)
    }

    fn wanted(domain: DomainId, address: Ipv4Addr) -> Destination {
        Destination::V4(domain, address)
    }

    #[inline(always)]
    fn source(head: &[u8]) -> Ipv4Addr {
        octets::<4>(head, 26).into()
    }

    #[inline(always)]
    fn destination(head: &[u8]) -> Ipv4Addr {
        octets::<4>(head, 30).into()
    }

    fn ttl(head: &[u8]) -> u8 {
        head.get(22).copied().unwrap_or_default()
    }

    fn is_routable(address: Ipv4Addr) -> bool {
        !icmp_error::is_martian(address)
    }

    fn is_everywhere(_: Ipv4Addr) -> bool {
        false
    }

    /// RFC 1812 §5.2.2: a router verifies the header's checksum.
    #[inline(always)]
    fn is_sound(head: &[u8]) -> bool {
        let l3 = head.get(14..).unwrap_or_default();
        let header_len = l3.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        checksum::sum(l3.get(..header_len).unwrap_or_default()) == 0xffff
    }

    #[inline(always)]
    fn hop(head: &mut [u8], mac: Mac) -> Result<(), (Problem, Reason)> {
        const EXPIRED: (Problem, Reason) = (Problem::HopLimit, Reason::TtlExpired);
        let (to, l3) = head.split_first_chunk_mut::<14>().ok_or(EXPIRED)?;
        let ip = l3.first_chunk_mut::<{ ipv4::HEADER }>();
        ip.and_then(ipv4::decrement_ttl).ok_or(EXPIRED)?;
        *to = ethernet(mac.octets(), EtherType::IPV4);
        Ok(())
    }

    /// RFC 792.
    fn echo_reply(head: &mut [u8]) -> Option<()> {
        let (ethernet, l3) = head.split_first_chunk_mut::<14>()?;
        let ip = *l3.first_chunk::<{ ipv4::HEADER }>()?;
        let header_len = usize::from(ip[0] & 0x0f) * 4;
        if ip[9] != IpProtocol::ICMP.0 || u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 {
            return None;
        }
        let message = l3.get_mut(header_len..)?.first_chunk_mut()?;
        if !icmp::make_echo_reply(message) {
            return None;
        }
        let header = l3.first_chunk_mut::<{ ipv4::HEADER }>()?;
        ipv4::swap_addresses(header);
        ipv4::set_ttl(header, TTL);
        send_back(ethernet);
        Some(())
    }

    fn upper(head: &[u8]) -> Option<IpProtocol> {
        head.get(23).copied().map(IpProtocol)
    }

    fn deserves<F: Frame>(frame: &F, problem: Problem) -> bool {
        icmp_error::v4::deserves(frame, problem)
    }

    fn complain<F: Frame>(
        view: &View,
        to: &Vnic,
        problem: Problem,
        frame: &mut F,
    ) -> Option<(u8, u8)> {
        icmp_error::v4::write(view, to, problem, frame)
    }
}

/// fe80::/10 (RFC 4291 §2.5.6): of one link, which no router forwards from or to.
pub fn is_link_local(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local()
}

impl Family for V6 {
    type Address = Ipv6Addr;

    fn reach(domain: &Domain) -> &Reach<Ipv6Addr> {
        &domain.v6
    }

    fn gateway(segment: &Segment, near: Ipv6Addr) -> Option<Ipv6Addr> {
        // RFC 6724 §5, rules 2 and 8: of the destination's scope, then the longest prefix in common.
        if is_link_local(near) {
            return Some(GATEWAY_LINK_LOCAL);
        }
        let apart = |gateway: &Ipv6Addr| u128::from(*gateway) ^ u128::from(near);
        let gateways = segment.gateways6.iter().map(|own| own.address);
        // A subnet without a prefix has a gateway all the same, to say what does not fit.
        gateways.min_by_key(apart).or(Some(GATEWAY_LINK_LOCAL))
    }

    fn is_gateway(segment: &Segment, address: Ipv6Addr) -> bool {
        let mut own = segment.gateways6.iter();
        match Self::is_everywhere(address) {
            true => own.next().is_some(),
            false => own.any(|own| own.address == address),
        }
    }

    fn record(view: &View, domain: &Domain, address: Ipv6Addr) -> Option<Record> {
        let found = view.records6.get(record6_key(domain.tag, address));
        found.and_then(Record::unpack)
    }

    fn wanted(domain: DomainId, address: Ipv6Addr) -> Destination {
        Destination::V6(domain, address)
    }

    #[inline(always)]
    fn source(head: &[u8]) -> Ipv6Addr {
        octets::<16>(head, 22).into()
    }

    #[inline(always)]
    fn destination(head: &[u8]) -> Ipv6Addr {
        octets::<16>(head, 38).into()
    }

    fn ttl(head: &[u8]) -> u8 {
        head.get(21).copied().unwrap_or_default()
    }

    fn is_routable(address: Ipv6Addr) -> bool {
        !address.is_multicast()
            && !is_link_local(address)
            && !address.is_loopback()
            && !address.is_unspecified()
    }

    fn is_everywhere(address: Ipv6Addr) -> bool {
        address == GATEWAY_LINK_LOCAL
    }

    #[inline(always)]
    fn is_sound(_: &[u8]) -> bool {
        true
    }

    #[inline(always)]
    fn hop(head: &mut [u8], mac: Mac) -> Result<(), (Problem, Reason)> {
        let source = Self::source(head);
        // RFC 4291 §2.5.6 and §2.5.2; RFC 4443 §3.1.
        if is_link_local(source) || source.is_unspecified() {
            return Err((Problem::Scope, Reason::LinkLocal));
        }
        // RFC 8200 §3: what arrives with 0, or would leave with it, is discarded.
        match head.get_mut(21) {
            Some(hops @ 2..) => *hops -= 1,
            _ => return Err((Problem::HopLimit, Reason::TtlExpired)),
        }
        if let Some(to) = head.first_chunk_mut::<14>() {
            *to = ethernet(mac.octets(), EtherType::IPV6);
        }
        Ok(())
    }

    /// RFC 4443 §4.2.
    fn echo_reply(head: &mut [u8]) -> Option<()> {
        let (ethernet, l3) = head.split_first_chunk_mut::<14>()?;
        let (protocol, message) = ipv6::upper_layer(l3)?;
        let at = l3.len().checked_sub(message.len())?;
        let message = l3.get_mut(at..)?.first_chunk_mut()?;
        if protocol != IpProtocol::ICMPV6 || !icmp6::make_echo_reply(message) {
            return None;
        }
        let header = l3.first_chunk_mut::<{ ipv6::HEADER }>()?;
        ipv6::swap_addresses(header);
        header[7] = TTL;
        send_back(ethernet);
        Some(())
    }

    fn upper(head: &[u8]) -> Option<IpProtocol> {
        let upper = ipv6::walk(head.get(14..)?).ok()?;
        (!upper.is_later_fragment).then_some(upper.protocol)
    }

    fn deserves<F: Frame>(frame: &F, problem: Problem) -> bool {
        icmp_error::v6::deserves(frame, problem)
    }

    fn complain<F: Frame>(
        view: &View,
        to: &Vnic,
        problem: Problem,
        frame: &mut F,
    ) -> Option<(u8, u8)> {
        icmp_error::v6::write(view, to, problem, frame)
    }
}

/// So many bytes from there on; zeroes where there are fewer.
#[inline(always)]
fn octets<const N: usize>(head: &[u8], at: usize) -> [u8; N] {
    let octets = head.get(at..).and_then(|rest| rest.first_chunk::<N>());
    octets.copied().unwrap_or([0; N])
}
