//! Measuring what workers and buckets have to do, and moving what [`balance`](crate::balance) decides.
//!
//! Every few milliseconds a look at the workers alone. If one has much more to do than another, the buckets are counted for as long again, and
//! then it is decided: with ten thousand vNICs the first costs nothing, the second a read of each one's cells.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use weir_tables::ids::WorkerId;
use weir_tables::steering::Bucket;

use crate::balance::{Item, Load, Move, Rules, decide};
use crate::moves::MoveCounts;
use crate::state::State;
use crate::stats::MoveStats;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Buckets that may move at once, and a second, in the long run.
const BURST: f64 = 256.0;
const RATE: f64 = 128.0;

/// What was seen so far.
#[derive(Debug)]
pub struct Balancer {
    /// When it was last looked.
    at: Duration,
    /// By worker: busy and idle cycles then.
    cycles: Vec<(u64, u64)>,
    /// By worker: share of the time between the last two looks in which it moved packets.
    busy: Vec<f64>,
    /// By bucket: packets of its vNICs by worker at the last look, if they were counted.
    counted: Option<HashMap<Bucket, Vec<u64>>>,
    /// Buckets that may move now.
    allowed: f64,
    /// By worker: the NUMA node of its core.
    nodes: Vec<u8>,
    rules: Rules,
}

impl Balancer {
    /// Of workers on these cores.
    pub fn new(cores: impl Iterator<Item = u32>) -> Balancer {
        Balancer {
            at: Duration::ZERO,
            cycles: Vec::new(),
            busy: Vec::new(),
            counted: None,
            allowed: BURST,
            nodes: cores.map(node_of).collect(),
            rules: Rules::default(),
        }
    }

    /// By worker: the share of its time in which it moved packets, of late.
    pub fn busy(&self) -> &[f64] {
        &self.busy
    }
}

/// The NUMA node of a core, 0 if the kernel does not say.
fn node_of(core: u32) -> u8 {
    let folder = format!("/sys/devices/system/cpu/cpu{core}");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    let node = names.find_map(|name| name.to_str()?.strip_prefix("node")?.parse().ok());
    node.unwrap_or(0)
}

impl State {
    /// Looks, and moves what it is time to move. Called every few milliseconds.
    pub fn tend_balance(&mut self) {
        let now = self.now();
        let passed = now.saturating_sub(self.balancer.at);
        if passed < LOOK || !self.tables.view.steering.is_shared() {
            return;
        }
        let books = self.crew.books();
        let cycles: Vec<(u64, u64)> = books
            .map(|(_, cells)| (cells.busy_cycles.get(), cells.idle_cycles.get()))
            .collect();
        let balancer = &mut self.balancer;
        balancer.at = now;
        balancer.allowed = (balancer.allowed + RATE * passed.as_secs_f64()).min(BURST);
        let before = std::mem::replace(&mut balancer.cycles, cycles);
        let share = |(now, before): (&(u64, u64), &(u64, u64))| {
            let busy = now.0.wrapping_sub(before.0) as f64;
            let idle = now.1.wrapping_sub(before.1) as f64;
            busy / (busy + idle).max(1.0)
        };
        if before.len() != balancer.cycles.len() {
            balancer.counted = None;
            return;
        }
        balancer.busy = balancer.cycles.iter().zip(&before).map(share).collect();
        let most = balancer.busy.iter().copied().fold(0.0, f64::max);
        let least = balancer.busy.iter().copied().fold(1.0, f64::min);
        let wanted = self.host.dataplane.balance
            && most >= balancer.rules.busy
            && most - least >= 2.0 * balancer.rules.gain;
        let counted = balancer.counted.take();
        if !wanted {
            return;
        }
        let packets = self.packets();
        let Some(counted) = counted else {
            self.balancer.counted = Some(packets);
            return;
        };
        let moves = self.decide(&packets, &counted);
        self.carry_out_moves(&moves);
    }

    /// Packets that the vNICs of each bucket sent and got, by worker, but for pinned ones.
    fn packets(&self) -> HashMap<Bucket, Vec<u64>> {
        let mut packets: HashMap<Bucket, Vec<u64>> = HashMap::new();
        for (name, planned) in &self.plan.vnics {
            let id = self.tables.vnic(name, planned.segment);
            let Some(vnic) = id.and_then(|id| self.tables.view.vnic(id)) else {
                continue;
            };
            let bucket = Bucket::of(planned.identity.mac);
            let own = packets.entry(bucket).or_default();
            own.resize(self.crew.len(), 0);
            for (own, cells) in own.iter_mut().zip(vnic.cells.iter()) {
                *own += cells.rx.packets.get() + cells.tx.packets.get();
            }
        }
        packets
    }

    fn decide(
        &self,
        now: &HashMap<Bucket, Vec<u64>>,
        before: &HashMap<Bucket, Vec<u64>>,
    ) -> Vec<Move> {
        let balancer = &self.balancer;
        let steering = &self.tables.view.steering;
        let pinned: BTreeSet<Bucket> = self.pinned_buckets();
        let mut all = vec![0_u64; self.crew.len()];
        let mut own: BTreeMap<Bucket, u64> = BTreeMap::new();
        for (&bucket, now) in now {
            let before = before.get(&bucket);
            let worker = steering.owner(bucket).index();
            for (index, &now) in now.iter().enumerate() {
                let before = before.and_then(|before| before.get(index)).copied();
                let more = now.wrapping_sub(before.unwrap_or(now));
                if let Some(all) = all.get_mut(index) {
                    *all += more;
                }
                if index == worker {
                    *own.entry(bucket).or_default() += more;
                }
            }
        }
        let workers: Vec<Load> = balancer
            .busy
            .iter()
            .zip(&balancer.nodes)
            .map(|(&busy, &node)| Load { busy, node })
            .collect();
        let nodes = self.nodes_of_buckets();
        let items: Vec<Item> = own
            .into_iter()
            .filter(|(bucket, _)| !pinned.contains(bucket))
            .map(|(bucket, packets)| {
                let worker = steering.owner(bucket);
                let at = worker.index();
                let all = all.get(at).copied().unwrap_or(0).max(1);
                let busy = balancer.busy.get(at).copied().unwrap_or(0.0);
                Item {
                    bucket,
                    worker,
                    load: busy * packets as f64 / all as f64,
                    node: nodes.get(&bucket).copied(),
                }
            })
            .collect();
        let rules = Rules {
            at_once: balancer.rules.at_once.min(balancer.allowed as usize),
            ..balancer.rules
        };
        decide(&workers, &items, &rules)
    }

    /// Buckets in which somebody is pinned: they hold still.
    fn pinned_buckets(&self) -> BTreeSet<Bucket> {
        let names = self.host.pins.keys();
        let vnics = names.filter_map(|name| self.plan.vnics.get(name));
        vnics.map(|vnic| Bucket::of(vnic.identity.mac)).collect()
    }

    /// The NUMA node of the devices of each bucket's vNICs, of those that have one and the same.
    fn nodes_of_buckets(&self) -> HashMap<Bucket, u8> {
        let mut nodes: HashMap<Bucket, BTreeSet<u8>> = HashMap::new();
        for open in self.ports.values() {
            let party = self.tables.view.port(open.id).map(|port| port.party);
            let Some(weir_tables::view::Party::Vnic(vnic)) = party else {
                continue;
            };
            if let Some(vnic) = self.tables.view.vnic(vnic) {
                let own = nodes.entry(Bucket::of(vnic.identity.mac)).or_default();
                own.extend(open.handle.node());
            }
        }
        let one = |(bucket, nodes): (Bucket, BTreeSet<u8>)| match nodes.len() {
            1 => nodes.first().map(|node| (bucket, *node)),
            _ => None,
        };
        nodes.into_iter().filter_map(one).collect()
    }

    /// What moved so far.
    pub(crate) fn move_stats(&self) -> MoveStats {
        let MoveCounts {
            moves,
            buckets,
            vnics,
            longest,
            total,
            ..
        } = self.moves;
        MoveStats {
            moves,
            buckets,
            vnics,
            longest_us: longest.as_micros() as u64,
            total_us: total.as_micros() as u64,
        }
    }

    /// Each worker as `weir get worker` shows it, by its core.
    pub(crate) fn workers(&self) -> Vec<(String, Value)> {
        let steering = &self.tables.view.steering;
        let mut buckets = vec![0_u64; self.crew.len()];
        for bucket in Bucket::all() {
            if let Some(own) = buckets.get_mut(steering.owner(bucket).index()) {
                *own += 1;
            }
        }
        let mut vnics = vec![0_u64; self.crew.len()];
        for vnic in self.plan.vnics.values() {
            if let Some(own) = vnics.get_mut(steering.worker(vnic.identity.mac).index()) {
                *own += 1;
            }
        }
        let aimed = self.aimed_at();
        let balancer = &self.balancer;
        let mut queues = self.crew.queues();
        let each = self.crew.books().enumerate().map(|(index, (core, _))| {
            let busy = balancer.busy.get(index).copied().unwrap_or(0.0);
            let own = json!({
                "core": core,
                "node": balancer.nodes.get(index),
                "balance": self.host.dataplane.balance,
                "status": {
                    "busy_percent": (busy * 1000.0).round() / 10.0,
                    "queues": queues.next(),
                    "vnics": vnics.get(index),
                    "buckets": buckets.get(index),
                    "macs_by_hardware": aimed.get(index),
                },
            });
            (core.to_string(), own)
        });
        each.collect()
    }

    fn carry_out_moves(&mut self, moves: &[Move]) {
        let mut ways: BTreeMap<(WorkerId, WorkerId), Vec<Bucket>> = BTreeMap::new();
        for &Move { bucket, from, to } in moves {
            ways.entry((from, to)).or_default().push(bucket);
        }
        self.balancer.allowed -= moves.len() as f64;
        for ((_, to), buckets) in ways {
            self.move_buckets(&buckets, to);
        }
        if !moves.is_empty() {
            // What the time of the moves did to the loads says nothing.
            self.balancer.cycles.clear();
        }
    }
}
