//! What is about all segments of an mbuf, not just the first.

use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::{ptr, slice};

use dpdk_sys::rte_mbuf;

use crate::fields;
use crate::mbuf::{Mbuf, data};
use crate::pool::Pool;

impl Mbuf {
    /// The bytes of each segment, in order. Their lengths add up to [`Mbuf::len`].
    #[inline]
    pub fn segments_iter(&self) -> Segments<'_> {
        Segments {
            next: self.as_ptr(),
            _mbuf: PhantomData,
        }
    }

    /// Bytes that [`Mbuf::append`] can add: those behind the last segment's data. Walks the chain.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        // SAFETY: the last segment is valid while the chain is owned, and nobody writes to it during the borrow.
        tailroom(unsafe { &*self.last() })
    }

    /// Adds `n` bytes behind the last segment and returns them, with whatever was there; None, and no change, if the tailroom is
    /// smaller.
    #[inline]
    #[must_use]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let last = self.last();
        // SAFETY: as `tailroom`; the reference ends before another is made.
        if n > tailroom(unsafe { &*last }) {
            return None;
        }
        let length = self.raw().pkt_len.checked_add(n as u32)?;
        self.raw_mut().pkt_len = length;
        // SAFETY: `last` is in this chain, which is borrowed uniquely (it may be the first segment, to which no reference is held
        // here). The data and `n` more bytes are within the buffer.
        unsafe {
            let last = &mut *last;
            let end = data(last).add(usize::from(last.data_len));
            last.data_len += n as u16;
            Some(slice::from_raw_parts_mut(end, n))
        }
    }

    /// Keeps the first `n` bytes and removes the rest; nothing if there are not more. Segments that would be empty are freed, but
    /// for the first.
    pub fn truncate(&mut self, n: usize) {
        if n >= self.len() {
            return;
        }
        let mut left = n;
        let mut kept = 1;
        let mut segment = self.as_ptr();
        // SAFETY: `segment` walks this chain, which is borrowed uniquely. `left` is less than the bytes from `segment` on, so the walk
        // ends within the chain. The cut-off part is freed once and no longer linked.
        unsafe {
            while left > usize::from((*segment).data_len) {
                left -= usize::from((*segment).data_len);
                segment = (*segment).next;
                kept += 1;
            }
            (*segment).data_len = left as u16;
            let rest = (*segment).next;
            (*segment).next = ptr::null_mut();
            if !rest.is_null() {
                dpdk_sys::shim_pktmbuf_free(rest);
            }
        }
        let raw = self.raw_mut();
        raw.pkt_len = n as u32;
        raw.nb_segs = kept;
    }

    /// Makes the first `n` bytes contiguous in the first segment. False, and no change, if the packet is shorter or the first
    /// segment's buffer is too small. Takes from the headroom only if the tailroom does not suffice.
    #[inline(always)]
    #[must_use]
    pub fn pull_up(&mut self, n: usize) -> bool {
        n <= usize::from(self.raw().data_len) || self.pull_up_from_next(n)
    }

    #[cold]
    fn pull_up_from_next(&mut self, n: usize) -> bool {
        let first = self.raw_mut();
        if n > first.pkt_len as usize || n > usize::from(first.buf_len) {
            return false;
        }
        let have = usize::from(first.data_len);
        let mut need = n - have;
        let room = tailroom(first);
        if need > room {
            let shift = need - room;
            let from = data(first);
            // `n` is at most buf_len = data_off + have + room, so `shift` is at most data_off.
            first.data_off -= shift as u16;
            // SAFETY: both ranges of `have` bytes are within the buffer; they may overlap.
            unsafe { ptr::copy(from, data(first), have) };
        }
        while need > 0 {
            // SAFETY: `need` is at most what the segments behind the first still hold, so there is a next one; segments have buffers
            // of their own, so the ranges do not overlap; the first has room for `need` bytes behind its data. A segment that is
            // empty is unlinked, then freed once.
            unsafe {
                let next = &mut *first.next;
                let take = need.min(usize::from(next.data_len));
                let end = data(first).add(usize::from(first.data_len));
                ptr::copy_nonoverlapping(data(next), end, take);
                first.data_len += take as u16;
                next.data_off += take as u16;
                next.data_len -= take as u16;
                need -= take;
                if next.data_len == 0 {
                    let empty = first.next;
                    first.next = next.next;
                    first.nb_segs -= 1;
                    dpdk_sys::shim_pktmbuf_free_seg(empty);
                }
            }
        }
        true
    }

    /// Puts `tail` behind the last segment; what it knows besides bytes is lost. Gives it back if the chain would have more than
    /// 65,535 segments or 2^32 - 1 bytes.
    pub fn chain(&mut self, tail: Mbuf) -> Result<(), Mbuf> {
        let head = self.raw();
        let behind = tail.raw();
        let (Some(segments), Some(length)) = (
            head.nb_segs.checked_add(behind.nb_segs),
            head.pkt_len.checked_add(behind.pkt_len),
        ) else {
            return Err(tail);
        };
        let last = self.last();
        // SAFETY: `last` is in this chain, which is borrowed uniquely; `tail` is owned and from here on a part of it. DPDK wants the
        // counts of whole chains in their first segments only.
        unsafe {
            let tail = tail.into_raw().as_ptr();
            (*last).next = tail;
            (*tail).pkt_len = u32::from((*tail).data_len);
            (*tail).nb_segs = 1;
        }
        let raw = self.raw_mut();
        raw.nb_segs = segments;
        raw.pkt_len = length;
        Ok(())
    }

    /// A deep copy: the bytes of the whole chain, in as few segments as the pool's data room allows, the metadata and the private
    /// area. The headroom is the same, if that leaves room in the copy's buffer; else it is the pool's usual one. None if the pool
    /// is exhausted.
    #[must_use]
    pub fn copy(&self, pool: &Pool) -> Option<Mbuf> {
        let mut copy = pool.alloc()?;
        let from = self.raw();
        let to = copy.raw_mut();
        fields::copy_metadata(from, to);
        if from.data_off < to.buf_len {
            to.data_off = from.data_off;
        }
        let private = self.private();
        let copied = private.len().min(copy.private().len());
        copy.private_mut()[..copied].copy_from_slice(&private[..copied]);
        for bytes in self.segments_iter() {
            copy.append_copy(pool, bytes)?;
        }
        Some(copy)
    }

    /// A packet of its own with the bytes of `front` and then `length` bytes from `start` on of this one, fewer where it ends, behind
    /// the pool's usual headroom and without metadata. None if the pool is exhausted.
    #[must_use]
    pub fn copy_part(
        &self,
        pool: &Pool,
        front: &[u8],
        start: usize,
        length: usize,
    ) -> Option<Mbuf> {
        let mut part = pool.alloc()?;
        part.append_copy(pool, front)?;
        let (mut skip, mut left) = (start, length);
        for segment in self.segments_iter() {
            let bytes = segment.get(skip.min(segment.len())..).unwrap_or_default();
            skip -= skip.min(segment.len());
            let bytes = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            left -= bytes.len();
            part.append_copy(pool, bytes)?;
        }
        Some(part)
    }

    /// Adds a copy of these bytes behind the last segment, in further segments where its tailroom is not enough.
    fn append_copy(&mut self, pool: &Pool, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let room = self.tailroom();
            if room == 0 {
                let mut more = pool.alloc()?;
                more.raw_mut().data_off = 0;
                self.chain(more).ok()?;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.append(now.len())?.copy_from_slice(now);
            bytes = later;
        }
        Some(())
    }

    /// The last segment.
    #[inline]
    fn last(&self) -> *mut rte_mbuf {
        let mut segment = self.as_ptr();
        // SAFETY: the chain is valid while it is owned, and ends in a null pointer.
        unsafe {
            while !(*segment).next.is_null() {
                segment = (*segment).next;
            }
        }
        segment
    }
}

#[inline(always)]
fn tailroom(segment: &rte_mbuf) -> usize {
    usize::from(segment.buf_len - segment.data_off - segment.data_len)
}

/// [`Mbuf::segments_iter`]'s iterator.
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    next: *const rte_mbuf,
    _mbuf: PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: `next` is a segment of the chain that is borrowed for 'a, and `data_off + data_len` is at most the length of its
        // buffer.
        unsafe {
            let segment = &*self.next;
            self.next = segment.next;
            Some(slice::from_raw_parts(
                data(segment),
                usize::from(segment.data_len),
            ))
        }
    }
}

impl FusedIterator for Segments<'_> {}
