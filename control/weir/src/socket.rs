//! Taking the daemon's socket, so that of two daemons started on it at the same time exactly one wins.
//!
//! A lock file beside the socket (`PATH.lock`, flock) decides; it holds the owner's process id. Who has the lock may
//! replace a socket that nobody answers. The kernel frees the lock however its owner dies, so a killed daemon leaves
//! nothing that a human must clear away.

use crate::client::{Client, Probe};
use crate::failure::Failure;
use rustix::fs::{FlockOperation, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the owner of a lock may take to say who it is, before the lock file's word is taken.
const OWNER: Duration = Duration::from_millis(300);

/// How long something on a socket that nobody has locked may take to say what it is.
const STRANGER: Duration = Duration::from_secs(2);

/// A daemon's socket, owned: no other daemon gets it before this is dropped. Dropping it removes socket and lock file.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    lock_path: PathBuf,
    /// Held, not read: closing it frees the lock.
    _lock: File,
    listener: UnixListener,
    /// Set once the files are gone: those that are there afterwards are the next daemon's.
    removed: AtomicBool,
}

impl Claim {
    /// Takes the lock, replaces a stale socket, binds with mode 0600 and listens. Makes the folder if there is none.
    /// Fails with a named reason if another daemon runs there, or if the path cannot be a socket.
    pub fn take(path: &Path) -> Result<Claim, Failure> {
        make_folder(path)?;
        let lock_path = lock_path(path);
        let lock = take_lock(path, &lock_path)?;
        // From here on the lock is ours, and so is the duty to remove its file when the rest fails.
        match replace_stale(path).and_then(|()| bind(path)) {
            Ok(listener) => {
                let removed = AtomicBool::new(false);
                Ok(Claim {
                    path: path.to_path_buf(),
                    lock_path,
                    _lock: lock,
                    listener,
                    removed,
                })
            }
            Err(failure) => {
                let _ = std::fs::remove_file(&lock_path);
                Err(failure)
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another descriptor of the listening socket, for the server.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Removes socket and lock file now, for a process that is about to end without dropping this. Only the first call
    /// does anything.
    pub fn remove_files(&self) {
        if self.removed.swap(true, Ordering::SeqCst) {
            return;
        }
        // The socket first, the lock last: who takes the lock next must not lose its own socket.
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(&self.lock_path);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.remove_files();
    }
}

/// The lock file's path: the socket's with `.lock` behind it.
pub fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

fn fault(path: &Path, problem: impl Into<String>, mend: &str) -> Failure {
    Failure::one(format!("socket {}", path.display()), problem, mend)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .map_err(|error| {
            let problem = format!("its folder {} cannot be made: {error}", folder.display());
            fault(
                path,
                problem,
                "choose another path with --socket, or run as root",
            )
        })
}

/// Locks the lock file, or says who has it. The loop: an owner removes its lock file when it ends, so a lock on a file
/// that is no longer the one at the path guards nothing and is taken anew.
fn take_lock(path: &Path, lock_path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| {
        let problem = format!(
            "its lock file {} cannot be taken: {error}",
            lock_path.display()
        );
        fault(
            path,
            problem,
            "choose another path with --socket, or run as root",
        )
    };
    loop {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(lock_path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(already_running(path, &mut file)),
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(failed(errno.into())),
        }
        let ours = file.metadata().map_err(failed)?;
        let same = std::fs::metadata(lock_path)
            .is_ok_and(|m| m.ino() == ours.ino() && m.dev() == ours.dev());
        if same {
            file.set_len(0)
                .and_then(|()| writeln!(file, "{}", std::process::id()))
                .map_err(failed)?;
            return Ok(file);
        }
    }
}

/// The refusal, with the owner's process id: as the daemon says, else as the lock file says.
fn already_running(path: &Path, lock: &mut File) -> Failure {
    let pid = match Client::new(path).probe(OWNER) {
        Probe::Daemon(status) => Some(status.pid.to_string()),
        _ => {
            let mut text = String::new();
            let read = lock.rewind().and_then(|()| lock.read_to_string(&mut text));
            read.ok()
                .map(|_| text.trim().to_string())
                .filter(|pid| !pid.is_empty())
        }
    };
    running(path, pid)
}

fn running(path: &Path, pid: Option<String>) -> Failure {
    let problem = match &pid {
        Some(pid) => format!("a daemon is already running there, pid {pid}"),
        None => "a daemon is already running there".to_string(),
    };
    let mend = match &pid {
        Some(pid) => format!("stop it with `kill {pid}`, or choose another socket with --socket"),
        None => "stop it, or choose another socket with --socket".to_string(),
    };
    fault(path, problem, &mend)
}

/// Removes a socket that nobody answers; refuses to touch anything else. Only with the lock held.
fn replace_stale(path: &Path) -> Result<(), Failure> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(fault(
                path,
                format!("cannot be looked at: {error}"),
                "choose another path with --socket",
            ));
        }
    };
    if !kind.is_socket() {
        return Err(fault(
            path,
            "is there already and is no socket",
            "remove it, or choose another path with --socket",
        ));
    }
    match Client::new(path).probe(STRANGER) {
        Probe::Nobody => {}
        Probe::Daemon(status) => return Err(running(path, Some(status.pid.to_string()))),
        Probe::Other(what) => {
            let problem = format!("another program has it: {what}");
            return Err(fault(
                path,
                problem,
                "stop that program, or choose another socket with --socket",
            ));
        }
    }
    std::fs::remove_file(path).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(fault(
            path,
            format!("is stale and cannot be removed: {error}"),
            "remove it by hand",
        )),
    })
}

/// Binds and listens. Linux gives the new file the mode of the unbound socket, so that it never has a wider one, not
/// even for a moment (`unix_bind_bsd` in net/unix/af_unix.c).
fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |errno: rustix::io::Errno| {
        let mend = match errno {
            rustix::io::Errno::NAMETOOLONG => "choose a path of at most 107 bytes with --socket",
            _ => "choose another path with --socket, or run as root",
        };
        fault(
            path,
            format!("cannot be bound: {}", io::Error::from(errno)),
            mend,
        )
    };
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(failed)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    rustix::net::bind(&socket, &address).map_err(failed)?;
    rustix::net::listen(&socket, 64).map_err(|errno| {
        let _ = std::fs::remove_file(path);
        failed(errno)
    })?;
    Ok(UnixListener::from(socket))
}
