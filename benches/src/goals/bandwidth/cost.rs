//! What bandwidth costs a packet: Weir with promises less Weir without, on the same devices, in the cycles of busy turns a packet that is
//! sent, of what testpmd mac costs in the same round ([why so](../../../../docs/decisions/0036-measuring-bandwidth.md)).
//!
//! All vNICs of the trunk send all they can. While there is room, everything leaves. Backlogged, the link carries a tenth less than what
//! comes, so that every vNIC has packets waiting and the worker never idles; that tenth is dropped, and what it costs is charged to
//! those that are sent.

use super::{WARM_UP, What, rounds};
use crate::bandwidth::record::Count;
use crate::bandwidth::scene::{Group, Load, Promise, Scene};
use crate::bandwidth::stand::{Around, Stand};
use crate::beside::Held;
use crate::halt::Halt;
use crate::machine::Others;
use crate::pcap;
use crate::process;
use crate::rounds::{TRIES, Watcher};
use crate::scenario::Scenario;
use crate::subject::testpmd::{self, Mode};
use crate::subject::{Bench, Ends};
use crate::workload::Workload;
use std::time::Duration;

/// vNICs.
const FEW: u32 = 1_000;
const MANY: u32 = 10_000;
/// Bytes of a frame.
const FRAME: u16 = 64;
/// kbit/s of a link that has room for everything.
const ROOMY: u64 = 400_000_000;
/// The part of what comes that is sent where there is less room.
const NEAR: std::ops::RangeInclusive<f64> = 0.85..=0.96;
/// How often a capacity is tried before it is given up.
const CAPACITIES: usize = 10;
/// How long one is tried.
const LOOK: Duration = Duration::from_millis(200);

/// Cycles of one round, a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    floor: f64,
    without: [f64; 2],
    roomy: f64,
    backlogged: [f64; 2],
}

impl Round {
    /// What is asked for, in floors: of more vNICs or fewer, whichever costs more.
    pub fn of(&self, what: What) -> f64 {
        let [few, many] = self.without;
        let beyond = match what {
            What::Cost => self.roomy - few,
            _ => f64::max(self.backlogged[0] - few, self.backlogged[1] - many),
        };
        beyond / self.floor
    }
}

fn scene(vnics: u32, capacity: u64) -> Scene {
    Scene {
        capacity: Some(capacity),
        groups: vec![Group {
            vnics,
            tenant: 0,
            promise: Promise {
                min: Some((capacity / u64::from(2 * vnics)).max(1)),
                weight: None,
                max: Some(ROOMY),
            },
        }],
        events: 1,
    }
}

/// Weir on a scene, held until its turn.
struct Subject<'a> {
    name: String,
    stand: Stand<'a>,
    around: Around<'a>,
}

/// What a worker did in a window.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Cycles of busy turns a packet that was sent.
    cycles: f64,
    /// The part of what came that was sent.
    sent: f64,
    /// Packets sent a second.
    rate: f64,
    /// The part of the time that others had the core.
    others: f64,
}

impl<'a> Subject<'a> {
    fn start(
        around: Around<'a>,
        name: String,
        scene: &Scene,
        promised: bool,
    ) -> Result<Self, Halt> {
        let stand = Stand::start(around, scene, promised)?;
        stand.offer(scene.offers(&[Load::even(FRAME, None)]))?;
        let subject = Subject {
            name,
            stand,
            around,
        };
        subject.stand.hold()?;
        Ok(subject)
    }

    fn window(&self, length: Duration) -> Result<Window, Halt> {
        self.stand.go_on()?;
        let taken = self.taken(length);
        self.stand.hold()?;
        taken
    }

    fn taken(&self, length: Duration) -> Result<Window, Halt> {
        let Around { core, stop, .. } = self.around;
        stop.sleep(WARM_UP)?;
        let look = || -> Result<_, Halt> {
            let others = Others::look(core, self.stand.process())?;
            let stats = self.stand.stats()?;
            let worker = stats.workers.first();
            let counts = worker.zip(stats.uplinks.first()).map(|(worker, uplink)| {
                [worker.busy_cycles, worker.rx_packets, uplink.tx_packets].map(|it| it as f64)
            });
            let missing = || self.stand.trouble("shows no worker or no uplink");
            Ok((others, counts.ok_or_else(missing)?))
        };
        let (before, [busy, came, sent]) = look()?;
        stop.sleep(length)?;
        let (after, now) = look()?;
        let seconds = length.as_secs_f64();
        let (busy, came, sent) = (now[0] - busy, now[1] - came, now[2] - sent);
        if sent < 1.0 {
            return Err(self.stand.trouble("sends nothing"));
        }
        Ok(Window {
            cycles: busy / sent,
            sent: sent / came,
            rate: sent / seconds,
            others: after.since(&before) / seconds,
        })
    }

    /// A window in which others did not have the core for longer than the plan allows; none after some tries.
    fn quiet(&self, watcher: &mut dyn Watcher) -> Result<Option<Window>, Halt> {
        let (name, plan) = (&self.name, self.around.plan);
        watcher.doing(&format!("measuring {name}"));
        for _ in 0..TRIES {
            let window = self.window(plan.window)?;
            let others = 100.0 * window.others;
            let said = format!(
                "{name}: {:.1} cycles a packet sent, {:.1} % of what came was sent",
                window.cycles,
                100.0 * window.sent
            );
            if others <= plan.bound {
                watcher.note(&said);
                return Ok(Some(window));
            }
            watcher.note(&format!(
                "{said}, thrown away: others had the core {others:.1} % of the time"
            ));
        }
        Ok(None)
    }

    /// Cycles a packet in such a window.
    fn cycles(&self, watcher: &mut dyn Watcher) -> Result<Option<f64>, Halt> {
        Ok(self.quiet(watcher)?.map(|window| window.cycles))
    }
}

/// Weir on a link that carries a tenth less than what comes. It is worth nothing on another: where the link carries half of what the core
/// could take, a packet that is sent seems to cost twice as much, as all of the time is charged to it.
struct Backlogged<'a> {
    around: Around<'a>,
    vnics: u32,
    /// Packets a second without promises: more than any link here is to carry.
    most: f64,
    /// None until a link is found.
    subject: Option<Subject<'a>>,
}

impl<'a> Backlogged<'a> {
    /// Looks for a link by halving, down from the rate that it has without promises: the less is sent, the less a packet that comes
    /// costs, and the more come.
    fn look(&self, watcher: &mut dyn Watcher) -> Result<Subject<'a>, Halt> {
        let name = format!("weir, {} vNICs backlogged", self.vnics);
        let bits = 8.0 * Count::Wire.of_frame(FRAME) as f64;
        let mut bounds = (None, self.most * bits / 1e3);
        for _ in 0..CAPACITIES {
            let capacity = between(bounds);
            let scene = scene(self.vnics, capacity as u64);
            let subject = Subject::start(self.around, name.clone(), &scene, true)?;
            watcher.note(&format!("{name}: a link of {:.0} Mbit/s", capacity / 1e3));
            // A core that others have takes less, and the link would be too small for it.
            let Some(window) = subject.quiet(watcher)? else {
                break;
            };
            if NEAR.contains(&window.sent) {
                return Ok(subject);
            }
            match window.sent > *NEAR.end() {
                true => bounds.1 = capacity,
                false => bounds.0 = Some(capacity),
            }
        }
        let why = "no capacity leaves a tenth of what comes behind";
        let mend = "measure when the machine is quiet";
        Err(Halt::failed("bandwidth/cost-backlogged", why, mend))
    }

    /// Cycles a packet; none if it is another link by now that carries a tenth less: the next time that one is looked for.
    fn cycles(&mut self, watcher: &mut dyn Watcher) -> Result<Option<f64>, Halt> {
        let subject = match &self.subject {
            Some(subject) => subject,
            None => {
                let found = self.look(watcher)?;
                &*self.subject.insert(found)
            }
        };
        let Some(window) = subject.quiet(watcher)? else {
            return Ok(None);
        };
        if NEAR.contains(&window.sent) {
            return Ok(Some(window.cycles));
        }
        watcher.note(&format!(
            "{}: thrown away, the link is another's",
            subject.name
        ));
        self.subject = None;
        Ok(None)
    }
}

/// The next capacity to try: between one that is too low and one that is too high.
fn between((low, high): (Option<f64>, f64)) -> f64 {
    low.map_or(0.75 * high, |low| (low * high).sqrt())
}

/// Rounds: testpmd and Weir in turn.
pub fn measure(around: Around<'_>, watcher: &mut dyn Watcher) -> Result<Vec<Round>, Halt> {
    let folder = tempfile::tempdir().map_err(|error| Halt::io("the scratch folder", &error))?;
    let (scenario, load) = (Scenario::NvgreEncap, Workload::default());
    let frames = folder.path().join("frames.pcap");
    let mut file = Vec::new();
    pcap::write(&mut file, load.frames(scenario).iter().map(Vec::as_slice))
        .map_err(|error| Halt::io(frames.display(), &error))?;
    process::write(&frames, file)?;
    let bench = Bench {
        scenario,
        load,
        core: around.core,
        helper: around.core,
        huge: around.huge,
        folder: folder.path(),
        ends: Ends::Alone { pcap: &frames },
        stop: around.stop,
        ask: around.ask,
    };
    let mut floor = testpmd::one(Mode::Mac);
    floor.find()?;
    let setting = floor.settings().first().cloned().unwrap_or_default();
    let mut floor = Held::new(&*setting, floor.start(&bench)?)?;
    let without = |vnics: u32| {
        let name = format!("weir, {vnics} vNICs without promises");
        Subject::start(around, name, &scene(vnics, ROOMY), false)
    };
    let without = [without(FEW)?, without(MANY)?];
    let roomy = Subject::start(
        around,
        format!("weir, {FEW} vNICs with room"),
        &scene(FEW, ROOMY),
        true,
    )?;
    let rates = [without[0].window(LOOK)?.rate, without[1].window(LOOK)?.rate];
    let waiting = |vnics, most| Backlogged {
        around,
        vnics,
        most,
        subject: None,
    };
    let mut backlogged = [waiting(FEW, rates[0]), waiting(MANY, rates[1])];
    let hz = crate::machine::Machine::look(around.core).tsc_hz as f64;
    let measured = rounds(around, |number| {
        let Some(sample) = floor.window(&setting, around.plan, &bench, watcher)? else {
            return Ok(None);
        };
        let [few_waiting, many_waiting] = &mut backlogged;
        let cycles = (
            without[0].cycles(watcher)?,
            roomy.cycles(watcher)?,
            few_waiting.cycles(watcher)?,
            without[1].cycles(watcher)?,
            many_waiting.cycles(watcher)?,
        );
        let (Some(few), Some(roomy), Some(few_waiting), Some(many), Some(many_waiting)) = cycles
        else {
            return Ok(None);
        };
        let round = Round {
            floor: hz / sample.pps,
            without: [few, many],
            roomy,
            backlogged: [few_waiting, many_waiting],
        };
        watcher.note(&format!(
            "cost, round {number}: {:.3} floors of {:.1} cycles with room, {:.3} backlogged",
            round.of(What::Cost),
            round.floor,
            round.of(What::CostBacklogged)
        ));
        Ok(Some(round))
    })?;
    floor.stop()?;
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_costs_is_beyond_weir_without_it_and_in_floors() {
        let round = Round {
            floor: 50.0,
            without: [100.0, 200.0],
            roomy: 110.0,
            backlogged: [180.0, 300.0],
        };
        assert_eq!(round.of(What::Cost), 0.2);
        assert_eq!(round.of(What::CostBacklogged), 2.0);
        let fewer = Round {
            backlogged: [250.0, 300.0],
            ..round
        };
        assert_eq!(fewer.of(What::CostBacklogged), 3.0);
    }

    #[test]
    fn a_capacity_is_looked_for_between_those_that_were_not_it() {
        assert_eq!(between((None, 100.0)), 75.0);
        assert_eq!(between((Some(25.0), 100.0)), 50.0);
    }

    #[test]
    fn minima_fit_whatever_the_link_carries() {
        for (vnics, capacity) in [(FEW, 2_000_000), (MANY, 1_000), (MANY, ROOMY)] {
            let scene = scene(vnics, capacity);
            let promised: u64 = scene.promises().filter_map(|it| it.min).sum();
            assert!(promised <= capacity.max(10_000), "{promised}");
        }
    }
}
