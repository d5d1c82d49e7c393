//! What a live screen asks again and again: everything once, and then only what has changed since the answer it has.
//!
//! Control keeps the last reading of each local vNIC and the number of the answer in which it last changed. So any number of
//! screens may ask, each from where it is, and nobody is registered. Of ten thousand vNICs
//! the first answer, names and all, has 1.5 MB; a later one has 0.5 kB and some 60 bytes for each that moved, and takes the
//! control thread 2 ms.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use weir_tables::counters::{Cells, PartyCells};
use weir_tables::ids::{UplinkId, VnicId};
use weir_tables::view::{View, Vnic};

use crate::policy::Minimum;
use crate::state::State;
use crate::stats::{UplinkStats, WorkerStats};

/// What changed since an answer, or everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Top {
    /// The host's name.
    pub host: String,
    /// The number of this answer, by which what comes after it is asked for.
    pub mark: u64,
    /// When the counters were read, in nanoseconds of the daemon's own clock: rates are differences of this.
    pub nanoseconds: u64,
    /// Whether it is everything: what was answered before counts no more.
    pub whole: bool,
    /// All workers.
    pub workers: Vec<TopWorker>,
    /// All uplinks.
    pub uplinks: Vec<UplinkStats>,
    /// What each of them carries, in bit/s of the wire: as host.toml says, else its link speed; 0 if neither is known.
    pub capacities: Vec<u64>,
    /// All vNICs, in the order of their names; empty unless `whole`.
    pub vnics: Vec<TopVnic>,
    /// The counters of those that have changed.
    pub readings: Vec<Reading>,
}

/// A worker.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct TopWorker {
    /// Its counters.
    #[serde(flatten)]
    pub stats: WorkerStats,
    /// Receive queues that it polls.
    pub queues: u64,
    /// vNICs that came to it from another worker since the daemon started.
    #[serde(default)]
    pub moved_in: u64,
    /// vNICs that went from it to another worker.
    #[serde(default)]
    pub moved_out: u64,
}

/// What is true of a vNIC until the policy changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct TopVnic {
    /// Its name.
    pub vnic: String,
    /// Its VM network.
    pub tenant: String,
    /// The uplink of which its share is told, as its place among the uplinks: the one that it leaves by.
    pub uplink: u32,
    /// The least that it was promised, in bit/s; null if nothing, or a weight.
    pub min_bits_per_second: Option<u64>,
    /// Its weight, where minima are weights.
    pub min_weight: Option<u32>,
    /// The most that it may send, in bit/s; null: no limit of its own.
    pub max_bits_per_second: Option<u64>,
}

/// The counters of one vNIC. As JSON an array of its fields in this order, since there are many of them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(from = "Fields", into = "Fields")]
pub struct Reading {
    /// Its place in [`Top::vnics`].
    pub row: u32,
    /// The core of the worker that owns it.
    pub worker: u32,
    /// Packets that it sent.
    pub sent_packets: u64,
    /// Bytes of them, without FCS.
    pub sent_bytes: u64,
    /// Packets delivered to it.
    pub received_packets: u64,
    /// Bytes of them.
    pub received_bytes: u64,
    /// Packets dropped on its account.
    pub dropped: u64,
    /// Packets of it that wait; null if that is not known.
    pub queued: Option<u64>,
}

type Fields = (u32, u32, u64, u64, u64, u64, u64, Option<u64>);

impl From<Fields> for Reading {
    fn from(fields: Fields) -> Reading {
        let (
            row,
            worker,
            sent_packets,
            sent_bytes,
            received_packets,
            received_bytes,
            dropped,
            queued,
        ) = fields;
        Reading {
            row,
            worker,
            sent_packets,
            sent_bytes,
            received_packets,
            received_bytes,
            dropped,
            queued,
        }
    }
}

impl From<Reading> for Fields {
    fn from(r: Reading) -> Fields {
        (
            r.row,
            r.worker,
            r.sent_packets,
            r.sent_bytes,
            r.received_packets,
            r.received_bytes,
            r.dropped,
            r.queued,
        )
    }
}

/// The last reading of each local vNIC.
#[derive(Debug)]
pub struct Book {
    /// The transaction whose vNICs they are; none before the first question.
    revision: Option<u64>,
    /// The last answer's number.
    mark: u64,
    /// The number from which on answers know these rows.
    first: u64,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    id: VnicId,
    last: Reading,
    /// The number of the answer in which it was last seen to change.
    changed: u64,
}

impl Default for Book {
    fn default() -> Self {
        // Numbers of a daemon that was started anew are beyond those of the one before it.
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |now| now.as_micros());
        Book {
            revision: None,
            mark: now as u64,
            first: u64::MAX,
            rows: Vec::new(),
        }
    }
}

impl State {
    /// What has changed since the answer of number `since`; everything if that is none, or too old to tell.
    pub fn top(&mut self, since: Option<u64>) -> Top {
        let mut book = std::mem::take(&mut self.top_book);
        book.mark += 1;
        let mut vnics = Vec::new();
        let is_new = book.revision != Some(self.revision);
        if is_new {
            book.revision = Some(self.revision);
            book.first = book.mark;
            book.rows = self.rows();
        }
        let whole = !since.is_some_and(|since| (book.first..book.mark).contains(&since));
        if whole {
            vnics = self.top_vnics(&book.rows);
        }
        let readings = self.read(&mut book, if whole { 0 } else { since.unwrap_or(0) });
        let top = Top {
            host: self.host.name.to_string(),
            mark: book.mark,
            nanoseconds: nanoseconds(self.started.elapsed()),
            whole,
            workers: self.top_workers(),
            uplinks: self.uplink_stats().collect(),
            capacities: self.carries(),
            vnics,
            readings,
        };
        self.top_book = book;
        top
    }

    fn carries(&self) -> Vec<u64> {
        let each = self.tables.view.uplinks.iter().flatten().map(|uplink| {
            let told = uplink.link.as_ref();
            let told = told.and_then(|link| link.capacity.bits_per_second(rte::clock::hz()));
            let speed = || u64::from(self.link(uplink.port).1.unwrap_or(0)) * 1_000_000;
            told.unwrap_or_else(speed)
        });
        each.collect()
    }

    /// Reads every vNIC; those that have changed since the answer of number `since`.
    fn read(&self, book: &mut Book, since: u64) -> Vec<Reading> {
        let mut changed = Vec::new();
        for row in &mut book.rows {
            let Some(vnic) = self.tables.view.vnic(row.id) else {
                continue;
            };
            let now = Reading {
                row: row.last.row,
                worker: self.owner_core(vnic.port),
                ..reading(&vnic.cells, &row.last)
            };
            if now != row.last {
                row.last = now;
                row.changed = book.mark;
            }
            if row.changed > since {
                changed.push(row.last);
            }
        }
        changed
    }

    /// A row for each vNIC here, not read yet.
    fn rows(&self) -> Vec<Row> {
        let ids = self.plan.vnics.iter();
        let ids = ids.filter_map(|(name, planned)| self.tables.vnic(name, planned.segment));
        ids.zip(0..)
            .map(|(id, row)| Row {
                id,
                last: Reading {
                    row,
                    ..Reading::default()
                },
                changed: 0,
            })
            .collect()
    }

    fn top_vnics(&self, rows: &[Row]) -> Vec<TopVnic> {
        let view = &self.tables.view;
        let each = rows.iter().map(|row| {
            let vnic = view.vnic(row.id);
            let name = vnic.map(|vnic| vnic.name.clone()).unwrap_or_default();
            let planned = self.plan.vnics.get(&*name);
            let bandwidth = planned.map(|planned| planned.bandwidth);
            let bandwidth = bandwidth.unwrap_or_default();
            let (min_bits_per_second, min_weight) = match bandwidth.minimum {
                None => (None, None),
                Some(Minimum::Rate(rate)) => (Some(rate.bits_per_second()), None),
                Some(Minimum::Weight(weight)) => (None, Some(weight.into())),
            };
            TopVnic {
                vnic: name.to_string(),
                tenant: planned.map_or(String::new(), |planned| planned.network.to_string()),
                uplink: vnic.map_or(0, |vnic| leaves_by(view, vnic)),
                min_bits_per_second,
                min_weight,
                max_bits_per_second: bandwidth.max.map(|rate| rate.bits_per_second()),
            }
        });
        each.collect()
    }

    fn top_workers(&self) -> Vec<TopWorker> {
        let stats = self.worker_stats().zip(self.crew.queues()).enumerate();
        stats
            .map(|(index, (stats, queues))| {
                let (moved_in, moved_out) = self.moves.of(index);
                TopWorker {
                    stats,
                    queues: queues as u64,
                    moved_in,
                    moved_out,
                }
            })
            .collect()
    }
}

/// The place of the uplink that a vNIC leaves by: its network's, if that is bridged, else the one by which most hosts with members of its
/// subnet are reached; of several the first.
fn leaves_by(view: &View, vnic: &Vnic) -> u32 {
    let segment = view.segment(vnic.segment);
    let hosts = segment.map_or(&[][..], |segment| &segment.peers);
    let mut by: BTreeMap<UplinkId, usize> = BTreeMap::new();
    for peer in hosts.iter().filter_map(|&peer| view.peer(peer)) {
        *by.entry(peer.uplink).or_default() += 1;
    }
    let most = by
        .into_iter()
        .max_by_key(|&(uplink, hosts)| (hosts, Reverse(uplink)));
    let bridged = segment.and_then(|segment| segment.wire);
    let uplink = bridged
        .map(|wire| wire.uplink)
        .or(most.map(|(uplink, _)| uplink));
    let mut all = view.uplinks.iter().flatten();
    let place = uplink.and_then(|wanted| all.position(|uplink| uplink.id == wanted));
    place.unwrap_or(0) as u32
}

/// The counters of a vNIC, summed over workers.
fn reading(cells: &Cells, last: &Reading) -> Reading {
    let sum = |field: fn(&PartyCells) -> u64| cells.iter().map(field).sum::<u64>();
    Reading {
        sent_packets: sum(|cell| cell.rx.packets.get()),
        sent_bytes: sum(|cell| cell.rx.bytes.get()),
        received_packets: sum(|cell| cell.tx.packets.get()),
        received_bytes: sum(|cell| cell.tx.bytes.get()),
        dropped: sum(|cell| cell.drops.packets()),
        queued: Some(sum(|cell| cell.waiting.packets.get())),
        ..*last
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
