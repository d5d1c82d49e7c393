//! Work under another process number.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

/// Of the stack for it: drivers' probes want a few KiB.
const STACK: usize = 256 << 10;

/// What is to be done, and its result.
struct Job<T> {
    work: fn(&T) -> c_int,
    on: T,
    result: Option<c_int>,
}

/// Does `work` in a process that shares this one's memory and descriptors and has a number of its own, and waits for it. What is opened
/// stays open here. None if the kernel makes no such process.
///
/// For net_af_packet (22.11), which makes the number of a socket's group of getpid() and the interface's index by exclusive or: in one
/// network namespace another process's socket may have that number, for as long as it lives, and the kernel refuses (packet(7),
/// PACKET_FANOUT).
///
/// # Safety
/// `work` makes no threads, does not unwind, and asks for no more stack than a quarter of a mebibyte.
pub(crate) unsafe fn under_another_pid<T>(on: T, work: fn(&T) -> c_int) -> Option<c_int> {
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK / 16);
    let mut job = Job {
        work,
        on,
        result: None,
    };
    // As vfork(2): this thread waits, so that its thread-local storage, which the other process uses, has one user at a time. No
    // signal's handler runs there: handlers are not for two processes.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_FS;
    // SAFETY: the masks are written before they are read; the stack is 16-aligned, grows down from its end and lives until the process,
    // which ends when `run` returns, has ended: CLONE_VFORK. `job` lives as long and nobody else looks at it meanwhile.
    unsafe {
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let top = stack.as_mut_ptr().add(STACK / 16);
        let child = libc::clone(
            run::<T>,
            top.cast(),
            // No signal at its end: nobody's handler of SIGCHLD hears of it.
            flags,
            ptr::from_mut(&mut job).cast::<c_void>(),
        );
        if child > 0 {
            // __WALL: also of one that ends without SIGCHLD.
            while libc::waitpid(child, ptr::null_mut(), libc::__WALL) < 0
                && *libc::__errno_location() == libc::EINTR
            {}
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
    }
    job.result
}

extern "C" fn run<T>(job: *mut c_void) -> c_int {
    // SAFETY: `under_another_pid` gave it, and waits.
    let job = unsafe { &mut *job.cast::<Job<T>>() };
    job.result = Some((job.work)(&job.on));
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::sync::atomic::{AtomicI32, Ordering};

    #[test]
    fn the_number_is_another_and_what_was_opened_stays_open() {
        let seen = AtomicI32::new(0);
        // SAFETY: two system calls.
        let opened = unsafe {
            under_another_pid(&seen, |seen| {
                seen.store(std::process::id() as i32, Ordering::Relaxed);
                libc::dup(2)
            })
        };
        let other = seen.into_inner();
        assert!(other > 0 && other != std::process::id() as i32, "{other}");
        let fd = opened.expect("a process");
        // SAFETY: it was opened for this test alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        assert!(fd.try_clone().is_ok());
        // It has gone, and was waited for.
        assert!(!std::path::Path::new(&format!("/proc/{other}")).exists());
    }
}
