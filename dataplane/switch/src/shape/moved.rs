//! What leaves a scheduler otherwise than by its turn: with its vNIC, to another worker, or for good.

use super::gate::{Gate, Side};
use super::leaf::{HERE, RECEIVE, State};
use super::scheduler::{exit_at, gate_of};
use super::slab::Taken;
use super::{Exit, Refusal, Scheduler, Size};
use weir_tables::bandwidth::{ClassId, Pace, Promise};
use weir_tables::ids::{UplinkId, VnicId};

/// The whole state of one vNIC in a scheduler, with what waits of it, on its way to another worker's.
pub struct Parcel<T> {
    vnic: VnicId,
    /// What it may send; and what it may receive, if that goes along.
    gates: Option<(Gate, Option<Gate>)>,
    items: Vec<Packed<T>>,
}

struct Packed<T> {
    exit: Exit,
    class: ClassId,
    at: u64,
    size: Size,
    item: T,
}

impl<T> Parcel<T> {
    /// An empty one that takes so many items without allocating.
    pub fn with_room(items: usize) -> Self {
        Parcel {
            vnic: VnicId(u32::MAX),
            gates: None,
            items: Vec::with_capacity(items),
        }
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no item is in it. A vNIC's state may be.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Each item, with the exit that it waits for.
    pub fn iter(&self) -> impl Iterator<Item = (Exit, &T)> {
        self.items.iter().map(|packed| (packed.exit, &packed.item))
    }

    /// Whose state is in it.
    pub fn vnic(&self) -> Option<VnicId> {
        self.gates.map(|_| self.vnic)
    }
}

impl<T> Scheduler<T> {
    /// Packs what a vNIC sends, with what it may; if its port goes along, what it receives as well: otherwise that stays where the port is.
    /// Forgets what it packs. Allocates only if more waits than the parcel was made for.
    pub fn take_out(&mut self, vnic: VnicId, with_port: bool, parcel: &mut Parcel<T>) {
        let [send, receive] = [Side::Send, Side::Receive].map(|side| {
            let gate = self.gates.get(gate_of(vnic, side) as usize);
            gate.copied()
        });
        let Some(send) = send else {
            return;
        };
        parcel.vnic = vnic;
        parcel.gates = Some((send, receive.filter(|_| with_port)));
        let items = &mut parcel.items;
        let mut pack = |exit, class, taken: Taken<T>| {
            items.push(Packed {
                exit,
                class,
                at: taken.at,
                size: taken.size,
                item: taken.item,
            });
        };
        self.empty(gate_of(vnic, Side::Send), &mut pack);
        match with_port {
            true => {
                self.empty(gate_of(vnic, Side::Receive), &mut pack);
                self.reset(vnic);
            }
            false => self.promise_to_send(vnic, &Promise::default(), 0),
        }
    }

    /// Has what a vNIC is to receive wait, until this is said again: its port is on its way, and what would leave now would be nowhere, or
    /// behind what came later.
    pub fn hold_received(&mut self, vnic: VnicId, is_held: bool, now: u64) {
        let id = gate_of(vnic, Side::Receive);
        let Some(gate) = self.gates.get_mut(id as usize) else {
            return;
        };
        if std::mem::replace(&mut gate.is_held, is_held) && !is_held {
            self.open(id, now);
        }
    }

    /// Unpacks a vNIC's state here. What finds no room, here or for so many vNICs, goes to the sink.
    pub fn put_in(
        &mut self,
        parcel: &mut Parcel<T>,
        now: u64,
        mut refused: impl FnMut(Exit, ClassId, Refusal, T),
    ) {
        let vnic = parcel.vnic;
        if let Some((send, receive)) = parcel.gates.take() {
            let promise = Promise {
                share: send.share,
                max: send.pace,
                max_rx: receive.map_or(Pace::UNLIMITED, |gate| gate.pace),
                police: send.polices,
            };
            match receive {
                Some(_) => self.promise(vnic, Some(&promise), now),
                None => self.promise_to_send(vnic, &promise, now),
            }
            let sides = [(Side::Send, Some(send)), (Side::Receive, receive)];
            for (side, packed) in sides {
                let gate = self.gates.get_mut(gate_of(vnic, side) as usize);
                if let (Some(gate), Some(packed)) = (gate, packed) {
                    gate.due = packed.due;
                }
            }
        }
        for packed in parcel.items.drain(..) {
            let Packed {
                exit,
                class,
                at,
                size,
                item,
            } = packed;
            if let Err((refusal, item)) = self.put_back(vnic, exit, class, size, at, item) {
                refused(exit, class, refusal, item);
            }
        }
    }

    fn put_back(
        &mut self,
        vnic: VnicId,
        exit: Exit,
        class: ClassId,
        size: Size,
        at: u64,
        item: T,
    ) -> Result<(), (Refusal, T)> {
        let id = gate_of(vnic, super::scheduler::side_of(exit));
        let Some(&gate) = self.gates.get(id as usize) else {
            return Err((Refusal::Unknown, item));
        };
        let found = self.leaf(&gate, exit, class);
        let put = self.put(id, found, (exit, class), size, at, item);
        // Who polices charged it when it came first.
        if put.is_ok()
            && let Some(now) = self.gates.get_mut(id as usize)
        {
            now.due = gate.due;
        }
        put
    }

    /// Forgets a vNIC and what it was promised; what waits of it, or to be received by it, goes to the sink. What others sent to it is theirs: see
    /// [`extract`](Self::extract).
    pub fn forget(&mut self, vnic: VnicId, mut sink: impl FnMut(Exit, ClassId, T)) {
        let mut end = |exit, class, taken: Taken<T>| sink(exit, class, taken.item);
        for side in [Side::Send, Side::Receive] {
            self.empty(gate_of(vnic, side), &mut end);
        }
        self.reset(vnic);
    }

    /// Gives the sink everything that waits for an uplink.
    pub fn forget_uplink(&mut self, uplink: UplinkId, mut sink: impl FnMut(VnicId, ClassId, T)) {
        for at in 0..self.leaves.room() {
            let leaf = self.leaves.get(at);
            if leaf.is_some_and(|leaf| leaf.state != State::Free && leaf.exit == uplink.0) {
                let vnic = leaf.map_or(0, |leaf| leaf.gate >> 1);
                self.empty_leaf(at, |_, class, taken| sink(VnicId(vnic), class, taken.item));
            }
        }
    }

    /// Gives the sink everything that waits.
    pub fn drain(&mut self, mut sink: impl FnMut(VnicId, Exit, ClassId, T)) {
        for at in 0..self.leaves.room() {
            let leaf = self.leaves.get(at);
            if leaf.is_some_and(|leaf| leaf.state != State::Free) {
                let vnic = leaf.map_or(0, |leaf| leaf.gate >> 1);
                self.empty_leaf(at, |exit, class, taken| {
                    sink(VnicId(vnic), exit, class, taken.item);
                });
            }
        }
    }

    /// Gives the sink what waits for vNICs here of which this is true, such as being for one that leaves. The rest waits on in its order.
    pub fn extract(&mut self, is_it: impl Fn(&T) -> bool, mut sink: impl FnMut(VnicId, Exit, T)) {
        for at in 0..self.leaves.room() {
            let Some(leaf) = self.leaves.get(at) else {
                return;
            };
            if leaf.state == State::Free || leaf.exit != HERE && leaf.exit != RECEIVE {
                continue;
            }
            let (items, gate, exit) = (leaf.queue.items, leaf.gate, exit_at(leaf.exit));
            for _ in 0..items {
                let Some(leaf) = self.leaves.get_mut(at) else {
                    break;
                };
                let Some(Taken {
                    item,
                    at: came,
                    size,
                }) = self.slab.pop(&mut leaf.queue)
                else {
                    break;
                };
                if is_it(&item) {
                    if let Some(gate) = self.gates.get_mut(gate as usize) {
                        gate.items = gate.items.saturating_sub(1);
                    }
                    sink(VnicId(gate >> 1), exit, item);
                } else {
                    // Its slot has just become free.
                    let _ = self.slab.push(&mut leaf.queue, item, size, came);
                }
            }
            if self
                .leaves
                .get(at)
                .is_some_and(|leaf| leaf.queue.is_empty())
            {
                self.end(at);
            }
        }
    }

    fn empty(&mut self, gate: u32, mut sink: impl FnMut(Exit, ClassId, Taken<T>)) {
        while let Some(at) = self.gates.get(gate as usize).map(|gate| gate.leaves)
            && self.leaves.get(at).is_some()
        {
            self.empty_leaf(at, &mut sink);
        }
    }

    fn empty_leaf(&mut self, at: u32, mut sink: impl FnMut(Exit, ClassId, Taken<T>)) {
        while let Some(leaf) = self.leaves.get_mut(at)
            && let Some(taken) = self.slab.pop(&mut leaf.queue)
        {
            let (exit, class) = (exit_at(leaf.exit), ClassId(leaf.class));
            if let Some(gate) = self.gates.get_mut(leaf.gate as usize) {
                gate.items = gate.items.saturating_sub(1);
            }
            sink(exit, class, taken);
        }
        self.end(at);
    }

    /// Makes a vNIC's place as if there had never been one.
    fn reset(&mut self, vnic: VnicId) {
        if let Some(gate) = self.gates.get_mut(gate_of(vnic, Side::Receive) as usize) {
            gate.is_held = false;
        }
        // Of no maximum nothing is owed, and nobody waits for one.
        self.promise(vnic, None, 0);
    }
}
