//! The `[iov]` of host.toml from its text: commands that tell a VM that its path changes, and who keeps bandwidth.

use super::document::At;
use super::document::Table;
use super::fields::Fault;
use super::host::IovHooks;
use super::reader::Object;
use super::refusals::Refusals;

/// Reads it.
pub fn hooks<'d>(table: At<&'d Table<'d>>, refusals: &mut Refusals) -> IovHooks {
    const FIELDS: &[&str] = &["vf_up", "vf_down", "unplug_first", "bandwidth"];
    let object = Object::new(table, "iov".into(), FIELDS, refusals);
    let mut command = |field| {
        let read = |text: &str| match text.trim() {
            "" => Err(Fault::new(
                "the command is empty",
                format!("write one such as {field} = \"/usr/local/sbin/{field}\", or leave it out"),
            )),
            command => Ok(command.to_owned()),
        };
        object.parsed(field, read, refusals).map(|it| it.value)
    };
    let (up, down) = (command("vf_up"), command("vf_down"));
    let first = object.boolean("unplug_first", refusals);
    let is_unplugged_first = first.is_some_and(|it| it.value);
    if (up.is_some() || is_unplugged_first) && down.is_none() && !object.has("vf_down") {
        object.missing("vf_down", "\"/usr/local/sbin/vf_down\"", refusals);
    }
    let bandwidth = |text: &str| match text {
        "vf" => Ok(false),
        "software" => Ok(true),
        other => Err(Fault::new(
            format!("there is no {other:?}"),
            "write \"vf\": a VF keeps what it can; or \"software\": who has bandwidth has no VF",
        )),
    };
    let bandwidth = object.parsed("bandwidth", bandwidth, refusals);
    IovHooks {
        up,
        down,
        is_bandwidth_software: bandwidth.is_some_and(|it| it.value),
        is_unplugged_first,
    }
}
