//! The measuring rig behind `weir bench`: how fast is it, beside what, and how sure is that.
//!
//! ```text
//! scenario (what is sent, to whom) → rounds (who is measured when) → subject (Weir or a peer: start, ready, read, stop)
//!                                                                  → window (two readings, and what the core lost to others)
//!                                    report (medians, paired ratios, the machine)
//! ```
//!
//! Every subject gets the same frames from the same pcap source, the same mappings, the same null sink and the same
//! core, alone: a subject is started, measured and stopped before the next one starts, and a round holds one window
//! of each, so that what the machine does to one it does to its neighbours in the table. A window in which somebody
//! else had the core for longer than a bound declared beforehand is thrown away, counted and repeated.
//!
//! | file | subject |
//! |---|---|
//! | [`scenario`] | the scenarios there are |
//! | [`workload`] | what is sent, and to whom |
//! | [`pcap`] | the file that the source reads |
//! | [`subject`] | what a subject is; one file each below it |
//! | [`window`] | one measurement |
//! | [`rounds`] | A B A B, and what is thrown away |
//! | `beside` | the same for subjects that take minutes to start |
//! | [`stages`] | what each stage of the path costs, in a run of its own |
//! | [`spread`] | medians and paired ratios |
//! | [`report`] | what comes out; field names are stable |
//! | [`compare`] | before and after, and what is noise |
//! | [`html`], [`chart`] | the report as one page |
//! | [`goals`] | what the path is to show, and whether it does |
//! | [`search`] | throughput search, pure |
//! | [`traffic`] | the rig's own generator and receiver |
//! | [`throughput`] | searches and latencies of a switch between the rig's ports |
//! | [`bandwidth`] | who got how much of an uplink, and how far that is from what was promised |
//! | [`machine`] | what it was measured on |
//! | `eal` | DPDK in this process |
//! | `netns` | machines of the rig's own, in network namespaces |
//! | [`process`], [`halt`] | other programs, signals: what was started is stopped |
//!
//! A peer is a program of its own ([`subject::adapter`], docs/peers.md); benches/peers has those that come along.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod bandwidth;
mod beside;
pub mod chart;
pub mod compare;
mod eal;
pub mod goals;
pub mod halt;
pub mod html;
pub mod machine;
mod netns;
pub mod pcap;
pub mod process;
pub mod report;
pub mod rounds;
pub mod scenario;
pub mod search;
pub mod spread;
pub mod stages;
pub mod subject;
pub mod throughput;
pub mod traffic;
pub mod window;
pub mod workload;

pub use halt::{Fault, Halt, Stop};
pub use report::Report;
pub use rounds::{Plan, Watcher, run};
pub use scenario::Scenario;
pub use subject::{Ask, PEERS};
pub use workload::Workload;
