//! Which traffic class a frame is of: arbitrary rules, an arbitrary frame, whole and in two pieces, against one rule after another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_switch::classes;
use weir_switch::testing::Herd;
use weir_switch::testing::classes::{rule, slow};
use weir_switch::testing::dice::{Dice, Tape};
use weir_tables::bandwidth::ClassId;
use weir_tables::filters::Filters;
use weir_tables::ids::VnicId;

/// What a chain's head is made to hold: see `parse`.
const HEADERS: usize = 138;

fuzz_target!(|bytes: &[u8]| {
    // The first half says the rules, the second is the frame.
    let (rules, frame) = bytes.split_at(bytes.len() / 2);
    let mut tape = Tape::new(rules);
    let count = tape.below(8);
    let rules: Vec<_> = (0..count).map(|_| rule(&mut tape)).collect();
    let from = VnicId(tape.below(4) as u32);
    let stripped = (tape.below(4) == 1).then(|| tape.below(0x10000) as u16);
    let cut = tape.below(frame.len() + 1);
    let filters = Filters::of(&rules, ClassId::NONE);
    let herd = Herd::default();
    let asked = filters.of_vnic(from);
    let mut whole = herd.frame(frame);
    whole.vlan = stripped;
    let wanted = slow(&rules, from, stripped, frame);
    assert_eq!(classes::of(&filters, asked, &mut whole), wanted);
    let (first, rest) = frame.split_at(cut);
    let mut chain = herd.chain(&[first, rest]);
    chain.vlan = stripped;
    let found = classes::of(&filters, asked, &mut chain);
    // Behind a head that is long enough nothing is pulled up.
    let seen = frame.get(..cut.max(HEADERS)).unwrap_or(frame);
    assert_eq!(found, slow(&rules, from, stripped, seen));
});
