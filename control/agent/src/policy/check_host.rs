//! A policy held against one machine's host.toml.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::attach::Attach;
use super::model::{Policy, SegmentKey, Translation};
use super::vnic_set::VnicRef;
use crate::config::host::{HostConfig, TrunkBy};
use crate::config::spans::Line;
use crate::stats::PolicyError;

/// See [`Policy::check_host`].
pub fn check(policy: &Policy, host: &HostConfig) -> Vec<PolicyError> {
    let mut check = Check {
        policy,
        host,
        found: Vec::new(),
    };
    check.descriptions();
    check.vnics();
    check.bridged();
    check.found.sort_by_key(|refusal| refusal.line);
    check.found
}

struct Check<'a> {
    policy: &'a Policy,
    host: &'a HostConfig,
    found: Vec<PolicyError>,
}

fn list<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> String {
    let addresses: Vec<String> = addresses.map(IpAddr::to_string).collect();
    if addresses.is_empty() {
        "none".into()
    } else {
        addresses.join(", ")
    }
}

impl Check<'_> {
    fn refuse(&mut self, line: Line, object: &str, problem: &str, mend: &str) {
        self.found
            .push(self.policy.refusal(line, object, problem, mend));
    }

    /// That nobody else has this host's addresses, and that the policy, if it describes this host, gives it the same.
    fn descriptions(&mut self) {
        let (policy, host) = (self.policy, self.host);
        let ours: HashSet<IpAddr> = host.provider_addresses().collect();
        for described in policy.hosts.values() {
            let object = format!("host {}", described.name);
            let theirs: HashSet<IpAddr> = described.provider_addresses.iter().copied().collect();
            if described.name == host.name {
                if theirs != ours {
                    let ours: Vec<IpAddr> = host.provider_addresses().collect();
                    let problem = format!(
                        "provider_addresses: {} here, {} in {}",
                        list(described.provider_addresses.iter()),
                        list(ours.iter()),
                        host.origin
                    );
                    let mend = "write the same in both, or leave this host out of the policy";
                    self.refuse(described.addresses_line, &object, &problem, mend);
                }
            } else {
                let shared: Vec<&IpAddr> = described
                    .provider_addresses
                    .iter()
                    .filter(|address| ours.contains(address))
                    .collect();
                if !shared.is_empty() {
                    let shared = list(shared.into_iter());
                    let problem = format!(
                        "provider_addresses: {shared} is already that of host {} in {}",
                        host.name, host.origin
                    );
                    let mend = "give each host addresses of its own";
                    self.refuse(described.addresses_line, &object, &problem, mend);
                }
            }
        }
    }

    fn vnics(&mut self) {
        let (policy, host) = (self.policy, self.host);
        let ports = host
            .uplinks
            .iter()
            .map(|uplink| (format!("uplink {}", uplink.name), &uplink.device));
        let ports = ports.chain(
            host.trunks
                .iter()
                .map(|trunk| (format!("trunk {}", trunk.name), &trunk.device)),
        );
        let taken: HashMap<String, String> = ports
            .flat_map(|(port, device)| {
                device
                    .claims()
                    .into_iter()
                    .map(move |claim| (claim, port.clone()))
            })
            .collect();
        let mut addressless = host.uplinks.is_empty();
        let is_rewritten: Vec<bool> = {
            let subnets = policy.vnics.subnets().iter();
            subnets.map(|(name, _)| self.is_rewritten(name)).collect()
        };
        let is_here: Vec<Option<bool>> = {
            let hosts = policy.vnics.hosts().iter();
            let known = |name| policy.hosts.contains_key(name).then_some(false);
            hosts
                .map(|name| (*name == host.name).then_some(true).or_else(|| known(name)))
                .collect()
        };
        for vnic in policy.vnics.iter() {
            let is_rewritten = is_rewritten.get(vnic.subnet_index()) == Some(&true);
            let is_here = is_here.get(vnic.host_index()).copied().flatten();
            // Nearly all are elsewhere, and nothing more is to be seen of them.
            if !is_rewritten && is_here == Some(false) {
                continue;
            }
            let object = format!("vnic {}", vnic.name());
            if is_rewritten {
                self.rewritten(vnic, &object);
            }
            if is_here == Some(true) {
                if std::mem::take(&mut addressless) {
                    let problem = format!(
                        "PA missing: its host has no provider address, and no network to be bridged to, since {} has no uplink",
                        host.origin
                    );
                    let mend = "add an [[uplink]] to it; device = \"net_null0\" does for a host that only switches locally";
                    self.refuse(vnic.line(), &object, &problem, mend);
                }
                self.attach(vnic, &object, &taken);
                if !is_rewritten {
                    self.provider_addresses(vnic, &object);
                }
            } else if is_here.is_none() {
                let problem = format!("host: there is no host \"{}\"", vnic.host());
                let mend = format!(
                    "name a [[host]] of this file or \"{}\", or add the host",
                    host.name
                );
                self.refuse(vnic.line(), &object, &problem, &mend);
            }
        }
    }

    /// That bridged VM networks do not meet the provider's own on the uplink: none in its VLAN, and where both are untagged
    /// nobody who could speak as a host.
    fn bridged(&mut self) {
        let (policy, host) = (self.policy, self.host);
        let Some(uplink) = host.uplinks.first() else {
            return;
        };
        for network in policy.networks.values() {
            if let (Some(SegmentKey::Vlan(vlan)), Some(own)) = (network.bridged, uplink.vlan)
                && vlan == own
            {
                let problem = format!(
                    "vlan: {vlan} is the provider network's own on uplink {} of {}",
                    uplink.name, host.origin
                );
                let object = format!("vm_network {}", network.name);
                let mend = "give the VM network another VLAN";
                self.refuse(network.line, &object, &problem, mend);
            }
        }
        if uplink.vlan.is_some() {
            return;
        }
        let described = policy.hosts.values();
        let theirs = described.flat_map(|host| host.provider_addresses.iter().copied());
        let is_flat: Vec<bool> = {
            let networks = policy.vnics.subnets().iter();
            let networks = networks.map(|(_, network)| policy.networks.get(network));
            networks
                .map(|of| of.and_then(|it| it.bridged) == Some(SegmentKey::Flat))
                .collect()
        };
        if !is_flat.contains(&true) {
            return;
        }
        let rewritten = policy.vnics.iter();
        let rewritten = rewritten.flat_map(|vnic| vnic.provider_addresses().iter().copied());
        let hosts: BTreeSet<IpAddr> = theirs
            .chain(rewritten)
            .chain(host.provider_addresses())
            .collect();
        for vnic in policy.vnics.iter() {
            if is_flat.get(vnic.subnet_index()) != Some(&true) {
                continue;
            }
            let own = vnic.addresses().find(|own| hosts.contains(own));
            let spoken = own
                .map(|own| ("addresses", own.to_string(), own))
                .or_else(|| {
                    let mut sources = vnic.allowed_sources().iter();
                    sources.find_map(|net| {
                        let host = hosts.iter().find(|host| net.contains(*host))?;
                        Some(("allowed_sources", net.to_string(), *host))
                    })
                });
            if let Some((field, written, host)) = spoken {
                let problem = format!(
                    "{field}: {written} holds the provider address {host}: untagged on the uplink the VM could speak as that host"
                );
                let mend =
                    "leave provider addresses out, or give the uplink or the VM network a VLAN";
                self.refuse(
                    vnic.line(),
                    &format!("vnic {}", vnic.name()),
                    &problem,
                    mend,
                );
            }
        }
    }

    /// That a vNIC of this host has a port that is there and is nobody else's.
    fn attach(&mut self, vnic: VnicRef<'_>, object: &str, taken: &HashMap<String, String>) {
        let host = self.host;
        match vnic.attach() {
            None => {
                let problem = format!(
                    "attach is missing, and the vNIC is on this host, {}",
                    host.name
                );
                self.refuse(
                    vnic.line(),
                    object,
                    &problem,
                    "add attach, such as attach = \"tap:blue1\"",
                );
            }
            Some(Attach::Port(device)) => {
                for claim in device.claims() {
                    if let Some(port) = taken.get(&claim) {
                        let problem =
                            format!("attach: {claim} is that of {port} in {}", host.origin);
                        self.refuse(
                            vnic.attach_line(),
                            object,
                            &problem,
                            "attach the vNIC to a device of its own",
                        );
                    }
                }
            }
            Some(Attach::Trunk { port, vlan }) => {
                let (problem, mend) = match (host.trunk(port).map(|trunk| trunk.by), vlan) {
                    (None, _) => (
                        format!("attach: {} declares no trunk \"{port}\"", host.origin),
                        format!(
                            "add [[trunk]] with name = \"{port}\" and its device to it, or name one that is there"
                        ),
                    ),
                    (Some(TrunkBy::Mac), Some(_)) => (
                        format!(
                            "attach: trunk {port} tells its vNICs apart by MAC address, not by VLAN"
                        ),
                        format!(
                            "write \"trunk:{port}\", or by = \"vlan\" at the trunk in {}",
                            host.origin
                        ),
                    ),
                    (Some(TrunkBy::Vlan), None) => (
                        format!(
                            "attach: trunk {port} tells its vNICs apart by VLAN, and none is given"
                        ),
                        format!(
                            "write \"trunk:{port}/VLAN\", or by = \"mac\" at the trunk in {}",
                            host.origin
                        ),
                    ),
                    (Some(TrunkBy::Mac), None) | (Some(TrunkBy::Vlan), Some(_)) => return,
                };
                self.refuse(vnic.attach_line(), object, &problem, &mend);
            }
        }
    }

    /// That the provider address which a vNIC of this host names is one of this host; the policy's own description of
    /// the host, if there is one, has been compared with it already.
    fn provider_addresses(&mut self, vnic: VnicRef<'_>, object: &str) {
        if self.policy.hosts.contains_key(vnic.host()) {
            return;
        }
        for address in vnic.provider_addresses() {
            if !self.host.provider_addresses().any(|ours| ours == *address) {
                let problem = format!(
                    "provider_addresses: {address} is no provider address in {}",
                    self.host.origin
                );
                let mend = "use one of its uplinks' addresses, or leave it out for the first";
                self.refuse(vnic.line(), object, &problem, mend);
            }
        }
    }

    fn is_rewritten(&self, subnet: &str) -> bool {
        let subnet = self.policy.subnets.get(subnet);
        subnet.is_some_and(|subnet| subnet.translation == Translation::Rewrite)
    }

    /// That nobody on this machine's links has the provider address of a rewritten vNIC, wherever that is: an uplink, its gateway, a
    /// neighbour.
    fn rewritten(&mut self, vnic: VnicRef<'_>, object: &str) {
        for address in vnic.provider_addresses() {
            let taken = self.host.uplinks.iter().find_map(|uplink| {
                let own = uplink.provider_addresses.iter();
                let whose = if own.map(|net| net.addr()).any(|own| own == *address) {
                    "an address of uplink"
                } else if uplink.gateway(*address) == Some(*address) {
                    "the gateway of uplink"
                } else if uplink.neighbors.contains_key(address) {
                    "a neighbour of uplink"
                } else {
                    return None;
                };
                Some(format!("{whose} {}", uplink.name))
            });
            if let Some(taken) = taken {
                let problem = format!(
                    "provider_addresses: {address} is {taken} in {}",
                    self.host.origin
                );
                let mend = "a vNIC whose packets are rewritten needs provider addresses of its own: use one that nobody has";
                self.refuse(vnic.line(), object, &problem, mend);
            }
        }
    }
}
