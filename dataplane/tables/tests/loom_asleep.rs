//! A sleeper and who writes for it, under the model checker: what is written is found before it sleeps, or it is woken. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p weir-tables --test loom_asleep`.
#![cfg(loom)]

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::thread;
use std::sync::Arc;
use weir_tables::asleep::Asleep;

/// A ring, a bell, and a fence that one thread has another one execute.
#[derive(Default)]
struct World {
    asleep: Asleep,
    ring: Ring,
    wanted: Ring,
    executed: Ring,
}

struct Ring(AtomicU32);

impl Default for Ring {
    fn default() -> Self {
        Ring(AtomicU32::new(0))
    }
}

impl World {
    /// membarrier(2), of which the kernel says that every thread has executed a fence when it returns (Documentation/scheduler/membarrier):
    /// it interrupts them, wherever they are.
    fn interrupt(&self) {
        fence(Ordering::SeqCst);
        self.wanted.0.store(1, Ordering::Release);
        while self.executed.0.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        fence(Ordering::SeqCst);
    }

    /// The writer is interrupted here.
    fn interrupted(&self) {
        while self.wanted.0.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        fence(Ordering::SeqCst);
        self.executed.0.store(1, Ordering::Release);
    }
}

/// A writer that is interrupted before its step of that number, and a reader that has it interrupted, or not. Whether the reader slept
/// although something was written and nobody woke it.
fn overlooked(step: u32, fenced: bool) -> bool {
    let lost = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&lost);
    loom::model(move || {
        let world = Arc::new(World::default());
        let woken = Arc::new(AtomicBool::new(false));
        let writer = thread::spawn({
            let (world, woken) = (Arc::clone(&world), Arc::clone(&woken));
            move || {
                let interrupted = |at| {
                    if fenced && at == step {
                        world.interrupted();
                    }
                };
                interrupted(0);
                world.ring.0.store(1, Ordering::Release);
                interrupted(1);
                if world.asleep.is_set() && world.asleep.is_mine_to_wake() {
                    woken.store(true, Ordering::Relaxed);
                }
                interrupted(2);
            }
        });
        world.asleep.begin(|| {
            if fenced {
                world.interrupt();
            }
        });
        let sleeps = world.ring.0.load(Ordering::Acquire) == 0;
        writer.join().expect("a writer");
        if sleeps && !woken.load(Ordering::Relaxed) {
            seen.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    lost.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn what_is_written_is_found_or_the_reader_is_woken() {
    for step in 0..3 {
        assert!(!overlooked(step, true), "interrupted before step {step}");
    }
}

/// The model can tell: it is the fence that does it.
#[test]
fn without_the_fence_both_overlook_the_other() {
    assert!(overlooked(0, false));
}
