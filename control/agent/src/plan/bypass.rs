//! What of a policy a vNIC's VF would bypass. ACLs, mirrors and extensions belong here as soon as policy has them.

use std::net::IpAddr;

use crate::config::host::HostConfig;
use crate::iov::rate::{Beyond, Rates};
use crate::iov::why::Why;
use crate::policy::{Bandwidth, BuiltIn, Filter, Iov, Policy, Subnet, TrafficClass, VnicRef};
use ipnet::IpNet;

/// What keeps a vNIC from a VF, of what its policy says; none for one that does not ask.
pub fn of(policy: &Policy, vnic: VnicRef<'_>, subnet: &Subnet, here: &HostConfig) -> Option<Why> {
    if *vnic.iov() == Iov::Software {
        return None;
    }
    let Some(vlan) = subnet.segment.bridged() else {
        return Some(Why::NvNetwork);
    };
    let uplink = here.uplinks.first();
    if uplink.is_some_and(|uplink| uplink.vlan == vlan) {
        return Some(Why::ProviderNetwork);
    }
    let all = |is_v4: bool| {
        vnic.allowed_sources().iter().any(|net: &IpNet| {
            net.prefix_len() == 0 && matches!(net.addr(), IpAddr::V4(_)) == is_v4
        })
    };
    if !all(true) || !all(false) {
        return Some(Why::SourceGuard);
    }
    if !vnic.allowed_macs().is_empty() {
        return Some(Why::MoreMacs);
    }
    let own = vnic.bandwidth();
    if let Err(beyond) = Rates::of(&own) {
        return Some(Why::Bandwidth(beyond));
    }
    if here.iov.is_bandwidth_software && own != Bandwidth::default() {
        return Some(Why::Bandwidth(Beyond::Host));
    }
    let classes = policy.traffic_classes.iter();
    classes
        .filter(|class| may_have(class, vnic))
        .map(|class| Why::TrafficClass(class.name.clone()))
        .next()
}

/// Whether what a vNIC sends may be of a class.
fn may_have(class: &TrafficClass, vnic: VnicRef<'_>) -> bool {
    class.filters.iter().any(|filter| match filter {
        Filter::BuiltIn(BuiltIn::Management) => vnic.is_management(),
        Filter::BuiltIn(_) => true,
        Filter::Custom(own) => {
            own.vnics.is_empty() || own.vnics.iter().any(|name| **name == *vnic.name())
        }
    })
}
