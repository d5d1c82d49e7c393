//! The machine that VFs are of: files of sysfs, rtnetlink, and waiting. Tests put a recorded one in its place.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
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

    /// The kernel has answered when the request has been sent, so that this does not wait.
    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // A sentence of the driver's own with a refusal, and the request not sent back.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        socket.send(request, 0)?;
        Ok(socket.recv_from_full()?.0)
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
