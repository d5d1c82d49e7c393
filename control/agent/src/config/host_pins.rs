//! The pins of host.toml from its text: vNICs whose worker is written.

use std::collections::{BTreeMap, HashMap};

use super::document::{At, Table};
use super::fields::{self, Name};
use super::reader::Object;
use super::refusals::Refusals;
use super::spans::Line;

/// Reads every `[[pin]]`: the core of each pinned vNIC. `workers` are the cores of the workers.
pub fn pins<'d>(
    tables: Vec<At<&'d Table<'d>>>,
    workers: &[u32],
    refusals: &mut Refusals,
) -> BTreeMap<Name, u32> {
    let mut pins = BTreeMap::new();
    let mut seen = HashMap::<Name, Line>::new();
    for table in tables {
        let vnic = table.value.get("vnic");
        let label = match vnic.and_then(|name| name.get_ref().as_str()) {
            Some(name) => format!("pin {name}"),
            None => "pin".to_owned(),
        };
        let object = Object::new(table, label, &["vnic", "core"], refusals);
        let vnic = object.required("vnic", fields::name, "\"blue1\"", refusals);
        if !object.has("core") {
            let example = workers.first().copied().unwrap_or(1).to_string();
            object.missing("core", &example, refusals);
        }
        let core = object.integer("core", 0..=i64::from(u32::MAX), refusals);
        let (Some(vnic), Some(core)) = (vnic, core) else {
            continue;
        };
        let number = u32::try_from(core.value).unwrap_or(u32::MAX);
        if !workers.contains(&number) {
            let cores: Vec<String> = workers.iter().map(u32::to_string).collect();
            refusals.refuse(
                core.line,
                object.label(),
                format!("core: no worker runs on core {number}"),
                format!(
                    "use one of {}, or list the core in dataplane.workers",
                    cores.join(", ")
                ),
            );
        } else if let Some(first) = seen.insert(vnic.value.clone(), vnic.line) {
            let problem = format!("the vNIC is pinned in line {} already", first.0);
            refusals.refuse(vnic.line, object.label(), problem, "pin it once");
        } else {
            pins.insert(vnic.value, number);
        }
    }
    pins
}
