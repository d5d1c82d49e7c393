//! The Ethernet header of a tenant's frame, and the tag that must not travel with it.

use crate::frame::Frame;
use weir_tables::reason::Reason;
use weir_wire::{EtherType, Mac};

/// Bytes that every later stage may want contiguous: Ethernet, tag, the longest IPv4 header, the longest
/// TCP header; or Ethernet, IPv6, extension headers of some 80 bytes and a TCP header.
const HEADERS: usize = 14 + 4 + 60 + 60;

/// What the later stages need to know of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// What follows the Ethernet header.
    pub ethertype: EtherType,
    /// Eight bits of the inner flow's entropy: NVGRE's FlowID (RFC 7637 §3.2).
    pub flow: u8,
}

/// Reads the Ethernet header. Makes the headers of a chain contiguous first, once.
#[inline(always)]
pub fn ethernet<F: Frame>(frame: &mut F) -> Result<Parsed, Reason> {
    if frame.head().len() < HEADERS {
        gather(frame);
    }
    let header = frame.head().first_chunk::<14>().ok_or(Reason::Runt)?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
    Ok(Parsed {
        dst: Mac::new([d0, d1, d2, d3, d4, d5]),
        src: Mac::new([s0, s1, s2, s3, s4, s5]),
        ethertype: EtherType(u16::from_be_bytes([t0, t1])),
        flow: 0,
    })
}

/// The destination MAC of a frame whose header was read.
pub fn destination(head: &[u8]) -> Mac {
    Mac::new(head.first_chunk().copied().unwrap_or_default())
}

/// A short head is an ordinary small frame, or the start of a chain that is pulled up. A chain that cannot
/// be is left as it is: later stages read what is there and call the rest truncated.
#[inline]
fn gather<F: Frame>(frame: &mut F) {
    let wanted = frame.len().min(HEADERS);
    if frame.head().len() < wanted {
        frame.pull_up(wanted);
    }
}

/// Whether a tag follows the MACs.
#[inline(always)]
pub fn is_tag(ethertype: EtherType) -> bool {
    ethertype == EtherType::VLAN || ethertype == EtherType::QINQ
}

/// Takes the 802.1Q tag off a tenant's frame, as the sender must before it encapsulates (RFC 7637 §3.3),
/// and reads the header that is then there. Returns the tag's VLAN with it. A second tag is refused.
#[inline]
pub fn untag<F: Frame>(frame: &mut F) -> Result<(Parsed, u16), Reason> {
    let head = frame.head().first_chunk::<18>().ok_or(Reason::Runt)?;
    let [macs @ .., _, _, tci0, tci1, _, _] = *head;
    let macs: [u8; 12] = macs;
    let vlan = u16::from_be_bytes([tci0, tci1]) & 0x0fff;
    frame.trim_front(4);
    if let Some(start) = frame.head_mut().first_chunk_mut::<12>() {
        *start = macs;
    }
    let parsed = ethernet(frame)?;
    if is_tag(parsed.ethertype) {
        return Err(Reason::InnerTagged);
    }
    Ok((parsed, vlan))
}

/// Puts a tag on, for a trunk by VLAN. `false` without headroom.
#[inline]
pub fn tag<F: Frame>(frame: &mut F, vlan: u16) -> bool {
    let Some(&macs) = frame.head().first_chunk::<12>() else {
        return false;
    };
    let [v0, v1] = vlan.to_be_bytes();
    let Some(room) = frame.prepend::<4>() else {
        return false;
    };
    *room = [0; 4];
    if let Some(start) = frame.head_mut().first_chunk_mut::<16>() {
        let [to @ .., t0, t1, t2, t3] = start;
        *to = macs;
        [*t0, *t1, *t2, *t3] = [0x81, 0x00, v0, v1];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Herd;

    fn tagged() -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0xe0, 100, 8, 0];
        bytes.extend([0x45; 46]);
        bytes
    }

    #[test]
    fn a_tag_comes_off_and_goes_on() {
        let herd = Herd::default();
        let mut frame = herd.frame(&tagged());
        let (parsed, vlan) = untag(&mut frame).unwrap();
        assert_eq!((parsed.ethertype, vlan), (EtherType::IPV4, 100));
        assert_eq!(frame.len(), tagged().len() - 4);
        assert!(tag(&mut frame, 100));
        let mut wanted = tagged();
        wanted[14] = 0; // priority 0: the tag is the trunk's, not the tenant's
        assert_eq!(frame.bytes(), wanted);
    }

    #[test]
    fn a_header_in_pieces_is_made_whole() {
        let herd = Herd::default();
        let bytes = tagged();
        let mut frame = herd.chain(&[&bytes[..3], &bytes[3..15], &bytes[15..]]);
        assert_eq!(ethernet(&mut frame).unwrap().ethertype, EtherType::VLAN);
        assert_eq!(frame.head(), &bytes[..]);
    }

    #[test]
    fn a_runt_is_named() {
        let herd = Herd::default();
        assert_eq!(ethernet(&mut herd.frame(&[0; 13])), Err(Reason::Runt));
        assert_eq!(ethernet(&mut herd.frame(&[])), Err(Reason::Runt));
    }
}
