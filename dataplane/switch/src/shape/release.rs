//! What leaves now of what waits.

use super::leaf::{Leaf, State};
use super::link::Sent;
use super::scheduler::exit_at;
use super::slab::Taken;
use super::wheel::NONE;
use super::{Leaving, Scheduler};
use weir_tables::bandwidth::ClassId;
use weir_tables::ids::{UplinkId, VnicId};

/// What became of a leaf after one of its items left.
enum Left {
    /// It may send more, by turns.
    More,
    /// Nothing waits in it: it is none any more.
    Nothing,
    /// What waits in it has to wait for its gate.
    Shut,
}

impl<T> Scheduler<T> {
    /// The time, once a turn before anything is released: who may send again takes turns again, and parts of capacities are reckoned.
    #[inline]
    pub fn tick(&mut self, now: u64) {
        if !self.wheel.is_empty() {
            self.open_due(now);
        }
        for link in self.links.iter_mut().flatten() {
            link.tick(now);
        }
    }

    #[inline(never)]
    fn open_due(&mut self, now: u64) {
        let tick = self.wheel.tick(now);
        while let Some(id) = self.wheel.pop_due(&mut self.gates, tick) {
            self.open_leaves(id);
        }
    }

    /// Takes a gate out of the wheel; its leaves take turns, and are shut again when it is not open after all.
    pub(super) fn open(&mut self, id: u32, _now: u64) {
        self.wheel.remove(&mut self.gates, id);
        self.open_leaves(id);
    }

    #[inline(always)]
    fn open_leaves(&mut self, id: u32) {
        let mut at = self.gates.get(id as usize).map_or(NONE, |gate| gate.leaves);
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
        mut sink: impl FnMut(Leaving<T>),
    ) -> usize {
        let mut released = 0;
        while released < room {
            let Some(Some(link)) = self.links.get_mut(uplink.index()) else {
                break;
            };
            if link.has_shut() {
                let leaves = &self.leaves;
                let wire = |leaf| leaves.get(leaf).map_or(0, |leaf| leaf.queue.head_wire);
                link.open_classes(now, wire);
            }
            let Some(tc) = link.choose() else {
                break;
            };
            if !link.is_open(now) {
                link.lease.held = true;
                break;
            }
            let Some(node) = link.pick(tc) else {
                continue;
            };
            if link.is_class_shut(node, now) {
                link.shut_class(node, tc);
                continue;
            }
            if let Some(leaving) = self.serve(uplink, tc, node, now) {
                sink(leaving);
                released += 1;
            }
        }
        released
    }

    /// The next item of a picked node; none if its leaf had to wait.
    #[inline(always)]
    fn serve(&mut self, uplink: UplinkId, tc: usize, node: u32, now: u64) -> Option<Leaving<T>> {
        let Some(Some(link)) = self.links.get_mut(uplink.index()) else {
            return None;
        };
        let turns = link.nodes.get(node as usize).map(|node| node.turns);
        let head = turns.map_or(NONE, |turns| turns.head);
        let Some(&Leaf { gate, .. }) = self.leaves.get(head) else {
            link.passed_over(tc, node, None);
            return None;
        };
        let is_open = self.gates.get(gate as usize);
        if !is_open.is_some_and(|gate| gate.polices || gate.is_open(now)) {
            self.shut(head);
            let next = self.next_wire(uplink, node);
            if let Some(Some(link)) = self.links.get_mut(uplink.index()) {
                link.passed_over(tc, node, next);
            }
            return None;
        }
        let (taken, left) = self.take(head, now)?;
        let class = self.leaves.get(head).map_or(0, |leaf| leaf.class);
        let stays = matches!(left, Left::More);
        self.note_hunger(head, stays);
        let Taken { item, at, size } = taken;
        if !matches!(left, Left::Nothing)
            && let Some(Some(link)) = self.links.get_mut(uplink.index())
            && let Some(node) = link.nodes.get_mut(node as usize)
        {
            self.leaves.sent(&mut node.turns, head, size.wire);
        }
        match left {
            Left::More => {}
            Left::Nothing => self.end(head),
            Left::Shut => self.shut(head),
        }
        let next = self.next_wire(uplink, node);
        if let Some(Some(link)) = self.links.get_mut(uplink.index()) {
            let sent = Sent {
                bytes: size.bytes,
                wire: size.wire,
                came: at,
                stays,
            };
            link.served(tc, node, sent, next, now);
        }
        let waited = now.saturating_sub(at);
        Some(Leaving {
            item,
            vnic: VnicId(gate >> 1),
            class: ClassId(class),
            exit: super::Exit::Uplink(uplink),
            mark: waited > self.settings.ecn,
            waited,
        })
    }

    /// Wire bytes of the item of a node that is next, if there is one.
    #[inline(always)]
    fn next_wire(&self, uplink: UplinkId, node: u32) -> Option<u32> {
        let link = self.links.get(uplink.index())?.as_ref()?;
        let head = link.nodes.get(node as usize)?.turns.head;
        Some(self.leaves.get(head)?.queue.head_wire)
    }

    /// Takes the first item of a leaf and charges its gate.
    #[inline(always)]
    fn take(&mut self, at: u32, now: u64) -> Option<(Taken<T>, Left)> {
        let leaf = self.leaves.get_mut(at)?;
        let gate = self.gates.get_mut(leaf.gate as usize)?;
        let taken = self.slab.pop(&mut leaf.queue)?;
        gate.items = gate.items.saturating_sub(1);
        if !gate.polices {
            gate.charge_waited(taken.size.bytes, taken.at, now);
        }
        let left = if leaf.queue.is_empty() {
            Left::Nothing
        } else if gate.polices || gate.is_open(now) {
            Left::More
        } else {
            Left::Shut
        };
        Some((taken, left))
    }

    #[inline(always)]
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

    /// A leaf has to wait until its gate opens.
    #[inline(always)]
    fn shut(&mut self, at: u32) {
        self.unready(at);
        let Some(gate) = self.leaves.get(at).map(|leaf| leaf.gate) else {
            return;
        };
        let waits = self.gates.get(gate as usize);
        if waits.is_some_and(|gate| !gate.link.is_in()) {
            self.wheel.insert(&mut self.gates, gate);
        }
    }

    /// A leaf in which nothing waits is none any more.
    #[inline(always)]
    pub(super) fn end(&mut self, at: u32) {
        self.unready(at);
        let Some(&Leaf { gate, sibling, .. }) = self.leaves.get(at) else {
            return;
        };
        if let Some(gate) = self.gates.get_mut(gate as usize) {
            if gate.leaves == at {
                gate.leaves = sibling;
            } else {
                let mut before = gate.leaves;
                while let Some(leaf) = self.leaves.get_mut(before) {
                    if leaf.sibling == at {
                        leaf.sibling = sibling;
                        break;
                    }
                    before = leaf.sibling;
                }
            }
        }
        self.leaves.give_back(at);
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
        while released < room {
            let at = self.here.head;
            let Some(&Leaf { gate, exit, .. }) = self.leaves.get(at) else {
                break;
            };
            let is_open = self.gates.get(gate as usize);
            if !is_open.is_some_and(|gate| gate.polices || gate.is_open(now)) {
                self.shut(at);
                continue;
            }
            let Some((
                Taken {
                    item,
                    at: came,
                    size,
                },
                left,
            )) = self.take(at, now)
            else {
                break;
            };
            if !matches!(left, Left::Nothing) {
                self.leaves.sent(&mut self.here, at, size.bytes);
            }
            match left {
                Left::More => {}
                Left::Nothing => self.end(at),
                Left::Shut => self.shut(at),
            }
            let waited = now.saturating_sub(came);
            sink(Leaving {
                item,
                vnic: VnicId(gate >> 1),
                class: ClassId::NONE,
                exit: exit_at(exit),
                mark: waited > self.settings.ecn,
                waited,
            });
            released += 1;
        }
        released
    }
}
