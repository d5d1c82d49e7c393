//! A frame in plain memory: for tests, fuzzing and for packets that control only imagines (`weir trace`).

use crate::frame::{Frame, Gso, L4Checksum};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// Bytes before a packet, as DPDK's RTE_PKTMBUF_HEADROOM.
pub const HEADROOM: usize = 128;

/// Counts the frames that live, so that a test sees a leak.
#[derive(Clone, Debug, Default)]
pub struct Herd(Arc<AtomicIsize>);

impl Herd {
    /// Frames alive.
    pub fn alive(&self) -> isize {
        self.0.load(Ordering::Relaxed)
    }

    /// A frame of one segment.
    pub fn frame(&self, bytes: &[u8]) -> VecFrame {
        self.chain(&[bytes])
    }

    /// A frame of several segments.
    pub fn chain(&self, segments: &[&[u8]]) -> VecFrame {
        self.chain_behind(HEADROOM, segments)
    }

    /// The same with so many bytes free before it.
    pub fn chain_behind(&self, headroom: usize, segments: &[&[u8]]) -> VecFrame {
        self.0.fetch_add(1, Ordering::Relaxed);
        let first = segments.first().copied().unwrap_or_default();
        let mut head = Vec::with_capacity(headroom + first.len());
        head.resize(headroom, 0xee);
        head.extend_from_slice(first);
        VecFrame {
            head,
            start: headroom,
            tail: segments.iter().skip(1).map(|s| s.to_vec()).collect(),
            checksum: L4Checksum::Unknown,
            gso: None,
            vlan: None,
            mark: 0,
            number: 0,
            herd: self.clone(),
        }
    }
}

/// A frame in plain memory: a first segment with headroom, and tail segments.
#[derive(Debug)]
pub struct VecFrame {
    head: Vec<u8>,
    start: usize,
    tail: Vec<Vec<u8>>,
    /// State of the L4 checksum.
    pub checksum: L4Checksum,
    /// How it is to be cut.
    pub gso: Option<Gso>,
    /// The stripped tag.
    pub vlan: Option<u16>,
    /// A test's own note, which no stage sees and which copies keep.
    pub mark: u32,
    /// Another one, of when it was sent.
    pub number: u32,
    herd: Herd,
}

impl VecFrame {
    /// All bytes in a row.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        self.for_each_segment(|s| all.extend_from_slice(s));
        all
    }

    /// Its segments, of which there is at least one.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        [self.head()]
            .into_iter()
            .chain(self.tail.iter().map(Vec::as_slice))
    }

    /// Bytes free before the first segment.
    pub fn headroom(&self) -> usize {
        self.start
    }

    /// Another one that is the same.
    pub fn duplicate(&self) -> VecFrame {
        self.herd.0.fetch_add(1, Ordering::Relaxed);
        VecFrame {
            head: self.head.clone(),
            start: self.start,
            tail: self.tail.clone(),
            checksum: self.checksum,
            gso: self.gso,
            vlan: self.vlan,
            mark: self.mark,
            number: self.number,
            herd: self.herd.clone(),
        }
    }

    /// A frame of its own, with headroom, of `front` and `length` bytes from `start` on; shorter where there are fewer.
    pub fn part(&self, front: &[u8], start: usize, length: usize) -> VecFrame {
        let bytes = self.bytes();
        let part = bytes.iter().skip(start).take(length);
        let part: Vec<u8> = front.iter().chain(part).copied().collect();
        let mut part = self.herd.frame(&part);
        part.mark = self.mark;
        part.number = self.number;
        part
    }
}

impl Drop for VecFrame {
    fn drop(&mut self) {
        self.herd.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Frame for VecFrame {
    fn head(&self) -> &[u8] {
        self.head.get(self.start..).unwrap_or_default()
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.head.get_mut(self.start..).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.head().len() + self.tail.iter().map(Vec::len).sum::<usize>()
    }

    fn prepend<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.start = self.start.checked_sub(N)?;
        self.head_mut().first_chunk_mut()
    }

    fn has_headroom(&self, n: usize) -> bool {
        n <= self.start
    }

    fn trim_front(&mut self, n: usize) -> bool {
        let fits = n <= self.head().len();
        if fits {
            self.start += n;
        }
        fits
    }

    fn truncate(&mut self, len: usize) {
        let mut left = len;
        let keep = left.min(self.head().len());
        self.head.truncate(self.start + keep);
        left -= keep;
        for segment in &mut self.tail {
            let keep = left.min(segment.len());
            segment.truncate(keep);
            left -= keep;
        }
        self.tail.retain(|s| !s.is_empty());
    }

    fn pull_up(&mut self, n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        while self.head().len() < n {
            let wanted = n - self.head().len();
            let Some(next) = self.tail.first_mut() else {
                return false;
            };
            let taken = wanted.min(next.len());
            self.head.extend(next.drain(..taken));
            if next.is_empty() {
                self.tail.remove(0);
            }
        }
        true
    }

    fn for_each_segment(&self, mut each: impl FnMut(&[u8])) {
        each(self.head());
        for segment in &self.tail {
            each(segment);
        }
    }

    fn is_unfinished(&self) -> bool {
        self.checksum == L4Checksum::Partial || self.gso.is_some()
    }

    fn l4_checksum(&self) -> L4Checksum {
        self.checksum
    }

    fn set_l4_checksum(&mut self, state: L4Checksum) {
        self.checksum = state;
    }

    fn gso(&self) -> Option<Gso> {
        self.gso
    }

    fn clear_gso(&mut self) {
        self.gso = None;
    }

    fn stripped_vlan(&self) -> Option<u16> {
        self.vlan
    }

    fn clear_vlan(&mut self) {
        self.vlan = None;
    }
}
