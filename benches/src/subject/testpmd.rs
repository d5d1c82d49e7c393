//! dpdk-testpmd between the same two devices: what the source, the sink and the loop cost where nothing is switched. It is the
//! script in benches/peers, which this program carries along: the first example of a peer that a person adds.

use super::Subject;
use super::adapter::{Adapter, Program};

/// The script.
const SCRIPT: &str = include_str!("../../peers/testpmd");

/// What it does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Io,
    /// Writes both MAC addresses: the floor for a switch, which must touch each packet.
    Mac,
}

/// dpdk-testpmd in both modes, one after the other in the same process.
pub fn both() -> Box<dyn Subject> {
    Box::new(Adapter::new("testpmd", Program::Text(SCRIPT)))
}

/// dpdk-testpmd in one mode.
pub fn one(mode: Mode) -> Box<dyn Subject> {
    let setting = match mode {
        Mode::Io => "io",
        Mode::Mac => "mac",
    };
    Box::new(Adapter::new("testpmd", Program::Text(SCRIPT)).only(setting))
}
