//! What a thread sleeps at: its bell, which others ring, the interrupts of its queues, and a time.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::Called;

/// Descriptors that are heard at once: the bell's and those of the queues.
const HEARD: usize = 1 + Bell::HEARS;

/// Of linux/membarrier.h, which the libc crate does not have.
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// One thread's. It counts: rung while nobody sleeps at it, it ends the next sleep at once.
#[derive(Debug)]
pub struct Bell(OwnedFd);

/// What ended a sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Woken {
    /// Whether a queue did.
    pub by_queue: bool,
    /// One whose device is gone and ends every sleep at once.
    pub broken: Option<Called>,
}

impl Bell {
    /// As many queues are heard at once.
    pub const HEARS: usize = 127;

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

    /// Sleeps until somebody rings, one of these queues has something and its interrupt was on, or the time is over. Interrupts that
    /// counted are taken note of. Of more than [`Bell::HEARS`] queues the first ones are heard.
    pub fn sleep(&self, queues: impl Iterator<Item = Called>, time: Duration) -> Woken {
        let nobody = libc::pollfd {
            fd: -1,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut heard = [nobody; HEARD];
        let mut counts = [true; HEARD];
        heard[0].fd = self.0.as_raw_fd();
        let places = heard.iter_mut().zip(&mut counts).skip(1);
        let mut used = 1;
        for ((place, counting), called) in places.zip(queues) {
            (place.fd, *counting) = (called.fd, called.counts);
            used += 1;
        }
        let time = libc::timespec {
            tv_sec: time.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(time.subsec_nanos()),
        };
        let count = used as libc::nfds_t;
        // SAFETY: the array has at least as many descriptors as it is said to, since places end with it; `time` is read during the call; a
        // null set leaves signals alone.
        let found = unsafe { libc::ppoll(heard.as_mut_ptr(), count, &time, std::ptr::null()) };
        let mut woken = Woken::default();
        if found <= 0 {
            return woken;
        }
        for (number, (place, counts)) in heard.iter().zip(counts).enumerate().take(used) {
            if place.revents == 0 {
                continue;
            }
            woken.by_queue |= number > 0;
            let fd = place.fd;
            if counts {
                take(fd);
            } else if place.revents & !libc::POLLIN != 0 && !had_an_error(fd) {
                woken.broken = Some(Called { fd, counts });
            }
        }
        woken
    }
}

/// Sets a counter back, without ever waiting: whoever else has the descriptor may have taken what it counted, and may have it block.
fn take(fd: RawFd) {
    let mut count = 0_u64;
    let into = libc::iovec {
        iov_base: (&raw mut count).cast(),
        iov_len: 8,
    };
    // SAFETY: eight bytes to an integer of our own; the descriptor is the caller's.
    unsafe { libc::preadv2(fd, &into, 1, -1, libc::RWF_NOWAIT) };
}

/// Whether it is a socket whose interface went down, which it says once if it is asked: it hears again when that is up.
fn had_an_error(fd: RawFd) -> bool {
    let mut error: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ERROR);
    // SAFETY: the kernel writes at most `length` bytes to an integer of our own; what is no socket is refused.
    unsafe { libc::getsockopt(fd, level, name, (&raw mut error).cast(), &mut length) == 0 }
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
            assert_eq!(bell.sleep([].into_iter(), for_ever), Woken::default());
        });
        // Rung twice while nobody slept: one sleep ends, the next one takes its time.
        bell.ring();
        bell.ring();
        assert_eq!(bell.sleep([].into_iter(), for_ever), Woken::default());
        let begun = Instant::now();
        let time = Duration::from_millis(5);
        assert_eq!(bell.sleep([].into_iter(), time), Woken::default());
        assert!(begun.elapsed() >= time);
    }

    /// A socket whose interface went down and came up again hears on; a device that is gone would end every sleep at once.
    #[test]
    fn what_is_broken_is_named_and_what_only_failed_once_is_not() {
        let bell = Bell::new().unwrap();
        let called = |fd: &dyn AsRawFd| Called {
            fd: fd.as_raw_fd(),
            counts: false,
        };
        let for_ever = Duration::from_secs(3600);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        let woken = bell.sleep([called(&reader)].into_iter(), for_ever);
        assert_eq!(woken.broken, Some(called(&reader)));
        // Nobody is there: the kernel has an error for whoever asks next.
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(nobody.local_addr().unwrap()).unwrap();
        drop(nobody);
        socket.send(b"hello").unwrap();
        let woken = bell.sleep([called(&socket)].into_iter(), for_ever);
        assert_eq!((woken.by_queue, woken.broken), (true, None));
        let time = Duration::from_millis(2);
        let woken = bell.sleep([called(&socket)].into_iter(), time);
        assert_eq!(woken, Woken::default());
    }

    /// A counter that somebody else has emptied, and has block, is not waited for.
    #[test]
    fn taking_never_waits() {
        // SAFETY: a system call on numbers; the descriptor is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, 0)) };
        take(fd.as_raw_fd());
    }
}
