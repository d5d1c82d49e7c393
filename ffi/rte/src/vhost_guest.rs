//! The guest on a vhost-user port: how it comes and goes on vhost's thread while workers poll, and what it may ask for.

use std::ffi::{CStr, CString, c_char, c_int};
use std::hint;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys as sys;

use crate::offload::TxOffloads;
use crate::vhost::{FROM_GUEST, TO_GUEST, VhostFeatures};

/// `vid` while no guest is there.
pub(crate) const NOBODY: i32 = -1;

/// What the port, its two ends and vhost's thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: CString,
    /// DPDK's number of the guest, or [`NOBODY`]. Written by vhost's callbacks.
    pub(crate) vid: AtomicI32,
    /// What the guest takes, as bits of [`TxOffloads`].
    pub(crate) offloads: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) rx: End,
    pub(crate) tx: End,
}

/// One direction. A cache line of its own, as another thread writes the other one.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct End {
    /// True while a worker uses `vid`.
    busy: AtomicBool,
    pub(crate) frames: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl End {
    /// Runs `burst` with the guest's number while the guest cannot go away; 0 if there is none.
    ///
    /// Sequential consistency makes either this thread see that the guest is gone, or vhost's thread ([`destroy_device`]) see that
    /// this one is busy: each writes its own flag before it reads the other's.
    #[inline(always)]
    pub(crate) fn with_guest(&self, vid: &AtomicI32, burst: impl FnOnce(c_int) -> u16) -> u16 {
        self.busy.store(true, SeqCst);
        let guest = vid.load(SeqCst);
        let count = match guest {
            NOBODY => 0,
            guest => burst(guest),
        };
        self.busy.store(false, Release);
        count
    }

    /// Counts; the only writer is the end's owner.
    #[inline(always)]
    pub(crate) fn count(&self, frames: u64, bytes: u64) {
        self.frames
            .store(self.frames.load(Relaxed) + frames, Relaxed);
        self.bytes.store(self.bytes.load(Relaxed) + bytes, Relaxed);
    }

    fn wait_until_idle(&self) {
        while self.busy.load(SeqCst) {
            hint::spin_loop();
        }
    }
}

/// The open ports, for vhost's callbacks, which know a path.
static OPEN: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

pub(crate) fn open_ports() -> std::sync::MutexGuard<'static, Vec<Arc<Shared>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Callbacks(pub(crate) sys::rte_vhost_device_ops);

// SAFETY: function pointers and a null pointer, which nobody writes.
unsafe impl Sync for Callbacks {}

pub(crate) static CALLBACKS: Callbacks = Callbacks(sys::rte_vhost_device_ops {
    new_device: Some(new_device),
    destroy_device: Some(destroy_device),
    vring_state_changed: None,
    features_changed: None,
    new_connection: None,
    destroy_connection: None,
    guest_notified: None,
    reserved: [std::ptr::null_mut(); 1],
});

/// Virtio's bits of what is not offered. Host features are what the guest may send, guest features what it may be sent
/// (virtio 1.1 §5.1.3).
pub(crate) fn refused_features(features: VhostFeatures) -> u64 {
    // One queue pair: more would be offered, and never served.
    let mut bits = vec![sys::VIRTIO_NET_F_MQ];
    if !(features.checksum || features.tso || features.ufo) {
        bits.extend([sys::VIRTIO_NET_F_CSUM, sys::VIRTIO_NET_F_GUEST_CSUM]);
    }
    if !features.tso {
        bits.extend([
            sys::VIRTIO_NET_F_HOST_TSO4,
            sys::VIRTIO_NET_F_HOST_TSO6,
            sys::VIRTIO_NET_F_HOST_ECN,
            sys::VIRTIO_NET_F_GUEST_TSO4,
            sys::VIRTIO_NET_F_GUEST_TSO6,
            sys::VIRTIO_NET_F_GUEST_ECN,
        ]);
    }
    if !features.ufo {
        bits.extend([sys::VIRTIO_NET_F_HOST_UFO, sys::VIRTIO_NET_F_GUEST_UFO]);
    }
    bits.iter().fold(0, |all, bit| all | 1 << bit)
}

/// What a guest with these features takes.
fn guest_offloads(negotiated: u64) -> TxOffloads {
    let has = |bit: u32| negotiated & 1 << bit != 0;
    let mut offloads = TxOffloads::NONE;
    if has(sys::VIRTIO_NET_F_GUEST_CSUM) {
        offloads |= TxOffloads::TCP_CHECKSUM | TxOffloads::UDP_CHECKSUM;
        if has(sys::VIRTIO_NET_F_GUEST_TSO4) && has(sys::VIRTIO_NET_F_GUEST_TSO6) {
            offloads |= TxOffloads::TCP_TSO;
        }
        if has(sys::VIRTIO_NET_F_GUEST_UFO) {
            offloads |= TxOffloads::UDP_TSO;
        }
    }
    offloads
}

/// The port that a guest came to.
fn port_of(vid: c_int) -> Option<Arc<Shared>> {
    let mut path = [0 as c_char; 256];
    // SAFETY: the call writes a string that ends in NUL, of at most the length given; a path has no more than 107 bytes.
    let path = unsafe {
        if sys::rte_vhost_get_ifname(vid, path.as_mut_ptr(), path.len()) != 0 {
            return None;
        }
        CStr::from_ptr(path.as_ptr())
    };
    open_ports()
        .iter()
        .find(|shared| shared.path.as_c_str() == path)
        .cloned()
}

/// A guest's driver is ready. Runs on vhost's thread.
unsafe extern "C" fn new_device(vid: c_int) -> c_int {
    let Some(shared) = port_of(vid) else {
        return -1;
    };
    let mut negotiated = 0;
    // SAFETY: the guest is there during this callback; `negotiated` is written during the call, or stays. Both queues are there, else
    // the library would not call this, and we poll: the guest need not wake us.
    unsafe {
        sys::rte_vhost_get_negotiated_features(vid, &mut negotiated);
        sys::rte_vhost_enable_guest_notification(vid, TO_GUEST, 0);
        sys::rte_vhost_enable_guest_notification(vid, FROM_GUEST, 0);
    }
    // A listening socket takes any number of connections; the port has room for one guest. Only vhost's one thread comes here.
    if shared.vid.load(SeqCst) != NOBODY {
        return -1;
    }
    shared
        .offloads
        .store(guest_offloads(negotiated).bits(), Relaxed);
    shared.connects.fetch_add(1, Relaxed);
    shared.vid.store(vid, SeqCst);
    0
}

/// A guest is going away: its memory is unmapped when this returns. Runs on vhost's thread, or on the one that closes.
unsafe extern "C" fn destroy_device(vid: c_int) {
    let Some(shared) = port_of(vid) else {
        return;
    };
    // Of a second guest, which `new_device` refused, nobody knows.
    if shared
        .vid
        .compare_exchange(vid, NOBODY, SeqCst, SeqCst)
        .is_err()
    {
        return;
    }
    shared.offloads.store(0, Relaxed);
    shared.rx.wait_until_idle();
    shared.tx.wait_until_idle();
}
