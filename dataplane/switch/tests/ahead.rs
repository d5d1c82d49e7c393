//! Reading ahead: two bursts of one vNIC are taken through the stages together, and nobody can tell.

use std::net::Ipv4Addr;
use weir_switch::testing::chaos::Chaos;
use weir_switch::testing::dice::Xorshift;
use weir_switch::testing::world::{PEER_MAC, World};
use weir_switch::testing::{VecFrame, frames};
use weir_tables::endpoints::endpoint_key;
use weir_tables::ids::VnicId;
use weir_wire::Mac;

/// What came out, byte for byte, what control was told, and every counter.
fn outcome(chaos: &Chaos) -> impl PartialEq + std::fmt::Debug + use<> {
    let kept = &chaos.world.kept;
    let frame = |frame: &VecFrame| (frame.bytes(), frame.checksum, frame.gso, frame.vlan);
    let out: Vec<_> = kept.out.iter().map(|o| (o.0, o.1, frame(&o.2))).collect();
    let vnics = chaos.world.view.vnics.iter().flatten();
    let cells: Vec<String> = vnics.map(|vnic| format!("{:?}", vnic.cells)).collect();
    let own = format!("{:?}", kept.ledger.cells());
    (out, kept.events.clone(), cells, own)
}

/// Nobody waits for bandwidth: what waits may leave between two bursts.
fn promise_nothing(chaos: &mut Chaos) {
    chaos.world.link(None);
    for vnic in 0..chaos.world.view.vnics.len() {
        chaos.world.promise(VnicId(vnic as u32), None);
    }
}

#[test]
fn two_bursts_together_become_what_they_become_one_after_the_other() {
    let mut dice = Xorshift::new(41);
    let mut pairs = 0;
    for _ in 0..60 {
        let mut ahead = Chaos::new(&mut dice.clone());
        let mut plain = Chaos::new(&mut dice);
        for chaos in [&mut ahead, &mut plain] {
            promise_nothing(chaos);
            // So that both get so many frames at once.
            chaos.world.view.reads_ahead = true;
        }
        for _ in 0..40 {
            let (news, mut twin) = (plain.news(&mut dice), dice);
            for chaos in [&mut ahead, &mut plain] {
                chaos.hear(&news);
            }
            let (port, frames) = ahead.frames(&mut twin);
            let (_, same) = plain.frames(&mut dice);
            pairs += usize::from(frames.len() > 32);
            plain.world.view.reads_ahead = false;
            for (chaos, frames) in [(&mut ahead, frames), (&mut plain, same)] {
                chaos.packets += frames.len() as u64;
                chaos.world.receive(port, frames);
            }
            plain.world.view.reads_ahead = true;
            assert_eq!(outcome(&ahead), outcome(&plain));
            ahead.check();
            plain.check();
        }
    }
    assert!(pairs > 500, "{pairs}");
}

/// In a crowded table one key in five is in its second bucket: those are made ready last, and leave in their place.
#[test]
fn who_is_not_in_his_first_bucket_leaves_in_his_place() {
    const MANY: usize = 900;
    let mac = |i: usize| Mac::from_u64(0x0200_0000_0100 + i as u64);
    let ca = |i: usize| Ipv4Addr::from_bits(0x0a01_0000 + i as u32);
    let mut world = World::new(MANY, None);
    let pa = |i: usize| Ipv4Addr::new(192, 168, 50, 2 + (i % 2) as u8);
    let peers = [0, 1].map(|i| world.peer(pa(i), Some(PEER_MAC)));
    let segment = world.segment(5001);
    let here = world.vnic(segment, mac(0), ca(0));
    for i in 1..MANY {
        world.remote(segment, mac(i), ca(i), peers[i % 2]);
    }
    world.view.reads_ahead = true;
    let port = world.view.vnic(here).unwrap().port;
    // Some would have to wait for a round, which this host has only between bursts.
    let is_known = |&i: &usize| {
        world
            .view
            .endpoints
            .get(endpoint_key(segment, mac(i)))
            .is_some()
    };
    let known: Vec<usize> = (1..MANY).filter(is_known).collect();
    assert!(known.len() > 800);
    for two in known.chunks_exact(64) {
        let tenant = |&i| frames::tenant(mac(i), mac(0), ca(0), ca(i), &[0; 18]);
        let sent: Vec<Vec<u8>> = two.iter().map(tenant).collect();
        let batch: Vec<VecFrame> = sent.iter().map(|bytes| world.herd.frame(bytes)).collect();
        world.receive(port, batch);
        let out: Vec<Vec<u8>> = world.kept.out.drain(..).map(|o| o.2.bytes()).collect();
        let inner: Vec<&[u8]> = out.iter().map(|bytes| &bytes[42..]).collect();
        assert_eq!(inner, sent);
        for (bytes, &i) in out.iter().zip(two) {
            assert_eq!(bytes[30..34], pa(i).octets());
        }
    }
}
