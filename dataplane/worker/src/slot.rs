//! What waits before a transmit queue, and the account of what its device took.
//!
//! Frames are accounted for by runs of one receiver: on most ports there is only one receiver, and a run's bytes are added up
//! while its frames come in.

use crate::device::Tx;
use crate::moves::{GRACE, LATE, Mark, PATIENCE};
use crate::packet::Packet;
use crate::tap::Watch;
use arrayvec::ArrayVec;
use rte::{Burst, Mbuf};
use weir_switch::Batch;
use weir_switch::frame::{Frame, total};
use weir_switch::ledger::Ledger;
use weir_switch::outlet::Receiver;
use weir_tables::counters::Cells;
use weir_tables::ids::PortId;
use weir_tables::reason::Reason;
use weir_tables::view::View;

/// A transmit queue and what waits for it: one burst at most.
pub(crate) struct Slot {
    pub(crate) tx: Tx,
    waiting: Burst,
    /// Whose the waiting frames are, in their order.
    runs: ArrayVec<Run, { Burst::CAPACITY }>,
    /// Whether one of them asks the device for work.
    pub(crate) asks: bool,
    /// Frames that the device has taken.
    taken: u64,
    /// Those of them behind which something waits to hear that they have left.
    mark: Option<Mark>,
    /// How many it had taken when it took nothing of what waits, and when that was first so.
    refused: Option<(u64, u64)>,
    /// Whether the port is among the busy ones.
    pub(crate) listed: bool,
}

/// For how many seconds a VM may take nothing before it is sent nothing: a guest that is migrated or whose monitor is busy stands still
/// for less (QEMU's `downtime-limit` is 300 ms).
const LEFT: u64 = 1;

/// Frames of one receiver that follow each other.
#[derive(Clone, Copy)]
struct Run {
    receiver: Receiver,
    /// At least 1.
    packets: usize,
    bytes: u64,
}

impl Slot {
    /// A queue before which nothing waits.
    pub(crate) fn new(tx: Tx) -> Slot {
        Slot {
            tx,
            waiting: Burst::new(),
            runs: ArrayVec::new(),
            asks: false,
            taken: 0,
            mark: None,
            refused: None,
            listed: false,
        }
    }

    /// Notes that something waits, in the list of busy ports.
    #[inline(always)]
    pub(crate) fn list(&mut self, port: PortId, busy: &mut Vec<PortId>) {
        if !self.listed {
            self.listed = true;
            busy.push(port);
        }
    }

    /// Frames that wait.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many more may wait.
    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        Burst::CAPACITY - self.waiting.len()
    }

    /// Whether one more may wait; a full buffer is offered to the device first.
    #[inline(always)]
    pub(crate) fn has_room(&mut self, view: &View, ledger: &Ledger) -> bool {
        self.has_room_for(1, view, ledger)
    }

    /// Whether so many more may wait; what waits is offered to the device first if not.
    #[inline(always)]
    pub(crate) fn has_room_for(&mut self, wanted: usize, view: &View, ledger: &Ledger) -> bool {
        if self.room() < wanted {
            self.flush(view, ledger);
        }
        self.room() >= wanted
    }

    /// Takes a frame for which there is room.
    #[inline(always)]
    pub(crate) fn push(&mut self, receiver: Receiver, packet: Packet) {
        let bytes = packet.len() as u64;
        if self.waiting.push(packet.0).is_ok() {
            self.note(receiver, 1, bytes);
        }
    }

    /// Takes one receiver's frames, of so many bytes together, for which there is room. A full batch moves as a whole.
    #[inline(always)]
    pub(crate) fn push_all(
        &mut self,
        receiver: Receiver,
        bytes: usize,
        packets: &mut Batch<Packet>,
    ) {
        debug_assert_eq!(bytes, total(packets), "who sends knows their bytes");
        self.note(receiver, packets.len(), bytes as u64);
        let rest = match std::mem::take(packets).into_inner() {
            Ok(all) => self.waiting.fill(all.map(|packet| packet.0)).err(),
            Err(some) => {
                *packets = some;
                None
            }
        };
        let mbufs = packets.drain(..).map(|packet| packet.0);
        self.waiting
            .extend(&mut mbufs.chain(rest.into_iter().flatten()));
    }

    /// Notes whose the last frames are.
    #[inline(always)]
    fn note(&mut self, receiver: Receiver, packets: usize, bytes: u64) {
        match self.runs.last_mut() {
            Some(run) if run.receiver == receiver => {
                run.packets += packets;
                run.bytes += bytes;
            }
            // There are no more runs than frames.
            _ => self.runs.push(Run {
                receiver,
                packets,
                bytes,
            }),
        }
    }

    /// From here on it is asked whether what has come so far has left.
    pub(crate) fn mark(&mut self) {
        self.mark = Some(Mark(self.taken + self.waiting.len() as u64));
    }

    /// Whether everything before the mark has left the device, `waited` TSC cycles after it was set.
    pub(crate) fn has_left(&mut self, waited: u64, hz: u64) -> bool {
        let Some(Mark(mark)) = self.mark else {
            return true;
        };
        let behind = self.taken.saturating_sub(mark);
        let is_given = self.taken >= mark || self.waiting.is_empty();
        let is_out = is_given
            && match self.tx.is_out(behind) {
                Some(is_out) => is_out && (behind >= LATE || waited >= hz / GRACE),
                None => true,
            };
        if is_out || waited >= hz / PATIENCE {
            self.mark = None;
        }
        self.mark.is_none()
    }

    /// Whether a VM, by whose device something waits, has taken nothing for a second: it is off, starts, or hangs. An uplink's frames
    /// wait on, for its link comes back, and what is behind them waits by vNIC.
    #[inline]
    pub(crate) fn is_left(&mut self, ledger: &Ledger) -> bool {
        let Some(Receiver::Vnic(_)) = self.runs.first().map(|run| run.receiver) else {
            return false;
        };
        let (now, taken) = (ledger.now(), self.taken);
        let refused = self.refused.filter(|refused| refused.0 == taken);
        let (_, since) = *self.refused.insert(refused.unwrap_or((taken, now)));
        now.saturating_sub(since) >= ledger.hz() * LEFT
    }

    /// Drops everything that waits.
    #[cold]
    pub(crate) fn drop_all(&mut self, reason: Reason, view: &View, ledger: &Ledger, watch: &Watch) {
        for (receiver, packet) in self.take() {
            watch.refused(receiver, reason, &packet);
            ledger.dropped(account(view, receiver), reason, packet);
        }
    }

    /// Everything that waits, each frame with whose it is; nothing waits then.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Receiver, Packet)> + use<> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let runs = std::mem::take(&mut self.runs).into_iter();
        let receivers = runs.flat_map(|run| std::iter::repeat_n(run.receiver, run.packets));
        let packets: ArrayVec<Mbuf, { Burst::CAPACITY }> = waiting.drain().collect();
        receivers.zip(packets.into_iter().map(Packet))
    }

    /// One burst to the device, and the account of what it took; how many frames that were.
    #[inline]
    pub(crate) fn flush(&mut self, view: &View, ledger: &Ledger) -> usize {
        if self.asks {
            self.prepare(view, ledger);
        }
        let sent = self.tx.tx(&mut self.waiting);
        self.taken += sent as u64;
        if self.waiting.is_empty() {
            for run in self.runs.drain(..) {
                run.account(view, ledger);
            }
        } else {
            self.account(sent, view, ledger);
        }
        sent
    }

    /// The account of the first `sent` frames, when others still wait.
    #[cold]
    fn account(&mut self, mut sent: usize, view: &View, ledger: &Ledger) {
        let mut whole = 0;
        for run in &mut self.runs {
            if sent < run.packets {
                // What is left of this run is at the front of what waits.
                let left = run.packets - sent;
                let rest = self.waiting.as_slice().iter().take(left);
                let bytes = rest.map(|mbuf| mbuf.len() as u64).sum();
                let taken = Run {
                    packets: sent,
                    bytes: run.bytes - bytes,
                    ..*run
                };
                taken.account(view, ledger);
                (run.packets, run.bytes) = (left, bytes);
                break;
            }
            sent -= run.packets;
            whole += 1;
            run.account(view, ledger);
        }
        self.runs.drain(..whole);
    }

    /// Has the driver adapt what asks it for work, again each time: it may not have taken what it adapted before. What it cannot
    /// do in spite of what it said is dropped.
    #[cold]
    fn prepare(&mut self, view: &View, ledger: &Ledger) {
        loop {
            let fit = self.tx.prepare(&mut self.waiting);
            if fit >= self.waiting.len() {
                break;
            }
            for (place, (receiver, packet)) in self.take().enumerate() {
                match place == fit {
                    true => {
                        let account = account(view, receiver);
                        ledger.dropped(account, Reason::GsoUnsupported, packet);
                    }
                    false => self.push(receiver, packet),
                }
            }
        }
        self.asks = !self.waiting.is_empty();
    }
}

impl Run {
    /// Counts its frames as taken by the device.
    #[inline(always)]
    fn account(&self, view: &View, ledger: &Ledger) {
        let cells = ledger.cells();
        match self.receiver {
            Receiver::Vnic(_) => cells.delivered.add(self.packets as u64),
            Receiver::Uplink(_) => cells.sent.add(self.packets as u64),
        }
        let cells = account(view, self.receiver).and_then(|c| c.get(ledger.worker().index()));
        if let Some(cell) = cells {
            cell.tx.add(self.packets as u64, self.bytes);
        }
    }
}

/// The cells of a receiver.
#[inline(always)]
pub(crate) fn account(view: &View, receiver: Receiver) -> Option<&Cells> {
    match receiver {
        Receiver::Vnic(id) => view.vnic(id).map(|vnic| &vnic.cells),
        Receiver::Uplink(id) => view.uplink(id).map(|uplink| &uplink.cells),
    }
}
