//! Changing what a VF is set to: only what differs is written, everything is read back, and a refusal leaves all as it was.

use super::discover::{Pf, object};
use super::error::{Error, Name};
use super::host::Host;
use super::link;
use super::refusals::{self, unread};
use super::settings::{LinkState, Setting, Settings, VlanProtocol};
use serde::Serialize;
use std::time::Duration;
use weir_wire::Mac;

/// How long a driver may be busy: i40e and ice reset a VF after most changes, and answer EAGAIN or EBUSY meanwhile.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(100);

/// What is asked for; what is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// [`Settings::mac`].
    pub mac: Option<Mac>,
    /// [`Settings::vlan`].
    pub vlan: Option<u16>,
    /// [`Settings::qos`].
    pub qos: Option<u8>,
    /// [`Settings::vlan_protocol`].
    pub vlan_protocol: Option<VlanProtocol>,
    /// [`Settings::spoof_check`].
    pub spoof_check: Option<bool>,
    /// [`Settings::trust`].
    pub trust: Option<bool>,
    /// [`Settings::link_state`].
    pub link_state: Option<LinkState>,
    /// [`Settings::min_mbit`].
    pub min_mbit: Option<u32>,
    /// [`Settings::max_mbit`].
    pub max_mbit: Option<u32>,
}

impl Change {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }

    /// What the settings would be.
    pub fn on(&self, now: &Settings) -> Settings {
        Settings {
            mac: self.mac.unwrap_or(now.mac),
            vlan: self.vlan.unwrap_or(now.vlan),
            qos: self.qos.unwrap_or(now.qos),
            vlan_protocol: self.vlan_protocol.unwrap_or(now.vlan_protocol),
            spoof_check: self.spoof_check.or(now.spoof_check),
            trust: self.trust.or(now.trust),
            link_state: self.link_state.unwrap_or(now.link_state),
            min_mbit: self.min_mbit.unwrap_or(now.min_mbit),
            max_mbit: self.max_mbit.unwrap_or(now.max_mbit),
        }
    }

    /// Refuses what no driver takes.
    fn check(&self, object: &str) -> Result<(), Error> {
        let bad =
            |problem: String, mend: &str| Err(Error::new(Name::BadValue, object, problem, mend));
        match self {
            Change { mac: Some(mac), .. } if mac.is_multicast() => bad(
                format!("{mac} is a group's address, not a VF's"),
                "give a MAC whose first octet is even, such as 02:00:00:00:00:01",
            ),
            // 4095 is reserved (802.1Q table 9-2).
            Change {
                vlan: Some(vlan @ 4095..),
                ..
            } => bad(
                format!("there is no VLAN {vlan}"),
                "VLANs are 1 to 4094; 0 is none",
            ),
            Change {
                qos: Some(qos @ 8..),
                ..
            } => bad(
                format!("there is no priority {qos}"),
                "priorities are 0 to 7",
            ),
            _ => Ok(()),
        }
    }
}

/// What is as it was asked for, as far as can be known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unverified {
    /// Which setting the driver took and does not show.
    pub setting: Setting,
    /// A sentence about it.
    pub detail: String,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// What was written; empty if everything was so already.
    pub changed: Vec<Setting>,
    /// What cannot be read back.
    pub unverified: Vec<Unverified>,
    /// What it is set to now.
    pub settings: Settings,
}

/// What a VF is set to. Waits for a driver that is busy with it.
///
/// Fails with [`Name::NoInterface`] where the PF has none, [`Name::Busy`], or what netlink answers.
pub fn read(host: &impl Host, pf: &Pf, index: u16) -> Result<Settings, Error> {
    pf.vf(index)?;
    for _ in 0..TRIES {
        let found = link::all(host, pf)?;
        if let Some(found) = found.into_iter().find(|found| found.vf == index) {
            return Ok(found.settings);
        }
        // A VF in reset is left out of the list (rtnl_fill_vfinfo when ndo_get_vf_config fails).
        host.pause(PAUSE);
    }
    Err(busy(&object(pf, index)))
}

fn busy(object: &str) -> Error {
    Error::new(
        Name::Busy,
        object,
        "its driver is busy with it, and stayed so",
        "try again; dmesg tells more",
    )
}

/// Sets a VF: what differs is written one by one, each read back.
///
/// Fails with the [`Name`] of what was refused, after putting back what had been written before it.
pub fn change(host: &impl Host, pf: &Pf, index: u16, change: &Change) -> Result<Changed, Error> {
    let object = object(pf, index);
    pf.vf(index)?;
    change.check(&object)?;
    let before = read(host, pf, index)?;
    let wanted = change.on(&before);
    if wanted.max_mbit != 0 && wanted.min_mbit > wanted.max_mbit {
        return Err(Error::new(
            Name::BadValue,
            &object,
            format!(
                "a minimum of {} is above the maximum of {} Mbit/s",
                wanted.min_mbit, wanted.max_mbit
            ),
            "give both, with --min not above --max",
        ));
    }
    let mut done = Changed {
        changed: Vec::new(),
        unverified: Vec::new(),
        settings: before.clone(),
    };
    for setting in order(&before, &wanted) {
        if setting.same(&before, &wanted) {
            continue;
        }
        if let Err(error) = write(host, pf, index, setting, &wanted, &mut done) {
            let left = put_back(host, pf, index, &before);
            return Err(with_left(error, &left));
        }
    }
    Ok(done)
}

/// The order in which settings are written: a minimum is never above its maximum on the way, and one that goes down goes first. As long as it
/// stands a driver may refuse all that is asked of the VF: its link is slower than when it was promised.
fn order(before: &Settings, wanted: &Settings) -> [Setting; 7] {
    let [first, second] = match wanted.min_mbit < before.min_mbit {
        true => [Setting::MinRate, Setting::MaxRate],
        false => [Setting::MaxRate, Setting::MinRate],
    };
    [
        Setting::Trust,
        Setting::Mac,
        Setting::Vlan,
        Setting::SpoofCheck,
        Setting::LinkState,
        first,
        second,
    ]
}

/// Writes one setting and reads it back into `done`.
fn write(
    host: &impl Host,
    pf: &Pf,
    index: u16,
    setting: Setting,
    wanted: &Settings,
    done: &mut Changed,
) -> Result<(), Error> {
    let driver = pf.driver.as_deref().unwrap_or_default();
    // The two rates travel together: the other one stays.
    let mut asked = done.settings.clone();
    setting.copy(wanted, &mut asked);
    // A maximum above the link, which has become slower, has drivers refuse whatever minimum comes with it: first both at once.
    let mut told = asked.clone();
    if setting == Setting::MinRate && wanted.min_mbit < done.settings.min_mbit {
        told.max_mbit = wanted.max_mbit;
    }
    let mut tries = 0;
    loop {
        match link::set(host, pf, index, setting, &told) {
            Ok(()) => break,
            Err(refused) if told != asked && !refused.is_busy() => told = asked.clone(),
            Err(refused) if refused.is_busy() && tries < TRIES => {
                tries += 1;
                host.pause(PAUSE);
            }
            Err(refused) => {
                return Err(refusals::explain(
                    host, pf, index, setting, &asked, &refused,
                ));
            }
        }
    }
    let found = read(host, pf, index)?;
    let kept = setting.same(&found, &asked);
    done.changed.push(setting);
    done.settings = found;
    if kept {
        return Ok(());
    }
    if let Some(why) = unread(driver, setting) {
        let detail = format!("{} {}: {why}", setting.name(), setting.value(&asked));
        done.unverified.push(Unverified { setting, detail });
        return Ok(());
    }
    Err(Error::new(
        Name::NotKept,
        object(pf, index),
        format!(
            "driver {driver} accepted {} {} and shows {}",
            setting.name(),
            setting.value(&asked),
            setting.value(&done.settings)
        ),
        "give a value that the driver keeps, or leave this to the software path",
    ))
}

/// Sets a VF back, as far as it will be; what was not is returned, as sentences.
fn put_back(host: &impl Host, pf: &Pf, index: u16, before: &Settings) -> Vec<String> {
    let mut left = Vec::new();
    let Ok(now) = read(host, pf, index) else {
        return vec!["its settings, which cannot be read".into()];
    };
    let mut done = Changed {
        changed: Vec::new(),
        unverified: Vec::new(),
        settings: now.clone(),
    };
    for setting in order(&now, before) {
        if setting.same(&now, before) {
            continue;
        }
        if write(host, pf, index, setting, before, &mut done).is_err() {
            let (name, value) = (setting.name(), setting.value(before));
            left.push(format!("{name}, which was {value}"));
        }
    }
    left
}

fn with_left(mut error: Error, left: &[String]) -> Error {
    if !left.is_empty() {
        error.problem = format!("{}; not put back: {}", error.problem, left.join(", "));
    }
    error
}
