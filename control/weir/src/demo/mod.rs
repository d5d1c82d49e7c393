//! `weir demo`: two hosts, two tenants, real traffic.

use crate::cli::DemoArgs;
use crate::failure::Failure;

/// Runs the demo.
pub fn run(_args: DemoArgs) -> Result<(), Failure> {
    Err(Failure::one(
        "demo",
        "not in this build",
        "build Weir from a newer checkout",
    ))
}
