//! What control says, carried out.

use super::{Answer, Worker};
use crate::command::{Command, Reply};
use crate::device::Tx;
use crate::moves::Input;
use weir_switch::outlet::{Outlet, Receiver};
use weir_tables::ids::PortId;

impl Worker {
    /// Carries out what control said. A command waits while its reply would find no room.
    #[cold]
    pub(super) fn obey(&mut self) {
        // What is given away is given as it was found.
        if self.armed {
            self.disarm();
        }
        while self.replies.slots() > 0
            && let Ok(command) = self.commands.pop()
        {
            match command {
                Command::View(view) => {
                    self.out.adopt(&view);
                    let old = std::mem::replace(&mut self.view, view);
                    self.reply(Reply::View(old));
                }
                Command::AddRx(port, rx) => match self.rests() {
                    true => self.resting.push(Input { port, rx }),
                    false => self.inputs.push(Input { port, rx }),
                },
                Command::AddTx(port, tx) => {
                    if let Err(tx) = self.out.add(port, tx) {
                        self.reply(Reply::Port(port, Vec::new(), vec![tx]));
                    }
                }
                Command::RemovePort(port) => self.give_back(port),
                Command::Forget(vnic) => {
                    self.take_over_all();
                    self.out.forget(vnic, &self.watch);
                    self.watched_or_not(Answer::Forget(vnic));
                }
                Command::Found(to) => self.watched_or_not(Answer::Found(to)),
                Command::Absent(to) => self.watched_or_not(Answer::Absent(to)),
                Command::ForgetMisses => self.out.held().forget_misses(),
                Command::Generate(uplink, port, bytes) => {
                    let receiver = Receiver::Uplink(uplink);
                    self.out.generate(port, receiver, &bytes, &self.watch);
                }
                Command::Watch(tap) => {
                    if let Some(tap) = self.watch.add(tap) {
                        self.reply(Reply::Tap(tap));
                    }
                }
                Command::Unwatch(id) => {
                    if let Some(tap) = self.watch.remove(id) {
                        self.reply(Reply::Tap(tap));
                    }
                }
                Command::Link(uplink, link) => {
                    if let Some(old) = self.out.set_link(uplink, link) {
                        self.reply(Reply::Link(old));
                    }
                }
                Command::Room(mut room) => {
                    *room = self.out.shaper().grow(*room);
                    self.reply(Reply::Room(room));
                }
                Command::Rest(rest) => self.rest(rest),
                Command::Measure(on) => self.laps.set(on),
                Command::Tell => {}
                Command::Expect(expected) => self.out.expect(expected),
                Command::Drain(number, devices) => self.drain(number, devices),
                Command::Settle(number, turns) => self.settle(number, turns),
                Command::Part(luggage) => self.part(luggage),
                Command::Arrive(luggage) => self.arrive(luggage),
                Command::Stop => self.stopping = true,
            }
        }
        // Whoever had a queue may have failed to turn its interrupt off.
        let inputs = self.inputs.iter().chain(&self.resting);
        self.armed = inputs.fold(false, |armed, input| armed | input.rx.is_armed());
        let cells = self.ledger.cells();
        cells.allocator_calls.set(rte::allocator::calls());
    }

    /// Whether it receives nothing for now.
    pub(crate) fn rests(&self) -> bool {
        self.ledger.cells().rests.get() != 0
    }

    /// Receives nothing from here on, or receives again.
    fn rest(&mut self, rest: bool) {
        if rest != self.rests() {
            std::mem::swap(&mut self.inputs, &mut self.resting);
            self.ledger.cells().rests.set(u64::from(rest));
        }
    }

    fn give_back(&mut self, port: PortId) {
        // Nobody hands packets for this port over any more; those under way must not wait here until another
        // port, perhaps another tenant's, gets its number.
        self.take_over_all();
        let inputs = match self.rests() {
            true => &mut self.resting,
            false => &mut self.inputs,
        };
        let rx = inputs
            .extract_if(.., |input| input.port == port)
            .map(|input| input.rx)
            .collect();
        self.watched_or_not(Answer::Close(port));
        let tx: Vec<Tx> = self.out.remove(port, &self.watch).into_iter().collect();
        self.reply(Reply::Port(port, rx, tx));
    }

    pub(crate) fn reply(&mut self, reply: Reply) {
        // Room was asked for before the command was taken.
        let _ = self.replies.push(reply);
    }
}
