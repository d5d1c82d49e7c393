//! Goals of a worker without work: what it takes of its core, and that nothing is lost when everything comes again.
//!
//! Weir between two memifs of the rig's, once polling, once adaptive, a life of each a round. First a thousand packets a second
//! for a window, in which the CPU time of the worker's thread is read; then bursts at what the polling one forwards, each out of
//! a silence in which an adaptive one has come to its longest sleep.
//!
//! What a burst loses before its first frame has come back was lost by the worker's sleep, whoever made its end late, and counts. Once the
//! worker is there it does not sleep again while frames come: if somebody else then has its core, or the rig's, for longer than half of a
//! ring lasts, a polling worker would lose the same, and the burst is repeated.

use crate::halt::{Halt, Stop};
use crate::rounds::{Plan, Rig, Watcher};
use crate::scenario::Scenario;
use crate::search::Goal;
use crate::subject::Ask;
use crate::subject::weir::Weir;
use crate::throughput::between::{Between, Devices, Over, bench};
use crate::throughput::{Wish, order, tester, throughput, warm_up};
use crate::traffic::{Account, Pace, Tester};
use crate::workload::Workload;
use std::fs::read_to_string;
use std::time::{Duration, Instant};

/// Frames of a vNIC without virtualization to the wire.
const SCENARIO: Scenario = Scenario::L2;
/// Packets a second of a worker that has nearly nothing to do.
const SLOW: f64 = 1000.0;
/// Full rate: so much of what a polling worker forwards without loss, so that what is lost was lost by sleeping.
const FULL: f64 = 0.7;
/// Places of a memif's rings, as a power of two: as long as a host wants them whose workers are to sleep.
const RINGS: u8 = 12;
/// Bursts of a round, and seconds of each.
const BURSTS: u32 = 10;
const BURST: f64 = 0.05;
/// Silence before a burst: many of the longest sleeps.
const SILENCE: Duration = Duration::from_millis(20);
/// Bursts of a round at most, with those that are thrown away.
const TRIES: u32 = 4 * BURSTS;
/// A rate to start from, so trials are short.
const RATE: Goal = Goal {
    loss_ratio: 0.0,
    exceed_ratio: 0.5,
    width: 0.05,
    initial_seconds: 0.05,
    final_seconds: 0.2,
    sum_seconds: 0.4,
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// CPU time of an adaptive worker at a thousand packets a second, of a polling one's.
    Time,
    /// Packets lost of the bursts of a round by an adaptive worker.
    Lost,
}

/// A round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    time: f64,
    lost: f64,
}

/// That of each round.
pub fn of(rounds: &[Round], what: What) -> Vec<f64> {
    let one = |round: &Round| match what {
        What::Time => round.time,
        What::Lost => round.lost,
    };
    rounds.iter().map(one).collect()
}

/// Rounds of it.
pub fn measure(
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Round>, Halt> {
    let plan = plan.beside(&[]);
    let rig = Rig::set_up(&plan, ask, stop, watcher)?;
    let tester = tester(&rig, &Wish::default())?;
    let load = Workload::default();
    let one = Idling {
        plan: &plan,
        rig: &rig,
        tester: &tester,
        ask,
        stop,
        load,
        frames: load.frames(SCENARIO),
    };
    watcher.doing("idle: what a polling worker forwards");
    let rate = one.life(false, |between| {
        throughput(between, RATE, &one.frames, load, "idle: polling", watcher)
    })?;
    let rate = FULL * rate.ok_or_else(|| Halt::failed("weir", "forwards nothing", ""))?;
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        watcher.doing(&format!("idle round {number}/{}", plan.rounds));
        let polling = one.life(false, |between| one.time(between))?;
        let (own, (lost, thrown_away)) = one.life(true, |between| {
            Ok((one.time(between)?, one.lost(between, rate)?))
        })?;
        watcher.note(&format!(
            "idle round {number}/{}: polling {:.1} %, adaptive {:.2} % of its core at {SLOW} packets/s; {lost} lost of {BURSTS} \
             bursts at {:.2} Mpps, {thrown_away} repeated",
            plan.rounds,
            100.0 * polling,
            100.0 * own,
            rate / 1e6,
        ));
        rounds.push(Round {
            time: own / polling,
            lost,
        });
    }
    Ok(rounds)
}

struct Idling<'a> {
    plan: &'a Plan,
    rig: &'a Rig<'a>,
    tester: &'a Tester,
    ask: &'a dyn Ask,
    stop: &'a Stop,
    load: Workload,
    frames: Vec<Vec<u8>>,
}

impl Idling<'_> {
    /// Starts Weir, does `work`, stops it, also if that fails.
    fn life<T>(
        &self,
        adaptive: bool,
        work: impl FnOnce(&mut Between) -> Result<T, Halt>,
    ) -> Result<T, Halt> {
        let folder = self.rig.folder()?;
        let devices = Devices::of(Over::Memif, SCENARIO, true, folder.path())?.with_rings(RINGS);
        let cores = self.rig.cores();
        let (load, folder) = (self.load, folder.path());
        let bench = bench(&devices, SCENARIO, load, cores, folder, self.stop, self.ask);
        let weir = Weir::new(self.plan.program.clone());
        let weir = if adaptive { weir.adaptive() } else { weir };
        let (tester, bound) = (self.tester, self.plan.bound);
        let mut between = Between::start(tester, &weir, &bench, &devices.rig, bound)?;
        let done = warm_up(&mut between, &self.frames, load).and_then(|_| work(&mut between));
        between.stop().and(done)
    }

    /// The share of its core that the worker takes at [`SLOW`].
    fn time(&self, between: &mut Between) -> Result<f64, Halt> {
        let process = between.process().unwrap_or_default();
        let core = self.rig.cores().0;
        let (began, before) = (Instant::now(), cpu_time(process, core)?);
        between.once(&order(
            &self.frames,
            SLOW,
            self.plan.window.as_secs_f64(),
            false,
        ))?;
        let (took, after) = (began.elapsed(), cpu_time(process, core)?);
        Ok(after.saturating_sub(before).as_secs_f64() / took.as_secs_f64())
    }

    /// Packets lost of [`BURSTS`] bursts of that rate, and how many more did not count.
    fn lost(&self, between: &mut Between, rate: f64) -> Result<(f64, u32), Halt> {
        let (mut lost, mut bursts) = (0, 0);
        for tries in 1..=TRIES {
            std::thread::sleep(SILENCE);
            let before = between.look()?;
            let account = between.once(&order(&self.frames, rate, BURST, false))?;
            let others = match (before, between.look()?) {
                (Some(before), Some(after)) => after.since(&before),
                _ => 0.0,
            };
            if !counts(&account, others, rate) {
                continue;
            }
            lost += missing(&account);
            bursts += 1;
            if bursts == BURSTS {
                return Ok((f64::from(lost), tries - bursts));
            }
        }
        let mend = "measure when the machine is quiet";
        let problem = format!("{bursts} of {TRIES} bursts left in time");
        Err(Halt::failed("idle", problem, mend))
    }
}

/// Whether what a burst lost says something of the worker. `others`: seconds that others had its core.
fn counts(account: &Account, others: f64, rate: f64) -> bool {
    if account.pace() != Pace::Kept {
        return false;
    }
    // Nothing makes a loss smaller.
    if missing(account) == 0 {
        return true;
    }
    let lasts = f64::from(1_u32 << RINGS) / rate / 2.0;
    let stalled = account.longest_turn.max(others) > lasts;
    !account.was_held_up() && (account.unheard > 0 || !stalled)
}

/// Frames that were there to be sent and did not come.
fn missing(account: &Account) -> u32 {
    account.scheduled - account.unsent - account.came.frames
}

/// CPU time of the worker's thread on that core so far, to the nanosecond: the first field of schedstat (Documentation/scheduler).
fn cpu_time(process: u32, core: u32) -> Result<Duration, Halt> {
    let name = format!("weir-worker-{core}");
    let folder = format!("/proc/{process}/task");
    let tasks = std::fs::read_dir(&folder).map_err(|error| Halt::io(&folder, &error))?;
    for task in tasks.flatten() {
        let path = task.path();
        if read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
            && let Ok(text) = read_to_string(path.join("schedstat"))
            && let Some(time) = text.split(' ').next().and_then(|time| time.parse().ok())
        {
            return Ok(Duration::from_nanos(time));
        }
    }
    Err(Halt::failed(
        "idle",
        format!("no thread {name} that tells its time"),
        "",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_time_is_read_by_its_name() {
        let (core, process) = (471, std::process::id());
        assert!(cpu_time(process, core).is_err());
        let thread = std::thread::Builder::new().name(format!("weir-worker-{core}"));
        let thread = thread.spawn(move || {
            let before = cpu_time(process, core).unwrap();
            let begun = Instant::now();
            // The kernel keeps the account at its own pace.
            while cpu_time(process, core).unwrap() == before {
                assert!(begun.elapsed().as_secs() < 20);
            }
        });
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn what_is_lost_while_the_worker_still_slept_is_never_excused() {
        // Half a ring of 4,096 places lasts 205 µs.
        let rate = 1e7;
        let of = |came: u32, unheard: u32, turn: f64, held: f64, others: f64| {
            let account = Account::of_burst(500_000, came, unheard, turn, held);
            counts(&account, others, rate)
        };
        let all = 500_000;
        assert!(of(all, 0, 1e-6, 0.0, 0.0));
        // What nobody disturbed.
        assert!(of(all - 1, 0, 1e-6, 0.0, 0.0));
        assert!(of(all - 1, 0, 200e-6, 0.0, 200e-6));
        // Others had a core while it ran.
        assert!(!of(all - 1, 0, 1e-6, 0.0, 210e-6));
        assert!(!of(all - 1, 0, 210e-6, 0.0, 0.0));
        // While it slept, or had not been let run yet.
        assert!(of(all - 9, 1, 1e-6, 0.0, 0.01));
        assert!(of(all - 9, 9, 210e-6, 0.0, 0.01));
        // A rig that was held up for long has sent in a rush, which no switch takes.
        assert!(!of(all - 9, 9, 2e-3, 2e-3, 0.0));
        // It lost nothing all the same.
        assert!(of(all, 0, 2e-3, 2e-3, 0.05));
    }

    #[test]
    fn each_goal_takes_its_own_figure() {
        let rounds = [Round {
            time: 0.05,
            lost: 3.0,
        }];
        assert_eq!(of(&rounds, What::Time), [0.05]);
        assert_eq!(of(&rounds, What::Lost), [3.0]);
    }
}
