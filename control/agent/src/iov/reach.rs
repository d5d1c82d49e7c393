//! Where a vNIC is found: the switch's tables know its software path or leave it to the wire, and the PF hears its MAC or does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::shadow::{Held, macs, wanted};
use crate::config::fields::Name;
use crate::plan::{Place, Plan};
use crate::policy::{Iov, SegmentKey};
use crate::state::State;
use crate::tables::set;
use crate::vf::discover::Pf;
use crate::vf::heard;
use crate::vf::host::Host;
use weir_tables::endpoints::endpoint_key;
use weir_tables::ids::VnicId;
use weir_tables::view::Segment;
use weir_wire::Mac;

impl State {
    /// The switch takes a vNIC for one that the wire finds.
    pub(super) fn leave_to_wire(&mut self, name: &Name) {
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
    pub(super) fn take_from_wire(&mut self, name: &Name, held: &Held) {
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
    pub(super) fn have_heard(&mut self, host: &impl Host, pf: &Pf) {
        let vnics = self.plan.vnics.iter();
        let here = vnics
            .filter(|(name, planned)| planned.segment.bridged().is_some() && !self.has_vf(name));
        let mut wanted: BTreeSet<Mac> = here.flat_map(|(_, planned)| macs(planned)).collect();
        for parting in &self.iov.parting {
            wanted.remove(&parting.held.wanted.mac);
        }
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
}
