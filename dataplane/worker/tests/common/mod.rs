//! Workers over net_ring ports, driven by hand. A port's ring 0 is what its VM (or the wire) sends, ring 1
//! what it is sent: the worker has one end of each, the test the other. One EAL a process, one rig at a time.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rte::{
    Burst, Eal, EalConfig, LogLevel, Mbuf, Memory, Pool, Port, PortConfig, RxQueue, TxQueue,
};
use weir_switch::Ledger;
use weir_switch::held::Held;
use weir_switch::outlet::Event;
use weir_switch::shape::leases::Leases;
use weir_switch::shape::{LinkState, Settings};
use weir_switch::testing::world::World;
use weir_switch::testing::{HELD, HELD_MISSES, HZ, QUESTIONS, SHAPED, SHAPED_VNICS};
use weir_tables::bandwidth::Link;
use weir_tables::counters::{Cells, WorkerCells, cells};
use weir_tables::epoch::Epochs;
use weir_tables::ids::{PortId, UplinkId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::view::View;
use weir_worker::command::{Command, Reply};
use weir_worker::device::{Rx, Tx};
use weir_worker::sleeper::Sleeper;
use weir_worker::worker::{Parts, Worker};

/// EAL without hugepages, PCI or root.
pub fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        Eal::init(EalConfig {
            memory: Memory::NoHuge { megabytes: 384 },
            pci: false,
            log_level: Some(LogLevel::Silent),
            ..EalConfig::default()
        })
        .expect("EAL starts")
    })
}

/// A name that no other test of this process has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A pool with nothing out. One that lives as long as the process serves every rig that asks for the same:
/// rigs take turns, and each ends with all of it back.
fn pool(role: &'static str, mbufs: u32, cache: u32) -> Pool {
    static POOLS: Mutex<BTreeMap<(&str, u32, u32), Pool>> = Mutex::new(BTreeMap::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = *pools.entry((role, mbufs, cache)).or_insert_with(|| {
        Pool::create(eal(), &unique(role), mbufs, cache, 2176, 0, None).expect("a pool")
    });
    assert_eq!(pool.in_use(), 0, "a test before this one left mbufs out");
    pool
}

/// DPDK's ports are few: with `cargo test` the tests of a file take turns.
fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A started net_ring: the test's ends of it.
pub struct Line {
    port: Port,
    rx: RxQueue,
    tx: TxQueue,
    /// Injected frames that the ring did not take yet: always none.
    burst: Burst,
}

impl Line {
    /// A port; its queues for the worker.
    pub fn open(pool: Pool) -> (Line, Rx, Tx) {
        let mut port = Port::attach(eal(), &unique("net_ring")).expect("a port");
        let config = PortConfig {
            rx_queues: 2,
            tx_queues: 2,
            ..PortConfig::default()
        };
        let (mut rx, mut tx) = port.start(&config, pool).expect("a start");
        let line = Line {
            port,
            rx: rx.remove(1),
            tx: tx.remove(0),
            burst: Burst::new(),
        };
        (line, Rx::Eth(rx.remove(0)), Tx::Eth(tx.remove(0)))
    }

    /// As if what is behind the port had sent these.
    pub fn inject(&mut self, mbufs: impl IntoIterator<Item = Mbuf>) {
        for mbuf in mbufs {
            assert!(self.burst.push(mbuf).is_ok());
            if self.burst.is_full() {
                self.tx.tx(&mut self.burst);
                assert!(self.burst.is_empty(), "the ring is full");
            }
        }
        self.tx.tx(&mut self.burst);
        assert!(self.burst.is_empty(), "the ring is full");
    }

    /// The same as far as the ring has room; how many it did not take, which are freed.
    pub fn offer(&mut self, mbufs: impl IntoIterator<Item = Mbuf>) -> usize {
        let mut refused = 0;
        for mbuf in mbufs {
            assert!(self.burst.push(mbuf).is_ok());
            if self.burst.is_full() {
                self.tx.tx(&mut self.burst);
                refused += self.burst.len();
                self.burst.clear();
            }
        }
        self.tx.tx(&mut self.burst);
        refused += self.burst.len();
        self.burst.clear();
        refused
    }

    /// What the port was sent and nobody took yet, at most this many bursts.
    pub fn take_bursts(&mut self, bursts: usize) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        let mut burst = Burst::new();
        for _ in 0..bursts {
            if self.rx.rx(&mut burst) == 0 {
                break;
            }
            taken.extend(burst.drain().map(|mbuf| bytes(&mbuf)));
        }
        taken
    }

    /// What the port was sent, as the driver got it; at most a burst.
    pub fn take_mbufs(&mut self) -> Vec<Mbuf> {
        let mut burst = Burst::new();
        self.rx.rx(&mut burst);
        burst.drain().collect()
    }

    /// All of it, without a look.
    pub fn discard(&mut self) -> usize {
        let (mut count, mut burst) = (0, Burst::new());
        while self.rx.rx(&mut burst) > 0 {
            count += burst.len();
            burst.clear();
        }
        count
    }

    /// Everything that the port was sent.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        self.take_bursts(usize::MAX)
    }

    /// Ends it; the worker's queues prove that nobody polls.
    pub fn close(self, rx: Vec<Rx>, tx: Vec<Tx>) {
        let eth_rx = rx.into_iter().map(|rx| match rx {
            Rx::Eth(rx) => rx,
            _ => panic!("not a ring"),
        });
        let eth_tx = tx.into_iter().map(|tx| match tx {
            Tx::Eth(tx) => tx,
            _ => panic!("not a ring"),
        });
        let (rx, tx) = (
            eth_rx.chain([self.rx]).collect(),
            eth_tx.chain([self.tx]).collect(),
        );
        self.port.close(rx, tx).expect("closed");
    }
}

/// The bytes of the whole chain.
pub fn bytes(mbuf: &Mbuf) -> Vec<u8> {
    mbuf.segments_iter().flatten().copied().collect()
}

/// A worker and control's ends of its rings.
pub struct Seat {
    pub worker: Worker,
    pub cells: Arc<WorkerCells>,
    pub commands: rtrb::Producer<Command>,
    pub replies: rtrb::Consumer<Reply>,
    pub events: rtrb::Consumer<Event>,
}

impl Seat {
    pub fn tell(&mut self, command: Command) {
        assert!(self.commands.push(command).is_ok(), "no room for a command");
    }

    /// The equation.
    pub fn assert_conserved(&self) {
        let cells = &self.cells;
        assert_eq!(cells.came(), cells.went(), "{cells:?}");
    }
}

/// How a rig is made.
#[derive(Clone, Copy)]
pub struct Options {
    pub workers: usize,
    /// Packets in a hand-off ring.
    pub handoff: usize,
    /// Replies that find room.
    pub replies: usize,
    /// Mbufs for copies and packets of the switch's own.
    pub mbufs: u32,
    /// Mbufs for what is injected.
    pub feed: u32,
    /// Mbufs that each lcore keeps.
    pub cache: u32,
    /// Frames that may wait for bandwidth on each worker.
    pub waiting: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: 1,
            handoff: 1024,
            replies: 256,
            mbufs: 2047,
            feed: 4095,
            cache: 0,
            waiting: SHAPED,
        }
    }
}

/// Lines of a rig that has ended, with the worker's queues, for the next one: net_ring gives back a part only of the memory zones
/// that a port takes, and there are 2,560.
pub type Spare = Vec<(Line, Rx, Tx)>;

/// A host whose tables a [`World`] wrote, over real workers and rings.
pub struct Rig {
    pub world: World,
    pub pool: Pool,
    pub feed: Pool,
    pub lines: BTreeMap<PortId, Line>,
    pub seats: Vec<Seat>,
    /// Cells of vNICs that have left.
    pub gone: Vec<Cells>,
    pub epochs: Arc<Epochs>,
    /// Queues that a test has taken from a line and gives to no worker.
    pub unused: Vec<Tx>,
    spare: Spare,
    _turn: MutexGuard<'static, ()>,
}

impl Rig {
    /// The world's host, a line for each of its ports, each with its owner.
    pub fn new(world: World) -> Rig {
        Rig::with(world, Options::default())
    }

    pub fn with(world: World, options: Options) -> Rig {
        Rig::over(world, options, Spare::new())
    }

    /// The same over lines of another rig as far as they suffice.
    pub fn over(world: World, options: Options, spare: Spare) -> Rig {
        let mut rig = Rig::bare(world, options);
        rig.spare = spare;
        let ports: Vec<PortId> = (0..rig.world.view.ports.len() as u16).map(PortId).collect();
        for port in ports {
            if rig.world.view.port(port).is_some() {
                rig.open(port);
            }
        }
        rig
    }

    /// Tells the workers how an uplink is shared.
    pub fn share(&mut self, uplink: UplinkId, link: &Link) {
        let leases = Leases::new(self.seats.len());
        let settings = Settings::new(HZ, SHAPED, SHAPED_VNICS, 1);
        for (worker, seat) in self.seats.iter_mut().enumerate() {
            let state = LinkState::new(link, leases.clone(), worker, &settings);
            seat.tell(Command::Link(uplink, Some(state)));
        }
    }

    /// The same without a port.
    pub fn bare(mut world: World, options: Options) -> Rig {
        let turn = my_turn();
        let count = options.workers;
        for vnic in world.view.vnics.iter_mut().flatten() {
            Arc::get_mut(vnic).expect("nobody else's").cells = cells(count);
        }
        for uplink in world.view.uplinks.iter_mut().flatten() {
            Arc::get_mut(uplink).expect("nobody else's").cells = cells(count);
        }
        let own = pool("own", options.mbufs, options.cache);
        let feed = pool("feed", options.feed, options.cache);
        let epochs = Epochs::new(count);
        let view = Arc::new(world.view.clone());
        let mut producers: Vec<Vec<Option<_>>> = (0..count).map(|_| Vec::new()).collect();
        let mut consumers: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for (from, row) in producers.iter_mut().enumerate() {
            for (to, column) in consumers.iter_mut().enumerate() {
                row.push((from != to).then(|| {
                    let (producer, consumer) = rtrb::RingBuffer::new(options.handoff);
                    column.push(consumer);
                    producer
                }));
            }
        }
        let sleepers: Vec<Arc<Sleeper>> = (0..count).map(|_| Arc::default()).collect();
        let ends = producers.into_iter().zip(consumers).enumerate();
        let seats = ends
            .map(|(i, (rings, takeovers))| {
                let (commands, for_worker) = rtrb::RingBuffer::new(256);
                let (from_worker, replies) = rtrb::RingBuffer::new(options.replies);
                let (news, events) = rtrb::RingBuffer::new(64);
                let cells = Arc::new(WorkerCells::default());
                let worker = Worker::new(Parts {
                    view: view.clone(),
                    ledger: Ledger::new(WorkerId(i as u8), cells.clone()).with_questions(QUESTIONS),
                    passer: epochs.join(i).expect("a place"),
                    pool: own,
                    rings,
                    sleepers: sleepers.clone(),
                    takeovers,
                    commands: for_worker,
                    replies: from_worker,
                    events: news,
                    held: Held::new(HELD, HELD_MISSES, 1, HZ),
                    shaping: Settings::new(HZ, options.waiting, SHAPED_VNICS, 1),
                });
                Seat {
                    worker,
                    cells,
                    commands,
                    replies,
                    events,
                }
            })
            .collect();
        let mut rig = Rig {
            world,
            pool: own,
            feed,
            lines: BTreeMap::new(),
            seats,
            gone: Vec::new(),
            epochs,
            unused: Vec::new(),
            spare: Spare::new(),
            _turn: turn,
        };
        let links: Vec<_> = rig.world.view.uplinks.iter().flatten().cloned().collect();
        for uplink in links {
            if let Some(link) = &uplink.link {
                rig.share(uplink.id, link);
            }
        }
        rig
    }

    /// The worker that owns a port.
    pub fn owner(&self, port: PortId) -> usize {
        self.world.view.port(port).map_or(0, |p| p.owner.index())
    }

    /// A line for this port, its ends to the owner.
    pub fn open(&mut self, port: PortId) {
        let spare = self.spare.pop();
        let (line, rx, tx) = spare.unwrap_or_else(|| Line::open(self.feed));
        let owner = self.owner(port);
        let seat = &mut self.seats[owner];
        seat.tell(Command::AddTx(port, tx));
        seat.tell(Command::AddRx(port, rx));
        assert!(self.lines.insert(port, line).is_none());
    }

    /// Takes a port's queues back from all workers, and closes it.
    pub fn close_port(&mut self, port: PortId) {
        let (rx, tx) = self.take_back(port);
        self.lines.remove(&port).expect("a line").close(rx, tx);
    }

    /// The same with a look at what is in its ring.
    pub fn close_port_keeping(&mut self, port: PortId, look: impl FnOnce(&mut Line)) {
        let (rx, tx) = self.take_back(port);
        let mut line = self.lines.remove(&port).expect("a line");
        look(&mut line);
        line.close(rx, tx);
    }

    /// Takes a port's queues back from all workers.
    pub fn take_back(&mut self, port: PortId) -> (Vec<Rx>, Vec<Tx>) {
        let (mut all_rx, mut all_tx) = (Vec::new(), Vec::new());
        for seat in &mut self.seats {
            seat.tell(Command::RemovePort(port));
            loop {
                seat.worker.turn();
                if let Ok(Reply::Port(given, rx, tx)) = seat.replies.pop() {
                    assert_eq!(given, port);
                    all_rx.extend(rx);
                    all_tx.extend(tx);
                    break;
                }
            }
        }
        (all_rx, all_tx)
    }

    /// Tells every worker of the world as it is now.
    pub fn publish(&mut self) {
        let count = self.seats.len();
        for vnic in self.world.view.vnics.iter_mut().flatten() {
            // A vNIC that has just come: nobody else has it.
            if vnic.cells.len() != count
                && let Some(vnic) = Arc::get_mut(vnic)
            {
                vnic.cells = cells(count);
            }
        }
        let view = Arc::new(self.world.view.clone());
        for seat in &mut self.seats {
            seat.tell(Command::View(view.clone()));
        }
    }

    /// Turns until nobody moves anything.
    pub fn settle(&mut self) {
        while self
            .seats
            .iter_mut()
            .map(|s| s.worker.turn())
            .sum::<usize>()
            > 0
        {}
    }

    /// A frame in as many mbufs as it needs.
    pub fn mbuf(&self, bytes: &[u8]) -> Mbuf {
        self.chain(&[bytes])
    }

    /// A frame cut so, further cut where a part does not fit an mbuf.
    pub fn chain(&self, parts: &[&[u8]]) -> Mbuf {
        let mut whole: Option<Mbuf> = None;
        for part in parts {
            let mut chunks: Vec<&[u8]> = part.chunks(2048).collect();
            if chunks.is_empty() {
                chunks.push(&[]);
            }
            for chunk in chunks {
                let mut mbuf = self.feed.alloc().expect("an mbuf");
                mbuf.append(chunk.len())
                    .expect("tailroom")
                    .copy_from_slice(chunk);
                match &mut whole {
                    None => whole = Some(mbuf),
                    Some(whole) => whole.chain(mbuf).expect("room for a segment"),
                }
            }
        }
        whole.expect("a part")
    }

    /// As if what is behind the port had sent these.
    pub fn inject<'a>(&mut self, port: PortId, frames: impl IntoIterator<Item = &'a [u8]>) {
        let mbufs: Vec<Mbuf> = frames.into_iter().map(|bytes| self.mbuf(bytes)).collect();
        self.line(port).inject(mbufs);
    }

    pub fn line(&mut self, port: PortId) -> &mut Line {
        self.lines.get_mut(&port).expect("a line")
    }

    pub fn take(&mut self, port: PortId) -> Vec<Vec<u8>> {
        self.line(port).take()
    }

    /// All drops so far, by reason.
    pub fn drops(&self) -> BTreeMap<Reason, u64> {
        let view = &self.world.view;
        let vnics = view.vnics.iter().flatten().map(|v| &v.cells);
        let uplinks = view.uplinks.iter().flatten().map(|u| &u.cells);
        let parties = vnics.chain(uplinks).chain(&self.gone);
        let parties = parties.flat_map(|c| c.iter()).map(|c| &c.drops);
        let own = self.seats.iter().map(|seat| &seat.cells.unaccounted);
        let mut all = BTreeMap::new();
        for (reason, packets, _) in parties.chain(own).flat_map(|d| d.iter()) {
            *all.entry(reason).or_insert(0) += packets;
        }
        all
    }

    pub fn dropped(&self, reason: Reason) -> u64 {
        self.drops().get(&reason).copied().unwrap_or(0)
    }

    /// The equation for each worker, and each drop has one reason; call when nothing is in a hand-off ring.
    pub fn assert_conserved(&self) {
        self.seats.iter().for_each(Seat::assert_conserved);
        let sum = |cell: fn(&WorkerCells) -> u64| -> u64 {
            self.seats.iter().map(|seat| cell(&seat.cells)).sum()
        };
        assert_eq!(
            sum(|c| c.handoff_out.get()),
            sum(|c| c.handoff_in.get()),
            "nothing is under way between workers"
        );
        assert_eq!(
            sum(|c| c.dropped.get()),
            self.drops().values().sum::<u64>(),
            "each drop has one reason: {:?}",
            self.drops()
        );
    }

    /// Closes every port; every mbuf is back.
    pub fn close(self) {
        for (line, rx, tx) in self.end() {
            line.close(vec![rx], vec![tx]);
        }
    }

    /// Takes every queue back; every mbuf is back.
    pub fn end(mut self) -> Spare {
        // Room for what waits in the worker.
        for line in self.lines.values_mut() {
            line.discard();
        }
        let mut spare = std::mem::take(&mut self.spare);
        for port in self.lines.keys().copied().collect::<Vec<_>>() {
            let (rx, tx) = self.take_back(port);
            let mut line = self.lines.remove(&port).expect("a line");
            let (mut rx, mut tx) = (rx.into_iter(), tx.into_iter());
            let (Some(mut rx), Some(tx), None, None) = (rx.next(), tx.next(), rx.next(), tx.next())
            else {
                panic!("a queue each way");
            };
            line.discard();
            let mut burst = Burst::new();
            while rx.rx(&mut burst) > 0 {
                burst.clear();
            }
            spare.push((line, rx, tx));
        }
        self.assert_conserved();
        for seat in &self.seats {
            assert_eq!(seat.cells.queued.get(), 0);
        }
        assert_eq!(
            (self.pool.in_use(), self.feed.in_use()),
            (0, 0),
            "an mbuf leaked"
        );
        spare
    }
}

/// What a worker reads, to compare with what comes back.
pub fn view_of(reply: Reply) -> Arc<View> {
    match reply {
        Reply::View(view) => view,
        Reply::Port(port, ..) => panic!("a port: {port:?}"),
        Reply::Tap(tap) => panic!("a tap: {}", tap.id),
        _ => panic!("a move"),
    }
}
