//! Raw frames at an interface: what no honest kernel sends, and all that one receives.
#![allow(unsafe_code)]

use super::{Ns, PATIENCE};
use rustix::fd::OwnedFd;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, bind, eth, netdevice, recv, send, socket,
    sockopt,
};
use std::time::{Duration, Instant};

/// `struct sockaddr_ll` of packet(7).
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    interface: i32,
    hardware: u16,
    packet: u8,
    length: u8,
    address: [u8; 8],
}

// SAFETY: `f` is called with a pointer to all of `self`, which outlives the call and is laid out as sockaddr_ll.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        f(
            std::ptr::from_ref(self).cast(),
            size_of::<LinkAddress>() as SocketAddrLen,
        )
    }
}

/// A raw socket on one interface. It hears all that others send there, and nothing that comes from its own MAC.
pub struct Raw {
    fd: OwnedFd,
    own: [u8; 6],
}

impl Raw {
    /// Opens one.
    pub fn open(ns: &Ns, interface: &str, own: [u8; 6]) -> Raw {
        ns.inside(|| {
            let fd = socket(AddressFamily::PACKET, SocketType::RAW, Some(eth::ALL))
                .expect("a raw socket");
            sockopt::set_socket_recv_buffer_size_force(&fd, 8 << 20).expect("SO_RCVBUFFORCE");
            let index =
                netdevice::name_to_index(&fd, interface).expect("the interface is there") as i32;
            let address = LinkAddress {
                family: AddressFamily::PACKET.as_raw(),
                protocol: 0x0003_u16.to_be(),
                interface: index,
                hardware: 0,
                packet: 0,
                length: 0,
                address: [0; 8],
            };
            bind(&fd, &address).expect("bind");
            let raw = Raw { fd, own };
            // Between socket and bind it heard every interface.
            while raw.take(Duration::ZERO).is_some() {}
            raw
        })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        let sent = self.try_send(frame).expect("the interface takes the frame");
        assert_eq!(sent, frame.len());
    }

    /// Sends a frame, or says why not.
    pub fn try_send(&self, frame: &[u8]) -> rustix::io::Result<usize> {
        send(&self.fd, frame, SendFlags::empty())
    }

    fn take(&self, patience: Duration) -> Option<Vec<u8>> {
        let flags = if patience.is_zero() {
            RecvFlags::DONTWAIT
        } else {
            RecvFlags::empty()
        };
        sockopt::set_socket_timeout(
            &self.fd,
            sockopt::Timeout::Recv,
            Some(patience.max(Duration::from_millis(1))),
        )
        .expect("SO_RCVTIMEO");
        let mut buffer = vec![0; 65_536];
        let (length, _) = recv(&self.fd, &mut buffer[..], flags).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// Everything that has arrived since the last look.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        let all = std::iter::from_fn(|| self.take(Duration::ZERO));
        all.filter(|frame| frame.get(6..12) != Some(&self.own))
            .collect()
    }

    /// Waits for a frame that `wanted` says; gives it and all that came before it.
    pub fn wait(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let end = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while Instant::now() < end {
            let Some(frame) = self.take(Duration::from_millis(100)) else {
                continue;
            };
            if frame.get(6..12) == Some(&self.own) {
                continue;
            }
            let found = wanted(&frame);
            heard.push(frame);
            if found {
                return heard;
            }
        }
        panic!(
            "not within {PATIENCE:?}: {what}; {} other frames came",
            heard.len()
        );
    }
}
