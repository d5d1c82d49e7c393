//! What was answered so far, as one picture: each vNIC and worker with its rates between the last two answers.

use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;
use weir_agent::stats::UplinkStats;
use weir_agent::top::{Reading, Top, TopVnic, TopWorker};

/// The picture. As JSON it is what `weir top -o json` prints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Board {
    /// The host's name.
    pub host: String,
    /// The time that rates are of; 0 while there is but one answer.
    pub seconds: f64,
    /// By core.
    pub workers: Vec<WorkerLine>,
    /// As in host.toml.
    pub uplinks: Vec<UplinkLine>,
    /// By name, or as they were sorted.
    pub vnics: Vec<VnicLine>,
    #[serde(skip)]
    last: Option<Last>,
    /// By row, the place of its uplink.
    #[serde(skip)]
    uplink_of: Vec<u32>,
}

/// What the next answer is held against.
#[derive(Clone, Debug)]
struct Last {
    mark: u64,
    nanoseconds: u64,
    workers: Vec<TopWorker>,
    uplinks: Vec<UplinkStats>,
    /// By row.
    readings: Vec<Reading>,
}

/// A vNIC. Rates are null until there are two answers about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VnicLine {
    /// Its name.
    pub vnic: String,
    /// Its VM network.
    pub tenant: String,
    /// The core of the worker that owns it.
    pub worker: u32,
    /// The least that it was promised; null if nothing, or a weight.
    pub min_bits_per_second: Option<u64>,
    /// Its weight, where minima are weights.
    pub min_weight: Option<u32>,
    /// The most that it may send; null: no limit of its own.
    pub max_bits_per_second: Option<u64>,
    /// What it sends, its own bytes without FCS.
    pub sent_bits_per_second: Option<u64>,
    /// The same in packets.
    pub sent_packets_per_second: Option<u64>,
    /// What is delivered to it.
    pub received_bits_per_second: Option<u64>,
    /// The same in packets.
    pub received_packets_per_second: Option<u64>,
    /// What is dropped on its account.
    pub dropped_packets_per_second: Option<u64>,
    /// The same since it came.
    pub dropped_packets: u64,
    /// Packets of it that wait now; null where that is not known.
    pub queued_packets: Option<u64>,
    /// What it sends, of what its uplink carries; null if that is not known.
    pub link_percent: Option<f64>,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorkerLine {
    /// Its core.
    pub core: u32,
    /// Of its time in turns that moved packets.
    pub busy_percent: Option<f64>,
    /// TSC cycles of those turns, by packet that it received or took over.
    pub cycles_per_packet: Option<u64>,
    /// Packets that it received or took over.
    pub received_packets_per_second: Option<u64>,
    /// Packets that devices and other workers took from it.
    pub sent_packets_per_second: Option<u64>,
    /// Packets that it dropped.
    pub dropped_packets_per_second: Option<u64>,
    /// Packets that it received for vNICs of other workers, and gave to those before any stage.
    pub steered_packets_per_second: Option<u64>,
    /// Packets that it switched, and whose way out is another worker's.
    pub handed_on_packets_per_second: Option<u64>,
    /// Packets that wait in it now.
    pub queued_packets: u64,
    /// Receive queues that it polls.
    pub queues: u64,
    /// vNICs that it owns.
    pub vnics: u64,
    /// vNICs that came to it from another worker since the daemon started.
    pub moved_in: u64,
    /// vNICs that went from it to another worker.
    pub moved_out: u64,
}

/// An uplink.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UplinkLine {
    /// Its name.
    pub uplink: String,
    /// Whether its link is up.
    pub link_up: bool,
    /// Its speed in Mbit/s; 0 where the device does not know.
    pub link_mbit: u32,
    /// What it sends, without FCS.
    pub sent_bits_per_second: Option<u64>,
    /// What it receives.
    pub received_bits_per_second: Option<u64>,
}

/// The time between two answers.
#[derive(Clone, Copy)]
struct Span(f64);

impl Span {
    /// Events a second. A counter that went back is of a daemon that was started anew.
    fn rate(self, now: u64, before: u64) -> u64 {
        (now.saturating_sub(before) as f64 / self.0).round() as u64
    }

    fn bits(self, now: u64, before: u64) -> u64 {
        (now.saturating_sub(before) as f64 * 8.0 / self.0).round() as u64
    }
}

impl Board {
    /// The mark of the last answer, to ask for what comes after it.
    pub fn mark(&self) -> Option<u64> {
        self.last.as_ref().map(|last| last.mark)
    }

    /// Takes an answer.
    pub fn take(&mut self, top: Top) {
        let last = self.last.take();
        let before = last.as_ref().map_or(0, |last| last.nanoseconds);
        let time = Duration::from_nanos(top.nanoseconds.saturating_sub(before));
        let span = (last.is_some() && !time.is_zero()).then_some(Span(time.as_secs_f64()));
        self.seconds = span.map_or(0.0, |span| span.0);
        self.host = top.host;
        let old = last.as_ref();
        self.uplinks = uplinks(&top.uplinks, old.map(|last| &*last.uplinks), span);
        if top.whole {
            self.uplink_of = top.vnics.iter().map(|vnic| vnic.uplink).collect();
        }
        let readings = self.take_vnics(top.whole, top.vnics, top.readings, old, span);
        self.share(&top.capacities);
        self.workers = workers(&top.workers, old.map(|last| &*last.workers), span);
        for vnic in &self.vnics {
            if let Some(worker) = self.workers.iter_mut().find(|w| w.core == vnic.worker) {
                worker.vnics += 1;
            }
        }
        self.last = Some(Last {
            mark: top.mark,
            nanoseconds: top.nanoseconds,
            workers: top.workers,
            uplinks: top.uplinks,
            readings,
        });
    }

    /// Each vNIC's line; each vNIC's reading by row.
    fn take_vnics(
        &mut self,
        whole: bool,
        vnics: Vec<TopVnic>,
        changed: Vec<Reading>,
        last: Option<&Last>,
        span: Option<Span>,
    ) -> Vec<Reading> {
        let known = last.map_or(&[][..], |last| &last.readings);
        // What each row was: by its place, or by its name where places are new.
        let mut before: Vec<Option<Reading>> = known.iter().copied().map(Some).collect();
        if whole {
            let names = self.vnics.iter().zip(known);
            let old: HashMap<&str, Reading> = names.map(|(l, r)| (&*l.vnic, *r)).collect();
            before = vnics.iter().map(|v| old.get(&*v.vnic).copied()).collect();
            self.vnics = vnics.into_iter().map(VnicLine::new).collect();
        }
        let mut now: Vec<Reading> = match whole {
            true => vec![Reading::default(); self.vnics.len()],
            false => known.to_vec(),
        };
        for reading in changed {
            if let Some(place) = now.get_mut(reading.row as usize) {
                *place = reading;
            }
        }
        for ((line, now), before) in self.vnics.iter_mut().zip(&now).zip(before) {
            line.read(now, before, span);
        }
        now
    }

    /// What each vNIC sends, of what its uplink carries in bit/s (0: not known).
    fn share(&mut self, capacities: &[u64]) {
        for (line, &uplink) in self.vnics.iter_mut().zip(&self.uplink_of) {
            let capacity = capacities.get(uplink as usize).copied();
            let pair = line.sent_bits_per_second.zip(capacity);
            let pair = pair.filter(|&(_, capacity)| capacity > 0);
            line.link_percent = pair.map(|(sent, capacity)| percent(sent, capacity));
        }
    }
}

impl VnicLine {
    fn new(vnic: TopVnic) -> VnicLine {
        VnicLine {
            vnic: vnic.vnic,
            tenant: vnic.tenant,
            min_bits_per_second: vnic.min_bits_per_second,
            min_weight: vnic.min_weight,
            max_bits_per_second: vnic.max_bits_per_second,
            ..VnicLine::default()
        }
    }

    fn read(&mut self, now: &Reading, before: Option<Reading>, span: Option<Span>) {
        self.worker = now.worker;
        self.dropped_packets = now.dropped;
        self.queued_packets = now.queued;
        let pair = before.zip(span);
        let rate = |of: fn(&Reading) -> u64| pair.map(|(old, span)| span.rate(of(now), of(&old)));
        let bits = |of: fn(&Reading) -> u64| pair.map(|(old, span)| span.bits(of(now), of(&old)));
        self.sent_bits_per_second = bits(|r| r.sent_bytes);
        self.sent_packets_per_second = rate(|r| r.sent_packets);
        self.received_bits_per_second = bits(|r| r.received_bytes);
        self.received_packets_per_second = rate(|r| r.received_packets);
        self.dropped_packets_per_second = rate(|r| r.dropped);
    }
}

/// To a tenth.
fn percent(part: u64, whole: u64) -> f64 {
    (part as f64 * 1000.0 / whole as f64).round() / 10.0
}

fn workers(now: &[TopWorker], old: Option<&[TopWorker]>, span: Option<Span>) -> Vec<WorkerLine> {
    let line = |worker: &TopWorker| {
        let core = worker.stats.core;
        let mut line = WorkerLine {
            core,
            queued_packets: worker.stats.queued,
            queues: worker.queues,
            moved_in: worker.moved_in,
            moved_out: worker.moved_out,
            ..WorkerLine::default()
        };
        let before = old.and_then(|old| old.iter().find(|old| old.stats.core == core));
        let (Some(before), Some(span)) = (before, span) else {
            return line;
        };
        let (now, old) = (&worker.stats, &before.stats);
        let busy = now.busy_cycles.saturating_sub(old.busy_cycles);
        let all = busy.saturating_add(now.idle_cycles.saturating_sub(old.idle_cycles));
        let came = |w: &weir_agent::stats::WorkerStats| w.rx_packets + w.handoff_in;
        let went = |w: &weir_agent::stats::WorkerStats| w.tx_packets + w.delivered + w.handoff_out;
        let packets = came(now).saturating_sub(came(old));
        line.busy_percent = (all > 0).then(|| percent(busy, all));
        line.cycles_per_packet = busy.checked_div(packets);
        line.received_packets_per_second = Some(span.rate(came(now), came(old)));
        line.sent_packets_per_second = Some(span.rate(went(now), went(old)));
        line.dropped_packets_per_second = Some(span.rate(now.dropped, old.dropped));
        line.steered_packets_per_second = Some(span.rate(now.steered_out, old.steered_out));
        line.handed_on_packets_per_second = Some(span.rate(now.handoff_out, old.handoff_out));
        line
    };
    now.iter().map(line).collect()
}

fn uplinks(
    now: &[UplinkStats],
    old: Option<&[UplinkStats]>,
    span: Option<Span>,
) -> Vec<UplinkLine> {
    let line = |uplink: &UplinkStats| {
        let before = old.and_then(|old| old.iter().find(|old| old.uplink == uplink.uplink));
        let pair = before.zip(span);
        UplinkLine {
            uplink: uplink.uplink.clone(),
            link_up: uplink.link_up,
            link_mbit: uplink.link_mbit,
            sent_bits_per_second: pair.map(|(old, span)| span.bits(uplink.tx_bytes, old.tx_bytes)),
            received_bits_per_second: pair
                .map(|(old, span)| span.bits(uplink.rx_bytes, old.rx_bytes)),
        }
    };
    now.iter().map(line).collect()
}
