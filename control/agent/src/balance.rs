//! Which buckets of MACs go to which worker, so that no worker has much more to do than another: a pure function of what was measured.
//!
//! *What is measured.* A worker's load is the share of its time in which it moved packets; a bucket's is its worker's, by the packets that its
//! vNICs sent and got there. Cells of the workers say both; the packet's path pays nothing for it.
//! *When it pays.* A lot is a bucket, or several that are each too little to be worth a move. It moves only if the worker that takes it has
//! then at least [`Rules::gain`] less to do than the one that gives it had, and it is at least as much itself. So each lot takes at least
//! 2 · gain² off the sum of the squared loads: under load that does not change there is an end to moving, and no bucket comes back. With
//! thousands of vNICs no bucket is much of a core, so that without lots of several a worker with all of them would keep them.

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

/// Buckets that go from one worker to another together: their places among the items, in order.
struct Lot {
    items: Vec<usize>,
    to: WorkerId,
}

/// What is to be moved, in this order: from who has most to who has least, as long as it pays.
pub fn decide(workers: &[Load], items: &[Item], rules: &Rules) -> Vec<Move> {
    let mut busy: Vec<f64> = workers.iter().map(|worker| worker.busy).collect();
    let mut items = items.to_vec();
    let mut moves = Vec::new();
    while let Some(room) = rules.at_once.checked_sub(moves.len())
        && room > 0
        && let Some(lot) = best(workers, &busy, &items, rules, room)
    {
        // From the last one, so that what takes its place is none of the lot.
        for &at in lot.items.iter().rev() {
            // Where it is now it stays, this time.
            let item = items.swap_remove(at);
            if let Some(giver) = busy.get_mut(item.worker.index()) {
                *giver -= item.load;
            }
            if let Some(taker) = busy.get_mut(lot.to.index()) {
                *taker += item.load;
            }
            moves.push(Move {
                bucket: item.bucket,
                from: item.worker,
                to: lot.to,
            });
        }
    }
    moves
}

/// Of the busiest worker from which a move pays: the bucket after whose move the two workers of it are most even, or else a lot of several.
fn best(workers: &[Load], busy: &[f64], items: &[Item], rules: &Rules, room: usize) -> Option<Lot> {
    let mut givers: Vec<(usize, f64)> = busy.iter().copied().enumerate().collect();
    givers.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (giver, had) in givers {
        if had < rules.busy {
            return None;
        }
        let own = || {
            let all = items.iter().enumerate();
            all.filter(|(_, item)| item.worker.index() == giver)
        };
        let mut best: Option<(f64, usize, WorkerId)> = None;
        for (at, item) in own().filter(|(_, item)| item.load >= rules.gain) {
            let Some((to, has)) = idlest(workers, busy, item) else {
                continue;
            };
            let after = (has + item.load).max(had - item.load);
            if has + item.load <= had - rules.gain && best.is_none_or(|best| after < best.0) {
                best = Some((after, at, to));
            }
        }
        if let Some((_, at, to)) = best {
            let items = vec![at];
            return Some(Lot { items, to });
        }
        let small = own().filter(|(_, item)| item.load > 0.0 && item.load < rules.gain);
        if let Some(lot) = several(workers, busy, small.collect(), rules, room) {
            return Some(lot);
        }
    }
    None
}

/// Several of these buckets of one worker, the greatest first, to the worker that has least: at most half of what it has less, so that neither
/// is worse off, and at least the gain.
fn several(
    workers: &[Load],
    busy: &[f64],
    mut small: Vec<(usize, &Item)>,
    rules: &Rules,
    room: usize,
) -> Option<Lot> {
    small.sort_by(|a, b| b.1.load.total_cmp(&a.1.load));
    let takers = small
        .iter()
        .filter_map(|(_, item)| idlest(workers, busy, item));
    let (to, has) = takers.min_by(|a, b| a.1.total_cmp(&b.1))?;
    let had = busy.get(small.first()?.1.worker.index()).copied()?;
    let most = (had - has) / 2.0;
    let mut sum = 0.0;
    let mut items = Vec::new();
    for (at, item) in small {
        let goes = idlest(workers, busy, item).is_some_and(|(own, _)| own == to);
        if goes && items.len() < room && sum + item.load <= most {
            sum += item.load;
            items.push(at);
        }
    }
    items.sort_unstable();
    (sum >= rules.gain).then_some(Lot { items, to })
}

/// Who has least to do of those that may have it. Whoever has it gains nothing by that.
fn idlest(workers: &[Load], busy: &[f64], item: &Item) -> Option<(WorkerId, f64)> {
    let node = item
        .node
        .filter(|node| workers.iter().any(|worker| worker.node == *node));
    let mut least: Option<(WorkerId, f64)> = None;
    for (index, (worker, &has)) in workers.iter().zip(busy).enumerate() {
        let may = node.is_none_or(|node| worker.node == node);
        if may && least.is_none_or(|least| has < least.1) {
            least = Some((WorkerId(index as u8), has));
        }
    }
    least
}

#[cfg(test)]
mod tests;
