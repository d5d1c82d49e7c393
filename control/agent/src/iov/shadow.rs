//! The change of a vNIC's path. Its software path is always there: its port is open and polled, its frames are taken, whatever else it
//! has. What changes is whom the NIC brings the frames for its MAC, what the switch's tables say of it, and what its VM is told.
//!
//! *To software:* tables, NIC, VM. The NIC may hand the switch a frame for the MAC as soon as its filter has moved, and then somebody
//! here has to know the MAC; until it has, no more is lost than what vNICs of this host send to a VM that still listens to its VF.
//! *To the VF:* NIC, tables, VM, for the same reason: as long as the tables know the software path, what the switch sends to the MAC goes
//! there; once they do not, it goes to the wire, where the NIC must have the filter.
//! The VM is told last: before, its frames would leave by a path on which no answer comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::hook::{Hooks, Job};
use super::place::{Ask, Placed, VfId, Wish, place};
use super::program::{self, Wanted};
use super::survey::{self, Survey};
use super::why::Why;
use crate::config::device::Device;
use crate::config::fields::Name;
use crate::plan::{Place, Plan, VnicPlan};
use crate::policy::{Attach, Iov, SegmentKey};
use crate::state::State;
use crate::tables::set;
use crate::transaction::BRIDGED;
use crate::vf::discover::Pf;
use crate::vf::host::{Host, ThisMachine};
use crate::vf::settings::{Counters, LinkState};
use crate::vf::users::{self, Claims};
use crate::vf::{heard, link, refusals};
use weir_tables::endpoints::endpoint_key;
use weir_tables::ids::VnicId;
use weir_tables::view::Segment;
use weir_wire::Mac;

/// Between two looks at the NIC. A VF's own interface is in its VM's namespace or in no kernel, whose events nobody hears here, so that
/// it is looked at and not waited for.
const LOOK: Duration = Duration::from_millis(200);
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
    segment: SegmentKey,
    macs: Vec<Mac>,
    /// What the VF had carried when it was given; none where its driver does not count.
    pub before: Option<Counters>,
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
    /// MACs that the PF was told to hear.
    heard: BTreeSet<Mac>,
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
    /// VFs of vNICs that the last transaction took out, and that the NIC still has as theirs.
    leaving: Vec<(Name, Held)>,
}

impl State {
    /// Gives and takes VFs as policy, observers and the NIC ask. Called every few milliseconds.
    pub(crate) fn tend_iov(&mut self) {
        let now = self.now();
        self.iov.hooks.tend(now);
        if !self.policy.iov() {
            return;
        }
        let seen = (self.revision, self.watched());
        if self.iov.seen == seen && now < self.iov.next {
            return;
        }
        let Some(uplink) = self.host.uplinks.get(BRIDGED.index()).cloned() else {
            return;
        };
        let survey = survey::look(&ThisMachine, &uplink, &self.own_devices(), self.tells());
        self.place_vfs(&ThisMachine, survey);
        self.iov.next = self.now() + LOOK;
    }

    /// Places VFs by what was found, and changes paths until all are as placed.
    pub fn place_vfs(&mut self, host: &impl Host, mut survey: Survey) {
        let now = self.now();
        for (name, held) in std::mem::take(&mut self.iov.leaving) {
            self.take_back(host, &name, &held, "policy has changed");
        }
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
        for offer in &mut survey.offers {
            if let Some((why, _)) = self.iov.refused.get(&offer.vf) {
                offer.barred.get_or_insert(why.clone());
            }
        }
        loop {
            let asks = self.asks(&survey);
            let has = self.who_has(&asks, &survey);
            let placed = place(&asks, &survey.offers, &has, &survey.none);
            let Err(vf) = self.change_paths(host, &survey, &placed) else {
                self.iov.placed = placed;
                break;
            };
            // Another may do; each round takes one VF out.
            let Some((why, _)) = self.iov.refused.get(&vf) else {
                break;
            };
            let offer = survey.offers.iter_mut().find(|offer| offer.vf == vf);
            let Some(offer) = offer else { break };
            offer.barred.get_or_insert(why.clone());
        }
        if let Some(pf) = survey.pf.as_ref().filter(|pf| !pf.vfs.is_empty()) {
            self.have_heard(host, pf);
        }
        self.iov.survey = Some(survey);
    }

    /// Makes paths what they were placed to be; fails with a VF that could not be given.
    fn change_paths(
        &mut self,
        host: &impl Host,
        survey: &Survey,
        placed: &Placed,
    ) -> Result<(), VfId> {
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
        for (name, result) in placed {
            let Ok(vf) = result else { continue };
            if let Err(why) = self.give_vf(host, survey, name, vf) {
                let until = self.now() + REFUSED;
                tracing::warn!(vnic = %name, %vf, "it does not get this VF: {}; {}", why.told(), why.mend());
                self.iov.refused.insert(vf.clone(), (why, until));
                return Err(vf.clone());
            }
        }
        Ok(())
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
            let found = survey.offers.iter().find(|offer| {
                let settings = survey.settings(&offer.vf);
                settings.is_some_and(|now| wanted.is_some_and(|wanted| wanted.is(now)))
            });
            if let Some(found) = found {
                has.insert(ask.vnic.clone(), found.vf.clone());
            }
        }
        has
    }

    /// Gives a vNIC a VF, or sets again what is not as it should be.
    fn give_vf(
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
        let found = survey.settings(vf);
        if self.iov.held.contains_key(name) {
            // What a driver in reset does not tell is taken for right.
            if found.is_none_or(|found| wanted.is(found)) {
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
        let own = pf.vf(vf.index).map_err(refused)?.clone();
        let is_its = found.is_some_and(|found| wanted.is(found));
        if matches!(planned.iov, Iov::Weight(_)) && !is_its {
            // A pin says that it is this vNIC's VM who uses it.
            let users = users::of(host, &Claims::new(), &own);
            if !users.is_empty() {
                return Err(Why::InUse(users.join(", ")));
            }
        }
        let given = program::give(host, pf, vf.index, wanted);
        self.iov.heard.remove(&wanted.mac);
        let has_link = given.map_err(refused)?;
        let before = self.counts_of(host, pf, vf.index);
        let held = Held {
            vf: vf.clone(),
            address: own.address,
            wanted,
            segment: planned.segment,
            macs: macs(&planned),
            before,
        };
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

    /// Takes a vNIC's VF away.
    fn take_vf(&mut self, host: &impl Host, name: &Name, why: &str) {
        let Some(held) = self.iov.held.remove(name) else {
            return;
        };
        self.take_from_wire(name, &held);
        self.take_back(host, name, &held, why);
    }

    /// The NIC's and the VM's part of taking a VF away; the tables have theirs.
    fn take_back(&mut self, host: &impl Host, name: &Name, held: &Held, why: &str) {
        tracing::info!(vnic = %name, vf = %held.vf, why, "its path is software");
        self.iov.changes.1 += 1;
        let Ok(pf) = crate::vf::discover::find(host, &held.vf.pf) else {
            tracing::warn!(vnic = %name, vf = %held.vf, "its PF has gone");
            return;
        };
        if let (Some(before), Some(now)) = (&held.before, self.counts_of(host, &pf, held.vf.index))
        {
            let carried = self.iov.carried.entry(name.clone()).or_default();
            add(carried, &since(&now, before));
        }
        match program::take(host, &pf, held.vf.index, held.wanted.mac) {
            Ok(()) => drop(self.iov.heard.insert(held.wanted.mac)),
            Err(error) => tracing::error!(vnic = %name, "its VF keeps its frames: {error}"),
        }
        if let Err(error) = program::link(host, &pf, held.vf.index, LinkState::Down) {
            tracing::warn!(vnic = %name, "its VF's link stays: {error}");
        }
        self.tell(name, &pf, held, "vf_down", why);
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

    /// The switch takes a vNIC for one that the wire finds.
    fn leave_to_wire(&mut self, name: &Name) {
        let Some(held) = self.iov.held.get(name).cloned() else {
            return;
        };
        if let Some(segment) = self.tables.segment(held.segment) {
            for mac in &held.macs {
                self.tables
                    .remove_endpoint(&self.crew, endpoint_key(segment, *mac));
            }
        }
        self.show_members(held.segment);
    }

    /// The switch knows a vNIC's software path again.
    fn take_from_wire(&mut self, name: &Name, held: &Held) {
        for mac in &held.macs {
            self.put_endpoint_at((held.segment, *mac), &Place::Local(name.clone()));
        }
        self.show_members(held.segment);
    }

    /// Who of a segment hears what is for all, and has every worker know what has changed.
    fn show_members(&mut self, key: SegmentKey) {
        let planned = self.plan.segments.get(&key);
        let members = planned.map(|planned| self.members(key, &planned.local));
        let id = self.tables.segment(key);
        if let (Some(members), Some(id)) = (members, id) {
            let old = self.tables.view.segment(id).cloned();
            if let Some(old) = old {
                let new = Segment {
                    local: members,
                    ..old
                };
                let new = Some(Arc::new(new));
                set(&mut self.tables.view.segments, id.index(), new);
            }
        }
        self.crew.publish(&self.tables.view);
        self.tables.settle(&mut self.crew);
    }

    /// The members of a segment that are on their software path.
    pub(crate) fn members(&self, key: SegmentKey, local: &BTreeSet<Name>) -> Box<[VnicId]> {
        let here = local.iter().filter(|name| !self.has_vf(name));
        here.filter_map(|name| self.tables.vnic(name, key))
            .collect()
    }

    /// Whether a vNIC's path is a VF now.
    pub(crate) fn has_vf(&self, name: &str) -> bool {
        self.iov.held.contains_key(name)
    }

    /// Before a transaction: whoever leaves, or is another, has no VF. The NIC, which may let wait, has its part after it.
    pub(crate) fn withdraw_vfs(&mut self, plan: &Plan) {
        let gone = self.iov.held.iter().filter(|(name, held)| {
            let new = plan.vnics.get(*name);
            !new.is_some_and(|new| {
                new.segment == held.segment
                    && wanted(new) == Some(held.wanted)
                    && macs(new) == held.macs
                    && new.iov != Iov::Software
            })
        });
        let gone: Vec<Name> = gone.map(|(name, _)| name.clone()).collect();
        for name in gone {
            if let Some(held) = self.iov.held.remove(&name) {
                self.take_from_wire(&name, &held);
                self.iov.leaving.push((name, held));
            }
        }
    }

    /// Has the PF hear the MACs of those on their software path, so that VFs reach them, and no others that it was told to hear.
    fn have_heard(&mut self, host: &impl Host, pf: &Pf) {
        let vnics = self.plan.vnics.iter();
        let here = vnics
            .filter(|(name, planned)| planned.segment.bridged().is_some() && !self.has_vf(name));
        let wanted: BTreeSet<Mac> = here.flat_map(|(_, planned)| macs(planned)).collect();
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        add.extend(wanted.difference(&self.iov.heard).copied());
        remove.extend(self.iov.heard.difference(&wanted).copied());
        self.iov.unheard.retain(|mac, _| wanted.contains(mac));
        for mac in remove {
            if let Err(error) = heard::set(host, pf, mac, false) {
                tracing::warn!("{error}");
            }
            self.iov.heard.remove(&mac);
        }
        for mac in add {
            match heard::set(host, pf, mac, true) {
                Ok(()) => {
                    self.iov.heard.insert(mac);
                    self.iov.unheard.remove(&mac);
                }
                Err(error) => {
                    if self
                        .iov
                        .unheard
                        .insert(mac, error.problem.clone())
                        .is_none()
                    {
                        tracing::warn!("{error}");
                    }
                }
            }
        }
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
    fn tells(&self) -> bool {
        self.host.iov.down.is_some()
    }
}

/// What a VF is to be for a vNIC; none where the NIC cannot carry its network.
fn wanted(planned: &VnicPlan) -> Option<Wanted> {
    let vlan = planned.segment.bridged()?;
    Some(Wanted {
        mac: planned.identity.mac,
        vlan: vlan.unwrap_or(0),
    })
}

/// All MACs of a vNIC.
fn macs(planned: &VnicPlan) -> Vec<Mac> {
    let own = &planned.identity;
    std::iter::once(own.mac)
        .chain(own.macs.iter().copied())
        .collect()
}

/// What was counted between two looks.
pub(super) fn since(now: &Counters, before: &Counters) -> Counters {
    let less = |now: u64, before: u64| now.saturating_sub(before);
    Counters {
        rx_packets: less(now.rx_packets, before.rx_packets),
        rx_bytes: less(now.rx_bytes, before.rx_bytes),
        tx_packets: less(now.tx_packets, before.tx_packets),
        tx_bytes: less(now.tx_bytes, before.tx_bytes),
        rx_dropped: less(now.rx_dropped, before.rx_dropped),
        tx_dropped: less(now.tx_dropped, before.tx_dropped),
    }
}

/// Adds to what was counted.
pub(super) fn add(to: &mut Counters, more: &Counters) {
    to.rx_packets += more.rx_packets;
    to.rx_bytes += more.rx_bytes;
    to.tx_packets += more.tx_packets;
    to.tx_bytes += more.tx_bytes;
    to.rx_dropped += more.rx_dropped;
    to.tx_dropped += more.tx_dropped;
}
