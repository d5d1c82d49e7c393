//! A daemon on a scene, and the way to have it measured.

use super::lost;
use super::record::{Record, Running};
use super::scene::Scene;
use crate::halt::{Halt, Stop};
use crate::process::{self, Process};
use crate::rounds::{Plan, TRIES, Watcher};
use crate::subject::Ask;
use crate::subject::weir::Weir;
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use weir_agent::stats::{DropRow, Stats};
use weir_agent::traffic::{OfferWish, TrafficReport, TrafficWish};
use weir_worker::rig::sink::Event;
use weir_worker::rig::stalls;

/// What everything needs.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// How it is measured.
    pub plan: &'a Plan,
    /// The core that is measured.
    pub core: u32,
    /// Whether there are hugepages.
    pub huge: bool,
    /// Questions to a daemon.
    pub ask: &'a dyn Ask,
    /// Ends every wait.
    pub stop: &'a Stop,
}

/// A daemon. Dropping it stops it.
pub struct Stand<'a> {
    around: Around<'a>,
    process: Process,
    socket: PathBuf,
    folder: TempDir,
    /// The part of its time that the core loses by itself.
    lost: f64,
}

impl<'a> Stand<'a> {
    /// Starts it, with its promises or without any bandwidth, and waits until its policy is applied. Nobody sends yet.
    pub fn start(around: Around<'a>, scene: &Scene, promised: bool) -> Result<Stand<'a>, Halt> {
        let folder = tempfile::Builder::new().prefix("weir-bench-").tempdir();
        let folder = folder.map_err(|error| Halt::io("the scratch folder", &error))?;
        process::write(
            &folder.path().join("policy.toml"),
            scene.policy_toml(promised),
        )?;
        let host = scene.host_toml(around.core, around.huge);
        let lost = lost::share(around.core)?;
        let weir = Weir::new(around.plan.program.clone());
        let (process, status) = weir.run(folder.path(), host, around.stop, around.ask)?;
        if let Some(error) = status.errors.first() {
            return Err(process.trouble(&error.to_string()));
        }
        Ok(Stand {
            around,
            process,
            socket: Weir::socket(folder.path()),
            folder,
            lost,
        })
    }

    fn traffic(&self, wish: &TrafficWish) -> Result<TrafficReport, Halt> {
        let told = self.around.ask.traffic(&self.socket, wish);
        told.map_err(|why| self.process.trouble(&why))
    }

    /// Has the vNICs offer this from now on, in the place of what they did.
    pub fn offer(&self, offers: Vec<OfferWish>) -> Result<(), Halt> {
        let wish = TrafficWish {
            offers: Some(offers),
            log: None,
        };
        self.traffic(&wish).map(drop)
    }

    /// Has it another policy from now on.
    pub fn promise(&self, scene: &Scene) -> Result<(), Halt> {
        let (path, next) = ("policy.toml", "policy.next");
        let path = self.folder.path().join(path);
        let next = self.folder.path().join(next);
        process::write(&next, scene.policy_toml(true))?;
        std::fs::rename(&next, &path).map_err(|error| Halt::io(path.display(), &error))?;
        Ok(())
    }

    /// Its counters.
    pub fn stats(&self) -> Result<Stats, Halt> {
        let stats = self.around.ask.stats(&self.socket);
        stats.map_err(|why| self.process.trouble(&why))
    }

    /// What it dropped.
    pub fn drops(&self) -> Result<Vec<DropRow>, Halt> {
        let drops = self.around.ask.drops(&self.socket);
        drops.map_err(|why| self.process.trouble(&why))
    }

    /// Percent of its mbufs that are free.
    pub fn free_mbufs(&self) -> Result<f64, Halt> {
        let status = self.around.ask.status(&self.socket);
        let status = status.map_err(|why| self.process.trouble(&why))?;
        Ok(100.0 * status.mbufs_free as f64 / status.mbufs_total.max(1) as f64)
    }

    /// What leaves in so long.
    pub fn record(&self, length: Duration) -> Result<Record, Halt> {
        self.recorded(None, length)
    }

    /// The same, offers and all from their beginning.
    pub fn record_from(&self, offers: Vec<OfferWish>, length: Duration) -> Result<Record, Halt> {
        self.recorded(Some(offers), length)
    }

    fn recorded(&self, offers: Option<Vec<OfferWish>>, length: Duration) -> Result<Record, Halt> {
        let begin = TrafficWish {
            offers,
            log: Some(true),
        };
        let begun = self.traffic(&begin)?;
        self.around.stop.sleep(length)?;
        let end = TrafficWish {
            offers: None,
            log: Some(false),
        };
        let ended = self.traffic(&end)?;
        let log = self.around.ask.traffic_log(&self.socket);
        let log = log.map_err(|why| self.process.trouble(&why))?;
        if ended.log.missed > 0 {
            let why = format!("the sink's log had no room for {} frames", ended.log.missed);
            return Err(self.process.trouble(&why));
        }
        if ended.log.reordered > 0 {
            let why = format!(
                "{} frames were overtaken by later ones of the same vNIC",
                ended.log.reordered
            );
            return Err(self.process.trouble(&why));
        }
        Ok(record(&begun, &ended, &log, length, self.lost))
    }

    /// The same, again until others did not have the core for longer than the plan allows; none after some tries.
    pub fn quiet(
        &self,
        what: &str,
        length: Duration,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<Record>, Halt> {
        for _ in 0..TRIES {
            let record = self.record(length)?;
            let disturbed = record.disturbed();
            if disturbed <= self.around.plan.bound {
                return Ok(Some(record));
            }
            watcher.note(&format!(
                "{what}: thrown away: others had the core {disturbed:.1} % of the time"
            ));
        }
        Ok(None)
    }

    /// Stops it in its tracks until it is to go on, so that another has the core.
    pub fn hold(&self) -> Result<(), Halt> {
        process::signal(self.process(), Signal::STOP)
    }

    /// Lets it go on.
    pub fn go_on(&self) -> Result<(), Halt> {
        process::signal(self.process(), Signal::CONT)
    }

    /// The process that polls.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// What is wrong with it, and the end of its log.
    pub fn trouble(&self, problem: &str) -> Halt {
        self.process.trouble(problem)
    }
}

/// What was logged, in cycles from when the log began, on a core that loses such a part of its time by itself.
fn record(
    begun: &TrafficReport,
    ended: &TrafficReport,
    log: &[u8],
    length: Duration,
    lost: f64,
) -> Record {
    let hz = ended.tsc_hz as f64;
    // Beyond its end nothing is missing: it is not known.
    let logged = ended.log.ended.saturating_sub(ended.log.began);
    let lost = lost * logged as f64;
    let length = ((length.as_secs_f64() * hz) as u64).min(logged);
    let words = log
        .chunks_exact(8)
        .filter_map(|word| word.first_chunk::<8>());
    let events = words.map(|word| Event::unpack(u64::from_le_bytes(*word)));
    let began = ended.log.began;
    let stalls = stalls(&ended.log.gaps, stalls::shortest(ended.tsc_hz), lost);
    let stalls = stalls.into_iter().map(|(from, to)| {
        (
            from.saturating_sub(began),
            to.saturating_sub(began).min(length),
        )
    });
    Record {
        hz,
        events: events.filter(|event| event.at <= length).collect(),
        running: Running::new(stalls.filter(|(from, to)| from < to).collect()),
        length,
        offered_at: begun.offered_at.wrapping_sub(began) as i64,
    }
}

/// When nobody could send, of gaps in which no device was called, each with how much of it the kernel knows to be others'. A piece of work
/// between two calls may take so long, and is not excused; what a gap has beyond that and beyond what the kernel knows is, as far as the
/// core by itself lost so much: where there is more, the switch was slow, and each gap is excused in proportion.
fn stalls(gaps: &[(u64, u64, u64)], piece: u64, lost: f64) -> Vec<(u64, u64)> {
    let unknown = |(from, to, away): &(u64, u64, u64)| (to - from).saturating_sub(away + piece);
    let all: u64 = gaps.iter().map(unknown).sum();
    let part = (lost / all.max(1) as f64).min(1.0);
    let stalls = gaps.iter().map(|gap| {
        let (from, to, away) = *gap;
        let excused = away + (part * unknown(gap) as f64) as u64;
        (to - excused.min(to - from), to)
    });
    stalls.filter(|(from, to)| from < to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_agent::traffic::LogReport;

    #[test]
    fn a_record_is_of_its_own_time() {
        let log = LogReport {
            began: 1000,
            ended: 2100,
            gaps: vec![
                (900, 1100, 200),
                (1500, 1600, 100),
                (1700, 1710, 0),
                (1950, 2500, 550),
                (2600, 2700, 100),
            ],
            ..LogReport::default()
        };
        let report = TrafficReport {
            tsc_hz: 1_000_000,
            offered_at: 1016,
            log,
        };
        let event = |at| Event {
            at,
            sender: 3,
            bytes: 102,
        };
        let words = [event(16), event(992), event(1008)].map(|event| event.pack().to_le_bytes());
        let record = record(
            &report,
            &report,
            words.as_flattened(),
            Duration::from_millis(1),
            0.0,
        );
        assert_eq!(record.events, [event(16), event(992)]);
        assert_eq!((record.length, record.offered_at), (1000, 16));
        assert_eq!(record.running.stalled(), 100 + 100 + 50);

        // One that ended before its time.
        let mut early = report;
        early.log.ended = 1900;
        let words = words.as_flattened();
        let record = super::record(&early, &early, words, Duration::from_millis(1), 0.0);
        assert_eq!(record.events, [event(16)]);
        assert_eq!((record.length, record.running.stalled()), (900, 200));
    }

    #[test]
    fn a_switch_that_is_slow_by_itself_is_not_excused_and_a_core_that_is_lost_is() {
        const PIECE: u64 = 20;
        // Two ticks, as the core loses them, and 300 of which the kernel knows.
        let ticks = [(1000, 1045, 0), (5000, 5045, 0), (7000, 7300, 290)];
        let seen = [(1020, 1045), (5020, 5045), (7010, 7300)];
        assert_eq!(stalls(&ticks, PIECE, 60.0), seen);
        // The core loses nothing by itself: they are the switch's own, however short or long.
        assert_eq!(stalls(&ticks, PIECE, 0.0), [(7010, 7300)]);
        let slow: Vec<_> = (0..100).map(|n| (1000 * n, 1000 * n + 300, 0)).collect();
        assert_eq!(stalls(&slow, PIECE, 0.0), []);
        // Of what it may have lost, each has its part, and no more than that is excused in all.
        let excused: u64 = stalls(&slow, PIECE, 280.0)
            .iter()
            .map(|it| it.1 - it.0)
            .sum();
        assert!((100..=280).contains(&excused), "{excused}");
        // No longer than a piece of work: no stall.
        assert_eq!(stalls(&[(0, PIECE, 0)], PIECE, 60.0), []);
    }
}
