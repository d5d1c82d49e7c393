//! What the switch's uplink has to give: its NIC, the VFs there, and why each can or cannot be used.

use std::collections::BTreeSet;

use super::place::{Offer, VfId};
use super::why::Why;
use crate::config::device::Device;
use crate::config::fields::Name;
use crate::config::host::Uplink;
use crate::policy::VfPin;
use crate::vf::discover::{self, Pf, Vf};
use crate::vf::host::Host;
use crate::vf::link::{self, Found};
use crate::vf::refusals;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The PF that the uplink is on, if it is on one.
    pub pf: Option<Pf>,
    /// Its VFs.
    pub offers: Vec<Offer>,
    /// What they are set to, as far as the driver tells.
    pub found: Vec<Found>,
    /// Why there is none, where there is none.
    pub none: Why,
}

impl Survey {
    fn nothing(none: Why) -> Survey {
        Survey {
            pf: None,
            offers: Vec::new(),
            found: Vec::new(),
            none,
        }
    }

    /// All that its VFs are promised, in Mbit/s; none as long as the driver does not tell of each.
    pub fn promised(&self) -> Option<u64> {
        let vfs = self.pf.as_ref().map_or(0, |pf| pf.vfs.len());
        let minima = self.found.iter().map(|vf| u64::from(vf.settings.min_mbit));
        (self.found.len() == vfs).then(|| minima.sum())
    }

    /// Reads anew what the VFs are set to. What a driver in reset does not tell stays as it was.
    pub fn read_again(&mut self, host: &impl Host) {
        let Some(pf) = &self.pf else { return };
        if pf.interface.is_none() || pf.vfs.is_empty() {
            return;
        }
        for new in link::settings(host, pf).unwrap_or_default() {
            match self.found.iter_mut().find(|found| found.vf == new.vf) {
                Some(found) => *found = new,
                None => self.found.push(new),
            }
        }
    }

    /// What a VF is set to.
    pub fn settings(&self, vf: &VfId) -> Option<&crate::vf::settings::Settings> {
        self.pf.as_ref().filter(|pf| *pf.pf == *vf.pf)?;
        let found = self.found.iter().find(|found| found.vf == vf.index);
        found.map(|found| &found.settings)
    }
}

/// Which interface or PCI device an uplink is on.
pub fn place_of(uplink: &Uplink) -> Option<&str> {
    match &uplink.device {
        Device::Pci(address) => address.split(',').next(),
        Device::Vdev(args) => args.split(',').find_map(|arg| arg.strip_prefix("iface=")),
        _ => None,
    }
}

/// What an uplink is a team of, if it is one: DPDK's net_bonding, or a bond, a team or a bridge of the kernel.
pub fn team(host: &impl Host, uplink: &Uplink) -> Option<String> {
    if let Device::Vdev(args) = &uplink.device
        && (args.starts_with("net_bonding") || args.starts_with("eth_bond"))
    {
        return Some(args.clone());
    }
    let interface = place_of(uplink)?;
    let folder = format!("/sys/class/net/{interface}");
    let names = host.names(&folder).into_iter();
    let lower: Vec<String> = names
        .filter_map(|name| name.strip_prefix("lower_").map(str::to_owned))
        .collect();
    // A VLAN's interface has one below it, too, and is no team.
    let is_team = host.exists(&format!("{folder}/bonding")) || lower.len() > 1;
    is_team.then(|| match lower.is_empty() {
        true => interface.to_owned(),
        false => format!("{interface} of {}", lower.join(" and ")),
    })
}

/// Looks at the NIC of an uplink. `own` are PCI addresses that the daemon itself has open; `told`: whether host.toml has a command that
/// tells a VM that its VF goes.
pub fn look(host: &impl Host, uplink: &Uplink, own: &BTreeSet<String>, told: bool) -> Survey {
    let Some(place) = place_of(uplink) else {
        let problem = format!("{} is no NIC", uplink.device);
        return Survey::nothing(Why::NoSriov(problem));
    };
    let pf = match discover::find(host, place) {
        Ok(pf) => pf,
        Err(error) => {
            let problem = format!("{} {}", error.object, error.problem);
            return Survey::nothing(Why::NoSriov(problem));
        }
    };
    let mut survey = Survey::nothing(Why::NoVfs(pf.pf.clone()));
    let unset = match link::interface(&pf) {
        Err(error) => Some(Why::Driver(format!("PF {}: {}", pf.pf, error.problem))),
        Ok(interface) if !has_link(host, interface) => Some(Why::NoLink),
        Ok(_) => None,
    };
    if pf.interface.is_some() && !pf.vfs.is_empty() {
        // A driver in reset does not tell: what cannot be read is taken for what it was.
        survey.found = link::settings(host, &pf).unwrap_or_default();
    }
    let driver = pf.driver.as_deref().unwrap_or_default();
    let no_way = !told && !refusals::has_link_state(driver);
    let no_way = no_way.then(|| Why::NoWayBack(driver.to_owned()));
    let offers = pf.vfs.iter().map(|vf| Offer {
        vf: id(&pf, vf.vf),
        barred: unset
            .clone()
            .or_else(|| barred(vf, own))
            .or_else(|| no_way.clone()),
    });
    survey.offers = offers.collect();
    survey.pf = Some(pf);
    survey
}

/// How a VF of a PF is called.
pub fn id(pf: &Pf, index: u16) -> VfId {
    VfId {
        pf: pf.pf.as_str().into(),
        index,
    }
}

/// The VF that a pin means: its PF is named by the uplink on it, by its interface or by its address.
pub fn pinned(survey: &Survey, uplink: &Name, pin: &VfPin) -> Result<VfId, Why> {
    let Some(pf) = &survey.pf else {
        return Err(survey.none.clone());
    };
    let named = pin.pf.to_ascii_lowercase();
    let names = [
        Some(&**uplink),
        pf.interface.as_deref(),
        Some(&*pf.pf),
        pf.pf.strip_prefix("0000:"),
    ];
    let is_it = |name: &str| *name == *pin.pf || *name == *named;
    if !names.into_iter().flatten().any(is_it) {
        return Err(Why::OtherPf(pin.pf.to_string()));
    }
    match pf.vf(pin.index) {
        Ok(_) => Ok(id(pf, pin.index)),
        Err(_) if pf.vfs.is_empty() => Err(survey.none.clone()),
        Err(error) => Err(Why::NoSuchVf(format!("{} {}", pf.pf, error.problem))),
    }
}

/// What keeps a VF of its own from use.
fn barred(vf: &Vf, own: &BTreeSet<String>) -> Option<Why> {
    if own.contains(&vf.address) {
        return Some(Why::InUse("this daemon itself, as a port".into()));
    }
    match (vf.driver.as_deref(), vf.iommu_group) {
        (None | Some("vfio-pci"), None) => Some(Why::NoIommu),
        (None, Some(_)) => Some(Why::Driver(format!(
            "VF {} ({}) has no driver",
            vf.vf, vf.address
        ))),
        (Some(_), _) => None,
    }
}

/// RFC 2863's ifOperStatus; "unknown" is of drivers that do not tell.
fn has_link(host: &impl Host, interface: &str) -> bool {
    let state = host.read(&format!("/sys/class/net/{interface}/operstate"));
    !matches!(
        state.as_deref(),
        Some("down" | "lowerlayerdown" | "notpresent")
    )
}
