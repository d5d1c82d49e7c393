//! Provider multicast groups that this host listens to, and what it says of them: IGMP version 3 (RFC 3376), or version 2
//! (RFC 2236) where a router asks by it. Time is an argument.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use weir_wire::igmp::{self, Query, Says};

/// What changes is said so often, since a report may be lost (RFC 3376 §8.1, robustness variable).
const TIMES: u32 = 2;
/// The second time follows within this (RFC 3376 §8.11, unsolicited report interval).
const AGAIN: Duration = Duration::from_secs(1);
/// A router that asks by version 2 is answered so for this long (RFC 3376 §8.12: 2 × 125 s + 10 s).
const OLDER: Duration = Duration::from_secs(260);

/// A group on an uplink, as its place in host.toml.
pub type Key = (usize, Ipv4Addr);

/// What is still to be said of a group.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// How often a change is still to be said, and when next.
    change: Option<(u32, Duration)>,
    /// When a router is to be answered.
    answer: Option<Duration>,
}

/// All groups.
#[derive(Debug)]
pub struct Groups {
    joined: BTreeMap<Key, Entry>,
    left: BTreeMap<Key, Entry>,
    /// Until when an uplink's routers want version 2.
    older: BTreeMap<usize, Duration>,
    random: u64,
}

/// An IGMP message that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The uplink, as its place in host.toml.
    pub uplink: usize,
    /// The destination.
    pub to: Ipv4Addr,
    /// The IPv4 payload.
    pub payload: Vec<u8>,
}

impl Groups {
    /// None yet. `seed`: so that hosts answer a router at different times.
    pub fn new(seed: u64) -> Groups {
        Groups {
            joined: BTreeMap::new(),
            left: BTreeMap::new(),
            older: BTreeMap::new(),
            random: seed | 1,
        }
    }

    /// Listens to exactly these from now on.
    pub fn want(&mut self, wanted: impl IntoIterator<Item = Key>, now: Duration) {
        let mut old = std::mem::take(&mut self.joined);
        let news = Entry {
            change: Some((TIMES, now)),
            answer: None,
        };
        for key in wanted {
            let kept = old.remove(&key);
            if kept.is_none() {
                self.left.remove(&key);
            }
            self.joined.insert(key, kept.unwrap_or(news));
        }
        self.left.extend(old.into_keys().map(|key| (key, news)));
    }

    /// A router asks: each group that it means is answered for after a while of its own (RFC 3376 §5.2).
    pub fn heard(&mut self, uplink: usize, query: Query, now: Duration) {
        if !query.is_v3 {
            self.older.insert(uplink, now + OLDER);
        }
        let mut random = self.random;
        for (&(on, group), entry) in &mut self.joined {
            if on != uplink || query.group.is_some_and(|asked| asked != group) {
                continue;
            }
            let due = now + within(&mut random, query.within);
            if entry.answer.is_none_or(|known| due < known) {
                entry.answer = Some(due);
            }
        }
        self.random = random;
    }

    /// What is due.
    pub fn tick(&mut self, now: Duration) -> Vec<Message> {
        self.older.retain(|_, until| now < *until);
        let mut due = Vec::new();
        let (older, mut random) = (&self.older, self.random);
        for (&key, entry) in &mut self.joined {
            let is_older = older.contains_key(&key.0);
            if is_due(&mut entry.change, now, &mut random) {
                due.push(message(key, Says::Joins, is_older));
            }
            if entry.answer.take_if(|at| *at <= now).is_some() {
                due.push(message(key, Says::Listens, is_older));
            }
        }
        for (&key, entry) in &mut self.left {
            if is_due(&mut entry.change, now, &mut random) {
                due.push(message(key, Says::Leaves, older.contains_key(&key.0)));
            }
        }
        self.left.retain(|_, entry| entry.change.is_some());
        self.random = random;
        due
    }
}

/// Whether it is time to say a change, which counts as said.
fn is_due(change: &mut Option<(u32, Duration)>, now: Duration, random: &mut u64) -> bool {
    let Some((times, _)) = change.filter(|(_, at)| *at <= now) else {
        return false;
    };
    let again = now + within(random, AGAIN);
    *change = (times > 1).then_some((times - 1, again));
    true
}

/// Some time up to `most`: xorshift (Marsaglia 2003), in milliseconds.
fn within(random: &mut u64, most: Duration) -> Duration {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let most = most.as_millis() as u64;
    Duration::from_millis((*random >> 11) % (most + 1))
}

fn message((uplink, group): Key, says: Says, is_older: bool) -> Message {
    let (to, payload) = match (is_older, says) {
        (false, _) => (igmp::ROUTERS_V3, igmp::report_v3(says, group)),
        (true, Says::Leaves) => (igmp::ALL_ROUTERS, igmp::report_v2(true, group)),
        (true, _) => (group, igmp::report_v2(false, group)),
    };
    Message {
        uplink,
        to,
        payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = (0, Ipv4Addr::new(239, 1, 1, 1));
    const B: Key = (0, Ipv4Addr::new(239, 1, 1, 2));

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn said(groups: &mut Groups, from: u64, to: u64) -> Vec<Message> {
        (from..=to).flat_map(|ms| groups.tick(at(ms))).collect()
    }

    fn query(group: Option<Ipv4Addr>, is_v3: bool) -> Query {
        Query {
            group,
            within: Duration::from_secs(2),
            is_v3,
        }
    }

    #[test]
    fn a_change_is_said_twice_and_what_stays_is_not() {
        let mut groups = Groups::new(7);
        groups.want([A], at(0));
        assert_eq!(groups.tick(at(0)), [message(A, Says::Joins, false)]);
        assert_eq!(said(&mut groups, 1, 5000), [message(A, Says::Joins, false)]);
        groups.want([A, B], at(5000));
        let joins = message(B, Says::Joins, false);
        assert_eq!(said(&mut groups, 5000, 9000), [joins.clone(), joins]);
        groups.want([B], at(9000));
        let leaves = message(A, Says::Leaves, false);
        assert_eq!(said(&mut groups, 9000, 12_000), [leaves.clone(), leaves]);
        // Back before the second time: it is joined, and not left.
        groups.want([], at(20_000));
        assert_eq!(groups.tick(at(20_000)), [message(B, Says::Leaves, false)]);
        groups.want([B], at(20_000));
        let all = said(&mut groups, 20_000, 30_000);
        assert!(all.iter().all(|m| *m == message(B, Says::Joins, false)));
    }

    #[test]
    fn a_router_is_answered_within_its_time_about_what_it_asked() {
        let mut groups = Groups::new(7);
        groups.want([A, B], at(0));
        said(&mut groups, 0, 5000);
        groups.heard(0, query(None, true), at(5000));
        let mut all = said(&mut groups, 5000, 7000);
        all.sort_by_key(|m| m.payload[12..].to_vec());
        let listens = [A, B].map(|key| message(key, Says::Listens, false));
        assert_eq!(all, listens);
        groups.heard(0, query(Some(B.1), true), at(8000));
        groups.heard(1, query(None, true), at(8000));
        assert_eq!(said(&mut groups, 8000, 12_000), [listens[1].clone()]);
    }

    #[test]
    fn who_asks_by_version_2_is_answered_by_it_for_a_while() {
        let mut groups = Groups::new(7);
        groups.want([A], at(0));
        said(&mut groups, 0, 3000);
        groups.heard(0, query(None, false), at(3000));
        let report = Message {
            uplink: 0,
            to: A.1,
            payload: igmp::report_v2(false, A.1),
        };
        assert_eq!(said(&mut groups, 3000, 5000), [report]);
        groups.want([], at(6000));
        let leave = Message {
            uplink: 0,
            to: igmp::ALL_ROUTERS,
            payload: igmp::report_v2(true, A.1),
        };
        assert_eq!(groups.tick(at(6000)), [leave]);
        said(&mut groups, 6001, 8000);
        groups.want([B], at(264_000));
        assert_eq!(groups.tick(at(264_000)), [message(B, Says::Joins, false)]);
    }
}
