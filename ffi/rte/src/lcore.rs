//! Threads: DPDK's id for one, which gives it mempool caches, and the core it runs on.

use std::marker::PhantomData;

use thiserror::Error;

use crate::error::Cause;
use crate::{Eal, log, pool};

/// Why a thread was not registered or pinned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LcoreError {
    /// This thread has an lcore id already.
    #[error("this thread is lcore {0} already")]
    AlreadyRegistered(u32),
    /// All ids are taken (128 in Debian's build), or EAL refuses.
    #[error("no lcore id for this thread: {0}")]
    Dpdk(Cause),
    /// The core does not exist, or the process may not run there.
    #[error("cannot run on core {core}: {reason}")]
    Core {
        /// The core asked for, as the kernel numbers them.
        core: u32,
        /// What the kernel said.
        reason: String,
    },
}

/// The calling thread's lcore id, held until this is dropped. It stays in its thread (`!Send`).
///
/// A thread without one works too, but each mbuf that it allocates or frees goes to the pool's shared ring, not a cache of its own.
/// [`Eal::init`]'s own thread is lcore 0.
#[derive(Debug)]
pub struct Lcore {
    id: u32,
    /// The id is thread-local in DPDK.
    _of_this_thread: PhantomData<*const ()>,
}

impl Lcore {
    /// Registers the calling thread. It is not pinned: see [`pin_current`].
    pub fn register(_eal: &Eal) -> Result<Lcore, LcoreError> {
        if let Some(id) = lcore_id() {
            return Err(LcoreError::AlreadyRegistered(id));
        }
        let mark = log::mark();
        // SAFETY: EAL runs (`_eal`), and this thread is not registered yet, checked above.
        if unsafe { dpdk_sys::rte_thread_register() } != 0 {
            return Err(LcoreError::Dpdk(Cause::of_rte_errno(
                "rte_thread_register",
                mark,
            )));
        }
        match lcore_id() {
            Some(id) => Ok(Lcore {
                id,
                _of_this_thread: PhantomData,
            }),
            None => Err(LcoreError::Dpdk(Cause::new(
                "rte_thread_register",
                libc::ENOMEM,
                mark,
            ))),
        }
    }

    /// From 1 to 127. Another thread may get it after this is dropped.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Lcore {
    fn drop(&mut self) {
        // Else up to 1.5 caches of mbufs would wait for the next thread that gets this id, out of everybody's reach.
        pool::flush_own_caches();
        // SAFETY: this thread was registered by `register` and is the same, as Lcore is not Send.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}

/// The calling thread's lcore id, if it has one.
#[must_use]
pub fn lcore_id() -> Option<u32> {
    // SAFETY: reads a thread-local variable of DPDK's; no preconditions.
    let id = unsafe { dpdk_sys::shim_lcore_id() };
    (id < dpdk_sys::RTE_MAX_LCORE).then_some(id)
}

/// The cores on which the calling thread may run, in ascending order, as the kernel numbers them.
#[must_use]
pub fn available_cores() -> Vec<u32> {
    // SAFETY: cpu_set_t is an array of integers, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: pid 0 is the calling thread; `set` is writable and its size is the one given.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0 {
        return Vec::new();
    }
    (0..libc::CPU_SETSIZE as u32)
        // SAFETY: the index is below CPU_SETSIZE, the number of bits in the set.
        .filter(|core| unsafe { libc::CPU_ISSET(*core as usize, &set) })
        .collect()
}

/// Binds the calling thread to one core.
pub fn pin_current(core: u32) -> Result<(), LcoreError> {
    let refused = |reason: String| LcoreError::Core { core, reason };
    if core >= libc::CPU_SETSIZE as u32 {
        return Err(refused(format!("the highest is {}", libc::CPU_SETSIZE - 1)));
    }
    // SAFETY: cpu_set_t is an array of integers, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the index is below CPU_SETSIZE, checked above.
    unsafe { libc::CPU_SET(core as usize, &mut set) };
    // SAFETY: pid 0 is the calling thread; `set` is readable and its size is the one given.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } != 0 {
        return Err(refused(std::io::Error::last_os_error().to_string()));
    }
    Ok(())
}

/// Has the kernel end the calling thread's sleeps when they are over, rather than up to 50 µs later (the timer slack of threads
/// that do not ask).
pub fn wake_in_time() {
    // SAFETY: a number for the calling thread alone; no pointers. It cannot fail (prctl(2)).
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}
