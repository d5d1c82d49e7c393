//! Goals of bandwidth: what each vNIC sends beside its neighbours, as the rig's sink has it.
//!
//! | file | subject |
//! |---|---|
//! | `maxima` | many limiters, each held against its maximum |
//! | `minima` | minima while neighbours send all they can |
//! | `turns` | a vNIC that starts and stops |
//! | `weights` | shares against the fluid model's |
//! | `cost` | what it costs a packet |
//! | `kernels` | TCP of real kernels through a maximum: goodput, and how long packets wait |
//! | `pool` | what one tenant that fills its queues leaves the others |
//!
//! A goal's round is the worst of all that was looked at in it. Capacities are so low that the link is what limits and not the core.

mod cost;
mod kernels;
mod maxima;
mod minima;
mod pool;
mod turns;
mod weights;

use crate::bandwidth::judge::{Windows, least, most};
use crate::bandwidth::record::Record;
use crate::bandwidth::stand::Around;
use crate::halt::{Halt, Stop};
use crate::machine;
use crate::rounds::{Plan, Rig, Watcher};
use crate::subject::Ask;
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Percent by which a rate is off the maximum that was set, in windows of a second.
    Max1s,
    /// The same in windows of a tenth of that.
    Max100ms,
    /// Percent of its minimum that a vNIC did not get.
    Min,
    /// Percent of its time that the uplink is busy while anyone may send.
    Busy,
    /// Time until a vNIC that starts has its minimum and what is idle is lent out, of the time allowed.
    Converge,
    /// Percent by which shares are off the exact fluid model's.
    Share,
    /// What bandwidth costs a packet while there is room, of what testpmd costs.
    Cost,
    /// The same while every vNIC has packets waiting.
    CostBacklogged,
    /// Goodput of TCP through a maximum, of that maximum.
    Tcp,
    /// How long packets of TCP with ECN wait for a maximum, in marking thresholds.
    Ecn,
    /// Percent of all mbufs that are free while one tenant floods.
    Pool,
    /// Packets that others lose meanwhile.
    PoolLost,
}

/// How long vNICs send before anything is logged: queues are full then, and what they may send at once is sent.
const WARM_UP: Duration = Duration::from_millis(300);
/// In which the link must be busy: the emptiest of them counts.
const BUSY_WINDOW: f64 = 0.1;

/// One round of a scene with a link: how far off it is, and percent of the time that the link was busy.
#[derive(Clone, Copy, Debug, PartialEq)]
struct OfLink {
    off: f64,
    busy: f64,
}

impl OfLink {
    /// The worse of it and what is known of its round.
    fn worse(self, known: Option<OfLink>) -> OfLink {
        known.map_or(self, |known| OfLink {
            off: known.off.max(self.off),
            busy: known.busy.min(self.busy),
        })
    }
}

/// What was measured so far: each scene once, whatever asks for it.
#[derive(Debug, Default)]
pub struct Known {
    maxima: Option<Vec<maxima::Round>>,
    minima: Option<Vec<OfLink>>,
    turns: Option<Vec<OfLink>>,
    weights: Option<Vec<OfLink>>,
    costs: Option<Vec<cost::Round>>,
    pools: Option<Vec<pool::Round>>,
}

impl Known {
    /// Rounds of it.
    pub fn measure(
        &mut self,
        what: What,
        plan: &Plan,
        ask: &dyn Ask,
        stop: &Stop,
        watcher: &mut dyn Watcher,
    ) -> Result<Vec<f64>, Halt> {
        let plan = &plan.beside(&[]);
        let (core, _) = Rig::set_up(plan, ask, stop, watcher)?.cores();
        let around = Around {
            plan,
            core,
            huge: machine::huge(),
            ask,
            stop,
        };
        let known = match what {
            What::Max1s | What::Max100ms => {
                let rounds = once(&mut self.maxima, || maxima::measure(around, watcher))?;
                return Ok(rounds.iter().map(|round| round.off(what)).collect());
            }
            What::Cost | What::CostBacklogged => {
                let rounds = once(&mut self.costs, || cost::measure(around, watcher))?;
                return cost::of(rounds, what);
            }
            What::Pool | What::PoolLost => {
                let rounds = once(&mut self.pools, || pool::measure(around, watcher))?;
                return Ok(rounds.iter().map(|round| round.of(what)).collect());
            }
            What::Tcp => return kernels::goodput(around, watcher),
            What::Ecn => return kernels::waits(around, watcher),
            What::Min => once(&mut self.minima, || minima::measure(around, watcher))?,
            What::Converge => once(&mut self.turns, || turns::measure(around, watcher))?,
            What::Share => once(&mut self.weights, || weights::measure(around, watcher))?,
            What::Busy => {
                let minima = once(&mut self.minima, || minima::measure(around, watcher))?.clone();
                let turns = once(&mut self.turns, || turns::measure(around, watcher))?.clone();
                let weights = once(&mut self.weights, || weights::measure(around, watcher))?;
                let all = minima.iter().zip(&turns).zip(weights);
                let least =
                    |((a, b), c): ((&OfLink, &OfLink), &OfLink)| a.busy.min(b.busy).min(c.busy);
                return Ok(all.map(least).collect());
            }
        };
        Ok(known.iter().map(|round| round.off).collect())
    }
}

/// What is known, or is measured now.
fn once<T>(
    known: &mut Option<Vec<T>>,
    measure: impl FnOnce() -> Result<Vec<T>, Halt>,
) -> Result<&Vec<T>, Halt> {
    match known {
        Some(known) => Ok(known),
        none => Ok(none.insert(measure()?)),
    }
}

/// As many rounds as the plan wants, of up to twice as many tries.
fn rounds<T>(
    around: Around<'_>,
    mut round: impl FnMut(usize) -> Result<Option<T>, Halt>,
) -> Result<Vec<T>, Halt> {
    let plan = around.plan;
    let mut counted = Vec::new();
    for _ in 0..2 * plan.rounds {
        counted.extend(round(counted.len() + 1)?);
        if counted.len() == plan.rounds {
            break;
        }
    }
    match counted.is_empty() {
        true => super::rest(Vec::new(), plan).map(|_| Vec::new()),
        false => Ok(counted),
    }
}

/// Percent of the time that the link of so many bit/s was busy, in the window of 100 ms that is the worst of all: too little was sent
/// while it ran, or more than the link carries.
fn busy(record: &Record, capacity: f64, frame: u64) -> f64 {
    let length = record.cycles(BUSY_WINDOW);
    let full = capacity / 8.0 * BUSY_WINDOW;
    let running = record.together(Record::anyone);
    let windows = |to| Windows {
        from: 0,
        to,
        length,
    };
    let to = record.running.at(record.length);
    let emptiest = least(&running, windows(to)).map_or(0.0, |bytes| bytes as f64);
    let clock = record.together_by_clock();
    let fullest = most(&clock, windows(record.length)) as f64;
    let missing = (full - emptiest - frame as f64).max(0.0);
    let beyond = (fullest - full - frame as f64).max(0.0);
    100.0 * (1.0 - missing.max(beyond) / full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_worker::rig::sink::Event;

    /// A frame of 102 bytes, 126 on the wire, every 2,016 cycles of 1 GHz: 500 Mbit/s, but for those that `is` leaves out.
    fn link(is: impl Fn(u64) -> bool) -> Record {
        let frames = (0..500_000).filter(|n| is(*n));
        Record {
            hz: 1e9,
            events: frames
                .map(|n| Event {
                    at: 2016 * n,
                    sender: (n % 7) as u32,
                    bytes: 102,
                })
                .collect(),
            length: 1_008_000_000,
            ..Record::default()
        }
    }

    #[test]
    fn a_link_is_as_busy_as_in_its_worst_window() {
        let full = busy(&link(|_| true), 500e6, 126);
        assert!(full > 99.99, "{full}");
        // 2 ms of a second: 2% of a window.
        let idle = busy(&link(|n| !(100_000..101_000).contains(&n)), 500e6, 126);
        assert!((idle - 98.0).abs() < 0.05, "{idle}");
        // More than the link carries is no better.
        let beyond = busy(&link(|_| true), 490e6, 126);
        assert!((beyond - 98.0).abs() < 0.1, "{beyond}");
    }

    #[test]
    fn while_nobody_ran_nothing_is_missed() {
        let mut record = link(|n| !(100_000..101_000).contains(&n));
        record.running = crate::bandwidth::record::Running::new(vec![(201_600_000, 203_616_000)]);
        let share = busy(&record, 500e6, 126);
        assert!(share > 99.9, "{share}");
    }
}
