//! L4 checksums that a VM left to its device. They survive local delivery to a port that takes them so;
//! on every other way they are finished here, once, before the packet leaves.

use crate::frame::{Frame, L4Checksum};
use weir_tables::reason::Reason;
use weir_wire::checksum::Sum;
use weir_wire::{EtherType, IpProtocol, ipv6};

/// Where the L4 header of a frame is, and what its checksum covers besides it.
struct L4 {
    /// From the frame's start, in bytes.
    offset: usize,
    /// L4 header and payload, in bytes.
    length: usize,
    /// Where in the L4 header the checksum is, in bytes.
    field: usize,
    protocol: IpProtocol,
    /// Sum of the pseudo-header.
    pseudo: Sum,
}

/// Finds TCP or UDP behind Ethernet; `None` for everything else and for fragments.
fn find(head: &[u8], length: usize) -> Option<L4> {
    let [.., t0, t1] = *head.first_chunk::<14>()?;
    let l3 = head.get(14..)?;
    let (protocol, header_len, ip_len, addresses) = match EtherType(u16::from_be_bytes([t0, t1])) {
        EtherType::IPV4 => {
            let header = l3.first_chunk::<20>()?;
            if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
                return None;
            }
            let header_len = usize::from(header[0] & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            (IpProtocol(header[9]), header_len, total, l3.get(12..20)?)
        }
        EtherType::IPV6 => {
            let header = l3.first_chunk::<40>()?;
            let (protocol, l4) = ipv6::upper_layer(l3)?;
            let total = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
            (protocol, l3.len() - l4.len(), total, l3.get(8..40)?)
        }
        _ => return None,
    };
    let field = match protocol {
        IpProtocol::TCP => 16,
        IpProtocol::UDP => 6,
        _ => return None,
    };
    let l4_len = ip_len.checked_sub(header_len)?;
    if 14 + ip_len > length || l4_len < field + 2 {
        return None;
    }
    let mut pseudo = Sum::new();
    pseudo.add(addresses);
    pseudo.add(&(l4_len as u32).to_be_bytes());
    pseudo.add(&[0, protocol.0]);
    Some(L4 {
        offset: 14 + header_len,
        length: l4_len,
        field,
        protocol,
        pseudo,
    })
}

/// Marks a frame whose checksum field holds the pseudo-header's sum and nothing else, from a device that
/// hands such frames over without saying so. A right checksum that looks the same by chance (1 in 65,536)
/// is told apart by the full sum.
pub fn suspect<F: Frame>(frame: &mut F) {
    let Some(l4) = find(frame.head(), frame.len()) else {
        return;
    };
    let at = l4.offset + l4.field;
    let Some(&field) = frame.head().get(at..).and_then(|f| f.first_chunk::<2>()) else {
        return;
    };
    if u16::from_be_bytes(field) == l4.pseudo.fold()
        && sum_of(frame, &l4, l4.pseudo).fold() != 0xffff
    {
        frame.set_l4_checksum(L4Checksum::Partial);
    }
}

/// Finishes the checksum of a frame that leaves for a port which cannot.
pub fn finish<F: Frame>(frame: &mut F) -> Result<(), Reason> {
    if frame.gso().is_some() {
        return Err(Reason::GsoUnsupported);
    }
    let l4 = find(frame.head(), frame.len()).ok_or(Reason::Malformed)?;
    let at = l4.offset + l4.field;
    // The field holds the pseudo-header's sum already (virtio 1.1 §5.1.6.2), as its sender knows it: behind an IPv6
    // routing header the destination is another than the one in the header.
    let mut sum = !sum_of(frame, &l4, Sum::new()).fold();
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

/// `sum` and the sum of L4 header and payload over all segments, without the frame's padding.
fn sum_of<F: Frame>(frame: &F, l4: &L4, mut sum: Sum) -> Sum {
    let mut skip = l4.offset;
    let mut left = l4.length;
    frame.for_each_segment(|segment| {
        let part = segment.get(skip.min(segment.len())..).unwrap_or_default();
        skip -= skip.min(segment.len());
        let part = part.get(..left.min(part.len())).unwrap_or_default();
        left -= part.len();
        sum.add(part);
    });
    sum
}
