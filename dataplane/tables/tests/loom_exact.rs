//! The exact-match table under the model checker: every order of loads and stores that the memory
//! model allows, on tables small enough that displacement and reuse happen at once. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p weir-tables --test loom_exact`.
//!
//! A value tells whose it is: key `k` only ever gets values `k << 8 | version`.
#![cfg(loom)]

use loom::thread;
use std::sync::Arc;
use weir_tables::epoch::{Epochs, Passer};
use weir_tables::exact::{Exact, Full, Inserted, Place, Writer};

const SEED: u64 = 7;

/// The first keys whose place in `table` is one of `places`, in turn, each different.
fn keys<const S: usize, const W: usize, const N: usize>(
    table: &Exact<S, W>,
    places: [Place; N],
) -> [u64; N] {
    let mut taken = Vec::new();
    places.map(|place| {
        let fits = |key: &u64| table.buckets_of(*key) == place && !taken.contains(key);
        let key = (1..10_000).find(fits).expect("some key goes there");
        taken.push(key);
        key
    })
}

/// The place with these two buckets.
fn place<const S: usize, const W: usize>(table: &Exact<S, W>, first: u32, second: u32) -> Place {
    let want = format!("Place {{ first: {first}, second: {second} }}");
    let places = (1..10_000).map(|key| table.buckets_of(key));
    places
        .into_iter()
        .find(|place| format!("{place:?}") == want)
        .expect("two different buckets")
}

fn value<const W: usize>(key: u64, version: u32) -> [u32; W] {
    [(key as u32) << 8 | version; W]
}

/// Not torn and its own key's; the version.
fn own<const W: usize>(key: u64, value: [u32; W]) -> u32 {
    let foreign = value.iter().any(|&word| u64::from(word >> 8) != key);
    assert!(!foreign, "another key's value: {value:x?} for {key:x}");
    assert!(
        value.iter().all(|&word| word == value[0]),
        "torn: {value:x?}"
    );
    value[0] & 0xff
}

fn read<const S: usize, const W: usize>(table: &Exact<S, W>, key: u64) -> Option<u32> {
    table.get(key).map(|value| own(key, value))
}

/// A table that a reader has, so that the writer never thinks itself alone.
fn shared<const S: usize, const W: usize>(buckets: usize) -> (Writer<S, W>, Arc<Exact<S, W>>) {
    let writer = Writer::with_buckets(buckets, SEED);
    let table = writer.table();
    (writer, table)
}

#[test]
fn an_insert_is_seen_whole_or_not_at_all() {
    loom::model(|| {
        let (mut writer, table) = shared::<2, 3>(2);
        let _kept = Arc::clone(&table);
        let reader = thread::spawn(move || {
            let first = read(&table, 5);
            let second = read(&table, 5);
            assert!(first.is_none() || second.is_some(), "seen, then not");
            assert_eq!(table.get(0), None);
        });
        assert_eq!(writer.insert(5, value(5, 1)), Ok(Inserted::Added));
        reader.join().unwrap();
        assert_eq!(read(&writer.table(), 5), Some(1));
    });
}

#[test]
fn a_change_in_place_goes_forward_only() {
    loom::model(|| {
        let (mut writer, table) = shared::<2, 1>(2);
        let _kept = Arc::clone(&table);
        writer.insert(5, value(5, 1)).unwrap();
        let reader = thread::spawn(move || {
            let first = read(&table, 5).expect("never away");
            let second = read(&table, 5).expect("never away");
            assert!((1..=3).contains(&first) && first <= second);
        });
        writer.change(5, value(5, 2)).unwrap();
        writer.change(5, value(5, 3)).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_change_of_several_words_is_old_or_new_and_never_away() {
    loom::model(|| {
        let (mut writer, table) = shared::<2, 2>(2);
        let _kept = Arc::clone(&table);
        writer.insert(5, value(5, 1)).unwrap();
        let reader = thread::spawn(move || {
            assert!((1..=2).contains(&read(&table, 5).expect("never away")));
        });
        assert_eq!(writer.change(5, value(5, 2)), Ok(true));
        // A second change within the round would let the key move twice under the reader.
        assert_eq!(
            writer.change(5, value(5, 3)),
            Err(Full {
                pending_reclaim: true
            })
        );
        reader.join().unwrap();
        assert_eq!(read(&writer.table(), 5), Some(2));
    });
}

#[test]
fn a_delete_is_seen_once() {
    loom::model(|| {
        let (mut writer, table) = shared::<2, 1>(2);
        let _kept = Arc::clone(&table);
        writer.insert(5, value(5, 1)).unwrap();
        writer.insert(6, value(6, 1)).unwrap();
        let reader = thread::spawn(move || {
            let first = read(&table, 5);
            let second = read(&table, 5);
            assert!(first.is_some() || second.is_none(), "gone, then seen");
            assert_eq!(read(&table, 6), Some(1));
        });
        assert!(writer.remove(5));
        reader.join().unwrap();
    });
}

/// What a table of three one-slot buckets is made to do: `moves` goes from bucket 0 to bucket 2 so
/// that `comes` can have bucket 0. `passed` says how far the reader has come.
fn displace_then_refill(
    turns: usize,
    passed: impl Fn(&Epochs, u64) -> u64 + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let (mut writer, table) = shared::<1, 2>(3);
        let _kept = Arc::clone(&table);
        let [moves, stays, comes] = keys(
            &table,
            [
                place(&table, 0, 2),
                place(&table, 1, 0),
                place(&table, 0, 1),
            ],
        );
        writer.insert(moves, value(moves, 1)).unwrap();
        writer.insert(stays, value(stays, 1)).unwrap();

        let epochs = Epochs::new(1);
        let mut passer = epochs.join(0).unwrap();
        let reader = thread::spawn(move || {
            for _ in 0..turns {
                assert_eq!(
                    read(&table, moves),
                    Some(1),
                    "present throughout, so never missed"
                );
                let seen = read(&table, comes);
                assert!(matches!(seen, None | Some(1)));
                passer.pass();
            }
        });
        let refused = writer.insert(comes, value(comes, 1));
        assert_eq!(
            refused,
            Err(Full {
                pending_reclaim: true
            })
        );
        let epoch = epochs.advance();
        writer.retire(epoch);
        writer.reclaim(passed(&epochs, epoch));
        // Not waited for: where the reader has not passed, this is refused again.
        if writer.insert(comes, value(comes, 1)).is_ok() {
            assert_eq!(read(&writer.table(), comes), Some(1));
        }
        reader.join().unwrap();
        assert_eq!(read(&writer.table(), moves), Some(1));
        assert_eq!(read(&writer.table(), stays), Some(1));
    });
}

#[test]
fn displace_then_refill_never_shows_another_keys_value() {
    displace_then_refill(2, |epochs, _| epochs.passed());
}

#[test]
#[should_panic(expected = "another key's value")]
fn refilling_without_the_epoch_is_caught() {
    displace_then_refill(1, |_, epoch| epoch);
}

#[test]
fn a_slot_left_by_a_delete_waits_too() {
    delete_then_refill(|epochs, _| epochs.passed());
}

#[test]
#[should_panic(expected = "another key's value")]
fn refilling_a_deleted_slot_without_the_epoch_is_caught() {
    delete_then_refill(|_, epoch| epoch);
}

fn delete_then_refill(passed: impl Fn(&Epochs, u64) -> u64 + Send + Sync + Copy + 'static) {
    loom::model(move || {
        let (mut writer, table) = shared::<1, 1>(2);
        let _kept = Arc::clone(&table);
        let [a, b, c] = keys(
            &table,
            [
                place(&table, 0, 1),
                place(&table, 1, 0),
                place(&table, 0, 1),
            ],
        );
        writer.insert(a, value(a, 1)).unwrap();
        writer.insert(b, value(b, 1)).unwrap();
        let epochs = Epochs::new(1);
        let mut passer = epochs.join(0).unwrap();
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                read(&table, a);
                assert_eq!(read(&table, b), Some(1));
                read(&table, c);
                passer.pass();
            }
        });
        writer.remove(a);
        let epoch = epochs.advance();
        writer.retire(epoch);
        writer.reclaim(passed(&epochs, epoch));
        let _ = writer.insert(c, value(c, 1));
        reader.join().unwrap();
    });
}

/// The reader has looked at the first bucket, the key moves there from the second, the reader looks
/// at the second: only another look finds it.
#[test]
fn a_key_that_moves_behind_the_readers_back_is_found_at_the_second_look() {
    loom::model(|| {
        let mut writer = Writer::<1, 2>::with_buckets(2, SEED);
        let table = writer.table();
        let [a, b] = keys(&table, [place(&table, 0, 1), place(&table, 0, 1)]);
        writer.insert(b, value(b, 1)).unwrap();
        writer.insert(a, value(a, 1)).unwrap();
        writer.remove(b);
        writer.retire(1);
        writer.reclaim(1);
        let reader = thread::spawn(move || {
            assert!(
                matches!(read(&table, a), Some(1 | 2)),
                "present throughout, so never missed"
            );
        });
        assert_eq!(writer.change(a, value(a, 2)), Ok(true));
        reader.join().unwrap();
    });
}

/// A key that is moved there and back within one turn of a reader could be missed at both looks:
/// first where it is not yet, then where it is no more. So the second move has to wait. `turns` of
/// the reader, a slot a bucket or two.
fn there_and_back<const S: usize>(
    turns: usize,
    versions: u32,
    passed: impl Fn(&Epochs, u64) -> u64 + Send + Sync + Copy + 'static,
    whole: impl Fn(u64, Option<[u32; 2]>) + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let (mut writer, table) = shared::<S, 2>(2);
        let _kept = Arc::clone(&table);
        let [a] = keys(&table, [place(&table, 0, 1)]);
        writer.insert(a, value(a, 1)).unwrap();
        let epochs = Epochs::new(1);
        let mut passer = epochs.join(0).unwrap();
        let reader = thread::spawn(move || {
            for _ in 0..turns {
                let seen = table.get(a);
                assert!(seen.is_some(), "present throughout, so never missed");
                whole(a, seen);
                passer.pass();
            }
        });
        // A change of several words is the shortest move there is.
        for version in 2..=versions {
            let _ = writer.change(a, value(a, version));
            let epoch = epochs.advance();
            writer.retire(epoch);
            writer.reclaim(passed(&epochs, epoch));
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_key_on_the_move_is_never_missed() {
    let whole = |key, seen: Option<[u32; 2]>| assert!(own(key, seen.unwrap()) <= 5);
    there_and_back::<1>(2, 4, |epochs, _| epochs.passed(), whole);
    there_and_back::<2>(1, 4, |epochs, _| epochs.passed(), whole);
}

#[test]
#[should_panic(expected = "present throughout")]
fn moving_twice_without_the_epoch_is_caught() {
    // It would be caught tearing as well, so that is not looked at.
    there_and_back::<1>(1, 5, |_, epoch| epoch, |_, _| {});
}

/// One turn of a worker at a time, for the models of two readers.
fn turn(table: &Exact<1, 1>, passer: &mut Passer, key: u64) {
    read(table, key);
    passer.pass();
}

#[test]
fn two_readers_hold_a_slot_back_each() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let (mut writer, table) = shared::<1, 1>(2);
        let [a, b, c] = keys(
            &table,
            [
                place(&table, 0, 1),
                place(&table, 1, 0),
                place(&table, 0, 1),
            ],
        );
        writer.insert(a, value(a, 1)).unwrap();
        writer.insert(b, value(b, 1)).unwrap();
        let epochs = Epochs::new(2);
        let readers = [0, 1].map(|worker| {
            let (table, mut passer) = (Arc::clone(&table), epochs.join(worker).unwrap());
            thread::spawn(move || {
                turn(&table, &mut passer, a);
                turn(&table, &mut passer, c);
            })
        });
        writer.remove(a);
        writer.retire(epochs.advance());
        writer.reclaim(epochs.passed());
        let _ = writer.insert(c, value(c, 1));
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
