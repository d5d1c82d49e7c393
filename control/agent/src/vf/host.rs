//! The machine that VFs are of: files of sysfs, rtnetlink, and waiting. Tests put a recorded one in its place.

use super::netlink;
use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_GENERIC, NETLINK_ROUTE},
};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All that control of VFs asks of a machine. Paths are absolute, as on the machine itself.
pub trait Host {
    /// The folder that plays `/` in reading.
    fn root(&self) -> &Path;

    /// Writes a file of sysfs whole, in one write as the kernel wants it.
    fn write(&self, path: &str, text: &str) -> io::Result<()>;

    /// Sends one request of rtnetlink and returns the datagram that answers it.
    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>>;

    /// Sends one request of generic netlink and returns the messages that answer it, each with its header, errors and acknowledgements
    /// among them. A machine without it has no devlink.
    fn ask_generic(&self, _request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lets time pass, for a driver that says it is busy.
    fn pause(&self, time: Duration);

    /// A file's text without the space around it; none if it cannot be read.
    fn read(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.at(path)).ok()?;
        Some(text.trim().to_string())
    }

    /// A file's number; none if there is none.
    fn number(&self, path: &str) -> Option<i64> {
        self.read(path)?.parse().ok()
    }

    /// Whether there is such a file or folder.
    fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The names in a folder, sorted; none if there is no such folder.
    fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.at(path)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// The last part of what a symbolic link points to.
    fn link(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.at(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Where a path of the machine is.
    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Host for ThisMachine {
    fn root(&self) -> &Path {
        Path::new("/")
    }

    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        // No create: what is not in sysfs is not to be made.
        let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
        io::Write::write_all(&mut file, text.as_bytes())
    }

    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        Ok(asking(NETLINK_ROUTE, request)?.recv_from_full()?.0)
    }

    fn ask_generic(&self, request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let socket = asking(NETLINK_GENERIC, request)?;
        let mut messages = Vec::new();
        // The first datagram is all, or the first of many that NLMSG_DONE ends (netlink(7)).
        loop {
            let datagram = socket.recv_from_full()?.0;
            let mut rest = datagram.as_slice();
            while let Some(length) = netlink::word(rest) {
                let length =
                    (length as usize).clamp(netlink::HEADER, rest.len().max(netlink::HEADER));
                let Some(message) = rest.get(..length) else {
                    break;
                };
                if netlink::is_done(message) {
                    return Ok(messages);
                }
                messages.push(message.to_vec());
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
            let last = messages.last();
            if last.is_none_or(|last| !netlink::is_of_many(last)) {
                return Ok(messages);
            }
        }
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A socket on which one request was sent. The kernel has answered when it has been sent, so that reading does not wait.
fn asking(family: isize, request: &[u8]) -> io::Result<Socket> {
    let mut socket = Socket::new(family)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // A sentence of the driver's own with a refusal, and the request not sent back.
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    socket.send(request, 0)?;
    Ok(socket)
}
