//! A port's queues: what a worker polls.

use std::cell::Cell;
use std::ffi::CString;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::ptr::NonNull;

use dpdk_sys::rte_spinlock_t;

use crate::Burst;
use crate::calls::{Called, Interrupt, Memif, is_eventfd};

/// A lock of the driver's, held while a queue is polled: net_memif unmaps its rings on EAL's interrupt thread when the peer leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard(NonNull<rte_spinlock_t>);

// SAFETY: a lock is for several threads. It is part of the port, which outlives its queues.
unsafe impl Send for Guard {}

impl Guard {
    /// # Safety
    /// `lock` is null, or valid until the port, whose queues are to hold it, is closed.
    pub(crate) unsafe fn new(lock: *mut rte_spinlock_t) -> Option<Guard> {
        NonNull::new(lock).map(Guard)
    }

    pub(crate) fn as_ptr(self) -> *mut rte_spinlock_t {
        self.0.as_ptr()
    }
}

/// One receive queue of a started port. It has one owner: it can move to another thread, not be shared or copied.
///
/// To close the port, give it back. Dropping it leaks it, and the port stays open for good.
#[derive(Debug)]
#[must_use = "a port is closed by giving its queues back"]
pub struct RxQueue {
    pub(crate) port: u16,
    pub(crate) queue: u16,
    guard: Option<Guard>,
    interrupt: Option<Interrupt>,
    armed: bool,
    /// Not Sync: two threads must never poll one queue.
    _one_owner: PhantomData<Cell<()>>,
}

/// One transmit queue of a started port, as [`RxQueue`].
#[derive(Debug)]
#[must_use = "a port is closed by giving its queues back"]
pub struct TxQueue {
    pub(crate) port: u16,
    pub(crate) queue: u16,
    /// Descriptors that the queue was set up with.
    descriptors: u16,
    guard: Option<Guard>,
    _one_owner: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// # Safety
    /// The port is started and has this queue, and no other value stands for it. The guard is the port's own.
    pub(crate) unsafe fn new(port: u16, queue: u16, guard: Option<Guard>) -> RxQueue {
        RxQueue {
            port,
            queue,
            guard,
            interrupt: None,
            armed: false,
            _one_owner: PhantomData,
        }
    }

    /// Finds its interrupt, and leaves it off. `Err`: the call that failed, and what it gave.
    ///
    /// # Safety
    /// The port was configured with receive interrupts.
    pub(crate) unsafe fn find_interrupt(&mut self) -> Result<(), (&'static str, libc::c_int)> {
        // SAFETY: the port is started and has this queue, as with `rx`.
        let fd = unsafe { dpdk_sys::rte_eth_dev_rx_intr_ctl_q_get_fd(self.port, self.queue) };
        if fd < 0 {
            return Err(("rte_eth_dev_rx_intr_ctl_q_get_fd", -libc::ENOTSUP));
        }
        let counts = is_eventfd(&fd);
        self.interrupt = Some(Interrupt::Device(Called { fd, counts }));
        if let Err(result) = self.arm() {
            self.interrupt = None;
            return Err(("rte_eth_dev_rx_intr_enable", result));
        }
        // Some drivers (igb) have it on from the start.
        self.disarm();
        Ok(())
    }

    /// It is called by the packet socket behind it.
    ///
    /// # Safety
    /// The descriptor is the socket's whose ring the queue is.
    pub(crate) unsafe fn is_called_by_socket(&mut self, fd: RawFd) {
        let counts = false;
        self.interrupt = Some(Interrupt::Device(Called { fd, counts }));
    }

    /// It is called by the memif's peer, whose port has this name; not where this DPDK's layout is not known.
    ///
    /// # Safety
    /// The port is net_memif's, and the name its own.
    pub(crate) unsafe fn is_called_by_memif(&mut self, name: CString) {
        let memif = self.guard.map(|guard| Memif::new(guard, name, self.queue));
        self.interrupt = memif.map(Interrupt::Memif);
    }

    /// Does without it.
    pub fn forget_interrupt(&mut self) {
        self.disarm();
        // One that could not be turned off stays, off or not: it is still to be said.
        if !self.armed {
            self.interrupt = None;
        }
    }

    /// Its device is gone, as a tap that was deleted ([`Woken::broken`](crate::Woken::broken)): nothing comes, and nothing calls.
    pub fn lose(&mut self) {
        self.interrupt = Some(Interrupt::Gone);
    }

    /// What ends a sleep at a [`Bell`](crate::Bell), while its interrupt is on.
    #[must_use]
    pub fn called(&self) -> Option<Called> {
        let interrupt = self.interrupt.as_ref().filter(|_| self.armed);
        interrupt.and_then(Interrupt::called)
    }

    /// Whether it has an interrupt ([`PortConfig::interrupts`](crate::PortConfig::interrupts)).
    #[must_use]
    pub fn has_interrupt(&self) -> bool {
        self.interrupt.is_some()
    }

    /// Whether its interrupt is on.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Whether what comes once it is on is certain to call. A memif's peer is another process, which has no fence between what it writes
    /// into the ring and its look at whether to call, and which leaves and comes back unheard: look now and then all the same.
    #[must_use]
    pub fn is_sure_to_call(&self) -> bool {
        !matches!(self.interrupt, Some(Interrupt::Memif(_) | Interrupt::Gone))
    }

    /// Turns its interrupt on: what comes from now on ends a sleep at a [`Bell`](crate::Bell). What came before may not: look once more
    /// before you sleep. Nothing for a queue without. `Err`: what the driver gave, which is negative.
    pub fn arm(&mut self) -> Result<(), libc::c_int> {
        match &mut self.interrupt {
            None => return Ok(()),
            Some(Interrupt::Gone) => {}
            Some(Interrupt::Device(called)) => {
                // SAFETY: the port is started and has this queue, as with `rx`; drivers change what is this queue's.
                let result = unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(self.port, self.queue) };
                // A tap's or a socket's own descriptor is readable while there is something: there is nothing to turn on.
                let always_on = result == -libc::ENOTSUP && !called.counts;
                if result < 0 && !always_on {
                    return Err(result);
                }
            }
            // SAFETY: the port is started and has this queue, as with `rx`; name and guard are its own.
            Some(Interrupt::Memif(memif)) => unsafe { memif.on()? },
        }
        self.armed = true;
        Ok(())
    }

    /// Turns it off again, for as long as the queue is polled. A memif's stays on while another thread uses the port: say it again.
    pub fn disarm(&mut self) {
        if !self.armed {
            return;
        }
        self.armed = match &mut self.interrupt {
            // SAFETY: as `arm`.
            Some(Interrupt::Memif(memif)) => unsafe { !memif.off() },
            Some(Interrupt::Gone) => false,
            _ => {
                // SAFETY: as `arm`. What a driver says matters to nobody: an interrupt too many ends a sleep too early.
                unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(self.port, self.queue) };
                false
            }
        };
    }

    /// Receives up to what `burst` has room for, behind what is in it, and returns how many. Give it an empty one: vector drivers
    /// receive nothing at all into fewer than 4 places, and multiples of 4 into more.
    #[inline(always)]
    pub fn rx(&mut self, burst: &mut Burst) -> usize {
        let room = burst.room();
        let count = room.len() as u16;
        // SAFETY: the port is started and has this queue, because closing or stopping it takes this value back; only this thread
        // polls it (`&mut`, not Sync). `room` has `count` slots, each the size of a pointer, and the driver fills the first
        // `received` with mbufs that nobody else owns.
        unsafe {
            let slots = room.as_mut_ptr().cast();
            let (port, queue) = (self.port, self.queue);
            let received = match self.guard {
                None => dpdk_sys::shim_eth_rx_burst(port, queue, slots, count),
                Some(Guard(lock)) => {
                    dpdk_sys::shim_guarded_rx_burst(lock.as_ptr(), port, queue, slots, count)
                }
            };
            let received = usize::from(received);
            burst.grow(received);
            received
        }
    }

    /// DPDK's number of the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The queue's number within the port.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.queue
    }
}

impl TxQueue {
    /// # Safety
    /// As [`RxQueue::new`].
    pub(crate) unsafe fn new(
        port: u16,
        queue: u16,
        descriptors: u16,
        guard: Option<Guard>,
    ) -> TxQueue {
        TxQueue {
            port,
            queue,
            descriptors,
            guard,
            _one_owner: PhantomData,
        }
    }

    /// Gives the burst's mbufs to the hardware and returns how many it took: the first ones, which are gone. The rest stays in the
    /// burst, moved to its front.
    #[inline(always)]
    pub fn tx(&mut self, burst: &mut Burst) -> usize {
        let count = burst.len() as u16;
        // SAFETY: the port is started and has this queue, and only this thread uses it, as with `rx`. The first `count` slots hold
        // mbufs that the burst owns; the driver owns the first `sent` from here on, and they are forgotten.
        unsafe {
            let (port, queue, slots) = (self.port, self.queue, burst.as_raw());
            let sent = match self.guard {
                None => dpdk_sys::shim_eth_tx_burst(port, queue, slots, count),
                Some(Guard(lock)) => {
                    dpdk_sys::shim_guarded_tx_burst(lock.as_ptr(), port, queue, slots, count)
                }
            };
            let sent = usize::from(sent);
            burst.forget_first(sent);
            sent
        }
    }

    /// Adapts the burst's mbufs to the driver, such as pseudo-header sums, where they ask for offloads
    /// ([`Mbuf::request_tx`](crate::Mbuf::request_tx)). Returns how many are fit to be sent; the one behind them is not.
    #[inline]
    pub fn prepare(&mut self, burst: &mut Burst) -> usize {
        let count = burst.len() as u16;
        // SAFETY: as `tx`, but the mbufs stay the burst's; the driver changes what is in them.
        let fit =
            unsafe { dpdk_sys::shim_eth_tx_prepare(self.port, self.queue, burst.as_raw(), count) };
        usize::from(fit)
    }

    /// Whether everything is out that the queue took before the last `since` descriptors; `None` if the driver cannot say. As exact as
    /// the driver: one that has its hardware report every 32nd descriptor alone may say so some 32 early.
    #[must_use]
    pub fn is_out(&self, since: u64) -> Option<bool> {
        let Some(last) = u64::from(self.descriptors).checked_sub(1 + since) else {
            // Its descriptor has been used again since.
            return Some(true);
        };
        // SAFETY: the port is started and has this queue, and only this thread uses it, as with `tx`; the offset is within the ring, and
        // a driver that finds it is not says so.
        let status =
            unsafe { dpdk_sys::shim_eth_tx_descriptor_status(self.port, self.queue, last as u16) };
        match u32::try_from(status) {
            Ok(dpdk_sys::RTE_ETH_TX_DESC_FULL) => Some(false),
            Ok(_) => Some(true),
            Err(_) => None,
        }
    }

    /// DPDK's number of the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The queue's number within the port.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.queue
    }
}
