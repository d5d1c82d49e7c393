//! What tests of the scheduler have in common: one clock, one uplink, full frames, and what a vNIC may be promised.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use weir_switch::shape::{Exit, Size};
use weir_tables::bandwidth::{ClassId, Pace, Promise};
use weir_tables::ids::{UplinkId, VnicId};

pub const HZ: u64 = 2_600_000_000;
pub const MS: u64 = HZ / 1000;
pub const UP: UplinkId = UplinkId(0);
pub const EXIT: Exit = Exit::Uplink(UP);
pub const NONE: ClassId = ClassId::NONE;
pub const A: VnicId = VnicId(1);
pub const B: VnicId = VnicId(2);
pub const GBIT: u64 = 1_000_000_000;

pub const FULL: Size = Size {
    bytes: 1514,
    wire: 1538,
};

pub fn max(bits: u64) -> Promise {
    Promise {
        max: Pace::of(bits, HZ),
        ..Promise::default()
    }
}

pub fn share(share: u32) -> Promise {
    Promise {
        share,
        ..Promise::default()
    }
}
