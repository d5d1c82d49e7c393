//! What a policy means for how uplinks are shared, and whether an uplink carries what is promised.

use weir_tables::bandwidth::{TCS, Tc};

use super::{Plan, Uplinks};
use crate::config::fields::Name;
use crate::config::host::HostConfig;
use crate::config::spans::Line;
use crate::config::units::BitRate;
use crate::policy::dcb;
use crate::policy::{BandwidthMode, BuiltIn, Filter, Minimum, Policy};
use crate::stats::PolicyError;

/// How the uplinks of this host are shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Sharing {
    /// How minima are expressed.
    pub mode: BandwidthMode,
    /// Traffic classes, in the order in which their filters are asked.
    pub classes: Vec<ClassPlan>,
    /// DCB traffic classes.
    pub tcs: [Tc; TCS],
    /// Whether they are written.
    pub has_dcb: bool,
    /// That of what is of no traffic class.
    pub default_tc: u8,
}

impl Default for Sharing {
    fn default() -> Sharing {
        let (tcs, _) = dcb::table(&[]);
        Sharing {
            mode: BandwidthMode::None,
            classes: Vec::new(),
            tcs,
            has_dcb: false,
            default_tc: 0,
        }
    }
}

/// A traffic class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassPlan {
    /// Its name.
    pub name: Name,
    /// What is of it.
    pub filters: Vec<Filter>,
    /// What it gets at least.
    pub minimum: Option<Minimum>,
    /// What it may send.
    pub max: Option<BitRate>,
    /// Its DCB traffic class.
    pub tc: u8,
    /// The DSCP that it leaves with.
    pub dscp: Option<u8>,
    /// The priority that it leaves with.
    pub pcp: Option<u8>,
    /// Where it is written.
    pub line: Line,
}

impl Sharing {
    /// What a policy says of it.
    pub fn of(policy: &Policy) -> Sharing {
        let written = policy.switches.values().next();
        let dcb = written.map_or(&[][..], |switch| &switch.dcb);
        let (tcs, of_priority) = dcb::table(dcb);
        let tc = |priority: u8| of_priority.get(usize::from(priority)).copied().unwrap_or(0);
        let classes = policy.traffic_classes.iter().map(|class| ClassPlan {
            name: class.name.clone(),
            filters: class.filters.clone(),
            minimum: class.minimum,
            max: class.max,
            tc: tc(class.priority()),
            dscp: class.dscp,
            pcp: class.pcp,
            line: class.line,
        });
        Sharing {
            mode: policy.bandwidth_mode(),
            classes: classes.collect(),
            tcs,
            has_dcb: !dcb.is_empty(),
            default_tc: tc(0),
        }
    }
}

/// Where a capacity is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// host.toml says it.
    Written,
    /// The device's link has it.
    Link,
    /// Nobody says it.
    No,
}

/// What an uplink carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// In bit/s of the wire.
    pub bits_per_second: Option<u64>,
    /// By whom.
    pub known: Known,
    /// Whether its link is up.
    pub is_up: bool,
}

/// A minimum of a vNIC here or of a traffic class.
#[derive(Clone, Debug, PartialEq)]
pub struct Promised {
    /// Whose it is.
    pub label: String,
    /// How much, in bit/s of the wire.
    pub bits_per_second: u64,
    /// Its DCB traffic class.
    pub tc: u8,
    /// Where it is written.
    pub line: Line,
    /// By which uplinks it may leave.
    pub uplinks: Uplinks,
}

/// What the default class gets of a capacity in absolute mode: 10 % (protocols.md, "Bandwidth").
pub fn default_class(capacity: u64) -> u64 {
    capacity.div_ceil(10)
}

/// Members that a refusal names before it says how many more there are.
const NAMED: usize = 8;

impl Plan {
    /// The minima that this host has to keep, the largest first.
    pub fn promised(&self, policy: &Policy) -> Vec<Promised> {
        let mut minima = Vec::new();
        if self.sharing.mode != BandwidthMode::Absolute {
            return minima;
        }
        for (name, vnic) in &self.vnics {
            if let Some(minimum) = vnic.bandwidth.minimum {
                minima.push(Promised {
                    label: format!("vnic {name}"),
                    bits_per_second: minimum.bits_per_second(),
                    tc: self.sharing.default_tc,
                    line: policy.vnics.get(name).map_or(Line(1), |vnic| vnic.line()),
                    uplinks: self.uplinks_of(&vnic.network),
                });
            }
        }
        for class in &self.sharing.classes {
            if let Some(minimum) = class.minimum {
                minima.push(Promised {
                    label: format!("traffic_class {}", class.name),
                    bits_per_second: minimum.bits_per_second(),
                    tc: class.tc,
                    line: class.line,
                    uplinks: self.uplinks_of_class(class),
                });
            }
        }
        minima.sort_by_key(|own| std::cmp::Reverse(own.bits_per_second));
        minima
    }

    /// What is of a class is of any vNIC here, as far as is looked here; what the switch itself sends goes by any uplink.
    pub fn uplinks_of_class(&self, class: &ClassPlan) -> Uplinks {
        if class
            .filters
            .contains(&Filter::BuiltIn(BuiltIn::Management))
        {
            return Uplinks::ALL;
        }
        let vnics = self.vnics.values();
        let all = vnics.map(|vnic| self.uplinks_of(&vnic.network));
        all.fold(Uplinks::default(), Uplinks::and)
    }

    /// Why this host's uplinks cannot keep what is promised.
    ///
    /// A vNIC may send all that it sends by any uplink that its VM network has something behind, so that each of those has to carry its
    /// minimum, as it is written: it is of the wire, as capacities are. The default class has its part in each.
    pub fn admission(
        &self,
        policy: &Policy,
        here: &HostConfig,
        capacities: &[Capacity],
    ) -> Vec<PolicyError> {
        let all = self.promised(policy);
        let mut refused = Vec::new();
        for (index, (uplink, capacity)) in here.uplinks.iter().zip(capacities).enumerate() {
            let name = &uplink.name;
            let promised = all.iter().filter(|own| own.uplinks.has(index));
            let promised: Vec<&Promised> = promised.collect();
            if promised.is_empty() {
                continue;
            }
            let Some(capacity) = capacity.bits_per_second else {
                // What is down carries nothing; when it is up its speed is known, and this is asked again.
                if capacity.is_up {
                    let count = promised.len();
                    let problem = format!(
                        "capacity: it is not known what the link carries, and {count} minima are promised on it"
                    );
                    refused.push(PolicyError {
                        file: here.origin.clone(),
                        line: Some(uplink.line.0),
                        object: format!("uplink {name}"),
                        problem,
                        mend: "write capacity = \"10Gbit\" with what it carries, and start the daemon again; or take the minima out of the policy".into(),
                    });
                }
                continue;
            };
            let before = refused.len();
            let too_large = promised.iter().filter(|own| own.bits_per_second > capacity);
            for own in too_large.take(NAMED) {
                let problem = format!(
                    "min: {} is more than uplink {name} carries, {}",
                    shown(own.bits_per_second),
                    shown(capacity)
                );
                let mend = "lower it, or write a larger capacity at the uplink in host.toml";
                refused.push(policy.refusal(own.line, &own.label, &problem, mend));
            }
            if refused.len() > before {
                continue;
            }
            let part = Part {
                object: format!("uplink {name}"),
                carries: capacity,
                default: Some(default_class(capacity)),
            };
            refused.extend(part.admit(policy, &promised, |_| true));
            if refused.len() > before || !self.sharing.has_dcb {
                continue;
            }
            for (tc, own) in (0_u8..).zip(&self.sharing.tcs) {
                // What goes before all others is held by no share.
                if own.strict {
                    continue;
                }
                let share = u128::from(capacity) * u128::from(own.share) / 100;
                let part = Part {
                    object: format!("DCB traffic class {tc} on uplink {name} ({} %)", own.share),
                    carries: share as u64,
                    default: (tc == self.sharing.default_tc).then(|| default_class(capacity)),
                };
                refused.extend(part.admit(policy, &promised, |of| of == tc));
            }
        }
        refused
    }
}

/// What some minima have to fit into.
struct Part {
    object: String,
    carries: u64,
    default: Option<u64>,
}

impl Part {
    fn admit(
        &self,
        policy: &Policy,
        promised: &[&Promised],
        of: impl Fn(u8) -> bool,
    ) -> Option<PolicyError> {
        let members: Vec<_> = promised.iter().filter(|own| of(own.tc)).collect();
        let largest = members.first()?;
        let minima: u128 = members
            .iter()
            .map(|own| u128::from(own.bits_per_second))
            .sum();
        let sum = minima + u128::from(self.default.unwrap_or(0));
        if sum <= u128::from(self.carries) {
            return None;
        }
        let mut told: Vec<String> = members
            .iter()
            .take(NAMED)
            .map(|own| format!("{} {}", own.label, shown(own.bits_per_second)))
            .collect();
        let rest: u128 = members
            .iter()
            .skip(NAMED)
            .map(|own| u128::from(own.bits_per_second))
            .sum();
        if rest > 0 {
            let more = members.len() - NAMED;
            told.push(format!("{more} more with {}", shown_long(rest)));
        }
        if let Some(default) = self.default {
            told.push(format!(
                "the default class {} (10 % of the link)",
                shown(default)
            ));
        }
        let problem = format!(
            "min: the minima are {} together, and it carries {}: {}",
            shown_long(sum),
            shown(self.carries),
            told.join(", ")
        );
        let mend = "lower some of them, move vNICs to another host, or write a larger capacity at the uplink in host.toml";
        Some(policy.refusal(largest.line, &self.object, &problem, mend))
    }
}

fn shown(bits_per_second: u64) -> String {
    BitRate::new(bits_per_second).map_or_else(|| "0bit".into(), |rate| rate.to_string())
}

fn shown_long(bits_per_second: u128) -> String {
    match u64::try_from(bits_per_second) {
        Ok(rate) => shown(rate),
        Err(_) => format!("{bits_per_second}bit"),
    }
}
