//! Reclamation under the model checker: what an entry names is reused for another tenant only when
//! no worker can still follow the entry to it. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p weir-tables --test loom_epoch`.
#![cfg(loom)]

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::sync::Arc;
use weir_tables::epoch::{Epochs, Passer, Retired};
use weir_tables::exact::{Exact, Writer};

/// Two tenants' endpoints.
const RED: u64 = 5;
const BLUE: u64 = 6;

/// What entries point into: whose each place is. Relaxed on purpose, so that nothing but the table
/// and the epoch orders it.
struct Owners([AtomicU32; 1]);

impl Owners {
    fn set(&self, index: u32, owner: u64) {
        self.0[index as usize].store(owner as u32, Ordering::Relaxed);
    }

    fn get(&self, index: u32) -> u64 {
        u64::from(self.0[index as usize].load(Ordering::Relaxed))
    }
}

/// A value is an index plus one.
fn resolve(table: &Exact<2, 1>, owners: &Owners, key: u64) {
    if let Some([index]) = table.get(key) {
        assert_eq!(owners.get(index - 1), key, "another tenant's");
    }
}

fn setup() -> (Writer<2, 1>, Arc<Exact<2, 1>>, Arc<Owners>) {
    let mut writer = Writer::with_buckets(2, 7);
    let table = writer.table();
    let owners = Arc::new(Owners([AtomicU32::new(0)]));
    owners.set(0, RED);
    writer.insert(RED, [1]).unwrap();
    (writer, table, owners)
}

/// RED leaves, and place 0 is BLUE's as soon as `passed` says so. The reader looks both up in each
/// of its turns.
fn reuse_of_what_an_entry_names(
    passed: impl Fn(&Epochs, u64) -> u64 + Send + Sync + Copy + 'static,
    with_naps: bool,
) {
    loom::model(move || {
        let (mut writer, table, owners) = setup();
        let epochs = Epochs::new(1);
        let mut passer = epochs.join(0).unwrap();
        if with_naps {
            passer.offline();
        }
        let reader = thread::spawn({
            let (table, owners) = (Arc::clone(&table), Arc::clone(&owners));
            move || {
                if with_naps {
                    passer.online();
                    resolve(&table, &owners, RED);
                    passer.offline();
                    passer.online();
                    resolve(&table, &owners, RED);
                    passer.offline();
                } else {
                    for _ in 0..2 {
                        resolve(&table, &owners, RED);
                        resolve(&table, &owners, BLUE);
                        passer.pass();
                    }
                }
            }
        });
        let mut retired = Retired::new();
        writer.remove(RED);
        let epoch = epochs.advance();
        writer.retire(epoch);
        retired.push(epoch, 0u32);
        for _ in 0..2 {
            for index in retired.drain(passed(&epochs, epoch)) {
                owners.set(index, BLUE);
                writer.insert(BLUE, [index + 1]).unwrap();
            }
        }
        reader.join().unwrap();
        drop(table);
    });
}

#[test]
fn an_index_is_reused_after_every_worker_passed() {
    reuse_of_what_an_entry_names(|epochs, _| epochs.passed(), false);
}

#[test]
#[should_panic(expected = "another tenant's")]
fn an_index_reused_without_the_epoch_is_caught() {
    reuse_of_what_an_entry_names(|_, epoch| epoch, false);
}

#[test]
fn a_worker_that_wakes_is_seen_or_sees() {
    reuse_of_what_an_entry_names(|epochs, _| epochs.passed(), true);
}

#[test]
#[should_panic(expected = "another tenant's")]
fn a_worker_that_wakes_unseen_is_caught() {
    reuse_of_what_an_entry_names(|_, epoch| epoch, true);
}

#[test]
fn a_successor_takes_over_a_workers_place() {
    loom::model(|| {
        let (mut writer, table, owners) = setup();
        let epochs = Epochs::new(1);
        let passer = epochs.join(0).unwrap();
        let reader = thread::spawn({
            let (table, owners, epochs) =
                (Arc::clone(&table), Arc::clone(&owners), Arc::clone(&epochs));
            move || {
                resolve(&table, &owners, RED);
                drop(passer);
                let _passer = epochs.join(0).expect("the place is free");
                resolve(&table, &owners, RED);
            }
        });
        writer.remove(RED);
        let epoch = epochs.advance();
        if epochs.passed() >= epoch {
            owners.set(0, BLUE);
        }
        reader.join().unwrap();
    });
}

/// What a worker read is over before control learns that it passed: plain memory may be reused, not
/// only atomics. The checker sees no order in std's `Arc`, so that `with_mut` after the reader's
/// load is a race to it unless the epoch orders the two.
fn plain_memory(leave: impl Fn(&mut Passer) + Send + Sync + Copy + 'static) {
    loom::model(move || {
        let epochs = Epochs::new(1);
        let mut passer = epochs.join(0).unwrap();
        let mut owner = Arc::new(AtomicU32::new(RED as u32));
        let reader = thread::spawn({
            let owner = Arc::clone(&owner);
            move || {
                assert_eq!(owner.load(Ordering::Relaxed), RED as u32);
                drop(owner);
                leave(&mut passer);
            }
        });
        let epoch = epochs.advance();
        if epochs.passed() >= epoch {
            let owner = Arc::get_mut(&mut owner).expect("the reader let go, then passed");
            owner.with_mut(|owner| *owner = BLUE as u32);
        }
        reader.join().unwrap();
    });
}

#[test]
fn what_was_read_before_a_pass_is_over_after_it() {
    plain_memory(Passer::pass);
}

#[test]
fn what_was_read_before_going_offline_is_over_after_it() {
    plain_memory(Passer::offline);
}

/// A change in place names something new: who reads the new index must see what was put there
/// before.
#[test]
fn a_change_in_place_brings_what_it_names() {
    loom::model(|| {
        let mut writer = Writer::<2, 1>::with_buckets(2, 7);
        let table = writer.table();
        let owners = Arc::new([AtomicU32::new(RED as u32), AtomicU32::new(0)]);
        writer.insert(RED, [1]).unwrap();
        let reader = thread::spawn({
            let (table, owners) = (Arc::clone(&table), Arc::clone(&owners));
            move || {
                let [index] = table.get(RED).expect("never away");
                let owner = owners[index as usize - 1].load(Ordering::Relaxed);
                assert_eq!(u64::from(owner), RED);
            }
        });
        owners[1].store(RED as u32, Ordering::Relaxed);
        writer.change(RED, [2]).unwrap();
        reader.join().unwrap();
    });
}
