//! Rates over time while neighbours start and stop, beside those that an ideal link would give: `weir bench bandwidth`.

use super::record::{Count, Record};
use super::scene::{Group, Load, Promise, Scene};
use super::stand::{Around, Stand};
use crate::chart::{Curve, curves};
use crate::halt::{Halt, Stop};
use crate::html;
use crate::machine;
use crate::rounds::{Plan, Rig, Watcher};
use crate::subject::Ask;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::time::Duration;

/// kbit/s of the link.
const CAPACITY: u64 = 1_000_000;
/// Seconds of the run, and of a point.
const LENGTH: f64 = 3.0;
const STEP: f64 = 0.02;

/// Who is there: a name, how many vNICs, kbit/s of a minimum and of a maximum of each, bytes of a frame, from when to when they send.
type Part = (&'static str, u32, Option<u64>, Option<u64>, u16, (f64, f64));

/// They send all they can while they do.
const PARTS: [Part; 4] = [
    (
        "silver, at most 400 Mbit/s",
        1,
        Some(200_000),
        Some(400_000),
        1518,
        (0.0, LENGTH),
    ),
    (
        "gold, at least 500 Mbit/s",
        1,
        Some(500_000),
        None,
        1518,
        (0.5, 2.0),
    ),
    (
        "bronze, at least 100 Mbit/s",
        1,
        Some(100_000),
        None,
        64,
        (1.0, 2.5),
    ),
    ("ten without a minimum", 10, None, None, 594, (0.2, LENGTH)),
];

/// What each part sent, point by point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Seconds of a point.
    pub step_seconds: f64,
    /// What the link carries, in Mbit/s of the wire.
    pub capacity_mbit: f64,
    /// Percent of the time that others had the core.
    pub disturbed: f64,
    /// One a part.
    pub parts: Vec<PartShares>,
}

/// One part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartShares {
    /// Who it is.
    pub name: String,
    /// Mbit/s of the wire at each point.
    pub mbit: Vec<f64>,
    /// What an ideal link would give.
    pub ideal_mbit: Vec<f64>,
}

fn scene() -> Scene {
    let groups = PARTS.iter().map(|(_, vnics, min, max, ..)| Group {
        vnics: *vnics,
        tenant: 0,
        promise: Promise {
            min: *min,
            weight: None,
            max: *max,
        },
    });
    Scene {
        capacity: Some(CAPACITY),
        groups: groups.collect(),
        events: 1 << 23,
    }
}

/// Runs it once.
pub fn run(
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Shares, Halt> {
    let (core, _) = Rig::set_up(plan, ask, stop, watcher)?.cores();
    let around = Around {
        plan,
        core,
        huge: machine::huge(),
        ask,
        stop,
    };
    let scene = scene();
    watcher.doing("neighbours start and stop");
    let stand = Stand::start(around, &scene, true)?;
    let loads = PARTS.map(|(_, _, _, _, frame, (from, to))| Load {
        after: from,
        turns: (to - from, 1e3),
        ..Load::even(frame, None)
    });
    let record = stand.record_from(scene.offers(&loads), Duration::from_secs_f64(LENGTH))?;
    Ok(shares(&scene, &record))
}

/// Rates of each part, of the wire.
fn shares(scene: &Scene, record: &Record) -> Shares {
    let points = (LENGTH / STEP).round() as u32;
    let mbit = |bits: f64| (bits / 1e4).round() / 1e2;
    let started = u64::try_from(record.offered_at).unwrap_or(0);
    let parts = scene.ranges().into_iter().zip(PARTS).enumerate();
    let parts = parts.map(|(place, (vnics, part))| {
        let events = record.events.iter();
        let own = events.filter(|event| vnics.contains(&event.sender));
        let mut bytes = vec![0; points as usize];
        for event in own {
            let after = event.at.saturating_sub(started) as f64 / record.hz;
            if let Some(point) = bytes.get_mut((after / STEP) as usize) {
                *point += Count::Wire.of(event.bytes);
            }
        }
        let ideal = (0..points).map(|point| {
            let now = (f64::from(point) + 0.5) * STEP;
            let loads = PARTS.map(|(_, _, _, _, frame, (from, to))| {
                let sends = (from..to).contains(&now);
                Load::even(frame, if sends { None } else { Some(0.0) })
            });
            let ideal = scene.ideal(&loads);
            let own = scene.ranges().into_iter().nth(place).unwrap_or(0..0);
            mbit(own.filter_map(|vnic| ideal.get(vnic as usize)).sum())
        });
        PartShares {
            name: part.0.to_string(),
            mbit: bytes
                .iter()
                .map(|bytes| mbit(*bytes as f64 * 8.0 / STEP))
                .collect(),
            ideal_mbit: ideal.collect(),
        }
    });
    Shares {
        step_seconds: STEP,
        capacity_mbit: CAPACITY as f64 / 1e3,
        disturbed: (record.disturbed() * 100.0).round() / 100.0,
        parts: parts.collect(),
    }
}

/// As one HTML file.
pub fn page(shares: &Shares) -> String {
    let ticks: Vec<(f64, String)> = (0..=6)
        .map(|half| {
            (
                f64::from(half) / 2.0,
                format!("{:.1} s", f64::from(half) / 2.0),
            )
        })
        .collect();
    let chart = |of: fn(&PartShares) -> &Vec<f64>| {
        let curve = |part: &PartShares| Curve {
            name: part.name.clone(),
            points: of(part)
                .iter()
                .enumerate()
                .map(|(place, mbit)| ((place as f64 + 0.5) * shares.step_seconds, *mbit))
                .collect(),
        };
        let all: Vec<Curve> = shares.parts.iter().map(curve).collect();
        curves(&all, &ticks, false)
    };
    let mut body = String::new();
    let _ = write!(
        body,
        "<header><p class=\"dim\">weir bench bandwidth</p><h1>Who gets how much?</h1>\
         <p class=\"dim\">A link of {:.0} Mbit/s, each point {:.0} ms; others had the core {:.1} % of the time</p></header>\
         <section><div class=\"grid\">",
        shares.capacity_mbit,
        1e3 * shares.step_seconds,
        shares.disturbed
    );
    html::figure(
        "Mbit/s of the wire, as they were sent",
        &chart(|part| &part.mbit),
        &mut body,
    );
    html::figure(
        "Mbit/s that an ideal link would give",
        &chart(|part| &part.ideal_mbit),
        &mut body,
    );
    body.push_str("</div></section>");
    html::framed("who gets how much", &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_worker::rig::sink::Event;

    #[test]
    fn points_are_rates_of_the_wire_beside_the_ideal() {
        // Silver alone, a frame of 1,580 bytes on the wire each 31.6 µs: 400 Mbit/s, offered from 1 ms of the log on.
        let events = (0..6_330).map(|n| Event {
            at: 1_000_000 + 31_600 * n,
            sender: 0,
            bytes: 1556,
        });
        let record = Record {
            hz: 1e9,
            events: events.collect(),
            length: 3_000_000_000,
            offered_at: 1_000_000,
            ..Record::default()
        };
        let shares = shares(&scene(), &record);
        let silver = &shares.parts[0];
        assert!(
            (silver.mbit[3] - 400.0).abs() < 1.0,
            "{:?}",
            &silver.mbit[..12]
        );
        assert_eq!(silver.mbit[12], 0.0);
        let at =
            |part: usize, seconds: f64| shares.parts[part].ideal_mbit[(seconds / STEP) as usize];
        // Its maximum is of its own bytes.
        assert!((at(0, 0.1) - 400.0 * 1580.0 / 1514.0).abs() < 0.1);
        assert!((at(1, 0.7) - 625.0).abs() < 0.1 && (at(1, 1.5) - 555.56).abs() < 0.1);
        assert_eq!((at(1, 0.3), at(1, 2.1)), (0.0, 0.0));
        let page = page(&shares);
        assert!(page.contains("gold, at least 500 Mbit/s") && !page.contains("NaN"));
    }
}
