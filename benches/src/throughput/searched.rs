//! One switch between the rig's ports: warmed up, searched, its latency and its losses taken.

use super::Wish;
use super::between::Between;
use super::lines::rounded;
use crate::halt::Halt;
use crate::report::LossAt;
use crate::rounds::Watcher;
use crate::search::{self, Device, Goal, Inquiry, Outcome};
use crate::traffic::trial::DRAIN;
use crate::traffic::{Account, Order, Pace};
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
/// Rounding of a load.
const HAIR: f64 = 1e-6;

/// What one round showed of one subject.
pub(super) struct Round {
    pub(super) found: search::Found,
    pub(super) thrown_away: u32,
    pub(super) disturbed: u32,
    pub(super) seconds: f64,
    /// What kept the search from an upper bound, where there is none.
    pub(super) limit: Option<Limit>,
    /// The load at which latency was taken, and what came of it.
    pub(super) latency: Option<(f64, Account)>,
    pub(super) loss: Vec<LossAt>,
}

/// What is at its end before the switch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// What the rig can offer.
    Rig,
    /// What the line carries.
    Line,
    /// `--max`.
    Max,
}

impl Limit {
    /// As reports have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Limit::Rig => "rig",
            Limit::Line => "line",
            Limit::Max => "max",
        }
    }

    /// Of a search that began with `asked` as its highest load, of what the rig managed, and ended so.
    fn of(found: &search::Found, asked: f64, line: Option<f64>, max: Option<f64>) -> Option<Limit> {
        let open = |it: &search::Answer| it.throughput.is_some() && it.upper.is_none();
        if !found.answers.iter().any(open) {
            return None;
        }
        let reached = found.max > asked * (1.0 - HAIR);
        let is = |limit: Option<f64>| reached && limit.is_some_and(|it| it <= asked * (1.0 + HAIR));
        Some(match (is(max), is(line)) {
            (true, _) => Limit::Max,
            (_, true) => Limit::Line,
            _ => Limit::Rig,
        })
    }
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
    let managed = account.managed() * MARGIN;
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
    let line = between.line_rate(load.mean_bytes());
    let limit = Limit::of(&found, inquiry.max, line, wish.max);
    let pdr = found.answers.get(1).and_then(|it| it.throughput);
    let latency = match pdr {
        Some(pdr) => {
            let rate = wish.latency_at * pdr;
            watcher.doing(&format!("{title}, latency at {:.3} Mpps", rate / 1e6));
            let account = between.trial(&order(frames, rate, wish.latency_seconds, true))?;
            (account.pace() == Pace::Kept).then_some((rate, account))
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
            if account.pace() != Pace::Kept {
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
        disturbed: between.disturbed,
        limit,
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
        let managed = match account.pace() {
            Pace::Kept => return Ok(Outcome::Lost(account.loss())),
            Pace::Slow(managed) => managed,
            // Each time that it was tried.
            Pace::HeldUp => account.managed(),
        };
        self.watcher.note(&format!(
            "{step}: does not count: the rig managed {:.3} Mpps ({} of {} frames were never ready, the last one left {:.1} ms late, held up for {:.1} ms)",
            managed / 1e6,
            account.unsent,
            account.scheduled,
            account.late.1 * 1e3,
            account.held_up * 1e3,
        ));
        self.between.thrown_away += 1;
        Ok(Outcome::Short(managed))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Answer, Found};

    #[test]
    fn what_was_at_its_end_first_is_said() {
        let found = |upper, max| Found {
            answers: vec![Answer {
                throughput: Some(1e6),
                upper,
                ..Answer::default()
            }],
            trials: 1,
            max,
        };
        let of = |upper, max, line, wish| Limit::of(&found(upper, max), 9e6, line, wish);
        assert_eq!(of(Some(2e6), 9e6, None, None), None);
        assert_eq!(of(None, 9e6, None, None), Some(Limit::Rig));
        assert_eq!(of(None, 9e6, Some(9e6), None), Some(Limit::Line));
        assert_eq!(of(None, 9e6, Some(9e6), Some(9e6)), Some(Limit::Max));
        assert_eq!(of(None, 9e6, Some(10e6), None), Some(Limit::Rig));
        // Asked for more than the rig had in the end.
        assert_eq!(of(None, 8e6, Some(9e6), Some(9e6)), Some(Limit::Rig));
    }
}
