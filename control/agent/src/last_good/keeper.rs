//! Who writes the last good state: a thread of its own, so that neither control nor a worker waits for a disk. Of several
//! policies that come while it writes, the newest is written next.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use parking_lot::{Condvar, Mutex};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::HEADER;
use super::format::{self, Output};
use crate::config::host::HostConfig;
use crate::policy::Policy;
use crate::store::Mark;

/// Bytes that are written at once.
const CHUNK: usize = 1 << 20;

/// What it has done so far.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// When the file that is there was written.
    pub saved: Option<SystemTime>,
    /// Why the newest policy is not in it.
    pub problem: Option<String>,
}

#[derive(Default)]
struct Shared {
    next: Option<(Arc<Policy>, Mark)>,
    busy: bool,
    ends: bool,
    done: Done,
}

/// The thread, from the side of those who give it something to do.
pub struct Keeper {
    path: PathBuf,
    shared: Arc<(Mutex<Shared>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it for the file at `path`, which was written at `saved` if it is there.
    pub fn start(
        path: PathBuf,
        host: HostConfig,
        saved: Option<SystemTime>,
    ) -> std::io::Result<Keeper> {
        let shared = Arc::new((Mutex::new(Shared::default()), Condvar::new()));
        shared.0.lock().done.saved = saved;
        let (its, at) = (shared.clone(), path.clone());
        let thread = std::thread::Builder::new()
            .name("weir-state".into())
            .spawn(move || {
                keep_off(&host.dataplane.workers);
                work(&its, &at, &host);
            })?;
        Ok(Keeper {
            path,
            shared,
            thread: Some(thread),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has a policy written that the store held so.
    pub fn keep(&self, policy: Arc<Policy>, mark: Mark) {
        self.shared.0.lock().next = Some((policy, mark));
        self.shared.1.notify_all();
    }

    /// What it has done so far.
    pub fn done(&self) -> Done {
        self.shared.0.lock().done.clone()
    }

    /// Waits until all that it was given is written, or could not be.
    pub fn wait(&self) {
        let (shared, changed) = &*self.shared;
        let mut shared = shared.lock();
        while shared.next.is_some() || shared.busy {
            changed.wait(&mut shared);
        }
    }
}

impl Drop for Keeper {
    /// What it was given is written first.
    fn drop(&mut self) {
        self.shared.0.lock().ends = true;
        self.shared.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes the workers' cores out of this thread's affinity, if any core is left then.
fn keep_off(workers: &[u32]) {
    let Ok(mut cores) = sched_getaffinity(None) else {
        return;
    };
    let workers = workers.iter().map(|core| *core as usize);
    workers
        .filter(|core| *core < CpuSet::MAX_CPU)
        .for_each(|core| cores.unset(core));
    if cores.count() > 0 {
        // Where the kernel refuses, things stay as they are.
        let _ = sched_setaffinity(None, &cores);
    }
}

fn work((shared, changed): &(Mutex<Shared>, Condvar), path: &Path, host: &HostConfig) {
    loop {
        let (policy, mark) = {
            let mut shared = shared.lock();
            loop {
                match shared.next.take() {
                    Some(next) => {
                        shared.busy = true;
                        break next;
                    }
                    None if shared.ends => return,
                    None => changed.wait(&mut shared),
                }
            }
        };
        let written = write(path, host, &policy, &mark);
        // Perhaps the last to hold it: millions of vNICs are freed here.
        drop(policy);
        let mut shared = shared.lock();
        shared.busy = false;
        match written {
            Ok(()) => {
                shared.done = Done {
                    saved: Some(SystemTime::now()),
                    problem: None,
                };
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the last good state is not kept: if the store is away when the daemon starts next, it has an older one");
                shared.done.problem = Some(error.to_string());
            }
        }
        changed.notify_all();
    }
}

/// Writes the file at `path` whole: beside it, then over it.
pub fn write(path: &Path, host: &HostConfig, policy: &Policy, mark: &Mark) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // Of a fixed name, so that what a daemon leaves that is ended while it writes is the next one's to write over.
    let beside = path.with_extension("state.new");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    let mut file = BufWriter::with_capacity(CHUNK, file);
    file.write_all(&[0; HEADER])?;
    let mut body = Output::to(&mut file);
    format::write(policy, &mut body)?;
    let body = body.written();
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&super::header(host, mark, body)?)?;
    let file = file.into_inner().map_err(|error| error.into_error())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    // The rename itself must outlive a power cut too.
    File::open(folder)?.sync_all()
}
