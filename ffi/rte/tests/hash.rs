//! rte_hash over words.

mod common;

use common::{eal, unique};
use rte::{Hash, HashError};

#[test]
fn what_was_inserted_is_found_and_nothing_else() {
    for lock_free in [false, true] {
        let mut table = Hash::create(eal(), &unique("hash"), 1000, lock_free).unwrap();
        for key in 0..900 {
            table.insert(key << 40 | 7, key + 1).unwrap();
        }
        table.insert(7, 77).unwrap();
        for first in (0..1000).step_by(Hash::BULK) {
            let keys: Vec<u64> = (first..first + Hash::BULK as u64)
                .map(|key| key << 40 | 7)
                .collect();
            let mut values = [0; Hash::BULK];
            let hits = table.lookup_bulk(&keys, &mut values);
            for (bit, key) in (first..first + Hash::BULK as u64).enumerate() {
                let value = match key {
                    0 => 77,
                    1..900 => key + 1,
                    _ => 0,
                };
                assert_eq!(
                    (hits >> bit & 1, values[bit]),
                    (u64::from(value > 0), value)
                );
            }
        }
    }
}

#[test]
fn the_shorter_slice_decides() {
    let mut table = Hash::create(eal(), &unique("hash"), 64, false).unwrap();
    table.insert(1, 10).unwrap();
    let mut values = [0; 4];
    assert_eq!(table.lookup_bulk(&[1, 1, 1], &mut values[..2]), 0b11);
    assert_eq!(values, [10, 10, 0, 0]);
    assert_eq!(table.lookup_bulk(&[], &mut values), 0);
    let mut many = [0; 100];
    assert_eq!(table.lookup_bulk(&[1; 100], &mut many), u64::MAX);
    assert_eq!((many[63], many[64]), (10, 0));
}

#[test]
fn names_are_checked_and_freed_with_the_table() {
    let long = "n".repeat(32);
    for name in ["", "a\0b", &long] {
        let refused = Hash::create(eal(), name, 64, false);
        assert!(matches!(refused, Err(HashError::Name(_))), "{name:?}");
    }
    let name = unique("hash");
    let first = Hash::create(eal(), &name, 64, false).unwrap();
    let refused = Hash::create(eal(), &name, 64, false).unwrap_err();
    assert!(matches!(refused, HashError::Dpdk { .. }), "{refused}");
    drop(first);
    Hash::create(eal(), &name, 64, false).unwrap();
}
