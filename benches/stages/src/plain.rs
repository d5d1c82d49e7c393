//! A frame over borrowed memory and a way out that takes everything: neither allocates, so that what is measured is the switch.

use std::ops::Range;
use std::sync::Arc;
use weir_switch::Batch;
use weir_switch::door::Door;
use weir_switch::frame::{Frame, Gso, L4Checksum, total};
use weir_switch::held::Held;
use weir_switch::leave::{self, Shaper, Wait};
use weir_switch::ledger::Ledger;
use weir_switch::outlet::{Event, Outlet, Receiver};
use weir_switch::shape::leases::Leases;
use weir_switch::shape::{LinkState, Settings};
use weir_tables::counters::WorkerCells;
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::view::View;

/// Bytes before a packet, as DPDK's RTE_PKTMBUF_HEADROOM.
pub const HEADROOM: u8 = 128;
/// The longest frame, in bytes.
pub const LONGEST: usize = (1 << 11) - 1;
/// Memory of a frame: so much that no place and length lie outside it, whatever they are, which as with an mbuf nobody asks then.
const ROOM: usize = u8::MAX as usize + LONGEST;

/// The memory of a frame and, before it, what is known of it: as of an mbuf, so that a frame is one pointer.
#[derive(Debug)]
#[repr(C)]
pub struct Memory {
    start: u8,
    len: u16,
    /// What its device left to do, a bit each: nothing here, which the compiler is not told.
    left: u64,
    checksum: L4Checksum,
    room: [u8; ROOM],
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            start: HEADROOM,
            len: 0,
            left: 0,
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
        let (start, len) = (usize::from(HEADROOM), bytes.len().min(LONGEST));
        memory.room[start..start + len].copy_from_slice(&bytes[..len]);
        (memory.start, memory.len) = (HEADROOM, len as u16);
        (memory.left, memory.checksum) = (0, L4Checksum::Unknown);
        Plain(memory)
    }

    #[inline(always)]
    fn range(&self) -> Range<usize> {
        let start = usize::from(self.0.start);
        start..start + (usize::from(self.0.len) & LONGEST)
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
        usize::from(self.0.len)
    }

    #[inline(always)]
    fn prepend<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.0.start = self.0.start.checked_sub(N as u8)?;
        self.0.len += N as u16;
        let start = usize::from(self.0.start);
        self.0.room.get_mut(start..)?.first_chunk_mut()
    }

    #[inline(always)]
    fn has_headroom(&self, n: usize) -> bool {
        n <= usize::from(self.0.start)
    }

    #[inline(always)]
    fn trim_front(&mut self, n: usize) -> bool {
        match u8::try_from(usize::from(self.0.start) + n) {
            Ok(start) if n <= self.len() => {
                self.0.start = start;
                self.0.len -= n as u16;
                true
            }
            _ => false,
        }
    }

    fn truncate(&mut self, len: usize) {
        self.0.len = self.0.len.min(len.min(LONGEST) as u16);
    }

    fn pull_up(&mut self, n: usize) -> bool {
        n <= self.len()
    }

    fn for_each_segment(&self, mut each: impl FnMut(&[u8])) {
        each(self.head());
    }

    #[inline(always)]
    fn is_unfinished(&self) -> bool {
        self.0.left != 0
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.0.left == 0
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

/// The clock of these books: TSC cycles a second.
const HZ: u64 = 2_600_000_000;

/// Takes every frame, as a worker's buffer before a device does, and gives none away.
pub struct Sink<'a> {
    waiting: Batch<Plain<'a>>,
    /// The last port and receiver, and all bytes.
    last: (PortId, Receiver, u64),
    held: Held<Plain<'a>>,
    /// Who may send when: nobody is promised anything, unless the scene says so.
    pub shaper: Shaper<Plain<'a>>,
    /// Packets taken.
    pub taken: u64,
    /// The worker's book.
    pub ledger: Ledger,
}

impl Default for Sink<'_> {
    fn default() -> Self {
        Sink {
            waiting: Batch::new(),
            last: (PortId(0), Receiver::Vnic(VnicId(0)), 0),
            held: Held::new(16, 64, 1, HZ),
            shaper: Shaper::new(Settings::new(HZ, 64, 8, 1)),
            taken: 0,
            ledger: Ledger::new(WorkerId(0), Arc::new(WorkerCells::default())),
        }
    }
}

impl Sink<'_> {
    /// Keeps to what a view says of bandwidths.
    pub fn share(&mut self, view: &View) {
        leave::adopt(&mut self.shaper, None, view, 0);
        for uplink in view.uplinks.iter().flatten() {
            let state = uplink
                .link
                .as_ref()
                .map(|link| LinkState::new(link, Leases::new(1), 0, self.shaper.settings()));
            self.shaper.set_link(uplink.id, state, 0);
        }
    }

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
        self.last = (port, receiver, self.last.2 + frame.len() as u64);
        let full = self.waiting.try_push(frame);
        full.map_err(|full| (Reason::TxFull, full.element()))
    }

    #[inline(always)]
    fn push_all(
        &mut self,
        _: Option<VnicId>,
        door: Door,
        bytes: usize,
        frames: &mut Batch<Plain<'a>>,
    ) {
        debug_assert_eq!(bytes, total(frames), "who sends knows their bytes");
        if self.waiting.remaining_capacity() < frames.len() {
            self.flush();
        }
        let (port, receiver) = (door.port(), door.receiver());
        let room = self.waiting.remaining_capacity().min(frames.len());
        self.waiting.extend(frames.drain(..room));
        self.last = (port, receiver, self.last.2 + bytes as u64);
        for frame in frames.drain(..) {
            self.refuse(receiver, Reason::TxFull, frame);
        }
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

    #[inline(always)]
    fn is_shaping(&self) -> bool {
        !self.shaper.is_off()
    }

    #[inline(always)]
    fn is_here(&self, _: PortId) -> bool {
        true
    }

    #[inline(always)]
    fn room(&mut self, _: PortId, _: usize) -> usize {
        self.waiting.remaining_capacity()
    }

    #[inline(always)]
    fn shaper(&mut self) -> &mut Shaper<Plain<'a>> {
        &mut self.shaper
    }

    #[inline(always)]
    fn wait(&mut self, wait: Wait, frame: Plain<'a>) -> Result<(), (Reason, Plain<'a>)> {
        wait.begin(&mut self.shaper, frame)
    }
}
