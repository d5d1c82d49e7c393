//! The poll loop: queues in, stages, queues out. The one place where DPDK and the switch meet.
//!
//! *Which question:* whose turn is it, and who owns what.
//! *Which place:* one [`Worker`] a core, a plain value driven by `&mut`; everything it is told arrives in a
//! ring of [`Command`]s, everything it gives back leaves in a ring of [`Reply`]s.
//! *Trade-offs:* nothing is shared but tables and cells; ports, queues and views are moved in and out, so
//! that what a worker holds nobody else touches, and what it lets go is freed by control.
//!
//! | file | subject |
//! |---|---|
//! | [`worker`] | one turn of the loop; what control says, carried out |
//! | [`out`] | transmit queues, copies |
//! | `lanes` | rings to the other workers |
//! | [`moves`] | vNICs that move from one worker to another: how, and what moves |
//! | `moving` | what a worker does of it |
//! | `takeover` | what comes by them |
//! | `steer` | who polls a device of many vNICs hands frames to their owners |
//! | `slot` | what waits before a transmit queue, and who accounts for it |
//! | `unfinished` | what a device is asked to do for a packet |
//! | [`packet`] | an mbuf as the switch's `Frame` |
//! | [`device`] | a queue of an ethdev or of vhost-user |
//! | [`rig`] | a source for measurements |
//! | [`command`] | what control says and hears |
//! | `laps` | what each stage costs |
//! | [`tap`] | who looks at packets, and what they see |
//! | `idle`, [`sleeper`] | what it does when nothing comes, and who wakes it |
//! | [`run`](mod@run) | the thread: pinning, idling, the end |
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod command;
pub mod device;
mod idle;
mod lanes;
mod laps;
pub mod moves;
mod moving;
pub mod out;
pub mod packet;
pub mod rig;
pub mod run;
pub mod sleeper;
mod slot;
mod steer;
mod takeover;
pub mod tap;
mod unfinished;
pub mod worker;

pub use command::{Command, Reply};
pub use packet::Packet;
pub use worker::Worker;
