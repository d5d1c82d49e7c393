//! Everything that the control thread holds: what is true of the host, what is open, what workers read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rte::{Eal, Pool, PortStats};
use weir_switch::outlet::Event;
use weir_tables::counters::{Cells, cells};
use weir_tables::ids::{PortId, UplinkId, WorkerId};
use weir_tables::steering::Steering;
use weir_tables::view::{Party, Port, Uplink};
use weir_wire::Mac;
use weir_wire::ipv4::group_mac;
use weir_worker::Command;
use weir_worker::command::Generated;
use weir_worker::device::{Rx, Tx};

use crate::aims::Aims;
use crate::aims::choice::{Choice, Means};
use crate::balancing::Balancer;
use crate::churn::Churn;
use crate::config::device::Device;
use crate::config::host::{HostConfig, TrunkBy};
use crate::config::spans::Line;
use crate::crew::Crew;
use crate::groups::Groups;
use crate::halt::Halt;
use crate::iov::shadow::Paths;
use crate::moves::MoveCounts;
use crate::neighbors::Neighbors;
use crate::observe::Observers;
use crate::path_mtus::PathMtus;
use crate::plan::{PeerPlan, Place, Plan};
use crate::policy::Policy;
use crate::ports::{self, Handle, Opened, Wish};
use crate::pull::Pull;
use crate::sharing::Speeds;
use crate::stats::{ChurnReport, PolicyError};
use crate::tables::{Tables, VnicKey, seed, set};
use crate::top;
use crate::underlay;

/// Between two reports of multicast groups: half of the query interval (RFC 3810 §9.2), since queries are not heard, and a
/// quarter of the time after which a membership ends (§9.4).
const REPORTS: Duration = Duration::from_secs(60);

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
    /// By what its device steers, and why.
    pub steer: Choice,
    /// What the device was told.
    pub aims: Aims,
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
            iov: Paths::default(),
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

    /// Opens the uplinks and trunks of host.toml. What was opened stays open when one is refused: the caller ends.
    pub fn open_host_ports(&mut self) -> Result<(), Vec<PolicyError>> {
        let host = self.host.clone();
        for (index, uplink) in host.uplinks.iter().enumerate() {
            let wish = Wish {
                mtu: uplink.mtu,
                mac: uplink.mac,
                promiscuous: false,
                all_multicast: uplink.v6().next().is_some(),
                queues: self.crew.len() as u16,
                workers: self.crew.len() as u16,
                software: !uplink.offloads,
                tagged: uplink.vlan.is_some(),
                steering: uplink.steering,
            };
            let object = format!("uplink {}", uplink.name);
            let id = UplinkId(index as u16);
            let mac = self.open_host_port(
                &uplink.device,
                wish,
                Party::Uplink(id),
                &object,
                uplink.line,
            )?;
            let Some(port) = self.tables.port(&uplink.device.to_string()) else {
                continue;
            };
            let entry = Uplink {
                id,
                name: uplink.name.clone(),
                port,
                mac: uplink.mac.unwrap_or(mac),
                v4: uplink.v4().collect(),
                v6: uplink.v6().collect(),
                v4_links: uplink.v4_links().collect(),
                v6_links: uplink.v6_links().collect(),
                vlan: uplink.vlan,
                bridged: None,
                groups: [].into(),
                link: None,
                cells: cells(self.crew.len()),
            };
            set(&mut self.tables.view.uplinks, index, Some(Arc::new(entry)));
        }
        for trunk in &host.trunks {
            let wish = Wish {
                mtu: trunk.mtu,
                promiscuous: true,
                ..Wish::default()
            };
            let party = match trunk.by {
                TrunkBy::Mac => Party::TrunkByMac,
                TrunkBy::Vlan => Party::TrunkByVlan,
            };
            self.open_host_port(
                &trunk.device,
                wish,
                party,
                &format!("trunk {}", trunk.name),
                trunk.line,
            )?;
        }
        self.crew.publish(&self.tables.view);
        // Only now, so that no worker polls a port that it does not know.
        for (device, opened) in std::mem::take(&mut self.opening) {
            self.hand_out(device, opened);
        }
        Ok(())
    }

    fn open_host_port(
        &mut self,
        device: &Device,
        wish: Wish,
        party: Party,
        object: &str,
        line: Line,
    ) -> Result<Mac, Vec<PolicyError>> {
        let refused = |problem: String, mend: String| {
            vec![PolicyError {
                file: self.host.origin.clone(),
                line: Some(line.0),
                object: object.to_owned(),
                problem,
                mend,
            }]
        };
        let opened = ports::open(&self.eal, self.pool, device, wish)
            .map_err(|r| refused(r.problem, r.mend))?;
        let Some(id) = self.tables.ports.give(device.to_string()) else {
            return Err(refused(
                "there are too many ports".into(),
                "remove some".into(),
            ));
        };
        let entry = Port {
            party,
            max_frame: u32::from(opened.mtu) + 14,
            owner: self.least_loaded(),
            suspect_checksums: opened.suspect_checksums && !matches!(party, Party::Uplink(_)),
            offloads: opened.offloads,
            pushes_back: opened.pushes_back,
            patience_us: opened.patience.as_micros() as u32,
            pools: opened.steer.means == Means::Pools,
        };
        set(&mut self.tables.view.ports, id as usize, Some(entry));
        let mac = opened.mac;
        self.opening.push((device.clone(), opened));
        Ok(mac)
    }

    /// The worker that owns the fewest ports, those not yet handed out included.
    pub fn least_loaded(&self) -> WorkerId {
        let mut owned = vec![0_usize; self.crew.len()];
        for port in self.tables.view.ports.iter().flatten() {
            if let Some(count) = owned.get_mut(port.owner.index()) {
                *count += 1;
            }
        }
        let least = owned.iter().enumerate().min_by_key(|(_, count)| **count);
        WorkerId(least.map_or(0, |(index, _)| index as u8))
    }

    /// Wants the next hops of these peers, and no others.
    pub fn want_neighbors(&mut self, peers: &BTreeMap<IpAddr, PeerPlan>) {
        let hosts = &self.host.uplinks;
        let wanted = peers.values().map(|peer| {
            let fixed = hosts
                .get(peer.uplink)
                .and_then(|uplink| uplink.neighbors.get(&peer.next_hop))
                .copied();
            let group = match peer.next_hop {
                IpAddr::V4(group) if group.is_multicast() => Some(group_mac(group)),
                _ => None,
            };
            ((peer.uplink, peer.next_hop), group.or(fixed))
        });
        self.neighbors.want(wanted);
    }

    /// Reads what the workers have heard, and asks whom it is time to ask. Called every few milliseconds.
    pub fn tend_neighbors(&mut self) {
        let now = self.now();
        let mut changed = false;
        for event in self.crew.news() {
            changed |= match event {
                Event::Neighbor {
                    uplink,
                    address,
                    mac,
                    overrides,
                } => {
                    let key = (uplink.index(), address);
                    self.note_conflict(key, mac);
                    self.neighbors.heard(key, mac, overrides, now)
                }
                Event::Groups { uplink, query } => {
                    self.groups.heard(uplink.index(), query, now);
                    false
                }
                Event::PathMtu { peer, mtu } => {
                    let news = self.path_mtus.heard(peer, mtu, now);
                    if news {
                        tracing::info!(%peer, mtu, "a router says that no larger packets fit; counts for ten minutes");
                    }
                    news
                }
                Event::Miss { vnic, to } => {
                    self.hear_miss(vnic, to);
                    false
                }
            };
        }
        changed |= self.path_mtus.tick(now);
        self.speak_of_groups();
        changed |= self.ask_neighbors();
        self.report_groups(now);
        if changed {
            // Ready headers are replaced, never patched: the old ones come back with the old view.
            self.tables.view.peers = self.peer_headers(&self.plan.peers);
            self.crew.publish_soon(&self.tables.view);
        }
    }

    /// Sends the questions that are due; whether somebody has become unknown.
    pub fn ask_neighbors(&mut self) -> bool {
        let (ask, lost) = self.neighbors.tick(self.now());
        for (index, target) in ask {
            let Some(uplink) = self.tables.view.uplink(UplinkId(index as u16)) else {
                continue;
            };
            let config = self.host.uplinks.get(index);
            let source = config.and_then(|config| config.source_to(target));
            let asks = source.and_then(|source| underlay::question(uplink, source, target));
            if let Some(frame) = asks {
                self.say(index, frame);
            }
        }
        lost
    }

    /// Has an uplink send this.
    pub(crate) fn say(&mut self, uplink: usize, frame: Generated) {
        let uplink = self.tables.view.uplink(UplinkId(uplink as u16));
        let Some((id, port)) = uplink.map(|uplink| (uplink.id, uplink.port)) else {
            return;
        };
        if let Some(owner) = self.tables.view.port(port).map(|entry| entry.owner) {
            self.crew.send(owner, Command::Generate(id, port, frame));
        }
    }

    /// Reports the groups in which this host's IPv6 addresses are asked for: at first, when it also asks whether anybody
    /// else has them, and then often enough for every switch that snoops.
    fn report_groups(&mut self, now: Duration) {
        if now < self.next_report {
            return;
        }
        let first = self.next_report.is_zero();
        self.next_report = now + REPORTS;
        for (index, frame) in self.reports(first) {
            self.say(index, frame);
        }
    }

    fn reports(&self, first: bool) -> Vec<(usize, Generated)> {
        let mut frames = Vec::new();
        for (index, uplink) in self.tables.view.uplinks.iter().enumerate() {
            let Some(uplink) = uplink.as_deref().filter(|uplink| !uplink.v6.is_empty()) else {
                continue;
            };
            let own = || std::iter::once(uplink.mac.link_local()).chain(uplink.v6.iter().copied());
            let of_vnics = self.plan.rewritten.iter().filter_map(|(pa, owner)| {
                let is_here = matches!(owner.place, Place::Local(_)) && uplink.is_on_link(*pa);
                match *pa {
                    IpAddr::V6(pa) if is_here => Some(pa),
                    _ => None,
                }
            });
            // RFC 4862 §5.4.2: the group is joined before the question goes out.
            let all = own().chain(of_vnics);
            frames.extend(all.map(|own| (index, underlay::report(uplink, own))));
            if first {
                let asked: &[Ipv6Addr] = &uplink.v6;
                frames.extend(
                    asked
                        .iter()
                        .map(|&own| (index, underlay::probe(uplink, own))),
                );
            }
        }
        frames
    }

    /// Whoever says that it has a provider address of this host takes its packets away: two machines were given one address.
    fn note_conflict(&mut self, key: (usize, IpAddr), mac: Mac) {
        let (index, address) = key;
        let Some(uplink) = self.tables.view.uplink(UplinkId(index as u16)) else {
            return;
        };
        let own = match address {
            IpAddr::V4(address) => uplink.has(address),
            IpAddr::V6(address) => uplink.has_v6(address),
        };
        if own && mac != uplink.mac && self.conflicts.insert(key, mac) != Some(mac) {
            let name = &uplink.name;
            tracing::error!(uplink = %name, %address, %mac, "another machine has this host's provider address: give one of them another");
        }
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
            let (rx, tx) = queues.remove(&open.id).unwrap_or_default();
            if let Err(problem) = open.handle.close(rx, tx) {
                tracing::error!(%device, problem, "the port did not close");
            }
        }
        self.eal
    }
}
