//! A vNIC that starts and stops beside many that always send: how long it takes until it has its minimum, and until what it leaves is
//! the others'.

use super::{OfLink, WARM_UP, busy, rounds};
use crate::bandwidth::judge::{Rate, lag};
use crate::bandwidth::record::{Count, Record};
use crate::bandwidth::scene::{Group, Load, Promise, Scene};
use crate::bandwidth::stand::{Around, Stand};
use crate::halt::Halt;
use crate::rounds::Watcher;
use std::time::Duration;

/// How long is logged.
const LENGTH: Duration = Duration::from_millis(600);
/// kbit/s of the link, and of the one's minimum.
const CAPACITY: u64 = 1_000_000;
const MINIMUM: u64 = 300_000;
/// Its neighbours: so many with 12 Mbit/s, so many without a minimum.
const NEIGHBOURS: (u32, u64) = (50, 12_000);
const REST: u32 = 50;
/// How much more than its minimum it offers.
const OFFERED: f64 = 1.1;
/// Seconds that it sends and that it is silent, in turn. What then still waits goes in a few milliseconds.
const TURNS: (f64, f64) = (0.02, 0.03);
/// The shortest time that is allowed, in seconds.
const ALLOWED: f64 = 0.001;
/// Bytes of its frames and of its neighbours'.
const MIXES: [(u16, u16); 3] = [(64, 64), (1518, 1518), (64, 1518)];

fn scene() -> Scene {
    let group = |vnics, min| Group {
        vnics,
        tenant: 0,
        promise: Promise {
            min,
            ..Promise::default()
        },
    };
    let (neighbours, min) = NEIGHBOURS;
    Scene {
        capacity: Some(CAPACITY),
        groups: vec![
            group(1, Some(MINIMUM)),
            group(neighbours, Some(min)),
            group(REST, None),
        ],
        events: 1 << 20,
    }
}

fn loads((own, theirs): (u16, u16)) -> Vec<Load> {
    let one = Load {
        turns: TURNS,
        ..Load::even(own, Some(OFFERED * 1e3 * MINIMUM as f64))
    };
    let neighbours = Load::even(theirs, Some(3e3 * NEIGHBOURS.1 as f64));
    vec![one, neighbours, Load::even(theirs, None)]
}

/// Rounds of all mixes.
pub fn measure(around: Around<'_>, watcher: &mut dyn Watcher) -> Result<Vec<OfLink>, Halt> {
    let scene = scene();
    let stand = Stand::start(around, &scene, true)?;
    rounds(around, |number| {
        let mut worst: Option<OfLink> = None;
        for mix in MIXES {
            let title = format!("turns, round {number}, {} bytes beside {}", mix.0, mix.1);
            watcher.doing(&title);
            stand.offer(scene.offers(&loads(mix)))?;
            around.stop.sleep(WARM_UP)?;
            let Some(record) = stand.quiet(&title, LENGTH, watcher)? else {
                return Ok(None);
            };
            let Some((has, lent)) = judge(&record, mix) else {
                return Err(stand.trouble("the one that starts and stops never did"));
            };
            let busy = busy(
                &record,
                1e3 * CAPACITY as f64,
                Count::Wire.of_frame(mix.0.max(mix.1)),
            );
            watcher.note(&format!(
                "{title}: its minimum after {:.3} ms at most, lent after {:.3}, of {:.3} allowed",
                1e3 * has,
                1e3 * lent,
                1e3 * allowed(mix)
            ));
            let round = OfLink {
                off: has.max(lent) / allowed(mix),
                busy,
            };
            worst = Some(round.worse(worst));
        }
        Ok(worst)
    })
}

/// Seconds that it may take: a millisecond, or as long as one frame of each that has packets waiting.
fn allowed((own, theirs): (u16, u16)) -> f64 {
    let round =
        Count::Wire.of_frame(own) + u64::from(NEIGHBOURS.0 + REST) * Count::Wire.of_frame(theirs);
    ALLOWED.max(round as f64 * 8.0 / (1e3 * CAPACITY as f64))
}

/// Seconds until it had its minimum, each time that it started; and until its neighbours had all of the link, each time that it stopped
/// and its last frame had left. The longest of each; `None` if it did neither.
fn judge(record: &Record, (own, theirs): (u16, u16)) -> Option<(f64, f64)> {
    let (own, theirs) = (Count::Wire.of_frame(own), Count::Wire.of_frame(theirs));
    let minimum = Rate::new(1e3 * MINIMUM as f64, record.hz, own);
    let all = Rate::new(1e3 * CAPACITY as f64, record.hz, theirs.max(own));
    let (it, others) = (
        record.together(|sender| sender == 0),
        record.together(|sender| sender != 0),
    );
    let cycles = |seconds: f64| (seconds * record.hz) as i64;
    let running = |time: i64| record.running.at(u64::try_from(time).unwrap_or(0));
    let (mut has, mut lent) = (None, None);
    let worse = |known: Option<f64>, next: f64| Some(known.map_or(next, |known| known.max(next)));
    let mut start = record.offered_at;
    loop {
        let (stop, next) = (start + cycles(TURNS.0), start + cycles(TURNS.0 + TURNS.1));
        if next > record.length as i64 || next <= start {
            break;
        }
        if start >= 0 {
            let (from, to, end) = (running(start), running(stop), running(next));
            has = worse(has, lag(&it, minimum, from, to));
            // Its last frame of this turn.
            let place = it.at.partition_point(|at| *at < end);
            if let Some(last) = place.checked_sub(1).and_then(|place| it.at.get(place))
                && *last >= from
            {
                lent = worse(lent, lag(&others, all, *last, end));
            }
        }
        start = next;
    }
    Some((has? / record.hz, lent? / record.hz))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_worker::rig::sink::Event;

    /// By a clock of 1 GHz: it starts every 50 ms and sends 20 ms long, 300 Mbit/s from `late` on; the others have the rest, all of it
    /// `after` it has stopped.
    fn record(late: u64, after: u64) -> Record {
        let frame = 1008;
        let mut events = Vec::new();
        for slot in 0..600_000_000 / frame {
            let at = slot * frame;
            let within = at % 50_000_000;
            let sends = (late..20_000_000).contains(&within);
            let its = sends && slot % 10 < 3;
            let idle = (20_000_000..20_000_000 + after).contains(&within);
            if its || !idle {
                events.push(Event {
                    at,
                    sender: if its { 0 } else { 1 + (slot % 100) as u32 },
                    bytes: 102,
                });
            }
        }
        Record {
            hz: 1e9,
            events,
            length: 600_000_000,
            ..Record::default()
        }
    }

    #[test]
    fn the_times_are_those_that_it_took() {
        let (has, lent) = judge(&record(0, 0), MIXES[0]).unwrap();
        assert!(has < 10e-6 && lent < 10e-6, "{has} {lent}");
        let (has, lent) = judge(&record(800_000, 0), MIXES[0]).unwrap();
        assert!((has - 800e-6).abs() < 10e-6 && lent < 10e-6, "{has} {lent}");
        let (has, lent) = judge(&record(0, 400_000), MIXES[0]).unwrap();
        assert!(has < 10e-6 && (lent - 400e-6).abs() < 10e-6, "{has} {lent}");
        assert_eq!(judge(&Record::default(), MIXES[0]), None);
    }

    #[test]
    fn what_is_allowed_is_a_millisecond_or_a_round() {
        assert_eq!(allowed((64, 64)), 0.001);
        let long = allowed((1518, 1518));
        assert!((long - 101.0 * 1580.0 * 8.0 / 1e9).abs() < 1e-9, "{long}");
    }
}
