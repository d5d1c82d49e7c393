//! The provider network's neighbours: who is asked by ARP or neighbour discovery, when, and when an answer is too old. Time is an
//! argument. The path only ever meets the outcome: a peer whose next hop is known, or `pa_unresolved`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use weir_wire::Mac;

/// An answer is good for this long before it is asked for again (RFC 4861 §10, REACHABLE_TIME, which Linux uses for ARP).
const REACHABLE: Duration = Duration::from_secs(30);
/// Between two questions about one address: at most one a second (RFC 1122 §2.3.2.1).
const RETRY: Duration = Duration::from_secs(1);
/// Questions without an answer after which an address that was known is unknown (RFC 4861 §10, MAX_UNICAST_SOLICIT).
const TRIES: u32 = 3;

/// A neighbour: an uplink, as its place in host.toml, and an address on it.
pub type Key = (usize, IpAddr);

/// What is known of one neighbour.
#[derive(Clone, Copy, Debug)]
struct Entry {
    mac: Option<Mac>,
    /// Written in host.toml: never asked.
    fixed: bool,
    heard: Duration,
    asked: Option<Duration>,
    tries: u32,
}

/// All neighbours that peers are reached by.
#[derive(Debug, Default)]
pub struct Neighbors {
    entries: BTreeMap<Key, Entry>,
}

impl Neighbors {
    /// Wants exactly these, each with its MAC if host.toml says it. What is known stays known.
    pub fn want(&mut self, wanted: impl IntoIterator<Item = (Key, Option<Mac>)>) {
        let mut old = std::mem::take(&mut self.entries);
        for (key, fixed) in wanted {
            let fresh = Entry {
                mac: fixed,
                fixed: fixed.is_some(),
                heard: Duration::ZERO,
                asked: None,
                tries: 0,
            };
            let kept = old
                .remove(&key)
                .filter(|entry| !entry.fixed && fixed.is_none());
            self.entries.insert(key, kept.unwrap_or(fresh));
        }
    }

    /// The neighbour's MAC, if it is known.
    pub fn mac(&self, key: Key) -> Option<Mac> {
        self.entries.get(&key)?.mac
    }

    /// Somebody said where `key` is; whether that counts if another MAC is known, `overrides` says (RFC 4861 §7.2.5).
    /// Returns whether that is news.
    pub fn heard(&mut self, key: Key, mac: Mac, overrides: bool, now: Duration) -> bool {
        match self.entries.get_mut(&key) {
            Some(entry) if !entry.fixed => {
                if !overrides && entry.mac.is_some_and(|known| known != mac) {
                    return false;
                }
                entry.heard = now;
                entry.asked = None;
                entry.tries = 0;
                entry.mac.replace(mac) != Some(mac)
            }
            _ => false,
        }
    }

    /// Whom to ask now, and whether somebody has become unknown.
    pub fn tick(&mut self, now: Duration) -> (Vec<Key>, bool) {
        let (mut ask, mut lost) = (Vec::new(), false);
        for (&key, entry) in &mut self.entries {
            let fresh = entry.mac.is_some() && now < entry.heard + REACHABLE;
            let waiting = entry.asked.is_some_and(|asked| now < asked + RETRY);
            if entry.fixed || fresh || waiting {
                continue;
            }
            if entry.mac.is_some() && entry.tries >= TRIES {
                entry.mac = None;
                lost = true;
            }
            entry.tries = entry.tries.saturating_add(1);
            entry.asked = Some(now);
            ask.push(key);
        }
        (ask, lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const KEY: Key = (0, IpAddr::V4(Ipv4Addr::new(192, 168, 50, 2)));
    const MAC: Mac = Mac::new([2, 0xbb, 0, 0, 0, 2]);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn who_does_not_answer_is_asked_once_a_second() {
        let mut neighbors = Neighbors::default();
        neighbors.want([(KEY, None)]);
        let asked: usize = (0..100).map(|i| neighbors.tick(at(i * 100)).0.len()).sum();
        assert_eq!(asked, 10);
        assert_eq!(neighbors.mac(KEY), None);
    }

    #[test]
    fn who_answers_is_left_alone_and_asked_again_when_old() {
        let mut neighbors = Neighbors::default();
        neighbors.want([(KEY, None)]);
        assert_eq!(neighbors.tick(at(0)), (vec![KEY], false));
        assert!(neighbors.heard(KEY, MAC, true, at(5)));
        assert!(!neighbors.heard(KEY, MAC, true, at(6)), "no news");
        assert_eq!(neighbors.tick(at(29_000)).0, []);
        assert_eq!(neighbors.tick(at(30_100)).0, [KEY]);
        assert_eq!(
            neighbors.mac(KEY),
            Some(MAC),
            "an old answer is better than none"
        );
        // Three questions without an answer, and it is unknown; then it is still asked.
        assert_eq!(neighbors.tick(at(31_200)), (vec![KEY], false));
        assert_eq!(neighbors.tick(at(32_300)), (vec![KEY], false));
        assert_eq!(neighbors.tick(at(33_400)), (vec![KEY], true));
        assert_eq!(neighbors.mac(KEY), None);
        assert!(neighbors.heard(KEY, MAC, true, at(40_000)));
    }

    #[test]
    fn what_host_toml_says_is_never_asked_nor_overheard() {
        let mut neighbors = Neighbors::default();
        neighbors.want([(KEY, Some(MAC))]);
        assert_eq!(neighbors.tick(at(99_000)), (vec![], false));
        assert!(!neighbors.heard(KEY, Mac::new([2, 9, 9, 9, 9, 9]), true, at(1)));
        assert_eq!(neighbors.mac(KEY), Some(MAC));
        neighbors.want([]);
        assert_eq!(neighbors.mac(KEY), None);
    }

    #[test]
    fn a_new_policy_keeps_what_is_known() {
        let mut neighbors = Neighbors::default();
        neighbors.want([(KEY, None)]);
        neighbors.heard(KEY, MAC, true, at(1));
        let other = (0, IpAddr::V4(Ipv4Addr::new(192, 168, 50, 3)));
        neighbors.want([(KEY, None), (other, None)]);
        assert_eq!(
            (neighbors.mac(KEY), neighbors.mac(other)),
            (Some(MAC), None)
        );
    }

    #[test]
    fn an_answer_that_does_not_override_changes_nothing_that_is_known() {
        let mut neighbors = Neighbors::default();
        let other = Mac::new([2, 9, 9, 9, 9, 9]);
        neighbors.want([(KEY, None)]);
        assert!(neighbors.heard(KEY, MAC, false, at(1)), "nothing was known");
        assert!(!neighbors.heard(KEY, other, false, at(2)));
        assert_eq!(neighbors.mac(KEY), Some(MAC));
        assert!(neighbors.heard(KEY, other, true, at(3)));
        assert_eq!(neighbors.mac(KEY), Some(other));
    }
}
