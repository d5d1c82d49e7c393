//! The NIC's part of a change of path.
//!
//! A VF that is given is set so that it can do no more than its vNIC may: its VLAN, spoof check on, no trust; its MAC comes last, since
//! with it the NIC's steering changes. A VF that is taken away keeps VLAN and spoof check, and gets a MAC of nobody's: its VM may
//! still have it, and is then alone in its VLAN with a MAC that nobody asks for. Without a VLAN it would be on the provider's own network,
//! and with the MAC zero some drivers let the VM choose one (igb: `igb_set_vf_mac_addr`). What it may send then is
//! [`left`](super::left)'s matter.

use super::rate::Rates;
use crate::vf::change::{self, Change};
use crate::vf::discover::Pf;
use crate::vf::error::{Error, Name};
use crate::vf::heard;
use crate::vf::host::Host;
use crate::vf::refusals;
use crate::vf::settings::{LinkState, Settings, VlanProtocol};
use weir_wire::Mac;

/// What a VF is to be for a vNIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The vNIC's MAC.
    pub mac: Mac,
    /// Its VLAN; 0: none.
    pub vlan: u16,
}

impl Wanted {
    /// Whether a VF is set so, as far as packets are concerned.
    pub fn is(self, settings: &Settings) -> bool {
        settings.mac == self.mac
            && (settings.vlan, settings.qos) == (self.vlan, 0)
            && settings.spoof_check == Some(true)
            && settings.trust != Some(true)
    }
}

/// Sets a VF for a vNIC, with its link down where the driver has that, and has the PF hear the MAC no longer; returns whether the
/// driver has link state. Does nothing to a VF that is so already. What the driver accepts and does not show is refused.
///
/// Fails with the [`Name`] of what was refused; then the VF has not got the MAC.
pub fn give(host: &impl Host, pf: &Pf, index: u16, wanted: Wanted) -> Result<bool, Error> {
    let now = change::read(host, pf, index)?;
    let driver = pf.driver.as_deref().unwrap_or_default();
    if wanted.is(&now) {
        heard::set(host, pf, wanted.mac, false)?;
        return Ok(refusals::has_link_state(driver));
    }
    let has_link = match now.mac == wanted.mac {
        // Its VM uses it.
        true => refusals::has_link_state(driver),
        false => link(host, pf, index, LinkState::Down)?,
    };
    let set = |change: Change| change::change(host, pf, index, &change);
    set(Change {
        // Asked only where there is some: not every driver has it.
        trust: (now.trust == Some(true)).then_some(false),
        spoof_check: Some(true),
        vlan: Some(wanted.vlan),
        qos: Some(0),
        vlan_protocol: Some(VlanProtocol::Q),
        ..Change::default()
    })?;
    heard::set(host, pf, wanted.mac, false)?;
    set(Change {
        mac: Some(wanted.mac),
        ..Change::default()
    })?;
    Ok(has_link)
}

/// Has a VF keep rates; false if it does already. What was written is read back, and put back if it is refused.
///
/// Fails with the [`Name`] of what was refused.
pub fn keep(host: &impl Host, pf: &Pf, index: u16, rates: Rates) -> Result<bool, Error> {
    let change = Change {
        min_mbit: Some(rates.min_mbit),
        max_mbit: Some(rates.max_mbit),
        ..Change::default()
    };
    let done = change::change(host, pf, index, &change)?;
    Ok(!done.changed.is_empty())
}

/// Has a VF that is nobody's send no more than `rates`; where the driver will not have that, what it was promised is others' again all the
/// same.
///
/// Fails with the [`Name`] of what was refused.
pub fn slow(host: &impl Host, pf: &Pf, index: u16, rates: Rates) -> Result<(), Error> {
    keep(host, pf, index, rates).map(drop).inspect_err(|_| {
        let none = Change {
            min_mbit: Some(0),
            ..Change::default()
        };
        if let Err(error) = change::change(host, pf, index, &none) {
            tracing::warn!("a VF keeps its minimum: {error}");
        }
    })
}

/// Takes a MAC from a VF, and has the PF hear it. What it may send is [`slow`]'s.
///
/// Fails with what was refused, of the first that was; both are tried.
pub fn take(host: &impl Host, pf: &Pf, index: u16, mac: Mac) -> Result<(), Error> {
    let parked = match pf.vf(index).and_then(|_| change::read(host, pf, index)) {
        // Somebody else's by now.
        Ok(now) if now.mac != mac => Ok(()),
        Ok(_) => {
            let parked = Change {
                mac: Some(nobody(pf, index)),
                ..Change::default()
            };
            change::change(host, pf, index, &parked).map(drop)
        }
        // Who is not there hears nothing.
        Err(error) if error.name == Name::NoSuchVf => Ok(()),
        Err(error) => Err(error),
    };
    let heard = heard::set(host, pf, mac, true);
    parked.and(heard)
}

/// Sets a VF's link; false if its driver says that it has no such thing, which it is asked only if the link is not so already.
pub fn link(host: &impl Host, pf: &Pf, index: u16, state: LinkState) -> Result<bool, Error> {
    let change = Change {
        link_state: Some(state),
        ..Change::default()
    };
    match change::change(host, pf, index, &change) {
        Ok(_) => Ok(true),
        Err(error) if error.name == Name::NotOfDriver => Ok(false),
        Err(error) => Err(error),
    }
}

/// A MAC for a VF that nobody has: locally administered, of the PF's place in the machine and the VF's index, so that no two VFs of a
/// machine share one.
pub fn nobody(pf: &Pf, index: u16) -> Mac {
    let mut parts = pf.pf.rsplit([':', '.']);
    let mut part = || parts.next().and_then(|it| u8::from_str_radix(it, 16).ok());
    let (function, device, bus) = (part(), part(), part());
    let place = device.unwrap_or(0) << 3 | function.unwrap_or(0);
    let [high, low] = index.to_be_bytes();
    Mac::new([0x02, 0x77, bus.unwrap_or(0), place, high, low])
}
