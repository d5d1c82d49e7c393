//! What leaves now of what waits.

use super::fair::Node;
use super::gate::Gate;
use super::leaf::{Index, Leaf, Leaves, State, Turns};
use super::link::{LinkState, SHARED, Sent};
use super::scheduler::exit_at;
use super::slab::{Slab, Taken};
use super::wheel::Wheel;
use super::{ALL_TCS, EARLY, Exit, Leaving, Scheduler};
use arrayvec::ArrayVec;
use weir_tables::bandwidth::ClassId;
use weir_tables::ids::{UplinkId, VnicId};
use weir_tables::prefetch;

/// What became of a leaf after one of its items left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It may send more, by turns.
    More,
    /// Nothing waits in it: it is none any more.
    Nothing,
    /// What waits in it has to wait for its gate.
    Shut,
}

impl Left {
    #[inline(always)]
    fn of(leaf: &Leaf, is_open: bool) -> Left {
        match (leaf.queue.is_empty(), is_open) {
            (true, _) => Left::Nothing,
            (false, true) => Left::More,
            (false, false) => Left::Shut,
        }
    }
}

/// Gates that let through what they might in this turn, and when that was said to be.
#[derive(Default)]
pub(super) struct Charged {
    at: u64,
    /// How long the worker was away between turns, in TSC cycles, all together.
    away: u64,
    gates: ArrayVec<u32, TURN>,
}

/// What was later than so many parts of a second counts as that late: whoever was stopped for a minute owes nobody a minute.
const LATEST: u64 = 100;
/// As many as a turn lets leave by one exit, about.
const TURN: usize = 256;

impl Charged {
    #[inline(always)]
    fn begin(&mut self, now: u64, early: u64) {
        let since = now.saturating_sub(self.at);
        // As long as nobody loses anything by it, it is how long a turn takes.
        if since > early {
            self.away = self.away.wrapping_add(since);
        }
        self.at = now;
        self.gates.clear();
    }

    /// The time in which the worker ran.
    #[inline(always)]
    fn awake(&self, now: u64) -> u64 {
        now.wrapping_sub(self.away)
    }

    #[inline(always)]
    fn note(&mut self, gate: u32) {
        // Of more than a turn usually has the rest goes without.
        let _ = self.gates.try_push(gate);
    }

    fn take(&mut self) -> ArrayVec<u32, TURN> {
        std::mem::take(&mut self.gates)
    }
}

/// What links and vNICs here have in common.
struct Store<'s, T> {
    leaves: &'s mut Leaves,
    gates: &'s mut [Gate],
    slab: &'s mut Slab<T>,
    wheel: &'s mut Wheel,
    charged: &'s mut Charged,
    ecn: u64,
}

impl<T> Store<'_, T> {
    /// Whether the gate of a leaf lets something through.
    #[inline(always)]
    fn is_open(&self, gate: u32, now: u64) -> bool {
        let gate = self.gates.get(gate as usize);
        gate.is_some_and(|gate| !gate.is_held && (gate.polices || gate.is_open(now)))
    }

    /// Asks the processor for what is known of a vNIC whose turn comes.
    #[inline(always)]
    fn fetch_state(&self, id: u32, node: &Node) {
        if let Some(gate) = self
            .gates
            .get(id.wrapping_sub(SHARED).wrapping_mul(2) as usize)
        {
            prefetch::read(gate);
        }
        if let Some(leaf) = self.leaves.get(node.turns.head) {
            prefetch::read(leaf);
        }
    }

    /// Asks the processor for what leaves next.
    #[inline(always)]
    fn fetch_item(&self, node: &Node) {
        if let Some(leaf) = self.leaves.get(node.turns.head) {
            self.slab.fetch(&leaf.queue);
        }
    }

    /// Takes the first item of a leaf and charges its gate.
    #[inline(always)]
    fn take(&mut self, at: u32, now: u64) -> Option<(Taken<T>, Left)> {
        let leaf = self.leaves.get_mut(at)?;
        let gate = self.gates.get_mut(leaf.gate as usize)?;
        let holds = gate.holds();
        let (taken, is_open) = take_first(leaf, gate, holds, self.slab, self.charged, now)?;
        Some((taken, Left::of(leaf, is_open)))
    }

    /// A leaf that is in no ring waits until its gate opens.
    #[inline(always)]
    fn wait(&mut self, gate: u32) {
        let waits = self.gates.get(gate as usize);
        if waits.is_some_and(|gate| !gate.link.is_in()) {
            self.wheel.insert(self.gates, gate);
        }
    }

    /// A leaf that is in no ring, and in which nothing waits, is none any more.
    #[inline(always)]
    fn end(&mut self, at: u32) {
        let Some(&Leaf { gate, sibling, .. }) = self.leaves.get(at) else {
            return;
        };
        if let Some(gate) = self.gates.get_mut(gate as usize) {
            match gate.leaves == at {
                true => gate.leaves = sibling,
                false => self.leaves.unlink(gate.leaves, at),
            }
        }
        self.leaves.give_back(at);
    }

    /// After an item has left: its leaf goes on in its ring, or leaves it.
    #[inline(always)]
    fn go_on(
        &mut self,
        (turns, index): (&mut Turns, Option<&mut Index>),
        at: u32,
        gate: u32,
        left: Left,
    ) {
        match left {
            Left::More => self.leaves.sent(turns, index, at),
            Left::Nothing => {
                self.leaves.sent_last(turns, index, at);
                self.end(at);
            }
            Left::Shut => {
                self.leaves.sent_last(turns, index, at);
                self.wait(gate);
            }
        }
    }

    /// The next item of a picked node; none if its leaf had to wait.
    #[inline(always)]
    fn serve(&mut self, link: &mut LinkState, picked: Picked, now: u64) -> Option<Leaving<T>> {
        let Picked { uplink, tc, node } = picked;
        let turns = &mut link.nodes.get_mut(node as usize)?.turns;
        let at = turns.head;
        let Some(leaf) = self.leaves.get_mut(at) else {
            link.passed_over(tc, node, None);
            return None;
        };
        let (id, class, stayed) = (leaf.gate, leaf.class, leaf.stays);
        let gate = self.gates.get_mut(id as usize);
        let holds = gate.as_ref().is_some_and(|gate| gate.holds());
        let Some(gate) = gate.filter(|gate| !holds || gate.is_open(now)) else {
            self.pass_over(link, picked, at);
            return None;
        };
        let (taken, is_open) = take_first(leaf, gate, holds, self.slab, self.charged, now)?;
        let Taken {
            item,
            at: came,
            size,
        } = taken;
        let stays = is_open && !leaf.queue.is_empty();
        // Most often it is the only leaf of its vNIC's node, and goes on: all that takes is here.
        let next = if stays && stayed && turns.members == 1 && node >= SHARED {
            leaf.sent_alone(turns);
            Some(leaf.queue.head_wire)
        } else {
            let left = Left::of(leaf, is_open);
            self.note_hunger(link, at, stayed, stays);
            let turns = &mut link.nodes.get_mut(node as usize)?.turns;
            let index = link.indexes.get_mut(node as usize);
            self.go_on((turns, index), at, id, left);
            self.leaves.first_wire(turns)
        };
        let sent = Sent {
            bytes: size.bytes,
            wire: size.wire,
            came,
            stays,
        };
        link.served(tc, node, sent, next, now);
        let waited = now.saturating_sub(came);
        Some(Leaving {
            item,
            vnic: VnicId(id >> 1),
            class: ClassId(class),
            exit: Exit::Uplink(uplink),
            mark: waited > self.ecn,
            waited,
        })
    }

    /// A picked node's first leaf has to wait for its gate.
    #[inline(never)]
    fn pass_over(&mut self, link: &mut LinkState, picked: Picked, at: u32) {
        let Picked { tc, node, .. } = picked;
        let Some(&Leaf { gate, stays, .. }) = self.leaves.get(at) else {
            return;
        };
        let Some(shared) = link.nodes.get_mut(node as usize) else {
            return;
        };
        let index = link.indexes.get_mut(node as usize);
        self.leaves.part(&mut shared.turns, index, at);
        self.wait(gate);
        let next = self.leaves.first_wire(&shared.turns);
        self.note_hunger(link, at, stays, false);
        link.passed_over(tc, node, next);
    }

    /// Keeps in mind whether a leaf can use more than it gets.
    #[inline(always)]
    fn note_hunger(&mut self, link: &mut LinkState, at: u32, stayed: bool, stays: bool) {
        if stayed != stays
            && let Some(leaf) = self.leaves.get_mut(at)
        {
            leaf.stays = stays;
            link.note_hunger(leaf.node, stays);
        }
    }
}

/// Takes the first item of a leaf and charges its gate, if that holds anything up; whether it is open after that.
#[inline(always)]
fn take_first<T>(
    leaf: &mut Leaf,
    gate: &mut Gate,
    holds: bool,
    slab: &mut Slab<T>,
    charged: &mut Charged,
    now: u64,
) -> Option<(Taken<T>, bool)> {
    let taken = slab.pop(&mut leaf.queue)?;
    gate.items -= 1;
    let mut is_open = true;
    if holds {
        gate.charge_waited(taken.size.bytes, taken.at, charged.awake(now), now);
        is_open = gate.is_open(now);
        if !is_open {
            charged.note(leaf.gate);
        }
    }
    Some((taken, is_open))
}

/// Whose turn it is on which link.
#[derive(Clone, Copy)]
struct Picked {
    uplink: UplinkId,
    tc: usize,
    node: u32,
}

impl<T> Scheduler<T> {
    /// The time, once a turn before anything is released: who may send again takes turns again, and parts of capacities are reckoned.
    #[inline]
    pub fn tick(&mut self, now: u64) {
        self.charged.begin(now, self.settings.hz / EARLY);
        if !self.wheel.is_empty() {
            self.open_due(now);
        }
        self.wheel.reach(&mut self.gates, now);
        for link in self.links.iter_mut().flatten() {
            link.tick(now);
        }
    }

    #[inline(never)]
    fn open_due(&mut self, now: u64) {
        let tick = self.wheel.tick(now);
        while let Some(id) = self.wheel.pop_due(&mut self.gates, tick) {
            self.open_leaves(id, now);
        }
    }

    /// Whatever was released since the last [`tick`](Self::tick) has left by now. Said before the next one, for turns in the midst of which
    /// the processor was somebody else's: what was charged as if it had left before that would be followed too soon.
    #[inline]
    pub fn left_by(&mut self, now: u64) {
        let early = self.settings.hz / EARLY;
        let late = now.saturating_sub(self.charged.at);
        if late > early {
            self.was_late((late - early).min(self.settings.hz / LATEST));
        }
    }

    #[cold]
    #[inline(never)]
    fn was_late(&mut self, late: u64) {
        // None is among them twice: once it is shut nothing more of it leaves in this turn.
        for id in self.charged.take() {
            if let Some(gate) = self.gates.get_mut(id as usize) {
                gate.was_late(late);
            }
        }
    }

    /// Takes a gate out of the wheel; its leaves take turns, and are shut again when it is not open after all.
    pub(super) fn open(&mut self, id: u32, now: u64) {
        self.wheel.remove(&mut self.gates, id);
        self.open_leaves(id, now);
    }

    #[inline(always)]
    fn open_leaves(&mut self, id: u32, now: u64) {
        let Some(gate) = self.gates.get_mut(id as usize) else {
            return;
        };
        gate.opens(self.charged.awake(now));
        let mut at = gate.leaves;
        while let Some(leaf) = self.leaves.get(at) {
            let next = leaf.sibling;
            if leaf.state == State::Shut {
                self.ready(at);
            }
            at = next;
        }
    }

    /// Whether something waits for an uplink that may leave when there is room, or when its class may send again.
    #[inline(always)]
    pub fn waits(&self, uplink: UplinkId) -> bool {
        let link = self.links.get(uplink.index());
        link.is_some_and(|link| link.as_ref().is_some_and(|link| link.waits()))
    }

    /// Whether something waits for vNICs here that may leave.
    #[inline(always)]
    pub fn waits_here(&self) -> bool {
        self.here.members > 0
    }

    /// Gives the sink what may leave by an uplink now, `room` items at most; how many that were.
    #[inline]
    pub fn release(
        &mut self,
        uplink: UplinkId,
        now: u64,
        room: usize,
        sink: impl FnMut(Leaving<T>),
    ) -> usize {
        self.release_of(uplink, ALL_TCS, now, room, sink)
    }

    /// The same of some of its DCB traffic classes, a bit each.
    #[inline]
    pub fn release_of(
        &mut self,
        uplink: UplinkId,
        tcs: u8,
        now: u64,
        room: usize,
        mut sink: impl FnMut(Leaving<T>),
    ) -> usize {
        let mut released = 0;
        let Some(Some(link)) = self.links.get_mut(uplink.index()) else {
            return 0;
        };
        let mut store = Store {
            leaves: &mut self.leaves,
            gates: &mut self.gates,
            slab: &mut self.slab,
            wheel: &mut self.wheel,
            charged: &mut self.charged,
            ecn: self.settings.ecn,
        };
        while released < room {
            if link.has_shut() {
                let leaves = &store.leaves;
                link.open_classes(now, |turns| leaves.first_wire(turns));
            }
            let Some(tc) = link.choose(tcs) else {
                break;
            };
            if !link.is_open(now) {
                link.lease.held = true;
                break;
            }
            let started = |id, node: &Node| store.fetch_state(id, node);
            let Some((node, follower)) = link.pick(tc, started) else {
                continue;
            };
            if let Some(follower) = follower {
                store.fetch_item(follower);
            }
            if link.is_class_shut(node, now) {
                link.shut_class(node, tc);
                continue;
            }
            let picked = Picked { uplink, tc, node };
            if let Some(leaving) = store.serve(link, picked, now) {
                sink(leaving);
                released += 1;
            }
        }
        released
    }

    fn store(&mut self) -> (Store<'_, T>, &mut Turns, &mut Index) {
        let store = Store {
            leaves: &mut self.leaves,
            gates: &mut self.gates,
            slab: &mut self.slab,
            wheel: &mut self.wheel,
            charged: &mut self.charged,
            ecn: self.settings.ecn,
        };
        (store, &mut self.here, &mut self.here_index)
    }

    pub(super) fn note_hunger(&mut self, at: u32, stays: bool) {
        let Some(leaf) = self.leaves.get_mut(at) else {
            return;
        };
        if leaf.stays != stays {
            leaf.stays = stays;
            if let Some(Some(link)) = self.links.get_mut(usize::from(leaf.exit)) {
                link.note_hunger(leaf.node, stays);
            }
        }
    }

    /// A leaf in which nothing waits is none any more.
    pub(super) fn end(&mut self, at: u32) {
        self.unready(at);
        self.store().0.end(at);
    }

    /// Gives the sink what may leave to vNICs here now, `room` items at most; how many that were.
    #[inline]
    pub fn release_here(
        &mut self,
        now: u64,
        room: usize,
        mut sink: impl FnMut(Leaving<T>),
    ) -> usize {
        let mut released = 0;
        let (mut store, here, index) = self.store();
        while released < room {
            let at = here.head;
            let Some(&Leaf { gate, exit, .. }) = store.leaves.get(at) else {
                break;
            };
            if !store.is_open(gate, now) {
                store.leaves.part(here, Some(index), at);
                store.wait(gate);
                continue;
            }
            let Some((Taken { item, at: came, .. }, left)) = store.take(at, now) else {
                break;
            };
            store.go_on((here, Some(index)), at, gate, left);
            let waited = now.saturating_sub(came);
            sink(Leaving {
                item,
                vnic: VnicId(gate >> 1),
                class: ClassId::NONE,
                exit: exit_at(exit),
                mark: waited > store.ecn,
                waited,
            });
            released += 1;
        }
        released
    }
}
