//! Subjects that are started once and held (SIGSTOP) while others are measured: for those that take minutes to start. Rounds are A B A B as
//! everywhere.

use crate::halt::Halt;
use crate::rounds::{Plan, TRIES, WARM_UP, Watcher};
use crate::subject::{Bench, Running};
use crate::window::{Sample, measure};

/// A subject that is held until its turn.
pub struct Held<'a> {
    name: String,
    running: Box<dyn Running + 'a>,
}

impl<'a> Held<'a> {
    /// Holds it.
    pub fn new(name: impl Into<String>, mut running: Box<dyn Running + 'a>) -> Result<Self, Halt> {
        running.hold()?;
        Ok(Held {
            name: name.into(),
            running,
        })
    }

    /// One window of it in one setting, in which others did not have the core for longer than the plan allows; none after some tries.
    pub fn window(
        &mut self,
        setting: &str,
        plan: &Plan,
        bench: &Bench,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<Sample>, Halt> {
        self.running.go_on()?;
        let sample = self.measured(setting, plan, bench, watcher);
        self.running.hold()?;
        sample
    }

    fn measured(
        &mut self,
        setting: &str,
        plan: &Plan,
        bench: &Bench,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<Sample>, Halt> {
        let name = &self.name;
        watcher.doing(&format!("measuring {name} {setting}"));
        self.running.set(setting)?;
        bench.stop.sleep(WARM_UP.min(plan.window))?;
        for _ in 0..TRIES {
            let sample = measure(self.running.as_mut(), bench.core, plan.window, bench.stop)?;
            self.running.judge(&sample)?;
            let said = format!("{name} {setting}: {:.2} Mpps", sample.pps / 1e6);
            let others = 100.0 * sample.others;
            if others <= plan.bound {
                watcher.note(&said);
                return Ok(Some(sample));
            }
            watcher.note(&format!(
                "{said}, thrown away: others had the core {others:.1} % of the time"
            ));
        }
        Ok(None)
    }

    /// Stops it.
    pub fn stop(mut self) -> Result<(), Halt> {
        self.running.go_on()?;
        self.running.stop()
    }
}
