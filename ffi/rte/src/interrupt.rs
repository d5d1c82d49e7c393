//! The thread on which EAL runs the drivers' interrupt handlers.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread;

use dpdk_sys as sys;

/// What is to be done, and where to say what came of it.
struct Job<'a, T> {
    work: Box<dyn FnOnce() -> T + Send + 'a>,
    done: mpsc::SyncSender<T>,
}

/// Does `work` on the interrupt thread and waits for it: no driver's handler runs meanwhile. On the calling thread where EAL has no
/// alarms. When this returns, that thread has forgotten what it had heard of descriptors that `work` has closed ([`Round`]).
///
/// For drivers whose handlers use what `work` frees, with no lock between the two: net_memif (22.11) looks at its control channel
/// when the peer leaves, while `memif_disconnect` of another thread frees it.
pub(crate) fn on_interrupt_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    // Before `work`, whose descriptors' numbers it must not get.
    let round = Round::next();
    let (done, result) = mpsc::sync_channel(1);
    let job = Box::new(Job {
        work: Box::new(work),
        done,
    });
    let raw = Box::into_raw(job);
    // SAFETY: EAL runs, or there would be no port to do anything to. The alarm goes off once and takes the job over.
    let set = unsafe { sys::rte_eal_alarm_set(1, Some(run::<T>), raw.cast()) };
    if set != 0 {
        // SAFETY: as above, by the function that the alarm would have called, which was not set.
        unsafe { run::<T>(raw.cast()) };
    }
    let result = match result.recv() {
        Ok(result) => result,
        // `run` sends, or aborts the process.
        Err(mpsc::RecvError) => unreachable!("the job was dropped"),
    };
    if let Some(round) = round {
        round.begun();
    }
    result
}

/// A round of the interrupt thread: it takes what many descriptors have to say at once, then hears one after the other, and knows each by
/// its number. A number that was closed meanwhile and is somebody else's again gets what was the other's: net_memif then waits in
/// recvmsg(2) for a message that nobody has sent, or in accept(2) for a peer, and with it wait all handlers. (Seen: 9 of 14 runs of a
/// hundred links on a machine with eighteen busy processes on two cores.)
struct Round {
    /// Readable until it has been heard.
    told: OwnedFd,
    handle: *mut sys::rte_intr_handle,
}

impl Round {
    /// A descriptor with something to say; None if there is none to be had.
    fn next() -> Option<Round> {
        // SAFETY: a system call on numbers; the descriptor is nobody else's.
        let told = unsafe {
            match libc::eventfd(1, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) {
                -1 => return None,
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        // SAFETY: EAL runs. The handle is this value's own, from a private allocation (flags 0), and is freed once, by `drop`.
        unsafe {
            let handle = sys::rte_intr_instance_alloc(0);
            if handle.is_null() {
                return None;
            }
            let round = Round { told, handle };
            let fd = sys::rte_intr_fd_set(handle, round.told.as_raw_fd());
            let kind = sys::rte_intr_type_set(handle, sys::RTE_INTR_HANDLE_EXT);
            (fd == 0 && kind == 0).then_some(round)
        }
    }

    /// Waits until a round has begun: a descriptor that the thread is told of now is heard in a later one than is under way.
    fn begun(self) {
        let (heard, hears) = mpsc::sync_channel::<()>(1);
        let mut told = (self.told.as_raw_fd(), heard);
        let argument = (&raw mut told).cast::<c_void>();
        // SAFETY: the handle is valid, and EAL keeps a copy of it. `told` outlives the registration, which ends below; the callback alone
        // uses it until then.
        unsafe {
            if sys::rte_intr_callback_register(self.handle, Some(heard_of), argument) != 0 {
                return;
            }
            let _ = hears.recv();
            // Not while the callback returns.
            while sys::rte_intr_callback_unregister(self.handle, Some(heard_of), argument)
                == -libc::EAGAIN
            {
                thread::yield_now();
            }
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        // SAFETY: `next` made it and nobody else has it.
        unsafe { sys::rte_intr_instance_free(self.handle) };
    }
}

/// # Safety
/// `told` is what [`Round::begun`] registered.
unsafe extern "C" fn heard_of(told: *mut c_void) {
    // SAFETY: by the contract. Reading takes the descriptor out of all later rounds.
    unsafe {
        let (fd, heard) = &*told.cast::<(libc::c_int, mpsc::SyncSender<()>)>();
        let mut count = 0_u64;
        libc::read(*fd, (&raw mut count).cast(), 8);
        // One message, for which there is room; another is nobody's.
        let _ = heard.try_send(());
    }
}

/// # Safety
/// `job` is a `Box<Job<T>>`, given up, whose borrows last until it has sent.
unsafe extern "C" fn run<T>(job: *mut c_void) {
    // SAFETY: by the contract.
    let job = unsafe { Box::from_raw(job.cast::<Job<'_, T>>()) };
    let result = (job.work)();
    // The receiver waits until this.
    let _ = job.done.send(result);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Eal, EalConfig, LogLevel, Memory};

    #[test]
    fn work_is_done_once_elsewhere_and_its_result_comes_back() {
        let eal = Eal::init(EalConfig {
            memory: Memory::NoHuge { megabytes: 32 },
            pci: false,
            log_level: Some(LogLevel::Silent),
            ..EalConfig::default()
        });
        eal.expect("EAL starts");
        let own = std::thread::current().id();
        let mut count = 0;
        for _ in 0..100 {
            let there = on_interrupt_thread(|| {
                count += 1;
                std::thread::current().id()
            });
            assert_ne!(there, own);
        }
        assert_eq!(count, 100);
    }
}
