//! Customer routes of VM networks.
//!
//! A route is read with its VM network. That a vNIC has its next hop is seen when the vNICs have been read: what is left
//! to see of it is a [`NextHop`].

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::model::{Policy, Route, gateway_of};
use super::prefixes::Prefixes;
use super::vnics::Addresses;
use crate::config::document::{At, Table, called};
use crate::config::fields::{self, Name};
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;

/// What the routes of a VM network are held against.
pub struct Ground {
    /// The prefixes of its subnets.
    pub prefixes: Prefixes,
    /// Whose each prefix is, by the subnet's number.
    pub subnets: HashMap<IpNet, u32>,
    /// Those prefixes whose subnets' packets are rewritten.
    pub rewritten: HashSet<IpNet>,
    /// Whether its subnets are right: if not, a next hop that is in none of them, or is no vNIC's, may be.
    pub known: bool,
}

/// A next hop that is right if a vNIC has it.
pub struct NextHop {
    route: String,
    network: Name,
    subnet: u32,
    via: At<IpAddr>,
}

/// The routes of one VM network, while they are read.
struct Reader<'a> {
    network: &'a Name,
    ground: &'a Ground,
    /// Where prefixes with their metric are written.
    lines: HashMap<(IpNet, u32), Line>,
    hops: &'a mut Vec<NextHop>,
}

/// Reads the routes of the VM network `object`, called `network`, into `policy`, and what is to see of them into `hops`.
pub fn read(
    object: &Object<'_>,
    network: &Name,
    ground: &Ground,
    policy: &mut Policy,
    hops: &mut Vec<NextHop>,
    refusals: &mut Refusals,
) {
    let mut reader = Reader {
        network,
        ground,
        lines: HashMap::new(),
        hops,
    };
    for table in object.tables("route", "vm_network.route", refusals) {
        policy.routes.extend(reader.route(table, refusals));
    }
}

/// Refuses the next hops that no vNIC has.
pub fn check(hops: &[NextHop], addresses: &Addresses, refusals: &mut Refusals) {
    for hop in hops {
        let via = hop.via.value;
        if !addresses.may_be_held(hop.subnet, via) {
            let problem = format!("via: no vNIC of VM network {} has {via}", hop.network);
            let mend = "give the vNIC that forwards this address, and allowed_sources for what it forwards";
            refusals.refuse(hop.via.line, &hop.route, problem, mend);
        }
    }
}

impl Reader<'_> {
    fn route<'d>(&mut self, table: At<&'d Table<'d>>, refusals: &mut Refusals) -> Option<Route> {
        let network = self.network;
        let label = match called(table.value, "prefix") {
            Some(prefix) => format!("route {}/{}", network.escape_debug(), prefix.escape_debug()),
            None => format!("route in line {}", table.line.0),
        };
        let object = Object::new(table, label, &["prefix", "via", "metric"], refusals);
        let prefix = object.required("prefix", fields::prefix, "\"0.0.0.0/0\"", refusals);
        let via = object.required("via", fields::unicast, "\"10.1.0.254\"", refusals);
        let metric = metric(&object, refusals);
        if let (Some(prefix), Some(metric)) = (prefix, metric) {
            self.twice(prefix, metric, &object, refusals);
        }
        if let Some(via) = via
            && families(prefix, via, &object, refusals)
        {
            self.next_hop(via, &object, refusals);
        }
        Some(Route {
            network: network.clone(),
            prefix: prefix?.value,
            via: via?.value,
            metric: metric?,
            line: object.line(),
        })
    }

    /// Refuses a route if another one of the VM network has its prefix and its metric.
    fn twice(
        &mut self,
        prefix: At<IpNet>,
        metric: u32,
        object: &Object<'_>,
        refusals: &mut Refusals,
    ) {
        let shown = prefix.value;
        if let Some(line) = self.lines.get(&(shown, metric)) {
            let problem = format!(
                "prefix: {shown} with metric {metric} is already that of the route in line {}",
                line.0
            );
            let mend = "take one of them out, or give it another metric: the lowest wins";
            refusals.refuse(prefix.line, object.label(), problem, mend);
        } else {
            self.lines.insert((shown, metric), object.line());
        }
    }

    /// That the VM network has a place for this next hop; whether a vNIC is there is for [`check`] to see.
    fn next_hop(&mut self, via: At<IpAddr>, object: &Object<'_>, refusals: &mut Refusals) {
        let shown = via.value;
        let Some(prefix) = self.ground.prefixes.containing(&shown) else {
            if self.ground.known {
                let problem = format!(
                    "via: {shown} is in no prefix of a subnet of VM network {}",
                    self.network
                );
                let mend = "use the address of a vNIC of this VM network";
                refusals.refuse(via.line, object.label(), problem, mend);
            }
            return;
        };
        if shown == gateway_of(prefix) {
            let problem = format!(
                "via: {shown} is the gateway's address of {prefix}, and the switch cannot be its own next hop"
            );
            let mend = "use the address of the vNIC that forwards; between the subnets of a VM network no route is needed";
            refusals.refuse(via.line, object.label(), problem, mend);
            return;
        }
        if self.ground.rewritten.contains(prefix) {
            let problem = format!(
                "via: {shown} is of a subnet whose packets are rewritten, where a packet for others behind it has no provider address"
            );
            let mend = "put the vNIC that forwards into a subnet of translation \"nvgre\"";
            refusals.refuse(via.line, object.label(), problem, mend);
            return;
        }
        if self.ground.known
            && let Some(&subnet) = self.ground.subnets.get(prefix)
        {
            self.hops.push(NextHop {
                route: object.label().to_owned(),
                network: self.network.clone(),
                subnet,
                via,
            });
        }
    }
}

/// The metric that is written, or 0; `None` if it was refused.
fn metric(object: &Object<'_>, refusals: &mut Refusals) -> Option<u32> {
    if !object.has("metric") {
        return Some(0);
    }
    let metric = object.integer("metric", 0..=i64::from(u32::MAX), refusals)?;
    u32::try_from(metric.value).ok()
}

/// Whether a prefix, `None` if it was refused, and its next hop are of one family.
fn families(
    prefix: Option<At<IpNet>>,
    via: At<IpAddr>,
    object: &Object<'_>,
    refusals: &mut Refusals,
) -> bool {
    let Some(prefix) = prefix.map(|prefix| prefix.value) else {
        return true;
    };
    let name = |is_v4| if is_v4 { "IPv4" } else { "IPv6" };
    let (of, via_of) = (prefix.network().is_ipv4(), via.value.is_ipv4());
    if of != via_of {
        let problem = format!(
            "via: {} is of {}, and {prefix} of {}",
            via.value,
            name(via_of),
            name(of)
        );
        let mend = format!("use the {} address of the vNIC that forwards", name(of));
        refusals.refuse(via.line, object.label(), problem, mend);
    }
    of == via_of
}
