//! One measurement: two readings of a subject's counters, and what the core lost to others between them.

use crate::halt::{Halt, Stop};
use crate::machine::Others;
use crate::subject::Running;
use std::time::{Duration, Instant};
use weir_agent::stats::ChangeStats;

/// A subject's counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// Packets that the sink took.
    pub sent: u64,
    /// Packets taken from the source, where the subject counts them apart.
    pub received: Option<u64>,
    /// Bytes that the sink took, where it counts them.
    pub bytes: Option<u64>,
    /// By the subject's own account: packets, and the TSC cycles they took.
    pub own: Option<(u64, u64)>,
}

/// What one window gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Packets a second that the sink took.
    pub pps: f64,
    /// Cycles a packet by the subject's own account.
    pub own_cycles: Option<f64>,
    /// Share of the packets taken from the source that the sink did not take.
    pub lost: Option<f64>,
    /// Bytes a packet at the sink.
    pub bytes: Option<f64>,
    /// Share of the window in which others had the core.
    pub others: f64,
    /// Calls of the allocator by the subject's workers in it, where they are known.
    pub allocations: Option<u64>,
    /// What became of updates, where there were any.
    pub updates: Option<Updates>,
}

impl Sample {
    /// From two readings; `others` in seconds.
    pub fn between(before: &Reading, after: &Reading, others: f64) -> Sample {
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let sent = after.sent.saturating_sub(before.sent) as f64;
        let grown =
            |after: Option<u64>, before: Option<u64>| Some(after?.saturating_sub(before?) as f64);
        let own = after.own.zip(before.own).map(|(after, before)| {
            let (packets, cycles) = (
                after.0.saturating_sub(before.0),
                after.1.saturating_sub(before.1),
            );
            cycles as f64 / packets as f64
        });
        Sample {
            pps: sent / seconds,
            own_cycles: own.filter(|cycles| cycles.is_finite()),
            lost: grown(after.received, before.received)
                .map(|received| (1.0 - sent / received).max(0.0)),
            bytes: grown(after.bytes, before.bytes).map(|bytes| bytes / sent),
            others: others / seconds,
            allocations: None,
            updates: None,
        }
    }
}

/// Mappings that moved while it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Updates {
    /// So many a second.
    pub per_second: f64,
    /// How long it took until workers had seen them, and until what they replaced was free.
    pub changes: ChangeStats,
}

/// How long mappings move before a window: until what they touch is in the caches in which it will be.
const LEAD: Duration = Duration::from_millis(50);

/// Measures while so many mappings a second move; 0 for none.
pub fn measure_with(
    updates: u32,
    running: &mut dyn Running,
    core: u32,
    length: Duration,
    stop: &Stop,
) -> Result<Sample, Halt> {
    if updates == 0 {
        return measure(running, core, length, stop);
    }
    // Longer than it takes to measure: it ends when it is told to.
    running.begin_updates(updates, 2 * length + Duration::from_secs(60))?;
    stop.sleep(LEAD)?;
    let sample = measure(running, core, length, stop)?;
    let report = running.end_updates()?;
    Ok(Sample {
        updates: Some(Updates {
            per_second: report.updates as f64 / report.seconds,
            changes: report.changes,
        }),
        ..sample
    })
}

/// Measures for `length`. Fails if the sink took nothing.
pub fn measure(
    running: &mut dyn Running,
    core: u32,
    length: Duration,
    stop: &Stop,
) -> Result<Sample, Halt> {
    let others = Others::look(core, running.process())?;
    let allocated = running.allocator_calls()?;
    let before = running.read()?;
    stop.sleep(length)?;
    let after = running.read()?;
    let others = Others::look(core, running.process())?.since(&others);
    let mut sample = Sample::between(&before, &after, others);
    let allocated = running.allocator_calls()?.zip(allocated);
    sample.allocations = allocated.map(|(after, before)| after.saturating_sub(before));
    if after.sent <= before.sent {
        return Err(running.trouble("sends nothing"));
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_of_differences() {
        let at = Instant::now();
        let before = Reading {
            at,
            sent: 100,
            received: Some(100),
            bytes: Some(0),
            own: Some((10, 1000)),
        };
        let after = Reading {
            at: at + Duration::from_secs(2),
            sent: 2100,
            received: Some(4100),
            bytes: Some(204_000),
            own: Some((110, 21_000)),
        };
        let sample = Sample::between(&before, &after, 0.02);
        assert_eq!(
            (sample.pps, sample.own_cycles, sample.lost),
            (1000.0, Some(200.0), Some(0.5))
        );
        assert_eq!((sample.bytes, sample.others), (Some(102.0), 0.01));
        let deaf = Reading {
            received: None,
            own: None,
            ..after
        };
        let sample = Sample::between(&before, &deaf, 0.0);
        assert_eq!((sample.lost, sample.own_cycles), (None, None));
    }
}
