//! The two daemons: started, waited for, asked, ended. None outlives the demo unless it is told to.

use super::command::Guarded;
use super::plan::HOSTS;
use super::stop::{Halt, Stop};
use super::world::World;
use crate::client::{Client, Probe, parse};
use crate::failure::{Failure, sentence};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use weir_agent::stats::{DropRow, Stats, Status};

/// How long a daemon may take until it answers: EAL on a slow machine without hugepages.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long until the hosts have found each other by ARP.
const MEETS_WITHIN: Duration = Duration::from_secs(15);
/// How long a daemon may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How much of a log is shown with a failure.
const TAIL: usize = 12;

/// A running daemon.
pub struct Daemon {
    /// Its host.
    pub host: &'static str,
    child: Option<Guarded>,
    log: PathBuf,
    client: Client,
}

impl Daemon {
    /// Starts `weir run` in its host's namespace. With `tied`, it gets SIGTERM if the demo is killed.
    pub fn start(world: &World, host: &'static str, tied: bool) -> Result<Daemon, Halt> {
        let weir = std::env::current_exe()
            .map_err(|error| Halt::failed(format!("this program's own file: {error}")))?;
        let log = world.folder().join(format!("{host}.log"));
        let file = File::create(&log)
            .map_err(|error| Halt::failed(format!("{}: {error}", log.display())))?;
        let tie = tied && Path::new("/usr/bin/setpriv").exists();
        let mut command = world.inside(
            host,
            if tie {
                "/usr/bin/setpriv --pdeathsig TERM --"
            } else {
                ""
            },
        );
        command.arg(weir).arg("run").arg("--host");
        command.arg(world.folder().join(format!("{host}.toml")));
        command
            .env("STATE_DIRECTORY", world.folder())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WEIR_SOCKET");
        command.stdout(Stdio::null()).stderr(file);
        let child = Guarded::spawn(&mut command)?;
        Ok(Daemon {
            host,
            child: Some(child),
            log,
            client: Client::new(world.folder().join(format!("{host}.sock"))),
        })
    }

    /// Waits until it answers on its socket.
    pub fn ready(&mut self, stop: &Stop) -> Result<Status, Halt> {
        self.status_when(stop, STARTS_WITHIN, "it does not answer", |status| {
            status.errors.is_empty() && status.revision > 0
        })
    }

    /// Waits until it knows the other host's MAC.
    pub fn met(&mut self, stop: &Stop) -> Result<Status, Halt> {
        let why = "it has not found the other host by ARP";
        self.status_when(stop, MEETS_WITHIN, why, |status| {
            status.peers > 0 && status.peers == status.peers_resolved
        })
    }

    fn status_when(
        &mut self,
        stop: &Stop,
        patience: Duration,
        why: &str,
        good: impl Fn(&Status) -> bool,
    ) -> Result<Status, Halt> {
        let mut why = why.to_string();
        let status = stop.wait_for(patience, || {
            if let Some(status) = self.ended() {
                return Err(self.trouble(&format!("it has ended with {status}")));
            }
            match self.client.probe(Duration::from_secs(2)) {
                Probe::Daemon(status) if good(&status) => Ok(Some(*status)),
                Probe::Daemon(status) => {
                    if let Some(error) = status.errors.first() {
                        why = sentence(error);
                    }
                    Ok(None)
                }
                Probe::Nobody | Probe::Other(_) => Ok(None),
            }
        })?;
        status.ok_or_else(|| self.trouble(&format!("{why} within {} s", patience.as_secs())))
    }

    /// Its counters.
    pub fn stats(&self) -> Result<Stats, Halt> {
        let answer = self.client.get("stats").and_then(|body| parse(&body));
        answer.map_err(|failure| self.trouble(&said(&failure)))
    }

    /// Its drops by reason.
    pub fn drops(&self) -> Result<Vec<DropRow>, Halt> {
        let answer = self.client.get("drops").and_then(|body| parse(&body));
        answer.map_err(|failure| self.trouble(&said(&failure)))
    }

    /// Packets dropped for `reason` on account of `vnic`.
    pub fn dropped(&self, vnic: &str, reason: &str) -> Result<u64, Halt> {
        let rows = self.drops()?;
        let of_it = |row: &&DropRow| row.reason == reason && row.vnic.as_deref() == Some(vnic);
        Ok(rows.iter().filter(of_it).map(|row| row.packets).sum())
    }

    /// Sends SIGTERM and waits for the end. Fails if it does not come.
    pub fn terminate(&mut self) -> Result<ExitStatus, Halt> {
        self.signal_term();
        // No signal cuts this short: it is part of taking the demo down.
        let ended = Stop::default().wait_for(ENDS_WITHIN, || Ok(self.ended()))?;
        let late = format!("it has not ended {} s after SIGTERM", ENDS_WITHIN.as_secs());
        let status = ended.ok_or_else(|| self.trouble(&late))?;
        self.child = None;
        Ok(status)
    }

    /// What is left of it in the folder after its end.
    pub fn leftovers(&self, world: &World) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(world.folder()) else {
            return Vec::new();
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names
            .filter(|name| name.starts_with(&format!("{}.sock", self.host)))
            .collect()
    }

    /// Lets it run on after the demo. Returns its process id.
    pub fn keep(mut self) -> u32 {
        self.child.take().map_or(0, Guarded::leave)
    }

    /// What is wrong with it, and the end of its log.
    pub fn trouble(&self, what: &str) -> Halt {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
        let tail = if tail.is_empty() {
            "; it has logged nothing".to_string()
        } else {
            format!("; the end of its log:\n    {tail}")
        };
        Halt::failed(format!("the daemon of {}: {what}{tail}", self.host))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        child.child().try_wait().ok().flatten()
    }

    fn signal_term(&mut self) {
        if self.ended().is_none()
            && let Some(child) = &mut self.child
        {
            // An error means that it has just ended.
            let _ = kill_process(Pid::from_child(child.child()), Signal::TERM);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The clean way first; `Guarded` has the last word.
        self.signal_term();
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.child.is_some() && self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Starts both and waits until each answers and knows where the other is.
pub fn start_all(
    world: &World,
    tied: bool,
    stop: &Stop,
    into: &mut Vec<Daemon>,
) -> Result<(), Halt> {
    for (host, _) in HOSTS {
        into.push(Daemon::start(world, host, tied)?);
    }
    for daemon in into.iter_mut() {
        daemon.ready(stop)?;
    }
    for daemon in into.iter_mut() {
        daemon.met(stop)?;
    }
    Ok(())
}

fn said(failure: &Failure) -> String {
    match failure {
        Failure::Refused(errors) => errors.iter().map(sentence).collect::<Vec<_>>().join("; "),
        other => format!("{other:?}"),
    }
}
