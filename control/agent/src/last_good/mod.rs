//! The last good state: the policy that was applied last, on disk, so that a host which starts while the store is away, or
//! holds nothing that can be applied, forwards as it did before; and so that one which starts with an unchanged store need not read
//! and check that again.
//!
//! The file is a header of 96 bytes and the packed policy (`format`), each with a checksum. It is written beside and renamed
//! ([`keeper`]), so that whoever ends the daemon, at any time, leaves the old one or the new one. What is damaged, of
//! another version of Weir, or was made under another host.toml is [`Refused`], with its reason, and the store is read instead.

pub mod format;
pub mod keeper;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::host::HostConfig;
use crate::config::spans::Line;
use crate::policy::Policy;
use crate::store::Mark;
use format::{Input, Output};

/// Changes with the layout.
const FORMAT: u32 = 3;
const MAGIC: [u8; 8] = *b"WEIRLAST";
/// Bytes of the header: what is below, and zeroes.
const HEADER: usize = 96;

/// Why a file is not used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// The operating system refused.
    #[error("cannot be read: {0}")]
    Io(String),
    /// It is something else.
    #[error("it is no last good state of Weir")]
    NotOne,
    /// Another layout.
    #[error("it is of another version of Weir (layout {0}, this one has {FORMAT})")]
    Version(u32),
    /// The checks that it passed were those of another version.
    #[error("it is of another version of Weir")]
    Release,
    /// It was made for something else.
    #[error("it was made under another host.toml")]
    Host,
    /// Bytes are not what was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Refused {
        match error.kind() {
            ErrorKind::UnexpectedEof => Refused::Damaged("it ends too early"),
            _ => Refused::Io(error.to_string()),
        }
    }
}

/// A file whose header is good.
#[derive(Debug)]
pub struct Kept {
    file: File,
    body_bytes: u64,
    body_sum: u32,
    /// What the store held.
    pub mark: Mark,
    /// When it was written.
    pub saved: SystemTime,
}

/// Where the last good state of a host is, within `folder`.
pub fn path(folder: &Path, host: &HostConfig) -> PathBuf {
    folder.join(format!("{}.state", host.name))
}

impl Kept {
    /// Opens the file at `path` that was made for `host`; `None` if there is none.
    pub fn open(path: &Path, host: &HostConfig) -> Result<Option<Kept>, Refused> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut header = [0; HEADER];
        file.read_exact(&mut header)?;
        let mut from = Input::of(&header[..]);
        if from.bytes::<8>()? != MAGIC {
            return Err(Refused::NotOne);
        }
        let layout = from.u32()?;
        if layout != FORMAT {
            return Err(Refused::Version(layout));
        }
        let (release, digest) = (from.u32()?, from.u32()?);
        let (body_sum, body_bytes) = (from.u32()?, from.u64()?);
        let saved = Duration::from_secs(from.u64()?);
        let mark = Mark::read(&mut from)?;
        let sum = u32::from_le_bytes(*header.last_chunk().unwrap_or(&[0; 4]));
        if sum != crc32fast::hash(&header[..HEADER - 4]) {
            return Err(Refused::Damaged("the sum of its header is another"));
        }
        if release != self::release() {
            return Err(Refused::Release);
        }
        if digest != self::digest(host) {
            return Err(Refused::Host);
        }
        if file.metadata()?.len() != body_bytes.saturating_add(HEADER as u64) {
            return Err(Refused::Damaged("it has another length"));
        }
        Ok(Some(Kept {
            file,
            body_bytes,
            body_sum,
            mark,
            saved: SystemTime::UNIX_EPOCH + saved,
        }))
    }

    /// The policy in it. Nothing of it is used before all of it is known to be as it was written.
    pub fn policy(self) -> Result<Policy, Refused> {
        let mut from = Input::within(self.file, self.body_bytes);
        let policy = format::read(&mut from)?;
        if from.left() != 0 {
            return Err(Refused::Damaged("there is something behind its end"));
        }
        if from.sum() != self.body_sum {
            return Err(Refused::Damaged("its sum is another"));
        }
        format::check(&policy)?;
        Ok(policy)
    }
}

/// The bytes of a header.
fn header(host: &HostConfig, mark: &Mark, body: (u64, u32)) -> std::io::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut bytes = Vec::with_capacity(HEADER);
    let mut to = Output::to(&mut bytes);
    to.bytes(&MAGIC)?;
    to.u32(FORMAT)?;
    to.u32(release())?;
    to.u32(digest(host))?;
    to.u32(body.1)?;
    to.u64(body.0)?;
    to.u64(now.unwrap_or_default().as_secs())?;
    mark.write(&mut to)?;
    bytes.resize(HEADER - 4, 0);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    Ok(bytes)
}

/// What stands for this version of Weir, whose checks a policy has passed.
fn release() -> u32 {
    crc32fast::hash(env!("CARGO_PKG_VERSION").as_bytes())
}

/// What stands for all in host.toml that a policy is held against, and for its store; not for where it is written.
fn digest(host: &HostConfig) -> u32 {
    let (mut uplinks, mut trunks) = (host.uplinks.clone(), host.trunks.clone());
    uplinks.iter_mut().for_each(|uplink| uplink.line = Line(0));
    trunks.iter_mut().for_each(|trunk| trunk.line = Line(0));
    let all = (&host.name, uplinks, trunks, &host.store, &host.pulling);
    crc32fast::hash(format!("{all:?}").as_bytes())
}
