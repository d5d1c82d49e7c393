//! The change of one vNIC's path: the NIC, the switch's tables, the VM, in the order that [`shadow`](super::shadow) tells.

use super::hook::Job;
use super::place::{Offer, VfId};
use super::program;
use super::rate::{self, Rates};
use super::shadow::{Held, Parting, macs, wanted};
use super::survey::Survey;
use super::why::Why;
use crate::config::fields::Name;
use crate::policy::Iov;
use crate::state::State;
use crate::vf::discover::{self, Pf};
use crate::vf::host::Host;
use crate::vf::settings::{Counters, LinkState};
use crate::vf::users::{self, Claims};
use crate::vf::{change, link, refusals};
use std::time::Duration;

/// How long a VM that is to give its VF back is waited for: *choice*; a guest does it in some 100 ms, and policy is not kept until then.
const PARTING: Duration = Duration::from_secs(2);

impl State {
    /// Gives a vNIC a VF, or sets again what is not as it should be.
    pub(super) fn give_vf(
        &mut self,
        host: &impl Host,
        survey: &Survey,
        name: &Name,
        vf: &VfId,
    ) -> Result<(), Why> {
        let (Some(planned), Some(pf)) = (self.plan.vnics.get(name).cloned(), &survey.pf) else {
            return Ok(());
        };
        let Some(wanted) = wanted(&planned) else {
            return Err(Why::NvNetwork);
        };
        let refused = |error| Why::Refused(Box::new(error));
        let rates = Rates::planned(&planned);
        let found = survey.settings(vf);
        if self.iov.held.contains_key(name) {
            // What a driver in reset does not tell is taken for right.
            let Some(found) = found else { return Ok(()) };
            if !rates.are(found)
                && let Err(why) = self.keep_rates(host, pf, name, vf, rates)
            {
                self.take_vf(host, name, &why.told());
                return Err(why);
            }
            if let Some(held) = self.iov.held.get_mut(name) {
                held.rates = rates;
            }
            if wanted.is(found) {
                return Ok(());
            }
            tracing::warn!(vnic = %name, %vf, "somebody changed its VF, or its driver forgot: it is set again");
            if let Err(error) = program::give(host, pf, vf.index, wanted) {
                let why = refused(error);
                self.take_vf(host, name, &why.told());
                return Err(why);
            }
            let opened = program::link(host, pf, vf.index, LinkState::Auto);
            return opened.map(drop).map_err(refused);
        }
        if self.is_parting(vf) {
            // Taken from another in this very look; the next one gives it.
            return Ok(());
        }
        let own = pf.vf(vf.index).map_err(refused)?.clone();
        let is_its = found.is_some_and(|found| wanted.is(found));
        if matches!(planned.iov, Iov::Weight(_)) && !is_its {
            // A pin says that it is this vNIC's VM who uses it.
            let users = users::of(host, &Claims::new(), &own);
            if !users.is_empty() {
                return Err(Why::InUse(users.join(", ")));
            }
        }
        let held = Held {
            vf: vf.clone(),
            address: own.address,
            wanted,
            rates,
            segment: planned.segment,
            macs: macs(&planned),
            before: None,
        };
        self.note_given(Some((name, &held)));
        self.keep_rates(host, pf, name, vf, rates)?;
        let given = program::give(host, pf, vf.index, wanted);
        self.iov.heard.remove(&wanted.mac);
        if given.is_err() {
            // What it was to be promised is others'.
            let left = Rates {
                min_mbit: 0,
                ..rates
            };
            if let Err(error) = program::keep(host, pf, vf.index, left) {
                tracing::warn!(%vf, "it keeps its minimum: {error}");
            }
        }
        let has_link = given.map_err(refused)?;
        let before = self.counts_of(host, pf, vf.index);
        let held = Held { before, ..held };
        self.iov.held.insert(name.clone(), held.clone());
        self.leave_to_wire(name);
        let opened = match has_link {
            true => program::link(host, pf, vf.index, LinkState::Auto).map_err(refused),
            false if self.tells() => Ok(false),
            false => Err(Why::NoWayBack(pf.driver.clone().unwrap_or_default())),
        };
        if let Err(why) = opened {
            self.take_vf(host, name, &why.told());
            return Err(why);
        }
        self.tell(name, pf, &held, "vf_up", "");
        self.iov.changes.0 += 1;
        tracing::info!(vnic = %name, %vf, "its path is the VF");
        Ok(())
    }

    /// Has a VF keep what its vNIC is promised and held to.
    fn keep_rates(
        &mut self,
        host: &impl Host,
        pf: &Pf,
        name: &Name,
        vf: &VfId,
        rates: Rates,
    ) -> Result<(), Why> {
        let had = self.iov.held.get(name).map(|held| held.rates);
        match program::keep(host, pf, vf.index, rates) {
            Ok(false) => Ok(()),
            Ok(true) if had == Some(rates) => {
                tracing::warn!(vnic = %name, %vf, "somebody changed its VF's rates, or its driver forgot: they are set again");
                Ok(())
            }
            Ok(true) => {
                tracing::info!(vnic = %name, %vf, "its VF keeps: {}", rates.told());
                Ok(())
            }
            // A VF that keeps the limit of somebody before is no VF for who has none.
            Err(error) if rates != Rates::NONE && rate::is_final(&error) => {
                Err(Why::RateRefused(Box::new(error)))
            }
            Err(error) => Err(Why::Refused(Box::new(error))),
        }
    }

    /// Takes a vNIC's VF away.
    pub(super) fn take_vf(&mut self, host: &impl Host, name: &Name, why: &str) {
        let Some(held) = self.iov.held.remove(name) else {
            return;
        };
        self.take_from_wire(name, &held);
        self.take_back(host, name, &held, why);
    }

    /// The NIC's and the VM's part of taking a VF away; the tables have theirs.
    pub(super) fn take_back(&mut self, host: &impl Host, name: &Name, held: &Held, why: &str) {
        tracing::info!(vnic = %name, vf = %held.vf, why, "its path is software");
        self.iov.changes.1 += 1;
        let Ok(pf) = discover::find(host, &held.vf.pf) else {
            tracing::warn!(vnic = %name, vf = %held.vf, "its PF has gone");
            return;
        };
        if let (Some(before), Some(now)) = (&held.before, self.counts_of(host, &pf, held.vf.index))
        {
            let carried = self.iov.carried.entry(name.clone()).or_default();
            carried.add(&now.since(before));
        }
        if self.host.iov.is_unplugged_first {
            self.tell(name, &pf, held, "vf_down", why);
            self.iov.parting.push(Parting {
                name: name.clone(),
                held: held.clone(),
                until: self.now() + PARTING,
            });
            return;
        }
        self.take_from_nic(host, &pf, name, held);
        self.tell(name, &pf, held, "vf_down", why);
    }

    /// The NIC's part of taking a VF away.
    fn take_from_nic(&mut self, host: &impl Host, pf: &Pf, name: &Name, held: &Held) {
        match program::take(host, pf, held.vf.index, held.wanted.mac) {
            Ok(()) => drop(self.iov.heard.insert(held.wanted.mac)),
            Err(error) => tracing::error!(vnic = %name, "its VF keeps its frames: {error}"),
        }
        if let Err(error) = program::link(host, pf, held.vf.index, LinkState::Down) {
            tracing::warn!(vnic = %name, "its VF's link stays: {error}");
        }
        let is_nobodys = change::read(host, pf, held.vf.index)
            .is_ok_and(|now| now.mac == program::nobody(pf, held.vf.index));
        if is_nobodys {
            self.slow(host, pf, held.vf.clone());
        }
    }

    /// Has the NIC take VFs that their VMs have given back, or were waited for long enough.
    pub(super) fn part(&mut self, host: &impl Host) {
        let now = self.now();
        for parting in std::mem::take(&mut self.iov.parting) {
            let Parting { name, held, until } = &parting;
            if now < *until && !self.iov.hooks.is_idle_of(name) {
                self.iov.parting.push(parting);
                continue;
            }
            match discover::find(host, &held.vf.pf) {
                Ok(pf) => self.take_from_nic(host, &pf, name, held),
                Err(_) => tracing::warn!(vnic = %name, vf = %held.vf, "its PF has gone"),
            }
        }
    }

    /// Whether a VF's last VM is still to give it back.
    pub(super) fn is_parting(&self, vf: &VfId) -> bool {
        self.iov.parting.iter().any(|it| it.held.vf == *vf)
    }

    /// Whose VF is still to be given back by its last VM: no one else's yet.
    pub(super) fn bar_parting(&self, offers: &mut [Offer]) {
        for offer in offers {
            if self.is_parting(&offer.vf) {
                let user = "its last VM, which is giving it back".to_owned();
                offer.barred.get_or_insert(Why::InUse(user));
            }
        }
    }

    /// Has host.toml's command run, if there is one.
    fn tell(&mut self, vnic: &Name, pf: &Pf, held: &Held, what: &'static str, why: &str) {
        let command = match what {
            "vf_up" => &self.host.iov.up,
            _ => &self.host.iov.down,
        };
        let Some(command) = command.clone() else {
            return;
        };
        let told = vec![
            ("WEIR_VNIC", vnic.to_string()),
            ("WEIR_MAC", held.wanted.mac.to_string()),
            ("WEIR_PF", pf.pf.clone()),
            (
                "WEIR_PF_INTERFACE",
                pf.interface.clone().unwrap_or_default(),
            ),
            ("WEIR_VF", held.vf.index.to_string()),
            ("WEIR_VF_ADDRESS", held.address.clone()),
            ("WEIR_WHY", why.to_owned()),
        ];
        let job = Job {
            what,
            command,
            told,
        };
        self.iov.hooks.run(vnic, job);
        let now = self.now();
        self.iov.hooks.tend(now);
    }

    /// What the driver counts of a VF; none if it does not.
    fn counts_of(&self, host: &impl Host, pf: &Pf, index: u16) -> Option<Counters> {
        let driver = pf.driver.as_deref()?;
        if !refusals::counts(driver) {
            return None;
        }
        let found = link::all(host, pf).ok()?;
        let own = found.into_iter().find(|found| found.vf == index)?;
        Some(own.counters)
    }
}
