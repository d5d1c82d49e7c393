//! Goals of bandwidth: what each vNIC sends beside its neighbours, as the rig's sink has it.

use crate::halt::Halt;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Percent by which a rate is off the maximum that was set, in windows of a second.
    Max1s,
    /// The same in windows of a tenth of that.
    Max100ms,
    /// Percent of its minimum that a vNIC did not get.
    Min,
    /// Percent of its time that the uplink is busy while anyone may send.
    Busy,
    /// Time until a vNIC that starts has its minimum and what is idle is lent out, of the time allowed.
    Converge,
    /// Percent by which shares are off the exact fluid model's.
    Share,
    /// What bandwidth costs a packet while there is room, of what testpmd costs.
    Cost,
    /// The same while every vNIC has packets waiting.
    CostBacklogged,
}

/// Rounds of it.
pub fn measure(_what: What) -> Result<Vec<f64>, Halt> {
    Err(Halt::failed("bandwidth", "it is not measured yet", ""))
}
