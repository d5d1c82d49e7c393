//! Transmit queues by DCB traffic class, of an uplink whose device chooses among them ([why so](../../../docs/decisions/0050-dcb-in-a-nic.md)).
//!
//! A device that could is started with a queue for each class; all but the first are spare. With the first policy after a start, before there
//! is a vNIC, it is told which queue is of which class, once: drivers take no other tree while they run. From then on each queue is a port of
//! its own for workers, beside the uplink's, which is that of the default class. A policy with other classes has software choose again.

use weir_tables::bandwidth::{TCS, Tc};
use weir_tables::ids::{PortId, WorkerId};

use crate::nic_classes::{self, Asked, Choice, Tree};
use crate::plan::sharing::Known;
use crate::plan::{Plan, Sharing};
use crate::state::{OpenPort, State};
use crate::tables::set;

/// The worker that sends by such a device: there is no other.
const ONLY: WorkerId = WorkerId(0);

/// What became of a device's transmit queues.
#[derive(Debug, Default)]
pub enum ClassQueues {
    /// It was told nothing.
    #[default]
    Untold,
    /// It was told, and refused, saying so.
    Refused(String),
    /// It chooses among these.
    Set(Set),
}

/// The classes that a device was told of.
#[derive(Debug)]
pub struct Set {
    tcs: [Tc; TCS],
    /// That of the uplink's own port.
    default_tc: u8,
    /// By DCB traffic class; the uplink's own of those that have no queue.
    queues: [PortId; TCS],
    /// Those that are not the uplink's own.
    ports: Vec<PortId>,
}

impl ClassQueues {
    /// Ports that are queues of the device, beside the uplink's own.
    pub fn ports(&self) -> &[PortId] {
        match self {
            ClassQueues::Set(set) => &set.ports,
            ClassQueues::Untold | ClassQueues::Refused(_) => &[],
        }
    }

    /// The queues by class, if these are the classes that the device was told of.
    fn of(&self, sharing: &Sharing) -> Option<[PortId; TCS]> {
        match self {
            ClassQueues::Set(set) if set.is_of(sharing) => Some(set.queues),
            _ => None,
        }
    }
}

impl Set {
    fn is_of(&self, sharing: &Sharing) -> bool {
        sharing.has_dcb && (self.tcs, self.default_tc) == (sharing.tcs, sharing.default_tc)
    }
}

impl State {
    fn uplink_port(&self, index: usize) -> Option<&OpenPort> {
        self.ports.get(&self.host.uplinks.get(index)?.device)
    }

    /// Whether an uplink's device can choose among the DCB traffic classes of a plan, by what it has and what is against it here.
    pub(crate) fn class_choice(&self, index: usize, plan: &Plan) -> Choice {
        let open = self.uplink_port(index);
        let has = open.map(|open| open.handle.class_hardware());
        let capacity = self.capacities().get(index).copied();
        let sharing = &plan.sharing;
        nic_classes::choose(&Asked {
            tcs: sharing.has_dcb.then_some(&sharing.tcs),
            has: &has.unwrap_or_default(),
            wish: self
                .host
                .uplinks
                .get(index)
                .map(|uplink| uplink.dcb)
                .unwrap_or_default(),
            queues: open.map_or(1, |open| {
                open.handle.class_queues() + open.classes.ports().len() as u16
            }),
            workers: self.crew.len(),
            capacity: capacity.map_or(Known::No, |capacity| capacity.known),
        })
    }

    /// The queues of an uplink by DCB traffic class, where its device chooses among those of this plan.
    pub(crate) fn class_queues(&self, index: usize, plan: &Plan) -> Option<[PortId; TCS]> {
        self.uplink_port(index)?.classes.of(&plan.sharing)
    }

    /// Who chooses among DCB traffic classes on an uplink now, and why.
    pub(crate) fn chooser(&self, index: usize) -> (&'static str, Choice) {
        let mut choice = self.class_choice(index, &self.plan);
        if self.class_queues(index, &self.plan).is_some() {
            return ("nic", choice);
        }
        if choice.tree.is_some()
            && let Some(open) = self.uplink_port(index)
        {
            choice.why = match &open.classes {
                ClassQueues::Refused(said) => format!("the device refused to: {said}"),
                ClassQueues::Untold | ClassQueues::Set(_) => {
                    "the device is told once, with the first policy after a start, and that one had other classes: restart the daemon to have it choose".into()
                }
            };
        }
        ("software", choice)
    }

    /// With the first policy: has each uplink's device that can choose among its DCB traffic classes.
    pub(crate) fn set_classes(&mut self, plan: &Plan) {
        if self.revision > 0 {
            return;
        }
        for index in 0..self.host.uplinks.len() {
            if let Some(tree) = self.class_choice(index, plan).tree {
                self.set_classes_of(index, &tree, &plan.sharing);
            }
        }
    }

    /// The device is told; its queues are in nobody's hands meanwhile.
    fn set_classes_of(&mut self, index: usize, tree: &Tree, sharing: &Sharing) {
        let Some(uplink) = self.host.uplinks.get(index) else {
            return;
        };
        let (name, device) = (uplink.name.clone(), uplink.device.clone());
        let Some(id) = self.ports.get(&device).map(|open| open.id) else {
            return;
        };
        let written = device.to_string();
        let Some(set) = self.ports_of(id, &written, tree, sharing) else {
            return self.forget_ports(&written);
        };
        let (rx, mut tx) = self.crew.take_back(id);
        let Some((first, open)) = tx.pop().zip(self.ports.get_mut(&device)) else {
            return self.give_queues(id, rx, tx);
        };
        match open.handle.choose_among(first, tree) {
            Ok(queues) => {
                tracing::info!(uplink = %name, "its device chooses among DCB traffic classes");
                for (tc, queue) in tree.tcs.iter().zip(queues) {
                    let port = set.queues.get(usize::from(*tc)).copied();
                    self.crew.add_tx(ONLY, port.unwrap_or(id), queue);
                }
                open.classes = ClassQueues::Set(set);
            }
            Err((said, first)) => {
                tracing::error!(uplink = %name, "its device does not choose among DCB traffic classes, so software does: {said}; should it send nothing from now on, write dcb = \"software\" at the uplink in host.toml and restart");
                tx.push(first);
                open.classes = ClassQueues::Refused(said);
                self.forget_ports(&written);
            }
        }
        self.give_queues(id, rx, tx);
    }

    /// A port for each class of a tree but the default one, whose is the uplink's own; as the uplink's is in everything but its queue.
    fn ports_of(
        &mut self,
        own: PortId,
        device: &str,
        tree: &Tree,
        sharing: &Sharing,
    ) -> Option<Set> {
        let entry = self.tables.view.port(own).copied();
        let mut found = Set {
            tcs: sharing.tcs,
            default_tc: sharing.default_tc,
            queues: [own; TCS],
            ports: Vec::new(),
        };
        for &tc in tree.tcs.iter().filter(|tc| **tc != sharing.default_tc) {
            let port = PortId(self.tables.ports.give(name_of(device, tc))? as u16);
            set(&mut self.tables.view.ports, port.index(), entry);
            if let Some(place) = found.queues.get_mut(usize::from(tc)) {
                *place = port;
            }
            found.ports.push(port);
        }
        Some(found)
    }

    /// Gives the numbers of such ports back. Nobody knows them yet.
    fn forget_ports(&mut self, device: &str) {
        for tc in 0..TCS as u8 {
            let name = name_of(device, tc);
            if let Some(port) = self.tables.port(&name) {
                set(&mut self.tables.view.ports, port.index(), None);
                self.tables.ports.take_back(&name);
            }
        }
    }
}

/// What a class's port is known by.
fn name_of(device: &str, tc: u8) -> String {
    format!("{device} tc{tc}")
}
