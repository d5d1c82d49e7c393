//! Ten million arbitrary frames without a panic, a lost frame or a wrong count (`cargo test --release`).
//! A build that checks itself gets 200,000; WEIR_FRAMES sets another number.

use std::time::Instant;
use weir_switch::testing::chaos::Chaos;
use weir_switch::testing::dice::Xorshift;

/// Batches to one policy.
const BATCHES: usize = 500;

#[test]
fn ten_million_arbitrary_frames() {
    let checked = cfg!(debug_assertions);
    let wanted = std::env::var("WEIR_FRAMES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(if checked { 200_000 } else { 10_000_000_u64 });
    let start = Instant::now();
    let mut dice = Xorshift::new(1);
    let (mut done, mut policies, mut out, mut dropped) = (0, 0, 0, 0);
    while done < wanted {
        let mut chaos = Chaos::new(&mut dice);
        for _ in 0..BATCHES {
            chaos.batch(&mut dice);
            chaos.check();
        }
        let cells = chaos.world.kept.ledger.cells();
        done += chaos.packets;
        policies += 1;
        out += cells.sent.get() + cells.delivered.get();
        dropped += cells.dropped.get();
        assert_eq!(cells.received.get(), chaos.packets);
    }
    let took = start.elapsed();
    eprintln!(
        "{done} frames to {policies} hosts in {took:.1?}: {out} came out, {dropped} were dropped"
    );
    assert!(out > wanted / 10, "most of it must not be a dead path");
}
