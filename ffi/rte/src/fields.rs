//! Where DPDK keeps what in `rte_mbuf`: the unions, whose generated names change with the version, are opened here only.

use dpdk_sys::rte_mbuf;

/// Header lengths of an offload request: the fields of `rte_mbuf.tx_offload` (`rte_mbuf_core.h`), in bits from the lowest.
#[derive(Clone, Copy, Default)]
pub(crate) struct TxLengths {
    pub l2: u64,
    pub l3: u64,
    pub l4: u64,
    pub segment: u64,
    pub outer_l3: u64,
    pub outer_l2: u64,
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

impl TxLengths {
    /// One word; what does not fit its field is cut off.
    #[inline(always)]
    pub(crate) fn word(self) -> u64 {
        (self.l2 & mask(dpdk_sys::RTE_MBUF_L2_LEN_BITS)) << dpdk_sys::RTE_MBUF_L2_LEN_OFS
            | (self.l3 & mask(dpdk_sys::RTE_MBUF_L3_LEN_BITS)) << dpdk_sys::RTE_MBUF_L3_LEN_OFS
            | (self.l4 & mask(dpdk_sys::RTE_MBUF_L4_LEN_BITS)) << dpdk_sys::RTE_MBUF_L4_LEN_OFS
            | (self.segment & mask(dpdk_sys::RTE_MBUF_TSO_SEGSZ_BITS))
                << dpdk_sys::RTE_MBUF_TSO_SEGSZ_OFS
            | (self.outer_l3 & mask(dpdk_sys::RTE_MBUF_OUTL3_LEN_BITS))
                << dpdk_sys::RTE_MBUF_OUTL3_LEN_OFS
            | (self.outer_l2 & mask(dpdk_sys::RTE_MBUF_OUTL2_LEN_BITS))
                << dpdk_sys::RTE_MBUF_OUTL2_LEN_OFS
    }
}

/// The fields of [`TxLengths`].
#[inline]
pub(crate) fn tx_lengths(raw: &rte_mbuf) -> TxLengths {
    // SAFETY: every bit pattern of the union is a u64.
    let word = unsafe { raw.__bindgen_anon_3.tx_offload };
    let field = |offset: u32, bits: u32| word >> offset & mask(bits);
    TxLengths {
        l2: field(
            dpdk_sys::RTE_MBUF_L2_LEN_OFS,
            dpdk_sys::RTE_MBUF_L2_LEN_BITS,
        ),
        l3: field(
            dpdk_sys::RTE_MBUF_L3_LEN_OFS,
            dpdk_sys::RTE_MBUF_L3_LEN_BITS,
        ),
        l4: field(
            dpdk_sys::RTE_MBUF_L4_LEN_OFS,
            dpdk_sys::RTE_MBUF_L4_LEN_BITS,
        ),
        segment: field(
            dpdk_sys::RTE_MBUF_TSO_SEGSZ_OFS,
            dpdk_sys::RTE_MBUF_TSO_SEGSZ_BITS,
        ),
        outer_l3: field(
            dpdk_sys::RTE_MBUF_OUTL3_LEN_OFS,
            dpdk_sys::RTE_MBUF_OUTL3_LEN_BITS,
        ),
        outer_l2: field(
            dpdk_sys::RTE_MBUF_OUTL2_LEN_OFS,
            dpdk_sys::RTE_MBUF_OUTL2_LEN_BITS,
        ),
    }
}

/// `tso_segsz`: payload bytes in each segment, on transmit and on receive.
#[inline(always)]
pub(crate) fn segment_size(raw: &rte_mbuf) -> u16 {
    // SAFETY: every bit pattern of the union is a u64.
    let word = unsafe { raw.__bindgen_anon_3.tx_offload };
    (word >> dpdk_sys::RTE_MBUF_TSO_SEGSZ_OFS & mask(dpdk_sys::RTE_MBUF_TSO_SEGSZ_BITS)) as u16
}

#[inline(always)]
pub(crate) fn set_tx_offload(raw: &mut rte_mbuf, word: u64) {
    raw.__bindgen_anon_3.tx_offload = word;
}

#[inline(always)]
pub(crate) fn packet_type(raw: &rte_mbuf) -> u32 {
    // SAFETY: every bit pattern of the union is a u32.
    unsafe { raw.__bindgen_anon_1.packet_type }
}

#[inline(always)]
pub(crate) fn set_packet_type(raw: &mut rte_mbuf, packet_type: u32) {
    raw.__bindgen_anon_1.packet_type = packet_type;
}

#[inline(always)]
pub(crate) fn rss(raw: &rte_mbuf) -> u32 {
    // SAFETY: every bit pattern of the union is a u32.
    unsafe { raw.__bindgen_anon_2.hash.rss }
}

#[inline(always)]
pub(crate) fn set_rss(raw: &mut rte_mbuf, hash: u32) {
    raw.__bindgen_anon_2.hash.rss = hash;
}

/// All that is not about where the data lies.
#[inline]
pub(crate) fn copy_metadata(from: &rte_mbuf, to: &mut rte_mbuf) {
    let attached = dpdk_sys::RTE_MBUF_F_INDIRECT | dpdk_sys::RTE_MBUF_F_EXTERNAL;
    to.ol_flags = from.ol_flags & !attached;
    to.port = from.port;
    to.vlan_tci = from.vlan_tci;
    to.vlan_tci_outer = from.vlan_tci_outer;
    to.__bindgen_anon_1 = from.__bindgen_anon_1;
    to.__bindgen_anon_2 = from.__bindgen_anon_2;
    to.__bindgen_anon_3 = from.__bindgen_anon_3;
    to.timesync = from.timesync;
    to.dynfield1 = from.dynfield1;
}
