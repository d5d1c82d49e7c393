//! The atomics that the published tables are built on: the machine's, or under `--cfg loom` the
//! model checker's, which runs the same code through every order of loads and stores that the
//! memory model allows (see `tests/loom_*.rs`).
//!
//! `Arc` is always std's: no proof here leans on its ordering, and `self: &Arc<Self>` needs it.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
