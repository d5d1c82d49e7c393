//! A leaf: what waits of one vNIC, in one class, for one exit. There is one only while something waits.

use super::slab::Queue;
use super::wheel::NONE;

/// An uplink's place, or one of these.
pub(crate) const HERE: u16 = u16::MAX;
pub(crate) const RECEIVE: u16 = u16::MAX - 1;

/// Where a leaf is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the ring of its node, or of those for vNICs here: its turn comes.
    Ready,
    /// It waits for its gate, or for an uplink.
    Shut,
    /// It is none.
    Free,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Leaf {
    pub(crate) queue: Queue,
    /// Its gate, and so its vNIC.
    pub(crate) gate: u32,
    /// Its node on its uplink.
    pub(crate) node: u32,
    /// Neighbours in the ring of its node.
    pub(crate) next: u32,
    pub(crate) prev: u32,
    /// The next of its gate's, or the next free one.
    pub(crate) sibling: u32,
    /// Wire bytes that it may send before the next one's turn; less than none while it has sent more.
    pub(crate) credit: i32,
    /// An uplink's place, [`HERE`] or [`RECEIVE`].
    pub(crate) exit: u16,
    pub(crate) class: u8,
    pub(crate) state: State,
    /// Whether it can use more than it gets: something was left the last time that it sent, or a second item came while it waited.
    pub(crate) stays: bool,
    /// Whether it had to wait in the middle of its turn: then it goes on with that.
    pub(crate) goes_on: bool,
}

/// All leaves of a worker.
pub(crate) struct Leaves {
    leaves: Box<[Leaf]>,
    free: u32,
}

/// Leaves that take turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    /// Whose turn it is.
    pub(crate) head: u32,
    pub(crate) members: u32,
    /// Bytes a turn: the largest item that was ever in it, so that nobody's turn is void.
    pub(crate) quantum: u32,
}

impl Default for Turns {
    fn default() -> Self {
        Turns {
            head: NONE,
            members: 0,
            quantum: super::FULL_FRAME as u32,
        }
    }
}

impl Leaves {
    pub(crate) fn new(room: u32) -> Self {
        let room = room.min(NONE - 1);
        let leaf = |at: u32| Leaf {
            queue: Queue::default(),
            gate: NONE,
            node: NONE,
            next: NONE,
            prev: NONE,
            sibling: if at + 1 < room { at + 1 } else { NONE },
            credit: 0,
            exit: HERE,
            class: 0,
            state: State::Free,
            stays: false,
            goes_on: false,
        };
        Leaves {
            leaves: (0..room).map(leaf).collect(),
            free: if room == 0 { NONE } else { 0 },
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, id: u32) -> Option<&Leaf> {
        self.leaves.get(id as usize)
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Leaf> {
        self.leaves.get_mut(id as usize)
    }

    /// Takes a free one.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<u32> {
        let id = self.free;
        self.free = self.get(id)?.sibling;
        Some(id)
    }

    /// Gives one back that is in no ring and no list.
    #[inline(always)]
    pub(crate) fn give_back(&mut self, id: u32) {
        let free = self.free;
        if let Some(leaf) = self.get_mut(id) {
            leaf.state = State::Free;
            leaf.sibling = free;
            self.free = id;
        }
    }

    /// Takes one out of the chain of a gate's, whose first is another.
    #[inline(never)]
    pub(crate) fn unlink(&mut self, first: u32, id: u32) {
        let Some(after) = self.get(id).map(|leaf| leaf.sibling) else {
            return;
        };
        let mut before = first;
        while let Some(leaf) = self.get_mut(before) {
            if leaf.sibling == id {
                leaf.sibling = after;
                return;
            }
            before = leaf.sibling;
        }
    }

    /// Wire bytes of the item whose turn it is, if there is one.
    #[inline(always)]
    pub(crate) fn first_wire(&self, turns: &Turns) -> Option<u32> {
        Some(self.get(turns.head)?.queue.head_wire)
    }

    /// Whoever is there, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, &Leaf)> {
        let all = (0..).zip(&self.leaves);
        all.filter(|(_, leaf)| leaf.state != State::Free)
    }

    /// How many there may be.
    pub(crate) fn room(&self) -> u32 {
        self.leaves.len() as u32
    }

    /// Puts a leaf into a ring: its turn comes last, unless it had to wait for its gate in the middle of one. Otherwise a maximum
    /// that lets less than a turn leave at once would cost a turn of all others each time.
    #[inline(always)]
    pub(crate) fn join(&mut self, turns: &mut Turns, id: u32) {
        let head = turns.head;
        let (next, prev) = match self.get_mut(head) {
            Some(first) => (head, std::mem::replace(&mut first.prev, id)),
            None => {
                turns.head = id;
                (id, id)
            }
        };
        if prev != id
            && let Some(last) = self.get_mut(prev)
        {
            last.next = id;
        }
        if let Some(leaf) = self.get_mut(id) {
            leaf.next = next;
            leaf.prev = prev;
            leaf.state = State::Ready;
            match leaf.goes_on {
                true => turns.head = id,
                false => leaf.credit = turns.quantum as i32,
            }
        }
        turns.members += 1;
    }

    /// Takes a leaf out of its ring, and leaves it shut.
    #[inline(always)]
    pub(crate) fn part(&mut self, turns: &mut Turns, id: u32) {
        let Some(leaf) = self.get_mut(id) else {
            return;
        };
        let (next, prev) = (leaf.next, leaf.prev);
        leaf.state = State::Shut;
        turns.members -= 1;
        if next == id {
            turns.head = NONE;
            return;
        }
        if turns.head == id {
            turns.head = next;
        }
        if let Some(after) = self.get_mut(next) {
            after.prev = prev;
        }
        if let Some(before) = self.get_mut(prev) {
            before.next = next;
        }
    }

    /// What the first of a ring has sent is off its turn; with nothing left of that, it is the next one's.
    #[inline(always)]
    pub(crate) fn sent(&mut self, turns: &mut Turns, id: u32, wire: u32) {
        let quantum = turns.quantum as i32;
        let Some(leaf) = self.get_mut(id) else {
            return;
        };
        leaf.credit = leaf.credit.saturating_sub_unsigned(wire);
        leaf.goes_on = leaf.credit > 0;
        if !leaf.goes_on {
            leaf.credit = leaf.credit.saturating_add(quantum);
            turns.head = leaf.next;
        }
    }
}
