//! One TOML file, which is the whole truth.
//!
//! It is replaced by a rename, so that whoever reads it reads all of the old or all of the new. A file that is not there
//! when the daemon starts is an empty policy, since `weir apply` can bring it; one that was there and is gone is an
//! error, so that a slip of `rm` takes no network down: what was applied last stays.

use std::collections::VecDeque;
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::edit::{self, EditError};
use super::watch::FileWatch;
use super::{Loaded, Mark, Stamp, Store, StoreError, Watch};
use crate::config::spans::Lines;
use crate::learn;
use crate::plan::Plan;
use crate::pull::{Found, Ticket, Wanted};
use crate::stats::PolicyError;

/// A policy in one file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// The content that the daemon knows of. Held while the file is read or replaced, so that the watching thread
    /// never takes the daemon's own change for another's.
    known: Arc<Mutex<Known>>,
    /// How long an answer waits: zero but in tests.
    answer_delay: Duration,
    /// Answers that wait, in order, each with the time when it is given.
    answers: VecDeque<(Duration, Ticket, Option<Found>)>,
}

/// What of the file's content its watchers have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing yet.
    Nothing,
    /// That there is no file, and there never was while the daemon ran.
    NeverThere,
    /// That the file which was there is gone.
    Gone,
    /// That it cannot be read.
    Unreadable,
    /// Content with this hash and length.
    Content(u64, usize),
}

impl Known {
    /// What is known after the file has been read with this result.
    pub(super) fn after(self, read: &Result<Option<String>, StoreError>) -> Known {
        match (read, self) {
            (Ok(Some(text)), _) => Known::content(text),
            (Ok(None), Known::Nothing | Known::NeverThere) => Known::NeverThere,
            (Ok(None), _) => Known::Gone,
            (Err(_), _) => Known::Unreadable,
        }
    }

    fn content(text: &str) -> Known {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Known::Content(hasher.finish(), text.len())
    }

    fn mark(self, stamp: Option<Stamp>) -> Mark {
        match self {
            Known::Content(hash, length) => Mark {
                content: (hash, length as u64),
                stamp,
            },
            _ => Mark::default(),
        }
    }
}

/// How old a file must be until its times tell it apart from what it may become: longer than any file system's clock ticks.
const SETTLED: Duration = Duration::from_secs(2);

/// What the file at `path` is told apart by.
fn stamp(path: &Path) -> Option<Stamp> {
    let of = std::fs::metadata(path).ok()?;
    let nanos = |seconds: i64, nanos: i64| {
        let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        u64::try_from(nanos).ok()
    };
    Some(Stamp {
        file: (of.dev(), of.ino()),
        length: of.len(),
        times: (
            nanos(of.mtime(), of.mtime_nsec())?,
            nanos(of.ctime(), of.ctime_nsec())?,
        ),
    })
}

/// The same, if it is old enough.
fn settled(path: &Path) -> Option<Stamp> {
    let stamp = stamp(path)?;
    let changed = SystemTime::UNIX_EPOCH + Duration::from_nanos(stamp.times.1);
    let age = SystemTime::now().duration_since(changed).ok()?;
    (age > SETTLED).then_some(stamp)
}

/// The file's text; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, StoreError> {
    let failed = |source: std::io::Error| StoreError::Io {
        path: path.to_owned(),
        doing: "read it",
        source,
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        // A pipe or a folder would block or say something less plain.
        Ok(metadata) if !metadata.is_file() => {
            return Err(StoreError::NotAFile {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// The file that `path` leads to through symbolic links, whether or not it is there.
pub(super) fn target(path: &Path) -> PathBuf {
    /// As many links as Linux follows, path_resolution(7).
    const LINKS: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        match std::fs::read_link(&target) {
            Ok(link) => target = folder(&target).join(link),
            Err(_) => break,
        }
    }
    target
}

/// The folder that `path` is in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl FileStore {
    /// The store in the file at `path`, which need not be there.
    pub fn new(path: impl Into<PathBuf>) -> FileStore {
        FileStore {
            path: path.into(),
            known: Arc::new(Mutex::new(Known::Nothing)),
            answer_delay: Duration::ZERO,
            answers: VecDeque::new(),
        }
    }

    /// The same, whose answers to [`Store::lookup`] take so long, for tests.
    pub fn answering_after(self, answer_delay: Duration) -> FileStore {
        FileStore {
            answer_delay,
            ..self
        }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `text` beside `target` and renames it over it, with the mode and owner of the old file.
    fn rename_over(&self, target: &Path, text: &str) -> Result<(), StoreError> {
        let folder = folder(target);
        let failed = |doing| {
            move |source| StoreError::Io {
                path: target.to_owned(),
                doing,
                source,
            }
        };
        let old = std::fs::metadata(target).ok();
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            return Err(StoreError::NotAFile {
                path: target.to_owned(),
            });
        }
        // What a new file of this user would get: 0666 less the umask.
        let mut new = tempfile::Builder::new()
            .prefix(".weir-policy-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(failed("write beside it"))?;
        if let Some(old) = old {
            let file = new.as_file();
            let made = file.metadata().map_err(failed("write beside it"))?;
            if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
                // Only root may give files away; for others the content matters more than its owner.
                if let Err(error) = fchown(file, Some(old.uid()), Some(old.gid())) {
                    tracing::warn!(path = %target.display(), %error, "the policy's owner is not kept");
                }
            }
            let mode = Permissions::from_mode(old.mode() & 0o7777);
            file.set_permissions(mode)
                .map_err(failed("write beside it"))?;
        }
        new.write_all(text.as_bytes())
            .map_err(failed("write beside it"))?;
        new.as_file()
            .sync_all()
            .map_err(failed("write beside it"))?;
        new.persist(target)
            .map_err(|error| failed("rename over it")(error.error))?;
        // The rename itself must outlive a power cut too.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("sync its folder"))
    }
}

impl Store for FileStore {
    fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn load(&mut self) -> Result<Loaded, StoreError> {
        let mut known = self.known.lock();
        let before = settled(&self.path);
        let content = read(&self.path);
        *known = known.after(&content);
        let mark = known.mark(before.filter(|before| stamp(&self.path) == Some(*before)));
        match content? {
            Some(text) => Ok(Loaded {
                text,
                note: None,
                mark,
            }),
            None if *known == Known::Gone => Err(StoreError::Gone {
                path: self.path.clone(),
            }),
            None => Ok(Loaded {
                text: String::new(),
                note: Some(PolicyError {
                    file: self.origin(),
                    line: None,
                    object: "the policy".into(),
                    problem: "there is no such file yet, so there is no policy".into(),
                    mend: "`weir apply -f` one, or write it there".into(),
                }),
                mark,
            }),
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        stamp(&self.path)
    }

    fn was_there(&mut self) {
        let mut known = self.known.lock();
        // The watching thread may have looked before.
        if matches!(*known, Known::Nothing | Known::NeverThere) {
            *known = Known::Gone;
        }
    }

    fn replace(&mut self, text: &str) -> Result<Mark, StoreError> {
        let mut known = self.known.lock();
        let written = self.rename_over(&target(&self.path), text);
        // A folder that could not be synced is reported, and yet holds the new file.
        if written.is_ok() || read(&self.path).is_ok_and(|now| now.as_deref() == Some(text)) {
            *known = Known::content(text);
        }
        written.map(|()| Known::content(text).mark(None))
    }

    fn without(&mut self, kind: &str, name: &str) -> Result<String, StoreError> {
        let origin = self.origin();
        let text = read(&self.path)?.unwrap_or_default();
        edit::without(&text, kind, name).map_err(|error| match error {
            EditError::NotToml(offset, problem) => {
                let line = offset.map(|offset| Lines::of(&text).at(offset).0);
                StoreError::NotToml {
                    origin,
                    line,
                    problem,
                }
            }
            EditError::UnknownKind => StoreError::UnknownKind { kind: kind.into() },
            EditError::NoSuch => StoreError::NoSuch {
                origin,
                kind: kind.into(),
                name: name.into(),
            },
            EditError::Ambiguous(count) => StoreError::Ambiguous {
                origin,
                kind: kind.into(),
                name: name.into(),
                count,
            },
        })
    }

    fn lookup(&mut self, ticket: Ticket, wanted: Wanted, plan: &Plan, now: Duration) {
        let answer = learn::in_plan(&wanted, plan);
        let due = now.saturating_add(self.answer_delay);
        self.answers.push_back((due, ticket, answer));
    }

    fn answers(&mut self, now: Duration) -> Vec<(Ticket, Option<Found>)> {
        let due = self.answers.partition_point(|(due, ..)| *due <= now);
        let answers = self.answers.drain(..due);
        answers.map(|(_, ticket, found)| (ticket, found)).collect()
    }

    fn watch(&mut self, changed: Box<dyn Fn() + Send>) -> Result<Watch, StoreError> {
        let watch = FileWatch::start(self.path.clone(), Arc::clone(&self.known), changed)?;
        Ok(Watch {
            _watched: Box::new(watch),
        })
    }
}
