//! A worker's part in a move: see [`moves`](crate::moves).

use crate::command::Reply;
use crate::moves::{Leaving, Luggage, Settling};
use crate::worker::Worker;
use rte::clock;
use weir_switch::outlet::Outlet;
use weir_switch::shape::Parcel;
use weir_switch::{BATCH, Batch, leave, miss};
use weir_tables::reason::Reason;

/// What goes on.
#[derive(Default)]
pub(crate) struct Moving {
    /// What was given to uplinks' devices and has not left.
    leaving: Option<Leaving>,
    /// What was in devices' queues and may not have been received.
    settling: Option<Settling>,
    /// Who has come, while what came before them still waits.
    arrived: Option<Box<Luggage>>,
}

impl Moving {
    /// Whether anything does.
    #[inline(always)]
    pub(crate) fn is_busy(&self) -> bool {
        self.leaving.is_some() || self.arrived.is_some() || self.settling.is_some()
    }
}

impl Worker {
    /// Takes what is in the rings, and answers; `devices`: when what was given to uplinks has left.
    pub(crate) fn drain(&mut self, number: u64, devices: bool) {
        self.take_over_all();
        self.out.write_lanes();
        if !devices {
            return self.reply(Reply::Drained(number));
        }
        self.out.mark_uplinks();
        self.moving.leaving = Some(Leaving::new(number, clock::tsc()));
    }

    /// Answers when so many turns have passed: in each it receives a burst from each of its queues.
    pub(crate) fn settle(&mut self, number: u64, turns: u32) {
        self.moving.settling = Some(Settling { number, turns });
    }

    /// Gives vNICs away with everything of theirs that is here.
    pub(crate) fn part(&mut self, mut luggage: Box<Luggage>) {
        let inputs = match self.rests() {
            true => &mut self.resting,
            false => &mut self.inputs,
        };
        let theirs = inputs.extract_if(.., |input| luggage.ports.contains(&input.port));
        luggage.inputs.extend(theirs);
        let mut waiting = 0;
        for &port in &luggage.ports {
            if let Some(slot) = self.out.take_slot(port) {
                waiting += slot.len();
                luggage.slots.push((port, slot));
            }
        }
        let Luggage { vnics, held, .. } = &mut *luggage;
        for &vnic in vnics.iter() {
            miss::take_along(&self.ledger, vnic, &mut self.out, |packet| {
                if held.len() < held.capacity() {
                    held.push_back((vnic, packet));
                } else {
                    let cells = self.view.vnic(vnic).map(|vnic| &vnic.cells);
                    self.ledger.dropped(cells, Reason::MissOverflow, packet);
                }
            });
        }
        let view = self.view.clone();
        for (&vnic, parcel) in luggage.vnics.iter().zip(&mut luggage.parcels) {
            waiting += leave::pack(&view, &self.ledger, vnic, self.out.shaper(), parcel);
        }
        let along = waiting + luggage.held.len();
        self.ledger.cells().handoff_out.add(along as u64);
        self.reply(Reply::Parted(luggage));
    }

    /// Takes vNICs: they are polled from here on; what came for them goes out behind what they bring.
    pub(crate) fn arrive(&mut self, mut luggage: Box<Luggage>) {
        let waiting: usize = luggage.slots.iter().map(|(_, slot)| slot.len()).sum();
        let shaped: usize = luggage.parcels.iter().map(Parcel::len).sum();
        let along = waiting + luggage.held.len() + shaped;
        self.ledger.cells().handoff_in.add(along as u64);
        let view = self.view.clone();
        for parcel in &mut luggage.parcels {
            leave::unpack(&view, &self.ledger, self.out.shaper(), parcel);
        }
        self.hold_received(&luggage, true);
        let ledger = &self.ledger;
        while let Some((vnic, packet)) = luggage.held.pop_front() {
            miss::anew(&view, ledger, vnic, packet, &mut self.out);
        }
        let inputs = match self.rests() {
            true => &mut self.resting,
            false => &mut self.inputs,
        };
        inputs.append(&mut luggage.inputs);
        self.moving.arrived = Some(luggage);
    }

    /// What is to be done a turn while a move goes on.
    #[cold]
    #[inline(never)]
    pub(crate) fn tend_move(&mut self) {
        // A reply waits for room.
        if self.replies.slots() == 0 {
            return;
        }
        let hz = self.ledger.hz();
        if let Some(leaving) = &mut self.moving.leaving {
            let (number, waited) = (leaving.number, leaving.waits(clock::tsc(), hz));
            if self.out.have_uplinks_sent(waited) {
                self.moving.leaving = None;
                self.reply(Reply::Drained(number));
            }
        }
        if self.replies.slots() > 0
            && let Some(settling) = &mut self.moving.settling
        {
            match settling.turns.checked_sub(1) {
                Some(turns) => settling.turns = turns,
                None => {
                    let number = settling.number;
                    self.moving.settling = None;
                    self.out.write_lanes();
                    self.reply(Reply::Drained(number));
                }
            }
        }
        if self.replies.slots() > 0
            && let Some(luggage) = self.moving.arrived.take()
        {
            self.release(luggage);
        }
    }

    /// Lets a burst of what waited for vNICs that have come go on; when none waits any more they are at home.
    fn release(&mut self, mut luggage: Box<Luggage>) {
        for (port, slot) in luggage.slots.drain(..) {
            self.out.put_slot(port, slot);
        }
        for _ in 0..BATCH {
            let Some(next) = self.out.next_expected() else {
                break;
            };
            match next.receiver {
                Some(receiver) => {
                    self.out.late(next.port, receiver, next.packet, &self.watch);
                }
                None => {
                    let mut batch = Batch::new();
                    batch.push(next.packet);
                    self.through(next.port, &mut batch);
                }
            }
        }
        if self.out.waits_for_expected() {
            // Behind these come others: until they have gone the slots are nobody's to push into.
            for &port in &luggage.ports {
                if let Some(mut slot) = self.out.take_slot(port) {
                    slot.flush(&self.view, &self.ledger);
                    luggage.slots.push((port, slot));
                }
            }
            self.moving.arrived = Some(luggage);
        } else if let Some(expected) = self.out.arrived() {
            self.hold_received(&luggage, false);
            self.reply(Reply::Arrived(luggage, expected));
        }
    }

    /// Whether what is to be received by those whose ports are on their way waits for that.
    fn hold_received(&mut self, luggage: &Luggage, is_held: bool) {
        let now = self.ledger.now();
        for &vnic in &luggage.vnics {
            let port = self.view.vnic(vnic).map(|vnic| vnic.port);
            if port.is_some_and(|port| luggage.ports.contains(&port)) {
                self.out.shaper().hold_received(vnic, is_held, now);
            }
        }
    }

    /// The worker ends: what waits goes out as far as there is room.
    pub(crate) fn end_move(&mut self) {
        self.moving.leaving = None;
        self.moving.settling = None;
        if let Some(mut luggage) = self.moving.arrived.take() {
            self.hold_received(&luggage, false);
            for (port, slot) in luggage.slots.drain(..) {
                self.out.put_slot(port, slot);
            }
        }
        while let Some(next) = self.out.next_expected() {
            match next.receiver {
                Some(receiver) => self.out.late(next.port, receiver, next.packet, &self.watch),
                None => {
                    self.out
                        .end_received(next.port, Reason::VnicGone, next.packet, &self.watch)
                }
            }
        }
    }
}
