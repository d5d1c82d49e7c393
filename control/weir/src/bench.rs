//! `weir bench`: the measuring rig.

use crate::cli::BenchArgs;
use crate::failure::Failure;

/// Runs the scenarios named.
pub fn run(_args: BenchArgs) -> Result<(), Failure> {
    Err(Failure::one(
        "bench",
        "not in this build",
        "build Weir from a newer checkout",
    ))
}
