//! What a device is asked to do for a packet whose checksum or whose segments were left to it: where its headers are (DPDK
//! programmer's guide, "Mbuf Library", §"Meta Information").

use crate::packet::Packet;
use rte::{IpVersion, L4Kind, OuterRequest, Tunnel, TxRequest};
use weir_switch::frame::Frame;
use weir_switch::l4::L4;
use weir_tables::offloads::Offloads;
use weir_wire::{EtherType, IpProtocol};

/// Bytes of an Ethernet header, of an 802.1Q tag, and of GRE with a key (RFC 2890 §2).
const ETHERNET: usize = 14;
const TAG: usize = 4;
const GRE: usize = 8;

/// The request for a packet that `offloads` takes; `None` if it is neither TCP nor UDP, be it inside NVGRE.
pub fn request(packet: &Packet, offloads: Offloads) -> Option<TxRequest> {
    let (head, length) = (packet.head(), packet.len());
    if let Some(l4) = L4::find(head, length) {
        return plain(packet, head, &l4, offloads);
    }
    let outer = Outer::find(head)?;
    let inner = head.get(outer.end()..)?;
    let l4 = L4::find(inner, length.checked_sub(outer.end())?)?;
    let mut request = plain(packet, inner, &l4, offloads)?;
    if offloads.contains(Offloads::TUNNEL_SEGMENTS) {
        request.l2_len = (GRE + ETHERNET) as u8;
        request.outer = Some(OuterRequest {
            l2_len: outer.l2 as u8,
            l3_len: outer.l3 as u16,
            ip_version: version(outer.is_v6),
            // Of a packet that stays one the checksum is there already.
            ipv4_checksum: request.tso.is_some() && !outer.is_v6,
            tunnel: Tunnel::Gre,
        });
    } else {
        // To a device that knows no tunnels all before the inner IP header is one long L2 header.
        request.l2_len = u8::try_from(outer.end() + ETHERNET).ok()?;
    }
    Some(request)
}

/// The request for TCP or UDP behind one Ethernet header.
fn plain(packet: &Packet, head: &[u8], l4: &L4, offloads: Offloads) -> Option<TxRequest> {
    let tso = packet.gso().map(|gso| gso.segment_size);
    let headers = l4.headers(head)?;
    Some(TxRequest {
        l2_len: ETHERNET as u8,
        l3_len: (l4.offset - ETHERNET) as u16,
        l4_len: (headers - l4.offset) as u8,
        ip_version: version(l4.is_v6),
        ipv4_checksum: tso.is_some() && offloads.contains(Offloads::IPV4_CHECKSUM) && !l4.is_v6,
        l4_checksum: Some(match l4.protocol {
            IpProtocol::UDP => L4Kind::Udp,
            _ => L4Kind::Tcp,
        }),
        tso,
        ..TxRequest::default()
    })
}

fn version(is_v6: bool) -> IpVersion {
    if is_v6 { IpVersion::V6 } else { IpVersion::V4 }
}

/// The outer headers of NVGRE, in bytes.
struct Outer {
    l2: usize,
    l3: usize,
    is_v6: bool,
}

impl Outer {
    fn find(head: &[u8]) -> Option<Outer> {
        let ethertype = |at: usize| {
            let bytes = head.get(at..).and_then(|b| b.first_chunk::<2>());
            bytes.map(|b| EtherType(u16::from_be_bytes(*b)))
        };
        let mut l2 = ETHERNET;
        if ethertype(l2 - 2)? == EtherType::VLAN {
            l2 += TAG;
        }
        let (protocol, l3, is_v6) = match ethertype(l2 - 2)? {
            EtherType::IPV4 => {
                let words = usize::from(head.get(l2)? & 0x0f);
                (*head.get(l2 + 9)?, words * 4, false)
            }
            EtherType::IPV6 => (*head.get(l2 + 6)?, 40, true),
            _ => return None,
        };
        (protocol == IpProtocol::GRE.0).then_some(Outer { l2, l3, is_v6 })
    }

    /// Where the inner Ethernet header starts.
    fn end(&self) -> usize {
        self.l2 + self.l3 + GRE
    }
}
