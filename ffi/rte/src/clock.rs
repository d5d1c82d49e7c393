//! The processor's time-stamp counter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// Cycles of [`tsc`] a second, held against the kernel's clock while EAL started; 0 before [`Eal::init`](crate::Eal::init).
///
/// DPDK's own figure (`rte_get_tsc_hz`) is rounded to 10 MHz where the processor does not say it: 0.15% of a machine of 2.596 GHz, and so
/// much would every rate be off.
#[must_use]
pub fn hz() -> u64 {
    HZ.load(Ordering::Relaxed)
}

static HZ: AtomicU64 = AtomicU64::new(0);

/// How long it takes until one part in a million is more than reading both clocks takes.
const LONG_ENOUGH: Duration = Duration::from_millis(100);
/// Readings of which the one counts that took the shortest: nobody came between.
const TRIES: usize = 10;

/// Both clocks at a time: cycles, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Reading {
    cycles: u64,
    nanoseconds: u64,
}

impl Reading {
    fn now() -> Reading {
        let one = |_| {
            let before = tsc();
            let nanoseconds = raw();
            let took = tsc().wrapping_sub(before);
            let cycles = before.wrapping_add(took / 2);
            (
                took,
                Reading {
                    cycles,
                    nanoseconds,
                },
            )
        };
        let first = one(0);
        let rest = (1..TRIES).map(one);
        rest.fold(
            first,
            |best, next| if next.0 < best.0 { next } else { best },
        )
        .1
    }

    /// Cycles a second from this one to a later one; `None` if a clock stood still.
    fn rate(self, later: Reading) -> Option<u64> {
        let cycles = u128::from(later.cycles.checked_sub(self.cycles)?);
        let nanoseconds = u128::from(later.nanoseconds.checked_sub(self.nanoseconds)?);
        let rate = (cycles * 1_000_000_000).checked_div(nanoseconds)?;
        u64::try_from(rate).ok().filter(|rate| *rate > 0)
    }
}

/// The kernel's clock that nobody adjusts, in nanoseconds.
fn raw() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC_RAW)
}

/// What one of the kernel's clocks says.
fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec, which is this one.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// The time that the calling thread has had a core, in nanoseconds. What others had of it is not in it, as far as the kernel knows: other threads,
/// and other machines on the same processor where the hypervisor says what it takes (steal time). A system call.
#[must_use]
pub fn thread() -> u64 {
    nanoseconds(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The time that EAL takes to start, in which the counter is held against the kernel's clock.
pub(crate) struct Start(Reading);

impl Start {
    pub(crate) fn begin() -> Start {
        Start(Reading::now())
    }

    /// From here on [`hz`] is known.
    pub(crate) fn end(self) {
        let took = Duration::from_nanos(raw().saturating_sub(self.0.nanoseconds));
        std::thread::sleep(LONG_ENOUGH.saturating_sub(took));
        // SAFETY: reads a number that EAL wrote while it started; no preconditions.
        let told = || unsafe { dpdk_sys::rte_get_tsc_hz() };
        let rate = self.0.rate(Reading::now()).unwrap_or_else(told);
        HZ.store(rate, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_what_both_clocks_counted() {
        let at = |cycles, nanoseconds| Reading {
            cycles,
            nanoseconds,
        };
        let from = at(7_000, 500);
        assert_eq!(
            from.rate(at(7_000 + 259_612_334, 500 + 100_000_000)),
            Some(2_596_123_340)
        );
        // Years of a fast counter.
        let years = 100_000_000_000_000_000;
        assert_eq!(
            from.rate(at(7_000 + 5 * years, 500 + years)),
            Some(5_000_000_000)
        );
        for stood_still in [at(7_000, 600), at(8_000, 500), at(6_999, 600)] {
            assert_eq!(from.rate(stood_still), None);
        }
    }

    #[test]
    fn who_sleeps_has_no_core() {
        let before = thread();
        std::thread::sleep(Duration::from_millis(50));
        let slept = thread();
        assert!(slept - before < 50_000_000, "{before} {slept}");
        while thread() == slept {}
    }
}
