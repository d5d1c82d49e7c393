//! What waits, for who asks: control's statistics, and tests.

use super::scheduler::exit_at;
use super::{Exit, Scheduler};
use weir_tables::bandwidth::ClassId;
use weir_tables::ids::VnicId;

/// What waits of one vNIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Items.
    pub items: u64,
    /// Their layer 2 bytes.
    pub bytes: u64,
}

/// What waits in one leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingLeaf {
    /// Whose: the sender; of [`Exit::Receive`] the receiver.
    pub vnic: VnicId,
    /// In which class.
    pub class: ClassId,
    /// For which exit.
    pub exit: Exit,
    /// Items.
    pub items: u32,
    /// Their layer 2 bytes.
    pub bytes: u64,
    /// When the first came, in TSC cycles.
    pub since: u64,
}

impl<T> Scheduler<T> {
    /// What waits of a vNIC, in either direction.
    pub fn waiting(&self, vnic: VnicId) -> Waiting {
        let mut waiting = Waiting::default();
        for gate in [vnic.0.wrapping_mul(2), vnic.0.wrapping_mul(2) | 1] {
            let mut at = self.gates.get(gate as usize).map(|gate| gate.leaves);
            while let Some(leaf) = at.and_then(|at| self.leaves.get(at)) {
                waiting.items += u64::from(leaf.queue.items);
                waiting.bytes += leaf.queue.bytes;
                at = Some(leaf.sibling);
            }
        }
        waiting
    }

    /// Every leaf in which something waits, in no order: a walk over all places.
    pub fn leaves(&self) -> impl Iterator<Item = WaitingLeaf> + '_ {
        self.leaves.all().map(|(_, leaf)| WaitingLeaf {
            vnic: VnicId(leaf.gate >> 1),
            class: ClassId(leaf.class),
            exit: exit_at(leaf.exit),
            items: leaf.queue.items,
            bytes: leaf.queue.bytes,
            since: self.slab.oldest(&leaf.queue).unwrap_or_default(),
        })
    }

    /// Every item that waits, whose it is and for which exit.
    pub fn each(&self) -> impl Iterator<Item = (VnicId, Exit, &T)> {
        self.leaves.all().flat_map(|(_, leaf)| {
            let (vnic, exit) = (VnicId(leaf.gate >> 1), exit_at(leaf.exit));
            let items = self.slab.each(&leaf.queue);
            items.map(move |item| (vnic, exit, item))
        })
    }

    /// Every item that waits, in no order but that of its leaf.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.leaves
            .all()
            .flat_map(|(_, leaf)| self.slab.each(&leaf.queue))
    }
}
