//! An mbuf as the switch's [`Frame`]: what a frame's contract asks is kept in the mbuf's own fields, so that
//! it travels through rings and drivers with it.

use rte::Mbuf;
use weir_switch::frame::{Frame, Gso, GsoKind, L4Checksum};

/// A packet in an mbuf.
#[repr(transparent)]
pub struct Packet(pub Mbuf);

impl Frame for Packet {
    #[inline(always)]
    fn fetch(&self) {
        rte::prefetch_mbuf_for_write(&self.0);
    }

    #[inline(always)]
    fn fetch_head(&self) {
        rte::prefetch_head(&self.0);
    }

    #[inline(always)]
    fn head(&self) -> &[u8] {
        self.0.head()
    }

    #[inline(always)]
    fn head_mut(&mut self) -> &mut [u8] {
        self.0.head_mut()
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn prepend<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.0.prepend_array()
    }

    #[inline(always)]
    fn has_headroom(&self, n: usize) -> bool {
        n <= self.0.headroom()
    }

    #[inline(always)]
    fn trim_front(&mut self, n: usize) -> bool {
        self.0.trim_front(n)
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn pull_up(&mut self, n: usize) -> bool {
        self.0.pull_up(n)
    }

    fn for_each_segment(&self, each: impl FnMut(&[u8])) {
        self.0.segments_iter().for_each(each);
    }

    #[inline(always)]
    fn is_unfinished(&self) -> bool {
        self.0.l4_checksum() == rte::L4Checksum::Partial || self.0.gso().is_some()
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.0.is_plain()
    }

    fn l4_checksum(&self) -> L4Checksum {
        match self.0.l4_checksum() {
            rte::L4Checksum::Unknown => L4Checksum::Unknown,
            rte::L4Checksum::Good => L4Checksum::Good,
            rte::L4Checksum::Partial => L4Checksum::Partial,
            rte::L4Checksum::Bad => L4Checksum::Bad,
        }
    }

    fn set_l4_checksum(&mut self, state: L4Checksum) {
        self.0.set_l4_checksum(match state {
            L4Checksum::Unknown => rte::L4Checksum::Unknown,
            L4Checksum::Good => rte::L4Checksum::Good,
            L4Checksum::Partial => rte::L4Checksum::Partial,
            L4Checksum::Bad => rte::L4Checksum::Bad,
        });
    }

    fn gso(&self) -> Option<Gso> {
        let gso = self.0.gso()?;
        Some(Gso {
            segment_size: gso.segment_size,
            kind: match gso.kind {
                rte::GsoKind::Tcp4 => GsoKind::Tcp4,
                rte::GsoKind::Tcp6 => GsoKind::Tcp6,
                rte::GsoKind::Udp4 | rte::GsoKind::Udp6 => GsoKind::Udp,
            },
        })
    }

    fn clear_gso(&mut self) {
        self.0.set_gso(None);
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> Option<u16> {
        self.0.vlan()
    }

    #[inline(always)]
    fn clear_vlan(&mut self) {
        if self.0.vlan().is_some() {
            self.0.set_vlan(None);
        }
    }
}
