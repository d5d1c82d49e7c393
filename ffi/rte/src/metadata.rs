//! What is known of a packet besides its bytes: what a driver said on receive, and what it is asked to do on transmit.

use dpdk_sys as sys;

use crate::fields::{self, TxLengths};
use crate::mbuf::Mbuf;

/// What is known of the L4 checksum (`RTE_MBUF_F_RX_L4_CKSUM_MASK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L4Checksum {
    /// Nothing.
    Unknown,
    /// It was checked and is right.
    Good,
    /// It was checked and is wrong.
    Bad,
    /// The data is right but the field is not finished: it holds the pseudo-header's sum, as virtio leaves it (virtio 1.1
    /// §5.1.6.2). Whoever sends the packet out of this host has to finish it.
    Partial,
}

/// A packet that stands for many: it was merged on receive, or is to be cut on transmit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// Bytes of L4 payload in each segment but the last.
    pub segment_size: u16,
    /// What it is cut into.
    pub kind: GsoKind,
}

/// What a [`Gso`] packet is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP segments over IPv4.
    Tcp4,
    /// TCP segments over IPv6.
    Tcp6,
    /// UDP over IPv4. From a guest this is UFO: one datagram, to be cut into fragments.
    Udp4,
    /// UDP over IPv6, as `Udp4`.
    Udp6,
}

/// Which IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IpVersion {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

/// Which checksum, and which kind of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L4Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What encapsulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// GRE, and so NVGRE.
    Gre,
    /// VXLAN.
    Vxlan,
    /// GENEVE.
    Geneve,
    /// IP in IP.
    Ip,
}

/// The outer headers of a [`TxRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OuterRequest {
    /// Bytes of the outer Ethernet header with its tags: at most 127.
    pub l2_len: u8,
    /// Bytes of the outer IP header: at most 511.
    pub l3_len: u16,
    /// The outer IP.
    pub ip_version: IpVersion,
    /// Compute the outer IPv4 header's checksum.
    pub ipv4_checksum: bool,
    /// What lies between the outer IP and the inner Ethernet header.
    pub tunnel: Tunnel,
}

/// What the hardware shall do to a packet on its way out. The port must have been started with the offloads, and the field of an L4
/// checksum must hold the pseudo-header's sum; [`TxQueue::prepare`](crate::TxQueue::prepare) adapts it to the driver's wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TxRequest {
    /// Bytes before the IP header: at most 127. With `outer`: from the end of the outer IP header to the start of the inner one, so
    /// 8 (GRE with a key) + 14 for NVGRE.
    pub l2_len: u8,
    /// Bytes of the IP header: at most 511.
    pub l3_len: u16,
    /// Bytes of the L4 header; needed for `tso` only.
    pub l4_len: u8,
    /// The (inner) IP.
    pub ip_version: IpVersion,
    /// Compute the IPv4 header's checksum.
    pub ipv4_checksum: bool,
    /// Compute this L4 checksum.
    pub l4_checksum: Option<L4Kind>,
    /// Cut into segments with this many bytes of payload: TCP, unless `l4_checksum` is UDP. Implies the L4 checksum. Each segment
    /// has an IPv4 header of its own, so ask for `ipv4_checksum` too where the device computes it (`IPV4_CHECKSUM`); virtio passes
    /// the packet on with the header as it is, but DPDK clears the field's value if it is asked.
    pub tso: Option<u16>,
    /// Insert a VLAN tag with this TCI.
    pub vlan: Option<u16>,
    /// Headers around those above.
    pub outer: Option<OuterRequest>,
}

const L4_CHECKSUM: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_MASK;
const CHECKSUM_BAD: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_BAD;
const CHECKSUM_GOOD: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD;
const CHECKSUM_NONE: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_NONE;
const LRO: u64 = sys::RTE_MBUF_F_RX_LRO;
const VLAN: u64 = sys::RTE_MBUF_F_RX_VLAN | sys::RTE_MBUF_F_RX_VLAN_STRIPPED;
const VLAN_STRIPPED: u64 = sys::RTE_MBUF_F_RX_VLAN_STRIPPED;
const RSS_HASH: u64 = sys::RTE_MBUF_F_RX_RSS_HASH;
const TRANSMIT: u64 = sys::RTE_MBUF_F_TX_OFFLOAD_MASK;

impl Mbuf {
    /// What is known of the L4 checksum.
    #[inline(always)]
    #[must_use]
    pub fn l4_checksum(&self) -> L4Checksum {
        match self.raw().ol_flags & L4_CHECKSUM {
            CHECKSUM_NONE => L4Checksum::Partial,
            CHECKSUM_GOOD => L4Checksum::Good,
            CHECKSUM_BAD => L4Checksum::Bad,
            _ => L4Checksum::Unknown,
        }
    }

    /// Whether its bytes are all that there is to it: they are in the first segment, no checksum is unfinished, nothing is to be cut
    /// and no tag was stripped. One test of the flags, so that it is false too where a checksum was found bad.
    #[inline(always)]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        const { assert!(CHECKSUM_NONE & CHECKSUM_BAD != 0 && CHECKSUM_GOOD & CHECKSUM_BAD == 0) }
        let raw = self.raw();
        raw.ol_flags & (CHECKSUM_BAD | LRO | VLAN_STRIPPED) == 0
            && u32::from(raw.data_len) == raw.pkt_len
    }

    /// Notes what is known of the L4 checksum.
    #[inline(always)]
    pub fn set_l4_checksum(&mut self, state: L4Checksum) {
        let bits = match state {
            L4Checksum::Unknown => 0,
            L4Checksum::Good => CHECKSUM_GOOD,
            L4Checksum::Bad => CHECKSUM_BAD,
            L4Checksum::Partial => CHECKSUM_NONE,
        };
        self.set_flags(L4_CHECKSUM, bits);
    }

    /// How the packet is to be cut, if it stands for many: virtio's GSO, or a NIC's LRO. None too if the kind is neither noted nor
    /// to be seen in the headers.
    #[inline(always)]
    #[must_use]
    pub fn gso(&self) -> Option<Gso> {
        if self.raw().ol_flags & LRO == 0 {
            return None;
        }
        self.noted_gso()
    }

    #[cold]
    fn noted_gso(&self) -> Option<Gso> {
        let noted = fields::packet_type(self.raw());
        let kind = kind_of(noted).or_else(|| {
            let layers = sys::RTE_PTYPE_L2_MASK | sys::RTE_PTYPE_L3_MASK | sys::RTE_PTYPE_L4_MASK;
            // SAFETY: reads the packet's bytes within its length; a null pointer says that lengths are not wanted.
            kind_of(unsafe { sys::rte_net_get_ptype(self.as_ptr(), std::ptr::null_mut(), layers) })
        })?;
        Some(Gso {
            segment_size: fields::segment_size(self.raw()),
            kind,
        })
    }

    /// Notes how the packet is to be cut. Undoes [`Mbuf::request_tx`]'s lengths, so it comes before that.
    #[inline]
    pub fn set_gso(&mut self, gso: Option<Gso>) {
        let Some(gso) = gso else {
            return self.set_flags(LRO, 0);
        };
        let (l3, l4) = match gso.kind {
            GsoKind::Tcp4 => (sys::RTE_PTYPE_L3_IPV4, sys::RTE_PTYPE_L4_TCP),
            GsoKind::Tcp6 => (sys::RTE_PTYPE_L3_IPV6, sys::RTE_PTYPE_L4_TCP),
            GsoKind::Udp4 => (sys::RTE_PTYPE_L3_IPV4, sys::RTE_PTYPE_L4_UDP),
            GsoKind::Udp6 => (sys::RTE_PTYPE_L3_IPV6, sys::RTE_PTYPE_L4_UDP),
        };
        self.set_flags(LRO, LRO);
        let raw = self.raw_mut();
        fields::set_packet_type(raw, sys::RTE_PTYPE_L2_ETHER | l3 | l4);
        let lengths = TxLengths {
            segment: gso.segment_size.into(),
            ..TxLengths::default()
        };
        fields::set_tx_offload(raw, lengths.word());
    }

    /// The TCI of the VLAN tag that the hardware took out of the packet, or that [`Mbuf::set_vlan`] noted.
    #[inline(always)]
    #[must_use]
    pub fn vlan(&self) -> Option<u16> {
        let raw = self.raw();
        (raw.ol_flags & VLAN_STRIPPED != 0).then_some(raw.vlan_tci)
    }

    /// Notes the TCI of a tag that is not among the packet's bytes. To have it sent, ask in [`TxRequest::vlan`].
    #[inline(always)]
    pub fn set_vlan(&mut self, tci: Option<u16>) {
        self.set_flags(VLAN, if tci.is_some() { VLAN } else { 0 });
        self.raw_mut().vlan_tci = tci.unwrap_or(0);
    }

    /// The RSS hash that the hardware computed.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self) -> Option<u32> {
        let raw = self.raw();
        (raw.ol_flags & RSS_HASH != 0).then(|| fields::rss(raw))
    }

    /// Notes a hash, as if the hardware had computed it.
    #[inline(always)]
    pub fn set_hash(&mut self, hash: Option<u32>) {
        self.set_flags(RSS_HASH, if hash.is_some() { RSS_HASH } else { 0 });
        if let Some(hash) = hash {
            fields::set_rss(self.raw_mut(), hash);
        }
    }

    /// DPDK's number of the port that it came from; 65,535 if from none, as from [`Pool::alloc`](crate::Pool::alloc).
    #[inline(always)]
    #[must_use]
    pub fn port(&self) -> u16 {
        self.raw().port
    }

    /// Notes another port.
    #[inline(always)]
    pub fn set_port(&mut self, port: u16) {
        self.raw_mut().port = port;
    }

    /// Asks the hardware for work; replaces what was asked before. [`Mbuf::gso`] keeps its segment size unless `tso` names another.
    #[inline]
    pub fn request_tx(&mut self, request: TxRequest) {
        let mut flags = 0;
        match (request.tso, request.l4_checksum) {
            (Some(_), Some(L4Kind::Udp)) => {
                flags |= sys::RTE_MBUF_F_TX_UDP_SEG | sys::RTE_MBUF_F_TX_UDP_CKSUM;
            }
            (Some(_), _) => {
                flags |= sys::RTE_MBUF_F_TX_TCP_SEG | sys::RTE_MBUF_F_TX_TCP_CKSUM;
            }
            (None, Some(L4Kind::Tcp)) => flags |= sys::RTE_MBUF_F_TX_TCP_CKSUM,
            (None, Some(L4Kind::Udp)) => flags |= sys::RTE_MBUF_F_TX_UDP_CKSUM,
            (None, None) => {}
        }
        if flags != 0 || request.ipv4_checksum {
            flags |= match request.ip_version {
                IpVersion::V4 => sys::RTE_MBUF_F_TX_IPV4,
                IpVersion::V6 => sys::RTE_MBUF_F_TX_IPV6,
            };
        }
        if request.ipv4_checksum && request.ip_version == IpVersion::V4 {
            flags |= sys::RTE_MBUF_F_TX_IP_CKSUM;
        }
        if request.vlan.is_some() {
            flags |= sys::RTE_MBUF_F_TX_VLAN;
        }
        let mut lengths = TxLengths {
            l2: request.l2_len.into(),
            l3: request.l3_len.into(),
            l4: request.l4_len.into(),
            segment: self.segment_size_to_keep(request.tso),
            ..TxLengths::default()
        };
        if let Some(outer) = request.outer {
            lengths.outer_l2 = outer.l2_len.into();
            lengths.outer_l3 = outer.l3_len.into();
            flags |= match outer.ip_version {
                IpVersion::V4 => sys::RTE_MBUF_F_TX_OUTER_IPV4,
                IpVersion::V6 => sys::RTE_MBUF_F_TX_OUTER_IPV6,
            };
            flags |= match outer.tunnel {
                Tunnel::Gre => sys::RTE_MBUF_F_TX_TUNNEL_GRE,
                Tunnel::Vxlan => sys::RTE_MBUF_F_TX_TUNNEL_VXLAN,
                Tunnel::Geneve => sys::RTE_MBUF_F_TX_TUNNEL_GENEVE,
                Tunnel::Ip => sys::RTE_MBUF_F_TX_TUNNEL_IPIP,
            };
            if outer.ipv4_checksum && outer.ip_version == IpVersion::V4 {
                flags |= sys::RTE_MBUF_F_TX_OUTER_IP_CKSUM;
            }
        }
        self.set_flags(TRANSMIT, flags);
        let raw = self.raw_mut();
        fields::set_tx_offload(raw, lengths.word());
        if let Some(tci) = request.vlan {
            raw.vlan_tci = tci;
        }
    }

    /// What the hardware was asked for: the inverse of [`Mbuf::request_tx`], but that lengths of what is not asked for are 0.
    #[must_use]
    pub fn requested_tx(&self) -> TxRequest {
        let flags = self.raw().ol_flags;
        let has = |bits: u64| flags & bits == bits;
        let lengths = fields::tx_lengths(self.raw());
        let version = |v6: u64| {
            if has(v6) {
                IpVersion::V6
            } else {
                IpVersion::V4
            }
        };
        let udp_segments = has(sys::RTE_MBUF_F_TX_UDP_SEG);
        let l4_checksum = match flags & sys::RTE_MBUF_F_TX_L4_MASK {
            sys::RTE_MBUF_F_TX_TCP_CKSUM => Some(L4Kind::Tcp),
            sys::RTE_MBUF_F_TX_UDP_CKSUM => Some(L4Kind::Udp),
            _ => None,
        };
        let tunnel = match flags & sys::RTE_MBUF_F_TX_TUNNEL_MASK {
            sys::RTE_MBUF_F_TX_TUNNEL_GRE => Some(Tunnel::Gre),
            sys::RTE_MBUF_F_TX_TUNNEL_VXLAN => Some(Tunnel::Vxlan),
            sys::RTE_MBUF_F_TX_TUNNEL_GENEVE => Some(Tunnel::Geneve),
            sys::RTE_MBUF_F_TX_TUNNEL_IPIP => Some(Tunnel::Ip),
            _ => None,
        };
        TxRequest {
            l2_len: lengths.l2 as u8,
            l3_len: lengths.l3 as u16,
            l4_len: lengths.l4 as u8,
            ip_version: version(sys::RTE_MBUF_F_TX_IPV6),
            ipv4_checksum: has(sys::RTE_MBUF_F_TX_IP_CKSUM),
            l4_checksum,
            tso: (udp_segments || has(sys::RTE_MBUF_F_TX_TCP_SEG))
                .then_some(lengths.segment as u16),
            vlan: has(sys::RTE_MBUF_F_TX_VLAN).then_some(self.raw().vlan_tci),
            outer: tunnel.map(|tunnel| OuterRequest {
                l2_len: lengths.outer_l2 as u8,
                l3_len: lengths.outer_l3 as u16,
                ip_version: version(sys::RTE_MBUF_F_TX_OUTER_IPV6),
                ipv4_checksum: has(sys::RTE_MBUF_F_TX_OUTER_IP_CKSUM),
                tunnel,
            }),
        }
    }

    /// Asks the hardware for nothing.
    #[inline(always)]
    pub fn clear_tx(&mut self) {
        let lengths = TxLengths {
            segment: self.segment_size_to_keep(None),
            ..TxLengths::default()
        };
        self.set_flags(TRANSMIT, 0);
        fields::set_tx_offload(self.raw_mut(), lengths.word());
    }

    /// Receive and transmit keep the segment size in the same field.
    #[inline(always)]
    fn segment_size_to_keep(&self, asked: Option<u16>) -> u64 {
        match asked {
            Some(size) => size.into(),
            None if self.raw().ol_flags & LRO != 0 => fields::segment_size(self.raw()).into(),
            None => 0,
        }
    }

    #[inline(always)]
    fn set_flags(&mut self, mask: u64, bits: u64) {
        let raw = self.raw_mut();
        raw.ol_flags = raw.ol_flags & !mask | bits;
    }
}

/// `RTE_ETH_IS_IPV4_HDR` and its neighbours: each of IPv4's types has IPv4's bit, each of IPv6's has IPv6's (`rte_mbuf_ptype.h`).
fn kind_of(packet_type: u32) -> Option<GsoKind> {
    let v4 = packet_type & sys::RTE_PTYPE_L3_IPV4 != 0;
    let v6 = packet_type & sys::RTE_PTYPE_L3_IPV6 != 0;
    match (packet_type & sys::RTE_PTYPE_L4_MASK, v4, v6) {
        (sys::RTE_PTYPE_L4_TCP, true, _) => Some(GsoKind::Tcp4),
        (sys::RTE_PTYPE_L4_TCP, _, true) => Some(GsoKind::Tcp6),
        (sys::RTE_PTYPE_L4_UDP, true, _) => Some(GsoKind::Udp4),
        (sys::RTE_PTYPE_L4_UDP, _, true) => Some(GsoKind::Udp6),
        _ => None,
    }
}
