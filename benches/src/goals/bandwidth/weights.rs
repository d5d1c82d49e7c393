//! A thousand vNICs with weights from 1 to 100, some with a maximum, some that offer little, some without a weight: what each gets,
//! against the exact fluid model.

use super::{OfLink, WARM_UP, busy, rounds};
use crate::bandwidth::record::{Count, Record};
use crate::bandwidth::scene::{Group, Load, Promise, Scene};
use crate::bandwidth::stand::{Around, Stand};
use crate::halt::Halt;
use crate::rounds::Watcher;
use std::time::Duration;

/// How long is logged.
const LENGTH: Duration = Duration::from_millis(2000);
/// kbit/s of the link.
const CAPACITY: u64 = 1_000_000;
/// How much more is offered than there is to get.
const OFFERED: f64 = 1.5;

/// vNICs, their weight, kbit/s of a maximum, bytes of a frame, bit/s that they offer if that is less than they could get.
type Alike = (u32, Option<u32>, Option<u64>, u16, Option<f64>);

const GROUPS: [Alike; 10] = [
    (120, Some(1), None, 64, None),
    (120, Some(2), None, 64, None),
    (120, Some(5), None, 1518, None),
    (120, Some(10), None, 64, None),
    (120, Some(20), None, 1518, None),
    (120, Some(50), None, 64, None),
    (120, Some(100), None, 1518, None),
    (60, Some(50), Some(500), 64, None),
    (50, Some(20), None, 1518, Some(200e3)),
    (50, None, None, 64, None),
];

fn scene() -> Scene {
    let groups = GROUPS.iter().map(|(vnics, weight, max, ..)| Group {
        vnics: *vnics,
        tenant: 0,
        promise: Promise {
            min: None,
            weight: *weight,
            max: *max,
        },
    });
    Scene {
        capacity: Some(CAPACITY),
        groups: groups.collect(),
        events: 1 << 22,
    }
}

/// What could be got, and what is offered so that everyone who may have more has packets waiting.
fn loads(scene: &Scene) -> (Vec<f64>, Vec<Load>) {
    let loads: Vec<Load> = GROUPS
        .iter()
        .map(|(_, _, _, frame, rate)| Load::even(*frame, *rate))
        .collect();
    let ideal = scene.ideal(&loads);
    let firsts = scene
        .ranges()
        .into_iter()
        .map(|range| ideal[range.start as usize]);
    let offered = loads.iter().zip(firsts).map(|(load, share)| Load {
        rate: load.rate.or(Some(OFFERED * share)),
        ..*load
    });
    let offered = offered.collect();
    (ideal, offered)
}

/// Rounds.
pub fn measure(around: Around<'_>, watcher: &mut dyn Watcher) -> Result<Vec<OfLink>, Halt> {
    let scene = scene();
    let stand = Stand::start(around, &scene, true)?;
    let (ideal, loads) = loads(&scene);
    stand.offer(scene.offers(&loads))?;
    around.stop.sleep(WARM_UP)?;
    rounds(around, |number| {
        let title = format!("weights, round {number}");
        watcher.doing(&title);
        let Some(record) = stand.quiet(&title, LENGTH, watcher)? else {
            return Ok(None);
        };
        let (round, whose) = judge(&record, &ideal);
        watcher.note(&format!(
            "{title}: {:.2} % off at most ({whose}), link {:.2} % busy",
            round.off, round.busy
        ));
        Ok(Some(round))
    })
}

/// The worst error of any vNIC, beyond one frame, over the time in which the worker ran; and whose it is.
fn judge(record: &Record, ideal: &[f64]) -> (OfLink, String) {
    let series = record.by_running(ideal.len() as u32, Count::Wire);
    let seconds = record.running.at(record.length) as f64 / record.hz;
    let longest = GROUPS.iter().map(|group| group.3).max().unwrap_or(0);
    let frames = GROUPS.iter().flat_map(|(vnics, _, _, frame, _)| {
        std::iter::repeat_n(Count::Wire.of_frame(*frame), *vnics as usize)
    });
    let (mut worst, mut whose) = (0.0, "nobody".to_string());
    for (number, ((series, ideal), frame)) in series.iter().zip(ideal).zip(frames).enumerate() {
        let wanted = ideal / 8.0 * seconds;
        let got = series.total() as f64;
        let off = 100.0 * ((got - wanted).abs() - frame as f64).max(0.0) / wanted;
        if off > worst {
            worst = off;
            let kbit = |bytes: f64| bytes * 8.0 / seconds / 1e3;
            whose = format!("v{number}: {:.1} kbit/s of {:.1}", kbit(got), kbit(wanted));
        }
    }
    let busy = busy(record, 1e3 * CAPACITY as f64, Count::Wire.of_frame(longest));
    (OfLink { off: worst, busy }, whose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_worker::rig::sink::Event;

    /// Everyone has `share` of so many times its ideal, by a clock of 1 GHz.
    fn record(ideal: &[f64], times: impl Fn(usize) -> f64) -> Record {
        let mut events = Vec::new();
        let frames = GROUPS
            .iter()
            .flat_map(|group| std::iter::repeat_n(group.3, group.0 as usize));
        for (number, (rate, frame)) in ideal.iter().zip(frames).enumerate() {
            // Not all at once.
            let phase = (0.618 * number as f64).fract();
            let every = Count::Wire.of_frame(frame) as f64 * 8e9 / (rate * times(number));
            events.extend((0..(2e9 / every).ceil() as u64).map(|n| Event {
                at: (every * (n as f64 + phase)) as u64,
                sender: number as u32,
                bytes: u32::from(frame) - 4 + 42,
            }));
        }
        events.sort_by_key(|event| event.at);
        Record {
            hz: 1e9,
            events,
            length: 2_000_000_000,
            ..Record::default()
        }
    }

    #[test]
    fn who_has_its_share_is_off_by_nothing_and_who_has_not_is_named() {
        let (ideal, _) = loads(&scene());
        let (good, _) = judge(&record(&ideal, |_| 1.0), &ideal);
        assert!(good.off < 0.01 && good.busy > 99.5, "{good:?}");
        let wrong = |number| if number == 800 { 1.05 } else { 1.0 };
        let (off, whose) = judge(&record(&ideal, wrong), &ideal);
        assert!(
            (off.off - 5.0).abs() < 1.0 && whose.starts_with("v800"),
            "{off:?} {whose}"
        );
    }

    #[test]
    fn the_whole_link_is_wanted_and_the_exceptions_bite() {
        let scene = scene();
        let (ideal, loads) = loads(&scene);
        let sum: f64 = ideal.iter().sum();
        assert!((sum - 1e9).abs() < 1.0, "{sum}");
        // A maximum of 500 kbit/s of its own is 1,050 on the wire.
        assert!((ideal[850] - 1050e3).abs() < 1.0, "{}", ideal[850]);
        assert_eq!(ideal[920], 200e3);
        assert!((ideal[0] * 100.0 - ideal[730]).abs() < 1e-3);
        assert!((ideal[960] * 50.0 - ideal[0] * 10.0).abs() < 1e-3);
        let most: f64 = loads
            .iter()
            .zip(&scene.groups)
            .map(|(load, group)| load.rate.unwrap() * f64::from(group.vnics))
            .sum();
        assert!(most > 1.4e9 && most < 1.6e9, "{most}");
    }
}
