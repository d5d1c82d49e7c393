//! The safe face of DPDK: what Weir needs of it, in types that say who owns what.
//!
//! **Which question.** How does a packet come in, who owns it, and how does it leave? A [`Mbuf`] has one owner and no `Clone`;
//! giving it to hardware consumes it, and what the hardware does not take stays owned in the [`Burst`]. A queue ([`RxQueue`],
//! [`TxQueue`]) has one owner too: it moves to another thread, but is never shared. A [`Port`] is closed only by handing its
//! queues back, which proves that nobody polls them: DPDK crashes otherwise.
//!
//! **Which place in the path.** The two ends. Nothing here looks at what a packet says. The names follow DPDK's, one subject a
//! file: [`Eal`] starts it; [`Pool`], [`Mbuf`] and [`Burst`] hold packets; [`Port`] and its queues, [`VhostPort`] and its two
//! ends, and the [`Ring`] between threads move them; [`Lcore`] and [`clock`] serve the threads that do.
//!
//! **Which trade-offs.**
//! - Pools live as long as the process: [`Pool`] is a `Copy` handle and an mbuf can never outlive its memory. Weir has one pool a
//!   NUMA node and no reason to free it.
//! - What is per packet is `#[inline(always)]` field access; what is per burst is one call into C, which costs what C costs.
//! - Values whose Drop could not be safe leak instead: a [`Port`] or queue that is dropped stays attached and is lost.
//! - DPDK's log is caught: errors carry what DPDK said while the call ran. Nothing is ever written to stdout.
//!
//! Which DPDK: 22.11 (Debian 12). What differs between versions is in `fields.rs` (the mbuf's unions) and `port.rs`.
//!
//! ```no_run
//! use rte::{Burst, Eal, EalConfig, Pool, Port, PortConfig};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let eal = Eal::init(EalConfig::default())?;
//! let pool = Pool::create(&eal, "main", 8191, 256, 2176, 0, None)?;
//! let mut port = Port::attach(&eal, "net_ring0")?;
//! let (mut rx, mut tx) = port.start(&PortConfig::default(), pool)?;
//! let mut burst = Burst::new();
//! while rx[0].rx(&mut burst) > 0 {
//!     tx[0].tx(&mut burst);
//!     burst.clear(); // what the hardware did not take is dropped in the open
//! }
//! port.close(rx, tx)?;
//! # Ok(()) }
//! ```
//!
//! A queue is of one thread at a time. It can move:
//! ```
//! fn moves<T: Send>() {}
//! moves::<rte::Mbuf>();
//! moves::<rte::Burst>();
//! moves::<rte::RxQueue>();
//! moves::<rte::TxQueue>();
//! moves::<rte::RingProducer>();
//! moves::<rte::RingConsumer>();
//! moves::<rte::VhostRx>();
//! moves::<rte::VhostTx>();
//! moves::<rte::Port>();
//! fn shared<T: Send + Sync + Copy>() {}
//! shared::<rte::Pool>();
//! ```
//! It cannot be shared, and neither can what else is the property of one:
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<rte::RxQueue>();
//! ```
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<rte::TxQueue>();
//! ```
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<rte::Mbuf>();
//! ```
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<rte::RingProducer>();
//! ```
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<rte::RingConsumer>();
//! ```
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<rte::VhostRx>();
//! ```
//! ```compile_fail,E0277
//! fn shared<T: Sync>() {}
//! shared::<rte::VhostTx>();
//! ```
//! Nor copied:
//! ```compile_fail,E0277
//! fn copied<T: Clone>() {}
//! copied::<rte::Mbuf>();
//! ```
//! ```compile_fail,E0277
//! fn copied<T: Clone>() {}
//! copied::<rte::RxQueue>();
//! ```
//! An lcore id belongs to the thread that registered:
//! ```compile_fail,E0277
//! fn moves<T: Send>() {}
//! moves::<rte::Lcore>();
//! ```
//! A port cannot be closed while a queue of it is held elsewhere:
//! ```compile_fail,E0382
//! fn close(port: rte::Port, rx: Vec<rte::RxQueue>, tx: Vec<rte::TxQueue>) {
//!     let poller = std::thread::spawn(move || drop(rx));
//!     let _ = port.close(rx, tx);
//!     let _ = poller.join();
//! }
//! ```

#![allow(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks, missing_docs)]

pub mod allocator;
mod another_pid;
mod bell;
mod burst;
mod calls;
mod chain;
mod class_tree;
pub mod clock;
mod dcb;
mod device;
mod eal;
mod error;
mod fields;
mod filter;
mod flow;
mod hash;
mod hugepages;
mod interrupt;
mod lcore;
mod log;
mod mbuf;
mod metadata;
mod offload;
mod packet_ring;
mod pool;
mod pools;
mod port;
mod port_types;
mod power;
mod queue;
mod ring;
mod supply;
mod vhost;
mod vhost_guest;

pub use bell::{Bell, Woken, seen_by_all};
pub use burst::{Burst, Drain};
pub use calls::Called;
pub use chain::Segments;
pub use class_tree::{QueueClass, TreeError};
pub use dcb::{Chooser, ClassHardware, Manager, Pfc, TrafficManager};
pub use device::MAX_PORTS;
pub use eal::{Eal, EalConfig, EalError, LogLevel, Memory};
pub use error::Cause;
pub use filter::{Filter, FilterError};
pub use flow::{Flow, FlowMatch};
pub use hash::{Hash, HashError};
pub use hugepages::ask_for_hugepages;
pub use lcore::{Lcore, LcoreError, available_cores, lcore_id, pin_current, wake_in_time};
pub use mbuf::{
    Mbuf, prefetch_head, prefetch_headroom_for_write, prefetch_mbuf, prefetch_mbuf_for_write,
    prefetch_packet_for_write, prefetch_received,
};
pub use metadata::{Gso, GsoKind, IpVersion, L4Checksum, L4Kind, OuterRequest, Tunnel, TxRequest};
pub use offload::{RssTypes, RxOffloads, TxOffloads};
pub use pool::{HEADROOM, Pool, PoolError};
pub use port::Port;
pub use port_types::{Link, PortConfig, PortError, PortInfo, PortStats};
pub use power::Pauses;
pub use queue::{RxQueue, TxQueue};
pub use ring::{Ring, RingConsumer, RingError, RingProducer};
pub use supply::Supply;
pub use vhost::{VhostError, VhostFeatures, VhostMode, VhostPort, VhostRx, VhostStats, VhostTx};
