//! What each stage costs is told at the right places, and telling changes nothing.

use std::net::Ipv4Addr;
use weir_switch::lap::Stage;
use weir_switch::testing::chaos::Chaos;
use weir_switch::testing::dice::Xorshift;
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, World};
use weir_wire::Mac;

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

/// Both ways a batch is done with being classified, then with being looked up; the worker knows by itself when the rest is done.
#[test]
fn a_batch_tells_its_stages_in_order() {
    let mut world = World::new(256, None);
    let peer = world.peer(PA, Some(PEER_MAC));
    let segment = world.segment(5001);
    let here = world.vnic(segment, mac(0), ca(0));
    world.remote(segment, mac(3), ca(3), peer);
    world.time();
    world.send(
        here,
        &frames::tenant(mac(3), mac(0), ca(0), ca(3), &[0; 18]),
    );
    assert_eq!(world.laps(), [Stage::Classify, Stage::Lookup]);
    let inner = frames::tenant(mac(0), mac(3), ca(3), ca(0), &[0; 18]);
    world.wire(&frames::nvgre(
        (UPLINK_MAC, PEER_MAC),
        (PA, OWN_PA),
        5001,
        0,
        &inner,
    ));
    assert_eq!(world.laps(), [Stage::Classify, Stage::Lookup]);
    assert_eq!(world.kept.out.len(), 2);
}

/// The measured copy of the path does what the plain one does, for arbitrary traffic.
#[test]
fn a_measured_host_does_what_a_plain_one_does() {
    let mut dice = Xorshift::new(31);
    for _ in 0..40 {
        let mut plain = Chaos::new(&mut dice.clone());
        let mut timed = Chaos::new(&mut dice);
        timed.world.time();
        for _ in 0..40 {
            plain.batch(&mut dice.clone());
            timed.batch(&mut dice);
            let of = |chaos: &Chaos| {
                let kept = &chaos.world.kept;
                let out: Vec<_> = kept.out.iter().map(|o| (o.0, o.1, o.2.bytes())).collect();
                (
                    out,
                    kept.events.clone(),
                    format!("{:?}", kept.ledger.cells()),
                )
            };
            assert_eq!(of(&plain), of(&timed));
        }
        timed.check();
        assert!(timed.world.laps().len() > 40);
    }
}
