//! The workers as control knows them: a thread, two rings and a book each. Control says, waits where it must,
//! and frees what comes back; a worker never waits for control.

mod start;
mod wait;

use std::sync::Arc;
use std::thread::JoinHandle;

use weir_switch::outlet::Event;
use weir_tables::counters::WorkerCells;
use weir_tables::epoch::Epochs;
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::view::View;
use weir_worker::command::Luggage;
use weir_worker::device::{Rx, Tx};
use weir_worker::run::Remains;
use weir_worker::sleeper::Sleeper;
use weir_worker::{Command, Reply};

use crate::links::Links;
pub use start::CrewError;
use wait::Wait;

/// One worker.
struct Member {
    core: u32,
    cells: Arc<WorkerCells>,
    commands: rtrb::Producer<Command>,
    sleeper: Arc<Sleeper>,
    replies: rtrb::Consumer<Reply>,
    events: rtrb::Consumer<Event>,
    thread: Option<JoinHandle<Remains>>,
    /// Views on their way to it, whose predecessors have not come back.
    views: usize,
    /// The ports of the receive queues that it has, one a queue.
    inputs: Vec<PortId>,
    /// What of a move came back.
    moved: Moved,
    /// Queues that came back and nobody asked for yet.
    given: Vec<(PortId, Vec<Rx>, Vec<Tx>)>,
}

/// What a worker has answered in a move.
#[derive(Default)]
struct Moved {
    drained: u64,
    parted: Option<Box<Luggage>>,
    arrived: bool,
}

/// All workers.
pub struct Crew {
    members: Vec<Member>,
    /// How often was drained.
    drains: u64,
    epochs: Arc<Epochs>,
    links: Links,
}

impl Crew {
    /// How many workers there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Each worker's core and cells, by [`WorkerId`].
    pub fn books(&self) -> impl Iterator<Item = (u32, &WorkerCells)> {
        self.members
            .iter()
            .map(|member| (member.core, &*member.cells))
    }

    /// How many receive queues each worker has, by [`WorkerId`].
    pub fn queues(&self) -> impl Iterator<Item = usize> {
        self.members.iter().map(|member| member.inputs.len())
    }

    /// The core of a worker.
    pub fn core(&self, worker: WorkerId) -> u32 {
        self.members
            .get(worker.index())
            .map_or(0, |member| member.core)
    }

    /// Gives a worker a queue to poll.
    pub fn add_rx(&mut self, worker: WorkerId, port: PortId, rx: Rx) {
        if let Some(member) = self.members.get_mut(worker.index()) {
            member.inputs.push(port);
        }
        self.send(worker, Command::AddRx(port, rx));
    }

    /// Gives a worker a queue to send to.
    pub fn add_tx(&mut self, worker: WorkerId, port: PortId, tx: Tx) {
        self.send(worker, Command::AddTx(port, tx));
    }

    /// Tells one worker something; waits for room in its ring.
    pub fn send(&mut self, worker: WorkerId, mut command: Command) {
        let mut wait = Wait::new("take a command");
        while let Some(member) = self.members.get_mut(worker.index()) {
            match member.commands.push(command) {
                Ok(()) => return member.sleeper.wake(),
                Err(rtrb::PushError::Full(back)) => command = back,
            }
            member.collect();
            wait.a_little(member.core);
        }
    }

    /// Tells every worker something.
    pub fn tell_all(&mut self, command: impl Fn() -> Command) {
        for index in 0..self.members.len() {
            self.send(WorkerId(index as u8), command());
        }
    }

    /// Shows all workers a new view, and waits until each reads it and has given the old one back.
    pub fn publish(&mut self, view: &View) {
        self.publish_soon(view);
        for member in &mut self.members {
            let mut wait = Wait::new("take a view");
            member.collect();
            while member.views > 0 {
                wait.a_little(member.core);
                member.collect();
            }
        }
    }

    /// Shows all workers a new view, and does not wait.
    pub fn publish_soon(&mut self, view: &View) {
        for (index, commands) in self.links.before(view).into_iter().enumerate() {
            for command in commands {
                self.send(WorkerId(index as u8), command);
            }
        }
        let view = as_published(view);
        for index in 0..self.members.len() {
            self.send(WorkerId(index as u8), Command::View(view.clone()));
            if let Some(member) = self.members.get_mut(index) {
                member.views += 1;
            }
        }
    }

    /// Waits until every worker has passed a quiescent point. Returns the epoch that all have passed: what was
    /// unpublished before the call may be used again.
    pub fn round(&mut self) -> u64 {
        let epoch = self.advance();
        self.wait_for(epoch);
        epoch
    }

    /// Begins an epoch and returns it: [`Epochs::advance`].
    pub fn advance(&self) -> u64 {
        self.epochs.advance()
    }

    /// The epoch that every worker has passed: [`Epochs::passed`].
    pub fn passed(&self) -> u64 {
        self.epochs.passed()
    }

    /// Waits until every worker has passed `epoch`.
    pub fn wait_for(&mut self, epoch: u64) {
        let mut wait = Wait::new("pass a quiescent point");
        while self.epochs.passed() < epoch {
            wait.a_little(self.members.first().map_or(0, |member| member.core));
        }
    }

    /// Takes every queue of a port back from the workers; waits until none of them knows the port.
    pub fn take_back(&mut self, port: PortId) -> (Vec<Rx>, Vec<Tx>) {
        self.tell_all(|| Command::RemovePort(port));
        let (mut all_rx, mut all_tx) = (Vec::new(), Vec::new());
        for member in &mut self.members {
            member.inputs.retain(|&input| input != port);
            let mut wait = Wait::new("give a port back");
            loop {
                member.collect();
                if let Some(at) = member.given.iter().position(|given| given.0 == port) {
                    let (_, rx, tx) = member.given.swap_remove(at);
                    all_rx.extend(rx);
                    all_tx.extend(tx);
                    break;
                }
                wait.a_little(member.core);
            }
        }
        (all_rx, all_tx)
    }

    /// Waits until every worker has taken what was in the rings to it when this was called; `sends`, if it is one of them, besides until
    /// its uplinks have sent what it gave them.
    pub fn drain(&mut self, sends: Option<WorkerId>) {
        self.tell_drain(|number, worker| Command::Drain(number, sends == Some(worker)));
    }

    /// Tells every worker something that it answers as a drain, and waits for the answers.
    fn tell_drain(&mut self, command: impl Fn(u64, WorkerId) -> Command) {
        self.drains += 1;
        let number = self.drains;
        for index in 0..self.members.len() {
            let worker = WorkerId(index as u8);
            self.send(worker, command(number, worker));
        }
        for member in &mut self.members {
            let mut wait = Wait::new("empty its queues or rings");
            while member.moved.drained != number {
                wait.a_little(member.core);
                member.collect();
            }
        }
    }

    /// Waits until every worker has received what devices' queues held when this was called, in so many turns, and what is for others of it is
    /// in their rings.
    pub fn settle(&mut self, turns: u32) {
        self.tell_drain(|number, _| Command::Settle(number, turns));
    }

    /// Takes vNICs from a worker; waits until it has given them.
    pub fn part(&mut self, from: WorkerId, luggage: Box<Luggage>) -> Option<Box<Luggage>> {
        self.send(from, Command::Part(luggage));
        let member = self.members.get_mut(from.index())?;
        let mut wait = Wait::new("give vNICs away");
        loop {
            member.collect();
            if let Some(luggage) = member.moved.parted.take() {
                for port in luggage.polled() {
                    if let Some(at) = member.inputs.iter().position(|&own| own == port) {
                        member.inputs.swap_remove(at);
                    }
                }
                return Some(luggage);
            }
            wait.a_little(member.core);
        }
    }

    /// Gives them to another one, which expects them; waits until nothing waits for them any more.
    pub fn arrive(&mut self, to: WorkerId, luggage: Box<Luggage>) {
        if let Some(member) = self.members.get_mut(to.index()) {
            member.inputs.extend(luggage.polled());
        }
        self.send(to, Command::Arrive(luggage));
        let Some(member) = self.members.get_mut(to.index()) else {
            return;
        };
        let mut wait = Wait::new("take vNICs");
        while !std::mem::take(&mut member.moved.arrived) {
            wait.a_little(member.core);
            member.collect();
        }
    }

    /// What the workers have to tell; also frees what they have given back.
    pub fn news(&mut self) -> Vec<Event> {
        let mut news = Vec::new();
        for member in &mut self.members {
            member.collect();
            while let Ok(event) = member.events.pop() {
                news.push(event);
            }
        }
        news
    }

    /// Ends the workers: each drains, and all queues come back.
    pub fn stop(mut self) -> Remains {
        self.tell_all(|| Command::Stop);
        let mut remains = Vec::new();
        for member in &mut self.members {
            if let Some(thread) = member.thread.take() {
                match thread.join() {
                    Ok(given) => remains.extend(given),
                    Err(_) => tracing::error!(core = member.core, "the worker panicked"),
                }
            }
            member.collect();
            remains.append(&mut member.given);
        }
        remains
    }
}

impl Member {
    /// Takes what the worker gave back; a view is freed here.
    fn collect(&mut self) {
        while let Ok(reply) = self.replies.pop() {
            match reply {
                Reply::View(_) => self.views = self.views.saturating_sub(1),
                Reply::Port(port, rx, tx) => self.given.push((port, rx, tx)),
                Reply::Drained(number) => self.moved.drained = number,
                Reply::Parted(luggage) => self.moved.parted = Some(luggage),
                Reply::Arrived(..) => self.moved.arrived = true,
                Reply::Tap(_) | Reply::Link(_) | Reply::Room(_) => {}
            }
        }
    }
}

/// A view as workers read it: whether they read ahead follows from how large its tables are.
fn as_published(view: &View) -> Arc<View> {
    Arc::new(View {
        reads_ahead: view.has_large_tables(),
        ..view.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Tables;
    use weir_tables::exact::Writer;

    #[test]
    fn workers_read_ahead_where_a_table_is_larger_than_their_caches() {
        let mut tables = Tables::new(1);
        assert!(!as_published(&tables.view).reads_ahead);
        // Two mebibytes each.
        tables.view.records = Writer::with_buckets(1 << 15, 1).table();
        assert!(as_published(&tables.view).reads_ahead);
        tables.view.endpoints = Writer::with_buckets(1 << 15, 1).table();
        tables.view.records = Tables::new(2).view.records;
        assert!(as_published(&tables.view).reads_ahead);
    }
}
