//! Which daemon is meant: `--socket`, `--host`, `$WEIR_SOCKET`, or the only one there is.

use crate::client::Client;
use crate::failure::Failure;
use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use weir_agent::config::host::HostConfig;

/// Where daemons put their sockets unless told otherwise.
pub const FOLDER: &str = "/run/weir";

/// A client of the daemon that is meant. Fails if it cannot be told which.
pub fn client(socket: Option<&Path>, host: Option<&Path>) -> Result<Client, Failure> {
    locate(
        socket,
        host,
        std::env::var_os("WEIR_SOCKET"),
        Path::new(FOLDER),
    )
    .map(Client::new)
}

/// The socket that is meant, by the first that is given: `socket`, the one in the file `host`, `env`, else the only
/// one in `folder`. Where several are there, those that nobody answers do not count.
pub fn locate(
    socket: Option<&Path>,
    host: Option<&Path>,
    env: Option<OsString>,
    folder: &Path,
) -> Result<PathBuf, Failure> {
    if let Some(socket) = socket {
        return Ok(socket.to_path_buf());
    }
    if let Some(host) = host {
        return HostConfig::load(host)
            .map(|config| config.socket)
            .map_err(Failure::Refused);
    }
    if let Some(socket) = env.filter(|s| !s.is_empty()) {
        return Ok(socket.into());
    }
    let mut found = sockets(folder);
    if found.len() > 1 {
        found.retain(|path| UnixStream::connect(path).is_ok());
    }
    match found.as_slice() {
        [] => Err(Failure::one(
            "",
            format!("no daemon found: no socket in {}", folder.display()),
            "start one with `weir run --host host.toml`, or say where it is with --socket PATH",
        )),
        [only] => Ok(only.clone()),
        several => {
            let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
            Err(Failure::one(
                "",
                format!("several daemons run: {}", names.join(", ")),
                "choose one with --socket PATH",
            ))
        }
    }
}

/// The sockets of daemons that run: those in `folder` and `$WEIR_SOCKET` that somebody listens on.
pub fn running(folder: &Path) -> Vec<PathBuf> {
    let mut found = sockets(folder);
    found.extend(
        std::env::var_os("WEIR_SOCKET")
            .filter(|s| !s.is_empty())
            .map(PathBuf::from),
    );
    found.retain(|path| UnixStream::connect(path).is_ok());
    found.sort();
    found.dedup();
    found
}

/// The sockets in a folder, by name.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "sock"))
        .collect();
    found.sort();
    found
}
