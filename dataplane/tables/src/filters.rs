//! Which traffic class a frame is of: rules in order, of which the first that fits decides.
//!
//! *How it is asked:* each term that a rule may have is a table from what a frame has to the rules that would take that, as bits of
//! one word; their conjunction has the rules that fit, its lowest bit the first of them. So the cost is that of some loads, however
//! many rules there are (up to [`MOST`]); only prefixes of addresses are compared rule by rule, and only where all the rest fits.
//! The walk over a frame is `weir_switch::classes`.

use crate::bandwidth::ClassId;
use crate::ids::VnicId;

/// Rules that a switch may have.
pub const MOST: usize = 64;

/// A set of rules, by their places.
pub type Rules = u64;

/// IP protocols with ports as their first four bytes: TCP, UDP, SCTP (RFC 9260 §3.1).
pub const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// A prefix of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Net {
    /// IPv4: network, mask.
    V4(u32, u32),
    /// IPv6.
    V6(u128, u128),
}

/// Source and destination of a packet, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4.
    V4(u32, u32),
    /// IPv6.
    V6(u128, u128),
}

/// What a frame has to have to be of a class: every term that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The class that it is of then.
    pub class: ClassId,
    /// One of these vNICs sends it.
    pub vnics: Option<Box<[VnicId]>>,
    /// Its EtherType, behind a tag if there is one.
    pub ethertype: Option<u16>,
    /// The priority in its tag, 0 to 7. What is untagged has none.
    pub pcp: Option<u8>,
    /// Its DSCP (RFC 2474), 0 to 63.
    pub dscp: Option<u8>,
    /// One of these IP protocols (behind IPv6's extension headers); empty: it need be no IP.
    pub protocols: Box<[u8]>,
    /// Its source or its destination port. With a port, protocols are of [`WITH_PORTS`].
    pub port: Option<u16>,
    /// Its source port.
    pub source_port: Option<u16>,
    /// Its destination port.
    pub destination_port: Option<u16>,
    /// Its source address.
    pub source: Option<Net>,
    /// Its destination address.
    pub destination: Option<Net>,
}

impl Rule {
    fn has_ports(&self) -> bool {
        self.port.is_some() || self.source_port.is_some() || self.destination_port.is_some()
    }

    fn has_addresses(&self) -> bool {
        self.source.is_some() || self.destination.is_some()
    }

    /// Whether it says something that only IP has.
    fn is_ip(&self) -> bool {
        self.dscp.is_some()
            || !self.protocols.is_empty()
            || self.has_ports()
            || self.has_addresses()
    }

    /// Whether its addresses are of this family, or none is said.
    fn is_of(&self, v4: bool) -> bool {
        let fits = |net: &Option<Net>| net.is_none_or(|net| matches!(net, Net::V4(..)) == v4);
        fits(&self.source) && fits(&self.destination)
    }

    /// Whether the addresses are among its own.
    fn takes(&self, addresses: Addresses) -> bool {
        let within = |net: Option<Net>, own: bool| match (net, addresses) {
            (None, _) => true,
            (Some(Net::V4(net, mask)), Addresses::V4(source, destination)) => {
                (if own { source } else { destination }) & mask == net
            }
            (Some(Net::V6(net, mask)), Addresses::V6(source, destination)) => {
                (if own { source } else { destination }) & mask == net
            }
            _ => false,
        };
        within(self.source, true) && within(self.destination, false)
    }
}

/// Which rules a port fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRules {
    source: Rules,
    destination: Rules,
    either: Rules,
}

/// Rules, ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filters {
    /// Those that look at the sender, by vNIC, in ascending order.
    vnics: Box<[(VnicId, Rules)]>,
    /// Those that any vNIC may fit.
    any_vnic: Rules,
    /// What frames of no vNIC are of: the switch's own.
    own: ClassId,
    v4: Rules,
    v6: Rules,
    /// By EtherType, of what is neither.
    others: Box<[(u16, Rules)]>,
    /// Of an EtherType that no rule names.
    other: Rules,
    /// By priority; the last is that of an untagged frame.
    pcp: [Rules; 9],
    dscp: [Rules; 64],
    protocol: [Rules; 256],
    with_ports: Rules,
    with_addresses: Rules,
    /// By the upper half of a port: which page has the lower half; 0: none, no rule names one of these ports.
    port_pages: [u8; 256],
    pages: Box<[[PortRules; 256]]>,
    /// Of a port that no rule names.
    unnamed: PortRules,
    rules: Box<[Rule]>,
}

impl Filters {
    /// Of these rules, the first before all others; those behind the first [`MOST`] are left out. `own` is the class of what the
    /// switch itself sends.
    pub fn of(rules: &[Rule], own: ClassId) -> Filters {
        let rules: Box<[Rule]> = rules.iter().take(MOST).cloned().collect();
        let those = |fits: &dyn Fn(&Rule) -> bool| -> Rules {
            let places = rules.iter().enumerate().filter(|(_, rule)| fits(rule));
            places.fold(0, |all, (place, _)| all | 1 << place)
        };
        let mut named: Vec<VnicId> = rules
            .iter()
            .flat_map(|r| r.vnics.iter().flatten().copied())
            .collect();
        named.sort_unstable();
        named.dedup();
        // A rule may name thousands of vNICs: by rule, not by vNIC.
        let any_vnic = those(&|rule| rule.vnics.is_none());
        let mut vnics: Box<[(VnicId, Rules)]> =
            named.into_iter().map(|id| (id, any_vnic)).collect();
        for (place, rule) in rules.iter().enumerate() {
            for id in rule.vnics.iter().flatten() {
                if let Ok(at) = vnics.binary_search_by_key(id, |entry| entry.0)
                    && let Some(entry) = vnics.get_mut(at)
                {
                    entry.1 |= 1 << place;
                }
            }
        }
        let of_type = |ethertype: u16, ip: &dyn Fn(&Rule) -> bool| {
            those(&|rule| {
                rule.ethertype.is_none_or(|own| own == ethertype) && (ip(rule) || !rule.is_ip())
            })
        };
        let mut types: Vec<u16> = rules.iter().filter_map(|rule| rule.ethertype).collect();
        types.sort_unstable();
        types.dedup();
        let mut filters = Filters {
            vnics,
            any_vnic,
            own,
            v4: of_type(0x0800, &|rule| rule.is_of(true)),
            v6: of_type(0x86dd, &|rule| rule.is_of(false)),
            others: types
                .into_iter()
                .map(|own| (own, of_type(own, &|_| false)))
                .collect(),
            other: those(&|rule| rule.ethertype.is_none() && !rule.is_ip()),
            pcp: [0; 9],
            dscp: [0; 64],
            protocol: [0; 256],
            with_ports: those(&Rule::has_ports),
            with_addresses: those(&Rule::has_addresses),
            port_pages: [0; 256],
            pages: [].into(),
            unnamed: PortRules {
                source: those(&|rule| rule.source_port.is_none()),
                destination: those(&|rule| rule.destination_port.is_none()),
                either: those(&|rule| rule.port.is_none()),
            },
            rules: [].into(),
        };
        for (pcp, place) in filters.pcp.iter_mut().enumerate() {
            *place = those(&|rule| rule.pcp.is_none_or(|own| usize::from(own) == pcp));
        }
        for (dscp, place) in filters.dscp.iter_mut().enumerate() {
            *place = those(&|rule| rule.dscp.is_none_or(|own| usize::from(own) == dscp));
        }
        for (protocol, place) in filters.protocol.iter_mut().enumerate() {
            let fits = |own: &u8| usize::from(*own) == protocol;
            *place = those(&|rule| rule.protocols.is_empty() || rule.protocols.iter().any(fits));
        }
        filters.name_ports(&rules);
        filters.rules = rules;
        filters
    }

    fn name_ports(&mut self, rules: &[Rule]) {
        let mut pages: Vec<[PortRules; 256]> = Vec::new();
        for (place, rule) in rules.iter().enumerate() {
            for (port, which) in [
                (rule.source_port, 0),
                (rule.destination_port, 1),
                (rule.port, 2),
            ] {
                let Some(port) = port else { continue };
                let [high, low] = port.to_be_bytes().map(usize::from);
                let Some(page) = self.port_pages.get_mut(high) else {
                    continue;
                };
                if *page == 0 {
                    pages.push([self.unnamed; 256]);
                    // 64 rules name 192 ports at most.
                    *page = pages.len() as u8;
                }
                let page = pages.get_mut(usize::from(*page) - 1);
                let Some(entry) = page.and_then(|page| page.get_mut(low)) else {
                    continue;
                };
                *match which {
                    0 => &mut entry.source,
                    1 => &mut entry.destination,
                    _ => &mut entry.either,
                } |= 1 << place;
            }
        }
        self.pages = pages.into();
    }

    /// The rules that frames of this vNIC may fit: asked once a batch. 0: none of them is of a class.
    #[inline]
    pub fn of_vnic(&self, id: VnicId) -> Rules {
        if self.vnics.is_empty() {
            return self.any_vnic;
        }
        let found = self.vnics.binary_search_by_key(&id, |entry| entry.0);
        let found = found.ok().and_then(|at| self.vnics.get(at));
        found.map_or(self.any_vnic, |entry| entry.1)
    }

    /// The class of what the switch itself sends by an uplink: ARP, neighbour discovery, memberships of groups.
    #[inline(always)]
    pub fn own(&self) -> ClassId {
        self.own
    }

    /// The rules that a priority fits.
    #[inline(always)]
    pub fn of_pcp(&self, pcp: Option<u8>) -> Rules {
        let place = pcp.map_or(8, |pcp| usize::from(pcp & 7));
        self.pcp.get(place).copied().unwrap_or(0)
    }

    /// The rules that IPv4 may fit.
    #[inline(always)]
    pub fn of_v4(&self) -> Rules {
        self.v4
    }

    /// The rules that IPv6 may fit.
    #[inline(always)]
    pub fn of_v6(&self) -> Rules {
        self.v6
    }

    /// The rules that a frame of another EtherType may fit, or one that says it is IP and is not.
    #[inline]
    pub fn of_other(&self, ethertype: u16) -> Rules {
        let found = self.others.iter().find(|entry| entry.0 == ethertype);
        found.map_or(self.other, |entry| entry.1)
    }

    /// The rules that a type of service, or a traffic class of IPv6, fits.
    #[inline(always)]
    pub fn of_tos(&self, tos: u8) -> Rules {
        self.dscp.get(usize::from(tos >> 2)).copied().unwrap_or(0)
    }

    /// The rules that an IP protocol fits.
    #[inline(always)]
    pub fn of_protocol(&self, protocol: u8) -> Rules {
        self.protocol
            .get(usize::from(protocol))
            .copied()
            .unwrap_or(0)
    }

    /// Whether one of these looks at ports.
    #[inline(always)]
    pub fn look_at_ports(&self, rules: Rules) -> bool {
        rules & self.with_ports != 0
    }

    /// The rules that a packet without ports may fit.
    #[inline(always)]
    pub fn of_no_ports(&self) -> Rules {
        !self.with_ports
    }

    /// The rules that ports fit.
    #[inline(always)]
    pub fn of_ports(&self, source: u16, destination: u16) -> Rules {
        let (from, to) = (self.port(source), self.port(destination));
        from.source & to.destination & (from.either | to.either)
    }

    #[inline(always)]
    fn port(&self, port: u16) -> &PortRules {
        let [high, low] = port.to_be_bytes().map(usize::from);
        let page = self.port_pages.get(high).copied().unwrap_or(0);
        let page = usize::from(page)
            .checked_sub(1)
            .and_then(|page| self.pages.get(page));
        page.and_then(|page| page.get(low)).unwrap_or(&self.unnamed)
    }

    /// Whether one of these looks at addresses.
    #[inline(always)]
    pub fn look_at_addresses(&self, rules: Rules) -> bool {
        rules & self.with_addresses != 0
    }

    /// The class of what fits these in all but their addresses, which are of one packet.
    pub fn first_with(&self, mut rules: Rules, addresses: Addresses) -> ClassId {
        while rules != 0 {
            match self.rules.get(rules.trailing_zeros() as usize) {
                Some(rule) if rule.takes(addresses) => return rule.class,
                _ => rules &= rules - 1,
            }
        }
        ClassId::NONE
    }

    /// The class of what fits these.
    #[inline(always)]
    pub fn first(&self, rules: Rules) -> ClassId {
        let first = self.rules.get(rules.trailing_zeros() as usize);
        first.map_or(ClassId::NONE, |rule| rule.class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(class: u8) -> Rule {
        Rule {
            class: ClassId(class),
            ..Rule::default()
        }
    }

    #[test]
    fn a_vnic_that_no_rule_names_may_fit_those_that_name_none() {
        let mut named = rule(1);
        named.vnics = Some([VnicId(7), VnicId(3)].into());
        let filters = Filters::of(&[named.clone(), rule(2)], ClassId::NONE);
        assert_eq!(filters.of_vnic(VnicId(3)), 0b11);
        assert_eq!(filters.of_vnic(VnicId(7)), 0b11);
        assert_eq!(filters.of_vnic(VnicId(4)), 0b10);
        let filters = Filters::of(&[named], ClassId(9));
        assert_eq!(filters.of_vnic(VnicId(4)), 0);
        assert_eq!(filters.own(), ClassId(9));
    }

    #[test]
    fn ports_in_both_directions_and_in_one() {
        let mut either = rule(1);
        either.port = Some(445);
        let mut to = rule(2);
        to.destination_port = Some(446);
        let mut both = rule(3);
        (both.source_port, both.destination_port) = (Some(1000), Some(445));
        let filters = Filters::of(&[either, to, both], ClassId::NONE);
        assert_eq!(filters.of_ports(445, 5000), 0b001);
        assert_eq!(filters.of_ports(5000, 445), 0b001);
        assert_eq!(filters.of_ports(445, 445), 0b001);
        assert_eq!(filters.of_ports(446, 5000), 0);
        assert_eq!(filters.of_ports(5000, 446), 0b010);
        assert_eq!(filters.of_ports(1000, 445), 0b101);
        assert_eq!(filters.of_ports(1000, 446), 0b010);
        assert_eq!(filters.of_no_ports(), !0b111);
    }

    #[test]
    fn what_says_ip_is_no_other_ethertype_and_a_prefix_is_of_one_family() {
        let mut fcoe = rule(1);
        fcoe.ethertype = Some(0x8906);
        let mut v4 = rule(2);
        v4.source = Some(Net::V4(0x0a00_0000, 0xff00_0000));
        let mut v6 = rule(3);
        v6.destination = Some(Net::V6(1 << 127, 1 << 127));
        let mut marked = rule(4);
        marked.dscp = Some(46);
        let any = rule(5);
        let filters = Filters::of(&[fcoe, v4, v6, marked, any], ClassId::NONE);
        assert_eq!(filters.of_v4(), 0b11010);
        assert_eq!(filters.of_v6(), 0b11100);
        assert_eq!(filters.of_other(0x8906), 0b10001);
        assert_eq!(filters.of_other(0x0806), 0b10000);
        assert_eq!(filters.of_tos(46 << 2 | 1), 0b11111);
        assert_eq!(filters.of_tos(45 << 2), 0b10111);
        let from = |address| Addresses::V4(address, 0);
        assert_eq!(filters.first_with(0b11010, from(0x0a01_0101)), ClassId(2));
        assert_eq!(filters.first_with(0b11010, from(0x0b01_0101)), ClassId(4));
        assert_eq!(filters.first_with(0b10, from(0x0b01_0101)), ClassId::NONE);
        assert_eq!(filters.first(0), ClassId::NONE);
        assert_eq!(filters.first(0b11000), ClassId(4));
    }

    #[test]
    fn as_many_rules_as_may_be_and_no_more() {
        let rules: Vec<Rule> = (0..80_u8)
            .map(|n| Rule {
                port: Some(u16::from(n) * 256),
                source_port: Some(u16::from(n) * 256 + 1),
                destination_port: Some(u16::from(n) * 256 + 2),
                ..rule(n + 1)
            })
            .collect();
        let filters = Filters::of(&rules, ClassId::NONE);
        for n in 0..80_u16 {
            let fits = filters.of_ports(n * 256 + 1, n * 256 + 2);
            assert_eq!(fits, 0, "neither is the port {n}");
        }
        assert_eq!(filters.with_ports, u64::MAX);
        assert_eq!(filters.rules.len(), MOST);
    }
}
