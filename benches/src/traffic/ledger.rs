//! What came back, frame by frame: which, how often, in which order, how late.

use super::stamp::Stamp;
use hdrhistogram::Histogram;

/// The longest latency that is told apart, in seconds.
const LONGEST: u64 = 10;

/// The receiving side of one trial.
pub struct Ledger {
    trial: u16,
    /// A bit a frame.
    seen: Vec<u64>,
    /// One more than the highest number so far.
    next: u32,
    /// Cycles from when each was due; none if nobody wants to know.
    latency: Option<Histogram<u64>>,
    /// What came.
    pub came: Came,
}

/// Counts of what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// Frames of this trial, each counted once.
    pub frames: u32,
    /// Frames of this trial that had come before.
    pub duplicates: u64,
    /// Frames of this trial that came after a later one (RFC 4737 §4.1).
    pub reordered: u64,
    /// Frames of an earlier trial.
    pub stale: u64,
    /// Frames that are not the rig's, or were changed on their way.
    pub foreign: u64,
}

impl Ledger {
    /// For a trial of so many frames; with latency, where the TSC has so many cycles a second.
    pub fn new(trial: u16, frames: u32, latency_hz: Option<u64>) -> Ledger {
        let latency = latency_hz.and_then(|hz| Histogram::new_with_bounds(1, hz * LONGEST, 3).ok());
        Ledger {
            trial,
            seen: vec![0; frames.div_ceil(64) as usize],
            next: 0,
            latency,
            came: Came::default(),
        }
    }

    /// A frame has come, at `now` by the TSC.
    #[inline]
    pub fn take(&mut self, frame: &[u8], now: u64) {
        let Some(stamp) = Stamp::read(frame) else {
            self.came.foreign += 1;
            return;
        };
        if stamp.trial != self.trial {
            self.came.stale += 1;
            return;
        }
        let Some(word) = self.seen.get_mut((stamp.number / 64) as usize) else {
            self.came.foreign += 1;
            return;
        };
        let bit = 1 << (stamp.number % 64);
        if *word & bit != 0 {
            self.came.duplicates += 1;
            return;
        }
        *word |= bit;
        self.came.frames += 1;
        if stamp.number >= self.next {
            self.next = stamp.number + 1;
        } else {
            self.came.reordered += 1;
        }
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(now.saturating_sub(stamp.due));
        }
    }

    /// The latencies, in cycles.
    pub fn into_latency(self) -> Option<Histogram<u64>> {
        self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u32, due: u64, trial: u16) -> [u8; 60] {
        let mut frame = [0; 60];
        assert!(Stamp { number, due, trial }.write(&mut frame));
        frame
    }

    #[test]
    fn every_frame_is_one_of_five_things() {
        let mut ledger = Ledger::new(7, 100, Some(1000));
        for number in [0, 1, 4, 3, 3, 99, 0] {
            ledger.take(&frame(number, 10, 7), 15);
        }
        ledger.take(&frame(5, 10, 6), 15);
        ledger.take(&frame(128, 10, 7), 15);
        ledger.take(&[0xff; 60], 15);
        ledger.take(&[], 15);
        let mut changed = frame(6, 10, 7);
        changed[43] ^= 1;
        ledger.take(&changed, 15);
        assert_eq!(
            ledger.came,
            Came {
                frames: 5,
                duplicates: 2,
                reordered: 1,
                stale: 1,
                foreign: 4,
            }
        );
        let latency = ledger.into_latency().unwrap();
        assert_eq!((latency.len(), latency.max()), (5, 5), "once a frame");
    }
}
