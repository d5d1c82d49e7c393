//! Commands of host.toml that tell a VM, or whoever connects it, that its path changes: QMP's device_add and device_del, or the switch of
//! its one attachment. They run beside the control thread, of one vNIC one after another, and are ended when they take too long.

use std::collections::{BTreeMap, VecDeque};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::config::fields::Name;

/// How long one may take: *choice*; QEMU answers at once, a guest gives a device back within a second.
const LONGEST: Duration = Duration::from_secs(10);

/// One that is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// `vf_up` or `vf_down`.
    pub what: &'static str,
    /// The command, for `/bin/sh -c`.
    pub command: String,
    /// What it is told: names and values of the environment.
    pub told: Vec<(&'static str, String)>,
}

/// Those of all vNICs.
#[derive(Debug, Default)]
pub struct Hooks {
    running: BTreeMap<Name, (Job, Child, Duration)>,
    waiting: BTreeMap<Name, VecDeque<Job>>,
    /// Those that were ended, until they have.
    ended: Vec<Child>,
    /// What became of the last of each vNIC, if it failed.
    pub failed: BTreeMap<Name, String>,
}

impl Hooks {
    /// Has a command run, after those of the same vNIC.
    pub fn run(&mut self, vnic: &Name, job: Job) {
        self.waiting.entry(vnic.clone()).or_default().push_back(job);
    }

    /// Whether none runs and none waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Whether none of a vNIC's runs and none waits.
    pub fn is_idle_of(&self, vnic: &Name) -> bool {
        !self.running.contains_key(vnic) && !self.waiting.contains_key(vnic)
    }

    /// Starts what may start and looks what has ended; `now` is any clock.
    pub fn tend(&mut self, now: Duration) {
        // One that waits in the kernel (an unbind that does not end) heeds no signal: it is not waited for.
        self.ended
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let is_late = |since: &Duration| now.saturating_sub(*since) >= LONGEST;
        let failed = &mut self.failed;
        let running = std::mem::take(&mut self.running).into_iter();
        for (vnic, (job, mut child, since)) in running {
            let ended = match child.try_wait() {
                Ok(None) if !is_late(&since) => {
                    self.running.insert(vnic, (job, child, since));
                    continue;
                }
                Ok(None) => {
                    let _ = child.kill();
                    self.ended.push(child);
                    Err("took longer than 10 s, and was ended".to_owned())
                }
                Ok(Some(status)) if status.success() => Ok(()),
                Ok(Some(status)) => Err(format!("ended with {status}")),
                Err(error) => Err(error.to_string()),
            };
            note(failed, &vnic, &job, ended);
        }
        let idle: Vec<Name> = self
            .waiting
            .keys()
            .filter(|vnic| !self.running.contains_key(*vnic))
            .cloned()
            .collect();
        for vnic in idle {
            let jobs = self.waiting.get_mut(&vnic);
            let Some(job) = jobs.and_then(VecDeque::pop_front) else {
                self.waiting.remove(&vnic);
                continue;
            };
            let child = Command::new("/bin/sh")
                .args(["-c", &job.command])
                .envs(job.told.iter().map(|(name, value)| (*name, value)))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn();
            match child {
                Ok(child) => drop(self.running.insert(vnic, (job, child, now))),
                Err(error) => note(&mut self.failed, &vnic, &job, Err(error.to_string())),
            }
        }
        self.waiting.retain(|_, jobs| !jobs.is_empty());
    }
}

fn note(failed: &mut BTreeMap<Name, String>, vnic: &Name, job: &Job, ended: Result<(), String>) {
    let what = job.what;
    match ended {
        Ok(()) => {
            tracing::info!(%vnic, what, "the VM was told");
            failed.remove(vnic);
        }
        Err(problem) => {
            tracing::error!(%vnic, what, command = job.command, problem, "the VM may not know that its path has changed");
            failed.insert(vnic.clone(), format!("{what} {problem}: {}", job.command));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(command: &str, told: &[(&'static str, &str)]) -> Job {
        Job {
            what: "vf_down",
            command: command.into(),
            told: told.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(),
        }
    }

    fn until_idle(hooks: &mut Hooks) {
        for _ in 0..4000 {
            hooks.tend(Duration::ZERO);
            if hooks.is_idle() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("they do not end");
    }

    #[test]
    fn a_vnics_commands_run_in_order_with_what_they_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let (name, log_text) = ("blue1".into(), log.display().to_string());
        let mut hooks = Hooks::default();
        for number in ["1", "2", "3"] {
            let told = [("WEIR_VF", number), ("LOG", &log_text)];
            // The first is the slowest.
            let command = "sleep 0.$((3 - WEIR_VF)); echo $WEIR_VF >>$LOG";
            hooks.run(&name, job(command, &told));
        }
        until_idle(&mut hooks);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "1\n2\n3\n");
        assert!(hooks.failed.is_empty());
    }

    #[test]
    fn what_fails_or_hangs_is_known_and_does_not_keep_what_follows() {
        let (a, b): (Name, Name) = ("a".into(), "b".into());
        let mut hooks = Hooks::default();
        hooks.run(&a, job("exit 3", &[]));
        until_idle(&mut hooks);
        hooks.run(&b, job("exec sleep 600", &[]));
        hooks.tend(Duration::ZERO);
        hooks.tend(LONGEST);
        until_idle(&mut hooks);
        let failed = |name: &Name| hooks.failed.get(name).unwrap().clone();
        assert!(failed(&a).contains("exit status: 3"), "{}", failed(&a));
        assert!(failed(&b).contains("longer than 10 s"), "{}", failed(&b));
        hooks.run(&a, job("true", &[]));
        until_idle(&mut hooks);
        assert_eq!(hooks.failed.len(), 1, "what works is no failure");
    }

    #[test]
    fn who_was_ended_is_not_waited_for_and_no_zombie_stays() {
        let name: Name = "a".into();
        let mut hooks = Hooks::default();
        hooks.run(&name, job("exec sleep 600", &[]));
        hooks.tend(Duration::ZERO);
        hooks.tend(LONGEST);
        assert!(hooks.is_idle_of(&name));
        assert_eq!(hooks.ended.len(), 1, "it is only looked at");
        for _ in 0..4000 {
            hooks.tend(LONGEST);
            if hooks.ended.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it is never taken away");
    }
}
