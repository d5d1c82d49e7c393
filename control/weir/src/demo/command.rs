//! Other programs: run to their end, within a time, and ended by their own handle if the demo has to stop.
//!
//! Each runs in a process group of its own, so that Ctrl-C in a terminal reaches the demo alone, which then takes
//! everything down in order.

use super::stop::{Halt, Stop};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// How long a command of `ip` or `ethtool` may take.
const SHORT: Duration = Duration::from_secs(20);

/// What a program left.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A child that does not outlive the demo.
pub struct Guarded {
    child: Child,
    left: bool,
}

impl Guarded {
    /// Starts it. Fails with the program's name if it cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Guarded, Halt> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        child
            .map(|child| Guarded { child, left: false })
            .map_err(|error| {
                let program = command.get_program().to_string_lossy();
                Halt::failed(format!("{program} cannot be started: {error}"))
            })
    }

    /// The child.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Lets it run on. Returns its process id.
    pub fn leave(mut self) -> u32 {
        self.left = true;
        self.child.id()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.left {
            // An error means that it has ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end and collects what it writes. Fails after `patience`, or if a signal arrives.
pub fn run(stop: &Stop, command: &mut Command, patience: Duration) -> Result<Done, Halt> {
    let name = shown(command);
    command.env("LC_ALL", "C");
    let mut child = Guarded::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let stdout = collect(child.child().stdout.take());
    let stderr = collect(child.child().stderr.take());
    let status = stop.wait_for(patience, || {
        let ended = child.child().try_wait();
        ended.map_err(|error| Halt::failed(format!("{name}: {error}")))
    })?;
    let Some(status) = status else {
        return Err(Halt::failed(format!(
            "{name} has not ended after {} s",
            patience.as_secs()
        )));
    };
    Ok(Done {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// Runs a short program that must succeed. No signal cuts it off: half an `ip netns add` is hard to take down.
pub fn must(command: &mut Command) -> Result<(), Halt> {
    let done = run(&Stop::default(), command, SHORT)?;
    if done.status.success() {
        return Ok(());
    }
    let said = format!("{}{}", done.stdout, done.stderr);
    Err(Halt::failed(format!(
        "{}: {}",
        shown(command),
        said.trim().replace('\n', "; ")
    )))
}

/// A program with its arguments, words parted by blanks.
pub fn words(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks ends with what has come.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_come_back_and_failures_say_which_command() {
        let done = run(&Stop::default(), &mut words("echo  a b"), SHORT).unwrap();
        assert!(done.status.success() && done.stdout == "a b\n");
        let why = must(&mut words("cat /no/such/file")).unwrap_err();
        assert!(
            matches!(&why, Halt::Failed(text) if text.starts_with("cat /no/such/file: ")),
            "{why}"
        );
        assert!(run(&Stop::default(), &mut words("no-such-program"), SHORT).is_err());
        let slow = run(
            &Stop::default(),
            &mut words("sleep 60"),
            Duration::from_millis(50),
        );
        assert!(
            slow.unwrap_err()
                .to_string()
                .starts_with("sleep 60 has not ended")
        );
    }
}
