//! Large pages for memory that the heap gave.

use std::ops::Range;

/// Bytes of a large page on x86-64.
const PAGE: usize = 2 << 20;

/// Asks the kernel to back memory of this process with large pages (madvise(2): MADV_HUGEPAGE, and MADV_COLLAPSE where the kernel has
/// it, from 6.1 on, so that what was touched already moves at once): a table that is read at random then costs a page walk less a
/// read. A hint: whole pages within `memory` alone, and where the kernel does not do it nothing changes. Returns whether it took it.
///
/// It may take as long as to copy that memory; who reads or writes it meanwhile may be made to wait for a page.
pub fn ask_for_hugepages(memory: Range<*const u8>) -> bool {
    let start = memory.start.addr().next_multiple_of(PAGE);
    let end = memory.end.addr() / PAGE * PAGE;
    if start >= end {
        return false;
    }
    let address = memory.start.with_addr(start).cast_mut().cast();
    // SAFETY: both advices leave what is in the memory as it is, whosever it is, and change nothing for who reads or writes it but
    // time; on addresses that are not mapped the kernel refuses.
    unsafe {
        libc::madvise(address, end - start, libc::MADV_HUGEPAGE) == 0
            && libc::madvise(address, end - start, libc::MADV_COLLAPSE) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kilobytes in large pages of the mapping that has this address, by smaps of proc(5).
    fn huge(address: usize) -> u64 {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line
                .split_once(' ')
                .and_then(|(range, _)| range.split_once('-'));
            let hex = |text| usize::from_str_radix(text, 16).ok();
            if let Some((start, end)) =
                range.and_then(|(start, end)| Some((hex(start)?, hex(end)?)))
            {
                inside = (start..end).contains(&address);
            } else if let Some(rest) = line.strip_prefix("AnonHugePages:")
                && inside
            {
                return rest.trim().trim_end_matches(" kB").parse().unwrap();
            }
        }
        panic!("no mapping has {address:x}")
    }

    #[test]
    fn memory_stays_what_it_was_and_is_in_large_pages_if_the_kernel_said_so() {
        let memory: Vec<u64> = (0..2 << 20).collect();
        let range = memory.as_ptr_range();
        let took = ask_for_hugepages(range.start.cast()..range.end.cast());
        if took {
            assert!(huge(range.start.addr() + (8 << 20)) >= 7 * 2048);
        }
        assert!(memory.iter().zip(0..).all(|(own, number)| *own == number));
    }

    #[test]
    fn less_than_a_page_is_left_alone() {
        let memory = vec![1u8; PAGE];
        let range = memory[1..].as_ptr_range();
        assert!(!ask_for_hugepages(range));
    }
}
