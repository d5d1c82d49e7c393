//! What a plan has of other hosts: the ways to those that members' networks have something behind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weir_tables::view::Carriage;

use super::{CustomerPlan, PeerPlan, Plan};
use crate::config::fields::Name;
use crate::config::host::{HostConfig, Uplink};
use crate::policy::{Policy, VnicRef};
use crate::stats::PolicyError;

impl Plan {
    /// The provider multicast groups of virtual subnets with members here: a way to each, in the place of its hosts, by the first
    /// uplink with an IPv4 address. Refused where there is none.
    pub(super) fn add_groups(&mut self, policy: &Policy, here: &HostConfig) -> Vec<PolicyError> {
        let mut uplinks = here.uplinks.iter().enumerate();
        let way = uplinks.find_map(|(uplink, config)| Some((uplink, config.v4().next()?)));
        let mut refused = Vec::new();
        for (key, segment) in &mut self.segments {
            let Some(group) = segment.to_many.group.filter(|_| !segment.local.is_empty()) else {
                continue;
            };
            let Some((uplink, source)) = way else {
                let subnet = policy
                    .subnets
                    .values()
                    .find(|subnet| subnet.segment == *key);
                let Some(subnet) = subnet else { continue };
                let object = format!("subnet {}", subnet.name);
                let problem =
                    "multicast_group: no uplink of this host has an IPv4 provider address";
                let mend = "take it out, so that a copy goes to each host, or give an uplink an IPv4 address";
                refused.push(policy.refusal(subnet.line, &object, problem, mend));
                continue;
            };
            self.groups.insert((uplink, group));
            if let Some(domain) = self.domains.get_mut(&segment.network) {
                domain.uplinks.add(uplink);
            }
            if segment.peers.is_empty() {
                continue;
            }
            segment.peers = [group.into()].into();
            let peer = PeerPlan {
                uplink,
                source: source.into(),
                next_hop: group.into(),
                ecn: policy.hosts.values().all(|host| host.ecn),
            };
            self.peers.insert(group.into(), peer);
        }
        refused
    }

    /// The vNICs on other hosts: what they need besides their entries, which are counted. Those that no uplink reaches are
    /// returned, one for each address of theirs.
    pub(super) fn add_remote<'p>(
        &mut self,
        policy: &'p Policy,
        here: &HostConfig,
    ) -> BTreeMap<IpAddr, VnicRef<'p>> {
        let mut unreachable = BTreeMap::new();
        let mut met = Met::new(policy);
        for vnic in policy.vnics.iter() {
            let Some(subnet) = self.ways.subnet(vnic) else {
                continue;
            };
            let (carriage, segment) = (subnet.carriage, subnet.segment);
            let (has_members, network) = (subnet.has_members, subnet.network.clone());
            let is_here = self.ways.is_here(vnic);
            self.count(vnic, is_here);
            // Nearly all are as one before them was.
            let is_same = vnic.provider_addresses().is_empty() && carriage == Carriage::Nvgre;
            if is_here && carriage != Carriage::Rewrite || is_same && met.again(vnic) {
                continue;
            }
            if !is_here && carriage != Carriage::Bridged {
                let own = policy.tunnel_addresses(vnic, here);
                let Some(&first) = own.first() else {
                    continue;
                };
                let Some(pa) = own.into_iter().find(|pa| route(here, *pa).is_some()) else {
                    unreachable.entry(first).or_insert(vnic);
                    continue;
                };
                let ecn = policy.hosts.get(vnic.host()).is_none_or(|host| host.ecn);
                self.add_peer(pa, here, ecn, &network);
                let subnet = self.ways.subnet(vnic).cloned();
                let hosts = subnet.and_then(|subnet| self.behind(vnic, &subnet));
                let hosts = hosts.unwrap_or([pa, pa]);
                hosts
                    .into_iter()
                    .for_each(|pa| self.add_peer(pa, here, ecn, &network));
                if let Some(own) = self.segments.get_mut(&segment)
                    && has_members
                {
                    own.peers.extend(hosts);
                }
            }
            if carriage == Carriage::Rewrite {
                self.add_rewritten(vnic);
            }
        }
        unreachable
    }

    fn add_peer(&mut self, pa: IpAddr, here: &HostConfig, ecn: bool, network: &Name) {
        if let Some(peer) = route(here, pa) {
            self.leaves_by(network, peer.uplink);
            self.peers.insert(pa, PeerPlan { ecn, ..peer });
        }
    }

    fn count(&mut self, vnic: VnicRef<'_>, is_here: bool) {
        let Some(subnet) = self.ways.subnet(vnic) else {
            return;
        };
        let counts = &mut self.counts;
        let macs = 1 + vnic.allowed_macs().len();
        if is_here {
            counts.endpoints += macs;
        } else if subnet.has_members && subnet.carriage == Carriage::Nvgre {
            counts.endpoints += macs;
            counts.remote_endpoints += macs;
        }
        if subnet.carriage != Carriage::Bridged {
            for address in vnic.addresses() {
                match address {
                    IpAddr::V4(_) => counts.records += 1,
                    IpAddr::V6(_) => counts.records6 += 1,
                }
            }
        }
    }

    /// Whose the provider addresses of a vNIC are, of a subnet that is rewritten.
    fn add_rewritten(&mut self, vnic: VnicRef<'_>) {
        let Some(subnet) = self.ways.subnet(vnic).cloned() else {
            return;
        };
        let Some([v4, v6]) = self.places(vnic, &subnet) else {
            return;
        };
        for (ca, pa) in vnic.pairs() {
            let place = if ca.is_ipv6() { &v6 } else { &v4 };
            let customer = CustomerPlan {
                network: subnet.network.clone(),
                segment: subnet.segment,
                ca,
                place: place.clone(),
            };
            self.rewritten.insert(pa, customer);
        }
    }
}

/// Which hosts have been met as having members of which subnets.
struct Met {
    subnets: Vec<Vec<u64>>,
    words: usize,
}

impl Met {
    fn new(policy: &Policy) -> Met {
        Met {
            subnets: vec![Vec::new(); policy.vnics.subnets().len()],
            words: policy.vnics.hosts().len().div_ceil(64),
        }
    }

    /// Whether a vNIC of its subnet and of its host has been met before; it has from now on.
    fn again(&mut self, vnic: VnicRef<'_>) -> bool {
        let Some(hosts) = self.subnets.get_mut(vnic.subnet_index()) else {
            return false;
        };
        hosts.resize(self.words, 0);
        let (word, bit) = (vnic.host_index() / 64, 1 << (vnic.host_index() % 64));
        let Some(word) = hosts.get_mut(word) else {
            return false;
        };
        let before = *word & bit != 0;
        *word |= bit;
        before
    }
}

/// protocols.md, "Accepted from the wire": from a PA of a host in the policy.
pub(super) fn accepted(policy: &Policy, here: &HostConfig) -> BTreeSet<IpAddr> {
    let hosts = policy.hosts.values().filter(|host| host.name != here.name);
    // A vNIC is behind an address of its host, or behind one of its own.
    let named = policy.vnics.iter();
    let named = named.filter(|vnic| vnic.plain().is_none() && *vnic.host() != *here.name);
    let tunnels = named.flat_map(|vnic| policy.tunnel_addresses(vnic, here));
    hosts
        .flat_map(|host| host.provider_addresses.iter().copied())
        .chain(tunnels)
        .collect()
}

/// The way to `pa`: on the link of the first uplink whose prefix covers it, else by the first gateway of its family.
pub(super) fn route(here: &HostConfig, pa: IpAddr) -> Option<PeerPlan> {
    let on_link = |uplink: &Uplink, next_hop: IpAddr| uplink.source_to(next_hop);
    let uplinks = || here.uplinks.iter().enumerate();
    let direct = uplinks().find_map(|(uplink, config)| {
        let source = on_link(config, pa)?;
        Some(PeerPlan {
            uplink,
            source,
            next_hop: pa,
            ecn: true,
        })
    });
    direct.or_else(|| {
        uplinks().find_map(|(uplink, config)| {
            let next_hop = config.gateway(pa)?;
            let source = on_link(config, next_hop)?;
            Some(PeerPlan {
                uplink,
                source,
                next_hop,
                ecn: true,
            })
        })
    })
}
