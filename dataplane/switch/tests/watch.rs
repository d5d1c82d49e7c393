//! Looking at packets: what is seen where, and that it changes nothing.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_switch::Frame;
use weir_switch::recorder::Note;
use weir_switch::testing::VecFrame;
use weir_switch::testing::chaos::Chaos;
use weir_switch::testing::dice::{Tape, Xorshift};
use weir_switch::watch::{Point, Who};

/// Everything that can be told of a host after a batch: what came out, byte for byte, and every counter.
fn outcome(chaos: &Chaos) -> impl PartialEq + std::fmt::Debug + use<> {
    let kept = &chaos.world.kept;
    let frame = |frame: &VecFrame| {
        let segments: Vec<Vec<u8>> = frame.segments().map(<[u8]>::to_vec).collect();
        (segments, frame.checksum, frame.gso, frame.vlan, frame.mark)
    };
    let out: Vec<_> = kept.out.iter().map(|o| (o.0, o.1, frame(&o.2))).collect();
    let view = &chaos.world.view;
    let parties = view
        .vnics
        .iter()
        .flatten()
        .map(|v| format!("{:?}", v.cells));
    let uplinks = view
        .uplinks
        .iter()
        .flatten()
        .map(|u| format!("{:?}", u.cells));
    let cells: Vec<String> = parties.chain(uplinks).collect();
    let own = format!("{:?}", kept.ledger.cells());
    (out, kept.events.clone(), cells, own)
}

fn same_watched_or_not(dice: &mut (impl weir_switch::testing::dice::Dice + Clone), batches: usize) {
    let mut plain = Chaos::new(&mut dice.clone());
    let mut watched = Chaos::new(dice);
    // Who is looked at does not read ahead, and what waits for bandwidth may leave between two batches then.
    for chaos in [&mut plain, &mut watched] {
        chaos.world.view.reads_ahead = false;
    }
    for _ in 0..batches {
        plain.batch(&mut dice.clone());
        let notes = watched.batch_watched(dice);
        assert_eq!(outcome(&plain), outcome(&watched));
        check_notes(&watched, &notes);
        plain.check();
        watched.check();
    }
}

/// Every frame that left was seen as it left, and every dropped one with its reason.
fn check_notes(chaos: &Chaos, notes: &[(u8, Note)]) {
    let out = &chaos.world.kept.out;
    let mut left = notes.iter().filter_map(|(_, note)| match note {
        Note::Seen {
            point: Point::VnicTx | Point::UplinkTx,
            who,
            bytes,
            ..
        } => Some((*who, bytes)),
        _ => None,
    });
    for (_, receiver, frame) in out {
        assert_eq!(left.next(), Some((Who::from(*receiver), &frame.bytes())));
    }
    assert!(left.next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_watched_host_does_what_a_plain_one_does(tape in vec(any::<u8>(), 0..3000)) {
        let mut tape = Tape::new(&tape);
        same_watched_or_not(&mut tape, 12);
    }
}

/// The same over many more packets, and that each drop is seen once with the reason that it is counted under.
#[test]
fn every_drop_is_seen_with_its_reason() {
    let mut dice = Xorshift::new(11);
    let mut seen = std::collections::BTreeMap::new();
    let mut counted = std::collections::BTreeMap::new();
    for _ in 0..400 {
        let mut chaos = Chaos::new(&mut dice);
        for _ in 0..60 {
            for (_, note) in chaos.batch_watched(&mut dice) {
                match note {
                    Note::Seen {
                        point: Point::Drop,
                        reason: Some(reason),
                        ..
                    } => {
                        *seen.entry(reason).or_insert(0_u64) += 1;
                    }
                    Note::Seen {
                        reason: Some(_), ..
                    } => panic!("a reason without a drop"),
                    _ => {}
                }
            }
            chaos.check();
        }
        for (reason, packets) in chaos.world.drops() {
            *counted.entry(reason).or_insert(0) += packets;
        }
    }
    assert!(counted.len() > 20, "{counted:?}");
    // A copy or a piece for which there was no memory has no bytes to show.
    use weir_tables::reason::Reason;
    for map in [&mut seen, &mut counted] {
        map.remove(&Reason::PoolEmpty);
        map.remove(&Reason::NoHeadroom);
    }
    assert_eq!(seen, counted);
}

#[test]
fn plain_frames_are_not_watched() {
    const { assert!(!VecFrame::WATCHED) };
}
