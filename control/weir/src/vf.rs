//! `weir vf`: virtual functions, without a daemon; what a running daemon has open is its own.

use crate::cli::vf::{
    BindArgs, CreateArgs, Driver, ListArgs, OneArgs, SetArgs, SwitchArgs, SwitchMode, VfArgs,
    VfVerb,
};
use crate::client::{Client, parse};
use crate::failure::{Failure, Named};
use crate::locate;
use crate::output::Out;
use crate::table::Table;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use weir_agent::vf::bind::{self, To};
use weir_agent::vf::change::{self, Changed};
use weir_agent::vf::devlink::{self, Mode};
use weir_agent::vf::discover::{self, Pf, Vf};
use weir_agent::vf::error::{Error, Name};
use weir_agent::vf::host::{Host, ThisMachine};
use weir_agent::vf::release::{self, Released};
use weir_agent::vf::settings::{Counters, Setting, Settings};
use weir_agent::vf::users::{self, Claims};
use weir_agent::vf::{count, link, refusals};

/// A PF as `weir vf list` shows it.
#[derive(Debug, Serialize)]
struct Shown {
    pf: String,
    interface: Option<String>,
    driver: Option<String>,
    numa: Option<u32>,
    iommu_group: Option<u32>,
    total_vfs: u16,
    used_by: Option<String>,
    /// How the NIC's own switch works; none where its driver has but one way, or this user may not ask.
    switch_mode: Option<Mode>,
    /// Why its VFs' settings are not told; none if they are.
    settings_unknown: Option<String>,
    vfs: Vec<ShownVf>,
}

/// A VF as `weir vf list` shows it.
#[derive(Debug, Serialize)]
struct ShownVf {
    #[serde(flatten)]
    vf: Vf,
    /// None where the PF's driver does not tell.
    settings: Option<Settings>,
    /// None where the PF's driver does not count.
    counters: Option<Counters>,
    used_by: Vec<String>,
    /// Its representor's interface, in switchdev mode.
    representor: Option<String>,
}

/// Carries out one verb.
pub fn run(args: VfArgs) -> Result<(), Failure> {
    let host = ThisMachine;
    match args.verb {
        VfVerb::List(args) => list(&host, &args),
        VfVerb::Create(args) => create(&host, &args),
        VfVerb::Set(args) => set(&host, &args),
        VfVerb::Bind(args) => bind(&host, &args),
        VfVerb::Release(args) => release(&host, &args),
        VfVerb::Switch(args) => switch(&host, &args),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let name = serde_json::to_value(error.name).unwrap_or_default();
        Failure::Named(Box::new(Named {
            name: name.as_str().unwrap_or_default().to_string(),
            error: error.told(),
        }))
    }
}

fn list(host: &impl Host, args: &ListArgs) -> Result<(), Failure> {
    let pfs = match &args.pf {
        Some(name) => vec![discover::find(host, name)?],
        None => discover::all(host),
    };
    // To look is never refused: a daemon that does not answer is passed over.
    let claims = claims().unwrap_or_default();
    let shown: Vec<Shown> = pfs.iter().map(|pf| show(host, &claims, pf)).collect();
    let mut out = Out::stdout(args.form.json());
    if out.is_json() {
        out.json(&shown)?;
    } else if shown.is_empty() {
        out.text("no NIC here offers SR-IOV; weir doctor tells what that takes")?;
    } else {
        let text = text(&shown, out.is_terminal());
        out.text(&text)?;
    }
    Ok(())
}

fn show(host: &impl Host, claims: &Claims, pf: &Pf) -> Shown {
    let found = match pf.vfs.is_empty() {
        true => Ok(Vec::new()),
        false => link::all(host, pf),
    };
    let switch = devlink::read(host, pf);
    let counts = pf.driver.as_deref().is_some_and(refusals::counts);
    let vfs = pf.vfs.iter().map(|vf| {
        let known = found.as_ref().ok();
        let own = known.and_then(|found| found.iter().find(|found| found.vf == vf.vf));
        ShownVf {
            settings: own.map(|own| own.settings.clone()),
            counters: own.filter(|_| counts).map(|own| own.counters.clone()),
            used_by: users::of(host, claims, vf),
            representor: switch.port(vf.vf).and_then(|port| port.representor.clone()),
            vf: vf.clone(),
        }
    });
    Shown {
        pf: pf.pf.clone(),
        interface: pf.interface.clone(),
        driver: pf.driver.clone(),
        numa: pf.numa,
        iommu_group: pf.iommu_group,
        total_vfs: pf.total_vfs,
        used_by: claims.get(&pf.pf).cloned(),
        vfs: vfs.collect(),
        switch_mode: switch.mode,
        settings_unknown: found.err().map(|error| error.problem),
    }
}

fn text(shown: &[Shown], terminal: bool) -> String {
    let mut pfs = Table::new([
        "pf",
        "interface",
        "driver",
        "switch",
        "#numa",
        "#group",
        "#vfs",
        "#of",
        "used by",
    ]);
    let mut vfs = Table::new([
        "pf",
        "#vf",
        "address",
        "driver",
        "interface",
        "representor",
        "mac",
        "vlan",
        "spoof check",
        "trust",
        "link",
        "#min mbit",
        "#max mbit",
        "used by",
    ]);
    let number = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
    let mut notes = String::new();
    for pf in shown {
        pfs.row([
            pf.pf.clone(),
            pf.interface.clone().unwrap_or_default(),
            pf.driver.clone().unwrap_or_default(),
            pf.switch_mode
                .map(Mode::name)
                .unwrap_or_default()
                .to_string(),
            number(pf.numa),
            number(pf.iommu_group),
            pf.vfs.len().to_string(),
            pf.total_vfs.to_string(),
            pf.used_by.clone().unwrap_or_default(),
        ]);
        for shown in &pf.vfs {
            let of = |setting: Setting| {
                shown
                    .settings
                    .as_ref()
                    .map(|s| setting.value(s))
                    .unwrap_or_default()
            };
            let rate = |of: fn(&Settings) -> u32| {
                shown
                    .settings
                    .as_ref()
                    .map(|s| of(s).to_string())
                    .unwrap_or_default()
            };
            vfs.row([
                pf.pf.clone(),
                shown.vf.vf.to_string(),
                shown.vf.address.clone(),
                shown.vf.driver.clone().unwrap_or_default(),
                shown.vf.interface.clone().unwrap_or_default(),
                shown.representor.clone().unwrap_or_default(),
                of(Setting::Mac),
                of(Setting::Vlan),
                of(Setting::SpoofCheck),
                of(Setting::Trust),
                of(Setting::LinkState),
                rate(|s| s.min_mbit),
                rate(|s| s.max_mbit),
                shown.used_by.join(", "),
            ]);
        }
        if let Some(why) = &pf.settings_unknown {
            notes.push_str(&format!("{}: settings are not known: {why}\n", pf.pf));
        }
    }
    let mut text = pfs.render(terminal);
    if !vfs.is_empty() {
        text.push('\n');
        text.push_str(&vfs.render(terminal));
    }
    text + &notes
}

fn create(host: &impl Host, args: &CreateArgs) -> Result<(), Failure> {
    let pf = discover::find(host, &args.pf)?;
    let claims = claims()?;
    let now = count::set(host, &claims, &pf, args.count)?;
    let changed = now != pf;
    let shown = show(host, &claims, &now);
    let mut out = Out::stdout(args.form.json());
    if out.is_json() {
        out.json(&shown)?;
    } else {
        let already = if changed { "" } else { " already" };
        let mut said = format!(
            "{} has {} of {} VFs{already}\n",
            now.pf,
            now.vfs.len(),
            now.total_vfs
        );
        said.push_str(&text(&[shown], out.is_terminal()));
        out.text(&said)?;
    }
    Ok(())
}

fn set(host: &impl Host, args: &SetArgs) -> Result<(), Failure> {
    let pf = discover::find(host, &args.one.pf)?;
    let index = args.one.vf;
    let vf = pf.vf(index)?;
    // A VM's VF may be set under it; a daemon's own path to the wire may not.
    if let Some(user) = claims()?.get(&vf.address) {
        return Err(Error::new(
            Name::InUse,
            discover::object(&pf, index),
            format!("is used by {user}, whose packets another MAC or VLAN would lose"),
            "take it out of host.toml or policy.toml first, or stop the daemon",
        )
        .into());
    }
    let done = change::change(host, &pf, index, &args.to.change())?;
    #[derive(Serialize)]
    struct Report<'a> {
        pf: &'a str,
        vf: u16,
        #[serde(flatten)]
        done: &'a Changed,
    }
    let mut out = Out::stdout(args.one.form.json());
    if out.is_json() {
        let report = Report {
            pf: &pf.pf,
            vf: index,
            done: &done,
        };
        out.json(&report)?;
    } else {
        let changed: Vec<String> = done
            .changed
            .iter()
            .map(|setting| format!("{} {}", setting.name(), setting.value(&done.settings)))
            .collect();
        let said = match changed.is_empty() {
            true => "was so already".to_string(),
            false => changed.join(", "),
        };
        let mut said = format!("{}: {said}\n", discover::object(&pf, index));
        for unverified in &done.unverified {
            said.push_str(&format!("not to be read back: {}\n", unverified.detail));
        }
        out.text(&said)?;
    }
    Ok(())
}

fn bind(host: &impl Host, args: &BindArgs) -> Result<(), Failure> {
    let pf = discover::find(host, &args.one.pf)?;
    let to = match args.driver {
        Driver::Vfio => To::Vfio,
        Driver::Kernel => To::Kernel,
    };
    let index = args.one.vf;
    let changed = bind::bind(host, &claims()?, &pf, index, to)?;
    let now = discover::find(host, &pf.pf)?;
    let vf = now.vf(index)?;
    #[derive(Serialize)]
    struct Report<'a> {
        pf: &'a str,
        changed: bool,
        #[serde(flatten)]
        vf: &'a Vf,
    }
    let mut out = Out::stdout(args.one.form.json());
    if out.is_json() {
        out.json(&Report {
            pf: &pf.pf,
            changed,
            vf,
        })?;
    } else {
        let driver = vf.driver.as_deref().unwrap_or("no driver");
        let already = if changed { "" } else { " already" };
        let object = discover::object(&pf, index);
        out.text(&format!(
            "{object} ({}) is with {driver}{already}",
            vf.address
        ))?;
    }
    Ok(())
}

fn release(host: &impl Host, args: &OneArgs) -> Result<(), Failure> {
    let pf = discover::find(host, &args.pf)?;
    let released = release::release(host, &claims()?, &pf, args.vf)?;
    #[derive(Serialize)]
    struct Report<'a> {
        pf: &'a str,
        vf: u16,
        #[serde(flatten)]
        released: &'a Released,
    }
    let mut out = Out::stdout(args.form.json());
    if out.is_json() {
        out.json(&Report {
            pf: &pf.pf,
            vf: args.vf,
            released: &released,
        })?;
    } else {
        let object = discover::object(&pf, args.vf);
        let mut said = match released == Released::default() {
            true => format!("{object} was as new already\n"),
            false => format!("{object} is released\n"),
        };
        for left in &released.left {
            said.push_str(&format!("not put back: {left}\n"));
        }
        out.text(&said)?;
    }
    match released.left.is_empty() {
        true => Ok(()),
        false => Err(Failure::Reported),
    }
}

fn switch(host: &impl Host, args: &SwitchArgs) -> Result<(), Failure> {
    let pf = discover::find(host, &args.pf)?;
    let to = match args.mode {
        SwitchMode::Legacy => Mode::Legacy,
        SwitchMode::Switchdev => Mode::Switchdev,
    };
    let claims = claims()?;
    let changed = devlink::set_mode(host, &claims, &pf, to)?;
    let shown = show(host, &claims, &pf);
    let mut out = Out::stdout(args.form.json());
    if out.is_json() {
        out.json(&shown)?;
    } else {
        let already = if changed { "" } else { " already" };
        let mut said = format!("{}: its switch is in mode {}{already}\n", pf.pf, to.name());
        said.push_str(&text(&[shown], out.is_terminal()));
        out.text(&said)?;
    }
    Ok(())
}

/// The PCI devices that running daemons have. Fails if one runs and does not say: what it has must not be taken away unseen.
fn claims() -> Result<Claims, Failure> {
    let mut claims = Claims::new();
    for socket in locate::running(Path::new(locate::FOLDER)) {
        let status: Value = parse(&Client::new(&socket).get("status")?)?;
        let daemon = socket.display().to_string();
        let devices = claimed(&status, &daemon).ok_or_else(|| {
            Failure::one(
                &daemon,
                "the daemon does not say which PCI devices it has: it is of an older version",
                "restart it",
            )
        })?;
        claims.extend(devices);
    }
    Ok(claims)
}

/// What a daemon's status says that it has; none if it says nothing about devices.
fn claimed(status: &Value, daemon: &str) -> Option<Claims> {
    let devices = status["devices"].as_object()?.iter();
    let claims = devices.filter_map(|(address, user)| {
        let user = format!("{} of the daemon at {daemon}", user.as_str()?);
        Some((address.clone(), user))
    });
    Some(claims.collect())
}

#[cfg(test)]
mod tests {
    use super::claimed;
    use serde_json::json;

    #[test]
    fn a_daemon_that_does_not_say_what_it_has_is_told_from_one_that_has_nothing() {
        let status = json!({"devices": {"0000:03:10.0": "uplink up0"}});
        let claims = claimed(&status, "/run/weir/h1.sock").unwrap();
        assert_eq!(
            claims["0000:03:10.0"],
            "uplink up0 of the daemon at /run/weir/h1.sock"
        );
        assert_eq!(claimed(&json!({"devices": {}}), "s"), Some([].into()));
        assert_eq!(claimed(&json!({"host": "h1"}), "s"), None);
    }
}
