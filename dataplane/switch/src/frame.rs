//! What the switch asks of a packet. A frame is more than its bytes: what the sender's device left
//! unfinished (checksum, segmentation, tag) travels with it.

use crate::watch::{Point, Step, Who};
use weir_tables::reason::Reason;

/// State of the L4 checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L4Checksum {
    /// Nobody looked.
    #[default]
    Unknown,
    /// The device checked it.
    Good,
    /// The data is right, the field holds the pseudo-header's sum only (virtio's NEEDS_CSUM).
    Partial,
    /// The device found it wrong.
    Bad,
}

/// A packet that is to be cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Payload bytes of a segment.
    pub segment_size: u16,
    /// What is cut.
    pub kind: GsoKind,
}

/// What kind of packet is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP.
    Udp,
}

/// A packet with one owner.
///
/// The contract: [`head`](Frame::head) is the first segment; [`pull_up`](Frame::pull_up) makes headers
/// contiguous when a device split them; tail segments follow. A frame that is dropped as a value gives its
/// memory back.
pub trait Frame: Sized {
    /// Whether somebody may look at frames of this kind: see [`watch`](crate::watch).
    const WATCHED: bool = false;

    /// Shows the frame as it is at this point, where it is this party's.
    #[inline(always)]
    fn show(&self, _point: Point, _who: Who) {}
    /// Says what a stage found or did. Not asked for unless somebody follows this frame.
    #[inline(always)]
    fn note(&self, _step: impl FnOnce() -> Step) {}
    /// Says that the frame is about to be dropped, and why.
    #[inline(always)]
    fn ended(&self, _reason: Reason) {}

    /// Asks the processor for what is known of the frame besides its bytes, which is to be read soon. Only where memory is far.
    #[inline(always)]
    fn fetch(&self) {}
    /// The same of its first bytes. Reads what [`fetch`](Frame::fetch) asks for.
    #[inline(always)]
    fn fetch_head(&self) {}

    /// The first segment.
    fn head(&self) -> &[u8];
    /// The first segment.
    fn head_mut(&mut self) -> &mut [u8];
    /// Bytes of all segments, without FCS.
    fn len(&self) -> usize;
    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Room for `N` bytes before the first, now part of the frame; `None` without headroom.
    fn prepend<const N: usize>(&mut self) -> Option<&mut [u8; N]>;
    /// Whether [`prepend`](Frame::prepend) has room for so many bytes.
    fn has_headroom(&self, n: usize) -> bool;
    /// Takes `n` bytes off the front of the first segment; `false` (and nothing done) if it is shorter.
    fn trim_front(&mut self, n: usize) -> bool;
    /// Takes bytes off the end so that `len` are left.
    fn truncate(&mut self, len: usize);
    /// Makes at least the first `n` bytes contiguous; `false` if there are fewer or it cannot.
    fn pull_up(&mut self, n: usize) -> bool;
    /// Every segment in order.
    fn for_each_segment(&self, each: impl FnMut(&[u8]));
    /// Whether checksum or segmentation is left to do: the one test that every packet meets.
    fn is_unfinished(&self) -> bool;
    /// Whether its bytes are all that there is to it: one segment, nothing left to do, no stripped tag. May be false where it is
    /// so, never true where it is not.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.head().len() == self.len() && !self.is_unfinished() && self.stripped_vlan().is_none()
    }
    /// State of the L4 checksum.
    fn l4_checksum(&self) -> L4Checksum;
    /// Notes the state of the L4 checksum.
    fn set_l4_checksum(&mut self, state: L4Checksum);
    /// How it is to be cut, if it is.
    fn gso(&self) -> Option<Gso>;
    /// Notes that it is not to be cut.
    fn clear_gso(&mut self);
    /// The 802.1Q tag that the device stripped, as a TCI.
    fn stripped_vlan(&self) -> Option<u16>;
    /// Forgets the stripped tag.
    fn clear_vlan(&mut self);
}

/// Bytes of all of these frames together.
#[inline(always)]
pub fn total<F: Frame>(frames: &[F]) -> usize {
    frames.iter().map(Frame::len).sum()
}
