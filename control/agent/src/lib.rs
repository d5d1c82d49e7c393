//! Desired state to tables, ports and neighbours.

pub mod handle;
pub mod stats;
