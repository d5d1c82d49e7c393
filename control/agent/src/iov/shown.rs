//! What people are told of paths: `path` in `weir get vnic`, `vf` in `weir stats`, the NIC in `weir get switch`.

use serde_json::{Value, json};

use super::why::Why;
use crate::config::fields::Name;
use crate::plan::VnicPlan;
use crate::policy::{Bandwidth, Iov};
use crate::state::State;
use crate::stats::VfStats;
use crate::vf::host::Host;
use crate::vf::link::{self, Found};
use crate::vf::refusals;
use crate::vf::settings::Counters;

impl State {
    /// Why a vNIC here has no VF; none if it has one.
    pub(super) fn why(&self, name: &Name, planned: &VnicPlan) -> Option<Why> {
        if self.has_vf(name) {
            return None;
        }
        if planned.iov == Iov::Software {
            return Some(Why::NotAsked);
        }
        // Before the first look, or between a change of policy and the look that follows it.
        let soon = || Why::Driver("the NIC is looked at in a moment".into());
        let placed = self.iov.placed.get(name).cloned();
        Some(placed.and_then(Result::err).unwrap_or_else(soon))
    }

    /// The VFs that vNICs here have, by PCI address, and whose each is.
    pub(crate) fn given_vfs(&self) -> impl Iterator<Item = (String, String)> {
        let held = self.iov.held.iter();
        held.map(|(name, held)| (held.address.to_string(), format!("vnic {name}")))
    }

    /// The path of a vNIC here, and why: parts of its `status`.
    pub(crate) fn path_of(&self, name: &Name, planned: &VnicPlan) -> Vec<(&'static str, Value)> {
        let mut parts = Vec::new();
        match self.why(name, planned) {
            None => {
                let held = self.iov.held.get(name);
                parts.push(("path", json!("vf")));
                let vf = held.map(|held| json!({"pf": held.vf.pf.to_string(), "vf": held.vf.index, "address": held.address}));
                parts.push(("vf", json!(vf)));
            }
            Some(why) => {
                parts.push(("path", json!("software")));
                parts.push(("path_reason", json!(why.name())));
                if let Some(refusal) = why.refusal() {
                    parts.push(("path_refusal", json!(refusal)));
                }
                if why != Why::NotAsked {
                    parts.push((
                        "path_detail",
                        json!(format!("{}; {}", why.told(), why.mend())),
                    ));
                }
            }
        }
        if let Some(failed) = self.iov.hooks.failed.get(name) {
            parts.push(("vm_not_told", json!(failed)));
        }
        if let Some(why) = self.iov.unheard.get(&planned.identity.mac) {
            parts.push(("vfs_do_not_reach_it", json!(why)));
        }
        parts
    }

    /// Who keeps a vNIC's bandwidth, its VF or the switch, and why; nobody where it has none.
    pub(crate) fn keeps_bandwidth(
        &self,
        name: &Name,
        planned: &VnicPlan,
    ) -> Option<(&'static str, String)> {
        if planned.bandwidth == Bandwidth::default() {
            return None;
        }
        Some(match (self.iov.held.get(name), self.why(name, planned)) {
            (Some(held), _) => {
                let (vf, rates) = (&held.vf, held.rates.told());
                ("vf", format!("VF {vf} is set to and shows {rates}"))
            }
            (None, why) => ("software", why.unwrap_or(Why::NotAsked).told()),
        })
    }

    /// What the switch's NIC has, if the switch is made for SR-IOV.
    pub(crate) fn iov_of_switch(&self) -> Value {
        if !self.policy.iov() {
            return Value::Null;
        }
        let survey = self.iov.survey.as_ref();
        let pf = survey.and_then(|survey| survey.pf.as_ref());
        let usable = survey.map_or(0, |survey| {
            let offers = survey.offers.iter();
            offers.filter(|offer| offer.barred.is_none()).count()
        });
        let problem = survey.filter(|survey| survey.offers.is_empty());
        json!({
            "pf": pf.map(|pf| &pf.pf),
            "interface": pf.and_then(|pf| pf.interface.as_ref()),
            "vfs": pf.map_or(0, |pf| pf.vfs.len()),
            "usable_vfs": usable,
            "given_vfs": self.iov.held.len(),
            "changes_to_vf": self.iov.changes.0,
            "changes_to_software": self.iov.changes.1,
            "problem": problem.map(|survey| format!("{}; {}", survey.none.told(), survey.none.mend())),
        })
    }

    /// What the drivers count of the VFs that vNICs have now, asked once for all.
    pub fn vf_counters(&self, host: &impl Host) -> Vec<Found> {
        let pf = self.iov.survey.as_ref().and_then(|it| it.pf.as_ref());
        let pf = pf.filter(|pf| pf.driver.as_deref().is_some_and(refusals::counts));
        match pf.filter(|_| !self.iov.held.is_empty()) {
            Some(pf) => link::all(host, pf).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// What a vNIC's VFs have carried; none for one that has and had none.
    pub fn vf_stats(&self, name: &Name, found: &[Found]) -> Option<VfStats> {
        let held = self.iov.held.get(name);
        let earlier = self.iov.carried.get(name);
        if held.is_none() && earlier.is_none() {
            return None;
        }
        let mut sum = earlier.cloned().unwrap_or_default();
        let mut counted = earlier.is_some();
        let mut note = None;
        if let Some(held) = held {
            let now = found.iter().find(|found| found.vf == held.vf.index);
            match (&held.before, now) {
                (Some(before), Some(now)) => {
                    sum.add(&now.counters.since(before));
                    counted = true;
                }
                (None, _) => {
                    let survey = self.iov.survey.as_ref();
                    let pf = survey.and_then(|survey| survey.pf.as_ref());
                    let driver = pf.and_then(|pf| pf.driver.as_deref());
                    note = Some(format!(
                        "driver {} counts nothing of VFs; the VM's own counters do",
                        driver.unwrap_or("(none)")
                    ));
                }
                (Some(_), None) => note = Some("the driver does not tell now".to_owned()),
            }
        }
        Some(told(
            held.map(|held| held.vf.to_string()),
            counted.then_some(sum),
            note,
        ))
    }
}

/// As the vNIC's row counts: `rx` is what its VM sent, which is the VF's `tx`.
fn told(vf: Option<String>, counters: Option<Counters>, note: Option<String>) -> VfStats {
    let of = |field: fn(&Counters) -> u64| counters.as_ref().map(field);
    VfStats {
        vf,
        rx_packets: of(|c| c.tx_packets),
        rx_bytes: of(|c| c.tx_bytes),
        tx_packets: of(|c| c.rx_packets),
        tx_bytes: of(|c| c.rx_bytes),
        dropped: of(|c| c.rx_dropped + c.tx_dropped),
        note,
    }
}
