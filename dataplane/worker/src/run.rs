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
    if idle == Idle::Adaptive {
        worker.sleeper().begin();
        wake_in_time();
    }
    let hz = clock::hz();
    let pauses = Pauses::of_this_cpu();
    let mut then = clock::tsc();
    let mut quiet = Quiet::new(hz, then);
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
            quiet.moved(now);
            if worker.is_armed() {
                worker.disarm();
            }
        } else {
            cells.idle_cycles.add(now.wrapping_sub(then));
            if idle == Idle::Adaptive {
                rest(&mut worker, &mut quiet, now, hz, pauses);
            }
        }
        then = now;
    }
    worker.finish(LAST_TURNS)
}

/// Waits a little, longer the longer it was quiet.
#[inline(never)]
fn rest(worker: &mut Worker, quiet: &mut Quiet, now: u64, hz: u64, pauses: Pauses) {
    let (until, called) = match quiet.is_tired(now) {
        // What came before their interrupts were on is looked for once more.
        true if worker.arm(now, hz) => return,
        true => (worker.look_again(now, hz), worker.is_called()),
        false => (u64::MAX, false),
    };
    match quiet.next(now, until, called) {
        Next::Poll => {}
        Next::Pause(cycles) => pauses.pause(cycles),
        Next::Sleep(time) => worker.sleep(time),
    }
}
