//! What differs between two policies, for whoever applied the second.

use std::collections::BTreeMap;

use crate::config::fields::Name;
use crate::policy::vnic_set::pairs;
use crate::policy::{Policy, Route};
use crate::stats::ApplyReport;

/// What differs between two policies, object by object.
pub(super) fn compare(old: &Policy, new: &Policy) -> ApplyReport {
    let mut report = ApplyReport::default();
    objects(&mut report, "host", &old.hosts, &new.hosts);
    objects(&mut report, "switch", &old.switches, &new.switches);
    objects(&mut report, "vm_network", &old.networks, &new.networks);
    objects(&mut report, "subnet", &old.subnets, &new.subnets);
    objects(&mut report, "route", &routes(old), &routes(new));
    for (old, new) in pairs(&old.vnics, &new.vnics) {
        match (old, new) {
            (None, Some(new)) => report.added.push(format!("vnic {}", new.name())),
            (Some(old), Some(new)) if old != new => {
                report.changed.push(format!("vnic {}", new.name()));
            }
            (Some(old), None) => report.removed.push(format!("vnic {}", old.name())),
            _ => report.unchanged += 1,
        }
    }
    report
}

/// Routes by what tells them apart.
fn routes(policy: &Policy) -> BTreeMap<Name, &Route> {
    let named = |route: &Route| format!("{} metric {}", route.name(), route.metric).into();
    policy
        .routes
        .iter()
        .map(|route| (named(route), route))
        .collect()
}

fn objects<T: PartialEq>(
    report: &mut ApplyReport,
    kind: &str,
    old: &BTreeMap<Name, T>,
    new: &BTreeMap<Name, T>,
) {
    for (name, value) in new {
        match old.get(name) {
            None => report.added.push(format!("{kind} {name}")),
            Some(before) if before != value => report.changed.push(format!("{kind} {name}")),
            Some(_) => report.unchanged += 1,
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        report.removed.push(format!("{kind} {name}"));
    }
}
