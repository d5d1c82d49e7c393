//! Minima while neighbours send all they can: short and long frames on either side, evenly and in bursts. What minima add up to is what
//! the link can promise, so that nobody has anything to spare.

use super::{OfLink, WARM_UP, busy, rounds};
use crate::bandwidth::judge::{Rate, Windows, under};
use crate::bandwidth::record::{Count, Record};
use crate::bandwidth::scene::{Group, Load, Promise, Scene};
use crate::bandwidth::stand::{Around, Stand};
use crate::halt::Halt;
use crate::rounds::Watcher;
use std::time::Duration;

/// How long is logged.
const LENGTH: Duration = Duration::from_millis(600);
/// kbit/s of the link.
const CAPACITY: u64 = 1_000_000;
/// Minima that are judged, in kbit/s, so many vNICs each; four of all of them are half of the link.
const JUDGED: [u64; 5] = [1_000, 5_000, 10_000, 20_000, 89_000];
const EACH: u32 = 4;
/// Neighbours with a minimum, together with those that are judged 90% of the link; and those without one.
const NEIGHBOURS: (u32, u64) = (40, 10_000);
const REST: u32 = 956;
/// How much more than their minimum they offer.
const OFFERED: f64 = 1.3;
/// The shortest window, in seconds.
const WINDOW: f64 = 0.01;

/// Bytes of those that are judged, of their neighbours, and whether these send in bursts and by turns.
const MIXES: [(u16, u16, bool); 4] = [
    (64, 64, false),
    (64, 1518, true),
    (1518, 64, true),
    (1518, 1518, false),
];

fn scene() -> Scene {
    let group = |vnics, min| Group {
        vnics,
        tenant: 0,
        promise: Promise {
            min,
            ..Promise::default()
        },
    };
    let judged = JUDGED.iter().map(|min| group(EACH, Some(*min)));
    let (neighbours, min) = NEIGHBOURS;
    let others = [group(neighbours, Some(min)), group(REST, None)];
    Scene {
        capacity: Some(CAPACITY),
        groups: judged.chain(others).collect(),
        events: 1 << 20,
    }
}

/// What everyone offers in a mix. Of those without a minimum half sends evenly, always.
fn loads(mix: (u16, u16, bool)) -> Vec<Load> {
    let (own, theirs, bursts) = mix;
    let offered = |kbit: u64| Some(OFFERED * 1e3 * kbit as f64);
    let judged = JUDGED.iter().map(|min| Load::even(own, offered(*min)));
    let neighbours = Load::even(theirs, offered(NEIGHBOURS.1));
    let rest = Load::even(theirs, None);
    let bursty = |load| Load {
        burst: 32,
        turns: (0.007, 0.004),
        ..load
    };
    let others = match bursts {
        true => [bursty(neighbours), rest],
        false => [neighbours, rest],
    };
    judged.chain(others).collect()
}

/// Rounds of all mixes.
pub fn measure(around: Around<'_>, watcher: &mut dyn Watcher) -> Result<Vec<OfLink>, Halt> {
    let scene = scene();
    let stand = Stand::start(around, &scene, true)?;
    rounds(around, |number| {
        let mut worst: Option<OfLink> = None;
        for mix in MIXES {
            let (own, theirs, bursts) = mix;
            let how = if bursts { "in bursts" } else { "evenly" };
            let title = format!("minima, round {number}, {own} bytes beside {theirs} {how}");
            watcher.doing(&title);
            let loads = loads(mix);
            stand.offer(scene.offers(&loads))?;
            around.stop.sleep(WARM_UP)?;
            let Some(record) = stand.quiet(&title, LENGTH, watcher)? else {
                return Ok(None);
            };
            let round = judge(&record, mix);
            watcher.note(&format!(
                "{title}: {:.2} % short at most, link {:.2} % busy",
                round.off, round.busy
            ));
            worst = Some(round.worse(worst));
        }
        Ok(worst)
    })
}

/// The worst shortfall of those that are judged, by the time in which the worker ran.
fn judge(record: &Record, mix: (u16, u16, bool)) -> OfLink {
    let (own, theirs, _) = mix;
    let (own, theirs) = (Count::Wire.of_frame(own), Count::Wire.of_frame(theirs));
    let bytes_a_second = 1e3 * CAPACITY as f64 / 8.0;
    let judged = EACH * JUDGED.len() as u32;
    // Two rounds of one frame of each that has packets waiting.
    let round = u64::from(judged) * own + u64::from(NEIGHBOURS.0 + REST) * theirs;
    let window = WINDOW.max(2.0 * round as f64 / bytes_a_second);
    let windows = Windows {
        from: 0,
        to: record.running.at(record.length),
        length: record.cycles(window),
    };
    let series = record.by_running(judged, Count::Wire);
    let minima = JUDGED
        .iter()
        .flat_map(|min| std::iter::repeat_n(*min, EACH as usize));
    let short = minima.zip(&series).map(|(kbit, series)| {
        let rate = Rate::new(1e3 * kbit as f64, record.hz, own);
        under(series, rate, windows)
    });
    OfLink {
        off: short.fold(0.0, f64::max),
        busy: busy(record, 1e3 * CAPACITY as f64, own.max(theirs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_worker::rig::sink::Event;

    const MIX: (u16, u16, bool) = (64, 64, false);

    /// Everyone judged has its minimum in even frames of 126 bytes by a clock of 1 GHz, the last of them but for what `is` leaves out; the rest
    /// is one other's.
    fn record(is: impl Fn(u64) -> bool) -> Record {
        let mut events = Vec::new();
        for sender in 0..20u32 {
            let kbit = JUDGED[sender as usize / 4];
            let every = 126.0 * 8.0 * 1e6 / kbit as f64;
            events.extend((0..(600e6 / every).ceil() as u64).map(|n| Event {
                at: (every * n as f64) as u64,
                sender,
                bytes: 102,
            }));
        }
        events.retain(|event| event.sender != 19 || is(event.at));
        events.extend((0..297_619).map(|n| Event {
            at: 2016 * n,
            sender: 500,
            bytes: 102,
        }));
        events.sort_by_key(|event| event.at);
        Record {
            hz: 1e9,
            events,
            length: 600_000_000,
            ..Record::default()
        }
    }

    #[test]
    fn who_has_its_minimum_is_not_short_and_who_has_not_is() {
        let good = judge(&record(|_| true), MIX);
        assert!(good.off < 0.01 && good.busy > 99.9, "{good:?}");
        // Nothing for 300 µs of a window of 10 ms: 3%, less what one frame of 126 bytes is.
        let short = judge(&record(|at| !(200_000_000..200_300_000).contains(&at)), MIX);
        assert!((short.off - 2.9).abs() < 0.2, "{short:?}");
    }

    #[test]
    fn the_minima_are_all_that_the_link_promises() {
        let scene = scene();
        let promised: u64 = scene.promises().filter_map(|it| it.min).sum();
        assert_eq!(promised, CAPACITY * 9 / 10);
        for mix in MIXES {
            let ideal = scene.ideal(&loads(mix));
            let exact = ideal
                .iter()
                .zip(scene.promises())
                .filter_map(|(got, promise)| Some((got, promise.min?)));
            for (got, min) in exact {
                assert!((got - 1e3 * min as f64).abs() < 1.0, "{got} {min}");
            }
        }
    }
}
