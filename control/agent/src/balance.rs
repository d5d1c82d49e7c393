//! Which buckets of MACs go to which worker, so that no worker has much more to do than another: a pure function of what was measured.
//!
//! *What is measured.* A worker's load is the share of its time in which it moved packets; a bucket's is its worker's, by the packets that its
//! vNICs sent and got there. Cells of the workers say both; the packet's path pays nothing for it.
//! *When it pays.* A bucket moves only if the worker that takes it has then at least [`Rules::gain`] less to do than the one that gives it had,
//! and the bucket is at least as much itself. So each move takes at least 2 · gain² off the sum of the squared loads: under load that
//! does not change there is an end to moving, and no bucket comes back.

use weir_tables::ids::WorkerId;
use weir_tables::steering::Bucket;

/// What it is judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Share of a core that must be gained by a move.
    pub gain: f64,
    /// A worker with less to do than this gives nothing away.
    pub busy: f64,
    /// Buckets that move at once, at most.
    pub at_once: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            gain: 0.05,
            busy: 0.3,
            at_once: 64,
        }
    }
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Share of its time in which it moved packets, 0 to 1.
    pub busy: f64,
    /// The NUMA node of its core.
    pub node: u8,
}

/// A bucket that may move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    /// Which.
    pub bucket: Bucket,
    /// Whose it is.
    pub worker: WorkerId,
    /// Its part of that worker's load.
    pub load: f64,
    /// The NUMA node of its ports' devices, if they have one: it is moved to workers of that node alone, if there are any.
    pub node: Option<u8>,
}

/// A bucket is to go to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub bucket: Bucket,
    /// Whose it is.
    pub from: WorkerId,
    /// Whose it is to be.
    pub to: WorkerId,
}

/// What is to be moved, in this order: from who has most to who has least, as long as it pays.
pub fn decide(workers: &[Load], items: &[Item], rules: &Rules) -> Vec<Move> {
    let mut busy: Vec<f64> = workers.iter().map(|worker| worker.busy).collect();
    let mut items = items.to_vec();
    let mut moves = Vec::new();
    while moves.len() < rules.at_once {
        let Some((at, to)) = best(workers, &busy, &items, rules) else {
            break;
        };
        let Some(item) = items.get_mut(at) else {
            break;
        };
        if let Some(giver) = busy.get_mut(item.worker.index()) {
            *giver -= item.load;
        }
        if let Some(taker) = busy.get_mut(to.index()) {
            *taker += item.load;
        }
        moves.push(Move {
            bucket: item.bucket,
            from: item.worker,
            to,
        });
        // Where it is now it stays, this time.
        items.swap_remove(at);
    }
    moves
}

/// The move after which the two workers of it are most even, of the busiest worker from which one pays.
fn best(
    workers: &[Load],
    busy: &[f64],
    items: &[Item],
    rules: &Rules,
) -> Option<(usize, WorkerId)> {
    let mut givers: Vec<usize> = (0..busy.len()).collect();
    givers.sort_by(|a, b| {
        busy.get(*b)
            .partial_cmp(&busy.get(*a))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    for giver in givers {
        let had = busy.get(giver).copied().unwrap_or(0.0);
        if had < rules.busy {
            return None;
        }
        let mut best: Option<(f64, usize, WorkerId)> = None;
        for (at, item) in items.iter().enumerate() {
            if item.worker.index() != giver || item.load < rules.gain {
                continue;
            }
            let Some((to, has)) = idlest(workers, busy, item) else {
                continue;
            };
            let after = (has + item.load).max(had - item.load);
            if has + item.load <= had - rules.gain && best.is_none_or(|best| after < best.0) {
                best = Some((after, at, to));
            }
        }
        if let Some((_, at, to)) = best {
            return Some((at, to));
        }
    }
    None
}

/// Who has least to do of those that may have it.
fn idlest(workers: &[Load], busy: &[f64], item: &Item) -> Option<(WorkerId, f64)> {
    let node = item
        .node
        .filter(|node| workers.iter().any(|worker| worker.node == *node));
    let mut least: Option<(WorkerId, f64)> = None;
    for (index, (worker, &has)) in workers.iter().zip(busy).enumerate() {
        let may = node.is_none_or(|node| worker.node == node);
        if may && index != item.worker.index() && least.is_none_or(|least| has < least.1) {
            least = Some((WorkerId(index as u8), has));
        }
    }
    least
}

#[cfg(test)]
mod tests;
