//! One switch between the rig's ports: warmed up, searched, its latency and its losses taken.

use super::Wish;
use super::between::Between;
use super::lines::rounded;
use crate::halt::Halt;
use crate::report::LossAt;
use crate::rounds::Watcher;
use crate::search::{self, Device, Goal, Inquiry, Outcome};
use crate::traffic::trial::DRAIN;
use crate::traffic::{Account, Order};
use crate::workload::Workload;

/// The least load that is tried, in packets a second.
const LEAST: f64 = 1000.0;
/// Trials after which a search is given up: a quiet device needs some thirty.
const MOST_TRIALS: u32 = 400;
/// The warm-up: slowly, so that whoever learns has learnt; then as fast as the rig can, for so many seconds each.
const SLOWLY: f64 = 100_000.0;
const WARM_UP: [f64; 2] = [0.3, 0.2];
/// More than any rig can.
const ENDLESS: f64 = 100e6;
/// What the rig managed at its fastest is not what it manages every time.
const MARGIN: f64 = 0.95;

/// What one round showed of one subject.
pub(super) struct Round {
    pub(super) found: search::Found,
    pub(super) thrown_away: u32,
    pub(super) seconds: f64,
    /// The load at which latency was taken, and what came of it.
    pub(super) latency: Option<(f64, Account)>,
    pub(super) loss: Vec<LossAt>,
}

/// An order like others, for these frames.
pub fn order(frames: &[Vec<u8>], rate: f64, seconds: f64, latency: bool) -> Order<'_> {
    Order {
        frames,
        rate,
        seconds,
        trial: 0,
        latency,
        drain: DRAIN,
    }
}

/// Warms the switch up. The most packets a second that the rig can offer it.
pub fn warm_up(between: &mut Between, frames: &[Vec<u8>], load: Workload) -> Result<f64, Halt> {
    let [slowly, fast] = WARM_UP;
    between.once(&order(frames, SLOWLY, slowly, false))?;
    let account = between.once(&order(frames, ENDLESS, fast, false))?;
    let managed = account.kept().err().unwrap_or(ENDLESS) * MARGIN;
    Ok(between
        .line_rate(load.mean_bytes())
        .map_or(managed, |line| line.min(managed)))
}

/// Searches it and takes its latency.
pub(super) fn searched(
    between: &mut Between,
    wish: &Wish,
    frames: &[Vec<u8>],
    load: Workload,
    title: &str,
    watcher: &mut dyn Watcher,
) -> Result<Round, Halt> {
    watcher.doing(&format!("{title}, warming up"));
    let most = warm_up(between, frames, load)?;
    let inquiry = Inquiry {
        goals: wish.goals.to_vec(),
        min: LEAST,
        max: wish.max.map_or(most, |max| max.min(most)).max(2.0 * LEAST),
        most_trials: MOST_TRIALS,
    };
    let found = search::search(
        &mut Trials {
            between,
            frames,
            title,
            watcher,
        },
        &inquiry,
    )?;
    if found.trials == 0 {
        return Err(Halt::failed(
            "the rig",
            "could not keep any rate: no trial counts",
            "give it a core that nobody else uses, beside the switch's",
        ));
    }
    let pdr = found.answers.get(1).and_then(|it| it.throughput);
    let latency = match pdr {
        Some(pdr) => {
            let rate = wish.latency_at * pdr;
            watcher.doing(&format!("{title}, latency at {:.3} Mpps", rate / 1e6));
            let account = between.trial(&order(frames, rate, wish.latency_seconds, true))?;
            Some((rate, account))
        }
        None => None,
    };
    let mut loss = Vec::new();
    if wish.loss {
        // Down by tenths until two in a row lose nothing.
        for tenth in (1..=10).rev() {
            let rate = found.max * f64::from(tenth) / 10.0;
            watcher.doing(&format!("{title}, loss at {:.3} Mpps", rate / 1e6));
            let account =
                between.trial(&order(frames, rate, wish.goals[0].final_seconds, false))?;
            if account.kept().is_err() {
                continue;
            }
            loss.push(LossAt {
                mpps: rounded(rate / 1e6, 4),
                percent: rounded(100.0 * account.loss(), 4),
            });
            if loss
                .iter()
                .rev()
                .take(2)
                .filter(|it| it.percent == 0.0)
                .count()
                == 2
            {
                break;
            }
        }
    }
    Ok(Round {
        found,
        thrown_away: between.thrown_away,
        seconds: between.seconds,
        latency,
        loss,
    })
}

/// The switch as the search sees it.
struct Trials<'a, 'b> {
    between: &'a mut Between<'b>,
    frames: &'a [Vec<u8>],
    title: &'a str,
    watcher: &'a mut dyn Watcher,
}

impl Device for Trials<'_, '_> {
    fn trial(&mut self, load: f64, seconds: f64) -> Result<Outcome, Halt> {
        let step = format!("{}, {:.3} Mpps for {seconds:.2} s", self.title, load / 1e6);
        self.watcher.doing(&step);
        let account = self
            .between
            .trial(&order(self.frames, load, seconds, false))?;
        Ok(match account.kept() {
            Ok(()) => Outcome::Lost(account.loss()),
            Err(managed) => {
                self.watcher.note(&format!(
                    "{step}: does not count: the rig managed {:.3} Mpps ({} of {} frames were never ready, the last one left {:.1} ms late)",
                    managed / 1e6,
                    account.unsent,
                    account.scheduled,
                    account.late.1 * 1e3
                ));
                self.between.thrown_away += 1;
                Outcome::Short(managed)
            }
        })
    }
}

/// The highest load that keeps one goal, in packets a second: its conditional throughput. None if there is none.
pub fn throughput(
    between: &mut Between,
    goal: Goal,
    frames: &[Vec<u8>],
    load: Workload,
    title: &str,
    watcher: &mut dyn Watcher,
) -> Result<Option<f64>, Halt> {
    let inquiry = Inquiry {
        goals: vec![goal],
        min: LEAST,
        max: warm_up(between, frames, load)?.max(2.0 * LEAST),
        most_trials: MOST_TRIALS,
    };
    let found = search::search(
        &mut Trials {
            between,
            frames,
            title,
            watcher,
        },
        &inquiry,
    )?;
    Ok(found.answers.first().and_then(|it| it.throughput))
}
