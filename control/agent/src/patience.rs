//! How long a worker may leave a port alone when nothing comes, so that nothing is lost when everything comes again: until at most
//! half of what waits before it is full. The other half is for a kernel that wakes the worker late.

use std::time::Duration;

/// Where there is nothing to lose: who sends keeps what is not taken.
const KEPT: Duration = Duration::from_millis(1);
/// Packets a second that a kernel brings to one packet socket or tap, at most; a core of a large machine brings a million.
const KERNEL: u64 = 2_000_000;
/// Packets a second that a peer on another core writes into a memif, at most: the rig's were seen to write 17.8 million.
const MEMIF: u64 = 20_000_000;
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
/// Packets that a NIC's ring holds at least, and what part of the pool those of all of its queues may take at most.
const PLACES: u16 = 1024;
const PART_OF_POOL: u32 = 4;
/// How long a ring is to last, in microseconds: somewhat longer than a kernel takes to wake a worker.
const RING_LASTS: u64 = 20;

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

/// How many packets each receive ring of a NIC of that speed is to hold, so that a worker that sleeps is there before it is full: a power of
/// two of at most `most`, the device's own limit, and of `queues` rings no more than the pool can do without.
pub fn places(mbit: Option<u32>, most: u16, queues: u16, mbufs: u32) -> u16 {
    let rate = mbit.map_or(MBIT, u64::from) * 1_000_000 / SHORTEST_FRAME;
    let wanted = (rate * RING_LASTS / 1_000_000).next_power_of_two();
    let allowed = u64::from(mbufs / PART_OF_POOL / u32::from(queues.max(1)));
    let mut places = PLACES;
    while u64::from(places) < wanted && u64::from(places) * 2 <= allowed && places <= most / 2 {
        places *= 2;
    }
    places
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
    fn a_faster_ports_ring_holds_more_as_far_as_the_device_and_the_pool_have_it() {
        let many = 1 << 20;
        for (mbit, places_of_it) in [
            (None, 1024),
            (Some(1_000), 1024),
            (Some(25_000), 1024),
            (Some(40_000), 2048),
            (Some(100_000), 4096),
            (Some(200_000), 8192),
        ] {
            assert_eq!(places(mbit, u16::MAX, 1, many), places_of_it, "{mbit:?}");
        }
        let fast = Some(100_000);
        assert_eq!(places(fast, 4096, 1, many), 4096);
        assert_eq!(places(fast, 4095, 1, many), 2048);
        // What the device cannot is brought within its limits when it starts.
        assert_eq!(places(fast, 512, 1, many), 1024);
        // Of the default pool a quarter.
        assert_eq!(places(fast, 4096, 1, 16_383), 2048);
        assert_eq!(places(fast, 4096, 4, 16_383), 1024);
        assert_eq!(places(fast, 4096, 4, 65_536), 4096);
        assert_eq!(places(fast, 4096, 0, 255), 1024);
    }

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
            ("net_memif", "net_memif0,role=server", None, 25),
            ("net_memif", "net_memif0,rsize=12", None, 102),
            ("net_memif", "net_memif0,rsize=15", None, 819),
            ("net_tap", "net_tap0,iface=a", Some(10_000), 125),
            ("net_ring", "net_ring0", None, 1000),
        ] {
            let patience = of_port(driver, devargs, 1024, mbit);
            assert_eq!(patience.patience().as_micros(), us, "{devargs}");
        }
    }
}
