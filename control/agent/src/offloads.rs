//! What is asked of a device when it is opened: the work that it says it can do and that the switch gives it.

use crate::ports::Wish;
use rte::{PortInfo, RxOffloads, TxOffloads};
use weir_tables::offloads::Offloads;

/// What a device is started with, and what the switch may then leave to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// On receive.
    pub rx: RxOffloads,
    /// On transmit.
    pub tx: TxOffloads,
    /// What that means to the switch.
    pub offloads: Offloads,
}

const CHECKSUMS: TxOffloads = TxOffloads::TCP_CHECKSUM.union(TxOffloads::UDP_CHECKSUM);
const SEGMENTS: TxOffloads = TxOffloads::TCP_TSO.union(TxOffloads::MULTI_SEGMENT);
/// Each segment of a tunnel has two IPv4 headers.
const TUNNEL_SEGMENTS: TxOffloads = TxOffloads::GRE_TSO
    .union(TxOffloads::MULTI_SEGMENT)
    .union(TxOffloads::IPV4_CHECKSUM)
    .union(TxOffloads::OUTER_IPV4_CHECKSUM);

/// Of what the device of `driver` says of itself, what is asked of it: behind a vNIC's port or a trunk (`vms`), or an uplink.
pub fn ask(driver: &str, info: &PortInfo, vms: bool) -> Asked {
    let can = |what: TxOffloads| info.tx_offloads.contains(what);
    let virtio = driver.starts_with("net_virtio");
    let checksum = can(CHECKSUMS);
    // net_tap cuts in software, by rte_gso, which in 22.11 knows IPv4 alone. Who does not pass frames on as they are, as virtio
    // does, has to give each segment its IPv4 header.
    let segments = checksum
        && can(SEGMENTS)
        && driver != "net_tap"
        && (virtio || can(TxOffloads::IPV4_CHECKSUM));
    let tunnel_segments = !vms && checksum && can(TUNNEL_SEGMENTS);
    let all = [
        (checksum, CHECKSUMS, Offloads::CHECKSUM),
        (segments, SEGMENTS, Offloads::SEGMENTS),
        (
            !vms && checksum,
            TxOffloads::NONE,
            Offloads::TUNNEL_CHECKSUM,
        ),
        (tunnel_segments, TUNNEL_SEGMENTS, Offloads::TUNNEL_SEGMENTS),
        (
            checksum && can(TxOffloads::IPV4_CHECKSUM),
            TxOffloads::IPV4_CHECKSUM,
            Offloads::IPV4_CHECKSUM,
        ),
    ];
    let mut asked = Asked::default();
    for (_, tx, offloads) in all.into_iter().filter(|(so, ..)| *so) {
        asked.tx |= tx;
        asked.offloads = asked.offloads.union(offloads);
    }
    // virtio's words for frames that come unfinished. From a NIC nobody wants to hear whether a checksum is right: no guest is told.
    if virtio && vms {
        let receive = RxOffloads::TCP_CHECKSUM | RxOffloads::UDP_CHECKSUM | RxOffloads::TCP_LRO;
        asked.rx = info.rx_offloads & receive;
    }
    asked
}

/// Whether a tag that the device took off, unasked, is its PF's doing: on a VF that is an uplink without a VLAN of its own. Frames of a
/// VLAN that is on the wire a VF receives only where it has asked its PF for that, which nobody here does.
pub fn tags_are_its_pfs(driver: &str, wish: Wish) -> bool {
    // DPDK's names: net_e1000_igb_vf, net_ixgbe_vf, net_iavf, net_cxgbevf.
    driver.ends_with("vf") && !wish.promiscuous && !wish.tagged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_pfs_on_an_untagged_uplink_that_is_a_vf() {
        let uplink = Wish::default();
        let tagged = Wish {
            tagged: true,
            ..uplink
        };
        let trunk = Wish {
            promiscuous: true,
            ..uplink
        };
        for vf in ["net_e1000_igb_vf", "net_ixgbe_vf", "net_iavf"] {
            assert!(tags_are_its_pfs(vf, uplink), "{vf}");
            assert!(!tags_are_its_pfs(vf, tagged) && !tags_are_its_pfs(vf, trunk));
        }
        for other in ["net_e1000_igb", "net_ixgbe", "net_af_packet", "mlx5_pci"] {
            assert!(!tags_are_its_pfs(other, uplink), "{other}");
        }
    }

    fn info(tx: TxOffloads) -> PortInfo {
        PortInfo {
            tx_offloads: tx,
            ..PortInfo::default()
        }
    }

    fn names(driver: &str, tx: TxOffloads, vms: bool) -> Vec<&'static str> {
        ask(driver, &info(tx), vms).offloads.names().collect()
    }

    #[test]
    fn nothing_is_assumed() {
        for vms in [false, true] {
            assert_eq!(
                ask("net_ice", &info(TxOffloads::NONE), vms),
                Asked::default()
            );
            let half = TxOffloads::TCP_CHECKSUM | SEGMENTS | TUNNEL_SEGMENTS;
            assert_eq!(ask("net_ice", &info(half), vms), Asked::default());
        }
    }

    #[test]
    fn a_nic_is_asked_for_what_it_has() {
        let nic = CHECKSUMS | SEGMENTS | TUNNEL_SEGMENTS;
        assert_eq!(
            names("net_ice", nic, false),
            [
                "checksum",
                "segments",
                "tunnel_checksum",
                "tunnel_segments",
                "ipv4_checksum"
            ]
        );
        assert_eq!(ask("net_ice", &info(nic), false).tx, nic);
        assert_eq!(
            names("net_ice", nic, true),
            ["checksum", "segments", "ipv4_checksum"]
        );
        // Without the outer checksum, or chains, nothing is cut in a tunnel.
        for lacking in [TxOffloads::OUTER_IPV4_CHECKSUM, TxOffloads::GRE_TSO] {
            let less = names("net_ice", nic.without(lacking), false);
            assert!(!less.contains(&"tunnel_segments") && less.contains(&"tunnel_checksum"));
        }
        let single = names("net_ice", nic.without(TxOffloads::MULTI_SEGMENT), false);
        assert_eq!(single, ["checksum", "tunnel_checksum", "ipv4_checksum"]);
    }

    #[test]
    fn drivers_that_are_not_as_they_say() {
        let tap = CHECKSUMS | SEGMENTS | TxOffloads::IPV4_CHECKSUM;
        assert_eq!(names("net_tap", tap, true), ["checksum", "ipv4_checksum"]);
        // virtio passes on.
        let virtio = CHECKSUMS | SEGMENTS;
        assert_eq!(
            names("net_virtio_user", virtio, true),
            ["checksum", "segments"]
        );
        assert_eq!(names("net_ice", virtio, true), ["checksum"]);
    }
}
