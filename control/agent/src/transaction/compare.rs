//! What differs between two policies, for whoever applied the second.

use std::collections::BTreeMap;

use crate::config::fields::Name;
use crate::policy::vnic_set::pairs;
use crate::policy::{Policy, Route, TrafficClass};
use crate::stats::ApplyReport;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It is there now.
    Added,
    /// It is another.
    Changed,
    /// It is gone.
    Removed,
    /// It is as it was.
    Unchanged,
}

/// What differs between two policies, object by object: what became of each, its kind and its name.
pub fn differences<'a>(
    old: &'a Policy,
    new: &'a Policy,
    mut each: impl FnMut(Became, &'static str, &str),
) {
    objects(&mut each, "host", &old.hosts, &new.hosts);
    objects(&mut each, "switch", &old.switches, &new.switches);
    objects(&mut each, "vm_network", &old.networks, &new.networks);
    objects(&mut each, "subnet", &old.subnets, &new.subnets);
    objects(&mut each, "route", &routes(old), &routes(new));
    objects(&mut each, "traffic_class", &classes(old), &classes(new));
    for (old, new) in pairs(&old.vnics, &new.vnics) {
        let name = new.or(old).map_or("", |vnic| vnic.name());
        each(became(old, new), "vnic", name);
    }
}

/// The same as a report.
pub(super) fn compare(old: &Policy, new: &Policy) -> ApplyReport {
    let mut report = ApplyReport::default();
    differences(old, new, |became, kind, name| {
        let list = match became {
            Became::Added => &mut report.added,
            Became::Changed => &mut report.changed,
            Became::Removed => &mut report.removed,
            Became::Unchanged => {
                report.unchanged += 1;
                return;
            }
        };
        list.push(format!("{kind} {name}"));
    });
    report
}

/// Traffic classes with their places: the first that takes a frame has it.
fn classes(policy: &Policy) -> BTreeMap<Name, (usize, &TrafficClass)> {
    let classes = policy.traffic_classes.iter().enumerate();
    classes
        .map(|(place, class)| (class.name.clone(), (place, class)))
        .collect()
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

fn became<T: PartialEq>(old: Option<T>, new: Option<T>) -> Became {
    match (old, new) {
        (None, _) => Became::Added,
        (Some(_), None) => Became::Removed,
        (Some(old), Some(new)) if old != new => Became::Changed,
        _ => Became::Unchanged,
    }
}

fn objects<T: PartialEq>(
    each: &mut impl FnMut(Became, &'static str, &str),
    kind: &'static str,
    old: &BTreeMap<Name, T>,
    new: &BTreeMap<Name, T>,
) {
    for (name, value) in new {
        each(became(old.get(name), Some(value)), kind, name);
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        each(Became::Removed, kind, name);
    }
}
