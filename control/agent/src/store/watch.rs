//! Noticing that a file's content has changed, however it was saved.
//!
//! The folders are watched and not the file, since editors save by renaming another file over it. What happens in
//! them only says when to look; what counts is the content. A look every [`LOOK`] besides finds what the kernel does
//! not tell: network file systems, a folder that was itself renamed, a user out of inotify watches.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;

use super::StoreError;
use super::file::{Known, folder, read, target};

/// How long nothing must happen before a change is looked at: longer than an editor takes between its steps.
const QUIET: Duration = Duration::from_millis(50);

/// How long a change waits at most while things go on happening in the folder.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often to look when the kernel says nothing.
const LOOK: Duration = Duration::from_secs(2);

/// The thread that watches; it ends when this is dropped.
pub(super) struct FileWatch {
    signals: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

enum Signal {
    /// Something may have changed in a watched folder.
    Look,
    /// The watch has been dropped.
    Stop,
}

impl FileWatch {
    /// Starts watching the file at `path`.
    pub(super) fn start(
        path: PathBuf,
        known: Arc<Mutex<Known>>,
        changed: Box<dyn Fn() + Send>,
    ) -> Result<FileWatch, StoreError> {
        let (signals, arriving) = channel();
        let from_kernel = signals.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading the file is such an event too: those must not make us read it.
            if event.map_or(true, |event| may_change_content(&event.kind)) {
                let _ = from_kernel.send(Signal::Look);
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "no inotify: the policy is looked at every {LOOK:?} instead"));
        let mut watching = Watching {
            folders: BTreeSet::new(),
            watcher: watcher.ok(),
            seen: stamp(&path),
            path,
            known,
            changed,
        };
        watching.follow();
        let thread = std::thread::Builder::new().name("weir-store".into());
        let path = watching.path.clone();
        let thread = thread
            .spawn(move || watching.run(&arriving))
            .map_err(|source| StoreError::Io {
                path,
                doing: "start a thread to watch it",
                source,
            })?;
        Ok(FileWatch {
            signals,
            thread: Some(thread),
        })
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn may_change_content(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => *kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// What changes when a file does, without reading it: device, inode, length, and both times to the nanosecond.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    let (modified, changed) = (
        (data.mtime(), data.mtime_nsec()),
        (data.ctime(), data.ctime_nsec()),
    );
    Some((data.dev(), data.ino(), data.size(), modified, changed))
}

/// The watching thread's state.
struct Watching {
    path: PathBuf,
    known: Arc<Mutex<Known>>,
    changed: Box<dyn Fn() + Send>,
    watcher: Option<RecommendedWatcher>,
    /// The folders that are watched, by path and identity: one that was replaced is another.
    folders: BTreeSet<(PathBuf, (u64, u64))>,
    /// The file's stamp when it was last looked at.
    seen: Stamp,
}

impl Watching {
    fn run(mut self, signals: &Receiver<Signal>) {
        // What happened between the last load and now is a change too.
        self.look();
        loop {
            match signals.recv_timeout(LOOK) {
                Ok(Signal::Look) => {
                    if !settle(signals) {
                        return;
                    }
                    self.look();
                }
                Err(RecvTimeoutError::Timeout) => {
                    if stamp(&self.path) != self.seen {
                        self.look();
                    }
                    self.follow();
                }
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reads the file and calls if it is not what is known.
    fn look(&mut self) {
        self.follow();
        self.seen = stamp(&self.path);
        let new = {
            let mut known = self.known.lock();
            let before = *known;
            *known = before.after(&read(&self.path));
            // Before the first load nothing is known, and nobody has to be told of an absence.
            *known != before && *known != Known::NeverThere
        };
        if new {
            (self.changed)();
        }
    }

    /// Watches the folder of the path and the folder of the file that it leads to, as they are now.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let link = folder(&self.path).to_owned();
        let file = folder(&target(&self.path)).to_owned();
        let identity = |path: PathBuf| {
            std::fs::metadata(&path)
                .ok()
                .map(|data| (path, (data.dev(), data.ino())))
        };
        let wanted: BTreeSet<_> = [link, file].into_iter().filter_map(identity).collect();
        for (path, _) in self.folders.difference(&wanted) {
            // A folder that is gone is no longer watched anyway.
            let _ = watcher.unwatch(path);
        }
        let mut watched: BTreeSet<_> = self.folders.intersection(&wanted).cloned().collect();
        for folder in wanted.difference(&self.folders) {
            match watcher.watch(&folder.0, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(folder.clone());
                }
                Err(error) => {
                    tracing::debug!(folder = %folder.0.display(), %error, "not watched: looked at every {LOOK:?} instead");
                }
            }
        }
        self.folders = watched;
    }
}

/// Waits until nothing has happened for [`QUIET`], or [`PATIENCE`] is over; false when the watch has been dropped.
fn settle(signals: &Receiver<Signal>) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match signals.recv_timeout(QUIET.min(left)) {
            Ok(Signal::Look) if !left.is_zero() => {}
            Ok(Signal::Look) | Err(RecvTimeoutError::Timeout) => return true,
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}
