//! Medians and ratios: on a shared machine only what was measured side by side means anything.

use serde::{Deserialize, Serialize};

/// The median of some rounds, the least and the most beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these values, rounded to `digits` places; none if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>, digits: u32) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (first, last) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        let scale = f64::from(10u32.pow(digits));
        let round = |value: f64| (value * scale).round() / scale;
        Some(Spread {
            median: round(median),
            min: round(first),
            max: round(last),
        })
    }

    /// Of `a ÷ b`, round by round.
    pub fn of_ratios(a: &[f64], b: &[f64]) -> Option<Spread> {
        Spread::of(a.iter().zip(b).map(|(a, b)| a / b), 3)
    }
}

/// The 95% interval of the median of these rounds, by their order (a sign test: nothing is supposed of how they spread). None for
/// fewer than six, of which not even the least and the most are apart enough.
pub fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    // The chance that the median lies below the kth least: so many of n coins, all of them fair.
    let (mut below, mut chance) = (0.0, 0.5f64.powi(n as i32));
    let mut rank = 0;
    for k in 0..n {
        below += chance;
        if below > 0.025 {
            break;
        }
        rank = k + 1;
        chance *= (n - k) as f64 / (k + 1) as f64;
    }
    let low = rank.checked_sub(1)?;
    Some((*values.get(low)?, *values.get(n - rank)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_odd_and_even_counts() {
        let of = |values: &[f64]| Spread::of(values.iter().copied(), 2);
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&[3.0, 1.0, 2.0]),
            Some(Spread {
                median: 2.0,
                min: 1.0,
                max: 3.0
            })
        );
        assert_eq!(
            of(&[4.0, 1.0, 2.0, 3.006]),
            Some(Spread {
                median: 2.5,
                min: 1.0,
                max: 4.0
            })
        );
    }

    #[test]
    fn the_interval_is_that_of_the_sign_test() {
        let rounds = |n: u32| (1..=n).map(f64::from).collect::<Vec<_>>();
        assert_eq!(interval(&rounds(5)), None);
        assert_eq!(interval(&rounds(6)), Some((1.0, 6.0)));
        // Tables of the sign test: 2nd of 10, 6th of 20.
        assert_eq!(interval(&rounds(10)), Some((2.0, 9.0)));
        assert_eq!(interval(&rounds(20)), Some((6.0, 15.0)));
        assert_eq!(interval(&[]), None);
    }

    #[test]
    fn ratios_are_of_one_round_each() {
        // The machine was twice as fast in the second round: the ratio was 2 all the time.
        let ratio = Spread::of_ratios(&[2.0, 4.0], &[1.0, 2.0]).unwrap();
        assert_eq!(
            ratio,
            Spread {
                median: 2.0,
                min: 2.0,
                max: 2.0
            }
        );
    }
}
