//! Who is asked to wait outside: a vNIC whose port keeps what is not taken is not received from while its queue is long.

use super::gate::Side;
use super::scheduler::gate_of;
use super::{Exit, FRAMES, FULL_FRAME, Refusal, Scheduler, Size};
use weir_tables::bandwidth::ClassId;
use weir_tables::ids::{UplinkId, VnicId};

impl<T> Scheduler<T> {
    /// Whether an uplink is shared here: what waits for it leaves by its turn.
    #[inline(always)]
    pub fn shares(&self, uplink: UplinkId) -> bool {
        self.links.get(uplink.index()).is_some_and(Option::is_some)
    }

    /// Whether something of what a vNIC sends waits as long as it may, or takes so much room that not much more may.
    #[inline]
    pub fn is_full(&self, vnic: VnicId) -> bool {
        let id = gate_of(vnic, Side::Send);
        let Some(gate) = self.gates.get(id as usize) else {
            return false;
        };
        if gate.items == 0 {
            return false;
        }
        if !self.slab.has_room(2 * gate.items) {
            return true;
        }
        let mut at = gate.leaves;
        while let Some(leaf) = self.leaves.get(at) {
            let queue = &leaf.queue;
            if queue.wire >= FRAMES * FULL_FRAME && self.is_too_long(id, leaf) {
                return true;
            }
            at = leaf.sibling;
        }
        false
    }

    /// As [`enqueue`](Self::enqueue), of a vNIC that is not received from while it [is full](Self::is_full): what is received already may
    /// wait, however long its queue has become by that.
    pub fn enqueue_last(
        &mut self,
        vnic: VnicId,
        exit: Exit,
        class: ClassId,
        size: Size,
        now: u64,
        item: T,
    ) -> Result<(), (Refusal, T)> {
        let id = gate_of(vnic, super::scheduler::side_of(exit));
        let Some(gate) = self.gates.get(id as usize) else {
            return Err((Refusal::Unknown, item));
        };
        if gate.polices || !self.slab.has_room(gate.items) {
            return self.enqueue(vnic, exit, class, size, now, item);
        }
        let found = self.leaf(gate, exit, class);
        self.put(id, found, (exit, class), size, now, item)
    }
}
