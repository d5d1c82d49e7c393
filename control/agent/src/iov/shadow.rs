//! The change of a vNIC's path. Its software path is always there: its port is open and polled, its frames are taken, whatever else it
//! has. What changes is whom the NIC brings the frames for its MAC, what the switch's tables say of it, and what its VM is told.
//!
//! *To software:* tables, NIC, VM. The NIC may hand the switch a frame for the MAC as soon as its filter has moved, and then somebody
//! here has to know the MAC; until it has, no more is lost than what vNICs of this host send to a VM that still listens to its VF.
//! *To the VF:* NIC, tables, VM, for the same reason: as long as the tables know the software path, what the switch sends to the MAC goes
//! there; once they do not, it goes to the wire, where the NIC must have the filter.
//! The VM is told last: before, its frames would leave by a path on which no answer comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::given::Book;
use super::hook::Hooks;
use super::place::{Ask, Offer, Placed, VfId, Wish, place};
use super::program::Wanted;
use super::rate::{self, Asked, Nic, Rates};
use super::survey::{self, Survey};
use super::why::Why;
use crate::config::device::Device;
use crate::config::fields::Name;
use crate::config::host::HostConfig;
use crate::plan::VnicPlan;
use crate::policy::{Attach, Iov, Minimum, SegmentKey};
use crate::state::State;
use crate::transaction::BRIDGED;
use crate::vf::change;
use crate::vf::error::{self, Error};
use crate::vf::host::{Host, ThisMachine};
use crate::vf::hurried::Hurried;
use crate::vf::settings::Counters;
use weir_tables::ids::VnicId;
use weir_wire::Mac;

/// Between two looks at the NIC. A VF's own interface is in its VM's namespace or in no kernel, whose events nobody hears here, so that
/// it is looked at and not waited for.
const LOOK: Duration = Duration::from_millis(200);
/// How long drivers that are busy are waited for, in all, by one look: the control thread has workers, neighbours and users besides. What was
/// not done then is done soon.
const PATIENCE: Duration = Duration::from_secs(1);
/// After which time a VF is tried again whose driver was busy.
const SOON: Duration = Duration::from_secs(1);
/// How long a VF that could not be set is left alone, if policy does not change.
const REFUSED: Duration = Duration::from_secs(30);

/// A vNIC's VF.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which.
    pub vf: VfId,
    /// Its own PCI address.
    pub address: String,
    /// What it is set to.
    pub wanted: Wanted,
    /// What it keeps of the vNIC's bandwidth, as it was read back.
    pub rates: Rates,
    pub(super) segment: SegmentKey,
    pub(super) macs: Vec<Mac>,
    /// What the VF had carried when it was given; none where its driver does not count.
    pub before: Option<Counters>,
}

/// What could not be given.
enum Failed {
    /// This VF.
    Vf(VfId),
    /// This vNIC's bandwidth, on whichever VF, and why.
    Rates(Name, Error),
}

/// A VF whose VM gives it back before the NIC takes it.
#[derive(Clone, Debug)]
pub(super) struct Parting {
    /// Whose it was.
    pub name: Name,
    /// What it was.
    pub held: Held,
    /// Until when its VM is waited for.
    pub until: Duration,
}

/// The paths of all vNICs.
#[derive(Default)]
pub struct Paths {
    /// Who has a VF: as the tables and the NIC have it.
    pub held: BTreeMap<Name, Held>,
    /// Who should have one, or why not.
    pub placed: Placed,
    /// What was found last.
    pub survey: Option<Survey>,
    /// VFs that could not be given, why, and until when that counts.
    refused: BTreeMap<VfId, (Why, Duration)>,
    /// vNICs whose bandwidth their VF would not keep.
    pub rates: rate::Refusals,
    /// MACs that the PF was told to hear.
    pub(super) heard: BTreeSet<Mac>,
    /// Those that it would not, and why.
    pub unheard: BTreeMap<Mac, String>,
    /// Commands that tell VMs.
    pub hooks: Hooks,
    /// What VFs carried that a vNIC had before.
    pub carried: BTreeMap<Name, Counters>,
    /// Changes of path: to a VF, to software.
    pub changes: (u64, u64),
    /// Of which policy and which observers the last look was.
    seen: (u64, Vec<VnicId>),
    next: Duration,
    /// VFs that their VMs were told to give back, and that the NIC still has as theirs.
    pub(super) parting: Vec<Parting>,
    /// VFs of vNICs that the last transaction took out, and that the NIC still has as theirs.
    pub(super) leaving: Vec<(Name, Held)>,
    /// Who was given which VF, on disk.
    pub(super) book: Book,
    /// VFs that were given before this daemon started, and of which it is not known yet whether their vNICs may have them.
    pub(super) before: Vec<(Name, Held)>,
    /// VFs of nobody that would not be slow, and of what NIC that was.
    pub(super) fast: BTreeMap<VfId, Nic>,
    /// Of which NIC the last look was, and what that had promised its VFs by then.
    asked: Option<(Nic, Option<u64>)>,
}

impl Paths {
    /// Those of a host that starts, on whose disk it is who had a VF before.
    pub fn of(host: &HostConfig) -> Paths {
        let (book, before) = Book::open(host.state_dir.as_deref(), &host.name);
        Paths {
            book,
            before,
            ..Paths::default()
        }
    }

    /// Whether there is something that the NIC would not do.
    fn has_refusals(&self) -> bool {
        !(self.refused.is_empty() && self.rates.is_empty() && self.fast.is_empty())
    }

    /// Has all be asked again that the NIC would not do.
    fn forget_refusals(&mut self) {
        self.refused.clear();
        self.rates = rate::Refusals::default();
        self.fast.clear();
    }
}

/// Whether the NIC is known to promise less than it did.
fn is_less(now: Option<u64>, before: Option<u64>) -> bool {
    matches!((now, before), (Some(now), Some(before)) if now < before)
}

impl State {
    /// Gives and takes VFs as policy, observers and the NIC ask. Called every few milliseconds.
    pub(crate) fn tend_iov(&mut self) {
        let now = self.now();
        self.iov.hooks.tend(now);
        let machine = Hurried::new(&ThisMachine, PATIENCE);
        self.part(&machine);
        if !self.policy.iov() {
            if self.is_left() && now >= self.iov.next {
                self.take_left(&machine);
                self.note_given(None);
                self.iov.next = self.now() + LOOK;
            }
            return;
        }
        let seen = (self.revision, self.watched());
        if self.iov.seen == seen && now < self.iov.next {
            return;
        }
        let Some(uplink) = self.host.uplinks.get(BRIDGED.index()).cloned() else {
            return;
        };
        let survey = survey::look(&machine, &uplink, &self.own_devices(), self.tells());
        self.place_vfs(&machine, survey);
        self.iov.next = self.now() + LOOK;
    }

    /// Places VFs by what was found, and changes paths until all are as placed.
    pub fn place_vfs(&mut self, host: &impl Host, mut survey: Survey) {
        let now = self.now();
        self.take_left(host);
        if self.iov.seen.0 != self.revision {
            // What was refused may be fine for this policy.
            self.iov.refused.clear();
            let vnics = &self.plan.vnics;
            let is_here = |name: &Name| vnics.contains_key(name);
            self.iov.carried.retain(|name, _| is_here(name));
            self.iov.hooks.failed.retain(|name, _| is_here(name));
        }
        self.iov.seen = (self.revision, self.watched());
        self.iov.refused.retain(|_, (_, until)| now < *until);
        self.review_rates(host, &survey);
        self.review_nic(host, &survey);
        let offers = loop {
            let before = survey.promised();
            let offers = self.settle(host, &mut survey);
            if !self.iov.has_refusals() {
                break offers;
            }
            survey.read_again(host);
            if !is_less(survey.promised(), before) {
                break offers;
            }
            self.iov.forget_refusals();
        };
        survey.offers = offers;
        let promised = survey
            .promised()
            .or(self.iov.asked.take().and_then(|(_, it)| it));
        self.iov.asked = Some((Nic::now(host, &survey), promised));
        self.note_given(None);
        self.iov.survey = Some(survey);
    }

    /// Changes paths until all are as placed; what there was to place, with what the NIC refused barred.
    fn settle(&mut self, host: &impl Host, survey: &mut Survey) -> Vec<Offer> {
        let mut offers = survey.offers.clone();
        for offer in &mut offers {
            if let Some((why, _)) = self.iov.refused.get(&offer.vf) {
                offer.barred.get_or_insert(why.clone());
            }
        }
        self.bar_parting(&mut offers);
        loop {
            let asks = self.asks(survey);
            let has = self.who_has(&asks, survey);
            let placed = place(&asks, &offers, &has, &survey.none);
            let Err(failed) = self.change_paths(host, survey, &placed) else {
                self.iov.placed = placed;
                self.let_go(host, survey, &has);
                break;
            };
            // Another may do; each round takes one VF out, or one who asks.
            match failed {
                Failed::Rates(vnic, error) => {
                    let asked = self.asked(&vnic, &Nic::now(host, survey));
                    let Some(asked) = asked else { break };
                    self.iov.rates.note(&vnic, asked, error);
                }
                Failed::Vf(vf) => {
                    let Some((why, _)) = self.iov.refused.get(&vf) else {
                        break;
                    };
                    let offer = offers.iter_mut().find(|offer| offer.vf == vf);
                    let Some(offer) = offer else { break };
                    offer.barred.get_or_insert(why.clone());
                }
            }
            // What was set in this round is nobody else's doing.
            survey.read_again(host);
        }
        if let Some(pf) = survey.pf.as_ref().filter(|pf| !pf.vfs.is_empty()) {
            self.have_heard(host, pf);
        }
        self.keep_slow(host, survey);
        offers
    }

    /// Makes paths what they were placed to be; fails at the first that could not.
    fn change_paths(
        &mut self,
        host: &impl Host,
        survey: &Survey,
        placed: &Placed,
    ) -> Result<(), Failed> {
        let held: Vec<Name> = self.iov.held.keys().cloned().collect();
        for name in held {
            let now = self.iov.held.get(&name).map(|held| &held.vf);
            let why = match placed.get(&name) {
                Some(Ok(vf)) if Some(vf) == now => continue,
                Some(Ok(_)) => "it has another VF".to_owned(),
                Some(Err(why)) => why.told(),
                None => "it is not here any more".to_owned(),
            };
            self.take_vf(host, &name, &why);
        }
        // Who gives back most goes first: as long as minima are more than the link, a driver may refuse everything else.
        let promised = |vf: &VfId| survey.settings(vf).map_or(0, |now| i64::from(now.min_mbit));
        let given = placed.iter();
        let given = given.filter_map(|(name, result)| Some((name, result.as_ref().ok()?)));
        let mut given: Vec<(&Name, &VfId)> = given.collect();
        given.sort_by_key(|(name, vf)| {
            let planned = self.plan.vnics.get(*name);
            let wanted = planned.map_or(0, |planned| Rates::planned(planned).min_mbit);
            i64::from(wanted) - promised(vf)
        });
        for (name, vf) in given {
            if let Err(why) = self.give_vf(host, survey, name, vf) {
                let is_busy = why.refusal() == Some(error::Name::Busy);
                let until = self.now() + if is_busy { SOON } else { REFUSED };
                tracing::warn!(vnic = %name, %vf, "it does not get this VF: {}; {}", why.told(), why.mend());
                if let Why::RateRefused(error) = why {
                    return Err(Failed::Rates(name.clone(), *error));
                }
                self.iov.refused.insert(vf.clone(), (why, until));
                return Err(Failed::Vf(vf.clone()));
            }
        }
        Ok(())
    }

    /// Takes VFs from vNICs that had them before this daemon started and may not have them any more.
    fn let_go(&mut self, host: &impl Host, survey: &Survey, has: &BTreeMap<Name, VfId>) {
        for (name, vf) in has {
            let is_held = self.iov.held.values().any(|held| held.vf == *vf);
            if self.has_vf(name) || is_held || self.is_parting(vf) {
                continue;
            }
            let (Some(pf), Some(planned)) = (&survey.pf, self.plan.vnics.get(name)) else {
                continue;
            };
            // As it is by now: this look may have taken it.
            let now = change::read(host, pf, vf.index);
            let (Ok(own), Ok(now), Some(wanted)) = (pf.vf(vf.index), now, wanted(planned)) else {
                continue;
            };
            if !wanted.is(&now) {
                continue;
            }
            let held = Held {
                vf: vf.clone(),
                address: own.address.clone(),
                wanted,
                rates: Rates::NONE,
                segment: planned.segment,
                macs: macs(planned),
                before: None,
            };
            let why = self.why(name, planned).map(|why| why.told());
            self.take_back(host, name, &held, &why.unwrap_or_default());
        }
    }

    /// Forgets what the NIC refused when it was another, or had promised more: a driver may refuse whatever is asked of any VF as long as
    /// they are promised more than the link carries.
    fn review_nic(&mut self, host: &impl Host, survey: &Survey) {
        let Some((nic, promised)) = &self.iov.asked else {
            return;
        };
        if *nic != Nic::now(host, survey) || is_less(survey.promised(), *promised) {
            self.iov.forget_refusals();
        }
    }

    /// Forgets what NICs would not keep, where they may be asked again.
    fn review_rates(&mut self, host: &impl Host, survey: &Survey) {
        if self.iov.rates.is_empty() {
            return;
        }
        let nic = Nic::now(host, survey);
        let mut refusals = std::mem::take(&mut self.iov.rates);
        refusals.review(|vnic| self.asked(vnic, &nic));
        self.iov.rates = refusals;
    }

    /// What a NIC would be asked to keep for a vNIC; none for one that is not here.
    fn asked(&self, vnic: &Name, nic: &Nic) -> Option<Asked> {
        let planned = self.plan.vnics.get(vnic)?;
        let minima = self.plan.vnics.values();
        let minima = minima.filter_map(|vnic| vnic.bandwidth.minimum);
        Some(Asked {
            rates: Rates::planned(planned),
            minima: minima.map(Minimum::bits_per_second).sum(),
            nic: nic.clone(),
        })
    }

    /// What each vNIC here asks for.
    fn asks(&self, survey: &Survey) -> Vec<Ask> {
        let uplink = self.host.uplinks.get(BRIDGED.index());
        let uplink = uplink.map(|uplink| uplink.name.clone()).unwrap_or_default();
        let watched = self.watched();
        let each = self.plan.vnics.iter().filter_map(|(vnic, planned)| {
            let pin = match &planned.iov {
                Iov::Software => return None,
                Iov::Weight(_) => None,
                Iov::Pinned(pin) => Some(survey::pinned(survey, &uplink, pin)),
            };
            let id = self.tables.vnic(vnic, planned.segment);
            let is_watched = id.is_some_and(|id| watched.contains(&id));
            let barred = planned.barred.clone();
            let barred = barred.or_else(|| is_watched.then_some(Why::Capture));
            let refused = || self.iov.rates.of(vnic).cloned();
            let barred = barred.or_else(|| Some(Why::RateRefused(Box::new(refused()?))));
            let wish = match (barred, &planned.iov, &pin) {
                (Some(why), _, _) => Wish::Barred(why),
                (None, _, Some(Err(why))) => Wish::Barred(why.clone()),
                (None, _, Some(Ok(vf))) => Wish::This(vf.clone()),
                (None, Iov::Weight(weight), None) => Wish::Any(*weight),
                (None, _, None) => Wish::Barred(Why::NotAsked),
            };
            Some(Ask {
                vnic: vnic.clone(),
                wish,
                pin: pin.and_then(Result::ok),
            })
        });
        each.collect()
    }

    /// Who has which VF: as this daemon knows, or, after a start, as a VF has the MAC and the VLAN of one that asks.
    fn who_has(&self, asks: &[Ask], survey: &Survey) -> BTreeMap<Name, VfId> {
        let mut has: BTreeMap<Name, VfId> = self
            .iov
            .held
            .iter()
            .map(|(name, held)| (name.clone(), held.vf.clone()))
            .collect();
        for ask in asks
            .iter()
            .filter(|ask| ask.wish != Wish::Barred(Why::NotAsked))
        {
            if has.contains_key(&ask.vnic) {
                continue;
            }
            let wanted = self.plan.vnics.get(&ask.vnic).and_then(wanted);
            let mut offers = survey.offers.iter();
            let found = offers.find(|offer| {
                let settings = survey.settings(&offer.vf);
                !self.is_parting(&offer.vf)
                    && settings.is_some_and(|now| wanted.is_some_and(|wanted| wanted.is(now)))
            });
            if let Some(found) = found {
                has.insert(ask.vnic.clone(), found.vf.clone());
            }
        }
        has
    }

    /// PCI addresses that this daemon has open.
    fn own_devices(&self) -> BTreeSet<String> {
        let own = self.host.uplinks.iter().map(|uplink| &uplink.device);
        let trunks = self.host.trunks.iter().map(|trunk| &trunk.device);
        let attached = self.plan.vnics.values();
        let attached = attached.filter_map(|planned| match &planned.attach {
            Attach::Port(device) => Some(device),
            Attach::Trunk { .. } => None,
        });
        let all = own.chain(trunks).chain(attached);
        let addresses = all.filter_map(|device| match device {
            Device::Pci(address) => address.split(',').next().map(str::to_owned),
            _ => None,
        });
        addresses.collect()
    }

    /// Whether a VM can be told by a command that its VF goes.
    pub(super) fn tells(&self) -> bool {
        self.host.iov.down.is_some()
    }
}

/// What a VF is to be for a vNIC; none where the NIC cannot carry its network.
pub(super) fn wanted(planned: &VnicPlan) -> Option<Wanted> {
    let vlan = planned.segment.bridged()?;
    Some(Wanted {
        mac: planned.identity.mac,
        vlan: vlan.unwrap_or(0),
    })
}

/// All MACs of a vNIC.
pub(super) fn macs(planned: &VnicPlan) -> Vec<Mac> {
    let own = &planned.identity;
    std::iter::once(own.mac)
        .chain(own.macs.iter().copied())
        .collect()
}
