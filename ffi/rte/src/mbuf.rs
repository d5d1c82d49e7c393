//! A packet: one owner, freed on drop.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::slice;

use dpdk_sys::rte_mbuf;

/// A packet in DPDK's memory: a chain of one or more segments, owned. Dropping it gives it back to its [`Pool`](crate::Pool).
///
/// The whole chain is this owner's alone: its reference counts are 1. It can move to another thread, but is not shared between
/// threads (`Send`, not `Sync`), and there is no `Clone`; see [`Mbuf::copy`].
///
/// What is about more segments than the first is in `chain.rs`, what a driver knows of the packet in `metadata.rs`.
#[repr(transparent)]
pub struct Mbuf {
    raw: NonNull<rte_mbuf>,
    _owned: PhantomData<rte_mbuf>,
}

// SAFETY: an mbuf belongs to no thread: any thread may free it, and nobody else has a pointer to it.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes an mbuf over from C.
    ///
    /// # Safety
    /// `raw` heads a valid chain, from a pool that lives as long as the process, whose `nb_segs` and `pkt_len` are right and whose
    /// reference counts are 1; nobody else uses it from now on.
    #[inline(always)]
    #[must_use]
    pub unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf {
            raw,
            _owned: PhantomData,
        }
    }

    /// Hands the mbuf over to C, which has to free it.
    #[inline(always)]
    #[must_use]
    pub fn into_raw(self) -> NonNull<rte_mbuf> {
        ManuallyDrop::new(self).raw
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut rte_mbuf {
        self.raw.as_ptr()
    }

    /// The first segment's descriptor.
    #[inline(always)]
    pub(crate) fn raw(&self) -> &rte_mbuf {
        // SAFETY: the mbuf is valid while it is owned, and it is this owner's alone, so nobody writes to it during the borrow.
        unsafe { self.raw.as_ref() }
    }

    /// The first segment's descriptor.
    #[inline(always)]
    pub(crate) fn raw_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as `raw`, and the borrow is unique.
        unsafe { self.raw.as_mut() }
    }

    /// Bytes in the whole chain.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw().pkt_len as usize
    }

    /// True if the whole chain has no bytes.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Segments in the chain: 1 or more.
    #[inline(always)]
    #[must_use]
    pub fn segments(&self) -> usize {
        usize::from(self.raw().nb_segs)
    }

    /// The first segment's bytes.
    #[inline(always)]
    #[must_use]
    pub fn head(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: `data_off + data_len` is at most `buf_len`, the size of the buffer at `buf_addr`, which is this owner's alone and
        // lies beside the descriptor, not within it.
        unsafe { slice::from_raw_parts(data(raw), usize::from(raw.data_len)) }
    }

    /// The first segment's bytes, to change.
    #[inline(always)]
    #[must_use]
    pub fn head_mut(&mut self) -> &mut [u8] {
        let raw = self.raw();
        // SAFETY: as `head`, and the borrow is unique.
        unsafe { slice::from_raw_parts_mut(data(raw), usize::from(raw.data_len)) }
    }

    /// Bytes that [`Mbuf::prepend`] can add.
    #[inline(always)]
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.raw().data_off)
    }

    /// Adds `n` bytes in front and returns them, with whatever was there; None, and no change, if the headroom is smaller.
    #[inline(always)]
    #[must_use]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let raw = self.raw_mut();
        if n > usize::from(raw.data_off) {
            return None;
        }
        let length = raw.pkt_len.checked_add(n as u32)?;
        // `n` is at most data_off, a u16; the data stays within the buffer, whose length is a u16 too.
        raw.data_off -= n as u16;
        raw.data_len += n as u16;
        raw.pkt_len = length;
        Some(&mut self.head_mut()[..n])
    }

    /// Makes a fresh mbuf hold the first `len` bytes of `lines`, and returns them. Whole lines are written, which costs less than what
    /// is left over by itself. None, and no change, if there are not so many bytes, if it has more than one segment, or too little room.
    #[inline(always)]
    #[must_use]
    pub fn fill(&mut self, lines: &[[u8; 64]], len: u16) -> Option<&mut [u8]> {
        let raw = self.raw_mut();
        let room = usize::from(raw.buf_len).checked_sub(usize::from(raw.data_off))?;
        let bytes = size_of_val(lines);
        if bytes > room || usize::from(len) > bytes || raw.nb_segs != 1 {
            return None;
        }
        let to: *mut [u8; 64] = data(raw).cast();
        // SAFETY: the buffer has room for all lines from data_off on, checked above, and is this owner's alone; an array of bytes lies
        // at any address.
        unsafe {
            match lines {
                [line] => to.write(*line),
                lines => ptr::copy_nonoverlapping(lines.as_ptr(), to, lines.len()),
            }
        }
        raw.data_len = len;
        raw.pkt_len = u32::from(len);
        Some(self.head_mut())
    }

    /// The same of a number of bytes that is known beforehand.
    #[inline(always)]
    #[must_use]
    pub fn prepend_array<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        const { assert!(N <= u16::MAX as usize) }
        let raw = self.raw_mut();
        if N > usize::from(raw.data_off) {
            return None;
        }
        // `N` is at most data_off; data_off + data_len, which stays as it is, is at most the buffer's length. A chain of u16::MAX
        // segments of u16::MAX bytes would leave as much room in pkt_len.
        raw.data_off -= N as u16;
        raw.data_len += N as u16;
        raw.pkt_len += N as u32;
        // SAFETY: as `head_mut`, whose first `N` bytes these are.
        Some(unsafe { &mut *data(raw).cast::<[u8; N]>() })
    }

    /// Removes the first `n` bytes; false, and no change, if the first segment has fewer.
    #[inline(always)]
    #[must_use]
    pub fn trim_front(&mut self, n: usize) -> bool {
        let raw = self.raw_mut();
        if n > usize::from(raw.data_len) {
            return false;
        }
        raw.data_off += n as u16;
        raw.data_len -= n as u16;
        raw.pkt_len -= n as u32;
        true
    }

    /// The pool's private area: as many bytes as the pool was made with, whatever the last owner left in them.
    #[inline(always)]
    #[must_use]
    pub fn private(&self) -> &[u8] {
        let length = usize::from(self.raw().priv_size);
        // SAFETY: in a pool's element the private area, of `priv_size` bytes, follows the descriptor (rte_mbuf_to_priv).
        unsafe { slice::from_raw_parts(self.raw.as_ptr().add(1).cast(), length) }
    }

    /// The pool's private area, to change.
    #[inline(always)]
    #[must_use]
    pub fn private_mut(&mut self) -> &mut [u8] {
        let length = usize::from(self.raw().priv_size);
        // SAFETY: as `private`, and the borrow is unique.
        unsafe { slice::from_raw_parts_mut(self.raw.as_ptr().add(1).cast(), length) }
    }
}

/// A segment's first byte.
#[inline(always)]
pub(crate) fn data(raw: &rte_mbuf) -> *mut u8 {
    raw.buf_addr
        .cast::<u8>()
        .wrapping_add(usize::from(raw.data_off))
}

impl Drop for Mbuf {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: this owner's alone, and not used again.
        unsafe { dpdk_sys::shim_pktmbuf_free(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("segments", &self.segments())
            .field("headroom", &self.headroom())
            .field("port", &self.port())
            .finish_non_exhaustive()
    }
}

/// From a descriptor to the data of a fresh mbuf, in pools without a private area: no other is worth a prefetch of its own.
const FRESH: usize = size_of::<rte_mbuf>() + crate::HEADROOM as usize;

/// Brings an mbuf's descriptor (its first cache line) closer. Worth it one or two packets ahead.
#[inline(always)]
pub fn prefetch_mbuf(mbuf: &Mbuf) {
    prefetch_read(mbuf.raw.as_ptr().cast());
}

/// Brings both cache lines of an mbuf's descriptor closer, to be written: where another core had them last, asking to read would mean asking twice.
#[inline(always)]
pub fn prefetch_mbuf_for_write(mbuf: &Mbuf) {
    let descriptor: *const u8 = mbuf.raw.as_ptr().cast();
    prefetch_write(descriptor);
    prefetch_write(descriptor.wrapping_add(64));
}

/// Brings the packet's first so many bytes closer, where they are going to be written. Reads the descriptor.
#[inline(always)]
pub fn prefetch_packet_for_write(mbuf: &Mbuf, bytes: usize) {
    let start = data(mbuf.raw());
    for line in 0..bytes.div_ceil(64) {
        prefetch_write(start.wrapping_add(line * 64));
    }
}

/// Brings what another core received and wrote closer: the descriptor's first line, to be written, and the first two lines of its data, to be
/// read, where they are as long as nobody has moved its beginning far. Of the descriptor nothing is read, so that nothing is waited for.
#[inline(always)]
pub fn prefetch_received(mbuf: &Mbuf) {
    let descriptor: *const u8 = mbuf.raw.as_ptr().cast();
    prefetch_write(descriptor);
    prefetch_read(descriptor.wrapping_add(FRESH));
    prefetch_read(descriptor.wrapping_add(FRESH + 64));
}

/// Brings a descriptor's first line and the first so many of its data closer, all to be written, where a fresh mbuf has them. Of the
/// descriptor nothing is read.
#[inline(always)]
pub(crate) fn prefetch_fresh_for_write(mbuf: &Mbuf, lines: usize) {
    let descriptor: *const u8 = mbuf.raw.as_ptr().cast();
    prefetch_write(descriptor);
    for line in 0..lines {
        prefetch_write(descriptor.wrapping_add(FRESH + line * 64));
    }
}

/// Brings the packet's first 64 bytes closer. Reads the descriptor: prefetch that before.
#[inline(always)]
pub fn prefetch_head(mbuf: &Mbuf) {
    prefetch_read(data(mbuf.raw()));
}

/// Brings the 64 bytes in front of the packet closer, where [`Mbuf::prepend`] is going to write. Reads the descriptor.
#[inline(always)]
pub fn prefetch_headroom_for_write(mbuf: &Mbuf) {
    prefetch_write(data(mbuf.raw()).wrapping_sub(64));
}

#[inline(always)]
fn prefetch_read(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is in every x86-64 processor, and a prefetch of any address at all has no effect but on caches.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// As `_mm_prefetch` with a hint to write would: that becomes PREFETCHW only where the target is known to have it, and else, silently, a prefetch
/// to read, after which a line that another core wrote last is asked for a second time.
#[inline(always)]
fn prefetch_write(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: PREFETCHW is a no-op on x86-64 processors without it (Intel SDM, AMD APM), and of any address at all has no effect but on caches.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
