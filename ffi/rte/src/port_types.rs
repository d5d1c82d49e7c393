//! What is said of a port: what it can do, how it starts, what it counted, why it failed.

use thiserror::Error;

use crate::class_tree::TreeError;
use crate::device::MAX_PORTS;
use crate::error::Cause;
use crate::offload::{RssTypes, RxOffloads, TxOffloads};

/// Why something about a port failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortError {
    /// There is no such driver, interface or PCI device.
    #[error("there is no device {device:?}: {reason}")]
    NoSuchDevice {
        /// What was asked for.
        device: String,
        /// What is missing.
        reason: String,
    },
    /// Somebody has the device already.
    #[error("device {0:?} is attached already")]
    AlreadyAttached(String),
    /// All of [`MAX_PORTS`] are taken.
    #[error(
        "device {device:?} would be one port more than the {MAX_PORTS} that this DPDK has room for"
    )]
    TooManyPorts {
        /// What was asked for.
        device: String,
    },
    /// A device is a name of up to 63 bytes without NUL, and arguments behind a comma.
    #[error("{0:?} is not a device")]
    Syntax(String),
    /// [`Port::start`](crate::Port::start) on a started port.
    #[error("port {0} is started already")]
    AlreadyStarted(String),
    /// More queues than the device has, or none.
    #[error(
        "port {port}: {rx} receive and {tx} transmit queues; the device has 1 to {max_rx} and 1 to {max_tx}"
    )]
    Queues {
        /// The port's name.
        port: String,
        /// Asked for.
        rx: u16,
        /// Asked for.
        tx: u16,
        /// The device's limit.
        max_rx: u16,
        /// The device's limit.
        max_tx: u16,
    },
    /// Offloads that the device does not have.
    #[error("port {port} cannot do: receive {rx}, transmit {tx}")]
    Offloads {
        /// The port's name.
        port: String,
        /// Those missing on receive.
        rx: RxOffloads,
        /// Those missing on transmit.
        tx: TxOffloads,
    },
    /// The queues given back are not all of this port's; somebody may be polling the others, so the port was left as it was.
    #[error("port {0}: not all of its queues were given back, so it stays open")]
    QueuesHeld(String),
    /// More VMDq pools than the device has.
    #[error("port {port}: {wanted} VMDq pools; the device has {has}")]
    Pools {
        /// The port's name.
        port: String,
        /// Asked for: one a receive queue.
        wanted: u16,
        /// The device's.
        has: u16,
    },
    /// A rule given back to a port that did not make it.
    #[error("port {0}: the rule is another port's")]
    OthersFlow(String),
    /// There is no such tree to ask the device's traffic manager for ([`Port::choose_among`](crate::Port::choose_among)).
    #[error("port {port}: {error}")]
    Tree {
        /// The port's name.
        port: String,
        /// What is wrong.
        error: TreeError,
    },
    /// The driver of the device's traffic manager refused.
    #[error("port {port}: {cause}; its traffic manager says: {said}")]
    TrafficManager {
        /// The port's name.
        port: String,
        /// Which call, with what number, and what DPDK logged.
        cause: Cause,
        /// What the driver said, and of what, such as `Weight is out of range (the weight of node 1002, level 1)`.
        said: String,
    },
    /// DPDK, or the driver, refused.
    #[error("port {port}: {cause}")]
    Dpdk {
        /// The port's name, or what was to become it.
        port: String,
        /// What DPDK said.
        cause: Cause,
    },
}

/// What a device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortInfo {
    /// Receive queues at most.
    pub max_rx_queues: u16,
    /// Transmit queues at most.
    pub max_tx_queues: u16,
    /// What it can do on receive.
    pub rx_offloads: RxOffloads,
    /// What it can do on transmit.
    pub tx_offloads: TxOffloads,
    /// Which headers it can hash.
    pub rss: RssTypes,
    /// Smallest MTU in bytes.
    pub min_mtu: u16,
    /// Largest MTU in bytes; 65,535 from drivers that do not say.
    pub max_mtu: u16,
    /// Largest frame in bytes that it receives, with its Ethernet header; 2^32 - 1 from drivers that do not say. Few drivers refuse a
    /// larger one on transmit: net_af_packet frees it and calls it sent.
    pub max_frame: u32,
    /// MAC addresses at most, its own included ([`Port::add_mac`](crate::Port::add_mac)).
    pub max_macs: u32,
    /// VMDq pools; 0 if it has none.
    pub pools: u16,
    /// Receive queues that are pools', evenly.
    pub pool_queues: u16,
    /// Its NUMA node, if it is near one.
    pub socket: Option<u32>,
    /// Packets that a receive queue of it can hold.
    pub max_rx_descriptors: u16,
    /// Mbit/s of the fastest link that it can have, if it says.
    pub fastest: Option<u32>,
}

/// How a port starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues: 1 or more.
    pub rx_queues: u16,
    /// Transmit queues: 1 or more.
    pub tx_queues: u16,
    /// Packets that each receive queue holds; brought within the device's limits.
    pub rx_descriptors: u16,
    /// Packets that each transmit queue holds; brought within the device's limits.
    pub tx_descriptors: u16,
    /// MTU in bytes; None leaves the device's.
    pub mtu: Option<u16>,
    /// What it shall do on receive, of [`PortInfo::rx_offloads`].
    pub rx_offloads: RxOffloads,
    /// What it shall do on transmit, of [`PortInfo::tx_offloads`].
    pub tx_offloads: TxOffloads,
    /// Receive what is addressed to others too. Drivers that cannot choose receive it anyway.
    pub promiscuous: bool,
    /// Receive what is addressed to any group. From drivers that cannot choose that, everything (`promiscuous`).
    pub all_multicast: bool,
    /// Headers that choose the receive queue; what the device cannot hash is left out.
    pub rss: RssTypes,
    /// Whether each receive queue is a VMDq pool, of those that [`PortInfo::pools`] says, instead: the first one the default.
    pub pools: bool,
    /// Whether each receive queue is to have an interrupt ([`RxQueue::arm`](crate::RxQueue::arm)). A device without fails to start, but
    /// net_memif and net_af_packet, which have them by other means than DPDK's: their queues say whether they do.
    pub interrupts: bool,
}

impl Default for PortConfig {
    /// One queue each way of 1,024 packets, no offloads.
    fn default() -> PortConfig {
        PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: None,
            rx_offloads: RxOffloads::NONE,
            tx_offloads: TxOffloads::NONE,
            promiscuous: false,
            all_multicast: false,
            rss: RssTypes::NONE,
            pools: false,
            interrupts: false,
        }
    }
}

/// A link's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// True if it carries packets.
    pub up: bool,
    /// Speed in Mbit/s; None if unknown. Virtual devices report what their authors thought of.
    pub mbit: Option<u32>,
}

/// A port's counters since it was attached, as the driver keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Packets received.
    pub ipackets: u64,
    /// Packets that the driver took to send.
    pub opackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Bytes sent.
    pub obytes: u64,
    /// Packets that the hardware dropped because the receive queue was full.
    pub imissed: u64,
    /// Packets received broken.
    pub ierrors: u64,
    /// Packets that were not sent.
    pub oerrors: u64,
    /// Packets that found no mbuf.
    pub rx_nombuf: u64,
}
