//! Other programs: started in a folder of their own, asked to end, ended if they do not.

use crate::halt::{Halt, Stop};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a program may take to end after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// Lines of a log that are shown with a fault.
const TAIL: usize = 12;
/// Bytes of a line that a program says, at most: what is longer comes in pieces.
const LONGEST: u64 = 64 << 10;

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

    /// The same of a program that is talked with: what it says on standard output comes line by line, the rest goes to its log.
    pub fn start_talking(
        name: &str,
        command: &mut Command,
        folder: &Path,
    ) -> Result<(Process, Lines), Halt> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).map_err(|error| Halt::io(log.display(), &error))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.stderr(file).process_group(0).spawn();
        let mut child =
            child.map_err(|error| Halt::failed(name, format!("cannot be started: {error}"), ""))?;
        let lines = child.stdout.take().map_or_else(Lines::none, Lines::of);
        let process = Process {
            name: name.to_string(),
            child,
            log,
        };
        Ok((process, lines))
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        match &mut self.child.stdin {
            Some(to) => to.write_all(format!("{line}\n").as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// How it ended, if it has. It is not taken off the kernel's list, so that its number, which is its group's, stays its own.
    fn ended(&self) -> io::Result<Option<ExitStatus>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?;
        Ok(status.map(|status| {
            let code = status.exit_status().map(|code| code << 8);
            let raw = code.or(status.terminating_signal()).unwrap_or(0);
            ExitStatus::from_raw(raw)
        }))
    }

    /// Waits until it ends by itself. How it did; `None` after `patience`: then it was ended.
    pub fn leave(&mut self, patience: Duration) -> Option<ExitStatus> {
        drop(self.child.stdin.take());
        let left = Stop::default().wait_for(patience, || Ok(self.ended().ok().flatten()));
        let in_time = matches!(left, Ok(Some(_)));
        self.end().filter(|_| in_time)
    }

    /// The same, but a signal cuts it short, and it fails if the program does not end well.
    pub fn finish(&mut self, stop: &Stop, patience: Duration) -> Result<(), Halt> {
        drop(self.child.stdin.take());
        let ended = stop.wait_for(patience, || Ok(self.ended().ok().flatten()))?;
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.trouble(&format!("has ended with {status}"))),
            None => Err(self.trouble(&format!("has not ended after {} s", patience.as_secs()))),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<(), Halt> {
        match self.ended() {
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

    /// The end of its log: so many lines.
    fn tail(&self, lines: usize) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n    ")
    }

    /// The last line of its log.
    pub fn last_words(&self) -> String {
        self.tail(1)
    }

    /// What is wrong with it, and the end of its log.
    pub fn trouble(&self, problem: &str) -> Halt {
        let tail = self.tail(TAIL);
        let mend = match tail.as_str() {
            "" => "it has logged nothing".to_string(),
            tail => format!("the end of its log:\n    {tail}"),
        };
        Halt::failed(&self.name, problem, mend)
    }

    /// SIGTERM, then SIGKILL if that does not do; and SIGKILL for what it has left behind in its group. How it ended, if it did so
    /// by itself.
    pub fn end(&mut self) -> Option<ExitStatus> {
        drop(self.child.stdin.take());
        // What has ended and was waited for has no number of its own any more.
        if let Err(error) = self.ended() {
            debug_assert_eq!(
                error.kind(),
                io::Error::from(rustix::io::Errno::CHILD).kind()
            );
            return self.child.try_wait().ok().flatten();
        }
        if let Ok(None) = self.ended() {
            // An error means that it has just ended. It may be held.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
        }
        // No signal cuts this short: it is part of stopping.
        let ended = Stop::default().wait_for(ENDS_WITHIN, || Ok(self.ended().ok().flatten()));
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        ended.ok().flatten()
    }
}

/// A program says no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

/// What a program says, line by line.
pub struct Lines(mpsc::Receiver<String>);

impl Lines {
    fn of(output: ChildStdout) -> Lines {
        let (said, lines) = mpsc::channel();
        // It ends with the program's output, or with who listens.
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            loop {
                let mut line = Vec::new();
                match output.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
                let line = String::from_utf8_lossy(&line).trim_end().to_string();
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Lines(lines)
    }

    fn none() -> Lines {
        Lines(mpsc::channel().1)
    }

    /// The next line, if it is there.
    pub fn next(&self) -> Option<Result<String, Ended>> {
        match self.0.try_recv() {
            Ok(line) => Some(Ok(line)),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => Some(Err(Ended)),
        }
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

/// Writes a file that can be run.
pub fn write_program(path: &Path, text: &str) -> Result<(), Halt> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o755);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| io_at(path, &error))
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
