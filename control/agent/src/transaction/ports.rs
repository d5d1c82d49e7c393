//! Devices in a transaction: opened before anything names them, emptied when they change hands, closed when nothing
//! names them any more.

use std::collections::{BTreeMap, BTreeSet};

use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::view::{Party, Port};
use weir_worker::Command;
use weir_worker::device::{Rx, Tx};

use crate::aims::Aims;
use crate::class_queues::ClassQueues;
use crate::config::device::Device;
use crate::config::fields::Name;
use crate::config::spans::Line;
use crate::plan::Plan;
use crate::policy::{Attach, Policy, SegmentKey};
use crate::ports::{self, Opened, Wish};
use crate::state::{OpenPort, State};
use crate::stats::PolicyError;
use crate::tables::set;

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;

impl State {
    /// Opens what the plan needs and is not open. On any refusal what was opened is closed again.
    pub(super) fn open_ports(
        &mut self,
        policy: &Policy,
        plan: &Plan,
    ) -> Result<Vec<(Device, Opened)>, Vec<PolicyError>> {
        let (mut opened, mut refusals) = (Vec::new(), Vec::new());
        for (name, vnic) in &plan.vnics {
            let Attach::Port(device) = &vnic.attach else {
                continue;
            };
            if self.ports.contains_key(device) {
                continue;
            }
            let wish = Wish {
                mtu: vnic.mtu,
                promiscuous: true,
                adaptive: self.is_adaptive(),
                ..Wish::default()
            };
            match ports::open(&self.eal, self.pool, device, wish) {
                Ok(port) => opened.push((device.clone(), port)),
                Err(refused) => {
                    let line = policy.vnics.get(name).map_or(Line(1), |v| v.attach_line());
                    refusals.push(policy.refusal(
                        line,
                        &format!("vnic {name}"),
                        &refused.problem,
                        &refused.mend,
                    ));
                }
            }
        }
        if refusals.is_empty() {
            return Ok(opened);
        }
        for (device, port) in opened {
            if let Err(problem) = port.handle.close(port.rx, port.tx) {
                tracing::warn!(%device, problem, "could not close what a refused policy had opened");
            }
        }
        Err(refusals)
    }

    /// Takes vNICs out that leave, change subnet, or whose device passes to another vNIC, and returns the queues of
    /// such devices, emptied.
    pub(super) fn withdraw(&mut self, plan: &Plan) -> Vec<(PortId, Vec<Rx>, Vec<Tx>)> {
        let (old, new) = (holders(&self.plan), holders(plan));
        let passes = |device: &Device| {
            new.get(device)
                .is_some_and(|holder| old.get(device) != Some(holder))
        };
        let stays = |name: &Name, segment| {
            plan.vnics
                .get(name)
                .is_some_and(|new| new.segment == segment)
        };
        let mut withdrawn = false;
        let mut departing = Vec::new();
        for (name, vnic) in &self.plan.vnics {
            let stays = stays(name, vnic.segment);
            let passes = matches!(&vnic.attach, Attach::Port(device) if passes(device));
            if stays && !passes {
                continue;
            }
            let id = self.tables.vnic(name, vnic.segment);
            let place = id.and_then(|id| self.tables.view.vnics.get_mut(id.index()));
            let Some(gone) = place.and_then(Option::take) else {
                continue;
            };
            withdrawn = true;
            if stays {
                self.parked
                    .insert((name.clone(), vnic.segment), gone.cells.clone());
            } else {
                departing.push(gone);
            }
        }
        if !withdrawn {
            return Vec::new();
        }
        self.crew.publish(&self.tables.view);
        // Only now is the account final: until it read the new view a worker counted there.
        for gone in departing {
            // On a trunk its packets wait among others', and its MAC or VLAN may be another tenant's next. The view that
            // comes after this command is acknowledged after it.
            self.crew.tell_all(|| Command::Forget(gone.id));
            self.departed.add(&gone.cells);
        }
        let passing = old
            .keys()
            .filter(|device| passes(device))
            .filter_map(|device| self.ports.get(*device));
        let passing: Vec<PortId> = passing.map(|open| open.id).collect();
        passing
            .into_iter()
            .map(|port| {
                let (rx, tx) = self.crew.take_back(port);
                (port, rx, tx)
            })
            .collect()
    }

    /// New ports get an index and an owner; ports that stay get their new party.
    pub(super) fn prepare_ports(&mut self, plan: &Plan, opened: &[(Device, Opened)]) {
        for (device, port) in opened {
            let Some(id) = self.tables.ports.give(device.to_string()) else {
                continue;
            };
            let entry = Port {
                // Its vNIC and its owner are written in below.
                party: Party::TrunkByMac,
                max_frame: u32::from(port.mtu) + ETHERNET,
                owner: WorkerId(0),
                suspect_checksums: port.suspect_checksums,
                offloads: port.offloads,
                pushes_back: port.pushes_back,
                patience_us: port.pace.patience().as_micros() as u32,
                pools: false,
            };
            set(&mut self.tables.view.ports, id as usize, Some(entry));
        }
        for (name, vnic) in &plan.vnics {
            let Attach::Port(device) = &vnic.attach else {
                continue;
            };
            let Some(id) = self.tables.vnics.give((name.clone(), vnic.segment)) else {
                continue;
            };
            let port = self.tables.port(&device.to_string());
            if let Some(Some(entry)) =
                port.and_then(|port| self.tables.view.ports.get_mut(port.index()))
            {
                if entry.party != Party::Vnic(VnicId(id)) {
                    // Its queues are in nobody's hands.
                    entry.owner = self.tables.view.steering.worker(vnic.identity.mac);
                }
                entry.party = Party::Vnic(VnicId(id));
                // The port's own again, where an MTU is no longer written or was another vNIC's.
                let own = self.ports.get(device).map(|open| open.mtu);
                if let Some(mtu) = vnic.mtu.or(own) {
                    entry.max_frame = u32::from(mtu) + ETHERNET;
                }
            }
        }
    }

    /// Gives a new port's queues to the workers.
    pub fn hand_out(&mut self, device: Device, port: Opened) {
        if let Some(id) = self.tables.port(&device.to_string()) {
            let queues = port.rx.len() as u16;
            self.give_queues(id, port.rx, port.tx);
            self.ports.insert(
                device,
                OpenPort {
                    id,
                    handle: port.handle,
                    mtu: port.mtu,
                    queues,
                    places: port.places,
                    steer: port.steer,
                    rest: port.rest,
                    aims: Aims::default(),
                    classes: ClassQueues::default(),
                },
            );
        }
    }

    /// Gives the workers what they send by, and waits until they have it.
    pub(super) fn give_tx_first(
        &mut self,
        opened: &mut [(Device, Opened)],
        handed_over: &mut [(PortId, Vec<Rx>, Vec<Tx>)],
    ) {
        for (device, port) in &mut *opened {
            if let Some(id) = self.tables.port(&device.to_string()) {
                self.give_queues(id, Vec::new(), std::mem::take(&mut port.tx));
            }
        }
        for (id, _, tx) in &mut *handed_over {
            self.give_queues(*id, Vec::new(), std::mem::take(tx));
        }
        if !opened.is_empty() || !handed_over.is_empty() {
            // A worker obeys right after it has passed, before it looks anything up.
            self.crew.round();
        }
    }

    /// The first queues to the port's owner, further ones each to the next worker.
    pub(crate) fn give_queues(&mut self, id: PortId, rx: Vec<Rx>, tx: Vec<Tx>) {
        let owner = self
            .tables
            .view
            .port(id)
            .map_or(WorkerId(0), |entry| entry.owner);
        let workers = self.crew.len().max(1);
        let worker = |i: usize| WorkerId(((owner.index() + i) % workers) as u8);
        for (i, tx) in tx.into_iter().enumerate() {
            self.crew.add_tx(worker(i), id, tx);
        }
        for (i, rx) in rx.into_iter().enumerate() {
            self.crew.add_rx(worker(i), id, rx);
        }
    }

    pub(super) fn trunk_port(&self, name: &str) -> Option<PortId> {
        self.tables.port(&self.host.trunk(name)?.device.to_string())
    }

    /// Closes the ports that no vNIC, trunk or uplink has any more.
    pub(super) fn close_ports(&mut self) {
        let attached = self
            .plan
            .vnics
            .values()
            .filter_map(|vnic| match &vnic.attach {
                Attach::Port(device) => Some(device),
                Attach::Trunk { .. } => None,
            });
        let own = self.host.uplinks.iter().map(|uplink| &uplink.device);
        let trunks = self.host.trunks.iter().map(|trunk| &trunk.device);
        let kept: BTreeSet<String> = attached
            .chain(own)
            .chain(trunks)
            .map(Device::to_string)
            .collect();
        let leaving: Vec<Device> = self
            .ports
            .keys()
            .filter(|d| !kept.contains(&d.to_string()))
            .cloned()
            .collect();
        for device in leaving {
            if let Some(open) = self.ports.remove(&device) {
                let (rx, tx) = self.crew.take_back(open.id);
                if let Err(problem) = open.handle.close(rx, tx) {
                    tracing::error!(%device, problem, "the port did not close");
                }
                set(&mut self.tables.view.ports, open.id.index(), None);
                self.closed.push(device.to_string());
            }
        }
    }
}

/// Which vNIC, in which subnet, has which device to itself.
fn holders(plan: &Plan) -> BTreeMap<&Device, (&Name, SegmentKey)> {
    let vnics = plan.vnics.iter();
    vnics
        .filter_map(|(name, vnic)| match &vnic.attach {
            Attach::Port(device) => Some((device, (name, vnic.segment))),
            Attach::Trunk { .. } => None,
        })
        .collect()
}
