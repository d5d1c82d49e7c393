//! The processor's time-stamp counter.

/// The counter now, in cycles of [`hz`]. About 20 cycles; not a barrier, so neighbouring instructions may run before or after it.
#[inline(always)]
#[must_use]
pub fn tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: RDTSC is in every x86-64 processor and Linux leaves it to user space.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // SAFETY: reads a counter; no arguments, no preconditions.
        unsafe { dpdk_sys::shim_rdtsc() }
    }
}

/// Cycles of [`tsc`] a second, as EAL measured them; 0 before [`Eal::init`](crate::Eal::init).
#[must_use]
pub fn hz() -> u64 {
    // SAFETY: reads a number that EAL wrote while it started; no preconditions.
    unsafe { dpdk_sys::rte_get_tsc_hz() }
}
