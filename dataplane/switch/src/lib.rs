//! What happens to a packet, stage by stage, on any [`Frame`].
//!
//! *Which question:* given what control published ([`View`](weir_tables::view::View)), where does this batch go?
//! *Which place:* between a worker's receive and transmit queues. No DPDK, no threads, no clock: what can
//! be wrong here is tested, fuzzed and measured without any of them.
//! *Trade-offs:* a batch is up to 32 packets; every stage takes the whole batch. What is rare (ARP,
//! broadcast) leaves it for the [`slow`] lane, which may cost ten times as much and is still bounded.
//!
//! The way of a packet, a file a stage:
//!
//! ```text
//! from a VM:      from_vnic   → ordinary → (lookup) → encap → dispatch; what is not ordinary: odd → parse → guard → (lookup) → …
//!                               to its gateway:  (lookup) → route → encap → dispatch
//! from the wire:  from_uplink → ordinary_outer → (lookup) → dispatch; what is not ordinary: outer → decap → parse → (lookup) → dispatch
//! bridged:         bridge (what travels on the uplink's own network as it is)
//! rewritten:      rewrite, in the place of encap on the one way and of decap and lookup on the other
//! before them:    steer (whose a frame is that came by a device of many vNICs)
//! across:         ecn (congestion marks and service classes, outer and inner)
//! to many:         provider_group (NVGRE by multicast of the provider network)
//! what is rare:   slow (ARP, broadcast), nd (neighbour discovery), miss (a record that must be asked for), icmp_error (what
//!                 cannot go on), too_big, path_mtu, provider_icmp6 (ND of the provider network), finish and segment (what
//!                 a VM left to its device), mss
//! ```
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod bridge;
pub mod classes;
pub mod dispatch;
pub mod door;
pub mod ecn;
pub mod encap;
pub mod family;
pub mod finish;
pub mod frame;
pub mod from_uplink;
pub mod from_vnic;
pub mod gather;
pub mod guard;
pub mod held;
pub mod icmp_error;
pub mod l4;
pub mod lap;
pub mod leave;
pub mod ledger;
pub mod marks;
pub mod memory;
pub mod miss;
pub mod mss;
pub mod nd;
mod odd;
pub mod ordinary;
pub mod ordinary_outer;
pub mod outer;
pub mod outlet;
pub mod parse;
pub mod path_mtu;
pub mod provider_group;
pub mod provider_icmp6;
pub mod receive;
pub mod recorder;
pub mod rewrite;
pub mod route;
pub mod segment;
pub mod shape;
mod shares;
pub mod slow;
pub mod steer;
#[cfg(any(test, feature = "scenes"))]
pub mod testing;
pub mod too_big;
pub mod watch;

pub use frame::Frame;
pub use ledger::Ledger;
pub use outlet::Outlet;

/// Packets in a batch, at most.
pub const BATCH: usize = 32;

/// A batch of frames in the order in which they arrived.
pub type Batch<F> = arrayvec::ArrayVec<F, BATCH>;
