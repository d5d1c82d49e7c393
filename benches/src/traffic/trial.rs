//! One trial: frames out of one port on schedule, frames in by another, until all have come or nothing comes any more.

use super::gate::Gate;
use super::ledger::{Came, Ledger};
use super::schedule::Schedule;
use super::stamp::Stamp;
use crate::halt::{Halt, Stop};
use hdrhistogram::Histogram;
use rte::{Burst, Pool, clock};
use std::time::Duration;

/// How long nothing may come, after the last frame has left, before what is missing counts as lost. RFC 2544 §23 says two seconds,
/// for networks; a switch beside the rig that is silent for so long has nothing left.
pub const DRAIN: Duration = Duration::from_millis(200);
/// How long a trial may take, in its own length: a generator that is this slow is stopped.
const PATIENCE: f64 = 1.5;
/// Turns between two looks at what should have no frames for us, and at whether a signal has come.
const SELDOM: u32 = 64;
/// The rate was kept if the last frame left no later than so much of the trial's length after it was due, or than this.
const BEHIND: f64 = 0.002;
const BEHIND_AT_LEAST: f64 = 0.0002;
/// A turn takes about a microsecond. One that takes so long was not the rig's own doing: it had no core.
const HELD_UP: Duration = Duration::from_millis(1);

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The frames, without FCS, each in turn. Their last bytes are overwritten by a [`Stamp`].
    pub frames: &'a [Vec<u8>],
    /// Frames a second.
    pub rate: f64,
    /// For so many seconds.
    pub seconds: f64,
    /// Which trial it is: frames of another are told apart.
    pub trial: u16,
    /// Whether latency is wanted.
    pub latency: bool,
    /// How long nothing may come before what is missing counts as lost: [`DRAIN`].
    pub drain: Duration,
}

/// Whether frames left when they were due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// They did; or what was late was made up for.
    Kept,
    /// The last ones were late, by no longer than somebody else had the rig's core.
    HeldUp,
    /// The rig is too slow for that rate: so many frames a second is what it managed.
    Slow(f64),
}

/// What came of it: `scheduled` = `unsent` + `refused` + given to the port, of which `came.frames` have come.
#[derive(Debug)]
pub struct Account {
    /// Frames that were to be sent.
    pub scheduled: u32,
    /// Frames that were never ready: the generator was too slow, or stopped.
    pub unsent: u32,
    /// Frames that a ring shared with the switch did not take: lost at its door.
    pub refused: u32,
    /// Of these, those before anything had come: the switch had not looked yet.
    pub unheard: u32,
    /// What came.
    pub came: Came,
    /// How much later than due a frame left, in seconds: at the most, and the last one.
    pub late: (f64, f64),
    /// Seconds of the longest turn of sending and receiving.
    pub longest_turn: f64,
    /// Seconds of all turns in which the rig was held up: somebody else had its core.
    pub held_up: f64,
    /// Seconds in which the frames were to leave, and did.
    pub seconds: (f64, f64),
    /// Cycles from when each frame was due until it came: [`Account::micros`] translates.
    pub latency: Option<Histogram<u64>>,
    hz: u64,
}

impl Account {
    /// One that came to this: what was refused is all that did not come.
    #[cfg(test)]
    pub(crate) fn of_burst(
        scheduled: u32,
        came: u32,
        unheard: u32,
        longest_turn: f64,
        held_up: f64,
    ) -> Account {
        let came = Came {
            frames: came,
            ..Came::default()
        };
        Account {
            scheduled,
            unsent: 0,
            refused: scheduled - came.frames,
            unheard,
            came,
            late: (longest_turn, 0.0),
            longest_turn,
            held_up,
            seconds: (0.05, 0.05),
            latency: None,
            hz: 1_000_000_000,
        }
    }

    /// Share of the frames that did not come.
    pub fn loss(&self) -> f64 {
        1.0 - f64::from(self.came.frames) / f64::from(self.scheduled)
    }

    /// Whether the frames left at their rate.
    pub fn pace(&self) -> Pace {
        let (_, last) = self.late;
        let behind = last - (self.seconds.0 * BEHIND).max(BEHIND_AT_LEAST);
        let (scheduled, unsent) = (f64::from(self.scheduled), f64::from(self.unsent));
        if self.unsent == 0 && behind <= 0.0 {
            return Pace::Kept;
        }
        // What it was held up for, it may be late, and may owe.
        if behind <= self.held_up && unsent <= scheduled * self.held_up / self.seconds.0 {
            return Pace::HeldUp;
        }
        Pace::Slow(self.managed())
    }

    /// Frames a second that left, in the time that the rig had.
    pub fn managed(&self) -> f64 {
        let took = (self.seconds.1 - self.held_up).max(self.seconds.0);
        f64::from(self.scheduled - self.unsent) / took
    }

    /// Whether somebody else had the rig's core for too long: what it owed was sent in a rush, and what came meanwhile found a full
    /// ring, so that a loss may be its own.
    pub fn was_held_up(&self) -> bool {
        self.held_up > 0.0
    }

    /// Whether nothing was lost.
    pub fn lost_nothing(&self) -> bool {
        self.came.frames == self.scheduled
    }

    /// Cycles as microseconds.
    pub fn micros(&self, cycles: u64) -> f64 {
        cycles as f64 * 1e6 / self.hz as f64
    }
}

/// Runs a trial on this thread, which should have a core to itself. `hz` is of the TSC. Fails only if a signal comes.
pub fn run(
    out: &mut Gate,
    back: &mut Gate,
    pool: Pool,
    order: &Order,
    hz: u64,
    stop: &Stop,
) -> Result<Account, Halt> {
    let start = clock::tsc() + hz / 100_000;
    let mut schedule = Schedule::new(order.rate, order.seconds, start, hz);
    let total = schedule.total();
    let mut ledger = Ledger::new(order.trial, total, order.latency.then_some(hz));
    let mut sender = Sender {
        order,
        pool,
        burst: Burst::new(),
        unsent: 0,
        refused: 0,
        latest: 0,
        last: 0,
    };
    let end = start + (schedule.cycles() as f64 * PATIENCE) as u64 + hz / 100;
    let mut turn = 0u32;
    let (mut before, mut longest, mut held) = (clock::tsc(), 0, 0);
    let mut unheard = 0;
    let patient = (HELD_UP.as_secs_f64() * hz as f64) as u64;
    while !(schedule.is_done() && sender.burst.is_empty()) {
        receive(back, &mut ledger);
        let now = clock::tsc();
        let took = now - before;
        longest = longest.max(took);
        if took > patient {
            held += took;
        }
        before = now;
        sender.turn(out, &mut schedule, now);
        if ledger.came.frames == 0 {
            unheard = sender.refused;
        }
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(SELDOM) {
            receive(out, &mut ledger);
            stop.check()?;
            if now > end {
                break;
            }
        }
    }
    let left = clock::tsc();
    let unsent = total - schedule.given() + sender.burst.len() as u32 + sender.unsent;
    sender.burst.clear();
    let quiet = (order.drain.as_secs_f64() * hz as f64) as u64;
    let mut last = clock::tsc();
    while ledger.came.frames + unsent + sender.refused < total {
        let before = ledger.came;
        receive(back, &mut ledger);
        receive(out, &mut ledger);
        let now = clock::tsc();
        if ledger.came != before {
            last = now;
        } else if now - last > quiet {
            break;
        }
        stop.check()?;
    }
    let seconds = |cycles: u64| cycles as f64 / hz as f64;
    Ok(Account {
        scheduled: total,
        unsent,
        refused: sender.refused,
        unheard,
        came: ledger.came,
        late: (seconds(sender.latest), seconds(sender.last)),
        longest_turn: seconds(longest),
        held_up: seconds(held),
        seconds: (order.seconds, seconds(left - start)),
        latency: ledger.into_latency(),
        hz,
    })
}

/// What is there, at most a burst of each queue.
#[inline]
fn receive(gate: &mut Gate, ledger: &mut Ledger) {
    for queue in &mut gate.rx {
        let mut burst = Burst::new();
        if queue.rx(&mut burst) > 0 {
            take(&burst, ledger);
        }
    }
}

#[inline]
fn take(burst: &Burst, ledger: &mut Ledger) {
    let now = clock::tsc();
    for mbuf in burst.as_slice() {
        // A chain's stamp is in its last segment.
        match mbuf.segments() {
            1 => ledger.take(mbuf.head(), now),
            _ => ledger.take(mbuf.segments_iter().last().unwrap_or_default(), now),
        }
    }
}

/// The sending side.
struct Sender<'a> {
    order: &'a Order<'a>,
    pool: Pool,
    /// What a wire has not taken yet.
    burst: Burst,
    /// Frames that found no mbuf, and that a shared ring did not take.
    unsent: u32,
    refused: u32,
    /// Cycles by which a frame left late: the most, and the last.
    latest: u64,
    last: u64,
}

impl Sender<'_> {
    /// Sends what is due, at most a burst.
    #[inline]
    fn turn(&mut self, out: &mut Gate, schedule: &mut Schedule, now: u64) {
        if self.burst.is_empty() {
            self.prepare(schedule, now);
        }
        if self.burst.is_empty() {
            return;
        }
        out.tx.tx(&mut self.burst);
        // A wire takes the rest when it can. Who shares a ring with us had room, or has none: that is its loss.
        if out.shared && !self.burst.is_empty() {
            self.refused += self.burst.len() as u32;
            self.burst.clear();
        }
    }

    #[inline]
    fn prepare(&mut self, schedule: &mut Schedule, now: u64) {
        let mut due = [(0, 0); Burst::CAPACITY];
        let mut count = 0;
        for slot in &mut due {
            let Some(frame) = schedule.due(now) else {
                break;
            };
            *slot = frame;
            count += 1;
        }
        if count == 0 {
            return;
        }
        self.last = now - due[0].1;
        self.latest = self.latest.max(self.last);
        if !self.pool.alloc_bulk(&mut self.burst, count) {
            // The rig's own trouble: the trial does not count.
            self.unsent += count as u32;
            return;
        }
        for (mbuf, (number, at)) in self.burst.as_mut_slice().iter_mut().zip(due) {
            let frames = self.order.frames;
            let Some(frame) = frames.get(number as usize % frames.len().max(1)) else {
                continue;
            };
            let stamp = Stamp {
                number,
                due: at,
                trial: self.order.trial,
            };
            if let Some(bytes) = mbuf.append(frame.len()) {
                bytes.copy_from_slice(frame);
                stamp.write(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To be late is one thing, to have had no core another: only the first is a rate that is too high.
    #[test]
    fn a_generator_that_was_held_up_is_not_called_slow() {
        let of = |unsent: u32, late: f64, held_up: f64| {
            let account = Account {
                scheduled: 1000,
                unsent,
                refused: 0,
                unheard: 0,
                came: Came::default(),
                late: (late, late),
                longest_turn: held_up,
                held_up,
                seconds: (1.0, 1.0 + late),
                latency: None,
                hz: 1_000_000_000,
            };
            (account.pace(), account.was_held_up())
        };
        assert_eq!(of(0, 0.0019, 0.0), (Pace::Kept, false));
        assert_eq!(of(0, 0.25, 0.0), (Pace::Slow(800.0), false));
        // It had made up for it before the end.
        assert_eq!(of(0, 0.0, 0.3), (Pace::Kept, true));
        assert_eq!(of(0, 0.005, 0.004), (Pace::HeldUp, true));
        // Not so late without it, and too late all the same: what it managed is of the time that it had.
        assert_eq!(of(0, 0.275, 0.025), (Pace::Slow(800.0), true));
        assert_eq!(of(500, 0.0, 0.0), (Pace::Slow(500.0), false));
        assert_eq!(of(20, 0.0, 0.03), (Pace::HeldUp, true));
        assert_eq!(of(40, 0.0, 0.03), (Pace::Slow(960.0), true));
    }
}
