//! What `weir vf list` shows, and the other verbs after a change.

use super::claims::claims;
use crate::cli::vf::ListArgs;
use crate::failure::Failure;
use crate::output::Out;
use crate::table::Table;
use serde::Serialize;
use weir_agent::vf::devlink::{self, Mode};
use weir_agent::vf::discover::{self, Pf, Vf};
use weir_agent::vf::host::Host;
use weir_agent::vf::settings::{Counters, Setting, Settings};
use weir_agent::vf::users::{self, Claims};
use weir_agent::vf::{link, refusals};

/// A PF as `weir vf list` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
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

pub(super) fn list(host: &impl Host, args: &ListArgs) -> Result<(), Failure> {
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

pub(super) fn show(host: &impl Host, claims: &Claims, pf: &Pf) -> Shown {
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

pub(super) fn text(shown: &[Shown], terminal: bool) -> String {
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
