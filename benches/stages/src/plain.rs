//! A frame over borrowed memory and a way out that takes everything: neither allocates, so that what is measured is the switch.

use arrayvec::ArrayVec;
use std::ops::Range;
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

/// The memory of a frame and, before it, what is known of it: as of an mbuf, so that a frame is one pointer.
#[derive(Debug)]
#[repr(C)]
pub struct Memory {
    start: u32,
    end: u32,
    checksum: L4Checksum,
    room: [u8; ROOM],
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            start: 0,
            end: 0,
            checksum: L4Checksum::Unknown,
            room: [0; ROOM],
        }
    }
}

/// A frame of one segment in somebody else's memory.
#[derive(Debug)]
pub struct Plain<'a>(&'a mut Memory);

impl<'a> Plain<'a> {
    /// A frame of these bytes, as many as fit.
    pub fn new(memory: &'a mut Memory, bytes: &[u8]) -> Plain<'a> {
        let end = (HEADROOM + bytes.len()).min(ROOM);
        memory.room[HEADROOM..end].copy_from_slice(&bytes[..end - HEADROOM]);
        (memory.start, memory.end) = (HEADROOM as u32, end as u32);
        memory.checksum = L4Checksum::Unknown;
        Plain(memory)
    }

    #[inline(always)]
    fn range(&self) -> Range<usize> {
        self.0.start as usize..self.0.end as usize
    }
}

impl Frame for Plain<'_> {
    #[inline(always)]
    fn head(&self) -> &[u8] {
        self.0.room.get(self.range()).unwrap_or_default()
    }

    #[inline(always)]
    fn head_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        self.0.room.get_mut(range).unwrap_or_default()
    }

    #[inline(always)]
    fn len(&self) -> usize {
        (self.0.end - self.0.start) as usize
    }

    #[inline(always)]
    fn prepend<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.0.start = self.0.start.checked_sub(N as u32)?;
        self.head_mut().first_chunk_mut()
    }

    #[inline(always)]
    fn trim_front(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        if fits {
            self.0.start += n as u32;
        }
        fits
    }

    fn truncate(&mut self, len: usize) {
        self.0.end = self.0.end.min(self.0.start + len as u32);
    }

    fn pull_up(&mut self, n: usize) -> bool {
        n <= self.len()
    }

    fn for_each_segment(&self, mut each: impl FnMut(&[u8])) {
        each(self.head());
    }

    #[inline(always)]
    fn is_unfinished(&self) -> bool {
        self.0.checksum == L4Checksum::Partial
    }

    fn l4_checksum(&self) -> L4Checksum {
        self.0.checksum
    }

    fn set_l4_checksum(&mut self, state: L4Checksum) {
        self.0.checksum = state;
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
