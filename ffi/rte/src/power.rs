//! A core's pauses: shorter than any sleep, and cheaper than looking again at once.

/// How this processor pauses.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    timed: bool,
}

impl Pauses {
    /// What this processor has: TPAUSE (WAITPKG: Intel since Tremont and Sapphire Rapids; WFE on aarch64), else PAUSE.
    #[must_use]
    pub fn of_this_cpu() -> Pauses {
        // SAFETY: a struct of flags, for which all zeroes is a value.
        let mut has: dpdk_sys::rte_cpu_intrinsics = unsafe { std::mem::zeroed() };
        // SAFETY: writes the flags; no preconditions.
        unsafe { dpdk_sys::rte_cpu_get_intrinsics_support(&mut has) };
        Pauses {
            timed: has.power_pause() != 0,
        }
    }

    /// Whether it can be told how long: then the core rests meanwhile (C0.2).
    #[must_use]
    pub fn are_timed(self) -> bool {
        self.timed
    }

    /// Pauses for at most so many TSC cycles; without a timed pause, for some ten nanoseconds. May end sooner.
    #[inline]
    pub fn pause(self, cycles: u64) {
        if self.timed {
            let until = crate::clock::tsc().saturating_add(cycles);
            // SAFETY: the processor has the instruction: DPDK said so. It returns at that time or before.
            unsafe { dpdk_sys::rte_power_pause(until) };
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends() {
        let pauses = Pauses::of_this_cpu();
        for _ in 0..1000 {
            pauses.pause(1000);
        }
        // The kernel names the same instruction waitpkg.
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if cfg!(target_arch = "x86_64") && !cpu.is_empty() {
            assert_eq!(pauses.are_timed(), cpu.contains(" waitpkg"));
        }
    }
}
