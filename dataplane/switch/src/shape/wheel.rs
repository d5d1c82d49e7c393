//! A queue by keys that grow: 8 million ticks ahead, put in and taken out in constant time by bitmaps, in the order of their
//! ticks (Varghese and Lauck 1987; find-first-set instead of a heap as in Eiffel, NSDI 2019).
//!
//! Two rings of 4,096 slots. The fine one has a slot a tick, for the block of 2,048 ticks that the base is in and the next; the
//! coarse one a slot a block. A block is sorted into the fine ring when the base enters the one before it, so that order is exact for at least
//! 2,048 ticks ahead. Within a slot, first come is first served. What is before the base counts as of the base, what is beyond the end as
//! of the last block, and is looked at again when that is sorted.

/// Slots of a ring: 64 words of 64 bits.
const SLOTS: usize = 64 * 64;
/// Ticks of a block, as a power of two: two blocks are the fine ring.
const BLOCK: u32 = 11;
const TICKS: u64 = 1 << BLOCK;
/// Nobody.
pub(crate) const NONE: u32 = u32::MAX;

/// What a member keeps: its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) next: u32,
    pub(crate) prev: u32,
    /// Its slot, the coarse ones behind the fine ones; [`NONE`] in no wheel.
    slot: u32,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            next: NONE,
            prev: NONE,
            slot: NONE,
        }
    }
}

impl Link {
    /// Whether it is in a wheel.
    #[inline(always)]
    pub(crate) fn is_in(&self) -> bool {
        self.slot != NONE
    }
}

/// What can be in a wheel, by its place in a slice.
pub(crate) trait Member {
    /// Its place in the wheel.
    fn link(&mut self) -> &mut Link;
    /// Its tick, of which it was put in.
    fn tick(&self, shift: u32) -> u64;
}

/// First and last of a slot.
#[derive(Clone, Copy)]
struct Ends {
    head: u32,
    tail: u32,
}

struct Ring {
    summary: u64,
    words: [u64; 64],
    slots: Box<[Ends; SLOTS]>,
}

impl Ring {
    fn new() -> Self {
        let nobody = Ends {
            head: NONE,
            tail: NONE,
        };
        Ring {
            summary: 0,
            words: [0; 64],
            slots: Box::new([nobody; SLOTS]),
        }
    }

    /// Puts a member at the end of a slot. `behind`: where this ring's slots begin among all.
    #[inline(always)]
    fn append<M: Member>(&mut self, members: &mut [M], slot: usize, behind: usize, id: u32) {
        let slot = slot & (SLOTS - 1);
        let (Some(ends), Some(member)) = (self.slots.get_mut(slot), members.get_mut(id as usize))
        else {
            return;
        };
        let before = std::mem::replace(&mut ends.tail, id);
        *member.link() = Link {
            next: NONE,
            prev: before,
            slot: (slot + behind) as u32,
        };
        match members.get_mut(before as usize) {
            Some(before) => before.link().next = id,
            None => {
                ends.head = id;
                self.set(slot);
            }
        }
    }

    #[inline(always)]
    fn set(&mut self, slot: usize) {
        if let Some(word) = self.words.get_mut(slot >> 6 & 63) {
            *word |= 1 << (slot & 63);
            self.summary |= 1 << (slot >> 6 & 63);
        }
    }

    #[inline(always)]
    fn clear(&mut self, slot: usize) {
        if let Some(word) = self.words.get_mut(slot >> 6 & 63) {
            *word &= !(1 << (slot & 63));
            if *word == 0 {
                self.summary &= !(1 << (slot >> 6 & 63));
            }
        }
    }

    /// How far it is from this slot to the first that is not empty, around the ring.
    #[inline(always)]
    fn ahead(&self, start: usize) -> Option<usize> {
        let near = self.words.get(start >> 6 & 63)? >> (start & 63);
        if near != 0 {
            return Some(near.trailing_zeros() as usize);
        }
        let slot = self.first_from(start)?;
        Some(slot.wrapping_sub(start) & (SLOTS - 1))
    }

    /// The first slot that is not empty from this one on, around the ring.
    #[inline(always)]
    fn first_from(&self, start: usize) -> Option<usize> {
        let at = start >> 6 & 63;
        let own = self.words.get(at)?;
        let ahead = own & (!0 << (start & 63));
        if ahead != 0 {
            return Some(at << 6 | ahead.trailing_zeros() as usize);
        }
        // The words after it first, then around; last its own, whose bits before the start are now the farthest.
        let around = self.summary.rotate_right((at as u32 + 1) & 63);
        if around == 0 {
            return None;
        }
        let at = (at + 1 + around.trailing_zeros() as usize) & 63;
        let word = self.words.get(at)?;
        Some(at << 6 | word.trailing_zeros() as usize)
    }
}

/// A wheel.
pub(crate) struct Wheel {
    fine: Ring,
    coarse: Ring,
    /// Before which nothing is put: its block and the next are in the fine ring.
    base: u64,
    /// The first tick of the block after that of the base.
    next: u64,
    /// A tick is so many of the members' units, as a power of two.
    shift: u32,
    members: u32,
    /// No member is of a tick before it.
    soonest: u64,
}

impl Wheel {
    /// An empty wheel whose ticks are 2^`shift` units.
    pub(crate) fn new(shift: u32) -> Self {
        Wheel {
            fine: Ring::new(),
            coarse: Ring::new(),
            base: 0,
            next: TICKS,
            shift: shift & 63,
            members: 0,
            soonest: 0,
        }
    }

    /// How many are in it.
    pub(crate) fn len(&self) -> u32 {
        self.members
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// Units of a tick, as a power of two.
    pub(crate) fn shift(&self) -> u32 {
        self.shift
    }

    /// The tick of so many units.
    #[inline(always)]
    pub(crate) fn tick(&self, units: u64) -> u64 {
        units >> self.shift
    }

    /// Starts again at these units. Only of an empty wheel.
    pub(crate) fn restart(&mut self, units: u64, shift: u32) {
        debug_assert!(self.is_empty());
        self.shift = shift & 63;
        self.set_base(self.tick(units));
        self.soonest = self.base;
    }

    #[inline(always)]
    fn set_base(&mut self, base: u64) {
        self.base = base;
        self.next = ((base >> BLOCK) + 1) << BLOCK;
    }

    /// Goes on to these units, when all that is due by then has been taken out: what is put in next is near, and so in order, however long nobody
    /// was taken out.
    #[inline(always)]
    pub(crate) fn reach<M: Member>(&mut self, members: &mut [M], units: u64) {
        let to = self.tick(units);
        if self.members > 0 {
            return self.advance(members, to);
        }
        self.set_base(self.base.max(to));
        self.soonest = self.base;
    }

    /// Puts a member in that is in no wheel.
    #[inline(always)]
    pub(crate) fn insert<M: Member>(&mut self, members: &mut [M], id: u32) {
        let base = self.base;
        let Some(member) = members.get_mut(id as usize) else {
            return;
        };
        let tick = member.tick(self.shift).max(base);
        self.soonest = self.soonest.min(tick);
        self.members += 1;
        match tick < self.next + TICKS {
            true => self.fine.append(members, tick as usize, 0, id),
            false => self.insert_far(members, tick, id),
        }
    }

    #[inline(never)]
    fn insert_far<M: Member>(&mut self, members: &mut [M], tick: u64, id: u32) {
        let first = self.base >> BLOCK;
        let ahead = ((tick >> BLOCK) - first).min(SLOTS as u64 - 1);
        let block = (first + ahead) as usize;
        // What is farther than all blocks is looked at again in the last.
        self.soonest = self.soonest.min((first + ahead) << BLOCK);
        self.coarse.append(members, block, SLOTS, id);
    }

    /// Takes a member out, wherever it is.
    pub(crate) fn remove<M: Member>(&mut self, members: &mut [M], id: u32) {
        let Some(member) = members.get_mut(id as usize) else {
            return;
        };
        let Link { next, prev, slot } = std::mem::take(member.link());
        if slot == NONE {
            return;
        }
        let at = slot as usize & (SLOTS - 1);
        let ring = match slot as usize >= SLOTS {
            true => &mut self.coarse,
            false => &mut self.fine,
        };
        let Some(ends) = ring.slots.get_mut(at) else {
            return;
        };
        self.members -= 1;
        // Who is first has nobody before it, whatever it says: it is not told when the one before it leaves.
        let is_first = ends.head == id;
        match members.get_mut(next as usize) {
            Some(after) => after.link().prev = if is_first { NONE } else { prev },
            None => ends.tail = if is_first { NONE } else { prev },
        }
        if is_first {
            ends.head = next;
            if next == NONE {
                ring.clear(at);
            }
        } else if let Some(before) = members.get_mut(prev as usize) {
            before.link().next = next;
        }
    }

    /// Moves the base on, at most to this tick and not past a member: the first member of that tick or before, without taking it.
    #[inline(always)]
    fn advance<M: Member>(&mut self, members: &mut [M], to: u64) {
        if to >= self.next {
            self.enter(members, to);
        }
        self.base = self.base.max(to);
    }

    /// The same to a tick that is not before the base.
    #[inline(always)]
    fn advance_to<M: Member>(&mut self, members: &mut [M], tick: u64) {
        if tick >= self.next {
            self.enter(members, tick);
        }
        self.base = tick;
    }

    /// Sorts the blocks that the base comes near, up to the one behind that of `to`.
    #[cold]
    #[inline(never)]
    fn enter<M: Member>(&mut self, members: &mut [M], to: u64) {
        if to <= self.base {
            return;
        }
        let last = (to >> BLOCK) + 1;
        let mut block = (self.base >> BLOCK) + 1;
        self.set_base(to);
        // Each slot once, however far time jumps.
        for _ in 0..SLOTS {
            let next = (block + 1) as usize & (SLOTS - 1);
            let Some(slot) = self.coarse.first_from(next) else {
                return;
            };
            // Blocks lie around the ring: how far on this one is.
            let on = (slot as u64).wrapping_sub(block) & (SLOTS as u64 - 1);
            let on = if on == 0 { SLOTS as u64 } else { on };
            block += on;
            if block > last {
                return;
            }
            let nobody = Ends {
                head: NONE,
                tail: NONE,
            };
            let Some(ends) = self.coarse.slots.get_mut(slot) else {
                return;
            };
            let mut next = std::mem::replace(ends, nobody).head;
            self.coarse.clear(slot);
            while let Some(member) = members.get_mut(next as usize) {
                let id = next;
                next = member.link().next;
                self.members -= 1;
                self.insert(members, id);
            }
        }
    }

    /// Takes out the first member of this tick or before it, or none, and moves the base on so far.
    #[inline(always)]
    pub(crate) fn pop_due<M: Member>(&mut self, members: &mut [M], to: u64) -> Option<u32> {
        if to < self.soonest || self.members == 0 {
            return None;
        }
        self.look_due(members, to)
    }

    #[inline(always)]
    fn look_due<M: Member>(&mut self, members: &mut [M], to: u64) -> Option<u32> {
        let at = self.base as usize & (SLOTS - 1);
        if let Some(on) = self.fine.ahead(at) {
            let tick = self.base + on as u64;
            self.soonest = tick;
            if tick > to {
                self.advance(members, to);
                return None;
            }
            self.advance_to(members, tick);
            return self.pop_slot(members, at + on);
        }
        self.look_far(members, to)
    }

    /// The same where nobody is near: what comes near is sorted, and looked at.
    #[inline(never)]
    fn look_far<M: Member>(&mut self, members: &mut [M], to: u64) -> Option<u32> {
        self.advance(members, to);
        if self.fine.summary == 0 {
            self.soonest = self.first().unwrap_or(0);
            return None;
        }
        self.look_due(members, to)
    }

    /// Takes out the first member of all, however far it is. The base moves on to it, but not past `limit`.
    #[inline(always)]
    pub(crate) fn pop_first<M: Member>(&mut self, members: &mut [M], limit: u64) -> Option<u32> {
        if self.members == 0 {
            return None;
        }
        let at = self.base as usize & (SLOTS - 1);
        if let Some(on) = self.fine.ahead(at) {
            let tick = self.base + on as u64;
            match tick <= limit {
                true => self.advance_to(members, tick),
                false => self.advance(members, limit),
            }
            return self.pop_slot(members, at + on);
        }
        self.advance(members, limit);
        self.pop_coarse(members)
    }

    /// The first member of the first block that is not sorted.
    #[inline(never)]
    fn pop_coarse<M: Member>(&mut self, members: &mut [M]) -> Option<u32> {
        let at = self.base as usize & (SLOTS - 1);
        if let Some(slot) = self.fine.first_from(at) {
            return self.pop_slot(members, slot);
        }
        let slot = self.coarse.first_from(self.next_block())?;
        let id = self.coarse.slots.get(slot)?.head;
        self.remove(members, id);
        Some(id)
    }

    /// Who is next after the last that was taken out, if he is of the same tick.
    #[inline(always)]
    pub(crate) fn follower(&self) -> u32 {
        let ends = self.fine.slots.get(self.base as usize & (SLOTS - 1));
        ends.map_or(NONE, |ends| ends.head)
    }

    fn next_block(&self) -> usize {
        ((self.base >> BLOCK) + 2) as usize & (SLOTS - 1)
    }

    /// The tick of the first member; of one in a block that is not sorted, the block's first tick.
    #[inline(always)]
    pub(crate) fn first(&self) -> Option<u64> {
        let at = self.base as usize & (SLOTS - 1);
        if let Some(on) = self.fine.ahead(at) {
            return Some(self.base + on as u64);
        }
        let slot = self.coarse.first_from(self.next_block())?;
        let on = slot.wrapping_sub(self.next_block()) & (SLOTS - 1);
        Some(((self.base >> BLOCK) + 2 + on as u64) << BLOCK)
    }

    #[inline(always)]
    fn pop_slot<M: Member>(&mut self, members: &mut [M], slot: usize) -> Option<u32> {
        let slot = slot & (SLOTS - 1);
        let ends = self.fine.slots.get_mut(slot)?;
        let id = ends.head;
        let link = members.get_mut(id as usize)?.link();
        link.slot = NONE;
        let next = std::mem::replace(&mut link.next, NONE);
        self.members -= 1;
        // The next one keeps what it says of who is before it: nobody asks the first (see `remove`).
        ends.head = next;
        if next == NONE {
            ends.tail = NONE;
            self.fine.clear(slot);
        }
        Some(id)
    }
}
