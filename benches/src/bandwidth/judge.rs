//! How far what was sent is from a rate, in any window there is; and how long it took until a rate was had.
//!
//! Nothing is sampled: the least and the most in a window of a length change only where a frame enters or leaves it, so that
//! those windows are all there are.

use super::record::Series;

/// A span of time and a length of windows within it, in cycles.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// From when,
    pub from: u64,
    /// to when.
    pub to: u64,
    /// How long a window is.
    pub length: u64,
}

impl Windows {
    /// Whether there is any.
    pub fn is_any(self) -> bool {
        self.from + self.length <= self.to
    }
}

/// A rate, and how much more or less of it is one frame at the edge of a window.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Bytes a cycle.
    pub bytes_per_cycle: f64,
    /// Bytes of a frame.
    pub frame: u64,
}

impl Rate {
    /// So many bit/s where there are `hz` cycles a second.
    pub fn new(bits_per_second: f64, hz: f64, frame: u64) -> Rate {
        Rate {
            bytes_per_cycle: bits_per_second / 8.0 / hz,
            frame,
        }
    }

    /// Bytes in so long.
    fn in_window(self, length: u64) -> f64 {
        self.bytes_per_cycle * length as f64
    }
}

/// Bytes in the window that has the most, ends among it; 0 if there is no window.
pub fn most(series: &Series, windows: Windows) -> u64 {
    let mut most = 0;
    let mut end = 0;
    for (place, at) in series.at.iter().enumerate() {
        if *at < windows.from {
            continue;
        }
        if at + windows.length > windows.to {
            break;
        }
        while series
            .at
            .get(end)
            .is_some_and(|it| *it <= at + windows.length)
        {
            end += 1;
        }
        let before = place.checked_sub(1).map_or(0, |place| series.sum[place]);
        most = most.max(series.sum[end - 1] - before);
    }
    most
}

/// Bytes in the window that has the least, ends not among it. What no window has is not missed: then it is `None`.
pub fn least(series: &Series, windows: Windows) -> Option<u64> {
    if !windows.is_any() {
        return None;
    }
    let within = |from: u64| {
        // Left after `from` and before the window's end.
        series
            .before(from + windows.length)
            .saturating_sub(series.until(from))
    };
    let mut least = series.before(windows.from + windows.length) - series.before(windows.from);
    let mut end = 0;
    let first = series.at.partition_point(|at| *at < windows.from);
    for (place, at) in series.at.iter().enumerate().skip(first) {
        if at + windows.length > windows.to {
            break;
        }
        end = end.max(place);
        while series
            .at
            .get(end + 1)
            .is_some_and(|it| *it < at + windows.length)
        {
            end += 1;
        }
        least = least.min(series.sum[end] - series.sum[place]);
    }
    // The last window there is.
    Some(least.min(within(windows.to - windows.length)))
}

/// Percent by which the fullest window has more than the rate, beyond one frame.
pub fn over(series: &Series, rate: Rate, windows: Windows) -> f64 {
    let wanted = rate.in_window(windows.length);
    let beyond = most(series, windows) as f64 - wanted - rate.frame as f64;
    100.0 * (beyond / wanted).max(0.0)
}

/// Percent by which the emptiest window has less than the rate, beyond one frame. 0 if there is no window.
pub fn under(series: &Series, rate: Rate, windows: Windows) -> f64 {
    let wanted = rate.in_window(windows.length);
    let Some(least) = least(series, windows) else {
        return 0.0;
    };
    let missing = wanted - least as f64 - rate.frame as f64;
    100.0 * (missing / wanted).max(0.0)
}

/// Cycles after `from` from which on the rate is had for good, up to `to`: the shortest d such that at every time t the bytes since
/// `from` are no less than rate · (t − from − d), but for one frame.
pub fn lag(series: &Series, rate: Rate, from: u64, to: u64) -> f64 {
    let base = series.before(from);
    let behind = |time: u64, sum: u64| {
        let served = (sum - base + rate.frame) as f64 / rate.bytes_per_cycle;
        (time - from) as f64 - served
    };
    let first = series.at.partition_point(|at| *at < from);
    let mut worst = behind(to, series.before(to).max(base));
    let mut sum = base;
    for (at, next) in series.at.iter().zip(&series.sum).skip(first) {
        if *at > to {
            break;
        }
        worst = worst.max(behind(*at, sum));
        sum = *next;
    }
    worst.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of 100 bytes every 1,000 cycles, from 500 on.
    fn even(frames: u64) -> Series {
        Series::of((0..frames).map(|n| (500 + 1000 * n, 100)))
    }

    const RATE: Rate = Rate {
        bytes_per_cycle: 0.1,
        frame: 100,
    };

    fn all(length: u64) -> Windows {
        Windows {
            from: 0,
            to: 100_000,
            length,
        }
    }

    /// Windows at every offset, slowly.
    fn slowly(series: &Series, windows: Windows) -> (u64, u64) {
        let inside = (windows.from..=windows.to - windows.length).map(|start| {
            let end = start + windows.length;
            let open = series.before(end).saturating_sub(series.until(start));
            let closed = series.until(end) - series.before(start);
            (open, closed)
        });
        inside.fold((u64::MAX, 0), |(least, most), (open, closed)| {
            (least.min(open), most.max(closed))
        })
    }

    #[test]
    fn the_least_and_the_most_are_those_of_every_offset() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..40 {
            let mut at = 0;
            let frames = (0..60).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                at += state % 90;
                (at, 1 + state % 7)
            });
            let series = Series::of(frames.collect::<Vec<_>>());
            let windows = Windows {
                from: 100,
                to: 1800,
                length: 40 + 13 * round,
            };
            let wanted = slowly(&series, windows);
            let found = (least(&series, windows).unwrap(), most(&series, windows));
            assert_eq!(found.0, wanted.0, "{round}");
            // A window whose end is cut off does not begin at a frame.
            assert!(
                found.1 <= wanted.1 && found.1 + 21 >= wanted.1,
                "{round}: {found:?} {wanted:?}"
            );
        }
    }

    #[test]
    fn an_even_rate_is_off_by_nothing_beyond_a_frame() {
        let series = even(100);
        for length in [1000, 2500, 10_000, 33_333] {
            assert_eq!(over(&series, RATE, all(length)), 0.0, "{length}");
            assert_eq!(under(&series, RATE, all(length)), 0.0, "{length}");
        }
        assert_eq!(lag(&series, RATE, 0, 100_000), 0.0);
    }

    #[test]
    fn what_is_faster_or_slower_is_told_as_it_is() {
        // Twice a frame in the place of one in a hundred: 1% in all, 10% in ten.
        let series =
            Series::of((0..100).map(|n| (500 + 1000 * n, if n == 50 { 300 } else { 100 })));
        let ten = over(&series, RATE, all(10_000));
        assert!((ten - 20.0).abs() < 0.1, "{ten}");
        let fifty = over(&series, RATE, all(50_000));
        assert!((fifty - 4.0).abs() < 0.1, "{fifty}");
        assert_eq!(under(&series, RATE, all(10_000)), 0.0);
        // A tenth slower.
        let slow = Rate {
            bytes_per_cycle: 0.1 / 0.9,
            ..RATE
        };
        let missing = under(&even(100), slow, all(50_000));
        assert!((missing - 10.0).abs() < 0.5, "{missing}");
    }

    #[test]
    fn a_gap_is_found_wherever_it_is() {
        for gap in [3, 47, 95] {
            let series = Series::of(
                (0..100)
                    .filter(|n| !(gap..gap + 3).contains(n))
                    .map(|n| (500 + 1000 * n, 100)),
            );
            let missing = under(&series, RATE, all(10_000));
            assert!((missing - 30.0).abs() < 0.1, "{gap}: {missing}");
        }
    }

    #[test]
    fn without_a_window_nothing_is_missed_and_an_empty_one_misses_all() {
        let nothing = Series::default();
        let short = Windows {
            from: 0,
            to: 500,
            length: 1000,
        };
        assert_eq!(
            (least(&nothing, short), under(&nothing, RATE, short)),
            (None, 0.0)
        );
        assert_eq!(under(&nothing, RATE, all(10_000)), 90.0);
        assert_eq!(over(&nothing, RATE, all(10_000)), 0.0);
    }

    #[test]
    fn the_lag_is_the_time_until_the_rate_is_had() {
        // Nothing for 7,000 cycles, then as it should be.
        let late = Series::of((0..90).map(|n| (7_500 + 1000 * n, 100)));
        assert!((lag(&late, RATE, 0, 97_000) - 7_000.0).abs() <= 500.0);
        // Made up for later: it is late all the same.
        let mut frames: Vec<(u64, u64)> = (0..90).map(|n| (7_500 + 1000 * n, 100)).collect();
        frames[40].1 = 800;
        assert!((lag(&Series::of(frames), RATE, 0, 97_000) - 7_000.0).abs() <= 500.0);
        // A hole in the middle of as long.
        let hole =
            Series::of((0..90).map(|n| (500 + 1000 * n + if n > 40 { 7_000 } else { 0 }, 100)));
        assert!((lag(&hole, RATE, 0, 96_000) - 7_000.0).abs() <= 500.0);
        // Half the rate: the longer, the later.
        let half = Rate {
            bytes_per_cycle: 0.2,
            ..RATE
        };
        assert!((lag(&even(90), half, 0, 90_000) - 45_000.0).abs() < 1_000.0);
        // What was sent before does not count.
        assert!((lag(&Series::of([(10, 100_000)]), RATE, 20, 10_020) - 9_000.0).abs() < 1.0);
    }
}
