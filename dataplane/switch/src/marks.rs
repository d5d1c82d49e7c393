//! What a frame bears as it leaves: congestion experienced if it waited for too long, and the DSCP and priority of its traffic class.
//!
//! All of it goes into the outermost headers as they leave. Of an encapsulated frame that is the outer one: RFC 6040 §4.2 brings the
//! congestion mark in at the far end, and what the tenant wrote as its DSCP stays its own (RFC 2983 §3, pipe model). Of a bridged or a
//! rewritten frame it is the tenant's own header, which is the only one there is.

use crate::ecn::{self, CE, MASK};
use weir_wire::ipv4;

/// Bytes of an Ethernet header, and of a tag.
const ETHERNET: usize = 14;
const TAG: usize = 4;

/// The outermost IP header of a frame.
enum Ip<'f> {
    V4(&'f mut [u8; ipv4::HEADER]),
    /// Its first two bytes, between which the traffic class is.
    V6(&'f mut [u8; 2]),
}

impl<'f> Ip<'f> {
    /// Behind two tags at most.
    fn find(mut head: &'f mut [u8]) -> Option<Ip<'f>> {
        for _ in 0..3 {
            let [.., t0, t1] = *head.first_chunk::<ETHERNET>()?;
            match [t0, t1] {
                [0x81, 0x00] | [0x88, 0xa8] => head = head.get_mut(TAG..)?,
                [0x08, 0x00] => {
                    return head.get_mut(ETHERNET..)?.first_chunk_mut().map(Ip::V4);
                }
                [0x86, 0xdd] => {
                    return head.get_mut(ETHERNET..)?.first_chunk_mut().map(Ip::V6);
                }
                _ => return None,
            }
        }
        None
    }

    /// Its type of service or traffic class.
    fn tos(&self) -> u8 {
        match self {
            Ip::V4([_, tos, ..]) => *tos,
            Ip::V6([high, low]) => high << 4 | low >> 4,
        }
    }

    /// Puts one, and the checksum with it where there is one (RFC 1624).
    fn put(self, tos: u8) {
        match self {
            Ip::V4(header) => ipv4::set_tos(header, tos),
            Ip::V6([high, low]) => {
                *high = *high & 0xf0 | tos >> 4;
                *low = *low & 0x0f | tos << 4;
            }
        }
    }
}

/// Whether its sender says that it understands the mark of congestion, and it bears none yet: nothing else can be marked.
pub fn may_be_marked(head: &mut [u8]) -> bool {
    Ip::find(head).is_some_and(|ip| !matches!(ip.tos() & MASK, 0 | CE))
}

/// Marks congestion experienced (RFC 3168 §5) in a frame whose sender says that it understands that; whether it did. What is not
/// ECN-capable is as it was, and what bears the mark already.
pub fn congestion(head: &mut [u8]) -> bool {
    match Ip::find(head) {
        Some(ip) if !matches!(ip.tos() & MASK, 0 | CE) => {
            let tos = ip.tos() | CE;
            ip.put(tos);
            true
        }
        _ => false,
    }
}

/// Puts a DSCP (RFC 2474), 0 to 63, in the place of another; what is no IP has none.
pub fn dscp(head: &mut [u8], dscp: u8) {
    if let Some(ip) = Ip::find(head) {
        let tos = dscp << 2 | ip.tos() & ecn::MASK;
        ip.put(tos);
    }
}

/// Puts a priority (IEEE 802.1Q PCP), 0 to 7, into the tag if there is one.
pub fn priority(head: &mut [u8], pcp: u8) {
    if let Some([.., 0x81, 0x00, tci, _]) = head.first_chunk_mut::<16>() {
        *tci = *tci & 0x1f | pcp << 5;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::frames;
    use std::net::Ipv4Addr;
    use weir_wire::{Mac, checksum};

    fn v4(tags: usize, tos: u8) -> Vec<u8> {
        let from = (Ipv4Addr::new(10, 0, 0, 1), 1);
        let mut packet = frames::udp(from, (Ipv4Addr::new(10, 0, 0, 2), 2), b"data");
        ipv4::set_tos(packet.first_chunk_mut().unwrap(), tos);
        tagged(tags, 0x0800, &packet)
    }

    fn v6(tags: usize, tos: u8) -> Vec<u8> {
        let mut packet = vec![0; 44];
        (packet[0], packet[1]) = (0x60 | tos >> 4, tos << 4 | 0x0b);
        tagged(tags, 0x86dd, &packet)
    }

    fn tagged(tags: usize, ethertype: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = frames::ether(Mac::ZERO, Mac::ZERO, ethertype, packet);
        for _ in 0..tags {
            frame.splice(12..12, [0x81, 0x00, 0x20, 0x64]);
        }
        frame
    }

    fn tos_of(frame: &[u8], tags: usize) -> u8 {
        let ip = &frame[14 + 4 * tags..];
        match ip[0] >> 4 {
            4 => {
                assert_eq!(checksum::sum(&ip[..20]), 0xffff, "its checksum is right");
                ip[1]
            }
            _ => {
                assert_eq!(ip[1] & 0x0f, 0x0b, "the flow label stays");
                ip[0] << 4 | ip[1] >> 4
            }
        }
    }

    #[test]
    fn who_understands_it_is_told_of_congestion_and_nobody_else() {
        for tags in 0..=2 {
            for tos in 0..=255_u8 {
                for frame in [v4(tags, tos), v6(tags, tos)] {
                    let mut marked = frame.clone();
                    let is_capable = matches!(tos & 3, 1 | 2);
                    assert_eq!(may_be_marked(&mut marked), is_capable, "{tos:#x}");
                    assert_eq!(marked, frame);
                    assert_eq!(congestion(&mut marked), is_capable, "{tos:#x}");
                    match is_capable {
                        true => assert_eq!(tos_of(&marked, tags), tos | 3),
                        false => assert_eq!(marked, frame),
                    }
                }
            }
        }
        let mut arp = frames::ether(Mac::ZERO, Mac::ZERO, 0x0806, &[0xff; 28]);
        assert!(!may_be_marked(&mut arp) && !may_be_marked(&mut arp[..13]));
        assert!(!congestion(&mut arp) && !congestion(&mut arp[..13]));
        assert!(!congestion(&mut tagged(3, 0x0800, &[0xff; 40])));
    }

    #[test]
    fn a_class_has_its_dscp_and_its_priority_and_nothing_else_changes() {
        for tags in 0..=2 {
            for tos in 0..=255_u8 {
                for mut frame in [v4(tags, tos), v6(tags, tos)] {
                    dscp(&mut frame, 46);
                    assert_eq!(tos_of(&frame, tags), 46 << 2 | tos & 3);
                    let before = frame.clone();
                    priority(&mut frame, 5);
                    assert_eq!(frame != before, tags > 0);
                    if tags > 0 {
                        assert_eq!(frame[14..16], [0xa0, 0x64]);
                    }
                }
            }
        }
    }
}
