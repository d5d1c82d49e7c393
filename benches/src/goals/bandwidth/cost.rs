//! What bandwidth costs a packet: Weir with promises less Weir without, on the same devices, in the cycles of busy turns a packet that is
//! sent, of what testpmd mac costs in the same round ([why so](../../../../docs/decisions/0036-measuring-bandwidth.md)).
//!
//! All vNICs of the trunk send all they can. While there is room, everything leaves; each round has daemons of its own there, as what differs by
//! a few cycles differs by where a daemon lies in memory, too. Backlogged, the link is the fastest at which every
//! vNIC has packets waiting whenever it is looked: the worker never idles, and what it drops is charged to what is sent. Where no such
//! link is found, what it costs while there is room is told all the same.

use super::{WARM_UP, What, rounds};
use crate::bandwidth::record::Count;
use crate::bandwidth::scene::{Group, Load, Promise, Scene};
use crate::bandwidth::stand::{Around, Stand};
use crate::beside::Held;
use crate::halt::Halt;
use crate::machine::Others;
use crate::pcap;
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
/// How often it is looked within a window.
const LOOKS: u32 = 4;
/// What the next link leaves for a packet, of what this one does, while not everybody waits;
const SLOWER: f64 = 1.25;
/// and how near the link is to be to one at which not everybody does.
const NEAR: f64 = 1.05;
/// How often a capacity is tried before it is given up.
const CAPACITIES: usize = 24;
/// How long Weir without promises is looked at, to know where to begin.
const LOOK: Duration = Duration::from_millis(200);
/// How long it is looked whether as many wait as before,
const SETTLE: Duration = Duration::from_millis(100);
/// how often at most,
const SETTLES: usize = 30;
/// and which part of what came meanwhile may have been added to what waits, or taken from it.
const STEADY: f64 = 0.0025;

/// Cycles of one round, a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    floor: f64,
    without: [f64; 2],
    roomy: f64,
    /// None where at no link every vNIC had packets waiting.
    backlogged: Option<[f64; 2]>,
}

impl Round {
    /// What is asked for, in floors, if it is known: of more vNICs or fewer, whichever costs more.
    pub fn of(&self, what: What) -> Option<f64> {
        let [few, many] = self.without;
        let beyond = match what {
            What::Cost => self.roomy - few,
            _ => {
                let [few_waiting, many_waiting] = self.backlogged?;
                f64::max(few_waiting - few, many_waiting - many)
            }
        };
        Some(beyond / self.floor)
    }
}

/// What was asked for of all rounds in which it is known.
pub fn of(rounds: &[Round], what: What) -> Result<Vec<f64>, Halt> {
    let known: Vec<f64> = rounds.iter().filter_map(|round| round.of(what)).collect();
    match known.is_empty() {
        true => {
            let why = "at no capacity every vNIC has packets waiting";
            let mend = "measure when the machine is quiet";
            Err(Halt::failed("bandwidth/cost-backlogged", why, mend))
        }
        false => Ok(known),
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
    /// Packets that waited, the fewest of any vNIC at any look,
    least: u64,
    /// and of all together at the end.
    waiting: f64,
    /// The part of the time that others had the core.
    others: f64,
}

/// What a worker had done at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    /// Cycles of busy turns.
    busy: f64,
    /// Packets received,
    came: f64,
    /// sent,
    sent: f64,
    /// and waiting,
    waiting: f64,
    /// of the vNIC of which the fewest wait.
    least: u64,
}

impl Counts {
    fn since(self, before: Counts) -> Counts {
        Counts {
            busy: self.busy - before.busy,
            came: self.came - before.came,
            sent: self.sent - before.sent,
            waiting: self.waiting - before.waiting,
            least: self.least.min(before.least),
        }
    }

    /// Of what was done in a while: whether about as many wait as before.
    fn is_steady(self) -> bool {
        self.waiting.abs() <= STEADY * self.came
    }
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
        self.settle()?;
        let others = Others::look(core, self.stand.process())?;
        let before = self.counts()?;
        let (mut after, mut least) = (before, before.least);
        for _ in 0..LOOKS {
            stop.sleep(length / LOOKS)?;
            after = self.counts()?;
            least = least.min(after.least);
        }
        let others = Others::look(core, self.stand.process())?.since(&others);
        let seconds = length.as_secs_f64();
        let Counts {
            busy, came, sent, ..
        } = after.since(before);
        if sent < 1.0 {
            return Err(self.stand.trouble("sends nothing"));
        }
        Ok(Window {
            cycles: busy / sent,
            sent: sent / came,
            rate: sent / seconds,
            least,
            waiting: after.waiting,
            others: others / seconds,
        })
    }

    /// Until as many wait as waited before: a queue that fills takes what is neither sent nor dropped, one that runs dry gives what did not
    /// come. Where a link is nearly as fast as the core both go on for long.
    fn settle(&self) -> Result<(), Halt> {
        let mut before = self.counts()?;
        for _ in 0..SETTLES {
            self.around.stop.sleep(SETTLE)?;
            let now = self.counts()?;
            if now.since(before).is_steady() {
                break;
            }
            before = now;
        }
        Ok(())
    }

    fn counts(&self) -> Result<Counts, Halt> {
        let stats = self.stand.stats()?;
        let worker = stats.workers.first().zip(stats.uplinks.first());
        let (worker, uplink) =
            worker.ok_or_else(|| self.stand.trouble("shows no worker or no uplink"))?;
        let [busy, came, sent, waiting] = [
            worker.busy_cycles,
            worker.rx_packets,
            uplink.tx_packets,
            worker.queued,
        ]
        .map(|it| it as f64);
        let least = stats.vnics.iter().map(|vnic| vnic.queued).min();
        Ok(Counts {
            busy,
            came,
            sent,
            waiting,
            least: least.unwrap_or(0),
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
                "{name}: {:.1} cycles a packet sent, {:.1} % of what came was sent, {} waited, {} of the vNIC with the fewest",
                window.cycles,
                100.0 * window.sent,
                window.waiting,
                window.least
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

/// Weir on the fastest link at which every vNIC has packets waiting. On a slower one a packet seems to cost more, as all of the time is
/// charged to those that are sent.
struct Backlogged<'a> {
    around: Around<'a>,
    vnics: u32,
    search: Search,
    /// None until a link is found.
    subject: Option<Subject<'a>>,
}

impl<'a> Backlogged<'a> {
    /// Cycles a packet; none if at no link everybody waits, or others had the core. The next round begins with the link of the last.
    fn cycles(&mut self, watcher: &mut dyn Watcher) -> Result<Option<f64>, Halt> {
        for _ in 0..CAPACITIES {
            let (subject, known) = match self.subject.take() {
                Some(subject) => (subject, true),
                None => (self.start(watcher)?, false),
            };
            // A core that others have takes less, and the link would be too small for it.
            let Some(window) = subject.quiet(watcher)? else {
                return Ok(None);
            };
            let all_wait = window.least > 0;
            if all_wait && known {
                self.subject = Some(subject);
                return Ok(Some(window.cycles));
            }
            self.search.learn(all_wait);
            // What was seen while it was looked for chose the link: the next window counts.
            if all_wait && self.search.is_near() {
                self.subject = Some(subject);
            }
        }
        watcher.note(&format!(
            "weir, {} vNICs backlogged: at no capacity every vNIC has packets waiting",
            self.vnics
        ));
        Ok(None)
    }

    fn start(&self, watcher: &mut dyn Watcher) -> Result<Subject<'a>, Halt> {
        let name = format!("weir, {} vNICs backlogged", self.vnics);
        let capacity = self.search.capacity();
        watcher.note(&format!("{name}: a link of {:.0} Mbit/s", capacity / 1e3));
        let scene = scene(self.vnics, capacity as u64);
        Subject::start(self.around, name, &scene, true)
    }
}

/// The way to the fastest link at which everybody waits: slower ones until there is one, then halfway between those that are known.
#[derive(Clone, Copy, Debug)]
struct Search {
    hz: f64,
    /// Cycles that the next link leaves for a packet,
    cycles: f64,
    /// the most at which not everybody waited,
    fast: f64,
    /// and the least at which everybody did.
    slow: Option<f64>,
}

impl Search {
    /// Down from what it costs without promises.
    fn new(hz: f64, without: f64) -> Search {
        Search {
            hz,
            cycles: without,
            fast: without / SLOWER,
            slow: None,
        }
    }

    /// In kbit/s.
    fn capacity(&self) -> f64 {
        let bits = 8.0 * Count::Wire.of_frame(FRAME) as f64;
        self.hz / self.cycles * bits / 1e3
    }

    /// Whether the slow one is the one that is looked for.
    fn is_near(&self) -> bool {
        self.slow.is_some_and(|slow| slow <= NEAR * self.fast)
    }

    /// Whether everybody waited at the link that was tried.
    fn learn(&mut self, all_wait: bool) {
        match all_wait {
            true => self.slow = Some(self.cycles),
            false => self.fast = self.cycles,
        }
        // What was seen of a slower link does not hold any more.
        self.slow = self.slow.filter(|&slow| slow > self.fast);
        self.cycles = match self.slow {
            Some(slow) if self.is_near() => slow,
            Some(slow) => (slow * self.fast).sqrt(),
            None => self.fast * SLOWER,
        };
    }
}

/// Rounds: testpmd and Weir in turn.
pub fn measure(around: Around<'_>, watcher: &mut dyn Watcher) -> Result<Vec<Round>, Halt> {
    let folder = tempfile::tempdir().map_err(|error| Halt::io("the scratch folder", &error))?;
    let (scenario, load) = (Scenario::NvgreEncap, Workload::default());
    let frames = folder.path().join("frames.pcap");
    pcap::write_file(&frames, &load.frames(scenario))?;
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
    let with_room = || {
        let name = format!("weir, {FEW} vNICs with room");
        Subject::start(around, name, &scene(FEW, ROOMY), true)
    };
    let many = without(MANY)?;
    let hz = crate::machine::Machine::look(around.core).tsc_hz as f64;
    let waiting = |vnics, without: &Subject<'_>| -> Result<_, Halt> {
        Ok(Backlogged {
            around,
            vnics,
            search: Search::new(hz, hz / without.window(LOOK)?.rate),
            subject: None,
        })
    };
    let mut backlogged = [waiting(FEW, &without(FEW)?)?, waiting(MANY, &many)?];
    let measured = rounds(around, |number| {
        let Some(sample) = floor.window(&setting, around.plan, &bench, watcher)? else {
            return Ok(None);
        };
        let [few_waiting, many_waiting] = &mut backlogged;
        // Another life of both in each round, that ends here: they are held against each other for what is promised, not for where they lie.
        let [few, roomy] = {
            let (few, roomy) = (without(FEW)?, with_room()?);
            [few.cycles(watcher)?, roomy.cycles(watcher)?]
        };
        let cycles = (
            few,
            roomy,
            few_waiting.cycles(watcher)?,
            many.cycles(watcher)?,
            many_waiting.cycles(watcher)?,
        );
        let (Some(few), Some(roomy), few_waiting, Some(many), many_waiting) = cycles else {
            return Ok(None);
        };
        let round = Round {
            floor: hz / sample.pps,
            without: [few, many],
            roomy,
            backlogged: few_waiting.zip(many_waiting).map(|(few, many)| [few, many]),
        };
        let in_floors = |what| {
            let floors = round.of(what);
            floors.map_or("-".into(), |it| format!("{it:.3}"))
        };
        watcher.note(&format!(
            "cost, round {number}: {} floors of {:.1} cycles with room, {} backlogged",
            in_floors(What::Cost),
            round.floor,
            in_floors(What::CostBacklogged)
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
            backlogged: Some([180.0, 300.0]),
        };
        assert_eq!(round.of(What::Cost), Some(0.2));
        assert_eq!(round.of(What::CostBacklogged), Some(2.0));
        let fewer = Round {
            backlogged: Some([250.0, 300.0]),
            ..round
        };
        assert_eq!(fewer.of(What::CostBacklogged), Some(3.0));
    }

    #[test]
    fn what_is_not_known_of_some_rounds_is_told_of_the_others() {
        let known = Round {
            floor: 50.0,
            without: [100.0, 200.0],
            roomy: 110.0,
            backlogged: Some([180.0, 300.0]),
        };
        let unknown = Round {
            backlogged: None,
            ..known
        };
        let both = [unknown, known];
        assert_eq!(of(&both, What::Cost).unwrap(), [0.2, 0.2]);
        assert_eq!(of(&both, What::CostBacklogged).unwrap(), [2.0]);
        assert!(of(&[unknown], What::CostBacklogged).is_err());
        assert_eq!(of(&[unknown], What::Cost).unwrap(), [0.2]);
    }

    /// The link that is found on a core on which everybody waits from so many cycles a packet on, and after how many.
    fn found(waits_from: f64, without: f64) -> Option<(f64, usize)> {
        let mut search = Search::new(2.6e9, without);
        for links in 1..=CAPACITIES {
            let carried = search.capacity() * 1e3 / 8.0 / Count::Wire.of_frame(FRAME) as f64;
            let cycles = 2.6e9 / carried;
            search.learn(cycles >= waits_from);
            if cycles >= waits_from && search.is_near() {
                return Some((cycles, links));
            }
        }
        None
    }

    #[test]
    fn the_fastest_link_at_which_all_wait_is_found() {
        for waits_from in (0..200).map(|n| 150.0 + 10.0 * f64::from(n)) {
            let (cycles, links) = found(waits_from, 150.0).expect("a link");
            assert!(
                (1.0..=NEAR).contains(&(cycles / waits_from)),
                "{cycles} of {waits_from}"
            );
            assert!(links <= 17, "{links} for {waits_from}");
        }
    }

    #[test]
    fn a_link_that_was_found_and_is_too_fast_after_all_is_left_for_a_slower_one() {
        let mut search = Search::new(2.6e9, 150.0);
        search.learn(true);
        assert!(!search.is_near());
        while !search.is_near() {
            search.learn(true);
        }
        let before = search.cycles;
        search.learn(false);
        assert!(search.slow.is_none() && search.cycles > before);
    }

    #[test]
    fn it_is_steady_when_as_many_wait_as_before() {
        let before = Counts {
            came: 1e6,
            waiting: 20_000.0,
            ..Counts::default()
        };
        let while_it_fills = Counts {
            came: 1.4e6,
            waiting: 22_000.0,
            ..before
        };
        let full = Counts {
            came: 1.8e6,
            waiting: 21_500.0,
            ..before
        };
        assert!(!while_it_fills.since(before).is_steady());
        assert!(full.since(while_it_fills).is_steady());
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
