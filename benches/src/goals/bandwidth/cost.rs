//! What bandwidth costs a packet: Weir with promises less Weir without, on the same devices, in the cycles of busy turns a packet that is
//! sent, of what testpmd mac costs in the same round ([why so](../../../../docs/decisions/0036-measuring-bandwidth.md)).
//!
//! All vNICs of the trunk send all they can. While there is room, everything leaves. Backlogged, the link carries a tenth less than what
//! comes, so that every vNIC has packets waiting and the worker never idles; that tenth is dropped, and what it costs is charged to
//! those that are sent. Where no such link is found, what it costs while there is room is told all the same.

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
/// The part of what comes that is to be sent where there is less room,
const AIM: f64 = 0.9;
/// and what counts as that. Below it more is dropped and charged to what is sent, so that the figure is against Weir; above it all that waits
/// may leave, and the figure is another's.
const NEAR: std::ops::RangeInclusive<f64> = 0.75..=0.96;
/// How often a capacity is tried before it is given up.
const CAPACITIES: usize = 14;
/// How long Weir without promises is looked at, to know where to begin.
const LOOK: Duration = Duration::from_millis(200);
/// How long it is looked whether as many wait as before,
const SETTLE: Duration = Duration::from_millis(100);
/// how often at most,
const LOOKS: usize = 30;
/// and which part of what came meanwhile may have been added to what waits, or taken from it.
const STEADY: f64 = 0.01;

/// Cycles of one round, a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    floor: f64,
    without: [f64; 2],
    roomy: f64,
    /// None where no link left a tenth of what came.
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
            let why = "no capacity leaves a tenth of what comes behind";
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
    /// and waiting.
    waiting: f64,
}

impl Counts {
    fn since(self, before: Counts) -> Counts {
        Counts {
            busy: self.busy - before.busy,
            came: self.came - before.came,
            sent: self.sent - before.sent,
            waiting: self.waiting - before.waiting,
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
        let before = (Others::look(core, self.stand.process())?, self.counts()?);
        stop.sleep(length)?;
        let after = (Others::look(core, self.stand.process())?, self.counts()?);
        let seconds = length.as_secs_f64();
        let Counts {
            busy, came, sent, ..
        } = after.1.since(before.1);
        if sent < 1.0 {
            return Err(self.stand.trouble("sends nothing"));
        }
        Ok(Window {
            cycles: busy / sent,
            sent: sent / came,
            rate: sent / seconds,
            others: after.0.since(&before.0) / seconds,
        })
    }

    /// Until as many wait as waited before: a queue that fills takes what is neither sent nor dropped, one that runs dry gives what did not
    /// come. Where a link is nearly as fast as the core both go on for long.
    fn settle(&self) -> Result<(), Halt> {
        let mut before = self.counts()?;
        for _ in 0..LOOKS {
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
        Ok(Counts {
            busy,
            came,
            sent,
            waiting,
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
    search: Search,
    /// None until a link is found.
    subject: Option<Subject<'a>>,
}

impl<'a> Backlogged<'a> {
    /// Cycles a packet; none if no link leaves a tenth, or others had the core. The next round begins with the link of the last.
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
            if NEAR.contains(&window.sent) {
                self.subject = Some(subject);
                // What was seen while it was looked for chose the link: the next one counts.
                if known {
                    return Ok(Some(window.cycles));
                }
            } else {
                self.search.learn(window.cycles, window.sent);
            }
        }
        watcher.note(&format!(
            "weir, {} vNICs backlogged: no capacity leaves a tenth of what comes behind",
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

/// The way to a link that leaves a tenth of what comes.
///
/// By cycles a packet that is sent, of which a link that is full knows nothing but its own speed. What the core spends on one is what sending
/// it costs, and of what is dropped beside it about what Weir costs without promises: so each window says how many cycles the link has to
/// leave.
#[derive(Clone, Copy, Debug)]
struct Search {
    hz: f64,
    /// What one that is dropped costs.
    dropped: f64,
    /// What the next link leaves for one that is sent.
    cycles: f64,
    /// Whether one was found that was too slow.
    is_near: bool,
}

impl Search {
    /// Down from what it costs without promises: more than any link here is to carry.
    fn new(hz: f64, without: f64) -> Search {
        Search {
            hz,
            dropped: without,
            cycles: without / 0.75,
            is_near: false,
        }
    }

    /// In kbit/s.
    fn capacity(&self) -> f64 {
        let bits = 8.0 * Count::Wire.of_frame(FRAME) as f64;
        self.hz / self.cycles * bits / 1e3
    }

    /// A window of a link that was not it.
    fn learn(&mut self, cycles: f64, sent: f64) {
        self.is_near |= sent < AIM;
        // More was sent than came: that was what waited.
        let sent = sent.clamp(0.2, 1.0);
        let next = cycles + self.dropped * (1.0 / AIM - 1.0 / sent);
        self.cycles = match self.is_near {
            true => next.max(self.dropped),
            false => self.cycles / 0.75,
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
    let without = [without(FEW)?, without(MANY)?];
    let roomy = Subject::start(
        around,
        format!("weir, {FEW} vNICs with room"),
        &scene(FEW, ROOMY),
        true,
    )?;
    let hz = crate::machine::Machine::look(around.core).tsc_hz as f64;
    let waiting = |vnics, without: &Subject<'_>| -> Result<_, Halt> {
        Ok(Backlogged {
            around,
            vnics,
            search: Search::new(hz, hz / without.window(LOOK)?.rate),
            subject: None,
        })
    };
    let mut backlogged = [waiting(FEW, &without[0])?, waiting(MANY, &without[1])?];
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

    /// A core on which one that comes costs `in_` cycles, and one that is sent `out` more.
    fn links_until_found(in_: f64, out: f64, without: f64) -> Option<usize> {
        let mut search = Search::new(2.6e9, without);
        for links in 1..=CAPACITIES {
            let carried = search.capacity() * 1e3 / 8.0 / Count::Wire.of_frame(FRAME) as f64;
            let cycles = 2.6e9 / carried;
            let sent = (in_ / (cycles - out).max(in_)).min(1.0);
            if NEAR.contains(&sent) {
                return Some(links);
            }
            search.learn(cycles, sent);
        }
        None
    }

    #[test]
    fn a_link_is_found_whatever_waiting_costs() {
        // Seen here: 127 and 225 cycles of 1,000 vNICs, 108 and 576 of 10,000.
        for (in_, out, without) in [(127.0, 225.0, 141.0), (108.0, 576.0, 166.0)] {
            let links = links_until_found(in_, out, without);
            assert!(links.is_some_and(|links| links <= 9), "{links:?}");
        }
        for out in (0..200).map(|n| 5.0 * f64::from(n)) {
            assert!(links_until_found(120.0, out, 150.0).is_some(), "{out}");
        }
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
            waiting: 30_000.0,
            ..before
        };
        let full = Counts {
            came: 1.8e6,
            waiting: 29_000.0,
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
