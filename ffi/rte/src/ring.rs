//! A ring of mbufs between two threads.

use std::cell::Cell;
use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys::rte_ring;
use thiserror::Error;

use crate::error::Cause;
use crate::{Burst, Eal, log};

/// Why a ring was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RingError {
    /// A name has 1 to 28 bytes, none of them NUL.
    #[error("ring name {0:?}: 1 to 28 bytes, none of them NUL")]
    Name(String),
    /// DPDK refused: no memory, no memory zone, or a name that is taken.
    #[error("ring {name:?} was not made: {cause}")]
    Dpdk {
        /// The ring's name.
        name: String,
        /// What DPDK said.
        cause: Cause,
    },
}

/// Makes rings of mbufs: one thread puts in, one takes out, neither waits.
#[derive(Debug)]
pub enum Ring {}

/// The end that puts mbufs in: of one thread at a time.
#[derive(Debug)]
pub struct RingProducer {
    ring: Arc<Shared>,
    _one_owner: PhantomData<Cell<()>>,
}

/// The end that takes mbufs out: of one thread at a time.
#[derive(Debug)]
pub struct RingConsumer {
    ring: Arc<Shared>,
    _one_owner: PhantomData<Cell<()>>,
}

/// Freed, with the mbufs in it, when both ends are dropped.
#[derive(Debug)]
struct Shared {
    raw: NonNull<rte_ring>,
}

// SAFETY: the ring is used through the two ends only, each by one thread at a time, and it was made for one producer and one
// consumer at once; the mbufs in it may move between threads.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Ring {
    /// Makes a ring for `capacity` mbufs (up to 2^30) near NUMA node `socket`, None for any. Names are unique among rings and pools.
    pub fn create(
        _eal: &Eal,
        name: &str,
        capacity: u32,
        socket: Option<u32>,
    ) -> Result<(RingProducer, RingConsumer), RingError> {
        let c_name = match CString::new(name) {
            Ok(c_name) if (1..=28).contains(&name.len()) => c_name,
            _ => return Err(RingError::Name(name.to_owned())),
        };
        let socket = socket.map_or(-1, |socket| socket as libc::c_int);
        let flags = dpdk_sys::RING_F_SP_ENQ | dpdk_sys::RING_F_SC_DEQ | dpdk_sys::RING_F_EXACT_SZ;
        let mark = log::mark();
        // SAFETY: EAL runs (`_eal`); `c_name` ends in NUL and is copied by the call; the other arguments are checked by the call.
        let raw = unsafe { dpdk_sys::rte_ring_create(c_name.as_ptr(), capacity, socket, flags) };
        let Some(raw) = NonNull::new(raw) else {
            return Err(RingError::Dpdk {
                name: name.to_owned(),
                cause: Cause::of_rte_errno("rte_ring_create", mark),
            });
        };
        let ring = Arc::new(Shared { raw });
        let producer = RingProducer {
            ring: Arc::clone(&ring),
            _one_owner: PhantomData,
        };
        let consumer = RingConsumer {
            ring,
            _one_owner: PhantomData,
        };
        Ok((producer, consumer))
    }
}

impl RingProducer {
    /// Puts the burst's mbufs in and returns how many found room: the first ones. The rest stays in the burst, moved to its front.
    #[inline]
    pub fn enqueue(&mut self, burst: &mut Burst) -> usize {
        let count = burst.len() as u32;
        // SAFETY: the ring lives while an end does, and this is its only producer. The first `count` slots hold mbufs that the burst
        // owns; the ring owns the first `taken` from here on, and they are forgotten.
        unsafe {
            let slots = burst.as_raw().cast_const().cast();
            let taken = dpdk_sys::shim_ring_sp_enqueue_burst(self.ring.raw.as_ptr(), slots, count);
            burst.forget_first(taken as usize);
            taken as usize
        }
    }

    /// Mbufs in the ring; the other end may be taking some meanwhile.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// True if it has none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Mbufs that it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}

impl RingConsumer {
    /// Takes out up to what `burst` has room for, behind what is in it, and returns how many.
    #[inline]
    pub fn dequeue(&mut self, burst: &mut Burst) -> usize {
        let room = burst.room();
        let count = room.len() as u32;
        // SAFETY: the ring lives while an end does, and this is its only consumer. `room` has `count` slots, each the size of a
        // pointer; the first `taken` are filled with mbufs that the ring owned, as it holds nothing else, and owns no longer.
        unsafe {
            let slots = room.as_mut_ptr().cast();
            let taken = dpdk_sys::shim_ring_sc_dequeue_burst(self.ring.raw.as_ptr(), slots, count);
            burst.grow(taken as usize);
            taken as usize
        }
    }

    /// Mbufs in the ring; the other end may be adding some meanwhile.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// True if it has none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Mbufs that it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}

impl Shared {
    #[inline]
    fn len(&self) -> usize {
        // SAFETY: the ring lives; the count reads two indices that other threads may be moving, which makes it inexact, not invalid.
        unsafe { dpdk_sys::shim_ring_count(self.raw.as_ptr()) as usize }
    }

    fn capacity(&self) -> usize {
        // SAFETY: the ring lives and its capacity does not change.
        unsafe { dpdk_sys::shim_ring_capacity(self.raw.as_ptr()) as usize }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut burst = Burst::new();
        loop {
            let room = burst.room();
            // SAFETY: both ends are gone, so nobody else uses the ring; otherwise as `dequeue`.
            unsafe {
                let (slots, count) = (room.as_mut_ptr().cast(), room.len() as u32);
                let taken = dpdk_sys::shim_ring_sc_dequeue_burst(self.raw.as_ptr(), slots, count);
                burst.grow(taken as usize);
            }
            if burst.is_empty() {
                break;
            }
            burst.clear();
        }
        // SAFETY: made by rte_ring_create, empty, and nobody else has a pointer to it.
        unsafe { dpdk_sys::rte_ring_free(self.raw.as_ptr()) };
    }
}
