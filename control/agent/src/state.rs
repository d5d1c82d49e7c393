//! Everything that the control thread holds: what is true of the host, what is open, what workers read.

mod host_ports;
mod provider;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rte::{Eal, Pool, PortStats};
use serde_json::Value;
use weir_tables::counters::Cells;
use weir_tables::ids::{PortId, UplinkId};
use weir_tables::steering::Steering;
use weir_wire::Mac;
use weir_worker::device::{Rx, Tx};

use crate::aims::Aims;
use crate::aims::choice::Choice;
use crate::balancing::Balancer;
use crate::churn::Churn;
use crate::class_queues::ClassQueues;
use crate::config::device::Device;
use crate::config::host::{HostConfig, Idle};
use crate::crew::Crew;
use crate::groups::Groups;
use crate::halt::Halt;
use crate::iov::shadow::Paths;
use crate::moves::MoveCounts;
use crate::neighbors::Neighbors;
use crate::observe::Observers;
use crate::path_mtus::PathMtus;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::ports::{Handle, Opened};
use crate::pull::Pull;
use crate::rest::Rest;
use crate::sharing::Speeds;
use crate::stats::{ChurnReport, PolicyError};
use crate::tables::{Tables, VnicKey, seed};
use crate::top;

/// A port that is open; its queues are with the workers.
pub struct OpenPort {
    /// Its index.
    pub id: PortId,
    /// What closes it.
    pub handle: Handle,
    /// The MTU that it was opened with, in bytes.
    pub mtu: u16,
    /// Its receive queues.
    pub queues: u16,
    /// Packets that each of them holds.
    pub places: u16,
    /// By what its device steers, and why.
    pub steer: Choice,
    /// How an idle worker knows that it has something, and why so.
    pub rest: Rest,
    /// What the device was told.
    pub aims: Aims,
    /// Its transmit queues by DCB traffic class.
    pub classes: ClassQueues,
}

/// Drops of vNICs that have left, so that no packet's end is forgotten.
#[derive(Default)]
pub struct Departed {
    /// By worker and reason: packets and bytes.
    pub drops: BTreeMap<(usize, weir_tables::reason::Reason), (u64, u64)>,
}

impl Departed {
    /// Keeps the drops of a vNIC that leaves.
    pub fn add(&mut self, cells: &Cells) {
        for (worker, cell) in cells.iter().enumerate() {
            for (reason, packets, bytes) in cell.drops.iter() {
                let sum = self.drops.entry((worker, reason)).or_default();
                sum.0 += packets;
                sum.1 += bytes;
            }
        }
    }
}

/// The control thread's state.
pub struct State {
    /// DPDK.
    pub eal: Arc<Eal>,
    /// Where all mbufs come from.
    pub pool: Pool,
    /// host.toml.
    pub host: HostConfig,
    /// Largest MTU that one mbuf holds, in bytes.
    pub largest_mtu: usize,
    /// The workers.
    pub crew: Crew,
    /// What they read.
    pub tables: Tables,
    /// What is open, by device.
    pub ports: HashMap<Device, OpenPort>,
    /// Uplinks and trunks that are open and not yet with the workers.
    pub opening: Vec<(Device, Opened)>,
    /// Counters of vNICs that are out for a moment within a transaction.
    pub parked: HashMap<VnicKey, Cells>,
    /// Devices closed in this transaction, whose indexes are still to be given back.
    pub closed: Vec<String>,
    /// The provider network's neighbours.
    pub neighbors: Neighbors,
    /// When the groups that this host listens to are next reported.
    pub next_report: Duration,
    /// Who else was heard to have a provider address of this host: (uplink, address) and its MAC.
    pub conflicts: BTreeMap<(usize, IpAddr), Mac>,
    /// What fits on the way to peers.
    pub path_mtus: PathMtus,
    /// Records that come when they are asked for.
    pub pull: Pull,
    /// Uplinks that receive for other MAC addresses than their own.
    pub hears_all: BTreeSet<UplinkId>,
    /// Provider multicast groups.
    pub groups: Groups,
    /// What is known of uplinks' speeds.
    pub speeds: Speeds,
    /// Who looks at packets.
    pub observers: Observers,
    /// Which vNICs have VFs.
    pub iov: Paths,
    /// The churn that runs for the rig.
    pub churn: Option<Box<Churn>>,
    /// What became of the last one.
    pub churned: Option<ChurnReport>,
    /// When the rig's senders were told what to offer, of the TSC.
    pub offered_at: u64,
    /// The policy that is applied.
    pub policy: Arc<Policy>,
    /// What it means here.
    pub plan: Arc<Plan>,
    /// Number of the last transaction.
    pub revision: u64,
    /// Why the store's content is not applied.
    pub errors: Vec<PolicyError>,
    /// Whether it is to end before all of a policy is there.
    pub halt: Halt,
    /// What workers have to do.
    pub balancer: Balancer,
    /// vNICs that went from worker to worker.
    pub moves: MoveCounts,
    /// Drops of vNICs that have left.
    pub departed: Departed,
    /// What live screens were told last.
    pub(crate) top_book: top::Book,
    /// When the daemon started.
    pub started: Instant,
}

impl State {
    /// A host whose workers run and who has no port and no policy yet. `largest_mtu`: see the field.
    pub fn new(
        eal: Arc<Eal>,
        pool: Pool,
        host: HostConfig,
        largest_mtu: usize,
        crew: Crew,
        mut tables: Tables,
    ) -> State {
        tables.view.steering = Steering::spread(crew.len());
        let balancer = Balancer::new(crew.books().map(|(core, _)| core));
        let pull = Pull::new(host.pulling.on_miss);
        let iov = Paths::of(&host);
        State {
            eal,
            pool,
            host,
            largest_mtu,
            crew,
            tables,
            ports: HashMap::new(),
            opening: Vec::new(),
            parked: HashMap::new(),
            closed: Vec::new(),
            neighbors: Neighbors::default(),
            next_report: Duration::ZERO,
            conflicts: BTreeMap::new(),
            path_mtus: PathMtus::default(),
            pull,
            hears_all: BTreeSet::new(),
            groups: Groups::new(seed()),
            speeds: Speeds::default(),
            observers: Observers::default(),
            iov,
            churn: None,
            churned: None,
            offered_at: 0,
            policy: Arc::default(),
            plan: Arc::default(),
            revision: 0,
            errors: Vec::new(),
            halt: Halt::default(),
            balancer,
            moves: MoveCounts::default(),
            departed: Departed::default(),
            top_book: top::Book::default(),
            started: Instant::now(),
        }
    }

    /// The time that neighbours and questions to the store are told.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// What a port's device counts.
    pub fn device_stats(&self, port: PortId) -> PortStats {
        let open = self.ports.values().find(|open| open.id == port);
        open.map(|open| open.handle.stats()).unwrap_or_default()
    }

    /// What the port's device, or the guest on its socket, does to frames, by names.
    pub fn offloads(&self, port: PortId) -> Vec<&'static str> {
        let open = self.ports.values().find(|open| open.id == port);
        let guest = open.and_then(|open| open.handle.guest_offloads());
        let entry = self.tables.view.port(port).map(|entry| entry.offloads);
        guest.or(entry).unwrap_or_default().names().collect()
    }

    /// How an idle worker knows that the port has something, and why so.
    pub(crate) fn rest_of(&self, port: PortId) -> Value {
        let open = self.ports.values().find(|open| open.id == port);
        open.map_or(Value::Null, |open| open.rest.told())
    }

    /// Whether workers sleep when nothing comes.
    pub(crate) fn is_adaptive(&self) -> bool {
        self.host.dataplane.idle == Idle::Adaptive
    }

    /// Whether the port's link is up, and its speed in Mbit/s.
    pub fn link(&self, port: PortId) -> (bool, Option<u32>) {
        let open = self.ports.values().find(|open| open.id == port);
        open.map_or((false, None), |open| open.handle.link())
    }

    /// Ends: workers drain, every port is closed.
    pub fn stop(mut self) -> Arc<Eal> {
        self.end_observers();
        self.end_churn("the daemon stops");
        let mut queues: HashMap<PortId, (Vec<Rx>, Vec<Tx>)> = HashMap::new();
        for (port, rx, tx) in self.crew.stop() {
            let entry = queues.entry(port).or_default();
            entry.0.extend(rx);
            entry.1.extend(tx);
        }
        for (device, open) in self.ports {
            let (rx, mut tx) = queues.remove(&open.id).unwrap_or_default();
            for port in open.classes.ports() {
                tx.extend(queues.remove(port).unwrap_or_default().1);
            }
            if let Err(problem) = open.handle.close(rx, tx) {
                tracing::error!(%device, problem, "the port did not close");
            }
        }
        self.eal
    }
}
