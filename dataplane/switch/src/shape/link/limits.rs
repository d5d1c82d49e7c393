//! What is reckoned of a link now and then: what of its capacity is this worker's, and how long queues may be at the rate that they have.

use super::{DEFAULT, LinkState, Measured, SHARED};
use crate::shape::fair::{Fair, weight};
use weir_tables::bandwidth::TCS;

impl LinkState {
    /// Whether a queue of a node, of so many layer 2 bytes and wire bytes, is longer than the time allowed at the rate that it has, or at its
    /// part of its class's maximum.
    #[inline(always)]
    pub(crate) fn is_too_long(&self, id: u32, bytes: u64, wire: u64) -> bool {
        let Some(node) = self.nodes.get(id as usize) else {
            return false;
        };
        let members = u64::from(node.turns.members.max(1));
        if id != DEFAULT && id < SHARED && self.is_over_class(id, bytes.saturating_mul(members)) {
            return true;
        }
        let longest = self.longest.get(usize::from(node.tc));
        let all = wire.saturating_mul(members);
        longest.is_some_and(|&longest| Fair::takes(node, all) > u128::from(longest))
    }

    /// Whether so many bytes of a class take longer than a queue may at its maximum, whatever it could have of the link.
    #[inline(never)]
    fn is_over_class(&self, id: u32, bytes: u64) -> bool {
        let class = self.classes.get(id as usize - 1);
        class.is_some_and(|class| class.pace.time(bytes) > u128::from(self.queue) << 32)
    }

    /// When its time has come: how long queues may be, and what of the capacity is this worker's.
    #[inline(always)]
    pub(crate) fn tick(&mut self, now: u64) {
        if self.lease.is_due(now) {
            self.reckon(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn reckon(&mut self, now: u64) {
        self.reckon_limits(now);
        let hungry = self.fairs.each_ref().map(|fair| {
            let fair = fair.as_ref();
            fair.map_or(0, |fair| fair.hunger())
        });
        let here = self.fairs.iter().flatten().map(|fair| fair.here).sum();
        let nodes = &self.nodes;
        let members = |shared: usize| nodes.get(shared).map_or(0, |node| u64::from(node.members));
        let pace = self.lease.reckon(now, hungry, here, members);
        if pace != self.pace {
            // What left early at a large part is not to be paid off at a small one: those here who were promised something would wait
            // for what is long sent.
            self.due = self.due.changed(self.pace, pace, now, self.early);
            self.pace = pace;
        }
        if self.lease.is_alone() {
            return;
        }
        for shared in 0..=self.classes.len() {
            let Some(part) = self.lease.part(shared) else {
                continue;
            };
            let class = shared
                .checked_sub(1)
                .and_then(|at| self.classes.get_mut(at));
            let share = match class {
                None => self.default_share,
                Some(class) if !class.has_node => continue,
                Some(class) => {
                    let pace = part.pace(class.max);
                    class.due = class.due.carried_over(class.pace, pace, now);
                    class.pace = pace;
                    class.share
                }
            };
            self.set_weight(shared as u32, part.weight(weight(share)));
        }
    }

    /// At the rate at which those who can use more were served lately: the virtual time of the time allowed.
    fn reckon_limits(&mut self, now: u64) {
        let measured = &self.measured;
        if measured.from == 0 || now < measured.from {
            self.measured.from = now.max(1);
            return;
        }
        let took = now - measured.from;
        // A millisecond, and more where that is only a few frames.
        if took < self.hz / 1_000 || measured.items < 32 {
            return;
        }
        let served = measured.stayed.iter().zip(&self.fairs);
        let limits = served.map(|(&stayed, fair)| {
            let Some(fair) = fair else { return u64::MAX };
            if stayed == 0 {
                return u64::MAX;
            }
            let bytes = u128::from(stayed) * u128::from(self.queue) / u128::from(took);
            fair.time_of(u64::try_from(bytes).unwrap_or(u64::MAX))
        });
        let mut longest = [u64::MAX; TCS];
        for (place, limit) in longest.iter_mut().zip(limits) {
            *place = limit;
        }
        self.longest = longest;
        self.measured = Measured {
            from: now.max(1),
            ..Measured::default()
        };
    }
}
