//! What the kernel drops before net_af_packet sees it, because the socket's ring is full. The driver of DPDK 22.11 does not tell.

use std::cell::Cell;
use std::mem;
use std::os::fd::RawFd;

/// The packet sockets of one port, and what they lost.
#[derive(Debug, Default)]
pub(crate) struct PacketRings {
    sockets: Vec<RawFd>,
    dropped: Cell<u64>,
}

/// Packet sockets that this process has open.
pub(crate) fn open_sockets() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd| domain(fd) == Some(libc::AF_PACKET))
        .collect()
}

impl PacketRings {
    /// Those that have been opened since `before`.
    pub(crate) fn since(before: &[RawFd]) -> PacketRings {
        let mut sockets = open_sockets();
        sockets.retain(|fd| !before.contains(fd));
        PacketRings {
            sockets,
            dropped: Cell::new(0),
        }
    }

    /// The socket behind the port's one queue. Of several it is not known which is whose.
    pub(crate) fn only(&self) -> Option<RawFd> {
        match self.sockets[..] {
            [socket] => Some(socket),
            _ => None,
        }
    }

    /// Begins at zero: until the driver had bound its sockets they heard every interface.
    pub(crate) fn reset(&self) {
        self.dropped();
        self.dropped.set(0);
    }

    /// Packets so far. To be asked only while the driver has its sockets open.
    pub(crate) fn dropped(&self) -> u64 {
        let new: u64 = self.sockets.iter().map(|&fd| take_drops(fd)).sum();
        self.dropped.set(self.dropped.get() + new);
        self.dropped.get()
    }
}

fn domain(fd: RawFd) -> Option<libc::c_int> {
    option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN, 0)
}

/// Packets dropped since the last call: the kernel begins anew each time (packet(7), PACKET_STATISTICS).
fn take_drops(fd: RawFd) -> u64 {
    // struct tpacket_stats: tp_packets, tp_drops.
    let none = [0_u32; 2];
    let stats = option(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, none);
    stats.map_or(0, |[_, drops]| drops.into())
}

/// An option of a socket; None if the descriptor is no such socket. `T` is made of integers.
fn option<T: Copy>(fd: RawFd, level: libc::c_int, name: libc::c_int, mut value: T) -> Option<T> {
    let mut length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`, for which any bytes are a value; a descriptor that is closed or no
    // socket is refused.
    let result = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut length) };
    (result == 0).then_some(value)
}
