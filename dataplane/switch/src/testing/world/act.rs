//! What happens to a host: frames come, time passes, the store answers; and what is seen of it.

use super::*;
use crate::Frame;
use crate::lap::{Stopwatch, Timed};
use crate::leave;
use crate::outlet::Outlet;
use crate::shape::leases::Leases;
use crate::shape::{Exit, LinkState};
use std::cell::RefCell;
use std::collections::BTreeMap;
use weir_tables::bandwidth::{ClassId, Link, Promise};
use weir_tables::filters::Filters;

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

    /// Frames from a port, in batches as a worker receives them.
    pub fn receive(&mut self, port: PortId, frames: impl IntoIterator<Item = VecFrame>) {
        if self.view.port(port).is_none() {
            return;
        }
        let mut frames = frames.into_iter();
        loop {
            let mut batch: Batch<VecFrame> = frames.by_ref().take(BATCH).collect();
            let was_full = batch.is_full();
            if was_full && self.may_read_ahead(port) {
                let mut second = frames.by_ref().take(BATCH).collect();
                let ledger = self.kept.ledger.clone();
                let both = [&mut batch, &mut second];
                receive_two(&self.view, &ledger, port, both, &mut self.kept);
            } else {
                self.switch(port, &mut batch);
            }
            self.turn();
            if !was_full {
                break;
            }
        }
    }

    /// As a worker's.
    fn may_read_ahead(&self, port: PortId) -> bool {
        let party = self.view.port(port).map(|port| port.party);
        self.view.reads_ahead
            && matches!(party, Some(Party::Vnic(_)))
            && self.watcher.is_none()
            && self.timer.is_none()
            && self.kept.shaper.queued() == 0
    }

    /// What may leave now of what waits does.
    fn turn(&mut self) {
        if self.kept.is_shaping() {
            self.release();
        }
    }

    fn switch(&mut self, port: PortId, batch: &mut Batch<VecFrame>) {
        let ledger = self.kept.ledger.clone();
        if let Some(laps) = &self.timer {
            let mut out = Timed::new(&mut self.kept, laps);
            return receive(&self.view, &ledger, port, batch, &mut out);
        }
        let Some(watcher) = self.watcher.take() else {
            return receive(&self.view, &ledger, port, batch, &mut self.kept);
        };
        let seen = |(place, frame)| Seen::new(frame, &watcher, place);
        let mut batch: Batch<Seen<_>> = (0..).zip(batch.drain(..)).map(seen).collect();
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
        self.turn();
    }

    /// What a vNIC is promised from here on.
    pub fn promise(&mut self, id: VnicId, promise: Option<Promise>) {
        let before = self.view.clone();
        if let Some(Some(vnic)) = self.view.vnics.get_mut(id.index()) {
            *vnic = Arc::new(Vnic {
                promise: promise.map(Arc::new),
                name: vnic.name.clone(),
                identity: vnic.identity.clone(),
                cells: vnic.cells.clone(),
                ..**vnic
            });
        }
        let now = self.kept.ledger.now();
        leave::adopt(&mut self.kept.shaper, Some(&before), &self.view, now);
    }

    /// What is of which traffic class from here on; it is counted of every vNIC there is.
    pub fn classify(&mut self, filters: Filters) {
        for vnic in self.view.vnics.iter().flatten() {
            for cell in vnic.cells.iter() {
                cell.classes.make_room(ClassId(7));
            }
        }
        self.view.filters = Some(Arc::new(filters));
    }

    /// How the uplink is shared from here on.
    pub fn link(&mut self, link: Option<Link>) {
        let shaper = &mut self.kept.shaper;
        let state = link.as_ref().map(|link| {
            let leases = Leases::new(1);
            LinkState::new(link, leases, 0, shaper.settings())
        });
        shaper.set_link(UPLINK, state, self.kept.ledger.now());
        self.kept.shapes = link.is_some();
        if let Some(Some(uplink)) = self.view.uplinks.get_mut(UPLINK.index()) {
            Arc::make_mut(uplink).link = link.map(Arc::new);
        }
    }

    /// A turn's work for what waits for bandwidth.
    pub fn release(&mut self) {
        let ledger = self.kept.ledger.clone();
        match self.watcher.take() {
            None => leave::release(&self.view, &ledger, &mut self.kept, |_, frame| frame),
            Some(watcher) => {
                let mut out = Watched::new(&mut self.kept, &watcher);
                let seen = |from, frame| Seen::stored(frame, &watcher, 0, from);
                leave::release(&self.view, &ledger, &mut out, seen);
                self.watcher = Some(watcher);
            }
        }
    }

    /// Drops what waits for a port that is closed.
    pub fn close(&mut self, port: PortId) {
        let ledger = self.kept.ledger.clone();
        leave::close(&self.view, &ledger, port, &mut self.kept, |_, frame| frame);
    }

    /// The time passes, in TSC cycles; the worker looks who has waited for too long, and who may send now.
    pub fn wait(&mut self, cycles: u64) {
        let ledger = self.kept.ledger.clone();
        ledger.cells().now.add(cycles);
        self.turn();
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

    /// Drops what is held of a vNIC that was taken away, and what waits of it and for it.
    pub fn forget(&mut self, vnic: VnicId) {
        let ledger = self.kept.ledger.clone();
        miss::forget(&ledger, vnic, &mut self.kept, |_, frame| frame);
        leave::forget(&self.view, &ledger, vnic, &mut self.kept, |_, frame| frame);
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
            (self.kept.out.len() + self.kept.held.frames()) as isize
                + self.kept.shaper.queued() as isize,
            "a frame leaked"
        );
        self.assert_classes(&self.kept);
    }

    /// That what is counted as waiting by class is what waits, of a worker's outlet.
    pub(crate) fn assert_classes(&self, kept: &Kept) {
        let mut waits = BTreeMap::<(VnicId, u8), (u64, u64)>::new();
        for (vnic, exit, waiting) in kept.shaper.each() {
            if exit != Exit::Receive {
                let bytes = waiting.frame.len() - waiting.door.headers();
                let sum = waits.entry((vnic, waiting.door.class().0)).or_default();
                *sum = (sum.0 + 1, sum.1 + bytes as u64);
            }
        }
        for vnic in self.view.vnics.iter().flatten() {
            let Some(cell) = vnic.cells.get(kept.ledger.worker().index()) else {
                continue;
            };
            for (class, cells) in cell.classes.iter() {
                let count = cells.count();
                assert_eq!(
                    (count.queued_packets, count.queued_bytes),
                    waits.get(&(vnic.id, class.0)).copied().unwrap_or_default(),
                    "what waits of {} in class {}",
                    vnic.name,
                    class.0
                );
            }
        }
    }
}
