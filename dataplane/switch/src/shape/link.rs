//! An uplink as one worker sees it: its part of the capacity, its DCB traffic classes, the nodes that share it.

mod limits;

use super::fair::{Fair, Node, Place, weight};
use super::gate::Gate;
use super::leaf::{Index, Turns};
use super::leases::{Lease, Leases};
use super::meter::Due;
use super::{LINK_EARLY, Settings};
use std::sync::Arc;
use weir_tables::bandwidth::{ClassId, Link, Pace, TCS};

/// Nodes before those of vNICs: the default class, then the traffic classes by their numbers.
pub(crate) const SHARED: u32 = 64;
/// The node of the default class.
pub(crate) const DEFAULT: u32 = 0;

/// What all workers' parts of a class's maximum, and the class's place in its DCB traffic class, are here.
#[derive(Clone, Copy, Debug)]
struct ClassState {
    due: Due,
    /// When it went on last.
    opened: u64,
    /// This worker's part.
    pace: Pace,
    max: Pace,
    share: u32,
    tc: u8,
    /// Whether it is a node of its own.
    has_node: bool,
}

/// One worker's state of an uplink. Made by control, which it allocates for; given to the worker by [`Scheduler::set_link`](super::Scheduler::set_link).
pub struct LinkState {
    /// When the next wire byte is in time.
    due: Due,
    /// Of this worker's part of the capacity.
    pace: Pace,
    early: u64,
    /// DCB traffic classes with something that may leave, a bit each.
    busy: u8,
    /// Whether its device chooses among them: each waits for itself alone.
    by_device: bool,
    strict: u8,
    /// Traffic classes that wait for their maximum, a bit each.
    shut: u64,
    fairs: [Option<Box<Fair>>; TCS],
    ets: [Ets; TCS],
    ets_now: u64,
    pub(crate) nodes: Box<[Node]>,
    /// Of the nodes that many vNICs share.
    pub(crate) indexes: Box<[Index]>,
    classes: Box<[ClassState]>,
    default_share: u32,
    default_tc: u8,
    capacity: Pace,
    /// What is reported to the other workers.
    pub(crate) lease: Lease,
    /// Virtual time, by DCB traffic class, that a queue may be long.
    longest: [u64; TCS],
    queue: u64,
    measured: Measured,
    hz: u64,
}

/// Start-time fair queueing among the DCB traffic classes that are not strict (Goyal, Vin, Cheng 1996): they are eight at most.
#[derive(Clone, Copy, Debug, Default)]
struct Ets {
    start: u64,
    inverse: u64,
}

/// What was sent since limits were reckoned last.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    from: u64,
    /// Wire bytes, by DCB traffic class, of leaves that had more.
    stayed: [u64; TCS],
    items: u64,
}

impl LinkState {
    /// The state of a link on which nothing waits, for one of the workers that share `leases`.
    ///
    /// Allocates: for control. `settings` as of the scheduler that gets it, with as many places for vNICs as it has by then.
    pub fn new(link: &Link, leases: Arc<Leases>, me: usize, settings: &Settings) -> Box<LinkState> {
        let bits = link.capacity.bits_per_second(settings.hz);
        let capacity = bits.map(|bits| bits / 8);
        // 12.5 µs of this worker's part: the order within it is first come. 10 Gbit/s where nobody knows.
        let workers = leases.workers().max(1) as u64;
        let tick = capacity.unwrap_or(1_250_000_000) / 80_000 / workers;
        let mut fairs = [const { None }; TCS];
        let tc_of = |tc: u8| tc & (TCS as u8 - 1);
        let tcs = link.classes.iter().map(|class| class.tc);
        for tc in tcs.chain([link.default_tc]) {
            if let Some(fair) = fairs.get_mut(usize::from(tc_of(tc))) {
                *fair = Some(Box::new(Fair::new(tick.max(256))));
            }
        }
        let default_tc = tc_of(link.default_tc);
        let classes = link.classes.iter().take(SHARED as usize - 1);
        let classes = classes.map(|class| ClassState {
            due: Due::default(),
            opened: 0,
            pace: class.max,
            max: class.max,
            share: match class.share {
                0 => link.default_share,
                share => share,
            },
            tc: tc_of(class.tc),
            // Of no share it stays in its vNIC's node, unless that cannot be: with a maximum, or in another traffic class of DCB.
            has_node: class.share > 0 || !class.max.is_unlimited() || tc_of(class.tc) != default_tc,
        });
        let mut state = Box::new(LinkState {
            due: Due::default(),
            pace: link.capacity,
            early: settings.hz / LINK_EARLY,
            busy: 0,
            by_device: link.queues.is_some(),
            strict: 0,
            shut: 0,
            fairs,
            ets: [Ets::default(); TCS],
            ets_now: 0,
            nodes: vec![Node::default(); SHARED as usize + settings.vnics as usize].into(),
            indexes: vec![Index::default(); SHARED as usize].into(),
            classes: classes.collect(),
            default_share: link.default_share.max(1),
            default_tc,
            capacity: link.capacity,
            lease: Lease::new(leases, me, link, capacity, settings.hz),
            longest: [u64::MAX; TCS],
            queue: settings.queue,
            measured: Measured::default(),
            hz: settings.hz,
        });
        for (tc, (ets, says)) in state.ets.iter_mut().zip(&link.tcs).enumerate() {
            if says.strict {
                state.strict |= 1 << tc;
            }
            // A share of none gets a thousandth of a percent.
            ets.inverse = match says.share {
                0 => 1 << 32,
                share => (1 << 32) / (1000 * u64::from(share)),
            };
        }
        let own = state.default_tc;
        for node in state.nodes.iter_mut().skip(SHARED as usize) {
            node.tc = own;
        }
        state.set_shared(DEFAULT, state.default_share, own);
        for class in 0..state.classes.len() {
            if let Some(&ClassState {
                share,
                tc,
                has_node: true,
                ..
            }) = state.classes.get(class)
            {
                state.set_shared(class as u32 + 1, share, tc);
            }
        }
        state
    }

    fn set_shared(&mut self, id: u32, share: u32, tc: u8) {
        if let Some(node) = self.nodes.get_mut(id as usize) {
            node.tc = tc;
        }
        self.set_weight(id, weight(share));
    }

    /// Gives a node another weight.
    pub(crate) fn set_weight(&mut self, id: u32, weight: u64) {
        let Some(tc) = self.nodes.get(id as usize).map(|node| node.tc) else {
            return;
        };
        if let Some(Some(fair)) = self.fairs.get_mut(usize::from(tc)) {
            fair.set_weight(&mut self.nodes, id, weight);
        }
    }

    /// The node of what a vNIC with this gate sends in a class.
    #[inline(always)]
    pub(crate) fn node_of(&self, vnic: u32, share: u32, class: ClassId) -> u32 {
        if let Some(class) = class.index()
            && self.classes.get(class).is_some_and(|class| class.has_node)
        {
            return class as u32 + 1;
        }
        if share > 0 { SHARED + vnic } else { DEFAULT }
    }

    /// Whether it may send at `now`.
    #[inline(always)]
    pub(crate) fn is_open(&self, now: u64) -> bool {
        self.pace.is_unlimited() || self.due.is_open(now, self.early)
    }

    /// Whether something waits for it, or for a class's maximum on it.
    #[inline(always)]
    pub(crate) fn waits(&self) -> bool {
        self.busy != 0 || self.shut != 0
    }

    /// Whether so much may leave at once, with nobody before it; then it is charged.
    #[inline(always)]
    pub(crate) fn pass(&mut self, class: ClassId, bytes: u32, wire: u32, now: u64) -> bool {
        if self.busy != 0 && self.goes_before(class) {
            return false;
        }
        let mut after = self.due;
        if !self.pace.is_unlimited() {
            after = self.due.after(self.pace, wire, now);
            if !after.is_open(now, self.early) {
                return false;
            }
        }
        if class != ClassId::NONE && !self.class_passes(class, bytes, now) {
            return false;
        }
        self.due = after;
        self.lease.passed(wire);
        true
    }

    /// Whether something that waits goes before what is of this class.
    #[inline(never)]
    fn goes_before(&self, class: ClassId) -> bool {
        let class = class.index().and_then(|at| self.classes.get(at));
        let tc = class.map_or(self.default_tc, |class| class.tc);
        !self.by_device || self.busy & 1 << tc != 0
    }

    #[inline(never)]
    fn class_passes(&mut self, class: ClassId, bytes: u32, now: u64) -> bool {
        let state = class.index().and_then(|at| self.classes.get_mut(at));
        let Some(state) = state else {
            return true;
        };
        if state.pace.is_unlimited() {
            return true;
        }
        if self.shut & 1 << (class.0 & 63) != 0 {
            return false;
        }
        let after = state.due.after(state.pace, bytes, now);
        let passes = after.is_open(now, self.early);
        if passes {
            state.due = after;
        }
        passes
    }

    /// Whether a node is of a class that is at its maximum.
    #[inline(always)]
    pub(crate) fn is_class_shut(&self, id: u32, now: u64) -> bool {
        if id == DEFAULT || id >= SHARED {
            return false;
        }
        let class = self.classes.get(id as usize - 1);
        class.is_some_and(|class| !class.pace.is_unlimited() && !class.due.is_open(now, self.early))
    }

    /// Puts a picked node aside until its class may send again.
    #[cold]
    pub(crate) fn shut_class(&mut self, id: u32, tc: usize) {
        self.shut |= 1 << (id & 63);
        if let Some(Some(fair)) = self.fairs.get_mut(tc) {
            fair.rest(&mut self.nodes, id, Place::Shut);
        }
    }

    /// Brings back the classes that may send again; `wire` says how large the first item of a ring is.
    #[cold]
    #[inline(never)]
    pub(crate) fn open_classes(&mut self, now: u64, wire: impl Fn(&Turns) -> Option<u32>) {
        let mut left = self.shut;
        while left != 0 {
            let id = left.trailing_zeros();
            left &= left - 1;
            if self.is_class_shut(id, now) {
                continue;
            }
            self.shut &= !(1 << id);
            if let Some(class) = self.classes.get_mut((id as usize).wrapping_sub(1)) {
                class.opened = now;
            }
            let Some(node) = self.nodes.get_mut(id as usize) else {
                continue;
            };
            node.place = Place::Idle;
            if let Some(first) = wire(&node.turns) {
                self.activate(id, first);
            }
        }
    }

    /// Whether classes wait.
    #[inline(always)]
    pub(crate) fn has_shut(&self) -> bool {
        self.shut != 0
    }

    /// A node has something that may leave.
    #[inline(always)]
    pub(crate) fn activate(&mut self, id: u32, wire: u32) {
        let Some(node) = self.nodes.get(id as usize) else {
            return;
        };
        if node.place != Place::Idle {
            return;
        }
        let tc = usize::from(node.tc) & (TCS - 1);
        if let Some(Some(fair)) = self.fairs.get_mut(tc) {
            fair.activate(&mut self.nodes, id, wire);
            if self.busy & 1 << tc == 0 {
                self.begins(tc);
            }
        }
    }

    /// A DCB traffic class that had nothing has something.
    fn begins(&mut self, tc: usize) {
        if self.busy == 0 {
            // Who shares it now is not who shared it then: what was measured says nothing of it.
            self.longest = [u64::MAX; TCS];
            self.measured = Measured::default();
        }
        self.busy |= 1 << tc;
        if let Some(ets) = self.ets.get_mut(tc) {
            ets.start = ets.start.max(self.ets_now);
        }
    }

    /// The DCB traffic class whose turn it is, of these, a bit each.
    #[inline(always)]
    pub(crate) fn choose(&self, of: u8) -> Option<usize> {
        let busy = self.busy & of;
        if busy & busy.wrapping_sub(1) == 0 {
            return (busy != 0).then(|| busy.trailing_zeros() as usize);
        }
        self.choose_of_many(busy)
    }

    #[inline(never)]
    fn choose_of_many(&self, busy: u8) -> Option<usize> {
        let strict = busy & self.strict;
        if strict != 0 {
            return Some(strict.ilog2() as usize);
        }
        let busy = (0..TCS).filter(|tc| busy & 1 << tc != 0);
        busy.min_by_key(|&tc| self.ets.get(tc).map_or(u64::MAX, |ets| ets.start))
    }

    /// The node of a traffic class whose turn it is, and whose is probably next. `started`: told of whoever's comes from now on.
    #[inline(always)]
    pub(crate) fn pick(
        &mut self,
        tc: usize,
        started: impl Fn(u32, &Node),
    ) -> Option<(u32, Option<&Node>)> {
        let picked = match self.fairs.get_mut(tc) {
            Some(Some(fair)) => {
                let picked = fair.pick(&mut self.nodes, started);
                picked.map(|node| {
                    let follower = fair.follower(&self.nodes);
                    (node, self.nodes.get(follower as usize))
                })
            }
            _ => None,
        };
        if picked.is_none() {
            self.busy &= !(1 << (tc & (TCS - 1)));
        }
        picked
    }

    /// A picked node has sent; its next item, if one may leave, is of so many wire bytes. `stays`: its leaf can use more.
    #[inline(always)]
    pub(crate) fn served(&mut self, tc: usize, id: u32, sent: Sent, next: Option<u32>, now: u64) {
        let Sent {
            bytes,
            wire,
            came,
            stays,
        } = sent;
        if !self.pace.is_unlimited() {
            self.due = self.due.after(self.pace, wire, now);
        }
        if id != DEFAULT && id < SHARED {
            self.charge_class(id, bytes, came, now);
        }
        if self.busy & self.busy.wrapping_sub(1) != 0 {
            self.charge_ets(tc, wire);
        }
        self.lease.sent(wire, stays);
        if stays && let Some(stayed) = self.measured.stayed.get_mut(tc) {
            *stayed += u64::from(wire);
        }
        self.measured.items += 1;
        if let Some(Some(fair)) = self.fairs.get_mut(tc) {
            fair.served(&mut self.nodes, id, wire, next);
            if next.is_none() && fair.is_empty() {
                self.busy &= !(1 << (tc & (TCS - 1)));
            }
        }
    }

    #[inline(never)]
    fn charge_class(&mut self, id: u32, bytes: u32, came: u64, now: u64) {
        if let Some(class) = self.classes.get_mut(id as usize - 1)
            && !class.pace.is_unlimited()
        {
            let waited = now.saturating_sub(came.max(class.opened));
            class.due = class.due.after_waiting(class.pace, bytes, waited, now);
        }
    }

    /// Who is strict has no share that anybody might have used up: its own time would be everybody's who comes back.
    #[inline(never)]
    fn charge_ets(&mut self, tc: usize, wire: u32) {
        if self.strict & 1 << (tc & (TCS - 1)) != 0 {
            return;
        }
        if let Some(ets) = self.ets.get_mut(tc) {
            self.ets_now = self.ets_now.max(ets.start);
            ets.start += (u64::from(wire) * ets.inverse) >> 16;
        }
    }

    /// A picked node whose leaf had to wait: it goes on with another, or rests.
    #[inline(always)]
    pub(crate) fn passed_over(&mut self, tc: usize, id: u32, next: Option<u32>) {
        if let Some(Some(fair)) = self.fairs.get_mut(tc) {
            match next {
                Some(wire) => fair.again(&mut self.nodes, id, wire),
                None => fair.rest(&mut self.nodes, id, Place::Idle),
            }
            if fair.is_empty() {
                self.busy &= !(1 << (tc & (TCS - 1)));
            }
        }
    }

    /// A leaf of this node can use more than it gets from now on, or no longer.
    #[inline(always)]
    pub(crate) fn note_hunger(&mut self, id: u32, hungry: bool) {
        let Some(node) = self.nodes.get_mut(id as usize) else {
            return;
        };
        let before = node.members;
        node.members = match hungry {
            true => before + 1,
            false => before.saturating_sub(1),
        };
        if (before == 0) == (node.members == 0) {
            return;
        }
        let (tc, weight) = (usize::from(node.tc), node.weight);
        if let Some(Some(fair)) = self.fairs.get_mut(tc) {
            fair.hungry = match hungry {
                true => fair.hungry + weight,
                false => fair.hungry.saturating_sub(weight),
            };
        }
    }

    /// Takes over what goes on across a change: due times, and the weights of vNICs.
    pub(crate) fn succeeds(&mut self, old: &LinkState, now: u64) {
        self.due = old.due.carried_over(old.pace, self.pace, now);
        for (class, before) in self.classes.iter_mut().zip(&old.classes) {
            class.due = before.due.carried_over(before.pace, class.pace, now);
        }
    }

    /// Gives every vNIC's node the weight of its gate.
    pub(crate) fn adopt(&mut self, gates: &[Gate]) {
        for (vnic, gate) in (0..).zip(gates.iter().step_by(2)) {
            if gate.share > 0 {
                self.set_weight(SHARED + vnic, weight(gate.share));
            }
        }
    }

    /// The capacity that it was made with.
    pub fn capacity(&self) -> Pace {
        self.capacity
    }

    /// This worker's part of it now.
    pub fn part(&self) -> Pace {
        self.pace
    }

    /// Nodes with something that may leave.
    pub fn active(&self) -> u32 {
        let fairs = self.fairs.iter().flatten();
        fairs.map(|fair| fair.active()).sum()
    }
}

/// What left of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: u32,
    pub(crate) wire: u32,
    /// When it came, in TSC cycles.
    pub(crate) came: u64,
    /// Whether its leaf has more that may leave.
    pub(crate) stays: bool,
}

impl LinkState {
    /// Whether anything on it may have to wait before its device is full.
    pub(crate) fn limits(&self) -> bool {
        let mut classes = self.classes.iter();
        !self.capacity.is_unlimited() || classes.any(|class| !class.max.is_unlimited())
    }

    /// Moves into more places for nodes, and leaves its old ones in their stead.
    pub(crate) fn grow(&mut self, nodes: &mut Box<[Node]>) {
        for (at, node) in nodes.iter_mut().enumerate() {
            match self.nodes.get(at) {
                Some(old) => *node = *old,
                None => node.tc = self.default_tc,
            }
        }
        std::mem::swap(nodes, &mut self.nodes);
    }
}
