//! The end of the demo: every packet accounted for at each worker, both daemons ended cleanly.

use super::daemons::Daemon;
use super::report::{Check, Host};
use super::stop::{Halt, Stop};
use super::world::World;
use std::time::{Duration, Instant};
use weir_agent::stats::{Stats, WorkerStats};

/// How long counters must not move to stand still.
const STILL: Duration = Duration::from_millis(300);
/// How long to wait for that.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon's counters at standstill, its drops, and whether each worker's equation holds.
pub fn host(daemon: &Daemon, stop: &Stop) -> Result<(Host, Vec<Check>), Halt> {
    let mut last = counts(&daemon.stats()?);
    let mut since = Instant::now();
    let still = stop.wait_for(PATIENCE, || {
        let stats = daemon.stats()?;
        let now = counts(&stats);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        Ok((since.elapsed() >= STILL).then_some(stats))
    })?;
    let stats = still.ok_or_else(|| daemon.trouble("its counters do not come to rest"))?;
    let mut checks = Vec::new();
    for w in &stats.workers {
        let (came, went) = sides(w);
        let detail = format!(
            "{came} = received {} + handed in {} + generated {} + copies {}; {went} = sent {} + delivered {} + \
             handed out {} + consumed {} + dropped {} + queued {}",
            w.rx_packets,
            w.handoff_in,
            w.generated,
            w.copies,
            w.tx_packets,
            w.delivered,
            w.handoff_out,
            w.consumed,
            w.dropped,
            w.queued
        );
        let name = format!("conservation: {}, worker on core {}", daemon.host, w.core);
        checks.push(Check::new(name, came == went && came > 0, detail));
    }
    if stats.workers.is_empty() {
        let name = format!("conservation: {}", daemon.host);
        checks.push(Check::new(name, false, "it has no worker"));
    }
    let drops = daemon.drops()?;
    Ok((Host { stats, drops }, checks))
}

/// What came to a worker and what became of it.
fn sides(w: &WorkerStats) -> (u64, u64) {
    let came = w.rx_packets + w.handoff_in + w.generated + w.copies;
    let went = w.tx_packets + w.delivered + w.handoff_out + w.consumed + w.dropped + w.queued;
    (came, went)
}

fn counts(stats: &Stats) -> Vec<(u64, u64)> {
    stats.workers.iter().map(sides).collect()
}

/// SIGTERM ends a daemon with exit status 0 and leaves no socket.
pub fn end(daemon: &mut Daemon, world: &World) -> Check {
    let name = format!("end: {} on SIGTERM", daemon.host);
    match daemon.terminate() {
        Ok(status) => {
            let left = daemon.leftovers(world);
            if status.success() && left.is_empty() {
                return Check::new(name, true, "exit status 0, no socket left");
            }
            let left = if left.is_empty() {
                "nothing".into()
            } else {
                left.join(", ")
            };
            let Halt::Failed(detail) = daemon.trouble(&format!("{status}, left: {left}")) else {
                return Check::new(name, false, "ended by a signal");
            };
            Check::new(name, false, detail)
        }
        Err(halt) => Check::new(name, false, halt.to_string()),
    }
}
