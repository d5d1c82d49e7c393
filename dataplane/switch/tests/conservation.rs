//! Every packet ends in exactly one place (design.md, "A packet's way"): arbitrary policies, arbitrary frames.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_switch::testing::chaos::Chaos;
use weir_switch::testing::dice::{Dice, Tape, Xorshift};
use weir_tables::reason::Reason;

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_ends_in_exactly_one_place(tape in vec(any::<u8>(), 0..3000)) {
        let mut tape = Tape::new(&tape);
        let mut chaos = Chaos::new(&mut tape);
        while !tape.is_spent() {
            chaos.batch(&mut tape);
            chaos.check();
        }
    }
}

/// What the property means by arbitrary: it meets every reason that the switch itself has.
#[test]
fn arbitrary_frames_meet_every_end() {
    let mut dice = Xorshift::new(7);
    let mut met = std::collections::BTreeMap::new();
    let (mut sent, mut delivered, mut copies, mut consumed) = (0, 0, 0, 0);
    for _ in 0..500 {
        let mut chaos = Chaos::new(&mut dice);
        for _ in 0..100 {
            chaos.batch(&mut dice);
            chaos.check();
        }
        for (reason, packets) in chaos.world.drops() {
            *met.entry(reason).or_insert(0) += packets;
        }
        let cells = chaos.world.kept.ledger.cells();
        sent += cells.sent.get();
        delivered += cells.delivered.get();
        copies += cells.copies.get();
        consumed += cells.consumed.get();
    }
    eprintln!("sent {sent}, delivered {delivered}, copies {copies}, consumed {consumed}, {met:?}");
    assert!(sent > 1000 && delivered > 1000 && copies > 1000 && consumed > 0);
    // Not the switch's own: a device's, a hand-off's, a vNIC's that is being removed.
    let own = Reason::ALL.iter().filter(|&&r| r < Reason::TxFull);
    let missing: Vec<_> = own
        .chain([&Reason::Oversize])
        .filter(|&&r| r != Reason::VnicGone && !met.contains_key(&r))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
