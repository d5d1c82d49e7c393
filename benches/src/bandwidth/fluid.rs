//! The shares that an ideal link would give: it serves everyone at once, in drops as small as one likes.
//!
//! Weighted max-min with ceilings (Bertsekas and Gallager, Data Networks, §6.5.2) by filling with water: all levels rise together, each
//! node by its weight, and whoever has what he can take stops. Minima that the link can carry are weights: what is left over
//! raises all. Within a node the same again, all weights alike. Written apart from the scheduler that it judges.

/// Who shares a link: a vNIC with a promise, or all those without one together.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its weight among the nodes.
    pub weight: f64,
    /// What each of its leaves can take: the less of what it offers and its maximum.
    pub leaves: Vec<f64>,
}

/// What each leaf of each node gets of `capacity`, in the unit of both.
pub fn shares(nodes: &[Node], capacity: f64) -> Vec<Vec<f64>> {
    let caps = nodes
        .iter()
        .map(|node| (node.weight, node.leaves.iter().sum()));
    let caps: Vec<(f64, f64)> = caps.collect();
    let levels = fill(&caps, capacity);
    nodes
        .iter()
        .zip(levels)
        .map(|(node, level)| {
            let leaves: Vec<(f64, f64)> = node.leaves.iter().map(|cap| (1.0, *cap)).collect();
            fill(&leaves, level)
        })
        .collect()
}

/// Of so much, what each gets who has (a weight, a ceiling).
pub fn fill(of: &[(f64, f64)], capacity: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..of.len()).collect();
    // Who is full first.
    order.sort_by(|a, b| {
        let level = |place: &usize| of[*place].1 / of[*place].0;
        level(a).total_cmp(&level(b))
    });
    let mut weight: f64 = of.iter().map(|(weight, _)| weight).sum();
    let (mut left, mut got) = (capacity, vec![0.0; of.len()]);
    for place in order {
        let (own, ceiling) = of[place];
        let share = if weight > 0.0 {
            left * own / weight
        } else {
            0.0
        };
        got[place] = share.min(ceiling);
        left -= got[place];
        weight -= own;
    }
    got
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: f64 = f64::INFINITY;

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len()
            && a.iter()
                .zip(b)
                .all(|(a, b)| (a - b).abs() < 1e-6 * (1.0 + b))
    }

    #[test]
    fn what_one_cannot_take_is_the_others() {
        assert!(close(
            &fill(&[(1.0, ALL), (3.0, ALL)], 100.0),
            &[25.0, 75.0]
        ));
        assert!(close(
            &fill(&[(1.0, ALL), (3.0, 30.0)], 100.0),
            &[70.0, 30.0]
        ));
        assert!(close(
            &fill(&[(1.0, 10.0), (1.0, ALL), (2.0, ALL), (4.0, 0.0)], 100.0),
            &[10.0, 30.0, 60.0, 0.0]
        ));
        assert!(close(
            &fill(&[(1.0, 10.0), (1.0, 20.0)], 100.0),
            &[10.0, 20.0]
        ));
        assert!(fill(&[], 100.0).is_empty());
    }

    #[test]
    fn a_minimum_is_had_whatever_the_others_want() {
        // 200 of 1,000 promised, 10% for those without a promise, of whom one is slow.
        let nodes = [
            Node {
                weight: 200.0,
                leaves: vec![ALL],
            },
            Node {
                weight: 700.0,
                leaves: vec![ALL],
            },
            Node {
                weight: 100.0,
                leaves: vec![ALL, ALL, 10.0],
            },
        ];
        let got = shares(&nodes, 1000.0);
        assert!(
            close(&got[0], &[200.0]) && close(&got[2], &[45.0, 45.0, 10.0]),
            "{got:?}"
        );
        let idle = [
            nodes[0].clone(),
            Node {
                weight: 700.0,
                leaves: vec![0.0],
            },
            nodes[2].clone(),
        ];
        let got = shares(&idle, 1000.0);
        assert!(close(&got[0], &[1000.0 * 2.0 / 3.0]), "{got:?}");
    }

    proptest! {
        /// Nobody has more than he can take, nothing is left while anyone could take it, and who is not full is at one level with all others who are not.
        #[test]
        fn it_is_max_min(of in proptest::collection::vec((0.1f64..100.0, 0.0f64..50.0), 1..40), capacity in 1.0f64..2000.0) {
            let got = fill(&of, capacity);
            let sum: f64 = got.iter().sum();
            let most: f64 = of.iter().map(|(_, ceiling)| ceiling).sum();
            prop_assert!((sum - capacity.min(most)).abs() < 1e-6 * (1.0 + sum));
            let mut open = Vec::new();
            for ((weight, ceiling), got) in of.iter().zip(&got) {
                prop_assert!(*got <= ceiling + 1e-9);
                if *got < ceiling - 1e-9 {
                    open.push(got / weight);
                }
            }
            let level = open.iter().copied().fold(0.0, f64::max);
            prop_assert!(open.iter().all(|it| (it - level).abs() < 1e-6 * (1.0 + level)));
            for ((weight, _), got) in of.iter().zip(&got) {
                prop_assert!(open.is_empty() || got / weight <= level + 1e-6);
            }
        }
    }
}
