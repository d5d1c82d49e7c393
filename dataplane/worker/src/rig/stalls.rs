//! When nobody polled a source: somebody else had the core. A rate is then not what the switch made of it.

use std::sync::atomic::{AtomicU64, Ordering::*};

/// How many are kept: the last ones.
const KEPT: usize = 1 << 15;
/// Shorter than so many parts of a second is a long turn and not a stall: with ten thousand limiters turns of 60 to 150 µs are Weir's own.
const SHORTEST: u64 = 5_000;

/// What a source writes and control reads.
#[derive(Debug)]
pub struct Stalls {
    /// From when to when, of the TSC.
    spans: Box<[[AtomicU64; 2]]>,
    count: AtomicU64,
}

impl Default for Stalls {
    fn default() -> Self {
        let span = |_| [AtomicU64::new(0), AtomicU64::new(0)];
        Stalls {
            spans: (0..KEPT).map(span).collect(),
            count: AtomicU64::new(0),
        }
    }
}

impl Stalls {
    /// The shortest that counts, at so many cycles a second: 200 µs.
    pub fn shortest(hz: u64) -> u64 {
        hz / SHORTEST
    }

    /// Notes one. Who writes is one thread.
    #[cold]
    pub fn note(&self, from: u64, to: u64) {
        let count = self.count.load(Relaxed);
        if let Some([start, end]) = self.spans.get(count as usize % KEPT) {
            start.store(from, Relaxed);
            end.store(to, Relaxed);
        }
        self.count.store(count + 1, Release);
    }

    /// Those that are kept and ended after this time, in order.
    pub fn since(&self, time: u64) -> Vec<(u64, u64)> {
        let count = self.count.load(Acquire);
        let kept = count.saturating_sub(KEPT as u64)..count;
        let span = |number: u64| {
            let [start, end] = self.spans.get(number as usize % KEPT)?;
            Some((start.load(Relaxed), end.load(Relaxed)))
        };
        kept.filter_map(span)
            .filter(|(_, end)| *end > time)
            .collect()
    }
}
