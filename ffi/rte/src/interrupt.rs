//! The thread on which EAL runs the drivers' interrupt handlers.

use std::ffi::c_void;
use std::sync::mpsc;

use dpdk_sys as sys;

/// What is to be done, and where to say what came of it.
struct Job<'a, T> {
    work: Box<dyn FnOnce() -> T + Send + 'a>,
    done: mpsc::SyncSender<T>,
}

/// Does `work` on the interrupt thread and waits for it: no driver's handler runs meanwhile. On the calling thread where EAL has no
/// alarms.
///
/// For drivers whose handlers use what `work` frees, with no lock between the two: net_memif (22.11) looks at its control channel
/// when the peer leaves, while `memif_disconnect` of another thread frees it.
pub(crate) fn on_interrupt_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
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
    match result.recv() {
        Ok(result) => result,
        // `run` sends, or aborts the process.
        Err(mpsc::RecvError) => unreachable!("the job was dropped"),
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
