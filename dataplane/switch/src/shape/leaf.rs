//! A leaf: what waits of one vNIC, in one class, for one exit. There is one only while something waits.
//!
//! The leaves of a node have equal parts of what it gets: self-clocked fair queueing (Golestani 1994). A leaf's tag is where its first item
//! would end if all leaves were served at once; who has the least is next, and the clock is the tag of who was served last. So nobody is more
//! than an item of its own ahead of or behind another, however unlike their items are, and nobody's turn is void.
//!
//! Leaves are in a ring in the order of their tags. Of a node of one vNIC it has a few at most: the place is looked for from the end. Where many
//! vNICs share a node, an [`Index`] knows it.

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
    /// In bytes of its ring's clock: where its first item ends.
    tag: u32,
    /// An uplink's place, [`HERE`] or [`RECEIVE`].
    pub(crate) exit: u16,
    pub(crate) class: u8,
    pub(crate) state: State,
    /// Whether it can use more than it gets: something was left the last time that it sent, or a second item came while it waited.
    pub(crate) stays: bool,
}

impl Leaf {
    /// Whether it is for this exit's place and this class.
    #[inline(always)]
    pub(crate) fn is_of(&self, (exit, class): (u16, u8)) -> bool {
        self.exit == exit && self.class == class
    }

    /// It has sent, and has more: that ends so many bytes of its ring's clock later. Where it is the only one of its ring.
    #[inline(always)]
    pub(crate) fn sent_alone(&mut self, turns: &mut Turns) {
        turns.clock = self.tag;
        self.tag = self.tag.wrapping_add(self.queue.head_wire.max(LEAST));
    }
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
    /// Bytes that each leaf would have sent that was always in it. Goes around.
    clock: u32,
}

impl Default for Turns {
    fn default() -> Self {
        Turns {
            head: NONE,
            members: 0,
            clock: 0,
        }
    }
}

/// Where in a long ring a tag belongs: 64 spans of tags from the clock on, and the last leaf of each. Within a span, first come is first
/// served.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    lasts: [u32; 64],
    /// Spans in which somebody is, a bit each.
    filled: u64,
    /// Bytes of a span, as a power of two: 32, and more where an item is longer than all spans.
    shift: u32,
}

impl Default for Index {
    fn default() -> Self {
        Index {
            lasts: [NONE; 64],
            filled: 0,
            shift: 5,
        }
    }
}

impl Index {
    #[inline(always)]
    fn span(&self, tag: u32) -> u32 {
        tag >> self.shift & 63
    }

    /// The last leaf of the nearest span at or before a tag's, down to that of the clock.
    #[inline(always)]
    fn before(&self, clock: u32, tag: u32) -> Option<u32> {
        let (first, span) = (self.span(clock), self.span(tag));
        let on = span.wrapping_sub(first) & 63;
        let from_first = self.filled.rotate_right(first) & (u64::MAX >> (63 - on));
        let nearest = from_first.checked_ilog2()?;
        let at = (first + nearest) & 63;
        self.lasts.get(at as usize).copied()
    }

    #[inline(always)]
    fn set(&mut self, tag: u32, last: u32) {
        let span = self.span(tag);
        if let Some(place) = self.lasts.get_mut(span as usize) {
            *place = last;
            self.filled |= 1 << span;
        }
    }

    #[inline(always)]
    fn last(&self, tag: u32) -> u32 {
        let last = self.lasts.get(self.span(tag) as usize);
        last.copied().unwrap_or(NONE)
    }

    #[inline(always)]
    fn clear(&mut self, tag: u32) {
        self.filled &= !(1 << self.span(tag));
    }
}

/// Spans that an item may be long: the clock's own may be half over, and what is served of one span need not be in order.
const MOST: u32 = 62;
/// The least that an item counts where leaves take turns: so that the clock goes on, whatever is said of it.
const LEAST: u32 = 64;

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
            tag: 0,
            exit: HERE,
            class: 0,
            state: State::Free,
            stays: false,
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

    /// Puts a leaf into a ring: what of it is first ends so many bytes of each leaf from now.
    #[inline(always)]
    pub(crate) fn join(&mut self, turns: &mut Turns, index: Option<&mut Index>, id: u32) {
        let Some(leaf) = self.get_mut(id) else {
            return;
        };
        leaf.tag = turns.clock.wrapping_add(leaf.queue.head_wire.max(LEAST));
        leaf.state = State::Ready;
        turns.members += 1;
        self.insert(turns, index, id);
    }

    /// Puts a leaf with a tag in its place.
    #[inline(always)]
    fn insert(&mut self, turns: &mut Turns, mut index: Option<&mut Index>, id: u32) {
        let Some(tag) = self.get(id).map(|leaf| leaf.tag) else {
            return;
        };
        let ahead = tag.wrapping_sub(turns.clock);
        if let Some(index) = &mut index
            && ahead >> index.shift >= MOST
        {
            self.widen(turns, index, ahead);
        }
        let Some(last) = self.get(turns.head).map(|first| first.prev) else {
            turns.head = id;
            if let Some(leaf) = self.get_mut(id) {
                (leaf.next, leaf.prev) = (id, id);
            }
            if let Some(index) = index {
                index.set(tag, id);
            }
            return;
        };
        let before = match index {
            None => self.place_of(turns, ahead),
            Some(index) => {
                let before = index.before(turns.clock, tag);
                index.set(tag, id);
                before
            }
        };
        // Behind nobody: it is the first, before who was.
        let before = before.unwrap_or_else(|| {
            turns.head = id;
            last
        });
        let Some(after) = self
            .get_mut(before)
            .map(|leaf| std::mem::replace(&mut leaf.next, id))
        else {
            return;
        };
        if let Some(after) = self.get_mut(after) {
            after.prev = id;
        }
        if let Some(leaf) = self.get_mut(id) {
            (leaf.next, leaf.prev) = (after, before);
        }
    }

    /// The last of a short ring whose tag is no later; none if all are.
    #[inline(always)]
    fn place_of(&self, turns: &Turns, ahead: u32) -> Option<u32> {
        let mut at = self.get(turns.head)?.prev;
        for _ in 0..turns.members {
            let leaf = self.get(at)?;
            if leaf.tag.wrapping_sub(turns.clock) <= ahead {
                return Some(at);
            }
            at = leaf.prev;
        }
        None
    }

    /// Makes spans so long that this is within them.
    #[cold]
    #[inline(never)]
    fn widen(&mut self, turns: &Turns, index: &mut Index, ahead: u32) {
        while ahead >> index.shift >= MOST && index.shift < 26 {
            index.shift += 1;
        }
        index.filled = 0;
        let mut at = turns.head;
        // In the order of their tags, so that the last of a span is the last that is said.
        while let Some(leaf) = self.get(at) {
            index.set(leaf.tag, at);
            at = leaf.next;
            if at == turns.head {
                break;
            }
        }
    }

    /// Takes a leaf out of its ring, and leaves it shut.
    #[inline(always)]
    pub(crate) fn part(&mut self, turns: &mut Turns, index: Option<&mut Index>, id: u32) {
        turns.members -= 1;
        self.remove(turns, index, id);
        if let Some(leaf) = self.get_mut(id) {
            leaf.state = State::Shut;
        }
    }

    #[inline(always)]
    fn remove(&mut self, turns: &mut Turns, index: Option<&mut Index>, id: u32) {
        let Some(&Leaf { prev, tag, .. }) = self.get(id) else {
            return;
        };
        let is_first = turns.head == id;
        if let Some(index) = index
            && index.last(tag) == id
        {
            let before = self.get(prev).map(|leaf| leaf.tag);
            match before {
                Some(before) if !is_first && index.span(before) == index.span(tag) => {
                    index.set(tag, prev);
                }
                _ => index.clear(tag),
            }
        }
        self.unlink_from(turns, id);
    }

    /// Takes a leaf out of its ring, whatever the index says.
    #[inline(always)]
    fn unlink_from(&mut self, turns: &mut Turns, id: u32) {
        let Some(&Leaf { next, prev, .. }) = self.get(id) else {
            return;
        };
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

    /// The first of a ring has sent, and has more: that takes its turn by its size.
    #[inline(always)]
    pub(crate) fn sent(&mut self, turns: &mut Turns, mut index: Option<&mut Index>, id: u32) {
        let Some(leaf) = self.get_mut(id) else {
            return;
        };
        let (old, next, prev) = (leaf.tag, leaf.next, leaf.prev);
        let tag = old.wrapping_add(leaf.queue.head_wire.max(LEAST));
        leaf.tag = tag;
        turns.clock = old;
        let last = match &mut index {
            None if turns.members == 1 => return,
            None => self.place_of(turns, tag.wrapping_sub(old)),
            Some(index) => {
                // It is the first: if it is the last of its span, too, it is the only one.
                if index.last(old) == id {
                    index.clear(old);
                }
                if tag.wrapping_sub(old) >> index.shift >= MOST {
                    None
                } else {
                    index.before(old, tag)
                }
            }
        };
        if last == Some(id) {
            // All others come later than what it has next.
            return;
        }
        if last == Some(prev) {
            // Behind all others: the ring goes around.
            turns.head = next;
            if let Some(index) = index {
                index.set(tag, id);
            }
            return;
        }
        self.unlink_from(turns, id);
        self.insert(turns, index, id);
    }

    /// The first of a ring has sent, and leaves it.
    #[inline(always)]
    pub(crate) fn sent_last(&mut self, turns: &mut Turns, index: Option<&mut Index>, id: u32) {
        if let Some(leaf) = self.get(id) {
            turns.clock = leaf.tag;
        }
        self.part(turns, index, id);
    }
}
