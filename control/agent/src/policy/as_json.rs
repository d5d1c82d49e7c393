//! Objects as `weir get KIND -o json` shows them: the fields of policy.toml under their names there.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::model::{
    BandwidthMode, Host, Isolation, Network, Policy, Route, SegmentKey, Subnet, Switch,
    Translation, Vnic,
};

/// The kinds of objects that a policy has, as `weir get` and `weir delete` name them.
pub const KINDS: [&str; 6] = ["host", "switch", "vm_network", "subnet", "route", "vnic"];

/// The objects of one kind with their names, in the order of names; `None` for a kind that is not in [`KINDS`].
///
/// Fields that are not written and have no default are left out. A subnet and a route also say their `vm_network`.
pub fn objects(policy: &Policy, kind: &str) -> Option<Vec<(String, Value)>> {
    Some(match kind {
        "host" => policy
            .hosts
            .values()
            .map(|it| (it.name.to_string(), host(it)))
            .collect(),
        "switch" => policy
            .switches
            .values()
            .map(|it| (it.name.to_string(), switch(it)))
            .collect(),
        "vm_network" => policy
            .networks
            .values()
            .map(|it| (it.name.to_string(), network(it)))
            .collect(),
        "subnet" => policy
            .subnets
            .values()
            .map(|it| (it.name.to_string(), subnet(it)))
            .collect(),
        "route" => policy
            .routes
            .iter()
            .map(|it| (it.name(), route(it)))
            .collect(),
        "vnic" => policy
            .vnics
            .iter()
            .map(|it| (it.name().to_string(), vnic(&it.to_vnic())))
            .collect(),
        _ => return None,
    })
}

/// Fields in the order of policy.toml.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn text(mut self, field: &str, value: impl Display) -> Fields {
        self.0
            .insert(field.into(), Value::String(value.to_string()));
        self
    }

    fn value(mut self, field: &str, value: impl Into<Value>) -> Fields {
        self.0.insert(field.into(), value.into());
        self
    }

    fn list<T: Display>(self, field: &str, items: &[T]) -> Fields {
        self.value(field, items.iter().map(T::to_string).collect::<Vec<_>>())
    }

    fn list_if_any<T: Display>(self, field: &str, items: &[T]) -> Fields {
        if items.is_empty() {
            self
        } else {
            self.list(field, items)
        }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn host(host: &Host) -> Value {
    Fields::default()
        .text("name", &host.name)
        .list("provider_addresses", &host.provider_addresses)
        .value("ecn", host.ecn)
        .done()
}

fn switch(switch: &Switch) -> Value {
    let mode = match switch.bandwidth_mode {
        BandwidthMode::Weight => "weight",
        BandwidthMode::Absolute => "absolute",
        BandwidthMode::None => "none",
    };
    Fields::default()
        .text("name", &switch.name)
        .text("bandwidth_mode", mode)
        .value("iov", switch.iov)
        .done()
}

fn network(network: &Network) -> Value {
    let isolation = match network.isolation {
        Isolation::None => "none",
        Isolation::Vlan => "vlan",
        Isolation::Nv => "nv",
        Isolation::External => "external",
    };
    let fields = Fields::default()
        .text("name", &network.name)
        .text("isolation", isolation);
    match network.bridged {
        Some(SegmentKey::Vlan(vlan)) => fields.value("vlan", vlan),
        Some(_) => fields,
        None => fields.value("mss_clamp", network.mss_clamp),
    }
    .done()
}

fn subnet(subnet: &Subnet) -> Value {
    let translation = match subnet.translation {
        Translation::Nvgre => "nvgre",
        Translation::Rewrite => "rewrite",
    };
    let mut fields = Fields::default()
        .text("vm_network", &subnet.network)
        .text("name", &subnet.name);
    if let Some(vsid) = subnet.segment.vsid() {
        fields = fields.value("vsid", vsid.get());
    }
    fields = fields.list("prefixes", &subnet.prefixes);
    if subnet.segment.vsid().is_some() {
        fields = fields.text("translation", translation);
    }
    if let Some(copies) = subnet.to_many.copies {
        fields = fields.value("copies_limit", copies);
    }
    if let Some(group) = subnet.to_many.group {
        fields = fields.text("multicast_group", group);
    }
    fields.done()
}

fn route(route: &Route) -> Value {
    Fields::default()
        .text("vm_network", &route.network)
        .text("prefix", route.prefix)
        .text("via", route.via)
        .value("metric", route.metric)
        .done()
}

fn vnic(vnic: &Vnic) -> Value {
    let mut fields = Fields::default()
        .text("name", &vnic.name)
        .text("host", &vnic.host)
        .text("subnet", &vnic.subnet)
        .text("mac", vnic.mac)
        .list("addresses", &vnic.addresses);
    if let Some(attach) = &vnic.attach {
        fields = fields.text("attach", attach);
    }
    fields = fields.list_if_any("provider_addresses", &vnic.provider_addresses);
    if let Some(mtu) = vnic.mtu {
        fields = fields.value("mtu", mtu);
    }
    fields
        .list_if_any("allowed_sources", &vnic.allowed_sources)
        .list_if_any("allowed_macs", &vnic.allowed_macs)
        .done()
}
