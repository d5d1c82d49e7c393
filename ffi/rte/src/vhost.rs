//! A virtual machine's port: vhost-user through librte_vhost, one queue each way.

use std::cell::Cell;
use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicU64, fence};

use dpdk_sys as sys;
use thiserror::Error;

use crate::calls::{Called, is_eventfd, peers};
use crate::error::Cause;
use crate::offload::TxOffloads;
use crate::vhost_guest::{CALLBACKS, End, NOBODY, Shared, open_ports, refused_features};
use crate::{Burst, Eal, Pool, log};

/// Virtio's numbers of the two queues, from the guest's point of view (virtio 1.1 §5.1.2): it receives from the first.
pub(crate) const TO_GUEST: u16 = 0;
pub(crate) const FROM_GUEST: u16 = 1;

/// Who makes the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VhostMode {
    /// We listen; a stale socket file is removed first.
    Server,
    /// The VM monitor listens (QEMU's `server=on`).
    Client {
        /// Try again, once a second, while nobody listens and after it went away. Else it has to listen now.
        reconnect: bool,
    },
}

/// What guests are offered beyond plain frames, all of it off by default. What is not offered a guest does not use, so frames come
/// with finished checksums and no longer than the MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VhostFeatures {
    /// Unfinished L4 checksums, both ways: [`L4Checksum::Partial`](crate::L4Checksum::Partial) from the guest.
    pub checksum: bool,
    /// TCP segments up to 64 KiB, both ways ([`Mbuf::gso`](crate::Mbuf::gso)). Needs `checksum`, and brings it.
    pub tso: bool,
    /// UDP likewise (UFO), to be cut into fragments. Needs `checksum`, and brings it.
    pub ufo: bool,
}

/// Why a vhost-user port was not opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VhostError {
    /// A path has 1 to 107 bytes (`sockaddr_un`), none of them NUL.
    #[error("{0:?} cannot be a socket's path: 1 to 107 bytes, none of them NUL")]
    Path(String),
    /// A port of this process has the path.
    #[error("{0} is a vhost-user port already")]
    AlreadyOpen(String),
    /// Another process listens there.
    #[error("{0} is in use: another process listens there")]
    SocketInUse(String),
    /// There is a file, but not a socket.
    #[error("{0} is not a socket")]
    NotASocket(String),
    /// The kernel refused: no such directory, or no rights.
    #[error("{path}: {reason}")]
    Socket {
        /// The socket's path.
        path: String,
        /// What the kernel said.
        reason: String,
    },
    /// The ends given back are another port's; somebody may be polling this one's, so it was left as it was.
    #[error("{0}: the ends given back are not its own, so it stays open")]
    EndsHeld(String),
    /// DPDK refused.
    #[error("{path}: {cause}")]
    Dpdk {
        /// The socket's path.
        path: String,
        /// What DPDK said.
        cause: Cause,
    },
}

/// What passed since the port was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VhostStats {
    /// Frames from the guest.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames to the guest.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Times that a guest came.
    pub connects: u64,
}

/// A vhost-user port, for control. Guests come and go while it is open.
///
/// Dropping it leaks it, as with [`Port`](crate::Port): [`VhostPort::close`] ends it.
#[derive(Debug)]
#[must_use = "a port that is dropped stays open for good"]
pub struct VhostPort {
    shared: Arc<Shared>,
}

/// The end that receives what the guest sends: of one thread at a time.
#[derive(Debug)]
#[must_use = "a port is closed by giving its ends back"]
pub struct VhostRx {
    shared: Arc<Shared>,
    pool: Pool,
    /// The guest's driver kicks.
    armed: bool,
    /// What it kicks, held while it does.
    heard: Option<OwnedFd>,
    _one_owner: PhantomData<Cell<()>>,
}

/// The end that sends to the guest: of one thread at a time.
#[derive(Debug)]
#[must_use = "a port is closed by giving its ends back"]
pub struct VhostTx {
    shared: Arc<Shared>,
    _one_owner: PhantomData<Cell<()>>,
}

impl VhostPort {
    /// Opens a port at the socket `path`. What guests send is copied into mbufs of `pool`.
    pub fn open(
        _eal: &Eal,
        path: &str,
        mode: VhostMode,
        features: VhostFeatures,
        pool: Pool,
    ) -> Result<(VhostPort, VhostRx, VhostTx), VhostError> {
        let c_path = match CString::new(path) {
            Ok(c_path) if (1..=107).contains(&path.len()) => c_path,
            _ => return Err(VhostError::Path(path.to_owned())),
        };
        let shared = Arc::new(Shared {
            path: c_path,
            vid: AtomicI32::new(NOBODY),
            offloads: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            rx: End::default(),
            tx: End::default(),
        });
        {
            let mut open = open_ports();
            if open.iter().any(|other| other.path == shared.path) {
                return Err(VhostError::AlreadyOpen(path.to_owned()));
            }
            // Before the socket is there, so that the first guest finds it.
            open.push(Arc::clone(&shared));
        }
        let registered =
            prepare_socket(path, mode).and_then(|()| register(&shared, mode, features));
        if let Err(error) = registered {
            forget(&shared);
            return Err(error);
        }
        let rx = VhostRx {
            shared: Arc::clone(&shared),
            pool,
            armed: false,
            heard: None,
            _one_owner: PhantomData,
        };
        let tx = VhostTx {
            shared: Arc::clone(&shared),
            _one_owner: PhantomData,
        };
        Ok((VhostPort { shared }, rx, tx))
    }

    /// Closes the port and, in server mode, removes its socket. Taking the ends back proves that nobody polls them.
    pub fn close(self, rx: VhostRx, tx: VhostTx) -> Result<(), VhostError> {
        let path = self.path();
        if !Arc::ptr_eq(&self.shared, &rx.shared) || !Arc::ptr_eq(&self.shared, &tx.shared) {
            return Err(VhostError::EndsHeld(path));
        }
        let mark = log::mark();
        // SAFETY: the path was registered by `open` and ends in NUL. The lock is not held: the call runs destroy_device, which takes it.
        let result = unsafe { sys::rte_vhost_driver_unregister(self.shared.path.as_ptr()) };
        forget(&self.shared);
        match result {
            0 => Ok(()),
            errno => Err(VhostError::Dpdk {
                path,
                cause: Cause::new("rte_vhost_driver_unregister", errno, mark),
            }),
        }
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> String {
        self.shared.path.to_string_lossy().into_owned()
    }

    /// True while a guest's driver is ready.
    #[must_use]
    pub fn link_up(&self) -> bool {
        self.shared.vid.load(Acquire) != NOBODY
    }

    /// What the guest that is there takes, as [`VhostTx::offloads`]; nothing without a guest.
    #[must_use]
    pub fn offloads(&self) -> TxOffloads {
        TxOffloads::from_bits(self.shared.offloads.load(Relaxed))
    }

    /// Its counters, while its ends are polled.
    #[must_use]
    pub fn stats(&self) -> VhostStats {
        let shared = &self.shared;
        VhostStats {
            rx_frames: shared.rx.frames.load(Relaxed),
            rx_bytes: shared.rx.bytes.load(Relaxed),
            tx_frames: shared.tx.frames.load(Relaxed),
            tx_bytes: shared.tx.bytes.load(Relaxed),
            connects: shared.connects.load(Relaxed),
        }
    }
}

impl VhostRx {
    /// Has the guest's driver kick when it sends from now on, which ends a sleep at a [`Bell`](crate::Bell). What came before does not:
    /// look once more before you sleep. Without a guest nothing comes, and nothing kicks when one does. `Err`: a negative errno, of what
    /// cannot be heard.
    pub fn arm(&mut self) -> Result<(), libc::c_int> {
        let heard = &mut self.heard;
        let mut result = Ok(());
        self.shared.rx.with_guest(&self.shared.vid, |guest| {
            // SAFETY: the guest stays there meanwhile, and its queue is set up, else it would not have been announced.
            result = unsafe { kicked(guest) }.map(|fd| *heard = Some(fd));
            0
        });
        // What it sent before it could see that it is to kick is seen by who looks from here on.
        fence(SeqCst);
        self.armed = result.is_ok();
        result
    }

    /// The guest need not kick, for as long as the queue is polled.
    pub fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.heard = None;
            self.shared.rx.with_guest(&self.shared.vid, |guest| {
                // SAFETY: as `arm`.
                unsafe { sys::rte_vhost_enable_guest_notification(guest, FROM_GUEST, 0) };
                0
            });
        }
    }

    /// Whether the guest's driver kicks, or none is there.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// What ends a sleep, while the guest kicks.
    #[must_use]
    pub fn called(&self) -> Option<Called> {
        self.heard.as_ref().filter(|_| self.armed).map(peers)
    }

    /// Receives what the guest sent, up to what `burst` has room for, behind what is in it, and returns how many. 0 without a guest.
    #[inline]
    pub fn rx(&mut self, burst: &mut Burst) -> usize {
        let before = burst.len();
        let room = burst.room();
        let (slots, count) = (room.as_mut_ptr().cast(), room.len() as u16);
        let (end, pool) = (&self.shared.rx, self.pool.as_ptr());
        // SAFETY: `with_guest` keeps the guest there, and this thread is the only one at this end (`&mut`, not Sync). `slots` are
        // `count` places, each the size of a pointer, and the pool lives as long as the process.
        let received = end.with_guest(&self.shared.vid, |guest| unsafe {
            sys::rte_vhost_dequeue_burst(guest, FROM_GUEST, pool, slots, count)
        });
        let received = usize::from(received);
        // SAFETY: the call has filled the first `received` places with fresh mbufs that nobody else owns.
        unsafe { burst.grow(received) };
        if received > 0 {
            let bytes = bytes_of(&burst.as_slice()[before..]);
            end.count(received as u64, bytes);
        }
        received
    }
}

impl VhostTx {
    /// Copies the burst's mbufs to the guest and returns how many it took: the first ones, which are freed. The rest stays in the
    /// burst, moved to its front: all of it without a guest.
    ///
    /// What [`Mbuf::request_tx`](crate::Mbuf::request_tx) asks for is handed to the guest as virtio's unfinished checksum and GSO, even
    /// if the guest did not agree to it: ask only for what [`VhostTx::offloads`] has.
    #[inline]
    pub fn tx(&mut self, burst: &mut Burst) -> usize {
        let (slots, count) = (burst.as_raw(), burst.len() as u16);
        let end = &self.shared.tx;
        // SAFETY: as `rx`. The first `count` slots hold mbufs that the burst owns; the call reads them and keeps none.
        let sent = end.with_guest(&self.shared.vid, |guest| unsafe {
            sys::rte_vhost_enqueue_burst(guest, TO_GUEST, slots, count)
        });
        let sent = usize::from(sent);
        if sent > 0 {
            let bytes = bytes_of(&burst.as_slice()[..sent]);
            end.count(sent as u64, bytes);
            burst.free_first(sent);
        }
        sent
    }

    /// What the guest that is there takes: UDP_CHECKSUM and TCP_CHECKSUM, TCP_TSO and UDP_TSO; MULTI_SEGMENT always.
    #[inline]
    #[must_use]
    pub fn offloads(&self) -> TxOffloads {
        TxOffloads::from_bits(self.shared.offloads.load(Relaxed)) | TxOffloads::MULTI_SEGMENT
    }
}

/// Has a guest's driver kick. What it kicks: another descriptor of it, which stays what it is when the guest names another one.
///
/// # Safety
/// The guest is there until this returns.
unsafe fn kicked(guest: libc::c_int) -> Result<OwnedFd, libc::c_int> {
    // SAFETY: numbers and pointers, for which all zeroes is a value.
    let mut ring: sys::rte_vhost_vring = unsafe { std::mem::zeroed() };
    // SAFETY: by the contract; `ring` is written during the call. The copy is nobody else's. vhost's thread may close what was read
    // before it is copied: then the copy is of something else, or of nothing.
    let fd = unsafe {
        if sys::rte_vhost_get_vhost_vring(guest, FROM_GUEST, &mut ring) != 0 {
            return Err(-libc::ENODEV);
        }
        match libc::fcntl(ring.kickfd, libc::F_DUPFD_CLOEXEC, 0) {
            fd if fd >= 0 => OwnedFd::from_raw_fd(fd),
            _ => return Err(-libc::EBADF),
        }
    };
    if !is_eventfd(&fd) {
        return Err(-libc::EPROTO);
    }
    // SAFETY: by the contract.
    match unsafe { sys::rte_vhost_enable_guest_notification(guest, FROM_GUEST, 1) } {
        0 => Ok(fd),
        _ => Err(-libc::ENOTSUP),
    }
}

fn bytes_of(mbufs: &[crate::Mbuf]) -> u64 {
    mbufs.iter().map(|mbuf| mbuf.len() as u64).sum()
}

fn forget(shared: &Arc<Shared>) {
    open_ports().retain(|other| !Arc::ptr_eq(other, shared));
}

/// In server mode, makes room for the socket: a file that nobody listens on is what a dead process left.
fn prepare_socket(path: &str, mode: VhostMode) -> Result<(), VhostError> {
    if mode != VhostMode::Server {
        return Ok(());
    }
    let refused = |error: std::io::Error| VhostError::Socket {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(VhostError::NotASocket(path.to_owned()));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(refused)?;
            }
            Err(error) => return Err(refused(error)),
            Ok(_) => return Err(VhostError::SocketInUse(path.to_owned())),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
    }
    // DPDK says "operation not permitted" to a directory that does not exist.
    match Path::new(path).parent() {
        Some(directory) if !directory.as_os_str().is_empty() => {
            fs::metadata(directory).map(drop).map_err(refused)
        }
        _ => Ok(()),
    }
}

fn register(shared: &Shared, mode: VhostMode, features: VhostFeatures) -> Result<(), VhostError> {
    let path = shared.path.as_ptr();
    let mut flags = sys::RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS;
    match mode {
        VhostMode::Server => {}
        VhostMode::Client { reconnect: true } => flags |= sys::RTE_VHOST_USER_CLIENT,
        VhostMode::Client { reconnect: false } => {
            flags |= sys::RTE_VHOST_USER_CLIENT | sys::RTE_VHOST_USER_NO_RECONNECT;
        }
    }
    let mark = log::mark();
    let result = |call, errno| match errno {
        0 => Ok(()),
        errno => Err(VhostError::Dpdk {
            path: shared.path.to_string_lossy().into_owned(),
            cause: Cause::new(call, errno, mark),
        }),
    };
    // SAFETY: the path ends in NUL and is copied by the first call; the callbacks are a static that the library keeps a pointer to.
    unsafe {
        result(
            "rte_vhost_driver_register",
            sys::rte_vhost_driver_register(path, flags),
        )?;
        let started = result(
            "rte_vhost_driver_disable_features",
            sys::rte_vhost_driver_disable_features(path, refused_features(features)),
        )
        .and_then(|()| {
            result(
                "rte_vhost_driver_callback_register",
                sys::rte_vhost_driver_callback_register(path, &CALLBACKS.0),
            )
        })
        .and_then(|()| result("rte_vhost_driver_start", sys::rte_vhost_driver_start(path)));
        if started.is_err() {
            sys::rte_vhost_driver_unregister(path);
        }
        started
    }
}
