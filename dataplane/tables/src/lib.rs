//! What control writes and workers read, and how it is published.
//!
//! *Which question:* where does a packet go, who may send it, and who counts it.
//! *Which place:* control (one thread) writes; every worker reads, wait-free.
//! *Trade-offs:* what is large changes in place, one entry at a time ([`exact`]); what is small is one
//! immutable [`view::View`], replaced whole. What either of them lets go is reused only after every
//! worker has passed a quiescent point ([`epoch`]): isolation between tenants rests on it.
//!
//! A file a subject:
//!
//! | file | subject |
//! |---|---|
//! | [`filters`] | which traffic class a frame is of |
//! | [`ids`] | the indexes by which tables name things |
//! | [`exact`] | exact match, one cache line a bucket, changed under readers |
//! | [`endpoints`] | (segment, MAC) to where it lives; (domain, address) to segment, MAC and place; provider address to peer |
//! | [`addresses`] | IPv6 addresses by a short number |
//! | [`domain`] | a VM network's prefixes and routes |
//! | [`view`] | the snapshot of everything small: ports, vNICs, segments, uplinks, peers |
//! | [`bandwidth`] | how long a byte takes; what was promised to a vNIC, a traffic class and an uplink |
//! | [`steering`] | which worker owns which vNIC |
//! | [`peer`] | another host's provider address and its ready-made outer header |
//! | [`asleep`] | how a reader that sleeps and who writes for it find each other |
//! | [`epoch`] | quiescent-state reclamation |
//! | [`offloads`] | what a port's device does to frames |
//! | [`reason`] | why a packet was dropped |
//! | [`counters`] | single-writer cells |
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod addresses;
pub mod asleep;
pub mod bandwidth;
pub mod bridged;
pub mod by_class;
pub mod counters;
pub mod domain;
pub mod endpoints;
pub mod epoch;
pub mod exact;
pub mod filters;
pub mod ids;
pub mod offloads;
pub mod peer;
pub mod prefetch;
pub mod reason;
pub mod steering;
mod sync;
pub mod view;
