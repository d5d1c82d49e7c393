//! What a plan has of the VM networks with members here, and of these.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use weir_tables::domain::Hop;
use weir_tables::view::{Carriage, Gateway6, Identity};
use weir_wire::Mac;

use super::{Plan, SegmentPlan, VnicPlan};
use crate::config::fields::Name;
use crate::iov::why::Why;
use crate::policy::{Attach, Policy, Subnet, VnicRef};

impl Plan {
    /// The VM networks with their subnets and routes; still without members.
    pub(super) fn add_networks(&mut self, policy: &Policy, networks: &BTreeSet<&str>) {
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

    pub(super) fn add_local(
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
}

/// The MACs that a vNIC may have: its own and those it is allowed (a team inside a guest).
pub(super) fn macs<'a>(vnic: VnicRef<'a>) -> impl Iterator<Item = Mac> + 'a {
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
