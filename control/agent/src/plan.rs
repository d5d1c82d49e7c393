//! What this host must hold for a policy to be true here: its own vNICs, and of everyone else's only what
//! those may reach. A plan is a value; the difference of two plans is what a transaction does.

mod bypass;
mod leaves;
mod local;
mod remote;
pub mod sharing;
mod ways;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_tables::domain::{Hop, Route};
use weir_tables::view::{Carriage, Gateway6, Identity};
use weir_wire::Mac;

use crate::config::fields::Name;
use crate::config::host::HostConfig;
use crate::iov::why::Why;
use crate::policy::{Attach, Bandwidth, Iov, Policy, SegmentKey, ToMany, VnicRef};
use crate::stats::PolicyError;

pub use leaves::Uplinks;
use remote::accepted;
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
    /// By which uplinks its members here may leave.
    pub uplinks: Uplinks,
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
        plan.add_bridged_ways();
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
}
