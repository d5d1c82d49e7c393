//! The daemon's main: takes the socket, starts the agent, serves, waits for the end, leaves nothing behind.
//!
//! The order is the point. Signals are caught before there is a socket to leave behind; the socket is taken before DPDK
//! starts, so that a second daemon is refused at once and disturbs nothing; the API answers "still starting" until the
//! agent runs; at the end the agent stops first, then the API, then the socket goes.

use crate::cli::RunArgs;
use crate::failure::{Failure, colour};
use crate::notify::notify;
use crate::server::{self, Door, Server};
use crate::socket::Claim;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use weir_agent::config::host::HostConfig;
use weir_agent::daemon::Daemon;
use weir_agent::halt::{Halt, is_halted};
use weir_agent::handle::{Answer, Handle, Question};

/// Runs the daemon of a host.toml until a signal or `POST /v1/stop` ends it. Returns Ok after a clean end.
pub fn run(args: RunArgs) -> Result<(), Failure> {
    logs(&args.log)?;
    let mut config = HostConfig::load(&args.host).map_err(Failure::Refused)?;
    if let Some(socket) = args.socket {
        config.socket = socket;
    }
    config.state_dir.get_or_insert_with(state_dir);
    let socket = config.socket.clone();
    let halt = Halt::default();
    supervise(&socket, halt.clone(), || {
        let daemon = Daemon::start_unless(config, halt).map_err(Failure::Refused)?;
        Ok((daemon.handle(), move || daemon.join()))
    })
}

/// Where the last good state is kept unless host.toml says it: where a service manager says, else where such things are.
fn state_dir() -> PathBuf {
    let told = std::env::var_os("STATE_DIRECTORY");
    let told = told.and_then(|all| std::env::split_paths(&all).next());
    told.filter(|folder| folder.is_absolute())
        .unwrap_or_else(|| "/var/lib/weir".into())
}

/// The daemon's life around whatever `start` starts: it gives the handle to a control thread and a function that
/// returns when that thread has ended. Takes the socket before it calls `start`, removes it after the end. `halt` is asked when a signal
/// comes, so that a long `start` may end early.
pub fn supervise<J>(
    socket: &Path,
    halt: Halt,
    start: impl FnOnce() -> Result<(Handle, J), Failure>,
) -> Result<(), Failure>
where
    J: FnOnce() -> anyhow::Result<()>,
{
    let no_api = |error| {
        let problem = format!("the API cannot start: {error}");
        Failure::one("daemon", problem, "see `weir doctor`")
    };
    let runtime = server::runtime().map_err(no_api)?;
    let caught = {
        let _inside = runtime.enter();
        Caught::new()
    };
    let claim = Arc::new(Claim::take(socket)?);
    let door = Door::default();
    let listener = claim.listener().map_err(no_api)?;
    let beside = signals(caught, door.clone(), halt.clone(), claim.clone());
    let server = Server::start(runtime, listener, door.clone(), beside).map_err(no_api)?;

    let result = start().and_then(|(handle, join)| {
        keep_off_workers(&handle, &[Some(server.thread_id()), None]);
        door.open(handle.clone());
        if halt.asked() {
            let _ = handle.ask(Question::Stop);
        } else {
            announce(&handle, socket);
        }
        join().map_err(Failure::from)
    });
    let result = match result {
        // As it was told: that is no failure.
        Err(Failure::Refused(errors)) if halt.asked() && is_halted(&errors) => Ok(()),
        other => other,
    };
    let _ = notify("STOPPING=1");
    server.stop();
    // The signals' task may still hold its share of the claim if its runtime was cut short.
    claim.remove_files();
    tracing::info!(ok = result.is_ok(), "stopped");
    result
}

/// Waits for SIGTERM or SIGINT: the first asks the control thread to stop, or, while the agent still starts, leaves
/// word to end that or, when it has, to stop; the second ends the process at once.
async fn signals(caught: io::Result<Caught>, door: Door, halt: Halt, claim: Arc<Claim>) {
    let mut caught = match caught {
        Ok(caught) => caught,
        Err(error) => {
            tracing::error!(%error, "SIGTERM and SIGINT cannot be caught; they will end the daemon uncleanly");
            return;
        }
    };
    caught.next().await;
    tracing::info!("asked by a signal to stop");
    // First the word, then the look: `supervise` opens the door first and then looks for the word.
    halt.ask();
    if let Some(handle) = door.handle().cloned() {
        tokio::task::spawn_blocking(move || drop(handle.ask(Question::Stop)));
    }
    caught.next().await;
    tracing::warn!("a second signal: leaving at once");
    claim.remove_files();
    std::process::exit(1);
}

/// SIGTERM and SIGINT, which end nothing by themselves any more.
struct Caught {
    terminate: Signal,
    interrupt: Signal,
}

impl Caught {
    fn new() -> io::Result<Caught> {
        Ok(Caught {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Says once that the daemon is ready: on stderr, and to a service manager.
fn announce(handle: &Handle, socket: &Path) {
    let host = match handle.ask(Question::Status) {
        Ok(Answer::Status(status)) => status.host,
        _ => String::new(),
    };
    let pid = std::process::id();
    // Nobody reads stderr? Then nobody misses the line.
    let _ = writeln!(
        std::io::stderr().lock(),
        "weir {host} ready, pid {pid}, socket {}",
        socket.display()
    );
    if let Err(error) = notify(&format!("READY=1\nMAINPID={pid}")) {
        tracing::warn!(%error, "the service manager at $NOTIFY_SOCKET cannot be told that the daemon is ready");
    }
}

/// Takes the workers' cores out of some threads' affinity (`None`: the calling thread), so that an API request is never
/// scheduled onto a polling core. Where no core would be left, or the kernel refuses, things stay as they are.
fn keep_off_workers(handle: &Handle, threads: &[Option<Pid>]) {
    let Ok(Answer::Stats(stats)) = handle.ask(Question::Stats) else {
        return;
    };
    for &thread in threads {
        let Ok(mut cores) = sched_getaffinity(thread) else {
            continue;
        };
        for worker in &stats.workers {
            let core = worker.core as usize;
            if core < CpuSet::MAX_CPU {
                cores.unset(core);
            }
        }
        if cores.count() > 0
            && let Err(error) = sched_setaffinity(thread, &cores)
        {
            tracing::debug!(%error, "a control thread may share a core with a worker");
        }
    }
}

/// Logs to stderr, coloured on a terminal. Fails if `filter` is none.
fn logs(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::Usage(format!(
            "--log {filter}: {error}; write error, warn, info, debug, trace, or PART=LEVEL"
        ))
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour(&std::io::stderr()))
        .log_internal_errors(false)
        .finish();
    // Only a second call in one process fails; the first one's logs are as good.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}
