//! What is promised, what there is to keep it with, and who says so: parts of `status` in `weir get`.

use serde_json::{Value, json};
use weir_tables::bandwidth::DEFAULT_WEIGHT;

use crate::config::fields::Name;
use crate::config::units::BitRate;
use crate::plan::sharing::{Capacity, Known, default_class};
use crate::plan::{Uplinks, VnicPlan};
use crate::policy::{BandwidthMode, Minimum};
use crate::state::State;
use crate::stats::PolicyError;

fn bits(rate: Option<BitRate>) -> Option<u64> {
    rate.map(BitRate::bits_per_second)
}

fn rate(minimum: Option<Minimum>) -> Option<u64> {
    match minimum? {
        Minimum::Rate(rate) => Some(rate.bits_per_second()),
        Minimum::Weight(_) => None,
    }
}

fn weight(minimum: Option<Minimum>) -> Option<u8> {
    match minimum? {
        Minimum::Rate(_) => None,
        Minimum::Weight(weight) => Some(weight),
    }
}

impl State {
    /// What a vNIC here is promised and held to, and by whom.
    pub(super) fn bandwidth_of(&self, name: &Name, vnic: &VnicPlan) -> Value {
        let own = vnic.bandwidth;
        let (by, why) = self.keeps_bandwidth(name, vnic).unzip();
        json!({
            "default_class": own.minimum.is_none(),
            "min_bits_per_second": rate(own.minimum),
            "weight": weight(own.minimum),
            "max_bits_per_second": bits(own.max),
            "max_rx_bits_per_second": bits(own.max_rx),
            "police": own.police,
            "by": by,
            "why": why,
        })
    }

    /// What an uplink carries, and what of it is promised.
    pub(super) fn sharing_of(&self, uplink: usize) -> Value {
        let capacities = self.capacities();
        let Some(capacity) = capacities.get(uplink) else {
            return Value::Null;
        };
        let from = match capacity.known {
            Known::Written => "host.toml",
            Known::Link => "link",
            Known::No => "unknown",
        };
        let sharing = &self.plan.sharing;
        let minima = |weighs: &dyn Fn(Minimum) -> u64| -> u64 {
            let absolute = sharing.mode == BandwidthMode::Absolute;
            let leaves = |by: Uplinks| !absolute || by.has(uplink);
            let vnics = self.plan.vnics.values();
            let vnics = vnics
                .filter(|vnic| leaves(self.plan.uplinks_of(&vnic.network)))
                .filter_map(|vnic| vnic.bandwidth.minimum);
            let classes = sharing.classes.iter();
            let classes = classes
                .filter(|class| leaves(self.plan.uplinks_of_class(class)))
                .filter_map(|class| class.minimum);
            vnics.chain(classes).map(weighs).sum()
        };
        let count = minima(&|_| 1);
        let (carries, absolute) = (
            capacity.bits_per_second,
            sharing.mode == BandwidthMode::Absolute,
        );
        let default = carries.map(default_class).filter(|_| absolute);
        let sum = minima(&|own| own.bits_per_second());
        let admitted = sum.saturating_add(default.unwrap_or(0));
        let weights = minima(&|own| u64::from(own.share())) + u64::from(DEFAULT_WEIGHT);
        json!({
            "mode": sharing.mode.word(),
            "capacity_bits_per_second": carries,
            "capacity_from": from,
            "promises": count,
            "minima_bits_per_second": absolute.then_some(sum),
            "default_class_bits_per_second": default,
            "admitted_bits_per_second": absolute.then_some(admitted),
            "is_oversubscribed": absolute && count > 0 && carries.is_some_and(|own| own < admitted),
            "oversubscribed": self.oversubscribed(Some(uplink)).first().map(|own| own.problem.clone()),
            "weights": (sharing.mode == BandwidthMode::Weight).then_some(weights),
        })
    }

    /// What the links do not carry of what is promised, where one is slower than when it was admitted.
    pub(super) fn oversubscribed(&self, uplink: Option<usize>) -> Vec<PolicyError> {
        let capacities = self.capacities().into_iter().enumerate();
        let capacities = capacities.map(|(index, capacity)| Capacity {
            bits_per_second: capacity
                .bits_per_second
                .filter(|_| uplink.is_none_or(|it| it == index)),
            // What is not known is no warning.
            is_up: false,
            ..capacity
        });
        let capacities: Vec<Capacity> = capacities.collect();
        self.plan.admission(&self.policy, &self.host, &capacities)
    }

    /// How a traffic class is carried out.
    pub(super) fn class_status(&self, name: &str) -> Value {
        let mut classes = self.plan.sharing.classes.iter();
        let Some(class) = classes.find(|class| *class.name == *name) else {
            return json!({"applied": false});
        };
        let id = self.tables.class(&Name::from(name));
        json!({
            "applied": true,
            "class": id.map(|id| id.0),
            "tc": class.tc,
            "min_bits_per_second": rate(class.minimum),
            "weight": weight(class.minimum),
            "max_bits_per_second": bits(class.max),
        })
    }

    /// How the switch shares.
    pub(super) fn switch_status(&self) -> Value {
        let vnics = self.plan.vnics.values();
        let tcs: Vec<Value> = self
            .dcb_classes()
            .into_iter()
            .map(|(tc, own)| json!({"tc": tc, "strict": own.strict, "share_percent": (!own.strict).then_some(own.share)}))
            .collect();
        json!({
            "applied": true,
            "promised_vnics": vnics.filter(|vnic| vnic.bandwidth.minimum.is_some()).count(),
            "limited_vnics": self.plan.vnics.values().filter(|vnic| vnic.bandwidth.max.is_some()).count(),
            "tcs": tcs,
            "iov": self.iov_of_switch(),
        })
    }
}
