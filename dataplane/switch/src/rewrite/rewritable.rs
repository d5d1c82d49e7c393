//! What differs between IPv4 and IPv6 where addresses are rewritten.

use super::arrival;
use crate::family::{Family, V4, V6};
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::Outlet;
use crate::path_mtu::{self, TooLong};
use crate::{BATCH, nd, provider_icmp6};
use arrayvec::ArrayVec;
use std::net::{Ipv4Addr, Ipv6Addr};
use weir_tables::addresses::Short;
use weir_tables::endpoints::{Customer, rewritten_key, rewritten6_key};
use weir_tables::view::{Identity, Uplink, View, Vnic};
use weir_wire::rewrite::{self, Change, REACH_V4, REACH_V6, Refusal};
use weir_wire::{EtherType, IpProtocol, icmp6, ipv6};

/// A family of addresses that is carried by rewriting.
pub trait Rewritable: Family {
    /// What its Ethernet frames say.
    const ETHERTYPE: EtherType;
    /// Its ICMP.
    const ICMP: IpProtocol;
    /// Bytes from the IP header on that a change of addresses may want to see.
    const REACH: usize;

    /// The address of a table's value; `None` of one that is in no snapshot.
    fn long(view: &View, short: Short) -> Option<Self::Address>;
    /// The provider address of a vNIC's customer address.
    fn pa(who: &Identity, ca: Self::Address) -> Option<Self::Address>;
    /// Whose provider addresses these are, at most a batch of them.
    fn customers(view: &View, pas: &[Self::Address], found: &mut [[u32; 3]; BATCH]);
    /// Whose one is.
    fn customer(view: &View, pa: Self::Address) -> Option<Customer>;
    /// Puts other addresses into a packet; see [`rewrite::ipv4`].
    fn rewrite(packet: &mut [u8], change: &Change<Self::Address>, un: bool) -> Result<(), Refusal>;
    /// Whether a packet is of its link alone and must not leave it, although it is to one host.
    fn is_of_link(head: &[u8]) -> bool;
    /// Makes such a packet its answer, if it is a question that a record answers.
    fn answer<F: Frame>(view: &View, from: &Vnic, frame: &mut F) -> bool;
    /// A router's word about a packet that did not fit.
    fn too_long(packet: &[u8]) -> Option<TooLong<Self::Address>>;
    /// Takes ICMP of the provider network to the provider address of `to`, whose IP header starts at `at`.
    fn hear<O: Outlet>(
        view: &View,
        ledger: &Ledger,
        uplink: &Uplink,
        to: Customer,
        at: usize,
        frame: O::Frame,
        out: &mut O,
    );
}

impl Rewritable for V4 {
    const ETHERTYPE: EtherType = EtherType::IPV4;
    const ICMP: IpProtocol = IpProtocol::ICMP;
    const REACH: usize = REACH_V4;

    #[inline(always)]
    fn long(_: &View, short: Short) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::from_bits(short.0))
    }

    #[inline(always)]
    fn pa(who: &Identity, ca: Ipv4Addr) -> Option<Ipv4Addr> {
        who.pa_v4(ca)
    }

    #[inline(always)]
    fn customers(view: &View, pas: &[Ipv4Addr], found: &mut [[u32; 3]; BATCH]) {
        let keys = pas.iter().map(|pa| rewritten_key(*pa)).take(BATCH);
        let keys: ArrayVec<u64, BATCH> = keys.collect();
        view.rewritten.get_batch(&keys, found);
    }

    fn customer(view: &View, pa: Ipv4Addr) -> Option<Customer> {
        Customer::unpack(view.rewritten.get(rewritten_key(pa))?)
    }

    #[inline(always)]
    fn rewrite(packet: &mut [u8], change: &Change<Ipv4Addr>, un: bool) -> Result<(), Refusal> {
        rewrite::ipv4(packet, change, un)
    }

    #[inline(always)]
    fn is_of_link(_: &[u8]) -> bool {
        false
    }

    fn answer<F: Frame>(_: &View, _: &Vnic, _: &mut F) -> bool {
        false
    }

    fn too_long(packet: &[u8]) -> Option<TooLong<Ipv4Addr>> {
        path_mtu::too_long4(packet)
    }

    fn hear<O: Outlet>(
        view: &View,
        ledger: &Ledger,
        uplink: &Uplink,
        to: Customer,
        at: usize,
        frame: O::Frame,
        out: &mut O,
    ) {
        path_mtu::hear_rewritten::<V4, O>(view, ledger, uplink, to, at, frame, out);
    }
}

impl Rewritable for V6 {
    const ETHERTYPE: EtherType = EtherType::IPV6;
    const ICMP: IpProtocol = IpProtocol::ICMPV6;
    const REACH: usize = REACH_V6;

    #[inline(always)]
    fn long(view: &View, short: Short) -> Option<Ipv6Addr> {
        view.addresses.get(short)
    }

    #[inline(always)]
    fn pa(who: &Identity, ca: Ipv6Addr) -> Option<Ipv6Addr> {
        who.pa_v6(ca)
    }

    #[inline(always)]
    fn customers(view: &View, pas: &[Ipv6Addr], found: &mut [[u32; 3]; BATCH]) {
        let keys = pas.iter().map(|pa| rewritten6_key(*pa)).take(BATCH);
        let keys: ArrayVec<[u64; 2], BATCH> = keys.collect();
        view.rewritten6.get_batch(&keys, found);
    }

    fn customer(view: &View, pa: Ipv6Addr) -> Option<Customer> {
        Customer::unpack(view.rewritten6.get(rewritten6_key(pa))?)
    }

    #[inline(always)]
    fn rewrite(packet: &mut [u8], change: &Change<Ipv6Addr>, un: bool) -> Result<(), Refusal> {
        rewrite::ipv6(packet, change, un)
    }

    /// Neighbour discovery (RFC 4861): its hop limit says that no router has had it, and it names MACs.
    #[inline(always)]
    fn is_of_link(head: &[u8]) -> bool {
        match head.get(20).copied().map(IpProtocol) {
            Some(IpProtocol::TCP | IpProtocol::UDP) => false,
            _ => is_discovery(head),
        }
    }

    fn answer<F: Frame>(view: &View, from: &Vnic, frame: &mut F) -> bool {
        nd::answer(view, from, frame)
    }

    fn too_long(packet: &[u8]) -> Option<TooLong<Ipv6Addr>> {
        path_mtu::too_long6(packet)
    }

    /// A neighbour asks by unicast too whether it is still there (RFC 4861 §7.3.1).
    fn hear<O: Outlet>(
        view: &View,
        ledger: &Ledger,
        uplink: &Uplink,
        to: Customer,
        at: usize,
        frame: O::Frame,
        out: &mut O,
    ) {
        let kind = frame.head().get(at + ipv6::HEADER).copied();
        if kind == Some(icmp6::NEIGHBOR_SOLICITATION) {
            return provider_icmp6::hear(view, ledger, uplink, at, frame, out);
        }
        path_mtu::hear_rewritten::<V6, O>(view, ledger, uplink, to, at, frame, out);
    }
}

#[inline(never)]
fn is_discovery(head: &[u8]) -> bool {
    let upper = ipv6::walk(head.get(14..).unwrap_or_default()).ok();
    let upper = upper.filter(|upper| upper.protocol == IpProtocol::ICMPV6);
    let kind = upper.and_then(|upper| match upper.is_later_fragment {
        true => None,
        false => upper.payload.first().copied(),
    });
    kind.is_some_and(|kind| (icmp6::ROUTER_SOLICITATION..=icmp6::REDIRECT).contains(&kind))
}

/// Whether this host answers for `pa` on this uplink: of a vNIC here, and of the uplink's link.
#[cold]
pub fn answers<F: Rewritable>(view: &View, uplink: &Uplink, pa: F::Address) -> bool {
    uplink.is_on_link(pa.into()) && F::customer(view, pa).is_some_and(arrival::is_here)
}
