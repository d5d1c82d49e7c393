//! VFs that are left over: of vNICs that policy has taken out, under this daemon or while none ran; and those that are nobody's, which a VM
//! may still have.

use super::place::VfId;
use super::program;
use super::rate::{Nic, Rates};
use super::shadow::{Held, wanted};
use super::survey::{self, Survey};
use crate::config::fields::Name;
use crate::policy::Iov;
use crate::state::State;
use crate::vf::discover::{self, Pf};
use crate::vf::error;
use crate::vf::host::Host;
use crate::vf::{link, refusals};

impl State {
    /// Whether VFs may be left over.
    pub(super) fn is_left(&self) -> bool {
        let iov = &self.iov;
        !(iov.before.is_empty() && iov.leaving.is_empty() && iov.parting.is_empty())
    }

    /// Takes VFs from whom policy has taken out: by the last transaction, or while no daemon ran.
    pub fn take_left(&mut self, host: &impl Host) {
        self.recall(host);
        for (name, held) in std::mem::take(&mut self.iov.leaving) {
            self.take_back(host, &name, &held, "policy has changed");
        }
        self.part(host);
    }

    /// Looks who of those that had a VF when this daemon started may have it by the policy that is applied now. Who may is found by what
    /// the VF is set to ([`State::place_vfs`]); of all others each VF that still has its vNIC's MAC is to be taken away.
    fn recall(&mut self, host: &impl Host) {
        if self.revision == 0 {
            return;
        }
        for (name, held) in std::mem::take(&mut self.iov.before) {
            let has = self.iov.held.get(&name).map(|it| &it.vf) == Some(&held.vf);
            if has || self.is_parting(&held.vf) {
                continue;
            }
            let planned = self.plan.vnics.get(&name);
            let may = planned.is_some_and(|planned| {
                planned.iov != Iov::Software && wanted(planned) == Some(held.wanted)
            });
            let is_to_be_placed = may && self.policy.iov() && !self.iov.placed.contains_key(&name);
            let has_mac = match is_to_be_placed {
                true => None,
                false => has_mac(host, &held),
            };
            match has_mac {
                Some(true) => self.iov.leaving.push((name, held)),
                Some(false) => {}
                // Looked at again.
                None => self.iov.before.push((name, held)),
            }
        }
    }

    /// Has the disk say who has VFs, and who is about to be given one.
    pub(super) fn note_given(&mut self, soon: Option<(&Name, &Held)>) {
        let iov = &mut self.iov;
        let parting = iov.parting.iter().map(|it| (&it.name, &it.held));
        let left = iov.leaving.iter().chain(&iov.before);
        let left = left.map(|(name, held)| (name, held));
        let all = iov.held.iter().chain(parting).chain(left).chain(soon);
        iov.book.note(all);
    }

    /// Has VFs that are nobody's send no more than their drivers' least: a VM may still have them. Drivers forget limits (igb, when its
    /// link's speed changes); one that will not have this is not asked again before the NIC changes.
    pub(super) fn keep_slow(&mut self, host: &impl Host, survey: &Survey) {
        let Some(pf) = &survey.pf else { return };
        for found in &survey.found {
            let (vf, now) = (survey::id(pf, found.vf), &found.settings);
            let is_held = self.iov.held.values().any(|held| held.vf == vf);
            if now.mac == program::nobody(pf, found.vf) && !is_held && !slow(pf).are(now) {
                self.slow(host, pf, vf);
            }
        }
    }

    /// Has one VF send no more than its driver's least.
    pub(super) fn slow(&mut self, host: &impl Host, pf: &Pf, vf: VfId) {
        let nic = Nic::of(host, Some(pf));
        if self.iov.fast.get(&vf) == Some(&nic) {
            return;
        }
        match program::slow(host, pf, vf.index, slow(pf)) {
            Ok(()) => drop(self.iov.fast.remove(&vf)),
            Err(error) => {
                tracing::warn!(%vf, "it is nobody's, and its last VM may send by it as before: {error}");
                self.iov.fast.insert(vf, nic);
            }
        }
    }
}

/// What a VF of nobody's may send.
fn slow(pf: &Pf) -> Rates {
    let driver = pf.driver.as_deref().unwrap_or_default();
    Rates {
        min_mbit: 0,
        max_mbit: refusals::least_rate(driver),
    }
}

/// Whether a VF still has the MAC that it was given; none if its driver does not tell now.
fn has_mac(host: &impl Host, held: &Held) -> Option<bool> {
    let gone = |error: &error::Error| {
        use error::Name::{NoInterface, NoSriov, NoSuchPf, NoSuchVf};
        matches!(error.name, NoInterface | NoSriov | NoSuchPf | NoSuchVf)
    };
    let found = discover::find(host, &held.vf.pf).and_then(|pf| {
        pf.vf(held.vf.index)?;
        link::settings(host, &pf)
    });
    match found {
        Ok(all) => {
            let own = all.into_iter().find(|found| found.vf == held.vf.index);
            own.map(|own| own.settings.mac == held.wanted.mac)
        }
        Err(error) if gone(&error) => Some(false),
        Err(_) => None,
    }
}
