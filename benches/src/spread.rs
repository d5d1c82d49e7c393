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
