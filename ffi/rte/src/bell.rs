//! What a thread sleeps at: its bell, which others ring, the interrupts of its queues, and a time.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::RxQueue;

/// Descriptors that are heard at once: the bell's and a queue's of every port that there can be.
const HEARD: usize = 1 + dpdk_sys::RTE_MAX_ETHPORTS as usize;

/// Of linux/membarrier.h, which the libc crate does not have.
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// One thread's. It counts: rung while nobody sleeps at it, it ends the next sleep at once.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// One that nobody has rung; `None` where the kernel has none to give, or no [`seen_by_all`].
    #[must_use]
    pub fn new() -> Option<Bell> {
        // SAFETY: system calls on numbers; the descriptor is nobody else's.
        unsafe {
            let joined = libc::syscall(libc::SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0, 0);
            match libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) {
                fd if fd >= 0 && joined == 0 => Some(Bell(OwnedFd::from_raw_fd(fd))),
                -1 => None,
                fd => {
                    drop(OwnedFd::from_raw_fd(fd));
                    None
                }
            }
        }
    }

    /// Ends the sleep, or the next one. From any thread.
    pub fn ring(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes of an integer, to a descriptor that is open as long as `self`. A counter that is full is a bell that was rung.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Sleeps until somebody rings, one of these queues has something and its interrupt was on, or the time is over. Whether a queue
    /// has: interrupts that counted are taken note of.
    pub fn sleep<'a>(&self, queues: impl Iterator<Item = &'a RxQueue>, time: Duration) -> bool {
        let nobody = libc::pollfd {
            fd: -1,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut heard = [nobody; HEARD];
        let mut counts = [true; HEARD];
        heard[0].fd = self.0.as_raw_fd();
        let interrupts = queues.filter_map(RxQueue::interrupt);
        let places = heard.iter_mut().zip(&mut counts).skip(1);
        let mut used = 1;
        for ((place, counting), interrupt) in places.zip(interrupts) {
            (place.fd, *counting) = (interrupt.fd, interrupt.counts);
            used += 1;
        }
        let time = libc::timespec {
            tv_sec: time.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(time.subsec_nanos()),
        };
        // SAFETY: the array has at least as many descriptors as it is said to, since places end with it; `time` is read during the call; a
        // null set leaves signals alone.
        let found = unsafe { libc::ppoll(heard.as_mut_ptr(), used, &time, std::ptr::null()) };
        if found <= 0 {
            return false;
        }
        for (place, counting) in heard.iter().zip(counts) {
            if place.revents != 0 && counting {
                take(place.fd);
            }
        }
        heard.iter().skip(1).any(|place| place.revents != 0)
    }
}

/// Sets a counter back.
fn take(fd: RawFd) {
    let mut count = 0_u64;
    // SAFETY: eight bytes to an integer of our own. The descriptor does not block, and is an open eventfd of the caller's.
    unsafe { libc::read(fd, (&raw mut count).cast(), 8) };
}

/// Everything that this thread wrote before is seen by what any thread of the process reads afterwards, and the other way round, as if each of
/// them had had a fence here: membarrier(2). Some microseconds for the caller, nothing for the others.
pub fn seen_by_all() {
    // SAFETY: a system call on numbers. It cannot fail in a process that has registered, as it has if there is a [`Bell`].
    unsafe { libc::syscall(libc::SYS_membarrier, PRIVATE_EXPEDITED, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_bell_ends_the_sleep_of_another_thread_and_counts_once() {
        let bell = Bell::new().unwrap();
        let for_ever = Duration::from_secs(3600);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                bell.ring();
            });
            assert!(!bell.sleep([].into_iter(), for_ever));
        });
        // Rung twice while nobody slept: one sleep ends, the next one takes its time.
        bell.ring();
        bell.ring();
        assert!(!bell.sleep([].into_iter(), for_ever));
        let begun = Instant::now();
        let time = Duration::from_millis(5);
        assert!(!bell.sleep([].into_iter(), time));
        assert!(begun.elapsed() >= time);
    }
}
