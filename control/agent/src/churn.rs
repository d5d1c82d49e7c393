//! What do changes cost while workers forward? Mappings that move to another peer of the policy and back, so many a second, for
//! the measuring rig: by the very code that transactions use, on the one thread that changes tables, in slices between which it
//! does everything else.
//!
//! A mapping that is away is sent where nobody has it. That is why host.toml has to allow it (`[rig] churn = true`), and why
//! every mapping is back where the policy says before a churn is over, whatever ends it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weir_tables::endpoints::{Customer, Record, Target, endpoint_key};
use weir_tables::ids::{DomainId, PeerId};

use crate::config::fields::Name;
use crate::crew::Crew;
use crate::plan::{Entry, PeerPlan, Place, RecordPlan};
use crate::settling::{LOT, Took};
use crate::state::State;
use crate::stats::{ChurnReport, ChurnWish, PolicyError};
use crate::tables::Tables;

/// How long control changes mappings before it looks after everything else.
const SLICE: Duration = Duration::from_millis(1);
/// Between two lots, at least: at a low rate each is of few changes, so that it goes evenly.
const PACE: Duration = Duration::from_micros(100);
/// A shorter wait is no sleep: one takes longer than it is to.
const AWAKE: Duration = Duration::from_micros(80);
/// What was missed because control had other things to do is made up for, if it is not longer ago.
const BEHIND: Duration = Duration::from_millis(10);
/// How many mappings ahead the tables' lines are asked for.
const AHEAD: usize = 8;
/// Updates a second, at most.
const FASTEST: u64 = 100_000_000;
/// Seconds, at most.
const LONGEST: f64 = 3600.0;

/// A customer address of another host, and what belongs to it in the tables.
#[derive(Clone, Copy)]
struct Mapping {
    endpoint: u64,
    domain: DomainId,
    ca: IpAddr,
    /// Its own provider address, if it has one.
    pa: Option<IpAddr>,
    home: PeerId,
    away: PeerId,
}

impl Mapping {
    /// Moves it in every table in which it is another host's, in the order of a transaction. `false` if a table has no room for
    /// that before its readers have passed: then again, after a lot.
    fn go(&self, tables: &mut Tables, crew: &mut Crew, to: PeerId) -> bool {
        if let Some(record) = tables.record(self.domain, self.ca)
            && let Some(target) = moved(record.target, to)
        {
            let record = Record { target, ..record };
            if !tables.try_put_record(crew, self.domain, self.ca, record) {
                return false;
            }
        }
        if let Some(pa) = self.pa
            && let Some(customer) = tables.customer(pa)
            && let Some(target) = moved(customer.target, to)
        {
            let customer = Customer { target, ..customer };
            if !tables.try_put_rewritten(crew, pa, customer) {
                return false;
            }
        }
        if let Some(endpoint) = tables.endpoint(self.endpoint)
            && let Some(target) = moved(endpoint, to)
        {
            tables.put_endpoint(crew, self.endpoint, target.pack());
        }
        true
    }
}

/// The same by another peer; `None` for what is on this host, or goes by that peer already.
fn moved(target: Target, to: PeerId) -> Option<Target> {
    let moved = match target {
        Target::Remote(_) => Target::Remote(to),
        Target::Rewritten(_) => Target::Rewritten(to),
        Target::Local(_) => return None,
    };
    (moved != target).then_some(moved)
}

/// A churn under way.
pub struct Churn {
    mappings: Vec<Mapping>,
    /// Whether mappings go away now; else they come back.
    outward: bool,
    /// How many have, this time; but for those that are late.
    at: usize,
    /// Those of the last lot for which there was no room: they go before any other does.
    late: Vec<Mapping>,
    /// When that lot began.
    late_since: Instant,
    rate: u64,
    /// Updates of a lot, and the time that one may take at this rate.
    lot: u64,
    every: Duration,
    /// When the next lot is due.
    due: Instant,
    began: Instant,
    length: Duration,
    updates: u64,
    before: Took,
}

/// How a slice ended.
enum Slice {
    /// The next one is due after this time.
    After(Duration),
    /// Every mapping is back, and the time is over.
    Over,
}

impl Churn {
    fn new(mappings: Vec<Mapping>, wish: &ChurnWish, before: Took) -> Churn {
        let now = Instant::now();
        // A lot of updates ends a lot of changes: each is one of the endpoint and one of the record.
        let paced = wish.rate.saturating_mul(PACE.as_micros() as u64) / 1_000_000;
        let lot = paced.clamp(1, LOT / 2);
        Churn {
            mappings,
            outward: true,
            at: 0,
            late: Vec::new(),
            late_since: now,
            rate: wish.rate,
            lot,
            every: Duration::from_nanos(lot.saturating_mul(1_000_000_000) / wish.rate.max(1)),
            due: now,
            began: now,
            length: Duration::from_secs_f64(wish.seconds),
            updates: 0,
            before,
        }
    }

    /// Lots that are due, for the time of a slice. Nothing waits, to go or to be freed, when it returns.
    fn slice(&mut self, tables: &mut Tables, crew: &mut Crew) -> Slice {
        let from = Instant::now();
        loop {
            if !self.late.is_empty() {
                tables.rest(crew);
                self.again(tables, crew);
                continue;
            }
            tables.look(crew);
            let now = Instant::now();
            let over = now - self.began >= self.length;
            if over && self.is_home() {
                tables.rest(crew);
                return Slice::Over;
            }
            if now - from >= SLICE {
                tables.rest(crew);
                return Slice::After(Duration::ZERO);
            }
            let wait = self.due.saturating_duration_since(now);
            if wait > AWAKE {
                // Control sleeps only while it has nothing to free.
                tables.rest(crew);
                return Slice::After(self.due.saturating_duration_since(Instant::now()));
            }
            if !wait.is_zero() {
                std::hint::spin_loop();
                continue;
            }
            self.due = self.due.max(now - BEHIND.min(now - self.began)) + self.every;
            if over {
                self.turn_back();
            } else if self.at >= self.mappings.len() {
                self.at = 0;
                self.outward = !self.outward;
            }
            self.late_since = now;
            self.lot(tables, crew);
        }
    }

    /// A lot: the next mappings go, or come back. None of them twice.
    fn lot(&mut self, tables: &mut Tables, crew: &mut Crew) {
        for _ in 0..self.lot {
            if let Some(soon) = self.mappings.get(self.at + AHEAD) {
                tables.prefetch(soon.endpoint, soon.domain, soon.ca);
            }
            let Some(mapping) = self.mappings.get(self.at).copied() else {
                break;
            };
            self.at += 1;
            self.go(mapping, tables, crew);
        }
        self.end_lot(tables, crew);
    }

    /// Those for which there was no room. They were asked for when their lot began.
    fn again(&mut self, tables: &mut Tables, crew: &mut Crew) {
        let late = std::mem::take(&mut self.late);
        tables.settling.asked(self.late_since);
        for mapping in late {
            self.go(mapping, tables, crew);
        }
        self.end_lot(tables, crew);
    }

    fn go(&mut self, mapping: Mapping, tables: &mut Tables, crew: &mut Crew) {
        let to = if self.outward {
            mapping.away
        } else {
            mapping.home
        };
        match mapping.go(tables, crew, to) {
            true => self.updates += 1,
            false => self.late.push(mapping),
        }
    }

    fn end_lot(&mut self, tables: &mut Tables, crew: &mut Crew) {
        // A full lot has ended by itself. What was moved out of the way of those that are late has to be freed as well.
        if tables.settling.is_open() || !self.late.is_empty() {
            tables.end_lot(crew);
        }
    }

    /// From here on mappings come back.
    fn turn_back(&mut self) {
        if self.outward {
            // Those that are away are the first, and come back in their order.
            self.mappings.truncate(self.at);
            self.outward = false;
            self.at = 0;
        }
    }

    /// Whether none is away.
    fn is_home(&self) -> bool {
        if self.outward {
            self.at == 0
        } else {
            self.at >= self.mappings.len()
        }
    }

    /// Brings those that are away back at once.
    fn bring_home(&mut self, tables: &mut Tables, crew: &mut Crew) {
        self.turn_back();
        while !self.is_home() {
            self.lot(tables, crew);
            tables.rest(crew);
            while !self.late.is_empty() {
                self.again(tables, crew);
                tables.rest(crew);
            }
        }
    }

    fn report(&self, tables: &Tables) -> ChurnReport {
        ChurnReport {
            running: true,
            ended: None,
            rate: self.rate,
            updates: self.updates,
            seconds: self.began.elapsed().as_secs_f64(),
            changes: tables.settling.took().since(&self.before).told(),
        }
    }
}

impl State {
    /// Begins a churn. Refused unless host.toml allows it, while one is under way, and where no mapping has a second peer.
    pub fn begin_churn(&mut self, wish: &ChurnWish) -> Result<ChurnReport, Vec<PolicyError>> {
        if !self.host.rig.churn {
            let mend = "it sends packets to wrong hosts: write [rig] churn = true in the host.toml of a host that is measured, and start it again";
            return Err(self.refused("this daemon was not started for the rig", mend));
        }
        if self.churn.is_some() {
            return Err(self.refused("one is under way", "end it: DELETE /v1/rig/churn"));
        }
        if !(1..=FASTEST).contains(&wish.rate) {
            let mend = format!("write updates a second between 1 and {FASTEST}");
            return Err(self.refused(&format!("rate: {}", wish.rate), &mend));
        }
        if !(wish.seconds > 0.0 && wish.seconds <= LONGEST) {
            let mend = format!("write seconds above 0 and up to {LONGEST}");
            return Err(self.refused(&format!("seconds: {}", wish.seconds), &mend));
        }
        let mappings = self.mappings();
        if mappings.is_empty() {
            let problem = "no mapping of another host has a second peer to move to";
            let mend = "have two other hosts in the policy, of one address family, whose MAC addresses are known";
            return Err(self.refused(problem, mend));
        }
        let before = self.tables.settling.took().clone();
        let churn = Churn::new(mappings, wish, before);
        let report = churn.report(&self.tables);
        self.churn = Some(Box::new(churn));
        Ok(report)
    }

    /// What became of the churn that runs, or of the last one.
    pub fn churn(&self) -> Result<ChurnReport, Vec<PolicyError>> {
        let running = self.churn.as_ref();
        running
            .map(|churn| churn.report(&self.tables))
            .or_else(|| self.churned.clone())
            .ok_or_else(|| self.refused("there was none", "begin one: POST /v1/rig/churn"))
    }

    /// A slice of the churn that runs: after what time the next is due; `None` if none runs.
    pub fn tend_churn(&mut self) -> Option<Duration> {
        let churn = self.churn.as_mut()?;
        match churn.slice(&mut self.tables, &mut self.crew) {
            Slice::After(wait) => Some(wait),
            Slice::Over => {
                self.end_churn("its time is over");
                None
            }
        }
    }

    /// Ends the churn that runs, if one does: every mapping is where the policy says.
    pub fn end_churn(&mut self, why: &str) {
        if let Some(mut churn) = self.churn.take() {
            let report = ChurnReport {
                running: false,
                ended: Some(why.to_owned()),
                ..churn.report(&self.tables)
            };
            churn.bring_home(&mut self.tables, &mut self.crew);
            self.churned = Some(report);
        }
    }

    /// Every customer address of another host, in no order that means anything to the tables.
    fn mappings(&self) -> Vec<Mapping> {
        let ways = self.ways();
        let mapping = |network: &Name, ca: IpAddr, record: &RecordPlan| {
            let Place::Remote(host) = record.place else {
                return None;
            };
            let &(home, away) = ways.get(&host)?;
            let segment = self.tables.segment(record.segment)?;
            Some(Mapping {
                endpoint: endpoint_key(segment, record.mac),
                domain: self.tables.domain(network)?,
                ca,
                pa: record.pa,
                home,
                away,
            })
        };
        let mut mappings = Vec::new();
        for vnic in self.policy.vnics.iter() {
            self.plan.entries(vnic, |entry| {
                if let Entry::Record(network, ca, record) = entry {
                    mappings.extend(mapping(network, ca, &record));
                }
            });
        }
        mappings
    }

    /// Of each peer that has another one: itself, and the next of its family, whose MAC address is known.
    fn ways(&self) -> HashMap<IpAddr, (PeerId, PeerId)> {
        let is_known = |(pa, peer): &(&IpAddr, &PeerPlan)| {
            let next_hop = self.neighbors.mac((peer.uplink, peer.next_hop));
            next_hop.is_some() && !pa.is_multicast()
        };
        let known = self.plan.peers.iter().filter(is_known);
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) =
            known.map(|(pa, _)| *pa).partition(IpAddr::is_ipv4);
        let mut ways = HashMap::new();
        for family in [v4, v6].iter().filter(|family| family.len() > 1) {
            for (pa, next) in family.iter().zip(family.iter().cycle().skip(1)) {
                if let (Some(home), Some(away)) = (self.tables.peer(*pa), self.tables.peer(*next)) {
                    ways.insert(*pa, (home, away));
                }
            }
        }
        ways
    }

    fn refused(&self, problem: &str, mend: &str) -> Vec<PolicyError> {
        vec![PolicyError {
            file: self.host.origin.clone(),
            line: None,
            object: "churn".into(),
            problem: problem.to_owned(),
            mend: mend.to_owned(),
        }]
    }
}
