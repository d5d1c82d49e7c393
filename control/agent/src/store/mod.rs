//! Where policy comes from.
//!
//! A [`Store`] holds the whole policy as text; what the text means is for [`crate::policy`]. There is one so far, a
//! TOML [`mod@file`].

mod edit;
pub mod file;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

pub use file::FileStore;

use crate::config::host::StoreConfig;
use crate::last_good::Refused;
use crate::last_good::format::{Input, Output};
use crate::plan::Plan;
use crate::pull::{Found, Ticket, Wanted};
use crate::stats::PolicyError;

/// A source of policy.
pub trait Store: Send {
    /// What it is, for people: `file policy.toml`.
    fn describe(&self) -> String;

    /// What refusals of its content call it, as `origin` of [`crate::policy::Policy::parse`].
    fn origin(&self) -> String;

    /// The whole content as it stands.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// What the content is told apart by now, without reading it; `None` where that cannot be said.
    fn stamp(&self) -> Option<Stamp>;

    /// There was content when this host ran last: none is no longer an empty policy.
    fn was_there(&mut self);

    /// Makes `text` the whole content, at once and durably, and says what it is known by. Does not call what [`Store::watch`] was given: the one who
    /// replaces knows.
    fn replace(&mut self, text: &str) -> Result<Mark, StoreError>;

    /// The content as it would be without one object, everything else kept as it is written. Writes nothing: the caller
    /// validates the text and then [`Store::replace`]s the content with it.
    fn without(&mut self, kind: &str, name: &str) -> Result<String, StoreError>;

    /// Asks for a record that a vNIC here has missed, at the time `now`. Does not wait: the answer is among those that
    /// [`Store::answers`] gives, at any time, in any order, or never. `plan` is what this store's content, as it was applied last,
    /// means here: all that a store without others behind it needs.
    fn lookup(&mut self, ticket: Ticket, wanted: Wanted, plan: &Plan, now: Duration);

    /// Answers that have come by `now`, each once: to which question, and what there is.
    fn answers(&mut self, now: Duration) -> Vec<(Ticket, Option<Found>)>;

    /// Calls `changed`, on a thread of the store's own, whenever the content is not what was last loaded, replaced or
    /// called about, until the [`Watch`] is dropped.
    fn watch(&mut self, changed: Box<dyn Fn() + Send>) -> Result<Watch, StoreError>;
}

/// The content of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The whole policy.
    pub text: String,
    /// What a person should know about it, for `weir status`: that there is none yet.
    pub note: Option<PolicyError>,
    /// What it is known by later.
    pub mark: Mark,
}

/// What tells whether a store holds what it held, also to another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// A hash of the content, and its length.
    pub content: (u64, u64),
    /// How the file system tells it apart; `None` if it was too new for that: a second change within a tick of the clock looks
    /// like none.
    pub stamp: Option<Stamp>,
}

/// What changes with a file's content: `ctime` does, whatever is done to `mtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub file: (u64, u64),
    /// Bytes.
    pub length: u64,
    /// `mtime` and `ctime`, in nanoseconds.
    pub times: (u64, u64),
}

impl Mark {
    /// Writes it.
    pub(crate) fn write<W: std::io::Write>(&self, to: &mut Output<W>) -> std::io::Result<()> {
        let none = Stamp {
            file: (0, 0),
            length: 0,
            times: (0, 0),
        };
        let stamp = self.stamp.unwrap_or(none);
        for number in [
            self.content.0,
            self.content.1,
            stamp.file.0,
            stamp.file.1,
            stamp.times.0,
            stamp.times.1,
        ] {
            to.u64(number)?;
        }
        Ok(())
    }

    /// Reads it.
    pub(crate) fn read<R: std::io::Read>(from: &mut Input<R>) -> Result<Mark, Refused> {
        let content = (from.u64()?, from.u64()?);
        let (file, times) = ((from.u64()?, from.u64()?), (from.u64()?, from.u64()?));
        let stamp = Stamp {
            file,
            length: content.1,
            times,
        };
        Ok(Mark {
            content,
            stamp: (times.1 > 0).then_some(stamp),
        })
    }
}

/// Keeps a store watched while it lives; dropping it waits for a call that is under way, so drop it elsewhere than
/// inside that call.
#[must_use = "the store is watched only while this lives"]
pub struct Watch {
    _watched: Box<dyn Send>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// Opens the store that host.toml names, which answers questions after `answer_delay`. Needs nothing to be there yet.
pub fn open(config: &StoreConfig, answer_delay: Duration) -> Box<dyn Store> {
    match config {
        StoreConfig::File { path } => Box::new(FileStore::new(path).answering_after(answer_delay)),
    }
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, e.g. `read it`.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was there and is gone.
    #[error("{}: the file is gone", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// There is something else in the file's place.
    #[error("{}: not a file", path.display())]
    NotAFile {
        /// What should be one.
        path: PathBuf,
    },
    /// The content cannot be edited as it stands.
    #[error("{origin}: not TOML: {problem}")]
    NotToml {
        /// What refusals call the store.
        origin: String,
        /// The line of the first mistake, from 1.
        line: Option<u32>,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such kind of object.
    #[error("there is no kind \"{kind}\" to delete from")]
    UnknownKind {
        /// What was asked for.
        kind: String,
    },
    /// There is no such object.
    #[error("{origin}: there is no {kind} \"{name}\"")]
    NoSuch {
        /// What refusals call the store.
        origin: String,
        /// The kind.
        kind: String,
        /// The name.
        name: String,
    },
    /// More than one object has this name.
    #[error("{origin}: there are {count} of {kind} \"{name}\"")]
    Ambiguous {
        /// What refusals call the store.
        origin: String,
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// How many there are.
        count: usize,
    },
}

impl StoreError {
    /// As a refusal, with its mend.
    pub fn refusal(&self) -> PolicyError {
        let of_file = |path: &PathBuf, problem: String, mend: &str| PolicyError {
            file: path.display().to_string(),
            line: None,
            object: "the policy".into(),
            problem,
            mend: mend.into(),
        };
        let of_object = |file: &str, object: String, problem: String, mend: String| PolicyError {
            file: file.into(),
            line: None,
            object,
            problem,
            mend,
        };
        match self {
            StoreError::Io {
                path,
                doing,
                source,
            } => {
                let mend = match source.kind() {
                    std::io::ErrorKind::NotFound => {
                        "make its folder, or mend [store] path in host.toml"
                    }
                    std::io::ErrorKind::PermissionDenied => {
                        "let the daemon's user read and write it and its folder"
                    }
                    std::io::ErrorKind::InvalidData => "write it in UTF-8",
                    std::io::ErrorKind::StorageFull => "make room on its file system",
                    _ => "mend what the system says, then save the file again",
                };
                of_file(path, format!("cannot {doing}: {source}"), mend)
            }
            StoreError::Gone { path } => of_file(
                path,
                "the file is gone; what was applied last stays".into(),
                "put it back, or `weir apply -f` a policy; an empty file takes everything down",
            ),
            StoreError::NotAFile { path } => of_file(
                path,
                "it is not a file".into(),
                "mend [store] path in host.toml",
            ),
            StoreError::NotToml {
                origin,
                line,
                problem,
            } => PolicyError {
                line: *line,
                ..of_object(
                    origin,
                    "the file".into(),
                    format!("not TOML: {problem}"),
                    "mend the file, or replace it whole with `weir apply -f`".into(),
                )
            },
            StoreError::UnknownKind { kind } => of_object(
                "",
                kind.clone(),
                format!("there is no kind \"{kind}\" to delete from"),
                format!(
                    "use one of {}; uplinks and trunks are in host.toml, peers follow from hosts",
                    crate::policy::as_json::KINDS.join(", ")
                ),
            ),
            StoreError::NoSuch { origin, kind, name } => of_object(
                origin,
                format!("{kind} {name}"),
                "it is not in the policy".into(),
                format!("`weir get {kind}` lists what there is"),
            ),
            StoreError::Ambiguous {
                origin,
                kind,
                name,
                count,
            } => of_object(
                origin,
                format!("{kind} {name}"),
                format!("there are {count} of this name"),
                "take the right one out of the file by hand".into(),
            ),
        }
    }
}
