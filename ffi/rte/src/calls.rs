//! How the device of a receive queue says that something has come, to a thread that does not look.
//!
//! DPDK's own interrupts are a descriptor and two calls. Three more come to the same: a packet socket is a descriptor that is readable while
//! there is something; net_memif has an eventfd, and the flag in the ring by which a peer knows whether to write to it, and no function to
//! turn either on; a virtual machine's driver kicks.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use dpdk_sys as sys;

use crate::queue::Guard;

/// What a sleep at a [`Bell`](crate::Bell) listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Called {
    /// Readable when there was something, or while there is.
    pub(crate) fd: RawFd,
    /// Whether it counts (eventfd(2)) and has to be read; else it is the driver's own.
    pub(crate) counts: bool,
}

/// A receive queue's interrupt.
#[derive(Debug)]
pub(crate) enum Interrupt {
    /// By a descriptor that is there as long as the port is started.
    Device(Called),
    /// A memif's: its peer's eventfd, which is there while it is on.
    Memif(Memif),
    /// None: its device is gone, so that nothing comes.
    Gone,
}

impl Interrupt {
    /// What ends a sleep, while it is on.
    pub(crate) fn called(&self) -> Option<Called> {
        match self {
            Interrupt::Device(called) => Some(*called),
            Interrupt::Memif(memif) => memif.heard.as_ref().map(peers),
            Interrupt::Gone => None,
        }
    }
}

/// A peer's eventfd that this process holds.
pub(crate) fn peers(fd: &OwnedFd) -> Called {
    let (fd, counts) = (fd.as_raw_fd(), true);
    Called { fd, counts }
}

/// A memif's ring, and what its peer writes to.
#[derive(Debug)]
pub(crate) struct Memif {
    guard: Guard,
    /// The port's.
    name: CString,
    queue: u16,
    heard: Option<OwnedFd>,
}

impl Memif {
    pub(crate) fn new(guard: Guard, name: CString, queue: u16) -> Memif {
        Memif {
            guard,
            name,
            queue,
            heard: None,
        }
    }

    /// Has the peer call. `Err`: why not, a negative errno.
    ///
    /// # Safety
    /// The port is started, has this queue, and the guard and the name are its own.
    pub(crate) unsafe fn on(&mut self) -> Result<(), libc::c_int> {
        let lock = self.guard.as_ptr();
        // SAFETY: by the contract; the descriptor is nobody else's.
        let heard = unsafe {
            match sys::shim_memif_unmask(lock, self.name.as_ptr(), self.queue) {
                fd if fd >= 0 => std::os::fd::FromRawFd::from_raw_fd(fd),
                refused => return Err(refused),
            }
        };
        // A sleep may hang at what the peer calls an eventfd and is none, and the driver, which reads it while it is on, at one that blocks.
        if !is_eventfd(&heard) || blocks(&heard) {
            // SAFETY: by the contract.
            unsafe { sys::shim_memif_mask(lock, self.name.as_ptr(), self.queue) };
            return Err(-libc::EPROTO);
        }
        self.heard = Some(heard);
        Ok(())
    }

    /// The peer need not call. Whether that was said: not while another thread uses the port.
    ///
    /// # Safety
    /// As [`Memif::on`].
    pub(crate) unsafe fn off(&mut self) -> bool {
        // SAFETY: by the contract.
        let said = unsafe {
            sys::shim_memif_mask(self.guard.as_ptr(), self.name.as_ptr(), self.queue) == 0
        };
        if said {
            self.heard = None;
        }
        said
    }
}

/// Whether it is an eventfd(2): those are never waited for but for their counter.
pub(crate) fn is_eventfd(fd: &impl AsRawFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    link.is_ok_and(|link| link.to_string_lossy().contains("[eventfd]"))
}

fn blocks(fd: &OwnedFd) -> bool {
    // SAFETY: asks for flags; the descriptor is open.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_NONBLOCK == 0
}
