//! `weir vf`: virtual functions, without a daemon; what a running daemon has open is its own.

mod claims;
mod list;

use self::claims::claims;
use self::list::{list, show, text};
use crate::cli::vf::{
    BindArgs, CreateArgs, Driver, OneArgs, SetArgs, SwitchArgs, SwitchMode, VfArgs, VfVerb,
};
use crate::failure::{Failure, Named};
use crate::output::Out;
use serde::Serialize;
use weir_agent::vf::bind::{self, To};
use weir_agent::vf::change::{self, Changed};
use weir_agent::vf::count;
use weir_agent::vf::devlink::{self, Mode};
use weir_agent::vf::discover::{self, Vf};
use weir_agent::vf::error::{Error, Name};
use weir_agent::vf::host::{Host, ThisMachine};
use weir_agent::vf::release::{self, Released};

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
