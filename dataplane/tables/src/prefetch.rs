//! Asking for a cache line before it is needed: what the compiler cannot check of it is
//! one function.

/// Asks the processor to bring the line of `target`'s first byte into the nearest cache, to be read
/// soon.
///
/// A hint: it never faults, never blocks on the memory, changes nothing that a program can observe
/// but time, and is nothing at all on processors that we know no instruction for. Worth it some
/// tens of nanoseconds before the read, not earlier than the cache can hold.
#[inline(always)]
pub fn read<T>(target: &T) {
    read_at(target);
}

/// The same of each line of `target`: of what is larger than some lines, and is read here and there.
#[inline(always)]
pub fn whole<T>(target: &T) {
    let address: *const T = target;
    for line in 0..size_of::<T>().div_ceil(64) {
        read_at(address.cast::<[u8; 64]>().wrapping_add(line));
    }
}

/// The same of an address that was reckoned and may be anything.
#[inline(always)]
#[allow(unsafe_code)]
pub fn read_at<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: PREFETCHT0 is SSE, which every x86-64 has. It is architecturally a hint: it raises no
    // exception for any address whatever (Intel SDM vol. 2B, PREFETCHh), and reads nothing into the
    // program.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: PRFM is a hint that never generates a synchronous abort (Arm ARM, C6.2 "PRFM"); it
    // writes no register, flag or memory.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hint_leaves_what_it_points_to_alone() {
        let line = [7u64; 8];
        super::read(&line);
        super::read(&());
        super::whole(&[line; 3]);
        assert_eq!(line, [7; 8]);
    }
}
