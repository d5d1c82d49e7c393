//! Where the vNICs of a policy are, for this host, and what its workers' tables hold of each: worked out from the policy's
//! row whenever it is asked for, so that a plan of millions is no larger than one of ten.

use std::collections::HashMap;
use std::net::IpAddr;

use weir_tables::view::Carriage;
use weir_wire::Mac;

use super::local::macs;
use super::remote::route;
use super::{Place, Plan, RecordPlan, SegmentPlan};
use crate::config::fields::Name;
use crate::config::host::HostConfig;
use crate::policy::{Policy, SegmentKey, VnicRef};

/// By the hosts and the subnets that a policy's vNICs name ([`VnicRef::host_index`], [`VnicRef::subnet_index`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ways {
    /// Hosts.
    pub hosts: Vec<HostWay>,
    /// Subnets; `None` if no vNIC here may reach them.
    pub subnets: Vec<Option<SubnetWay>>,
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HostWay {
    /// It is this one.
    Here,
    /// Behind a provider address.
    Elsewhere {
        /// The first of its addresses that an uplink reaches.
        first: Option<IpAddr>,
        /// The first of IPv4, and of IPv6.
        of_family: [Option<IpAddr>; 2],
    },
}

/// What a subnet is for those who look for its vNICs.
#[derive(Clone, Debug, PartialEq)]
pub struct SubnetWay {
    /// Its VM network.
    pub network: Name,
    /// Its segment.
    pub segment: SegmentKey,
    /// How its packets travel between hosts.
    pub carriage: Carriage,
    /// Whether a vNIC here is in it.
    pub has_members: bool,
}

/// One entry of the workers' large tables.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'p> {
    /// Where a MAC of a segment is.
    Endpoint(SegmentKey, Mac, Place),
    /// Who has a customer address of a VM network.
    Record(&'p Name, IpAddr, RecordPlan),
}

/// How many entries there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// MACs of vNICs on other hosts.
    pub remote_endpoints: usize,
    /// All MACs.
    pub endpoints: usize,
    /// IPv4 customer addresses.
    pub records: usize,
    /// IPv6 customer addresses.
    pub records6: usize,
}

/// All entries by their keys: for a host that puts them into its tables one at a time, when they are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Where each MAC of the segments that have a member here is.
    pub endpoints: HashMap<(SegmentKey, Mac), Place>,
    /// Who has each customer address of the VM networks that have one.
    pub records: HashMap<(Name, IpAddr), RecordPlan>,
}

impl Ways {
    /// Those of `policy` on the host `here`, of which `segments` can be reached.
    pub(super) fn of(
        policy: &Policy,
        here: &HostConfig,
        segments: &std::collections::BTreeMap<SegmentKey, SegmentPlan>,
    ) -> Ways {
        let host = |name: &Name| {
            if *name == here.name {
                return HostWay::Here;
            }
            let own = policy.hosts.get(name);
            let own = own.map_or(&[][..], |host| &host.provider_addresses);
            let reached = |family: Option<bool>| {
                let mut own = own.iter().copied();
                own.find(|pa| {
                    family.is_none_or(|is_v6| pa.is_ipv6() == is_v6) && route(here, *pa).is_some()
                })
            };
            HostWay::Elsewhere {
                first: reached(None),
                of_family: [reached(Some(false)), reached(Some(true))],
            }
        };
        let subnet = |(name, _): &(Name, Name)| {
            let subnet = policy.subnets.get(name)?;
            let planned = segments.get(&subnet.segment)?;
            Some(SubnetWay {
                network: subnet.network.clone(),
                segment: subnet.segment,
                carriage: subnet.carriage(),
                has_members: !planned.local.is_empty(),
            })
        };
        Ways {
            hosts: policy.vnics.hosts().iter().map(host).collect(),
            subnets: policy.vnics.subnets().iter().map(subnet).collect(),
        }
    }

    /// What a vNIC's subnet is, if vNICs here may reach it.
    pub fn subnet(&self, vnic: VnicRef<'_>) -> Option<&SubnetWay> {
        self.subnets.get(vnic.subnet_index())?.as_ref()
    }

    /// Whether a vNIC is on this host.
    pub fn is_here(&self, vnic: VnicRef<'_>) -> bool {
        self.hosts.get(vnic.host_index()) == Some(&HostWay::Here)
    }
}

impl Plan {
    /// The entries of one vNIC of the policy that this plan is of; none if it is not for the vNICs here.
    pub fn entries<'p>(&'p self, vnic: VnicRef<'_>, mut each: impl FnMut(Entry<'p>)) {
        let Some(subnet) = self.ways.subnet(vnic) else {
            return;
        };
        let Some(places) = self.places(vnic, subnet) else {
            return;
        };
        let [first, _] = &places;
        // Between hosts, rewritten packets have no MACs.
        let by_mac = match first {
            Place::Local(_) => true,
            Place::Remote(_) => subnet.has_members && subnet.carriage != Carriage::Rewrite,
        };
        if by_mac {
            for mac in macs(vnic) {
                each(Entry::Endpoint(subnet.segment, mac, first.clone()));
            }
        }
        if subnet.carriage == Carriage::Bridged {
            return;
        }
        let is_rewritten = subnet.carriage == Carriage::Rewrite;
        let pa = |ca: IpAddr| {
            let mut pairs = vnic.pairs().filter(|_| is_rewritten);
            pairs.find(|(own, _)| *own == ca).map(|(_, pa)| pa)
        };
        for address in vnic.addresses() {
            let [v4, v6] = &places;
            let place = if address.is_ipv6() { v6 } else { v4 };
            let record = RecordPlan {
                segment: subnet.segment,
                mac: vnic.mac(),
                place: place.clone(),
                pa: pa(address),
            };
            each(Entry::Record(&subnet.network, address, record));
        }
    }

    /// Where a vNIC is, for its IPv4 and for its IPv6; they differ in a rewrite subnet alone. `None` if nobody here needs to know.
    pub(super) fn places(&self, vnic: VnicRef<'_>, subnet: &SubnetWay) -> Option<[Place; 2]> {
        if self.ways.is_here(vnic) {
            vnic.attach()?;
            let name: Name = vnic.name().into();
            return Some([Place::Local(name.clone()), Place::Local(name)]);
        }
        self.behind(vnic, subnet)
            .map(|hosts| hosts.map(Place::Remote))
    }

    /// The provider addresses that a vNIC on another host is behind, of those that this host has a way to.
    pub(super) fn behind(&self, vnic: VnicRef<'_>, subnet: &SubnetWay) -> Option<[IpAddr; 2]> {
        // Who is bridged elsewhere is found by the wire.
        if subnet.carriage == Carriage::Bridged {
            return None;
        }
        let is_rewritten = subnet.carriage == Carriage::Rewrite;
        if !is_rewritten && !vnic.provider_addresses().is_empty() {
            let mut own = vnic.provider_addresses().iter().copied();
            let own = own.find(|pa| self.peers.contains_key(pa))?;
            return Some([own, own]);
        }
        let way = self.ways.hosts.get(vnic.host_index());
        let Some(&HostWay::Elsewhere { first, of_family }) = way else {
            return None;
        };
        let first = first?;
        if !is_rewritten {
            return Some([first, first]);
        }
        // Its packets travel in their own family, by that family's next hop.
        let [v4, v6] = of_family;
        let own = |is_v6: bool, pa: Option<IpAddr>| {
            let mut addresses = vnic.addresses();
            pa.filter(|_| addresses.any(|ca| ca.is_ipv6() == is_v6))
        };
        Some([
            own(false, v4).unwrap_or(first),
            own(true, v6).unwrap_or(first),
        ])
    }

    /// Where a vNIC is by its MAC, as far as vNICs here need to know.
    pub fn place_of(&self, vnic: VnicRef<'_>) -> Option<Place> {
        let mut found = None;
        self.entries(vnic, |entry| match entry {
            Entry::Endpoint(_, mac, place) if mac == vnic.mac() => found = Some(place),
            _ => {}
        });
        found
    }
}

impl Known {
    /// Those of `plan`, which is of `policy`.
    pub fn of(plan: &Plan, policy: &Policy) -> Known {
        let mut known = Known::default();
        for vnic in policy.vnics.iter() {
            plan.entries(vnic, |entry| match entry {
                Entry::Endpoint(segment, mac, place) => {
                    known.endpoints.insert((segment, mac), place);
                }
                Entry::Record(network, address, record) => {
                    known.records.insert((network.clone(), address), record);
                }
            });
        }
        known
    }
}
