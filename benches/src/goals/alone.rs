//! Goals of the tables and stages alone, in this process.

use crate::halt::Halt;
use std::time::Instant;
use weir_stages::{PACKETS, Round, STAGES, Scene};
use weir_tables::epoch::Epochs;
use weir_tables::exact::Writer;

/// Mappings of a table that is called large.
const MANY: u64 = 1_000_000;
/// Updates between two quiescent rounds.
const ROUND: u64 = 1024;
/// Quiescent rounds that one update may need, at most: one is nearly always enough.
const CHAIN: usize = 8;
/// Updates that are timed.
const UPDATES: u64 = 200_000;
/// Rounds of which the least counts, so that what others do to the core does not.
const TRIES: usize = 50;

/// The nth mapping's key: 16 bits of segment, 48 of MAC.
fn key(number: u64) -> u64 {
    (number % 16 + 1) << 48 | 0x0201_0000_0000 | number
}

fn filled<const SLOTS: usize, const WORDS: usize>() -> Result<Writer<SLOTS, WORDS>, Halt> {
    // As a daemon makes it.
    let room = Writer::<SLOTS, WORDS>::roomy(MANY as usize);
    let mut writer = Writer::<SLOTS, WORDS>::new(room, 1);
    for number in 0..MANY {
        writer
            .insert(key(number), [number as u32 + 1; WORDS])
            .map_err(|full| Halt::failed("table", format!("{full:?} at {number}"), ""))?;
    }
    Ok(writer)
}

fn bytes<const SLOTS: usize, const WORDS: usize>(rounds: usize) -> Result<Vec<f64>, Halt> {
    let bytes = filled::<SLOTS, WORDS>()?.table().memory_bytes();
    // It is the same each time.
    Ok(vec![bytes as f64 / MANY as f64; rounds])
}

/// Bytes a mapping of the endpoints, which NVGRE reads.
pub fn memory_entry(rounds: usize) -> Result<Vec<f64>, Halt> {
    bytes::<5, 1>(rounds)
}

/// Bytes a mapping of the records, which routing reads.
pub fn memory_record(rounds: usize) -> Result<Vec<f64>, Halt> {
    bytes::<3, 3>(rounds)
}

/// Mappings moved to another host, a second: endpoint and record of each, with quiescent rounds of a worker that passes at once.
pub fn updates(rounds: usize) -> Result<Vec<f64>, Halt> {
    let (mut endpoints, mut records) = (filled::<5, 1>()?, filled::<3, 3>()?);
    // Somebody reads: nothing is taken back before the worker has passed.
    let _readers = (endpoints.table(), records.table());
    let epochs = Epochs::new(1);
    let mut worker = epochs
        .join(0)
        .ok_or_else(|| Halt::failed("epochs", "gave no place", ""))?;
    let full = |full| Halt::failed("table", format!("{full:?}"), "");
    let (mut rates, mut number) = (Vec::new(), 0u64);
    for _ in 0..rounds {
        let began = Instant::now();
        for update in 1..=UPDATES {
            // Coprime to the number of mappings: each in turn, none twice within a round.
            number = (number + 611_953) % MANY;
            let value = (update as u32) | 1;
            endpoints.change(key(number), [value]).map_err(full)?;
            let mut tries = 0;
            while let Err(refused) = records.change(key(number), [value; 3]) {
                tries += 1;
                if tries > CHAIN {
                    return Err(full(refused));
                }
                pass(&mut endpoints, &mut records, &epochs, &mut worker);
            }
            if update % ROUND == 0 {
                pass(&mut endpoints, &mut records, &epochs, &mut worker);
            }
        }
        rates.push(UPDATES as f64 / began.elapsed().as_secs_f64());
    }
    Ok(rates)
}

fn pass(
    endpoints: &mut Writer<5, 1>,
    records: &mut Writer<3, 3>,
    epochs: &Epochs,
    worker: &mut weir_tables::epoch::Passer,
) {
    let epoch = epochs.advance();
    endpoints.retire(epoch);
    records.retire(epoch);
    worker.pass();
    let passed = epochs.passed();
    endpoints.reclaim(passed);
    records.reclaim(passed);
}

/// The first packet of a UDP flow against the second, over the whole path in plain memory.
pub fn first_packet(rounds: usize) -> Result<Vec<f64>, Halt> {
    let missing = || Halt::failed("stages", "there is no whole path", "");
    let mut scene = Scene::named("nvgre-encap", PACKETS).ok_or_else(missing)?;
    let whole = STAGES.iter().find(|stage| stage.name == "whole");
    let whole = whole.ok_or_else(missing)?;
    let (mut round, mut flow, mut ratios) = (Round::default(), 0u16, Vec::new());
    for _ in 0..rounds {
        let mut least = [f64::MAX; 2];
        for _ in 0..TRIES {
            for (bytes, _) in &mut scene.frames {
                flow = flow.wrapping_add(1);
                // The UDP source port.
                if let Some(port) = bytes.get_mut(34..36) {
                    port.copy_from_slice(&flow.to_be_bytes());
                }
            }
            for least in &mut least {
                let took = round.run(&scene, whole);
                let took = took.map_err(|why| Halt::failed("stages", why, ""))?;
                *least = least.min(took.as_secs_f64());
            }
        }
        ratios.push(least[0] / least[1]);
    }
    Ok(ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gives_as_many_rounds_as_are_asked_for() {
        let entry = memory_entry(2).unwrap();
        assert!(
            entry.len() == 2 && entry[0] > 12.0 && entry[0] < 64.0,
            "{entry:?}"
        );
        let ratios = first_packet(1).unwrap();
        assert!(ratios.len() == 1 && ratios[0] > 0.0, "{ratios:?}");
        assert!(updates(1).unwrap()[0] > 0.0);
    }
}
