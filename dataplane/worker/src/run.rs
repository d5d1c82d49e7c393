//! The thread of a worker: pinned, known to DPDK, and as busy as its policy says.

use crate::device::{Rx, Tx};
pub use crate::idle::Idle;
use crate::idle::{Next, Quiet};
use crate::worker::Worker;
use rte::{Eal, Lcore, LcoreError, Pauses, clock, pin_current, wake_in_time};
use weir_tables::ids::PortId;

/// Turns that a stopping worker spends on what waits for slow devices.
const LAST_TURNS: usize = 10_000;

/// What a worker that has ended gives back: each port's queues.
pub type Remains = Vec<(PortId, Vec<Rx>, Vec<Tx>)>;

/// Runs `worker` on `core` until control says stop. Called on the worker's own thread. `ready` hears whether
/// the thread could be pinned and made known to DPDK; if not, the worker gives back what it has.
pub fn run(
    mut worker: Worker,
    eal: &Eal,
    core: u32,
    idle: Idle,
    ready: impl FnOnce(Result<(), LcoreError>),
) -> Remains {
    // Without an lcore id there is no mempool cache.
    let _lcore = match pin_current(core).and_then(|()| Lcore::register(eal)) {
        Ok(lcore) => {
            ready(Ok(()));
            lcore
        }
        Err(error) => {
            ready(Err(error));
            return worker.finish(0);
        }
    };
    let mut then = clock::tsc();
    let mut rests = (idle == Idle::Adaptive).then(|| Rests::new(&worker, then));
    while !worker.is_stopping() {
        let received = worker.first_half();
        if worker.is_shaping() {
            // What leaves is charged as of when it does: receiving took time, and much if the processor was somebody else's meanwhile.
            worker.left_by(then);
            worker.ledger().cells().now.set(clock::tsc());
        }
        let moved = worker.second_half(received);
        let now = clock::tsc();
        let cells = worker.ledger().cells();
        cells.turns.add(1);
        cells.now.set(now);
        if moved > 0 {
            cells.busy_cycles.add(now.wrapping_sub(then));
            if let Some(rests) = &mut rests {
                rests.moved(&mut worker, now);
            }
        } else {
            cells.idle_cycles.add(now.wrapping_sub(then));
            if let Some(rests) = &mut rests {
                rests.rest(&mut worker, now);
            }
        }
        then = now;
    }
    worker.finish(LAST_TURNS)
}

/// What an adaptive worker does behind each turn.
pub struct Rests {
    hz: u64,
    pauses: Pauses,
    quiet: Quiet,
}

/// How it waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Not, or for less than a microsecond.
    Briefly,
    /// Not: its queues call from now on, and what came before that is to be looked for once more.
    ToLookOnceMore,
    /// It slept.
    Asleep,
}

impl Rests {
    /// Of the calling thread's worker, from now on.
    pub fn new(worker: &Worker, now: u64) -> Rests {
        worker.sleeper().begin();
        wake_in_time();
        let hz = clock::hz();
        Rests {
            hz,
            pauses: Pauses::of_this_cpu(),
            quiet: Quiet::new(hz, now),
        }
    }

    /// Something came in the turn that is over: it is polled now, and need not call.
    #[inline(always)]
    pub fn moved(&mut self, worker: &mut Worker, now: u64) {
        self.quiet.moved(now);
        if worker.is_armed() {
            worker.disarm();
        }
    }

    /// Nothing came: waits a little, longer the longer it was quiet.
    #[inline(never)]
    pub fn rest(&mut self, worker: &mut Worker, now: u64) -> Waited {
        let (until, called) = match self.quiet.is_tired(now) {
            true if worker.arm(now, self.hz) => return Waited::ToLookOnceMore,
            true => (worker.look_again(now, self.hz), worker.is_called()),
            false => (u64::MAX, false),
        };
        match self.quiet.next(now, until, called) {
            Next::Poll => {}
            Next::Pause(cycles) => self.pauses.pause(cycles),
            Next::Sleep(time) => {
                worker.sleep(time);
                return Waited::Asleep;
            }
        }
        Waited::Briefly
    }
}
