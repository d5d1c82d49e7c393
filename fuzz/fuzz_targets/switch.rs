//! The whole switch: an arbitrary policy, then batches of arbitrary frames from vNICs, trunks and the wire. Every
//! packet ends in one place, and every frame that comes out is at its own tenant, whatever is in it.
//! Nothing here is unsafe: `cargo +nightly fuzz run -s none switch -- -max_len=4096` is the faster way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_switch::testing::chaos::Chaos;
use weir_switch::testing::dice::{Dice, Tape};

/// Batches to an input, so that one stays short.
const BATCHES: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let mut tape = Tape::new(bytes);
    let mut chaos = Chaos::new(&mut tape);
    for _ in 0..BATCHES {
        if tape.is_spent() {
            break;
        }
        chaos.batch(&mut tape);
        chaos.check();
    }
});
