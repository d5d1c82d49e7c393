//! What each stage costs is told at the right places, and telling changes nothing.

use std::net::Ipv4Addr;
use weir_switch::lap::Stage;
use weir_switch::testing::VecFrame;
use weir_switch::testing::chaos::Chaos;
use weir_switch::testing::dice::Xorshift;
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, World};
use weir_tables::domain::GATEWAY_MAC;
use weir_wire::Mac;

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

/// By MAC, by address and from the wire a batch is done with being classified, then with being looked up; the worker knows by itself when the rest is done.
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
    // By address, one alone and one beside a frame that goes by its MAC.
    let domain = world.domain();
    let gateways = [1, 2].map(|third| Ipv4Addr::new(10, third, 0, 1));
    let [first, second] = [0, 1].map(|at| world.subnet(domain, 6001 + at, gateways[at as usize]));
    let far = Ipv4Addr::new(10, 2, 0, 20);
    let routing = world.vnic(first, mac(10), ca(10));
    world.remote(first, mac(11), ca(11), peer);
    world.remote(second, mac(20), far, peer);
    let routed = frames::tenant(GATEWAY_MAC, mac(10), ca(10), far, &[0; 18]);
    let beside = frames::tenant(mac(11), mac(10), ca(10), ca(11), &[0; 18]);
    let port = world.view.vnic(routing).unwrap().port;
    for batch in [vec![&routed], vec![&beside, &routed]] {
        let sent = world.kept.out.len() + batch.len();
        let batch: Vec<VecFrame> = batch.iter().map(|bytes| world.herd.frame(bytes)).collect();
        world.receive(port, batch);
        assert_eq!(world.laps(), [Stage::Classify, Stage::Lookup]);
        assert_eq!(world.kept.out.len(), sent);
    }
    let inner = frames::tenant(mac(0), mac(3), ca(3), ca(0), &[0; 18]);
    world.wire(&frames::nvgre(
        (UPLINK_MAC, PEER_MAC),
        (PA, OWN_PA),
        5001,
        0,
        &inner,
    ));
    assert_eq!(world.laps(), [Stage::Classify, Stage::Lookup]);
    assert_eq!(world.kept.out.len(), 5);
}

/// The measured copy of the path does what the plain one does, for arbitrary traffic.
#[test]
fn a_measured_host_does_what_a_plain_one_does() {
    let mut dice = Xorshift::new(31);
    for _ in 0..400 {
        let mut plain = Chaos::new(&mut dice.clone());
        let mut timed = Chaos::new(&mut dice);
        timed.world.time();
        // Who is measured does not read ahead, and what waits for bandwidth may leave between two batches then.
        for chaos in [&mut plain, &mut timed] {
            chaos.world.view.reads_ahead = false;
        }
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
