//! How long a worker may leave a port alone when nothing comes, so that nothing is lost when everything comes again: until at most
//! half of what waits before it is full. The other half is for a kernel that wakes the worker late.

use std::time::Duration;

/// Where there is nothing to lose: who sends keeps what is not taken.
const KEPT: Duration = Duration::from_millis(1);
/// Packets a second that a kernel brings to one packet socket or tap, at most; a core of a large machine brings a million.
const KERNEL: u64 = 2_000_000;
/// Packets a second that a peer on another core writes into a memif, at most: the rig's do 9 million where a worker takes 13.
const MEMIF: u64 = 10_000_000;
/// Packets that a memif's ring holds, unless its arguments say otherwise (2 to the power of `rsize`, 10).
const MEMIF_RING: u64 = 1024;
/// Packets that a packet socket's ring holds, unless `framecnt` says otherwise.
const SOCKET_RING: u64 = 512;
/// Packets that a tap holds for its reader (TUN_READQ_SIZE).
const TAP_QUEUE: u64 = 500;
/// Bits on the wire of the shortest frame, with preamble and gap.
const SHORTEST_FRAME: u64 = 84 * 8;
/// The link speed of a NIC that does not tell.
const MBIT: u64 = 10_000;

/// What a device holds, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(Duration);

impl Pace {
    /// How long its ring lasts at its fastest.
    pub fn lasts(self) -> Duration {
        self.0
    }

    /// How long it may be left alone.
    pub fn patience(self) -> Duration {
        (self.0 / 2).min(KEPT)
    }
}

/// Of a DPDK port, by its driver and arguments; `descriptors` and `mbit` are its receive ring and link speed (`None`: not known).
pub fn of_port(driver: &str, devargs: &str, descriptors: u16, mbit: Option<u32>) -> Pace {
    let argument = |name: &str| -> Option<u64> {
        let mut all = devargs.split(',');
        all.find_map(|arg| arg.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let (holds, rate) = match driver {
        "net_af_packet" => (argument("framecnt").unwrap_or(SOCKET_RING), KERNEL),
        "net_tap" => (TAP_QUEUE, KERNEL),
        "net_memif" => {
            let ring = argument("rsize").and_then(|bits| 1_u64.checked_shl(bits as u32));
            (ring.unwrap_or(MEMIF_RING), MEMIF)
        }
        "net_ring" | "net_null" | "net_pcap" => return of_guest(),
        _ => {
            let mbit = mbit.filter(|&mbit| mbit > 0).map_or(MBIT, u64::from);
            (u64::from(descriptors), mbit * 1_000_000 / SHORTEST_FRAME)
        }
    };
    Pace(Duration::from_nanos(holds * 1_000_000_000 / rate.max(1)))
}

/// Behind a vhost-user socket: the guest's driver waits until there is room.
pub fn of_guest() -> Pace {
    Pace(2 * KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_ring_at_the_devices_speed() {
        for (driver, devargs, mbit, us) in [
            ("net_ixgbe", "0000:03:00.0", Some(10_000), 34),
            ("net_ixgbe", "0000:03:00.0", None, 34),
            ("net_e1000_igb", "0000:03:00.0", Some(1_000), 344),
            ("mlx5_pci", "0000:03:00.0", Some(100_000), 3),
            ("net_af_packet", "net_af_packet0,iface=a", Some(10_000), 128),
            (
                "net_af_packet",
                "net_af_packet0,iface=a,framecnt=2048",
                None,
                512,
            ),
            ("net_memif", "net_memif0,role=server", None, 51),
            ("net_memif", "net_memif0,rsize=12", None, 204),
            ("net_memif", "net_memif0,rsize=15", None, 1000),
            ("net_tap", "net_tap0,iface=a", Some(10_000), 125),
            ("net_ring", "net_ring0", None, 1000),
        ] {
            let patience = of_port(driver, devargs, 1024, mbit);
            assert_eq!(patience.patience().as_micros(), us, "{devargs}");
        }
    }
}
