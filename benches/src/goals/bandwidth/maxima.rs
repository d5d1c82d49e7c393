//! Many limiters, each offered more than its maximum, on a link that has room for all: what leaves of each in windows of a second and
//! of 100 ms, at any offset, against its maximum.

use super::{WARM_UP, What, rounds};
use crate::bandwidth::judge::{Rate, Windows, over, under};
use crate::bandwidth::record::{Count, Record};
use crate::bandwidth::scene::{Group, Load, Promise, Scene};
use crate::bandwidth::stand::{Around, Stand};
use crate::halt::Halt;
use crate::rounds::Watcher;
use std::time::Duration;

/// How long is logged: any window of a second has half a second to be elsewhere in.
const LENGTH: Duration = Duration::from_millis(1500);
/// How much more is offered than may be sent.
const OFFERED: f64 = 1.3;

/// Limiters that are alike: how many, kbit/s of their own bytes, bytes of a frame.
type Alike = (u32, u64, u16);

/// One limiter; a thousand; ten thousand.
const SCENES: [&[Alike]; 4] = [
    &[(1, 1_000_000, 1518)],
    &[(1, 100_000, 64)],
    &[(400, 500, 64), (400, 2_000, 1518), (200, 10_000, 1518)],
    &[(5_000, 50, 64), (4_000, 200, 1518), (1_000, 1_000, 1518)],
];

/// The worst error of any limiter in percent, in windows of a second and of 100 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Round {
    second: f64,
    tenth: f64,
}

impl Round {
    /// In the windows that are asked for.
    pub fn off(&self, what: What) -> f64 {
        match what {
            What::Max1s => self.second,
            _ => self.tenth,
        }
    }

    fn worse(self, other: Round) -> Round {
        Round {
            second: self.second.max(other.second),
            tenth: self.tenth.max(other.tenth),
        }
    }
}

fn scene(of: &[Alike]) -> Scene {
    let groups = of.iter().map(|(vnics, max, _)| Group {
        vnics: *vnics,
        tenant: 0,
        promise: Promise {
            max: Some(*max),
            ..Promise::default()
        },
    });
    Scene {
        capacity: None,
        groups: groups.collect(),
        events: 1 << 22,
    }
}

/// Rounds, each of every scene.
pub fn measure(around: Around<'_>, watcher: &mut dyn Watcher) -> Result<Vec<Round>, Halt> {
    let mut all: Option<Vec<Round>> = None;
    for of in SCENES {
        let scene = scene(of);
        let title = format!("{} limiters", scene.vnics());
        watcher.doing(&title);
        let stand = Stand::start(around, &scene, true)?;
        let offers: Vec<_> = scene
            .ranges()
            .into_iter()
            .zip(of)
            .map(|(vnics, (_, kbit, frame))| {
                let (own, wire) = (Count::Own.of_frame(*frame), Count::Wire.of_frame(*frame));
                let rate = OFFERED * 1e3 * *kbit as f64 * wire as f64 / own as f64;
                Load::even(*frame, Some(rate)).offer(vnics)
            })
            .collect();
        stand.offer(offers)?;
        around.stop.sleep(WARM_UP)?;
        let own = rounds(around, |number| {
            let Some(record) = stand.quiet(&title, LENGTH, watcher)? else {
                return Ok(None);
            };
            let round = judge(&record, of);
            watcher.note(&format!(
                "{title}, round {number}: off by {:.3} % in 1 s, {:.3} % in 100 ms at most",
                round.second, round.tenth
            ));
            Ok(Some(round))
        })?;
        all = Some(match all {
            None => own,
            Some(all) => all.iter().zip(own).map(|(a, b)| a.worse(b)).collect(),
        });
    }
    Ok(all.unwrap_or_default())
}

/// The worst of all limiters. What leaves too much is held against the clock, what is missing against the time in which the worker ran.
fn judge(record: &Record, of: &[Alike]) -> Round {
    let limiters = of.iter().flat_map(|(vnics, kbit, frame)| {
        let rate = Rate::new(1e3 * *kbit as f64, record.hz, Count::Own.of_frame(*frame));
        std::iter::repeat_n(rate, *vnics as usize)
    });
    let count = of.iter().map(|(vnics, ..)| vnics).sum();
    let clock = record.by_clock(count, Count::Own);
    let running = record.by_running(count, Count::Own);
    let ran = record.running.at(record.length);
    let mut worst = Round::default();
    for ((rate, clock), running) in limiters.zip(&clock).zip(&running) {
        let off = |seconds: f64| {
            let length = record.cycles(seconds);
            let windows = |to| Windows {
                from: 0,
                to,
                length,
            };
            over(clock, rate, windows(record.length)).max(under(running, rate, windows(ran)))
        };
        worst = worst.worse(Round {
            second: off(1.0),
            tenth: off(0.1),
        });
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_worker::rig::sink::Event;

    /// Two limiters of 480 kbit/s and one of 1 Mbit/s by a clock of 1 MHz, the first `fast` times as fast as it may.
    fn record(fast: f64) -> Record {
        let mut events = Vec::new();
        for sender in 0..3 {
            // 60 bytes of 480 kbit/s take a millisecond, 1,514 of 1 Mbit/s 12.112.
            let (every, bytes) =
                [(1000.0 / fast, 102), (1000.0, 102), (12_112.0, 1556)][sender as usize];
            let count = (1_500_000.0 / every).ceil() as u64;
            events.extend((0..count).map(|n| Event {
                at: (every * n as f64) as u64,
                sender,
                bytes,
            }));
        }
        events.sort_by_key(|event| event.at);
        Record {
            hz: 1e6,
            events,
            length: 1_500_000,
            ..Record::default()
        }
    }

    const OF: [Alike; 2] = [(2, 480, 64), (1, 1000, 1518)];

    #[test]
    fn limiters_that_keep_to_it_are_off_by_nothing() {
        assert_eq!(judge(&record(1.0), &OF), Round::default());
    }

    #[test]
    fn one_that_does_not_is_found_as_is_a_maximum_that_was_not_set_so() {
        let round = judge(&record(1.02), &OF);
        assert!((round.second - 2.0).abs() < 0.11, "{round:?}");
        let round = judge(&record(0.9), &OF);
        assert!((round.second - 10.0).abs() < 0.2, "{round:?}");
        // The run is right, and 1.2% faster than what it is held against.
        let wrong = [(1, 480, 64), (1, 474, 64), (1, 1000, 1518)];
        let round = judge(&record(1.0), &wrong);
        assert!(round.second > 1.1 && round.tenth > 0.2, "{round:?}");
    }
}
