//! What happens to a host: frames come, time passes, the store answers; and what is seen of it.

use super::*;
use crate::lap::{Stopwatch, Timed};
use std::cell::RefCell;

/// The stages that batches were done with.
#[derive(Default)]
pub(super) struct Laps(RefCell<Vec<Stage>>);

impl Stopwatch for Laps {
    fn lap(&self, stage: Stage) {
        self.0.borrow_mut().push(stage);
    }
}

impl World {
    /// A frame as if the vNIC had sent it; what comes out is in `kept`.
    pub fn send(&mut self, from: VnicId, bytes: &[u8]) {
        let frame = self.herd.frame(bytes);
        self.send_frame(from, frame);
    }

    /// The same with a frame made elsewhere.
    pub fn send_frame(&mut self, from: VnicId, frame: VecFrame) {
        if let Some(port) = self.view.vnic(from).map(|v| v.port) {
            self.receive(port, [frame]);
        }
    }

    /// A frame as if it had come from the wire.
    pub fn wire(&mut self, bytes: &[u8]) {
        let frame = self.herd.frame(bytes);
        self.receive(UPLINK_PORT, [frame]);
    }

    /// A batch of at most 32 frames from a port.
    pub fn receive(&mut self, port: PortId, frames: impl IntoIterator<Item = VecFrame>) {
        let mut batch: Batch<VecFrame> = frames.into_iter().collect();
        let ledger = self.kept.ledger.clone();
        if self.view.port(port).is_none() {
            return;
        }
        if let Some(laps) = &self.timer {
            let mut out = Timed::new(&mut self.kept, laps);
            return receive(&self.view, &ledger, port, &mut batch, &mut out);
        }
        let Some(watcher) = self.watcher.take() else {
            return receive(&self.view, &ledger, port, &mut batch, &mut self.kept);
        };
        let seen = |(place, frame)| Seen::new(frame, &watcher, place);
        let mut batch: Batch<Seen<_>> = (0..).zip(batch).map(seen).collect();
        let mut out = Watched::new(&mut self.kept, &watcher);
        receive(&self.view, &ledger, port, &mut batch, &mut out);
        drop(batch);
        self.watcher = Some(watcher);
    }

    /// From now on somebody sees everything.
    pub fn watch(&mut self) {
        self.watcher = Some(Recorder::default());
    }

    /// What was seen, by the frame's place in its batch; forgets it.
    pub fn seen(&mut self) -> Vec<(u8, Note)> {
        let watcher = self.watcher.as_ref();
        watcher.map(Recorder::take).unwrap_or_default()
    }

    /// From now on the stages that a batch is done with are told, and nobody sees anything.
    pub fn time(&mut self) {
        self.timer = Some(Laps::default());
    }

    /// Those stages so far; forgets them.
    pub fn laps(&mut self) -> Vec<Stage> {
        let laps = self.timer.as_ref();
        laps.map(|laps| laps.0.take()).unwrap_or_default()
    }

    /// Whether the records of a VM network come when they are asked for.
    pub fn on_miss(&mut self, id: DomainId, on_miss: bool) {
        if let Some(Some(domain)) = self.view.domains.get_mut(id.index()) {
            Arc::make_mut(domain).on_miss = on_miss;
        }
    }

    /// The store's answer: the record of a destination is here, or nobody has it.
    pub fn answer(&mut self, to: Destination, found: bool) {
        let ledger = self.kept.ledger.clone();
        match (self.watcher.take(), found) {
            (None, true) => miss::found(&self.view, &ledger, to, &mut self.kept, |_, f| f),
            (None, false) => miss::absent(&self.view, &ledger, to, &mut self.kept, |_, f| f),
            (Some(watcher), _) => {
                let mut out = Watched::new(&mut self.kept, &watcher);
                let seen = |vnic, frame| Seen::stored(frame, &watcher, 0, Who::Vnic(vnic));
                if found {
                    miss::found(&self.view, &ledger, to, &mut out, seen);
                } else {
                    miss::absent(&self.view, &ledger, to, &mut out, seen);
                }
                self.watcher = Some(watcher);
            }
        }
    }

    /// The time passes, in TSC cycles; the worker looks who has waited for too long.
    pub fn wait(&mut self, cycles: u64) {
        let ledger = self.kept.ledger.clone();
        ledger.cells().now.add(cycles);
        if !self.kept.held.is_due(ledger.now()) {
            return;
        }
        match self.watcher.take() {
            None => miss::tend(&self.view, &ledger, &mut self.kept, |_, frame| frame),
            Some(watcher) => {
                let mut out = Watched::new(&mut self.kept, &watcher);
                let seen = |vnic, frame| Seen::stored(frame, &watcher, 0, Who::Vnic(vnic));
                miss::tend(&self.view, &ledger, &mut out, seen);
                self.watcher = Some(watcher);
            }
        }
    }

    /// Drops what is held of a vNIC that was taken away.
    pub fn forget(&mut self, vnic: VnicId) {
        let ledger = self.kept.ledger.clone();
        miss::forget(&ledger, vnic, &mut self.kept, |_, frame| frame);
    }

    /// Takes what came out: (port, bytes).
    pub fn take(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let out = self.kept.out.drain(..);
        out.map(|(port, _, frame)| (port, frame.bytes())).collect()
    }

    /// The vNIC's port.
    pub fn port_of(&self, id: VnicId) -> Option<PortId> {
        self.view.vnic(id).map(|v| v.port)
    }

    /// All drops so far, by reason.
    pub fn drops(&self) -> Vec<(Reason, u64)> {
        let mut all = std::collections::BTreeMap::new();
        let vnics = self.view.vnics.iter().flatten().map(|v| &v.cells);
        let uplinks = self.view.uplinks.iter().flatten().map(|u| &u.cells);
        let own = &self.kept.ledger.cells().unaccounted;
        let parties = vnics
            .chain(uplinks)
            .chain(&self.gone)
            .flat_map(|c| c.iter())
            .map(|c| &c.drops);
        for (reason, packets, _) in parties.chain([own]).flat_map(|d| d.iter()) {
            *all.entry(reason).or_insert(0) += packets;
        }
        all.into_iter().collect()
    }

    /// The design's equation, and that no frame is alive but those kept.
    pub fn assert_conserved(&self) {
        let cells = self.kept.ledger.cells();
        assert_eq!(cells.came(), cells.went(), "{cells:?}");
        let dropped: u64 = self.drops().iter().map(|d| d.1).sum();
        assert_eq!(cells.dropped.get(), dropped, "each drop has one reason");
        assert_eq!(
            self.herd.alive(),
            (self.kept.out.len() + self.kept.held.frames()) as isize,
            "a frame leaked"
        );
    }
}
