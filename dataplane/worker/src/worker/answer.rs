//! What becomes of frames that are held for a record or wait for bandwidth, in the plain copy of the path or in the watched one.

use super::Worker;
use rte::clock;
use std::cell::Cell;
use weir_switch::ledger::Ledger;
use weir_switch::outlet::Outlet;
use weir_switch::watch::{Seen, Watched, Who};
use weir_switch::{leave, miss};
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::view::View;

/// What becomes of frames that are held.
pub(super) enum Answer {
    /// The record is here.
    Found(Destination),
    /// Nobody is there.
    Absent(Destination),
    /// Their vNIC has left.
    Forget(VnicId),
    /// There is none: who has waited for too long is dropped.
    None,
    /// The worker ends.
    End,
    /// Of frames that wait for bandwidth: who may send now does.
    Release,
    /// Their port is closed.
    Close(PortId),
    /// The worker has ended.
    Ended,
}

impl Answer {
    fn carry_out<O: Outlet>(
        self,
        view: &View,
        ledger: &Ledger,
        out: &mut O,
        seen: impl Fn(Who, O::Plain) -> O::Frame,
    ) {
        let of = |vnic, packet| seen(Who::Vnic(vnic), packet);
        match self {
            Answer::Found(to) => miss::found(view, ledger, to, out, of),
            Answer::Absent(to) => miss::absent(view, ledger, to, out, of),
            Answer::Forget(vnic) => {
                miss::forget(ledger, vnic, out, of);
                leave::forget(view, ledger, vnic, out, seen);
            }
            Answer::None => miss::tend(view, ledger, out, of),
            Answer::End => miss::end(view, ledger, out, of),
            Answer::Release => leave::release(view, ledger, out, seen),
            Answer::Close(port) => leave::close(view, ledger, port, out, seen),
            Answer::Ended => leave::end(view, ledger, out, seen),
        }
    }
}

impl Worker {
    /// What becomes of frames that are held or wait, in the plain copy of the path or in the watched one.
    #[inline(never)]
    pub(super) fn watched_or_not(&mut self, answer: Answer) {
        let (view, ledger) = (&*self.view, &self.ledger);
        if !self.watch.is_on() {
            return answer.carry_out(view, ledger, &mut self.out, |_, packet| packet);
        }
        let watch = &self.watch;
        watch.begin(clock::tsc());
        let mut out = Watched::new(&mut self.out, watch);
        let place = Cell::new(0_u8);
        answer.carry_out(view, ledger, &mut out, |from, packet| {
            let own = place.replace(place.get().wrapping_add(1));
            Seen::stored(packet, watch, own, from)
        });
        watch.end();
    }
}
