//! What a failed call into DPDK leaves behind.

use std::ffi::CStr;
use std::fmt;

use crate::log;

/// Why a call into DPDK failed: its error number, what that means, and what DPDK wrote to its log meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The function of DPDK that failed.
    pub call: &'static str,
    /// A positive errno, or one of DPDK's own numbers from 1001 up. Many drivers say 1 (EPERM) where they mean "failed".
    pub errno: i32,
    /// What `rte_strerror` says of it.
    pub text: String,
    /// What DPDK logged while the call ran, at warning or worse, oldest line first. Another thread's lines may be among them.
    pub log: Vec<String>,
}

impl Cause {
    /// `errno` may be negative, as DPDK returns it; `since` is from [`log::mark`], taken before the call.
    pub(crate) fn new(call: &'static str, errno: i32, since: u64) -> Cause {
        let errno = errno.checked_abs().unwrap_or(0);
        Cause {
            call,
            errno,
            text: strerror(errno),
            log: log::since(since),
        }
    }

    /// For calls that leave the number in `rte_errno`, which holds garbage unless the call has just failed.
    pub(crate) fn of_rte_errno(call: &'static str, since: u64) -> Cause {
        // SAFETY: reads a thread-local variable of DPDK's; no arguments, no preconditions.
        let errno = unsafe { dpdk_sys::shim_rte_errno() };
        Cause::new(call, errno, since)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (errno {})", self.call, self.text, self.errno)?;
        if !self.log.is_empty() {
            write!(f, "; DPDK said: {}", self.log.join(" / "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Cause {}

fn strerror(errno: i32) -> String {
    // SAFETY: rte_strerror takes any number and returns a string of its own, thread-local, that ends in NUL and stays valid until
    // this thread calls it again; it is copied before that.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno)) };
    text.to_string_lossy().into_owned()
}
