//! The rig's own source without a switch: what it gives goes straight to the sink. What that costs is no switch's, and is taken out.

use super::{Bench, Running};
use crate::eal::eal;
use crate::halt::Halt;
use crate::window::Reading;
use rte::{Burst, Lcore, Pool, Port, PortConfig, RxQueue, TxQueue, pin_current};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use weir_worker::device::{Rx, Tx};
use weir_worker::rig::Source;

/// Mbufs that a lcore keeps, as the daemon's pool has it.
const CACHE: u32 = 256;
/// Bytes of an mbuf, as the daemon's.
const DATA_ROOM: u16 = 2176;
/// How long it waits between two looks whether it may go on.
const LOOK: Duration = Duration::from_millis(1);

/// Packets that the sink took, and whether to go on.
#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    held: AtomicBool,
    ends: AtomicBool,
}

/// A thread that takes from the source and gives to the sink.
pub struct Alone {
    shared: Arc<Shared>,
    /// The sink, with the queue that nobody polls.
    port: Option<(Port, Vec<RxQueue>)>,
    thread: Option<JoinHandle<Option<TxQueue>>>,
}

impl Alone {
    /// Starts it on the measured core, in this process.
    pub fn start(bench: &Bench) -> Result<Alone, Halt> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let fault = |why: String| Halt::failed("source", why, "");
        let eal = eal(bench.huge, &[])?;
        let pool = Pool::create(
            eal,
            &format!("source{number}"),
            bench.mbufs(),
            CACHE,
            DATA_ROOM,
            0,
            None,
        )
        .map_err(|error| fault(error.to_string()))?;
        let mut port = Port::attach(eal, &format!("net_null{},no-rx=1", 10 + number))
            .map_err(|error| fault(error.to_string()))?;
        let (rx, mut tx) = port
            .start(&PortConfig::default(), pool)
            .map_err(|error| fault(error.to_string()))?;
        let tx = tx
            .pop()
            .ok_or_else(|| fault("the sink has no queue".into()))?;
        let shared = Arc::new(Shared::default());
        let (own, core) = (shared.clone(), bench.core);
        let frames = bench.load.stamped();
        let thread = std::thread::Builder::new()
            .name("source".into())
            .spawn(move || {
                let _lcore = pin_current(core).and_then(|()| Lcore::register(eal)).ok()?;
                let mut tx = Tx::Eth(tx);
                forward(&own, &mut Rx::Rig(Source::new(frames, pool)), &mut tx);
                match tx {
                    Tx::Eth(tx) => Some(tx),
                    _ => None,
                }
            });
        Ok(Alone {
            shared,
            port: Some((port, rx)),
            thread: Some(thread.map_err(|error| fault(error.to_string()))?),
        })
    }
}

/// The worker's loop with nothing in it but its two ends.
fn forward(shared: &Shared, rx: &mut Rx, tx: &mut Tx) {
    let (mut burst, mut sent) = (Burst::new(), 0);
    while !shared.ends.load(Ordering::Relaxed) {
        if shared.held.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
            continue;
        }
        rx.rx(&mut burst);
        sent += tx.tx(&mut burst) as u64;
        burst.clear();
        shared.sent.store(sent, Ordering::Relaxed);
    }
}

impl Running for Alone {
    fn process(&self) -> u32 {
        std::process::id()
    }

    fn hold(&mut self) -> Result<(), Halt> {
        self.shared.held.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn go_on(&mut self) -> Result<(), Halt> {
        self.shared.held.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn read(&mut self) -> Result<Reading, Halt> {
        Ok(Reading {
            at: Instant::now(),
            sent: self.shared.sent.load(Ordering::Relaxed),
            received: None,
            bytes: None,
            own: None,
        })
    }

    fn trouble(&self, problem: &str) -> Halt {
        Halt::failed("source", problem, "")
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let tx = self.thread.take().and_then(|thread| thread.join().ok());
        if let (Some((port, rx)), Some(Some(tx))) = (self.port.take(), tx) {
            let _ = port.close(rx, vec![tx]);
        }
    }
}
