//! Other programs: started in a folder of their own, asked to end, ended if they do not.

use crate::halt::{Halt, Stop};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a program may take to end after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// Lines of a log that are shown with a fault.
const TAIL: usize = 12;

/// A command whose program ends with the rig, even if that is killed. `env` is added to the rig's own environment.
pub fn tied<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "TERM", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments);
    command
}

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it in a process group of its own, so that Ctrl-C reaches the rig alone; what it says goes to a log in
    /// `folder`. Its standard input stays open until it is to end.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Process, Halt> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).map_err(|error| Halt::io(log.display(), &error))?;
        let both = file
            .try_clone()
            .map_err(|error| Halt::io(log.display(), &error))?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(both)
            .process_group(0)
            .spawn();
        let child =
            child.map_err(|error| Halt::failed(name, format!("cannot be started: {error}"), ""))?;
        Ok(Process {
            name: name.to_string(),
            child,
            log,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<(), Halt> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.trouble(&format!("has ended with {status}"))),
            Err(error) => Err(Halt::io(&self.name, &error)),
        }
    }

    /// Asks `ready` until it gives something. Fails after `patience`, if it ends, or if a signal arrives.
    pub fn wait_for<T>(
        &mut self,
        stop: &Stop,
        patience: Duration,
        what: &str,
        mut ready: impl FnMut() -> Result<Option<T>, Halt>,
    ) -> Result<T, Halt> {
        let found = stop.wait_for(patience, || {
            self.check()?;
            ready()
        })?;
        found.ok_or_else(|| self.trouble(&format!("{what} within {} s", patience.as_secs())))
    }

    /// What is wrong with it, and the end of its log.
    pub fn trouble(&self, problem: &str) -> Halt {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
        let mend = match tail.as_str() {
            "" => "it has logged nothing".to_string(),
            tail => format!("the end of its log:\n    {tail}"),
        };
        Halt::failed(&self.name, problem, mend)
    }

    /// SIGTERM, then SIGKILL if that does not do. How it ended, if it did so by itself.
    pub fn end(&mut self) -> Option<ExitStatus> {
        drop(self.child.stdin.take());
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        // An error means that it has just ended. It may be held.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
        // No signal cuts this short: it is part of stopping.
        let ended =
            Stop::default().wait_for(ENDS_WITHIN, || Ok(self.child.try_wait().ok().flatten()));
        if let Ok(Some(status)) = ended {
            return Some(status);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends a signal to a process that the rig has started.
pub fn signal(process: u32, signal: Signal) -> Result<(), Halt> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let sent = pid.map_or(Err(rustix::io::Errno::SRCH), |pid| {
        kill_process(pid, signal)
    });
    sent.map_err(|error| Halt::io(format!("process {process}"), &error.into()))
}

/// Runs a program to its end; what it wrote to standard output. Fails with what it wrote to standard error.
pub fn run(command: &mut Command) -> Result<String, Halt> {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let output = command.stdin(Stdio::null()).process_group(0).output();
    let output =
        output.map_err(|error| Halt::failed(&name, format!("cannot be started: {error}"), ""))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Halt::failed(
        name,
        format!("{} with {}", said.trim(), output.status),
        format!("was run with: {}", arguments.join(" ")),
    ))
}

/// The program's file: the first of `places` that is there, absolute or in `$PATH`.
pub fn find(places: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian's root has it, a person's shell may not.
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .collect();
    let all = places
        .iter()
        .flat_map(|place| folders.iter().map(move |folder| folder.join(place)));
    all.into_iter().find(|file| file.is_file())
}

/// Writes a file.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Halt> {
    std::fs::write(path, content).map_err(|error| io_at(path, &error))
}

fn io_at(path: &Path, error: &io::Error) -> Halt {
    Halt::io(path.display(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_is_ended_and_what_ends_early_is_told_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start("sleeper", &mut tied("sleep", ["3600"]), folder.path()).unwrap();
        process.check().unwrap();
        // One that is held, too.
        signal(process.id(), Signal::STOP).unwrap();
        assert!(process.end().is_some_and(|status| !status.success()));

        let mut process = Process::start(
            "sayer",
            &mut tied("sh", ["-c", "echo why; exit 3"]),
            folder.path(),
        )
        .unwrap();
        let stop = Stop::default();
        let halt = process
            .wait_for(&stop, Duration::from_secs(10), "no answer", || {
                Ok(None::<()>)
            })
            .unwrap_err();
        let text = halt.to_string();
        assert!(
            text.contains("sayer") && text.contains("exit status: 3") && text.contains("why"),
            "{text}"
        );
    }
}
