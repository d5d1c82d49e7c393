//! Aiming: what an uplink's device is told of MAC addresses, so that each vNIC's frames come to the queue of its worker. It is a help and no
//! condition: a frame that comes elsewhere is handed over, as all are without it ([`weir_worker::moves`]).
//!
//! | file | subject |
//! |---|---|
//! | `choice` | by what a device steers, and why |
//!
//! What a device is told changes in one place, [`State::aim`], after tables and owners have: first what nobody wants any more goes, then,
//! worker by worker, what is to come to it. Whoever may receive it by the new way has it wait until everybody has received and handed over what
//! came by the old one, so that nothing is overtaken.

pub mod choice;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rte::{Flow, FlowMatch};
use serde_json::{Value, json};
use weir_tables::ids::{PortId, UplinkId, WorkerId};
use weir_tables::view::Carriage;
use weir_wire::Mac;
use weir_worker::command::{Command, Expected, Luggage};

use crate::plan::{Plan, VnicPlan};
use crate::ports::DESCRIPTORS;
use crate::state::State;
use choice::Means;

/// How long a frame may be on its way through a device into a queue.
const THROUGH: Duration = Duration::from_micros(100);
/// Frames that may wait at the worker that is aimed at, as a part of the pool.
const WAITING: usize = 8;

/// What one device was told.
#[derive(Default)]
pub struct Aims {
    /// The worker whose queue gets what matches, and the rule if it is one.
    told: BTreeMap<FlowMatch, (WorkerId, Option<Flow>)>,
    /// How many more are wanted, and what the device said to the first of them.
    refused: Option<(usize, String)>,
}

/// By which a device of these means can tell frames of this vNIC on this uplink.
fn matches(means: Means, uplink: UplinkId, vnic: &VnicPlan) -> Option<fn([u8; 6]) -> FlowMatch> {
    // Bridged VM networks have the first uplink.
    let bridged = vnic.carriage == Carriage::Bridged && uplink.index() == 0;
    let nvgre = vnic.carriage == Carriage::Nvgre;
    match means {
        Means::Pools | Means::Flows { to: true, .. } if bridged => Some(FlowMatch::To),
        Means::Flows { nvgre: true, .. } if nvgre => Some(FlowMatch::NvgreTo),
        _ => None,
    }
}

fn macs(vnic: &VnicPlan) -> impl Iterator<Item = Mac> {
    let others = vnic.identity.macs.iter().copied();
    std::iter::once(vnic.identity.mac).chain(others)
}

impl State {
    /// Tells the uplinks' devices what they are to know now.
    pub(crate) fn aim(&mut self) {
        if !self.tables.view.steering.is_shared() {
            return;
        }
        let plan = self.plan.clone();
        let uplinks: Vec<(UplinkId, PortId)> = self
            .tables
            .view
            .uplinks
            .iter()
            .flatten()
            .map(|uplink| (uplink.id, uplink.port))
            .collect();
        for (uplink, port) in uplinks {
            let open = self.ports.values().find(|open| open.id == port);
            let means = open.map_or(Means::Software, |open| open.steer.means);
            if means != Means::Software {
                let wanted = self.aims_wanted(&plan, means, uplink, port);
                self.aim_port(port, wanted);
            }
        }
    }

    /// What a device of these means is to know: which worker gets what.
    fn aims_wanted(
        &self,
        plan: &Plan,
        means: Means,
        uplink: UplinkId,
        port: PortId,
    ) -> BTreeMap<FlowMatch, WorkerId> {
        let steering = &self.tables.view.steering;
        let mut wanted = BTreeMap::new();
        for vnic in plan.vnics.values() {
            let Some(matches) = matches(means, uplink, vnic) else {
                continue;
            };
            for mac in macs(vnic) {
                let worker = steering.worker(mac);
                if self.queue_of(port, worker).is_some() {
                    wanted.insert(matches(mac.octets()), worker);
                }
            }
        }
        wanted
    }

    /// The receive queue of a port that a worker polls: [`State::give_queues`].
    fn queue_of(&self, port: PortId, worker: WorkerId) -> Option<u16> {
        let owner = self.tables.view.port(port)?.owner.index();
        let open = self.ports.values().find(|open| open.id == port)?;
        let workers = self.crew.len();
        let queue = (worker.index() + workers - owner) % workers;
        u16::try_from(queue)
            .ok()
            .filter(|&queue| queue < open.queues)
    }

    fn aim_port(&mut self, port: PortId, wanted: BTreeMap<FlowMatch, WorkerId>) {
        let Some(open) = self.ports.values_mut().find(|open| open.id == port) else {
            return;
        };
        let told = &mut open.aims.told;
        let gone: Vec<FlowMatch> = told
            .keys()
            .filter(|of| !wanted.contains_key(of))
            .copied()
            .collect();
        for of in gone {
            if let Some((_, flow)) = told.remove(&of) {
                open.handle.unaim(of, flow);
            }
        }
        let mut news: BTreeMap<(Option<WorkerId>, WorkerId), Vec<FlowMatch>> = BTreeMap::new();
        for (&of, &worker) in &wanted {
            let before = told.get(&of).map(|(told, _)| *told);
            if before != Some(worker) {
                news.entry((before, worker)).or_default().push(of);
            }
        }
        open.aims.refused = None;
        for ((from, to), news) in news {
            self.aim_at(port, from, to, &news);
        }
    }

    /// Tells a device that these, which it gave to `from` if it knew them, are to come to another worker from here on.
    fn aim_at(&mut self, port: PortId, from: Option<WorkerId>, to: WorkerId, news: &[FlowMatch]) {
        let Some(queue) = self.queue_of(port, to) else {
            return;
        };
        let open = self.ports.values().find(|open| open.id == port);
        let places = open.map_or(DESCRIPTORS, |open| open.places);
        let mac = |of: &FlowMatch| match *of {
            FlowMatch::To(mac) | FlowMatch::NvgreTo(mac) => Mac::new(mac),
        };
        // Between the old rule and the new one they come to whom they came without any.
        let others = (0..self.crew.len()).map(|worker| WorkerId(worker as u8));
        let others = others.filter(|&other| from.is_some_and(|from| from != other) && other != to);
        let holders: Vec<WorkerId> = others.chain([to]).collect();
        let room = self.pool.size() as usize / WAITING;
        for &holder in &holders {
            let expected = Expected::directly(news.iter().map(mac).collect(), room);
            let expected = Box::new(expected);
            self.crew.send(holder, Command::Expect(expected));
        }
        // They have to expect them before the device knows.
        self.crew.round();
        self.tell_device(port, to, queue, news);
        std::thread::sleep(THROUGH);
        // Of 32 packets each: as many turns as take all that a queue held.
        self.crew.settle(u32::from(places) / 32 + 1);
        for holder in holders {
            self.crew.drain(None);
            let none = Luggage::new(Vec::new(), Vec::new(), 0);
            self.crew.arrive(holder, Box::new(none));
        }
    }

    fn tell_device(&mut self, port: PortId, to: WorkerId, queue: u16, news: &[FlowMatch]) {
        let open = self.ports.values_mut().find(|open| open.id == port);
        let Some(open) = open else { return };
        let means = open.steer.means;
        for (at, &of) in news.iter().enumerate() {
            if let Some((_, flow)) = open.aims.told.remove(&of) {
                open.handle.unaim(of, flow);
            }
            match open.handle.aim(of, queue, means) {
                Ok(flow) => drop(open.aims.told.insert(of, (to, flow))),
                Err(said) => {
                    // Its table is full, most likely: it is not asked again for each of the rest, which stay where they are.
                    let before = open.aims.refused.take().map_or(0, |(count, _)| count);
                    open.aims.refused = Some((before + news.len() - at, said));
                    break;
                }
            }
        }
    }

    /// By what an uplink's device steers, and how much of what it could.
    pub(crate) fn steering_of(&self, uplink: UplinkId, port: PortId) -> Value {
        let Some(open) = self.ports.values().find(|open| open.id == port) else {
            return Value::Null;
        };
        let means = open.steer.means;
        let all: BTreeSet<Mac> = self.plan.vnics.values().flat_map(macs).collect();
        let can = self.aims_wanted(&self.plan, means, uplink, port);
        let told = open.aims.told.len();
        json!({
            "by": means.word(),
            "why": open.steer.why,
            "queues": open.queues,
            "macs": all.len(),
            "macs_in_hardware": told,
            "macs_in_software": all.len().saturating_sub(told),
            "macs_of_no_rule": all.len().saturating_sub(can.len()),
            "refused": open.aims.refused.as_ref().map(|(count, said)| json!({"macs": count, "why": said})),
        })
    }

    /// By what a vNIC's frames come from the wire to its worker: by an uplink's device, or by those of workers that hand them over.
    pub(crate) fn steered_by(&self, vnic: &VnicPlan) -> &'static str {
        let mac = vnic.identity.mac.octets();
        let aimed = |of| {
            self.ports
                .values()
                .find(|open| open.aims.told.contains_key(&of))
        };
        let open = match vnic.carriage {
            Carriage::Bridged => aimed(FlowMatch::To(mac)),
            Carriage::Nvgre => aimed(FlowMatch::NvgreTo(mac)),
            Carriage::Rewrite => None,
        };
        open.map_or(Means::Software, |open| open.steer.means).word()
    }

    /// How many MAC addresses devices give to each worker, by [`WorkerId`].
    pub(crate) fn aimed_at(&self) -> Vec<u64> {
        let mut aimed = vec![0; self.crew.len()];
        for (worker, _) in self.ports.values().flat_map(|open| open.aims.told.values()) {
            if let Some(aimed) = aimed.get_mut(worker.index()) {
                *aimed += 1;
            }
        }
        aimed
    }
}
