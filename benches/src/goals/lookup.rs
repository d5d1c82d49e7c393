//! The endpoint table against DPDK's own: lookups a second in batches of 32, of the same keys in the same mixed order, on the measured
//! core.
//!
//! rte_hash is at its best of two: for one thread, and with lock-free readers beside a writer as Weir's always are. Its hash is CRC32 of one
//! word, its comparison one of a word, and it has room for a tenth more entries than it holds (its buckets are a power of two: 1,000,000
//! fill 48% of them, 10,000,000 60%; Weir's are 90% full by 1 and 10 million). Both tables are in hugepages, or neither.

use super::rest;
use crate::eal::eal;
use crate::halt::{Halt, Stop};
use crate::machine::{self, Others};
use crate::rounds::{Plan, Rig, TRIES, Watcher};
use crate::subject::Ask;
use rte::{Hash, pin_current};
use std::time::Instant;
use weir_tables::endpoints::{Target, endpoint_key};
use weir_tables::exact::{BATCH, Exact, Writer};
use weir_tables::ids::{PeerId, SegmentId};
use weir_wire::Mac;

/// Lookups of a window.
const WINDOW: usize = 2_000_000;
/// Hosts of the mappings.
const HOSTS: u32 = 10;

/// The nth mapping's key and value, as the agent packs them.
fn mapping(number: u32) -> (u64, u32) {
    let mac = Mac::from_u64(0x0201_0000_0000 + u64::from(number));
    let target = Target::Remote(PeerId(number % HOSTS));
    (endpoint_key(SegmentId(1), mac), target.pack())
}

/// All keys, each once, mixed (Fisher and Yates; xorshift64).
fn mixed(mappings: u32) -> Vec<u64> {
    let mut keys: Vec<u64> = (0..mappings).map(|number| mapping(number).0).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for place in (1..keys.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = ((u128::from(state) * (place as u128 + 1)) >> 64) as usize;
        keys.swap(place, other);
    }
    keys
}

/// Both tables, filled alike.
struct Tables {
    weir: Writer<5, 1>,
    /// For one thread; with lock-free readers.
    rte: [Hash; 2],
}

impl Tables {
    fn filled(mappings: u32, stop: &Stop) -> Result<Tables, Halt> {
        let fault = |why: String| Halt::failed("lookup", why, "");
        let room = mappings + mappings / 10;
        let table = |lock_free| {
            Hash::create(
                eal(machine::huge(), &[])?,
                if lock_free { "lookup-lf" } else { "lookup" },
                room,
                lock_free,
            )
            .map_err(|error| fault(error.to_string()))
        };
        let mut tables = Tables {
            weir: Writer::new(mappings as usize, 1),
            rte: [table(false)?, table(true)?],
        };
        if machine::huge() {
            rte::ask_for_hugepages(tables.weir.table().memory());
        }
        for number in 0..mappings {
            if number % (1 << 16) == 0 {
                stop.check()?;
            }
            let (key, value) = mapping(number);
            tables
                .weir
                .insert(key, [value])
                .map_err(|full| fault(full.to_string()))?;
            for table in &mut tables.rte {
                table
                    .insert(key, u64::from(value))
                    .map_err(|full| fault(full.to_string()))?;
            }
        }
        Ok(tables)
    }
}

/// Looks all of them up; the sum of what was found, `None` if a key was not.
fn weir(table: &Exact<5, 1>, keys: &[u64]) -> Option<u64> {
    let (mut sum, mut values) = (0, [[0]; BATCH]);
    for keys in keys.chunks_exact(BATCH) {
        if table.get_batch(keys, &mut values) != u32::MAX {
            return None;
        }
        sum += values.iter().map(|[value]| u64::from(*value)).sum::<u64>();
    }
    Some(sum)
}

/// The same of rte_hash.
fn rte_hash(table: &Hash, keys: &[u64]) -> Option<u64> {
    let (mut sum, mut values) = (0, [0; BATCH]);
    for keys in keys.chunks_exact(BATCH) {
        if table.lookup_bulk(keys, &mut values) != u64::from(u32::MAX) {
            return None;
        }
        sum += values.iter().sum::<u64>();
    }
    Some(sum)
}

/// Weir's rate ÷ the best of rte_hash, round by round.
pub fn measure(
    mappings: u32,
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Vec<f64>, Halt> {
    let plan = plan.beside(&[]);
    let (core, _) = Rig::set_up(&plan, ask, stop, watcher)?.cores();
    watcher.doing(&format!("filling two tables with {mappings} mappings"));
    let tables = Tables::filled(mappings, stop)?;
    let keys = mixed(mappings);
    // A thread of its own: it is bound to the measured core, the rig is not.
    let by = &plan;
    let rounds = std::thread::scope(|scope| {
        let run = move || {
            let bound = pin_current(core);
            bound.map_err(|error| Halt::failed("lookup", error.to_string(), ""))?;
            windows(&tables, &keys, by, core, stop)
        };
        let done = scope.spawn(run).join();
        done.unwrap_or_else(|_| Err(Halt::failed("lookup", "ended early", "")))
    })?;
    let of = |which: usize| {
        rounds
            .iter()
            .map(|round| round[which])
            .collect::<Vec<f64>>()
    };
    let median = |which| crate::spread::Spread::of(of(which), 2).map_or(0.0, |it| it.median);
    let (own, plain, lock_free) = (median(0), median(1), median(2));
    watcher.note(&format!(
        "{mappings} mappings, million lookups a second: weir {own}, rte_hash {plain}, with lock-free readers {lock_free}"
    ));
    let best = if plain > lock_free { 1 } else { 2 };
    rest(
        crate::rounds::paired(&of(0), &of(best), |a, b| a / b),
        &plan,
    )
}

/// Million lookups a second of each, in rounds.
fn windows(
    tables: &Tables,
    keys: &[u64],
    plan: &Plan,
    core: u32,
    stop: &Stop,
) -> Result<Vec<[f64; 3]>, Halt> {
    let table = tables.weir.table();
    let [plain, lock_free] = &tables.rte;
    let length = keys.len().min(WINDOW) / BATCH * BATCH;
    let mut rounds = Vec::new();
    let mut parts = keys.chunks_exact(length).cycle();
    for _ in 0..2 * plan.rounds {
        stop.check()?;
        let keys = parts.next().unwrap_or(keys);
        let all: [&dyn Fn() -> Option<u64>; 3] =
            [&|| weir(&table, keys), &|| rte_hash(plain, keys), &|| {
                rte_hash(lock_free, keys)
            }];
        let (mut rates, mut sums) = ([0.0; 3], [0; 3]);
        let mut clean = true;
        for ((lookup, rate), sum) in all.into_iter().zip(&mut rates).zip(&mut sums) {
            match window(lookup, plan, core)? {
                Some((took, found)) => (*rate, *sum) = (length as f64 / took / 1e6, found),
                None => clean = false,
            }
        }
        if clean {
            if sums[0] != sums[1] || sums[0] != sums[2] {
                let why = "the tables have different values";
                return Err(Halt::failed("lookup", why, ""));
            }
            rounds.push(rates);
        }
        if rounds.len() == plan.rounds {
            break;
        }
    }
    Ok(rounds)
}

/// Seconds that it took, and what it found; `None` if others had the core each time.
fn window(
    lookup: &dyn Fn() -> Option<u64>,
    plan: &Plan,
    core: u32,
) -> Result<Option<(f64, u64)>, Halt> {
    for _ in 0..TRIES {
        let others = Others::look(core, std::process::id())?;
        let began = Instant::now();
        let found = lookup();
        let took = began.elapsed().as_secs_f64();
        let others = Others::look(core, std::process::id())?.since(&others);
        let found = found.ok_or_else(|| Halt::failed("lookup", "a key was not found", ""))?;
        if 100.0 * others / took <= plan.bound {
            return Ok(Some((took, found)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_mixed_and_has_each_key_once() {
        let keys = mixed(10_000);
        let rising = keys.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((4_000..6_000).contains(&rising), "{rising}");
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        let all: Vec<u64> = (0..10_000).map(|number| mapping(number).0).collect();
        assert_eq!(sorted, all);
    }

    #[test]
    fn a_key_that_is_not_there_is_told() {
        let mut writer = Writer::<5, 1>::new(100, 1);
        let keys: Vec<u64> = (0..64).map(|number| mapping(number).0).collect();
        for number in 0..63 {
            let (key, value) = mapping(number);
            writer.insert(key, [value]).unwrap();
        }
        let table = writer.table();
        assert_eq!(weir(&table, &keys), None);
        let sum = (0..32).map(|number| u64::from(mapping(number).1)).sum();
        assert_eq!(weir(&table, &keys[..32]), Some(sum));
    }
}
