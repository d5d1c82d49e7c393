//! One worker's scheduler: what it asks and what it may tell.

use super::gate::{Gate, Side};
use super::leaf::{HERE, Index, Leaves, RECEIVE, State, Turns};
use super::link::LinkState;
use super::release::Charged;
use super::slab::Slab;
use super::wheel::{NONE, Wheel};
use super::{EARLY, Exit, FRAMES, FULL_FRAME, Refusal, Settings, Size};
use weir_tables::bandwidth::{ClassId, Pace, Promise};
use weir_tables::ids::{UplinkId, VnicId};
use weir_tables::prefetch;

/// The largest item, in bytes: what is larger counts as much.
const LARGEST: u32 = 1 << 20;

/// Places for more vNICs, made by control.
pub struct Room {
    pub(super) gates: Box<[Gate]>,
    pub(super) nodes: Vec<Option<Box<[super::fair::Node]>>>,
}

impl Room {
    /// For so many vNICs, and as many uplinks as the settings say.
    pub fn new(settings: &Settings, vnics: u32) -> Room {
        let early = settings.hz / EARLY;
        let nodes = super::link::SHARED as usize + vnics as usize;
        let node = super::fair::Node::default();
        let nodes = (0..settings.uplinks).map(|_| Some(vec![node; nodes].into()));
        Room {
            gates: vec![Gate::new(early); vnics as usize * 2].into(),
            nodes: nodes.collect(),
        }
    }
}

/// What waits on one worker, and who of it may leave when. `T` is what waits: a packet and where it goes.
///
/// A vNIC is known here from the first [`promise`](Self::promise), or without one, and belongs to the one worker that receives from it.
/// Nothing allocates but what says so.
pub struct Scheduler<T> {
    pub(super) settings: Settings,
    pub(super) gates: Box<[Gate]>,
    pub(super) leaves: Leaves,
    pub(super) slab: Slab<T>,
    pub(super) links: Box<[Option<Box<LinkState>>]>,
    /// Gates that are shut, by when they open.
    pub(super) wheel: Wheel,
    /// Leaves for vNICs here that may leave.
    pub(super) here: Turns,
    pub(super) here_index: Index,
    pub(super) charged: Charged,
    /// Gates with a maximum, and links with a capacity or a class.
    pub(super) limits: u32,
}

#[inline(always)]
pub(super) fn gate_of(vnic: VnicId, side: Side) -> u32 {
    vnic.0.wrapping_mul(2) | u32::from(side == Side::Receive)
}

#[inline(always)]
pub(super) fn side_of(exit: Exit) -> Side {
    match exit {
        Exit::Receive => Side::Receive,
        _ => Side::Send,
    }
}

#[inline(always)]
fn place_of(exit: Exit) -> u16 {
    match exit {
        Exit::Uplink(id) => id.0,
        Exit::Here => HERE,
        Exit::Receive => RECEIVE,
    }
}

#[inline(always)]
pub(super) fn exit_at(place: u16) -> Exit {
    match place {
        HERE => Exit::Here,
        RECEIVE => Exit::Receive,
        id => Exit::Uplink(UplinkId(id)),
    }
}

impl<T> Scheduler<T> {
    /// Where nothing waits and nothing is promised. Allocates all that it will ever need, up to [`grow`](Self::grow).
    pub fn new(settings: Settings) -> Self {
        let early = settings.hz / EARLY;
        // 2 to 4 µs.
        let shift = (settings.hz / 250_000).max(1).ilog2();
        Scheduler {
            gates: vec![Gate::new(early); settings.vnics as usize * 2].into(),
            leaves: Leaves::new(settings.items),
            slab: Slab::new(settings.items),
            links: (0..settings.uplinks).map(|_| None).collect(),
            wheel: Wheel::new(shift),
            here: Turns::default(),
            here_index: Index::default(),
            charged: Charged::default(),
            limits: 0,
            settings,
        }
    }

    /// What it was made of; `vnics` as it has grown.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether no maximum and no capacity is set and nothing waits: then everything passes, and nobody needs to ask.
    #[inline(always)]
    pub fn is_off(&self) -> bool {
        self.limits == 0 && self.slab.left() == self.slab.room()
    }

    /// How many items wait.
    #[inline(always)]
    pub fn queued(&self) -> u64 {
        u64::from(self.slab.room() - self.slab.left())
    }

    /// Whether so much of one vNIC for one exit, in all a batch at most, may leave at once. `true`: it is charged, and has to leave now.
    /// `false`: each frame of it is to be [enqueued](Self::enqueue), in order; those that are in time leave with the next release.
    #[inline(always)]
    pub fn pass(&mut self, vnic: VnicId, exit: Exit, class: ClassId, size: Size, now: u64) -> bool {
        let Some(gate) = self.gates.get_mut(gate_of(vnic, side_of(exit)) as usize) else {
            return false;
        };
        // Behind what waits of it, even if that is for another exit: rare, and simple.
        if gate.leaves != NONE {
            let first = self.leaves.get(gate.leaves);
            return !first.is_some_and(|leaf| leaf.is_of(key(exit, class)))
                && self.passes_others(vnic, exit, class, size, now);
        }
        let mut due = gate.due;
        if !gate.pace.is_unlimited() {
            due = due.after(gate.pace, size.bytes, now);
            if !due.is_open(now, gate.early()) {
                return false;
            }
        }
        if let Exit::Uplink(id) = exit {
            let Some(Some(link)) = self.links.get_mut(id.index()) else {
                return true;
            };
            if !link.pass(class, size.bytes, size.wire, now) {
                return false;
            }
        }
        gate.due = due;
        true
    }

    /// The same where something of the vNIC waits: what waits for another exit does not hold it up.
    #[cold]
    #[inline(never)]
    fn passes_others(
        &mut self,
        vnic: VnicId,
        exit: Exit,
        class: ClassId,
        size: Size,
        now: u64,
    ) -> bool {
        let id = gate_of(vnic, side_of(exit));
        let Some(gate) = self.gates.get(id as usize).copied() else {
            return false;
        };
        if self.leaf(&gate, exit, class).is_some() {
            return false;
        }
        let after = gate.due.after(gate.pace, size.bytes, now);
        if !gate.pace.is_unlimited() && !after.is_open(now, gate.early()) {
            return false;
        }
        if let Exit::Uplink(id) = exit
            && let Some(Some(link)) = self.links.get_mut(id.index())
            && !link.pass(class, size.bytes, size.wire, now)
        {
            return false;
        }
        if let Some(gate) = self.gates.get_mut(id as usize) {
            gate.charge(size.bytes, now);
        }
        true
    }

    /// The leaf of a vNIC for this exit and class, if something waits in it.
    #[inline(always)]
    pub(super) fn leaf(&self, gate: &Gate, exit: Exit, class: ClassId) -> Option<u32> {
        let key = key(exit, class);
        let mut at = gate.leaves;
        while let Some(leaf) = self.leaves.get(at) {
            if leaf.is_of(key) {
                return Some(at);
            }
            at = leaf.sibling;
        }
        None
    }

    /// Asks the processor for what is known of what a vNIC sends, before something of it is to wait: first this,
    #[inline(always)]
    pub fn fetch_gate(&self, vnic: VnicId) {
        if let Some(gate) = self.gates.get(gate_of(vnic, Side::Send) as usize) {
            prefetch::read(gate);
        }
    }

    /// when that is there, this,
    #[inline(always)]
    pub fn fetch_leaf(&self, vnic: VnicId) {
        let gate = self.gates.get(gate_of(vnic, Side::Send) as usize);
        if let Some(leaf) = gate.and_then(|gate| self.leaves.get(gate.leaves)) {
            prefetch::read(leaf);
        }
    }

    /// and then this.
    #[inline(always)]
    pub fn fetch_last(&self, vnic: VnicId) {
        let gate = self.gates.get(gate_of(vnic, Side::Send) as usize);
        if let Some(leaf) = gate.and_then(|gate| self.leaves.get(gate.leaves)) {
            self.slab.fetch_last(&leaf.queue);
        }
    }

    /// Puts an item behind the others of its vNIC, class and exit. Or gives it back with the reason.
    #[inline]
    pub fn enqueue(
        &mut self,
        vnic: VnicId,
        exit: Exit,
        class: ClassId,
        size: Size,
        now: u64,
        item: T,
    ) -> Result<(), (Refusal, T)> {
        let id = gate_of(vnic, side_of(exit));
        let Some(gate) = self.gates.get_mut(id as usize) else {
            return Err((Refusal::Unknown, item));
        };
        // Most often the vNIC has one leaf, which has something and goes on: all that takes is here.
        if let Some(leaf) = self.leaves.get_mut(gate.leaves)
            && leaf.is_of(key(exit, class))
            && (leaf.stays || leaf.state != State::Ready)
            && leaf.queue.wire < FRAMES * FULL_FRAME
            && !gate.polices
            && self.slab.has_room(gate.items)
        {
            let pushed = self.slab.push(&mut leaf.queue, item, counted(size), now);
            gate.items += u32::from(pushed.is_ok());
            return pushed.map_err(|item| (Refusal::NoRoom, item));
        }
        self.enqueue_rarer(id, (exit, class), size, now, item)
    }

    #[inline(never)]
    fn enqueue_rarer(
        &mut self,
        id: u32,
        (exit, class): (Exit, ClassId),
        size: Size,
        now: u64,
        item: T,
    ) -> Result<(), (Refusal, T)> {
        let Some(gate) = self.gates.get(id as usize) else {
            return Err((Refusal::Unknown, item));
        };
        if gate.polices && !gate.is_open(now) {
            return Err((Refusal::Policed, item));
        }
        // A share of what is free (dynamic thresholds, Choudhury and Hahne 1998): one alone takes half of the slots, two a third each.
        if !self.slab.has_room(gate.items) {
            return Err((Refusal::NoRoom, item));
        }
        let Some(found) = self.leaf(gate, exit, class) else {
            return self.put(id, None, (exit, class), size, now, item);
        };
        if let Some(leaf) = self.leaves.get(found) {
            let queue = &leaf.queue;
            if queue.wire >= FRAMES * FULL_FRAME && self.is_too_long(id, leaf) {
                return Err((Refusal::TooLong, item));
            }
        }
        self.put_behind(id, found, size, now, item)
    }

    /// Whether a leaf waits as long as any may, by its vNIC's maximum or by its node's rate.
    pub(super) fn is_too_long(&self, gate: u32, leaf: &super::leaf::Leaf) -> bool {
        let longest = u128::from(self.settings.queue) << 32;
        let pace = self.gates.get(gate as usize).map(|gate| gate.pace);
        if pace.is_some_and(|pace| pace.time(leaf.queue.bytes) > longest) {
            return true;
        }
        let Some(Some(link)) = self.links.get(usize::from(leaf.exit)) else {
            return false;
        };
        link.is_too_long(leaf.node, leaf.queue.bytes, leaf.queue.wire)
    }

    /// Puts an item into a leaf, whatever the limits say.
    pub(super) fn put(
        &mut self,
        id: u32,
        found: Option<u32>,
        (exit, class): (Exit, ClassId),
        size: Size,
        now: u64,
        item: T,
    ) -> Result<(), (Refusal, T)> {
        let size = counted(size);
        if let Some(at) = found {
            return self.put_behind(id, at, size, now, item);
        }
        let Some(at) = self.leaves.take() else {
            return Err((Refusal::NoRoom, item));
        };
        let (Some(gate), Some(leaf)) = (self.gates.get_mut(id as usize), self.leaves.get_mut(at))
        else {
            return Err((Refusal::Unknown, item));
        };
        if let Err(item) = self.slab.push(&mut leaf.queue, item, size, now) {
            self.leaves.give_back(at);
            return Err((Refusal::NoRoom, item));
        }
        gate.items += 1;
        if gate.polices {
            gate.charge(size.bytes, now);
        }
        let (place, class) = key(exit, class);
        leaf.gate = id;
        leaf.exit = place;
        leaf.class = class;
        leaf.stays = false;
        leaf.state = State::Shut;
        leaf.sibling = std::mem::replace(&mut gate.leaves, at);
        if !gate.link.is_in() {
            self.ready(at);
        }
        Ok(())
    }

    /// The same behind what waits in a leaf.
    #[inline(always)]
    fn put_behind(
        &mut self,
        id: u32,
        at: u32,
        size: Size,
        now: u64,
        item: T,
    ) -> Result<(), (Refusal, T)> {
        let size = counted(size);
        let (Some(gate), Some(leaf)) = (self.gates.get_mut(id as usize), self.leaves.get_mut(at))
        else {
            return Err((Refusal::Unknown, item));
        };
        if let Err(item) = self.slab.push(&mut leaf.queue, item, size, now) {
            return Err((Refusal::NoRoom, item));
        }
        gate.items += 1;
        if gate.polices {
            gate.charge(size.bytes, now);
        }
        // A second one behind it, while it might send: it can use more.
        if leaf.state == State::Ready && !leaf.stays {
            self.note_hunger(at, true);
        }
        Ok(())
    }

    /// A leaf that is shut and has something may send as far as its gate is concerned: it takes turns with the others.
    #[inline(always)]
    pub(super) fn ready(&mut self, at: u32) {
        let Some(leaf) = self.leaves.get_mut(at) else {
            return;
        };
        if leaf.exit == HERE || leaf.exit == RECEIVE {
            self.leaves
                .join(&mut self.here, Some(&mut self.here_index), at);
            return;
        }
        let Some(Some(link)) = self.links.get_mut(usize::from(leaf.exit)) else {
            return;
        };
        let share = self.gates.get(leaf.gate as usize & !1);
        let share = share.map_or(0, |gate| gate.share);
        let node = link.node_of(leaf.gate >> 1, share, ClassId(leaf.class));
        leaf.node = node;
        let (wire, place) = (leaf.queue.head_wire, node as usize);
        if let Some(node) = link.nodes.get_mut(place) {
            let index = link.indexes.get_mut(place);
            self.leaves.join(&mut node.turns, index, at);
        }
        link.activate(node, wire);
    }

    /// Sets what a vNIC is promised; `None`: nothing. What waits of it waits on, at the new rates.
    pub fn promise(&mut self, vnic: VnicId, promise: Option<&Promise>, now: u64) {
        let none = Promise::default();
        let promise = promise.unwrap_or(&none);
        self.promise_to_send(vnic, promise, now);
        self.set_pace(gate_of(vnic, Side::Receive), promise.max_rx, now);
    }

    /// The same of what it may send.
    pub(super) fn promise_to_send(&mut self, vnic: VnicId, promise: &Promise, now: u64) {
        let id = gate_of(vnic, Side::Send);
        let Some(gate) = self.gates.get_mut(id as usize) else {
            return;
        };
        gate.polices = promise.police && !promise.max.is_unlimited();
        let before = std::mem::replace(&mut gate.share, promise.share);
        self.set_pace(id, promise.max, now);
        if before != promise.share {
            self.reweigh(vnic);
        }
    }

    fn set_pace(&mut self, id: u32, pace: Pace, now: u64) {
        let Some(gate) = self.gates.get_mut(id as usize) else {
            return;
        };
        if gate.pace != pace {
            self.limits -= u32::from(!gate.pace.is_unlimited());
            self.limits += u32::from(!pace.is_unlimited());
            gate.due = gate.due.changed(gate.pace, pace, now, gate.early());
            gate.pace = pace;
            // It may open earlier now, or later: whoever waits asks again.
            self.open(id, now);
        }
    }

    /// Gives a vNIC's nodes its weight, and puts its leaves where they belong now.
    fn reweigh(&mut self, vnic: VnicId) {
        let id = gate_of(vnic, Side::Send);
        let share = self.gates.get(id as usize).map_or(0, |gate| gate.share);
        for link in self.links.iter_mut().flatten() {
            let weight = super::fair::weight(share);
            link.set_weight(super::link::SHARED + vnic.0, weight);
        }
        let mut at = self.gates.get(id as usize).map_or(NONE, |gate| gate.leaves);
        while let Some(&leaf) = self.leaves.get(at) {
            if leaf.state == State::Ready {
                self.unready(at);
                self.ready(at);
            }
            at = leaf.sibling;
        }
    }

    /// Takes a leaf out of its ring, wherever that is. Its node finds out when its turn comes.
    pub(super) fn unready(&mut self, at: u32) {
        self.sated(at);
        let Some(&leaf) = self.leaves.get(at) else {
            return;
        };
        if leaf.state != State::Ready {
            return;
        }
        if leaf.exit == HERE || leaf.exit == RECEIVE {
            self.leaves
                .part(&mut self.here, Some(&mut self.here_index), at);
        } else if let Some(Some(link)) = self.links.get_mut(usize::from(leaf.exit))
            && let Some(node) = link.nodes.get_mut(leaf.node as usize)
        {
            let index = link.indexes.get_mut(leaf.node as usize);
            self.leaves.part(&mut node.turns, index, at);
        }
    }

    /// A leaf no longer counts as one that can use more.
    pub(super) fn sated(&mut self, at: u32) {
        let Some(leaf) = self.leaves.get_mut(at) else {
            return;
        };
        if std::mem::replace(&mut leaf.stays, false)
            && let Some(Some(link)) = self.links.get_mut(usize::from(leaf.exit))
        {
            link.note_hunger(leaf.node, false);
        }
    }

    /// Gives the worker an uplink's state, or another one for it, or none; the old one goes back to control, to be freed there. What waits
    /// for the uplink waits on, by the new rates and weights; without one it waits for the next, or for [`forget_uplink`](Self::forget_uplink).
    pub fn set_link(
        &mut self,
        uplink: UplinkId,
        link: Option<Box<LinkState>>,
        now: u64,
    ) -> Option<Box<LinkState>> {
        let place = self.links.get_mut(uplink.index())?;
        let old = std::mem::replace(place, link);
        self.limits -= u32::from(old.as_ref().is_some_and(|link| link.limits()));
        if let Some(new) = place {
            self.limits += u32::from(new.limits());
            if let Some(old) = &old {
                new.succeeds(old, now);
            }
            new.adopt(&self.gates);
        }
        for at in 0..self.leaves.room() {
            let Some(leaf) = self.leaves.get_mut(at) else {
                break;
            };
            if leaf.state == State::Free || leaf.exit != uplink.0 {
                continue;
            }
            leaf.state = State::Shut;
            leaf.stays = false;
            // Whoever has to wait for its maximum is put aside again when its turn comes.
            self.ready(at);
        }
        old
    }

    /// Makes room for more vNICs; what it had goes back to control, to be freed there. Nothing if it is less than there is.
    pub fn grow(&mut self, mut room: Room) -> Room {
        if room.gates.len() < self.gates.len() {
            return room;
        }
        for (new, old) in room.gates.iter_mut().zip(&self.gates) {
            *new = *old;
        }
        std::mem::swap(&mut room.gates, &mut self.gates);
        self.settings.vnics = (self.gates.len() / 2) as u32;
        for (link, nodes) in self.links.iter_mut().zip(&mut room.nodes) {
            if let (Some(link), Some(nodes)) = (link, nodes) {
                link.grow(nodes);
            }
        }
        room
    }
}

/// As much as any item counts.
#[inline(always)]
fn counted(size: Size) -> Size {
    Size {
        bytes: size.bytes.min(LARGEST),
        wire: size.wire.min(LARGEST),
    }
}

/// How a leaf is found. To vNICs here there are no classes.
#[inline(always)]
fn key(exit: Exit, class: ClassId) -> (u16, u8) {
    match exit {
        Exit::Uplink(_) => (place_of(exit), class.0),
        _ => (place_of(exit), 0),
    }
}
