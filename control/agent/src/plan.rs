//! What this host must hold for a policy to be true here: its own vNICs, and of everyone else's only what
//! those may reach. A plan is a value; the difference of two plans is what a transaction does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use weir_tables::domain::{Hop, Route};
use weir_tables::view::{Carriage, Gateway6, Identity};
use weir_wire::Mac;

use crate::config::fields::Name;
use crate::config::host::{HostConfig, Uplink};
use crate::policy::{Attach, Policy, SegmentKey, Subnet, ToMany, Vnic};
use crate::stats::PolicyError;

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
    /// Where each MAC of the segments that have a member here is.
    pub endpoints: HashMap<(SegmentKey, Mac), Place>,
    /// Who has each customer address of those networks.
    pub records: HashMap<(Name, IpAddr), RecordPlan>,
    /// Whose each provider address is that a vNIC of those networks has for itself.
    pub rewritten: HashMap<IpAddr, CustomerPlan>,
    /// Which vNIC each MAC or VLAN of a trunk is.
    pub trunked: HashMap<(Name, u64), Name>,
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
            ..Plan::default()
        };
        let local = |vnic: &&Vnic| vnic.host == here.name;
        let here_too = policy
            .vnics
            .values()
            .filter(local)
            .filter(|vnic| vnic.attach.is_some());
        let networks: BTreeSet<&Name> = here_too.map(|vnic| &vnic.network).collect();
        plan.add_networks(policy, &networks);
        for vnic in policy.vnics.values().filter(local) {
            let Some(subnet) = policy.subnets.get(&vnic.subnet) else {
                continue;
            };
            let network = policy.networks.get(&vnic.network);
            plan.add_local(
                vnic,
                subnet,
                network.is_some_and(|network| network.mss_clamp),
            );
        }
        let mut unreachable = BTreeMap::new();
        for vnic in policy.vnics.values().filter(|vnic| !local(vnic)) {
            let Some(subnet) = policy.subnets.get(&vnic.subnet) else {
                continue;
            };
            // Who is bridged elsewhere is found by the wire.
            let bridged = subnet.carriage() == Carriage::Bridged;
            if bridged || !plan.segments.contains_key(&subnet.segment) {
                continue;
            }
            let addresses = policy.tunnel_addresses(vnic, here);
            let Some(&first) = addresses.first() else {
                continue;
            };
            // A host may have addresses of both families, and this one an uplink in one of them alone.
            let reached = addresses.into_iter().find_map(|pa| {
                let known = plan.peers.get(&pa).copied();
                Some((pa, known.or_else(|| route(here, pa))?))
            });
            let Some((pa, peer)) = reached else {
                unreachable.entry(first).or_insert(vnic);
                continue;
            };
            let ecn = policy.hosts.get(&vnic.host).is_none_or(|host| host.ecn);
            plan.peers.insert(pa, PeerPlan { ecn, ..peer });
            let mut hosts = [pa; 2];
            if subnet.carriage() == Carriage::Rewrite {
                // Its packets travel in their own family, by that family's next hop.
                for (host, is_v6) in hosts.iter_mut().zip([false, true]) {
                    let mut own = policy.tunnel_addresses(vnic, here).into_iter();
                    let own = own.find_map(|pa| {
                        let of_family = pa.is_ipv6() == is_v6;
                        Some((pa, route(here, pa).filter(|_| of_family)?))
                    });
                    if let Some((pa, peer)) = own
                        && vnic.addresses.iter().any(|ca| ca.is_ipv6() == is_v6)
                    {
                        plan.peers.insert(pa, PeerPlan { ecn, ..peer });
                        *host = pa;
                    }
                }
            }
            plan.add_remote(vnic, subnet, hosts);
        }
        let refused = plan.add_groups(policy, here);
        if unreachable.is_empty() && refused.is_empty() {
            return Ok(plan);
        }
        let refusals = unreachable.into_iter().map(|(pa, vnic)| {
            let object = format!("host {}", vnic.host);
            let problem = format!("no uplink of this host reaches its provider address {pa}");
            let mend = "give an uplink in host.toml a gateway, or a provider address whose prefix covers it";
            policy.refusal(vnic.line, &object, &problem, mend)
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
    fn add_networks(&mut self, policy: &Policy, networks: &BTreeSet<&Name>) {
        for subnet in policy
            .subnets
            .values()
            .filter(|s| networks.contains(&s.network))
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

    fn add_local(&mut self, vnic: &Vnic, subnet: &Subnet, mss_clamp: bool) {
        let Some(attach) = vnic.attach.clone() else {
            return;
        };
        let name = &vnic.name;
        if let Some(segment) = self.segments.get_mut(&subnet.segment) {
            segment.local.insert(name.clone());
        }
        self.add_endpoint(vnic, subnet, &[0, 1].map(|_| Place::Local(name.clone())));
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
            name.clone(),
            VnicPlan {
                network: vnic.network.clone(),
                segment: subnet.segment,
                carriage: subnet.carriage(),
                identity: identity(vnic, subnet.carriage()),
                attach,
                mtu: vnic.mtu,
                mss_clamp,
            },
        );
    }

    /// `hosts`: its host's provider address for its IPv4 and for its IPv6.
    fn add_remote(&mut self, vnic: &Vnic, subnet: &Subnet, hosts: [IpAddr; 2]) {
        let places = hosts.map(Place::Remote);
        match self.segments.get_mut(&subnet.segment) {
            Some(own) if !own.local.is_empty() => {
                own.peers.extend(hosts);
                match subnet.carriage() {
                    // Layer 3 only: no MAC of another host is needed.
                    Carriage::Rewrite => self.add_records(vnic, subnet, &places),
                    _ => self.add_endpoint(vnic, subnet, &places),
                }
            }
            // Reached by routing alone.
            _ => self.add_records(vnic, subnet, &places),
        }
    }

    /// `places`: where it is, for its IPv4 and for its IPv6; they differ in a rewrite subnet alone, where no MAC is asked for.
    fn add_endpoint(&mut self, vnic: &Vnic, subnet: &Subnet, places: &[Place; 2]) {
        for mac in macs(vnic) {
            self.endpoints
                .insert((subnet.segment, mac), places[0].clone());
        }
        if subnet.segment.bridged().is_none() {
            self.add_records(vnic, subnet, places);
        }
    }

    fn add_records(&mut self, vnic: &Vnic, subnet: &Subnet, places: &[Place; 2]) {
        let place = |ca: &IpAddr| places[usize::from(ca.is_ipv6())].clone();
        let segment = subnet.segment;
        let pairs: HashMap<IpAddr, IpAddr> = match subnet.carriage() {
            Carriage::Rewrite => vnic.pairs().collect(),
            _ => HashMap::new(),
        };
        for (&ca, &pa) in &pairs {
            let customer = CustomerPlan {
                network: vnic.network.clone(),
                segment,
                ca,
                place: place(&ca),
            };
            self.rewritten.insert(pa, customer);
        }
        for &address in &vnic.addresses {
            let record = RecordPlan {
                segment,
                mac: vnic.mac,
                place: place(&address),
                pa: pairs.get(&address).copied(),
            };
            self.records.insert((vnic.network.clone(), address), record);
        }
    }
}

/// The MACs that a vNIC may have: its own and those it is allowed (a team inside a guest).
fn macs(vnic: &Vnic) -> impl Iterator<Item = Mac> {
    std::iter::once(vnic.mac).chain(vnic.allowed_macs.iter().copied())
}

/// protocols.md, "Spoof protection": its own MACs and CAs, the link-local addresses of its MACs, and what it is allowed.
fn identity(vnic: &Vnic, carriage: Carriage) -> Identity {
    let mut identity = Identity {
        mac: vnic.mac,
        macs: vnic.allowed_macs.iter().copied().collect(),
        ..Identity::default()
    };
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in &vnic.addresses {
        match address {
            IpAddr::V4(address) => v4.push(*address),
            IpAddr::V6(address) => v6.push(*address),
        }
    }
    v6.extend(macs(vnic).map(Mac::link_local));
    let (mut v4_nets, mut v6_nets) = (Vec::new(), Vec::new());
    for net in &vnic.allowed_sources {
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
    let vnics = policy.vnics.values().filter(|vnic| vnic.host != here.name);
    let tunnels = vnics.flat_map(|vnic| policy.tunnel_addresses(vnic, here));
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
