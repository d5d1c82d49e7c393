//! Where mbufs come from.

use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use dpdk_sys::rte_mempool;
use thiserror::Error;

use crate::error::Cause;
use crate::mbuf::Mbuf;
use crate::{Burst, Eal, log};

/// Bytes in front of a packet's data in a fresh mbuf: room for an encapsulation.
pub const HEADROOM: u16 = dpdk_sys::RTE_PKTMBUF_HEADROOM as u16;

/// Why a pool was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PoolError {
    /// A name has 1 to 25 bytes, none of them NUL.
    #[error("pool name {0:?}: 1 to 25 bytes, none of them NUL")]
    Name(String),
    /// The data room includes the headroom and must leave something beside it.
    #[error("a data room of {0} bytes leaves nothing beside the headroom of 128")]
    DataRoom(u16),
    /// The private area's size is a multiple of 8.
    #[error("a private area of {0} bytes: the size must be a multiple of 8")]
    Private(u16),
    /// DPDK refused: no memory, a name that is taken, or a cache that is too large.
    #[error("pool {name:?} was not made: {cause}")]
    Dpdk {
        /// The pool's name.
        name: String,
        /// What DPDK said.
        cause: Cause,
    },
}

/// A pool of mbufs: a handle that can be copied and used from any thread.
///
/// The pool lives as long as the process: it outlives every port, so no [`Mbuf`] can outlive its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    raw: NonNull<rte_mempool>,
}

// SAFETY: a mempool's functions may be called from any thread (its ring is multi-producer and multi-consumer, a cache is used by the
// thread whose lcore id it has), and it is never freed.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// All pools, for a thread that gives up its lcore id.
static POOLS: Mutex<Vec<Pool>> = Mutex::new(Vec::new());

impl Pool {
    /// Makes a pool.
    ///
    /// - `mbufs`: how many; 2^n - 1 wastes the least memory.
    /// - `cache`: mbufs that each lcore keeps for itself, at most 512 and two thirds of `mbufs`; 0 for none.
    /// - `data_room`: bytes in each mbuf, of which the first [`HEADROOM`] are headroom. 2176 holds a frame of 2048.
    /// - `private`: bytes for [`Mbuf::private`], a multiple of 8.
    /// - `socket`: the NUMA node; None for any.
    pub fn create(
        _eal: &Eal,
        name: &str,
        mbufs: u32,
        cache: u32,
        data_room: u16,
        private: u16,
        socket: Option<u32>,
    ) -> Result<Pool, PoolError> {
        if data_room <= HEADROOM {
            return Err(PoolError::DataRoom(data_room));
        }
        if !private.is_multiple_of(8) {
            return Err(PoolError::Private(private));
        }
        let c_name = match CString::new(name) {
            Ok(c_name) if (1..=25).contains(&name.len()) => c_name,
            _ => return Err(PoolError::Name(name.to_owned())),
        };
        let socket = socket.map_or(-1, |socket| socket as libc::c_int);
        let mark = log::mark();
        // SAFETY: EAL runs (`_eal`); `c_name` ends in NUL and is copied by the call; the other arguments are numbers that the call
        // checks.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(
                c_name.as_ptr(),
                mbufs,
                cache,
                private,
                data_room,
                socket,
            )
        };
        let Some(raw) = NonNull::new(raw) else {
            return Err(PoolError::Dpdk {
                name: name.to_owned(),
                cause: Cause::of_rte_errno("rte_pktmbuf_pool_create", mark),
            });
        };
        let pool = Pool { raw };
        POOLS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pool);
        Ok(pool)
    }

    /// An empty mbuf with [`HEADROOM`] bytes in front; None if the pool is exhausted.
    #[inline]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool was made by rte_pktmbuf_pool_create and lives as long as the process.
        let raw = unsafe { dpdk_sys::shim_pktmbuf_alloc(self.raw.as_ptr()) };
        // SAFETY: a fresh mbuf has reference count 1, one segment, and nobody else knows it.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Adds `count` empty mbufs to `burst`, or none: false if the pool or the burst has not as many.
    #[inline]
    #[must_use]
    pub fn alloc_bulk(&self, burst: &mut Burst, count: usize) -> bool {
        let room = burst.room();
        if count > room.len() {
            return false;
        }
        // SAFETY: `room` has at least `count` slots, each the size of a pointer; on success all `count` are written with fresh
        // mbufs that nobody else knows, on failure none.
        unsafe {
            let slots = room.as_mut_ptr().cast();
            if dpdk_sys::shim_pktmbuf_alloc_bulk(self.raw.as_ptr(), slots, count as u32) != 0 {
                return false;
            }
            burst.grow(count);
        }
        true
    }

    /// Adds `count` mbufs to `burst`, or none, as their last owners left them; [`Burst::renew`] makes them empty.
    #[inline]
    pub(crate) fn take_bulk(&self, burst: &mut Burst, count: usize) -> bool {
        let room = burst.room();
        if count > room.len() {
            return false;
        }
        // SAFETY: as `alloc_bulk`. What is in a pool has reference count 1, one segment and no next (rte_mbuf_raw_alloc); its offset and
        // length are its last owner's, within the buffer, or those of rte_pktmbuf_init.
        unsafe {
            let slots = room.as_mut_ptr().cast();
            if dpdk_sys::shim_pktmbuf_take_bulk(self.raw.as_ptr(), slots, count as u32) != 0 {
                return false;
            }
            burst.grow(count);
        }
        true
    }

    /// Mbufs in the pool, caches included. Exact when nobody allocates or frees; walks all lcores, so it is not for the path.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives; the count reads counters that other threads may be changing, which makes it inexact, not invalid.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// Mbufs out of the pool: in queues, rings, drivers and hands. Exact as [`Pool::available`] is.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        // SAFETY: as `available`.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.raw.as_ptr()) }
    }

    /// How many mbufs it was made with.
    #[must_use]
    pub fn size(&self) -> u32 {
        // SAFETY: the pool lives and its size does not change after it was made.
        unsafe { (*self.raw.as_ptr()).size }
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> String {
        // SAFETY: the name is an array within the pool, ends in NUL and does not change.
        let name = unsafe { CStr::from_ptr((*self.raw.as_ptr()).name.as_ptr()) };
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn as_ptr(&self) -> *mut rte_mempool {
        self.raw.as_ptr()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// Gives back what the calling lcore has in its caches.
pub(crate) fn flush_own_caches() {
    for pool in POOLS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // SAFETY: the pool lives; the cache is the calling thread's own, and nobody else uses it.
        unsafe { dpdk_sys::shim_mempool_flush_own_cache(pool.as_ptr()) };
    }
}
