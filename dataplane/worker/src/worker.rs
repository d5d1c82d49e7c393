//! One turn of the loop: pass, obey, receive, take over, send.

mod answer;
mod obey;

use crate::command::{Command, Handoff, Reply};
use crate::device::{Rx, Tx};
use crate::lanes::Lanes;
use crate::laps::Laps;
use crate::moves::Input;
use crate::moving::Moving;
use crate::out::Out;
use crate::packet::Packet;
use crate::sleeper::Sleeper;
use crate::steer::{hold_back, steer};
use crate::takeover::{Run, Takeover};
use crate::tap::Watch;
use answer::Answer;
use rte::Burst;
use rte::clock;
use rte::{Bell, Pool};
use std::sync::Arc;
use std::time::Duration;
use weir_switch::held::Held;
use weir_switch::lap::{Stage, Stopwatch, Timed};
use weir_switch::leave::{self, Shaper};
use weir_switch::ledger::Ledger;
use weir_switch::outlet::{Event, Outlet};
use weir_switch::receive::{receive, receive_two};
use weir_switch::shape::Settings;
use weir_switch::watch::{Seen, Watched};
use weir_switch::{BATCH, Batch};
use weir_tables::epoch::Passer;
use weir_tables::ids::PortId;
use weir_tables::view::{Party, View};

/// How soon what waits for a slow device is offered again by a worker that has nothing else to do, in microseconds.
const OFFER_AGAIN: u32 = 20;

/// How long it must be able to sleep for it to turn interrupts on, in microseconds.
const WORTH_IT: u64 = 10;

/// How soon a queue is looked at that calls and may be mistaken, in microseconds.
const LOOK_ALL_THE_SAME: u32 = 10_000;

/// One core's share of the switch.
pub struct Worker {
    pub(crate) view: Arc<View>,
    pub(crate) ledger: Ledger,
    passer: Passer,
    sleeper: Arc<Sleeper>,
    pub(crate) inputs: Vec<Input>,
    /// Those that are not polled while the worker rests; else empty.
    pub(crate) resting: Vec<Input>,
    laps: Laps,
    pub(crate) out: Out,
    pub(crate) burst: Burst,
    pub(crate) watch: Watch,
    pub(crate) moving: Moving,
    /// From each other worker.
    takeovers: Vec<Takeover>,
    commands: rtrb::Consumer<Command>,
    pub(crate) replies: rtrb::Producer<Reply>,
    /// Interrupts of its queues are on.
    armed: bool,
    stopping: bool,
}

/// What was received, as the switch takes it. A full burst, which is what comes when it matters, moves as a whole.
#[inline(always)]
pub(crate) fn batch(burst: &mut Burst) -> Batch<Packet> {
    match burst.take_full() {
        Some(mbufs) => mbufs.map(Packet).into(),
        None => burst.drain().map(Packet).collect(),
    }
}

/// What a worker is made of.
pub struct Parts {
    /// What it reads first.
    pub view: Arc<View>,
    /// Its book.
    pub ledger: Ledger,
    /// Its place among the readers.
    pub passer: Passer,
    /// Where copies and packets of its own come from.
    pub pool: Pool,
    /// Rings to the other workers, by worker; `None` for itself.
    pub rings: Vec<Option<rtrb::Producer<Handoff>>>,
    /// Every worker's sleep, by worker.
    pub sleepers: Vec<Arc<Sleeper>>,
    /// Rings from the other workers.
    pub takeovers: Vec<rtrb::Consumer<Handoff>>,
    /// From control.
    pub commands: rtrb::Consumer<Command>,
    /// To control.
    pub replies: rtrb::Producer<Reply>,
    /// News for control.
    pub events: rtrb::Producer<Event>,
    /// Room for what waits until control knows where it goes.
    pub held: Held<Packet>,
    /// What keeps to bandwidths.
    pub shaping: Settings,
}

impl Worker {
    /// A worker that polls nothing yet.
    pub fn new(parts: Parts) -> Self {
        let own = parts.ledger.worker().index();
        let own = parts.sleepers.get(own).cloned().unwrap_or_default();
        Worker {
            out: Out::new(
                parts.view.clone(),
                parts.ledger.clone(),
                parts.pool,
                Lanes::new(parts.rings, parts.sleepers),
                parts.events,
                parts.held,
                Shaper::new(parts.shaping),
            ),
            sleeper: own,
            view: parts.view,
            laps: Laps::new(parts.ledger.shared_cells()),
            ledger: parts.ledger,
            passer: parts.passer,
            inputs: Vec::with_capacity(64),
            resting: Vec::with_capacity(64),
            burst: Burst::new(),
            watch: Watch::new(),
            moving: Moving::default(),
            takeovers: parts.takeovers.into_iter().map(Takeover::new).collect(),
            commands: parts.commands,
            replies: parts.replies,
            armed: false,
            stopping: false,
        }
    }

    /// One turn. Returns how many packets it received, took over or sent.
    #[inline]
    pub fn turn(&mut self) -> usize {
        let moved = self.first_half();
        self.second_half(moved)
    }

    /// All of a turn but what waits for bandwidth. Returns how many packets it received, took over or sent.
    #[inline]
    pub(crate) fn first_half(&mut self) -> usize {
        self.passer.pass();
        if !self.commands.is_empty() {
            self.obey();
        }
        if self.out.held().is_due(self.ledger.now()) {
            self.watched_or_not(Answer::None);
        }
        if self.moving.is_busy() {
            self.tend_move();
        }
        let mut moved = 0;
        for input in 0..self.inputs.len() {
            moved += self.receive(input);
        }
        moved += self.take_over();
        moved + self.out.flush(&self.watch)
    }

    /// Whether there is anything for the second half.
    #[inline(always)]
    pub(crate) fn is_shaping(&self) -> bool {
        self.out.is_shaping()
    }

    /// What was released in the last turn has left by this time.
    #[inline(always)]
    pub(crate) fn left_by(&mut self, now: u64) {
        self.out.shaper().left_by(now);
    }

    /// Lets leave what waited for bandwidth and may leave now. Returns how many packets were moved in both halves.
    #[inline]
    pub(crate) fn second_half(&mut self, mut moved: usize) -> usize {
        if self.out.is_shaping() {
            self.watched_or_not(Answer::Release);
            moved += self.out.flush(&self.watch);
        }
        if self.laps.is_on() {
            self.end_measured(moved);
        }
        moved
    }

    #[cold]
    #[inline(never)]
    fn end_measured(&self, moved: usize) {
        match moved {
            0 => self.laps.restart(),
            _ => self.laps.lap(Stage::Transmit),
        }
    }

    /// One burst of one input: what is this worker's goes through all stages, the rest to its owners.
    #[inline]
    fn receive(&mut self, number: usize) -> usize {
        let Some(input) = self.inputs.get_mut(number) else {
            return 0;
        };
        if self.out.is_shaping() && leave::holds_back(&self.view, input.port, self.out.shaper()) {
            return 0;
        }
        let received = input.rx.rx(&mut self.burst);
        if received == 0 {
            return 0;
        }
        let port = input.port;
        let mut batch = batch(&mut self.burst);
        if self.view.reads_ahead && received == BATCH && self.may_read_ahead(port) {
            return received + self.receive_behind(number, port, &mut batch);
        }
        let mut behind = 0;
        if self.view.steering.is_shared() {
            steer(&self.view, port, &mut batch, &mut self.out, &self.watch);
            // What waits for vNICs on their way goes on by a burst a turn: no more may come a turn.
            let may_gather = received == BATCH && !self.out.is_expecting();
            if may_gather && batch.len() <= BATCH / 2 {
                behind = self.gather(number, port, &mut batch);
            }
        }
        self.through(port, &mut batch);
        received + behind
    }

    /// Whether a burst from `port` is taken through the stages together with the one behind it: one vNIC sends both, nobody looks or
    /// measures, and nothing waits for bandwidth, so that a VM is never received from for longer than its queue has room.
    #[inline(never)]
    fn may_read_ahead(&self, port: PortId) -> bool {
        let party = self.view.port(port).map(|port| port.party);
        matches!(party, Some(Party::Vnic(_)))
            && !self.watch.is_on()
            && !self.laps.is_on()
            && self.out.has_nothing_queued()
    }

    /// The burst behind a full one that was just received: both through all stages, one after the other. How many it brought.
    #[inline(never)]
    fn receive_behind(&mut self, input: usize, port: PortId, first: &mut Batch<Packet>) -> usize {
        let input = self.inputs.get_mut(input);
        let received = input.map_or(0, |input| input.rx.rx(&mut self.burst));
        let mut second = batch(&mut self.burst);
        let both = [first, &mut second];
        receive_two(&self.view, &self.ledger, port, both, &mut self.out);
        received
    }

    /// A batch through all stages, in that copy of them which is wanted now.
    #[inline(always)]
    pub(crate) fn through(&mut self, port: PortId, batch: &mut Batch<Packet>) {
        if self.watch.is_on() {
            self.watched(port, batch);
        } else if self.laps.is_on() {
            self.measured(port, batch);
        } else {
            receive(&self.view, &self.ledger, port, batch, &mut self.out);
        }
    }

    /// The measured copy of the stages.
    #[cold]
    #[inline(never)]
    fn measured(&mut self, port: PortId, batch: &mut Batch<Packet>) {
        self.laps.packets(batch.len());
        self.laps.lap(Stage::Receive);
        let mut out = Timed::new(&mut self.out, &self.laps);
        receive(&self.view, &self.ledger, port, batch, &mut out);
        self.laps.lap(Stage::Apply);
    }

    /// The watched copy of the stages. Who looks at packets is not measured.
    #[cold]
    #[inline(never)]
    fn watched(&mut self, port: PortId, packets: &mut Batch<Packet>) {
        let watch = &self.watch;
        watch.begin(clock::tsc());
        let mut batch: Batch<Seen<Watch>> = Batch::new();
        for (place, packet) in (0..).zip(packets.drain(..)) {
            batch.push(Seen::new(packet, watch, place));
        }
        let mut out = Watched::new(&mut self.out, watch);
        receive(&self.view, &self.ledger, port, &mut batch, &mut out);
        watch.end();
    }

    /// What other workers have for this one: at most a batch from each a turn.
    #[inline]
    fn take_over(&mut self) -> usize {
        let mut taken = 0;
        for ring in 0..self.takeovers.len() {
            taken += self.take_over_from(ring);
        }
        taken
    }

    /// A batch from one of the others. What is not taken yet lies in the ring, whose order it keeps.
    #[inline]
    fn take_over_from(&mut self, ring: usize) -> usize {
        let count = self.takeovers.get_mut(ring).map_or(0, Takeover::look);
        let mut left = count;
        while left > 0
            && let Some(ring) = self.takeovers.get_mut(ring)
            && let Some(run) = ring.run(left)
        {
            left -= run.packets.len();
            self.took_over(run);
        }
        count
    }

    /// Frames of one kind from another worker.
    #[inline]
    fn took_over(&mut self, mut run: Run) {
        match run.receiver {
            Some(receiver) => {
                let (out, watch) = (&mut self.out, &self.watch);
                let (view, ledger) = (&self.view, &self.ledger);
                out.accept(view, ledger, run.port, receiver, &mut run.packets, watch);
            }
            None => {
                self.ledger.cells().steered_in.add(run.packets.len() as u64);
                if self.out.is_expecting_by_rings() {
                    let (out, packets) = (&mut self.out, &mut run.packets);
                    hold_back(&self.view, run.port, packets, out, &self.watch);
                }
                self.through(run.port, &mut run.packets);
            }
        }
    }

    /// Everything that other workers have for this one so far: as much as the rings hold.
    pub(crate) fn take_over_all(&mut self) {
        for ring in 0..self.takeovers.len() {
            let waiting = self.takeovers.get(ring).map_or(0, Takeover::len);
            for _ in 0..waiting.div_ceil(BATCH) {
                self.take_over_from(ring);
            }
        }
    }

    /// Whether control said stop.
    #[inline(always)]
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The worker's book.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Its sleep.
    pub(crate) fn sleeper(&self) -> &Sleeper {
        &self.sleeper
    }

    /// The time by which it must look again though nothing comes and no queue calls it, in TSC cycles of `hz` a second: before what a device could bring
    /// is more than it holds, and when something of its own is due.
    pub fn look_again(&self, now: u64, hz: u64) -> u64 {
        self.look_by(|input| input.rx.is_armed(), now, hz)
    }

    /// The same if those inputs call of which it says so.
    fn look_by(&self, calls: impl Fn(&Input) -> bool, now: u64, hz: u64) -> u64 {
        let patience = |input: &Input| match calls(input) {
            true => (!input.rx.is_sure_to_call()).then_some(LOOK_ALL_THE_SAME),
            false => self.view.port(input.port).map(|port| port.patience_us),
        };
        // What waits for a slow device is offered again soon, and who moves is not kept waiting.
        let offer = (!self.out.is_drained() || self.moving.is_busy()).then_some(OFFER_AGAIN);
        let spans = self.inputs.iter().filter_map(patience).chain(offer);
        let span = spans.min().map_or(u64::MAX, u64::from);
        let look = now.saturating_add(span.saturating_mul(hz / 1_000_000));
        look.min(self.out.due())
    }

    /// Sleeps for a time, or until there is something to do.
    pub(crate) fn sleep(&mut self, time: Duration) {
        // While it sleeps it reads nothing, and control need not wait for it.
        self.passer.offline();
        let (commands, takeovers) = (&self.commands, &self.takeovers);
        let queues = self.inputs.iter().filter_map(|input| input.rx.called());
        let woken = self.sleeper.sleep(time, queues, || {
            !commands.is_empty() || takeovers.iter().any(|ring| !ring.is_empty())
        });
        self.passer.online();
        if let Some(broken) = woken.broken {
            let mut inputs = self.inputs.iter_mut();
            if let Some(input) = inputs.find(|input| input.rx.called() == Some(broken)) {
                input.rx.lose();
            }
        }
        if woken.by_queue {
            // Some devices turn theirs off by themselves, and it may have been for nothing.
            self.disarm();
        }
    }

    /// Turns the interrupts of its queues on, if it may sleep then. Whether one was off: what came before then ends no sleep.
    pub(crate) fn arm(&mut self, now: u64, hz: u64) -> bool {
        if self.armed || self.sleeper.is_deaf() {
            return false;
        }
        let soon = now.saturating_add(hz / 1_000_000 * WORTH_IT);
        if self.look_by(|input| input.rx.has_interrupt(), now, hz) < soon {
            return false;
        }
        // One that cannot be turned on is looked at in time, as if it had none.
        let able = self.inputs.iter_mut().filter(|it| it.rx.has_interrupt());
        for input in able.take(Bell::HEARS) {
            self.armed |= input.rx.arm();
        }
        self.armed
    }

    /// Turns them off, but those that cannot be just now.
    #[cold]
    pub(crate) fn disarm(&mut self) {
        let inputs = self.inputs.iter_mut().chain(&mut self.resting);
        self.armed = inputs.fold(false, |armed, input| armed | input.rx.disarm());
    }

    /// Whether interrupts are on.
    #[inline(always)]
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Whether everything that it polls calls it.
    pub(crate) fn is_called(&self) -> bool {
        self.armed && self.inputs.iter().all(|input| input.rx.is_armed())
    }

    /// Receives no more, sends what waits within `turns` turns, drops the rest, and gives every queue back.
    pub fn finish(mut self, turns: usize) -> Vec<(PortId, Vec<Rx>, Vec<Tx>)> {
        let mut given: Vec<(PortId, Vec<Rx>, Vec<Tx>)> = self
            .inputs
            .drain(..)
            .chain(self.resting.drain(..))
            .map(|input| (input.port, vec![input.rx], Vec::new()))
            .collect();
        self.watched_or_not(Answer::End);
        self.end_move();
        for _ in 0..turns {
            let mut moved = self.take_over() + self.out.flush(&self.watch);
            if self.out.is_shaping() {
                self.ledger.cells().now.set(clock::tsc());
                self.watched_or_not(Answer::Release);
                moved += self.out.flush(&self.watch);
            }
            if moved == 0 && self.out.is_drained() {
                break;
            }
        }
        self.watched_or_not(Answer::Ended);
        for port in self.out.ports() {
            let tx: Vec<Tx> = self.out.remove(port, &self.watch).into_iter().collect();
            given.push((port, Vec::new(), tx));
        }
        self.passer.offline();
        given
    }
}
