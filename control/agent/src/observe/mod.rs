//! `weir capture` and `weir trace`: observers, each with a tap at every worker ([`weir_worker::tap`]).
//!
//! Control makes the rings, reads them every few milliseconds and gives what they hold to the API in pieces, bounded. A client
//! that is slow lets the rings fill: its loss, nobody else's. A client that is gone is noticed by its closed channel.
//!
//! | file | subject |
//! |---|---|
//! | `ask` | what may be asked, what is answered |
//! | `capture` | pcapng |
//! | `observer` | one of them: its rings, its client |
//! | `names` | what people call an index |
//! | `steps` | a trace in words |
//! | `imagine`, `frame` | a packet that is only imagined |

pub mod ask;
mod capture;
mod frame;
mod imagine;
mod names;
mod observer;
mod steps;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use weir_switch::watch::{Point, Who};
use weir_tables::counters::Counter;
use weir_tables::ids::{UplinkId, VnicId, WorkerId};
use weir_worker::Command;
use weir_worker::tap::{TAPS, Tap, Wish};

use crate::state::State;
use crate::stats::PolicyError;
use ask::{CaptureWish, Selection, Summary};
use capture::Capture;
use observer::{Clock, End, Observer, Use, read, since_epoch};

/// Entries of a capture's ring at one worker: 1.2 MB.
const RING: usize = 16_384;
/// Entries of a trace's.
const TRACE_RING: usize = 4096;
/// Packets that a trace follows at one worker unless a number is asked for.
const FOLLOWED: u64 = 1000;
/// Pieces that wait for the client.
const PIECES: usize = 64;
/// Bytes that wait to become a piece; with more the rings are left alone.
const WAITING: usize = 4 << 20;
/// Longest packet that is kept.
const LONGEST: u32 = 65_535;
/// Ended observers whose summary is remembered.
const REMEMBERED: usize = 32;

/// A running observer as its client gets it: its number, and what it sees, piece by piece, to the end.
#[derive(Debug)]
pub struct Watching {
    /// Its number, by which it can be ended.
    pub id: u32,
    /// pcapng, or lines of JSON.
    pub pieces: mpsc::Receiver<Vec<u8>>,
}

/// All observers.
#[derive(Default)]
pub struct Observers {
    list: Vec<Observer>,
    last: u32,
    done: VecDeque<(u32, Summary)>,
}

/// A refusal.
fn refusal(object: &str, problem: impl Into<String>, mend: &str) -> Vec<PolicyError> {
    vec![PolicyError {
        object: object.into(),
        problem: problem.into(),
        mend: mend.into(),
        ..PolicyError::default()
    }]
}

impl State {
    /// Starts a capture.
    pub fn capture(&mut self, wish: &CaptureWish) -> Result<Watching, Vec<PolicyError>> {
        let mut points = 0;
        for name in &wish.points {
            let Some(point) = Point::named(name) else {
                let mend = "`weir capture --list` names the points there are";
                return Err(refusal(
                    &format!("point {name}"),
                    "there is no such point",
                    mend,
                ));
            };
            points |= 1 << point as u8;
        }
        if points == 0 {
            let mend = "`weir capture --list` names the points there are";
            return Err(refusal("capture", "no point is named", mend));
        }
        let snap = wish.snap.unwrap_or(LONGEST).clamp(1, LONGEST);
        let capture = Capture::new(&self.host.name, snap, &wish.of.filter).map_err(|error| {
            refusal(
                "capture",
                error.to_string(),
                "report this as a defect of Weir",
            )
        })?;
        let wanted = Wish {
            points,
            who: self.selected(&wish.of)?,
            filter: self.filter(&wish.of.filter)?,
            snap,
            follow: None,
        };
        self.observe(wanted, &wish.of, Use::Capture(Box::new(capture)), RING)
    }

    /// Starts to follow packets.
    pub fn trace(&mut self, of: &Selection) -> Result<Watching, Vec<PolicyError>> {
        let wanted = Wish {
            points: 0,
            who: self.selected(of)?,
            filter: self.filter(&of.filter)?,
            snap: LONGEST,
            follow: Some(of.count.unwrap_or(FOLLOWED).min(u64::from(u32::MAX)) as u32),
        };
        self.observe(wanted, of, Use::Trace(HashMap::new()), TRACE_RING)
    }

    fn selected(&self, of: &Selection) -> Result<Option<Who>, Vec<PolicyError>> {
        match (&of.vnic, &of.uplink) {
            (Some(_), Some(_)) => {
                let mend = "name one of the two";
                Err(refusal("selection", "a vNIC and an uplink at once", mend))
            }
            (Some(name), None) => self.local_vnic(name).map(|id| Some(Who::Vnic(id))),
            (None, Some(name)) => self.uplink_named(name).map(|id| Some(Who::Uplink(id))),
            (None, None) => Ok(None),
        }
    }

    /// The local vNIC of that name.
    fn local_vnic(&self, name: &str) -> Result<VnicId, Vec<PolicyError>> {
        let planned = self.plan.vnics.iter().find(|(known, _)| ***known == *name);
        let id = planned.and_then(|(name, vnic)| self.tables.vnic(name, vnic.segment));
        id.ok_or_else(|| {
            let mend = "`weir get vnic` says which vNICs are here";
            refusal(&format!("vnic {name}"), "is not on this host", mend)
        })
    }

    /// The uplink of that name.
    fn uplink_named(&self, name: &str) -> Result<UplinkId, Vec<PolicyError>> {
        let mut uplinks = self.tables.view.uplinks.iter().flatten();
        let found = uplinks.find(|uplink| *uplink.name == *name);
        found.map(|uplink| uplink.id).ok_or_else(|| {
            let mend = "`weir get uplink` names those there are";
            refusal(&format!("uplink {name}"), "there is none", mend)
        })
    }

    fn filter(&self, text: &str) -> Result<Option<Arc<rte::Filter>>, Vec<PolicyError>> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        match rte::Filter::compile(&self.eal, text) {
            Ok(filter) => Ok(Some(Arc::new(filter))),
            Err(error) => {
                let mend = "write it as for tcpdump, pcap-filter(7)";
                Err(refusal(
                    &format!("filter \"{text}\""),
                    error.to_string(),
                    mend,
                ))
            }
        }
    }

    fn observe(
        &mut self,
        wanted: Wish,
        of: &Selection,
        use_: Use,
        entries: usize,
    ) -> Result<Watching, Vec<PolicyError>> {
        if self.observers.list.iter().filter(|o| !o.ended).count() >= TAPS {
            let problem = format!("{TAPS} captures and traces are running");
            return Err(refusal("capture", problem, "end one of them"));
        }
        self.observers.last = self.observers.last.wrapping_add(1);
        let id = self.observers.last;
        let (pieces, receiver) = mpsc::channel(PIECES);
        let mut ends = Vec::new();
        for index in 0..self.crew.len() {
            let worker = WorkerId(index as u8);
            let (producer, ring) = rtrb::RingBuffer::new(entries);
            let lost = Arc::new(Counter::default());
            let tap = Tap::new(id, wanted.clone(), producer, lost.clone());
            self.crew.send(worker, Command::Watch(Box::new(tap)));
            ends.push(End { worker, ring, lost });
        }
        let seconds = of.seconds.filter(|s| s.is_finite() && *s >= 0.0);
        let mut observer = Observer {
            id,
            ends,
            pieces,
            waiting: Vec::new(),
            until: seconds.map(|s| Instant::now() + Duration::from_secs_f64(s.min(1e9))),
            left: of.count.unwrap_or(u64::MAX),
            who: wanted.who,
            use_,
            summary: Summary::default(),
            ended: false,
        };
        // The head of a file goes at once, so that a reader can open it.
        observer.flush();
        self.observers.list.push(observer);
        // Once this is answered, whatever comes is seen.
        self.rounds();
        Ok(Watching {
            id,
            pieces: receiver,
        })
    }

    /// Waits until every worker has carried out what it was told: a worker obeys in the turn in which it passes.
    pub(crate) fn rounds(&mut self) {
        self.crew.round();
        self.crew.round();
    }

    /// Ends an observer. What it saw; `None` if there never was one of that number, or long ago.
    pub fn end_observer(&mut self, id: u32) -> Option<Summary> {
        if let Some(at) = self
            .observers
            .list
            .iter()
            .position(|o| o.id == id && !o.ended)
        {
            self.finish_observer(at);
        }
        let done = self.observers.done.iter().find(|(done, _)| *done == id);
        done.map(|(_, summary)| *summary)
    }

    /// The vNICs whose packets somebody captures or traces now, in order.
    pub(crate) fn watched(&self) -> Vec<VnicId> {
        let running = self.observers.list.iter().filter(|o| !o.ended);
        let mut vnics: Vec<VnicId> = running
            .filter_map(|observer| match observer.who {
                Some(Who::Vnic(vnic)) => Some(vnic),
                Some(Who::Uplink(_) | Who::Nobody) | None => None,
            })
            .collect();
        vnics.sort();
        vnics.dedup();
        vnics
    }

    /// Ends all.
    pub fn end_observers(&mut self) {
        for at in 0..self.observers.list.len() {
            self.finish_observer(at);
        }
    }

    /// Reads the rings and gives the clients what is there. Called every few milliseconds.
    pub fn tend_observers(&mut self) {
        if self.observers.list.is_empty() {
            return;
        }
        self.read_rings(false);
        let now = Instant::now();
        for at in 0..self.observers.list.len() {
            let Some(observer) = self.observers.list.get_mut(at) else {
                break;
            };
            observer.flush();
            let over = observer.left == 0 || observer.until.is_some_and(|until| now >= until);
            if !observer.ended && (over || observer.pieces.is_closed()) {
                self.finish_observer(at);
            }
        }
        self.observers
            .list
            .retain(|observer| !observer.ended || observer.still_gives());
    }

    /// Before indexes are given to others: what the rings hold is read while the names are still right, and who looks at a vNIC
    /// that has left looks at nothing from here on.
    pub fn settle_observers(&mut self, gone: &[VnicId]) {
        if self.observers.list.is_empty() {
            return;
        }
        self.read_rings(true);
        for at in 0..self.observers.list.len() {
            let Some(observer) = self.observers.list.get_mut(at) else {
                break;
            };
            if let Use::Capture(capture) = &mut observer.use_ {
                gone.iter().for_each(|&vnic| capture.forget(vnic));
            }
            let of_it = |&vnic: &VnicId| observer.who == Some(Who::Vnic(vnic));
            if !observer.ended && gone.iter().any(of_it) {
                self.finish_observer(at);
            }
        }
    }

    /// Takes the taps back, reads what is left, writes the end.
    fn finish_observer(&mut self, at: usize) {
        let Some(observer) = self.observers.list.get_mut(at) else {
            return;
        };
        if std::mem::replace(&mut observer.ended, true) {
            return;
        }
        let id = observer.id;
        self.crew.tell_all(|| Command::Unwatch(id));
        self.rounds();
        self.read_rings(true);
        let Some(observer) = self.observers.list.get_mut(at) else {
            return;
        };
        observer.summary.lost += observer.lost();
        let summary = observer.summary;
        observer.ends.clear();
        if let Use::Capture(capture) = &mut observer.use_
            && let Err(error) = capture.end(since_epoch(), summary.lost)
        {
            tracing::warn!(%error, "the statistics of a capture cannot be written");
        }
        observer.flush();
        tracing::debug!(
            id,
            packets = summary.packets,
            lost = summary.lost,
            "an observer has ended"
        );
        self.observers.done.push_back((id, summary));
        if self.observers.done.len() > REMEMBERED {
            self.observers.done.pop_front();
        }
    }

    /// Reads every ring; `all`: also for clients that are slow, whose packets are lost.
    fn read_rings(&mut self, all: bool) {
        let clock = Clock::now();
        let mut observers = std::mem::take(&mut self.observers.list);
        for observer in &mut observers {
            let mut ends = std::mem::take(&mut observer.ends);
            for end in &mut ends {
                while all || observer.waiting.len() < WAITING {
                    let Some(entry) = read(&mut end.ring) else {
                        break;
                    };
                    observer.take(self, end.worker, entry, &clock);
                }
            }
            observer.ends = ends;
        }
        self.observers.list = observers;
    }
}
