//! The stages of the packet's path alone, without DPDK: how long they take, and how many instructions.
//!
//! *Which question:* what does one stage cost, and has it become dearer? *Which trade-off:* frames lie in plain memory and
//! the way out only counts, so that a figure is of the switch and not of a device; what an mbuf costs is not in it.
//!
//! ```text
//! scene (a host, its mappings, frames) → stage (one function over a batch) → measure (a round of batches)
//!                                          counts (callgrind's sums: kept, compared)
//! load (the bandwidth scheduler, with nothing in its way or all waiting)
//! ```
//!
//! `cargo bench -p weir-stages` prints times, which on a shared machine mean little beyond an order; `scripts/counts` prints
//! instructions a packet, which are the same on every machine with the same compiler, and `scripts/test counts` holds them against
//! docs/results/counts.json.
#![forbid(unsafe_code)]

pub mod counts;
pub mod load;
pub mod measure;
pub mod plain;
pub mod scene;
pub mod stage;

pub use load::{LOADS, Load};
pub use measure::{PACKETS, Round};
pub use scene::Scene;
pub use stage::{STAGES, Stage};
