//! DPDK's environment: started once a process, on a thread of its own.

use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use thiserror::Error;

use crate::error::Cause;
use crate::{clock, lcore, log};

/// Where DPDK's memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages, as many as pools ask for; nothing is left on a file system (`--in-memory`). Processes live side by side.
    Huge,
    /// Ordinary pages, all taken at start: for tests, valgrind and machines without hugepages or rights. Works without root.
    NoHuge {
        /// In MiB. A pool of 8191 mbufs of 2176 bytes takes about 22.
        megabytes: u32,
    },
}

/// How much of DPDK's log goes to stderr. Errors quote warnings and worse whatever is chosen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Silent,
    /// Errors and worse.
    Error,
    /// Warnings too.
    Warning,
    /// What is normal but significant too: DPDK's own default.
    Notice,
    /// Information, such as each message of vhost-user.
    Info,
    /// Everything, from all of DPDK's parts.
    Debug,
}

impl LogLevel {
    /// Numbers of `rte_log.h`.
    fn number(self) -> u32 {
        match self {
            LogLevel::Silent => 0,
            LogLevel::Error => 4,
            LogLevel::Warning => 5,
            LogLevel::Notice => 6,
            LogLevel::Info => 7,
            LogLevel::Debug => 8,
        }
    }
}

/// How EAL starts.
#[derive(Debug, Clone)]
pub struct EalConfig {
    /// Where memory comes from.
    pub memory: Memory,
    /// Keeps this process's files in `/run/dpdk` apart from others'. Empty: a name from the process id.
    pub file_prefix: String,
    /// Look at the PCI bus. False (`--no-pci`) for tests and machines without NICs to drive.
    pub pci: bool,
    /// PCI addresses (`0000:03:00.0`) that are probed at start; all that are bound to a userspace driver if empty.
    pub allow: Vec<String>,
    /// One file a segment list, which a virtio_user port as client needs (`--single-file-segments`).
    pub single_file_segments: bool,
    /// What goes to stderr; None is DPDK's own default, [`LogLevel::Notice`].
    pub log_level: Option<LogLevel>,
    /// More arguments for EAL, as its guide names them. Not `-l`, `-c` or `--lcores`, which are set here.
    pub extra: Vec<String>,
}

impl Default for EalConfig {
    /// Hugepages, PCI, warnings to stderr.
    fn default() -> EalConfig {
        EalConfig {
            memory: Memory::Huge,
            file_prefix: String::new(),
            pci: true,
            allow: Vec::new(),
            single_file_segments: false,
            log_level: Some(LogLevel::Warning),
            extra: Vec::new(),
        }
    }
}

/// Why EAL did not start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EalError {
    /// A process starts EAL once, and a start that failed counts: DPDK cannot undo it.
    #[error("EAL was started in this process before")]
    AlreadyInitialized,
    /// An argument has a NUL byte in it.
    #[error("EAL argument {0:?} has a NUL byte in it")]
    Argument(String),
    /// No thread to start it on.
    #[error("no thread for EAL: {0}")]
    Thread(String),
    /// DPDK refused.
    #[error("EAL did not start: {0}")]
    Dpdk(Cause),
}

/// EAL, running. What needs it to run asks for a reference.
///
/// It started on a thread of its own, so the thread that called [`Eal::init`] is neither pinned nor an lcore. That thread sleeps
/// until [`Eal::cleanup`] or the end of the process; it is lcore 0. No other lcore exists until a thread registers
/// ([`Lcore::register`](crate::Lcore::register)).
#[derive(Debug)]
pub struct Eal {
    /// Dropping this ends the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts EAL. While it runs, what this process writes to its file descriptor 1 goes to stderr, because DPDK prints its usage
    /// to stdout when it refuses an argument; so start it before other threads write there.
    pub fn init(config: EalConfig) -> Result<Eal, EalError> {
        let arguments = arguments(&config)?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyInitialized);
        }
        let forward = config.log_level.unwrap_or(LogLevel::Notice).number();
        log::take_over(forward);
        let (stop, stopped) = mpsc::channel::<()>();
        let (report, result) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("eal".into())
            .spawn(move || {
                let started = start(arguments);
                let ok = started.is_ok();
                let _ = report.send(started);
                if ok {
                    // Lcore 0 is this thread as long as EAL lives. Returns when the sender is dropped.
                    let _ = stopped.recv();
                }
            })
            .map_err(|error| EalError::Thread(error.to_string()))?;
        match result.recv() {
            Ok(Ok(())) => Ok(Eal { stop, thread }),
            Ok(Err(cause)) => Err(EalError::Dpdk(cause)),
            Err(error) => Err(EalError::Thread(error.to_string())),
        }
    }

    /// Ends EAL's thread. Close the ports before.
    ///
    /// `rte_eal_cleanup` is not called: it unmaps the memory that every [`Pool`](crate::Pool) and [`Mbuf`](crate::Mbuf) still
    /// points to. The kernel takes memory and hugepages back when the process ends; no file keeps them, whatever [`Memory`] was
    /// chosen.
    pub fn cleanup(self) {
        drop(self.stop);
        let _ = self.thread.join();
        remove_runtime_dir();
    }
}

/// EAL's command line.
fn arguments(config: &EalConfig) -> Result<Vec<CString>, EalError> {
    // One lcore, on all cores that this process may use: EAL pins nobody, and starts no worker threads.
    let cores: Vec<String> = lcore::available_cores()
        .iter()
        .map(u32::to_string)
        .collect();
    let prefix = match config.file_prefix.as_str() {
        "" => format!("rte-{}", std::process::id()),
        prefix => prefix.to_owned(),
    };
    let mut all = vec![
        "rte".to_owned(),
        format!("--lcores=0@({})", cores.join(",")),
        format!("--file-prefix={prefix}"),
        "--no-telemetry".to_owned(),
    ];
    match config.memory {
        Memory::Huge => all.push("--in-memory".into()),
        Memory::NoHuge { megabytes } => {
            all.extend(["--no-huge".into(), "--no-shconf".into(), "-m".into()]);
            all.push(megabytes.to_string());
        }
    }
    if !config.pci {
        all.push("--no-pci".into());
    }
    for address in &config.allow {
        all.extend(["-a".into(), address.clone()]);
    }
    if config.single_file_segments {
        all.push("--single-file-segments".into());
    }
    match config.log_level {
        // Each part of DPDK has a level of its own, most at notice: only debugging raises them.
        Some(LogLevel::Debug) => all.push("--log-level=*:debug".into()),
        Some(LogLevel::Info) => all.push("--log-level=*:info".into()),
        _ => {}
    }
    all.extend(config.extra.iter().cloned());
    all.into_iter()
        .map(|argument| CString::new(argument.clone()).map_err(|_| EalError::Argument(argument)))
        .collect()
}

/// Runs `rte_eal_init` on the calling thread, which becomes lcore 0.
fn start(arguments: Vec<CString>) -> Result<(), Cause> {
    let count = arguments.len() as libc::c_int;
    // EAL keeps pointers into its arguments, and reorders them: they are leaked, once a process.
    let mut pointers: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    pointers.push(std::ptr::null_mut());
    let pointers = pointers.leak();
    let mark = log::mark();
    let clock = clock::Start::begin();
    let stdout = Aside::put();
    // SAFETY: `pointers` are `count` strings that end in NUL, writable, with a null pointer behind them, all of them leaked. EAL
    // was not started before: `STARTED` admits one caller a process.
    let result = unsafe { dpdk_sys::rte_eal_init(count, pointers.as_mut_ptr()) };
    drop(stdout);
    let started = match result {
        0.. => {
            clock.end();
            Ok(())
        }
        _ => Err(Cause::of_rte_errno("rte_eal_init", mark)),
    };
    remove_runtime_dir();
    started
}

/// Removes this process's directory in `/run/dpdk` if it is empty, as it is with either [`Memory`], so that none is left behind by a
/// process that is killed. It is not with `--telemetry`.
fn remove_runtime_dir() {
    // SAFETY: rte_eal_init was called, even if it failed; it returns a static string of its own that ends in NUL.
    let directory = unsafe { CStr::from_ptr(dpdk_sys::rte_eal_get_runtime_dir()) };
    if let Ok(directory) = directory.to_str() {
        let _ = std::fs::remove_dir(directory);
    }
}

/// Stdout put aside: until this is dropped, file descriptor 1 is stderr.
struct Aside {
    saved: libc::c_int,
}

impl Aside {
    fn put() -> Aside {
        // SAFETY: system calls on numbers, no memory involved. If stdout is closed, `saved` is -1 and nothing is changed.
        unsafe {
            dpdk_sys::shim_flush_stdout();
            let saved = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
            if saved >= 0 {
                libc::dup2(2, 1);
            }
            Aside { saved }
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // SAFETY: as above; `saved` is this struct's own descriptor and is closed once. C's buffer is emptied before descriptor 1
        // is stdout again.
        unsafe {
            dpdk_sys::shim_flush_stdout();
            if self.saved >= 0 {
                libc::dup2(self.saved, 1);
                libc::close(self.saved);
            }
        }
    }
}
