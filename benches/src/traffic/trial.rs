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
pub const DRAIN: Duration = Duration::from_millis(50);
/// How long a trial may take, in its own length: a generator that is this slow is stopped.
const PATIENCE: f64 = 1.5;
/// Turns between two looks at what should have no frames for us, and at whether a signal has come.
const SELDOM: u32 = 64;
/// A trial counts if its last frame left no later than so much of its length after it was due: else the rate was not kept.
const BEHIND: f64 = 0.002;
/// And if no frame left later than that.
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

/// What came of it: `scheduled` = `unsent` + `refused` + given to the port, of which `came.frames` have come.
#[derive(Debug)]
pub struct Account {
    /// Frames that were to be sent.
    pub scheduled: u32,
    /// Frames that were never ready: the generator was too slow, or stopped.
    pub unsent: u32,
    /// Frames that a ring shared with the switch did not take: lost at its door.
    pub refused: u32,
    /// What came.
    pub came: Came,
    /// How much later than due a frame left, in seconds: at the most, and the last one.
    pub late: (f64, f64),
    /// Seconds that were to be taken, from the first frame on.
    pub seconds: f64,
    /// Latency in nanoseconds' place is kept in cycles: [`Account::micros`] translates.
    pub latency: Option<Histogram<u64>>,
    hz: u64,
}

impl Account {
    /// Share of the frames that did not come.
    pub fn loss(&self) -> f64 {
        1.0 - f64::from(self.came.frames) / f64::from(self.scheduled)
    }

    /// Whether the generator did what it was to do; else the frames a second that it managed, or what it fears to manage.
    pub fn kept(&self) -> Result<(), f64> {
        let (most, last) = self.late;
        let behind = last > (self.seconds * BEHIND).max(HELD_UP.as_secs_f64() / 5.0);
        if self.unsent == 0 && !behind && most <= HELD_UP.as_secs_f64() {
            return Ok(());
        }
        Err(f64::from(self.scheduled - self.unsent) / (self.seconds + last))
    }

    /// Whether it was only held up for a while: another try may be better.
    pub fn was_held_up(&self) -> bool {
        let (most, last) = self.late;
        self.unsent == 0 && most > HELD_UP.as_secs_f64() && last < most / 4.0
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
    let mut given_up = false;
    while !(schedule.is_done() && sender.burst.is_empty()) {
        receive(back, &mut ledger);
        let now = clock::tsc();
        sender.turn(out, &mut schedule, now);
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(SELDOM) {
            receive(out, &mut ledger);
            stop.check()?;
            if now > end {
                given_up = true;
                break;
            }
        }
    }
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
    let late = |cycles: u64| cycles as f64 / hz as f64;
    Ok(Account {
        scheduled: total,
        unsent,
        refused: sender.refused,
        came: ledger.came,
        late: (
            late(sender.latest),
            late(if given_up { end - start } else { sender.last }),
        ),
        seconds: order.seconds,
        latency: ledger.into_latency(),
        hz,
    })
}

/// What is there, at most a burst.
#[inline]
fn receive(gate: &mut Gate, ledger: &mut Ledger) {
    let mut burst = Burst::new();
    if gate.rx.rx(&mut burst) == 0 {
        return;
    }
    let now = clock::tsc();
    for mbuf in burst.as_slice() {
        // A chain's stamp is in its last segment.
        match mbuf.segments() {
            1 => ledger.take(mbuf.head(), now),
            _ => ledger.take(mbuf.segments_iter().last().unwrap_or_default(), now),
        }
    }
    burst.clear();
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
