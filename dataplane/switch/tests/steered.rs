//! Several workers: arbitrary policies, arbitrary frames, vNICs that go from worker to worker at random. Every packet ends in exactly one place,
//! at its own tenant, and frames that are alike come in the order in which they were sent.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_switch::testing::dice::{Dice, Tape, Xorshift};
use weir_switch::testing::team::Team;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whichever_worker_a_frame_comes_to_it_ends_once_and_at_its_own(tape in vec(any::<u8>(), 0..4000)) {
        let mut tape = Tape::new(&tape);
        let mut team = Team::new(&mut tape);
        while !tape.is_spent() {
            team.happen(&mut tape);
            team.check();
        }
        team.settle();
        team.check();
    }
}

/// What the property means by arbitrary.
#[test]
fn frames_are_steered_and_handed_on_and_vnics_take_along_what_waits() {
    let mut dice = Xorshift::new(11);
    let (mut steered, mut handed, mut moved) = (0, 0, 0);
    let (mut delivered, mut sent, mut along) = (0, 0, 0);
    for _ in 0..60 {
        let mut team = Team::new(&mut dice);
        for _ in 0..300 {
            team.happen(&mut dice);
            team.check();
        }
        team.settle();
        team.check();
        steered += team.steered;
        handed += team.handed;
        moved += team.moved;
        let mut given = 0;
        for kept in &team.kept {
            let cells = kept.ledger.cells();
            delivered += cells.delivered.get();
            sent += cells.sent.get();
            given += cells.handoff_out.get();
        }
        along += given - team.handed;
    }
    let all = [steered, handed, moved, delivered, sent, along];
    eprintln!("steered, handed on, moved, delivered, sent, taken along: {all:?}");
    assert!(all.iter().all(|&count| count > 100), "{all:?}");
}
