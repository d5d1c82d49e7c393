//! The rig's own generator and receiver: numbered frames at a given rate, out of one port and in by another.
//!
//! ```text
//! Schedule (which frame is due when) → Stamp (number, due time, trial, check) → port → the switch → port → Ledger (what came, what did not, how late)
//! ```
//!
//! One thread alternates between sending and receiving, on a core of its own beside the measured one, and never waits for
//! the switch: a frame that is due and that a shared ring does not take is gone, as on a wire, and counts as lost. What is
//! due is sent in bursts of at most 32, with a look at the receiving side between any two. A thread that was held up sends
//! what it owes as fast as that; a trial in which it did not keep [its rate](Account::pace) says nothing of the switch, nor
//! does one that lost something while it was [held up](Account::was_held_up). A frame's latency is counted from when it was due, not from when it left: what the rig is
//! late by is in it (no coordinated omission).
//!
//! | file | subject |
//! |---|---|
//! | [`stamp`] | what marks a frame |
//! | [`schedule`] | which frame is due when |
//! | [`ledger`] | what came back |
//! | [`trial`] | one trial |
//! | [`gate`] | the rig's ports |

pub mod gate;
pub mod ledger;
pub mod schedule;
pub mod stamp;
pub mod trial;

pub use gate::{Gate, Tester};
pub use trial::{Account, Order, Pace};

#[cfg(test)]
mod tests;
