//! Up to 32 mbufs: what moves through the path at once.

use std::mem::MaybeUninit;
use std::{fmt, ptr, slice};

use dpdk_sys::rte_mbuf;

use crate::mbuf::Mbuf;

/// Up to [`Burst::CAPACITY`] mbufs in order, owned, on the stack. Dropping it frees them.
pub struct Burst {
    /// The first `len` are mbufs. An Mbuf is one pointer to an rte_mbuf, so that C reads and writes this array as it is.
    slots: [MaybeUninit<Mbuf>; Burst::CAPACITY],
    len: usize,
}

impl Burst {
    /// A batch of Weir's path: 32.
    pub const CAPACITY: usize = 32;

    /// An empty burst.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Burst {
        Burst {
            slots: [const { MaybeUninit::uninit() }; Burst::CAPACITY],
            len: 0,
        }
    }

    /// How many mbufs are in it.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has none.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if it has [`Burst::CAPACITY`].
    #[inline(always)]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == Burst::CAPACITY
    }

    /// Adds an mbuf behind the others; gives it back if the burst is full.
    #[inline(always)]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        match self.slots.get_mut(self.len) {
            Some(slot) => {
                slot.write(mbuf);
                self.len += 1;
                Ok(())
            }
            None => Err(mbuf),
        }
    }

    /// Adds mbufs behind the others until the burst is full; what then is still to come stays with the iterator.
    #[inline(always)]
    pub fn extend(&mut self, mbufs: &mut impl Iterator<Item = Mbuf>) {
        let mut len = self.len;
        // The slots first: an mbuf is not taken unless there is one.
        for (slot, mbuf) in self.slots[len..].iter_mut().zip(mbufs) {
            slot.write(mbuf);
            len += 1;
        }
        self.len = len;
    }

    /// Takes all mbufs out of a full burst, as they lie.
    #[inline(always)]
    pub fn take_full(&mut self) -> Option<[Mbuf; Burst::CAPACITY]> {
        if !self.is_full() {
            return None;
        }
        self.len = 0;
        // SAFETY: all slots were below the old `len`, so each holds an mbuf, and MaybeUninit<Mbuf> has Mbuf's layout; all are above
        // the new one, so nobody reads them again.
        Some(unsafe { self.slots.as_ptr().cast::<[Mbuf; Burst::CAPACITY]>().read() })
    }

    /// Takes a full burst's mbufs in; gives them back if there are others.
    #[inline(always)]
    #[expect(
        clippy::result_large_err,
        reason = "who is refused keeps the packets: on the path nothing is boxed"
    )]
    pub fn fill(&mut self, mbufs: [Mbuf; Burst::CAPACITY]) -> Result<(), [Mbuf; Burst::CAPACITY]> {
        if !self.is_empty() {
            return Err(mbufs);
        }
        // SAFETY: MaybeUninit<Mbuf> has Mbuf's layout; no slot holds an mbuf that would be lost.
        unsafe {
            self.slots
                .as_mut_ptr()
                .cast::<[Mbuf; Burst::CAPACITY]>()
                .write(mbufs)
        };
        self.len = Burst::CAPACITY;
        Ok(())
    }

    /// Takes the last mbuf.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the slot was below the old `len`, so it holds an mbuf; it is above the new one, so nobody reads it again.
        Some(unsafe { self.slots[self.len].assume_init_read() })
    }

    /// Takes all mbufs out, in order. What the iterator is dropped with is freed; the burst is empty at once.
    #[inline(always)]
    pub fn drain(&mut self) -> Drain<'_> {
        let end = self.len;
        self.len = 0;
        Drain {
            burst: self,
            next: 0,
            end,
        }
    }

    /// The mbufs in order.
    #[inline(always)]
    #[must_use]
    pub fn as_slice(&self) -> &[Mbuf] {
        // SAFETY: the first `len` slots hold mbufs, and MaybeUninit<Mbuf> has Mbuf's layout.
        unsafe { slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }

    /// The mbufs in order, to change or to swap.
    #[inline(always)]
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [Mbuf] {
        // SAFETY: as `as_slice`, and the borrow is unique.
        unsafe { slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }

    /// Frees all mbufs, in one call.
    #[inline]
    pub fn clear(&mut self) {
        self.free_first(self.len);
    }

    /// Makes mbufs of [`Pool::take_bulk`](crate::Pool) empty, with [`HEADROOM`](crate::HEADROOM) bytes in front. Of their descriptors the
    /// first line alone is written.
    #[inline]
    pub(crate) fn renew(&mut self) {
        // SAFETY: the first `len` slots hold mbufs that this burst owns, each of one segment.
        unsafe { dpdk_sys::shim_pktmbuf_renew_bulk(self.as_raw(), self.len as u32) };
    }

    /// The free slots, for C to write mbufs into; [`Burst::grow`] then takes them in.
    #[inline(always)]
    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<Mbuf>] {
        &mut self.slots[self.len..]
    }

    /// Takes in the next `count` slots.
    ///
    /// # Safety
    /// The first `count` slots of [`Burst::room`] hold mbufs that nobody else owns.
    #[inline(always)]
    pub(crate) unsafe fn grow(&mut self, count: usize) {
        debug_assert!(self.len + count <= Burst::CAPACITY);
        self.len += count;
    }

    /// The mbufs as C sees them.
    #[inline(always)]
    pub(crate) fn as_raw(&mut self) -> *mut *mut rte_mbuf {
        self.slots.as_mut_ptr().cast()
    }

    /// Forgets the first `count` mbufs, which somebody else owns now, and moves the rest to the front.
    ///
    /// # Safety
    /// Somebody else owns the first `count` mbufs now; `count` is at most `len`.
    #[inline(always)]
    pub(crate) unsafe fn forget_first(&mut self, count: usize) {
        debug_assert!(count <= self.len);
        let rest = self.len - count;
        if rest > 0 && count > 0 {
            let slots = self.slots.as_mut_ptr();
            // SAFETY: `count + rest` is `len`, so both ranges are within the array; `copy` allows them to overlap. The slots that
            // are read a second time are above the new `len`.
            unsafe { ptr::copy(slots.add(count), slots, rest) };
        }
        self.len = rest;
    }

    /// Frees the first `count` mbufs (at most `len`) and moves the rest to the front.
    #[inline]
    pub(crate) fn free_first(&mut self, count: usize) {
        let count = count.min(self.len);
        if count == 0 {
            return;
        }
        // SAFETY: the first `count` slots hold mbufs that this burst owns; they are freed once and then forgotten.
        unsafe {
            dpdk_sys::shim_pktmbuf_free_bulk(self.as_raw(), count as u32);
            self.forget_first(count);
        }
    }
}

impl Default for Burst {
    fn default() -> Burst {
        Burst::new()
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// [`Burst::drain`]'s iterator.
#[derive(Debug)]
pub struct Drain<'a> {
    burst: &'a mut Burst,
    /// The slots from `next` to `end` hold mbufs that this iterator owns; the burst's `len` is 0.
    next: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;

    #[inline(always)]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        let slot = &self.burst.slots[self.next];
        self.next += 1;
        // SAFETY: the slot was below the burst's `len` when draining began and is passed once.
        Some(unsafe { slot.assume_init_read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        self.by_ref().for_each(drop);
    }
}
