//! The thread of a worker: pinned, known to DPDK, and as busy as its policy says.

use crate::device::{Rx, Tx};
use crate::worker::Worker;
use rte::{Eal, Lcore, LcoreError, clock, pin_current};
use std::time::Duration;
use weir_tables::ids::PortId;

/// What a worker does when nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls on: the least latency, a whole core.
    Poll,
    /// Pauses, then sleeps for short times: for machines with few cores.
    Adaptive,
}

/// Turns without a packet after which an adaptive worker pauses, and after which it sleeps.
const PAUSE_AFTER: u32 = 64;
const SLEEP_AFTER: u32 = 2048;
/// Its sleeps, in microseconds: from the first to the longest, doubling.
const SLEEP_FIRST: u64 = 10;
const SLEEP_LONGEST: u64 = 100;
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
    let mut quiet = 0_u32;
    let mut then = clock::tsc();
    while !worker.is_stopping() {
        let moved = worker.turn();
        let now = clock::tsc();
        let cells = worker.ledger().cells();
        cells.turns.add(1);
        cells.now.set(now);
        if moved > 0 {
            cells.busy_cycles.add(now.wrapping_sub(then));
            quiet = 0;
        } else {
            cells.idle_cycles.add(now.wrapping_sub(then));
            quiet = quiet.saturating_add(1);
            if idle == Idle::Adaptive {
                rest(&mut worker, quiet);
            }
        }
        then = now;
    }
    worker.finish(LAST_TURNS)
}

/// Waits a little, longer the longer it was quiet.
#[cold]
fn rest(worker: &mut Worker, quiet: u32) {
    if quiet < PAUSE_AFTER {
        return;
    }
    if quiet < SLEEP_AFTER {
        std::hint::spin_loop();
        return;
    }
    let doublings = (quiet - SLEEP_AFTER).min(8);
    let sleep = (SLEEP_FIRST << doublings).min(SLEEP_LONGEST);
    // While it sleeps it reads nothing, and control need not wait for it.
    worker.passer().offline();
    std::thread::sleep(Duration::from_micros(sleep));
    worker.passer().online();
}
