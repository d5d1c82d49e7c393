//! Goals of changes while it forwards: what they cost the path, that they lose no packet, how soon they are seen and what they
//! replaced is free.
//!
//! A round is one life of a daemon: short windows without and with updates in turn, so that each with updates is held against
//! the two beside it, and what the machine does in the meantime is done to both.

use crate::halt::{Halt, Stop};
use crate::pcap;
use crate::rounds::{Plan, Rig, Watcher};
use crate::scenario::Scenario;
use crate::spread::Spread;
use crate::subject::weir::Weir;
use crate::subject::{Ask, Bench, Ends, Running, Subject};
use crate::window::{Sample, Updates, measure_with};
use crate::workload::Workload;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

/// Updates a second that there are goals for.
const RATES: [u32; 2] = [100_000, 1_000_000];
/// Windows with updates in a round.
const PAIRS: usize = 5;
/// A window is so much shorter than one that a subject is measured in by itself.
const SHORTER: u32 = 4;
/// How long a daemon runs before its first window, at most.
const WARM_UP: Duration = Duration::from_secs(1);
/// How often a pair is tried before the round is given up.
const TRIES: usize = 4;
/// Share of the updates that were asked for that must have been made.
const ENOUGH: f64 = 0.98;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Percent by which forwarding is slower with so many updates a second.
    Slower(u32),
    /// Packets that the source gave and the sink did not get, and those that Weir counts as dropped.
    Lost(u32),
    /// Microseconds until every worker had seen a change, p99.
    Visible,
    /// Microseconds until what it replaced was free, p99.
    Reclaim,
}

/// One life of a daemon.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Round {
    slower: f64,
    lost: f64,
    visible: f64,
    reclaim: f64,
}

/// What was measured so far: each rate once, whatever asks for it.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<u32, Vec<Round>>);

impl Known {
    /// Rounds of it.
    pub fn measure(
        &mut self,
        what: What,
        plan: &Plan,
        ask: &dyn Ask,
        stop: &Stop,
        watcher: &mut dyn Watcher,
    ) -> Result<Vec<f64>, Halt> {
        let rates = match what {
            What::Slower(rate) | What::Lost(rate) => vec![rate],
            // The worse of both.
            What::Visible | What::Reclaim => RATES.to_vec(),
        };
        for &rate in &rates {
            if let Entry::Vacant(entry) = self.0.entry(rate) {
                entry.insert(rounds(rate, plan, ask, stop, watcher)?);
            }
        }
        let of = |of: fn(&Round) -> f64| -> Vec<f64> {
            let each = rates.iter().filter_map(|rate| self.0.get(rate));
            let each = each.map(|rounds| rounds.iter().map(of).collect::<Vec<_>>());
            let worse = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a.max(b)).collect();
            each.reduce(worse).unwrap_or_default()
        };
        Ok(match what {
            What::Slower(_) => of(|round| round.slower),
            What::Lost(_) => of(|round| round.lost),
            What::Visible => of(|round| round.visible),
            What::Reclaim => of(|round| round.reclaim),
        })
    }
}

fn rounds(
    rate: u32,
    plan: &Plan,
    ask: &dyn Ask,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Round>, Halt> {
    let plan = plan.beside(&[]);
    let rig = Rig::set_up(&plan, ask, stop, watcher)?;
    let folder = tempfile::tempdir().map_err(|error| Halt::io("the scratch folder", &error))?;
    let (scenario, load) = (
        Scenario::NvgreEncap,
        Workload {
            updates: rate,
            ..Workload::default()
        },
    );
    let frames = folder.path().join("frames.pcap");
    pcap::write_file(&frames, &load.frames(scenario))?;
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        let own = tempfile::tempdir_in(folder.path());
        let own = own.map_err(|error| Halt::io(folder.path().display(), &error))?;
        let ends = Ends::Alone { pcap: &frames };
        let bench = rig.bench(scenario, load, own.path(), ends);
        let title = format!("{rate} updates/s, round {number}/{}", plan.rounds);
        watcher.doing(&title);
        let mut running = Weir::new(plan.program.clone()).start(&bench)?;
        stop.sleep(WARM_UP.min(plan.window))?;
        let pairs = alternate(&plan, rate, running.as_mut(), &bench, &title, watcher)?;
        let lost = running.settle()?.lost.unwrap_or(0);
        running.stop()?;
        if let Some(round) = Round::of(&pairs, lost) {
            watcher.note(&format!(
                "{title}: {:.2} % slower, {lost} lost, seen {:.1} us, free {:.1} us (p99)",
                round.slower, round.visible, round.reclaim
            ));
            rounds.push(round);
        }
    }
    Ok(rounds)
}

/// A window with updates, and the mean rate of those without before and after it.
#[derive(Clone, Copy, Debug)]
struct Pair {
    with: f64,
    without: f64,
    updates: Updates,
}

impl Round {
    /// None if no pair counts.
    fn of(pairs: &[Pair], lost: u64) -> Option<Round> {
        let slower = |pair: &Pair| 100.0 * (1.0 - pair.with / pair.without);
        let most = |of: fn(&Pair) -> f64| pairs.iter().map(of).fold(0.0, f64::max);
        Some(Round {
            slower: Spread::of(pairs.iter().map(slower), 3)?.median,
            lost: lost as f64,
            visible: most(|pair| pair.updates.changes.visible.p99_us),
            reclaim: most(|pair| pair.updates.changes.reclaimed.p99_us),
        })
    }
}

/// Windows without and with updates in turn. A pair of which others had the core in one window for longer than allowed, or in
/// which control did not get to making as many updates as it should, is thrown away and repeated.
fn alternate(
    plan: &Plan,
    rate: u32,
    running: &mut dyn Running,
    bench: &Bench,
    title: &str,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Pair>, Halt> {
    let mut pairs = Vec::new();
    let mut before = window(plan, 0, running, bench)?;
    for _ in 0..PAIRS {
        for _ in 0..TRIES {
            let with = window(plan, rate, running, bench)?;
            let after = window(plan, 0, running, bench)?;
            let all = [before, with, after];
            let others = all.iter().map(|it| 100.0 * it.others).fold(0.0, f64::max);
            let without = (before.pps + after.pps) / 2.0;
            before = after;
            let Some(updates) = with.updates else {
                continue;
            };
            if others > plan.bound {
                watcher.note(&format!(
                    "{title}: a pair thrown away: others had the core {others:.1} % of the time"
                ));
                continue;
            }
            if updates.per_second < ENOUGH * f64::from(rate) {
                watcher.note(&format!(
                    "{title}: a pair thrown away: only {:.0} updates a second were made",
                    updates.per_second
                ));
                continue;
            }
            let with = with.pps;
            pairs.push(Pair {
                with,
                without,
                updates,
            });
            break;
        }
    }
    Ok(pairs)
}

fn window(
    plan: &Plan,
    rate: u32,
    running: &mut dyn Running,
    bench: &Bench,
) -> Result<Sample, Halt> {
    let length: Duration = plan.window / SHORTER;
    let sample = measure_with(rate, running, bench.core, length, bench.stop)?;
    running.judge(&sample)?;
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_agent::stats::{ChangeStats, Percentiles};

    fn pair(with: f64, without: f64, p99_us: f64) -> Pair {
        let visible = Percentiles {
            p99_us,
            ..Percentiles::default()
        };
        let reclaimed = Percentiles {
            p99_us: 2.0 * p99_us,
            ..Percentiles::default()
        };
        Pair {
            with,
            without,
            updates: Updates {
                per_second: 1e6,
                changes: ChangeStats {
                    visible,
                    reclaimed,
                    waits: 0,
                },
            },
        }
    }

    #[test]
    fn a_round_is_the_median_of_its_pairs_and_the_worst_of_its_times() {
        let pairs = [
            pair(97.0, 100.0, 3.0),
            pair(50.0, 50.0, 9.0),
            pair(196.0, 200.0, 4.0),
        ];
        let round = Round::of(&pairs, 7).unwrap();
        let wanted = Round {
            slower: 2.0,
            lost: 7.0,
            visible: 9.0,
            reclaim: 18.0,
        };
        assert_eq!(round, wanted);
        assert_eq!(Round::of(&[], 0), None);
    }

    #[test]
    fn times_are_the_worse_of_both_rates_round_by_round() {
        struct Silent;
        impl Watcher for Silent {
            fn doing(&mut self, _: &str) {}
            fn note(&mut self, _: &str) {}
        }
        let round = |visible| Round {
            slower: visible,
            lost: 0.0,
            visible,
            reclaim: visible,
        };
        let mut known = Known::default();
        known.0.insert(RATES[0], vec![round(1.0), round(8.0)]);
        known.0.insert(RATES[1], vec![round(4.0), round(2.0)]);
        let mut of = |what| {
            let plan = Plan {
                scenarios: Vec::new(),
                loads: Vec::new(),
                rounds: 2,
                window: Duration::ZERO,
                peers: Vec::new(),
                core: None,
                bound: 1.0,
                program: "weir".into(),
                stages: false,
            };
            let (ask, stop) = (crate::subject::weir::tests::Nobody, Stop::default());
            known
                .measure(what, &plan, &ask, &stop, &mut Silent)
                .unwrap()
        };
        assert_eq!(of(What::Visible), [4.0, 8.0]);
        assert_eq!(of(What::Slower(RATES[1])), [4.0, 2.0]);
    }
}
