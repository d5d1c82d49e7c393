//! How workers start: their rings to control and to each other, their books, their threads.

use std::sync::Arc;
use std::sync::mpsc;

use rte::{Eal, LcoreError, Pool};
use weir_switch::held::{self, Held};
use weir_switch::ledger::Ledger;
use weir_tables::counters::WorkerCells;
use weir_tables::epoch::Epochs;
use weir_tables::ids::WorkerId;
use weir_tables::view::View;
use weir_worker::Packet;
use weir_worker::run::{Idle, run};
use weir_worker::sleeper::Sleeper;
use weir_worker::worker::{Parts, Worker};

use super::{Crew, Member, Moved, as_published};
use crate::links::Links;
use crate::tables::seed;

/// Commands and replies on their way to or from one worker.
const RING: usize = 1024;
/// Packets on their way from one worker to another.
const HANDOFF: usize = 1024;
/// News on their way from one worker.
const EVENTS: usize = 1024;
/// Why the workers did not start.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// The kernel gave no thread.
    #[error("no thread for the worker on core {core}: {source}")]
    Thread {
        /// The core.
        core: u32,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It could not be pinned, or DPDK would not know it.
    #[error("the worker on core {core} did not start: {source}")]
    Lcore {
        /// The core.
        core: u32,
        /// Why.
        source: LcoreError,
    },
    /// It ended at once.
    #[error("the worker on core {core} ended as it started")]
    Ended {
        /// The core.
        core: u32,
    },
    /// Worker numbers are 8 bits.
    #[error("{0} workers are more than 255")]
    TooMany(usize),
}

impl Crew {
    /// Starts a worker on each of `cores`, all reading `view`.
    pub fn start(
        eal: &Arc<Eal>,
        pool: Pool,
        cores: &[u32],
        idle: Idle,
        view: &View,
    ) -> Result<Crew, CrewError> {
        if cores.len() > usize::from(u8::MAX) {
            return Err(CrewError::TooMany(cores.len()));
        }
        let epochs = Epochs::new(cores.len());
        let mut rings = handoffs(cores.len());
        let sleepers: Vec<Arc<Sleeper>> = cores.iter().map(|_| Arc::default()).collect();
        let mut crew = Crew {
            members: Vec::new(),
            drains: 0,
            epochs,
            links: Links::new(cores.len(), pool.size(), rte::clock::hz()),
        };
        for (index, &core) in cores.iter().enumerate() {
            let Some((producers, takeovers)) = rings.pop() else {
                break;
            };
            let Some(passer) = crew.epochs.join(index) else {
                break;
            };
            let Some(sleeper) = sleepers.get(index).cloned() else {
                break;
            };
            let (commands, for_worker) = rtrb::RingBuffer::new(RING);
            let (from_worker, replies) = rtrb::RingBuffer::new(RING);
            let (news, events) = rtrb::RingBuffer::new(EVENTS);
            let cells = Arc::new(WorkerCells::default());
            let worker = Worker::new(Parts {
                view: as_published(view),
                ledger: Ledger::new(WorkerId(index as u8), cells.clone())
                    .with_clock(rte::clock::hz()),
                passer,
                pool,
                rings: producers,
                sleepers: sleepers.clone(),
                takeovers,
                commands: for_worker,
                replies: from_worker,
                events: news,
                held: Held::new(
                    Held::<Packet>::destinations(pool.size(), cores.len()),
                    held::REMEMBERED,
                    seed(),
                    rte::clock::hz(),
                ),
                shaping: crew.links.settings(),
            });
            let (said, ready) = mpsc::channel();
            let eal = eal.clone();
            let thread = std::thread::Builder::new()
                .name(format!("weir-worker-{core}"))
                .spawn(move || {
                    run(worker, &eal, core, idle, |ok| {
                        let _ = said.send(ok);
                    })
                })
                .map_err(|source| CrewError::Thread { core, source })?;
            crew.members.push(Member {
                core,
                cells,
                commands,
                sleeper,
                replies,
                events,
                thread: Some(thread),
                views: 0,
                inputs: Vec::new(),
                moved: Moved::default(),
                given: Vec::new(),
            });
            match ready.recv() {
                Ok(Ok(())) => {}
                Ok(Err(source)) => return Err(CrewError::Lcore { core, source }),
                Err(_) => return Err(CrewError::Ended { core }),
            }
        }
        Ok(crew)
    }
}

/// The ends of one worker's hand-off rings: to each other worker, and from each.
type Ends = (
    Vec<Option<rtrb::Producer<weir_worker::command::Handoff>>>,
    Vec<rtrb::Consumer<weir_worker::command::Handoff>>,
);

/// A ring from each worker to each other, as a stack with the first worker's ends on top.
fn handoffs(workers: usize) -> Vec<Ends> {
    let mut ends: Vec<Ends> = (0..workers).map(|_| (Vec::new(), Vec::new())).collect();
    for from in 0..workers {
        for to in 0..workers {
            if from == to {
                if let Some(end) = ends.get_mut(from) {
                    end.0.push(None);
                }
                continue;
            }
            let (producer, consumer) = rtrb::RingBuffer::new(HANDOFF);
            if let Some(end) = ends.get_mut(from) {
                end.0.push(Some(producer));
            }
            if let Some(end) = ends.get_mut(to) {
                end.1.push(consumer);
            }
        }
    }
    ends.reverse();
    ends
}
