//! Objects as `weir get KIND -o json` shows them: the fields of policy.toml under their names there.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::bandwidth::{Bandwidth, Minimum};
use super::dcb::Dcb;
use super::model::{
    Host, Iov, Isolation, Network, Policy, Route, SegmentKey, Subnet, Switch, Translation, Vnic,
};
use super::traffic_class::{Custom, Filter, TrafficClass};
use crate::config::units::BitRate;

/// The kinds of objects that a policy has, as `weir get` and `weir delete` name them.
pub const KINDS: [&str; 7] = [
    "host",
    "switch",
    "vm_network",
    "subnet",
    "route",
    "traffic_class",
    "vnic",
];

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
        "traffic_class" => policy
            .traffic_classes
            .iter()
            .map(|it| (it.name.to_string(), traffic_class(it)))
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

    fn value_if(self, field: &str, value: Option<impl Into<Value>>) -> Fields {
        match value {
            Some(value) => self.value(field, value),
            None => self,
        }
    }

    fn text_if(self, field: &str, value: Option<impl Display>) -> Fields {
        match value {
            Some(value) => self.text(field, value),
            None => self,
        }
    }

    fn limits(self, minimum: Option<Minimum>, max: Option<BitRate>) -> Fields {
        match minimum {
            Some(Minimum::Rate(rate)) => self.text("min", rate),
            Some(Minimum::Weight(weight)) => self.value("weight", weight),
            None => self,
        }
        .text_if("max", max)
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
    let fields = Fields::default()
        .text("name", &switch.name)
        .text("bandwidth_mode", switch.bandwidth_mode.word())
        .value("iov", switch.iov);
    if switch.dcb.is_empty() {
        return fields.done();
    }
    let dcb: Vec<Value> = switch.dcb.iter().map(dcb).collect();
    fields.value("dcb", dcb).done()
}

fn dcb(dcb: &Dcb) -> Value {
    let fields = Fields::default().value("tc", dcb.tc);
    match dcb.share {
        Some(share) => fields.value("share", share),
        None => fields.value("strict", dcb.strict),
    }
    .value("priorities", dcb.priorities.clone())
    .done()
}

fn traffic_class(class: &TrafficClass) -> Value {
    let mut fields = Fields::default().text("name", &class.name);
    let built_in = class.filters.iter().filter_map(|filter| match filter {
        Filter::BuiltIn(own) => Some(*own),
        Filter::Custom(_) => None,
    });
    fields = fields.list_if_any("filters", &built_in.collect::<Vec<_>>());
    let written = class.filters.iter().filter_map(|filter| match filter {
        Filter::BuiltIn(_) => None,
        Filter::Custom(own) => Some(custom(own)),
    });
    let written: Vec<Value> = written.collect();
    if !written.is_empty() {
        fields = fields.value("filter", written);
    }
    fields
        .limits(class.minimum, class.max)
        .value_if("priority", class.priority)
        .value_if("dscp", class.dscp)
        .value_if("pcp", class.pcp)
        .done()
}

fn custom(own: &Custom) -> Value {
    Fields::default()
        .list_if_any("vnics", &own.vnics)
        .value_if("ethertype", own.ethertype)
        .value_if("pcp", own.pcp)
        .value_if("dscp", own.dscp)
        .text_if("protocol", own.protocol)
        .value_if("port", own.port)
        .value_if("source_port", own.source_port)
        .value_if("destination_port", own.destination_port)
        .text_if("source", own.source)
        .text_if("destination", own.destination)
        .done()
}

fn bandwidth(own: &Bandwidth) -> Value {
    let fields = Fields::default()
        .limits(own.minimum, own.max)
        .text_if("max_rx", own.max_rx);
    match own.police {
        true => fields.value("police", true),
        false => fields,
    }
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
    fields = fields
        .list_if_any("allowed_sources", &vnic.allowed_sources)
        .list_if_any("allowed_macs", &vnic.allowed_macs);
    fields = match &vnic.iov {
        Iov::Software => fields,
        Iov::Weight(weight) => fields.value("iov_weight", *weight),
        Iov::Pinned(pin) => fields.text("vf", pin),
    };
    if vnic.management {
        fields = fields.value("management", true);
    }
    if vnic.bandwidth != Bandwidth::default() {
        fields = fields.value("bandwidth", bandwidth(&vnic.bandwidth));
    }
    fields.done()
}
