//! What left the uplink, by sender, and the time in which somebody polled.

use weir_worker::rig::sink::{Event, NOBODY};

/// Bytes of a frame on the wire that its length does not have: preamble 8, FCS 4, gap 12.
pub const WIRE: u64 = 24;
/// Bytes that NVGRE over IPv4 adds to what a vNIC sends.
pub const OUTER: u64 = 42;

/// Which bytes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// The vNIC's own layer 2 bytes, without FCS: what a maximum is of.
    Own,
    /// What the wire carries: what minima and the link are of.
    Wire,
}

impl Count {
    /// Bytes of a frame that was sent with so many.
    pub fn of(self, sent: u32) -> u64 {
        match self {
            Count::Own => u64::from(sent).saturating_sub(OUTER),
            Count::Wire => u64::from(sent) + WIRE,
        }
    }

    /// Bytes of a frame that has so many with its FCS where the vNIC sends it.
    pub fn of_frame(self, frame: u16) -> u64 {
        let own = u64::from(frame) - 4;
        match self {
            Count::Own => own,
            Count::Wire => own + OUTER + WIRE,
        }
    }
}

/// Frames in the order in which they left, those that left at once as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// When, in cycles, each once.
    pub at: Vec<u64>,
    /// Bytes until then, those among them.
    pub sum: Vec<u64>,
}

impl Series {
    fn push(&mut self, at: u64, bytes: u64) {
        let sum = self.sum.last().copied().unwrap_or(0) + bytes;
        match (self.at.last(), self.sum.last_mut()) {
            // A clock that stands still, as that of a stall does.
            (Some(last), Some(known)) if *last >= at => *known = sum,
            _ => {
                self.at.push(at);
                self.sum.push(sum);
            }
        }
    }

    /// Of these frames: when, how many bytes.
    pub fn of(frames: impl IntoIterator<Item = (u64, u64)>) -> Series {
        let mut series = Series::default();
        for (at, bytes) in frames {
            series.push(at, bytes);
        }
        series
    }

    /// Bytes that left before this time.
    pub fn before(&self, time: u64) -> u64 {
        let place = self.at.partition_point(|at| *at < time);
        place.checked_sub(1).map_or(0, |place| self.sum[place])
    }

    /// Bytes that left up to this time.
    pub fn until(&self, time: u64) -> u64 {
        let place = self.at.partition_point(|at| *at <= time);
        place.checked_sub(1).map_or(0, |place| self.sum[place])
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.sum.last().copied().unwrap_or(0)
    }
}

/// Time without the stalls: nobody could send in them.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// From when to when, in order.
    stalls: Vec<(u64, u64)>,
    /// Cycles of stalls before each of them.
    before: Vec<u64>,
}

impl Running {
    /// Of these stalls, in order and apart.
    pub fn new(stalls: Vec<(u64, u64)>) -> Running {
        let mut sum = 0;
        let before = stalls.iter().map(|(from, to)| {
            sum += to - from;
            sum - (to - from)
        });
        let before = before.collect();
        Running { stalls, before }
    }

    /// Cycles that it ran until this time.
    pub fn at(&self, time: u64) -> u64 {
        let place = self.stalls.partition_point(|(from, _)| *from <= time);
        let Some(place) = place.checked_sub(1) else {
            return time;
        };
        let (from, to) = self.stalls[place];
        time - self.before[place] - (time.min(to) - from)
    }

    /// Cycles of stalls.
    pub fn stalled(&self) -> u64 {
        self.stalls.iter().map(|(from, to)| to - from).sum()
    }
}

/// What the rig's sink has logged. Times are cycles from its beginning.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Cycles a second.
    pub hz: f64,
    /// Every frame that left.
    pub events: Vec<Event>,
    /// Time in which the worker ran.
    pub running: Running,
    /// Its length.
    pub length: u64,
    /// When what was offered began; it may be before.
    pub offered_at: i64,
}

impl Record {
    /// So many seconds in cycles.
    pub fn cycles(&self, seconds: f64) -> u64 {
        (seconds * self.hz) as u64
    }

    /// Percent of its time in which nobody polled.
    pub fn disturbed(&self) -> f64 {
        100.0 * self.running.stalled() as f64 / self.length.max(1) as f64
    }

    /// What each of so many senders sent, by the clock.
    pub fn by_clock(&self, senders: u32, count: Count) -> Vec<Series> {
        self.each(senders, count, |at| at)
    }

    /// The same by the time in which the worker ran.
    pub fn by_running(&self, senders: u32, count: Count) -> Vec<Series> {
        self.each(senders, count, |at| self.running.at(at))
    }

    fn each(&self, senders: u32, count: Count, time: impl Fn(u64) -> u64) -> Vec<Series> {
        let mut all = vec![Series::default(); senders as usize];
        for event in &self.events {
            if let Some(series) = all.get_mut(event.sender as usize) {
                series.push(time(event.at), count.of(event.bytes));
            }
        }
        all
    }

    /// What all of those that `who` means sent, on the wire, by the time in which the worker ran; everything with [`Record::anyone`].
    pub fn together(&self, who: impl Fn(u32) -> bool) -> Series {
        let events = self.events.iter().filter(|event| who(event.sender));
        let frames = events.map(|event| {
            let at = self.running.at(event.at);
            (at, Count::Wire.of(event.bytes))
        });
        Series::of(frames)
    }

    /// What everyone sent, on the wire, by the clock.
    pub fn together_by_clock(&self) -> Series {
        let events = self.events.iter();
        Series::of(events.map(|event| (event.at, Count::Wire.of(event.bytes))))
    }

    /// Any sender at all, and frames that are none of theirs.
    pub fn anyone(sender: u32) -> bool {
        sender <= NOBODY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_as_the_promise_that_they_are_held_against() {
        assert_eq!((Count::Own.of(102), Count::Wire.of(102)), (60, 126));
        assert_eq!(
            (Count::Own.of_frame(64), Count::Wire.of_frame(64)),
            (60, 126)
        );
        assert_eq!(Count::Wire.of_frame(1518), 1580);
    }

    #[test]
    fn a_series_adds_up_and_what_left_at_once_is_one() {
        let series = Series::of([(5, 10), (5, 1), (9, 100)]);
        assert_eq!(
            (&series.at[..], &series.sum[..]),
            (&[5, 9][..], &[11, 111][..])
        );
        assert_eq!(
            [4, 5, 6, 9, 10].map(|at| series.before(at)),
            [0, 0, 11, 11, 111]
        );
        assert_eq!([4, 5, 8, 9].map(|at| series.until(at)), [0, 11, 11, 111]);
        assert_eq!((series.total(), Series::default().total()), (111, 0));
    }

    #[test]
    fn time_stands_still_in_a_stall() {
        let running = Running::new(vec![(10, 20), (50, 55)]);
        let times = [0, 10, 15, 20, 30, 50, 53, 55, 60].map(|at| running.at(at));
        assert_eq!(times, [0, 10, 10, 10, 20, 40, 40, 40, 45]);
        assert_eq!(running.stalled(), 15);
    }

    #[test]
    fn a_record_tells_senders_apart() {
        let event = |at, sender, bytes| Event { at, sender, bytes };
        let record = Record {
            hz: 1e9,
            events: vec![event(0, 1, 102), event(30, 0, 102), event(40, NOBODY, 60)],
            running: Running::new(vec![(10, 20)]),
            length: 100,
            offered_at: 0,
        };
        let own = record.by_clock(2, Count::Own);
        assert_eq!((own[0].at[0], own[0].total(), own[1].at[0]), (30, 60, 0));
        assert_eq!(record.by_running(2, Count::Wire)[0].at, [20]);
        assert_eq!(record.together(|it| it < 2).total(), 252);
        assert_eq!(record.together(Record::anyone).total(), 336);
        assert_eq!(record.disturbed(), 10.0);
    }
}
