//! The exact-match table under the model checker: every order of loads and stores that the memory
//! model allows, on tables small enough that displacement and reuse happen at once. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p weir-tables --test loom_exact`.
//!
//! A value tells whose it is: key `k` only ever gets values `k << 8 | version`.
#![cfg(loom)]

use loom::thread;
use std::cell::Cell;
use std::sync::Arc;
use weir_tables::epoch::{Epochs, Passer};
use weir_tables::exact::{Exact, Full, Inserted, MARK, Place, Writer};

const SEED: u64 = 7;

/// A key of `K` words that ends in `key`. What comes before is the same for all: the worst case, since it says nothing.
fn wide<const K: usize>(key: u64) -> [u64; K] {
    std::array::from_fn(|word| if word + 1 == K { key } else { 1 })
}

/// The first keys whose place in `table` is one of `places`, in turn, each different.
fn keys<const S: usize, const W: usize, const K: usize, const N: usize>(
    table: &Exact<S, W, K>,
    places: [Place; N],
) -> [u64; N] {
    let mut taken = Vec::new();
    places.map(|place| {
        let fits = |key: &u64| table.buckets_of(wide(*key)) == place && !taken.contains(key);
        let key = (1..10_000).find(fits).expect("some key goes there");
        taken.push(key);
        key
    })
}

/// The place with these two buckets.
fn place<const S: usize, const W: usize, const K: usize>(
    table: &Exact<S, W, K>,
    first: u32,
    second: u32,
) -> Place {
    let want = format!("Place {{ first: {first}, second: {second} }}");
    let places = (1..10_000).map(|key| table.buckets_of(wide(key)));
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

thread_local! {
    /// Whether the readers of the model that runs in this thread look up by the batch. The model's own threads run in it too.
    static BY_BATCH: Cell<bool> = const { Cell::new(false) };
}

/// A model with both kinds of reader: one key at a time, and by the batch.
fn both(model: impl Fn()) {
    for by_batch in [false, true] {
        BY_BATCH.set(by_batch);
        model();
    }
}

fn look<const S: usize, const W: usize, const K: usize>(
    table: &Exact<S, W, K>,
    key: u64,
) -> Option<[u32; W]> {
    if !BY_BATCH.get() {
        return table.get(wide(key));
    }
    let mut out = [[u32::MAX; W]];
    match table.get_batch(&[wide(key)], &mut out) {
        1 => Some(out[0]),
        _ => {
            assert_eq!(out, [[0; W]]);
            None
        }
    }
}

fn read<const S: usize, const W: usize, const K: usize>(
    table: &Exact<S, W, K>,
    key: u64,
) -> Option<u32> {
    look(table, key).map(|value| own(key, value))
}

/// A table that a reader has, so that the writer never thinks itself alone.
fn shared<const S: usize, const W: usize, const K: usize>(
    buckets: usize,
) -> (Writer<S, W, K>, Arc<Exact<S, W, K>>) {
    let writer = Writer::with_buckets(buckets, SEED);
    let table = writer.table();
    (writer, table)
}

#[test]
fn an_insert_is_seen_whole_or_not_at_all() {
    both(|| {
        insert::<1>();
        insert::<2>();
    });
}

fn insert<const K: usize>() {
    loom::model(|| {
        let (mut writer, table) = shared::<2, 3, K>(2);
        let _kept = Arc::clone(&table);
        let reader = thread::spawn(move || {
            let first = read(&table, 5);
            let second = read(&table, 5);
            assert!(first.is_none() || second.is_some(), "seen, then not");
            assert_eq!(table.get([0; K]), None);
        });
        assert_eq!(writer.insert(wide(5), value(5, 1)), Ok(Inserted::Added));
        reader.join().unwrap();
        assert_eq!(read(&writer.table(), 5), Some(1));
    });
}

#[test]
fn a_change_in_place_goes_forward_only() {
    both(|| {
        loom::model(|| {
            let (mut writer, table) = shared::<2, 1, 1>(2);
            let _kept = Arc::clone(&table);
            writer.insert(wide(5), value(5, 1)).unwrap();
            let reader = thread::spawn(move || {
                let first = read(&table, 5).expect("never away");
                let second = read(&table, 5).expect("never away");
                assert!((1..=3).contains(&first) && first <= second);
            });
            writer.change(wide(5), value(5, 2)).unwrap();
            writer.change(wide(5), value(5, 3)).unwrap();
            reader.join().unwrap();
        });
    });
}

#[test]
fn a_change_of_several_words_is_old_or_new_and_never_away() {
    both(|| {
        change::<1>();
        change::<2>();
    });
}

fn change<const K: usize>() {
    loom::model(|| {
        let (mut writer, table) = shared::<2, 2, K>(2);
        let _kept = Arc::clone(&table);
        writer.insert(wide(5), value(5, 1)).unwrap();
        let reader = thread::spawn(move || {
            assert!((1..=2).contains(&read(&table, 5).expect("never away")));
        });
        assert_eq!(writer.change(wide(5), value(5, 2)), Ok(true));
        // A second change within the round would let the key move twice under the reader.
        assert_eq!(
            writer.change(wide(5), value(5, 3)),
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
    both(|| {
        delete::<1>();
        delete::<2>();
    });
}

fn delete<const K: usize>() {
    loom::model(|| {
        let (mut writer, table) = shared::<2, 1, K>(2);
        let _kept = Arc::clone(&table);
        writer.insert(wide(5), value(5, 1)).unwrap();
        writer.insert(wide(6), value(6, 1)).unwrap();
        let reader = thread::spawn(move || {
            let first = read(&table, 5);
            let second = read(&table, 5);
            assert!(first.is_some() || second.is_none(), "gone, then seen");
            assert_eq!(read(&table, 6), Some(1));
        });
        assert!(writer.remove(wide(5)));
        reader.join().unwrap();
    });
}

/// What a table of three one-slot buckets is made to do: `moves` goes from bucket 0 to bucket 2 so
/// that `comes` can have bucket 0. `passed` says how far the reader has come.
fn displace_then_refill<const K: usize>(
    turns: usize,
    passed: impl Fn(&Epochs, u64) -> u64 + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let (mut writer, table) = shared::<1, 2, K>(3);
        let _kept = Arc::clone(&table);
        let [moves, stays, comes] = keys(
            &table,
            [
                place(&table, 0, 2),
                place(&table, 1, 0),
                place(&table, 0, 1),
            ],
        );
        writer.insert(wide(moves), value(moves, 1)).unwrap();
        writer.insert(wide(stays), value(stays, 1)).unwrap();

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
        let refused = writer.insert(wide(comes), value(comes, 1));
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
        if writer.insert(wide(comes), value(comes, 1)).is_ok() {
            assert_eq!(read(&writer.table(), comes), Some(1));
        }
        reader.join().unwrap();
        assert_eq!(read(&writer.table(), moves), Some(1));
        assert_eq!(read(&writer.table(), stays), Some(1));
    });
}

#[test]
fn displace_then_refill_never_shows_another_keys_value() {
    both(|| {
        displace_then_refill::<1>(2, |epochs, _| epochs.passed());
        displace_then_refill::<2>(2, |epochs, _| epochs.passed());
    });
}

#[test]
#[should_panic(expected = "another key's value")]
fn refilling_without_the_epoch_is_caught() {
    displace_then_refill::<1>(1, |_, epoch| epoch);
}

#[test]
#[should_panic(expected = "another key's value")]
fn refilling_without_the_epoch_is_caught_by_the_batch() {
    BY_BATCH.set(true);
    displace_then_refill::<1>(1, |_, epoch| epoch);
}

#[test]
#[should_panic(expected = "another key's value")]
fn refilling_with_a_wide_key_without_the_epoch_is_caught() {
    displace_then_refill::<2>(1, |_, epoch| epoch);
}

#[test]
#[should_panic(expected = "another key's value")]
fn refilling_with_a_wide_key_without_the_epoch_is_caught_by_the_batch() {
    BY_BATCH.set(true);
    displace_then_refill::<2>(1, |_, epoch| epoch);
}

#[test]
fn a_slot_left_by_a_delete_waits_too() {
    both(|| {
        delete_then_refill::<1>(|epochs, _| epochs.passed());
        delete_then_refill::<2>(|epochs, _| epochs.passed());
    });
}

#[test]
#[should_panic(expected = "another key's value")]
fn refilling_a_deleted_slot_without_the_epoch_is_caught() {
    delete_then_refill::<1>(|_, epoch| epoch);
}

#[test]
#[should_panic(expected = "another key's value")]
fn refilling_a_deleted_slot_without_the_epoch_is_caught_by_the_batch() {
    BY_BATCH.set(true);
    delete_then_refill::<1>(|_, epoch| epoch);
}

fn delete_then_refill<const K: usize>(
    passed: impl Fn(&Epochs, u64) -> u64 + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let (mut writer, table) = shared::<1, 1, K>(2);
        let _kept = Arc::clone(&table);
        let [a, b, c] = keys(
            &table,
            [
                place(&table, 0, 1),
                place(&table, 1, 0),
                place(&table, 0, 1),
            ],
        );
        writer.insert(wide(a), value(a, 1)).unwrap();
        writer.insert(wide(b), value(b, 1)).unwrap();
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
        writer.remove(wide(a));
        let epoch = epochs.advance();
        writer.retire(epoch);
        writer.reclaim(passed(&epochs, epoch));
        let _ = writer.insert(wide(c), value(c, 1));
        reader.join().unwrap();
    });
}

/// A delete leaves all words of a key but the first. The key that comes next has the same first word here, so that a
/// reader which sees that too early sees the old key whole.
#[test]
fn a_slot_that_is_filled_again_shows_its_last_key_no_more() {
    both(|| {
        fill_again::<1>();
        fill_again::<2>();
    });
}

fn fill_again<const K: usize>() {
    loom::model(|| {
        let (mut writer, table) = shared::<1, 1, K>(2);
        let _kept = Arc::clone(&table);
        let [old, new] = keys(&table, [place(&table, 0, 1), place(&table, 0, 1)]);
        writer.insert(wide(old), value(old, 1)).unwrap();
        writer.remove(wide(old));
        writer.retire(1);
        writer.reclaim(1);
        let reader = thread::spawn(move || {
            assert_eq!(read(&table, old), None);
            assert!(matches!(read(&table, new), None | Some(1)));
        });
        assert_eq!(writer.insert(wide(new), value(new, 1)), Ok(Inserted::Added));
        reader.join().unwrap();
    });
}

/// The reader has looked at the first bucket, the key moves there from the second, the reader looks
/// at the second: only another look finds it.
#[test]
fn a_key_that_moves_behind_the_readers_back_is_found_at_the_second_look() {
    both(|| {
        moves_behind_the_readers_back::<1>();
        moves_behind_the_readers_back::<2>();
    });
}

fn moves_behind_the_readers_back<const K: usize>() {
    loom::model(|| {
        let mut writer = Writer::<1, 2, K>::with_buckets(2, SEED);
        let table = writer.table();
        let [a, b] = keys(&table, [place(&table, 0, 1), place(&table, 0, 1)]);
        writer.insert(wide(b), value(b, 1)).unwrap();
        writer.insert(wide(a), value(a, 1)).unwrap();
        writer.remove(wide(b));
        writer.retire(1);
        writer.reclaim(1);
        let reader = thread::spawn(move || {
            assert!(
                matches!(read(&table, a), Some(1 | 2)),
                "present throughout, so never missed"
            );
        });
        assert_eq!(writer.change(wide(a), value(a, 2)), Ok(true));
        reader.join().unwrap();
    });
}

/// A key that is moved there and back within one turn of a reader could be missed at both looks:
/// first where it is not yet, then where it is no more. So the second move has to wait. `turns` of
/// the reader, a slot a bucket or two.
fn there_and_back<const S: usize, const K: usize>(
    turns: usize,
    versions: u32,
    passed: impl Fn(&Epochs, u64) -> u64 + Send + Sync + Copy + 'static,
    whole: impl Fn(u64, Option<[u32; 2]>) + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let (mut writer, table) = shared::<S, 2, K>(2);
        let _kept = Arc::clone(&table);
        let [a] = keys(&table, [place(&table, 0, 1)]);
        writer.insert(wide(a), value(a, 1)).unwrap();
        let epochs = Epochs::new(1);
        let mut passer = epochs.join(0).unwrap();
        let reader = thread::spawn(move || {
            for _ in 0..turns {
                let seen = look(&table, a);
                assert!(seen.is_some(), "present throughout, so never missed");
                whole(a, seen);
                passer.pass();
            }
        });
        // A change of several words is the shortest move there is.
        for version in 2..=versions {
            let _ = writer.change(wide(a), value(a, version));
            let epoch = epochs.advance();
            writer.retire(epoch);
            writer.reclaim(passed(&epochs, epoch));
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_key_on_the_move_is_never_missed() {
    both(|| {
        let whole = |key, seen: Option<[u32; 2]>| assert!(own(key, seen.unwrap()) <= 5);
        there_and_back::<1, 1>(2, 4, |epochs, _| epochs.passed(), whole);
        there_and_back::<2, 1>(1, 4, |epochs, _| epochs.passed(), whole);
        there_and_back::<1, 2>(2, 4, |epochs, _| epochs.passed(), whole);
    });
}

#[test]
#[should_panic(expected = "present throughout")]
fn moving_twice_without_the_epoch_is_caught() {
    // It would be caught tearing as well, so that is not looked at.
    there_and_back::<1, 1>(1, 5, |_, epoch| epoch, |_, _| {});
}

#[test]
#[should_panic(expected = "present throughout")]
fn moving_twice_without_the_epoch_is_caught_by_the_batch() {
    BY_BATCH.set(true);
    // It would be caught tearing as well, so that is not looked at.
    there_and_back::<1, 1>(1, 5, |_, epoch| epoch, |_, _| {});
}

/// Who has seen a marked value finds its hints as long as it is there; what is there throughout they never deny.
#[test]
fn hints_come_before_what_they_hint_at_and_go_after() {
    loom::model(|| {
        let mut writer = Writer::<2, 1>::with_buckets(2, SEED);
        writer.insert(6, [MARK | 6]).unwrap();
        let table = writer.table();
        let _kept = Arc::clone(&table);
        let reader = thread::spawn(move || {
            if table.get(5).is_some_and(|[value]| value & MARK != 0) {
                assert!(table.contains(5) && table.may_be_marked(5));
            }
            if table.contains(7) {
                assert!(table.get(7).is_some());
            }
            assert!(table.contains(6) && table.may_be_marked(6));
        });
        writer.insert(5, [5]).unwrap();
        writer.change(5, [MARK | 5]).unwrap();
        writer.insert(7, [7]).unwrap();
        reader.join().unwrap();
    });
    loom::model(|| {
        let mut writer = Writer::<2, 1>::with_buckets(2, SEED);
        writer.insert(5, [MARK | 5]).unwrap();
        let table = writer.table();
        let _kept = Arc::clone(&table);
        let reader = thread::spawn(move || {
            let doubted = table.may_be_marked(5);
            let was = table.contains(5);
            let value = table.get(5);
            assert!(was || value.is_none(), "gone, then seen");
            assert!(doubted || value.is_none_or(|[value]| value & MARK == 0));
        });
        writer.remove(5);
        reader.join().unwrap();
    });
}

/// One turn of a worker at a time, for the models of two readers.
fn turn(table: &Exact<1, 1>, passer: &mut Passer, key: u64) {
    read(table, key);
    passer.pass();
}

#[test]
fn two_readers_hold_a_slot_back_each() {
    both(|| {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let (mut writer, table) = shared::<1, 1, 1>(2);
            let [a, b, c] = keys(
                &table,
                [
                    place(&table, 0, 1),
                    place(&table, 1, 0),
                    place(&table, 0, 1),
                ],
            );
            writer.insert(wide(a), value(a, 1)).unwrap();
            writer.insert(wide(b), value(b, 1)).unwrap();
            let epochs = Epochs::new(2);
            let readers = [0, 1].map(|worker| {
                let (table, mut passer) = (Arc::clone(&table), epochs.join(worker).unwrap());
                thread::spawn(move || {
                    turn(&table, &mut passer, a);
                    turn(&table, &mut passer, c);
                })
            });
            writer.remove(wide(a));
            writer.retire(epochs.advance());
            writer.reclaim(epochs.passed());
            let _ = writer.insert(wide(c), value(c, 1));
            for reader in readers {
                reader.join().unwrap();
            }
        });
    });
}
