//! Several workers: arbitrary policies, arbitrary frames, vNICs that go from worker to worker at random. Every packet ends in exactly one place,
//! at its own tenant, and frames that are alike come in the order in which they were sent.

use proptest::collection::vec;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use weir_switch::steer;
use weir_switch::testing::dice::{Dice, Tape, Xorshift};
use weir_switch::testing::frames::{nvgre, tag, tenant};
use weir_switch::testing::team::Team;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::view::Party;
use weir_wire::Mac;

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
    let (mut steered, mut handed, mut moved) = (0, 0, 0);
    let (mut delivered, mut sent, mut along) = (0, 0, 0);
    // Of one seed alone nothing was overtaken while three faults were there.
    for seed in 0..300 {
        let mut dice = Xorshift::new(1 + seed);
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

/// A VM may give its frames in pieces of any size.
#[test]
fn whose_a_frame_is_does_not_depend_on_the_pieces_that_it_is_in() {
    let (mac, other) = (Mac::new([2, 0, 0, 0, 1, 1]), Mac::new([2, 0, 0, 0, 1, 2]));
    let [ca, far] = [11, 12].map(|last| Ipv4Addr::new(10, 1, 0, last));
    let mut world = World::new(64, None);
    let segment = world.segment(5001);
    let by_mac = world.trunk(Party::TrunkByMac);
    let by_vlan = world.trunk(Party::TrunkByVlan);
    world.vnic_on(segment, mac, ca, by_vlan, Some(7));
    let plain = tenant(other, mac, ca, far, b"something");
    let mut tagged = plain.clone();
    tag(&mut tagged, 7);
    let inner = tenant(mac, other, far, ca, b"something");
    let pas = (Ipv4Addr::new(192, 168, 50, 2), OWN_PA);
    let outer = nvgre((UPLINK_MAC, PEER_MAC), pas, 5001, 0, &inner);
    for (port, bytes) in [(by_mac, plain), (by_vlan, tagged), (UPLINK_PORT, outer)] {
        let party = world.view.port(port).unwrap().party;
        for cut in 0..bytes.len() {
            let (head, rest) = bytes.split_at(cut);
            let (middle, end) = rest.split_at(rest.len().min(3));
            let frame = world.herd.chain(&[head, middle, end]);
            let of = steer::mac(&world.view, port, party, &frame);
            assert_eq!(of, Some(mac), "{party:?} cut at {cut}");
        }
    }
}
