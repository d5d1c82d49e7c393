//! What is written in files about this machine, and what reading any of Weir's files needs.
//!
//! [`host`] is host.toml. The rest serves it and [`crate::policy`] alike: [`reader`] walks a TOML [`document`],
//! [`refusals`] collects every refusal with its line, [`spans`] turns byte offsets into lines, [`pieces`] cuts a long text, [`fields`] reads the values that
//! occur in more than one place, [`device`] is what a port can be made of, [`present`]
//! whether this machine has it, [`units`] are bit rates, [`vf_token`] is the secret of a PF.

pub mod device;
pub mod document;
pub mod fields;
pub mod host;
mod host_iov;
mod host_pins;
mod host_ports;
mod host_read;
mod misspelt;
pub mod pieces;
pub mod present;
pub mod reader;
pub mod refusals;
mod rig_device;
pub mod spans;
pub mod units;
pub mod vf_token;
