//! Where waiting items lie: one slab of slots a worker, and queues as chains through it. Made once; nothing allocates after.

use super::Size;
use super::wheel::NONE;
use weir_tables::prefetch;

/// In lines of its own: whoever has waited for long is far from the processor.
#[repr(align(64))]
struct Slot<T> {
    item: Option<T>,
    /// When it came, in TSC cycles.
    at: u64,
    size: Size,
    /// The next of its queue, or the next free slot.
    next: u32,
    /// Wire bytes of the next of its queue: who takes this one need not touch that one.
    next_wire: u32,
}

/// The slots of a worker.
pub(crate) struct Slab<T> {
    slots: Box<[Slot<T>]>,
    free: u32,
    left: u32,
    /// Kept for those of whom little waits.
    reserve: u32,
}

/// Of so many slots one is kept for those of whom little waits,
const RESERVE: u32 = 16;
/// which is fewer items than this.
const LITTLE: u32 = 8;

/// A chain of slots, first in first out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    head: u32,
    tail: u32,
    pub(crate) items: u32,
    /// Wire bytes of the first.
    pub(crate) head_wire: u32,
    /// Bytes of all, layer 2.
    pub(crate) bytes: u64,
    /// Bytes of all, on the wire.
    pub(crate) wire: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            head: NONE,
            tail: NONE,
            items: 0,
            head_wire: 0,
            bytes: 0,
            wire: 0,
        }
    }
}

impl Queue {
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.items == 0
    }
}

/// What was taken out of a queue.
pub(crate) struct Taken<T> {
    pub(crate) item: T,
    pub(crate) at: u64,
    pub(crate) size: Size,
}

impl<T> Slab<T> {
    /// Room for so many.
    pub(crate) fn new(slots: u32) -> Self {
        let slots = slots.min(NONE - 1);
        let slot = |at: u32| Slot {
            item: None,
            at: 0,
            size: Size::default(),
            next: if at + 1 < slots { at + 1 } else { NONE },
            next_wire: 0,
        };
        Slab {
            reserve: slots / RESERVE,
            slots: (0..slots).map(slot).collect(),
            free: if slots == 0 { NONE } else { 0 },
            left: slots,
        }
    }

    /// Whether one that has so many items here may have another: fewer than slots are free beside the reserve, or few and any is free.
    /// Without it, ten thousand whose queues are always full leave ten slots free, which whoever comes first in a batch takes, and who
    /// comes last is dropped until nothing of it waits.
    #[inline(always)]
    pub(crate) fn has_room(&self, items: u32) -> bool {
        items + self.reserve < self.left || items < LITTLE.min(self.left)
    }

    /// Free slots.
    #[inline(always)]
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// All slots.
    pub(crate) fn room(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Puts an item behind the others of its queue; gives it back if no slot is free.
    #[inline(always)]
    pub(crate) fn push(
        &mut self,
        queue: &mut Queue,
        item: T,
        size: Size,
        at: u64,
    ) -> Result<(), T> {
        let place = self.free;
        let Some(slot) = self.slots.get_mut(place as usize) else {
            return Err(item);
        };
        self.free = slot.next;
        self.left -= 1;
        *slot = Slot {
            item: Some(item),
            at,
            size,
            next: NONE,
            next_wire: 0,
        };
        let before = std::mem::replace(&mut queue.tail, place);
        match self.slots.get_mut(before as usize) {
            Some(before) => {
                before.next = place;
                before.next_wire = size.wire;
            }
            None => {
                queue.head = place;
                queue.head_wire = size.wire;
            }
        }
        queue.items += 1;
        queue.bytes += u64::from(size.bytes);
        queue.wire += u64::from(size.wire);
        Ok(())
    }

    /// Takes the first item of a queue.
    #[inline(always)]
    pub(crate) fn pop(&mut self, queue: &mut Queue) -> Option<Taken<T>> {
        let place = queue.head;
        let slot = self.slots.get_mut(place as usize)?;
        let item = slot.item.take()?;
        queue.head = std::mem::replace(&mut slot.next, self.free);
        queue.head_wire = slot.next_wire;
        if queue.head == NONE {
            queue.tail = NONE;
        }
        self.free = place;
        self.left += 1;
        queue.items -= 1;
        queue.bytes -= u64::from(slot.size.bytes);
        queue.wire -= u64::from(slot.size.wire);
        Some(Taken {
            item,
            at: slot.at,
            size: slot.size,
        })
    }

    /// Asks the processor for the first of a queue.
    #[inline(always)]
    pub(crate) fn fetch(&self, queue: &Queue) {
        if let Some(slot) = self.slots.get(queue.head as usize) {
            prefetch::read(slot);
        }
    }

    /// The same for the last, which another is put behind.
    #[inline(always)]
    pub(crate) fn fetch_last(&self, queue: &Queue) {
        if let Some(slot) = self.slots.get(queue.tail as usize) {
            prefetch::read(slot);
        }
    }

    /// When the first of a queue came.
    pub(crate) fn oldest(&self, queue: &Queue) -> Option<u64> {
        Some(self.slots.get(queue.head as usize)?.at)
    }

    /// Looks at the items of a queue in order.
    pub(crate) fn each<'a>(&'a self, queue: &Queue) -> impl Iterator<Item = &'a T> {
        let mut next = queue.head;
        std::iter::from_fn(move || {
            let slot = self.slots.get(next as usize)?;
            next = slot.next;
            slot.item.as_ref()
        })
    }
}
