//! Sets of prefixes in which an address is found by binary search.

use std::net::IpAddr;

use ipnet::IpNet;

/// Prefixes none of which lies in another.
///
/// Two prefixes either are apart or one lies in the other, so sorted by their first address, shortest first, a prefix
/// that overlaps one before it lies in the last that was kept.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    kept: Vec<IpNet>,
}

/// One prefix that lies in another, by their places in what was given.
pub struct Overlap {
    /// The outer one; of two equal ones, the one that was given first.
    pub outer: usize,
    /// The one that lies in it.
    pub inner: usize,
}

impl Prefixes {
    /// The outermost of `prefixes`, and what lies in them. Sorts: n log n.
    pub fn of(prefixes: &[IpNet]) -> (Prefixes, Vec<Overlap>) {
        let mut order: Vec<usize> = (0..prefixes.len()).collect();
        order.sort_by_key(|&at| (prefixes[at].network(), prefixes[at].prefix_len(), at));
        let (mut kept, mut overlaps) = (Vec::new(), Vec::new());
        let mut last: Option<usize> = None;
        for at in order {
            match last {
                Some(outer) if prefixes[outer].contains(&prefixes[at]) => {
                    overlaps.push(Overlap { outer, inner: at })
                }
                _ => {
                    last = Some(at);
                    kept.push(prefixes[at]);
                }
            }
        }
        (Prefixes { kept }, overlaps)
    }

    /// The prefix that `address` is in.
    pub fn containing(&self, address: &IpAddr) -> Option<&IpNet> {
        let after = self
            .kept
            .partition_point(|prefix| prefix.network() <= *address);
        let prefix = self.kept.get(after.checked_sub(1)?)?;
        prefix.contains(address).then_some(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix() -> impl Strategy<Value = IpNet> {
        // Few bits, so that overlaps are common.
        (0u8..8, 24u8..=32, any::<bool>()).prop_map(|(last, len, v6)| {
            let text = if v6 {
                format!("fd00::{last}/{}", 96 + len)
            } else {
                format!("10.0.0.{last}/{len}")
            };
            text.parse::<IpNet>().unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_obvious_way(prefixes in prop::collection::vec(prefix(), 0..12), last in 0u8..8) {
            let (set, overlaps) = Prefixes::of(&prefixes);
            let mut inner: Vec<usize> = overlaps.iter().map(|overlap| overlap.inner).collect();
            inner.sort_unstable();
            let lies_in_another = |at: &usize| prefixes.iter().enumerate().any(|(other, outer)| {
                other != *at && outer.contains(&prefixes[*at]) && (*outer != prefixes[*at] || other < *at)
            });
            let expected: Vec<usize> = (0..prefixes.len()).filter(lies_in_another).collect();
            prop_assert_eq!(inner, expected);
            for address in [format!("10.0.0.{last}"), format!("fd00::{last}")] {
                let address: IpAddr = address.parse().unwrap();
                let found = set.containing(&address);
                prop_assert_eq!(found.is_some(), prefixes.iter().any(|prefix| prefix.contains(&address)));
            }
        }
    }
}
