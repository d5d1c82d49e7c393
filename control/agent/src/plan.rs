//! What this host must hold for a policy to be true here: its own vNICs, and of everyone else's only what
//! those may reach. A plan is a value; the difference of two plans is what a transaction does.

mod bypass;
pub mod sharing;
mod ways;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weir_tables::domain::{Hop, Route};
use weir_tables::view::{Carriage, Gateway6, Identity};
use weir_wire::Mac;

use crate::config::fields::Name;
use crate::config::host::{HostConfig, Uplink};
use crate::iov::why::Why;
use crate::policy::{Attach, Bandwidth, Iov, Policy, SegmentKey, Subnet, ToMany, VnicRef};
use crate::stats::PolicyError;

pub use sharing::Sharing;
pub use ways::{Counts, Entry, HostWay, Known, SubnetWay, Ways};

/// Everything that workers of this host shall know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The VM networks that have a member here.
    pub domains: BTreeMap<Name, DomainPlan>,
    /// All segments of those.
    pub segments: BTreeMap<SegmentKey, SegmentPlan>,
    /// The vNICs here.
    pub vnics: BTreeMap<Name, VnicPlan>,
    /// Other hosts' provider addresses that members of those networks are behind.
    pub peers: BTreeMap<IpAddr, PeerPlan>,
    /// Provider multicast groups that this host listens to, by uplink, as its place in host.toml.
    pub groups: BTreeSet<(usize, Ipv4Addr)>,
    /// Provider addresses of all hosts of the policy but this: what is accepted from the wire.
    pub accepted: BTreeSet<IpAddr>,
    /// How each vNIC's entries in the large tables follow from the policy.
    pub ways: Ways,
    /// How many of those there are.
    pub counts: Counts,
    /// All of them by their keys, where they come when they are asked for.
    pub known: Option<Known>,
    /// Whose each provider address is that a vNIC of those networks has for itself.
    pub rewritten: HashMap<IpAddr, CustomerPlan>,
    /// Which vNIC each MAC or VLAN of a trunk is.
    pub trunked: HashMap<(Name, u64), Name>,
    /// How uplinks are shared.
    pub sharing: Sharing,
}

/// A VM network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DomainPlan {
    /// Its IPv4.
    pub v4: ReachPlan<Ipv4Addr>,
    /// Its IPv6.
    pub v6: ReachPlan<Ipv6Addr>,
}

/// What a VM network has of one family.
#[derive(Clone, Debug, PartialEq)]
pub struct ReachPlan<A> {
    /// The switch's own addresses in its subnets.
    pub gateways: Vec<A>,
    /// Its subnets' prefixes and its customer routes.
    pub routes: Vec<Route<A>>,
}

impl<A> Default for ReachPlan<A> {
    fn default() -> Self {
        ReachPlan {
            gateways: Vec::new(),
            routes: Vec::new(),
        }
    }
}

impl<A> ReachPlan<A> {
    fn add(&mut self, network: A, length: u8, metric: u32, hop: Hop<A>) {
        self.routes.push(Route {
            network,
            length,
            metric,
            hop,
        });
    }
}

/// Who has a customer address.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPlan {
    /// Its segment.
    pub segment: SegmentKey,
    /// Its MAC.
    pub mac: Mac,
    /// Where it is.
    pub place: Place,
    /// The provider address that stands for it, if its packets are rewritten.
    pub pa: Option<IpAddr>,
}

/// Whose a provider address is.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomerPlan {
    /// Its VM network.
    pub network: Name,
    /// Its segment.
    pub segment: SegmentKey,
    /// The customer address that it stands for.
    pub ca: IpAddr,
    /// Where its vNIC is.
    pub place: Place,
}

/// A segment: a virtual subnet, or a bridged VM network.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentPlan {
    /// Its VM network.
    pub network: Name,
    /// How its packets travel between hosts.
    pub carriage: Carriage,
    /// The switch's own IPv4 addresses in it.
    pub gateways: Vec<Ipv4Addr>,
    /// The same of IPv6.
    pub gateways6: Vec<Gateway6>,
    /// Members here.
    pub local: BTreeSet<Name>,
    /// Provider addresses that have members; or, if it has one, the group that stands for all of them.
    pub peers: BTreeSet<IpAddr>,
    /// How its broadcast and multicast travel.
    pub to_many: ToMany,
}

/// A vNIC here.
#[derive(Clone, Debug, PartialEq)]
pub struct VnicPlan {
    /// Its VM network.
    pub network: Name,
    /// Its segment.
    pub segment: SegmentKey,
    /// How its packets travel between hosts.
    pub carriage: Carriage,
    /// What it may send as.
    pub identity: Identity,
    /// Its port.
    pub attach: Attach,
    /// The VM's MTU in bytes, if it is written.
    pub mtu: Option<u16>,
    /// Whether its TCP handshakes say no larger segments than fit the way to another host.
    pub mss_clamp: bool,
    /// What it is promised and held to.
    pub bandwidth: Bandwidth,
    /// Whether it is the host's own.
    pub management: bool,
    /// What it asks of SR-IOV.
    pub iov: Iov,
    /// What of policy a VF would bypass, if it asks for one.
    pub barred: Option<Why>,
}

/// The way to another host's provider address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPlan {
    /// The uplink, as its place in host.toml.
    pub uplink: usize,
    /// This host's address there, of the peer's family.
    pub source: IpAddr,
    /// Who is asked by ARP or ND: the address itself, or the gateway.
    pub next_hop: IpAddr,
    /// Whether its host brings congestion marks of outer headers to inner ones.
    pub ecn: bool,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Local(Name),
    /// Behind another host's provider address.
    Remote(IpAddr),
}

impl Plan {
    /// The plan of `policy` for the host that `here` describes. Refused if a provider address is needed that no uplink reaches.
    pub fn of(policy: &Policy, here: &HostConfig) -> Result<Plan, Vec<PolicyError>> {
        let mut plan = Plan {
            accepted: accepted(policy, here),
            sharing: Sharing::of(policy),
            ..Plan::default()
        };
        let mut here_index = policy.vnics.hosts().iter();
        let here_index = here_index.position(|host| *host == here.name);
        let all = policy.vnics.iter();
        let local: Vec<VnicRef<'_>> = match here_index {
            Some(here) => all.filter(|vnic| vnic.host_index() == here).collect(),
            None => Vec::new(),
        };
        let here_too = local.iter().filter(|vnic| vnic.attach().is_some());
        let networks: BTreeSet<&str> = here_too.map(|vnic| vnic.network()).collect();
        plan.add_networks(policy, &networks);
        for vnic in local {
            let Some(subnet) = policy.subnets.get(vnic.subnet()) else {
                continue;
            };
            let network = policy.networks.get(vnic.network());
            plan.add_local(
                vnic,
                subnet,
                network.is_some_and(|network| network.mss_clamp),
                bypass::of(policy, vnic, subnet, here),
            );
        }
        plan.ways = Ways::of(policy, here, &plan.segments);
        let unreachable = plan.add_remote(policy, here);
        if here.pulling.on_miss {
            plan.known = Some(Known::of(&plan, policy));
        }
        let refused = plan.add_groups(policy, here);
        if unreachable.is_empty() && refused.is_empty() {
            return Ok(plan);
        }
        let refusals = unreachable.into_iter().map(|(pa, vnic)| {
            let object = format!("host {}", vnic.host());
            let problem = format!("no uplink of this host reaches its provider address {pa}");
            let mend = "give an uplink in host.toml a gateway, or a provider address whose prefix covers it";
            policy.refusal(vnic.line(), &object, &problem, mend)
        });
        Err(refusals.chain(refused).collect())
    }

    /// The provider multicast groups of virtual subnets with members here: a way to each, in the place of its hosts, by the first
    /// uplink with an IPv4 address. Refused where there is none.
    fn add_groups(&mut self, policy: &Policy, here: &HostConfig) -> Vec<PolicyError> {
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

    /// The VM networks with their subnets and routes; still without members.
    fn add_networks(&mut self, policy: &Policy, networks: &BTreeSet<&str>) {
        for subnet in policy
            .subnets
            .values()
            .filter(|s| networks.contains(&*s.network))
        {
            let domain = self.domains.entry(subnet.network.clone()).or_default();
            let (mut gateways, mut gateways6) = (Vec::new(), Vec::new());
            for (prefix, gateway) in subnet.prefixes.iter().zip(subnet.gateways()) {
                let length = prefix.prefix_len();
                match (prefix.network(), gateway) {
                    (IpAddr::V4(network), IpAddr::V4(gateway)) => {
                        gateways.push(gateway);
                        domain.v4.add(network, length, 0, Hop::Connected);
                    }
                    (IpAddr::V6(network), IpAddr::V6(address)) => {
                        gateways6.push(Gateway6 { address, length });
                        domain.v6.add(network, length, 0, Hop::Connected);
                    }
                    _ => {}
                }
            }
            domain.v4.gateways.extend(&gateways);
            let addresses = gateways6.iter().map(|gateway| gateway.address);
            domain.v6.gateways.extend(addresses);
            self.segments.insert(
                subnet.segment,
                SegmentPlan {
                    network: subnet.network.clone(),
                    carriage: subnet.carriage(),
                    gateways,
                    gateways6,
                    local: BTreeSet::new(),
                    peers: BTreeSet::new(),
                    to_many: subnet.to_many,
                },
            );
        }
        for route in &policy.routes {
            let Some(domain) = self.domains.get_mut(&route.network) else {
                continue;
            };
            let (length, metric) = (route.prefix.prefix_len(), route.metric);
            match (route.prefix.network(), route.via) {
                (IpAddr::V4(network), IpAddr::V4(via)) => {
                    domain.v4.add(network, length, metric, Hop::Via(via));
                }
                (IpAddr::V6(network), IpAddr::V6(via)) => {
                    domain.v6.add(network, length, metric, Hop::Via(via));
                }
                _ => {}
            }
        }
    }

    fn add_local(
        &mut self,
        vnic: VnicRef<'_>,
        subnet: &Subnet,
        mss_clamp: bool,
        barred: Option<Why>,
    ) {
        let Some(attach) = vnic.attach().cloned() else {
            return;
        };
        let name: Name = vnic.name().into();
        if let Some(segment) = self.segments.get_mut(&subnet.segment) {
            segment.local.insert(name.clone());
        }
        if let Attach::Trunk { port, vlan } = &attach {
            let marks = match vlan {
                Some(vlan) => vec![u64::from(*vlan)],
                None => macs(vnic).map(Mac::to_u64).collect(),
            };
            for mark in marks {
                self.trunked.insert((port.clone(), mark), name.clone());
            }
        }
        self.vnics.insert(
            name,
            VnicPlan {
                network: subnet.network.clone(),
                segment: subnet.segment,
                carriage: subnet.carriage(),
                identity: identity(vnic, subnet.carriage()),
                attach,
                mtu: vnic.mtu(),
                mss_clamp,
                bandwidth: vnic.bandwidth(),
                management: vnic.is_management(),
                iov: vnic.iov().clone(),
                barred,
            },
        );
    }

    /// The vNICs on other hosts: what they need besides their entries, which are counted. Those that no uplink reaches are
    /// returned, one for each address of theirs.
    fn add_remote<'p>(
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
            let has_members = subnet.has_members;
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
                self.add_peer(pa, here, ecn);
                let subnet = self.ways.subnet(vnic).cloned();
                let hosts = subnet.and_then(|subnet| self.behind(vnic, &subnet));
                let hosts = hosts.unwrap_or([pa, pa]);
                hosts
                    .into_iter()
                    .for_each(|pa| self.add_peer(pa, here, ecn));
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

    fn add_peer(&mut self, pa: IpAddr, here: &HostConfig, ecn: bool) {
        if let Some(peer) = route(here, pa) {
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

/// The MACs that a vNIC may have: its own and those it is allowed (a team inside a guest).
fn macs<'a>(vnic: VnicRef<'a>) -> impl Iterator<Item = Mac> + 'a {
    std::iter::once(vnic.mac()).chain(vnic.allowed_macs().iter().copied())
}

/// protocols.md, "Spoof protection": its own MACs and CAs, the link-local addresses of its MACs, and what it is allowed.
fn identity(vnic: VnicRef<'_>, carriage: Carriage) -> Identity {
    let mut identity = Identity {
        mac: vnic.mac(),
        macs: vnic.allowed_macs().iter().copied().collect(),
        ..Identity::default()
    };
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in vnic.addresses() {
        match address {
            IpAddr::V4(address) => v4.push(address),
            IpAddr::V6(address) => v6.push(address),
        }
    }
    v6.extend(macs(vnic).map(Mac::link_local));
    let (mut v4_nets, mut v6_nets) = (Vec::new(), Vec::new());
    for net in vnic.allowed_sources() {
        match net {
            IpNet::V4(net) => v4_nets.push((net.network().to_bits(), net.netmask().to_bits())),
            IpNet::V6(net) => v6_nets.push((net.network().to_bits(), net.netmask().to_bits())),
        }
    }
    if carriage == Carriage::Rewrite {
        let v4_pas = vnic.pairs().filter_map(|pair| match pair {
            (IpAddr::V4(ca), IpAddr::V4(pa)) => Some((ca, pa)),
            _ => None,
        });
        identity.v4_pas = v4_pas.collect();
        let v6_pas = vnic.pairs().filter_map(|pair| match pair {
            (IpAddr::V6(ca), IpAddr::V6(pa)) => Some((ca, pa)),
            _ => None,
        });
        identity.v6_pas = v6_pas.collect();
    }
    identity.v4 = v4.into();
    identity.v6 = v6.into();
    identity.v4_nets = v4_nets.into();
    identity.v6_nets = v6_nets.into();
    identity
}

/// protocols.md, "Accepted from the wire": from a PA of a host in the policy.
fn accepted(policy: &Policy, here: &HostConfig) -> BTreeSet<IpAddr> {
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
fn route(here: &HostConfig, pa: IpAddr) -> Option<PeerPlan> {
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
