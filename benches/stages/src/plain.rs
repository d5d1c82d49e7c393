//! A frame over borrowed memory and a way out that takes everything: neither allocates, so that what is measured is the switch.

use arrayvec::ArrayVec;
use std::sync::Arc;
use weir_switch::BATCH;
use weir_switch::frame::{Frame, Gso, L4Checksum};
use weir_switch::held::Held;
use weir_switch::ledger::Ledger;
use weir_switch::outlet::{Event, Outlet, Receiver};
use weir_tables::counters::WorkerCells;
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::reason::Reason;

/// Bytes before a packet, as DPDK's RTE_PKTMBUF_HEADROOM.
pub const HEADROOM: usize = 128;
/// Memory of a frame, as DPDK's default mbuf: headroom and 2,048 bytes.
pub const ROOM: usize = HEADROOM + 2048;

/// A frame of one segment in somebody else's memory.
#[derive(Debug)]
pub struct Plain<'a> {
    room: &'a mut [u8; ROOM],
    start: usize,
    end: usize,
    checksum: L4Checksum,
}

impl<'a> Plain<'a> {
    /// A frame of these bytes, as many as fit.
    pub fn new(room: &'a mut [u8; ROOM], bytes: &[u8]) -> Plain<'a> {
        let end = (HEADROOM + bytes.len()).min(ROOM);
        room[HEADROOM..end].copy_from_slice(&bytes[..end - HEADROOM]);
        Plain {
            room,
            start: HEADROOM,
            end,
            checksum: L4Checksum::Unknown,
        }
    }
}

impl Frame for Plain<'_> {
    #[inline(always)]
    fn head(&self) -> &[u8] {
        self.room.get(self.start..self.end).unwrap_or_default()
    }

    #[inline(always)]
    fn head_mut(&mut self) -> &mut [u8] {
        self.room.get_mut(self.start..self.end).unwrap_or_default()
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn prepend<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.start = self.start.checked_sub(N)?;
        self.head_mut().first_chunk_mut()
    }

    #[inline(always)]
    fn trim_front(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        if fits {
            self.start += n;
        }
        fits
    }

    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }

    fn pull_up(&mut self, n: usize) -> bool {
        n <= self.len()
    }

    fn for_each_segment(&self, mut each: impl FnMut(&[u8])) {
        each(self.head());
    }

    #[inline(always)]
    fn is_unfinished(&self) -> bool {
        self.checksum == L4Checksum::Partial
    }

    fn l4_checksum(&self) -> L4Checksum {
        self.checksum
    }

    fn set_l4_checksum(&mut self, state: L4Checksum) {
        self.checksum = state;
    }

    fn gso(&self) -> Option<Gso> {
        None
    }

    fn clear_gso(&mut self) {}

    #[inline(always)]
    fn stripped_vlan(&self) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn clear_vlan(&mut self) {}
}

/// Takes every frame, as a worker's buffer before a device does, and gives none away.
pub struct Sink<'a> {
    waiting: ArrayVec<(PortId, Receiver, Plain<'a>), BATCH>,
    held: Held<Plain<'a>>,
    /// Packets taken.
    pub taken: u64,
    /// The worker's book.
    pub ledger: Ledger,
}

impl Default for Sink<'_> {
    fn default() -> Self {
        Sink {
            waiting: ArrayVec::new(),
            held: Held::new(16, 64, 1, 2_600_000_000),
            taken: 0,
            ledger: Ledger::new(WorkerId(0), Arc::new(WorkerCells::default())),
        }
    }
}

impl Sink<'_> {
    /// Forgets what was taken.
    #[inline(always)]
    pub fn flush(&mut self) {
        self.taken += self.waiting.len() as u64;
        self.waiting.clear();
    }
}

impl<'a> Outlet for Sink<'a> {
    type Frame = Plain<'a>;
    type Plain = Plain<'a>;

    #[inline(always)]
    fn offer(
        &mut self,
        port: PortId,
        receiver: Receiver,
        frame: Plain<'a>,
    ) -> Result<(), (Reason, Plain<'a>)> {
        let full = self.waiting.try_push((port, receiver, frame));
        full.map_err(|full| (Reason::TxFull, full.element().2))
    }

    fn refuse(&mut self, _: Receiver, reason: Reason, frame: Plain<'a>) {
        self.ledger.dropped(None, reason, frame);
    }

    fn copy(&mut self, _: &Plain<'a>) -> Option<Plain<'a>> {
        None
    }

    fn part(&mut self, _: &Plain<'a>, _: &[u8], _: usize, _: usize) -> Option<Plain<'a>> {
        None
    }

    fn tell(&mut self, _: Event) {}

    fn held(&mut self) -> &mut Held<Plain<'a>> {
        &mut self.held
    }

    fn hold(&mut self, to: Destination, from: VnicId, frame: Plain<'a>) -> Result<(), Plain<'a>> {
        self.held.add(to, from, frame)
    }
}
