//! L4 checksums that a VM left to its device. They survive local delivery to a port that takes them so;
//! on every other way they are finished here, once, before the packet leaves.

use crate::frame::{Frame, L4Checksum};
use crate::l4::L4;
use weir_tables::reason::Reason;
use weir_wire::IpProtocol;
use weir_wire::checksum::Sum;

/// Marks a frame whose checksum field holds the pseudo-header's sum and nothing else, from a device that
/// hands such frames over without saying so. A right checksum that looks the same by chance (1 in 65,536)
/// is told apart by the full sum.
pub fn suspect<F: Frame>(frame: &mut F) {
    let Some(l4) = L4::find(frame.head(), frame.len()) else {
        return;
    };
    let at = l4.offset + l4.field;
    let Some(&field) = frame.head().get(at..).and_then(|f| f.first_chunk::<2>()) else {
        return;
    };
    if u16::from_be_bytes(field) == l4.pseudo.fold() && l4.sum(frame, l4.pseudo).fold() != 0xffff {
        frame.set_l4_checksum(L4Checksum::Partial);
    }
}

/// Finishes the checksum of a frame that leaves for a port which cannot. A frame that is to be cut is not for here:
/// [`segment::finished`](crate::segment::finished) takes either.
pub fn finish<F: Frame>(frame: &mut F) -> Result<(), Reason> {
    if frame.gso().is_some() {
        return Err(Reason::GsoUnsupported);
    }
    let l4 = L4::find(frame.head(), frame.len()).ok_or(Reason::Malformed)?;
    let at = l4.offset + l4.field;
    // The field holds the pseudo-header's sum already (virtio 1.1 §5.1.6.2), as its sender knows it: behind an IPv6
    // routing header the destination is another than the one in the header.
    let mut sum = !l4.sum(frame, Sum::new()).fold();
    // RFC 768: a UDP checksum of zero is sent as all ones.
    if sum == 0 && l4.protocol == IpProtocol::UDP {
        sum = 0xffff;
    }
    if let Some(field) = frame
        .head_mut()
        .get_mut(at..)
        .and_then(|f| f.first_chunk_mut::<2>())
    {
        *field = sum.to_be_bytes();
    }
    frame.set_l4_checksum(L4Checksum::Good);
    Ok(())
}
