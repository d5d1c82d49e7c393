//! Which worker owns which vNIC: hash of its MAC → bucket → worker, as a NIC's table of queues has it.
//!
//! The owner polls the vNIC's own port, takes what it sends through the stages, and what comes for it. Who polls a device that many
//! vNICs share (a trunk, an uplink) reads a MAC off each frame and hands it to that MAC's owner before any stage. What is here is the one
//! truth about that; but a frame that reaches another worker all the same is switched there, checked and counted like any other.
//! *Trade-off:* the MAC alone decides, not the virtual subnet, so that two tenants' vNICs with one MAC have one owner. Of a MAC that a
//! vNIC may use besides its own and that is another's, too, it cannot: who sends from it on a trunk is looked up.

use crate::ids::WorkerId;
use std::collections::BTreeSet;
use weir_wire::Mac;

/// Buckets of MACs: a power of two. What moves from worker to worker is at least one of them, so their number bounds how evenly
/// load can be spread.
pub const BUCKETS: usize = 1024;

/// A bucket of MACs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket of a MAC: the upper bits of a product with 2^64 ÷ golden ratio, so that MACs given out one after another lie far
    /// apart.
    #[inline(always)]
    pub fn of(mac: Mac) -> Bucket {
        let product = mac.to_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Bucket((product >> (64 - BUCKETS.trailing_zeros())) as u16)
    }

    /// Its place among [`BUCKETS`].
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Bucket> {
        (0..BUCKETS as u16).map(Bucket)
    }
}

/// Who owns what. Swapped whole, with the view that it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// By bucket.
    owners: Box<[WorkerId]>,
    /// By bucket: whether one of its MACs is among `apart`.
    has_apart: Box<[bool]>,
    /// MACs whose owner is not their bucket's, in order.
    apart: Box<[(Mac, WorkerId)]>,
    /// MACs of several vNICs that do not tell which of them a frame is from, in order.
    ambiguous: Box<[Mac]>,
    /// Whether there is more than one worker.
    shared: bool,
}

impl Default for Steering {
    /// Everything is the first worker's.
    fn default() -> Self {
        Steering::spread(1)
    }
}

impl Steering {
    /// Buckets dealt out to so many workers.
    pub fn spread(workers: usize) -> Steering {
        let owner = |bucket: usize| WorkerId((bucket % workers.max(1)) as u8);
        Steering {
            owners: (0..BUCKETS).map(owner).collect(),
            has_apart: [false; BUCKETS].into(),
            apart: Box::default(),
            ambiguous: Box::default(),
            shared: workers > 1,
        }
    }

    /// Whether there is anybody to hand frames to.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// The worker that owns vNICs with this MAC.
    #[inline(always)]
    pub fn worker(&self, mac: Mac) -> WorkerId {
        let bucket = Bucket::of(mac);
        if self.has_apart.get(bucket.index()) == Some(&true)
            && let Some(worker) = self.apart(mac)
        {
            return worker;
        }
        self.owner(bucket)
    }

    /// The worker that owns what is in a bucket and not set apart.
    #[inline(always)]
    pub fn owner(&self, bucket: Bucket) -> WorkerId {
        self.owners
            .get(bucket.index())
            .copied()
            .unwrap_or(WorkerId(0))
    }

    #[cold]
    fn apart(&self, mac: Mac) -> Option<WorkerId> {
        let at = self
            .apart
            .binary_search_by_key(&mac, |&(mac, _)| mac)
            .ok()?;
        self.apart.get(at).map(|&(_, worker)| worker)
    }

    /// MACs whose owner is not their bucket's.
    pub fn all_apart(&self) -> &[(Mac, WorkerId)] {
        &self.apart
    }

    /// Whether several vNICs may send from this MAC, of which at least one has another as its own: whose worker a frame from it is, the
    /// sender's own MAC says.
    #[inline(always)]
    pub fn is_ambiguous(&self, mac: Mac) -> bool {
        !self.ambiguous.is_empty() && self.ambiguous.binary_search(&mac).is_ok()
    }

    /// Says which MACs are so, and no others.
    pub fn set_ambiguous(&mut self, macs: impl IntoIterator<Item = Mac>) {
        let macs: BTreeSet<Mac> = macs.into_iter().collect();
        self.ambiguous = macs.into_iter().collect();
    }

    /// Gives a bucket to a worker.
    pub fn give(&mut self, bucket: Bucket, worker: WorkerId) {
        if let Some(owner) = self.owners.get_mut(bucket.index()) {
            *owner = worker;
        }
    }

    /// Sets these MACs apart, and no others. Of one that is named twice the first counts.
    pub fn set_apart(&mut self, macs: impl IntoIterator<Item = (Mac, WorkerId)>) {
        let mut macs: Vec<(Mac, WorkerId)> = macs.into_iter().collect();
        macs.sort_by_key(|&(mac, _)| mac);
        macs.dedup_by_key(|&mut (mac, _)| mac);
        self.has_apart.fill(false);
        for &(mac, _) in &macs {
            if let Some(flag) = self.has_apart.get_mut(Bucket::of(mac).index()) {
                *flag = true;
            }
        }
        self.apart = macs.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u64) -> Mac {
        Mac::from_u64(0x0200_0000_0000 + number)
    }

    #[test]
    fn neighbours_lie_in_different_buckets_and_all_are_used() {
        let mut used = [0_u32; BUCKETS];
        for number in 0..10 * BUCKETS as u64 {
            used[Bucket::of(mac(number)).index()] += 1;
        }
        assert!(
            used.iter().all(|&vnics| (5..=20).contains(&vnics)),
            "{used:?}"
        );
    }

    #[test]
    fn few_vnics_are_spread_over_few_workers() {
        for workers in [2, 3, 4] {
            let steering = Steering::spread(workers);
            let mut owned = vec![0; workers];
            for number in 0..64 {
                owned[steering.worker(mac(number)).index()] += 1;
            }
            let most = 64 / workers * 2;
            assert!(
                owned.iter().all(|vnics| (1..=most).contains(vnics)),
                "{owned:?}"
            );
        }
    }

    #[test]
    fn a_bucket_goes_where_it_is_given_but_for_who_is_set_apart() {
        let mut steering = Steering::spread(4);
        let bucket = Bucket::of(mac(1));
        let other = (2..).map(mac).find(|&mac| Bucket::of(mac) == bucket);
        let other = other.unwrap();
        steering.set_apart([(mac(1), WorkerId(3)), (mac(1), WorkerId(2))]);
        for worker in (0..4).map(WorkerId) {
            steering.give(bucket, worker);
            assert_eq!(steering.worker(mac(1)), WorkerId(3));
            assert_eq!(steering.worker(other), worker);
        }
        steering.set_apart([]);
        assert_eq!(
            steering.worker(mac(1)),
            WorkerId(3),
            "the bucket's last owner"
        );
        steering.give(bucket, WorkerId(0));
        assert_eq!(steering.worker(mac(1)), WorkerId(0));
    }
}
