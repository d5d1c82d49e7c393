//! Where the TCP or UDP header of a frame is, and what its checksum covers besides it.

use crate::frame::Frame;
use weir_wire::checksum::Sum;
use weir_wire::{EtherType, IpProtocol, ipv6};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// TCP or UDP behind Ethernet and IP.
#[derive(Clone, Copy, Debug)]
pub struct L4 {
    /// Whether it is over IPv6.
    pub is_v6: bool,
    /// From the frame's start, in bytes.
    pub offset: usize,
    /// L4 header and payload, in bytes.
    pub length: usize,
    /// Where in the L4 header the checksum is, in bytes.
    pub field: usize,
    /// TCP or UDP.
    pub protocol: IpProtocol,
    /// Sum of the pseudo-header.
    pub pseudo: Sum,
}

impl L4 {
    /// TCP or UDP of a frame of `length` bytes whose first are `head`, without a tag; `None` for everything else and for
    /// fragments.
    pub fn find(head: &[u8], length: usize) -> Option<L4> {
        let [.., t0, t1] = *head.first_chunk::<ETHERNET>()?;
        let l3 = head.get(ETHERNET..)?;
        let ethertype = EtherType(u16::from_be_bytes([t0, t1]));
        let (protocol, header_len, ip_len, addresses) = match ethertype {
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
        if ETHERNET + ip_len > length || l4_len < field + 2 {
            return None;
        }
        let mut pseudo = Sum::new();
        pseudo.add(addresses);
        pseudo.add(&(l4_len as u32).to_be_bytes());
        pseudo.add(&[0, protocol.0]);
        Some(L4 {
            is_v6: ethertype == EtherType::IPV6,
            offset: ETHERNET + header_len,
            length: l4_len,
            field,
            protocol,
            pseudo,
        })
    }

    /// Bytes before the payload, the Ethernet header included; `None` if the head does not hold them.
    pub fn headers(&self, head: &[u8]) -> Option<usize> {
        let header = match self.protocol {
            IpProtocol::TCP => usize::from(head.get(self.offset + 12)? >> 4) * 4,
            _ => 8,
        };
        let least = self.field + 2;
        let end = self.offset + header;
        (least <= header && header <= self.length && end <= head.len()).then_some(end)
    }

    /// `sum` and the sum of L4 header and payload over all segments, without the frame's padding.
    pub fn sum<F: Frame>(&self, frame: &F, mut sum: Sum) -> Sum {
        let mut skip = self.offset;
        let mut left = self.length;
        frame.for_each_segment(|segment| {
            let part = segment.get(skip.min(segment.len())..).unwrap_or_default();
            skip -= skip.min(segment.len());
            let part = part.get(..left.min(part.len())).unwrap_or_default();
            left -= part.len();
            sum.add(part);
        });
        sum
    }
}
