//! What fits on the way to each peer, as routers of the provider network said (RFC 1191). Time is an argument.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// What was heard counts for so long (RFC 1191 §6.3: "ten minutes").
const FRESH: Duration = Duration::from_secs(600);
/// A path never gets smaller: 1280 bytes inside, which every IPv6 link carries (RFC 8200 §5), and around them an Ethernet
/// header, GRE with its key and the outer IP header. Who forges messages cannot make packets smaller than that.
fn least(peer: IpAddr) -> u16 {
    1280 + 14 + 8 + if peer.is_ipv4() { 20 } else { 40 }
}

/// Path MTUs below that of the uplink, by peer: bytes with the outer IP header, and until when they count.
#[derive(Debug, Default)]
pub struct PathMtus {
    entries: BTreeMap<IpAddr, (u16, Duration)>,
}

impl PathMtus {
    /// A router said so. Whether that is news; a larger one than is known is not, until that has aged.
    pub fn heard(&mut self, peer: IpAddr, mtu: u16, now: Duration) -> bool {
        let mtu = mtu.max(least(peer));
        let known = self.entries.get(&peer).map(|entry| entry.0);
        if known.is_some_and(|known| known < mtu) {
            return false;
        }
        self.entries.insert(peer, (mtu, now + FRESH));
        known != Some(mtu)
    }

    /// Forgets what has aged. Whether there was any.
    pub fn tick(&mut self, now: Duration) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, (_, until)| now < *until);
        self.entries.len() != before
    }

    /// What fits on the way to a peer, if it is known to be less than the uplink's.
    pub fn to(&self, peer: IpAddr) -> Option<u16> {
        self.entries.get(&peer).map(|entry| entry.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 50, 2));

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_least_counts_for_ten_minutes_after_it_was_heard_last() {
        let mut mtus = PathMtus::default();
        assert_eq!(mtus.to(PEER), None);
        assert!(mtus.heard(PEER, 1450, seconds(0)));
        assert!(mtus.heard(PEER, 1400, seconds(1)));
        assert!(!mtus.heard(PEER, 1450, seconds(2)), "larger");
        assert!(!mtus.heard(PEER, 1400, seconds(300)), "known");
        assert_eq!(mtus.to(PEER), Some(1400));
        assert!(!mtus.tick(seconds(899)));
        assert!(mtus.tick(seconds(900)));
        assert_eq!(mtus.to(PEER), None);
        assert!(!mtus.tick(seconds(901)));
    }

    #[test]
    fn nobody_can_make_it_smaller_than_1280_inside() {
        let mut mtus = PathMtus::default();
        assert!(mtus.heard(PEER, 68, seconds(0)));
        assert_eq!(mtus.to(PEER), Some(1322));
        assert!(!mtus.heard(PEER, 100, seconds(0)));
        let peer = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
        assert!(mtus.heard(peer, 68, seconds(0)));
        assert_eq!(mtus.to(peer), Some(1342));
    }
}
